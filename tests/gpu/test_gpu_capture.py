"""The proof of a recorded train step, with a real record: a right one is taken, each wrong one is refused."""

import pytest
import torch
from wrong_records import WRONG_RECORDS

from dreamer_lite.config import Config
from dreamer_lite.errors import Refused
from dreamer_lite.training import capture
from dreamer_lite.training.state import Training

SHAPE = dict(learn_start=20, batch_size=32, seq_len=4, horizon=5, average=0.9)


@pytest.fixture(params=["CartPole-v1"])
def training(request, device):
    training = Training(Config.preset("debug", env=request.param, **SHAPE), device)
    while training.replay.added < 20:
        training.collect()
    yield training
    training.envs.close()


@pytest.mark.parametrize("training", ["CartPole-v1", "Pendulum-v1"], indirect=True)
def test_a_right_record_is_taken_and_its_proof_leaves_no_trace(training):
    before = {name: value.clone() for name, value in training.learner.state_dict().items()}
    captured, (plain, replayed) = capture.prove(training.train_step)
    assert plain > 0 and replayed > 0
    for name, value in training.learner.state_dict().items():
        assert torch.equal(value, before[name]), name
    captured(), captured()  # the very first train step has rate 0
    assert not torch.equal(training.learner.optimizer.weights, before["weights"])


@pytest.mark.parametrize("wrong", [*WRONG_RECORDS, "it waits for a value"])
def test_a_wrong_record_is_refused_and_the_plain_step_works_on(wrong, training, monkeypatch):
    right, stream = capture.record, torch.cuda.current_stream()

    def record(step):
        if wrong == "it waits for a value":
            return right(lambda: (step(), step.metrics.sum().item()))
        return WRONG_RECORDS[wrong](step, right(step))

    monkeypatch.setattr(capture, "record", record)
    words = "cannot be recorded on this GPU .*capturing" if wrong == "it waits for a value" else "differs in"
    with pytest.raises(Refused, match=words):
        capture.prove(training.train_step)
    assert torch.cuda.current_stream() == stream
    training.train_step()
    assert training.train_step.metrics.isfinite().all()
