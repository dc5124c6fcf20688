"""Appendix A1 and `diagnose`: the planted bugs, the checks that find them, the clinic, and the ledger's changes."""

import ast
import copy
import csv
from functools import partial
import inspect
import io
import math
from pathlib import Path
import re
import sys
import textwrap
import tokenize

from custom_envs import register
import gymnasium
from gymnasium.spaces import Box, Discrete
from matplotlib.figure import Figure
import numpy as np
import pytest
import torch

from dreamer_lite import actor, critic, imagination, world_model
from dreamer_lite.__main__ import main
from dreamer_lite.agent import Dreamer
from dreamer_lite.config import Config
from dreamer_lite.course.a1_break_it import clinic, exercises
from dreamer_lite.course.a1_break_it.bugs import BUGS, Patch, function_of, patched, planted
from dreamer_lite.course.bundled import bundled_agent
from dreamer_lite.course.n06_world_model.gradient_flow import PLACES
from dreamer_lite.diagnostics import checks, drawing, measures
from dreamer_lite.diagnostics.diagnose import cut_short, diagnose, gather_evidence, recall, run_check
from dreamer_lite.diagnostics.page import page, sentence, summary
from dreamer_lite.envs import stepping
from dreamer_lite.envs.making import make_envs
from dreamer_lite.errors import Refused
from dreamer_lite.evaluation.drawing import pixels
from dreamer_lite.imagination import step_weights  # taken before anything is planted
from dreamer_lite.replay import Experience
from dreamer_lite.rssm import State
from dreamer_lite.training.bench import CARTPOLE
from dreamer_lite.training.checkpoint import load, save
from dreamer_lite.training.loop import train
from dreamer_lite.two_hot import two_hot

ASSETS = Path(__file__).parents[2] / "assets"
sys.path.append(str(ASSETS))
import ledger  # noqa: E402

NUMBERS = range(1, len(BUGS) + 1)
FOUND_BY = {  # the check, and which of its measures
    1: ("alignment", 0),
    2: ("causality", 1),
    3: ("alignment", 2),
    4: ("by_hand", 1),
    5: ("flow", 0),
    6: ("free_nats", 0),
    7: ("curves", 0),
    8: ("returns", 0),
    9: ("curves", 2),
    10: ("by_hand", 0),
}


# Planting


def test_a_planted_line_is_there_for_everyone_and_gone_afterwards():
    continues = torch.full((1, 3), 0.5)
    patch = BUGS[9].patch
    with pytest.raises(KeyError), planted(patch):
        assert torch.equal(step_weights(continues), continues[:, :-1])
        raise KeyError
    assert torch.allclose(step_weights(continues), torch.tensor([[0.5, 0.25]]))


def test_a_property_and_two_patches_at_once():
    h = Patch(ledger.rssm, "State.feature", "torch.cat([self.h, self.z.flatten(-2)], -1)", "self.h")
    with planted(h, BUGS[9].patch):
        assert State(torch.ones(1, 2), torch.ones(1, 2, 2)).feature.shape == (1, 2)
        assert step_weights(torch.full((1, 3), 0.5))[0, 1] == 0.5
    assert State(torch.ones(1, 2), torch.ones(1, 2, 2)).feature.shape == (1, 6)


def test_a_patch_that_no_longer_applies_says_which_where_and_what_comes_closest():
    gone = Patch(imagination, "step_weights", "return continues.cumprod(2)[:, :-1]", "return continues")
    words = (
        r"'return continues.cumprod\(2\)\[:, :-1\]' → 'return continues' does not apply to imagination.py: "
        r"step_weights: nothing matches; the closest is line (\d+): return continues.cumprod\(1\)\[:, :-1\]"
    )
    with pytest.raises(ValueError, match=words) as raised, planted(gone):
        pass
    line = int(re.search(words, str(raised.value))[1])
    assert "return continues.cumprod(1)" in Path(imagination.__file__).read_text().splitlines()[line - 1]
    with pytest.raises(ValueError, match="apply to imagination.py: weights: there is no such function"):
        function_of(gone._replace(function="weights"))
    with pytest.raises(ValueError, match="matches 2 places"):
        patched("def f(x):\n    return g(x) + g(x)", gone._replace(find="g(x)", instead="x"))


PATCHES = [bug.patch for bug in BUGS] + [patch for change in ledger.CHANGES.values() for patch in change.patches]


def with_comments(source):
    """A comment behind every statement."""
    return edited(source, lambda token: "  # (B, T)" if token.type == tokenize.NEWLINE else "")


def rewrapped(source):
    """A line break behind every bracket that opens."""
    return edited(source, lambda token: "\n" if token.type == tokenize.OP and token.string in "([{" else "")


