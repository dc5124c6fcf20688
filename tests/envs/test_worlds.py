"""Any environment: pictures, numbers and both, several choices at once, your own class, slow ones, and those that go
wrong."""

import json
from pathlib import Path
import re
import subprocess
import sys
import time

from custom_envs import Counting, Mixed, register
import gymnasium
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from PIL import Image
import pytest
from test_laws import settings  # noqa: F401  the same quick, repeatable profile
import torch

from dreamer_lite.__main__ import main
from dreamer_lite.actor import Actor, Categorical, Joint, actor_loss
from dreamer_lite.agent import Dreamer
from dreamer_lite.codecs import fitting_mults
from dreamer_lite.config import Config, Spaces
from dreamer_lite.course.worlds import Catch, HiddenCatch, Recall
from dreamer_lite.diagnostics.diagnose import diagnose
from dreamer_lite.envs import probe
from dreamer_lite.envs.making import make_env, read_arg
from dreamer_lite.envs.spaces import native_action, spaces_of, to_agent_obs
from dreamer_lite.envs.stepping import Envs
from dreamer_lite.envs.workers import WorkerEnvs
from dreamer_lite.errors import Refused
from dreamer_lite.evaluation.dreams import open_loop
from dreamer_lite.evaluation.evaluate import evaluate
from dreamer_lite.learner import Learner
from dreamer_lite.replay import Experience, Replay, map_obs
from dreamer_lite.rssm import State
from dreamer_lite.training.checkpoint import load, save
from dreamer_lite.training.loop import train
from dreamer_lite.training.state import Training
from dreamer_lite.web_player.export import player_data

START = "import custom_envs; custom_envs.register(); from dreamer_lite.__main__ import main; main(None)"
DEBUG = ["--preset", "debug", "--quiet", "--until", "steps", "--device", "cpu", "--threads", "1"]
SHORT = dict(steps=100, learn_start=40, train_ratio=8, eval_every=0, log_every=50, save_every=50, depth=2)


@pytest.fixture(autouse=True)
def registered():
    register()


# Pictures


@pytest.mark.parametrize(
    "image, layers",
    [((64, 64, 3), 4), ((96, 96, 1), 4), ((16, 16, 3), 2), ((32, 48, 3), 3), ((10, 10, 4), 1), ((6, 6, 1), 1)],
)
def test_layers_are_as_many_as_the_picture_allows(image, layers):
    assert fitting_mults(image, (2, 3, 4, 4)) == [2, 3, 4, 4][:layers]


@pytest.mark.parametrize("image", [(210, 160, 3), (84, 84, 1), (5, 5, 1), (7, 64, 3), (4, 84, 84), (512, 512, 3)])
def test_pictures_of_unfit_sizes_are_refused_in_one_line(image):
    with pytest.raises(
        Refused, match=f"images of {image[0]} × {image[1]} are not supported.*(--pixels 64|more --mults)"
    ) as error:
        Dreamer(Config.preset("debug"), Spaces(0, 2, True, image))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["picture", "both"])
def test_an_agent_sees_acts_and_learns_from_pictures(kind):
    """One batch is learned by heart: its pictures come out again, which needs the action and the memory to be in
    place."""
    torch.manual_seed(0)
    spaces = Spaces(3 * (kind == "both"), 5, True, (16, 16, 2), (2, 3))
    config = Config.preset("debug", depth=4, world_lr=3e-3, warmup=0, scale_reconstruction=1, hidden=32, rssm_hidden=16)
    learner = Learner(Dreamer(config, spaces))
    replay = Replay(
        capacity=40,
        obs_size=spaces.obs_size,
        image=spaces.image,
        action_size=5,
        deter=config.deter,
        groups=2,
        classes=4,
    )
    carry = learner.agent.initial(1)
    for t in range(30):
        picture = torch.zeros(1, 16, 16, 2, dtype=torch.uint8)
        picture[0, t % 16, :, t % 2] = 255
        obs = {"vector": torch.full((1, 3), t / 30), "image": picture} if kind == "both" else picture
        flag = torch.tensor([t == 0])
        carry = learner.agent.act(obs, flag, carry)
        step = (obs, carry.action, torch.ones(1), flag, flag & False, flag & False)
        replay.add(Experience(*step), carry.state)
    batch, start, _ = replay.sample(config.batch_size, config.seq_len)
    losses = [float(learner.train_step(batch, State(*start))[1]["reconstruction"]) for _ in range(150)]
    assert losses[-1] < 0.25 * losses[0], losses[::30]
    shown = learner.agent.world_model.predict_obs(torch.cat([carry.state.h, carry.state.z.flatten(1)], -1))
    image = shown["image"] if kind == "both" else shown
    assert image.dtype == torch.uint8 and image.shape == (1, 16, 16, 2)


