"""Exercises of notebook 07: dream with the policy, dream along given actions, the weight of each step."""

from collections.abc import Callable, Iterator
import contextlib
from typing import Any

import torch
from torch import Tensor
import torch.nn.functional as F

from ...agent import make_world_model
from ...config import Config, Spaces
from ...imagination import Dream, imagine, step_weights
from ...latents import sample, unimix
from ...rssm import RSSM, State
from ...world_model import WorldModel
from ..exercise import Complaint, Exercise, Mistake, keeping, kind, normal, trainable, uniform


def dream_along(world_model: WorldModel, start: State, actions: Tensor) -> Tensor:
    """The observations that the model expects after these actions, in their own units: start (N, …), (N, H, A) → (N, H,
    O)."""
    state, seen = start, []
    for t in range(actions.shape[1]):
        state = world_model.rssm.imagine_step(state, actions[:, t])
        seen.append(world_model.predict_obs(state.feature))
    return torch.stack(seen, 1)


PEEKED = "A dream has no observations to look at. Leave out the posterior: `imagine_step` throws the prior's dice."


class SureRSSM(RSSM):
    """Always takes the likeliest class, so that two right versions dream the same. It counts its steps."""

    steps = 0  # of one row

    def recurrent(self, state: State, action: Tensor) -> Tensor:
        h = super().recurrent(state, action)
        if hasattr(self, "heard"):
            self.heard.append((*state, action, h))
        return h

    def posterior(self, h: Tensor, tokens: Tensor) -> Tensor:
        raise Complaint(PEEKED)

    def imagine_step(self, state: State, action: Tensor, noise: Tensor | None = None) -> State:
        if not isinstance(state, tuple):
            raise Complaint("imagine_step wants the state first, then the action.")
        if not isinstance(action, Tensor):
            raise Complaint(
                f"imagine_step wants an action, (N, A); it was given a {type(action).__name__}. Is `.sample()` missing?"
            )
        self.steps += len(action)
        z = self.prior(h := self.recurrent(state, action)).argmax(-1)
        return State(h, F.one_hot(z, self.classes).to(h.dtype))


class Policy:
    """Its samples alternate and differ from its mode, so that a second sample is not the first one."""

    def __init__(self, actor: "SureActor", logits: Tensor):
        self.actor, self.logits, self.order = actor, logits, logits.argsort(-1)
        self.mode = F.one_hot(self.order[..., -1], self.order.shape[-1]).float()

    def noise(self, steps: int) -> Tensor:
        return self.logits[:, None].expand(-1, steps, -1)

    def sample(self, noise: Tensor | None = None) -> Tensor:
        self.actor.throws += 1
        turn = 0 if self.actor.throws % 3 else 1
        return (
            F.one_hot(self.order[..., turn], self.order.shape[-1]).float() + 0 * self.logits
        )  # a sample has a gradient


class SureActor(torch.nn.Linear):
    """A policy that depends on the feature, and whose samples are known."""

    throws = 0

    def forward(self, feature: Tensor) -> Policy:
        if not isinstance(feature, Tensor):
            raise Complaint("The actor reads a feature, (N, F): `actor(state.feature)`.")
        return Policy(self, super().forward(feature))


def tiny_model() -> WorldModel:
    sizes = dict(deter=8, rssm_hidden=5, groups=2, classes=3, hidden=6, blocks=2, encoder_layers=1, decoder_layers=1)
    model = make_world_model(
        Config.preset("debug", **sizes, bins=11, bin_limit=3.0, discount_horizon=50), Spaces(3, 2, True)
    )
    model.rssm = SureRSSM(token_size=6, action_size=2, deter=8, hidden=5, groups=2, classes=3, blocks=2)
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    return model


def a_start(N: int) -> State:
    return State(normal(N, 8), torch.eye(3)[torch.randint(3, (N, 2))])


def imagine_cases() -> list[tuple]:
    return [(tiny_model(), SureActor(14, 2), a_start(N), H) for N, H in ((2, 3), (8, 6), (12, 8))]


PARTS = ("h", "z", "the features", "the actions", "the rewards", "the continues")


def weights_probe(version: Callable, continues: Tensor) -> dict:
    trainable(found := {"the result": version(continues)})
    return found


