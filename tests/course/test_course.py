"""The checkers: every known mistake is named, every right way of writing is accepted, wild code is told and not
thrown."""

import functools
import random
import re
import sys
import time

import numpy as np
import pytest
import right_answers
from right_answers import goes_on, kl, symexp, symlog, two_hot_loss
import torch
import torch.nn.functional as F
from unusual_answers import RIGHT, WRONG

from dreamer_lite.agent import Carry
from dreamer_lite.course import check, hint, keep, kept, progress, self_check, setup, solution
from dreamer_lite.course.agent_map import LIT, agent_map, alt, boxes
from dreamer_lite.course.errors import raised, usual_cause
from dreamer_lite.course.exercise import Complaint, Exercise, Mistake
from dreamer_lite.course.index import EXERCISES, NOTEBOOKS
from dreamer_lite.course.judge import is_blank, judge, unused
from dreamer_lite.course.progress import Standing, following, standing, where
from dreamer_lite.course.relations import relation
from dreamer_lite.imagination import Dream
from dreamer_lite.rssm import State
from dreamer_lite.symlog import symlog as finished_symlog
from dreamer_lite.two_hot import two_hot_mean as finished_mean

MISTAKES = [(name, k) for name, exercise in EXERCISES.items() for k in range(len(exercise.mistakes))]


@pytest.mark.parametrize("name", EXERCISES)
def test_the_finished_version_is_right(name):
    for _ in range(3):
        verdict = judge(EXERCISES[name], EXERCISES[name].finished)
        assert verdict.state == "right", verdict


@pytest.mark.parametrize("name, k", MISTAKES)
def test_each_mistake_is_named_in_its_own_words(name, k):
    mistake = EXERCISES[name].mistakes[k]
    verdict = judge(EXERCISES[name], mistake.wrong)
    assert verdict.state == "not yet"
    assert mistake.words in verdict.words[0], verdict


@pytest.mark.parametrize("name", EXERCISES)
def test_mistakes_are_wrong_answers_and_not_just_broken_code(name):
    """A mistake that raises everywhere is known by its error alone, which no other mistake of the exercise may
    share."""
    exercise = EXERCISES[name]
    if exercise.judge:
        return
    cases = exercise.cases()
    only_errors = [
        mistake for mistake in exercise.mistakes if not any(came_back(exercise, mistake, case) for case in cases)
    ]
    errors = {mistake.words: error_in(exercise, mistake, cases[0]) for mistake in exercise.mistakes}
    for mistake in only_errors:
        assert list(errors.values()).count(errors[mistake.words]) == 1, mistake.words


def error_in(exercise, mistake, case):
    try:
        exercise.run(mistake.wrong, case)
    except Exception as error:
        return str(error)


def came_back(exercise, mistake, case):
    """Whether a mistake has a result for a case, or a complaint in just its words."""
    try:
        return exercise.run(mistake.wrong, case) is not None
    except Complaint as complaint:
        return str(complaint) == mistake.words
    except Exception:
        return False


def test_there_are_five_mistakes_per_exercise_and_each_has_its_own_words():
    assert len(MISTAKES) >= 5 * len(EXERCISES)
    for exercise in EXERCISES.values():
        assert len({m.words for m in exercise.mistakes}) == len(exercise.mistakes) and len(exercise.hints) == 3


@pytest.mark.parametrize("name", EXERCISES)
def test_another_right_way_of_writing_is_accepted(name):
    verdict = judge(EXERCISES[name], getattr(right_answers, name))
    assert verdict.state == "right", verdict


@pytest.mark.parametrize("name, version", RIGHT)
def test_what_is_right_in_an_unusual_way_is_accepted(name, version):
    verdict = judge(EXERCISES[name], version)
    assert verdict.state == "right", verdict


@pytest.mark.parametrize("name, version, words", WRONG)
def test_what_is_wrong_in_an_unusual_way_is_told(name, version, words):
    verdict = judge(EXERCISES[name], version)
    assert verdict.state == "not yet" and words in " ".join(verdict.words), verdict
    assert torch.is_grad_enabled() and not any("KeyError" in text for text in verdict.words)


def test_what_the_check_computes_itself_does_not_count_as_the_readers_time(monkeypatch):
    """The first wrong answer to an exercise makes it try every known mistake."""
    monkeypatch.setattr("dreamer_lite.course.judge.SECONDS", 0.3)

    def slow(x):
        deadline = time.thread_time() + 0.6
        while time.thread_time() < deadline:
            pass
        return 3 * x

    exercise = Exercise("twice", lambda x: 2 * x, lambda: [(torch.ones(3),)], (Mistake(slow, "three"),), ("", "", ""))
    assert judge(exercise, lambda x: x + x + x).words[0] == "three"


