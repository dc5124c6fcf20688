"""Environments side by side, experience out, and a state that can be saved (notebook 01)."""

import ast
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
import json
import os
import signal
import sys
import threading
from typing import Any

import gymnasium
from gymnasium.envs.registration import parse_env_id
import numpy as np
import torch

from .config import Config, Refused
from .replay import Experience, Obs, each
from .spaces import is_picture, native_action, seen, spaces_of

Make = Callable[[], gymnasium.Env]
MADE = ", made by a function"  # behind the name of an environment that no name makes
REMEMBERED = 10_000  # actions of an unfinished episode that are kept, so that it can be played again


class Envs:
    """`count` copies of one environment, each made by `make()`. Actions are vectors (E, A): one-hot choices, or numbers in [-1, 1].

    An environment that gave its last row is reset by the next `step`, whatever its action, as in the official
    `embodied/core/driver.py`; so the very first `step` resets them all. Each episode has its own seed, made from the
    run's seed, the environment and the episode's number. That and the actions since then are all that has to be saved:
    a restored environment plays its episode again up to where it was. remember: whether to keep these actions.
    seconds: how long a step may take, 0 for ever. Raises Refused for spaces that are not supported, for a step that takes longer, and for
    one that gives numbers which are not finite.
    """

    def __init__(self, make: Make, count: int = 1, seed: int = 0, remember: bool = True, seconds: float = 0):
        self.envs = [make() for _ in range(count)]
        env = self.envs[0]
        self.seed, self.remember, self.seconds = seed, remember, seconds
        self.spaces = spaces_of(env.observation_space, env.action_space)
        self.threshold = env.spec.reward_threshold if env.spec else None
        self.episode = [-1] * count
        self.history: list[list[np.ndarray] | None] = [[] for _ in range(count)]  # None: too long to be kept
        self.obs: list[Obs | None] = [None] * count  # the last ones
        self.done = [True] * count
        self.steps = [0] * count  # of the episodes

    def __len__(self) -> int:
        return len(self.envs)

    def step(self, actions: np.ndarray, which: Sequence[int] | None = None) -> Experience:
        """Take one action (E, A) in each environment, or in `which` of them; arrays (E, …) come out."""
        which = range(len(self)) if which is None else which
        parts = [
            self.reset_one(i) if self.done[i] else self.step_one(i, action) for i, action in zip(which, actions, strict=True)
        ]
        return stacked(parts)

    def reset_one(self, i: int) -> Experience:
        self.episode[i] += 1
        self.history[i], self.done[i], self.steps[i] = [], False, 0
        with at_work(self, i), within(self.seconds):
            obs, _ = self.envs[i].reset(seed=episode_seed(self.seed, i, self.episode[i]))
            self.obs[i] = finite(seen(self.envs[i].observation_space, obs))
        nothing = np.zeros(self.spaces.action_size, np.float32)
        return Experience(self.obs[i], nothing, np.float32(0), np.bool_(True), np.bool_(False), np.bool_(False))

    def step_one(self, i: int, action: np.ndarray) -> Experience:
        if self.remember and self.history[i] is not None:
            self.history[i].append(action)
            if len(self.history[i]) > REMEMBERED:
                self.history[i] = None
        self.steps[i] += 1
        with at_work(self, i), within(self.seconds):
            obs, reward, terminated, truncated, _ = self.envs[i].step(native_action(self.envs[i].action_space, action))
            self.obs[i] = finite(seen(self.envs[i].observation_space, obs), reward)
        self.done[i] = bool(terminated or truncated)
        return Experience(self.obs[i], action, np.float32(reward), np.bool_(False), np.bool_(self.done[i]), np.bool_(terminated))

    def close(self) -> None:
        for env in self.envs:
            env.close()

    def state_dict(self) -> dict[str, Any]:
        history = [None if h is None else torch.from_numpy(np.stack(h)) if h else [] for h in self.history]
        obs = [None if x is None else each(lambda part: torch.from_numpy(part.copy()), x) for x in self.obs]
        return {"episode": list(self.episode), "done": list(self.done), "history": history, "obs": obs}

    def load_state_dict(self, state: dict[str, Any]) -> dict[int, str]:
        """Play each unfinished episode again. What comes out is compared with the last observation that was stored.

        An environment that can't be restored so begins a new episode; returns what is to be said of each such environment.
        """
        lost = {}
        for i, (episode, done, history, obs) in enumerate(zip(*(state[name] for name in ("episode", "done", "history", "obs")))):
            self.episode[i] = episode
            if done or episode < 0:  # the next step begins an episode anyway
                continue
            if history is None:
                why = f"its episode had more than {REMEMBERED:,} steps"
            else:
                why = (
                    None
                    if self.play_again(i, history, obs)
                    else "played again, its episode came out otherwise (is it random beyond its seed?)"
                )
            self.done[i] = why is not None
            if why:
                lost[i] = f"environment {i} could not be restored: {why}; it begins a new episode"
        return lost

    def play_again(self, i: int, history: Sequence[torch.Tensor], obs: Obs) -> bool:
        """Play the current episode of an environment again. Returns whether it ends where it was."""
        self.episode[i] -= 1
        self.reset_one(i)
        for action in history:
            if self.done[i]:
                return False
            self.step_one(i, action.numpy())
        pairs = [(self.obs[i][kind], obs[kind]) for kind in obs] if isinstance(obs, dict) else [(self.obs[i], obs)]
        return not self.done[i] and all(np.array_equal(now, before.numpy()) for now, before in pairs)


