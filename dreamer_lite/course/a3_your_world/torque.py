"""Notebook A3: a torque instead of a choice. One learning step; what the pendulum's agent does and dreams."""

from collections.abc import Callable
from functools import lru_cache

import gymnasium
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
import numpy as np
import torch
from torch import Tensor

from ...actor import BoundedNormal
from ...agent import Dreamer
from ...imagination import imagine
from ...rssm import State
from ...symlog import symlog
from ...training.checkpoint import load
from ..bundled import ASSETS
from ..episodes import Episode, play, thoughts
from ..explore import DREAM, GREY, OWN, POSTERIOR, REALITY, Explorer, canvas, choice, slider, tidy, whole
from .exercises import torque_terms
from .memory import read_metrics

STRONGEST = 2.0  # Pendulum's bounds, in newton metres
SHOWN = 3  # seed of the episode that is shown
RECORDED = ASSETS / "runs" / "pendulum"  # with an ending: .csv metrics, .json card, .npz torques, .pt agent


def hold(switch: bool, steps: int = 200) -> tuple[np.ndarray, float]:
    """Hold a pendulum upright, by a rule, from 0.1 rad: its angles in degrees, and the cost. switch: all or nothing."""
    env, angles, cost = gymnasium.make("Pendulum-v1").unwrapped, [], 0.0
    env.reset(seed=0)
    env.state = np.array([0.1, 0.0])
    for _ in range(steps):
        wanted = -10 * env.state[0] - 2 * env.state[1]
        torque = STRONGEST * np.sign(wanted) if switch else np.clip(wanted, -STRONGEST, STRONGEST)
        cost -= env.step(np.array([torque]))[1]
        angles.append(np.rad2deg(env.state[0]))
    return np.array(angles), cost


def draw_hold() -> tuple[Figure, str]:
    """The angle under a switch and under a torque."""
    figure = canvas(7, 2.4)
    axes = tidy(figure.add_subplot(), xlabel="step", ylabel="angle (°)", ylim=(-3, 6))
    words = []
    for name, switch, colour in (("a switch: full left or full right", True, GREY), ("a torque", False, REALITY)):
        angles, cost = hold(switch)
        axes.plot(angles, color=colour, label=name)
        words.append(f"{name}: cost {cost:.2f}, at most {np.abs(angles[50:]).max():.1f}° from upright after step 50")
    axes.legend(fontsize=8)
    return figure, "; ".join(words) + "."


def pushed(
    mean: float, width: float, action: float, better: float, rate: float = 0.3, terms: Callable = torque_terms
) -> tuple:
    """A policy before and after one step along better · gradient of ln π(action): both as BoundedNormal."""
    raw = torch.logit(torch.tensor((width - 0.1) / 0.9), eps=1e-6) - 2
    weights = torch.stack([torch.atanh(torch.tensor(mean)), raw]).requires_grad_()
    with torch.enable_grad():
        policy = BoundedNormal(weights[:1], weights[1:])
        (better * terms(policy, torch.tensor([action]))[0].sum()).backward()
    moved = (weights + rate * weights.grad).detach()
    return BoundedNormal(*weights.detach().split(1)), BoundedNormal(*moved.split(1))


def draw_push(
    mean: float, width: float, action: float, better: float, terms: Callable = torque_terms
) -> tuple[Figure, str]:
    """The density before and after, and the action that was taken."""
    before, after = pushed(mean, width, action, better, terms=terms)
    figure = canvas(7, 2.6)
    axes = tidy(figure.add_subplot(), xlabel="torque in the agent's units", ylabel="density", xlim=(-2, 2))
    grid = torch.linspace(-2, 2, 401)[:, None]
    for name, policy, colour in (("before", before, GREY), ("after one step", after, DREAM)):
        axes.plot(grid[:, 0], terms(policy, grid)[0].exp(), color=colour, label=name)
    axes.axvline(action, color=OWN, linewidth=1)
    axes.axvspan(-2, -1, color=GREY, alpha=0.12)
    axes.axvspan(1, 2, color=GREY, alpha=0.12)
    axes.legend(fontsize=8)
    was, now = (float(terms(policy, torch.tensor([action]))[0]) for policy in (before, after))
    return figure, (
        f"Advantage {better:+g}. Mean {float(before.mode):+.2f} → {float(after.mode):+.2f}, width "
        f"{float(before.std):.2f} → "
        f"{float(after.std):.2f}; ln π of this torque {was:+.2f} → {now:+.2f}."
    )


def push_explorer(terms: Callable = torque_terms) -> Explorer:
    """Try an action, say how well it went, and see how REINFORCE changes mean and width."""
    return Explorer(
        lambda mean, width, action, better: draw_push(mean, width, action, better, terms),
        "The density of a policy over torques before and after one step of REINFORCE; grey: beyond the bounds.",
        mean=slider("mean", -0.9, 0.9, 0.2),
        width=slider("width σ", 0.15, 0.95, 0.5, 0.05),
        action=slider("torque that was tried", -1.5, 1.5, 0.7),
        better=slider("advantage", -2, 2, 1, 0.5),
    )


