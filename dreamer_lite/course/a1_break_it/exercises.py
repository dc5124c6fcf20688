"""Exercises of notebook A1: an action's row, the returns that followed, ranges, the clinic, and a Dreamer to mend."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...actor import ReturnScale
from ...critic import lambda_return
from ...diagnostics.measures import action_pairs, real_returns
from ...imagination import step_weights
from ...latents import kl, unimix
from ...rssm import gru
from ...symlog import symexp, symlog
from ...world_model import kl_losses
from ..exercise import Complaint, Exercise, Mistake, dice, hundredths, kind, normal, uniform
from ..sandbox import copied, unchanged
from . import small_dreamer
from .clinic import HUNTED, NAMES, PATIENTS, tally


def pair_cases() -> list[tuple]:
    cases = []
    for k, (L, O, A) in enumerate(((8, 2, 2), (14, 3, 2), (20, 4, 3), (12, 2, 3), (9, 1, 2))):
        is_first = torch.zeros(L, dtype=torch.bool)
        is_first[[0, L // 2]] = torch.tensor([k < 3, True])  # a recording may begin in the middle of an episode
        obs = torch.tensor([[float(t), 10.0 * t * t] for t in range(L)]) if k == 0 else normal(L, O, size=2)
        cases.append(
            (
                obs,
                torch.eye(A)[torch.randint(A, (L,))] * torch.arange(1, L + 1)[:, None],
                is_first,
                (0, 1, -1, 0, -1)[k],
            )
        )
    return cases


def pairs_as(version: Callable, obs: Tensor, action: Tensor, is_first: Tensor, shift: int) -> dict:
    found = three(version(obs, action, is_first, shift), "the observation before, the change, the action")
    return dict(zip(("the observation before", "the change", "the action"), found))


def three(found: object, what: str) -> tuple:
    """The found values, if they are three."""
    if not isinstance(found, (tuple, list)) or len(found) != 3:
        raise Complaint(f"Three values are expected, as `return a, b, c`: {what}. Yours is {kind(found)}.")
    return tuple(found)


def pairs_with(
    before: int = -1, after: int = 0, sign: int = 1, kept: tuple[int, ...] = (-1, 0, 1), take: str = "good"
) -> Callable:
    """A version with another row in one place."""

    def version(obs, action, is_first, shift):
        row = torch.arange(1, len(obs) - 1)
        border = (
            torch.stack([is_first[row + k] for k in kept]).any(0) if kept else torch.zeros_like(row, dtype=torch.bool)
        )
        row = row[~border if take == "good" else border]
        return (
            obs[row + before],
            obs[row + after] - obs[row + before] if sign > 0 else obs[row + before] - obs[row + after],
            action[row + shift],
        )

    return version


def dropped_first(obs: Tensor, action: Tensor, is_first: Tensor, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    """First rows are dropped before the differences are taken."""
    seen, taken = obs[~is_first], action[~is_first]
    row = torch.arange(1, len(seen) - 1)
    return seen[row - 1], seen[row] - seen[row - 1], taken[row + shift]


def until_the_end(obs: Tensor, action: Tensor, is_first: Tensor, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    """The last row is kept, too."""
    row = torch.arange(1, len(obs))
    row = row[~(is_first[row - 1] | is_first[row] | is_first[(row + 1).clamp(max=len(obs) - 1)])]
    return obs[row - 1], obs[row] - obs[row - 1], action[(row + shift).clamp(max=len(obs) - 1)]


def blanked(obs: Tensor, action: Tensor, is_first: Tensor, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows beside a border are set to zero instead of being left out."""
    row = torch.arange(1, len(obs) - 1)
    good = ~(is_first[row - 1] | is_first[row] | is_first[row + 1])[:, None]
    return obs[row - 1] * good, (obs[row] - obs[row - 1]) * good, action[row + shift] * good


