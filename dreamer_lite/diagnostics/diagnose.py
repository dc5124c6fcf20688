"""What looks healthy in a run and what doesn't: the looks of `looks.py`, one after the other, or on one page (appendix A1)."""

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
from ..errors import Refused
from ..evaluation.rollout import rollout
from ..replay import Experience, obs_of_kinds, stack
from ..rng import seeded
from ..rssm import State
from ..training.checkpoint import agent_of, read
from .checks import CHECKS, Evidence, Finding

COPIES, STEPS = 8, 200  # environments side by side, and steps in each
FEW, MEMORY = (
    20,
    600,
)  # rows of a replay: with fewer what is played now is looked at instead; at most so many, the newest


def diagnose(
    run: Dreamer | Path | str, make_env: EnvFactory | None = None, checks: Sequence[str] = tuple(CHECKS), **trusted: Any
) -> list[Finding]:
    """Look at an agent, or at a run's folder or checkpoint: one finding for each look, in their order.

    The agent plays 8 × 200 steps first. Of a run its metrics are looked at too, and its replay: the first environment's, of the first process.
    Some looks ask what was stored and learned; others, such as `by_hand` and `flow`, ask the code that runs now. make_env: what makes the
    environment, instead of the name in the settings; or, for a run, env, wrap and env_args as `load` takes them. Raises Refused as `load`
    does, and for a name of a look that does not exist.
    """
    if unknown := [name for name in checks if name not in CHECKS]:
        raise Refused(f"there is no look called {unknown[0]!r}; choose of {', '.join(CHECKS)}")
    evidence = gather_evidence(run, make_env, **trusted)
    return [run_check(evidence, name) for name in checks]


def run_check(evidence: Evidence, name: str) -> Finding:
    """One look, by its name; the agent and PyTorch's random state are left as they were."""
    with seeded("cpu", 0), torch.enable_grad():  # a widget looks without gradients
        return CHECKS[name](evidence)


def gather_evidence(run: Dreamer | Path | str, make_env: EnvFactory | None = None, **trusted: Any) -> Evidence:
    """Everything that the looks need, on the CPU."""
    if isinstance(run, Dreamer):
        if trusted:
            raise Refused(
                f"{', '.join(trusted)}: an agent plays where its settings say; for another environment give make_env"
            )
        agent, rest = (run if run.device.type == "cpu" else copy.deepcopy(run).cpu()), {}
    else:
        saved = read(run, **trusted)
        agent, rest = agent_of(saved, run, **trusted), saved.rest
    make = make_env or env_factory(agent.config)
    played, states = play(agent, make)
    replay = rest.get("replay", {"added": 0})
    replayed = recall(replay) if replay["added"] >= FEW else played.map(lambda part: part[0])
    return Evidence(agent, replayed, played, states, rest.get("rows", []), cut_short(make))


def recall(replay: dict[str, Any]) -> Experience:
    """The last rows of a replay's first ring, (L, …), the oldest first."""
    data = {name: ring[0] for name, ring in replay["data"].items()}
    held = len(data["reward"])
    order = (torch.arange(held) + replay["added"]) % held
    rows = {name: part[order[-MEMORY:]] for name, part in data.items()}
    obs = obs_of_kinds({kind: rows[kind] for kind in ("vector", "image") if kind in rows})
    return Experience(obs, *(rows[name] for name in Experience._fields[1:]))


@torch.no_grad()
def play(agent: Dreamer, make: EnvFactory, copies: int = COPIES, steps: int = STEPS) -> tuple[Experience, State]:
    """What the agent goes through in `copies` environments, across the ends of episodes, (E, T, …), and its states meanwhile."""
    envs = Envs(make, copies, 0, remember=False, seconds=agent.config.env_seconds)
    if envs.spaces != agent.spaces:
        envs.close()
        raise Refused(
            f"an agent in this environment {envs.spaces}, but this agent {agent.spaces}; give one with the same spaces"
        )
    with seeded("cpu", 0):
        rows, carries = zip(*rollout(agent, envs, steps))
    envs.close()
    return stack(rows, 1), State(*(torch.stack(part, 1) for part in zip(*(carry.state for carry in carries))))


def cut_short(make: EnvFactory, episodes: int = 3, steps: int = 3) -> Tensor:
    """Episodes that a clock cuts off after so many steps: which of those that did not end by themselves are stored as ended, (n,)."""
    limited = partial(gymnasium.wrappers.TimeLimit, max_episode_steps=steps)
    envs = Envs(lambda: Witness(limited(make())), 1, episode_seed(0, 0, 0), remember=False)
    said, action = [], np.zeros((1, envs.spaces.action_size), np.float32)
    action[0, np.cumsum([0, *envs.spaces.choices[:-1]])] = envs.spaces.discrete
    while envs.episode[0] < episodes:
        row = envs.step(action)
        if row.is_last[0] and not envs.envs[0].terminated:
            said.append(bool(row.is_terminal[0]))
    envs.close()
    return torch.tensor(said)


class Witness(gymnasium.Wrapper):
    """Remembers what the environment itself said of its last step."""

    def step(self, action: Any) -> tuple:
        out = self.env.step(action)
        self.terminated = bool(out[2])
        return out
