"""What an exercise is: the finished function, cases to try it on, known mistakes, hints."""

from collections.abc import Callable
from dataclasses import dataclass
import inspect
from typing import Any

import torch
from torch import Tensor

from ..rssm import State
from .plug import standing_in
from .sandbox import copied, unchanged

Probe = Callable[..., dict[str, Any]]


class Complaint(Exception):
    """What is wrong with a version, worded as the reader sees it."""


@dataclass(frozen=True)
class Mistake:
    """A wrong version that people write, and the words that name it. unused: the index of an argument it ignores."""

    wrong: Callable
    words: str
    unused: int | None = None


@dataclass(frozen=True)
class Exercise:
    """One function to write. `cases` makes inputs, the notebook's example by hand first. `probe` runs a version on
    one case and returns what is compared, in this order: {"the result": …, "the gradient": …}. `letters` names
    the axes of the result."""

    name: str
    finished: Callable
    cases: Callable[[], list[tuple]]
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, str, str]
    letters: str = ""
    probe: Probe | None = None
    judge: Callable[[Callable], str | None] | None = (
        None  # where several answers are right: says what is wrong, or None
    )
    tolerance: float = 1e-4
    kept_for: str | None = None  # "module:name" in the package that the reader's version can stand in for
    given: tuple[str, ...] = ()  # names of a case's parts, if they are not the arguments
    itself: str = "self"  # what the exercise calls `self`, if it is a method
    apart: tuple[str, ...] = ()  # measures that the probe takes on data of its own, not on the case

    def run(self, version: Callable, case: tuple) -> dict[str, Any]:
        """What a version returns for a case. Raises Complaint if it writes into its inputs."""
        given, learns = copied(case), torch.is_grad_enabled()
        with standing_in(self.finished, version):
            found = self.probe(version, *given) if self.probe else {"the result": version(*given)}
        if torch.is_grad_enabled() != learns:
            torch.set_grad_enabled(learns)
            raise Complaint(
                "It turns gradients off and not on again. Use `with torch.no_grad():`, which ends by itself."
            )
        if not unchanged(given, case):
            raise Complaint(
                "It writes into its input, which other code still needs. Make a new tensor, or work on a `.clone()`."
            )
        return found

    def names(self) -> list[str]:
        """The names of a case's parts: `given`, or else the exercise's arguments."""
        return list(self.given) or [
            self.itself if name == "self" else name for name in inspect.signature(self.finished).parameters
        ]


# For cases: numbers with two decimals, so that a reader can follow by hand.


def normal(*shape: int, size: float = 1.0) -> Tensor:
    return hundredths(torch.randn(shape) * size)


def uniform(*shape: int) -> Tensor:
    return hundredths(torch.rand(shape))


def hundredths(x: Tensor) -> Tensor:
    return (x * 100).round() / 100


def dice(*shape: int, sure: float = 2.0) -> Tensor:
    """Probabilities over the last axis, in whole percent, none of them 0."""
    percent = ((torch.randn(shape) * sure).softmax(-1) * 100).floor().clamp(min=1)
    rest = 100 - percent.sum(-1, keepdim=True)
    return percent.scatter_add(-1, percent.argmax(-1, keepdim=True), rest) / 100


# For probes: take the result apart.


def gradient(out: Any, x: Tensor) -> Tensor:
    """The gradient of the sum of `out` with respect to x; zeros where none flows."""
    if not isinstance(out, Tensor) or not out.requires_grad:
        return torch.zeros_like(x)
    found = torch.autograd.grad(out.sum(), x, allow_unused=True, retain_graph=True)[0]
    return torch.zeros_like(x) if found is None else found


def up_to_a_constant(slope: Tensor) -> Tensor:
    """A gradient at dice, less its mean over each die: p adds up to 1, so that part has no effect, and right versions
    differ in it."""
    return slope - slope.mean(-1, keepdim=True)


def with_gradients(*names: str) -> Probe:
    """A probe of the result, and of its gradient at the first inputs, which have these names.

    The entries of the result are weighted differently, so that a sum that is always 1 has a gradient, too.
    """

    def probe(version: Callable, *case: Any) -> dict[str, Any]:
        inputs = [learnable(part) if k < len(names) else part for k, part in enumerate(case)]
        taken = [(name, part) for name, part in zip(names, inputs) if isinstance(part, Tensor) and part.requires_grad]
        out = version(*inputs)
        for name, part in taken:
            if not part.requires_grad:
                raise Complaint(
                    f"It changes its input `{name}` itself, so that no other code gets a gradient through it. "
                    f"`{name}.detach()` makes a new tensor."
                )
        weighed = out * torch.linspace(1, 2, out.numel()).view(out.shape) if isinstance(out, Tensor) else out
        return {"the result": out} | {f"the gradient at {name}": gradient(weighed, part) for name, part in taken}

    return probe


def learnable(part: Any) -> Any:
    return part.requires_grad_(True) if isinstance(part, Tensor) and part.is_floating_point() else part


def a_state(value: Any, what: str) -> State:
    """The value, if it is a State. Raises Complaint."""
    if not isinstance(value, State):
        raise Complaint(
            f"{what} must be a State, which has `.h` and `.z`; yours is {kind(value)}. `State(h, z)` makes one."
        )
    return value


def keeping(parts: dict[str, Any]) -> str:
    """The names of the parts that carry a gradient."""
    return ", ".join(name for name, part in parts.items() if isinstance(part, Tensor) and part.requires_grad) or "none"


def trainable(parts: dict[str, Any]) -> None:
    """Raises Complaint if a loss can't be trained through a part, though it needs no gradient itself."""
    if any(isinstance(part, Tensor) and part.is_inference() for part in parts.values()):
        raise Complaint("Nothing can be trained with what `torch.inference_mode` makes: use `torch.no_grad`.")


def kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return f"a plain {type(value).__name__} of {len(value)}"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
