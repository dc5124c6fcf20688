"""Every control of every widget, moved to its ends; and the drawings behind them."""

import copy
import math

import ipywidgets
import numpy as np
import pytest
import torch
from widgets import WIDGETS, widget

from dreamer_lite.agent import Dreamer
from dreamer_lite.config import Config, Spaces
from dreamer_lite.course.a1_break_it import clinic
from dreamer_lite.course.a2_pixels import film, picture_lab
from dreamer_lite.course.a3_your_world import memory, torque
from dreamer_lite.course.bundled import bundled_agent, random_stream, watch
from dreamer_lite.course.dream_player import dream_player
from dreamer_lite.course.explore import Explorer, canvas, slider
from dreamer_lite.course.n01_experience.alignment import cells
from dreamer_lite.course.n02_symlog.scale_fit import error, fit
from dreamer_lite.course.n03_two_hot.two_hot_mover import draw_pairs, draw_two_hot, learn_peaks
from dreamer_lite.course.n04_latents.dice import dice_explorer, gradient
from dreamer_lite.course.n05_rssm.surprise import influence, surprise
from dreamer_lite.course.n06_world_model import model_lab
from dreamer_lite.course.n06_world_model.gradient_flow import draw_flow, flows
from dreamer_lite.course.n07_imagination import fan
from dreamer_lite.course.n08_critic import returns
from dreamer_lite.course.n09_actor import actor_lab
from dreamer_lite.course.n09_actor.actor_lab import policy_map
from dreamer_lite.course.n10_cartpole.run_view import episode_replay
from dreamer_lite.course.plug import unplugged
from dreamer_lite.errors import Refused
from dreamer_lite.rssm import State
from dreamer_lite.symlog import symexp, symlog
from dreamer_lite.two_hot import two_hot_bins

MAKERS = [widget(*entry) for name, entries in WIDGETS.items() if name[0] != "A" for entry in entries] + [episode_replay]


def ends(control):
    if isinstance(control, (ipywidgets.ToggleButtons, ipywidgets.Dropdown)):
        return [option[1] if isinstance(option, tuple) else option for option in control.options]
    if isinstance(control, ipywidgets.Checkbox):
        return [True, False]
    return [control.min, control.max]


@pytest.fixture(scope="module")
def taught():
    """An actor after 60 updates in dreams."""
    with unplugged():
        return actor_lab.school(0, 60, progress=False)


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_every_control_to_its_ends(make, taught):
    given = {
        episode_replay: bundled_agent(),
        policy_map: taught._replace(snapshots={n: taught.snapshots[n] for n in (0, 60)}),
    }
    move_to_ends(make(given[make]) if make in given else make())


def move_to_ends(explorer):
    assert explorer.png.startswith(b"\x89PNG") and len(explorer.alt) > 20
    for name, control in explorer.controls.items():
        assert control.description and control.tooltip, f"{name} has no label"
        pictures = {explorer.png}
        if isinstance(control, ipywidgets.Button):
            control.click()
            pictures.add(explorer.png)
        else:
            start = control.value
            for value in ends(control):
                control.value = value
                pictures.add(explorer.png)
                assert "can't be drawn" not in explorer.text
            control.value = start
        assert len(pictures) > 1, f"{name} changes nothing"
        assert "can't be drawn" not in explorer.text and explorer.text in explorer.status.value


def test_every_control_of_the_appendices_to_its_ends(monkeypatch):
    """On agents that have learned nothing, and two of ten episodes, which is all that a picture needs."""
    monkeypatch.setattr(torque, "swing", lambda agent, seed=torque.SHOWN, swing=torque.swing: swing(agent, seed % 2))
    torch.manual_seed(0)
    swinger = Dreamer(Config.preset("debug", env="Pendulum-v1"), Spaces(3, 1, False))
    catcher = Dreamer(Config.preset("debug", env="dreamer_lite.course.worlds:HiddenCatch-v0"), Spaces(4, 3, True))
    for make in (
        torque.push_explorer,
        lambda: torque.torque_map(swinger, bent(swinger)),
        lambda: torque.torque_fan(swinger),
        lambda: memory.data_xray(memory.game(catcher)),
        lambda: memory.ball_explorer(catcher),
        film.dream_film,
        film.latent_painter,
        lambda: clinic.clinic("BC"),
    ):
        move_to_ends(make())


def bent(agent):
    """Another agent of the same kind."""
    other = copy.deepcopy(agent)
    for parameter in other.actor.parameters():
        parameter.data += 1
    return other


