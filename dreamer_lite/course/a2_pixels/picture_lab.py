"""Notebook A2: a small world model that learns images of Catch from random play, with its dream beside it."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import PercentFormatter
import numpy as np
import torch
from torch import Tensor
from tqdm.notebook import tqdm

from ...agent import make_world_model
from ...config import Config, Spaces
from ...envs.stepping import Envs
from ...optim import LaProp
from ...replay import Experience
from ...rssm import State
from ...world_model import WorldModel
from ..bundled import ASSETS, random_play
from ..explore import DREAM, GREY, OWN, POSTERIOR, REALITY, bundle, canvas, png, tidy
from ..n06_world_model.model_lab import sequences
from ..worlds import Catch

SPACES = Spaces(0, 3, True, (16, 16, 1))
RATE = 3e-3
LOOKED = 2  # frames of an episode that the model sees before it dreams
OBJECTS = ("ball", "paddle")
EVERY, SHOWN = 50, 800  # train steps between two looks, and when a recorded model's reconstruction is shown
VARIANTS = {"unchanged": (1.0, 1.0), "dim ball": (0.1, 1.0), "image loss × 10": (1.0, 10.0)}  # brightness, weight
RECORDED = ASSETS / "runs" / "catch.npz"
SCALES = {"reward": 1.0, "continue": 1.0, "dyn": 1.0, "rep": 0.1}  # the official ones


@lru_cache(2)
def random_catch(steps: int = 2000, seed: int = 0) -> Experience:
    """Catch with random actions, across episode borders: tensors of (T, …)."""
    return random_play(Envs(Catch, 1, seed), steps, seed)


def dimmed(stream: Experience, brightness: float) -> Experience:
    """The same images, with a ball of this brightness, from 0 to 1."""
    ball = stream.obs == 255
    return stream._replace(obs=torch.where(ball, torch.full_like(stream.obs, round(255 * brightness)), stream.obs))


def new_model(seed: int = 0) -> WorldModel:
    torch.manual_seed(seed)
    return make_world_model(Config.preset("pixels"), SPACES)


def train(
    steps: int,
    brightness: float = 1.0,
    weight: float = 1.0,
    look: Callable[[WorldModel, int], Any] | None = None,
    seed: int = 0,
) -> WorldModel:
    """A world model of random play, its reconstruction loss multiplied by `weight`. EVERY steps, `look` sees it."""
    model, memory = new_model(seed), dimmed(random_catch(), brightness)
    optimizer = LaProp([(model, RATE)], warmup=50)
    for step in tqdm(range(steps), desc="train steps"):
        batch = sequences(memory, B=16, T=8)
        losses, _, _ = model.loss(batch, model.rssm.initial(16))
        optimizer.zero_grad()
        scales = SCALES | {"reconstruction": weight}
        sum(scales[name] * loss.mean() for name, loss in losses.items()).backward()
        optimizer.step()
        if look and (step + 1) % EVERY == 0:
            look(model, step + 1)
    return model.requires_grad_(False)


@torch.no_grad()
def episodes(brightness: float = 1.0, count: int = 100) -> Experience:
    """Episodes of random play that no model was trained on, (count, 8, …)."""
    stream = dimmed(random_catch(8 * (count + 1), 99), brightness)
    return stream.map(lambda part: part[: 8 * count].unflatten(0, (count, 8)))


@torch.no_grad()
def dreamed(model: WorldModel, seen: Experience, shuffle: bool = False) -> Tensor:
    """What a model paints when it sees the first frames of each episode and then dreams, 0 to 1: (N, 8, 16, 16, 1).
    shuffle: with the actions of another episode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        looked = seen.map(lambda part: part[:, :LOOKED])
        states, _ = model.observe(looked.obs, looked.action, looked.is_first, model.rssm.initial(len(seen.obs)))
        state, features = State(states.h[:, -1], states.z[:, -1]), list(states.feature.unbind(1))
        actions = seen.action.roll(1, 0) if shuffle else seen.action
        for t in range(LOOKED, 8):
            state = model.rssm.imagine_step(state, actions[:, t])
            features.append(state.feature)
        return model.decoder(torch.stack(features, 1))


def strip(figure: SubFigure, rows: Sequence[tuple[str, Any, str]]) -> list[Axes]:
    """Rows of eight images with brightness 0 to 1, each with its name and colour; the axes of the first row."""
    grid = figure.subplots(len(rows), 8, squeeze=False)
    for axes, (name, pictures, colour) in zip(grid, rows):
        for place, picture in zip(axes, pictures):
            place.imshow(picture, cmap="gray", norm=PowerNorm(0.5, 0, 1, clip=True))  # dark tones are drawn lighter
            place.set(xticks=[], yticks=[])
        axes[0].set_ylabel(name, color=colour)
    return list(grid[0])


def draw_lost(axes: Axes, steps: Sequence[int], lost: Any) -> None:
    """How much of ball and paddle is lost, (T, 2), over train steps."""
    tidy(axes, xlabel="train steps", ylabel="lost", ylim=(-0.05, 1.2))
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    for name, values, colour in zip(OBJECTS, zip(*lost), (REALITY, OWN)):
        axes.plot(steps, values, ".-", color=colour, markersize=3, label=name)


