"""NM512/r2dreamer at commit 546e4fa: its functions and networks, in float32, with the settings of its configs."""

from types import SimpleNamespace

import distributions as dists
from distributions import symexp, symlog  # noqa: F401
from dreamer import Dreamer
from filling import fill, fill_layers, path_of, straight_through
import networks
from optim import LaProp, clip_grad_agc_
import rssm as worlds
from tools import weight_init_
import torch

ARRAYS = "torch"
NOTES = {
    "kl_losses": "takes logits; see kl_loss",
    "gru": "inside Deter; see recurrent",
    **dict.fromkeys(("step_weights", "advantages", "actor_loss", "critic_loss"), "inside its training"),
    **dict.fromkeys(("replay_critic_loss", "continue_target", "agent"), "inside its training"),
}


def two_hot_bins(count):
    return dists.symexp_twohot(torch.zeros(1, count), count).bins


def two_hot(x, bins):
    """Its target, read off the gradient of its log-probability at equal logits."""
    logits = torch.zeros(*x.shape, len(bins), requires_grad=True)
    return torch.autograd.grad(dists.TwoHot(logits, bins).log_prob(x[..., None]).sum(), logits)[0] + 1 / len(bins)


def two_hot_mean(logits, bins):
    return dists.TwoHot(logits, bins).mode()[..., 0]


def two_hot_loss(logits, x, bins):
    return -dists.TwoHot(logits, bins).log_prob(x[..., None])


def unimix(logits, mix):
    return dists.OneHotDist(logits, mix).probs


def entropy(p):
    return torch.distributions.Independent(dists.OneHotDist(p.log()), 1).entropy()


def sample(probs):
    return dists.OneHotDist(probs.log()).rsample()


def kl(p, q):
    return dists.kl(p.log(), q.log()).sum(-1)


def kl_loss(posterior_logits, prior_logits):
    dyn, rep = worlds.RSSM.kl_loss(None, posterior_logits, prior_logits, 1.0)
    return dyn.mean() + 0.1 * rep.mean()


def rms_norm(x, gain):
    norm = worlds.Deter(1, 1, 1, len(gain), 1, 1)._dyn_in0[1]
    norm.weight.data = gain
    return norm(x)


def block(layer, weights, name):
    layer.weight.data = weights[f"{name}_kernel"].permute(2, 1, 0).clone()
    layer.bias.data = weights[f"{name}_bias"].clone()


