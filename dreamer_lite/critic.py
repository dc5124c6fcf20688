"""How good is a dream? λ-returns and the two-hot critic (notebook 08)."""

import copy

import torch
from torch import Tensor, nn

from .nets import MLP, Linear
from .two_hot import two_hot_bins, two_hot_loss, two_hot_mean


def lambda_return(
    rewards: Tensor, continues: Tensor, values: Tensor, bootstrap: Tensor, lam: float | Tensor = 0.95
) -> Tensor:
    """Returns that mix bootstraps of all lengths, computed backwards.

        R_t = r_{t+1} + c_{t+1} ((1 - λ) v_{t+1} + λ R_{t+1}),   R_H = bootstrap

    Paper: Eq. 5. Official: `dreamerv3/agent.py: lambda_return`. rewards, continues, values: (N, H); index t holds what
    ARRIVES after step t, that is r_{t+1}, c_{t+1}, v_{t+1}; bootstrap: (N,). lam: a number or (N, H). Returns (N, H).
    Gotcha: the discount is already inside `continues` (`world_model.py: continue_target`).
    """
    inputs = rewards + continues * (1 - lam) * values  # (N, H)
    pull = continues * lam  # (N, H)
    returns, last = [], bootstrap
    for t in reversed(range(rewards.shape[1])):
        last = inputs[:, t] + pull[:, t] * last  # (N,)
        returns.append(last)
    return torch.stack(returns[::-1], 1)  # (N, H)


class Critic(nn.Module):
    """Predicts the distribution of the λ-return as a two-hot, and keeps a slow copy of itself.

    Official: `dreamerv3/agent.py: Agent` (val, slowval), `embodied/jax/utils.py: SlowModel`.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        hidden: int,
        layers: int = 3,
        bins: int = 255,
        bin_limit: float = 20.0,
        slow_rate: float = 0.02,
    ):
        super().__init__()
        self.slow_rate = slow_rate
        self.net = nn.Sequential(
            MLP(inputs=feature_size, hidden=hidden, layers=layers), Linear(hidden, bins, scale=0.0)
        )
        self.slow_net = copy.deepcopy(self.net).requires_grad_(False)
        self.register_buffer("bins", two_hot_bins(bins, bin_limit), persistent=False)

    def forward(self, feature: Tensor) -> Tensor:
        """Logits over the bins, (..., F) → (..., count)."""
        return self.net(feature)

    def value(self, logits: Tensor) -> Tensor:
        """Expected return under the logits, (..., count) → (...), without a gradient."""
        return two_hot_mean(logits.detach(), self.bins)

    @torch.no_grad()
    def slow_value(self, feature: Tensor) -> Tensor:
        """Expected return according to the slow copy, (..., F) → (...)."""
        return two_hot_mean(self.slow_net(feature), self.bins)

    @torch.no_grad()
    def update_slow(self) -> None:
        """slow ← (1 - rate) slow + rate · online, once after each optimizer step."""
        torch._foreach_lerp_(list(self.slow_net.parameters()), list(self.net.parameters()), self.slow_rate)


def critic_loss(logits: Tensor, returns: Tensor, slow_values: Tensor, bins: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy to the λ-returns, and to the slow critic's mean as a regulariser; weighted, (N, H).

    Paper: Eq. 5. Official: `dreamerv3/agent.py: imag_loss`. logits (N, H+1, count) and slow_values (N, H+1) cover all
    states; returns and weights (N, H) all but the last, which gets no loss.
    Gotcha: the slow critic's mean is encoded again as a two-hot; its distribution isn't used.
    """
    logits, slow_values = logits[:, :-1], slow_values[:, :-1]  # (N, H, count), (N, H)
    return weights * (two_hot_loss(logits, returns, bins) + two_hot_loss(logits, slow_values, bins))


def replay_critic_loss(
    logits: Tensor,
    slow_values: Tensor,
    bins: Tensor,
    rewards: Tensor,
    is_last: Tensor,
    is_terminal: Tensor,
    bootstrap: Tensor,
    discount_horizon: float = 333,
    lam: float = 0.95,
) -> Tensor:
    """The critic's loss on real experience, (B, T, …) → (B, T-1). Its gradient trains the world model too.

    rewards, is_last, is_terminal: (B, T), recorded; bootstrap: (B, T), the imagined λ-return from each replayed step.
    Official: `dreamerv3/agent.py: repl_loss`. Gotcha: where an episode ends, λ becomes 0, so nothing is taken from the
    next one; if a time limit cut it off, the bootstrap still counts. Last steps get no loss.
    """
    continues = (~is_terminal[:, 1:]).to(rewards.dtype) * (1 - 1 / discount_horizon)  # (B, T-1)
    lam = (~is_last[:, 1:]).to(rewards.dtype) * lam  # (B, T-1)
    returns = lambda_return(rewards[:, 1:], continues, bootstrap[:, 1:], bootstrap[:, -1], lam)  # (B, T-1)
    return critic_loss(logits, returns, slow_values, bins, (~is_last[:, :-1]).to(rewards.dtype))
