"""The fast ways to take a train step give what the plain one gives: recorded and replayed, compiled, in pieces."""

import copy
from functools import lru_cache
import os
import pickle
import re
import subprocess
import sys
from typing import NamedTuple

import pytest
import tape
import torch
from wrong_records import WRONG_RECORDS

from dreamer_lite import load, train
from dreamer_lite import scan as scan_module
from dreamer_lite.agent import Dreamer
from dreamer_lite.command_line import main, parse
from dreamer_lite.config import Config, Spaces
from dreamer_lite.errors import Refused
from dreamer_lite.latents import sample, unimix
from dreamer_lite.learner import Learner
from dreamer_lite.replay import Experience
from dreamer_lite.rssm import State
from dreamer_lite.scan import scan
from dreamer_lite.training import acting, capture, compiled, loop
from dreamer_lite.training.capture import Captured
from dreamer_lite.training.compiled import OPTIONS, blank, compile_learner, what_it_does, worth_compiling
from dreamer_lite.training.operations import fingerprint
from dreamer_lite.training.parallel import Processes
from dreamer_lite.training.state import Training

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
can_compile = pytest.mark.skipif(scan_module.operator is None, reason="this PyTorch has no scan operator to compile")


def run(device, prepare, env="CartPole-v1", steps=120, preset="debug", train_ratio=16):
    """A short training, prepared by `prepare`; half-way it is evaluated, and loaded from what it would save. With all
    metrics."""
    how = dict(train_ratio=train_ratio, average=0.9, replay_size=80, learn_start=20)
    training = Training(Config.preset(preset, env=env, online_queue=env == "Pendulum-v1", **how), device)
    prepare(training)
    seen = []
    for taken in range(0, steps, len(training.envs)):
        training.collect()
        training.learn()
        training.read_metrics()
        seen += training.metrics.recent
        training.metrics.recent.clear()
        if taken == steps // 2:
            training.play(1, seed=0)
            training.load_state_dict(copy.deepcopy(training.state_dict()))
    training.envs.close()
    return training, torch.tensor(seen)


def plain(training):
    pass


@lru_cache
def slow_run(device="cpu", env="CartPole-v1"):
    """What the fast ways are compared with."""
    return run(device, plain, env)


def recorded(training):
    training.captured = Captured(training.train_step)


@pytest.fixture
def tape_for_the_cpu(request, monkeypatch):
    """On a CPU the tape stands in for the graph."""
    if request.node.callspec.params.get("device", "cpu") == "cpu":
        monkeypatch.setattr(capture, "record", tape.record)
        monkeypatch.setattr(capture, "beside_default_stream", lambda: lambda step: step())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_recorded_step_gives_what_the_step_gives(device, env, tape_for_the_cpu):
    """Over many steps, while the replay fills, wraps around, and episodes end. A GPU's sums may round differently each
    time, and then a throw of the dice falls otherwise: there the first steps are compared."""
    slow, numbers = slow_run(device, env)
    fast, others = run(device, recorded, env)
    assert fast.captured.calls == fast.train_steps == slow.train_steps > 60 and fast.replay.added > fast.replay.length
    if device != "cpu":
        return torch.testing.assert_close(others[:8], numbers[:8], rtol=1e-3, atol=1e-4)
    assert torch.equal(others, numbers)
    for name, weight in slow.agent.state_dict().items():
        assert torch.equal(fast.agent.state_dict()[name], weight), name
    for name, ring in slow.replay.data.items():
        assert torch.equal(fast.replay.data[name], ring), name
    assert fast.replay.next_in_queue == slow.replay.next_in_queue


@pytest.mark.parametrize("device", ["cpu"])
def test_a_step_that_depends_on_python_is_found_out(device, tape_for_the_cpu):
    """The stand-in must see what a graph would get wrong: here the replay draws by Python's count instead of the
    device's."""

    def baked(training):
        recorded(training)
        replay, sample = training.replay, training.replay.sample

        def sample_by_python(batch, steps):
            count, replay.count = replay.count, replay.count.clone().fill_(replay.added)
            drawn = sample(batch, steps)
            replay.count = count
            return drawn

        replay.sample = sample_by_python

    _, numbers = slow_run(device)
    _, others = run(device, baked)
    assert torch.equal(numbers[:3], others[:3]) and not torch.equal(numbers, others)


