"""Notebook A2: a small world model that learns images of Catch from random play, with its dream beside it."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from IPython.display import display
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
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
from ..bundled import random_play
from ..explore import DREAM, REALITY, bundle, canvas, png
from ..n06_world_model.model_lab import sequences
from ..worlds import Catch

SPACES = Spaces(0, 3, True, (16, 16, 1))
RATE = 3e-3
LOOKED = 2  # frames of an episode that the model sees before it dreams
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
    """A world model of random play, its reconstruction loss multiplied by `weight`. `look` is called every 50 steps."""
    model, memory = new_model(seed), dimmed(random_catch(), brightness)
    optimizer = LaProp([(model, RATE)], warmup=50)
    for step in tqdm(range(steps), desc="train steps"):
        batch = sequences(memory, B=16, T=8)
        losses, _, _ = model.loss(batch, model.rssm.initial(16))
        optimizer.zero_grad()
        scales = SCALES | {"reconstruction": weight}
        sum(scales[name] * loss.mean() for name, loss in losses.items()).backward()
        optimizer.step()
        if look and (step + 1) % 50 == 0:
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


def draw_dream(model: WorldModel, step: int, episode: int = 0) -> tuple[Figure, str]:
    """Reality above, the dream below, over the eight steps of an episode."""
    seen = episodes()
    dream = dreamed(model, seen)
    figure = canvas(7.5, 2.3)
    for row, (name, pictures, colour) in enumerate(
        (("reality", seen.obs[episode] / 255, REALITY), ("dream", dream[episode], DREAM))
    ):
        for t in range(8):
            axes = figure.add_subplot(2, 8, 8 * row + t + 1)
            axes.imshow(
                pictures[t, ..., 0], cmap="gray", norm=PowerNorm(0.5, 0, 1, clip=True)
            )  # dark tones are drawn lighter
            axes.set(xticks=[], yticks=[])
            if t == 0:
                axes.set_ylabel(name, color=colour)
            if row == 0:
                axes.set_title("seen" if t < LOOKED else f"dreamed {t - LOOKED + 1}", fontsize=8)
    wrong = float(((dream - seen.obs / 255) ** 2).sum((-3, -2, -1))[:, LOOKED:].mean())
    return (
        figure,
        f"After {step} train steps: the squared error of a dreamed image is {wrong:.2f}, summed over its 256 pixels.",
    )


class Growing:
    """The dream of a model while it learns, redrawn in the output of the running cell."""

    def __init__(self) -> None:
        self.handle = None

    def __call__(self, model: WorldModel, step: int) -> None:
        figure, words = draw_dream(model, step)
        picture = bundle(png(figure), words)
        if self.handle is None:
            self.handle = display(picture["data"], metadata=picture["metadata"], raw=True, display_id=True)
        else:
            self.handle.update(picture["data"], metadata=picture["metadata"], raw=True)


@torch.no_grad()
def share_lost(model: WorldModel, brightness: float = 1.0) -> dict[str, float]:
    """How much of ball and paddle is missing when the model reconstructs an image: 0 nothing, 1 all of it."""
    seen = episodes(brightness)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        states, _ = model.observe(seen.obs, seen.action, seen.is_first, model.rssm.initial(len(seen.obs)))
    made, real, whole = model.decoder(states.feature), seen.obs / 255, episodes().obs
    lost = {}
    for name, there in (("ball", whole == 255), ("paddle", whole == 128)):
        lost[name] = float(((made - real)[there] ** 2).mean() / (real[there] ** 2).mean())
    return lost
