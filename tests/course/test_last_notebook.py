"""What notebook 10 stands on: the reader's parts in the package's place, the dashboard, interrupting and going on, the
run's pictures."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import right_answers as answers
import torch

from dreamer_lite.agent import Dreamer
from dreamer_lite.config import Config
from dreamer_lite.course import keep
from dreamer_lite.course.bundled import bundled_agent
from dreamer_lite.course.index import EXERCISES
from dreamer_lite.course.n10_cartpole import background, run_view
from dreamer_lite.course.n10_cartpole import dashboard as live
from dreamer_lite.course.n10_cartpole.dashboard import Dashboard, train_live
from dreamer_lite.course.n10_cartpole.parts import Part, installed, my_parts
from dreamer_lite.course.plug import homes
from dreamer_lite.errors import Refused
from dreamer_lite.training.checkpoint import load
from dreamer_lite.training.loop import train
from dreamer_lite.training.state import Training

KEPT = [name for name, exercise in EXERCISES.items() if exercise.kept_for]
SHORT = Config.preset("debug", steps=200, eval_every=100, learn_start=32, save_every=1000, train_ratio=4, warmup=0)


@pytest.fixture(autouse=True)
def pictures(monkeypatch):
    """Instead of displaying, keep what would be displayed."""
    shown = []

    class Handle:
        def update(self, bundle, **_):
            shown.append(bundle)

    def display(bundle, **_):
        shown.append(bundle)
        return Handle()

    monkeypatch.setattr(live, "display", display)
    return shown


def own(name):
    """The differently written right answer, as a part."""
    return Part(name, EXERCISES[name].kept_for, getattr(answers, name), None)


def weights(folder):
    return torch.cat([p.detach().flatten() for p in load(folder).parameters()])


def test_a_run_goes_on_as_it_began_whatever_is_asked_for(tmp_path, capsys, monkeypatch):
    """Compiling may be done by now, or a part may have been kept since. A run that has ended says that it has."""
    look, part, run = Dashboard.__call__, own("step_weights"), tmp_path / "run"

    def interrupt(self, training):
        look(self, training)
        if training.env_steps in (60, 120):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Dashboard, "__call__", interrupt)
    train_live(SHORT, run, device="cpu")
    card = train_live(SHORT, run, device="cpu", compile=True)
    assert not card["finished"] and card["env_steps"] > 100 and not card["compiled"]
    assert "run began step by step, and goes on step by step\n" in capsys.readouterr().out
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    state["rest"]["compiled"] = True  # as if it had been
    torch.save(state, run / "checkpoint.pt")
    card = train_live(SHORT, run, [part], device="cpu")
    assert card["finished"] and not card["compiled"]
    assert "run began compiled, and goes on step by step, with your parts\n" in capsys.readouterr().out
    train_live(SHORT, run, [part], device="cpu", compile=True)
    said = capsys.readouterr().out
    assert "run holds a run that has ended, after 200 environment steps, so nothing was" in said and "began" not in said
    torch.save(state, run / "checkpoint.pt")
    asked = []
    monkeypatch.setattr(live, "train", lambda *_, compile, **__: asked.append(compile) or {"env_steps": 0})
    train_live(SHORT, run, device="cpu")
    assert asked == [True]  # as it began


def test_one_process_prepares_however_often_the_setup_cell_runs(monkeypatch):
    begun = []
    monkeypatch.setattr(background.Preparation, "process", None)
    monkeypatch.setattr(background.subprocess, "Popen", lambda words, **_: begun.append(words) or Waiting())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for code, count in ((None, 1), (None, 1), (0, 1), (2, 2)):  # begun, at work, ready, failed
        Waiting.code = code
        background.Preparation()
        assert len(begun) == count


class Waiting:
    def poll(self):
        return self.code


def test_every_part_that_can_be_kept_is_used_when_an_agent_trains_and_plays():
    called = set()

    def watched(name):
        finished = EXERCISES[name].finished

        def version(*args, **kwargs):
            called.add(name)
            return finished(*args, **kwargs)

        return Part(name, EXERCISES[name].kept_for, version, None)

    with installed([watched(name) for name in KEPT]):
        training = Training(SHORT)
        while training.train_steps < 2:
            training.collect()
            training.learn()
        bundled_agent().world_model.predict_obs(torch.zeros(1, bundled_agent().world_model.feature_size))
    assert set(KEPT) - called == set()


def test_other_right_parts_train_the_same_agent(tmp_path):
    """From weights to weights, over the first train steps; later, rounding may turn a throw of the dice. Those that
    draw their random numbers in another order are left out."""
    few = Config.preset("debug", steps=48, learn_start=32, train_ratio=4, warmup=0)
    order = {"sample", "observe", "imagine"}
    with installed([own(name) for name in KEPT if name not in order]):
        card = train(few, tmp_path / "own", progress=False)
    train(few, tmp_path / "finished", progress=False)
    a, b = weights(tmp_path / "finished"), weights(tmp_path / "own")
    assert card["train_steps"] >= 4 and torch.allclose(a, b, rtol=1e-2, atol=1e-3), (a - b).abs().max()
    with installed([own(name) for name in order]):
        assert train(few, tmp_path / "order", progress=False)["train_steps"] >= 4


def test_parts_are_taken_out_again_even_after_an_error():
    before = {name: [getattr(owner, place) for owner, place in homes(EXERCISES[name].finished)] for name in KEPT}
    assert all(before.values())
    with pytest.raises(KeyError), installed([own(name) for name in KEPT]):
        assert sys.modules["dreamer_lite.agent"].lambda_return is answers.lambda_return and Dreamer.act is answers.act
        raise KeyError
    for name in KEPT:
        assert all(thing is EXERCISES[name].finished for thing in before[name])
        assert len(homes(EXERCISES[name].finished)) == len(before[name])


def test_a_wrong_part_changes_the_run(tmp_path):
    """The parts do take part: with a wrong one the weights differ."""
    wrong = Part("step_weights", "imagination:step_weights", lambda c: torch.zeros_like(c[:, :-1]), None)
    train(SHORT, tmp_path / "finished", progress=False)
    with installed([wrong]):
        train(SHORT, tmp_path / "wrong", progress=False)
    assert not torch.allclose(weights(tmp_path / "finished"), weights(tmp_path / "wrong"), rtol=1e-2, atol=1e-3)


def test_my_parts_lists_what_is_kept_and_tells_what_broke(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DREAMER_HOME", str(tmp_path))
    assert [part.yours for part in my_parts()] == [None] * len(KEPT)
    assert f"0 of {len(KEPT)} parts are yours" in capsys.readouterr().out
    for name in ("step_weights", "kl_losses", "symlog"):
        keep(getattr(answers, name))
    capsys.readouterr()
    assert sum(part.yours is not None for part in my_parts()) == 3
    assert f"3 of {len(KEPT)} parts are yours" in capsys.readouterr().out
    file = tmp_path / "my_parts" / "step_weights.py"
    file.write_text(file.read_text().replace("running * continues", "running + continues"))
    parts = {part.name: part for part in my_parts()}
    out = capsys.readouterr().out
    assert parts["step_weights"].yours is None and "step_weights was kept, but is not right any more" in out
    assert f"2 of {len(KEPT)} parts are yours" in out


def test_a_kept_part_may_use_the_functions_of_other_exercises(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DREAMER_HOME", str(tmp_path))
    keep(answers.prediction_losses)  # uses continue_target, but also names of its test file: told
    assert "not kept" in capsys.readouterr().out
    file = tmp_path / "my_parts"
    file.mkdir(exist_ok=True)
    (file / "observe.py").write_text(
        "def observe(rssm, tokens, actions, is_first, start, noise=None):\n"
        "    state, states, logits = start, [], []\n"
        "    for t in range(tokens.shape[1]):\n"
        "        state, action = clear(state, actions[:, t], is_first[:, t])\n"
        "        h = rssm.recurrent(state, action)\n"
        "        logits.append(rssm.posterior(h, tokens[:, t]))\n"
        "        state = State(h, sample(unimix(logits[-1]), None if noise is None else noise[:, t]))\n"
        "        states.append(state)\n"
        "    return State(*(torch.stack(part, 1) for part in zip(*states))), torch.stack(logits, 1)\n"
    )
    assert "observe" in [part.name for part in my_parts() if part.yours]


def test_the_dashboard_only_looks(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(live, "SHARE", 1.0)
    train(SHORT, tmp_path / "plain", progress=False)
    dashboard = Dashboard(every=0.0)
    train(SHORT, tmp_path / "watched", progress=False, on_step=dashboard)
    assert torch.equal(weights(tmp_path / "plain"), weights(tmp_path / "watched")) and dashboard.drawn > 3
    assert pictures[-1]["image/png"].startswith("iVBOR") and "train steps" in pictures[-1]["text/plain"]
    assert len({bundle["image/png"] for bundle in pictures}) > 2


def test_the_dashboard_waits_twenty_times_as_long_as_it_took(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(live.time, "perf_counter", lambda: clock[0])
    dashboard = Dashboard()
    drawn = []

    def slow(training, status):
        drawn.append(clock[0])
        clock[0] += 0.2

    monkeypatch.setattr(dashboard, "show", slow)
    while clock[0] < 200:
        dashboard(None)
        clock[0] += 0.01
    assert dashboard.spent / 100 < 0.051 and len(drawn) > 10
    clock[0], fast = 300.0, Dashboard()
    count = []
    monkeypatch.setattr(fast, "show", lambda *_: count.append(clock[0]))
    while clock[0] < 310:
        fast(None)
        clock[0] += 0.01
    assert 18 <= len(count) <= 21  # about twice a second


def test_interrupting_saves_and_the_same_cell_goes_on_to_the_same_end(tmp_path, monkeypatch, capfd):
    train(SHORT, tmp_path / "whole", progress=False)
    look = Dashboard.__call__

    def interrupt(self, training):
        look(self, training)
        if training.env_steps == 120:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Dashboard, "__call__", interrupt)
    card = train_live(SHORT, tmp_path / "run", device="cpu")
    assert not card["finished"] and card["env_steps"] in (120, 122) and "saving" in capfd.readouterr().err
    monkeypatch.setattr(Dashboard, "__call__", look)
    card = train_live(SHORT, tmp_path / "run", device="cpu")
    assert card["finished"] and card["env_steps"] == 200
    assert torch.equal(weights(tmp_path / "whole"), weights(tmp_path / "run"))
    again = train_live(SHORT, tmp_path / "run", device="cpu")
    assert again["finished"] and again["env_steps"] == 200


def test_a_run_with_other_settings_is_not_gone_on_with(tmp_path):
    train_live(SHORT, tmp_path / "run", device="cpu")
    with pytest.raises(ValueError, match="other settings .seed was 0 and is 3"):
        train_live(Config.preset("debug", steps=200, seed=3), tmp_path / "run", device="cpu")


def test_a_run_that_cannot_be_gone_on_with_says_what_to_do(tmp_path):
    run = tmp_path / "my_run"
    train_live(SHORT, run, device="cpu")
    (run / "checkpoint.pt").write_bytes(b"PK")
    with pytest.raises(ValueError, match="delete the folder my_run"):
        train_live(SHORT, run, device="cpu")
    (run / "checkpoint.pt").unlink()
    with pytest.raises(ValueError, match="delete the folder my_run"):
        train_live(SHORT, run, device="cpu")
    (run / "checkpoint.pt").touch()
    with pytest.raises(Refused, match="cannot be read.*delete the folder my_run"):
        train_live(SHORT, run, device="cpu")


def test_a_device_that_is_not_there_is_no_reason_to_delete_a_run(tmp_path):
    with pytest.raises(Refused, match="cuda:99") as error:
        train_live(SHORT, tmp_path / "my_run", device="cuda:99")
    assert "delete" not in str(error.value)


def test_the_dream_beside_reality_is_that_of_the_model():
    training = Training(SHORT)
    for _ in range(6):
        training.collect()
    real, dreamed, ago = live.beside(training)
    first = training.replay.data["is_first"][0, :6].nonzero()[-1].item()
    assert (
        ago == 5 - first
        and np.array_equal(real, training.replay.data["vector"][0, 5].numpy())
        and np.isfinite(dreamed).all()
    )


def test_card_curves_and_replay_of_a_run(tmp_path, capsys):
    card = train_live(SHORT, tmp_path / "run", device="cpu")
    run_view.run_card(card)
    assert "env steps: 200" in capsys.readouterr().out
    points = run_view.read_run(tmp_path / "run" / "metrics.csv")
    assert [step for step, _ in points] == [100, 200]
    figure, text = run_view.draw_runs([(500, 20.0), (1000, 480.0)], run_view.recorded())
    assert "this run after 1000" in text and len(run_view.recorded()) == 10
    agent = run_view.load_run(tmp_path / "run")
    assert not any(p.requires_grad for p in agent.parameters())


def test_operations_are_counted():
    few, many = run_view.operations(SHORT), run_view.operations(Config.preset("debug", seq_len=16))
    assert 500 < len(few) < len(many)
    times = run_view.time_by_size()
    assert times[0][1] < times[-1][1] and all(seconds > 0 for _, seconds in times)
    _, reading = run_view.launch_figure(few, [(2**k, 1e-6 * max(1, 2**k / 4096)) for k in range(4, 23)])
    assert "costs 1.0 µs" in reading and "At 16,384 numbers" in reading and "100%" in reading


def preparing(code):
    """A preparation whose process runs this instead."""
    prepared = object.__new__(background.Preparation)
    prepared.process = subprocess.Popen([sys.executable, "-c", code])
    return prepared


def test_the_run_is_compiled_only_when_that_is_prepared_and_no_part_is_the_readers(capsys):
    done, failed, slow = preparing("pass"), preparing("raise SystemExit(2)"), preparing("import time; time.sleep(60)")
    theirs, finished = own("symlog"), Part("symlog", "symlog:symlog", None, None)
    assert done.use([finished]) and "compiled" in capsys.readouterr().out
    assert not done.use([theirs, finished]) and "1 of 2 parts are yours" in capsys.readouterr().out
    assert not failed.use([]) and not slow.use([], seconds=0.1) and "not done yet" in capsys.readouterr().out
    took = background.time_both(slow, steps=2)
    slow.process.kill()
    assert list(took) == ["eager"] and took["eager"] > 1
