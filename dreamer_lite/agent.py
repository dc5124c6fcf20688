"""The whole agent: one world model, one actor, one critic, one optimizer; acting and one train step (notebook 10)."""

from contextlib import contextmanager
import time
from typing import Iterator, NamedTuple

from torch import Tensor, nn
import torch

from .actor import Actor, ReturnScale, actor_loss
from .config import Config
from .critic import Critic, critic_loss, lambda_return, replay_critic_loss
from .imagination import imagine, step_weights
from .optim import LaProp
from .rssm import State
from .world_model import WorldModel

# Official: `dreamerv3/configs.yaml: loss_scales`.
LOSS_SCALES = {"reconstruction": 1.0, "reward": 1.0, "continue": 1.0, "dyn": 1.0, "rep": 0.1,
               "actor": 1.0, "critic": 1.0, "replay_critic": 0.3}


class Carry(NamedTuple):
    """What the agent remembers between two calls of `act`: the last posterior state and the last action (E, A)."""

    state: State
    action: Tensor


class Dreamer(nn.Module):
    """DreamerV3 for vector observations. Official: `dreamerv3/agent.py: Agent`.

    observation: O; actions: A; discrete: whether actions are one-hot choices or vectors in [-1, 1].
    """

    def __init__(self, config: Config, observation: int, actions: int, discrete: bool, device: str = "cpu"):
        super().__init__()
        c = self.config = config
        self.world_model = WorldModel(observation, actions, c.deter, c.rssm_dim or c.hidden_dim, c.latent_dim, c.classes,
                                      c.hidden_dim, c.blocks, c.layers, horizon=c.discount_horizon)
        feature = self.world_model.feature
        self.actor = Actor(feature, actions, c.hidden_dim, c.head_layers, discrete)
        self.critic = Critic(feature, c.hidden_dim, c.head_layers, slow_rate=c.slow_rate)
        self.return_scale = ReturnScale()
        self.loss_scales = {**LOSS_SCALES, "reconstruction": c.reconstruction}
        self.observation, self.actions, self.discrete = observation, actions, discrete
        self.to(device)
        self.optimizer = LaProp([(list(self.world_model.parameters()), c.world_lr), (list(self.actor.parameters()), c.actor_lr),
                                 (list(self.critic.net.parameters()), c.critic_lr)], c.warmup)
        self.register_buffer("average", self.optimizer.weights.clone())

    def initial(self, batch: int) -> Carry:
        """The memory before the first observation."""
        state = self.world_model.rssm.initial(batch)
        return Carry(state, state.h.new_zeros(batch, self.actions))

    def compile_cells(self) -> float:
        """Have `torch.compile` fuse the recurrent step and the imagined step, now; returns the seconds it took.

        The loops over these cells stay as they are: to compile them too takes many minutes. Acting stays uncompiled, since every
        number of environments would be compiled anew. Raises ValueError where nothing can be compiled.
        """
        rssm, c, began = self.world_model.rssm, self.config, time.perf_counter()
        how = {"dynamic": False, "options": {"fallback_random": True}}  # the dice of the uncompiled cells
        rssm.recurrent_step, rssm.imagine_step = torch.compile(rssm.recurrent_step, **how), torch.compile(rssm.imagine_step, **how)
        self.act = torch.compiler.set_stance("force_eager")(self.act)
        batch, dreams = self.initial(c.batch_size), self.initial(c.batch_size * (c.imag_last or c.seq_len))
        obs, actions = (batch.action.new_zeros(c.batch_size, c.seq_len, size) for size in (self.observation, self.actions))
        try:  # each cell once, in the sizes and with the gradients of a train step
            with torch.random.fork_rng([obs.device] if obs.is_cuda else []):
                states, _ = self.world_model.observe(obs, actions, obs[..., 0] > 0, batch.state)
                states.h.sum().backward()
                imagine(self.world_model, self.actor, dreams.state, 2)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ValueError(f"nothing can be compiled here ({str(error).splitlines()[0][:200]}); leave --compile off, or install a C++ "
                             "compiler such as g++") from error
        return time.perf_counter() - began

    @torch.no_grad()
    def act(self, obs: Tensor, is_first: Tensor, carry: Carry, greedy: bool = False) -> Carry:
        """Look at obs (E, O), choose an action (E, A): sampled, or the most likely one if greedy. It is in the new carry.

        Official: `dreamerv3/agent.py: Agent.policy`, which always samples.
        """
        states, _ = self.world_model.observe(obs[:, None], carry.action[:, None], is_first[:, None], carry.state)
        state = State(states.h[:, 0], states.z[:, 0])
        policy = self.actor(state.feature)
        return Carry(state, policy.mode if greedy else policy.sample())

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the weights are their running average, if `config.average` asks for one; after, the trained ones are back.

        Not in the paper: Polyak averaging, which steadies an actor that a fresh failure has just moved.
        """
        trained = self.optimizer.weights.clone()
        if self.config.average:
            self.optimizer.weights.copy_(self.average)
        try:
            yield
        finally:
            self.optimizer.weights.copy_(trained)

    def loss(self, batch: dict[str, Tensor], start: State) -> tuple[dict[str, Tensor], State, dict[str, Tensor]]:
        """All losses, unreduced, with the posterior states (B, T, …) and metrics. Official: `agent.py: Agent.loss`.

        Gradients: reconstruction, reward, continue and replay_critic reach the whole world model, dyn the prior, rep the
        posterior; actor and critic learn from features without gradient.
        """
        losses, states, metrics = self.world_model.loss(batch, start)
        recent = slice(-self.config.imag_last if self.config.imag_last else None, None)
        begin = State(*(part[:, recent].detach().flatten(0, 1) for part in states))
        dream = imagine(self.world_model, self.actor, begin, self.config.horizon)

        logits = self.critic(dream.features)  # (N, H+1, bins)
        values = self.critic.value(logits)
        returns = lambda_return(dream.rewards[:, 1:], dream.continues[:, 1:], values[:, 1:], values[:, -1])
        weights = step_weights(dream.continues)
        scale = self.return_scale.update(returns)
        advantages = (returns - values[:, :-1]) / scale
        policy = self.actor(dream.features)
        log_probs, entropies = policy.log_prob(dream.actions)[:, :-1], policy.entropy()[:, :-1]
        losses["actor"] = actor_loss(log_probs, entropies, advantages, weights, self.config.entropy)
        slow_values = self.critic.slow_value(dream.features)
        losses["critic"] = critic_loss(logits, returns, slow_values, self.critic.bins, weights)

        replayed = states.feature[:, recent]
        losses["replay_critic"] = replay_critic_loss(  # dreams begin at the replayed states: their slow values are known
            self.critic(replayed), slow_values[:, 0].view(replayed.shape[:2]), self.critic.bins,
            *(batch[k][:, recent] for k in ("reward", "is_last", "is_terminal")),
            bootstrap=returns[:, 0].view(replayed.shape[:2]), horizon=self.config.discount_horizon)
        metrics.update(value=values, imagined_return=returns, return_scale=scale, advantage=advantages,
                       weight=weights, policy_entropy=entropies, imagined_reward=dream.rewards,
                       imagined_continue=dream.continues)
        return losses, states, metrics

    def train_step(self, batch: dict[str, Tensor], start: State) -> tuple[State, dict[str, Tensor]]:
        """One gradient step on everything; returns fresh posterior states and the mean of each loss and metric.

        Shapes are static and nothing is read back from the device, so the step can be captured and replayed.
        """
        self.optimizer.zero_grad()
        losses, states, metrics = self.loss(batch, start)
        means = {name: loss.mean() for name, loss in losses.items()}
        sum(self.loss_scales[name] * mean for name, mean in means.items()).backward()
        self.optimizer.step()
        self.critic.update_slow()
        if self.config.average:  # at first the plain mean, so that the initial weights are soon forgotten
            share = (1 / self.optimizer.count).clamp(min=1 - self.config.average).to(self.average.dtype)
            self.average.lerp_(self.optimizer.weights, share)
        means.update({name: value.detach().mean() for name, value in metrics.items()})
        return State(*(part.detach() for part in states)), {name: mean.detach() for name, mean in means.items()}
