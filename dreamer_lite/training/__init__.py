"""A run: train steps, the loop around them, and everything in its folder."""
