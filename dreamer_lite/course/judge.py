"""Judges a reader's function: runs it, compares it with the finished one, names the mistake."""

import ast
from collections.abc import Callable
import contextlib
from dataclasses import dataclass, field
import dis
from functools import lru_cache
import inspect
import io
import re
import textwrap
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import cap, raised, short
from .exercise import Complaint, Exercise, Mistake, kind
from .relations import relation
from .sandbox import SECONDS, WAITING, TookTooLong, copied, deadline, off_the_clock, untouched
from .suspects import suspects

NUMBER = (bool, int, float, np.bool_, np.integer, np.floating)


@dataclass
class Verdict:
    """`state` is right, not yet or blank; `words` say why, one sentence a line."""

    state: str
    words: list[str] = field(default_factory=list)


def does_nothing(version: Any) -> bool:
    """Whether a function's body is no more than a docstring and `...`, or there is no function."""
    if not inspect.isfunction(version):
        return version is None or version is ...
    idle = {"RESUME", "LOAD_CONST", "POP_TOP", "RETURN_VALUE", "RETURN_CONST", "NOP", "LOAD_COMMON_CONSTANT"}
    steps = [step for step in dis.get_instructions(version)]
    return all(step.opname in idle for step in steps) and all(
        step.argval is None or step.argval is ... for step in steps if step.opname in ("LOAD_CONST", "RETURN_CONST")
    )


def is_blank(version: Any) -> bool:
    """Whether a function still has its `...` somewhere, or does nothing."""
    if does_nothing(version):
        return True
    if not inspect.isfunction(version):
        return False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(version)))
    except (OSError, TypeError, SyntaxError):
        return False
    return any(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...
        for node in ast.walk(tree)
    )


def judge(exercise: Exercise, version: Any) -> Verdict:
    """The verdict on one version. Never raises, never hangs for long, leaves the random state as it was."""
    if is_blank(version):
        return Verdict("blank")
    if not callable(version):
        return Verdict(
            "not yet",
            [
                f"`check` needs the function itself, but got {short(version)}. "
                f"Write `{exercise.name} = check({exercise.name})`, without calling it."
            ],
        )
    printed = io.StringIO()
    try:
        for k in range(len(unspoiled_cases(exercise))):  # before the reader's code, which may spoil what they need
            answer(exercise, exercise.finished, k)
        with untouched(), deadline(SECONDS), contextlib.redirect_stdout(printed):
            verdict = compare(exercise, version)
    except TookTooLong:
        verdict = Verdict(
            "not yet",
            [
                f"It was stopped: a check may compute for {SECONDS:g} seconds, or wait for {WAITING:g}. Is there a "
                "loop that never ends, or a sleep?"
            ],
        )
    except KeyboardInterrupt:
        verdict = Verdict("not yet", ["It was interrupted before the check was done."])
    except BaseException as error:  # wild code: sys.exit, RecursionError, MemoryError, anything
        verdict = Verdict("not yet", [raised(error, version)])
    if printed.getvalue() and verdict.state != "right":
        verdict.words += ["It printed: " + " / ".join(printed.getvalue().strip().splitlines()[:5])]
    return verdict


def compare(exercise: Exercise, version: Callable) -> Verdict:
    if exercise.judge:
        words = exercise.judge(version)
        return Verdict("right") if words is None else Verdict("not yet", [words])
    cases = fresh_cases(exercise)
    for k, case in enumerate(cases):
        expected = answer(exercise, exercise.finished, k)
        try:
            found = exercise.run(version, case)
        except Complaint as complaint:
            return Verdict("not yet", [str(complaint)])
        except Exception as error:
            named = same_error(exercise, version, cases, k, error)
            about = "" if exercise.apart else inputs(exercise, case)  # else it may be of other data
            return Verdict("not yet", [*([named] if named else []), raised(error, version) + about])
        if wrong := difference(found, expected, exercise):
            name, words = wrong
            named = known(exercise, version, cases, k) or everywhere(
                exercise, version, cases, name, relation(name, found[name], expected[name])
            )
            about = "" if name in exercise.apart else inputs(exercise, case)
            return Verdict("not yet", [*([named] if named else []), words + about])
    words = default_problem(version, exercise)
    return Verdict("not yet", [words]) if words else Verdict("right")