@pytest.mark.parametrize("device", ["cpu"])
def test_a_step_that_waits_for_a_value_cannot_be_recorded(device, tape_for_the_cpu):
    x = torch.ones(3)
    for step in (
        lambda: x.mul_(float(x.sum())),
        lambda: x.add_(torch.tensor([1.0, 2.0, 3.0])),
        lambda: x[x > 0].add_(1),
    ):
        waiting = Captured(step)
        for _ in range(capture.WARM_UP):
            waiting()
        with pytest.raises(AssertionError, match="can't be in a graph"):
            waiting()


def proved(training):
    """As on a GPU, where it is the default."""
    training.capture, training.progress = "auto", True


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("preset", ["debug", "small"])
def test_a_good_record_is_taken_and_its_proof_leaves_no_trace(device, preset, tape_for_the_cpu, capsys):
    config = Config.preset(preset, learn_start=20, train_ratio=32, seq_len=8)
    runs = []
    for prepare in (plain, proved):
        runs.append(training := Training(config, device))
        prepare(training)
        while training.train_steps < 6:
            training.collect()
            training.learn()
        training.envs.close()
    slow, fast = runs
    assert (
        fast.captured and fast.captured.calls > fast.train_steps and len(fast.capture_seconds) == 2 and not fast.notes
    )
    assert "the train step is captured: one launch" in capsys.readouterr().out
    if device == "cpu":
        for one, other in zip(slow.state_dict()["learner"].values(), fast.state_dict()["learner"].values()):
            assert torch.equal(one, other)
        for name, ring in slow.replay.data.items():
            assert torch.equal(fast.replay.data[name], ring), name
        assert torch.equal(slow.carry.action, fast.carry.action) and torch.equal(
            slow.train_step.metrics, fast.train_step.metrics
        )


WRONG = Config.preset(
    "debug",
    learn_start=20,
    train_ratio=16,
    steps=40,
    eval_every=0,
    eval_episodes=1,
    batch_size=32,
    seq_len=4,
    horizon=5,
)


@pytest.fixture(scope="module")
def unrecorded(tmp_path_factory):
    """The weights that a run without a record leads to."""
    folder = tmp_path_factory.mktemp("plain")
    train(WRONG, folder, until="steps", progress=False)
    return load(folder).state_dict()


@pytest.mark.parametrize("device", ["cpu"])
@pytest.mark.parametrize("wrong", [*WRONG_RECORDS, "cannot be recorded"])
def test_a_wrong_record_is_found_out_and_the_run_goes_on_without(
    device, wrong, tape_for_the_cpu, unrecorded, tmp_path, monkeypatch, capfd
):
    def record(step):
        if wrong == "cannot be recorded":
            raise Refused(
                "the train step cannot be recorded on this GPU (operation not permitted when stream is capturing)"
            )
        return WRONG_RECORDS[wrong](step, tape.record(step))

    monkeypatch.setattr(capture, "record", record)
    monkeypatch.setattr(
        Training, "__init__", lambda self, *args, init=Training.__init__: (init(self, *args), proved(self))[0]
    )
    card = train(WRONG, tmp_path / "asked", until="steps", progress=False)
    assert not card["captured"] and card["capture_seconds"] is None
    told = [line for line in capfd.readouterr().err.splitlines() if "the train step is not captured" in line]
    assert (
        len(told) == 1 and "the run continues as with --capture off" in told[0] and "not captured" in card["notes"][0]
    )
    for name, weight in load(tmp_path / "asked").state_dict().items():
        assert torch.equal(unrecorded[name], weight), name


