"""The whole agent: one world model, one actor, one critic; how it acts, and all its losses (notebook 10)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .actor import Actor, ReturnScale, actor_loss
from .codecs import make_codec
from .config import Config, Spaces
from .critic import Critic, critic_loss, lambda_return, replay_critic_loss
from .errors import Refused, require
from .imagination import Dream, imagine, step_weights
from .replay import Experience, Obs, map_obs, obs_of_kinds
from .rssm import RSSM, State
from .world_model import WorldModel


class Carry(NamedTuple):
    """What the agent keeps between two calls of `act`: the last posterior state and the last action (E, A)."""

    state: State
    action: Tensor


def make_world_model(config: Config, spaces: Spaces) -> WorldModel:
    """A fresh world model with the sizes in `config`, for these observations and actions."""
    c = config
    encoder, decoder = make_codec(
        obs_size=spaces.obs_size,
        choices=spaces.obs_choices,
        image=spaces.image,
        deter=c.deter,
        latent=c.groups * c.classes,
        hidden=c.hidden,
        encoder_layers=c.encoder_layers,
        decoder_layers=c.decoder_layers,
        depth=c.depth,
        mults=c.mults,
        kernel=c.kernel,
        bspace=c.bspace,
        strided=c.strided,
    )
    rssm = RSSM(
        token_size=encoder.token_size,
        action_size=spaces.action_size,
        deter=c.deter,
        hidden=c.rssm_hidden or c.hidden,
        groups=c.groups,
        classes=c.classes,
        blocks=c.blocks,
        mix=c.unimix,
        core_layers=c.core_layers,
        prior_layers=c.prior_layers,
        posterior_layers=c.posterior_layers,
    )
    return WorldModel(
        encoder,
        decoder,
        rssm,
        hidden=c.hidden,
        layers=c.reward_layers,
        bins=c.bins,
        bin_limit=c.bin_limit,
        free_nats=c.free_nats,
        discount_horizon=c.discount_horizon,
    )


class Dreamer(nn.Module):
    """DreamerV3: the networks, how they act, and what they learn from. `learner.Learner` trains them.

    Official: `dreamerv3/agent.py: Agent`.
    """

    def __init__(self, config: Config, spaces: Spaces, device: torch.device | str = "cpu"):
        super().__init__()
        c, self.config, self.spaces = config, config, (spaces := spaces.plain)
        self.world_model = make_world_model(c, spaces)
        feature_size = self.world_model.feature_size
        self.actor = Actor(
            feature_size=feature_size,
            action_size=spaces.action_size,
            hidden=c.hidden,
            layers=c.head_layers,
            discrete=spaces.discrete,
            choices=spaces.choices,
            min_std=c.min_std,
            max_std=c.max_std,
        )
        self.critic = Critic(
            feature_size=feature_size,
            hidden=c.hidden,
            layers=c.head_layers,
            bins=c.bins,
            bin_limit=c.bin_limit,
            slow_rate=c.slow_rate,
        )
        self.return_scale = ReturnScale(c.return_rate, c.return_limit, c.return_low, c.return_high)
        self.to(device)

    @property
    def device(self) -> torch.device:
        return self.critic.bins.device

    def initial(self, batch: int) -> Carry:
        """State and action before the first observation, zeros: h (batch, D), z (batch, S, K), action (batch, A)."""
        state = self.world_model.rssm.initial(batch)
        return Carry(state, state.h.new_zeros(batch, self.spaces.action_size))

    def blank_obs(self, *shape: int) -> Obs:
        """Zeros in the shape of observations, (*shape, …)."""
        dtypes = {"image": torch.uint8}
        sizes = self.spaces.obs_shapes.items()
        return obs_of_kinds({kind: torch.zeros(*shape, *size, dtype=dtypes.get(kind)) for kind, size in sizes})

    @torch.no_grad()
    def act(self, obs: Obs, is_first: Tensor, carry: Carry, greedy: bool = False) -> Carry:
        """Look at obs (E, …) and choose an action (E, A), returned in the new carry.

        obs: tensors on the agent's device, numbers (E, O) or bytes of an image (E, H, W, C); if there are both,
        a dict of "vector" and "image". is_first: (E,), whether an episode begins. The action is sampled, or the most
        likely one if greedy. Raises Refused for other shapes, and on a CPU for NaN and infinity.
        Official: `dreamerv3/agent.py: Agent.policy`, which always samples.
        """
        obs = self.checked(obs, is_first, len(carry.action))
        obs = map_obs(lambda part: part[:, None], obs)  # (E, …) → (E, 1, …)
        states, _ = self.world_model.observe(obs, carry.action[:, None], is_first[:, None], carry.state)
        state = State(states.h[:, 0], states.z[:, 0])  # (E, 1, …) → (E, …)
        policy = self.actor(state.feature)
        return Carry(state, policy.mode if greedy else policy.sample())

    def checked(self, obs: Obs, is_first: Tensor, count: int) -> Obs:
        """The observations of `count` environments as the world model takes them. Raises Refused as `act` does."""
        needed = {kind: (count, *size) for kind, size in self.spaces.obs_shapes.items()}
        parts = obs if isinstance(obs, dict) else {next(iter(needed)): obs}
        for part in parts.values():
            require(part, Tensor, "act needs observations as tensors")
        require(is_first, Tensor, "act needs is_first as a tensor")
        given = {kind: tuple(part.shape) for kind, part in parts.items()}
        if (given, is_first.shape) != (needed, (count,)):
            raise Refused(
                f"act needs observations of shape {needed} and is_first of shape ({count},), since the carry is for "
                f"{count}; got {given} and {tuple(is_first.shape)}"
            )
        if "vector" in parts:
            parts = parts | {"vector": (vector := parts["vector"].float())}
            if vector.device.type == "cpu" and not torch.compiler.is_compiling():  # a GPU would have to be waited for
                # The sum is quick, and finite but for very large numbers.
                if not math.isfinite(vector.sum()) and not vector.isfinite().all():
                    raise Refused("act needs finite numbers; an observation holds NaN or infinity")
        return obs_of_kinds(parts)

    def loss(self, batch: Experience, start: State) -> tuple[dict[str, Tensor], State, dict[str, Tensor]]:
        """All losses, unreduced, with the posterior states (B, T, …) and metrics.

        batch: (B, T, …); start: the state (B, …) before it. Below, N is the number of dreams, one from each recent
        step.

        Gradients: reconstruction, reward, continue and replay_critic reach encoder, recurrent step and posterior, and
        their own head; rep encoder, recurrent step and posterior; dyn the prior and the recurrent step, and through the
        z of earlier steps posterior and encoder too. Dreams begin from features without gradient, so the losses of
        actor and critic reach only these two.
        Official: `dreamerv3/agent.py: Agent.loss`.
        """
        # Flags are inverted with ~, which means something else for the bytes that some replay buffers keep.
        batch = batch._replace(is_last=batch.is_last.bool(), is_terminal=batch.is_terminal.bool())
        losses, states, metrics = self.world_model.loss(batch, start)
        c, recent = self.config, slice(-self.config.imag_last if self.config.imag_last else None, None)
        begin = State(*(part[:, recent].detach().flatten(0, 1) for part in states))  # (B, T, …) → (N, …)
        dream = imagine(self.world_model, self.actor, begin, c.horizon)  # parts of (N, H+1, …)

        dreamed, found = self.dream_losses(dream)
        losses.update(dreamed)
        metrics.update(found, imagined_reward=dream.rewards, imagined_continue=dream.continues)

        replayed = states.feature[:, recent]  # (B, T, F); from here on T counts the recent steps only
        losses["replay_critic"] = replay_critic_loss(  # (B, T-1)
            self.critic(replayed),
            self.critic.slow_value(replayed),
            self.critic.bins,
            batch.reward[:, recent],
            batch.is_last[:, recent],
            batch.is_terminal[:, recent],
            bootstrap=found["imagined_return"][:, 0].view(replayed.shape[:2]),  # (N, H) → (B, T)
            discount_horizon=c.discount_horizon,
            lam=c.lam,
        )
        return losses, states, metrics

    def dream_losses(self, dream: Dream) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What actor and critic learn from a dream, parts of (N, H+1, …): their losses, (N, H) each, and metrics.

        Paper: Eq. 5 to 7. Official: `dreamerv3/agent.py: imag_loss`. Gotcha: it moves the running return scale.
        """
        c = self.config
        logits = self.critic(dream.features)  # (N, H+1, bins)
        values = self.critic.value(logits)  # (N, H+1)
        returns = lambda_return(
            dream.rewards[:, 1:], dream.continues[:, 1:], values[:, 1:], values[:, -1], c.lam
        )  # (N, H)
        weights = step_weights(dream.continues)  # (N, H)
        scale = self.return_scale.update(returns)  # ()
        advantages = (returns - values[:, :-1]) / scale  # (N, H)
        policy = self.actor(dream.features)  # over (N, H+1, A)
        log_probs, entropies = policy.log_prob(dream.actions)[:, :-1], policy.entropy()[:, :-1]  # (N, H)
        slow_values = self.critic.slow_value(dream.features)  # (N, H+1)
        losses = {
            "actor": actor_loss(log_probs, entropies, advantages, weights, c.entropy),
            "critic": critic_loss(logits, returns, slow_values, self.critic.bins, weights),
        }
        found = dict(value=values, imagined_return=returns, return_scale=scale, advantage=advantages, weight=weights)
        return losses, found | {"policy_entropy": entropies}
