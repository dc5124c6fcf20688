"""RLlib of ray 2.60.0: the methods of its DreamerV3 learner and its layers, with the default settings."""

from types import SimpleNamespace

from filling import Anything, identity, path_of_clipped_adam
import gymnasium
from ray.rllib.algorithms.dreamerv3.torch.dreamerv3_torch_learner import DreamerV3TorchLearner as Learner
from ray.rllib.algorithms.dreamerv3.torch.models.actor_network import ActorNetwork
from ray.rllib.algorithms.dreamerv3.torch.models.components import dreamerv3_normal_initializer
from ray.rllib.algorithms.dreamerv3.torch.models.components.representation_layer import RepresentationLayer
from ray.rllib.algorithms.dreamerv3.torch.models.components.reward_predictor_layer import RewardPredictorLayer
from ray.rllib.algorithms.dreamerv3.torch.models.components.sequence_model import DreamerV3GRU
from ray.rllib.algorithms.dreamerv3.torch.models.critic_network import CriticNetwork
from ray.rllib.utils.torch_utils import inverse_symlog as symexp
from ray.rllib.utils.torch_utils import symlog
from ray.rllib.utils.torch_utils import two_hot as encoded
import torch

ARRAYS = "torch"
NOTES = {
    **dict.fromkeys(("gru", "recurrent", "prior", "posterior", "observe", "imagine"), "a dense GRU, layer norms"),
    **dict.fromkeys(("image_encoder", "image_decoder"), "strided convolutions, layer norms"),
    **dict.fromkeys(("replay_return", "replay_critic_loss"), "the critic doesn't learn from replay"),
    **dict.fromkeys(("entropy", "kl", "sample"), "PyTorch's distributions"),
    "two_hot_bins": "even in symlog space",
    **dict.fromkeys(("two_hot_loss", "step_weights", "advantages", "continue_target"), "inside its training"),
    **dict.fromkeys(("vector_loss", "image_loss"), "inside its training"),
    "agent": "other networks",
}
SETTINGS = SimpleNamespace(
    gamma=1.0,  # the continues that are handed over hold the discount
    gae_lambda=0.95,
    entropy_scale=3e-4,
    return_normalization_decay=0.99,
    report_individual_batch_item_stats=False,
)


def learner(actor=None):
    """Its learner, as far as these methods read it."""
    module = Anything(unwrapped=lambda: Anything(actor=actor))
    return Anything(
        module={"default": module},
        metrics=Anything(log_dict=lambda *_, **__: None),
        _device="cpu",
        _compute_scaled_value_targets=lambda **named: named["value_targets_t0_to_Hm1_BxT"],
    )


def two_hot(x):
    return encoded(symlog(x).reshape(-1)).reshape(*x.shape, 255)


def two_hot_mean(logits):
    layer = RewardPredictorLayer(input_size=255)
    identity(layer.reward_buckets_layer)
    return symexp(layer(logits))


def unimix(logits):
    groups, classes = logits.shape[-2:]
    layer = RepresentationLayer(
        input_size=groups * classes, num_categoricals=groups, num_classes_per_categorical=classes
    )
    identity(layer.z_generating_layer)
    return layer(logits.reshape(-1, groups * classes), return_z_probs=True)[1].reshape(logits.shape)


def kl_losses(posterior, prior):
    """The method flattens batch and time."""
    shape = posterior.shape[:-2] if posterior.ndim == 4 else (*posterior.shape[:-2], 1)
    config = Anything(batch_size_B_per_learner=shape[0], batch_length_T=shape[1])
    made = {
        "z_posterior_probs_BxT": posterior.reshape(-1, *posterior.shape[-2:]),
        "z_prior_probs_BxT": prior.reshape(-1, *prior.shape[-2:]),
    }
    found = Learner._compute_world_model_dynamics_and_representation_loss(learner(), config=config, fwd_out=made)
    return tuple(x.reshape(posterior.shape[:-2]) for x in found)


def kl_loss(posterior_logits, prior_logits):
    dyn, rep = kl_losses(unimix(posterior_logits), unimix(prior_logits))
    return (0.5 * dyn + 0.1 * rep).mean()  # as in compute_loss_for_module


