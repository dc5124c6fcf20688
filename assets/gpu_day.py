"""Settles on a GPU, in minutes, what this package claims about one: `python assets/make.py gpu --out FOLDER`.

A list of experiments in order of worth. Each runs in a process of its own with a time limit, so a crash or a hang takes
only that one, and adds its numbers to FOLDER/results.jsonl as it goes. What no longer fits into the minutes left is
skipped, and named. At the end: a table on the terminal, the page FOLDER/gpu.md for docs/gpu.md, FOLDER/readme_rows.md,
and FOLDER/bench.txt. `--only NAME …` repeats some of them, `--minutes 4` bounds the time.
`--rehearse` runs the same list on a CPU, with tiny agents, and a stand-in (tests/stand_in.py) for what only CUDA has.

It needs no network. Without Gymnasium and the other packages, make a folder of them first (`gpu_wheels.py`).
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import nullcontext
import csv
from dataclasses import replace
from datetime import datetime, timezone
import gc
from itertools import product
import json
import os
from pathlib import Path
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
REHEARSAL = "DREAMER_REHEARSAL"  # the environment variable that is set in a rehearsal
MARGIN = 15  # seconds before its limit at which a training stops by itself, and saves

Row = dict[str, Any]


def rehearsing() -> bool:
    return REHEARSAL in os.environ


def device() -> str:
    return "cpu" if rehearsing() else "cuda"


def scaled(config):
    """The settings to run with: these, or in a rehearsal an agent that is trained in a moment."""
    from dreamer_lite.config import PRESETS

    if not rehearsing():
        return config
    how = dict(steps=60, log_every=30, eval_every=30, train_ratio=4, learn_start=40, depth=2, mults=(2, 2))
    how |= dict(pixels=16 if config.pixels else 0)
    return replace(config, **PRESETS["debug"] | how)


# The experiments. Each is a generator of rows, and ends its process with an exception or a code if something is wrong.


def machine(left: float) -> Iterator[Row]:
    """What this is."""
    import torch

    card = torch.cuda.get_device_properties(device())
    yield {
        "card": card.name,
        "gigabytes": round(card.total_memory / 1e9, 1),
        "processors": card.multi_processor_count,
        "capability": f"{card.major}.{card.minor}",
        "driver": driver_version(),
        "cuda": torch.version.cuda or "none",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
    }


def driver_version() -> str:
    try:
        words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


class Outcomes:
    """Counts the tests of a pytest run, and keeps the words of those that fail."""

    def __init__(self) -> None:
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self.failures: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.outcome] += 1
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.failures.append(f"{report.nodeid.split('::')[-1]}: {str(crash.message if crash else '')[:300]}")


def tests(*files: str, only: str = "", rehearsed: str = "") -> Callable[[float], Iterator[Row]]:
    """An experiment that runs tests. only: which of them; rehearsed: which in a rehearsal. Both as pytest's -k."""

    def run(left: float) -> Iterator[Row]:
        import pytest

        seen, choice = Outcomes(), rehearsed if rehearsing() else only
        options = ["-o", "addopts=", "-v", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "-k", choice]
        code = pytest.main([*options, *(str(ROOT / file) for file in files)], [seen])
        yield {"tests": ", ".join(files), **seen.counts, "failures": seen.failures}
        if code:
            raise SystemExit(f"{seen.counts['failed']} failed: {'; '.join(seen.failures)[:300]}")

    return run


def shape_config(shape: str):
    """Settings of this name, and what its agent sees."""
    from dreamer_lite.config import Config
    from dreamer_lite.training.bench import CARTPOLE, IMAGES, SHAPES

    images = dict(pixels=64) if shape == "pixels" else {}
    config = SHAPES.get(shape) or Config.preset(shape, **images)
    small_images = IMAGES._replace(image=(16, 16, 1)) if rehearsing() else IMAGES
    return scaled(config), small_images if shape == "pixels" else CARTPOLE


