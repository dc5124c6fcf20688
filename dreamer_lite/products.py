"""Which of PyTorch's libraries computes the matrix products of a train step on a CPU: MKL or oneDNN."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from .config import Config

LARGE = 3e7  # weights × rows / steps through time; below, beginning a product takes longer than oneDNN gains
FEW = 4  # sequences; with fewer, products have too few rows


def onednn_pays(config: Config, weights: int) -> bool:
    """Whether train steps with these settings, of an agent with so many weights, take less time with `by_onednn`.

    The same answer on every machine of a kind, so that the same seed gives the same curve. Measured: docs/speed.md.
    False if the program has chosen a precision for products.
    """
    dreams = config.batch_size * (config.imag_last or config.seq_len)
    rows = config.batch_size * config.seq_len + dreams * config.horizon
    large = config.batch_size >= FEW and weights * rows / (config.seq_len + config.horizon) > LARGE
    return large and hasattr(torch.backends.mkldnn, "matmul") and products_are_free() and mkl_is_held_back()


def products_are_free() -> bool:
    """Whether the program has not chosen a precision for products, as torch.set_float32_matmul_precision does."""
    return torch.backends.mkldnn.matmul.fp32_precision == "none"


@cache
def mkl_is_held_back() -> bool:
    """Whether this is an AMD processor since Zen 5, and oneDNN's products are as exact as MKL's, which is tried once.

    There MKL reaches less than half of oneDNN's rate (findings/allowing_bfloat16_speeds_up_float32.sh).
    """
    processor = getattr(torch.cpu, "get_capabilities", dict)()
    since_zen_5 = processor.get("avx512_vp2intersect")  # Zen 4 has AVX-512 too, but computes it in two halves
    if not (processor.get("cpu_name", "").startswith("AMD") and since_zen_5):
        return False
    a = torch.linspace(0.1, 1, 64 * 64, dtype=torch.float32, device="cpu").view(64, 64)
    with by_onednn():
        product = a @ a
    return torch.allclose(product, a @ a, rtol=1e-5, atol=0)  # bfloat16 is off by 1e-4 and more


@contextmanager
def by_onednn() -> Iterator[None]:
    """Inside, oneDNN computes float32 products, unless the program has chosen a precision for them itself.

    PyTorch asks oneDNN only where products in bfloat16 are allowed. oneDNN makes use of that on processors with AMX
    alone, so elsewhere the results remain float32; `mkl_is_held_back` tries it out. Gotcha: the setting is that of the
    whole process, and inside, PyTorch's older `torch.get_float32_matmul_precision` raises RuntimeError.
    """
    if not products_are_free():
        yield
        return
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = "none"