def rms_norm(x, gain):
    norm = DreamerV3GRU(input_size=1, cell_size=len(gain) // 3).layer_norm
    norm.weight.data = gain
    return norm(x)


def lambda_return(rewards, continues, values, bootstrap):
    """Its arrays begin with the first state, whose reward and continue it doesn't read."""
    rewards, continues, values = (torch.cat([x[:, :1], x], 1).T for x in (rewards, continues, values))
    return Learner._compute_value_targets(
        learner(),
        config=SETTINGS,
        rewards_t0_to_H_BxT=rewards,
        intrinsic_rewards_t1_to_H_BxT=None,
        continues_t0_to_H_BxT=continues,
        value_predictions_t0_to_H_BxT=values,
    ).T


def return_scale(batches):
    """Read off the advantage of a return of 1 over a value of 0."""
    actor = actor_of(False, 2)
    of = lambda batch, value: Learner._compute_scaled_value_targets(
        learner(actor),
        module_id="default",
        config=SETTINGS,
        value_targets_t0_to_Hm1_BxT=batch,
        value_predictions_t0_to_Hm1_BxT=value,
    )
    path = []
    for batch in batches:
        unit = batch.abs().max()
        path.append(unit / of(batch, batch - unit).flatten()[0])
    return path


def actor_of(continuous, size):
    space = gymnasium.spaces.Box(-1, 1, (size,)) if continuous else gymnasium.spaces.Discrete(size)
    return ActorNetwork(input_size=1, model_size="nano", action_space=space)


def categorical(logits, action):
    actor = actor_of(False, logits.shape[-1])
    actor.mlp = First()
    _, params = actor(logits, torch.zeros(len(logits), 0, 1), return_distr_params=True)
    policy = actor.get_action_dist_object(params)
    return policy.log_prob(action), policy.entropy()


class First(torch.nn.Module):
    """Hands on the part of the inputs that stands for its outputs."""

    def __init__(self, part=slice(None)):
        super().__init__()
        self.part = part

    def forward(self, x):
        return x[..., self.part]


def bounded_normal(mean, std, action):
    size = mean.shape[-1]
    actor = actor_of(True, size)
    actor.mlp, actor.std_mlp = First(slice(size)), First(slice(size, None))
    _, params = actor(torch.cat([mean, std], -1), torch.zeros(len(mean), 0, 1), return_distr_params=True)
    policy = actor.get_action_dist_object(params)
    return policy.log_prob(action), policy.entropy()


def one_more(x):
    """Time first, with a last step that isn't trained on."""
    return torch.cat([x.T, torch.zeros_like(x.T[:1])])


def actor_loss(log_probs, entropies, advantages, weights):
    """With numbers for the one choice that there is: its log-probability, and an entropy."""
    policy = Anything(entropy=lambda: entropies.T)
    actor = Anything(
        get_action_dist_object=lambda params: policy,
        action_space=gymnasium.spaces.Discrete(1),
        ema_value_target_pct95=None,
        ema_value_target_pct5=None,
    )
    dream = {
        "values_dreamed_t0_to_H_BxT": torch.zeros(1),
        "actions_dreamed_t0_to_H_BxT": torch.ones(log_probs.shape[1] + 1, len(log_probs), 1),
        "actions_dreamed_dist_params_t0_to_H_BxT": one_more(log_probs)[..., None],
        "dream_loss_weights_t0_to_H_BxT": one_more(weights),
    }
    return Learner._compute_actor_loss(
        learner(actor), module_id="default", config=SETTINGS, dream_data=dream, value_targets_t0_to_Hm1_BxT=advantages.T
    )


def critic_loss(logits, returns, slow_values, weights):
    time_first = logits.transpose(0, 1)
    dream = {
        "rewards_dreamed_t0_to_H_BxT": slow_values.T,
        "values_symlog_dreamed_logits_t0_to_HxBxT_wm_detached": time_first.reshape(-1, 255),
        "v_symlog_dreamed_ema_t0_to_H_BxT": symlog(slow_values.T).contiguous(),
        "dream_loss_weights_t0_to_H_BxT": one_more(weights),
    }
    return Learner._compute_critic_loss(
        learner(),
        module_id="default",
        config=SETTINGS,
        dream_data=dream,
        value_targets_t0_to_Hm1_BxT=returns.T.contiguous(),
    )


def laprop(params, grads, lr):
    """Adam and clipping with the world model's settings, as its learner and its config set them up."""
    return path_of_clipped_adam(params, grads, lr)


def slow_critic(online):
    critic, path = CriticNetwork(input_size=1, model_size="nano"), [online[0]]
    critic.mlp, critic.mlp_ema = (torch.nn.ParameterList([online[0].clone()]) for _ in range(2))
    for weight in online[1:]:
        critic.mlp[0].data = weight
        critic.update_ema()
        path.append(critic.mlp_ema[0].detach().clone())
    return path


def initialise(shape):
    if len(shape) != 2:
        raise NotImplementedError("only its dense layers are initialised so")
    weight = torch.nn.Parameter(torch.empty(*shape))
    dreamerv3_normal_initializer([weight])
    return weight.detach()
