"""Wrappers for Dict observations: choose their parts, and resize the images among them."""

from collections.abc import Callable
from functools import cache
import re
import sys
from typing import Any

import gymnasium
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Tuple
import numpy as np

from ..errors import Refused
from .spaces import as_declared, is_image, shorten, to_bytes


class SelectParts(gymnasium.ObservationWrapper):
    """Only those parts of a Dict observation whose names match `see`, and don't match `ignore`.

    Both are regular expressions that must match the whole name; "" means no choice. Raises Refused for an observation
    that is no Dict, for a pattern that is no regular expression, and if nothing is left. Prints a line if `ignore`
    matches no name.
    """

    def __init__(self, env: gymnasium.Env, see: str = "", ignore: str = ""):
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, Dict):
            raise Refused(f"--see and --ignore choose parts of a Dict observation; this one is {shorten(space)}")
        names = ", ".join(map(str, space.spaces))
        chosen: dict[str, set[Any]] = {}
        for option, pattern in (("see", see), ("ignore", ignore)):
            try:
                chosen[option] = {key for key in space.spaces if pattern and re.fullmatch(pattern, str(key))}
            except re.error as error:
                raise Refused(
                    f"--see and --ignore take regular expressions, such as 'image|direction'; got {option}={pattern!r} "
                    f"({error})"
                ) from error
        keys = [key for key in space.spaces if (not see or key in chosen["see"]) and key not in chosen["ignore"]]
        if not keys:
            raise Refused(f"--see and --ignore leave nothing to see; the parts are {names}")
        if ignore and not chosen["ignore"]:
            print_once(f"--ignore {ignore} matches the whole name of no part, so it leaves none out; there are {names}")
        self.observation_space = Dict({key: space[key] for key in keys})

    def observation(self, observation: dict[Any, Any]) -> dict[Any, Any]:
        return {key: observation[key] for key in self.observation_space.spaces}


@cache
def print_once(words: str) -> None:
    """Each copy of an environment has wrappers of its own, and would say the same."""
    print(f"dreamer_lite: {words}", file=sys.stderr)


class ResizeImages(gymnasium.ObservationWrapper):
    """The images inside a Dict or Tuple observation resized, converted to grayscale, or both; numbers stay as they are.

    size: height and width; 0 keeps them. gray: convert images with three channels.
    """

    def __init__(self, env: gymnasium.Env, size: int = 0, gray: bool = False):
        super().__init__(env)
        self.size, self.gray = size, gray
        self.observation_space = map_images(self.space, env.observation_space, env.observation_space)

    def observation(self, observation: Any) -> Any:
        return map_images(
            lambda space, image: self.image(to_bytes(space, as_declared(space, image))),
            self.env.observation_space,
            observation,
        )

    def space(self, space: Box, _: Any) -> Box:
        return Box(0, 255, self.image(np.zeros((*space.shape, 1)[:3], np.uint8)).shape, np.uint8)

    def image(self, image: np.ndarray) -> np.ndarray:
        """Bytes (H, W, C) resized and converted."""
        if self.size:
            import cv2

            image = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_AREA).reshape(
                self.size, self.size, -1
            )
        if self.gray and image.shape[-1] == 3:
            image = np.rint(image @ np.array([0.2125, 0.7154, 0.0721])).astype(np.uint8)[..., None]
        return image


def map_images(function: Callable[[Box, Any], Any], space: Space, thing: Any) -> Any:
    """What has the structure of a space, an observation or the space itself, with `function` applied to its images."""
    if isinstance(space, Dict):
        made = {key: map_images(function, part, thing[key]) for key, part in space.spaces.items()}
        return Dict(made) if thing is space else made
    if isinstance(space, Tuple):
        made = tuple(map_images(function, part, thing[k]) for k, part in enumerate(space.spaces))
        return Tuple(made) if thing is space else made
    return function(space, thing) if is_image(space) else thing
