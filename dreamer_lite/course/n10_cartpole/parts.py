"""Notebook 10: the reader's own parts in place of the package's, while an agent trains."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from ..index import EXERCISES
from ..notebook import COLOURS, code, kept, say
from ..plug import standing_in, unplugged


class Part(NamedTuple):
    """One function of the agent: its name, its place ("critic:lambda_return"), the reader's version if it is right, and
    what is wrong with a kept one that is not."""

    name: str
    place: str
    yours: Callable | None
    problem: str | None


def my_parts() -> list[Part]:
    """All parts that can be the reader's. What was kept is loaded and checked again, and the result is shown."""
    parts = [Part(name, exercise.kept_for, *kept(name)) for name, exercise in EXERCISES.items() if exercise.kept_for]
    mine, broken = [part for part in parts if part.yours], [part for part in parts if part.problem]
    lines = [
        "yours: "
        + (
            ", ".join(f"<code>{part.name}</code>" for part in mine)
            or "none yet; <code>keep</code> saves one in its notebook"
        ),
        f"finished: {', '.join(f'<code>{part.name}</code>' for part in parts if not part.yours) or 'none'}",
    ]
    lines += [
        f"<b>{part.name} was kept, but is not right any more; the finished version is used.</b> {code(part.problem)}"
        for part in broken
    ]
    say(
        f"{len(mine)} of {len(parts)} parts are yours",
        lines,
        COLOURS["not yet" if broken else "right" if mine else "blank"],
    )
    return parts


@contextmanager
def installed(parts: list[Part]) -> Iterator[None]:
    """Inside, the package runs with the reader's kept parts and no others; after, as before, even after an error."""
    with unplugged(), ExitStack() as stack:
        for part in parts:
            if part.yours:
                stack.enter_context(standing_in(EXERCISES[part.name].finished, part.yours))
        yield