def edited(source, insert):
    """The source with the words that `insert` gives for a token, behind it, or before a line's end."""
    lines = source.splitlines(keepends=True)
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(source).readline))):
        row, column = token.start if token.type == tokenize.NEWLINE else token.end
        if words := insert(token):
            lines[row - 1] = lines[row - 1][:column] + words + lines[row - 1][column:]
    return "".join(lines)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.function)
@pytest.mark.parametrize("change", [with_comments, rewrapped, lambda source: ast.unparse(ast.parse(source))])
def test_a_patch_survives_comments_line_breaks_and_another_format(patch, change):
    source = textwrap.dedent(inspect.getsource(function_of(patch)))
    assert ast.dump(patched(change(source), patch)) == ast.dump(patched(source, patch)) != ast.dump(ast.parse(source))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.patch.function)
def test_each_bug_is_one_line_with_a_source_and_words(bug):
    assert "\n" not in bug.patch.find + bug.patch.instead and "#" in bug.seen and len(bug.words) > 60
    with planted(bug.patch):
        pass


# What the checks find


def test_recorded_verdicts_find_each_bug_in_four_of_five_seeds_and_leave_the_healthy_alone():
    """The measurements of all runs, made by `python assets/make.py verdicts`."""
    found = clinic.alarms()
    assert {len(runs) for runs in clinic.verdicts()["values"].values()} == {5}
    assert not any(found["0"].values()), found["0"]
    ranges, values = clinic.verdicts()["ranges"], clinic.verdicts()["values"]
    for number, (check, k) in FOUND_BY.items():
        low, high = ranges[check][k]
        outside = [not low <= run[check][k] <= high for run in values[str(number)].values()]
        assert sum(outside) >= 4, (number, outside)


def test_the_score_alone_finds_far_fewer():
    by_checks, by_score = clinic.found_by_checks(), clinic.found_by_score()
    assert sum(by_checks[:2]) == sum(by_score[:2]) == 5 * len(BUGS)
    assert by_checks[0] > 2 * by_score[0]


@pytest.mark.parametrize("letter", clinic.PATIENTS)
def test_each_patient_shows_its_symptom_now(letter):
    """Live, on the bundled runs: its check finds the bug; the healthy one is healthy in all ten."""
    number = clinic.PATIENTS[letter]
    if number:
        check, k = FOUND_BY[number]
        assert clinic.finding(letter, check).measures[k].healthy is False
    else:
        findings = {check: clinic.finding(letter, check) for check in checks.CHECKS}
        sick = {name: sentence(finding) for name, finding in findings.items() if not finding.healthy}
        assert not sick
        recorded = clinic.verdicts()["ranges"]  # measures that came later lie behind those that were recorded
        ranges = {
            name: [[m.low, m.high] for m in finding.measures][: len(recorded[name])]
            for name, finding in findings.items()
        }
        assert ranges == recorded, "measured with other ranges: python assets/make.py verdicts"


@pytest.mark.parametrize("letter", [*clinic.PATIENTS, clinic.TWIN])
def test_unmarked_ends_and_errors_of_promises_raise_no_alarm_in_any_patient(letter):
    """None of the ten bugs is about them."""
    for check, k in (("alignment", 3), ("returns", 1)):
        assert clinic.finding(letter, check).measures[k].healthy


@pytest.mark.parametrize("number", [4, 5, 6, 9, 10])
def test_checks_of_running_code_find_the_bug_in_any_agent_and_only_with_it(number):
    case, (check, k) = gather_evidence(bundled_agent()), FOUND_BY[number]
    assert run_check(case, check).healthy
    with planted(BUGS[number - 1].patch):
        assert run_check(case, check).measures[k].healthy is False


def test_a_fresh_agent_has_not_learned_and_is_told_so():
    torch.manual_seed(0)
    fresh = Dreamer(Config(), bundled_agent().spaces)
    found = {
        name: run_check(gather_evidence(fresh), name) for name in ("control", "surprise", "returns", "flow", "by_hand")
    }
    assert [found[name].healthy for name in found] == [False, False, False, True, True]


def test_diagnosing_changes_nothing():
    agent = bundled_agent()
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = diagnose(agent, checks=["curves", "overfit", "flow"])
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(value, before[name]) for name, value in agent.state_dict().items())
    again = diagnose(agent, checks=["curves", "flow"])
    assert [first[0].measures, first[2].measures] == [f.measures for f in again]


ODD = [
    "Pendulum-v1",
    "Blackjack-v1",
    "dreamer_lite.course.worlds:Catch-v0",
    "dreamer_lite.course.worlds:Dials-v0",
    "custom_envs:Mixed-v0",
]


