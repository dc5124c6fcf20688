"""Notebook 04: one die, its samples, and where the gradient goes."""

from matplotlib.figure import Figure
import torch
from torch import Tensor

from ...latents import sample, unimix
from ..explore import DREAM, GREY, OWN, POSTERIOR, Explorer, button, canvas, choice, slider, tidy


def gradient(logits: Tensor, straight: bool) -> Tensor:
    """Gradient of a loss that wants face 0 more often, through one sample of the die, with or without
    straight-through."""
    with torch.enable_grad():
        logits = logits.clone().requires_grad_(True)
        z = sample(unimix(logits))
        z = z if straight else z.detach()
        loss = -(z[..., 0]).sum() + 0 * logits.sum()
        return torch.autograd.grad(loss, logits)[0]


def draw_dice(a: float, b: float, c: float, d: float, estimator: str, again: int = 0) -> tuple[Figure, str]:
    """Probabilities and 200 samples of a die with four faces, and the direction in which the logits are pushed."""
    logits = torch.tensor([[a, b, c, d]])  # one group
    torch.manual_seed(again)
    probs = unimix(logits)
    draws = sample(probs.expand(200, 1, 4)).argmax(-1)[:, 0]
    push, probs = -gradient(logits, estimator == "straight-through")[0], probs[0]
    figure = canvas(7.5, 2.8)
    left = tidy(figure.add_subplot(1, 3, 1), title="probabilities", ylim=(0, 1.05), xlabel="face")
    left.bar(range(4), probs, color=DREAM)
    left.axhline(0.0025, color=OWN, linewidth=2, zorder=3)
    middle = figure.add_subplot(1, 3, 2)
    shown = middle.imshow(draws.view(10, 20), cmap="viridis", vmin=0, vmax=3, aspect="equal")
    middle.set(xticks=[], yticks=[], title="200 throws")
    bar = figure.colorbar(shown, ax=middle, orientation="horizontal", ticks=range(4), shrink=0.8)
    bar.set_label("face")
    right = tidy(figure.add_subplot(1, 3, 3), title="push on the logits", xlabel="face", ylim=(-0.3, 0.3))
    right.axhline(0, color=GREY, linewidth=0.5)
    right.bar(range(4), push, color=POSTERIOR)
    for axes in (left, right):
        axes.set_xticks(range(4))
    share = float((draws == 0).float().mean())
    push_words = (
        "No gradient gets through the sample."
        if not push.any()
        else f"Wanting more of face 0 pushes its logit by {float(push[0]):+.2f}."
    )
    return (
        figure,
        f"Face 0 has probability {float(probs[0]):.3f} and came up in {share:.1%} of the throws. {push_words}",
    )


def dice_explorer() -> Explorer:
    """Load a die, throw it, and see what a loss on the sample can tell the logits."""
    faces = {
        name: slider(f"logit of face {i}", -6, 6, value) for i, (name, value) in enumerate(zip("abcd", (1, 0, -1, 0)))
    }
    return Explorer(
        draw_dice,
        "Probabilities of a die's faces, samples as a grid of colours, and the push on each logit.",
        **faces,
        estimator=choice("gradient", ["straight-through", "plain sample"]),
        again=button("throw again"),
    )
