"""Everything that touches Gymnasium: making environments, stepping them, translating their spaces."""

from .making import make_env, make_envs
from .stepping import Envs

__all__ = ["Envs", "make_env", "make_envs"]
