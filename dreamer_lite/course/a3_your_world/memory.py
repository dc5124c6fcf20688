"""Notebook A3: a ball that hides. What is stored, where dreams expect it, the surprise; and runs that failed."""

import csv
from functools import lru_cache
import json
from pathlib import Path

from matplotlib.figure import Figure
import numpy as np
import torch
from torch import Tensor

from ...agent import Dreamer
from ...errors import Refused
from ...rssm import State
from ..bundled import ASSETS
from ..episodes import Episode, play, thoughts
from ..explore import DREAM, GREY, OWN, POSTERIOR, REALITY, Explorer, canvas, choice, tidy, whole
from ..n01_experience.alignment import draw_table
from ..worlds import HiddenCatch

RUNS = ASSETS / "runs" / "worlds"
MOVES = ("left", "stay", "right")


def draw_data(episode: Episode, t: int) -> tuple[Figure, str]:
    """The alignment X-ray of an episode: observations, the actions that led to them, rewards, flags; the real ball."""
    steps, ball = episode.steps, [str(ball) for ball in episode.notes]
    flags = [
        ["yes" if flag else "·" for flag in part.tolist()]
        for part in (steps.is_first, steps.is_last, steps.is_terminal)
    ]
    moves = [MOVES[int(action.argmax())] if action.any() else "–" for action in steps.action]
    rows = {
        "the ball, as it really is": ball,
        "seen: ball": [f"{x:g}" if seen else "hidden" for _, x, seen, _ in steps.obs.tolist()],
        "seen: rows left": [f"{x:g}" for x in steps.obs[:, 3].tolist()],
        "seen: paddle": [f"{x:g}" for x in steps.obs[:, 0].tolist()],
        "action that led here": moves,
        "reward": [f"{x:g}" for x in steps.reward.tolist()],
        "is_first": flags[0],
        "is_last": flags[1],
        "is_terminal": flags[2],
    }
    colours = (GREY, REALITY, REALITY, REALITY, OWN, POSTERIOR, GREY, GREY, GREY)
    figure = draw_table(rows, colours, t, steps.is_first.tolist(), width=0.5)
    end = (
        "the ball was missed: the world ends"
        if steps.is_terminal[-1]
        else "five balls were caught: we stop, the world would continue"
    )
    here = f"paddle {rows['seen: paddle'][t]}, ball {rows['seen: ball'][t]}"
    how = f"the action '{moves[t]}' led to {here}" if steps.action[t].any() else f"an episode begins at {here}"
    return figure, f"Step {t}: {how}. In the last step {end}."


def data_xray(episode: Episode) -> Explorer:
    """Move through an episode of your own environment."""
    last = min(len(episode.notes), 24)
    short = Episode(episode.steps.map(lambda part: part[:last]), episode.notes[:last])
    return Explorer(
        lambda t: draw_data(short, t),
        "Table of an episode, one column per step: the ball, what was seen of it, actions, rewards and flags.",
        t=whole("step", 0, last - 1, min(5, last - 1)),
    )


@lru_cache(32)
def game(agent: Dreamer, seed: int = 1, world: type = HiddenCatch) -> Episode:
    """One episode of an agent in this environment; its notes are the ball's real columns."""
    return play(agent, world, seed, lambda world: int(world.ball))


@torch.no_grad()
def expected_columns(agent: Dreamer, episode: Episode, t: int, forget: bool, dreams: int = 64) -> Tensor:
    """Where the ball lands in dreams from step t on, if the paddle stays: shares of the columns -3 to 3, (7)."""
    states, _ = thoughts(agent, episode, forget)
    state, rows = State(states.h[[t] * dreams], states.z[[t] * dreams]), int(episode.steps.obs[t, 3])
    torch.manual_seed(0)
    for _ in range(rows):
        state = agent.world_model.rssm.imagine_step(state, torch.eye(3)[[1] * dreams])
    ball = agent.world_model.predict_obs(state.feature)[:, 1].round().clamp(-3, 3)
    return torch.bincount(ball.long() + 3, minlength=7) / dreams


