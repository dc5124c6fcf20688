"""How an environment is made: by its name with arguments, wrappers and images, or by a Python function."""

import ast
from collections.abc import Callable, Sequence
from contextlib import suppress
from ctypes.util import find_library
from dataclasses import replace
from functools import partial
from importlib import import_module
import json
import os
import re
import sys
import traceback
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator, parse_env_id
from gymnasium.spaces import Dict, Tuple

from ..config import Config
from ..errors import Refused, in_one_line
from .spaces import is_image, leaves
from .stepping import Envs, cannot_be_called, close, in_use, new_env
from .wrappers import ResizeImages, SelectParts

EnvFactory = Callable[[], gymnasium.Env]  # each call makes a new environment
MUJOCO = {"gymnasium_robotics": "3.12", "dm_control": "4"}  # from here on, some of their environments don't load
BY_NAME = ("env_args", "wrap", "pixels", "gray", "see", "ignore")  # settings for an environment that its name makes
NOT_THERE = (
    gymnasium.error.UnregisteredEnv,
    gymnasium.error.DeprecatedEnv,
    gymnasium.error.DependencyNotInstalled,
    ModuleNotFoundError,
)


def make_env(
    name: str,
    pixels: int = 0,
    gray: bool = False,
    args: Sequence[str] = (),
    wrap: str = "",
    render: bool = False,
    see: str = "",
    ignore: str = "",
) -> gymnasium.Env:
    """The Gymnasium environment with the ID `name`; `module:name` imports the module first.

    args: keyword arguments for the environment, each as key=value. wrap: module:function, which takes the environment
    and returns a wrapped one. pixels: render observations as images of this height and width; gray: convert images to
    grayscale. render: make it with render_mode="rgb_array", if it has that. see, ignore: which parts of a Dict to see.
    Raises Refused if there is no such environment, or if a package it needs is missing; errors inside its own code stay
    as they are, unless `args` were given, which may be what it failed on.
    """
    module, colon, plain = name.rpartition(":")
    if pixels or render:
        draw_without_a_screen()  # before the module: it may import MuJoCo
    try:
        if colon:
            import_named(module)
        parse_env_id(plain)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise cannot_be_made(name, error) from error
    options = read_args(args)
    try:
        env = make_drawing(plain, options) if pixels or render else gymnasium.make(plain, **options)
    except NOT_THERE as error:
        raise cannot_be_made(name, error) from error
    except SystemExit as error:
        raise cannot_be_made(name, RuntimeError("its constructor ended the program (SystemExit)")) from error
    except Exception as error:
        if advice := mujoco_advice(error):
            raise cannot_be_made(name, RuntimeError(advice)) from error
        if not args and not before_own_code(error):
            raise
        given = f"with --env_args {' '.join(args)}: " if args else ""
        raise cannot_be_made(name, RuntimeError(f"{given}{type(error).__name__}: {error}")) from error
    try:
        env = wrapped(env, wrap) if wrap else env
        env = SelectParts(env, see, ignore) if see or ignore else env
        return with_images(env, pixels, gray) if pixels or gray else env
    except NOT_THERE as error:
        raise cannot_be_made(name, error) from error


def before_own_code(error: BaseException) -> bool:
    """Whether Gymnasium raised an error, and no code of the environment's or wrapper's author took part."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    gymnasiums = all(module.startswith((__name__, "gymnasium.", "importlib")) for module in modules)
    return gymnasiums and (error.__cause__ is None or before_own_code(error.__cause__))


def make_drawing(name: str, options: dict[str, Any]) -> gymnasium.Env:
    """The environment with render_mode="rgb_array", or as it is if it doesn't take that.

    It is made once: an environment that closes a window or a simulator that others share would take theirs away.
    """
    spec = gymnasium.spec(name)
    entry = spec.entry_point if spec.entry_point is not None else spec.vector_entry_point
    modes = (getattr(load_env_creator(entry) if isinstance(entry, str) else entry, "metadata", {}) or {}).get(
        "render_modes"
    )
    if modes is not None and "rgb_array" not in modes:
        return gymnasium.make(name, **options)
    try:
        return gymnasium.make(name, **options, render_mode="rgb_array")
    except TypeError as error:
        if "render_mode" not in str(error):
            raise
        return gymnasium.make(name, **options)


def mujoco_advice(error: Exception) -> str:
    """Which mujoco to install, if a package that doesn't load with the present one raised the error; "" otherwise."""
    version = getattr(sys.modules.get("mujoco"), "__version__", "")
    frame, _ = list(traceback.walk_tb(error.__traceback__))[-1]
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    if not version or package not in MUJOCO or release(version) < release(MUJOCO[package]):
        return ""
    said = f"{type(error).__name__} {error}".strip()
    works = f'pip install "mujoco<{MUJOCO[package]}"'
    return f"{said} in {package} with mujoco {version}; it works with an older mujoco: {works}"