def stacked(parts: Sequence[Experience]) -> Experience:
    """One step of several environments, from one of each."""
    seen, *others = zip(*parts)
    together = {kind: np.stack([obs[kind] for obs in seen]) for kind in seen[0]} if isinstance(seen[0], dict) else np.stack(seen)
    return Experience(together, *map(np.stack, others))


def episode_seed(seed: int, env: int, episode: int) -> int:
    """The seed of an episode, from the run's seed, the environment's number and the episode's."""
    return int(np.random.SeedSequence([seed, env, episode]).generate_state(1)[0])


class NotFinite(Refused):
    """An environment gave a number that is none."""


def finite(obs: Obs, reward: float = 0.0) -> Obs:
    """The observation. Raises NotFinite if something in it, or the reward, is not finite."""
    vector = obs["vector"] if isinstance(obs, dict) else obs
    if not np.isfinite(reward):
        raise NotFinite(f"gave the reward {reward}")
    if vector.dtype != np.uint8 and not np.isfinite(vector).all():
        raise NotFinite(f"showed {vector[~np.isfinite(vector)][0]} among its numbers")
    return obs


def place(i: int, step: int, episode: int) -> str:
    """Which environment, and when: how a sentence about it begins."""
    return f"environment {i}, in step {step} of its episode {episode},"


@contextmanager
def at_work(envs: Envs, i: int) -> Iterator[None]:
    """Inside, environment i is at work. What goes wrong there is told with its number, episode and step; its own errors stay as they are."""
    where = place(i, envs.steps[i], envs.episode[i])
    try:
        yield
    except (NotFinite, TookTooLong) as error:
        raise Refused(f"{where} {error}; the last checkpoint is kept") from error
    except Exception as error:
        note = f"{where} raised this; the last checkpoint is kept"
        error.add_note(note) if hasattr(error, "add_note") else print(f"dreamer_lite: {note}", file=sys.stderr)  # Python 3.10
        raise


class TookTooLong(Refused):
    """An environment did not answer in time."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Inside, Python code is broken off after so many seconds, with TookTooLong; 0: never. Without effect where there is no timer (Windows)."""
    if not seconds or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise TookTooLong(f"took more than {seconds:g} seconds, the limit by --env_seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


NOT_THERE = (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv, gymnasium.error.DependencyNotInstalled)


def make_env(
    name: str, pixels: int = 0, gray: bool = False, args: Sequence[str] = (), wrap: str = "", render: bool = False
) -> gymnasium.Env:
    """The gymnasium environment called `name`, or `module:name`, which imports the module.

    args: what the environment is made with, each as key=value. wrap: module:function, which is given the environment and returns another
    one. pixels: height and width of pictures to be seen instead of what there is to see; gray: without colours. render: let it draw
    itself, if it can. Raises Refused where there
    is no such environment, or where what it needs is not installed; an error inside its own code stays as it is.
    """
    if name.endswith(MADE):
        raise Refused(
            f"environment {name!r} can't be made by its name; give the function again, as make_env or env, or another environment by its name"
        )
    module, colon, plain = name.rpartition(":")
    try:
        if colon:
            import_named(module)
        parse_env_id(plain)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise cannot_be_made(name, error) from error
    options = dict(read_arg(arg) for arg in args)
    try:
        env = gymnasium.make(plain, **options)
        if (pixels or render) and "rgb_array" in env.metadata.get("render_modes", []):
            env.close()
            if not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
                os.environ.setdefault(
                    "SDL_VIDEODRIVER", "dummy"
                )  # else pygame complains that there is no screen, which nobody needs here
            env = gymnasium.make(plain, **options, render_mode="rgb_array")
        env = wrapped(env, wrap) if wrap else env
        return with_pictures(env, pixels, gray) if pixels or gray else env
    except NOT_THERE as error:
        raise cannot_be_made(name, error) from error
    except (TypeError, ValueError, KeyError) as error:
        if not args or isinstance(error, Refused):
            raise
        raise cannot_be_made(name, error) from error


def read_arg(arg: str) -> tuple[str, Any]:
    """key=value, with the value as in JSON or in Python, or as text."""
    key, equals, value = arg.partition("=")
    if not equals or not key.isidentifier() or key in ("id", "render_mode"):
        raise Refused(f"--env_args takes key=value, for instance is_slippery=false, but not id and render_mode; got {arg!r}")
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError):
            return key, read(value)
    return key, value


