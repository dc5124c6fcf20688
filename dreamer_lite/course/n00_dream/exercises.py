"""Exercises of notebook 00: a first policy, the shapes of a state, when a dream lets go."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import short
from ..exercise import Complaint, Exercise, Mistake, normal, uniform


def lean(angle: Tensor) -> Tensor:
    """Push to the side the pole leans to: 1 (right) where the angle is positive, else 0 (left). (N,) → (N,)."""
    return (angle > 0).long()


def sizes(D: int, S: int, K: int) -> tuple:
    """Shapes of h, of z and of the feature made from both."""
    return (D,), (S, K), (D + S * K,)


def lets_go(real: Tensor, dreamed: Tensor, tolerance: float) -> int:
    """First step at which the mean absolute error over the numbers of an observation exceeds the tolerance; T if never.

    real, dreamed: (T, O).
    """
    beyond = (real - dreamed).abs().mean(-1) > tolerance  # (T,)
    return int(beyond.long().argmax()) if beyond.any() else len(real)


def lean_cases() -> list[tuple]:
    return [(torch.tensor([0.1, -0.1, 0.0]),), (normal(6, size=0.1),), (normal(100),)]


def sizes_cases() -> list[tuple]:
    return [(64, 8, 4), (512, 32, 4), (5, 3, 7)]


def sizes_probe(version: Callable, D: int, S: int, K: int) -> dict:
    """Each shape as text, lists and tuples alike."""
    out = version(D, S, K)
    parts = list(out) if isinstance(out, (tuple, list)) else [out]
    texts = [str(tuple(map(whole, part))) if isinstance(part, (tuple, list)) else short(part) for part in parts]
    names = ("the shape of h", "the shape of z", "the shape of the feature")
    return {"the number of shapes": len(parts)} | dict(zip(names, [*texts, "", "", ""]))


def whole(size: Any) -> Any:
    """A whole number of any kind, such as NumPy's, as Python's; anything else as it is."""
    return int(size) if isinstance(size, np.integer) else size


def lean_probe(version: Callable, angle: Tensor) -> dict:
    """The actions. They choose rows of other tensors, which small integers can't."""
    out = version(angle)
    if isinstance(out, Tensor) and out.dtype in (torch.uint8, torch.int8, torch.int16):
        raise Complaint(
            f"The actions are {str(out.dtype).removeprefix('torch.')}; `.long()` makes them usable as indices."
        )
    return {"the result": out}


