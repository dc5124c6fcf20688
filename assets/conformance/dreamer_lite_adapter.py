"""Dreamer Lite's own functions: the control, which must compute the official numbers everywhere."""

from unittest.mock import patch

import torch

from dreamer_lite.actor import BoundedNormal, Categorical, ReturnScale, actor_loss  # noqa: F401
from dreamer_lite.agent import Dreamer
from dreamer_lite.codecs import ImageDecoder, VectorDecoder
from dreamer_lite.config import Config, Spaces
from dreamer_lite.conformance.networks import (  # noqa: F401
    image_decoder,
    image_encoder,
    imagine,
    observe,
    posterior,
    prior,
    recurrent,
)
from dreamer_lite.conformance.pieces import initialise, laprop, replay_return  # noqa: F401
from dreamer_lite.conformance.weights import agent as named_weights
from dreamer_lite.conformance.weights import load, to_official
from dreamer_lite.critic import Critic, lambda_return  # noqa: F401
from dreamer_lite.critic import critic_loss as our_critic_loss
from dreamer_lite.critic import replay_critic_loss as our_replay_critic_loss
from dreamer_lite.imagination import step_weights  # noqa: F401
from dreamer_lite.latents import entropy, kl, sample, unimix  # noqa: F401
from dreamer_lite.nets import RMSNorm
from dreamer_lite.replay import Experience
from dreamer_lite.rssm import gru  # noqa: F401
from dreamer_lite.symlog import symexp, symlog  # noqa: F401
from dreamer_lite.two_hot import two_hot, two_hot_bins, two_hot_loss, two_hot_mean  # noqa: F401
from dreamer_lite.world_model import continue_target, kl_losses  # noqa: F401

ARRAYS = "torch"


def kl_loss(posterior_logits, prior_logits):
    scales, (dyn, rep) = Config.preset("size1m").loss_scales, kl_losses(unimix(posterior_logits), unimix(prior_logits))
    return scales["dyn"] * dyn.mean() + scales["rep"] * rep.mean()


def rms_norm(x, gain):
    norm = RMSNorm(len(gain))
    norm.gain.data = gain
    return norm(x)


def vector_loss(prediction, target):
    decoder = VectorDecoder(feature_size=1, obs_size=prediction.shape[-1], hidden=1, layers=1)
    return decoder.loss(prediction, target)


def image_loss(prediction, image):
    return ImageDecoder.loss(None, prediction, image)


def return_scale(batches, rate, limit, low, high):
    scale = ReturnScale(rate, limit, low, high)
    return [scale.update(batch) for batch in batches]


def advantages(returns, values, scale):
    return (returns - values[:, :-1]) / scale


def categorical(logits, action):
    policy = Categorical(logits)
    return policy.log_prob(action), policy.entropy()


def bounded_normal(mean, std, action):
    policy = BoundedNormal(mean, std)
    return policy.log_prob(action), policy.entropy()


def critic_loss(logits, returns, slow_values, weights, bins):
    return our_critic_loss(logits, returns, slow_values, bins, weights)


def replay_critic_loss(logits, slow_values, rewards, is_last, is_terminal, bootstrap, bins):
    return our_replay_critic_loss(logits, slow_values, bins, rewards, is_last, is_terminal, bootstrap)


def slow_critic(online, rate):
    critic, path = Critic(feature_size=1, hidden=1, layers=1, slow_rate=rate), [online[0]]
    critic.net, critic.slow_net = (torch.nn.ParameterList([online[0].clone()]) for _ in range(2))
    for weight in online[1:]:
        critic.net[0].data = weight
        critic.update_slow()
        path.append(critic.slow_net[0].detach().clone())
    return path


def dreamer_of(weights, sizes, obs_size):
    """Our agent with the official weights; its sizes are read off their shapes."""

    def layers(start):
        return sum(name.startswith(start) and name.endswith("kernel") for name in weights)

    config = Config.preset(
        "size1m",
        deter=weights["dyn_dynin0_kernel"].shape[0],
        rssm_hidden=weights["dyn_dynin0_kernel"].shape[1],
        hidden=weights["val_mlp_linear0_kernel"].shape[1],
        blocks=len(weights["dyn_dyngru_kernel"]),
        groups=sizes["groups"],
        classes=sizes["classes"],
        horizon=sizes["horizon"],
        encoder_layers=layers("enc_mlp"),
        decoder_layers=layers("dec_mlp"),
        head_layers=layers("pol_mlp"),
        reward_layers=layers("rew_mlp"),
        imag_last=0,
        bspace=0,
    )
    dreamer = Dreamer(config, Spaces(obs_size, sizes["actions"], bool(sizes["discrete"])))
    load(weights, named_weights(dreamer))
    return dreamer


def agent(weights, batch, sizes):
    dreamer = dreamer_of(weights, sizes, batch["vector"].shape[-1])
    dreamer.return_scale.range.copy_(batch["return_range"])
    names = ("vector", "action", "reward", "is_first", "is_last", "is_terminal")
    replayed = Experience(*(batch[name] for name in names))
    start = dreamer.initial(len(batch["reward"])).state
    with (  # the likeliest classes and choices; numbers at mean + 0.5 std
        patch("dreamer_lite.rssm.sample", lambda probs, noise=None: sample(probs, torch.zeros_like(probs))),
        patch.object(Categorical, "sample", lambda policy, noise=None: policy.mode),
        patch.object(BoundedNormal, "sample", lambda policy, noise=None: policy.mode + 0.5 * policy.std),
    ):
        losses, states, _ = dreamer.loss(replayed, start)
    total = sum(dreamer.config.loss_scales[name] * loss.mean() for name, loss in losses.items())
    trained = {name: p for name, p in named_weights(dreamer).items() if not name.startswith("slowval")}
    gradients = torch.autograd.grad(total, [p for p, _ in trained.values()])
    official = {"reconstruction": "vector", "reward": "rew", "continue": "con", "replay_critic": "repval"}
    return {
        "loss": total,
        **{f"loss_{official.get(name, name)}": losses[name] for name in (*official, "dyn", "rep")},
        "loss_policy": losses["actor"].mean(1),
        "loss_value": losses["critic"].mean(1),
        "deter": states.h,
        "stoch": states.z,
        "retnorm_after": dreamer.return_scale.range,
        "gradients": {
            name: to_official(gradient, roll) for (name, (_, roll)), gradient in zip(trained.items(), gradients)
        },
    }
