"""Environments stepped side by side: episodes and their seeds, and a state that can be saved (notebook 01)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
import inspect
import math
from numbers import Real
import signal
import sys
import threading
import time
from typing import Any
import weakref
import zlib

import gymnasium
import numpy as np
import torch

from ..config import Spaces
from ..errors import Refused, first_line, require_whole
from ..replay import Experience, Obs, map_obs, obs_by_kind, stack
from .spaces import BadOutput, native_action, shorten, spaces_of, to_agent_obs

LARGEST = float(np.finfo(np.float32).max)  # reward
ENDED = "ended the program (SystemExit, as exit() and quit() raise it)"
MAX_REPLAYED_ACTIONS = 10_000  # of an unfinished episode, kept to replay it after a resume
# Environments that are being played in, by the id of the innermost one. Playing in one twice mixes up its episodes.
in_use: "weakref.WeakValueDictionary[int, gymnasium.Env]" = weakref.WeakValueDictionary()


class Envs:
    """`count` copies of one environment, each made by `make()`.

    Actions are vectors (E, A): one-hot choices, numbers in [-1, 1], or both. After the last step of an episode the next
    `step` resets, whatever its action, as in the official `embodied/core/driver.py`; so the very first `step` resets
    them all.

    Each episode has its own seed, made from the run's seed, the environment's number and the episode's number. That
    seed and the actions since are all that must be saved: a restored environment replays its episode up to where it
    was.

    remember: whether to keep these actions. seconds: how long a step may take, 0 for no limit. borrowed: `make` returns
    an environment that belongs to someone else, who closes it. Raises Refused for unsupported spaces,
    for a `make` that returns an environment in use, for a step that takes longer, for numbers that are not finite, and
    for an environment that ends the program.
    """

    def __init__(
        self,
        make: Callable[[], gymnasium.Env],
        count: int = 1,
        seed: int = 0,
        remember: bool = True,
        seconds: float = 0,
        borrowed: bool = False,
    ):
        count, seed = require_whole(count=(count, 1), seed=(seed, 0))
        self.envs: list[gymnasium.Env] = []
        self.borrowed = borrowed
        with closed_on_error(self):
            for i in range(count):
                self.envs.append(make() if borrowed else new_env(make))
                spaces = declared_spaces(self.envs[i])
                if i == 0:
                    self.spaces = spaces
                elif spaces != self.spaces:
                    raise Refused(
                        f"copy {i} of the environment {spaces}, but copy 0 {self.spaces}; all copies need the same "
                        "spaces"
                    )
            self.threshold = threshold_of(self.envs[0])
        # As declared at the start: an environment may not change them, and wrappers take time to ask.
        self.native = [(env.observation_space, env.action_space) for env in self.envs]
        self.seed, self.remember, self.seconds = seed, remember, seconds
        self.episode = [-1] * count
        self.history: list[list[np.ndarray] | None] = [[] for _ in range(count)]  # None: too long to keep
        self.checksum = [0] * count  # of all that the current episodes showed and paid, to compare after a resume
        self.obs: list[Obs | None] = [None] * count  # the latest
        self.done = [True] * count
        self.steps = [0] * count  # within the current episodes

    def __len__(self) -> int:
        return len(self.envs)

    def step(self, actions: np.ndarray, which: Sequence[int] | None = None) -> Experience:
        """Take one action (E, A) in each environment, or in those numbered `which`; returns arrays (E, …)."""
        which, actions = range(len(self)) if which is None else which, np.asarray(actions)
        if actions.shape != (len(which), self.spaces.action_size):
            raise Refused(
                f"actions of shape {actions.shape} were given; {len(which)} environments need "
                f"({len(which)}, {self.spaces.action_size})"
            )
        parts = [
            self.reset_one(i) if self.done[i] else self.step_one(i, action)
            for i, action in zip(which, actions, strict=True)
        ]
        return stack(parts)

    def reset_one(self, i: int) -> Experience:
        self.episode[i] += 1
        self.history[i], self.steps[i] = [], 0
        with reporting_errors(self, i), within(self.seconds):
            obs = checked_reset(self.envs[i].reset(seed=episode_seed(self.seed, i, self.episode[i])))
            refuse_other_spaces(self.envs[i], self.native[i])
            self.obs[i] = finite(to_agent_obs(self.native[i][0], obs))
        self.done[i] = False
        self.checksum[i] = checksum(0, self.obs[i], 0.0, False, False) if self.remember else 0
        nothing = np.zeros(self.spaces.action_size, np.float32)
        return Experience(self.obs[i], nothing, np.float32(0), np.bool_(True), np.bool_(False), np.bool_(False))

    def step_one(self, i: int, action: np.ndarray) -> Experience:
        if self.remember and self.history[i] is not None:
            self.history[i].append(action.copy())
            if len(self.history[i]) > MAX_REPLAYED_ACTIONS:
                self.history[i] = None
        self.steps[i] += 1
        with reporting_errors(self, i), within(self.seconds):
            out = step_in(self.envs[i], native_action(self.native[i][1], action))
            obs, reward, terminated, truncated = checked_step(out)
            self.obs[i] = finite(to_agent_obs(self.native[i][0], obs))
        self.done[i] = terminated or truncated
        if self.remember and self.history[i] is not None:
            self.checksum[i] = checksum(self.checksum[i], self.obs[i], reward, terminated, truncated)
        return Experience(
            self.obs[i], action, np.float32(reward), np.bool_(False), np.bool_(self.done[i]), np.bool_(terminated)
        )

    def close(self) -> None:
        """Close all environments."""
        for i, env in enumerate(() if self.borrowed else self.envs):
            in_use.pop(id(env.unwrapped), None)
            close(env, f"environment {i}")

    def state_dict(self) -> dict[str, Any]:
        history = [None if h is None else torch.from_numpy(np.stack(h)) if h else [] for h in self.history]
        obs = [None if x is None else map_obs(lambda part: torch.from_numpy(part.copy()), x) for x in self.obs]
        kept = {"episode": list(self.episode), "done": list(self.done), "history": history, "obs": obs}
        return kept | {"checksum": list(self.checksum)}

    def load_state_dict(self, state: dict[str, Any]) -> dict[int, str]:
        """Replay each unfinished episode, and compare its observations, rewards and ends with those before.

        An environment that can't be restored this way starts a new episode; returns a message for each of them.
        """
        lost = {}
        checksums = state.get("checksum", [None] * len(self))  # version 0.3.0 had none
        for i, (episode, done, history, obs) in enumerate(
            zip(*(state[name] for name in ("episode", "done", "history", "obs")))
        ):
            self.episode[i] = episode
            if done or episode < 0:  # the next step resets anyway
                continue
            if history is None:
                why = f"its episode had more than {MAX_REPLAYED_ACTIONS:,} steps"
            else:
                why = (
                    None
                    if self.play_again(i, history, obs) and checksums[i] in (None, self.checksum[i])
                    else "replayed with the same seed and actions, its episode went differently (was the environment "
                    "changed, or does it use randomness beyond its seed?)"
                )
            self.done[i] = why is not None
            if why:
                lost[i] = f"environment {i} could not be restored: {why}; it begins a new episode"
        return lost

    def play_again(self, i: int, history: Sequence[torch.Tensor], obs: Obs) -> bool:
        """Replay an environment's current episode. Returns whether it ends where it was."""
        self.episode[i] -= 1
        self.reset_one(i)
        for action in history:
            if self.done[i]:
                return False
            self.step_one(i, action.numpy())
        now, before = obs_by_kind(self.obs[i]), obs_by_kind(obs)
        return not self.done[i] and all(np.array_equal(now[kind], before[kind].numpy()) for kind in before)


