"""Small environments of our own, like those a reader might write: Catch, seen as images; HiddenCatch and Recall, which
need memory; and Dials, with two choices at once.

Importing this module registers them: `python -m dreamer_lite --env dreamer_lite.course.worlds:Catch-v0`.
"""

from typing import Any

import gymnasium
from gymnasium.spaces import Box, Discrete, MultiDiscrete
import numpy as np


class Catch(gymnasium.Env):
    """A ball falls through 8 × 8 cells, and a paddle below moves left, stays, or moves right: reward 1 for a ball
    that is caught, -1 for one that is not."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}
    cells, size = 8, 2  # cells across and down; pixels of a cell

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode
        side = self.cells * self.size
        self.observation_space, self.action_space = Box(0, 255, (side, side, 1), np.uint8), Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.row, self.ball, self.paddle = 0, *self.np_random.integers(self.cells, size=2)
        return self.picture(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.row += 1
        self.paddle = np.clip(self.paddle + action - 1, 0, self.cells - 1)
        landed = self.row == self.cells - 1
        reward = (1.0 if self.paddle == self.ball else -1.0) if landed else 0.0
        return self.picture(), reward, landed, False, {}

    def picture(self) -> np.ndarray:
        board = np.zeros((self.cells, self.cells), np.uint8)
        board[-1, self.paddle] = 128
        board[self.row, self.ball] = 255
        return board.repeat(self.size, 0).repeat(self.size, 1)[..., None]

    def render(self) -> np.ndarray:
        return self.picture().repeat(8, 0).repeat(8, 1).repeat(3, 2)


class Falling(gymnasium.Env):
    """A ball falls six rows. In the upper half it is visible, and the paddle is locked. Below, it is hidden, and the
    paddle is free."""

    observation_space = Box(
        -3, 6, (4,), np.float32
    )  # paddle, ball (0 while hidden), is the ball seen, rows left to fall
    action_space = Discrete(3)  # left, stay, right
    balls = 5  # the episode stops after this many

    def drop(self):
        """A new ball, at the top, in one of seven columns; the paddle waits in the middle."""
        self.row, self.paddle, self.ball = 6, 0, int(self.np_random.integers(-3, 4))

    def look(self):
        """The observation. A ball that has landed is visible again."""
        seen = self.row > 3 or self.row == 0
        return np.array([self.paddle, self.ball if seen else 0, seen, self.row], np.float32)


class HiddenCatch(Falling):
    """Reward 1 for each ball that is caught.

    A miss ends the episode, and only memory can tell where a ball comes down.
    """

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        gymnasium.Env.reset(self, seed=seed)  # not super(): notebook A3 gives this method to a class of its own
        self.caught = 0
        self.drop()
        return self.look(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        if self.row == 0:
            self.drop()
            return self.look(), 0.0, False, False, {}
        if self.row <= 3:
            self.paddle += action - 1
        self.row -= 1
        landed, below = self.row == 0, self.paddle == self.ball
        self.caught += landed and below
        terminated, truncated = landed and not below, self.caught == self.balls
        return self.look(), float(landed and below), terminated, truncated, {}


class Recall(gymnasium.Env):
    """A sign shows left or right, once.

    A bell rings `wait` steps later, and the next action must be the one that the sign showed: reward 1, else -1.
    """

    def __init__(self, wait: int = 6):
        self.wait = wait
        self.observation_space, self.action_space = Box(-1, 1, (2,), np.float32), Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time, self.sign = 0, int(self.np_random.integers(2))
        return np.array([2 * self.sign - 1, 0], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        asked = self.time > self.wait
        reward = (1.0 if action == self.sign else -1.0) if asked else 0.0
        return np.array([0, self.time == self.wait], np.float32), reward, asked, False, {}


class Dials(gymnasium.Env):
    """Shows how to set two dials, the first to one of 2 positions, the second to one of 3: reward 1 if both are
    right, ten times."""

    observation_space = action_space = MultiDiscrete([2, 3])

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time = 0
        return self.show(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward, self.time = float((action == self.wanted).all()), self.time + 1
        return self.show(), reward, self.time == 10, False, {}

    def show(self) -> np.ndarray:
        self.wanted = np.array([self.np_random.integers(2), self.np_random.integers(3)])
        return self.wanted


gymnasium.register("Catch-v0", Catch, reward_threshold=0.95)
gymnasium.register("HiddenCatch-v0", HiddenCatch, reward_threshold=4.75)
gymnasium.register("Recall-v0", Recall, reward_threshold=0.95)
gymnasium.register("Dials-v0", Dials, reward_threshold=9.5)
