"""Ways in which the record of a train step can be wrong, for the tests of `training/capture.py`.

Each takes a train step and a right replay of it, and returns a wrong one.
"""

import torch


def wrong(prepare):
    return lambda step, replay: lambda: prepare(step, replay)


def undone(replay, tensors):
    """Replay, but leave these tensors as they were."""
    before = [tensor.detach().clone() for tensor in tensors]
    replay()
    for tensor, value in zip(tensors, before):
        tensor.detach().copy_(value)


def further(weights, replay):
    before = weights.clone()
    replay()
    weights.add_(weights - before, alpha=0.1)


def with_held_length(step, replay):
    """The replay buffer has the length that it had at the recording."""
    held = step.replay.count.clone()

    def replayed():
        count = step.replay.count.clone()
        step.replay.count.copy_(held)
        replay()
        step.replay.count.copy_(count)

    return replayed


WRONG_RECORDS = {
    "nothing is done": wrong(lambda step, replay: None),
    "all is done twice": wrong(lambda step, replay: (replay(), replay())),
    "the dice are always the same": wrong(
        lambda step, replay: (torch.manual_seed(0), step.replay.generator.manual_seed(0), replay())
    ),
    "no slow critic": wrong(lambda step, replay: undone(replay, list(step.learner.agent.critic.slow_net.parameters()))),
    "no average": wrong(lambda step, replay: undone(replay, [step.learner.average])),
    "no weights": wrong(lambda step, replay: undone(replay, [step.learner.optimizer.weights])),
    "nothing into the replay": wrong(lambda step, replay: undone(replay, [step.replay.data["h"]])),
    "metrics of another time": wrong(lambda step, replay: undone(replay, [step.metrics])),
    "NaN": wrong(lambda step, replay: (replay(), step.learner.optimizer.square[:1].fill_(float("nan")))),
    "weights a tenth too far": wrong(lambda step, replay: further(step.learner.optimizer.weights, replay)),
    "holds the length of the replay": with_held_length,
}
