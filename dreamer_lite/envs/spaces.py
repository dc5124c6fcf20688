"""Gymnasium spaces as the agent's vectors and images, and action vectors as native actions (notebooks 01, A3)."""

from collections.abc import Iterator
from typing import Any

from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.spaces.utils import flatdim, flatten
import numpy as np

from ..config import Spaces
from ..errors import Refused, first_line
from ..replay import Obs, obs_of_kinds


def spaces_of(observation: Space, action: Space) -> Spaces:
    """The sizes for a pair of Gymnasium spaces. Raises Refused for what is not supported."""
    numbers, image = observation_sizes(observation)
    check_action_space(action)
    choices, count = action_sizes(action)
    return Spaces(numbers, sum(choices) + count, not count, image, choices, observed_choices(observation)).plain


def observation_sizes(observation: Space) -> tuple[int, tuple[int, ...]]:
    """How many numbers an observation has, and the height, width and channels of its image, () if there is none.

    This is the one place that decides which observations are supported. Raises Refused for all others.
    """
    images, numbers = [], 0
    for name, space in leaves(observation):
        if is_image(space):
            images.append((*space.shape, 1)[:3])
        elif isinstance(space, (Box, Discrete, MultiDiscrete, MultiBinary)):
            numbers += flatdim(space)
        else:
            part = name.split(".")[0]
            without = f"leave it out with --ignore {part}, or convert" if isinstance(observation, Dict) else "convert"
            raise Refused(
                f"observation space {shorten(observation)} is not supported: {shorten(space)}"
                f"{f' at {name}' if name else ''} has no fixed size. dreamer_lite sees Box, Discrete, MultiDiscrete, "
                f"MultiBinary, and a Dict or Tuple of them; {without} it with Gymnasium's TransformObservation"
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
    return numbers, tuple(map(int, image))


def observed_choices(observation: Space) -> tuple[tuple[int, int], ...]:
    """Which numbers of an observation are choices, as in `Spaces.obs_choices`.

    Official: `embodied/jax/nets.py: DictConcat`, which knows them by their type too. There whole numbers in a `Box` are
    choices as well; here only bools are.
    """
    found, at = [], 0
    for _, space in leaves(observation):
        if is_image(space):
            continue
        flags = space.dtype == np.bool_ if isinstance(space, Box) else isinstance(space, MultiBinary)
        sizes = (1,) * flatdim(space) if flags else choices_of(space)
        found += [(at + before, size) for before, size in zip(np.cumsum([0, *sizes]).tolist(), sizes)]
        at += flatdim(space)
    return tuple(found)


def check_action_space(action: Space) -> None:
    """Raises Refused for actions that are not supported; this is the one place that decides it."""
    parts = [part for _, part in leaves(action)]
    if not all(isinstance(part, (Box, Discrete, MultiDiscrete, MultiBinary)) for part in parts):
        raise Refused(
            f"action space {shorten(action)} is not supported; dreamer_lite acts in Discrete, MultiDiscrete, "
            "MultiBinary, in a Box with finite bounds, and in a Dict or Tuple of them. Convert it with Gymnasium's "
            "TransformAction"
        )
    if any(isinstance(part, Box) and endless(part) for part in parts):
        raise Refused(
            f"action space {shorten(action)} is not supported: every number needs finite bounds, below 2^31 - 1. "
            "Set them in your environment, or with Gymnasium's TransformAction and a bounded space"
        )
    if action_sizes(action) == ((), 0):
        raise Refused(f"action space {shorten(action)} is empty: there is nothing to choose")


def action_sizes(space: Space) -> tuple[tuple[int, ...], int]:
    """What an action space is made of: how many options each choice has, and how many numbers there are."""
    parts = [part for _, part in leaves(space)]
    choices = tuple(n for part in parts for n in choices_of(part))
    return choices, sum(flatdim(part) for part in parts if isinstance(part, Box))


def choices_of(space: Space) -> tuple[int, ...]:
    """How many options each choice of a space has; () if it isn't made of choices."""
    if isinstance(space, Discrete):
        return (int(space.n),)
    if isinstance(space, MultiDiscrete):
        return tuple(int(n) for n in space.nvec.flatten())
    return (2,) * flatdim(space) if isinstance(space, MultiBinary) else ()


def endless(space: Box) -> bool:
    """Whether a Box has no bounds, or some at or beyond ±(2^31 - 1), which say as little."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return not space.is_bounded() or bool((np.maximum(-low, high) >= 2.0**31 - 1).any())


def leaves(space: Space, name: str = "") -> Iterator[tuple[str, Space]]:
    """The spaces inside a Dict or Tuple with their names, in a fixed order; any other space is its own leaf."""
    if isinstance(space, (Dict, Tuple)):
        for key, part in children(space):
            yield from leaves(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, space


def children(space: Dict | Tuple) -> list[tuple[Any, Space]]:
    if isinstance(space, Tuple):
        return list(enumerate(space.spaces))
    return sorted(space.spaces.items(), key=lambda pair: str(pair[0]))  # keys may be of several types


def is_image(space: Space) -> bool:
    """Whether a space is an image: height, width and perhaps channels; brightness from 0 to 255, or to 1 in floats.

    Bytes that end far below 255 are codes, such as the pieces on a board, and what is smaller than 8 × 8 is a board
    too: both are seen as numbers. Official: `dreamerv3/rssm.py: Encoder` (imgkeys). Raises Refused where channels seem
    to come first.
    """
    if not isinstance(space, Box) or len(space.shape) < 2:
        return False
    low, high, kind = space.low.min(), space.high.max(), space.dtype.kind
    bright = high > 127 if space.dtype == np.uint8 else low == 0 and (high == 255 or kind == "f" and high == 1)
    return bool(bright) and min(image_size(space)) >= 8


def image_size(space: Box) -> tuple[int, int]:
    """Height and width of an image. Raises Refused for stacked images, and where channels seem to come first."""
    shape = space.shape
    first_is_least = len(shape) == 3 and shape[0] < min(shape[1:]) and min(shape[1:]) >= 8
    if len(shape) > 3 or first_is_least:
        raise Refused(
            f"images of shape {shape} are not supported: the shape must be (height, width, channels), with stacked "
            "images as channels too. Transpose them in your environment, or with --wrap and Gymnasium's "
            "TransformObservation"
        )
    return shape[:2]


class BadOutput(Refused):
    """An environment returned something else than it declared, or than Gymnasium's API has."""


def to_agent_obs(space: Space, obs: Any) -> Obs:
    """An environment's observation for the agent: numbers (O,) float32, an image (H, W, C) uint8, or both by name.

    Raises BadOutput if the observation is not what the space declares: other keys, shape, kind of number or range.
    Numbers of a Box may leave its bounds: they are not clipped, and nothing depends on the bounds.
    """
    numbers, images = [], []
    for name, part, value in leaf_values(space, obs):
        array = as_declared(part, value, name)
        if is_image(part):
            images.append(to_bytes(part, array))
        elif isinstance(part, Box):
            numbers.append(array.ravel().astype(np.float32) if array.dtype == np.float32 else to_float32(array))
        else:
            numbers.append(np.asarray(flatten(part, array.astype(part.dtype)[()]), np.float32))
    kinds = {"vector": np.concatenate(numbers)} if numbers else {}
    kinds |= {"image": np.concatenate(images, -1)} if images else {}
    return obs_of_kinds(kinds)


def as_declared(space: Space, value: Any, name: str = "") -> np.ndarray:
    """The value as an array, in the shape of its space. Raises BadOutput if it is not what the space declares."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # rows of several lengths; a tensor with a gradient
        raise BadOutput(
            f"returned {shorten(value)}{f' in {name}' if name else ''}, which is not an array ({first_line(error)})"
        ) from error
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise BadOutput(f"returned {shorten(value)}{f' in {name}' if name else ''}, in which numbers are masked")
    usual = isinstance(space, Box) and (space.dtype == np.uint8 or space.dtype.kind == "f" and len(space.shape) == 1)
    if usual and array.shape == space.shape and array.dtype == space.dtype:
        return array  # nothing can be wrong; every step passes here, so it must be quick
    where = f" in {name}" if name else ""
    if array.dtype.kind not in "biuf":
        raise BadOutput(f"returned {shorten(value)}{where}, but its observation space there is {shorten(space)}")
    if np.squeeze(array).shape != tuple(n for n in space.shape if n != 1):
        raise BadOutput(f"returned an observation of shape {array.shape}{where}, but its space declares {space.shape}")
    array = array.reshape(space.shape)
    whole = space.dtype.kind in "biu"
    if array.dtype.kind == "f" and (whole or is_image(space)) and not np.isfinite(array).all():
        raise BadOutput(f"returned {array[~np.isfinite(array)][0]} in its observation{where}")
    if whole and array.dtype.kind == "f" and (array % 1).any():
        fraction = array[array % 1 != 0][0]
        raise BadOutput(
            f"returned {fraction:g} in its observation{where}, but its space declares whole numbers ({space.dtype})"
        )
    low, high = limits(space)
    if (outside := (array < low) | (array > high)).any():
        raise BadOutput(
            f"returned {array[outside][0]:g} in its observation{where}, which is outside its space {shorten(space)}"
        )
    return array


def to_float32(array: np.ndarray) -> np.ndarray:
    """The numbers (O,). Raises BadOutput for one that is too large."""
    try:
        with np.errstate(over="raise", under="ignore", invalid="ignore"):  # the program may have set others
            return array.ravel().astype(np.float32)
    except FloatingPointError as error:
        worst = array.flat[np.nanargmax(np.where(np.isfinite(array), np.abs(array), 0))]
        raise BadOutput(f"returned {worst:g} in its observation, which is too large for float32; scale it") from error


def limits(space: Space) -> tuple[Any, Any]:
    """The lowest and highest number allowed: choices and brightness have limits, other integers those of their type."""
    if isinstance(space, (Discrete, MultiDiscrete)):
        count = space.n if isinstance(space, Discrete) else space.nvec
        return space.start, space.start + count - 1
    if isinstance(space, MultiBinary):
        return 0, 1
    if is_image(space):
        high = 255 if space.high.max() > 1 else 1
        slack = 1e-3 * high if space.dtype.kind == "f" else 0  # for rounding
        return -slack, high + slack
    if space.dtype == np.bool_:
        return 0, 1
    whole = np.issubdtype(space.dtype, np.integer)
    return (np.iinfo(space.dtype).min, np.iinfo(space.dtype).max) if whole else (-np.inf, np.inf)


def to_bytes(space: Box, array: np.ndarray) -> np.ndarray:
    """An image as bytes with channels, (H, W, C)."""
    scale = 255 if space.high.max() <= 1 else 1  # by the space: its values may come in another type, such as bool
    if array.dtype == np.uint8 and scale == 1:
        return array.reshape(*space.shape[:2], -1)
    return np.rint(array.astype(np.float32) * scale).astype(np.uint8).reshape(*space.shape[:2], -1)


def leaf_values(space: Space, obs: Any, name: str = "") -> Iterator[tuple[str, Space, Any]]:
    """The leaves of a space with names, each with its part of the observation. Raises BadOutput if one is missing."""
    if isinstance(space, (Dict, Tuple)):
        if isinstance(obs, (dict, tuple, list)) and len(obs) > len(space.spaces):
            more = [*obs][len(space.spaces) :] if not isinstance(obs, dict) else [*set(obs) - set(space.spaces)]
            raise BadOutput(
                f"returned an observation{f' in {name}' if name else ''} with {len(obs)} parts, more than its space "
                f"{shorten(space)} has: {shorten(', '.join(map(repr, more)))}"
            )
        for key, part in children(space):
            inner = f"{name}.{key}" if name else str(key)
            try:
                value = obs[key]
            except (KeyError, IndexError, TypeError) as error:
                raise BadOutput(
                    f"returned an observation without {inner}, which its space {shorten(space)} has"
                ) from error
            yield from leaf_values(part, value, inner)
    else:
        yield name, space, obs


def number_names(space: Space) -> list[str]:
    """A name for each number in the vector of `to_agent_obs`."""
    names = []
    for name, part in leaves(space):
        if not is_image(part):
            count = flatdim(part)
            names += [name or "x"] if count == 1 else [f"{name}[{i}]" if name else f"x[{i}]" for i in range(count)]
    return names


def shorten(thing: Any) -> str:
    words = " ".join(str(thing).split())
    return words if len(words) <= 150 else f"{words[:150]}…"


def native_action(space: Space, action: np.ndarray) -> Any:
    """Our action vector (A,) as the environment's native action: choices, numbers within their bounds, or both."""
    if isinstance(space, (Dict, Tuple)):
        parts, made = children(space), []
        chosen, numbers = np.split(action, [sum(action_sizes(space)[0])])
        for _, part in parts:
            choices, count = action_sizes(part)
            made.append(native_action(part, np.concatenate([chosen[: sum(choices)], numbers[:count]])))
            chosen, numbers = chosen[sum(choices) :], numbers[count:]
        return tuple(made) if isinstance(space, Tuple) else {key: one for (key, _), one in zip(parts, made)}
    if isinstance(space, Discrete):
        return int(space.start) + int(action.argmax())
    if isinstance(space, (MultiDiscrete, MultiBinary)):
        chosen = [part.argmax() for part in np.split(action, np.cumsum(choices_of(space))[:-1])]
        return (np.array(chosen).reshape(space.shape) + getattr(space, "start", 0)).astype(space.dtype)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    share = (np.clip(action.reshape(space.shape).astype(np.float64), -1, 1) + 1) / 2
    if np.issubdtype(space.dtype, np.integer):  # each integer gets an equal share of [-1, 1]
        return np.clip(np.floor(low + share * (high - low + 1)), low, high).astype(space.dtype)
    return np.clip(low + share * (high - low), low, high).astype(space.dtype)