def test_a_policy_moves_towards_a_good_torque_and_away_from_a_bad_one():
    for better, sign in ((1.0, 1), (-1.0, -1)):
        before, after = torque.pushed(0.2, 0.5, 0.7, better)
        assert sign * float(after.mode - before.mode) > 0.01
    near, far = (torque.pushed(0.0, 0.5, action, 1.0) for action in (0.1, 1.2))
    assert near[1].std < near[0].std - 0.005 and far[1].std > far[0].std + 0.005
    assert abs(float(torque.pushed(0.0, 0.5, 0.5, 1.0)[1].std) - 0.5) < 1e-4  # at one σ the width stays


def test_a_switch_trembles_where_a_torque_rests():
    (rough, dear), (fine, cheap) = torque.hold(True), torque.hold(False)
    assert abs(fine[-1]) < 1e-6 and max(abs(rough[-20:])) > 0.3 and dear > 5 * cheap


def test_the_angle_is_read_off_a_picture():
    degrees = [-11.0, -3.0, 0.0, 0.5, 8.0]
    pictures = film.one_frame([[x, 0, math.radians(angle), 0] for angle, x in zip(degrees, (-1.0, 0.5, 0, 1.5, -0.3))])
    read = film.angle(torch.tensor(np.stack(pictures)) / 255)
    assert float((read - torch.tensor(degrees)).abs().max()) < 1.5
    assert film.angle(torch.ones(64, 64, 1)).isfinite()
    moving = film.one_frame([[0, v, 0.1, 0] for v in (-2.0, 2.0)])
    assert (moving[0] == moving[1]).all()  # which is why one frame is not enough


def test_the_dream_in_pictures_follows_its_actions():
    assert min(film.how_long(False, count=4)) > 0 and film.film(0).dreamed.shape[:2] == (5, len(film.film(0).real))
    looked = film.film(1), film.film(1, True)
    assert torch.equal(looked[0].dreamed[:, : film.LOOKED], looked[1].dreamed[:, : film.LOOKED])
    assert not torch.equal(looked[0].dreamed, looked[1].dreamed)


def test_the_picture_lab_counts_what_is_lost():
    seen = picture_lab.episodes()
    assert seen.obs.shape == (100, 8, 16, 16, 1) and seen.is_first[:, 0].all() and not seen.is_first[:, 1:].any()
    assert (picture_lab.dimmed(seen, 0.1).obs.amax((2, 3, 4)) <= 128).all() and (seen.obs == 255).any()

    class Perfect:
        """A model that paints what it sees, without the paddle."""

        rssm = picture_lab.new_model().rssm

        def observe(self, obs, *_):
            return State(obs, obs), None

        def decoder(self, feature):
            return torch.where(seen.obs == 128, 0, seen.obs) / 255

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(State, "feature", property(lambda state: state.h))
        assert picture_lab.share_lost(Perfect()) == {"ball": 0.0, "paddle": 1.0}


