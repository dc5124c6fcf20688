"""One launch instead of thousands: a step on a GPU is recorded once, as a CUDA graph, and then replayed (notebook 10)."""

from typing import Callable

import torch


class Captured:
    """Does what `step` does. On a GPU the first calls run it, the next one records it, and all later ones replay the record.

    step: reads and writes the same tensors each time, has static shapes, waits for no value, and depends on nothing that only
    Python knows and that changes: a replay repeats its launches, not its Python. generators: the random generators it draws
    from, beside PyTorch's own. Everything it wrote is where the recorded call left it.
    """

    WARM_UP = 3  # calls before the recording: libraries pick their kernels, and buffers come to exist

    def __init__(self, step: Callable[[], None], generators: tuple[torch.Generator, ...] = ()):
        self.step, self.generators, self.calls = step, generators, 0
        self.replay: Callable[[], None] | None = None

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.WARM_UP:
            return on_side_stream(self.step)
        if self.replay is None:
            self.replay = record(self.step, self.generators)
        self.replay()


def on_side_stream(step: Callable[[], None]) -> None:
    """Run `step` beside the default stream, as what is to be recorded must; the streams wait for each other on the device."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)


def record(step: Callable[[], None], generators: tuple[torch.Generator, ...]) -> Callable[[], None]:
    """Record the launches of `step`, without carrying them out; what is returned carries them out, each time it is called.

    Raises ValueError if they cannot be recorded.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    try:
        with torch.cuda.graph(graph):
            step()
    except RuntimeError as error:
        raise ValueError(f"the train step cannot be recorded on this GPU ({str(error).splitlines()[0][:200]}); leave --capture off") from error
    return graph.replay
