"""One episode of any agent in any environment, as tensors, and the states and surprise of its world model."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..agent import Dreamer
from ..evaluation.evaluate import matching_envs
from ..evaluation.rollout import play_step
from ..latents import kl, unimix
from ..replay import Experience, stack
from ..rssm import State


@dataclass(eq=False)
class Episode:
    """What was seen and done, tensors of (T, …), each action being the one that led to its step; and notes taken
    from the environment."""

    steps: Experience
    notes: list[Any]


@torch.no_grad()
def play(
    agent: Dreamer, env: Any = None, seed: int = 0, note: Callable[[Any], Any] = lambda env: None, most: int = 100_000
) -> Episode:
    """Let the agent play one episode of its environment, or of another, for at most `most` steps.

    `note` is called on the environment after each step.
    """
    envs, rows, notes = matching_envs(agent, env, 1, seed), [], []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        carry = agent.initial(1)
        while not rows or not rows[-1].is_last and len(rows) < most:
            step, carry = play_step(agent, envs, carry)
            rows.append(step.map(lambda part: part[0]))
            notes.append(note(envs.envs[0].unwrapped))
    envs.close()
    return Episode(stack(rows), notes)


@lru_cache(16)
@torch.no_grad()
def thoughts(agent: Dreamer, episode: Episode, forget: bool = False) -> tuple[State, Tensor]:
    """The model's state at each step, a State of (T, …), and its surprise in nats, (T,). forget: treat each step as
    the first."""
    model, steps = agent.world_model, episode.steps.map(lambda part: part[None])
    first = torch.ones_like(steps.is_first) if forget else steps.is_first
    with torch.random.fork_rng():
        torch.manual_seed(0)
        states, logits = model.observe(steps.obs, steps.action, first, model.rssm.initial(1))
    expected, seen = unimix(model.rssm.prior(states.h[0]), model.rssm.mix), unimix(logits[0], model.rssm.mix)
    return State(states.h[0], states.z[0]), kl(seen, expected)