def test_the_recorded_pictures_are_what_this_code_trains():
    """The first train steps again, of the model with the dim ball; and what the notebook says of the three."""
    again = picture_lab.record("dim ball", 2 * picture_lab.EVERY)
    kept = picture_lab.load_recorded("dim ball")
    assert np.allclose(again.lost, kept.lost[:2], atol=0.02) and np.allclose(again.real, kept.real)
    at = {
        name: picture_lab.load_recorded(name).lost[picture_lab.SHOWN // picture_lab.EVERY - 1]
        for name in picture_lab.VARIANTS
    }
    (ball, paddle), (dim_ball, lit_paddle), dear = at.values()
    assert ball < 0.2 < paddle and dim_ball > 0.5 > lit_paddle and max(dear) < 0.4 < paddle
    late = picture_lab.load_recorded("unchanged").lost[-1]
    figure, words = picture_lab.draw_recorded()
    assert f"after 3,200 train steps: ball {late[0]:.0%} lost, paddle {late[1]:.0%}" in words and late[1] > 0.6


def test_recorded_runs_are_read_and_their_absence_is_told(monkeypatch, tmp_path):
    figure, words = memory.draw_patients()
    assert len(figure.axes) == 4 and all(who in words for who in memory.PATIENTS)
    assert len(memory.balls("HiddenCatch")) == len(memory.balls("HiddenCatch-forgetful")) == 5
    monkeypatch.setattr(memory, "RUNS", tmp_path)
    with pytest.raises(Refused, match="inside a clone"):
        memory.balls("HiddenCatch")


def test_a_drawing_that_fails_is_told_and_the_old_picture_stays():
    def draw(x):
        if x > 1:
            raise ValueError("too far")
        return canvas(), "fine"

    explorer = Explorer(draw, "A picture for a test.", x=slider("x", 0, 2, 0))
    before = explorer.png
    explorer.controls["x"].value = 2
    assert explorer.png == before and "too far" in explorer.status.value
    explorer.controls["x"].value = 1
    assert explorer.text == "fine"


def test_drawing_leaves_the_random_state_alone():
    explorer = dice_explorer()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    explorer.controls["again"].click()
    assert torch.equal(torch.rand(2), expected)


def test_the_player_has_a_picture_for_where_no_script_runs(monkeypatch):
    shown = []
    monkeypatch.setattr("dreamer_lite.course.dream_player.display", lambda bundle, **_: shown.append(bundle))
    dream_player("inside")
    html = shown[0]["text/html"]
    assert (
        html.index("<img") < html.index("<script>")
        and 'data-mode="inside"' in html
        and "filmstrip" in shown[0]["text/plain"]
    )
    assert (
        html.count("</script>") == 1 and "<!--" not in html.split("<script>", 1)[1]
    )  # nothing inside ends the script early
    assert len(html) < 400_000 and "http" not in html.split("srcdoc")[1].replace("http-equiv", "")


def test_xray_rows_are_aligned_with_the_stream():
    stream = random_stream(60, 3)
    _, arrows, _, first, last, terminal, goes_on = cells(stream)
    border = int(stream.is_first[1:].nonzero()[0]) + 1
    assert first[border] == "yes" and arrows[border] == "–" and last[border - 1] == terminal[border - 1] == "yes"
    assert goes_on[border - 1] == "0" and goes_on[border] == "1"
    assert cells(stream, 1)[1][1:] == arrows[:-1] and cells(stream, -1)[1][:-1] == arrows[1:]


def test_symlog_saves_the_small_task():
    with torch.enable_grad():
        assert error(fit(1000.0, symlog, symexp), 1000.0)[0] < 0.3 < 0.4 < error(fit(1000.0), 1000.0)[0]


def test_two_hot_sentence_tells_the_value_and_peaks_keep_the_mean():
    assert "weights · bins = 1.00 · 3.48 = 3.48" in draw_two_hot(1.5)[1]
    pairs = draw_pairs(torch.tensor([0.1, 0.2, 0.3, 0.3, 0.1]), two_hot_bins(5, 2.0))[1]
    assert "(0.3 - 0.2) · 1.72 = 0.17; (0.1 - 0.1) · 6.39 = 0" in pairs and "their sum is 0.17" in pairs
    for share in (0.05, 0.5, 0.95):
        bins, probs, mean = learn_peaks(0.0, 100.0, share)
        assert abs(mean - 100 * share) < 2 and abs(float(probs.sum()) - 1) < 1e-5


def test_only_straight_through_pushes():
    logits = torch.tensor([[1.0, 0.0, -1.0, 0.0]])
    assert gradient(logits, True)[0, 0] < 0 and not gradient(logits, False).any()


def test_a_kick_surprises_and_quiet_play_does_not():
    quiet, kicked = surprise(watch(45, 40, 0.0)), surprise(watch(45, 40, 2.0))
    assert torch.equal(quiet[:40], kicked[:40]) and kicked[40] > quiet[40] + 1


def test_watched_states_are_those_of_the_agent():
    seen = watch(30)
    rssm = bundled_agent().world_model.rssm
    for t in (1, 7, 29):
        h = rssm.recurrent(type(seen.states)(seen.states.h[[t - 1]], seen.states.z[[t - 1]]), seen.actions[[t]])
        assert torch.allclose(h[0], seen.states.h[t], atol=1e-5)


@pytest.mark.parametrize("what", ["action", "observation"])
def test_causality_is_a_triangle_and_off_by_one_is_not(what):
    moved = influence(what) > 1e-6
    assert torch.equal(moved, torch.ones_like(moved).triu().bool())
    if what == "action":
        assert (influence(what, 1) > 1e-6).tril(-1).any()


def reached(loss, steps):
    return {name for name, size in flows(steps)[loss].items() if size > 0}


def test_gradients_flow_where_the_notebook_says():
    assert reached("dyn", 1) == {"recurrent", "prior"} and reached("rep", 1) == {"encoder", "posterior", "recurrent"}
    assert reached("dyn", 8) == {"encoder", "posterior", "recurrent", "prior"} and reached("rep", 8) == reached(
        "rep", 1
    )
    assert reached("actor", 8) == {"actor"} and reached("critic", 8) == {"critic"}
    assert reached("replay_critic", 8) == {"encoder", "posterior", "recurrent", "critic"}
    for loss, head in (("reconstruction", "decoder"), ("reward", "reward head"), ("continue", "continue head")):
        assert reached(loss, 1) == {"encoder", "posterior", "recurrent", head}


def test_a_right_guess_is_counted_as_right():
    names = ("encoder", "posterior", "recurrent", "prior", "decoder", "critic", "actor")
    guess = {name: name in ("recurrent", "prior") for name in names}
    assert "7 of 7" in draw_flow("dyn", "1", "the gradients", **guess)[1]
    assert "5 of 7" in draw_flow("dyn", "8", "the gradients", **guess)[1]
    assert "needs more than one step" in draw_flow("actor", "1", "the gradients", **guess)[1]


def test_batches_begin_anew_and_cross_no_length():
    torch.manual_seed(0)
    memory = random_stream(60)
    batch = model_lab.sequences(memory, B=500, T=8)
    assert batch.is_first[:, 0].all() and batch.obs.shape == (500, 8, 4)
    assert torch.equal(memory.is_first, random_stream(60).is_first)  # the memory is as it was
    rows = {tuple(row) for row in memory.obs[:52].tolist()}
    assert {tuple(row) for row in batch.obs[:, 0].tolist()} == rows


def test_a_world_model_that_was_trained_dreams_better_than_a_fresh_one():
    fresh, trained = (model_lab.errors(model_lab.train(0, steps, progress=False)) for steps in (0, 60))
    assert trained["model"].mean() < 0.7 * fresh["model"].mean()
    assert torch.equal(fresh["copy"], trained["copy"]) and trained["looking"].mean() < trained["model"].mean()
    recorded = model_lab.recorded_errors()
    assert len(recorded) == 5
    for run in recorded.values():  # by the present code: the same episodes, and more training than here
        assert torch.allclose(run["copy"], fresh["copy"], atol=1e-5)
        assert 0.2 * trained["model"].mean() < run["model"].mean() < trained["model"].mean()


def test_steps_true_ends_at_the_first_break():
    assert fan.steps_true(torch.tensor([[0.1, 0.3, 0.1], [0.1, 0.1, 0.1], [0.5, 0.1, 0.1]]), 0.2).tolist() == [1, 3, 0]


def test_the_same_actions_dream_the_same_real_future():
    drift = fan.drifts(0)
    assert (
        drift["linear"].median(0).values[14]
        < drift["dream"].median(0).values[14]
        < 0.1
        < drift["copy"].median(0).values[14]
    )
    assert fan.blind(watch(60).actions[1:], 0) == 59


def test_returns_without_a_critic_have_no_bias_and_those_of_a_fresh_one_have_no_noise():
    found = returns.spread("fresh", returns.LONG)
    assert found.bias[20] < 0.2 < found.bias[0] and found.noise[0] < 0.05 < found.noise[20]
    assert torch.allclose(found.error.square(), found.bias.square() + found.noise.square(), rtol=1e-4)
    assert 5 < returns.truth().mean() < 25


def test_return_weights_add_up_to_one_and_mix_the_returns_by_hand():
    for lam in (0.0, 0.5, 0.95, 1.0):
        assert torch.isclose(returns.return_weights(lam, 7).sum(), torch.ones(()))
    one, two = 10.0, 10.9  # the example of notebook 08
    assert returns.return_weights(0.8, 2) @ torch.tensor([one, two]) == pytest.approx(10.72)


def test_lives_of_a_calm_and_of_a_falling_cart_differ_in_reality_as_for_the_critic():
    calm, falling = returns.real_lives(0), returns.real_lives(19)
    assert calm > 15 > 12 > falling and returns.real_lives(0) == calm
    assert returns.moment(0, 3).h.shape == (3, 64)


def test_a_long_dream_tells_how_long_an_actor_lives():
    fresh = actor_lab.school(0, 0, progress=False)
    assert 10 < actor_lab.dreamed_life(fresh, 0) < 40


def test_shuffled_lessons_teach_nothing_and_right_ones_do(taught):
    assert actor_lab.test(taught.agent) > 3 * actor_lab.test(
        actor_lab.school(0, 60, shuffle=True, progress=False).agent
    )
    same = bundled_agent().world_model.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in taught.agent.world_model.state_dict().items())
    assert set(taught.snapshots) == {0, 10, 25, 50, 60}
    recorded = actor_lab.recorded_seeds()
    dreamed, real = recorded[0]["lives"][25]  # of the same seed, on another machine
    assert 0.5 < actor_lab.test_at(taught, 25) / real < 2 and 0.5 < actor_lab.dreamed_life(taught, 25) / dreamed < 2
    assert min(actor["lives"][150][1] for actor in recorded) > 3 * max(actor["shuffled"] for actor in recorded)


def test_the_return_scale_makes_large_rewards_alike():
    """With half of the notebook's seeds."""
    assert all(actor_lab.settled_wrong(*way, 10) == 0 for way in ((1.0, False), (1.0, True), (100.0, True)))
    assert actor_lab.settled_wrong(100.0, False, 10) >= 0.15
    assert torch.equal(actor_lab.toy(0.01, True), actor_lab.toy(0.01, False))  # the floor
    # What the widget shows first.
    without, scaled = (actor_lab.toy(100.0, on, seed=actor_lab.SETTLES)[-1] for on in (False, True))
    assert without[1:].max() > 0.99 and scaled.argmax() == 0 and scaled.amax() < 0.9
