"""`compare`: learning curves of several runs in one picture, and what it says of folders that hold no whole run."""

import csv
import json
from pathlib import Path

from matplotlib.figure import Figure
import numpy as np
from PIL import Image
import pytest

from dreamer_lite.__main__ import main
from dreamer_lite.config import Config
from dreamer_lite.errors import Refused
from dreamer_lite.training import compare, plots
from dreamer_lite.training.compare import in_panels, read_run, read_runs, table
from dreamer_lite.training.loop import train
from dreamer_lite.training.plots import comparison, on_common_points


def record(folder, returns, threshold=475.0, every=500, ended=True, final=None, **settings):
    """A folder as a run leaves it, with one evaluation every 500 steps; a second takes 10 steps.

    final: steps, seconds and mean of an evaluation when it ended.
    """
    folder.mkdir(parents=True)
    config = Config.preset(settings.pop("preset", "small"), **settings)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    with open(folder / "metrics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["env_steps", "seconds", "eval_mean", "eval_episodes"] if returns else [])
        for k, value in enumerate(returns, 1):
            writer.writerow([k * every - 100, k * every / 10 - 10, "nan", 0])
            writer.writerow([float(k * every), k * every / 10 + config.seed, value, 100])
    if ended:
        at = dict(zip(("env_steps", "seconds"), final or (0, 0)))
        evaluation = {"sampled": {"mean": final[2]} if final else None}
        (folder / "card.json").write_text(json.dumps({"threshold": threshold, "final_evaluation": evaluation, **at}))
    return folder


def grouped(*folders, x="steps"):
    return in_panels(read_runs(folders, x))


@pytest.mark.parametrize("env, threshold", [("CartPole-v1", 475), ("gymnasium:CartPole-v1", 475), ("Nowhere-v0", None)])
def test_before_a_run_has_ended_gymnasium_knows_the_threshold(env, threshold, tmp_path):
    run = record(tmp_path / "run", [5.0], ended=False, env=env)
    assert read_run(run).threshold == threshold
    assert read_run(record(tmp_path / "wrapped", [5.0], ended=False, wrap="a:b")).threshold is None


def test_a_run_without_an_evaluation_is_listed_and_not_drawn(tmp_path, capsys, monkeypatch):
    empty, other, panels = record(tmp_path / "empty", []), record(tmp_path / "other", [5.0, 6.0], lam=0.9), []
    monkeypatch.setattr(plots, "comparison", lambda drawn, xlabel: panels.append(drawn) or Figure())
    out = ["--out", str(tmp_path / "a.png")]
    assert main(["compare", str(empty), str(other), *out]) == 0 and "no evaluation yet" in capsys.readouterr().out
    assert [list(groups) for groups, _ in panels[0].values()] == [["lam 0.9 (seed 0)"]]


def test_runs_that_differ_in_their_seed_form_a_group_and_labels_name_what_differs(tmp_path):
    small = [record(tmp_path / f"a{seed}", [100, 400 + seed], seed=seed) for seed in range(3)]
    bold = record(tmp_path / "b", [100, 480, 490], entropy=0.01, ended=False)
    longer = record(tmp_path / "c", [100, 400], seed=7, steps=9000)  # as a resumed run has it
    (groups,) = grouped(*small, bold, longer).values()
    assert [label for label, _ in groups] == ["entropy 0.0003 (4 seeds)", "entropy 0.01 (seed 0)"]
    official = record(tmp_path / "d", [20, 30], preset="size1m", lam=0.9)
    (groups,) = grouped(*small, bold, official).values()
    labels = [label for label, _ in groups]
    assert labels == ["small (3 seeds)", "small, entropy 0.01 (seed 0)", "size1m, lam 0.9 (seed 0)"]
    (groups,) = grouped(small[0]).values()
    assert [label for label, _ in groups] == ["small (seed 0)"]


def test_the_same_settings_and_seed_again_are_a_group_of_their_own(tmp_path):
    """Such as before and after a change of the code."""
    folders = [record(tmp_path / name / f"s{seed}", [1, 2], seed=seed) for name in ("old", "new") for seed in (0, 1)]
    (groups,) = grouped(*folders).values()
    assert [label for label, _ in groups] == [f"small, {folders[0]} (2 seeds)", f"small, {folders[2]} (2 seeds)"]
    assert len(read_runs([folders[0], str(folders[0])])) == 1


def test_each_environment_has_its_panel(tmp_path):
    runs = [
        record(tmp_path / "a", [9]),
        record(tmp_path / "b", [-9, -8], None, env="Pendulum-v1"),
        record(tmp_path / "c", [0.1], 0.7, env="FrozenLake-v1", env_args=("is_slippery=false",)),
    ]
    panels = grouped(*runs)
    assert list(panels) == ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1 is_slippery=false"]
    assert table("Pendulum-v1", panels["Pendulum-v1"], "steps").splitlines() == [
        "Pendulum-v1     last mean return  no threshold known",
        "small (seed 0)  -8",
    ]


def test_the_table_counts_the_runs_it_speaks_of(tmp_path):
    runs = [
        record(tmp_path / "a", [100, 480], seed=1),
        record(tmp_path / "b", [480, 500], seed=2),
        record(tmp_path / "c", [100, 200], seed=3),
        record(tmp_path / "d", [], seed=4),
    ]
    (groups,) = grouped(*runs).values()
    first, second = table("CartPole-v1", groups, "steps").splitlines()
    assert first.endswith("  first at 475")
    assert second.split("  ") == ["small (4 seeds)", "480 (200 to 500) in 3 of 4 runs", "750 steps in 2 of 4 runs"]
    (groups,) = grouped(*runs, x="seconds").values()
    assert table("CartPole-v1", groups, "seconds").endswith("76 seconds in 2 of 4 runs")
    (groups,) = grouped(runs[2], record(tmp_path / "e", [], entropy=0.1)).values()
    assert "not reached" in table("x", groups, "steps") and "no evaluation yet" in table("x", groups, "steps")


def test_the_median_reaches_as_far_as_all_runs():
    curves = [(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, 4])), (np.array([2.0, 3]), np.array([0.0, 5]))]
    x, together = on_common_points(curves)
    assert x.tolist() == [2, 3] and together.tolist() == [[2, 3], [0, 5]]
    x, together = on_common_points([(np.array([1.0]), np.ones(1)), (np.array([2.0]), np.ones(1))])
    assert len(x) == 0 and together.shape == (2, 0)
    (axes,) = comparison({"A": ({"a": curves, "b": []}, 3.0)}, "environment steps").axes
    assert [line.get_label() for line in axes.lines if line.get_label()[0] != "_"] == ["a", "b"]
    assert axes.get_xlabel() == "environment steps" and axes.get_ylabel() and axes.get_title() == "A"
    legend = axes.get_legend().get_bbox_to_anchor().transformed(axes.transAxes.inverted())
    assert legend.y0 < 0  # below the axes, where it hides no curve


