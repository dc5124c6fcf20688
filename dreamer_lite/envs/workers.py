"""Environments in worker processes, for slow ones: Gymnasium's AsyncVectorEnv."""

from collections.abc import Callable
from functools import partial
import multiprocessing
from multiprocessing import TimeoutError as NoAnswer
from multiprocessing.pool import RemoteTraceback
import signal
import threading
import traceback
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
import numpy as np

from ..config import Spaces
from ..errors import Refused
from ..replay import Experience, obs_of_kinds
from .making import EnvFactory
from .spaces import BadOutput, native_action, spaces_of, to_agent_obs
from .stepping import (
    ENDED,
    checked_reset,
    checked_step,
    close,
    declared_spaces,
    episode_seed,
    finite,
    place,
    refuse_other_spaces,
    step_in,
    threshold_of,
)


class Translated(gymnasium.Wrapper):
    """Environment i as the agent sees it, in its own process. Each reset starts the next episode, with its own seed."""

    def __init__(self, env: gymnasium.Env, seed: int, i: int):
        super().__init__(env)
        self.run_seed, self.i, self.episode = seed, i, -1
        self.native = env.observation_space, env.action_space  # as declared at the start
        sizes = spaces_of(*self.native)
        kinds = {
            kind: Box(0, 255, shape, np.uint8) if kind == "image" else Box(-np.inf, np.inf, shape)
            for kind, shape in sizes.obs_shapes.items()
        }
        self.observation_space = Dict(kinds) if len(kinds) > 1 else next(iter(kinds.values()))
        self.action_space = Box(-np.inf, np.inf, (sizes.action_size,))
        self.blank = obs_of_kinds({kind: np.zeros(box.shape, box.dtype) for kind, box in kinds.items()})

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        self.episode += 1
        try:
            obs = checked_reset(self.env.reset(seed=episode_seed(self.run_seed, self.i, self.episode)))
            refuse_other_spaces(self.env, self.native)
            return finite(to_agent_obs(self.native[0], obs)), {}
        except (Exception, SystemExit) as error:
            return self.blank, what_went_wrong(error)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        try:
            obs, reward, terminated, truncated = checked_step(step_in(self.env, native_action(self.native[1], action)))
            return finite(to_agent_obs(self.native[0], obs)), reward, terminated, truncated, {}
        except (Exception, SystemExit) as error:
            return self.blank, 0.0, True, False, what_went_wrong(error)

    def close(self) -> None:
        close(self.env, f"environment {self.i}")


def what_went_wrong(error: BaseException) -> dict[str, str]:
    """For the run, in words.

    Gymnasium prints a raised error four times, and makes it anew from its text, which some types don't allow
    (findings/async_vector_env_changes_errors.sh).
    An error of the environment's own under "raised", in one line, followed by its traceback; all else under "bad".
    """
    if isinstance(error, BadOutput):
        return {"bad": str(error)}
    if isinstance(error, SystemExit):
        return {"bad": ENDED}
    line = traceback.format_exception_only(error)[0].splitlines()[0]
    return {"raised": "\n".join([line, *traceback.format_exception(error)])}


