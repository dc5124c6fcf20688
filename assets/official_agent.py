"""The official agent, for official_run.py and speed_step.py, which run where its code is installed."""

from pathlib import Path

from dreamerv3 import agent as agents
import elements
import embodied
from ruamel import yaml


def official_config(changes: dict) -> elements.Config:
    """`configs.yaml`: the defaults, then size1m, then these changes."""
    text = (Path(agents.__file__).parent / "configs.yaml").read_text()
    known = yaml.YAML(typ="safe").load(text)
    return elements.Config(known["defaults"]).update(known["size1m"]).update(changes)


def make_agent(driver: embodied.Driver, config: elements.Config) -> agents.Agent:
    """As `dreamerv3/main.py: make_agent` does, with the spaces of the driver's environments."""
    spaces = driver.envs[0].obs_space, {name: s for name, s in driver.envs[0].act_space.items() if name != "reset"}
    shared = "logdir seed jax batch_size batch_length replay_context report_length replica replicas".split()
    return agents.Agent(*spaces, elements.Config(**config.agent, **{name: config[name] for name in shared}))
