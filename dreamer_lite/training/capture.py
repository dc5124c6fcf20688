"""One launch instead of thousands: a step on a GPU is recorded once as a CUDA graph, then replayed (notebook 10)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import gc
import time

import torch
from torch import Tensor

from ..errors import Refused
from ..replay import Replay
from ..rng import fork_rng
from .device import refuse_out_of_memory
from .step import TrainStep

WARM_UP = 3  # calls before the recording: libraries pick their kernels, and buffers are allocated
COMPARED = 5  # steps taken both ways to prove a record
# Share of a change by which plain and replayed steps may differ; more where rounding noise in the weights causes more.
TOLERANCE = 0.02
# Where rounding noise causes more than this, nothing can be judged: it is noise divided by its own size.
TOO_NOISY = 0.2
ALWAYS_JUDGED = ("count", "square", "replayed h", "replayed z")  # noisy or not
TRIES = 3  # comparisons, as rounding alone may change a sample; a wrong record always fails


class Captured:
    """`step` on the current GPU: the first calls run it, the next one records it, all later ones replay the record.

    step: must read and write the same tensors each time, have static shapes, wait for no value, and depend on nothing
    that changes in Python: a replay repeats its launches, not its Python. Its random numbers come from the GPU's
    default generator. Its results are in the tensors of the recorded call.
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
    """A function that runs a step on its own stream, as recording needs; the streams wait for each other on the GPU."""
    side = torch.cuda.Stream()

    def run(step: Callable[[], None]) -> None:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()
        torch.cuda.current_stream().wait_stream(side)

    return run


def record(step: Callable[[], None]) -> Callable[[], None]:
    """Record the launches of `step` without running them; returns a function that runs them.

    Raises Refused if they cannot be recorded.
    """
    graph, dice, stream = torch.cuda.CUDAGraph(), torch.cuda.get_rng_state(), torch.cuda.current_stream()
    gc.collect()
    gc.disable()  # freeing another run's graph during a recording would break it
    try:
        with torch.cuda.graph(graph):
            step()
    except RuntimeError as error:
        torch.cuda.set_stream(stream)  # PyTorch stays on the recording's stream if ending a recording fails
        renew_generator(dice)
        cause = error.__context__ or error  # ending a failed recording raises too, and hides why it failed
        raise Refused(f"the train step cannot be recorded on this GPU ({str(cause).splitlines()[0][:200]})") from error
    finally:
        gc.enable()
    return graph.replay


def renew_generator(dice: Tensor) -> None:
    """After a failed recording, give the GPU's default generator a fresh state.

    Otherwise it keeps waiting for the recording's end in PyTorch 2.11, and refuses to draw.
    """
    fresh = torch.Generator(device="cuda")
    fresh.set_state(dice)
    torch.cuda.default_generators[torch.cuda.current_device()].graphsafe_set_state(fresh.graphsafe_get_state())


def prove(train_step: TrainStep) -> tuple[Captured, tuple[float, float]]:
    """Record a train step and prove that the record does the same.

    Returns the record, and the seconds of a plain and a replayed step. A few steps are taken both ways from the same
    state and random state; then weights, optimizer, running statistics, replay buffer and metrics are compared, and
    everything is restored. Raises Refused if the step can't be recorded, or if the record differs.
    """
    captured, device = Captured(train_step), train_step.learner.agent.device
    with refuse_out_of_memory("a recorded train step beside the plain one", device):
        with undone(train_step):
            for _ in range(WARM_UP + 1):
                captured()
        recorded = train_step.metrics  # where a replay leaves its metrics
        for _ in range(TRIES):
            with one_more_step(train_step.replay):
                plain, before = outcome(train_step, train_step)
                nudged, _ = outcome(train_step, train_step, nudge=2**-23)
                train_step.metrics = recorded
                replayed, after = outcome(train_step, captured)
            if not (different := difference(plain, nudged, replayed)):
                return captured, (before, after)
    raise Refused(f"the recorded step was compared with the plain one, and differs in {different}")


def changing(train_step: TrainStep) -> dict[str, list[Tensor]]:
    """Everything that a train step changes and later steps depend on."""
    agent, replay = train_step.learner.agent, train_step.replay
    held = min(replay.added, replay.length)
    return {
        "slow critic": [p.detach() for p in agent.critic.slow_net.parameters()],
        "running statistic": list(agent.buffers()),
        **{name: [tensor] for name, tensor in train_step.learner.tensors().items()},
        **{f"replayed {name}": [replay.data[name][:, :held]] for name in ("h", "z")},
        "online queue": [replay.next_in_queue],
    }


@contextmanager
def one_more_step(replay: Replay) -> Iterator[None]:
    """Inside, the replay buffer holds one step more than at the recording, to expose a record with a frozen length."""
    replay.added += 1
    replay.count += 1
    try:
        yield
    finally:
        replay.added -= 1
        replay.count -= 1


@contextmanager
def undone(train_step: TrainStep) -> Iterator[dict[str, list[Tensor]]]:
    """Inside, train steps may be taken; afterwards everything is restored. Yields the tensors as they were."""
    tensors, generator = changing(train_step), train_step.replay.generator
    before, state = {name: [part.clone() for part in parts] for name, parts in tensors.items()}, generator.get_state()
    try:
        with fork_rng(train_step.learner.agent.device):
            yield before
    finally:
        generator.set_state(state)
        for name, parts in tensors.items():
            for part, value in zip(parts, before[name]):
                part.copy_(value)


def outcome(train_step: TrainStep, way: Callable[[], None], nudge: float = 0) -> tuple[dict[str, Tensor], float]:
    """Take a few train steps this way, and undo them; returns what they did and the seconds per step.

    What they did: how far each tensor moved, and each metric over the steps. nudge: relative noise in the weights
    before each step, to see how much rounding alone changes.
    """
    with undone(train_step) as before:
        weights = train_step.learner.optimizer.weights
        factors = 1 + nudge * (torch.arange(len(weights), device=weights.device) % 3 - 1)
        metrics, began = [], time.perf_counter()
        for _ in range(COMPARED):
            if nudge:
                weights.mul_(factors)
            way()
            metrics.append(train_step.metrics.clone())
        rows = torch.stack(metrics).cpu().double()  # waits for the GPU
        took = (time.perf_counter() - began) / COMPARED
        moved = {
            name: torch.cat(
                [(now.cpu().double() - old.cpu().double()).flatten() for now, old in zip(parts, before[name])]
            )
            for name, parts in changing(train_step).items()
        }
    return moved | {f"metric {name}": row for name, row in zip(train_step.names, rows.T)}, took


def difference(plain: dict[str, Tensor], nudged: dict[str, Tensor], replayed: dict[str, Tensor]) -> str | None:
    """The first value that the replayed steps changed differently, beyond what rounding explains; None if none."""
    for name in plain:
        floor = 0.02 if name.startswith("metric") else 1e-6  # shorter lengths count as this
        noise, apart = (distance(plain[name], other[name], floor) for other in (nudged, replayed))
        if (noise < TOO_NOISY or name in ALWAYS_JUDGED) and not apart <= max(TOLERANCE, min(10 * noise, 0.5)):
            return f"{name}, {apart:.0%} apart"
    return None


def distance(one: Tensor, other: Tensor, floor: float) -> float:
    """Distance relative to the longer one's length, 0 to 2."""
    return float((one - other).norm() / max(one.norm(), other.norm(), floor))
