"""Stands in for what only CUDA has, so that code made for a GPU can be rehearsed on a CPU.

Graphs are tapes (`tape.py`), streams run nothing, memory is that of the process, and the CPU's operations count
as kernels. Waiting for a value is forbidden where `torch.cuda.set_sync_debug_mode` forbids it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from tape import Tape
import torch

from dreamer_lite.training import bench, capture
from dreamer_lite.training.state import Training


class Stream:
    """`torch.cuda.Stream`. The one that is current matters, and nothing else."""

    current: "Stream"

    def wait_stream(self, other: "Stream") -> None:
        pass

    def set_current(self) -> None:
        Stream.current = self


Stream.current = Stream()


class Graph:
    """`torch.cuda.CUDAGraph`. Recording it carries the step out, so the first replay is left out."""

    def __init__(self) -> None:
        self.tape, self.replays = Tape(), 0

    def replay(self) -> None:
        self.replays += 1
        if self.replays > 1:
            self.tape.replay()


@contextmanager
def recording(graph: Graph) -> Iterator[None]:
    """`torch.cuda.graph`. Like it, for what can't be recorded, it hides why, and stays on its own stream."""
    before = Stream.current
    Stream().set_current()
    try:
        with graph.tape:
            yield
    except AssertionError as error:
        try:
            raise RuntimeError(f"operation not permitted when stream is capturing: {error}") from None
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904
    before.set_current()


class Waiting:
    """`torch.cuda.set_sync_debug_mode`: in the mode "error", waiting for a value raises RuntimeError."""

    def __init__(self) -> None:
        self.tape: Tape | None = None

    def __call__(self, mode: str) -> None:
        if self.tape:
            self.tape.__exit__(None, None, None)
        self.tape = {"error": ForbiddenToWait, "default": lambda: None}[mode]()
        if self.tape:
            self.tape.__enter__()


class ForbiddenToWait(Tape):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        try:
            return super().__torch_dispatch__(func, types, args, kwargs)
        except AssertionError as error:
            raise RuntimeError(f"called a synchronizing CUDA operation: {error}") from error


def operation_seconds(step: Callable[[], Any]) -> list[float]:
    """`bench.kernels`: here, the step's time shared evenly among its operations."""
    began = time.perf_counter()
    count = len(bench.operations(step))
    return [(time.perf_counter() - began) / count] * count


def begin_recorded(training: Training, *args: Any, init: Callable = Training.__init__, **how: Any) -> None:
    """A `Training` on a CPU that records its train step, as the train loop asks for on a GPU."""
    init(training, *args, **how)
    training.capture = "auto"


CUDA = {
    "CUDAGraph": Graph,
    "graph": recording,
    "Stream": Stream,
    "current_stream": lambda: Stream.current,
    "stream": lambda stream: nullcontext(),
    "set_stream": Stream.set_current,
    "get_rng_state": torch.get_rng_state,
    "reset_peak_memory_stats": lambda: None,
    "max_memory_allocated": bench.own_peak,
    "empty_cache": lambda: None,
    "get_device_properties": lambda device: SimpleNamespace(
        name="CPU, in a rehearsal", total_memory=0, multi_processor_count=1, major=0, minor=0
    ),
}


@contextmanager
def without_cuda() -> Iterator[None]:
    """Inside, `torch.cuda` is stood in for where the package's GPU code calls it."""
    patches = [patch.object(torch.cuda, name, stand_in) for name, stand_in in CUDA.items()]
    patches += [
        patch.object(torch.cuda, "set_sync_debug_mode", Waiting()),
        patch.object(capture, "renew_generator", lambda dice: None),
        patch.object(bench, "kernels", operation_seconds),
        patch.object(Training, "__init__", begin_recorded),
    ]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in reversed(patches):
            one.stop()