def test_the_hints_end_where_the_answer_is():
    """The third hint of a one-line exercise is code that passes."""
    for name, exercise in EXERCISES.items():
        lines = [part for part in exercise.hints[2].split("`") if part.startswith("return ")]
        if len(lines) == 1 and exercise.hints[2] == f"`{lines[0]}`":
            names = {
                **vars(sys.modules[exercise.finished.__module__]),
                **{n: e.finished for n, e in EXERCISES.items()},
                "F": F,
                "torch": torch,
            }
            import inspect

            arguments = [exercise.itself if a == "self" else a for a in inspect.signature(exercise.finished).parameters]
            defaults = {
                "mix": "mix=0.01",
                "count": "count=255",
                "limit": "limit=20.0",
                "lam": "lam=0.95",
                "discount_horizon": "discount_horizon=333",
                "entropy_scale": "entropy_scale=3e-4",
                "free_nats": "free_nats=1.0",
            }
            exec(f"def {name}({', '.join(defaults.get(a, a) for a in arguments)}):\n    {lines[0]}", names)
            assert judge(exercise, names[name]).state == "right", name


def never_ends(x):
    while True:
        pass


def never_ends_and_swallows(x):
    while True:
        try:
            x = x + 1
        except Exception:
            pass


def calls_itself(x):
    return calls_itself(x)


def leaves(x):
    sys.exit(3)


def tampers(x):
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    x.fill_(7)
    return x


WILD = {
    "numpy": (lambda x: x.detach().numpy(), "a tensor is expected"),
    "nothing": (lambda x: print("looking at", x.shape), "returns None"),
    "text": (lambda x: "symlog", "a tensor is expected"),
    "nan": (lambda x: x * float("nan"), "nan"),
    "error": (lambda x: x @ x @ 5, "raised"),
    "too many arguments": (lambda x, y: x, "TypeError"),
    "no arguments": (lambda: 0, "TypeError"),
    "unknown name": (lambda x: simlog(x), "NameError"),  # noqa: F821
    "itself": (calls_itself, "without end"),
    "exit": (leaves, "SystemExit"),
    "detached": (lambda x: finished_symlog(x).detach(), "o gradient"),
    "shape": (lambda x: finished_symlog(x)[..., :1], "shape"),
    "huge": (lambda x: torch.zeros(10**15), "raised"),
    "tampers": (tampers, "raised"),
}


@pytest.mark.parametrize("kind", WILD)
def test_wild_code_is_told_and_not_thrown(kind):
    wild, words = WILD[kind]
    verdict = judge(EXERCISES["symlog"], wild)
    assert verdict.state == "not yet" and words in " ".join(verdict.words), verdict


def test_numbers_of_numpy_are_numbers():
    def lets_go(real, dreamed, tolerance):
        late = np.flatnonzero(np.abs(real.numpy() - dreamed.numpy()).mean(-1) > tolerance)
        return late[0] if len(late) else np.int64(len(real))

    def wrong(real, dreamed, tolerance):
        return lets_go(real, dreamed, tolerance) + 1

    assert judge(EXERCISES["lets_go"], lets_go).state == "right"
    assert judge(EXERCISES["lets_go"], wrong).state == "not yet"


@pytest.mark.parametrize("endless", [never_ends, never_ends_and_swallows])
def test_endless_code_is_stopped(endless, monkeypatch):
    monkeypatch.setattr("dreamer_lite.course.judge.SECONDS", 0.5)
    assert "never ends" in judge(EXERCISES["symlog"], endless).words[0]


def test_endless_code_is_stopped_on_other_threads_too(monkeypatch):
    import threading

    monkeypatch.setattr("dreamer_lite.course.judge.SECONDS", 0.5)
    found = []
    thread = threading.Thread(target=lambda: found.append(judge(EXERCISES["symlog"], never_ends)))
    thread.start()
    thread.join(20)
    assert found and "never ends" in found[0].words[0]


# what only selects, counts or plans: nothing is trained through its result
NO_GRADIENT = (
    "lean sizes lets_go previous_action goes_on cut expose two_hot_bins two_hot continue_target dream_along imagine "
    "step_weights lambda_return dream_returns fit update advantages act steps_due solved_at action_pairs "
    "real_returns diagnoses tally mended to_network layer_cost to_bounds reset step causes"
).split()


