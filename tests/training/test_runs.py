"""Whole runs, as a user starts them: learning, stopping, killing, resuming, logging."""

from contextlib import contextmanager
import csv
from dataclasses import replace
import json
import os
from pathlib import Path
import pickle
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
import warnings

from custom_envs import Forgetful, register
import gymnasium
import numpy as np
from PIL import Image
import pytest
import torch

from dreamer_lite.__main__ import main
from dreamer_lite.agent import Dreamer
from dreamer_lite.command_line import report
from dreamer_lite.config import Config, Spaces
from dreamer_lite.errors import Refused
from dreamer_lite.evaluation import evaluate as evaluate_module
from dreamer_lite.evaluation.dreams import open_loop
from dreamer_lite.evaluation.evaluate import evaluate
from dreamer_lite.evaluation.video import film, gif
from dreamer_lite.files import write_text
from dreamer_lite.training import cost, loop
from dreamer_lite.training import folder as folder_module
from dreamer_lite.training.bench import CARTPOLE
from dreamer_lite.training.checkpoint import load, read, save
from dreamer_lite.training.folder import write_card
from dreamer_lite.training.log import Log
from dreamer_lite.training.loop import Interrupted, train
from dreamer_lite.training.plots import learning_curve
from dreamer_lite.training.state import Training

