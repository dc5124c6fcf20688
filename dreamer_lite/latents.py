"""Discrete latents: S groups, each one a die with K faces (notebook 04)."""

from torch import Tensor
import torch
import torch.nn.functional as F


def unimix(logits: Tensor, mix: float = 0.01) -> Tensor:
    """Probabilities that are never smaller than mix / K: (1 - mix) softmax(logits) + mix / K.

    Paper: "1 % unimix". Official: `embodied/jax/outs.py: Categorical`. logits: (..., K); returns the same shape.
    Gotcha: sampling, KL and straight-through gradient must all use the mixed probabilities.
    """
    return (1 - mix) * logits.softmax(-1) + mix / logits.shape[-1]


def sample(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    """Draw one-hot samples whose gradient is that of the probabilities (straight-through).

    Official: `embodied/jax/outs.py: OneHot.sample`. probs: (..., K); noise: standard Gumbel noise of the same shape, drawn
    here if not given; zeros pick the most likely class. Returns (..., K), exactly one 1 in each group.
    The class is argmax(ln p + noise), which is distributed as p (the Gumbel-max trick).
    """
    with torch.no_grad():
        if noise is None:  # a Gumbel variable is -ln(an exponential one), so ln p + noise ranks like p / exponential
            score = probs / torch.empty_like(probs).exponential_()
        else:
            score = probs.log() + noise
        one_hot = F.one_hot(score.argmax(-1), probs.shape[-1]).to(probs.dtype)
    return one_hot + (probs - probs.detach())


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) in nats, summed over groups: (..., S, K), (..., S, K) → (...).

    Paper: Eq. 3. Official: `embodied/jax/outs.py: Categorical.kl`. Both must be positive everywhere, as `unimix` makes them.
    """
    return (p * (p.log() - q.log())).sum((-2, -1))


def entropy(p: Tensor) -> Tensor:
    """Entropy in nats, summed over groups: (..., S, K) → (...). Official: `embodied/jax/outs.py: Categorical.entropy`."""
    return -(p * p.log()).sum((-2, -1))
