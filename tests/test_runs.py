"""Whole runs, as a user starts them: learning, stopping, killing, resuming, bad input."""

import csv
import json
import os
from pathlib import Path
import pickle
import signal
import subprocess
import sys
import time

import gymnasium
import numpy as np
from PIL import Image
import pytest
import torch

from dreamer_lite.run import checkpoint
from dreamer_lite.run import folder
from dreamer_lite.__main__ import main
from dreamer_lite.agent import Dreamer
from dreamer_lite.run.bench import main as bench_main
from dreamer_lite.run.bench import make_batch, matrix_work, operations
from dreamer_lite.config import PRESETS, Config
from dreamer_lite.run.evaluate import evaluate, open_loop
from dreamer_lite.run.loop import Training, prepare_folder, train
from tape import Tape

ROOT = Path(__file__).parent.parent
DEBUG = ["--preset", "debug", "--quiet", "--until", "steps", "--device", "cpu", "--threads", "1"]


def command(*words):
    return [sys.executable, "-m", "dreamer_lite", *map(str, words)]


def finish(*words):
    return subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, timeout=300)


def content(folder):
    """The checkpoint without the clock."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    state["rest"].pop("seconds")
    for row in state["rest"]["rows"]:
        row.pop("seconds")
    state["config"].pop("steps")
    return state


def assert_same(one, other, where="checkpoint"):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other)):
            assert_same(a, b, f"{where}/{i}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other), where
    else:
        assert one == other or one != one and other != other, where  # NaN is NaN


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = finish(*DEBUG, "--steps", 900, "--out", folder)
    assert result.returncode == 0, result.stderr
    return folder


def start_and_wait(folder, saved_steps, *words):
    """A real process, running until it has saved at least so many environment steps."""
    process = subprocess.Popen(command(*DEBUG, "--out", folder, *words), cwd=ROOT, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 120
    while time.time() < deadline and process.poll() is None:
        try:
            if checkpoint.load(folder)[1]["env_steps"] >= saved_steps:
                return process
        except ValueError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"no checkpoint of {saved_steps} steps: {process.communicate()}")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(tmp_path, number):
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    process = start_and_wait(broken, 300, "--steps", 1_000_000)
    process.send_signal(number)
    output, error = process.communicate(timeout=60)
    steps = checkpoint.load(broken)[1]["env_steps"] + 200
    if number == signal.SIGINT:
        assert process.returncode == 130 and f"--resume {broken}" in output and "stopping after this step" in error
    result = finish("--resume", broken, "--quiet", "--steps", steps)  # device, threads and --until are those of the run
    assert result.returncode == 0, result.stderr
    assert finish(*DEBUG, "--steps", steps, "--out", whole).returncode == 0
    assert_same(content(whole), content(broken))


def test_same_seed_same_curve_and_another_seed_another(uninterrupted, tmp_path):
    for name, seed in (("again", 0), ("other", 1)):
        assert finish(*DEBUG, "--steps", 900, "--out", tmp_path / name, "--seed", seed).returncode == 0
    whole = content(uninterrupted)
    assert_same(whole, content(tmp_path / "again"))
    assert whole["rest"]["rows"] != content(tmp_path / "other")["rest"]["rows"]


def test_a_run_folder_holds_what_the_readme_promises(uninterrupted):
    assert {path.name for path in uninterrupted.iterdir()} == {
        "config.json", "metrics.csv", "checkpoint.pt", "learning_curve.png", "card.json"}
    card = json.loads((uninterrupted / "card.json").read_text())
    assert card["env_steps"] == 900 and card["seed"] == 0 and card["versions"]["torch"] == torch.__version__
    assert card["final_evaluation"]["sampled"]["episodes"] == 100
    rows = list(csv.DictReader((uninterrupted / "metrics.csv").open()))
    assert [int(float(row["env_steps"])) for row in rows] == [200, 400, 600, 800]
    assert all(np.isfinite(float(row["critic"])) for row in rows)
    assert Config(**json.loads((uninterrupted / "config.json").read_text())) == Config.preset("debug", steps=900)


def test_evaluate_and_dream_from_the_command_line(uninterrupted, tmp_path, capsys):
    assert main(["evaluate", str(uninterrupted), "--episodes", "3"]) == 0
    output = capsys.readouterr().out
    assert "sampled actions" in output and "greedy actions" in output and "±" in output
    assert main(["dream", str(uninterrupted), "--out", str(tmp_path), "--steps", "4", "--context", "2"]) == 0
    with Image.open(tmp_path / "dream.gif") as gif, Image.open(tmp_path / "dream.png") as strip:
        assert gif.n_frames >= 2 and strip.width > strip.height


def test_the_cpu_preset_soon_beats_a_random_agent():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    training = Training(Config.preset("cpu", seed=3))
    random, best = evaluate(training.agent, "CartPole-v1", 100).mean(), 0.0
    while training.env_steps < 2000 and best < 4 * random:
        training.collect()
        training.learn()
        if training.env_steps % 500 == 0 and training.env_steps >= 1500:
            best = evaluate(training.agent, "CartPole-v1", 50).mean()
    torch.set_num_threads(before)
    assert random < 30 and best > 4 * random, (random, best)


def test_an_evaluation_leaves_the_training_as_it_was():
    agent = Dreamer(Config.preset("debug"), 4, 2, True)
    torch.manual_seed(7)
    before = torch.rand(3)
    torch.manual_seed(7)
    scores = evaluate(agent, "CartPole-v1", 5)
    assert torch.equal(before, torch.rand(3))
    assert np.array_equal(scores, evaluate(agent, "CartPole-v1", 5)) and not np.array_equal(scores, evaluate(agent, "CartPole-v1", 5, seed=1))
    assert scores.shape == (5,) and (scores > 5).all()


def test_the_dream_starts_from_reality_and_follows_the_same_actions():
    agent = Dreamer(Config.preset("debug"), 4, 2, True)
    pair = open_loop(agent, "CartPole-v1", steps=3, context=4)
    assert pair.real.shape == pair.dreamed.shape == (len(pair.actions), 4) and (pair.actions.sum(1) == 1).all()
    with pytest.raises(ValueError, match="before the dream began"):
        open_loop(agent, "CartPole-v1", steps=3, context=400)


def test_continuous_actions_train_and_are_saved(tmp_path):
    config = Config.preset("debug", env="Pendulum-v1", steps=300)
    card = train(config, tmp_path, until="steps", progress=False)
    assert card["env_steps"] == 300 and card["train_steps"] > 0 and card["threshold"] is None
    agent, _ = checkpoint.load(tmp_path)
    assert not agent.discrete and evaluate(agent, "Pendulum-v1", 2).shape == (2,)


class Poisoned(gymnasium.Wrapper):
    def step(self, action):
        obs, *rest = self.env.step(action)
        return np.full_like(obs, np.nan), *rest


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step_and_name(tmp_path, capsys):
    gymnasium.register("Poisoned-v0", lambda: Poisoned(gymnasium.make("CartPole-v1")))
    code = main(["--env", "Poisoned-v0", "--preset", "debug", "--out", str(tmp_path / "run"), "--quiet", "--device", "cpu"])
    error = capsys.readouterr().err
    assert code == 1 and "train step 1 (about environment step 78)" in error and "reconstruction = nan" in error
    agent, _ = checkpoint.load(tmp_path / "run")  # what was saved before is still good
    assert all(p.isfinite().all() for p in agent.parameters())


BAD = {
    "--batchsize 3": "did you mean --batch_size?", "--batch_size x": "'x' is not a whole number", "--batch-size 0": "batch_size must be positive, got 0",
    "--env Nope-v0": "'Nope-v0' cannot be made", "--env Blackjack-v1": "observation space Tuple", "--device foo": "auto, cpu, cuda or cuda:N",
    "--device cuda:99": "CUDA devices here", "--deter 10 --blocks 4": "deter=10 and blocks=4", "--seq_len 200000": "replay_size of at least",
    "--preset huge": "invalid choice: 'huge'", "--resume /nowhere": "no checkpoint at", "evaluate /nowhere": "no checkpoint at",
    "dream": "required: run", "frobnicate": "unknown command 'frobnicate'", "--steps -5": "steps must be positive, got -5",
    "--world_lr nan": "must be a finite number", "--seed -1": "seed must be 0 or more, got -1", "--out /proc/nope": "/proc/nope",
    "--threads -2": "threads must be 0 or more", "--deter 400000000000": "do not fit", "--imag_last 999": "imag_last=999",
    "--resume README.md": "no checkpoint at", "--env os:Nope-v0": "'os:Nope-v0' cannot be made",
    "--seed 100000000000000000000": "seed must be", "--discount_horizon 0.5": "discount_horizon must be more than 1",
    "--episodes 0": "episodes must be positive", "extra": "unknown command 'extra'", "--latent_dim": "expected one argument", "--capture --device cpu": "on a CPU there is nothing to record",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_one_clear_line_and_exit_code_2(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(words.split() + ([] if words.split()[0] in ("evaluate", "dream", "frobnicate", "extra") else ["--quiet"]))
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2 and error.startswith("dreamer_lite: ") and error.count("\n") == 1 and BAD[words] in error, error


def test_options_may_be_written_with_hyphens(tmp_path):
    words = ["--batch-size", "3", "--hidden-dim=8", "--out", str(tmp_path / "run")]
    assert main([*DEBUG, "--steps", "80", *words]) == 0
    config = checkpoint.load(tmp_path / "run")[0].config
    assert config.batch_size == 3 and config.hidden_dim == 8


def test_an_existing_run_is_never_overwritten(uninterrupted, capsys):
    before = (uninterrupted / "checkpoint.pt").read_bytes()
    assert main([*DEBUG, "--out", str(uninterrupted)]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(["--resume", str(uninterrupted), "--batch_size", "3"]) == 2
    assert "--batch_size cannot be changed while resuming" in capsys.readouterr().err
    assert (uninterrupted / "checkpoint.pt").read_bytes() == before


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile_code_ran",)


def test_foreign_damaged_and_hostile_checkpoints_are_refused(uninterrupted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = (uninterrupted / "checkpoint.pt").read_bytes()
    files = {"short.pt": good[: len(good) // 2], "flipped.pt": good[:2000] + bytes(200) + good[2200:], "empty.pt": b"",
             "text.pt": b"not a checkpoint", "hostile.pt": pickle.dumps(Hostile())}
    for name, data in files.items():
        Path(name).write_bytes(data)
    torch.save({"weights": torch.zeros(3)}, "foreign.pt")
    torch.save({"format": checkpoint.FORMAT, "x": Hostile()}, "hostile2.pt")
    state = torch.load(uninterrupted / "checkpoint.pt", weights_only=True)
    torch.save(state | {"config": {**state["config"], "deter": 16}}, "reshaped.pt")
    torch.save(state | {"config": {**state["config"], "unheard_of": 1}}, "newer.pt")
    for name in [*files, "foreign.pt", "hostile2.pt", "reshaped.pt", "newer.pt"]:
        with pytest.raises(ValueError, match=f"checkpoint {name} .*dreamer_lite") as error:
            checkpoint.load(name)
        assert "\n" not in str(error.value)
    assert not Path("hostile_code_ran").exists()


def test_a_run_killed_before_its_first_step_can_be_resumed(tmp_path):
    """The checkpoint written before the first step is as good as any."""
    config = Config.preset("debug", steps=100)
    training = Training(config)
    prepare_folder(tmp_path / "killed", training, False)
    train(config, tmp_path / "killed", resume=True, progress=False)
    train(config, tmp_path / "whole", progress=False)
    a, b = (checkpoint.load(tmp_path / name)[0].optimizer.weights for name in ("killed", "whole"))
    assert torch.equal(a, b)


def test_export_writes_one_page_or_says_why_not(tmp_path, capsys):
    page = tmp_path / "pages" / "player.html"
    assert main(["export", "assets/cartpole.pt", "--out", str(page)]) == 0 and "open it in a browser" in capsys.readouterr().out
    text = page.read_text()
    assert 100_000 < len(text) < 2_000_000 and "/*D" not in text and "/*P" not in text and "src=" not in text and "href=" not in text
    assert (Path("assets/player.html").read_text() == text), "make it again: python assets/make.py player"
    for config, shape in ((Config.preset("debug", env="Pendulum-v1"), (3, 1, False)), (Config.preset("debug", env="Acrobot-v1"), (6, 3, True))):
        checkpoint.save(tmp_path / "other.pt", Dreamer(config, *shape))
        assert main(["export", str(tmp_path / "other.pt")]) == 2
        error = capsys.readouterr().err
        assert "physics of CartPole only" in error and config.env in error and "Traceback" not in error
    assert main(["export", str(tmp_path / "none.pt")]) == 2 and "there is no checkpoint" in capsys.readouterr().err


def test_an_agent_without_a_run_cannot_be_resumed(tmp_path, capsys):
    checkpoint.save(tmp_path / "checkpoint.pt", Dreamer(Config.preset("debug"), 4, 2, True))
    assert main(["--resume", str(tmp_path)]) == 2
    assert "holds an agent but no run" in capsys.readouterr().err


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path):
    """The operating system itself refuses to write past a limit, as on a full disk."""
    program = f"""
