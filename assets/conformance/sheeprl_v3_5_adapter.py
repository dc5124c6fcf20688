"""sheeprl 0.8.4, algorithm dreamer_v3_5, by the functions of its training and with its default settings."""

from contextlib import contextmanager
from unittest.mock import patch

from filling import Anything, fill, fill_layers, identity, path_of, straight_through
from sheeprl.algos.dreamer_v3.loss import categorical_kl
from sheeprl.algos.dreamer_v3.utils import Moments
from sheeprl.algos.dreamer_v3_5 import agent as agents
from sheeprl.algos.dreamer_v3_5 import dreamer_v3_5 as training
from sheeprl.algos.dreamer_v3_5.loss import TwoHot, mse, symexp_bins, symlog_mse
from sheeprl.algos.dreamer_v3_5.loss import lambda_return as time_first_return
from sheeprl.algos.dreamer_v3_5.optim import LaProp
from sheeprl.utils.utils import symexp, symlog  # noqa: F401
import torch

ARRAYS = "torch"
NOTES = {
    "entropy": "PyTorch's distributions",
    "kl_losses": "inside the loss of the world model; see kl_loss",
    "gru": "inside the recurrent model; see recurrent",
    "advantages": "inside the actor's loss",
    "continue_target": "inside the loss of the world model",
    "agent": "with the actor's unimix off",
}


def two_hot_bins(count):
    return symexp_bins(count)


def two_hot(x, bins):
    return TwoHot(torch.zeros(len(bins)), bins).encode(x)


def two_hot_mean(logits, bins):
    return TwoHot(logits, bins).mean


def two_hot_loss(logits, x, bins):
    return TwoHot(logits, bins).loss(x)


def rssm(classes, mix=0.01):
    return agents.RSSM(None, None, None, classes, mix)


def unimix(logits, mix):
    return rssm(logits.shape[-1], mix).uniform_mix(logits.flatten(-2)).exp()


def sample(probs):
    return agents.RSSM.sample(probs.log()).reshape(probs.shape)


def kl(p, q):
    return categorical_kl(p.log(), q.log())


def world_model_of(posterior, prior):
    """A world model with these logits, time first, whose other outputs have no gradient."""
    T, B, _, classes = posterior.shape
    mixed, steps = rssm(classes).uniform_mix(posterior.flatten(-2)), iter(range(T))
    zeros, state = torch.zeros(T, B, 1), torch.zeros(1, B, 1)

    def dynamic(*_):
        t = next(steps)
        return state, state, mixed[t : t + 1]

    return Anything(
        encoder=lambda obs: None,
        rssm=Anything(
            project_observations=lambda x: zeros,
            embed_actions=lambda x: zeros,
            dynamic=dynamic,
            prior_logits=lambda h: rssm(classes).uniform_mix(prior.flatten(-2)),
        ),
        observation_model=lambda x: {"vector": zeros},
        reward_model=lambda x: torch.zeros(T, B, 255),
        continue_model=lambda x: zeros,
    )


def kl_loss(posterior_logits, prior_logits):
    """world_model_loss without its other losses."""
    posterior, prior = (x.transpose(0, 1) for x in (posterior_logits, prior_logits))
    zeros, state = torch.zeros(*posterior.shape[:2], 1), torch.zeros(1, posterior.shape[1], 1)
    keys = dict(cnn_keys=(), mlp_keys=("vector",), cnn_decoder_keys=(), mlp_decoder_keys=("vector",))
    scales = dict(observation_scale=1.0, reward_scale=1.0, continue_scale=1.0)
    loss, *_, metrics = training.world_model_loss(
        *(world_model_of(posterior, prior), {"vector": zeros}, zeros, zeros, zeros, zeros, state, state),
        **(keys | scales),
        **dict(kl_free_nats=1.0, continue_target=1.0, reward_grad=True, replay_grad=True),
        **dict(dynamic_scale=1.0, representation_scale=0.1),
    )
    return loss - sum(metrics[f"Loss/{name}_loss"] for name in ("observation", "reward", "continue"))


