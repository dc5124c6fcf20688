"""Exercises of notebook 10: look and act, the replay ratio, when a task counts as solved, and what a dream teaches."""

from collections.abc import Callable
import copy
import math
from typing import Any

import torch
from torch import Tensor

from ...actor import actor_loss
from ...agent import Carry, Dreamer
from ...config import Config, Spaces
from ...critic import critic_loss, lambda_return
from ...imagination import Dream, imagine, step_weights
from ...rssm import RSSM, State
from ..exercise import Complaint, Exercise, Mistake, a_state, gradient, keeping, kind, normal, uniform


def steps_due(env_steps: int, ratio: float, batch: int, length: int) -> int:
    """Whole train steps that `env_steps` allow, if each of them is replayed `ratio` times on average."""
    return int(env_steps * ratio // (batch * length))


def solved_at(rows: list[tuple[int, float, float]], threshold: float) -> int | None:
    """Environment steps at the first evaluation that reaches the threshold, or None. rows: (env steps, training return,
    evaluation)."""
    return next((steps for steps, _, evaluation in rows if evaluation >= threshold), None)


class SurePolicy:
    """Its sample is known, and differs from its mode."""

    def __init__(self, logits: Tensor):
        order = logits.argsort(-1)
        self.mode, second = (torch.eye(logits.shape[-1])[order[..., k]] for k in (-1, -2))
        self.second = second + 0 * logits  # a sample has a gradient
        self.log_probs = logits.log_softmax(-1)

    def sample(self, noise: Tensor | None = None) -> Tensor:
        return self.second


DICE = torch.eye(2, 4)  # the noise of each sample: faces 0 and 1 are favoured


class SureRSSM(RSSM):
    """Its posterior is drawn with the same noise each time, so that two right versions see the same. It is not the
    likeliest class."""

    def observe(
        self, tokens: Tensor, actions: Tensor, is_first: Tensor, start: State, noise: Tensor | None = None
    ) -> tuple[State, Tensor]:
        self.observed = True
        return super().observe(tokens, actions, is_first, start, DICE.expand(*tokens.shape[:2], -1, -1))

    def posterior(self, h: Tensor, tokens: Tensor) -> Tensor:
        self.guessed = True
        return super().posterior(h, tokens)


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


BY_HAND = (
    "Your own step may be right, but the check knows only the dice that `agent.world_model.observe` throws. "
    "`observe` takes a sequence: give it one of length 1."
)


def act_probe(version: Callable, *case: Any) -> dict:
    agent = case[0]
    rssm = agent.world_model.rssm
    rssm.observed = rssm.guessed = False
    out = version(*case)
    if rssm.guessed and not rssm.observed and isinstance(out, Carry):
        raise Complaint(BY_HAND)
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
    number: bool | str = False,
    spare: Callable | None = None,
    twice: bool = False,
) -> Carry:
    """act with one thing wrong."""
    with torch.set_grad_enabled(gradient):
        action = torch.zeros_like(carry.action) if zero else carry.action
        first = is_first if border else torch.zeros_like(is_first)
        first = torch.ones_like(first) if new else first.any().expand_as(first) if any_first else first
        carry = carry._replace(state=agent.initial(len(obs)).state) if forget else carry
        if dream:
            state = agent.world_model.rssm.imagine_step(carry.state, action, DICE)
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
        chosen = chosen.argmax(-1) if number == "both" or number and greedy else chosen
        chosen = spare(chosen, is_first) if spare else chosen
        if twice:
            states, _ = agent.world_model.observe(obs[:, None], chosen[:, None], first[:, None], state)
            state = State(states.h[:, 0], states.z[:, 0])
    if late:
        chosen = agent.actor(seen.feature).mode if greedy else agent.actor(seen.feature).sample()
    return Carry(state, carry.action if stale_action else chosen)