def release(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)][:2]


def read_args(args: Sequence[str]) -> dict[str, Any]:
    """The keyword arguments for the environment.

    Gymnasium's own checks are off: all that an environment returns is checked in `stepping`, in one line.
    """
    pairs = [read_arg(arg) for arg in args]
    if twice := [key for k, (key, _) in enumerate(pairs) if key in dict(pairs[:k])]:
        raise Refused(f"--env_args gives {twice[0]} twice: {' '.join(args)}; give it once")
    return {"disable_env_checker": True} | dict(pairs)


def draw_without_a_screen() -> None:
    """Tell pygame and MuJoCo so, if there is no screen."""
    if not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame fails otherwise
        if "mujoco" not in sys.modules:  # it reads this once, when it is imported
            os.environ.setdefault(
                "MUJOCO_GL", "osmesa" if find_library("OSMesa") and not find_library("EGL") else "egl"
            )


def read_arg(arg: str) -> tuple[str, Any]:
    """key=value; the value is read as JSON, as a Python literal, or as text."""
    key, equals, value = arg.partition("=")
    if not equals or not key.isidentifier() or key in ("id", "render_mode"):
        raise Refused(f"--env_args takes key=value, such as is_slippery=false (not id or render_mode), got {arg!r}")
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, TypeError):  # TypeError: a set of lists
            return key, read(value)
    return key, value


def with_images(env: gymnasium.Env, pixels: int, gray: bool) -> gymnasium.Env:
    """The environment with images as observations: its own if it has some, otherwise what it renders."""
    from gymnasium.wrappers import AddRenderObservation, GrayscaleObservation, ResizeObservation

    try:
        if any(is_image(part) for _, part in leaves(env.observation_space)):
            if isinstance(env.observation_space, (Dict, Tuple)):
                return ResizeImages(env, pixels, gray)
        elif pixels:
            if isinstance(env, SelectParts):
                raise Refused(
                    "--pixels would put an image in the place of all that --see and --ignore left, since it holds "
                    "none; leave one of them out, or let the agent see an image of the environment's own"
                )
            if env.render_mode != "rgb_array":
                raise Refused(
                    "--pixels needs an environment that renders images (rgb_array); "
                    f"{env.spec.id if env.spec else env} does not"
                )
            env.reset(
                seed=0
            )  # AddRenderObservation resets without a seed; what an environment builds once is drawn here
            env = AddRenderObservation(env)
        if not is_image(env.observation_space):
            raise Refused("--gray needs images; add --pixels 64, for example")
        shape = env.observation_space.shape
        if gray and len(shape) == 3 and shape[-1] not in (1, 3):
            raise Refused(f"--gray needs colour images, with three channels; these have the shape {shape}")
        env = ResizeObservation(env, (pixels, pixels)) if pixels else env
        return GrayscaleObservation(env, keep_dim=True) if gray and shape[-1] == 3 and len(shape) == 3 else env
    except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise Refused(
            f'--pixels needs more packages ({error}); install them: pip install "dreamer-lite[pixels]"'
        ) from error
    except Exception as error:
        if isinstance(error, Refused) or not before_own_code(error):
            raise
        raise Refused(
            f"--pixels and --gray can't convert images of {env.observation_space}: {in_one_line(error)}"
        ) from error


def wrapped(env: gymnasium.Env, wrap: str) -> gymnasium.Env:
    """The environment, wrapped by the function module:function. Raises Refused if that returns anything else."""
    function = named_function(wrap)
    try:
        made = function(env) if callable(function) else None
    except (Exception, SystemExit) as error:
        if not isinstance(error, SystemExit) and not before_own_code(error):
            raise
        raise Refused(
            f"--wrap {wrap} can't wrap this environment: {type(error).__name__}: {in_one_line(error)}"
        ) from error
    if not isinstance(made, gymnasium.Env):
        raise Refused(
            f"--wrap needs a function that takes an environment and returns one; {wrap!r} is, or returns, a "
            f"{type(made if callable(function) else function).__name__}"
        )
    return made