OWN_STEPS = (
    "Your own imagined steps may be right, but the check can follow a dream only through `imagine_step`, whose dice it "
    "knows. Take your steps with `world_model.rssm.imagine_step(state, action)`."
)


def imagine_probe(version: Callable, model: WorldModel, actor: SureActor, start: State, horizon: int) -> dict:
    actor.throws, model.rssm.steps, model.rssm.heard = 0, 0, []
    out = version(model, actor, start, horizon)
    if model.rssm.heard and not model.rssm.steps:
        raise Complaint(OWN_STEPS)
    if not isinstance(out, Dream):
        raise Complaint(
            f"It returns {kind(out)}; a Dream is expected: `Dream(states, features, actions, rewards, continues)`."
        )
    if not isinstance(out.states, State):
        raise Complaint(
            "The first part of a Dream is a State, (N, H+1, …): `world_model.rssm.state(features)` makes it from all "
            "features."
        )
    parts = dict(zip(PARTS, (*out.states, *out[1:])))
    trainable(parts)
    return parts | {"the parts that keep a gradient": keeping(parts)}


def along_probe(version: Callable, model: WorldModel, start: State, actions: Tensor) -> dict:
    model.rssm.steps, model.rssm.heard = 0, []
    out = version(model, start, actions)
    wrote_steps = model.rssm.steps == 0 and len(model.rssm.heard) == actions.shape[1]
    if wrote_steps and own_steps(version, model, start, actions):
        model.rssm.steps = 0
        out = dream_along(model, start, actions)
    return {"the result": out, "the number of imagined steps": model.rssm.steps / len(actions)}


MANY = 3000
UNMIXED = (
    "Your own step throws the dice with plain softmax probabilities. `imagine_step` mixes in 1 % of a fair die first: "
    "`unimix`."
)


@torch.no_grad()
def own_steps(version: Callable, model: WorldModel, start: State, actions: Tensor) -> bool:
    """Whether a version that takes its imagined steps itself, by `recurrent` and `prior`, takes them right.

    It dreams many times from the first and the last start. Each step must continue from the last one and take the
    action that is due, the dice must fall as the prior says, and each observation must be that of its state.
    """
    ends = [0, -1]
    start = State(*(part[ends].repeat_interleave(MANY, 0) for part in start))
    actions = actions[ends].repeat_interleave(MANY, 0)
    for sure in (False, True):  # the second time with nearly certain dice, where only unimix leaves some doubt
        with sharpened(model.rssm, 1000.0 if sure else 4.0):
            model.rssm.heard = []
            seen = version(model, start, actions)
            steps, model.rssm.heard = model.rssm.heard, []
            if not isinstance(seen, Tensor) or seen.shape[:2] != actions.shape[:2] or len(steps) != actions.shape[1]:
                return False
            expected = start
            for t, (h, z, action, following) in enumerate(steps):
                if not (close(h, expected.h) and close(action, actions[:, t]) and (t or close(z, start.z))):
                    return False
                if t and not (faces(z) and close(seen[:, t - 1], model.predict_obs(State(h, z).feature))):
                    return False
                if t:
                    prior, shares = model.rssm.prior(h), z.unflatten(0, (2, MANY)).mean(1)
                    fair, plain = (p.unflatten(0, (2, MANY)).mean(1) for p in (unimix(prior), prior.softmax(-1)))
                    if not close(shares, fair, 0.05):
                        return False
                    if sure and close(shares, plain):
                        raise Complaint(UNMIXED)
                expected = State(following, z)
            if not any_state(model, expected.h, seen[:, -1]):
                return False
    return True


@contextlib.contextmanager
def sharpened(rssm: "SureRSSM", factor: float) -> Iterator[None]:
    """Inside, the prior's logits are larger by a factor."""
    last = rssm.prior_net[-1]
    before = [part.clone() for part in (last.weight, last.bias)]
    for part in (last.weight, last.bias):
        part *= factor
    try:
        yield
    finally:
        for part, value in zip((last.weight, last.bias), before):
            part.copy_(value)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-4) -> bool:
    return a.shape == b.shape and bool(((a - b).abs() <= tolerance * (1 + b.abs())).all())


def faces(z: Tensor) -> bool:
    """Whether each die shows one face."""
    return close(z.amax(-1), torch.ones(z.shape[:-1])) and close(z.sum(-1), torch.ones(z.shape[:-1]))


