"""Notebook 06: which parts of the agent learn from which loss? Guess, then look at real gradients."""

from functools import lru_cache

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
import torch
from torch import nn

from ...agent import Dreamer
from ...config import Config
from ...diagnostics.measures import gradient_norms
from ..agent_map import LIT, PLAIN
from ..bundled import CARTPOLE, random_stream
from ..explore import GREY, OWN, Explorer, box, canvas, choice
from .model_lab import sequences

# name: (x, y), where it is drawn
PLACES = {
    "encoder": (0, 2),
    "posterior": (1.2, 2),
    "recurrent": (0, 0),
    "prior": (1.2, 0),
    "decoder": (2.6, 2),
    "reward head": (2.6, 1),
    "continue head": (2.6, 0),
    "critic": (3.8, 1.5),
    "actor": (3.8, 0.5),
}
ARROWS = [
    ("encoder", "posterior"),
    ("recurrent", "prior"),
    ("recurrent", "posterior"),
    ("posterior", "decoder"),
    ("posterior", "reward head"),
    ("posterior", "continue head"),
]
LOSSES = ["reconstruction", "reward", "continue", "dyn", "rep", "critic", "actor", "replay_critic"]
GUESSED = [name for name in PLACES if name not in ("reward head", "continue head")]


@lru_cache(2)
def flows(steps: int = 8) -> dict[str, dict[str, float]]:
    """The norm of each loss's gradient at each part of a fresh agent, for random play in sequences of `steps`."""
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(0)
        agent = Dreamer(Config.preset("small", imag_last=0), CARTPOLE)
        for head in (
            agent.critic.net,
            agent.world_model.reward_head,
        ):  # they start at zero, and so would their gradients
            nn.init.normal_(head[-1].weight, std=0.1)
        for net in (
            agent.world_model.rssm.prior_net,
            agent.world_model.rssm.posterior_net,
        ):  # far apart, so that the free nats hide no gradient
            net[-1].weight.data *= 5
        memory = random_stream(400)
        batch = sequences(memory._replace(is_first=torch.zeros_like(memory.is_first)), 16, max(steps, 2))
        batch = batch.map(lambda part: part[:, :steps])._replace(is_last=torch.zeros(16, steps, dtype=torch.bool))
        if steps == 1:
            losses, _, _ = agent.world_model.loss(batch, agent.world_model.rssm.initial(16))
        else:
            losses, _, _ = agent.loss(batch, agent.world_model.rssm.initial(16))
        return gradient_norms(agent, losses)


def draw_flow(loss: str, steps: str, show: str, **guess: bool) -> tuple[Figure, str]:
    """A box for each part of the agent, filled if the reader guessed it, or if it gets a gradient."""
    sizes, title = flows(int(steps)).get(loss), f"loss: {loss}, sequences of {steps}"
    if sizes is None:
        return draw_boxes({}, title, {}), f"{loss} needs more than one step: choose 8."
    reached = {name for name, size in sizes.items() if size > 0}
    guessed = {name for name in GUESSED if guess[name]}
    if show == "my guess":
        return draw_boxes(
            dict.fromkeys(guessed, OWN), title, {}
        ), f"Your guess: {loss} teaches {listed(guessed)}. Switch to the gradients."
    right = sum((name in guessed) == (name in reached) for name in GUESSED)
    marks = {name: "✓" if (name in guessed) == (name in reached) else "✗" for name in GUESSED}
    return draw_boxes(dict.fromkeys(reached, LIT), title, marks), (
        f"{loss}, sequences of {steps}: gradient reaches {listed(reached)}. "
        f"Your guess: {right} of {len(GUESSED)} boxes right."
    )


def listed(names: set[str]) -> str:
    return ", ".join(name for name in PLACES if name in names) or "nothing"


def draw_boxes(filled: dict[str, str], title: str, marks: dict[str, str]) -> Figure:
    figure = canvas(7.5, 2.9)
    axes = figure.add_subplot()
    for start, end in ARROWS:
        (x1, y1), (x2, y2) = PLACES[start], PLACES[end]
        axes.annotate("", (x2 - 0.43, y2), (x1 + 0.43, y1), arrowprops={"arrowstyle": "-|>", "color": GREY})
    for name, (x, y) in PLACES.items():
        axes.add_patch(
            FancyBboxPatch(
                (x - 0.38, y - 0.25), 0.76, 0.5, boxstyle="round,pad=0.02", fc=filled.get(name, PLAIN), ec=GREY
            )
        )
        colour = "white" if filled.get(name) == OWN else "black"
        axes.text(x, y, f"{name} {marks.get(name, '')}".strip(), ha="center", va="center", fontsize=9, color=colour)
    axes.set(xlim=(-0.5, 4.3), ylim=(-0.4, 2.4), title=title)
    axes.axis("off")
    return figure


def gradient_flow() -> Explorer:
    """Tick the parts that you think learn from a loss, then switch to the gradients."""
    return Explorer(
        draw_flow,
        "Boxes for the parts of the agent; filled where a loss sends its gradient.",
        loss=choice("loss", LOSSES, "dyn"),
        steps=choice("steps in a sequence", ["1", "8"], "1"),
        **{name: box(name) for name in GUESSED},
        show=choice("show", ["my guess", "the gradients"]),
    )
