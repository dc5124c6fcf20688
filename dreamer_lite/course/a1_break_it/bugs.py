"""Ten planted bugs, one changed line each (appendix A1): seven that published Dreamers had, and three relatives."""

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import SequenceMatcher
import inspect
from operator import attrgetter
import textwrap
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from ... import actor, agent, imagination, rssm, two_hot, world_model
from ...envs import stepping
from ...training import state

__all__ = ["BUGS", "Bug", "Patch", "planted"]


class Patch(NamedTuple):
    """Code to find in a function, and the code to put in its place.

    Both are an expression, or one or more whole statements. Syntax trees are compared, so comments, line breaks and
    formatting don't matter.
    """

    module: ModuleType
    function: str  # its name in the module, with its class if it has one
    find: str
    instead: str

    @property
    def where(self) -> str:
        return f"{self.module.__name__.removeprefix('dreamer_lite.').replace('.', '/')}.py: {self.function}"


class Bug(NamedTuple):
    """A patch and its story."""

    name: str  # as the reader sees it in the list
    patch: Patch
    seen: str  # repository and thread
    words: str  # what it does, and why nobody noticed


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
        "The model learns which action follows a state, and is then asked where an action leads. The losses look fine, "
        "because an observation alone says almost everything about the next one.",
    ),
    Bug(
        "the memory is not reset where an episode begins",
        Patch(
            rssm,
            "RSSM.observe",
            "keep = (~is_first).to(tokens.dtype)[..., None]",
            "keep = torch.ones_like(is_first, dtype=tokens.dtype)[..., None]",
        ),
        "Seen in epignatelli/navix#152",
        "The memory of one episode leaks into the next. One observation of CartPole says nearly everything, "
        "so the model learns to forget by itself.",
    ),
    Bug(
        "an episode that a time limit cuts off is stored as one that ended",
        Patch(
            stepping,
            "Envs.step_one",
            "return Experience("
            "self.obs[i], action, np.float32(reward), np.bool_(False), np.bool_(self.done[i]), np.bool_(terminated))",
            "return Experience("
            "self.obs[i], action, np.float32(reward), np.bool_(False), np.bool_(self.done[i]), np.bool_(self.done[i]))",
        ),
        "Seen in lucidrains/dreamer4#22",
        "The continue head learns that good play ends for no visible reason. "
        "The better the agent, the more often this happens.",
    ),
    Bug(
        "the λ-return takes reward and continue one step too early",
        Patch(
            agent,
            "Dreamer.dream_losses",
            "returns = lambda_return("
            "dream.rewards[:, 1:], dream.continues[:, 1:], values[:, 1:], values[:, -1], c.lam)",
            "returns = lambda_return("
            "dream.rewards[:, :-1], dream.continues[:, :-1], values[:, 1:], values[:, -1], c.lam)",
        ),
        "Seen in kc-ml2/SimpleDreamer#6, NM512/dreamerv3-torch#16, Eclectic-Sheep/sheeprl#67",
        "The reward of one action is credited to the next. On CartPole every reward is 1, "
        "so the only thing that comes one step late is the danger of a fall.",
    ),
    Bug(
        "the KL that teaches the prior pulls at the posterior too",
        Patch(
            world_model,
            "kl_losses",
            "dyn = kl(posterior.detach(), prior).clamp(min=free_nats)",
            "dyn = kl(posterior, prior).clamp(min=free_nats)",
        ),
        "A relative of pytorch/rl#4073, where the gradients of the two terms differed from the original",
        "The posterior is pulled towards the prior eleven times as hard as it should be. "
        "The loss itself has the same value as before.",
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
        "A few surprising steps lift the mean above 1, and then well-predicted steps get a gradient too. "
        "If the mean is below 1, no step gets one.",
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
        "One missing underscore: the new range is computed and thrown away. Advantages stay as large as the returns, "
        "and the entropy bonus is negligible beside them.",
    ),
    Bug(
        "the bins are evenly spaced, from -10 to 10",
        Patch(
            two_hot,
            "two_hot_bins",
            "return torch.cat([negative, middle, -negative.flip(0)])",
            "return torch.linspace(-limit, limit, count)",
        ),
        "A relative of pytorch/rl#4065, where the bins were evenly spaced too",
        "No value can exceed the last bin. Rewards of 1 are fitted as well as before, so only the critic shows it.",
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
        "Where the advantages are near 0, the policy grows certain instead of curious.",
    ),
    Bug(
        "the weights of imagined steps are the continues, not their product",
        Patch(imagination, "step_weights", "return continues.cumprod(1)[:, :-1]", "return continues[:, :-1]"),
        "Seen in epignatelli/navix#152",
        "Steps after an imagined end count in full, although the model never learned what comes after an end.",
    ),
]