def any_state(model: WorldModel, h: Tensor, seen: Tensor) -> bool:
    """Whether each row of `seen` is the observation of its h with some z."""
    groups, classes = model.rssm.groups, model.rssm.classes
    throws = torch.cartesian_prod(*[torch.arange(classes)] * groups)
    possible = [model.predict_obs(State(h, torch.eye(classes)[row].expand(len(h), -1, -1)).feature) for row in throws]
    return bool((torch.stack(possible) - seen).abs().amax(-1).amin(0).max() < 1e-3)


def dreamt(
    model: WorldModel,
    actor: Any,
    start: State,
    horizon: int,
    *,
    steps: int = 1,
    mode: bool = False,
    carry: bool = True,
    logits: bool = False,
    gradient: bool = False,
    reward_at: int = 0,
    stack: int = 1,
    stale: bool = False,
    skip: bool = False,
    again: bool = False,
    short: bool = False,
    led: bool = False,
    swap: bool = False,
    raw: bool = False,
    silent: bool = False,
    sparing: bool = False,
    after: bool = False,
    discount: float = 1.0,
    noted: bool = False,
    previous: bool = False,
    once: bool = False,
    lagging: bool = False,
) -> Dream:
    """imagine with one thing wrong."""
    with torch.set_grad_enabled(gradient):
        state, rows = start, []
        if skip:
            state = model.rssm.imagine_step(state, actor(state.feature).sample())
        for t in range(horizon + steps):
            feature = state.feature
            seen = start.feature if stale else rows[-1][0] if lagging and rows else feature
            policy = actor(seen)
            action = rows[0][1] if once and rows else policy.mode if mode else policy.sample()
            taken = actor(feature).sample() if again else action
            taken = rows[-1][1] if previous and rows else taken
            following = model.rssm.imagine_step(state, taken)
            reward = model.predict_reward(following.feature if reward_at else feature)
            goes_on = model.continue_head(feature).squeeze(-1) if logits else discount * model.predict_continue(feature)
            reward = model.reward_head(feature) if raw else reward
            if after:
                feature, reward, goes_on = (
                    f(following.feature) for f in (lambda x: x, model.predict_reward, model.predict_continue)
                )
            rows.append((feature, action, *((goes_on, reward) if swap else (reward, goes_on))))
            if t < horizon + steps - 1:
                state = following if carry else model.rssm.imagine_step(start, action)
        features, actions, rewards, continues = (torch.stack(part, stack) for part in zip(*rows))
        if short:
            actions = actions[:, :-1]
        if silent:
            actions = torch.cat([actions[:, :-1], torch.zeros_like(actions[:, :1])], 1)
        if led:
            actions = torch.cat([torch.zeros_like(actions[:, :1]), actions[:, :-1]], 1)
        if noted:
            actions = actor(features).sample()
    if sparing:
        rewards, continues = model.predict_reward(features), model.predict_continue(features)
    return Dream(model.rssm.state(features), features, actions, rewards, continues)


def changed(how: Callable) -> Callable:
    """imagine, and afterwards a change of the dream."""
    return torch.no_grad()(lambda *case: how(imagine(*case)))


def wrong_dream(**how: Any) -> Callable:
    return lambda *case: dreamt(*case, **how)


def along_cases() -> list[tuple]:
    return [(tiny_model(), a_start(N), torch.eye(2)[torch.randint(2, (N, H))]) for N, H in ((1, 2), (3, 5), (2, 6))]


