"""Notebook 08: λ-returns between a critic's bias and the dice's noise, on dreams of a random policy."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import gymnasium as gym
from matplotlib.figure import Figure
import numpy as np
import torch
from torch import Tensor

from ...actor import Categorical
from ...critic import Critic, critic_loss, lambda_return
from ...imagination import Dream, imagine, step_weights
from ...optim import LaProp
from ...rssm import State
from ..bundled import bundled_agent, random_stream, remembered
from ..explore import DREAM, GREY, OWN, REALITY, Explorer, canvas, choice, slider, tidy, whole

LAMBDAS = torch.linspace(0, 1, 21)
TRAINED = {"fresh": 0, "half trained": 120, "trained": 300}  # updates
MOMENTS, COPIES, LONG = 48, 48, 60  # starts, dreams from each, steps after which nearly every pole has fallen
APART = 18  # steps of random play from one moment to the next


def coin(feature: Tensor) -> Categorical:
    """A policy that tosses a coin."""
    return Categorical(feature.new_zeros(*feature.shape[:-1], 2))


@lru_cache(1)
def dreams() -> Dream:
    """Dreams of the random policy, 48 from each of 48 moments, long enough that nearly every pole falls."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = remembered(900)
        pick = APART * torch.arange(MOMENTS).repeat_interleave(COPIES)
        return imagine(bundled_agent().world_model, coin, State(start.h[pick], start.z[pick]), LONG)


def moment(k: int, copies: int) -> State:
    """The state of one of the 48 moments, `copies` times."""
    start = remembered(900)
    return State(start.h[[k * APART] * copies], start.z[[k * APART] * copies])


def real_lives(k: int, carts: int = 100) -> float:
    """Steps that real carts survive on average, started in one of the 48 moments and pushed by the toss of a coin."""
    env, coins, lives = gym.make("CartPole-v1", max_episode_steps=1000), np.random.default_rng(0), []
    place = random_stream(900).obs[k * APART].double().numpy()
    for _ in range(carts):
        env.reset(seed=0)
        env.unwrapped.state = place
        steps, over = 0, False
        while not over:
            _, _, terminated, truncated, _ = env.step(int(coins.integers(2)))
            steps, over = steps + 1, terminated or truncated
        lives.append(steps)
    env.close()
    return float(np.mean(lives))


def truth() -> Tensor:
    """What each moment is worth under the random policy, (48,): the mean over its dreams, without any critic."""
    dream = dreams()
    whole_return = lambda_return(
        dream.rewards[:, 1:],
        dream.continues[:, 1:],
        torch.zeros_like(dream.rewards[:, 1:]),
        torch.zeros(len(dream.rewards)),
        1.0,
    )[:, 0]
    return whole_return.view(MOMENTS, COPIES).mean(1)


@lru_cache(8)
def critics(seed: int = 0, loss: Callable = critic_loss) -> dict[str, Critic]:
    """One critic at three ages, trained on dreams of the random policy."""
    model, start, found = bundled_agent().world_model, remembered(900), {}
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        critic = Critic(feature_size=model.feature_size, hidden=64, slow_rate=0.1)
        optimizer = LaProp([(critic.net, 1e-3)], warmup=20)
        pick = torch.randint(len(start.h), (32 * (max(TRAINED.values()) + 1),))
        dream = imagine(
            model, coin, State(start.h[pick], start.z[pick]), 15
        )  # for all updates at once, since a coin does not learn
        batches = zip(*(part.split(32) for part in (dream.features, dream.rewards, dream.continues)))
        for update, (features, rewards, continues) in enumerate(batches):
            for name in (name for name, updates in TRAINED.items() if updates == update):
                found[name] = Critic(feature_size=model.feature_size, hidden=64)
                found[name].load_state_dict(critic.state_dict())
            logits = critic(features)
            values = critic.value(logits)
            returns = lambda_return(rewards[:, 1:], continues[:, 1:], values[:, 1:], values[:, -1])
            optimizer.zero_grad()
            loss(logits, returns, critic.slow_value(features), critic.bins, step_weights(continues)).mean().backward()
            optimizer.step()
            critic.update_slow()
    return found


class Spread(NamedTuple):
    """How returns of different λ differ from the truth, one entry for each of LAMBDAS."""

    estimates: Tensor  # (λ, moments, copies)
    bias: Tensor  # how far the mean over dreams is from the truth, root mean square over moments
    noise: Tensor  # how far single dreams are from their mean
    error: Tensor  # both together