def train_steps(*shapes: str, ways: tuple[str, ...] = ("eager", "captured", "kernels")):
    """An experiment that times a train step in each way, notes its memory, and adds up its kernels."""

    def run(left: float) -> Iterator[Row]:
        failures = []
        for shape, precision, way in product(shapes, ("float32", "bfloat16"), ways):
            row, (config, spaces) = {"shape": shape, "precision": precision, "way": way}, shape_config(shape)
            try:
                yield row | MEASURES[way](replace(config, precision=precision), spaces, way)
            except Exception as error:  # one that fails takes no other with it
                failures.append(f"{shape}, {way}: {str(error)[:300]}")
                yield row | {"error": failures[-1]}
        if failures:
            raise SystemExit("; ".join(failures))

    return run


def time_way(config: Any, spaces: Any, way: str) -> Row:
    """Seconds of each train step taken this way, of the preparation before the first, and the memory it took."""
    import torch

    from dreamer_lite.training.bench import make_learner
    from dreamer_lite.training.capture import WARM_UP, Captured
    from dreamer_lite.training.device import seconds

    gc.collect()  # the learner before this one
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    learner, batch, start = make_learner(config, device(), spaces)

    def plain():
        learner.train_step(batch, start)

    step = Captured(plain) if way == "captured" else plain

    def prepare():
        if way == "compiled":
            learner.objective = compiled_for_a_gpu(learner)
        for _ in range(WARM_UP + 2):
            step()

    prepared = seconds(prepare, device())
    times = [seconds(step, device()) for _ in range(2 if rehearsing() else 10)]
    weights, memory = len(learner.optimizer.weights), torch.cuda.max_memory_allocated()
    return {"seconds": times, "prepared": prepared, "weights": weights, "memory": memory}


def compiled_for_a_gpu(learner: Any) -> Callable:
    """The learner's objective, compiled without the options that are made for a CPU."""
    import torch

    from dreamer_lite import scan
    from dreamer_lite.training.compiled import OPTIONS, blank, one_step, parameters_apart

    if scan.operator is None:
        raise RuntimeError(f"PyTorch {torch.__version__} has no scan operator that the package can compile")
    for_a_cpu = ("cpp_wrapper", "cpp_wrapper_build_separate", "inplace_buffers")
    options = {name: OPTIONS[name] for name in OPTIONS if name not in for_a_cpu}
    objective = learner.objective

    def run(*given: Any) -> tuple:
        return objective(*given)

    # PyTorch stores compiled programs by the function's code. Without guards, a second learner would get the program of
    # the first.
    run.__code__ = run.__code__.replace()
    compiled = torch.compile(run, fullgraph=True, dynamic=False, options=options)
    with parameters_apart(learner), scan.compiling():
        one_step(learner, compiled, blank(learner.agent))
    return compiled


def add_up_kernels(config: Any, spaces: Any, way: str) -> Row:
    """The kernels of an eager train step: how many, and their seconds by the GPU's own clock."""
    from dreamer_lite.training import bench

    _, step = bench.make_step(config, device(), spaces)
    step()
    times = bench.kernels(step)
    return {"launches": len(times), "kernel_seconds": sum(times)}


MEASURES = {"eager": time_way, "captured": time_way, "compiled": time_way, "kernels": add_up_kernels}


def compiled_steps(left: float) -> Iterator[Row]:
    """A compiled train step at the small shapes. It takes minutes, or isn't possible; so it comes last."""
    from unittest.mock import patch

    import torch

    # Compiling takes a minute, and tests/training/test_speed.py does it without a GPU.
    rehearsed = patch.object(torch, "compile", lambda run, **how: run) if rehearsing() else nullcontext()
    with rehearsed:
        yield from train_steps(*("small", "tiny", "gpu")[: 1 if rehearsing() else 3], ways=("compiled",))(left)


def cartpole(preset: str, seeds: tuple[int, ...] = (0, 1, 2)) -> Callable[[float], Iterator[Row]]:
    """An experiment that learns CartPole from nothing, captured, and goes on for a while after it is solved."""

    def run(left: float) -> Iterator[Row]:
        from dreamer_lite.config import Config

        ends = time.monotonic() + left
        for seed in seeds[:1] if rehearsing() else seeds:
            config = Config.preset(preset, env="CartPole-v1", seed=seed, steps=3_000)
            yield {"preset": preset} | learn(scaled(config), f"{preset}-seed{seed}", ends)

    return run


