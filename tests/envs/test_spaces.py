"""What an environment returns is compared with what it declares; anything else is one line, and never cast, clipped or
reshaped."""

from itertools import product

from custom_envs import Plain
import gymnasium
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple
import numpy as np
import pytest
import torch

from dreamer_lite.agent import Dreamer
from dreamer_lite.codecs import fitting_mults
from dreamer_lite.config import Config, Spaces
from dreamer_lite.envs.making import make_envs
from dreamer_lite.envs.spaces import endless, is_image, native_action, spaces_of, to_agent_obs
from dreamer_lite.envs.stepping import Envs
from dreamer_lite.envs.wrappers import ResizeImages
from dreamer_lite.errors import Refused
from dreamer_lite.evaluation.rollout import rollout
from dreamer_lite.replay import obs_by_kind
from dreamer_lite.training.loop import train

TWO = Box(-1, 1, (2,))
IMAGE = Box(0, 255, (16, 16, 3), np.uint8)


class Returns(gymnasium.Env):
    """Returns what it is told to."""

    action_space = Discrete(2)

    def __init__(self, observation=None, reward=1.0, ended=False, space=TWO, whole_step=None, whole_reset=None):
        self.observation_space, self.reward, self.ended = space, reward, ended
        self.observation = np.zeros(space.shape, space.dtype) if observation is None else observation
        self.whole_step, self.whole_reset = whole_step, whole_reset

    def reset(self, *, seed=None, options=None):
        return (self.observation, {}) if self.whole_reset is None else self.whole_reset

    def step(self, action):
        out = self.observation, self.reward, self.ended, False, {}
        return out if self.whole_step is None else self.whole_step


@pytest.mark.parametrize(
    "space, observation, expected",
    [
        (Box(-1, 1, (2,)), [5, -7], [5, -7]),  # outside its bounds: numbers are never clipped
        (Box(0, 10, (2,), np.int64), np.array([0.0, 3.0]), [0, 3]),
        (Box(-1, 1, (2,)), torch.tensor([0.25, 0.5]), [0.25, 0.5]),
        (Box(-1, 1, ()), 0.5, [0.5]),
        (Discrete(3, start=2), np.array([4]), [0, 0, 1]),
        (MultiDiscrete([2, 3]), (1, 2), [0, 1, 0, 0, 1]),
        (Dict({1: Discrete(2), "b": Box(0, 1, (1,))}), {1: 0, "b": [0.5]}, [1, 0, 0.5]),
        (Box(0, 9, (8, 8), np.uint8), np.full((8, 8), 9), [9] * 64),
    ],
)
def test_what_fits_is_taken_as_it_is(space, observation, expected):
    assert to_agent_obs(space, observation).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    "space, image",
    [
        (Box(0, 255, (16, 16), np.uint8), (16, 16, 1)),
        (Box(0, 255, (16, 16, 40), np.uint8), (16, 16, 40)),
        (Box(0, 1, (84, 84, 4), np.float32), (84, 84, 4)),
        (Box(0, 255, (64, 64, 3), np.float32), (64, 64, 3)),
        (Box(0, 255, (16, 16, 1), np.int64), (16, 16, 1)),
        (Box(0, 9, (24, 18), np.uint8), ()),  # codes
        (Box(0, 1, (64, 64), np.uint8), ()),  # a mask
        (Box(0, 3, (10, 10), np.int8), ()),
        (Box(-1, 1, (64, 64), np.float32), ()),
        (Box(0, 255, (7, 7, 3), np.uint8), ()),  # a board
    ],
)
def test_bounds_say_what_is_an_image(space, image):
    spaces = spaces_of(space, Discrete(2))
    assert spaces == Spaces(0 if image else int(np.prod(space.shape)), 2, True, image)


@pytest.mark.parametrize(
    "space, choices",
    [
        (Discrete(4, start=2), ((0, 4),)),
        (MultiDiscrete([[2, 3], [4, 2]]), ((0, 2), (2, 3), (5, 4), (9, 2))),
        (MultiBinary((2, 2)), ((0, 1), (1, 1), (2, 1), (3, 1))),
        (Box(0, 1, (3,), bool), ((0, 1), (1, 1), (2, 1))),
        (Box(0, 3, (3,), np.int64), ()),
        (Box(-1, 1, (3,)), ()),
        (
            Dict(z=Discrete(3), a=Box(-1, 1, (2,)), eye=Box(0, 255, (16, 16), np.uint8), m=MultiBinary(1)),
            ((2, 1), (3, 3)),
        ),
    ],
)
def test_choices_in_an_observation_are_known_by_their_type(space, choices):
    spaces = spaces_of(space, Discrete(2))
    assert spaces.obs_choices == choices
    space.seed(0)
    numbers = obs_by_kind(to_agent_obs(space, space.sample()))["vector"]
    for start, options in choices:  # so that they stand where they are said to stand
        part = numbers[start : start + options]
        assert set(part) <= {0, 1} and (part.sum() == 1 or options == 1)
    assert spaces.fit(spaces) and spaces._replace(obs_choices=()).fit(spaces)
    assert not Spaces(99, 2, True).fit(spaces) and not spaces._replace(obs_choices=((0, 99),)).fit(spaces)


