"""Environments that need a few lines to be made: `--env environment_adapters:Crafter-v0`.

For use in this folder, after installing the package that a function imports. The lower ones are wrappers:
`--wrap environment_adapters:first_agent`.
"""

from typing import Any

import gymnasium
from gymnasium import spaces
from gymnasium.wrappers import TransformReward
import numpy as np


class Crafter(gymnasium.Env):
    """Crafter has Gym's older API, without Gym."""

    observation_space, action_space = spaces.Box(0, 255, (64, 64, 3), np.uint8), spaces.Discrete(17)

    def reset(self, *, seed=None, options=None):
        import crafter

        super().reset(seed=seed)
        self.world = crafter.Env(seed=int(self.np_random.integers(2**31)))
        return self.world.reset(), {}

    def step(self, action):
        obs, reward, done, info = self.world.step(action)
        return obs, reward, done and info["discount"] == 0, done and info["discount"] > 0, {}


class TicTacToe(gymnasium.Env):
    """PettingZoo's tic-tac-toe against an opponent who moves at random."""

    observation_space, action_space = spaces.Box(0, 1, (3, 3, 2), np.int8), spaces.Discrete(9)

    def reset(self, *, seed=None, options=None):
        from pettingzoo.classic import tictactoe_v3

        super().reset(seed=seed)
        self.board = tictactoe_v3.env()
        self.board.reset(seed=seed)
        return self.board.observe("player_1")["observation"], {}

    def step(self, action):
        for move in (action, None):  # ours, then the opponent's; a move that isn't allowed loses
            if not any(self.board.terminations.values()):
                free = np.flatnonzero(self.board.observe(self.board.agent_selection)["action_mask"])
                self.board.step(self.np_random.choice(free) if move is None else move)
        over = any(self.board.terminations.values())
        return self.board.observe("player_1")["observation"], self.board.rewards["player_1"], over, False, {}


def gymnax_env(name: str) -> gymnasium.Env:
    import gymnax
    from gymnax.wrappers.gym import GymnaxToGymWrapper

    return GymnaxToGymWrapper(*gymnax.make(name))


def jumanji_env(name: str) -> gymnasium.Env:
    import jumanji
    from jumanji.wrappers import JumanjiToGymWrapper

    class Whole(JumanjiToGymWrapper):  # its own `unwrapped` is Jumanji's environment, which isn't one of Gymnasium
        unwrapped = property(lambda self: self)

    return Whole(jumanji.make(name))


def mario(moves: str = "SIMPLE_MOVEMENT") -> gymnasium.Env:
    """Super Mario Bros has Gym's older API."""
    from gym_super_mario_bros import SuperMarioBrosEnv, actions
    from nes_py.wrappers import JoypadSpace
    from shimmy import GymV21CompatibilityV0

    return GymV21CompatibilityV0(env=JoypadSpace(SuperMarioBrosEnv(), getattr(actions, moves)))


def miniworld(name: str = "MiniWorld-Hallway-v0", **options: Any) -> gymnasium.Env:
    """MiniWorld draws without a screen only if told before it is imported."""
    import pyglet

    pyglet.options["headless"] = True
    import miniworld  # noqa: F401

    return gymnasium.make(name, **options)


def trading() -> gymnasium.Env:
    """gym-trading-env with made-up prices of 500 hours."""
    from gym_trading_env.environments import TradingEnv
    import pandas as pd

    noise = np.random.default_rng(0).normal(size=500)
    close = pd.Series(100 + noise.cumsum(), index=pd.date_range("2025-01-01", periods=500, freq="h"))
    prices = pd.DataFrame({"open": close.shift(1), "high": close + 1, "low": close - 1, "close": close}).dropna()
    prices["volume"], prices["feature_change"] = 1.0, prices["close"].pct_change().fillna(0)
    return TradingEnv(df=prices, verbose=0)


def power_grid(name: str = "rte_case5_example") -> gymnasium.Env:
    """A small power grid that Grid2Op brings: loads and generators as numbers, substations as choices."""
    import grid2op
    from grid2op.gym_compat import BoxGymObsSpace, DiscreteActSpace, GymEnv

    grid = grid2op.make(name, test=True)
    env = GymEnv(grid)
    env.observation_space = BoxGymObsSpace(grid.observation_space, attr_to_keep=["rho", "gen_p", "load_p"])
    env.action_space = DiscreteActSpace(grid.action_space, attr_to_keep=["set_bus"])
    return env


def glucose(patient: str = "adolescent#002") -> gymnasium.Env:
    from simglucose.envs import T1DSimGymnaisumEnv

    return T1DSimGymnaisumEnv(patient_name=patient)


def sum_of_rewards(env: gymnasium.Env) -> gymnasium.Env:
    """Several rewards, as in MO-Gymnasium, become one: their sum."""
    return TransformReward(env, lambda rewards: float(np.sum(rewards)))


def first_agent(env: gymnasium.Env) -> gymnasium.Env:
    """A robot of several, where the environment takes and returns tuples: the others wait."""
    return FirstAgent(env)


class FirstAgent(gymnasium.Wrapper):
    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self.observation_space, self.action_space = env.observation_space[0], env.action_space[0]

    def reset(self, **options: Any):
        obs, _ = self.env.reset(**options)
        return obs[0], {}

    def step(self, action: int):
        obs, rewards, *rest = self.env.step((action,) + (0,) * (len(self.env.action_space) - 1))
        return obs[0], rewards[0], *rest


MADE = {
    "Crafter-v0": Crafter,
    "TicTacToe-v0": TicTacToe,
    "Gymnax-v0": gymnax_env,
    "Jumanji-v0": jumanji_env,
    "Mario-v0": mario,
    "MiniWorld-v0": miniworld,
    "Trading-v0": trading,
    "PowerGrid-v0": power_grid,
    "Glucose-v0": glucose,
}
for made, maker in MADE.items():
    gymnasium.register(made, maker, max_episode_steps={"Glucose-v0": 500, "Mario-v0": 2000}.get(made))