def along(
    model: WorldModel,
    start: State,
    actions: Tensor,
    *,
    raw: bool = False,
    early: bool = False,
    late: bool = False,
    carry: bool = True,
    stack: int = 1,
    zero_z: bool = False,
    twice: bool = False,
    backwards: bool = False,
    begin: bool = False,
    first: bool = False,
    again: bool = False,
    old_z: bool = False,
    soft: bool = False,
    mixed: bool = True,
    early_action: bool = False,
    wrap: bool = False,
    old_h: bool = False,
) -> Tensor:
    """dream_along with one thing wrong."""
    state, seen = start, [model.predict_obs(start.feature)] if begin else []
    for t in range(actions.shape[1]):
        at = (
            t - 1
            if wrap
            else min(t + 1, actions.shape[1] - 1)
            if early_action
            else 0
            if first
            else actions.shape[1] - 1 - t
            if backwards
            else max(t - 1, 0)
            if late
            else t
        )
        if early:
            seen.append(model.predict_obs(state.feature))
        if old_z or soft:
            h = model.rssm.recurrent(state, actions[:, at])
            state = State(h, state.z if old_z else unimix(model.rssm.prior(h), model.rssm.mix if mixed else 0.0))
        else:
            state = model.rssm.imagine_step(state if carry else start, actions[:, at])
        if old_h:
            state = State(start.h, state.z)
        if again:
            model.rssm.imagine_step(state, actions[:, at])
        if zero_z:
            state = State(state.h, torch.zeros_like(state.z))
        if not early:
            read = model.decoder(state.feature) if raw else model.predict_obs(state.feature)
            seen.append(torch.sign(read) * read.abs().expm1() if twice else read)
    return torch.stack(seen, stack)


def along_with(model: WorldModel, start: State, actions: Tensor, read: Callable) -> Tensor:
    state, seen = start, []
    for action in actions.unbind(1):
        state = model.rssm.imagine_step(state, action)
        seen.append(read(state.feature))
    return torch.stack(seen, 1)


def unmixed(model: WorldModel, start: State, actions: Tensor) -> Tensor:
    state, seen = start, []
    for action in actions.unbind(1):
        h = model.rssm.recurrent(state, action)
        state = State(h, sample(model.rssm.prior(h).softmax(-1)))
        seen.append(model.predict_obs(state.feature))
    return torch.stack(seen, 1)


def likeliest(model: WorldModel, start: State, actions: Tensor) -> Tensor:
    state, seen = start, []
    for action in actions.unbind(1):
        h = model.rssm.recurrent(state, action)
        prior = model.rssm.prior(h)
        state = State(h, torch.eye(prior.shape[-1])[prior.argmax(-1)])
        seen.append(model.predict_obs(state.feature))
    return torch.stack(seen, 1)


def peeking(model: WorldModel, start: State, actions: Tensor) -> Tensor:
    state, seen = start, []
    for action in actions.unbind(1):
        state = model.rssm.imagine_step(state, action)
        seen.append(model.predict_obs(state.feature))
        state = State(state.h, sample(unimix(model.rssm.posterior(state.h, model.encoder(seen[-1])))))
    return torch.stack(seen, 1)


def wrong_along(**how: Any) -> Callable:
    return lambda *case: along(*case, **how)


def weight_cases() -> list[tuple]:
    return [(torch.tensor([[0.75, 0.5, 0.0, 1.0]]),), (uniform(3, 5),), (0.9 + 0.1 * uniform(4, 16),)]


