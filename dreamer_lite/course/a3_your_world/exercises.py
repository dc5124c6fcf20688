"""Exercises of notebook A3: a torque's two terms, bounds, an environment's reset and step, three runs that failed."""

from collections.abc import Callable
import math
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from ...actor import BoundedNormal
from ..exercise import Complaint, Exercise, Mistake, gradient, hundredths, kind, normal, uniform
from ..worlds import HiddenCatch


def torque_terms(policy: BoundedNormal, action: Tensor) -> tuple[Tensor, Tensor]:
    """ln π of the action, (..., A) → (...), and the policy's entropy, (...)."""
    return policy.log_prob(action), policy.entropy()


def to_bounds(action: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Actions from the agent's units, -1 … 1, to the environment's, low … high: (..., A), (A), (A) → (..., A).

    What lies beyond -1 and 1 is clipped. The package does this inside `envs.spaces.native_action`.
    """
    return low + (action.clamp(-1, 1) + 1) / 2 * (high - low)


finished_reset, finished_step = (
    HiddenCatch.reset,
    HiddenCatch.step,
)  # these keep their names while your versions stand in


class Torques(BoundedNormal):
    """A policy with this mean and width."""

    def __init__(self, mean: Tensor, std: Tensor):
        self.mode, self.std = mean, std


def torque_cases() -> list[tuple]:
    cases = [(torch.tensor([[0.2]]), torch.tensor([[0.5]]), torch.tensor([[0.8]]))]
    for shape in ((3, 1), (4, 2), (2, 5, 3), (3, 3)):
        cases.append((normal(*shape).clamp(-0.99, 0.99), hundredths(0.1 + 0.9 * uniform(*shape)), normal(*shape)))
    return [(Torques(mean, std), action) for mean, std, action in cases]


def torque_probe(version: Callable, policy: BoundedNormal, action: Tensor) -> dict[str, Any]:
    mean, std = (part.clone().requires_grad_() for part in (policy.mode, policy.std))
    out = version(Torques(mean, std), action)
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise Complaint(f"Two values are expected, `return log_prob, entropy`; yours is {kind(out)}.")
    found = {"the log-probability": out[0], "the entropy": out[1]}
    found |= {f"the gradient of ln π at {name}": gradient(out[0], part) for name, part in (("μ", mean), ("σ", std))}
    return found | {"the gradient of the entropy at σ": gradient(out[1], std)}


def terms(
    policy: BoundedNormal,
    action: Tensor,
    *,
    width: float = 1.0,
    constant: float = 0.5 * math.log(2 * math.pi),
    half: float = 0.5,
    squared: bool = True,
    nats: float = 0.5 + 0.5 * math.log(2 * math.pi),
    growth: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """torque_terms with one thing wrong."""
    gap = action - policy.mode
    z = (gap / policy.std).square() if squared else gap.square() / policy.std
    log_prob = (-half * z - width * policy.std.log() - constant).sum(-1)
    return log_prob, (nats + growth * policy.std.log()).sum(-1)


HALF_LN_2PI = 0.5 * math.log(2 * math.pi)


def in_base(base: float, of_sigma: bool = True, of_constant: bool = True) -> Callable:
    """With another logarithm, of σ or of 2π or of both."""

    def version(policy: BoundedNormal, action: Tensor) -> tuple[Tensor, Tensor]:
        log_std = policy.std.log() / (math.log(base) if of_sigma else 1.0)
        constant = HALF_LN_2PI / (math.log(base) if of_constant else 1.0)
        z = (action - policy.mode) / policy.std
        return (-0.5 * z.square() - log_std - constant).sum(-1), (0.5 + constant + log_std).sum(-1)

    return version


def with_gap(z: Callable) -> Callable:
    """ln π with another gap in units of σ, made from action, mean and width."""
    return changed(lambda p, a, x: (-0.5 * z(a, p.mode, p.std).square() - p.std.log() - HALF_LN_2PI).sum(-1))


def each_log_prob(policy: BoundedNormal, action: Tensor) -> Tensor:
    return -0.5 * ((action - policy.mode) / policy.std).square() - policy.std.log() - HALF_LN_2PI


def each_entropy(policy: BoundedNormal, action: Tensor) -> Tensor:
    return 0.5 + HALF_LN_2PI + policy.std.log()


def wrong_terms(**how: Any) -> Callable:
    return lambda *case: terms(*case, **how)


def changed(log_prob: Callable | None = None, entropy: Callable | None = None) -> Callable:
    """torque_terms with one term changed by a function of policy, action and the right value."""

    def version(policy: BoundedNormal, action: Tensor) -> tuple[Tensor, Tensor]:
        right = torque_terms(policy, action)
        return tuple(f(policy, action, part) if f else part for f, part in zip((log_prob, entropy), right))

    return version


def bounds_cases() -> list[tuple]:
    low, high = torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 10.0])
    cases = [(torch.tensor([[-1.0, -1.0], [0.0, 0.0], [0.5, 3.0]]), low, high)]
    for shape in ((4, 1), (3, 2), (2, 4, 3)):
        low = hundredths(torch.randn(shape[-1]) * 3)
        cases.append((normal(*shape), low, low + hundredths(0.5 + 3 * torch.rand(shape[-1]))))
    return cases


def reset_cases() -> list[tuple]:
    return [(seed,) for seed in (3, 0, 11, 5)]


ONE_THING = "Only the observation comes back. Return two values: the observation and a dictionary, perhaps empty."


NO_INFO = "The second value must be a dictionary; an empty one, `{}`, will do."


def reset_probe(version: Callable, seed: int) -> dict[str, Any]:
    """Four episodes of one environment: twice with the same seed, then twice without, each begun in mid-episode."""
    world, found = HiddenCatch(), {"the first observation": [], "balls caught so far": [], "the paddle": []}
    balls = []
    np.random.seed(seed)
    finished_reset(world, seed=seed + 100)  # there was an episode before
    for given in (seed, seed, None, None):
        out = version(world, seed=given, options=None)
        if isinstance(out, np.ndarray):
            raise Complaint(ONE_THING)
        if not isinstance(out, tuple) or len(out) != 2:
            raise Complaint(f"Two values are expected, `return observation, {{}}`; yours is {kind(out)}.")
        found["the first observation"].append(as_tensor(out[0], "The observation"))
        if not isinstance(out[1], dict):
            raise Complaint(NO_INFO)
        found["balls caught so far"].append(int(getattr(world, "caught", -1)))
        found["the paddle"].append(int(world.paddle))
        balls.append(world.ball)
        world.caught, world.paddle, world.row = 2, 3, 1
    found["whether the same seed gives the same ball"] = balls[0] == balls[1]
    found["whether other balls follow without a seed"] = len(set(balls)) > 1 or balls[2:] == the_balls(seed)
    return found | {"the balls": [int(ball) for ball in balls]}


def the_balls(seed: int) -> list[int]:
    """The balls of a second and a third episode after one with this seed."""
    world = HiddenCatch()
    finished_reset(world, seed=seed)
    return [int(finished_reset(world) and world.ball) for _ in range(2)]


def as_tensor(value: Any, what: str) -> Tensor:
    """An array as a tensor. Raises Complaint for anything else."""
    if not isinstance(value, np.ndarray):
        raise Complaint(f"{what} must be the array that `world.look()` returns; yours is {kind(value)}.")
    if value.dtype.kind != "f":
        raise Complaint(f"{what} holds {value.dtype}; the space declares float32, which `world.look()` returns.")
    return torch.as_tensor(value, dtype=torch.float64)


def fresh_reset(world: HiddenCatch, seed: int | None = None, *, how: str = "") -> tuple[np.ndarray, dict]:
    """reset with one thing wrong."""
    if how == "late":
        world.drop()
    if how == "always":
        seed = seed or 0
    if how in ("fixed", "fixed at 42"):
        seed = 0 if how == "fixed" else 42
    if how == "numpy":
        if seed is not None:
            np.random.seed(seed)
    elif how != "unseeded" and (seed or how != "falsy"):
        gymnasium.Env.reset(world, seed=seed)
    if how != "score":
        world.caught = 0
    old = world.look() if how == "stale" and hasattr(world, "row") else None
    if how == "undropped":
        return world.look(), {}
    if how == "numpy":
        world.row, world.paddle, world.ball = 6, 0, int(np.random.randint(-3, 4))
    elif how == "paddle":
        before = getattr(world, "paddle", 0)
        world.drop()
        world.paddle = before
    elif how == "twice":
        world.drop()
        world.drop()
    elif how != "late":
        world.drop()
    world.ball = 0 if how == "middle" else world.ball
    return world.look() if old is None else old, {}


def wrong_reset(how: str) -> Callable:
    return lambda world, seed=None, options=None: fresh_reset(world, seed, how=how)


class Scripted(HiddenCatch):
    """Its balls come down in given columns, one after the other."""

    def __init__(self, columns: tuple[int, ...]):
        self.columns = list(columns)

    def drop(self) -> None:
        super().drop()
        self.ball, self.columns = self.columns[0], self.columns[1:] + self.columns[:1]


def step_cases() -> list[tuple]:
    """The balls' columns; for each ball the action that is repeated in the lower half, or None: go to its column; and
    `world.balls`."""
    caught, missed = ((2, 1, -1), (2, 1, 0)), ((2, 1, -1), (2, 0, 0))
    edge, all_five = ((-3, 3), (0, 2)), ((3, -3, 0, 2, 1), (2, 0, 1, None, None))
    few = ((1, -2, 0), (None, None, None), 2)  # an environment that stops after two catches
    left = (1, 3), (None, 0)  # a catch, then a miss with the paddle left of the ball
    return [*(case + (5,) for case in (caught, missed, edge, all_five, ((0,), (2,)), left)), few]


def moves_to(column: int, way: int | None) -> list[int]:
    """Seven actions: three while the paddle is locked, three while it is free, and one that brings the next ball."""
    if way is not None:
        return [2, 2, 2, way, way, way, 1]
    side = [1 + int(np.sign(column))] * abs(column)
    return [0, 0, 0, *side, *[1] * (3 - abs(column)), 1]


FOUR_THINGS = (
    "These are four values. gymnasium expects five: observation, reward, terminated, truncated, and a dictionary."
)


NO_FIFTH = "The fifth value must be a dictionary; an empty one, `{}`, will do."


def step_probe(version: Callable, columns: tuple[int, ...], ways: tuple, balls: int) -> dict[str, Any]:
    """An episode, step by step: observations, rewards, how it ended. It runs until the finished version ends it."""
    world, twin = Scripted(columns), Scripted(columns)
    world.balls = twin.balls = balls
    floats = True
    finished_reset(world, seed=0), finished_reset(twin, seed=0)
    names = ("the observations", "the rewards", "whether terminated", "whether truncated")
    found: dict[str, Any] = {name: [] for name in names}
    for action in [action for column, way in zip(columns, ways) for action in moves_to(column, way)]:
        out = version(world, action)
        if isinstance(out, tuple) and len(out) == 4:
            raise Complaint(FOUR_THINGS)
        if not isinstance(out, tuple) or len(out) != 5:
            raise Complaint(
                f"Five values are expected, `return observation, reward, terminated, truncated, {{}}`; yours is "
                f"{kind(out)}."
            )
        if not isinstance(out[4], dict):
            raise Complaint(NO_FIFTH)
        if not all(isinstance(flag, (bool, np.bool_)) for flag in out[2:4]):
            raise Complaint("terminated and truncated must be True or False; gymnasium's check warns about numbers.")
        floats = floats and isinstance(out[1], (float, np.floating))
        for name, part in zip(names, (as_tensor(out[0], "The observation"), *map(float, out[1:4]))):
            found[name].append(part)
        if any(finished_step(twin, action)[2:4]):
            break
    found = {name: (torch.stack if name == names[0] else torch.tensor)(found[name]) for name in names}
    parts = ("the paddle", "the ball that is seen", "whether the ball is seen", "the rows left")
    seen = dict(zip(parts, found.pop("the observations").unbind(1)))
    return seen | found | {"the balls caught": int(world.caught), "whether each reward is a float": float(floats)}


def stepped(world: HiddenCatch, action: int, *, how: str = "", clipped: bool = False) -> tuple:
    """step with one thing wrong."""
    if world.row == 0 and how == "falls at once":
        world.drop()
    if world.row == 0 and how != "no new ball":
        world.drop()
        return world.look(), 1.0 if how == "paid twice" else 0.0, False, False, {}
    before = world.look()
    if how == "falls first":
        world.row -= 1
    free = {"locked too long": world.row < 3, "locked below": world.row >= 3, "never locked": True}
    if how == "put" and world.row <= 3:
        now = action - 1
    elif free.get(how, world.row <= 3):
        now = world.paddle + (action if how == "no left" else 1 - action if how == "mirrored" else action - 1)
    else:
        now = world.paddle
    now = max(-3, min(3, now)) if clipped else now  # on the board, which a right answer never leaves
    if how != "late paddle":
        world.paddle = now
    if how != "falls first" and not (how == "falls while locked" and world.row <= 3):
        world.row -= 1
    landed, below = world.row == (1 if how == "lands early" else 0), world.paddle == world.ball
    if how == "late paddle":
        world.paddle = now
    if how == "near":
        below = abs(world.paddle - world.ball) <= 1
    caught = below if how == "always paid" else landed and below
    world.caught += landed if how == "landings count" else caught if how != "not counted" else 0
    world.caught = int(caught) if how == "set" else world.caught
    reward = {
        "minus": float(caught) - float(landed and not below),
        "steps": 1.0,
        "whole": int(caught),
        "pays the count": float(world.caught),
        "a catch pays the count": float(world.caught * caught),
    }.get(how, float(caught))
    missed, enough = landed and not below, world.caught == (5 if how == "five" else world.balls)
    terminated = {
        "both": missed or enough,
        "swapped": enough,
        "landing": landed,
        "never": False,
        "any miss": not below,
        "both at the end": missed or enough,
    }.get(how, missed)
    truncated = {"swapped": missed, "both": False, "missed too": enough or missed, "no limit": False}.get(how, enough)
    truncated = enough or missed if how == "one flag" else truncated
    terminated = enough or missed if how == "one flag" else terminated
    if how == "drops at landing" and landed and not missed:
        world.drop()
    return before if how == "stale" else world.look(), reward, terminated, truncated, {}


def wrong_step(how: str, clipped: bool = False) -> Callable:
    return lambda world, action: stepped(world, action, how=how, clipped=clipped)


# Three recorded runs that failed, and the possible causes.

CAUSES = {
    "curious": "the entropy bonus is 10,000 times too large",
    "forgetful": "the memory is cleared at every step",
    "sluggish": "the world model's learning rate is 300 times too small",
    "greedy": "there is no entropy bonus, and the return scale is stuck at 1",
    "blind": "the observations are 0",
}
ANSWERS = {"A": "sluggish", "B": "curious", "C": "forgetful"}
WHY_NOT = {
    (
        "A",
        "curious",
    ): "Run A: its policy stays undecided, but look at the losses: the world model hardly learns. In a dream that "
    "knows nothing, an actor can't make up its mind.",
    (
        "A",
        "forgetful",
    ): "Run A: a model without memory still learns what it sees. Here even the reconstruction loss stays high.",
    ("A", "greedy"): "Run A: a greedy actor's entropy falls to 0 at once. Here it stays high.",
    ("A", "blind"): "Run A: zeros are the easiest thing to reconstruct; the loss would be near 0 at once.",
    (
        "B",
        "sluggish",
    ): "Run B: its reconstruction loss falls as in the healthy run. The world model is fine; look at the policy.",
    (
        "B",
        "forgetful",
    ): "Run B: without memory the actor still makes up its mind. Here the policy's entropy stays at its maximum, "
    "ln 3 = 1.10.",
    ("B", "greedy"): "Run B: a greedy actor's entropy falls to 0. Here it stays at its maximum.",
    ("B", "blind"): "Run B: with nothing to see, the reconstruction loss would be near 0 at once.",
    ("C", "sluggish"): "Run C: its reconstruction loss falls, so the world model learns what it sees.",
    ("C", "curious"): "Run C: the policy's entropy falls, so the bonus doesn't hold it up.",
    (
        "C",
        "greedy",
    ): "Run C: a policy that decides too soon does not keep the surprise high. Compare the KL with the healthy run's.",
    ("C", "blind"): "Run C: with nothing to see there would be no surprise. Its KL is the highest of all.",
}


def causes() -> dict[str, str]:
    """What was wrong with each of the three runs: words from CAUSES."""
    return dict(ANSWERS)


def judge_causes(version: Callable) -> str | None:
    try:
        found = version()
    except TypeError as error:
        return f"It is called without arguments and must return a dictionary: {error}."
    if not isinstance(found, dict):
        example = '{"A": "blind", "B": "greedy", "C": "curious"}'
        return f"A dictionary is expected, such as {example}; yours is {kind(found)}."
    named = {str(run).strip().upper(): answer for run, answer in found.items()}
    if not set(ANSWERS) <= set(named):
        return f"It should have an answer for A, B and C; yours has {', '.join(map(str, found)) or 'none'}."
    for run, answer in ANSWERS.items():
        yours = named[run].strip().lower() if isinstance(named[run], str) else named[run]
        if not isinstance(yours, str) or yours not in CAUSES:
            return f'Run {run}: "{named[run]}" is not one of the causes. They are {", ".join(CAUSES)}.'
        if yours != answer:
            return WHY_NOT[run, yours]
    return None


EXERCISES = (
    Exercise(
        "torque_terms",
        torque_terms,
        torque_cases,
        probe=torque_probe,
        mistakes=(
            Mistake(
                lambda p, a: tuple(part(p, a) for part in (each_log_prob, each_entropy)),
                "The last axis is still there: an action of several torques has one ln π, and the policy one entropy. "
                "Sum both over the last axis, -1.",
            ),
            Mistake(
                lambda p, a: (each_log_prob(p, a)[..., 0], each_entropy(p, a)[..., 0]),
                "Only the first torque counts. Sum over the last axis.",
            ),
            Mistake(
                lambda p, a: ((each_log_prob(p, a) + HALF_LN_2PI).sum(-1) - HALF_LN_2PI, p.entropy()),
                "In ln π the constant ½ ln 2π is subtracted only once. Every torque has one: subtract it before the "
                "sum.",
            ),
            Mistake(
                wrong_terms(growth=-1.0),
                "In the entropy ln σ has the wrong sign: the wider the policy, the more undecided.",
            ),
            Mistake(
                changed(lambda p, a, x: each_log_prob(p, a).exp().sum(-1)),
                "This is the density, not its logarithm; and densities of independent torques multiply, they don't add "
                "up.",
            ),
            Mistake(
                wrong_terms(width=0.0),
                "The width is missing in ln π: a narrow policy puts more probability near its middle. Subtract ln σ.",
            ),
            Mistake(
                wrong_terms(width=-1.0),
                "The sign of ln σ is wrong in ln π: a wider policy spreads its probability thinner, so ln σ is "
                "subtracted.",
            ),
            Mistake(
                wrong_terms(constant=0.0),
                "The constant ½ ln 2π = 0.919 is missing in ln π. It has no gradient, but it counts.",
            ),
            Mistake(
                wrong_terms(constant=math.log(2 * math.pi)),
                "In ln π the constant is ½ ln 2π, not ln 2π: the half is missing.",
            ),
            Mistake(wrong_terms(half=1.0), "The factor ½ is missing before the square in ln π."),
            Mistake(
                wrong_terms(squared=False), "In ln π the gap is squared, but σ is not: divide by σ first, then square."
            ),
            Mistake(
                changed(lambda p, a, x: -x), "ln π has the wrong sign. The minus of a loss comes later, in the loss."
            ),
            Mistake(changed(lambda p, a, x: x.exp()), "This is the density, not its logarithm."),
            Mistake(
                changed(lambda p, a, x: Torques(p.mode, p.std).log_prob(a.clamp(-1, 1))),
                "The action is clipped before ln π. A sample beyond 1 has a density of its own; it is clipped only for "
                "the environment.",
            ),
            Mistake(
                changed(lambda p, a, x: Torques(p.mode.tanh(), p.std).log_prob(a)),
                "`policy.mode` is the mean, already bounded; don't apply tanh again.",
            ),
            Mistake(
                changed(lambda p, a, x: Torques(p.mode, p.std.square()).log_prob(a)),
                "`policy.std` is σ itself; you use its square.",
            ),
            Mistake(
                changed(lambda p, a, x: x.sum()),
                "ln π is summed over everything. Sum over the last axis only, the torques of one action.",
            ),
            Mistake(
                changed(lambda p, a, x: x / a.shape[-1]),
                "This is the mean over the torques of an action. Independent densities multiply, so their logarithms "
                "add up: take the sum.",
            ),
            Mistake(
                changed(entropy=lambda p, a, x: -x), "The entropy has the wrong sign: a wider policy is more undecided."
            ),
            Mistake(
                changed(entropy=lambda p, a, x: -p.log_prob(a)),
                "This is -ln π of the one action that was taken. The entropy is the mean of -ln π over all actions, "
                "and has its own formula.",
            ),
            Mistake(
                wrong_terms(nats=0.5 * math.log(2 * math.pi)),
                "In the entropy the ½ is missing: it is ½ + ½ ln 2π + ln σ.",
            ),
            Mistake(wrong_terms(nats=0.5), "In the entropy ½ ln 2π is missing: it is ½ + ½ ln 2π + ln σ."),
            Mistake(wrong_terms(growth=2.0), "In the entropy ln σ counts twice: ½ ln σ² is ln σ."),
            Mistake(wrong_terms(growth=0.0), "The entropy ignores how wide the policy is: ln σ is missing."),
            Mistake(
                changed(entropy=lambda p, a, x: x.clamp(min=0)),
                "The entropy is clipped at 0. A density's entropy may be negative: a narrow density exceeds 1.",
            ),
            Mistake(
                changed(entropy=lambda p, a, x: x.sum()),
                "The entropy is summed over everything. Sum over the last axis only.",
            ),
            Mistake(
                lambda p, a: torque_terms(p, a)[::-1], "The two are in the wrong order: first ln π, then the entropy."
            ),
            Mistake(
                lambda p, a: torque_terms(Torques(p.mode, p.std.sqrt()), a),
                "σ is taken for the variance. `policy.std` is the width itself: the gap is divided by σ and then "
                "squared, and ln σ stands without a half.",
            ),
            Mistake(
                changed(lambda p, a, x: torque_terms(Torques(p.mode, p.std.sqrt()), a)[0]),
                "In ln π, σ is taken for the variance. `policy.std` is the width itself: divide the gap by σ, then "
                "square, and subtract ln σ in full.",
            ),
            Mistake(
                changed(lambda p, a, x: (-0.5 * (a - p.mode) / p.std - p.std.log() - HALF_LN_2PI).sum(-1)),
                "The square is missing in ln π: ½ ((a - μ) / σ)².",
            ),
            Mistake(
                changed(lambda p, a, x: (-0.5 * ((a - p.mode) / p.std).abs() - p.std.log() - HALF_LN_2PI).sum(-1)),
                "In ln π the gap is made positive instead of squared: ½ ((a - μ) / σ)².",
            ),
            Mistake(
                lambda p, a: (
                    (each_log_prob(p, a) + HALF_LN_2PI).sum(-1) - HALF_LN_2PI,
                    0.5 + HALF_LN_2PI + p.std.log().sum(-1),
                ),
                "The constants count only once in both terms. Each torque has its own: add them before the sum over "
                "the last axis.",
            ),
            Mistake(
                lambda p, a: (p.log_prob(a), 0.5 + HALF_LN_2PI + p.std.log().sum(-1)),
                "In the entropy the constants ½ + ½ ln 2π count only once. Every torque has them: add them before the "
                "sum.",
            ),
            Mistake(in_base(10.0), "These are logarithms to base 10. `log` is the natural one."),
            Mistake(in_base(10.0, of_constant=False), "The logarithm of σ is to base 10. `log` is the natural one."),
            Mistake(in_base(10.0, of_sigma=False), "The logarithm of 2π is to base 10. `np.log` is the natural one."),
            Mistake(in_base(2.0), "These are logarithms to base 2. `log` is the natural one."),
            Mistake(in_base(2.0, of_constant=False), "The logarithm of σ is to base 2. `log` is the natural one."),
            Mistake(wrong_terms(width=0.5), "In ln π, ln σ counts only half. The ½ belongs to the square and ln 2π."),
            Mistake(
                lambda p, a: terms(p, a, constant=math.pi, nats=0.5 + math.pi),
                "The constant is ½ · 2π. It should be ½ ln 2π = 0.919.",
            ),
            Mistake(
                lambda p, a: terms(p, a, constant=0.5 * math.log(math.pi), nats=0.5 + 0.5 * math.log(math.pi)),
                "The constant is ½ ln π. It should be ½ ln 2π = 0.919.",
            ),
            Mistake(
                with_gap(lambda a, m, s: (a - m) / s.square()),
                "In ln π the gap is divided by σ², and then squared. Divide by σ.",
            ),
            Mistake(with_gap(lambda a, m, s: (a - m) * s), "In ln π the gap is multiplied by σ. Divide by it."),
            Mistake(
                with_gap(lambda a, m, s: a - m / s), "A bracket is missing in ln π: (a - μ) / σ divides the whole gap."
            ),
            Mistake(
                with_gap(lambda a, m, s: (a - m) / s / math.sqrt(2)),
                "In ln π the half is squared as well. The ½ stands before the square.",
            ),
            Mistake(
                with_gap(lambda a, m, s: a - m),
                "In ln π the gap is not divided by σ. It counts in units of σ: (a - μ) / σ.",
            ),
            Mistake(
                lambda p, a: tuple(part.mean(-1) for part in (each_log_prob(p, a), each_entropy(p, a))),
                "Both are means over the torques. Independent densities multiply, so their logarithms add up, and "
                "entropies too: take sums.",
            ),
            Mistake(
                lambda p, a: tuple(part.sum(0) for part in (each_log_prob(p, a), each_entropy(p, a))),
                "The sums run over the batch, axis 0. Sum over the torques of one action, the last axis.",
            ),
        ),
        hints=(
            "A normal density peaks at its mean, falls with the squared distance in units of σ, and is higher the "
            "narrower it is. Both answers are sums over the last axis.",
            "ln π = -½ ((a - mean) / σ)² - ln σ - ½ ln 2π, and entropy = ½ + ½ ln 2π + ln σ. `np.log(2 * np.pi)` is a "
            "plain number.",
            "`z = (action - policy.mode) / policy.std`, `log_prob = (-0.5 * z**2 - policy.std.log() - 0.5 * np.log(2 * "
            "np.pi)).sum(-1)`, `entropy = (policy.std.log() + 0.5 + 0.5 * np.log(2 * np.pi)).sum(-1)`, `return "
            "log_prob, entropy`",
        ),
    ),
    Exercise(
        "to_bounds",
        to_bounds,
        bounds_cases,
        mistakes=(
            Mistake(
                lambda a, l, h: l + (a + 1) / 2 * (h - l),
                "Nothing is clipped: an action of 3 would leave the bounds. The policy's samples are not limited to -1 "
                "… 1.",
            ),
            Mistake(
                lambda a, l, h: a.clamp(-1, 1) * h,
                "This is right only where low is -high. The middle of the bounds is (low + high) / 2.",
            ),
            Mistake(
                lambda a, l, h: l + a.clamp(-1, 1) * (h - l),
                "-1 would land below low: bring the action to 0 … 1 first, (action + 1) / 2.",
            ),
            Mistake(
                lambda a, l, h: l + (a.clamp(-1, 1) + 1) * (h - l),
                "The half is missing: from -1 to 1 is a distance of 2.",
            ),
            Mistake(
                lambda a, l, h: l + a.clamp(0, 1) * (h - l),
                "You clip to 0 … 1, but an action runs from -1 to 1: everything below 0 would become low.",
            ),
            Mistake(
                lambda a, l, h: a.clamp(-1, 1) * (h - l) / 2,
                "The width is right, but the middle is at 0. Add (low + high) / 2.",
            ),
            Mistake(
                lambda a, l, h: h + (a.clamp(-1, 1) + 1) / 2 * (l - h), "Low and high are swapped: -1 stands for low."
            ),
            Mistake(
                lambda a, l, h: (l + h) / 2 + a.clamp(-1, 1) * (h - l),
                "The width is twice too large: from the middle to each bound it is half of high - low.",
            ),
            Mistake(
                lambda a, l, h: (l + h) / 2 + a * (h - l),
                "Two things: nothing is clipped, and from the middle to each bound it is only HALF of high - low.",
            ),
            Mistake(
                lambda a, l, h: l + (a.tanh() + 1) / 2 * (h - l),
                "tanh never reaches the bounds, and it changes actions in the middle too. Clip instead.",
            ),
            Mistake(
                lambda a, l, h: l + a.sigmoid() * (h - l),
                "sigmoid never reaches the bounds: 1 would give 73 % of the way. Clip, then shift and stretch.",
            ),
            Mistake(
                lambda a, l, h: torch.minimum(torch.maximum(a, l), h),
                "This clips to the bounds but doesn't stretch: an action of 1 should be high.",
            ),
            Mistake(
                lambda a, l, h: (l + (a + 1) / 2 * (h - l)).clamp(-1, 1),
                "You clip to -1 … 1 in the environment's units. Clip the agent's action, or clip to low and high.",
            ),
            Mistake(
                lambda a, l, h: l + (a.clamp(max=1) + 1) / 2 * (h - l),
                "Only the upper end is clipped: an action below -1 would leave the bounds at `low`.",
            ),
            Mistake(
                lambda a, l, h: l + (a.clamp(min=-1) + 1) / 2 * (h - l),
                "Only the lower end is clipped: an action above 1 would leave the bounds at `high`.",
            ),
            Mistake(
                lambda a, l, h: l + (torch.minimum(torch.maximum(a, l), h) + 1) / 2 * (h - l),
                "The action is clipped to low … high before it is stretched. It is in the agent's units: clip it to "
                "-1 … 1.",
            ),
            Mistake(
                lambda a, l, h: (l + (a + 1) / 2 * (h - l)).clamp(float(l.min()), float(h.max())),
                "The result is clipped to the smallest and the largest of all bounds. Each number has its own bounds; "
                "clip the action to -1 … 1.",
            ),
            Mistake(lambda a, l, h: (2 * a).clamp(-2, 2), "The bounds are fixed at -2 and 2; use `low` and `high`."),
            Mistake(
                lambda a, l, h: l[0] + (a.clamp(-1, 1) + 1) / 2 * (h[0] - l[0]),
                "The first number's bounds are used for all. `low` and `high` have one entry for each.",
            ),
            Mistake(
                lambda a, l, h: l + (a / a.abs().max() + 1) / 2 * (h - l),
                "The actions are divided by the largest of them, so each depends on the others. Clip to -1 … 1.",
            ),
            Mistake(
                lambda a, l, h: (h + l) / 2 * a.clamp(-1, 1) + (h - l) / 2,
                "Middle and half width are exchanged: (low + high) / 2 is added, (high - low) / 2 multiplies.",
            ),
            Mistake(
                lambda a, l, h: l + (a.clamp(-1, 1) + 1) / 2 * h, "It is stretched by `high`. The width is high - low."
            ),
        ),
        hints=(
            "Three steps: clip, bring -1 … 1 to 0 … 1, then to low … high.",
            "`action.clamp(-1, 1)`; add 1 and halve; times the width, plus low.",
            "`return low + (action.clamp(-1, 1) + 1) / 2 * (high - low)`",
        ),
    ),
    Exercise(
        "reset",
        HiddenCatch.reset,
        reset_cases,
        probe=reset_probe,
        given=("seed",),
        itself="world",
        mistakes=(
            Mistake(
                wrong_reset("unseeded"),
                "The seed is not used, so no episode can be repeated. Call `gymnasium.Env.reset(world, seed=seed)`.",
            ),
            Mistake(
                wrong_reset("always"),
                "Without a seed it uses 0 each time, so every episode is the same. Pass the seed on as it is; with "
                "None the random generator just continues.",
            ),
            Mistake(wrong_reset("fixed"), "It always uses seed 0, whatever seed is given. Pass the seed on as it is."),
            Mistake(
                wrong_reset("numpy"),
                "This seeds or uses numpy's global random generator, which everyone shares. An environment has its "
                "own, `world.np_random`: `drop` uses it, and `gymnasium.Env.reset` seeds it.",
            ),
            Mistake(
                wrong_reset("late"),
                "The ball drops before the generator is seeded, so the seed doesn't decide its column.",
            ),
            Mistake(
                wrong_reset("score"),
                "`world.caught` is not reset to 0: the catches of the last episode would count in this one.",
            ),
            Mistake(
                wrong_reset("paddle"),
                "The paddle stays where the last episode left it. `world.drop()` puts it back; nothing should move it "
                "afterwards.",
            ),
            Mistake(
                wrong_reset("stale"),
                "It looks before the new ball drops, so the first observation is from the last episode.",
            ),
            Mistake(wrong_reset("twice"), "Two balls drop, and the first is never seen."),
            Mistake(lambda world, seed=None, options=None: finished_reset(world, seed=seed)[0], ONE_THING),
            Mistake(lambda world, seed=None, options=None: (finished_reset(world, seed=seed)[0], None), NO_INFO),
            Mistake(
                wrong_reset("falsy"),
                "`if seed:` is false for the seed 0, too, so that seed is never used. Pass the seed on as it is, or "
                "ask `if seed is not None`.",
            ),
            Mistake(wrong_reset("fixed at 42"), "It always uses the seed 42. Pass on the seed that is given."),
            Mistake(
                wrong_reset("undropped"),
                "No new ball drops: the episode begins with what the last one left. Call `world.drop()`.",
            ),
            Mistake(wrong_reset("middle"), "The ball is always in the middle. `world.drop()` chooses its column."),
        ),
        hints=(
            "Four steps: seed the generator, count from 0, drop a ball, look.",
            "`gymnasium.Env.reset(world, seed=seed)` comes first. `world.drop()` and `world.look()` do the rest. "
            "Return the observation and an empty dictionary.",
            "`gymnasium.Env.reset(world, seed=seed)`, `world.caught = 0`, `world.drop()`, `return world.look(), {}`",
        ),
    ),
    Exercise(
        "step",
        HiddenCatch.step,
        step_cases,
        probe=step_probe,
        given=("the balls' columns", "the moves", "world.balls"),
        itself="world",
        mistakes=(
            Mistake(
                wrong_step("both"),
                "After five balls it says terminated. But the rules don't end the game there, we just stop: that is "
                "truncated, and the future still has a value.",
            ),
            Mistake(
                wrong_step("swapped"),
                "Terminated and truncated are swapped: a miss ends the game by its rules; five balls are only our "
                "limit.",
            ),
            Mistake(wrong_step("missed too"), "A miss is terminated AND truncated. It should be terminated only."),
            Mistake(wrong_step("landing"), "Every landing ends the game. Only a ball that is missed does."),
            Mistake(wrong_step("never"), "A miss doesn't end the game."),
            Mistake(
                wrong_step("any miss"),
                "The game ends as soon as the paddle is not below the ball, even while the ball is still falling.",
            ),
            Mistake(
                wrong_step("no limit"),
                "It doesn't stop once `world.balls` balls are caught: that step should be truncated.",
            ),
            Mistake(wrong_step("not counted"), "`world.caught` never grows, so the game never reaches its limit."),
            Mistake(
                wrong_step("always paid"),
                "It pays for every step in which the paddle is below the ball. Only a landing pays.",
            ),
            Mistake(wrong_step("steps"), "It pays 1 for every step. Only a caught ball pays."),
            Mistake(wrong_step("minus"), "A miss costs 1 here; in this game it pays 0, and ends."),
            Mistake(
                wrong_step("paid twice"),
                "The step that brings the new ball pays, too. A caught ball pays once, when it lands.",
            ),
            Mistake(
                wrong_step("no left"),
                "The action is 0, 1 or 2, for left, stay and right: the paddle moves by action - 1.",
            ),
            Mistake(
                wrong_step("mirrored"), "Left and right are swapped: action 0 moves to the left, to smaller numbers."
            ),
            Mistake(
                wrong_step("never locked"),
                "The paddle moves in the upper half, too. It is locked while `world.row` is above 3.",
            ),
            Mistake(
                wrong_step("locked too long"),
                "The paddle is locked one row too long: it is free while `world.row` is 3, 2 or 1, so `<= 3`.",
            ),
            Mistake(
                wrong_step("falls first"),
                "The ball falls before the paddle moves, so the paddle is free one row too early. First the paddle, "
                "then the ball.",
            ),
            Mistake(
                wrong_step("falls at once"),
                "A new ball falls a row in the same step that drops it. That step should only drop it and look.",
            ),
            Mistake(
                wrong_step("drops at landing"),
                "The next ball drops in the step of the landing, so nobody sees the last one land. It drops one step "
                "later.",
            ),
            Mistake(
                wrong_step("falls while locked"),
                "The ball stops falling in the lower half. It falls one row in every step.",
            ),
            Mistake(
                wrong_step("late paddle"), "The ball is compared with the place where the paddle was BEFORE it moved."
            ),
            Mistake(wrong_step("near"), "A ball beside the paddle counts as caught. It must be the same column."),
            Mistake(
                wrong_step("no new ball"),
                "After a landing no new ball drops, and the row becomes -1. First test whether `world.row` is 0.",
            ),
            Mistake(wrong_step("stale"), "The observation is from before the step. Call `world.look()` at the end."),
            Mistake(lambda world, action: finished_step(world, action)[:3] + ({},), FOUR_THINGS),
            Mistake(wrong_step("five"), "The limit is fixed at 5; use `world.balls`."),
            Mistake(
                wrong_step("whole"), "Not every reward is a float. gymnasium expects one in every step: 0.0 or 1.0."
            ),
            Mistake(
                wrong_step("pays the count"),
                "The reward is `world.caught`, the catches so far, in every step. A catch pays 1, any other step 0.",
            ),
            Mistake(
                wrong_step("a catch pays the count"),
                "A catch pays `world.caught`, the catches so far. It should pay 1.",
            ),
            Mistake(
                wrong_step("both at the end"),
                "After the last catch both flags are true. We just stop there: truncated only.",
            ),
            Mistake(
                wrong_step("one flag"),
                "Both flags are always the same. A miss is terminated only, and the last catch truncated only.",
            ),
            Mistake(
                wrong_step("landings count"),
                "`world.caught` grows at every landing. A ball that is missed is not caught.",
            ),
            Mistake(wrong_step("set"), "`world.caught` is set to 1 or 0 instead of growing: `+=`."),
            Mistake(
                wrong_step("locked below"),
                "The comparison is the wrong way round: the paddle is locked in the upper half, and free while "
                "`world.row` is 3 or less.",
            ),
            Mistake(wrong_step("put"), "The paddle is put at `action - 1`. It moves BY `action - 1`: `+=`."),
            Mistake(lambda world, action: finished_step(world, action)[:4] + (None,), NO_FIFTH),
            Mistake(wrong_step("lands early"), "The ball lands one row too early: it lands where `world.row` is 0."),
            Mistake(
                wrong_step("never locked", clipped=True),
                "The paddle moves in the upper half, too. It is locked while `world.row` is above 3. "
                "(The clipping does no harm.)",
            ),
            Mistake(
                wrong_step("no left", clipped=True),
                "The action is 0, 1 or 2, for left, stay and right: the paddle moves by action - 1. "
                "(The clipping does no harm.)",
            ),
            Mistake(
                wrong_step("falls first", clipped=True),
                "The ball falls before the paddle moves, so the paddle is free one row too early. First the "
                "paddle, then the ball. (The clipping does no harm.)",
            ),
            Mistake(
                wrong_step("locked below", clipped=True),
                "The comparison is the wrong way round: the paddle is locked in the upper half, and free "
                "while `world.row` is 3 or less. (The clipping does no harm.)",
            ),
        ),
        hints=(
            "First: has the last ball landed? Then this step only brings the next one. Otherwise the paddle moves, the "
            "ball falls, and a landing decides.",
            "`landed = world.row == 0` after the fall. A miss is terminated, `world.caught == world.balls` is "
            "truncated.",
            "`if world.row == 0:\n    world.drop()\n    return world.look(), 0.0, False, False, {}`, `if world.row <= "
            "3:\n    world.paddle += action - 1`, `world.row -= 1`, `landed, below = world.row == 0, world.paddle == "
            "world.ball`, `world.caught += landed and below`, `return world.look(), float(landed and below), landed "
            "and not below, world.caught == world.balls, {}`",
        ),
    ),
    Exercise(
        "causes",
        causes,
        lambda: [()],
        judge=judge_causes,
        mistakes=tuple(
            Mistake(lambda run=run, wrong=wrong: ANSWERS | {run: wrong}, words)
            for (run, wrong), words in WHY_NOT.items()
        ),
        hints=(
            "Go through the table of notebook 10 from the top: does the model learn, does the actor decide, is there "
            "surprise that never goes away?",
            "Compare each run's reconstruction loss, surprise and entropy with the healthy run's. One panel differs in "
            "A, one in B, one in C.",
            f"`return {ANSWERS}`",
        ),
    ),
)
