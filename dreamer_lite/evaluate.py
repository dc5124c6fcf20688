"""How good is the agent? Fresh episodes, mean ± standard deviation."""

import numpy as np
import torch

from .agent import Dreamer
from .envs import make_envs

FRESH = 1_000_003  # evaluation seeds start here, far from those of training


def evaluate(agent: Dreamer, env: str, episodes: int = 100, seed: int = 0, greedy: bool = False) -> np.ndarray:
    """Returns (episodes,) of the agent in new environments, one per episode, all at once; sampled actions unless greedy.

    The random state of PyTorch is left as it was, so an evaluation does not change the training around it.
    """
    envs = make_envs(env, episodes, FRESH + seed)
    device = agent.critic.bins.device
    returns, running = np.zeros(episodes), np.ones(episodes, bool)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(FRESH + seed)
        carry = agent.initial(episodes)
        while running.any():
            row = envs.step(carry.action.cpu().numpy())
            returns += row.reward * running
            running &= ~row.is_last
            carry = agent.act(torch.as_tensor(row.obs).to(device), torch.as_tensor(row.is_first).to(device), carry, greedy)
    envs.close()
    return returns
