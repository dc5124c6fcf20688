"""sheeprl 0.8.4, algorithm dreamer_v3, by the functions of its training and with its default settings."""

from filling import Anything, identity, path_of_clipped_adam
from sheeprl.algos.dreamer_v3 import agent as agents
from sheeprl.algos.dreamer_v3.loss import categorical_kl, reconstruction_loss
from sheeprl.algos.dreamer_v3.utils import Moments, compute_lambda_values, init_weights
from sheeprl.models.models import LayerNorm
from sheeprl.utils.distribution import (
    MSEDistribution,
    OneHotCategoricalStraightThroughValidateArgs,
    SymlogDistribution,
    TwoHotEncodingDistribution,
)
from sheeprl.utils.utils import symexp, symlog  # noqa: F401
import torch

ARRAYS = "torch"
NOTES = {
    "kl_losses": "inside its loss; see kl_loss",
    **dict.fromkeys(("gru", "recurrent", "prior", "posterior", "observe", "imagine"), "a dense GRU, layer norms"),
    **dict.fromkeys(("image_encoder", "image_decoder"), "strided convolutions, layer norms"),
    **dict.fromkeys(("replay_return", "replay_critic_loss"), "the critic doesn't learn from replay"),
    "continue_target": "inside its training",
    **dict.fromkeys(("step_weights", "advantages", "actor_loss", "critic_loss", "agent"), "inside its training"),
}


def two_hot_bins():
    return TwoHotEncodingDistribution(torch.zeros(255), dims=1).bins


def two_hot(x):
    """Its target, read off the gradient of the log-probability at equal logits."""
    logits = torch.zeros(*x.shape, 255, requires_grad=True)
    found = TwoHotEncodingDistribution(logits, dims=1).log_prob(x[..., None]).sum()
    return torch.autograd.grad(found, logits)[0] + 1 / 255


def two_hot_mean(logits):
    return TwoHotEncodingDistribution(logits, dims=1).mean.squeeze(-1)


def two_hot_loss(logits, x):
    return -TwoHotEncodingDistribution(logits, dims=1).log_prob(x[..., None])


def rssm(classes):
    return agents.RSSM(Anything(recurrent_state_size=1), None, None, None, classes, 0.01, False)


def unimix(logits):
    """It takes three or four axes."""
    flat = logits.reshape(1, -1, logits.shape[-1] * logits.shape[-2])
    return rssm(logits.shape[-1])._uniform_mix(flat).reshape(logits.shape).softmax(-1)


def entropy(p):
    return OneHotCategoricalStraightThroughValidateArgs(probs=p).entropy().sum(-1)


def sample(probs):
    return OneHotCategoricalStraightThroughValidateArgs(probs=probs).rsample()


def kl(p, q):
    return categorical_kl(p.log(), q.log())


def kl_loss(posterior_logits, prior_logits):
    mixed = [
        rssm(x.shape[-1])._uniform_mix(x.flatten(-2)).unflatten(-1, x.shape[-2:])
        for x in (prior_logits, posterior_logits)
    ]
    nothing = Anything(log_prob=lambda x: torch.zeros(mixed[0].shape[:2]))
    return reconstruction_loss({"obs": nothing}, {"obs": None}, nothing, torch.zeros(1), *mixed)[2]


def rms_norm(x, gain):
    norm = LayerNorm(len(gain), eps=1e-3)
    norm.weight.data = gain
    return norm(x)


def vector_loss(prediction, target):
    return -SymlogDistribution(prediction, dims=1).log_prob(target)


def image_loss(prediction, image):
    return -MSEDistribution(prediction - 0.5, dims=3).log_prob(image.float() / 255 - 0.5)


def lambda_return(rewards, continues, values, bootstrap):
    """It takes the last value as the bootstrap."""
    return compute_lambda_values(rewards.T, values.T, continues.T, 0.95).T


def return_scale(batches):
    moments, fabric = Moments(0.99, 1.0, 0.05, 0.95), Anything(all_gather=lambda x: x)
    return [moments(batch, fabric)[1] for batch in batches]


def actor(continuous, size):
    """An actor without layers, whose inputs are its outputs."""
    outputs = 2 * size if continuous else size
    found = agents.Actor(
        outputs,
        [size],
        continuous,
        {"type": "auto"},
        init_std=2.0,
        min_std=0.1,
        max_std=1.0,
        dense_units=outputs,
        mlp_layers=1,
        unimix=0.01,
    )
    found.model = torch.nn.Identity()
    identity(found.mlp_heads[0])
    return found


def categorical(logits, action):
    (policy,) = actor(False, logits.shape[-1])(logits)[1]
    return policy.log_prob(action), policy.entropy()


def bounded_normal(mean, std, action):
    (policy,) = actor(True, mean.shape[-1])(torch.cat([mean, std], -1))[1]
    return policy.log_prob(action), policy.entropy()


def laprop(params, grads, lr):
    """Adam with the world model's settings. Its gradients are clipped together at a norm of 1,000 by the trainer."""
    return path_of_clipped_adam(params, grads, lr)


def slow_critic(online):
    path = [online[0]]
    for weight in online[1:]:
        path.append(0.02 * weight + (1 - 0.02) * path[-1])
    return path


def initialise(shape):
    if len(shape) == 2:
        layer = torch.nn.Linear(*shape)
        init_weights(layer)
        return layer.weight.detach().T
    if len(shape) == 4:
        layer = torch.nn.Conv2d(shape[2], shape[3], shape[0])
        init_weights(layer)
        return layer.weight.detach().permute(2, 3, 1, 0)
    raise NotImplementedError("it has no block-diagonal layers")
