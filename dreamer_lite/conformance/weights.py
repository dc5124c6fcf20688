"""Official weights by name, in our modules and back."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..codecs import MixedDecoder, MixedEncoder, VectorDecoder, VectorEncoder
from ..nets import MLP
from ..rssm import RSSM

Named = dict[str, tuple[nn.Parameter, int]]  # official name → our parameter, and by how many rows its inputs are rolled
Weights = Mapping[str, Tensor]  # official name → weight, in the official layout


def layer(module: nn.Module, name: str, roll: int = 0) -> Named:
    return {f"{name}_kernel": (module.weight, roll), f"{name}_bias": (module.bias, 0)}


def mlp(module: MLP, linear: str, norm: str, roll: int = 0) -> Named:
    """linear and norm are name patterns such as 'mlp_linear{}' and 'mlp_norm{}'."""
    named: Named = {}
    for i in range(len(module) // 3):
        named |= layer(module[3 * i], linear.format(i), 0 if i else roll)
        named[norm.format(i) + "_scale"] = (module[3 * i + 1].gain, 0)
    return named


def rssm(module: nn.Module) -> Named:
    named = {}
    for i, part in enumerate((module.h_in, module.z_in, module.a_in)):
        named |= mlp(part, f"dynin{i}", f"dynin{i}norm")
    for i, (linear, norm) in enumerate(zip(module.core, module.core_norms)):
        named |= layer(linear, f"dynhid{i}") | {f"dynhid{i}norm_scale": (norm.gain, 0)}
    named |= layer(module.gates, "dyngru")
    named |= mlp(module.prior_net[0], "prior{}", "prior{}norm") | layer(module.prior_net[1], "priorlogit")
    named |= mlp(module.posterior_net[0], "obs{}", "obs{}norm") | layer(module.posterior_net[1], "obslogit")
    return named


def encoder(module: nn.Module) -> Named:
    if isinstance(module, MixedEncoder):
        return encoder(module.vector) | encoder(module.image)
    if isinstance(module, VectorEncoder):
        return mlp(module, "mlp{}", "mlp{}norm")
    named = {}
    for i, (conv, norm) in enumerate(zip(module.convs, module.norms)):
        named |= layer(conv, f"cnn{i}") | {f"cnn{i}norm_scale": (norm.gain, 0)}
    return named


def decoder(module: nn.Module, latent: int) -> Named:
    """The official decoder reads [z, h], ours [h, z]."""
    if isinstance(module, MixedDecoder):
        return decoder(module.vector, latent) | decoder(module.image, latent)
    if isinstance(module, VectorDecoder):
        return mlp(module[0], "mlp_linear{}", "mlp_norm{}", roll=-latent) | layer(module[1], "vec_vector_pred")
    if module.bspace:
        named = layer(module.from_h, "sp0") | mlp(module.from_z[0], "sp1", "sp1norm") | layer(module.from_z[1], "sp2")
        named |= {"spnorm_scale": (module.norm.gain, 0)}
    else:
        named = layer(module.from_both, "space", -latent) | {"spacenorm_scale": (module.norm.gain, 0)}
    for i, (conv, norm) in enumerate(zip(module.convs, module.norms)):
        number = len(module.convs) - 1 - i  # as the multipliers are counted: the first one used has the highest
        named |= layer(conv, f"conv{number}") | {f"conv{number}norm_scale": (norm.gain, 0)}
    return named | layer(module.out, "imgout")


def agent(dreamer: nn.Module) -> Named:
    world_model, critic = dreamer.world_model, dreamer.critic
    latent = world_model.rssm.groups * world_model.rssm.classes
    parts = {
        "dyn": rssm(world_model.rssm),
        "enc": encoder(world_model.encoder),
        "dec": decoder(world_model.decoder, latent),
    }
    heads = {
        "rew": (world_model.reward_head, ["head_logits"]),
        "con": (world_model.continue_head, ["head_logit"]),
        "val": (critic.net, ["head_logits"]),
        "slowval": (critic.slow_net, ["head_logits"]),
        "pol": (
            [dreamer.actor.net, *dreamer.actor.heads],
            ["head_action_logits"] if len(dreamer.actor.heads) == 1 else ["head_action_mean", "head_action_stddev"],
        ),
    }
    for name, (modules, outputs) in heads.items():
        parts[name] = mlp(modules[0], "mlp_linear{}", "mlp_norm{}")
        for i, output in enumerate(outputs):
            parts[name] |= layer(modules[1 + i], output)
    return {f"{part}_{name}": value for part, named in parts.items() for name, value in named.items()}


def to_official(value: Tensor, roll: int = 0) -> Tensor:
    """Our layout of a weight in the official one.

    Dense (in, out), blocks (blocks, in, out), convolutions (height, width, in, out).
    """
    value = value.permute(2, 3, 1, 0) if value.ndim == 4 else value.transpose(0, 1) if value.ndim > 1 else value
    return value.roll(-roll, 0) if roll else value


@torch.no_grad()
def load(weights: Weights, named: Named) -> None:
    """Copy official weights into our parameters."""
    for name, (param, roll) in named.items():
        value = weights[name].roll(roll, 0) if roll else weights[name]
        param.copy_(
            value.permute(3, 2, 0, 1) if value.ndim == 4 else value.transpose(0, 1) if value.ndim > 1 else value
        )


def of_rssm(module: RSSM) -> dict[str, Tensor]:
    """The weights of our RSSM by their official names."""
    return {name: to_official(param.detach(), roll) for name, (param, roll) in rssm(module).items()}


def make_rssm(weights: Weights, groups: int) -> RSSM:
    """Our RSSM with these weights; its sizes are read off their shapes. Heads whose weights aren't given are random."""
    (deter, hidden), latent = weights["dynin0_kernel"].shape, weights["dynin1_kernel"].shape[0]
    count = lambda start: sum(name.startswith(start) and name[len(start) :][0].isdigit() for name in weights) // 3
    tokens = weights["obs0_kernel"].shape[0] - deter if "obs0_kernel" in weights else 1
    module = RSSM(
        token_size=tokens,
        action_size=weights["dynin2_kernel"].shape[0],
        deter=deter,
        hidden=hidden,
        groups=groups,
        classes=latent // groups,
        blocks=len(weights["dyngru_kernel"]),
        core_layers=count("dynhid"),
        prior_layers=count("prior") or 1,
        posterior_layers=count("obs") or 1,
    )
    load(weights, {name: value for name, value in rssm(module).items() if name in weights})
    return module
