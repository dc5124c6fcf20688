"""Learning without touching the world: the policy, the return scale, the actor loss (notebook 09)."""

from collections.abc import Sequence
from functools import partial
import math

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from .latents import gumbel, sample
from .nets import MLP, Linear


class Categorical:
    """A choice among A actions, as one-hot vectors. A plain softmax: the official policy head applies no unimix.

    noise(steps): random numbers for `steps` samples, (N, steps, A), from a policy of (N, A).
    """

    def __init__(self, logits: Tensor):
        self.log_probs = logits.log_softmax(-1)  # (..., A)

    def sample(self, noise: Tensor | None = None) -> Tensor:
        return sample(self.log_probs.exp(), noise)  # (..., A)

    def noise(self, steps: int) -> Tensor:
        return gumbel(self.log_probs, len(self.log_probs), steps, self.log_probs.shape[-1])  # (N, steps, A)

    @property
    def mode(self) -> Tensor:
        return F.one_hot(self.log_probs.argmax(-1), self.log_probs.shape[-1]).to(self.log_probs.dtype)  # (..., A)

    def log_prob(self, action: Tensor) -> Tensor:
        return (action * self.log_probs).sum(-1)  # (..., A) → (...)

    def entropy(self) -> Tensor:
        return -(self.log_probs.exp() * self.log_probs).sum(-1)  # (..., A) → (...)


class BoundedNormal:
    """Independent normals with mean in (-1, 1) and std in (low, high). Samples are not clipped.

    Official: `embodied/jax/heads.py: Head.bounded_normal`, `embodied/jax/outs.py: Normal`.
    """

    def __init__(self, mean: Tensor, std: Tensor, low: float = 0.1, high: float = 1.0):
        self.mode = torch.tanh(mean)  # (..., A)
        self.std = low + (high - low) * torch.sigmoid(std + 2)  # (..., A)

    def sample(self, noise: Tensor | None = None) -> Tensor:
        return self.mode + self.std * (torch.randn_like(self.mode) if noise is None else noise)

    def noise(self, steps: int) -> Tensor:
        return torch.randn_like(self.mode[:, None].expand(-1, steps, -1))  # (N, A) → (N, steps, A)

    def log_prob(self, action: Tensor) -> Tensor:
        z = (action - self.mode) / self.std
        return (-0.5 * z.square() - self.std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)  # (..., A) → (...)

    def entropy(self) -> Tensor:
        return (0.5 + 0.5 * math.log(2 * math.pi) + self.std.log()).sum(-1)  # (..., A) → (...)


class Joint:
    """Several choices at once, or choices and numbers: independent, so log-probabilities and entropies add up.

    parts: their distributions; sizes: the length of each one's action, which stand side by side and add up to A.
    Official: `dreamerv3/agent.py: imag_loss` (sums over the policy's keys), `embodied/jax/outs.py: Agg`.
    """

    def __init__(self, parts: Sequence[Categorical | BoundedNormal], sizes: Sequence[int]):
        self.parts, self.sizes = list(parts), list(sizes)

    def sample(self, noise: Tensor | None = None) -> Tensor:
        noises = [None] * len(self.parts) if noise is None else noise.split(self.sizes, -1)
        return torch.cat([part.sample(piece) for part, piece in zip(self.parts, noises)], -1)  # (..., A)

    def noise(self, steps: int) -> Tensor:
        return torch.cat([part.noise(steps) for part in self.parts], -1)  # (N, steps, A)

    @property
    def mode(self) -> Tensor:
        return torch.cat([part.mode for part in self.parts], -1)  # (..., A)

    def log_prob(self, action: Tensor) -> Tensor:
        return sum(part.log_prob(piece) for part, piece in zip(self.parts, action.split(self.sizes, -1)))

    def entropy(self) -> Tensor:
        return sum(part.entropy() for part in self.parts)


class Actor(nn.Module):
    """The policy: feature (..., F) → a distribution over actions of size A.

    Official: `dreamerv3/agent.py: Agent` (pol). choices: the number of options of each choice, () for a single one over
    all A. discrete: there are only choices. Otherwise the rest of A are numbers, with standard deviations between
    min_std and max_std. One choice is a `Categorical`, numbers are a `BoundedNormal`, all else is `Joint`.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        action_size: int,
        hidden: int,
        layers: int = 3,
        discrete: bool = True,
        choices: Sequence[int] = (),
        min_std: float = 0.1,
        max_std: float = 1.0,
    ):
        super().__init__()
        self.choices = list(choices) or [action_size] * discrete
        self.numbers = action_size - sum(self.choices)
        self.normal = partial(BoundedNormal, low=min_std, high=max_std)
        self.net = MLP(inputs=feature_size, hidden=hidden, layers=layers)
        sizes = [sum(self.choices), self.numbers, self.numbers]  # logits, means, standard deviations
        self.heads = nn.ModuleList(Linear(hidden, size, scale=0.01) for size in sizes if size)

    def forward(self, feature: Tensor) -> Categorical | BoundedNormal | Joint:
        hidden = self.net(feature)  # (..., F) → (..., hidden)
        return self.distribution(*(head(hidden) for head in self.heads))

    def distribution(self, *outputs: Tensor) -> Categorical | BoundedNormal | Joint:
        logits, normal = outputs[: len(outputs) - 2 * bool(self.numbers)], outputs[-2:]
        parts = [Categorical(part) for part in logits[0].split(self.choices, -1)] if logits else []
        parts += [self.normal(*normal)] if self.numbers else []
        return parts[0] if len(parts) == 1 else Joint(parts, [*self.choices, self.numbers][: len(parts)])


class ReturnScale(nn.Module):
    """How far apart good and bad returns are: a running 5th-to-95th percentile range, never below 1.

    Paper: Eq. 7. Official: `embodied/jax/utils.py: Normalize`.
    Gotcha: it starts at 0, is not debiased, and is updated BEFORE it is used.
    """

    def __init__(self, rate: float = 0.01, limit: float = 1.0, low: float = 0.05, high: float = 0.95):
        super().__init__()
        self.rate, self.limit = rate, limit
        self.register_buffer("levels", torch.tensor([float(low), float(high)]), persistent=False)
        self.register_buffer("range", torch.zeros(2))

    @torch.no_grad()
    def update(self, returns: Tensor) -> Tensor:
        """Take in a batch of returns of any shape; returns the new scale, a number ≥ limit."""
        self.range.lerp_(torch.quantile(returns.flatten(), self.levels), self.rate)
        return (self.range[1] - self.range[0]).clamp(min=self.limit)


def actor_loss(
    log_probs: Tensor, entropies: Tensor, advantages: Tensor, weights: Tensor, entropy_scale: float = 3e-4
) -> Tensor:
    """REINFORCE with an entropy bonus: - weight (sg(advantage) log π(a) + η entropy), all (N, H) → (N, H).

    Paper: Eq. 6. Official: `dreamerv3/agent.py: imag_loss`. advantages: (return - value) / scale.
    weights: the product of the continues up to and including each state, so that steps after an imagined end count
    nothing. Gotcha: the entropy bonus is weighted too, and continuous actions use REINFORCE as well.
    """
    return -weights.detach() * (advantages.detach() * log_probs + entropy_scale * entropies)