EXERCISES = (
    Exercise(
        "dream_along",
        dream_along,
        along_cases,
        probe=along_probe,
        mistakes=(
            Mistake(
                likeliest,
                "z is the likeliest face of each die. A dream throws the dice with the prior's probabilities: "
                "`imagine_step` does that.",
            ),
            Mistake(
                wrong_along(soft=True, mixed=False),
                "z is the prior's probabilities, by softmax. A dream throws the dice: `imagine_step` samples.",
            ),
            Mistake(
                lambda m, s, a: dream_along(m, s, a[:, : len(a)]),
                "`len(actions)` is N, the number of dreams. The number of steps is `actions.shape[1]`.",
            ),
            Mistake(
                lambda m, s, a: dream_along(m, s, a).flatten(1),
                "The steps are put side by side in one axis, as `torch.cat` does. `torch.stack(…, 1)` gives them an "
                "axis of their own.",
            ),
            Mistake(
                lambda m, s, a: dream_along(m, s, a.transpose(0, 1)),
                "The loop runs over the dreams, axis 0. Steps are axis 1: `actions[:, t]`, or `actions.unbind(1)`.",
            ),
            Mistake(
                wrong_along(wrap=True),
                "The actions are one step late: step t uses actions[:, t]; at t = 0 your t - 1 takes the LAST one.",
            ),
            Mistake(wrong_along(early_action=True), "The actions are one step early: step t uses actions[:, t]."),
            Mistake(
                wrong_along(old_z=True),
                "Only the memory moves on: the dice of the start are never thrown again. `imagine_step` does both "
                "halves of a step.",
            ),
            Mistake(
                wrong_along(soft=True),
                "z is the prior's probabilities. A dream throws the dice: `imagine_step` samples.",
            ),
            Mistake(
                lambda m, s, a: along(m, s, a)[:, -1:].expand(-1, a.shape[1], -1),
                "Every step shows the last observation. Read one after each step.",
            ),
            Mistake(
                wrong_along(raw=True),
                "These are in symlog space, where the decoder speaks. `world_model.predict_obs` undoes that; use its "
                "answer as it is.",
            ),
            Mistake(wrong_along(twice=True), "symexp is applied twice: `predict_obs` has undone the symlog already."),
            Mistake(
                wrong_along(early=True),
                "Everything is one step late: it shows the state before the action. First take the step, then read.",
            ),
            Mistake(wrong_along(late=True), "The actions are one step late: step t uses actions[:, t]."),
            Mistake(wrong_along(carry=False), "The state is not carried on: every step starts from `start` again."),
            Mistake(
                wrong_along(stack=0),
                "Stacked along axis 0: the result is (H, N, O). The batch comes first: stack along axis 1.",
            ),
            Mistake(wrong_along(zero_z=True), "z is thrown away. The feature needs both h and z."),
            Mistake(wrong_along(backwards=True), "The actions are taken in reverse order."),
            Mistake(
                wrong_along(begin=True),
                "The start is among the observations. H actions make H observations, one after each action.",
            ),
            Mistake(wrong_along(first=True), "Every step takes the first action; step t takes actions[:, t]."),
            Mistake(
                wrong_along(again=True),
                "imagine_step is called twice for each action: each call throws the dice again. Step once, and read "
                "that state.",
            ),
            Mistake(
                lambda m, s, a: along(m, s, a)[:, -1],
                "Only the last observation comes back. Return one after each step, (N, H, O).",
            ),
            Mistake(
                lambda m, s, a: torch.cat(along(m, s, a).unbind(1), 0),
                "The steps are put one below the other, as `torch.cat(…, 0)` does. `torch.stack(…, 1)` gives them an "
                "axis of their own.",
            ),
            Mistake(
                lambda m, s, a: along(m, s, a)[:, :1], "Only the first step is taken. Is the `return` inside the loop?"
            ),
            Mistake(
                lambda m, s, a: m.predict_obs(s.feature)[:, None].expand(-1, a.shape[1], -1) + 0 * along(m, s, a),
                "Each observation is read from the start. Read it from the state after the step.",
            ),
            Mistake(
                lambda m, s, a: (lambda x: torch.sign(x) * x.abs().log1p())(along(m, s, a, raw=True)),
                "symlog is applied to what is in symlog space already. `world_model.predict_obs` applies symexp.",
            ),
            Mistake(
                lambda m, s, a: torch.expm1(along(m, s, a, raw=True)),
                "expm1 is right only for numbers above 0. `world_model.predict_obs` applies symexp.",
            ),
            Mistake(
                lambda m, s, a: along(m, s, a).cumsum(1),
                "The observations are added up. The decoder gives each observation itself, not a change.",
            ),
            Mistake(
                lambda m, s, a: along(m, s, a.cumsum(1)), "The actions are added up. Step t takes actions[:, t] alone."
            ),
            Mistake(
                lambda m, s, a: along_with(m, s, a, m.predict_reward),
                "These are rewards. `world_model.predict_obs` reads the observation.",
            ),
            Mistake(
                lambda m, s, a: along_with(m, s, a, lambda feature: feature),
                "These are features. `world_model.predict_obs` reads the observation from them.",
            ),
            Mistake(unmixed, UNMIXED),
            Mistake(peeking, PEEKED),
            Mistake(
                lambda m, s, a: m.predict_obs(s.feature)[:, None] + along(m, s, a).cumsum(1),
                "Each answer is added to the observation before. The decoder gives the whole observation, not"
                " a change.",
            ),
            Mistake(
                wrong_along(old_h=True),
                "The dice are new at each step, but the memory stays that of the start. Carry on the whole "
                "state that `imagine_step` returns.",
            ),
            Mistake(
                lambda m, s, a: along(m, s, a).mean(0, keepdim=True).expand(len(a), -1, -1),
                "The observations are averaged over the dreams. Each dream has its own.",
            ),
        ),
        hints=(
            "For each action, take one imagined step, then read the observation.",
            "For each t: one `imagine_step` with `actions[:, t]`, then `world_model.predict_obs(state.feature)`. "
            "Collect and stack along axis 1.",
            "`state, seen = start, []`, then for each t: `state = world_model.rssm.imagine_step(state, actions[:, "
            "t])`, "
            "`seen.append(world_model.predict_obs(state.feature))`. At the end `return torch.stack(seen, 1)`",
        ),
    ),
    Exercise(
        "imagine",
        imagine,
        imagine_cases,
        probe=imagine_probe,
        kept_for="imagination:imagine",
        mistakes=(
            Mistake(
                lambda *case: imagine(*case)._replace(states=State(*(part[:, -1] for part in imagine(*case).states))),
                "Only the last state comes back. Return all H + 1: `world_model.rssm.state(features)`.",
            ),
            Mistake(
                wrong_dream(sparing=True),
                "Rewards and continues keep a gradient: they are read outside of no_grad. All of it belongs under "
                "`torch.no_grad()`.",
            ),
            Mistake(
                wrong_dream(after=True),
                "Everything is collected after the step. State 0 is the start itself, and actions[:, t] belongs to "
                "the state it was chosen in: collect first, then step.",
            ),
            Mistake(wrong_dream(discount=0.98), "There is an extra discount: the continue head already contains it."),
            Mistake(
                wrong_dream(discount=0.99), "There is an extra 0.99: the continue head already contains the discount."
            ),
            Mistake(
                wrong_dream(noted=True),
                "The recorded actions are sampled a second time, after the loop, so they are not the actions that "
                "were taken.",
            ),
            Mistake(
                wrong_dream(steps=0), "The dream is one state short: start plus `horizon` steps make H + 1 states."
            ),
            Mistake(
                wrong_dream(steps=2), "The dream is one state too long: start plus `horizon` steps make H + 1 states."
            ),
            Mistake(
                wrong_dream(mode=True), "The actions are the most likely ones. A dream explores: take `.sample()`."
            ),
            Mistake(wrong_dream(carry=False), "The state is not carried on: every step starts from `start` again."),
            Mistake(
                wrong_dream(logits=True),
                "The continues are logits. `world_model.predict_continue` gives probabilities.",
            ),
            Mistake(
                wrong_dream(gradient=True),
                "Gradients are kept. Nothing has to flow back through the dream: put @torch.no_grad() above it, or "
                "`with torch.no_grad():` inside.",
            ),
            Mistake(
                wrong_dream(reward_at=1),
                "The rewards are one step early: rewards[:, t] is read from state t, not from the state after it.",
            ),
            Mistake(
                wrong_dream(stack=0),
                "Stacked along axis 0: the result is (H+1, N, …). The batch comes first: stack along axis 1.",
            ),
            Mistake(
                wrong_dream(stale=True),
                "The policy looks at the start all the time. It must choose in the state of each step.",
            ),
            Mistake(
                wrong_dream(again=True),
                "The recorded action is not the one that is taken: each `.sample()` draws again. Sample once, and "
                "use it for both.",
            ),
            Mistake(
                wrong_dream(short=True),
                "There are only H actions. An action is chosen in the last state, too, though no step is taken.",
            ),
            Mistake(
                wrong_dream(silent=True),
                "The last action is empty. An action is chosen in the last state, too, though no step is taken.",
            ),
            Mistake(
                wrong_dream(led=True),
                "The actions are those that LED to each state, as in the replay. In a dream, actions[:, t] is chosen "
                "IN state t.",
            ),
            Mistake(wrong_dream(swap=True), "Rewards and continues are swapped."),
            Mistake(
                wrong_dream(raw=True),
                "The rewards are two-hot logits. `world_model.predict_reward` reads a number from them.",
            ),
            Mistake(
                wrong_dream(skip=True),
                "State 0 is the start itself, before any step. This dream begins one step later.",
            ),
            Mistake(
                changed(lambda d: d._replace(continues=d.continues.cumprod(1))),
                "The continues are multiplied together. Keep one for each state; the weights come later.",
            ),
            Mistake(
                changed(lambda d: d._replace(continues=d.continues.round())),
                "The continues are rounded to 0 or 1. They are probabilities; keep them as they are.",
            ),
            Mistake(
                changed(lambda d: d._replace(rewards=d.rewards.cumsum(1))),
                "The rewards are added up. Keep one for each state.",
            ),
            Mistake(
                changed(lambda d: d._replace(rewards=d.rewards * 0.99 ** torch.arange(d.rewards.shape[1]))),
                "The rewards are discounted. The continues contain the discount; keep the rewards as they are.",
            ),
            Mistake(
                changed(
                    lambda d: d._replace(
                        continues=torch.cat([torch.ones_like(d.continues[:, :1]), d.continues[:, 1:]], 1)
                    )
                ),
                "The first continue is set to 1. Read it from the start, as from every other state.",
            ),
            Mistake(
                changed(
                    lambda d: d._replace(rewards=torch.cat([torch.zeros_like(d.rewards[:, :1]), d.rewards[:, 1:]], 1))
                ),
                "The first reward is set to 0. Read it from the start, as from every other state.",
            ),
            Mistake(
                changed(lambda d: d._replace(actions=d.actions.argmax(-1))),
                "The actions are numbers. Keep them one-hot, as the policy gives them.",
            ),
            Mistake(
                wrong_dream(previous=True),
                "The step takes the action of the state before. From state t the model steps with the action chosen in "
                "state t.",
            ),
            Mistake(
                changed(lambda d: d._replace(features=d.actions, actions=d.features)),
                "Features and actions are in the wrong order: states, features, actions, rewards, continues.",
            ),
            Mistake(
                changed(lambda d: d._replace(rewards=d.rewards[:, 1:], continues=d.continues[:, 1:])),
                "The start's reward and continue are missing. All parts have H + 1 entries.",
            ),
            Mistake(
                wrong_dream(once=True),
                "The policy chooses once, at the start, and that action is repeated. It must choose anew in "
                "each state.",
            ),
            Mistake(
                wrong_dream(lagging=True), "The policy sees the previous state. It must choose in the current one."
            ),
            Mistake(
                changed(lambda d: d._replace(rewards=d.rewards * d.continues.cumprod(1))),
                "The rewards are multiplied by the continues. Keep them as the model predicts them; the "
                "weights come later.",
            ),
        ),
        hints=(
            "A loop over H + 1 states. In each, the policy chooses and the heads read; then the model takes a step, "
            "except after the last.",
            "In state t: `feature = state.feature`, `action = actor(feature).sample()`, reward and continue from "
            "`world_model.predict_reward(feature)` and "
            "`world_model.predict_continue(feature)`. Then `world_model.rssm.imagine_step(state, action)`, but not "
            "after the last.",
            "Collect `(feature, action, reward, goes_on)` in a list `steps`. After the loop: `features, actions, "
            "rewards, continues = (torch.stack(part, 1) for part in "
            "zip(*steps))` and `return Dream(world_model.rssm.state(features), features, actions, rewards, "
            "continues)`, all under `torch.no_grad()`.",
        ),
    ),
    Exercise(
        "step_weights",
        step_weights,
        weight_cases,
        probe=weights_probe,
        letters="NH",
        kept_for="imagination:step_weights",
        mistakes=(
            Mistake(
                lambda c: c[:, :-1] ** torch.arange(1, c.shape[1]),
                "Each continue is raised to a power. The weight is the product of all continues up to this state; "
                "they differ.",
            ),
            Mistake(
                lambda c: c.flip(1).cumprod(1).flip(1)[:, :-1],
                "The product runs backwards, from each state to the end. It should run from the start up to this "
                "state.",
            ),
            Mistake(
                lambda c: c.cumprod(1)[:-1],
                "`[:-1]` leaves out the last dream of the batch. Steps are the second axis: `[:, :-1]`.",
            ),
            Mistake(
                lambda c: c[:, :-1].cumprod(1) * 0.99 ** torch.arange(c.shape[1] - 1),
                "The discount is applied a second time: the continues already contain it.",
            ),
            Mistake(
                lambda c: torch.cat([torch.ones_like(c[:, :1]), c[:, 1:]], 1).cumprod(1)[:, :-1],
                "The start's own continue is replaced by 1. The product begins with it, c_0.",
            ),
            Mistake(
                lambda c: torch.cat([c[:, :1], c[:, :-2] * c[:, 1:-1]], 1),
                "Only two neighbouring continues are multiplied. Take the product of all up to this state.",
            ),
            Mistake(
                lambda c: c[:, :-1] * c[:, 1:],
                "This multiplies each continue by the next one only. Take the product of all up to this state.",
            ),
            Mistake(
                lambda c: (c > 0.5).float().cumprod(1)[:, :-1],
                "The continues are rounded to 0 or 1. They are probabilities; use them as they are.",
            ),
            Mistake(lambda c: c.cumprod(1), "The last state has no weight: H + 1 continues give H weights."),
            Mistake(lambda c: c.cumprod(1)[:, 1:], "The first product is cut off instead of the last."),
            Mistake(
                lambda c: torch.cat([torch.ones_like(c[:, :1]), c[:, :-2].cumprod(1)], 1),
                "The weights are one step late: the weight of state t includes its own continue.",
            ),
            Mistake(lambda c: c[:, :-1], "The product is missing: a step counts only if all before it went on."),
            Mistake(
                lambda c: c.cumsum(1)[:, :-1],
                "This is a running sum. The probability that the episode went on at every step is a product.",
            ),
            Mistake(
                lambda c: c.cumprod(0)[:, :-1], "The product runs over the batch; it should run over time, axis 1."
            ),
            Mistake(
                lambda c: c[:, :-1].flip(1).cumprod(1).flip(1),
                "The product runs backwards: it should take what came BEFORE, not what comes after.",
            ),
            Mistake(
                lambda c: c.prod(1, keepdim=True).expand(-1, c.shape[1] - 1),
                "This is one product for the whole dream. Each step has its own.",
            ),
            Mistake(
                lambda c: (0.99 * c).cumprod(1)[:, :-1], "There is an extra discount: the continues already contain it."
            ),
            Mistake(lambda c: c.cumprod(1)[:, :-2], "Two states are cut off; only the last one has no weight."),
            Mistake(lambda c: c[:, 1:].cumprod(1), "The start's own continue is left out. The product begins with it."),
            Mistake(
                lambda c: c.log().cumsum(1)[:, :-1],
                "These are logarithms of the weights. The product itself is `cumprod(1)`.",
            ),
            Mistake(
                lambda c: c.cummin(1).values[:, :-1],
                "This is the smallest continue so far. The weight is their product.",
            ),
            Mistake(lambda c: c.prod(1), "This is one product for each dream. Each step has its own: (N, H)."),
            Mistake(
                lambda c: (1 - c).cumprod(1)[:, :-1],
                "1 - c is the probability of an end. The weight is the product of the continues themselves.",
            ),
            Mistake(
                lambda c: (c > 0).float().cumprod(1)[:, :-1],
                "Every continue above 0 counts as 1. They are probabilities; use them as they are.",
            ),
            Mistake(
                lambda c: c.cumprod(1)[:, :-1] / c.cumprod(1)[:, :-1].sum(1, keepdim=True),
                "The weights are divided by their sum. Keep the products: a dream that ends early counts less.",
            ),
            Mistake(
                lambda c: c[:, :-1] * c[:, :1],
                "Each continue is multiplied by the first one only. Take the product of all up to this state.",
            ),
            Mistake(
                lambda c: 0.99 ** torch.arange(c.shape[1] - 1) * c[:, :-1],
                "This is a discount times one continue. Take the product of all continues up to this state.",
            ),
            Mistake(
                lambda c: c[:, :-1].cumsum(1) / torch.arange(1, c.shape[1]),
                "This is the mean of the continues so far. The weight is their product.",
            ),
            Mistake(
                lambda c: torch.cat([torch.ones_like(c[:, :1]), c.cumprod(1)[:, :-2]], 1) * (1 - c[:, :-1]),
                "This is the probability that the episode ends just here. The weight is the probability that "
                "it went on up to here.",
            ),
            Mistake(
                lambda c: c.cumprod(1)[:, :-1] / c[:, :-1].clamp(min=1e-6) * (1 - c[:, :-1]),
                "The state's own continue is divided out, and 1 - c put in its place. The weight includes c "
                "itself: `cumprod(1)`.",
            ),
        ),
        hints=(
            "Step t counts only as far as the episode went on at every state up to t.",
            "`cumprod(1)` gives all running products at once. No step is taken from the last state.",
            "`return continues.cumprod(1)[:, :-1]`",
        ),
    ),
)
