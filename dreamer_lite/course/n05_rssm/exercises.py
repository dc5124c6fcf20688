"""Exercises of notebook 05: the gates, the posterior, clearing at borders, the observe loop."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
import torch.nn.functional as F

from ...latents import gumbel, sample, unimix
from ...rssm import RSSM, State, gru
from ..exercise import Complaint, Exercise, Mistake, a_state, gradient, hundredths, kind, normal, with_gradients

right_posterior = RSSM.posterior  # while a reader's version is judged, the class holds that version


def clear(state: State, action: Tensor, is_first: Tensor) -> tuple[State, Tensor]:
    """Forget everything where an episode begins. state: h (B, D), z (B, S, K); action: (B, A); is_first: (B,)."""
    keep = (~is_first).float()
    return State(state.h * keep[:, None], state.z * keep[:, None, None]), action * keep[:, None]


def gru_cases() -> list[tuple]:
    by_hand = tuple(torch.tensor([[value]]) for value in (0.5, 2.0, 2.0, 0.0))
    usual = [tuple(normal(*shape, size=2) for _ in range(4)) for shape in ((1, 2), (3, 4), (5, 8))]
    beyond = (0.5, 100.0, 2.0, 100.0), (0.5, 100.0, 100.0, 100.0)  # what exp can hold
    return [by_hand, *usual, *(tuple(torch.tensor([[value]]) for value in case) for case in beyond)]


def small_rssm(D: int = 8, tokens: int = 6, S: int = 2, K: int = 3, A: int = 2) -> RSSM:
    rssm = RSSM(token_size=tokens, action_size=A, deter=D, hidden=5, groups=S, classes=K, blocks=2)
    for parameter in rssm.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    return rssm.requires_grad_(False)


def posterior_cases() -> list[tuple]:
    return [
        (small_rssm(), normal(1, 8), normal(1, 6)),
        (small_rssm(4, 4), normal(3, 4), normal(3, 4)),
        (small_rssm(), normal(2, 4, 8), normal(2, 4, 6)),
        (small_rssm(S=3, K=4), normal(2, 8), normal(2, 6)),
        (small_rssm(), normal(3, 1, 8), normal(3, 1, 6)),
    ]


def a_start(B: int, D: int = 8, S: int = 2, K: int = 3) -> State:
    return State(normal(B, D), torch.eye(K)[torch.randint(K, (B, S))])


def posterior_probe(version: Callable, rssm: RSSM, h: Tensor, tokens: Tensor) -> dict:
    def logits(h: Tensor, tokens: Tensor) -> Any:
        out = version(rssm, h, tokens)
        if thrown(out):
            raise Complaint(THROWN)
        return out

    return with_gradients("h", "tokens")(logits, h, tokens)


THROWN = "The dice are thrown already. Return the logits; `sample` comes later."


def thrown(out: Any) -> bool:
    """Whether these are dice that each show one face."""
    if not isinstance(out, Tensor) or not out.is_floating_point() or out.ndim < 2:
        return False
    faces = torch.eye(out.shape[-1])[out.argmax(-1)]
    return bool(torch.allclose(out, faces, atol=1e-5))


def clear_cases() -> list[tuple]:
    by_hand = (
        State(torch.tensor([[1.0, 2], [3, 4]]), torch.ones(2, 1, 2)),
        torch.ones(2, 2),
        torch.tensor([True, False]),
    )
    return [
        by_hand,
        *((a_start(B), normal(B, 2), torch.arange(B) % 2 == first) for B, first in ((2, 0), (3, 1), (5, 0))),
    ]


def clear_probe(version: Callable, state: State, action: Tensor, is_first: Tensor) -> dict:
    """The state and the action, and whether what is kept still learns."""
    state, action = State(*(part.requires_grad_(True) for part in state)), action.requires_grad_(True)
    out = version(state, action, is_first)
    if not isinstance(out, (tuple, list)) or isinstance(out, State) or len(out) != 2:
        raise Complaint(f"It returns {kind(out)}; two things are expected, `return State(h, z), action`.")
    (h, z), a = a_state(out[0], "The first thing it returns"), out[1]
    found = {"h": h, "z": z, "the action": a}
    return found | {
        "the gradient at state.h": gradient(h, state.h),
        "the gradient at state.z": gradient(z, state.z),
        "the gradient at action": gradient(a, action),
    }


def observe_cases() -> list[tuple]:
    cases = []
    for B, T in ((1, 3), (2, 6), (3, 8)):
        is_first = torch.zeros(B, T, dtype=torch.bool)
        is_first[::2, T // 2] = is_first[1::2, T // 2 + 1] = True
        is_first[0, 0] = B > 1
        rssm, noise = small_rssm(), hundredths(gumbel(torch.ones(()), B, T, 2, 3))
        if B > 1:  # nearly certain dice and large noise, which show whether unimix was used
            rssm.posterior_net[-1].weight *= 30
            noise *= 5
        cases.append((rssm, normal(B, T, 6), normal(B, T, 2), is_first, a_start(B), noise))
    return cases


def observe_probe(version: Callable, rssm: RSSM, tokens: Tensor, *case: Any) -> dict:
    """States and logits for given noise, the gradients through time, and the same without noise."""
    tokens = tokens.requires_grad_(True)
    states, logits = states_and_logits(version(rssm, tokens, *case))
    found = {"h": states.h, "z": states.z, "the posterior logits": logits}
    if any(not isinstance(part, Tensor) or part.shape[:2] != tokens.shape[:2] for part in found.values()):
        return found | dict.fromkeys(GRADIENTS, torch.zeros_like(tokens))
    if not torch.equal(states_and_logits(version(rssm, tokens, *case))[0].z, states.z):
        raise Complaint(
            "The noise is not used: two runs with the same noise throw different dice. Pass `noise[:, t]` to `sample`."
        )
    weighed = (states.h, states.z * torch.arange(1.0, states.z.shape[-1] + 1), logits[:, -1])
    many = (repeated(tokens.detach()), *(repeated(part) for part in case[:-1]))
    try:
        free, _ = states_and_logits(version(rssm, *many, None))
    except Exception as error:
        raise Complaint(
            "It works only when noise is given. When it is None, `sample` makes its own: pass None on."
        ) from error
    thrown = bool((free.z != free.z[:1]).any()) or len(tokens) > 1  # with sure dice nearly all throws agree
    flowing = {name: gradient(part, tokens) for name, part in zip(GRADIENTS, weighed)}
    if len(tokens) > 1:  # nearly certain dice: what is left of their gradient is rounding
        flowing |= dict.fromkeys(GRADIENTS[1:], torch.zeros_like(tokens))
    return (
        found
        | flowing
        | {
            "whether z is a sample when no noise is given": float(thrown),
            "whether the z it returns is the one that was carried on": float(carried_on(rssm, free, *many[1:3])),
        }
    )


def repeated(part: Any) -> Any:
    """The first row of a batch, 64 times."""
    if isinstance(part, State):
        return State(*map(repeated, part))
    return part[:1].repeat(64, *[1] * (part.ndim - 1))  # copies, so that a reader may change them in place


GRADIENTS = (
    "the gradient of all h at the tokens",
    "the gradient of all z at the tokens",
    "the gradient of the last logits at the tokens",
)


def carried_on(rssm: RSSM, states: State, actions: Tensor, is_first: Tensor) -> bool:
    """Whether each h was made from the state before it, as returned."""
    before = State(states.h[:, :-1].flatten(0, 1), states.z[:, :-1].flatten(0, 1))
    h = rssm.recurrent(*clear(before, actions[:, 1:].flatten(0, 1), is_first[:, 1:].flatten()))
    return torch.allclose(h, states.h[:, 1:].flatten(0, 1), 1e-4, 1e-5)


def states_and_logits(out: Any) -> tuple[State, Tensor]:
    """The result, if it is such a pair. Raises Complaint."""
    if not isinstance(out, (tuple, list)) or isinstance(out, State) or len(out) != 2:
        raise Complaint(
            f"It returns {kind(out)}; two things are expected, `return states, logits`, the states as one State."
        )
    if isinstance(out[0], Tensor) and isinstance(out[1], tuple):
        raise Complaint("The order is reversed: first the states, then the logits.")
    if isinstance(out[0], list):
        raise Complaint(
            "The states come back as a list. Stack their h along axis 1, and their z: `State(torch.stack(…, 1), "
            "torch.stack(…, 1))`."
        )
    if isinstance(out[1], list):
        raise Complaint("The logits come back as a list. Stack them along axis 1: `torch.stack(logits, 1)`.")
    return a_state(out[0], "The first thing it returns"), out[1]


def looped(
    rssm: RSSM,
    tokens: Tensor,
    actions: Tensor,
    is_first: Tensor,
    start: State,
    noise: Tensor | None = None,
    *,
    forget: str = "all",
    action_at: int = 0,
    look: bool = True,
    stack: int = 1,
    mode: bool = False,
    stale: bool = False,
    mix: float = 0.01,
    detach: bool = False,
    carry: bool = True,
    needs_noise: bool = False,
    deaf: bool = False,
    again: bool = False,
    store: str = "",
    probabilities: bool = False,
    before: bool = False,
    keep: str = "both",
    same_noise: bool = False,
    soft: bool = False,
    sure: bool = False,
    unsquashed: bool = False,
    late: bool = False,
    blind: bool = False,
    blank: bool = False,
) -> tuple[State, Tensor]:
    """The observe loop with one thing wrong."""
    state, states, logits = start, [], []
    for t in range(tokens.shape[1]):
        first = is_first[:, t]
        cleared, action = clear(state, actions[:, min(max(t + action_at, 0), tokens.shape[1] - 1)], first)
        if forget == "action":
            cleared = state
        if forget == "state":
            action = actions[:, t]
        if forget == "h":
            cleared = State(cleared.h, state.z)
        if forget == "nothing" or forget == "later" and t:
            cleared, action = state, actions[:, t]
        if forget == "later states" and t:
            cleared = state
        if forget == "to the start":
            cleared = State(*(torch.where(first.view(-1, *[1] * (a.ndim - 1)), b, a) for a, b in zip(state, start)))
        h = rssm.recurrent(cleared, action)
        if blank:
            h = h * ~first[:, None]
        memory = cleared.h if stale else h
        logits.append(rssm.posterior(memory, tokens[:, t]) if look else rssm.prior(h))
        if blind:
            logits[-1] = torch.where(first[:, None, None], rssm.prior(h), logits[-1])
        given = noise[:, 0 if same_noise else t] if (noise is not None or needs_noise) and not deaf else None
        z = sample(unimix(logits[-1], mix), torch.zeros_like(logits[-1]) if mode else given)
        z = unimix(logits[-1], mix) if soft else sample(logits[-1], given) if unsquashed else z
        if sure:
            z = torch.eye(logits[-1].shape[-1])[logits[-1].argmax(-1)] + 0 * logits[-1]
        if late:
            (h, z), _ = clear(State(h, z), action, first)
        kept = sample(unimix(logits[-1], mix), given) if again else z
        states.append(
            cleared if before else State(h.detach() if "h" in store else h, kept.detach() if "z" in store else kept)
        )
        state = State(h.detach(), z.detach()) if detach else State(h, z) if carry else start
        state = state if keep == "both" else State(cleared.h, z) if keep == "z" else State(h, cleared.z)
    h, z = (torch.stack(parts, stack) for parts in zip(*states))
    found = torch.stack(logits, stack)
    return State(h, z), unimix(found, mix) if probabilities else found


def wrongly(**how) -> Callable:
    return lambda *case: looped(*case, **how)


def start_ignored(rssm, tokens, actions, is_first, start, noise=None):
    return looped(rssm, tokens, actions, is_first, rssm.initial(len(tokens)), noise)


EXERCISES = (
    Exercise(
        "gru",
        gru,
        gru_cases,
        letters="ND",
        probe=with_gradients("h", "reset", "candidate", "update"),
        kept_for="rssm:gru",
        mistakes=(
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(c + r.sigmoid() * h), (u - 1).sigmoid()),
                "This is another GRU, whose reset gate acts on h. Here it acts on the candidate alone: "
                "tanh(σ(reset) · candidate).",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(r * c), (u - 1).sigmoid()),
                "The reset gate is not squashed: σ(reset).",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(r.sigmoid() * c), (u - 1).sigmoid().detach()),
                "The update gate is detached: it could never learn.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(r.sigmoid().detach() * c), (u - 1).sigmoid().detach()),
                "The gates are detached: they could never learn.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(
                    h, torch.tanh((r.exp() / (1 + r.exp())) * c), (u - 1).exp() / (1 + (u - 1).exp())
                ),
                "exp(x) / (1 + exp(x)) is nan for a large x. `torch.sigmoid` stays finite.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh((r - 1).sigmoid() * c), (u - 1).sigmoid()),
                "The -1 is at the reset gate as well; it belongs to the update gate alone.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh((r - 1).sigmoid() * c), u.sigmoid()),
                "The -1 is at the reset gate; it belongs to the update gate: σ(update - 1).",
            ),
            Mistake(
                lambda h, r, c, u: (u - 1).sigmoid() * torch.tanh(r.sigmoid() * c) + h,
                "The old memory counts in full. A share u of it gives way: (1 - u) · h.",
            ),
            Mistake(
                lambda h, r, c, u: torch.tanh(torch.lerp(h, r.sigmoid() * c, (u - 1).sigmoid())),
                "tanh is applied to everything. It squashes the candidate alone; h passes unchanged.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(torch.tanh(r.sigmoid() * c), h, (u - 1).sigmoid()),
                "The update gate is reversed: u is the share of the new memory, 1 - u that of the old.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(r.sigmoid() * c), u.sigmoid()),
                "The -1 is missing: u = σ(update - 1), so that a fresh network keeps most of its memory.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(r.sigmoid() * c), (u + 1).sigmoid()),
                "With update + 1, a fresh network forgets most of its memory. Use update - 1.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, r.sigmoid() * torch.tanh(c), (u - 1).sigmoid()),
                "The reset gate is outside tanh; it belongs inside: tanh(σ(reset) · candidate).",
            ),
            Mistake(lambda h, r, c, u: torch.lerp(h, torch.tanh(c), (u - 1).sigmoid()), "The reset gate is not used."),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, r.sigmoid() * c, (u - 1).sigmoid()),
                "The candidate is not squashed: without tanh, memory can grow without bound.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(r.sigmoid() * h, torch.tanh(c), (u - 1).sigmoid()),
                "This is the textbook GRU, whose reset gate acts on h. Here it acts on the candidate: tanh(σ(reset) "
                "· candidate).",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(u.sigmoid() * c), (r - 1).sigmoid()),
                "reset and update are swapped.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(r.sigmoid() * c), u.sigmoid() - 1),
                "The -1 belongs inside: σ(update - 1), not σ(update) - 1.",
            ),
            Mistake(
                lambda h, r, c, u: (u - 1).sigmoid() * torch.tanh(r.sigmoid() * c),
                "The old memory is missing: add (1 - u) · h.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(r * c), u - 1),
                "The gates are not squashed: σ turns each into a share between 0 and 1.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.sigmoid(r.sigmoid() * c), (u - 1).sigmoid()),
                "The candidate is squashed by σ; tanh keeps it between -1 and 1.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(r.sigmoid() + c), (u - 1).sigmoid()),
                "The reset gate is added to the candidate. It multiplies: tanh(σ(reset) · candidate).",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh((r * c).sigmoid()), (u - 1).sigmoid()),
                "σ is taken of the product. Only reset goes through it: σ(reset) · candidate.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.relu(r.sigmoid() * c), (u - 1).sigmoid()),
                "The candidate goes through relu. Use tanh, which keeps it between -1 and 1.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h.tanh(), torch.tanh(r.sigmoid() * c), (u - 1).sigmoid()),
                "The old memory is squashed by tanh. Only the candidate is.",
            ),
            Mistake(
                lambda h, r, c, u: (u - 1).sigmoid() * torch.tanh(r.sigmoid() * c) + (1 - u) * h,
                "The old memory's share is 1 - update. It is 1 - u, with the u that went through σ.",
            ),
            Mistake(
                lambda h, r, c, u: (u - 1).sigmoid() * torch.tanh(r.sigmoid() * c) + (1 - u.sigmoid()) * h,
                "The two shares come from different gates: the -1 is missing in the old memory's. They add up to 1.",
            ),
            Mistake(
                lambda h, r, c, u: torch.tanh(r.sigmoid() * c) + (1 - (u - 1).sigmoid()) * h,
                "The new memory counts in full. Its share is u: u · c + (1 - u) · h.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(r.tanh() * c), (u - 1).tanh()),
                "The gates go through tanh, which can be negative. σ makes shares between 0 and 1.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(r.sigmoid() * (c + h)), (u - 1).sigmoid()),
                "h is part of the candidate. The candidate is given; h comes in only with (1 - u) · h.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(r.sigmoid() * h, torch.tanh(r.sigmoid() * c), (u - 1).sigmoid()),
                "The reset gate acts on h as well. Here it acts on the candidate alone.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(r.sigmoid() * c), (u - 1).softmax(-1)),
                "The update gate is a softmax over the entries. Each entry has a gate of its own: σ.",
            ),
            Mistake(
                lambda h, r, c, u: (u - 1).sigmoid() * torch.tanh(r.sigmoid() * c) + r.sigmoid() * h,
                "The old memory is multiplied by the reset gate, like the forget gate of an LSTM. Its share is 1 - u.",
            ),
            Mistake(
                lambda h, r, c, u: torch.tanh(torch.lerp(h, torch.tanh(r.sigmoid() * c), (u - 1).sigmoid())),
                "tanh is applied a second time, to the new memory. It squashes the candidate alone.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(r.sigmoid() * c), (u - 1).sigmoid()).clamp(-1, 1),
                "The new memory is clipped at ±1. Return the mixture of c and h as it is.",
            ),
            Mistake(
                lambda h, r, c, u: torch.lerp(h, torch.tanh(F.hardsigmoid(r) * c), F.hardsigmoid(u - 1)),
                "hardsigmoid is only an approximation of σ. Use `torch.sigmoid`.",
            ),
        ),
        hints=(
            "Two gates and a candidate: how much of the candidate counts, what the candidate is, how much of the "
            "old memory gives way.",
            "c = tanh(σ(reset) · candidate), u = σ(update - 1), and the new memory is a mixture of c and h.",
            "`c = torch.tanh(torch.sigmoid(reset) * candidate)`, `u = torch.sigmoid(update - 1)`, `return u * c + "
            "(1 - u) * h`",
        ),
    ),
    Exercise(
        "posterior",
        RSSM.posterior,
        posterior_cases,
        itself="rssm",
        probe=posterior_probe,
        kept_for="rssm:RSSM.posterior",
        mistakes=(
            Mistake(
                lambda m, h, x: m.posterior_net(torch.cat([h, x], -1)).unflatten(-1, (2, 3)),
                "S and K are fixed at 2 and 3; use `rssm.groups` and `rssm.classes`.",
            ),
            Mistake(
                lambda m, h, x: m.posterior_net(torch.cat([h, x], -1)).view(-1, m.groups, m.classes),
                "view(-1, S, K) merges all leading axes into one. Keep them: `unflatten(-1, (S, K))` touches only "
                "the last axis.",
            ),
            Mistake(
                lambda m, h, x: (
                    m.posterior_net(torch.cat([h, x], -1)).unflatten(-1, (m.classes, m.groups)).transpose(-1, -2)
                ),
                "The flat axis is split as (K, S) and then transposed, so numbers land in the wrong places. Split "
                "it as (S, K).",
            ),
            Mistake(
                lambda m, h, x: right_posterior(m, h, torch.zeros_like(x)),
                "The tokens are not used: the posterior sees h and the tokens.",
            ),
            Mistake(
                lambda m, h, x: right_posterior(m, h, x).log_softmax(-1),
                "These are log-probabilities. Return the logits as the network gives them.",
            ),
            Mistake(lambda m, h, x: m.prior(h), "This is the prior: it never looks at the tokens."),
            Mistake(
                lambda m, h, x: m.posterior_net(torch.cat([x, h], -1)).unflatten(-1, (m.groups, m.classes)),
                "Tokens and memory are swapped: h first, then the tokens.",
            ),
            Mistake(
                lambda m, h, x: m.posterior_net(torch.cat([h, x], -1)),
                "The logits are still flat. Give them two axes: S groups, K classes.",
            ),
            Mistake(
                lambda m, h, x: m.posterior_net(torch.cat([h, x], -1)).unflatten(-1, (m.classes, m.groups)),
                "Groups and classes are swapped: (…, S, K).",
            ),
            Mistake(
                lambda m, h, x: right_posterior(m, h, x).softmax(-1),
                "These are probabilities. Return logits; unimix turns them into probabilities later.",
            ),
            Mistake(
                lambda m, h, x: unimix(right_posterior(m, h, x), m.mix),
                "unimix is already applied. Return logits; probabilities come later.",
            ),
            Mistake(
                lambda m, h, x: right_posterior(m, torch.zeros_like(h), x),
                "The memory is not used: the posterior sees h and the tokens.",
            ),
            Mistake(
                lambda m, h, x: m.posterior_net(torch.cat([h, x], -1)).unflatten(-1, (m.groups, m.classes)).argmax(-1),
                "These are the likeliest classes. Return the logits, (…, S, K).",
            ),
            Mistake(lambda m, h, x: sample(unimix(right_posterior(m, h, x), m.mix)), THROWN),
            Mistake(
                lambda m, h, x: right_posterior(m, h, x).sigmoid(),
                "sigmoid is applied to the logits. Return them as the network gives them.",
            ),
            Mistake(
                lambda m, h, x: unimix(right_posterior(m, h, x), m.mix).log(),
                "These are the logarithms of the mixed probabilities. Return the plain logits; unimix comes later.",
            ),
            Mistake(
                lambda m, h, x: m.posterior_net(torch.cat([h, x], -1)).softmax(-1).unflatten(-1, (m.groups, m.classes)),
                "One softmax runs over all S · K numbers. Return logits: later, unimix makes probabilities "
                "for each die.",
            ),
            Mistake(
                lambda m, h, x: (lambda logits: logits - logits.mean(-1, keepdim=True))(right_posterior(m, h, x)),
                "The mean of each die's logits is subtracted. Return them as the network gives them.",
            ),
            Mistake(
                lambda m, h, x: m.prior(h) + right_posterior(m, h, x),
                "The prior's logits are added. The posterior's network answers alone.",
            ),
        ),
        hints=(
            "The posterior sees memory and observation, side by side, and answers with one die per group.",
            "`torch.cat([h, tokens], -1)` goes into `rssm.posterior_net`. The result is flat; `unflatten` gives it "
            "its two axes.",
            "`return rssm.posterior_net(torch.cat([h, tokens], -1)).unflatten(-1, (rssm.groups, rssm.classes))`",
        ),
    ),
    Exercise(
        "clear",
        clear,
        clear_cases,
        probe=clear_probe,
        mistakes=(
            Mistake(
                lambda s, a, f: (State(s.h * (~f).float(), s.z * (~f).float()), a * (~f).float()),
                "The mask (B,) is applied along the last axis of each tensor, not along the batch. Give it the axes "
                "it lacks: `keep[:, None]`, `keep[:, None, None]`.",
            ),
            Mistake(
                lambda s, a, f: (
                    State(s.h * (~f).float()[:, None], s.z * (~f).float()[:, None]),
                    a * (~f).float()[:, None],
                ),
                "z has one more axis than h, so its mask needs one more, too: `keep[:, None, None]`.",
            ),
            Mistake(
                lambda s, a, f: (State(clear(s, a, f)[0].h.detach(), clear(s, a, f)[0].z), clear(s, a, f)[1]),
                "h is detached: no gradient flows back through time, so memory can't learn what to keep.",
            ),
            Mistake(
                lambda s, a, f: (State(*(part.detach() for part in clear(s, a, f)[0])), clear(s, a, f)[1]),
                "The state is detached: no gradient flows back through time, so memory can't learn what to keep.",
            ),
            Mistake(
                lambda s, a, f: (
                    State(clear(s, a, f)[0].h, torch.where(f[:, None, None], 1 / s.z.shape[-1], s.z)),
                    clear(s, a, f)[1],
                ),
                "z becomes a fair die where an episode begins. Set it to zero: no class at all.",
            ),
            Mistake(
                lambda s, a, f: (State(clear(s, a, f)[0].h, s.z), a),
                "Only h is cleared. z and the action carry the last episode, too.",
            ),
            Mistake(
                lambda s, a, f: (State(s.h, clear(s, a, f)[0].z), a),
                "Only z is cleared. h and the action carry the last episode, too.",
            ),
            Mistake(
                lambda s, a, f: (State(s.h * (~f).float(), clear(s, a, f)[0].z), clear(s, a, f)[1]),
                "The mask (B,) is applied along the last axis of h, not along the batch. Use `keep[:, None]`.",
            ),
            Mistake(
                lambda s, a, f: (s, a), "Nothing is forgotten: the next episode begins with the memory of the last."
            ),
            Mistake(
                lambda s, a, f: clear(s, a, ~f),
                "The mask is reversed: this forgets everywhere except where an episode begins.",
            ),
            Mistake(
                lambda s, a, f: (clear(s, a, f)[0], a),
                "The state is cleared, but not the action: it belongs to the episode before.",
            ),
            Mistake(
                lambda s, a, f: (State(clear(s, a, f)[0].h, s.z), clear(s, a, f)[1]),
                "h is cleared, but z still carries the last episode.",
            ),
            Mistake(
                lambda s, a, f: (State(s.h, clear(s, a, f)[0].z), clear(s, a, f)[1]),
                "z is cleared, but h still carries the last episode.",
            ),
            Mistake(
                lambda s, a, f: (State(torch.zeros_like(s.h), torch.zeros_like(s.z)), torch.zeros_like(a)),
                "This clears every row. Clear only those where `is_first` is True.",
            ),
            Mistake(
                lambda s, a, f: (s, clear(s, a, f)[1]),
                "The action is cleared, but the state still carries the last episode.",
            ),
            Mistake(
                lambda s, a, f: (
                    State(torch.where(f[:, None], 1.0, s.h), torch.where(f[:, None, None], 1.0, s.z)),
                    torch.where(f[:, None], 1.0, a),
                ),
                "Where an episode begins you put ones. Put zeros.",
            ),
            Mistake(
                lambda s, a, f: (State(s.h[~f], s.z[~f]), a[~f]),
                "The rows where an episode begins are left out. Keep all rows, and set those to zero.",
            ),
            Mistake(
                lambda s, a, f: clear(s, a, torch.arange(len(f)) == 0),
                "Only the first row of the batch is cleared. Clear every row where `is_first` is True.",
            ),
            Mistake(
                lambda s, a, f: (
                    State(clear(s, a, f)[0].h, torch.where(f[:, None, None], torch.eye(s.z.shape[-1])[0], s.z)),
                    clear(s, a, f)[1],
                ),
                "z shows its first face where an episode begins. Set it to zero: no class at all.",
            ),
            Mistake(
                lambda s, a, f: (clear(s, a, f)[0], torch.where(f[:, None], torch.eye(a.shape[-1])[0], a)),
                "Where an episode begins, the action becomes the first one. Set it to zero: no action at all.",
            ),
            Mistake(
                lambda s, a, f: clear(s, a, f[0].expand_as(f)),
                "The first row of `is_first` decides for the whole batch. Each row must decide for itself.",
            ),
            Mistake(
                lambda s, a, f: (State(clear(s, a, f)[0].z, clear(s, a, f)[0].h), clear(s, a, f)[1]),
                "h and z are swapped: `State(h, z)`.",
            ),
        ),
        hints=(
            "Multiply by 0 where an episode begins, by 1 elsewhere. Three things carry the past.",
            "`keep = (~is_first).float()` has shape (B,). h needs `keep[:, None]`, z needs one more axis.",
            "`keep = (~is_first).float()`, then `return State(state.h * keep[:, None], state.z * keep[:, None, "
            "None]), action * keep[:, None]`",
        ),
    ),
    Exercise(
        "observe",
        RSSM.observe,
        observe_cases,
        probe=observe_probe,
        itself="rssm",
        kept_for="rssm:RSSM.observe",
        mistakes=(
            Mistake(
                wrongly(before=True),
                "h and z are collected before the step, so they are one step late. Collect the new state, after "
                "looking.",
            ),
            Mistake(
                wrongly(again=True),
                "The dice are thrown again for the result, so the z you return is not the one the memory was made "
                "from.",
            ),
            Mistake(
                wrongly(store="hz"),
                "What is stored is detached: the states you return have no gradient, so nothing learns from them.",
            ),
            Mistake(wrongly(store="h"), "The h you return is detached, so no loss that reads it can train the memory."),
            Mistake(
                wrongly(store="z"), "The z you return is detached, so no loss that reads it can train the posterior."
            ),
            Mistake(wrongly(probabilities=True), "This returns the mixed probabilities. Return the logits."),
            Mistake(wrongly(forget="nothing"), "Nothing is cleared: memory leaks from one episode into the next."),
            Mistake(wrongly(forget="action"), "The state is not cleared where an episode begins, only the action."),
            Mistake(
                wrongly(forget="state"),
                "The action is not cleared where an episode begins: it belongs to the episode before.",
            ),
            Mistake(wrongly(forget="h"), "h is cleared, z is not."),
            Mistake(
                wrongly(action_at=1),
                "One action early: you use actions[:, t + 1], which is taken after step t. actions[:, t] is the one "
                "that led to it.",
            ),
            Mistake(
                wrongly(action_at=-1),
                "One action late: you use actions[:, t - 1], but actions[:, t] is the one that led to step t.",
            ),
            Mistake(wrongly(look=False), "z comes from the prior: this never looks at the tokens."),
            Mistake(
                wrongly(stale=True),
                "The posterior sees the old memory. It should see the h of this step, from `rssm.recurrent`.",
            ),
            Mistake(
                wrongly(stack=0),
                "Stacked along axis 0: the result is (T, B, …). Batch comes first: stack along axis 1.",
            ),
            Mistake(wrongly(mode=True), "The noise is not used: z is the likeliest class instead of a sample."),
            Mistake(
                wrongly(mix=0.0),
                "unimix is missing: the dice are thrown with plain softmax probabilities, but everything else uses "
                "the mixed ones.",
            ),
            Mistake(
                wrongly(detach=True),
                "The state is detached between steps: no gradient flows back through time, so memory can't learn "
                "what to keep.",
            ),
            Mistake(wrongly(carry=False), "The state is not carried on: every step starts from `start` again."),
            Mistake(
                wrongly(needs_noise=True),
                "It works only when noise is given. When it is None, `sample` makes its own: pass None on.",
            ),
            Mistake(start_ignored, "The loop starts from zeros and ignores `start`."),
            Mistake(
                wrongly(forget="to the start"),
                "Where an episode begins, the state goes back to `start`. Set it to zero: `clear` does.",
            ),
            Mistake(wrongly(same_noise=True), "Every step uses the first step's noise: `noise[:, t]`."),
            Mistake(
                wrongly(unsquashed=True),
                "The dice are thrown with logits. `sample` wants probabilities: `unimix(logits)`.",
            ),
            Mistake(wrongly(soft=True), "z is the dice's probabilities. Throw the dice: `sample`."),
            Mistake(wrongly(sure=True), "z is the likeliest class of each die. Throw the dice: `sample`."),
            Mistake(
                wrongly(late=True),
                "The state is cleared after the step. Clear it before: the new episode's first look must stay.",
            ),
            Mistake(wrongly(keep="z"), "Only z is carried on: each step needs the h of the step before, too."),
            Mistake(wrongly(keep="h"), "Only h is carried on: each step needs the z of the step before, too."),
            Mistake(
                wrongly(forget="later states"),
                "The state is cleared only before the first step. Episodes may begin at any step: call "
                "`clear` in the loop.",
            ),
            Mistake(
                wrongly(forget="later"),
                "State and action are cleared only at the first step. Episodes may begin at any step: call "
                "`clear` in the loop.",
            ),
            Mistake(
                wrongly(forget="nothing", late=True),
                "The state is cleared at the end of the step, and the action not at all. Call `clear` first, "
                "before `rssm.recurrent`.",
            ),
            Mistake(
                wrongly(blind=True), "Where an episode begins, z comes from the prior. Use the posterior at every step."
            ),
            Mistake(
                wrongly(blank=True),
                "Where an episode begins, the new h is set to zero. Clear the state before the step, and keep"
                " the h that `rssm.recurrent` makes from it.",
            ),
        ),
        hints=(
            "One pass through time. Each step: clear where an episode begins, update the memory, look, sample. "
            "Collect the results, and stack them at the end.",
            "Shapes in step t: tokens[:, t] is (B, E), actions[:, t] is (B, A), is_first[:, t] is (B,). "
            "`rssm.recurrent(state, action)` gives h "
            "(B, D), `rssm.posterior(h, tokens[:, t])` gives logits (B, S, K).",
            "In the loop: `state, action = clear(state, actions[:, t], is_first[:, t])`, `h = rssm.recurrent(state, "
            "action)`, `logits = rssm.posterior(h, "
            "tokens[:, t])`, `z = sample(unimix(logits), None if noise is None else noise[:, t])`, `state = "
            "State(h, z)`. After it, `torch.stack(…, 1)`.",
        ),
    ),
)
