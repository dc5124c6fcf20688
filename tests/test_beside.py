"""What is compared with the official code is compared with equal settings."""

import ast
import json
from pathlib import Path
import shutil
import statistics
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from dreamer_lite.codecs import options_at
from dreamer_lite.config import Config, Spaces

ASSETS = Path(__file__).parents[1] / "assets"
PAGE = ASSETS.parent / "docs" / "official.md"
sys.path.append(str(ASSETS))

import beside  # noqa: E402
import speed  # noqa: E402

# How the row of each world begins on the page.
BEGINNINGS = {
    "Pendulum": "Pendulum",
    "RepeatPrevious": "popgym",
    "DoorKey": "MiniGrid",
    "FrozenLake-slippery": "FrozenLake",
    "Taxi": "Taxi",
    "MountainCarContinuous": "MountainCar",
    "Breakout": "MinAtar",
    "Catch": "Catch in",
    "Recall": "Recall",
    "Blackjack": "Blackjack",
}
# Settings that differ from size1m's and are no business of the agent, or whose official name has another meaning.
NOT_TOLD = set("env ignore steps log_every eval_every eval_episodes save_every learn_start".split())
TOLD = set(
    "deter rssm_hidden groups blocks seq_len classes imag_last world_lr actor_lr critic_lr warmup envs mults".split()
)


@pytest.mark.parametrize("name", beside.WORLDS)
def test_the_official_code_is_told_every_setting_that_differs(name):
    config = beside.config_of(name, 3)
    changed = set(config.changes(Config.preset("size1m"))) - {"seed"}
    assert changed <= TOLD | NOT_TOLD
    changes = beside.official_changes(config)
    assert config.world_lr == config.actor_lr == config.critic_lr == changes["agent.opt.lr"]
    assert changes["replay.online"] and config.seed == 3
    # It begins when its replay buffer holds as many sequences as a batch has steps.
    assert config.learn_start == config.batch_size * config.seq_len + config.envs * config.seq_len


def test_the_official_code_sees_choices_as_its_own():
    """As `embodied/envs/from_gym.py` declares them; here without its packages."""
    source = ast.parse((ASSETS / "official_run.py").read_text(encoding="utf-8"))
    (function,) = [node for node in source.body if getattr(node, "name", "") == "seen"]
    function.returns = None
    made = {
        "np": np,
        "elements": SimpleNamespace(Space=lambda *given: given),
        "Spaces": Spaces,
        "options_at": options_at,
    }
    exec(compile(ast.Module([function], []), "official_run.py", "exec"), made)
    parts = made["seen"](Spaces(8, 2, True, (), (), ((0, 3), (5, 1), (6, 2))))
    obs = np.array([0, 1, 0, 5, 6, 1, 0, 1], np.float32)
    assert {name: space for name, (space, _) in parts.items()} == {
        "choice000": (np.int32, (), 0, 3),
        "choice002": (np.int32, (), 0, 2),
        "flags": (bool, (1,)),
        "vector": (np.float32, (2,)),
    }
    read = {name: np.asarray(look(obs)).tolist() for name, (_, look) in parts.items()}
    assert read == {"choice000": 1, "choice002": 1, "flags": [True], "vector": [5, 6]}


@pytest.mark.parametrize("name", beside.WORLDS)
def test_its_decoder_can_be_made(name):
    """Its channels are divided among blocks, and its smallest image has at least three rows."""
    config = beside.config_of(name, 0)
    assert config.depth * config.mults[-1] % config.bspace == 0
    if name == "Catch":
        assert 16 // 2 ** len(config.mults) >= 3


def test_recorded_runs_are_drawn_and_summed_up(tmp_path, monkeypatch, capsys):
    shutil.copytree(ASSETS / "official", tmp_path / "official")
    (tmp_path / "runs").mkdir()
    for file in (ASSETS / "runs").glob("seed[0-9].*"):
        shutil.copy(file, tmp_path / "runs")
    monkeypatch.setattr(beside, "ASSETS", tmp_path)
    beside.draw()
    printed = capsys.readouterr().out
    assert (tmp_path / "beside_official.png").stat().st_size > 20_000
    assert "CartPole, official code: mean from step 1000 on" in printed and "CartPole, without it: " in printed


def test_the_recorded_runs_have_the_settings_of_today():
    """Except for the queue; the cards were written when there was none."""
    for card in [*(ASSETS / "official").glob("*/*seed*.json"), *(ASSETS / "queue").glob("*/*.json")]:
        found, name = json.loads(card.read_text()), card.parent.name
        config = Config(**(found["ours"] if "ours" in found else found["config"]))
        prefix = beside.WITHOUT * card.name.startswith(beside.WITHOUT)
        queue, _ = beside.queue_run(name, config.seed, prefix)
        now = queue if card.parents[1].name == "queue" else beside.config_of(name, config.seed)
        assert set(now.changes(config)) <= {"online_queue"}, card
        assert config.online_queue != bool(prefix)


