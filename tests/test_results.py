"""docs/results.md says what was recorded."""

import csv
import json
from pathlib import Path
import sys

import pytest

from dreamer_lite.config import Config

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "assets"))

import make  # noqa: E402


def solved(folder, name):
    """After how many environment steps each seed was solved, in words."""
    cards = [json.loads(file.read_text()) for file in sorted((ROOT / "assets/runs" / folder).glob(f"{name}seed?.json"))]
    assert [card["seed"] for card in cards] == list(range(len(cards)))
    return [f"{steps:,}" if (steps := card["solved_at_env_steps"]) else "never" for card in cards]


@pytest.mark.parametrize("name", make.THRESHOLDS)
def test_the_presets_are_compared_as_recorded(name):
    general = solved("general", f"{name}-")
    small = solved("worlds", f"{name}-")[: len(general)] or ["2,000", "1,000", "1,000"]  # CartPole has other runs now
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith(f"| {name}") and line.count("|") == 4)
    assert row.split(" | ")[1:] == [", ".join(small), ", ".join(general) + " |"]


def evaluated(folder, name):
    """The evaluations of each of the first three seeds, by environment step."""
    for seed in range(3):
        with (ROOT / f"assets/runs/{folder}/{name}-seed{seed}.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if float(row["eval_episodes"])]
        yield {float(row["env_steps"]): float(row["eval_mean"]) for row in rows}


@pytest.mark.parametrize("name, digits", [("Pendulum", 0), ("CliffWalking", 0), ("Blackjack", 2)])
def test_worlds_without_a_threshold_are_compared_as_recorded(name, digits):
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith(f"| {name}") and line.count("|") == 4)
    for said, folder in zip(row.split(" | ")[1:], ("worlds", "general")):
        for words, curve in zip(said.strip(" |").split(", "), evaluated(folder, name), strict=True):
            kept = (
                [mean for step, mean in curve.items() if step >= 1500] if name == "Pendulum" else [*curve.values()][-1:]
            )
            assert float(words) == round(sum(kept) / len(kept), digits)


def test_other_defaults_are_compared_as_recorded():
    found = json.loads((ROOT / "assets/runs/variants.json").read_text(encoding="utf-8"))
    assert list(found) == list(make.VARIANTS)
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8").splitlines()
    named = {"nothing else": {name: solved("general", f"{name}-")[:3] for name in make.THRESHOLDS}}
    for variant, worlds in found.items():
        assert list(worlds) == list(make.THRESHOLDS)
        named[variant] = {name: [f"{steps:,}" if steps else "never" for steps in worlds[name]] for name in worlds}
    for variant, worlds in named.items():
        cells = " | ".join(", ".join(steps) for steps in worlds.values())
        assert all(len(steps) == 3 for steps in worlds.values()) and f"| {variant} | {cells} |" in page


def test_the_runs_of_general_have_its_settings():
    for card in (ROOT / "assets/runs/general").glob("*.json"):
        config = Config(**json.loads(card.read_text())["config"])
        kept = config.changes(Config.preset("general", env=config.env, seed=config.seed, log_every=config.log_every))
        assert kept["discount_horizon"] == (333, 100) and not kept.keys() - {"steps", "env_args", "discount_horizon"}, (
            card
        )


def test_the_agent_that_stays_at_the_cliff_hardly_saw_the_goal():
    """Each of its episodes took about 200 steps, so it ended by the time limit."""
    with (ROOT / "assets/runs/worlds/CliffWalking-seed2.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert (float(last["env_steps"]), float(last["episodes"])) == (3000, 14)
    assert "It finished 14 episodes in 3,000 steps" in (ROOT / "docs/results.md").read_text(encoding="utf-8")


CHOICES = {
    "FrozenLake-v1, slippery": "FrozenLake-slippery",
    "CliffWalking-v1": "CliffWalking",
    "Taxi-v4": "Taxi",
    "Blackjack-v1": "Blackjack",
    "MinAtar Breakout": "MinAtar-Breakout",
}


def test_choices_are_compared_as_recorded():
    """Before and after they were learned as choices."""
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8").splitlines()
    frozen = " | ".join(", ".join(solved(folder, "FrozenLake-")) for folder in ("worlds", "choices"))
    assert f"| FrozenLake-v1, not slippery | solved after | {frozen} |" in page
    assert set(CHOICES.values()) == set(make.CHOICES) - {"FrozenLake"}
    for name, files in CHOICES.items():
        cells = []
        for folder in ("worlds", "choices"):
            found = []
            for file in sorted((ROOT / "assets/runs" / folder).glob(f"{files}-seed?.csv")):
                with file.open() as lines:
                    means = [float(row["eval_mean"]) for row in csv.DictReader(lines) if float(row["eval_episodes"])]
                found.append(f"{means[-1]:.{2 if abs(means[-1]) < 10 else 0}f}")
            cells.append(", ".join(found))
        assert f"| {name} | last evaluation | {' | '.join(cells)} |" in page
    with (ROOT / "assets/runs/choices/Taxi-seed0.csv").open() as lines:
        left = [row for row in csv.DictReader(lines) if row["env_steps"] == "2500.0"]
    assert 0.001 < float(left[0]["reconstruction"]) < 0.004