@pytest.mark.parametrize("env", ODD)
def test_any_kind_of_agent_can_be_diagnosed(env):
    """A measure that an environment does not allow is left out, and nothing fails."""
    register()
    config = Config.preset("debug", env=env, depth=2)
    envs = make_envs(config)
    envs.close()
    findings = diagnose(Dreamer(config, envs.spaces))
    assert len(findings) == len(checks.CHECKS)
    assert not any("nan" in sentence(finding) for finding in findings)
    aligned, sure = findings[0].measures[0].healthy, findings[8].measures[1].healthy
    assert (aligned is None) == (
        env != "Pendulum-v1"
    )  # pictures, short games, or actions that move nothing that is seen
    assert (sure is None) == (env == "Pendulum-v1")  # torques have no largest entropy
    assert page(findings, "a test").count("<section") == len(checks.CHECKS)
    assert findings[2].healthy and findings[7].healthy  # causality, by hand


def test_an_answer_that_names_nobody_is_told_how_one_is_named():
    for empty in ({}, {"B": None}, {"A": clinic.PATIENTS["A"]}):
        assert exercises.judge_diagnoses(lambda: empty).startswith("It names no patient yet")


def test_the_same_wrong_name_counts_once():
    hunt = clinic.Clinic()
    letter = next(letter for letter in hunt.patients if clinic.PATIENTS[letter] != 0)
    for _ in range(3):
        hunt.name(letter, clinic.NAMES[0])
    assert "0 checks, 1 name tried" in hunt.score


def test_what_the_checks_found_is_said_positively_and_what_to_look_at_comes_first():
    def finding(title, *measured):
        return checks.Finding(title, "Well?", [*measured], Figure(), "Look there.")

    well, low = checks.Measure("share", 0.9, low=0.5), checks.Measure("ratio", 0.1, 0.5, 2)
    fine, sick, unknown = finding("Fine", well), finding("Sick", well, low), finding("Unknown")
    assert summary([fine] * 10) == "all 10 checks look healthy"
    assert summary([fine] * 8 + [sick, unknown]) == "8 of 10 checks look healthy, 1 does not, 1 could not be judged"
    assert sentence(sick) == "Sick: does not look healthy; ratio: 0.1 (healthy: 0.5 to 2)"
    assert sentence(fine) == "Fine: looks healthy; share: 0.9 (healthy: at least 0.5)"
    text = page([fine, sick, unknown], "a run")
    first = text[: text.index("<section")]
    assert "1 of 3 checks look healthy" in first and "#0" not in first and '<a href="#1">Sick</a>' in first
    assert "<li><b>ratio: 0.1 (healthy: 0.5 to 2): out of it</b></li>" in text and "<li>share" in text


def test_copies_that_disturb_each_other_are_not_made():
    """One environment then plays as many steps."""
    made = []

    def make():
        made.append(gymnasium.make("CartPole-v1"))
        return made[-1]

    agent = Dreamer(Config.preset("debug", eval_in="training"), CARTPOLE)
    evidence = gather_evidence(agent, make)
    assert len(made) == 2 and evidence.played.reward.shape == (1, 1600)  # the second is for the time limits
    assert gather_evidence(Dreamer(Config.preset("debug"), CARTPOLE), make).played.reward.shape == (8, 200)


def test_alignment_is_by_rows_and_tells_which():
    """Where each action moves the observation, the row's own action explains it, and a shifted one does not."""
    torch.manual_seed(0)
    action = torch.eye(2)[torch.randint(2, (200,))]
    obs = (action @ torch.tensor([[1.0], [-1.0]])).cumsum(0)
    is_first = torch.arange(200) % 50 == 0
    memory = Experience(obs, action, torch.ones(200), is_first, is_first.roll(-1), is_first.roll(-1))
    before, itself, after = measures.unexplained_by_row(memory)
    assert itself < 0.01 and before > 0.9 < after
    before, itself, after = measures.unexplained_by_row(memory._replace(action=action.roll(1, 0)))
    assert after < 0.01 and itself > 0.9
    assert all(map(math.isnan, measures.unexplained_by_row(memory.map(lambda part: part[:40]))))


def test_the_newest_rows_of_a_full_ring_come_in_order():
    replay = {name: torch.zeros(2, 5) for name in ("action", "is_first", "is_last", "is_terminal")}
    replay |= {
        "vector": torch.tensor([[[5.0], [6], [2], [3], [4]]] * 2),
        "reward": torch.tensor([[5.0, 6, 2, 3, 4]] * 2),
    }
    memory = recall({"data": replay, "added": 7})
    assert memory.reward.tolist() == [2, 3, 4, 5, 6] == memory.obs[:, 0].tolist()


