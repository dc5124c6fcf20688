"""Mistakes that every function invites: an argument left out, swapped, reversed, detached, one step off."""

from collections.abc import Callable, Iterator
import inspect
from typing import Any

import torch
from torch import Tensor

from ..symlog import symexp, symlog
from .exercise import Exercise, Mistake


def suspects(exercise: Exercise, cases: list[tuple]) -> Iterator[Mistake]:
    """The finished version on altered inputs: one mistake for each kind of alteration."""
    parameters = list(inspect.signature(exercise.finished).parameters.values())
    for k, (name, parameter) in enumerate(zip(exercise.names(), parameters)):
        values = [case[k] for case in cases if k < len(case)]
        if not values:  # no case gives it
            continue
        for words, change in [*ignored(name, parameter.default, values), *changed(name, values)]:
            blind = k if "is not used" in words and isinstance(values[0], Tensor) else None
            yield Mistake(with_argument(exercise.finished, k, change), words, blind)
    fixed = [k for k, parameter in enumerate(parameters) if type(parameter.default) in (int, float)]
    if len(fixed) > 1:
        yield Mistake(
            all_defaults(exercise.finished, [p.default for p in parameters], fixed),
            "The arguments are not used: all are fixed at their defaults.",
        )
    for words, one, other in swapped(exercise.names(), cases):
        yield Mistake(exchanged(exercise.finished, one, other), words)


def with_argument(finished: Callable, k: int, change: Callable) -> Callable:
    return lambda *case: finished(*case[:k], change(case[k]), *case[k + 1 :]) if k < len(case) else finished(*case)


def all_defaults(finished: Callable, defaults: list, fixed: list[int]) -> Callable:
    return lambda *case: finished(*(defaults[k] if k in fixed else part for k, part in enumerate(case)))


def exchanged(finished: Callable, one: int, other: int) -> Callable:
    def version(*case: Any) -> Any:
        case = list(case)
        case[one], case[other] = case[other], case[one]
        return finished(*case)

    return version


def ignored(name: str, default: Any, values: list) -> Iterator[tuple[str, Callable]]:
    """A number that is fixed, or a tensor that is not used."""
    if default is not inspect.Parameter.empty and any(type(value) in (int, float) for value in values):
        yield f"`{name}` is not used: it is fixed at {default}.", lambda _: default
    if not all(isinstance(value, Tensor) for value in values):
        return
    if values[0].dtype == torch.bool:
        yield f"`{name}` is reversed: yours does for False what belongs to True.", torch.logical_not
        yield f"`{name}` is not used.", torch.zeros_like
        yield f"Yours behaves as if `{name}` were True everywhere.", torch.ones_like
        yield (
            f"One True in `{name}` counts for all rows; each row must decide for itself.",
            lambda x: x.any().expand_as(x),
        )
        yield (
            f"`{name}` counts only if all of it is True; each row must decide for itself.",
            lambda x: x.all().expand_as(x),
        )
    elif values[0].is_floating_point():
        yield f"`{name}` is not used: yours behaves as if it were 0.", torch.zeros_like
        yield f"`{name}` is not used: yours behaves as if it were 1.", torch.ones_like
        yield f"`{name}` has the wrong sign.", torch.neg
        yield f"`{name}` is detached: no gradient reaches it.", torch.detach


def changed(name: str, values: list) -> Iterator[tuple[str, Callable]]:
    """A tensor that is squashed, or shifted in time, before it is used."""
    if not all(isinstance(value, Tensor) for value in values):
        return
    if all(value.ndim >= 2 for value in values):
        for how, fill in MOVES.items():
            yield (
                f"`{name}` is used one step late{how}: at step t yours takes what belongs to t - 1.",
                lambda x, fill=fill: late(x, fill),
            )
            yield (
                f"`{name}` is used one step early{how}: at step t yours takes what belongs to t + 1.",
                lambda x, fill=fill: early(x, fill),
            )
        yield f"`{name}` is taken in reverse order.", lambda x: x.flip(1)
        yield f"Every step uses the first entry of `{name}`.", lambda x: x[:, :1].expand_as(x)
        yield f"Every step uses the last entry of `{name}`.", lambda x: x[:, -1:].expand_as(x)
    if values[0].is_floating_point():
        yield f"`{name}` is squashed by symlog first; use it as it is.", symlog
        yield f"`{name}` is stretched by symexp first; use it as it is.", symexp
        yield f"softmax is applied to `{name}` first; use it as it is.", lambda x: x.softmax(-1) if x.ndim else x
        yield f"The exponential of `{name}` is used; use `{name}` itself.", torch.exp
        yield f"`{name}` is cut off at 0; its negative part counts, too.", lambda x: x.clamp(min=0)
        yield f"`{name}` loses its sign.", torch.abs


MOVES = {"": lambda x: x, " (and wraps around at the border)": None, " (with zeros at the border)": torch.zeros_like}


def late(x: Tensor, fill: Callable | None) -> Tensor:
    return x.roll(1, 1) if fill is None else torch.cat([fill(x[:, :1]), x[:, :-1]], 1)


def early(x: Tensor, fill: Callable | None) -> Tensor:
    return x.roll(-1, 1) if fill is None else torch.cat([x[:, 1:], fill(x[:, -1:])], 1)


def swapped(names: list[str], cases: list[tuple]) -> Iterator[tuple[str, int, int]]:
    """Pairs of arguments that could be taken for each other."""
    count = min(len(names), *map(len, cases))
    for one in range(count):
        for other in range(one + 1, count):
            if all(interchangeable(case[one], case[other]) for case in cases):
                yield f"`{names[one]}` and `{names[other]}` are swapped.", one, other


def interchangeable(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype
    return type(a) in (int, float) and type(b) in (int, float)
