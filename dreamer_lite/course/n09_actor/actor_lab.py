"""Notebook 09: an actor trained only in the bundled agent's world model; the return scale on a toy; a policy map."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
import json
from typing import Any, NamedTuple

from matplotlib.figure import Figure
import numpy as np
import torch
from torch import Tensor
from tqdm.notebook import tqdm

from ...actor import Categorical, ReturnScale
from ...actor import actor_loss as finished_loss
from ...agent import Dreamer
from ...critic import critic_loss, lambda_return
from ...envs.making import make_envs
from ...evaluation.evaluate import evaluate
from ...imagination import imagine, step_weights
from ...optim import LaProp
from ...rssm import State
from ..bundled import ASSETS, CARTPOLE, bundled_agent, remembered
from ..explore import DREAM, GREY, OWN, REALITY, Explorer, canvas, choice, slider, tidy, whole
from .exercises import advantages as finished_advantages

RECORDED = ASSETS / "runs" / "five_actors.json"
N, H = 128, 15  # dreams side by side, and their length
SNAPSHOTS = (0, 10, 25, 50, 100, 150, 400)  # updates after which the actor is kept


def newborn(seed: int = 0) -> Dreamer:
    """An agent with the bundled world model, which can't change, and a fresh actor and critic."""
    torch.manual_seed(seed)
    agent = Dreamer(replace(bundled_agent().config, average=0), CARTPOLE)
    agent.world_model.load_state_dict(bundled_agent().world_model.state_dict())
    agent.world_model.requires_grad_(False)
    return agent


class Schooling(NamedTuple):
    """An actor that learned in dreams: its agent, the imagined return of each update, and snapshots of its weights."""

    agent: Dreamer
    returns: list[float]
    snapshots: dict[int, dict[str, Tensor]]


def school(
    seed: int = 0,
    updates: int = 150,
    shuffle: bool = False,
    sign: float = 1.0,
    loss: Callable = finished_loss,
    advantages: Callable = finished_advantages,
    progress: bool = True,
) -> Schooling:
    """Train actor and critic in dreams only. Dreams whose pole still stands continue where they ended; the others
    restart from states of random play.

    shuffle: give each advantage to another action of the batch. sign: -1 flips the advantage.
    """
    agent, memory = newborn(seed), remembered(2000)
    model, actor, critic = agent.world_model, agent.actor, agent.critic
    optimizer = LaProp([(actor, 1e-3), (critic.net, 3e-3)], warmup=20)
    start, returns_seen, snapshots = draw_starts(memory), [], {}
    for update in tqdm(range(updates + 1), desc=f"seed {seed}", disable=not progress):
        if update in SNAPSHOTS or update == updates:
            snapshots[update] = {name: value.clone() for name, value in actor.state_dict().items()}
        if update == updates:
            break
        dream = imagine(model, actor, start, H)
        logits = critic(dream.features)
        values = critic.value(logits)
        returns = lambda_return(dream.rewards[:, 1:], dream.continues[:, 1:], values[:, 1:], values[:, -1])
        weights = step_weights(dream.continues)
        better = sign * advantages(returns, values, agent.return_scale.update(returns))
        if shuffle:
            better = better.flatten()[torch.randperm(better.numel())].view_as(better)
        policy = actor(dream.features)
        optimizer.zero_grad()
        (
            loss(policy.log_prob(dream.actions)[:, :-1], policy.entropy()[:, :-1], better, weights).mean()
            + critic_loss(logits, returns, critic.slow_value(dream.features), critic.bins, weights).mean()
        ).backward()
        optimizer.step()
        critic.update_slow()
        start = go_on(model.rssm.state(dream.features[:, -1]), weights[:, -1], memory)
        returns_seen.append(float(returns.mean()))
    return Schooling(agent, returns_seen, snapshots)


def draw_starts(memory: State) -> State:
    pick = torch.randint(len(memory.h), (N,))
    return State(memory.h[pick], memory.z[pick])


