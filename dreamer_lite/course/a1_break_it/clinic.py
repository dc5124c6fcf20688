"""Notebook A1: ten sick runs and a healthy one, the checks that examine them, and bugs to name."""

from functools import lru_cache
import json
import textwrap

import ipywidgets as widgets
from matplotlib.figure import Figure
import numpy as np
import torch
from torch import Tensor

from ...diagnostics.checks import CHECKS, Evidence, Finding
from ...diagnostics.diagnose import gather_evidence, run_check
from ...diagnostics.page import numbers, sentence
from ...errors import Refused
from ..bundled import ASSETS
from ..explore import DREAM, GREY, OWN, REALITY, Explorer, button, canvas, choice, tidy
from .bugs import BUGS, Patch, planted

PATIENTS = dict(zip("ABCDEFGHIJK", (1, 9, 4, 0, 6, 3, 10, 8, 2, 7, 5)))  # the bug of each, counted from 1; 0: none
NAMES = ["none: it is healthy", *(bug.name for bug in BUGS)]
HUNTED = "".join(PATIENTS)[1:]  # A is solved in the notebook
TWIN = "twin"  # a healthy run with another seed, to compare with
CHART = "chart"  # hangs on every bed, and counts as no check


def patches_of(number: int) -> list[Patch]:
    """The patches of the bug with this number; 0: none."""
    return [BUGS[number - 1].patch] if number else []


@lru_cache
def case(letter: str) -> Evidence:
    """The evidence of a patient, which plays with its bug planted."""
    with planted(*patches_of(PATIENTS.get(letter, 0))):
        return gather_evidence(ASSETS / "patients" / f"{letter}.pt")


@lru_cache(200)
def finding(letter: str, check: str) -> Finding:
    """What a check finds, with the bug planted."""
    patient = case(letter)
    with planted(*patches_of(PATIENTS.get(letter, 0))):
        return run_check(patient, check)


def scores() -> dict[str, float]:
    """Each patient's mean return in its last evaluation, 20 fresh episodes of at most 100 steps."""
    return {letter: case(letter).rows[-1]["eval_mean"] for letter in PATIENTS}


def draw_scores() -> tuple[Figure, str]:
    """All patients' scores, and the loss that people usually watch."""
    figure, found = canvas(7.5, 2.8), scores()
    left, right = figure.subplots(1, 2)
    tidy(left, title="evaluation: steps until it falls, at most 100", xlabel="patient", ylim=(0, 105)).bar(
        list(found), list(found.values()), color=REALITY
    )
    tidy(right, title="reconstruction loss", xlabel="environment steps").set_yscale("log")
    for letter in PATIENTS:
        rows = [row for row in case(letter).rows if row["train_steps"] > 1]
        right.plot(
            [row["env_steps"] for row in rows], [row["reconstruction"] for row in rows], color=REALITY, linewidth=1
        )
    return figure, (
        f"The eleven agents score from {min(found.values()):.0f} to {max(found.values()):.0f} of 100. "
        "Their reconstruction losses all fall alike."
    )


CURVES = {
    "return": "return, last ten episodes",
    "reconstruction": "reconstruction loss",
    "dyn": "surprise (KL, nats)",
    "policy_entropy": "entropy of the policy",
}


def draw_chart(letter: str) -> tuple[Figure, str]:
    """Four curves of the run beside those of a healthy twin, and 120 steps of its play."""
    figure = canvas(8, 4.2)
    axes = figure.subplots(2, 3).flatten()
    drawn = {TWIN: (GREY, "-")} | ({letter: (REALITY, "--")} if letter != TWIN else {})
    for panel, (key, label) in zip(axes, CURVES.items()):
        for who, (colour, style) in drawn.items():
            rows = [row for row in case(who).rows if np.isfinite(row.get(key, np.nan))]
            steps, values = [row["env_steps"] for row in rows], [row[key] for row in rows]
            tidy(panel, title=label).plot(steps, values, style, color=colour, label=who)
    axes[0].legend(frameon=False, fontsize=7)
    axes[1].set_yscale("log")
    axes[3].set_xlabel("environment steps")
    played, steps = case(letter).played, slice(0, 120)
    for panel, column, label in (
        (axes[4], 2, "the pole's angle, radians"),
        (axes[5], 0, "the cart's position, metres"),
    ):
        tidy(panel, title=label, xlabel="step").plot(played.obs[0, steps, column], color=REALITY)
        for t in played.is_first[0, steps].nonzero()[:, 0].tolist():
            panel.axvline(t, color=DREAM, linewidth=0.8, linestyle=":")
    last = case(letter).rows[-1]
    return figure, (
        f"{'The' if letter == TWIN else f'Patient {letter}, dashed, and a'} healthy twin, grey; "
        "orange: an episode begins. "
        f"At the end, return {last['return']:.0f} in the last ten episodes, "
        f"reconstruction {last['reconstruction']:.1g}, surprise {last['dyn']:.2g}, "
        f"policy entropy {last['policy_entropy']:.2g}."
    )


