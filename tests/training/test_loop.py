"""The train loop and what a run keeps, in small: clocks, rows, cards, evaluations, signals."""

import io
import math
import os
import signal
from types import SimpleNamespace

from custom_envs import Plain, register, seven
import numpy as np
import pytest
import torch
from tqdm import tqdm

from dreamer_lite.config import Config
from dreamer_lite.envs import probe
from dreamer_lite.errors import Refused
from dreamer_lite.training import cost, folder, loop
from dreamer_lite.training import state as state_module
from dreamer_lite.training.log import Metrics
from dreamer_lite.training.loop import finished, train, watch_interrupts
from dreamer_lite.training.state import Diverged, Training

register()


def test_the_seconds_of_a_resumed_run_go_on_where_they_were(tmp_path):
    train(Config.preset("debug", steps=20), tmp_path, until="steps", progress=False)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    saved["rest"]["seconds"] = 1000.0
    torch.save(saved, tmp_path / "checkpoint.pt")
    card = train(Config.preset("debug", steps=40), tmp_path, resume=True, progress=False)
    assert 1000 <= card["seconds"] < 1100


def test_a_run_that_is_held_goes_on_for_as_long_again_and_for_6000_steps_at_least():
    def ends(until, solved, steps):
        config = SimpleNamespace(steps=10**6, episodes=0)
        return finished(
            SimpleNamespace(config=config, env_steps=steps, episodes=0, until=until, solved={"env_steps": solved})
        )

    assert [ends("held", 5000, steps) for steps in (9_999, 10_000)] == [False, True]
    assert [ends("held", 200, steps) for steps in (5_999, 6_000)] == [False, True]
    assert ends("solved", 5000, 5000) and not ends("steps", 5000, 900_000)


def test_what_a_run_evaluates_and_what_its_card_says_of_it(tmp_path, monkeypatch):
    """Fresh episodes each time; 20 once it is solved, which reaching the threshold is; then it counts how it held."""
    asked, means = [], iter([0.5, 1.0, 0.75, 1.0, 3.0, 4.0])  # the threshold is 1; the last two at the end

    def play(self, episodes, seed, greedy=False):
        asked.append((episodes, seed, greedy))
        return np.array([-2.0, 2.0]) + next(means)

    monkeypatch.setattr(Training, "play", play)
    config = Config.preset("debug", env="Easy-v0", steps=400, eval_every=100, eval_episodes=3, seed=5)
    card = train(config, tmp_path, until="steps", progress=False)
    assert asked == [(3, 105, False), (3, 205, False), (20, 305, False), (20, 405, False), (3, 5, False), (3, 5, True)]
    assert card["solved_at_env_steps"] == 200
    assert card["held"] == {"evaluations": 2, "share_at_threshold": 0.5, "worst": 0.75}
    assert card["final_evaluation"]["sampled"] == {"mean": 3, "std": 2, "episodes": 2}
    assert card["final_evaluation"]["greedy"]["mean"] == 4
    header, first, *_ = (tmp_path / "metrics.csv").read_text().splitlines()
    row = dict(zip(header.split(","), map(float, first.split(","))))
    assert (row["eval_mean"], row["eval_std"], row["eval_episodes"]) == (0.5, 2, 2)


def test_each_episode_of_the_training_is_paid_for_itself():
    training = Training(Config.preset("debug"), make_env=seven)
    for _ in range(60):
        training.collect()
    assert list(training.returns) == [7.0] * 10 and training.episodes == 2 * 7
    training.returns.extend([1.0, 3.0, 8.0])
    training.write_row(None)
    assert training.log.rows[-1]["return"] == (7 * 7 + 1 + 3 + 8) / 10


def test_the_bar_counts_environment_steps_and_shows_the_latest_evaluation(tmp_path, monkeypatch):
    bars = []

    def made(**how):
        bars.append(tqdm(**how, file=io.StringIO()))
        return bars[-1]

    monkeypatch.setattr(loop, "tqdm", made)
    for steps in (20, 60):
        train(Config.preset("debug", steps=steps), tmp_path, until="steps", resume=steps == 60)
    assert [(bar.total, bar.initial, bar.n) for bar in bars] == [(20, 0, 20), (60, 20, 60)]
    rows = [{"eval_mean": 1.0}, {"eval_mean": 2.0}]
    training = SimpleNamespace(log=SimpleNamespace(evaluations=rows), returns=[3.0], train_steps=8, seconds=2.0)
    shown = {}
    loop.show_progress(SimpleNamespace(set_postfix=lambda words, refresh: shown.update(words)), training)
    assert shown == {"return": "3", "evaluation": "2", "train steps/s": "4.0"}


