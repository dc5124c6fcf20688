"""The trained CartPole agent that comes with the repository, and episodes of it."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import checkpoint
from ..agent import Dreamer
from ..envs import make_envs
from ..latents import unimix
from ..rssm import State

AGENT = Path(__file__).parents[2] / "assets" / "cartpole.pt"


@lru_cache(1)
def bundled_agent() -> Dreamer:
    """The agent in assets/. Raises ValueError, with what to do, if it isn't there."""
    agent, _ = checkpoint.load(AGENT)
    return agent.requires_grad_(False)


class Stream(NamedTuple):
    """Consecutive steps of one environment. action is the one that LED to each step."""

    obs: Tensor  # (T, O)
    action: Tensor  # (T, A)
    reward: Tensor  # (T,)
    is_first: Tensor  # (T,)
    is_last: Tensor  # (T,)
    is_terminal: Tensor  # (T,)


def random_stream(steps: int, seed: int = 0) -> Stream:
    """CartPole with random actions, across episode borders."""
    envs, generator = make_envs("CartPole-v1", 1, seed), torch.Generator().manual_seed(seed)
    action, rows = torch.zeros(1, 2), []
    for _ in range(steps):
        row = envs.step(action.numpy())
        rows.append((row.obs[0], (action * ~torch.as_tensor(row.is_first)[:, None])[0], *(float(part[0]) for part in row[1:])))
        action = torch.eye(2)[torch.randint(2, (1,), generator=generator)]
    envs.close()
    obs, led, reward, *flags = (torch.as_tensor(np.stack(part), dtype=torch.float32) for part in zip(*rows))
    return Stream(obs, led, reward, *(flag.bool() for flag in flags))


@lru_cache(4)
@torch.no_grad()
def remembered(steps: int) -> State:
    """What the bundled model thinks along so many steps of random play, (steps, …): states to dream from."""
    stream, model = random_stream(steps), bundled_agent().world_model
    with torch.random.fork_rng():
        torch.manual_seed(0)
        states, _ = model.observe(stream.obs[None], stream.action[None], stream.is_first[None], model.rssm.initial(1))
    return State(states.h[0], states.z[0])


class Watched(NamedTuple):
    """What the world model thought while the agent played one episode."""

    obs: Tensor  # (T, O)
    actions: Tensor  # (T, A), each the one that LED to its step
    states: State  # (T, …)
    prior: Tensor  # (T, S, K) probabilities
    posterior: Tensor  # (T, S, K)


@torch.no_grad()
def watch(steps: int = 80, kick_at: int | None = None, kick: float = 0.0, seed: int = 0) -> Watched:
    """Let the bundled agent play. A kick adds to the cart's velocity (m/s) just before step `kick_at`."""
    agent, envs = bundled_agent(), make_envs("CartPole-v1", 1, 7_000 + seed)
    rssm, rows = agent.world_model.rssm, []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        carry = agent.initial(1)
        for t in range(steps):
            if t == kick_at and kick:
                inner = envs.envs[0].unwrapped
                inner.state = np.array(inner.state) + [0.0, kick, 0.0, 0.0]
            row = envs.step(carry.action.numpy())
            if row.is_first[0] and t:
                break
            obs, first = torch.as_tensor(row.obs), torch.as_tensor(row.is_first)
            led = carry.action[0]
            carry = agent.act(obs, first, carry)
            h = carry.state.h[0]
            posterior = rssm.posterior(h, agent.world_model.encoder(obs)[0])
            rows.append((obs[0], led, h, carry.state.z[0], unimix(rssm.prior(h), rssm.mix), unimix(posterior, rssm.mix)))
    envs.close()
    obs, actions, h, z, prior, posterior = (torch.stack(part) for part in zip(*rows))
    return Watched(obs, actions, State(h, z), prior, posterior)
