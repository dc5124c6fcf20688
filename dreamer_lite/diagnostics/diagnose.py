"""Run the checks on an agent or a run: gather the evidence, then one check after another (appendix A1)."""

from collections.abc import Sequence
import copy
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from ..agent import Dreamer
from ..envs.making import EnvFactory, env_factory
from ..envs.stepping import Envs, episode_seed
from ..errors import Refused, require
from ..evaluation.evaluate import copies
from ..evaluation.rollout import rollout
from ..replay import Experience, obs_of_kinds, stack
from ..rng import seeded
from ..rssm import State
from ..training.checkpoint import agent_of, read
from ..training.device import require_float32
from .checks import CHECKS, Evidence, Finding

COPIES, STEPS = 8, 200  # environments side by side, and steps in each; fewer copies play longer
FEWEST, MOST = 20, 600  # rows of a replay buffer: with fewer it is not used; the newest of more


def diagnose(
    run: Dreamer | Path | str, make_env: EnvFactory | None = None, checks: Sequence[str] = tuple(CHECKS), **trusted: Any
) -> list[Finding]:
    """Run the checks on an agent, or on a run's folder or checkpoint: one finding for each check, in the order given.

    The agent plays 8 × 200 steps first, or 1,600 in one environment where copies would disturb each other. A run also
    gives its metrics and its replay buffer, that of the first environment and process. Some checks examine what was
    stored and learned; others, such as `by_hand` and `flow`, examine the code that runs now. make_env: makes the
    environment, instead of the name in the settings; or, for a run, env, wrap and env_args as `load` takes them. Raises
    Refused as `load` does, for an unknown check, and for an agent whose weights are not finite.
    """
    require(checks, (list, tuple), "checks takes a list of names")
    if unknown := [name for name in checks if name not in CHECKS]:
        raise Refused(f"there is no check called {unknown[0]!r}; choose from {', '.join(CHECKS)}")
    evidence = gather_evidence(run, make_env, **trusted)
    return [run_check(evidence, name) for name in checks]


def run_check(evidence: Evidence, name: str) -> Finding:
    """Run one check by name; the agent and PyTorch's random state stay as they were."""
    with seeded("cpu", 0), torch.inference_mode(False), torch.enable_grad():  # a widget draws without gradients
        return CHECKS[name](evidence)


def gather_evidence(run: Dreamer | Path | str, make_env: EnvFactory | None = None, **trusted: Any) -> Evidence:
    """Everything that the checks need, on the CPU. Raises Refused if the agent's weights are not finite."""
    require_float32()
    if unknown := trusted.keys() - {"env", "wrap", "env_args"}:
        raise Refused(f"diagnose knows nothing called {', '.join(sorted(unknown))}; it takes env, wrap and env_args")
    if isinstance(run, Dreamer):
        if trusted:
            raise Refused(
                f"{', '.join(trusted)}: an agent plays the environment in its settings; for another one give make_env"
            )
        agent, rest = (run if run.device.type == "cpu" else copy.deepcopy(run).cpu()), {}
    else:
        saved = read(run, **trusted)
        agent, rest = agent_of(saved, run, **trusted), saved.rest
    if broken := [name for name, weights in agent.named_parameters() if not weights.isfinite().all()]:
        raise Refused(f"the agent can't be examined: its weights are not finite, first in {broken[0]}")
    make = env_factory(agent.config if make_env is None else make_env)
    count = min(COPIES, copies(agent.config))
    played, states = play(agent, make, count, COPIES * STEPS // count)
    replay = rest.get("replay", {"added": 0})
    replayed = recall(replay) if replay["added"] >= FEWEST else played.map(lambda part: part[0])
    return Evidence(agent, replayed, played, states, rest.get("rows", []), cut_short(make))


def recall(replay: dict[str, Any]) -> Experience:
    """The newest rows of a replay buffer's first ring, (L, …), the oldest first."""
    data = {name: ring[0] for name, ring in replay["data"].items()}
    held = len(data["reward"])
    order = (torch.arange(held) + replay["added"]) % held
    rows = {name: part[order[-MOST:]] for name, part in data.items()}
    obs = obs_of_kinds({kind: rows[kind] for kind in ("vector", "image") if kind in rows})
    return Experience(obs, *(rows[name] for name in Experience._fields[1:]))


@torch.no_grad()
def play(agent: Dreamer, make: EnvFactory, count: int = COPIES, steps: int = STEPS) -> tuple[Experience, State]:
    """What the agent experiences in `count` environments, across episodes, (E, T, …), and its states meanwhile."""
    envs = Envs(make, count, 0, remember=False, seconds=agent.config.env_seconds)
    if not agent.spaces.fit(envs.spaces):
        envs.close()
        raise Refused(
            f"an agent in this environment {envs.spaces}, but this agent {agent.spaces}; give one with the same spaces"
        )
    with seeded("cpu", 0):
        rows, carries = zip(*rollout(agent, envs, steps))
    envs.close()
    return stack(rows, 1), State(*(torch.stack(part, 1) for part in zip(*(carry.state for carry in carries))))


def cut_short(make: EnvFactory, episodes: int = 3, steps: int = 3) -> Tensor:
    """Play episodes with a time limit. For each one that it cuts off, (n,): is it stored as ended or as going on?"""
    limited = partial(gymnasium.wrappers.TimeLimit, max_episode_steps=steps)
    envs = Envs(lambda: Witness(limited(make())), 1, episode_seed(0, 0, 0), remember=False)
    wrong, action = [], np.zeros((1, envs.spaces.action_size), np.float32)
    action[0, np.cumsum([0, *envs.spaces.choices[:-1]])] = envs.spaces.discrete
    for _ in range(episodes * (steps + 1)):  # one row more than steps, which begins the episode
        row = envs.step(action)
        if envs.envs[0].cut:
            wrong.append(bool(row.is_terminal[0] or not row.is_last[0]))
    envs.close()
    return torch.tensor(wrong[:episodes])


class Witness(gymnasium.Wrapper):
    """Remembers whether a time limit cut off the episode in the last step."""

    cut = False

    def reset(self, **options: Any) -> tuple:
        self.cut = False
        return super().reset(**options)

    def step(self, action: Any) -> tuple:
        out = super().step(action)
        self.cut = bool(out[3] and not out[2])
        return out
