"""torchrl 0.14.1: the losses of DreamerV3 as they come, and its modules with the arguments that select DreamerV3's."""

from filling import Anything, fill, fill_layers, identity, path_of, straight_through
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
import torch
from torchrl.modules import DreamerV3DiscreteActor, DreamerV3ImageEncoder, OneHotCategorical, PercentileValueNorm
from torchrl.modules.functional import symexp, symlog  # noqa: F401
from torchrl.modules.models import model_based
from torchrl.modules.models.model_based import SymExpTwoHot, two_hot_encode
from torchrl.objectives import DreamerV3ActorLoss, DreamerV3ModelLoss, DreamerV3ValueLoss
from torchrl.trainers.algorithms.dreamer_v3 import DreamerV3Optimizer

ARRAYS = "torch"
NOTES = {
    **dict.fromkeys(("entropy", "kl", "bounded_normal"), "PyTorch's distributions"),
    "gru": "inside the recurrent model; see recurrent",
    **dict.fromkeys(("step_weights", "advantages", "actor_loss"), "inside its DreamerV3ActorLoss"),
    "kl_losses": "see kl_loss",
    **dict.fromkeys(("image_loss", "continue_target"), "inside its DreamerV3ModelLoss"),
    "image_decoder": "transposed convolutions",
    "slow_critic": "its target updater",
    "agent": "not tried",
}
SETTINGS = {}  # what is not the default


def two_hot_bins(count):
    return SymExpTwoHot(count).bins


def two_hot(x, bins):
    return two_hot_encode(x, bins)


def two_hot_mean(logits, bins):
    return model_based.two_hot_decode(logits, bins)


def two_hot_loss(logits, x, bins):
    return model_based.two_hot_cross_entropy(logits, x, bins)


def unimix(logits, mix):
    return model_based._unimix_probs(logits, mix)


def sample(probs):
    return model_based._straight_through_categorical(probs.log(), 0.0)


def model_loss(made, **settings):
    """The loss of a world model that predicts what is given."""
    loss = DreamerV3ModelLoss(lambda data: data.update({"next": made}), **settings)
    batch = made["prior_logits"].shape[:2]
    usual = {name: torch.zeros(*batch, 1) for name in ("pixels", "reco_pixels", "reward", "true_reward")}
    usual["reward_logits"] = torch.zeros(*batch, 255)
    return loss(TensorDict({"next": {**usual, **made}}, batch))[0]


def kl_loss(posterior_logits, prior_logits):
    made = {"prior_logits": prior_logits, "posterior_logits": posterior_logits}
    found = model_loss(made, **SETTINGS)
    return sum(value for name, value in found.items() if name.removeprefix("loss_model_") not in ("reco", "reward"))[0]


def rms_norm(x, gain):
    norm = model_based._DreamerV3RMSNorm(len(gain))
    norm.weight.data = gain
    return norm(x)