def test_pictures_are_kept_in_bytes_and_a_replay_that_does_not_fit_is_refused(tmp_path, capsys):
    sizes = dict(obs_size=0, image=(64, 64, 3), action_size=2, deter=8, groups=2, classes=4)
    replay = Replay(capacity=1000, **sizes)
    held = sum(ring.nbytes for ring in replay.data.values())
    assert replay.data["image"].dtype == torch.uint8 and held == Replay.bytes_needed(1000, **sizes)
    assert 1.2e9 < Replay.bytes_needed(100_000, **sizes) < 1.25e9
    words = [*DEBUG, "--env", "Mixed-v0", "--replay_size", "1000000000", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert "GB free; use a smaller --replay_size" in capsys.readouterr().err


def test_a_replay_in_the_computers_memory_gives_the_same_run():
    """On a CPU both are the same place; a GPU's run differs only in where the batch comes from."""
    weights = []
    for on_host in (False, True):
        training = Training(Config.preset("debug", replay_on_host=on_host, **SHORT))
        for _ in range(40):
            training.collect()
            training.learn()
        training.envs.close()
        weights.append(training.learner.optimizer.weights.clone())
    assert torch.equal(*weights)


def test_any_environment_that_renders_can_be_seen_in_pictures():
    pytest.importorskip("cv2")
    pytest.importorskip("pygame")
    for gray, channels in ((False, 3), (True, 1)):
        envs = Envs(lambda: make_env("CartPole-v1", pixels=32, gray=gray))
        rows = [envs.step(np.array([[0, 1]], np.float32)) for _ in range(3)]
        assert envs.spaces == Spaces(0, 2, True, (32, 32, channels)) and rows[0].obs.dtype == np.uint8
        assert not np.array_equal(rows[0].obs, rows[2].obs) and rows[0].obs.std() > 10
        envs.close()
    own = make_env("Catch-v0", pixels=8)  # it shows pictures of its own
    assert own.observation_space.shape == (8, 8, 1) or own.observation_space.shape == (8, 8)


@pytest.mark.parametrize("shape", [(4, 64, 64), (4, 64, 64, 3), (3, 96, 96)])
def test_channels_come_last(shape):
    with pytest.raises(Refused, match="the shape must be .height, width, channels."):
        spaces_of(Box(0, 255, shape, np.uint8), Discrete(2))


@pytest.mark.parametrize("shape, size", [((7, 7, 3), 147), ((5, 12), 60)])
def test_small_boards_in_bytes_are_seen_as_numbers(shape, size):
    assert spaces_of(Box(0, 255, shape, np.uint8), Discrete(2)) == Spaces(size, 2, True)


def test_gray_leaves_pictures_of_one_channel_alone():
    pytest.importorskip("cv2")
    assert make_env("Catch-v0", gray=True).observation_space.shape == (16, 16, 1)


# Actions in an environment's bounds


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.floats(-2, 2))
def test_numbers_stay_within_their_bounds(low, width, action):
    space = Box(np.float32([low]), np.float32([low + width]))
    assert native_action(space, np.float32([action])) in space


def test_whole_numbers_get_equal_parts():
    space = Box(-1, 2, (1,), np.int8)
    made = [int(native_action(space, np.array([x]))[0]) for x in np.linspace(-1, 1, 4001)]
    assert {n: round(made.count(n) / 1000) for n in set(made)} == {-1: 1, 0: 1, 1: 1, 2: 1}


# Several choices at once