@contextmanager
def closed_on_error(envs: Any) -> Iterator[None]:
    """Inside, an error closes the environments: some hold a device, or can be made only once."""
    try:
        yield
    except BaseException:
        envs.close()
        raise


def new_env(make: Callable[[], gymnasium.Env]) -> gymnasium.Env:
    """An environment that `make` makes. Raises Refused if it is none, or one that is being played in."""
    try:
        env = make()
    except SystemExit as error:
        raise Refused("the function that makes the environment ended the program (SystemExit)") from error
    if not isinstance(env, gymnasium.Env):
        raise Refused(f"the function that makes the environment must return a gymnasium.Env, got {type(env).__name__}")
    if id(env.unwrapped) in in_use:
        raise Refused(
            "the function that makes the environment returned the same object again; it must make a new one at each "
            "call, such as lambda: MyEnv(), since training and evaluations play side by side"
        )
    in_use[id(env.unwrapped)] = env.unwrapped
    return env


def declared_spaces(env: gymnasium.Env) -> Spaces:
    """The sizes of an environment.

    Raises Refused for a space that is missing or empty, and for methods that can't be called as Gymnasium calls them.
    """
    inner, name = env.unwrapped, type(env.unwrapped).__name__
    for kind in ("observation_space", "action_space"):
        try:
            space = getattr(env, kind)
        except AttributeError as error:
            raise Refused(f"the environment {name} has no {kind} ({first_line(error)})") from error
        if not isinstance(space, gymnasium.Space):
            raise Refused(
                f"the {kind} of the environment {name} must be one of gymnasium.spaces, got {shorten(repr(space))} "
                f"({type(space).__module__}.{type(space).__qualname__})"
            )
    spaces = spaces_of(env.observation_space, env.action_space)
    for method, call, given in (("reset", "reset(seed=…)", {"seed": 0}), ("step", "step(action)", {})):
        function = getattr(inner, method, None)
        missing = method == "reset" and getattr(type(inner), method, None) is gymnasium.Env.reset
        if not callable(function) or missing:
            raise Refused(f"the environment {name} has no method {method}(); Gymnasium's API needs reset and step")
        if why := cannot_be_called(function, *() if given else (None,), **given):
            raise Refused(f"the environment {name} can't be called as Gymnasium calls it, {call}: {why}")
    return spaces


