"""Designs other than the official one, and mistakes that the course doesn't ask for, each a small function with words.

`DESIGNS` are choices that somebody made on purpose: most belong to the first DreamerV3, of 2023. `MISTAKES` are slips.
Both are told by their numbers: an implementation that computes what one of these does is called by its words.
"""

from collections.abc import Callable
from functools import partial
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
import torch.nn.functional as F

from ..actor import BoundedNormal, ReturnScale
from ..latents import kl, sample, unimix
from ..rssm import State
from ..symlog import symexp, symlog
from ..two_hot import two_hot, two_hot_loss
from .networks import recurrent
from .pieces import categorical, lambda_return, loss_of_replay, replay_return, return_scale
from .weights import Weights, make_rssm


class Known(NamedTuple):
    wrong: Callable
    words: str


V1 = "as in the DreamerV3 of 2023"

# Two-hot in symlog space


def even_bins(count: int = 255, limit: float = 20.0) -> Tensor:
    return torch.linspace(-limit, limit, count)


def plain_symexp(x: Tensor) -> Tensor:
    return x.sign() * (x.abs().exp() - 1)


def two_hot_in_symlog(x: Tensor, bins: Tensor) -> Tensor:
    return two_hot(symlog(x), symlog(bins))


def mean_in_symlog(logits: Tensor, bins: Tensor) -> Tensor:
    return symexp(logits.softmax(-1) @ symlog(bins))


def loss_in_symlog(logits: Tensor, x: Tensor, bins: Tensor) -> Tensor:
    return two_hot_loss(logits, symlog(x), symlog(bins))


def symlog_critic(logits: Tensor, returns: Tensor, slow: Tensor, weights: Tensor, bins: Tensor) -> Tensor:
    logits, slow = logits[:, :-1], slow[:, :-1]
    return weights * (loss_in_symlog(logits, returns, bins) + loss_in_symlog(logits, slow, bins))


# The KL


def kl_variant(
    posterior: Tensor,
    prior: Tensor,
    mix: float = 0.01,
    free: Callable[[Tensor], Tensor] = lambda x: x.clamp(min=1.0),
    scales: tuple[float, float] = (1.0, 0.1),
    of: Callable[[Tensor, Tensor], Tensor] = kl,
    stop: bool = True,
) -> Tensor:
    """kl_loss with one thing different. free: from the KL of each step to the number that counts."""
    q, p = unimix(posterior, mix), unimix(prior, mix)
    sg = (lambda x: x.detach()) if stop else (lambda x: x)
    return scales[0] * free(of(sg(q), p)).mean() + scales[1] * free(of(q, sg(p))).mean()


def per_group(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.log() - q.log())).sum(-1)


def total(free: Callable = lambda x: x.clamp(min=1.0), **how: Any) -> Callable:
    return lambda posterior, prior: kl_variant(posterior, prior, free=free, **how)


def scaled(words: str, **how: Any) -> Known:
    return Known(total(**how), words)


def no_losses(free: Callable, swap: bool = False) -> Callable:
    def version(posterior: Tensor, prior: Tensor, free_nats: float = 1.0) -> tuple[Tensor, Tensor]:
        pair = free(kl(posterior.detach(), prior)), free(kl(posterior, prior.detach()))
        return pair[::-1] if swap else pair

    return version


# The recurrent step


def core(
    weights: Weights,
    h: Tensor,
    z: Tensor,
    action: Tensor,
    bound: bool = True,
    gates: Callable | None = None,
    layout: str = "blocks",
    per_block: bool = False,
) -> Tensor:
    """`recurrent` with one thing different."""
    rssm = make_rssm(weights, z.shape[-2])
    embedded = rssm.embed(action) if bound else rssm.a_in(action)
    x = rssm.core[0](h, torch.cat([rssm.h_in(h), rssm.z_in(z.flatten(-2)), embedded], -1))
    if per_block:
        x = x.unflatten(-1, (rssm.gates.blocks, -1))
        x = (x * (x.square().mean(-1, keepdim=True) + 1e-4).rsqrt()).flatten(-2) * rssm.core_norms[0].gain
    else:
        x = rssm.core_norms[0](x)
    out = rssm.gates(F.silu(x))
    if layout == "blocks":
        out = out.unflatten(-1, (rssm.gates.blocks, 3, -1)).transpose(1, 2).flatten(2)
    else:
        out = out.unflatten(-1, (3, -1))
    reset, candidate, update = out.unbind(1)
    if gates:
        return gates(h, reset, candidate, update)
    u = torch.sigmoid(update - 1)
    return u * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - u) * h


