"""How a wrong result relates to the right one: half of it, its negative, the mean over an axis, one step late."""

from typing import Any

import torch
from torch import Tensor

from .errors import cap

CLOSE = 1e-4


def relation(name: str, yours: Any, expected: Any) -> str | None:
    """The relation in words, or None. Only relations that hardly arise by chance are named."""
    if isinstance(expected, (bool, int, float)):
        expected = torch.tensor(float(expected))
        yours = torch.tensor(float(yours)) if isinstance(yours, (bool, int, float)) else yours
    if not isinstance(yours, Tensor) or not isinstance(expected, Tensor):
        return None
    a, b = yours.detach().double(), expected.detach().double()
    if equal(a, b):
        return None
    words = same_shape(a, b, name) if a.shape == b.shape else other_shape(a, b)
    return f"{cap(name)}: {words}" if words else None


def equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, CLOSE, CLOSE * 1e-2)


def same_shape(a: Tensor, b: Tensor, name: str) -> str | None:
    if not b.isfinite().all():
        return None
    if "gradient" in name and b.any() and not a.any():
        return "all zeros. No gradient gets there: use torch functions, without detach, item or numpy on the way."
    if not (fine := a.isfinite()).all():
        words = (
            "not finite. There is a division by 0, a logarithm of 0, or an exponential that overflows; look for a form "
            "that stays in range."
        )
        return words if equal(a[fine], b[fine]) else None
    if b.numel() < 2:
        return None
    if equal(a, -b):
        return "the wrong sign everywhere."
    if not b.any():
        return None
    ratio = a[b != 0] / b[b != 0]
    if b.count_nonzero() > 1 and ratio[0] != 0 and abs(ratio[0] - 1) > 0.02 and equal(a, ratio[0] * b):
        return (
            f"{factor(float(ratio[0]))} times the right one everywhere. A factor is missing or extra, or a mean was "
            "taken instead of a sum."
        )
    for limit, cut, words in (
        (a.max(), b.clamp(max=a.max()), f"never more than {float(a.max()):.4g}"),
        (a.min(), b.clamp(min=a.min()), f"never less than {float(a.min()):.4g}"),
        (a.abs().max(), b.clamp(-a.abs().max(), a.abs().max()), f"never beyond ±{float(a.abs().max()):.4g}"),
    ):
        lost, left = len(b[cut != b].unique()), len(b[cut == b].unique())
        odd = float(limit) not in (-1, 0, 1)  # a limit of 0 or 1 arises by chance
        if equal(a, cut) and (lost > 1 and (odd or left > 1) or lost and odd and left > 1):
            return f"{words}. What lies beyond is cut off."
    gap = (a - b).flatten()
    if len(gap) > 2 and equal(gap, gap[:1].expand_as(gap)):
        return f"off by {float(gap[0]):+.4g} everywhere."
    if words := swapped(a, b):
        return words
    for axis in range(b.ndim):
        words = along(a, b, axis)
        if words:
            return words
    if words := next((words for words, f in FUNCTIONS.items() if equal(a, f(b))), None):
        return words
    if (off := float(((a - b).abs() / b.abs().clamp(min=1e-6)).max())) < 0.01:
        return (
            f"nearly right, with a relative error of up to {off:.1g}. Is a number rounded, or a formula only "
            "approximate?"
        )
    return None


FUNCTIONS = {
    "the exponential of the right one.": torch.exp,
    "the logarithm of the right one.": torch.log,
    "the symlog of the right one.": lambda b: torch.sign(b) * b.abs().log1p(),
    "the symexp of the right one.": lambda b: torch.sign(b) * b.abs().expm1(),
    "the square of the right one.": torch.square,
    "the absolute value of the right one. The sign is lost.": torch.abs,
    "1 over the right one.": torch.reciprocal,
}


def along(a: Tensor, b: Tensor, axis: int) -> str | None:
    """Reversed, or shifted by one, along an axis."""
    size, where = b.shape[axis], ("the last axis" if axis == b.ndim - 1 and axis > 1 else f"axis {axis}")
    if size > 1 and equal(a, b.flip(axis)) and not equal(a, b):
        return f"backwards along {where}."
    if size < 3:
        return None
    if equal(a.narrow(axis, 1, size - 1), b.narrow(axis, 0, size - 1)):
        return f"one step late along {where}. Entry t holds what belongs to t - 1."
    if equal(a.narrow(axis, 0, size - 1), b.narrow(axis, 1, size - 1)):
        return f"one step early along {where}. Entry t holds what belongs to t + 1."
    return None


def swapped(a: Tensor, b: Tensor) -> str | None:
    """Whether two axes of the right result have changed places. Both have the same number of axes."""
    for one in range(b.ndim):
        for other in range(one):
            if equal(a.transpose(one, other), b):
                return f"right, but axes {other} and {one} are swapped."
    return None


def other_shape(a: Tensor, b: Tensor) -> str | None:
    """The right values, with an axis too many or too few."""
    if a.numel() == b.numel() and a.ndim > b.ndim and equal(a.reshape(b.shape), b):
        return "right, except for an axis of length 1 that is left over. `squeeze` it, or leave out `keepdim`."
    if a.numel() == b.numel() and a.ndim < b.ndim and equal(a.reshape(b.shape), b):
        if a.squeeze().shape == b.squeeze().shape and 1 in b.shape:
            return (
                "right, but an axis of length 1 is lost. A `squeeze()` or a `sum()` without an axis removes the "
                "batch axis as well."
            )
        return (
            "right, but axes are merged into one. `stack` makes a new axis, `cat` doesn't; `view` and `flatten` can "
            "merge too many."
        )
    if a.ndim == b.ndim and (words := swapped(a, b)):
        return f"{words} Is it stacked along the wrong axis?"
    if a.ndim == b.ndim > 1 and a.shape[0] == b.shape[0] - 1 and a.shape[1] == b.shape[1] + 1:
        return (
            "one row of the batch is cut off, axis 0, where a step should be, axis 1: `x[:, 1:]` and `x[:, :-1]` "
            "cut steps."
        )
    for how, words in ((torch.mean, "mean"), (torch.sum, "sum")):
        if a.numel() == 1 and equal(a.flatten()[0], how(b)):
            return f"one number, the {words} over everything. Keep the shape."
        for axis in range(b.ndim):
            if equal(a, how(b, axis)):
                return f"the {words} over {'the batch, axis 0' if axis == 0 else f'axis {axis}'}. Keep that axis."
        for axis in range(a.ndim):
            if equal(how(a, axis), b):
                return f"axis {axis if axis < a.ndim - 1 else -1} is still there. Take the {words} over it."
    for axis in range(min(a.ndim, b.ndim)):
        if a.ndim == b.ndim and a.shape[axis] == b.shape[axis] + 1:
            for first, place in ((1, "first"), (0, "last")):
                if equal(a.narrow(axis, first, b.shape[axis]), b):
                    return f"one entry too many along axis {axis}. Leave out the {place}."
        if a.ndim == b.ndim and a.shape[axis] == b.shape[axis] - 1:
            for first, place in ((1, "first"), (0, "last")):
                if equal(a, b.narrow(axis, first, a.shape[axis])):
                    return f"the {place} entry along axis {axis} is missing."
    return None


def factor(x: float) -> str:
    return f"1/{1 / x:.4g}" if 0 < abs(x) < 1 and abs(1 / x - round(1 / x)) < 1e-3 else f"{x:.4g}"
