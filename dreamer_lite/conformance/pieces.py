"""The pieces of DreamerV3 that are compared: what a function is given, what it gives back, and the official arrays.

A piece's probe calls a function as the official arrays want it, and yields what came back beside the official numbers.
`ours` is the finished version, with the arguments that an adapter's function has.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import inspect
from typing import Any

import torch
from torch import Tensor
import torch.nn.functional as F

from ..actor import BoundedNormal, Categorical, ReturnScale, actor_loss
from ..critic import critic_loss, lambda_return, replay_critic_loss
from ..imagination import step_weights
from ..latents import entropy, gumbel, kl, sample, unimix
from ..nets import init_
from ..optim import LaProp
from ..symlog import symexp, symlog
from ..two_hot import two_hot, two_hot_bins, two_hot_loss, two_hot_mean
from ..world_model import continue_target, kl_losses
from .arrays import Golden, Output

Probe = Callable[[Callable, Golden], Iterator[Output]]


@dataclass(frozen=True)
class Piece:
    """One function to compare. takes, gives: shapes and units; source: the paper's equation and the official function.

    exercise: the course's exercise, whose bank knows mistakes, as folder:name. version: makes an adapter's function fit
    that exercise; planted: makes one of the bank's mistakes fit an adapter, if that can be. through: what every version
    is called through there. ignored: results of the exercise that an adapter doesn't give; asked: whether an adapter is
    asked for a case of it.
    """

    name: str
    ours: Callable
    files: tuple[str, ...]
    probe: Probe
    takes: str
    gives: str
    source: str
    exercise: str = ""
    version: Callable[[Callable], Callable] = lambda function: function
    planted: Callable[[Callable], Callable] | None = lambda wrong: wrong
    through: Callable[[Callable], Callable] = lambda version: version
    ignored: tuple[str, ...] = ()
    asked: Callable[[tuple], bool] = lambda case: True

    @property
    def arguments(self) -> list[str]:
        return list(inspect.signature(self.ours).parameters)

    @property
    def signature(self) -> str:
        return f"{self.name}({', '.join(self.arguments)})"

    @property
    def fixed(self) -> dict[str, Any]:
        """The values of arguments that an implementation may fix, and then leave out."""
        parameters = inspect.signature(self.ours).parameters
        given = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
        return given | ({"bins": two_hot_bins()} if "bins" in parameters else {})


def leaf(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_()


def grad(value: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the sum; zeros where none flows."""
    if not value.requires_grad:
        return tuple(map(torch.zeros_like, inputs))
    return torch.autograd.grad(value.sum(), inputs, retain_graph=True, allow_unused=True, materialize_grads=True)


def one_hot(x: Tensor, size: int) -> Tensor:
    return F.one_hot(x.long(), size).float()


# Numbers, squashed and as classes


def probe_symlog(f: Callable, g: Golden) -> Iterator[Output]:
    x = leaf(g["x"])
    y = f(x)
    yield g.out("symlog", y, of=x)
    # At 0 the slope is 1, or 0 by the rule of the sign.
    yield g.out("symlog_grad", torch.where(x == 0, g["symlog_grad"], grad(y, x)[0]), of=x)


def probe_symexp(f: Callable, g: Golden) -> Iterator[Output]:
    y = leaf(g["y"])
    yield g.out("symexp", f(y), of=y)


def probe_bins(f: Callable, g: Golden) -> Iterator[Output]:
    yield g.out("bins", f(g.constants["bins"], float(g.constants["high"])))


def probe_two_hot(f: Callable, g: Golden) -> Iterator[Output]:
    yield g.out("twohot", f(g["target"], g["bins"]))


def probe_two_hot_mean(f: Callable, g: Golden) -> Iterator[Output]:
    bins, first = g["bins"], leaf(g["logits"][: len(g["pred_grad"])])
    yield g.out("pred", f(g["logits"], bins))
    yield g.out("special_pred", f(g["special_logits"], bins))
    yield g.out("pred_grad", grad(f(first, bins), first)[0])