def plain_gates(h: Tensor, reset: Tensor, candidate: Tensor, update: Tensor) -> Tensor:
    u = torch.sigmoid(update)
    return u * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - u) * h


def keeping_gates(h: Tensor, reset: Tensor, candidate: Tensor, update: Tensor) -> Tensor:
    u = torch.sigmoid(update - 1)
    return (1 - u) * torch.tanh(torch.sigmoid(reset) * candidate) + u * h


def head(weights: Weights, h: Tensor, drop: str) -> Tensor:
    """Prior or posterior logits without the last hidden layer's norm."""
    rssm = make_rssm(weights, 1)
    net = rssm.prior_net if drop == "prior" else rssm.posterior_net
    for layer in list(net[0])[:-2]:
        h = layer(h)
    return net[1](F.silu(h))


def dream(
    weights: Weights,
    h: Tensor,
    z: Tensor,
    actions: Tensor,
    noise: Tensor,
    late: bool = False,
    old: bool = False,
    start: bool = False,
    mix: float = 0.01,
) -> tuple[Tensor, Tensor]:
    """`imagine` with one thing wrong."""
    rssm, state, path = make_rssm(weights, z.shape[-2]), State(h, z), []
    actions = torch.cat([torch.zeros_like(actions[:, :1]), actions[:, :-1]], 1) if late else actions
    for t in range(actions.shape[1]):
        if start:
            path.append(state)
        memory = rssm.recurrent(state, actions[:, t])
        prior = rssm.prior(state.h if old else memory)
        state = State(memory, sample(unimix(prior, mix), noise[:, t]))
        if not start:
            path.append(state)
    return tuple(torch.stack(part, 1) for part in zip(*path))


def strided_encoder(weights: Weights, image: Tensor, more: int = 1) -> Tensor:
    """`image_encoder` with stride 2 instead of the maximum. more: rows that are padded after but not before."""
    x, norms = image.flatten(0, -4).float() / 255 - 0.5, [name for name in weights if name.endswith("scale")]
    for i in range(len(norms)):
        kernel = weights[f"cnn{i}_kernel"].permute(3, 2, 0, 1)
        pad = (kernel.shape[-1] - 1) // 2
        sides = (pad - more, pad) * 2
        x = F.conv2d(F.pad(x.movedim(-1, 1), sides), kernel, weights[f"cnn{i}_bias"], 2).movedim(1, -1)
        x = F.silu(norm(1e-4)(x, weights[f"cnn{i}norm_scale"]))
    return x.reshape(*image.shape[:-3], -1)


def layer_norm(x: Tensor, gain: Tensor, eps: float = 1e-3) -> Tensor:
    return F.layer_norm(x, gain.shape, gain, torch.zeros_like(gain), eps)


def norm(eps: float) -> Callable:
    return lambda x, gain: F.rms_norm(x, gain.shape, gain, eps)


# Returns


def shifted_replay(
    rewards: Tensor,
    is_last: Tensor,
    is_terminal: Tensor,
    bootstrap: Tensor,
    how: str = "",
    discount: float = 1 - 1 / 333,
) -> Tensor:
    """`replay_return` with one thing wrong."""
    ends = torch.zeros_like(is_last) if how == "no last" else is_last
    stops = is_last if how == "truncated" else is_terminal
    boot = torch.zeros_like(bootstrap) if how == "no bootstrap" else bootstrap
    cut = slice(None, -1) if how == "early" else slice(1, None)
    continues, lam = (~stops[:, cut]) * discount, 0.95 * ~ends[:, cut]
    return lambda_return(rewards[:, cut], continues, boot[:, cut], boot[:, -1], lam)