@pytest.mark.parametrize("device", ["cpu"])
def test_rounding_is_no_mistake(device, tape_for_the_cpu, monkeypatch):
    """A record whose weights differ in the last digit after each step, now up, now down."""
    dice = torch.Generator().manual_seed(0)

    def record(step):
        weights, replay = step.learner.optimizer.weights, tape.record(step)
        return lambda: (replay(), weights.mul_(1 + 2**-24 * torch.randn(len(weights), generator=dice)))

    monkeypatch.setattr(capture, "record", record)
    training = Training(Config.preset("small", learn_start=20))
    while training.replay.added < 20:
        training.collect()
    training.envs.close()
    captured, _ = capture.prove(training.train_step)
    assert captured.calls == capture.WARM_UP + 1 + capture.COMPARED  # the first comparison was enough


def test_who_insists_on_a_record_is_told_that_there_is_none(monkeypatch):
    def refuse(training):
        raise Refused("the train step cannot be recorded on this GPU (a reason)")

    monkeypatch.setattr("dreamer_lite.training.state.prove", refuse)
    training = Training(Config.preset("debug", learn_start=1, train_ratio=32))
    training.capture = "on"
    with pytest.raises(Refused, match=r"\(a reason\); with --capture auto the run continues"):
        while True:
            training.collect()
            training.learn()


def copied(training):
    """Acts with a copy on the CPU, as where that is quicker than a GPU."""
    training.acting.use_copy()
    training.evaluating.use_copy()


def test_a_copy_that_acts_does_what_the_agent_does():
    """It has the weights of the agent that learns, and their average where the agent is evaluated."""
    slow, numbers = slow_run()
    fast, others = run("cpu", copied)
    assert fast.acting.agent() is not fast.agent and torch.equal(numbers, others)
    for name, ring in slow.replay.data.items():
        assert torch.equal(fast.replay.data[name], ring), name
    assert slow.play(3, seed=1).tolist() == fast.play(3, seed=1).tolist()
    with fast.learner.averaged():
        assert torch.equal(fast.evaluating.agent().actor.heads[0].weight, fast.agent.actor.heads[0].weight)
        assert not torch.equal(fast.acting.weights, fast.learner.average)


@pytest.mark.parametrize("quicker", ["agent", "copy"])
def test_who_is_quicker_acts(quicker, monkeypatch):
    """The agent says that it lies on a GPU; what an action takes there, and on the CPU, is made up."""
    config = Config.preset("debug")
    learner = Learner(Dreamer(config, Spaces(4, 2, True)))
    monkeypatch.setattr(
        Dreamer, "device", property(lambda self: torch.device("cpu" if self is not learner.agent else "cuda"))
    )
    monkeypatch.setattr(
        acting,
        "seconds_to_act",
        lambda ask, count, home: 1.0 if (ask() is learner.agent) == (quicker == "agent") else 2.0,
    )
    for learning in (True, False):
        assert (acting.fastest_acting(learner, 4, learning).agent() is learner.agent) == (quicker == "agent")
    assert (acting.on_faster_device(learner.agent, 4) is learner.agent) == (quicker == "agent")


def test_the_time_of_an_action_is_measured_and_leaves_no_trace():
    learner = Learner(Dreamer(Config.preset("debug"), Spaces(4, 2, True)))
    dice = torch.get_rng_state()
    assert 0 < acting.seconds_to_act(lambda: learner.agent, 3, torch.device("cpu")) < 1
    assert torch.equal(dice, torch.get_rng_state())


def anew(*given, **kept):
    raise AssertionError("compiled anew")


def compile_it(training):
    assert compile_learner(training.learner) > 0


@can_compile
def test_what_warm_compiled_is_found_again_and_gives_what_the_step_gives(tmp_path, monkeypatch, capsys):
    """From the same random numbers, until rounding changes a sample; and training continues with weights that were
    loaded on the way. It is the program that notebook 10 prepares: where that was here before, nothing is compiled
    anew."""
    words = [sys.executable, "-m", "dreamer_lite", "warm", "--threads", str(torch.get_num_threads())]
    warm = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert warm.returncode == 0 and "starts quickly now" in warm.stdout
    _, numbers = run("cpu", plain, steps=50, preset="small", train_ratio=512)
    monkeypatch.setattr(compiled, "new_program", anew)
    training, others = run("cpu", compile_it, steps=50, preset="small", train_ratio=512)
    assert training.learner.objective != training.learner.weighted_loss and len(numbers) == len(others) > 25
    torch.testing.assert_close(others[:8], numbers[:8], rtol=1e-3, atol=1e-4)
    assert main(["warm", "--bins", "1"]) == 2 and "bins must be at least 2" in capsys.readouterr().err


