"""Figures of runs: learning curves, of one or compared, and how the time of a train step grows."""

from pathlib import Path
import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from ..evaluation.drawing import DREAM, GREY, REALITY, save_figure

Curve = tuple[np.ndarray, np.ndarray]  # x and y, each (N,)
GROUP_COLOURS = (REALITY, DREAM, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # colour-blind safe


def draw_learning_curve(
    runs: list[list[dict[str, float]]], path: Path | str, threshold: float | None = None, title: str = ""
) -> None:
    """Write `learning_curve` as a PNG."""
    save_figure(learning_curve(runs, threshold, title), path)


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
            marker = "." if len(episodes) == 1 else None  # a line of one point is invisible
            words = "training episodes, mean of the latest 10, sampled actions"
            axes.plot(*zip(*episodes), color=GREY, linewidth=1, marker=marker, label=words)
    for number, rows in enumerate(runs):
        points = [(row["env_steps"], row["eval_mean"]) for row in rows if row["eval_episodes"]]
        if points:
            alpha, label = (1, "evaluations") if len(runs) == 1 else (0.55, None)
            axes.plot(*zip(*points), color=REALITY, marker=".", alpha=alpha, label=label)
    drawn = bool(axes.lines)
    if threshold is not None:
        draw_threshold(axes, threshold)
    last = max((row["env_steps"] for rows in runs for row in rows), default=1)
    axes.set(xlabel="environment steps", ylabel="mean return", title=in_lines(title, 70), xlim=(0, 1.02 * last))
    if axes.lines:
        axes.set_ylim(*with_zero(axes.get_ylim()))
    if not drawn:
        words = "no evaluation yet, and no training episode that has ended"
        axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes, color=GREY)
        axes.set_yticks([])
    elif len(runs) == 1 and axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def with_zero(limits: tuple[float, float]) -> tuple[float, float]:
    """The limits of an axis, widened to show 0."""
    low, high = limits
    return min(low, 0), max(high, 0)


def comparison(panels: dict[str, tuple[dict[str, list[Curve]], float | None]], xlabel: str) -> Figure:
    """Learning curves of groups of runs: a panel for each environment, and in it a colour for each group.

    panels: by title, the curves (x, mean returns) of each group by its label, and the task's threshold or None. Thick:
    the median of a group, over the range of x in which all its runs were evaluated; the band around it reaches from the
    worst run to the best; thin: each run.
    """
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    lines = max(len(groups) for groups, _ in panels.values())
    figure = Figure(figsize=(max(7.0, 4.6 * columns), rows * (3.6 + 0.22 * lines)), layout="constrained")
    for number, (title, (groups, threshold)) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        for k, (label, curves) in enumerate(groups.items()):
            draw_group(axes, curves, in_lines(label, 58), GROUP_COLOURS[k % 7], ("-", "--", ":")[k // 7 % 3])
        if threshold is not None:
            draw_threshold(axes, threshold)
        axes.set(xlabel=xlabel, ylabel="mean return of an evaluation")
        axes.set_title(in_lines(title, 50), fontsize=11)
        axes.set_xlim(0)
        axes.set_ylim(*with_zero(axes.get_ylim()))
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.17), frameon=False, fontsize=8)  # below: it hides no curve
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def in_lines(words: str, width: int) -> str:
    return literal(textwrap.fill(words, width, break_on_hyphens=False))


def literal(words: str) -> str:
    """The words as they are: Matplotlib would take what stands between dollars for mathematics."""
    return words.replace("$", r"\$")


def draw_group(axes: Axes, curves: list[Curve], label: str, colour: str, style: str) -> None:
    curves = [(x, y) for x, y in curves if len(x)]
    for x, y in curves if len(curves) > 1 else []:
        axes.plot(x, y, color=colour, linestyle=style, linewidth=0.8, alpha=0.5)
    x, together = on_common_points(curves)  # (N), (runs, N)
    marker = "." if len(x) < 60 else None
    axes.plot(x, np.median(together, 0), color=colour, linestyle=style, linewidth=2, marker=marker, label=label)
    if len(curves) > 1:
        axes.fill_between(x, together.min(0), together.max(0), color=colour, alpha=0.18, linewidth=0)


def on_common_points(curves: list[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """All x that lie where every curve has values, (N,), and the curves there, interpolated, (curves, N)."""
    if not curves:
        return np.zeros(0), np.zeros((1, 0))
    points = np.unique(np.concatenate([x for x, _ in curves]))
    points = points[(points >= max(x[0] for x, _ in curves)) & (points <= min(x[-1] for x, _ in curves))]
    return points, np.stack([np.interp(points, x, y) for x, y in curves])


def draw_threshold(axes: Axes, threshold: float) -> None:
    axes.axhline(threshold, color=GREY, linestyle="--", linewidth=1)
    place = dict(xycoords=("axes fraction", "data"), ha="right", va="bottom")
    axes.annotate(f"solved: {threshold:g}", (1, threshold), color=GREY, fontsize=9, **place)


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
    save_figure(figure, path)
