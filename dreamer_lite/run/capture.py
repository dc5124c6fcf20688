"""One launch instead of thousands: a step on a GPU is recorded once, as a CUDA graph, and then replayed (notebook 10)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import gc
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..config import Refused
from .device import fork_rng, refuse_what_does_not_fit

if TYPE_CHECKING:
    from .loop import Training

WARM_UP = 3  # calls before the recording: libraries pick their kernels, and buffers come to exist
COMPARED = 5  # steps that are done both ways, to prove a record
ALIKE = 0.02  # share of a change by which two ways may differ; more where nudges in the last digit of the weights lead to more
UNSURE = 0.2  # where such nudges lead to more than this, nothing can be judged: it is noise, divided by its own size
ALWAYS = ("count", "square", "replayed h", "replayed z")  # is judged all the same
TRIES = 3  # comparisons, since rounding alone may turn a throw of the dice; a wrong record fails in each


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
    graph, dice = torch.cuda.CUDAGraph(), torch.cuda.get_rng_state()
    gc.collect()
    gc.disable()  # to free another run's graph in the middle of a recording would break it
    try:
        with torch.cuda.graph(graph):
            step()
    except RuntimeError as error:
        renew_generator(dice)
        cause = error.__context__ or error  # the end of a broken recording raises too, and hides why it broke
        raise Refused(f"the train step cannot be recorded on this GPU ({str(cause).splitlines()[0][:200]})") from error
    finally:
        gc.enable()
    return graph.replay


def renew_generator(dice: Tensor) -> None:
    """After a broken recording the GPU's default generator may go on waiting for its end, and refuse to draw. Give it a fresh state."""
    fresh = torch.Generator(device="cuda")
    fresh.set_state(dice)
    torch.cuda.default_generators[torch.cuda.current_device()].graphsafe_set_state(fresh.graphsafe_get_state())


def proven(training: "Training") -> tuple[Captured, tuple[float, float]]:
    """The step of this run, recorded, and seen to do what the step does; the seconds a step takes as it is, and recorded.

    Some steps are done both ways from the same state, with the same dice; then weights, optimizer, running statistics, replay and metrics
    are compared, and all is left as it was. Raises Refused if the step cannot be recorded, or if the record does something else.
    """
    captured = Captured(training.step)
    with refuse_what_does_not_fit("a recorded train step beside the plain one", training.device):
        with undone(training):
            for _ in range(WARM_UP + 1):
                captured()
        recorded = training.latest  # where a replay leaves its metrics
        for _ in range(TRIES):
            with one_more(training):
                plain, before = outcome(training, training.step)
                nudged, _ = outcome(training, training.step, nudge=2**-23)
                training.latest = recorded
                replayed, after = outcome(training, captured)
            if not (different := difference(plain, nudged, replayed)):
                return captured, (before, after)
    raise Refused(f"its record was tried beside the step itself, and led to another {different}")


def changing(training: "Training") -> dict[str, list[Tensor]]:
    """All that a train step changes, and that later steps depend on."""
    agent, replay = training.agent, training.replay
    held = min(replay.added, replay.length)
    return {
        "slow critic": [p.detach() for p in agent.critic.slow_net.parameters()],
        "running statistic": list(agent.buffers()),
        **{name: [tensor] for name, tensor in training.learner.tensors().items()},
        **{f"replayed {name}": [replay.data[name][:, :held]] for name in ("h", "z")},
    }


@contextmanager
def one_more(training: "Training") -> Iterator[None]:
    """Inside the replay holds a step more than at the recording, so that a record which holds its length is found out."""
    replay = training.replay
    replay.added += 1
    replay.count += 1
    try:
        yield
    finally:
        replay.added -= 1
        replay.count -= 1


@contextmanager
def undone(training: "Training") -> Iterator[dict[str, list[Tensor]]]:
    """Inside steps may be taken; afterwards everything is as it was before. Gives what it was."""
    tensors, generator = changing(training), training.replay.generator
    before, dice = {name: [part.clone() for part in parts] for name, parts in tensors.items()}, generator.get_state()
    try:
        with fork_rng(training.device):
            yield before
    finally:
        generator.set_state(dice)
        for name, parts in tensors.items():
            for part, value in zip(parts, before[name]):
                part.copy_(value)


def outcome(training: "Training", step: Callable[[], None], nudge: float = 0) -> tuple[dict[str, Tensor], float]:
    """Take some steps, and undo them: how far each tensor moved, the course of each metric; and the seconds a step took."""
    with undone(training) as before:
        weights = training.learner.optimizer.weights
        factors = 1 + nudge * (torch.arange(len(weights), device=weights.device) % 3 - 1)
        metrics, began = [], time.perf_counter()
        for _ in range(COMPARED):
            if nudge:
                weights.mul_(factors)
            step()
            metrics.append(training.latest.clone())
        rows = torch.stack(metrics).cpu().double()  # waits for the GPU
        took = (time.perf_counter() - began) / COMPARED
        moved = {
            name: torch.cat([(now.cpu().double() - old.cpu().double()).flatten() for now, old in zip(parts, before[name])])
            for name, parts in changing(training).items()
        }
    return moved | {f"metric {name}": row for name, row in zip(training.names, rows.T)}, took


def difference(plain: dict[str, Tensor], nudged: dict[str, Tensor], replayed: dict[str, Tensor]) -> str | None:
    """What the replayed steps led to another of, by more than rounding explains."""
    for name in plain:
        floor = 0.02 if name.startswith("metric") else 1e-6  # what is shorter counts as that long
        noise, apart = (distance(plain[name], other[name], floor) for other in (nudged, replayed))
        if (noise < UNSURE or name in ALWAYS) and not apart <= max(ALIKE, min(10 * noise, 0.5)):
            return f"{name}, {apart:.0%} apart"
    return None


def distance(one: Tensor, other: Tensor, floor: float) -> float:
    """Relative to the longer one's length, 0 to 2."""
    return float((one - other).norm() / max(one.norm(), other.norm(), floor))
