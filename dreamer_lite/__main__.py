"""`python -m dreamer_lite`, and the console command `dreamer-lite`. What they understand is in command_line.py."""

import codecs
from contextlib import suppress
import os
import signal
import sys

PLAIN = {"±": "+/-", "×": "x", "–": "-", "…": "...", "→": "->", "≤": "<=", "≥": ">="}


def plain(error: UnicodeError) -> tuple[str, int]:
    """What a terminal shows that lacks a sign: plainer letters, or else a question mark."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def stop(*_: object) -> None:
    """Ctrl-C during the imports: nothing needs saving yet, and PyTorch, which takes seconds, may be half imported."""
    os.write(2, b"\ndreamer_lite: stopped\n")
    os._exit(130)


def main(words: list[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    words: by default those of the command line; Ctrl-C or a closed pipe then prints no traceback.
    """
    if words is None:
        signal.signal(signal.SIGINT, stop)
        codecs.register_error("plain", plain)
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="plain")
        with suppress(FileNotFoundError):  # the current folder is gone
            if not {"", os.getcwd()} & set(sys.path):  # a console script doesn't look for modules here, python -m does
                sys.path.insert(0, os.getcwd())
    from .command_line import main

    if words is not None:
        return main(words)
    try:
        try:
            code = main(sys.argv[1:], ready=default)
        except SystemExit as end:  # --help, or options that tyro refuses
            code = end.code
        if sys.stdout:  # it may be closed
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # Seen once in fifty starts: everything is saved, but a thread of PyTorch's processes aborts while Python shuts
        # down, and torchrun sees a failure.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def default() -> None:
    """From here on, Ctrl-C raises Python's KeyboardInterrupt again."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(main())
