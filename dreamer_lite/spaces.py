"""What an agent sees and does: gymnasium's spaces in our own terms, and our actions in an environment's terms (notebook 01)."""

from typing import Any, NamedTuple

from gymnasium import Space
from gymnasium.spaces import Box, Discrete
import numpy as np

from .config import Refused


class Spaces(NamedTuple):
    """The sizes that an agent is built for. discrete: actions are one-hot choices; else vectors in [-1, 1]."""

    obs_size: int  # O
    action_size: int  # A
    discrete: bool

    def __str__(self) -> str:
        return f"observations of {self.obs_size} numbers and {self.action_size} {'choices' if self.discrete else 'continuous actions'}"


def spaces_of(observation: Space, action: Space) -> Spaces:
    """The one place that decides what is supported. Raises Refused for all else."""
    if not (isinstance(observation, Box) and len(observation.shape) == 1):
        raise Refused(
            f"observation space {told(observation)} is not supported; dreamer_lite learns from vectors (a Box with one axis). "
            "A gymnasium wrapper such as FlattenObservation can convert it"
        )
    if isinstance(action, Discrete):
        return Spaces(observation.shape[0], int(action.n), True)
    if isinstance(action, Box) and len(action.shape) == 1 and action.is_bounded():
        return Spaces(observation.shape[0], action.shape[0], False)
    raise Refused(
        f"action space {told(action)} is not supported; dreamer_lite acts in Discrete spaces and in a Box with one "
        "axis and finite bounds. A gymnasium wrapper can convert it"
    )


def told(space: Space) -> str:
    return " ".join(str(space).split())


def native_action(space: Space, action: np.ndarray) -> Any:
    """Our action vector (A,) in the environment's own terms: a choice, or numbers between its bounds."""
    if isinstance(space, Discrete):
        return int(space.start) + int(action.argmax())
    return (space.low + (np.clip(action, -1, 1) + 1) / 2 * (space.high - space.low)).astype(space.dtype)
