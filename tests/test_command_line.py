"""The command line: what it understands, what it refuses and how it says so; a bug keeps its traceback."""

from dataclasses import fields
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time

from custom_envs import register
import numpy as np
import pytest
import torch

from dreamer_lite import command_line
from dreamer_lite.__main__ import main
from dreamer_lite.command_line import FIRST, GROUPS, HELP, OTHERS, number, report
from dreamer_lite.config import Config
from dreamer_lite.evaluation import evaluate as evaluate_module
from dreamer_lite.evaluation.evaluate import FIRST_SEED, evaluation_seed
from dreamer_lite.training.checkpoint import read
from dreamer_lite.training.resume import CHANGEABLE

ROOT = Path(__file__).parent.parent
DEBUG = ["--preset", "debug", "--quiet", "--until", "steps", "--device", "cpu", "--threads", "1"]
register()


def test_a_whole_number_may_be_written_as_a_power_of_ten(tmp_path):
    assert main([*DEBUG, "--steps", "1e2", "--replay_size", "1_000", "--out", str(tmp_path / "run")]) == 0
    config = read(tmp_path / "run").config
    assert (config.steps, config.replay_size) == (100, 1000)
    with pytest.raises(SystemExit):
        main([*DEBUG, "--steps", "1.5"])


def test_options_may_be_written_with_hyphens(tmp_path):
    words = ["--batch-size", "3", "--hidden-dim=8", "--out", str(tmp_path / "run")]
    assert main([*DEBUG, "--steps", "80", *words]) == 0
    config = read(tmp_path / "run").config
    assert config.batch_size == 3 and config.hidden == 8


def shown(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    return " ".join("".join(letter for letter in capsys.readouterr().out if letter not in "│╭╮╰╯─").split())


def test_the_help_explains_every_setting_and_lists_every_command(capsys):
    text = shown(["--help"], capsys)
    for field in fields(Config):
        assert re.search(rf"--{field.name}[ ,]", text) or field.name == "env_from_function"
    assert "(default: train)" in text and "(required)" not in text and "--version" in text
    assert text.count("(official") >= 40 and "--latent_dim INT, --groups INT" in text
    for name, kind in {"train": None, **OTHERS}.items():
        assert f"• {name} " in text
        if kind:
            assert kind.__doc__.split(".")[0].split(":")[0] in shown([name, "--help"], capsys)


def test_the_help_of_resume_names_everything_that_may_change(capsys):
    text = " ".join(shown(["train", "--help"], capsys).split())
    text = text[text.index("continue the run in this folder.") : text.index("compilation carries over")]
    assert {f"--{name}" for name in CHANGEABLE} - {"--env_from_function"} <= {*text.replace(",", " ").split()}


def test_the_help_shows_the_presets_own_defaults(capsys):
    assert (
        "steps per sequence (official 64 [batch_length]; the stored latents carry what came before) (default: 64)"
        in shown(["--preset", "size1m", "train", "--help"][:2] + ["--help"], capsys)
    )


@pytest.mark.parametrize(
    "env, error",
    [
        ("Broken-v0", "operands could not be broadcast"),
        ("Unmakeable-v0", "object of type 'int' has no len"),
        ("Unwritable-v0", "the simulator's socket is closed"),
        ("Late-v0", "the simulator's socket is closed"),
    ],
)
def test_a_bug_in_a_users_environment_keeps_its_traceback(env, error, tmp_path):
    """It is no bad input: exit code 1, and Python's own account of where it happened."""
    words = [*DEBUG, "--env", env, "--out", str(tmp_path / "run")]
    program = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import custom_envs
custom_envs.register()
from dreamer_lite.__main__ import main
sys.exit(main({words!r}))
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (
        result.returncode == 1
        and "Traceback" in result.stderr
        and "custom_envs.py" in result.stderr
        and error in result.stderr
    )
    assert "dreamer_lite: " not in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT for another process on Windows")
@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.7, 1.2])
def test_ctrl_c_while_modules_are_imported_prints_no_traceback(seconds, tmp_path):
    """Only Python's own start can't be made quiet: on a busy machine it takes more than 0.1 s."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "dreamer_lite",
            *DEBUG,
            "--compile",
            "off",
            "--steps",
            "1e6",
            "--out",
            str(tmp_path / "run"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert "Traceback" not in error or "dreamer_lite" not in error, error
    assert process.returncode in (130, -signal.SIGINT) or "dreamer_lite" not in error  # in Python's start, 1 as well


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT for another process on Windows")
@pytest.mark.parametrize("module", ["dreamer_lite.command_line", "tyro", "torch", "gymnasium"])
def test_ctrl_c_at_an_import_is_one_line(module, tmp_path):
    """Python imports sitecustomize at its start; this one presses Ctrl-C when the module is looked for."""
    (tmp_path / "sitecustomize.py").write_text(f"""
import signal, sys

