"""The fast ways to take a train step give what the plain one gives: recorded and replayed, compiled, in pieces."""

import pytest
import torch

from dreamer_lite import capture
from dreamer_lite.capture import Captured
from dreamer_lite.config import Config
from dreamer_lite.nets import in_pieces
from dreamer_lite.train import Training
import tape

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def run(device, take, env="CartPole-v1", steps=120, **changes):
    """A short training; `take` may put something else in the place of its train step. All that it left behind."""
    config = Config.preset("debug", env=env, train_ratio=16, average=0.9, replay_size=80, learn_start=20, **changes)
    training = Training(config, device)
    take(training)
    seen = []
    for _ in range(steps // config.envs):
        training.collect()
        training.learn()
        training.read_metrics()
        seen += training.means
        training.means = []
    training.envs.close()
    return training, torch.tensor(seen)


def recorded(training):
    training.take_step = Captured(training.step, (training.replay.generator,))


@pytest.fixture
def on_a_cpu_too(monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setattr(capture, "record", tape.record)
        monkeypatch.setattr(capture, "on_side_stream", lambda step: step())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_recorded_step_gives_what_the_step_gives(device, env, on_a_cpu_too):
    """Over many steps, while the replay fills, wraps around, and episodes end."""
    plain, numbers = run(device, lambda training: None, env)
    fast, recorded_numbers = run(device, recorded, env)
    assert fast.take_step.calls == fast.train_steps == plain.train_steps > 60 and fast.replay.added > fast.replay.length
    close = dict(rtol=0, atol=0) if device == "cpu" else dict(rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(recorded_numbers, numbers, **close)
    for name, weight in plain.agent.state_dict().items():
        torch.testing.assert_close(fast.agent.state_dict()[name], weight, **close)
    for name, ring in plain.replay.data.items():
        torch.testing.assert_close(fast.replay.data[name], ring, **close)


def test_a_step_that_depends_on_python_is_found_out(on_a_cpu_too):
    """The stand-in must see what a graph would get wrong: here the replay draws by Python's count instead of the device's."""
    def bake(training):
        recorded(training)
        replay, sample = training.replay, training.replay.sample

        def baked(batch, steps):
            count, replay.count = replay.count, torch.tensor(replay.added)
            drawn = sample(batch, steps)
            replay.count = count
            return drawn
        replay.sample = baked

    _, numbers = run(DEVICES[-1], lambda training: None)
    _, others = run(DEVICES[-1], bake)
    assert not torch.equal(numbers, others)


@pytest.mark.parametrize("device", DEVICES)
def test_compiled_cells_give_what_the_cells_give(device):
    took = []
    _, numbers = run(device, lambda training: None, steps=40)
    _, compiled = run(device, lambda training: took.append(training.agent.compile_cells()), steps=40)
    assert took[0] > 0
    torch.testing.assert_close(compiled, numbers, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(7, 3), (5, 4, 3), (2000, 3), (3,), (1, 3), (2, 1024, 3)])
def test_pieces_give_what_the_whole_gives(shape):
    x = torch.randn(shape, requires_grad=True)
    whole, parts = x.square().sum(-1), in_pieces(lambda piece: piece.square().sum(-1), x)
    assert parts.shape == shape[:-1]
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(*(torch.autograd.grad(y.sum(), x)[0] for y in (parts, whole)))