@can_compile
def test_a_compiled_step_with_pictures_numbers_choices_and_torques_gives_what_the_step_gives():
    """All kinds of parts that the steps above lack, in one small agent: each is official step by step, in
    test_golden.py; that a choice and torques add up is tested in envs/test_worlds.py."""
    config = Config.preset("debug", depth=2, mults=(2,), prior_layers=1, warmup=0, seq_len=2, imag_last=2)
    spaces = Spaces(7, 4, False, (8, 8, 2), (2,), ((3, 3), (6, 1)))
    torch.manual_seed(0)
    shape = config.batch_size, config.seq_len
    chosen = torch.eye(3)[torch.randint(3, shape)], torch.randint(2, (*shape, 1))
    obs = {
        "vector": torch.cat([torch.randn(*shape, 3), *chosen], -1),
        "image": torch.randint(256, (*shape, 8, 8, 2), dtype=torch.uint8),
    }
    first, last, terminal = torch.zeros(3, *shape, dtype=torch.bool)
    first[:, 0] = last[0, -1] = terminal[0, -1] = True
    action = torch.cat([torch.eye(2)[torch.randint(2, shape)], torch.rand(*shape, 2) * 2 - 1], -1)
    batch = Experience(obs, action, torch.randn(shape), first, last, terminal)

    def steps(fast):
        torch.manual_seed(1)
        learner = without_time(Learner(Dreamer(config, spaces)))
        if fast:
            compile_learner(learner)
        torch.manual_seed(2)
        state = learner.agent.initial(config.batch_size).state
        means = [torch.stack(list(learner.train_step(batch, state)[1].values())) for _ in range(4)]
        return torch.stack(means), learner.optimizer.weights

    (means, weights), (others, other_weights) = steps(fast=False), steps(fast=True)
    assert (means[0] - means[3]).abs().max() > 0.01  # it learns
    torch.testing.assert_close(others, means, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(other_weights, weights, rtol=1e-3, atol=1e-4)


def without_time(learner):
    """Sees, guesses, decodes and acts at each step for itself: what the kinds of observations and actions have of their
    own. The rest is that of the steps above, and takes most of the compiling."""
    world_model, actor = learner.agent.world_model, learner.agent.actor

    def objective(batch, start):
        tokens = world_model.encoder(batch.obs)  # (B, T, E)
        h = start.h[:, None].expand(-1, tokens.shape[1], -1).clone()  # (B, T, D)
        states = State(h, sample(unimix(world_model.rssm.posterior(h, tokens))))
        losses, policy = world_model.prediction_losses(states.feature, batch), actor(states.feature.detach())
        losses |= {"likelihood": -policy.log_prob(policy.sample()), "entropy": -policy.entropy()}
        means = {name: loss.mean() for name, loss in losses.items()}
        return sum(means.values()), states, means

    learner.objective = objective
    return learner


@can_compile
def test_the_scan_operator_puts_time_where_the_loop_does():
    """Before PyTorch 2.13 it put time first: with as many sequences as steps, nobody would have noticed."""

    def step(total, x):
        return (total[0] + x[0],), (x[0] * total[0],)

    xs = torch.arange(24.0).view(3, 4, 2)
    _, (outs,) = scan_module.operator(step, (torch.ones(3, 2),), (xs,), dim=1)
    assert outs.shape == xs.shape and torch.equal(outs[:, 0], xs[:, 0])


class Sum(NamedTuple):
    total: torch.Tensor


@can_compile
@pytest.mark.parametrize("rate", [0.5, 0.25])
def test_what_is_kept_differs_if_only_the_inside_of_the_loop_differs(rate):
    """Compiled, each loop does what is inside it; the fingerprint, by which programs are found, tells them apart."""

    def totals(start, xs, rate=rate):
        def step(now, x):
            total = rate * now.total + x[0]
            return Sum(total), (total,)

        return scan(step, Sum(start), (xs,))[1][0]

    totals.__code__ = (
        totals.__code__.replace()
    )  # else, in one process, the other rate's program is taken: no guard tells them apart
    start, xs = torch.ones(2, 3), torch.arange(24.0).view(2, 4, 3)
    with scan_module.compiling():
        compiled = torch.compile(totals, fullgraph=True, dynamic=False, options=dict(OPTIONS))(start, xs)
    torch.testing.assert_close(compiled, totals(start, xs))
    names = [fingerprint(lambda: totals(start, xs, other), (start, xs)) for other in (rate, rate, 0.125)]
    assert names[0] == names[1] != names[2]


SHORT = dict(average=0.9, replay_size=80, learn_start=20, save_every=10)


def short_objective(self, batch, start):
    """Compiled quickly; the encoder learns, and random numbers matter."""
    seen = self.agent.world_model.encoder(batch.obs)
    total = (seen * torch.rand_like(seen)).square().mean()
    h, z = (part[:, None].expand(-1, seen.shape[1], *part.shape[1:]).clone() for part in start)
    return total, State(h, z), {"reconstruction": total}


@can_compile
def test_a_resumed_compiled_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, monkeypatch):
    """It is compiled again, without being asked for it."""
    monkeypatch.setattr(Learner, "weighted_loss", short_objective)
    few, more = (Config.preset("small", steps=steps, train_ratio=512, **SHORT) for steps in (60, 100))
    train(few, tmp_path / "broken", until="steps", progress=False, compile=True)
    card = train(more, tmp_path / "broken", until="steps", progress=False, resume=True)
    assert card["compiled"] and card["compile_seconds"] > 0
    assert (
        train(more, tmp_path / "whole", until="steps", progress=False, compile=True)["train_steps"]
        == card["train_steps"]
        > 4
    )
    one, other = (load(tmp_path / name).state_dict() for name in ("broken", "whole"))
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name


