"""The figures of the checks, drawn from the numbers in `measures.py`."""

from collections.abc import Sequence
import math

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
import numpy as np
import torch
from torch import Tensor

from ..evaluation.drawing import DREAM, GREY, REALITY
from ..replay import Experience
from .measures import FLOW, HALF, PARTS, Counted, Curiosity, Promises


def panels(count: int = 1, height: float = 2.8, widths: Sequence[float] | None = None) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(7.5, height), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(1, count, width_ratios=widths)))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def dashed(axes: Axes, y: float, label: str, colour: str = REALITY) -> None:
    """A limit across the axes."""
    axes.axhline(y, color=colour, linewidth=0.8, linestyle="--", label=label)


def legend(axes: Axes, place: str = "best") -> None:
    axes.legend(frameon=False, fontsize=8, loc=place)


def draw_alignment(replayed: Experience, shares: list[float], cut: list[bool]) -> Figure:
    """Rows around the end of an episode, the unexplained shares by row, and how cut-off episodes are stored."""
    figure, (tape, bars, clock) = panels(3, widths=(2.2, 1.3, 1))
    draw_tape(tape, replayed)
    shown = bars.bar(["row\nbefore", "row\nitself", "row\nafter"], np.nan_to_num(shares), color=[GREY, REALITY, GREY])
    bars.bar_label(shown, ["unknown" if math.isnan(share) else f"{share:.2f}" for share in shares], fontsize=8)
    bars.set_ylim(0, 1.15)
    bars.set_title("unexplained share\nof the change", fontsize=9)
    clock.bar(["cut off\nby a time\nlimit", "of these\nstored\nwrongly"], [len(cut), sum(cut)], color=[GREY, DREAM])
    clock.set_title("a test: episodes", fontsize=9)
    clock.set_ylim(0, max(len(cut), 1) + 0.5)
    for ax in (bars, clock):
        ax.tick_params(axis="x", labelsize=7)
    return figure


def draw_tape(axes: Axes, replayed: Experience) -> None:
    """What is stored in the rows around the last end of an episode."""
    ends = replayed.is_last.nonzero()[:, 0]
    ends = ends[(ends >= 6) & (ends < len(replayed.reward) - 4)]
    last = int(ends[-1]) if len(ends) else min(6, len(replayed.reward) - 5)
    rows = torch.arange(last - 6, last + 5)
    names = ["reward", "first", "last", "terminal", *(f"action {i}" for i in range(replayed.action.shape[-1]))][:10]
    table = torch.stack(
        [replayed.reward, replayed.is_first, replayed.is_last, replayed.is_terminal, *replayed.action.T][: len(names)]
    )[:, rows].float()
    axes.imshow(table / table.abs().amax(1, keepdim=True).clamp(min=1), cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(table.numpy()):
        colour = "white" if abs(value) > 0.7 else "black"
        axes.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(range(len(rows)), [f"{int(row) - last:+d}" for row in rows])
    axes.set_title("rows of the replay buffer;\n+0 is an episode's last", fontsize=9)
    axes.tick_params(labelsize=7)


def draw_control(errors: Tensor) -> Figure:
    figure, (axes,) = panels()
    names = ("true actions", "actions of another moment", "nothing moves")
    for error, name, colour in zip(errors, names, (REALITY, DREAM, GREY)):
        axes.plot(range(1, len(error) + 1), error, color=colour, marker=".", label=name)
    axes.set(xlabel="dreamed steps", ylabel="reconstruction loss", title="dreams along real episodes")
    legend(axes)
    return figure


def draw_causality(moved: Tensor) -> Figure:
    figure, (axes,) = panels(height=3.4)
    axes.imshow((moved > 0).float() + moved.clamp(max=1), cmap="Blues", vmin=0, vmax=2, aspect="auto")
    axes.axhline(HALF - 0.5, color=DREAM, linewidth=1)
    axes.axvline(HALF - 0.5, color=DREAM, linewidth=1)
    axes.set(xlabel="step of the state that moves", ylabel="step of the changed observation")
    axes.set_title("blue: it moves, the darker the further; white: it does not; orange: a new episode", fontsize=10)
    return figure


def draw_surprise(lived: Tensor, kicked: Tensor, is_first: Tensor, limit: float) -> Figure:
    """One environment's KL, (T,) as it was and (T,) for observations of another moment."""
    figure, (axes,) = panels()
    steps = torch.arange(min(80, len(lived)))
    axes.plot(steps, lived[steps].cpu(), color=REALITY, label="as it was")
    axes.plot(steps[5::10], kicked[steps[5::10]].cpu(), "^", color=DREAM, label="shown another moment instead")
    for t in is_first[steps].nonzero()[:, 0].tolist():
        axes.axvline(t, color=GREY, linewidth=0.8, linestyle=":")
    dashed(axes, limit, "their mean over all steps should lie above", DREAM)
    axes.set(xlabel="step (dotted: an episode begins)", ylabel="KL, nats", title="surprise")
    legend(axes)
    return figure


def draw_flow(norms: dict[str, dict[str, float]]) -> Figure:
    figure, (axes,) = panels(height=3.4)
    colours = [
        ["white" if not size else "#BBD7EA" if part in FLOW[loss] else DREAM for part, size in parts.items()]
        for loss, parts in norms.items()
    ]
    axes.imshow([[to_rgb(colour) for colour in row] for row in colours], aspect="auto")
    for i, parts in enumerate(norms.values()):
        for k, size in enumerate(parts.values()):
            if size:
                axes.text(k, i, f"{size:.0e}", ha="center", va="center", fontsize=7)
    axes.set_xticks(range(len(PARTS)), PARTS, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(norms)), norms, fontsize=8)
    axes.set_title(
        "norm of the gradient within one step; orange: this part should not learn from that loss", fontsize=10
    )
    return figure