def test_a_critic_is_judged_by_what_came_and_not_by_itself():
    """Doubled values are doubled promises, though a recording that stops lends the critic's own value to the rest."""
    case = gather_evidence(bundled_agent())
    usual = run_check(case, "returns").measures[0].value
    twice = Patch(
        critic,
        "Critic.value",
        "two_hot_mean(logits.detach(), self.bins)",
        "2 * two_hot_mean(logits.detach(), self.bins)",
    )
    with planted(twice):
        assert 1.4 * usual < run_check(case, "returns").measures[0].value


def test_what_moves_nothing_is_not_healthy():
    case = gather_evidence(bundled_agent())
    seen = case.agent.world_model.encoder.forward
    try:
        case.agent.world_model.encoder.forward = lambda obs: 0 * seen(obs)
        assert run_check(case, "causality").measures[2].healthy is False
    finally:
        del case.agent.world_model.encoder.forward


def test_a_range_tells_of_itself():
    assert checks.Measure("x", 1.0, 1, 1).healthy and checks.Measure("x", 1.0, 1, 1).range == "healthy: 1"
    assert (
        checks.Measure("x", 3.0, high=2).healthy is False
        and checks.Measure("x", 3.0, high=2).range == "healthy: at most 2"
    )
    assert (
        checks.Measure("x", math.nan, high=2).healthy is None
        and checks.Measure("x", 1, low=2).range == "healthy: at least 2"
    )


# A fault so bad that there is no number


class Stuck(gymnasium.Env):
    """Shows zeros and pays nothing, in episodes of so many steps, or in a single one."""

    observation_space, action_space = Box(-5, 5, (4,), np.float32), Discrete(2)

    def __init__(self, length=0):
        self.length = length

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(4, np.float32), 0.0, self.steps == self.length, False, {}


def promising(value, **settings):
    """A fresh agent whose critic gives every state this value."""
    torch.manual_seed(0)
    agent = Dreamer(Config.preset("debug", **settings), bundled_agent().spaces)
    head = agent.critic.net[-1]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(two_hot(torch.tensor(value), agent.critic.bins).clamp(min=1e-12).log())
    return agent


@pytest.mark.parametrize("length", [0, 10, 100])
@pytest.mark.parametrize("discount_horizon", [100, 333])
def test_a_promise_where_nothing_comes_is_not_healthy(length, discount_horizon):
    found = {
        value: diagnose(
            promising(value, discount_horizon=discount_horizon), partial(Stuck, length), checks=["returns"]
        )[0]
        for value in (50.0, 0.1, 0.0)
    }
    assert found[50.0].healthy is False and found[50.0].measures[1].value > 15
    assert found[0.1].healthy and found[0.0].healthy


def test_actions_that_no_row_explains_are_not_healthy_where_play_explains_them():
    case = gather_evidence(bundled_agent())
    action = torch.eye(2)[torch.randint(2, (len(case.replayed.action),))]
    shuffled = case._replace(replayed=case.replayed._replace(action=action))
    assert run_check(shuffled, "alignment").measures[0].value > 0.5
    still = case.played.map(lambda part: torch.zeros_like(part))
    assert math.isnan(measures.misplaced(still.map(lambda part: part[0]), still))


def test_ends_that_begin_nothing_are_not_healthy():
    case = clinic.case("D")
    unmarked = case.replayed._replace(is_first=torch.zeros_like(case.replayed.is_first))
    assert [round(m.value, 4) for m in run_check(case, "alignment").measures][1:] == [0, 0, 0]
    assert run_check(case._replace(replayed=unmarked), "alignment").measures[3].value == 1


def test_a_time_limit_that_ends_nothing_is_not_healthy():
    make = partial(gymnasium.make, "Pendulum-v1")
    assert cut_short(make).tolist() == [False] * 3
    endless = Patch(stepping, "Envs.step_one", "terminated or truncated", "terminated")
    with planted(endless):
        assert cut_short(make).tolist() == [True] * 3


LOST = "float('nan')"


