"""Learning to predict: encoder, RSSM, decoder and the losses that train them (notebook 06)."""

from typing import Any

from torch import Tensor, nn
import torch
import torch.nn.functional as F

from .latents import entropy, kl, unimix
from .nets import MLP, Linear, in_pieces
from .rssm import RSSM, State
from .symlog import symexp, symlog
from .two_hot import two_hot_bins, two_hot_loss, two_hot_mean


def kl_losses(posterior: Tensor, prior: Tensor, free_nats: float = 1.0) -> tuple[Tensor, Tensor]:
    """Dynamics and representation loss: the same KL, once moving the prior and once the posterior.

    dyn = max(free, KL(sg(posterior) || prior)), rep = max(free, KL(posterior || sg(prior))), in nats.
    Paper: Eq. 3. Official: `dreamerv3/rssm.py: RSSM.loss`. Probabilities (..., S, K) in, two losses (...) out.
    Gotcha: the free nats clip each entry after the sum over groups; a clipped entry has no gradient.
    """
    dyn = kl(posterior.detach(), prior).clamp(min=free_nats)
    rep = kl(posterior, prior.detach()).clamp(min=free_nats)
    return dyn, rep


def continue_target(is_terminal: Tensor, horizon: float = 333) -> Tensor:
    """What the continue head learns: 0 at a terminal step, else the discount 1 - 1/horizon, which so lives inside it.

    Official: `dreamerv3/agent.py: Agent.loss` (contdisc). Gotcha: a truncated episode ends, but is not terminal.
    """
    return torch.where(is_terminal, 0.0, 1 - 1 / horizon)


class Encoder(MLP):
    """symlog(observation) → tokens, (..., O) → (..., units). Official: `dreamerv3/rssm.py: Encoder`."""

    def forward(self, obs: Tensor) -> Tensor:
        return super().forward(symlog(obs))


class Decoder(nn.Sequential):
    """Feature → predicted symlog(observation), (..., F) → (..., O). Official: `dreamerv3/rssm.py: Decoder`.

    Gotcha: the prediction stays in symlog space; `symexp` gives an observation. The official decoder reads [z, h] where
    every other head reads [h, z]; here all read [h, z], the same function with its input columns in another order.
    """

    def __init__(self, feature: int, size: int, units: int, layers: int):
        super().__init__(MLP(feature, units, layers), Linear(units, size))

    def loss(self, prediction: Tensor, obs: Tensor) -> Tensor:
        """Squared error in symlog space, summed over the observation, without a factor 1/2: (..., O) → (...). Eq. 8."""
        return (prediction - symlog(obs)).square().sum(-1)


class WorldModel(nn.Module):
    """Encoder, RSSM, decoder, reward head and continue head. Official: `dreamerv3/agent.py: Agent`."""

    def __init__(self, observation: int, actions: int, deter: int, hidden: int, groups: int, classes: int,
                 units: int, blocks: int = 8, layers: int = 3, mix: float = 0.01, free_nats: float = 1.0,
                 horizon: float = 333, bins: int = 255, **rssm: Any):
        super().__init__()
        self.free_nats, self.horizon = free_nats, horizon
        self.feature = deter + groups * classes
        self.encoder = Encoder(observation, units, layers)
        self.decoder = Decoder(self.feature, observation, units, layers)
        self.rssm = RSSM(units, actions, deter, hidden, groups, classes, blocks, mix, **rssm)
        self.reward_head = nn.Sequential(MLP(self.feature, units, 1), Linear(units, bins, scale=0.0))
        self.continue_head = nn.Sequential(MLP(self.feature, units, 1), Linear(units, 1))
        self.register_buffer("bins", two_hot_bins(bins), persistent=False)

    def observe(self, obs: Tensor, actions: Tensor, is_first: Tensor, start: State) -> tuple[State, Tensor]:
        """Encode and filter a sequence: obs (B, T, O), actions (B, T, A), is_first (B, T) → states, posterior logits."""
        return self.rssm.observe(self.encoder(obs), actions, is_first, start)

    def predict_obs(self, feature: Tensor) -> Tensor:
        """The observation that belongs to a state, in its own units, (..., F) → (..., O)."""
        return symexp(self.decoder(feature))

    def predict_reward(self, feature: Tensor) -> Tensor:
        """Reward that arrives with a state, (..., F) → (...)."""
        return in_pieces(lambda piece: two_hot_mean(self.reward_head(piece), self.bins), feature)

    def predict_continue(self, feature: Tensor) -> Tensor:
        """Probability that the episode goes on, times the discount, (..., F) → (...)."""
        return in_pieces(lambda piece: torch.sigmoid(self.continue_head(piece)).squeeze(-1), feature)

    def prediction_losses(self, feature: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """How badly decoder, reward head and continue head read the feature (B, T, F): three losses (B, T), by name.

        Paper: Eq. 3, L_pred. Official: `dreamerv3/agent.py: Agent.loss`. Gotcha: all that comes before the feature learns from them too.
        """
        goes_on = continue_target(batch["is_terminal"], self.horizon).to(feature.dtype)
        return {
            "reconstruction": self.decoder.loss(self.decoder(feature), batch["obs"]),
            "reward": two_hot_loss(self.reward_head(feature), batch["reward"], self.bins),
            "continue": F.binary_cross_entropy_with_logits(
                self.continue_head(feature).squeeze(-1), goes_on, reduction="none"),
        }

    def loss(self, batch: dict[str, Tensor], start: State) -> tuple[dict[str, Tensor], State, dict[str, Tensor]]:
        """Unreduced losses (B, T) of a replayed batch, its posterior states, and metrics.

        batch: obs (B, T, O), action (B, T, A) that led to each step, reward, is_first, is_terminal (B, T).
        Paper: Eq. 2 and 3. Official: `dreamerv3/agent.py: Agent.loss`.
        """
        states, logits = self.observe(batch["obs"], batch["action"], batch["is_first"], start)
        posterior = unimix(logits, self.rssm.mix)
        prior = unimix(self.rssm.prior(states.h), self.rssm.mix)
        dyn, rep = kl_losses(posterior, prior, self.free_nats)
        losses = self.prediction_losses(states.feature, batch) | {"dyn": dyn, "rep": rep}
        metrics = {"prior_entropy": entropy(prior.detach()), "posterior_entropy": entropy(posterior.detach())}
        return losses, states, metrics
