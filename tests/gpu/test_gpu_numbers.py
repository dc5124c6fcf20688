"""The official numbers, computed on a GPU."""

import pytest
from test_golden import CHECKS, run_check
import torch


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", CHECKS)
def test_ours_is_official(name, dtype, device):
    with torch.device(device):
        run_check(name, dtype)
