"""Compares one function with the official numbers, and finds words for the difference.

First the official arrays, then the cases of the course's exercise, if the piece has one: they hold other shapes and
settings. A difference is looked for among known designs and mistakes, then by the course's judge: its bank of mistakes,
and how the numbers relate.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..course import judge
from ..course.exercise import Exercise
from ..course.relations import relation
from ..course.sandbox import untouched
from .adapter import Function, told
from .arrays import Golden, Output
from .known import DESIGNS, FIRST, MISTAKES
from .pieces import Piece

STATES = {  # in the table, and whether the official numbers come out
    "equal": True,
    "remark": True,  # they do, but another case differs
    "design": False,
    "off": False,
    "raised": False,
    "not there": True,
}

NO_GRADIENT = "no gradient: the result is cut off from the input, by detach, stop_gradient, no_grad, item or numpy."


@dataclass(frozen=True)
class Row:
    """What came of one piece. worst: the official array that is farthest off, where, and how far."""

    piece: str
    state: str
    words: str = ""
    arrays: int = 0  # official arrays that were compared
    worst: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in ("", {}, 0)}


def compare(piece: Piece, function: Callable, arrays: str = "torch", file: Path | None = None) -> Row:
    """One row. arrays: what the function takes; file: whose lines are named in errors."""
    usual = {piece.arguments.index(name): value for name, value in piece.fixed.items()}
    f = Function(function, arrays, len(piece.arguments), usual)
    cut: list[bool] = []
    try:
        with untouched():
            torch.manual_seed(0)
            outputs = outcome(piece, replace(f, cut=cut))
    except (Exception, SystemExit) as error:
        named, _ = further_cases(piece, f)
        return Row(piece.name, "raised", f"{told(error, file, function)}{f'. {named}' * bool(named)}")
    names = [output.name for output in outputs]
    mean_only = any("/mean_" in name for name in names) and not any(name.endswith("_loss") for name in names)
    piece = averaged(piece) if mean_only else piece
    if any(cut):
        values = [output for output in outputs if not of_gradient(output.name)]
        row = Row(piece.name, "off", NO_GRADIENT, len(outputs))
        if all(output.equal for output in values):
            return row if len(values) == len(outputs) else replace(row, worst=where(worst_of(outputs)))
        also = differing(piece, f, values, values_only=True)
        return replace(row, words=f"{NO_GRADIENT} {also.words}".strip(), worst=also.worst)
    if all(output.equal for output in outputs):
        remark = "" if mean_only else " ".join(filter(None, further_cases(piece, f)))
        return Row(piece.name, "remark" if remark else "equal", remark, len(outputs))
    return differing(piece, f, outputs)


@lru_cache(None)
def averaged(piece: Piece) -> Piece:
    """A piece whose function gives the mean of a loss: the versions of its exercise give theirs, too."""
    return replace(piece, through=lambda version: lambda *case: piece.through(version)(*case).mean())


def worst_of(outputs: list[Output]) -> Output:
    """The output that is farthest off, or the first of a wrong shape."""
    wrong = [output for output in outputs if not output.equal]
    shape = next((output for output in wrong if output.found.shape != output.official.shape), None)
    return shape or max(wrong, key=lambda output: float(output.gap.max()) / output.scale)


def differing(piece: Piece, f: Function, outputs: list[Output], values_only: bool = False) -> Row:
    """The row of a function that is off: by a known design, or else by a mistake, if it is known."""
    worst = worst_of(outputs)
    if words := matching(piece, outputs, DESIGNS):
        return Row(piece.name, "design", words, len(outputs), where(worst))
    named, seen = further_cases(piece, f, values_only)
    slip = matching(piece, outputs, FIRST) or named or matching(piece, outputs, MISTAKES)
    words = slip or related(worst) or seen
    return Row(piece.name, "off", words, len(outputs), where(worst))


def outcome(piece: Piece, f: Function) -> list[Output]:
    """All official arrays of a piece, up to one of a wrong shape; without gradients if none can flow."""
    found: list[Output] = []
    try:
        for name in piece.files:
            for output in piece.probe(f, Golden(name)):
                if f.arrays != "numpy" or not of_gradient(output.name):
                    found.append(output)
    except Exception:
        if all(output.found.shape == output.official.shape for output in found):
            raise
    return found


def of_gradient(name: str) -> bool:
    return "grad" in name.split("/")[-1]


def where(worst: Output) -> dict[str, Any]:
    """The entry that is farthest off."""
    yours, official = worst.found.double(), worst.official.double()
    if yours.shape != official.shape:
        return {"array": worst.name, "shape": list(yours.shape), "official_shape": list(official.shape)}
    at = torch.unravel_index(worst.gap.argmax(), worst.gap.shape) if yours.ndim else ()
    if worst.entries:
        name = f"{worst.name.split('/')[0]}/{worst.entries[int(at[0])]}"
        return {"array": name, "at": [], "yours": float(yours[at]), "official": float(official[at]), "of": 1}
    given = {} if worst.of is None else {"x": float(worst.of.detach()[at])}
    return {
        "array": worst.name,
        "at": [int(k) for k in at],
        **given,
        "yours": float(yours[at]),
        "official": float(official[at]),
        "differ": int((worst.off > 1).sum()),
        "of": yours.numel(),
    }


@lru_cache(None)
def outcome_of_known(piece: Piece, wrong: Callable, count: int) -> dict[str, torch.Tensor] | None:
    try:
        with untouched():
            torch.manual_seed(0)
            f = Function(wrong, "torch", count)
            return {output.name: output.found for output in outcome(piece, f)}
    except Exception:
        return None


def matching(piece: Piece, outputs: list[Output], known: dict) -> str:
    """The words of the design or mistake that gives the same numbers in every array; empty if none does."""
    for wrong, words in known.get(piece.name, ()):
        theirs = outcome_of_known(piece, wrong, len(piece.arguments)) or {}
        if all(output.name in theirs and alike(output, theirs[output.name]) for output in outputs):
            return words
    return ""


def alike(output: Output, other: torch.Tensor) -> bool:
    a, b = output.found.double(), other.double()
    if a.shape != b.shape:
        return False
    allowed = 10 * output.allowed + 1e-4 * b.abs() + 1e-5 * min(output.scale, 1.0)
    return bool(((a - b).abs() <= allowed)[b.isfinite()].all()) and bool((a.isfinite() == b.isfinite()).all())


def related(worst: Output) -> str:
    """How the numbers relate to the official ones, in the words of the course; empty if nothing is recognised."""
    name = "the gradient" if of_gradient(worst.name) else "the result"
    return relation(name, worst.found.float(), worst.official.float()) or ""


def further_cases(piece: Piece, f: Function, values_only: bool = False) -> tuple[str, str]:
    """What the course's judge says of the function in the cases of its exercise: the mistake's name, and a case that
    shows it; each empty if there is none."""
    exercise = fitting(piece, f, values_only or f.arrays == "numpy")
    if exercise is None:
        return "", ""
    try:
        with untouched():
            verdict = judge.compare(exercise, piece.version(f))
    except (Exception, SystemExit) as error:
        return "", f"It raised {type(error).__name__} in a further case."
    return ("", *verdict.words)[-2:] if verdict.words else ("", "")


@lru_cache(None)
def exercise_of(piece: Piece, values_only: bool) -> Exercise | None:
    """The course's exercise for a piece, without what an adapter doesn't give."""
    if not piece.exercise:
        return None
    folder, name = piece.exercise.split(":")
    exercises = import_module(f"..course.{folder}.exercises", __package__).EXERCISES
    exercise = alone(next(one for one in exercises if one.name == name))
    ignored = (*piece.ignored, "gradient") if values_only else piece.ignored
    plain = exercise.probe or (lambda version, *case: {"the result": version(*case)})
    probe = lambda version, *case: plain(piece.through(version), *case)
    kept = lambda name: not any(word in name for word in ignored)
    kept_only = lambda version, *case: {name: x for name, x in probe(version, *case).items() if kept(name)}
    cases = lambda: [case for case in exercise.cases() if piece.asked(case)]
    return replace(exercise, probe=kept_only, cases=cases, tolerance=max(exercise.tolerance, 1e-3))  # any way to sum


def alone(exercise: Exercise) -> Exercise:
    """The exercise, whose versions don't stand in for the package's own: an adapter may be built on the package."""
    finished = wraps(exercise.finished)(lambda *case, **named: exercise.finished(*case, **named))
    return replace(exercise, finished=finished)


@lru_cache(None)
def fitting(piece: Piece, f: Function, values_only: bool) -> Exercise | None:
    """The exercise with those cases in which what the function leaves out has its usual value."""
    exercise, names = exercise_of(piece, values_only), piece.arguments
    if exercise is None or f.count == len(names):
        return exercise
    left_out = names[f.count :]
    if any(name not in piece.fixed or name not in exercise.names() for name in left_out):
        return None
    places = {exercise.names().index(name): piece.fixed[name] for name in left_out}
    usual = lambda case: all(k >= len(case) or judge.same(case[k], value, 1e-6) for k, value in places.items())
    cases = lambda: [case for case in exercise.cases() if usual(case)]
    return replace(exercise, cases=cases) if judge.fresh_cases(replace(exercise, cases=cases)) else None
