"""How good is the agent, and how true are its dreams? Fresh episodes; reality beside a dream."""

from typing import NamedTuple

import numpy as np
import torch

from .agent import Dreamer
from .envs import make_envs

FRESH = 1_000_003  # evaluation seeds start here, far from those of training
LONGEST = 10_000  # steps after which an episode is taken as it is, for environments that never end one


def evaluate(agent: Dreamer, env: str, episodes: int = 100, seed: int = 0, greedy: bool = False) -> np.ndarray:
    """Returns (episodes,) of the agent, with its averaged weights, in new environments, one per episode, all at once; sampled actions unless greedy.

    The random state of PyTorch is left as it was, so an evaluation does not change the training around it.
    """
    envs = make_envs(env, episodes, FRESH + seed)
    device = agent.critic.bins.device
    returns, running = np.zeros(episodes), np.ones(episodes, bool)
    with agent.averaged(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(FRESH + seed)
        carry = agent.initial(episodes)
        for _ in range(LONGEST):
            row = envs.step(carry.action.cpu().numpy())
            returns += row.reward * running
            running &= ~row.is_last
            if not running.any():
                break
            carry = agent.act(torch.as_tensor(row.obs).to(device), torch.as_tensor(row.is_first).to(device), carry, greedy)
    envs.close()
    return returns


class OpenLoop(NamedTuple):
    """One real episode and the dream beside it, step by step; the dream has not seen reality since step 0."""

    env: str
    real: np.ndarray  # (T, O) observations
    dreamed: np.ndarray  # (T, O) observations decoded from the dream
    actions: np.ndarray  # (T, A) the actions that led to each step, the same in both


@torch.no_grad()
def open_loop(agent: Dreamer, env: str, steps: int = 60, context: int = 10, seed: int = 0) -> OpenLoop:
    """Let the agent play, look for `context` steps, then dream on from its own actions without looking.

    Both stop where the real episode ends. Raises ValueError if it ends within the context.
    """
    envs, rssm, device = make_envs(env, 1, FRESH + seed), agent.world_model.rssm, agent.critic.bins.device
    real, dreamed, actions = [], [], []
    with agent.averaged(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(FRESH + seed)
        carry = agent.initial(1)
        state = carry.state
        for t in range(context + steps):
            action = carry.action
            row = envs.step(action.cpu().numpy())
            if row.is_first[0] and t:
                break
            carry = agent.act(torch.as_tensor(row.obs).to(device), torch.as_tensor(row.is_first).to(device), carry)
            state = rssm.imagine_step(state, action) if t > context else carry.state
            if t >= context:
                dreamed.append(agent.world_model.predict_obs(state.feature)[0].cpu().numpy())
                real.append(row.obs[0])
                actions.append(action[0].cpu().numpy())
    envs.close()
    if not real:
        raise ValueError(f"the episode ended within {context} steps, before the dream began; give another seed or less context")
    return OpenLoop(env, np.stack(real), np.stack(dreamed), np.stack(actions))
