"""An implementation to compare: loading an adapter file, and handing arrays over and back.

An adapter is a Python file with functions named as the pieces. It may say which arrays they take with
`ARRAYS = "torch"`, `"jax"` or `"numpy"`, and in `NOTES = {"piece": "…"}` why a piece is left out, or what to know of
it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
import importlib.util
import inspect
import os
from pathlib import Path
import sys
import sysconfig
import traceback
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import Refused, first_line

KINDS = ("numpy", "torch", "jax")


@dataclass(frozen=True)
class Adapter:
    """Functions by the names of their pieces, the arrays they take, and notes on pieces. hints: for its author."""

    functions: Mapping[str, Callable]
    arrays: str = "numpy"
    notes: Mapping[str, str] = field(default_factory=dict)
    name: str = "these functions"
    hints: tuple[str, ...] = ()

    def __post_init__(self):
        if self.arrays not in KINDS:
            raise Refused(f'ARRAYS must be "numpy", "torch" or "jax", got {self.arrays!r}')
        if self.arrays == "jax" and not importlib.util.find_spec("jax"):
            raise Refused('ARRAYS = "jax" needs JAX, which is not installed here: python -m pip install jax')
        if not isinstance(self.notes, Mapping):
            raise Refused(f"NOTES must be a dictionary of texts by piece, got {type(self.notes).__name__}")


def load(path: Path) -> Adapter:
    """The adapter in a file. Raises Refused if there is none, or if it can't be imported."""
    if path.is_dir():
        raise Refused(f"an adapter is a Python file, got the folder {path}")
    if not path.is_file():
        raise Refused(
            f"there is no file {path}; to write one to fill in: python -m dreamer_lite conformance {path} --template"
        )
    spec = importlib.util.spec_from_file_location(f"adapter_{path.stem}", path)
    if spec is None:
        raise Refused(f"an adapter is a Python file, got {path}")
    module = importlib.util.module_from_spec(spec)
    folder, sys.path[:] = list(sys.path), [str(path.parent.resolve()), *sys.path]
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise Refused(f"{path} can't be imported: {told(error, path)}") from error
    finally:
        sys.path[:] = folder
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    functions = {name: value for name, value in public.items() if not inspect.ismodule(value)}
    assumed = f'{path.name} has no ARRAYS: "numpy" is assumed, and gradients are not compared'
    hints = () if hasattr(module, "ARRAYS") else (assumed,)
    notes = getattr(module, "NOTES", {})
    return Adapter(functions, getattr(module, "ARRAYS", "numpy"), notes, path.stem, hints)


def told(error: BaseException, path: Path | None = None, function: Callable | None = None) -> str:
    """An error in one line, with the deepest line of the user's code: "TypeError: … (mine.py, line 7)".

    path: the adapter. The user's code is all but this package, Python's own and installed packages; if none of it is
    in the traceback, the line is where the function begins.
    """
    ours, python = (str(Path(folder)) + os.sep for folder in (Path(__file__).parents[1], sysconfig.get_path("stdlib")))
    frames = traceback.extract_tb(error.__traceback__)
    foreign = lambda file: file.startswith((ours, python, "<")) or "-packages" in file
    theirs = [frame for frame in frames if frame.filename == str(path) or not foreign(frame.filename)]
    code = getattr(function, "__code__", None)
    file, line = (code.co_filename, code.co_firstlineno) if code else ("", None)
    if theirs:
        file, line = theirs[-1].filename, theirs[-1].lineno
    words = first_line(error, 300)
    if isinstance(error, SyntaxError):
        file, line, words = error.filename or file, error.lineno, error.msg
    if "in-place operation" in words or "inplace operation" in words:
        words = f"{words.rstrip('.')}; your function changes its input"
    return f"{type(error).__name__}: {words}" + f" ({Path(file).name}, line {line})" * bool(file and line)


