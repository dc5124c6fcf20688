"""The looks: each asks one question of an agent, draws the answer, and says what a healthy one is (appendix A1)."""

from collections.abc import Callable, Sequence
import copy
from dataclasses import replace
import math
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
import numpy as np
import torch
from torch import Tensor

from ..actor import actor_loss
from ..agent import Dreamer
from ..evaluation.drawing import DREAM, GREY, REALITY
from ..imagination import Dream, imagine
from ..latents import kl, unimix
from ..learner import Learner
from ..replay import Experience, Obs, map_obs, obs_by_kind
from ..rssm import State
from ..world_model import kl_losses


class Evidence(NamedTuple):
    """What the looks look at. E environments side by side, T steps in each."""

    agent: Dreamer
    replayed: Experience  # (L, …) rows of the replay, one after the other; without a replay, what one environment gave
    played: Experience  # (E, T, …) what the agent lived through just now
    states: State  # (E, T, …) what it thought
    rows: list[dict[str, float]]  # of metrics.csv
    cut: Tensor  # (n,) of episodes that a clock cut off: are they stored as ended?


class Measure(NamedTuple):
    """A number and the range in which it is healthy; NaN: it can't be told."""

    words: str
    value: float
    low: float = -math.inf
    high: float = math.inf

    @property
    def healthy(self) -> bool | None:
        return None if math.isnan(self.value) else self.low <= self.value <= self.high

    @property
    def range(self) -> str:
        if self.low == self.high:
            return f"healthy: {self.low:g}"
        if self.high == math.inf:
            return f"healthy: at least {self.low:g}"
        return f"healthy: {self.low:g} to {self.high:g}" if self.low > -math.inf else f"healthy: at most {self.high:g}"


class Finding(NamedTuple):
    """What a look found."""

    title: str
    question: str
    measures: list[Measure]
    figure: Figure
    advice: str  # where to look on, if it is not healthy

    @property
    def measured(self) -> list[Measure]:
        """The measures that can be told."""
        return [measure for measure in self.measures if measure.healthy is not None]

    @property
    def healthy(self) -> bool | None:
        return all(measure.healthy for measure in self.measured) if self.measured else None


def panels(count: int = 1, height: float = 2.8, widths: Sequence[float] | None = None) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(7.5, height), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(1, count, width_ratios=widths)))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


SHIFTS = (-1, 0, 1)  # the row before, the row itself, the row after


def alignment(evidence: Evidence) -> Finding:
    """Does the replayed keep together what belongs together? A linear fit of the change of the observation, with the action of three rows."""
    left, replayed = unexplained(evidence.replayed), evidence.replayed
    firsts = replayed.action[replayed.is_first]
    beyond = left[1] - min(left) if min(left) < 0.9 else math.nan  # else no action explains anything
    first = firsts.abs().max().item() if len(firsts) else math.nan
    ended = evidence.cut.float().mean().item() if len(evidence.cut) else math.nan
    return Finding(
        "Alignment X-ray",
        "Do action, reward and flags of the replay lie beside the observation that they belong to?",
        [
            Measure(
                "what the row's own action leaves unexplained, beyond what the best of three rows leaves",
                beyond,
                high=0.02,
            ),
            Measure("largest action in a row that begins an episode", first, 0, 0),
            Measure("share of the episodes cut off by a clock that are stored as ended", ended, 0, 0),
        ],
        draw_alignment(replayed, left, evidence.cut.tolist()),
        "Notebook 01, and `run/loop.py: Training.collect`, `envs.py: Envs.step_one`.",
    )


def draw_alignment(replayed: Experience, left: list[float], cut: list[bool]) -> Figure:
    figure, (tape, bars, clock) = panels(3, widths=(2.2, 1.3, 1))
    draw_tape(tape, replayed)
    shown = bars.bar(["row\nbefore", "row\nitself", "row\nafter"], np.nan_to_num(left), color=[GREY, REALITY, GREY])
    bars.bar_label(shown, ["not told" if math.isnan(share) else f"{share:.2f}" for share in left], fontsize=8)
    bars.set_ylim(0, 1.15)
    bars.set_title("unexplained share\nof the change", fontsize=9)
    clock.bar(["cut off\nby a clock", "of these\nstored\nas ended"], [len(cut), sum(cut)], color=[GREY, DREAM])
    clock.set_title("a test: episodes", fontsize=9)
    clock.set_ylim(0, max(len(cut), 1) + 0.5)
    for ax in (bars, clock):
        ax.tick_params(axis="x", labelsize=7)
    return figure


