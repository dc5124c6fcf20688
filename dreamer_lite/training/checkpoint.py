"""Agents and runs on disk: written whole or not at all, loaded without running code."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
import errno
import os
from pathlib import Path
import pickle
import shlex
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..agent import Dreamer
from ..config import Config, Spaces
from ..errors import Refused, first_line, in_one_line, require
from .device import check_device, require_float32

FORMAT = "dreamer_lite checkpoint 2"
WRITER = ("PytorchStreamWriter", "inline_container", "unexpected pos", "iostream")
ADVICE = "give a file that dreamer_lite wrote, or train again"
OLD_MARK = ", made by a function"  # an ending of the environment's name, before env_from_function existed


def save(path: Path | str, agent: Dreamer, **rest: Any) -> None:
    """Write the agent, and anything else given (tensors, numbers, text, lists, dicts), to one file.

    The new file is written beside the old one and then replaces it, so a crash or a full disk leaves the old one
    intact.
    Raises Refused if it cannot be written, and for anything else among `rest`, which could not be read again.
    """
    require(agent, Dreamer, "save needs a Dreamer, the agent")
    for name, value in rest.items():
        if (other := not_data(value)) is not None:
            raise Refused(
                f"a checkpoint holds tensors, numbers, text, lists and dicts, but {name} holds a "
                f"{type(other).__name__}; convert it, for example with torch.as_tensor"
            )
    about = {"format": FORMAT, "config": agent.config.to_dict(), "spaces": dict(agent.spaces._asdict())}
    path = as_path(path, "a checkpoint")
    if not path.name:
        raise Refused(f"a checkpoint needs the name of a file, such as agent.pt; got {str(path)!r}")
    write(path, about | {"weights": agent.state_dict(), "rest": rest})


def not_data(value: Any) -> Any:
    """The first thing in it that a checkpoint can't hold; None if there is none."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if type(value) in (list, tuple):
        return next((other for part in value if (other := not_data(part)) is not None), None)
    return None if isinstance(value, Tensor) or type(value) in (int, float, bool, str, bytes, type(None)) else value


def as_path(path: Any, what: str) -> Path:
    """The path as a Path. Raises Refused for anything else; what: what it names, for the message."""
    require(path, (str, os.PathLike), f"{what} is named by text or a Path")
    if not str(path):
        raise Refused(f"{what} has an empty name; the current folder is called .")
    if "\0" in str(path):
        raise Refused(f"{what} can't be named {str(path)!r}, which holds a null character")
    return Path(path)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers, text, lists and dicts to a file, as `save` does."""
    beside = path.with_name(path.name + ".part")
    try:
        with open(beside, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        with suppress(OSError):  # such as a path through a file
            beside.unlink(missing_ok=True)
        # PyTorch's own writer turns a full disk into a RuntimeError.
        if (
            isinstance(error, OSError)
            or isinstance(error, RuntimeError)
            and any(words in str(error) for words in WRITER)
        ):
            raise Refused(
                f"checkpoint {path} cannot be written: {error}; free some space, or give another folder"
            ) from error
        raise


def find(path: Path | str) -> Path:
    """The checkpoint meant by `path`: a file, or a run's folder. Raises Refused if there is none."""
    path = as_path(path, "a checkpoint")
    try:
        file = path / "checkpoint.pt" if path.is_dir() else path
        found = file.is_file()
    except OSError as error:  # too long a name, or a folder that may not be entered
        raise Refused(f"checkpoint {path} cannot be read: {error}") from error
    if not found:
        raise Refused(f"there is no checkpoint at {file}; give a run's folder, or a .pt file that dreamer_lite wrote")
    return file


class Saved(NamedTuple):
    """The content of a checkpoint; `rest` is what a run needs to continue.

    file, written: where it was read, and when that file was written, in nanoseconds.
    """

    config: Config
    spaces: Spaces
    weights: dict[str, Tensor]
    rest: dict[str, Any]
    file: Path
    written: int

    def is_current(self) -> bool:
        """Whether no other process has written that file since."""
        return self.file.exists() and self.file.stat().st_mtime_ns == self.written


