"""The stopwatch measures what it says."""

import torch

from dreamer_lite.__main__ import main
from dreamer_lite.training.bench import matrix_work
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
    assert (
        main(
            [
                "bench",
                "--shape",
                "debug",
                "--repeats",
                "1",
                "--device",
                "cpu",
                "--growth",
                str(tmp_path / "nope" / "growth.png"),
            ]
        )
        == 2
    )
    assert "an existing folder" in capsys.readouterr().err


def test_the_bench_counts_the_arithmetic_of_a_known_product():
    a, b = torch.ones(10, 20), torch.ones(20, 30, requires_grad=True)
    assert matrix_work(lambda: (a @ b).sum().backward()) == 2 * 2 * 10 * 20 * 30  # forward, and backward to b
    assert operations(lambda: a.view(20, 10).t() + 1) == [200]  # views launch nothing
