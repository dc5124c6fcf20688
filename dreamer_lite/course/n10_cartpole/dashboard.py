"""Notebook 10: training, live. A figure in the output of the running cell, redrawn about twice a second.

It is drawn with Pillow, since a redraw may cost only a few milliseconds. It only watches; the run stays the same.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import lru_cache
import io
import math
from pathlib import Path
import time
from typing import Any

from IPython.display import display
import numpy as np
from PIL import Image, ImageDraw, ImageFont
import torch

from ...config import Config, Spaces
from ...envs.making import EnvFactory, config_for
from ...errors import Refused
from ...rng import fork_rng
from ...rssm import State
from ...training.checkpoint import Saved, read
from ...training.device import use_device
from ...training.folder import refuse_existing
from ...training.loop import Interrupted, train
from ...training.state import Training
from ..explore import DREAM, GREY, OWN, POSTERIOR, REALITY
from .parts import Part, installed

WIDTH, HEIGHT = 1140, 480  # pixels, shown at two thirds of that size
BACK = 15  # steps that the dream beside reality has run without looking
SHARE = 0.05  # of the training time that the dashboard may take, at most
LOSSES = {"reconstruction": DREAM, "reward": POSTERIOR, "continue": OWN, "critic": REALITY}


class Dashboard:
    """Called after each step of a run. `spent`: seconds that drawing took so far; `drawn`: number of redraws."""

    def __init__(self, every: float = 0.5):
        self.every, self.next, self.spent, self.drawn = every, 0.0, 0.0, 0
        self.history: list[dict[str, float]] = []
        self.handle = None
        self.started = 0.0

    def __call__(self, training: Training) -> None:
        now = time.perf_counter()
        if now < self.next:
            return
        self.started = self.started or now
        self.show(training, "running")
        took = time.perf_counter() - now
        self.spent += took
        # Wait at least twenty times as long as this took, so that drawing can't slow a slow machine down.
        self.next = time.perf_counter() + max(self.every, took / SHARE)

    def show(self, training: Training, status: str) -> None:
        self.note(training)
        self.png = draw(training, self.history, status)
        text = summary(training, status)
        bundle = {"image/png": b64encode(self.png).decode(), "text/plain": text}
        metadata = {"image/png": {"width": WIDTH * 2 // 3, "height": HEIGHT * 2 // 3, "alt": text}}
        if self.handle is None:
            self.handle = display(bundle, metadata=metadata, raw=True, display_id=True)
        elif self.handle:
            self.handle.update(bundle, metadata=metadata, raw=True)
        self.drawn += 1

    def note(self, training: Training) -> None:
        """Keep what the curves need: means of the latest train steps, and of the latest episodes."""
        if not self.history:  # a resumed run has a past
            self.history = [dict(row) for row in training.log.rows]
        training.read_metrics()
        row = {
            "env_steps": training.env_steps,
            "return": float(np.mean(training.returns)) if training.returns else math.nan,
        }
        if training.metrics.recent:
            row |= dict(zip(training.metrics.names, np.mean(training.metrics.recent, 0).tolist()))
        self.history.append(row)


def summary(training: Training, status: str) -> str:
    evaluations = [row["eval_mean"] for row in training.log.evaluations]
    best = f"last evaluation {evaluations[-1]:.4g}" if evaluations else "no evaluation yet"
    return (
        f"{status}: {training.env_steps} environment steps, {training.train_steps} train steps, "
        f"{training.episodes} episodes, {training.seconds:.0f} s; {best}."
    )


def draw(training: Training, history: list[dict[str, float]], status: str) -> bytes:
    """The figure as PNG bytes: return, losses, KL, entropy, and reality beside the dream."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    pen.text((15, 2), summary(training, status), fill="black", font=font(19))
    steps = [row["env_steps"] for row in history]
    last = max(steps[-1], 1)

    def series(name: str) -> list[tuple[float, float]]:
        return [(step, row[name]) for step, row in zip(steps, history) if math.isfinite(row.get(name, math.nan))]

    evaluations = [(row["env_steps"], row["eval_mean"]) for row in training.log.evaluations]
    returns = series("return")
    panel(
        pen,
        (15, 46, 375, 232),
        "return: last 10 episodes, and evaluations",
        [(returns, REALITY)],
        around([value for _, value in returns + evaluations], training.config.env),
        last,
        evaluations,
    )
    panel(
        pen,
        (15, 272, 375, 458),
        "losses, logarithmic",
        [(log10(series(name)), colour) for name, colour in LOSSES.items()],
        (-4, 1.5),
        last,
        names=LOSSES,
    )
    panel(pen, (405, 46, 750, 232), "KL: surprise in nats; 1 is free", [(series("dyn"), POSTERIOR)], (0, 4), last)
    panel(
        pen,
        (405, 272, 750, 458),
        "entropy of the policy, nats",
        [(series("policy_entropy"), OWN)],
        entropies(training.agent.spaces, training.config),
        last,
    )
    name, _, _ = training.config.env.split(":")[-1].partition("-")
    if name in SCENES:
        real, dreamed, ago = beside(training)
        scene(pen, (780, 46, 1125, 232), "reality", SCENES[name], real, REALITY)
        scene(pen, (780, 272, 1125, 458), f"dream, eyes closed for {ago} steps", SCENES[name], dreamed, DREAM)
    buffer = io.BytesIO()
    image.save(buffer, format="png", compress_level=1)
    return buffer.getvalue()


