"""`python -m dreamer_lite`, and the console command `dreamer-lite`. What they understand is in command_line.py."""

import os
import signal
import sys
from typing import Any, NoReturn


def stop(*_: Any) -> NoReturn:
    """Ctrl-C while modules are imported: there is nothing to save yet, and PyTorch, which takes seconds, may be half there."""
    os.write(2, b"\ndreamer_lite: stopped\n")
    os._exit(130)


def main(words: list[str] | None = None) -> int:
    """Run the command line. words: without them those that were typed, and Ctrl-C prints no traceback."""
    if words is None:
        signal.signal(signal.SIGINT, stop)
    from .command_line import main

    code = main(sys.argv[1:] if words is None else words, ready=default if words is None else lambda: None)
    if words is None and "TORCHELASTIC_RUN_ID" in os.environ:
        # Seen once in fifty starts: all is saved, Python shuts down, and a thread of PyTorch's processes aborts, which torchrun takes for a failure.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def default() -> None:
    """From here on Ctrl-C is Python's KeyboardInterrupt again."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(main())
