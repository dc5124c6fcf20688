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
    The averaged weights start as the agent's weights when its learner is made. Raises ValueError if the agent has
    weights that none of its three parts holds, since nothing would train them.
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
        trained = {id(p) for p in self.optimizer.params()}
        if lost := [name for name, p in agent.named_parameters() if p.requires_grad and id(p) not in trained]:
            raise ValueError(
                f"{', '.join(lost)}: only the weights in world_model, actor and critic.net are trained; put these "
                "there, or freeze them with requires_grad_(False)"
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

        batch: (B, T, …); start: the state (B, …) before it, as `Replay.sample` gives both.
        Shapes are static and nothing is read back from the device, so the step can be captured and replayed. Raises
        RuntimeError inside `averaged`, where the step would be lost.
        """
        if self.trained is not None:
            raise RuntimeError("a train step inside `averaged` would be lost")
        self.optimizer.zero_grad()
        with self.products():
            with self.autocast():
                total, states, means = self.objective(batch, State(*start))
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
        if unweighted := losses.keys() - self.loss_scales.keys():
            raise ValueError(f"loss_scales has no weight for {', '.join(sorted(unweighted))}; the learner needs one")
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
        """Take over what `state_dict` returned; after the agent's own, whose weights may be averaged ones.

        Raises ValueError, and changes nothing, if it is of another agent or of other settings.
        """
        tensors = self.tensors()
        if wrong := [name for name, value in tensors.items() if name not in state or state[name].shape != value.shape]:
            raise ValueError(
                "the state is of a learner with other weights or another setting `average`: "
                f"{', '.join(wrong)} of other size or missing"
            )
        for name, value in tensors.items():
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
