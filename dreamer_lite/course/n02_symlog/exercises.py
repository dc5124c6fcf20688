"""Exercises of notebook 02: symlog, its inverse, a loss in its space, and a bug to expose."""

from collections.abc import Callable
import math

import numpy as np
import torch
from torch import Tensor

from ...symlog import symexp, symlog
from ..exercise import Exercise, Mistake, gradient, kind, normal


def symlog_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error in symlog space. The network's prediction lives there already; the target (…) does not."""
    return (prediction - symlog(target)).square()


def bad_symlog(x: Tensor) -> Tensor:
    """A version from the wild, with a bug."""
    return torch.sign(x) * torch.log(x.abs() + 1e-5)


def expose() -> float:
    """A number for which `bad_symlog` gives the wrong sign."""
    return 0.5


def judge_expose(version: Callable) -> str | None:
    x = version()
    if isinstance(x, (Tensor, np.ndarray, np.generic)) and math.prod(x.shape) == 1:
        x = x.item()
    if isinstance(x, bool) or not isinstance(x, (int, float)):
        return f"It returns {kind(x)}; one number is expected: `return …`."
    good, bad = float(symlog(torch.tensor(float(x)))), float(bad_symlog(torch.tensor(float(x))))
    if x != x:
        return "NaN is not a fair input: no function does well on it."
    if x == 0:
        return "At 0 both give 0, since sign(0) is 0. Try a number next to it."
    if good == 0:
        return f"{x:g} is so small that it is 0 in float32, and so is its symlog. Go a little further from 0."
    if bad == 0:
        return f"At {x:g} bad_symlog gives 0, which has no sign: |x| + 1e-5 is 1 there. Go a little nearer to 0."
    if good * bad < 0:
        return None
    if -12 < x < -1:
        return (
            f"At {x:g} both have the same sign. If {x:g} is what bad_symlog answered somewhere: return the number that "
            "went in."
        )
    if abs(x) > 1:
        return (
            f"At {x:g} bad_symlog gives {bad:.4g} and symlog {good:.4g}: the same sign. Where does ln(|x|) change its "
            "sign?"
        )
    return f"At {x:g} bad_symlog gives {bad:.4g} and symlog {good:.4g}: the same sign. |x| + 1e-5 must be below 1."


def values() -> list[Tensor]:
    return [
        torch.tensor([0.0, 1.718, -1.718, 0.01, 999.0]),
        torch.tensor([1e-8, -1e-8, 1e-4]),
        torch.tensor([1.0, -1.0, -0.5]),  # at ±1 a discarded branch may have an infinite slope
        normal(2, 3, size=100),
        torch.tensor([1e6, -1e8]),
    ]


def probe(version: Callable, x: Tensor) -> dict[str, Tensor]:
    """The value, its ratio to the input (for tiny inputs), and the gradient."""
    leaf = x.clone().requires_grad_(True)
    y = version(leaf)
    fits = isinstance(y, Tensor) and y.shape == x.shape
    slope = gradient(y, leaf)
    return {
        "the result": y,
        "the result divided by the input": torch.where(x == 0, 1.0, y.detach().double() / x) if fits else y,
        # At 0 the slope is 1; with sign(x) · … PyTorch says 0. Either is fine, as long as it is finite.
        "the gradient": torch.where((x == 0) & slope.isfinite(), 0.0, slope),
    }


def loss_cases() -> list[tuple]:
    return [
        (torch.tensor([5.91, 0.0]), torch.tensor([999.0, -3.0])),
        (normal(3, 4), normal(3, 4, size=50)),
        (normal(2, 5, 3), normal(2, 5, 3, size=1000)),
        (torch.tensor(1.5), torch.tensor(-20.0)),
    ]


