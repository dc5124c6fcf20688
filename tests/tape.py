"""A stand-in for a CUDA graph that needs no GPU: it records the operations of a step and repeats them on the same
tensors.

Like a graph it repeats operations, not Python: a number that Python had at the recording is the same at every replay,
and a tensor that was replaced instead of overwritten is not seen any more. Unlike a graph it carries out the step while
it records, and it does not see what leaves PyTorch without an operation, as `.tolist()` and `.numpy()` do.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal.default", "is_nonzero")
COPIES = (
    "lift_fresh",
)  # torch.tensor(…) from Python's numbers: on a GPU a copy from the host, which a graph can't hold


class Tape(TorchDispatchMode):
    """Inside, every operation is written down. Raises AssertionError for one that waits for a value, or brings one
    from Python."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[Callable, tuple, dict, Any]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if (
            func is torch.ops.aten.equal.default and args[0].ndim == 0
        ):  # older PyTorch's `quantile` checks its levels, on a CPU only
            return func(*args)
        mask = "aten.index" in str(func) and any(
            part.dtype == torch.bool for part in tree_leaves(args[1]) if isinstance(part, Tensor)
        )
        assert not mask and not any(word in str(func) for word in WAITS + COPIES), (
            f"{func} waits for, or brings, a value: it can't be in a graph"
        )
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view:  # a view shows what its tensor holds, also later
            self.entries.append((func, args, kwargs, out))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        """All operations again, in place of what they gave before."""
        for func, args, kwargs, before in self.entries:
            for old, new in zip(tree_leaves(before), tree_leaves(func(*args, **kwargs))):
                if isinstance(old, Tensor) and old is not new:
                    old.copy_(new)


def record(step: Callable[[], None]) -> Callable[[], None]:
    """What `capture.record` does, on a CPU. The first replay has happened already, so it is left out once."""
    tape, calls = Tape(), []
    with tape:
        step()

    def replay() -> None:
        calls.append(1)
        if len(calls) > 1:
            tape.replay()

    return replay
