"""What is compared with the official code is compared with equal settings."""

import json
from pathlib import Path
import shutil
import sys

import pytest

from dreamer_lite.config import Config

ASSETS = Path(__file__).parents[1] / "assets"
sys.path.append(str(ASSETS))

import beside  # noqa: E402

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
