"""Exercises of notebook A2: a picture for a network, what a layer costs, the state laid out in space, the loss of a picture."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...codecs import ImageDecoder
from ..exercise import Exercise, Mistake, hundredths, normal, uniform


def to_network(image: Tensor) -> Tensor:
    """Pictures in bytes for PyTorch's convolutions: (..., height, width, channels) → (N, channels, height, width), from -0.5 to 0.5.

    The axes in front, batch and time, become one. The package: `codecs.ImageEncoder`, `nets.Conv`.
    """
    x = image.flatten(0, -4).float() / 255 - 0.5
    return x.permute(0, 3, 1, 2)


def layer_cost(height: int, width: int, inputs: int, channels: int, kernel: int) -> tuple[int, int]:
    """Weights of a convolution with a bias, and products that it takes for one picture of this size."""
    return kernel**2 * inputs * channels + channels, height * width * kernel**2 * inputs * channels


def picture_loss(prediction: Tensor, image: Tensor) -> Tensor:
    """Squared error of the brightness, summed over each picture, the mean over batch and time: (B, T, H, W, C), (B, T, H, W, C) bytes → ().

    The package: `codecs.ImageDecoder.loss`, before the mean. Paper: Eq. 3.
    """
    return (prediction - image / 255).square().sum((-3, -2, -1)).mean()


finished_project = ImageDecoder.project  # this name stays when the reader's version stands in


def picture(*shape: int) -> Tensor:
    return torch.randint(256, shape, dtype=torch.uint8)


def to_network_cases() -> list[tuple]:
    by_hand = torch.tensor([0, 51, 255, 102], dtype=torch.uint8).view(1, 1, 2, 2, 1)
    return [
        (by_hand,),
        *((picture(*shape),) for shape in ((2, 3, 4, 6, 3), (3, 8, 4, 1), (2, 2, 5, 5, 2), (4, 1, 6, 4, 3))),
    ]


def loss_cases() -> list[tuple]:
    by_hand = (
        torch.tensor([0.5, 1.0]).view(1, 1, 1, 2, 1),
        torch.tensor([255, 255], dtype=torch.uint8).view(1, 1, 1, 2, 1),
    )
    return [
        by_hand,
        *((uniform(*shape), picture(*shape)) for shape in ((2, 3, 4, 5, 1), (3, 2, 2, 2, 3), (1, 4, 3, 6, 2))),
    ]


class Small(ImageDecoder):
    """A decoder of a known size, with weights of two decimals."""

    def __init__(self, height: int, width: int, channels: int, bspace: int, deter: int):
        super().__init__(
            image=(2 * height, 2 * width, 1),
            deter=deter,
            latent=6,
            hidden=4,
            depth=channels,
            mults=(1,),
            kernel=3,
            bspace=bspace,
        )
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(hundredths(torch.randn_like(parameter) / 2))


def project_cases() -> list[tuple]:
    sizes = ((2, 3, 4, 2, 8), (3, 2, 6, 3, 6), (2, 2, 8, 4, 8), (4, 3, 4, 2, 4))
    return [(Small(h, w, c, b, deter), normal(3, deter + 6)) for h, w, c, b, deter in sizes]


def laid_out(
    decoder: ImageDecoder,
    feature: Tensor,
    *,
    blocks: str = "first",
    latent: bool = True,
    memory: bool = True,
    swapped: bool = False,
    product: bool = False,
    turned: bool = False,
    mean: bool = False,
    side_by_side: bool = False,
    z_first: bool = False,
) -> Tensor:
    """project with one thing wrong."""
    height, width, channels = decoder.small
    h, z = feature[:, : decoder.deter], feature[:, decoder.deter :]
    if swapped:
        latent_size = feature.shape[-1] - decoder.deter
        z, h = feature[:, :latent_size], feature[:, latent_size:]
    flat = decoder.from_h(h)
    if blocks == "last":
        x = flat.view(-1, height, width, channels)
    elif blocks == "ahead of channels":
        x = flat.view(-1, height, width, channels // decoder.bspace, decoder.bspace).transpose(-1, -2).flatten(3)
    elif blocks == "too wide":
        x = flat.view(-1, decoder.bspace, height, width, channels)
    elif blocks == "turned":
        x = flat.view(-1, decoder.bspace, height, width, channels // decoder.bspace).permute(0, 3, 2, 1, 4).flatten(3)
    elif blocks == "inner":
        x = flat.view(-1, decoder.bspace, height, width, channels // decoder.bspace).permute(0, 2, 3, 4, 1).flatten(3)
    elif blocks == "channels first":
        x = flat.view(-1, channels, height, width).permute(0, 2, 3, 1)
    else:
        x = flat.view(-1, decoder.bspace, height, width, channels // decoder.bspace).permute(0, 2, 3, 1, 4).flatten(3)
    other = decoder.from_z(z).view(-1, height, width, channels)
    if z_first:
        other = decoder.from_z(z).view(-1, channels, height, width).permute(0, 2, 3, 1)
    if side_by_side:
        return torch.cat([x, other], -1)
    x = x * other if product else (x + other) / (2 if mean else 1) if latent and memory else x if memory else other
    return x.transpose(1, 2) if turned else x


def wrong_project(**how: Any) -> Callable:
    return lambda *case: laid_out(*case, **how)


EXERCISES = (
    Exercise(
        "to_network",
        to_network,
        to_network_cases,
        letters="NCHW",
        mistakes=(
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 255 - 0.5).reshape(-1, x.shape[-1], *x.shape[-3:-1]),
                "`reshape` or `view` only counts the same numbers off anew, so the picture is scrambled. `permute` moves an axis to another place.",
            ),
            Mistake(
                lambda x: (x.float() / 255 - 0.5).permute(0, 3, 1, 2),
                "`permute` is asked to order four axes, but there are more: batch and time stand in front. `flatten(0, -4)` makes one axis of them first.",
            ),
            Mistake(
                lambda x: (x.flatten(0, 1).float() / 255 - 0.5).permute(0, 3, 1, 2),
                "`flatten(0, 1)` joins the first two axes, which is right only if there are two in front of the picture. `flatten(0, -4)` joins as many as there are.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 255 - 0.5).permute(0, 3, 2, 1),
                "Height and width are swapped: the picture lies on its side. `permute(0, 3, 1, 2)` keeps their order.",
            ),
            Mistake(
                lambda x: x.flatten(0, -4).float() / 255 - 0.5,
                "The channels are still last. PyTorch's convolutions want them behind the first axis, (N, C, H, W).",
            ),
            Mistake(
                lambda x: (x.float() / 255 - 0.5).movedim(-1, -3),
                "Batch and time are still two axes. Convolutions want one: `flatten(0, -4)` makes one of all in front of the picture.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() - 0.5).permute(0, 3, 1, 2),
                "The bytes are not divided by 255: brightness runs from 0 to 255 here.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 255).permute(0, 3, 1, 2),
                "The 0.5 is not subtracted: a picture should run from -0.5 to 0.5, so that grey is 0.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 127.5 - 1).permute(0, 3, 1, 2),
                "This runs from -1 to 1. Here a picture runs from -0.5 to 0.5.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 256 - 0.5).permute(0, 3, 1, 2),
                "It is divided by 256; the largest byte is 255, and stands for 1.",
            ),
            Mistake(
                lambda x: ((x.flatten(0, -4) - 128).float() / 255).permute(0, 3, 1, 2),
                "The subtraction is made in bytes, which know no negative numbers: 0 - 128 gives 128. Make floats first.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4) // 255).float().permute(0, 3, 1, 2) - 0.5,
                "`//` divides whole numbers, so everything but white becomes 0. Use `/`.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 255 + 0.5).permute(0, 3, 1, 2),
                "The sign of the 0.5 is wrong: it is subtracted.",
            ),
        ),
        hints=(
            "Three steps: one axis in front, numbers from -0.5 to 0.5, channels behind the first axis.",
            "`image.flatten(0, -4)` makes (N, H, W, C). `.float() / 255 - 0.5`. `permute` names the old axes in their new order.",
            "`x = image.flatten(0, -4).float() / 255 - 0.5`, `return x.permute(0, 3, 1, 2)`",
        ),
    ),
    Exercise(
        "layer_cost",
        layer_cost,
        lambda: [(64, 64, 1, 8, 5), (32, 32, 8, 12, 5), (10, 6, 3, 7, 3), (4, 9, 2, 5, 1)],
        mistakes=(
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c, h * w * k**2 * i * c),
                "The biases are missing among the weights: one for each channel that comes out.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k * i * c + c, h * w * k * i * c),
                "The kernel is a square: it sees kernel · kernel pixels.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * c + c, h * w * k**2 * c),
                "Each output channel looks at ALL channels that come in: times `inputs`.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i + c, h * w * k**2 * i),
                "Each output channel has a kernel of its own: times `channels`.",
            ),
            Mistake(
                lambda h, w, i, c, k: (h * w * k**2 * i * c + c, h * w * k**2 * i * c),
                "The same weights are used at every pixel. Only the products count the pixels.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c, k**2 * i * c),
                "The products are those for one pixel. The kernel runs over all height · width of them.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c, h * w * k**2 * i),
                "The products are those of one output channel; there are `channels` of them.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + 1, h * w * k**2 * i * c),
                "There is one bias for each channel that comes out, not one in all.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c, h * w // 4 * k**2 * i * c),
                "The products are made before pooling, at every pixel.",
            ),
            Mistake(
                lambda h, w, i, c, k: (h * w * i * c + c, h * w * i * c),
                "This is a layer with a kernel of 1; the kernel is missing.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c, (h - k + 1) * (w - k + 1) * k**2 * i * c),
                "The picture is padded with zeros, so every pixel gets an output, those at the border too.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c, h * w * (k**2 * i * c + c)),
                "A bias is added, not multiplied: it is no product.",
            ),
            Mistake(
                lambda h, w, i, c, k: (h * w * k**2 * i * c, k**2 * i * c + c),
                "The two are in the wrong order: first the weights, then the products.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + i, h * w * k**2 * i * c),
                "There is one bias for each channel that comes OUT.",
            ),
        ),
        hints=(
            "One output number is a sum over a square of pixels and all channels that come in.",
            "That sum has kernel² · inputs weights. There is such a set for each output channel, plus a bias; the products are made again at every pixel.",
            "`return kernel**2 * inputs * channels + channels, height * width * kernel**2 * inputs * channels`",
        ),
    ),
    Exercise(
        "project",
        ImageDecoder.project,
        project_cases,
        letters="NHWC",
        itself="decoder",
        mistakes=(
            Mistake(
                wrong_project(blocks="last"),
                "The blocks are read as if they came last. Each block of `from_h` is a whole small picture of some channels: (N, blocks, h, w, channels of a block).",
            ),
            Mistake(
                wrong_project(blocks="ahead of channels"),
                "The blocks come right behind N, before height and width; here they are read behind the channels.",
            ),
            Mistake(
                wrong_project(blocks="inner"),
                "The blocks belong before their channels, not behind them: `permute(0, 2, 3, 1, 4)`.",
            ),
            Mistake(
                wrong_project(blocks="channels first"),
                "The numbers are read as (N, C, h, w). They come as (N, blocks, h, w, channels of a block).",
            ),
            Mistake(
                wrong_project(blocks="turned"),
                "Height and width of each block are swapped: `permute(0, 2, 3, 1, 4)` keeps their order.",
            ),
            Mistake(
                wrong_project(blocks="too wide"),
                "Each block makes only a part of the channels: the last axis is `channels // decoder.bspace`.",
            ),
            Mistake(
                wrong_project(side_by_side=True),
                "The two pictures are put side by side. They are added, so the channels stay as many as they are.",
            ),
            Mistake(wrong_project(z_first=True), "z's picture is read as (N, C, h, w). It comes as (N, h, w, C)."),
            Mistake(wrong_project(latent=False), "z is not used: what the dice say would never be seen."),
            Mistake(
                wrong_project(memory=False), "h is not used: the picture would show nothing that is only remembered."
            ),
            Mistake(
                wrong_project(swapped=True),
                "h and z are cut at the wrong place: a feature holds h first, `decoder.deter` numbers, then z.",
            ),
            Mistake(wrong_project(product=True), "The two pictures are multiplied; they are added."),
            Mistake(wrong_project(mean=True), "This is the mean of the two pictures; they are added."),
            Mistake(
                wrong_project(turned=True),
                "Height and width are swapped: `decoder.small` is (height, width, channels).",
            ),
        ),
        hints=(
            "Two small pictures, one from h and one from z, are added.",
            "`from_z(z)` can be viewed as (N, h, w, c) at once. `from_h(h)` is (N, blocks, h, w, c / blocks): move the blocks beside their channels, and make one axis of both.",
            "`height, width, channels = decoder.small`, `h, z = feature[:, : decoder.deter], feature[:, decoder.deter :]`, `blocks = decoder.from_h(h).view(-1, decoder.bspace, height, width, channels // decoder.bspace)`, `return blocks.permute(0, 2, 3, 1, 4).flatten(3) + decoder.from_z(z).view(-1, height, width, channels)`",
        ),
    ),
    Exercise(
        "picture_loss",
        picture_loss,
        loss_cases,
        mistakes=(
            Mistake(
                lambda p, x: (p - x / 255).square().mean(),
                "This is the mean over the pixels. It is their sum: a picture of 4,096 pixels weighs 4,096 times one pixel.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum(),
                "Everything is summed. Batch and time get the mean: else a larger batch would mean a larger loss.",
            ),
            Mistake(
                lambda p, x: (p - x).square().sum((-3, -2, -1)).mean(),
                "The bytes are not divided by 255, but the prediction runs from 0 to 1.",
            ),
            Mistake(
                lambda p, x: (p - x / 255 + 0.5).square().sum((-3, -2, -1)).mean(),
                "0.5 is subtracted from the picture. The encoder does so; the decoder's sigmoid gives 0 to 1.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).abs().sum((-3, -2, -1)).mean(),
                "These are absolute errors; the paper squares them.",
            ),
            Mistake(
                lambda p, x: 0.5 * (p - x / 255).square().sum((-3, -2, -1)).mean(),
                "There is a factor 1/2 too much; the official loss has none.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum((-2, -1)).mean(),
                "One axis of the picture is missing in the sum: height, width and channels.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum((-3, -2, -1)),
                "There is one number for each picture. Take their mean.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum((-3, -2)).mean(),
                "Over the channels it is a mean, since `mean()` takes what the sum left over. Sum over height, width AND channels.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).sum((-3, -2, -1)).square().mean(),
                "First squared, then summed: here errors of both signs cancel before they are squared.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum() / len(x),
                "Over time it is a sum. Batch and time both get the mean.",
            ),
            Mistake(
                lambda p, x: (
                    torch.nn.functional.binary_cross_entropy(p.clamp(1e-6, 1 - 1e-6), x / 255, reduction="none")
                    .sum((-3, -2, -1))
                    .mean()
                ),
                "This is a cross-entropy. The paper's loss of a picture is the squared error.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum((-3, -2, -1)).sqrt().mean(),
                "The root is too much: the sum of the squares itself is the loss.",
            ),
            Mistake(
                lambda p, x: (p.sigmoid() - x / 255).square().sum((-3, -2, -1)).mean(),
                "The decoder has applied its sigmoid already.",
            ),
            Mistake(
                lambda p, x: (p - x // 255).square().sum((-3, -2, -1)).mean(),
                "`//` divides whole numbers, so everything but white becomes 0. Use `/`.",
            ),
        ),
        hints=(
            "Squared error of the brightness from 0 to 1; a sum where it is about one picture, a mean where it is about many.",
            "`image / 255` is the brightness. Height, width and channels are the axes -3, -2, -1.",
            "`return (prediction - image / 255).square().sum((-3, -2, -1)).mean()`",
        ),
    ),
)