def test_several_choices_at_once_add_up():
    logits = torch.randn(7, 5)
    first, second = Categorical(logits[:, :2]), Categorical(logits[:, 2:])
    both = Joint([first, second], [2, 3])
    action = both.sample()
    assert action.shape == (7, 5) and (action.sum(-1) == 2).all() and (action[:, :2].sum(-1) == 1).all()
    assert torch.allclose(both.log_prob(action), first.log_prob(action[:, :2]) + second.log_prob(action[:, 2:]))
    assert torch.allclose(both.entropy(), first.entropy() + second.entropy())
    assert torch.equal(both.mode, torch.cat([first.mode, second.mode], -1)) and both.noise(4).shape == (7, 4, 5)
    pairs = torch.stack([torch.cat([a, b]) for a in torch.eye(2) for b in torch.eye(3)])
    probs = torch.stack([both.log_prob(pair.expand(7, 5)) for pair in pairs]).exp()
    assert torch.allclose(probs.sum(0), torch.ones(7))  # over all pairs
    exact = -(probs * probs.log()).sum(0)
    assert torch.allclose(both.entropy(), exact, atol=1e-6)


def test_an_actor_learns_two_choices_at_once():
    """The actor's loss alone, without a world: 1 for the pair that the feature shows."""
    torch.manual_seed(0)
    actor = Actor(feature_size=5, action_size=5, hidden=16, layers=1, choices=(2, 3))
    optimizer = torch.optim.Adam(actor.parameters(), 0.02)
    shown = torch.stack([torch.cat([a, b]) for a in torch.eye(2) for b in torch.eye(3)]).repeat(20, 1)
    for _ in range(100):
        policy = actor(shown)
        action = policy.sample()
        reward = (action * shown).sum(-1).eq(2).float()
        loss = actor_loss(policy.log_prob(action), policy.entropy(), reward - reward.mean(), torch.ones_like(reward))
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    assert torch.equal(actor(shown).mode, shown)


def test_choices_and_numbers_at_once_add_up():
    """Compared with PyTorch's own distributions."""
    torch.manual_seed(0)
    actor = Actor(feature_size=3, action_size=7, hidden=8, layers=1, discrete=False, choices=(2, 3))
    policy, shapes = actor(torch.randn(4, 3)), [tuple(head.weight.shape) for head in actor.heads]
    assert shapes == [(5, 8), (2, 8), (2, 8)]  # logits, means, standard deviations
    first, second, numbers = policy.parts
    choices = [torch.distributions.OneHotCategorical(logits=part.log_probs) for part in (first, second)]
    normal = torch.distributions.Independent(torch.distributions.Normal(numbers.mode, numbers.std), 1)
    action = policy.sample()
    pieces = action.split([2, 3, 2], -1)
    assert action.shape == (4, 7) and all((piece.sum(-1) == 1).all() for piece in pieces[:2])
    expected = sum(part.log_prob(piece) for part, piece in zip([*choices, normal], pieces))
    assert torch.allclose(policy.log_prob(action), expected, atol=1e-6)
    assert torch.allclose(policy.entropy(), sum(part.entropy() for part in [*choices, normal]), atol=1e-6)
    assert torch.equal(policy.mode, torch.cat([first.mode, second.mode, numbers.mode], -1))
    noise = policy.noise(6)
    assert noise.shape == (4, 6, 7)
    assert torch.equal(policy.sample(noise[:, 0])[:, 5:], numbers.mode + numbers.std * noise[:, 0, 5:])


def test_an_actor_learns_a_choice_and_a_number_at_once():
    """1 for the choice that the feature shows, less the distance of the number to 0.6 or -0.6."""
    torch.manual_seed(0)
    actor = Actor(feature_size=2, action_size=3, hidden=16, layers=1, discrete=False, choices=(2,))
    optimizer = torch.optim.Adam(actor.parameters(), 0.02)
    shown = torch.eye(2).repeat(200, 1)
    goal = shown @ torch.tensor([0.6, -0.6])
    for _ in range(150):
        policy = actor(shown)
        action = policy.sample().detach()
        reward = (action[:, :2] * shown).sum(-1) - (action[:, 2] - goal).abs()
        loss = actor_loss(policy.log_prob(action), policy.entropy(), reward - reward.mean(), torch.ones_like(reward))
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    mode = actor(shown).mode
    assert torch.equal(mode[:, :2], shown) and torch.allclose(mode[:, 2], goal, atol=0.15)


