"""Several processes, each with its own environments and replay, train one agent. PyTorch's `torchrun` starts them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
import torch.distributed as dist

from ..config import Refused
from ..learner import Learner
from . import checkpoint
from .device import one_of_several


class Team:
    """The processes of a run: here, this one alone. What they are asked for is answered over all, so all must ask in the same order."""

    rank, size = 0, 1
    again = False  # whether torchrun has started them before, and they had begun this run

    def begin(self) -> None:
        """Note that the run has begun, for those that torchrun may start in place of these."""

    @property
    def leads(self) -> bool:
        """Whether this is the process that evaluates, logs and tells."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """The run's own seed for the first process, another one for each of the others."""
        return seed if self.leads else int(np.random.SeedSequence([seed, self.rank]).generate_state(1)[0])

    def sum(self, number: int) -> int:
        """The sum of each process's number."""
        return number

    def same(self, tensor: Tensor) -> bool:
        """Whether all processes have the same tensor, as far as the sum of its bits can tell."""
        return True

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What `make` gives in the first process. The others don't call it, and stop if it is refused there."""
        return make()

    def share(self, learner: Learner) -> None:
        """Average this learner's gradients over the processes from now on, and let its return scale see the returns of all."""

    @contextmanager
    def saving(self, out: Path, own: dict[str, Any], step: int) -> Iterator[None]:
        """Inside, the first process writes the checkpoint of this environment step. What the others have of their own lies beside it before."""
        yield


ALONE = Team()


class Several(Team):
    """Those that torchrun started. Raises Refused in each that is left once another one is gone."""

    def __init__(self, store: dist.Store) -> None:
        self.rank, self.size, self.store = dist.get_rank(), dist.get_world_size(), store  # the store outlives the processes
        self.again = self.from_first(lambda: store.check(["begun"]))

    def begin(self) -> None:
        if self.leads:
            self.store.set("begun", "yes")

    def sum(self, number: int) -> int:
        total = torch.tensor(int(number))
        with told():
            dist.all_reduce(total)
        return int(total)

    def same(self, tensor: Tensor) -> bool:
        bits = tensor.view(torch.int32).sum(dtype=torch.int64)[None]
        return bool((self.gather(bits) == bits).all())

    def from_first(self, make: Callable[[], Any]) -> Any:
        refused, box = None, [None, True]
        if self.leads:
            try:
                box[0] = make()
            except Refused as error:
                refused, box[1] = error, False
        with told():
            dist.broadcast_object_list(box, 0)
        if refused:
            raise refused
        if not box[1]:
            raise SystemExit(2)  # the first one says why
        return box[0]

    def gather(self, part: Tensor) -> Tensor:
        """The parts of all processes, one after the other along the first axis."""
        parts = [torch.empty_like(part) for _ in range(self.size)]
        with told():
            dist.all_gather(parts, part)
        return torch.cat(parts)

    def share(self, learner: Learner) -> None:
        optimizer, scale = learner.optimizer, learner.agent.return_scale
        clip, update = optimizer.clip_gradients, scale.update

        def average_and_clip() -> None:
            with told():
                dist.all_reduce(optimizer.gradients)
            optimizer.gradients.div_(self.size)
            clip()

        optimizer.clip_gradients, scale.update = average_and_clip, lambda returns: update(self.gather(returns.contiguous()))

    @contextmanager
    def saving(self, out: Path, own: dict[str, Any], step: int) -> Iterator[None]:
        if not self.leads:
            checkpoint.write(part(out, self.rank, step), own)
        self.sum(0)  # all parts are there
        yield
        self.sum(0)  # and the checkpoint that needs them
        if self.leads:
            for old in set(out.glob("process*.pt*")) - {part(out, rank, step) for rank in range(self.size)}:
                with suppress(OSError):
                    old.unlink()


def part(out: Path, rank: int, step: int) -> Path:
    """The file of what a process has of its own."""
    return out / f"process{rank}-{step}.pt"


@contextmanager
def told() -> Iterator[None]:
    """Inside, processes talk to each other. That one of them is gone becomes one line."""
    try:
        yield
    except RuntimeError as error:
        raise Refused(
            "another process of this run is gone, so this one stops too; go on from the last checkpoint, if there is one "
            f"({str(error).splitlines()[0][:80]})"
        ) from error


def may_restart() -> bool:
    """Whether torchrun will start all processes again if one of them fails."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0


@contextmanager
def team(device: str) -> Iterator[Team]:
    """The processes that torchrun started with this one; this one alone, if it did not."""
    if not one_of_several():
        yield ALONE
        return
    # Processes that were started again must not find the addresses of those before them.
    store, rank, size = next(dist.rendezvous("env://"))
    fresh = dist.PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    backend = "cpu:gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    patience = timedelta(days=1)  # the others wait while the first one evaluates; a process that dies is noticed at once
    dist.init_process_group(backend, timeout=patience, store=fresh, rank=rank, world_size=size)
    try:
        yield Several(store)
    finally:
        dist.destroy_process_group()
