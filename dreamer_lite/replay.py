"""The replay buffer: streams of experience, cut into sequences (notebook 01)."""

from collections.abc import Callable, Iterable, Sequence
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .errors import require_whole

# An array or tensor: numbers (..., O), or an image (..., H, W, C) in bytes; or both, {"vector": …, "image": …}.
Obs = Any


def map_obs(function: Callable[[Any], Any], obs: Obs) -> Obs:
    """The same kind of observation, with `function` applied to each of its arrays."""
    return {kind: function(array) for kind, array in obs.items()} if isinstance(obs, dict) else function(obs)


def obs_by_kind(obs: Obs) -> dict[str, Any]:
    """The arrays of an observation by name: "vector", "image", or both. Bytes are an image."""
    return obs if isinstance(obs, dict) else {"image" if obs.dtype.itemsize == 1 else "vector": obs}


def obs_of_kinds(kinds: dict[str, Any]) -> Obs:
    """The inverse of `obs_by_kind`: an observation of one kind is its array, without a name."""
    return kinds if len(kinds) > 1 else next(iter(kinds.values()))


class Experience(NamedTuple):
    """What arrives together, for one step or many: arrays or tensors with the same leading axes.

    They are (E, …), (T, …) or (B, T, …). Gotcha: the action is the one that LED to the observation beside it; reward
    and flags arrive with that observation.
    """

    obs: Obs  # (..., O), or images (..., H, W, C), or both
    action: Any  # (..., A), zeros where is_first
    reward: Any  # (...)
    is_first: Any  # (...) first of its episode; no action led here
    is_last: Any  # (...) last of its episode, whether it ended or a time limit cut it off
    is_terminal: Any  # (...) the episode really ended; a time limit is last but not terminal

    def map(self, function: Callable[[Any], Any]) -> "Experience":
        """A copy with `function` applied to each component."""
        return Experience(map_obs(function, self.obs), *map(function, self[1:]))

    def to(self, device: torch.device | str) -> "Experience":
        """As tensors on a device."""
        return self.map(lambda part: torch.as_tensor(part).to(device))


def stack(steps: Sequence[Experience], axis: int = 0) -> Experience:
    """Join steps of the same shape along a new axis; arrays or tensors."""
    join = torch.stack if isinstance(steps[0].reward, Tensor) else np.stack
    kinds = [obs_by_kind(step.obs) for step in steps]
    obs = obs_of_kinds({kind: join([one[kind] for one in kinds], axis) for kind in kinds[0]})
    return Experience(obs, *(join(parts, axis) for parts in zip(*(step[1:] for step in steps))))


LatentState = tuple[Tensor, Tensor]  # (h, z); `rssm.State` is one