class Parking(gymnasium.Env):
    """An action of two kinds: a gear and a push on the pedal; the reward is the push in the right gear."""

    observation_space = Box(-1, 1, (2,))
    action_space = Dict(gear=Discrete(3, start=1), push=Box(0, 2, (1,)), lights=MultiBinary(2))
    seen = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 12
        return np.zeros(2, np.float32), {}

    def step(self, action):
        assert action in self.action_space, action
        self.seen.append(action)
        self.left -= 1
        return np.zeros(2, np.float32), float(action["push"][0] * (action["gear"] == 2)), False, self.left == 0, {}


def test_a_choice_and_numbers_at_once_are_trained_on(tmp_path):
    assert Spaces(2, 8, False, (), (3, 2, 2)).action_words == "1 of 3 and 1 of 2 and 1 of 2 and 1 number"
    Parking.seen.clear()
    config = Config.preset("debug", **SHORT)
    card = train(config, tmp_path, until="steps", progress=False, make_env=Parking)
    assert card["final_evaluation"]["sampled"]["episodes"] == 2
    agent = load(tmp_path)
    assert agent.spaces == Spaces(2, 8, False, (), (3, 2, 2))
    assert {action["gear"] for action in Parking.seen} == {1, 2, 3}
    assert len({float(action["push"][0]) for action in Parking.seen}) > 50
    assert evaluate(agent, Parking, episodes=2).shape == (2,)
    assert open_loop(agent, Parking, context=3, steps=4)
    assert all(finding.healthy for finding in diagnose(tmp_path, make_env=Parking, checks=("by_hand", "flow")))


# Your own environment


def test_a_function_makes_the_environments(tmp_path):
    class Mine(Mixed):
        """Not known to gymnasium."""

    config = Config.preset("debug", **SHORT)
    card = train(config, tmp_path, until="steps", progress=False, make_env=Mine)
    assert (
        card["env"] == "Mine"
        and card["config"]["env_from_function"]
        and card["final_evaluation"]["sampled"]["episodes"] == 2
    )
    agent = load(tmp_path)
    assert agent.spaces == Spaces(2, 5, True, (16, 16, 3), (2, 3))
    assert evaluate(agent, Mine, episodes=2).shape == (2,)
    with pytest.raises(Refused, match="'Mine' was made by a Python function.* pass the function again"):
        evaluate(agent, episodes=2)
    more = train(
        Config.preset("debug", **SHORT | dict(steps=140)),
        tmp_path,
        until="steps",
        progress=False,
        resume=True,
        make_env=Mine,
    )
    assert more["env_steps"] == 140


def test_both_ways_of_the_translation_in_the_docs():
    """What `to_agent_obs` and `native_action` are said to give, for numbers and an image and actions beyond 1."""
    space = Dict(look=Box(0, 255, (16, 16, 3), np.uint8), speed=Box(-1, 1, (2,)))
    obs = to_agent_obs(space, {"look": np.zeros((16, 16, 3), np.uint8), "speed": np.ones(2)})
    assert obs["vector"].shape == (2,) and obs["vector"].dtype == np.float32
    assert obs["image"].shape == (16, 16, 3) and obs["image"].dtype == np.uint8
    assert native_action(Box(-2, 6, (3,)), np.array([-7.0, 0.0, 1.5])).tolist() == [-2, 2, 6]


def test_a_wrapper_is_trusted_only_if_the_user_names_it(tmp_path, capsys):
    words = [
        *DEBUG,
        "--steps",
        "60",
        "--learn_start",
        "40",
        "--wrap",
        "custom_envs:halved",
        "--env_args",
        "max_episode_steps=20",
    ]
    out = str(tmp_path / "run")
    assert main([*words, "--out", out]) == 0
    assert "--wrap custom_envs:halved" in capsys.readouterr().out
    for command in (["evaluate", out], ["dream", out], ["export", out], ["--resume", out, "--steps", "80"]):
        assert main(command) == 2
        assert "which would import a module; if you trust it, add --wrap custom_envs:halved" in capsys.readouterr().err
    assert main(["evaluate", out, "--wrap", "custom_envs:halved", "--episodes", "3"]) == 0
    assert float(capsys.readouterr().out.split("sampled actions: ")[1].split()[0]) <= 10  # half of 20
    assert (
        main(
            [
                *"--quiet --until steps --device cpu --resume".split(),
                out,
                "--steps",
                "80",
                "--wrap",
                "custom_envs:halved",
            ]
        )
        == 0
    )


