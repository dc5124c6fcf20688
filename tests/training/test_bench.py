"""The stopwatch measures what it says."""

import pytest
import torch

from dreamer_lite.__main__ import main
from dreamer_lite.agent import Dreamer
from dreamer_lite.config import Config
from dreamer_lite.training import bench, plots
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


def test_the_axis_of_growth_is_in_milliseconds(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: drawn.append(figure))
    points = [(0.25, 0.1), (0.5, 0.1), (1.0, 0.2), (2.0, 0.4)]
    plots.draw_growth({"tiny": {"B, sequences": points}}, tmp_path / "a.png")
    labels = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert "200 ms" in labels and "400 ms" in labels


def test_rates_of_the_bench_count_all_that_was_done(monkeypatch):
    took = lambda action, device: action() and None or 2.0
    monkeypatch.setattr(bench, "seconds", took)
    assert bench.matmul_rate("cpu") == 20 * 2 * 1024 * 512 * 512 / 2
    assert bench.env_steps_per_second(Config.preset("debug", envs=2), "cpu", steps=10) == 10


def test_the_bench_leaves_out_its_warm_up(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(bench, "seconds", lambda action, device: action() and None or next(clock))
    times = bench.time_parts(Config.preset("debug"), "cpu", repeats=2)
    assert times["forward"] == [30, 33] and times["train step"] == [30 + 31 + 32, 33 + 34 + 35]


def test_the_bench_says_what_is_fastest_and_how_the_ways_compare(monkeypatch, capsys):
    assert bench.spread([1.0, 2.0, 4.0]) == " 2.0000 s   (fastest 1.0000, slowest 4.0000)"
    monkeypatch.setattr(bench, "time_ways", lambda *_: iter([("eager", [2.0], 0.0), ("compiled", [1.0], 3.0)]))
    bench.report("debug", Config.preset("debug"), "cpu", 1, True)
    assert "; 0.50 of eager, after 3.0 s of preparation" in capsys.readouterr().out


def test_what_grows_is_what_is_named(monkeypatch):
    made = []
    monkeypatch.setattr(bench, "make_step", lambda config, device: (None, lambda: made.append(config)))
    bench.growth(Config.preset("debug", batch_size=4, seq_len=8, horizon=4, deter=16, hidden=16), "cpu", 1)
    sizes = [[(c.batch_size, c.seq_len, c.horizon, c.deter) for c in made[k : k + 8 : 2]] for k in (0, 8, 16, 24)]
    for k, column in enumerate(sizes):
        assert [size[k] for size in column] == [[1, 2, 4, 8], [2, 4, 8, 16], [1, 2, 4, 8], [4, 8, 16, 32]][k]