def one_and_shifted(obs: Tensor, action: Tensor, is_first: Tensor, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    """Only the row itself and the row of the action are tested for a border."""
    row = torch.arange(1, len(obs) - 1)
    row = row[~(is_first[row] | is_first[row + shift])]
    return obs[row - 1], obs[row] - obs[row - 1], action[row + shift]


def wrapped(obs: Tensor, action: Tensor, is_first: Tensor, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    """With `roll`, and without leaving out the first and the last row."""
    good = ~(is_first.roll(1) | is_first | is_first.roll(-1))
    return obs.roll(1, 0)[good], (obs - obs.roll(1, 0))[good], action.roll(-shift, 0)[good]


def shifted_afterwards(wrap: bool) -> Callable:
    """The rows of the actions are chosen first, and shifted then."""

    def version(obs, action, is_first, shift):
        before, change, own = pairs_with()(obs, action, is_first, 0)
        row = (torch.arange(len(own)) + shift) % len(own)
        return before, change, own[row if wrap else (torch.arange(len(own)) + shift).clamp(0, len(own) - 1)]

    return version


def differences_afterwards(obs: Tensor, action: Tensor, is_first: Tensor, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    before, change, taken = pairs_with()(obs, action, is_first, shift)
    own = before + change
    return before, torch.diff(own, dim=0, prepend=own[:1]), taken


def whole_table(version: Callable) -> Callable:
    """From a version for the row itself, one that keeps rows 1 to the last."""

    def longer(obs, action, is_first, shift):
        row = torch.arange(1, len(obs))
        row = row[~version(is_first, row)]
        return obs[row - 1], obs[row] - obs[row - 1], action[(row + shift).clamp(max=len(obs) - 1)]

    return longer


def return_cases() -> list[tuple]:
    no, yes = False, True
    by_hand = (
        torch.tensor([[0.0, 1.0, 1.0, 1.0, 0.0, 1.0]]),
        torch.tensor([[5.0, 6.0, 7.0, 8.0, 4.0, 2.0]]),
        torch.tensor([[no, no, no, yes, no, no]]),
        torch.tensor([[no, no, no, yes, no, no]]),
        0.5,
    )
    cases = [by_hand]
    for E, T in ((1, 6), (2, 9), (3, 7), (4, 5), (2, 12)):
        is_last = torch.rand(E, T) < 0.25
        is_last[0, T // 2], is_last[-1, T - 2] = True, True
        is_terminal = is_last & (torch.rand(E, T) < 0.5)
        is_terminal[0, T // 2], is_terminal[-1, T - 2] = True, False
        if E == 3:  # the recording stops at a terminal row, at a time limit, in mid-episode
            is_last[:, -1], is_terminal[:, -1] = torch.tensor([True, True, False]), torch.tensor([True, False, False])
        cases.append((normal(E, T), normal(E, T, size=5), is_last, is_terminal, 0.9))
    return cases


def came(
    r,
    v,
    last,
    terminal,
    gamma,
    *,
    reward=1,
    cut="value",
    stop=True,
    after=0.0,
    tail="value",
    time=1,
    flag=1,
    only=None,
    early=0,
    paid=1.0,
    end=True,
    lost=False,
):
    """real_returns, with another choice in one place."""
    then, out = (v[:, -1] if tail == "value" else torch.zeros_like(v[:, -1])), []
    for t in reversed(range(r.shape[1] - 1)):
        if cut == "value":
            then = torch.where(last[:, t + flag], v[:, t + time], then)
        elif cut == "zero":
            then = torch.where(last[:, t + 1], 0.0, then)
        ends = stop and (end or t + 2 < r.shape[1])
        ahead = torch.where(terminal[:, t + flag], 0.0, then) if ends else then
        then = paid * r[:, t + reward] + gamma * ahead
        then = torch.where(last[:, t + 1], ahead, then) if lost else then
        over = (last if only is None else only)[:, t + early]
        out.append(torch.where(over, after, then) if after is not None else then)
    return torch.stack(out[::-1], 1)


def tally_cases() -> list[tuple]:
    healthy, sick = torch.tensor([0.5, 1.0, 1.5, 2.0]), torch.tensor([0.2, 0.5, 3.0, float("nan")])
    endless = torch.tensor([1.0, float("inf")]), torch.tensor([float("inf"), float("-inf"), 1.0]), 0.5, 1.5
    cases = [(healthy, sick, 0.5, 1.5), endless]
    for n, m in ((5, 3), (4, 8), (10, 10)):
        a, b = hundredths(uniform(n) * 2), hundredths(uniform(m) * 4 - 1)
        a[0], b[0], a[1], b[1], b[2] = 0.5, 1.5, float("nan"), 1.75, 0.25
        cases.append((a, b, 0.5, 1.5))
    shifted = torch.tensor([-1.0, 0.25, 1.0, 2.0]), torch.tensor([-0.5, 0.5, 1.25, 2.0, float("nan")])
    return [*cases, (*shifted, -0.5, 1.0)]  # another range, with values on both of its edges


def counts(version: Callable, *case) -> dict:
    found = three(version(*case), "found, missed, false alarms")
    return {name: torch.as_tensor(float(part)) for name, part in zip(("found", "missed", "false alarms"), found)}


def outside(values: Tensor, low: float, high: float) -> Tensor:
    return (values < low) | (values > high)


def total(flags: Tensor) -> int:
    return int(flags.sum())


SIGNS = (  # what a patient with the bug of this number shows
    "A healthy patient resembles the twin in all ten checks.",
    "With bug 1 the action of the row before explains the changes (alignment).",
    "With bug 2 an observation changes states of the next episode (causality).",
    "With bug 3 episodes cut off by a time limit are stored as terminal (alignment).",
    "With bug 4 the λ-returns of a dream differ from those computed by hand, but its weights agree (by_hand).",
    "With bug 5 dyn trains more than the prior and the recurrent network (flow).",
    "With bug 6 dyn does not rise with the KL of a step (free_nats).",
    "With bug 7 the return scale never leaves its initial value (curves).",
    "With bug 8 the critic never promises more than 10, however large the return (returns).",
    "With bug 9 the arrow of the entropy bonus points down (curves).",
    "With bug 10 the weights of a dream differ from those computed by hand (by_hand).",
)
ENOUGH = 7


def diagnoses() -> dict[str, int]:
    """The number of each patient's bug, B to K."""
    return {letter: PATIENTS[letter] for letter in HUNTED}


def refuted(letter: str, number: int) -> str:
    return f"Not {number} for {letter}. {SIGNS[number]} Is that what you saw?"


def whole(number: object) -> object:
    """3 for 3.0, or for a whole number of NumPy or PyTorch; anything else as it is."""
    if isinstance(number, bool):
        return number
    try:
        return int(number) if not isinstance(number, str) and int(number) == number else number
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return number


def judge_diagnoses(version: Callable) -> str | None:
    try:
        found = version()
    except TypeError as error:
        return f"It is called without arguments and must return a dictionary: {error}."
    if not isinstance(found, dict):
        return f'A dictionary is expected, such as {{"B": 3, "C": 0}}; yours is {kind(found)}.'
    named = {str(letter).strip().upper(): whole(number) for letter, number in found.items() if number is not None}
    if named.get("A", PATIENTS["A"]) != PATIENTS["A"]:
        return f"Not {named['A']} for A: the notebook found bug {PATIENTS['A']} there. You may leave A out."
    strange = [letter for letter in found if str(letter).strip().upper() not in PATIENTS]
    found = {letter: number for letter, number in named.items() if letter in [*HUNTED]}
    if strange and len(found) < ENOUGH:
        return f"There is no patient {strange[0]!r} to name; the patients are B to K."
    for letter, number in found.items():
        if isinstance(number, bool) or not isinstance(number, int) or number not in range(len(NAMES)):
            return (
                f"Patient {letter}: {number!r} is not on the list. Its numbers run from 0, healthy, to "
                f"{len(NAMES) - 1}, without quotation marks."
            )
    wrong = [letter for letter in HUNTED if letter in found and found[letter] != PATIENTS[letter]]
    if wrong:
        more = f" {len(wrong) - 1} more of your answers {'is' if len(wrong) == 2 else 'are'} wrong." * (len(wrong) > 1)
        return refuted(wrong[0], found[wrong[0]]) + more
    if not found:
        return f'It names no patient yet. One is a letter and a number: `{{"B": 3}}`. {ENOUGH} right ones are enough.'
    if len(found) < ENOUGH:
        return f"{len(found)} of {len(HUNTED)} are named, and all of these are right. Keep going: {ENOUGH} are enough."
    return None


def change_zeroed(obs: Tensor, action: Tensor, is_first: Tensor, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    row = torch.arange(1, len(obs) - 1)
    border = is_first[row - 1] | is_first[row] | is_first[row + 1]
    return obs[row - 1], torch.where(border[:, None], 0.0, obs[row] - obs[row - 1]), action[row + shift]


def border_of_the_action(obs: Tensor, action: Tensor, is_first: Tensor, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    row = torch.arange(1, len(obs) - 1)
    row = row[~(is_first[row - 1] | is_first[row] | is_first[row + shift])]
    return obs[row - 1], obs[row] - obs[row - 1], action[row + shift]


def undiscounted_value(r: Tensor, v: Tensor, last: Tensor, terminal: Tensor, gamma: float) -> Tensor:
    return came(r, v / gamma, last, terminal, gamma)


def forwards(r: Tensor, v: Tensor, last: Tensor, terminal: Tensor, gamma: float) -> Tensor:
    out = torch.cat([torch.zeros_like(r[:, 1:]), v[:, -1:]], 1)
    for t in range(r.shape[1] - 1):
        then = torch.where(last[:, t + 1], v[:, t + 1], out[:, t + 1])
        out[:, t] = torch.where(last[:, t], 0.0, r[:, t + 1] + gamma * torch.where(terminal[:, t + 1], 0.0, then))
    return out[:, :-1]


def mended() -> dict[str, Callable]:
    """The functions of the small Dreamer that have a mistake, without it."""
    return {"gru": gru, "lambda_return": lambda_return, "return_scale": scales_of}


def scales_of(batches: list[Tensor], rate: float, limit: float, low: float, high: float) -> list[Tensor]:
    scale = ReturnScale(rate, limit, low, high)
    return [scale.update(batch) for batch in batches]


def mended_cases(rate: float, limit: float, low: float, high: float, lam: float) -> dict[str, tuple]:
    """Arguments for each function of the small Dreamer."""
    x, p, q = normal(5, size=3), dice(2, 3, 4), dice(2, 3, 4)
    dream = normal(3, 5), uniform(3, 5), normal(3, 5, size=9), normal(3, size=9)
    return {
        "symlog": (x,),
        "symexp": (x,),
        "unimix": (normal(2, 3, 4),),
        "kl": (p, q),
        "kl_losses": (p, q),
        "gru": tuple(normal(2, 6) for _ in range(4)),
        "lambda_return": (*dream, lam),
        "step_weights": (uniform(3, 5),),
        "return_scale": ([normal(40, size=size) for size in (0.1, 2.0, 50.0, 3.0)], rate, limit, low, high),
    }


FINISHED = dict(
    symlog=symlog,
    symexp=symexp,
    unimix=unimix,
    kl=kl,
    kl_losses=kl_losses,
    gru=gru,
    lambda_return=lambda_return,
    step_weights=step_weights,
    return_scale=scales_of,
)


def judge_mended(version: Callable) -> str | None:
    """Whether all functions of the small Dreamer compute what the package's do, with those that are returned."""
    found = version()
    if not isinstance(found, dict):
        return f'A dictionary is expected, such as {{"kl": my_kl}}; yours is {kind(found)}.'
    for name, function in found.items():
        if name not in FINISHED:
            return f"The small Dreamer has no function {name!r}; it has {', '.join(FINISHED)}."
        if not callable(function):
            return f"{name}: the function itself is expected, without calling it; yours is {kind(function)}."
    functions = small_dreamer.FUNCTIONS | found
    settings = (0.1, 1.0, 0.05, 0.95, 0.8), (0.3, 2.0, 0.1, 0.8, 0.5)
    for name, case in [pair for numbers in settings for pair in mended_cases(*numbers).items()]:
        try:
            yours = functions[name](*(given := copied(case)))
        except Exception as error:
            return f"{name} raised {type(error).__name__}: {error}"
        if not unchanged(given, case):
            return f"{name} writes into its input, which other code still needs. Make a new tensor, or a `.clone()`."
        if not same_numbers(yours, FINISHED[name](*copied(case))):
            return f"{name} is {'still ' * (name not in found)}off. The table above says why; mend it and return it."
    return None


def same_numbers(yours: Any, right: Any) -> bool:
    if isinstance(right, (list, tuple)):
        return isinstance(yours, (list, tuple)) and len(yours) == len(right) and all(map(same_numbers, yours, right))
    yours, right = torch.as_tensor(yours).double(), right.double()
    return yours.shape == right.shape and torch.allclose(yours, right, 1e-4, 1e-6)


EXERCISES = (
    Exercise(
        "action_pairs",
        action_pairs,
        pair_cases,
        probe=pairs_as,
        given=("obs", "action", "is_first", "shift"),
        mistakes=(
            Mistake(
                pairs_with(kept=()),
                "Rows beside a border are included. There the change is the jump to a new episode, which no action "
                "explains.",
            ),
            Mistake(
                pairs_with(kept=(0,)),
                "Only the row itself is tested. The row before and the row after may begin an episode, too.",
            ),
            Mistake(
                pairs_with(kept=(0, 1)),
                "The row BEFORE may begin an episode: no action led to it, and with shift = -1 its zeros would be "
                "used.",
            ),
            Mistake(
                pairs_with(kept=(-1, 0)), "The row AFTER may begin an episode: with shift = 1 its action would be used."
            ),
            Mistake(
                pairs_with(take="bad"),
                "The mask is inverted: this keeps the rows beside a border. `~` inverts it back.",
            ),
            Mistake(
                pairs_with(before=0, after=1),
                "One row too late: the change of a row is from the row BEFORE to the row itself.",
            ),
            Mistake(pairs_with(after=1), "This is the change over two rows. Take obs[row] - obs[row - 1]."),
            Mistake(
                pairs_with(before=0, after=-1),
                "The first result should be the observation BEFORE the row, and the change leads from there to the "
                "row.",
            ),
            Mistake(pairs_with(sign=-1), "The change has the wrong sign: the row minus the row before."),
            Mistake(
                lambda o, a, f, s: pairs_with()(o, a, f, -s),
                "It looks for the action on the wrong side: shift = 1 is the row AFTER, action[row + shift].",
            ),
            Mistake(
                lambda o, a, f, s: pairs_with()(o, a, f, 0),
                "`shift` is not used: the action is always that of the row itself.",
            ),
            Mistake(
                lambda o, a, f, s: pairs_with()(o, a.roll(1, 0), f, s),
                "The shift is counted from the row BEFORE. It is counted from the row itself: action[row + shift].",
            ),
            Mistake(
                lambda o, a, f, s: (lambda b, c, x: (b + c, c, x))(*pairs_with()(o, a, f, s)),
                "The first result is the observation of the row itself. Return the one BEFORE it: obs[row - 1].",
            ),
            Mistake(
                lambda o, a, f, s: (lambda b, c, x: (b, x, c))(*pairs_with()(o, a, f, s)),
                "The order is wrong: the observation before, the change, the action.",
            ),
            Mistake(
                dropped_first,
                "First rows are dropped before the difference is taken. That makes rows of different episodes "
                "neighbours, and their difference a jump. Choose rows, don't remove them.",
            ),
            Mistake(
                until_the_end, "The last row of the recording is included. It has no row after it, so leave it out."
            ),
            Mistake(
                blanked, "Rows beside a border are set to zero. Zeros would count in the fit: leave these rows out."
            ),
            Mistake(
                one_and_shifted,
                "Only the row itself and the row of the action are tested. Then each shift keeps different rows, and "
                "the shares can't be compared. Always test both neighbours.",
            ),
            Mistake(
                lambda o, a, f, s: (lambda b, c, x: (b, b + c, x))(*pairs_with()(o, a, f, s)),
                "The second result is the observation of the row itself. Return its CHANGE: subtract the observation "
                "before it.",
            ),
            Mistake(
                wrapped,
                "`roll` wraps around, so the first and the last row of the recording are compared. Leave these two "
                "rows out: they have a neighbour on one side only.",
            ),
            Mistake(
                shifted_afterwards(True),
                "The shift comes after the choice, so it counts kept rows, which may lie far apart. Count in the whole "
                "recording: action[row + shift].",
            ),
            Mistake(
                shifted_afterwards(False),
                "The shift is counted among the kept rows, which may lie far apart. Count in the whole recording: "
                "action[row + shift].",
            ),
            Mistake(
                lambda o, a, f, s: (
                    (pairs_with()(o, a, f, s)[0], pairs_with(before=0, after=1)(o, a, f, s)[1])
                    + pairs_with()(o, a, f, s)[2:]
                ),
                "The change is that to the NEXT row. It should lead from the row before to the row itself: obs[row] - "
                "obs[row - 1].",
            ),
            Mistake(
                differences_afterwards,
                "The differences are taken between kept rows, which may lie far apart. Take them in the whole "
                "recording: obs[row] - obs[row - 1].",
            ),
            Mistake(
                pairs_with(kept=(-1, 1)),
                "The row itself is not tested: where it begins an episode, the change is a jump.",
            ),
            Mistake(
                whole_table(lambda f, row: f[row]),
                "Only the row itself is tested, and the last row is kept. Neither neighbour may begin an episode, and "
                "the last row has no row after it.",
            ),
            Mistake(
                whole_table(lambda f, row: f[row - 1] | f[row]),
                "The row after is not tested, and the last row is kept. With shift = 1 its action would be used.",
            ),
            Mistake(
                change_zeroed,
                "Where a border is near, the change is set to 0 but the row stays. Leave such rows out of all"
                " three results.",
            ),
            Mistake(
                border_of_the_action,
                "The third row tested is `row + shift`, so which rows are kept depends on shift. Always test "
                "the rows before, itself and after.",
            ),
        ),
        hints=(
            "First choose the rows, then index with them. A row counts if neither it nor its two neighbours begin an "
            "episode.",
            "`row = torch.arange(1, len(obs) - 1)`, then keep those where is_first is False at row - 1, row and row + "
            "1. You can index with a tensor of integers.",
            "`row = torch.arange(1, len(obs) - 1)`, `row = row[~(is_first[row - 1] | is_first[row] | is_first[row + "
            "1])]`, `return obs[row - 1], obs[row] - obs[row - 1], action[row + shift]`",
        ),
    ),
    Exercise(
        "real_returns",
        real_returns,
        return_cases,
        letters="ET",
        mistakes=(
            Mistake(
                lambda *x: came(*x, reward=0),
                "The reward of step t itself is included. What follows AFTER step t begins with rewards[:, t + 1].",
            ),
            Mistake(
                lambda *x: came(*x, stop=False),
                "Terminal rows are ignored: the value is added there. Nothing follows a terminal row, so add γ times "
                "0.",
            ),
            Mistake(
                lambda *x: came(*x, cut="none"),
                "Time limits are ignored: after a last row another episode begins. The value of the last row stands "
                "for what would have followed.",
            ),
            Mistake(
                lambda *x: came(*x, cut="zero"),
                "A time limit is treated as terminal. The episode would have continued: use the value of that row.",
            ),
            Mistake(
                lambda *x: came(*x, after=None),
                "After a last row the episode is over, so the return of that row should be 0. Yours reaches into the "
                "next episode.",
            ),
            Mistake(
                lambda *x: came(*x, tail="zero"),
                "The episode continues beyond the end of the recording: begin with values[:, -1].",
            ),
            Mistake(lambda *x: came(*x, time=0), "The value of step t is used where that of t + 1 belongs."),
            Mistake(
                lambda *x: came(*x, flag=0),
                "The flags of row t are used where those of row t + 1 belong: does anything follow AFTER the reward "
                "that arrives with t + 1?",
            ),
            Mistake(
                lambda r, v, l, d, g: came(r, v, l, d, g, only=d),
                "It is 0 only at terminal rows. Nothing follows a row where a time limit ended the episode either, so "
                "use is_last.",
            ),
            Mistake(
                lambda r, v, l, d, g: r[:, 1:] + g * torch.where(d[:, 1:], 0.0, v[:, 1:]),
                "That is one reward and then the critic's value. The real return continues, reward by reward, to the "
                "end of the episode.",
            ),
            Mistake(
                lambda r, v, l, d, g: came(r, v, l[:1].expand_as(l), d[:1].expand_as(d), g),
                "The flags of the first environment are used for all of them. Each has its own.",
            ),
            Mistake(lambda r, v, l, d, g: came(r, v, l, d, 1.0), "γ is not used."),
            Mistake(lambda r, v, l, d, g: came(r, v, l, d, g * g), "γ is applied twice in each step."),
            Mistake(
                lambda r, v, l, d, g: came(r, v, d, l, g),
                "is_last and is_terminal are swapped: is_terminal is where nothing follows.",
            ),
            Mistake(
                lambda r, v, l, d, g: g * came(r, v, l, d, g),
                "The reward right after the step is discounted, too. γ only multiplies what follows that reward.",
            ),
            Mistake(
                lambda *x: came(*x, end=False),
                "The last row of the recording may be terminal. Then nothing follows it either: 0, not values[:, -1].",
            ),
            Mistake(
                lambda *x: came(*x, flag=0, time=0),
                "The flags and the value of row t are used; both should be those of row t + 1.",
            ),
            Mistake(
                lambda *x: came(*x, flag=0, only=torch.zeros_like(x[2])),
                "The flags of row t decide what follows row t + 1, and a last row gets no 0 of its own.",
            ),
            Mistake(
                lambda r, v, l, d, g: torch.where(l[:, :-1], 0.0, r[:, 1:] + g * torch.where(d[:, 1:], 0.0, v[:, 1:])),
                "This is one reward, and then the critic's value. What really came goes on, reward by reward, until "
                "the episode or the recording ends.",
            ),
            Mistake(
                lambda r, v, l, d, g: torch.where(l[:, :-1], 0.0, r[:, 1:] + g * v[:, 1:]),
                "This is one reward, and then the critic's value, even after a terminal row. What really came goes on, "
                "reward by reward, until the episode or the recording ends.",
            ),
            Mistake(
                lambda r, v, l, d, g: r[:, 1:] + g * v[:, 1:],
                "This is one reward, and then the critic's value, and no flag is used. What really came goes on, "
                "reward by reward, until the episode or the recording ends.",
            ),
            Mistake(
                lambda r, v, l, d, g: came(r, v, l, d, g, paid=g),
                "γ multiplies the reward as well. It belongs to what follows the reward: r + γ · (…).",
            ),
            Mistake(
                lambda r, v, l, d, g: came(r, v, l, d, 1.0, paid=g),
                "γ multiplies the reward instead of what follows it: r + γ · (…).",
            ),
            Mistake(
                lambda *x: came(*x, early=1),
                "The 0 stands one row too early. The return is 0 at a last row, not at the row before it.",
            ),
            Mistake(
                lambda *x: came(*x, lost=True),
                "The reward that arrives with a last row is lost. It counts; only what follows it is 0 or the value.",
            ),
            Mistake(
                lambda r, v, l, d, g: came(r, v, l, d.any(0, keepdim=True).expand_as(d), g),
                "A terminal row in one environment stops the returns of all. Each environment has its own flags.",
            ),
            Mistake(
                undiscounted_value,
                "The value that stands in for the rest is not discounted. It takes the place of R_{t+1}, so γ"
                " multiplies it.",
            ),
            Mistake(
                forwards,
                "The loop runs forwards, so each return is built from one that isn't known yet. Begin at the end.",
            ),
        ),
        hints=(
            "Go backwards, as with the λ-return. Ask at each row t + 1: is it terminal, is it only cut off (by a time "
            "limit or the end of the recording), or does the episode continue?",
            "Three cases for what follows row t + 1: 0 if terminal, values[:, t + 1] if only last, else the return "
            "computed just before. Where row t is a last row, the answer is 0.",
            "`returns, then = [], values[:, -1]`, `for t in reversed(range(rewards.shape[1] - 1)):\n    then = "
            "torch.where(is_last[:, t + 1], values[:, t + 1], then)\n    then = rewards[:, t + 1] + gamma * "
            "torch.where(is_terminal[:, t + 1], 0.0, then)\n    returns.append(torch.where(is_last[:, t], 0.0, "
            "then))`, `return torch.stack(returns[::-1], 1)`",
        ),
    ),
    Exercise(
        "diagnoses",
        diagnoses,
        lambda: [()],
        judge=judge_diagnoses,
        mistakes=tuple(
            Mistake(
                lambda letter=letter: diagnoses() | {letter: (PATIENTS[letter] + 1) % len(NAMES)},
                refuted(letter, (PATIENTS[letter] + 1) % len(NAMES)),
            )
            for letter in HUNTED
        ),
        hints=(
            "Run checks before you guess, on the twin, too. Each bug that is left shows in one check; the table says "
            "what each check asks.",
            "Nine patients fail one of alignment, causality, flow, free_nats, returns, by_hand, curves. One passes all "
            "of them.",
            f"`return {diagnoses()}`",
        ),
    ),
    Exercise(
        "tally",
        tally,
        tally_cases,
        probe=counts,
        given=("healthy", "sick", "low", "high"),
        mistakes=(
            Mistake(
                lambda h, s, a, b: (
                    total((s <= a) | (s >= b)),
                    len(s) - total((s <= a) | (s >= b)),
                    total((h <= a) | (h >= b)),
                ),
                "A value exactly on the edge counts as outside. The range includes its edges.",
            ),
            Mistake(
                lambda h, s, a, b: (len(s) - total(outside(s, a, b)), total(outside(s, a, b)), total(outside(h, a, b))),
                "Found and missed are swapped: found is a sick run OUTSIDE the healthy range.",
            ),
            Mistake(
                lambda h, s, a, b: (
                    total(outside(s, a, b)),
                    len(s) - total(outside(s, a, b)),
                    len(h) - total(outside(h, a, b)),
                ),
                "A false alarm is a healthy run OUTSIDE the range. Yours counts those inside.",
            ),
            Mistake(
                lambda h, s, a, b: (
                    total(~((s >= a) & (s <= b))),
                    total((s >= a) & (s <= b)),
                    total(~((h >= a) & (h <= b))),
                ),
                "A NaN counts as outside, as it does with `not (low <= x <= high)`. It was not measured, so it raises "
                "no alarm.",
            ),
            Mistake(
                lambda h, s, a, b: (total(~((s >= a) & (s <= b))), total((s >= a) & (s <= b)), total(outside(h, a, b))),
                "A sick run with NaN counts as found. It was not measured, so it raises no alarm: it is missed.",
            ),
            Mistake(
                lambda h, s, a, b: (total(outside(s, a, b)), total((s >= a) & (s <= b)), total(outside(h, a, b))),
                "A sick run with NaN is neither found nor missed. It was not found, so it is missed.",
            ),
            Mistake(
                lambda h, s, a, b: (total(s > b), len(s) - total(s > b), total(h > b)),
                "Only values above the range count; below `low` is outside, too.",
            ),
            Mistake(
                lambda h, s, a, b: (total(s < a), len(s) - total(s < a), total(h < a)),
                "Only values below the range count; above `high` is outside, too.",
            ),
            Mistake(
                lambda h, s, a, b: (total(outside(h, a, b)), len(h) - total(outside(h, a, b)), total(outside(s, a, b))),
                "Healthy and sick are swapped.",
            ),
            Mistake(
                lambda h, s, a, b: tuple(
                    x / len(y)
                    for x, y in (
                        (total(outside(s, a, b)), s),
                        (len(s) - total(outside(s, a, b)), s),
                        (total(outside(h, a, b)), h),
                    )
                ),
                "These are shares. Return counts.",
            ),
            Mistake(
                lambda h, s, a, b: (total(outside(s, a, b)), total(outside(h, a, b)), len(s) - total(outside(s, a, b))),
                "The order is wrong: found, missed, false alarms.",
            ),
            Mistake(
                lambda h, s, a, b: (
                    total((s < a) & (s > b)),
                    len(s) - total((s < a) & (s > b)),
                    total((h < a) & (h > b)),
                ),
                "No number is below low AND above high. One of the two is enough: `|`.",
            ),
            Mistake(
                lambda h, s, a, b: (total(outside(s, a, b)), len(h) - total(outside(h, a, b)), total(outside(h, a, b))),
                "Missed counts healthy runs. It should count the SICK runs that were not found.",
            ),
            Mistake(
                lambda h, s, a, b: (
                    total(outside(s, a, b)),
                    len(s) - total(outside(s, a, b)),
                    total((h >= a) & (h <= b)),
                ),
                "Healthy runs INSIDE the range are counted as false alarms. A false alarm is a healthy run outside it.",
            ),
            Mistake(
                lambda h, s, a, b: (total(outside(s, a, b)), total((s >= a) & (s <= b)), total((h >= a) & (h <= b))),
                "Two things: a sick run with NaN is missed, too; and a false alarm is a healthy run OUTSIDE the range.",
            ),
            Mistake(
                lambda h, s, a, b: (total((s >= a) & (s <= b)), total(outside(s, a, b)), total(outside(h, a, b))),
                "Found and missed are swapped, and NaN is in neither. Found is a sick run OUTSIDE; all others are "
                "missed.",
            ),
            Mistake(
                lambda h, s, a, b: (
                    total((s <= a) | (s > b)),
                    len(s) - total((s <= a) | (s > b)),
                    total((h <= a) | (h > b)),
                ),
                "A value exactly at `low` counts as outside. The range includes its edges: x < low.",
            ),
            Mistake(
                lambda h, s, a, b: (
                    total((s < a) | (s >= b)),
                    len(s) - total((s < a) | (s >= b)),
                    total((h < a) | (h >= b)),
                ),
                "A value exactly at `high` counts as outside. The range includes its edges: x > high.",
            ),
            Mistake(
                lambda h, s, a, b: (
                    total(outside(s, 0.5, 1.5)),
                    len(s) - total(outside(s, 0.5, 1.5)),
                    total(outside(h, 0.5, 1.5)),
                ),
                "The range is fixed at 0.5 to 1.5; use `low` and `high`.",
            ),
            Mistake(
                lambda h, s, a, b: (
                    total(outside(s, h.min(), h.max())),
                    len(s) - total(outside(s, h.min(), h.max())),
                    0,
                ),
                "The range is taken from the healthy values, smallest to largest. Use `low` and `high`.",
            ),
            Mistake(
                lambda h, s, a, b: (total(outside(h, a, b)), len(s) - total(outside(s, a, b)), total(outside(s, a, b))),
                "Found and false alarms are swapped: found counts SICK runs outside the range.",
            ),
            Mistake(
                lambda h, s, a, b: (
                    total(outside(s, a, b)),
                    len(s) - total(outside(s, a, b)),
                    total(outside(s, a, b)) + total(outside(h, a, b)),
                ),
                "False alarms counts the sick runs outside, too. Count only healthy ones.",
            ),
            Mistake(
                lambda h, s, a, b: (
                    total(outside(s, a, b)),
                    len(s) - total(outside(s, a, b)),
                    len(h) - total((h >= a) & (h <= b)),
                ),
                "A healthy run with NaN counts as a false alarm. It was not measured, so it raises no alarm.",
            ),
        ),
        hints=(
            "A value raises an alarm if it is below low or above high. Then count.",
            "`(x < low) | (x > high)` is False for NaN, as it should be. Missed is all sick runs minus those found.",
            "`found = int(((sick < low) | (sick > high)).sum())`, `return found, len(sick) - found, int(((healthy < "
            "low) | (healthy > high)).sum())`",
        ),
    ),
    Exercise(
        "mended",
        mended,
        lambda: [()],
        judge=judge_mended,
        mistakes=(
            Mistake(lambda: {}, "gru is still off."),
            Mistake(lambda: {"gru": gru}, "lambda_return is still off."),
            Mistake(lambda: {"gru": gru, "lambda_return": lambda_return}, "return_scale is still off."),
            Mistake(lambda: mended() | {"step_weights": lambda c: c.cumprod(1)}, "step_weights is off."),
            Mistake(lambda: {"lambda": lambda_return}, "The small Dreamer has no function 'lambda'"),
            Mistake(lambda: mended() | {"gru": 3}, "gru: the function itself is expected"),
            Mistake(lambda: [gru, lambda_return], "A dictionary is expected"),
        ),
        hints=(
            "The table names the three, and what each does wrong. Change one thing in each.",
            "You wrote two of them in notebooks 05 and 08; notebook 09 says what the return scale needs.",
            "In `gru`: `torch.sigmoid(update - 1)`. In `lambda_return`: `(1 - lam) * values[:, t] + lam * last`. In "
            "`return_scale`: `(ends[1] - ends[0]).clamp(min=limit)`.",
        ),
    ),
)