@pytest.mark.parametrize(
    "env", [Mixed, Catch, Recall, lambda: gymnasium.make("Blackjack-v1"), lambda: gymnasium.make("CliffWalking-v1")]
)
def test_a_dream_of_any_environment_can_be_drawn(env, tmp_path):
    from dreamer_lite.evaluation.drawing import draw_filmstrip, draw_gif

    envs = Envs(env)
    agent = Dreamer(Config.preset("debug", depth=2), envs.spaces)
    pair = open_loop(agent, env, steps=5, context=0, seed=1, render=True)
    assert len(pair.real) == len(pair.dreamed) == len(pair.actions) and (pair.real_pictures is None) == (
        not envs.spaces.image
    )
    draw_filmstrip(pair, tmp_path / "dream.png")
    draw_gif(pair, tmp_path / "dream.gif")
    assert (
        np.asarray(Image.open(tmp_path / "dream.png").convert("RGB")).std() > 5
        and (tmp_path / "dream.gif").stat().st_size > 500
    )


def test_the_numbers_beside_an_image_are_drawn_too(tmp_path, monkeypatch):
    from dreamer_lite.evaluation import drawing

    drawn, curves = [], drawing.curves
    monkeypatch.setattr(
        drawing, "curves", lambda figure, pair, until: (drawn.append(until), curves(figure, pair, until))
    )
    pair = open_loop(Dreamer(Config.preset("debug", depth=2), Envs(Mixed).spaces), Mixed, steps=3, context=0, seed=1)
    assert pair.real.shape[1] == 2 and pair.real_pictures is not None
    drawing.draw_filmstrip(pair, tmp_path / "dream.png")
    drawing.draw_gif(pair, tmp_path / "dream.gif")
    assert drawn[0] == len(pair.real) and drawn[1:] == [*range(1, len(pair.real) + 1, 2)]


def test_only_cartpole_itself_is_drawn_as_carts_and_exported():
    """A wrapper or a function may change what its numbers mean."""

    def cartpole():
        return gymnasium.make("CartPole-v1")

    made = [{}, {"wrap": "custom_envs:halved"}, {"env_from_function": True}]
    plain, wrapped, made = (Dreamer(Config.preset("debug", **how), Spaces(4, 2, True)) for how in made)
    how = dict(steps=2, context=0)
    assert open_loop(plain, **how).is_cartpole and open_loop(made, "CartPole-v1", **how).is_cartpole
    for pair in (
        open_loop(wrapped, **how),
        open_loop(wrapped, "CartPole-v1", **how),
        open_loop(plain, cartpole, **how),
        open_loop(made, cartpole, **how),
    ):
        assert not pair.is_cartpole
    assert player_data(plain)
    for other, words in ((wrapped, "CartPole-v1, wrapped"), (made, "CartPole-v1, made by a function")):
        with pytest.raises(Refused, match=words):
            player_data(other)


def test_frames_of_the_environment_are_drawn_above_its_numbers(tmp_path):
    pytest.importorskip("pygame")
    save = [*DEBUG, "--env", "Acrobot-v1", "--steps", "60", "--out", str(tmp_path)]
    assert main(save) == 0 and main(["dream", str(tmp_path), "--steps", "12"]) == 0
    pair = open_loop(load(tmp_path), steps=5, render=True)
    assert len(pair.frames) == len(pair.real) and pair.frames[0].ndim == 3 and pair.names[0] == "x[0]"


def test_an_environment_that_fails_to_draw_itself_is_told_and_dreamed_all_the_same(tmp_path, monkeypatch, capsys):
    assert main([*DEBUG, "--env", "Acrobot-v1", "--steps", "60", "--out", str(tmp_path)]) == 0
    tried = []

    def fail(env):
        tried.append(env)
        raise OSError("no OpenGL here")

    monkeypatch.setattr("gymnasium.envs.classic_control.acrobot.AcrobotEnv.render", fail)
    assert main(["dream", str(tmp_path), "--steps", "12"]) == 0
    assert "cannot render here: no OpenGL here" in capsys.readouterr().out and len(tried) == 1


@pytest.mark.parametrize(
    "text, value",
    [("false", False), ("False", False), ("None", None), ("8x8", "8x8"), ("[1, 2]", [1, 2]), ("1e-3", 0.001)],
)
def test_arguments_are_read_as_they_are_written(text, value):
    assert read_arg(f"key={text}") == ("key", value)


