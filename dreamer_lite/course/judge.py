"""Judging a reader's function: run it, compare it with the finished one, name the mistake."""

import ast
from collections.abc import Callable
import contextlib
from dataclasses import dataclass, field
import dis
import inspect
import io
import textwrap
import traceback
from typing import Any

import torch
from torch import Tensor

from .exercise import Complaint, Exercise, kind
from .sandbox import SECONDS, TookTooLong, deadline, untouched


@dataclass
class Verdict:
    """`state` is right, not yet or blank; `words` say why, one sentence a line."""

    state: str
    words: list[str] = field(default_factory=list)


def is_blank(version: Any) -> bool:
    """Whether a function still has its `...`, or does nothing."""
    if not inspect.isfunction(version):
        return version is None or version is ...
    idle = {"RESUME", "LOAD_CONST", "POP_TOP", "RETURN_VALUE", "RETURN_CONST", "NOP", "LOAD_COMMON_CONSTANT"}
    steps = [step for step in dis.get_instructions(version)]
    if all(step.opname in idle for step in steps):
        return all(step.argval is None or step.argval is ... for step in steps if step.opname in ("LOAD_CONST", "RETURN_CONST"))
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(version)))
    except (OSError, TypeError, SyntaxError):
        return False
    return any(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ... for node in ast.walk(tree)
    )


def judge(exercise: Exercise, version: Any) -> Verdict:
    """The verdict on one version. Never raises, never hangs for long, leaves the random state as it was."""
    if is_blank(version):
        return Verdict("blank")
    if not callable(version):
        return Verdict(
            "not yet",
            [
                f"`check` wants the function itself, got {short(version)}. "
                f"Write `{exercise.name} = check({exercise.name})`, without calling it."
            ],
        )
    printed = io.StringIO()
    try:
        with untouched(), deadline(SECONDS), contextlib.redirect_stdout(printed):
            verdict = compare(exercise, version)
    except TookTooLong:
        verdict = Verdict("not yet", [f"It ran for {SECONDS:g} seconds and was stopped. Is there a loop that never ends?"])
    except KeyboardInterrupt:
        verdict = Verdict("not yet", ["It was interrupted before the check was done."])
    except BaseException as error:  # wild code: sys.exit, RecursionError, MemoryError, anything
        verdict = Verdict("not yet", [raised(error)])
    if printed.getvalue() and verdict.state != "right":
        verdict.words += ["It printed: " + " / ".join(printed.getvalue().strip().splitlines()[:5])]
    return verdict


def compare(exercise: Exercise, version: Callable) -> Verdict:
    if exercise.judge:
        words = exercise.judge(version)
        return Verdict("right") if words is None else Verdict("not yet", [words])
    torch.seed()
    cases = exercise.cases()
    if words := default_problem(version, exercise.finished):
        return Verdict("not yet", [words])
    for case in cases:
        expected = exercise.run(exercise.finished, case)
        try:
            wrong = difference(exercise.run(version, case), expected, case, exercise)
        except Complaint as complaint:
            wrong = str(complaint)
        except Exception as error:
            wrong = raised(error) + inputs(case)
        if wrong:
            named = name_mistake(exercise, version, cases)
            return Verdict("not yet", [named, wrong] if named else [wrong])
    return Verdict("right")


def default_problem(version: Callable, finished: Callable) -> str | None:
    """Whether an argument's default is another one than in the exercise, in words, or None."""
    try:
        yours, ours = (inspect.signature(f).parameters for f in (version, finished))
    except (TypeError, ValueError):
        return None
    for name in ours:
        if name in yours and yours[name].default != ours[name].default:
            given = "is missing" if yours[name].default is inspect.Parameter.empty else f"is {short(yours[name].default)}"
            return f"The default of `{name}` {given}; in the exercise it is {short(ours[name].default)}, and others rely on it."
    return None


def name_mistake(exercise: Exercise, version: Callable, cases: list[tuple]) -> str | None:
    """The words of the known mistake that behaves as this version does: in the first case where it is wrong, and in most cases."""
    yours = [outcome(exercise, version, case) for case in cases]
    right = [outcome(exercise, exercise.finished, case) for case in cases]
    first = next((k for k, (a, b) in enumerate(zip(yours, right)) if a is None or not alike(a, b, exercise.tolerance)), None)
    if first is None:  # right when it is tried again
        return "It gives another result each time for the same input."
    best, words = 0.6, None
    for mistake in exercise.mistakes:
        theirs = [outcome(exercise, mistake.wrong, case) for case in cases]
        agree = [alike(a, b, exercise.tolerance) for a, b in zip(yours, theirs)]
        if any(theirs) and agree[first] and sum(agree) / len(agree) > best:
            best, words = sum(agree) / len(agree), mistake.words
    return words


def outcome(exercise: Exercise, version: Callable, case: tuple) -> dict[str, Any] | None:
    try:
        return exercise.run(version, case)
    except Exception:
        return None


def alike(a: dict | None, b: dict | None, tolerance: float) -> bool:
    if a is None or b is None:
        return a is b
    return all(type_problem(a[name], b[name]) is None and same(a[name], b[name], tolerance) for name in b)


