"""The trained CartPole agent that comes with the repository, and episodes of it."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import dreamer_lite

from ..agent import Dreamer
from ..envs.making import make_envs
from ..envs.stepping import Envs
from ..evaluation.rollout import play_step
from ..latents import unimix
from ..replay import Experience
from ..rssm import State
from ..training.bench import CARTPOLE  # noqa: F401  (imported from here together with the bundled agent)
from ..training.checkpoint import load

PACKAGE = Path(dreamer_lite.__file__).parent
ASSETS = next(
    (folder for folder in (PACKAGE.parent / "assets", PACKAGE / "assets") if (folder / "cartpole.pt").exists()),
    PACKAGE.parent / "assets",
)


@lru_cache(1)
def bundled_agent() -> Dreamer:
    """The agent in assets/. Raises Refused, and says what to do, if it isn't there."""
    return load(ASSETS / "cartpole.pt").requires_grad_(False)


@lru_cache(1)
def bundled_pixel_agent() -> Dreamer:
    """The agent in assets/ that sees CartPole as an image. Raises Refused, and says what to do, if it isn't there."""
    return load(ASSETS / "cartpole_pixels.pt").requires_grad_(False)


def random_stream(steps: int, seed: int = 0) -> Experience:
    """CartPole with random actions, across episode borders: tensors of (T, …)."""
    return random_play(make_envs("CartPole-v1", 1, seed), steps, seed)


def random_play(envs: Envs, steps: int, seed: int) -> Experience:
    """Random choices in one environment, which is closed afterwards: tensors of (T, …)."""
    count = envs.spaces.action_size
    choices = torch.randint(count, (steps,), generator=torch.Generator().manual_seed(seed))
    actions = torch.eye(count)[choices].roll(1, 0).numpy()
    actions[0] = 0  # the first step begins an episode
    rows = [envs.step(action) for action in actions[:, None]]
    envs.close()
    return Experience(*(torch.from_numpy(np.concatenate(part)) for part in zip(*rows)))


@lru_cache(4)
@torch.no_grad()
def remembered(steps: int) -> State:
    """The bundled model's states during random play, (steps, …): states to dream from."""
    stream, model = random_stream(steps), bundled_agent().world_model
    with torch.random.fork_rng():
        torch.manual_seed(0)
        states, _ = model.observe(stream.obs[None], stream.action[None], stream.is_first[None], model.rssm.initial(1))
    return State(states.h[0], states.z[0])


class Watched(NamedTuple):
    """The world model's states and beliefs while the agent played one episode."""

    obs: Tensor  # (T, O)
    actions: Tensor  # (T, A), each the one that led to its step
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
            led = carry.action[0]
            step, carry = play_step(agent, envs, carry)
            if step.is_first[0] and t:
                break
            h = carry.state.h[0]
            posterior = rssm.posterior(h, agent.world_model.encoder(step.obs)[0])
            rows.append(
                (step.obs[0], led, h, carry.state.z[0], unimix(rssm.prior(h), rssm.mix), unimix(posterior, rssm.mix))
            )
    envs.close()
    obs, actions, h, z, prior, posterior = (torch.stack(part) for part in zip(*rows))
    return Watched(obs, actions, State(h, z), prior, posterior)