@torch.no_grad()
def greedy_dice(agent: Dreamer, obs: Tensor, is_first: Tensor, carry: Carry, greedy: bool = False) -> Carry:
    states, logits = agent.world_model.observe(obs[:, None], carry.action[:, None], is_first[:, None], carry.state)
    z = torch.eye(logits.shape[-1])[logits[:, 0].argmax(-1)] if greedy else states.z[:, 0]
    state = State(states.h[:, 0], z)
    policy = agent.actor(state.feature)
    return Carry(state, policy.mode if greedy else policy.sample())


@torch.no_grad()
def in_front(agent: Dreamer, obs: Tensor, is_first: Tensor, carry: Carry, greedy: bool = False) -> Carry:
    states, _ = agent.world_model.observe(obs[None], carry.action[None], is_first[None], carry.state)
    policy = agent.actor(states.feature[0])
    return Carry(State(states.h[0], states.z[0]), policy.mode if greedy else policy.sample())


def wrong_act(**how: Any) -> Callable:
    return lambda *case: acted(*case, **how)


def losses_cases() -> list[tuple]:
    """Agents with none of the default settings, and their dreams; the last one has a wide return scale."""
    found = []
    for N, H, far in ((1, 2, 0.0), (3, 4, 0.0), (4, 5, 300.0)):
        agent = Dreamer(
            Config.preset("debug", average=0, lam=0.8, entropy=0.05, return_rate=0.3, discount_horizon=20),
            Spaces(3, 2, True),
        )
        for parameter in agent.parameters():
            parameter.data += torch.randn_like(parameter) * 0.3
        agent.return_scale.range[1] = far
        rssm = agent.world_model.rssm
        start = State(normal(N, rssm.deter), torch.eye(rssm.classes)[torch.randint(rssm.classes, (N, rssm.groups))])
        dream = imagine(agent.world_model, agent.actor, start, H)
        found.append((agent, dream._replace(rewards=normal(N, H + 1, size=3), continues=uniform(N, H + 1))))
    return found


FOUND = ("value", "imagined_return", "return_scale", "advantage", "weight", "policy_entropy")


def losses_probe(version: Callable, agent: Dreamer, dream: Dream) -> dict:
    """Both losses, the metrics, the gradients of each loss, and the return scale's range afterwards."""
    agent = copy.deepcopy(agent)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # for answers that draw actions, which none should
        out = version(agent, dream)
    if not isinstance(out, (tuple, list)) or len(out) != 2 or not all(isinstance(part, dict) for part in out):
        raise Complaint(f"It returns {kind(out)}; two dictionaries are expected: the losses, and the metrics.")
    for part, names in zip(out, (("actor", "critic"), FOUND)):
        if missing := [name for name in names if name not in part]:
            raise Complaint(
                f"There is no entry {missing[0]!r}; the dictionary has {', '.join(map(repr, part)) or 'none'}."
            )
    losses, found = out
    if more := [name for name in losses if name not in ("actor", "critic")]:
        raise Complaint(f"Only the losses 'actor' and 'critic' have a weight in the sum; {more[0]!r} has none.")
    for name, part in (losses | found).items():
        if not isinstance(part, Tensor):
            raise Complaint(f"The entry {name!r} is {kind(part)}, but every entry must be a tensor.")
    seen = {
        "the imagined return": found["imagined_return"],
        "the return scale": found["return_scale"],
        "the advantage": found["advantage"],
    }
    seen |= {
        "the weight": found["weight"],
        "the value": found["value"],
        "the policy's entropy": found["policy_entropy"],
    }
    seen |= {"the actor's loss": losses["actor"], "the critic's loss": losses["critic"]}
    for name, loss in list(losses.items()):
        for who, network in (("actor", agent.actor), ("critic", agent.critic.net)):
            taught = (
                [gradient(loss, p).flatten() for p in network.parameters()]
                if isinstance(loss, Tensor)
                else [torch.zeros(1)]
            )
            seen[f"what the {name}'s loss teaches the {who}"] = torch.cat(taught)
    return seen | {"the stored range of the return scale": agent.return_scale.range.clone()}


