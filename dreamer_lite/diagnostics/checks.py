"""Ten checks (appendix A1): each asks one question of an agent, measures, draws, and says what is healthy."""

from collections.abc import Callable
import math
from typing import NamedTuple

from matplotlib.figure import Figure
from torch import Tensor

from ..agent import Dreamer
from ..replay import Experience
from ..rssm import State
from . import drawing, measures

# Chosen between the values of healthy and of sick runs on CartPole; `assets/patients/verdicts.json` has them all.
MISPLACED, CONTROL, STILL, KICKED, JUMP, OVERFIT = 0.02, 0.8, 1.0, 2.0, 3.0, 0.2
PROMISED, ERROR, SCALE, LEFT = (0.5, 2.0), 2.0, 0.3, (0.02, 0.98)


class Evidence(NamedTuple):
    """What the checks examine. E environments side by side, T steps in each."""

    agent: Dreamer
    replayed: Experience  # (L, …) consecutive rows of the replay buffer; without one, the first environment of `played`
    played: Experience  # (E, T, …) what the agent experienced just now
    states: State  # (E, T, …) its states meanwhile
    rows: list[dict[str, float]]  # of metrics.csv
    cut: Tensor  # (n,) for each episode cut off by a time limit, whether it is stored as ended or as going on


class Measure(NamedTuple):
    """A number and its healthy range; NaN means that it can't be told."""

    words: str
    value: float
    low: float = -math.inf
    high: float = math.inf

    @property
    def healthy(self) -> bool | None:
        return None if math.isnan(self.value) else self.low <= self.value <= self.high

    @property
    def range(self) -> str:
        if self.low == self.high:
            return f"healthy: {self.low:g}"
        if self.high == math.inf:
            return f"healthy: at least {self.low:g}"
        return f"healthy: {self.low:g} to {self.high:g}" if self.low > -math.inf else f"healthy: at most {self.high:g}"


class Finding(NamedTuple):
    """What a check found."""

    title: str
    question: str
    measures: list[Measure]
    figure: Figure
    advice: str  # where to look if it is not healthy

    @property
    def measured(self) -> list[Measure]:
        """The measures that have a number."""
        return [measure for measure in self.measures if measure.healthy is not None]

    @property
    def healthy(self) -> bool | None:
        """Whether all measures are in their ranges; None if there is no number at all."""
        return all(measure.healthy for measure in self.measured) if self.measured else None


def alignment(evidence: Evidence) -> Finding:
    replayed, cut = evidence.replayed, evidence.cut
    return Finding(
        "Alignment X-ray",
        "Do action, reward and flags in the replay buffer lie beside the observation that they belong to?",
        [
            Measure(
                "share of the change left unexplained by the row's own action, minus that of the best row",
                measures.misplaced(replayed, evidence.played),
                high=MISPLACED,
            ),
            Measure("largest action in a row that begins an episode", measures.action_at_first(replayed), 0, 0),
            Measure(
                "share of episodes cut off by a time limit that are not stored as cut off",
                cut.float().mean().item() if len(cut) else math.nan,
                0,
                0,
            ),
            Measure("share of episode ends after which no row begins an episode", measures.unmarked(replayed), 0, 0),
        ],
        drawing.draw_alignment(replayed, measures.unexplained_by_row(replayed), cut.tolist()),
        "Notebook 01, and `training/state.py: Training.collect`, `envs/stepping.py: Envs.step_one`.",
    )


def control(evidence: Evidence) -> Finding:
    errors = measures.dream_errors(evidence.agent, evidence.played, evidence.states)
    own, shuffled, still = errors.mean(1).tolist()
    return Finding(
        "Shuffled actions",
        "Does the world model use the actions, and does it dream better than a still image?",
        [
            Measure(
                "error with the true actions, over the error with actions of another moment",
                measures.ratio(own, shuffled),
                high=CONTROL,
            ),
            Measure("the same, over the error where nothing moves", measures.ratio(own, still), high=STILL),
        ],
        drawing.draw_control(errors),
        "Notebook 07. If alignment is healthy, the world model has not learned enough: train longer, or raise "
        "--world_lr.",
    )


def causality(evidence: Evidence) -> Finding:
    half = measures.HALF
    moved = measures.moved_states(evidence.agent, evidence.played)
    return Finding(
        "Causality triangle",
        "Which states move when one observation is replaced?",
        [
            Measure("largest move of an earlier state", moved.tril(-1).max().item(), 0, 0),
            Measure("largest move beyond the border between two episodes", moved[:half, half:].max().item(), 0, 0),
            Measure("largest move of the step's own state", moved.diagonal().max().item(), low=1e-6),
        ],
        drawing.draw_causality(moved),
        "Notebook 05, and `rssm.py: RSSM.observe`, where the memory is reset.",
    )