def draw_free_nats(raw: Tensor, dyn: Tensor, rep: Tensor, free: float) -> Figure:
    figure, axes = panels(2)
    order = raw.argsort().cpu()
    expected = raw.clamp(min=free)
    for ax, loss, name in zip(axes, (dyn, rep), ("dyn", "rep")):
        ax.plot(raw.cpu()[order], expected.cpu()[order], color=GREY, linewidth=3, alpha=0.4, label="max(free nats, KL)")
        ax.plot(raw.cpu(), loss.cpu(), ".", color=REALITY, markersize=2, label="the loss")
        ax.set(xlabel="KL of a step, nats", ylabel=f"{name} loss", xlim=(0, 4 * free + 1), ylim=(0, 4 * free + 1))
        legend(ax)
    return figure


def draw_returns(found: Promises) -> Figure:
    figure, (axes,) = panels(height=3.4)
    axes.plot(found.real, found.value, ".", color=REALITY, markersize=2)
    ends = [min(found.real.min().item(), 0), max(found.real.max().item(), 0.01)] if len(found.real) else [0, 1]
    axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1)
    axes.set(xlabel="discounted return that came", ylabel="the critic's value")
    axes.set_title("each dot is a step; on the dashed line the promise was kept", fontsize=10)
    return figure


def draw_counted(found: Counted) -> Figure:
    """The dream that is most likely to end on its way."""
    dream, later = found.dream, found.dream.continues[:, 1:-1]
    shown = int(later.min(1).values.argmin()) if later.shape[1] else 0
    figure, axes = panels(3)
    axes[0].plot(dream.continues[shown].cpu(), color=DREAM, marker=".", label="continue")
    axes[0].plot(dream.rewards[shown].cpu(), color=GREY, marker=".", label="reward")
    axes[0].set_title("a dream", fontsize=10)
    for ax, (mine, right), name in zip(axes[1:], found[1:], ("weight of each step", "λ-return")):
        ax.plot(right[shown].cpu(), color=GREY, linewidth=4, alpha=0.5, label="by hand")
        ax.plot(mine[shown].cpu(), color=DREAM, marker=".", label="the agent's")
        ax.set_title(name, fontsize=10)
    for ax in axes:
        ax.set_xlabel("dreamed steps")
        legend(ax)
    return figure


def draw_curves(rows: list[dict[str, float]], now: Curiosity, limit: float) -> Figure:
    """Policy entropy and return scale along the run."""
    figure, axes = panels(2)
    steps = [row["env_steps"] for row in rows]
    axes[0].plot(steps, [row.get("policy_entropy", math.nan) for row in rows], color=DREAM)
    axes[0].axhline(now.most, color=GREY, linestyle="--", linewidth=1)
    axes[0].set_title("policy entropy (dashed: all actions equally likely)", fontsize=10)
    if not math.isnan(now.push):
        inside = dict(xycoords="axes fraction", textcoords="axes fraction", ha="center", va="center", fontsize=9)
        ends = (0.8, 0.85), (0.8, 0.45)
        tip, tail = ends if now.push > 0 else ends[::-1]
        arrow = dict(arrowstyle="-|>", color=REALITY, linewidth=3)
        axes[0].annotate("what the\nbonus does", tip, tail, arrowprops=arrow, **inside)
    scales = [row.get("return_scale", math.nan) for row in rows]
    axes[1].plot(steps, scales, color=DREAM, label="return scale")
    spread = "5th to 95th percentile of dreamed returns, now"
    axes[1].plot(steps[-1:] or [0], [now.spread], "^", color=REALITY, label=spread)
    dashed(axes[1], limit * now.spread, "the scale should lie above")
    axes[1].set_title("return scale", fontsize=10)
    axes[1].set_ylim(0, 1.6 * max(now.spread, 1, *(scale for scale in scales if math.isfinite(scale))))
    legend(axes[1], "upper left")
    for ax in axes:
        ax.set_xlabel("environment steps")
    return figure


def draw_overfit(losses: dict[str, list[float]], limit: float) -> Figure:
    figure, (axes,) = panels()
    styles = {"reconstruction": (REALITY, "-"), "reward": (DREAM, "-"), "continue": (GREY, "-"), "dyn": (GREY, ":")}
    for name, (colour, style) in styles.items():
        axes.plot(losses[name], color=colour, linestyle=style, label=name)
    dashed(axes, limit * losses["reconstruction"][0], "the reconstruction loss should fall below")
    axes.set(xlabel="train steps on the same batch", yscale="log", title="fresh weights, one batch")
    legend(axes)
    return figure
