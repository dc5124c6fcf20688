"""What an agent sees and does: any gymnasium space in our own terms, and our actions in an environment's terms (notebooks 01 and A3)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.spaces.utils import flatdim, flatten
import numpy as np

from .config import Refused


class Spaces(NamedTuple):
    """The sizes that an agent is built for.

    discrete: actions are one-hot choices, several side by side if `choices` says how many there are of each; else numbers in [-1, 1].
    image: height, width and channels of the picture in an observation, () if there is none.
    """

    obs_size: int  # O, numbers in an observation
    action_size: int  # A
    discrete: bool
    image: tuple[int, ...] = ()
    choices: tuple[int, ...] = ()

    def __str__(self) -> str:
        picture = " × ".join(map(str, self.image))
        seen = [f"{self.obs_size} numbers"] * bool(self.obs_size) + [f"a picture of {picture}"] * bool(picture)
        kinds = "choices" if self.discrete else "continuous actions"
        several = f" ({' + '.join(map(str, self.choices))})" if self.choices else ""
        return f"observations of {' and '.join(seen)} and {self.action_size} {kinds}{several}"


def spaces_of(observation: Space, action: Space) -> Spaces:
    """The one place that decides what is supported. Raises Refused for all else."""
    pictures, numbers = [], 0
    for name, space in leaves(observation):
        if isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) == 4:
            picture_size(space)
        if is_picture(space):
            pictures.append((*space.shape, 1)[:3])
        elif isinstance(space, (Box, Discrete, MultiDiscrete, MultiBinary)):
            numbers += flatdim(space)
        else:
            raise Refused(
                f"observation space {told(observation)} is not supported: {told(space)}{f' at {name}' if name else ''} has no fixed number "
                "of numbers. dreamer_lite sees Box, Discrete, MultiDiscrete, MultiBinary, and a Dict or Tuple of them; "
                "gymnasium's TransformObservation can make such a one of it"
            )
    if len({picture[:2] for picture in pictures}) > 1:
        raise Refused(
            f"the pictures in the observation space {told(observation)} have several sizes; they are stacked as channels of one picture, so "
            "all need one height and width. gymnasium's TransformObservation can resize them"
        )
    image = (*pictures[0][:2], sum(picture[2] for picture in pictures)) if pictures else ()
    if not image and not numbers:
        raise Refused(f"observation space {told(observation)} holds nothing to see")
    sizes = tuple(map(int, image))
    if isinstance(action, Discrete):
        return Spaces(numbers, int(action.n), True, sizes)
    if isinstance(action, MultiDiscrete):
        choices = tuple(int(n) for n in action.nvec.flatten())
        return Spaces(numbers, sum(choices), True, sizes, choices)
    if isinstance(action, MultiBinary):
        choices = (2,) * flatdim(action)
        return Spaces(numbers, sum(choices), True, sizes, choices)
    if isinstance(action, Box) and action.is_bounded() and action.shape:
        return Spaces(numbers, flatdim(action), False, sizes)
    if isinstance(action, Box):
        raise Refused(
            f"action space {told(action)} is not supported: it needs finite bounds on every number. Give it some in your "
            "environment, or by gymnasium's TransformAction with a bounded space"
        )
    raise Refused(
        f"action space {told(action)} is not supported; dreamer_lite acts in Discrete, MultiDiscrete, MultiBinary, and in a Box with "
        "finite bounds. gymnasium's TransformAction can make such a one of it"
    )


def leaves(space: Space, name: str = "") -> Iterator[tuple[str, Space]]:
    """The spaces inside a Dict or a Tuple, with their names, in a fixed order; any other space is its own leaf."""
    if isinstance(space, (Dict, Tuple)):
        for key, part in inside(space):
            yield from leaves(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, space


def inside(space: Dict | Tuple) -> list[tuple[Any, Space]]:
    return sorted(space.spaces.items()) if isinstance(space, Dict) else list(enumerate(space.spaces))


def is_picture(space: Space) -> bool:
    """Bytes with height and width, and channels last if there are any. What is smaller than 8 × 8 is a board, and seen as numbers.

    Official: `dreamerv3/rssm.py: Encoder` (imgkeys).
    """
    return isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3) and min(picture_size(space)) >= 8


def picture_size(space: Box) -> tuple[int, int]:
    """Height and width. Raises Refused for stacked pictures, and where channels seem to come first."""
    if len(space.shape) == 4 or len(space.shape) == 3 and space.shape[0] <= 4 and min(space.shape[1:]) >= 8:
        raise Refused(
            f"pictures of the shape {space.shape} are not supported: height and width come first, channels last, and stacked pictures are "
            "channels too; gymnasium's TransformObservation can turn them round"
        )
    return space.shape[:2]


def seen(space: Space, obs: Any) -> Any:
    """What an environment shows, as an agent of `spaces_of` sees it: numbers (O,) float32, a picture (H, W, C) uint8, or both by name."""
    numbers, pictures = [], []
    for part, value in values(space, obs):
        if is_picture(part):
            pictures.append(np.asarray(value, np.uint8).reshape(*part.shape[:2], -1))
        else:
            numbers.append(np.asarray(flatten(part, value), np.float32))
    vector = np.concatenate(numbers) if numbers else None
    image = np.concatenate(pictures, -1) if pictures else None
    return vector if image is None else image if vector is None else {"vector": vector, "image": image}


def values(space: Space, obs: Any) -> Iterator[tuple[Space, Any]]:
    """The leaves of a space, each with what was observed there."""
    if isinstance(space, (Dict, Tuple)):
        for key, part in inside(space):
            yield from values(part, obs[key])
    else:
        yield space, obs


def number_names(space: Space) -> list[str]:
    """A name for each of the numbers that `seen` gives."""
    names = []
    for name, part in leaves(space):
        if not is_picture(part):
            count = flatdim(part)
            names += [name or "x"] if count == 1 else [f"{name}[{i}]" if name else f"x[{i}]" for i in range(count)]
    return names


def told(space: Space) -> str:
    words = " ".join(str(space).split())
    return words if len(words) <= 150 else f"{words[:150]}…"


def native_action(space: Space, action: np.ndarray) -> Any:
    """Our action vector (A,) in the environment's own terms: a choice, several, or numbers between its bounds."""
    if isinstance(space, Discrete):
        return int(space.start) + int(action.argmax())
    if isinstance(space, (MultiDiscrete, MultiBinary)):
        choices = space.nvec.flatten() if isinstance(space, MultiDiscrete) else np.full(flatdim(space), 2)
        chosen = np.array([part.argmax() for part in np.split(action, np.cumsum(choices)[:-1])]).reshape(space.shape)
        return (chosen + getattr(space, "start", 0)).astype(space.dtype)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    share = (np.clip(action.reshape(space.shape).astype(np.float64), -1, 1) + 1) / 2
    if np.issubdtype(space.dtype, np.integer):  # each whole number gets an equal part
        return np.clip(np.floor(low + share * (high - low + 1)), low, high).astype(space.dtype)
    return np.clip(low + share * (high - low), low, high).astype(space.dtype)
