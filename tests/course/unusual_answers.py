"""Answers in unusual styles, right and wrong, beside those in right_answers.py. Most were once judged otherwise."""

import numpy as np
import right_answers
from right_answers import dream_returns, kl, lambda_return, symlog
import torch
import torch.nn.functional as F

from dreamer_lite.agent import Carry
from dreamer_lite.course.index import EXERCISES
from dreamer_lite.imagination import Dream
from dreamer_lite.latents import sample as finished_sample
from dreamer_lite.latents import unimix as finished_unimix
from dreamer_lite.rssm import State


def with_own_steps(chances):
    """dream_along without `imagine_step`. chances(rssm, before, h, t): of the dice at step t, from the state before and
    the new h."""

    def dream_along(world_model, start, actions):
        state, seen = start, []
        for t, action in enumerate(actions.unbind(1)):
            h = world_model.rssm.recurrent(state, action)
            state = State(h, finished_sample(chances(world_model.rssm, state, h, t)))
            seen.append(world_model.predict_obs(state.feature))
        return torch.stack(seen, 1)

    return dream_along


def right_chances(rssm, before, h, t):
    return finished_unimix(rssm.prior(h))


def chances_of_the_prior_net(rssm, before, h, t):
    return finished_unimix(rssm.prior_net(h).unflatten(-1, (rssm.groups, rssm.classes)))


def chances_of_the_old_h(rssm, before, h, t):
    return finished_unimix(rssm.prior(before.h))


def later_all_alike(rssm, before, h, t):
    chances = right_chances(rssm, before, h, t)
    return torch.ones_like(chances) / chances.shape[-1] if t else chances


def chances_of_the_first_row(rssm, before, h, t):
    chances = right_chances(rssm, before, h[:1], t)
    return chances.expand(len(h), *chances.shape[1:]).contiguous()


def dice_of_torch(world_model, start, actions):
    (h, z), features = start, []
    for t in range(actions.shape[1]):
        h = world_model.rssm.recurrent(State(h, z), actions[:, t])
        z = torch.distributions.OneHotCategorical(probs=finished_unimix(world_model.rssm.prior(h))).sample()
        features.append(State(h, z).feature)
    return world_model.predict_obs(torch.stack(features, 1))


def with_reward(kind):
    def step(world, action):
        obs, reward, *rest = EXERCISES["step"].finished(world, action)
        return obs, kind(reward), *rest

    return step


def one_dream_after_the_other(world_model, start, actions):
    rows = []
    for n in range(len(actions)):
        state, seen = State(start.h[n : n + 1], start.z[n : n + 1]), []
        for t in range(actions.shape[1]):
            state = world_model.rssm.imagine_step(state, actions[n : n + 1, t])
            seen.append(world_model.predict_obs(state.feature))
        rows.append(torch.stack(seen, 1))
    return torch.cat(rows)


def observes(mixed):
    """observe, with unimix written another way; for given noise, as long as the gradients are those of the notebook."""

    def observe(rssm, tokens, actions, is_first, start, noise=None):
        state, states, logits = start, [], []
        for t in range(tokens.shape[1]):
            keep = (~is_first[:, t]).float()
            state = State(state.h * keep[:, None], state.z * keep[:, None, None])
            h = rssm.recurrent(state, actions[:, t] * keep[:, None])
            logits.append(rssm.posterior(h, tokens[:, t]))
            state = State(h, finished_sample(mixed(logits[-1]), None if noise is None else noise[:, t]))
            states.append(state)
        return State(*(torch.stack(part, 1) for part in zip(*states))), torch.stack(logits, 1)

    return observe


def in_place(q, p, free_nats):
    return kl(q, p).clamp_(min=free_nats)


def by_torch(posterior, prior, free_nats=1.0):
    dice = torch.distributions.Categorical
    one = lambda a, b: torch.distributions.kl_divergence(dice(a), dice(b)).sum(-1).clamp(min=free_nats)
    return one(posterior.detach(), prior), one(posterior, prior.detach())