@pytest.mark.parametrize("missing", ["operator", "compiler", "folder"])
def test_where_nothing_can_be_compiled_it_is_told_and_the_run_goes_on(missing, tmp_path, monkeypatch, request, capfd):
    config = Config.preset("debug", steps=40, **SHORT)
    train(config, tmp_path / "plain", until="steps", progress=False)
    if missing == "operator":
        monkeypatch.setattr(scan_module, "operator", None)
    elif missing == "folder":
        (tmp_path / "file").touch()
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "in it"))
    else:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "empty"))
        tools = torch._inductor.config.patch({"cpp.cxx": ("/nowhere/g++",)})
        request.addfinalizer(lambda: tools.__exit__(None, None, None))
        tools.__enter__()
        whole = compiled.compiled_objective
        monkeypatch.setattr(compiled, "compiled_objective", lambda learner, *rest: whole(quick(learner), *rest))
    card = train(config, tmp_path / "asked", until="steps", progress=False, compile=True)
    told = [
        line
        for line in capfd.readouterr().err.splitlines()
        if line.startswith("dreamer_lite: the train step is not compiled")
    ]
    assert len(told) == 1 and "the run continues uncompiled" in told[0] and len(told[0]) < 400
    assert missing != "compiler" or "it needs a C++ compiler such as g++" in told[0]
    assert (
        not card["compiled"]
        and card["compile_seconds"] is None
        and "the train step is not compiled" in card["notes"][0]
    )
    for name, weight in load(tmp_path / "plain").state_dict().items():
        assert torch.equal(load(tmp_path / "asked").state_dict()[name], weight), name


def quick(learner):
    """Another learner of this agent, with a loss that is soon compiled."""
    other = copy.copy(learner)
    other.objective = lambda *given: (learner.agent.actor.heads[0].weight.sum(), *given)
    return other