@pytest.mark.parametrize("name", ["curves.png", "new/curves.svg", "curves.pdf"])
def test_the_picture_is_written(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        record(tmp_path / f"runs/{seed}", [100, 300, 490], seed=seed)
    assert main(["compare", "runs/0", "runs/1", "--out", name, "--x", "seconds"]) == 0
    output = capsys.readouterr().out
    assert "small (2 seeds)  490 (490 to 490)  150 seconds" in output and output.endswith(f"learning curves: {name}\n")
    assert Path(name).stat().st_size > 3000
    if name.endswith("png"):
        with Image.open(name) as picture:
            assert np.asarray(picture.convert("RGB")).std() > 5
    assert main(["compare", "runs/0"]) == 0 and Path("compare.png").exists()


def test_a_real_run_before_and_after_it_was_resumed(tmp_path, capsys):
    run, picture = tmp_path / "run", str(tmp_path / "a.png")
    train(Config.preset("debug", steps=100), run, until="steps", progress=False)
    assert (run / "metrics.csv").read_text() == "\n"  # no evaluation, and no row
    assert main(["compare", str(run), "--out", picture]) == 0  # what the run ended with
    card = json.loads((run / "card.json").read_text())
    (recorded,) = read_runs([run])
    assert recorded.x["steps"].tolist() == [100] and recorded.x["seconds"].tolist() == [card["seconds"]]
    assert recorded.returns.tolist() == [card["final_evaluation"]["sampled"]["mean"]]
    train(Config.preset("debug", steps=500), run, resume=True, progress=False)
    (recorded,) = read_runs([run])
    assert recorded.x["steps"].tolist() == [200, 400, 500] and recorded.threshold == 475
    assert main(["compare", str(run), "--out", picture]) == 0 and "debug (seed 0)" in capsys.readouterr().out


DAMAGED = {
    "metrics.csv": [
        (b"\xff\xfe\x00bin\x00", "metrics.csv is damaged"),
        (b"", "metrics.csv is damaged.*the file is empty"),
        (b"foo,bar\n", "metrics.csv is damaged.*there is no column 'env_steps'"),
        (b"env_steps,eval_mean\n500,3\n", "metrics.csv is damaged.*there is no column 'eval_episodes'"),
        (b"env_steps,seconds,eval_mean,eval_episodes\n500,1,many,100\n", "damaged.*could not convert.*'many'"),
        (b"env_steps,seconds,eval_mean,eval_episodes\n500,1\n", "metrics.csv is damaged"),
        (b"env_steps,seconds,eval_mean,eval_episodes\n500,1,inf,9\n", "damaged.*eval_mean is not finite"),
        (b"env_steps,seconds,eval_mean,eval_episodes\n500,1,2,9\n500,1,2,9\n", "damaged.*env_steps do not grow"),
        (b'env_steps,eval_mean,eval_episodes\n500,"1,2', "metrics.csv is damaged"),
    ],
    "card.json": [
        (b"{", "card.json is damaged"),
        (b"[]", "card.json is damaged"),
        (b"{}", "card.json is damaged.*'threshold'"),
        (b'{"threshold": "high"}', "card.json is damaged.*'high'"),
        (b'{"threshold": 9}', "card.json is damaged.*'final_evaluation'"),
        (
            b'{"threshold": 9, "final_evaluation": {"sampled": {"mean": Infinity}}, "env_steps": 1500, "seconds": 1}',
            "card.json is damaged.*final evaluation is not finite",
        ),
        (b"[" * 100_000, "card.json is damaged"),
    ],
    "config.json": [
        (b"", "config.json is damaged"),
        (b"7", "config.json is damaged"),
        (b'{"env": "CartPole-v1", "colour": 3}', "config.json is damaged, or another version wrote it.*'colour'"),
        (b'{"env": "CartPole-v1", "batch_size": -3}', "batch_size must be positive"),
    ],
}


@pytest.mark.parametrize("file, content, words", [(file, *case) for file, cases in DAMAGED.items() for case in cases])
def test_damaged_files_are_named_in_one_line(file, content, words, tmp_path, capsys):
    whole = record(tmp_path / "whole", [1, 2])
    (record(tmp_path / "run", [1, 2]) / file).write_bytes(content)
    with pytest.raises(Refused, match=words):
        read_runs([whole, tmp_path / "run"])
    assert main(["compare", str(whole), str(tmp_path / "run"), "--out", str(tmp_path / "a.png")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dreamer_lite: ") and error.count("\n") == 1 and not (tmp_path / "a.png").exists()


def test_the_evaluation_at_the_end_of_a_run_counts_where_it_is_the_latest(tmp_path):
    only = record(tmp_path / "only", [], final=(300, 7.5, 42.0))
    later = record(tmp_path / "later", [5, 6], final=(1200, 99.0, 8.0))
    same = record(tmp_path / "same", [5, 6], final=(1000, 99.0, 8.0))  # right after the one in metrics.csv
    runs = read_runs([only, later, same])
    assert [run.x["steps"].tolist() for run in runs] == [[300], [500, 1000, 1200], [500, 1000]]
    assert [run.x["seconds"][-1] for run in runs] == [7.5, 99, 100]
    assert [run.returns[-1] for run in runs] == [42, 8, 6]


def test_a_folder_of_runs_stands_for_them(tmp_path):
    for name in ("b", "a"):
        record(tmp_path / "runs/sweep" / name, [1], seed=ord(name))
    one = record(tmp_path / "runs/one", [1])
    (tmp_path / "runs/sweep/notes").mkdir()
    runs = read_runs([one, tmp_path / "runs/sweep", tmp_path / "runs/sweep/a"])  # as runs/* gives them
    assert [run.folder.name for run in runs] == ["one", "a", "b"]
    assert [run.folder.name for run in read_runs([tmp_path / "runs"])] == ["one", "a", "b"]
    with pytest.raises(Refused, match="notes is not a run's folder"):
        read_runs([tmp_path / "runs/sweep/notes"])


def test_what_else_is_refused(tmp_path):
    run = record(tmp_path / "run", [1])
    (run / "metrics.csv").write_text("env_steps,eval_mean,eval_episodes\n500,3,100\n")
    with pytest.raises(Refused, match="has no seconds"):
        read_runs([run], "seconds")
    assert len(read_runs([run])) == 1
    (tmp_path / "empty").mkdir()
    for folder, words in (
        (tmp_path / "empty", "not a run's folder: it has no config.json"),
        (run / "card.json", "not a run's folder"),
        (tmp_path / "none", "not a run's folder"),
    ):
        with pytest.raises(Refused, match=words):
            read_runs([folder])
    (run / "metrics.csv").unlink()
    with pytest.raises(Refused, match="it has no metrics.csv"):
        read_runs([run])
    with pytest.raises(Refused, match="at least one run"):
        read_runs([])


@pytest.mark.parametrize("name", ["m$\\b$", "$x $y", "costs $5"])
def test_dollars_in_a_name_are_no_mathematics(name):
    figure = comparison({name: ({name: [(np.arange(2.0), np.arange(2.0))]}, None)}, "steps")
    figure.canvas.draw()
    axes = figure.axes[0]
    for text in (axes.title, axes.get_legend().get_texts()[0]):
        shown, is_math = text._preprocess_math(text.get_text())
        assert shown == name and not is_math


def test_a_run_named_in_two_ways_is_one_run(tmp_path, monkeypatch):
    train(Config.preset("debug", steps=60, eval_episodes=1), tmp_path / "run", progress=False)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    (one,) = read_runs([Path("run"), tmp_path / "run", Path("link"), tmp_path])
    assert one.folder == Path("run")


def test_thick_is_the_median_and_the_band_reaches_from_the_worst_run_to_the_best():
    x = np.array([1.0, 2.0])
    curves = [(x, np.full(2, level)) for level in (0.0, 1.0, 5.0)]
    axes = Figure().add_subplot()
    plots.draw_group(axes, curves, "a", "blue", "-")
    (thick,) = [line for line in axes.lines if line.get_label() == "a"]
    assert thick.get_ydata().tolist() == [1, 1]
    (band,) = axes.collections
    assert {y for _, y in band.get_paths()[0].vertices} == {0, 5}


def test_an_evaluation_at_the_threshold_has_reached_it():
    run = compare.Recorded(None, None, {"steps": np.array([500.0, 1000])}, np.array([475.0, 500]), 475.0)
    assert compare.when([run], "steps", 475.0) == "500 steps"


def test_the_axis_of_a_comparison_says_what_it_is(tmp_path, monkeypatch):
    labels = []

    def comparison(panels, xlabel):
        labels.append(xlabel)
        return Figure()

    monkeypatch.setattr(plots, "comparison", comparison)
    train(Config.preset("debug", steps=20), tmp_path / "run", until="steps", progress=False)
    for x in ("steps", "seconds"):
        assert main(["compare", str(tmp_path / "run"), "--x", x, "--out", str(tmp_path / "a.png")]) == 0
    assert labels == ["environment steps", "seconds"]
