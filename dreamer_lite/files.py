"""Pages, pictures and cards are written whole or not at all, so a full disk costs nobody the old ones."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import shutil


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Inside, a file beside `path` is written, which then takes its place; after an error `path` is as it was.

    A link is followed, and permissions stay. What is no file, such as a pipe, is written directly.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # asked before links are resolved: /dev/stdout may lead to a pipe
        yield path
        return
    path = Path(os.path.realpath(path))
    beside = path.with_name(f".{os.getpid()}{path.suffix}")  # the same ending, by which writers choose the format
    try:
        yield beside
        if path.exists():
            shutil.copymode(path, beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write text to a file, in UTF-8 and with line ends as they are given."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="")
