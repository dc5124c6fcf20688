"""Drawings of reality beside the dream, as a filmstrip and as a GIF."""

from pathlib import Path
import textwrap

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase
import numpy as np
from PIL import Image

from ..files import replacing
from .dreams import OpenLoop, one_number_per_choice

REALITY, DREAM, GREY = "#0072B2", "#D55E00", "#6B6B6B"  # colour-blind safe, and the same everywhere


def draw_filmstrip(pair: OpenLoop, path: Path | str, frames: int = 8) -> None:
    """Reality above, the dream below, at evenly spaced steps.

    Images are shown as they are, with curves of the numbers below them if there are some; CartPole as carts, other
    numbers as curves below what the environment renders.
    """
    pair = one_number_per_choice(pair)
    if not (pair.is_cartpole or pair.real_pictures is not None):
        return draw_curves(pair, path, frames)
    if pair.is_cartpole or not pair.real.shape[1]:
        return save_figure(filmstrip(pair, frames), path)
    height = 1.3 * len(chosen_numbers(pair)) + 1
    figure = Figure(figsize=(1.5 * min(frames, len(pair.real)), 3.1 + height), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[3.1, height])
    filmstrip(pair, frames, above)
    curves(below, pair, len(pair.real))
    save_figure(figure, path)


def moments(length: int, most: int) -> np.ndarray:
    """At most this many of the steps, evenly spaced, the first and the last among them."""
    return np.linspace(0, length - 1, min(most, length)).round().astype(int)


def filmstrip(pair: OpenLoop, frames: int = 8, figure: FigureBase | None = None) -> FigureBase:
    steps = moments(len(pair.real), frames)
    figure = Figure(figsize=(1.5 * len(steps), 3.1), layout="constrained") if figure is None else figure
    for column, t in enumerate(steps):
        for row, (name, colour) in enumerate((("reality", REALITY), ("dream", DREAM))):
            axes = figure.add_subplot(2, len(steps), row * len(steps) + column + 1)
            draw_moment(axes, pair, name, t)
            if column == 0:
                axes.set_ylabel(name, color=colour)
            if row == 0:
                axes.set_title(f"step {t}", fontsize=9)
    return figure


