"""What each of several processes does in training/test_parallel.py; torchrun starts them."""

from contextlib import suppress
import os
from pathlib import Path
import sys

import torch

from dreamer_lite.agent import Dreamer
from dreamer_lite.command_line import main
from dreamer_lite.config import Config
from dreamer_lite.errors import Refused
from dreamer_lite.learner import Learner
from dreamer_lite.training import parallel
from dreamer_lite.training.bench import CARTPOLE
from dreamer_lite.training.state import Training

CONFIG = Config.preset("debug", warmup=0)


def new() -> Learner:
    torch.manual_seed(0)
    return Learner(Dreamer(CONFIG, CARTPOLE))


def learn(learner: Learner, obs: torch.Tensor) -> torch.Tensor:
    """Two steps of a loss without random numbers; the weights after them."""
    start = learner.agent.initial(1).state
    learner.objective = lambda obs, _: (learner.agent.world_model.encoder(obs).square().mean(), start, {})
    for _ in range(2):
        learner.train_step(obs, (None, None))
    return learner.optimizer.weights


def joined_batch(processes: parallel.Processes) -> None:
    """The averaged gradient is that of the joined batch, and the return scale sees all returns."""
    torch.manual_seed(1)
    obs, returns = 10 * torch.randn(6, 4), 10 * torch.randn(6, 5)
    alone, together = new(), new()
    processes.share(together)
    mine = slice(3 * processes.rank, 3 * processes.rank + 3)
    torch.testing.assert_close(learn(together, obs[mine]), learn(alone, obs))
    assert not torch.equal(learn(new(), obs[mine]), alone.optimizer.weights)
    scales = [learner.agent.return_scale for learner in (together, alone)]
    for scale, seen in zip(scales, (returns[mine], returns)):
        scale.update(seen)
    assert scales[0].range.all() and torch.equal(scales[0].range, scales[1].range)
    assert processes.same(together.optimizer.weights)


def different_weights(processes: parallel.Processes) -> None:
    """A process whose weights went their own way is found, by all, and nothing is saved."""
    training, out = Training(CONFIG, processes=processes), Path(sys.argv[1])
    assert processes.same(training.learner.optimizer.weights)
    training.learner.optimizer.weights[3] += processes.rank * 1e-6
    try:
        training.save(out)
    except Refused as error:
        assert "the weights differ between the processes" in str(error) and not list(out.iterdir())
    else:
        raise AssertionError("not found")


def own_experience(processes: parallel.Processes) -> None:
    """Same weights, other episodes and other dice; environment steps and episodes are counted over all."""
    training = Training(CONFIG, processes=processes)
    for _ in range(60):
        training.collect()
    start = training.replay.data["vector"][:, 0].flatten()
    seeds = torch.tensor([torch.initial_seed(), training.replay.generator.initial_seed()])
    assert training.env_steps == 2 * 60 * CONFIG.envs
    assert training.episodes == processes.sum(int(training.replay.data["is_last"].sum())) > 4
    for own in (start, seeds):
        one, other = training.processes.gather(own[None])
        assert (one != other).all()


def give(commands: list[str]) -> None:
    """Several commands of `python -m dreamer_lite` in one start of the processes. All but the first seem to be started
    again."""
    for number, words in enumerate(commands):
        os.environ["TORCHELASTIC_RESTART_COUNT"] = str(number)
        with suppress(SystemExit):
            main(words.split())


if __name__ == "__main__":
    if sys.argv[2:]:
        give(sys.argv[2:])
        sys.exit()
    with parallel.processes_of_torchrun("cpu") as processes:
        assert processes.size == 2
        for what in (joined_batch, different_weights, own_experience):
            what(processes)
        print(f"process {processes.rank} agrees", flush=True)