@dataclass(frozen=True)
class Function:
    """A function of an adapter, called with PyTorch's tensors and answering with them.

    It gets the first `count` arguments: those it leaves out at the end, its implementation fixes. Gradients flow
    through functions of torch and JAX, but not through those of numpy. usual: what an argument is if it isn't given.
    """

    function: Callable
    arrays: str = "torch"
    takes: int = 99  # how many arguments the piece has
    usual: Mapping[int, Any] = field(default_factory=dict, compare=False)
    cut: list[bool] | None = field(default=None, compare=False)  # if given: whether each call's gradient was missing

    @property
    def parameters(self) -> list[inspect.Parameter] | None:
        """Its positional parameters; None if it takes any number."""
        try:
            found = list(inspect.signature(self.function).parameters.values())
        except (TypeError, ValueError):
            return None
        if any(one.kind is one.VAR_POSITIONAL for one in found):
            return None
        return [one for one in found if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]

    @property
    def count(self) -> int:
        return self.takes if self.parameters is None else min(self.takes, len(self.parameters))

    @property
    def needs_last(self) -> bool:
        """Whether the piece's last argument must be given."""
        return self.count == self.takes and (self.parameters is None or self.parameters[-1].default is inspect._empty)

    def __call__(self, *arguments: Any) -> Any:
        call = {"torch": on_torch, "jax": on_jax, "numpy": on_numpy}[self.arrays]
        while len(arguments) < self.count and len(arguments) in self.usual:
            arguments = *arguments, self.usual[len(arguments)]
        found = call(self.function, arguments[: self.count])
        if found is None or found is ...:
            raise TypeError(f"it returned {found}, where an array is expected")
        if self.cut is not None and self.arrays != "numpy":
            self.cut.append(is_cut(found, arguments[: self.count]))
        return found


def is_cut(found: Any, arguments: tuple) -> bool:
    """Whether no gradient at all flows from what came back to the arguments that want one."""
    inputs, outputs = [], []
    mapped(arguments, lambda x: inputs.append(x) if x.requires_grad else None)
    mapped(found, lambda x: outputs.append(x) if x.is_floating_point() else None)
    if not inputs or not outputs or (isinstance(found, Mapping) and "gradients" in found):
        return False
    total = sum((x * torch.linspace(1, 2, x.numel()).view(x.shape)).sum() for x in outputs)
    if not total.requires_grad:
        return True
    gradients = torch.autograd.grad(total, inputs, retain_graph=True, allow_unused=True)
    return not any(g is not None and bool((g != 0).any()) for g in gradients)


def on_torch(function: Callable, arguments: tuple) -> Any:
    return answered(function(*arguments))


def on_numpy(function: Callable, arguments: tuple) -> Any:
    return answered(function(*mapped(arguments, lambda x: x.detach().numpy().copy())))


def on_jax(function: Callable, arguments: tuple) -> Any:
    """Gradients go through jax.vjp, so that to PyTorch the function is like one of its own."""
    import jax

    leaves: list[Tensor] = []
    mapped(arguments, lambda x: leaves.append(x) if x.requires_grad else None)
    if not leaves:
        return answered(function(*mapped(arguments, to_jax)))
    shape: list[Any] = []

    def pure(*values: Any) -> tuple:
        given = iter(values)
        found = function(*mapped(arguments, lambda x: next(given) if x.requires_grad else to_jax(x)))
        parts, tree = jax.tree_util.tree_flatten(found)
        shape[:] = [tree]
        return tuple(jax.numpy.asarray(part, "float32") for part in parts)

    return answered(jax.tree_util.tree_unflatten(*(lambda parts: (shape[0], parts))(Bridge.apply(pure, *leaves))))


class Bridge(torch.autograd.Function):
    """A pure JAX function with its gradient, as an operation of PyTorch's."""

    @staticmethod
    def forward(ctx: Any, pure: Callable, *leaves: Tensor) -> tuple[Tensor, ...]:
        import jax

        found, ctx.back = jax.vjp(pure, *map(to_jax, leaves))
        return tuple(torch.tensor(np.asarray(part)) for part in found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple:
        return None, *(torch.tensor(np.asarray(part)) for part in ctx.back(tuple(map(to_jax, gradients))))


def to_jax(x: Tensor) -> Any:
    import jax

    return jax.numpy.asarray(x.detach().numpy())


def mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """The same dictionaries and tuples, with each tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: mapped(part, change) for name, part in value.items()}
    return tuple(mapped(part, change) for part in value) if isinstance(value, (tuple, list)) else value


def answered(value: Any) -> Any:
    """What came back, as tensors: numbers with a fraction as float32; a list of arrays of one shape as one array."""
    if isinstance(value, Mapping):
        return {name: answered(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        parts = tuple(map(answered, value))
        alike = all(isinstance(part, Tensor) and part.shape == parts[0].shape for part in parts)
        return torch.stack(parts) if isinstance(value, list) and parts and alike else parts
    if value is None or value is ... or isinstance(value, str):
        return value
    x = value if isinstance(value, Tensor) else np.asarray(value)
    if not isinstance(x, Tensor):
        x = x.astype(np.float32) if x.dtype.name == "bfloat16" else x
        if x.dtype.kind not in "fiub":
            raise TypeError(f"it returned a {type(value).__name__}, where an array of real numbers is expected")
        x = torch.tensor(x)
    return x.float() if x.is_floating_point() else x
