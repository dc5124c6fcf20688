"""NM512/dreamerv3-torch at commit 6ef8646: its functions, with the settings of its configs.yaml."""

from types import SimpleNamespace

from filling import path_of
import models
import networks
import tools
from tools import symexp, symlog  # noqa: F401
import torch

ARRAYS = "torch"
NOTES = {
    "kl_losses": "takes logits; see kl_loss",
    **dict.fromkeys(("gru", "recurrent", "prior", "posterior", "observe", "imagine"), "a dense GRU, layer norms"),
    **dict.fromkeys(("image_encoder", "image_decoder"), "strided convolutions, layer norms"),
    **dict.fromkeys(("replay_return", "replay_critic_loss"), "the critic doesn't learn from replay"),
    **dict.fromkeys(("step_weights", "actor_loss", "critic_loss", "continue_target", "agent"), "inside its training"),
}


def of(logits):
    return tools.DiscDist(logits, device="cpu")


def two_hot_bins():
    return of(torch.zeros(255)).buckets


def two_hot(x):
    """Its target, read off the gradient of its log-probability at equal logits."""
    logits = torch.zeros(*x.shape, 255, requires_grad=True)
    return torch.autograd.grad(of(logits).log_prob(x[..., None]).sum(), logits)[0] + 1 / 255


def two_hot_mean(logits):
    return of(logits).mode()[..., 0]


def two_hot_loss(logits, x):
    return -of(logits).log_prob(x[..., None])


def unimix(logits, mix):
    return tools.OneHotDist(logits, unimix_ratio=mix).probs


def entropy(p):
    return torch.distributions.Independent(tools.OneHotDist(probs=p), 1).entropy()


def sample(probs):
    return tools.OneHotDist(probs=probs).sample()


def kl(p, q):
    dist = lambda probs: torch.distributions.Independent(tools.OneHotDist(probs=probs), 1)
    return torch.distributions.kl_divergence(dist(p), dist(q))


def kl_loss(posterior_logits, prior_logits):
    world = SimpleNamespace(_discrete=True, _unimix_ratio=0.01)
    world.get_dist = lambda state: networks.RSSM.get_dist(world, state)
    posterior, prior = ({"logit": logits} for logits in (posterior_logits, prior_logits))
    return networks.RSSM.kl_loss(world, posterior, prior, 1.0, 0.5, 0.1)[0].mean()


def rms_norm(x, gain):
    norm = networks.GRUCell(1, len(gain) // 3).layers.GRU_norm
    norm.weight.data = gain
    return norm(x)


def vector_loss(prediction, target):
    """It sums over all axes from the third on."""
    made, seen = (x.reshape(-1, 1, x.shape[-1]) for x in (prediction, target))
    return -tools.SymlogDist(made).log_prob(seen).reshape(target.shape[:-1])


def image_loss(prediction, image):
    return -tools.MSEDist(prediction).log_prob(image.float() / 255)


def lambda_return(rewards, continues, values, bootstrap):
    """Time first; its values begin with the first state's, which it doesn't read."""
    values = torch.cat([values[:, :1], values[:, :-1]], 1)
    rewards, continues, values = (x.T[..., None] for x in (rewards, continues, values))
    settings = dict(bootstrap=bootstrap[:, None], lambda_=0.95, axis=0)
    return torch.stack(tools.lambda_return(rewards, values, continues, **settings))[..., 0]


def return_scale(batches):
    scale, range_ = models.RewardEMA("cpu"), torch.zeros(2)
    return [scale(batch, range_)[1].clone() for batch in batches]


def advantages(returns, values, scale):
    """Read off its actor's loss by REINFORCE, for a log-probability of -1."""
    config = SimpleNamespace(reward_EMA=True, imag_gradient="reinforce")
    base = values[:, :-1].T[..., None]
    policy = SimpleNamespace(log_prob=lambda action: -torch.ones_like(values.T))
    learner = SimpleNamespace(
        actor=lambda x: policy,
        reward_ema=lambda x, _: (torch.zeros(()), scale),
        ema_vals=torch.zeros(2),
        _config=config,
        value=lambda x: SimpleNamespace(mode=lambda: base),
    )
    target = list(returns[..., None].unbind(0))  # it stacks them along axis 1
    weights = torch.ones(values.shape[1], len(values), 1)
    loss, _ = models.ImagBehavior._compute_actor_loss(learner, torch.zeros(1), torch.zeros(1), target, weights, base)
    return loss[..., 0].T


def categorical(logits, action):
    policy = tools.OneHotDist(logits, unimix_ratio=0.01)
    return policy.log_prob(action), policy.entropy()


def bounded_normal(mean, std, action):
    head = SimpleNamespace(_min_std=0.1, _max_std=1.0, _absmax=1.0)
    policy = networks.MLP.dist(head, "normal", mean, std, mean.shape[-1:])
    return policy.log_prob(action), policy.entropy()


def laprop(params, grads, lr):
    """Its Optimizer with the world model's settings, for a loss with these gradients."""

    def made(weights):
        optimizer = tools.Optimizer("model", weights, lr, eps=1e-8, clip=1000, wd=0.0, opt="adam")

        def step():
            loss = sum((weight * weight.grad.clone()).sum() for weight in weights)
            optimizer(loss, weights)

        return SimpleNamespace(step=step)

    return path_of(made, params, grads)


def slow_critic(online):
    path, config = (
        [online[0]],
        SimpleNamespace(critic={"slow_target": True, "slow_target_update": 1, "slow_target_fraction": 0.02}),
    )
    agent = SimpleNamespace(_updates=0, _config=config)
    agent.value, agent._slow_value = (torch.nn.ParameterList([online[0].clone()]) for _ in range(2))
    for weight in online[1:]:
        agent.value[0].data = weight
        models.ImagBehavior._update_slow_target(agent)
        path.append(agent._slow_value[0].detach().clone())
    return path


def initialise(shape):
    if len(shape) == 3:
        raise NotImplementedError("it has no block-diagonal layers")
    layer = torch.nn.Linear(*shape) if len(shape) == 2 else torch.nn.Conv2d(shape[2], shape[3], shape[0])
    tools.weight_init(layer)
    return layer.weight.detach().T if len(shape) == 2 else layer.weight.detach().permute(2, 3, 1, 0)