import resource, signal
from dreamer_lite.run import checkpoint
from dreamer_lite.agent import Dreamer
from dreamer_lite.config import Config
agent = Dreamer(Config.preset("debug"), 4, 2, True)
checkpoint.save("{tmp_path}/a.pt", agent)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    checkpoint.save("{tmp_path}/a.pt", agent)
except OSError as error:
    print("refused:", error)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert result.stdout.startswith("refused:"), result.stdout + result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
    checkpoint.load(tmp_path / "a.pt")


def test_a_disk_without_room_is_an_error_before_training(tmp_path, monkeypatch, capsys):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(train_module.shutil, "disk_usage", lambda path: usage)
    assert main([*DEBUG, "--out", str(tmp_path / "run")]) == 2
    assert "0 MB free" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize("name", ["cpu", "gpu", "debug", "size1m"])
def test_presets_make_agents(name):
    agent = Dreamer(Config.preset(name), 4, 2, True)
    assert sum(p.numel() for p in agent.parameters() if p.requires_grad) > 0
    assert name != "size1m" or sum(p.numel() for p in agent.parameters() if p.requires_grad) == 637_381  # r2dreamer's count


def test_presets_are_valid_and_unknown_names_are_refused():
    assert all(Config.preset(name) for name in PRESETS)
    with pytest.raises(ValueError, match="choose one of cpu, gpu"):
        Config.preset("tiny")


