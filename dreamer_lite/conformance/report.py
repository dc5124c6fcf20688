"""The result of a comparison: a table for the terminal, JSON, Markdown."""

from dataclasses import dataclass, field
import textwrap
from typing import Any

from .compare import STATES, Row

SHOWN = {"remark": "equal, remark", "design": "by design"}
COUNTED = {"design": "differ by design", "off": "off", "raised": "raised an error"}


@dataclass(frozen=True)
class Report:
    """One row for each piece. equal: whether every function that is there computes the official numbers."""

    name: str
    rows: list[Row]
    hints: list[str] = field(default_factory=list)  # on names that are no pieces', and on what is assumed

    @property
    def equal(self) -> bool:
        return all(STATES[row.state] for row in self.rows)

    def __str__(self) -> str:
        return self.table()

    def table(self, width: int = 110) -> str:
        lines, left = [], max(len(row.piece) for row in self.rows) + 2
        absent = [row.piece for row in self.rows if row.state == "not there" and not row.words]
        for row in [row for row in self.rows if row.piece not in absent]:
            head = f"{row.piece:<{left}}{SHOWN.get(row.state, row.state):<15}"
            text = " ".join(filter(None, [sentence(row.words), distance(row)]))
            lines += textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head)) or [
                head.rstrip()
            ]
        lines += textwrap.wrap(f"not there: {', '.join(absent)}", width, subsequent_indent="  ") if absent else []
        return "\n".join([*lines, *self.hints, self.summary])

    @property
    def summary(self) -> str:
        counts = {state: sum(row.state == state for row in self.rows) for state in STATES}
        equal = counts["equal"] + counts["remark"]
        given = len(self.rows) - counts["not there"]
        others = [state for state in ("design", "off", "raised", "not there") if counts[state]]
        rest = "".join(f", {counts[state]} {COUNTED.get(state, state)}" for state in others)
        return f"{self.name}: {equal} of {given} pieces compute the official numbers{rest}"

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "equal": self.equal, "rows": [row.as_dict() for row in self.rows]}

    def markdown(self) -> str:
        lines = [
            f"# {self.name}",
            "",
            self.summary + ".",
            "",
            "| piece | result | why, and how far off |",
            "|---|---|---|",
        ]
        for row in self.rows:
            text = " ".join(filter(None, [sentence(row.words), distance(row)])).replace("|", "\\|")
            lines.append(f"| `{row.piece}` | {SHOWN.get(row.state, row.state)} | {text} |")
        return "\n".join(lines) + "\n"


def sentence(words: str) -> str:
    return words if not words or words.endswith((".", "?", "!")) else f"{words}."


def distance(row: Row) -> str:
    """How far off the worst entry is: "loss[3]: 2.31, official 1.05 (12 of 44 differ)"."""
    worst = row.worst
    if not worst:
        return ""
    if "shape" in worst:
        return f"{worst['array']}: shape {tuple(worst['shape'])}, official {tuple(worst['official_shape'])}."
    at = f"[{', '.join(map(str, worst['at']))}]" if worst["at"] else ""
    share = f" ({worst['differ']} of {worst['of']} differ)" if worst["of"] > 1 else ""
    at += f" (x = {worst['x']:.6g})" if "x" in worst else ""
    for digits in (6, 9, 17):  # as many as it takes to tell them apart
        yours, official = (f"{worst[whose]:.{digits}g}" for whose in ("yours", "official"))
        if yours != official:
            break
    return f"{worst['array']}{at}: {yours}, official {official}{share}."
