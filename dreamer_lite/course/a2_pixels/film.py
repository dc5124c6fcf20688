"""Notebook A2: an agent that sees CartPole as images. Its dream as a film, what the dice paint, the angle read off."""

from functools import lru_cache
from typing import NamedTuple

import gymnasium
from gymnasium.wrappers import AddRenderObservation
from matplotlib.figure import Figure
import numpy as np
import torch
from torch import Tensor

from ...envs.making import make_env
from ...rssm import State
from ..bundled import bundled_pixel_agent
from ..episodes import Episode, play, thoughts
from ..explore import DREAM, GREY, OWN, POSTERIOR, REALITY, Explorer, canvas, choice, tidy, whole

LOOKED, AHEAD = 5, 50  # frames seen before the dream begins, and frames dreamed
ABOVE = slice(29, 45)  # rows of the image that show nothing but the pole
WIDE, HIGH = 600 / 64, 400 / 64  # how much of CartPole's 600 × 400 drawing each small pixel covers


def angle(picture: Tensor) -> Tensor:
    """The pole's angle in degrees, read off images with brightness 0 to 1, (..., 64, 64, 1) → (...).

    It is that of the line through the dark pixels above the cart. A degree moves the tip by a fifth of a pixel;
    the shades of grey make that readable."""
    dark = 1 - picture[..., ABOVE, :, 0]
    dark = torch.where(dark > 0.08, dark, torch.zeros_like(dark))  # a decoder's white is not quite 1
    rows, columns = (
        torch.arange(dark.shape[-2], dtype=dark.dtype)[:, None],
        torch.arange(dark.shape[-1], dtype=dark.dtype),
    )
    weight = dark / dark.sum((-2, -1), keepdim=True).clamp(min=1e-6)
    row, column = ((weight * place).sum((-2, -1), keepdim=True) for place in (rows, columns))
    slope = (weight * (rows - row) * (columns - column)).sum((-2, -1)) / (weight * (rows - row).square()).sum(
        (-2, -1)
    ).clamp(min=1e-6)
    return torch.rad2deg(torch.atan(-slope * WIDE / HIGH))


@lru_cache(64)
def episode(seed: int = 0) -> Episode:
    """As much of an episode as a film needs; its notes are CartPole's four numbers, which this agent does not see."""
    return play(bundled_pixel_agent(), None, seed, lambda world: np.array(world.state), LOOKED + AHEAD)


def true_angle(seen: Episode) -> Tensor:
    """The pole's real angle in degrees, (T,)."""
    return torch.rad2deg(torch.tensor(np.array(seen.notes)[:, 2], dtype=torch.float32))


class Film(NamedTuple):
    """Images with brightness 0 to 1, (T, 64, 64, 1)."""

    real: Tensor
    rebuilt: Tensor  # by the model, which sees every step
    dreamed: Tensor  # after seeing the first LOOKED steps only: several dreams, (N, T, 64, 64, 1)


@lru_cache(64)
@torch.no_grad()
def film(seed: int = 0, shuffled: bool = False, dreams: int = 5) -> Film:
    """At most LOOKED + AHEAD steps of an episode, and dreams of it. shuffled: each dream in another order of
    actions."""
    model, seen = bundled_pixel_agent().world_model, episode(seed)
    states, _ = thoughts(bundled_pixel_agent(), seen)
    last = min(len(seen.notes), LOOKED + AHEAD)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        orders = [torch.randperm(last - LOOKED) if shuffled else torch.arange(last - LOOKED) for _ in range(dreams)]
        actions = seen.steps.action[LOOKED:last][torch.stack(orders)]  # (N, T - LOOKED, 2)
        looked = states.feature[:LOOKED].expand(dreams, -1, -1)
        state, features = model.rssm.state(looked[:, -1]), list(looked.unbind(1))
        for action in actions.unbind(1):
            state = model.rssm.imagine_step(state, action)
            features.append(state.feature)
    return Film(
        seen.steps.obs[:last] / 255, model.decoder(states.feature[:last]), model.decoder(torch.stack(features, 1))
    )


