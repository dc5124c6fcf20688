"""Exercises of notebook 09: the log-probability, the return scale, the advantage, the actor's loss."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...actor import Categorical, ReturnScale, actor_loss
from ..exercise import Exercise, Mistake, normal, uniform, with_gradients


def advantages(returns: Tensor, values: Tensor, scale: Tensor) -> Tensor:
    """How much better than expected, in units of the scale: returns (N, H), values (N, H+1), scale () → (N, H)."""
    return (returns - values[:, :-1]) / scale


def one_hot(*shape: int) -> Tensor:
    return torch.eye(shape[-1])[torch.randint(shape[-1], shape[:-1])]


def log_prob_cases() -> list[tuple]:
    by_hand = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.0, 1.0]])
    cases = [by_hand, *((normal(*shape, size=2), one_hot(*shape)) for shape in ((3, 4), (2, 5, 3), (4, 6, 2)))]
    cases.append((torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 1.0]])))  # a probability too small for float32
    return [(Policy(logits), action) for logits, action in cases]


class Policy(Categorical):
    """A policy that keeps its logits, so that a probe can see their gradient."""

    def __init__(self, logits: Tensor):
        super().__init__(logits)
        self.logits = logits


def log_prob_probe(version: Callable, policy: Policy, action: Tensor) -> dict:
    return with_gradients("the logits")(
        lambda logits, action: version(Categorical(logits), action), policy.logits, action
    )


def scale_cases() -> list[tuple]:
    usual = (0.05, 0.95)
    return [
        (normal(1, 40, 5, size=30), 0.5, 1.0, usual),
        (normal(3, 64, size=100) + 7, 0.1, 1.0, usual),
        (uniform(4, 50) * 0.1, 0.3, 2.0, usual),
        (normal(5, 10, 3) ** 3 * 20, 0.02, 1.0, usual),
        (normal(2, 80, size=50), 0.2, 1.0, (0.15, 0.8)),
    ]


def scale_probe(version: Callable, batches: Tensor, rate: float, limit: float, levels: tuple) -> dict:
    """One batch after the other: the scales that come back, and the range at the end."""
    scale, found = ReturnScale(rate, limit, *levels), []
    for batch in batches:
        out = version(scale, batch)
        if not isinstance(out, Tensor) or out.numel() != 1:
            return {"the scale": out, "the stored range": scale.range}
        found.append(out.reshape(()))
    return {"the scale": torch.stack(found), "the stored range": scale.range.clone()}


def updated(
    scale: ReturnScale,
    returns: Tensor,
    *,
    levels: tuple = (),
    late: bool = False,
    running: bool = True,
    reverse: bool = False,
    floor: str = "min",
    spread: Callable | None = None,
    rate: float = 0.0,
    down: bool = False,
    batch: bool = False,
    forget: bool = False,
    whole: bool = False,
    store_floor: bool = False,
    per_row: bool = False,
    plain: bool = False,
    nearest: bool = False,
    of: Callable | None = None,
    interpolation: str = "",
    mirror: int | None = None,
    share: float = 1.0,
    widest: bool = False,
    end: Callable | None = None,
) -> Tensor:
    """ReturnScale.update with one thing wrong."""
    before = scale.range[1] - scale.range[0]
    levels, rate = torch.tensor(levels) if levels else scale.levels, rate or scale.rate
    if mirror is not None:
        levels = torch.stack([levels[0], 1 - levels[0]] if mirror == 0 else [1 - levels[1], levels[1]])
    now = torch.quantile((of(returns) if of else returns).flatten(), share * levels)
    if interpolation:
        now = torch.quantile(returns.flatten(), levels, interpolation=interpolation)
    if widest:
        now = torch.stack([torch.minimum(scale.range[0], now[0]), torch.maximum(scale.range[1], now[1])])
        rate = 1.0
    if nearest:
        now = returns.flatten().sort().values[(levels * returns.numel()).long().clamp(max=returns.numel() - 1)]
    if per_row:
        now = torch.quantile(returns, levels, dim=-1).reshape(2, -1).mean(1)
    if spread:
        now = torch.stack([torch.zeros(()), spread(returns)])
    with torch.no_grad():
        if forget:
            moved = torch.lerp(scale.range, now, rate)
            return (moved[1] - moved[0] if plain else scale.range[1] - scale.range[0]).clamp(min=scale.limit)
        if whole and not scale.range.any():
            scale.range.copy_(now)
        elif running:
            scale.range.lerp_(now, 1 - rate if reverse else rate)
        else:
            scale.range.copy_(now)
    width = before if late else now[1] - now[0] if batch else scale.range[1] - scale.range[0]
    width = -width if down else width
    width = end(width) if end else width
    if store_floor and width < scale.limit:
        scale.range[1] = scale.range[0] + scale.limit
    return {
        "min": width.clamp(min=scale.limit),
        "none": width,
        "max": width.clamp(max=scale.limit),
        "add": width + scale.limit,
        "one": width.clamp(min=1.0),
    }[floor]


@torch.no_grad()
def added_up(scale: ReturnScale, returns: Tensor) -> Tensor:
    scale.range += scale.rate * torch.quantile(returns.flatten(), scale.levels)
    return (scale.range[1] - scale.range[0]).clamp(min=scale.limit)


def wrong_scale(**how: Any) -> Callable:
    return lambda *case: updated(*case, **how)


def debiased(scale: ReturnScale, returns: Tensor) -> Tensor:
    scale.count = getattr(scale, "count", 0) + 1
    width = updated(scale, returns, floor="none") / (1 - (1 - scale.rate) ** scale.count)
    return width.clamp(min=scale.limit)


def advantage_cases() -> list[tuple]:
    return [
        (normal(N, H, size=10), normal(N, H + 1, size=10), torch.tensor(scale))
        for N, H, scale in ((1, 2, 2.0), (3, 4, 5.5), (2, 7, 0.4), (2, 3, 0.05))
    ]


def loss_cases() -> list[tuple]:
    by_hand = tuple(torch.tensor([[x]]) for x in (-0.5, 0.6, 2.0, 0.9))
    cases = [
        (-size * uniform(N, H) - 0.01, uniform(N, H), normal(N, H, size=size), uniform(N, H), scale)
        for N, H, scale, size in ((1, 2, 0.1, 2), (3, 4, 0.5, 2), (2, 7, 0.01, 20))
    ]
    for *_, weights, _ in cases[1:]:
        weights[0, 2:] = 0.0  # an imagined end
    densities = normal(2, 5), normal(2, 5), normal(2, 5), uniform(2, 5), 0.2  # of torques, in notebook A3
    return [(*by_hand, 0.1), *cases, densities]


def loss_probe(
    version: Callable, log_probs: Tensor, entropies: Tensor, advantages: Tensor, weights: Tensor, scale: float
) -> dict:
    """The loss, and where its gradient goes: to the policy, not to values and model."""
    probe = with_gradients("log_probs", "entropies", "advantages", "weights")
    return probe(version, log_probs, entropies, advantages, weights, scale)


@torch.no_grad()
def floored_first(scale: ReturnScale, returns: Tensor) -> Tensor:
    low, high = torch.quantile(returns.flatten(), scale.levels)
    scale.range.lerp_(torch.stack([low, torch.maximum(high, low + scale.limit)]), scale.rate)
    return scale.range[1] - scale.range[0]


def smoothed_twice(scale: ReturnScale, returns: Tensor) -> Tensor:
    before = scale.range[1] - scale.range[0]
    return torch.lerp(before, updated(scale, returns, floor="none"), scale.rate).clamp(min=scale.limit)


def without_outliers(returns: Tensor) -> Tensor:
    return returns[(returns - returns.mean()).abs() <= 3 * returns.std() + 1e-6]


EXERCISES = (
    Exercise(
        "log_prob",
        Categorical.log_prob,
        log_prob_cases,
        probe=log_prob_probe,
        itself="policy",
        kept_for="actor:Categorical.log_prob",
        mistakes=(
            Mistake(
                lambda p, a: p.log_probs @ a.transpose(-1, -2),
                "A matrix product combines each row with the actions of all others. Multiply entry by entry, and sum "
                "over the last axis.",
            ),
            Mistake(
                lambda p, a: (a * p.log_probs.exp()).sum(-1).log(),
                "This goes from the logarithm to the probability and back. A very small probability becomes 0, and "
                "its logarithm -inf. Use log_probs directly.",
            ),
            Mistake(
                lambda p, a: (a * p.log_probs).sum(1),
                "This sums over axis 1, which is time when there are more axes. The actions are the last axis, -1.",
            ),
            Mistake(
                lambda p, a: p.log_probs[a.bool()],
                "The mask flattens all axes into one, (N·H,). Multiply by the action and sum over the last axis.",
            ),
            Mistake(
                lambda p, a: (a * p.log_probs).sum(-1).mean(),
                "This is one number, the mean over all. Keep one for each action taken.",
            ),
            Mistake(
                lambda p, a: (a * p.log_probs).amax(-1),
                "This is 0, the largest entry of action · log_probs, or their product. Sum over the last axis.",
            ),
            Mistake(lambda p, a: (a * p.log_probs.exp()).sum(-1), "This is the probability; return its logarithm."),
            Mistake(
                lambda p, a: a * p.log_probs,
                "The actions' axis is still there: one number for each action taken, so sum over the last axis.",
            ),
            Mistake(
                lambda p, a: (a * p.log_probs).mean(-1),
                "The sum over the actions has become a mean: it is too small by a factor A.",
            ),
            Mistake(
                lambda p, a: -(a * p.log_probs).sum(-1),
                "The sign is wrong: a log-probability is never positive. The minus comes in the loss.",
            ),
            Mistake(
                lambda p, a: p.log_probs.max(-1).values,
                "This is the log-probability of the likeliest action, not of the one taken.",
            ),
            Mistake(
                lambda p, a: (p.log_probs.exp() * p.log_probs).sum(-1),
                "This is the negative entropy: it ignores which action was taken.",
            ),
            Mistake(
                lambda p, a: (a * p.log_probs).sum(-1, keepdim=True),
                "The actions' axis is still there, with length 1: one number for each action taken, (…).",
            ),
            Mistake(
                lambda p, a: (a * p.log_probs).sum(), "Everything is summed to one number. Sum over the last axis only."
            ),
            Mistake(lambda p, a: ((1 - a) * p.log_probs).sum(-1), "This takes the actions that were NOT taken."),
            Mistake(
                lambda p, a: (a * p.log_probs).sum(0),
                "The sum runs over the batch; it should run over the actions, the last axis.",
            ),
            Mistake(lambda p, a: (a * p.log_probs).sum(-1) / 2.302585092994046, "This is the logarithm to base 10."),
            Mistake(lambda p, a: (a + p.log_probs).sum(-1), "The action is added. Multiply by it: it picks one entry."),
            Mistake(
                lambda p, a: (a * p.log_probs * p.log_probs.exp()).sum(-1),
                "ln π is multiplied by π. Nothing weights it here.",
            ),
            Mistake(
                lambda p, a: p.log_probs[..., 0],
                "This is always the first action's log-probability. `action` says which one was taken.",
            ),
            Mistake(
                lambda p, a: p.log_probs[..., a.argmax(-1)],
                "The index picks columns for all rows at once, so each row gets the actions of all others as well. "
                "Multiply by the one-hot action, or use `gather`.",
            ),
            Mistake(
                lambda p, a: (a * p.log_probs.log()).sum(-1),
                "The logarithm is taken twice, and that of a negative number is nan. `policy.log_probs` are "
                "logarithms already.",
            ),
            Mistake(
                lambda p, a: (a * p.log_probs.clamp(min=1e-8).log()).sum(-1),
                "The log-probabilities are clamped at 1e-8, and their logarithm is taken. They are logarithms already.",
            ),
            Mistake(
                lambda p, a: (a * p.log_probs).sum(-1) / 0.6931471805599453,
                "This is the logarithm to base 2, in bits. Use the natural one, as it is.",
            ),
            Mistake(
                lambda p, a: p.log_probs[..., int(a.reshape(-1, a.shape[-1])[0].argmax())],
                "The first action of the batch is used for all. Each row has its own.",
            ),
            Mistake(
                lambda p, a: (lambda l: l - torch.log1p(-l.exp()))((a * p.log_probs).sum(-1)),
                "These are log-odds, ln π - ln(1 - π). Return ln π alone.",
            ),
            Mistake(
                lambda p, a: (a * p.log_probs).sum(-1).clamp(min=-20),
                "Log-probabilities below -20 are cut off, and get no gradient. Return them as they are.",
            ),
            Mistake(
                lambda p, a: ((a * p.log_probs.exp()).sum(-1) + 1e-8).log(),
                "1e-8 is added to the probability, so a smaller one is lost. Use log_probs directly: no "
                "logarithm is needed.",
            ),
        ),
        hints=(
            "The action is one-hot: it picks one entry of the log-probabilities.",
            "Multiply by the one-hot action and sum over the last axis.",
            "`return (action * policy.log_probs).sum(-1)`",
        ),
    ),
    Exercise(
        "update",
        ReturnScale.update,
        scale_cases,
        probe=scale_probe,
        given=("the returns of each update", "rate", "limit", "levels"),
        itself="return_scale",
        kept_for="actor:ReturnScale.update",
        mistakes=(
            Mistake(
                lambda s, x: (lambda width: width if width > s.limit else s.limit)(updated(s, x, floor="none")),
                "Where the range is narrow, the limit comes back as a plain number, as with Python's `max`. "
                "`.clamp(min=return_scale.limit)` gives a tensor.",
            ),
            Mistake(
                added_up,
                "A share of the percentiles is added, but the old range doesn't shrink. `lerp_` does both: (1 - "
                "rate) · old + rate · new.",
            ),
            Mistake(
                wrong_scale(nearest=True),
                "Your percentile is one entry of the sorted returns. `torch.quantile` interpolates between two of "
                "them.",
            ),
            Mistake(
                lambda s, x: updated(s, x - x.mean()),
                "The returns are centred first. The width stays the same, but the stored range should hold the "
                "percentiles of the returns themselves.",
            ),
            Mistake(
                wrong_scale(forget=True),
                "The moved range is thrown away: `torch.lerp` makes a new tensor. `lerp_` moves the stored one.",
            ),
            Mistake(
                wrong_scale(forget=True, plain=True),
                "The new range is only in a local variable; return_scale.range never moves. `lerp_` moves the stored "
                "one.",
            ),
            Mistake(
                wrong_scale(whole=True),
                "The first update copies the percentiles completely. The range starts at 0, and always moves by the "
                "rate.",
            ),
            Mistake(
                wrong_scale(store_floor=True),
                "The floor is written into the stored range. Apply it only to what you return.",
            ),
            Mistake(
                wrong_scale(per_row=True),
                "The percentiles are taken row by row. All returns of the batch count together: `returns.flatten()`.",
            ),
            Mistake(
                wrong_scale(levels=(0.05, 0.95), rate=0.01),
                "Percentiles and rate are fixed; use return_scale.levels and return_scale.rate.",
            ),
            Mistake(
                wrong_scale(rate=0.01, floor="one"),
                "Rate and floor are fixed at 0.01 and 1; use return_scale.rate and return_scale.limit.",
            ),
            Mistake(wrong_scale(late=True), "The old range is used. Update it BEFORE you use it."),
            Mistake(
                wrong_scale(levels=(0.0, 1.0)),
                "This is smallest to largest, which one outlier can stretch. Use the 5th to the 95th percentile.",
            ),
            Mistake(wrong_scale(levels=(0.25, 0.75)), "These are the quartiles; use the 5th and the 95th percentile."),
            Mistake(
                wrong_scale(levels=(0.95, 0.05)),
                "Low and high are swapped, so the range is negative and the limit hides it.",
            ),
            Mistake(
                wrong_scale(spread=lambda x: x.std()),
                "This is the standard deviation; use the range from the 5th to the 95th percentile.",
            ),
            Mistake(
                wrong_scale(running=False),
                "The range is that of this batch alone. It should be a running average: `lerp_` by return_scale.rate.",
            ),
            Mistake(
                wrong_scale(reverse=True),
                "The rate is reversed: the old range keeps 1 - rate, the new percentiles come in with rate.",
            ),
            Mistake(
                wrong_scale(floor="none"),
                "The limit is missing: below it, small differences would be amplified. "
                "`clamp(min=return_scale.limit)`.",
            ),
            Mistake(wrong_scale(floor="max"), "The limit is a floor, not a ceiling: clamp(min=…)."),
            Mistake(wrong_scale(floor="add"), "The limit is added. It is a floor: max(limit, range)."),
            Mistake(wrong_scale(floor="one"), "The floor is a fixed 1; use return_scale.limit."),
            Mistake(
                wrong_scale(levels=(0.05, 0.95)), "The percentiles are fixed at 5 and 95; use return_scale.levels."
            ),
            Mistake(wrong_scale(rate=0.01), "The rate is fixed at 0.01; use return_scale.rate."),
            Mistake(
                wrong_scale(down=True), "The range has the wrong sign: take the high percentile minus the low one."
            ),
            Mistake(
                wrong_scale(batch=True), "The width is that of this batch. Use the running range, after its update."
            ),
            Mistake(
                debiased,
                "The running range is bias-corrected. The official one is not: it starts at 0 and rises slowly.",
            ),
            Mistake(
                wrong_scale(mirror=0),
                "The upper level is taken to be 1 minus the lower one. Use both entries of `return_scale.levels`.",
            ),
            Mistake(
                wrong_scale(mirror=1),
                "The lower level is taken to be 1 minus the upper one. Use both entries of `return_scale.levels`.",
            ),
            Mistake(wrong_scale(share=0.01), "The levels are divided by 100. They are shares already, 0.05 and 0.95."),
            Mistake(wrong_scale(of=torch.abs), "The percentiles are those of the absolute returns. The sign counts."),
            Mistake(
                wrong_scale(interpolation="lower"),
                "The percentiles are rounded down to an entry. `torch.quantile` interpolates by default.",
            ),
            Mistake(
                wrong_scale(interpolation="nearest"),
                "The percentiles are rounded to the nearest entry. `torch.quantile` interpolates by default.",
            ),
            Mistake(wrong_scale(rate=0.5), "The rate is fixed at one half; use return_scale.rate."),
            Mistake(
                wrong_scale(widest=True),
                "The range only grows. It should be a running average, which follows in both directions: `lerp_`.",
            ),
            Mistake(wrong_scale(end=lambda width: width / 2), "This is half of the width: high minus low."),
            Mistake(
                lambda scale, returns: 1 / updated(scale, returns),
                "This is 1 over the scale. Return the scale; the advantage is divided by it later.",
            ),
            Mistake(
                lambda scale, returns: (updated(scale, returns), returns.std().clamp(min=scale.limit))[1],
                "This returns the standard deviation. Return the width of the range.",
            ),
            Mistake(
                wrong_scale(spread=lambda x: torch.quantile(x.flatten(), torch.tensor([0.05, 0.95])).diff()[0]),
                "Only the width is stored, from 0. The range should hold both percentiles.",
            ),
            Mistake(
                floored_first,
                "The limit is applied to each batch, before the average. Apply it to the running range, at the end.",
            ),
            Mistake(
                lambda scale, returns: (updated(scale, returns), scale.range[1].clamp(min=scale.limit))[1],
                "This is the upper percentile alone. The scale is high minus low.",
            ),
            Mistake(
                smoothed_twice,
                "The width is averaged a second time, with the previous one. The range already moves by the rate: "
                "return its width.",
            ),
            Mistake(
                lambda scale, returns: (updated(scale, returns, floor="none") / scale.rate).clamp(min=scale.limit),
                "The width is divided by the rate. Return it as it is, though it rises slowly at first.",
            ),
            Mistake(
                wrong_scale(of=without_outliers),
                "Outliers are left out before the percentiles are taken. All returns count: the percentiles "
                "ignore outliers by themselves.",
            ),
        ),
        hints=(
            "Take the percentiles of this batch, move the running range a little towards them, and return its width, "
            "at least the limit.",
            "`torch.quantile(returns.flatten(), return_scale.levels)` gives both percentiles. `return_scale.range` "
            "holds the running ones; `lerp_` moves it.",
            "`return_scale.range.lerp_(torch.quantile(returns.flatten(), return_scale.levels), return_scale.rate)`, "
            "then "
            "`return (return_scale.range[1] - return_scale.range[0]).clamp(min=return_scale.limit)`",
        ),
    ),
    Exercise(
        "advantages",
        advantages,
        advantage_cases,
        letters="NH",
        mistakes=(
            Mistake(
                lambda returns, values, scale: (returns - values) / scale,
                "The values have H + 1 entries, the returns H. The last value has no return: leave it out, "
                "`values[:, :-1]`.",
            ),
            Mistake(
                lambda r, v, s: (r - v.mean(1, keepdim=True)) / s,
                "The mean value of the whole dream is subtracted; each return has its own value, values[:, t].",
            ),
            Mistake(
                lambda r, v, s: (r - v[:, :-1].mean(1, keepdim=True)) / s,
                "The mean value of the dream is subtracted; each return has its own value, values[:, t].",
            ),
            Mistake(
                lambda r, v, s: (r - v.mean()) / s,
                "The mean of all values is subtracted; each return has its own value, values[:, t].",
            ),
            Mistake(
                lambda r, v, s: ((r - v[:, :-1]) / s).clamp(-1, 1), "Advantages beyond ±1 are cut off. Don't clip them."
            ),
            Mistake(
                lambda r, v, s: (r - v[:, :1]) / s,
                "The value of the start is subtracted from all; each return has its own value, values[:, t].",
            ),
            Mistake(
                lambda r, v, s: ((r - v[:, :-1]) / s).abs(), "The sign is lost: worse than expected must stay negative."
            ),
            Mistake(lambda r, v, s: (r - v[:, :-1]) / s.square(), "The scale divides twice."),
            Mistake(
                lambda r, v, s: r / v[:, :-1] / s, "The return is divided by the value; subtract the value instead."
            ),
            Mistake(
                lambda r, v, s: (r - v[:, 1:]) / s,
                "The values are those of the next state: compare returns[:, t] with values[:, t], the state it "
                "starts from.",
            ),
            Mistake(lambda r, v, s: (v[:, :-1] - r) / s, "The sign is wrong: better than expected must be positive."),
            Mistake(lambda r, v, s: r - v[:, :-1], "The scale is not used."),
            Mistake(
                lambda r, v, s: r / s, "The value is not subtracted: then every action looks good in a good state."
            ),
            Mistake(
                lambda r, v, s: r / s - v[:, :-1],
                "Only the return is divided by the scale. Subtract first, then divide.",
            ),
            Mistake(lambda r, v, s: (r - v[:, :-1]) * s, "The scale multiplies; divide by it."),
            Mistake(
                lambda r, v, s: r - v[:, :-1] / s,
                "Only the value is divided by the scale. Subtract first, then divide: brackets.",
            ),
            Mistake(
                lambda r, v, s: (lambda a: a - a.mean())((r - v[:, :-1]) / s),
                "The mean is subtracted as well. Subtract the value and nothing else.",
            ),
            Mistake(
                lambda r, v, s: (r - v[:, -1:]) / s,
                "The last state's value is subtracted from all; each return has its own value, values[:, t].",
            ),
            Mistake(
                lambda r, v, s: (r - v[:, :-1]) / s.clamp(min=1),
                "The scale already contains the floor of 1; divide by what you are given.",
            ),
            Mistake(
                lambda r, v, s: ((r - v[:, :-1]) / s).clamp(min=0),
                "Bad surprises are cut off at 0. They must stay negative.",
            ),
            Mistake(
                lambda r, v, s: (lambda a: (a - a.mean()) / a.std())(r - v[:, :-1]),
                "This gives each batch mean 0 and standard deviation 1. Subtract only the value, and divide only by "
                "the scale.",
            ),
            Mistake(
                lambda r, v, s: (r - r.mean()) / s,
                "The mean return is subtracted; it should be the value of each state.",
            ),
            Mistake(lambda r, v, s: (r - v[:, :-1]).square() / s, "The difference is squared, so its sign is lost."),
            Mistake(lambda r, v, s: (r - v[:, :-1]) / v[:, :-1], "It is divided by the value. Divide by the scale."),
            Mistake(lambda r, v, s: (r - v[:, :-1]) / s.sqrt(), "It is divided by the root of the scale."),
            Mistake(
                lambda r, v, s: (r - v[:, :-1]) / (s + 1), "1 is added to the scale. Divide by what you are given."
            ),
            Mistake(
                lambda r, v, s: ((r - v[:, :-1]) / s).tanh(),
                "tanh squeezes the advantages between -1 and 1. Leave them as they are.",
            ),
            Mistake(
                lambda r, v, s: (r + v[:, 1:] - v[:, :-1]) / s,
                "The next value is added. The return already contains everything that follows.",
            ),
            Mistake(
                lambda r, v, s: (r - r.mean(1, keepdim=True)) / s,
                "The mean return of each dream is subtracted; it should be the value of each state.",
            ),
            Mistake(
                lambda r, v, s: (lambda a: a / a.std())(r - v[:, :-1]),
                "It is divided by the standard deviation of the differences. Divide by `scale`.",
            ),
            Mistake(
                lambda r, v, s: (r - v[:, :-1]) / v[:, :-1].abs(),
                "It is divided by the value without its sign. Divide by `scale`.",
            ),
            Mistake(
                lambda r, v, s: (r - v[:, :-1]).sign() / s,
                "Only the sign of the difference is used. How much better counts, too.",
            ),
            Mistake(
                lambda r, v, s: ((r - v[:, :-1]) / s).clamp(-10, 10),
                "Advantages beyond ±10 are cut off. Leave them as they are.",
            ),
            Mistake(
                lambda r, v, s: (r - v[:, :-1]) / s if s > 0.1 else r - v[:, :-1],
                "A scale of 0.1 or less is ignored. Always divide by it: it is never 0, since it has a floor.",
            ),
            Mistake(
                lambda r, v, s: (r - v[:, :-1]) / s.clamp(min=0.1),
                "The scale gets a second floor, of 0.1. Divide by what you are given.",
            ),
        ),
        hints=(
            "The return, minus the value expected in that state, in units of the scale.",
            "returns has H entries, values H + 1: the last value belongs to no return.",
            "`return (returns - values[:, :-1]) / scale`",
        ),
    ),
    Exercise(
        "actor_loss",
        actor_loss,
        loss_cases,
        probe=loss_probe,
        letters="NH",
        kept_for="actor:actor_loss",
        mistakes=(
            Mistake(
                lambda l, e, a, w, scale=3e-4: -(w / w.mean()).detach() * (a.detach() * l + scale * e),
                "The weights are divided by their mean. Use them as they are: a dream that ends early counts less.",
            ),
            Mistake(
                lambda l, e, a, w, scale=3e-4: (-w * (a * l + scale * e)).sum() / w.sum(),
                "This is one number, a weighted mean. Keep one loss for each step, (N, H).",
            ),
            Mistake(
                lambda l, e, a, w, scale=3e-4: -w.detach() * (a + scale * e).detach() * l,
                "The entropy is added to the advantage and multiplied by ln π. Make it a term of its own: advantage "
                "· ln π + η · entropy.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach().sign() * l + s * e),
                "Only the sign of the advantage is used. sg means stop-gradient, `.detach()`; how much better "
                "counts, too.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -(w.detach() + 0) * (a.detach() * e + s * l),
                "log_probs and entropies are swapped: advantage · log_prob + η · entropy.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach() * (l + s * e)),
                "The advantage multiplies the bonus as well. It should multiply only the log-probability.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: actor_loss(l, e, a, w, s).sum(),
                "The losses are summed already. Keep (N, H); the mean comes later.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -(a.detach() * l + w.detach() * s * e),
                "Only the entropy bonus is weighted; weight both terms.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach() * (l - l.detach()).exp() + s * e),
                "This is the ratio of PPO. The gradient is that of REINFORCE, but the loss is advantage · ln π.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: w.detach() * (a.detach() * l + s * e),
                "The minus is missing: a loss goes DOWN, and the advantage should go up.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach() * l - s * e),
                "The entropy bonus has the wrong sign: this punishes trying things.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a * l + s * e),
                "The advantage is not detached: the critic would learn to make the actor's loss small.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w * (a.detach() * l + s * e),
                "The weights are not detached: the model would learn to end the dream.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w * (a * l + s * e), "Neither the advantage nor the weights are detached."
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -(a.detach() * l + s * e),
                "The weights are not used: what comes after an imagined end must not count.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * a.detach() * l - s * e,
                "The entropy bonus is not weighted; weight both terms.",
            ),
            Mistake(lambda l, e, a, w, s=3e-4: -w.detach() * a.detach() * l, "The entropy bonus is missing."),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach() * l + e),
                "The entropy is not scaled: at full size it drowns the advantage.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach() * l + 3e-4 * e),
                "The entropy scale is fixed; use the argument.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach() * l.exp() + s * e),
                "The probability is used instead of its logarithm.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * a.detach() * l + s * e,
                "Brackets are missing: the minus sign and the weight apply to the whole sum, the bonus too.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach() * l + s * e.detach()),
                "The entropy is detached: then the bonus teaches nothing.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a * l.detach() + s * e),
                "The wrong factor is detached: log_probs must keep its gradient, the advantage must not.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: actor_loss(l, e, a, w, s).detach(),
                "Everything is detached: no gradient reaches the policy.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach() * l.detach() + s * e),
                "log_probs is detached: it is the one thing that must keep its gradient.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: actor_loss(l, e, a, w, s).mean(),
                "The losses are averaged already. Keep (N, H); the mean comes later.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach().clamp(min=0) * l + s * e),
                "Only good surprises count here. Bad ones must push the action down.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: w.detach() * (a.detach() * l.abs() - s * e),
                "The absolute value of log_probs is used. It is right only for probabilities: ln π of a density "
                "(notebook A3) may be positive.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach().square() * l + s * e),
                "The advantage is squared, so its sign is lost. Use it as it is.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach() * l - s * l),
                "The bonus uses -log_probs of the one action. Use `entropies`.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * ((1 - s) * a.detach() * l + s * e),
                "The advantage is multiplied by 1 - η. The bonus is added to it in full: advantage · ln π + η · "
                "entropy.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach() * l + e / s),
                "The entropy is divided by its scale. Multiply.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach() + l + s * e),
                "Advantage and ln π are added. Multiply them.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: actor_loss(l, e, a, w.cumprod(1), s),
                "The weights are multiplied together once more. They are products already.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: actor_loss(l, e, (a - a.mean()) / (a.std(unbiased=False) + 1e-8), w, s),
                "The advantages are normalised by mean and standard deviation. Use them as they are.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: actor_loss(
                    l, e, (a - a.mean()) / ((a - a.mean()).square().sum() / (a.numel() - 1)).sqrt(), w, s
                ),
                "The advantages are normalised once more, by mean and standard deviation. Use them as they are.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -(a.detach() * l + s * e) / w.detach(),
                "The loss is divided by the weights. Multiply.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * (a.detach() / l + s * e),
                "The advantage is divided by ln π. Multiply.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: actor_loss(l, e, a.clamp(-1, 1), w, s),
                "Advantages beyond ±1 are cut off. Don't clip them.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: actor_loss(l, e, a, w, s).sum(1),
                "The losses of a dream are summed. Keep one for each step, (N, H).",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: -w.detach() * s * (a.detach() * l + e),
                "The entropy scale multiplies the whole bracket. It belongs to the entropy alone.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: actor_loss(l.clamp(min=-5), e, a, w, s),
                "ln π is cut off at -5, so rare actions don't learn. Use it as it is.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: actor_loss(l, e, a, w * 0.99 ** torch.arange(l.shape[1]), s),
                "The discount is applied once more. The weights are products of the continues, which contain it.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: actor_loss(l, e, a, (w > 0).float(), s),
                "Every weight above 0 counts as 1. Multiply by the weights as they are.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: actor_loss(l, e, a, w.round(), s),
                "The weights are rounded to 0 or 1. Use them as they are.",
            ),
            Mistake(
                lambda l, e, a, w, s=3e-4: actor_loss(l, e, a.clamp(-10, 10), w, s),
                "Advantages beyond ±10 are cut off. Use them as they are.",
            ),
        ),
        hints=(
            "Make what went better than expected likelier, what went worse less likely, and stay a little curious. "
            "Weight all of it.",
            "Two terms in the bracket: advantage · log_prob and entropy_scale · entropy. Detach what must not learn "
            "from this: advantages and weights.",
            "`return -weights.detach() * (advantages.detach() * log_probs + entropy_scale * entropies)`",
        ),
    ),
)
