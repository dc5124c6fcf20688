"""Exercises of notebook 03: bins, two-hot weights, the mean read back, the loss."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...symlog import symexp, symlog
from ...two_hot import two_hot, two_hot_bins, two_hot_loss, two_hot_mean
from ..exercise import Exercise, Mistake, normal, with_gradients


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
    return shared(x, bins, (torch.bucketize(x, bins, right=True) - 1).clamp(0, len(bins) - 2))


def shared(x: Tensor, bins: Tensor, below: Tensor) -> Tensor:
    """Weights on the bins `below` and below + 1, whether or not x lies between them."""
    share = (x - bins[below]) / (bins[below + 1] - bins[below])
    return (
        torch.zeros(*x.shape, len(bins))
        .scatter(-1, below[..., None], 1 - share[..., None])
        .scatter(-1, below[..., None] + 1, share[..., None])
    )


def off_by_one(x: Tensor, bins: Tensor, by: int, right: bool = True) -> Tensor:
    """The pair of bins next to the right one."""
    x = x.clamp(bins[0], bins[-1])
    return shared(x, bins, (torch.bucketize(x, bins, right=right) - 1 + by).clamp(0, len(bins) - 2))


def two_nearest(x: Tensor, bins: Tensor) -> Tensor:
    x = x.clamp(bins[0], bins[-1])
    gap, place = (x[..., None] - bins).abs().topk(2, largest=False)
    share = 1 - gap / gap.sum(-1, keepdim=True)
    return torch.zeros(*x.shape, len(bins)).scatter(-1, place, share)


def one_width(x: Tensor, bins: Tensor) -> Tensor:
    x, width = x.clamp(bins[0], bins[-1]), bins[1] - bins[0]
    below = (torch.bucketize(x, bins, right=True) - 1).clamp(0, len(bins) - 2)
    share = (x - bins[below]) / width
    return (
        torch.zeros(*x.shape, len(bins))
        .scatter(-1, below[..., None], 1 - share[..., None])
        .scatter(-1, below[..., None] + 1, share[..., None])
    )


def without_a_last_pair(x: Tensor, bins: Tensor) -> Tensor:
    x = x.clamp(bins[0], bins[-1])
    below = torch.bucketize(x, bins, right=True) - 1
    above = (below + 1).clamp(max=len(bins) - 1)
    share = (x - bins[below]) / (bins[above] - bins[below])
    return (
        torch.zeros(*x.shape, len(bins))
        .scatter(-1, below[..., None], 1 - share[..., None])
        .scatter(-1, above[..., None], share[..., None])
    )


def ruler_of_20(x: Tensor, bins: Tensor) -> Tensor:
    x, n = x.clamp(bins[0], bins[-1]), len(bins)
    below = ((symlog(x) + 20) / 40 * (n - 1)).floor().long().clamp(0, n - 2)
    share = (x - bins[below]) / (bins[below + 1] - bins[below])
    return (
        torch.zeros(*x.shape, n)
        .scatter(-1, below[..., None], 1 - share[..., None])
        .scatter(-1, below[..., None] + 1, share[..., None])
    )


def lower_only(x: Tensor, bins: Tensor) -> Tensor:
    below = (torch.bucketize(x.clamp(bins[0], bins[-1]), bins, right=True) - 1).clamp(0, len(bins) - 1)
    return torch.nn.functional.one_hot(below, len(bins)).to(x.dtype)


def one_hot(x: Tensor, bins: Tensor) -> Tensor:
    nearest = (x[..., None] - bins).abs().argmin(-1)
    return torch.nn.functional.one_hot(nearest, len(bins)).to(x.dtype)


def guarded(share: Callable, how: str = "set", below: Callable | None = None) -> Callable:
    """two_hot whose pair is one and the same bin where x lies on a bin, so that its share is 0 / 0; `share` makes the
    best of that."""

    def version(x: Tensor, bins: Tensor) -> Tensor:
        x = x.clamp(bins[0], bins[-1])
        low, high = torch.bucketize(x, bins, right=True) - 1, torch.bucketize(x, bins)
        above = share(x - bins[low], bins[high] - bins[low])
        under = below(bins[high] - x, bins[high] - bins[low]) if below else 1 - above
        weights = torch.zeros(*x.shape, len(bins)).scatter(-1, low[..., None], under[..., None])
        if how == "add":
            return weights.scatter_add(-1, high[..., None], above[..., None])
        return weights.scatter(-1, high[..., None], above[..., None])

    return version


def pair(x: Tensor, bins: Tensor, share: Callable) -> Tensor:
    """Weights on the right pair of bins, with another share from the way to x and the width of the gap."""
    x = x.clamp(bins[0], bins[-1])
    below = (torch.bucketize(x, bins, right=True) - 1).clamp(0, len(bins) - 2)
    above = share(x - bins[below], bins[below + 1] - bins[below])
    weights = torch.zeros(*x.shape, len(bins)).scatter(-1, below[..., None], 1 - above[..., None])
    return weights.scatter(-1, below[..., None] + 1, above[..., None])


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
        (torch.tensor([100.0, -100.0, 0.0]), bins),
        (normal(3, 4, size=20), many),
        (normal(2, 3, 2, size=100), many),
        (torch.tensor([0.1, 0.9, 0.3, -0.4, 3.0]), torch.tensor([-0.5, 0.0, 0.3, 1.0, 8.0])),  # narrow, not symmetric
        (torch.tensor(0.5), bins),
    ]


def mean_cases() -> list[tuple]:
    bins, wide, raised = two_hot_bins(5, 2.0), two_hot_bins(255, 20.0), torch.zeros(1, 255)
    raised[0, 134] = 1.0
    return [
        (torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0]]), bins),
        (normal(3, 5), bins),
        (normal(2, 4, 41), two_hot_bins(41, 8.0)),
        (torch.zeros(2, 255), wide),
        (raised, wide),  # nearly equal probabilities: here two separate sums leave a rounding error
        (torch.full((1, 254), 0.3), two_hot_bins(254, 20.0)),
        (normal(4, 6), two_hot_bins(6, 2.0)),
        (torch.tensor([[0.0, 0.0, 0.0, 100.0, 0.0], [1.0, 2.0, 3.0, 4.0, 5.0]]), bins),  # a very sure head
    ]


def mean_probe(version: Callable, logits: Tensor, bins: Tensor) -> dict:
    """The prediction, whether it is exactly 0 where all classes are equally likely, and the gradient.

    The gradient is divided by its largest entry beyond 1000: beside bins of millions, small ones are rounding errors.
    """
    found = with_gradients("logits")(version, logits, bins)
    out, slope = found["the result"], found["the gradient at logits"]
    blank = bool((logits == logits[..., :1]).all()) and isinstance(out, Tensor)
    exact = {"whether a head that knows nothing predicts exactly 0": float(not blank or not out.any())}
    return {"the result": out} | exact | {"the gradient at logits": slope / slope.abs().max().clamp(min=1000)}


def loss_cases() -> list[tuple]:
    cases = [(torch.tensor([[0.0, 1.0, 2.0, 0.0, 0.0]]), torch.tensor([0.5]), two_hot_bins(5, 2.0))]
    for shape, count, limit in (((3,), 5, 2.0), ((2, 4), 41, 8.0), ((2, 3, 2), 255, 20.0)):
        cases.append((normal(*shape, count, size=2), normal(*shape, size=5), two_hot_bins(count, limit)))
    return [
        *cases,
        (torch.tensor([[200.0, 0.0, 0.0, 0.0, 0.0]]), torch.tensor([1.0]), two_hot_bins(5, 2.0)),  # a very sure head
        (normal(5), torch.tensor(0.5), two_hot_bins(5, 2.0)),
    ]


def cross(logits: Tensor, x: Tensor, bins: Tensor) -> Tensor:
    return -(two_hot(x, bins) * logits.log_softmax(-1)).sum(-1)


def paired(
    logits: Tensor, bins: Tensor, half: int = 0, turn: int = -1, axis: int = -1, softmax: Callable | None = None
) -> Tensor:
    """two_hot_mean with one thing wrong."""
    probs = softmax(logits) if softmax else logits.softmax(axis)
    half = half or len(bins) // 2
    return (probs[..., -half:] - probs[..., :half].flip(turn)) @ bins[-half:]


def two_sums(logits: Tensor, bins: Tensor) -> Tensor:
    probs, half = logits.softmax(-1), len(bins) // 2
    return probs[..., -half:] @ bins[-half:] + probs[..., :half] @ bins[:half]


def count_per_side(count: int = 255, limit: float = 20.0) -> Tensor:
    up = symexp(torch.linspace(0, limit, count))
    return torch.cat([-up.flip(0)[:-1], up])


def even_in_symlog(x: Tensor, bins: Tensor) -> Tensor:
    """The place is computed as if all bins were evenly spaced in symlog."""
    x, (low, high) = x.clamp(bins[0], bins[-1]), symlog(bins[[0, -1]])
    below = ((symlog(x) - low) / (high - low) * (len(bins) - 1)).floor().long().clamp(0, len(bins) - 2)
    return between(x, bins, below, below + 1)


def nearest_two(x: Tensor, bins: Tensor) -> Tensor:
    x = x.clamp(bins[0], bins[-1])
    below, above = (x[..., None] - bins).abs().topk(2, largest=False).indices.sort(-1).values.unbind(-1)
    return between(x, bins, below, above)


def between(x: Tensor, bins: Tensor, below: Tensor, above: Tensor, share: float | None = None) -> Tensor:
    share_above = (x - bins[below]) / (bins[above] - bins[below]) if share is None else torch.full_like(x, share)
    one_hot = torch.nn.functional.one_hot
    return one_hot(above, len(bins)) * share_above[..., None] + one_hot(below, len(bins)) * (1 - share_above)[..., None]


def halves(x: Tensor, bins: Tensor) -> Tensor:
    x = x.clamp(bins[0], bins[-1])
    above = torch.searchsorted(bins, x).clamp(1, len(bins) - 1)
    return between(x, bins, above - 1, above, share=0.5)


def one_row(x: Tensor, bins: Tensor) -> Tensor:
    x = x.clamp(bins[0], bins[-1])
    high = torch.searchsorted(bins, x).clamp(1, len(bins) - 1)
    above = (x - bins[high - 1]) / (bins[high] - bins[high - 1])
    weights, rows = torch.zeros(len(x), len(bins)), torch.arange(len(x))
    weights[rows, high] = above
    weights[rows, high - 1] = 1 - above
    return weights


def summed_apart(logits: Tensor, bins: Tensor) -> Tensor:
    p, n = logits.softmax(-1), len(bins) // 2
    return (p[..., :n] * bins[:n]).sum(-1) + (p[..., -n:] * bins[-n:]).sum(-1)


def second_axis(logits: Tensor, bins: Tensor) -> Tensor:
    p, n = logits.softmax(-1), len(bins) // 2
    return ((p[:, -n:] - p[:, :n].flip(1)) * bins[-n:]).sum(1)


EXERCISES = (
    Exercise(
        "two_hot_bins",
        two_hot_bins,
        bins_cases,
        kept_for="two_hot:two_hot_bins",
        mistakes=(
            Mistake(
                lambda count=255, limit=20.0: symexp(
                    torch.cat([-torch.linspace(0, limit, count // 2 + 1)[1:], torch.linspace(0, limit, count // 2 + 1)])
                ),
                "The negative half runs the wrong way: from 0 down to -limit. Bins rise, so flip it.",
            ),
            Mistake(
                lambda count=255, limit=20.0: torch.linspace(-limit, limit, count).expm1(),
                "expm1 alone is not symmetric: for negative steps it stays above -1. `symexp` keeps the sign.",
            ),
            Mistake(
                lambda count=255, limit=20.0: limit * symexp(torch.linspace(-1, 1, count)),
                "The limit is multiplied in after symexp. It bounds the even steps, before symexp.",
            ),
            Mistake(
                lambda count=255, limit=20.0: (
                    torch.sign(torch.linspace(-limit, limit, count)) * torch.linspace(-limit, limit, count).abs().exp()
                ),
                "This is sign · exp(|y|): the -1 of symexp is missing, so no bin but 0 lies between -1 and 1.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(-limit + 2 * limit / count * torch.arange(count)),
                "The last bin is missing: `count` bins have count - 1 gaps, so the step is 2 · limit / (count - 1).",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(
                    torch.cat(
                        [-torch.linspace(0, limit, count // 2 + 1).flip(0), torch.linspace(0, limit, count // 2 + 1)]
                    )
                ),
                "The 0 is there twice: only one of the two halves may keep it.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(torch.linspace(-20.0, 20.0, 255)),
                "Both arguments are fixed; use `count` and `limit`.",
            ),
            Mistake(
                lambda count=255, limit=20.0: torch.linspace(-limit, limit, count),
                "These bins are in symlog space. The bins are raw values: stretch them with symexp.",
            ),
            Mistake(
                lambda count=255, limit=20.0: torch.linspace(
                    -float(symexp(torch.tensor(limit))), float(symexp(torch.tensor(limit))), count
                ),
                "These are evenly spaced in raw space, so nearly all of them are huge. Space them evenly first, "
                "then apply symexp.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symlog(torch.linspace(-limit, limit, count)),
                "symlog squashes. Here you need symexp, which stretches.",
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
                lambda count=255, limit=20.0: symexp(symexp(torch.linspace(-limit, limit, count))),
                "symexp is applied twice.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(torch.linspace(limit, -limit, count)),
                "They run from high to low. Bins rise.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(torch.arange(-limit, limit)),
                "`torch.arange` makes steps of 1, and leaves out the end. `torch.linspace` makes `count` even steps.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(torch.arange(-limit, limit + 1)),
                "`torch.arange` makes steps of 1, however many bins are wanted. `torch.linspace` makes `count` even "
                "steps.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(torch.linspace(-limit, limit, count - 1)),
                "That is one bin too few: `count` bins.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(torch.linspace(-limit / 2, limit / 2, count)),
                "The steps run from -limit / 2 to limit / 2. They should run from -limit to limit.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(torch.linspace(*symlog(torch.tensor([-limit, limit])), count)),
                "The outermost bins are ±limit. The limit is in symlog space: they should be ±symexp(limit).",
            ),
            Mistake(
                lambda count=255, limit=20.0: torch.logspace(-limit, limit, count),
                "`logspace` gives powers of 10, all positive. Make even steps with `linspace`, and stretch them with "
                "symexp.",
            ),
            Mistake(
                lambda count=255, limit=20.0: torch.sinh(torch.linspace(-limit, limit, count)),
                "sinh looks similar, but it is about half of symexp.",
            ),
            Mistake(
                lambda count=255, limit=20.0: symexp(torch.linspace(-limit, limit, count + 2)[1:-1]),
                "The ends are left out. The first bin is symexp(-limit), the last one symexp(limit).",
            ),
            Mistake(
                count_per_side,
                "`count` is the number of all bins, both sides and the 0 together. Yours has that many on each side.",
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
                ruler_of_20,
                "The pair is looked up on a ruler from -20 to 20 in symlog space. The bins may be others: look x up "
                "in `bins` itself.",
            ),
            Mistake(
                lambda x, b: (1 - (x.clamp(b[0], b[-1])[..., None] - b).abs() / (b[1] - b[0])).clamp(min=0),
                "Every gap gets the width of the first one. Bins are not evenly spaced: each gap has its own width, "
                "high - low.",
            ),
            Mistake(
                lambda x, b: two_hot(x, b) * (x < b[-1])[..., None],
                "A number at the last bin, or beyond it, gets no weight at all. There the last bin takes everything.",
            ),
            Mistake(
                lambda x, b: two_hot(x, b) * (x > b[0])[..., None],
                "A number at the first bin, or beyond it, gets no weight at all. There the first bin takes everything.",
            ),
            Mistake(
                lambda x, b: raw_weights(x, b, swap=True, side=False),
                "The two weights are swapped; the nearer bin must get the larger one.",
            ),
            Mistake(
                lambda x, b: off_by_one(x, b, 1),
                "The pair is one bin too high: x must lie between its two bins. bucketize and searchsorted give the "
                "bin ABOVE; subtract 1.",
            ),
            Mistake(
                lambda x, b: off_by_one(x, b, 1, right=False),
                "The pair is one bin too high. searchsorted gives the bin at or above x; subtract 1.",
            ),
            Mistake(
                lambda x, b: off_by_one(x, b, -1),
                "The pair is one bin too low: x must lie between its two bins. 1 is subtracted once too often.",
            ),
            Mistake(
                lambda x, b: off_by_one(x, b, -1, right=False),
                "The pair is one bin too low. 1 is subtracted once too often.",
            ),
            Mistake(
                two_nearest,
                "These are the two nearest bins. Bins are not evenly spaced, so both may lie on one side of x. Take "
                "the one below and the one above.",
            ),
            Mistake(
                one_width,
                "All gaps are taken to be as wide as the first. Each pair of bins has its own width, high - low.",
            ),
            Mistake(
                without_a_last_pair,
                "At the last bin both neighbours are the same bin, and 0 / 0 is nan. Clamp the lower one to "
                "len(bins) - 2.",
            ),
            Mistake(
                lambda x, b: unclipped(x.clamp(-20, 20), b),
                "x is clipped to ±20, the limit in symlog space. Clip it to the outermost bins, bins[0] and bins[-1].",
            ),
            Mistake(
                lambda x, b: raw_weights(x, b, swap=True),
                "The two weights are swapped: the nearer bin must get the larger one.",
            ),
            Mistake(
                lambda x, b: raw_weights(x, b, symlog_space=True),
                "The shares are taken in symlog space. They are linear in raw space, so that weights · bins gives x "
                "back.",
            ),
            Mistake(
                lambda x, b: raw_weights(symlog(x), b),
                "The target is squashed by symlog, but these bins are raw values already.",
            ),
            Mistake(
                one_hot,
                "This puts everything on the nearest bin. Two neighbours share the weight, so that no rounding is "
                "needed.",
            ),
            Mistake(soft, "This spreads weight over many bins. At most two are not zero."),
            Mistake(
                lambda x, b: raw_weights(x.clamp(-2, 2), b),
                "Values are clipped at ±2 (the limit in symlog space). The outermost bins are much larger.",
            ),
            Mistake(
                unclipped, "Numbers beyond the last bin get weights outside 0 to 1: clip x to the outermost bins first."
            ),
            Mistake(
                lower_only, "All the weight is on the bin below. The bin above gets its share, so that the mean is x."
            ),
            Mistake(lambda x, b: raw_weights(x, b)[..., :-1], "One bin is missing: there are as many weights as bins."),
            Mistake(lambda x, b: two_hot(x, b).flip(-1), "The weights run from high to low; bins rise."),
            Mistake(
                guarded(lambda way, gap: (way / gap).nan_to_num()),
                "A number exactly on a bin gets no weight: below and above are the same bin there, and 0 is written "
                "over its 1. Use two different bins, below and below + 1.",
            ),
            Mistake(
                guarded(lambda way, gap: (way / gap).nan_to_num(0.5)),
                "A number exactly on a bin gets half the weight: the guard against 0 / 0 makes it 0.5. There the bin "
                "takes everything.",
            ),
            Mistake(
                lambda x, b: two_hot(x, b) * ((x >= b[0]) & (x <= b[-1]))[..., None],
                "A number beyond either end gets no weight. Clip x to the outermost bins first.",
            ),
            Mistake(
                lambda x, b: pair(x, b, lambda way, gap: way / gap.clamp(min=1.0)),
                "A gap of less than 1 is taken to be 1, perhaps to avoid a division by 0. Divide by high - low itself.",
            ),
            Mistake(
                lambda x, b: pair(x, b, lambda way, gap: torch.full_like(way, 0.5)),
                "Both neighbours get one half. The nearer one gets more: (x - low) / (high - low) goes to the bin "
                "above.",
            ),
            Mistake(
                lambda x, b: (-(x[..., None] - b).abs()).softmax(-1),
                "This is a softmax of distances, so every bin has some weight. At most two are not zero.",
            ),
            Mistake(
                lambda x, b: torch.nn.functional.one_hot(torch.bucketize(x.clamp(b[0], b[-1]), b), len(b)).to(x.dtype),
                "All the weight is on the bin above. The bin below gets its share, so that the mean is x.",
            ),
            Mistake(
                lambda x, b: two_hot(x.clamp(b[1], b[-2]), b),
                "The outermost bins are never used. Clip x to bins[0] and bins[-1].",
            ),
            Mistake(
                even_in_symlog,
                "The place is computed as if the bins were evenly spaced in symlog. They may be spaced in any"
                " way: search for the neighbours in `bins`.",
            ),
            Mistake(halves, "Both neighbours get a half, wherever x lies between them. The nearer one must get more."),
            Mistake(
                nearest_two,
                "These are the two nearest bins. Both may lie on the same side of x: take the bin below and "
                "the bin above.",
            ),
            Mistake(
                one_row,
                "This works for a row of numbers, (N,), only. x may have any shape: index with `[..., None]`,"
                " or use `scatter_` along the last axis.",
            ),
        ),
        hints=(
            "For each number, find the bin at or below it. How far is the number on its way to the next bin, as a "
            "share?",
            "`torch.bucketize(x, bins, right=True) - 1` finds the bin below; clamp it to 0 … len(bins) - 2, and x "
            "to the outermost bins. The "
            "share above is (x - low) / (high - low).",
            "With `below` and `share`: `weights = torch.zeros(*x.shape, len(bins))`, then `weights.scatter_(-1, "
            "below[..., None], 1 - share[..., None])` "
            "and the same with `below[..., None] + 1` and `share[..., None]`.",
        ),
    ),
    Exercise(
        "two_hot_mean",
        two_hot_mean,
        mean_cases,
        probe=mean_probe,
        tolerance=1e-3,
        kept_for="two_hot:two_hot_mean",
        mistakes=(
            Mistake(
                lambda l, b: two_hot_mean(l, b).sum(),
                "Everything is summed to one number: give the sum its axis, `sum(-1)`.",
            ),
            Mistake(
                lambda l, b: ((l.softmax(-1) - l.softmax(-1).flip(-1))[..., 128:] * b[128:]).sum(-1),
                "The middle is fixed for 255 bins, so shorter rulers give 0. Use `len(bins) // 2`.",
            ),
            Mistake(
                lambda l, b: (
                    (l.softmax(-1)[..., -(len(b) // 2) :] - l.softmax(-1)[..., : len(b) // 2].flip(-1))
                    * b[-(len(b) // 2) :]
                ).mean(-1),
                "This is the mean over the pairs. Add them up.",
            ),
            Mistake(
                lambda l, b: (
                    (l.softmax(-1)[..., len(b) // 2 :] - l.softmax(-1)[..., : len(b) // 2].flip(-1)) @ b[len(b) // 2 :]
                ),
                "The upper half begins with the middle bin, so it has one entry more than the lower one. The middle "
                "bin is 0 and has no partner.",
            ),
            Mistake(
                lambda l, b: (l.softmax(-1)[..., 128:] - l.softmax(-1)[..., :127].flip(-1)) @ b[128:],
                "The middle is fixed for 255 bins. Use `len(bins) // 2`.",
            ),
            Mistake(
                lambda l, b: (
                    (l[..., -(len(b) // 2) :] - l[..., : len(b) // 2].flip(-1)).softmax(-1) @ b[-(len(b) // 2) :]
                ),
                "This pairs the logits and applies softmax afterwards. Pair the probabilities: softmax first.",
            ),
            Mistake(
                two_sums,
                "Two separate sums, one for each half: both reach millions, and their rounding errors remain. "
                "Subtract the probabilities of each pair FIRST.",
            ),
            Mistake(
                lambda l, b: paired(l, b, axis=0),
                "The softmax runs over the batch. It belongs on the last axis, the bins.",
            ),
            Mistake(lambda l, b: paired(l, b, turn=0), "This flips the batch. Flip the bins instead: `flip(-1)`."),
            Mistake(
                lambda l, b: paired(l, b, softmax=lambda x: x.exp() / x.exp().sum(-1, keepdim=True)),
                "exp of a large logit overflows. `softmax` subtracts the largest logit first.",
            ),
            Mistake(
                lambda l, b: paired(l, b, half=min(127, len(b))) if len(b) != 255 else two_hot_mean(l, b),
                "The half is fixed at 127 bins. Use len(bins) // 2.",
            ),
            Mistake(
                lambda l, b: (
                    (l.softmax(-1)[..., -(len(b) // 2) :] + l.softmax(-1)[..., : len(b) // 2].flip(-1))
                    @ b[-(len(b) // 2) :]
                ),
                "The probabilities of a pair are added. The lower bin is -b, so its probability is subtracted.",
            ),
            Mistake(
                lambda l, b: l.softmax(-1) @ b,
                "A plain sum: for equal probabilities it can leave a rounding error as large as a reward, where "
                "exactly 0 is due. Pair mirror bins first.",
            ),
            Mistake(
                lambda l, b: (l.softmax(-1) * b).sum(-1),
                "A plain sum over the bins: equal probabilities can leave a rounding error where exactly 0 is due. "
                "Pair mirror bins first.",
            ),
            Mistake(
                lambda l, b: (
                    (l.softmax(-1)[..., -(len(b) // 2) :] - l.softmax(-1)[..., : len(b) // 2]) @ b[-(len(b) // 2) :]
                ),
                "The lower half runs the other way: flip it, so that p(-b) meets p(+b).",
            ),
            Mistake(
                lambda l, b: 2 * two_hot_mean(l, b), "Each pair is counted twice: sum over one half of the bins only."
            ),
            Mistake(lambda l, b: l @ b, "These are logits, not probabilities: softmax first."),
            Mistake(
                lambda l, b: symexp(two_hot_mean(l, b)), "symexp is applied once more; the bins are raw values already."
            ),
            Mistake(
                lambda l, b: symexp(l.softmax(-1) @ symlog(b)),
                "This averages in symlog space. Then a mean of returns isn't the mean return.",
            ),
            Mistake(lambda l, b: b[l.argmax(-1)] + 0 * l.sum(-1), "This is the likeliest bin, not the mean."),
            Mistake(lambda l, b: l.sigmoid() @ b, "sigmoid gives weights that don't add up to 1. softmax does."),
            Mistake(
                lambda l, b: (l.softmax(-1) * b).mean(-1),
                "This also divides by the number of bins: a weighted mean is the sum of probability × bin.",
            ),
            Mistake(lambda l, b: -two_hot_mean(l, b), "The sign is reversed: p(+b) - p(-b), not the other way round."),
            Mistake(
                lambda l, b: (lambda p, n: (p[..., -n:] - p[..., :n].flip(-1)) @ b[:n])(l.softmax(-1), len(b) // 2),
                "The pairs are multiplied by the lower bins, in rising order, so each meets another pair's bin. Use "
                "the upper ones, bins[-half:].",
            ),
            Mistake(
                lambda l, b: paired(l, b, softmax=lambda x: x / x.sum(-1, keepdim=True)),
                "The logits are divided by their sum. `softmax` turns them into probabilities.",
            ),
            Mistake(
                lambda l, b: symlog(two_hot_mean(l, b)),
                "symlog is applied to the mean. The bins are raw values, and so is their mean.",
            ),
            Mistake(
                lambda l, b: (l.double().softmax(-1) @ b.double()).float(),
                "Higher precision hides the rounding error of a plain sum, but does not remove it. Pair mirror bins "
                "first.",
            ),
            Mistake(
                summed_apart,
                "The negative and the positive side are summed separately. Each sum can be huge, so their "
                "difference is rounded again. Take the difference of each pair of probabilities first.",
            ),
            Mistake(
                lambda l, b: ((l.softmax(-1) - l.softmax(-1).flip(-1)) * b)[..., len(b) // 2 + 2 :].sum(-1),
                "The innermost pair of bins is left out.",
            ),
            Mistake(
                second_axis,
                "`[:, …]` and `sum(1)` take the second axis, which holds the bins only if there are two. Use "
                "`[..., …]` and `sum(-1)`.",
            ),
        ),
        hints=(
            "Probability times bin, added up. The order of adding matters: the bins reach 485 million.",
            "Bins come in pairs +b and -b. Take p(+b) - p(-b) for each pair first; equal probabilities then cancel "
            "exactly. `flip(-1)` "
            "brings the lower half into the order of the upper one.",
            "`probs = logits.softmax(-1)`, `half = len(bins) // 2`, `surplus = probs[..., -half:] - probs[..., "
            ":half].flip(-1)`, "
            "then `surplus @ bins[-half:]`.",
        ),
    ),
    Exercise(
        "two_hot_loss",
        two_hot_loss,
        loss_cases,
        probe=with_gradients("logits"),
        kept_for="two_hot:two_hot_loss",
        mistakes=(
            Mistake(
                lambda l, x, b: -(l.softmax(-1) * (two_hot(x, b) + 1e-8).log()).sum(-1),
                "The two are exchanged: take the logarithm of the network's probabilities, weighted with two_hot(x).",
            ),
            Mistake(
                lambda l, x, b: -(two_hot(x, b) * (l.softmax(-1) + 1e-8).log()).sum(-1),
                "A small number is added inside the logarithm, which caps the loss and bends its gradient. "
                "`log_softmax` needs no such help.",
            ),
            Mistake(
                lambda l, x, b: torch.nn.functional.cross_entropy(l, two_hot(x, b)),
                "This is one number: F.cross_entropy takes the mean by default, and expects the classes on axis 1. "
                "Keep one loss per target.",
            ),
            Mistake(
                lambda l, x, b: torch.nn.functional.cross_entropy(l, two_hot(x, b), reduction="none"),
                "F.cross_entropy expects the classes on axis 1; with more axes, the bins are elsewhere. Use "
                "`log_softmax(-1)`.",
            ),
            Mistake(
                lambda l, x, b: cross(l, two_hot(x, b).argmax(-1).float(), torch.arange(len(b)).float()),
                "Here only the bin with the larger weight counts. In the target, both neighbours have a share.",
            ),
            Mistake(
                lambda l, x, b: -(two_hot(x, b) * l.softmax(-1).log()).sum(-1),
                "softmax and then log: a small probability becomes 0, and its logarithm is -inf. `log_softmax` does "
                "both at once, and stays finite.",
            ),
            Mistake(
                lambda l, x, b: cross(l, x, b) + torch.xlogy(two_hot(x, b), two_hot(x, b)).sum(-1),
                "This is the KL divergence, smaller by the entropy of the target. Use the cross-entropy.",
            ),
            Mistake(
                lambda l, x, b: -(two_hot(x, b) * l.log_softmax(-1)), "The bins' axis is still there: sum over it."
            ),
            Mistake(
                lambda l, x, b: -cross(l, x, b), "The sign is missing: log-probabilities are negative, a loss is not."
            ),
            Mistake(
                lambda l, x, b: -(two_hot(x, b) * l.softmax(-1)).sum(-1),
                "The logarithm is missing: cross-entropy uses log-probabilities.",
            ),
            Mistake(
                lambda l, x, b: -(two_hot(x, b) * l).sum(-1),
                "These are logits. `log_softmax` turns them into log-probabilities.",
            ),
            Mistake(
                lambda l, x, b: (two_hot_mean(l, b) - x).square(),
                "This is the squared error of the mean. Two-hot learns by cross-entropy, whatever the size of x.",
            ),
            Mistake(lambda l, x, b: cross(l, x, b).mean(), "This is a single number. Keep one loss per target."),
            Mistake(
                lambda l, x, b: cross(l, x, b) / 0.6931471805599453,
                "This is in bits. We use nats: the natural logarithm.",
            ),
            Mistake(
                lambda l, x, b: -(l.softmax(-1) * two_hot(x, b).clamp(min=1e-9).log()).sum(-1),
                "The roles are swapped: weight the network's log-probabilities with the target, not the other way "
                "round.",
            ),
            Mistake(
                lambda l, x, b: cross(l, symlog(x), b), "The target is squashed by symlog, but the bins are raw values."
            ),
            Mistake(
                lambda l, x, b: cross(l, x, b) / len(b),
                "This divides by the number of bins: cross-entropy is a sum over bins, not a mean.",
            ),
            Mistake(
                lambda l, x, b: -(two_hot(x, b) * l.log_softmax(0)).sum(-1),
                "The softmax runs over the batch. It belongs on the last axis, the bins.",
            ),
            Mistake(
                lambda l, x, b: torch.nn.functional.binary_cross_entropy_with_logits(
                    l, two_hot(x, b), reduction="none"
                ).sum(-1),
                "This is one yes-or-no question for each bin. Exactly one choice among all bins is made: softmax, not "
                "sigmoid.",
            ),
            Mistake(
                lambda l, x, b: (two_hot(x, b) - l.softmax(-1)).square().sum(-1),
                "This is the squared error of the probabilities. Use the cross-entropy.",
            ),
            Mistake(
                lambda l, x, b: -(two_hot(x, b) * l.softmax(-1)).sum(-1).log(),
                "The logarithm is taken after the sum. Take it first: Σ weight · ln p.",
            ),
            Mistake(
                lambda l, x, b: (two_hot_mean(l, b) - x).abs(),
                "This is the absolute error of the mean. Two-hot learns by cross-entropy, whatever the size of x.",
            ),
            Mistake(
                lambda l, x, b: cross(l, x, b) / 2.302585092994046,
                "This is the logarithm to base 10. We use nats: the natural logarithm.",
            ),
            Mistake(
                lambda l, x, b: (
                    -l.log_softmax(-1)
                    .gather(-1, (torch.bucketize(x.clamp(b[0], b[-1]), b, right=True) - 1)[..., None])
                    .squeeze(-1)
                ),
                "Only the bin below counts. In the target, both neighbours have a share.",
            ),
            Mistake(
                lambda l, x, b: -(l.softmax(-1) * l.log_softmax(-1)).sum(-1),
                "This is the entropy of the network's own probabilities. The weights are those of two_hot(x).",
            ),
            Mistake(
                lambda l, x, b: -(two_hot(x, b) * l).sum(-1) + l.exp().sum(-1),
                "The logarithm of the sum is missing: ln Σ exp(logits) is subtracted from each logit. `log_softmax` "
                "does it.",
            ),
            Mistake(
                lambda l, x, b: -(two_hot(x, b) * (l.softmax(-1) + 1e-5).log()).sum(-1),
                "1e-5 is added inside the logarithm, so the loss can't grow beyond 11.5 and its gradient "
                "vanishes there. `log_softmax` needs no such help.",
            ),
            Mistake(
                lambda l, x, b: -(two_hot(x, b) * l.softmax(-1).clamp(min=1e-12).log()).sum(-1),
                "The probabilities are clamped at 1e-12, so there the loss stops growing and has no gradient."
                " `log_softmax` needs no such help.",
            ),
        ),
        hints=(
            "A cross-entropy: minus the sum of target weight × log-probability.",
            "The weights come from `two_hot(x, bins)`, the log-probabilities from `logits.log_softmax(-1)`.",
            "`return -(two_hot(x, bins) * logits.log_softmax(-1)).sum(-1)`",
        ),
    ),
)