def go_on(last: State, weights: Tensor, memory: State) -> State:
    """The next dreams' start: where the last ones ended if the pole stands (19 times of 20), else in `memory`."""
    stands = (weights > 0.5) & (torch.rand(N) > 0.05)
    fresh = draw_starts(memory)
    return State(torch.where(stands[:, None], last.h, fresh.h), torch.where(stands[:, None, None], last.z, fresh.z))


def test(agent: Dreamer, seed: int = 0) -> float:
    """Mean return of 20 real episodes. Only here does the actor meet reality."""
    return float(evaluate(agent, "CartPole-v1", 20, seed).mean())


def test_at(schooling: Schooling, update: int) -> float:
    """The same, for the actor as it was after `update` updates."""
    now = {name: value.clone() for name, value in schooling.agent.actor.state_dict().items()}
    schooling.agent.actor.load_state_dict(schooling.snapshots[update])
    try:
        return test(schooling.agent)
    finally:
        schooling.agent.actor.load_state_dict(now)


@torch.no_grad()
def dreamed_life(schooling: Schooling, update: int, steps: int = 500, count: int = 20) -> float:
    """How many steps the model expects the actor of this update to last, in dreams of 500 steps from the first
    observations of 20 episodes."""
    agent, model = newborn(), schooling.agent.world_model
    agent.actor.load_state_dict(schooling.snapshots[update])
    envs = make_envs("CartPole-v1", count, 500)
    obs = torch.as_tensor(envs.step(np.zeros((count, 2), np.float32)).obs)
    envs.close()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        states, _ = model.observe(
            obs[:, None], torch.zeros(count, 1, 2), torch.ones(count, 1, dtype=torch.bool), model.rssm.initial(count)
        )
        dream = imagine(model, agent.actor, State(states.h[:, 0], states.z[:, 0]), steps)
    alive = (dream.continues[:, 1:] / (1 - 1 / model.discount_horizon)).clamp(max=1).cumprod(1)
    return float(alive.sum(1).mean())


def lives(schooling: Schooling) -> dict[int, tuple[float, float]]:
    """By update: steps in dreamed episodes and in real ones."""
    return {update: (dreamed_life(schooling, update), test_at(schooling, update)) for update in (25, 50, 150)}


def recorded_seeds() -> list[dict[str, Any]]:
    """What `python assets/make.py seeds` has recorded of five actors schooled for 150 updates.

    For each seed: its `lives`, and the mean return of one that learned from shuffled advantages.
    """
    return [
        {"lives": {int(update): tuple(pair) for update, pair in row["lives"].items()}, "shuffled": row["shuffled"]}
        for row in json.loads(RECORDED.read_text())
    ]


def draw_lives(pairs: dict[str, list[tuple[float, float]]]) -> tuple[Figure, str]:
    """Length of dreamed against real episodes, one dot for each actor; on the diagonal they are equal."""
    figure = canvas(4.2, 3.6)
    axes = tidy(
        figure.add_subplot(), xlabel="steps in reality", ylabel="steps in the dream", xlim=(0, 520), ylim=(0, 520)
    )
    axes.plot([0, 520], [0, 520], color=GREY, linestyle=":")
    for (name, found), marker, colour in zip(pairs.items(), "os^", (DREAM, OWN, REALITY)):
        axes.plot(
            [real for _, real in found], [dreamed for dreamed, _ in found], marker, color=colour, label=name, alpha=0.8
        )
    axes.legend(fontsize=8, loc="upper left")
    off = [dreamed / real for found in pairs.values() for dreamed, real in found]
    return figure, f"Dreamed lengths are {min(off):.2f} to {max(off):.2f} times the real ones, at {len(off)} dots."


# The policy as a map

ANGLES, SPINS = torch.linspace(-12, 12, 49), torch.linspace(-120, 120, 49)  # degrees, degrees per second


