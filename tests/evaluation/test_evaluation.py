"""Agents at play, and what is drawn of them."""

import math
import time

from custom_envs import Plain
import gymnasium
from matplotlib.figure import Figure
import numpy as np
from PIL import Image
import pytest

from dreamer_lite.agent import Dreamer
from dreamer_lite.config import Config
from dreamer_lite.envs.stepping import episode_seed
from dreamer_lite.errors import Refused
from dreamer_lite.evaluation import drawing
from dreamer_lite.evaluation.dreams import OpenLoop, one_number_per_choice, open_loop
from dreamer_lite.evaluation.evaluate import evaluation_seed, play_episodes
from dreamer_lite.rssm import RSSM
from dreamer_lite.training import plots
from dreamer_lite.training.bench import CARTPOLE


class Seven(Plain):
    """Counts its resets; a time limit of its own ends each episode after 7 steps."""

    resets = 0

    def reset(self, seed=None, options=None):
        Seven.resets += 1
        self.steps_taken = 0
        return super().reset(seed=seed, options=options)

    def step(self, action):
        obs, reward, terminated, _, info = super().step(action)
        self.steps_taken += 1
        return obs, reward, terminated, self.steps_taken == 7, info


def test_an_episode_that_ends_at_the_limit_is_not_cut_off_and_one_that_is_begins_anew():
    for most, cut in ((7, 0), (6, 3), (8, 0)):
        Seven.resets = 0
        agent = Dreamer(Config.preset("debug", eval_steps=most, eval_envs=1), CARTPOLE)
        returns, found = play_episodes(agent, Seven, 3, 0, False)
        assert found == cut and Seven.resets == 3 and (returns == min(most, 7)).all()


def test_a_dream_sees_reality_last_at_its_first_step_and_takes_the_actions_beside_it(monkeypatch):
    agent, taken, imagine_step = Dreamer(Config.preset("debug"), CARTPOLE), [], RSSM.imagine_step

    def watched(self, state, action, noise=None):
        taken.append(action[0].numpy())
        return imagine_step(self, state, action, noise)

    monkeypatch.setattr(RSSM, "imagine_step", watched)
    pair = open_loop(agent, "CartPole-v1", steps=7, context=1, seed=3)
    assert len(pair.real) == len(pair.dreamed) == len(pair.actions) == 7
    assert np.array_equal(taken, pair.actions[1:]) and np.ptp(pair.actions[1:, 0]) == 1  # both actions are among them
    env = gymnasium.make("CartPole-v1")  # the same actions lead to the same steps
    env.reset(seed=episode_seed(evaluation_seed(3), 0, 0))
    env.unwrapped.state = pair.real[0].astype(np.float64)
    for action, real in zip(pair.actions[1:], pair.real[1:]):
        assert np.allclose(env.step(int(action.argmax()))[0], real, atol=1e-4)


def test_a_cart_leans_to_the_side_it_falls_to():
    axes = Figure().add_subplot()
    drawing.draw_cart(axes, np.array([0.5, 0.0, 0.2, 0.0]), "blue")
    (foot, tip), (low, high) = axes.lines[-1].get_data()
    assert foot == 0.5 and tip - foot == pytest.approx(1.3 * math.sin(0.2)) and high > low


def test_reality_is_drawn_as_reality_and_the_dream_as_the_dream():
    carts = OpenLoop("", np.zeros((1, 4)), np.ones((1, 4)), np.zeros((1, 2)), is_cartpole=True)
    dark, bright = np.zeros((1, 8, 8, 1), np.uint8), np.full((1, 8, 8, 1), 200, np.uint8)
    seen = carts._replace(real_pictures=dark, dreamed_pictures=bright, is_cartpole=False)
    for name, x, level in (("reality", 0, 0), ("dream", 1, 200)):
        axes, shown = Figure().subplots(1, 2)
        drawing.draw_moment(axes, carts, name, 0)
        assert axes.lines[-1].get_xdata()[0] == x
        drawing.draw_moment(shown, seen, name, 0)
        assert (shown.images[0].get_array() == level).all()


