"""Notebook 10: a finished run beside the recorded ones, as a card, episode by episode; the cost of a train step."""

import csv
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
import numpy as np
import torch

from ...agent import Dreamer
from ...config import Config
from ...errors import Refused
from ...evaluation.drawing import draw_cart
from ...evaluation.dreams import OpenLoop, open_loop
from ...training import bench
from ...training.checkpoint import load
from ..bundled import ASSETS
from ..explore import DREAM, GREY, OWN, REALITY, Explorer, canvas, tidy, whole
from ..notebook import show as show_html

CARD = (
    "env",
    "seed",
    "finished",
    "env_steps",
    "train_steps",
    "episodes",
    "seconds",
    "solved_at_env_steps",
    "solved_at_seconds",
    "device",
    "threads",
    "captured",
    "capture_seconds",
    "dashboard_share",
)


def read_run(file: Path) -> list[tuple[float, float]]:
    """(environment steps, mean return) of each evaluation in a metrics.csv."""
    with open(file, newline="") as rows:
        return [
            (float(row["env_steps"]), float(row["eval_mean"]))
            for row in csv.DictReader(rows)
            if float(row["eval_episodes"] or 0)
        ]


def recorded() -> list[list[tuple[float, float]]]:
    """The ten recorded runs. Raises Refused, with what to do, if they are not there."""
    files = sorted((ASSETS / "runs").glob("seed*.csv"))
    if not files:
        raise Refused("the recorded runs are not there; start Jupyter inside a clone of the repository")
    return [read_run(file) for file in files]


def draw_runs(yours: list[tuple[float, float]], others: list[list[tuple[float, float]]]) -> tuple[Figure, str]:
    """Evaluations of the recorded runs in grey, the reader's run on top."""
    figure = canvas(7, 3)
    axes = tidy(figure.add_subplot(), xlabel="environment steps", ylabel="mean return of an evaluation", ylim=(0, 510))
    for points in others:
        axes.plot(*zip(*points), color=GREY, alpha=0.4, linewidth=1)
    axes.plot([], [], color=GREY, alpha=0.6, label=f"{len(others)} recorded runs")
    axes.plot(*zip(*yours) if yours else ([], []), color=OWN, marker="o", label="this run")
    axes.axhline(475, color=GREY, linestyle=":", linewidth=1)
    axes.legend(fontsize=8, loc="lower right")
    solved = sorted(next((step for step, mean in points if mean >= 475), np.inf) for points in others)
    mine = next((step for step, mean in yours if mean >= 475), None)
    return figure, (
        f"Recorded runs reach 475 after {solved[0]:g} to {solved[-1]:g} steps, median {np.median(solved):g}; "
        + (f"this run after {mine:g}." if mine else "this run has not reached it.")
    )


def run_card(card: dict[str, Any]) -> None:
    """The run card as a short table."""
    rows = [(name, card[name]) for name in CARD if card.get(name) is not None]
    final = (card.get("final_evaluation") or {}).get("sampled")
    if final:
        rows.append(("final evaluation", f"{final['mean']:.0f} ± {final['std']:.0f} over {final['episodes']} episodes"))
    rows.append(("torch", card["versions"]["torch"].split("+")[0]))
    html = "".join(
        f"<tr><th style='text-align:left'>{escape(name.replace('_', ' '))}</th>"
        f"<td style='text-align:left'>{escape(str(value))}</td></tr>"
        for name, value in rows
    )
    show_html(f"<table>{html}</table>", "\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in rows))


def load_run(folder: Path, env: str | None = None) -> Dreamer:
    """The agent of a run. Raises Refused as `dreamer_lite.load` does: name an environment in a module of its own."""
    return load(folder, env=env).requires_grad_(False)


def draw_episode(pair: OpenLoop, t: int) -> tuple[Figure, str]:
    """Reality and dream at step t, and the angle of both poles until then."""
    t = min(t, len(pair.real) - 1)
    figure = canvas(7.5, 3.6)
    grid = figure.add_gridspec(2, 2, height_ratios=(2, 1))
    for column, (name, obs, colour) in enumerate((("reality", pair.real, REALITY), ("dream", pair.dreamed, DREAM))):
        axes = figure.add_subplot(grid[0, column])
        draw_cart(axes, obs[t], colour)
        axes.set_title(name, color=colour)
    below = tidy(
        figure.add_subplot(grid[1, :]),
        xlabel="steps with closed eyes",
        ylabel="angle (°)",
        ylim=(-13, 13),
        xlim=(0, len(pair.real)),
    )
    below.plot(np.rad2deg(pair.real[: t + 1, 2]), color=REALITY)
    below.plot(np.rad2deg(pair.dreamed[: t + 1, 2]), color=DREAM, linestyle="--")
    apart = float(np.abs(pair.real[t] - pair.dreamed[t]).mean())
    return figure, f"Step {t} of {len(pair.real) - 1}: mean difference of the four numbers {apart:.2f}."


def episode_replay(agent: Dreamer) -> Explorer:
    """Any episode of an agent beside the dream of it: the model looks for five steps, then gets only the actions."""

    @lru_cache(8)
    def episode(seed: int) -> OpenLoop:
        return open_loop(agent, agent.config.env, steps=120, context=5, seed=seed)

    return Explorer(
        lambda number, t: draw_episode(episode(number), t),
        "A cart in reality and in the dream of it, and the angle of both poles.",
        number=whole("episode", 0, 19, 3),
        t=whole("step", 0, 119, 60),
    )


def operations(config: Config) -> list[int]:
    """The size of every operation in one train step: how many numbers it makes."""
    return bench.operations(bench.make_step(config, "cpu")[1])


def time_by_size() -> list[tuple[int, float]]:
    """Measured on this machine: numbers in a tensor, and seconds to double them all once (median of 60)."""
    found = []
    for exponent in range(4, 23):
        x = torch.ones(2**exponent)
        y = torch.empty_like(x)
        found.append(
            (len(x), float(np.median([bench.seconds(lambda: torch.add(x, x, out=y), "cpu") for _ in range(60)])))
        )
    return found


def launch_figure(sizes: list[int], times: list[tuple[int, float]]) -> tuple[Figure, str]:
    """Above: the time of one operation over its size. Below: how large a train step's operations are. A sentence."""
    figure = canvas(7, 4.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    numbers, took = np.array(times).T
    above.plot(numbers, took * 1e6, color=OWN, marker=".")
    launch = float(took[:6].min() * 1e6)
    above.axhline(launch, color=GREY, linestyle="--", linewidth=1)
    above.annotate(
        f"launch: {launch:.1f} µs, however small",
        (numbers[-1], launch),
        ha="right",
        va="bottom",
        color=GREY,
        fontsize=9,
    )
    tidy(above, xscale="log", yscale="log", ylabel="µs for one\noperation")
    below.hist(np.clip(sizes, 1, numbers[-1]), np.geomspace(1, numbers[-1], 45), color=DREAM)
    tidy(below, xscale="log", xlabel="numbers that the operation makes", ylabel="operations in\na train step")
    twice = next((size for size, seconds in times if seconds * 1e6 > 2 * launch), 2 * times[-1][0])
    small = np.mean(np.array(sizes) < twice)
    return figure, (
        f"An operation on 16 numbers costs {took[0] * 1e6:.1f} µs here. "
        f"At {twice:,} numbers it costs twice as much. "
        f"{small:.0%} of the operations of a train step are smaller than that."
    )
