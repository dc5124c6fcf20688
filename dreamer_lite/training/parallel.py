"""Several processes, each with its own environments and replay buffer, train one agent. `torchrun` starts them."""

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

from ..actor import ReturnScale
from ..errors import Refused
from ..learner import Learner
from . import checkpoint
from .device import one_of_several


class Processes:
    """The processes that train one agent: here, this one alone.

    Each method works over all processes, so all must call the same methods in the same order.
    """

    rank, size = 0, 1
    again = False  # whether torchrun has restarted them after this run had begun

    def begin(self) -> None:
        """Note that the run has begun, for processes that torchrun may start in place of these."""

    @property
    def leads(self) -> bool:
        """Whether this is the process that evaluates, logs and prints."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """The run's own seed for the first process, a different one for each of the others."""
        return seed if self.leads else int(np.random.SeedSequence([seed, self.rank]).generate_state(1)[0])

    def sum(self, number: int) -> int:
        """The sum of each process's number."""
        return number

    def same(self, tensor: Tensor) -> bool:
        """Whether all processes have the same tensor, judged by the sum of its bits."""
        return True

    def from_first(self, make: Callable[[], Any]) -> Any:
        """The result of `make` in the first process. The others don't call it, and stop if it raises Refused."""
        return make()

    def share(self, learner: Learner) -> None:
        """From now on, average this learner's gradients over the processes; its return scale sees all their returns."""

    @contextmanager
    def saving(self, out: Path, own: dict[str, Any], step: int) -> Iterator[None]:
        """Inside, the first process writes the checkpoint of this environment step.

        Before that, the other processes write their own state beside it.
        """
        yield


SINGLE_PROCESS = Processes()


class SharedReturnScale(ReturnScale):
    """A return scale that sees the returns of all processes."""

    def __init__(self, scale: ReturnScale, gather: Callable[[Tensor], Tensor]):
        super().__init__(scale.rate, scale.limit, *scale.levels.tolist())
        self.levels, self.range, self.gather = scale.levels, scale.range, gather

    def update(self, returns: Tensor) -> Tensor:
        return super().update(self.gather(returns.contiguous()))


class TorchrunProcesses(Processes):
    """The processes that torchrun started. Raises Refused in the remaining ones once another one is gone."""

    def __init__(self, store: dist.Store) -> None:
        # The store outlives the processes.
        self.rank, self.size, self.store = dist.get_rank(), dist.get_world_size(), store
        self.again = self.from_first(lambda: store.check(["begun"]))

    def begin(self) -> None:
        if self.leads:
            self.store.set("begun", "yes")

    def sum(self, number: int) -> int:
        total = torch.tensor(int(number))
        with refuse_lost_process():
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
        with refuse_lost_process():
            dist.broadcast_object_list(box, 0)
        if refused:
            raise refused
        if not box[1]:
            raise SystemExit(2)  # the first process prints why
        return box[0]

    def gather(self, part: Tensor) -> Tensor:
        """The tensors of all processes, one after the other along the first axis."""
        parts = [torch.empty_like(part) for _ in range(self.size)]
        with refuse_lost_process():
            dist.all_gather(parts, part)
        return torch.cat(parts)

    def share(self, learner: Learner) -> None:
        learner.reduce_gradients = self.average
        learner.agent.return_scale = SharedReturnScale(learner.agent.return_scale, self.gather)

    def average(self, tensor: Tensor) -> None:
        """Replace a tensor by its mean over all processes."""
        with refuse_lost_process():
            dist.all_reduce(tensor)
        tensor.div_(self.size)

    @contextmanager
    def saving(self, out: Path, own: dict[str, Any], step: int) -> Iterator[None]:
        if not self.leads:
            checkpoint.write(process_file(out, self.rank, step), own)
        self.sum(0)  # all processes have written theirs
        yield
        self.sum(0)  # and the checkpoint is complete
        if self.leads:
            for old in set(out.glob("process*.pt*")) - {process_file(out, rank, step) for rank in range(self.size)}:
                with suppress(OSError):
                    old.unlink()


def process_file(out: Path, rank: int, step: int) -> Path:
    """Where a process saves its own state."""
    return out / f"process{rank}-{step}.pt"


@contextmanager
def refuse_lost_process() -> Iterator[None]:
    """Inside, processes exchange data. A process that is gone is reported in one line."""
    try:
        yield
    except RuntimeError as error:
        raise Refused(
            "another process of this run is gone, so this one stops too; resume from the last checkpoint, if there is "
            f"one ({str(error).splitlines()[0][:80]})"
        ) from error


def may_restart() -> bool:
    """Whether torchrun will start all processes again if one of them fails."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0


@contextmanager
def processes_of_torchrun(device: str) -> Iterator[Processes]:
    """The processes that torchrun started, including this one; this one alone without torchrun."""
    if not one_of_several():
        yield SINGLE_PROCESS
        return
    # Restarted processes must not find the addresses of their predecessors.
    store, rank, size = next(dist.rendezvous("env://"))
    fresh = dist.PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    backend = "cpu:gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    # The others wait while the first one evaluates; a process that dies is noticed at once.
    patience = timedelta(days=1)
    dist.init_process_group(backend, timeout=patience, store=fresh, rank=rank, world_size=size)
    try:
        yield TorchrunProcesses(store)
    finally:
        dist.destroy_process_group()