def log10(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, math.log10(max(y, 1e-9))) for x, y in points]


@lru_cache(8)
def font(size: int) -> Any:
    return ImageFont.load_default(size)


def panel(
    pen: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    title: str,
    lines: list,
    limits: tuple[float, float],
    last: float,
    dots: list[tuple[float, float]] = (),
    names: dict[str, str] | None = None,
) -> None:
    """Lines over environment steps in a box, with the lowest and highest value written beside it."""
    left, upper, right, lower = box
    low, high = limits

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x / last, lower - (lower - upper) * (min(max(y, low), high) - low) / (high - low)

    pen.line([(left, upper), (left, lower), (right, lower)], fill=GREY, width=2)
    pen.text((left + 6, upper - 20), title, fill=GREY, font=font(15))
    pen.text((left + 5, upper + 1), f"{10**high if names else high:.3g}", fill=GREY, font=font(14))
    if low < 0 and not names:
        pen.text((left + 5, lower - 18), f"{low:.4g}", fill=GREY, font=font(14))
    pen.text((right - 6, lower + 3), f"{last:g}", fill=GREY, font=font(14), anchor="ra")
    for points, colour in lines:
        if len(points) > 1:
            pen.line(
                [place(x, y) for x, y in points[:: max(len(points) // 400, 1)]], fill=colour, width=3, joint="curve"
            )
    for x, y in dots:
        px, py = place(x, y)
        pen.ellipse([px - 5, py - 5, px + 5, py + 5], fill=REALITY)
    for k, (name, colour) in enumerate((names or {}).items()):
        pen.text((left + 6, lower - 74 + 17 * k), name, fill=colour, font=font(14))


@torch.no_grad()
def beside(training: Training) -> tuple[np.ndarray, np.ndarray, int]:
    """The first environment's observation now, that of a dream that ran beside it without looking, and for how many
    steps it did: BACK, or fewer where an episode has just begun."""
    replay, model = training.replay, training.agent.world_model
    ago = min(BACK, replay.added - 1)
    rows = [(replay.added - 1 - k) % replay.length for k in range(ago, -1, -1)]  # oldest first
    first = replay.data["is_first"][0, rows].nonzero()[:, 0].tolist()
    rows = rows[first[-1] :] if first else rows
    z = torch.nn.functional.one_hot(replay.data["z"][0, rows[:1]].long(), replay.classes).float()
    state = State(replay.data["h"][0, rows[:1]], z)
    with fork_rng(training.device):
        for row in rows[1:]:
            state = model.rssm.imagine_step(state, replay.data["action"][0, [row]])
        dreamed = model.predict_obs(state.feature)[0]
    return replay.data["vector"][0, rows[-1]].cpu().numpy(), dreamed.cpu().numpy(), len(rows) - 1


def scene(
    pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], title: str, thing: Callable, obs: np.ndarray, colour: str
) -> None:
    """A thing drawn as the observation describes it, below its title."""
    pen.text((box[0] + 6, box[1] - 20), title, fill=colour, font=font(15))
    thing(pen, box, obs, colour)


def cart(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], obs: np.ndarray, colour: str) -> None:
    """A cart with its pole on a track from -2.4 to 2.4 m."""
    left, upper, right, lower = box
    scale, ground = (right - left) / 5.2, lower - 22
    x, angle = np.clip(obs[0], -2.6, 2.6), obs[2]
    middle = (left + right) / 2 + x * scale
    pen.line([(left + 0.2 * scale, ground), (right - 0.2 * scale, ground)], fill=GREY, width=3)
    pen.rectangle([middle - 24, ground - 26, middle + 24, ground], fill=colour)
    pen.line(
        [(middle, ground - 26), (middle + 112 * np.sin(angle), ground - 26 - 112 * np.cos(angle))],
        fill="black",
        width=7,
    )


def pendulum(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], obs: np.ndarray, colour: str) -> None:
    """A rod that turns about its end; obs: cosine and sine of its angle, which is 0 when upright, and its speed."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    pen.line([(x, y), (x - 80 * obs[1], y - 80 * obs[0])], fill=colour, width=14)
    pen.ellipse([x - 9, y - 9, x + 9, y + 9], fill="black")


def board(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], obs: np.ndarray, colour: str) -> None:
    """A paddle, and a ball if it is seen, on seven columns and seven rows; obs: paddle, ball, seen, rows left."""
    left, upper, right, lower = box
    step, (paddle, ball, seen, row) = (lower - upper - 20) / 7, obs
    x, ground = (left + right) / 2, lower - 12
    pen.line([(x - 3.5 * step, ground), (x + 3.5 * step, ground)], fill=GREY, width=3)
    pen.rectangle([x + (paddle - 0.4) * step, ground - 8, x + (paddle + 0.4) * step, ground], fill="black")
    if seen > 0.5:
        middle, height = x + ball * step, ground - 18 - row * step
        pen.ellipse([middle - 9, height - 9, middle + 9, height + 9], fill=colour)


SCENES = {
    "CartPole": cart,
    "Pendulum": pendulum,
    "HiddenCatch": board,
}  # what can be drawn of an environment, from its numbers


def around(values: list[float], env: str) -> tuple[float, float]:
    """Limits for an axis of returns: wide enough for 0 and all values; CartPole's are known."""
    low, high = min([0.0, *values]), max([0.0, *values])
    return (low, 500.0 if env.startswith("CartPole-") else high if high > low else 1.0)


