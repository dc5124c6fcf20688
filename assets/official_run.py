"""Trains the official agent in one of our environments, as its `embodied/run/train.py` does, and evaluates it.

beside.py runs this where the official code is installed: `python official_run.py SETTINGS.json OUT.csv`. What
environments, replay buffer, streams, ratio and agent are is the official code's; logging, reports and checkpoints are
left out. Evaluations are episodes in fresh copies, with the parameters that act.
"""

import csv
from functools import partial
import json
from pathlib import Path
import sys
import tempfile
import time

from dreamerv3 import agent as agents
from dreamerv3.main import make_stream
import elements
import embodied
import numpy as np
from ruamel import yaml

from dreamer_lite.config import Config
from dreamer_lite.envs.making import make_envs

COLUMNS = "env_steps train_steps cpu_seconds eval_mean eval_std eval_episodes".split()


class World(embodied.Env):
    """One environment of ours: the same numbers or images, and the same scaling of actions, for both agents."""

    obs_space, act_space = {}, {}  # filled below; properties in the base class

    def __init__(self, config: Config, seed: int):
        self.envs = make_envs(config, 1, seed)
        spaces = self.envs.spaces
        (self.choices, *more), numbers = spaces.action_parts[0] or (0,), spaces.action_parts[1]
        if more or self.choices and numbers or spaces.image and spaces.obs_size:
            raise ValueError(f"only one kind of observation and action is handled here, not {spaces}")
        seen = ("image", spaces.image, np.uint8) if spaces.image else ("vector", (spaces.obs_size,), np.float32)
        self.kind, shape, dtype = seen
        self.obs_space = {
            self.kind: elements.Space(dtype, shape),
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
        row = self.envs.step(chosen[None])
        flags = {name: bool(getattr(row, name)[0]) for name in ("is_first", "is_last", "is_terminal")}
        return {self.kind: row.obs[0], "reward": row.reward[0], **flags}

    def close(self):
        self.envs.close()


def make_world(config: Config, seed: int) -> embodied.Env:
    """With the official wrappers around it, as `dreamerv3/main.py: wrap_env` has them."""
    env = embodied.wrappers.CheckSpaces(embodied.wrappers.UnifyDtypes(World(config, seed)))
    return env if env.act_space["action"].discrete else embodied.wrappers.ClipAction(env, "action")


def official_config(changes: dict) -> elements.Config:
    """`configs.yaml`: the defaults, then size1m, then these changes."""
    text = (Path(agents.__file__).parent / "configs.yaml").read_text()
    known = yaml.YAML(typ="safe").load(text)
    return elements.Config(known["defaults"]).update(known["size1m"]).update(changes)


def evaluate(agent, config: Config, episodes: int, seed: int) -> np.ndarray:
    """Returns of one episode in each of so many copies; actions are sampled."""
    driver = embodied.Driver([partial(make_world, config, seed + i) for i in range(episodes)], parallel=False)
    returns, ended = np.zeros(episodes), np.zeros(episodes, bool)

    def add(step, i, **_):
        if not ended[i]:
            returns[i] += step["reward"]
            ended[i] = step["is_last"]

    driver.on_step(add)
    driver.reset(agent.init_policy)
    while not ended.all():
        driver(partial(agent.policy, mode="eval"), steps=1)
    driver.close()
    return returns


def main(settings: dict, out: Path) -> None:
    ours, seed = Config(**settings["ours"]), settings["ours"]["seed"]
    with tempfile.TemporaryDirectory() as folder:
        config = official_config({**settings["official"], "logdir": folder, "seed": seed})
        batch, length = config.batch_size, config.batch_length
        driver = embodied.Driver(
            [partial(make_world, ours, 1000 * seed + i) for i in range(config.run.envs)], parallel=False
        )
        spaces = driver.envs[0].obs_space, {k: v for k, v in driver.envs[0].act_space.items() if k != "reset"}
        shared = {
            name: config[name]
            for name in "logdir seed jax batch_size batch_length replay_context report_length replica replicas".split()
        }
        agent = agents.Agent(*spaces, elements.Config(**config.agent, **shared))
        replay = embodied.replay.Replay(
            length=length + config.replay_context, capacity=int(config.replay.size), online=config.replay.online
        )
        stream, carry = iter(agent.stream(make_stream(config, replay, "train"))), agent.init_train(batch)
        step, due, taken = elements.Counter(), elements.when.Ratio(config.run.train_ratio / (batch * length)), 0

        def train(*_, **__):
            nonlocal carry, taken
            if len(replay) < batch * length:
                return
            for _ in range(due(step)):
                carry, outs, _ = agent.train(carry, next(stream))
                taken += 1
                if "replay" in outs:
                    replay.update(outs["replay"])

        driver.on_step(lambda *_, **__: step.increment())
        driver.on_step(replay.add)
        driver.on_step(train)
        driver.reset(agent.init_policy)
        with out.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            while int(step) < ours.steps:
                driver(partial(agent.policy, mode="train"), steps=config.run.envs)
                if int(step) % ours.eval_every < config.run.envs:
                    spent = time.process_time()
                    found = evaluate(agent, ours, ours.eval_episodes, 1_000_003 + 1000 * seed + int(step))
                    row = [int(step), taken, round(spent, 2), found.mean(), found.std(), len(found)]
                    writer.writerow(row)
                    file.flush()
                    print(*row, flush=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