def scale_of(batches: Tensor, debias: bool = False, first: bool = False, late: bool = False, limit: float = 1.0):
    """`return_scale` with one thing wrong."""
    scale, path = ReturnScale(limit=limit), []
    for k, batch in enumerate(batches):
        before = scale.range.clone()
        if first and not k:
            scale.range.copy_(torch.quantile(batch.flatten(), scale.levels))
        else:
            scale.update(batch)
        now = before if late else scale.range / (1 - 0.99 ** (k + 1)) if debias else scale.range
        path.append((now[1] - now[0]).clamp(min=limit))
    return torch.stack(path)


def clamped(batches: Tensor, last: float) -> Tensor:
    """The running mean of ranges that are at least 1 each."""
    ranges = torch.quantile(batches.flatten(1), torch.tensor([0.05, 0.95]), 1).diff(dim=0)[0].clamp(min=1.0)
    return ema(torch.cat([torch.zeros(1), ranges]), 0.01)[1:].clamp(min=last)


def from_one(batches: Tensor) -> Tensor:
    """The running mean of the ranges, which starts at 1."""
    ranges = torch.quantile(batches.flatten(1), torch.tensor([0.05, 0.95]), 1).diff(dim=0)[0]
    return ema(torch.cat([torch.ones(1), ranges]), 0.01)[1:].clamp(min=1.0)


# Losses and policies


