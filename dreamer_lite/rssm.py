"""Memory and surprise: the recurrent state-space model (notebook 05)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from .latents import gumbel, sample, unimix
from .nets import MLP, BlockLinear, Linear, RMSNorm
from .scan import scan


class State(NamedTuple):
    """What the model knows: h (..., D), the recurrent memory, and z (..., S, K), the one-hot guess about now."""

    h: Tensor
    z: Tensor

    @property
    def feature(self) -> Tensor:
        """[h, z] side by side, (..., F) with F = D + S·K: the input of every head."""
        return torch.cat([self.h, self.z.flatten(-2)], -1)


def gru(h: Tensor, reset: Tensor, candidate: Tensor, update: Tensor) -> Tensor:
    """The gates of the recurrent step: u · c + (1 - u) · h, with c = tanh(σ(reset) · candidate) and u = σ(update - 1).

    All four are (N, D), the last three before their squashing; returns (N, D).
    Official: `dreamerv3/rssm.py: RSSM._core`.
    Gotcha: the -1 makes a fresh network keep most of its memory, and `reset` gates the candidate, not h.
    """
    candidate = torch.tanh(torch.sigmoid(reset) * candidate)  # (N, D)
    return torch.lerp(h, candidate, torch.sigmoid(update - 1))


class RSSM(nn.Module):
    """h carries memory; the prior guesses z from h alone, the posterior sees the observation too.

    Paper: Eq. 1. Official: `dreamerv3/rssm.py: RSSM`. Raises ValueError if `blocks` does not divide `deter`.

    Letters: D = deter, S = groups, K = classes, A = action_size, E = token_size, the size of the encoder's output.
    """

    def __init__(
        self,
        *,
        token_size: int,
        action_size: int,
        deter: int,
        hidden: int,
        groups: int,
        classes: int,
        blocks: int = 8,
        mix: float = 0.01,
        core_layers: int = 1,
        prior_layers: int = 2,
        posterior_layers: int = 1,
    ):
        super().__init__()
        self.deter, self.groups, self.classes, self.mix = deter, groups, classes, mix
        self.h_in = MLP(inputs=deter, hidden=hidden)
        self.z_in = MLP(inputs=groups * classes, hidden=hidden)
        self.a_in = MLP(inputs=action_size, hidden=hidden)
        self.core = nn.ModuleList(
            BlockLinear(inputs=deter, outputs=deter, blocks=blocks, shared=0 if i else 3 * hidden)
            for i in range(core_layers)
        )
        self.core_norms = nn.ModuleList(RMSNorm(deter) for _ in range(core_layers))
        self.gates = BlockLinear(inputs=deter, outputs=3 * deter, blocks=blocks)
        self.prior_net = nn.Sequential(
            MLP(inputs=deter, hidden=hidden, layers=prior_layers), Linear(hidden, groups * classes)
        )
        self.posterior_net = nn.Sequential(
            MLP(inputs=deter + token_size, hidden=hidden, layers=posterior_layers), Linear(hidden, groups * classes)
        )

    def initial(self, batch: int) -> State:
        """The state before the first observation: zeros, also for z (no class is chosen)."""
        weight = self.gates.bias
        return State(weight.new_zeros(batch, self.deter), weight.new_zeros(batch, self.groups, self.classes))

    def state(self, feature: Tensor) -> State:
        """The state inside a feature, (..., F): the inverse of `State.feature`, as views of it."""
        h, z = feature.split([self.deter, self.groups * self.classes], -1)  # (..., D), (..., S·K)
        return State(h, z.unflatten(-1, (self.groups, self.classes)))

    def recurrent(self, state: State, action: Tensor) -> Tensor:
        """One step of memory: h' from h, z and the action that follows them, (N, …), (N, A) → (N, D).

        Official: `dreamerv3/rssm.py: RSSM._core`.
        """
        return self.remember(state, self.embed(action))

    def embed(self, action: Tensor) -> Tensor:
        """The action as the recurrent step sees it, (..., A) → (..., hidden).

        Gotcha: actions beyond ±1 are scaled back to ±1, without a gradient through the scale.
        """
        return self.a_in(action / action.abs().clamp(min=1).detach())

    def remember(self, state: State, embedded: Tensor) -> Tensor:
        """`recurrent`, for an action that is already embedded."""
        inputs = torch.cat([self.h_in(state.h), self.z_in(state.z.flatten(-2)), embedded], -1)  # (N, 3 · hidden)
        y = self.core_norms[0](self.core[0](state.h, inputs))  # (N, D)
        for linear, norm in zip(self.core[1:], self.core_norms[1:]):
            y = norm(linear(F.silu(y)))  # (N, D)
        gates = self.gates(F.silu(y)).unflatten(-1, (self.gates.blocks, 3, -1))  # (N, blocks, 3, D / blocks)
        reset, candidate, update = gates.transpose(1, 2).flatten(2).unbind(1)  # each (N, D)
        return gru(state.h, reset, candidate, update)

    def prior(self, h: Tensor) -> Tensor:
        """Logits of z from memory alone, (..., D) → (..., S, K). Official: `RSSM._prior`."""
        return self.prior_net(h).unflatten(-1, (self.groups, self.classes))

    def posterior(self, h: Tensor, tokens: Tensor) -> Tensor:
        """Logits of z given the observation too, (..., D), (..., E) → (..., S, K). Official: `RSSM._observe`."""
        return self.posterior_net(torch.cat([h, tokens], -1)).unflatten(-1, (self.groups, self.classes))

    def observe(
        self, tokens: Tensor, actions: Tensor, is_first: Tensor, start: State, noise: Tensor | None = None
    ) -> tuple[State, Tensor]:
        """Filter a sequence: states and posterior logits for tokens (B, T, E), actions (B, T, A), is_first (B, T).

        actions[:, t] is the action that led to step t. Where is_first, the state and that action are set to zero, and
        the recurrent step still runs. noise: optional Gumbel noise (B, T, S, K), see `latents.sample`.
        Returns State of (B, T, …) and logits (B, T, S, K). Official: `dreamerv3/rssm.py: RSSM.observe`.
        """

        def step(state, x):
            token, action, keep, noise = x  # (B, E), (B, hidden), (B, 1), (B, S, K)
            h = self.remember(State(state.h * keep, state.z * keep[..., None]), action)  # (B, D)
            logits = self.posterior(h, token)  # (B, S, K)
            state = State(h, sample(unimix(logits, self.mix), noise))  # (B, D), (B, S, K)
            return state, (*state, logits)

        is_first = is_first.bool()  # ~ means something else for bytes
        keep = (~is_first).to(tokens.dtype)[..., None]  # (B, T, 1)
        if noise is None:
            noise = gumbel(tokens, *is_first.shape, self.groups, self.classes)  # (B, T, S, K)
        embedded = self.embed(actions * keep)  # (B, T, hidden); the loop changes no actions, so all at once
        _, (h, z, logits) = scan(step, start, (tokens, embedded, keep, noise))  # (B, T, …)
        return State(h, z), logits

    def imagine_step(self, state: State, action: Tensor, noise: Tensor | None = None) -> State:
        """One step without an observation: h from the action, then z from the prior. Official: `RSSM.imagine`."""
        h = self.recurrent(state, action)  # (N, D)
        return State(h, sample(unimix(self.prior(h), self.mix), noise))
