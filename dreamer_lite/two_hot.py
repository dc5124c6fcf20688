"""Regression as classification: a number becomes a weight on two neighbouring bins (notebook 03)."""

import torch
from torch import Tensor

from .symlog import symexp


def two_hot_bins(count: int = 255, limit: float = 20.0) -> Tensor:
    """Bin values, evenly spaced in symlog space, from symexp(-limit) to symexp(limit).

    Paper: Eq. 10. Official: `embodied/jax/heads.py: Head.symexp_twohot`. Returns (count,), raw units, mirror-symmetric.
    Raises ValueError for fewer than 2 bins or a limit that is not positive.
    Gotcha: the bins are RAW values (the last one is about 4.85e8), so targets are not symlogged and the mean is not
    symexped.
    """
    if count < 2 or limit <= 0:
        raise ValueError(f"two_hot_bins needs count >= 2 and limit > 0, got count={count}, limit={limit}")
    last = max((count + 1) // 2 - 1, 1)
    # Rounded where the compiled official code rounds: near e^20 the last bit of the exponent is worth hundreds.
    spacing = (torch.ones(()) / last).double()
    exponents = limit * (1 - spacing * torch.arange(last + 1)).to(torch.get_default_dtype())
    negative = -symexp(exponents)[: count // 2]
    middle = torch.zeros(count % 2)
    return torch.cat([negative, middle, -negative.flip(0)])


def neighbours(x: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the bin at or below x, and the share of the bin above it; both shaped like x.

    Values beyond the outermost bins are clipped to them. NaN stays NaN, so that a bad target shows in the loss.
    """
    x = x.clamp(bins[0], bins[-1])
    below = (torch.bucketize(x, bins, right=True) - 1).clamp(0, len(bins) - 2)
    share_above = (x - bins[below]) / (bins[below + 1] - bins[below])
    return below, share_above


def two_hot(x: Tensor, bins: Tensor) -> Tensor:
    """Encode each number as weights on its two neighbouring bins, so that weights · bins = x.

    Paper: Eq. 11. Official: `embodied/jax/outs.py: TwoHot.loss`. x: any shape (...) in raw units; returns (..., count).
    Gotcha: the weights are linear in raw space, not in symlog space.
    """
    below, share_above = neighbours(x, bins)
    weights = torch.zeros(*x.shape, len(bins), dtype=x.dtype, device=x.device)
    weights.scatter_(-1, below[..., None], 1 - share_above[..., None])
    weights.scatter_(-1, below[..., None] + 1, share_above[..., None])
    return weights


def two_hot_mean(logits: Tensor, bins: Tensor) -> Tensor:
    """Read a number back: the mean of the bins under softmax(logits), (..., count) → (...).

    Paper: Eq. 10. Official: `embodied/jax/outs.py: TwoHot.pred`.
    Gotcha: mirror bins are paired before the sum. Equal probabilities then cancel exactly, and a fresh,
    zero-initialised head predicts exactly 0; a plain sum of terms up to 1e6 leaves rounding errors as large as a
    reward.
    """
    probs = logits.softmax(-1)
    half = len(bins) // 2
    surplus = probs[..., -half:] - probs[..., :half].flip(-1)  # (..., half): p(+b) - p(-b)
    if torch.is_autocast_enabled("cuda" if bins.is_cuda else "cpu"):  # bins of millions need all digits of float32
        return (surplus * bins[-half:]).sum(-1)
    return surplus @ bins[-half:]


def two_hot_loss(logits: Tensor, x: Tensor, bins: Tensor) -> Tensor:
    """Cross-entropy between two_hot(x) and softmax(logits), (..., count), (...) → (...).

    Paper: Eq. 11. Official: `embodied/jax/outs.py: TwoHot.loss`. Raises ValueError unless x has one number for each row
    of logits.
    Gotcha: only two weights per target are not zero, so only those two log-probabilities are read.
    """
    if x.shape != logits.shape[:-1]:
        raise ValueError(
            f"two_hot_loss needs one number for each row of logits {tuple(logits.shape)}, x of shape "
            f"{tuple(logits.shape[:-1])}, got x of shape {tuple(x.shape)}"
        )
    below, share_above = neighbours(x, bins)
    log_probs = logits.log_softmax(-1).gather(-1, torch.stack([below, below + 1], -1))  # (..., 2)
    return -((1 - share_above) * log_probs[..., 0] + share_above * log_probs[..., 1])  # (...)
