"""How good is the agent? Its returns in fresh episodes."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
import warnings

import numpy as np
import torch
from tqdm import tqdm

from ..agent import Carry, Dreamer
from ..envs.making import EnvFactory, env_factory, make_envs
from ..envs.stepping import Envs
from ..errors import Refused
from ..rng import seeded
from ..rssm import State
from .rollout import play_step

FIRST_SEED = 1_000_003  # evaluation seeds start here, far from those of training
MAX_EPISODE_STEPS = 10_000  # an episode that hasn't ended by then is cut off
MAX_COPIES = 16  # of the environment, side by side


class Stopped(Exception):
    """An evaluation was asked to end early."""


def evaluate(
    agent: Dreamer, env: str | EnvFactory | None = None, episodes: int = 100, seed: int = 0, greedy: bool = False
) -> np.ndarray:
    """Returns (episodes,) of the agent in fresh episodes, up to 16 side by side; sampled actions unless greedy.

    env: the environment's ID, or a function that makes it; by default the one the agent was trained on. PyTorch's random state is left
    as it was, so an evaluation doesn't change the training around it. Warns if an episode was cut off after 10,000 steps. Raises Refused
    for an environment with other spaces than the agent's.
    """
    returns, cut = play_episodes(agent, env, episodes, seed, greedy)
    if cut:
        warnings.warn(cut_off_words(cut, episodes), stacklevel=2)
    return returns


def cut_off_words(cut: int, episodes: int) -> str:
    return (
        f"{cut} of {episodes} episodes did not end within {MAX_EPISODE_STEPS:,} steps and were cut off there; their returns count up to "
        "that step"
    )


def play_episodes(
    agent: Dreamer,
    env: str | EnvFactory | None,
    episodes: int,
    seed: int,
    greedy: bool,
    progress: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, int]:
    """What `evaluate` does; also returns how many episodes were cut off.

    progress: show a bar, in a terminal. stop: asked after each step; if true, Stopped is raised.
    """
    if episodes < 1:
        raise Refused(f"an evaluation needs at least one episode, got {episodes}")
    count = min(episodes, MAX_COPIES)
    envs = matching_envs(agent, env, count, seed)
    returns, steps, cut = np.zeros(episodes), np.zeros(episodes, int), 0
    # Copy i plays episodes i, i + count, … one after the other: a copy that is done early takes no other's turn, which would favour short ones.
    episode = np.arange(count)
    bar = tqdm(total=episodes, desc="evaluating", unit=" episodes", leave=False, disable=None if progress else True)
    with closing(envs), seeded(agent.device, FIRST_SEED + seed), bar:
        carry = agent.initial(count)
        while len(episode):
            if stop():
                raise Stopped
            step, carry = play_step(agent, envs, carry, greedy, which=episode % count)
            reward, is_first, is_last = (part.cpu().numpy() for part in (step.reward, step.is_first, step.is_last))
            returns[episode] += reward
            steps[episode] += ~is_first
            too_long = (steps[episode] >= MAX_EPISODE_STEPS) & ~is_last
            cut += int(too_long.sum())
            for i in (episode % count)[too_long]:
                envs.done[i] = True
            ended = is_last | too_long
            bar.update(int(ended.sum()))
            episode = np.where(ended, episode + count, episode)
            if (stay := episode < episodes).all():
                continue
            episode, keep = episode[stay], torch.as_tensor(stay).to(agent.device)
            carry = Carry(State(*(part[keep] for part in carry.state)), carry.action[keep])
    return returns, cut


def matching_envs(agent: Dreamer, env: str | EnvFactory | None, count: int, seed: int, render: bool = False) -> Envs:
    """Fresh environments for an agent to play in. Raises Refused if their spaces differ from the agent's."""
    c = agent.config
    named = replace(c, env=env, env_from_function=False) if isinstance(env, str) else c
    make = env if callable(env) else env_factory(named, render)
    envs = make_envs(make, count, FIRST_SEED + seed, remember=False, seconds=c.env_seconds)
    if envs.spaces != agent.spaces:
        envs.close()
        where = "the given environment" if callable(env) else named.env
        raise Refused(
            f"an agent in {where} {envs.spaces}, but this agent {agent.spaces}; name an environment with the same spaces"
        )
    return envs
