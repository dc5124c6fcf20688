"""MinAtar's games by their Gymnasium names: `--env minatar_envs:MinAtar/Breakout-v1`.

For use in this folder, after `pip install minatar`.
"""

from minatar.gym import register_envs

register_envs()
