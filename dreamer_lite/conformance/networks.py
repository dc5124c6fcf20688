"""The pieces with weights: the recurrent step, prior and posterior, sequences, encoder and decoder, a whole agent.

Weights come in a dictionary, by their official names and in the official layout: dense kernels (inputs, outputs),
block-diagonal ones (blocks, inputs, outputs), convolutions (height, width, inputs, outputs); `…norm_scale` is the gain
of the RMS norm after the layer of that name.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..codecs import ImageDecoder, ImageEncoder
from ..latents import gumbel, unimix
from ..nets import RMSNorm
from ..rssm import RSSM, State, gru
from ..world_model import kl_losses
from . import weights as named
from .arrays import Golden, Output
from .pieces import Piece, entry, grad, leaf, one_hot
from .weights import Weights, make_rssm, of_rssm


def rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    norm = RMSNorm(len(gain))
    norm.gain.data = gain
    return norm(x)


def probe_rms_norm(f: Callable, g: Golden) -> Iterator[Output]:
    x = leaf(g["x"])
    y = f(x, g["rms_scale"])
    yield g.out("rms_y", y)
    size = x.shape[-1]
    yield g.out("rms_grad", grad(y * torch.arange(1, size + 1) / size, x)[0])


def core_outputs(h: Tensor, g: Golden, *inputs: Tensor) -> Iterator[Output]:
    yield g.out("deter_out", h)
    for name, gradient in zip(("deter", "stoch", "action"), grad(h * g["cotangent"], *inputs)):
        yield g.out(f"grad_{name}", gradient)


def probe_gru(f: Callable, g: Golden) -> Iterator[Output]:
    """The official step around the function's gates."""
    rssm, h, z, action = (
        make_rssm(g.weights(), g["stoch"].shape[-2]),
        *(leaf(g[x]) for x in ("deter", "stoch", "action")),
    )
    inputs = torch.cat([rssm.h_in(h), rssm.z_in(z.flatten(-2)), rssm.embed(action)], -1)
    y = torch.nn.functional.silu(rssm.core_norms[0](rssm.core[0](h, inputs)))
    gates = rssm.gates(y).unflatten(-1, (rssm.gates.blocks, 3, -1)).transpose(1, 2).flatten(2).unbind(1)
    yield from core_outputs(f(h, *gates), g, h, z, action)


def recurrent(weights: Weights, h: Tensor, z: Tensor, action: Tensor) -> Tensor:
    return make_rssm(weights, z.shape[-2]).recurrent(State(h, z), action)


def probe_recurrent(f: Callable, g: Golden) -> Iterator[Output]:
    h, z, action = (leaf(g[x]) for x in ("deter", "stoch", "action"))
    yield from core_outputs(f(g.weights(), h, z, action), g, h, z, action)


def prior(weights: Weights, h: Tensor, groups: int) -> Tensor:
    return make_rssm(weights, groups).prior(h)


def posterior(weights: Weights, h: Tensor, tokens: Tensor, groups: int) -> Tensor:
    return make_rssm(weights, groups).posterior(h, tokens)


def grouped(logits: Tensor, *shape: int) -> Tensor:
    """Logits (..., groups · classes) as (..., groups, classes); others as they are."""
    flat = (*shape[:-2], shape[-2] * shape[-1])
    return logits.reshape(shape) if logits.shape == flat else logits


def probe_prior(f: Callable, g: Golden) -> Iterator[Output]:
    shape = g["prior_logit"].shape
    yield g.out("prior_logit", grouped(f(g.weights(), leaf(g["deter"]), shape[-2]), *shape))


def probe_posterior(f: Callable, g: Golden) -> Iterator[Output]:
    shape = g["post_logit"].shape
    yield g.out("post_logit", grouped(f(g.weights(), leaf(g["deter"]), leaf(g["tokens"]), shape[-2]), *shape))


