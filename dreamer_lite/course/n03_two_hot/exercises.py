"""Exercises of notebook 03: bins, two-hot weights, the mean read back, the loss."""

import torch
from torch import Tensor

from ...symlog import symexp, symlog
from ...two_hot import two_hot, two_hot_bins, two_hot_loss, two_hot_mean
from ..exercise import Exercise, Mistake, with_gradient


def raw_weights(x: Tensor, bins: Tensor, swap: bool = False, symlog_space: bool = False, side: bool = True) -> Tensor:
    below = (torch.bucketize(x.clamp(bins[0], bins[-1]), bins, right=side) - 1).clamp(0, len(bins) - 2)
    low, high, at = bins[below], bins[below + 1], x.clamp(bins[0], bins[-1])
    if symlog_space:
        low, high, at = symlog(low), symlog(high), symlog(at)
    share = (at - low) / (high - low)
    share = 1 - share if swap else share
    return (
        torch.zeros(*x.shape, len(bins))
        .scatter(-1, below[..., None], 1 - share[..., None])
        .scatter(-1, below[..., None] + 1, share[..., None])
    )


def unclipped(x: Tensor, bins: Tensor) -> Tensor:
    below = (torch.bucketize(x, bins, right=True) - 1).clamp(0, len(bins) - 2)
    share = (x - bins[below]) / (bins[below + 1] - bins[below])
    return (
        torch.zeros(*x.shape, len(bins))
        .scatter(-1, below[..., None], 1 - share[..., None])
        .scatter(-1, below[..., None] + 1, share[..., None])
    )


def lower_only(x: Tensor, bins: Tensor) -> Tensor:
    below = (torch.bucketize(x.clamp(bins[0], bins[-1]), bins, right=True) - 1).clamp(0, len(bins) - 1)
    return torch.nn.functional.one_hot(below, len(bins)).to(x.dtype)


def one_hot(x: Tensor, bins: Tensor) -> Tensor:
    nearest = (x[..., None] - bins).abs().argmin(-1)
    return torch.nn.functional.one_hot(nearest, len(bins)).to(x.dtype)


def soft(x: Tensor, bins: Tensor) -> Tensor:
    return (-(symlog(x)[..., None] - symlog(bins)).square()).softmax(-1)


def bins_cases() -> list[tuple]:
    return [(5, 2.0), (255, 20.0), (41, 8.0)]


def two_hot_cases() -> list[tuple]:
    bins = two_hot_bins(5, 2.0)
    many = two_hot_bins(41, 8.0)
    return [
        (torch.tensor([0.5, -1.0, 3.0]), bins),
        (bins.clone(), bins),
        (torch.tensor([1e5, -1e5, 0.0]), bins),
        (torch.randn(3, 4) * 20, many),
        (torch.randn(2, 3, 2) * 100, many),
    ]


def mean_cases() -> list[tuple]:
    bins, wide = two_hot_bins(5, 2.0), two_hot_bins(255, 20.0)
    return [
        (torch.randn(3, 5), bins),
        (torch.randn(2, 4, 41), two_hot_bins(41, 8.0)),
        (torch.zeros(2, 255), wide),
        (torch.full((1, 254), 0.3), two_hot_bins(254, 20.0)),
        (torch.randn(4, 6), two_hot_bins(6, 2.0)),
    ]


def loss_cases() -> list[tuple]:
    cases = []
    for shape, count, limit in (((3,), 5, 2.0), ((2, 4), 41, 8.0), ((2, 3, 2), 255, 20.0)):
        cases.append((torch.randn(*shape, count) * 2, torch.randn(shape) * 5, two_hot_bins(count, limit)))
    return cases


def cross(logits: Tensor, x: Tensor, bins: Tensor) -> Tensor:
    return -(two_hot(x, bins) * logits.log_softmax(-1)).sum(-1)