def draw_ball(agent: Dreamer, t: int, memory: str, world: type = HiddenCatch) -> tuple[Figure, str]:
    """The board, the columns where the ball lands in 64 dreams, and the surprise at each step."""
    episode, forget = game(agent, world=world), memory == "cleared at every step"
    t = min(t, len(episode.notes) - 1)
    paddle, _, seen, row = episode.steps.obs[t].tolist()
    nats, kept = thoughts(agent, episode, forget)[1], thoughts(agent, episode)[1]
    shares = expected_columns(agent, episode, t, forget)
    figure = canvas(7.5, 3.4)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.6))
    board, below = left.subplots(2, 1, height_ratios=(2, 1), sharex=True)
    board.plot(
        episode.notes[t],
        row,
        "o",
        markersize=11,
        color=REALITY,
        fillstyle="full" if seen else "none",
        label="ball" + " (hidden)" * (not seen),
    )
    board.plot([paddle - 0.4, paddle + 0.4], [-0.5, -0.5], color="black", linewidth=4)
    board.axhline(3.5, color=GREY, linestyle=":", linewidth=1)
    board.set(xlim=(-3.5, 3.5), ylim=(-0.8, 6.5), ylabel="rows left")
    board.legend(fontsize=7, loc="upper right")
    tidy(below, xlabel="column", ylim=(0, 1.05), ylabel="dreams").bar(range(-3, 4), shares, color=DREAM)
    below.set_xticks(range(-3, 4))
    axes = tidy(
        right.subplots(), xlabel="step", ylabel="surprise (nats)", ylim=(0, max(6.0, float(nats[1:].max()) + 0.5))
    )
    axes.plot(range(1, len(kept)), kept[1:], color=POSTERIOR, label="memory kept")
    if forget:
        axes.plot(range(1, len(nats)), nats[1:], color=OWN, linestyle="--", label="cleared at every step")
    for landing in (episode.steps.obs[:, 3] == 0).nonzero()[:, 0].tolist():
        axes.axvline(landing, color=GREY, linestyle=":", linewidth=1)
    axes.axvline(t, color="black", linewidth=1)
    axes.legend(fontsize=7)
    words = "seen" if seen else "hidden"
    return figure, (
        f"Step {t}: the ball is in column {episode.notes[t]}, {words}, {row:g} row{'s' * (row != 1)} up. Memory "
        f"{memory}: {float(shares[episode.notes[t] + 3]):.0%} "
        f"of the dreams see it land there; surprise {float(nats[t]):.1f} nats."
    )


def ball_explorer(agent: Dreamer, world: type = HiddenCatch) -> Explorer:
    """Move through an episode, and see where dreams expect the hidden ball, with memory and without."""
    return Explorer(
        lambda t, memory: draw_ball(agent, t, memory, world),
        "A board with a ball and a paddle, where dreams expect the ball to land, and surprise over time.",
        t=whole("step", 0, len(game(agent, world=world).notes) - 1, 5),
        memory=choice("memory", ["kept", "cleared at every step"]),
    )


def landings(agent: Dreamer, forget: bool, world: type = HiddenCatch, games: int = 20) -> list[float]:
    """The surprise at each landing, when a ball is seen again, in nats, in some episodes."""
    found = []
    for seed in range(games):
        episode = game(agent, seed, world)
        found += thoughts(agent, episode, forget)[1][episode.steps.obs[:, 3] == 0].tolist()
    return found


def read_metrics(file: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv; nan for empty cells."""
    with file.open(encoding="utf-8") as rows:
        return [{key: float(value or "nan") for key, value in row.items()} for row in csv.DictReader(rows)]


def recorded(name: str) -> list[Path]:
    """The run cards of the recorded seeds, their metrics beside them. Raises Refused, with advice, if none exist."""
    files = sorted(RUNS.glob(f"{name}-seed[0-9].json"))
    if not files:
        raise Refused("the recorded runs are not there; start Jupyter inside a clone of the repository")
    return files


def balls(name: str) -> list[float]:
    """Balls caught per episode at the end of each recorded seed, the mean of 100 episodes."""
    cards = [json.loads(file.read_text(encoding="utf-8")) for file in recorded(name)]
    return [card["final_evaluation"]["sampled"]["mean"] for card in cards]


PATIENTS = {
    "healthy": "HiddenCatch",
    "A": "HiddenCatch-sluggish",
    "B": "HiddenCatch-curious",
    "C": "HiddenCatch-forgetful",
}
PANELS = {
    "return": "return: balls caught",
    "reconstruction": "reconstruction loss",
    "dyn": "surprise (KL, nats)",
    "policy_entropy": "entropy of the policy",
}


def draw_patients() -> tuple[Figure, str]:
    """A healthy run and three that failed: four training curves of each."""
    figure, words = canvas(8, 4.4), []
    axes = figure.subplots(2, 2).flatten()
    for (who, name), colour, style in zip(PATIENTS.items(), (GREY, REALITY, DREAM, OWN), ("-", "--", "-.", ":")):
        rows = read_metrics(recorded(name)[0].with_suffix(".csv"))
        for panel, (key, label) in zip(axes, PANELS.items()):
            points = [(row["env_steps"], row[key]) for row in rows if np.isfinite(row[key]) and row["train_steps"]]
            tidy(panel, title=label).plot(*zip(*points), style, color=colour, label=who)
        last = rows[-1]
        words.append(f"{who}: " + ", ".join(f"{key.replace('_', ' ')} {last[key]:.2g}" for key in PANELS))
    axes[1].set_yscale("log")
    axes[0].legend(fontsize=8)
    for panel in axes[2:]:
        panel.set_xlabel("environment steps")
    return figure, "At the end, " + "; ".join(words) + "."
