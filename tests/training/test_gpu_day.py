"""The list of experiments for a GPU, rehearsed without one: each ends well, and every number that the pages need is
there."""

from importlib.metadata import PackageNotFoundError, requires
import json
from pathlib import Path
import subprocess
import sys

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
import pytest

from dreamer_lite import scan

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "assets"))

import gpu_day  # noqa: E402
from gpu_page import MISSING, write_pages  # noqa: E402
import gpu_wheels  # noqa: E402


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    """The folder that a rehearsal leaves, and what it printed."""
    out = tmp_path_factory.mktemp("gpu")
    words = [sys.executable, ROOT / "assets/make.py", "gpu", "--rehearse", "--out", out]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == int(scan.operator is None), done.stdout + done.stderr
    return out, done.stdout


def test_each_experiment_ends_well(rehearsal):
    out, printed = rehearsal
    found = gpu_day.results(out)
    assert found.keys() == gpu_day.EXPERIMENTS.keys()
    if scan.operator is None:  # nothing can be compiled with this PyTorch, and the list says so
        assert "has no scan operator" in found.pop("compiled").says
    for name, result in found.items():
        assert result.ended == "done" and result.rows, (name, result)
        assert f"{name:>16}  " in printed
    assert found["capture"].rows[0]["passed"] > 0 and found["cartpole-small"].rows[0]["captured"]
    assert {row["way"] for row in found["steps"].rows} == {"eager", "captured", "kernels"}
    assert found["nccl"].rows[0]["result"] == "refused"


def test_every_number_that_a_page_needs_is_there(rehearsal):
    out, printed = rehearsal
    for name in ("gpu.md", "readme_rows.md", "bench.txt"):
        text = (out / name).read_text()
        assert text and MISSING not in text and "None" not in text, text
    assert (out / "gpu.md").read_text() in printed
    assert (out / "readme_rows.md").read_text().count("|\n") == 2
    bench = (out / "bench.txt").read_text()
    assert [bench.count(f": {precision}; CPU") for precision in ("float32", "bfloat16")] == [7, 7]
    assert bench.count("captured:") == 14
    assert not list(out.rglob("*.pt"))  # what is kept is small


def test_the_pages_name_what_is_missing(tmp_path):
    assert MISSING in write_pages({}, tmp_path)
    row = {"shape": "small", "precision": "float32", "way": "captured", "error": "small, captured: out of memory"}
    found = {"steps": gpu_day.Result([row], "failed", 3.0, row["error"])}
    assert "| steps | failed | 3 | small, captured: out of memory |" in write_pages(found, tmp_path)


def test_a_hang_and_a_crash_take_only_their_own_process():
    def program(code):
        return lambda: subprocess.Popen([sys.executable, "-c", code], start_new_session=True)

    assert gpu_day.within(0.5, program("import time; time.sleep(60)")) is None
    assert gpu_day.within(60, program("import os; os.abort()")) not in (0, None)
    assert gpu_day.within(60, program("pass")) == 0


def test_an_experiment_that_fails_is_reported_with_its_last_words(tmp_path, monkeypatch):
    def broken(left):
        yield {"number": 1}
        raise ValueError("a typo")

    monkeypatch.setitem(gpu_day.EXPERIMENTS, "nccl", gpu_day.Experiment(broken, 60, 1))
    monkeypatch.setenv(gpu_day.REHEARSAL, "1")
    row = gpu_day.carry_out("nccl", tmp_path, 60)
    assert (row["ended"], row["says"]) == ("failed", "ValueError: a typo")
    assert gpu_day.results(tmp_path)["nccl"].rows == [{"number": 1}]


def test_what_no_longer_fits_is_skipped_and_keeps_what_was_there(tmp_path, capsys):
    rows = [{"begun": "now"}, {"number": 1}, {"ended": "done", "took": 1.0, "says": ""}]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps({"experiment": "nccl", **row}) + "\n" for row in rows))
    assert gpu_day.main(["--out", str(tmp_path), "--minutes", "0.1", "--only", "nccl", "compiled"]) == 1
    found, printed = gpu_day.results(tmp_path), capsys.readouterr().out
    assert found["nccl"].rows == [{"number": 1}] and found["nccl"].ended == "done"
    assert found["compiled"].ended == "skipped" and printed.count("6 seconds were left") >= 2


TAKEN = "torch numpy matplotlib pytest hypothesis tqdm pillow tensorboard".split()


def test_the_wheels_need_nothing_that_is_neither_pinned_nor_there_already():
    pinned = {canonicalize_name(pin.split("==")[0]) for pin in gpu_wheels.PINS}
    there, new = set(), list(TAKEN)
    while new:
        there.add(name := new.pop())
        new += [need for need in needs(name) if need not in there]
    for name in pinned:
        assert needs(name) <= pinned | there, name
    assert {"gymnasium", "tyro"} <= pinned


def needs(name):
    """The packages that an installed one asks for on a GPU's machine; nothing where it isn't installed."""
    machine = {"extra": "", "python_version": "3.12", "python_full_version": "3.12.1", "sys_platform": "linux"}
    try:
        found = [Requirement(line) for line in requires(name) or []]
    except PackageNotFoundError:
        return set()
    return {canonicalize_name(one.name) for one in found if one.marker is None or one.marker.evaluate(machine)}
