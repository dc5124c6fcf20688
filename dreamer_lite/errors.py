"""Bad input, reported in one line."""

import operator
from typing import Any

TOO_LARGE = 2**40  # for a seed or a setting; each seed of a run is below


class Refused(ValueError):
    """The user's input cannot work. The message is one line: what was given, what is accepted, what to do."""


def require(value: Any, kind: Any, need: str) -> None:
    """Raises Refused unless the value is of this kind; need: what is needed, as "train needs a Config"."""
    if not isinstance(value, kind):
        got = value.__name__ if isinstance(value, type) else type(value).__name__
        raise Refused(f"{need}, got {got}{f' ({value!r})' if isinstance(value, (str, int, float)) else ''}")


def require_whole(**numbers: tuple[Any, int]) -> list[int]:
    """The values, given by name with their lowest, as Python's integers.

    Raises Refused unless each is a whole number that fits a seed.
    """
    found = []
    for name, (value, low) in numbers.items():
        try:
            whole = operator.index(value)
        except TypeError:
            whole = None
        if whole is None or isinstance(value, bool) or not low <= whole < TOO_LARGE:
            raise Refused(f"{name} must be a whole number, at least {low} and below 2^40, got {value!r}")
        found.append(whole)
    return found


def in_one_line(error: Exception) -> str:
    """An error's whole message, on one line."""
    return " ".join(str(error).split())


def first_line(error: Exception, most: int = 100) -> str:
    """The first line of an error's message, or its type if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0][:most]