def action_pairs(obs: Tensor, action: Tensor, is_first: Tensor, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    """What was seen before a row, (N, O), how it changed, (N, O), and the action that row + shift holds, (N, A).

    Of rows (L, …) one after the other, all those that have a neighbour on both sides, and where none of the three begins an episode.
    """
    row = torch.arange(1, len(obs) - 1)
    row = row[~(is_first[row - 1] | is_first[row] | is_first[row + 1])]
    return obs[row - 1], obs[row] - obs[row - 1], action[row + shift]


def unexplained(replayed: Experience) -> list[float]:
    """For the row before, the row itself and the row after: the share of the change of an observation that its action leaves unexplained.

    0 to 1, by linear fits on the observation before, with that action and without, for that number of the observation which one of the
    three explains best. NaN for pictures, and where there are too few rows.
    """
    obs = obs_by_kind(replayed.obs).get("vector")
    if obs is None:
        return [math.nan] * len(SHIFTS)
    shares = []
    for shift in SHIFTS:
        before, change, action = action_pairs(obs.double(), replayed.action.double(), replayed.is_first, shift)
        if len(before) < max(50, 5 * (before.shape[1] + action.shape[1])):
            return [math.nan] * len(SHIFTS)
        without = torch.cat([before, torch.ones_like(before[:, :1])], 1)
        fits = without, torch.cat([without, action], 1)
        rests = [change - x @ torch.linalg.lstsq(x, change, driver="gelsd").solution for x in fits]
        alone, with_it = (rest.square().mean(0) for rest in rests)
        moved = alone > 1e-9 * obs.double().var(0).clamp(min=1e-12)
        shares.append(torch.where(moved, with_it / alone, 1.0))
    table = torch.stack(shares)  # (3, O)
    return table[:, table.min(0).values.argmin()].tolist()


def draw_tape(axes: Axes, replayed: Experience) -> None:
    """The rows around the last border of episodes: what is stored in each."""
    ends = replayed.is_last.nonzero()[:, 0]
    ends = ends[(ends >= 6) & (ends < len(replayed.reward) - 4)]
    last = int(ends[-1]) if len(ends) else min(6, len(replayed.reward) - 5)
    rows = torch.arange(last - 6, last + 5)
    names = ["reward", "first", "last", "terminal", *(f"action {i}" for i in range(replayed.action.shape[-1]))][:10]
    table = torch.stack(
        [replayed.reward, replayed.is_first, replayed.is_last, replayed.is_terminal, *replayed.action.T][: len(names)]
    )[:, rows].float()
    axes.imshow(table / table.abs().amax(1, keepdim=True).clamp(min=1), cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(table.numpy()):
        axes.text(
            j, i, f"{value:.2g}", ha="center", va="center", fontsize=7, color="white" if abs(value) > 0.7 else "black"
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(range(len(rows)), [f"{int(row) - last:+d}" for row in rows])
    axes.set_title("rows of the replay;\n+0 is an episode's last", fontsize=9)
    axes.tick_params(labelsize=7)


def windows(evidence: Evidence, horizon: int) -> tuple[Tensor, Tensor]:
    """Where pieces of `horizon` steps after a step lie within one episode: environment and first step, (N,) each."""
    first = evidence.played.is_first
    places = [
        (e, t)
        for e in range(len(first))
        for t in range(4, first.shape[1] - horizon, 5)
        if not first[e, t + 1 : t + horizon + 1].any()
    ]
    pairs = torch.tensor(places, dtype=torch.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


@torch.no_grad()
def dream_errors(evidence: Evidence, horizon: int) -> Tensor:
    """Mean reconstruction losses along played pieces, (3, horizon): of a dream with the actions taken, with those of another piece, and of
    a dream in which nothing moves."""
    model, played = evidence.agent.world_model, evidence.played
    env, time = windows(evidence, horizon)
    start, other = State(*(part[env, time] for part in evidence.states)), torch.randperm(len(env))
    own = shuffled = start
    errors = []
    for k in range(1, horizon + 1):
        own = model.rssm.imagine_step(own, played.action[env, time + k])
        shuffled = model.rssm.imagine_step(shuffled, played.action[env[other], time[other] + k])
        seen = map_obs(lambda part: part[env, time + k], played.obs)
        errors.append(
            [model.decoder.loss(model.decoder(state.feature), seen).mean() for state in (own, shuffled, start)]
        )
    return torch.tensor(errors).T


def ratio(a: float, b: float) -> float:
    """a / b, NaN where b is 0."""
    return a / b if b else math.nan


def control(evidence: Evidence) -> Finding:
    """Does a dream obey? Its error along an episode with the actions taken, beside two that must be worse."""
    horizon = next((h for h in (15, 10, 5, 3) if len(windows(evidence, h)[0]) >= 8), 0)
    errors = dream_errors(evidence, horizon) if horizon else torch.full((3, 1), math.nan)
    figure, (axes,) = panels()
    for error, name, colour in zip(
        errors, ("its own actions", "actions of another moment", "nothing moves"), (REALITY, DREAM, GREY)
    ):
        axes.plot(range(1, len(error) + 1), error, color=colour, marker=".", label=name)
    axes.set(xlabel="dreamed steps", ylabel="reconstruction loss", title="dreams along real episodes")
    axes.legend(frameon=False, fontsize=8)
    own, shuffled, still = errors.mean(1).tolist()
    return Finding(
        "Shuffled actions",
        "Does the world model use the actions, and does it dream better than a picture that stands still?",
        [
            Measure(
                "error with its own actions, over the error with those of another moment",
                ratio(own, shuffled),
                high=CONTROL,
            ),
            Measure("error, over that of a dream in which nothing moves", ratio(own, still), high=STILL),
        ],
        figure,
        "Notebook 07. If alignment is healthy, the world model has not learned enough: more steps, or a higher world_lr.",
    )


HALF = 6  # steps of each of two episodes


@torch.no_grad()
def moved_states(evidence: Evidence) -> Tensor:
    """How far each state, with the odds of its dice, moves, by row, when one observation, by column, is replaced: (12, 12), the last six steps of an episode and then the
    first six of another. Without dice, so that the same goes in twice."""
    agent, played, model = evidence.agent, evidence.played, evidence.agent.world_model
    env, time = windows(evidence, HALF - 1)
    if len(env) < 3:  # episodes are shorter: whatever is there
        env, time = torch.zeros(3, dtype=torch.int64), torch.arange(3)

    def piece(i: int, part: Tensor) -> Tensor:
        return part[env[i], time[i] : time[i] + HALF]

    def joined(i: int, k: int, part: Tensor) -> Tensor:
        return torch.cat([piece(i, part), piece(k, part)])[None]

    middle, last = len(env) // 2, len(env) - 1
    obs, strange = (map_obs(lambda part: joined(i, k, part), played.obs) for i, k in ((0, middle), (last, last)))
    actions = joined(0, middle, played.action)
    is_first = (torch.arange(2 * HALF, device=agent.device) % HALF == 0)[None]
    noise = torch.zeros(1, 2 * HALF, agent.config.groups, agent.config.classes, device=agent.device)

    def think(obs: Obs) -> Tensor:
        states, logits = model.rssm.observe(model.encoder(obs), actions, is_first, agent.initial(1).state, noise)
        return torch.cat(
            [states.feature[0], logits[0].flatten(1)], 1
        )  # the die's odds, too: they move before it falls otherwise

    usual, moved = think(obs), torch.zeros(2 * HALF, 2 * HALF)
    for t in range(2 * HALF):
        mixed = map_obs(lambda part: part.clone(), obs)
        pairs = zip(obs_by_kind(mixed).values(), obs_by_kind(strange).values())
        for part, new in pairs:
            part[:, t] = new[:, t]
        moved[:, t] = (think(mixed) - usual).abs().amax(-1)
    return moved


def causality(evidence: Evidence) -> Finding:
    """What does an observation change? Only its own state and later ones of the same episode."""
    moved = moved_states(evidence)
    past, across = moved.triu(1).max().item(), moved[HALF:, :HALF].max().item()
    figure, (axes,) = panels(height=3.4)
    axes.imshow((moved > 0).float() + moved.clamp(max=1), cmap="Blues", vmin=0, vmax=2, aspect="auto")
    axes.axhline(HALF - 0.5, color=DREAM, linewidth=1)
    axes.axvline(HALF - 0.5, color=DREAM, linewidth=1)
    axes.set(xlabel="the observation of this step is replaced", ylabel="the state of this step moves")
    axes.set_title(
        "blue: it moves, the darker the further; white: not at all; orange: a new episode begins", fontsize=10
    )
    return Finding(
        "Causality triangle",
        "Which states move when one observation is replaced by another?",
        [
            Measure("largest move of an earlier state", past, 0, 0),
            Measure("largest move beyond the border of episodes", across, 0, 0),
            Measure("largest move of the step's own state", moved.diagonal().max().item(), low=1e-6),
        ],
        figure,
        "Notebook 05, and `rssm.py: RSSM.observe`, where the replayed is reset.",
    )


@torch.no_grad()
def surprise(evidence: Evidence) -> Finding:
    """Is it surprised by what can't be? The KL along an episode, and for an observation of another moment."""
    rssm, h = evidence.agent.world_model.rssm, evidence.states.h
    tokens = evidence.agent.world_model.encoder(evidence.played.obs)
    prior = unimix(rssm.prior(h), rssm.mix)
    order = torch.randperm(tokens.shape[1])
    lived, kicked = (kl(unimix(rssm.posterior(h, seen), rssm.mix), prior) for seen in (tokens, tokens[:, order]))
    figure, (axes,) = panels()
    steps = torch.arange(min(80, h.shape[1]))
    axes.plot(steps, lived[0, steps].cpu(), color=REALITY, label="as it was")
    axes.plot(steps[5::10], kicked[0, steps[5::10]].cpu(), "^", color=DREAM, label="shown another moment instead")
    for t in evidence.played.is_first[0, steps].nonzero()[:, 0].tolist():
        axes.axvline(t, color=GREY, linewidth=0.8, linestyle=":")
    axes.axhline(KICKED, color=DREAM, linewidth=0.8, linestyle="--", label="limit of their mean over all games")
    axes.set(xlabel="step (dotted: an episode begins)", ylabel="KL, nats", title="surprise")
    axes.legend(frameon=False, fontsize=8)
    return Finding(
        "Surprise at a kick",
        "How many nats is an observation worth that was not expected?",
        [
            Measure("KL at an observation of another moment, nats", kicked.mean().item(), low=KICKED),
            Measure("over the KL as it was", (kicked.mean() / lived.mean().clamp(min=0.05)).item(), low=JUMP),
        ],
        figure,
        "Notebooks 04 and 05. If the KL is near 0 everywhere, the posterior says nothing that the prior did not know.",
    )


FLOW = {  # what learns from each loss, over a single step; replay_critic is not asked, since it needs sequences
    "reconstruction": {"encoder", "replayed", "posterior", "decoder"},
    "reward": {"encoder", "replayed", "posterior", "reward head"},
    "continue": {"encoder", "replayed", "posterior", "continue head"},
    "dyn": {"replayed", "prior"},
    "rep": {"encoder", "replayed", "posterior"},
    "actor": {"actor"},
    "critic": {"critic"},
}
PARTS = ("encoder", "replayed", "posterior", "prior", "decoder", "reward head", "continue head", "actor", "critic")


def part_of(name: str) -> str:
    """The part that a parameter belongs to."""
    for prefix, part in (
        ("world_model.encoder", "encoder"),
        ("world_model.decoder", "decoder"),
        ("world_model.rssm.prior_net", "prior"),
        ("world_model.rssm.posterior_net", "posterior"),
        ("world_model.rssm", "replayed"),
        ("world_model.reward_head", "reward head"),
        ("world_model.continue_head", "continue head"),
        ("actor", "actor"),
    ):
        if name.startswith(prefix):
            return part
    return "critic"


def gradient_norms(evidence: Evidence) -> Tensor:
    """Norm of the gradient of each loss at each part, by FLOW and PARTS, over single steps, so that nothing comes through time."""
    agent = thawed(evidence.agent)
    agent.world_model.free_nats = 0.0  # else a step that costs nothing teaches nobody, whatever the code does
    with torch.no_grad():
        for parameter in agent.parameters():  # heads that begin with zeros hand nothing back, which is no leak
            parameter += 1e-4 * torch.randn_like(parameter)
    batch = evidence.played.map(lambda part: part[:, 1::4].reshape(-1, 1, *part.shape[2:]))
    start = State(*(part[:, :-1:4].flatten(0, 1) for part in evidence.states))
    losses = agent.world_model.loss(batch, start)[0] | agent.dream_losses(dream_of(evidence, agent))[0]
    names, parameters = zip(*((name, p) for name, p in agent.named_parameters() if p.requires_grad))
    squares = torch.zeros(len(FLOW), len(PARTS))
    for row, loss in enumerate(FLOW):
        gradients = torch.autograd.grad(losses[loss].mean(), parameters, retain_graph=True, allow_unused=True)
        for name, gradient in zip(names, gradients):
            if gradient is not None:
                squares[row, PARTS.index(part_of(name))] += gradient.square().sum().item()
    return squares.sqrt()


def flow(evidence: Evidence) -> Finding:
    """Which part learns from which loss?"""
    norms = gradient_norms(evidence)
    pairs = [(loss, part, norms[i, k] > 0) for i, loss in enumerate(FLOW) for k, part in enumerate(PARTS)]
    leaks = [f"{part} from {loss}" for loss, part, learns in pairs if learns and part not in FLOW[loss]]
    dry = [f"{part} from {loss}" for loss, part, learns in pairs if not learns and part in FLOW[loss]]
    figure, (axes,) = panels(height=3.4)
    colours = [
        [
            (DREAM if f"{part} from {loss}" in leaks else "#BBD7EA") if norms[i, k] else "white"
            for k, part in enumerate(PARTS)
        ]
        for i, loss in enumerate(FLOW)
    ]
    axes.imshow([[to_rgb(colour) for colour in row] for row in colours], aspect="auto")
    for (i, k), value in np.ndenumerate(norms.numpy()):
        if value:
            axes.text(k, i, f"{value:.0e}", ha="center", va="center", fontsize=7)
    axes.set_xticks(range(len(PARTS)), PARTS, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(FLOW)), FLOW, fontsize=8)
    axes.set_title(
        "norm of the gradient within one step; orange: this part should not learn from that loss", fontsize=10
    )
    return Finding(
        "Gradient-flow map",
        "Which part learns from which loss?",
        [
            Measure("parts that learn from a loss that is not theirs", len(leaks), 0, 0),
            Measure("parts that do not learn from a loss of theirs", len(dry), 0, 0),
        ],
        figure,
        "Notebook 06. Look for a missing or a superfluous detach: " + ", ".join(leaks + dry),
    )


def thawed(agent: Dreamer) -> Dreamer:
    """A copy of the agent, that may learn and be changed."""
    agent = copy.deepcopy(agent).requires_grad_(True)
    agent.critic.slow_net.requires_grad_(False)
    return agent


def dream_of(evidence: Evidence, agent: Dreamer) -> Dream:
    """Dreams from up to 200 of the played steps."""
    flat = State(*(part.flatten(0, 1) for part in evidence.states))
    every = max(1, len(flat.h) // 200)
    return imagine(agent.world_model, agent.actor, State(*(part[::every] for part in flat)), agent.config.horizon)


@torch.no_grad()
def free_nats(evidence: Evidence) -> Finding:
    """Where does the KL stop to press? The two losses against the KL itself, for priors that are moved towards their posterior."""
    rssm, free = evidence.agent.world_model.rssm, evidence.agent.config.free_nats
    h, tokens = evidence.states.h.flatten(0, 1), evidence.agent.world_model.encoder(evidence.played.obs).flatten(0, 1)
    posterior, prior = unimix(rssm.posterior(h, tokens), rssm.mix), unimix(rssm.prior(h), rssm.mix)
    nearer = torch.rand(len(h), 1, 1, device=h.device)
    prior = nearer * posterior + (1 - nearer) * prior
    raw = kl(posterior, prior)
    expected = raw.clamp(min=free)
    found = [loss.expand_as(raw) for loss in kl_losses(posterior, prior, free)]
    figure, axes = panels(2)
    order = raw.argsort().cpu()
    for ax, loss, name in zip(axes, found, ("dyn", "rep")):
        ax.plot(raw.cpu()[order], expected.cpu()[order], color=GREY, linewidth=3, alpha=0.4, label="max(free nats, KL)")
        ax.plot(raw.cpu(), loss.cpu(), ".", color=REALITY, markersize=2, label="the loss")
        ax.set(xlabel="KL of a step, nats", ylabel=f"{name} loss", xlim=(0, 4 * free + 1), ylim=(0, 4 * free + 1))
        ax.legend(frameon=False, fontsize=8)
    gap = max((loss - expected).abs().max().item() for loss in found)
    return Finding(
        "Free nats",
        "What does a step pay for its surprise?",
        [Measure("largest difference between a loss and max(free nats, KL), nats", round(gap, 4), high=1e-3)],
        figure,
        "Notebook 06, and `world_model.py: kl_losses`.",
    )


def real_returns(rewards: Tensor, values: Tensor, is_last: Tensor, is_terminal: Tensor, gamma: float) -> Tensor:
    """The discounted return that came after each step but the last, (E, T) each → (E, T-1).

        R_t = r_{t+1} + γ R_{t+1},   with v_{t+1} in place of R_{t+1} where the recording or a time limit ends, and 0 where the world does

    After a last row nothing comes: 0.
    """
    returns, then = [], values[:, -1]
    for t in reversed(range(rewards.shape[1] - 1)):
        then = torch.where(is_last[:, t + 1], values[:, t + 1], then)
        then = rewards[:, t + 1] + gamma * torch.where(is_terminal[:, t + 1], 0.0, then)
        returns.append(torch.where(is_last[:, t], 0.0, then))
    return torch.stack(returns[::-1], 1)


@torch.no_grad()
def returns(evidence: Evidence) -> Finding:
    """Is what the critic promises what comes? Its value of each played state beside the return that followed.

    Where the recording or a clock ends, the critic's own value stands in for the rest. Steps at which that is more than half are left out.
    """
    agent, played = evidence.agent, evidence.played
    value, gamma = (
        agent.critic.value(agent.critic(evidence.states.feature)),
        1 - 1 / agent.config.discount_horizon,
    )  # (E, T)
    flags = played.is_last, played.is_terminal, gamma
    real = real_returns(played.reward, value, *flags)  # (E, T-1)
    own = real_returns(
        torch.zeros_like(value), torch.ones_like(value), *flags
    )  # the weight of the critic's own value in it
    told = ~played.is_last[:, :-1] & (own <= 0.5)
    real, value = real[told], value[:, :-1][told]
    far = real.abs() >= real.abs().quantile(0.5) if len(real) else real.bool()
    size = real[far].abs().mean().item() if len(real) else 0.0
    promised = (value[far] * real[far].sign()).mean().item() / size if size > 0.01 else math.nan
    figure, (axes,) = panels(height=3.4)
    axes.plot(real, value, ".", color=REALITY, markersize=2)
    ends = [min(real.min().item(), 0), max(real.max().item(), 0.01)] if len(real) else [0, 1]
    axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1)
    axes.set(xlabel="return that came, discounted", ylabel="value that the critic gave")
    axes.set_title("a dot for each step; on the dashed line the promise was kept", fontsize=10)
    return Finding(
        "Real against promised return",
        "Does the critic promise what comes?",
        [Measure("value over return, where returns are large", promised, *PROMISED)],
        figure,
        "Notebooks 03 and 08. Too small: do the bins reach as far as the returns? Too large: does the dream know how an episode ends?",
    )


def counted(dream: Dream, values: Tensor, lam: float) -> tuple[Tensor, Tensor]:
    """Weights and λ-returns of a dream, (N, H) each, from two plain loops."""
    weights, returns, goes_on, last = [], [], torch.ones_like(values[:, 0]), values[:, -1]
    for t in range(values.shape[1] - 1):
        goes_on = goes_on * dream.continues[:, t]
        weights.append(goes_on)
    for t in reversed(range(values.shape[1] - 1)):
        mixed = (1 - lam) * values[:, t + 1] + lam * last
        last = dream.rewards[:, t + 1] + dream.continues[:, t + 1] * mixed
        returns.append(last)
    return torch.stack(weights, 1), torch.stack(returns[::-1], 1)


@torch.no_grad()
def by_hand(evidence: Evidence) -> Finding:
    """Is a dream counted rightly? The agent's weights and λ-returns beside those of two loops."""
    agent = thawed(evidence.agent)
    dream = dream_of(evidence, agent)
    found = agent.dream_losses(dream)[1]
    pairs = list(zip((found["weight"], found["imagined_return"]), counted(dream, found["value"], agent.config.lam)))
    apart = [(mine - right).abs().max().item() for mine, right in pairs]
    largest = pairs[1][1].abs().max().clamp(min=1e-3).item()
    shown = int(dream.continues[:, 1:-1].min(1).values.argmin()) if agent.config.horizon > 1 else 0
    figure, axes = panels(3)
    axes[0].plot(dream.continues[shown].cpu(), color=DREAM, marker=".", label="continue")
    axes[0].plot(dream.rewards[shown].cpu(), color=GREY, marker=".", label="reward")
    axes[0].set_title("a dream", fontsize=10)
    for ax, (mine, right), name in zip(axes[1:], pairs, ("weight of each step", "λ-return")):
        ax.plot(right[shown].cpu(), color=GREY, linewidth=4, alpha=0.5, label="by hand")
        ax.plot(mine[shown].cpu(), color=DREAM, marker=".", label="the agent's")
        ax.set_title(name, fontsize=10)
    for ax in axes:
        ax.set_xlabel("dreamed steps")
        ax.legend(frameon=False, fontsize=8)
    return Finding(
        "A dream by hand",
        "Are the weights and the λ-returns of a dream what a loop over its steps gives?",
        [
            Measure("largest difference of a weight", round(apart[0], 5), high=1e-3),
            Measure("largest difference of a return, over the largest return", round(apart[1] / largest, 5), high=1e-3),
        ],
        figure,
        "Notebooks 07 and 08, and `agent.py: Dreamer.dream_losses`, `imagination.py: step_weights`.",
    )


def curves(evidence: Evidence) -> Finding:
    """How sure is the policy, and how large is a large return? Both along the run and now, and what the entropy bonus does now."""
    agent, c = thawed(evidence.agent), evidence.agent.config
    dream = dream_of(evidence, agent)
    ranges = [agent.return_scale.range.clone()]  # before the losses move it
    ranges.append(torch.quantile(agent.dream_losses(dream)[1]["imagined_return"], agent.return_scale.levels))
    scale, spread = (max((high - low).item(), c.return_limit) for low, high in ranges)
    entropy = agent.actor(dream.features[:, :-1]).entropy().mean().item()
    most = (
        sum(map(math.log, agent.spaces.choices or (agent.spaces.action_size,))) if agent.spaces.discrete else math.nan
    )
    push = pushed(agent, dream, c.entropy)
    return Finding(
        "Entropy and scale",
        "Is the policy still curious, and are its advantages of a size that can be compared?",
        [
            Measure("return scale over the spread of dreamed returns now", ratio(scale, spread), low=SCALE),
            Measure("share of the largest entropy that is left", ratio(entropy, most), *LEFT),
            Measure("direction in which the entropy bonus pushes the entropy, 1 is up", push, 0.5, 1.001),
        ],
        draw_curves(evidence.rows, most, spread, push),
        "Notebook 09. Entropy near 0 too soon: more --entropy. Near its largest: less, or the advantages say nothing yet.",
    )


def draw_curves(rows: list[dict[str, float]], most: float, spread: float, push: float) -> Figure:
    figure, axes = panels(2)
    steps = [row["env_steps"] for row in rows]
    axes[0].plot(steps, [row.get("policy_entropy", math.nan) for row in rows], color=DREAM)
    axes[0].axhline(most, color=GREY, linestyle="--", linewidth=1)
    axes[0].set_title("policy entropy (dashed: all actions alike)", fontsize=10)
    if not math.isnan(push):
        inside = dict(xycoords="axes fraction", textcoords="axes fraction", ha="center", va="center", fontsize=9)
        ends = (0.8, 0.85), (0.8, 0.45)
        tip, tail = ends if push > 0 else ends[::-1]
        axes[0].annotate(
            "what the\nbonus does", tip, tail, arrowprops=dict(arrowstyle="-|>", color=REALITY, linewidth=3), **inside
        )
    axes[1].plot(steps, [row.get("return_scale", math.nan) for row in rows], color=DREAM, label="return scale")
    axes[1].plot(
        steps[-1:] or [0], [spread], "^", color=REALITY, label="5th to 95th percentile of dreamed returns, now"
    )
    axes[1].axhline(SCALE * spread, color=REALITY, linewidth=0.8, linestyle="--", label="the scale should lie above")
    axes[1].set_title("return scale", fontsize=10)
    axes[1].set_ylim(0, 1.6 * max(spread, *(row.get("return_scale", 0) for row in rows), 1))
    axes[1].legend(frameon=False, fontsize=8, loc="upper left")
    for ax in axes:
        ax.set_xlabel("environment steps")
    return figure


def pushed(agent: Dreamer, dream: Dream, bonus: float) -> float:
    """Where the advantages are 0: the cosine between a step of the actor's loss and the one that raises the entropy."""
    policy, actors = agent.actor(dream.features[:, :-1]), list(agent.actor.parameters())
    entropy, log_probs = policy.entropy(), policy.log_prob(dream.actions[:, :-1])
    nothing, ones = torch.zeros_like(entropy), torch.ones_like(entropy)
    loss = actor_loss(log_probs, entropy, nothing, ones, bonus).mean()
    down, up = (
        torch.cat([g.flatten() for g in torch.autograd.grad(x, actors, retain_graph=True, materialize_grads=True)])
        for x in (loss, entropy.mean())
    )
    size = (down.norm() * up.norm()).item()
    return -(down @ up).item() / size if size > 0 else math.nan


def overfit(evidence: Evidence, steps: int = 60) -> Finding:
    """Can it learn anything at all? Fresh weights and one small batch, over and over."""
    c = replace(evidence.agent.config, world_lr=1e-3, actor_lr=1e-3, critic_lr=1e-3, warmup=1, average=0, imag_last=2)
    agent = Dreamer(c, evidence.agent.spaces, evidence.agent.device)
    learner = Learner(agent)
    length = min(8, evidence.played.reward.shape[1])
    batch = evidence.played.map(lambda part: part[:, :length])
    start, losses = agent.initial(len(batch.reward)).state, []
    for _ in range(steps):
        means = learner.train_step(batch, start)[1]
        losses.append({name: means[name].item() for name in ("reconstruction", "reward", "continue", "dyn")})
    figure, (axes,) = panels()
    for name, colour, style in (
        ("reconstruction", REALITY, "-"),
        ("reward", DREAM, "-"),
        ("continue", GREY, "-"),
        ("dyn", GREY, ":"),
    ):
        axes.plot([row[name] for row in losses], color=colour, linestyle=style, label=name)
    axes.axhline(
        OVERFIT * losses[0]["reconstruction"],
        color=REALITY,
        linewidth=0.8,
        linestyle="--",
        label="reconstruction should come below",
    )
    axes.set(xlabel="train steps on the same batch", yscale="log", title="fresh weights, one batch")
    axes.legend(frameon=False, fontsize=8)
    left = np.mean([row["reconstruction"] for row in losses[-10:]]) / losses[0]["reconstruction"]
    return Finding(
        "Overfit one batch",
        "Can fresh weights learn one small batch by heart?",
        [Measure(f"reconstruction loss after {steps} train steps, over that of the first", left, high=OVERFIT)],
        figure,
        "Notebook 06. If it can't, the gradient does not get where it should: look at the gradient-flow map.",
    )


CHECKS: dict[str, Callable[[Evidence], Finding]] = {
    "alignment": alignment,
    "control": control,
    "causality": causality,
    "surprise": surprise,
    "flow": flow,
    "free_nats": free_nats,
    "returns": returns,
    "by_hand": by_hand,
    "curves": curves,
    "overfit": overfit,
}

# Chosen between what healthy and sick runs gave; `assets/patients/verdicts.json` counts the same runs.
CONTROL, STILL, KICKED, JUMP, OVERFIT = 0.8, 1.0, 2.0, 3.0, 0.2
PROMISED, LEFT = (0.5, 2.0), (0.02, 0.98)
SCALE = 0.3