def degrees(obs: Tensor) -> Tensor:
    """Pendulum's angle in an observation, (..., 3) → (...): 0 is upright, ±180 hangs."""
    return torch.rad2deg(torch.atan2(obs[..., 1], obs[..., 0]))


@lru_cache(32)
def swing(agent: Dreamer, seed: int = SHOWN) -> Episode:
    """One episode of an agent on Pendulum."""
    return play(agent, "Pendulum-v1", seed)


def pushes(episodes: list[Episode]) -> np.ndarray:
    """Each step's angle (°), its speed (rad/s), and the torque (N m) that was chosen there: (steps, 3)."""
    rows = [
        torch.stack([degrees(s.obs[:-1]), s.obs[:-1, 2], STRONGEST * s.action[1:, 0].clamp(-1, 1)], 1)
        for s in (episode.steps for episode in episodes)
    ]
    return torch.cat(rows).numpy()


def scatter(axes: Axes, points: np.ndarray, size: float = 9) -> PathCollection:
    """Dots over angle and speed, coloured by torque."""
    axes.set(xticks=range(-180, 181, 90), xlim=(-180, 180), ylim=(-8.5, 8.5), facecolor="#DDDDDD")
    colours = dict(c=points[:, 2], cmap="PuOr", vmin=-STRONGEST, vmax=STRONGEST)
    return axes.scatter(points[:, 0], points[:, 1], s=size, linewidths=0, rasterized=True, **colours)


def draw_torques(agent: Dreamer, t: int, who: str = "trained") -> tuple[Figure, str]:
    """The torque in ten episodes, over angle and speed; the line is one of them, up to step t."""
    episodes = [swing(agent, seed) for seed in range(10)]
    seen, torques = [episode.steps for episode in episodes], pushes(episodes)
    figure = canvas(5.6, 3.6)
    axes = figure.add_subplot()
    points = scatter(axes, torques)
    angle, speed = degrees(seen[SHOWN].obs)[: t + 1].numpy(), seen[SHOWN].obs[: t + 1, 2].numpy()
    gaps = np.where(np.abs(np.diff(angle)) > 180)[0] + 1  # where it turns past ±180
    axes.plot(np.insert(angle, gaps, np.nan), np.insert(speed, gaps, np.nan), color="black", linewidth=1)
    axes.plot(angle[-1], speed[-1], "o", color=REALITY, fillstyle="none", markersize=9)
    axes.set(xlabel="angle (°), 0 is upright", ylabel="speed (rad/s)")
    figure.colorbar(points, label="torque (N m)")
    full, returned = nearly_full(torques), [float(s.reward.sum()) for s in seen]
    return figure, (
        f"The {who} agent in ten episodes, returns {min(returned):.0f} to {max(returned):.0f}: nearly full torque in "
        f"{full:.0%} of the steps. "
        f"The line: step {t} of one of them, angle {angle[-1]:+.0f}°, speed {speed[-1]:+.1f} rad/s."
    )


def nearly_full(points: np.ndarray) -> float:
    """The share of steps with more than 90 % of the strongest torque."""
    return float((np.abs(points[:, 2]) > 0.9 * STRONGEST).mean())


def recorded_returns() -> list[tuple[int, float]]:
    """Environment steps and mean return of each evaluation of the recorded training."""
    rows = read_metrics(RECORDED.with_suffix(".csv"))
    return [(int(row["env_steps"]), row["eval_mean"]) for row in rows if row["eval_episodes"] > 0]


def draw_lapse() -> tuple[Figure, str]:
    """The recorded training: the torques at each evaluation, in ten episodes, and the mean return in twenty."""
    with np.load(RECORDED.with_suffix(".npz")) as file:
        maps = {int(steps): file[steps].astype(np.float32) for steps in file.files}
    figure, returns, words = canvas(9, 2.9), dict(recorded_returns()), []
    panels = figure.subplots(1, len(maps), sharey=True)
    for axes, (steps, points) in zip(panels, maps.items()):
        dots = scatter(axes, points, size=4)
        axes.set_xticks((-180, 0, 180))
        axes.set_title(f"{steps:,} steps\nreturn {returns[steps]:.0f}", fontsize=9)
        words.append(f"{steps:,} steps: return {returns[steps]:.0f}, nearly full torque in {nearly_full(points):.0%}")
    panels[0].set_ylabel("speed (rad/s)")
    figure.supxlabel("angle (°), 0 is upright", fontsize=9)
    figure.colorbar(dots, ax=panels, label="torque (N m)")
    return figure, "The recorded training, after " + "; ".join(words) + "."


@lru_cache(1)
def recorded_agent() -> Dreamer:
    """The agent at the end of the recorded training. Raises Refused, and says what to do, if it isn't there."""
    return load(RECORDED.with_suffix(".pt")).requires_grad_(False)


