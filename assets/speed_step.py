"""Times train steps of one code: `python speed_step.py TASK.json OUT.json`; speed.py runs this, for its tables.

Each code takes the step that its own training takes, on one fixed batch of random experience. Kept are the processor's
seconds of each step and of the preparation, the peak memory of the process, and the number of weights that learn.
"""

from collections.abc import Callable
import json
from pathlib import Path
import resource
import sys
import time
from typing import Any, NamedTuple

from dreamer_lite.config import Config, Spaces

# Steps are timed until there are so many, or for so long. At its hundredth step the official code starts a profiler.
WARM_UP, STEPS, SECONDS = 5, 80, 12


class Prepared(NamedTuple):
    step: Callable[[], Any]
    weights: int  # that learn


def ours(task: dict[str, Any]) -> Prepared:
    """This package: eager, or compiled."""
    from dreamer_lite.training.bench import make_step
    from dreamer_lite.training.compiled import compile_learner
    from dreamer_lite.training.device import keep_memory

    keep_memory()
    learner, step = make_step(Config(**task["config"]), "cpu", Spaces(**task["spaces"]))
    if task["compiled"]:
        compile_learner(learner)
    return Prepared(step, learner.optimizer.weights.numel())


def official(task: dict[str, Any]) -> Prepared:
    """The official agent's `train`, on a batch of its own replay buffer."""
    from dreamerv3.main import make_stream
    import elements
    import embodied
    import jax
    import numpy as np
    from official_agent import make_agent, official_config

    image, numbers = tuple(task["spaces"]["image"]), task["spaces"]["obs_size"]
    seen_space = elements.Space(np.uint8, image) if image else elements.Space(np.float32, numbers)

    class Noise(embodied.Env):
        """Random observations of that shape, episodes of fifty steps."""

        obs_space = {
            "seen": seen_space,
            "reward": elements.Space(np.float32),
            **{flag: elements.Space(bool) for flag in ("is_first", "is_last", "is_terminal")},
        }
        act_space = {"action": elements.Space(np.int32, (), 0, 2), "reset": elements.Space(bool)}
        dice, count = np.random.default_rng(0), 0

        def step(self, action):
            first, self.count = self.count == 0, (self.count + 1) % 50
            seen = self.dice.integers(256, size=image) if image else self.dice.normal(size=numbers)
            flags = dict(is_first=first, is_last=self.count == 0, is_terminal=self.count == 0)
            return {"seen": seen.astype(seen_space.dtype), "reward": np.float32(1), **flags}

    config = official_config({**task["official"], "logdir": "."})
    driver = embodied.Driver([Noise], parallel=False)
    agent = make_agent(driver, config)
    length = config.batch_length + config.replay_context
    replay = embodied.replay.Replay(length=length, capacity=10_000, online=False)
    driver.on_step(replay.add)
    driver.reset(agent.init_policy)
    driver(lambda *given: agent.policy(*given, mode="train"), steps=4 * length)
    batch = next(iter(agent.stream(make_stream(config, replay, "train"))))
    carry = agent.init_train(config.batch_size)

    def step():
        nonlocal carry
        carry, *_ = agent.train(carry, dict(batch))  # it takes the seed out of the dictionary
        jax.block_until_ready(agent.params)

    learned = ("enc/", "dyn/", "dec/", "rew/", "con/", "pol/", "val/")
    return Prepared(step, sum(part.size for name, part in agent.params.items() if name.startswith(learned)))


