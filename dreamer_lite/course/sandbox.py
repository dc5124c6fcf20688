"""Runs a reader's code safely: with a time limit, restored random states, and inputs it cannot modify."""

from collections.abc import Callable, Iterator
import contextlib
import random
import signal
import sys
import threading
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

SECONDS = 5.0  # that one check may compute
WAITING = 60.0  # seconds that it may take in all: a busy machine computes seldom, and what sleeps never does


class TookTooLong(BaseException):
    """Not an Exception, so that a reader's `except Exception` does not swallow it."""


def copied(value: Any) -> Any:
    """A deep copy, so that code that writes into its inputs does no harm."""
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, dict):
        return {name: copied(part) for name, part in value.items()}
    if isinstance(value, tuple):
        parts = [copied(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return [copied(part) for part in value] if isinstance(value, list) else value


def unchanged(given: Any, before: Any) -> bool:
    """Whether the tensors inside still hold what they held."""
    if isinstance(before, Tensor):
        return given.shape == before.shape and torch.equal(given.detach().nan_to_num(), before.detach().nan_to_num())
    if isinstance(before, dict):
        return given.keys() == before.keys() and all(unchanged(given[name], before[name]) for name in before)
    if isinstance(before, (tuple, list)):
        return len(given) == len(before) and all(map(unchanged, given, before))
    return True


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Inside, gradients are on and the default type is float32.

    Afterwards both are restored, and so are random states and the recursion limit, whatever the code inside does.
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()
    grad, dtype, limit = torch.is_grad_enabled(), torch.get_default_dtype(), sys.getrecursionlimit()
    with torch.random.fork_rng():
        try:
            torch.set_grad_enabled(True)
            torch.set_default_dtype(torch.float32)  # the type of the cases
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
            torch.set_grad_enabled(grad)
            torch.set_default_dtype(dtype)
            sys.setrecursionlimit(limit)


class Uncounted:
    """The time that the check's own work took inside a deadline: seconds computed, seconds by the clock."""

    computed, passed, now = 0.0, 0.0, False


@contextlib.contextmanager
def off_the_clock() -> Iterator[None]:
    """What runs inside does not count towards a deadline, since it is not the reader's code."""
    computed, begun = time.thread_time(), time.monotonic()
    before, Uncounted.now = Uncounted.now, True
    try:
        yield
    finally:
        Uncounted.now = before
        if not before:
            Uncounted.computed += time.thread_time() - computed
            Uncounted.passed += time.monotonic() - begun


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise TookTooLong inside when the code has computed for `seconds`, or has taken WAITING seconds.

    By a timer signal where there is one, else before the next line of code.
    """
    computed, begun = time.thread_time() - Uncounted.computed, time.monotonic() - Uncounted.passed

    def over() -> bool:
        if Uncounted.now:
            return False
        spent, taken = time.thread_time() - Uncounted.computed, time.monotonic() - Uncounted.passed
        return spent - computed > seconds or taken - begun > WAITING

    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():

        def ring(*_: Any) -> None:
            if over():
                raise TookTooLong

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)  # repeatedly, also in case a bare `except` swallows it
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    else:

        def watch(*_: Any) -> Callable:
            if over():
                raise TookTooLong
            return watch

        before = sys.gettrace()
        sys.settrace(watch)
        try:
            yield
        finally:
            sys.settrace(before)
