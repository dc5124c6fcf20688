"""Notebook 07: many dreamed futures from one moment, and how long a dream stays true."""

from collections.abc import Callable
from functools import lru_cache

from matplotlib.figure import Figure
import numpy as np
import torch
from torch import Tensor

from ...envs.making import make_envs
from ...imagination import imagine
from ...rssm import State
from ..bundled import Watched, bundled_agent, random_stream, watch
from ..explore import DREAM, GREY, OWN, REALITY, Explorer, canvas, choice, tidy, whole
from .exercises import dream_along

FALL = 12  # degrees at which an episode ends
WAYS = ["the agent's", "random", "always left", "always right", "as in reality"]
watched = lru_cache(64)(watch)


def moment(seen: Watched, t: int, copies: int = 1) -> State:
    """The state of step t, `copies` times: a start for that many dreams."""
    return State(seen.states.h[[t] * copies], seen.states.z[[t] * copies])


def chosen(way: str, real: Tensor, copies: int, horizon: int) -> Tensor:
    """Actions (copies, horizon, 2) that don't depend on the dream."""
    if way == "as in reality":
        return real[None].expand(copies, -1, -1)
    side = (
        torch.randint(2, (copies, horizon))
        if way == "random"
        else torch.full((copies, horizon), int(way == "always right"))
    )
    return torch.eye(2)[side]


@torch.no_grad()
def futures(t: int, horizon: int, way: str, copies: int = 24) -> tuple[Tensor, Tensor]:
    """Dreamed observations (copies, horizon + 1, 4) from step t of an episode on, and the probability that each dream's
    pole still stands (copies, horizon + 1)."""
    agent, seen = bundled_agent(), watched(120)
    model, start = agent.world_model, moment(seen, t, copies)
    torch.manual_seed(0)
    if way == "the agent's":
        features = imagine(model, agent.actor, start, horizon).features
    else:
        state, actions = start, chosen(way, seen.actions[t + 1 : t + 1 + horizon], copies, horizon)
        steps = [state := model.rssm.imagine_step(state, action) for action in actions.unbind(1)]
        features = torch.stack([start.feature] + [step.feature for step in steps], 1)
    going_on = (model.predict_continue(features) / (1 - 1 / model.discount_horizon)).clamp(max=1)
    return model.predict_obs(features), going_on.cumprod(1)


def draw_fan(t: int, horizon: int, way: str) -> tuple[Figure, str]:
    """The pole's angle in 24 dreams, in reality, the spread of the dreams, and the share that still stands."""
    seen = watched(120)
    dreams, standing = futures(t, horizon, way)
    steps, degrees = np.arange(t, t + dreams.shape[1]), torch.rad2deg(dreams[..., 2])
    figure = canvas(7.5, 4.2)
    grid = figure.add_gridspec(2, 1, height_ratios=(2, 1))
    axes = tidy(figure.add_subplot(grid[0]), ylabel="angle of the pole (°)", ylim=(-16, 16), xlim=(t - 10, t + horizon))
    axes.plot(steps, degrees.T, color=DREAM, alpha=0.25, linewidth=1)
    axes.plot([], [], color=DREAM, label="24 dreams")
    past = range(max(t - 10, 0), t + 1)
    axes.plot(past, torch.rad2deg(seen.obs[list(past), 2]), color=REALITY, label="reality")
    if way == "as in reality":
        axes.plot(steps, torch.rad2deg(seen.obs[t : t + len(steps), 2]), color=REALITY)
    for side in (-FALL, FALL):
        axes.axhline(side, color=GREY, linestyle=":", linewidth=1)
    axes.axvline(t, color=GREY, linewidth=0.8)
    axes.legend(fontsize=8, loc="upper left")
    below = tidy(figure.add_subplot(grid[1], sharex=axes), xlabel="step", ylim=(0, 1.05), ylabel="still standing")
    below.plot(steps, standing.mean(0), color=DREAM)
    twin = below.twinx()
    twin.plot(steps, degrees.std(0), color=OWN, linestyle="--")
    twin.set_ylabel("spread (°)", color=OWN)
    twin.set_ylim(0, None)
    twin.spines[["top"]].set_visible(False)
    return figure, (
        f"24 dreams from step {t}, actions: {way}. After {dreams.shape[1] - 1} steps "
        f"{float(standing[:, -1].mean()):.0%} still stand, by the model's own account; "
        f"the angles spread by {float(degrees.std(0)[-1]):.1f}°."
    )


def dream_fan() -> Explorer:
    """One moment, 24 futures. Choose the moment, the horizon, and who acts."""
    return Explorer(
        draw_fan,
        "The pole's angle over time in reality, and a fan of dreamed futures from one moment.",
        t=whole("moment (step)", 10, 60, 30),
        horizon=whole("horizon (steps)", 5, 50, 30, 5),
        way=choice("actions", WAYS),
    )