def surprise(evidence: Evidence) -> Finding:
    lived, kicked = measures.surprises(evidence.agent, evidence.played, evidence.states)
    return Finding(
        "Surprise at a kick",
        "How many nats of surprise does an unexpected observation bring?",
        [
            Measure("KL at an observation of another moment, nats", kicked.mean().item(), low=KICKED),
            Measure("the same, over the usual KL", (kicked.mean() / lived.mean().clamp(min=0.05)).item(), low=JUMP),
        ],
        drawing.draw_surprise(lived[0], kicked[0], evidence.played.is_first[0], KICKED),
        "Notebooks 04 and 05. If the KL is near 0 everywhere, the posterior says no more than the prior.",
    )


def flow(evidence: Evidence) -> Finding:
    norms = measures.step_gradients(evidence.agent, evidence.played, evidence.states)
    leaks, dry = measures.wrong_flow(norms)
    return Finding(
        "Gradient-flow map",
        "Which part learns from which loss?",
        [
            Measure("parts that learn from a loss and should not", len(leaks), 0, 0),
            Measure("parts that should learn from a loss and do not", len(dry), 0, 0),
        ],
        drawing.draw_flow(norms),
        "Notebook 06. Look for a missing or superfluous detach: " + ", ".join(leaks + dry),
    )


def free_nats(evidence: Evidence) -> Finding:
    free = evidence.agent.config.free_nats
    raw, dyn, rep = measures.kl_and_losses(evidence.agent, evidence.played, evidence.states)
    gap = max(measures.largest_difference(loss, raw.clamp(min=free)) for loss in (dyn, rep))
    return Finding(
        "Free nats",
        "Does each step pay for its KL, and nothing below the free nats?",
        [Measure("largest difference between a loss and max(free nats, KL), nats", round(gap, 4), high=1e-3)],
        drawing.draw_free_nats(raw, dyn, rep, free),
        "Notebook 06, and `world_model.py: kl_losses`.",
    )


def returns(evidence: Evidence) -> Finding:
    found = measures.promises(evidence.agent, evidence.played, evidence.states)
    return Finding(
        "Real against promised return",
        "Does the critic promise what comes?",
        [
            Measure("value over return, where returns are large", found.ratio, *PROMISED),
            Measure("mean error of the values, over the mean size of what came (at least 1)", found.error, high=ERROR),
        ],
        drawing.draw_returns(found),
        "Notebooks 03 and 08. Too small: do the bins reach as far as the returns? Too large: does the dream know how "
        "an episode ends?",
    )


def by_hand(evidence: Evidence) -> Finding:
    found = measures.count_dream(evidence.agent, evidence.states)
    largest = found.returns[1].abs().max().clamp(min=1e-3).item()
    weights, returns = (measures.largest_difference(*pair) for pair in (found.weights, found.returns))
    return Finding(
        "A dream by hand",
        "Are the weights and λ-returns of a dream those that plain loops give?",
        [
            Measure("largest difference of a weight", round(weights, 5), high=1e-3),
            Measure("largest difference of a return, over the largest return", round(returns / largest, 5), high=1e-3),
        ],
        drawing.draw_counted(found),
        "Notebooks 07 and 08, and `agent.py: Dreamer.dream_losses`, `imagination.py: step_weights`.",
    )


def curves(evidence: Evidence) -> Finding:
    now = measures.curiosity(evidence.agent, evidence.states)
    return Finding(
        "Entropy and scale",
        "Is the policy still curious, and does the return scale keep up with the returns?",
        [
            Measure(
                "return scale over the spread of dreamed returns now", measures.ratio(now.scale, now.spread), low=SCALE
            ),
            Measure("share of the largest possible entropy that is left", measures.ratio(now.entropy, now.most), *LEFT),
            Measure("direction in which the entropy bonus moves the entropy (1 is up)", now.push, 0.5, 1.001),
        ],
        drawing.draw_curves(evidence.rows, now, SCALE),
        "Notebook 09. Entropy near 0 too soon: raise --entropy. Near its largest: lower it, or the advantages carry no "
        "signal yet.",
    )


def overfit(evidence: Evidence, steps: int = 60) -> Finding:
    losses = measures.overfit_losses(evidence.agent, evidence.played, steps)
    left = measures.remaining(losses["reconstruction"])
    return Finding(
        "Overfit one batch",
        "Can fresh weights memorise one small batch?",
        [Measure(f"reconstruction loss after {steps} train steps, over the first one", left, high=OVERFIT)],
        drawing.draw_overfit(losses, OVERFIT),
        "Notebook 06. If they can't, the gradient does not arrive where it should: see the gradient-flow map.",
    )


CHECKS: dict[str, Callable[[Evidence], Finding]] = {
    "alignment": alignment,
    "control": control,
    "causality": causality,
    "surprise": surprise,
    "flow": flow,
    "free_nats": free_nats,
    "returns": returns,
    "by_hand": by_hand,
    "curves": curves,
    "overfit": overfit,
}