@pytest.mark.parametrize("name", [name for name in EXERCISES if name not in NO_GRADIENT])
def test_what_is_trained_through_must_carry_a_gradient(name):
    def detached(*case):
        return map_tensors(torch.Tensor.detach, EXERCISES[name].finished(*case))

    verdict = judge(EXERCISES[name], detached)
    assert verdict.state == "not yet", verdict
    assert re.search("[Gg]radient|detached|learn|teaches", verdict.words[0]), verdict


def map_tensors(f, value):
    if isinstance(value, torch.Tensor):
        return f(value)
    if isinstance(value, dict):
        return {key: map_tensors(f, part) for key, part in value.items()}
    if isinstance(value, tuple):
        parts = [map_tensors(f, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def test_a_check_counts_the_time_that_the_code_computes(monkeypatch):
    """On a busy machine an answer may take long by the clock; one that only waits is stopped, too."""
    monkeypatch.setattr("dreamer_lite.course.judge.SECONDS", 1.0)

    def waits(x):  # five times in all
        time.sleep(0.3)
        return EXERCISES["symlog"].finished(x)

    assert judge(EXERCISES["symlog"], waits).state == "right"
    monkeypatch.setattr("dreamer_lite.course.sandbox.WAITING", 0.3)
    assert "never ends" in judge(EXERCISES["symlog"], waits).words[0]


def test_a_check_leaves_random_states_and_modes_as_they_were():
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = torch.rand(3).tolist(), np.random.rand(), random.random()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    judge(EXERCISES["symlog"], tampers)
    assert (torch.rand(3).tolist(), np.random.rand(), random.random()) == expected
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


def test_what_a_try_spoils_the_next_one_does_not_find():
    """A module is not copied for each try; and a reader may change PyTorch's default type between two."""
    exercise = EXERCISES["observe"]

    def spoils(rssm, *case):
        for parameter in rssm.parameters():
            parameter.data.zero_()
        return exercise.finished(rssm, *case)

    assert judge(exercise, spoils).state == "not yet"
    torch.set_default_dtype(torch.float64)
    try:
        assert judge(exercise, exercise.finished).state == "right"
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "tamper", [lambda: torch.set_grad_enabled(False), lambda: torch.set_default_dtype(torch.float64)]
)
def test_what_is_kept_of_a_mistake_is_not_what_a_reader_left_behind(tamper):
    def three(x):
        return 3 * x

    def probe(version, x):
        x = x.requires_grad_()
        result = version(x)
        return {
            "the slope": torch.autograd.grad(result.sum(), x)[0] if result.requires_grad else 0 * x,
            "of": torch.ones(()).dtype,
        }

    exercise = Exercise(
        "twice", lambda x: 2 * x, lambda: [(torch.rand(3),)], (Mistake(three, "three"),), ("", "", ""), probe=probe
    )
    assert judge(exercise, lambda x: (tamper(), 4 * x)[1]).state == "not yet"
    assert judge(exercise, lambda x: x + x + x).words[0] == "three"


def test_interrupted_while_the_answer_is_found():
    def interrupted(x):
        raise KeyboardInterrupt

    exercise = Exercise("twice", interrupted, lambda: [(torch.rand(3),)], (), ("", "", ""))
    assert "interrupted" in judge(exercise, lambda x: 2 * x).words[0]


def test_known_mistakes_are_tried_once_and_not_at_every_try():
    tried = []
    wrong = Mistake(lambda x: (tried.append(1), 3 * x)[1], "three")
    exercise = Exercise("twice", lambda x: 2 * x, lambda: [(torch.ones(3),), (torch.rand(2),)], (wrong,), ("", "", ""))
    for _ in range(3):
        assert judge(exercise, lambda x: x + x + x).words[0] == "three"
        assert len(tried) == 2  # once for each case


def test_the_clock_of_a_check_does_not_run_while_the_answer_is_found(monkeypatch):
    """The first call of an optimizer, for one, loads a part of PyTorch that takes seconds."""
    monkeypatch.setattr("dreamer_lite.course.judge.SECONDS", 0.3)

    def slow_at_first(x, begun=[]):  # noqa: B006
        time.sleep(0 if begun else 0.6)
        begun.append(1)
        return 2 * x

    exercise = Exercise("twice", slow_at_first, lambda: [(torch.ones(3),)], (), ("", "", ""))
    assert judge(exercise, lambda x: 2 * x).state == "right"


def test_swapped_axes_are_told_in_letters():
    exercise = Exercise("twice", lambda x: 2 * x, lambda: [(torch.ones(3, 5),)], (), ("", "", ""), letters="BT")
    verdict = judge(exercise, lambda x: 2 * x.T)
    assert (
        "axes 0 and 1 are swapped" in verdict.words[0]
        and "yours is (T, B), expected (B, T), axes swapped" in verdict.words[1]
    )


def test_the_first_wrong_value_is_shown_with_both_versions():
    verdict = judge(EXERCISES["symlog"], lambda x: finished_symlog(x) * 1.5)
    assert "1.5 times the right one everywhere" in verdict.words[0]
    assert (
        "yours is" in verdict.words[1]
        and "expected" in verdict.words[1]
        and "The input was x = [0, 1.718" in verdict.words[1]
    )


def blank_with_words(x):
    """Only a docstring."""


def half_done(x):
    y = x.abs()
    ...
    return y


def constant(x):
    return 0


def test_blank_is_seen():
    assert is_blank(blank_with_words) and is_blank(half_done) and is_blank(lambda x: None) and not is_blank(constant)


def test_a_check_run_twice_does_not_take_the_finished_version_for_an_answer(capsys):
    """The first call gives the name to the finished version, where the answer is blank or wrong."""

    def symlog(x):
        return x

    symlog = check(symlog)
    capsys.readouterr()
    assert check(symlog) is symlog is finished_symlog
    said = capsys.readouterr().out
    assert "symlog: not checked" in said and "not yours" in said and not standing().right
    assert check("symlog") == "symlog" and "without quotes: check(symlog)" in capsys.readouterr().out


def test_check_hands_back_a_version_that_works(capsys):
    blank = lambda x: ...
    blank.__name__ = "symlog"
    assert check(blank) is finished_symlog
    assert "symlog: blank" in capsys.readouterr().out
    assert check(symlog) is symlog
    assert "symlog: right" in capsys.readouterr().out
    assert check(lambda x: x, "symlog") is finished_symlog
    assert "symlog: not yet" in capsys.readouterr().out
    for odd in (None, 5, torch.zeros(3), symlog(torch.ones(1))):
        check(odd)
        assert "no such exercise" in capsys.readouterr().out
    assert check(5, "symlog") is finished_symlog
    assert "needs the function itself" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, inside", [("symlog", True), ("project", True), ("picture_loss", False), ("step", False)]
)
def test_a_right_answer_is_said_to_run_in_the_package_only_if_it_does(name, inside, capsys):
    finished = EXERCISES[name].finished
    check(lambda *args, **kwargs: finished(*args, **kwargs), name)
    out = capsys.readouterr().out
    assert "The cells below use your version" in out and ("and so does the package" in out) == inside


