"""Learning to predict: the world model around the RSSM, and the losses that train it (notebook 06)."""

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from .latents import entropy, kl, unimix
from .nets import MLP, Linear
from .replay import Experience, Obs
from .rssm import RSSM, State
from .two_hot import two_hot_bins, two_hot_loss, two_hot_mean


def kl_losses(posterior: Tensor, prior: Tensor, free_nats: float = 1.0) -> tuple[Tensor, Tensor]:
    """Dynamics and representation loss: the same KL, once training the prior and once the posterior.

    dyn = max(free, KL(sg(posterior) || prior)), rep = max(free, KL(posterior || sg(prior))), in nats.
    Paper: Eq. 3. Official: `dreamerv3/rssm.py: RSSM.loss`. Probabilities (..., S, K) in, two losses (...) out.
    Gotcha: the free nats clip each entry after the sum over groups; a clipped entry has no gradient.
    """
    dyn = kl(posterior.detach(), prior).clamp(min=free_nats)
    rep = kl(posterior, prior.detach()).clamp(min=free_nats)
    return dyn, rep


def continue_target(is_terminal: Tensor, discount_horizon: float = 333) -> Tensor:
    """Target of the continue head: 0 at a terminal step, otherwise the discount 1 - 1/discount_horizon.

    So the discount lives inside the predicted continues. Official: `dreamerv3/agent.py: Agent.loss` (contdisc).
    Gotcha: a truncated episode ends, but is not terminal.
    """
    return torch.where(is_terminal, 0.0, 1 - 1 / discount_horizon)


class WorldModel(nn.Module):
    """Encoder, RSSM, decoder, reward head and continue head. Official: `dreamerv3/agent.py: Agent`.

    encoder, decoder: from `codecs.make_codec`. hidden, layers: of the two heads.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        rssm: RSSM,
        *,
        hidden: int,
        layers: int = 1,
        bins: int = 255,
        bin_limit: float = 20.0,
        free_nats: float = 1.0,
        discount_horizon: float = 333,
    ):
        super().__init__()
        self.free_nats, self.discount_horizon = free_nats, discount_horizon
        self.feature_size = rssm.deter + rssm.groups * rssm.classes
        self.encoder, self.decoder, self.rssm = encoder, decoder, rssm
        self.reward_head = nn.Sequential(
            MLP(inputs=self.feature_size, hidden=hidden, layers=layers), Linear(hidden, bins, scale=0.0)
        )
        self.continue_head = nn.Sequential(
            MLP(inputs=self.feature_size, hidden=hidden, layers=layers), Linear(hidden, 1)
        )
        self.register_buffer("bins", two_hot_bins(bins, bin_limit), persistent=False)

    def observe(self, obs: Obs, actions: Tensor, is_first: Tensor, start: State) -> tuple[State, Tensor]:
        """Encode and filter a sequence: obs (B, T, …), actions (B, T, A), is_first (B, T) → states and logits."""
        return self.rssm.observe(self.encoder(obs), actions, is_first, start)

    def predict_obs(self, feature: Tensor) -> Obs:
        """The observation decoded from a feature, in its own units: (..., F) → (..., O), an image in bytes, or both."""
        return self.decoder.read(self.decoder(feature))

    def predict_reward(self, feature: Tensor) -> Tensor:
        """Reward that arrives with a state, (..., F) → (...)."""
        return two_hot_mean(self.reward_head(feature), self.bins)

    def predict_continue(self, feature: Tensor) -> Tensor:
        """Probability that the episode continues, times the discount, (..., F) → (...)."""
        return torch.sigmoid(self.continue_head(feature)).squeeze(-1)

    def prediction_losses(self, feature: Tensor, batch: Experience) -> dict[str, Tensor]:
        """Losses of decoder, reward head and continue head for the feature (B, T, F): three losses (B, T), by name.

        Paper: Eq. 3, L_pred. Official: `dreamerv3/agent.py: Agent.loss`. Gotcha: everything before the feature learns
        from them too.
        """
        goes_on = continue_target(batch.is_terminal, self.discount_horizon).to(feature.dtype)  # (B, T)
        return {
            "reconstruction": self.decoder.loss(self.decoder(feature), batch.obs),
            "reward": two_hot_loss(self.reward_head(feature), batch.reward, self.bins),
            "continue": F.binary_cross_entropy_with_logits(
                self.continue_head(feature).squeeze(-1), goes_on, reduction="none"
            ),
        }

    def loss(self, batch: Experience, start: State) -> tuple[dict[str, Tensor], State, dict[str, Tensor]]:
        """Unreduced losses (B, T) of a replayed batch, its posterior states, and metrics.

        batch: of (B, T, …); its action is the one that led to each step.
        Paper: Eq. 2 and 3. Official: `dreamerv3/agent.py: Agent.loss`.
        """
        states, logits = self.observe(batch.obs, batch.action, batch.is_first, start)
        posterior = unimix(logits, self.rssm.mix)  # (B, T, S, K)
        prior = unimix(self.rssm.prior(states.h), self.rssm.mix)  # (B, T, S, K)
        dyn, rep = kl_losses(posterior, prior, self.free_nats)  # (B, T) each
        losses = self.prediction_losses(states.feature, batch) | {"dyn": dyn, "rep": rep}
        metrics = {"prior_entropy": entropy(prior.detach()), "posterior_entropy": entropy(posterior.detach())}
        return losses, states, metrics