def in_double(rewards, continues, values, bootstrap, lam):
    return lambda_return(*(part.double() for part in (rewards, continues, values, bootstrap)), lam)


SEVEN = {"B": 9, "C": 4, "D": 0, "E": 6, "F": 3, "G": 10, "H": 8}


RIGHT = [
    ("diagnoses", lambda: {"A": 1} | SEVEN),
    ("diagnoses", lambda: SEVEN | {"note": "seven are enough"}),
    ("diagnoses", lambda: {f" {letter.lower()} ": float(number) for letter, number in SEVEN.items()}),
    ("diagnoses", lambda: {letter: np.int64(number) for letter, number in SEVEN.items()} | {"I": None}),
    ("causes", lambda: {"a": " Sluggish", "b": "CURIOUS ", "c": "forgetful", "healthy": ""}),
    ("dream_along", with_own_steps(right_chances)),
    ("dream_along", dice_of_torch),
    ("dream_along", one_dream_after_the_other),
    ("dream_along", with_own_steps(chances_of_the_prior_net)),
    ("observe", observes(lambda logits: 0.99 * logits.softmax(-1) + 0.01 / logits.shape[-1])),
    ("observe", observes(lambda logits: torch.lerp(logits.softmax(-1), torch.ones(()) / logits.shape[-1], 0.01))),
    ("observe", observes(lambda l: (0.99 * l.double().softmax(-1) + 0.01 / l.shape[-1]).float())),
    ("sizes", lambda D, S, K: ([np.int64(D)], (S, K), (D + np.prod((S, K)),))),
    ("kl_losses", by_torch),
    ("mended", lambda: right_answers.mended() | {"lambda_return": in_double}),
    ("expose", lambda: np.float32(0.3)),
    ("expose", lambda: -1e-5),
    ("step", with_reward(np.float32)),
    ("steps_due", lambda env_steps, ratio, batch, length: env_steps * ratio // (batch * length)),
    (
        "kl_losses",
        lambda q, p, free_nats=1.0: [kl(*x).clamp_(min=free_nats) for x in ((q.detach(), p), (q, p.detach()))],
    ),
    ("dream_returns", lambda r, c, v, lam=0.95: lambda_return(r, c, v, v[:, -1], lam)[:, 1:]),
    ("lambda_return", torch.no_grad()(lambda_return)),
    ("act", torch.inference_mode()(right_answers.act)),
    ("dream_returns", torch.no_grad()(dream_returns)),
]


def paid_by_a_flag(world, action):
    """The count of catches taken for a flag: after one catch, no miss ends the game."""
    if world.row == 0:
        world.drop()
        return world.look(), 0.0, False, False, {}
    if world.row <= 3:
        world.paddle = max(-3, min(3, world.paddle + action - 1))
    world.row -= 1
    landed = world.row == 0
    if landed and world.paddle == world.ball:
        world.caught += 1
    reward = 1.0 if landed and world.caught else 0.0
    return world.look(), reward, landed and not world.caught, world.caught == world.balls, {}


def left_is_under(world, action):
    was_above = world.row == 1
    obs, reward, terminated, truncated, info = EXERCISES["step"].finished(world, action)
    if was_above and world.paddle < world.ball:  # taken for a catch
        world.caught += 1
        return obs, 1.0, False, world.caught == world.balls, info
    return obs, reward, terminated, truncated, info


def own_imagined_steps(world_model, actor, start, horizon):
    state, states, actions = start, [], []
    for _ in range(horizon + 1):
        states.append(state)
        actions.append(actor(state.feature).sample())
        h = world_model.rssm.recurrent(state, actions[-1])
        state = State(h, finished_sample(finished_unimix(world_model.rssm.prior(h))))
    states = State(*(torch.stack(part, 1) for part in zip(*states)))
    rewards, continues = world_model.predict_reward(states.feature), world_model.predict_continue(states.feature)
    return Dream(states, states.feature, torch.stack(actions, 1), rewards, continues)


def for_good(version):
    """Turns gradients off and not on again."""

    def quiet(*case):
        torch.set_grad_enabled(False)
        return version(*case)

    return quiet


def cut(log_probs, entropies, advantages, weights, entropy_scale=3e-4):
    advantages.detach_()
    return -weights * (advantages * log_probs + entropy_scale * entropies)


def flat_loss(logits, x, bins):
    targets = right_answers.two_hot(x, bins).flatten(0, -2)
    return F.cross_entropy(logits.flatten(0, -2), targets, reduction="none").view(x.shape)


def clamped_noise(probs, noise=None):
    u = torch.rand_like(probs).clamp(0.01, 0.99)
    noise = -torch.log(-torch.log(u)) if noise is None else noise
    hard = F.one_hot((probs.log() + noise).argmax(-1), probs.shape[-1]).to(probs.dtype)
    return hard + (probs - probs.detach())


def clamped_kl(q, p):
    return (q * (q.clamp(min=0.01).log() - p.clamp(min=0.01).log())).sum((-2, -1))


def all_or_none(rssm, tokens, actions, is_first, start, noise=None):
    later = is_first[:, 1:].any(0).expand(len(is_first), -1)
    return right_answers.observe(rssm, tokens, actions, torch.cat([is_first[:, :1], later], 1), start, noise)


def by_exp(h, reset, candidate, update):
    x = (2 * torch.sigmoid(reset) * candidate).exp()
    u = torch.sigmoid(update - 1)
    return u * (x - 1) / (x + 1) + (1 - u) * h


def error_of(real, dreamed):
    return (real - dreamed).abs().mean(-1)


def never_at_once(real, dreamed, tolerance):
    first = int((error_of(real, dreamed) > tolerance).long().argmax())
    return first or len(real)


def never_at_last(real, dreamed, tolerance):
    return next((t for t, e in enumerate(error_of(real, dreamed)[:-1]) if e > tolerance), len(real))


def newest_lost(ring, oldest, ages, steps):
    straight = torch.cat([ring[oldest:], ring[: max(oldest - 1, 0)]])
    return torch.stack([straight[age : age + steps] for age in ages.tolist()])


def squeezed(ring, oldest, ages, steps):
    return ring[(oldest + ages[:, None] + torch.arange(steps)) % len(ring)].squeeze()


def one_free_at_least(posterior, prior, free_nats=1.0):
    return right_answers.kl_losses(posterior, prior, free_nats or 1.0)


def by_rows(posterior, prior, free_nats=1.0):
    one = lambda a, b: torch.stack([kl(x, y) for x, y in zip(a, b)]).clamp(min=free_nats)
    return one(posterior.detach(), prior), one(posterior, prior.detach())


def act_by_hand(agent, obs, is_first, carry, greedy=False):
    with torch.no_grad():
        model, keep = agent.world_model, (~is_first).float()
        state = State(carry.state.h * keep[:, None], carry.state.z * keep[:, None, None])
        h = model.rssm.recurrent(state, carry.action * keep[:, None])
        z = finished_sample(finished_unimix(model.rssm.posterior(h, model.encoder(obs))))
        policy = agent.actor(State(h, z).feature)
        return Carry(State(h, z), policy.mode if greedy else policy.sample())


def third_loss(agent, dream):
    losses, found = right_answers.dream_losses(agent, dream)
    return losses | {"entropy": -found["policy_entropy"]}, found


def number_among_tensors(agent, dream):
    losses, found = right_answers.dream_losses(agent, dream)
    return losses, found | {"return_scale": float(found["return_scale"])}


def mended_with(**functions):
    return lambda: right_answers.mended() | functions


def fixed_scale(batches, rate, limit, low, high):
    return right_answers.mended()["return_scale"](batches, 0.1, 1.0, 0.05, 0.95)


def in_its_input(h, reset, candidate, update):
    return right_answers.mended()["gru"](h, reset, candidate, update.mul_(1.0).add_(0.5).sub_(0.5) + 0 * update.mul_(2))


def finite_only(healthy, sick, low, high):
    beyond = lambda x: ((x < low) | (x > high)) & x.isfinite()
    return int(beyond(sick).sum()), int((~beyond(sick)).sum()), int(beyond(healthy).sum())


# With words of the verdict, where it says what is wrong.
WRONG = [
    ("lets_go", never_at_once, ""),
    ("lets_go", never_at_last, ""),
    ("lean", lambda angle: (angle > 0).byte(), "`.long()` makes them usable as indices"),
    ("sizes", lambda D, S, K: (f"({D},)", f"({S}, {K})", f"({D + S * K},)"), ""),
    ("cut", newest_lost, ""),
    ("cut", squeezed, ""),
    ("symlog_loss", lambda p, t: torch.stack([(a - symlog(b)) ** 2 / 2 for a, b in zip(p, t)]), ""),
    ("kl_losses", one_free_at_least, ""),
    ("kl_losses", by_rows, ""),
    ("steps_due", lambda steps, ratio, batch, length: int(steps // (batch * length / ratio)), ""),
    ("steps_due", lambda steps, ratio, batch, length: int(steps / (batch * length / ratio)), ""),
    ("act", act_by_hand, "the check knows only the dice that `agent.world_model.observe` throws"),
    ("dream_losses", third_loss, "'entropy' has none"),
    ("dream_losses", number_among_tensors, "The entry 'return_scale' is a float"),
    ("mended", mended_with(return_scale=fixed_scale), "return_scale is off"),
    ("mended", mended_with(gru=in_its_input), "gru writes into its input"),
    ("tally", finite_only, ""),
    ("step", paid_by_a_flag, ""),
    ("step", left_is_under, ""),
    (
        "step",
        lambda world, action: (*(out := EXERCISES["step"].finished(world, action))[:2], int(out[2]), *out[3:]),
        "must be True or False",
    ),
    ("reset", lambda world, seed=None: EXERCISES["reset"].finished(world, seed=seed), "keep the names"),
    (
        "reset",
        lambda world, seed=None, options=None: (right_answers.reset(world, seed=seed)[0].astype(int), {}),
        "holds int64; the space declares float32",
    ),
    ("dream_along", with_own_steps(chances_of_the_old_h), ""),
    ("dream_along", with_own_steps(later_all_alike), ""),
    ("dream_along", with_own_steps(chances_of_the_first_row), ""),
    ("imagine", own_imagined_steps, "the check can follow a dream only through `imagine_step`"),
    ("imagine", torch.inference_mode()(right_answers.imagine), "`torch.inference_mode` makes"),
    ("two_hot_loss", torch.inference_mode()(right_answers.two_hot_loss), "no gradient reaches it"),
    ("step_weights", torch.inference_mode()(right_answers.step_weights), "`torch.inference_mode` makes"),
    ("step_weights", for_good(right_answers.step_weights), "turns gradients off"),
    ("actor_loss", cut, "changes its input `advantages` itself"),
    ("two_hot_loss", flat_loss, ""),
    (
        "lambda_return",
        lambda r, c, v, b, lamda=0.95: lambda_return(r, c, v, b, lamda),
        "Your argument `lamda` must be called `lam`",
    ),
    ("sample", clamped_noise, "a die that should show it in 0.2 % of them"),
    ("kl", clamped_kl, ""),
    ("observe", all_or_none, ""),
    ("gru", by_exp, "not finite"),
    ("diagnoses", lambda: {"A": 2} | SEVEN, "Not 2 for A"),
    ("diagnoses", lambda: {"A": 1, "B": 9}, "1 of 10 are named"),
    ("causes", lambda: {"A": ["sluggish"], "B": "curious", "C": "forgetful"}, "not one of the causes"),
    ("expose", lambda: 1e-60, "so small that it is 0 in float32"),
    ("step", with_reward(int), "Not every reward is a float"),
    ("step", with_reward(torch.tensor), "Not every reward is a float"),
]
