"""Exercises of notebook 08: the λ-return, its inputs from a dream, the critic's loss."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...critic import critic_loss, lambda_return
from ...symlog import symexp, symlog
from ...two_hot import two_hot_bins, two_hot_loss, two_hot_mean
from ..exercise import Exercise, Mistake, normal, uniform, with_gradients


def dream_returns(rewards: Tensor, continues: Tensor, values: Tensor, lam: float = 0.95) -> Tensor:
    """λ-returns (N, H) of a dream: rewards, continues and values (N, H+1), index t belongs to state t."""
    return lambda_return(rewards[:, 1:], continues[:, 1:], values[:, 1:], values[:, -1], lam)


def return_cases() -> list[tuple]:
    cases = [
        (
            torch.tensor([[1.0, 1.0]]),
            torch.tensor([[0.9, 0.5]]),
            torch.tensor([[10.0, 20.0]]),
            torch.tensor([20.0]),
            0.8,
        )
    ]
    for N, H, lam, high in ((2, 3, 0.95, 0), (3, 7, 0.3, 300), (4, 15, 0.8, 0)):
        values = normal(N, H, size=10) + high
        cases.append((normal(N, H), uniform(N, H), values, normal(N, size=10) + high, lam))
    N, H = 2, 5
    return cases + [(normal(N, H), uniform(N, H), normal(N, H, size=10), normal(N), 0.95 * (torch.rand(N, H) < 0.6))]


def shifted(x: Tensor, by: int) -> Tensor:
    """One step early (+1) or late (-1), the last or first one repeated."""
    return torch.cat([x[:, 1:], x[:, -1:]], 1) if by > 0 else torch.cat([x[:, :1], x[:, :-1]], 1)


def returned(
    r: Tensor,
    c: Tensor,
    v: Tensor,
    boot: Tensor,
    lam: Any = 0.95,
    *,
    swap: bool = False,
    discount: float = 1.0,
    outside: bool = False,
    forward: bool = False,
    stack: int = 1,
    all_lambda: bool = False,
    scalar: bool = False,
    flip: bool = False,
    bracket: bool = False,
    long: bool = False,
    still: bool = False,
    step: Callable | None = None,
) -> Tensor:
    """lambda_return with one thing wrong."""
    mix = torch.as_tensor(lam, dtype=r.dtype)
    mix = 1 - mix if swap else mix
    mix = mix if mix.ndim == 2 else mix.expand_as(r)
    if scalar:  # as if lam were one number
        last, found = boot, []
        for t in reversed(range(r.shape[1])):
            last = r[:, t] + c[:, t] * ((1 - lam) * v[:, t] + lam * last)
            found.append(last)
        return torch.stack(found[::-1], 1)
    found, last = [], boot
    for t in range(r.shape[1]) if forward else reversed(range(r.shape[1])):
        ahead = (1 - mix[:, t]) * v[:, t] + mix[:, t] * last
        if all_lambda:
            ahead = v[:, t] + mix[:, t] * last
        if step:
            last = step(r[:, t], c[:, t], v[:, t], mix[:, t], last)
        elif bracket:
            last = r[:, t] + c[:, t] * (1 - mix[:, t]) * v[:, t] + mix[:, t] * last
        else:
            now = c[:, t] * (r[:, t] + discount * ahead) if outside else r[:, t] + discount * c[:, t] * ahead
            last = last if still else now
        found.append(now if still else last)
    if long:
        found.insert(0, boot)
    return torch.stack(found if flip or forward else found[::-1], stack)


def backwards(rewards: Tensor, pull: Tensor, inputs: Tensor, boot: Tensor) -> Tensor:
    """R_t without a loop: the terms are divided by a running product, which works until a factor is 0."""
    product = torch.cat([torch.ones_like(pull[:, :1]), pull.cumprod(1)], 1)
    later = (inputs * product[:, :-1]).flip(1).cumsum(1).flip(1)
    return (later + (product[:, -1] * boot)[:, None]) / product[:, :-1]


def early_end(r: Tensor, c: Tensor, v: Tensor, boot: Tensor, lam: Any = 0.95) -> Tensor:
    """The last step is left out."""
    lam = (lam * torch.ones_like(r))[:, :-1]
    return returned(r[:, :-1], c[:, :-1], v[:, :-1], boot, lam)


def wrong_return(**how: Any) -> Callable:
    return lambda *case: returned(*case, **how)


def moved(rewards: int = 0, continues: int = 0, values: int = 0) -> Callable:
    def version(r: Tensor, c: Tensor, v: Tensor, boot: Tensor, lam: Any = 0.95) -> Tensor:
        parts = (shifted(x, by) if by else x for x, by in ((r, rewards), (c, continues), (v, values)))
        return returned(*parts, boot, lam)

    return version


def dream_cases() -> list[tuple]:
    return [
        (normal(N, H + 1), uniform(N, H + 1), normal(N, H + 1, size=10) + high, lam)
        for N, H, lam, high in ((1, 2, 0.8, 0), (3, 5, 0.95, 0), (2, 15, 0.8, 1000))
    ]


def wrong_slices(
    r: slice = slice(1, None), c: slice = slice(1, None), v: slice = slice(1, None), boot: int = -1
) -> Callable:
    return lambda R, C, V, lam=0.95: lambda_return(R[:, r], C[:, c], V[:, v], V[:, boot], lam)


BEFORE, AFTER = slice(None, -1), slice(1, None)


def critic_cases() -> list[tuple]:
    bins = two_hot_bins(11, 5.0)
    cases = [
        (normal(N, H + 1, 11), normal(N, H, size=10), normal(N, H + 1, size=10), bins, uniform(N, H))
        for N, H in ((1, 2), (3, 4), (2, 7))
    ]
    for *_, weights in cases[1:]:
        weights[0, 2:] = 0.0  # an imagined end
    return cases


def judged(
    logits: Tensor,
    returns: Tensor,
    slow: Tensor,
    bins: Tensor,
    weights: Tensor,
    *,
    first: int = 0,
    target: Callable | None = None,
    regulariser: Callable | None = None,
    weigh: str = "both",
) -> Tensor:
    """critic_loss with one thing wrong."""
    L = logits[:, first : first + returns.shape[1]]
    S = slow[:, : returns.shape[1]]
    main = target(L, returns, bins) if target else two_hot_loss(L, returns, bins)
    extra = regulariser(L, S, bins) if regulariser else two_hot_loss(L, S, bins)
    return {"both": weights * (main + extra), "none": main + extra, "main": weights * main + extra}[weigh]


def wrong_critic(**how: Any) -> Callable:
    return lambda *case: judged(*case, **how)


def one_step_further(r: Tensor, c: Tensor, v: Tensor, boot: Tensor, lam: Any = 0.95) -> Tensor:
    """The next one-step return, in place of the next λ-return."""
    after = torch.cat([(r + c * v)[:, 1:], boot[:, None]], 1)
    return r + c * ((1 - lam) * v + lam * after)


EXERCISES = (
    Exercise(
        "lambda_return",
        lambda_return,
        return_cases,
        letters="NH",  # no gradients are compared: returns are targets, and nothing learns through them
        kept_for="critic:lambda_return",
        mistakes=(
            Mistake(
                lambda r, c, v, b, lam=0.95: torch.cat(
                    [
                        returned(r[:, :-1], c[:, :-1], v[:, :-1], b, lam if isinstance(lam, float) else lam[:, :-1]),
                        b[:, None],
                    ],
                    1,
                ),
                "The last return is the bootstrap itself. The bootstrap comes after the last step, which has a "
                "reward and a continue of its own.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: torch.cat([returned(r, c, v, b, lam)[:, 1:], b[:, None]], 1),
                "The first return is cut off, and the bootstrap is among the others. The returns are R_0 to R_{H-1}.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: lambda_return(r + (1 - lam) * v, c, torch.zeros_like(v), b, lam),
                "The continue multiplies only the longer return. It multiplies the critic's value, too: c · ((1 - λ) "
                "v + λ R).",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c, torch.cat([v[:, 1:], b[:, None]], 1), b, lam),
                "The values are shifted once more: values[:, t] is already v of the state after step t.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: backwards(r, c * lam, r + c * (1 - lam) * v, b),
                "This divides by a running product of the continues, which can be 0, and the result is nan. A loop "
                "from the end needs no division.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c.cumprod(1), v, b, lam),
                "The continues are multiplied together beforehand; the recursion does that by itself.",
            ),
            Mistake(
                wrong_return(swap=True),
                "λ and 1 - λ are swapped: λ belongs to the return of the next step, 1 - λ to the value.",
            ),
            Mistake(
                wrong_return(outside=True),
                "The continue multiplies the reward too. The reward has arrived; only what follows is discounted.",
            ),
            Mistake(wrong_return(discount=1 - 1 / 333), "The discount counts twice: the continues already contain it."),
            Mistake(wrong_return(discount=0.99), "There is an extra 0.99: the continues already contain the discount."),
            Mistake(
                wrong_return(bracket=True),
                "A bracket is missing: the continue multiplies both the value and the longer return.",
            ),
            Mistake(
                wrong_return(still=True), "The longer return is always the bootstrap: carry R on from step to step."
            ),
            Mistake(wrong_return(long=True), "There are H + 1 returns: the bootstrap itself is not one of them."),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c, v, b, lam)[:, 0],
                "Only the first return comes back. Return all of them, (N, H).",
            ),
            Mistake(wrong_return(forward=True), "The loop runs forwards. R_t needs R_{t+1}, so begin at the end."),
            Mistake(
                wrong_return(flip=True),
                "The returns come out in reverse order: the loop runs backwards, so reverse the list before stacking.",
            ),
            Mistake(
                wrong_return(stack=0),
                "Stacked along axis 0: the result is (H, N). The batch comes first: stack along axis 1.",
            ),
            Mistake(
                moved(rewards=1),
                "The rewards are one step early: index t already holds what arrives after step t. Don't shift again.",
            ),
            Mistake(
                moved(rewards=-1), "The rewards are one step late: index t already holds what arrives after step t."
            ),
            Mistake(
                moved(continues=1), "The continues are one step early: index t already holds what arrives after step t."
            ),
            Mistake(
                moved(continues=-1), "The continues are one step late: index t already holds what arrives after step t."
            ),
            Mistake(
                moved(values=1),
                "The values are one step early: values[:, t] is already the value after step t. Don't shift.",
            ),
            Mistake(
                moved(values=-1), "The values are one step late: this takes the value of the state before the step."
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c, v, v[:, -1], lam),
                "The bootstrap is not used: R_H is the argument `bootstrap`, not the last value.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c, v, torch.zeros_like(b), lam),
                "R_H is taken to be 0: the dream stops, the episode does not. Use `bootstrap`.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, torch.ones_like(c), v, b, lam),
                "The continues are not used: an episode that ended keeps earning.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c, v, b, 1.0),
                "λ is not used: this is the plain sum of rewards plus the bootstrap (λ = 1).",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c, v, b, 0.0),
                "λ is not used: this looks one step ahead only (λ = 0).",
            ),
            Mistake(
                wrong_return(all_lambda=True),
                "The value counts in full and the next return comes on top. Weight them by (1 - λ) and λ.",
            ),
            Mistake(
                wrong_return(scalar=True),
                "lam may also be a tensor (N, H), one λ for each step: compute `(1 - lam) * values` and `continues * "
                "lam` before the loop, which works for both.",
            ),
            Mistake(
                wrong_return(discount=0.997), "There is an extra 0.997: the continues already contain the discount."
            ),
            Mistake(
                wrong_return(step=lambda r, c, v, m, R: r + c * torch.maximum(v, R)),
                "This takes the larger of value and longer return. Mix them with 1 - λ and λ.",
            ),
            Mistake(
                wrong_return(step=lambda r, c, v, m, R: r + 0.5 * c * (v + R)),
                "Value and longer return count one half each. Their shares are 1 - λ and λ.",
            ),
            Mistake(
                wrong_return(step=lambda r, c, v, m, R: r + c * ((1 - m) * v + m * R) - v),
                "The value is subtracted: that makes it an advantage. Return R itself.",
            ),
            Mistake(
                wrong_return(step=lambda r, c, v, m, R: r + c * v - v + c * m * R),
                "This is the generalised advantage estimate. The λ-return is r + c · ((1 - λ) v + λ R).",
            ),
            Mistake(
                wrong_return(step=lambda r, c, v, m, R: r + (1 - c) * ((1 - m) * v + m * R)),
                "1 - c multiplies what follows. c is the probability that it goes on: r + c · (…).",
            ),
            Mistake(
                wrong_return(step=lambda r, c, v, m, R: (1 - m) * r + c * ((1 - m) * v + m * R)),
                "The reward is multiplied by 1 - λ. It counts in full: r + c · (…).",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: torch.stack(
                    [(r[:, t:] * c[:, t:].cumprod(1)).sum(1) for t in range(r.shape[1])], 1
                ),
                "This is a discounted sum of rewards alone. Neither the critic's values nor the bootstrap are used.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c, v, b, lam).T.flatten(),
                "The returns are joined into one axis, as `torch.cat` does. `torch.stack(…, 1)` gives them an axis of "
                "their own.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c, v, b, lam)[:, 1:],
                "The first return is missing: the loop must reach t = 0.",
            ),
            Mistake(
                early_end, "The last step is left out. The bootstrap comes after it: the loop begins at t = H - 1."
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(
                    r, c, v, b, lam * torch.ones_like(r).mean() if isinstance(lam, float) else lam.mean()
                ),
                "lam may also be a tensor (N, H), one λ for each step; yours is averaged to one number.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(
                    torch.cat([r[:, :-1], r[:, -1:] + b[:, None]], 1),
                    torch.cat([c[:, :-1], 0 * c[:, -1:]], 1),
                    v,
                    b,
                    lam,
                ),
                "In the last step the bootstrap is added in full. That step has the same formula as every "
                "other: r + c · ((1 - λ) v + λ · bootstrap).",
            ),
            Mistake(
                one_step_further,
                "R_{t+1} is replaced by a one-step return, r + c · v. It is the λ-return of the next step: "
                "carry it on.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c, v, b, (lam * torch.ones_like(r)).cumprod(1)),
                "λ is multiplied up along the way: λ, λ², λ³. Each step uses its own λ once; the recursion "
                "makes the powers.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c, v, b, lam) - v,
                "The values are subtracted from the returns. That makes advantages, which come in notebook 09.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c, v, c[:, -1] * b, lam),
                "The bootstrap is multiplied by the last continue before the loop, and once more inside it. "
                "Begin with the bootstrap itself.",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c, torch.cat([v[:, :-1], b[:, None]], 1), b, lam),
                "In the last step the bootstrap takes the value's place as well. The value there is values[:, -1].",
            ),
            Mistake(
                lambda r, c, v, b, lam=0.95: returned(r, c, v, b, lam).clamp(max=100),
                "Returns above 100 are cut off. A return has no limit.",
            ),
        ),
        hints=(
            "The last return is `bootstrap`. Each earlier one needs the one after it, so the loop runs backwards. "
            "Returns are targets: nothing learns through them, so they need no gradient.",
            "Everything but R_{t+1} is known before the loop: `inputs = rewards + continues * (1 - lam) * values` "
            "and `pull = continues * lam`. Then "
            "R_t = inputs_t + pull_t · R_{t+1}.",
            "`returns, last = [], bootstrap`, then for t in `reversed(range(rewards.shape[1]))`: `last = inputs[:, "
            "t] + pull[:, t] * last`, `returns.append(last)`. "
            "At the end `return torch.stack(returns[::-1], 1)`",
        ),
    ),
    Exercise(
        "dream_returns",
        dream_returns,
        dream_cases,
        letters="NH",
        mistakes=(
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R, C, V, V[:, -1], lam)[:, :-1],
                "All three go in uncut, and the last return is dropped, so the start's own reward counts for step 0. "
                "Cut off the first entries beforehand.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[1:], C[1:], V[1:], V[-1], lam),
                "`[1:]` and `[-1]` cut the batch. Time is the second axis: `[:, 1:]` and `[:, -1]`.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[1:], C[1:], V[1:], V[:, -1], lam),
                "`[1:]` cuts off the first dream of the batch. Time is the second axis: `[:, 1:]`.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:], C[:, 1:], V[:, 1:], C[:, -1] * V[:, -1], lam),
                "The bootstrap is multiplied by the last continue here, and once more inside lambda_return. Pass the "
                "value itself.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:], V[:, 1:], C[:, 1:], V[:, -1], lam),
                "Continues and values are passed in the wrong order: rewards, continues, values, bootstrap.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[1:], C[1:], V[1:], V[1:, -1], lam),
                "The first dream of the batch is cut off. Time is the second axis: `[:, 1:]`.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:], C[:, 1:], V[:, 1:], V[:, -1:], lam),
                "The bootstrap is (N, 1) and broadcasts across the dreams, mixing them. `values[:, -1]` is (N,).",
            ),
            Mistake(
                wrong_slices(r=BEFORE, c=BEFORE),
                "Rewards and continues are one step late: what step t brings is at index t + 1.",
            ),
            Mistake(
                wrong_slices(r=BEFORE, v=BEFORE),
                "Rewards and values are one step late: what step t brings is at index t + 1.",
            ),
            Mistake(
                wrong_slices(c=BEFORE, v=BEFORE),
                "Continues and values are one step late: what step t brings is at index t + 1.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:], C[:, 1:], V[:, 1:], R[:, -1], lam),
                "The bootstrap is the last reward; it should be the last value.",
            ),
            Mistake(
                wrong_slices(r=BEFORE),
                "The rewards are one step late: rewards[:, t] arrived with state t, so step t brings rewards[:, t + "
                "1].",
            ),
            Mistake(
                wrong_slices(c=BEFORE), "The continues are one step late: what follows step t is continues[:, t + 1]."
            ),
            Mistake(
                wrong_slices(v=BEFORE),
                "The values are one step late: step t leads to state t + 1, and its value is values[:, t + 1].",
            ),
            Mistake(
                wrong_slices(BEFORE, BEFORE, BEFORE),
                "All three are one step late: what step t brings is at index t + 1. Cut off the first entry, not the "
                "last.",
            ),
            Mistake(
                wrong_slices(boot=-2),
                "The bootstrap is the second-to-last value. The dream ends in state H: values[:, -1].",
            ),
            Mistake(
                wrong_slices(boot=0), "The bootstrap is the value of the start; it should be that of the last state."
            ),
            Mistake(
                wrong_slices(slice(None), slice(None), slice(None)),
                "All H + 1 entries are used: the start's own reward belongs to the past. Cut off the first.",
            ),
            Mistake(lambda R, C, V, lam=0.95: dream_returns(R, C, V), "lam is not passed on."),
            Mistake(
                lambda R, C, V, lam=0.95: dream_returns(R, 0.99 * C, V, lam),
                "There is an extra 0.99: the continues already contain the discount.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:], C[:, 1:], V[:, 1:], torch.zeros(len(R)), lam),
                "The bootstrap is 0: the dream stops, the episode does not. Use the value of the last state.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: dream_returns(R, C, V, lam) - V[:, :-1],
                "The value is already subtracted: that makes it the advantage, which comes in notebook 09.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(
                    torch.cat([torch.zeros_like(R[:, :1]), R[:, 1:]], 1), C, V, V[:, -1], lam
                )[:, :-1],
                "The start's reward is set to 0, but its column is still there. Cut off the first column of all three "
                "beforehand.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:], C[:, 1:], V, V[:, -1], lam),
                "The values still have their first column, perhaps the continues, too. Cut it off all: `[:, 1:]`.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:], C, V[:, 1:], V[:, -1], lam),
                "Only the continues still have their first column. Cut it off all three: `[:, 1:]`.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:], C[:, 1:], V[:, 1:], V.mean(1), lam),
                "The bootstrap is the mean of all values. It is the value of the last state.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:-1], C[:, 1:-1], V[:, 1:-1], V[:, -1], lam),
                "The last step is cut off as well. H + 1 states have H steps.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:], C.cumprod(1)[:, 1:], V[:, 1:], V[:, -1], lam),
                "The continues are multiplied together beforehand. lambda_return does that by itself.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: dream_returns(R, C, V, lam) * C.cumprod(1)[:, :-1],
                "The returns are weighted already. The weights come in the loss.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: R[:, 1:].flip(1).cumsum(1).flip(1) + V[:, -1:],
                "This is a plain sum of rewards. Use `lambda_return`, which discounts, and mixes in the values.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:], C[:, 1:].cumprod(1), V[:, 1:], V[:, -1], lam),
                "The continues are multiplied together before they are passed on. lambda_return wants one for"
                " each step.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: torch.cat([R[:, :1], 0 * R[:, 2:]], 1) + dream_returns(R, C, V, lam),
                "The start's own reward is added to the first return. It arrived before step 0: leave it out.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:], C[:, 1:], V[:, 1:], R[:, -1] + V[:, -1], lam),
                "The last reward is part of the bootstrap, so it counts twice. The bootstrap is the last "
                "state's value alone.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:-1], C[:, 1:-1], V[:, 1:-1], V[:, -2], lam),
                "The last state is left out, so one return is missing. Cut off the first entry alone.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:], C[:, 1:].round(), V[:, 1:], V[:, -1], lam),
                "The continues are rounded to 0 or 1. They are probabilities; use them as they are.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(C[:, :-1] * R[:, 1:], C[:, 1:], V[:, 1:], V[:, -1], lam),
                "The rewards are multiplied by the continue of the state before. lambda_return wants them as they are.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: lambda_return(R[:, 1:], C[:, 1:], V[:, 1:], V.max(1).values, lam),
                "The bootstrap is the largest value of the dream. It is the value of the last state.",
            ),
            Mistake(
                lambda R, C, V, lam=0.95: dream_returns(R, C, V, lam).clamp(max=100),
                "Returns above 100 are cut off. Don't limit them.",
            ),
        ),
        hints=(
            "lambda_return wants what ARRIVES after each step. In a dream, index t belongs to state t.",
            "Step 0 leads to state 1. So cut off index 0 of all three. The bootstrap is the value of the very last "
            "state.",
            "`return lambda_return(rewards[:, 1:], continues[:, 1:], values[:, 1:], values[:, -1], lam)`",
        ),
    ),
    Exercise(
        "critic_loss",
        critic_loss,
        critic_cases,
        probe=with_gradients("logits"),
        letters="NH",
        kept_for="critic:critic_loss",
        mistakes=(
            Mistake(
                lambda l, r, s, b, w: w * 2 * two_hot_loss(l[:, :-1], 0.5 * (r + s[:, :-1]), b),
                "The two targets are averaged into one number first. The two-hot of a mean is not the mean of two "
                "two-hots: add two losses.",
            ),
            Mistake(
                lambda l, r, s, b, w: w * two_hot_loss(l[:, :-1], r + s[:, :-1], b),
                "The two targets are added into one number. Add two losses instead.",
            ),
            Mistake(
                lambda l, r, s, b, w: (
                    w * (two_hot_loss(l[:, :-1], r, b) + two_hot_loss(l[:, :-1].detach(), s[:, :-1], b))
                ),
                "The logits are detached in the slow critic's term, which then can't hold the critic back.",
            ),
            Mistake(
                lambda l, r, s, b, w: (
                    w * (two_hot_loss(l[:, :-1].detach(), r, b) + two_hot_loss(l[:, :-1], s[:, :-1], b))
                ),
                "The logits are detached in the returns' term, so the critic learns nothing from them.",
            ),
            Mistake(
                lambda l, r, s, b, w: (
                    w * (0.98 * two_hot_loss(l[:, :-1], r, b) + 0.02 * two_hot_loss(l[:, :-1], s[:, :-1], b))
                ),
                "The terms are weighted 0.98 and 0.02. Those are the slow critic's update; here both count in full.",
            ),
            Mistake(
                lambda l, r, s, b, w: (
                    w * (0.02 * two_hot_loss(l[:, :-1], r, b) + 0.98 * two_hot_loss(l[:, :-1], s[:, :-1], b))
                ),
                "The terms are weighted 0.02 and 0.98. Those are the slow critic's update; here both count in full.",
            ),
            Mistake(
                lambda l, r, s, b, w: (
                    w * (two_hot_loss(l[:, :-1], symlog(r), b) + two_hot_loss(l[:, :-1], symlog(s[:, :-1]), b))
                ),
                "Both targets are squashed by symlog. The bins are raw values, and so are the targets.",
            ),
            Mistake(
                lambda l, r, s, b, w: (
                    w * ((two_hot_mean(l[:, :-1], b) - r).square() + (two_hot_mean(l[:, :-1], b) - s[:, :-1]).square())
                ),
                "Both terms are squared errors; both should be two_hot_loss.",
            ),
            Mistake(
                lambda l, r, s, b, w: (
                    (w * (two_hot_loss(l[:, :-1], r, b) + two_hot_loss(l[:, :-1], s[:, :-1], b))) / w.sum()
                ),
                "This divides by the sum of the weights. Keep the plain weighted losses.",
            ),
            Mistake(
                lambda l, r, s, b, w: w * two_hot_loss(l[:, :-1], r, b),
                "The slow critic is missing: add the loss to slow_values.",
            ),
            Mistake(
                wrong_critic(weigh="none"), "The weights are not used: what comes after an imagined end must not count."
            ),
            Mistake(wrong_critic(weigh="main"), "The slow critic's term is not weighted; weight both."),
            Mistake(
                wrong_critic(first=1),
                "The logits are those of the next state: returns[:, t] belongs to state t, so cut off the last "
                "logits, not the first.",
            ),
            Mistake(
                wrong_critic(target=lambda l, r, b: two_hot_loss(l, symlog(r), b)),
                "The returns are squashed by symlog first. The bins are raw values.",
            ),
            Mistake(
                wrong_critic(target=lambda l, r, b: (two_hot_mean(l, b) - r).square()),
                "The returns' term is a squared error; use two_hot_loss there, too.",
            ),
            Mistake(
                wrong_critic(regulariser=lambda l, s, b: (two_hot_mean(l, b) - s).square()),
                "The slow critic's term is a squared error; use two_hot_loss there, too.",
            ),
            Mistake(
                lambda l, r, s, b, w: w * two_hot_loss(l[:, :-1], 0.5 * (r + s[:, :-1]), b),
                "The two targets are averaged into one. Add two losses instead.",
            ),
            Mistake(
                lambda l, r, s, b, w: critic_loss(l, r, s, b, w).mean(),
                "The losses are averaged already. Keep (N, H); the mean comes later.",
            ),
            Mistake(
                lambda l, r, s, b, w: w * two_hot_loss(l[:, :-1], s[:, :-1], b),
                "Only the slow critic's term is there; add the loss to the returns.",
            ),
            Mistake(
                lambda l, r, s, b, w: w * (two_hot_loss(l[:, :-1], r, b) - two_hot_loss(l[:, :-1], s[:, :-1], b)),
                "The slow critic's term is subtracted; add it, to hold the critic back.",
            ),
            Mistake(
                lambda l, r, s, b, w: w * (two_hot_loss(l[:, :-1], r, b) + two_hot_loss(l[:, :-1], s[:, 1:], b)),
                "The slow values are those of the next state: slow_values[:, t] belongs to state t, like the logits.",
            ),
            Mistake(
                lambda l, r, s, b, w: w * (two_hot_loss(l[:, 1:], r, b) + two_hot_loss(l[:, 1:], s[:, 1:], b)),
                "The first state is cut off from both. Here the last state has no return, so cut that one off.",
            ),
            Mistake(
                lambda l, r, s, b, w: (
                    w * (two_hot_loss(l[:, :-1].softmax(-1), r, b) + two_hot_loss(l[:, :-1].softmax(-1), s[:, :-1], b))
                ),
                "two_hot_loss wants logits; these are already probabilities.",
            ),
            Mistake(
                lambda l, r, s, b, w: -critic_loss(l, r, s, b, w),
                "The minus sign is wrong: two_hot_loss is already a loss.",
            ),
            Mistake(
                lambda l, r, s, b, w: critic_loss(l, r, s, b, w) / 2,
                "The two losses are averaged; they should be added.",
            ),
            Mistake(
                lambda l, r, s, b, w: w.mean() * wrong_critic(weigh="none")(l, r, s, b, w),
                "The mean of all weights is used. Each step has its own.",
            ),
            Mistake(
                lambda l, r, s, b, w: critic_loss(l, r, s, b, w.cumprod(1)),
                "The weights are multiplied together once more. They are products already.",
            ),
            Mistake(
                wrong_critic(regulariser=lambda l, s, b: 0.5 * two_hot_loss(l, s, b)),
                "The slow critic's term counts only half. Both count in full.",
            ),
            Mistake(
                lambda l, r, s, b, w: w * two_hot_loss(l[:, :-1], 0.02 * r + 0.98 * s[:, :-1], b),
                "The targets are mixed as the slow critic's weights are. Use both targets, each with its own loss.",
            ),
            Mistake(
                lambda l, r, s, b, w: (
                    w * torch.maximum(two_hot_loss(l[:, :-1], r, b), two_hot_loss(l[:, :-1], s[:, :-1], b))
                ),
                "This takes the larger of the two losses. Add them.",
            ),
            Mistake(
                lambda l, r, s, b, w: w * two_hot_loss(l[:, :-1], r, b) * two_hot_loss(l[:, :-1], s[:, :-1], b),
                "The two losses are multiplied. Add them.",
            ),
            Mistake(
                lambda l, r, s, b, w: critic_loss(l, r, s, b, w * w), "The weights count twice. Multiply by them once."
            ),
            Mistake(
                lambda l, r, s, b, w: critic_loss(l, r, s, b, 1 - w),
                "1 - weights is used. A step counts as far as the dream goes on: `weights`.",
            ),
            Mistake(
                lambda l, r, s, b, w: 2 * w * two_hot_loss(l[:, :-1], r, b),
                "The loss to the returns counts twice, and the slow critic is not used.",
            ),
            Mistake(
                lambda l, r, s, b, w: critic_loss(l, symexp(r), symexp(s), b, w),
                "Both targets are stretched by symexp. They are raw values already.",
            ),
            Mistake(
                lambda l, r, s, b, w: critic_loss(l, r, s, b, w).sum(1),
                "The losses of a dream are summed. Keep one for each step, (N, H).",
            ),
            Mistake(
                wrong_critic(regulariser=lambda l, s, b: (two_hot_mean(l, b) - s).abs()),
                "The slow critic's term is an absolute error; use two_hot_loss there, too.",
            ),
            Mistake(
                lambda l, r, s, b, w: critic_loss(l, r, s, b, (w > 0).float()),
                "Every weight above 0 counts as 1. Multiply by the weights as they are.",
            ),
            Mistake(
                lambda l, r, s, b, w: critic_loss(l, r, s, b, w.round()),
                "The weights are rounded to 0 or 1. Use them as they are.",
            ),
            Mistake(
                lambda l, r, s, b, w: critic_loss(l, r, s, b, w / w.mean()),
                "The weights are divided by their mean. Use them as they are: a dream that ends early counts less.",
            ),
            Mistake(
                lambda l, r, s, b, w: w * (two_hot_loss(l[:, 1:], r, b) + two_hot_loss(l[:, :-1], s[:, :-1], b)),
                "The returns' term uses the logits of the next state, but returns[:, t] belongs to state t. Use the "
                "same logits in both terms.",
            ),
            Mistake(
                lambda l, r, s, b, w: two_hot_loss(l[:, :-1], w * r, b) + two_hot_loss(l[:, :-1], w * s[:, :-1], b),
                "The weights multiply the targets. They belong to the losses.",
            ),
            Mistake(
                lambda l, r, s, b, w: critic_loss(l, r, s, b, w).mean(1),
                "The losses of a dream are averaged. Keep one for each step, (N, H).",
            ),
            Mistake(
                wrong_critic(regulariser=lambda l, s, b: 0.02 * two_hot_loss(l, s, b)),
                "The slow critic's term is multiplied by 0.02, the rate at which the slow critic follows. "
                "Here it counts in full.",
            ),
            Mistake(
                lambda l, r, s, b, w: critic_loss(l, r, s, b, torch.cat([torch.ones_like(w[:, :1]), w[:, :-1]], 1)),
                "The weights are one step late: yours begin with 1. weights[:, t] belongs to state t already.",
            ),
        ),
        hints=(
            "The same logits have two targets: the λ-return, and what the slow critic says. Each step is weighted as "
            "in the dream.",
            "Logits and slow values exist for H + 1 states, returns and weights for H. Cut off the last state of the "
            "first two.",
            "`logits, slow_values = logits[:, :-1], slow_values[:, :-1]`, then `return weights * "
            "(two_hot_loss(logits, returns, bins) + two_hot_loss(logits, "
            "slow_values, bins))`",
        ),
    ),
)
