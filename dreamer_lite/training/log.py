"""What a run writes as it proceeds: metrics.csv, and TensorBoard's file if asked for."""

from collections import deque
import csv
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import Refused
from ..files import replacing


class Metrics:
    """The metrics of train steps: their means since the last row, and the latest 25 one by one.

    Reading a value waits for the GPU, so new values stay there until `read` fetches them all.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.unread: list[Tensor] = []  # one vector per train step, still on the device
        self.recent: deque[list[float]] = deque(maxlen=25)
        self.sums: list[float] = []
        self.count = 0  # train steps in these sums

    def add(self, names: list[str], values: Tensor) -> None:
        if names != self.names:  # an objective of the user's has changed what it returns: the means begin anew
            self.names, self.unread, self.sums, self.count = names, [], [], 0
            self.recent.clear()
        self.unread.append(values.clone())

    def read(self) -> list[list[float]]:
        """Fetch the unread metrics, one row per train step, and add them to the sums."""
        rows = torch.stack(self.unread).tolist() if self.unread else []
        self.unread = []
        for row in rows:
            self.recent.append(row)
            self.sums = [total + value for total, value in zip(self.sums, row)] if self.count else row
            self.count += 1
        return rows

    def take_means(self) -> dict[str, float]:
        """The means since the last call, by name; empty if there was no train step."""
        means = {name: total / self.count for name, total in zip(self.names, self.sums)} if self.count else {}
        self.sums, self.count = [], 0
        return means


class Log:
    """The rows of a run. With a folder, each new row is written there at once."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.folder: Path | None = None
        self.written: list[str] = []  # the columns of metrics.csv as it stands
        self.board: Any = None

    def open(self, folder: Path, tensorboard: bool = False) -> None:
        """Write to this folder from now on. Raises Refused if TensorBoard is wanted and not installed."""
        self.folder = folder
        if tensorboard:
            summary_writer = require_tensorboard()
            self.board = summary_writer(folder, purge_step=0)  # all earlier rows are written again
            for row in self.rows:
                self.show(row)
        self.write()

    def add(self, row: dict[str, float]) -> None:
        self.rows.append({name: float(f"{value:.12g}") for name, value in row.items()})  # more than float32 has
        if self.board is not None:
            self.show(self.rows[-1])
        self.write()

    def show(self, row: dict[str, float]) -> None:
        """Give a row to TensorBoard."""
        for name, value in row.items():
            if value == value and name != "env_steps":  # NaN: not measured in this row
                self.board.add_scalar(name, value, int(row["env_steps"]))
        self.board.flush()

    def write(self) -> None:
        """Append the last row to metrics.csv, or write all of them, if the file is not there or lacks a column."""
        if self.folder is None:
            return
        path, names = self.folder / "metrics.csv", list(dict.fromkeys(name for row in self.rows for name in row))
        if self.rows and names == self.written and path.exists():
            size = path.stat().st_size
            try:
                with open(path, "a", newline="") as file:
                    csv.DictWriter(file, names).writerow(self.rows[-1])
            except OSError:  # a full disk takes a part of it
                os.truncate(path, size)
                raise
            return
        with replacing(path) as beside, open(beside, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)
        self.written = names

    def close(self) -> None:
        if self.board is not None:
            self.board.close()

    @property
    def evaluations(self) -> list[dict[str, float]]:
        """The rows that hold an evaluation."""
        return [row for row in self.rows if row["eval_episodes"]]


def require_tensorboard() -> type:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise Refused(
            '--tensorboard needs the package tensorboard; install it: pip install "dreamer-lite[tensorboard]"'
        ) from error
    return SummaryWriter