def test_an_argument_that_may_name_a_file_is_trusted_only_if_the_user_names_it(tmp_path, capsys):
    config = Config.preset("debug", env="FrozenLake-v1", env_args=("map_name=4x4", "is_slippery=/etc/evil"))
    save(tmp_path / "a.pt", Dreamer(config, Spaces(16, 4, True)))
    assert main(["evaluate", str(tmp_path / "a.pt")]) == 2
    assert (
        "which may name a file or a module; if you trust it, add --env_args map_name=4x4 is_slippery=/etc/evil"
        in capsys.readouterr().err
    )
    assert (
        main(["evaluate", str(tmp_path / "a.pt"), "--episodes", "1", "--env_args", "map_name=4x4", "is_slippery=true"])
        == 0
    )


# Slow environments


def play(envs, steps, size=2):
    rng = np.random.default_rng(0)
    return [envs.step(np.eye(size, dtype=np.float32)[rng.integers(size, size=len(envs))]) for _ in range(steps)]


def test_workers_play_the_episodes_that_one_process_plays():
    here, there = Envs(Counting, 2, seed=3), WorkerEnvs(Counting, 2, seed=3)
    try:
        for one, other in zip(play(here, 70), play(there, 70)):
            for name, a, b in zip(one._fields, one, other):
                assert np.array_equal(a, b) and np.asarray(a).dtype == np.asarray(b).dtype, name
        assert here.episode == there.episode and here.done == there.done
        state = there.state_dict()
        lost = there.load_state_dict(state)
        assert len(lost) == 2 - sum(state["done"]) and all("runs in a worker process" in line for line in lost.values())
    finally:
        there.close()


def test_a_run_with_workers_learns_and_says_what_a_resume_loses(tmp_path, capfd):
    config = Config.preset("debug", env="Mixed-v0", envs=2, workers=2, **SHORT)
    card = train(config, tmp_path, until="steps", progress=False)
    assert card["train_steps"] > 0 and not card["notes"]
    more = train(Config(**config.to_dict() | {"steps": 140}), tmp_path, until="steps", progress=False, resume=True)
    assert more["env_steps"] == 140
    told = capfd.readouterr().err
    assert told.count("runs in a worker process; it begins a new episode") == len(more["notes"])


@pytest.fixture
def impatient(monkeypatch):
    """The probe for copies that disturb each other gives up soon: these environments hang in it, too."""
    monkeypatch.setattr(probe, "PATIENCE", 1)


def test_a_worker_that_does_not_end_when_told_is_killed(impatient, tmp_path, capfd):
    """As pygame has it: SIGTERM is noted, and nothing happens."""
    words = ["--env", "custom_envs:Deaf-v0", "--envs", "1", "--workers", "1", "--env_seconds", "0.5"]
    began = time.perf_counter()
    assert main([*DEBUG, *words, "--out", str(tmp_path / "run")]) == 2
    assert time.perf_counter() - began < 20 and "took more than 0.5 seconds" in capfd.readouterr().err


# Those that go wrong


@pytest.mark.parametrize("workers", [0, 1])
def test_an_environment_that_hangs_ends_the_run_in_one_line(workers, impatient, tmp_path, capfd):
    words = ["--env", "custom_envs:Slow-v0", "--envs", "1", "--workers", str(workers), "--env_seconds", "0.5"]
    assert main([*DEBUG, *words, "--out", str(tmp_path / "run")]) == 2
    error = capfd.readouterr().err
    assert (
        re.search(r"environment 0,? (was in )?step", error) and "took more than 0.5 seconds, the limit set by" in error
    )
    assert error.count("\n") == 1, error
    assert load(tmp_path / "run", env="custom_envs:Slow-v0")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_environment_that_gives_what_is_no_number_is_told_in_one_line(workers, tmp_path, capfd):
    words = ["--env", "custom_envs:Poisoned-v0", "--envs", "1", "--workers", str(workers)]
    assert main([*DEBUG, *words, "--out", str(tmp_path / "run")]) == 2
    error = capfd.readouterr().err
    words = "environment 0, step 1 of episode 0, returned nan in its observation; all numbers must be finite; "
    assert words + "the last checkpoint is kept" in error
    assert error.count("\n") == 1, error


