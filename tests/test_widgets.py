"""Every control of every widget, moved to its ends; and the drawings behind them."""

import ipywidgets
import numpy as np
import pytest
import torch

from dreamer_lite.course.alignment import alignment_xray, cells
from dreamer_lite.course.bundled import bundled_agent, random_stream, watch
from dreamer_lite.course.dice import dice_explorer, gradient
from dreamer_lite.course.explore import Explorer, canvas, slider
from dreamer_lite.course.player import Game, dream_player, drift
from dreamer_lite.course.scale_fit import error, fit, scale_explorer
from dreamer_lite.course.surprise import causality_explorer, influence, surprise, surprise_meter
from dreamer_lite.course.two_hot_mover import draw_two_hot, learn_peaks, peaks_explorer, two_hot_mover

WIDGETS = [dream_player, alignment_xray, scale_explorer, two_hot_mover, peaks_explorer, dice_explorer, surprise_meter, causality_explorer]


def ends(control):
    if isinstance(control, ipywidgets.ToggleButtons):
        return list(control.options)
    return [control.min, control.max]


@pytest.mark.parametrize("make", WIDGETS, ids=lambda make: make.__name__)
def test_every_control_to_its_ends(make):
    explorer = make()
    assert explorer.png.startswith(b"\x89PNG") and len(explorer.alt) > 20
    for name, control in explorer.controls.items():
        assert control.description, f"{name} has no label"
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
        assert len(pictures) > 1 or name == "look", f"{name} changes nothing"
        assert "can't be drawn" not in explorer.text and explorer.text in explorer.status.value


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


def test_player_steps_looks_and_starts_again():
    player = dream_player()
    player.controls["again"].click()
    assert "Step 0" in player.text
    for _ in range(30):
        player.controls["right"].click()
    assert "over" in player.text
    player.controls["again"].click()
    player.controls["left"].click()
    assert "Step 1" in player.text and "over" not in player.text


def test_a_look_brings_the_dream_back():
    game = Game()
    actions = [None] * 40
    alone, looked = game.play(actions)[:2], game.play(actions, {40})[:2]
    assert np.array_equal(alone[0], looked[0])
    assert drift(*looked)[-1] <= drift(*alone)[-1] and np.array_equal(alone[1][:40], looked[1][:40])


def test_the_same_presses_give_the_same_game():
    assert all(np.array_equal(a, b) for a, b in zip(Game().play([0, 1, None])[:2], Game().play([0, 1, None])[:2]))


def test_xray_rows_are_aligned_with_the_stream():
    stream = random_stream(60, 3)
    _, arrows, _, first, last, terminal, goes_on = cells(stream)
    border = int(stream.is_first[1:].nonzero()[0]) + 1
    assert first[border] == "yes" and arrows[border] == "–" and last[border - 1] == terminal[border - 1] == "yes"
    assert goes_on[border - 1] == "0" and goes_on[border] == "1"
    assert cells(stream, 1)[1][1:] == arrows[:-1] and cells(stream, -1)[1][:-1] == arrows[1:]


def test_symlog_saves_the_small_task():
    assert error(fit(1000.0, True), 1000.0)[0] < 0.3 < 0.4 < error(fit(1000.0, False), 1000.0)[0]


def test_two_hot_sentence_tells_the_value_and_peaks_keep_the_mean():
    assert "weights · bins = 3.48" in draw_two_hot(1.5)[1]
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
