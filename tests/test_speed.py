"""The fast ways to take a train step give what the plain one gives: recorded and replayed, compiled, in pieces."""

import copy

import pytest
import tape
import torch

from dreamer_lite.config import Config
from dreamer_lite.run import capture
from dreamer_lite.run.capture import Captured
from dreamer_lite.run.compiled import compile_cells
from dreamer_lite.run.loop import Training

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def run(device, prepare, env="CartPole-v1", steps=120):
    """A short training, prepared by `prepare`; half-way it is evaluated, and loaded from what it would save. With all metrics."""
    config = Config.preset("debug", env=env, train_ratio=16, average=0.9, replay_size=80, learn_start=20)
    training = Training(config, device)
    prepare(training)
    seen = []
    for taken in range(0, steps, config.envs):
        training.collect()
        training.learn()
        training.read_metrics()
        seen += training.recent
        training.recent.clear()
        if taken == steps // 2:
            training.play(1, seed=0)
            training.load_state_dict(copy.deepcopy(training.state_dict()))
    training.envs.close()
    return training, torch.tensor(seen)


def plain(training):
    pass


def recorded(training):
    training.captured = Captured(training.step)


@pytest.fixture
def tape_for_the_cpu(request, monkeypatch):
    """On a CPU the tape stands in for the graph."""
    if request.node.callspec.params.get("device", "cpu") == "cpu":
        monkeypatch.setattr(capture, "record", tape.record)
        monkeypatch.setattr(capture, "beside_default_stream", lambda: lambda step: step())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_recorded_step_gives_what_the_step_gives(device, env, tape_for_the_cpu):
    """Over many steps, while the replay fills, wraps around, and episodes end. A GPU's sums may round differently each time, and
    then a throw of the dice falls otherwise: there the first steps are compared."""
    slow, numbers = run(device, plain, env)
    fast, others = run(device, recorded, env)
    assert fast.captured.calls == fast.train_steps == slow.train_steps > 60 and fast.replay.added > fast.replay.length
    if device != "cpu":
        return torch.testing.assert_close(others[:8], numbers[:8], rtol=1e-3, atol=1e-4)
    assert torch.equal(others, numbers)
    for name, weight in slow.agent.state_dict().items():
        assert torch.equal(fast.agent.state_dict()[name], weight), name
    for name, ring in slow.replay.data.items():
        assert torch.equal(fast.replay.data[name], ring), name


@pytest.mark.parametrize("device", ["cpu"])
def test_a_step_that_depends_on_python_is_found_out(device, tape_for_the_cpu):
    """The stand-in must see what a graph would get wrong: here the replay draws by Python's count instead of the device's."""

    def baked(training):
        recorded(training)
        replay, sample = training.replay, training.replay.sample

        def sample_by_python(batch, steps):
            count, replay.count = replay.count, replay.count.clone().fill_(replay.added)
            drawn = sample(batch, steps)
            replay.count = count
            return drawn

        replay.sample = sample_by_python

    _, numbers = run(device, plain)
    _, others = run(device, baked)
    assert torch.equal(numbers[:3], others[:3]) and not torch.equal(numbers, others)


@pytest.mark.parametrize("device", ["cpu"])
def test_a_step_that_waits_for_a_value_cannot_be_recorded(device, tape_for_the_cpu):
    x = torch.ones(3)
    for step in (lambda: x.mul_(float(x.sum())), lambda: x.add_(torch.tensor([1.0, 2.0, 3.0])), lambda: x[x > 0].add_(1)):
        waiting = Captured(step)
        for _ in range(capture.WARM_UP):
            waiting()
        with pytest.raises(AssertionError, match="can't be in a graph"):
            waiting()


@pytest.mark.parametrize("device", DEVICES)
def test_compiled_cells_give_what_the_cells_give(device):
    """And nothing is left to be compiled once training has begun."""
    compiled = torch._dynamo.utils.counters["stats"]
    _, numbers = run(device, plain, steps=60)
    before, training_began = compiled["unique_graphs"], []

    def compile_first(training):
        assert compile_cells(training.agent) > 0
        training_began.append(compiled["unique_graphs"])

    training, others = run(device, compile_first, steps=60)
    assert before < training_began[0] == compiled["unique_graphs"]
    agent = training.agent
    twin = copy.deepcopy(agent)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    h = agent.world_model.rssm.recurrent(agent.initial(3).state, agent.initial(3).action)
    assert h.any() and not twin.world_model.rssm.recurrent(twin.initial(3).state, twin.initial(3).action).any()
    torch.testing.assert_close(others[:8], numbers[:8], rtol=1e-3, atol=1e-4)
