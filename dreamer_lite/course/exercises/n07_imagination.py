"""Exercises of notebook 07: dream with the policy, dream along given actions, the weight of each step."""

from typing import Any, Callable

from torch import Tensor
import torch
import torch.nn.functional as F

from ...imagination import Dream, imagine, step_weights
from ...rssm import RSSM, State
from ...world_model import WorldModel
from ..checker import Exercise, Mistake


def dream_along(world_model: WorldModel, start: State, actions: Tensor) -> Tensor:
    """What the model expects to see, in the observation's own units, if these actions are taken: start (N, …), (N, H, A) → (N, H, O)."""
    state, seen = start, []
    for t in range(actions.shape[1]):
        state = world_model.rssm.imagine_step(state, actions[:, t])
        seen.append(world_model.predict_obs(state.feature))
    return torch.stack(seen, 1)


class SureRSSM(RSSM):
    """Its dreams always take the likeliest class, so that two right versions dream the same."""

    def imagine_step(self, state: State, action: Tensor, noise: Tensor | None = None) -> State:
        z = self.prior(h := self.recurrent(state, action)).argmax(-1)
        return State(h, F.one_hot(z, self.classes).to(h.dtype))


class SureActor(torch.nn.Linear):
    """A policy whose sample depends on the feature alone, and differs from its mode."""

    def forward(self, feature: Tensor) -> Any:
        order = super().forward(feature).argsort(-1)
        return type("Policy", (), {"sample": lambda _: F.one_hot(order[..., 0], order.shape[-1]).float(),
                                   "mode": F.one_hot(order[..., -1], order.shape[-1]).float()})()


def tiny_model() -> WorldModel:
    model = WorldModel(3, 2, 8, 5, 2, 3, 6, blocks=2, layers=1, bins=11, horizon=50)
    model.rssm = SureRSSM(6, 2, 8, 5, 2, 3, 2)
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    return model


def a_start(N: int) -> State:
    return State(torch.randn(N, 8), torch.eye(3)[torch.randint(3, (N, 2))])


def imagine_cases() -> list[tuple]:
    return [(tiny_model(), SureActor(14, 2), a_start(N), H) for N, H in ((2, 3), (8, 6), (12, 8))]


PARTS = ("h", "z", "the features", "the actions", "the rewards", "the continues")


def imagine_probe(version: Callable, *case: Any) -> dict:
    out = version(*case)
    if not isinstance(out, tuple) or len(out) != 5 or not isinstance(out[0], tuple) or len(out[0]) != 2:
        return dict.fromkeys(("the Dream, five things", *PARTS, "the number of parts that keep a gradient"), out)
    parts = dict(zip(PARTS, (*out[0], *out[1:])))
    return {"the Dream, five things": (0,) * 5, **parts,
            "the number of parts that keep a gradient": sum(isinstance(part, Tensor) and part.requires_grad for part in parts.values())}


def dreamt(model: WorldModel, actor: Any, start: State, horizon: int, *, steps: int = 1, mode: bool = False, carry: bool = True,
           logits: bool = False, gradient: bool = False, reward_at: int = 0, stack: int = 1, stale: bool = False,
           skip: bool = False) -> Dream:
    """imagine with one thing wrong."""
    with torch.set_grad_enabled(gradient):
        state, rows = start, []
        if skip:
            state = model.rssm.imagine_step(state, actor(state.feature).sample())
        for t in range(horizon + steps):
            feature = state.feature
            policy = actor(start.feature if stale else feature)
            action = policy.mode if mode else policy.sample()
            following = model.rssm.imagine_step(state, action)
            reward = model.predict_reward(following.feature if reward_at else feature)
            goes_on = model.continue_head(feature).squeeze(-1) if logits else model.predict_continue(feature)
            rows.append((feature, action, reward, goes_on))
            if t < horizon + steps - 1:
                state = following if carry else model.rssm.imagine_step(start, action)
        features, actions, rewards, continues = (torch.stack(part, stack) for part in zip(*rows))
        return Dream(model.rssm.state(features), features, actions, rewards, continues)


def wrong_dream(**how: Any) -> Callable:
    return lambda *case: dreamt(*case, **how)


def along_cases() -> list[tuple]:
    return [(tiny_model(), a_start(N), torch.eye(2)[torch.randint(2, (N, H))]) for N, H in ((1, 2), (3, 5), (2, 6))]


def along(model: WorldModel, start: State, actions: Tensor, *, raw: bool = False, early: bool = False, late: bool = False, carry: bool = True,
          stack: int = 1, zero_z: bool = False, twice: bool = False, backwards: bool = False) -> Tensor:
    """dream_along with one thing wrong."""
    state, seen = start, []
    for t in range(actions.shape[1]):
        at = actions.shape[1] - 1 - t if backwards else max(t - 1, 0) if late else t
        if early:
            seen.append(model.predict_obs(state.feature))
        state = model.rssm.imagine_step(state if carry else start, actions[:, at])
        if zero_z:
            state = State(state.h, torch.zeros_like(state.z))
        if not early:
            read = model.decoder(state.feature) if raw else model.predict_obs(state.feature)
            seen.append(torch.sign(read) * read.abs().expm1() if twice else read)
    return torch.stack(seen, stack)


def wrong_along(**how: Any) -> Callable:
    return lambda *case: along(*case, **how)


