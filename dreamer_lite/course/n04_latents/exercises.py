"""Exercises of notebook 04: unimix, the straight-through sample, KL, entropy."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...latents import entropy, gumbel, kl, sample, unimix
from ..exercise import (
    Complaint,
    Exercise,
    Mistake,
    dice,
    gradient,
    hundredths,
    normal,
    up_to_a_constant,
    with_gradients,
)


def unimix_cases() -> list[tuple]:
    sure = torch.tensor([[[0.0, 200.0], [0.0, 1.0]]])  # beyond what exp can hold
    return [(torch.tensor([[0.0, 20.0]]),), (normal(2, 3, 4, size=5),), (normal(3, 2, 8, size=3), 0.1), (sure,)]


def sample_cases() -> list[tuple]:
    """Probabilities, noise, and what a loss wants of the sample; first the example by hand."""
    cases = [(torch.tensor([[0.7, 0.3]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[2.0, 5.0]]))]
    for shape in ((1, 3), (2, 3, 4), (64, 4, 6)):
        cases.append((dice(*shape), hundredths(gumbel(torch.ones(()), *shape)), normal(*shape)))
    exact = SKEWED.expand(100, 16, 8), gumbel(torch.ones(()), 100, 16, 8), None  # last, so that it hides no other slip
    return [*((probs.requires_grad_(True), noise, direction) for probs, noise, direction in cases), exact]


# A quarter of the throws of this die show class 0. With the wrong noise the share differs by more than chance allows.
SKEWED = torch.tensor([0.25] + [0.75 / 7] * 7)
SHARE = "the share of class 0 in 40,000 throws, with no noise given, of a die that should show it in a quarter of them"
RARE = torch.tensor([0.002, 0.986] + [0.002] * 6)
SELDOM = "the share of class 0 in 40,000 throws, with no noise given, of a die that should show it in 0.2 % of them"


ROWS, DICE = "whether the rows fall independently", "whether the dice of a row fall independently"
THROWS, EXACT = "whether two throws of all differ", "whether all entries are exactly 0 or 1"


OWN_NOISE = "The given `noise` is not used: you make your own each time. Make some only when it is None."


def sample_probe(version: Callable, probs: Tensor, noise: Tensor, direction: Tensor | None) -> dict[str, Tensor]:
    """The drawn classes for given noise, their gradient, and how often each class comes up when no noise is given.

    Without a direction only whether the sum is rounded.
    """
    z = version(probs, noise)
    if direction is None:
        return {EXACT: float(bool(((z == 0) | (z == 1)).all()))}
    if not isinstance(z, Tensor) or z.shape != probs.shape:
        return {"the result": z, "the gradient": z, SHARE: z}
    if not torch.equal(version(probs, noise).detach(), z.detach()):
        raise Complaint(OWN_NOISE)
    found = {"the result": z, "the gradient": gradient(z * direction, probs)}
    first, *others = (version(SKEWED.expand(100, 16, 8)).detach() for _ in range(8))
    rows, dice = (not torch.equal(one.expand_as(first), first) for one in (first[:1], first[:, :1]))
    share = version(SKEWED.expand(20_000, 2, 8)).detach()[..., 0].mean() if rows else torch.tensor(0.25)
    fine = rows and 0.23 <= share < 0.27  # else the next line would say the same once more, and less surely
    rare = version(RARE.expand(20_000, 2, 8)).detach()[..., 0].mean() if fine else torch.tensor(0.002)
    return found | {
        SELDOM: 0.002 * (1 + float(rare > 0.003) - float(rare < 0.001)) if rare.isfinite() else rare,
        ROWS: float(rows),
        DICE: float(dice),
        SHARE: 0.25 + 0.04 * torch.floor((share - 0.23) / 0.04) if share.isfinite() else share,
        THROWS: float(any(not torch.equal(other, first) for other in others)),
    }


def up_to_constants(*names: str) -> Callable:
    """A probe of the result and of its gradient at each input, where these are dice."""
    plain = with_gradients(*names)

    def probe(version: Callable, *case: Tensor) -> dict:
        found = plain(version, *case)
        return {name: part if name == "the result" else up_to_a_constant(part) for name, part in found.items()}

    return probe


def kl_cases() -> list[tuple]:
    by_hand = torch.tensor([[[0.9, 0.1]]]), torch.tensor([[[0.5, 0.5]]])
    return [
        by_hand,
        (dice(1, 2, 3), dice(1, 2, 3)),
        (dice(2, 4, 5), dice(2, 4, 5)),
        (dice(3, 2, 4, 3), dice(3, 2, 4, 3)),
        (sharp(2, 3), sharp(2, 3)),
    ]


def sharp(*shape: int) -> Tensor:
    """Dice that are nearly certain of one of eight faces, as unimix leaves them."""
    return unimix(1000.0 * torch.eye(8)[torch.randint(8, shape)])


def entropy_cases() -> list[tuple]:
    return [(torch.tensor([[[0.9, 0.1]]]),), (dice(1, 2, 3),), (dice(2, 4, 5),), (dice(3, 2, 4, 3),), (sharp(2, 3),)]


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


def straight(probs: Tensor, noise: Tensor) -> Tensor:
    return one_hot(probs.detach(), noise) + (probs - probs.detach())


def own_noise(make: Callable) -> Callable:
    """A sample whose own noise is made by `make` from the probabilities."""
    return lambda probs, noise=None: straight(probs, make(probs) if noise is None else noise)


def scaled(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    return one_hot(probs.detach(), noise) * (probs / probs.detach())


def short_one_hot(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    hot = torch.nn.functional.one_hot(one_hot(probs.detach(), noise).argmax(-1)).to(probs.dtype)
    return hot + (probs - probs.detach())


def unmoved(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    return one_hot(probs.detach(), noise)


def without_brackets(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    return one_hot(probs.detach(), noise) + probs - probs.detach()


def along_axis_one(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    noise = -torch.log(-torch.log(torch.rand_like(probs))) if noise is None else noise
    hot = torch.nn.functional.one_hot((probs.log() + noise).argmax(1), probs.shape[-1]).float()
    return hot + (probs - probs.detach())


EXERCISES = (
    Exercise(
        "unimix",
        unimix,
        unimix_cases,
        probe=with_gradients("logits"),
        kept_for="latents:unimix",
        mistakes=(
            Mistake(
                lambda l, mix=0.01: (l.softmax(-1) + mix / l.shape[-1]) / (1 + mix),
                "The uniform part is added in full, and the sum is divided by 1 + mix. The shares are 1 - mix and mix.",
            ),
            Mistake(
                lambda l, mix=0.01: (lambda p: p / p.sum(-1, keepdim=True))(l.softmax(-1).clamp(min=mix / l.shape[-1])),
                "This clamps and divides by the sum. Mixing is simpler: every probability shrinks a little, and "
                "every one gets mix / K.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.flatten(-2).softmax(-1).view_as(l) + mix / l.shape[-1],
                "One softmax runs over all dice together. Each die has its own: softmax over the last axis alone.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.exp() / l.exp().sum(-1, keepdim=True) + mix / l.shape[-1],
                "exp of a large logit overflows. `softmax` subtracts the largest logit of each die first.",
            ),
            Mistake(
                lambda l, mix=0.01: (
                    (1 - mix) * (l - l.max()).exp() / (l - l.max()).exp().sum(-1, keepdim=True) + mix / l.shape[-1]
                ),
                "The largest logit of ALL dice is subtracted; a die far below it has nothing left, and 0 / 0 is "
                "nan. `softmax` subtracts each die's own.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.softmax(-1) + mix / 8,
                "The number of classes is fixed at 8; use `logits.shape[-1]`.",
            ),
            Mistake(
                lambda l, mix=0.01: l.softmax(-1), "There is no uniform part: a class can still reach probability 0."
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.softmax(-1) + mix,
                "The uniform part is too large: it is shared by K classes, mix / K for each. Your probabilities add "
                "up to more than 1.",
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
            Mistake(lambda l, mix=0.01: unimix(l, mix).log(), "These are log-probabilities. Return probabilities."),
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
                "Clamping lifts small probabilities, but then they don't add up to 1, and where it clamps there is "
                "no gradient.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * (l.softmax(-1) + mix / l.shape[-1]),
                "The uniform part is multiplied by 1 - mix, too. It keeps its full share: mix / K.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.sigmoid() + mix / l.shape[-1],
                "sigmoid looks at each logit alone, so the faces don't add up to 1. Use softmax.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l + mix / l.shape[-1],
                "The softmax is missing: logits are not probabilities.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.log_softmax(-1) + mix / l.shape[-1],
                "log_softmax gives logarithms. Mix probabilities: `softmax`.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.softmax(0) + mix / l.shape[0],
                "The softmax runs over the first axis. Each group is its own die: use the last axis.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.softmax(-1) + mix * l.shape[-1],
                "The uniform part is multiplied by K. Divide by it: mix / K.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.softmax(-1) + mix / (l.shape[-1] * l.shape[-2]),
                "The uniform part is divided by all faces of all dice. Each die has K faces: mix / K.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.softmax(-1) + mix / l.numel(),
                "The uniform part is divided by the number of all logits. Each die has K faces: mix / K.",
            ),
            Mistake(
                lambda l, mix=0.01: (1 - mix) * l.softmax(-1) + mix / 2,
                "The number of classes is fixed at 2; use `logits.shape[-1]`.",
            ),
        ),
        hints=(
            '99 parts of the network\'s opinion, one part of "could be anything".',
            "Softmax over the last axis, times 1 - mix; plus mix shared equally by the K classes, K = "
            "`logits.shape[-1]`.",
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
        apart=(SHARE, SELDOM, ROWS, DICE, THROWS, EXACT),
        mistakes=(
            Mistake(
                lambda p, noise=None: straight(
                    p, -torch.log(-torch.log(torch.rand_like(p) if noise is None else noise))
                ),
                "The given noise is turned into Gumbel noise again. It is Gumbel noise already; make some only when "
                "none is given.",
            ),
            Mistake(
                short_one_hot,
                "`F.one_hot` isn't told how many classes there are, so it stops at the largest one that came up. "
                "Give it `probs.shape[-1]`.",
            ),
            Mistake(
                lambda p, noise=None: one_hot(p.detach(), noise) * (1 + (p - p.detach())),
                "The straight-through term is multiplied in, so only the class that came up gets a gradient. Add it.",
            ),
            Mistake(
                own_noise(torch.randn_like),
                "When no noise is given, yours is normal. Gumbel noise is -log(-log(u)): only with that is the draw "
                "distributed as p.",
            ),
            Mistake(
                own_noise(torch.rand_like),
                "When no noise is given, yours is uniform. Gumbel noise is -log(-log(u)): only with that is the "
                "draw distributed as p.",
            ),
            Mistake(
                own_noise(lambda p: -torch.log(torch.rand_like(p))),
                "When no noise is given, there is one logarithm too few: Gumbel noise is -log(-log(u)).",
            ),
            Mistake(
                own_noise(lambda p: torch.log(torch.rand_like(p))),
                "When no noise is given, yours is log(u): Gumbel noise is -log(-log(u)).",
            ),
            Mistake(
                own_noise(torch.zeros_like),
                "When no noise is given, yours always draws the likeliest class: its noise is zero, or the same for "
                "all faces of a die. Gumbel noise differs for each face.",
            ),
            Mistake(
                own_noise(lambda p: gumbel(p, *p.shape[:-2], 1, p.shape[-1]) if p.ndim > 1 else gumbel(p, *p.shape)),
                "All dice of a row share one set of noise, so they don't fall independently: noise has the shape of "
                "probs.",
            ),
            Mistake(
                own_noise(lambda p: gumbel(p, *p.shape[-2:])),
                "All rows share one set of noise: noise has the shape of probs.",
            ),
            Mistake(
                own_noise(lambda p: gumbel(p, p.shape[-1])),
                "All rows and dice share one set of noise, so they don't fall independently: noise has the shape of "
                "probs.",
            ),
            Mistake(
                scaled,
                "one_hot · p / sg(p) has the gradient 1/p, on the drawn class alone. Straight-through ADDS p - "
                "sg(p), so every class gets one.",
            ),
            Mistake(
                most_likely,
                "This always takes the likeliest class. A sample follows the noise: argmax of ln p + noise.",
            ),
            Mistake(
                no_detach,
                "No gradient comes through: an argmax has none, and `probs - probs` would cancel. Add `probs - "
                "probs.detach()`: 0 in value, and a gradient.",
            ),
            Mistake(soft, "These are the probabilities themselves. A sample is one-hot: one class per group."),
            Mistake(
                doubled,
                "The probabilities are added to the one-hot, so it is no longer one-hot. Add probs - "
                "probs.detach(), which is 0 in value.",
            ),
            Mistake(no_log, "The noise belongs on ln p, not on p: only then is the draw distributed as p."),
            Mistake(
                upside_down,
                "When no noise is given, the shares are wrong. Gumbel noise has two minus signs: -log(-log(u)).",
            ),
            Mistake(always_alike, "Every throw is the same: your function sets a seed. Leave the random state alone."),
            Mistake(
                reversed_gradient, "The gradient has the wrong sign: probs - probs.detach(), not the other way round."
            ),
            Mistake(through_log, "The gradient is that of ln p. Straight-through borrows the gradient of p itself."),
            Mistake(
                lambda p, noise=None: (
                    p.log() + (-torch.log(-torch.log(torch.rand_like(p))) if noise is None else noise)
                ).softmax(-1),
                "This is a softmax, not a draw. Take the argmax as one-hot, and add `probs - probs.detach()`.",
            ),
            Mistake(
                lambda p, noise=None: one_hot(p.detach(), noise).argmax(-1),
                "This is the number of the class. Return it as one-hot, (…, K).",
            ),
            Mistake(
                lambda p, noise=None: (
                    one_hot(p.detach(), noise)
                    + (lambda s: s - s.detach())(
                        (p.log() + (torch.zeros_like(p) if noise is None else noise)).softmax(-1)
                    )
                ),
                "The gradient is that of a softmax with noise. Straight-through borrows the gradient of `probs`.",
            ),
            Mistake(
                lambda p, noise=None: straight(
                    p, noise.neg() if noise is not None else torch.log(-torch.log(torch.rand_like(p)))
                ),
                "The noise is subtracted. Add it to ln p.",
            ),
            Mistake(
                lambda p, noise=None: (
                    lambda n: (
                        torch.nn.functional.one_hot((p.detach().log() + n).argmin(-1), p.shape[-1]) + (p - p.detach())
                    )
                )(-torch.log(-torch.log(torch.rand_like(p))) if noise is None else noise),
                "This takes the smallest entry. The class is the argmax of ln p + noise.",
            ),
            Mistake(
                lambda p, noise=None: (
                    lambda n: (
                        torch.nn.functional.one_hot((p.detach().log() * n).argmax(-1), p.shape[-1]) + (p - p.detach())
                    )
                )(-torch.log(-torch.log(torch.rand_like(p))) if noise is None else noise),
                "ln p is multiplied by the noise. Add the noise to it.",
            ),
            Mistake(lambda p, noise=None: straight(p, -torch.log(-torch.log(torch.rand_like(p)))), OWN_NOISE),
            Mistake(
                lambda p, noise=None: p + (p - one_hot(p.detach(), noise)).detach(),
                "The difference is the wrong way round: probs + (one_hot - probs).detach().",
            ),
            Mistake(
                lambda probs, noise=None: one_hot(probs.detach(), noise),
                "There is no straight-through term, so no gradient reaches `probs`. Add `(probs - probs.detach())`: 0 "
                "in value, with the gradient of probs.",
            ),
            Mistake(
                without_brackets,
                "Nearly: without brackets the sum is rounded twice, so some entries are 0.99999994 instead of"
                " 1. Write `hot + (probs - probs.detach())`.",
            ),
            Mistake(
                along_axis_one,
                "The argmax runs along axis 1, which holds the dice if there is a batch in front. The faces "
                "are the last axis: `argmax(-1)`.",
            ),
        ),
        hints=(
            "Two parts: which class is drawn (no gradient), and a term that is 0 in value but carries the gradient "
            "of probs.",
            "Draw: `(probs.log() + noise).argmax(-1)`, as one-hot. Without noise make Gumbel noise: "
            "`-torch.log(-torch.log(torch.rand_like(probs)))`. "
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
        probe=up_to_constants("p", "q"),
        kept_for="latents:kl",
        letters="B",
        mistakes=(
            Mistake(
                lambda p, q: (p * p.log() - q * q.log()).sum((-2, -1)),
                "This is a difference of two entropies. Both logarithms are weighted with p: p · (ln p - ln q).",
            ),
            Mistake(
                lambda p, q: kl(p.softmax(-1), q.softmax(-1)),
                "softmax is applied again: p and q are probabilities already.",
            ),
            Mistake(
                lambda p, q: (p * (p.log() - q.log())).clamp(min=0).sum((-2, -1)),
                "Each term is cut off at 0. The sum is never negative, but single terms may be.",
            ),
            Mistake(
                lambda p, q: (p * (p.log() - q.log())).sum((1, 2)),
                "This sums over axes 1 and 2. There may be more leading axes: sum over the last two, (-2, -1).",
            ),
            Mistake(
                lambda p, q: (p * (p.log() - q.log())).abs().sum((-2, -1)),
                "Each term is made positive. The sum is never negative, but single terms may be.",
            ),
            Mistake(
                lambda p, q: (p * (p.log() - q.log())).sum(-2),
                "The sum over the classes is missing: sum over both of the last two axes.",
            ),
            Mistake(lambda p, q: kl(p, q) + kl(q, p), "Both directions are added. KL(p || q) is one of them."),
            Mistake(
                lambda p, q: kl(q, p), "KL reversed: this is KL(q || p). The expectation is under the first one, p."
            ),
            Mistake(
                lambda p, q: kl(p, q) / p.shape[-2],
                "This is the mean over groups. Independent dice add up: sum over groups.",
            ),
            Mistake(
                lambda p, q: (p * (p.log() - q.log())).sum(-1), "This is one number per group. Sum over the groups too."
            ),
            Mistake(lambda p, q: -kl(p, q), "The sign is reversed: KL is never negative."),
            Mistake(
                lambda p, q: -(p * q.log()).sum((-2, -1)), "This is the cross-entropy. KL subtracts the entropy of p."
            ),
            Mistake(
                lambda p, q: (p.log() - q.log()).sum((-2, -1)),
                "The weights are missing: each class counts with its probability p.",
            ),
            Mistake(lambda p, q: kl(p, q) / 0.6931471805599453, "This is in bits. We use nats: the natural logarithm."),
            Mistake(lambda p, q: kl(p, q).sum(), "This adds up the whole batch. Sum over the last two axes only."),
            Mistake(
                lambda p, q: (q * (p.log() - q.log())).sum((-2, -1)),
                "The weights are those of q. The expectation is under p.",
            ),
            Mistake(
                lambda p, q: kl(p, q.detach()),
                "No gradient reaches q. Stop-gradients come later, in notebook 06; here both sides may learn.",
            ),
            Mistake(lambda p, q: kl(p, q).mean(), "This is one number for the whole batch. Keep the leading axes."),
            Mistake(lambda p, q: (p * (p - q)).sum((-2, -1)), "The logarithms are missing."),
            Mistake(
                lambda p, q: 0.5 * (kl(p, 0.5 * (p + q)) + kl(q, 0.5 * (p + q))),
                "This is the Jensen-Shannon divergence. KL compares p with q directly: p · (ln p - ln q).",
            ),
            Mistake(
                lambda p, q: 0.5 * (kl(p, q) + kl(q, p)),
                "This is the mean of both directions. KL(p || q) is one of them.",
            ),
            Mistake(lambda p, q: kl(p, q) / 2.302585092994046, "This is the logarithm to base 10. We use nats."),
            Mistake(
                lambda p, q: (p * (p.log() - q.log())).mean(-1).sum(-1),
                "This is the mean over the classes. Their terms add up: sum over them.",
            ),
            Mistake(lambda p, q: (p - q).square().sum((-2, -1)), "This is a squared distance: p · (ln p - ln q)."),
            Mistake(
                lambda p, q: (p.log() * (p - q)).sum((-2, -1)),
                "The logarithm and the difference are exchanged: p · (ln p - ln q).",
            ),
            Mistake(
                lambda p, q: (p * p.log() - q.log()).sum((-2, -1)),
                "A bracket is missing: p multiplies both logarithms, p · (ln p - ln q).",
            ),
            Mistake(
                lambda p, q: (p * (p.log_softmax(-1) - q.log_softmax(-1))).sum((-2, -1)),
                "`log_softmax` is for logits. p and q are probabilities already: `log`.",
            ),
            Mistake(
                lambda p, q: (p * (p - q).log()).sum((-2, -1)),
                "This is the logarithm of a difference, NaN wherever p < q. Take the difference of the "
                "logarithms: ln p - ln q.",
            ),
            Mistake(
                lambda p, q: (p * ((p + 1e-4).log() - (q + 1e-4).log())).sum((-2, -1)),
                "1e-4 is added inside the logarithms, so small probabilities count too little. Nothing is "
                "needed there: `unimix` keeps them above 0.",
            ),
        ),
        hints=(
            "The surprise under q minus the surprise under p, averaged with the weights p and summed over the groups.",
            "For each class p · (ln p - ln q). Which axes are summed over? Groups and classes, the last two.",
            "`return (p * (p.log() - q.log())).sum((-2, -1))`",
        ),
    ),
    Exercise(
        "entropy",
        entropy,
        entropy_cases,
        probe=up_to_constants("p"),
        letters="B",
        kept_for="latents:entropy",
        mistakes=(
            Mistake(
                lambda p: -p.log().mean(-1).sum(-1),
                "This is a plain average over the faces. Each face counts with its probability: p · ln p.",
            ),
            Mistake(
                lambda p: -(p * p.log()).sum(-1).sum(0),
                "The second sum runs over the batch, axis 0. Sum over the groups, the second-to-last axis.",
            ),
            Mistake(
                lambda p: -p * p.log().sum((-2, -1)),
                "The logarithms are summed before they are weighted. Brackets: -(p * p.log()).sum(…).",
            ),
            Mistake(
                lambda p: 8 * 2.0794415 - kl(p, torch.full_like(p, 1 / 8)),
                "Eight dice with eight faces are built in as numbers. S and K are the last two axes of p.",
            ),
            Mistake(
                lambda p: torch.distributions.Categorical(probs=p.flatten(-2)).entropy(),
                "All dice are merged into one big die. Each has its own entropy, and these add up.",
            ),
            Mistake(
                lambda p: -(p * p.log()).sum((1, 2)),
                "This sums over axes 1 and 2. There may be more leading axes: sum over the last two, (-2, -1).",
            ),
            Mistake(
                lambda p: p.shape[-2] * -(p.mean(-2) * p.mean(-2).log()).sum(-1),
                "The dice are averaged first. Each die has its own entropy, and these add up.",
            ),
            Mistake(
                lambda p: -p.log().mean((-2, -1)),
                "Each class counts with its probability p, and the classes are summed.",
            ),
            Mistake(
                lambda p: -(p * p.log()).sum(-2),
                "The sum over the classes is missing: sum over both of the last two axes.",
            ),
            Mistake(lambda p: -entropy(p), "The sign is missing: ln p is negative, entropy is not."),
            Mistake(lambda p: entropy(p) / p.shape[-2], "This is the mean over groups; the groups' entropies add up."),
            Mistake(lambda p: -(p * p.log()).sum(-1), "This is one number per group. Sum over the groups too."),
            Mistake(lambda p: -p.log().sum((-2, -1)), "Each class counts with its probability: p · ln p."),
            Mistake(lambda p: entropy(p).sum(), "This adds up the whole batch. Sum over the last two axes only."),
            Mistake(lambda p: -(p * p.log2()).sum((-2, -1)), "This is in bits. We use nats: the natural logarithm."),
            Mistake(
                lambda p: -(p * p.log()).mean((-2, -1)), "This divides by the number of entries. Entropy is a sum."
            ),
            Mistake(lambda p: entropy(p) / 2.302585092994046, "This is the logarithm to base 10. We use nats."),
            Mistake(lambda p: 1 - p.square().sum((-2, -1)), "This is 1 - Σ p². Entropy is -Σ p ln p."),
            Mistake(
                lambda p: -(p * p.log() + (1 - p) * (1 - p).log()).sum((-2, -1)),
                "This treats each face as a coin of its own. Of a die's faces just one comes up: -Σ p ln p.",
            ),
            Mistake(
                lambda p: -(p * p).log().sum((-2, -1)), "The square is taken inside the logarithm. It is p times ln p."
            ),
            Mistake(
                lambda p: entropy(p) / torch.tensor(float(p.shape[-1])).log(),
                "This is divided by ln K, so that a fair die has 1. Return it in nats.",
            ),
            Mistake(lambda p: entropy(p).exp(), "This is the exponential of the entropy. Return the entropy itself."),
            Mistake(
                lambda p: -p.amax(-1).log().sum(-1),
                "This is the surprise of the likeliest face. Entropy averages over all faces: -Σ p ln p.",
            ),
            Mistake(
                lambda p: -(p * p.log_softmax(-1)).sum((-2, -1)),
                "`log_softmax` is for logits. p holds probabilities already: `log`.",
            ),
            Mistake(lambda p: -(p * p.log1p()).sum((-2, -1)), "`log1p` is ln(1 + p). Take ln p: `log`."),
            Mistake(
                lambda p: -(p.mean(-2) * p.mean(-2).log()).sum(-1),
                "The dice are averaged first, and this is the entropy of that mean die. Sum the entropies of all dice.",
            ),
            Mistake(
                lambda p: -(p * p.log()).mean(-1).sum(-1),
                "The terms are averaged over the faces. They are weighted by p already: sum them.",
            ),
        ),
        hints=(
            "The expected surprise of a die that follows p.",
            "The surprise of a class is -ln p. Weight each by p, then sum over classes and groups.",
            "`return -(p * p.log()).sum((-2, -1))`",
        ),
    ),
)
