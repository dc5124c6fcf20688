"""Which device acts: the agent being trained, or a copy of it on the CPU, whichever is faster."""

from collections.abc import Callable
import copy

import torch
from torch.nn.utils import vector_to_parameters

from ..agent import Dreamer
from ..learner import Learner
from ..replay import map_obs
from ..rng import fork_rng
from .device import seconds

TRIALS = 20  # actions, to find out which is faster


class ActingAgent:
    """The agent to act with: the learner's own, or a copy on the CPU. Call `agent()` before each use to update it.

    A policy for a few environments is a few small matrix products. On a GPU, launching them may take longer than
    computing them on a CPU, even with the weights copied over.
    """

    def __init__(self, learner: Learner):
        self.learner, self.copy = learner, None

    def use_copy(self) -> None:
        """Act with a copy on the CPU from now on."""
        agent = self.learner.agent
        names = {id(p): name for name, p in agent.named_parameters()}
        self.copy = copy.deepcopy(agent).cpu()
        self.weights = self.learner.optimizer.weights.to("cpu", copy=True)
        copied = dict(self.copy.named_parameters())
        vector_to_parameters(self.weights, [copied[names[id(p)]] for p in self.learner.optimizer.params()])

    def agent(self) -> Dreamer:
        """The agent, with the learner's current weights."""
        if self.copy is None:
            return self.learner.agent
        self.weights.copy_(self.learner.optimizer.weights)
        return self.copy


def fastest_acting(learner: Learner, count: int, learning: bool) -> ActingAgent:
    """The faster way to act in `count` environments, measured with all transfers between the devices.

    learning: whether the weights change between two actions.
    """
    acting, home = ActingAgent(learner), learner.agent.device
    if home.type == "cpu":
        return acting
    there = seconds_to_act(acting.agent, count, home)
    acting.use_copy()
    if seconds_to_act(acting.agent if learning else lambda: acting.copy, count, home) > there:
        acting.copy = None
    return acting


def on_faster_device(agent: Dreamer, count: int) -> Dreamer:
    """The agent, or a copy of it on the CPU if that acts faster in `count` environments."""
    if agent.device.type == "cpu":
        return agent
    both = agent, copy.deepcopy(agent).cpu()
    return min(both, key=lambda one: seconds_to_act(lambda: one, count, one.device))


def seconds_to_act(ask: Callable[[], Dreamer], count: int, home: torch.device) -> float:
    """Seconds from an observation to the action in host memory and the state on `home`: the fastest of TRIALS."""
    agent = ask()
    carry = agent.initial(count)
    obs, is_first = agent.blank_obs(count), torch.zeros(count, dtype=torch.bool)

    def act() -> None:
        nonlocal carry
        agent = ask()
        carry = agent.act(map_obs(lambda part: part.to(agent.device), obs), is_first.to(agent.device), carry)
        carry.action.cpu(), [part.to(home) for part in carry.state]

    with fork_rng(home):
        return min(seconds(act, "cpu") for _ in range(TRIALS))  # no need to wait for a GPU: the action has arrived