def lesson(
    agent: Dreamer,
    dream: Dream,
    *,
    uncut: bool = False,
    scaled: str = "update",
    weigh: str = "both",
    slow: bool = True,
    lam: float | None = None,
    entropy: float | None = None,
    sign: float = 1.0,
    baseline: bool = True,
    late: bool = False,
    target: str = "returns",
    mean: bool = False,
    swap: bool = False,
    boot: int = -1,
    logits_scaled: bool = False,
    slip: str = "",
) -> tuple[dict, dict]:
    """dream_losses with one thing wrong."""
    c, past = agent.config, slice(None, -1) if late else slice(1, None)
    logits = agent.critic(dream.features)
    values = agent.critic.value(logits)
    base = agent.critic.slow_value(dream.features) if target == "slow" else values
    lam, entropy = c.lam if lam is None else lam, c.entropy if entropy is None else entropy
    if uncut:
        returns = lambda_return(dream.rewards, dream.continues, base, base[:, -1], lam)[:, :-1]
    else:
        returns = lambda_return(dream.rewards[:, past], dream.continues[:, past], base[:, past], base[:, boot], lam)
    if slip == "slow bootstrap":
        slow_end = agent.critic.slow_value(dream.features)[:, -1]
        returns = lambda_return(dream.rewards[:, past], dream.continues[:, past], base[:, past], slow_end, lam)
    if slip == "values late":
        returns = lambda_return(dream.rewards[:, past], dream.continues[:, past], base[:, :-1], base[:, -1], lam)
    early = {"rewards early": (0,), "rewards and continues early": (0, 1)}.get(slip)
    if early:  # at index t what belongs at t + 1
        parts = (dream.rewards, dream.continues, values)
        returns = lambda_return(
            *(p[:, :-1] if k in early else p[:, 1:] for k, p in enumerate(parts)), values[:, -1], lam
        )
    weights = step_weights(dream.continues)
    weights = torch.ones_like(weights) if weigh == "none" else weights
    if slip == "percentiles of now":
        scaled, scale = "given", (returns.quantile(0.95) - returns.quantile(0.05)).clamp(min=1)
    spread = returns - values[:, :-1] if slip == "scale of advantages" else returns
    if scaled != "given":
        scale = torch.ones(()) if scaled == "none" else agent.return_scale.update(spread)
    if scaled == "twice":
        scale = agent.return_scale.update(returns)
    expected = {"next value": values[:, 1:], "slow value": agent.critic.slow_value(dream.features)[:, :-1]}
    advantages = sign * (returns - baseline * expected.get(slip, values[:, :-1])) / scale
    advantages = advantages * scale if slip == "undivided" else advantages
    advantages = advantages / scale if slip == "scaled twice" else advantages
    advantages = advantages * weights if slip == "weighted" else advantages
    policy = agent.actor(dream.features)
    log_probs, entropies = policy.log_prob(dream.actions)[:, :-1], policy.entropy()[:, :-1]
    if slip == "new actions":
        log_probs = policy.log_prob(policy.sample())[:, :-1]
    if slip == "new actions for the first H":
        first = agent.actor(dream.features[:, :-1])
        log_probs = first.log_prob(first.sample())
    if slip == "next policy":
        log_probs, entropies = policy.log_prob(dream.actions)[:, 1:], policy.entropy()[:, 1:]
    entropies = policy.entropy()[:, 1:] if slip == "next entropy" else entropies
    goals = returns / scale if logits_scaled else returns
    goals = {"symlog goals": torch.sign(returns) * returns.abs().log1p(), "advantage goals": advantages}.get(
        slip, goals
    )
    slow_values = agent.critic.slow_value(dream.features) if slow else values
    ones = torch.ones_like(weights)
    losses = {
        "actor": actor_loss(log_probs, entropies, advantages, ones if weigh == "critic" else weights, entropy),
        "critic": critic_loss(logits, goals, slow_values, agent.critic.bins, ones if weigh == "actor" else weights),
    }
    losses = {name: loss.mean() for name, loss in losses.items()} if mean else losses
    losses["actor"] = losses["actor"] * (weights if slip == "weighted twice" else 1)
    losses["actor"] = -losses["actor"] if slip == "negative" else losses["actor"]
    losses = dict(zip(losses, reversed(losses.values()))) if swap else losses
    found = dict(zip(FOUND, (values, returns, scale, advantages, weights, entropies)))
    return losses, found