class WorkerEnvs:
    """Like `Envs`, with a process for each environment.

    Seeds are those of `Envs`: an environment that is deterministic given its seed plays the same episodes here. Gotcha:
    an unfinished episode can't be replayed after a resume.
    """

    def __init__(self, make: EnvFactory, count: int, seed: int = 0, seconds: float = 0):
        if multiprocessing.current_process().daemon:
            raise Refused(
                "workers needs processes of its own, and a worker of a multiprocessing.Pool may start none: use "
                "workers=0 there, or a concurrent.futures.ProcessPoolExecutor"
            )
        env = make()
        self.spaces: Spaces = declared_spaces(env)
        self.threshold = threshold_of(env)
        close(env, "an environment")
        spec = gymnasium.registry.get(env.spec.id) if env.spec else None
        makers = [partial(translated, make, seed, i, spec) for i in range(count)]
        try:
            self.envs = AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)
        except RuntimeError as error:
            if "observation_mode" not in str(error):
                raise
            raise Refused(
                f"a copy of the environment in a worker process has other spaces than the first, which {self.spaces}; "
                "all copies need the same spaces"
            ) from error
        self.count, self.seconds = count, seconds
        self.episode, self.done, self.steps = [-1] * count, [True] * count, [0] * count
        self.began = self.failed = False

    def __len__(self) -> int:
        return self.count

    def step(self, actions: np.ndarray) -> Experience:
        """As `Envs.step`."""
        first = np.array(self.done)
        nothing = np.zeros(self.count, bool)
        self.episode = [episode + int(new) for episode, new in zip(self.episode, first)]
        self.steps = [0 if new else steps + 1 for steps, new in zip(self.steps, first)]
        if self.began:
            answer = self.ask(lambda: self.envs.step_async(np.asarray(actions, np.float32)), self.envs.step_wait)
            obs, reward, terminated, truncated, infos = answer
        else:
            obs, infos = self.ask(self.envs.reset_async, self.envs.reset_wait)
            reward, terminated, truncated = np.zeros(self.count), nothing, nothing
        self.began = True
        for i in range(self.count) if {"bad", "raised"} & infos.keys() else ():
            bad, raised = (infos[kind][i] if kind in infos else None for kind in ("bad", "raised"))
            where = place(i, self.steps[i], self.episode[i])
            if bad:
                raise Refused(f"{where} {bad}; the last checkpoint is kept")
            if raised:
                line, _, whole = raised.partition("\n")
                raise RuntimeError(f"{where} raised {line}; the last checkpoint is kept") from RemoteTraceback(whole)
        done = (terminated | truncated) & ~first
        self.done = done.tolist()
        taken = np.where(first[:, None], 0, actions).astype(np.float32)
        return Experience(obs, taken, np.where(first, 0, reward).astype(np.float32), first, done, terminated & ~first)

    def ask(self, question: Callable[[], Any], answer: Callable[..., Any]) -> Any:
        """Ask all processes and wait for the answers. Raises Refused if one takes too long, or is gone."""
        self.failed = True  # until they have answered
        try:
            question()
            got = answer(timeout=self.seconds or None)
        except NoAnswer as error:
            raise Refused(
                f"one of {self.count} environments took more than {self.seconds:g} seconds, the limit set by "
                f"--env_seconds (environment 0 was in step {self.steps[0]} of episode {self.episode[0]}); the last "
                "checkpoint is kept"
            ) from error
        except (EOFError, ConnectionError) as error:
            raise Refused(f"{self.gone()}; the last checkpoint is kept") from error
        self.failed = False
        return got

    def gone(self) -> str:
        """Which process ended, in words."""
        for i, process in enumerate(self.envs.processes):
            process.join(0.2)  # what no longer answers may take a moment to end
            if process.exitcode is not None:
                where = place(i, self.steps[i], self.episode[i])
                return f"{where} ended its process (exit code {process.exitcode})"
        return "a process of an environment no longer answers"

    def close(self) -> None:
        """End the processes; those that don't answer within ten seconds are killed."""
        if self.failed:  # Gymnasium's close would wait for answers, and raises EOFError where a process is gone
            self.kill()
            self.envs.closed = True
            return
        patience = threading.Timer(10, self.kill)
        patience.start()
        try:
            self.envs.close()
        finally:
            patience.cancel()

    def kill(self) -> None:
        for process in self.envs.processes:
            process.kill()
            process.join()

    def state_dict(self) -> dict[str, Any]:
        return {"episode": list(self.episode), "done": list(self.done)}

    def load_state_dict(self, state: dict[str, Any]) -> dict[int, str]:
        """Continue with the next episodes; returns a message for each environment whose episode was unfinished."""
        self.episode = list(state["episode"])
        self.envs.set_attr("episode", self.episode)
        return {
            i: f"environment {i} could not be restored, since it runs in a worker process; it begins a new episode"
            for i, (done, episode) in enumerate(zip(state["done"], state["episode"]))
            if not done and episode >= 0
        }


def translated(make: EnvFactory, seed: int, i: int, spec: EnvSpec | None) -> gymnasium.Env:
    """Environment i in its worker process. spec: what a spawned process doesn't know if a script registered it."""
    if spec and spec.id not in gymnasium.registry:
        gymnasium.registry[spec.id] = spec
    if multiprocessing.parent_process():  # Ctrl-C is for the run, which saves, then ends this process
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return Translated(make(), seed, i)
