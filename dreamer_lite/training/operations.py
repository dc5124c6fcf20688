"""Which operations a train step launches: for the table of `bench`, for notebook 10, and to decide about compiling."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Operations(TorchDispatchMode):
    """Records the operations inside by the number of values each produces. Views produce none."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = function(*args, **(kwargs or {}))
        made = [part for part in tree_leaves(args[0] if out is None else out) if isinstance(part, torch.Tensor)]
        if made and not function.is_view:
            self.sizes.append(sum(part.numel() for part in made))
        return out


def operations(step: Callable[[], Any]) -> list[int]:
    """The size of every operation that `step` launches: how many values it produces."""
    with Operations() as noted:
        step()
    return noted.sizes