@pytest.mark.parametrize("name", sorted(BEGINNINGS))
def test_the_page_says_what_was_recorded(name):
    """Means from step 1,000 on, one for each seed, and the seconds of a run."""
    rows = PAGE.read_text(encoding="utf-8").splitlines()
    (row,) = (row for row in rows if row.startswith(f"| {BEGINNINGS[name]}") and row.count("|") == 6)
    *columns, took = row.strip("| ").split(" | ")[2:]
    for column, seconds, files in zip(columns, took.split("; "), ("official_seed", "seed")):
        said, files = [number.replace(",", "") for number in column.split(", ")], f"official/{name}/{files}[0-9].csv"
        digits = max(len(number.partition(".")[2]) for number in said)
        means = beside.late_means(beside.evaluations(files))
        assert sorted(map(float, said)) == sorted(round(mean, digits) + 0.0 for mean in means), files
        assert seconds == "see below" or float(seconds) == round(statistics.median(beside.seconds(files))), files


# Numbers that differ from size1m's and make no step longer or shorter.
NO_WORK = set(
    """train_ratio eval_in bin_limit scale_reconstruction entropy slow_rate epsilon clip average envs steps learn_start
    log_every eval_every eval_episodes save_every replay_size online_queue warmup world_lr actor_lr critic_lr""".split()
)
SIZES = set(
    """groups classes deter blocks hidden rssm_hidden encoder_layers decoder_layers head_layers bins batch_size seq_len
    imag_last horizon discount_horizon""".split()
)


@pytest.mark.parametrize("shape", speed.TASKS)
def test_codes_that_are_timed_are_told_every_size_that_differs(shape):
    config, _ = speed.TASKS[shape]
    assert set(config.changes(Config.preset("size1m"))) <= SIZES | NO_WORK
    told = speed.task_of(shape, "official")["official"]
    assert told["agent.imag_last"] == config.imag_last and told["agent.value.bins"] == config.bins
    assert told["agent.dyn.rssm.hidden"] == (config.rssm_hidden or config.hidden) > 0
    assert ("sheeprl" in speed.codes_of(shape)) == (config.imag_last == 0)


def test_the_table_of_speeds_is_written_from_what_was_measured(tmp_path, monkeypatch, capsys):
    """With made-up times of two codes: medians of medians, shares of the official code's, and the least memory."""
    official, eager = iter([[4.0, 2.0, 3.0], [1.0]]), iter([[1.0], [3.0]])
    made_up = {"official": official, "eager": eager}

    def run(shape, name, python, code):
        seconds = next(made_up[name])
        return {"seconds": seconds, "preparation": 1.0, "peak_mb": 300 + len(seconds), "weights": 110_917}

    page = tmp_path / "speed.md"
    page.write_text(f"before\n{speed.BEGIN}\nold\n{speed.END}\nafter\n")
    for name, value in dict(
        RESULTS=tmp_path / "speed.json",
        PAGE=page,
        run=run,
        versions=lambda python: "jax==0.4.33",
        codes_of=lambda shape: ["official", "eager"],
    ).items():
        monkeypatch.setattr(speed, name, value)
    speed.compare(["small"], dict.fromkeys(("official", "ours"), Path()), Path())
    speed.write_between(speed.PAGE, speed.BEGIN, speed.END, speed.table())
    text = page.read_text()
    assert "| small, 110,917 weights | 2 (1.00) |  | 2 (1.00) |" in text and "| 301 |  | 301 |" in text
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    made_up |= {"official": iter([[1.0]] * 2), "eager": iter([[1.0]] * 2)}
    monkeypatch.setattr(speed, "run", lambda shape, name, *rest: run(shape, name, *rest) | {"weights": len(name)})
    with pytest.raises(SystemExit, match="different numbers of weights"):
        speed.compare(["small"], dict.fromkeys(("official", "ours"), Path()), Path())


def test_the_readme_says_of_speed_what_was_measured():
    rows = json.loads(speed.RESULTS.read_text(encoding="utf-8"))["shapes"]

    def share(shape, way):
        return round(rows[shape][way]["seconds"] / rows[shape]["official"]["seconds"], 2)

    compiled = sorted(share(shape, "`--compile`") for shape in ("common", "tiny", "small"))
    eager = sorted(share(shape, "eager") for shape in ("tiny", "small"))
    said = " ".join((ASSETS.parent / "README.md").read_text(encoding="utf-8").split())
    assert f"{compiled[0]:.2f} to {compiled[-1]:.2f} times as long as the official code's" in said
    assert f"an eager one {share('common', 'eager'):.2f} times in the sizes" in said
    assert f"and {eager[0]:.1f} to {eager[-1]:.1f} times in smaller ones" in said
    page = speed.PAGE.read_text(encoding="utf-8")
    assert page.split(speed.BEGIN)[1].split(speed.END)[0].strip() == speed.table()