def test_hints_go_deeper_and_solution_shows_the_source(capsys, monkeypatch):
    monkeypatch.setattr("dreamer_lite.course.notebook.shown", {})
    for level in (1, 2, 3, 3):
        hint("symexp")
        assert f"hint {level} of 3" in capsys.readouterr().out
    hint("symexpp")
    assert "no such exercise" in capsys.readouterr().out
    solution("symexp")
    out = capsys.readouterr().out
    assert "dreamer_lite/symlog.py" in out and "torch.expm1" in out
    setup("02", seed=3)
    assert "seed 3" in capsys.readouterr().out


def test_self_check_names_what_is_missing_and_the_command_that_installs_it(capsys, monkeypatch):
    for module, package in (("pygame", "pygame"), ("cv2", "opencv-python-headless")):
        assert self_check() and f"✓ {package}" in capsys.readouterr().out
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)  # importing it fails
            assert not self_check()
        out = capsys.readouterr().out
        assert "something is missing" in out and f"✗ {package} is not installed" in out
        assert f"run this in a cell: %pip install {package}" in out


def test_keep_saves_checks_again_and_refuses_what_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DREAMER_HOME", str(tmp_path))
    keep(EXERCISES["symlog"].finished)
    assert "nothing to keep" in capsys.readouterr().out and not (tmp_path / "my_parts").exists()
    keep(goes_on)
    assert "not part of the agent" in capsys.readouterr().out
    wrong = lambda x: x
    wrong.__name__ = "symlog"
    keep(wrong)
    assert "not kept" in capsys.readouterr().out
    keep(symlog)
    assert "symlog: kept" in capsys.readouterr().out
    version, problem = kept("symlog")
    assert problem is None and torch.equal(version(torch.ones(2)), finished_symlog(torch.ones(2)))
    assert kept("symexp") == (None, None)
    file = tmp_path / "my_parts" / "symlog.py"
    file.write_text(file.read_text().replace("-torch.log1p(-", "torch.log1p(-"))
    version, problem = kept("symlog")
    assert version is None and "sign" in problem
    file.write_text("def symlog(x:\n")
    assert "does not run" in kept("symlog")[1]


