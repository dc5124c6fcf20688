"""Notebook 02: one network learns small and large targets at once, with and without symlog."""

from collections.abc import Callable
from functools import lru_cache

from matplotlib.figure import Figure
import torch
from torch import Tensor, nn

from ...symlog import symexp, symlog
from ..explore import DREAM, GREY, REALITY, Explorer, canvas, slider, tidy

X = torch.linspace(-1, 1, 101)[:, None]


def targets(scale: float) -> Tensor:
    """Two tasks on the same inputs, (101, 2): one between -1 and 1, the other between 0.5 and 2.5 times `scale`."""
    return torch.cat([torch.sin(3 * X), scale * (1.5 + torch.cos(4 * X))], 1)


def same(y: Tensor) -> Tensor:
    """No squashing."""
    return y


def fit(scale: float, there: Callable = same, back: Callable = same, seed: int = 0) -> Tensor:
    """Train one small network on both tasks, by squared error between its answers and there(targets).

    Returns back(answers), (101, 2).
    """
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-2)
    y = there(targets(scale))
    for _ in range(300):
        optimizer.zero_grad()
        (net(X) - y).square().mean().backward()
        optimizer.step()
    return back(net(X).detach())


def error(prediction: Tensor, scale: float) -> list[float]:
    """Root mean squared error of each task, as a share of the task's own size (RMS): two numbers."""
    y = targets(scale)
    return ((prediction - y).square().mean(0) / y.square().mean(0)).sqrt().tolist()


@lru_cache(64)
def drawn(scale: float, there: Callable, back: Callable) -> Tensor:
    """The answers of seed 0, leaving the reader's random state alone."""
    with torch.random.fork_rng(), torch.enable_grad():
        return fit(scale, there, back)


def draw_scale_fit(exponent: float) -> tuple[Figure, str]:
    """The small task, fitted beside one that is 10^exponent times as large."""
    scale = float(10**exponent)
    figure, words = canvas(7.5, 2.8), []
    for column, (name, there, back) in enumerate((("without symlog", same, same), ("with symlog", symlog, symexp))):
        prediction = drawn(scale, there, back)
        small, large = error(prediction, scale)
        axes = tidy(figure.add_subplot(1, 2, column + 1), title=name, ylim=(-1.6, 1.6), xlabel="input")
        axes.plot(X, targets(scale)[:, 0], color=REALITY, label="target, of size 1")
        axes.plot(X, prediction[:, 0], color=DREAM, linestyle="--", label="prediction")
        if prediction[:, 0].abs().min() > 1.6:
            axes.annotate("the prediction lies outside", (0.05, 0.9), xycoords="axes fraction", color=DREAM, fontsize=8)
        axes.axhline(0, color=GREY, linewidth=0.5)
        if column == 1:  # where the prediction stays near the target, so nothing is covered
            axes.legend(loc="lower right", fontsize=8)
        words.append(f"{name}: {small:.0%} on the small task, {large:.0%} on the large one")
    return (
        figure,
        f"The other task is {float(f'{scale:.3g}'):,g} times as large. Relative error {words[0]}; {words[1]}.",
    )


def scale_explorer() -> Explorer:
    """Move the size of the second task, and watch what happens to the first."""
    return Explorer(
        draw_scale_fit,
        "A small task fitted beside a large one, without and with symlog.",
        exponent=slider("log10 of other task's size", -2, 4, 3, 0.5),
    )