def draw_check(letter: str, check: str, judged: bool = True) -> tuple[Figure, str]:
    """The chart, or a check's figure with one sentence: the numbers, and the verdict too if `judged`."""
    if check == CHART:
        return draw_chart(letter)
    found = finding(letter, check)
    found.figure.suptitle("")  # a clinic may have written on it
    words = sentence(found) if judged else numbers(found)
    return found.figure, f"{'The healthy twin' if letter == TWIN else f'Patient {letter}'}. {words}."


def reveal(letter: str) -> str:
    """What is wrong with this patient: the place, the healthy line, the changed one, who had it, and what it does."""
    number = PATIENTS.get(letter, 0)
    if not number:
        return "It is healthy: no line is changed."
    bug = BUGS[number - 1]
    return f"{bug.patch.where}\n  - {bug.patch.find}\n  + {bug.patch.instead}\n{bug.seen}.\n{bug.words}"


@lru_cache
def verdicts() -> dict:
    """All recorded measures: `ranges` by check, `values` by bug, seed and check, `scores` by bug and seed."""
    file = ASSETS / "patients" / "verdicts.json"
    if not file.exists():
        raise Refused("the recorded verdicts are not there; start Jupyter inside a clone of the repository")
    return json.loads(file.read_text(encoding="utf-8"))


def alarm(check: str, values: list[float]) -> bool:
    """Whether one of a check's recorded measures lies outside its range."""
    return any(value < low or value > high for value, (low, high) in zip(values, verdicts()["ranges"][check]))


def alarms() -> dict[str, dict[str, int]]:
    """In how many runs each check raised an alarm, by the bug's number, "0" for the healthy runs, and by check."""
    return {
        number: {check: sum(alarm(check, run[check]) for run in runs.values()) for check in CHECKS}
        for number, runs in verdicts()["values"].items()
    }


def draw_control() -> tuple[Figure, str]:
    """The first number of `control` in all recorded runs, by bug, and the largest that counts as healthy."""
    found = {number: [run["control"][0] for run in runs.values()] for number, runs in verdicts()["values"].items()}
    (_, allowed), *_ = verdicts()["ranges"]["control"]
    figure = canvas(7.5, 2.8)
    axes = tidy(
        figure.subplots(),
        title="dreams of 55 runs",
        xlabel="bug (0: none)",
        ylabel="error, over that with\nwrong actions",
    )
    for number, ratios in found.items():
        colour = REALITY if number == "0" else DREAM
        axes.plot([int(number)] * len(ratios), ratios, "o", color=colour, alpha=0.6, markersize=5)
    axes.axhline(allowed, color=GREY, linestyle="--")
    axes.set_xticks(range(len(found)))
    axes.set_ylim(0, 1)
    others = [ratio for number, ratios in found.items() if number not in "01" for ratio in ratios]
    return figure, (
        f"Healthy runs reach {max(found['0']):.2f}, bug 1 gives {min(found['1']):.2f} to {max(found['1']):.2f}, "
        f"the others at most {max(others):.2f}. The dashed line is at {allowed}."
    )


def draw_verdicts() -> tuple[Figure, str]:
    """In how many runs of each bug each check raised an alarm."""
    found, names = alarms(), {str(k): name for k, name in enumerate(NAMES)}
    table = np.array([[found[number][check] for check in CHECKS] for number in names])
    runs = len(verdicts()["values"]["0"])
    figure = canvas(9, 4.6)
    axes = figure.subplots()
    axes.imshow(table, cmap="Blues", vmin=0, vmax=1.5 * runs, aspect="auto")
    for (row, column), count in np.ndenumerate(table):
        if count:
            axes.text(column, row, str(count), ha="center", va="center", fontsize=10)
    axes.set_xticks(range(len(CHECKS)), CHECKS, rotation=30, ha="right", fontsize=9)
    axes.set_yticks(
        range(len(names)), [textwrap.fill(f"{number}. {name}", 46) for number, name in names.items()], fontsize=7.5
    )
    axes.set_title(f"alarms in {runs} runs each", fontsize=10)
    words = [
        f"{number}: " + (", ".join(f"{check} {count}" for check, count in found[number].items() if count) or "none")
        for number in names
    ]
    return figure, f"Alarms of each check in {runs} runs, by the number of the bug. " + "; ".join(words) + "."