def test_keep_leaves_the_good_version_when_a_new_one_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DREAMER_HOME", str(tmp_path))
    keep(symlog)
    good = (tmp_path / "my_parts" / "symlog.py").read_text()
    alone = lambda x: symexp.__globals__["symlog"](x)
    alone.__name__ = "symlog"
    keep(alone)
    out = capsys.readouterr().out
    assert "not kept" in out and "still there" in out and (tmp_path / "my_parts" / "symlog.py").read_text() == good


@pytest.mark.parametrize(
    "source, words",
    [
        ("pass", "does not define `symlog`"),
        ("", "does not define"),
        ("def simlog(x):\n    return x\n", "does not define"),
        ("while True:\n    pass\n", "does not finish in time"),
        ("import sys\nsys.exit(3)\n", "SystemExit"),
        ("def symlog(x)\n", "SyntaxError"),
        ("def symlog(x):\n    return x\n", "is not right"),
        ("def symlog(x):\n    ...\n", "It is blank"),
        ("def symlog(x):\n    return simlog(x)\n", "NameError"),
        (
            "from dreamer_lite.symlog import symlog as ours\ndef symlog(x):\n    import dreamer_lite.symlog as m\n    "
            "return m.symlog(x)\n",
            "without end",
        ),
    ],
)
def test_a_kept_file_must_stand_on_its_own(tmp_path, monkeypatch, source, words):
    monkeypatch.setenv("DREAMER_HOME", str(tmp_path))
    monkeypatch.setattr("dreamer_lite.course.notebook.SECONDS", 0.5)
    (tmp_path / "my_parts").mkdir()
    (tmp_path / "my_parts" / "symlog.py").write_text(source)
    version, problem = kept("symlog")
    assert version is None and words in problem


def test_an_endless_recursion_is_told_at_once():
    def endless(x):
        return endless(x)

    with pytest.raises(RecursionError) as endlessly:
        endless(0)
    begin = time.perf_counter()
    words = raised(endlessly.value)
    assert "without end" in words and time.perf_counter() - begin < 0.5  # 1.5 s where each frame's module is looked for


def test_calling_the_finished_method_is_no_answer():
    for name, version in (
        ("log_prob", lambda policy, action: policy.log_prob(action)),
        ("update", lambda scale, returns: scale.update(returns)),
    ):
        verdict = judge(EXERCISES[name], version)
        assert verdict.state == "not yet" and "without end" in " ".join(verdict.words)


def test_another_default_is_told():
    def lambda_return(rewards, continues, values, bootstrap, lam=0.5):
        return EXERCISES["lambda_return"].finished(rewards, continues, values, bootstrap, lam)

    assert "default of `lam` is 0.5" in judge(EXERCISES["lambda_return"], lambda_return).words[0]


def test_dreams_must_use_each_throw_of_the_dice_once():
    @torch.no_grad()
    def two_throws(world_model, actor, start, horizon):
        state, features, actions = start, [], []
        for t in range(horizon + 1):
            features.append(state.feature)
            actions.append(actor(state.feature).sample())
            if t < horizon:
                state = world_model.rssm.imagine_step(state, actor(state.feature).sample())
        features = torch.stack(features, 1)
        return Dream(
            world_model.rssm.state(features),
            features,
            torch.stack(actions, 1),
            world_model.predict_reward(features),
            world_model.predict_continue(features),
        )

    assert judge(EXERCISES["imagine"], two_throws).state == "not yet"
    plain = judge(EXERCISES["imagine"], lambda *case: tuple(EXERCISES["imagine"].finished(*case)))
    assert "a Dream is expected" in plain.words[0]
    assert (
        "a Carry is expected" in judge(EXERCISES["act"], lambda *case: tuple(EXERCISES["act"].finished(*case))).words[0]
    )


def test_one_environment_is_enough_to_act():
    def squeezed(agent, obs, is_first, carry, greedy=False):
        state, action = EXERCISES["act"].finished(agent, obs, is_first, carry, greedy)
        return Carry(State(state.h.squeeze(), state.z.squeeze()), action)

    assert judge(EXERCISES["act"], squeezed).state == "not yet"