def mixed_categorical(logits: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    return categorical(unimix(logits).log(), action)


def normal(mean: Tensor, std: Tensor, action: Tensor, shift: float = 2.0, squash: Callable = torch.tanh) -> Any:
    policy = BoundedNormal(mean, std - 2 + shift)
    policy.mode = squash(mean)
    return policy.log_prob(action), policy.entropy()


def wide_normal(mean: Tensor, std: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    """std between 0.1 and 1.1, where 0.1 and 1 are the bounds."""
    policy = BoundedNormal(mean, std, 0.1, 1.1)
    return policy.log_prob(action), policy.entropy()


def replay_loss(*case: Tensor, mask: bool = True, slow: bool = True) -> Tensor:
    logits, slow_values, rewards, is_last, is_terminal, bootstrap, bins = case
    returns = replay_return(rewards, is_last, is_terminal, bootstrap)
    loss = two_hot_loss(logits[:, :-1], returns, bins)
    loss = loss + two_hot_loss(logits[:, :-1], slow_values[:, :-1], bins) if slow else loss
    return loss * ~is_last[:, :-1] if mask else loss


# Learning


def clipped(g: Tensor, w: Tensor, all_norms: Tensor, clip: str, floor: float) -> Tensor:
    limits = {
        "tensor": g.norm() / (0.3 * w.norm().clamp(min=floor)),
        "global": all_norms / 1000,
        "none": g.new_zeros(()),
    }
    return g / limits[clip].clamp(min=1)


def optimized(
    params: dict,
    grads: dict,
    lr: float,
    warmup: int,
    clip: str = "tensor",
    adam: bool = False,
    eps: float = 1e-20,
    first: int = 0,
    floor: float = 1e-3,
    warm: str = "rate",
    debias: bool = True,
) -> dict[str, Tensor]:
    """`laprop` with one thing different.

    warm: "inside" puts the warming rate into the momentum, "weighted" weighs the momentum's entries with their rates.
    """
    out, norms = {}, sum(g.flatten(1).square().sum(1) for g in grads.values()).sqrt()
    for name, w in params.items():
        nu, mu, rates, path = torch.zeros_like(w), torch.zeros_like(w), 0.0, []
        for k, g in enumerate(grads[name]):
            g, rate = clipped(g, w, norms[k], clip, floor), lr * min(1.0, (k + first) / warmup)
            nu = 0.999 * nu + 0.001 * g.square()
            rms = (nu / (1 - 0.999 ** (k + 1) if debias else 1)).sqrt() + eps
            mu = 0.9 * mu + 0.1 * (g if adam else g / rms) * (1 if warm == "rate" else rate)
            rates = 0.9 * rates + 0.1 * (rate if warm == "weighted" else 1) if debias else 1
            move = mu / max(rates, 1e-30) / (rms if adam else 1)
            w = w - (move if warm == "inside" else rate * move)
            path.append(w)
        out[name] = torch.stack(path)
    return out


def optimizer(words: str, **how: Any) -> Known:
    return Known(lambda params, grads, lr, warmup: optimized(params, grads, lr, warmup, **how), words)


def ema(online: Tensor, rate: float = 0.02, how: str = "") -> Tensor:
    path = [torch.zeros_like(online[0]) if how == "zeros" else online[0]]
    for before, weight in zip(online, online[1:]):
        step = 1 - rate if how == "swapped" else rate
        path.append(torch.lerp(path[-1], before if how == "late" else weight, step))
    return torch.stack(path)


def fresh(shape: tuple, scale: float = 1.0, fan: str = "in", how: str = "cut") -> Tensor:
    """`initialise` with one thing different."""
    inputs, outputs = math.prod(shape[:-1]), math.prod(shape) // shape[-2]
    if fan == "block":
        inputs = shape[-2]
    size = {"in": inputs, "block": inputs, "avg": (inputs + outputs) / 2, "out": outputs}[fan]
    std = scale / math.sqrt(size)
    if how == "uniform":
        return torch.empty(shape).uniform_(-std * math.sqrt(3), std * math.sqrt(3))
    if how == "orthogonal":
        return torch.nn.init.orthogonal_(torch.empty(math.prod(shape[:-1]), shape[-1]), scale * 2**0.5).view(shape)
    if how in ("normal", "wide"):
        return torch.randn(shape) * std * (1.1368 if how == "wide" else 1)
    std = max(std if how == "not restored" else 1.1368 * std, 1e-12)
    return torch.nn.init.trunc_normal_(torch.empty(shape), std=std, a=-2 * std, b=2 * std)


DESIGNS: dict[str, tuple[Known, ...]] = {
    "two_hot_bins": (Known(even_bins, f"the bins are even in symlog space, from -20 to 20, {V1}"),),
    "two_hot": (Known(two_hot_in_symlog, f"the weights are linear in symlog space, {V1}"),),
    "two_hot_mean": (Known(mean_in_symlog, f"the mean is taken in symlog space, and symexp comes after it, {V1}"),),
    "two_hot_loss": (Known(loss_in_symlog, f"the target is encoded in symlog space, {V1}"),),
    "critic_loss": (Known(symlog_critic, f"the targets are encoded in symlog space, {V1}"),),
    "kl_loss": (scaled(f"the KL counts 0.5 for dyn and 0.1 for rep, {V1}", scales=(0.5, 0.1)),),
    "image_encoder": (
        Known(strided_encoder, "convolutions with stride 2 instead of the maximum, the official option `strided`"),
    ),
    "rms_norm": (
        Known(layer_norm, f"a layer norm with eps 1e-3, {V1}"),
        Known(partial(layer_norm, eps=1e-5), "a layer norm with PyTorch's default eps, 1e-5"),
        Known(partial(layer_norm, eps=1e-6), "a layer norm with eps 1e-6"),
    ),
    "categorical": (
        Known(
            mixed_categorical,
            "1 % of a uniform policy is mixed in; the official code has such a setting too, but doesn't apply it",
        ),
    ),
    "continue_target": (
        Known(
            lambda is_terminal, discount_horizon=333: 1.0 - is_terminal.float(),
            f"the target has no discount; it is multiplied in when dreaming, {V1}",
        ),
    ),
    "laprop": (
        optimizer(
            f"Adam with eps 1e-8, and gradients clipped together at a norm of 1,000, without warm-up, {V1}",
            adam=True,
            clip="global",
            eps=1e-8,
            first=10**9,
        ),
        optimizer("Adam with adaptive gradient clipping, where LaProp divides before it averages", adam=True),
    ),
    "initialise": (
        Known(partial(fresh, fan="avg"), f"the variance is divided by the mean of fan-in and fan-out, {V1}"),
    ),
}
FIRST: dict[str, tuple[Known, ...]] = {  # slips for which the course has words that mislead here
    "symlog": (Known(lambda x: x, "it returns its input unchanged"),),
    "symexp": (Known(lambda x: x, "it returns its input unchanged"),),
    "image_loss": (
        Known(
            lambda prediction, image: (prediction - image / 255).square().mean(),
            "the mean over everything, the batch, too; sum over pixels and channels, and keep the batch",
        ),
    ),
}
MISTAKES: dict[str, tuple[Known, ...]] = {
    "sample": (
        Known(  # it draws the same noise, since every function is called with the same seed
            lambda probs: F.gumbel_softmax(probs.log(), hard=True, dim=-1),
            "the gradient is that of a softmax with the sampling noise in it (a hard Gumbel-softmax); straight-through "
            "takes that of the probabilities",
        ),
    ),
    "two_hot_bins": (
        Known(
            lambda count=255, limit=20.0: plain_symexp(torch.linspace(-limit, limit, count)),
            "the middle bin is not exactly 0: make one half, and mirror it",
        ),
    ),
    "kl_loss": (
        scaled("the KL is taken without unimix; it grows without a limit", mix=0.0),
        scaled("dyn and rep are swapped: 1 belongs to dyn, 0.1 to rep", scales=(0.1, 1.0)),
        scaled("the free nats are missing", free=lambda x: x),
        scaled(
            "free nats are applied to the mean over batch and time; each entry needs its own",
            free=lambda x: x.mean().clamp(min=1.0),
        ),
        *(
            scaled(
                f"the KL is summed over batch and time before the free nats{more}",
                mix=mix,
                free=lambda x: x.sum().clamp(min=1.0),
            )
            for mix, more in ((0.0, ", and taken without unimix"), (0.01, ""))
        ),
        scaled(
            "free nats are applied to each group, and the groups are averaged; sum over the groups first", of=per_group
        ),
        scaled(
            "free nats are applied to each group; sum over the groups first",
            of=per_group,
            free=lambda x: x.clamp(min=1.0).sum(-1),
        ),
        scaled("the KL is averaged over the groups; sum over them", of=lambda p, q: per_group(p, q).mean(-1)),
        scaled(
            "the KL is averaged over the groups before the free nats, and they are applied to the mean over "
            "batch and time, too",
            of=lambda p, q: per_group(p, q).mean(-1),
            free=lambda x: x.mean().clamp(min=1.0),
        ),
        scaled("the KL is reversed: it is KL(posterior || prior)", of=lambda p, q: kl(q, p)),
        scaled("the stop-gradients are missing: both sides learn from both losses", stop=False),
        scaled(
            "each group has its own free nats, and the groups are averaged, not summed; 0.8 for dyn and 0.2 for rep",
            scales=(0.8, 0.2),
            of=lambda p, q: per_group(p.clamp(min=1e-8), q.clamp(min=1e-8)),
            mix=0.0,
        ),
        scaled("both losses count 1; rep counts 0.1", scales=(1.0, 1.0)),
    ),
    "image_encoder": (
        Known(
            partial(strided_encoder, more=0),
            "convolutions with stride 2, as with the official option `strided`, but padded alike on both sides; "
            "officially "
            "there is one row and one column more after than before",
        ),
    ),
    "rms_norm": (
        Known(norm(1e-3), "eps is 1e-3 instead of 1e-4"),
        Known(norm(1e-5), "eps is 1e-5 instead of 1e-4"),
        Known(norm(1e-6), "eps is 1e-6 instead of 1e-4"),
        Known(norm(1e-8), "eps is 1e-8 instead of 1e-4"),
        Known(
            lambda x, gain: x / (x.square().mean(-1, keepdim=True).sqrt() + 1e-4) * gain,
            "eps is added outside the root",
        ),
        Known(lambda x, gain: norm(1e-4)(x, torch.ones_like(gain)), "the gain is not used"),
        Known(lambda x, gain: norm(1e-4)(x, 1 + gain), "1 is added to the gain"),
        Known(partial(layer_norm, eps=1e-4), "a layer norm: the mean is subtracted first"),
        Known(
            lambda x, gain: x / (x.square().sum(-1, keepdim=True) + 1e-4).sqrt() * gain,
            "the squares are summed, not averaged",
        ),
    ),
    "recurrent": (
        Known(partial(core, bound=False), "actions beyond ±1 are not scaled back to ±1"),
        Known(partial(core, gates=plain_gates), "the -1 in the update gate is missing"),
        Known(partial(core, gates=keeping_gates), "the update gate is reversed: it weighs the old memory"),
        Known(partial(core, layout="whole"), "the gates are cut from the whole vector; each block has its own three"),
        Known(partial(core, per_block=True), "the norm runs over each block; it runs over all of h"),
        Known(
            lambda weights, h, z, action: recurrent(weights, h, z, torch.zeros_like(action)), "the action is not used"
        ),
        Known(lambda weights, h, z, action: recurrent(weights, h, torch.zeros_like(z), action), "z is not used"),
        Known(
            lambda weights, h, z, action: recurrent(weights, h, z, action.clamp(-1, 1)),
            "the action is clamped; it is divided by max(1, |a|), whose gradient is not 0 beyond ±1",
        ),
    ),
    "prior": (
        Known(lambda weights, h, groups: head(weights, h, "prior"), "the last hidden layer's norm is missing"),
        Known(
            lambda weights, h, groups: unimix(make_rssm(weights, groups).prior(h)).log(),
            "these are log-probabilities after unimix; logits before it are asked for",
        ),
    ),
    "imagine": (
        Known(partial(dream, late=True), "the actions are one step late"),
        Known(partial(dream, old=True), "z is drawn from the old h; the new one comes first"),
        Known(partial(dream, start=True), "the start is among the states, and the last state is missing"),
        Known(partial(dream, mix=0.0), "z is drawn without unimix"),
    ),
    "replay_return": (
        Known(
            partial(shifted_replay, how="early"),
            "the λ-return is one step late: it reads the flags and rewards of the step itself, where those that "
            "arrive after it count",
        ),
        Known(
            partial(shifted_replay, how="no last"), "is_last is not used: returns flow across the borders of episodes"
        ),
        Known(
            partial(shifted_replay, how="truncated"), "a time limit counts as a terminal step: its bootstrap is lost"
        ),
        Known(partial(shifted_replay, how="no bootstrap"), "the bootstrap is not used"),
        Known(partial(shifted_replay, discount=1.0), "the discount is missing"),
        Known(partial(shifted_replay, discount=0.997), "the discount is 0.997; it is 1 - 1/333"),
    ),
    "return_scale": (
        Known(
            lambda batches: return_scale(batches, limit=1e-8),
            "the scale has no lower limit of 1: small returns are blown up",
        ),
        Known(
            lambda batches: scale_of(batches, debias=True),
            "the running range is debiased; the official one starts at 0 and is not",
        ),
        Known(lambda batches: scale_of(batches, first=True), "the first batch sets the range; it starts at 0"),
        Known(lambda batches: scale_of(batches, late=True), "the scale is used before it is updated"),
        Known(
            lambda batches: scale_of(batches, first=True, limit=1e-8),
            "the first batch sets the range, which should start at 0, and the scale has no lower limit of 1",
        ),
        Known(
            lambda batches: scale_of(batches, debias=True, limit=1e-8),
            "the range is debiased, and the scale has no lower limit of 1",
        ),
        Known(
            from_one,
            "the running range starts at 1, or is kept above it; it starts at 0, and only what comes back is clamped",
        ),
        *(
            Known(
                partial(clamped, last=last),
                f"each batch's range is clamped to at least 1 before it is averaged{more}; clamp the running range",
            )
            for last, more in ((0.0, ""), (1.0, ", and after"))
        ),
        Known(lambda batches: torch.ones(len(batches)), "the scale is always 1: the returns are not scaled"),
    ),
    "bounded_normal": (
        Known(partial(normal, shift=0.0), "the 2 that is added before the sigmoid is missing"),
        Known(partial(normal, squash=lambda x: x), "the mean is not squashed by tanh"),
        Known(wide_normal, "the standard deviation reaches 1.1: it is (max - min) · sigmoid + min"),
        Known(
            lambda mean, std, action: (normal(mean, std, action)[0], -normal(mean, std, action)[1]),
            "the entropy has the wrong sign",
        ),
        Known(
            lambda mean, std, action: tuple(x / mean.shape[-1] for x in normal(mean, std, action)),
            "the mean over the actions is taken; sum over them",
        ),
    ),
    "replay_critic_loss": (
        Known(partial(replay_loss, mask=False), "last steps get a loss; they should get none"),
        Known(partial(replay_loss, slow=False), "the slow critic is missing"),
        Known(lambda *case: loss_of_replay(*case[:2], case[2].roll(1, 1), *case[3:]), "the rewards are one step late"),
    ),
    "laprop": (
        optimizer(
            "the warm-up is inside the momentum: earlier steps keep the smaller rates they were taken at", warm="inside"
        ),
        optimizer(
            "the momentum weighs each step with the rate it was taken at, and the first step has a rate already",
            warm="weighted",
            first=1,
        ),
        optimizer("the first step has a rate already: warm-up counts from 1; it counts from 0", first=1),
        optimizer("adaptive gradient clipping is missing", clip="none"),
        optimizer("eps is 1e-8: tiny gradients are damped", eps=1e-8),
        optimizer("eps is 1e-5: tiny gradients are damped", eps=1e-5),
        optimizer("there is no warm-up", first=10**9),
        optimizer("the averages are not debiased", debias=False),
        optimizer("the averages are not debiased, and there is no warm-up", debias=False, first=10**9),
        *(
            optimizer(
                f"Adam whose averages are not debiased, without warm-up{more}",
                adam=True,
                debias=False,
                first=10**9,
                clip=clip,
                eps=eps,
            )
            for clip, more in (("tensor", ""), ("none", ", and adaptive gradient clipping is missing"))
            for eps in (1e-8, 1e-20)
        ),
        optimizer("the clipping has no floor of 1e-3 for small weights", floor=0.0),
    ),
    "slow_critic": (
        Known(partial(ema, how="swapped"), "the rates are swapped: the slow critic takes 0.98 of the online one"),
        Known(partial(ema, how="late"), "it follows the weights of the step before"),
        Known(partial(ema, how="zeros"), "it starts at zeros; it starts as a copy"),
        Known(lambda online, *_: ema(online, 0.01), "its rate is 0.01; the official one is 0.02"),
    ),
    "initialise": (
        Known(
            partial(fresh, how="not restored"),
            "the variance that the cut takes away is not restored: 0.88 of the official standard deviation",
        ),
        Known(partial(fresh, how="normal"), "the normal is not cut at two standard deviations"),
        Known(
            partial(fresh, fan="avg", how="wide"),
            "the normal is not cut at two standard deviations, yet scaled as if it were: 1.14 of 1/sqrt of "
            "the mean "
            "of fan-in and fan-out",
        ),
        Known(partial(fresh, how="uniform"), "the weights are uniform, not normal"),
        Known(
            partial(fresh, fan="block"),
            "the fan-in of a block or convolution is that of one block or pixel; officially it is all but the "
            "last axis",
        ),
        Known(partial(fresh, fan="out"), "the variance is divided by the fan-out"),
        Known(partial(fresh, how="orthogonal"), "the weights are orthogonal, with gain √2"),
    ),
}
