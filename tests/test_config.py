"""Settings and presets."""

from inspect import signature

import numpy as np
import pytest
import torch

from dreamer_lite.actor import Actor, BoundedNormal, ReturnScale, actor_loss
from dreamer_lite.agent import Dreamer
from dreamer_lite.codecs import ImageDecoder, ImageEncoder
from dreamer_lite.command_line import parse
from dreamer_lite.config import PRESETS, Config, Spaces, check_kind
from dreamer_lite.critic import Critic, lambda_return, replay_critic_loss
from dreamer_lite.errors import Refused
from dreamer_lite.latents import unimix
from dreamer_lite.optim import LaProp
from dreamer_lite.rssm import RSSM
from dreamer_lite.training.bench import CARTPOLE
from dreamer_lite.two_hot import two_hot_bins
from dreamer_lite.world_model import WorldModel, continue_target, kl_losses


@pytest.mark.parametrize("name", ["small", "gpu", "original", "debug", "size1m"])
def test_presets_make_agents(name):
    agent = Dreamer(Config.preset(name), Spaces(4, 2, True))
    assert sum(p.numel() for p in agent.parameters() if p.requires_grad) > 0
    assert (
        name != "size1m" or sum(p.numel() for p in agent.parameters() if p.requires_grad) == 637_381
    )  # r2dreamer's count


# Parts that readers use alone, and what their arguments are called in the settings.
PARTS = {
    actor_loss: {"entropy_scale": "entropy"},
    Actor: {"layers": "head_layers"},
    BoundedNormal: {"low": "min_std", "high": "max_std"},
    ReturnScale: {"rate": "return_rate", "limit": "return_limit", "low": "return_low", "high": "return_high"},
    Critic: {"layers": "head_layers"},
    lambda_return: {},
    replay_critic_loss: {},
    ImageEncoder: {},
    ImageDecoder: {},
    unimix: {"mix": "unimix"},
    RSSM: {"mix": "unimix"},
    LaProp: {"min_norm": "clip_floor", "betas": ("beta1", "beta2"), "eps": "epsilon"},
    two_hot_bins: {"count": "bins", "limit": "bin_limit"},
    WorldModel: {"layers": "reward_layers"},
    continue_target: {},
    kl_losses: {},
}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_parts_used_alone_have_the_official_numbers(part):
    official, checked = Config.preset("size1m"), 0
    for name, parameter in signature(part).parameters.items():
        if isinstance(parameter.default, (int, float, tuple)) and parameter.default != () and name != "discrete":
            field = PARTS[part].get(name, name)
            numbers = tuple(getattr(official, one) for one in field) if isinstance(field, tuple) else None
            assert parameter.default == (numbers or getattr(official, field)), name
            checked += 1
    assert checked


def test_presets_are_valid_and_unknown_names_are_refused():
    assert all(Config.preset(name) for name in PRESETS)
    with pytest.raises(ValueError, match="choose one of small, cpu, general, gpu, original"):
        Config.preset("tiny")


def test_settings_may_be_text_or_yes_or_no():
    check_kind("name", "text", str)
    check_kind("name", True, bool)
    for value, kind in ((1, bool), ("", str), (3, str), (True, int), (True, float), ("1", int)):
        with pytest.raises(Refused, match="name must be"):
            check_kind("name", value, kind)


def test_one_learning_rate_sets_all_three_but_those_that_are_named():
    """On the command line and from Python."""
    three = lambda c: (c.world_lr, c.actor_lr, c.critic_lr)
    assert three(Config.preset("small", lr=2e-4)) == three(Config.preset("size1m", lr=2e-4)) == (2e-4,) * 3
    assert three(Config.preset("gpu", lr=2e-4, actor_lr=1e-5)) == (2e-4, 1e-5, 2e-4)
    assert three(parse("--lr 2e-4".split()).config()) == (2e-4,) * 3
    assert three(parse("--preset gpu --actor_lr 1e-5 --lr=2e-4".split()).config()) == (2e-4, 1e-5, 2e-4)
    assert three(parse("warm --lr 2e-4".split()).config()) == (2e-4,) * 3
    assert three(parse("--preset gpu".split()).config()) == three(Config.preset("gpu")) == (5e-4, 3e-4, 1e-3)


