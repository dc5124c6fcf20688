"""One train step of everything: losses, gradients, optimizer, slow critic, averaged weights (notebook 10)."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from .agent import Dreamer
from .errors import require
from .optim import LaProp
from .products import by_onednn, onednn_pays
from .replay import Experience
from .rssm import State


class Learner:
    """Trains an agent, and holds what only training needs, which is several times the size of the agent.

    Three hooks change how a step is computed; but for averaging over processes, results differ in last digits at most:
    objective: the weighted sum of the losses; `training/compiled.py` replaces it by a compiled one.
    reduce_gradients: called with all gradients as one flat vector before they are clipped; `training/parallel.py`
    averages them over processes here.
    products: around each train step, the library that computes its matrix products (`products.py`).
    The averaged weights start as the agent's weights when its learner is made.
    """

    def __init__(self, agent: Dreamer):
        require(agent, Dreamer, "a Learner needs a Dreamer")
        c, self.agent = agent.config, agent
        self.optimizer = LaProp(
            [(agent.world_model, c.world_lr), (agent.actor, c.actor_lr), (agent.critic.net, c.critic_lr)],
            c.warmup,
            c.clip,
            c.clip_floor,
            (c.beta1, c.beta2),
            c.epsilon,
        )
        self.average = self.optimizer.weights.clone() if c.average else None
        self.trained: Tensor | None = None  # the trained weights, while the agent has their average
        self.loss_scales = c.loss_scales
        self.objective = self.weighted_loss
        self.reduce_gradients: Callable[[Tensor], None] | None = None
        on_cpu = agent.device.type == "cpu"
        self.products = by_onednn if on_cpu and onednn_pays(c, len(self.optimizer.weights)) else nullcontext

    @torch.enable_grad()  # an environment or the program may have turned gradients off for the whole thread
    def train_step(self, batch: Experience, start: State) -> tuple[State, dict[str, Tensor]]:
        """One gradient step on everything; returns new posterior states (B, T, …) and the mean of each loss and metric.

        Shapes are static and nothing is read back from the device, so the step can be captured and replayed. Raises
        RuntimeError inside `averaged`, where the step would be lost.
        """
        if self.trained is not None:
            raise RuntimeError("a train step inside `averaged` would be lost")
        self.optimizer.zero_grad()
        with self.products():
            with self.autocast():
                total, states, means = self.objective(batch, start)
            total.backward()
        if self.reduce_gradients:
            self.reduce_gradients(self.optimizer.gradients)
        self.optimizer.step()
        self.agent.critic.update_slow()
        self.update_average()
        return State(*(part.detach() for part in states)), {name: mean.detach() for name, mean in means.items()}

    def weighted_loss(self, batch: Experience, start: State) -> tuple[Tensor, State, dict[str, Tensor]]:
        """What training minimises: the weighted sum of the mean losses, a scalar.

        Also returns the posterior states (B, T, …) and the mean of each loss and metric.
        """
        losses, states, metrics = self.agent.loss(batch, start)
        means = {name: loss.mean() for name, loss in losses.items()}
        total = sum(self.loss_scales[name] * mean for name, mean in means.items())
        return total, states, means | {name: value.mean() for name, value in metrics.items()}

    def autocast(self) -> AbstractContextManager:
        """Inside, matrix products and convolutions are computed in `config.precision`; their results are float32."""
        half = self.agent.config.precision == "bfloat16"
        return torch.autocast(self.agent.device.type, torch.bfloat16) if half else nullcontext()

    def update_average(self) -> None:
        """Move the average towards the weights.

        It reaches back over a share of all train steps so far, so it is fast at first, when much changes, and steady
        later. Source: polynomial-decay averaging, Shamir and Zhang 2013.
        """
        if self.average is not None:
            share = (1 / (self.agent.config.average * self.optimizer.count.to(self.average.dtype))).clamp(max=1)
            self.average.lerp_(self.optimizer.weights, share)

    @contextmanager
    def averaged(self) -> Iterator[Dreamer]:
        """Inside, the agent has its averaged weights, if `config.average` asks for them; afterwards its trained ones.

        Not in the paper: Polyak averaging, which steadies an actor that a recent failure has just moved.
        """
        if self.average is None or self.trained is not None:
            yield self.agent
            return
        self.optimizer.adopt()
        self.trained = self.optimizer.weights.clone()
        self.optimizer.weights.copy_(self.average)
        try:
            yield self.agent
        finally:
            self.optimizer.weights.copy_(self.trained)
            self.trained = None

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that training needs besides the agent.

        It includes the trained weights, since the saved agent may hold their average.
        """
        tensors = self.tensors()
        if self.trained is not None:
            tensors["weights"] = self.trained
        return {name: value.clone() for name, value in tensors.items()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, value in self.tensors().items():
            value.copy_(state[name])

    def tensors(self) -> dict[str, Tensor]:
        optimizer = self.optimizer
        optimizer.adopt()
        tensors = {
            "weights": optimizer.weights,
            "mean": optimizer.mean,
            "square": optimizer.square,
            "count": optimizer.count,
        }
        return tensors if self.average is None else {**tensors, "average": self.average}