def draw_film(t: int, seed: int, actions: str) -> tuple[Figure, str]:
    """Reality, reconstruction, dream and what the dream gets wrong at step t; below, the pole's angle."""
    shown = film(seed, actions == "shuffled")
    t = min(t, len(shown.real) - 1)
    figure = canvas(7.5, 3.6)
    above, below = figure.subfigures(2, 1, height_ratios=(1.5, 1))
    dream = shown.dreamed[0]
    wrong = dream[t] - shown.real[t]
    pictures = (
        ("reality", shown.real[t], REALITY),
        ("reconstruction", shown.rebuilt[t], POSTERIOR),
        ("dream", dream[t], DREAM),
        ("dream - reality", wrong, GREY),
    )
    for place, (name, picture, colour) in enumerate(pictures):
        axes = above.add_subplot(1, 4, place + 1)
        low = -1 if place == 3 else 0
        axes.imshow(picture[..., 0], cmap="PuOr" if place == 3 else "gray", vmin=low, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, color=colour, fontsize=9)
    axes = tidy(below.subplots(), xlabel="step", ylabel="angle (°)", ylim=(-20, 20), xlim=(0, LOOKED + AHEAD))
    axes.plot(true_angle(episode(seed))[: len(shown.real)], color=REALITY, label="reality")
    axes.plot(angle(dream), color=DREAM, label="read off the dream")
    axes.axvspan(0, LOOKED - 1, color=GREY, alpha=0.15, label="seen")
    axes.axvline(t, color="black", linewidth=1)
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncol=3, frameon=False)  # above the curves
    words = "seen" if t < LOOKED else f"{t - LOOKED + 1} steps into the dream"
    return figure, (
        f"Episode {seed}, step {t} ({words}), actions {actions}: real angle "
        f"{float(true_angle(episode(seed))[t]):+.1f}°, dreamed "
        f"{float(angle(dream[t])):+.1f}°; squared error of the dream {float(wrong.square().sum()):.1f}, of the "
        f"reconstruction "
        f"{float((shown.rebuilt[t] - shown.real[t]).square().sum()):.1f}."
    )


def dream_film() -> Explorer:
    """Move through an episode and its dream, frame by frame, with the slider or the arrow keys."""
    return Explorer(
        draw_film,
        "Reality, reconstruction, dream and their difference at one step, and the pole's angle over time.",
        t=whole("step", 0, LOOKED + AHEAD - 1, 20),
        seed=whole("episode", 0, 9, 0),
        actions=choice("actions", ["as in reality", "shuffled"]),
    )


@torch.no_grad()
def draw_painted(t: int, die: int, face: int) -> tuple[Figure, str]:
    """The image painted at step t, the same with one die of z turned to another face, and the difference."""
    model, (states, _) = bundled_pixel_agent().world_model, thoughts(bundled_pixel_agent(), episode())
    t = min(t, len(states.h) - 1)
    turned = states.z[[t]].clone()
    was = int(turned[0, die].argmax())
    turned[0, die] = torch.eye(turned.shape[-1])[face]
    before, after = (model.decoder(State(states.h[[t]], z).feature)[0] for z in (states.z[[t]], turned))
    change = after - before
    figure = canvas(6.5, 2.5)
    for place, (name, picture) in enumerate(
        (("as it was", before), (f"die {die}: face {was} → {face}", after), ("what changed", change))
    ):
        axes = figure.add_subplot(1, 3, place + 1)
        limit = max(0.05, float(change.abs().max()))
        low, high, colours = (-limit, limit, "PuOr") if place == 2 else (0, 1, "gray")
        shown = axes.imshow(picture[..., 0], cmap=colours, vmin=low, vmax=high)
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=9)
    figure.colorbar(shown, ax=axes, shrink=0.7)
    same = " That is the face it already showed." if face == was else ""
    return figure, (
        f"Step {t}, die {die} turned from face {was} to {face}: the largest pixel change is "
        f"{float(change.abs().max()):.2f}, the "
        f"squared changes add up to {float(change.square().sum()):.2f}; the angle read off goes from "
        f"{float(angle(before)):+.1f}° to {float(angle(after)):+.1f}°.{same}"
    )


def latent_painter() -> Explorer:
    """Turn one die of z, and see which part of the image it paints."""
    z = thoughts(bundled_pixel_agent(), episode())[0].z
    die = int(changes(0).amax(1).argmax())
    faces = changes(0)[die]
    return Explorer(
        draw_painted,
        "An image as the model paints it, the same with one die turned, and the difference.",
        t=whole("step", 0, min(len(z), LOOKED + AHEAD) - 1, 0),
        die=whole("die", 0, z.shape[1] - 1, die),
        face=whole("turn it to face", 0, z.shape[2] - 1, int(faces.argmax())),
    )


