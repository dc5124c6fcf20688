"""Dreamer Lite: DreamerV3 in PyTorch, small enough to read in one evening."""

__version__ = "0.1.0"
