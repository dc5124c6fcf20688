"""All that touches Gymnasium: making environments, stepping them, and what is seen and done in them."""

from .making import make_env, make_envs
from .stepping import Envs

__all__ = ["Envs", "make_env", "make_envs"]
