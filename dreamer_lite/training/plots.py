"""Figures of a run: its learning curve, and how the time of a train step grows."""

from pathlib import Path

from matplotlib.figure import Figure
import numpy as np

from ..evaluation.drawing import DREAM, GREY, REALITY


def draw_learning_curve(
    runs: list[list[dict[str, float]]], path: Path | str, threshold: float | None = None, title: str = ""
) -> None:
    """Write `learning_curve` as a PNG."""
    learning_curve(runs, threshold, title).savefig(path, dpi=120)


def learning_curve(runs: list[list[dict[str, float]]], threshold: float | None = None, title: str = "") -> Figure:
    """Mean evaluation return over environment steps, one line per run; the dashed line is the task's own threshold.

    runs: the rows of each. For a single run, the returns of its training episodes are drawn behind it, in grey.
    """
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    if len(runs) == 1:
        episodes = [
            (row["env_steps"], row["return"]) for row in runs[0] if row.get("return", np.nan) == row.get("return")
        ]
        if episodes:
            axes.plot(*zip(*episodes), color=GREY, linewidth=1, label="training episodes, sampled actions")
    for number, rows in enumerate(runs):
        points = [(row["env_steps"], row["eval_mean"]) for row in rows if row["eval_episodes"]]
        if points:
            alpha, label = (1, "evaluations") if len(runs) == 1 else (0.55, None)
            axes.plot(*zip(*points), color=REALITY, marker=".", alpha=alpha, label=label)
    if threshold is not None:
        axes.axhline(threshold, color=GREY, linestyle="--", linewidth=1)
        place = dict(xycoords=("axes fraction", "data"), ha="right", va="bottom")
        axes.annotate(f"solved: {threshold:g}", (1, threshold), color=GREY, fontsize=9, **place)
    last = max((row["env_steps"] for rows in runs for row in rows), default=1)
    axes.set(xlabel="environment steps", ylabel="mean return", title=title, xlim=(0, 1.02 * last))
    if axes.lines:
        axes.set_ylim(*with_zero(axes.get_ylim()))
    if not axes.has_data():
        axes.text(0.5, 0.5, "no episode has ended yet", ha="center", va="center", transform=axes.transAxes, color=GREY)
        axes.set_yticks([])
    elif len(runs) == 1 and axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def with_zero(limits: tuple[float, float]) -> tuple[float, float]:
    """The limits of an axis, widened to show 0."""
    low, high = limits
    return min(low, 0), max(high, 0)


def draw_growth(panels: dict[str, dict[str, list[tuple[float, float]]]], path: Path | str) -> None:
    """Seconds of a train step over the factor by which one quantity grew.

    A line for each quantity, a panel for each initial shape; grey: growth in proportion.
    """
    figure = Figure(figsize=(0.4 + 4.2 * len(panels), 3.5), layout="constrained")
    for number, (shape, times) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), number + 1)
        factors = [factor for factor, _ in next(iter(times.values()))]
        whole = np.median([took for points in times.values() for factor, took in points if factor == 1])
        axes.plot(factors, [whole * factor for factor in factors], color=GREY, linestyle=":", label="in proportion")
        for (name, points), colour, marker in zip(times.items(), (REALITY, DREAM, "#009E73", "#CC79A7"), "osD^"):
            axes.plot(*zip(*points), color=colour, marker=marker, markersize=5, label=name)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(factors, [f"×{factor:g}" for factor in factors])
        ticks = [whole * factor for factor in (0.125, *factors, 4.0)]
        axes.set_yticks(ticks, [f"{1000 * tick:.0f} ms" for tick in ticks])
        axes.set(title=shape, xlabel="one thing grows, the others stay", ylim=(ticks[0], ticks[-1]))
        axes.spines[["top", "right"]].set_visible(False)
        if number == 0:
            axes.set_ylabel("one train step")
            axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=120)