@can_compile
def test_an_error_of_the_compiler_is_not_taken_for_a_missing_one(monkeypatch):
    class Fails(RuntimeError):
        __module__ = "torch._inductor.exc"

    def fail(*given):
        raise Fails("CppCompileError: C++ compile error\nand its details")

    monkeypatch.setattr(compiled, "compiled_objective", fail)
    learner = Learner(Dreamer(Config.preset("debug"), Spaces(4, 2, True)))
    with pytest.raises(Refused, match="^PyTorch's compiler failed: CppCompileError: C.. compile error$"):
        compile_learner(learner)


def test_whether_a_run_is_compiled_cannot_change_on_the_way(tmp_path, capsys):
    train(Config.preset("debug", steps=20), tmp_path, progress=False)
    assert main(["--resume", str(tmp_path), "--compile", "--steps", "40"]) == 2
    assert "--compile cannot be changed while resuming" in capsys.readouterr().err


@can_compile
def test_compiling_pays_for_long_runs_and_asking_changes_nothing(monkeypatch):
    learner = Learner(Dreamer(Config.preset("small"), Spaces(4, 2, True)))
    before = copy.deepcopy(learner.state_dict()), torch.get_rng_state(), learner.agent.return_scale.range.clone()
    pays, words = worth_compiling(learner, 15_000)
    what = r"15,000 train steps of [34],\d{3} operations are expected; --compile off skips it"
    assert pays and re.search(what, words)
    with torch.no_grad():  # an environment or the program may have turned gradients off
        assert worth_compiling(learner, 15_000) == (pays, words)
    assert not worth_compiling(learner, 3_500)[0] and worth_compiling(learner, 100) == (False, "")
    for name, value in learner.state_dict().items():
        assert torch.equal(value, before[0][name]), name
    assert torch.equal(torch.get_rng_state(), before[1]) and torch.equal(learner.agent.return_scale.range, before[2])
    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", lambda: 1 / 0)
    assert worth_compiling(learner, 15_000) == (
        False, "the train step is not compiled: it needs a C++ compiler such as g++"
    )  # fmt: skip
    seeing = Learner(Dreamer(Config.preset("debug", depth=2, mults=(1, 2)), Spaces(0, 2, True, (16, 16, 1))))
    assert worth_compiling(seeing, 1e9) == (False, "the train step is not compiled, since images gain little from it")