@pytest.mark.parametrize("workers", [0, 2])
def test_an_environment_that_raises_keeps_its_traceback_and_is_named(workers, tmp_path):
    words = ["--env", "custom_envs:Broken-v0", "--workers", str(workers), "--out", str(tmp_path / "run")]
    result = subprocess.run(
        [sys.executable, "-c", START, *DEBUG, *words],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert result.returncode == 1 and "np.zeros(3) + np.zeros(4)" in result.stderr
    what = "ValueError: operands could not be broadcast .*" if workers else "this error"
    words = rf"environment \d, step 7 of episode 0, raised {what}; the last checkpoint is kept"
    if workers or hasattr(Exception, "add_note"):  # Python 3.10 has no notes
        assert re.search(rf"{words}$", result.stderr.splitlines()[-1])
    assert re.search(words, result.stderr) and result.stderr.count("Traceback (") == (2 if workers else 1)
    assert load(tmp_path / "run", env="custom_envs:Broken-v0")


# The worlds of the course


def test_catch_is_caught_by_who_follows_the_ball():
    env = Catch()
    for seed in range(20):
        obs, _ = env.reset(seed=seed)
        done = False
        while not done:
            obs, reward, done, _, _ = env.step(1 + int(np.sign(env.ball - env.paddle)))
        assert reward == (1 if abs(env.ball - env.paddle) == 0 else -1) and obs.shape == (16, 16, 1)


def test_a_hidden_ball_is_caught_by_who_remembers_it_and_by_nobody_else():
    env, chance = HiddenCatch(), 0.0
    for seed in range(20):
        (_, ball, seen, row), _ = env.reset(seed=seed)
        assert (seen, row) == (1, 6)
        shown, total, stopped = [], 0.0, False
        while not stopped:
            before = env.paddle
            (paddle, now, seen, row), reward, missed, stopped, _ = env.step(1 + int(np.sign(ball - env.paddle)))
            assert not missed and (now == 0 or seen)
            ball, total = (now if row == 6 else ball), total + reward
            shown.append(int(seen))
            assert paddle == before or row < 3 or row == 6  # locked while the ball is seen
        assert total == 5 and shown[:7] == [1, 1, 0, 0, 0, 1, 1]
        env.reset(seed=seed)
        ended = False
        while not ended:
            _, reward, ended, _, _ = env.step(1)
            chance += reward / 20
    assert chance < 1


def test_recall_pays_for_memory_alone():
    env, total = Recall(wait=2), 0
    for seed in range(50):
        first, _ = env.reset(seed=seed)
        rows = [env.step(int(first[0] > 0)) for _ in range(3)]
        assert [row[1] for row in rows] == [0, 0, 1] and [row[2] for row in rows] == [False, False, True]
        assert rows[1][0].tolist() == [0, 1] and rows[0][0].tolist() == [0, 0]
        env.reset(seed=seed)
        total += [env.step(1) for _ in range(3)][-1][1]
    assert abs(total) < 20  # always the same answer: by chance


def test_a_card_tells_how_its_environment_was_made(tmp_path):
    words = [
        "--env",
        "FrozenLake-v1",
        "--env_args",
        "is_slippery=false",
        "map_name=8x8",
        "--steps",
        "80",
        "--out",
        str(tmp_path),
    ]
    assert main([*DEBUG, *words]) == 0
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["config"]["env_args"] == ["is_slippery=false", "map_name=8x8"] and load(tmp_path).spaces.obs_size == 64
    assert main(["evaluate", str(tmp_path), "--episodes", "2"]) == 0


def test_an_observation_keeps_its_kind():
    assert map_obs(len, [1, 2]) == 2 and map_obs(len, {"vector": [1], "image": [1, 2]}) == {"vector": 1, "image": 2}


def test_pixels_do_not_take_the_place_of_the_numbers_that_were_asked_for():
    with pytest.raises(Refused, match="--pixels would put an image in the place of all that --see and --ignore left"):
        make_env("custom_envs:Mixed-v0", pixels=16, see="speed")
    env = make_env("custom_envs:Mixed-v0", pixels=16, see="speed|eye")
    assert env.observation_space["eye"].shape == (16, 16, 3) and env.observation_space["speed"].shape == (2,)
    env.close()
