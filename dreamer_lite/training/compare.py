"""Several runs side by side: their learning curves in one picture, and a short table. `compare` on the command line."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
import csv
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np

from ..config import Config
from ..errors import Refused, first_line
from .checkpoint import as_path, read_config
from .resume import CHANGEABLE

X = Literal["steps", "seconds"]
COLUMNS = {"steps": "env_steps", "seconds": "seconds"}  # of metrics.csv, and the names in the card
SAME_GROUP = {"seed", *CHANGEABLE}  # settings that may differ within a group
SAME_PANEL = ("env", "env_args", "wrap")  # returns are comparable where these are the same
MOST_WORDS = 4  # settings named in a label


class Recorded(NamedTuple):
    """What a run's folder holds of its learning curve; N evaluations so far."""

    folder: Path
    config: Config
    x: dict[str, np.ndarray]  # "steps", and "seconds" if the run noted them, each (N,)
    returns: np.ndarray  # (N,) mean returns
    threshold: float | None  # of a registered environment, or known once the run has ended


class Group(NamedTuple):
    """Runs with the same settings and different seeds."""

    label: str
    runs: list[Recorded]


def read_runs(folders: Sequence[Path | str], x: X = "steps") -> list[Recorded]:
    """Each run once, in the given order; a folder of runs stands for all of them.

    Raises Refused for a folder that holds no run, and for damaged files.
    """
    if not folders:
        raise Refused("compare needs at least one run's folder")
    given = [as_path(folder, "a run's folder") for folder in folders]
    named: dict[Path, Path] = {}
    for run in (run for folder in given for run in runs_in(folder)):
        named.setdefault(run.resolve(), run)
    runs = [read_run(run) for run in named.values()]
    for run in runs:
        if x not in run.x:
            raise Refused(f"{run.folder / 'metrics.csv'} has no seconds; leave out --x seconds, or this run")
    if not any(len(run.returns) for run in runs):
        raise Refused("none of these runs has been evaluated yet; there is nothing to compare")
    return runs


def runs_in(folder: Path) -> list[Path]:
    """The folder itself, or the runs in it if it is no run but holds some, those of a sweep in it included."""
    if (folder / "config.json").exists():
        return [folder]
    return sorted(file.parent for depth in ("*", "*/*") for file in folder.glob(f"{depth}/config.json")) or [folder]


def read_run(folder: Path) -> Recorded:
    for name in ("config.json", "metrics.csv"):
        if not (folder / name).is_file():
            raise Refused(f"{folder} is not a run's folder: it has no {name}; give the folders of runs, such as runs/*")
    with reading(folder / "config.json") as file:
        config = read_config(json.load(file))
    with reading(folder / "metrics.csv") as file:
        x, returns = evaluations(csv.DictReader(file, strict=True))
    threshold = None
    if not (config.env_from_function or config.wrap):
        with suppress(gymnasium.error.Error):  # only a registered name has one before the run has ended
            threshold = gymnasium.spec(config.env.rpartition(":")[2]).reward_threshold
    if (folder / "card.json").is_file():  # not there before the run has stopped for the first time
        with reading(folder / "card.json") as file:
            card = json.load(file)
            threshold = None if card["threshold"] is None else float(card["threshold"])
            x, returns = with_final(x, returns, card)
    return Recorded(folder, config, x, returns, threshold)


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """Inside, this text file is read; what goes wrong is reported in one line."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise Refused(
            f"{path} is damaged, or another version wrote it ({first_line(error)}); leave this run out"
        ) from error


def evaluations(table: csv.DictReader) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The evaluations in metrics.csv: environment steps and seconds, and mean returns, each (N,).

    Raises ValueError if that can't be what a run wrote. Before its first row, a run writes an empty line.
    """
    if table.fieldnames is None:
        raise ValueError("the file is empty")
    for name in ("env_steps", "eval_mean", "eval_episodes") if table.fieldnames else ():
        if name not in table.fieldnames:
            raise ValueError(f"there is no column {name!r}")
    rows = [row for row in table if float(row["eval_episodes"])]
    known = [x for x, name in COLUMNS.items() if x == "steps" or not rows or name in rows[0]]
    x = {one: np.array([float(row[COLUMNS[one]]) for row in rows]) for one in known}
    returns = np.array([float(row["eval_mean"]) for row in rows])
    for name, values in {**x, "eval_mean": returns}.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite")
    if (np.diff(x["steps"]) <= 0).any():
        raise ValueError("env_steps do not grow")
    return x, returns


