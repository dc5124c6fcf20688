"""How good is the agent? Its returns in fresh episodes."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
import warnings

import gymnasium
import numpy as np
import torch
from tqdm import tqdm

from ..agent import Carry, Dreamer
from ..config import Config
from ..envs.making import EnvFactory, env_factory
from ..envs.stepping import Envs
from ..errors import TOO_LARGE, Refused, require, require_whole
from ..rng import seeded
from ..rssm import State
from .rollout import play_step

FIRST_SEED = 1_000_003  # evaluation seeds start here, far from those of training


def evaluation_seed(seed: int) -> int:
    """Far from the seeds of training, and below 2^40, as every seed is."""
    return (FIRST_SEED + seed) % TOO_LARGE


class Stopped(Exception):
    """An evaluation was asked to end early."""


def evaluate(
    agent: Dreamer,
    env: str | EnvFactory | gymnasium.Env | None = None,
    episodes: int = 100,
    seed: int = 0,
    greedy: bool = False,
) -> np.ndarray:
    """The agent's returns in fresh episodes, (episodes,); actions are sampled unless greedy.

    env: the environment's ID, a function that makes it, or the environment itself, which then plays one episode after
    another and stays open; by default the one the agent was trained on. Up to `config.eval_envs` copies play side by
    side. PyTorch's random state is restored, so an evaluation doesn't change the training around it; but one in another
    thread shares it, so give a process to each. Warns if an episode was cut off after `config.eval_steps` steps. Raises
    Refused for an environment with other spaces than the agent's.
    """
    returns, cut = play_episodes(agent, env, episodes, seed, greedy)
    if cut:
        warnings.warn(cut_off_words(cut, episodes, agent.config.eval_steps), stacklevel=2)
    return returns


def cut_off_words(cut: int, episodes: int, steps: int) -> str:
    return (
        f"{cut} of {episodes} episodes did not end within {steps:,} steps and were cut off there; their returns count "
        "up to that step (eval_steps of the run's settings)"
    )


def copies(config: Config, env: object = None) -> int:
    """The most copies of an environment that an evaluation makes: one of an environment that is given."""
    return 1 if isinstance(env, gymnasium.Env) or config.eval_in == "training" else config.eval_envs


def play_episodes(
    agent: Dreamer,
    env: str | EnvFactory | gymnasium.Env | None,
    episodes: int,
    seed: int,
    greedy: bool,
    progress: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, int]:
    """`evaluate`, which also returns how many episodes were cut off.

    progress: show a bar, in a terminal. stop: called after each step; if it returns True, Stopped is raised.
    """
    require(agent, Dreamer, "an evaluation needs a Dreamer, such as load(run)")
    require(greedy, (bool, np.bool_), "greedy must be true or false")
    episodes, seed = require_whole(episodes=(episodes, 1), seed=(seed, 0))
    count, most = min(episodes, copies(agent.config, env)), agent.config.eval_steps
    envs = matching_envs(agent, env, count, seed)
    returns, steps, cut = np.zeros(episodes), np.zeros(episodes, int), 0
    # Copy i plays episodes i, i + count, …. Giving the next episode to the first free copy would favour short ones.
    episode = np.arange(count)
    bar = tqdm(total=episodes, desc="evaluating", unit=" episodes", leave=False, disable=None if progress else True)
    with closing(envs), seeded(agent.device, evaluation_seed(seed)), bar:
        carry = agent.initial(count)
        while len(episode):
            if stop():
                raise Stopped
            step, carry = play_step(agent, envs, carry, greedy, which=episode % count)
            reward, is_first, is_last = (part.cpu().numpy() for part in (step.reward, step.is_first, step.is_last))
            returns[episode] += reward
            steps[episode] += ~is_first
            too_long = (steps[episode] >= most) & ~is_last
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


def named_config(config: Config, env: object) -> Config:
    """The settings with the environment of this name, if `env` is one."""
    return replace(config, env=env, env_from_function=False) if isinstance(env, str) else config


def matching_envs(
    agent: Dreamer, env: str | EnvFactory | gymnasium.Env | None, count: int, seed: int, render: bool = False
) -> Envs:
    """Fresh environments for an agent to play in, or the given one. Raises Refused if their spaces differ."""
    c, given = agent.config, isinstance(env, gymnasium.Env)
    named = named_config(c, env)
    if given:
        make = lambda: env
    else:
        make = env_factory(named, render) if env is None or isinstance(env, str) else env_factory(env)
    envs = Envs(make, count, evaluation_seed(seed), remember=False, seconds=c.env_seconds, borrowed=given)
    if not agent.spaces.fit(envs.spaces):
        envs.close()
        where = named.env if env is None or isinstance(env, str) else "the given environment"
        raise Refused(
            f"an agent in {where} {envs.spaces}, but this agent {agent.spaces}; name an environment with the same "
            "spaces"
        )
    return envs
