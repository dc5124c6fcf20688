"""The layers under everything: linear, block-diagonal linear, convolution, RMS norm, MLP (notebook 05)."""

import torch
from torch import Tensor, nn
import torch.nn.functional as F


def init_(weight: Tensor, fan_in: int, scale: float = 1.0) -> Tensor:
    """Fill with a normal of std 1/sqrt(fan_in), cut at two standard deviations, times scale; scale 0 gives zeros.

    Official: `embodied/jax/nets.py: Initializer`. The factor 1.1368 restores the variance lost by the cut.
    """
    std = 1.1368 * scale / fan_in**0.5
    return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std) if scale else nn.init.zeros_(weight)


class Linear(nn.Linear):
    """nn.Linear with the official initialisation and zero bias: (..., inputs) → (..., outputs).

    As in PyTorch, the two sizes are positional. Under autocast the product is computed in bfloat16; here and below, the
    result has the parameters' own type again, so norms, gates and losses never see another.
    """

    def __init__(self, inputs: int, outputs: int, scale: float = 1.0):
        self.scale = scale
        super().__init__(inputs, outputs)

    def reset_parameters(self) -> None:
        init_(self.weight, self.in_features, self.scale)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to(self.bias.dtype)


class BlockLinear(nn.Module):
    """A linear layer whose weight is block-diagonal, plus inputs that all blocks share.

    x: (N, inputs); block b sees its own slice. shared: (N, shared), seen by every block. Returns (N, outputs).
    Official: `embodied/jax/nets.py: BlockLinear`, which copies the shared inputs into every block; here they are one
    dense product with the same weights. Raises ValueError if the blocks do not divide inputs and outputs.
    Gotcha: the fan-in of the initialisation is the official one, the width of all blocks together, so that
    pre-activations start with 1/blocks of the usual variance.
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
        x = x.unflatten(-1, (self.blocks, self.own)).transpose(0, 1)  # (N, inputs) → (blocks, N, own)
        bias = self.bias.view(self.blocks, 1, -1)
        y = torch.baddbmm(bias, x, self.weight[: self.own].transpose(0, 1)).transpose(0, 1).flatten(1)  # (N, outputs)
        y = y if shared is None else torch.addmm(y, shared, self.weight[self.own :].flatten(1))
        return y.to(self.bias.dtype)


class Conv(nn.Conv2d):
    """nn.Conv2d with the official initialisation, for images with channels last.

    Shapes: (N, H, W, C) → (N, H/stride, W/stride, channels).
    Official: `embodied/jax/nets.py: Conv2D` with SAME padding.
    Gotcha: where the padding can't be equal on both sides, there is one more after than before.
    """

    def __init__(self, inputs: int, channels: int, kernel: int, stride: int = 1):
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        super().__init__(inputs, channels, kernel, stride, padding=before)
        self.more = after - before

    def reset_parameters(self) -> None:
        init_(self.weight, self.weight[0].numel())
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)  # (N, H, W, C) → (N, C, H, W), a view
        x = F.pad(x, (0, self.more, 0, self.more)) if self.more else x
        return super().forward(x).permute(0, 2, 3, 1).to(self.bias.dtype)  # (N, H/stride, W/stride, channels)


class DoublingConv(Conv):
    """Double the height and the width, then convolve: (N, H, W, C) → (N, 2H, 2W, channels).

    Each pixel is repeated four times; with `sparse` it stands once, below and to the right of zeros. Official:
    `dreamerv3/rssm.py: Decoder`, `Conv2D` with transp.
    Equal pixels can share one weight, the sum of theirs. So the large image is never made: a smaller kernel runs over
    the small image and gives four pixels at once, for even and odd rows and columns. Same result, in a third of the
    time.
    """

    shares: Tensor

    def __init__(self, inputs: int, channels: int, kernel: int, sparse: bool = False):
        super().__init__(inputs, channels, kernel)
        # (2, kernel) the pixel of the large image that each weight sees
        seen = torch.arange(2)[:, None] + torch.arange(kernel) - self.padding[0]
        small, nonzero = seen // 2, (seen % 2 == 1) | (not sparse)
        self.before, self.after = -int(small.min()), int(small.max())
        shares = F.one_hot(small + self.before) * nonzero[..., None]  # (2, kernel, small kernel)
        self.register_buffer("shares", shares.to(self.weight.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.einsum("oiyx, pyv, qxw -> pqoivw", self.weight, self.shares, self.shares).flatten(0, 2)
        x = F.pad(x.permute(0, 3, 1, 2), (self.before, self.after) * 2)  # (N, C, H + …, W + …)
        four = F.conv2d(x, weight, self.bias.repeat(4)).permute(0, 2, 3, 1)  # (N, H, W, 2 · 2 · channels)
        four = four.unflatten(-1, (2, 2, -1)).transpose(2, 3)  # (N, H, 2, W, 2, channels)
        return four.flatten(3, 4).flatten(1, 2).to(self.bias.dtype)  # (N, 2H, 2W, channels)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) * gain over the last axis. Official: `embodied/jax/nets.py: Norm`, eps 1e-4."""

    def __init__(self, size: int, eps: float = 1e-4):
        super().__init__()
        self.eps = eps
        self.gain = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cpu and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return Normalize.apply(x, self.gain, self.eps)
        return F.rms_norm(x, self.gain.shape, self.gain, self.eps)


class Normalize(torch.autograd.Function):
    """RMSNorm with a hand-written gradient: with y = r x and r = 1 / sqrt(mean(x²) + eps), dx = r (dy - y mean(y dy)).

    On a CPU it takes 0.4 to 0.95 of the time of PyTorch's own, which needs a dozen operations. It has no second
    derivative, and raises RuntimeError where one is asked for.
    """

    @staticmethod
    def forward(ctx, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        r = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)  # (..., 1)
        y = x * r
        ctx.save_for_backward(y, r, gain)
        return y * gain

    @staticmethod
    def backward(ctx, d: Tensor) -> tuple[Tensor, Tensor, None]:
        if torch.is_grad_enabled():  # y and r would count as constants
            raise RuntimeError("RMSNorm has no second derivative here; compute it with torch.nn.functional.rms_norm")
        y, r, gain = ctx.saved_tensors
        to_gain = d * y
        mean = (to_gain @ gain)[..., None] / len(gain)  # (..., 1) the mean of y dy over each row, with dy = d gain
        return torch.addcmul(d * gain, y, mean, value=-1).mul_(r), to_gain.flatten(0, -2).sum(0), None


class MLP(nn.Sequential):
    """Layers of [Linear, RMSNorm, SiLU]: (..., inputs) → (..., hidden). Official: `embodied/jax/nets.py: MLP`."""

    def __init__(self, *, inputs: int, hidden: int, layers: int = 1):
        sizes = [inputs] + [hidden] * layers
        super().__init__(*(m for i, o in zip(sizes, sizes[1:]) for m in (Linear(i, o), RMSNorm(o), nn.SiLU())))