def probe_two_hot_loss(f: Callable, g: Golden) -> Iterator[Output]:
    logits = leaf(g["logits"])
    loss = f(logits, g["target"], g["bins"])
    yield g.out("loss", loss)
    yield g.out("loss_grad", grad(loss, logits)[0])


# Discrete latents


def probe_unimix(f: Callable, g: Golden) -> Iterator[Output]:
    probs = f(leaf(g["logits"]), g.constants["unimix"])
    yield g.out("unimix_prob", probs)
    yield g.out("unimix_logprob", probs.log())


def probe_entropy(f: Callable, g: Golden) -> Iterator[Output]:
    yield g.out("entropy", f(unimix(leaf(g["logits"]))))


def probe_sample(f: Callable, g: Golden) -> Iterator[Output]:
    logits = leaf(g["logits"])
    drawn = f(unimix(logits), 1e3 * one_hot(g["event"], logits.shape[-1]))  # so much noise that this event is drawn
    if f.count == 1 and torch.allclose(drawn, one_hot(drawn.argmax(-1), drawn.shape[-1]), atol=1e-5):
        yield g.out("st_value", g["st_value"])  # its own random numbers, but one class in each group
    else:
        yield g.out("st_value", drawn)
    yield g.out("st_grad", grad(drawn * g["st_cotangent"], logits)[0])


def with_noise(function: Callable) -> Callable:
    """`sample` as the exercise has it: the noise may be left out."""

    def version(probs: Tensor, noise: Tensor | None = None) -> Tensor:
        if noise is None and not function.needs_last:
            return function(probs)
        return function(probs, gumbel(probs, *probs.shape) if noise is None else noise)

    return version


def both_logits(g: Golden) -> tuple[Tensor, Tensor]:
    return leaf(g["post_logit"]), leaf(g["prior_logit"])


def probe_kl(f: Callable, g: Golden) -> Iterator[Output]:
    yield g.out("kl", f(*map(unimix, both_logits(g))))


def probe_kl_losses(f: Callable, g: Golden) -> Iterator[Output]:
    logits = both_logits(g)
    for name, value in zip(("dyn", "rep"), f(*map(unimix, logits), g.constants["free_nats"])):
        yield g.out(name, value)
        for of, gradient in zip(("post", "prior"), grad(value, *logits)):
            yield g.out(f"{name}_grad_{of}", gradient)


def normalised(version: Callable) -> Callable:
    """Many distributions divide probabilities by their sum, which is 1 and has a gradient."""

    def called(posterior: Tensor, prior: Tensor, *free_nats: Any) -> Any:
        return version(posterior / posterior.sum(-1, keepdim=True), prior / prior.sum(-1, keepdim=True), *free_nats)

    return called


def kl_loss(posterior_logits: Tensor, prior_logits: Tensor) -> Tensor:
    """What the KL adds to the loss of a training step."""
    dyn, rep = kl_losses(unimix(posterior_logits), unimix(prior_logits))
    return dyn.mean() + 0.1 * rep.mean()


def probe_kl_loss(f: Callable, g: Golden) -> Iterator[Output]:
    logits = both_logits(g)
    total = f(*logits)
    yield g.out("total", total)
    for of, gradient in zip(("post", "prior"), grad(total, *logits)):
        yield g.out(f"total_grad_{of}", gradient)
    near = g["dyn"][0] <= 1  # below the free nats
    found = f(*(x.detach()[:1, near] for x in logits))
    official = g["dyn"][0, near].mean() + 0.1 * g["rep"][0, near].mean()
    yield g.out("total", found, official=official, part=" below the free nats")


# Returns


def probe_lambda_return(f: Callable, g: Golden) -> Iterator[Output]:
    usual, discount = g.constants["lam"], 1 - 1 / g.constants["horizon"]
    rewards, continues, values = g["imag_rew"][:, 1:], g["imag_con"][:, 1:], g["imag_val"][:, 1:]
    for name, lam, factor in (
        ("imag_ret", usual, 1),
        ("imag_ret_nocontdisc", usual, discount),
        *((("imag_ret_lam1", 1.0, 1), ("imag_ret_lam0", 0.0, 1)) if f.count == 5 else ()),
    ):
        yield g.out(name, f(rewards, continues * factor, values, values[:, -1], lam))


