"""Notebook 03: a value moves between two bins; a target with two peaks."""

from matplotlib.figure import Figure
import torch
from torch import Tensor

from ...symlog import symexp, symlog
from ...two_hot import two_hot, two_hot_bins, two_hot_loss, two_hot_mean
from ..explore import DREAM, GREY, OWN, POSTERIOR, REALITY, Explorer, canvas, slider, tidy, whole


def draw_two_hot(place: float, count: int = 9) -> tuple[Figure, str]:
    """The weights of a value on `count` bins between symexp(-3) and symexp(3). `place` is the value in symlog space."""
    bins, x = two_hot_bins(count, 3.0), symexp(torch.tensor(float(place)))
    weights = two_hot(x, bins)
    figure = canvas(7, 2.8)
    axes = tidy(figure.add_subplot(), xlabel="bin (raw value)", ylabel="weight", ylim=(0, 1.1))
    axes.bar(range(count), weights, color=POSTERIOR, width=0.5)
    axes.set_xticks(range(count), [f"{float(b):.3g}" for b in bins], fontsize=8)
    below = int((bins <= x).sum().clamp(1, count - 1)) - 1
    at = below + float((x.clamp(bins[0], bins[-1]) - bins[below]) / (bins[below + 1] - bins[below]))
    axes.plot([at], [0], marker="^", color=OWN, markersize=12, clip_on=False)
    terms = " + ".join(f"{float(weights[i]):.2f} · {float(bins[i]):.3g}" for i in weights.nonzero()[:, 0].tolist())
    return figure, f"For {float(x):.3g}, weights · bins = {terms} = {float(weights @ bins):.3g}."


def two_hot_mover() -> Explorer:
    """Drag a value, and watch two bins share it."""
    return Explorer(
        draw_two_hot,
        "Bars: the weight of each bin; a triangle marks the value.",
        place=slider("value, in symlog space", -3.5, 3.5, 1.2),
        count=whole("number of bins", 3, 15, 9, step=2),
    )


def draw_pairs(probs: Tensor, bins: Tensor) -> tuple[Figure, str]:
    """The probability of each bin, an arc over each mirror pair, and what the pair adds to the mean. probs and bins
    (count,), count odd."""
    half = len(bins) // 2
    figure = canvas(7, 3)
    axes = tidy(figure.add_subplot(), xlabel="bin (raw value)", ylabel="probability", ylim=(0, 0.7 + 0.3 * half))
    axes.bar(range(len(bins)), probs, color=DREAM, width=0.5)
    axes.set_xticks(range(len(bins)), [f"{float(b):.3g}" for b in bins])
    axes.set_yticks([0, 0.5])
    said = []
    for k in range(1, half + 1):
        below, above, b, top = probs[half - k], probs[half + k], bins[half + k], 0.25 + 0.35 * k
        angle = torch.linspace(0, torch.pi, 50)
        axes.plot(half + k * angle.cos(), top - 0.15 + 0.15 * angle.sin(), color=GREY, linewidth=1)
        said.append(f"({float(above):.3g} - {float(below):.3g}) · {float(b):.3g} = {float((above - below) * b):.2g}")
        axes.annotate(said[-1], (half, top + 0.04), ha="center", fontsize=9)
    return (
        figure,
        f"Mirror bins pair by pair: {'; '.join(said)}. The middle bin is 0 and adds nothing; their sum is "
        f"{float(probs @ bins):.2g}.",
    )


def learn_peaks(low: float, high: float, share: float, steps: int = 300) -> tuple[Tensor, Tensor, float]:
    """Learn a target that is `high` with probability `share`, else `low`: bins, learned probabilities, mean read
    back."""
    bins, x, weight = two_hot_bins(41, 5.0), torch.tensor([low, high]), torch.tensor([1 - share, share])
    with torch.enable_grad():
        logits = torch.zeros(41, requires_grad=True)
        optimizer = torch.optim.Adam([logits], 0.1)
        for _ in range(steps):
            optimizer.zero_grad()
            (two_hot_loss(logits.expand(2, -1), x, bins) * weight).sum().backward()
            optimizer.step()
    return bins, logits.detach().softmax(-1), float(two_hot_mean(logits.detach(), bins))


def draw_peaks(share: float, high: float = 100.0) -> tuple[Figure, str]:
    """What two-hot and what squared error learn of a target that is 0 or `high`."""
    bins, probs, mean = learn_peaks(0.0, high, share)
    figure = canvas(7, 2.6)
    axes = tidy(figure.add_subplot(), xlabel="value (symlog scale)", ylabel="learned probability", ylim=(0, 1.05))
    axes.bar(symlog(bins), probs, width=0.2, color=DREAM)
    answer = share * high
    axes.axvline(float(symlog(torch.tensor(answer))), color=REALITY, linestyle="--")
    axes.annotate(
        f" squared error: {answer:g}, which never happens",
        (float(symlog(torch.tensor(answer))), 0.95),
        color=REALITY,
        fontsize=9,
        ha="right",
    )
    axes.set_xticks(
        symlog(torch.tensor([-100.0, -10, -1, 0, 1, 10, 100])), ["-100", "-10", "-1", "0", "1", "10", "100"]
    )
    return figure, f"Two-hot keeps both peaks, and its mean reads {mean:.1f}; the true mean is {answer:g}."


def peaks_explorer() -> Explorer:
    """A reward that comes rarely: how the two peaks share the probability."""
    return Explorer(
        draw_peaks,
        "Learned probabilities over bins, with two peaks; a line marks the squared-error answer.",
        share=slider("how often it is 100", 0.05, 0.95, 0.3, 0.05),
    )
