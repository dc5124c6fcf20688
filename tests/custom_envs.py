"""Environments that go wrong, each in its own way, and some that are easy to count."""

import multiprocessing
import signal
import time

import gymnasium
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
import gymnasium.wrappers
import numpy as np


class Plain(gymnasium.Env):
    """CartPole's spaces, and nothing happens; it pays 1 a step and never ends."""

    observation_space = Box(-1, 1, (4,))
    action_space = Discrete(2)

    def __init__(self):
        self.steps = self.episodes = 0

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.episodes += 1
        self.left = self.length()
        return self.look(), {}

    def step(self, action):
        self.steps += 1
        self.left -= 1
        return self.look(), 1.0, self.left == 0, False, {}

    def length(self):
        return -1

    def look(self):
        return np.zeros(4, np.float32)


class Counting(Plain):
    """Episodes of 2 or of 30 steps, as the seed has it."""

    def length(self):
        return int(self.np_random.choice([2, 30]))


class Drifting(Plain):
    """What it shows depends on the clock, not on its seed."""

    def look(self):
        return np.full(4, time.perf_counter() % 1, np.float32)


class Broken(Plain):
    """Its author made a mistake, which shows after some steps."""

    def step(self, action):
        if self.steps > 5:
            np.zeros(3) + np.zeros(4)
        return super().step(action)


class Unmakeable(Plain):
    def __init__(self):
        len(5)


class Unwritable(Plain):
    def step(self, action):
        raise OSError("the simulator's socket is closed")


class Late(Counting):
    """Only in an evaluation, whose copies are made later, does it fail."""

    made = 0

    def __init__(self):
        super().__init__()
        Late.made += 1
        self.late = Late.made > 2

    def step(self, action):
        if self.late:
            raise OSError("the simulator's socket is closed")
        return super().step(action)


class Forgetful(Counting):
    """It works until it is broken."""

    broken = False

    def reset(self, seed=None, options=None):
        if Forgetful.broken:
            raise KeyError("joint_7")
        return super().reset(seed=seed)


class Poisoned(gymnasium.Wrapper):
    """All observations after the first are not a number."""

    def step(self, action):
        obs, *rest = self.env.step(action)
        return np.full_like(obs, np.nan), *rest


def register():
    """Make them known to gymnasium, as Counting-v0 and so on."""
    if "Counting-v0" in gymnasium.registry:
        return
    for kind in (Counting, Drifting, Broken, Unmakeable, Unwritable, Late, Forgetful, Slow, Deaf, Mixed, Unbounded):
        gymnasium.register(f"{kind.__name__}-v0", kind, disable_env_checker=True)
    gymnasium.register("Easy-v0", Counting, disable_env_checker=True, reward_threshold=1.0)  # solved at once
    gymnasium.register("Endless-v0", Plain, disable_env_checker=True)
    gymnasium.register("Poisoned-v0", lambda: Poisoned(gymnasium.make("CartPole-v1")))


class Unbounded(Plain):
    """Any force is allowed."""

    action_space = Box(-np.inf, np.inf, (2,))


class Slow(Plain):
    """Hangs after some steps."""

    def step(self, action):
        if self.steps > 5:
            time.sleep(60)
        return super().step(action)


class Deaf(Slow):
    """Does not end when it is told to."""

    def __init__(self):
        super().__init__()
        if multiprocessing.parent_process():
            signal.signal(signal.SIGTERM, lambda *_: None)


class Mixed(Counting):
    """A picture and numbers, by name; two choices at once."""

    observation_space = Dict(eye=Box(0, 255, (16, 16, 3), np.uint8), speed=Box(-1, 1, (2,), np.float32))
    action_space = MultiDiscrete([2, 3])

    def look(self):
        return {"eye": np.full((16, 16, 3), self.left, np.uint8), "speed": np.array([self.left, 0], np.float32) / 30}


def seven():
    """CartPole never falls within seven steps, so each episode returns 7."""
    return gymnasium.make("CartPole-v1", max_episode_steps=7)


def nobody(env):
    """A wrapper that forgets to return."""


def halved(env):
    """A wrapper, as a user writes one."""
    return gymnasium.wrappers.TransformReward(env, lambda reward: reward / 2)