@pytest.mark.parametrize("discrete", [True, False])
def test_a_train_step_never_waits_for_a_value(discrete):
    config = Config.preset("debug")
    agent, batch = Dreamer(config, 4, 2, discrete), make_batch(config, "cpu")
    with Tape():
        _, means = agent.train_step(batch, agent.initial(config.batch_size).state)
        with pytest.raises(AssertionError, match="waits"):
            means["critic"].item()


def test_weights_that_are_not_finite_are_never_saved(tmp_path, capsys):
    code = main([*DEBUG, "--world_lr", "1e12", "--steps", "400", "--out", str(tmp_path / "run")])
    assert code == 1 and "a loss is not finite" in capsys.readouterr().err
    agent, _ = checkpoint.load(tmp_path / "run")
    assert all(p.isfinite().all() for p in agent.parameters())


def test_an_environment_whose_name_imports_a_module_is_not_taken_from_a_checkpoint(tmp_path, capsys):
    agent = Dreamer(Config.preset("debug", env="antigravity:CartPole-v1"), 4, 2, True)
    checkpoint.save(tmp_path / "a.pt", agent)
    assert main(["evaluate", str(tmp_path / "a.pt"), "--episodes", "1"]) == 2
    assert "would import a module; if you trust it, add --env" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "a.pt"), "--episodes", "1", "--env", "CartPole-v1"]) == 0


