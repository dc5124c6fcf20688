"""Discrete latents: S groups, each one a die with K faces (notebook 04)."""

import torch
from torch import Tensor


def unimix(logits: Tensor, mix: float = 0.01) -> Tensor:
    """Probabilities that are never smaller than mix / K: (1 - mix) softmax(logits) + mix / K.

    Paper: "1 % unimix". Official: `embodied/jax/outs.py: Categorical`. logits: (..., S, K); returns the same shape.
    Gotcha: sampling, KL and straight-through gradient must all use the mixed probabilities.
    """
    return (1 - mix) * logits.softmax(-1) + mix / logits.shape[-1]


def sample(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    """Draw one-hot samples whose gradient is that of the probabilities (straight-through).

    Official: `embodied/jax/outs.py: OneHot.sample`. probs: (..., K). Returns (..., K), exactly one 1 in each group.
    noise: standard Gumbel noise of the same shape, for repeatable draws: the class is then argmax(ln p + noise), which is
    distributed as p (the Gumbel-max trick); zeros pick the most likely class. Without it one uniform number per group
    picks the class in whose stretch of the cumulative probability it falls.
    """
    classes = probs.shape[-1]
    with torch.no_grad():
        if noise is None:
            uniform = torch.rand(*probs.shape[:-1], 1, dtype=probs.dtype, device=probs.device)  # (..., 1)
            index = (probs.cumsum(-1) <= uniform).sum(-1).clamp(max=classes - 1)  # (..., K) → (...)
        else:
            index = (probs.log() + noise).argmax(-1)  # (..., K) → (...)
        one_hot = torch.zeros_like(probs).scatter_(-1, index[..., None], 1)  # (..., K)
    return one_hot + (probs - probs.detach())


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) in nats, summed over groups: (..., S, K), (..., S, K) → (...).

    Paper: Eq. 3. Official: `embodied/jax/outs.py: Categorical.kl`. Both must be positive everywhere, as `unimix` makes them.
    """
    return (p * (p.log() - q.log())).sum((-2, -1))


def entropy(p: Tensor) -> Tensor:
    """Entropy in nats, summed over groups: (..., S, K) → (...). Official: `embodied/jax/outs.py: Categorical.entropy`."""
    return -(p * p.log()).sum((-2, -1))
