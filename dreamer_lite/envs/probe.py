"""Do copies of an environment disturb each other? Found out in a process of its own, before a run begins."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
import multiprocessing
import os
import signal
import sys
import time
from typing import Any
import warnings

import gymnasium

from ..config import Config
from ..errors import Refused, first_line
from .making import EnvFactory
from .spaces import to_agent_obs
from .stepping import checked_reset, checked_step, checksum, close

STEPS, SECONDS, PATIENCE = 30, 1.0, 10.0  # of one play; how long it may take; how long the whole probe may


def choose_eval_in(config: Config, make: EnvFactory) -> tuple[Config, str]:
    """The settings, with evaluations where copies don't disturb each other, and what was found ("" if nothing).

    Raises Refused if several environments are to be stepped side by side in one process and disturb each other.
    """
    if (config.workers and config.eval_envs == 1) or (config.eval_in == "training" and config.envs == 1):
        return config, ""
    found = disturbance(make)
    if not found:
        return config, ""
    if config.workers:
        return replace(config, eval_envs=1), f"{found}; evaluations play in one copy"
    if config.envs > 1:
        raise Refused(f"{found}; use one environment (--envs 1), or a process for each (--workers {config.envs})")
    words = f"{found}; evaluations play in the training environment, between two episodes"
    return replace(config, eval_in="training"), words


def disturbance(make: EnvFactory) -> str:
    """In words, how a second copy disturbs the first; "" if it doesn't, or if that can't be found out.

    The copies are made in a forked process, which takes everything they share with it when it ends. Gymnasium's own
    environments are known to share nothing. It can't be found out where processes can't be forked safely
    (only Linux can) or may have no children (the workers of a multiprocessing.Pool), or if an episode differs with the
    same seed, takes long, or fails alone.
    """
    if sys.platform != "linux" or multiprocessing.current_process().daemon:
        return ""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads, which the child doesn't use
        child = fork.Process(target=answer, args=(make, theirs), daemon=True)
        child.start()
    theirs.close()
    try:
        return ours.recv() if ours.poll(PATIENCE) else ""
    except EOFError:  # the environment ended the process
        return ""
    finally:
        child.kill()
        child.join()


def answer(make: EnvFactory, pipe: Any) -> None:
    """In the forked process: send what was found, and end without cleaning up what the parent still uses."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        pipe.send(compare(make))
    finally:
        os._exit(0)


def compare(make: EnvFactory) -> str:
    """Play in one copy twice, and then while a second one is made, played in and closed."""
    try:
        env = make()
        if env.spec and str(env.spec.entry_point).startswith("gymnasium.envs."):
            return ""
        alone, steps = play(env, STEPS, SECONDS)
        if play(env, steps)[0] != alone:
            return ""
    except Exception:  # the run itself will show it
        return ""
    try:
        other = make()
    except Exception as error:
        return f"a second copy of the environment can't be made ({type(error).__name__}: {first_line(error)})"

    def disturb(step: int) -> None:
        if steps // 3 <= step < 2 * steps // 3:
            play(other, 1 + step % 4)  # a different number each time, so that no two clocks agree by accident
        if step == 2 * steps // 3:
            close(other, "a copy")

    try:
        disturbed = play(env, steps, before=disturb)[0] != alone
    except (Exception, SystemExit):
        disturbed = True
    return "copies of the environment disturb each other: playing in one, or closing it, changes another" * disturbed


def play(
    env: gymnasium.Env, most: int, seconds: float = float("inf"), before: Callable[[int], None] = lambda step: None
) -> tuple[int, int]:
    """The checksum of up to `most` steps with fixed actions, and their number: fewer where the time was up.

    before: called with the number of each step.
    """
    actions = deepcopy(env.action_space)  # copies often share one space, and so its random state
    actions.seed(0)
    sum_, done, began = 0, True, time.perf_counter()
    for step in range(most):
        if time.perf_counter() - began > seconds:
            return sum_, step
        before(step)
        if done:
            obs, reward, terminated, truncated = checked_reset(env.reset(seed=0)), 0.0, False, False
        else:
            obs, reward, terminated, truncated = checked_step(env.step(actions.sample()))
        done = terminated or truncated
        sum_ = checksum(sum_, to_agent_obs(env.observation_space, obs), reward, terminated, truncated)
    return sum_, most