@pytest.mark.parametrize("shape", [(3, 64, 64), (6, 64, 64), (9, 84, 84), (12, 64, 64), (24, 32, 64), (4, 64, 64, 3)])
@pytest.mark.parametrize("high, kind", [(255, np.uint8), (1, np.float32)])
def test_channels_first_are_refused_however_many_there_are(shape, high, kind):
    with pytest.raises(Refused, match="the shape must be .height, width, channels."):
        spaces_of(Box(0, high, shape, kind), Discrete(2))


def test_float_images_keep_their_brightness():
    image = np.linspace(0, 1, 256).reshape(16, 16)
    assert to_agent_obs(Box(0, 1, (16, 16)), image).ravel().tolist() == list(range(256))
    assert to_agent_obs(Box(0, 255, (16, 16), np.float32), 255 * image + 0.2).ravel().tolist() == list(range(256))


@pytest.mark.parametrize(
    "reward", [1, np.float64(1), np.ones(1), np.ones(()), np.ones((1, 1)), torch.ones(()), torch.ones(1), True]
)
def test_one_number_of_any_library_is_a_reward(reward):
    envs = Envs(lambda: Returns(reward=reward))
    envs.step(np.zeros((1, 2)))
    step = envs.step(np.zeros((1, 2)))
    assert step.reward.shape == (1,) and step.reward.dtype == np.float32 and step.reward.tolist() == [1]


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.int32])
def test_bounds_as_wide_as_their_type_are_no_bounds(kind):
    info = np.finfo(kind) if np.issubdtype(kind, np.floating) else np.iinfo(kind)
    with pytest.raises(Refused, match="every number needs finite bounds"):
        spaces_of(Box(0, 1, (1,)), Box(info.min, info.max, (1,), kind))


@pytest.mark.parametrize(
    "space, sizes, action, native",
    [
        (Box(-2, 2, ()), (1, False, ()), [0.5], np.float32(1)),
        (Dict(a=Box(-1, 1, (2,)), b=Box(0, 2, ())), (3, False, ()), [1, -1, 0], {"a": [1, -1], "b": 1}),
        (Tuple((Discrete(2), Discrete(3, start=1))), (5, True, (2, 3)), [0, 1, 0, 0, 1], (1, 3)),
        (Dict(a=Discrete(2), b=MultiBinary(2)), (6, True, (2, 2, 2)), [1, 0, 0, 1, 1, 0], {"a": 0, "b": [1, 0]}),
        (Tuple((Box(0, 2, ()), Discrete(3))), (4, False, (3,)), [0, 0, 1, 0.5], (1.5, 2)),
        (
            Dict(a=Tuple((Box(-1, 1, (2,)), Discrete(2))), b=MultiDiscrete([2, 2]), c=Box(-4, 4, (1,))),
            (9, False, (2, 2, 2)),
            [0, 1, 1, 0, 0, 1, -1, 0.5, 0.25],
            {"a": ([-1, 0.5], 1), "b": [0, 1], "c": [1]},
        ),
    ],
)
def test_a_dict_or_tuple_of_choices_and_numbers_is_acted_in(space, sizes, action, native):
    spaces = spaces_of(Box(-1, 1, (2,)), space)
    assert (spaces.action_size, spaces.discrete, spaces.choices) == sizes
    made = native_action(space, np.array(action, np.float32))
    assert made in space
    assert_equal(made, native)


def assert_equal(one, other):
    """The same action, down to the last part."""
    if isinstance(one, (dict, tuple)):
        assert len(one) == len(other)
        for key in one if isinstance(one, dict) else range(len(one)):
            assert_equal(one[key], other[key])
    else:
        assert np.array_equal(one, other)


def test_an_agent_learns_in_a_dict_of_actions(tmp_path):
    class Knobs(Returns):
        action_space = Dict(turn=Box(-1, 1, (2,)), push=Box(0, 1, ()))

        def step(self, action):
            assert action in self.action_space
            return super().step(action)

    card = train(
        Config.preset("debug", steps=120, eval_every=0), tmp_path, progress=False, make_env=lambda: timed(Knobs())
    )
    assert card["env_steps"] == 120 and card["train_steps"] > 0


def timed(env):
    return gymnasium.wrappers.TimeLimit(env, 10)


def test_rollouts_take_steps_in_every_environment():
    agent = Dreamer(Config.preset("debug"), Spaces(2, 2, True))
    steps = list(rollout(agent, Envs(lambda: timed(Returns()), 3), 12))
    assert len(steps) == 12 and all(step.reward.shape == (3,) for step, _ in steps)
    assert [bool(step.is_first.all()) for step, _ in steps] == [True] + [False] * 10 + [True]


# Dict observations: which parts are seen, and the images among them


