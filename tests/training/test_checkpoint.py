"""Checkpoints: written whole or not at all; damaged, foreign and hostile ones are refused in one line."""

import os
from pathlib import Path
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from dreamer_lite.__main__ import main
from dreamer_lite.agent import Dreamer
from dreamer_lite.config import Config
from dreamer_lite.course.n10_cartpole import run_view
from dreamer_lite.errors import Refused
from dreamer_lite.training import checkpoint
from dreamer_lite.training.bench import CARTPOLE
from dreamer_lite.training.checkpoint import FORMAT, load, save
from dreamer_lite.training.loop import train

ROOT = Path(__file__).parents[2]


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile_code_ran",)


def test_foreign_damaged_and_hostile_checkpoints_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("good.pt", Dreamer(Config.preset("debug"), CARTPOLE), replay={"data": torch.zeros(30_000)})
    good = Path("good.pt").read_bytes()
    files = {
        "short.pt": good[: len(good) // 2],
        "flipped.pt": good[:2000] + bytes(200) + good[2200:],
        "empty.pt": b"",
        "text.pt": b"not a checkpoint",
        "hostile.pt": pickle.dumps(Hostile()),
    }
    for name, data in files.items():
        Path(name).write_bytes(data)
    torch.save({"weights": torch.zeros(3)}, "foreign.pt")
    torch.save({"format": FORMAT, "x": Hostile()}, "hostile2.pt")
    state = torch.load("good.pt", weights_only=True)
    torch.save(state | {"config": {**state["config"], "deter": 16}}, "reshaped.pt")
    torch.save(state | {"config": {**state["config"], "unheard_of": 1}}, "newer.pt")
    for name in [*files, "foreign.pt", "hostile2.pt", "reshaped.pt", "newer.pt"]:
        with pytest.raises(Refused, match=f"checkpoint {name} .*dreamer_lite") as error:
            load(name)
        assert "\n" not in str(error.value)
    assert not Path("hostile_code_ran").exists()


def test_an_agent_without_a_run_cannot_be_resumed(tmp_path, capsys):
    save(tmp_path / "checkpoint.pt", Dreamer(Config.preset("debug"), CARTPOLE))
    assert main(["--resume", str(tmp_path)]) == 2
    assert "holds an agent but no run" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path):
    """The operating system itself refuses to write past a limit, as on a full disk."""
    program = f"""
import resource, signal
from dreamer_lite import Config, Dreamer, Refused, Spaces, save
agent = Dreamer(Config.preset("debug"), Spaces(4, 2, True))
save("{tmp_path}/a.pt", agent)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save("{tmp_path}/a.pt", agent)
except Refused as error:
    print("refused:", error)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert result.stdout.startswith("refused:"), result.stdout + result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
    load(tmp_path / "a.pt")


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A folder with a module that leaves a trace when it is imported, and a run whose checkpoint names it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("evilmod.py").write_text("from pathlib import Path\nPath('evil_was_here').touch()\n")
    train(Config.preset("debug", steps=20), "run", until="steps", progress=False)
    state = torch.load("run/checkpoint.pt", weights_only=True)
    state["config"]["env"] = "evilmod:CartPole-v1"
    torch.save(state, "run/checkpoint.pt")
    yield Path("run")
    sys.modules.pop("evilmod", None)


def test_no_module_is_imported_because_a_checkpoint_names_it(evil, capsys):
    for words in (
        ["--resume", "run"],
        ["--resume", "run", "--steps", "40"],
        ["evaluate", "run"],
        ["dream", "run"],
        ["export", "run"],
    ):
        assert main(words) == 2, words
        assert "would import a module; if you trust it, add --env evilmod:CartPole-v1" in capsys.readouterr().err
    for reader in (load, run_view.load_run):
        with pytest.raises(Refused, match="would import a module"):
            reader(evil)
    assert not Path("evil_was_here").exists()


def test_a_module_that_the_user_names_is_imported(evil, capsys):
    assert (
        main(["--resume", "run", "--env", "evilmod:CartPole-v1", "--steps", "40", "--quiet"]) == 0
        and Path("evil_was_here").exists()
    )
    assert main(["evaluate", "run", "--episodes", "1", "--env", "CartPole-v1"]) == 0
    assert main(["--resume", "run", "--env", "CartPole-v1"]) == 2
    assert "--env cannot be changed while resuming" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_refused(tmp_path, capsys):
    agent = Dreamer(Config.preset("debug"), CARTPOLE)
    agent.actor.heads[0].bias.data[0] = float("nan")
    save(tmp_path / "a.pt", agent)
    assert main(["evaluate", str(tmp_path / "a.pt"), "--episodes", "1"]) == 2
    assert "weights that are not finite, such as actor.heads.0.bias" in capsys.readouterr().err


def test_an_environment_with_other_spaces_is_refused(tmp_path, capsys):
    save(tmp_path / "a.pt", Dreamer(Config.preset("debug"), CARTPOLE))
    for words in (["evaluate"], ["dream"]):
        assert main([*words, str(tmp_path / "a.pt"), "--env", "Pendulum-v1"]) == 2
        assert (
            "an agent in Pendulum-v1 sees 3 numbers and chooses 1 number, but this agent sees 4 numbers"
            in capsys.readouterr().err
        )


def test_the_public_face_saves_and_loads(tmp_path):
    import dreamer_lite

    assert all(getattr(dreamer_lite, name) is not None for name in dreamer_lite.__all__) and set(
        dreamer_lite.__all__
    ) <= set(dir(dreamer_lite))
    agent = dreamer_lite.Dreamer(dreamer_lite.Config.preset("debug"), dreamer_lite.Spaces(4, 2, True))
    dreamer_lite.save(tmp_path / "a.pt", agent)
    again = dreamer_lite.load(tmp_path / "a.pt")
    assert again.config == agent.config and again.spaces == agent.spaces
    assert all(torch.equal(a, b) for a, b in zip(agent.state_dict().values(), again.state_dict().values()))
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = dreamer_lite.nope


def test_a_run_with_settings_of_numpy_can_be_read_again(tmp_path):
    swept = dict(world_lr=np.geomspace(1e-4, 1e-3, 3)[1], train_ratio=np.float64(8), env=np.str_("CartPole-v1"))
    train(Config.preset("debug", steps=40, **swept), tmp_path / "run", progress=False)
    assert load(tmp_path / "run").config.world_lr == swept["world_lr"]


def test_a_path_through_a_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="cannot be written"):
        save(tmp_path / "file" / "agent.pt", Dreamer(Config.preset("debug"), CARTPOLE))


def test_keys_of_what_is_saved_are_data_too(tmp_path):
    with pytest.raises(Refused, match="but extra holds a dtype"):
        checkpoint.save(tmp_path / "a.pt", Dreamer(Config.preset("debug"), CARTPOLE), extra={torch.float32: 1})