def found_by_checks() -> tuple[int, int, int]:
    """Found, missed and false alarms, if a run counts as sick as soon as one check raises an alarm."""
    alarmed = {
        number: [float(any(alarm(check, run[check]) for check in CHECKS)) for run in runs.values()]
        for number, runs in verdicts()["values"].items()
    }
    return split_tally(alarmed, 0, 0.5)


def found_by_score() -> tuple[int, int, int]:
    """The same, if a run counts as sick when its score lies outside those of the healthy runs."""
    found = {number: list(runs.values()) for number, runs in verdicts()["scores"].items()}
    return split_tally(found, min(found["0"]), max(found["0"]))


def split_tally(by_bug: dict[str, list[float]], low: float, high: float) -> tuple[int, int, int]:
    sick = [value for number, values in by_bug.items() if number != "0" for value in values]
    return tally(torch.tensor(by_bug["0"]), torch.tensor(sick), low, high)


def tally(healthy: Tensor, sick: Tensor, low: float, high: float) -> tuple[int, int, int]:
    """What a healthy range from low to high, edges included, is worth: sick runs outside (found), sick runs inside
    (missed), and healthy runs outside (false alarms). NaN means that a value can't be told, so it raises no alarm.
    """
    found = int(((sick < low) | (sick > high)).sum())
    return found, len(sick) - found, int(((healthy < low) | (healthy > high)).sum())


class Clinic:
    """The checks used on each patient, the patients named, and the tries it took. Time doesn't count."""

    def __init__(self, patients: str = HUNTED):
        self.patients = patients
        self.used: dict[str, set[str]] = {letter: set() for letter in patients}
        self.tried: dict[str, set[str]] = {letter: set() for letter in patients}
        self.named: set[str] = set()
        self.clicks = 0

    def examine(self, letter: str, check: str) -> tuple[Figure, str]:
        """Show a patient's chart, which is free, or use a check, which counts once. On the twin all checks are free.

        The verdict is shown only once the patient is named: until then the reader judges.
        """
        settled = letter == TWIN or letter in self.named
        if check != CHART and not settled:
            self.used[letter].add(check)
        return draw_check(letter, check, judged=settled)

    def name(self, letter: str, suspect: str) -> str:
        """Name a patient's bug; returns the answer, with the changed line if it is right. Repeating costs no try."""
        if letter == TWIN:
            return "The twin is known to be healthy. Choose a patient to name."
        if not suspect:
            return "Choose a bug first."
        if letter in self.named:
            return f"{letter} is already named. {reveal(letter)}"
        self.tried[letter].add(suspect)
        if NAMES.index(suspect) != PATIENTS[letter]:
            return f"Not that one for {letter}. Look again, or use another check."
        self.named.add(letter)
        return f"Right. {reveal(letter)}"

    @property
    def score(self) -> str:
        used, tries = (sum(map(len, found.values())) for found in (self.used, self.tried))
        counts = f"{used} check{'s' * (used != 1)}, {tries} name{'s' * (tries != 1)} tried"
        named = f" ({', '.join(sorted(self.named))})" * bool(self.named)
        return f"Score: {len(self.named)} of {len(self.patients)} named{named}; {counts}."

    def draw(self, patient: str, check: str, suspect: str, name: int) -> tuple[Figure, str]:
        """The widget's content: the figure, its sentence, the answer if a bug was just named, and the score."""
        said, answer = f" · you suspect: {suspect}" * bool(suspect), []
        if name > self.clicks:  # first, so that the verdict comes with the name
            self.clicks, answer = name, [self.name(patient, suspect)]
            if not suspect:
                said = " · no bug is chosen"
            elif patient != TWIN:
                said += " · right" if patient in self.named else " · not that one"
        figure, words = self.examine(patient, check)
        figure.suptitle(f"{TWIN if patient == TWIN else f'patient {patient}'}{said}", fontsize=9, color=OWN)
        return figure, "\n".join([words, *answer, self.score])


def clinic(patients: str = HUNTED) -> Explorer:
    """Choose a patient, or the twin to compare with, then a check; when you suspect a bug, choose and name it."""
    patient, check = choice("patient", [*patients, TWIN]), choice("check", [CHART, *CHECKS])
    suspect = widgets.Dropdown(
        options=[("choose …", ""), *((f"{k}. {name}", name) for k, name in enumerate(NAMES))],
        description="the bug is",
        style={"description_width": "initial"},
        layout={"width": "38em"},
    )

    def begin(_: dict) -> None:
        check.value, suspect.value = CHART, ""

    patient.observe(begin, "value")  # first, so that another patient costs no check
    return Explorer(
        Clinic(patients).draw,
        "A check on a patient of the clinic.",
        patient=patient,
        check=check,
        suspect=suspect,
        name=button("Name it"),
    )
