"""A train step beside other codes: `python assets/make.py speed [SHAPE …]`, on a machine that does nothing else.

Every code takes the same train step, with equally many weights, on one core, in a process of its own; they take turns,
ROUNDS times, so that no code alone meets a slow minute. Codes are installed and found as in implementations.py. Results
are kept in speed.json at once, and the table of docs/speed.md is written anew. An hour for all shapes.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
import json
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from beside import OFFICIAL, official_changes, official_environment, versions
from environments import Entry, install, write_between
from implementations import IMPLEMENTATIONS, source

from dreamer_lite.config import Config, Spaces
from dreamer_lite.training.bench import CARTPOLE, SHAPES
from dreamer_lite.training.device import device_name

ASSETS = Path(__file__).parent
RESULTS, PAGE = ASSETS / "speed.json", ASSETS.parent / "docs" / "speed.md"
BEGIN, END = "<!-- python assets/make.py speed writes this table -->", "<!-- end of the table -->"
ROUNDS = 2
COLOURS = Spaces(0, 2, True, (64, 64, 3))
TASKS: dict[str, tuple[Config, Spaces]] = {
    "common": (SHAPES["common"], CARTPOLE),
    "tiny": (SHAPES["tiny"], CARTPOLE),
    "small": (Config.preset("small"), CARTPOLE),
    # sheeprl always dreams from every state, as `common` does.
    "tiny-every-state": (replace(SHAPES["tiny"], imag_last=0), CARTPOLE),
    "small-every-state": (Config.preset("small", imag_last=0), CARTPOLE),
    "images": (Config.preset("size1m", batch_size=8, seq_len=16, imag_last=8), COLOURS),
}
# Each code's name in the table, and what speed_step.py is told.
CODES: dict[str, dict[str, Any]] = {
    "official": dict(code="official"),
    "sheeprl": dict(code="sheeprl"),
    "eager": dict(code="ours", compiled=False),
    "`--compile`": dict(code="ours", compiled=True),
    "bfloat16": dict(code="ours", compiled=False, precision="bfloat16"),
    "bfloat16, `--compile`": dict(code="ours", compiled=True, precision="bfloat16"),
}
# The memory allocator asks for pages of 2 MB, as this package does by itself.
TUNED = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def task_of(shape: str, code: str) -> dict[str, Any]:
    """What speed_step.py is told."""
    (config, spaces), how = TASKS[shape], dict(CODES[code])
    config = replace(config, precision=how.pop("precision", "float32"))
    return {"config": config.to_dict(), "spaces": spaces._asdict(), "official": official_changes(config), **how}


def codes_of(shape: str) -> list[str]:
    """Those that can take the same step; where every state is dreamed from, for sheeprl's sake, without bfloat16."""
    names = [name for name in CODES if name != "sheeprl" or not TASKS[shape][0].imag_last]
    return [name for name in names if "every" not in shape or "bfloat16" not in name]


def record(names: Sequence[str]) -> None:
    """Measure all shapes, or those named, and write the table."""
    with tempfile.TemporaryDirectory(prefix="speed") as place:
        pythons = {}
        for name, packages in (("official", OFFICIAL), ("sheeprl", IMPLEMENTATIONS["sheeprl_v3_5"].packages)):
            (Path(place) / name).mkdir()
            pythons[name], refusal = install(Entry(packages, ""), Path(place) / name)
            if refusal:
                sys.exit(f"{name}: {refusal}")
        compare(names or list(TASKS), {**pythons, "ours": Path(sys.executable)}, source("official", Path(place)))
    write_between(PAGE, BEGIN, END, table())


def compare(shapes: Sequence[str], pythons: dict[str, Path], code: Path) -> None:
    """Measure these shapes with the Python of each code, and keep the results. code: the official code's folder."""
    found = results()
    for shape in shapes:
        names = codes_of(shape)
        rounds = [{name: run(shape, name, pythons[CODES[name]["code"]], code) for name in names} for _ in range(ROUNDS)]
        rows = found["shapes"][shape] = {name: summary([one[name] for one in rounds]) for name in names}
        if len({row["weights"] for row in rows.values()}) > 1:
            sys.exit(f"{shape}: the codes have different numbers of weights: {rows}")
        found |= {"machine": device_name("cpu"), "date": str(date.today()), "official": versions(pythons["official"])}
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(shape, *(f"{name} {row['seconds']:.4f}" for name, row in rows.items()), sep="; ", flush=True)


def run(shape: str, name: str, python: Path, code: Path) -> dict[str, Any]:
    """One code at one shape, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        task, out = Path(folder) / "task.json", Path(folder) / "out.json"
        task.write_text(json.dumps(task_of(shape, name)))
        inside = official_environment(code) | TUNED
        words = [python, ASSETS / "speed_step.py", task, out]
        done = subprocess.run(words, cwd=folder, env=inside, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{shape}, {name}: {done.stderr[-2000:]}")
        return json.loads(out.read_text())


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of the processes' medians, each preparation (the first may find nothing compiled), the least peak."""
    return {
        "seconds": round(statistics.median(statistics.median(one["seconds"]) for one in rounds), 5),
        "preparation": [round(one["preparation"], 1) for one in rounds],
        "peak_mb": round(min(one["peak_mb"] for one in rounds)),
        "weights": rounds[0]["weights"],
    }


def results() -> dict[str, Any]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"shapes": {}}


def table() -> str:
    """CPU seconds of each code, and as a share of the official code's; then the peak memory."""
    found = results()
    lines = [f"| | {' | '.join(CODES)} |", f"|---|{'---|' * len(CODES)}"]
    for shape, rows in found["shapes"].items():
        first = rows["official"]["seconds"]
        cells = [f"{row['seconds']:.3g} ({row['seconds'] / first:.2f})" for row in rows.values()]
        lines.append(line(f"{shape}, {rows['eager']['weights']:,} weights", dict(zip(rows, cells))))
    for shape, rows in found["shapes"].items():
        lines.append(line(f"{shape}, peak memory in MB", {name: str(row["peak_mb"]) for name, row in rows.items()}))
    return "\n".join([*lines, "", f"*{found['machine']}, one core, {found['date']}.*"])


def line(title: str, cells: dict[str, str]) -> str:
    return f"| {title} | {' | '.join(cells.get(name, '') for name in CODES)} |"
