"""Where the reader stands: what was right, what was kept, what comes next.

Stored in the folder my_parts beside the notebooks.
"""

from base64 import b64encode
import os
from pathlib import Path
from typing import NamedTuple

from .agent_map import agent_map, boxes
from .index import EXERCISES, NOTEBOOKS


class Standing(NamedTuple):
    """Names of the exercises that were right, of those that are kept, and of those that could be: each in the order
    of the course."""

    right: list[str]
    kept: list[str]
    keepable: list[str]


def home(folder: str) -> Path:
    """The reader's own folder of this name: beside the notebooks, or in DREAMER_HOME if that is set. Git ignores it."""
    return Path(os.environ.get("DREAMER_HOME", ".")) / folder


def remember(name: str) -> str | None:
    """Record that this exercise was right. Returns the problem if that can't be written, else None."""
    if name in standing().right:
        return None
    try:
        home("my_parts").mkdir(parents=True, exist_ok=True)
        with (home("my_parts") / "right.txt").open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")
    except OSError as error:
        return f"my_parts/right.txt can't be written: {error}"
    return None


def standing() -> Standing:
    """What was right and what is kept, from the folder my_parts.

    A kept function counts as right, whatever right.txt says.
    """
    try:
        noted = set((home("my_parts") / "right.txt").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        noted = set()
    keepable = [name for name, exercise in EXERCISES.items() if exercise.kept_for]
    kept = [name for name in keepable if (home("my_parts") / f"{name}.py").is_file()]
    return Standing([name for name in EXERCISES if name in noted or name in kept], kept, keepable)


def following(now: Standing) -> tuple[str, str]:
    """What to do next, in words, and the number of its notebook: first what comes after the last right answer, then,
    at the end, what was skipped."""
    order = list(EXERCISES)
    last = max((order.index(name) for name in now.right), default=-1)
    missing = [name for name in order if name not in now.right]
    if missing:
        name = next((name for name in missing if order.index(name) > last), missing[0])
        number, place = next(
            (number, [exercise.name for exercise in notebook.EXERCISES].index(name) + 1)
            for number, notebook in NOTEBOOKS.items()
            if EXERCISES[name] in notebook.EXERCISES
        )
        return f"Next: <code>{name}</code>, exercise {place} of notebook {number}.", number
    if unkept := [name for name in now.keepable if name not in now.kept]:
        return (
            f"Next: keep {', '.join(f'<code>{name}</code>' for name in unkept)}, and train with them in notebook 10.",
            "10",
        )
    return "Nothing is left to write. Notebook 10 trains with your own version of every part.", "10"


def where(now: Standing) -> tuple[list[str], str]:
    """Two lines of text, and the map of the agent as an image whose alternative text says the same."""
    after, number = following(now)
    marks = {
        book: (sum(exercise.name in now.right for exercise in notebook.EXERCISES), len(notebook.EXERCISES))
        for book, notebook in NOTEBOOKS.items()
    }
    svg = b64encode(agent_map(number, marks).encode()).decode()
    words = ", ".join(f"{name} {marks[book][0]} of {marks[book][1]}" for book, name in boxes())
    picture = (
        f'<img alt="Map of the agent. Exercises that are right: {words}." src="data:image/svg+xml;base64,{svg}" '
        'style="width:100%;max-width:42em">'
    )
    lines = [
        f"Right: {len(now.right)} of {len(EXERCISES)} exercises. Kept: {len(now.kept)} of the {len(now.keepable)} "
        "that belong to the agent.",
        after,
    ]
    return lines, picture
