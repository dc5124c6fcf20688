"""PyTorch's random states: leave them as they were, or start from a seed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def fork_rng(device: torch.device | str):
    """A context that restores PyTorch's random states at its end, including this device's."""
    return torch.random.fork_rng([device] if torch.device(device).type == "cuda" else [])


@contextmanager
def seeded(device: torch.device | str, seed: int) -> Iterator[None]:
    """Inside, PyTorch's random numbers on the CPU and on this device start from the seed.

    Afterwards both random states are as before. Other devices are never touched, as they would be by torch.manual_seed.
    """
    with fork_rng(device):
        torch.default_generator.manual_seed(seed)
        if torch.device(device).type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
