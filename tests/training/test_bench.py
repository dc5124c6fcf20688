"""The stopwatch measures what it says."""

import pytest
import torch

from dreamer_lite.__main__ import main
from dreamer_lite.agent import Dreamer
from dreamer_lite.config import Config
from dreamer_lite.training import bench
from dreamer_lite.training.bench import matrix_work, time_parts
from dreamer_lite.training.operations import operations


def test_the_bench_prints_each_part(capsys):
    assert main(["bench", "--shape", "debug", "--repeats", "2", "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    assert all(
        word in output
        for word in (
            "forward",
            "backward",
            "optimizer",
            "train step",
            "environment steps/s",
            "peak memory",
            "operations",
            "floor",
            "eager",
        )
    )


def test_every_part_is_timed_in_the_precision_of_the_settings(monkeypatch):
    """The forward pass was timed in float32, whatever they said."""
    seen = []
    loss = Dreamer.loss
    monkeypatch.setattr(Dreamer, "loss", lambda *given: seen.append(torch.is_autocast_enabled("cpu")) or loss(*given))
    times = time_parts(Config.preset("debug", precision="bfloat16"), "cpu", repeats=1)
    assert len(seen) == 11 and all(seen) and times["forward"][0] > 0
    seen.clear()
    time_parts(Config.preset("debug"), "cpu", repeats=1)
    assert not any(seen)


def test_the_bench_draws_how_the_time_grows(capsys, tmp_path):
    assert (
        main(
            ["bench", "--shape", "debug", "--repeats", "1", "--device", "cpu", "--growth", str(tmp_path / "growth.png")]
        )
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["B", "T", "H", "network"] and all(
        line.count("×") == 4 for line in lines
    )
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_the_bench_looks_at_the_name_of_its_picture_before_it_measures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "growth", lambda *args: pytest.fail("it measured first"))
    for name in ("nope/deeper/growth.png", "growth.bmp", "."):
        assert main(["bench", "--shape", "debug", "--device", "cpu", "--growth", str(tmp_path / name)]) == 2
        assert "growth" in capsys.readouterr().err


def test_the_bench_counts_the_arithmetic_of_a_known_product():
    a, b = torch.ones(10, 20), torch.ones(20, 30, requires_grad=True)
    assert matrix_work(lambda: (a @ b).sum().backward()) == 2 * 2 * 10 * 20 * 30  # forward, and backward to b
    assert operations(lambda: a.view(20, 10).t() + 1) == [200]  # views launch nothing
