"""Exercises of notebook 06: the two KL losses, the continue target, the prediction losses, one training step."""

from collections.abc import Callable
import copy
import math
from typing import Any

import torch
from torch import Tensor
import torch.nn.functional as F

from ...agent import make_world_model
from ...config import Config, Spaces
from ...latents import kl
from ...replay import Experience
from ...symlog import symlog
from ...two_hot import two_hot_loss
from ...world_model import WorldModel, continue_target, kl_losses
from ..exercise import Complaint, Exercise, Mistake, dice, gradient, kind, normal, up_to_a_constant

right_losses = WorldModel.prediction_losses  # kept, since judging puts a reader's version into the class
SCALES = {"reconstruction": 1.0, "reward": 1.0, "continue": 1.0, "dyn": 1.0, "rep": 0.1}


def fit(world_model: WorldModel, optimizer: Any, batch: Experience, scales: dict[str, float]) -> Tensor:
    """One training step on the weighted sum of the mean losses of one batch. Returns that sum, from before the step."""
    losses, _, _ = world_model.loss(batch, world_model.rssm.initial(len(batch.obs)))
    total = sum(scales[name] * losses[name].mean() for name in losses)
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    return total.detach()


def kl_cases() -> list[tuple]:
    near = dice(3, 2, 4)
    return [
        (dice(1, 2, 3), dice(1, 2, 3), 0.1),
        (dice(2, 4, 2, 3), dice(2, 4, 2, 3), 1.0),
        (near, 0.9 * near + 0.1 / 4, 1.0),
        (dice(6, 3, 4), dice(6, 3, 4), 4.0),
        (dice(4, 5, 4, 3, sure=0.5), dice(4, 5, 4, 3, sure=0.5), 1.0),
        (dice(2, 32, 4), dice(2, 32, 4), 1.0),  # large, which shows a limit from above
        (near[0], 0.9 * near[0] + 0.1 / 4, 0.0),  # the dice of one step, and nothing free
    ]


def kl_probe(version: Callable, posterior: Tensor, prior: Tensor, free: float) -> dict:
    """Both losses, and where the gradient of each goes."""
    q, p = posterior.clone().requires_grad_(True), prior.clone().requires_grad_(True)
    out = version(q, p, free)
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise Complaint(f"It returns {kind(out)}; two things are expected, `return dyn, rep`.")
    found = dict(zip(("dyn", "rep"), out))
    return found | {
        f"the gradient of {name} at the {where}": up_to_a_constant(gradient(loss, x))
        for name, loss in list(found.items())
        for where, x in (("posterior", q), ("prior", p))
    }


def split(
    q: Tensor,
    p: Tensor,
    free: float = 1.0,
    *,
    stop: tuple = ("q", "p"),
    reverse: bool = False,
    per_group: bool = False,
    clip: str = "min",
    how: Callable = kl,
) -> tuple[Tensor, Tensor]:
    """kl_losses with one thing wrong."""
    found = []
    for stopped in stop:
        a, b = (q.detach() if stopped == "q" else q), (p.detach() if stopped == "p" else p)
        a, b = (b, a) if reverse else (a, b)
        if per_group:
            found.append((a * (a.log() - b.log())).sum(-1).clamp(min=free).sum(-1))
            continue
        value = how(a, b)
        found.append(
            {
                "min": value.clamp(min=free),
                "max": value.clamp(max=free),
                "ten": value.clamp(free, 10),
                "none": value,
                "minus": (value - free).clamp(min=0),
                "mean": value.mean().clamp(min=free),
                "add": value + free,
                "zero": value * (value > free),
            }[clip]
        )
    return found[0], found[1]


def wrong_split(**how: Any) -> Callable:
    return lambda q, p, free=1.0: split(q, p, free, **how)


def target_cases() -> list[tuple]:
    return [
        (torch.tensor([False, False, True]), 100),
        (torch.rand(3, 5) > 0.6, 333),
        (torch.tensor([[True], [False]]), 20),
    ]


def flat(is_terminal: Tensor) -> Tensor:
    return (~is_terminal).float()


def tiny_model() -> WorldModel:
    sizes = dict(deter=8, rssm_hidden=5, groups=2, classes=3, hidden=6, blocks=2, encoder_layers=1, decoder_layers=1)
    model = make_world_model(
        Config.preset("debug", **sizes, bins=11, bin_limit=4.0, discount_horizon=50), Spaces(3, 2, True)
    )
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.2
    return model


def tiny_batch(B: int, T: int) -> Experience:
    first, terminal = torch.rand(B, T) < 0.2, torch.rand(B, T) < 0.3
    last = terminal | (torch.rand(B, T) < 0.5)  # some are cut off by a time limit
    terminal[0, 0], last[0, 0] = False, True
    return Experience(
        normal(B, T, 3, size=5), torch.eye(2)[torch.randint(2, (B, T))], normal(B, T, size=3), first, last, terminal
    )


def prediction_cases() -> list[tuple]:
    cases = [(tiny_model(), normal(B, T, 14), tiny_batch(B, T)) for B, T in ((1, 2), (2, 3), (4, 5))]
    sure = tiny_model()
    for parameter in sure.continue_head[-1].parameters():
        parameter.data *= 1000
    return [*cases, (sure, normal(2, 3, 14), tiny_batch(2, 3))]


