"""Notebook 06: train a small world model on random play, and see how far it can dream."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from matplotlib.figure import Figure
import numpy as np
import torch
from torch import Tensor
from tqdm.notebook import tqdm

from ...agent import make_world_model
from ...optim import LaProp
from ...replay import Experience
from ...rssm import State
from ...world_model import WorldModel
from ..bundled import ASSETS, CARTPOLE, bundled_agent, random_stream
from ..explore import DREAM, GREY, OWN, canvas, tidy
from ..n07_imagination.exercises import dream_along
from .exercises import fit as finished_fit

# As in the `small` preset: the reconstruction of four small numbers is little beside the other losses, hence 100.
SCALES = {"reconstruction": 100.0, "reward": 1.0, "continue": 1.0, "dyn": 1.0, "rep": 0.1}
CONTEXT, AHEAD = 5, 30  # steps looked at, then dreamed
RECORDED = ASSETS / "runs" / "five_models.npz"


def new_model(seed: int = 0, free_nats: float = 1.0) -> WorldModel:
    """A fresh world model for CartPole, of the size of the bundled one."""
    torch.manual_seed(seed)
    return make_world_model(replace(bundled_agent().config, free_nats=free_nats), CARTPOLE)


def new_optimizer(model: WorldModel, rate: float = 3e-3) -> LaProp:
    return LaProp([(model, rate)], warmup=50)


def sequences(memory: Experience, B: int = 32, T: int = 16) -> Experience:
    """B random sequences of T steps, as a batch. The first step is marked is_first: each starts from an empty state."""
    first = torch.randint(len(memory.obs) - T, (B, 1))
    batch = memory.map(lambda part: part[first + torch.arange(T)])
    batch.is_first[:, 0] = True
    return batch


def train(
    seed: int,
    steps: int = 400,
    scales: dict[str, float] | None = None,
    fit: Callable = finished_fit,
    free_nats: float = 1.0,
    progress: bool = True,
) -> WorldModel:
    """A world model trained on 2,000 steps of random play. Over the second half the learning rate falls to 0; otherwise
    the error after the last step depends on the last few batches (0.10 to 0.26 over seeds instead of 0.11 to 0.13)."""
    model, memory = new_model(seed, free_nats), random_stream(2000, seed)
    optimizer = new_optimizer(model)
    rates = optimizer.rates.clone()
    for step in tqdm(range(steps), desc=f"seed {seed}", disable=not progress):
        optimizer.rates.copy_(rates * min(1.0, 2 * (1 - step / steps)))
        fit(model, optimizer, sequences(memory), scales or SCALES)
    return model.requires_grad_(False)


@lru_cache(1)
def unseen() -> tuple[Tensor, Tensor]:
    """Random episodes that no model was trained on and that last long enough: obs (N, 35, 4), actions (N, 35, 2)."""
    stream, length = random_stream(20_000, 99), CONTEXT + AHEAD
    starts = [*stream.is_first.nonzero()[:, 0].tolist(), len(stream.obs)]
    long = [a for a, b in zip(starts, starts[1:]) if b - a >= length]
    obs, actions = (torch.stack([part[a : a + length] for a in long]) for part in (stream.obs, stream.action))
    return obs, actions


def look(model: WorldModel, obs: Tensor, actions: Tensor) -> State:
    """The states (N, T, …) of a model that looks at every step."""
    first = torch.zeros(obs.shape[:2], dtype=torch.bool)
    first[:, 0] = True
    return model.observe(obs, actions, first, model.rssm.initial(len(obs)))[0]


@torch.no_grad()
def errors(model: WorldModel, along: Callable = dream_along) -> dict[str, Tensor]:
    """Mean absolute error of the four numbers at each dreamed step (30,): for the model, for the model with shuffled
    actions, and for two that don't dream: "copy" repeats the last observation, "looking" sees each one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        obs, actions = (part.clone() for part in unseen())  # a reader's function may write into them
        states = look(model, obs, actions)
        start = State(states.h[:, CONTEXT - 1], states.z[:, CONTEXT - 1])
        real, ahead = obs[:, CONTEXT:], actions[:, CONTEXT:]
        shuffled = torch.stack([row[torch.randperm(len(row))] for row in ahead])
        seen = {
            "model": along(model, start, ahead),
            "shuffled actions": along(model, start, shuffled),
            "copy": obs[:, CONTEXT - 1 : CONTEXT],
            "looking": model.predict_obs(states.feature[:, CONTEXT:]),
        }
        return {name: (guess - real).abs().mean((0, 2)) for name, guess in seen.items()}


def recorded_errors() -> dict[int, dict[str, Tensor]]:
    """`errors` of models trained as `train` does, by seed, that `python assets/make.py seeds` has recorded."""
    with np.load(RECORDED) as file:
        rows = {name: torch.as_tensor(file[name]) for name in file.files}
    return {seed: {name: row[seed] for name, row in rows.items()} for seed in range(5)}


def draw_errors(runs: list[dict[str, Tensor]]) -> tuple[Figure, str]:
    """Error over dreamed steps, one band per kind from the lowest to the highest seed."""
    figure = canvas(7, 3)
    axes = tidy(figure.add_subplot(), xlabel="dreamed steps", ylabel="mean error", xlim=(1, AHEAD))
    steps = torch.arange(1, AHEAD + 1)
    for name, colour in (("model", DREAM), ("shuffled actions", OWN), ("copy", GREY)):
        curves = torch.stack([run[name] for run in runs])
        axes.plot(steps, curves.median(0).values, color=colour, label=name, linestyle="--" if name == "copy" else "-")
        axes.fill_between(steps, curves.min(0).values, curves.max(0).values, color=colour, alpha=0.25, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    means = {name: torch.stack([run[name].mean() for run in runs]) for name in runs[0]}
    words = "; ".join(f"{name} {float(m.min()):.2f} to {float(m.max()):.2f}" for name, m in means.items())
    return figure, f"Mean error over {AHEAD} dreamed steps, {len(runs)} seeds: {words}."


def draw_losses(history: list[dict[str, float]], every: int) -> tuple[Figure, str]:
    """Each loss over training steps, on a logarithmic scale. history: the mean losses, taken each `every` steps."""
    figure = canvas(7, 2.8)
    axes = tidy(figure.add_subplot(), xlabel="training steps", ylabel="loss", yscale="log")
    for name in history[0]:
        axes.plot(
            [every * k for k in range(len(history))],
            [row[name] for row in history],
            "--" if name == "rep" else "-",
            label=name,
        )
    axes.legend(fontsize=8, ncol=2)
    ends = ", ".join(f"{name} {history[0][name]:.3g} → {history[-1][name]:.3g}" for name in history[0])
    return figure, f"First and last value: {ends}."


def mean_losses(model: WorldModel, batch: Experience) -> dict[str, Any]:
    with torch.no_grad():
        losses, _, _ = model.loss(batch, model.rssm.initial(len(batch.obs)))
        return {name: float(loss.mean()) for name, loss in losses.items()}
