"""Pictures of a run: learning curves, and reality beside the dream as filmstrip and moving picture."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import numpy as np
from PIL import Image

from .evaluate import OpenLoop

REALITY, DREAM, GREY = "#0072B2", "#D55E00", "#6B6B6B"  # colour-blind safe, and the same everywhere


def draw_learning_curve(runs: list[list[dict[str, float]]], path: Path | str, threshold: float | None = None) -> None:
    """Mean evaluation return over environment steps, one line per run; the dashed line is the task's own threshold."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for rows in runs:
        points = [(row["env_steps"], row["eval_mean"]) for row in rows if row["eval_episodes"]]
        axes.plot(*zip(*points) if points else ([], []), color=REALITY, marker=".", alpha=1 if len(runs) == 1 else 0.55)
    if threshold is not None:
        axes.axhline(threshold, color=GREY, linestyle="--", linewidth=1)
        axes.annotate(
            f"solved: {threshold:g}",
            (1, threshold),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            color=GREY,
            fontsize=9,
        )
    axes.set(xlabel="environment steps", ylabel="mean return of an evaluation")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def draw_filmstrip(pair: OpenLoop, path: Path | str, frames: int = 8) -> None:
    """Reality above, the dream below, at evenly spaced steps. CartPole is drawn as carts, other tasks as curves."""
    if not is_cartpole(pair):
        return draw_curves(pair, path)
    filmstrip(pair, frames).savefig(path, dpi=120)


def filmstrip(pair: OpenLoop, frames: int = 8) -> Figure:
    steps = np.linspace(0, len(pair.real) - 1, min(frames, len(pair.real))).round().astype(int)
    figure = Figure(figsize=(1.5 * len(steps), 3.1), layout="constrained")
    for column, t in enumerate(steps):
        for row, (name, obs, colour) in enumerate((("reality", pair.real[t], REALITY), ("dream", pair.dreamed[t], DREAM))):
            axes = figure.add_subplot(2, len(steps), row * len(steps) + column + 1)
            draw_cart(axes, obs, colour)
            if column == 0:
                axes.set_ylabel(name, color=colour)
            if row == 0:
                axes.set_title(f"step {t}", fontsize=9)
    return figure


def draw_gif(pair: OpenLoop, path: Path | str, every: int = 2) -> None:
    """The same as a moving picture, one frame per `every` steps, for CartPole. Other tasks: a growing pair of curves."""
    pictures = []
    for t in range(0, len(pair.real), every):
        figure = Figure(figsize=(4.2, 4.0), layout="constrained")
        if is_cartpole(pair):
            for row, (name, obs, colour) in enumerate((("reality", pair.real[t], REALITY), ("dream", pair.dreamed[t], DREAM))):
                axes = figure.add_subplot(2, 1, row + 1)
                draw_cart(axes, obs, colour)
                axes.set_ylabel(name, color=colour, fontsize=13)
                if row == 0:
                    axes.set_title(f"step {t}", fontsize=11, loc="left")
        else:
            curves(figure, pair, t + 1)
        pictures.append(pixels(figure))
    save_gif(pictures, path, 20 * every)


def save_gif(pictures: list[np.ndarray], path: Path | str, milliseconds: int) -> None:
    """Write RGB arrays of one size as a moving picture that repeats, all with the same 64 colours."""
    shared = Image.fromarray(np.concatenate(pictures[:: max(len(pictures) // 8, 1)])).quantize(64)
    images = [Image.fromarray(picture).quantize(palette=shared, dither=Image.Dither.NONE) for picture in pictures]
    images[0].save(path, save_all=True, append_images=images[1:], duration=milliseconds, loop=0, optimize=True)


def is_cartpole(pair: OpenLoop) -> bool:
    return pair.env.startswith("CartPole-")


def draw_cart(axes, obs: np.ndarray, colour: str) -> None:
    """A cart at x with a pole at angle θ; the track ends at ±2.4, where the episode ends too."""
    x, _, angle, _ = obs
    axes.plot([-2.4, 2.4], [0, 0], color=GREY, linewidth=1, zorder=0)
    axes.plot([-2.4, -2.4, None, 2.4, 2.4], [-0.1, 0.1, None, -0.1, 0.1], color=GREY, linewidth=1)
    axes.fill([x - 0.35, x + 0.35, x + 0.35, x - 0.35], [-0.18, -0.18, 0.18, 0.18], color=colour)
    axes.plot(
        [x, x + 1.3 * np.sin(angle)], [0.18, 0.18 + 1.3 * np.cos(angle)], color="black", linewidth=3, solid_capstyle="round"
    )
    axes.set(xlim=(-2.6, 2.6), ylim=(-0.35, 1.75), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def draw_curves(pair: OpenLoop, path: Path | str) -> None:
    figure = Figure(figsize=(7, 1.3 * pair.real.shape[1] + 1), layout="constrained")
    curves(figure, pair, len(pair.real))
    figure.savefig(path, dpi=120)


def curves(figure: Figure, pair: OpenLoop, until: int) -> None:
    """Each number of the observation over time, real and dreamed."""
    size = pair.real.shape[1]
    for i in range(size):
        axes = figure.add_subplot(size, 1, i + 1)
        axes.plot(pair.real[:until, i], color=REALITY, label="reality")
        axes.plot(pair.dreamed[:until, i], color=DREAM, linestyle="--", label="dream")
        both = np.concatenate([pair.real[:, i], pair.dreamed[:, i]])
        margin = 0.05 * (both.max() - both.min()) + 1e-6
        axes.set(xlim=(0, max(len(pair.real) - 1, 1)), ylim=(both.min() - margin, both.max() + margin), ylabel=f"x[{i}]")
        if i == 0:
            axes.legend(loc="upper right", fontsize=8)
    axes.set_xlabel("step")


def pixels(figure: Figure) -> np.ndarray:
    """The figure as an RGB array (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw_growth(panels: dict[str, dict[str, list[tuple[float, float]]]], path: Path | str) -> None:
    """Seconds of a train step over the factor by which one thing grew, a line for each thing, a panel for each shape that they
    began at; grey: in proportion."""
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