def world(weights, groups=1, mix=0.01):
    """Its RSSM with the official weights."""
    (deter, hidden), latent = weights["dynin0_kernel"].shape, weights["dynin1_kernel"].shape[0]
    tokens = weights["obs0_kernel"].shape[0] - deter if "obs0_kernel" in weights else 1
    sizes = dict(stoch=groups, discrete=latent // groups, deter=deter, hidden=hidden)
    layers = dict(obs_layers=1, img_layers=2, dyn_layers=1, blocks=len(weights["dyngru_kernel"]))
    config = SimpleNamespace(**sizes, **layers, act="SiLU", unimix_ratio=mix, initial="", device="cpu")
    model = worlds.RSSM(config, tokens, weights["dynin2_kernel"].shape[0])
    net = model._deter_net
    for i, part in enumerate((net._dyn_in0, net._dyn_in1, net._dyn_in2)):
        fill_layers(part, weights, f"dynin{i}", f"dynin{i}norm")
    block(net._dyn_hid[0], weights, "dynhid0")
    net._dyn_hid[1].weight.data = weights["dynhid0norm_scale"].clone()
    block(net._dyn_gru, weights, "dyngru")
    for part, name in ((model._img_net, "prior"), (model._obs_net, "obs")):
        if f"{name}0_kernel" in weights:
            fill(fill_layers(part, weights, f"{name}{{}}", f"{name}{{}}norm"), weights, f"{name}logit")
    return model


def recurrent(weights, h, z, action):
    return world(weights)._deter_net(z, h, action)


def prior(weights, h, groups):
    return world(weights, groups)._img_net(h)


def posterior(weights, h, tokens, groups):
    return world(weights, groups)._obs_net(torch.cat([h, tokens], -1))


class Drawn:
    """Its distribution with unimix, whose sample is the given one."""

    def __init__(self, logit, noise):
        self.probs, self.noise = dists.OneHotDist(logit, 0.01).probs, noise

    def rsample(self):
        return straight_through(self.probs, self.noise)


def observe(weights, tokens, actions, is_first, h, z, noise):
    """With the given noise in its sample."""
    model, path = world(weights, z.shape[-2]), []
    for t in range(tokens.shape[1]):
        model.get_dist = lambda logit, t=t: Drawn(logit, noise[:, t])
        z, h, logit = model.obs_step(z, h, actions[:, t], tokens[:, t], is_first[:, t])
        path.append((h, z, logit))
    return tuple(torch.stack(part, 1) for part in zip(*path))


def imagine(weights, h, z, actions, noise):
    model, path = world(weights, z.shape[-2]), []
    for t in range(actions.shape[1]):
        model.get_dist = lambda logit, t=t: Drawn(logit, noise[:, t])
        z, h = model.img_step(z, h, actions[:, t])
        path.append((h, z))
    return tuple(torch.stack(part, 1) for part in zip(*path))


def vector_loss(prediction, target):
    """It sums over all axes from the third on."""
    made, seen = (x.reshape(-1, 1, x.shape[-1]) for x in (prediction, target))
    return -dists.symlog_mse(made).log_prob(seen).reshape(target.shape[:-1])


def image_loss(prediction, image):
    return -dists.mse(prediction).log_prob(image.float() / 255)


def image_encoder(weights, image):
    """Channels first, also in its tokens."""
    depths = [weights[f"cnn{i}_kernel"].shape[-1] for i in range(2)]
    kernel = weights["cnn0_kernel"].shape[0]
    config = SimpleNamespace(act="SiLU", depth=1, mults=depths, kernel_size=kernel, norm=True)
    encoder = networks.ConvEncoder(config, image.shape[-3:])
    fill_layers(encoder.layers, weights, "cnn{}", "cnn{}norm")
    tokens = encoder(image.float() / 255)
    small = tokens.unflatten(-1, (depths[-1], image.shape[-3] // 4, image.shape[-2] // 4))
    return small.movedim(-3, -1).flatten(-3)


def image_decoder(weights, h, z, height, width):
    mults = [weights["imgout_kernel"].shape[-2], weights["conv0_kernel"].shape[-2]]
    kernel, units = weights["imgout_kernel"].shape[0], weights["sp1_kernel"].shape[1] // 2
    config = SimpleNamespace(
        act="SiLU", depth=1, mults=mults, kernel_size=kernel, units=units, bspace=len(weights["sp0_kernel"])
    )
    shape = weights["imgout_kernel"].shape[-1], height, width
    decoder = networks.ConvDecoder(config, h.shape[-1], z.shape[-1] * z.shape[-2], shape)
    block(decoder.sp0, weights, "sp0")
    fill_layers(decoder.sp1, weights, "sp1", "sp1norm")
    fill(decoder.sp2, weights, "sp2")
    decoder.sp_norm[0].weight.data = weights["spnorm_scale"].clone()
    first, norm, last = (module for module in decoder.layers if hasattr(module, "weight"))
    fill(first, weights, "conv0")
    norm.weight.data = weights["conv0norm_scale"].clone()
    fill(last, weights, "imgout")
    return decoder(z, h)


def lambda_return(rewards, continues, values, bootstrap):
    """Its arrays begin with the first state, whose reward and continue it doesn't read."""
    rewards, continues, values = (torch.cat([x[:, :1], x], 1) for x in (rewards, continues, values))
    zeros = torch.zeros_like(continues)
    return Dreamer._lambda_return(None, zeros, 1 - continues, rewards, values, values, 1.0, 0.95)


def replay_return(rewards, is_last, is_terminal, bootstrap):
    flags = is_last.float(), is_terminal.float()
    return Dreamer._lambda_return(None, *flags, rewards, bootstrap, bootstrap, 1 - 1 / 333, 0.95)


def return_scale(batches):
    scale = networks.ReturnEMA("cpu")
    return [scale(batch)[1] for batch in batches]


def categorical(logits, action):
    policy = dists.onehot(logits, 0.01)
    return policy.log_prob(action), policy.entropy()


def bounded_normal(mean, std, action):
    policy = dists.bounded_normal(torch.cat([mean, std], -1), 0.1, 1.0)
    return policy.log_prob(action), policy.entropy()


def laprop(params, grads, lr, warmup):
    """Clipping, optimizer and schedule in the order of `update`."""

    def made(weights):
        optimizer = LaProp(weights, lr=lr, betas=(0.9, 0.999), eps=1e-20)
        ramp = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup))

        def step():
            clip_grad_agc_(weights, 0.3, 1e-3, foreach=True)
            optimizer.step()
            ramp.step()

        return SimpleNamespace(step=step)

    return path_of(made, params, grads)


def slow_critic(online):
    path = [online[0]]
    agent = SimpleNamespace(_slow_value_updates=0, slow_target_update=1, slow_target_fraction=0.02)
    agent.value, agent._slow_value = (torch.nn.ParameterList([online[0].clone()]) for _ in range(2))
    for weight in online[1:]:
        agent.value[0].data = weight
        Dreamer._update_slow_target(agent)
        path.append(agent._slow_value[0].detach().clone())
    return path


def initialise(shape):
    if len(shape) == 2:
        layer = torch.nn.Linear(*shape)
        weight_init_(layer)
        return layer.weight.detach().T
    if len(shape) == 3:
        layer = networks.BlockLinear(shape[0] * shape[1], shape[0] * shape[2], shape[0])
        weight_init_(layer)
        return layer.weight.detach().permute(2, 1, 0)
    layer = torch.nn.Conv2d(shape[2], shape[3], shape[0])
    weight_init_(layer)
    return layer.weight.detach().permute(2, 3, 1, 0)
