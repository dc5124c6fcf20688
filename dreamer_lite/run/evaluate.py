"""How good is the agent, and how true are its dreams? Fresh episodes; reality beside a dream."""

from dataclasses import replace
from typing import NamedTuple
import warnings

import gymnasium
import numpy as np
import torch

from ..agent import Carry, Dreamer
from ..config import Refused
from ..envs import Envs, Make, make_envs, maker
from ..replay import Obs, each
from ..rssm import State
from ..spaces import Spaces, number_names
from .checkpoint import reason
from .device import seeded

FRESH = 1_000_003  # evaluation seeds start here, far from those of training
LONGEST = 10_000  # steps after which an episode is taken as it is, for environments that never end one
SIDE_BY_SIDE = 16  # copies of the environment, at most


def evaluate(
    agent: Dreamer, env: str | Make | None = None, episodes: int = 100, seed: int = 0, greedy: bool = False
) -> np.ndarray:
    """Returns (episodes,) of the agent in fresh episodes, up to 16 side by side; sampled actions unless greedy.

    env: the environment's name, or what makes it; without it, the one that the agent was made for. The random state of PyTorch is left as it was, so an
    evaluation does not change the training around it. Warns if an episode was cut after 10,000 steps. Raises Refused for an environment
    with other spaces than the agent's.
    """
    returns, cut = play_episodes(agent, env, episodes, seed, greedy)
    if cut:
        warnings.warn(cut_words(cut, episodes), stacklevel=2)
    return returns


def cut_words(cut: int, episodes: int) -> str:
    return f"{cut} of {episodes} episodes did not end within {LONGEST:,} steps and were cut there; their returns are those of the part"


def play_episodes(agent: Dreamer, env: str | Make | None, episodes: int, seed: int, greedy: bool) -> tuple[np.ndarray, int]:
    """What `evaluate` does; with the number of episodes that were cut."""
    if episodes < 1:
        raise Refused(f"an evaluation needs at least one episode, got {episodes}")
    count = min(episodes, SIDE_BY_SIDE)
    envs = fitting_envs(agent, env, count, seed)
    returns, steps, cut = np.zeros(episodes), np.zeros(episodes, int), 0
    # Copy i plays episodes i, i + count, … one after the other: whoever is done early takes no other's turn, which would favour short ones.
    episode = np.arange(count)
    with seeded(agent.device, FRESH + seed):
        carry = agent.initial(count)
        while len(episode):
            step = envs.step(carry.action.cpu().numpy(), episode % count)
            returns[episode] += step.reward
            steps[episode] += ~step.is_first
            too_long = (steps[episode] >= LONGEST) & ~step.is_last
            cut += int(too_long.sum())
            for i in (episode % count)[too_long]:
                envs.done[i] = True
            ended = step.is_last | too_long
            there = step.to(agent.device)
            carry = agent.act(there.obs, there.is_first, carry, greedy)
            episode = np.where(ended, episode + count, episode)
            if (stay := episode < episodes).all():
                continue
            episode, keep = episode[stay], torch.as_tensor(stay).to(agent.device)
            carry = Carry(State(*(part[keep] for part in carry.state)), carry.action[keep])
    envs.close()
    return returns, cut


def fitting_envs(agent: Dreamer, env: str | Make | None, count: int, seed: int, render: bool = False) -> Envs:
    """Fresh environments for an agent to play in. Raises Refused if their spaces are others than the agent's."""
    c = agent.config
    named = replace(c, env=env) if isinstance(env, str) else c
    make = env if callable(env) else maker(named, render)
    envs = make_envs(make, count, FRESH + seed, remember=False, seconds=c.env_seconds)
    if envs.spaces != agent.spaces:
        envs.close()
        raise Refused(
            f"{named.env} has {envs.spaces}, but this agent was trained with {agent.spaces}; give an environment with the same spaces"
        )
    return envs


class OpenLoop(NamedTuple):
    """One real episode and the dream beside it, step by step; the dream has not seen reality since step 0."""

    env: str
    real: np.ndarray  # (T, O) the numbers in the observations
    dreamed: np.ndarray  # (T, O) the same, decoded from the dream
    actions: np.ndarray  # (T, A) the actions that led to each step, the same in both
    real_pictures: np.ndarray | None = None  # (T, H, W, C) bytes, where the agent sees pictures
    dreamed_pictures: np.ndarray | None = None  # (T, H, W, C)
    frames: list[np.ndarray] = []  # T pictures (H, W, 3) of reality, as the environment renders them, if it was asked to and can
    names: list[str] = []  # of the numbers
    undrawn: str = ""  # why there are no frames, where the environment failed to render them


@torch.no_grad()
def open_loop(
    agent: Dreamer, env: str | Make | None = None, steps: int = 60, context: int = 10, seed: int = 0, render: bool = False
) -> OpenLoop:
    """Let the agent play, look for `context` steps and once more, then dream on from its own actions without looking: `steps` in all, from the last look on.

    Both stop where the real episode ends. render: keep what the environment draws, if it can. Raises Refused if it ends within the context, or as `evaluate` does.
    """
    envs, rssm = fitting_envs(agent, env, 1, seed, render), agent.world_model.rssm
    real, dreamed, actions, frames, undrawn = [], [], [], [], ""
    with seeded(agent.device, FRESH + seed):
        carry = agent.initial(1)
        state = carry.state
        for t in range(context + steps):
            action = carry.action
            step = envs.step(action.cpu().numpy())
            if step.is_first[0] and t:
                break
            there = step.to(agent.device)
            carry = agent.act(there.obs, there.is_first, carry)
            state = rssm.imagine_step(state, action) if t > context else carry.state
            if t >= context:
                dreamed.append(each(lambda part: part[0].cpu().numpy(), agent.world_model.predict_obs(state.feature)))
                real.append(each(lambda part: part[0], step.obs))
                actions.append(action[0].cpu().numpy())
                frame, undrawn = (None, undrawn) if undrawn else drawn(envs.envs[0])
                frames += [frame] if frame is not None else []
    names = number_names(envs.envs[0].observation_space)
    envs.close()
    if not real:
        raise Refused(f"the episode ended within {context} steps, before the dream began; give another seed or less context")
    (real, real_pictures), (dreamed, dreamed_pictures) = (by_kind(agent.spaces, shown) for shown in (real, dreamed))
    name = env if isinstance(env, str) else agent.config.env
    return OpenLoop(name, real, dreamed, np.stack(actions), real_pictures, dreamed_pictures, frames, names, undrawn)


def by_kind(spaces: Spaces, shown: list[Obs]) -> tuple[np.ndarray, np.ndarray | None]:
    """The numbers (T, O) and the pictures (T, H, W, C) of some observations."""
    shown = [obs if isinstance(obs, dict) else {"vector" if spaces.obs_size else "image": obs} for obs in shown]
    pictures = np.stack([obs["image"] for obs in shown]) if spaces.image else None
    return np.stack([obs.get("vector", np.zeros(0)) for obs in shown]), pictures


def drawn(env: gymnasium.Env) -> tuple[np.ndarray | None, str]:
    """What the environment draws of itself, (H, W, 3), or None if it was not made for that; and why it failed, if it did."""
    if env.render_mode != "rgb_array":
        return None, ""
    try:
        frame = env.render()
    except Exception as error:  # no pygame, no OpenGL, or a renderer of one's own: the dream needs none of them
        return None, reason(error)
    return (frame, "") if isinstance(frame, np.ndarray) and frame.ndim == 3 else (None, "")