EXERCISES = (
    Exercise(
        "two_hot_bins",
        two_hot_bins,
        bins_cases,
        kept_for="two_hot:two_hot_bins",
        mistakes=(
            Mistake(
                lambda count=255, limit=20.0: torch.linspace(-limit, limit, count),
                "These bins are in symlog space. The bins are raw values: stretch them with symexp.",
            ),
            Mistake(
                lambda count=255, limit=20.0: torch.linspace(
                    -float(symexp(torch.tensor(limit))), float(symexp(torch.tensor(limit))), count
                ),
                "These are evenly spaced in raw space, so nearly all of them are huge. Space them evenly first, then apply symexp.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symlog(torch.linspace(-limit, limit, count)),
                "symlog squashes; symexp stretches, and that is wanted here.",
            ),
            Mistake(
                lambda count=255, limit=20.0: torch.linspace(-limit, limit, count).exp(),
                "exp is never negative. symexp keeps the sign, and maps 0 to 0.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(torch.linspace(0, limit, count)),
                "Rewards and values can be negative too: start at -limit.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(torch.linspace(-limit, limit, count + 1)),
                "That is one bin too many: `count` counts bins, not gaps.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(torch.linspace(-20.0, 20.0, count)),
                "The limit is fixed at 20; use the argument.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(torch.linspace(-limit, limit, 255)),
                "The count is fixed at 255; use the argument.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(symexp(torch.linspace(-limit, limit, count))), "symexp is applied twice."
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(torch.linspace(limit, -limit, count)),
                "They run from high to low. Bins rise.",
            ),
        ),
        hints=(
            "Even steps in one space, raw values in the other. Which function leads from the first to the second?",
            "`torch.linspace(-limit, limit, count)` makes even steps. They live in symlog space.",
            "`return symexp(torch.linspace(-limit, limit, count))`",
        ),
    ),
    Exercise(
        "two_hot",
        two_hot,
        two_hot_cases,
        mistakes=(
            Mistake(
                lambda x, b: raw_weights(x, b, swap=True), "The two weights are swapped: the nearer bin must get the larger one."
            ),
            Mistake(
                lambda x, b: raw_weights(x, b, symlog_space=True),
                "The shares are taken in symlog space. They are linear in raw space, so that weights · bins gives x back.",
            ),
            Mistake(
                lambda x, b: raw_weights(symlog(x), b), "The target is squashed by symlog, but these bins are raw values already."
            ),
            Mistake(
                one_hot,
                "This puts everything on the nearest bin. Two neighbours share the weight, so that nothing is lost by rounding.",
            ),
            Mistake(soft, "This spreads weight over many bins. At most two are not zero."),
            Mistake(
                lambda x, b: raw_weights(x.clamp(-2, 2), b),
                "Values are clipped at ±2 (the limit in symlog space). The outermost bins are much larger.",
            ),
            Mistake(unclipped, "Numbers beyond the last bin get weights outside 0 to 1: clip x to the outermost bins first."),
            Mistake(lower_only, "All the weight is on the bin below. The bin above gets its share, so that the mean is x."),
            Mistake(lambda x, b: raw_weights(x, b)[..., :-1], "One bin is missing: there are as many weights as bins."),
            Mistake(lambda x, b: two_hot(x, b).flip(-1), "The weights run from high to low; bins rise."),
        ),
        hints=(
            "For each number find the bin at or below it. What share of the way to the next bin has it gone?",
            "`torch.bucketize(x, bins, right=True) - 1` finds the bin below; clamp it to 0 … len(bins) - 2, and x to the outermost bins. The "
            "share above is (x - low) / (high - low).",
            "With `below` and `share`: `weights = torch.zeros(*x.shape, len(bins))`, then `weights.scatter_(-1, below[..., None], 1 - share[..., None])` "
            "and the same with `below[..., None] + 1` and `share[..., None]`.",
        ),
    ),
    Exercise(
        "two_hot_mean",
        two_hot_mean,
        mean_cases,
        probe=with_gradient,
        tolerance=1e-3,
        kept_for="two_hot:two_hot_mean",
        mistakes=(
            Mistake(
                lambda l, b: l.softmax(-1) @ b,
                "A plain sum: for equal probabilities it leaves rounding dust of the size of a reward, where exactly 0 is due. Pair mirror bins first.",
            ),
            Mistake(
                lambda l, b: (l.softmax(-1) * b).sum(-1),
                "A plain sum over the bins: equal probabilities leave rounding dust where exactly 0 is due. Pair mirror bins first.",
            ),
            Mistake(
                lambda l, b: (l.softmax(-1)[..., -(len(b) // 2) :] - l.softmax(-1)[..., : len(b) // 2]) @ b[-(len(b) // 2) :],
                "The lower half runs the other way: flip it, so that p(-b) stands beside p(+b).",
            ),
            Mistake(lambda l, b: 2 * two_hot_mean(l, b), "Each pair is counted twice: sum over one half of the bins only."),
            Mistake(lambda l, b: l @ b, "These are logits, not probabilities: softmax first."),
            Mistake(lambda l, b: symexp(two_hot_mean(l, b)), "symexp is applied once more; the bins are raw values already."),
            Mistake(
                lambda l, b: symexp(l.softmax(-1) @ symlog(b)),
                "This averages in symlog space. Then a mean of returns isn't the mean return.",
            ),
            Mistake(lambda l, b: b[l.argmax(-1)] + 0 * l.sum(-1), "This is the likeliest bin, not the mean."),
            Mistake(lambda l, b: l.sigmoid() @ b, "sigmoid gives weights that don't add up to 1. softmax does."),
            Mistake(
                lambda l, b: (l.softmax(-1) * b).mean(-1),
                "This divides by the number of bins once more: a weighted mean is the sum of probability × bin.",
            ),
            Mistake(lambda l, b: -two_hot_mean(l, b), "The sign is reversed: p(+b) - p(-b), not the other way round."),
        ),
        hints=(
            "Probability times bin, added up. The order of adding matters: the bins reach 485 million.",
            "Bins come in pairs +b and -b. Take p(+b) - p(-b) for each pair first; equal probabilities then cancel exactly. `flip(-1)` "
            "brings the lower half into the order of the upper one.",
            "`probs = logits.softmax(-1)`, `half = len(bins) // 2`, `surplus = probs[..., -half:] - probs[..., :half].flip(-1)`, "
            "then `surplus @ bins[-half:]`.",
        ),
    ),
    Exercise(
        "two_hot_loss",
        two_hot_loss,
        loss_cases,
        probe=with_gradient,
        kept_for="two_hot:two_hot_loss",
        mistakes=(
            Mistake(lambda l, x, b: -cross(l, x, b), "The sign is missing: log-probabilities are negative, a loss is not."),
            Mistake(
                lambda l, x, b: -(two_hot(x, b) * l.softmax(-1)).sum(-1),
                "The logarithm is missing: cross-entropy uses log-probabilities.",
            ),
            Mistake(
                lambda l, x, b: -(two_hot(x, b) * l).sum(-1), "These are logits. `log_softmax` makes log-probabilities of them."
            ),
            Mistake(
                lambda l, x, b: (two_hot_mean(l, b) - x).square(),
                "This is the squared error of the mean. Two-hot learns by cross-entropy, whatever the size of x.",
            ),
            Mistake(lambda l, x, b: cross(l, x, b).mean(), "This is one number for all. Keep one loss per target."),
            Mistake(lambda l, x, b: cross(l, x, b) / 0.6931471805599453, "This is in bits. We use nats: the natural logarithm."),
            Mistake(
                lambda l, x, b: -(l.softmax(-1) * two_hot(x, b).clamp(min=1e-9).log()).sum(-1),
                "The roles are swapped: the target's weights stand outside, the network's log-probabilities inside.",
            ),
            Mistake(lambda l, x, b: cross(l, symlog(x), b), "The target is squashed by symlog, but the bins are raw values."),
            Mistake(
                lambda l, x, b: cross(l, x, b) / len(b),
                "This divides by the number of bins: cross-entropy is a sum over bins, not a mean.",
            ),
            Mistake(
                lambda l, x, b: -(two_hot(x, b) * l.log_softmax(0)).sum(-1),
                "The softmax runs over the batch. It belongs on the last axis, the bins.",
            ),
        ),
        hints=(
            "A cross-entropy: minus the sum of target weight × log-probability.",
            "The weights come from `two_hot(x, bins)`, the log-probabilities from `logits.log_softmax(-1)`.",
            "`return -(two_hot(x, bins) * logits.log_softmax(-1)).sum(-1)`",
        ),
    ),
)
