"""Notebook A1: ten sick runs and a healthy one, looks at them, and a bug to be named."""

from functools import lru_cache

import ipywidgets as widgets
from matplotlib.figure import Figure
import numpy as np

from ...run.diagnose import case_of, look_at, sentence
from ...run.looks import LOOKS, Case, Finding
from ..bundled import ASSETS
from ..explore import DREAM, GREY, REALITY, Explorer, button, canvas, choice, tidy
from .bugs import BUGS, Patch, planted

PATIENTS = dict(zip("ABCDEFGHIJK", (1, 9, 4, 0, 6, 3, 10, 8, 2, 7, 5)))  # which bug each has, counted from 1; 0: none
NAMES = ["none: it is healthy", *(bug.name for bug in BUGS)]
CHART = "chart"  # what hangs on every bed, and costs no look


def patches_of(number: int) -> list[Patch]:
    """What has to be planted for the bug of this number, 0 for none."""
    return [BUGS[number - 1].patch] if number else []


@lru_cache
def case(letter: str) -> Case:
    """The patient, with its bug inside while it plays."""
    with planted(*patches_of(PATIENTS[letter])):
        return case_of(ASSETS / "patients" / f"{letter}.pt")


@lru_cache(200)
def finding(letter: str, look: str) -> Finding:
    """What a look finds, with the bug inside."""
    patient = case(letter)
    with planted(*patches_of(PATIENTS[letter])):
        return look_at(patient, look)


HEALTHY = next(letter for letter, number in PATIENTS.items() if not number)
CURVES = {
    "return": "return of an episode",
    "reconstruction": "reconstruction loss",
    "dyn": "surprise (KL, nats)",
    "policy_entropy": "entropy of the policy",
}


def draw_chart(letter: str) -> tuple[Figure, str]:
    """Four curves of the run, beside those of a healthy twin, and the pole in one stretch of play."""
    figure = canvas(8, 4.2)
    axes = figure.subplots(2, 3).flatten()
    for panel, (key, label) in zip(axes, CURVES.items()):
        for who, colour, style in ((HEALTHY, GREY, "-"), (letter, REALITY, "--")):
            rows = [row for row in case(who).rows if np.isfinite(row.get(key, np.nan))]
            tidy(panel, title=label).plot([row["env_steps"] for row in rows], [row[key] for row in rows], style, color=colour)
    axes[1].set_yscale("log")
    played, steps = case(letter).played, slice(0, 120)
    for panel, column, label in ((axes[4], 2, "the pole's angle, radians"), (axes[5], 0, "the cart's place, metres")):
        tidy(panel, title=label, xlabel="step").plot(played.obs[0, steps, column], color=REALITY)
        for t in played.is_first[0, steps].nonzero()[:, 0].tolist():
            panel.axvline(t, color=DREAM, linewidth=0.8, linestyle=":")
    last = case(letter).rows[-1]
    return figure, (
        f"Patient {letter}, dashed, and a healthy twin, grey; orange: an episode begins. At the end, return {last['return']:.0f} of 100, "
        f"reconstruction {last['reconstruction']:.1g}, dyn {last['dyn']:.2g}, policy entropy {last['policy_entropy']:.2g}."
    )


def draw_look(letter: str, look: str) -> tuple[Figure, str]:
    """The chart, or what a look finds, in a picture and one sentence."""
    if look == CHART:
        return draw_chart(letter)
    found = finding(letter, look)
    return found.figure, f"Patient {letter}. {sentence(found)}."


def reveal(number: int) -> str:
    """What was changed: where, the line and what stands there instead, who had it, what it does."""
    if not number:
        return "It is healthy: every line is as it should be."
    bug = BUGS[number - 1]
    return f"{bug.patch.where}\n  - {bug.patch.line}\n  + {bug.patch.instead}\nSeen in {bug.seen}.\n{bug.words}"


class Clinic:
    """Who was looked at, and how; who was named, and after how many tries. The score counts looks, never seconds."""

    def __init__(self, patients: str = "".join(PATIENTS)):
        self.patients = patients
        self.looked: dict[str, set[str]] = {letter: set() for letter in patients}
        self.tries: dict[str, int] = dict.fromkeys(patients, 0)
        self.named: dict[str, bool] = {}  # those that are settled
        self.clicks = 0

    def look(self, letter: str, look: str) -> tuple[Figure, str]:
        """See a patient's chart, which is free, or look at it in another way, which counts once."""
        if look != CHART and letter not in self.named:
            self.looked[letter].add(look)
        return draw_look(letter, look)

    def name(self, letter: str, suspect: str) -> str:
        """Say which bug it is; returns the verdict, and the line if it is right."""
        self.tries[letter] += 1
        if NAMES.index(suspect) != PATIENTS[letter]:
            return f"Not that one: {letter} has something else. Look again, or in another way."
        self.named[letter] = True
        return f"Right. {reveal(PATIENTS[letter])}"

    @property
    def score(self) -> str:
        looks, tries = (
            sum(part)
            for part in ((len(self.looked[letter]) for letter in self.named), (self.tries[letter] for letter in self.named))
        )
        if not self.named:
            return f"Score: none of {len(self.patients)} named yet."
        return f"Score: {len(self.named)} of {len(self.patients)} named, with {looks} looks and {tries} names tried."

    def draw(self, patient: str, look: str, suspect: str, name: int) -> tuple[Figure, str]:
        """What the widget shows: the picture, its sentence, the verdict if a name was just given, and the score."""
        figure, words = self.look(patient, look)
        if name > self.clicks:
            self.clicks = name
            words += "\n" + self.name(patient, suspect)
        return figure, words + "\n" + self.score


def clinic(patients: str = "".join(PATIENTS)) -> Explorer:
    """Choose a patient, then a look; when you think that you know, choose a bug and name it."""
    who, look = choice("patient", list(patients)), choice("look", [CHART, *LOOKS])
    who.observe(lambda _: setattr(look, "value", CHART), "value")  # first, so that another patient costs no look
    return Explorer(
        Clinic(patients).draw,
        "A look at a patient of the clinic.",
        patient=who,
        look=look,
        suspect=widgets.Dropdown(
            options=NAMES, description="the bug is", style={"description_width": "initial"}, layout={"width": "38em"}
        ),
        name=button("Name it"),
    )