def test_keep_tells_of_names_that_only_the_notebook_has(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DREAMER_HOME", str(tmp_path))
    keep(two_hot_loss)  # uses finished_two_hot, a name of this file
    out = capsys.readouterr().out
    assert "not kept" in out and "finished_two_hot" in out and not list((tmp_path / "my_parts").glob("*.py"))


def test_every_kept_part_has_its_place_in_the_package():
    for exercise in EXERCISES.values():
        if exercise.kept_for:
            module, name = exercise.kept_for.split(":")
            thing = sys.modules[f"dreamer_lite.{module}"]
            for part in name.split("."):
                thing = getattr(thing, part)
            assert thing is exercise.finished


def test_a_mistake_must_be_wrong():
    """The bank can't hold a right version: the checker would have to reject it."""
    exercise = EXERCISES["symlog"]
    assert judge(exercise, Mistake(finished_symlog, "").wrong).state == "right"
    assert list(NOTEBOOKS) == [*(f"{number:02d}" for number in range(11)), "A1", "A2", "A3"]


def test_code_that_writes_into_its_inputs_does_no_harm_and_is_told():
    def in_place(state, action, is_first):
        state.h[is_first], state.z[is_first], action[is_first] = 0, 0, 0
        return state, action

    def overwrites(world_model, feature, batch):
        batch.reward.mul_(1.5)
        return EXERCISES["prediction_losses"].finished(world_model, feature, batch)

    state, action, is_first = EXERCISES["clear"].cases()[0]
    before = state.h.clone(), state.z.clone(), action.clone()
    for name, version in (
        ("clear", in_place),
        ("prediction_losses", overwrites),
        ("step_weights", lambda c: c.cumprod_(1)[:, :-1]),
    ):
        verdict = judge(EXERCISES[name], version)
        assert verdict.state == "not yet" and "writes into its input" in verdict.words[0]
    assert all(torch.equal(a, b) for a, b in zip(before, (state.h, state.z, action)))


# What check says is so: the package runs with the reader's version


def counting(function):
    """The function, and a list that grows with each call."""
    calls = []

    @functools.wraps(function)
    def counted(*arguments, **named):
        calls.append(1)
        return function(*arguments, **named)

    return counted, calls


def test_a_right_version_runs_in_the_widgets_and_in_the_package():
    from dreamer_lite.course.n02_symlog.scale_fit import draw_scale_fit
    from dreamer_lite.course.n04_latents.dice import draw_dice
    from dreamer_lite.course.n05_rssm.surprise import influence
    from dreamer_lite.course.n08_critic import returns
    from dreamer_lite.rssm import RSSM

    for name, uses in (
        ("symlog", lambda: draw_scale_fit(1.5)),
        ("sample", lambda: draw_dice(0.0, 0.0, 0.0, 0.0, "straight-through")),
        ("lambda_return", lambda: returns.spread.__wrapped__("fresh", 2)),
        ("gru", lambda: influence("action", steps=2)),
        ("posterior", lambda: influence("action", steps=2)),
        ("observe", lambda: influence("observation", steps=2)),
    ):
        finished = EXERCISES[name].finished
        version, calls = counting(finished)
        assert check(version) is version
        calls.clear()
        uses()
        assert calls, name
        assert check(lambda *anything: ..., name) is finished
        calls.clear()
        uses()
        assert not calls, name
    assert RSSM.observe is EXERCISES["observe"].finished


# Where the reader stands


def test_progress_says_nothing_when_there_is_nothing(capsys):
    progress()
    assert capsys.readouterr().out == ""
    setup("03")
    assert "where you are" not in capsys.readouterr().out


def test_progress_remembers_what_was_right_and_what_was_kept(capsys):
    check(symlog)
    check(lambda x: x, "symexp")
    check(symlog)
    keep(kl)
    capsys.readouterr()
    assert standing().right == ["symlog", "kl"] and standing().kept == ["kl"]
    progress()
    said = capsys.readouterr().out
    assert f"Right: 2 of {len(EXERCISES)} exercises. Kept: 1 of the {len(standing().keepable)}" in said
    assert "Next: entropy, exercise 4 of notebook 04." in said
    check(lambda x: x, "symlog")  # what was right once stays written down
    assert standing().right == ["symlog", "kl"]
    setup("05")
    assert said in capsys.readouterr().out
    _, picture = where(standing())
    assert "symlog 1 of 4" in picture and "discrete latents 1 of 4" in picture and "actor 0 of 4" in picture


def test_progress_goes_on_with_what_was_skipped_and_then_with_keeping():
    everything = list(EXERCISES)
    assert following(Standing(everything[:3], [], [])) == (
        f"Next: <code>{everything[3]}</code>, exercise 1 of notebook 01.",
        "01",
    )
    skipped = [name for name in everything if name != "kl"]
    assert following(Standing(skipped, [], ["kl"])) == ("Next: <code>kl</code>, exercise 3 of notebook 04.", "04")
    assert "keep <code>kl</code>" in following(Standing(everything, [], ["kl"]))[0]
    assert "Nothing is left" in following(Standing(everything, ["kl"], ["kl"]))[0]


def test_progress_reads_a_spoilt_file_and_tells_of_a_folder_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DREAMER_HOME", str(tmp_path))
    (tmp_path / "my_parts").mkdir()
    (tmp_path / "my_parts" / "right.txt").write_bytes(b"symlog\nno_such_exercise\n\xff\xfe")
    assert standing().right == ["symlog"]
    monkeypatch.setenv("DREAMER_HOME", str(tmp_path / "my_parts" / "right.txt"))
    check(symlog)
    said = capsys.readouterr().out
    assert "symlog: right" in said and "can't be written" in said


def test_the_map_of_the_agent_shows_a_mark_in_each_box():
    marks = {number: (0, 4) for number in NOTEBOOKS} | {"02": (4, 4), "03": (1, 4)}
    drawn = agent_map("03", marks)
    assert (
        drawn.count("<circle") == len(boxes()) == 10
        and drawn.count("✓") == 1
        and "1/4" in drawn
        and drawn.count("0/4") == 8
    )
    assert drawn.count(LIT) == 1 and "<circle" not in agent_map("03")


def test_an_appendix_lights_what_it_touches_and_comes_last():
    assert agent_map("A2").count(LIT) == 1 and "Today's box, model losses, is lit." in alt("A2")
    assert agent_map("A3").count(LIT) == 4 and list(NOTEBOOKS)[-3:] == ["A1", "A2", "A3"]
    assert "All boxes are lit." in alt("A1") and agent_map("A1").count(LIT) == agent_map("10").count(LIT) == 10
    assert following(Standing(["dream_losses"], [], []))[1] == "A1"


@pytest.mark.parametrize(
    "answer, words",
    [
        (lambda: ["sluggish"], "A dictionary is expected"),
        (lambda: {"A": "sluggish"}, "an answer for A, B and C"),
        (lambda: {"A": "lazy", "B": "curious", "C": "forgetful"}, '"lazy" is not one of the causes'),
        (lambda run: {}, "called without arguments"),
    ],
)
def test_an_answer_of_another_kind_is_told_what_is_wanted(answer, words):
    assert words in judge(EXERCISES["causes"], answer).words[0]


@pytest.mark.parametrize(
    "answer, words",
    [
        (lambda: [3], "A dictionary is expected"),
        (lambda: {"L": 3}, "no patient 'L'"),
        (lambda: {"B": 11}, "is not on the list"),
        (lambda: {"B": "9"}, "is not on the list"),
        (lambda: {"B": 9, "C": 4}, "2 of 10 are named, and all of these are right"),
        (lambda: {"B": 9, "C": 5}, "Not 5 for C"),
    ],
)
def test_a_diagnosis_of_another_kind_is_told_what_is_wanted(answer, words):
    assert words in judge(EXERCISES["diagnoses"], answer).words[0]


# What is said about an answer that is no listed mistake


def said(name, version):
    verdict = judge(EXERCISES[name], version)
    assert verdict.state == "not yet"
    return verdict.words


def test_the_first_case_is_the_notebooks_own_and_printed_in_full_the_same_at_each_try():
    wrong = lambda rewards, continues, values, bootstrap, lam=0.95: rewards * 7.0
    first, second = said("lambda_return", wrong), said("lambda_return", wrong)
    assert first == second
    assert "rewards = [[1, 1]], continues = [[0.9, 0.5]], values = [[10, 20]], bootstrap = [20], lam = 0.8" in first[-1]
    assert "expected 10.72" in first[-1]


@pytest.mark.parametrize(
    "yours, right, words",
    [
        ([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], "1/2 times the right one"),
        ([-1.0, 2.0], [1.0, -2.0], "wrong sign"),
        ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], "backwards along axis 0"),
        ([0.0, 1.0, 2.0], [1.0, 2.0, 4.0], "one step late"),
        ([3.5, 4.5, 6.5], [1.0, 2.0, 4.0], "off by +2.5 everywhere"),
        ([1.0, 2.5, 2.5, 2.5], [1.0, 2.5, 4.0, 3.0], "never more than 2.5"),
        ([1.0, float("nan")], [1.0, 2.0], "not finite"),
        ([1.001, 2.0], [1.0, 2.0], "nearly right"),
        ([[1.0, 3.0], [2.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]], "axes 0 and 1 are swapped"),
        (6.0, [1.0, 2.0, 3.0], "one number, the sum"),
        ([[1.0], [2.0]], [1.0, 2.0], "axis of length 1 that is left over"),
        ([2.0, 3.0], [1.0, 2.0, 3.0], "the first entry along axis 0 is missing"),
    ],
)
def test_a_wrong_result_is_told_by_what_it_has_to_do_with_the_right_one(yours, right, words):
    told = relation("the result", torch.tensor(yours), torch.tensor(right))
    assert told is not None and words in told


