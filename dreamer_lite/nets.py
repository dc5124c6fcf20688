"""The layers under everything: linear, block-diagonal linear, RMS norm, MLP (notebook 05)."""

from typing import Callable

from torch import Tensor, nn
import torch
import torch.nn.functional as F


def init_(weight: Tensor, fan_in: int, scale: float = 1.0) -> Tensor:
    """Fill with a normal of std 1/sqrt(fan_in), cut at two standard deviations, times scale; scale 0 gives zeros.

    Official: `embodied/jax/nets.py: Initializer`. 1.1368 restores the variance that the cut takes away.
    """
    std = 1.1368 * scale / fan_in**0.5
    return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std) if scale else nn.init.zeros_(weight)


class Linear(nn.Linear):
    """nn.Linear with the official initialisation: (..., inputs) → (..., outputs), zero bias. As in PyTorch, the two sizes go by position."""

    def __init__(self, inputs: int, outputs: int, scale: float = 1.0):
        self.scale = scale
        super().__init__(inputs, outputs)

    def reset_parameters(self) -> None:
        init_(self.weight, self.in_features, self.scale)
        nn.init.zeros_(self.bias)


class BlockLinear(nn.Module):
    """A linear layer whose weight is block-diagonal, plus inputs that all blocks share.

    x: (N, inputs), block b sees its own slice; shared: (N, shared) is seen by every block. Returns (N, outputs).
    Official: `embodied/jax/nets.py: BlockLinear`, which copies the shared inputs into every block; here they are one
    dense product with the same weights. Gotcha: the fan-in of the initialisation is the official one, the width of
    all blocks together, so that pre-activations start with 1/blocks of the usual variance.
    Raises ValueError if the blocks do not divide inputs and outputs.
    """

    def __init__(self, *, inputs: int, outputs: int, blocks: int, shared: int = 0):
        super().__init__()
        if inputs % blocks or outputs % blocks:
            raise ValueError(f"{inputs} inputs and {outputs} outputs cannot be split into {blocks} equal blocks")
        self.blocks, self.own = blocks, inputs // blocks
        weight = torch.empty(self.own + shared, blocks, outputs // blocks)
        self.weight = nn.Parameter(init_(weight, blocks * (self.own + shared)))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, shared: Tensor | None = None) -> Tensor:
        y = self.by_block(x).transpose(0, 1).flatten(1)  # (N, outputs)
        return y if shared is None else y.addmm(shared, self.weight[self.own :].flatten(1))

    def by_block(self, x: Tensor) -> Tensor:
        """What each block puts out, before it is laid side by side: (N, inputs) → (blocks, N, outputs / blocks)."""
        x = x.unflatten(-1, (self.blocks, self.own)).transpose(0, 1)  # (blocks, N, own)
        return torch.baddbmm(self.bias.view(self.blocks, 1, -1), x, self.weight[: self.own].transpose(0, 1))


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) * gain over the last axis. Official: `embodied/jax/nets.py: Norm`, eps 1e-4."""

    def __init__(self, size: int, eps: float = 1e-4):
        super().__init__()
        self.eps = eps
        self.gain = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.gain.shape, self.gain, self.eps)


def in_pieces(function: Callable[[Tensor], Tensor], x: Tensor, rows: int = 1024) -> Tensor:
    """One number per row, function((n, F)) → (n,), for x of (..., F), in pieces of so many rows: (...).

    On a CPU what lies between a head's layers then stays in the cache. A GPU gets all rows at once.
    """
    flat = x.reshape(-1, x.shape[-1])
    pieces = flat.split(rows) if x.device.type == "cpu" else [flat]
    return torch.cat([function(piece) for piece in pieces]).view(x.shape[:-1])


class MLP(nn.Sequential):
    """Layers of [Linear, RMSNorm, SiLU]: (..., inputs) → (..., hidden). Official: `embodied/jax/nets.py: MLP`."""

    def __init__(self, *, inputs: int, hidden: int, layers: int = 1):
        sizes = [inputs] + [hidden] * layers
        super().__init__(*(m for i, o in zip(sizes, sizes[1:]) for m in (Linear(i, o), RMSNorm(o), nn.SiLU())))
