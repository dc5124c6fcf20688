"""Reads the official numbers, and carries official weights into our modules.

The folder is tests/golden, or the one named by the environment variable DREAMER_GOLDEN.
"""

import json
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dreamer_lite.codecs import MixedDecoder, MixedEncoder, VectorDecoder, VectorEncoder
from dreamer_lite.nets import MLP, RMSNorm

FOLDER = Path(os.environ.get("DREAMER_GOLDEN") or Path(__file__).parent / "golden")
CONSTANTS = json.loads((FOLDER / "CONSTANTS.json").read_text())
TOLERANCES = json.loads((FOLDER / "TOLERANCES.json").read_text())


class Golden:
    """One file of official numbers. Inputs are read with `g[name]`, outputs are compared with `g.check(name, ours)`.

    In float64 an output is compared with its float64 twin, where there is one, a million times more strictly. Every
    array
    of the file has to be used one way or the other: `g.finish()` fails otherwise.
    """

    def __init__(self, name: str, dtype: torch.dtype):
        self.name, self.dtype = name, dtype
        with np.load(FOLDER / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)
        self.constants, self.tolerances = CONSTANTS[name], TOLERANCES[name]
        self.used: set[str] = set()
        self.compared: list[tuple[str, np.ndarray, np.ndarray, float, float]] = []  # name, ours, official, rtol, atol

    def __getitem__(self, name: str) -> Tensor:
        self.used.add(name)
        value = torch.as_tensor(self.arrays[name])
        return value.to(self.dtype) if value.is_floating_point() else value

    def numpy(self, name: str) -> np.ndarray:
        self.used.add(name)
        return self.arrays[name]

    def check(
        self, name: str, ours: Tensor, atol: np.ndarray | None = None, strict_atol: np.ndarray | None = None
    ) -> None:
        """Compare ours with the official output; atol replaces the tolerance of TOLERANCES.json (per element)."""
        self.used |= {name, f"{name}__f64"}
        ours = ours.detach().cpu().numpy()
        twin = self.arrays.get(f"{name}__f64")
        if self.dtype == torch.float64 and twin is not None:
            rtol, official = 1e-8, twin
            atol = strict_atol if strict_atol is not None else 1e-9 * np.abs(twin).max(initial=0)
        else:
            official = self.arrays[name]
            rtol, atol = (0.0, atol) if atol is not None else self.tolerances.get(name, (0.0, 0.0))
        assert ours.shape == official.shape, f"{self.name}/{name}: ours {ours.shape}, official {official.shape}"
        self.compared.append((name, ours, official, rtol, atol))
        compare(f"{self.name}/{name}", ours, official, rtol, atol)

    def finish(self) -> None:
        unused = {n for n in self.arrays if n.removesuffix("__f64") not in self.used}
        assert not unused, f"{self.name}: arrays that nothing looks at: {sorted(unused)}"


def compare(name: str, ours: np.ndarray, official: np.ndarray, rtol: float, atol: float | np.ndarray) -> None:
    wrong = ~(np.abs(ours.astype(np.float64) - official) <= atol + rtol * np.abs(official))
    assert not wrong.any(), f"{name}: ours {ours[wrong][:3]}, official {official[wrong][:3]}, {wrong.mean():.1%} differ"


Named = dict[str, tuple[nn.Parameter, int]]  # official name → our parameter, and by how many rows its inputs are rolled


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
    """Our layout of a weight in the official one: dense (in, out), blocks (blocks, in, out), convolutions (height,
    width, in, out)."""
    value = value.permute(2, 3, 1, 0) if value.ndim == 4 else value.transpose(0, 1) if value.ndim > 1 else value
    return value.roll(-roll, 0) if roll else value


@torch.no_grad()
def load(golden: Golden, named: Named, prefix: str = "w_") -> None:
    """Copy the official weights into our parameters."""
    for name, (param, roll) in named.items():
        value = golden[prefix + name]
        value = value.roll(roll, 0) if roll else value
        param.copy_(
            value.permute(3, 2, 0, 1) if value.ndim == 4 else value.transpose(0, 1) if value.ndim > 1 else value
        )


def layers(golden: Golden, pattern: str) -> int:
    """How many weights are named so: the layers of a network."""
    return sum(name.startswith(f"w_{pattern}") and name.endswith("kernel") for name in golden.arrays)


def set_eps(module: nn.Module, eps: float) -> None:
    for part in module.modules():
        if isinstance(part, RMSNorm):
            part.eps = eps
