"""Dreaming on purpose: roll the world model forward, with the policy choosing the actions (notebook 07)."""

from typing import NamedTuple

import torch
from torch import Tensor

from .actor import Actor
from .latents import gumbel
from .rssm import State
from .scan import scan
from .world_model import WorldModel


class Moment(NamedTuple):
    """One moment of N dreams: the state, h (N, D) and z (N, S, K), and the action chosen in it, (N, A)."""

    h: Tensor
    z: Tensor
    action: Tensor


class Dream(NamedTuple):
    """N imagined trajectories. Index t belongs to state t; action t is taken in state t; the start is state 0."""

    states: State  # h (N, H+1, D), z (N, H+1, S, K)
    features: Tensor  # (N, H+1, F), the states as the heads see them
    actions: Tensor  # (N, H+1, A), the last one is chosen but not carried out
    rewards: Tensor  # (N, H+1), the reward that arrives with each state
    continues: Tensor  # (N, H+1), probability that the episode continues, times the discount


@torch.no_grad()
def imagine(world_model: WorldModel, actor: Actor, start: State, horizon: int) -> Dream:
    """Dream `horizon` steps from each start, State of (N, …), with actions drawn from the actor.

    Paper: "critic and actor learning". Official: `dreamerv3/rssm.py: RSSM.imagine`, `dreamerv3/agent.py: Agent.loss`.
    Gotcha: no gradient is kept. The actor learns by REINFORCE from its own log-probabilities, for continuous actions
    too, and the critic from its own values, so nothing has to flow back through the dream. Raises ValueError for a
    horizon below 1.
    """
    if horizon < 1:
        raise ValueError(f"a dream has a horizon of at least 1, got {horizon}")
    rssm = world_model.rssm

    def step(moment, dice):
        of_latent, of_action = dice
        state = rssm.imagine_step(State(moment.h, moment.z), moment.action, of_latent)  # (N, …)
        action = actor(state.feature).sample(of_action)  # (N, A)
        return Moment(*state, action), (state.feature, action)

    policy = actor(start.feature)
    first = Moment(*start, policy.sample())
    dice = gumbel(start.h, len(start.h), horizon, *start.z.shape[1:]), policy.noise(horizon)  # (N, H, S, K), (N, H, A)
    _, (features, actions) = scan(step, first, dice)  # (N, H, …)
    features = torch.cat([start.feature[:, None], features], 1)  # (N, H+1, F)
    actions = torch.cat([first.action[:, None], actions], 1)  # (N, H+1, A)
    rewards, continues = world_model.predict_reward(features), world_model.predict_continue(features)  # (N, H+1)
    return Dream(rssm.state(features), features, actions, rewards, continues)


def step_weights(continues: Tensor) -> Tensor:
    """How much each imagined step counts: the product of the continues up to and including its own, (N, H+1) → (N, H).

    The action of the last state is never carried out, so that state has no weight. Gotcha: the start's own continue is
    in every product. Paper: "critic and actor learning". Official: `dreamerv3/agent.py: imag_loss` (weight).
    """
    return continues.cumprod(1)[:, :-1]
