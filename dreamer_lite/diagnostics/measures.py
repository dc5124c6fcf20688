"""What the checks measure: numbers from an agent and its experience, without figures.

A number that can't be told, for example because there are too few rows, is NaN. Where the
code under test yields NaN, nothing could be more wrong, so there the measure is infinite.
"""

from collections.abc import Callable, Sequence
import copy
from dataclasses import replace
import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..actor import actor_loss
from ..agent import Dreamer
from ..imagination import Dream, imagine
from ..latents import kl, unimix
from ..learner import Learner
from ..replay import Experience, Obs, map_obs, obs_by_kind
from ..rssm import State
from ..world_model import kl_losses


def ratio(a: float, b: float) -> float:
    """a / b; where b is 0, NaN if a is 0 too, else infinite."""
    return a / b if b else math.inf if a > 0 else math.nan


def largest_difference(found: Tensor, right: Tensor) -> float:
    """The largest absolute difference; infinite where one of them is NaN."""
    return (found - right).abs().nan_to_num(nan=math.inf).max().item()


def thawed(agent: Dreamer) -> Dreamer:
    """A copy of the agent that may learn and be changed."""
    agent = copy.deepcopy(agent).requires_grad_(True)
    agent.critic.slow_net.requires_grad_(False)
    return agent


