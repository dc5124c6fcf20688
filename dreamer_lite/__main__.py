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
    """Run the command line. words: by default those that were typed; then Ctrl-C, or a closed pipe, prints no traceback."""
    if words is None:
        signal.signal(signal.SIGINT, stop)
    from .command_line import main

    if words is not None:
        return main(words)
    try:
        try:
            code = main(sys.argv[1:], ready=default)
        except SystemExit as end:  # --help, and what tyro refuses
            code = end.code
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # Seen once in fifty starts: all is saved, Python shuts down, a thread of PyTorch's processes aborts, and torchrun sees a failure.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def default() -> None:
    """From here on Ctrl-C is Python's KeyboardInterrupt again."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(main())
