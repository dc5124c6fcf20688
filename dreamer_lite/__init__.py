"""Dreamer Lite: DreamerV3 in PyTorch, small enough to read in one evening.

from dreamer_lite import Config, evaluate, load, train

card = train(Config.preset("small", seed=6), "runs/mine")   # learn CartPole
agent = load("runs/mine")
print(evaluate(agent, episodes=20).mean())
"""

from importlib import import_module

__version__ = "0.3.0"

# The public names and their modules. Each is imported at its first use, since importing PyTorch takes seconds.
EXPORTS = {
    "Config": "config",
    "PRESETS": "config",
    "Refused": "errors",
    "Spaces": "config",
    "Dreamer": "agent",
    "Learner": "learner",
    "Replay": "replay",
    "Experience": "replay",
    "make_envs": "envs",
    "train": "training.loop",
    "Interrupted": "training.loop",
    "Diverged": "training.state",
    "evaluate": "evaluation.evaluate",
    "open_loop": "evaluation.dreams",
    "diagnose": "diagnostics.diagnose",
    "save": "training.checkpoint",
    "load": "training.checkpoint",
}
__all__ = list(EXPORTS)


def __getattr__(name: str):  # returns Any; `typing` would take most of the time before Ctrl-C is quiet
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{EXPORTS[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *EXPORTS])