def with_pictures(env: gymnasium.Env, pixels: int, gray: bool) -> gymnasium.Env:
    """The environment, shown as pictures: its own if it has some, else those that it renders."""
    from gymnasium.wrappers import AddRenderObservation, GrayscaleObservation, ResizeObservation

    try:
        if pixels and not is_picture(env.observation_space):
            if env.render_mode != "rgb_array":
                raise Refused(
                    f"--pixels needs an environment that renders pictures (rgb_array); {env.spec.id if env.spec else env} does not"
                )
            env = AddRenderObservation(env)
        if not is_picture(env.observation_space):
            raise Refused("--gray needs pictures; add --pixels 64, for instance")
        shape = env.observation_space.shape
        if gray and len(shape) == 3 and shape[-1] not in (1, 3):
            raise Refused(f"--gray needs pictures in colour, with three channels; these have the shape {shape}")
        env = ResizeObservation(env, (pixels, pixels)) if pixels else env
        return GrayscaleObservation(env, keep_dim=True) if gray and shape[-1] == 3 and len(shape) == 3 else env
    except (AssertionError, ValueError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(
            f"--pixels and --gray can't change pictures of {env.observation_space}: {' '.join(str(error).split())}"
        ) from error
    except gymnasium.error.DependencyNotInstalled as error:
        raise Refused(f'--pixels needs more packages ({error}); install them with: pip install "dreamer-lite[pixels]"') from error


def wrapped(env: gymnasium.Env, wrap: str) -> gymnasium.Env:
    """What the function module:function makes of an environment. Raises Refused if that is none."""
    function = named_function(wrap)
    made = function(env) if callable(function) else None
    if not isinstance(made, gymnasium.Env):
        raise Refused(
            f"--wrap takes a function that is given an environment and returns one; {wrap!r} is, or returns, a {type(made if callable(function) else function).__name__}"
        )
    return made


def import_named(module: str) -> Any:
    """Import a module that the user names. Raises ModuleNotFoundError if it is not there, RuntimeError if something that it needs is not."""
    if not all(part.isidentifier() for part in module.split(".")):
        raise gymnasium.error.Error(f"{module!r} is no name of a module")
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module != error.name and not module.startswith(f"{error.name}."):
            raise RuntimeError(f"the module {module} cannot be imported") from error
        raise


def named_function(name: str) -> Callable[[gymnasium.Env], gymnasium.Env]:
    """The function called module:function. Raises Refused if there is none."""
    module, _, function = name.rpartition(":")
    try:
        return getattr(import_named(module), function)
    except (gymnasium.error.Error, ModuleNotFoundError, AttributeError) as error:
        raise Refused(
            f"--wrap takes module:function, a function that is given an environment and returns one; got {name!r} ({error})"
        ) from error


def cannot_be_made(name: str, error: Exception) -> Refused:
    return Refused(f"environment {name!r} cannot be made: {' '.join(str(error).split())}")


def maker(env: str | Config | Make, render: bool = False) -> Make:
    """What makes an environment: by its name, as the settings of a run say, or as it is."""
    if isinstance(env, Config):
        return partial(make_env, env.env, env.pixels, env.gray, env.env_args, env.wrap, render)
    return partial(make_env, env) if isinstance(env, str) else env


def make_envs(env: str | Config | Make, count: int = 1, seed: int = 0, remember: bool = True, seconds: float = 0) -> Envs:
    """`count` environments: of a name, of a run's settings, or made by a function. Raises Refused for unknown names and unsupported spaces."""
    return Envs(maker(env), count, seed, remember, seconds)
