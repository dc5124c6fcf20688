"""Large products by oneDNN, where MKL would be slower and nothing is lost."""

from contextlib import nullcontext

import pytest
import torch
from torch.overrides import TorchFunctionMode

from dreamer_lite import products
from dreamer_lite.agent import Dreamer
from dreamer_lite.config import Config, Spaces
from dreamer_lite.learner import Learner
from dreamer_lite.products import by_onednn, mkl_is_held_back, onednn_pays
from dreamer_lite.training.bench import SHAPES, make_learner

if not hasattr(torch.cpu, "get_capabilities"):
    pytest.skip("an older PyTorch stays with MKL", allow_module_level=True)
SETTING = torch.backends.mkldnn.matmul


def test_it_pays_for_large_agents_and_large_batches(monkeypatch):
    """Measured at each of these, on an AMD EPYC (docs/speed.md)."""
    monkeypatch.setattr(products, "mkl_is_held_back", lambda: True)
    small = Config.preset("small")
    every_state = Config.preset("small", batch_size=64, seq_len=64, imag_last=0)
    for config, weights, pays in (
        (small, 110_917, False),
        (SHAPES["tiny"], 118_981, False),
        (every_state, 110_917, True),
        (SHAPES["common"], 637_381, True),
        (Config.preset("gpu"), 1_602_437, True),
        (Config.preset("size12m", batch_size=1, imag_last=32), 9_724_165, False),
    ):
        assert onednn_pays(config, weights) == pays
    try:
        torch.set_float32_matmul_precision("highest")  # also a choice, though it is the default
        assert not onednn_pays(SHAPES["common"], 637_381)
    finally:
        SETTING.fp32_precision = "none"
    monkeypatch.setattr(products, "mkl_is_held_back", lambda: False)
    assert not onednn_pays(SHAPES["common"], 637_381)


def exact():
    a = torch.rand(300, 200, generator=torch.Generator().manual_seed(0))
    with by_onednn():
        product = a @ a.T
    return torch.allclose(product, a @ a.T, rtol=1e-5)


class Rounds(TorchFunctionMode):
    """Inside, products are rounded as on a processor with AMX."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        return out.bfloat16().float() if "matmul" in func.__name__ else out


def test_a_processor_is_believed_only_if_products_stay_exact(monkeypatch):
    amd = {"cpu_name": "AMD EPYC 9575F", "avx512_vp2intersect": True}
    for processor in ({}, amd | {"cpu_name": "Intel(R) Xeon(R)"}, amd | {"avx512_vp2intersect": False}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)
        assert not mkl_is_held_back.__wrapped__()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: amd)
    assert mkl_is_held_back.__wrapped__() == exact()

    monkeypatch.setattr(products, "by_onednn", Rounds)
    assert not mkl_is_held_back.__wrapped__()


def test_the_setting_is_put_back_and_a_chosen_one_is_left_alone():
    with pytest.raises(KeyError), by_onednn():
        assert SETTING.fp32_precision == "bf16"
        raise KeyError
    assert SETTING.fp32_precision == "none"
    try:
        SETTING.fp32_precision = "ieee"
        with by_onednn():
            assert SETTING.fp32_precision == "ieee"
        assert SETTING.fp32_precision == "ieee"
    finally:
        SETTING.fp32_precision = "none"


@pytest.mark.skipif(not exact(), reason="this processor has AMX, so oneDNN would round")
def test_a_train_step_by_onednn_gives_what_the_plain_one_gives():
    steps, seen = {}, set()
    for way in (nullcontext, by_onednn):
        learner, batch, start = make_learner(Config.preset("debug", warmup=0), "cpu")
        learner.products = way
        learner.agent.actor.heads[0].weight.register_hook(lambda grad: seen.add(SETTING.fp32_precision))
        steps[way] = [torch.stack(list(learner.train_step(batch, start)[1].values())) for _ in range(4)][-1]
    assert seen == {"none", "bf16"}  # the gradients too
    torch.testing.assert_close(steps[by_onednn], steps[nullcontext], rtol=1e-3, atol=1e-4)


def test_a_learner_decides_by_its_agent_and_device(monkeypatch):
    monkeypatch.setattr(products, "mkl_is_held_back", lambda: True)
    small, large = (Config.preset("debug", **size) for size in ({}, dict(deter=256, hidden=256, batch_size=64)))
    assert Learner(Dreamer(small, Spaces(4, 2, True))).products is nullcontext
    assert Learner(Dreamer(large, Spaces(4, 2, True))).products is by_onednn
    monkeypatch.setattr(Dreamer, "device", torch.device("cuda"))
    assert Learner(Dreamer(large, Spaces(4, 2, True))).products is nullcontext
