"""Exercises of notebook 10: look and act, the replay ratio, when a task counts as solved."""

from collections.abc import Callable
import math
from typing import Any

import torch
from torch import Tensor

from ...agent import Carry, Dreamer
from ...config import Config
from ...rssm import RSSM, State
from ...spaces import Spaces
from ..exercise import Complaint, Exercise, Mistake, a_state, keeping, kind, normal


def steps_due(env_steps: int, ratio: float, batch: int, length: int) -> int:
    """Whole train steps that `env_steps` allow, if each of them is replayed `ratio` times on average."""
    return int(env_steps * ratio // (batch * length))


def solved_at(rows: list[tuple[int, float, float]], threshold: float) -> int | None:
    """Environment steps at the first evaluation whose mean reaches the threshold, or None. rows: (env steps, training return, evaluation)."""
    return next((steps for steps, _, evaluation in rows if evaluation >= threshold), None)


class SurePolicy:
    """Its sample is known, and differs from its mode."""

    def __init__(self, logits: Tensor):
        order = logits.argsort(-1)
        self.mode, second = (torch.eye(logits.shape[-1])[order[..., k]] for k in (-1, -2))
        self.second = second + 0 * logits  # a sample has a gradient
        self.log_probs = logits.log_softmax(-1)

    def sample(self) -> Tensor:
        return self.second


class SureRSSM(RSSM):
    """Its posterior always takes the likeliest class, so that two right versions see the same."""

    def observe(
        self, tokens: Tensor, actions: Tensor, is_first: Tensor, start: State, noise: Tensor | None = None
    ) -> tuple[State, Tensor]:
        return super().observe(tokens, actions, is_first, start, torch.zeros(*tokens.shape[:2], self.groups, self.classes))


def tiny_agent() -> Dreamer:
    config = Config.preset("debug", average=0)
    agent = Dreamer(config, Spaces(3, 4, True))
    agent.world_model.rssm = SureRSSM(token_size=8, action_size=4, deter=8, hidden=4, groups=2, classes=4, blocks=2)
    for parameter in agent.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    agent.actor.distribution = SurePolicy
    return agent


def act_cases() -> list[tuple]:
    cases = []
    for E, greedy in ((2, False), (5, True), (1, False), (6, False)):
        carry = Carry(State(normal(E, 8), torch.eye(4)[torch.randint(4, (E, 2))]), torch.eye(4)[torch.randint(4, (E,))])
        cases.append((tiny_agent(), normal(E, 3, size=3), torch.arange(E) % 2 == 1, carry, greedy))
    return cases


def act_probe(version: Callable, *case: Any) -> dict:
    out = version(*case)
    if not isinstance(out, Carry):
        raise Complaint(f"It returns {kind(out)}; a Carry is expected: `return Carry(state, action)`.")
    state = a_state(out.state, "The carry's state")
    parts = {"the new state's memory h": state.h, "the new state's dice z": state.z, "the action, one-hot": out.action}
    return parts | {"the parts that keep a gradient": keeping(parts)}


def acted(
    agent: Dreamer,
    obs: Tensor,
    is_first: Tensor,
    carry: Carry,
    greedy: bool = False,
    *,
    swap: bool = False,
    always: bool | None = None,
    old: bool = False,
    zero: bool = False,
    border: bool = True,
    dream: bool = False,
    blind: bool = False,
    axes: bool = False,
    gradient: bool = False,
    forget: bool = False,
    new: bool = False,
    unchanged: bool = False,
    memory: bool = False,
    any_first: bool = False,
    late: bool = False,
    stale_action: bool = False,
    number: bool = False,
) -> Carry:
    """act with one thing wrong."""
    with torch.set_grad_enabled(gradient):
        action = torch.zeros_like(carry.action) if zero else carry.action
        first = is_first if border else torch.zeros_like(is_first)
        first = torch.ones_like(first) if new else first.any().expand_as(first) if any_first else first
        carry = carry._replace(state=agent.initial(len(obs)).state) if forget else carry
        if dream:
            state = agent.world_model.rssm.imagine_step(carry.state, action, torch.zeros(len(obs), 2, 4))
        else:
            states, _ = agent.world_model.observe(
                (obs * 0 if blind else obs)[:, None], action[:, None], first[:, None], carry.state
            )
            state = states if axes else State(states.h[:, 0], states.z[:, 0])
        seen = State(state.h, torch.zeros_like(state.z)) if memory else carry.state if old else state
        policy = agent.actor(seen.feature)
        state = carry.state if unchanged else state
        greedy = always if always is not None else not greedy if swap else greedy
        chosen = policy.mode if greedy else policy.sample()
        chosen = chosen.argmax(-1) if number and greedy else chosen
    if late:
        chosen = agent.actor(seen.feature).mode if greedy else agent.actor(seen.feature).sample()
    return Carry(state, carry.action if stale_action else chosen)


@torch.no_grad()
def in_front(agent: Dreamer, obs: Tensor, is_first: Tensor, carry: Carry, greedy: bool = False) -> Carry:
    states, _ = agent.world_model.observe(obs[None], carry.action[None], is_first[None], carry.state)
    policy = agent.actor(states.feature[0])
    return Carry(State(states.h[0], states.z[0]), policy.mode if greedy else policy.sample())


def wrong_act(**how: Any) -> Callable:
    return lambda *case: acted(*case, **how)


def due_cases() -> list[tuple]:
    return [
        (2000, 512, 16, 64),
        (7, 256, 16, 32),
        (999, 32, 16, 64),
        (2500, 1024, 64, 32),
        (3, 512, 64, 8),
        (0, 512, 64, 8),
        (29, 100, 10, 10),
        (58, 100, 10, 10),
        (77, 100, 7, 9),
        (49, 1, 7, 7),
    ]


def due_probe(version: Callable, *case: Any) -> dict:
    out = version(*case)
    whole = float(isinstance(out, int) and not isinstance(out, bool))
    return {"the number of train steps": out, "whether the number is an int, as steps are counted": whole}


def solved_cases() -> list[tuple]:
    nan = math.nan
    return [
        ([(500, 22.0, 21.0), (1000, 480.0, 300.0), (1500, 120.0, 480.0), (2000, 500.0, 500.0)], 475.0),
        ([(500, 20.0, 30.0), (1000, 490.0, 474.9)], 475.0),
        ([(400, 10.0, 475.0), (800, 20.0, 100.0)], 475.0),
        ([(500, 10.0, -500.0), (1000, 400.0, 480.0)], 475.0),
        ([(0, nan, 480.0), (500, 480.0, 490.0)], 475.0),
        ([(500, 20.0, 0.0), (1000, 20.0, 10.0)], -5.0),
        ([(500, 470.0, 480.0), (1000, 490.0, 300.0)], 475.0),
        ([(500, nan, nan), (1000, 300.0, nan), (1500, 200.0, -150.0)], -200.0),
        ([], 475.0),
        ([(500, 480.0, 10.0), (1000, 400.0, 300.0), (1500, 400.0, 500.0), (2000, 400.0, 480.0)], 475.0),
    ]


EXERCISES = (
    Exercise(
        "act",
        Dreamer.act,
        act_cases,
        probe=act_probe,
        itself="agent",
        kept_for="agent:Dreamer.act",
        mistakes=(
            Mistake(
                wrong_act(number=True),
                "The likeliest action comes as its number, (E,). Actions are one-hot, (E, A): `policy.mode`.",
            ),
            Mistake(
                in_front,
                "The time axis stands in front, so environments are taken for steps. It is the second axis: `obs[:, None]`, and `[:, 0]` of h and z.",
            ),
            Mistake(
                wrong_act(any_first=True),
                "One environment that begins anew makes all others forget: is_first goes in as it is, one flag for each.",
            ),
            Mistake(
                wrong_act(late=True),
                "Only the look is under no_grad: the action still carries a gradient of the actor. All of it belongs under `torch.no_grad()`.",
            ),
            Mistake(wrong_act(stale_action=True), "The new carry holds the old action; it holds the one just chosen."),
            Mistake(wrong_act(swap=True), "greedy is reversed: greedy means the most likely action, `policy.mode`."),
            Mistake(
                wrong_act(always=True), "The most likely action is taken even when greedy is False; then it should be a sample."
            ),
            Mistake(wrong_act(always=False), "greedy is not used: it asks for `policy.mode`."),
            Mistake(wrong_act(old=True), "The policy sees the state from before the look. It should see the new one."),
            Mistake(wrong_act(zero=True), "The last action is thrown away: carry.action is what led to this observation."),
            Mistake(
                wrong_act(border=False), "is_first is not used: the agent takes the memory of the last episode into the next."
            ),
            Mistake(wrong_act(dream=True), "This dreams: the prior never looks at obs. An agent that is awake uses `observe`."),
            Mistake(wrong_act(blind=True), "The observation is not used."),
            Mistake(wrong_act(forget=True), "Every step begins with an empty state; it goes on from carry.state."),
            Mistake(wrong_act(new=True), "Every step counts as the first of an episode: pass is_first on."),
            Mistake(wrong_act(unchanged=True), "The old state is carried on; the new carry holds the new state."),
            Mistake(wrong_act(memory=True), "The policy does not see z. It reads the whole feature, h and z: `state.feature`."),
            Mistake(wrong_act(axes=True), "The time axis is still there. observe gives (E, 1, …); take `[:, 0]` of h and z."),
            Mistake(
                wrong_act(gradient=True),
                "Gradients are kept: an agent that acts does not learn. Put @torch.no_grad() above it, or `with torch.no_grad():` inside.",
            ),
        ),
        hints=(
            "Look once, then choose. Looking is `world_model.observe` on sequences of one step.",
            "`x[:, None]` gives obs, action and is_first a time axis of length 1; `[:, 0]` takes it off h and z again. The policy is `agent.actor(state.feature)`.",
            "`states, _ = agent.world_model.observe(obs[:, None], carry.action[:, None], is_first[:, None], carry.state)`, `state = State(states.h[:, 0], states.z[:, 0])`, "
            "`policy = agent.actor(state.feature)`, `return Carry(state, policy.mode if greedy else policy.sample())`, all under `torch.no_grad()`.",
        ),
    ),
    Exercise(
        "steps_due",
        steps_due,
        due_cases,
        probe=due_probe,
        mistakes=(
            Mistake(
                lambda e, r, b, t: max(1, int(e * r // (b * t))),
                "There is at least one step here. Where too little was played, it is 0.",
            ),
            Mistake(
                lambda e, r, b, t: int(max(0, e - 500) * r // (b * t)),
                "The first 500 steps are taken off. That is the run below; this function counts all that it is given.",
            ),
            Mistake(
                lambda e, r, b, t: int(e * (r / (b * t))),
                "This divides first, in floats, which may end a hair below a whole number. Multiply first, and divide whole numbers: `//`.",
            ),
            Mistake(
                lambda e, r, b, t: int(e * (1 / (b * t)) * r),
                "This divides first, in floats, which may end a hair below a whole number: multiply first, then `//`.",
            ),
            Mistake(
                lambda e, r, b, t: int(e // (r * b * t)),
                "The ratio divides; it multiplies: a higher ratio must give more train steps.",
            ),
            Mistake(lambda e, r, b, t: int(e // (b * t)), "The ratio is not used."),
            Mistake(lambda e, r, b, t: e * r / (b * t), "Train steps are whole: round down."),
            Mistake(
                lambda e, r, b, t: int(e * r // b * t),
                "`// b * t` divides by b and multiplies by t. Put brackets round batch * length.",
            ),
            Mistake(
                lambda e, r, b, t: int(e * (r // (b * t))),
                "This rounds the ratio first, and loses what adds up over many steps. Round at the end.",
            ),
            Mistake(
                lambda e, r, b, t: int(e / (b * t)) * int(r), "This rounds before it multiplies by the ratio. Round at the end."
            ),
            Mistake(lambda e, r, b, t: round(e * r / (b * t)), "This rounds to the nearest whole number; round down."),
            Mistake(lambda e, r, b, t: int(e * r // (b + t)), "A batch holds batch · length steps, not their sum."),
            Mistake(lambda e, r, b, t: int(e * r // (b * t)) + 1, "One step too many."),
            Mistake(
                lambda e, r, b, t: math.ceil(e * r / (b * t)), "This rounds up, so it takes a step that is not paid for yet."
            ),
            Mistake(lambda e, r, b, t: int(e * r // b), "A train step replays batch · length steps, not batch."),
            Mistake(lambda e, r, b, t: int(e * r // t), "A train step replays batch · length steps, not length."),
            Mistake(lambda e, r, b, t: int(e * b * t // r), "Upside down: a higher ratio must give more train steps."),
            Mistake(lambda e, r, b, t: int(e // r), "This ignores how many steps a batch holds."),
            Mistake(lambda e, r, b, t: int(e * r), "These are replayed steps. A train step replays batch · length of them."),
        ),
        hints=(
            "Each step may be replayed `ratio` times. How many steps does one train step replay?",
            "env_steps · ratio replayed steps are allowed; one train step uses batch · length of them. Round down.",
            "`return int(env_steps * ratio // (batch * length))`",
        ),
    ),
    Exercise(
        "solved_at",
        solved_at,
        solved_cases,
        mistakes=(
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if e and e >= th), None),
                "An evaluation of 0 is taken for none: in Python `if e` is false for 0.0, too. Only nan means none.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if e >= th), None) or None,
                "`steps or None` makes None of 0 steps, since 0 counts as false.",
            ),
            Mistake(
                lambda rows, th: rows[[e >= th for _, _, e in rows].index(max(e >= th for _, _, e in rows))][0] if rows else None,
                "If no evaluation reaches the threshold, the first True among only False is at 0. The answer is None then.",
            ),
            Mistake(
                lambda rows, th: next((None if math.isnan(e) else s for s, r, e in rows if math.isnan(e) or e >= th), None),
                "This stops at the first row without an evaluation. Skip it, and go on.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if max(r, e) >= th), None),
                "Either column will do here. Only the evaluation counts.",
            ),
            Mistake(
                lambda rows, th: next((row for row in rows if row[2] >= th), None),
                "This is the whole row. The environment steps are wanted.",
            ),
            Mistake(
                lambda rows, th: [s for s, r, e in rows if e >= th],
                "This is a list of all such steps. The first of them is wanted, or None.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if abs(e) >= th), None),
                "The sign of the evaluation is lost: some tasks pay less than 0.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if r >= th), None),
                "This looks at training returns: few episodes, and the policy was changing. Use the evaluation.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if e > th), None), "Reaching the threshold is enough: >=, not >."
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if e >= th and r >= th), None),
                "This asks for both columns. Only the evaluation counts.",
            ),
            Mistake(
                lambda rows, th: next((s for k, (s, _, e) in enumerate(rows) if all(row[2] >= th for row in rows[k:])), None),
                "This asks that it stays solved to the end. The first evaluation that reaches the threshold is wanted.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if e >= th), 0),
                "If no evaluation reaches the threshold, the answer is None, not 0.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if e >= th), -1),
                "If no evaluation reaches the threshold, the answer is None, not -1.",
            ),
            Mistake(
                lambda rows, th: rows[0][0] if rows and rows[0][2] >= th else None,
                "Only the first row is looked at: the `return None` belongs after the loop.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if e >= 475), None),
                "The threshold is fixed at 475; use the argument.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if not e < th), None),
                "nan is not smaller than anything, so `not e < threshold` takes it for solved. Compare with >=.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in reversed(rows) if e >= th), None),
                "This finds the last such evaluation; the first is wanted.",
            ),
            Mistake(
                lambda rows, th: next((k for k, (s, r, e) in enumerate(rows) if e >= th), None),
                "This is the number of the row. Environment steps are wanted.",
            ),
            Mistake(
                lambda rows, th: max(rows, key=lambda row: -math.inf if math.isnan(row[2]) else row[2], default=(None,))[0],
                "This is the best evaluation, whether or not it reaches the threshold.",
            ),
            Mistake(
                lambda rows, th: next((e for s, r, e in rows if e >= th), None),
                "This is the score. The environment steps are wanted.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if e >= th), rows[-1][0] if rows else 0),
                "If no evaluation reaches the threshold, the answer is None.",
            ),
        ),
        hints=(
            "Go through the rows in order; stop at the first that is good enough.",
            "A row is (env steps, training return, evaluation). Compare the third with the threshold. A comparison with nan is False, so nothing special is needed.",
            "`for steps, _, evaluation in rows:` `if evaluation >= threshold:` `return steps`, and after the loop `return None`",
        ),
    ),
)
