"""Exercises of notebook 01: which action belongs to which observation, when the world ends, how sequences are cut."""

import torch
from torch import Tensor

from ..exercise import Exercise, Mistake


def previous_action(chosen: Tensor, is_first: Tensor) -> Tensor:
    """The action that led to each step. chosen: (B, T, A), taken after seeing step t; is_first: (B, T). Returns (B, T,
    A).

    Zeros where nothing led here: at the start of each row and wherever an episode begins.
    """
    led_here = torch.cat([torch.zeros_like(chosen[:, :1]), chosen[:, :-1]], 1)
    return led_here * (~is_first)[..., None]


def goes_on(is_last: Tensor, is_terminal: Tensor) -> Tensor:
    """What the continue head learns, before any discount: 0.0 where the world ended, else 1.0. Both (B, T) → (B, T)."""
    return (~is_terminal).float()


def cut(ring: Tensor, oldest: int, ages: Tensor, steps: int) -> Tensor:
    """Sequences out of a ring buffer. ring: (L, O), whose oldest row lies at index `oldest`; ages: (B,), how many
    rows after the oldest each sequence begins. Returns (B, steps, O)."""
    index = (oldest + ages[:, None] + torch.arange(steps)) % len(ring)  # (B, steps)
    return ring[index]


def action_cases() -> list[tuple]:
    cases = []
    for B, T, A in ((1, 4, 2), (2, 6, 2), (3, 7, 4), (5, 5, 3)):
        is_first = torch.zeros(B, T, dtype=torch.bool)
        is_first[:, 0] = torch.arange(B) % 2 == 0
        is_first[torch.arange(B), (T // 2 + torch.arange(B)) % T] = True  # a border at another step in each row
        is_first[3:] = False  # and some rows without a border
        cases.append((torch.eye(A)[torch.randint(A, (B, T))] * torch.randint(1, 4, (B, T, 1)), is_first))
    return cases


def goes_on_cases() -> list[tuple]:
    fell = torch.tensor([[False, False, True, False, False, False]])
    last = torch.tensor([[False, False, True, False, False, True]])  # the second end is a truncation
    cases = [(last, fell)]
    for shape in ((3, 8), (5, 4)):
        is_last = torch.rand(shape) < 0.5
        is_last[0, :2] = True
        is_last[0, 2] = False
        is_terminal = is_last & (torch.rand(shape) < 0.5)
        is_terminal[0, 0], is_terminal[0, 1] = True, False
        cases.append((is_last, is_terminal))
    return cases


def cut_cases() -> list[tuple]:
    by_hand = torch.tensor([[5.0, 50.0], [6.0, 60.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
    newest = torch.arange(6.0)[:, None], 4, torch.tensor([3]), 3  # one sequence of one number, up to the newest row
    cases = [(by_hand, 2, torch.tensor([1, 0]), 3), newest]
    for length, size, batch, steps in ((10, 2, 3, 4), (17, 3, 4, 5)):
        oldest = length // 2
        ages = torch.randint(length - steps, (batch,))
        ages[-2:] = torch.tensor([length - steps - 1, length - steps])  # they wrap around at the end of the buffer
        cases.append((torch.arange(length * size, dtype=torch.float32).view(length, size), oldest, ages, steps))
    return cases


def late(chosen: Tensor, is_first: Tensor) -> Tensor:
    return previous_action(torch.cat([torch.zeros_like(chosen[:, :1]), chosen[:, :-1]], 1), is_first)


def shifted(chosen: Tensor, is_first: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(chosen[:, :1]), chosen[:, :-1]], 1)


def along_the_batch(a: Tensor, f: Tensor) -> Tensor:
    led = torch.cat([torch.zeros_like(a[:1]), a[:-1]]) * (~f)[..., None]
    return torch.cat([torch.zeros_like(led[:, :1]), led[:, 1:]], 1)


def through_numbers(a: Tensor, f: Tensor) -> Tensor:
    number = a.argmax(-1)
    led = torch.cat([torch.zeros_like(number[:, :1]), number[:, :-1]], 1) * ~f
    return torch.nn.functional.one_hot(led, a.shape[-1]).to(a.dtype)


def cut_short(ring: Tensor, oldest: int, ages: Tensor, steps: int) -> Tensor:
    pieces = [ring[start : start + steps] for start in ((oldest + ages) % len(ring)).tolist()]
    return torch.stack([torch.cat([piece, ring.new_zeros(steps - len(piece), ring.shape[1])]) for piece in pieces])


EXERCISES = (
    Exercise(
        "previous_action",
        previous_action,
        action_cases,
        letters="BTA",
        mistakes=(
            Mistake(
                lambda a, f: a * (~f)[..., None],
                "One early: the action beside step t must be the one that LED to it, not the one taken after it.",
            ),
            Mistake(
                lambda a, f: a, "This changes nothing: the action beside step t is still the one taken after seeing it."
            ),
            Mistake(late, "One late: this shifts by two steps. The action that led to step t was chosen at t - 1."),
            Mistake(
                lambda a, f: torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], 1) * (~f)[..., None],
                "Shifted the wrong way: this looks into the future, at the action of step t + 1.",
            ),
            Mistake(
                shifted,
                "The reset row keeps its action. Where `is_first` is True, no action of this episode led here: put "
                "zeros.",
            ),
            Mistake(
                lambda a, f: a.roll(1, 1) * (~f)[..., None],
                "roll wraps around: the first step gets the last action of the row. Put zeros there.",
            ),
            Mistake(
                lambda a, f: shifted(a, f) * f[..., None],
                "The mask is reversed: this keeps actions only where an episode begins.",
            ),
            Mistake(
                lambda a, f: shifted(a * (~f)[..., None], f),
                "Masked before the shift: the zeros land one step too late. Shift first, then mask.",
            ),
            Mistake(
                lambda a, f: torch.cat([torch.zeros_like(a[:1]), a[:-1]], 0) * (~f)[..., None],
                "This shifts along the batch. Time is the second axis.",
            ),
            Mistake(
                lambda a, f: a.roll(1, 1),
                "roll wraps around, so the first step gets the last action of the row; and where `is_first` is True, "
                "there should be zeros.",
            ),
            Mistake(
                lambda a, f: a.roll(1, 0) * (~f)[..., None],
                "roll moves the batch, axis 0. Time is the second axis; and what wraps around must be zero.",
            ),
            Mistake(
                lambda a, f: torch.cat([a[:, :1], a[:, :-1]], 1) * (~f)[..., None],
                "The first step keeps its own action. Nothing in this row led to it: put zeros, even if no episode "
                "begins there.",
            ),
            Mistake(
                lambda a, f: shifted(a, f) * (~f[:1])[..., None],
                "The first row's borders are used for all rows. Each row has its own.",
            ),
            Mistake(
                lambda a, f: shifted(a, f) * (~f.any(1))[:, None, None],
                "One border clears its whole row. Put zeros only in the step where the episode begins.",
            ),
            Mistake(
                lambda a, f: shifted(a, f) * (~f).cumprod(1)[..., None],
                "After the first border everything stays zero. Put zeros only in the step where an episode begins.",
            ),
            Mistake(
                lambda a, f: torch.where(f[..., None], torch.ones_like(a), shifted(a, f)),
                "Where an episode begins you put ones. Put zeros: no action led here.",
            ),
            Mistake(
                lambda a, f: torch.cat([torch.zeros_like(a[..., :1]), a[..., :-1]], -1) * (~f)[..., None],
                "This shifts along the last axis, the entries of an action. Time is the second axis.",
            ),
            Mistake(
                along_the_batch,
                "This shifts along the batch, and clears the first step as well. Time is the second axis.",
            ),
            Mistake(
                through_numbers,
                "Where nothing led here there should be zeros. Yours is the one-hot of action 0, because the "
                "shift ran on the actions' numbers.",
            ),
            Mistake(
                lambda a, f: shifted(a, f) * (~f.any(0))[:, None],
                "A border in one sequence puts zeros into that step of all the others. Mask each sequence by "
                "its own `is_first`.",
            ),
        ),
        hints=(
            "Shift the actions by one step along time, then put zeros where no action led to the step.",
            "To shift, `torch.cat` a step of zeros and `chosen[:, :-1]` along axis 1. `~is_first` is True where an "
            "action counts; give it "
            "a last axis with `[..., None]`.",
            "`led_here = torch.cat([torch.zeros_like(chosen[:, :1]), chosen[:, :-1]], 1)`, then multiply by "
            "`(~is_first)[..., None]`.",
        ),
    ),
    Exercise(
        "goes_on",
        goes_on,
        goes_on_cases,
        letters="BT",
        mistakes=(
            Mistake(
                lambda l, t: (~l).float(),
                "Truncation taken for termination: at the time limit the world goes on. Only `is_terminal` ends it.",
            ),
            Mistake(
                lambda l, t: torch.ones_like(t).float(),
                "Yours never ends: where `is_terminal` is True, the answer is 0.",
            ),
            Mistake(
                lambda l, t: 0.99 * (~t).float(), "The discount comes later; here 1.0 means that the world goes on."
            ),
            Mistake(lambda l, t: ~t, "Right, but as True and False. The head learns from numbers: `.float()`."),
            Mistake(lambda l, t: t.float(), "Reversed: 1 means that the world goes on."),
            Mistake(
                lambda l, t: l.float(),
                "This marks the last steps with 1. The world goes on where nothing terminal happened.",
            ),
            Mistake(
                lambda l, t: (l & ~t).float(),
                "This is 1 only at truncations. It should also be 1 at every ordinary step.",
            ),
            Mistake(
                lambda l, t: (~(l & ~t)).float(),
                "This ends the world at truncations and lets it go on where the pole fell. `is_terminal` decides.",
            ),
            Mistake(
                lambda l, t: torch.cat([torch.ones(len(t), 1), (~t).float()[:, :-1]], 1),
                "One step late: the 0 belongs to the step that is terminal, not to the one after it.",
            ),
            Mistake(
                lambda l, t: 1 - l.float() - t.float(),
                "Both flags are subtracted: a time limit gives 0, and a terminal step -1. Only `is_terminal` counts.",
            ),
            Mistake(
                lambda l, t: (~t).float().cumprod(1),
                "After a terminal step yours stays 0. Each step stands alone: the next row begins a new episode.",
            ),
            Mistake(
                lambda l, t: (~t.any(1, keepdim=True)).float().expand(t.shape),
                "One terminal step ends its whole row. Only that step gets 0.",
            ),
            Mistake(
                lambda l, t: -t.float(),
                "This is -1 at a terminal step and 0 elsewhere; it should be 0 there, and 1 elsewhere.",
            ),
            Mistake(
                lambda l, t: (~t.long()).float(),
                "`~` on whole numbers turns 0 into -1 and 1 into -2. Use it on True and False.",
            ),
        ),
        hints=(
            "Two flags, and only one of them says that the world ended.",
            'CartPole\'s 500 steps are last but not terminal. The head should still say "it goes on" there.',
            "`return (~is_terminal).float()`",
        ),
    ),
    Exercise(
        "cut",
        cut,
        cut_cases,
        letters="BTO",
        mistakes=(
            Mistake(
                lambda r, o, a, s: r[(a[:, None] + torch.arange(s)) % len(r)],
                "This forgets where the oldest row lies: ages count from `oldest`.",
            ),
            Mistake(
                lambda r, o, a, s: r[(o + a[:, None] + torch.arange(s)).clamp(max=len(r) - 1)],
                "At the end of the buffer this repeats the last row. A ring continues at index 0: use the "
                "remainder, `%`.",
            ),
            Mistake(
                lambda r, o, a, s: r[(o + a[:, None] + 1 + torch.arange(s)) % len(r)],
                "One step too late: a sequence of age 0 begins with the oldest row itself.",
            ),
            Mistake(
                lambda r, o, a, s: r[(o - a[:, None] + torch.arange(s)) % len(r)],
                "Ages count forward in time, from the oldest row to newer ones; yours count back.",
            ),
            Mistake(
                lambda r, o, a, s: r[(o + a[:, None] - torch.arange(s)) % len(r)],
                "Time runs backwards inside your sequences.",
            ),
            Mistake(
                lambda r, o, a, s: r[(o + a + torch.arange(s)[:, None]) % len(r)],
                "Batch and time are swapped: the result is (B, T, O), with one row of indices per sequence.",
            ),
            Mistake(
                lambda r, o, a, s: (o + a[:, None] + torch.arange(s)) % len(r),
                "These are the row numbers. Index the ring with them.",
            ),
            Mistake(
                lambda r, o, a, s: r[(o + a[:, None] + torch.arange(s + 1)) % len(r)],
                "Each sequence is one step too long.",
            ),
            Mistake(
                lambda r, o, a, s: r[(o + a[:, None] + torch.arange(s)) % (len(r) - 1)],
                "The ring has L rows, so the remainder is % L, not % (L - 1).",
            ),
            Mistake(
                lambda r, o, a, s: r[(o + a) % len(r)],
                "This is only the first row of each sequence; return `steps` of them.",
            ),
            Mistake(
                lambda r, o, a, s: torch.stack([torch.cat([r[(o + k) % len(r) :], r[:0]])[:s] for k in a.tolist()]),
                "A slice stops at the end of the buffer, so sequences that wrap around are too short. Use indices and "
                "the remainder, `%`.",
            ),
            Mistake(
                lambda r, o, a, s: r.roll(o, 0)[(a[:, None] + torch.arange(s)) % len(r)],
                "The ring is rolled the wrong way: `roll(-oldest, 0)` brings the oldest row to index 0.",
            ),
            Mistake(
                lambda r, o, a, s: r[(o - 1 - a[:, None] + torch.arange(s)) % len(r)],
                "Ages are counted from the newest row. They count from the oldest, forward in time.",
            ),
            Mistake(
                lambda r, o, a, s: r[(o + a[:, None] + torch.arange(1, s)) % len(r)],
                "The first row of each sequence is missing: `torch.arange(steps)` begins at 0.",
            ),
            Mistake(
                lambda ring, oldest, ages, steps: ring[oldest + ages[:, None] + torch.arange(steps)],
                "The index runs past the end of the ring. Add oldest, ages and steps first, then take `% len(ring)`: "
                "after the last index comes 0.",
            ),
            Mistake(
                cut_short,
                "Only the start wraps around. A slice doesn't: past the end it finds nothing, and zeros are "
                "left. Make an index for each step and wrap that.",
            ),
        ),
        hints=(
            "Make a table of row numbers, one row per sequence and one column per step, and index the ring with it.",
            "`ages[:, None] + torch.arange(steps)` is such a table, (B, steps), counted from the oldest row. Then "
            "move and wrap it.",
            "`index = (oldest + ages[:, None] + torch.arange(steps)) % len(ring)`, then `ring[index]`.",
        ),
    ),
)