@pytest.mark.parametrize("until, expected", [("steps", 196 * 8), ("solved", 196 * 2)])
def test_a_run_is_compiled_if_its_train_steps_pay_for_it(until, expected, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(loop, "worth_compiling", lambda learner, steps: asked.append(steps) or (True, "it pays"))
    monkeypatch.setattr(loop, "compile_learner", lambda learner: 0.5)
    config = Config.preset("debug", steps=220, learn_start=24, batch_size=4, seq_len=8, train_ratio=256, eval_every=0)
    monkeypatch.setattr(loop, "run", lambda training, *rest: training.processes.sum(0) or vars(training))
    ran = train(config, tmp_path / "run", until=until, progress=False)
    assert asked == [expected] and ran["compiled"] and ran["compile_seconds"] == 0.5
    assert not train(config, tmp_path / "off", progress=False, compile="off")["compiled"] and len(asked) == 1


def test_compile_alone_means_on():
    assert [parse(words).compile for words in (["--compile"], ["--compile", "--steps", "9"], [])] == [
        "on",
        "on",
        "auto",
    ]
    assert parse(["--steps", "9", "--compile", "off"]).compile == parse(["--compile=off"]).compile == "off"


@can_compile
def test_compiled_code_is_kept_in_the_folder_that_was_chosen(tmp_path, monkeypatch):
    """PyTorch 2.13 sets TORCHINDUCTOR_CACHE_DIR itself when its compiler is imported, to a folder that a restart
    clears."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # here, since it takes a second to import

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name, folder in (
        (default_cache_dir(), tmp_path / "dreamer_lite"),
        (str(tmp_path / "mine"), tmp_path / "mine"),
        ("", tmp_path / "dreamer_lite"),
    ):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", name)
        assert compiled.chosen_folder() == folder
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", default_cache_dir())
    agent = with_short_loss(Dreamer(Config.preset("debug"), Spaces(4, 2, True)), 0.5)
    compile_learner(Learner(agent))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "dreamer_lite")
    (kept,) = (tmp_path / "dreamer_lite").glob("*.step")
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])  # the computer went off while it was copied
    compile_learner(Learner(agent))
    assert len(kept.read_bytes()) > 0.9 * len(whole)


@can_compile
def test_each_learner_has_a_program_of_its_own_which_is_kept(monkeypatch):
    """In one process, where no guard tells them apart. Their losses are short, so that they are compiled quickly.

    A kept program reads the weights of the learner that it is loaded for.
    """
    for found in (False, True):
        for rate in (0.5, 0.25):
            agent = Dreamer(Config.preset("debug", precision="bfloat16"), Spaces(4, 2, True))
            learner, weight = Learner(with_short_loss(agent, rate)), agent.actor.heads[0].weight
            with monkeypatch.context() as patched:
                if found:
                    patched.setattr(compiled, "new_program", anew)
                compile_learner(learner)
            total, *_ = learner.objective(*blank(agent))
            total.backward()
            torch.testing.assert_close(total, rate * weight.square().mean())
            torch.testing.assert_close(weight.grad, 2 * rate * weight / weight.numel())
    assert "guard_filter_fn" in OPTIONS  # torch.compile takes it out (findings/compile_changes_its_options.sh)


@can_compile
def test_a_compiled_learner_takes_what_it_was_compiled_for_and_can_be_compiled_again(monkeypatch):
    """The program itself looks at nothing; flags in four bytes would be read as four flags."""
    torch.manual_seed(0)
    learner = without_time(Learner(Dreamer(Config.preset("debug"), Spaces(4, 2, True))))
    batch, start = blank(learner.agent)
    compile_learner(learner)
    learner.objective(batch, start)
    for wrong, words in (
        (
            batch._replace(is_first=batch.is_first.int()),
            r"is_first \(2, 8\) torch.int32 instead of is_first \(2, 8\) torch.bool$",
        ),
        (batch._replace(obs=batch.obs.double()), r"vector \(2, 8, 4\) torch.float64 instead"),
        (batch.map(lambda part: part[:1]), r"vector \(1, 8, 4\) torch.float32 instead of vector \(2, 8, 4\)"),
        (batch._replace(obs=batch.obs.mT.contiguous().mT), "torch.float32, not contiguous instead of"),
    ):
        with pytest.raises(ValueError, match=f"was compiled for other tensors than these: .*{words}"):
            learner.objective(wrong, start)
    for copied in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="a compiled learner can't be copied or pickled"):
            copied(learner)
    before = learner.objective.eager
    monkeypatch.setattr(compiled, "new_program", anew)  # it has just been kept
    assert compile_learner(learner) > 0 and learner.objective.eager is before


@can_compile
def test_users_may_compile_parts_of_an_agent_themselves():
    learner = Learner(Dreamer(Config.preset("debug"), Spaces(4, 2, True)))
    agent, carry = learner.agent, learner.agent.initial(1)
    act = torch.compile(agent.act, backend="eager", fullgraph=True)
    obs, is_first = torch.ones(1, 4), torch.ones(1, dtype=torch.bool)
    torch.testing.assert_close(
        act(obs, is_first, carry, greedy=True).state.h, agent.act(obs, is_first, carry, greedy=True).state.h
    )


@can_compile
def test_a_kept_program_is_only_used_for_what_it_does(monkeypatch):
    """Whatever changes what a step computes gives it another name: settings, functions, the names of weights and of
    metrics. The values of weights don't, nor where they lie."""

    def name(change=plain, **settings):
        learner = Learner(Dreamer(Config.preset("debug", **settings), Spaces(4, 2, True)))
        change(learner)
        return what_it_does(learner, OPTIONS)

    def rename_a_layer(learner):
        actor, net = learner.agent.actor, learner.agent.actor.net
        actor._modules = {"trunk" if layer is net else key: layer for key, layer in actor._modules.items()}
        actor.__dict__["net"] = net  # still found by the code, no longer listed

    def rename_a_metric(learner):
        loss = learner.agent.loss

        def renamed(*given):
            losses, states, metrics = loss(*given)
            return losses, states, {f"{name}_": value for name, value in metrics.items()}

        learner.agent.loss = renamed

    def move_the_weights(learner):
        for p in learner.agent.parameters():
            p.data = p.data.clone()

    known = name()
    assert known == name(seed=1, world_lr=1.0) == name(move_the_weights)
    names = {known, name(discount_horizon=20), name(bins=9), name(batch_size=3), name(precision="bfloat16")}
    monkeypatch.setattr("dreamer_lite.world_model.kl", lambda p, q: (p * (p.log() - q.log())).sum((-2, -1)) * 1.5)
    names |= {name()}
    monkeypatch.setattr("dreamer_lite.world_model.kl", lambda p, q: (q * (q.log() - p.log())).sum((-2, -1)))
    names |= {name()}
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    names |= {name()}
    monkeypatch.undo()
    names |= {name(rename_a_layer), name(rename_a_metric)}
    assert len(names) == 10


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y: (x * 2.5) @ y.T,
        lambda x, y: (x * 2) @ y,
        lambda x, y: (y * 2) @ y.T,
        lambda x, y: x.mul(2) @ y[:].T + 0,
        lambda x, y: x * 2 @ torch.tensor([[1.0, 2.0, 3.0]] * 3),
        lambda x, y: x * 2 @ torch.tensor([[1.0, 2.0, 4.0]] * 3),
        lambda x, y: x.mul_(2) @ y.T,
        lambda x, y: (x.mul_(2), x)[1] @ y.T,
    ],
)
def test_a_fingerprint_tells_computations_apart(change):
    def hashed(step):
        x, y = torch.rand(2, 3, 3)  # two views of one memory, of any values
        return fingerprint(lambda: step(x, y), (x, y))

    def step(x, y):
        return (x * 2) @ y.T

    assert hashed(step) == hashed(step) and hashed(change) == hashed(change) != hashed(step)