def prediction_probe(version: Callable, model: WorldModel, feature: Tensor, batch: Experience) -> dict:
    """The three losses, and the gradient of each at the feature."""
    feature = feature.requires_grad_(True)
    out = version(model, feature, batch)
    names = ("reconstruction", "reward", "continue")
    if not isinstance(out, dict):
        raise Complaint(
            f'It returns {kind(out)}; a dictionary is expected: `{{"reconstruction": …, "reward": …, "continue": …}}`.'
        )
    missing = [name for name in names if name not in out]
    if missing:
        raise Complaint(f"The dictionary has no entry {missing[0]!r}; it has {', '.join(map(repr, out)) or 'none'}.")
    if len(out) > len(names):
        raise Complaint(f"The dictionary has more than the three losses: {', '.join(map(repr, out))}.")
    found = {f"the {name} loss": out[name] for name in names}
    return found | {f"the gradient of the {name} loss at the feature": gradient(out[name], feature) for name in names}


def predicted(model: WorldModel, feature: Tensor, batch: Experience, **change: Callable) -> dict[str, Tensor]:
    return right_losses(model, feature, batch) | {name: make(model, feature, batch) for name, make in change.items()}


def wrong_continue(make: Callable) -> Callable:
    return lambda m, f, b: predicted(m, f, b, **{"continue": make})


def entropy_of(m: WorldModel, f: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(m.continue_head(f).squeeze(-1), target, reduction="none")


def by_hand(p: Tensor, target: Tensor) -> Tensor:
    return -(target * p.log() + (1 - target) * (1 - p).log())


def flipped(b: Experience, discount_horizon: float) -> Tensor:
    return torch.where(b.is_terminal, 1 - 1 / discount_horizon, 0.0)


def fit_cases() -> list[tuple]:
    uneven = {
        "rep": 0.1,
        "continue": 1.5,
        "dyn": 1.0,
        "reward": 0.5,
        "reconstruction": 2.0,
    }  # not in the order of the losses
    return [
        (tiny_model(), 0.01, tiny_batch(2, 3), SCALES),
        (tiny_model(), 0.003, tiny_batch(3, 4), uneven),
        (tiny_model(), 0.01, tiny_batch(4, 2), uneven),
    ]


TOO_EARLY = (
    "optimizer.step() runs before backward, so the weights have changed since the loss was computed. "
    "First the sum, then backward, then the step."
)


class Watched(torch.optim.SGD):
    """Plain gradient descent that counts its steps, and keeps the gradient of the last one."""

    steps = 0
    gradient = torch.zeros(())

    def step(self, *_: Any) -> None:
        self.steps += 1
        parameters = self.param_groups[0]["params"]
        self.gradient = torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in parameters])
        super().step()


def fit_probe(version: Callable, model: WorldModel, rate: float, batch: Experience, scales: dict[str, float]) -> dict:
    """Two steps in a row on a copy of the model: the losses, and all weights and gradients after each step."""
    model = copy.deepcopy(model)
    optimizer = Watched(model.parameters(), rate)
    found: dict[str, Any] = {}
    for n in ("first", "second"):
        torch.manual_seed(0)
        try:
            out = version(model, optimizer, batch, scales)
        except RuntimeError as error:
            if "inplace" not in str(error):
                raise
            raise Complaint(TOO_EARLY) from error
        if isinstance(out, Tensor) and out.requires_grad:
            raise Complaint(
                "The loss comes back with its graph, which would keep all of it in memory: return `total.detach()`."
            )
        found[f"the loss of the {n} step"] = out
        found[f"the number of optimizer steps after the {n} call"] = optimizer.steps
        found[f"the weights after the {n} step"] = torch.cat([p.detach().flatten() for p in model.parameters()])
        found[f"the gradients of the {n} step"] = optimizer.gradient.clone()
    return found


def fitted(
    model: WorldModel,
    optimizer: Any,
    batch: Experience,
    scales: dict[str, float],
    *,
    clear: bool = True,
    learn: bool = True,
    early: bool = False,
    late: bool = False,
    pool: str = "mean",
    only: tuple = (),
    plain: bool = False,
    share: float = 1.0,
    twice: bool = False,
    in_order: bool = False,
    after: bool = False,
    clip: float = 0.0,
    join: str = "",
    sign: float = 1.0,
    told: str = "",
    each: str = "",
    decay: float = 0.0,
) -> Tensor:
    """A training step with one thing wrong."""
    if late:
        optimizer.zero_grad()
    losses, _, _ = model.loss(batch, model.rssm.initial(len(batch.obs)))
    if in_order:
        scales = dict(zip(losses, scales.values()))
    total = share * sum(
        (1 if plain else scales[name]) * getattr(loss, pool)()
        for name, loss in losses.items()
        if not only or name in only
    )
    means = {name: loss.mean() for name, loss in losses.items()}
    if join:
        total = {
            "product": math.prod(scales[name] * mean for name, mean in means.items()),
            "divided": sum(mean / scales[name] for name, mean in means.items()),
            "share": total / sum(scales.values()),
            "time": sum(scales[name] * loss.sum(1).mean() for name, loss in losses.items()),
            "squares": sum((scales[name] * mean).square() for name, mean in means.items()),
            "fixed": sum(SCALES[name] * mean for name, mean in means.items()),
            "twice": sum(scales[name] ** 2 * mean for name, mean in means.items()),
            "later": sum(scales[name] * loss[:, 1:].mean() for name, loss in losses.items()),
        }[join]
    if early:
        optimizer.step()
    if clear and not late:
        optimizer.zero_grad()
    if each:
        for name in losses if each == "losses" else scales:
            optimizer.zero_grad()
            (scales[name] * means[name]).backward(retain_graph=True)
    else:
        (sign * total + decay * sum(p.square().sum() for p in model.parameters())).backward()
    if told:
        total = sum(means.values())
    if late:
        optimizer.zero_grad()
    if clip:
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for _ in range(2 if twice else 1):
        if learn and not early:
            optimizer.step()
    if after:
        losses, _, _ = model.loss(batch, model.rssm.initial(len(batch.obs)))
        total = sum(scales[name] * loss.mean() for name, loss in losses.items())
    return total.detach()


