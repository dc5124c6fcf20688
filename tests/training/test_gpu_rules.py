"""Rules that a train step must keep on a GPU, seen without one: PyTorch's meta device has shapes and types, and no
numbers."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dreamer_lite.config import Config
from dreamer_lite.training.state import Training


class Rules(TorchDispatchMode):
    """Inside, everything happens on the device, in float32 or whole numbers.

    Except for two numbers: from PyTorch 2.14 on, torch.quantile computes the two ranks of the return scale in float64.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, out)):
            if isinstance(tensor, torch.Tensor):
                assert tensor.device.type == "meta", f"{func} has a tensor on the {tensor.device}"
                assert tensor.dtype is not torch.float64 or tensor.numel() <= 2, f"{func} computes in float64"
        return out


def moved(thing, seen):
    """The same with every tensor that an object of ours holds on the meta device."""
    if id(thing) in seen:
        return seen[id(thing)][1]
    made = thing
    if isinstance(thing, torch.Tensor):
        made = torch.empty_like(thing, device="meta")
        made = nn.Parameter(made, thing.requires_grad) if isinstance(thing, nn.Parameter) else made
    elif isinstance(thing, dict):
        thing.update({name: moved(part, seen) for name, part in thing.items()})
    elif type(thing) in (list, tuple):
        made = type(thing)(moved(part, seen) for part in thing)
    elif (
        type(thing).__module__.startswith(("dreamer_lite", "torch.nn"))
        and not isinstance(thing, Config)
        and hasattr(thing, "__dict__")
    ):
        seen[id(thing)] = thing, thing
        moved(vars(thing), seen)
    seen[id(thing)] = thing, made
    return made


@pytest.fixture(params=["CartPole-v1", "Pendulum-v1"])
def training(request, monkeypatch):
    """A run whose agent, optimizer and replay lie on a device without numbers."""
    training, seen = Training(Config.preset("debug", env=request.param, average=0.5)), {}
    training.envs.close()
    training.replay.added = 50
    draw = torch.randint  # there are no dice there
    monkeypatch.setattr(torch, "randint", lambda *args, generator, **how: draw(*args, **how))
    training.replay.generator = SimpleNamespace(device=torch.device("meta"))
    for part in (training.agent, training.learner, training.replay):
        moved(part, seen)
    return training


def test_a_train_step_stays_on_its_device_and_waits_for_nothing(training):
    with Rules():
        training.train_step()
        obs, is_first = (torch.empty(2, *shape, device="meta") for shape in ((training.agent.spaces.obs_size,), ()))
        carry = training.agent.act(obs, is_first.bool(), training.agent.initial(2))
    for tensor in (training.train_step.metrics, carry.action):
        assert tensor.device.type == "meta" and tensor.dtype is torch.float32


@pytest.mark.parametrize("mistake, words", [
    (lambda x: x.double(), "float64"), (lambda x: x + torch.zeros(len(x)), "on the cpu|device"),
    (lambda x: x * x.sum().item(), "meta"), (lambda x: x[x > 0], "meta|nonzero"),
])  # fmt: skip
def test_the_rules_can_be_broken(training, mistake, words):
    step = training.replay.sample
    training.replay.sample = lambda *shape: (mistake(training.learner.optimizer.weights), step(*shape))[1]
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError), match=words), Rules():
        training.train_step()