def test_official_presets_have_the_official_numbers():
    """Of the method's settings; `dreamerv3/configs.yaml`."""
    c = Config.preset("size12m")
    assert (c.deter, c.hidden, c.classes, c.groups, c.blocks, c.bins) == (2048, 256, 16, 32, 8, 255)
    assert (c.world_lr, c.actor_lr, c.critic_lr, c.warmup, c.clip, c.clip_floor, c.epsilon) == (
        4e-5,
        4e-5,
        4e-5,
        1000,
        0.3,
        1e-3,
        1e-20,
    )
    assert c.online_queue
    assert (c.lam, c.horizon, c.discount_horizon, c.slow_rate, c.entropy, c.unimix, c.free_nats) == (
        0.95,
        15,
        333,
        0.02,
        3e-4,
        0.01,
        1,
    )
    assert c.loss_scales == {
        "reconstruction": 1,
        "reward": 1,
        "continue": 1,
        "dyn": 1,
        "rep": 0.1,
        "actor": 1,
        "critic": 1,
        "replay_critic": 0.3,
    }


def test_every_setting_of_the_method_reaches_its_place():
    sizes = dict(
        bins=11,
        bin_limit=3.0,
        unimix=0.05,
        free_nats=0.5,
        core_layers=2,
        prior_layers=1,
        posterior_layers=3,
        reward_layers=2,
        encoder_layers=2,
        decoder_layers=3,
        min_std=0.2,
        max_std=0.7,
        return_rate=0.5,
        return_limit=2.0,
        return_low=0.1,
        return_high=0.8,
    )
    agent = Dreamer(Config.preset("debug", **sizes), Spaces(4, 2, False))
    model, rssm = agent.world_model, agent.world_model.rssm
    assert len(model.bins) == len(agent.critic.bins) == 11 and model.bins[-1] == agent.critic.bins[-1] < 21
    assert (rssm.mix, model.free_nats, len(rssm.core)) == (0.05, 0.5, 2)
    layers = [
        len(net) // 3
        for net in (
            rssm.prior_net[0],
            rssm.posterior_net[0],
            model.reward_head[0],
            model.continue_head[0],
            model.encoder,
            model.decoder[0],
        )
    ]
    assert layers == [1, 3, 2, 2, 2, 3]
    policy = agent.actor(10 * agent.world_model.rssm.initial(3).feature)
    assert (policy.std > 0.2).all() and (policy.std < 0.7).all()
    scale = agent.return_scale
    assert (scale.rate, scale.limit, *scale.levels.tolist()) == pytest.approx((0.5, 2.0, 0.1, 0.8))


def test_numbers_and_text_of_numpy_become_pythons_own():
    """As np.geomspace gives them for a sweep; a checkpoint holds no others."""
    given = dict(world_lr=np.float64(1e-3), seed=np.int64(3), env=np.str_("CartPole-v1"), mults=(np.int64(2), 3))
    config = Config.preset("debug", **given)
    assert [type(getattr(config, name)) for name in given] == [float, int, str, tuple]
    assert all(type(part) is int for part in config.mults) and config.world_lr == 1e-3
    with pytest.raises(Refused, match="seed must be a whole number"):
        Config(seed=np.array([1, 2]))
    agent = Dreamer(Config.preset("debug"), Spaces(np.int64(4), 2, True))
    assert type(agent.spaces.obs_size) is int


def test_whole_numbers_are_levels_of_the_return_scale_too():
    scale = Dreamer(Config.preset("debug", return_low=0, return_high=1), CARTPOLE).return_scale
    scale.update(torch.arange(5.0))
    assert torch.allclose(scale.range, torch.tensor([0.0, 0.04]))


def test_changes_tell_the_old_value_before_the_new_one():
    assert Config.preset("debug", steps=7).changes(Config.preset("debug")) == {"steps": (400, 7)}
