"""Trains the official agent in one of our environments, as its `embodied/run/train.py` does, and evaluates it.

beside.py runs this where the official code is installed: `python official_run.py SETTINGS.json OUT.csv`. Agent,
driver, replay buffer, streams and ratio are the official code's; logging, reports and checkpoints are left out.
Evaluations are episodes in fresh copies, with the newest parameters.
"""

from collections.abc import Callable
from contextlib import contextmanager
import csv
from functools import partial
import json
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

from dreamerv3.main import make_stream
import elements
import embodied
import numpy as np
from official_agent import make_agent, official_config

from dreamer_lite.codecs import options_at
from dreamer_lite.config import Config, Spaces
from dreamer_lite.envs.making import make_envs
from dreamer_lite.envs.stepping import Envs

COLUMNS = "env_steps train_steps cpu_seconds eval_mean eval_std eval_episodes".split()


def seen(spaces: Spaces) -> dict[str, tuple[elements.Space, Callable[[np.ndarray], Any]]]:
    """What the official agent sees, by name: its space, and how it is read from what ours sees.

    Numbers are one vector, each choice is an integer, all yes and no are one array of bools.
    """
    if spaces.image:
        return {"image": (elements.Space(np.uint8, spaces.image), lambda obs: obs)}
    parts, places = {}, options_at(spaces.obs_size, spaces.obs_choices).numpy()
    flags, numbers = places == 1, places == 0
    for number, (start, options) in enumerate(spaces.obs_choices):
        if options > 1:
            part = slice(start, start + options)
            read = lambda obs, part=part: np.int32(obs[part].argmax())
            parts[f"choice{number:03}"] = elements.Space(np.int32, (), 0, options), read
    if flags.any():
        parts["flags"] = elements.Space(bool, (int(flags.sum()),)), lambda obs: obs[flags] > 0.5
    if numbers.any():
        parts["vector"] = elements.Space(np.float32, (int(numbers.sum()),)), lambda obs: obs[numbers]
    return parts


class World(embodied.Env):
    """One of our environments: the same observations, episodes and scaling of actions for both agents."""

    obs_space, act_space = {}, {}  # filled below; properties in the base class

    def __init__(self, envs: Envs, number: int):
        self.envs, self.number, spaces = envs, number, envs.spaces
        (self.choices, *more), numbers = spaces.action_parts[0] or (0,), spaces.action_parts[1]
        if more or self.choices and numbers or spaces.image and spaces.obs_size:
            raise ValueError(f"only one kind of observation and action is handled here, not {spaces}")
        self.parts = seen(spaces)
        self.obs_space = {
            **{name: space for name, (space, _) in self.parts.items()},
            "reward": elements.Space(np.float32),
            **{flag: elements.Space(bool) for flag in ("is_first", "is_last", "is_terminal")},
        }
        action = elements.Space(np.int32, (), 0, self.choices)
        if numbers:
            action = elements.Space(np.float32, (numbers,), -1, 1)
        self.act_space = {"action": action, "reset": elements.Space(bool)}

    def step(self, action):
        chosen = action["action"]
        chosen = np.eye(self.choices, dtype=np.float32)[chosen] if self.choices else chosen
        row = self.envs.step(chosen[None], [self.number])
        flags = {name: bool(getattr(row, name)[0]) for name in ("is_first", "is_last", "is_terminal")}
        obs = {name: read(row.obs[0]) for name, (_, read) in self.parts.items()}
        return {**obs, "reward": row.reward[0], **flags}


def make_driver(config: Config, count: int, seed: int) -> embodied.Driver:
    """The official driver of so many environments."""
    envs = make_envs(config, count, seed, remember=False)
    return embodied.Driver([partial(make_world, envs, number) for number in range(count)], parallel=False)


def make_world(envs: Envs, number: int) -> embodied.Env:
    """With the official wrappers around it, as `dreamerv3/main.py: wrap_env` has them."""
    env = embodied.wrappers.CheckSpaces(embodied.wrappers.UnifyDtypes(World(envs, number)))
    return env if env.act_space["action"].discrete else embodied.wrappers.ClipAction(env, "action")


@contextmanager
def newest_weights(agent):
    """Inside, the agent acts with its newest parameters, as ours does; afterwards, it goes on as if nothing had been.

    While it trains, the official agent acts with parameters that are a few train steps old.
    """
    kept = agent.policy_params, agent.pending_sync, agent.n_actions.value
    agent.policy_params = {name: agent.params[name].copy() for name in agent.policy_keys}
    agent.pending_sync = None
    try:
        yield
    finally:
        agent.policy_params, agent.pending_sync, agent.n_actions.value = kept


def evaluate(agent, config: Config, seed: int) -> np.ndarray:
    """Returns of one episode in each of so many copies; actions are sampled."""
    episodes = config.eval_episodes
    driver = make_driver(config, episodes, seed)
    returns, steps, ended = np.zeros(episodes), np.zeros(episodes, int), np.zeros(episodes, bool)

    def add(step, i, **_):
        if not ended[i]:
            returns[i] += step["reward"]
            steps[i] += 1
            ended[i] = step["is_last"] or steps[i] > config.eval_steps

    driver.on_step(add)
    with newest_weights(agent):
        driver.reset(agent.init_policy)
        while not ended.all():
            driver(partial(agent.policy, mode="eval"), steps=1)
    driver.envs[0].envs.close()
    return returns


def train_step_of(agent, config, replay, step):
    """A function that takes the train steps that are due."""
    size = config.batch_size * config.batch_length
    stream, carry = iter(agent.stream(make_stream(config, replay, "train"))), agent.init_train(config.batch_size)
    should_train = elements.when.Ratio(config.run.train_ratio / size)

    def train(*_, **__):
        nonlocal carry
        for _ in range(should_train(step) if len(replay) >= size else 0):
            carry, outs, _ = agent.train(carry, next(stream))
            if "replay" in outs:
                replay.update(outs["replay"])

    return train


def main(settings: dict, out: Path) -> None:
    ours, seed = Config(**settings["ours"]), settings["ours"]["seed"]
    with tempfile.TemporaryDirectory() as folder, out.open("w", newline="") as file:
        config = official_config({**settings["official"], "logdir": folder, "seed": seed})
        driver = make_driver(ours, config.run.envs, seed)
        agent = make_agent(driver, config)
        replay = embodied.replay.Replay(
            length=config.batch_length + config.replay_context,
            capacity=int(config.replay.size),
            online=config.replay.online,
        )
        step = elements.Counter()
        driver.on_step(lambda *_, **__: step.increment())
        driver.on_step(replay.add)
        driver.on_step(train_step_of(agent, config, replay, step))
        driver.reset(agent.init_policy)
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        while int(step) < ours.steps:
            driver(partial(agent.policy, mode="train"), steps=config.run.envs)
            if int(step) % ours.eval_every < config.run.envs:
                spent, taken = time.process_time(), int(agent.n_updates)
                found = evaluate(agent, ours, 1_000_003 + seed + int(step))
                writer.writerow([int(step), taken, round(spent, 2), found.mean(), found.std(), len(found)])
                file.flush()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