class Press:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Press())
""")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "dreamer_lite", *DEBUG, "--steps", "80", "--out", str(tmp_path / "run")]
    result = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "\ndreamer_lite: stopped\n")


def test_the_console_command_is_the_same():
    result = subprocess.run(
        [Path(sys.executable).parent / "dreamer-lite", "--version"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0 and result.stdout.startswith("dreamer_lite ")


@pytest.mark.skipif(os.name == "nt", reason="there is no head on Windows")
def test_a_reader_that_closes_the_pipe_early_sees_no_traceback():
    command = f"{sys.executable} -m dreamer_lite --help | head -1"
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout.startswith("usage") and not result.stderr


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in OTHERS), ["warm", "--help"]])
def test_every_option_has_help(words, capsys):
    """Some words besides its name, its kind and its default."""
    with pytest.raises(SystemExit):
        main(words)
    lines = [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]
    options = [text for text in re.split(r"\n(?=--[a-z])", "\n".join(lines))[1:] if not re.match(r"--\w+ \(", text)]
    assert len(options) >= 2
    for text in options:
        said = re.sub(r"\(default:[^)]*\)|--\w+|\{[^}]*\}", "", text.split("╰")[0])
        assert len(re.findall(r"[a-z]{2,}", said)) >= 1, text


def test_the_settings_are_grouped_and_none_is_forgotten():
    grouped = [name for words in GROUPS.values() for name in words.split()]
    assert sorted([*grouped, *FIRST, "env_from_function"]) == sorted(field.name for field in fields(Config))
    assert set(HELP) == {field.name for field in fields(Config)} and all(len(text) > 10 for text in HELP.values())


def test_every_seed_that_is_accepted_can_be_evaluated_with(tmp_path):
    """Evaluations have seeds of their own, far from those of training; the largest are wrapped around."""
    words = [*DEBUG, "--steps", "210", "--seed", str(2**40 - 2), "--out", str(tmp_path / "run")]
    assert main(words) == 0 and read(tmp_path / "run").rest["rows"][-1]["eval_episodes"] == 2
    assert evaluation_seed(7) == FIRST_SEED + 7 != evaluation_seed(2**40 - 1) == FIRST_SEED - 1


def test_the_command_evaluate_says_which_actions_and_how_they_did(tmp_path, monkeypatch, capsys):
    asked = []

    def play(agent, env, episodes, seed, greedy, progress):
        asked.append((episodes, seed, greedy))
        return np.array([10.0, 20.0, 60.0]) + 100 * greedy, 0

    monkeypatch.setattr(evaluate_module, "play_episodes", play)
    words = ["evaluate", "assets/cartpole.pt", "--episodes", "3", "--seed", "4", "--device", "cpu"]
    assert main(words) == 0 and asked == [(3, 4, False), (3, 4, True)]
    sampled, greedy = capsys.readouterr().out.splitlines()
    assert sampled == ("CartPole-v1, sampled actions: 30.0 ± 21.6 over 3 fresh episodes (worst 10.0, best 60.0)")
    assert "greedy actions: 130.0 ± 21.6" in greedy


def test_returns_have_their_significant_digits():
    values = (478.16, -478.16, 10.0, 9.876, -0.041234, 0.0)
    assert [number(value) for value in values] == ["478.2", "-478.2", "10.0", "9.88", "-0.0412", "0.0"]


def test_the_report_says_how_it_held(tmp_path, capsys):
    card = {
        "config": {"env": "CartPole-v1", "wrap": "", "env_args": []},
        "notes": [],
        "finished": True,
        "solved_at_env_steps": 5000,
        "solved_at_seconds": 60.0,
        "held": {"evaluations": 8, "share_at_threshold": 0.875, "worst": 412.25},
        "final_evaluation": {},
    }
    assert report(card, tmp_path) == 0
    assert "since then 8 evaluations: 88% reached the threshold, the worst was 412.2" in capsys.readouterr().out


def test_threads_of_a_run_are_those_of_its_continuation(tmp_path, monkeypatch):
    from dreamer_lite.training import device

    few = "--preset debug --steps 20 --quiet --device cpu --compile off --threads 1 --out".split()
    threads = torch.get_num_threads()
    assert main([*few, str(tmp_path / "run")]) == 0
    asked = []
    use = device.use_device
    monkeypatch.setattr(device, "use_device", lambda name, threads: asked.append(threads) or use(name, threads))
    try:
        assert main(["--resume", str(tmp_path / "run"), "--quiet"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert asked == [1]


@pytest.mark.parametrize("words", [["--steps", "3"], ["--video", "a.gif", "--steps", "3"]])
def test_dream_takes_the_episode_of_its_seed(words, tmp_path, monkeypatch, capsys):
    from dreamer_lite.evaluation import dreams, video

    seeds = []
    for module in (dreams, video):
        make = module.matching_envs
        monkeypatch.setattr(
            module,
            "matching_envs",
            lambda agent, env, count, seed, render=False, make=make: (
                seeds.append(seed) or make(agent, env, count, seed, render)
            ),
        )
    pytest.importorskip("pygame")
    agent = os.path.abspath("assets/cartpole.pt")
    monkeypatch.chdir(tmp_path)
    assert main(["dream", agent, *words, "--seed", "7", *(["--out", "."] if len(words) == 2 else [])]) == 0
    assert seeds == [7]


def test_a_dream_has_60_steps_and_a_film_1000_unless_asked(monkeypatch):
    asked = []
    for name in ("draw", "film"):
        monkeypatch.setattr(command_line.Dream, name, lambda self, *given: asked.append(given[-1]) or 0)
    for words in ([], ["--video", "a.gif"], ["--steps", "5"]):
        assert main(["dream", "run", *words]) == 0
    assert asked == [60, 1000, 5]
