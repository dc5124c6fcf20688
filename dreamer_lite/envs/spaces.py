"""Gymnasium spaces as the agent's vectors and images, and action vectors as native actions (notebooks 01, A3)."""

from collections.abc import Iterator
from typing import Any

from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.spaces.utils import flatdim, flatten
import numpy as np

from ..config import Spaces
from ..errors import Refused
from ..replay import Obs, obs_of_kinds


def spaces_of(observation: Space, action: Space) -> Spaces:
    """The sizes for a pair of Gymnasium spaces; this is the one place that decides what is supported.

    Raises Refused for everything else.
    """
    images, numbers = [], 0
    for name, space in leaves(observation):
        if isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) == 4:
            image_size(space)
        if is_image(space):
            images.append((*space.shape, 1)[:3])
        elif isinstance(space, (Box, Discrete, MultiDiscrete, MultiBinary)):
            numbers += flatdim(space)
        else:
            raise Refused(
                f"observation space {shorten(observation)} is not supported: {shorten(space)}"
                f"{f' at {name}' if name else ''} has no fixed size. dreamer_lite sees Box, Discrete, MultiDiscrete, "
                "MultiBinary, and a Dict or Tuple of them; convert it with Gymnasium's TransformObservation"
            )
    if len({image[:2] for image in images}) > 1:
        raise Refused(
            f"the images in the observation space {shorten(observation)} differ in size; they are stacked as the "
            "channels of one image, so all need the same height and width. Resize them with Gymnasium's "
            "TransformObservation"
        )
    image = (*images[0][:2], sum(image[2] for image in images)) if images else ()
    if not image and not numbers:
        raise Refused(f"observation space {shorten(observation)} is empty")
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
            f"action space {shorten(action)} is not supported: every number needs finite bounds. Set them in your "
            "environment, or with Gymnasium's TransformAction and a bounded space"
        )
    raise Refused(
        f"action space {shorten(action)} is not supported; dreamer_lite acts in Discrete, MultiDiscrete, MultiBinary, "
        "and in a Box with finite bounds. Convert it with Gymnasium's TransformAction"
    )


def leaves(space: Space, name: str = "") -> Iterator[tuple[str, Space]]:
    """The spaces inside a Dict or Tuple with their names, in a fixed order; any other space is its own leaf."""
    if isinstance(space, (Dict, Tuple)):
        for key, part in children(space):
            yield from leaves(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, space


def children(space: Dict | Tuple) -> list[tuple[Any, Space]]:
    return sorted(space.spaces.items()) if isinstance(space, Dict) else list(enumerate(space.spaces))


def is_image(space: Space) -> bool:
    """Whether a space is an image: bytes with height and width, channels last if there are any.

    Below 8 × 8 it is a board, seen as numbers. Official: `dreamerv3/rssm.py: Encoder` (imgkeys).
    """
    return (
        isinstance(space, Box)
        and space.dtype == np.uint8
        and len(space.shape) in (2, 3)
        and min(image_size(space)) >= 8
    )


def image_size(space: Box) -> tuple[int, int]:
    """Height and width. Raises Refused for stacked images, and where channels seem to come first."""
    if len(space.shape) == 4 or len(space.shape) == 3 and space.shape[0] <= 4 and min(space.shape[1:]) >= 8:
        raise Refused(
            f"images of shape {space.shape} are not supported: the shape must be (height, width, channels), with "
            "stacked images as channels too. Transpose them with Gymnasium's TransformObservation"
        )
    return space.shape[:2]


def to_agent_obs(space: Space, obs: Any) -> Obs:
    """An environment's observation for the agent: numbers (O,) float32, an image (H, W, C) uint8, or both by name."""
    numbers, images = [], []
    for part, value in leaf_values(space, obs):
        if is_image(part):
            images.append(np.asarray(value, np.uint8).reshape(*part.shape[:2], -1))
        else:
            numbers.append(np.asarray(flatten(part, value), np.float32))
    kinds = {"vector": np.concatenate(numbers)} if numbers else {}
    kinds |= {"image": np.concatenate(images, -1)} if images else {}
    return obs_of_kinds(kinds)


def leaf_values(space: Space, obs: Any) -> Iterator[tuple[Space, Any]]:
    """The leaves of a space, each with its part of the observation."""
    if isinstance(space, (Dict, Tuple)):
        for key, part in children(space):
            yield from leaf_values(part, obs[key])
    else:
        yield space, obs


def number_names(space: Space) -> list[str]:
    """A name for each number in the vector of `to_agent_obs`."""
    names = []
    for name, part in leaves(space):
        if not is_image(part):
            count = flatdim(part)
            names += [name or "x"] if count == 1 else [f"{name}[{i}]" if name else f"x[{i}]" for i in range(count)]
    return names


def shorten(space: Space) -> str:
    words = " ".join(str(space).split())
    return words if len(words) <= 150 else f"{words[:150]}…"


def native_action(space: Space, action: np.ndarray) -> Any:
    """Our action vector (A,) as the environment's native action: a choice, several, or numbers within its bounds."""
    if isinstance(space, Discrete):
        return int(space.start) + int(action.argmax())
    if isinstance(space, (MultiDiscrete, MultiBinary)):
        choices = space.nvec.flatten() if isinstance(space, MultiDiscrete) else np.full(flatdim(space), 2)
        chosen = np.array([part.argmax() for part in np.split(action, np.cumsum(choices)[:-1])]).reshape(space.shape)
        return (chosen + getattr(space, "start", 0)).astype(space.dtype)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    share = (np.clip(action.reshape(space.shape).astype(np.float64), -1, 1) + 1) / 2
    if np.issubdtype(space.dtype, np.integer):  # each integer gets an equal share of [-1, 1]
        return np.clip(np.floor(low + share * (high - low + 1)), low, high).astype(space.dtype)
    return np.clip(low + share * (high - low), low, high).astype(space.dtype)
