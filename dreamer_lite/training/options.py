"""How a run is carried out, and what is refused before it starts."""

from dataclasses import dataclass, fields, replace
from typing import Any

from ..config import Config, check_kind
from ..errors import Refused
from .device import check_device
from .log import require_tensorboard
from .parallel import Processes

UNTIL = ("solved", "held", "steps")
ON = ("auto", "on", "off")


@dataclass(frozen=True)
class RunOptions:
    """Where, how fast and until when a run trains, but not what a train step computes.

    device: "auto", "cpu", "cuda" or "cuda:N"; None: as the run to resume, else "cpu".
    until: "solved" stops at the first evaluation that reaches the environment's own threshold; "held" continues for as
    many steps again, to at least 6,000, to see whether it stays solved; "steps" uses up the steps and episodes of the
    config; None: as the run to resume, else "solved".
    compile: on a CPU, compile the losses and their gradients first (`compiled.py`). "auto" does so where the run is
    long enough to pay for it; a resumed run keeps what it had; True and False mean "on" and "off". Where it fails, the
    run says so and continues without it.
    capture: "auto" records a train step as a CUDA graph, on a GPU, and replays it if it provably does the same; "on"
    stops the run if it doesn't; "off" never records.
    tensorboard: write TensorBoard's file too. progress: print what is done, with a progress bar.
    Raises Refused for unknown words, for a device that isn't there, and where TensorBoard isn't installed.
    """

    device: str | None = None
    until: str | None = None
    compile: str | bool = "auto"
    capture: str = "auto"
    tensorboard: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("tensorboard", "progress"):
            check_kind(name, getattr(self, name), bool)
        if isinstance(self.compile, bool):
            object.__setattr__(self, "compile", "on" if self.compile else "off")
        if self.device is not None:
            object.__setattr__(self, "device", check_device(self.device))
        if self.until not in (None, *UNTIL):
            raise Refused(f"until must be one of {', '.join(UNTIL)}, got {self.until!r}")
        for name in ("compile", "capture"):
            if getattr(self, name) not in ON:
                raise Refused(f"{name} must be one of {', '.join(ON)}, got {getattr(self, name)!r}")
        if self.tensorboard:
            require_tensorboard()

    @staticmethod
    def of(options: dict[str, Any]) -> "RunOptions":
        """From the keywords given to `train`. Raises Refused for one that is none of these."""
        known = [option.name for option in fields(RunOptions)]
        if unknown := [name for name in options if name not in known]:
            raise Refused(
                f"train has no option {unknown[0]!r}; it has {', '.join(known)}. Settings such as steps belong to the "
                "Config"
            )
        return RunOptions(**options)

    def completed(self, saved: dict[str, Any] | None) -> "RunOptions":
        """With None replaced by what the run to resume had, or by the default.

        Raises Refused if that run was compiled and now should not be, or the other way round.
        """
        rest = saved or {}
        had = "on" if rest.get("compiled") else "off"
        if saved is not None and self.compile not in ("auto", had):
            raise Refused(
                f"--compile cannot be changed while resuming: the run started with --compile {had}. Leave it out, or "
                "start a new run"
            )
        return replace(
            self,
            device=self.device or rest.get("device", "cpu"),
            until=self.until or rest.get("until", "solved"),
            compile=self.compile if saved is None else had,
        )

    def check_against(self, config: Config, processes: Processes) -> None:
        """Raises Refused where a captured or compiled train step is demanded and can't be had."""
        if self.capture == "on" and self.device == "cpu":
            raise Refused(
                "--capture on needs a GPU, since it records what a train step launches there, and this run is on the "
                "CPU; leave it out"
            )
        if self.capture == "on" and config.replay_on_host:
            raise Refused(
                "a train step can't be captured while it waits for a replay buffer in host memory; give either "
                "--capture on or --replay_on_host"
            )
        for option, asked in (("--capture on", self.capture == "on"), ("--compile on", self.compile == "on")):
            if asked and processes.size > 1:
                raise Refused(
                    f"{option} works only with one process, but torchrun started {processes.size}; leave it out, or "
                    "start one process"
                )