def tied(version: Callable) -> Callable:
    """The bootstrap is the last value, too: many functions take it once."""

    def called(rewards: Tensor, continues: Tensor, values: Tensor, bootstrap: Tensor, *lam: Any) -> Tensor:
        return version(rewards, continues, torch.cat([values[:, :-1], bootstrap[:, None]], 1), bootstrap, *lam)

    return called


def replay_return(rewards: Tensor, is_last: Tensor, is_terminal: Tensor, bootstrap: Tensor) -> Tensor:
    """The λ-return on replayed steps, as in `critic.replay_critic_loss`."""
    continues, lam = (~is_terminal[:, 1:]) * (1 - 1 / 333), 0.95 * ~is_last[:, 1:]
    return lambda_return(rewards[:, 1:], continues, bootstrap[:, 1:], bootstrap[:, -1], lam)


def probe_replay_return(f: Callable, g: Golden) -> Iterator[Output]:
    yield g.out("rep_ret", f(g["rep_rew"], g["rep_last"], g["rep_term"], g["rep_boot"]))


def probe_step_weights(f: Callable, g: Golden) -> Iterator[Output]:
    weights = f(g["con"])
    steps = (slice(None), slice(g["ret"].shape[1]))
    yield g.out("weight", weights[steps] if weights.shape == g["con"].shape else weights, index=steps)


def without_last(function: Callable) -> Callable:
    def version(continues: Tensor) -> Tensor:
        weights = function(continues)
        return weights[:, :-1] if weights.shape == continues.shape else weights

    return version


def return_scale(batches: Tensor, rate: float = 0.01, limit: float = 1.0, low: float = 0.05, high: float = 0.95):
    """The scale after each batch of returns, (steps, …) → (steps,)."""
    scale = ReturnScale(rate, limit, low, high)
    return torch.stack([scale.update(batch) for batch in batches])


def probe_return_scale(f: Callable, g: Golden) -> Iterator[Output]:
    c = g.constants
    scale = f(g["x"], c["rate"], c["limit"], c["perclo"] / 100, c["perchi"] / 100)
    found, right = tuple(scale.shape), tuple(g["scale"].shape)
    if found != right:
        raise TypeError(f"it returned scales of shape {found}; expected {right}, one for each batch")
    yield g.out("scale", scale)


def one_update(function: Callable) -> Callable:
    """`return_scale` as ReturnScale.update, which the scale object calls batch by batch."""

    def version(scale: ReturnScale, returns: Tensor) -> Tensor:
        scale.seen = [*getattr(scale, "seen", []), returns]
        return function(torch.stack(scale.seen), scale.rate, scale.limit, *scale.levels.tolist())[-1]

    return version


def all_updates(wrong: Callable) -> Callable:
    def version(batches: Tensor, rate: float = 0.01, limit: float = 1.0, low: float = 0.05, high: float = 0.95):
        scale = ReturnScale(rate, limit, low, high)
        return torch.stack([torch.as_tensor(wrong(scale, batch)).reshape(()) for batch in batches])

    return version


# Losses


def probe_continue_target(f: Callable, g: Golden) -> Iterator[Output]:
    yield g.out("con_target", f(g["is_terminal"], g.constants["horizon"]))


def vector_loss(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - symlog(target)).square().sum(-1)


def probe_vector_loss(f: Callable, g: Golden) -> Iterator[Output]:
    prediction = leaf(g["vec_pred"])
    loss = f(prediction, g["vec_target"])
    yield g.out("vec_loss", loss)
    yield g.out("vec_grad", grad(loss, prediction)[0])


def image_loss(prediction: Tensor, image: Tensor) -> Tensor:
    return (prediction - image / 255).square().sum((-3, -2, -1))


def probe_image_loss(f: Callable, g: Golden) -> Iterator[Output]:
    out = leaf(g["img_out"])
    loss = f(torch.sigmoid(out), g["img_target"])
    yield g.out("img_loss", loss)
    yield g.out("img_grad", grad(loss, out)[0])


