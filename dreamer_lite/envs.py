"""Environments side by side, rows of experience out, and a state that can be saved (notebook 01)."""

from typing import Any, NamedTuple

import gymnasium
from gymnasium.spaces import Box, Discrete
import numpy as np


class Row(NamedTuple):
    """One step of E environments: what arrives together. Rewards and flags belong to the observation beside them."""

    obs: np.ndarray  # (E, O) float32
    reward: np.ndarray  # (E,) float32
    is_first: np.ndarray  # (E,) bool: first of its episode; the action that led here means nothing
    is_last: np.ndarray  # (E,) bool: last of its episode, by its end or by a time limit
    is_terminal: np.ndarray  # (E,) bool: the episode really ended; a time limit is last but not terminal


def observation_size(space: gymnasium.Space) -> int:
    """O. The one place that decides which observations are supported: raises ValueError for all but vectors."""
    if isinstance(space, Box) and len(space.shape) == 1:
        return space.shape[0]
    raise ValueError(f"observation space {space} is not supported; dreamer_lite learns from vectors (a Box with one axis). "
                     "A gymnasium wrapper such as FlattenObservation can convert it")


def action_size(space: gymnasium.Space) -> int:
    """A. Raises ValueError for action spaces that are neither Discrete nor a bounded vector."""
    if isinstance(space, Discrete):
        return int(space.n)
    if isinstance(space, Box) and len(space.shape) == 1 and space.is_bounded():
        return space.shape[0]
    raise ValueError(f"action space {space} is not supported; dreamer_lite acts in Discrete spaces and in a Box with one "
                     "axis and finite bounds. A gymnasium wrapper can convert it")


class Envs:
    """`count` copies of one environment. Actions are vectors (E, A): one-hot choices, or numbers in [-1, 1].

    An environment that gave its last row is reset by the next `step`, whatever its action, as in the official
    `embodied/core/driver.py`; so the very first `step` resets them all. Each episode has its own seed, made from the
    run's seed, the environment and the episode's number. That and the actions since then are all that has to be saved:
    a restored environment plays its episode again up to where it was.
    """

    def __init__(self, name: str, count: int, seed: int):
        self.envs = [make_env(name) for _ in range(count)]
        env = self.envs[0]
        self.name, self.seed = name, seed
        self.observation, self.actions = observation_size(env.observation_space), action_size(env.action_space)
        self.discrete = isinstance(env.action_space, Discrete)
        self.threshold = env.spec.reward_threshold if env.spec else None
        self.episode = [-1] * count
        self.history: list[list[np.ndarray]] = [[] for _ in range(count)]
        self.done = [True] * count

    def __len__(self) -> int:
        return len(self.envs)

    def step(self, actions: np.ndarray) -> Row:
        """Take one action (E, A) in each environment."""
        parts = [self.reset_one(i) if self.done[i] else self.step_one(i, action) for i, action in enumerate(actions)]
        return Row(*(np.stack(part) for part in zip(*parts)))

    def reset_one(self, i: int) -> Row:
        self.episode[i] += 1
        self.history[i], self.done[i] = [], False
        seed = np.random.SeedSequence([self.seed, i, self.episode[i]]).generate_state(1)[0]
        obs, _ = self.envs[i].reset(seed=int(seed))
        return Row(np.asarray(obs, np.float32), np.float32(0), np.bool_(True), np.bool_(False), np.bool_(False))

    def step_one(self, i: int, action: np.ndarray) -> Row:
        self.history[i].append(action)
        obs, reward, terminated, truncated, _ = self.envs[i].step(self.native(action))
        self.done[i] = bool(terminated or truncated)
        return Row(np.asarray(obs, np.float32), np.float32(reward), np.bool_(False), np.bool_(self.done[i]), np.bool_(terminated))

    def native(self, action: np.ndarray) -> Any:
        """Our action vector in the environment's own terms."""
        space = self.envs[0].action_space
        if self.discrete:
            return int(space.start) + int(action.argmax())
        return (space.low + (np.clip(action, -1, 1) + 1) / 2 * (space.high - space.low)).astype(space.dtype)

    def close(self) -> None:
        for env in self.envs:
            env.close()

    def state_dict(self) -> dict[str, Any]:
        history = [np.stack(h).tolist() if h else [] for h in self.history]
        return {"episode": list(self.episode), "done": list(self.done), "history": history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Play each unfinished episode again. Exact for environments that are deterministic given their seed."""
        for i, (episode, done, history) in enumerate(zip(state["episode"], state["done"], state["history"])):
            self.episode[i] = episode
            if episode >= 0:  # else not even the first has begun
                self.episode[i] -= 1
                self.reset_one(i)
            for action in history:
                self.step_one(i, np.asarray(action, np.float32))
            self.done[i] = done


def make_env(name: str) -> gymnasium.Env:
    try:
        return gymnasium.make(name)
    except (gymnasium.error.Error, ImportError, ValueError, TypeError) as error:
        raise ValueError(f"environment {name!r} cannot be made: {' '.join(str(error).split())}") from error


def make_envs(name: str, count: int = 1, seed: int = 0) -> Envs:
    """`count` environments called `name`. Raises ValueError for unknown names and unsupported spaces."""
    return Envs(name, count, seed)
