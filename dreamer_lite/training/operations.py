"""Which operations a train step launches: for the table of `bench`, for notebook 10, and to decide about compiling."""

from collections.abc import Callable, Iterable
import hashlib
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only
from torch.utils.weak import WeakIdKeyDictionary


class Operations(TorchDispatchMode):
    """Records the operations inside by the number of values each produces. Views produce none."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if made := written(function, args, out):
            self.sizes.append(sum(part.numel() for part in made))
        return out


def operations(step: Callable[[], Any]) -> list[int]:
    """The size of every operation that `step` launches: how many values it produces."""
    with Operations() as noted:
        step()
    return noted.sizes


def written(function: Any, args: tuple, out: Any) -> list[Tensor]:
    """The tensors that an operation made or changed; views are none."""
    parts = [] if function.is_view else tree_leaves(args[0] if out is None else out)
    return [part for part in parts if isinstance(part, Tensor)]


class Recipe(TorchDispatchMode):
    """Hashes the operations inside: each with its settings, and with what wrote the tensors that it reads."""

    def __init__(self, given: Iterable[Tensor]):
        super().__init__()
        self.hash, self.count = hashlib.sha256(), 0
        self.writer = WeakIdKeyDictionary()  # by the memory of a tensor; freed memory is forgotten
        for number, tensor in enumerate(given):
            self.note(tensor, f"given {number}")

    def note(self, tensor: Tensor, writer: Any) -> None:
        self.writer[tensor.untyped_storage()] = writer

    def described(self, tensor: Tensor) -> tuple:
        memory = tensor.untyped_storage()
        if memory not in self.writer:  # a constant
            self.note(tensor, (tensor.tolist(), "constant"))
        return self.writer[memory], tensor.dtype, tensor.shape, tensor.stride(), tensor.storage_offset()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        self.hash.update(f"{function} {tree_map_only(Tensor, self.described, (args, kwargs))}".encode())
        out = function(*args, **kwargs)
        self.count += 1
        for tensor in written(function, args, out):
            self.note(tensor, self.count)
        return out


def fingerprint(step: Callable[[], Any], given: Iterable[Tensor]) -> str:
    """A hash of what `step` computes and returns.

    It counts which operations run, with which settings and on which results, and which of these are returned where.
    given: weights and inputs, whose values don't count.
    """
    with Recipe(given) as recipe:
        returned = step()
    leaves, places = tree_flatten(returned)
    recipe.hash.update(f"{places} {tree_map_only(Tensor, recipe.described, leaves)}".encode())
    return recipe.hash.hexdigest()