ROOT = Path(__file__).parents[2]
DEBUG = ["--preset", "debug", "--quiet", "--until", "steps", "--device", "cpu", "--threads", "1", "--compile", "off"]
register()


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
    process = subprocess.Popen(
        command(*DEBUG, "--out", folder, *words), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.time() + 120
    while time.time() < deadline and process.poll() is None:
        try:
            if read(folder).rest["env_steps"] >= saved_steps:
                return process
        except ValueError:
            pass
        time.sleep(0.02)
    process.kill()  # else the words below would wait for it
    raise AssertionError(f"no checkpoint of {saved_steps} steps: {process.communicate()}")


@pytest.mark.parametrize(
    "number", [getattr(signal, "SIGKILL", signal.SIGTERM), signal.SIGINT], ids=["killed", "interrupted"]
)
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(tmp_path, number):
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    process = start_and_wait(broken, 300, "--online_queue", "--steps", 1_000_000)
    process.send_signal(number)
    output, error = process.communicate(timeout=60)
    steps = read(broken).rest["env_steps"] + 200
    if number == signal.SIGINT:
        assert process.returncode == 130 and f"--resume {broken}" in output and "stopping after this step" in error
    result = finish("--resume", broken, "--quiet", "--steps", steps)  # device, threads and --until are those of the run
    assert result.returncode == 0, result.stderr
    assert main([*DEBUG, "--online_queue", "--steps", str(steps), "--out", str(whole)]) == 0
    assert_same(content(whole), content(broken))


def test_a_finished_run_continues_with_more_steps_as_if_it_had_never_ended(uninterrupted, tmp_path, capsys):
    """Its final evaluations leave no trace."""
    run = tmp_path / "run"
    for steps in ("500", "900"):
        start = ["--resume", str(run)] if run.exists() else [*DEBUG, "--out", str(run)]
        assert main([*start, "--quiet", "--steps", steps]) == 0
    assert_same(content(uninterrupted), content(run))
    rows = [(run / "metrics.csv").read_text().splitlines() for run in (uninterrupted, run)]
    assert [row.split(",")[:3] for row in rows[0]] == [row.split(",")[:3] for row in rows[1]]


def test_steps_of_a_resumed_run_count_from_its_beginning(tmp_path, capsys):
    """Fewer than it has taken end it, and that is said; more continue it, also after that."""
    run, config = tmp_path / "run", Config.preset("debug", steps=200)
    train(config, run, until="steps", progress=False)
    for steps, taken, lowered in (
        (200, 200, ""),
        (100, 200, ", and --steps is now 100, no longer 200"),
        (150, 200, ""),
        (260, 260, ""),
    ):
        card = train(replace(config, steps=steps), run, resume=True)
        assert (card["env_steps"], card["finished"]) == (taken, True)
        said = capsys.readouterr().out
        why = f"nothing is left to train: it has taken 200 environment steps{lowered}"
        assert (f"{why}; to continue, give a higher --steps, counted" in said) == (taken == 200)
        assert card["final_evaluation"]["greedy"]["episodes"] == 2


def test_settings_changed_by_hand_in_a_runs_folder_have_no_effect_and_that_is_said(tmp_path, capsys):
    train(Config.preset("debug", steps=100), tmp_path, until="steps", progress=False)
    file = tmp_path / "config.json"
    settings = json.loads(file.read_text())
    told = "changing config.json has no effect on a run: "
    for changed, words in (
        ({}, ""),
        ({"world_lr": 0.5, "steps": 3}, f"{told}steps stays 100, not 3, world_lr stays 0.001, not 0.5\n"),
        ({"word_lr": 0.5}, f"{file} is damaged, and written again ("),
        ("[" * 100_000, f"{file} is damaged, and written again (maximum recursion depth exceeded"),
    ):
        file.write_text(json.dumps(settings | changed) if isinstance(changed, dict) else changed)
        assert main(["--resume", str(tmp_path), "--quiet"]) == 0
        said = capsys.readouterr().err
        assert said.startswith(words and f"dreamer_lite: {words}") and said.count("\n") == bool(words)
        assert json.loads(file.read_text()) == settings


def test_a_run_that_its_episodes_ended_is_told_to_take_more_of_them(tmp_path, capsys):
    config = Config.preset("debug", env="Easy-v0", steps=1000, episodes=2)
    steps = train(config, tmp_path, until="steps", progress=False)["env_steps"]
    train(config, tmp_path, resume=True)
    words = "nothing is left to train: it has played 2 episodes; to continue, give a higher --episodes"
    assert words in capsys.readouterr().out
    train(replace(config, episodes=1), tmp_path, resume=True)
    assert "it has played 2 episodes, and --episodes is now 1, no longer 2; to continue" in capsys.readouterr().out
    train(replace(config, episodes=1, steps=10), tmp_path, resume=True)
    said = capsys.readouterr().out
    assert "environment steps, and --steps is now 10, no longer 1,000, and it has played 2 episodes; to con" in said
    assert "to continue, give a higher --steps and --episodes, counted" in said
    train(replace(config, episodes=1), tmp_path, resume=True)
    capsys.readouterr()
    train(replace(config, steps=2000), tmp_path, resume=True)  # though it is solved, and --steps are higher
    said = capsys.readouterr().out
    assert words in said and "training continues" not in said
    assert train(replace(config, episodes=4), tmp_path, progress=False, resume=True)["env_steps"] > steps


def test_what_an_unfinished_episode_has_paid_is_kept(tmp_path):
    """The sum and the discounted one, which the warning about the bins reads."""
    training = Training(Config.preset("debug", steps=100))
    for _ in range(5):
        training.collect()
    fresh = Training(Config.preset("debug", steps=100))
    fresh.load_state_dict(training.state_dict())
    assert 0 < fresh.discounted[0] == training.discounted[0] < fresh.running[0]
    old = training.state_dict()
    del old["discounted"]  # as in version 0.3.0
    fresh.load_state_dict(old)
    assert fresh.discounted[0] == fresh.running[0]


def test_train_steps_do_not_pile_up_before_there_is_enough_to_replay():
    """With many environments each gave too little for long, and then up to 900 train steps were taken at once."""
    training = Training(Config.preset("debug", envs=32, learn_start=40, train_ratio=8))
    each = 32 * 8 / (training.config.batch_size * training.config.seq_len)
    while training.replay.added <= training.config.seq_len:
        assert training.due == 0
        training.collect()
    assert training.due == each
    training.collect()
    assert training.due == 2 * each


def test_a_solved_run_continues_where_more_steps_are_asked_for(tmp_path, capsys):
    run, config = tmp_path / "run", Config.preset("debug", env="Easy-v0", steps=1000)
    assert train(config, run, progress=False)["env_steps"] == 200
    assert train(config, run, resume=True)["env_steps"] == 200
    words = "nothing is left to train: solved after 200 environment steps; to continue, give --until steps, or other"
    assert words in capsys.readouterr().out
    assert train(replace(config, steps=2000), run, resume=True, until="solved", progress=False)["env_steps"] == 200
    card = train(replace(config, steps=2300), run, resume=True)
    assert (card["env_steps"], card["until"], card["solved_at_env_steps"]) == (2300, "steps", 200)
    assert "solved after 200 environment steps; training continues until 2,300 (--steps)" in capsys.readouterr().out
    assert main(["--resume", str(run), "--steps", "2350", "--quiet"]) == 0  # and so it stays
    assert json.loads((run / "card.json").read_text())["env_steps"] == 2350


def test_a_solved_run_continues_to_fewer_steps_than_it_was_allowed(tmp_path):
    """As docs/runs.md has it: a first run is allowed 20,000 steps, and 8,000 are asked for then."""
    config = Config.preset("debug", env="Easy-v0", steps=1000)
    assert train(config, tmp_path, progress=False)["env_steps"] == 200
    assert train(replace(config, steps=260), tmp_path, resume=True, progress=False)["env_steps"] == 260


def test_a_run_that_saw_choices_as_numbers_goes_on_as_it_was(tmp_path):
    """As version 0.3.0 saved it."""
    config = Config.preset("debug", env="FrozenLake-v1", steps=40)
    train(config, tmp_path, progress=False)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["spaces"].pop("obs_choices") == ((0, 16),)
    torch.save(state, tmp_path / "checkpoint.pt")
    train(replace(config, steps=80), tmp_path, resume=True, progress=False)
    agent = load(tmp_path)
    assert agent.spaces.obs_choices == agent.world_model.decoder.choices == ()
    assert len(evaluate(agent, episodes=2)) == 2


def test_a_run_whose_environments_came_from_a_function_needs_it_again(tmp_path, capsys):
    """Its name alone would make another environment."""

    def ask_to_stop(training):
        if training.env_steps == 20:
            signal.raise_signal(signal.SIGINT)

    def short():
        return gymnasium.make("CartPole-v1", max_episode_steps=7)

    config = Config.preset("debug", steps=40)
    with pytest.raises(Interrupted, match=r"resume=True, make_env=…\)"):
        train(config, tmp_path, make_env=short, progress=False, on_step=ask_to_stop)
    with pytest.raises(Refused, match="'CartPole-v1' from a Python function.*with that function as make_env"):
        train(config, tmp_path, resume=True)
    assert main(["--resume", str(tmp_path)]) == 2 and "with that function as make_env" in capsys.readouterr().err
    assert train(config, tmp_path, resume=True, make_env=short, progress=False)["env_steps"] == 40
    forgetful = tmp_path / "forgetful"  # known by its class, not by the name that config has
    train(config, forgetful, make_env=Forgetful, progress=False)
    with pytest.raises(Refused, match="'Forgetful' from a Python function.*with that function as make_env"):
        train(config, forgetful, resume=True)


def test_what_is_printed_to_continue_keeps_tensorboard(tmp_path, capsys, monkeypatch):
    def stopped(config, out, **how):
        train(config, out, **how, on_step=lambda training: signal.raise_signal(signal.SIGINT))

    monkeypatch.setattr(loop, "train", stopped)
    for name, again in (("without", []), ("with", ["--tensorboard"])):
        assert main([*DEBUG, "--steps", "40", "--out", str(tmp_path / name), *again]) == 130
        said = capsys.readouterr().out
        assert said.endswith(" ".join(["python -m dreamer_lite --resume", str(tmp_path / name), *again]) + "\n")


def test_a_run_that_an_error_ends_leaves_its_card(tmp_path):
    """The README asks for it in a bug report."""
    for env, workers, kind, words in (
        ("Broken-v0", 0, ValueError, "ValueError: operands could not be broadcast"),
        ("custom_envs:Broken-v0", 1, RuntimeError, "RuntimeError: environment 0, step 7 of episode 0, raised ValueErr"),
        ("Poisoned-v0", 0, Refused, "Refused: environment 0, step "),
    ):
        out = tmp_path / env
        config = Config.preset("debug", env=env, envs=1, workers=workers, eval_every=0)
        with pytest.raises(kind):
            train(config, out, until="steps", progress=False)
        card = json.loads((out / "card.json").read_text())
        assert not card["finished"] and (out / "learning_curve.png").exists()
        (note,) = card["notes"]
        assert note.startswith(f"an error ended the run after {card['env_steps']} environment steps: {words}")
        rest = read(out, env).rest
        assert card["env_steps"] > 0 and "notes" in rest and not rest["notes"]


def test_what_is_refused_when_a_run_is_resumed_leaves_its_card(tmp_path, monkeypatch):
    config = Config.preset("debug", steps=100, eval_every=0)
    train(config, tmp_path, progress=False)
    before = (tmp_path / "card.json").read_text()
    monkeypatch.setattr(folder_module.shutil, "disk_usage", lambda out: SimpleNamespace(free=0))
    monkeypatch.setattr(folder_module.Path, "glob", lambda *_: [])
    with pytest.raises(Refused, match="free some space"):
        train(config, tmp_path, resume=True, progress=False)
    assert (tmp_path / "card.json").read_text() == before


def test_a_run_that_is_too_short_to_learn_says_so(tmp_path, capsys):
    card = train(Config.preset("debug", steps=60), tmp_path / "short", progress=False)
    words = "no train step was taken, so the agent has learned nothing: the run ended after 60 environment steps; "
    words += "learning begins at 64 (--learn_start), once each environment has given more than 8 (--seq_len), with one "
    words += "train step for every 16 (--train_ratio)"
    assert card["train_steps"] == 0 and card["notes"] == [words] and words in capsys.readouterr().err
    assert not train(Config.preset("debug", steps=100), tmp_path / "long", progress=False)["notes"]
    often = train(Config.preset("debug", steps=6, learn_start=1, train_ratio=64), tmp_path / "often", progress=False)
    assert "more than 8 (--seq_len), with 4 train steps for each (--train_ratio)" in often["notes"][0]


def test_an_interrupted_evaluation_is_made_up_for(tmp_path, monkeypatch):
    """The resumed run is the uninterrupted one: with this evaluation it is solved."""
    config = Config.preset("debug", env="Easy-v0", steps=1000, eval_every=200)
    whole, steps = train(config, tmp_path / "whole", progress=False), []

    def interrupted(*given, play_step=evaluate_module.play_step, **how):
        steps.append(given)
        if len(steps) == 1:
            signal.raise_signal(signal.SIGINT)
        return play_step(*given, **how)

    monkeypatch.setattr(evaluate_module, "play_step", interrupted)
    with pytest.raises(Interrupted):
        train(config, tmp_path / "parts", progress=False)
    card = train(config, tmp_path / "parts", progress=False, resume=True)
    assert card["solved_at_env_steps"] == whole["solved_at_env_steps"] == card["env_steps"] == 200
    rows = [(tmp_path / name / "metrics.csv").read_text().splitlines() for name in ("whole", "parts")]
    without_seconds = [[row.split(",")[:3] + row.split(",")[4:] for row in one] for one in rows]
    assert len(rows[0]) == 2 and without_seconds[0] == without_seconds[1]


def test_steps_that_another_process_took_in_the_meantime_are_kept(tmp_path):
    """A checkpoint that was read before the folder was locked may be an old one by then."""
    config = Config.preset("debug", steps=100)
    train(config, tmp_path, progress=False)
    early = read(tmp_path)
    assert early.is_current()
    train(replace(config, steps=200), tmp_path, progress=False, resume=True)
    assert not early.is_current()
    card = train(replace(config, steps=150), tmp_path, progress=False, resume=early)
    assert card["env_steps"] == 200  # nothing is left to train


def test_the_last_evaluation_may_be_the_one_that_reaches_the_threshold(tmp_path, capsys):
    words = ["--env", "Easy-v0", "--preset", "debug", "--eval_every", "0", "--steps", "100", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "which counts as solved, was reached after the last of 100 environment steps" in said
    assert "not solved" not in said


def test_same_seed_same_curve_and_another_seed_another(uninterrupted, tmp_path):
    for name, seed in (("again", 0), ("other", 1)):
        assert main([*DEBUG, "--steps", "900", "--out", str(tmp_path / name), "--seed", str(seed)]) == 0
    whole = content(uninterrupted)
    assert_same(whole, content(tmp_path / "again"))
    assert whole["rest"]["rows"] != content(tmp_path / "other")["rest"]["rows"]


def test_a_run_folder_holds_what_the_readme_promises(uninterrupted):
    assert {path.name for path in uninterrupted.iterdir()} == {
        "config.json",
        "metrics.csv",
        "checkpoint.pt",
        "learning_curve.png",
        "card.json",
    }
    card = json.loads((uninterrupted / "card.json").read_text())
    assert card["onednn_products"] is False
    assert card["env_steps"] == 900 and card["seed"] == 0 and card["versions"]["torch"] == torch.__version__
    assert card["final_evaluation"]["sampled"]["episodes"] == card["config"]["eval_episodes"] == 2 and card[
        "memory_kept"
    ] == sys.platform.startswith("linux")
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


@pytest.mark.parametrize("name", ["films/play.gif", "PLAY.MP4"])
def test_a_video_shows_one_episode_of_reality(name, uninterrupted, tmp_path, capsys):
    pytest.importorskip("pygame")
    video = tmp_path / name
    assert main(["dream", str(uninterrupted), "--video", str(video)]) == 0
    steps, total = re.search(r"filmed (\d+) steps; return ([\d.]+)", capsys.readouterr().out).groups()
    assert 8 <= int(steps) == float(total)  # CartPole pays 1 a step
    if name.endswith("gif"):
        with Image.open(video) as gif:
            assert gif.size == (320, 213) and 4 < gif.n_frames <= int(steps) // 2 + 1  # 25 frames a second of 50
    else:
        cv2 = pytest.importorskip("cv2")
        seen = cv2.VideoCapture(str(video))
        assert seen.get(cv2.CAP_PROP_FRAME_COUNT) == int(steps) + 1 and seen.get(cv2.CAP_PROP_FPS) == 50
        assert seen.get(cv2.CAP_PROP_FRAME_WIDTH) == 600 and seen.read()[1].std() > 5
    assert {path.name for path in video.parent.iterdir()} == {video.name}
    assert main(["dream", str(uninterrupted), "--video", str(video), "--steps", "3"]) == 0
    assert "filmed 3 steps, the episode continues; return 3;" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["kept.gif", "kept.mp4"])
def test_a_video_that_cannot_be_made_leaves_the_old_one(name, tmp_path):
    (tmp_path / name).write_text("an older video")
    blind = Dreamer(Config.preset("debug", env="Counting-v0"), CARTPOLE)
    with pytest.raises(Refused, match="nothing to film"):
        film(blind, tmp_path / name)
    assert (tmp_path / name).read_text() == "an older video" and len([*tmp_path.iterdir()]) == 1


@pytest.mark.parametrize("rate", [12, 15, 30, 60])
def test_a_gif_lasts_as_long_as_the_episode(rate, tmp_path):
    """Each frame lasts whole hundredths of a second, so they are not all equally long."""
    with gif(tmp_path / "a.gif", rate) as write:
        for k in range(2 * rate):
            write(np.full((20, 20, 3), 2 * k, np.uint8))
    with Image.open(tmp_path / "a.gif") as film:
        times = []
        for k in range(film.n_frames):
            film.seek(k)
            times.append(film.info["duration"])
    assert abs(sum(times) - 2000) <= 1000 / rate  # at 15, 30 and 12 it used to be 100 to 200 less


def test_a_video_of_what_the_agent_sees_where_the_environment_draws_nothing(tmp_path):
    agent = Dreamer(Config.preset("debug", env="Mixed-v0", depth=2), Spaces(2, 5, True, (16, 16, 3), (2, 3)))
    film(agent, tmp_path / "seen.gif", steps=5)
    with Image.open(tmp_path / "seen.gif") as gif:
        assert gif.size == (256, 256)
    blind = Dreamer(Config.preset("debug", env="Counting-v0"), CARTPOLE)
    for name in ("none.gif", "none.mp4"):
        with pytest.raises(Refused, match="nothing to film: .* it has no render_mode rgb_array"):
            film(blind, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_a_video_that_cannot_be_made_says_what_is_missing(uninterrupted, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert main(["dream", str(uninterrupted), "--video", str(tmp_path / "a.mp4")]) == 2
    assert 'an MP4 needs OpenCV; install it: pip install "dreamer-lite[pixels]", or give a .gif' in (
        capsys.readouterr().err
    )

    def fail(env):
        raise OSError("no OpenGL here")

    monkeypatch.setattr("gymnasium.envs.classic_control.cartpole.CartPoleEnv.render", fail)
    assert main(["dream", str(uninterrupted), "--video", str(tmp_path / "a.gif")]) == 2
    assert "the environment draws none: it fails to (no OpenGL here)" in capsys.readouterr().err


def test_an_evaluation_leaves_the_training_as_it_was():
    agent = Dreamer(Config.preset("debug"), CARTPOLE)
    torch.manual_seed(7)
    before = torch.rand(3)
    torch.manual_seed(7)
    scores = evaluate(agent, "CartPole-v1", 5)
    assert torch.equal(before, torch.rand(3))
    assert np.array_equal(scores, evaluate(agent, "CartPole-v1", 5)) and not np.array_equal(
        scores, evaluate(agent, "CartPole-v1", 5, seed=1)
    )
    assert scores.shape == (5,) and (scores > 5).all()


def test_an_evaluation_on_the_cpu_leaves_the_dice_of_a_gpu_alone(monkeypatch):
    """Where a copy on the CPU plays for an agent that trains on a GPU."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("a GPU's dice were thrown anew"))
    evaluate(Dreamer(Config.preset("debug"), CARTPOLE), "CartPole-v1", 1)


def test_the_dream_starts_from_reality_and_follows_the_same_actions():
    agent = Dreamer(Config.preset("debug"), CARTPOLE)
    pair = open_loop(agent, "CartPole-v1", steps=3, context=4)
    assert pair.real.shape == pair.dreamed.shape == (len(pair.actions), 4) and (pair.actions.sum(1) == 1).all()
    with pytest.raises(ValueError, match="before the dream began"):
        open_loop(agent, "CartPole-v1", steps=3, context=400)


def test_continuous_actions_train_and_are_saved(tmp_path):
    config = Config.preset("debug", env="Pendulum-v1", steps=300)
    card = train(config, tmp_path, until="steps", progress=False)
    assert card["env_steps"] == 300 and card["train_steps"] > 0 and card["threshold"] is None
    agent = load(tmp_path)
    assert not agent.spaces.discrete and evaluate(agent, episodes=2).shape == (2,)


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step_and_name(tmp_path, capsys):
    words = "--preset debug --world_lr 1e11 --warmup 0 --quiet --device cpu --out".split()
    code = main([*words, str(tmp_path / "run")])
    error = capsys.readouterr().err
    assert code == 1 and re.search(r"train step \d (.*environment step \d+.*): .* = (nan|inf)", error)
    agent = load(tmp_path / "run")  # what was saved before is still good
    assert all(p.isfinite().all() for p in agent.parameters())


def test_an_existing_run_is_never_overwritten(uninterrupted, capsys):
    before = (uninterrupted / "checkpoint.pt").read_bytes()
    assert main([*DEBUG, "--out", str(uninterrupted)]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(["--resume", str(uninterrupted), "--batch_size", "3"]) == 2
    assert "--batch_size cannot be changed while resuming" in capsys.readouterr().err
    assert main(["--resume", str(uninterrupted), "--lr", "2e-4"]) == 2
    assert "--lr cannot be changed while resuming" in capsys.readouterr().err
    assert (uninterrupted / "checkpoint.pt").read_bytes() == before


def test_a_run_killed_before_its_first_step_can_be_resumed(tmp_path):
    """The checkpoint written before the first step is as good as any."""
    config = Config.preset("debug", steps=100)
    training = Training(config)
    (tmp_path / "killed").mkdir()
    folder_module.write_config(tmp_path / "killed", training)
    training.save(tmp_path / "killed")
    train(config, tmp_path / "killed", resume=True, progress=False)
    train(config, tmp_path / "whole", progress=False)
    assert_same(load(tmp_path / "killed").state_dict(), load(tmp_path / "whole").state_dict())


def test_export_writes_one_page_or_says_why_not(tmp_path, capsys):
    page = tmp_path / "pages" / "player.html"
    assert (
        main(["export", "assets/cartpole.pt", "--out", str(page)]) == 0
        and "open it in a browser" in capsys.readouterr().out
    )
    text = page.read_text()
    assert (
        100_000 < len(text) < 2_000_000
        and "/*D" not in text
        and "/*P" not in text
        and "src=" not in text
        and "href=" not in text
    )
    assert Path("assets/player.html").read_text() == text, "make it again: python assets/make.py player"
    for config, sizes in (
        (Config.preset("debug", env="Pendulum-v1"), Spaces(3, 1, False)),
        (Config.preset("debug", env="Acrobot-v1"), Spaces(6, 3, True)),
    ):
        save(tmp_path / "other.pt", Dreamer(config, sizes))
        assert main(["export", str(tmp_path / "other.pt")]) == 2
        error = capsys.readouterr().err
        assert "physics of CartPole only" in error and config.env in error and "Traceback" not in error
    assert main(["export", str(tmp_path / "none.pt")]) == 2 and "there is no checkpoint" in capsys.readouterr().err


def test_a_disk_without_room_is_an_error_before_training(tmp_path, monkeypatch, capsys):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(folder_module.shutil, "disk_usage", lambda path: usage)
    assert main([*DEBUG, "--out", str(tmp_path / "run")]) == 2
    assert "0 MB free" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_weights_that_are_not_finite_are_never_saved(tmp_path, capsys):
    code = main([*DEBUG, "--world_lr", "1e12", "--steps", "400", "--out", str(tmp_path / "run")])
    assert code == 1 and "a number is not finite" in capsys.readouterr().err
    agent = load(tmp_path / "run")
    assert all(p.isfinite().all() for p in agent.parameters())


def test_rows_are_written_without_evaluations_and_checkpoints_do_not_grow(tmp_path):
    config = Config.preset("debug", steps=600, eval_every=0, log_every=100, save_every=100)
    sizes = []

    def look(training):
        if training.env_steps % 100 == 4:
            sizes.append(training.metrics.count)

    train(config, tmp_path, until="steps", progress=False, on_step=look)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [float(row["env_steps"]) for row in rows] == [100, 200, 300, 400, 500, 600]
    assert all(float(row["eval_episodes"]) == 0 and np.isfinite(float(row["critic"])) for row in rows)
    assert max(sizes) <= 8  # train steps waiting for a row: a hundred environment steps allow six


def test_rows_come_at_their_own_interval_beside_evaluations(tmp_path):
    train(Config.preset("debug", steps=400, eval_every=150, log_every=100), tmp_path, until="steps", progress=False)
    rows = [
        (int(float(row["env_steps"])), int(float(row["eval_episodes"])))
        for row in csv.DictReader((tmp_path / "metrics.csv").open())
    ]
    assert rows == [(100, 0), (150, 2), (200, 0), (300, 2), (400, 0)]


def test_an_agent_loaded_for_use_costs_four_bytes_a_weight(uninterrupted):
    agent = load(uninterrupted)
    weights = sum(p.numel() for p in agent.parameters())
    held = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in [*agent.parameters(), *agent.buffers()]
    }
    bins = agent.world_model.bins.nbytes + agent.critic.bins.nbytes
    assert all(p.grad is None for p in agent.parameters()) and sum(held.values()) <= 4 * weights + bins + 64


def test_what_is_saved_is_the_averaged_agent_and_training_goes_on_with_its_own_weights(tmp_path):
    config = Config.preset("debug", steps=200, average=0.9)
    seen = []
    train(config, tmp_path, until="steps", progress=False, on_step=lambda training: seen.append(training))
    learner = seen[-1].learner
    saved = torch.cat(
        [
            p.detach().flatten()
            for part in (load(tmp_path).world_model, load(tmp_path).actor, load(tmp_path).critic.net)
            for p in part.parameters()
        ]
    )
    assert torch.equal(saved, learner.average) and not torch.equal(saved, learner.optimizer.weights)
    assert torch.equal(read(tmp_path).rest["learner"]["weights"], learner.optimizer.weights)


def test_an_existing_folder_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    (tmp_path / "something").touch()
    monkeypatch.setattr("dreamer_lite.training.loop.Training", lambda *_: pytest.fail("an agent was made"))
    with pytest.raises(Refused, match="is not empty"):
        train(Config.preset("debug"), tmp_path, progress=False)


def test_zero_episodes_are_no_bound(tmp_path):
    assert Config.preset("size1m").episodes == 0
    card = train(Config.preset("debug", steps=300, episodes=0), tmp_path / "all", until="steps", progress=False)
    assert card["env_steps"] == 300 and card["episodes"] > 2
    card = train(Config.preset("debug", steps=300, episodes=2), tmp_path / "two", until="steps", progress=False)
    assert card["env_steps"] < 300 and card["episodes"] >= 2


def test_evaluation_takes_sixteen_copies_and_steps_no_finished_one(monkeypatch):
    made = []
    make = evaluate_module.Envs
    monkeypatch.setattr(evaluate_module, "Envs", lambda *args, **more: made.append(make(*args, **more)) or made[-1])
    agent = Dreamer(Config.preset("debug", env="Counting-v0"), CARTPOLE)
    scores = evaluate(agent, episodes=37)
    inner = [env.unwrapped for env in made[0].envs]
    assert scores.shape == (37,) and len(inner) == 16
    assert (
        sum(env.episodes for env in inner) == 37 and sum(env.steps for env in inner) == scores.sum()
    )  # it pays 1 a step
    assert all(history == [] for history in made[0].history)


def test_each_episode_of_an_evaluation_counts_once_however_long_it_is():
    """Short episodes come first if one takes whichever ends first."""
    agent = Dreamer(Config.preset("debug", env="Counting-v0"), CARTPOLE)
    many = evaluate(agent, episodes=200)
    assert (
        abs(many[:40].mean() - many[-40:].mean()) < 8 and set(many) == {2.0, 30.0} and 0.3 < (many == 30).mean() < 0.7
    )


def test_a_cut_evaluation_is_told(tmp_path, capsys):
    agent = Dreamer(Config.preset("debug", env="Endless-v0", eval_steps=50), CARTPOLE)
    with pytest.warns(UserWarning, match="3 of 3 episodes did not end within 50 steps"):
        assert (evaluate(agent, episodes=3) == 50).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        card = train(
            Config.preset("debug", env="Endless-v0", steps=200, eval_steps=50),
            tmp_path / "run",
            until="steps",
            progress=False,
        )
    assert "did not end within 50 steps" in card["notes"][0]
    assert main(["evaluate", str(tmp_path / "run"), "--episodes", "2"]) == 0
    assert capsys.readouterr().err.startswith("dreamer_lite: 2 of 2 episodes did not end")


def test_an_environment_that_is_random_beyond_its_seed_is_told_when_resuming(tmp_path, capsys):
    config = Config.preset("debug", env="Drifting-v0", steps=90, eval_steps=50)
    train(config, tmp_path, until="steps", progress=False)
    card = train(
        Config.preset("debug", env="Drifting-v0", steps=120, eval_steps=50),
        tmp_path,
        until="steps",
        resume=True,
        progress=False,
    )
    assert card["env_steps"] == 120 and any(
        "environment 0 could not be restored: replayed with the same seed" in note for note in card["notes"]
    )
    replay = read(tmp_path).rest["replay"]["data"]
    assert all(last[44] for last in replay["is_last"]) and all(
        first[45] for first in replay["is_first"]
    )  # no return reaches across
    assert "environment 0 could not be restored" in capsys.readouterr().err


def test_a_bug_in_an_environment_that_shows_when_resuming_keeps_its_traceback(tmp_path, monkeypatch):
    config = Config.preset("debug", env="Forgetful-v0", steps=90, eval_every=0)
    train(config, tmp_path, until="steps", progress=False)
    monkeypatch.setattr(Forgetful, "broken", True)
    with pytest.raises(KeyError, match="joint_7"):
        train(config, tmp_path, until="steps", resume=True, progress=False)


def test_a_run_is_written_for_tensorboard_too(tmp_path):
    """Also what came before, if it is asked for only when the run is resumed."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    assert main([*DEBUG, "--steps", "400", "--out", str(run)]) == 0
    for steps in ("800", "1000"):
        assert main(["--resume", str(run), "--steps", steps, "--tensorboard", "--quiet"]) == 0
    events = EventAccumulator(str(run))
    events.Reload()
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    points = [(event.step, round(event.value, 4)) for event in events.Scalars("critic")]
    assert (
        points == [(int(float(row["env_steps"])), round(float(row["critic"]), 4)) for row in rows] and len(points) == 5
    )


def test_resuming_reads_the_checkpoint_once(tmp_path, monkeypatch):
    """It holds the whole replay."""
    assert main([*DEBUG, "--steps", "100", "--out", str(tmp_path)]) == 0
    reads, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **more: reads.append(args) or load(*args, **more))
    assert main(["--resume", str(tmp_path), "--steps", "120", "--quiet"]) == 0 and len(reads) == 1


def test_malloc_is_not_tuned_in_a_program_of_somebody_else(tmp_path):
    program = f"""
from dreamer_lite import Config, train
from dreamer_lite.training import device
device.use_device("cpu", 1)
card = train(Config.preset("debug", steps=40), {str(tmp_path / "run")!r}, progress=False)
assert not device.memory_is_kept() and not card["memory_kept"]
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr


HUGE = """
from dreamer_lite.training.device import keep_memory
keep_memory()
import torch
address, here = torch.ones(100_000).data_ptr(), False
for line in open("/proc/self/smaps"):
    first = line.split()[0]
    if "-" in first and not first.endswith(":"):
        begin, end = (int(part, 16) for part in first.split("-"))
        here = begin <= address < end
    elif here and first == "VmFlags:":
        assert "hg" in line.split(), line
        print("asked for huge pages")
"""


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="this kernel has none")
def test_tensors_of_a_run_lie_on_huge_pages():
    """Where they are given to those who ask; hg is the flag that the kernel keeps of having been asked."""
    result = subprocess.run([sys.executable, "-c", HUGE], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert result.stdout == "asked for huge pages\n", result.stderr


def test_ctrl_c_in_a_script_saves_says_how_to_go_on_and_ends_the_script(tmp_path):
    def interrupt(training):
        if training.env_steps == 100:
            signal.raise_signal(signal.SIGINT)

    config = Config.preset("debug", steps=200)
    with pytest.raises(KeyboardInterrupt, match=re.escape(f"train(config, {str(tmp_path)!r}, resume=True)")) as stop:
        train(config, tmp_path, progress=False, on_step=interrupt)
    assert stop.value.card["env_steps"] == 100 and not json.loads((tmp_path / "card.json").read_text())["finished"]
    assert train(config, tmp_path, progress=False, resume=True)["env_steps"] == 200


def test_a_run_says_what_it_sees_does_and_writes(tmp_path, monkeypatch, capsys):
    config = Config.preset("debug", steps=40)
    monkeypatch.setattr(sys, "argv", ["/somewhere/dreamer_lite/__main__.py", "--out", "a run"])
    card = train(config, tmp_path / "a run", progress=True)
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first == "CartPole-v1, seed 0: sees 4 numbers; chooses 1 of 2"
    assert re.match(r"[\d,]+ weights on cpu; files in .*a run; Ctrl-C saves and stops", second)
    assert card["preset"] == "debug" and card["date"].startswith("20")
    assert card["command"] == "python -m dreamer_lite --out 'a run'"
    assert card["device_name"] not in ("", "x86_64")
    hint = "it sees an image, and the preset small was made for numbers; there is --preset pixels\n"
    for preset, pixels, hinted in (("small", 16, True), ("pixels", 16, False), ("small", 0, False)):
        settings = Config.preset(preset, pixels=pixels, steps=4, eval_every=0, eval_episodes=1)
        train(settings, tmp_path / f"{preset}{pixels}", compile="off")
        assert (hint in capsys.readouterr().out) == hinted


def test_a_run_says_at_its_start_what_it_costs(tmp_path, monkeypatch, capsys):
    """Bytes as they come true, and seconds by its first train steps; evaluations count once one is measured."""
    monkeypatch.setattr(cost, "SECONDS", 0.0)
    config = Config.preset("debug", steps=800, eval_every=400, replay_size=500, deter=64)
    for steps, more in ((800, {}), (1000, {"resume": True})):
        train(replace(config, steps=steps), tmp_path, until="steps", **more)
        said = capsys.readouterr().out
        words = r"the replay buffer will grow to 0.1 MB, and checkpoint.pt, which contains it, to ([\d.]+) MB"
        file = re.search(words, said)
        assert abs(float(file.group(1)) - (tmp_path / "checkpoint.pt").stat().st_size / 1e6) < 0.1
        words = "at this pace all 800 environment steps would take about [0-9.]+ seconds, without evaluations; "
        words += "[0-9.]+ [MG]B"
        assert len(re.findall(words, said)) == (steps == 800) and "solved" not in said  # later there are too few steps
        assert len(re.findall(r"an evaluation takes [\d.]+ seconds; with them, all", said)) == (steps == 800)


def test_the_pace_counts_what_is_left():
    said, config = [], Config.preset("debug", steps=2000, eval_every=500)
    training = SimpleNamespace(
        config=config, train_steps=7, env_steps=0, seconds=0.0, stride=10, device="cpu", say=said.append
    )
    training.until, training.envs = "solved", SimpleNamespace(threshold=475.0)
    training.replay, training.processes = Training(config).replay, SimpleNamespace(size=1)
    pace = cost.Pace(training)
    pace.evaluated(training, 99.0)  # before there is anything to learn from
    for _ in range(40):
        training.env_steps, training.seconds = training.env_steps + 10, training.seconds + 0.2
        training.train_steps += training.env_steps > 100  # ten steps without any
        pace.step(training, 0.2)
    assert len(said) == 1
    assert said[0].startswith(
        "at this pace all 2,000 environment steps would take about 40 seconds, without evaluations; the run ends "
        "earlier if the task is solved; "
    )
    training.config, unsolvable = replace(config, eval_every=0), cost.Pace(training)  # nothing is evaluated on the way
    training.train_steps = training.env_steps = 10**6
    unsolvable.first = 0
    unsolvable.step(training, 99.0)
    assert "ends earlier" not in said.pop()
    training.config, training.env_steps = config, 400
    for seconds in (10.0, 20.0):
        pace.evaluated(training, seconds)
    assert said[1:] == [
        "an evaluation takes 10 seconds; with them, all 2,000 environment steps would take about 70 seconds"
    ]


def test_durations_and_sizes_have_units_that_people_would_choose():
    times = [cost.duration(seconds) for seconds in (0.04, 9.5, 89, 91, 5399, 5401, 40 * 3600, 1e6)]
    assert times == ("0.0 seconds,9.5 seconds,89 seconds,1.5 minutes,90 minutes,1.5 hours,40 hours,12 days".split(","))
    assert [cost.megabytes(size) for size in (2e5, 12.3e6, 2.34e9)] == ["0.2 MB", "12 MB", "2.3 GB"]


def test_what_an_agent_sees_and_does_in_words():
    assert str(Spaces(5, 5, True, (64, 64, 3), (2, 3))) == (
        "sees a 64 × 64 × 3 image and 5 numbers and chooses 1 of 2 and 1 of 3"
    )
    seen = {
        "1 of 16": Spaces(16, 2, True, (), (), ((0, 16),)),
        "1 of 3, 1 of 2, 4 numbers and 1 bit": Spaces(10, 2, True, (), (), ((0, 3), (3, 2), (9, 1))),
        "5 choices": Spaces(10, 2, True, (), (), tuple((2 * k, 2) for k in range(5))),
        "an 84 × 84 × 1 image and 1 of 4": Spaces(4, 2, True, (84, 84, 1), (), ((0, 4),)),
        "400 bits": Spaces(400, 3, True, (), (), tuple((k, 1) for k in range(400))),
    }
    assert {spaces.observation_words: spaces for spaces in seen.values()} == seen
    assert str(Spaces(1, 1, False)) == "sees 1 number and chooses 1 number"
    assert str(Spaces(0, 2, True, (84, 84, 1))) == "sees an 84 × 84 × 1 image and chooses 1 of 2"


def test_the_picture_of_a_run_has_the_evaluation_at_its_end(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(folder_module, "draw_learning_curve", lambda *args: drawn.append(args))
    config = Config.preset("debug", env_args=("max_episode_steps=50",), steps=70, eval_every=0, eval_episodes=2)
    card = train(config, tmp_path / "run", progress=False)
    ((rows,), _, threshold, title) = drawn[-1]
    assert [rows[-1][name] for name in ("env_steps", "eval_mean", "eval_episodes")] == [
        70,
        card["final_evaluation"]["sampled"]["mean"],
        2,
    ]
    assert threshold == 475 and title == "CartPole-v1 max_episode_steps=50, debug preset, seed 0"
    train(replace(config, eval_every=70), tmp_path / "again", progress=False)
    assert len([row for row in drawn[-1][0][0] if row["eval_episodes"]]) == 1  # it is in the rows already


def test_rows_are_added_to_a_file_that_is_there_and_all_are_written_otherwise(tmp_path):
    log, file = Log(), tmp_path / "metrics.csv"
    log.open(tmp_path)
    for step in (1.0, 2.0):
        log.add({"env_steps": step})
    before = file.stat().st_ino
    log.add({"env_steps": 3.0})
    assert file.stat().st_ino == before and file.read_text().split() == ["env_steps", "1.0", "2.0", "3.0"]
    file.unlink()
    log.add({"env_steps": 4.0})
    assert file.read_text().split() == ["env_steps", "1.0", "2.0", "3.0", "4.0"]
    log.add({"env_steps": 5.0, "loss": 0.5})
    assert file.read_text().split() == ["env_steps,loss", "1.0,", "2.0,", "3.0,", "4.0,", "5.0,0.5"]


def test_metrics_keep_all_digits(tmp_path):
    """Rewards of 1e-9 are small returns, not none."""
    log = Log()
    log.open(tmp_path)
    log.add({"env_steps": 12_345_678, "return": 3.000000248e-09, "eval_mean": 0.1 + 0.2})
    with open(tmp_path / "metrics.csv") as file:
        [row] = csv.DictReader(file)
    assert {name: float(value) for name, value in row.items()} == {
        "env_steps": 12_345_678,
        "return": 3.000000248e-09,
        "eval_mean": 0.3,
    }


def test_the_learning_curve_starts_at_zero_and_is_never_empty():
    def row(step, mean, episodes=10, episode=30.0):
        return {"env_steps": step, "eval_mean": mean, "eval_episodes": episodes, "return": episode}

    nan = float("nan")
    (axes,) = learning_curve([[row(500, 400.0), row(1000, 480.0)]], 475.0, "CartPole-v1, seed 0").axes
    assert axes.get_title() == "CartPole-v1, seed 0" and axes.get_ylim()[0] == 0 and axes.get_xlim()[0] == 0
    (axes,) = learning_curve([[row(500, -400.0, episode=-300.0), row(1000, -200.0, episode=-250.0)]]).axes
    assert axes.get_ylim()[1] == 0
    (axes,) = learning_curve([[row(500, nan, 0)]]).axes  # not evaluated yet: what training episodes returned
    (line,) = axes.lines
    assert line.get_label() == "training episodes, mean of the latest 10, sampled actions" and line.get_marker() == "."
    for rows in ([], [row(10, nan, 0, nan)]):
        for threshold in (None, 475.0):
            (axes,) = learning_curve([rows], threshold).axes
            assert any("no evaluation yet" in text.get_text() for text in axes.texts)
    (axes,) = learning_curve([], title="word " * 30).axes
    assert max(map(len, axes.get_title().split("\n"))) <= 70


def test_printed_commands_quote_a_folder_with_a_space(tmp_path, capsys):
    assert main([*DEBUG, "--steps", "40", "--out", str(tmp_path / "a run")]) == 0
    assert f"dream '{tmp_path / 'a run'}'" in capsys.readouterr().out


def test_a_run_resumed_from_python_goes_on_as_it_was_started(tmp_path):
    """Until when, and on which device; asked for something else, it obeys."""
    config = Config.preset("debug", steps=100)
    train(config, tmp_path, until="steps", progress=False)
    longer = Config.preset("debug", steps=120)
    assert train(longer, tmp_path, progress=False, resume=True)["until"] == "steps"
    assert train(longer, tmp_path, progress=False, resume=True, until="held")["until"] == "held"
    with pytest.raises(Refused, match="--compile cannot be changed while resuming"):
        train(longer, tmp_path, progress=False, resume=True, compile=True)


@pytest.mark.parametrize("when", ["on the way", "at the end"])
def test_ctrl_c_ends_an_evaluation_within_a_step(when, tmp_path, monkeypatch):
    """Everything is saved, and the card is written; what was asked for twice has no evaluation at the end."""
    played, play = [], evaluate_module.play_step

    def interrupt(*args, **how):
        played.append(1)
        if len(played) == 20:
            signal.raise_signal(signal.SIGINT)
        return play(*args, **how)

    config = Config.preset("debug", env="Endless-v0", steps=200, eval_every=100 if when == "on the way" else 0)
    monkeypatch.setattr(evaluate_module, "play_step", interrupt)
    if when == "on the way":
        with pytest.raises(KeyboardInterrupt, match="resume=True"):
            train(config, tmp_path, progress=False)
        assert len(played) == 20  # an episode here has 10,000 steps
    else:
        card = train(config, tmp_path, progress=False)
        assert card["finished"] and card["final_evaluation"]["sampled"] is None
    assert json.loads((tmp_path / "card.json").read_text())["env_steps"] == (100 if when == "on the way" else 200)


def test_quiet_prints_only_the_result(tmp_path, capsys):
    assert main([*DEBUG, "--steps", "100", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    assert not printed.err and printed.out.startswith("not solved within 100 environment steps")


def test_environments_from_a_function_are_marked_whatever_the_config_names(tmp_path):
    def make():
        return gymnasium.make("CartPole-v1", max_episode_steps=7)

    train(Config.preset("debug", env="Other-v0", steps=40), tmp_path, progress=False, make_env=make)
    assert read(tmp_path).config.env == "Other-v0" and read(tmp_path).config.env_from_function
    with pytest.raises(Refused, match="'Other-v0' was made by a Python function"):
        evaluate(load(tmp_path), episodes=1)


def test_a_checkpoint_of_version_0_2_names_a_function_in_its_environment(tmp_path):
    """Its name ended with words; it is read as what is marked now."""
    from dreamer_lite.training.checkpoint import read_config

    old = Config.preset("debug").to_dict() | {"env": "Mine, made by a function"}
    del old["env_from_function"]
    assert read_config(old) == Config.preset("debug", env="Mine", env_from_function=True)


def test_whole_numbers_of_numpy_are_seeds_and_counts(uninterrupted):
    agent = load(uninterrupted)
    expected = evaluate(agent, episodes=2, seed=3)
    assert (evaluate(agent, episodes=np.uint8(2), seed=np.uint32(3)) == expected).all()
    dream = open_loop(agent, steps=np.uint8(200), context=np.uint8(2), seed=np.int64(3))
    assert (dream.real == open_loop(agent, steps=200, context=2, seed=3).real).all()


def test_an_interruption_leaves_a_worker_process(tmp_path):
    card = {"env_steps": 3, "config": {"env_from_function": True}}
    again = pickle.loads(pickle.dumps(Interrupted(card, tmp_path)))
    assert again.card == card and str(again) == str(Interrupted(card, tmp_path)) and "make_env" in str(again)


def test_a_run_in_a_program_without_console_gradients_and_name(tmp_path, monkeypatch):
    """pythonw has no console, a program that embeds Python no name; some turn gradients off for good."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "argv", [])
    with torch.inference_mode():
        few = dict(steps=60, learn_start=20, train_ratio=16, eval_episodes=1)
        card = train(Config.preset("debug", **few), tmp_path / "run")
    assert card["finished"] and card["train_steps"] > 0


def test_the_command_to_continue_takes_a_folder_with_a_space(tmp_path):
    (tmp_path / "my runs").mkdir()
    (tmp_path / "my runs" / "checkpoint.pt").touch()
    with pytest.raises(Refused, match="--resume '[^']*/my runs', or resume=True"):
        folder_module.refuse_existing(tmp_path / "my runs")


class Simulator(gymnasium.Env):
    """A simulator that is a PyTorch model. It counts on the program's having turned gradients off."""

    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.net, self.state, self.t = torch.nn.Linear(3, 3), torch.zeros(3), 0
        return self.state.numpy(), {}

    def step(self, action):
        self.state, self.t = (self.net(self.state) + action).tanh(), self.t + 1
        return self.state.numpy(), 1.0, False, self.t == 10, {}


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_an_environment_stays_without_gradients_where_the_program_turned_them_off(off, tmp_path):
    few = Config.preset("debug", steps=60, learn_start=20, train_ratio=16, eval_every=0, eval_episodes=1)
    with off():
        card = train(few, tmp_path / "run", make_env=Simulator, progress=False)
    assert card["finished"] and card["train_steps"] > 0


def test_a_folder_that_was_there_before_stays(tmp_path, monkeypatch, capsys):
    """Also where the run is refused; one that the run has made is removed."""
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    for folder in (".", str(tmp_path / "new")):
        assert main(["--out", folder, "--env", "Nope-v0"]) == 2
    assert (tmp_path / "mine").is_dir() and not (tmp_path / "new").exists()


def test_a_run_that_could_not_be_saved_at_first_can_be_started_again(tmp_path, monkeypatch):
    def full(*_):
        raise Refused("the disk is full")

    monkeypatch.setattr(Training, "save", full)
    with pytest.raises(Refused, match="the disk is full"):
        train(Config.preset("debug", steps=60), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@contextmanager
def full_disk(most=4096):
    """Inside, no file may grow beyond so many bytes; Python then gets an OSError, as on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
@pytest.mark.parametrize(
    "name, words",
    [
        ("film.mp4", ["dream", "--steps", "20", "--video", "film.mp4"]),
        ("film.gif", ["dream", "--steps", "20", "--video", "film.gif"]),
        ("dream.png", ["dream", "--steps", "20", "--out", "."]),
        ("page.html", ["diagnose", "--out", "page.html"]),
        ("page.html", ["export", "--out", "page.html"]),
        ("picture.png", ["compare", "--out", "picture.png"]),
    ],
)
def test_what_a_full_disk_cannot_take_leaves_the_old_file(name, words, uninterrupted, tmp_path, monkeypatch, capsys):
    pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"the old one")
    with full_disk():
        assert main([words[0], str(uninterrupted), *words[1:]]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert os.listdir() == [name] and Path(name).read_bytes() == b"the old one"


@pytest.mark.skipif(os.name == "nt", reason="has no named pipes")
def test_a_pipe_and_a_link_are_written_to_and_not_replaced(tmp_path):
    (tmp_path / "kept").write_text("old")
    (tmp_path / "link").symlink_to("kept")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "kept").read_text() == "new"
    (tmp_path / "kept").chmod(0o600)
    write_text(tmp_path / "kept", "private")
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o600
    os.mkfifo(tmp_path / "pipe")
    read_end = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "sent")
    assert (tmp_path / "pipe").is_fifo() and os.read(read_end, 9) == b"sent"
    os.close(read_end)
    read_end, write_end = os.pipe()
    if Path(f"/dev/fd/{write_end}").exists():  # as in `>(other program)`
        write_text(f"/dev/fd/{write_end}", "sent")
        assert os.read(read_end, 9) == b"sent"
    os.close(read_end)
    os.close(write_end)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_full_disk_leaves_the_old_card_and_whole_rows(tmp_path):
    log, row = Log(), {"env_steps": 1.0, "eval_episodes": 0.0}
    log.open(tmp_path)
    log.add(row)
    write_card(tmp_path, {"old": True})
    with full_disk(0), pytest.raises(Refused, match="cannot be written"):
        write_card(tmp_path, {"new": True})
    size = (tmp_path / "metrics.csv").stat().st_size
    with full_disk(size + 5), pytest.raises(OSError):
        log.add(row | {"env_steps": 2.0})  # a row is added, of which half would fit
    assert (tmp_path / "metrics.csv").stat().st_size == size
    with full_disk(0), pytest.raises(OSError):
        log.add(row | {"env_steps": 2.0, "another": 0.0})  # the file gets another column: written anew
    assert json.loads((tmp_path / "card.json").read_text()) == {"old": True}
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["env_steps,eval_episodes", "1.0,0.0"]


def test_what_is_printed_runs_where_a_folder_begins_with_a_dash(uninterrupted, capsys):
    card = json.loads((uninterrupted / "card.json").read_text())
    report(card, Path("-x"))
    assert "dream ./-x" in capsys.readouterr().out


def test_a_terminal_without_signs_shows_plainer_ones(uninterrupted):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command("evaluate", uninterrupted, "--episodes", 2), capture_output=True, text=True, env=os.environ | plain
    )
    assert done.returncode == 0 and " +/- " in done.stdout, done.stderr


def test_an_empty_name_is_not_the_current_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", ""]) == 2
    assert "has an empty name; the current folder is called ." in capsys.readouterr().err