def test_progress_in_a_file_is_written_seldom_and_any_stream_will_do(tmp_path, monkeypatch):
    with open(tmp_path / "log", "w") as file:
        monkeypatch.setattr(loop.sys, "__stderr__", file)
        assert loop.goes_to_a_file(file) and not loop.goes_to_a_file(io.StringIO())  # as in a notebook
        for odd in (None, SimpleNamespace(write=print, flush=print), io.StringIO()):
            monkeypatch.setattr(loop.sys, "__stderr__", odd)
            assert not loop.goes_to_a_file(odd)


def test_a_run_is_saved_at_its_own_interval(tmp_path, monkeypatch):
    saved, save = [], Training.save
    monkeypatch.setattr(Training, "save", lambda self, out: saved.append(self.env_steps) or save(self, out))
    config = Config.preset("debug", steps=60, learn_start=1000, save_every=20, log_every=50, eval_every=0)
    train(config, tmp_path, until="steps", progress=False)
    assert saved == [0, 20, 40, 60, 60]


def test_a_second_ctrl_c_stops_at_once_and_all_is_as_before_afterwards(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with watch_interrupts(False) as interrupted:
        assert not interrupted()
        try:
            for _ in range(2):
                signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            pytest.fail("a second SIGTERM, unlike a second Ctrl-C, waits for the step")
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_number_that_is_not_finite_is_named_with_its_own_train_step():
    training = Training(Config.preset("debug"))
    for value in (1.0, math.nan):
        training.train_steps += 1
        training.metrics.add(["loss"], torch.tensor([value]))
    with pytest.raises(Diverged, match=r"^train step 2 "):
        training.read_metrics()


def test_one_weight_that_is_not_finite_is_enough_not_to_save(tmp_path):
    training = Training(Config.preset("debug"))
    training.learner.optimizer.weights[3] = math.nan
    with pytest.raises(Diverged, match="a weight"):
        training.save(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_the_averaged_agent_is_evaluated(monkeypatch):
    training, seen = Training(Config.preset("debug")), []
    training.learner.average.fill_(0.25)

    def play(agent, *_, **__):
        seen.append(agent.actor.heads[0].bias.clone())
        return np.zeros(1), 0

    monkeypatch.setattr(state_module, "play_episodes", play)
    training.play(1, 0)
    assert (seen[0] == 0.25).all() and not (training.agent.actor.heads[0].bias == 0.25).any()


def test_a_cut_off_evaluation_is_noted_once(monkeypatch):
    training = Training(Config.preset("debug"))
    monkeypatch.setattr(state_module, "play_episodes", lambda *_, **__: (np.zeros(2), 1))
    for _ in range(3):
        training.play(2, 0)
    assert len(training.notes) == 1


def test_the_space_that_the_old_checkpoint_takes_counts_as_free(tmp_path, monkeypatch):
    training = Training(Config.preset("debug"))
    monkeypatch.setattr(folder.shutil, "disk_usage", lambda out: SimpleNamespace(free=0))
    with pytest.raises(Refused, match="free some space"):
        folder.write_config(tmp_path, training)
    with open(tmp_path / "checkpoint.pt", "wb") as file:
        os.truncate(file.fileno(), 10**9)  # takes no space itself
    folder.write_config(tmp_path, training)


def test_replaying_an_episode_throws_no_dice_of_the_run(tmp_path):
    class Dicing(Plain):
        def step(self, action):
            torch.rand(())  # as a simulator in PyTorch may
            return super().step(action)

    def stop(training):
        if training.env_steps == 20:
            signal.raise_signal(signal.SIGINT)

    config = Config.preset("debug", steps=40, envs=1, eval_every=0, eval_episodes=1, eval_steps=5)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, make_env=Dicing, progress=False, on_step=stop)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    torch.manual_seed(12345)
    saved["rest"]["rng"]["cpu"] = torch.get_rng_state()
    torch.save(saved, tmp_path / "checkpoint.pt")
    seen = []
    collect = Training.collect

    def look(self):
        if not seen:
            seen.append(torch.get_rng_state())
        collect(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "collect", look)
        train(config, tmp_path, make_env=Dicing, progress=False, resume=True)
    assert torch.equal(seen[0], saved["rest"]["rng"]["cpu"])


def test_means_are_over_the_train_steps_since_the_last_row():
    metrics = Metrics()
    for value in (1.0, 2.0, 6.0):
        metrics.add(["a", "b"], torch.tensor([value, -value]))
    assert len(metrics.read()) == 3 and metrics.take_means() == {"a": 3.0, "b": -3.0}
    metrics.add(["a", "b"], torch.tensor([5.0, 7.0]))
    metrics.read()
    assert metrics.take_means() == {"a": 5.0, "b": 7.0} and metrics.take_means() == {}


def test_means_keep_to_their_names_where_an_objective_begins_to_return_more():
    metrics = Metrics()
    metrics.add(["a", "b"], torch.tensor([1.0, 2.0]))
    metrics.read()
    metrics.add(["a", "b"], torch.tensor([1.0, 2.0]))
    metrics.add(["mine", "a", "b"], torch.tensor([5.0, 3.0, 4.0]))
    metrics.read()
    assert metrics.take_means() == {"mine": 5.0, "a": 3.0, "b": 4.0} and list(metrics.recent) == [[5.0, 3.0, 4.0]]


def test_memory_is_what_is_held_now_with_the_rest_of_the_replay_buffer(monkeypatch):
    monkeypatch.setattr(cost, "own_peak", lambda: 100e6)
    monkeypatch.setattr(cost, "full_bytes", lambda training: (20e6, 50e6))
    assert cost.memory(SimpleNamespace(device="cpu")) == "130 MB of memory"


def test_a_train_step_starts_from_the_stored_states_and_stores_the_new_ones(monkeypatch):
    training = Training(Config.preset("debug"))
    for _ in range(20):
        training.collect()
    sampled, learned = [], []
    sample, learn = training.replay.sample, training.learner.train_step
    training.replay.sample = lambda *sizes: sampled.append(sample(*sizes)) or sampled[-1]
    training.learner.train_step = lambda *given: learned.append((given, learn(*given))) or learned[-1][1]
    training.train_step()
    ((batch, start, where),), (((given, begin), (states, _)),) = sampled, learned
    assert batch.reward.shape == (Config.preset("debug").batch_size, Config.preset("debug").seq_len) and given is batch
    assert torch.equal(begin.h, start[0]) and torch.equal(begin.z, start[1]) and start[0].any()
    env, step = where
    final = {(int(e), int(t)): h for e, row, hs in zip(env[:, 0], step, states.h) for t, h in zip(row, hs)}
    assert all(torch.equal(training.replay.data["h"][e, t], h) for (e, t), h in final.items())


def test_the_card_has_the_seconds_it_took_to_solve_the_task():
    training = Training(Config.preset("debug"))
    training.seconds, training.solved = 9.0, {"env_steps": 5, "seconds": 1.5}
    card = folder.run_card(training, False, False)
    assert (card["seconds"], card["solved_at_seconds"], card["solved_at_env_steps"]) == (9.0, 1.5, 5)


def test_where_copies_disturb_each_other_is_decided_for_each_way_to_run(monkeypatch):
    monkeypatch.setattr(probe, "disturbance", lambda make: "they disturb each other")
    decide = lambda **how: probe.choose_eval_in(Config.preset("debug", **how), None)
    config, words = decide(envs=2, workers=2)
    assert config.eval_envs == 1 and words == "they disturb each other; evaluations play in one copy"
    config, words = decide(envs=1)
    assert config.eval_in == "training" and "between two episodes" in words
    with pytest.raises(Refused, match=r"\(--envs 1\), or a process for each \(--workers 2\)"):
        decide(envs=2, eval_envs=1)
    for how in (dict(envs=2, workers=2, eval_envs=1), dict(envs=1, eval_in="training")):
        assert decide(**how) == (Config.preset("debug", **how), "")