@pytest.mark.parametrize(
    "yours, right",
    [
        ([0.0, 1.0, 1.0], [0.0, 1.0, 0.0]),  # a limit of 1, which chance can bring
        ([1.5, 7.0], [1.0, float("nan")]),
        ([0.25, 1.0, 0.3], [0.5, 1.0, 0.4]),
        ([[1.0, float("inf")]], [[3.0, 2.0]]),  # not finite, and wrong elsewhere as well
    ],
)
def test_no_relation_is_made_up(yours, right):
    assert relation("the result", torch.tensor(yours), torch.tensor(right)) is None


def test_a_relation_counts_only_if_it_holds_in_most_cases():
    squares = said("step_weights", lambda continues: continues[:, :-1].square())  # right by chance in the first case
    assert not any("square" in line for line in squares)
    assert (
        "1/2 times"
        in said("two_hot_bins", lambda count=255, limit=20.0: EXERCISES["two_hot_bins"].finished(count, limit) / 2)[0]
    )


def test_an_argument_that_is_not_used_is_named_only_if_it_makes_no_difference():
    kl_alone, cases = EXERCISES["kl"], EXERCISES["kl"].cases()
    assert unused(kl_alone, lambda p, q: -(p * p.log()).sum((-2, -1)), cases, 1)
    assert not unused(kl_alone, kl_alone.finished, cases, 1)
    middle = said("two_hot_mean", lambda l, b: finished_mean(l, b) if len(b) == 255 else 0 * l.sum(-1))
    assert not any("`logits` is not used" in line for line in middle)


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("The size of tensor a (0) must match the size of tensor b (5) at", "x[5:] * y", "a slice took nothing"),
        ("The size of tensor a (3) must match the size of tensor b (2) at", "x[1:] - y", "one entry more"),
        (
            "The size of tensor a (3) must match the size of tensor b (2) at",
            "x - y",
            "aligns shapes from the last axis",
        ),
        (
            "Sizes of tensors must match except in dimension 1. Expected",
            "state = step(state, a)",
            "which axis is the batch",
        ),
        ("Sizes of tensors must match except in dimension 1. Expected", "torch.cat([x, y])", "is it `-1`"),
        ("index -1 is out of bounds for dimension 1 with size 5", "out.scatter_(…)", "below 0"),
        ("index 5 is out of bounds for dimension 1 with size 5", "x[5]", "beyond the last entry"),
    ],
)
def test_an_error_comes_with_its_usual_cause(text, line, words):
    assert words in usual_cause(text, line)