def torque_map(trained: Dreamer, fresh: Dreamer) -> Explorer:
    """A policy's torque, before and after training, with the path of an episode."""
    agents = {"trained": trained, "untrained": fresh}
    return Explorer(
        lambda who, t: draw_torques(agents[who], t, who),
        "A map of the torque over angle and speed, in ten episodes, with the path of one.",
        who=choice("agent", list(agents)),
        t=whole("step of the episode", 0, 199, 60),
    )


WAYS = {"the agent's": None, "full left": -1.0, "none": 0.0, "full right": 1.0, "as in reality": None}


@torch.no_grad()
def futures(agent: Dreamer, t: int, horizon: int, way: str, copies: int = 24) -> Tensor:
    """Dreamed observations (copies, horizon + 1, 3) from step t of an episode on."""
    seen, model = swing(agent), agent.world_model
    states, _ = thoughts(agent, seen)
    start = State(states.h[[t] * copies], states.z[[t] * copies])
    torch.manual_seed(0)
    if way == "the agent's":
        return model.predict_obs(imagine(model, agent.actor, start, horizon).features)
    actions = seen.steps.action[t + 1 : t + 1 + horizon] if WAYS[way] is None else torch.full((horizon, 1), WAYS[way])
    features, state = [start.feature], start
    for action in actions:
        state = model.rssm.imagine_step(state, action.expand(copies, -1))
        features.append(state.feature)
    return model.predict_obs(torch.stack(features, 1))


def draw_torque_fan(agent: Dreamer, t: int, horizon: int, way: str) -> tuple[Figure, str]:
    """The angle in 24 dreams, and in reality."""
    seen, dreams = degrees(swing(agent).steps.obs), degrees(futures(agent, t, horizon, way))
    steps = np.arange(t, t + dreams.shape[1])
    unwrapped = np.rad2deg(np.unwrap(np.deg2rad(dreams), axis=1))
    unwrapped += 360 * np.round((float(seen[t]) - unwrapped[:, :1]) / 360)
    figure = canvas(7.5, 3)
    axes = tidy(
        figure.add_subplot(), xlabel="step", ylabel="angle (°), 0 is upright", xlim=(max(t - 15, 0), t + horizon)
    )
    axes.plot(steps, unwrapped.T, color=DREAM, alpha=0.25, linewidth=1)
    axes.plot([], [], color=DREAM, label="24 dreams")
    first = max(t - 15, 0)
    last = t + horizon if way == "as in reality" else t
    real = np.rad2deg(np.unwrap(np.deg2rad(seen[first : last + 1])))
    real += float(seen[t]) - real[t - first]
    axes.plot(range(first, first + len(real)), real, color=REALITY, label="reality")
    for turn in (-360, 0, 360):
        axes.axhline(turn, color=GREY, linestyle=":", linewidth=1)
    low, high = min(unwrapped.min(), real.min()), max(unwrapped.max(), real.max())
    axes.set_ylim(min(low, -30) - 20, max(high, 30) + 20)
    axes.axvline(t, color=GREY, linewidth=0.8)
    axes.legend(fontsize=8)
    upright = float((np.abs((unwrapped[:, -1] + 180) % 360 - 180) < 20).mean())
    return figure, (
        f"24 dreams from step {t}, torque: {way}. After {horizon} steps {upright:.0%} are within 20° of upright; "
        f"their angles spread by {float(unwrapped[:, -1].std()):.1f}°."
    )


def torque_fan(agent: Dreamer) -> Explorer:
    """One moment, 24 futures, under a torque of your choice."""
    return Explorer(
        lambda t, horizon, way: draw_torque_fan(agent, t, horizon, way),
        "The pendulum's angle over time in reality, and a fan of dreamed futures from one moment.",
        t=whole("moment (step)", 5, 140, 20),
        horizon=whole("horizon (steps)", 5, 50, 30, 5),
        way=choice("torque", list(WAYS), "as in reality"),
    )


def draw_costs(obs: Tensor, reward: Tensor, bins: Tensor) -> tuple[Figure, str]:
    """Rewards and returns of random play on a symlog scale, with the bins of the two-hot heads."""
    figure = canvas(7, 2.2)
    axes = tidy(figure.add_subplot(), xlabel="symlog of the value", yticks=[0, 1], ylim=(-0.6, 1.6))
    axes.set_yticklabels(["reward of a step", "sum still to come"])
    togo = reward.flip(0).cumsum(0).flip(0)
    for row, values, colour in ((0, reward, POSTERIOR), (1, togo, REALITY)):
        axes.plot(symlog(values), np.full(len(values), row), "|", color=colour, markersize=14, alpha=0.4)
    for edge in symlog(bins).tolist():
        axes.axvline(edge, color=GREY, linewidth=0.4, zorder=0)
    axes.set_xlim(-9, 1)
    return figure, (
        f"Random play: rewards from {float(reward.min()):.1f} to {float(reward.max()):.2f}, returns down to "
        f"{float(togo.min()):.0f}. "
        f"The grey lines are bins."
    )
