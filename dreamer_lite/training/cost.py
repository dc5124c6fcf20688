"""What a run costs, in bytes and seconds, printed at its start."""

from pathlib import Path

import torch

from .device import own_peak
from .state import Training

WARM_UP, TRAIN_STEPS, SECONDS = 2, 20, 2.0  # train steps that aren't timed; the least that are, in steps and in time


def full_bytes(training: Training) -> tuple[int, int]:
    """Bytes of experience that this process's replay buffer holds now, and at most during the run."""
    c, replay = training.config, training.replay
    a_step = sum(ring.nbytes for ring in replay.data.values()) / (replay.length * c.envs)
    most = min(replay.length * c.envs, max(c.steps // training.processes.size, len(replay)))
    return round(len(replay) * a_step), round(most * a_step)


def sizes(training: Training, checkpoint: Path) -> str:
    """How large the replay buffer and the checkpoint get. `checkpoint` has been written once."""
    now, most = full_bytes(training)
    file = checkpoint.stat().st_size + most - now
    return (
        f"the replay buffer will grow to {megabytes(most)}, and checkpoint.pt, which contains it, to {megabytes(file)} "
        "on disk (twice that while it is being replaced)"
    )


class Pace:
    """How long the run takes at the pace of its first train steps: printed then, and again after an evaluation.

    It only reads the clock, so the run is the same without it.
    """

    def __init__(self, training: Training):
        self.first = training.train_steps + WARM_UP
        self.seconds = self.env_steps = 0.0  # of the steps that are timed
        self.told = self.told_all = False  # without evaluations, and with them

    def step(self, training: Training, seconds: float) -> None:
        """After each environment step and its train steps, which took so long."""
        if self.told or training.train_steps < self.first:
            return
        self.seconds += seconds
        self.env_steps += training.stride
        if training.train_steps >= self.first + TRAIN_STEPS and self.seconds >= SECONDS:
            self.told = True
            c = training.config
            solved = c.eval_every and training.until != "steps" and training.envs.threshold is not None
            more = ", without evaluations" if c.eval_every else ""
            more += "; the run ends earlier if the task is solved" if solved else ""
            training.say(f"at this pace {self.total(training)}{more}; {memory(training)}")

    def evaluated(self, training: Training, seconds: float) -> None:
        """After each evaluation, which took so long."""
        if self.told and not self.told_all:
            self.told_all = True
            training.say(f"an evaluation takes {duration(seconds)}; with them, {self.total(training, seconds)}")

    def total(self, training: Training, evaluation: float = 0.0) -> str:
        """The seconds so far, and those of the steps and evaluations that are left."""
        c = training.config
        left = max(c.steps - training.env_steps, 0)
        evaluations = left // c.eval_every if c.eval_every else 0
        seconds = training.seconds + left * self.seconds / self.env_steps + evaluations * evaluation
        return f"all {c.steps:,} environment steps would take about {duration(seconds)}"


def memory(training: Training) -> str:
    """The memory of this process, once the replay buffer is full, in words."""
    now, most = full_bytes(training)
    if training.device != "cpu":
        return f"{megabytes(torch.cuda.max_memory_allocated(training.device))} of the GPU's memory"
    peak = own_peak()
    return f"{megabytes(peak + most - now)} of memory" if peak else "memory unknown on this platform"


def megabytes(count: float) -> str:
    if count >= 1e9:
        return f"{count / 1e9:,.1f} GB"
    return f"{count / 1e6:,.1f} MB" if count < 1e7 else f"{count / 1e6:,.0f} MB"


def duration(seconds: float) -> str:
    """In the unit people would choose, with two digits: 45 seconds, 3.2 minutes, 14 hours, 2.5 days."""
    units = (("seconds", 1, 90), ("minutes", 60, 90), ("hours", 3600, 48), ("days", 86400, float("inf")))
    unit, length = next((unit, length) for unit, length, most in units if seconds < most * length)
    value = seconds / length
    return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