def fresh_cases(exercise: Exercise) -> list[tuple]:
    """The same cases at each try, made anew, since a reader's code may modify them."""
    torch.manual_seed(0)
    return exercise.cases()


@lru_cache(None)
def unspoiled_cases(exercise: Exercise) -> list[tuple]:
    with untouched():
        return fresh_cases(exercise)


@lru_cache(None)
def invited(exercise: Exercise) -> tuple[Mistake, ...]:
    """The generic mistakes, for this exercise."""
    return () if exercise.given else tuple(suspects(exercise, unspoiled_cases(exercise)))


@lru_cache(None)
def answer(exercise: Exercise, version: Callable, k: int) -> dict[str, Any] | None:
    """What the finished version, or a mistake, returns for case k; None if a mistake fails.

    Cached, since each try asks for it again, so nothing that a reader's code has left behind may affect it.
    """
    case = unspoiled_cases(exercise)[k]
    with untouched(), off_the_clock():
        torch.manual_seed(0)
        found = exercise.run(version, case) if version is exercise.finished else outcome(exercise, version, case)
    return copied(found)  # without the graphs that led to it


def default_problem(version: Callable, exercise: Exercise) -> str | None:
    """What is wrong if an argument with a default is called otherwise than in the exercise, or has another default."""
    try:
        yours, ours = (list(inspect.signature(f).parameters.values()) for f in (version, exercise.finished))
    except (TypeError, ValueError):
        return None
    for name, mine, right in zip(exercise.names(), yours, ours):
        if mine.kind is not mine.POSITIONAL_OR_KEYWORD:
            continue
        if right.default is not right.empty and mine.name != right.name:
            return (
                f"Your argument `{mine.name}` must be called `{right.name}`, as in the exercise: other code gives it "
                "by name."
            )
        if mine.default != right.default:
            given = "is missing" if mine.default is inspect.Parameter.empty else f"is {short(mine.default)}"
            return (
                f"The default of `{name}` {given}; in the exercise it is {short(right.default)}, and other code "
                "relies on it."
            )
    return None


def known(exercise: Exercise, version: Callable, cases: list[tuple], first: int) -> str | None:
    """The words of the mistake that behaves like this version: in the first case where it is wrong, and in most cases.

    The exercise's own mistakes come first, then the generic ones.
    """
    yours = [outcome(exercise, version, case) for case in cases]
    if yours[first] is not None and alike(yours[first], answer(exercise, exercise.finished, first), exercise):
        return "It gives a different result each time for the same input."
    for likely in (exercise.mistakes, invited(exercise)):
        best, words = 0.6, None
        for mistake in likely:
            if not alike(yours[first], answer(exercise, mistake.wrong, first), exercise):
                continue
            if mistake.unused is not None and not unused(exercise, version, cases, mistake.unused):
                continue
            theirs = [answer(exercise, mistake.wrong, k) for k in range(len(cases))]
            share = sum(alike(a, b, exercise) or a is b is None for a, b in zip(yours, theirs)) / len(cases)
            if share > best:
                best, words = share, mistake.words
        if words:
            return words
    return None


def unused(exercise: Exercise, version: Callable, cases: list[tuple], k: int) -> bool:
    """Whether a version returns the same, whatever argument k is: it is called with that argument set to 0, and to
    1, in every case."""
    for case in cases:
        for other in (torch.zeros_like(case[k]), torch.ones_like(case[k])):
            changed = (*case[:k], other, *case[k + 1 :])
            if not alike(outcome(exercise, version, case), outcome(exercise, version, changed), exercise):
                return False
    return True


