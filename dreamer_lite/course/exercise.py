"""What an exercise is: the finished function, cases to try it on, known mistakes, hints."""

from collections.abc import Callable, Iterator
import contextlib
from dataclasses import dataclass
import sys
from typing import Any

import torch
from torch import Tensor

from .sandbox import copied, unchanged

Probe = Callable[..., dict[str, Any]]


class Complaint(Exception):
    """What is wrong with a version, in words that are shown as they are."""


@dataclass(frozen=True)
class Mistake:
    """A wrong version that people write, and the words that name it."""

    wrong: Callable
    words: str


@dataclass(frozen=True)
class Exercise:
    """One function to write. `cases` makes fresh inputs, small ones first; `probe` runs a version on one of them and returns
    what is compared, by name: {"the result": …, "the gradient": …}. `letters` names the axes of the result."""

    name: str
    finished: Callable
    cases: Callable[[], list[tuple]]
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, str, str]
    letters: str = ""
    probe: Probe | None = None
    judge: Callable[[Callable], str | None] | None = None  # for answers that are not unique: what is wrong, or None
    tolerance: float = 1e-4
    kept_for: str | None = None  # "module:name" in the package that the reader's version can stand in for

    def run(self, version: Callable, case: tuple) -> dict[str, Any]:
        """What a version makes of a case. Raises Complaint if it writes into what it was given."""
        given = copied(case)
        with standing_in(self.finished, version) if self.kept_for else contextlib.nullcontext():
            found = self.probe(version, *given) if self.probe else {"the result": version(*given)}
        if not unchanged(given, case):
            raise Complaint("It writes into its input, which others still need. Make a new tensor, or work on a `.clone()`.")
        return found


def homes(finished: Callable) -> list[tuple[Any, str]]:
    """Every name in the package, of a module or of a class in it, that stands for this function. The course keeps its own."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("dreamer_lite.") and ".course" not in name]
    classes = {thing for module in modules for thing in vars(module).values() if isinstance(thing, type)}
    return [(owner, name) for owner in [*modules, *classes] for name, thing in list(vars(owner).items()) if thing is finished]


@contextlib.contextmanager
def standing_in(finished: Callable, version: Callable) -> Iterator[None]:
    """Inside, the package runs with `version` wherever it says `finished`; after, with its own again, whatever happened."""
    places = homes(finished)
    try:
        for owner, name in places:
            setattr(owner, name, version)
        yield
    finally:
        for owner, name in places:
            setattr(owner, name, finished)


def with_gradient(version: Callable, x: Tensor, *rest: Any) -> dict[str, Any]:
    """A probe: the result, and its gradient with respect to the first input."""
    x = x.clone().requires_grad_(True)
    out = version(x, *rest)
    if not isinstance(out, Tensor):
        return {"the result": out, "the gradient": out}
    if not out.requires_grad:
        raise Complaint("No gradient flows through it; use torch functions, without detach, item or numpy.")
    return {"the result": out, "the gradient": torch.autograd.grad(out.sum(), x)[0]}


def kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