@pytest.mark.parametrize("changes", [dict(discount_horizon=1), dict(discount_horizon=0.5), dict(batch_size=2.5), dict(env=3),
                                     dict(latent_dim=True), dict(seed=2**64), dict(entropy=float("inf")), dict(seq_len=1)])
def test_settings_that_cannot_work_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        Config.preset("cpu", **changes)


def test_the_bench_prints_each_part(capsys):
    assert bench_main(["--shape", "debug", "--repeats", "2", "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    assert all(word in output for word in ("forward", "backward", "optimizer", "train step", "environment steps/s", "peak memory",
                                           "operations", "floor", "eager"))


def test_the_bench_draws_how_the_time_grows(capsys, tmp_path):
    assert bench_main(["--shape", "debug", "--repeats", "1", "--device", "cpu", "--growth", str(tmp_path / "growth.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["B", "T", "H", "network"] and all(line.count("×") == 4 for line in lines)
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        bench_main(["--shape", "debug", "--repeats", "1", "--device", "cpu", "--growth", "/proc/nope/growth.png"])
    assert "/proc/nope" in capsys.readouterr().err


def test_the_bench_counts_the_arithmetic_of_a_known_product():
    a, b = torch.ones(10, 20), torch.ones(20, 30, requires_grad=True)
    assert matrix_work(lambda: (a @ b).sum().backward()) == 2 * 2 * 10 * 20 * 30  # forward, and backward to b
    assert operations(lambda: (a.view(20, 10).t() + 1)) == [200]  # views launch nothing
