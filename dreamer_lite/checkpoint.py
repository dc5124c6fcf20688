"""Agents and runs on disk: written whole or not at all, loaded without running code."""

import os
from pathlib import Path
import pickle
from typing import Any

import torch

from .agent import Dreamer
from .config import Config

FORMAT = "dreamer_lite checkpoint 1"


def save(path: Path | str, agent: Dreamer, **rest: Any) -> None:
    """Write the agent, and whatever else is given (tensors, numbers, text, lists, dicts), to one file.

    The file is written beside its place and then moved there, so a crash or a full disk leaves the old one intact.
    Raises OSError if it cannot be written.
    """
    path = Path(path)
    content = {"format": FORMAT, "config": agent.config.to_dict(), "observation": agent.observation,
               "actions": agent.actions, "discrete": agent.discrete, "weights": agent.state_dict(), "rest": rest}
    beside = path.with_name(path.name + ".part")
    try:
        with open(beside, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, RuntimeError):  # PyTorch's writer turns a full disk into this
            raise OSError(f"checkpoint {path} cannot be written: {error}") from error
        raise


def find(path: Path | str) -> Path:
    """The checkpoint meant by `path`: a file, or a run's folder. Raises ValueError if there is none."""
    path = Path(path)
    file = path / "checkpoint.pt" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"there is no checkpoint at {file}; give a run's folder, or a .pt file that dreamer_lite wrote")
    return file


def load(path: Path | str, device: str = "cpu") -> tuple[Dreamer, dict[str, Any]]:
    """The agent of a checkpoint, and what else was saved with it.

    Only data is read (`weights_only=True`), so a hostile file cannot run code. Raises ValueError, in one line, for a file
    that is missing, damaged, refused or not ours.
    """
    file = find(path)
    advice = "give a file that dreamer_lite wrote, or train again"
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"checkpoint {file} is refused: it is damaged, or holds more than data; {advice}") from error
    except Exception as error:  # whatever a damaged zip or pickle provokes
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"checkpoint {file} cannot be read ({reason[:100]}); {advice}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"checkpoint {file} is not a '{FORMAT}'; {advice}")
    try:
        shape = content["observation"], content["actions"], content["discrete"]
        agent = Dreamer(Config(**content["config"]), *shape, device)
        agent.load_state_dict(content["weights"])
        return agent, content["rest"]
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"checkpoint {file} does not fit this version of dreamer_lite ({reason[:100]}); {advice}") from error