@torch.no_grad()
def push_right(agent: Dreamer, x: float = 0.0, speed: float = 0.0) -> Tensor:
    """Probability of a push to the right for each (spin, angle) as an episode's first observation, (49, 49)."""
    spin, angle = torch.meshgrid(torch.deg2rad(SPINS), torch.deg2rad(ANGLES), indexing="ij")
    obs = torch.stack([torch.full_like(angle, x), torch.full_like(angle, speed), angle, spin], -1).view(-1, 1, 4)
    first, model = torch.ones(len(obs), 1, dtype=torch.bool), agent.world_model
    total = torch.zeros(len(obs))
    for _ in range(4):  # a few throws of the dice, averaged, so that the map shows the policy
        states, _ = model.observe(obs, torch.zeros(len(obs), 1, 2), first, model.rssm.initial(len(obs)))
        total += agent.actor(states.feature[:, 0]).log_probs.exp()[:, 1]
    return (total / 4).view_as(angle)


def draw_policy(agent: Dreamer, who: str, x: float) -> tuple[Figure, str]:
    """Probability of pushing right over angle and spin; the dashed line is where angle + spin · 0.25 s = 0."""
    right = push_right(agent, x)
    figure = canvas(4.8, 3.6)
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(ANGLES, SPINS, right, cmap="PuOr", vmin=0, vmax=1, shading="nearest", rasterized=True)
    axes.plot(ANGLES, -4 * ANGLES, color="black", linestyle="--", linewidth=1)
    axes.set(xlabel="angle of the pole (°)", ylabel="spin (°/s)", ylim=(float(SPINS[0]), float(SPINS[-1])))
    figure.colorbar(mesh, label="probability of pushing right")
    leaning = torch.deg2rad(ANGLES)[None] + 0.25 * torch.deg2rad(SPINS)[:, None]
    agree = ((right > 0.5) == (leaning > 0)).float().mean()
    sure = (right - 0.5).abs().mul(2).mean()
    return figure, (
        f"Policy {who}, cart at {x:+.1f} m: it pushes towards the side the pole is falling to in {float(agree):.0%} "
        f"of the map; its two probabilities differ by {float(sure):.0%} on average."
    )


def policy_map(schooling: Schooling | None = None) -> Explorer:
    """The policy before, during and after its training in dreams, and that of the bundled agent."""
    schooling, agent = schooling or school(updates=50, progress=False), newborn()

    def draw(update: str, x: float) -> tuple[Figure, str]:
        if update == "bundled":
            return draw_policy(bundled_agent(), "of the bundled agent", x)
        agent.actor.load_state_dict(schooling.snapshots[int(update)])
        return draw_policy(agent, f"after {update} updates", x)

    steps = [str(n) for n in schooling.snapshots]
    return Explorer(
        draw,
        "A map of the policy over the pole's angle and its spin; colours are the probability of pushing right.",
        update=choice("after updates", steps + ["bundled"], "150" if "150" in steps else steps[-1]),
        x=slider("cart at (m)", -2, 2, 0, 0.5),
    )


def draw_history(schooling: Schooling, tests: dict[int, float]) -> tuple[Figure, str]:
    """What the dream says about its actor, and what reality says."""
    figure = canvas(7, 2.8)
    axes = tidy(figure.add_subplot(), xlabel="updates", ylabel="imagined return")
    axes.plot(schooling.returns, color=DREAM)
    axes.yaxis.label.set_color(DREAM)
    real = axes.twinx()
    real.plot(list(tests), list(tests.values()), "o--", color=REALITY)
    real.set_ylabel("return in reality", color=REALITY)
    real.set_ylim(0, 510)
    real.spines[["top"]].set_visible(False)
    return figure, "; ".join(f"after {n} updates {score:.0f} in reality" for n, score in tests.items()) + "."


# The return scale, on a toy: four actions, one step, noisy rewards

PAYS, NOISE, ETA, TRIES = torch.tensor([1.0, 0.8, 0.5, 0.0]), 0.5, 0.2, 4  # tries: actions per update
SETTLES = 0  # a seed that settles on a wrong action at × 100, without the scale


