"""Notebook 05: the surprise meter on the trained agent, and the causality triangle."""

from functools import lru_cache

from matplotlib.figure import Figure
import torch
from torch import Tensor

from ...diagnostics.measures import causality_triangle
from ...latents import kl
from ...rssm import RSSM
from ..bundled import Watched, watch
from ..explore import DREAM, GREY, OWN, POSTERIOR, Explorer, canvas, choice, slider, tidy, whole

KICK_AT = 40
watched = lru_cache(32)(watch)


def surprise(seen: Watched) -> Tensor:
    """KL(posterior || prior) in nats at each step, (T,). The first step has no past to predict from."""
    return kl(seen.posterior, seen.prior)


def draw_surprise(t: int, kick: float) -> tuple[Figure, str]:
    """KL over time with a kick at step 40, and what prior and posterior say about three groups at step t."""
    seen = watched(80, KICK_AT, kick)
    t = min(t, len(seen.obs) - 1)
    nats = surprise(seen)
    figure = canvas(7.5, 4.2)
    grid = figure.add_gridspec(2, 3, height_ratios=(1.1, 1))
    axes = tidy(figure.add_subplot(grid[0, :]), xlabel="step", ylabel="surprise (nats)", xlim=(0, 80))
    axes.set_ylim(0, max(14, 1.1 * float(nats[1:].max())))  # as high for all but the hardest kicks, to compare them
    axes.plot(range(1, len(nats)), nats[1:], color=POSTERIOR)
    axes.axvline(t, color=OWN, linewidth=1)
    if kick:
        axes.annotate("kick", (KICK_AT, 0.93 * axes.get_ylim()[1]), color=GREY, ha="right")
    parts = (seen.posterior * (seen.posterior.log() - seen.prior.log())).sum(-1)[t]  # (S,)
    for place, group in enumerate(parts.topk(3).indices.tolist()):
        bars = tidy(
            figure.add_subplot(grid[1, place]),
            title=f"die {group}",
            ylim=(0, 1.25),
            yticks=(0, 0.5, 1),
            xlabel="face",
            xticks=range(seen.prior.shape[-1]),
        )
        faces = torch.arange(seen.prior.shape[-1])
        bars.bar(faces - 0.2, seen.prior[t, group], 0.4, color=DREAM, label="prior: expected")
        bars.bar(faces + 0.2, seen.posterior[t, group], 0.4, color=POSTERIOR, label="posterior: seen")
        if place == 0:
            bars.legend(fontsize=7)
    return figure, (
        f"Step {t}: surprise {float(nats[t]):.1f} nats. "
        f"At the kick, step {KICK_AT}: {float(nats[min(KICK_AT, len(nats) - 1)]):.1f}; "
        f"mean of the ten steps before it: {float(nats[KICK_AT - 10 : KICK_AT].mean()):.1f}."
    )


def surprise_meter() -> Explorer:
    """Kick the cart, and see when the model notices."""
    return Explorer(
        draw_surprise,
        "Surprise over time, and prior beside posterior for three groups of latents.",
        t=whole("step to look at", 1, 79, KICK_AT),
        kick=slider("kick at step 40 (m/s)", -3, 3, 2, 0.5),
    )


def influence(what: str, shift: int = 0, steps: int = 8, seed: int = 0) -> Tensor:
    """How far h moves, and for an observation the posterior, when one input is changed, (T, T).

    Rows are the inputs' steps, columns the outputs'. `shift` moves the actions before they are used.
    """
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        rssm = RSSM(token_size=6, action_size=2, deter=16, hidden=8, groups=4, classes=4, blocks=4)
        tokens, actions = torch.randn(1, steps, 6), torch.randn(1, steps, 2).clamp(-1, 1)
        noise, first = torch.zeros(1, steps, 4, 4), torch.zeros(1, steps, dtype=torch.bool)

        def run(tokens: Tensor, actions: Tensor) -> Tensor:
            states, logits = rssm.observe(tokens, actions.roll(-shift, 1), first, rssm.initial(1), noise)
            return torch.cat([states.h, logits.flatten(2)], -1)[0] if what == "observation" else states.h[0]

        inputs = {"observation": tokens, "action": actions}[what]
        others = torch.stack([torch.randn_like(inputs[:, 0]) for _ in range(steps)], 1).clamp(-1, 1)
        if what == "observation":
            return causality_triangle(lambda changed: run(changed, actions), inputs, others)
        return causality_triangle(lambda changed: run(tokens, changed), inputs, others)


def draw_causality(what: str, loop: str) -> tuple[Figure, str]:
    """Which outputs move when input t is changed. A right loop gives a triangle on and above the diagonal."""
    moved = influence(what, {"right": 0, "action one early": 1}[loop]) > 1e-6
    figure = canvas(4.2, 3.4)
    axes = figure.add_subplot()
    axes.imshow(moved, cmap="Greens", vmin=0, vmax=1.4)
    axes.set(xlabel="step of the output that moves", ylabel=f"step of the changed {what}")
    early = int((moved & torch.ones_like(moved).tril(-1).bool()).sum())
    return figure, (
        f"{early} outputs move BEFORE the {what} that was changed: the future leaks into the past."
        if early
        else f"No output moves before the {what} that was changed."
    )


def causality_explorer() -> Explorer:
    """Change one input, and see which steps react."""
    return Explorer(
        draw_causality,
        "Grid: rows are changed inputs, columns are outputs, filled where the output moves.",
        what=choice("changed", ["action", "observation"]),
        loop=choice("loop", ["right", "action one early"]),
    )
