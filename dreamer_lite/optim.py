"""LaProp with adaptive gradient clipping and warm-up, over one flat vector of parameters (notebook 06)."""

from collections.abc import Iterable
import math
from typing import Any

import torch
from torch import Tensor, nn


class LaProp:
    """The optimizer of DreamerV3: clip each tensor, divide by the RMS of gradients, THEN average (momentum).

        g ← g / max(1, |g| / (clip · max(min_norm, |w|)))                      per parameter tensor
        ν ← β2 ν + (1 - β2) g²,   n = g / (sqrt(ν / (1 - β2^k)) + eps)
        μ ← β1 μ + (1 - β1) n,    w ← w - lr · min(1, (k - 1) / warmup) · μ / (1 - β1^k)

    Paper: "LaProp", "AGC". Official: `embodied/jax/opt.py`: clip_by_agc, scale_by_rms, scale_by_momentum.
    groups: pairs of a module (or its parameters) and its learning rate. All parameters become views of one flat vector,
    all gradients views of another: a step is a few operations on long vectors instead of a dozen on each small tensor.
    deepcopy, pickle, `zero_grad` and `load_state_dict(assign=True)` break that link; each step restores it first.
    Parameters whose `requires_grad` is false stay as they are. Raises ValueError if a module has moved to another
    device, or if its parameters have changed shape or dtype.
    Gotcha: the very first step has rate 0. Adam averages before it divides, LaProp after, so one huge gradient moves
    weights by one normal step at most.
    """

    def __init__(
        self,
        groups: list[tuple[nn.Module | Iterable[nn.Parameter], float]],
        warmup: int = 1000,
        clip: float = 0.3,
        min_norm: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-20,
    ):
        self.warmup, self.clip, self.min_norm, self.betas, self.eps = warmup, clip, min_norm, betas, eps
        self.owners = [owner if isinstance(owner, nn.Module) else list(owner) for owner, _ in groups]
        params = self.params()
        sizes = torch.tensor([p.numel() for p in params])
        device = params[0].device
        self.weights = torch.cat([p.detach().flatten() for p in params])
        self.gradients = torch.zeros_like(self.weights)
        # The number of the tensor that each weight belongs to.
        self.tensor_of = torch.repeat_interleave(torch.arange(len(params)), sizes).to(device)
        rates = torch.tensor([float(rate) for owner, (_, rate) in zip(self.owners, groups) for _ in listed(owner)])
        self.rates = torch.repeat_interleave(rates, sizes).to(self.weights)
        self.cut()
        self.mean, self.square = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.count = torch.zeros((), dtype=torch.int64, device=device)  # steps taken; a tensor, so nothing waits for it
        self.adopt()

    def cut(self) -> None:
        """Cut the flat vectors into the shapes of the parameters."""
        params = self.params()
        self.weight_views, self.gradient_views = (views(flat, params) for flat in (self.weights, self.gradients))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("weight_views", "gradient_views")}

    def __setstate__(self, state: dict[str, Any]) -> None:  # pickled one by one, the views would be views no more
        vars(self).update(state)
        self.cut()

    def params(self) -> list[nn.Parameter]:
        return [p for owner in self.owners for p in listed(owner)]

    @torch.no_grad()
    def adopt(self) -> list[Tensor]:
        """Make every parameter and gradient a view of the flat vectors again, where it isn't, keeping its values.

        Returns the parameters that are frozen, since they want no gradient.
        """
        frozen = []
        for p, weight, gradient in zip(self.params(), self.weight_views, self.gradient_views, strict=True):
            if (p.shape, p.device, p.dtype) != (weight.shape, weight.device, weight.dtype):
                raise ValueError(
                    f"the optimizer was made for a {weight.dtype} parameter of shape {tuple(weight.shape)} on "
                    f"{weight.device}; it is now {p.dtype}, {tuple(p.shape)}, on {p.device}. Make a new optimizer "
                    "after such a change"
                )
            if p.data_ptr() != weight.data_ptr() or not p.is_contiguous():
                weight.copy_(p.clone())
                p.data = weight.view_as(p)
            if not p.requires_grad:
                frozen.append(weight)
            if p.grad is None or p.grad.data_ptr() != gradient.data_ptr():
                gradient.zero_() if p.grad is None else gradient.copy_(p.grad)
                p.grad = gradient.view_as(p)  # new: PyTorch changes a gradient in place when its module moves
        return frozen

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Set all gradients to 0, in place: they stay views of one vector, whatever `set_to_none` asks for."""
        self.adopt()
        self.gradients.zero_()

    @torch.no_grad()
    def step(self) -> None:
        """Update the weights once, with the gradients accumulated since `zero_grad`."""
        frozen = self.adopt()
        before = [weight.clone() for weight in frozen]  # what they learned before moves them by its momentum
        self.clip_gradients()
        beta1, beta2 = self.betas
        warmth = (self.count.to(self.weights.dtype) / self.warmup).clamp(max=1) if self.warmup else 1
        self.count += 1
        self.square.lerp_(self.gradients.square(), 1 - beta2)
        rms = (self.square / self.gathered(beta2)).sqrt_().add_(self.eps)
        self.mean.lerp_(self.gradients / rms, 1 - beta1)
        self.weights.sub_(self.mean * self.rates * (warmth / self.gathered(beta1)))
        for weight, value in zip(frozen, before):
            weight.copy_(value)

    def gathered(self, beta: float) -> Tensor:
        """1 - β^k, the share of its final weight that a running average has after k steps, without cancellation."""
        k = self.count.to(self.weights.dtype)
        return -torch.expm1(k * math.log(beta)) if beta else torch.ones_like(k)

    def clip_gradients(self) -> None:
        """Scale each tensor's gradient so that its norm is at most clip · max(min_norm, norm of its weights)."""
        norms = torch.stack(torch._foreach_norm(self.gradient_views))
        limits = self.clip * torch.stack(torch._foreach_norm(self.weight_views)).clamp(min=self.min_norm)
        scales = 1 / (norms / limits).clamp(min=1)
        self.gradients.mul_(scales.index_select(0, self.tensor_of))  # faster than brackets


def views(flat: Tensor, params: list[nn.Parameter]) -> list[Tensor]:
    """The flat vector cut into the shapes of the parameters."""
    return [part.view_as(p) for part, p in zip(flat.split([p.numel() for p in params]), params)]


def listed(owner: nn.Module | list[nn.Parameter]) -> list[nn.Parameter]:
    return list(owner.parameters()) if isinstance(owner, nn.Module) else owner
