"""Two real processes train one agent: they agree, they are found out if they don't, and what is left of them can go
on."""

import csv
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest
import torch

from dreamer_lite.command_line import main
from dreamer_lite.errors import Refused
from dreamer_lite.training import checkpoint, parallel
from dreamer_lite.training.device import use_device

HERE = Path(__file__).parents[1]
LOUD = "--preset debug --until steps --device cpu"
QUIET = f"{LOUD} --quiet"
RUN = ["-m", "dreamer_lite", *QUIET.split()]


def start(*words, processes=2, **how):
    """torchrun, on a port of its own."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return subprocess.Popen([*launcher, *how.pop("options", ()), *map(str, words)], **pipes, **how)


def finish(process, code=0):
    said, _ = process.communicate(timeout=240)
    assert (process.returncode == 0) == (code == 0), said
    return said


def launch(*words, code=0, **how):
    return finish(start(*words, **how), code)


def test_two_processes_agree(tmp_path):
    said = launch(HERE / "teamwork.py", tmp_path)
    assert "process 0 agrees" in said and "process 1 agrees" in said


def content(out):
    """The weights that go on learning, and what each process has of its own."""
    saved = checkpoint.read(out)
    own = checkpoint.read_data(parallel.process_file(out, 1, saved.rest["env_steps"]))
    replays = [{name: torch.stack(rows) for name, rows in rest["replay"]["data"].items()} for rest in (saved.rest, own)]
    return saved.rest["learner"]["weights"], *replays


def test_a_resumed_run_of_two_is_the_uninterrupted_one_bit_for_bit(tmp_path, capsys):
    """And a folder that is not empty is refused once: the first process tells, the other goes quietly. One of the runs
    is evaluated in its own environment, where an episode of the first process may go on when the other's has ended."""
    whole, parts, taken = tmp_path / "whole", tmp_path / "parts", tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    said = launch(
        HERE / "teamwork.py",
        tmp_path,
        f"{QUIET} --out {taken}",
        f"{QUIET} --steps 200 --out {parts}",
        f"{LOUD} --steps 400 --out {whole}",
        f"--quiet --resume {parts} --steps 400",
        f"{QUIET} --eval_in training --envs 1 --eval_every 100 --steps 500 --out {tmp_path / 'own'}",
    )
    assert said.count("is not empty") == 1
    assert said.count("2 processes") == 1 and said.count("sampled actions") == 4  # one of them tells, in each run
    (weights, first, second), (other_weights, other_first, other_second) = content(whole), content(parts)
    assert torch.equal(weights, other_weights) and not torch.equal(first["vector"], second["vector"])
    for name in first:
        assert torch.equal(first[name], other_first[name]) and torch.equal(second[name], other_second[name])
    with (tmp_path / "own" / "metrics.csv").open() as file:
        assert sum(float(row["eval_episodes"]) > 0 for row in csv.DictReader(file)) >= 3
    assert len(list(parts.glob("process1-*.pt"))) == 1  # the older ones are gone
    capsys.readouterr()
    main(f"--quiet --resume {parts} --steps 450".split())
    assert "the replay buffers of the others are lost" in capsys.readouterr().err
    said = launch(*RUN[:2], "--quiet", "--resume", parts, "--steps", 500)
    assert "2 processes continue a run of 1: the new ones start with a copy" in said


def children(process):
    """The processes that torchrun started, oldest first."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def wait_for(process, out, steps):
    """Wait until that many environment steps are logged."""
    until = time.monotonic() + 120
    while not ((out / "metrics.csv").exists() and len((out / "metrics.csv").read_text().splitlines()) > steps // 200):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)


def kill_second(process):
    os.kill(children(process)[1], signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes by Linux's /proc")
def test_one_is_killed(tmp_path):
    """All stop with one line of ours; started again by torchrun they go on where the last checkpoint was."""
    again = tmp_path / "again"
    # torchrun looks after its processes ten times a second, and may end the other one before that one has noticed.
    patient = ["--max-restarts", "1", "--monitor-interval", "2"]
    process = start(*RUN, "--steps", 1500, "--out", again, options=patient)
    wait_for(process, again, 400)
    before = (again / "metrics.csv").read_text().splitlines()
    kill_second(process)
    assert len(before) < 1500 // 200, "it was killed too late"
    lines = [line for line in finish(process).splitlines() if line.startswith("dreamer_lite:")]
    assert len(lines) == 1 and "another process of this run is gone" in lines[0], lines
    after = (again / "metrics.csv").read_text().splitlines()
    assert after[:2] == before[:2] and len(after) == 1 + 1500 // 200  # with its seconds: it did not begin anew
    assert checkpoint.read(again).rest["env_steps"] == 1500


def test_ctrl_c_stops_and_saves_all(tmp_path):
    process = start(*RUN, "--steps", 100_000, "--out", tmp_path, start_new_session=True)
    wait_for(process, tmp_path, 400)
    os.killpg(process.pid, signal.SIGINT)
    said = finish(process, 1)
    assert said.count("stopping after this step") == 1 and f"-m dreamer_lite --resume {tmp_path}" in said
    content(tmp_path)  # that of both is there
    steps = checkpoint.read(tmp_path).rest["env_steps"] + 20
    assert main(f"--quiet --resume {tmp_path} --steps {steps}".split()) == 0


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_each_process_takes_a_gpu_of_its_own(name, monkeypatch):
    """Two GPUs are pretended; a resumed run brings the name of the first process's."""
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a run")
    assert use_device(name) == "cuda:1" and taken == [1] and use_device("cpu") == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(Refused, match="sees 2 CUDA devices"):
        use_device(name)


def test_a_run_that_may_be_started_again_needs_a_folder(monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    assert main(QUIET.split()) == 2
    assert "--max-restarts needs the run's folder as --out" in capsys.readouterr().err


def test_a_run_that_was_there_before_is_not_taken_for_one_to_go_on_with(tmp_path):
    """Also not by the processes that torchrun starts after the first ones were refused."""
    main(f"{QUIET} --steps 100 --out {tmp_path}".split())
    before = (tmp_path / "checkpoint.pt").read_bytes()
    said = launch(*RUN, "--steps", 200, "--out", tmp_path, options=["--max-restarts", "1"], code=2)
    assert said.count("already holds a run") == 2 and (tmp_path / "checkpoint.pt").read_bytes() == before
