"""Encoders and decoders, one pair per kind of observation, chosen in one place (notebooks 06 and A2)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from .errors import Refused
from .nets import MLP, BlockLinear, Conv, DoublingConv, Linear, RMSNorm
from .symlog import symexp, symlog

Choices = Sequence[tuple[int, int]]  # as in `Spaces.obs_choices`


def options_at(obs_size: int, choices: Choices) -> Tensor:
    """How many options the choice has that each of O observed numbers belongs to, (O,); 0 where it is just a number."""
    found = torch.zeros(obs_size, dtype=torch.int64)
    for start, options in choices:
        found[start : start + options] = options
    return found


def neighbours(choices: Choices) -> list[tuple[slice, int]]:
    """The places of one-hot choices, and their options; those side by side with as many options are one place."""
    found: list[tuple[slice, int]] = []
    for start, options in choices:
        near = found and (found[-1][0].stop, found[-1][1]) == (start, options)
        first = found.pop()[0].start if near else start
        found.append((slice(first, start + options), options))
    return found


class VectorEncoder(MLP):
    """symlog(observation) → tokens, (..., O) → (..., hidden). Official: `dreamerv3/rssm.py: Encoder`.

    choices: which numbers are choices, as in `Spaces.obs_choices`; those are 0 or 1, and stay as they are.
    """

    numbers: Tensor

    def __init__(self, *, obs_size: int, hidden: int, layers: int, choices: Choices = ()):
        super().__init__(inputs=obs_size, hidden=hidden, layers=layers)
        self.token_size, self.choices = hidden, choices
        if choices:
            self.register_buffer("numbers", options_at(obs_size, choices) == 0, persistent=False)

    def forward(self, obs: Tensor) -> Tensor:
        squashed = torch.where(self.numbers, symlog(obs), obs) if self.choices else symlog(obs)  # (..., O)
        return super().forward(squashed)  # (..., hidden)


class VectorDecoder(nn.Sequential):
    """Feature → predicted symlog(observation), (..., F) → (..., O). Official: `dreamerv3/rssm.py: Decoder`.

    choices: which numbers are choices, as in `Spaces.obs_choices`; their predictions are logits instead.
    Gotcha: the prediction stays in symlog space, or logits; `read` gives an observation. The official decoder reads
    [z, h] where every other head reads [h, z]; here all read [h, z], the same function with its input columns in
    another order.
    """

    numbers: Tensor
    flags: Tensor

    def __init__(self, *, feature_size: int, obs_size: int, hidden: int, layers: int, choices: Choices = ()):
        super().__init__(MLP(inputs=feature_size, hidden=hidden, layers=layers), Linear(hidden, obs_size))
        self.choices = choices
        self.one_hots = neighbours([choice for choice in choices if choice[1] > 1])
        if choices:
            options = options_at(obs_size, choices)
            self.register_buffer("numbers", options == 0, persistent=False)
            self.register_buffer("flags", options == 1, persistent=False)

    def loss(self, prediction: Tensor, obs: Tensor) -> Tensor:
        """Squared error in symlog space, summed over the observation, without a factor 1/2; nats for choices.

        Shapes: (..., O) → (...). Paper: Eq. 8. Official: `embodied/jax/heads.py: Head`, symlog_mse and categorical.
        """
        error = (prediction - symlog(obs)).square()  # (..., O)
        if not self.choices:
            return error.sum(-1)
        nats = F.softplus(prediction) - prediction * obs  # of a yes or no
        loss = torch.where(self.numbers, error, nats * self.flags).sum(-1)
        for part, options in self.one_hots:
            logits, chosen = (x[..., part].unflatten(-1, (-1, options)) for x in (prediction, obs))
            loss = loss - (logits.log_softmax(-1) * chosen).sum((-2, -1))
        return loss

    def read(self, prediction: Tensor) -> Tensor:
        """The predicted observation in its own units, (..., O) → (..., O); of a choice, the probabilities."""
        if not self.choices:
            return symexp(prediction)
        values = torch.where(self.flags, prediction.sigmoid(), symexp(prediction))
        for part, options in self.one_hots:
            values[..., part] = prediction[..., part].unflatten(-1, (-1, options)).softmax(-1).flatten(-2)
        return values


class ImageEncoder(nn.Module):
    """Image in bytes → tokens, (..., height, width, channels) → (..., token_size).

    Each layer: convolution to depth · mults[i] channels, the maximum of each 2 × 2 pixels, RMSNorm over the channels of
    each pixel, SiLU. strided: a convolution with stride 2 instead of the maximum.
    Official: `dreamerv3/rssm.py: Encoder`.
    Gotcha: images are scaled to -0.5…0.5, so the zeros around them are grey; the norm comes after the pooling.
    """

    def __init__(
        self, *, image: Sequence[int], depth: int, mults: Sequence[int], kernel: int = 5, strided: bool = False
    ):
        super().__init__()
        height, width, channels = image
        sizes = [channels, *(depth * mult for mult in mults)]
        self.strided = strided
        self.convs = nn.ModuleList(Conv(i, o, kernel, stride=1 + strided) for i, o in zip(sizes, sizes[1:]))
        self.norms = nn.ModuleList(RMSNorm(o) for o in sizes[1:])
        self.token_size = height * width // 4 ** len(mults) * sizes[-1]

    def forward(self, image: Tensor) -> Tensor:
        x = image.flatten(0, -4).to(self.norms[0].gain.dtype) / 255 - 0.5  # (N, height, width, channels)
        for conv, norm in zip(self.convs, self.norms):
            x = conv(x)  # (N, H, W, C) → (N, H, W, C'), half as high and wide if strided
            x = x if self.strided else pooled(x)  # (N, H/2, W/2, C')
            x = F.silu(norm(x))
        return x.reshape(*image.shape[:-3], -1)  # (..., token_size), read row by row, pixel by pixel


class ImageDecoder(nn.Module):
    """Feature → predicted image with brightness 0 to 1, (..., F) → (..., height, width, channels).

    h and z become a small image: h by a block-diagonal layer, in which each block makes some channels of all pixels, z
    by two dense layers; their sum goes through RMSNorm and SiLU. Then each layer doubles height and width and
    convolves.
    bspace: blocks of that first layer; 0: one dense layer for h and z together.
    Official: `dreamerv3/rssm.py: Decoder`. Raises ValueError if bspace doesn't divide deter and channels.
    Gotcha: in the layer's output the blocks come before height and width, not after them with the channels.
    """

    def __init__(
        self,
        *,
        image: Sequence[int],
        deter: int,
        latent: int,
        hidden: int,
        depth: int,
        mults: Sequence[int],
        kernel: int = 5,
        bspace: int = 8,
        strided: bool = False,
    ):
        super().__init__()
        height, width, channels = image
        sizes = [depth * mult for mult in mults]  # the channels of the smallest image come last
        self.small = (height >> len(mults), width >> len(mults), sizes[-1])
        self.deter, self.bspace = deter, bspace
        pixels = self.small[0] * self.small[1] * self.small[2]
        if bspace and sizes[-1] % bspace:
            raise ValueError(f"{sizes[-1]} channels cannot be split into {bspace} equal blocks")
        if bspace:
            self.from_h = BlockLinear(inputs=deter, outputs=pixels, blocks=bspace)
            self.from_z = nn.Sequential(MLP(inputs=latent, hidden=2 * hidden), Linear(2 * hidden, pixels))
        else:
            self.from_both = Linear(deter + latent, pixels)
        self.norm = RMSNorm(sizes[-1])
        pairs = list(zip(sizes, sizes[1:]))[::-1]
        self.convs = nn.ModuleList(DoublingConv(i, o, kernel, sparse=strided) for o, i in pairs)
        self.norms = nn.ModuleList(RMSNorm(o) for o, _ in pairs)
        self.out = DoublingConv(sizes[0], channels, kernel, sparse=strided)

    def forward(self, feature: Tensor) -> Tensor:
        x = F.silu(self.norm(self.project(feature.flatten(0, -2))))  # (N, F) → (N, h, w, c)
        for conv, norm in zip(self.convs, self.norms):
            x = F.silu(norm(conv(x)))  # (N, H, W, C) → (N, 2H, 2W, C')
        x = torch.sigmoid(self.out(x))  # (N, height, width, channels)
        return x.unflatten(0, feature.shape[:-1])  # (..., height, width, channels)

    def project(self, feature: Tensor) -> Tensor:
        """h and z laid out in space, (N, F) → (N, h, w, c)."""
        height, width, channels = self.small
        if not self.bspace:
            return self.from_both(feature).unflatten(-1, self.small)  # (N, h, w, c)
        h, z = feature[:, : self.deter], feature[:, self.deter :]  # (N, D), (N, S·K)
        # (N, blocks, h, w, c / blocks) → (N, h, w, c)
        blocks = self.from_h(h).view(-1, self.bspace, height, width, channels // self.bspace)
        return blocks.permute(0, 2, 3, 1, 4).flatten(3) + self.from_z(z).unflatten(-1, self.small)

    def loss(self, prediction: Tensor, image: Tensor) -> Tensor:
        """Squared error of the brightness, summed over pixels and channels.

        Shapes: (..., height, width, channels) → (...). Paper: Eq. 3.
        """
        return (prediction - image.to(prediction.dtype) / 255).square().sum((-3, -2, -1))  # (...)

    def read(self, prediction: Tensor) -> Tensor:
        """The predicted image in bytes."""
        return (prediction * 255).round().to(torch.uint8)


class MixedEncoder(nn.Module):
    """Tokens of a vector and of an image, in this order.

    Shapes: {"vector": (..., O), "image": (..., H, W, C)} → (..., token_size).
    """

    def __init__(self, vector: VectorEncoder, image: ImageEncoder):
        super().__init__()
        self.vector, self.image = vector, image
        self.token_size = vector.token_size + image.token_size

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return torch.cat([self.vector(obs["vector"]), self.image(obs["image"])], -1)  # (..., token_size)


class MixedDecoder(nn.Module):
    """Predicts a vector and an image; both losses have the same weight, as officially."""

    def __init__(self, vector: VectorDecoder, image: ImageDecoder):
        super().__init__()
        self.vector, self.image = vector, image

    def forward(self, feature: Tensor) -> dict[str, Tensor]:
        return {"vector": self.vector(feature), "image": self.image(feature)}

    def loss(self, prediction: dict[str, Tensor], obs: dict[str, Tensor]) -> Tensor:
        return self.vector.loss(prediction["vector"], obs["vector"]) + self.image.loss(
            prediction["image"], obs["image"]
        )

    def read(self, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"vector": self.vector.read(prediction["vector"]), "image": self.image.read(prediction["image"])}


def pooled(x: Tensor) -> Tensor:
    """The maximum of each 2 × 2 pixels, (N, H, W, C) → (N, H/2, W/2, C)."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def make_codec(
    *,
    obs_size: int,
    choices: Choices,
    image: Sequence[int],
    deter: int,
    latent: int,
    hidden: int,
    encoder_layers: int,
    decoder_layers: int,
    depth: int,
    mults: Sequence[int],
    kernel: int,
    bspace: int,
    strided: bool,
) -> tuple[Any, Any]:
    """Encoder and decoder for these observations: a vector, an image, or both.

    choices: which numbers of the vector are choices, as in `Spaces.obs_choices`. Raises Refused for an unsuitable image
    size.
    """
    pairs = []
    if obs_size:
        sizes = dict(obs_size=obs_size, hidden=hidden, choices=choices)
        decoder = VectorDecoder(feature_size=deter + latent, layers=decoder_layers, **sizes)
        pairs.append((VectorEncoder(layers=encoder_layers, **sizes), decoder))
    if image:
        sizes = dict(image=image, depth=depth, mults=fitting_mults(image, mults), kernel=kernel, strided=strided)
        channels = depth * sizes["mults"][-1]
        blocks = next((n for n in range(bspace, 0, -1) if channels % n == 0 and deter % n == 0), 0)
        decoder = ImageDecoder(deter=deter, latent=latent, hidden=hidden, bspace=blocks, **sizes)
        pairs.append((ImageEncoder(**sizes), decoder))
    if len(pairs) == 1:
        return pairs[0]
    encoders, decoders = zip(*pairs)
    return MixedEncoder(*encoders), MixedDecoder(*decoders)


def fits_when_halved(height: int, width: int) -> bool:
    """Whether halving both evenly, as often as needed, leaves 3 to 16 pixels of each."""
    while max(height, width) > 16 and height % 2 == width % 2 == 0:
        height, width = height // 2, width // 2
    return 3 <= min(height, width) and max(height, width) <= 16


def fitting_mults(image: Sequence[int], mults: Sequence[int]) -> list[int]:
    """As many layers as halve height and width evenly and leave at least 3 pixels of each.

    At most 16 may be left, as officially. Raises Refused for an image that can't be brought into that range.
    """
    height, width, _ = image
    i = 0
    while i < len(mults) and height % 2 == width % 2 == 0 and min(height, width) >= 6:
        height, width, i = height // 2, width // 2, i + 1
    if not i or max(height, width) > 16 or min(height, width) < 3:
        more = height % 2 == width % 2 == 0 and fits_when_halved(height, width)
        todo = "give more --mults" if more else "resize them, for example to 64 × 64 with --pixels 64"
        raise Refused(
            f"images of {image[0]} × {image[1]} are not supported with {len(mults)} layers, each of which halves even "
            f"sides: {height} × {width} pixels are left, and each side must end with 3 to 16; {todo}"
        )
    return list(mults[:i])
