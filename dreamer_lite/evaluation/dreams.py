"""How true are the agent's dreams? A real episode, and the dream beside it."""

from contextlib import closing
from typing import NamedTuple

import gymnasium
import numpy as np
import torch

from ..agent import Dreamer
from ..config import Config
from ..envs.making import EnvFactory
from ..envs.spaces import number_names
from ..errors import Refused, first_line, require, require_whole
from ..replay import Obs, map_obs, obs_by_kind
from ..rng import seeded
from .evaluate import evaluation_seed, matching_envs, named_config
from .rollout import rollout


class OpenLoop(NamedTuple):
    """One real episode and the dream beside it, step by step; the dream has not seen reality since step 0."""

    env: str  # its name in the agent's settings, or the given one
    real: np.ndarray  # (T, O) the numbers in the observations
    dreamed: np.ndarray  # (T, O) the same, decoded from the dream
    actions: np.ndarray  # (T, A) the actions that led to each step, the same in both
    real_pictures: np.ndarray | None = None  # (T, H, W, C) bytes, where the agent sees images
    dreamed_pictures: np.ndarray | None = None  # (T, H, W, C)
    frames: list[np.ndarray] = []  # T images (H, W, 3) that the environment rendered, with render=True
    names: list[str] = []  # of the numbers
    undrawn: str = ""  # the error, if the environment failed to render frames
    is_cartpole: bool = False  # whether the numbers are those of CartPole itself, and can be drawn as carts
    choices: tuple[tuple[int, int], ...] = ()  # which numbers are choices, as in `Spaces.obs_choices`


@torch.no_grad()
def open_loop(
    agent: Dreamer,
    env: str | EnvFactory | gymnasium.Env | None = None,
    steps: int = 60,
    context: int = 10,
    seed: int = 0,
    render: bool = False,
) -> OpenLoop:
    """Let the agent play and observe for context + 1 steps; then its world model dreams on from the same actions alone.

    Returns `steps` steps, of which the first is the last one that was observed; fewer if the real episode ends. render:
    keep what the environment renders, if it can. Raises Refused if the episode ends within the context, or as
    `evaluate` does.
    """
    require(agent, Dreamer, "a dream needs a Dreamer, such as load(run)")
    steps, context, seed = require_whole(steps=(steps, 1), context=(context, 0), seed=(seed, 0))
    envs, rssm = matching_envs(agent, env, 1, seed, render), agent.world_model.rssm
    real, dreamed, actions, frames, undrawn = [], [], [], [], ""
    with closing(envs), seeded(agent.device, evaluation_seed(seed)):
        state = agent.initial(1).state
        for t, (step, carry) in enumerate(rollout(agent, envs, context + steps)):
            if step.is_first[0] and t:
                break
            state = rssm.imagine_step(state, step.action) if t > context else carry.state
            if t >= context:
                dreamed.append(
                    map_obs(lambda part: part[0].cpu().numpy(), agent.world_model.predict_obs(state.feature))
                )
                real.append(map_obs(lambda part: part[0].cpu().numpy(), step.obs))
                actions.append(step.action[0].cpu().numpy())
                frame, undrawn = (None, undrawn) if undrawn else rendered(envs.envs[0])
                frames += [frame] if frame is not None else []
    names = number_names(envs.envs[0].observation_space)
    if not real:
        raise Refused(
            f"the episode ended within {context} steps, before the dream began; try another seed or less context"
        )
    (real, real_pictures), (dreamed, dreamed_pictures) = numbers_and_pictures(real), numbers_and_pictures(dreamed)
    named = named_config(agent.config, env)
    is_cartpole = (env is None or isinstance(env, str)) and plain_cartpole(named) and real.shape[1] == 4
    return OpenLoop(
        named.env,
        real,
        dreamed,
        np.stack(actions),
        real_pictures,
        dreamed_pictures,
        frames,
        names,
        undrawn,
        is_cartpole,
        envs.spaces.obs_choices,
    )


def one_number_per_choice(pair: OpenLoop) -> OpenLoop:
    """The same, with one number for each one-hot choice: which option it is; in the dream, which is the likeliest."""
    options = {start: count for start, count in pair.choices if count > 1}
    if not options:
        return pair
    stems = [pair.names[start].rsplit("[", 1)[0] for start in options]  # "x" for "x[0]"
    real, dreamed, names, at = [], [], [], 0
    while at < pair.real.shape[1]:
        part = slice(at, at + options.get(at, 1))
        real.append(pair.real[:, part].argmax(-1) if at in options else pair.real[:, at])
        dreamed.append(pair.dreamed[:, part].argmax(-1) if at in options else pair.dreamed[:, at])
        stem = pair.names[at].rsplit("[", 1)[0]
        alone = f"{stem}[{sum(name.startswith(f'{stem}[') for name in names)}]" if stems.count(stem) > 1 else stem
        names.append(alone if at in options else pair.names[at])
        at = part.stop
    return pair._replace(real=np.stack(real, -1), dreamed=np.stack(dreamed, -1), names=names, choices=())


def plain_cartpole(config: Config) -> bool:
    """Whether these settings make CartPole itself, without a wrapper or a function that may change it."""
    return config.env.startswith("CartPole-") and not config.wrap and not config.env_from_function


def numbers_and_pictures(observations: list[Obs]) -> tuple[np.ndarray, np.ndarray | None]:
    """The numbers (T, O) and the images (T, H, W, C) of T observations; no numbers are (T, 0), no images None."""
    kinds = [obs_by_kind(obs) for obs in observations]
    pictures = np.stack([obs["image"] for obs in kinds]) if "image" in kinds[0] else None
    return np.stack([obs.get("vector", np.zeros(0)) for obs in kinds]), pictures


def rendered(env: gymnasium.Env) -> tuple[np.ndarray | None, str]:
    """What the environment renders, (H, W, 3), or None if it can't; and the error if rendering failed, else ""."""
    if env.render_mode != "rgb_array":
        return None, ""
    try:
        frame = env.render()
    except Exception as error:  # no pygame or OpenGL, or a bug in the renderer: the dream needs none
        return None, first_line(error)
    return (frame, "") if isinstance(frame, np.ndarray) and frame.ndim == 3 else (None, "")