@contextmanager
def planted(*patches: Patch) -> Iterator[None]:
    """Inside, the package runs with these changes, also where a function was imported before.

    Raises ValueError if a patch does not match exactly one place. At most one patch for each function.
    """
    functions = [function_of(patch) for patch in patches]
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
    """The function itself, without its decorators."""
    try:
        return undecorated(attrgetter(patch.function)(patch.module))
    except AttributeError:
        raise ValueError(f"{described(patch)}: there is no such function") from None


def undecorated(found: Callable | property) -> Callable:
    return inspect.unwrap(found.fget if isinstance(found, property) else found)


def described(patch: Patch) -> str:
    return f"the patch {patch.find!r} → {patch.instead!r} does not apply to {patch.where}"


def code_of(function: Callable, patch: Patch) -> CodeType:
    """The function's code with the patch applied."""
    lines, first_line = inspect.getsourcelines(function)
    tree = patched("".join(lines), patch, first_line)
    made: dict[str, Callable] = {}
    # Only the code is taken, so names in it are still looked up in the module.
    exec(compile(tree, f"<{patch.where}, patched>", "exec"), vars(patch.module).copy(), made)
    return undecorated(made[function.__name__]).__code__


def patched(source: str, patch: Patch, first_line: int = 1) -> ast.Module:
    """The syntax tree of a function's source with the patch applied; `first_line` is the source's place in its file.

    Raises ValueError if the patch does not match exactly one place.
    """
    tree = ast.parse(textwrap.dedent(source))
    places = matches(tree, ast.parse(patch.find).body, ast.parse(patch.instead).body)
    if not places:
        raise ValueError(f"{described(patch)}: nothing matches; {closest(tree, patch.find, first_line)}")
    if len(places) > 1:
        raise ValueError(f"{described(patch)}: it matches {len(places)} places")
    ((container, key, new),) = places
    container[key] = new
    return ast.fix_missing_locations(tree)


def matches(
    tree: ast.Module, find: list[ast.stmt], instead: list[ast.stmt]
) -> list[tuple[Any, Any, list[ast.AST] | ast.AST]]:
    """Every place that matches, as (container, key, new), so that `container[key] = new` makes the replacement."""
    if all(len(code) == 1 and isinstance(code[0], ast.Expr) for code in (find, instead)):
        find, instead = [find[0].value], [instead[0].value]
    wanted, places = [ast.dump(node) for node in find], []
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                dumps = [ast.dump(part) if isinstance(part, ast.AST) else "" for part in value]
                parts = (slice(k, k + len(wanted)) for k in range(len(value)))
                places += [(value, part, instead) for part in parts if dumps[part] == wanted]
            elif isinstance(value, ast.AST) and [ast.dump(value)] == wanted:
                places.append((vars(node), name, instead[0]))
    return places


def closest(tree: ast.Module, find: str, first_line: int) -> str:
    """The line of a function that looks most like this code, with its number in the file."""
    kinds = (ast.stmt, ast.expr) if isinstance(ast.parse(find).body[0], ast.Expr) else (ast.stmt,)
    candidates = [
        (ast.unparse(node).splitlines()[0], node.lineno) for node in ast.walk(tree) if isinstance(node, kinds)
    ]
    line, number = max(candidates, key=lambda each: SequenceMatcher(None, find.splitlines()[0], each[0]).ratio())
    return f"the closest is line {first_line + number - 1}: {line}"
