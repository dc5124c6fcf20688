"""Environments side by side, experience out, and a state that can be saved (notebook 01)."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import gymnasium
from gymnasium.envs.registration import parse_env_id
import numpy as np
import torch

from .config import Refused
from .replay import Experience
from .spaces import native_action, spaces_of

REMEMBERED = 10_000  # actions of an unfinished episode that are kept, so that it can be played again


class Envs:
    """`count` copies of one environment, each made by `make()`. Actions are vectors (E, A): one-hot choices, or numbers in [-1, 1].

    An environment that gave its last row is reset by the next `step`, whatever its action, as in the official
    `embodied/core/driver.py`; so the very first `step` resets them all. Each episode has its own seed, made from the
    run's seed, the environment and the episode's number. That and the actions since then are all that has to be saved:
    a restored environment plays its episode again up to where it was. remember: whether to keep these actions.
    Raises Refused for spaces that are not supported.
    """

    def __init__(self, make: Callable[[], gymnasium.Env], count: int = 1, seed: int = 0, remember: bool = True):
        self.envs = [make() for _ in range(count)]
        env = self.envs[0]
        self.seed, self.remember = seed, remember
        self.spaces = spaces_of(env.observation_space, env.action_space)
        self.threshold = env.spec.reward_threshold if env.spec else None
        self.episode = [-1] * count
        self.history: list[list[np.ndarray] | None] = [[] for _ in range(count)]  # None: too long to be kept
        self.obs: list[np.ndarray | None] = [None] * count  # the last ones
        self.done = [True] * count

    def __len__(self) -> int:
        return len(self.envs)

    def step(self, actions: np.ndarray, which: Sequence[int] | None = None) -> Experience:
        """Take one action (E, A) in each environment, or in `which` of them; arrays (E, …) come out."""
        which = range(len(self)) if which is None else which
        parts = [
            self.reset_one(i) if self.done[i] else self.step_one(i, action) for i, action in zip(which, actions, strict=True)
        ]
        return Experience(*(np.stack(part) for part in zip(*parts)))

    def reset_one(self, i: int) -> Experience:
        self.episode[i] += 1
        self.history[i], self.done[i] = [], False
        seed = np.random.SeedSequence([self.seed, i, self.episode[i]]).generate_state(1)[0]
        obs, _ = self.envs[i].reset(seed=int(seed))
        self.obs[i] = np.asarray(obs, np.float32)
        nothing = np.zeros(self.spaces.action_size, np.float32)
        return Experience(self.obs[i], nothing, np.float32(0), np.bool_(True), np.bool_(False), np.bool_(False))

    def step_one(self, i: int, action: np.ndarray) -> Experience:
        if self.remember and self.history[i] is not None:
            self.history[i].append(action)
            if len(self.history[i]) > REMEMBERED:
                self.history[i] = None
        obs, reward, terminated, truncated, _ = self.envs[i].step(native_action(self.envs[i].action_space, action))
        self.done[i] = bool(terminated or truncated)
        self.obs[i] = np.asarray(obs, np.float32)
        return Experience(self.obs[i], action, np.float32(reward), np.bool_(False), np.bool_(self.done[i]), np.bool_(terminated))

    def close(self) -> None:
        for env in self.envs:
            env.close()

    def state_dict(self) -> dict[str, Any]:
        history = [None if h is None else torch.from_numpy(np.stack(h)) if h else [] for h in self.history]
        obs = [None if x is None else torch.from_numpy(x.copy()) for x in self.obs]
        return {"episode": list(self.episode), "done": list(self.done), "history": history, "obs": obs}

    def load_state_dict(self, state: dict[str, Any]) -> dict[int, str]:
        """Play each unfinished episode again. What comes out is compared with the last observation that was stored.

        An environment that can't be restored so begins a new episode; returns what is to be said of each such environment.
        """
        lost = {}
        for i, (episode, done, history, obs) in enumerate(zip(*(state[name] for name in ("episode", "done", "history", "obs")))):
            self.episode[i] = episode
            if done or episode < 0:  # the next step begins an episode anyway
                continue
            if history is None:
                why = f"its episode had more than {REMEMBERED:,} steps"
            else:
                why = (
                    None
                    if self.play_again(i, history, obs)
                    else "played again, its episode came out otherwise (is it random beyond its seed?)"
                )
            self.done[i] = why is not None
            if why:
                lost[i] = f"environment {i} could not be restored: {why}; it begins a new episode"
        return lost

    def play_again(self, i: int, history: Sequence[torch.Tensor], obs: torch.Tensor) -> bool:
        """Play the current episode of an environment again. Returns whether it ends where it was."""
        self.episode[i] -= 1
        self.reset_one(i)
        for action in history:
            if self.done[i]:
                return False
            self.step_one(i, action.numpy())
        return not self.done[i] and np.array_equal(self.obs[i], obs.numpy(), equal_nan=True)


NOT_THERE = (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv, gymnasium.error.DependencyNotInstalled)


def make_env(name: str) -> gymnasium.Env:
    """The gymnasium environment called `name`, or `module:name`, which imports the module. Raises Refused where there is none, or where
    what it needs is not installed; an error inside its own code stays as it is."""
    module, colon, plain = name.rpartition(":")
    try:
        if colon:
            import_named(module)
        parse_env_id(plain)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise cannot_be_made(name, error) from error
    try:
        return gymnasium.make(plain)
    except NOT_THERE as error:
        raise cannot_be_made(name, error) from error


def import_named(module: str) -> None:
    """Import a module that the user names. Raises ModuleNotFoundError if it is not there, RuntimeError if something that it needs is not."""
    if not all(part.isidentifier() for part in module.split(".")):
        raise gymnasium.error.Error(f"{module!r} is no name of a module")
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module != error.name and not module.startswith(f"{error.name}."):
            raise RuntimeError(f"the module {module} cannot be imported") from error
        raise


def cannot_be_made(name: str, error: Exception) -> Refused:
    return Refused(f"environment {name!r} cannot be made: {' '.join(str(error).split())}")


def make_envs(name: str, count: int = 1, seed: int = 0, remember: bool = True) -> Envs:
    """`count` environments called `name`. Raises Refused for unknown names and unsupported spaces."""
    return Envs(lambda: make_env(name), count, seed, remember)
