"""Ten bugs as one changed line of this package each (appendix A1): seven that published Dreamers had, three relatives; and how any line is changed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import inspect
from operator import attrgetter
import textwrap
from types import CodeType, ModuleType
from typing import NamedTuple

from ... import actor, agent, imagination, rssm, two_hot, world_model
from ...envs import stepping as envs
from ...training import state

__all__ = ["BUGS", "Bug", "Patch", "planted"]


class Patch(NamedTuple):
    """A line of a function, and what stands there instead."""

    module: ModuleType
    function: str  # in the module, perhaps of a class
    line: str
    instead: str

    @property
    def where(self) -> str:
        return f"{self.module.__name__.removeprefix('dreamer_lite.').replace('.', '/')}.py: {self.function}"


class Bug(NamedTuple):
    """A patch, and what is to be told of it."""

    name: str  # what a reader names it by
    patch: Patch
    seen: str  # where it was seen, repository and thread
    words: str  # what it does, and why it went unnoticed


BUGS = [
    Bug(
        "the action stored beside an observation is the one chosen after it",
        Patch(
            state,
            "Training.collect",
            "self.replay.add(step, self.carry.state)",
            "self.replay.add(step._replace(action=self.carry.action), self.carry.state)",
        ),
        "Seen in epignatelli/navix#152",
        "The model learns which action follows a state, and is then asked what an action leads to. The losses look fine, "
        "since an observation says almost all about the next one.",
    ),
    Bug(
        "the memory is not reset where an episode begins",
        Patch(
            rssm,
            "RSSM.observe",
            "keep = (~is_first).to(tokens.dtype)[..., None]  # (B, T, 1)",
            "keep = torch.ones_like(is_first, dtype=tokens.dtype)[..., None]  # (B, T, 1)",
        ),
        "Seen in epignatelli/navix#152",
        "What was remembered of one episode leaks into the next. One observation of CartPole says nearly all, so the model learns to forget by itself.",
    ),
    Bug(
        "an episode that a time limit cuts off is stored as one that ended",
        Patch(
            envs,
            "Envs.step_one",
            "return Experience(self.obs[i], action, np.float32(reward), np.bool_(False), np.bool_(self.done[i]), np.bool_(terminated))",
            "return Experience(self.obs[i], action, np.float32(reward), np.bool_(False), np.bool_(self.done[i]), np.bool_(self.done[i]))",
        ),
        "Seen in lucidrains/dreamer4#22",
        "The continue head learns that good play ends for no reason that can be seen. The better the agent, the more often it is told so.",
    ),
    Bug(
        "the λ-return takes reward and continue one step too early",
        Patch(
            agent,
            "Dreamer.dream_losses",
            "returns = lambda_return(dream.rewards[:, 1:], dream.continues[:, 1:], values[:, 1:], values[:, -1], c.lam)  # (N, H)",
            "returns = lambda_return(dream.rewards[:, :-1], dream.continues[:, :-1], values[:, 1:], values[:, -1], c.lam)  # (N, H)",
        ),
        "Seen in kc-ml2/SimpleDreamer#6, NM512/dreamerv3-torch#16, Eclectic-Sheep/sheeprl#67",
        "What an action brings is counted for the one after it. On CartPole every reward is 1, so only the danger of a fall shows up one step too late.",
    ),
    Bug(
        "the KL that teaches the prior pulls at the posterior too",
        Patch(
            world_model,
            "kl_losses",
            "dyn = kl(posterior.detach(), prior).clamp(min=free_nats)",
            "dyn = kl(posterior, prior).clamp(min=free_nats)",
        ),
        "A relative of pytorch/rl#4073, where the two terms had other gradients than the original",
        "The posterior is pulled to what can be predicted eleven times as hard as it should be. The loss itself has the same value as before.",
    ),
    Bug(
        "the free nats of dyn clip the mean of the batch, not each step",
        Patch(
            world_model,
            "kl_losses",
            "dyn = kl(posterior.detach(), prior).clamp(min=free_nats)",
            "dyn = kl(posterior.detach(), prior).mean().clamp(min=free_nats)",
        ),
        "Seen in weipu-zhang/STORM#12",
        "A few surprising steps lift the mean, and then the steps that were predicted well are pressed too. If the mean is below 1, no step is pressed at all.",
    ),
    Bug(
        "the return scale is never updated",
        Patch(
            actor,
            "ReturnScale.update",
            "self.range.lerp_(torch.quantile(returns.flatten(), self.levels), self.rate)",
            "self.range.lerp(torch.quantile(returns.flatten(), self.levels), self.rate)",
        ),
        "Seen in pytorch/rl#4125",
        "One letter: the new range is computed and thrown away. Advantages stay as large as returns are, and the entropy bonus means nothing beside them.",
    ),
    Bug(
        "the bins are evenly spaced, from -10 to 10",
        Patch(
            two_hot,
            "two_hot_bins",
            "return torch.cat([negative, middle, -negative.flip(0)])",
            "return torch.linspace(-limit, limit, count)",
        ),
        "A relative of pytorch/rl#4065, where the bins were evenly spaced, too",
        "No value can be above the last bin. Rewards of 1 are fitted as well as before, so only the critic knows.",
    ),
    Bug(
        "the entropy bonus has the wrong sign",
        Patch(
            actor,
            "actor_loss",
            "return -weights.detach() * (advantages.detach() * log_probs + entropy_scale * entropies)",
            "return -weights.detach() * (advantages.detach() * log_probs - entropy_scale * entropies)",
        ),
        "A relative of danijar/dreamerv3#69: another sign of this equation was wrong in the paper itself",
        "Where the advantages have nothing to say, the policy is made sure of itself instead of curious.",
    ),
    Bug(
        "the weights of imagined steps are the continues, not their product",
        Patch(imagination, "step_weights", "return continues.cumprod(1)[:, :-1]", "return continues[:, :-1]"),
        "Seen in epignatelli/navix#152",
        "Steps after an imagined end count as if nothing had happened, though the model was never told what comes after an end.",
    ),
]


@contextmanager
def planted(*patches: Patch) -> Iterator[None]:
    """Inside, the package has these changes, wherever a function is used, also by those who imported it before.

    Raises ValueError if a line is not there exactly once. One patch for each function.
    """
    functions = [inspect.unwrap(function_of(patch)) for patch in patches]
    healthy = [function.__code__ for function in functions]
    changed = [code_of(function, patch) for function, patch in zip(functions, patches)]
    try:
        for function, code in zip(functions, changed):
            function.__code__ = code
        yield
    finally:
        for function, code in zip(functions, healthy):
            function.__code__ = code


def function_of(patch: Patch) -> Callable:
    found = attrgetter(patch.function)(patch.module)
    return found.fget if isinstance(found, property) else found


def code_of(function: Callable, patch: Patch) -> CodeType:
    """The code of the function with the line replaced."""
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(patch.line) != 1:
        raise ValueError(
            f"the patch for {patch.where} no longer applies: the line {patch.line!r} is there {source.count(patch.line)} times"
        )
    made: dict[str, Callable] = {}
    # Only the code is taken, so the names in it are looked up where they always were.
    exec(
        compile(source.replace(patch.line, patch.instead), f"<{patch.where}, one line changed>", "exec"),
        vars(patch.module).copy(),
        made,
    )
    new = made[function.__name__]
    return inspect.unwrap(new.fget if isinstance(new, property) else new).__code__