def entropies(spaces: Spaces, config: Config) -> tuple[float, float]:
    """The smallest and the greatest entropy that a policy can have."""
    choices, numbers = spaces.action_parts
    nats = 0.5 + 0.5 * math.log(2 * math.pi)
    low, high = (numbers * (nats + math.log(std)) for std in (config.min_std, config.max_std))
    return low, high + sum(map(math.log, choices))


def run_in(out: Path, config: Config) -> Saved:
    """The run that was saved in a folder. Raises Refused if it can't be read, or has other settings."""
    saved = read(out, config.env)
    other = [f"{name} was {old} and is {new}" for name, (old, new) in config.changes(saved.config).items()]
    if other:
        raise Refused(f"{out.name} holds a run with other settings ({', '.join(other[:3])})")
    return saved


def train_live(
    config: Config,
    out: Path | str,
    parts: Sequence[Part] = (),
    device: str = "auto",
    compile: bool = False,
    make_env: EnvFactory | None = None,
) -> dict[str, Any]:
    """Train with the dashboard in this cell's output, and with the reader's parts; returns the run card.

    make_env: makes the environments, as in `train`. Interrupting the kernel saves and stops; calling this again
    continues as the run began, compiled or step by step, but step by step with parts of the reader's. Raises Refused if
    `out` holds a run with other settings.
    """
    out, dashboard, seen, device = Path(out), Dashboard(), [], use_device(device)
    config = config_for(config, make_env)
    try:
        saved = run_in(out, config) if (out / "checkpoint.pt").exists() else refuse_existing(out)
    except Refused as error:
        raise Refused(f"{error}. To start over, delete the folder {out.name}") from error

    if saved:
        began, mine = bool(saved.rest.get("compiled")), any(part.yours is not None for part in parts)
        saved.rest["compiled"] = began and not mine
        told = began == compile == saved.rest["compiled"]
        compile = saved.rest["compiled"]
        now = "compiled" if compile else "step by step" + ", with your parts" * mine

    def look(training: Training) -> None:
        if saved and not seen and not told:
            print(f"{out.name} began {'compiled' if began else 'step by step'}, and goes on {now}")
        seen[:] = [training]
        dashboard(training)

    with installed(parts):
        try:
            card = train(
                config,
                out,
                device=device,
                resume=saved or False,
                progress=False,
                on_step=look,
                compile=compile,
                make_env=make_env,
            )
        except Interrupted as stop:  # saved; running the cell again continues
            card = stop.card
    if not seen:
        print(
            f"{out.name} holds a run that has ended, after {card['env_steps']:,} environment steps, so nothing was "
            f"trained. To train anew, with what you have changed since, delete the folder {out.name} and run this again"
        )
    if seen:
        dashboard.show(seen[0], "finished" if card["finished"] else "stopped, and saved")
    return card | {
        "dashboard_share": round(dashboard.spent / max(time.perf_counter() - dashboard.started, 1e-9), 4)
        if seen
        else 0.0
    }