def learns_twice(*case: Any) -> Tensor:
    return [fit(*case) for _ in range(2)][-1]


def counts_fields(model: WorldModel, optimizer: Any, batch: Experience, scales: dict[str, float]) -> Tensor:
    model.loss(batch, model.rssm.initial(len(batch)))
    return fit(model, optimizer, batch, scales)


def starts_for_steps(model: WorldModel, optimizer: Any, batch: Experience, scales: dict[str, float]) -> Tensor:
    model.loss(batch, model.rssm.initial(batch.obs.shape[1]))
    return fit(model, optimizer, batch, scales)


def wrong_fit(**how: Any) -> Callable:
    return lambda *case: fitted(*case, **how)


EXERCISES = (
    Exercise(
        "continue_target",
        continue_target,
        target_cases,
        kept_for="world_model:continue_target",
        mistakes=(
            Mistake(
                lambda t, discount_horizon=333: torch.where(t, 0.0, math.exp(-1 / discount_horizon)),
                "exp(-1/discount_horizon) is only nearly the same. The discount is 1 - 1/discount_horizon.",
            ),
            Mistake(
                lambda t, discount_horizon=333: (
                    (flat(t) * (1 - 1 / discount_horizon)).cumprod(-1).clamp(max=1).sign() * (1 - 1 / discount_horizon)
                ),
                "All steps after a terminal one get 0, too. Each step stands alone: a new episode may begin right "
                "after it.",
            ),
            Mistake(
                lambda t, discount_horizon=333: torch.where(t, 0.0, discount_horizon / (discount_horizon + 1)),
                "The discount is 1 - 1/discount_horizon; this is discount_horizon / (discount_horizon + 1).",
            ),
            Mistake(
                lambda t, discount_horizon=333: torch.full_like(t, True) & ~t,
                "These are true and false; the target is a number: 1 - 1/discount_horizon where the episode goes on, "
                "else 0.",
            ),
            Mistake(
                lambda t, discount_horizon=333: torch.where(t, 1 - 1 / discount_horizon, 0.0),
                "It is reversed: a terminal step has target 0, every other one the discount.",
            ),
            Mistake(
                lambda t, discount_horizon=333: flat(t),
                "The discount is missing: where the episode goes on the target is 1 - 1/discount_horizon, not 1.",
            ),
            Mistake(
                lambda t, discount_horizon=333: flat(t) / discount_horizon,
                "The discount is 1 - 1/discount_horizon; this is 1/discount_horizon.",
            ),
            Mistake(
                lambda t, discount_horizon=333: flat(t) - 1 / discount_horizon,
                "Terminal steps become negative: the 1/discount_horizon is taken off only where the episode goes on.",
            ),
            Mistake(
                lambda t, discount_horizon=333: flat(t) * (1 - 1 / 333),
                "The horizon is fixed at 333; use the argument.",
            ),
            Mistake(
                lambda t, discount_horizon=333: t.float(),
                "It is reversed: this is 1 at the end, 0 where the episode goes on. The discount is missing, too.",
            ),
            Mistake(
                lambda t, discount_horizon=333: flat(t) * (1 - 1 / discount_horizon) ** 2, "The discount counts twice."
            ),
            Mistake(
                lambda t, discount_horizon=333: flat(t) * 0.99,
                "The discount is fixed at 0.99; it is 1 - 1/discount_horizon.",
            ),
            Mistake(
                lambda t, discount_horizon=333: 1 - t.float() * (1 - 1 / discount_horizon),
                "A bracket is in the wrong place: the discount belongs to the steps that go on. This gives them 1, "
                "and terminal steps 1/discount_horizon.",
            ),
            Mistake(
                lambda t, discount_horizon=333: flat(t) * discount_horizon,
                "This multiplies by discount_horizon; the discount is 1 - 1/discount_horizon.",
            ),
            Mistake(
                lambda t, discount_horizon=333: torch.where(t, -1.0, 1 - 1 / discount_horizon),
                "A terminal step has target 0, not -1.",
            ),
            Mistake(
                lambda t, discount_horizon=333: torch.where(t, 1.0, 1 - 1 / discount_horizon),
                "A terminal step has target 0: nothing goes on there.",
            ),
            Mistake(
                lambda t, discount_horizon=333: flat(t) * (1 - 1 / discount_horizon) ** torch.arange(t.shape[-1]),
                "The discount is raised to the number of the step. Each target is for one step: the discount itself.",
            ),
            Mistake(
                lambda t, discount_horizon=333: (~t) * (1 - 1 // discount_horizon),
                "`//` rounds down, so 1 // discount_horizon is 0. Use `/`.",
            ),
            Mistake(
                lambda t, discount_horizon=333: flat(t) * (discount_horizon - 1),
                "This is discount_horizon - 1. The discount is 1 - 1/discount_horizon.",
            ),
            Mistake(
                lambda t, discount_horizon=333: flat(t) / (1 - discount_horizon),
                "This is 1 / (1 - discount_horizon). The discount is 1 - 1/discount_horizon.",
            ),
            Mistake(
                lambda t, discount_horizon=333: torch.where(t, 1 / discount_horizon, 1 - 1 / discount_horizon),
                "Terminal steps get 1/discount_horizon here. Their target is 0.",
            ),
            Mistake(
                lambda t, discount_horizon=333: (
                    flat(t) * (1 - 1 / discount_horizon) ** torch.arange(1, t.shape[-1] + 1)
                ),
                "The discount gets a higher power at each step. Each target is for one step alone: 1 - "
                "1/discount_horizon.",
            ),
            Mistake(
                lambda t, discount_horizon=333: torch.cat(
                    [continue_target(t, discount_horizon)[..., :-1], 0.0 * t[..., -1:]], -1
                ),
                "The last step counts as an end. The data stop there, but the episode ends only where "
                "is_terminal says so.",
            ),
        ),
        hints=(
            "Two cases: the episode ended here for good, or it goes on.",
            "0 where is_terminal, else 1 - 1/discount_horizon. `torch.where` or a multiplication does it.",
            "`return torch.where(is_terminal, 0.0, 1 - 1 / discount_horizon)`",
        ),
    ),
    Exercise(
        "prediction_losses",
        WorldModel.prediction_losses,
        prediction_cases,
        probe=prediction_probe,
        letters="BT",
        itself="world_model",
        kept_for="world_model:WorldModel.prediction_losses",
        mistakes=(
            Mistake(
                lambda m, f, b: predicted(
                    m, f, b, reconstruction=lambda m, f, b: (m.predict_obs(f) - b.obs).square().sum(-1)
                ),
                "The reconstruction is compared in raw units. `world_model.decoder.loss` compares in symlog space, "
                "where the decoder speaks.",
            ),
            Mistake(
                wrong_continue(
                    lambda m, f, b: F.binary_cross_entropy(
                        m.continue_head(f).squeeze(-1).sigmoid(),
                        continue_target(b.is_terminal, m.discount_horizon),
                        reduction="none",
                    )
                ),
                "The sigmoid is taken first: for a large logit it is exactly 0 or 1, and F.binary_cross_entropy then "
                "cuts the loss off at 100. "
                "`F.binary_cross_entropy_with_logits` takes the logit itself.",
            ),
            Mistake(
                wrong_continue(
                    lambda m, f, b: by_hand(
                        m.continue_head(f).squeeze(-1).sigmoid(), continue_target(b.is_terminal, m.discount_horizon)
                    )
                ),
                "The sigmoid is taken first, then the log: for a large logit one of the logarithms is -inf. "
                "`F.binary_cross_entropy_with_logits` stays finite.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m, f, b, reward=lambda m, f, b: right_losses(m, f, b)["reward"] * ~b.is_first
                ),
                "The reward loss is left out where an episode begins. It counts there as well: the head learns that "
                "nothing was paid yet.",
            ),
            Mistake(
                wrong_continue(lambda m, f, b: entropy_of(m, f, continue_target(b.is_last, m.discount_horizon))),
                "is_last is taken for is_terminal: an episode that a time limit cuts off would have gone on.",
            ),
            Mistake(
                wrong_continue(
                    lambda m, f, b: (
                        continue_target(b.is_terminal, m.discount_horizon) * 0
                        + F.binary_cross_entropy_with_logits(
                            continue_target(b.is_terminal, m.discount_horizon),
                            torch.sigmoid(m.continue_head(f).squeeze(-1)),
                            reduction="none",
                        )
                    )
                ),
                "The arguments of binary_cross_entropy_with_logits are swapped: first the logit, then the target.",
            ),
            Mistake(
                wrong_continue(
                    lambda m, f, b: (
                        continue_target(b.is_terminal, m.discount_horizon) * 0
                        + F.binary_cross_entropy_with_logits(
                            continue_target(b.is_terminal, m.discount_horizon),
                            m.continue_head(f).squeeze(-1),
                            reduction="none",
                        )
                    )
                ),
                "The arguments of binary_cross_entropy_with_logits are swapped: the logit comes first, the target "
                "second.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m,
                    f,
                    b,
                    reconstruction=lambda m, f, b: m.decoder.loss(
                        m.decoder(f), torch.sign(b.obs) * b.obs.abs().log1p()
                    ),
                ),
                "The observation is squashed twice: `decoder.loss` applies symlog itself. Hand it batch.obs as it is.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m, f, b, reward=lambda m, f, b: two_hot_loss(m.reward_head(f), b.reward, m.bins).mean()
                ),
                "The reward loss is averaged already. Keep (B, T).",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m, f, b, reconstruction=lambda m, f, b: m.decoder.loss(m.decoder(f), b.obs).mean()
                ),
                "The reconstruction loss is averaged already. Keep (B, T).",
            ),
            Mistake(
                lambda m, f, b: (
                    right_losses(m, f, b)
                    | {name: right_losses(m, f.detach(), b)[name] for name in ("reward", "continue")}
                ),
                "The feature is detached for reward and continue: the state learns from all three losses.",
            ),
            Mistake(
                lambda m, f, b: right_losses(m, f, b) | {"reward": right_losses(m, f.detach(), b)["reward"]},
                "The feature is detached for the reward: the state learns from all three losses.",
            ),
            Mistake(
                lambda m, f, b: right_losses(m, f, b) | {"continue": right_losses(m, f.detach(), b)["continue"]},
                "The feature is detached for the continue head: the state learns from all three losses.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m, f, b, reconstruction=lambda m, f, b: (m.decoder(f) - b.obs).square().sum(-1)
                ),
                "The decoder's prediction is in symlog space, the observation is not. `decoder.loss` puts both on "
                "one scale.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m, f, b, reconstruction=lambda m, f, b: m.decoder.loss(m.decoder(f), b.obs) / 3
                ),
                "The squared error is averaged over the observation; it should be summed.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m, f, b, reconstruction=lambda m, f, b: m.decoder.loss(m.decoder(f), b.obs) / 2
                ),
                "There is a factor 1/2 in the squared error; the official code has none.",
            ),
            Mistake(
                lambda m, f, b: predicted(m, f, b, reward=lambda m, f, b: (m.predict_reward(f) - b.reward).square()),
                "The reward head is trained by squared error. Use two_hot_loss on its logits: reward prediction is "
                "two-hot classification.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m,
                    f,
                    b,
                    reward=lambda m, f, b: two_hot_loss(
                        m.reward_head(f), torch.sign(b.reward) * b.reward.abs().log1p(), m.bins
                    ),
                ),
                "The reward is squashed by symlog before two_hot_loss. The bins are raw values, and so is the target.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m, f, b, reward=lambda m, f, b: two_hot_loss(m.reward_head(f), b.reward.roll(-1, 1), m.bins)
                ),
                "The reward is one step early: reward[:, t] arrives with step t.",
            ),
            Mistake(
                wrong_continue(lambda m, f, b: entropy_of(m, f, (~b.is_terminal).float())),
                "The continue target lacks the discount; use continue_target(is_terminal, discount_horizon).",
            ),
            Mistake(
                wrong_continue(lambda m, f, b: entropy_of(m, f, continue_target(b.is_terminal, 333))),
                "The discount horizon is fixed at 333; use world_model.discount_horizon.",
            ),
            Mistake(
                wrong_continue(lambda m, f, b: entropy_of(m, f, flipped(b, m.discount_horizon))),
                "The continue target is reversed: terminal means 0.",
            ),
            Mistake(
                wrong_continue(
                    lambda m, f, b: F.binary_cross_entropy_with_logits(
                        m.predict_continue(f), continue_target(b.is_terminal, m.discount_horizon), reduction="none"
                    )
                ),
                "Sigmoid is applied twice: binary_cross_entropy_with_logits wants the logit itself.",
            ),
            Mistake(
                wrong_continue(lambda m, f, b: entropy_of(m, f, b.is_terminal.float())),
                "The continue target is is_terminal itself. It should be 0 at a terminal step, else the discount: "
                "continue_target.",
            ),
            Mistake(
                wrong_continue(lambda m, f, b: entropy_of(m, f, continue_target(b.is_terminal, 100))),
                "The discount horizon is fixed at 100; use world_model.discount_horizon.",
            ),
            Mistake(
                lambda m, f, b: predicted(m, f, b, reconstruction=lambda m, f, b: m.decoder.loss(b.obs, m.decoder(f))),
                "The arguments of decoder.loss are swapped: first the prediction, then the observation.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m, f, b, reconstruction=lambda m, f, b: m.decoder.loss(m.predict_obs(f), b.obs)
                ),
                "predict_obs undoes the symlog; decoder.loss wants the decoder's own answer, "
                "`world_model.decoder(feature)`.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m, f, b, reward=lambda m, f, b: two_hot_loss(m.reward_head(f).softmax(-1), b.reward, m.bins)
                ),
                "two_hot_loss wants logits; these are already probabilities.",
            ),
            Mistake(
                lambda m, f, b: {
                    name: loss.mean() if name == "continue" else loss for name, loss in right_losses(m, f, b).items()
                },
                'The continue loss is averaged: `reduction="none"` keeps its shape.',
            ),
            Mistake(
                wrong_continue(
                    lambda m, f, b: F.binary_cross_entropy_with_logits(
                        m.continue_head(f),
                        continue_target(b.is_terminal, m.discount_horizon)[..., None],
                        reduction="none",
                    )
                ),
                "The continue loss still has the logit's last axis: squeeze it, so that it is (B, T).",
            ),
            Mistake(
                wrong_continue(lambda m, f, b: entropy_of(m, f, continue_target(b.is_first, m.discount_horizon))),
                "An episode's beginning is taken for its end: use is_terminal, not is_first.",
            ),
            Mistake(
                wrong_continue(
                    lambda m, f, b: (
                        m.predict_continue(f) - continue_target(b.is_terminal, m.discount_horizon)
                    ).square()
                ),
                "The continue head is trained by squared error; it predicts a coin flip, so use binary cross-entropy.",
            ),
            Mistake(
                lambda m, f, b: {name: loss.mean() for name, loss in right_losses(m, f, b).items()},
                "The losses are averaged already. Keep (B, T); the mean comes later.",
            ),
            Mistake(
                lambda m, f, b: right_losses(m, f.detach(), b),
                "The feature is detached: encoder and RSSM learn from these losses, so the gradient must flow back.",
            ),
            Mistake(
                wrong_continue(
                    lambda m, f, b: (
                        -continue_target(b.is_terminal, m.discount_horizon)
                        * F.logsigmoid(m.continue_head(f).squeeze(-1))
                    )
                ),
                "The second term of the cross-entropy is missing: (1 - target) · ln(1 - p).",
            ),
            Mistake(
                wrong_continue(
                    lambda m, f, b: F.binary_cross_entropy_with_logits(
                        -m.continue_head(f).squeeze(-1),
                        continue_target(b.is_terminal, m.discount_horizon),
                        reduction="none",
                    )
                ),
                "The logit has the wrong sign: a large one means that the episode goes on.",
            ),
            Mistake(
                wrong_continue(lambda m, f, b: right_losses(m, f, b)["continue"] * ~b.is_terminal),
                "The continue loss is left out at terminal steps. There the head learns the 0.",
            ),
            Mistake(
                wrong_continue(
                    lambda m, f, b: (
                        m.continue_head(f).squeeze(-1) - continue_target(b.is_terminal, m.discount_horizon)
                    ).square()
                ),
                "The continue loss is the squared error of the logit; it should be the binary cross-entropy.",
            ),
            Mistake(
                lambda m, f, b: predicted(m, f, b, reward=lambda m, f, b: (m.predict_reward(f) - b.reward).abs()),
                "The reward head is trained by absolute error. Use two_hot_loss on its logits.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m,
                    f,
                    b,
                    reward=lambda m, f, b: two_hot_loss(
                        m.reward_head(f), torch.cat([b.reward[:, :1], b.reward[:, :-1]], 1), m.bins
                    ),
                ),
                "The reward is one step late: reward[:, t] arrives with step t.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m,
                    f,
                    b,
                    reward=lambda m, f, b: two_hot_loss(
                        m.reward_head(f), torch.cat([b.reward[:, 1:], b.reward[:, -1:]], 1), m.bins
                    ),
                ),
                "The reward is that of the next step: reward[:, t] arrives with step t.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m, f, b, reconstruction=lambda m, f, b: (m.decoder(f) - b.obs).square().mean(-1)
                ),
                "Two things: the observation is not in symlog space, where the decoder speaks, and the squares are "
                "averaged. `decoder.loss` does both right.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m,
                    f,
                    b,
                    reconstruction=lambda m, f, b: (
                        (m.decoder(f) - torch.sign(b.obs) * b.obs.abs().log1p()).abs().sum(-1)
                    ),
                ),
                "The reconstruction is an absolute error. `decoder.loss` squares it.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m, f, b, reconstruction=lambda m, f, b: right_losses(m, f, b)["reconstruction"] * ~b.is_first
                ),
                "The reconstruction loss is left out where an episode begins. It counts there as well.",
            ),
            Mistake(
                lambda m, f, b: dict(zip(("reward", "reconstruction", "continue"), right_losses(m, f, b).values())),
                "The losses of reconstruction and reward have each other's name.",
            ),
            Mistake(
                wrong_continue(lambda m, f, b: right_losses(m, f, b)["continue"] * ~b.is_last),
                "The continue loss is left out at an episode's last step. It counts at every step.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m, f, b, reward=lambda m, f, b: two_hot_loss(m.reward_head(f), b.reward.clamp(-1, 1), m.bins)
                ),
                "The rewards are clipped at ±1. The bins reach further: pass batch.reward as it is.",
            ),
            Mistake(
                wrong_continue(
                    lambda m, f, b: F.binary_cross_entropy_with_logits(
                        m.continue_head(f).squeeze(-1).clamp(-10, 10),
                        continue_target(b.is_terminal, m.discount_horizon),
                        reduction="none",
                    )
                ),
                "The continue logit is clipped at ±10, and beyond that it does not learn. "
                "`F.binary_cross_entropy_with_logits` needs no clipping.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m,
                    f,
                    b,
                    reconstruction=lambda m, f, b: F.smooth_l1_loss(m.decoder(f), symlog(b.obs), reduction="none").sum(
                        -1
                    ),
                ),
                "The reconstruction is a Huber loss, `smooth_l1_loss`. Use the squared error of `decoder.loss`.",
            ),
            Mistake(
                lambda m, f, b: predicted(
                    m,
                    f,
                    b,
                    reconstruction=lambda m, f, b: (
                        2 * F.smooth_l1_loss(m.decoder(f), symlog(b.obs), reduction="none").sum(-1)
                    ),
                ),
                "The reconstruction is a Huber loss, which grows only linearly for large errors. "
                "`decoder.loss` squares them all.",
            ),
        ),
        hints=(
            "Three heads read the same feature. Each has its own kind of loss; Idea 1 names all three.",
            "`world_model.decoder.loss(prediction, obs)`, `two_hot_loss(logits, reward, world_model.bins)`, and "
            "`F.binary_cross_entropy_with_logits(logit, "
            'target, reduction="none")`. The continue head\'s output is (B, T, 1): squeeze the last axis.',
            '`{"reconstruction": world_model.decoder.loss(world_model.decoder(feature), batch.obs), "reward": '
            "two_hot_loss(world_model.reward_head(feature), "
            'batch.reward, world_model.bins), "continue": '
            "F.binary_cross_entropy_with_logits(world_model.continue_head(feature).squeeze(-1), "
            'continue_target(batch.is_terminal, world_model.discount_horizon), reduction="none")}`',
        ),
    ),
    Exercise(
        "kl_losses",
        kl_losses,
        kl_cases,
        probe=kl_probe,
        kept_for="world_model:kl_losses",
        mistakes=(
            Mistake(
                lambda q, p, free=1.0: split(q, p, free / q.shape[-2], per_group=True),
                "Here each die has its own share of the floor. The floor applies to the sum over all dice.",
            ),
            Mistake(
                lambda q, p, free=1.0: tuple(
                    loss + (raw - raw.detach()) * (loss == free)
                    for loss, raw in zip(split(q, p, free), split(q, p, free, clip="none"))
                ),
                "Below the free nats a gradient still flows. A floor is flat: `.clamp(min=free_nats)` gives no "
                "gradient there.",
            ),
            Mistake(
                lambda q, p, free=1.0: (split(q, p, free)[0], kl(p.detach(), q).clamp(min=free)),
                "The KL in rep is reversed; both losses are KL(posterior || prior), and only the stop-gradient "
                "changes sides.",
            ),
            Mistake(
                lambda q, p, free=1.0: (split(q, p, free)[0] * 0.5, split(q, p, free)[1] * 0.1),
                "The losses are weighted already. The weights come later, in the sum of all losses.",
            ),
            Mistake(
                lambda q, p, free=1.0: tuple(loss.sum() for loss in split(q, p, free)),
                "The losses are summed over everything. Keep one value for each entry; the mean comes later.",
            ),
            Mistake(
                lambda q, p, free=1.0: tuple(loss.mean() for loss in split(q, p, free)),
                "The losses are averaged already. Keep one value for each entry; the mean comes later.",
            ),
            Mistake(
                wrong_split(stop=("", "")),
                "There is no stop-gradient: both losses pull on both sides. Detach the posterior in dyn, the prior "
                "in rep.",
            ),
            Mistake(
                wrong_split(stop=("p", "q")),
                "dyn and rep are swapped: dyn moves the prior, so in dyn the posterior is detached.",
            ),
            Mistake(wrong_split(stop=("q", "q")), "Both losses move the prior. In rep, detach the prior."),
            Mistake(wrong_split(stop=("p", "p")), "Both losses move the posterior. In dyn, detach the posterior."),
            Mistake(wrong_split(stop=("q", "")), "rep lacks its stop-gradient: detach the prior there."),
            Mistake(wrong_split(stop=("", "p")), "dyn lacks its stop-gradient: detach the posterior there."),
            Mistake(
                lambda q, p, free=1.0: (split(q, p, free)[0], split(q, p, free, stop=("p", "q"), reverse=True)[1]),
                "The KL in rep is reversed: it is KL(posterior || prior) in both losses.",
            ),
            Mistake(
                lambda q, p, free=1.0: (split(q, p, free, stop=("q", "p"), reverse=True)[0], split(q, p, free)[1]),
                "The KL in dyn is reversed: it is KL(posterior || prior) in both losses.",
            ),
            Mistake(
                lambda q, p, free=1.0: (split(q, p, free)[0], split(q, p, free, clip="none")[1]),
                "rep lacks its free nats: the floor is under both losses.",
            ),
            Mistake(
                lambda q, p, free=1.0: (split(q, p, free, clip="none")[0], split(q, p, free)[1]),
                "dyn lacks its free nats: the floor is under both losses.",
            ),
            Mistake(
                lambda q, p, free=1.0: (split(q, p, free)[0], 0.1 * split(q, p, free)[1]),
                "rep is multiplied by 0.1 already. The weights come later, in the sum.",
            ),
            Mistake(
                wrong_split(clip="zero"),
                "Below the free nats the loss becomes 0. It stays at the floor: max(free, KL).",
            ),
            Mistake(
                lambda q, p, free=1.0: tuple(loss.detach() for loss in split(q, p, free)),
                "Everything is detached: no gradient reaches either side.",
            ),
            Mistake(
                lambda q, p, free=1.0: split(q.softmax(-1), p.softmax(-1), free),
                "softmax is applied to probabilities. posterior and prior are probabilities already.",
            ),
            Mistake(wrong_split(reverse=True), "The KL is reversed: it is KL(posterior || prior), in both losses."),
            Mistake(
                wrong_split(per_group=True), "The free nats are applied to each group. They clip the sum over groups."
            ),
            Mistake(wrong_split(clip="none"), "The free nats are missing: a loss below free_nats is set to free_nats."),
            Mistake(
                wrong_split(clip="max"),
                "This clips from above: max(free, KL) never falls BELOW the free nats, so clamp(min=…).",
            ),
            Mistake(
                wrong_split(clip="minus"),
                "The free nats are subtracted. In the formula they are a floor: max(free, KL).",
            ),
            Mistake(
                wrong_split(clip="mean"),
                "The losses are averaged before the clip. Keep one value for each entry; the mean comes later.",
            ),
            Mistake(
                wrong_split(how=lambda a, b: kl(a, b) / a.shape[-2]),
                "The KL is averaged over the groups. `kl` sums them, and so should this.",
            ),
            Mistake(lambda q, p, free=1.0: tuple(split(q, p, 1.0)), "free_nats is not used: the floor is a fixed 1."),
            Mistake(
                lambda q, p, free=1.0: tuple((value - free).abs() + free for value in split(q, p, free, clip="none")),
                "abs mirrors a KL below the free nats to the other side. A floor is max(free, KL).",
            ),
            Mistake(
                lambda q, p, free=1.0: tuple((value - free).abs() for value in split(q, p, free, clip="none")),
                "This is the distance from the free nats, |KL - free|. They are a floor: max(free, KL).",
            ),
            Mistake(
                wrong_split(how=lambda a, b: (a * (a.log() - b.log())).abs().sum((-2, -1))),
                "Each term of the KL is made positive. Single terms may be negative; `kl` sums them as they are.",
            ),
            Mistake(
                lambda q, p, free=1.0: tuple(
                    F.softplus(value - free) + free for value in split(q, p, free, clip="none")
                ),
                "softplus is only nearly a floor: it stays above it, and a gradient flows below. Use `clamp`.",
            ),
            Mistake(
                lambda q, p, free=1.0: split(q, p, free / q.shape[-2]),
                "The free nats are divided by the number of dice. The floor is under the sum over all dice.",
            ),
            Mistake(
                lambda q, p, free=1.0: tuple(
                    torch.where(value > free, value, value.detach()) for value in split(q, p, free, clip="none")
                ),
                "Below the free nats the KL keeps its value, and only its gradient is stopped. It is set to the floor.",
            ),
            Mistake(
                wrong_split(how=lambda a, b: 0.5 * (kl(a, b) + kl(b, a))),
                "This is the mean of both directions. Take one: KL(posterior || prior).",
            ),
            Mistake(
                wrong_split(how=lambda a, b: 0.5 * (kl(a, (a + b) / 2) + kl(b, (a + b) / 2))),
                "Both are compared with their mean; that is the Jensen-Shannon divergence. Use KL(posterior || prior).",
            ),
            Mistake(
                wrong_split(how=lambda a, b: -(a * b.log()).sum((-2, -1))),
                "This is the cross-entropy: the posterior's own entropy is missing. `kl` contains it.",
            ),
            Mistake(
                lambda q, p, free=1.0: (split(q, p, free, stop=("", ""))[0], split(q, p, free)[1].detach()),
                "One loss lacks a stop-gradient, the other is detached as a whole. Detach one argument of "
                "each: `kl(posterior.detach(), prior)` and `kl(posterior, prior.detach())`.",
            ),
            Mistake(
                wrong_split(clip="ten"),
                "The losses are cut off at 10 nats, and beyond that nothing learns. The free nats are a "
                "floor; there is no ceiling.",
            ),
        ),
        hints=(
            "The same number twice, KL(posterior || prior). The two differ only in which side may move.",
            "`.detach()` stops the gradient; `.clamp(min=free_nats)` is the floor. dyn detaches the posterior, rep "
            "the prior.",
            "`dyn = kl(posterior.detach(), prior).clamp(min=free_nats)`, `rep = kl(posterior, "
            "prior.detach()).clamp(min=free_nats)`, `return dyn, rep`",
        ),
    ),
    Exercise(
        "fit",
        fit,
        fit_cases,
        probe=fit_probe,
        given=("world_model", "the learning rate", "batch", "scales"),
        tolerance=1e-3,
        mistakes=(
            Mistake(
                starts_for_steps,
                "The start state has one row per step, T. It needs one per sequence: `len(batch.obs)`, which is B.",
            ),
            Mistake(
                counts_fields,
                "`len(batch)` is 6, the number of its fields: obs, action, and so on. The number of sequences is "
                "`len(batch.obs)`.",
            ),
            Mistake(
                wrong_fit(after=True),
                "The returned loss was measured after the step. Return the one that was trained on, without a second "
                "forward pass.",
            ),
            Mistake(
                wrong_fit(clip=1.0),
                "The gradients are clipped before the step. The agent's optimizer does its own clipping, so don't "
                "clip here.",
            ),
            Mistake(wrong_fit(only=("dyn", "rep")), "Only dyn and rep are trained; sum all losses in the dictionary."),
            Mistake(wrong_fit(clear=False), "Old gradients pile up: call optimizer.zero_grad() before backward."),
            Mistake(wrong_fit(learn=False), "The weights never move: optimizer.step() is missing."),
            Mistake(wrong_fit(early=True), TOO_EARLY),
            Mistake(
                wrong_fit(late=True),
                "No gradient reaches the step: backward() is missing, or optimizer.zero_grad() stands between "
                "backward and step and wipes it.",
            ),
            Mistake(
                wrong_fit(pool="sum"),
                "The losses are summed over the batch. Take the mean, so that the batch size does not change the step.",
            ),
            Mistake(wrong_fit(plain=True), "The scales are not used: total is the sum of scale · mean loss."),
            Mistake(wrong_fit(only=("reconstruction", "reward", "continue")), "dyn and rep are missing from the sum."),
            Mistake(
                wrong_fit(only=("reconstruction",)),
                "Only the reconstruction is trained; sum all losses in the dictionary.",
            ),
            Mistake(wrong_fit(only=("reconstruction", "reward", "continue", "dyn")), "rep is missing from the sum."),
            Mistake(wrong_fit(share=0.2), "The five losses are averaged; they should be added."),
            Mistake(wrong_fit(twice=True), "The optimizer steps twice; once is enough."),
            Mistake(
                wrong_fit(in_order=True),
                "Scales and losses are paired by their order. Pair them by name: scales[name] * losses[name].mean().",
            ),
            Mistake(wrong_fit(join="product"), "The five losses are multiplied. The total is their weighted sum."),
            Mistake(wrong_fit(join="divided"), "The losses are divided by their scales. Multiply."),
            Mistake(wrong_fit(join="share"), "The total is divided by the sum of the scales. It is the weighted sum."),
            Mistake(wrong_fit(join="time"), "The losses are summed over time. Take the mean over batch and time."),
            Mistake(wrong_fit(join="squares"), "The losses are squared. The total is the sum of scale · mean loss."),
            Mistake(wrong_fit(join="fixed"), "The scales are fixed at 1 and 0.1; use `scales`."),
            Mistake(wrong_fit(sign=-1.0), "backward runs on minus the total, so the losses grow."),
            Mistake(
                wrong_fit(told="unscaled"),
                "The loss that you return has no scales. Return the total that was trained on.",
            ),
            Mistake(
                wrong_fit(each="losses"),
                "The gradients are cleared before each loss, so only the last one trains. Clear once, and run backward "
                "on the sum.",
            ),
            Mistake(
                wrong_fit(each="scales"),
                "optimizer.zero_grad() is inside the loop over `scales`, so only its last loss trains. Clear "
                "once, and run backward on the sum.",
            ),
            Mistake(wrong_fit(join="twice"), "Each loss is multiplied by its scale twice. Once is enough."),
            Mistake(
                wrong_fit(join="later"), "The first step of each sequence is left out. Take the mean over all steps."
            ),
            Mistake(learns_twice, "It trains twice on the same batch. One forward pass, one backward, one step."),
            Mistake(
                wrong_fit(decay=1e-4),
                "The squares of the weights are added to the loss. Train on the weighted sum alone.",
            ),
        ),
        hints=(
            "Six lines: the losses, their weighted sum, clear the gradients, backward, step, return.",
            "`world_model.loss(batch, start)` gives three things; the first is a dictionary of (B, T) losses. start "
            "is `world_model.rssm.initial(B)`.",
            "`losses, _, _ = world_model.loss(batch, world_model.rssm.initial(len(batch.obs)))`, `total = "
            "sum(scales[name] * losses[name].mean() for name in losses)`, "
            "`optimizer.zero_grad()`, `total.backward()`, `optimizer.step()`, `return total.detach()`",
        ),
    ),
)
