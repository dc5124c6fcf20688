"""How a run is carried out, and what is refused before it starts."""

from dataclasses import dataclass

from ..config import Config
from ..errors import Refused
from .log import require_tensorboard
from .parallel import Processes

UNTIL = ("solved", "held", "steps")
CAPTURE = ("auto", "on", "off")


@dataclass(frozen=True)
class RunOptions:
    """Where, how fast and until when a run trains, but not what a train step computes.

    device: "cpu", "cuda" or "cuda:N".
    until: "solved" stops at the first evaluation that reaches the environment's own threshold; "held" continues for as
    many steps again, to at least 6,000, to see whether it stays solved; "steps" uses up the steps and episodes of the
    config.
    compile: compile the losses and their gradients first (`compiled.py`); where that fails, the run says so and
    continues without it.
    capture: "auto" records a train step as a CUDA graph, on a GPU, and replays it if it provably does the same; "on"
    stops the run if it doesn't; "off" never records.
    tensorboard: write TensorBoard's file too. progress: show a progress bar.
    Raises Refused for unknown words.
    """

    device: str = "cpu"
    until: str = "solved"
    compile: bool = False
    capture: str = "auto"
    tensorboard: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if self.until not in UNTIL:
            raise Refused(f"until must be one of {', '.join(UNTIL)}, got {self.until!r}")
        if self.capture not in CAPTURE:
            raise Refused(f"capture must be one of {', '.join(CAPTURE)}, got {self.capture!r}")
        if self.tensorboard:
            require_tensorboard()

    def refuse_what_cannot_be_fast(self, config: Config, processes: Processes) -> None:
        """Raises Refused if a captured or compiled train step is demanded but isn't possible."""
        if self.capture == "on" and self.device == "cpu":
            raise Refused(
                "--capture on records what a train step launches on a GPU; there is nothing to record on a CPU, leave "
                "it out"
            )
        if self.capture == "on" and config.replay_on_host:
            raise Refused(
                "a train step can't be captured while it waits for a replay buffer in host memory; give either "
                "--capture on or --replay_on_host"
            )
        for option, asked in (("--capture on", self.capture == "on"), ("--compile", self.compile)):
            if asked and processes.size > 1:
                raise Refused(
                    f"{option} works with one process, and torchrun started {processes.size}; leave it out, or start "
                    "one process"
                )
