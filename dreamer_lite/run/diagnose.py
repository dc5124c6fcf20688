"""What looks healthy in a run and what doesn't: the looks of `looks.py`, one after the other, or on one page (appendix A1)."""

from base64 import b64encode
from collections.abc import Sequence
import copy
from functools import partial
from html import escape
import io
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from ..agent import Dreamer
from ..config import Refused
from ..envs import Envs, Make, episode_seed, maker
from ..replay import Experience, alone
from ..rssm import State
from .checkpoint import agent_of, read
from .device import seeded
from .looks import LOOKS, Case, Finding

COPIES, STEPS = 8, 200  # environments side by side, and steps in each
FEW, MEMORY = 20, 600  # rows of a replay: with fewer what is played now is looked at instead; at most so many, the newest


def diagnose(
    run: Dreamer | Path | str, make_env: Make | None = None, looks: Sequence[str] = tuple(LOOKS), **trusted: Any
) -> list[Finding]:
    """Look at an agent, or at a run's folder or checkpoint: one finding for each look, in their order.

    The agent plays 8 × 200 steps first. Of a run its metrics are looked at too, and its replay: the first environment's, of the first process.
    Some looks ask what was stored and learned; others, such as `by_hand` and `flow`, ask the code that runs now. make_env: what makes the
    environment, instead of the name in the settings; or, for a run, env, wrap and env_args as `load` takes them. Raises Refused as `load`
    does, and for a name of a look that does not exist.
    """
    if unknown := [name for name in looks if name not in LOOKS]:
        raise Refused(f"there is no look called {unknown[0]!r}; choose of {', '.join(LOOKS)}")
    case = case_of(run, make_env, **trusted)
    return [look_at(case, name) for name in looks]


def look_at(case: Case, name: str) -> Finding:
    """One look, by its name; the agent and PyTorch's random state are left as they were."""
    with seeded("cpu", 0), torch.enable_grad():  # a widget looks without gradients
        return LOOKS[name](case)


def case_of(run: Dreamer | Path | str, make_env: Make | None = None, **trusted: Any) -> Case:
    """Everything that the looks need, on the CPU."""
    if isinstance(run, Dreamer):
        if trusted:
            raise Refused(f"{', '.join(trusted)}: an agent plays where its settings say; for another environment give make_env")
        agent, rest = (run if run.device.type == "cpu" else copy.deepcopy(run).cpu()), {}
    else:
        saved = read(run, **trusted)
        agent, rest = agent_of(saved, run, **trusted), saved.rest
    make = make_env or maker(agent.config)
    played, states = play(agent, make)
    replay = rest.get("replay", {"added": 0})
    memory = recall(replay) if replay["added"] >= FEW else played.map(lambda part: part[0])
    return Case(agent, memory, played, states, rest.get("rows", []), cut_short(make))


def recall(replay: dict[str, Any]) -> Experience:
    """The last rows of a replay's first ring, (L, …), the oldest first."""
    data = {name: ring[0] for name, ring in replay["data"].items()}
    held = len(data["reward"])
    order = (torch.arange(held) + replay["added"]) % held
    rows = {name: part[order[-MEMORY:]] for name, part in data.items()}
    obs = alone({kind: rows[kind] for kind in ("vector", "image") if kind in rows})
    return Experience(obs, *(rows[name] for name in Experience._fields[1:]))


@torch.no_grad()
def play(agent: Dreamer, make: Make, copies: int = COPIES, steps: int = STEPS) -> tuple[Experience, State]:
    """What the agent lives through in `copies` environments, across borders of episodes, (E, T, …), and its states meanwhile."""
    envs = Envs(make, copies, 0, remember=False, seconds=agent.config.env_seconds)
    if envs.spaces != agent.spaces:
        envs.close()
        raise Refused(
            f"the environment has {envs.spaces}, but this agent was trained with {agent.spaces}; give one with the same spaces"
        )
    rows, states = [], []
    with seeded("cpu", 0):
        carry = agent.initial(copies)
        for _ in range(steps):
            row = envs.step(carry.action.cpu().numpy()).to(agent.device)
            carry = agent.act(row.obs, row.is_first, carry)
            rows.append(row)
            states.append(carry.state)
    envs.close()
    return stack(rows), State(*(torch.stack(part, 1) for part in zip(*states)))


def stack(rows: list[Experience]) -> Experience:
    """Rows of (E, …) one after the other, (E, T, …)."""
    flat = [dict(obs=row.obs) if not isinstance(row.obs, dict) else row.obs for row in rows]
    together = {kind: torch.stack([obs[kind] for obs in flat], 1) for kind in flat[0]}
    return Experience(together.get("obs", together), *(torch.stack(part, 1) for part in zip(*(row[1:] for row in rows))))


def cut_short(make: Make, episodes: int = 3, steps: int = 3) -> Tensor:
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


def verdict(finding: Finding) -> str:
    if finding.healthy is None:
        return "can't be told here"
    return "looks healthy" if finding.healthy else "does not look healthy"


def sentence(finding: Finding) -> str:
    """The verdict in one line, with the numbers that it is from."""
    return f"{finding.title}: {verdict(finding)}" + "".join(f"; {m.words}: {m.value:.3g} ({m.range})" for m in finding.told)


def numbers(finding: Finding) -> str:
    """What was measured in one line, without a verdict."""
    return finding.title + "".join(f"; {m.words}: {m.value:.3g}" for m in finding.told)


def page(findings: list[Finding], title: str) -> str:
    """A web page of pictures and words, which needs nothing else."""
    return PAGE.format(title=escape(title), body="\n".join(map(section, findings)))


def section(finding: Finding) -> str:
    buffer = io.BytesIO()
    finding.figure.savefig(buffer, dpi=110)
    picture = b64encode(buffer.getvalue()).decode()
    numbers = "".join(f"<li>{escape(m.words)}: {m.value:.3g} ({escape(m.range)})</li>" for m in finding.told)
    advice = f"<p><b>Where to look:</b> {escape(finding.advice)}</p>" if finding.healthy is False else ""
    return (
        f"<section><h2>{escape(finding.title)}: {verdict(finding)}</h2><p>{escape(finding.question)}</p>"
        f'<img alt="{escape(sentence(finding))}" src="data:image/png;base64,{picture}"><ul>{numbers}</ul>{advice}</section>'
    )


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body {{ font: 16px/1.5 sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
img {{ max-width: 100% }} section {{ border-top: 1px solid #ccc; margin-top: 2rem }}</style>
<h1>{title}</h1>
<p>Each look asks one question. Causality, flow, free nats, the dream by hand, the clock and the bonus ask the code that ran just now; the others
what was stored and learned. The healthy ranges were chosen on runs of CartPole. What does not look healthy may also be an agent that has not learned
enough yet, or a task that differs.</p>
{body}
</html>
"""
