"""torchrl 0.14.1 with the arguments of its losses that select the KL of DreamerV3."""

import torchrl_adapter
from torchrl_adapter import *  # noqa: F403
from torchrl_adapter import ARRAYS, NOTES  # noqa: F401

torchrl_adapter.SETTINGS |= {"kl_mode": "separate", "unimix": 0.01}