def sheeprl(task: dict[str, Any]) -> Prepared:
    """sheeprl's `train` of dreamer_v3_5, then the step of its slow critic, as its `main` takes them."""
    import gymnasium
    from hydra import compose, initialize_config_module
    from hydra.utils import instantiate
    from lightning import Fabric
    from omegaconf import OmegaConf
    from sheeprl.algos.dreamer_v3.utils import Moments
    from sheeprl.algos.dreamer_v3_5.agent import build_agent
    from sheeprl.algos.dreamer_v3_5.dreamer_v3_5 import train, update_target_critic
    from sheeprl.utils.utils import dotdict
    import torch
    import torch.nn.functional as F

    c, image = Config(**task["config"]), tuple(task["spaces"]["image"])
    keys = "algo.cnn_keys.encoder=[seen]", "algo.mlp_keys.encoder=[]"
    if not image:
        keys = "algo.cnn_keys.encoder=[]", "algo.mlp_keys.encoder=[seen]"
    with initialize_config_module("sheeprl.configs", version_base="1.3"):
        words = [f"{name}={value}" for name, value in sheeprl_sizes(c).items()]
        chosen = compose("config", ["exp=dreamer_v3_5", "env=gym", "env.id=CartPole-v1", *keys, *words])
    config = dotdict(OmegaConf.to_container(chosen, resolve=True))
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    fabric.launch()
    size = (image[2], *image[:2]) if image else (task["spaces"]["obs_size"],)
    seen = gymnasium.spaces.Box(0, 255, size, "uint8") if image else gymnasium.spaces.Box(-1, 1, size)
    agent = build_agent(fabric, (2,), False, config, gymnasium.spaces.Dict(seen=seen))[:4]
    learned = [p for part in agent[:3] for p in part.parameters() if p.requires_grad]
    optimizer = fabric.setup_optimizers(instantiate(config.algo.optimizer, params=learned, _convert_="all"))
    moments = Moments(0.99, 1.0, 0.05, 0.95)

    T, B = c.seq_len + 1, c.batch_size  # one step of context
    flags = {name: (torch.rand(T, B, 1) < 0.02).float() for name in ("is_first", "terminated", "truncated")}
    data = {
        "seen": torch.randint(256, (T, B, *size), dtype=torch.uint8) if image else torch.randn(T, B, *size),
        "actions": F.one_hot(torch.randint(2, (T, B)), 2).float(),
        "rewards": torch.ones(T, B, 1),
        "deter": torch.zeros(T, B, c.deter, dtype=torch.float16),
        "stoch": torch.zeros(T, B, c.groups, dtype=torch.uint8),
        **flags,
    }

    def step():
        train(fabric, config, *agent, optimizer, moments, dict(data), None, (2,))
        update_target_critic(agent[2], agent[3], config.algo.critic.tau)

    return Prepared(step, sum(p.numel() for p in learned))


def sheeprl_sizes(c: Config) -> dict[str, Any]:
    """The settings that differ from those of `dreamer_v3_5`, in sheeprl's terms."""
    model = "algo.world_model."
    return {
        "algo.per_rank_batch_size": c.batch_size,
        "algo.per_rank_sequence_length": c.seq_len,
        "algo.horizon": c.horizon,
        "algo.dense_units": c.hidden,
        "algo.cnn_channels_multiplier": c.depth,
        "algo.actor.unimix": 0,
        "algo.actor.mlp_layers": c.head_layers,
        "algo.critic.mlp_layers": c.head_layers,
        "algo.critic.bins": c.bins,
        f"{model}stochastic_size": c.groups,
        f"{model}discrete_size": c.classes,
        f"{model}recurrent_model.recurrent_state_size": c.deter,
        f"{model}recurrent_model.hidden_size": c.rssm_hidden or c.hidden,
        f"{model}recurrent_model.blocks": c.blocks,
        f"{model}encoder.mlp_layers": c.encoder_layers,
        f"{model}observation_model.mlp_layers": c.decoder_layers,
        f"{model}observation_model.block_space": c.bspace,
        f"{model}reward_model.bins": c.bins,
    }


CODES = {"ours": ours, "official": official, "sheeprl": sheeprl}


def measure(task: dict[str, Any]) -> dict[str, Any]:
    prepared, times = CODES[task["code"]](task), []
    prepared.step()
    compilers = resource.getrusage(resource.RUSAGE_CHILDREN)
    preparation = time.process_time() + compilers.ru_utime + compilers.ru_stime
    for _ in range(WARM_UP):
        prepared.step()
    warm = time.process_time()
    while len(times) < STEPS and time.process_time() - warm < SECONDS:
        start = time.process_time()
        prepared.step()
        times.append(time.process_time() - start)
    return {
        "seconds": times,
        "preparation": preparation,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        "weights": prepared.weights,
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(measure(json.loads(Path(sys.argv[1]).read_text()))))
