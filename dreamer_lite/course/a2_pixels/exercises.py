"""Exercises of notebook A2: an image for a network, a layer's cost, the state laid out in space, the image loss."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...codecs import ImageDecoder
from ..exercise import Exercise, Mistake, hundredths, normal, uniform, with_gradients


def to_network(image: Tensor) -> Tensor:
    """Images in bytes for PyTorch's convolutions: (..., H, W, C) → floats (N, C, H, W) from -0.5 to 0.5.

    The axes in front, batch and time, become one. The package does this inside `codecs.ImageEncoder` and `nets.Conv`.
    """
    x = image.flatten(0, -4).float() / 255 - 0.5
    return x.permute(0, 3, 1, 2)


def layer_cost(height: int, width: int, inputs: int, channels: int, kernel: int) -> tuple[int, int]:
    """Weights of a convolution with a bias, and the multiplications it takes for one image of this size."""
    return kernel**2 * inputs * channels + channels, height * width * kernel**2 * inputs * channels


def picture_loss(prediction: Tensor, image: Tensor) -> Tensor:
    """Squared error of the brightness, summed over each image, averaged over batch and time: (B, T, H, W, C) → ().

    In the package this is `codecs.ImageDecoder.loss`, without the mean. Paper: Eq. 3.
    """
    return (prediction - image / 255).square().sum((-3, -2, -1)).mean()


finished_project = ImageDecoder.project  # keeps its name while your version stands in


def picture(*shape: int) -> Tensor:
    return torch.randint(256, shape, dtype=torch.uint8)


def to_network_cases() -> list[tuple]:
    by_hand = torch.tensor([0, 51, 255, 102], dtype=torch.uint8).view(1, 1, 2, 2, 1)
    return [
        (by_hand,),
        *((picture(*shape),) for shape in ((2, 3, 4, 6, 3), (3, 8, 4, 1), (2, 2, 5, 5, 2), (4, 1, 6, 4, 3))),
    ]


def to_network_probe(version: Callable, image: Tensor) -> dict[str, Any]:
    out = version(image)
    return {"the result": out, "the number type": str(getattr(out, "dtype", "none")).removeprefix("torch.")}


def loss_cases() -> list[tuple]:
    by_hand = (
        torch.tensor([0.5, 0.5]).view(1, 1, 1, 2, 1),
        torch.tensor([255, 51], dtype=torch.uint8).view(1, 1, 1, 2, 1),
    )
    return [
        by_hand,
        *((uniform(*shape), picture(*shape)) for shape in ((2, 3, 4, 5, 1), (3, 2, 2, 2, 3), (1, 4, 3, 6, 2))),
    ]


class Small(ImageDecoder):
    """A decoder of a given size, with weights of two decimals."""

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
    latent_blocks: bool = False,
    turned_latent: bool = False,
    after: Callable | None = None,
    first: Callable | None = None,
    other_first: Callable | None = None,
    channels_first: bool = False,
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
    elif blocks == "height and width":
        x = flat.view(-1, decoder.bspace, height, width, channels // decoder.bspace).permute(0, 3, 2, 1, 4)
        x = x.reshape(-1, height, width, channels)
    elif blocks == "added":
        x = (
            flat.view(-1, decoder.bspace, height, width, channels // decoder.bspace)
            .sum(1)
            .repeat(1, 1, 1, decoder.bspace)
        )
    elif blocks == "other shape":
        x = flat.view(-1, decoder.bspace, width, height, channels // decoder.bspace).permute(0, 3, 2, 1, 4).flatten(3)
    elif blocks == "inner":
        x = flat.view(-1, decoder.bspace, height, width, channels // decoder.bspace).permute(0, 2, 3, 4, 1).flatten(3)
    elif blocks == "channels first":
        x = flat.view(-1, channels, height, width).permute(0, 2, 3, 1)
    else:
        x = flat.view(-1, decoder.bspace, height, width, channels // decoder.bspace).permute(0, 2, 3, 1, 4).flatten(3)
    other = decoder.from_z(z).view(-1, height, width, channels)
    if z_first:
        other = decoder.from_z(z).view(-1, channels, height, width).permute(0, 2, 3, 1)
    if latent_blocks:
        parts = decoder.from_z(z).view(-1, decoder.bspace, height, width, channels // decoder.bspace)
        other = parts.permute(0, 2, 3, 1, 4).flatten(3)
    if turned_latent:
        other = decoder.from_z(z).view(-1, width, height, channels).transpose(1, 2)
    x, other = first(x) if first else x, other_first(other) if other_first else other
    if side_by_side:
        return torch.cat([x, other], -1)
    if after or channels_first:
        return after(x, other) if after else (x + other).permute(0, 3, 1, 2)
    x = x * other if product else (x + other) / (2 if mean else 1) if latent and memory else x if memory else other
    return x.transpose(1, 2) if turned else x


def without_silu(decoder: ImageDecoder, feature: Tensor) -> Tensor:
    """The layers of `from_z` one by one, without the function between them."""
    body, last = decoder.from_z
    x = feature[:, decoder.deter :]
    for layer in body:
        x = x if isinstance(layer, torch.nn.SiLU) else layer(x)
    return laid_out(decoder, feature, latent=False) + last(x).view(-1, *decoder.small)


def wrong_project(**how: Any) -> Callable:
    return lambda *case: laid_out(*case, **how)


EXERCISES = (
    Exercise(
        "to_network",
        to_network,
        to_network_cases,
        probe=to_network_probe,
        letters="NCHW",
        mistakes=(
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 255 - 0.5).reshape(-1, x.shape[-1], *x.shape[-3:-1]),
                "`reshape` and `view` only regroup the numbers in their old order, so the image is scrambled. "
                "`permute` moves an axis to another place.",
            ),
            Mistake(
                lambda x: (x.float() / 255 - 0.5).permute(0, 3, 1, 2),
                "`permute` gets four axes, but there are more: batch and time stand in front. First merge them with "
                "`flatten(0, -4)`.",
            ),
            Mistake(
                lambda x: (x.flatten(0, 1).float() / 255 - 0.5).permute(0, 3, 1, 2),
                "`flatten(0, 1)` merges the first two axes, which is right only if there are two in front of the "
                "image. `flatten(0, -4)` merges however many there are.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 255 - 0.5).permute(0, 3, 2, 1),
                "Height and width are swapped: the image lies on its side. `permute(0, 3, 1, 2)` keeps their order.",
            ),
            Mistake(
                lambda x: x.flatten(0, -4).float() / 255 - 0.5,
                "The channels are still last. PyTorch's convolutions want them right after the first axis, (N, C, H, "
                "W).",
            ),
            Mistake(
                lambda x: (x.float() / 255 - 0.5).movedim(-1, -3),
                "Batch and time are still two axes. Convolutions want one: `flatten(0, -4)` merges all axes in front "
                "of the image.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() - 0.5).permute(0, 3, 1, 2),
                "The bytes are not divided by 255: your values run from -0.5 to 254.5.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 255).permute(0, 3, 1, 2),
                "The 0.5 is not subtracted: an image should run from -0.5 to 0.5, so that grey is 0.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 127.5 - 1).permute(0, 3, 1, 2),
                "This runs from -1 to 1. Here an image runs from -0.5 to 0.5.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 256 - 0.5).permute(0, 3, 1, 2),
                "You divide by 256; the largest byte is 255, and stands for 1.",
            ),
            Mistake(
                lambda x: ((x.flatten(0, -4) - 128).float() / 255).permute(0, 3, 1, 2),
                "You subtract in bytes, which can't be negative: 0 - 128 gives 128. Convert to floats first.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4) // 255).float().permute(0, 3, 1, 2) - 0.5,
                "`//` rounds down to whole numbers, so everything but white becomes 0. Use `/`.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 255 + 0.5).permute(0, 3, 1, 2),
                "The sign of the 0.5 is wrong: subtract it.",
            ),
            Mistake(
                lambda x: ((x.flatten(0, -4).float() - 0.5) / 255).permute(0, 3, 1, 2),
                "The ½ is subtracted before the division, where it hardly counts. Divide by 255 first.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() * 255 - 0.5).permute(0, 3, 1, 2),
                "The bytes are multiplied by 255. Divide.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() - 127.5).permute(0, 3, 1, 2),
                "The middle is at 0, but the range is 255. Divide by 255.",
            ),
            Mistake(
                lambda x: (0.5 - x.flatten(0, -4).float() / 255).permute(0, 3, 1, 2),
                "Black and white are exchanged: black is -0.5, white is 0.5.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 255 - 0.5).permute(3, 0, 1, 2),
                "The channels come first of all, (C, N, H, W). They come second: `permute(0, 3, 1, 2)`.",
            ),
            Mistake(
                lambda x: ((x - 127).flatten(0, -4).float() / 255).permute(0, 3, 1, 2),
                "You subtract in bytes, and below 0 they start again at 255. Convert to floats first.",
            ),
            Mistake(
                lambda x: (x.flatten(0, -4).float() / 128 - 1).permute(0, 3, 1, 2),
                "You divide by 128 and subtract 1, which runs from -1 to nearly 1. Divide by 255, subtract ½.",
            ),
            Mistake(
                lambda x: (lambda f: (f - f.mean()) / f.std())(x.flatten(0, -4).float()).permute(0, 3, 1, 2),
                "The images are normalised by their own mean and width. The same byte must always give the same "
                "number: / 255 - ½.",
            ),
            Mistake(
                lambda x: x.flatten(0, -3).float() / 255 - 0.5,
                "`flatten(0, -3)` merges the height as well. The last three axes are the image: `flatten(0, -4)`.",
            ),
            Mistake(
                lambda image: (lambda x: (x - x.amin()) / (x.amax() - x.amin()).clamp(min=1) - 0.5)(
                    image.flatten(0, -4).float().permute(0, 3, 1, 2)
                ),
                "Each batch is stretched by its own darkest and brightest pixel. Divide by 255, whatever the "
                "images hold.",
            ),
        ),
        hints=(
            "Three steps: one axis in front, numbers from -0.5 to 0.5, channels right after the first axis.",
            "`image.flatten(0, -4)` makes (N, H, W, C). Then `.float() / 255 - 0.5`. `permute` takes the old axes in "
            "their new order.",
            "`x = image.flatten(0, -4).float() / 255 - 0.5`, `return x.permute(0, 3, 1, 2)`",
        ),
    ),
    Exercise(
        "layer_cost",
        layer_cost,
        lambda: [(32, 48, 3, 8, 5), (64, 64, 1, 8, 5), (10, 6, 3, 7, 3), (4, 9, 2, 5, 1)],
        mistakes=(
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c, h * w * k**2 * i * c),
                "The biases are missing among the weights: one for each output channel.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k * i * c + c, h * w * k * i * c),
                "The kernel is a square: it covers kernel · kernel pixels.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * c + c, h * w * k**2 * c),
                "Each output channel sees ALL input channels: times `inputs`.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i + c, h * w * k**2 * i),
                "Each output channel has a kernel of its own: times `channels`.",
            ),
            Mistake(
                lambda h, w, i, c, k: (h * w * k**2 * i * c + c, h * w * k**2 * i * c),
                "The same weights are used at every pixel. Only the multiplications grow with the number of pixels.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c, k**2 * i * c),
                "These are the multiplications for one pixel. The kernel visits all height · width pixels.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c, h * w * k**2 * i),
                "These are the multiplications for one output channel; there are `channels` of them.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + 1, h * w * k**2 * i * c),
                "There is one bias for each output channel, not one for the whole layer.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c, h * w // 4 * k**2 * i * c),
                "The convolution runs before pooling, at every pixel.",
            ),
            Mistake(
                lambda h, w, i, c, k: (h * w * i * c + c, h * w * i * c),
                "`kernel` is not used: kernel · kernel weights lead from each input channel to each output channel.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c, (h - k + 1) * (w - k + 1) * k**2 * i * c),
                "The image is padded with zeros, so every pixel gets an output, even at the border.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c, h * w * (k**2 * i * c + c)),
                "A bias is added, not multiplied: don't count it among the multiplications.",
            ),
            Mistake(
                lambda h, w, i, c, k: (h * w * k**2 * i * c, k**2 * i * c + c),
                "The two are in the wrong order: first the weights, then the multiplications.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + i, h * w * k**2 * i * c),
                "There is one bias for each OUTPUT channel.",
            ),
            Mistake(
                lambda h, w, i, c, k: ((k**2 + 1) * i * c, h * w * k**2 * i * c),
                "There is a bias for each slice of a kernel. An output channel has one bias, however many input "
                "channels it sees.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c * h * w, h * w * k**2 * i * c),
                "There is a bias for each pixel. All pixels of an output channel share one.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c, 2 * h * w * k**2 * i * c),
                "Additions are counted, too. Count multiplications alone.",
            ),
            Mistake(
                lambda h, w, i, c, k: (h * w * i * h * w * c + c, h * w * i * h * w * c),
                "This is a dense layer, from every pixel to every pixel. A convolution sees kernel · kernel pixels.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k * i * c + c, h * w * k**2 * i * c),
                "Among the weights the kernel is not squared: it has kernel · kernel of them.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * (i + c) + c, h * w * k**2 * (i + c)),
                "Input and output channels are added. There is a slice of weights for each pair: multiply.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c, h**2 * k**2 * i * c),
                "The height is squared. An image need not be a square: height · width.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * i * c + c, (h // k) * (w // k) * k**2 * i * c),
                "The kernel jumps by its own size here. It moves by one pixel, so it visits all of them.",
            ),
            Mistake(
                lambda h, w, i, c, k: (k**2 * c * c + c, h * w * k**2 * c * c),
                "The output channels count twice, and `inputs` is not used.",
            ),
            Mistake(
                lambda height, width, inputs, channels, kernel: (
                    kernel**2 * inputs * channels + channels,
                    height * width * kernel**2 * channels,
                ),
                "The multiplications leave out the input channels: each output pixel reads all of them.",
            ),
        ),
        hints=(
            "One output number is a sum over a square of pixels and all input channels.",
            "That sum has kernel² · inputs weights. Each output channel has its own set, plus a bias; the "
            "multiplications repeat at every pixel.",
            "`return kernel**2 * inputs * channels + channels, height * width * kernel**2 * inputs * channels`",
        ),
    ),
    Exercise(
        "project",
        ImageDecoder.project,
        project_cases,
        probe=with_gradients("decoder", "the feature"),
        letters="NHWC",
        itself="decoder",
        mistakes=(
            Mistake(
                wrong_project(blocks="last"),
                "You ignore the blocks. Each block of `from_h` is a whole small image with some of the channels: (N, "
                "blocks, h, w, channels of a block).",
            ),
            Mistake(
                wrong_project(blocks="ahead of channels"),
                "The blocks come right after N, before height and width; you read them as the last axis.",
            ),
            Mistake(
                wrong_project(blocks="inner"),
                "The blocks belong before their channels, not after them: `permute(0, 2, 3, 1, 4)`.",
            ),
            Mistake(
                wrong_project(blocks="channels first"),
                "You read the numbers as (N, C, h, w). They come as (N, blocks, h, w, channels of a block).",
            ),
            Mistake(
                wrong_project(blocks="turned"),
                "Height and width of each block are swapped: `permute(0, 2, 3, 1, 4)` keeps their order.",
            ),
            Mistake(
                wrong_project(blocks="too wide"),
                "Each block makes only some of the channels: the last axis is `channels // decoder.bspace`.",
            ),
            Mistake(
                wrong_project(side_by_side=True),
                "The two images are concatenated. Add them, so that the number of channels stays the same.",
            ),
            Mistake(wrong_project(z_first=True), "You read z's image as (N, C, h, w). It comes as (N, h, w, C)."),
            Mistake(wrong_project(latent=False), "z is not used: the dice would paint nothing."),
            Mistake(wrong_project(memory=False), "h is not used: what is only remembered would never be painted."),
            Mistake(
                wrong_project(swapped=True),
                "The feature is split at the wrong place: h comes first, `decoder.deter` numbers, then z.",
            ),
            Mistake(wrong_project(product=True), "The two images are multiplied; add them."),
            Mistake(wrong_project(mean=True), "This is the mean of the two images; add them."),
            Mistake(
                wrong_project(turned=True),
                "Height and width are swapped: `decoder.small` is (height, width, channels).",
            ),
            Mistake(
                wrong_project(latent_blocks=True),
                "z's image is read in blocks, too. Only `from_h` makes blocks; `from_z` gives (N, h, w, C) directly.",
            ),
            Mistake(
                wrong_project(blocks="last", latent_blocks=True),
                "The blocks are at the wrong image: `from_h` makes blocks, `from_z` does not.",
            ),
            Mistake(
                wrong_project(turned_latent=True),
                "In z's image height and width are swapped: view it as (N, height, width, channels).",
            ),
            Mistake(
                wrong_project(blocks="other shape"),
                "In h's image height and width are swapped: view it as (N, blocks, height, width, channels of a "
                "block).",
            ),
            Mistake(
                wrong_project(channels_first=True),
                "The channels come second, (N, C, h, w). Here they stay last: (N, height, width, channels).",
            ),
            Mistake(
                wrong_project(after=lambda x, y: torch.nn.functional.silu(x + y)),
                "SiLU is applied to the sum. `project` only lays out and adds; the decoder does the rest.",
            ),
            Mistake(
                wrong_project(first=torch.nn.functional.silu),
                "SiLU is applied to h's image. `project` only lays out and adds.",
            ),
            Mistake(
                wrong_project(other_first=torch.nn.functional.silu),
                "SiLU is applied to z's image. `project` only lays out and adds.",
            ),
            Mistake(
                wrong_project(after=lambda x, y: (x + y).sigmoid()),
                "A sigmoid is applied. It comes at the end of the decoder, not here.",
            ),
            Mistake(wrong_project(after=torch.maximum), "This takes the larger of the two images. Add them."),
            Mistake(wrong_project(after=torch.sub), "z's image is subtracted. Add the two."),
            Mistake(wrong_project(after=lambda x, y: x + x), "h's image is added to itself. Add z's."),
            Mistake(
                wrong_project(after=lambda x, y: x + y.detach()), "z's image is detached, so nothing learns through it."
            ),
            Mistake(without_silu, "The SiLU inside `from_z` is left out. Call `decoder.from_z(z)` as a whole."),
            Mistake(
                wrong_project(blocks="height and width"),
                "Height and width are exchanged in h's part: move the blocks' axis only.",
            ),
            Mistake(
                wrong_project(blocks="added"),
                "The blocks are added up and repeated. Each block makes channels of its own; they stand side by side.",
            ),
        ),
        hints=(
            "Add two small images, one from h and one from z.",
            "`from_z(z)` can be viewed as (N, h, w, c) directly. `from_h(h)` is (N, blocks, h, w, c / blocks): move "
            "the blocks next to their channels, and merge the two axes.",
            "`height, width, channels = decoder.small`, `h, z = feature[:, : decoder.deter], feature[:, decoder.deter "
            ":]`, `blocks = decoder.from_h(h).view(-1, decoder.bspace, height, width, channels // decoder.bspace)`, "
            "`return blocks.permute(0, 2, 3, 1, 4).flatten(3) + decoder.from_z(z).view(-1, height, width, channels)`",
        ),
    ),
    Exercise(
        "picture_loss",
        picture_loss,
        loss_cases,
        probe=with_gradients("the prediction"),
        mistakes=(
            Mistake(
                lambda p, x: (p - x / 255).square().mean(),
                "This is the mean over the pixels. Take their sum: an image of 4,096 pixels counts 4,096 times as much "
                "as one pixel.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum(),
                "Everything is summed. Average over batch and time; otherwise a larger batch would mean a larger loss.",
            ),
            Mistake(
                lambda p, x: (p - x).square().sum((-3, -2, -1)).mean(),
                "The bytes are not divided by 255, but the prediction runs from 0 to 1.",
            ),
            Mistake(
                lambda p, x: (p - x / 255 + 0.5).square().sum((-3, -2, -1)).mean(),
                "0.5 is subtracted from the image. The encoder does that; the decoder's sigmoid gives 0 to 1.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).abs().sum((-3, -2, -1)).mean(),
                "These are absolute errors; the paper squares them.",
            ),
            Mistake(
                lambda p, x: 0.5 * (p - x / 255).square().sum((-3, -2, -1)).mean(),
                "There is an extra factor of 1/2; the official loss has none.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum((-2, -1)).mean(),
                "One axis of the image is missing from the sum: height, width and channels.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum((-3, -2, -1)),
                "This is one number for each image. Take their mean.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum((-3, -2)).mean(),
                "The channels are averaged, since `mean()` takes whatever the sum left. Sum over height, width AND "
                "channels.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).sum((-3, -2, -1)).square().mean(),
                "Square first, then sum: here errors of opposite sign cancel before they are squared.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum() / len(x), "Time is summed. Average over both batch and time."
            ),
            Mistake(
                lambda p, x: (
                    torch.nn.functional.binary_cross_entropy(p.clamp(1e-6, 1 - 1e-6), x / 255, reduction="none")
                    .sum((-3, -2, -1))
                    .mean()
                ),
                "This is a cross-entropy. The paper's image loss is the squared error.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum((-3, -2, -1)).sqrt().mean(),
                "There is a square root too many: the sum of the squares itself is the loss.",
            ),
            Mistake(
                lambda p, x: (p.sigmoid() - x / 255).square().sum((-3, -2, -1)).mean(),
                "There is a second sigmoid: the decoder has already applied one.",
            ),
            Mistake(
                lambda p, x: (p - x // 255).square().sum((-3, -2, -1)).mean(),
                "`//` rounds down to whole numbers, so everything but white becomes 0. Use `/`.",
            ),
            Mistake(
                lambda p, x: (255 * p - x).square().sum((-3, -2, -1)).mean(),
                "The prediction is multiplied by 255. Compare brightness from 0 to 1: divide the image.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum((-3, -2, -1)).mean(1).sum(),
                "The batch is summed. Average over both batch and time.",
            ),
            Mistake(
                lambda p, x: (p - x / 255).square().sum((0, 1)).mean(),
                "Sum and mean are exchanged: sum over the pixels of an image, average over batch and time.",
            ),
            Mistake(
                lambda p, x: (p - x / 256).square().sum((-3, -2, -1)).mean(),
                "You divide by 256; the largest byte is 255, and stands for 1.",
            ),
            Mistake(
                lambda p, x: (p - (x / 255).round()).square().sum((-3, -2, -1)).mean(),
                "The brightness is rounded to black or white. Use x / 255 as it is.",
            ),
            Mistake(
                lambda p, x: (p - torch.log1p(x / 255)).square().sum((-3, -2, -1)).mean(),
                "The image is squashed by symlog. That is for numbers; a brightness runs from 0 to 1 already.",
            ),
            Mistake(
                lambda p, image: (((p * 255).round() - image.float()) / 255).square().sum((-3, -2, -1)).mean(),
                "The prediction is rounded to whole brightness levels first, which leaves no gradient. "
                "Compare it as it is.",
            ),
        ),
        hints=(
            "The squared error of the brightness from 0 to 1: a sum within each image, a mean over the images.",
            "`image / 255` is the brightness. Height, width and channels are the axes -3, -2, -1.",
            "`return (prediction - image / 255).square().sum((-3, -2, -1)).mean()`",
        ),
    ),
)
