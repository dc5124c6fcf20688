"""PyTorch's random states: leave them as they were, or begin with a seed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def fork_rng(device: torch.device | str):
    """A context that leaves PyTorch's random states as they were, that of the device included."""
    return torch.random.fork_rng([device] if torch.device(device).type == "cuda" else [])


@contextmanager
def seeded(device: torch.device | str, seed: int) -> Iterator[None]:
    """Inside, PyTorch's dice on the CPU and on this device begin with the seed; afterwards they go on where they were, and those of other
    devices were never touched, as they would be by torch.manual_seed."""
    with fork_rng(device):
        torch.default_generator.manual_seed(seed)
        if torch.device(device).type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
