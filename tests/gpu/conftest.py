"""The tests here need a GPU, and are skipped without one. DREAMER_REHEARSAL=1 runs them on a CPU, with a stand-in."""

import os

import pytest
from stand_in import without_cuda
import torch

from dreamer_lite.training.device import use_device


@pytest.fixture
def device(monkeypatch):
    """The GPU, with all sums and products in float32; in a rehearsal the CPU."""
    if os.environ.get("DREAMER_REHEARSAL"):
        with without_cuda():
            yield "cpu"
    elif torch.cuda.is_available():
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
        monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
        yield use_device("cuda")
    else:
        pytest.skip("needs a GPU")