def loss_probe(version: Callable, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The loss, and what the prediction learns from it."""
    prediction = prediction.clone().requires_grad_(True)
    out = version(prediction, target)
    return {"the result": out, "the gradient at prediction": gradient(out, prediction)}


def cases() -> list[tuple]:
    return [(x,) for x in values()]


def exp_cases() -> list[tuple]:
    return [
        (torch.tensor([1.0, -1.0, 0.0, 2.0]),),
        (torch.tensor([1e-8, -1e-8, 1e-4]),),
        (normal(2, 3, size=4),),
        (torch.tensor([12.0, -18.0]),),
    ]


EXERCISES = (
    Exercise(
        "symlog",
        symlog,
        cases,
        probe=probe,
        kept_for="symlog:symlog",
        mistakes=(
            Mistake(
                lambda x: x / (x.abs() + 1e-8) * torch.log1p(x.abs()),
                "The sign is x / (|x| + a little), which is too small for tiny numbers. `torch.sign` is exact.",
            ),
            Mistake(
                lambda x: torch.where(x.abs() < 1, x, torch.sign(x) * torch.log1p(x.abs())),
                "Numbers below 1 pass through unchanged, and at 1 there is a jump. One formula serves all sizes.",
            ),
            Mistake(
                lambda x: torch.sign(x) * torch.log1p(1 + x.abs()),
                "There is one 1 too many: `log1p(y)` is ln(1 + y) already, so it takes |x|.",
            ),
            Mistake(
                lambda x: x / x.abs() * torch.log1p(x.abs()), "x / |x| has no value at 0. `torch.sign` gives 0 there."
            ),
            Mistake(lambda x: symlog(symlog(x)), "symlog is applied twice."),
            Mistake(lambda x: torch.log1p(x.abs()), "The sign is lost: symlog(-3) must be -symlog(3)."),
            Mistake(
                lambda x: torch.log1p(x),
                "For negative x this is the logarithm of a number that may be below 0. Take |x|, and put the sign "
                "in front.",
            ),
            Mistake(
                lambda x: torch.sign(x) * torch.log(1 + x.abs()),
                "`log(1 + |x|)` loses small numbers: in float32, 1 + 1e-8 is 1. `torch.log1p` keeps them.",
            ),
            Mistake(
                bad_symlog,
                "The well-known bug: log(|x| + 1e-5) is negative for all |x| below 1. The 1 inside the logarithm "
                "makes it pass through 0.",
            ),
            Mistake(
                lambda x: torch.sign(x) * torch.log1p(x.abs()) / 2.302585093,
                "This is the logarithm to base 10. Use the natural one.",
            ),
            Mistake(symexp, "This is symexp, the inverse."),
            Mistake(
                lambda x: torch.sign(x) * torch.log(x.abs()),
                "The 1 is missing: the logarithm of |x| alone is negative below 1, and has no value at 0.",
            ),
            Mistake(
                lambda x: torch.sign(x) * torch.log1p(x),
                "The logarithm takes |x|: for x below -1, ln(1 + x) has no value.",
            ),
            Mistake(
                lambda x: torch.sign(x) * torch.log1p(x.square()),
                "The logarithm takes |x|, not x²: symlog(x) should be close to x near 0.",
            ),
            Mistake(
                lambda x: torch.asinh(x), "asinh looks similar, but grows as ln(2|x|): it is not the paper's function."
            ),
            Mistake(
                lambda x: torch.where(x >= 0, torch.log1p(x), -torch.log1p(-x)),
                "Near x = ±1 the branch that `torch.where` discards has an infinite slope, and 0 · inf is nan in the "
                "gradient. Take the sign and ln(1 + |x|), or clamp inside each branch.",
            ),
            Mistake(
                lambda x: torch.sign(x) * torch.log2(1 + x.abs()),
                "This is the logarithm to base 2. Use the natural one.",
            ),
            Mistake(
                lambda x: torch.sign(x) * torch.log(1 + x).abs(),
                "The absolute value is taken after the logarithm. Below -1, ln(1 + x) has no value: take |x| first.",
            ),
            Mistake(
                lambda x: torch.sign(x) * (torch.log(x.abs()) + 1),
                "The 1 is added after the logarithm. It belongs inside: ln(1 + |x|).",
            ),
            Mistake(
                lambda x: x * torch.log1p(x.abs()),
                "The logarithm is multiplied by x itself. Only its sign belongs in front.",
            ),
            Mistake(
                lambda x: torch.sign(x) * torch.log(x.abs() + 1e-8),
                "1e-8 only avoids the logarithm of 0: below 1 the result is still negative. The formula adds 1.",
            ),
            Mistake(
                lambda x: torch.sign(x) * 0.5 * torch.log1p(x.square()),
                "This is ½ ln(1 + x²). Near 0 it is close to x²/2, not to x. Use ln(1 + |x|).",
            ),
            Mistake(
                lambda x: torch.where(x.abs() < 1, x, torch.sign(x) * torch.log(x.abs())),
                "Small numbers stay as they are and large ones become ln|x|, so it jumps at 1. One formula "
                "covers both: sign(x) · ln(1 + |x|).",
            ),
        ),
        hints=(
            "Two ingredients: the sign of x, and a logarithm that only sees the size of x.",
            "The logarithm must be 0 where |x| is 0, so it is ln(1 + |x|). PyTorch has a function that stays exact "
            "when |x| is tiny.",
            "`return torch.sign(x) * torch.log1p(x.abs())`",
        ),
    ),
    Exercise(
        "symexp",
        symexp,
        exp_cases,
        probe=probe,
        kept_for="symlog:symexp",
        mistakes=(
            Mistake(
                lambda x: torch.where(x >= 0, torch.expm1(x), 1 - torch.exp(-x)),
                "The negative side still takes exp and then subtracts 1, which loses tiny numbers. One formula with "
                "`torch.sign` and `torch.expm1` serves both sides.",
            ),
            Mistake(
                lambda x: torch.sign(x) * torch.exp(x.abs() - 1),
                "The -1 is inside the exponential. It comes after it: exp(|x|) - 1, and `torch.expm1` does both.",
            ),
            Mistake(
                lambda x: 1 / symlog(x),
                "This is 1 / symlog(x). The inverse of a function undoes it; it is not 1 divided by it.",
            ),
            Mistake(
                lambda x: torch.sign(x) * (2.718 ** x.abs() - 1),
                "2.718 is only nearly e, and for a large x that matters. `torch.expm1` is exact.",
            ),
            Mistake(
                lambda x: torch.sign(x) * (torch.expm1(x.abs()) - 1),
                "There is one -1 too many: `expm1(y)` is exp(y) - 1 already.",
            ),
            Mistake(
                lambda x: torch.sign(x) * torch.expm1(x.abs() - 1),
                "The -1 is inside: `expm1` takes |x| itself, and subtracts the 1 after the exponential.",
            ),
            Mistake(
                lambda x: x / x.abs() * torch.expm1(x.abs()), "x / |x| has no value at 0. `torch.sign` gives 0 there."
            ),
            Mistake(
                lambda x: torch.sign(x) * (torch.exp(x.abs()) - 1),
                "`exp(|x|) - 1` loses small numbers to rounding. `torch.expm1` keeps them.",
            ),
            Mistake(lambda x: torch.expm1(x.abs()), "The sign is lost: symexp(-2) must be -symexp(2)."),
            Mistake(
                lambda x: torch.expm1(x),
                "For negative x, exp(x) - 1 never falls below -1. Take |x|, and put the sign in front.",
            ),
            Mistake(
                lambda x: torch.sign(x) * torch.exp(x.abs()),
                "The -1 is missing: symexp(0) must be 0, and yours jumps there.",
            ),
            Mistake(lambda x: torch.sign(x) * torch.exp(x.abs()) - 1, "Mind the brackets: sign(x) · (exp(|x|) - 1)."),
            Mistake(lambda x: torch.sign(x) * torch.expm1(x), "`expm1` takes |x|, not x."),
            Mistake(lambda x: symexp(symexp(x)), "symexp is applied twice."),
            Mistake(lambda x: torch.sinh(x), "sinh looks similar, but is the inverse of asinh, not of symlog."),
            Mistake(symlog, "This is symlog; write its inverse."),
            Mistake(lambda x: torch.sign(x) * (10 ** x.abs() - 1), "This is a power of 10. Use e: `torch.expm1`."),
            Mistake(lambda x: torch.sign(x) * (2 ** x.abs() - 1), "This is a power of 2. Use e: `torch.expm1`."),
            Mistake(
                lambda x: x * torch.expm1(x.abs()),
                "The exponential is multiplied by x itself. Only its sign belongs in front.",
            ),
        ),
        hints=(
            "Solve y = ln(1 + x) for x, for positive numbers first. Then give negative ones their sign.",
            "x = exp(y) - 1. PyTorch has a function for just that, exact near 0.",
            "`return torch.sign(x) * torch.expm1(x.abs())`",
        ),
    ),
    Exercise(
        "symlog_loss",
        symlog_loss,
        loss_cases,
        probe=loss_probe,
        mistakes=(
            Mistake(
                lambda p, t: p - symlog(t).square(),
                "Only the squashed target is squared. First subtract, then square: mind the brackets.",
            ),
            Mistake(
                lambda p, t: torch.nn.functional.smooth_l1_loss(p, symlog(t), reduction="none"),
                "The smooth L1 loss has half the square for small errors, and a straight line for large ones. Use "
                "the plain square.",
            ),
            Mistake(
                lambda p, t: (p - torch.log1p(t.abs())).square(),
                "The sign of the target is lost: symlog(-3) is -symlog(3).",
            ),
            Mistake(lambda p, t: (p - t).square(), "The target is not squashed: this is the plain squared error."),
            Mistake(
                lambda p, t: (symlog(p) - symlog(t)).square(),
                "The prediction is squashed too. The network already speaks symlog; only the target is translated.",
            ),
            Mistake(
                lambda p, t: (symexp(p) - t).square(), "This compares in raw space: the large targets dominate again."
            ),
            Mistake(
                lambda p, t: 0.5 * (p - symlog(t)).square(),
                "There is an extra factor of 1/2. The paper prints it; the official code, and we, leave it out.",
            ),
            Mistake(
                lambda p, t: (p - symlog(t)).square().mean(),
                "This is a single number. Keep the shape; averaging comes later.",
            ),
            Mistake(
                lambda p, t: (symlog(p) - t).square(), "The roles are swapped: squash the target, not the prediction."
            ),
            Mistake(
                lambda p, t: symlog(p - t).square(), "This squashes the difference. Squash the target, then subtract."
            ),
            Mistake(
                lambda p, t: (p.detach() - symlog(t)).square(),
                "The prediction is detached: no network could learn from this.",
            ),
            Mistake(lambda p, t: p - symlog(t), "The square is missing."),
            Mistake(lambda p, t: (p - symlog(t)).abs(), "This is the absolute error. Use the squared one."),
            Mistake(lambda p, t: (p - symexp(t)).square(), "symexp stretches the target; symlog squashes it."),
            Mistake(
                lambda p, t: p.square() - symlog(t).square(),
                "This is a difference of squares. First subtract, then square the difference.",
            ),
            Mistake(lambda p, t: 2 * (p - symlog(t)), "The difference is doubled. Square it."),
            Mistake(lambda p, t: -(p - symlog(t)).square(), "The sign is wrong: a squared error is never negative."),
            Mistake(lambda p, t: (p + symlog(t)).square(), "The two are added. Subtract the target."),
            Mistake(
                lambda p, t: (p - torch.log1p(t)).square(),
                "ln(1 + x) has no value for targets below -1. `symlog` takes care of the sign.",
            ),
            Mistake(lambda p, t: (p - symlog(t)).abs() ** 3, "The difference is cubed. Square it."),
            Mistake(
                lambda p, t: symlog((p - t).square()),
                "symlog is applied to the loss. Squash the target, subtract, and square.",
            ),
            Mistake(
                lambda prediction, target: symlog(symexp(prediction) - target) ** 2,
                "The difference is taken between raw numbers and squashed afterwards. Squash the target "
                "first, then subtract.",
            ),
            Mistake(
                lambda prediction, target: ((prediction - symlog(target)) / symlog(target)) ** 2,
                "The error is divided by the squashed target, a relative error. The loss is the plain squared"
                " difference.",
            ),
        ),
        hints=(
            "The network's output is read as a number in symlog space. What must be done to the target?",
            "Translate the target, subtract, square. No averaging, no 1/2.",
            "`return (prediction - symlog(target)).square()`",
        ),
    ),
    Exercise(
        "expose",
        expose,
        lambda: [()],
        judge=judge_expose,
        mistakes=(
            Mistake(lambda: 100.0, "Where does ln(|x|) change its sign?"),
            Mistake(lambda: float(bad_symlog(torch.tensor(0.2))), "return the number that went in"),
            Mistake(lambda: 0.0, "At 0 both give 0"),
            Mistake(lambda: float("nan"), "NaN is not a fair input"),
            Mistake(lambda: 1.0, "the same sign"),
            Mistake(lambda: "small", "one number is expected"),
        ),
        hints=(
            "For positive x, bad_symlog is log(x + 1e-5). Where is a logarithm negative?",
            "A logarithm is negative when its argument is below 1.",
            "Any number between -1 and 1 that is not 0: `return 0.5`.",
        ),
    ),
)
