"""MinAtar's games by their gymnasium names: `--env minatar_envs:MinAtar/Breakout-v1`, from this folder, after `pip install minatar`."""

from minatar.gym import register_envs

register_envs()