def rms_norm(x, gain):
    norm = agents.RMSNorm(len(gain))
    norm.weight.data = gain
    return norm(x)


def recurrent_model(weights):
    (deter, hidden), latent = weights["dynin0_kernel"].shape, weights["dynin1_kernel"].shape[0]
    blocks, actions = len(weights["dyngru_kernel"]), weights["dynin2_kernel"].shape[0]
    model = agents.RecurrentModel(deter, latent, actions, hidden, blocks)
    for i, part in enumerate((model.recurrent_projection, model.stochastic_projection, model.action_projection)):
        fill_layers(part, weights, f"dynin{i}", f"dynin{i}norm")
    fill_layers(model.hidden, weights, "dynhid{}", "dynhid{}norm")
    fill(model.gates, weights, "dyngru")
    return model


def transition_model(weights):
    deter, hidden = weights["prior0_kernel"].shape
    layers = agents.mlp(deter, hidden, 2)
    last = agents.Linear(hidden, weights["priorlogit_bias"].shape[0])
    fill_layers(layers, weights, "prior{}", "prior{}norm")
    fill(last, weights, "priorlogit")
    return torch.nn.Sequential(*layers, last)


def representation_model(weights, deter):
    inputs, hidden = weights["obs0_kernel"].shape
    model = agents.RepresentationModel(deter, inputs - deter, hidden, weights["obslogit_bias"].shape[0], layers=1)
    fill(model.input_layer, weights, "obs0")
    norm = next(module for module in model.model if isinstance(module, agents.RMSNorm))
    norm.weight.data = weights["obs0norm_scale"].clone()
    fill(model.model[-1], weights, "obslogit")
    return model


def recurrent(weights, h, z, action):
    model = recurrent_model(weights)
    return model(h, z.flatten(-2), model(actions=action))


def prior(weights, h):
    return transition_model(weights)(h)


def posterior(weights, h, tokens):
    model = representation_model(weights, h.shape[-1])
    return model(h, model(observations=tokens))


def observe(weights, tokens, actions, is_first, h, z, noise):
    """Its loop, with the given noise in its sample; its logits are log-probabilities after unimix."""
    model = agents.RSSM(recurrent_model(weights), representation_model(weights, h.shape[-1]), None, z.shape[-1])
    first, z, path = is_first.float()[..., None], z.flatten(-2), []
    projected, embedded = model.project_observations(tokens), model.embed_actions(actions * (1 - first))
    for t in range(tokens.shape[1]):
        chosen = lambda logits, t=t: straight_through(logits.softmax(-1), noise[:, t]).flatten(-2)
        with patch.object(model, "sample", chosen):
            h, z, _ = model.dynamic(z, h, embedded[:, t], projected[:, t], first[:, t])
        raw = model.representation_model(h, projected[:, t])
        path.append((h, z.unflatten(-1, noise.shape[-2:]), raw))
    return tuple(torch.stack(part, 1) for part in zip(*path))


def imagine(weights, h, z, actions, noise):
    model = agents.RSSM(recurrent_model(weights), None, transition_model(weights), z.shape[-1])
    z, path = z.flatten(-2), []
    for t in range(actions.shape[1]):
        chosen = lambda logits, t=t: straight_through(logits.softmax(-1), noise[:, t]).flatten(-2)
        with patch.object(model, "sample", chosen):
            z, h = model.imagination(z, h, actions[:, t])
        path.append((h, z.unflatten(-1, noise.shape[-2:])))
    return tuple(torch.stack(part, 1) for part in zip(*path))