def policy_of(g: Golden) -> tuple[list[str], list[Tensor], Any, Tensor]:
    """The names and values of the policy's inputs, the policy, and the actions."""
    names = ["policy_logits"] if "policy_logits" in g else ["policy_mean_raw", "policy_std_raw"]
    inputs = [leaf(g[name]) for name in names]
    if len(names) == 1:
        return names, inputs, Categorical(*inputs), one_hot(g["action"], inputs[0].shape[-1])
    return names, inputs, BoundedNormal(*inputs), g["action"]


def entries_and_mean(g: Golden, name: str, loss: Tensor) -> Iterator[Output]:
    """A loss may come as its mean."""
    if loss.ndim:
        yield g.out(f"{name}_loss", loss)
    yield g.out(f"mean_{name}", loss.mean())


def advantages(returns: Tensor, values: Tensor, scale: Tensor) -> Tensor:
    return (returns - values[:, :-1]) / scale


def probe_advantages(f: Callable, g: Golden) -> Iterator[Output]:
    yield g.out("adv", f(g["ret"], g["value"], g["ret_scale"]))


def probe_actor_loss(f: Callable, g: Golden) -> Iterator[Output]:
    names, inputs, policy, action = policy_of(g)
    steps = (slice(None), slice(-1))
    parts = policy.log_prob(action)[steps], policy.entropy()[steps]
    loss = f(*parts, g["adv"], g["weight"][steps], g.constants["actent"])
    yield from entries_and_mean(g, "policy", loss)
    for name, gradient in zip(names, grad(loss.mean(), *inputs)):
        yield g.out(f"grad_{name}", gradient)