def tensors(value: Any) -> Any:
    """Numbers and tensors as float64 tensors; tuples as tuples of them; the rest as it is."""
    if isinstance(value, (bool, int, float)):
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
    return yours.shape == expected.shape and torch.allclose(yours, expected, tolerance, tolerance * 1e-2, equal_nan=True)


def type_problem(yours: Any, expected: Any) -> str | None:
    """What is wrong with the kind of thing that came back, or None."""
    if yours is None and expected is not None:
        return "It returns None here. Is there a `return` on every way through?"
    if isinstance(expected, Tensor) and not isinstance(yours, Tensor):
        return f"It returns {kind(yours)}; a tensor is expected."
    if isinstance(expected, Tensor) and family(yours) != family(expected):
        return f"It returns {family(yours)}; {family(expected)} are expected."
    if isinstance(expected, (tuple, list)):
        if not isinstance(yours, (tuple, list)):
            return f"It returns {kind(yours)}; {len(expected)} things are expected, as in `return a, b`."
        if len(yours) != len(expected):
            return f"It returns {len(yours)} thing{'s' * (len(yours) != 1)}; expected: {len(expected)}."
        return next(filter(None, map(type_problem, yours, expected)), None)
    if isinstance(expected, dict) and not isinstance(yours, dict):
        return f"It returns {kind(yours)}; a dictionary is expected."
    if isinstance(expected, (bool, int, float)) and not isinstance(yours, (bool, int, float)):
        if not (isinstance(yours, Tensor) and yours.numel() == 1):
            return f"It returns {kind(yours)}; a number is expected."
    return None


def family(x: Tensor) -> str:
    return "true and false" if x.dtype == torch.bool else "floating-point numbers" if x.is_floating_point() else "whole numbers"


def difference(yours: dict, expected: dict, case: tuple, exercise: Exercise) -> str | None:
    """What differs between two results, in words, or None."""
    for name in expected:
        problem = type_problem(yours[name], expected[name])
        if problem:
            return problem
        mine, right = tensors(yours[name]), tensors(expected[name])
        for k, (a, b) in enumerate(zip(mine, right) if isinstance(right, tuple) else [(mine, right)]):
            what = f"{name}, part {k + 1}" if isinstance(right, tuple) else name
            found = shape_difference(a, b, what, exercise.letters) or value_difference(a, b, what, exercise.tolerance)
            if found:
                return found + inputs(case)
    return None


def shape_difference(a: Any, b: Any, what: str, letters: str) -> str | None:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.shape == b.shape:
        return None
    words = f"The shape of {what} is {tuple(a.shape)}; expected is {tuple(b.shape)}"
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
        return f"{cap(what)}: yours is {short(a)}, expected is {short(b)}."
    wrong = ~torch.isclose(a, b, tolerance, tolerance * 1e-2, equal_nan=True)
    at = tuple(wrong.nonzero()[0].tolist()) if b.ndim else ()
    where = f" at [{', '.join(map(str, at))}]" if at else ""
    if not a[at].isfinite() and b[at].isfinite():
        return f"{cap(what)} holds {float(a[at])}{where}; expected is {float(b[at]):.6g}."
    share = f", and {int(wrong.sum())} of {wrong.numel()} values differ" if wrong.numel() > 1 else ""
    return f"{cap(what)}{where}: yours is {float(a[at]) + 0:.6g}, expected is {float(b[at]) + 0:.6g}{share}."


def inputs(case: tuple) -> str:
    """The inputs of a case in a few words: values where they are few, else shapes."""
    return " The input was " + ", ".join(short(part) for part in case) + "."


def short(value: Any) -> str:
    if isinstance(value, Tensor):
        if value.numel() <= 8:
            return str(
                torch.round(value.detach().to(torch.float64), decimals=8).tolist()
                if value.is_floating_point()
                else value.tolist()
            )
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text and " at 0x" not in text else kind(value)


def cap(text: str) -> str:
    return text[:1].upper() + text[1:]


ERRORS = {  # part of what Python or PyTorch says: what usually helps
    "with a bool tensor is not supported": 'Turn true and false into numbers first, with `.float()`; for "not" there is `~`.',
    "Boolean value of Tensor": "Python's `if`, `not`, `and`, `max` can't decide for a whole tensor; `torch.where`, `~`, `&`, `.clamp` can.",
    "only for scalar outputs": "backward needs one number: take the mean of each loss first.",
    "does not require grad": "Something was detached that the gradient must flow through.",
}


def raised(error: BaseException) -> str:
    """What was raised, where in the reader's own code, and a word on the usual cause."""
    line = ""
    for frame, number in traceback.walk_tb(error.__traceback__):  # not `inspect`, which takes seconds for a thousand frames
        file = frame.f_code.co_filename
        if "ipykernel" in file or file.startswith("<"):
            line = f" in line {number} of the cell"
    text = (str(error).splitlines() or [""])[0][:200]
    more = {
        "RecursionError": " It calls itself without an end.",
        "NameError": " Is it spelt as in the cell above, and was that cell run?",
    }.get(type(error).__name__, "")
    more = next((f" {advice}" for part, advice in ERRORS.items() if part in text), more)
    return f"It raised {type(error).__name__}{line}: {text}.{more}".replace("..", ".")