def weight_cases() -> list[tuple]:
    return [(torch.tensor([[1.0, 0.5, 0.0, 1.0]]),), (torch.rand(3, 5),), (0.9 + 0.1 * torch.rand(4, 16),)]


EXERCISES = (
    Exercise(
        "dream_along", dream_along, along_cases,
        mistakes=(
            Mistake(wrong_along(raw=True), "The decoder speaks symlog; use `world_model.predict_obs`, which undoes it."),
            Mistake(wrong_along(twice=True), "symexp is applied twice: `predict_obs` has undone the symlog already."),
            Mistake(wrong_along(early=True), "Everything is one step late: it shows the state before the action. First take the step, then read."),
            Mistake(wrong_along(late=True), "The actions are one step late: step t uses actions[:, t]."),
            Mistake(wrong_along(carry=False), "The state is not carried on: every step starts from `start` again."),
            Mistake(wrong_along(stack=0), "Stacked along axis 0: the result is (H, N, O). The batch comes first: stack along axis 1."),
            Mistake(wrong_along(zero_z=True), "z is thrown away. The feature needs both h and z."),
            Mistake(wrong_along(backwards=True), "The actions are taken in reverse order."),
        ),
        hints=("Like imagine, but the actions are given, and what is read is the observation.",
               "For each t: one `imagine_step` with `actions[:, t]`, then `world_model.predict_obs(state.feature)`. Collect and stack along axis 1.",
               "`state, seen = start, []`, then for each t: `state = world_model.rssm.imagine_step(state, actions[:, t])`, "
               "`seen.append(world_model.predict_obs(state.feature))`. At the end `return torch.stack(seen, 1)`"),
    ),
    Exercise(
        "imagine", imagine, imagine_cases, probe=imagine_probe, kept_for="imagination:imagine",
        mistakes=(
            Mistake(wrong_dream(steps=0), "The dream is one state short: start plus `horizon` steps make H + 1 states."),
            Mistake(wrong_dream(steps=2), "The dream is one state too long: start plus `horizon` steps make H + 1 states."),
            Mistake(wrong_dream(mode=True), "The actions are the most likely ones. A dream explores: take `.sample()`."),
            Mistake(wrong_dream(carry=False), "The state is not carried on: every step starts from `start` again."),
            Mistake(wrong_dream(logits=True), "The continues are logits. `world_model.predict_continue` gives probabilities."),
            Mistake(wrong_dream(gradient=True), "Gradients are kept. Nothing has to flow back through the dream: put @torch.no_grad() above it, or `with torch.no_grad():` inside."),
            Mistake(wrong_dream(reward_at=1), "The rewards are one step early: rewards[:, t] is read from state t, not from the state after it."),
            Mistake(wrong_dream(stack=0), "Stacked along axis 0: the result is (H+1, N, …). The batch comes first: stack along axis 1."),
            Mistake(wrong_dream(stale=True), "The first action is repeated, as if the policy looked at the start all the time. It must choose anew in the state of each step."),
            Mistake(wrong_dream(skip=True), "State 0 is the start itself, before any step. This dream begins one step later."),
        ),
        hints=("A loop over H + 1 states. In each: the policy chooses, the heads read, and unless it was the last one, the model takes a step.",
               "In state t: `feature = state.feature`, `action = actor(feature).sample()`, reward and continue from `world_model.predict_reward(feature)` and "
               "`world_model.predict_continue(feature)`. Then `world_model.rssm.imagine_step(state, action)`, but not after the last.",
               "Collect `(feature, action, reward, goes_on)` in a list `steps`. After the loop: `features, actions, rewards, continues = (torch.stack(part, 1) for part in "
               "zip(*steps))` and `return Dream(world_model.rssm.state(features), features, actions, rewards, continues)`, all under `torch.no_grad()`."),
    ),
    Exercise(
        "step_weights", step_weights, weight_cases, letters="NH", kept_for="imagination:step_weights",
        mistakes=(
            Mistake(lambda c: c.cumprod(1), "The last state has no weight: H + 1 continues give H weights."),
            Mistake(lambda c: c.cumprod(1)[:, 1:], "The first product is cut off instead of the last."),
            Mistake(lambda c: torch.cat([torch.ones_like(c[:, :1]), c[:, :-2].cumprod(1)], 1), "The weights are one step late: the weight of state t includes its own continue."),
            Mistake(lambda c: c[:, :-1], "The product is missing: a step counts only if all before it went on."),
            Mistake(lambda c: c.cumsum(1)[:, :-1], "This is a running sum. How likely it is that all went on is a product."),
            Mistake(lambda c: c.cumprod(0)[:, :-1], "The product runs over the batch; it should run over time, axis 1."),
            Mistake(lambda c: c[:, :-1].flip(1).cumprod(1).flip(1), "The product runs backwards: it should take what came BEFORE, not what comes after."),
            Mistake(lambda c: c.prod(1, keepdim=True).expand(-1, c.shape[1] - 1), "This is one product for the whole dream. Each step has its own."),
            Mistake(lambda c: c[:, 1:].cumprod(1), "The start's own continue is left out. The product begins with it."),
        ),
        hints=("What counts at step t is what all steps up to t let through.",
               "`cumprod(1)` gives all running products at once. The last state takes no action that is carried out.",
               "`return continues.cumprod(1)[:, :-1]`"),
    ),
)