def everywhere(exercise: Exercise, version: Callable, cases: list[tuple], name: str, words: str | None) -> str | None:
    """The words for the first wrong case, if they hold, numbers aside, in most of the wrong ones; a single case may
    mislead."""
    if words is None:
        return None
    found_words, shapes = [], False
    for k, case in enumerate(cases):
        found, expected = outcome(exercise, version, case), answer(exercise, exercise.finished, k)
        if not alike(found, expected, exercise):
            found_words.append(found is not None and relation(name, found[name], expected[name]) or "")
            shapes = (
                shapes or found is not None and getattr(found[name], "shape", 0) != getattr(expected[name], "shape", 0)
            )
    if shapes:  # the same slip has other words for other numbers of axes
        return words if all(found_words) else None
    plain = [re.sub(r"[-+.\de/]+", "", line) for line in found_words]
    return words if plain.count(re.sub(r"[-+.\de/]+", "", words)) > 0.6 * len(plain) else None


def same_error(exercise: Exercise, version: Callable, cases: list[tuple], k: int, error: Exception) -> str | None:
    """The words of the listed mistake that fails in the same case for the same reason, and is right in those before."""
    for mistake in exercise.mistakes:
        if any(
            not alike(answer(exercise, mistake.wrong, j), answer(exercise, exercise.finished, j), exercise)
            for j in range(k)
        ):
            continue
        try:
            exercise.run(mistake.wrong, cases[k])
        except Exception as theirs:
            if str(theirs) == str(error):
                return mistake.words
    return None


def outcome(exercise: Exercise, version: Callable, case: tuple) -> dict[str, Any] | None:
    try:
        return exercise.run(version, case)
    except Exception:
        return None


def alike(a: dict | None, b: dict | None, exercise: Exercise) -> bool:
    return a is not None and b is not None and difference(a, b, exercise) is None


def tensors(value: Any) -> Any:
    """Numbers and tensors as float64 tensors; tuples as tuples of them; the rest as it is."""
    if isinstance(value, NUMBER):
        return torch.tensor(value, dtype=torch.float64)
    if isinstance(value, Tensor):
        return value.detach().to("cpu", torch.float64)
    return tuple(tensors(part) for part in value) if isinstance(value, (tuple, list)) else value


def same(yours: Any, expected: Any, tolerance: float) -> bool:
    yours, expected = tensors(yours), tensors(expected)
    if isinstance(expected, tuple):
        return len(yours) == len(expected) and all(same(a, b, tolerance) for a, b in zip(yours, expected))
    if not isinstance(expected, Tensor):
        return type(yours) is type(expected) and yours == expected
    return yours.shape == expected.shape and torch.allclose(
        yours, expected, tolerance, tolerance * 1e-2, equal_nan=True
    )


def structure_problem(yours: Any, expected: Any) -> str | None:
    """What is wrong with the type of the result, if its values can't be compared, or None."""
    if yours is None and expected is not None:
        return "It returns None here. Is there a `return` on every path?"
    if isinstance(expected, Tensor) and not isinstance(yours, Tensor):
        return f"It returns {kind(yours)}; a tensor is expected."
    if isinstance(expected, (tuple, list)):
        if not isinstance(yours, (tuple, list)):
            return f"It returns {kind(yours)}; {len(expected)} things are expected, as in `return a, b`."
        if len(yours) != len(expected):
            return f"It returns {len(yours)} thing{'s' * (len(yours) != 1)}; expected: {len(expected)}."
        return next(filter(None, map(structure_problem, yours, expected)), None)
    if isinstance(expected, dict) and not isinstance(yours, dict):
        return f"It returns {kind(yours)}; a dictionary is expected."
    if isinstance(expected, NUMBER) and not isinstance(yours, NUMBER):
        if not (isinstance(yours, Tensor) and yours.numel() == 1):
            return f"It returns {kind(yours)}; a number is expected."
    if expected is None and yours is not None:
        return f"It returns {short(yours)}; expected None."
    return None


