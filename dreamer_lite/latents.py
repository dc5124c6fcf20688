"""Discrete latents: S groups, each a die with K faces (notebook 04)."""

import torch
from torch import Tensor

REGISTER = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8  # float32 numbers in a vector register


def unimix(logits: Tensor, mix: float = 0.01) -> Tensor:
    """Probabilities that are never smaller than mix / K, nor 0: (1 - mix) softmax(logits) + mix / K.

    Paper: "1 % unimix". Official: `embodied/jax/outs.py: Categorical`. logits: (..., S, K); returns the same shape.
    Gotcha: sampling, KL and straight-through gradient must all use the mixed probabilities.
    """
    probs, floor, tiny = softmax(logits), mix / logits.shape[-1], torch.finfo(logits.dtype).tiny
    # Without a floor, softmax is exactly 0 for logits 104 nats apart, and p ln p is then not a number.
    return probs.clamp(min=tiny) if floor < tiny else (1 - mix) * probs + floor


def softmax(logits: Tensor) -> Tensor:
    """softmax over the last axis, (..., S, K) → (..., S, K).

    Where the axis is shorter than a vector register, PyTorch's softmax on a CPU is 2 to 9 times as fast if the axis
    isn't the last; where it is longer, half as fast (forward, one core of an AMD EPYC).
    """
    if torch.compiler.is_compiling() or logits.shape[-1] >= REGISTER:
        return logits.softmax(-1)
    return logits.mT.softmax(-2).mT.contiguous()


def sample(probs: Tensor, noise: Tensor | None = None) -> Tensor:
    """Draw one-hot samples with the gradient of the probabilities (straight-through).

    Official: `embodied/jax/outs.py: OneHot.sample`. probs: (..., K). Returns (..., K), exactly one 1 in each group.
    The class is argmax(ln p + noise), which is distributed as p (the Gumbel-max trick). noise: standard Gumbel noise of
    the same shape, drawn here if not given; zeros pick the most likely class.
    """
    with torch.no_grad():
        noise = gumbel(probs, *probs.shape) if noise is None else noise
        index = (probs.log() + noise).argmax(-1)  # (..., K) → (...)
        one_hot = torch.zeros_like(probs).scatter_(-1, index[..., None], 1)  # (..., K)
    return one_hot + (probs - probs.detach()) if probs.requires_grad else one_hot


def gumbel(like: Tensor, *shape: int) -> Tensor:
    """Standard Gumbel noise of this shape, -ln(-ln u) with uniform u, in the dtype and on the device of `like`."""
    return -(-torch.rand(shape, dtype=like.dtype, device=like.device).log()).log()


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) in nats, summed over groups: (..., S, K), (..., S, K) → (...).

    Paper: Eq. 3. Official: `embodied/jax/outs.py: Categorical.kl`. Both must be positive everywhere, as `unimix` makes
    them.
    """
    return (p * (p.log() - q.log())).sum((-2, -1))


def entropy(p: Tensor) -> Tensor:
    """Entropy in nats, summed over groups: (..., S, K) → (...).

    Official: `embodied/jax/outs.py: Categorical.entropy`.
    """
    return -(p * p.log()).sum((-2, -1))