@pytest.mark.parametrize(
    "check, k, patch",
    [
        (
            "curves",
            2,
            Patch(
                actor,
                "actor_loss",
                "advantages.detach() * log_probs + entropy_scale * entropies",
                "advantages.detach() * log_probs",
            ),
        ),
        ("flow", 1, Patch(world_model, "kl_losses", "kl(posterior.detach(), prior)", "kl(posterior, prior).detach()")),
        (
            "free_nats",
            0,
            Patch(world_model, "kl_losses", "kl(posterior.detach(), prior)", f"kl(posterior, prior) * {LOST}"),
        ),
        ("by_hand", 0, Patch(imagination, "step_weights", "continues.cumprod(1)", f"continues.cumprod(1) * {LOST}")),
        ("by_hand", 1, Patch(critic, "lambda_return", "continues * lam", f"continues * lam * {LOST}")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_missing_gradient_or_number_is_not_healthy(check, k, patch):
    case = gather_evidence(bundled_agent())
    with planted(patch):
        assert run_check(case, check).measures[k].healthy is False


def test_losses_that_diverge_are_not_healthy():
    losses = dict.fromkeys(("reconstruction", "reward", "continue", "dyn"), [1.0, 0.5, math.nan])
    assert measures.remaining(losses["reconstruction"]) == math.inf
    pixels(drawing.draw_overfit(losses, 0.2))
    assert measures.remaining([4.0, 2.0, 1.0], last=2) == 1.5 / 4 and math.isnan(measures.remaining([0.0, 0.0]))
    assert measures.ratio(1.0, 0.0) == math.inf and math.isnan(measures.ratio(0.0, 0.0))


def test_weights_that_are_not_finite_are_refused():
    agent = copy.deepcopy(bundled_agent())
    with torch.no_grad():
        agent.actor.heads[0].bias[0] = math.nan
    with pytest.raises(Refused, match="its weights are not finite, first in actor.heads.0.bias"):
        diagnose(agent)


# The numbers themselves


def test_the_unexplained_share_is_that_of_each_column():
    torch.manual_seed(0)
    x, noise = torch.randn(5000, 2), torch.randn(5000)
    y = torch.stack([3 + x @ torch.tensor([1.0, -2.0]), noise, x[:, 0] + noise], 1)
    assert torch.allclose(measures.unexplained(x, y), torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64), atol=0.05)


def test_the_causality_triangle_has_inputs_in_rows_and_outputs_in_columns():
    later = measures.causality_triangle(lambda x: x[0].cumsum(0), torch.zeros(1, 4, 1), torch.ones(1, 4, 1))
    assert torch.equal(later, torch.ones(4, 4).triu())


def test_every_parameter_that_learns_belongs_to_one_part():
    agent = Dreamer(Config.preset("debug"), bundled_agent().spaces)
    loss = sum((p * p).sum() for p in agent.parameters() if p.requires_grad)
    norms = measures.gradient_norms(agent, {"all": loss, "none": torch.zeros(3)})
    whole = math.sqrt(sum(4 * p.square().sum().item() for p in agent.parameters() if p.requires_grad))
    assert math.hypot(*norms["all"].values()) == pytest.approx(whole, rel=1e-5)
    assert set(norms["all"]) == set(measures.PARTS) == set(PLACES) and not any(norms["none"].values())


def test_measures_draw_nothing():
    assert "matplotlib" not in Path(measures.__file__).read_text()


# The command


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "mine"
    train(Config.preset("debug", steps=300, learn_start=40), out, progress=False)
    return out


def test_diagnose_writes_a_page_and_says_what_it_found(short_run, capsys):
    assert main(["diagnose", str(short_run)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert (
        len(out) == len(checks.CHECKS) + 1
        and "of 10 checks" in out[-1]
        or "all 10 checks" in out[-1]
        and "diagnosis.html" in out[-1]
    )
    assert any("does not look healthy; " in line and "(healthy: " in line for line in out)
    html = (short_run / "diagnosis.html").read_text()
    assert html.count("<img alt=") == 10 and "Where to look" in html and "http" not in html.replace("<!doctype", "")


@pytest.mark.parametrize(
    "words, told",
    [
        (["diagnose", "nowhere"], "there is no checkpoint at nowhere"),
        (["diagnose", "RUN", "--env", "Pendulum-v1"], "give one with the same spaces"),
        (["diagnose", "RUN", "--env", "Nothing-v0"], "Nothing"),
        (["diagnose", "RUN", "--out", "/proc/nothing/page.html"], "cannot be written"),
        (["diagnose", "RUN", "--out", "."], "--out needs the name of a file, got an empty name or the current folder"),
    ],
)
def test_diagnose_refuses_in_one_line(short_run, capsys, words, told):
    assert main([str(short_run) if word == "RUN" else word for word in words]) == 2
    err = capsys.readouterr().err
    assert told in err and err.count("\n") == 1


def test_a_run_that_was_stopped_at_once_can_be_diagnosed(tmp_path, capsys):
    train(Config.preset("debug", steps=4, eval_every=0), tmp_path / "run", progress=False, until="steps")
    assert main(["diagnose", str(tmp_path / "run")]) == 0 and "10 checks look healthy" in capsys.readouterr().out


def test_an_unknown_check_is_refused():
    with pytest.raises(Refused, match="no check called 'xray'; choose from alignment"):
        diagnose(bundled_agent(), checks=["xray"])
    with pytest.raises(Refused, match="env: an agent plays the environment in its settings.*make_env"):
        diagnose(bundled_agent(), env="Acrobot-v1")


def test_a_function_may_make_the_environment(short_run):
    class Own(gymnasium.Env):
        observation_space, action_space = Box(-5, 5, (4,), np.float32), Discrete(2)

        def reset(self, *, seed=None, options=None):
            return np.zeros(4, np.float32), {}

        def step(self, action):
            return np.ones(4, np.float32), 1.0, False, False, {}

    assert diagnose(load(short_run), Own, checks=["returns"])[0].title == "Real against promised return"


def test_half_precision_is_read_as_it_was_written(tmp_path, short_run):
    save(tmp_path / "half.pt", load(short_run).half())
    agent = load(tmp_path / "half.pt")
    assert next(agent.parameters()).dtype == torch.float32
    assert all(
        torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(agent.parameters(), load(short_run).parameters())
    )


# The clinic


def test_the_score_counts_checks_and_tries_but_not_the_chart():
    room = clinic.Clinic("AB")
    room.draw("A", "chart", clinic.NAMES[0], 0)
    assert room.score == "Score: 0 of 2 named; 0 checks, 0 names tried."
    room.draw("A", "alignment", clinic.NAMES[0], 0)
    room.draw("A", "alignment", clinic.NAMES[0], 0)  # used already
    _, words = room.draw("A", "alignment", clinic.NAMES[2], 1)
    assert "Not that one" in words and "loop.py" not in words
    _, words = room.draw("A", "alignment", clinic.NAMES[1], 2)
    assert "Right. training/state.py: Training.collect" in words and BUGS[0].patch.instead in words
    assert room.score == "Score: 1 of 2 named (A); 1 check, 2 names tried."
    assert "A is already named. training/state.py" in room.draw("A", "returns", clinic.NAMES[1], 3)[1]
    assert room.score == "Score: 1 of 2 named (A); 1 check, 2 names tried."
    assert "Not that one" not in room.draw("B", "chart", clinic.NAMES[1], 3)[1]  # no new click


def test_the_verdict_is_shown_only_once_a_patient_is_named():
    room = clinic.Clinic("F")
    _, words = room.draw("F", "alignment", clinic.NAMES[2], 0)
    assert "not stored as cut off: 1" in words and "healthy" not in words
    assert "healthy" not in room.draw("F", "alignment", clinic.NAMES[2], 1)[1].splitlines()[0]
    assert "does not look healthy" in room.draw("F", "alignment", clinic.NAMES[3], 2)[1].splitlines()[0]


def test_checks_on_the_twin_are_free_and_it_is_not_named():
    room = clinic.Clinic("AB")
    figure, words = room.draw(clinic.TWIN, "curves", clinic.NAMES[0], 0)
    assert "The healthy twin. Entropy and scale: looks healthy" in words and "patient" not in figure.get_suptitle()
    assert "Choose a patient" in room.draw(clinic.TWIN, "chart", clinic.NAMES[0], 1)[1]
    assert room.score == "Score: 0 of 2 named; 0 checks, 0 names tried."


def test_another_patient_costs_no_check():
    explorer = clinic.clinic("AB")
    explorer.controls["check"].value = "alignment"
    explorer.controls["patient"].value = "B"
    assert explorer.controls["check"].value == "chart"
    room = explorer.draw.__self__
    assert room.used == {"A": {"alignment"}, "B": set()}


def test_a_suspicion_belongs_to_one_patient_and_to_name_one_must_have_one():
    explorer = clinic.clinic("AB")
    explorer.controls["suspect"].value = clinic.NAMES[2]
    explorer.controls["patient"].value = "B"
    assert explorer.controls["suspect"].value == ""
    explorer.controls["name"].click()
    assert "Choose a bug first." in explorer.text and "0 names tried" in explorer.text


@pytest.mark.parametrize("number", range(len(clinic.NAMES)))
def test_a_wrong_name_is_answered_by_what_it_would_show_not_by_what_is_right(number):
    """The words are the same for all patients that have something else."""
    told = {
        exercises.judge_diagnoses(lambda: {letter: number}).replace(f" for {letter}.", "")
        for letter in clinic.HUNTED
        if clinic.PATIENTS[letter] != number
    }
    assert len(told) == 1 and told.pop().startswith(f"Not {number} ")


def test_absent_records_are_told(monkeypatch, tmp_path):
    clinic.verdicts.cache_clear()
    monkeypatch.setattr(clinic, "ASSETS", tmp_path)
    with pytest.raises(Refused, match="inside a clone"):
        clinic.verdicts()


# The ledger


def weights_after_a_few_steps(folder, settings=None, patches=()):
    """With what the ledger's changes are about made large, so that they show at once."""
    base = dict(
        steps=64, learn_start=32, eval_every=0, train_ratio=4, warmup=0, free_nats=0.1, slow_rate=0.5, return_limit=1e-7
    )
    with planted(*patches):
        train(Config.preset("debug", **(base | (settings or {}))), folder, progress=False, until="steps")
    return torch.cat([p.flatten() for p in load(folder).parameters()])


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    return weights_after_a_few_steps(tmp_path_factory.mktemp("unchanged"))


@pytest.mark.parametrize("name", [name for name in ledger.CHANGES if name != "nothing"])
def test_each_change_of_the_ledger_applies_and_changes_what_is_learned(name, unchanged, tmp_path):
    """With the same dice, a few train steps end with other weights."""
    change = ledger.CHANGES[name]
    quick = {"train_ratio": 2, "horizon": 4}  # the debug preset dreams three steps, and has a batch of 16
    settings = change.settings | {key: value for key, value in quick.items() if key in change.settings}
    assert not torch.equal(weights_after_a_few_steps(tmp_path / "run", settings, change.patches), unchanged)


def test_without_a_change_the_weights_are_the_same(unchanged, tmp_path):
    assert torch.equal(weights_after_a_few_steps(tmp_path / "run"), unchanged)


def test_a_line_of_the_ledger_is_counted_from_its_evaluations():
    runs = {
        ("CartPole", "nothing", 0): [(250, 100.0, ""), (500, 480.0, ""), (750, 300.0, ""), (1000, 500.0, "")],
        ("CartPole", "nothing", 1): [(250, 100.0, ""), (310, math.nan, "diverged")],
        ("CartPole", "nothing", 4): [(1000, 480.0, ""), (1250, 420.0, "")],
    }
    found = ledger.line("CartPole", "nothing", runs)
    assert (
        found.solved == [500, math.inf, 1000]
        and found.worst == 300
        and found.means == pytest.approx([500, math.nan, 450], nan_ok=True)
        and found.diverged == 1
    )
    assert ledger.words("CartPole", found) == "500, –, 1,000; worst later 300; mean 450 to 500; 1 diverged"
    assert ledger.words("CartPole", ledger.Line([math.inf], math.nan, [22_898.0], 0)) == "–; mean 22,898"
    assert ledger.line("CartPole", "horizon 5", runs) is None and ledger.words("CartPole", None) == "not run"


def test_runs_below_all_unchanged_ones_are_counted_over_the_tasks():
    def run(mean):
        return [(1000, mean, "")]

    runs = {(task, "nothing", seed): run(400.0 + seed) for task in ("CartPole", "Pendulum") for seed in range(5)}
    runs |= {("CartPole", "horizon 5", 0): run(399.0), ("CartPole", "horizon 5", 1): run(400.0)}
    runs |= {("Pendulum", "horizon 5", 0): run(500.0), ("Pendulum", "horizon 5", 1): [(-1, math.nan, "diverged")]}
    runs |= {("CartPole, rewards × 100", "horizon 5", 0): run(1.0)}  # nothing to compare with
    assert ledger.below("horizon 5", runs) == (2, 4) and ledger.below("nothing", runs) == (0, 10)


def test_the_page_of_ablations_counts_what_the_ledger_has():
    """And nothing is missing there."""
    runs, page = ledger.recorded(), (ASSETS.parent / "docs" / "ablations.md").read_text()
    page = " ".join(page.split())
    assert set(runs) == {key for task in ledger.TASKS for key in ledger.planned(task)}
    told = {
        "Needed everywhere": "no straight-through gradient",
        "Enough train steps": "replay ratio 256",
        "Stored latents, against zeros": "zeros for stored latents",
        "Heads that see h": "heads see z only",
        "Looking ahead": "horizon 5",
        "Symlog of observations": "no symlog of what is seen",
    }
    for words, change in told.items():
        assert "- **{}, {} of {}:**".format(words, *ledger.below(change, runs)) in page, words
    rest = [
        ledger.below(name, runs)
        for name in ledger.CHANGES
        if name not in {"nothing", "replay ratio 512", *told.values()}
    ]
    assert "the other thirteen" in page and len(rest) == 13
    assert "Of their {1} runs {0} lie below".format(*map(sum, zip(*rest))) in page
    asides = {
        "With half of them it is {}.": "replay ratio 512",
        "With h alone it is {} of 12.": "heads see h only",
        "With a horizon of 30 it is {} of 12.": "horizon 30",
        "the return scale could nearly go, {} of 12.": "no return scale",
        "these tasks need no bonus either ({} of 12).": "no entropy bonus",
    }
    for words, change in asides.items():
        assert words.format(ledger.below(change, runs)[0]) in page, words
    notebook = (ASSETS.parent / "notebooks" / "A1_break_it.ipynb").read_text()
    three = ("no straight-through gradient", "replay ratio 256", "squared error of symlog, no two-hot")
    all_of_them, most, few = (ledger.below(change, runs)[0] for change in three)
    assert f"Without the straight-through gradient it is all {all_of_them}. " in notebook
    words = f"With a quarter of the train steps, {most}. With a squared error in place of two-hot, it is {few}, as"
    assert words in notebook


def test_a_run_of_the_ledger_that_was_stopped_is_not_recorded(monkeypatch, capsys):
    monkeypatch.setattr(ledger, "train", lambda *_, **__: {"finished": False})
    with pytest.raises(SystemExit, match="not recorded"):
        ledger.run_one("CartPole", "nothing", 0)
    assert not capsys.readouterr().out


def test_the_ledger_takes_all_tasks_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "FOLDER", tmp_path)
    monkeypatch.setattr(ledger, "TASKS", {name: ledger.TASKS[name] for name in ("CartPole", "Pendulum")})
    monkeypatch.setattr(ledger, "CHANGES", {name: ledger.CHANGES[name] for name in ("nothing", "horizon 5")})
    asked = []
    failed = type("Result", (), {"returncode": 1, "stdout": "", "stderr": ""})
    monkeypatch.setattr(ledger.subprocess, "run", lambda words, **_: asked.append(tuple(words[3:])) or failed)
    ledger.work(cores=1)
    assert asked[:3] == [("CartPole", "nothing", "0"), ("Pendulum", "nothing", "0"), ("CartPole", "nothing", "1")]
    assert asked[10:12] == [("CartPole", "horizon 5", "0"), ("Pendulum", "horizon 5", "0")] and len(asked) == 2 * 8


def test_the_ledger_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "FOLDER", tmp_path)
    monkeypatch.setattr(ledger, "SEEDS", range(1))
    monkeypatch.setattr(ledger, "UNCHANGED_SEEDS", range(1))
    monkeypatch.setattr(ledger, "TASKS", {"CartPole": ledger.TASKS["CartPole"]})
    asked = []

    def run(words, **_):
        asked.append(words[3:])
        text = "a warning\n" + f"{words[3]},{words[4]},{words[5]},1000,30.5,\n"
        return type("Result", (), {"returncode": int(words[4] == "horizon 30"), "stdout": text, "stderr": "it failed"})

    monkeypatch.setattr(ledger.subprocess, "run", run)
    monkeypatch.setattr(
        ledger, "CHANGES", {name: ledger.CHANGES[name] for name in ("nothing", "horizon 5", "horizon 30")}
    )
    ledger.work(cores=1)
    assert len(asked) == 3 and set(ledger.recorded()) == {("CartPole", "nothing", 0), ("CartPole", "horizon 5", 0)}
    asked.clear()
    ledger.work(cores=1)
    assert asked == [["CartPole", "horizon 30", "0"]]  # it failed, so it is tried again
    ledger.summarise()
    text = (tmp_path / "README.md").read_text()
    assert (
        "2 of 3 runs are done" in text
        and "| horizon 30 | 0 of 0 | not run |" in text
        and (tmp_path / "ledger.png").stat().st_size > 5000
    )


def test_what_was_recorded_is_named_in_the_ledger():
    with (ASSETS / "ledger" / "runs.csv").open() as rows:
        for row in csv.DictReader(rows):
            assert row["task"] in ledger.TASKS and (row["task"], row["change"], int(row["seed"])) in ledger.planned(
                row["task"]
            )


def test_diagnose_says_what_it_cannot_work_with():
    agent = Dreamer(Config.preset("debug"), CARTPOLE)
    with pytest.raises(Refused, match="diagnose knows nothing called device; it takes env, wrap and env_args"):
        diagnose(agent, device="cpu")
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(Refused, match="PyTorch's default type is torch.float64 here"):
            diagnose(agent)
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_newest_rows_of_a_large_replay_buffer_are_examined():
    from dreamer_lite.diagnostics.diagnose import MOST, recall

    ring = {name: torch.zeros(1, MOST + 50) for name in ("vector", "action", "is_first", "is_last", "is_terminal")}
    ring["reward"] = torch.arange(MOST + 50.0)[None]
    rewards = recall({"data": ring, "added": MOST + 50}).reward
    assert len(rewards) == MOST and rewards[0] == 50 and rewards[-1] == MOST + 49


def test_a_time_limit_hands_over_to_the_critic_and_windows_stay_within_an_episode():
    rewards, values = torch.tensor([[0.0, 1, 2, 0, 100]]), torch.full((1, 5), 10.0)
    last, never = torch.tensor([[False, False, True, False, False]]), torch.zeros(1, 5, dtype=torch.bool)
    assert measures.real_returns(rewards, values, last, never, 0.5).tolist() == [[4.5, 7, 0, 105]]
    assert measures.real_returns(rewards, values, last, last, 0.5).tolist() == [[2, 2, 0, 105]]
    for begins, found in ((7, 0), (8, 1)):  # the window that starts at step 4 reaches to step 7
        is_first = torch.arange(12)[None] == begins
        assert len(measures.windows(is_first, 3)[0]) == found
