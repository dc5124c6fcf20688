"""Notebook 10: the compiled train step, prepared in another process while the reader reads."""

import subprocess
import sys
from typing import ClassVar

import torch

from ...config import Config
from ...training import bench
from ...training.device import use_device
from .parts import Part


class Preparation:
    """Runs `python -m dreamer_lite warm`, once, however often the notebook makes a Preparation.

    What it compiles is kept for this run and later ones.
    """

    process: ClassVar[subprocess.Popen | None] = None

    def __init__(self) -> None:
        words = [sys.executable, "-m", "dreamer_lite", "warm", "--threads", str(torch.get_num_threads())]
        begun = self.process is not None and self.process.poll() in (None, 0)
        if not begun and not torch.cuda.is_available():  # on a GPU the step is recorded instead
            Preparation.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def done(self, seconds: float = 0) -> bool:
        """Whether everything is compiled, after waiting for at most `seconds`."""
        try:
            return self.process is not None and self.process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False

    def use(self, parts: list[Part], seconds: float = 20) -> bool:
        """Whether a run with these parts should be compiled; prints the answer and why."""
        if torch.cuda.is_available():
            print("on a GPU: recorded, if the recording gives the same results")
            return False
        mine = sum(part.yours is not None for part in parts)
        ready = not mine and self.done(seconds)
        if ready:
            print("compiled: the losses of a train step run as one program, which is ready in a few seconds")
        elif mine:
            print(f"step by step, since {mine} of {len(parts)} parts are yours")
        else:
            print("step by step: compiling is not done yet, or not possible here")
        return ready


def time_both(preparation: Preparation, steps: int = 20) -> dict[str, float]:
    """Milliseconds of a train step, the fastest of a few: eager; on a CPU also compiled, if prepared; on a GPU
    captured."""
    device = use_device()
    ways = bench.time_ways(Config.preset("small"), device, steps, device == "cpu" and preparation.done())
    return {way: 1000 * min(seconds) for way, seconds, _ in ways}