def image_encoder(weights, image):
    """It has its channels first, and its tokens too."""
    channels, size = image.shape[-1], image.shape[-3:-1]
    stages = [weights[f"cnn{i}_kernel"].shape[-1] for i in range(2)]
    encoder = agents.CNNEncoder(["image"], [channels], size, 1, stages, weights["cnn0_kernel"].shape[0])
    fill_layers(encoder.model, weights, "cnn{}", "cnn{}norm")
    tokens = encoder({"image": image.movedim(-1, -3).float() / 255 - 0.5})
    small = tokens.unflatten(-1, (stages[-1], size[0] // 4, size[1] // 4))
    return small.movedim(-3, -1).flatten(-3)


def image_decoder(weights, h, z, height, width):
    """It reads [z, h], and has its channels first: the blocks' outputs are laid out anew."""
    stages = [weights["imgout_kernel"].shape[-2], weights["conv0_kernel"].shape[-2]]
    blocks, hidden = len(weights["sp0_kernel"]), weights["sp1_kernel"].shape[1] // 2
    channels, small = weights["imgout_kernel"].shape[-1], (height // 4, width // 4)
    sizes = (1, z.shape[-1] * z.shape[-2], h.shape[-1], (height, width), stages, weights["imgout_kernel"].shape[0])
    decoder = agents.CNNDecoder(["image"], [channels], *sizes, block_space=blocks, dense_units=hidden)
    by_block = lambda x: x.unflatten(-1, (*small, -1)).movedim(-1, -3).flatten(-3)
    decoder.recurrent_projection.weight.data = by_block(weights["sp0_kernel"]).clone()
    decoder.recurrent_projection.bias.data = by_block(weights["sp0_bias"].unflatten(0, (blocks, -1))).flatten()
    fill_layers(decoder.stochastic_projection[:-1], weights, "sp1", "sp1norm")
    decoder.stochastic_projection[-1].weight.data = by_block(weights["sp2_kernel"]).T.clone()
    decoder.stochastic_projection[-1].bias.data = by_block(weights["sp2_bias"]).clone()
    decoder.projection_norm[0].weight.data = weights["spnorm_scale"].clone()
    first, norm, last = (module for module in decoder.model if hasattr(module, "weight"))
    fill(first, weights, "conv0")
    norm.weight.data = weights["conv0norm_scale"].clone()
    fill(last, weights, "imgout")
    return decoder(torch.cat([z.flatten(-2), h], -1))["image"].movedim(-3, -1)


def vector_loss(prediction, target):
    return symlog_mse(prediction, target, 1)


def image_loss(prediction, image):
    return mse(prediction, image.float() / 255, 3)


def lambda_return(rewards, continues, values, bootstrap, lam):
    """Its arrays begin with the first state, whose reward and continue it doesn't read."""
    rewards, continues, values = (torch.cat([x[:, :1], x], 1).T for x in (rewards, continues, values))
    lam = lam.T if isinstance(lam, torch.Tensor) else lam
    return time_first_return(torch.zeros_like(continues), 1 - continues, rewards, values, 1.0, lam).T


def replay_return(rewards, is_last, is_terminal, bootstrap):
    return time_first_return(is_last.T, is_terminal.T, rewards.T, bootstrap.T, 1 - 1 / 333, 0.95).T


def step_weights(continues):
    """`imagine` of a model that predicts these continues."""
    N, steps = continues.shape
    state = torch.zeros(1, N, 1)
    world_model = Anything(
        rssm=Anything(imagination=lambda prior, h, action: (state, state)),
        reward_model=lambda x: torch.zeros(steps, N, 255),
        continue_model=lambda x: torch.logit(continues.T[..., None]),
    )
    head = lambda x: torch.zeros(steps, N, 255)
    actor = lambda x: ((torch.zeros(1, N, 1),), ())
    dream = training.imagine(world_model, actor, head, head, state, state, horizon=steps - 1, discount=1.0, lmbda=0.95)
    return dream[-1].T


def return_scale(batches):
    moments, fabric = Moments(0.99, 1.0, 0.05, 0.95), Anything(all_gather=lambda x: x)
    return [moments(batch, fabric)[1] for batch in batches]


def losses(**given):
    """The mean loss of actor and critic, time first; what isn't given counts nothing."""
    steps, N = given["returns"].shape[0] + 1, given["returns"].shape[1]
    zeros = torch.zeros(steps, N)
    usual = dict(
        actor=lambda x, with_actions: ((), (Anything(log_prob=lambda a: zeros[:-1], entropy=lambda: zeros[:-1]),)),
        critic=lambda x: x,
        target_critic=lambda x: x,
        imagined_latent_states=torch.zeros(steps, N, 255),
        imagined_actions=torch.zeros(steps, N, 1),
        values=zeros,
        slow_values=zeros,
        weights=zeros,
        invscale=torch.ones(()),
        latent_states=None,
        last=None,
        terminated=None,
        rewards=None,
        ent_coef=3e-4,
        replay_loss=False,
        policy_scale=0.0,
        value_scale=0.0,
        replay_value_scale=0.0,
    )
    settings = dict(actions_dim=(1,), slow_regularizer=1.0, gamma=1 - 1 / 333, lmbda=0.95)
    return training.actor_critic_loss(**(usual | settings | given))[0]


def one_more(x):
    """Time first, with a last step that isn't trained on."""
    return torch.cat([x.T, torch.zeros_like(x.T[:1])])


def actor_loss(log_probs, entropies, advantages, weights, entropy_scale):
    policy = Anything(log_prob=lambda a: log_probs.T, entropy=lambda: entropies.T)
    return losses(
        actor=lambda x, with_actions: ((), (policy,)),
        returns=advantages.T,
        weights=one_more(weights),
        ent_coef=entropy_scale,
        policy_scale=1.0,
    )


def critic_loss(logits, returns, slow_values, weights):
    return losses(
        imagined_latent_states=logits.transpose(0, 1),
        returns=returns.T,
        slow_values=slow_values.T,
        weights=one_more(weights),
        value_scale=1.0,
    )


def replay_critic_loss(logits, slow_values, rewards, is_last, is_terminal, bootstrap):
    slow = TwoHot(torch.zeros(255)).encode(slow_values.T).log()
    return losses(
        latent_states=logits.transpose(0, 1),
        target_critic=lambda x: slow[: len(x)],
        returns=bootstrap.T.reshape(1, -1),
        last=is_last.T.float(),
        terminated=is_terminal.T.float(),
        rewards=rewards.T,
        replay_loss=True,
        replay_value_scale=1.0,
    )


def actor(continuous, size):
    """An actor without layers, whose inputs are its outputs."""
    found = agents.Actor(2 * size if continuous else size, [size], continuous, mlp_layers=0, unimix=0.01)
    identity(found.mlp_heads[0])
    return found


def categorical(logits, action):
    (policy,) = actor(False, logits.shape[-1]).distributions(logits)
    return policy.log_prob(action), policy.entropy()


def bounded_normal(mean, std, action):
    (policy,) = actor(True, mean.shape[-1]).distributions(torch.cat([mean, std], -1))
    return policy.log_prob(action), policy.entropy()


def laprop(params, grads, lr, warmup):
    return path_of(lambda weights: LaProp(weights, lr, warmup=warmup), params, grads)


def slow_critic(online):
    critic, slow = (torch.nn.ParameterList([online[0].clone()]) for _ in range(2))
    path = [online[0]]
    for weight in online[1:]:
        critic[0].data = weight
        training.update_target_critic(critic, slow, 0.02)
        path.append(slow[0].detach().clone())
    return path


def initialise(shape, scale):
    if len(shape) == 2:
        return agents.Linear(*shape, outscale=scale).weight.detach().T
    if len(shape) == 3:
        return agents.BlockLinear(shape[0] * shape[1], shape[0] * shape[2], shape[0], outscale=scale).weight.detach()
    return agents.Conv2d(shape[2], shape[3], shape[0], outscale=scale).weight.detach()


class Placed:
    """Official weights in its modules, remembered, so that their gradients can be handed back by name."""

    def __init__(self, weights, latent, deter):
        self.weights, self.latent, self.deter, self.seen = weights, latent, deter, {}

    def put(self, module, name, roll=0):
        """roll: by how many rows the inputs are rolled: its features are [z, h], most official ones [h, z]."""
        kernel = self.weights[f"{name}_kernel"]
        kernel = kernel.roll(roll, 0) if roll else kernel
        module.weight.data = (kernel.T if isinstance(module, torch.nn.Linear) else kernel).detach().clone()
        module.bias.data = self.weights[f"{name}_bias"].detach().clone()
        self.seen |= {f"{name}_kernel": (module, "weight", roll), f"{name}_bias": (module, "bias", 0)}

    def layers(self, layers, dense, norm, roll=0):
        """Layers of [dense, norm, activation], the first with its inputs rolled; returns what is left over."""
        modules = [module for module in layers if hasattr(module, "weight")]
        for i, (linear, gain) in enumerate(zip(modules[::2], modules[1::2])):
            self.put(linear, dense.format(i), 0 if i else roll)
            gain.weight.data = self.weights[f"{norm.format(i)}_scale"].detach().clone()
            self.seen[f"{norm.format(i)}_scale"] = gain, "weight", 0
        return modules[-1] if len(modules) % 2 else None

    def head(self, part, output, bins):
        """A head of the official part, whose official inputs are [h, z]."""
        count = sum(name.startswith(f"{part}_mlp") and name.endswith("kernel") for name in self.weights)
        units = self.weights[f"{part}_mlp_linear0_kernel"].shape[1]
        net = torch.nn.Sequential(*agents.mlp(self.latent + self.deter, units, count), agents.Linear(units, bins))
        self.put(self.layers(net, f"{part}_mlp_linear{{}}", f"{part}_mlp_norm{{}}", -self.deter), f"{part}_{output}")
        return net

    def gradients(self, loss):
        params = {name: getattr(module, kind) for name, (module, kind, _) in self.seen.items()}
        params = {name: param for name, param in params.items() if param.requires_grad}
        found = torch.autograd.grad(loss, list(params.values()), allow_unused=True, materialize_grads=True)
        return {name: self.official(name, gradient) for name, gradient in zip(params, found)}

    def official(self, name, gradient):
        module, kind, roll = self.seen[name]
        dense = kind == "weight" and isinstance(module, torch.nn.Linear)
        return (gradient.T if dense else gradient).roll(-roll, 0) if roll or dense else gradient


def whole_model(weights, sizes, obs_size):
    """World model, actor, critic and slow critic with the official weights."""
    deter, latent = weights["dyn_dynin0_kernel"].shape[0], weights["dyn_dynin1_kernel"].shape[0]
    placed, part = Placed(weights, latent, deter), {n.removeprefix("dyn_"): w.detach() for n, w in weights.items()}
    units = weights["enc_mlp0_kernel"].shape[1]
    count = lambda start: sum(name.startswith(start) and name.endswith("kernel") for name in weights)
    encoder = agents.MLPEncoder(["vector"], [obs_size], count("enc_mlp"), units)
    placed.layers(encoder.model, "enc_mlp{}", "enc_mlp{}norm")
    core, prior_net, seen = recurrent_model(part), transition_model(part), representation_model(part, deter)
    for i, net in enumerate((core.recurrent_projection, core.stochastic_projection, core.action_projection)):
        placed.layers(net, f"dyn_dynin{i}", f"dyn_dynin{i}norm")
    placed.layers(core.hidden, "dyn_dynhid{}", "dyn_dynhid{}norm")
    placed.put(core.gates, "dyn_dyngru")
    placed.put(placed.layers(prior_net, "dyn_prior{}", "dyn_prior{}norm"), "dyn_priorlogit")
    placed.put(placed.layers([seen.input_layer, *seen.model], "dyn_obs{}", "dyn_obs{}norm"), "dyn_obslogit")
    decoder = agents.MLPDecoder(["vector"], [obs_size], latent + deter, count("dec_mlp"), units)
    placed.layers(decoder.model, "dec_mlp_linear{}", "dec_mlp_norm{}")
    placed.put(decoder.heads[0], "dec_vec_vector_pred")
    world = agents.WorldModel(
        encoder,
        agents.RSSM(core, seen, prior_net, sizes["classes"]),
        decoder,
        placed.head("rew", "head_logits", 255),
        placed.head("con", "head_logit", 1),
    )
    return world, placed


def actor_with(placed, sizes):
    """Its actor without unimix, and with the official weights; its numbers share one layer."""
    units, A = placed.weights["pol_mlp_linear0_kernel"].shape[1], sizes["actions"]
    count = sum(name.startswith("pol_mlp") and name.endswith("kernel") for name in placed.weights)
    found = agents.Actor(placed.latent + placed.deter, [A], not sizes["discrete"], units, count)
    placed.layers(found.model, "pol_mlp_linear{}", "pol_mlp_norm{}", -placed.deter)
    if sizes["discrete"]:
        placed.put(found.mlp_heads[0], "pol_head_action_logits")
        return found
    for kind in ("mean", "stddev"):
        placed.put(agents.Linear(units, A), f"pol_head_action_{kind}")
    parts = [placed.seen[f"pol_head_action_{kind}_kernel"][0] for kind in ("mean", "stddev")]
    found.mlp_heads[0] = Both(*parts)
    return found


class Both(torch.nn.Module):
    def __init__(self, *parts):
        super().__init__()
        self.parts = torch.nn.ModuleList(parts)

    def forward(self, x):
        return torch.cat([part(x) for part in self.parts], -1)


SETTINGS = dict(
    cnn_keys=(),
    mlp_keys=("vector",),
    cnn_decoder_keys=(),
    mlp_decoder_keys=("vector",),
    kl_free_nats=1.0,
    continue_target=1 - 1 / 333,
    reward_grad=True,
    replay_grad=True,
    observation_scale=1.0,
    reward_scale=1.0,
    continue_scale=1.0,
    dynamic_scale=1.0,
    representation_scale=0.1,
)


@contextmanager
def likeliest():
    """Inside, latents and choices are the likeliest, and numbers mean + 0.5 std."""
    latents = lambda logits: straight_through(logits.softmax(-1), torch.zeros_like(logits)).flatten(-2)
    with (
        patch.object(agents.RSSM, "sample", staticmethod(latents)),
        patch.object(torch.distributions.OneHotCategorical, "sample", lambda dist: dist.mode),
        patch.object(torch.distributions.Independent, "sample", lambda dist: dist.mean + 0.5 * dist.stddev),
    ):
        yield


def agent(weights, batch, sizes):
    """`train` without its optimizer: the losses of the world model, the dream, the losses of actor and critic."""
    world, placed = whole_model(weights, sizes, batch["vector"].shape[-1])
    policy, critic = actor_with(placed, sizes), placed.head("val", "head_logits", 255)
    slow = placed.head("slowval", "head_logits", 255).requires_grad_(False)
    data = {name: x.transpose(0, 1).float() for name, x in batch.items() if name != "return_range"}
    columns = [data["action"], *(data[name][..., None] for name in ("is_first", "reward", "is_terminal"))]
    sides = [torch.zeros(1, len(batch["reward"]), size) for size in (placed.deter, placed.latent)]
    with likeliest():
        inputs = world, {"vector": data["vector"]}, *columns, *sides
        loss, latent, z, h, _ = training.world_model_loss(*inputs, **SETTINGS)
        with torch.no_grad():
            length = dict(horizon=sizes["horizon"], discount=1.0, lmbda=0.95)
            states, moves, values, slow_values, returns, steps = training.imagine(
                world, policy, critic, slow, z, h, **length
            )
    moments = Moments(0.99, 1.0, 0.05, 0.95)
    moments.low, moments.high = batch["return_range"].clone()
    dream = states, moves, values, slow_values, returns, steps, moments(returns, Anything(all_gather=lambda x: x))[1]
    rest, _ = training.actor_critic_loss(
        *(policy, critic, slow, *dream, latent, data["is_last"], data["is_terminal"], data["reward"]),
        **dict(actions_dim=(sizes["actions"],), gamma=1 - 1 / 333, lmbda=0.95, replay_loss=True, ent_coef=3e-4),
        **dict(policy_scale=1.0, value_scale=1.0, replay_value_scale=0.3, slow_regularizer=1.0),
    )
    after = torch.stack([moments.low, moments.high])
    return {"loss": loss + rest, "retnorm_after": after, "gradients": placed.gradients(loss + rest)}
