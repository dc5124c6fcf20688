"""What is written while a run goes on: metrics.csv, and TensorBoard's file beside it if it was asked for."""

import csv
from pathlib import Path
from typing import Any

from ..config import Refused


class Log:
    """The rows of a run. With a folder, each new row is written there at once."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.folder: Path | None = None
        self.board: Any = None

    def open(self, folder: Path, tensorboard: bool = False) -> None:
        """Write to this folder from now on. Raises Refused if TensorBoard is wanted and not installed."""
        self.folder = folder
        if tensorboard:
            summary_writer = need_tensorboard()
            self.board = summary_writer(folder, purge_step=0)  # what came before is written again, all of it
            for row in self.rows:
                self.show(row)
        self.write()

    def add(self, row: dict[str, float]) -> None:
        self.rows.append({name: round(float(value), 6) for name, value in row.items()})
        if self.board is not None:
            self.show(self.rows[-1])
        self.write()

    def show(self, row: dict[str, float]) -> None:
        """Give a row to TensorBoard."""
        for name, value in row.items():
            if value == value and name != "env_steps":  # NaN: there was none
                self.board.add_scalar(name, value, int(row["env_steps"]))
        self.board.flush()

    def write(self) -> None:
        if self.folder is None:
            return
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with open(self.folder / "metrics.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()

    @property
    def evaluations(self) -> list[dict[str, float]]:
        """The rows that hold an evaluation."""
        return [row for row in self.rows if row["eval_episodes"]]


def need_tensorboard() -> type:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise Refused(
            '--tensorboard needs the package tensorboard; install it with: pip install "dreamer-lite[tensorboard]"'
        ) from error
    return SummaryWriter
