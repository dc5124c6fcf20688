"""Files that are written whole or not at all, so a full disk costs nobody an old picture."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Inside, a file beside `path` is written, which then takes its place; after an error `path` is as it was.

    A link is followed. What is no file, such as a pipe, can't be replaced and is written directly.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    beside = path.with_name(f".{os.getpid()}-{path.name}")  # the same ending, by which writers choose the format
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write text to a file, in UTF-8 and with line ends as they are given."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="")