@lru_cache(256)
@torch.no_grad()
def spread(age: str, horizon: int = 15, seed: int = 0, returns: Callable | None = None) -> Spread:
    """How good the λ-returns of a critic of this age are, for every λ. returns: used in place of lambda_return."""
    dream, critic = dreams(), critics(seed)[age]
    upto = slice(1, horizon + 1)
    values = critic.value(critic(dream.features[:, upto]))
    parts = dream.rewards[:, upto], dream.continues[:, upto], values, values[:, -1]
    estimates = torch.stack([(returns or lambda_return)(*parts, float(lam))[:, 0] for lam in LAMBDAS]).view(
        len(LAMBDAS), MOMENTS, COPIES
    )
    bias = (estimates.mean(2) - truth()).square().mean(1).sqrt()
    noise = estimates.var(2).mean(1).sqrt()
    return Spread(estimates, bias, noise, (bias.square() + noise.square()).sqrt())


def return_weights(lam: float, horizon: int = 15) -> Tensor:
    """The weight of each n-step return in the λ-return, (horizon,): (1 - λ) λⁿ⁻¹, and the longest gets the rest."""
    weights = (1 - lam) * lam ** torch.arange(horizon)
    weights[-1] = lam ** (horizon - 1)
    return weights


def draw_return_weights(lams: tuple[float, ...] = (0.5, 0.8, 0.95), horizon: int = 15) -> tuple[Figure, str]:
    """One row of bars for each λ: the weight of each n-step return."""
    figure, steps = canvas(7.5, 2.6), torch.arange(1, horizon + 1)
    for column, lam in enumerate(lams):
        axes = tidy(
            figure.add_subplot(1, len(lams), column + 1),
            title=f"λ = {lam:g}",
            xlabel="steps looked ahead",
            ylim=(0, 0.55),
        )
        axes.bar(steps, return_weights(lam, horizon), color=DREAM)
        axes.set_xticks([1, 5, 10, 15])
        if column == 0:
            axes.set_ylabel("share of the λ-return")
    words = "; ".join(
        f"λ = {lam:g}: one step {float(return_weights(lam, horizon)[0]):.0%}, "
        f"all {horizon} steps {float(return_weights(lam, horizon)[-1]):.0%}"
        for lam in lams
    )
    return figure, f"How much each n-step return counts. {words}."


def draw_spread(lam: float, horizon: int, age: str) -> tuple[Figure, str]:
    """Left: the returns of one moment for every λ. Right: bias, noise and both, over all moments."""
    found, at = spread(age, horizon), int((LAMBDAS - lam).abs().argmin())
    figure = canvas(7.5, 3.2)
    one = tidy(figure.add_subplot(1, 2, 1), xlabel="λ", ylabel="return", title="one moment, 48 dreams", ylim=(0, 25))
    mean, deviation = found.estimates[:, 20].mean(1), found.estimates[:, 20].std(1)
    one.plot(LAMBDAS, mean, color=DREAM, label="mean of its dreams")
    one.fill_between(LAMBDAS, mean - deviation, mean + deviation, color=DREAM, alpha=0.25, linewidth=0)
    one.axhline(float(truth()[20]), color=REALITY, linestyle="--", label="truth")
    one.legend(fontsize=8)
    every = tidy(figure.add_subplot(1, 2, 2), xlabel="λ", ylabel="error", title="all moments", ylim=(0, 14))
    for name, colour, style in (("bias", OWN, "--"), ("noise", GREY, ":"), ("error", "black", "-")):
        every.plot(LAMBDAS, getattr(found, name), color=colour, linestyle=style, label=name)
    every.legend(fontsize=8)
    for axes in (one, every):
        axes.axvline(lam, color=GREY, linewidth=0.8)
    best = float(LAMBDAS[found.error.argmin()])
    return figure, (
        f"{age} critic, horizon {horizon}, λ = {float(LAMBDAS[at]):.2f}: bias {float(found.bias[at]):.1f}, "
        f"noise {float(found.noise[at]):.1f}, both together {float(found.error[at]):.1f}. "
        f"The smallest error is at λ = {best:.2f}."
    )


def return_mixer() -> Explorer:
    """Trust the critic or the dream? Move λ, the horizon and the critic's age."""
    return Explorer(
        draw_spread,
        "For each λ: returns beside the truth, and their bias, noise and error.",
        lam=slider("λ", 0, 1, 0.95, 0.05),
        horizon=whole("horizon (steps)", 1, 40, 15),
        age=choice("critic", list(TRAINED), "half trained"),
    )