class Parts(Returns):
    """An image, numbers, and a text that nothing reads."""

    def __init__(self, image=IMAGE):
        shown = {"eye": np.full(image.shape, 200, image.dtype), "speed": [0.5, 1], "mission": "go"}
        super().__init__(shown, space=Dict(eye=image, speed=Box(-1, 1, (2,)), mission=Text(9)))


gymnasium.register("Parts-v0", Parts, disable_env_checker=True)
gymnasium.register("Large-v0", lambda: Parts(Box(0, 255, (240, 320, 3), np.uint8)), disable_env_checker=True)


def seen(**settings):
    config = Config.preset("debug", **settings)
    envs = make_envs(config)
    return envs.spaces, obs_by_kind(envs.step(np.zeros((1, 2))).obs)


def test_a_part_that_nothing_reads_is_refused_with_the_words_that_leave_it_out():
    with pytest.raises(
        Refused, match="at mission has no fixed size.* leave it out with --ignore mission, or convert it"
    ):
        seen(env="Parts-v0")
    spaces, obs = seen(env="Parts-v0", ignore="mission")
    assert spaces == Spaces(2, 2, True, (16, 16, 3)) and obs["vector"].tolist() == [[0.5, 1]]
    assert seen(env="Parts-v0", see="speed|eye")[0] == spaces
    assert seen(env="Parts-v0", see="s.*")[0] == Spaces(2, 2, True)


def test_resizing_an_image_keeps_the_numbers_beside_it():
    spaces, obs = seen(env="Large-v0", ignore="mission", pixels=64)
    assert spaces == Spaces(2, 2, True, (64, 64, 3))
    assert (obs["image"] == 200).all() and obs["vector"].tolist() == [[0.5, 1]]
    assert seen(env="Large-v0", ignore="mission", pixels=32, gray=True)[0] == Spaces(2, 2, True, (32, 32, 1))


@pytest.mark.parametrize(
    "size, words", [((240, 320), "--pixels 64"), ((84, 84), "--pixels 64"), ((512, 512), "--mults")]
)
def test_the_advice_for_an_image_of_an_unfit_size_works_in_one_go(size, words):
    with pytest.raises(Refused, match=words):
        fitting_mults((*size, 3), (2, 3, 4, 4))
    assert words != "--mults" or len(fitting_mults((*size, 3), (2, 3, 4, 4, 4))) == 5


def test_more_layers_are_advised_where_they_help_and_only_there():
    def advice(height, width, layers):
        try:
            return fitting_mults((height, width, 3), (1,) * layers) and ""
        except Refused as error:
            return str(error)

    for height, width in product(range(20, 200), (24, 48, 64, 96, 120, 132)):
        if said := advice(height, width, 1):
            assert ("give more --mults" in said) == (advice(height, width, 9) == ""), (height, width)


@pytest.mark.parametrize("kind", [np.float32, np.float64, bool, np.uint8, np.int8, np.int64])
def test_the_space_says_how_bright_an_image_is_not_the_type_of_its_values(kind):
    image = np.zeros((8, 9, 1), kind)
    image[2] = 1
    assert to_agent_obs(Box(0, 1, (8, 9, 1), np.float32), image).max() == 255
    assert to_agent_obs(Box(0, 255, (8, 9, 1), np.float32), image).max() == 1


def test_errors_that_the_program_wants_of_numpy_are_not_taken_for_large_numbers():
    with np.errstate(all="raise"):
        seen = to_agent_obs(Box(-1, 1, (2,), np.float64), np.array([1e-50, 0.5]))
    assert seen.tolist() == [0.0, 0.5]


def test_one_choice_in_a_list_is_one_choice():
    sees = Box(-1, 1, (3,))
    assert spaces_of(sees, MultiDiscrete([2])) == spaces_of(sees, Discrete(2)) == Spaces(3, 2, True)
    assert spaces_of(sees, MultiDiscrete([2, 2])).choices == (2, 2)
    assert Spaces(3, 2, True, (), (2,)).plain == Spaces(3, 2, True)  # as older checkpoints have it


def test_brightness_is_rounded_and_bright_bytes_are_an_image():
    space = gymnasium.spaces.Box(0, 1, (8, 8, 1), np.float32)
    assert (to_agent_obs(space, np.full((8, 8, 1), 0.999, np.float32)) == 255).all()
    for high, image in ((127, False), (128, True), (200, True)):
        assert is_image(gymnasium.spaces.Box(0, high, (8, 8, 3), np.uint8)) == image
    assert endless(gymnasium.spaces.Box(0, 2**31 - 1, (2,), np.int32))
    assert not endless(gymnasium.spaces.Box(-1e9, 1e9, (2,)))


def test_red_is_darker_than_green_in_gray():
    space = gymnasium.spaces.Dict(camera=gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8))
    env = Plain()
    env.observation_space = space
    for channel, gray in enumerate((54, 182, 18)):
        picture = np.zeros((8, 8, 3), np.uint8)
        picture[..., channel] = 255
        assert (ResizeImages(env, gray=True).observation({"camera": picture})["camera"] == gray).all()