def lets_go_cases() -> list[tuple]:
    by_hand = torch.tensor([[1.0, 2.0]] * 4), torch.tensor([[1.1, 2.1], [1.4, 1.6], [1.8, 1.4], [1.0, 2.2]]), 0.5
    cases = [by_hand]
    for size in (1, 4, 3, 4, 4):
        steps = 12 + int(torch.randint(8, ()))
        real = normal(steps, size)
        sign = (torch.randint(2, (steps, 1)) * 2.0 - 1) * (1 - 2 * (torch.arange(size) % 2))
        # Small at first, large in the middle, small again at the end; neighbouring numbers err to different sides.
        error = uniform(steps, size) * 0.2 + 0.3
        start = int(torch.randint(3, 6, ()))
        share = torch.full((size,), 0.2) if size > 1 else torch.ones(1)
        share[size // 2] = (
            size - share.sum() + share[size // 2]
        )  # most of it in one number, so that only the mean will do
        error[start : start + 4] += share
        cases.append((real, real + sign * error, 0.6 + 0.3 * float(torch.rand(()))))
    one_number = torch.full((8, 4), 0.1)
    one_number[2, 0] = 1.5
    one_number[3, 1] = 1.0
    one_number[5, 2] = 2.0  # one of the four numbers is far off, their mean is not
    one_number[6] = 3.0
    zero = torch.zeros(8, 4)
    at_once, at_last = (zero + (torch.arange(8) == t)[:, None] for t in (0, 7))
    ends = (zero, at_once, 0.8), (zero, at_last, 0.8)
    return [*cases, (zero, one_number, 0.8), (zero, zero + 0.1, 0.8), (zero, zero + 0.5, 0.5), *ends]


def first(beyond: Tensor, steps: int) -> int:
    return int(beyond.long().argmax()) if beyond.any() else steps


def last(beyond: Tensor, steps: int) -> int:
    return int(beyond.nonzero()[-1]) if beyond.any() else steps


def runs_on(r: Tensor, d: Tensor, e: float) -> int:
    error, t = (r - d).abs().mean(-1), 0
    while error[t] <= e:
        t += 1
    return t


EXERCISES = (
    Exercise(
        "lean",
        lean,
        lean_cases,
        probe=lean_probe,
        letters="N",
        mistakes=(
            Mistake(
                lambda angle: (angle < 0).long(),
                "This pushes away from the side the pole leans to: the sign is reversed.",
            ),
            Mistake(
                lambda angle: (angle >= 0).long(),
                "At exactly 0 the pole leans to neither side; the exercise asks for 0 there.",
            ),
            Mistake(
                lambda angle: angle > 0,
                "This gives True and False. The environment wants whole numbers: `.long()` turns one into the other.",
            ),
            Mistake(
                lambda angle: angle,
                "This hands back the angle itself. The environment wants an action: 1 for right, 0 for left.",
            ),
            Mistake(lambda angle: torch.sign(angle).long(), "This gives -1 for left. CartPole's actions are 0 and 1."),
            Mistake(lambda angle: torch.ones_like(angle).long(), "This always pushes right, wherever the pole leans."),
            Mistake(lambda angle: (angle > 0).long().sum(), "This adds up all the answers. Return one for each angle."),
            Mistake(
                lambda angle: angle.round().long(),
                "A small angle is rounded to 0. Compare it with 0 first: any positive angle counts.",
            ),
            Mistake(
                lambda angle: angle.ceil().long(),
                "This rounds up, which gives 1 only for angles up to 1. Compare with 0: `angle > 0`.",
            ),
            Mistake(
                lambda angle: torch.where(angle > 0, 1, -1),
                "This gives -1 for left, and for 0 as well. CartPole's actions are 0 and 1.",
            ),
            Mistake(
                lambda angle: torch.tensor(int((angle > 0).any())),
                "This is one answer for all angles, 1 if any is positive. Return one for each.",
            ),
            Mistake(
                lambda angle: (angle.mean() > 0).long(),
                "The angles are averaged first. Return one answer for each of them.",
            ),
            Mistake(lambda angle: (angle > 0.05).long(), "The limit is above 0. Every positive angle counts."),
            Mistake(
                lambda angle: torch.eye(2)[(angle > 0).long()],
                "These are one-hot actions, two numbers for each angle. Here the environment gets the "
                "action's number: 1 for right, 0 for left.",
            ),
            Mistake(
                lambda angle: torch.full(angle.shape, int(angle.mean() > 0)),
                "This is one decision for all, from the mean angle. Compare each angle with 0.",
            ),
        ),
        hints=(
            "A positive angle leans to the right. Comparing a tensor with a number works on every entry at once.",
            "`angle > 0` gives True and False. The environment wants 1 and 0: `.long()` turns one into the other.",
            "`return (angle > 0).long()`",
        ),
    ),
    Exercise(
        "sizes",
        sizes,
        sizes_cases,
        probe=sizes_probe,
        mistakes=(
            Mistake(
                lambda D, S, K: ((D,), (S, K), (D * S * K,)),
                "The feature is h and z side by side: their sizes add, they don't multiply.",
            ),
            Mistake(
                lambda D, S, K: ((D,), (S, K), (D + S + K,)),
                "z holds S groups of K numbers each, S·K in all, not S + K.",
            ),
            Mistake(
                lambda D, S, K: ((D,), (K, S), (D + S * K,)),
                "z is (S, K): groups first, classes second. Yours is swapped.",
            ),
            Mistake(lambda D, S, K: ((D,), (S, K), (S * K,)), "The feature holds the memory h too, not z alone."),
            Mistake(
                lambda D, S, K: ((D,), (S * K,), (D + S * K,)),
                "z keeps its two axes, (S, K). It is flattened only inside the feature.",
            ),
            Mistake(lambda D, S, K: (D, (S, K), D + S * K), "A shape is a tuple, even with one entry: (D,), not D."),
            Mistake(
                lambda D, S, K: ((D,), (S, K), (D, S * K)),
                "The feature is one row of numbers, h and z side by side, so its shape has one entry: their sum.",
            ),
            Mistake(
                lambda D, S, K: ((D,), (S, K), (D, S, K)),
                "The feature is one row of numbers: z is flattened, and h and z stand side by side. Its shape has one "
                "entry.",
            ),
            Mistake(
                lambda D, S, K: (D, S * K, D + S * K),
                "These are numbers of entries. Return shapes, as tuples; z keeps its two axes.",
            ),
            Mistake(
                lambda D, S, K: ((D,), (S, K), (D + S,)),
                "Only the number of groups is added. z brings S·K numbers to the feature.",
            ),
            Mistake(
                lambda D, S, K: ((D,), (S, K), (D + K**S,)),
                "K^S is the number of ways the dice can fall. z holds S·K numbers.",
            ),
            Mistake(lambda D, S, K: ((1, D), (S, K), (D + S * K,)), "h has one axis, (D,), not (1, D)."),
            Mistake(
                lambda D, S, K: ((S, K), (D,), (D + S * K,)),
                "h and z are in the wrong order: first the shape of h, then that of z.",
            ),
            Mistake(lambda D, S, K: ((D,), (S, K)), "The shape of the feature is missing: return three tuples."),
            Mistake(
                lambda D, S, K: ((64,), (8, 8), (128,)),
                "The sizes are those of one agent. Use D, S and K, which may be any.",
            ),
            Mistake(
                lambda D, S, K: ((1, D), (1, S, K), (1, D + S * K)),
                "There is an axis of 1 in front, the batch of the cell above. Leave the batch out.",
            ),
            Mistake(
                lambda D, S, K: ((1, D), (1, S, K), (D + S * K,)),
                "There is an axis of 1 in front of h and z, the batch of the cell above. Leave the batch out.",
            ),
        ),
        hints=(
            "Three shapes, in order: memory, dice, both side by side. A shape is a tuple.",
            "h has D numbers. z has S rows of K numbers. Flattened, z has S·K numbers.",
            "`return (D,), (S, K), (D + S * K,)`",
        ),
    ),
    Exercise(
        "lets_go",
        lets_go,
        lets_go_cases,
        mistakes=(
            Mistake(
                lambda r, d, e: first((r - d).abs().mean(-1) >= e, len(r)),
                "An error equal to the tolerance does not exceed it: use >.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).abs().mean(-1) > e, -1),
                "If it never lets go, return T, the number of steps.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).mean(-1).abs() > e, len(r)),
                "Errors of different sign cancel in your mean: take the absolute value before averaging.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).abs().amax(-1) > e, len(r)),
                "This tests the largest of the errors; the exercise asks for their mean.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).abs().sum(-1) > e, len(r)),
                "This is the sum over the numbers, not their mean.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).square().mean(-1) > e, len(r)),
                "This squares the error; the exercise asks for its absolute value.",
            ),
            Mistake(
                lambda r, d, e: last((r - d).abs().mean(-1) > e, len(r)),
                "This is the last step beyond the tolerance, not the first.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).abs().mean(-1) <= e, len(r)),
                "This is the first step where the dream still holds: the comparison is reversed.",
            ),
            Mistake(
                lambda r, d, e: int(((r - d).abs().mean(-1) > e).long().argmax()),
                "Right if the dream lets go. If it never does, argmax says 0; return T there.",
            ),
            Mistake(lambda r, d, e: min(lets_go(r, d, e) + 1, len(r)), "One step too late. Steps are counted from 0."),
            Mistake(lambda r, d, e: lets_go(r, d, e) - 1, "One step too early: this is the last step that still held."),
            Mistake(
                lambda r, d, e: int(((r - d).abs().mean(-1) <= e).sum()),
                "This counts all steps that hold. The dream may come close again later; only the steps before it "
                "first lets go count.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).norm(dim=-1) > e, len(r)),
                "This is the length of the error: a square root of squares. The exercise asks for the mean of the "
                "absolute values.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).square().mean(-1).sqrt() > e, len(r)),
                "This is the root of the mean square. The exercise asks for the mean of the absolute values.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).abs().mean(-1) > e, len(r) - 1),
                "If it never lets go, return T, the number of steps; yours is the last step, T - 1.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).abs().amin(-1) > e, len(r)),
                "Here ALL numbers of an observation must be beyond the tolerance. The exercise asks for their mean.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).abs().sum(-1) / 4 > e, len(r)),
                "The sum is always divided by 4. An observation may have another number of entries: use the mean over "
                "the last axis.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).abs()[:, 0] > e, len(r)),
                "Only the first number of an observation is compared. Take the mean over all.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).abs().mean(-1).cumsum(0) / torch.arange(1, len(r) + 1) > e, len(r)),
                "This averages over all steps so far. Each step has an error of its own.",
            ),
            Mistake(
                lambda r, d, e: int((r - d).abs().mean(-1).argmax()),
                "This is the step with the largest error. Return the FIRST one beyond the tolerance.",
            ),
            Mistake(
                lambda r, d, e: int(((r - d).abs().mean(-1) > e).sum()),
                "This counts the steps beyond the tolerance. Return the number of the first one.",
            ),
            Mistake(
                lambda r, d, e: first(((r - d).abs() / r.abs()).mean(-1) > e, len(r)),
                "The error is divided by the real value. The exercise asks for the absolute error.",
            ),
            Mistake(
                lambda r, d, e: 0 if float((r - d).abs().mean(-1)[0]) > e else len(r),
                "Only the first step is looked at: it returns inside the loop in both cases. Return T after "
                "the loop, once no step was beyond the tolerance.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).abs().mean(0) > e, r.shape[1]),
                "This averages over time, so there is one error for each number of an observation. Average "
                "over the numbers: one error for each step.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).abs().mean(0) > e, len(r)),
                "The mean runs over time, axis 0. Average over the numbers of each observation: `mean(-1)`.",
            ),
            Mistake(
                lambda r, d, e: first((r - d).abs()[:, -1] > e, len(r)),
                "Only the last number of an observation is compared. Take the mean over all.",
            ),
            Mistake(runs_on, "The loop runs on past the last step if the dream never lets go. Return T there."),
        ),
        hints=(
            "First compute one error per step: (T, O) to (T,). Then look for the first one beyond the tolerance.",
            "`(real - dreamed).abs().mean(-1)` has one error per step. Compare them with the tolerance, turn True "
            "and False into numbers, and `argmax` finds the first 1.",
            "`beyond = (real - dreamed).abs().mean(-1) > tolerance`, then `int(beyond.long().argmax())` if "
            "`beyond.any()`, "
            "else `len(real)`.",
        ),
    ),
)
