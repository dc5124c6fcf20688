"""Compares implementations with the official numbers: `python assets/make.py conformance [NAME …]`.

Each gets a virtual environment in a temporary folder, as in environments.py: its own pinned packages, and behind them
those of this Python. There its adapter, from conformance/, is run. The result is kept at once as JSON in conformance/,
and the tables of docs/conformance.md are written anew. Code that is no package is cloned from GitHub at its commit,
or taken from runs/sources/NAME if it is there.
"""

from collections.abc import Sequence
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

from environments import Entry, install, write_between

from dreamer_lite.conformance import ALL
from dreamer_lite.conformance.compare import Row
from dreamer_lite.conformance.report import distance, sentence

ASSETS = Path(__file__).parent
RESULTS, PAGE = ASSETS / "conformance", ASSETS.parent / "docs" / "conformance.md"
SOURCES = ASSETS.parent / "runs" / "sources"  # not kept in git
BEGIN, END = "<!-- python assets/make.py conformance writes from here -->", "<!-- to here -->"
SIGNS = {"equal": "=", "remark": "(=)", "design": "D", "off": "≠", "raised": "≠", "not there": ""}


class Implementation(NamedTuple):
    """What the page calls it, its pinned packages, and its repository and commit if it is no package."""

    title: str
    packages: str = ""
    repository: str = ""
    commit: str = ""


IMPLEMENTATIONS = {
    "official": Implementation(
        "official, e3f0224",
        "jax==0.4.33 jaxlib==0.4.33 ninjax elements chex einops optax jaxtyping portal granular scope",
        "danijar/dreamerv3",
        "e3f02248693a79dc8b0ebd62c93683888ddaccfe",
    ),
    "dreamer_lite": Implementation("this package"),
    "sheeprl_v3_5": Implementation("sheeprl 0.8.4, `dreamer_v3_5`", "sheeprl==0.8.4"),
    "torchrl_separate": Implementation('torchrl 0.14.1, `kl_mode="separate"`', "torchrl==0.14.1"),
    "torchrl": Implementation("torchrl 0.14.1, as it comes", "torchrl==0.14.1"),
    "r2dreamer": Implementation(
        "NM512/r2dreamer, 546e4fa",
        "tensordict==0.14.3 tensorboard==2.21.0",
        "NM512/r2dreamer",
        "546e4fab8146ea4b14e1d7726bbc1a8a1d50322f",
    ),
    "sheeprl_v3": Implementation("sheeprl 0.8.4, `dreamer_v3`", "sheeprl==0.8.4"),
    "rllib": Implementation("RLlib of ray 2.60.0", "ray[rllib]==2.60.0"),
    "dreamerv3_torch": Implementation(
        "NM512/dreamerv3-torch, 6ef8646",
        "tensorboard==2.21.0 ruamel.yaml==0.19.1",
        "NM512/dreamerv3-torch",
        "6ef8646d807cd10ce0c88e10a7e943211e7fc44c",
    ),
    "dreamer4": Implementation("dreamer4 0.20.2", "dreamer4==0.20.2"),
}
RUN = """
import json, sys
from pathlib import Path
from dreamer_lite.conformance import conformance, load
file = Path(sys.argv[1])
Path(sys.argv[2]).write_text(json.dumps(conformance(load(file), file=file).as_dict()))
"""


def record(names: Sequence[str]) -> None:
    """Run the adapters, all or those named, and write the page."""
    for name in names or IMPLEMENTATIONS:
        with tempfile.TemporaryDirectory(prefix="conformance") as folder:
            result = measure(name, Path(folder))
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(f"{name}: {counted(result)}", flush=True)
    write_between(PAGE, BEGIN, END, tables())


def measure(name: str, folder: Path) -> dict[str, Any]:
    """The result of one implementation, in an environment of its own."""
    one = IMPLEMENTATIONS[name]
    python, refusal = install(Entry(one.packages, ""), folder)
    if refusal:
        sys.exit(f"{name}: {refusal}")
    places = [str(ASSETS.parent), *([str(source(name, folder))] if one.repository else [])]
    inside = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    words = [python, "-c", RUN, RESULTS / f"{name}_adapter.py", folder / "result.json"]
    done = subprocess.run(words, cwd=folder, env=inside, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-2000:]}")
    return {**json.loads((folder / "result.json").read_text()), "name": one.title}


def source(name: str, folder: Path) -> Path:
    """The code of a repository at its commit."""
    one, here = IMPLEMENTATIONS[name], SOURCES / name
    target = folder / "source"
    origin = str(here) if here.is_dir() else f"https://github.com/{one.repository}"
    subprocess.run(["git", "clone", "--quiet", origin, str(target)], check=True)
    subprocess.run(["git", "-C", str(target), "checkout", "--quiet", one.commit], check=True)
    return target


def results() -> dict[str, dict[str, Any]]:
    files = {name: RESULTS / f"{name}.json" for name in IMPLEMENTATIONS}
    return {name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.exists()}


def rows_of(result: dict[str, Any]) -> dict[str, Row]:
    return {row["piece"]: Row(**row) for row in result["rows"]}


def counted(result: dict[str, Any]) -> str:
    """ "35 of 37 equal, 1 by design, 1 off"."""
    states = [row["state"] for row in result["rows"] if row["state"] != "not there"]
    equal, design = states.count("equal") + states.count("remark"), states.count("design")
    rest = len(states) - equal - design
    return f"{equal} of {len(states)} equal" + f", {design} by design" * bool(design) + f", {rest} off" * bool(rest)


def tables() -> str:
    """The table of pieces and implementations, then each difference in a line."""
    found = {name: rows_of(result) for name, result in results().items()}
    titles = [IMPLEMENTATIONS[name].title for name in found]
    numbers = [str(k + 1) for k in range(len(found))]
    lines = ["| | implementation | result |", "|---|---|---|"]
    lines += [f"| {k} | {title} | {counted(results()[name])} |" for k, title, name in zip(numbers, titles, found)]
    lines += ["", f"| piece | {' | '.join(numbers)} |", f"|---|{'---|' * len(numbers)}"]
    for piece in ALL:
        signs = [SIGNS[rows[piece].state] if piece in rows else "" for rows in found.values()]
        lines.append(f"| `{piece}` | {' | '.join(signs)} |")
    for title, rows in zip(titles, found.values()):
        told = [
            told_of(row) for row in rows.values() if row.state != "not there" and (row.state != "equal" or row.words)
        ]
        lines += ["", f"**{title}**", "", *told] if told else []
    return "\n".join(lines)


def told_of(row: Row) -> str:
    kind = {"design": "by design, ", "remark": "equal, but ", "equal": "equal, "}.get(row.state, "")
    return f"- `{row.piece}`: {kind}{' '.join(filter(None, [sentence(row.words), distance(row)]))}"