def draw_dream(model: WorldModel, seen: Experience, steps: Sequence[int], lost: Any) -> tuple[Figure, str]:
    """Reality and the dream in the first of these episodes; below, what reconstructions have lost so far."""
    dream = dreamed(model, seen)
    figure = canvas(7.5, 3.8)
    above, below = figure.subfigures(2, 1, height_ratios=(1.3, 1))
    rows = (("reality", seen.obs[0, ..., 0] / 255, REALITY), ("dream", dream[0, ..., 0], DREAM))
    for t, axes in enumerate(strip(above, rows)):
        axes.set_title("seen" if t < LOOKED else f"dreamed {t - LOOKED + 1}", fontsize=8)
    axes = below.subplots()
    draw_lost(axes, steps, lost)
    axes.legend(fontsize=8, loc="lower left")
    wrong = float(((dream - seen.obs / 255) ** 2).sum((-3, -2, -1))[:, LOOKED:].mean())
    return figure, (
        f"After {steps[-1]} train steps: the squared error of a dreamed image is {wrong:.2f}, summed over its 256 "
        f"pixels. Of the ball {lost[-1][0]:.0%} is lost, of the paddle {lost[-1][1]:.0%}."
    )


def draw_recorded() -> tuple[Figure, str]:
    """The three recorded trainings: what reconstructions show after 800 train steps, and lose over 3,200."""
    figure, words = canvas(9, 4), []
    for name, column in zip(VARIANTS, figure.subfigures(1, len(VARIANTS))):
        recorded = load_recorded(name)
        above, below = column.subfigures(2, 1, height_ratios=(1, 2))
        column.suptitle(name, fontsize=9)
        strip(above, (("reality", recorded.real, REALITY), ("model", recorded.rebuilt, POSTERIOR)))
        axes = below.subplots()
        steps = range(EVERY, EVERY * len(recorded.lost) + 1, EVERY)
        draw_lost(axes, steps, recorded.lost)
        axes.axvline(SHOWN, color=GREY, linestyle="--", linewidth=1)
        for step in (SHOWN, steps[-1]):
            ball, paddle = recorded.lost[steps.index(step)]
            words.append(f"{name}, after {step:,} train steps: ball {ball:.0%} lost, paddle {paddle:.0%}")
    axes.legend(fontsize=8, loc="upper right")
    return figure, "; ".join(words) + "."


class Recorded(NamedTuple):
    """A training that `python assets/make.py catch` has recorded."""

    lost: np.ndarray  # (64, 2), of ball and paddle, every 50 train steps
    real: np.ndarray  # an episode, brightness 0 to 1, (8, 16, 16)
    rebuilt: np.ndarray  # its reconstruction after 800 train steps, (8, 16, 16)


@lru_cache(3)
def load_recorded(name: str) -> Recorded:
    with np.load(RECORDED) as file:
        lost, *images = (file[f"{name}: {part}"] for part in Recorded._fields)
    return Recorded(lost.astype(np.float32), *(image / np.float32(255) for image in images))


def record(name: str, steps: int) -> Recorded:
    """Train one of the variants for some steps. If they are fewer than 800, `rebuilt` is empty."""
    brightness, weight = VARIANTS[name]
    seen, lost, rebuilt = episodes(brightness), [], np.zeros(0)

    def look(model: WorldModel, step: int) -> None:
        nonlocal rebuilt
        lost.append(tuple(share_lost(model, brightness).values()))
        if step == SHOWN:
            rebuilt = reconstructed(model, seen)[0, ..., 0].numpy()

    train(steps, brightness, weight, look)
    return Recorded(np.array(lost), seen.obs[0, ..., 0].numpy() / 255, rebuilt)


class Growing:
    """The dream of a model while it learns, redrawn in the output of the running cell."""

    def __init__(self, brightness: float = 1.0) -> None:
        self.handle, self.brightness, self.steps, self.lost = None, brightness, [], []

    def __call__(self, model: WorldModel, step: int) -> None:
        self.steps.append(step)
        self.lost.append(tuple(share_lost(model, self.brightness).values()))
        figure, words = draw_dream(model, episodes(self.brightness), self.steps, self.lost)
        picture = bundle(png(figure), words)
        if self.handle is None:
            self.handle = display(picture["data"], metadata=picture["metadata"], raw=True, display_id=True)
        else:
            self.handle.update(picture["data"], metadata=picture["metadata"], raw=True)


@torch.no_grad()
def reconstructed(model: WorldModel, seen: Experience) -> Tensor:
    """What a model that sees every image paints, 0 to 1: (N, 8, 16, 16, 1)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        states, _ = model.observe(seen.obs, seen.action, seen.is_first, model.rssm.initial(len(seen.obs)))
    return model.decoder(states.feature)


def share_lost(model: WorldModel, brightness: float = 1.0) -> dict[str, float]:
    """How much of ball and paddle is missing when the model reconstructs an image: 0 nothing, 1 all of it."""
    seen = episodes(brightness)
    made, real, whole = reconstructed(model, seen), seen.obs / 255, episodes().obs
    lost = {}
    for name, there in zip(OBJECTS, (whole == 255, whole == 128)):
        lost[name] = float(((made - real)[there] ** 2).mean() / (real[there] ** 2).mean())
    return lost
