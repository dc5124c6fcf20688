"""dreamer4 0.20.2, another algorithm: its two-hot rewards, an option, are all that it shares with DreamerV3."""

import sys
from unittest.mock import MagicMock

for name in ("torchvision", "torchvision.models", "torchvision.transforms", "torchvision.utils", "torchvision.io"):
    sys.modules[name] = MagicMock()  # for images; a wheel for another PyTorch does not load

from dreamer4.dreamer4 import SymExpTwoHot  # noqa: E402
import torch  # noqa: E402

ARRAYS = "torch"


def two_hot_bins(count, limit):
    return SymExpTwoHot((-limit, limit), count).bin_values


def two_hot(x):
    return SymExpTwoHot()(x)


def two_hot_mean(logits):
    return SymExpTwoHot().bins_to_scalar_value(logits)


def two_hot_loss(logits, x):
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, -2), SymExpTwoHot()(x).flatten(0, -2), reduction="none"
    ).reshape(x.shape)
