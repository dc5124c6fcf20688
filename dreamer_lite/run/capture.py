"""One launch instead of thousands: a step on a GPU is recorded once, as a CUDA graph, and then replayed (notebook 10)."""

from collections.abc import Callable
import gc

import torch

from ..config import Refused

WARM_UP = 3  # calls before the recording: libraries pick their kernels, and buffers come to exist


class Captured:
    """Does what `step` does, on the current GPU. The first calls run it, the next one records it, all later ones replay the record.

    step: reads and writes the same tensors each time, has static shapes, waits for no value, and depends on nothing that only
    Python knows and that changes: a replay repeats its launches, not its Python. Its random numbers come from the GPU's default
    generator. What it wrote lies where the recorded call left it.
    """

    def __init__(self, step: Callable[[], None]):
        self.step, self.calls = step, 0
        self.beside = beside_default_stream()
        self.replay: Callable[[], None] | None = None

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= WARM_UP:
            return self.beside(self.step)
        if self.replay is None:
            self.replay = record(self.step)
        self.replay()


def beside_default_stream() -> Callable[[Callable[[], None]], None]:
    """What runs a step on a stream of its own, as a step that will be recorded must; the streams wait for each other on the GPU."""
    side = torch.cuda.Stream()

    def run(step: Callable[[], None]) -> None:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()
        torch.cuda.current_stream().wait_stream(side)

    return run


def record(step: Callable[[], None]) -> Callable[[], None]:
    """Record the launches of `step`, without carrying them out; what is returned carries them out, each time it is called.

    Raises Refused if they cannot be recorded.
    """
    graph = torch.cuda.CUDAGraph()
    gc.collect()
    gc.disable()  # to free another run's graph in the middle of a recording would break it
    try:
        with torch.cuda.graph(graph):
            step()
    except RuntimeError as error:
        cause = error.__context__ or error  # the end of a broken recording raises too, and hides why it broke
        raise Refused(
            f"the train step cannot be recorded on this GPU ({str(cause).splitlines()[0][:200]}); leave --capture off"
        ) from error
    finally:
        gc.enable()
    return graph.replay
