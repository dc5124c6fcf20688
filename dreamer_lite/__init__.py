"""Dreamer Lite: DreamerV3 in PyTorch, small enough to read in one evening.

from dreamer_lite import Config, evaluate, load, train

card = train(Config.preset("small", seed=1), "runs/mine")   # learn CartPole
agent = load("runs/mine")
print(evaluate(agent, episodes=20).mean())
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

# What the package offers, by the module it is from. Each is imported when it is first used: PyTorch takes seconds to import.
FACE = {
    "Config": "config",
    "PRESETS": "config",
    "Refused": "config",
    "Dreamer": "agent",
    "Learner": "learner",
    "Replay": "replay",
    "Experience": "replay",
    "Spaces": "spaces",
    "make_envs": "envs",
    "train": "run.loop",
    "Diverged": "run.loop",
    "evaluate": "run.evaluate",
    "open_loop": "run.evaluate",
    "diagnose": "run.diagnose",
    "save": "run.checkpoint",
    "load": "run.checkpoint",
}
__all__ = list(FACE)


def __getattr__(name: str) -> Any:
    if name not in FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{FACE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *FACE])