def with_final(
    x: dict[str, np.ndarray], returns: np.ndarray, card: dict[str, Any]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The evaluations, with the one at the end of the run if it is later than those in metrics.csv."""
    final = card["final_evaluation"]["sampled"]
    if final is None or len(returns) and card["env_steps"] <= x["steps"][-1]:
        return x, returns
    if not np.isfinite(final["mean"]):
        raise ValueError("the final evaluation is not finite")
    at = {one: np.append(values, float(card[COLUMNS[one]])) for one, values in x.items()}
    return at, np.append(returns, float(final["mean"]))


def in_panels(runs: list[Recorded]) -> dict[str, list[Group]]:
    """The runs by environment, and there by settings; the same settings with the same seed are another group."""
    panels: dict[str, dict[Any, list[Recorded]]] = {}
    seen: Counter[Any] = Counter()
    for run in runs:
        c = run.config
        title = " ".join([c.env, *c.env_args, *([c.wrap] if c.wrap else [])])
        settings = str({name: value for name, value in c.to_dict().items() if name not in SAME_GROUP})
        group = settings, seen[settings, c.seed]
        seen[settings, c.seed] += 1
        panels.setdefault(title, {}).setdefault(group, []).append(run)
    return {title: [*map(Group, labels([*groups.values()]), groups.values())] for title, groups in panels.items()}


def labels(groups: list[list[Recorded]]) -> list[str]:
    """What sets each group apart from the others: its preset and settings, or else its first folder; and its seeds."""
    configs = [runs[0].config for runs in groups]
    presets = [config.nearest_preset() for config in configs]
    tables = [config.to_dict() for config in configs]
    differ = [
        name
        for name, value in tables[0].items()
        if name not in SAME_GROUP and any(table[name] != value for table in tables)
    ]
    words = []
    for config, preset, table in zip(configs, presets, tables):
        several = len(set(presets)) > 1
        own = config.changes(Config.preset(preset)) if several else differ
        named = [f"{name} {table[name]}" for name in differ if name in own]
        more = [f"{len(named) - MOST_WORDS} more"] if len(named) > MOST_WORDS else []
        words.append(", ".join([preset] * (several or not named) + named[:MOST_WORDS] + more))
    shared = {word for word in words if words.count(word) > 1}
    words = [f"{word}, {runs[0].folder}" if word in shared else word for word, runs in zip(words, groups)]
    return [
        f"{word} ({f'{len(runs)} seeds' if len(runs) > 1 else f'seed {runs[0].config.seed}'})"
        for word, runs in zip(words, groups)
    ]


def threshold_of(groups: list[Group]) -> float | None:
    """The task's own threshold: as a run that has ended noted it, or as Gymnasium has it."""
    return next((run.threshold for group in groups for run in group.runs if run.threshold is not None), None)


def table(title: str, groups: list[Group], x: X) -> str:
    """For each group its last evaluation and when the threshold was first reached: medians over its runs, as text."""
    threshold = threshold_of(groups)
    solved = "no threshold known" if threshold is None else f"first at {threshold:g}"
    rows = [(title, "last mean return", solved)]
    for label, runs in groups:
        last = [run.returns[-1] for run in runs if len(run.returns)]
        rows.append((label, middle(last, runs), when(runs, x, threshold)))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{one:<{widths[0]}}  {two:<{widths[1]}}  {three}".rstrip() for one, two, three in rows)


def when(runs: list[Recorded], x: X, threshold: float | None) -> str:
    """When an evaluation first reached the threshold: the median of the runs in which one did."""
    if threshold is None:
        return ""
    first = [run.x[x][run.returns >= threshold][0] for run in runs if (run.returns >= threshold).any()]
    return f"{np.median(first):,.0f} {x}{of(first, runs)}" if first else "not reached"


def middle(values: Sequence[float], runs: list[Recorded]) -> str:
    """The median, and the range if there are several."""
    if not values:
        return "no evaluation yet"
    spread = f" ({min(values):.4g} to {max(values):.4g})" if len(values) > 1 else ""
    return f"{np.median(values):.4g}{spread}{of(values, runs)}"


def of(values: Sequence[float], runs: list[Recorded]) -> str:
    """How many runs the values come from, unless it is all."""
    return f" in {len(values)} of {len(runs)} runs" if len(values) < len(runs) else ""