def family_problem(yours: Any, expected: Any, strict: bool) -> str | None:
    """What is wrong if right values have the wrong number type, or None."""
    if not isinstance(expected, Tensor) or not isinstance(yours, Tensor):
        return None
    if family(yours) != family(expected):
        return f"The values are right, but they are {family(yours)}; they should be {family(expected)}."
    if strict and yours.dtype != expected.dtype:
        return (
            f"The values are right, but in {str(yours.dtype)[6:]}. Everything in the agent is "
            f"{str(expected.dtype)[6:]}, and one such tensor converts everything it touches to its own type."
        )
    return None


def family(x: Tensor) -> str:
    return (
        "true and false"
        if x.dtype == torch.bool
        else "floating-point numbers"
        if x.is_floating_point()
        else "whole numbers"
    )


def difference(yours: dict, expected: dict, exercise: Exercise) -> tuple[str, str] | None:
    """The first thing that differs between two results, and how, in words; or None. Values come before types."""
    for name, right in expected.items():
        problem = structure_problem(yours[name], right)
        for what, a, b in [] if problem else pieces(name, yours[name], right):
            problem = (
                problem
                or shape_difference(a, b, what, exercise.letters)
                or value_difference(a, b, what, exercise.tolerance)
            )
        problem = problem or family_problem(yours[name], right, exercise.kept_for is not None)
        if problem:
            return name, problem
    return None


def pieces(name: str, yours: Any, expected: Any) -> list[tuple[str, Any, Any]]:
    mine, right = tensors(yours), tensors(expected)
    if isinstance(right, tuple):
        return [(f"{name}, part {k + 1}", a, b) for k, (a, b) in enumerate(zip(mine, right))]
    return [(name, mine, right)]


def shape_difference(a: Any, b: Any, what: str, letters: str) -> str | None:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.shape == b.shape:
        return None
    words = f"The shape of {what} is {tuple(a.shape)}; expected {tuple(b.shape)}"
    if sorted(a.shape) == sorted(b.shape) and len(letters) == b.ndim:
        by_size = dict(zip(b.shape, letters))
        words += f": yours is ({', '.join(by_size[n] for n in a.shape)}), expected ({', '.join(letters)}), axes swapped"
    elif sorted(a.shape) == sorted(b.shape):
        words += ": the axes are swapped"
    return words + "."


def value_difference(a: Any, b: Any, what: str, tolerance: float) -> str | None:
    if same(a, b, tolerance):
        return None
    if not isinstance(b, Tensor) or not isinstance(a, Tensor):
        return f"{cap(what)}: yours is {short(a)}, expected {short(b)}."
    wrong = ~torch.isclose(a, b, tolerance, tolerance * 1e-2, equal_nan=True)
    at = tuple(wrong.nonzero()[0].tolist()) if b.ndim else ()
    where = f" at [{', '.join(map(str, at))}]" if at else ""
    if what.startswith("whether"):
        return f"{cap(what)}: yours says {'yes' if a[at] else 'no'}, expected {'yes' if b[at] else 'no'}."
    if not a[at].isfinite() and b[at].isfinite():
        return f"{cap(what)} holds {float(a[at])}{where}; expected {float(b[at]):.6g}."
    share = f", and {int(wrong.sum())} of {wrong.numel()} values differ" if wrong.numel() > 1 else ""
    return f"{cap(what)}{where}: yours is {float(a[at]) + 0:.6g}, expected {float(b[at]) + 0:.6g}{share}."


def inputs(exercise: Exercise, case: tuple) -> str:
    """The inputs of a case in a few words: values where they are few, else shapes."""
    parts = [
        f"{name} = {short(part)}" for name, part in zip(exercise.names(), case) if not isinstance(part, torch.nn.Module)
    ]
    return f" The input was {', '.join(parts)}." if parts else ""