def read(
    path: Path | str, env: str | None = None, wrap: str | None = None, env_args: Sequence[str] | None = None
) -> Saved:
    """Read a checkpoint and check it. Only data is read (`weights_only`), so a hostile file cannot run code.

    env, wrap, env_args: given by the user. A name such as module:Name-v0 imports that module, and an argument may name
    a file, so a checkpoint with such words is refused unless the user gives them too: the user is trusted, the file
    isn't. Raises Refused for that, and for a file that is missing, damaged, or not ours.
    """
    file = find(path)
    written = file.stat().st_mtime_ns
    content = read_data(file)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Refused(f"checkpoint {file} is not a '{FORMAT}'; {ADVICE}")
    with refuse_other_versions(file):
        weights, rest = dict(content["weights"]), dict(content["rest"])
        config, spaces = read_config(content["config"]), Spaces(**content["spaces"]).plain
        saved = Saved(config, spaces, weights, rest, file.absolute(), written)
        bad = [name for name, value in saved.weights.items() if not value.isfinite().all()]
    if bad:
        raise Refused(
            f"checkpoint {file} holds weights that are not finite, such as {bad[0]}; train again, with lower learning "
            "rates"
        )
    for arg in saved.config.env_args if env_args is None else ():
        if set(arg) & set(":/\\"):
            raise Refused(
                f"checkpoint {file} makes its environment with {arg!r}, which may name a file or a module; if you "
                f"trust it, add --env_args {shlex.join(saved.config.env_args)}, or from Python "
                f"env_args={saved.config.env_args!r}"
            )
    for option, name, given in (("env", saved.config.env, env), ("wrap", saved.config.wrap, wrap)):
        if given is None and ":" in name:
            what = "environment" if option == "env" else "wrapper"
            raise Refused(
                f"checkpoint {file} names the {what} {name!r}, which would import a module; if you trust it, add "
                f"--{option} {shlex.quote(name)}, or from Python {option}={name!r}"
            )
    return saved


def read_config(settings: dict[str, Any]) -> Config:
    """The settings in a checkpoint, also of version 0.2, which marked environments from a function in their name."""
    if (env := settings["env"]).endswith(OLD_MARK):
        settings = {**settings, "env": env.removesuffix(OLD_MARK), "env_from_function": True}
    return Config(**settings)


def read_data(file: Path) -> Any:
    """Read a file that `write` wrote. Raises Refused for a file that is damaged or holds more than data."""
    try:
        # Mapped, so that restoring a replay buffer doesn't hold it twice. Windows could then not replace the file.
        return torch.load(file, map_location="cpu", weights_only=True, mmap=os.name == "posix")
    except pickle.UnpicklingError as error:
        raise Refused(f"checkpoint {file} is refused: it is damaged, or holds more than data; {ADVICE}") from error
    except Exception as error:  # whatever a damaged zip or pickle causes, with advice for those who wrote the file
        machine = isinstance(error, (OSError, MemoryError)) or "Cannot allocate memory" in str(error)
        if machine and getattr(error, "errno", None) != errno.EINVAL:  # which a file that was cut off causes
            raise Refused(f"checkpoint {file} cannot be read: {first_line(error)}") from error
        why = "it is damaged, or cut off, or no checkpoint" if file.stat().st_size else "it is empty"
        raise Refused(f"checkpoint {file} cannot be read: {why}; {ADVICE}") from error


def load(
    path: Path | str,
    device: torch.device | str = "cpu",
    env: str | None = None,
    wrap: str | None = None,
    env_args: Sequence[str] | None = None,
) -> Dreamer:
    """The agent of a checkpoint, ready for use: with averaged weights, if it has them.

    env, wrap, env_args: what it will play, instead of what it was trained on; wrap "" means none. Raises Refused as
    `read` does, and for weights that don't fit the sizes in the file.
    """
    if device is not None:  # as PyTorch has it: where it was
        device = check_device(device)
    return agent_of(read(path, env, wrap, env_args), path, env, wrap, env_args).to(device)


def agent_of(
    saved: Saved,
    path: Path | str,
    env: str | None = None,
    wrap: str | None = None,
    env_args: Sequence[str] | None = None,
) -> Dreamer:
    """The agent in `saved`; path: where that was read, for error messages."""
    given = {"env": env, "wrap": wrap, "env_args": env_args, "env_from_function": None if env is None else False}
    changed = replace(saved.config, **{name: value for name, value in given.items() if value is not None})
    require_float32()
    with refuse_other_versions(find(path)):
        agent = Dreamer(changed, saved.spaces)
        agent.load_state_dict(saved.weights)
    return agent


@contextmanager
def refuse_other_versions(file: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        what = in_one_line(error)[:200] or type(error).__name__  # PyTorch names the weights from line 2 on
        raise Refused(f"checkpoint {file} does not fit this version of dreamer_lite ({what}); {ADVICE}") from error
