"""The functions a reader calls: setup, check, hint, solution, keep, progress."""

from collections.abc import Callable
from html import escape, unescape
import importlib
import inspect
import os
import platform
import re
import sys
from typing import Any

from IPython import get_ipython
from IPython.display import display
import numpy as np
import torch

from .. import __version__
from ..training.device import keep_memory
from .exercise import Exercise
from .index import EXERCISES
from .judge import Verdict, judge
from .plug import in_the_package, plug, unplugged
from .progress import home, remember, standing, where
from .sandbox import SECONDS, TookTooLong, deadline

COLOURS = {"right": "#009E73", "not yet": "#D55E00", "blank": "#6B6B6B"}
shown: dict[str, int] = {}  # how many hints were given, by exercise


def setup(number: str, seed: int = 0) -> None:
    """Start notebook `number`: seed everything, show versions and device, and let the kernel keep its memory."""
    keep_memory()
    torch.manual_seed(seed)
    np.random.seed(seed)
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"CPU, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    )
    say(
        f"notebook {number}",
        [
            f"dreamer_lite {__version__}, Python {platform.python_version()}, PyTorch "
            f"{torch.__version__.split('+')[0]}, {device}, seed {seed}"
        ],
        "#0072B2",
    )
    progress()


def progress() -> None:
    """Show how far the reader has come: exercises right, parts kept, what is next.

    Shows nothing before the first right answer.
    """
    now = standing()
    if now.right:
        lines, picture = where(now)
        say("where you are", lines, COLOURS["right"], picture)


def check(version: Any, name: str | None = None) -> Callable:
    """Judge an exercise's function, say what is right or wrong with it, and return a version that works: the reader's
    own if it is right, the finished one if it is blank or wrong. Where the package has this function, it runs with that
    version too, until the kernel stops. Never raises, whatever it is given."""
    if name is None and (version is None or isinstance(version, (dict, torch.Tensor))):
        say(
            "no such exercise",
            ["Give <code>check</code> the function itself: <code>check(f)</code>, not <code>check(f(x))</code>."],
            COLOURS["not yet"],
        )
        return version
    if isinstance(version, str):
        words = f"Give <code>check</code> the function itself, without quotes: <code>check({escape(version)})</code>."
        say("no such exercise", [words], COLOURS["not yet"])
        return version
    exercise = find(name or getattr(version, "__name__", None))
    if exercise is None:
        return version
    if version is exercise.finished:  # what the last check put in place of a blank or wrong answer
        plug(exercise.finished, exercise.finished)
        words = "This is the finished version, not yours. Run the cell with your <code>def</code> again, then this one."
        say(f"{exercise.name}: not checked", [words], COLOURS["blank"])
        return version
    verdict = judged(exercise, version)
    plug(exercise.finished, version if verdict.state == "right" else exercise.finished)
    if verdict.state == "right":
        named = getattr(version, "__name__", None) == exercise.name
        how = f"Keep it with <code>keep({exercise.name})</code>."
        how = how if named else f"To keep it, call it <code>{exercise.name}</code>."
        more = f" {how}" if exercise.kept_for else ""
        inside = ", and so does the package" if in_the_package(version) else ""
        problem = remember(exercise.name)
        lines = [f"The cells below use your version{inside}.{more}", *([escape(problem)] if problem else [])]
        say(f"{exercise.name}: right", lines, COLOURS["right"])
        return version
    if verdict.state == "blank":
        words = [
            f"Replace the <code>...</code> in <code>{exercise.name}</code>, then run its cell and this one again. "
            f'Until then the cells below use the finished version. <code>hint("{exercise.name}")</code> helps.'
        ]
    else:
        words = [code(line) for line in verdict.words]
        words.append(f'The cells below use the finished version. <code>hint("{exercise.name}")</code> helps.')
    say(f"{exercise.name}: {verdict.state}", words, COLOURS[verdict.state])
    return exercise.finished


def hint(name: str) -> None:
    """Show the next hint for an exercise: each call goes one level deeper, three in all."""
    exercise = find(name)
    if exercise is None:
        return
    level = min(shown.get(exercise.name, 0) + 1, 3)
    shown[exercise.name] = level
    last = (
        f'That was the last hint; <code>solution("{exercise.name}")</code> shows the finished code.'
        if level == 3
        else ""
    )
    text = exercise.hints[level - 1]
    text = text.replace("`, `", "`\n`") if level == 3 else text  # the last one is code: one statement per line
    say(f"{exercise.name}: hint {level} of 3", [code(text)] + [last] * bool(last), "#0072B2")


def solution(name: str) -> None:
    """Show the finished source: the package's own, so it can't drift from what runs."""
    exercise = find(name)
    if exercise is None:
        return
    source = inspect.getsource(exercise.finished)
    where = f"{exercise.finished.__module__.replace('.', '/')}.py"
    show(f"<p><code>{where}</code></p><pre style='line-height:1.3'>{escape(source)}</pre>", f"{where}\n\n{source}")