def import_named(module: str) -> Any:
    """Import a module the user named. Raises ModuleNotFoundError if it, or something it imports, is missing."""
    if not all(part.isidentifier() for part in module.split(".")):
        raise gymnasium.error.Error(f"{module!r} is not a module name")
    try:
        return import_module(module)
    except SystemExit as error:
        raise gymnasium.error.Error(f"importing the module {module} ended the program (SystemExit)") from error
    except ModuleNotFoundError as error:
        if error.name is None or module != error.name and not module.startswith(f"{error.name}."):
            raise ModuleNotFoundError(f"the module {module} cannot be imported: {error}", name=error.name) from error
        raise


def named_function(name: str) -> Callable[[gymnasium.Env], gymnasium.Env]:
    """The function called module:function. Raises Refused if there is none."""
    module, _, function = name.rpartition(":")
    try:
        return getattr(import_named(module), function)
    except (gymnasium.error.Error, ModuleNotFoundError, AttributeError) as error:
        raise Refused(
            f"--wrap needs module:function, a function that takes an environment and returns one; got {name!r} "
            f"({error})"
        ) from error


def cannot_be_made(name: str, error: Exception) -> Refused:
    return Refused(f"environment {name!r} cannot be made: {in_one_line(error)}")


def env_factory(env: str | Config | EnvFactory, render: bool = False) -> EnvFactory:
    """A function that makes the environment: with this ID, with a run's settings, or the given function itself.

    Raises Refused for settings whose environments came from a Python function, since their name alone can't make one.
    """
    if isinstance(env, Config):
        if env.env_from_function:
            raise Refused(
                f"environment {env.env!r} was made by a Python function, so its name can't make it; from Python, pass "
                "the function again (make_env= to train and diagnose, env= to evaluate and dream), or name a "
                "registered environment that is the same (--env)"
            )
        return partial(
            make_env, env.env, env.pixels, env.gray, env.env_args, env.wrap, render, see=env.see, ignore=env.ignore
        )
    if isinstance(env, (gymnasium.Env, gymnasium.vector.VectorEnv)) or not (isinstance(env, str) or callable(env)):
        raise Refused(
            "an environment is a registered ID, or a function that returns a new gymnasium.Env at each call, such as "
            f"lambda: MyEnv(); got {type(env).__name__}"
        )
    if isinstance(env, str):
        return partial(make_env, env)
    if why := cannot_be_called(env):
        raise Refused(
            f"the function that makes the environment must work without arguments: {why}; wrap it in a lambda"
        )
    return env


def make_envs(
    env: str | Config | EnvFactory, count: int = 1, seed: int = 0, remember: bool = True, seconds: float = 0
) -> Envs:
    """`count` environments, made as by `env_factory` and with the options of `Envs`.

    Raises Refused for unknown names and unsupported spaces.
    """
    if not isinstance(seconds, (int, float)) or not seconds >= 0:
        raise Refused(f"seconds must be a number, 0 or more, got {seconds!r}")
    return Envs(env_factory(env), count, seed, remember, seconds)


def refuse_idle_settings(config: Config) -> None:
    """Raises Refused for settings that change nothing where a function makes the environment."""
    if idle := [name for name in BY_NAME if getattr(config, name) != getattr(Config, name)]:
        raise Refused(
            f"make_env makes the whole environment, so these settings would change nothing: {', '.join(idle)}; leave "
            "them out, and do in that function what they should do"
        )


def config_for(config: Config, make_env: EnvFactory | None) -> Config:
    """The settings for environments that a function makes, marked as such.

    Where they name no environment, they get a name: its ID, or else its class. The function is called twice, to see
    that each call makes another one; raises Refused if it doesn't. A run that needs a single one calls it itself, and
    nothing does before, if the name is known: some environments can't be made again.
    """
    if isinstance(make_env, str):
        raise Refused(
            "make_env takes a function that returns a new gymnasium.Env at each call; to name an environment, give "
            f"Config(env={make_env!r})"
        )
    if make_env is None or config.env_from_function:
        return config
    factory, given = env_factory(make_env), config.env if config.env != Config.env else ""
    plain = isinstance(make_env, type) and not issubclass(make_env, gymnasium.Wrapper)  # a wrapper's name isn't used
    if config.eval_in == "training" and config.envs == 1 and (given or plain):
        return replace(config, env=given or make_env.__name__, env_from_function=True)
    env = new_env(factory)
    name = given or (env.spec.id if env.spec else type(env.unwrapped).__name__)
    close(env, name)  # so that an environment that can exist only once can be made again
    try:
        close(new_env(factory), name)
    finally:
        in_use.pop(id(env.unwrapped), None)
    return replace(config, env=name, env_from_function=True)