def test_a_fingerprint_tells_apart_what_is_returned():
    x = torch.ones(3)
    made = [
        fingerprint(lambda: returned(x + 1, x * 2), [x])
        for returned in (
            lambda a, b: {"a": a, "b": b},
            lambda a, b: {"a": b, "b": a},
            lambda a, b: {"a": a, "c": b},
            lambda a, b: {"b": b, "a": a},
            lambda a, b: (a, b),
        )
    ]
    assert len(set(made)) == 5


@can_compile
def test_a_program_that_cannot_be_kept_is_used_all_the_same(tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled, "replacing", full)
    agent = with_short_loss(Dreamer(Config.preset("debug"), Spaces(4, 2, True)), 0.5)
    compile_learner(learner := Learner(agent))
    total, *_ = learner.objective(*blank(agent))
    torch.testing.assert_close(total, 0.5 * agent.actor.heads[0].weight.square().mean())
    assert not list(tmp_path.glob("*.step"))


def with_short_loss(agent, rate):
    agent.loss = lambda batch, start: ({"actor": rate * agent.actor.heads[0].weight.square()}, start, {})
    return agent


class Two(Processes):
    size = 2


@pytest.mark.parametrize(
    "how, why",
    [
        (dict(capture="on"), "--capture on needs a GPU"),
        (
            dict(capture="on", device="cuda", processes=Two()),
            "--capture on works only with one process, but torchrun started 2",
        ),
        (dict(compile=True, processes=Two()), "--compile on works only with one process, but torchrun started 2"),
        (dict(capture="on", device="cuda", host=True), "waits for a replay buffer in host memory"),
        (dict(capture="maybe"), "capture must be one of auto, on, off, got 'maybe'"),
    ],
)
def test_what_cannot_be_fast_is_refused_before_anything_begins(how, why, tmp_path, monkeypatch):
    monkeypatch.setattr("dreamer_lite.training.options.check_device", str)  # as if there were a GPU
    config = Config.preset("debug", replay_on_host=how.pop("host", False))
    with pytest.raises(Refused, match=why):
        train(config, tmp_path / "run", progress=False, **how)
    assert not (tmp_path / "run").exists()