def pictures(left: float) -> Iterator[Row]:
    """CartPole from images, as far as the time goes."""
    from dreamer_lite.config import Config

    config = Config.preset("pixels", env="CartPole-v1", pixels=64, gray=True, steps=10_000, eval_every=500)
    yield {"preset": "pixels"} | learn(scaled(config), "pixels-seed0", time.monotonic() + left)


def learn(config: Any, name: str, ends: float) -> Row:
    """Train until all steps are used up or the time ends; what the run card and the evaluations say."""
    from dreamer_lite.training.device import use_device
    from dreamer_lite.training.loop import Interrupted, train

    def stop_in_time(training: Any) -> None:
        if time.monotonic() > ends - MARGIN:
            signal.raise_signal(signal.SIGTERM)

    folder = Path(os.environ["DREAMER_GPU_OUT"]) / name
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier attempt
    where = use_device(device())
    try:
        card = train(config, folder, device=where, until="steps", progress=False, on_step=stop_in_time)
    except Interrupted as stopped:
        card = stopped.card
    with open(folder / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["eval_episodes"]) > 0]
    evaluations = [(int(float(row["env_steps"])), float(row["eval_mean"])) for row in rows]
    (folder / "checkpoint.pt").unlink()  # what is kept should be small
    later = [mean for steps, mean in evaluations if steps > (card["solved_at_env_steps"] or float("inf"))]
    kept = ("seed", "finished", "env_steps", "train_steps", "seconds", "solved_at_env_steps", "solved_at_seconds")
    kept += ("captured", "capture_seconds", "notes")
    return {key: card[key] for key in kept} | {"evaluations": evaluations, "later": later}


def notebook(left: float) -> Iterator[Row]:
    """Notebook 10, executed as it is, into the folder."""
    from nbclient import NotebookClient
    import nbformat

    out = Path(os.environ["DREAMER_GPU_OUT"])
    book = nbformat.read(ROOT / "notebooks" / "10_cartpole.ipynb", 4)
    if rehearsing():
        shorten(book)
    reader = tempfile.TemporaryDirectory()  # as a new reader sees it
    os.environ["DREAMER_HOME"] = reader.name
    where = {"metadata": {"path": str(ROOT / "notebooks")}}
    client = NotebookClient(
        book, kernel_name="python3", resources=where, timeout=max(int(left) - MARGIN, 10), allow_errors=True
    )
    try:
        client.execute()
    finally:
        nbformat.write(book, out / "10_cartpole.ipynb")
        reader.cleanup()
    yield (found := outcome(book))
    if found["errors"]:
        raise SystemExit(found["errors"][0])


def outcome(book: Any) -> Row:
    """What an executed notebook shows: its figures, its errors, and the lines that a GPU changes."""
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    outputs = [one for cell in cells for one in cell.outputs]
    said = "".join(one.text for one in outputs if one.output_type == "stream" and one.name == "stdout").splitlines()
    words = ("captured", "recorded, if", "solved after", "a train step", "after training")
    return {
        "cells": len(cells),
        "pictures": sum("image/png" in one.get("data", {}) for one in outputs),
        "errors": [f"{one.ename}: {one.evalue}"[:200] for one in outputs if one.output_type == "error"],
        "says": [line for line in said if any(word in line for word in words)],
    }


def shorten(book: Any) -> None:
    """In a rehearsal, only the cells that train, for a moment."""
    from quick_cells import needed, quick, unprepared

    book.cells = needed(book.cells, ["train_live("])
    for cell in book.cells:
        cell.source = quick(unprepared(cell.source)).replace("steps=8_000", "steps=20")