def prior_of(weights, groups=1):
    """The prior's network with the block-diagonal recurrent step."""
    (deter, hidden), latent = weights["dynin0_kernel"].shape, weights["dynin1_kernel"].shape[0]
    sizes = dict(hidden_dim=hidden, rnn_hidden_dim=deter, num_categoricals=groups, num_classes=latent // groups)
    blocks, actions = len(weights["dyngru_kernel"]), weights["dynin2_kernel"].shape[0]
    kind = dict(recurrent_model="block_gru", num_blocks=blocks, action_dim=actions, unimix=0.01)
    model = model_based.RSSMPriorV3(**sizes, **kind)
    parts = model.rnn.belief_projection, model.rnn.state_projection, model.rnn.action_projection
    for i, part in enumerate(parts):
        fill_layers(part, weights, f"dynin{i}", f"dynin{i}norm")
    fill_layers(model.rnn.hidden_layers, weights, "dynhid{}", "dynhid{}norm")
    fill(model.rnn.gates, weights, "dyngru")
    if "prior0_kernel" in weights:
        last = fill_layers(model.rnn_to_prior_projector, weights, "prior{}", "prior{}norm")
        fill(last, weights, "priorlogit")
    return model


def posterior_of(weights, deter, groups=1):
    (inputs, hidden), latent = weights["obs0_kernel"].shape, weights["obslogit_bias"].shape[0]
    sizes = dict(hidden_dim=hidden, num_categoricals=groups, num_classes=latent // groups, rnn_hidden_dim=deter)
    model = model_based.RSSMPosteriorV3(**sizes, obs_embed_dim=inputs - deter, use_rms_norm=True, unimix=0.01)
    fill(fill_layers(model.obs_rnn_to_post_projector, weights, "obs{}", "obs{}norm"), weights, "obslogit")
    return model


def recurrent(weights, h, z, action):
    return prior_of(weights).rnn(z.flatten(-2), h, action)


def prior(weights, h):
    return prior_of(weights).rnn_to_prior_projector(h)


def posterior(weights, h, tokens):
    return posterior_of(weights, h.shape[-1])(h, tokens)[0].flatten(-2)


def observe(weights, tokens, actions, is_first, h, z, noise):
    """Its networks in the official loop, with the given noise: its own loop, RSSMRolloutV3, draws for itself."""
    groups, keep, path = z.shape[-2], (~is_first).float()[..., None], []
    model, seen = prior_of(weights, groups), posterior_of(weights, h.shape[-1], groups)
    for t in range(tokens.shape[1]):
        h, z = h * keep[:, t], z * keep[:, t, :, None]
        h = model.rnn(z.flatten(-2), h, actions[:, t] * keep[:, t])
        logits = seen(h, tokens[:, t])[0]
        z = straight_through(unimix(logits, 0.01), noise[:, t])
        path.append((h, z, logits))
    return tuple(torch.stack(part, 1) for part in zip(*path))


def imagine(weights, h, z, actions, noise):
    model, path = prior_of(weights, z.shape[-2]), []
    for t in range(actions.shape[1]):
        logits, h = model._belief_and_logits(z.flatten(-2), h, actions[:, t])
        z = straight_through(unimix(logits, 0.01), noise[:, t])
        path.append((h, z))
    return tuple(torch.stack(part, 1) for part in zip(*path))


def image_encoder(weights, image):
    """Channels first, also in its tokens."""
    depths = [weights[f"cnn{i}_kernel"].shape[-1] for i in range(2)]
    encoder = DreamerV3ImageEncoder(image.shape[-1], 1, tuple(depths), weights["cnn0_kernel"].shape[0])
    fill_layers(encoder.layers, weights, "cnn{}", "cnn{}norm")
    tokens = encoder(image.movedim(-1, -3))
    small = tokens.unflatten(-1, (depths[-1], image.shape[-3] // 4, image.shape[-2] // 4))
    return small.movedim(-3, -1).flatten(-3)


def vector_loss(prediction, target):
    """Its prediction is raw, and is squashed in the loss, which is a mean: so one entry at a time."""
    flat = [x.reshape(-1, 1, 1, x.shape[-1]) for x in (symexp(prediction), target)]
    empty = torch.zeros(1, 1, 1, 1)
    one = lambda made, seen: model_loss(
        {"reco_pixels": made, "pixels": seen, "prior_logits": empty, "posterior_logits": empty}
    )["loss_model_reco"]
    return torch.cat([one(made, seen) for made, seen in zip(*flat)]).reshape(target.shape[:-1])


def lambda_return(rewards, continues, values, bootstrap):
    """The actor loss's, with the discount in the continues; the last value is its bootstrap."""
    settings = Anything(value_estimator=Anything(gamma=torch.ones(()), lmbda=torch.tensor(0.95)))
    parts = (x[..., None] for x in (rewards, values, continues))
    return DreamerV3ActorLoss.lambda_target(settings, *parts)[..., 0]


class First(torch.nn.Module):
    def forward(self, belief, state):
        return state


def categorical(logits, action):
    """The head of its actor, behind a network that hands on the logits."""
    network = DreamerV3DiscreteActor(1, logits.shape[-1], depth=1, num_cells=logits.shape[-1])[0].module
    network.backbone = First()
    identity(network.logits_head)
    policy = OneHotCategorical(logits=network(logits, None))
    return policy.log_prob(action), policy.entropy()


def replay_return(rewards, is_last, is_terminal, bootstrap):
    from torchrl.objectives.dreamer_v3 import _replay_value_target

    return _replay_value_target(rewards, is_last, is_terminal, bootstrap, 333, 0.95)


def return_scale(batches):
    norm, path = PercentileValueNorm(shape=1), []
    for batch in batches:
        norm.update(batch.reshape(-1, 1))
        path.append(norm.scale().reshape(()).clone())
    return path


class Given(torch.nn.Module):
    """A critic with these logits; its copy, which gets no gradient, decodes to the slow values."""

    def forward(self, logits, slow):
        return logits, slow


def value_loss(logits, slow_values):
    keys = dict(in_keys=["given", "slow"], out_keys=["state_value_logits", "state_value"])
    loss = DreamerV3ValueLoss(TensorDictModule(Given(), **keys), value_loss="two_hot", slow_critic_regularization=1.0)
    loss.target_value_model_params  # noqa: B018  made here
    return loss, {"given": logits, "slow": slow_values[..., None]}


def critic_loss(logits, returns, slow_values, weights):
    loss, given = value_loss(logits[:, :-1], slow_values[:, :-1])
    data = {**given, "lambda_target": returns[..., None], "discount_weight": weights[..., None]}
    return loss(TensorDict(data, returns.shape))[0]["loss_value"]


def replay_critic_loss(logits, slow_values, rewards, is_last, is_terminal, bootstrap):
    loss, given = value_loss(logits, slow_values)
    after = {"reward": rewards[..., None], "done": is_last[..., None], "terminated": is_terminal[..., None]}
    data = TensorDict({**given, "bootstrap": bootstrap, "next": after}, rewards.shape)
    return loss.replay_value_loss(data)["loss_replay_value"]


def laprop(params, grads, lr, warmup):
    return path_of(lambda weights: DreamerV3Optimizer(weights, lr=lr, warmup_steps=warmup), params, grads)


def initialise(shape):
    if len(shape) == 2:
        layer = torch.nn.Linear(*shape)
        model_based._dreamer_v3_init(layer)
        return layer.weight.detach().T
    if len(shape) == 3:
        sizes = shape[0] * shape[1], shape[0] * shape[2], shape[0]
        return model_based._DreamerV3BlockLinear(*sizes).weight.detach()
    layer = torch.nn.Conv2d(shape[2], shape[3], shape[0])
    model_based._dreamer_v3_conv_init(layer)
    return layer.weight.detach().permute(2, 3, 1, 0)