class Replay:
    """One ring buffer of steps per environment. Sequences are drawn uniformly and may cross episode borders.

    With `online_queue`, new experience is seen soon: whenever an environment has added a whole new sequence, the next
    batch begins with it, once, and the rest of the batch is drawn as ever.

    With each step, the agent's latent state after it is stored. So a sequence starts from the state the agent had, not
    from zeros, and `refresh` writes back the newer states that training computed.
    Official: `embodied/core/replay.py`, with `replay_context: 1` in `dreamerv3/agent.py`.

    capacity: steps over all environments. obs_size: numbers in an observation, 0 if there are none; image: height,
    width and channels of its image, which is kept in bytes. Everything is kept on `device`, in static shapes.
    """

    def __init__(
        self,
        *,
        capacity: int,
        envs: int = 1,
        obs_size: int,
        image: Sequence[int] = (),
        action_size: int,
        deter: int,
        groups: int,
        classes: int,
        device: torch.device | str = "cpu",
        online_queue: bool = False,
    ):
        [envs] = require_whole(envs=(envs, 1))
        [capacity] = require_whole(capacity=(capacity, envs))
        self.length = capacity // envs
        self.classes = classes
        shapes = self.shapes(
            obs_size=obs_size, image=image, action_size=action_size, deter=deter, groups=groups, classes=classes
        )
        self.kinds = [kind for kind in ("vector", "image") if kind in shapes]
        self.data = {
            name: torch.zeros(envs, self.length, *shape, dtype=dtype, device=device)
            for name, (shape, dtype) in shapes.items()
        }
        self.added = 0  # steps ever added, per environment
        # The same number on the device, where `sample` can read it without waiting.
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        self.online_queue = online_queue
        self.next_in_queue = torch.zeros_like(self.count)  # number of the queue's first sequence
        # On a GPU, the default generator, which a replayed graph advances by itself.
        on_gpu = self.count.is_cuda
        self.generator = torch.cuda.default_generators[self.count.get_device()] if on_gpu else torch.Generator(device)
        self.writer = torch.zeros(envs * self.length, dtype=torch.int64, device=device)  # scratch for `refresh`

    @staticmethod
    def shapes(
        *, obs_size: int, image: Sequence[int], action_size: int, deter: int, groups: int, classes: int
    ) -> dict[str, tuple[Sequence[int], torch.dtype]]:
        """Shape and dtype of everything that is kept of a step, by name."""
        kinds = {"vector": ([obs_size], torch.float32)} if obs_size else {}
        kinds |= {"image": (image, torch.uint8)} if image else {}
        return kinds | {
            "action": ([action_size], torch.float32),
            "reward": ([], torch.float32),
            "is_first": ([], torch.bool),
            "is_last": ([], torch.bool),
            "is_terminal": ([], torch.bool),
            "h": ([deter], torch.float32),
            "z": ([groups], torch.uint8 if classes <= 256 else torch.int32),
        }

    @staticmethod
    def bytes_needed(capacity: int, **sizes: Any) -> int:
        """Bytes that a replay buffer with this capacity takes; sizes: the arguments of `shapes`."""
        return capacity * sum(math.prod(shape) * dtype.itemsize for shape, dtype in Replay.shapes(**sizes).values())

    def __len__(self) -> int:
        """Steps held, over all environments."""
        return min(self.added, self.length) * len(self.data["reward"])

    def add(self, step: Experience, state: LatentState) -> None:
        """Append one step of every environment, parts of (E, …), and the state (E, …) after it.

        Raises ValueError if it is the step of more or fewer environments.
        """
        if len(step.reward) != (envs := len(self.data["reward"])):
            raise ValueError(f"the replay buffer is for {envs} environments, but the step is of {len(step.reward)}")
        h, z = state
        parts = obs_by_kind(step.obs) | step._asdict() | {"h": h, "z": z.argmax(-1)}
        del parts["obs"]
        for name, value in parts.items():
            self.data[name][:, self.added % self.length] = torch.as_tensor(value)
        self.added += 1
        self.count += 1

    def sample(self, batch: int, steps: int) -> tuple[Experience, LatentState, tuple[Tensor, Tensor]]:
        """Draw `batch` sequences of `steps` steps; returns experience (B, T, …), states and indices.

        The states (h, z) are those before each sequence, (B, …); the indices are for `refresh`. What is drawn depends
        on the device's own count, not on Python's, so that the launches of one call can be recorded and replayed while
        the buffer fills. Raises ValueError if fewer than steps + 1 are stored per environment.
        """
        if (stored := min(self.added, self.length)) <= steps:
            raise ValueError(
                f"the replay buffer holds {stored} steps per environment, a sequence of {steps} needs {steps + 1}"
            )
        device = self.generator.device
        held = self.count.clamp(max=self.length)
        env = torch.randint(len(self.data["reward"]), (batch, 1), generator=self.generator, device=device)  # (B, 1)
        # (B, 1); 0 is the oldest
        first = torch.randint(2**62, (batch, 1), generator=self.generator, device=device) % (held - steps)
        oldest = self.count - held  # 0 is the first step ever added
        first = oldest + first  # (B, 1)
        if self.online_queue:
            env, first = self.take_from_queue(env, first, oldest, steps + 1)
        index = (first + torch.arange(steps + 1, device=device)) % self.length  # (B, T+1)
        before, index = index[:, 0], index[:, 1:]  # (B), (B, T)
        z = self.data["z"][env[:, 0], before][..., None] == torch.arange(self.classes, device=device)  # (B, S, K)
        start = self.data["h"][env[:, 0], before], z.to(torch.float32)  # (B, D), (B, S, K)
        obs = obs_of_kinds({kind: self.data[kind][env, index] for kind in self.kinds})  # (B, T, …)
        return Experience(obs, *(self.data[name][env, index] for name in Experience._fields[1:])), start, (env, index)

    def take_from_queue(self, env: Tensor, first: Tensor, oldest: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Put what waits in the online queue into the first rows of a batch; returns environment and first step (B, 1).

        The queue holds the steps 1 to L, L + 1 to 2 L, … of every environment, where L is `length`: a sequence and the
        step whose state it starts from. Each is taken once; what the ring has overwritten is skipped.
        Official: `Replay.add` and `Replay._sample`.
        """
        envs = len(self.data["reward"])
        skipped = (oldest + length - 2) // length * envs
        row = torch.arange(len(env), device=env.device)[:, None]  # (B, 1)
        number = torch.maximum(self.next_in_queue, skipped) + row
        waits = number < (self.count - 1) // length * envs
        self.next_in_queue.copy_(number[0, 0] + waits.sum())
        return torch.where(waits, number % envs, env), torch.where(waits, 1 + number // envs * length, first)

    def refresh(self, where: tuple[Tensor, Tensor], states: LatentState) -> None:
        """Replace the stored states of sampled sequences by newer ones (B, T, …).

        Sequences may overlap. Then the last one wins, and every write to a step carries the same value: with different
        values, the result would depend on the order in which threads write.
        """
        step = (where[0] * self.length + where[1]).flatten()  # (B·T)
        order = torch.arange(len(step), device=step.device)
        winner = self.writer.scatter_(0, step, -1).scatter_reduce_(0, step, order, "amax")[step]  # (B·T)
        h, z = states
        self.data["h"][where] = h.flatten(0, 1)[winner].view_as(h)
        z = z.argmax(-1).to(self.data["z"].dtype)  # (B, T, S, K) → (B, T, S)
        self.data["z"][where] = z.flatten(0, 1)[winner].view_as(z)

    def break_off(self, envs: Iterable[int]) -> None:
        """End the current episodes of these environments at the latest step, so that no return reaches across."""
        self.data["is_last"][list(envs), (self.added - 1) % self.length] = True

    def state_dict(self) -> dict:
        """Everything held: a tensor for each environment, so that on a CPU it shares the buffer's memory.

        By way of NumPy, since PyTorch would save all of a tensor's storage, also where it is still empty.
        """
        held = min(self.added, self.length)
        data = {
            name: [torch.from_numpy(of_env[:held].cpu().numpy()) for of_env in ring] for name, ring in self.data.items()
        }
        return {
            "data": data,
            "added": self.added,
            "next_in_queue": int(self.next_in_queue),
            "generator": self.generator.get_state(),
            "device": self.generator.device.type,
        }

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` returned. The steps in it are used up, so that they are never held twice.

        Raises ValueError if the steps in it aren't those that a buffer of this capacity would hold.
        """
        held = len(state["data"]["reward"][0])
        if held > self.length or held < min(state["added"], self.length):
            raise ValueError(
                f"the replay buffer holds {self.length} steps of each environment, but the saved one held {held} of "
                f"{state['added']}"
            )
        for name, ring in self.data.items():
            for of_env, saved in zip(ring, state["data"].pop(name), strict=True):  # version 0.3.0 had one tensor
                of_env[: len(saved)] = saved
        self.added = state["added"]
        self.count.fill_(self.added)
        self.next_in_queue.fill_(state.get("next_in_queue", 0))  # version 0.3.0 had no queue
        if state["device"] == self.generator.device.type:  # a CPU's random state means nothing to a GPU
            self.generator.set_state(state["generator"])