def wrong_lesson(**how: Any) -> Callable:
    return lambda *case: lesson(*case, **how)


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
        (100, 3, 10, 10),
        (500, 3, 10, 10),
        (50, 10, 10, 10),
        (1000, 0.5, 16, 8),
        (90, 1.5, 4, 5),
    ]


def due_probe(version: Callable, *case: Any) -> dict:
    out = version(*case)
    whole = isinstance(out, int) and not isinstance(out, bool)
    whole = float(whole or isinstance(case[1], float) and isinstance(out, float) and out.is_integer())
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
        ([(500, 20.0, 400.0), (1000, 30.0, 480.0), (1500, 40.0, 600.0)], 475.0),
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
                greedy_dice,
                "greedy takes the likeliest face of each die as well. It concerns only the action; the state is "
                "still sampled.",
            ),
            Mistake(
                wrong_act(number=True),
                "The likeliest action is returned as its index, (E,). Actions are one-hot, (E, A): `policy.mode`.",
            ),
            Mistake(
                in_front,
                "The time axis comes first, so environments are taken for steps. It should be the second axis: "
                "`obs[:, None]`, and `[:, 0]` of h and z.",
            ),
            Mistake(
                wrong_act(any_first=True),
                "One environment that begins an episode makes all others forget. Pass is_first as it is, one flag "
                "for each.",
            ),
            Mistake(
                wrong_act(late=True),
                "Only observe is under no_grad: the action still carries a gradient of the actor. All of it belongs "
                "under `torch.no_grad()`.",
            ),
            Mistake(
                wrong_act(stale_action=True), "The new carry holds the old action; it should hold the one just chosen."
            ),
            Mistake(wrong_act(swap=True), "greedy is reversed: greedy means the most likely action, `policy.mode`."),
            Mistake(
                wrong_act(always=True),
                "The most likely action is taken even when greedy is False; then it should be a sample.",
            ),
            Mistake(wrong_act(always=False), "greedy is not used: when it is True, take `policy.mode`."),
            Mistake(wrong_act(old=True), "The policy sees the old state. It should see the one that observe returns."),
            Mistake(
                wrong_act(zero=True), "The last action is thrown away: carry.action is what led to this observation."
            ),
            Mistake(
                wrong_act(border=False),
                "is_first is not used: the agent takes the memory of the last episode into the next.",
            ),
            Mistake(
                wrong_act(dream=True),
                "This dreams: the prior never looks at obs. An agent that is awake uses `observe`.",
            ),
            Mistake(wrong_act(blind=True), "The observation is not used."),
            Mistake(
                wrong_act(forget=True), "Every step begins with an empty state; it should continue from carry.state."
            ),
            Mistake(wrong_act(new=True), "Every step counts as the first of an episode: pass is_first on."),
            Mistake(wrong_act(unchanged=True), "The old state is carried on; the new carry should hold the new state."),
            Mistake(
                wrong_act(memory=True),
                "The policy does not see z. It reads the whole feature, h and z: `state.feature`.",
            ),
            Mistake(
                wrong_act(axes=True), "The time axis is still there. observe gives (E, 1, …); take `[:, 0]` of h and z."
            ),
            Mistake(
                wrong_act(gradient=True),
                "Gradients are kept: an agent that acts does not learn. Put @torch.no_grad() above it, or `with "
                "torch.no_grad():` inside.",
            ),
            Mistake(
                wrong_act(spare=lambda action, first: torch.where(first[:, None], 0.0, action)),
                "The action just chosen is set to zero where an episode begins. Only the action before it is over, and "
                "`observe` takes care of that.",
            ),
            Mistake(
                wrong_act(twice=True), "It looks twice at the same observation, so the state moves on by two steps."
            ),
            Mistake(
                wrong_act(number="both"),
                "The action is returned as its index, (E,). Actions are one-hot, (E, A): the sample and "
                "`policy.mode` are already.",
            ),
        ),
        hints=(
            "Look once, then choose. Looking is `world_model.observe` on sequences of one step.",
            "`x[:, None]` gives obs, action and is_first a time axis of length 1; `[:, 0]` removes it from h and z "
            "again. The policy is `agent.actor(state.feature)`.",
            "`states, _ = agent.world_model.observe(obs[:, None], carry.action[:, None], is_first[:, None], "
            "carry.state)`, `state = State(states.h[:, 0], states.z[:, 0])`, "
            "`policy = agent.actor(state.feature)`, `return Carry(state, policy.mode if greedy else "
            "policy.sample())`, all under `torch.no_grad()`.",
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
                "This returns at least 1. With too few real steps the answer is 0.",
            ),
            Mistake(
                lambda e, r, b, t: int(max(0, e - 500) * r // (b * t)),
                "The first 500 steps are subtracted. A run may skip its first steps; this function counts all steps "
                "that it is given.",
            ),
            Mistake(
                lambda e, r, b, t: int(e * (r / (b * t))),
                "This divides first, in floats, and may end a hair below a whole number. Multiply first, then divide "
                "whole numbers: `//`.",
            ),
            Mistake(
                lambda e, r, b, t: int(e * (1 / (b * t)) * r),
                "This divides first, in floats, and may end a hair below a whole number: multiply first, then `//`.",
            ),
            Mistake(
                lambda e, r, b, t: int(e // (r * b * t)),
                "This divides by the ratio. Multiply by it: a higher ratio must give more train steps.",
            ),
            Mistake(lambda e, r, b, t: int(e // (b * t)), "The ratio is not used."),
            Mistake(lambda e, r, b, t: e * r / (b * t), "Train steps are whole: round down."),
            Mistake(
                lambda e, r, b, t: int(e * r // b * t),
                "`// b * t` divides by b and multiplies by t. Put brackets round batch * length.",
            ),
            Mistake(
                lambda e, r, b, t: int(e * (r // (b * t))),
                "This rounds the ratio first, and the error adds up over many steps. Round at the end.",
            ),
            Mistake(
                lambda e, r, b, t: int(e / (b * t)) * int(r),
                "This rounds before it multiplies by the ratio. Round at the end.",
            ),
            Mistake(lambda e, r, b, t: round(e * r / (b * t)), "This rounds to the nearest whole number; round down."),
            Mistake(lambda e, r, b, t: int(e * r // (b + t)), "A batch holds batch · length steps, not their sum."),
            Mistake(lambda e, r, b, t: int(e * r // (b * t)) + 1, "One step too many."),
            Mistake(
                lambda e, r, b, t: math.ceil(e * r / (b * t)),
                "This rounds up, so it takes a step that the ratio does not allow yet.",
            ),
            Mistake(lambda e, r, b, t: int(e * r // b), "A train step replays batch · length steps, not batch."),
            Mistake(lambda e, r, b, t: int(e * r // t), "A train step replays batch · length steps, not length."),
            Mistake(lambda e, r, b, t: int(e * b * t // r), "Upside down: a higher ratio must give more train steps."),
            Mistake(lambda e, r, b, t: int(e // r), "This ignores how many steps a batch holds."),
            Mistake(
                lambda e, r, b, t: int(e * r), "These are replayed steps. A train step replays batch · length of them."
            ),
            Mistake(
                lambda e, r, b, t: e * int(r) // (b * t),
                "The ratio is rounded down first. It may be 0.5 or 1.5: round at the end.",
            ),
            Mistake(lambda e, r, b, t: int((e + r) // (b * t)), "The ratio is added. Multiply by it."),
            Mistake(
                lambda e, r, b, t: int(e // b * r // t),
                "This rounds in the middle, after the first division. Round once, at the end.",
            ),
            Mistake(lambda e, r, b, t: int(e * r // 512), "The size of a batch is fixed at 512; use batch · length."),
            Mistake(lambda e, r, b, t: int(e * 512 // (b * t)), "The ratio is fixed at 512; use the argument."),
            Mistake(
                lambda e, r, b, t: e * math.ceil(r / (b * t)),
                "The train steps of each real step are rounded up. Round once, at the end, and down.",
            ),
            Mistake(
                lambda e, r, b, t: e * r // (b * t) * 1.0,
                "The number is not an int. Train steps are counted: `int(…)`.",
            ),
            Mistake(
                lambda env_steps, ratio, batch, length: int(max(0, env_steps - 249) * ratio // (batch * length)),
                "The steps before the training begins are taken off. Here all `env_steps` count; the loop "
                "takes care of the start.",
            ),
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
                "`steps or None` turns 0 steps into None, since 0 counts as false.",
            ),
            Mistake(
                lambda rows, th: (
                    rows[[e >= th for _, _, e in rows].index(max(e >= th for _, _, e in rows))][0] if rows else None
                ),
                "If no evaluation reaches the threshold, this returns the first row's steps. The answer is None then.",
            ),
            Mistake(
                lambda rows, th: next(
                    (None if math.isnan(e) else s for s, r, e in rows if math.isnan(e) or e >= th), None
                ),
                "This stops at the first row without an evaluation. Skip it and continue.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if max(r, e) >= th), None),
                "This accepts either column. Only the evaluation counts.",
            ),
            Mistake(
                lambda rows, th: next((row for row in rows if row[2] >= th), None),
                "This is the whole row. Return its environment steps.",
            ),
            Mistake(
                lambda rows, th: [s for s, r, e in rows if e >= th],
                "This is a list of all such steps. Return the first of them, or None.",
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
                lambda rows, th: next((s for s, r, e in rows if e > th), None),
                "Reaching the threshold is enough: >=, not >.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if e >= th and r >= th), None),
                "This requires both columns. Only the evaluation counts.",
            ),
            Mistake(
                lambda rows, th: next(
                    (s for k, (s, _, e) in enumerate(rows) if all(row[2] >= th for row in rows[k:])), None
                ),
                "This requires that it stays solved to the end. Return the first evaluation that reaches the "
                "threshold.",
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
                "Only the first evaluation counts here: it returns inside the loop in both cases. The `return None` "
                "belongs after the loop.",
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
                "This finds the last such evaluation; find the first.",
            ),
            Mistake(
                lambda rows, th: next((k for k, (s, r, e) in enumerate(rows) if e >= th), None),
                "This is the number of the row. Return its environment steps.",
            ),
            Mistake(
                lambda rows, th: max(
                    rows, key=lambda row: -math.inf if math.isnan(row[2]) else row[2], default=(None,)
                )[0],
                "This is the best evaluation, whether or not it reaches the threshold.",
            ),
            Mistake(
                lambda rows, th: next((e for s, r, e in rows if e >= th), None),
                "This is the score. Return the environment steps.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if e >= th), rows[-1][0] if rows else 0),
                "If no evaluation reaches the threshold, the answer is None.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if e >= th and s), None),
                "A row of 0 steps is skipped. It counts as any other.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if e == e and round(e) >= th), None),
                "The evaluation is rounded first. 474.9 does not reach 475.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if (r if e != e else e) >= th), None),
                "Where there is no evaluation, you take the training return. Only evaluations count.",
            ),
            Mistake(
                lambda rows, th: next((s for s, r, e in rows if (r + e) / 2 >= th), None),
                "This is the mean of both columns. Only the evaluation counts.",
            ),
            Mistake(
                lambda rows, th: next(
                    (rows[k][0] for k in range(len(rows) - 1) if rows[k][2] >= th and rows[k + 1][2] >= th), None
                ),
                "Two evaluations in a row must reach the threshold here. One is enough.",
            ),
            Mistake(
                lambda rows, th: next(
                    (rows[k][0] for k in range(len(rows)) if sum(row[2] for row in rows[: k + 1]) / (k + 1) >= th), None
                ),
                "This is the mean of all evaluations so far. Each one stands alone.",
            ),
            Mistake(
                lambda rows, th: next((s for s, _, e in sorted(rows, key=lambda row: -row[2]) if e >= th), None),
                "This is the best evaluation. Return the earliest that reaches the threshold.",
            ),
        ),
        hints=(
            "Go through the rows in order; stop at the first evaluation that is good enough.",
            "A row is (env steps, training return, evaluation). Compare the third with the threshold. A comparison "
            "with nan is False, so nothing special is needed.",
            "`for steps, _, evaluation in rows:` `if evaluation >= threshold:` `return steps`, and after the loop "
            "`return None`",
        ),
    ),
    Exercise(
        "dream_losses",
        Dreamer.dream_losses,
        losses_cases,
        probe=losses_probe,
        itself="agent",
        given=("an agent", "a dream"),
        letters="NH",
        kept_for="agent:Dreamer.dream_losses",
        mistakes=(
            Mistake(
                wrong_lesson(uncut=True),
                "The returns use all H + 1 states, but the start's own reward is past. Cut off the first of rewards, "
                "continues and values.",
            ),
            Mistake(
                wrong_lesson(late=True),
                "Rewards, continues and values are taken one step too early: what step t brings is at index t + 1, "
                "`[:, 1:]`.",
            ),
            Mistake(
                wrong_lesson(boot=-2),
                "The bootstrap is the second-to-last value; it should be that of the last state, `values[:, -1]`.",
            ),
            Mistake(
                wrong_lesson(slip="new actions"),
                "The policy is asked about newly sampled actions. The advantages belong to the ones the dream took: "
                "`log_prob(dream.actions)`.",
            ),
            Mistake(
                wrong_lesson(slip="new actions for the first H"),
                "The policy is asked about newly sampled actions. The advantages belong to the ones the dream took: "
                "`log_prob(dream.actions)`, cut to the first H.",
            ),
            Mistake(wrong_lesson(lam=0.95), "λ is left at its default; use the agent's, `agent.config.lam`."),
            Mistake(
                wrong_lesson(entropy=3e-4),
                "The entropy's weight is left at its default; use the agent's, `agent.config.entropy`.",
            ),
            Mistake(
                wrong_lesson(scaled="none"),
                "The return scale is not used: divide the advantages by `agent.return_scale.update(returns)`.",
            ),
            Mistake(
                wrong_lesson(scaled="twice"),
                "The return scale is updated twice for one dream, so it moves twice as far. Call `update` once, and "
                "keep the number.",
            ),
            Mistake(
                wrong_lesson(weigh="none"),
                "The weights are missing: what comes after an imagined end must not count. Use "
                "`step_weights(dream.continues)`.",
            ),
            Mistake(
                wrong_lesson(weigh="critic"),
                "The actor's loss has no weights: what comes after an imagined end must teach it nothing.",
            ),
            Mistake(
                wrong_lesson(weigh="actor"),
                "The critic's loss has no weights: what comes after an imagined end must teach it nothing.",
            ),
            Mistake(
                wrong_lesson(slow=False),
                "The critic is held back by its own values. Use its slow twin's: "
                "`agent.critic.slow_value(dream.features)`.",
            ),
            Mistake(
                wrong_lesson(target="slow"),
                "The returns use the slow critic's values. The targets need the fast critic's; the slow one only "
                "holds it back.",
            ),
            Mistake(wrong_lesson(sign=-1.0), "The advantage has the wrong sign: return minus value."),
            Mistake(
                wrong_lesson(baseline=False),
                "The value is not subtracted: an advantage is the return minus what was expected, `values[:, :-1]`.",
            ),
            Mistake(
                wrong_lesson(logits_scaled=True),
                "The critic learns scaled returns. Only advantages are scaled; the critic learns the returns as they "
                "are.",
            ),
            Mistake(
                wrong_lesson(mean=True),
                "The losses are averaged already. Keep one for each step, (N, H); the train step averages.",
            ),
            Mistake(wrong_lesson(swap=True), "The two losses are swapped."),
            Mistake(
                wrong_lesson(slip="slow bootstrap"),
                "The bootstrap is the slow critic's value. Use the fast critic's, `values[:, -1]`.",
            ),
            Mistake(
                wrong_lesson(slip="values late"),
                "The values in the returns are taken one step too early: `values[:, 1:]`, like rewards and continues.",
            ),
            Mistake(
                wrong_lesson(slip="scale of advantages"),
                "The return scale gets advantages. It measures returns: `agent.return_scale.update(returns)`.",
            ),
            Mistake(
                wrong_lesson(slip="next value"),
                "The value of the NEXT state is subtracted. returns[:, t] belongs to values[:, t]: `values[:, :-1]`.",
            ),
            Mistake(
                wrong_lesson(slip="slow value"),
                "The slow critic's value is subtracted. Use the fast critic's, `values[:, :-1]`.",
            ),
            Mistake(wrong_lesson(slip="scaled twice"), "The advantages are divided by the scale twice."),
            Mistake(wrong_lesson(slip="weighted"), "The advantages are weighted already. `actor_loss` does that."),
            Mistake(
                wrong_lesson(slip="next policy"),
                "The first log-probability and entropy are cut off. The last ones have no return: `[:, :-1]`.",
            ),
            Mistake(wrong_lesson(entropy=0.0), "There is no entropy bonus; pass on `agent.config.entropy`."),
            Mistake(
                wrong_lesson(slip="symlog goals"), "The critic's targets are squashed by symlog. They are raw returns."
            ),
            Mistake(wrong_lesson(slip="advantage goals"), "The critic learns advantages. Its targets are the returns."),
            Mistake(
                wrong_lesson(slip="negative"),
                "The actor's loss has the wrong sign. `actor_loss` contains the minus already.",
            ),
            Mistake(
                wrong_lesson(slip="rewards and continues early"),
                "Rewards and continues are taken one step too early. What step t brings lies at index t + 1: "
                "`[:, 1:]`, as for the values.",
            ),
            Mistake(
                wrong_lesson(slip="rewards early"),
                "The rewards are taken one step too early. What step t brings lies at index t + 1: `rewards[:, 1:]`.",
            ),
            Mistake(
                wrong_lesson(boot=0),
                "The bootstrap is the value of the first state; it should be that of the last, `values[:, -1]`.",
            ),
            Mistake(
                wrong_lesson(slip="undivided"), "The return scale is updated, but the advantages are not divided by it."
            ),
            Mistake(
                wrong_lesson(slip="percentiles of now"),
                "The scale is taken from these returns alone. `agent.return_scale.update(returns)` keeps a "
                "running average and returns the scale.",
            ),
            Mistake(
                wrong_lesson(slip="next entropy"),
                "The entropies are one step late: those of the states where the actions were chosen are `[:, :-1]`.",
            ),
            Mistake(
                wrong_lesson(slip="weighted twice"),
                "The actor's loss is weighted twice: `actor_loss` takes the weights, so don't multiply again.",
            ),
        ),
        hints=(
            "Everything comes from the dream: the critic's logits and values, then returns, weights, scale and "
            "advantages, then the policy. The two losses use them.",
            "`agent.critic(dream.features)` gives logits, `agent.critic.value(logits)` values (N, H+1). "
            "`lambda_return` gets `[:, 1:]` of rewards, continues and values, and "
            "`values[:, -1]`. The advantages are `(returns - values[:, :-1]) / scale`. Cut off the last "
            "log-probabilities and entropies.",
            '`losses = {"actor": actor_loss(log_probs, entropies, advantages, weights, agent.config.entropy), '
            '"critic": critic_loss(logits, returns, '
            "agent.critic.slow_value(dream.features), agent.critic.bins, weights)}`, with `policy = "
            "agent.actor(dream.features)`, "
            "`log_probs, entropies = policy.log_prob(dream.actions)[:, :-1], policy.entropy()[:, :-1]`, and `scale = "
            "agent.return_scale.update(returns)`.",
        ),
    ),
)