@torch.no_grad()
def changes(t: int) -> Tensor:
    """How much of the image each face of each die of z would change at step t: sums of squares, (S, K)."""
    model, (states, _) = bundled_pixel_agent().world_model, thoughts(bundled_pixel_agent(), episode())
    h, z = states.h[[t]], states.z[[t]]
    before, rows = model.decoder(State(h, z).feature), []
    for die in range(z.shape[1]):
        turned = z.repeat(z.shape[2], 1, 1)
        turned[:, die] = torch.eye(z.shape[2])
        rows.append((model.decoder(State(h.expand(z.shape[2], -1), turned).feature) - before).square().sum((1, 2, 3)))
    return torch.stack(rows)


def one_frame(states: list[list[float]]) -> list[np.ndarray]:
    """What the agent would see of carts in these states (position, velocity, angle, spin): images (64, 64, 1)."""
    env = make_env("CartPole-v1", pixels=64, gray=True)
    env.reset(seed=0)
    wrappers, inner = [], env
    while isinstance(inner, gymnasium.Wrapper):
        wrappers, inner = [inner, *wrappers], inner.env
    pictures = []
    for state in states:
        inner.state = np.array(state)
        picture = inner.render()
        for wrapper in wrappers:
            if isinstance(wrapper, gymnasium.ObservationWrapper) and not isinstance(wrapper, AddRenderObservation):
                picture = wrapper.observation(picture)
        pictures.append(picture)
    env.close()
    return pictures


def futures(state: list[float], steps: int = 20) -> np.ndarray:
    """The pole's real angle in degrees, (T,), while the cart is pushed left and right in turn, until the pole falls."""
    env, found = gymnasium.make("CartPole-v1").unwrapped, [np.rad2deg(state[2])]
    env.reset(seed=0)
    env.state = np.array(state)
    for t in range(steps):
        obs, _, ended, *_ = env.step(t % 2)
        found.append(np.rad2deg(obs[2]))
        if ended:
            break
    return np.array(found)


def draw_one_frame() -> tuple[Figure, str]:
    """Two carts that look the same, and what happens to them."""
    states = {"cart 1": [0.0, 0.5, 0.05, -0.8], "cart 2": [0.0, -0.5, 0.05, 0.8]}
    figure = canvas(7.5, 2.4)
    pictures = one_frame(list(states.values()))
    for place, (name, picture) in enumerate(zip(states, pictures)):
        axes = figure.add_subplot(1, 3, place + 1)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=9)
    axes = tidy(figure.add_subplot(1, 3, 3), xlabel="step", ylabel="angle (°)")
    for (name, state), colour in zip(states.items(), (REALITY, OWN)):
        axes.plot(futures(state), color=colour, label=name)
    axes.legend(fontsize=8)
    apart = int((pictures[0] != pictures[1]).sum())
    return (
        figure,
        f"The two images differ in {apart} of {pictures[0].size:,} bytes; afterwards one pole falls to the left, the "
        f"other to the right.",
    )


def steps_true(seed: int, shuffled: bool, tolerance: float) -> list[int]:
    """Dreamed steps until the dream's angle is more than `tolerance` degrees off the real one, for five dreams."""
    shown = film(seed, shuffled)
    off = (angle(shown.dreamed) - true_angle(episode(seed))[: len(shown.real)]).abs()[:, LOOKED:] > tolerance
    return [int(row.int().argmax()) if row.any() else len(row) for row in off]


def ruler_error(count: int = 10) -> Tensor:
    """How many degrees the angle read off real images is off the real one, in some episodes."""
    return torch.cat(
        [(angle(episode(seed).steps.obs / 255) - true_angle(episode(seed))).abs() for seed in range(count)]
    )


def how_long(shuffled: bool, tolerance: float = 3.0, count: int = 20) -> list[float]:
    """The median of `steps_true` over episodes, for each of five dreams."""
    return np.median([steps_true(seed, shuffled, tolerance) for seed in range(count)], axis=0).tolist()


def draw_true(found: dict[str, list[float]]) -> tuple[Figure, str]:
    """For each kind of dream, the median over episodes, a dot for each of its five dreams."""
    figure = canvas(6.5, 2)
    axes = tidy(figure.add_subplot(), xlabel="dreamed steps within 3°, median of the episodes", xlim=(0, AHEAD + 1))
    for row, (name, values) in enumerate(found.items()):
        axes.plot(values, row + np.linspace(-0.15, 0.15, len(values)), "o", color=(DREAM, OWN)[row], alpha=0.7)
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.5, -0.5)
    return figure, "; ".join(
        f"{name}: {min(values):.0f} to {max(values):.0f} steps" for name, values in found.items()
    ) + "."
