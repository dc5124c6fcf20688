"""A run's folder: config.json, metrics.csv, checkpoint.pt, learning_curve.png, and the run card."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
import json
import os
from pathlib import Path
import platform
import shlex
import shutil
import sys
from typing import Any

from filelock import FileLock, Timeout
import gymnasium
import numpy as np
import torch

from .. import __version__
from ..errors import Refused, first_line
from ..files import write_text
from ..products import by_onednn
from .device import device_name, memory_is_kept
from .plots import draw_learning_curve
from .state import Training

LOCK, HOLDER = ".lock", ".process"  # in the folder of a run that goes on: the lock, and the number of its process


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Inside, only files in this folder are written; an OSError is reported in one line."""
    try:
        yield
    except OSError as error:
        raise Refused(
            f"the folder {out} cannot be written ({error}); choose another one (--out), or free some space"
        ) from error


def refuse_existing(out: Path) -> None:
    """Raises Refused unless the folder is new or empty."""
    with writing(out):
        held, files = (out / "checkpoint.pt").exists(), {file.name for file in out.iterdir()} if out.is_dir() else set()
    if held:
        raise Refused(
            f"{out} already holds a run. To continue it: --resume {shlex.quote(str(out))}, or resume=True from Python. "
            "For a new run, choose another folder (--out)"
        )
    if files - {LOCK, HOLDER}:
        raise Refused(f"{out} is not empty; choose another folder (--out)")


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Make the folder; inside, no other run can write there. One that was not there before and stays empty is removed.

    Raises Refused if another run writes there now, with its process.
    """
    with writing(out):
        made = not out.is_dir()
        out.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(out / LOCK), out / HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        process = holder.read_text() if holder.exists() else "unknown"
        raise Refused(
            f"{out} is being written by another run (process {process}); wait until it ends or stop it, or choose "
            "another folder (--out)"
        ) from error
    except (NotImplementedError, OSError) as error:
        if isinstance(error, PermissionError):
            raise Refused(f"the folder {out} cannot be written ({error}); choose another one (--out)") from error
        yield  # a file system without locks
        return
    try:
        holder.write_text(str(os.getpid()))
        yield
    finally:
        holder.unlink(missing_ok=True)
        if os.name == "posix":  # before it is released, or it might be another run's by then
            (out / LOCK).unlink(missing_ok=True)
        lock.release()
        if os.name != "posix":  # an open file can't be removed there
            (out / LOCK).unlink(missing_ok=True)
        if made:
            with suppress(OSError):  # it holds something
                out.rmdir()


def write_config(out: Path, training: Training) -> None:
    """Write config.json: so it shows before training, not after it, whether the run can be written at all.

    Raises Refused if it can't, or if the disk has too little space for what is still to come.
    """
    replays = training.processes.size * sum(ring.nbytes for ring in training.replay.data.values())
    need = 2 * replays + 10 * training.learner.optimizer.weights.nbytes
    free = shutil.disk_usage(out).free + sum(file.stat().st_size for file in out.glob("*.pt"))  # of a resumed run
    if free < need:
        raise Refused(
            f"{out} has {free / 1e6:,.0f} MB free, but the run may need {need / 1e6:,.0f} MB; free some space, choose "
            "another folder (--out), or a smaller --replay_size"
        )
    with writing(out):
        write_text(out / "config.json", json.dumps(training.config.to_dict(), indent=2) + "\n")


def finish(out: Path, training: Training, done: bool) -> dict[str, Any]:
    """Write the run card and the learning curve; returns the card.

    The card is written before the final evaluation too, so that it is there even if that fails.
    """
    for evaluated in (False, True) if done else (False,):
        card = run_card(training, done, evaluated)
        write_card(out, card)
    draw_curve(out, training, card)
    return card


def write_card(out: Path, card: dict[str, Any]) -> None:
    with writing(out):
        write_text(out / "card.json", json.dumps(card, indent=2) + "\n")


def draw_curve(out: Path, training: Training, card: dict[str, Any]) -> None:
    """Draw learning_curve.png, with the evaluation at the end of the run if it is later than those in metrics.csv."""
    c, rows, final = training.config, training.log.rows, card["final_evaluation"]["sampled"]
    if final and all(row["env_steps"] < card["env_steps"] for row in training.log.evaluations):
        end = {"env_steps": card["env_steps"], "eval_mean": final["mean"], "eval_episodes": final["episodes"]}
        rows = [*rows, end]
    pixels = [f"{c.pixels} × {c.pixels} pixels"] if c.pixels else []
    title = " ".join([c.env, *c.env_args, *pixels]) + f", {c.nearest_preset()} preset, seed {c.seed}"
    with writing(out):
        draw_learning_curve([rows], out / "learning_curve.png", training.envs.threshold, title)


def keep_error(out: Path, training: Training, done: bool, error: Exception) -> None:
    """Write the run card and the learning curve of a run that an error ended, as far as they can be written."""
    training.notes.append(
        f"an error ended the run after {training.env_steps:,} environment steps: {type(error).__name__}: "
        f"{first_line(error, most=300)}"
    )
    with suppress(Exception):  # the error itself is what the user must see
        card = run_card(training, done, evaluated=False)
        write_card(out, card)
        draw_curve(out, training, card)


def held(training: Training) -> dict[str, float] | None:
    """The evaluations since the task was solved: their number, the share at or above the threshold, the worst."""
    solved = training.solved
    means = [row["eval_mean"] for row in training.log.evaluations if solved and row["env_steps"] > solved["env_steps"]]
    if not means:
        return None
    share = float(np.mean([mean >= training.envs.threshold for mean in means]))
    return {"evaluations": len(means), "share_at_threshold": share, "worst": min(means)}


def final_evaluation(training: Training, greedy: bool) -> dict[str, float] | None:
    scores = training.play(training.config.eval_episodes, training.config.seed, greedy)
    if scores is None:
        return None
    return {"mean": float(scores.mean()), "std": float(scores.std()), "episodes": len(scores)}


def command() -> str:
    """What was typed, as it could be typed again."""
    program, *words = sys.argv or [""]  # a program that embeds Python may have none
    ours = Path(program).parts[-2:] == ("dreamer_lite", "__main__.py")
    return shlex.join(["python", "-m", "dreamer_lite", *words] if ours else [program, *words])


def run_card(training: Training, done: bool, evaluated: bool) -> dict[str, Any]:
    """The run in a few lines, for people and programs.

    done: whether the run is finished; evaluated: evaluate it now. The seconds to solve exclude the
    evaluation that found it solved.
    """
    c, solved = training.config, training.solved or {}
    final = {
        name: final_evaluation(training, name == "greedy") if evaluated else None for name in ("sampled", "greedy")
    }
    return {
        "env": c.env,
        "preset": c.nearest_preset(),
        "seed": c.seed,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command(),
        "until": training.until,
        "finished": done,
        "env_steps": training.env_steps,
        "train_steps": training.train_steps,
        "episodes": training.episodes,
        "seconds": round(training.seconds, 1),
        "threshold": training.envs.threshold,
        "solved_at_env_steps": solved.get("env_steps"),
        "solved_at_seconds": round(solved["seconds"], 1) if solved else None,
        "held": held(training),
        "final_evaluation": final,
        "device": training.device,
        "device_name": device_name(training.device),
        "threads": torch.get_num_threads(),
        "memory_kept": memory_is_kept(),
        "onednn_products": training.learner.products is by_onednn,
        "compiled": training.compiled,
        "compile_seconds": training.compile_seconds,
        "captured": training.captured is not None,
        "capture_seconds": training.capture_seconds,
        "acts_on": str(training.acting.agent().device),
        "processes": training.processes.size,
        "notes": training.notes,
        "versions": {
            "dreamer_lite": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "gymnasium": gymnasium.__version__,
        },
        "config": c.to_dict(),
    }