def observe(
    weights: Weights, tokens: Tensor, actions: Tensor, is_first: Tensor, h: Tensor, z: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    states, logits = make_rssm(weights, z.shape[-2]).observe(tokens, actions, is_first, State(h, z), noise)
    return states.h, states.z, logits


def actions_of(g: Golden, name: str) -> Tensor:
    size = g.constants.get("action_classes")
    return one_hot(g[name], size) if size else g[name]


def probe_observe(f: Callable, g: Golden) -> Iterator[Output]:
    """Sequences with borders, with the likeliest classes and with given noise."""
    start = g["is_first"], g["init_deter"], g["init_stoch"]
    for way, noise in (("argmax", torch.zeros_like(g["gumbel_noise"])), ("gumbel", g["gumbel_noise"])):
        h, z, logits = f(g.weights(), g["tokens"], actions_of(g, "prev_action"), *start, noise)
        yield g.out(f"{way}_deter", h)
        yield g.out(f"{way}_stoch", z)
        yield g.out(f"{way}_post_logit", grouped(logits, *g[f"{way}_post_logit"].shape))


def probe_observe_gradients(f: Callable, g: Golden) -> Iterator[Output]:
    """A loss on all states, back through time; the prior is the official one."""
    inputs = {name: leaf(g[name]) for name in ("tokens", "prev_action", "init_deter", "init_stoch")}
    tokens, actions, h0, z0 = inputs.values()
    rssm = make_rssm(g.weights(), z0.shape[-2])
    h, z, logits = f(g.weights(), tokens, actions, g["is_first"], h0, z0, torch.zeros_like(g["v_z"]))
    dyn, rep = kl_losses(unimix(grouped(logits, *z.shape)), unimix(rssm.prior(h)))
    total = dyn.mean() + 0.1 * rep.mean() + (g["v_h"] * h).mean() + (g["v_z"] * z).mean()
    yield g.out("total", total)
    for name, gradient in zip(inputs, grad(total, *inputs.values())):
        yield g.out(f"grad_{name}", gradient)


def both_probes(f: Callable, g: Golden) -> Iterator[Output]:
    yield from (probe_observe_gradients if "v_h" in g else probe_observe)(f, g)


def observe_method(function: Callable) -> Callable:
    """`observe` as a method of our RSSM."""

    def version(rssm: RSSM, tokens: Tensor, actions: Tensor, is_first: Tensor, start: State, noise: Any = None):
        if noise is None and function.needs_last:
            noise = gumbel(tokens, *is_first.shape, *start.z.shape[-2:])
        h, z, logits = function(of_rssm(rssm), tokens, actions, is_first, *start, *([] if noise is None else [noise]))
        return State(h, z), grouped(logits, *is_first.shape, *start.z.shape[-2:])

    return version


def from_method(wrong: Callable) -> Callable:
    """A mistake in our RSSM.observe as `observe`."""

    def version(
        weights: Weights, tokens: Tensor, actions: Tensor, is_first: Tensor, h: Tensor, z: Tensor, noise: Any = None
    ):
        states, logits = wrong(make_rssm(weights, z.shape[-2]), tokens, actions, is_first, State(h, z), noise)
        return states.h, states.z, logits

    return version


def imagine(weights: Weights, h: Tensor, z: Tensor, actions: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    rssm, state, path = make_rssm(weights, z.shape[-2]), State(h, z), []
    for t in range(actions.shape[1]):
        state = rssm.imagine_step(state, actions[:, t], noise[:, t])
        path.append(state)
    return tuple(torch.stack(part, 1) for part in zip(*path))


def probe_imagine(f: Callable, g: Golden) -> Iterator[Output]:
    for way, noise in (("argmax", torch.zeros_like(g["gumbel_imag_noise"])), ("gumbel", g["gumbel_imag_noise"])):
        start = g[f"{way}_deter"][:, -1], g[f"{way}_stoch"][:, -1]
        h, z = f(g.weights(), *start, actions_of(g, "imag_action"), noise)
        yield g.out(f"{way}_imag_deter", h)
        yield g.out(f"{way}_imag_stoch", z)


def image_encoder(weights: Weights, image: Tensor) -> Tensor:
    convs = [weights[f"cnn{i}_kernel"] for i in range(sum(name.endswith("kernel") for name in weights))]
    mults = [conv.shape[-1] for conv in convs]
    module = ImageEncoder(image=image.shape[-3:], depth=1, mults=mults, kernel=convs[0].shape[0])
    named.load(weights, named.encoder(module))
    return module(image)


def probe_image_encoder(f: Callable, g: Golden) -> Iterator[Output]:
    yield g.out("tokens", f(g.weights(), g["obs_image"]))


def image_decoder(weights: Weights, h: Tensor, z: Tensor, height: int = 16, width: int = 16) -> Tensor:
    convs = [weights[f"conv{i}_kernel"] for i in range(sum(name.startswith("conv") for name in weights) // 3)]
    mults = [weights["imgout_kernel"].shape[-2], *(conv.shape[-2] for conv in convs)]
    latent = z.shape[-1] * z.shape[-2]
    module = ImageDecoder(
        image=(height, width, weights["imgout_kernel"].shape[-1]),
        deter=h.shape[-1],
        latent=latent,
        hidden=weights["sp1_kernel"].shape[1] // 2,
        depth=1,
        mults=mults,
        kernel=weights["imgout_kernel"].shape[0],
        bspace=len(weights["sp0_kernel"]),
    )
    named.load(weights, named.decoder(module, latent))
    return module(torch.cat([h, z.flatten(-2)], -1))


def probe_image_decoder(f: Callable, g: Golden) -> Iterator[Output]:
    h, z = leaf(g["deter"]), leaf(g["stoch"])
    weights = {name: value for name, value in g.weights().items() if not name.startswith("space")}
    mean = f(weights, h, z, g.constants["height"], g.constants["width"])
    yield g.out("img_mean", mean)
    loss = (mean - g["obs_image"] / 255).square().sum()
    for name, gradient in zip(("deter", "stoch"), grad(loss, h, z)):
        yield g.out(f"grad_{name}", gradient)


# The whole agent

LOSSES = ("vector", "rew", "con", "dyn", "rep", "policy", "value", "repval")  # official names
STATES = ("deter", "stoch", "post_logit", "tokens", "imag_deter", "imag_action", "retnorm_after")


def sizes_of(g: Golden) -> dict[str, int]:
    """What the weights' shapes don't say."""
    c = g.constants
    sizes = {"groups": c["stoch"], "classes": c["classes"], "horizon": c["H"]}
    return sizes | {"actions": c["A"], "discrete": int(g["prev_action"].ndim == 2)}


def probe_agent(f: Callable, g: Golden) -> Iterator[Output]:
    weights, sizes = {name: leaf(value) for name, value in g.weights().items()}, sizes_of(g)
    batch = {name: g[f"obs_{name}"] for name in ("vector", "reward", "is_first", "is_last", "is_terminal")}
    batch["action"] = one_hot(g["prev_action"], sizes["actions"]) if sizes["discrete"] else g["prev_action"]
    found = f(weights, batch | {"return_range": g["retnorm_before"]}, sizes)
    yield g.out("loss", entry(found, "loss"))
    for name in (*(f"loss_{loss}" for loss in LOSSES), *STATES):
        if name in found:
            yield g.out(name, found[name].reshape(g[name].shape))
    trained = {name: value for name, value in weights.items() if not name.startswith("slowval")}
    gradients = found.get("gradients") or dict(zip(trained, grad(found["loss"], *trained.values())))
    for name in trained:
        yield g.out(f"grad_w_{name}", entry(gradients, name))


def whole_agent(weights: Weights, batch: dict[str, Tensor], sizes: dict[str, int]) -> dict[str, Any]:
    raise NotImplementedError  # no mistake is looked for in a whole agent, so no finished one is called


SEQUENCES = ("07_sequence_discrete", "07_sequence_continuous")
NETWORKS = (
    Piece(
        "rms_norm",
        rms_norm,
        ("03_norms_block",),
        probe_rms_norm,
        "x: (..., size); gain: (size,)",
        "x / sqrt(mean(x²) + 1e-4) · gain over the last axis, same shape",
        "Official: embodied/jax/nets.py: Norm",
    ),
    Piece(
        "gru",
        gru,
        ("04_block_gru_core",),
        probe_gru,
        "h, reset, candidate, update: (N, D), the gates before their squashing",
        "u · c + (1 - u) · h with c = tanh(sigmoid(reset) · candidate) and u = sigmoid(update - 1), (N, D)",
        "Official: dreamerv3/rssm.py: RSSM._core",
        "n05_rssm:gru",
    ),
    Piece(
        "recurrent",
        recurrent,
        ("04_block_gru_core",),
        probe_recurrent,
        "weights: dynin0 (of h), dynin1 (of z), dynin2 (of the action), dynhid0, dyngru; h: (N, D); z: one-hot "
        "(N, groups, classes); action: (N, A), beyond ±1 too",
        "the next h, (N, D)",
        "Paper: Eq. 1. Official: dreamerv3/rssm.py: RSSM._core",
    ),
    Piece(
        "prior",
        prior,
        ("05_prior_posterior_unimix",),
        probe_prior,
        "weights: prior0, prior1, priorlogit; h: (..., D); groups: of the latents",
        "logits before unimix, (..., groups, classes) or (..., groups · classes)",
        "Paper: Eq. 1. Official: dreamerv3/rssm.py: RSSM._prior",
    ),
    Piece(
        "posterior",
        posterior,
        ("05_prior_posterior_unimix",),
        probe_posterior,
        "weights: obs0, obslogit; h: (..., D), the new one; tokens: (..., E), the encoder's output; groups: of the "
        "latents",
        "logits before unimix, (..., groups, classes) or (..., groups · classes)",
        "Paper: Eq. 1. Official: dreamerv3/rssm.py: RSSM._observe",
        "n05_rssm:posterior",
        version=lambda function: (
            lambda rssm, h, tokens: grouped(
                function(of_rssm(rssm), h, tokens, rssm.groups), *h.shape[:-1], rssm.groups, rssm.classes
            )
        ),
        planted=lambda wrong: lambda weights, h, tokens, groups: wrong(make_rssm(weights, groups), h, tokens),
    ),
    Piece(
        "observe",
        observe,
        (*SEQUENCES, "07c_rssm_loss_grads"),
        both_probes,
        "weights: those of recurrent and posterior; tokens: (B, T, E); actions: (B, T, A), each the one that led "
        "to its "
        "step; is_first: booleans (B, T); h: (B, D); z: (B, groups, classes); noise: Gumbel noise (B, T, groups, "
        "classes), added to ln p of the unimixed posterior before the argmax",
        "h (B, T, D), z (B, T, groups, classes) with straight-through gradients, posterior logits. Where is_first, h, "
        "z and the action are set to zero first",
        "Official: dreamerv3/rssm.py: RSSM.observe",
        "n05_rssm:observe",
        version=observe_method,
        planted=from_method,
    ),
    Piece(
        "imagine",
        imagine,
        SEQUENCES,
        probe_imagine,
        "weights: those of recurrent and prior; h: (N, D); z: (N, groups, classes); actions: (N, H, A); noise: Gumbel "
        "noise (N, H, groups, classes)",
        "h (N, H, D) and z (N, H, groups, classes), without the start",
        "Official: dreamerv3/rssm.py: RSSM.imagine",
    ),
    Piece(
        "image_encoder",
        image_encoder,
        ("17_image_encoder",),
        probe_image_encoder,
        "weights: cnn0, cnn1; image: bytes (B, T, height, width, channels)",
        "tokens (B, T, E), read row by row, pixel by pixel",
        "Official: dreamerv3/rssm.py: Encoder",
    ),
    Piece(
        "image_decoder",
        image_decoder,
        ("18_image_decoder",),
        probe_image_decoder,
        "weights: sp0 (blocks, of h), sp1 and sp2 (of z), spnorm, conv1, imgout; h: (B, T, D); z: (B, T, groups, "
        "classes); height, width: of the image",
        "brightness 0 to 1, (B, T, height, width, channels)",
        "Official: dreamerv3/rssm.py: Decoder",
    ),
    Piece(
        "agent",
        whole_agent,
        ("16_full_agent_discrete", "16_full_agent_continuous"),
        probe_agent,
        "weights: all, by part: enc_, dyn_, dec_, rew_, con_, pol_, val_, slowval_; batch: vector, reward, is_first, "
        "is_last, is_terminal, action (the one that led to each step) of (B, T, …), and return_range, the return "
        "scale's (2,) before; sizes: groups, classes, horizon, actions, discrete. The first state is zero; latents and "
        "choices are the likeliest, numbers mean + 0.5 std; dreams start from every step",
        "a dictionary: loss, the weighted total; if you like loss_vector, loss_rew, loss_con, loss_dyn, loss_rep, "
        "loss_policy, loss_value, loss_repval (unreduced), deter, stoch, post_logit, tokens, imag_deter, imag_action, "
        "retnorm_after; gradients: by weight. Without gradients, they are taken of loss at the weights handed over",
        "Paper: Eq. 2 to 7. Official: dreamerv3/agent.py: Agent.loss",
    ),
)