def dream_of(agent: Dreamer, states: State) -> Dream:
    """Dreams from up to 200 of the played steps."""
    flat = State(*(part.flatten(0, 1) for part in states))
    every = max(1, len(flat.h) // 200)
    return imagine(agent.world_model, agent.actor, State(*(part[::every] for part in flat)), agent.config.horizon)


# Alignment

SHIFTS = (-1, 0, 1)  # the row before, the row itself, the row after


def unexplained(x: Tensor, y: Tensor) -> Tensor:
    """Share of the variance of y that a linear fit on x leaves, (N, X), (N, Y) → (Y,): 0 is perfect, 1 is useless."""
    x, y = torch.cat([x, torch.ones_like(x[:, :1])], 1).double(), y.double()
    # gelsd: columns of x may depend on each other, as one-hot actions do; PyTorch's default solver can get that wrong
    rest = y - x @ torch.linalg.lstsq(x, y, driver="gelsd").solution
    return rest.square().mean(0) / y.var(0, correction=0)


def action_pairs(obs: Tensor, action: Tensor, is_first: Tensor, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    """The observation before a row, (N, O), its change up to the row, (N, O), and the action in row + shift, (N, A).

    Of consecutive rows (L, …) it takes those that have a neighbour on both sides, where none of the three begins an
    episode.
    """
    row = torch.arange(1, len(obs) - 1)
    row = row[~(is_first[row - 1] | is_first[row] | is_first[row + 1])]
    return obs[row - 1], obs[row] - obs[row - 1], action[row + shift]


def unexplained_by_row(replayed: Experience) -> list[float]:
    """Share of an observation's change left unexplained by the action of the row before, the row itself, the row after.

    Each is 0 to 1: the unexplained share with the action, over the share without it. Of all numbers in an observation
    it takes the one that an action explains best. NaN for images, and where there are too few rows.
    """
    obs = obs_by_kind(replayed.obs).get("vector")
    if obs is None:
        return [math.nan] * len(SHIFTS)
    shares = []
    for shift in SHIFTS:
        before, change, action = action_pairs(obs.double(), replayed.action.double(), replayed.is_first, shift)
        if len(before) < max(50, 5 * (before.shape[1] + action.shape[1])):
            return [math.nan] * len(SHIFTS)
        alone, with_it = unexplained(before, change), unexplained(torch.cat([before, action], 1), change)
        moved = alone * change.var(0, correction=0) > 1e-9 * obs.double().var(0).clamp(min=1e-12)
        shares.append(torch.where(moved, with_it / alone, 1.0))
    table = torch.stack(shares)  # (3, O)
    return table[:, table.min(0).values.argmin()].tolist()


def misplaced(replayed: Experience, played: Experience) -> float:
    """What the row's own action leaves unexplained in the replay buffer, beyond what the best action leaves.

    0 where actions lie in the right row. The best is that of three rows in the replay buffer. If none of them
    explains a tenth, it is the best of the episodes played just now, provided that it explains a half; else NaN.
    """
    own, best = (shares := unexplained_by_row(replayed))[1], min(shares)
    if not best >= 0.9:
        return own - best
    rows = played._replace(is_first=played.is_first.clone())
    rows.is_first[:, 0] = True  # environments one after the other
    best = min(unexplained_by_row(rows.map(lambda part: part.flatten(0, 1))))
    return own - best if best <= 0.5 else math.nan


def action_at_first(replayed: Experience) -> float:
    """The largest action in a row that begins an episode."""
    first = replayed.action[replayed.is_first]
    return first.abs().max().item() if len(first) else math.nan


def unmarked(replayed: Experience) -> float:
    """The share of episode ends after which no row begins an episode."""
    following = replayed.is_first[1:][replayed.is_last[:-1]]
    return (~following).float().mean().item() if len(following) else math.nan


# Dreams along real episodes


def windows(is_first: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """Every fifth step followed by `horizon` steps of its episode, from (E, T): environment and step, (N,) each."""
    places = [
        (e, t)
        for e in range(len(is_first))
        for t in range(4, is_first.shape[1] - horizon, 5)
        if not is_first[e, t + 1 : t + horizon + 1].any()
    ]
    pairs = torch.tensor(places, dtype=torch.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


@torch.no_grad()
def dream_errors(agent: Dreamer, played: Experience, states: State) -> Tensor:
    """Mean reconstruction losses of dreams along played episodes, (3, H).

    With the true actions, with those of another moment, and with a state that stands still. H is at most 15. NaN, (3,
    1), where episodes are too short.
    """
    model = agent.world_model
    horizon = next((h for h in (15, 10, 5, 3) if len(windows(played.is_first, h)[0]) >= 8), 0)
    if not horizon:
        return torch.full((3, 1), math.nan)
    env, time = windows(played.is_first, horizon)
    start, other = State(*(part[env, time] for part in states)), torch.randperm(len(env))
    own = shuffled = start
    errors = []
    for k in range(1, horizon + 1):
        own = model.rssm.imagine_step(own, played.action[env, time + k])
        shuffled = model.rssm.imagine_step(shuffled, played.action[env[other], time[other] + k])
        seen = map_obs(lambda part: part[env, time + k], played.obs)
        errors.append(
            [model.decoder.loss(model.decoder(state.feature), seen).mean() for state in (own, shuffled, start)]
        )
    return torch.tensor(errors).T


# The causality triangle

HALF = 6  # steps of each of two episodes


@torch.no_grad()
def causality_triangle(outputs: Callable[[Obs], Tensor], inputs: Obs, others: Obs) -> Tensor:
    """How far each output moves when one step of the input is replaced, (T, T).

    Rows are the input's steps, columns the output's, so nothing may move below the diagonal. outputs: inputs (1, T,
    …) → (T, …), without randomness. others: the replacements, (1, T, …).
    """
    usual, rows = outputs(inputs), []
    for t in range(len(usual)):
        mixed = map_obs(lambda part: part.clone(), inputs)
        for part, new in zip(obs_by_kind(mixed).values(), obs_by_kind(others).values()):
            part[:, t] = new[:, t]
        rows.append((outputs(mixed) - usual).abs().amax(-1))
    return torch.stack(rows)


@torch.no_grad()
def moved_states(agent: Dreamer, played: Experience) -> Tensor:
    """The causality triangle of the agent's states and posteriors where observations are replaced, (12, 12).

    Six steps of an episode, then six of another. Sampling has no noise, so the same inputs give the same states.
    """
    model = agent.world_model
    env, time = windows(played.is_first, HALF - 1)
    if len(env) < 3:  # episodes are shorter: whatever is there
        env, time = torch.zeros(3, dtype=torch.int64), torch.arange(3)

    def joined(i: int, k: int, part: Tensor) -> Tensor:
        return torch.cat([part[env[j], time[j] : time[j] + HALF] for j in (i, k)])[None]

    middle, last = len(env) // 2, len(env) - 1
    obs, others = (map_obs(lambda part: joined(i, k, part), played.obs) for i, k in ((0, middle), (last, last)))
    actions = joined(0, middle, played.action)
    is_first = (torch.arange(2 * HALF, device=agent.device) % HALF == 0)[None]
    noise = torch.zeros(1, 2 * HALF, agent.config.groups, agent.config.classes, device=agent.device)

    def states_of(obs: Obs) -> Tensor:
        states, logits = model.rssm.observe(model.encoder(obs), actions, is_first, agent.initial(1).state, noise)
        return torch.cat([states.feature[0], logits[0].flatten(1)], 1)  # logits move before another class is chosen

    return causality_triangle(states_of, obs, others)


# Surprise


@torch.no_grad()
def surprises(agent: Dreamer, played: Experience, states: State) -> tuple[Tensor, Tensor]:
    """KL(posterior || prior) at each step, and the same with an observation of another moment, in nats, (E, T) each."""
    rssm, tokens = agent.world_model.rssm, agent.world_model.encoder(played.obs)
    prior = unimix(rssm.prior(states.h), rssm.mix)
    order = torch.randperm(tokens.shape[1])
    lived, kicked = (kl(unimix(rssm.posterior(states.h, seen), rssm.mix), prior) for seen in (tokens, tokens[:, order]))
    return lived, kicked


# The gradient-flow map

FLOW = {  # the parts that learn from each loss within a single step; replay_critic needs more than one
    "reconstruction": {"encoder", "recurrent", "posterior", "decoder"},
    "reward": {"encoder", "recurrent", "posterior", "reward head"},
    "continue": {"encoder", "recurrent", "posterior", "continue head"},
    "dyn": {"recurrent", "prior"},
    "rep": {"encoder", "recurrent", "posterior"},
    "actor": {"actor"},
    "critic": {"critic"},
}
PARTS = {  # the first letters of their parameters' names; the first part that fits owns a parameter
    "encoder": "world_model.encoder",
    "posterior": "world_model.rssm.posterior_net",
    "prior": "world_model.rssm.prior_net",
    "recurrent": "world_model.rssm",
    "decoder": "world_model.decoder",
    "reward head": "world_model.reward_head",
    "continue head": "world_model.continue_head",
    "actor": "actor",
    "critic": "critic",
}


def gradients(loss: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
    """The gradient of a loss's mean at each parameter; zeros where none arrives."""
    if not loss.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    return torch.autograd.grad(loss.mean(), parameters, retain_graph=True, materialize_grads=True)


def gradient_norms(agent: Dreamer, losses: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """The norm of the gradient of each loss's mean at each part of the agent, by loss and part."""
    names, parameters = zip(*((name, p) for name, p in agent.named_parameters() if p.requires_grad))
    owners = [next(part for part, start in PARTS.items() if name.startswith(start)) for name in names]
    norms = {}
    for name, loss in losses.items():
        squares = dict.fromkeys(PARTS, 0.0)
        for part, gradient in zip(owners, gradients(loss, parameters)):
            squares[part] += gradient.square().sum().item()
        norms[name] = {part: math.sqrt(square) for part, square in squares.items()}
    return norms


def step_gradients(agent: Dreamer, played: Experience, states: State) -> dict[str, dict[str, float]]:
    """The gradient norms of the losses in FLOW over single steps, so that nothing comes through time."""
    agent = thawed(agent)
    agent.world_model.free_nats = 0.0  # or a step below them would have no gradient at all
    with torch.no_grad():
        for parameter in agent.parameters():  # heads that start at zero pass no gradient on
            parameter += 1e-4 * torch.randn_like(parameter)
    batch = played.map(lambda part: part[:, 1::4].reshape(-1, 1, *part.shape[2:]))
    start = State(*(part[:, :-1:4].flatten(0, 1) for part in states))
    losses = agent.world_model.loss(batch, start)[0] | agent.dream_losses(dream_of(agent, states))[0]
    return gradient_norms(agent, {name: losses[name] for name in FLOW})


def wrong_flow(norms: dict[str, dict[str, float]]) -> tuple[list[str], list[str]]:
    """What learns and should not, and what should learn and does not, each as "part from loss"."""
    pairs = [(loss, part, size > 0) for loss, parts in norms.items() for part, size in parts.items()]
    leaks = [f"{part} from {loss}" for loss, part, learns in pairs if learns and part not in FLOW[loss]]
    dry = [f"{part} from {loss}" for loss, part, learns in pairs if not learns and part in FLOW[loss]]
    return leaks, dry


# Free nats


@torch.no_grad()
def kl_and_losses(agent: Dreamer, played: Experience, states: State) -> tuple[Tensor, Tensor, Tensor]:
    """The KL of each played step and its dyn and rep losses, (N,) each; priors are moved nearer to their posterior."""
    rssm, h = agent.world_model.rssm, states.h.flatten(0, 1)
    tokens = agent.world_model.encoder(played.obs).flatten(0, 1)
    posterior, prior = unimix(rssm.posterior(h, tokens), rssm.mix), unimix(rssm.prior(h), rssm.mix)
    nearer = torch.rand(len(h), 1, 1, device=h.device)
    prior = nearer * posterior + (1 - nearer) * prior
    raw = kl(posterior, prior)
    dyn, rep = (loss.expand_as(raw) for loss in kl_losses(posterior, prior, agent.config.free_nats))
    return raw, dyn, rep


# Real and promised returns


def real_returns(rewards: Tensor, values: Tensor, is_last: Tensor, is_terminal: Tensor, gamma: float) -> Tensor:
    """The discounted return that came after each step but the last, (E, T) each → (E, T-1).

        R_t = r_{t+1} + γ R_{t+1}

    with v_{t+1} in place of R_{t+1} where the recording or a time limit ends, and 0 after a terminal step. After a
    last row nothing comes: 0.
    """
    returns, then = [], values[:, -1]
    for t in reversed(range(rewards.shape[1] - 1)):
        then = torch.where(is_last[:, t + 1], values[:, t + 1], then)
        then = rewards[:, t + 1] + gamma * torch.where(is_terminal[:, t + 1], 0.0, then)
        returns.append(torch.where(is_last[:, t], 0.0, then))
    return torch.stack(returns[::-1], 1)


class Promises(NamedTuple):
    """The critic's values beside the returns that came."""

    real: Tensor  # (N,) where at most half of the return is the critic's own value
    value: Tensor  # (N,)
    ratio: float  # value over return, in the larger half of the returns; NaN where no reward came
    error: float  # mean absolute error, over the mean size of what came or over 1


@torch.no_grad()
def promises(agent: Dreamer, played: Experience, states: State) -> Promises:
    """The critic's values beside what came after them.

    Where the recording or a time limit ends, the critic's own value stands for the rest. The ratio takes the steps at
    which it weighs at most a half, the error those at which it weighs at most three quarters. Where all rewards came, a
    critic that promises their mean has an error of at most 2 on average, however noisy they are.
    """
    value, gamma = agent.critic.value(agent.critic(states.feature)), 1 - 1 / agent.config.discount_horizon  # (E, T)
    flags, zero = (played.is_last, played.is_terminal, gamma), torch.zeros_like(value)
    real = real_returns(played.reward, value, *flags)  # (E, T-1)
    came = real_returns(played.reward, zero, *flags)  # the rewards alone
    own = real_returns(zero, torch.ones_like(value), *flags)  # the weight of the critic's own value
    value, inside = value[:, :-1], ~played.is_last[:, :-1]
    most, half = inside & (own <= 0.75), inside & (own <= 0.5)
    error = (value - real)[most].abs().mean() / came[most].abs().mean().clamp(min=1)  # NaN where there are no steps
    real, came, value = real[half], came[half], value[half]
    if not len(real):
        return Promises(real, value, math.nan, error.item())
    far = real.abs() >= real.abs().quantile(0.5)
    size, paid = real[far].abs().mean().item(), came[far].abs().mean().item()
    promised = (value[far] * real[far].sign()).mean().item()
    return Promises(real, value, promised / size if min(size, paid) > 0.01 else math.nan, error.item())


# A dream by hand


def counted(dream: Dream, values: Tensor, lam: float) -> tuple[Tensor, Tensor]:
    """Weights and λ-returns of a dream, (N, H) each, from two plain loops."""
    weights, returns, goes_on, last = [], [], torch.ones_like(values[:, 0]), values[:, -1]
    for t in range(values.shape[1] - 1):
        goes_on = goes_on * dream.continues[:, t]
        weights.append(goes_on)
    for t in reversed(range(values.shape[1] - 1)):
        mixed = (1 - lam) * values[:, t + 1] + lam * last
        last = dream.rewards[:, t + 1] + dream.continues[:, t + 1] * mixed
        returns.append(last)
    return torch.stack(weights, 1), torch.stack(returns[::-1], 1)


class Counted(NamedTuple):
    """A dream's weights and λ-returns, (N, H) each: the agent's, and those of two plain loops."""

    dream: Dream
    weights: tuple[Tensor, Tensor]
    returns: tuple[Tensor, Tensor]


@torch.no_grad()
def count_dream(agent: Dreamer, states: State) -> Counted:
    agent = thawed(agent)  # dream_losses moves its return scale
    dream = dream_of(agent, states)
    found = agent.dream_losses(dream)[1]
    weights, returns = counted(dream, found["value"], agent.config.lam)
    return Counted(dream, (found["weight"], weights), (found["imagined_return"], returns))


# Entropy and return scale


class Curiosity(NamedTuple):
    scale: float  # the running return scale
    spread: float  # 5th to 95th percentile of dreamed returns, now
    entropy: float  # of the policy, in nats
    most: float  # the largest entropy it could have; NaN if there are numbers
    push: float  # direction in which the entropy bonus moves the entropy: 1 is up, -1 down; NaN if there is no bonus


def curiosity(agent: Dreamer, states: State) -> Curiosity:
    agent, c = thawed(agent), agent.config
    dream = dream_of(agent, states)
    ranges = [agent.return_scale.range.clone()]  # before the losses move it
    ranges.append(torch.quantile(agent.dream_losses(dream)[1]["imagined_return"], agent.return_scale.levels))
    scale, spread = (max((high - low).item(), c.return_limit) for low, high in ranges)
    entropy = agent.actor(dream.features[:, :-1]).entropy().mean().item()
    most = sum(map(math.log, agent.spaces.action_parts[0])) if agent.spaces.discrete else math.nan
    return Curiosity(scale, spread, entropy, most, pushed(agent, dream, c.entropy))


def pushed(agent: Dreamer, dream: Dream, bonus: float) -> float:
    """Where the advantages are 0: the cosine between a step down the actor's loss and one up the entropy.

    0 if the loss has no gradient; NaN if there is no bonus, or if no step changes the entropy.
    """
    policy, actors = agent.actor(dream.features[:, :-1]), list(agent.actor.parameters())
    entropy, log_probs = policy.entropy(), policy.log_prob(dream.actions[:, :-1])
    nothing, ones = torch.zeros_like(entropy), torch.ones_like(entropy)
    loss = actor_loss(log_probs, entropy, nothing, ones, bonus)
    down, up = (torch.cat([g.flatten() for g in gradients(x, actors)]) for x in (loss, entropy))
    if not bonus or not up.any():
        return math.nan
    size = (down.norm() * up.norm()).item()
    return -(down @ up).item() / size if size > 0 else 0.0


# Overfit one batch


def overfit_losses(agent: Dreamer, played: Experience, steps: int) -> dict[str, list[float]]:
    """The losses of a fresh agent that learns one small batch over and over, by name."""
    c = replace(agent.config, world_lr=1e-3, actor_lr=1e-3, critic_lr=1e-3, warmup=1, average=0, imag_last=2)
    fresh = Dreamer(c, agent.spaces, agent.device)
    learner = Learner(fresh)
    length = min(8, played.reward.shape[1])
    batch = played.map(lambda part: part[:, :length])
    start = fresh.initial(len(batch.reward)).state
    losses: dict[str, list[float]] = {"reconstruction": [], "reward": [], "continue": [], "dyn": []}
    for _ in range(steps):
        means = learner.train_step(batch, start)[1]
        for name, values in losses.items():
            values.append(means[name].item())
    return losses


def remaining(losses: list[float], last: int = 10) -> float:
    """The mean of the last losses over the first one; infinite if one of them is not finite."""
    mean = sum(losses[-last:]) / len(losses[-last:])
    return ratio(mean, losses[0]) if math.isfinite(mean) else math.inf
