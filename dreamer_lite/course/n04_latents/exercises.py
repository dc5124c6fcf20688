"""Exercises of notebook 04: unimix, the straight-through sample, KL, entropy."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...latents import entropy, kl, sample, unimix
from ..exercise import Exercise, Mistake


def dice(*shape: int) -> Tensor:
    return unimix(torch.randn(shape) * 2)


def unimix_cases() -> list[tuple]:
    return [(torch.tensor([[0.0, 20.0]]),), (torch.randn(2, 3, 4) * 5,), (torch.randn(3, 2, 8) * 3, 0.1)]


def sample_cases() -> list[tuple]:
    cases = []
    for shape in ((1, 3), (2, 3, 4), (64, 4, 6)):
        probs = dice(*shape)
        cases.append((probs.requires_grad_(True), -torch.log(-torch.log(torch.rand(shape))), torch.randn(shape)))
    return cases


# A quarter of the throws of this die show class 0. Where the noise is wrong, the share moves to another eighth.
SKEWED = torch.tensor([0.25] + [0.75 / 7] * 7)
SHARE = "the share of class 0 in 8,000 throws of a die that should show it in a quarter of them (in eighths)"


def sample_probe(version: Callable, probs: Tensor, noise: Tensor, direction: Tensor) -> dict[str, Tensor]:
    """The drawn classes for given noise, their gradient, and how often each class comes without noise."""
    z = version(probs, noise)
    if not isinstance(z, Tensor) or z.shape != probs.shape:
        return {"the result": z, "the gradient": z, SHARE: z, "whether two rows of throws differ": z}
    if not z.requires_grad:
        raise ValueError(
            "no gradient flows from the sample to the probabilities: an argmax has none. "
            "Let it borrow theirs: one_hot + (probs - probs.detach())"
        )
    grad = torch.autograd.grad((z * direction).sum(), probs, allow_unused=True)[0]
    die = SKEWED.expand(8000, 1, 8)
    draws = version(die).detach()
    share = draws[..., 0].mean()
    return {
        "the result": z,
        "the gradient": torch.zeros_like(probs) if grad is None else grad,
        SHARE: torch.round(share * 8) / 8 if share.isfinite() else share,
        "whether two rows of throws differ": float(not torch.equal(draws, version(die).detach())),
    }


def with_flows(version: Callable, *case) -> dict[str, Tensor]:
    """The result, and whether a gradient flows from it to each tensor."""
    inputs = [part.clone().requires_grad_(True) if isinstance(part, Tensor) else part for part in case]
    out = version(*inputs)
    parts = [part for part in inputs if isinstance(part, Tensor)]
    names = [f"whether a gradient flows to input {k + 1}" for k in range(len(parts))]
    if not isinstance(out, Tensor):
        return {"the result": out} | dict.fromkeys(names, out)
    if not out.requires_grad:
        raise ValueError("no gradient flows through it; use torch functions, without detach, item or numpy")
    weight = torch.linspace(1, 2, out.numel()).view(out.shape)
    gradients = torch.autograd.grad((out * weight).sum(), parts, allow_unused=True)
    return {"the result": out} | {name: float(g is not None and bool(g.any())) for name, g in zip(names, gradients)}


def kl_cases() -> list[tuple]:
    return [(dice(1, 2, 3), dice(1, 2, 3)), (dice(2, 4, 5), dice(2, 4, 5)), (dice(3, 2, 4, 3), dice(3, 2, 4, 3))]


def entropy_cases() -> list[tuple]:
    return [(dice(1, 2, 3),), (dice(2, 4, 5),), (dice(3, 2, 4, 3),)]


def one_hot(probs: Tensor, noise: Tensor | None) -> Tensor:
    noise = -torch.log(-torch.log(torch.rand_like(probs))) if noise is None else noise
    return torch.nn.functional.one_hot((probs.log() + noise).argmax(-1), probs.shape[-1]).to(probs.dtype)


def most_likely(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    return one_hot(probs.detach(), torch.zeros_like(probs)) + probs - probs.detach()


def no_detach(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    return one_hot(probs.detach(), noise) + probs - probs


def soft(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    return probs * 1.0


def doubled(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    return one_hot(probs.detach(), noise) + probs


def no_log(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    noise = -torch.log(-torch.log(torch.rand_like(probs))) if noise is None else noise
    hot = torch.nn.functional.one_hot((probs.detach() + noise).argmax(-1), probs.shape[-1]).to(probs.dtype)
    return hot + probs - probs.detach()


def upside_down(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    noise = torch.log(-torch.log(torch.rand_like(probs))) if noise is None else noise
    return one_hot(probs.detach(), noise) + probs - probs.detach()


def always_alike(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    torch.manual_seed(0)
    return one_hot(probs.detach(), noise) + probs - probs.detach()


def reversed_gradient(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    return one_hot(probs.detach(), noise) + probs.detach() - probs


def through_log(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    return one_hot(probs.detach(), noise) + probs.log() - probs.log().detach()


EXERCISES = (
    Exercise(
        "unimix",
        unimix,
        unimix_cases,
        probe=with_flows,
        kept_for="latents:unimix",
        mistakes=(
            Mistake(lambda l, mix=0.01: l.softmax(-1), "There is no uniform part: a class can still reach probability 0."),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.softmax(-1) + mix,
                "The uniform part is too large: it is shared by K classes, mix / K for each. Yours add up to more than 1.",
            ),
            Mistake(
                lambda l, mix=0.01: l.softmax(-1) + mix / l.shape[-1],
                "The network's part must shrink to 1 - mix, or the sum is above 1.",
            ),
            Mistake(
                lambda l, mix=0.01: mix * l.softmax(-1) + (1 - mix) / l.shape[-1],
                "The parts are swapped: nearly everything is uniform here.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.softmax(-2) + mix / l.shape[-1],
                "The softmax runs over groups. Each group is its own die: use the last axis.",
            ),
            Mistake(
                lambda l, mix=0.01: 0.99 * l.softmax(-1) + 0.01 / l.shape[-1],
                "The mixture is fixed at 1 %; use the argument `mix`.",
            ),
            Mistake(lambda l, mix=0.01: unimix(l, mix).log(), "These are log-probabilities. Probabilities are wanted."),
            Mistake(
                lambda l, mix=0.01: ((1 - mix) * l + mix / l.shape[-1]).softmax(-1),
                "Mix the probabilities, after the softmax. Mixed logits can still give 0.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.softmax(-1) + mix / l.shape[-2],
                "The uniform part is 1 over the number of classes; yours divides by the number of groups.",
            ),
            Mistake(
                lambda l, mix=0.01: l.softmax(-1).clamp(min=mix / l.shape[-1]),
                "Clamping lifts small probabilities, but then they don't add up to 1, and where it clamps there is no gradient.",
            ),
        ),
        hints=(
            '99 parts of the network\'s opinion, one part of "could be anything".',
            "Softmax over the last axis, times 1 - mix; plus mix shared equally by the K classes, K = `logits.shape[-1]`.",
            "`return (1 - mix) * logits.softmax(-1) + mix / logits.shape[-1]`",
        ),
        letters="BSK",
    ),
    Exercise(
        "sample",
        sample,
        sample_cases,
        probe=sample_probe,
        kept_for="latents:sample",
        tolerance=1e-3,
        mistakes=(
            Mistake(most_likely, "This always takes the likeliest class. A sample follows the noise: argmax of ln p + noise."),
            Mistake(no_detach, "probs - probs cancels in the gradient too. One of the two must be detached."),
            Mistake(soft, "These are the probabilities themselves. A sample is one-hot: one class per group."),
            Mistake(
                doubled,
                "The probabilities are added to the one-hot, so it is no longer one-hot. Add probs - probs.detach(), which is 0 in value.",
            ),
            Mistake(no_log, "The noise belongs on ln p, not on p: only then is the draw distributed as p."),
            Mistake(upside_down, "Without given noise the shares are wrong. Gumbel noise has two minus signs: -log(-log(u))."),
            Mistake(always_alike, "Every throw is the same: a seed is set inside. Leave the random state alone."),
            Mistake(reversed_gradient, "The gradient has the wrong sign: probs - probs.detach(), not the other way round."),
            Mistake(through_log, "The gradient is that of ln p. Straight-through borrows the gradient of p itself."),
        ),
        hints=(
            "Two parts: which class is drawn (no gradient), and a term that is 0 in value but carries the gradient of probs.",
            "Draw: `(probs.log() + noise).argmax(-1)`, as one-hot. Without noise make Gumbel noise: `-torch.log(-torch.log(torch.rand_like(probs)))`. "
            "Then add `probs - probs.detach()`.",
            "`index = (probs.log() + noise).argmax(-1)`, `one_hot = F.one_hot(index, probs.shape[-1])`, "
            "`return one_hot + (probs - probs.detach())`.",
        ),
        letters="BSK",
    ),
    Exercise(
        "kl",
        kl,
        kl_cases,
        probe=with_flows,
        kept_for="latents:kl",
        letters="B",
        mistakes=(
            Mistake(lambda p, q: kl(q, p), "KL reversed: this is KL(q || p). The expectation is under the first one, p."),
            Mistake(
                lambda p, q: kl(p, q) / p.shape[-2], "This is the mean over groups. Independent dice add up: sum over groups."
            ),
            Mistake(lambda p, q: (p * (p.log() - q.log())).sum(-1), "This is one number per group. Sum over the groups too."),
            Mistake(lambda p, q: -kl(p, q), "The sign is reversed: KL is never negative."),
            Mistake(lambda p, q: -(p * q.log()).sum((-2, -1)), "This is the cross-entropy. KL subtracts the entropy of p."),
            Mistake(
                lambda p, q: (p.log() - q.log()).sum((-2, -1)),
                "The weights are missing: each class counts with its probability p.",
            ),
            Mistake(lambda p, q: kl(p, q) / 0.6931471805599453, "This is in bits. We use nats: the natural logarithm."),
            Mistake(lambda p, q: kl(p, q).sum(), "This adds up the whole batch. Sum over the last two axes only."),
            Mistake(
                lambda p, q: (q * (p.log() - q.log())).sum((-2, -1)), "The weights are those of q. The expectation is under p."
            ),
            Mistake(
                lambda p, q: kl(p, q.detach()),
                "No gradient reaches q. Stop-gradients come later, in notebook 06; here both sides may learn.",
            ),
            Mistake(lambda p, q: kl(p, q).mean(), "This is one number for the whole batch. Keep the leading axes."),
            Mistake(lambda p, q: (p * (p - q)).sum((-2, -1)), "The logarithms are missing."),
        ),
        hints=(
            "The surprise of q minus the surprise of p, averaged with the weights of p, added over classes and groups.",
            "For each class p · (ln p - ln q). Which axes are summed away? Groups and classes, the last two.",
            "`return (p * (p.log() - q.log())).sum((-2, -1))`",
        ),
    ),
    Exercise(
        "entropy",
        entropy,
        entropy_cases,
        probe=with_flows,
        letters="B",
        kept_for="latents:entropy",
        mistakes=(
            Mistake(lambda p: -entropy(p), "The sign is missing: ln p is negative, entropy is not."),
            Mistake(lambda p: entropy(p) / p.shape[-2], "This is the mean over groups; the groups' entropies add up."),
            Mistake(lambda p: -(p * p.log()).sum(-1), "This is one number per group. Sum over the groups too."),
            Mistake(lambda p: -p.log().sum((-2, -1)), "Each class counts with its probability: p · ln p."),
            Mistake(lambda p: entropy(p).sum(), "This adds up the whole batch. Sum over the last two axes only."),
            Mistake(lambda p: -(p * p.log2()).sum((-2, -1)), "This is in bits. We use nats: the natural logarithm."),
            Mistake(lambda p: -(p * p.log()).mean((-2, -1)), "This divides by the number of entries. Entropy is a sum."),
        ),
        hints=(
            "The expected surprise of a die that follows p.",
            "Surprise of a class: -ln p. Weigh each with p, add classes and groups.",
            "`return -(p * p.log()).sum((-2, -1))`",
        ),
    ),
)
