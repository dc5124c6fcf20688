"""The alignment X-ray of notebook 01: what belongs to step t."""

from matplotlib.figure import Figure

from ...replay import Experience
from ..bundled import random_stream
from ..explore import DREAM, GREY, OWN, POSTERIOR, REALITY, Explorer, canvas, choice, whole

ROWS = ("observation: angle", "action that led here", "reward", "is_first", "is_last", "is_terminal", "goes on")


def cells(stream: Experience, late: int = 0) -> list[list[str]]:
    """The words in each row of the X-ray, one per step. `late` moves the actions by that many steps."""
    arrows = [("left" if action[0] else "right") if action.any() else "–" for action in stream.action]
    arrows = ["–"] * late + arrows[: len(arrows) - late] if late >= 0 else arrows[-late:] + ["–"] * -late
    flags = [
        [("yes" if flag else "·") for flag in part] for part in (stream.is_first, stream.is_last, stream.is_terminal)
    ]
    return [
        [f"{float(angle):+.2f}" for angle in stream.obs[:, 2]],
        arrows,
        [f"{float(r):g}" for r in stream.reward],
        *flags,
        ["0" if end else "1" for end in stream.is_terminal],
    ]


def draw_alignment(stream: Experience, t: int, late: int = 0) -> Figure:
    """A table of the stream: rows as in ROWS, a column per step, column t lit, episode borders as lines."""
    colours = (REALITY, OWN, POSTERIOR, GREY, GREY, GREY, DREAM)
    return draw_table(dict(zip(ROWS, cells(stream, late))), colours, t, stream.is_first.tolist())


def draw_table(
    rows: dict[str, list[str]], colours: tuple[str, ...], t: int, is_first: list[bool], width: float = 0.42
) -> Figure:
    """Named rows of words, a column per step; column t is lit, and a line is drawn before each first step."""
    figure = canvas(width * len(is_first) + 1.9, 0.37 * len(rows))
    axes = figure.add_subplot()
    axes.axvspan(t - 0.5, t + 0.5, color="#FFD166")
    for row, (words, colour) in enumerate(zip(rows.values(), colours)):
        for column, word in enumerate(words):
            weight = "bold" if column == t else "normal"
            axes.text(column, row, word, ha="center", va="center", color=colour, fontsize=8, fontweight=weight)
    for column in range(1, len(is_first)):
        if is_first[column]:
            axes.axvline(column - 0.5, color="black", linewidth=1.5)
    axes.set(
        xlim=(-0.5, len(is_first) - 0.5), ylim=(len(rows) - 0.5, -0.5), xticks=range(0, len(is_first), 2), xlabel="step"
    )
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axes.spines[:].set_visible(False)
    return figure


def read(stream: Experience, t: int, late: int = 0) -> str:
    """The lit column in one sentence."""
    angle, action, reward, first, _, terminal, _ = (row[t] for row in cells(stream, late))
    if late:
        right, when = cells(stream)[1][t], "late" if late > 0 else "early"
        row = f"Step {t}: these actions are {abs(late)} step {when}. The row says '{action}'; "
        if right == action:
            return f"{row}so it was, but only because two steps in a row had the same action."
        return f"{row}what led to angle {angle} was {'no action' if right == '–' else repr(right)}."
    if first == "yes":
        return f"Step {t}: an episode begins at angle {angle}. No action led here, so the reward means nothing."
    return f"Step {t}: the action '{action}' led to angle {angle} and reward {reward}. " + (
        "The pole fell: the world ends here." if terminal == "yes" else "The world goes on."
    )


def alignment_xray(steps: int = 24, seed: int = 3) -> Explorer:
    """Scrub through recorded steps across an episode border, and shift the actions to see what breaks."""
    whole_stream = random_stream(60, seed)
    border = int(whole_stream.is_first[1:].nonzero()[0]) + 1
    start = max(border - steps // 2, 0)
    stream = Experience(*(part[start : start + steps] for part in whole_stream))
    shifts = {"as stored": 0, "one late": 1, "one early": -1}
    return Explorer(
        lambda t, actions: (draw_alignment(stream, t, shifts[actions]), read(stream, t, shifts[actions])),
        "Table of recorded steps, one column per step, across the border of two episodes.",
        t=whole("step", 0, steps - 1, border - start - 1),
        actions=choice("actions", list(shifts)),
    )
