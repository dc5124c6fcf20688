"""One train step, from the replay buffer and back to it (notebook 10)."""

import torch

from ..learner import Learner
from ..replay import Replay
from ..rssm import State


class TrainStep:
    """Sample a batch, learn from it, write the new latent states back, and keep the metrics.

    Every call reads and writes the same tensors and waits for none of their values, so on a GPU it can be recorded once
    and replayed (`capture.py`). names: of the metrics; metrics: their values in the latest call, one vector on the
    agent's device.
    """

    def __init__(self, learner: Learner, replay: Replay):
        self.learner, self.replay = learner, replay
        self.names: list[str] = []
        self.metrics = torch.zeros(0)

    def __call__(self) -> None:
        c, device = self.learner.agent.config, self.learner.agent.device
        batch, start, where = self.replay.sample(c.batch_size, c.seq_len)
        if c.replay_on_host:
            batch, start = batch.to(device), (part.to(device) for part in start)
        states, means = self.learner.train_step(batch, State(*start))
        if c.replay_on_host:
            states = State(*(part.cpu() for part in states))
        self.replay.refresh(where, states)
        self.names, self.metrics = list(means), torch.stack(list(means.values()))