def draw_gif(pair: OpenLoop, path: Path | str, every: int = 2) -> None:
    """The same as a GIF, a frame for each `every` steps and for the last.

    Numbers other than CartPole's: a growing pair of curves.
    """
    pair, pictures = one_number_per_choice(pair), []
    shown, drawn = pair.is_cartpole or pair.real_pictures is not None, not pair.is_cartpole and pair.real.shape[1] > 0
    heights = [4.0] * shown + [max(4.0 * (not shown), 0.8 * len(chosen_numbers(pair)) + 0.8)] * drawn
    for t in sorted({*range(0, len(pair.real), every), len(pair.real) - 1}):
        figure = Figure(figsize=(4.2, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat
        for row, (name, colour) in enumerate((("reality", REALITY), ("dream", DREAM)) if shown else ()):
            axes = parts[0].add_subplot(2, 1, row + 1)
            draw_moment(axes, pair, name, t)
            axes.set_ylabel(name, color=colour, fontsize=13)
            if row == 0:
                axes.set_title(f"step {t}", fontsize=11, loc="left")
        if drawn:
            curves(parts[-1], pair, t + 1)
        pictures.append(pixels(figure))
    save_gif(pictures, path, [20 * every] * (len(pictures) - 1) + [1000])  # it rests at the end


def save_figure(figure: Figure, path: Path | str) -> None:
    with replacing(path) as beside:
        figure.savefig(beside, dpi=120)


def save_gif(pictures: list[np.ndarray], path: Path | str, milliseconds: int | list[int]) -> None:
    """Write RGB arrays of one size as a GIF that repeats, all with the same 64 colours.

    milliseconds: how long each is shown, in whole tens.
    """
    shared = Image.fromarray(np.concatenate(pictures[:: max(len(pictures) // 8, 1)])).quantize(64)
    images = [Image.fromarray(picture).quantize(palette=shared, dither=Image.Dither.NONE) for picture in pictures]
    with replacing(path) as beside:
        images[0].save(beside, save_all=True, append_images=images[1:], duration=milliseconds, loop=0, optimize=True)


def draw_moment(axes, pair: OpenLoop, name: str, t: int) -> None:
    """Reality or the dream at one step: its image, or its cart."""
    real = name == "reality"
    if pair.real_pictures is None:
        return draw_cart(axes, (pair.real if real else pair.dreamed)[t], REALITY if real else DREAM)
    show_picture(axes, (pair.real_pictures if real else pair.dreamed_pictures)[t])


def show_picture(axes, picture: np.ndarray) -> None:
    """An image (H, W, C) in bytes: in colour with three channels, otherwise the mean over its channels."""
    shown = picture if picture.shape[-1] == 3 else picture.mean(-1)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def draw_cart(axes, obs: np.ndarray, colour: str) -> None:
    """A cart at x with a pole at angle θ; the track ends at ±2.4, where the episode ends too."""
    x, _, angle, _ = obs
    axes.plot([-2.4, 2.4], [0, 0], color=GREY, linewidth=1, zorder=0)
    axes.plot([-2.4, -2.4, None, 2.4, 2.4], [-0.1, 0.1, None, -0.1, 0.1], color=GREY, linewidth=1)
    axes.fill([x - 0.35, x + 0.35, x + 0.35, x - 0.35], [-0.18, -0.18, 0.18, 0.18], color=colour)
    axes.plot(
        [x, x + 1.3 * np.sin(angle)],
        [0.18, 0.18 + 1.3 * np.cos(angle)],
        color="black",
        linewidth=3,
        solid_capstyle="round",
    )
    axes.set(xlim=(-2.6, 2.6), ylim=(-0.35, 1.75), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def draw_curves(pair: OpenLoop, path: Path | str, frames: int = 8) -> None:
    numbers = chosen_numbers(pair)
    height = 1.3 * len(numbers) + 1
    figure = Figure(figsize=(7, height + 1.5 * bool(pair.frames)))
    if pair.frames:
        above, figure_below = figure.subfigures(2, 1, height_ratios=[1.5, height])
        steps = moments(len(pair.frames), frames)
        for column, t in enumerate(steps):
            axes = above.add_subplot(1, len(steps), column + 1)
            show_picture(axes, pair.frames[t])
            axes.set_title(f"step {t}", fontsize=9)
    else:
        figure_below = figure
    curves(figure_below, pair, len(pair.real))
    figure_below.subplots_adjust(left=0.14, right=0.97, top=0.97, bottom=0.6 / height, hspace=0.35)
    save_figure(figure, path)


def chosen_numbers(pair: OpenLoop, most: int = 12) -> list[int]:
    """Which numbers are drawn: all, or the `most` that vary most if there are more."""
    size = pair.real.shape[1]
    return list(range(size)) if size <= most else sorted(np.argsort(-pair.real.std(0))[:most].tolist())


def curves(figure: FigureBase, pair: OpenLoop, until: int) -> None:
    """Each number of the observation over time, real and dreamed."""
    numbers = chosen_numbers(pair)
    for row, i in enumerate(numbers):
        axes = figure.add_subplot(len(numbers), 1, row + 1)
        axes.plot(pair.real[:until, i], color=REALITY, label="reality")
        axes.plot(pair.dreamed[:until, i], color=DREAM, linestyle="--", label="dream")
        both = np.concatenate([pair.real[:, i], pair.dreamed[:, i]])
        margin = 0.05 * (both.max() - both.min()) or 0.5  # where nothing changes
        axes.set(
            xlim=(0, max(len(pair.real) - 1, 1)),
            ylim=(both.min() - margin, both.max() + margin),
            ylabel=as_label(pair.names[i]) if pair.names else f"x[{i}]",
        )
        if row == 0:
            axes.legend(loc="upper right", fontsize=8)
    axes.set_xlabel("step")


def as_label(name: str, width: int = 14, most: int = 3) -> str:
    """A name that fits beside a panel, in at most three lines; the middle of a longer one is left out."""
    lines = textwrap.wrap(name, width)
    if len(lines) > most:
        end = name[-width * (most - 1) :]
        lines = [name[: width - 1] + "…", *(end[at : at + width] for at in range(0, len(end), width))]
    return "\n".join(lines)


def pixels(figure: Figure) -> np.ndarray:
    """The figure as an RGB array (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