def categorical(logits: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    policy = Categorical(logits)
    return policy.log_prob(action), policy.entropy()


def probe_categorical(f: Callable, g: Golden) -> Iterator[Output]:
    logits = leaf(g["logits"])
    for name, value in zip(("logp", "entropy"), f(logits, one_hot(g["action_class"], logits.shape[-1]))):
        yield g.out(f"cat_{name}", value)
        yield g.out(f"cat_{name}_grad", grad(value, logits)[0])


def bounded_normal(mean: Tensor, std: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    policy = BoundedNormal(mean, std)
    return policy.log_prob(action), policy.entropy()


def probe_bounded_normal(f: Callable, g: Golden) -> Iterator[Output]:
    mean, std = leaf(g["mean_raw"]), leaf(g["std_raw"])
    log_prob, spread = f(mean, std, g["action"])
    yield g.out("logp", log_prob)
    yield g.out("entropy", spread)
    for name, gradient in zip(("mean", "std"), grad(log_prob, mean, std)):
        yield g.out(f"logp_grad_{name}_raw", gradient)


def loss_of_critic(logits: Tensor, returns: Tensor, slow_values: Tensor, weights: Tensor, bins: Tensor) -> Tensor:
    return critic_loss(logits, returns, slow_values, bins, weights)


def probe_critic_loss(f: Callable, g: Golden) -> Iterator[Output]:
    logits = leaf(g["value_logits"])
    loss = f(logits, g["ret"], g["slow_value"], g["weight"][:, :-1], two_hot_bins())
    yield from entries_and_mean(g, "value", loss)
    yield g.out("grad_value_logits", grad(loss.mean(), logits)[0])


def loss_of_replay(
    logits: Tensor,
    slow_values: Tensor,
    rewards: Tensor,
    is_last: Tensor,
    is_terminal: Tensor,
    bootstrap: Tensor,
    bins: Tensor,
) -> Tensor:
    return replay_critic_loss(logits, slow_values, bins, rewards, is_last, is_terminal, bootstrap)


def probe_replay_critic_loss(f: Callable, g: Golden) -> Iterator[Output]:
    logits, recorded = leaf(g["rep_value_logits"]), (g["rep_rew"], g["rep_last"], g["rep_term"])
    bootstrap = g["ret"][:, 0].view(recorded[0].shape)
    loss = f(logits, g["rep_slow_value"], *recorded, bootstrap, two_hot_bins())
    yield from entries_and_mean(g, "repval", loss)
    yield g.out("grad_rep_value_logits", g.constants["scale_repval"] * grad(loss.mean(), logits)[0])


# Learning


def entry(found: Any, name: str) -> Tensor:
    """What is called so in the dictionary that came back."""
    if not isinstance(found, dict) or name not in found:
        raise TypeError(f"a dictionary with the entry {name!r} is expected")
    return found[name]


def laprop(params: dict, grads: dict, lr: float, warmup: int) -> dict[str, Tensor]:
    """The parameters after each step."""
    weights = {name: torch.nn.Parameter(value.clone()) for name, value in params.items()}
    optimizer, path = LaProp([(weights.values(), lr)], warmup), []
    for k in range(len(next(iter(grads.values())))):
        optimizer.zero_grad()
        for name, weight in weights.items():
            weight.grad += grads[name][k]
        optimizer.step()
        path.append({name: weight.detach().clone() for name, weight in weights.items()})
    return {name: torch.stack([step[name] for step in path]) for name in weights}


def probe_laprop(f: Callable, g: Golden) -> Iterator[Output]:
    params, grads = g.weights("param_"), g.weights("grad_")
    for way, lr, warmup in (
        ("official", g.constants["official_lr"], g.constants["official_warmup"]),
        ("fast", 0.05, 4),
    ):
        found = f(params, grads, lr, warmup)
        for name in params:
            yield g.out(f"{way}_param_{name}", entry(found, name))


def slow_critic(online: Tensor, rate: float = 0.02) -> Tensor:
    """The slow weight at creation and after each step, (steps + 1, …) → (steps + 1, …)."""
    path = [online[0]]
    for weight in online[1:]:
        path.append(torch.lerp(path[-1], weight, rate))
    return torch.stack(path)


def probe_slow_critic(f: Callable, g: Golden) -> Iterator[Output]:
    for name in ("kernel", "bias"):
        yield g.out(f"slow_{name}", f(g[f"online_{name}"], g.constants["rate"]))


def initialise(shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    fan_in = shape[0] if len(shape) == 2 else torch.Size(shape[:-1]).numel()
    return init_(torch.empty(shape), fan_in, scale)


def probe_initialise(f: Callable, g: Golden) -> Iterator[Output]:
    """Standard deviation, and largest weight beside its bound; both within what chance allows."""
    for row, stats in zip(g["shapes"].tolist(), g["stats"].float()):
        if f.count == 1 and stats[1] != 1:
            continue
        try:
            weight = f(shape := tuple(size for size in row if size), float(stats[1]))
        except NotImplementedError:  # no such layers
            continue
        weight = weight.detach()
        found = torch.stack([weight.std(), weight.abs().max()])
        noise = torch.stack([stats[5] * 5 / (2 * stats[7]).sqrt(), 0.03 * stats[6]])
        entries = f"standard deviation of a {shape} weight", f"largest magnitude of a {shape} weight"
        yield Output(f"{g.name}/stats of {row}", found, stats[5:7], 0.0, noise, None, entries)
    shape = tuple(size for size in g["shapes"][0].tolist() if size)
    if f.count == 2:
        yield Output(f"{g.name}/a head of zeros", f(shape, 0.0).detach(), torch.zeros(shape), 0.0, 0.0)


TWO_HOT, LATENTS, KL = ("02_twohot",), ("05_prior_posterior_unimix",), ("06_kl_losses",)
BOTH = ("10_actor_critic_discrete", "10_actor_critic_continuous")
PIECES = (
    Piece(
        "symlog",
        symlog,
        ("01_symlog_symexp",),
        probe_symlog,
        "x: any shape",
        "sign(x) ln(1 + |x|), same shape",
        "Paper: Eq. 9. Official: embodied/jax/nets.py: symlog",
        "n02_symlog:symlog",
    ),
    Piece(
        "symexp",
        symexp,
        ("01_symlog_symexp",),
        probe_symexp,
        "x: any shape",
        "sign(x) (exp(|x|) - 1), same shape",
        "Paper: Eq. 9. Official: embodied/jax/nets.py: symexp",
        "n02_symlog:symexp",
    ),
    Piece(
        "two_hot_bins",
        two_hot_bins,
        TWO_HOT,
        probe_bins,
        "count: 255; limit: 20.0",
        "symexp of `count` even steps from -limit to limit, (count,)",
        "Paper: Eq. 10. Official: embodied/jax/heads.py: Head.symexp_twohot",
        "n03_two_hot:two_hot_bins",
    ),
    Piece(
        "two_hot",
        two_hot,
        TWO_HOT,
        probe_two_hot,
        "x: numbers (...), in raw units; bins: (count,), in raw units, 255 or another count",
        "weights on the two bins beside x, linear in raw space, (..., count)",
        "Paper: Eq. 11. Official: embodied/jax/outs.py: TwoHot.loss",
        "n03_two_hot:two_hot",
    ),
    Piece(
        "two_hot_mean",
        two_hot_mean,
        TWO_HOT,
        probe_two_hot_mean,
        "logits: (..., count); bins: (count,), in raw units",
        "the mean of the bins under softmax(logits), in raw units, (...)",
        "Paper: Eq. 10. Official: embodied/jax/outs.py: TwoHot.pred",
        "n03_two_hot:two_hot_mean",
        ignored=("gradient",),  # beside bins of millions its rounding shows
    ),
    Piece(
        "two_hot_loss",
        two_hot_loss,
        TWO_HOT,
        probe_two_hot_loss,
        "logits: (..., count); x: targets (...), in raw units; bins: (count,), in raw units",
        "the cross-entropy between two_hot(x) and softmax(logits), (...)",
        "Paper: Eq. 11. Official: embodied/jax/outs.py: TwoHot.loss",
        "n03_two_hot:two_hot_loss",
    ),
    Piece(
        "unimix",
        unimix,
        LATENTS,
        probe_unimix,
        "logits: (..., groups, classes), or just (groups, classes); mix: 0.01",
        "probabilities (1 - mix) softmax(logits) + mix / classes, same shape",
        'Paper: "1 % unimix". Official: embodied/jax/outs.py: Categorical',
        "n04_latents:unimix",
    ),
    Piece(
        "entropy",
        entropy,
        LATENTS,
        probe_entropy,
        "p: probabilities (..., groups, classes)",
        "the entropy in nats, summed over groups, (...)",
        "Official: embodied/jax/outs.py: Categorical.entropy",
        "n04_latents:entropy",
    ),
    Piece(
        "sample",
        sample,
        LATENTS,
        probe_sample,
        "probs: probabilities (..., groups, classes); noise: standard Gumbel noise of the same shape. A function that "
        "draws its own takes probs only",
        "one-hot samples argmax(ln p + noise), with the gradient of probs (straight-through), same shape",
        "Official: embodied/jax/outs.py: OneHot.sample",
        "n04_latents:sample",
        through=lambda version: lambda probs, *noise: version(probs / probs.sum(-1, keepdim=True), *noise),
        version=with_noise,
    ),
    Piece(
        "kl",
        kl,
        KL,
        probe_kl,
        "p, q: probabilities (..., groups, classes)",
        "KL(p || q) in nats, summed over groups, (...)",
        "Paper: Eq. 3. Official: embodied/jax/outs.py: Categorical.kl",
        "n04_latents:kl",
    ),
    Piece(
        "kl_losses",
        kl_losses,
        KL,
        probe_kl_losses,
        "posterior, prior: probabilities (..., groups, classes); free_nats: 1.0",
        "dyn and rep, unscaled: max(free, KL(sg(posterior) || prior)), max(free, KL(posterior || sg(prior))), "
        "(...) each",
        "Paper: Eq. 3. Official: dreamerv3/rssm.py: RSSM.loss",
        "n06_world_model:kl_losses",
        through=normalised,
    ),
    Piece(
        "kl_loss",
        kl_loss,
        KL,
        probe_kl_loss,
        "posterior_logits, prior_logits: (batch, time, groups, classes), before unimix",
        "the number that the KL adds to the loss, with your own unimix, free nats and scales: mean dyn + 0.1 mean rep",
        "Paper: Eq. 2 and 3. Official: dreamerv3/rssm.py: RSSM.loss, dreamerv3/configs.yaml: loss_scales",
    ),
    Piece(
        "lambda_return",
        lambda_return,
        ("08_lambda_return",),
        probe_lambda_return,
        "rewards, continues, values: (N, H), index t holds what ARRIVES after step t (the continues hold the "
        "discount); "
        "bootstrap: (N,), the last value, always values[:, -1]; lam: 0.95, a number",
        "R_t = r_{t+1} + c_{t+1} ((1 - lam) v_{t+1} + lam R_{t+1}), R_H = bootstrap, (N, H)",
        "Paper: Eq. 5. Official: dreamerv3/agent.py: lambda_return",
        "n08_critic:lambda_return",
        through=tied,
        asked=lambda case: not isinstance(case[-1], Tensor),  # one λ for all steps
        ignored=("gradient",),  # it is a target: none is needed
    ),
    Piece(
        "replay_return",
        replay_return,
        ("08_lambda_return",),
        probe_replay_return,
        "rewards, is_last, is_terminal: (B, T), recorded; bootstrap: (B, T), a return dreamed from each step",
        "the λ-return with λ = 0.95 where is_last is false, else 0, and discount 1 - 1/333, (B, T-1)",
        "Official: dreamerv3/agent.py: repl_loss",
    ),
    Piece(
        "step_weights",
        step_weights,
        BOTH,
        probe_step_weights,
        "continues: (N, H+1), predicted, with the discount inside",
        "the product of the continues up to and including each step's own, (N, H) or (N, H+1)",
        "Official: dreamerv3/agent.py: imag_loss (weight)",
        "n07_imagination:step_weights",
        version=without_last,
    ),
    Piece(
        "return_scale",
        return_scale,
        ("09_return_norm",),
        probe_return_scale,
        "batches: (steps, …), a batch of returns for each step; rate: 0.01; limit: 1.0; low: 0.05; high: 0.95",
        "the scale that each step's advantages are divided by, (steps,): max(limit, running range), starts at 0, is "
        "updated before it is used",
        "Paper: Eq. 7. Official: embodied/jax/utils.py: Normalize",
        "n09_actor:update",
        version=one_update,
        planted=all_updates,
        ignored=("the stored range",),
    ),
    Piece(
        "continue_target",
        continue_target,
        ("15_decoder_losses",),
        probe_continue_target,
        "is_terminal: booleans (...); discount_horizon: 333",
        "the target of the continue head: (1 - is_terminal) (1 - 1/discount_horizon), (...)",
        "Official: dreamerv3/agent.py: Agent.loss (contdisc)",
        "n06_world_model:continue_target",
    ),
    Piece(
        "advantages",
        advantages,
        BOTH,
        probe_advantages,
        "returns: (N, H); values: (N, H+1), of the critic; scale: ()",
        "(returns - values[:, :-1]) / scale, (N, H)",
        "Paper: Eq. 6. Official: dreamerv3/agent.py: imag_loss",
        "n09_actor:advantages",
    ),
    Piece(
        "actor_loss",
        actor_loss,
        BOTH,
        probe_actor_loss,
        "log_probs, entropies, advantages, weights: (N, H); entropy_scale: 3e-4",
        "-weights (sg(advantages) log_probs + entropy_scale entropies), (N, H), or its mean",
        "Paper: Eq. 6. Official: dreamerv3/agent.py: imag_loss",
        "n09_actor:actor_loss",
    ),
    Piece(
        "categorical",
        categorical,
        ("14_action_heads",),
        probe_categorical,
        "logits: (..., A); action: one-hot (..., A)",
        "log-probability of the action and entropy of a plain softmax, (...) each",
        "Official: embodied/jax/heads.py: Head.categorical",
        "n09_actor:log_prob",
        version=lambda function: lambda policy, action: function(policy.log_probs, action)[0],
        planted=lambda wrong: (
            lambda logits, action: (wrong(Categorical(logits), action), Categorical(logits).entropy())
        ),
    ),
    Piece(
        "bounded_normal",
        bounded_normal,
        ("14_action_heads",),
        probe_bounded_normal,
        "mean, std: raw outputs (..., A); action: (..., A), not clipped",
        "log-probability of the action and entropy, summed over A, of a normal with mean tanh(mean) and standard "
        "deviation 0.9 sigmoid(std + 2) + 0.1, (...) each",
        "Official: embodied/jax/heads.py: Head.bounded_normal, embodied/jax/outs.py: Normal",
    ),
    Piece(
        "critic_loss",
        loss_of_critic,
        BOTH,
        probe_critic_loss,
        "logits: (N, H+1, count); returns: (N, H); slow_values: (N, H+1); weights: (N, H); bins: (count,)",
        "weights (two_hot_loss to the returns + two_hot_loss to the slow values), without the last state, (N, H), or "
        "its mean",
        "Paper: Eq. 5. Official: dreamerv3/agent.py: imag_loss",
        "n08_critic:critic_loss",
        version=lambda function: (
            lambda logits, returns, slow, bins, weights: function(logits, returns, slow, weights, bins)
        ),
        planted=lambda wrong: lambda logits, returns, slow, weights, bins: wrong(logits, returns, slow, bins, weights),
    ),
    Piece(
        "replay_critic_loss",
        loss_of_replay,
        BOTH,
        probe_replay_critic_loss,
        "logits: (B, T, count); slow_values, rewards, is_last, is_terminal, bootstrap: (B, T); bins: (count,)",
        "two_hot_loss to the replay return + two_hot_loss to the slow values, 0 at last steps, (B, T-1), or its mean",
        "Official: dreamerv3/agent.py: repl_loss",
    ),
    Piece(
        "vector_loss",
        vector_loss,
        ("15_decoder_losses",),
        probe_vector_loss,
        "prediction: (..., O), in symlog space; target: (..., O), raw",
        "the squared error in symlog space, summed over O, without a factor 1/2, (...)",
        "Paper: Eq. 8. Official: embodied/jax/heads.py: Head.symlog_mse",
        "n02_symlog:symlog_loss",
        version=lambda function: lambda prediction, target: function(prediction[..., None], target[..., None]),
        planted=lambda wrong: lambda prediction, target: wrong(prediction, target).sum(-1),
    ),
    Piece(
        "image_loss",
        image_loss,
        ("15_decoder_losses",),
        probe_image_loss,
        "prediction: brightness 0 to 1, (..., height, width, channels); image: bytes of the same shape",
        "the squared error of the brightness, summed over pixels and channels, (...)",
        "Paper: Eq. 3. Official: dreamerv3/rssm.py: Decoder",
        "a2_pixels:picture_loss",
        version=lambda function: lambda prediction, image: function(prediction, image).mean(),
        planted=None,
    ),
    Piece(
        "laprop",
        laprop,
        ("11_optimizer",),
        probe_laprop,
        "params: name to array; grads: name to (steps, …), the gradients of each step; lr: number; warmup: steps",
        "name to (steps, …), the parameters after each step of AGC (0.3, floor 1e-3), RMS scaling (0.999, 1e-20), then "
        "momentum (0.9), with the rate lr · min(1, (step - 1) / warmup)",
        "Official: embodied/jax/opt.py: clip_by_agc, scale_by_rms, scale_by_momentum; dreamerv3/agent.py: _make_opt",
    ),
    Piece(
        "slow_critic",
        slow_critic,
        ("13_slow_critic_ema",),
        probe_slow_critic,
        "online: (steps + 1, …), a weight at creation and after each step; rate: 0.02",
        "the slow critic's weight at creation, a copy, and after each step, same shape",
        "Official: embodied/jax/utils.py: SlowModel",
    ),
    Piece(
        "initialise",
        initialise,
        ("12_weight_init",),
        probe_initialise,
        "shape: (inputs, outputs), (blocks, inputs, outputs) or (height, width, inputs, outputs), for which you "
        "may raise "
        "NotImplementedError; scale: 1.0",
        "a fresh weight: a normal of std 1/sqrt(fan-in) · scale, cut at two standard deviations",
        "Official: embodied/jax/nets.py: Initializer",
    ),
)
