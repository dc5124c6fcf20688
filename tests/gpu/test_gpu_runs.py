"""A run on a GPU: resumed, with its replay buffer on either side, and without waiting."""

from contextlib import contextmanager
import copy
from unittest.mock import patch

import pytest
import torch

from dreamer_lite import evaluate, load, train
from dreamer_lite.config import Config
from dreamer_lite.training import state
from dreamer_lite.training.acting import ActingAgent
from dreamer_lite.training.capture import WARM_UP, Captured
from dreamer_lite.training.state import Training

LEARN_START = 40


def config(**changes):
    how = dict(average=0.9, replay_size=200, learn_start=LEARN_START, train_ratio=16, save_every=20)
    return Config.preset("debug", **how | changes)


def began(device, **changes):
    """A run that has collected what it needs to learn, and nothing more. The agent itself acts, however slow it is."""
    with patch.object(state, "fastest_acting", lambda learner, count, learning: ActingAgent(learner)):
        training = Training(config(**changes), device)
    training.capture = "off"
    while training.env_steps < LEARN_START:
        training.collect()
    return training


def steps(training, count=3):
    """The metrics of the next train steps."""
    rows = []
    for _ in range(count):
        training.train_step()
        rows.append(training.train_step.metrics.cpu())
    return torch.stack(rows)


def test_what_is_saved_is_restored_and_continues_alike(device):
    first = began(device)
    steps(first)
    saved = first.state_dict()
    kept = copy.deepcopy(saved)  # loading uses a state up
    numbers = steps(first)
    second = Training(first.config, device)
    second.load_state_dict(copy.deepcopy(kept))
    assert second.restore_envs(kept["envs"]) == []
    now = second.state_dict()
    for part in ("learner", "rng"):
        for name, value in kept[part].items():
            assert torch.equal(now[part][name].cpu(), value.cpu()), name
    for name, rings in kept["replay"]["data"].items():
        assert all(torch.equal(ring, other) for ring, other in zip(now["replay"]["data"][name], rings)), name
    torch.testing.assert_close(steps(second), numbers, rtol=1e-3, atol=1e-4)
    first.envs.close(), second.envs.close()


def test_a_run_is_resumed_and_its_agent_acts_on_a_cpu(device, tmp_path):
    train(config(steps=60), tmp_path, device=device, until="steps", progress=False)
    card = train(config(steps=80), tmp_path, until="steps", resume=True, progress=False)
    assert card["finished"] and card["env_steps"] == 80 and card["train_steps"] > 20
    assert card["device"].split(":")[0] == device and card["captured"], card["notes"]
    agent = load(tmp_path)
    assert agent.device.type == "cpu" and evaluate(agent, "CartPole-v1", episodes=2).min() > 0


def test_the_replay_buffer_lies_where_it_is_asked_to(device):
    held = []
    for on_host in (False, True):
        training = began(device, replay_on_host=on_host)
        assert {ring.device.type for ring in training.replay.data.values()} == {"cpu" if on_host else device}
        held.append({name: ring.cpu().clone() for name, ring in training.replay.data.items()})
        assert steps(training).isfinite().all()
        training.envs.close()
    for name, ring in held[0].items():
        torch.testing.assert_close(held[1][name], ring, msg=name)


@contextmanager
def forbidden_to_wait():
    """Inside, PyTorch raises RuntimeError for what waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_train_step_waits_for_nothing_plain_or_recorded(env, device):
    training = began(device, env=env)
    captured = Captured(training.train_step)
    for _ in range(WARM_UP + 1):
        captured()
    with forbidden_to_wait():
        training.train_step()
    if device != "cpu":  # a tape repeats operations, which is no single launch
        with forbidden_to_wait():
            captured()
    training.envs.close()


@pytest.mark.parametrize("waits", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x.nonzero()])
def test_who_waits_is_noticed(waits, device):
    x = torch.ones(3, device=device)
    with pytest.raises(RuntimeError, match="synchroniz"), forbidden_to_wait():
        waits(x)