def keep(version: Callable) -> None:
    """Save the source of a right answer in the folder my_parts beside the notebooks; notebook 10 trains with it."""
    exercise = find(getattr(version, "__name__", None))
    if exercise is None:
        return
    if version is exercise.finished:
        return say(
            f"{exercise.name}: nothing to keep",
            ["This is the finished version; write your own first."],
            COLOURS["blank"],
        )
    if exercise.kept_for is None:
        return say(
            f"{exercise.name}: nothing to keep",
            ["This one was for practice; it is not part of the agent."],
            COLOURS["blank"],
        )
    verdict = judged(exercise, version)
    if verdict.state != "right":
        return say(
            f"{exercise.name}: not kept",
            ["Only a right answer is kept; run its <code>check</code>."],
            COLOURS["not yet"],
        )
    try:
        source = inspect.getsource(version)
    except (OSError, TypeError):
        return say(
            f"{exercise.name}: not kept",
            ["Its source can't be read. Define it with <code>def</code> in a cell."],
            COLOURS["not yet"],
        )
    file = home("my_parts") / f"{exercise.name}.py"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_text(encoding="utf-8") if file.is_file() else None
        file.write_text(source, encoding="utf-8")
    except OSError as error:
        return say(
            f"{exercise.name}: not kept",
            [f"my_parts/{file.name} can't be written: {escape(str(error))}"],
            COLOURS["not yet"],
        )
    _, problem = kept(exercise.name)
    if problem:
        if before is None:
            file.unlink()
        else:
            file.write_text(before, encoding="utf-8")
        more = ["The version you kept before is still there."] * (before is not None)
        return say(f"{exercise.name}: not kept", [code(problem)] + more, COLOURS["not yet"])
    say(
        f"{exercise.name}: kept",
        [f"Saved as <code>my_parts/{escape(file.name)}</code>. Notebook 10 trains with it."],
        COLOURS["right"],
    )


def kept(name: str) -> tuple[Callable | None, str | None]:
    """The reader's kept version of an exercise, loaded and checked again, or None; then what is wrong with it, or
    None."""
    exercise = EXERCISES[name]
    file = home("my_parts") / f"{name}.py"
    if not file.is_file():
        return None, None
    where = f"my_parts/{file.name}"
    module = importlib.import_module(exercise.finished.__module__)
    names = {
        **{other: e.finished for other, e in EXERCISES.items()},
        **vars(module),
        "torch": torch,
        "np": np,
        "F": torch.nn.functional,
        "nn": torch.nn,
        "Tensor": torch.Tensor,
    }
    names.pop(name, None)
    try:
        with deadline(SECONDS):
            exec(compile(file.read_text(encoding="utf-8"), where, "exec"), names)
    except TookTooLong:
        return None, f"{where} does not finish in time."
    except (Exception, SystemExit) as error:
        return None, f"{where} does not run: {type(error).__name__}: {error}"
    if name not in names:
        return None, f"{where} does not define `{name}`."
    verdict = judged(exercise, names[name])
    if verdict.state == "right":
        return names[name], None
    why = " ".join(verdict.words) or "It is blank."
    if "NameError" in why:
        why += (
            " A kept function may use torch, np, F, nn, the functions of other exercises and what the module "
            f"{exercise.finished.__module__} imports. Put other helpers inside the function."
        )
    return None, f"{where} is not right: {why}"


def judged(exercise: Exercise, version: Any) -> Verdict:
    """The verdict on a version, from the unmodified package."""
    with unplugged():
        return judge(exercise, version)


def self_check() -> bool:
    """Check everything the course needs, and say how to fix what is missing. True if all is well."""
    rows = [
        (
            "Python 3.10 or newer",
            sys.version_info >= (3, 10),
            platform.python_version(),
            "install a newer Python and create the environment again",
        ),
        *(module_row(name) for name in ("torch", "numpy", "gymnasium", "matplotlib", "ipywidgets", "pygame")),
        module_row("cv2", "opencv-python-headless"),
        agent_row(),
        ("this folder is writable", os.access(".", os.W_OK), "", "copy the repository to a folder you can write to"),
    ]
    good = all(fine for _, fine, _, _ in rows)
    lines = [
        f"{'✓' if fine else '✗'} {escape(what)} {escape(seen)}" + ("" if fine else f" <b>To fix it:</b> {escape(fix)}")
        for what, fine, seen, fix in rows
    ]
    say("everything is in place" if good else "something is missing", lines, COLOURS["right" if good else "not yet"])
    return good


def module_row(name: str, package: str = "") -> tuple[str, bool, str, str]:
    """package: what pip calls it, if that is not the module's name."""
    package = package or name
    try:
        return package, True, importlib.import_module(name).__version__, ""
    except ImportError:
        return package, False, "is not installed", f"run this in a cell: %pip install {package}"


def agent_row() -> tuple[str, bool, str, str]:
    from .bundled import bundled_agent

    try:
        bundled_agent()
        return "the trained agent loads", True, "", ""
    except ValueError as error:
        return "the trained agent", False, str(error), "start Jupyter inside a clone of the repository"


def find(name: str | None) -> Exercise | None:
    if name in EXERCISES:
        return EXERCISES[name]
    say(
        "no such exercise",
        [f"There is no exercise called {escape(repr(name))}. Does the function still have its name from the exercise?"],
        COLOURS["not yet"],
    )
    return None


def say(title: str, lines: list[str], colour: str, picture: str = "") -> None:
    """A short block in the notebook, with a plain-text twin for terminals, nbval and screen readers."""
    body = "".join(f"<div style='margin-top:.25em'>{line}</div>" for line in lines)
    html = (
        f"<div role='status' style='border-left:4px solid {colour};padding:.4em .8em;margin:.3em 0;max-width:50em'>"
        f"<b style='color:{colour}'>{escape(title)}</b>{body}{picture}</div>"
    )
    flat = [re.sub(r"</?(code|b|pre)[^>]*>", "", re.sub(r"<br>", "\n  ", line)) for line in lines]
    plain = "\n".join([title] + ["  " + line for line in flat])
    show(html, unescape(plain))


def show(html: str, plain: str) -> None:
    if get_ipython() is None:
        print(plain)
    else:
        display({"text/html": html, "text/plain": plain}, raw=True)


def code(text: str) -> str:
    """Escaped text in which `backticks` set code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)).replace("\n", "<br>")