def test_drawings_show_the_numbers_that_vary_most_and_the_last_step(tmp_path):
    real = np.outer([-1.0, 1.0], np.arange(20.0))
    pair = OpenLoop("", real, real, np.zeros((2, 1)))
    assert drawing.chosen_numbers(pair, 3) == [17, 18, 19] and drawing.chosen_numbers(pair, 20) == [*range(20)]
    assert drawing.moments(60, 4).tolist() == [0, 20, 39, 59] and drawing.moments(3, 8).tolist() == [0, 1, 2]


def test_a_choice_is_drawn_as_the_number_of_its_option():
    eye, names = np.eye(3), ["go[0]", "go[1]", "go[2]", "speed", "on", "go[3]", "go[4]", "go[5]"]
    real = np.hstack([eye, [[5.0], [6], [7]], [[0.0], [1], [1]], eye[[2, 2, 0]]])
    pair = OpenLoop("", real, 0.4 * real, np.zeros((3, 1)), names=names, choices=((0, 3), (4, 1), (5, 3)))
    drawn = one_number_per_choice(pair)
    assert drawn.names == ["go[0]", "speed", "on", "go[1]"]
    assert drawn.real.tolist() == [[0, 5, 0, 2], [1, 6, 1, 2], [2, 7, 1, 0]]
    assert np.allclose(drawn.dreamed, drawn.real * [1, 0.4, 0.4, 1])
    single = pair._replace(real=eye, dreamed=eye, names=["x[0]", "x[1]", "x[2]"], choices=((0, 3),))
    assert one_number_per_choice(single).names == ["x"]


def test_a_gif_of_a_dream_runs_at_fifty_steps_a_second(tmp_path):
    for steps, frames in ((6, 4), (1, 1)):  # every other step, and the last
        real = np.linspace(0, 1, steps)[:, None] * np.ones(4)
        pair = OpenLoop("", real, real, np.zeros((steps, 2)), is_cartpole=True)
        drawing.draw_gif(pair, tmp_path / "a.gif", every=2)
        with Image.open(tmp_path / "a.gif") as gif:
            assert gif.n_frames == frames and (frames == 1 or gif.info["duration"] == 40)
            gif.seek(frames - 1)
            assert gif.info["duration"] == 1000  # it rests at the end


def test_colours_of_a_film_stay(tmp_path):
    cv2 = pytest.importorskip("cv2")
    from dreamer_lite.evaluation.video import mp4

    with mp4(tmp_path / "a.mp4", 10) as write:
        for _ in range(3):
            write(np.full((64, 64, 3), (220, 20, 20), np.uint8))
    blue, green, red = cv2.VideoCapture(str(tmp_path / "a.mp4")).read()[1].mean((0, 1))
    assert red > 150 and blue < 100


def test_an_evaluation_keeps_to_the_time_limit_of_the_run():
    class Slow(Plain):
        def step(self, action):
            time.sleep(0.5)
            return super().step(action)

    agent = Dreamer(Config.preset("debug", env_seconds=0.05, eval_steps=1), CARTPOLE)
    with pytest.raises(Refused, match="--env_seconds"):
        play_episodes(agent, Slow, 1, 0, False)


def test_curves_are_those_of_their_labels():
    figure, real = Figure(), np.arange(3.0)[:, None]
    drawing.curves(figure, OpenLoop("", real, real + 10, np.zeros((3, 1))), 2)
    lines = {line.get_label(): line.get_ydata().tolist() for line in figure.axes[0].lines}
    assert lines == {"reality": [0, 1], "dream": [10, 11]}
    names = ["short", "the_distance_from_the_gripper_to_the_door[0]"]
    assert [*map(drawing.as_label, names)] == ["short", "the_distance_…\nm_the_gripper_\nto_the_door[0]"]
    rows = [{"env_steps": step, "eval_mean": step / 10, "eval_episodes": 2, "return": -1.0} for step in (100, 200)]
    episodes, evaluations = plots.learning_curve([rows]).axes[0].lines
    assert evaluations.get_ydata().tolist() == [10, 20] and episodes.get_ydata().tolist() == [-1, -1]