def cannot_be_called(function: Callable[..., Any], *args: Any, **named: Any) -> str:
    """Why a function can't be called with these arguments; "" if it can, or if it doesn't say."""
    try:
        inspect.signature(function).bind(*args, **named)
    except ValueError:  # of a function that is no Python code
        return ""
    except TypeError as error:
        return str(error)
    return ""


def refuse_other_spaces(env: gymnasium.Env, native: tuple[Any, Any]) -> None:
    """Raises BadOutput if an environment declares other spaces than at the start, which are native."""
    for name, before in zip(("observation_space", "action_space"), native):
        now = getattr(env, name)
        if now is not before and now != before:
            raise BadOutput(f"changed its {name} from {shorten(before)} to {shorten(now)}; it must stay the same")


def threshold_of(env: gymnasium.Env) -> float | None:
    """The mean return that solves the task, if it is known. Raises Refused for one that is no finite number."""
    threshold = getattr(env.spec, "reward_threshold", None)
    if threshold is None:
        return None
    with suppress(OverflowError):  # a whole number beyond all floats
        if isinstance(threshold, Real) and not isinstance(threshold, bool) and math.isfinite(threshold):
            return float(threshold)
    raise Refused(f"the reward_threshold of {env.spec.id!r} must be a finite number or None, got {threshold!r}")


def close(env: gymnasium.Env, name: str) -> None:
    """Close it. What its close() raises is printed, so that it hides no other error and ends no program."""
    try:
        env.close()
    except (Exception, SystemExit) as error:
        ended = "ended the program" if isinstance(error, SystemExit) else f"failed: {first_line(error)}"
        print(f"dreamer_lite: close() of {name} {ended} ({type(error).__name__})", file=sys.stderr)


def checksum(before: int, obs: Obs, reward: float, terminated: bool, truncated: bool) -> int:
    """A checksum of an episode so far, from the one before this step."""
    for part in obs_by_kind(obs).values():
        before = zlib.crc32(np.ascontiguousarray(part), before)
    return zlib.crc32(np.float64([reward, terminated, truncated]), before)


def episode_seed(seed: int, env: int, episode: int) -> int:
    """The seed of an episode, from the run's seed, the environment's number and the episode's."""
    return int(np.random.SeedSequence([seed, env, episode]).generate_state(1)[0])


def finite(obs: Obs) -> Obs:
    """The observation. Raises BadOutput if a number in it is NaN or infinite."""
    vector = obs_by_kind(obs).get("vector")
    if vector is not None and not np.isfinite(vector).all():
        raise BadOutput(f"returned {vector[~np.isfinite(vector)][0]} in its observation; all numbers must be finite")
    return obs


def checked_reset(out: Any) -> Any:
    """The observation that `reset` returned. Raises BadOutput for anything but Gymnasium's two values."""
    if not isinstance(out, tuple) or len(out) != 2:
        raise BadOutput(f"returned {count_of(out)} from reset(), and Gymnasium's API has two: obs, info")
    check_info(out[1])
    return out[0]