def acting(left: float) -> Iterator[Row]:
    """Who acts faster, the agent on the GPU or its copy on the CPU, and what the choice at the start of a run was."""
    from dreamer_lite.agent import Dreamer
    from dreamer_lite.learner import Learner
    from dreamer_lite.training.acting import ActingAgent, fastest_acting, seconds_to_act

    for preset in ("small", "gpu", "size12m", "pixels"):
        config, spaces = shape_config(preset)
        learner = Learner(Dreamer(config, spaces, device()))
        home = learner.agent.device
        for count in (1, 16):
            chosen = "GPU" if fastest_acting(learner, count, learning=True).copy is None else "copy"
            ways = {"GPU": ActingAgent(learner), "copy": ActingAgent(learner)}
            ways["copy"].use_copy()
            times = {
                way: statistics.median(seconds_to_act(one.agent, count, home) for _ in range(1 if rehearsing() else 5))
                for way, one in ways.items()
            }
            right = times[chosen] <= 1.1 * min(times.values())
            yield {"preset": preset, "envs": count, "seconds": times, "chosen": chosen, "right": right}


def two_processes(left: float) -> Iterator[Row]:
    """What two processes do with one card: docs/parallel.md says that each needs a card of its own."""
    words = "-m torch.distributed.run --standalone --nproc-per-node 2 -m dreamer_lite"
    words += " --preset debug --device cuda --quiet"
    out = Path(os.environ["DREAMER_GPU_OUT"]) / "two"
    done = subprocess.run(
        [sys.executable, *words.split(), "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=max(left - 5, 5),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    lines = [line for line in (done.stderr + done.stdout).splitlines() if "dreamer_lite: " in line]
    yield {"result": "refused" if done.returncode else "ran", "says": (lines or [done.stderr[-300:]])[0]}


class Experiment(NamedTuple):
    """limit: seconds until it is ended; least: seconds below which it isn't begun."""

    run: Callable[[float], Iterator[Row]]
    limit: int
    least: int


EXPERIMENTS = {
    "machine": Experiment(machine, 60, 5),
    "numbers": Experiment(tests("tests/gpu/test_gpu_numbers.py", rehearsed="float32 and 16_full"), 60, 15),
    "runs": Experiment(
        tests(
            "tests/gpu/test_gpu_runs.py",
            "tests/training/test_speed.py",
            only="gpu or cuda",
            rehearsed="restored or lies or noticed or CartPole and waits_for_nothing",
        ),
        120,
        20,
    ),
    "capture": Experiment(tests("tests/gpu/test_gpu_capture.py", rehearsed="waits"), 90, 20),
    "steps": Experiment(train_steps("small", "gpu", "common", "tiny"), 100, 25),
    "steps-large": Experiment(train_steps("size12m", "pixels", "original"), 90, 20),
    "cartpole-small": Experiment(cartpole("small"), 120, 30),
    "cartpole-gpu": Experiment(cartpole("gpu"), 120, 30),
    "notebook": Experiment(notebook, 120, 45),
    "acting": Experiment(acting, 40, 15),
    "pixels": Experiment(pictures, 120, 40),
    "nccl": Experiment(two_processes, 45, 20),
    "compiled": Experiment(compiled_steps, 240, 60),
}


# One experiment, in a process of its own.


def work(name: str, out: Path, left: float) -> None:
    """Run an experiment here, and keep each of its rows as it comes."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    paths = [ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in paths)  # for what it starts elsewhere
    os.environ["DREAMER_GPU_OUT"] = str(out)
    import torch

    if rehearsing():
        torch.set_num_threads(1)
        from stand_in import without_cuda
    else:
        torch.cuda.init()  # some questions about its memory can't be asked before
    with without_cuda() if rehearsing() else nullcontext():
        for row in EXPERIMENTS[name].run(left):
            keep(out, {"experiment": name, **row})


def keep(out: Path, row: Row) -> None:
    with open(out / "results.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


# All of them, from outside. Nothing here uses PyTorch, so that no GPU is touched.


def within(seconds: float, begin: Callable[[], Any]) -> int | None:
    """Begin a process, and end it with all it started when the time is up; returns its code, None if it was ended."""
    process = begin()
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def program(name: str, out: Path, limit: float) -> subprocess.Popen:
    """The experiment in a Python of its own, with its words in a log."""
    words = [sys.executable, __file__, name, str(out), str(limit)]
    with open(out / f"{name}.log", "w") as log:
        return subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)


class Fork:
    """The same as a fork of this process, for a rehearsal: importing PyTorch each time takes longer than the rest.

    A GPU wants a new Python: CUDA can't be used in a fork once it was asked for in the process that forks.
    """

    def __init__(self, name: str, out: Path, limit: float):
        sys.stdout.flush()
        self.pid, self.code = os.fork(), None
        if not self.pid:
            os.setsid()
            log = os.open(out / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1), os.dup2(log, 2)
            sys.stdout = sys.stderr = os.fdopen(log, "w")
            os._exit(code_of(name, out, limit))

    def wait(self, seconds: float = 3600) -> int:
        ends = time.monotonic() + seconds
        while self.code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > ends:
                raise subprocess.TimeoutExpired("a fork", seconds)
            else:
                time.sleep(0.02)
        return self.code


def code_of(name: str, out: Path, limit: float) -> int:
    """Run an experiment here; its exit code, after printing why it failed."""
    try:
        work(name, out, limit)
    except SystemExit as error:
        print(error, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush(), sys.stderr.flush()
    return 0


def carry_out(name: str, out: Path, left: float) -> Row:
    """Run an experiment within its limit and the seconds left; what became of it."""
    keep(out, {"experiment": name, "begun": datetime.now(timezone.utc).isoformat(timespec="seconds")})
    limit, log, began = min(EXPERIMENTS[name].limit, left), out / f"{name}.log", time.monotonic()
    code = within(limit, lambda: (Fork if rehearsing() else program)(name, out, limit))
    ended = "done" if code == 0 else f"ended after {limit:.0f} seconds" if code is None else "failed"
    says = "" if code == 0 else ([""] + log.read_text(errors="replace").strip().splitlines())[-1][:300]
    row = {"experiment": name, "ended": ended, "took": round(time.monotonic() - began, 1), "says": says}
    keep(out, row)
    return row


def run_list(out: Path, minutes: float, only: list[str], rehearse: bool) -> bool:
    """Run the experiments, and write the pages; whether all ended well."""
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    if rehearse:
        os.environ[REHEARSAL] = "1"
    ends = time.monotonic() + 60 * minutes
    for name in only or EXPERIMENTS:
        left = ends - time.monotonic()
        if left < EXPERIMENTS[name].least:
            row = {"experiment": name, "ended": "skipped", "took": 0.0, "says": f"{max(left, 0):.0f} seconds were left"}
            keep(out, row)
        else:
            row = carry_out(name, out, left)
        print(f"{name:>16}  {row['took']:6.1f} s  {row['ended']}  {row['says'][:160]}", flush=True)
    from gpu_page import write_pages

    found = results(out)
    print("\n" + write_pages(found, out))
    return all(found[name].ended == "done" for name in only or EXPERIMENTS)


class Result(NamedTuple):
    """What an experiment gave, in its latest attempt."""

    rows: list[Row]
    ended: str
    took: float
    says: str


def results(out: Path) -> dict[str, Result]:
    """Read results.jsonl. A repeated experiment counts as it was the last time; a skipped one leaves what was there."""
    found: dict[str, Result] = {}
    for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        name = row.pop("experiment")
        if "begun" in row:
            found[name] = Result([], "not ended", 0.0, "")
        elif "ended" not in row:
            found[name].rows.append(row)
        elif row["ended"] != "skipped" or name not in found:
            found[name] = Result(found[name].rows if name in found else [], **row)
    return found


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python assets/make.py gpu", description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder for what comes out")
    parser.add_argument("--minutes", type=float, default=8, help="for all experiments together")
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=[], metavar="NAME", help="run only these")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, with tiny agents")
    how = parser.parse_args(words)
    return 0 if run_list(how.out, how.minutes, how.only, how.rehearse) else 1


if __name__ == "__main__":
    sys.exit(code_of(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])))