def test_values_come_before_types_and_types_are_told():
    bins = EXERCISES["two_hot_bins"].finished
    assert "in float64" in said("two_hot_bins", lambda count=255, limit=20.0: bins(count, limit).double())[0]
    wrong_in_both = said("two_hot_bins", lambda count=255, limit=20.0: bins(count, limit).double() + 1)
    assert "float64" not in " ".join(wrong_in_both) and "off by +1" in wrong_in_both[0]


def lacks_an_argument(logits, x, bins):
    return finished_mean(logits)


def unfolds(logits, x, bins):
    return logits.gather(-1, x.long())


def changes_what_it_needs(logits, x, bins):
    probs = logits.softmax(-1)
    logs = probs.log()
    probs *= 2
    return -(right_answers.two_hot(x, bins) * logs).sum(-1) + probs.sum(-1)


def backwards(logits, x, bins):
    return logits[..., ::-1].sum(-1)


@pytest.mark.parametrize(
    "version, words",
    [
        (lacks_an_argument, "The call in that line doesn't give what the function takes"),
        (unfolds, "The index needs as many axes as the tensor"),
        (changes_what_it_needs, "was changed in place"),
        (backwards, "PyTorch can't slice backwards"),
        (lambda logits, x, bins: logits.log_softmax(), "one more argument, often the axis"),
        (lambda logits, x, bins, more: x, "The check calls it with the arguments that the exercise has"),
    ],
)
def test_an_error_is_explained_by_what_caused_it(version, words):
    verdict = judge(EXERCISES["two_hot_loss"], version)
    assert verdict.state == "not yet" and words in " ".join(verdict.words), verdict