def step_in(env: gymnasium.Env, action: Any) -> Any:
    """What the environment's `step` returns. Raises BadOutput if it has none of its own."""
    try:
        return env.step(action)
    except NotImplementedError as error:
        if type(env.unwrapped).step is not gymnasium.Env.step:
            raise
        raise BadOutput("has no method step() of its own; Gymnasium's API needs reset and step") from error


def checked_step(out: Any) -> tuple[Any, float, bool, bool]:
    """What `step` returned, without info: observation, one number, two flags. Raises BadOutput for anything else."""
    if not isinstance(out, tuple) or len(out) != 5:
        raise BadOutput(
            f"returned {count_of(out)} from step(), and Gymnasium's API has five: obs, reward, terminated, truncated, "
            "info. An environment of the older API with four needs a wrapper"
        )
    obs, reward, terminated, truncated, info = out
    check_info(info)
    reward = one_number("reward", reward)
    if abs(reward) > LARGEST:
        raise BadOutput(f"returned the reward {reward:g}, which is too large for float32; scale it")
    return obs, reward, one_flag("terminated", terminated), one_flag("truncated", truncated)


def check_info(info: Any) -> None:
    """Raises BadOutput for an info that is no dict: the values may be in another order."""
    if not isinstance(info, Mapping):
        raise BadOutput(f"returned the info {shorten(repr(info))}; it must be a dict, and comes last")


def count_of(out: Any) -> str:
    return f"{len(out)} values" if isinstance(out, tuple) else f"a {type(out).__name__}"


def one_flag(name: str, value: Any) -> bool:
    """The value as a flag. Raises BadOutput for anything but true or false, or 1 or 0."""
    if value is True or value is False:
        return value
    number = one_number(f"flag {name}", value)
    if number not in (0, 1):
        raise BadOutput(f"returned the flag {name} {shorten(repr(value))}; it must be true or false")
    return bool(number)


def one_number(name: str, value: Any) -> float:
    """The value as a number; an array of any library with one number is fine. Raises BadOutput for anything else."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            if array.dtype.kind in "cSU" or isinstance(value, (str, bytes)):
                raise TypeError("text, or a complex number")
            array = np.asarray(float(value))
        if np.ma.is_masked(value):
            raise ValueError("masked")
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # RuntimeError: a tensor with a gradient
        raise BadOutput(f"returned the {name} {shorten(repr(value))}; it must be one number") from error
    if array.size != 1:
        raise BadOutput(
            f"returned the {name} {shorten(value)} of shape {array.shape}; it must be one number. A wrapper "
            "(--wrap) can combine several"
        )
    number = float(array.reshape(()))
    if not np.isfinite(number):
        raise BadOutput(f"returned the {name} {number}; it must be finite")
    return number


def place(i: int, step: int, episode: int) -> str:
    """The environment, step and episode, to start a sentence with."""
    return f"environment {i}, step {step} of episode {episode},"


@contextmanager
def reporting_errors(envs: Envs, i: int) -> Iterator[None]:
    """Inside, code of environment i runs; its errors are reported with environment, episode and step.

    The environment's own errors keep their type.
    """
    where = place(i, envs.steps[i], envs.episode[i])
    kept = "; the last checkpoint is kept" if envs.remember else ""  # a run has one, an evaluation hasn't
    try:
        yield
    except (BadOutput, TookTooLong) as error:
        raise Refused(f"{where} {error}{kept}") from error
    except SystemExit as error:
        raise Refused(f"{where} {ENDED}{kept}") from error
    except Exception as error:
        note = f"{where} raised this error{kept}"
        # Python 3.10 has no notes.
        error.add_note(note) if hasattr(error, "add_note") else print(f"dreamer_lite: {note}", file=sys.stderr)
        raise


FOREVER = 1e9  # seconds; a timer takes no infinity


class TookTooLong(Refused):
    """An environment did not answer in time."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Inside, Python code is interrupted after this many seconds, with TookTooLong; 0: never.

    No effect without a timer (Windows), or in another thread than the main one. A timer that the program has set goes
    on afterwards.
    """
    if not seconds or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise TookTooLong(f"took more than {seconds:g} seconds, the limit set by --env_seconds")

    before, began = signal.signal(signal.SIGALRM, stop), time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, min(seconds, FOREVER))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 1e-6), interval)