def blind(actions: Tensor, seed: int) -> int:
    """Steps that a real cart survives under a fixed list of actions, (T, 2), from another start."""
    envs, steps = make_envs("CartPole-v1", 1, 7_000 + seed), 0
    row = envs.step(np.zeros((1, 2), np.float32))
    for action in actions:
        row = envs.step(action[None].numpy())
        if row.is_last[0]:
            break
        steps += 1
    envs.close()
    return steps


@lru_cache(4)
def episodes(count: int = 20, context: int = 10, ahead: int = 100) -> tuple[State, Tensor, Tensor]:
    """Real episodes of the bundled agent: its states after `context` steps, the actions from there on (count, ahead,
    2), and the real observations (count, 1 + ahead, 4), from the last one that the model sees."""
    seen = [watched(context + ahead + 1, seed=100 + k) for k in range(count)]
    seen = [one for one in seen if len(one.obs) == context + ahead + 1]
    start = State(*(torch.cat(part) for part in zip(*(moment(one, context) for one in seen))))
    return (
        start,
        torch.stack([one.actions[context + 1 :] for one in seen]),
        torch.stack([one.obs[context:] for one in seen]),
    )


@lru_cache(1)
def linear_step() -> Tensor:
    """The linear map (4 + 2 + 1, 4) from observation, action and 1 to the next observation: the best fit to 2,000
    random steps."""
    stream = random_stream(2000)
    inside = ~stream.is_first[1:]
    inputs = torch.cat([stream.obs[:-1], stream.action[1:], torch.ones(len(stream.obs) - 1, 1)], 1)
    # The default driver reads stale RAM where columns depend on each other:
    # https://github.com/pytorch/pytorch/issues/187411
    return torch.linalg.lstsq(inputs[inside].double(), stream.obs[1:][inside].double(), driver="gelsd").solution.float()


def linear_along(seen: Tensor, actions: Tensor) -> Tensor:
    """What the linear map predicts after each action, applied to its own predictions: (N, 4), (N, H, 2) → (N, H, 4)."""
    one = torch.ones(len(seen), 1)
    return torch.stack([seen := torch.cat([seen, action, one], 1) @ linear_step() for action in actions.unbind(1)], 1)


def steps_true(error: Tensor, tolerance: float) -> Tensor:
    """Steps before the error first exceeds the tolerance, (N, H) → (N,)."""
    return (error <= tolerance).long().cumprod(1).sum(1)


@torch.no_grad()
def drifts(seed: int, along: Callable = dream_along) -> dict[str, Tensor]:
    """Mean absolute error of the four numbers, (N, H): for dreams of one seed, a control, and three baselines that
    don't dream."""
    start, actions, seen = episodes()
    now, real = seen[:, :1], seen[:, 1:]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shuffled = torch.stack([row[torch.randperm(len(row))] for row in actions])
        model = bundled_agent().world_model
        ahead = torch.arange(1, real.shape[1] + 1)[:, None] * 0.02  # a step is a fiftieth of a second
        straight = now + ahead * torch.stack([now[..., 1], 0 * now[..., 1], now[..., 3], 0 * now[..., 1]], -1)
        guesses = {
            "dream": along(model, start, actions),
            "shuffled actions": along(model, start, shuffled),
            "copy": now,
            "straight on": straight,
            "linear": linear_along(now[:, 0], actions),
        }
        return {name: (guess - real).abs().mean(-1) for name, guess in guesses.items()}


def draw_drifts(runs: list[dict[str, Tensor]], tolerance: float) -> tuple[Figure, str]:
    """Median error over episodes at each dreamed step; the band holds all seeds."""
    figure = canvas(7, 3)
    axes = tidy(figure.add_subplot(), xlabel="dreamed steps", ylabel="error (median episode)")
    for name, colour in (
        ("dream", DREAM),
        ("shuffled actions", OWN),
        ("copy", GREY),
        ("straight on", "black"),
        ("linear", REALITY),
    ):
        curves = torch.stack([run[name].median(0).values for run in runs])
        steps = np.arange(1, curves.shape[1] + 1)
        axes.plot(
            steps,
            curves.median(0).values,
            color=colour,
            label=name,
            linestyle="-" if name in ("dream", "shuffled actions") else "--",
        )
        axes.fill_between(steps, curves.min(0).values, curves.max(0).values, color=colour, alpha=0.25, linewidth=0)
    axes.axhline(tolerance, color=GREY, linestyle=":", linewidth=1)
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8)
    medians = {name: [int(steps_true(run[name], tolerance).median()) for run in runs] for name in runs[0]}
    words = "; ".join(f"{name} {min(m)} to {max(m)}" for name, m in medians.items())
    return (
        figure,
        f"Steps until the error exceeds {tolerance}, median of {len(runs[0]['dream'])} episodes, "
        f"{len(runs)} seeds: {words}.",
    )
