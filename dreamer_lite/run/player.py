"""Who acts: the agent that learns, or a copy of it on the CPU, whichever is quicker."""

from collections.abc import Callable
import copy

import torch
from torch.nn.utils import vector_to_parameters

from ..agent import Dreamer
from ..learner import Learner
from ..replay import each
from .bench import seconds
from .device import fork_rng

TRIED = 20  # actions, to see which is quicker


class Player:
    """Gives the agent to act with. The agent that learns is asked for again before each use, so that a copy of it has its weights.

    A policy is a few small products for a few environments: on a GPU their launches may take longer than the products on a CPU, with the
    way of the weights over to it.
    """

    def __init__(self, learner: Learner):
        self.learner, self.twin = learner, None

    def use_twin(self) -> None:
        """Act with a copy on the CPU from now on."""
        agent = self.learner.agent
        names = {id(p): name for name, p in agent.named_parameters()}
        self.twin = copy.deepcopy(agent).cpu()
        self.weights = self.learner.optimizer.weights.to("cpu", copy=True)
        copied = dict(self.twin.named_parameters())
        vector_to_parameters(self.weights, [copied[names[id(p)]] for p in self.learner.optimizer.params()])

    def agent(self) -> Dreamer:
        """The agent, with the weights that the learner's has now."""
        if self.twin is None:
            return self.learner.agent
        self.weights.copy_(self.learner.optimizer.weights)
        return self.twin


def quickest_player(learner: Learner, count: int, learning: bool) -> Player:
    """Who is quicker to act in `count` environments: measured, with all that goes from one device to the other.

    learning: whether the weights change between two actions.
    """
    player, home = Player(learner), learner.agent.device
    if home.type == "cpu":
        return player
    there = seconds_to_act(player.agent, count, home)
    player.use_twin()
    if seconds_to_act(player.agent if learning else lambda: player.twin, count, home) > there:
        player.twin = None
    return player


def quicker(agent: Dreamer, count: int) -> Dreamer:
    """The agent, or a copy of it on the CPU, if that acts quicker in `count` environments."""
    if agent.device.type == "cpu":
        return agent
    both = agent, copy.deepcopy(agent).cpu()
    return min(both, key=lambda one: seconds_to_act(lambda: one, count, one.device))


def seconds_to_act(ask: Callable[[], Dreamer], count: int, home: torch.device) -> float:
    """Seconds from an observation to the action in the host's memory and the state on the device `home`: the fastest of some."""
    agent = ask()
    carry = agent.initial(count)
    obs, is_first = agent.blank_obs(count), torch.zeros(count, dtype=torch.bool)

    def act() -> None:
        nonlocal carry
        agent = ask()
        carry = agent.act(each(lambda part: part.to(agent.device), obs), is_first.to(agent.device), carry)
        carry.action.cpu(), [part.to(home) for part in carry.state]

    with fork_rng(home):
        return min(seconds(act, "cpu") for _ in range(TRIED))  # no need to wait for a GPU: the action is here