@lru_cache(64)
def toy(
    size: float,
    scaled: bool,
    limit: float = 1.0,
    pays: tuple = tuple(PAYS.tolist()),
    seed: int = 0,
    updates: int = 200,
    loss: Callable = finished_loss,
) -> Tensor:
    """Probabilities of the four actions after each update, (updates + 1, 4), rewards times `size`, scaled or not."""
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        logits = torch.nn.Parameter(torch.zeros(4))
        optimizer, scale = LaProp([([logits], 0.5)], warmup=0, clip=1e9), ReturnScale(0.1, limit)
        expected, path = torch.zeros(()), [logits.detach().softmax(-1).clone()]
        for _ in range(updates):
            policy = Categorical(logits.expand(TRIES, 4))
            actions = policy.sample().detach()
            returns = size * (actions @ torch.tensor(pays) + NOISE * torch.randn(TRIES))
            expected = torch.lerp(expected, returns.mean(), 0.2)
            better = (returns - expected) / (scale.update(returns) if scaled else 1.0)
            optimizer.zero_grad()
            loss(policy.log_prob(actions), policy.entropy(), better, torch.ones(TRIES), ETA).mean().backward()
            optimizer.step()
            path.append(logits.detach().softmax(-1).clone())
        return torch.stack(path)


def settled_wrong(size: float, scaled: bool, seeds: int = 20) -> float:
    """The share of seeds that end more than 90 % sure of an action that is not the best."""
    ends = torch.stack([toy(size, scaled, seed=seed)[-1] for seed in range(seeds)])
    return float(((ends.argmax(1) != 0) & (ends.amax(1) > 0.9)).float().mean())


def curiosity(probs: Tensor) -> float:
    """Entropy as a share of the greatest one, that of four equally likely actions."""
    return float(-(probs * probs.clamp(min=1e-9).log()).sum(-1) / torch.tensor(4.0).log())


def draw_toy(exponent: float, seed: int = 0) -> tuple[Figure, str]:
    """The four probabilities over updates, without and with the return scale."""
    figure, words = canvas(7.5, 2.8), []
    for column, scaled in enumerate((False, True)):
        path = toy(float(10**exponent), scaled, seed=seed)
        name = "with the return scale" if scaled else "without"
        axes = tidy(
            figure.add_subplot(1, 2, column + 1),
            title=name,
            xlabel="updates",
            ylim=(0, 1),
            ylabel="probability" if not scaled else "",
        )
        for k, style in enumerate(("-", "--", "-.", ":")):
            axes.plot(path[:, k], style, color=(DREAM, REALITY, OWN, GREY)[k], label=f"pays {PAYS[k]:g} × size")
        if scaled:
            axes.legend(fontsize=7)
        words.append(f"best action {float(path[-1, 0]):.0%}, curiosity {curiosity(path[-1]):.0%}")
    return figure, (
        f"Rewards × {10**exponent:g}, seed {seed}, after 200 updates. "
        f"Without the return scale: {words[0]}; with it: {words[1]}."
    )


def scale_toy() -> Explorer:
    """Move the size of all rewards, and see whether the actor still learns the same."""
    return Explorer(
        draw_toy,
        "Probabilities of four actions over updates, without and with the return scale.",
        exponent=slider("log10 of the rewards' size", -2, 2, 2, 0.5),
        seed=whole("seed", 0, 19, SETTLES),
    )


def draw_school(found: dict[str, list[float]]) -> tuple[Figure, str]:
    """Real returns, one dot for each seed, for each kind of actor."""
    figure = canvas(6, 2.6)
    axes = tidy(figure.add_subplot(), xlabel="mean return in reality, 20 episodes", xlim=(0, 510))
    for row, (name, scores) in enumerate(found.items()):
        axes.plot(scores, [row] * len(scores), "o", color=DREAM if row == 0 else GREY, alpha=0.7)
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.5, -0.5)
    return figure, "; ".join(f"{name}: {min(scores):.0f} to {max(scores):.0f}" for name, scores in found.items()) + "."
