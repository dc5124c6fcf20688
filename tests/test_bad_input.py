"""Bad input from outside: each is told in one line that names what was given, and none passes in silence.

The cases are grouped by the door they come through: what an environment declares, shows, pays and returns; how it is
made; the command line, settings, files, and calls from Python. Each gives the words its message must contain, as a
regular expression.
"""

from collections import namedtuple
from dataclasses import replace
from fractions import Fraction
import json
import os
from pathlib import Path
import re
import shlex
import shutil
import sys

import custom_envs
import gymnasium
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, OneOf, Sequence, Text, Tuple
import numpy as np
from PIL import Image
import pytest
import torch

from dreamer_lite import (
    Config,
    Dreamer,
    Learner,
    Refused,
    Replay,
    Spaces,
    diagnose,
    evaluate,
    load,
    make_envs,
    open_loop,
    save,
    train,
)
from dreamer_lite.__main__ import main
from dreamer_lite.envs import making
from dreamer_lite.envs.making import make_env
from dreamer_lite.envs.stepping import Envs, threshold_of
from dreamer_lite.envs.workers import WorkerEnvs

TWO = Box(-1, 1, (2,))
IMAGE = Box(0, 255, (16, 16, 3), np.uint8)
DEBUG = dict(steps=60, learn_start=40, eval_every=0, eval_episodes=1, envs=1)
GRADIENT = torch.ones(2, requires_grad=True)


def refused(call, words):
    """Calling it is refused in one line with these words."""
    with pytest.raises(Refused) as error:
        call()
    said = str(error.value)
    assert re.search(words, said), said
    assert "\n" not in said and len(said) < 1000, said


class Plain(gymnasium.Env):
    """Nine steps that pay 1, in which `bad` happens at step `at`; at=0 is the reset. Its methods are replaced by name.

    bad: observation, reward, terminated, truncated, info, or the whole result.
    """

    metadata = {"render_modes": ["rgb_array"]}
    observation_space, action_space = TWO, Discrete(2)

    def __init__(self, at=3, space=None, action=None, render_mode=None, **bad):
        self.observation_space = self.observation_space if space is None else space
        self.action_space = self.action_space if action is None else action
        self.at, self.bad, self.render_mode, self.t = at, bad, render_mode, 0
        zero = isinstance(self.observation_space, gymnasium.Space)
        self.good = self.observation_space.sample() if zero else None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.result("observation", "info") if self.at == 0 else (self.good, {})

    def step(self, action):
        self.t += 1
        if self.t != self.at:
            return self.good, 1.0, self.t >= 9, False, {}
        return self.result("observation", "reward", "terminated", "truncated", "info")

    def result(self, *names):
        usual = {"observation": self.good, "reward": 1.0, "terminated": False, "truncated": False, "info": {}}
        return self.bad["whole"] if "whole" in self.bad else tuple(self.bad.get(name, usual[name]) for name in names)

    def render(self):
        return self.bad.get("picture", np.zeros((32, 32, 3), np.uint8))


def with_methods(**methods):
    return type("Odd", (Plain,), methods)


def play(make, steps=4, count=1, kind=Envs):
    envs = kind(make, count)
    try:
        for _ in range(steps):
            envs.step(np.zeros((count, envs.spaces.action_size)))
    finally:
        envs.close()


# What an environment declares

OBSERVATION_SPACES = [
    (Text(4), "has no fixed size.*TransformObservation"),
    (Sequence(Discrete(2)), "has no fixed size"),
    (Graph(Box(0, 1, (2,)), None), "has no fixed size"),
    (OneOf((Discrete(2), TWO)), "OneOf.*has no fixed size"),
    (Dict(a=Discrete(2), b=Dict(c=Text(3))), "at b.c has no fixed size.*--ignore b"),
    (Tuple((Discrete(2), Dict(c=Text(3)))), "at 1.c has no fixed size; |at 1.c has no fixed size"),
    (Dict(a=IMAGE, b=Box(0, 255, (8, 8, 3), np.uint8)), "need the same height and width"),
    (Box(-1, 1, (0,)), "is empty"),
    (Dict({}), r"Dict\(\) is empty"),
    (Tuple(()), r"Tuple\(\) is empty"),
    (MultiDiscrete([]), "is empty"),
    (Box(0, 255, (4, 64, 64), np.uint8), "the shape must be .height, width, channels"),
    (Box(0, 1, (3, 64, 64), np.float32), "the shape must be .height, width, channels"),
    (Box(0, 255, (4, 64, 64, 3), np.uint8), "stacked images as channels too"),
    (Box(0, 255, (2, 2, 8, 8, 3), np.uint8), "images of shape .2, 2, 8, 8, 3. are not supported"),
    ([TWO], r"observation_space of the environment Plain must be one of gymnasium.spaces, got \[Box.*list"),
    ({"a": TWO}, "must be one of gymnasium.spaces, got .*builtins.dict"),
    (np.zeros(2), r"got array\(\[0., 0.\]\) .numpy.ndarray"),
    ((2,), r"got \(2,\) .builtins.tuple"),
    (4, "got 4 .builtins.int"),
    ("Box", "got 'Box' .builtins.str"),
    (Box, "got <class .*Box"),
]
ACTION_SPACES = [
    (Dict(a=Text(3)), "acts in Discrete, MultiDiscrete, MultiBinary"),
    (Text(3), "acts in Discrete.*TransformAction"),
    (Sequence(Discrete(2)), "Sequence.*is not supported"),
    (Graph(Box(0, 1, (2,)), None), "Graph.*is not supported"),
    (OneOf((Discrete(2), Discrete(3))), "OneOf.*is not supported"),
    (Box(-np.inf, np.inf, (2,)), "every number needs finite bounds"),
    (Box(0, np.inf, (2,)), "every number needs finite bounds"),
    (Box(np.finfo(np.float32).min, np.finfo(np.float32).max, (1,)), "every number needs finite bounds"),
    (Dict(a=Box(0, 1, (1,)), b=Box(-np.inf, 0, (1,))), "every number needs finite bounds"),
    (Box(-1, 1, (0,)), "is empty: there is nothing to choose"),
    (Dict({}), "is empty: there is nothing to choose"),
    (Tuple(()), r"Tuple\(\) is empty: there is nothing to choose"),
    (MultiDiscrete([]), "is not supported|is empty"),
    ([0, 1], r"action_space of the environment Plain must be one of gymnasium.spaces, got \[0, 1\]"),
    (2, "got 2 .builtins.int"),
    (Discrete, "got <class .*Discrete"),
    ("Discrete", "got 'Discrete'"),
]


@pytest.mark.parametrize("space, words", OBSERVATION_SPACES)
def test_observation_spaces(space, words):
    refused(lambda: play(lambda: Plain(space=space)), words)


@pytest.mark.parametrize("space, words", ACTION_SPACES)
def test_action_spaces(space, words):
    refused(lambda: play(lambda: Plain(action=space)), words)


# What it shows

OBSERVATIONS = [
    (IMAGE, np.zeros((3, 16, 16), np.uint8), r"shape \(3, 16, 16\), but its space declares \(16, 16, 3\)"),
    (IMAGE, np.full((16, 16, 3), 0.7), "returned 0.7 .*whole numbers .uint8"),
    (IMAGE, np.full((16, 16, 3), 300), "returned 300 .*outside its space"),
    (IMAGE, np.full((16, 16, 3), -1), "returned -1 .*outside its space"),
    (IMAGE, np.full((16, 16, 3), np.nan), "returned nan in its observation"),
    (IMAGE, None, "returned None, but its observation space"),
    (IMAGE, np.full((16, 16, 3), None), "returned ...None None None.*but its observation space"),
    (IMAGE, np.zeros((16, 16, 4), np.uint8), r"shape \(16, 16, 4\), but its space declares"),
    (IMAGE, np.zeros((16, 16), np.uint8), r"shape \(16, 16\), but its space declares"),
    (IMAGE, np.zeros(768, np.uint8), r"shape \(768,\), but its space declares"),
    (IMAGE, np.zeros((32, 32, 3), np.uint8), r"shape \(32, 32, 3\), but its space declares"),
    (Box(0, 255, (16, 8, 3), np.uint8), Image.new("RGB", (16, 8)), r"shape \(8, 16, 3\), but its space declares"),
    (Box(0, 1, (16, 16), np.float32), np.full((16, 16), 200.0), "returned 200 .*outside its space"),
    (Box(0, 1, (16, 16), np.float32), np.full((16, 16), np.inf), "returned inf in its observation"),
    (Box(0, 1, (16, 16), np.float32), np.full((16, 16), -0.5), "returned -0.5 .*outside its space"),
    (Box(0, 10, (2,), np.int64), np.array([0.5, 3.9]), "returned 0.5 .*whole numbers .int64"),
    (Box(0, 9, (2,), np.uint8), np.array([-1, 300]), "returned -1 .*outside its space"),
    (Box(0, 9, (2,), np.uint8), np.array([np.nan, 3]), "returned nan in its observation"),
    (Box(-5, 5, (2,), np.int32), np.array([2**40, 0]), "returned 1.09951e.12 .*outside its space"),
    (Box(0, 1, (2,), bool), np.array([2, 0]), "returned 2 .*outside its space"),
    (TWO, np.zeros(3), r"shape \(3,\), but its space declares \(2,\)"),
    (Box(-1, 1, (2, 3)), np.zeros((3, 2)), r"shape \(3, 2\), but its space declares \(2, 3\)"),
    (TWO, 0.5, r"shape \(\), but its space declares \(2,\)"),
    (TWO, [], r"shape \(0,\), but its space declares \(2,\)"),
    (TWO, ["a", "b"], r"returned \['a', 'b'\], but its observation space there is"),
    (TWO, ["1", "2"], r"returned \['1', '2'\], but its observation space"),
    (TWO, b"ab", "returned b'ab', but its observation space"),
    (TWO, np.array([0, np.inf]), "returned inf in its observation"),
    (TWO, np.array([0, -np.inf], np.float16), "returned -inf in its observation"),
    (TWO, np.array([0, np.nan]), "returned nan in its observation"),
    (TWO, np.array([1e300, 0]), "returned 1e.300 in its observation, which is too large for float32; scale it"),
    (Box(-1, 1, (1, 2), np.float64), np.array([[-1e39, np.nan]]), "returned -1e.39 in its observation, which is too"),
    (TWO, np.array([1j, 0]), r"returned \[0..1.j 0..0.j\], but its observation space"),
    (TWO, np.array([1.0, None], object), r"returned \[1.0 None\], but its observation space"),
    (TWO, [2**70, 0], "returned .1180591620717411303424, 0., but its observation space"),
    (TWO, np.zeros(2, "M8[D]"), "returned .'1970-01-01' '1970-01-01'., but its observation space"),
    (TWO, np.zeros(2, [("a", "f4")]), r"returned \[\(0.,\) \(0.,\)\], but its observation space"),
    (TWO, np.ma.array([1.0, 2.0], mask=[0, 1]), r"returned \[1.0 --\], in which numbers are masked"),
    (TWO, [1, [2, 3]], r"returned \[1, \[2, 3\]\], which is not an array"),
    (TWO, (np.zeros(2), {}), "returned .array.*which is not an array"),
    (TWO, GRADIENT, "requires_grad=True., which is not an array .Can't call numpy"),
    (TWO, torch.zeros(2).to_sparse(), "which is not an array .can't convert Sparse"),
    (TWO, torch.zeros(2, dtype=torch.bfloat16), "which is not an array .Got unsupported ScalarType BFloat16"),
    (TWO, torch.zeros(2, device="meta"), "which is not an array .can't convert meta"),
    (TWO, {"x": 1}, "returned {'x': 1}, but its observation space"),
    (TWO, {1, 2}, "returned {1, 2}, but its observation space"),
    (TWO, (x for x in (1, 2)), "returned <generator .*but its observation space"),
    (TWO, TWO, "returned Box.*but its observation space"),
    (TWO, np.zeros, "returned <.*zeros.*but its observation space"),
    (TWO, NotImplemented, "returned NotImplemented, but its observation space"),
    (Discrete(5), -1, "returned -1 .*outside its space Discrete.5."),
    (Discrete(5), 5, "returned 5 "),
    (Discrete(5, start=3), 2, "returned 2 .*outside its space Discrete.5, start=3."),
    (Discrete(5), 1.5, "returned 1.5 .*whole numbers"),
    (Discrete(5), float("nan"), "returned nan in its observation"),
    (Discrete(5), "1", "returned 1, but its observation space there is Discrete"),
    (Discrete(5), [0, 1, 0, 0, 0], r"shape \(5,\), but its space declares \(\)"),
    (MultiDiscrete([2, 3]), np.array([0, 3]), "returned 3 "),
    (MultiDiscrete([2, 3]), [1], r"shape \(1,\), but its space declares \(2,\)"),
    (MultiBinary(3), np.array([0, 1, 2]), "returned 2 "),
    (MultiBinary(3), np.array([0, 0.5, 1]), "returned 0.5 .*whole numbers .int8"),
    (Dict(a=Discrete(2), b=TWO), {"a": 0}, "without b, which its space"),
    (Dict(a=Discrete(2), b=TWO), {"a": 0, "b": [0, 0], "c": 1}, "with 3 parts, more than its space .* has: 'c'"),
    (Dict(a=Discrete(2), b=TWO), [0, [0, 0]], "without a, which its space"),
    (Dict(a=Discrete(2), b=TWO), "ab", "without a, which its space"),
    (Dict(a=Discrete(2), b=TWO), {"a": 0, "b": None}, "returned None in b, but its observation space"),
    (Dict(a=Discrete(2), b=TWO), {"a": 0, "b": [np.nan, 0]}, "returned nan in its observation"),
    (Dict(a=Discrete(2), b=TWO), {"a": 0, "b": [1, [2]]}, r"returned \[1, \[2\]\] in b, which is not an array"),
    (Dict(a=Dict(b=Box(0, 1, (1,)))), {"a": {"b": [0, 1]}}, r"shape \(2,\) in a.b"),
    (Dict(a=Dict(b=Box(0, 1, (1,)))), {"a": {"b": [0], "c": 3}}, "an observation in a with 2 parts, more than"),
    (Tuple((Discrete(2), Discrete(2))), (0,), "without 1, which its space"),
    (Tuple((Discrete(2), Discrete(2))), (0, 1, 1), "with 3 parts, more than its space .* has: 1"),
    (Tuple((Discrete(2), Discrete(2))), "01", "returned 0 in 0, but its observation space there is Discrete"),
]


@pytest.mark.parametrize("space, observation, words", OBSERVATIONS)
@pytest.mark.filterwarnings("error")  # a warning would be a second line
def test_observations(space, observation, words):
    """At the reset, and at a later step."""
    for at in (0, 3):
        where = f"^environment 0, step {at} of episode 0, .*{words}.*; the last checkpoint is kept$"
        refused(lambda: play(lambda: Plain(at, space, observation=observation)), where)


def test_an_observation_that_is_written_over_stays_as_it_was():
    """Many environments return one array again and again."""
    shared = np.zeros(2, np.float32)

    def step(self, action):
        shared[:] += 1
        return shared, 1.0, False, False, {}

    envs = Envs(with_methods(step=step))
    seen = [envs.step(np.zeros((1, 2))).obs for _ in range(3)]
    assert [obs[0, 0] for obs in seen[1:]] == [1, 2]


# What it pays and returns

STEPS = [
    (dict(reward=np.ones(2)), r"the reward \[1. 1.\] of shape \(2,\); it must be one number"),
    (dict(reward=[]), r"the reward \[\] of shape \(0,\); it must be one number"),
    (dict(reward=[1, [2]]), r"the reward \[1, \[2\]\]; it must be one number"),
    (dict(reward=None), "the reward None; it must be one number"),
    (dict(reward="high"), "the reward 'high'; it must be one number"),
    (dict(reward="1.5"), "the reward '1.5'; it must be one number"),
    (dict(reward=b"1.5"), "the reward b'1.5'; it must be one number"),
    (dict(reward=np.str_("2")), r"the reward np.str_\('2'\); it must be one number"),
    (dict(reward=1 + 2j), "the reward .1.2j.; it must be one number"),
    (dict(reward=np.complex64(1)), "the reward np.complex64.*; it must be one number"),
    (dict(reward=1e39), "the reward 1e.39, which is too large for float32"),
    (dict(reward=-(10**400)), "the reward -1000.*; it must be one number"),
    (dict(reward=float("nan")), "the reward nan"),
    (dict(reward=-np.inf), "the reward -inf"),
    (dict(reward=np.ma.masked), "the reward masked; it must be one number"),
    (dict(reward=GRADIENT.sum()), "the reward tensor.2., grad_fn.*; it must be one number"),
    (dict(reward=torch.ones((), device="meta")), "the reward tensor.*meta.*; it must be one number"),
    (dict(reward=np.timedelta64(3, "s")), "the reward np.timedelta64.3,'s'.; it must be one number"),
    (dict(reward={"win": 1}), "the reward {'win': 1}; it must be one number"),
    (dict(reward={1}), "the reward .1.; it must be one number"),
    (dict(reward=float), "the reward <class 'float'>; it must be one number"),
    (dict(terminated=np.array([True, False])), "the flag terminated .* must be one number"),
    (dict(terminated=None), "the flag terminated None; it must be one number"),
    (dict(terminated="False"), "the flag terminated 'False'; it must be one number"),
    (dict(terminated="0"), "the flag terminated '0'; it must be one number"),
    (dict(terminated=2), "the flag terminated 2; it must be true or false"),
    (dict(terminated=-1), "the flag terminated -1; it must be true or false"),
    (dict(terminated=0.5), "the flag terminated 0.5; it must be true or false"),
    (dict(terminated=float("nan")), "the flag terminated nan"),
    (dict(terminated=np.ma.masked), "the flag terminated masked; it must be one number"),
    (dict(terminated=torch.tensor(3)), r"the flag terminated tensor\(3\); it must be true or false"),
    (dict(truncated=[]), r"the flag truncated \[\] of shape \(0,\)"),
    (dict(truncated={}, info=False), "the info False; it must be a dict, and comes last"),
    (dict(truncated={}), "the flag truncated {}; it must be one number"),
    (dict(truncated=7), "the flag truncated 7; it must be true or false"),
    (dict(info=None), "the info None; it must be a dict"),
    (dict(info=[1]), r"the info \[1\]; it must be a dict"),
    (dict(info="done"), "the info 'done'; it must be a dict"),
    (dict(info=np.zeros(2)), "the info array.*; it must be a dict"),
    (dict(whole=(np.zeros(2), 1.0, False, {})), "4 values from step.., and Gymnasium's API has five"),
    (dict(whole=((np.zeros(2), 1.0, False, False, {}),)), "1 values from step.., and Gymnasium's API has five"),
    (dict(whole=(np.zeros(2), 1.0, False, False, {}, 6)), "6 values from step.., and Gymnasium's API has five"),
    (dict(whole=7), "a int from step.."),
    (dict(whole=None), "a NoneType from step.."),
    (dict(whole=[np.zeros(2), 1.0, False, False, {}]), "a list from step.., and Gymnasium's API has five"),
    (dict(whole={"obs": np.zeros(2)}), "a dict from step.., and Gymnasium's API has five"),
    (dict(whole=(x for x in range(5))), "a generator from step.., and Gymnasium's API has five"),
    (dict(whole=(1.0, np.zeros(2), False, False, {})), r"the reward \[0. 0.\] of shape \(2,\)"),
]
RESETS = [
    (np.zeros(2), "a ndarray from reset.., and Gymnasium's API has two: obs, info"),
    (None, "a NoneType from reset.., and Gymnasium's API has two"),
    ([np.zeros(2), {}], "a list from reset.., and Gymnasium's API has two"),
    ({"obs": np.zeros(2)}, "a dict from reset.., and Gymnasium's API has two"),
    ((np.zeros(2), {}, 1), "3 values from reset.., and Gymnasium's API has two"),
    ((np.zeros(2),), "1 values from reset.., and Gymnasium's API has two"),
    (({}, np.zeros(2)), "the info array.*; it must be a dict, and comes last"),
    ((0.0, 0.0), "the info 0.0; it must be a dict, and comes last"),
    ((np.zeros(2), None), "the info None; it must be a dict"),
]


@pytest.mark.parametrize("bad, words", STEPS)
@pytest.mark.filterwarnings("error")
def test_steps(bad, words):
    where = f"^environment 0, step 3 of episode 0, returned {words}.*; the last checkpoint is kept$"
    refused(lambda: play(lambda: Plain(**bad)), where)


@pytest.mark.parametrize("bad, words", STEPS[::6] + STEPS[35:37])
def test_steps_in_a_worker(bad, words):
    where = f"^environment 0, step 3 of episode 0, returned {words}.*; the last checkpoint is kept$"
    refused(lambda: play(lambda: Plain(**bad), kind=WorkerEnvs), where)


@pytest.mark.parametrize("whole, words", RESETS)
def test_resets(whole, words):
    where = f"^environment 0, step 0 of episode 0, returned {words}.*; the last checkpoint is kept$"
    refused(lambda: play(lambda: Plain(0, whole=whole)), where)


def test_a_later_reset_and_a_second_copy_are_named():
    def reset(self, *, seed=None, options=None):
        self.t, self.resets = 0, getattr(self, "resets", 0) + 1
        return (self.good if self.resets < 3 else None), {}

    refused(lambda: play(with_methods(reset=reset), 30), "^environment 0, step 0 of episode 2, returned None")
    made = []
    make = lambda: made.append(1) or Plain(reward=None if len(made) == 2 else 1.0)
    refused(lambda: play(make, count=2), "^environment 1, step 3 of episode 0, returned the reward None")


# How it is made, and what it lets itself be called with


def changing(**later):
    """A function whose second environment is another one."""
    made = []
    return lambda: made.append(1) or Plain(**(later if len(made) > 1 else {}))


def new_space(name, space):
    def reset(self, *, seed=None, options=None):
        setattr(self, name, space)
        return np.zeros(3, np.float32), {}

    return with_methods(reset=reset)


def leave(*_, **__):
    sys.exit("no licence")


class Bare(gymnasium.Env):
    observation_space, action_space = TWO, Discrete(2)


class NoSpaces(gymnasium.Env):
    reset, step = Plain.reset, Plain.step


PLAIN = Plain()
Spec = namedtuple("Spec", "id reward_threshold")
ENVIRONMENTS = {
    "nothing": (lambda: None, "must return a gymnasium.Env, got NoneType"),
    "a number": (lambda: 3, "must return a gymnasium.Env, got int"),
    "a class": (lambda: Plain, "must return a gymnasium.Env, got type"),
    "a pair": (lambda: (Plain(),), "must return a gymnasium.Env, got tuple"),
    "a generator": (lambda: (x for x in [Plain()]), "must return a gymnasium.Env, got generator"),
    "a vector": (lambda: gymnasium.make_vec("CartPole-v1", num_envs=2), "got CartPoleVectorEnv"),
    "no base class": (type("Duck", (), {}), "must return a gymnasium.Env, got Duck"),
    "ends": (leave, "that makes the environment ended the program"),
    "the same": (lambda: PLAIN, "returned the same object again"),
    "other numbers": (changing(space=Box(-1, 1, (3,))), "copy 1 of the environment sees 3 numbers.* copy 0 sees 2"),
    "other choices": (changing(action=Discrete(3)), "copy 1 .*chooses 1 of 3, but copy 0 .*chooses 1 of 2"),
    "other kind": (changing(action=TWO), "copy 1 .*chooses 2 numbers, but copy 0 .*chooses 1 of 2"),
    "image": (changing(space=IMAGE), "copy 1 .*sees a 16 × 16 × 3 image and .* copy 0 sees 2 numbers"),
    "new observation": (new_space("observation_space", Box(-1, 1, (3,))), "changed its observation_space from Box"),
    "new action": (new_space("action_space", Discrete(9)), r"changed its action_space from Discrete.2. to Discrete.9."),
    "no step": (with_methods(step=None), "the environment Odd has no method step"),
    "no reset": (with_methods(reset=None), "the environment Odd has no method reset"),
    "base alone": (Bare, "the environment Bare has no method reset"),
    "no seed": (with_methods(reset=lambda self: 0), r"Odd can't be called as Gymnasium calls it, reset\(seed=…\)"),
    "no action": (with_methods(step=lambda self: 0), r"Odd can't be called as Gymnasium calls it, step\(action\)"),
    "two actions": (with_methods(step=lambda self, a, b: 0), "step.action.: missing a required argument: 'b'"),
    "no spaces": (NoSpaces, "NoSpaces has no observation_space"),
    "no action space": (type("A", (NoSpaces,), {"observation_space": TWO}), "the environment A has no action_space"),
    "a method": (with_methods(observation_space=lambda self: TWO), "must be one of gymnasium.spaces, got <bound"),
    "None": (type("N", (NoSpaces,), {"observation_space": None}), "must be one of gymnasium.spaces, got None"),
    "threshold text": (with_methods(spec=Spec("A-v0", "475")), "reward_threshold of 'A-v0' must be .*got '475'"),
    "threshold true": (with_methods(spec=Spec("A-v0", True)), "reward_threshold of 'A-v0' .*got True"),
    "threshold huge": (with_methods(spec=Spec("A-v0", 10**400)), "reward_threshold of 'A-v0' must be a finite"),
    "threshold nan": (with_methods(spec=Spec("A-v0", float("nan"))), "reward_threshold of 'A-v0' .*got nan"),
    "ends in reset": (with_methods(reset=lambda self, seed: leave()), "step 0 of episode 0, ended the program"),
    "ends in step": (with_methods(step=leave), "step 1 of episode 0, ended the program"),
    "generator step": (with_methods(step=lambda self, a: (x for x in "a")), "a generator from step"),
    "reset is Env's": (type("R", (Plain,), {"reset": gymnasium.Env.reset}), "R has no method reset"),
    "step is Env's": (type("S", (Plain,), {"step": gymnasium.Env.step}), r"step 1 .*has no method step\(\) of its own"),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(name):
    make, words = ENVIRONMENTS[name]
    refused(lambda: play(make, count=2), words)


def test_what_an_environment_changes_around_it_does_no_harm(tmp_path, monkeypatch):
    """Gradients turned off, another folder; another default type is refused."""
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for there, change in (("a", lambda: torch.set_grad_enabled(False)), ("b", lambda: os.chdir(elsewhere))):
        changes = with_methods(__init__=lambda self, change=change: (Plain.__init__(self), change())[0])
        try:
            card = train(Config.preset("debug", **DEBUG), there, progress=False, make_env=changes)
        finally:
            torch.set_grad_enabled(True)
        assert card["train_steps"] > 0 and (tmp_path / there / "card.json").exists() and not any(elsewhere.iterdir())
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as named:
        named.setattr(making, "make_env", lambda *_, **how: changes())
        agent = Dreamer(Config.preset("debug", **DEBUG), Spaces(2, 2, True))
        save("agent.pt", agent)
        for words, files in (
            ("dream agent.pt --steps 3 --context 0 --out shown", ["shown/dream.png", "shown/dream.gif"]),
            ("dream agent.pt --steps 3 --context 0", ["dream.png", "dream.gif"]),
            ("diagnose agent.pt --out page.html", ["page.html"]),
        ):
            monkeypatch.chdir(tmp_path)
            assert main(words.split()) == 0 and all((tmp_path / file).exists() for file in files)
            assert not any(elsewhere.iterdir())
    monkeypatch.chdir(tmp_path)
    kind = with_methods(__init__=lambda self: (Plain.__init__(self), torch.set_default_dtype(torch.float64))[0])
    try:
        words = "default type is torch.float64 here, set by the environment"
        refused(lambda: train(Config.preset("debug", **DEBUG), "c", progress=False, make_env=kind), words)
    finally:
        torch.set_default_dtype(torch.float32)
    assert not Path("c").exists()


# By what name it is made


class Shapeless(Plain):
    """Declared without bounds that Gymnasium's own checks would ask for."""

    metadata = None


def needs_more(env, size):
    return env


def broken(env):
    raise KeyError("what a user should see")


def ends(env):
    sys.exit()


def vector(env):
    return gymnasium.make_vec("CartPole-v1", num_envs=1)


class Wrong:
    def __init__(self, env):
        pass


def register(name, make, **more):
    if name not in gymnasium.registry:
        gymnasium.register(name, make, **more)


HERE = __name__
custom_envs.register()
for version in ("v1", "v3"):
    register(f"Versions-{version}", Plain)
register("Needs-v0", lambda table: Plain())
register("Nothing-v0", lambda: None)
register("Number-v0", lambda: 3)
register("Ends-v0", leave)
register("NoModule-v0", "no_such_module.envs:Thing")
register("NoClass-v0", f"{HERE}:Thing")
register("NoData-v0", Shapeless)
register("Threshold-v0", Plain, reward_threshold="475")
register("Parts-of-v0", lambda: Plain(space=Dict(eye=IMAGE, speed=TWO, mission=Text(9))))
for picture in (None, "text", [np.zeros((32, 32, 3), np.uint8)], np.zeros(5)):
    register(f"Draws{type(picture).__name__}-v0", Plain, kwargs={"picture": picture})

MAKING = [
    (dict(name="Nope-v0"), "environment 'Nope-v0' cannot be made: .*doesn't exist"),
    (dict(name="cartpole-v1"), "Did you mean: `CartPole`"),
    (dict(name="CartPole-v99"), "It provides versioned environments: . `v0`, `v1` ."),
    (dict(name="CartPole-v1.5"), "`CartPole-v1.5` doesn't exist"),
    (dict(name="CartPole-v1 "), "Malformed environment ID: CartPole-v1 "),
    (dict(name="Versions-v2"), "Environment version v2 for `Versions` is deprecated"),
    (dict(name=""), "environment '' cannot be made: Malformed environment ID"),
    (dict(name="./my_env.py"), "Malformed environment ID: ./my_env.py"),
    (dict(name="nowhere/Thing-v0"), "Namespace nowhere not found"),
    (dict(name="no_such_module:CartPole-v1"), "No module named 'no_such_module'"),
    (dict(name=f"{HERE}.sub:CartPole-v1"), "is not a package"),
    (dict(name="my-module:CartPole-v1"), "'my-module' is not a module name"),
    (dict(name="a:b:CartPole-v1"), "'a:b' is not a module name"),
    (dict(name=":CartPole-v1"), "'' is not a module name"),
    (dict(name="..up:CartPole-v1"), "'..up' is not a module name"),
    (dict(name="module_that_ends:CartPole-v1"), "importing the module module_that_ends ended the program"),
    (dict(name="Ends-v0"), "its constructor ended the program .SystemExit"),
    (dict(name="Needs-v0"), "cannot be made: TypeError: .*missing 1 required positional argument: 'table'"),
    (dict(name="Nothing-v0"), "must inherit from the gymnasium.Env class, actual class: <class 'NoneType'>"),
    (dict(name="Number-v0"), "must inherit from the gymnasium.Env class, actual class: <class 'int'>"),
    (dict(name="NoModule-v0"), "No module named 'no_such_module'"),
    (dict(name="NoClass-v0"), "has no attribute 'Thing'"),
    (dict(name="NoData-v0"), "Expect the environment metadata to be dict"),
    (dict(name="NoData-v0", render=True), "Expect the environment metadata to be dict"),
    (dict(name="HalfCheetah-v2"), "have been moved to the gymnasium-robotics project"),
    (dict(name="GymV21Environment-v0"), "pip install .shimmy"),
    (
        dict(name="CartPole-v1", args=["nope=1"]),
        "with --env_args nope=1: TypeError.*unexpected keyword argument 'nope'",
    ),
    (dict(name="CartPole-v1", args=["=3"]), "takes key=value, .* got '=3'"),
    (dict(name="CartPole-v1", args=["3=4"]), "takes key=value, .* got '3=4'"),
    (dict(name="CartPole-v1", args=["a = 1"]), "takes key=value, .* got 'a = 1'"),
    (dict(name="CartPole-v1", args=["alone"]), "takes key=value, .* got 'alone'"),
    (dict(name="CartPole-v1", args=["id=3"]), r"not id or render_mode\), got 'id=3'"),
    (dict(name="CartPole-v1", args=["render_mode=human"]), "not id or render_mode"),
    (dict(name="CartPole-v1", args=["a=1", "b=2", "a=2"]), "--env_args gives a twice: a=1 b=2 a=2; give it once"),
    (dict(name="CartPole-v1", args=["a={[1, 2], [3, 4]}"]), "with --env_args a={.*unexpected keyword argument 'a'"),
    (dict(name="CartPole-v1", args=["max_episode_steps=ten"]), "Expect the `max_episode_steps` to be an integer"),
    (dict(name="CartPole-v1", args=["max_episode_steps=0"]), "Expect the `max_episode_steps` to be positive"),
    (dict(name="FrozenLake-v1", args=["map_name=9x9"]), "with --env_args map_name=9x9: KeyError: '9x9'"),
    (dict(name="FrozenLake-v1", args=["desc=[1,2]"]), r"with --env_args desc=\[1,2\]: ValueError"),
    (dict(name="CartPole-v1", wrap="nowhere:f"), "needs module:function, .*got 'nowhere:f'"),
    (dict(name="CartPole-v1", wrap=f"{HERE}:nothing"), "needs module:function.*has no attribute 'nothing'"),
    (dict(name="CartPole-v1", wrap=f"{HERE}:"), "needs module:function"),
    (dict(name="CartPole-v1", wrap="broken"), "needs module:function, .*got 'broken'"),
    (dict(name="CartPole-v1", wrap=":broken"), "needs module:function, .*'' is not a module name"),
    (dict(name="CartPole-v1", wrap="module_that_ends:f"), "importing the module module_that_ends ended the program"),
    (dict(name="CartPole-v1", wrap="math:pi"), "'math:pi' is, or returns, a float"),
    (dict(name="CartPole-v1", wrap="builtins:print"), "'builtins:print' is, or returns, a NoneType"),
    (dict(name="CartPole-v1", wrap=f"{HERE}:vector"), "is, or returns, a CartPoleVectorEnv"),
    (dict(name="CartPole-v1", wrap=f"{HERE}:Wrong"), "is, or returns, a Wrong"),
    (dict(name="CartPole-v1", wrap=f"{HERE}:ends"), "ends can't wrap this environment: SystemExit"),
    (dict(name="CartPole-v1", wrap=f"{HERE}:needs_more"), "missing 1 required positional argument: 'size'"),
    (dict(name="CartPole-v1", wrap="gymnasium.wrappers:TimeLimit"), "missing 1 required .*'max_episode_steps'"),
    (dict(name="CartPole-v1", wrap="gymnasium.wrappers:GrayscaleObservation"), "requires an image with 3 channels"),
    (dict(name="CartPole-v1", wrap="gymnasium:make"), "gymnasium:make can't wrap this environment: TypeError"),
    (dict(name="CartPole-v1", see="x"), "choose parts of a Dict observation; this one is Box"),
    (dict(name="Parts-of-v0", see="ears"), "leave nothing to see; the parts are eye, speed, mission"),
    (dict(name="Parts-of-v0", ignore=".*"), "leave nothing to see; the parts are eye, speed, mission"),
    (dict(name="Parts-of-v0", see="ey"), "leave nothing to see"),
    (dict(name="Parts-of-v0", ignore="("), r"take regular expressions.*ignore='\('"),
    (dict(name="Parts-of-v0", see="*"), r"take regular expressions.*see='\*'"),
    (dict(name="FrozenLake-v1", args=["render_mode=ansi"], pixels=32), "not id or render_mode"),
    (dict(name="CartPole-v1", gray=True), "--gray needs images; add --pixels 64"),
    (dict(name="DrawsNoneType-v0", pixels=16), "to return a numpy array, got <class 'NoneType'>"),
    (dict(name="Drawsstr-v0", pixels=16), "to return a numpy array, got <class 'str'>"),
    (dict(name="Drawslist-v0", pixels=16), "to return a numpy array, got <class 'list'>"),
    (dict(name="Drawsndarray-v0", pixels=16), "can't convert images|--gray needs images"),
]


@pytest.mark.parametrize("given, words", MAKING)
@pytest.mark.filterwarnings("ignore")  # what Gymnasium says about old versions
def test_making(given, words, tmp_path, monkeypatch):
    (tmp_path / "module_that_ends.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    refused(lambda: make_env(**given), words)


def test_a_pattern_that_leaves_nothing_out_is_told_once(capsys):
    for _ in range(2):
        make_env("Parts-of-v0", ignore="mision")
        make_env("Parts-of-v0", ignore="mission")
    words = "--ignore mision matches the whole name of no part, so it leaves none out; there are eye, speed, mission"
    assert capsys.readouterr().err == f"dreamer_lite: {words}\n"


def test_a_threshold_that_is_no_number_is_refused_before_the_run(tmp_path):
    config = Config.preset("debug", env="Threshold-v0", **DEBUG)
    refused(lambda: train(config, tmp_path / "run", progress=False), "reward_threshold of 'Threshold-v0' must be")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("threshold", [np.float32(475), np.int64(475), 475, Fraction(950, 2), None])
def test_a_threshold_may_be_any_real_number(threshold):
    found = threshold_of(with_methods(spec=Spec("A-v0", threshold))())
    assert found == threshold and (found is None or type(found) is float)


def test_a_bug_in_a_users_wrapper_keeps_its_traceback():
    with pytest.raises(KeyError, match="what a user should see"):
        make_env("CartPole-v1", wrap=f"{HERE}:broken")


# The command line

COMMAND_LINE = {
    "--batchsize 3": "Perhaps you meant: --batch_size INT",
    "--batch_size x": "'x' is not a whole number",
    "--threads None": "'None' is not a whole number",
    "--until None": r"invalid choice 'None' for argument '--until'. Expected one of \('solved', 'held', 'steps'\)",
    "--batch-size 0": "batch_size must be positive, got 0",
    "--env Nope-v0": "'Nope-v0' cannot be made",
    "--env Unbounded-v0": "every number needs finite bounds",
    "--env": "Missing value for argument '--env'",
    "--env ''": "env must be non-empty text, got ''",
    "--env -v0": "Missing value for argument '--env'",
    "--env CartPole-v1 Pendulum-v1": "Unrecognized options: Pendulum-v1|Available subcommands",
    "--device foo": "auto, cpu, cuda or cuda:N",
    "--device cuda:99": "CUDA devices here",
    "--device cuda:": "device 'cuda:' is unknown",
    "--device CPU": "device 'CPU' is unknown",
    "--device cpu:0": "device 'cpu:0' is unknown",
    "--device ''": "device '' is unknown",
    "--device mps": "has been tested there; use --device cpu or auto",
    "--deter 10 --blocks 4": "deter=10 and blocks=4",
    "--seq_len 200000": "replay_size of at least",
    "--preset huge": "preset 'huge' is unknown; choose one of small, cpu, general",
    "--preset Small": "preset 'Small' is unknown",
    "--preset ''": "preset '' is unknown",
    "--resume /nowhere": "no checkpoint at",
    "--resume ''": "no checkpoint at",
    "--resume file": "takes a run's folder, got the file file",
    "--resume full": "no checkpoint at full/checkpoint.pt",
    "--resume odd": "no checkpoint at odd/checkpoint.pt",
    "evaluate /nowhere": "no checkpoint at",
    "evaluate file": "checkpoint file cannot be read",
    "evaluate full": "no checkpoint at full/checkpoint.pt",
    "evaluate one two": "Unrecognized options: two",
    "evaluate /nowhere --episodes 0": "--episodes must be at least 1, got 0",
    "evaluate /nowhere --episodes x": "'x' is not a whole number",
    "evaluate /nowhere --seed -1": "--seed must be at least 0, got -1",
    "evaluate /nowhere --device foo": "device 'foo' is unknown",
    "evaluate": "RUN a run's folder",
    "dream": "RUN a run's folder",
    "dream /nowhere --steps 0": "--steps must be at least 1, got 0",
    "dream /nowhere --context -1": "--context must be at least 0, got -1",
    "dream /nowhere --seed -5": "--seed must be at least 0, got -5",
    "dream /nowhere --video a.avi": "--video takes a file that ends in .gif or .mp4, got a.avi",
    "dream /nowhere --video full": "--video takes a file that ends in .gif or .mp4, got full",
    "dream /nowhere --video a.gif --out full": "--video names its own file; leave out --out",
    "dream /nowhere --video a.gif --steps 0": "--steps must be at least 1, got 0",
    "dream /nowhere --video a.gif": "no checkpoint at",
    "dream /nowhere --video file/a.gif": "file/a.gif cannot be written",
    "compare": "compare needs at least one run.s folder",
    "compare full": "full is not a run's folder: it has no config.json; give the folders of runs",
    "compare /nowhere file": "/nowhere is not a run's folder",
    "compare full --out curves.jpg": "--out takes a file that ends in .png, .svg or .pdf, got curves.jpg",
    "compare full --out full": "--out takes a file that ends in .png",
    "compare full --x hours": "invalid choice 'hours'",
    "diagnose": "RUN a run's folder",
    "diagnose /nowhere": "no checkpoint at",
    "diagnose /nowhere --out full": "--out needs the name of a file, got the folder full; give for example full/name",
    "diagnose /nowhere --out file/page.html": "cannot be written",
    "export": "RUN a run's folder",
    "export /nowhere": "no checkpoint at",
    "bench --shape x": "invalid choice 'x'",
    "bench --repeats 0": "--repeats must be at least 1, got 0",
    "bench --threads -1": "threads must be 0 or more",
    "bench --device cuda:5": "CUDA devices here",
    "bench extra": "Unrecognized options: extra",
    "warm --threads -1": "threads must be 0 or more",
    "warm --preset nope": "preset 'nope' is unknown",
    "warm --batch_size 0": "batch_size must be positive, got 0",
    "frobnicate": "Available subcommands: train, evaluate",
    "TRAIN": "Available subcommands: train, evaluate",
    "train extra": "Unrecognized options: extra",
    "extra": "Available subcommands: train, evaluate",
    "--steps -5": "steps must be positive, got -5",
    "--steps 1e3.5": "'1e3.5' is not a whole number",
    "--steps inf": "'inf' is not a whole number",
    "--steps 0x10": "'0x10' is not a whole number",
    "--steps 1,000": "'1,000' is not a whole number",
    "--steps ''": "'' is not a whole number",
    "--world_lr nan": "must be a finite number",
    "--world_lr 0": "world_lr must be positive, got 0.0",
    "--actor_lr fast": "Error parsing --actor_lr",
    "--lr fast": "Error parsing --lr",
    "--lr 0": "dreamer_lite: lr must be positive, got 0.0",
    "--lr -1e-3": "dreamer_lite: lr must be positive, got -0.001",
    "--critic_lr 1e50": "critic_lr must be a finite number below 2.40",
    "--seed -1": "seed must be 0 or more, got -1",
    "--seed 100000000000000000000": "seed must be",
    "--seed 1.5": "'1.5' is not a whole number",
    "--out file": "file cannot be written",
    "--out file/nope": "file/nope cannot be written",
    "--out full": "full is not empty",
    "--out ''": "is not empty",
    "--out odd": "odd already holds a run",
    "--out new --resume full": "no checkpoint at",
    "--threads -2": "threads must be 0 or more",
    "--threads 100000": "threads must be 0 or more and at most 1024, got 100000",
    "--threads 1.5": "'1.5' is not a whole number",
    "--deter 400000000000": "does not fit into the memory",
    "--imag_last 999": "imag_last=999",
    "--env os:Nope-v0": "'os:Nope-v0' cannot be made",
    "--env nomod:Nope-v0": "No module named 'nomod'",
    "--env a:b:c": "'a:b' is not a module name",
    "--env ..foo:Bar-v0": "is not a module name",
    "--env :CartPole-v1": "is not a module name",
    "--env no,name": "Malformed environment ID",
    "--discount_horizon 0.5": "discount_horizon must be at least 1.001",
    "--episodes -1": "episodes must be 0 or more",
    "--latent_dim": "--latent_dim",
    "--capture on --device cpu": "--capture on needs a GPU",
    "--capture maybe": "invalid choice 'maybe' for argument '--capture'",
    "--replay_on_host --capture on --device cpu": "--capture on needs a GPU",
    "--until never": "invalid choice 'never' for argument '--until'",
    "--gray True": "Unrecognized options: True|Available subcommands",
    "--pixels yes": "'yes' is not a whole number",
    "--pixels 5": "pixels must be 0, or at least 8",
    "--pixels 100000": "pixels must be from 0 to 4096",
    "--pixels 65": "images of 65 × 65 are not supported",
    "--env Counting-v0 --pixels 32": "--pixels needs an environment that renders images",
    "--gray": "--gray needs images",
    "--mults": "mults needs at least one number",
    "--mults 2 0": "mults must be positive",
    "--mults 2 x": "Error parsing --mults",
    "--kernel 1 --strided": "kernel must be at least 2 where convolutions are strided",
    "--workers 2": "workers must be 0 or equal to envs",
    "--env_args is_slippery": "takes key=value",
    "--learn_rate 3": "Unrecognized options|Unrecognized option",
    "--steps 3 --verbose": "Unrecognized options: --verbose|Unrecognized option",
}
OTHERS = ("evaluate", "dream", "compare", "diagnose", "export", "bench", "warm", "frobnicate", "extra", "TRAIN")


@pytest.mark.parametrize("words", COMMAND_LINE)
def test_command_line(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    for folder in ("full/here", "odd/checkpoint.pt"):
        Path(folder).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    given = shlex.split(words)
    try:
        code = main(given + ([] if given[0] in OTHERS else ["--quiet"]))
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    plain = " ".join("".join(letter for letter in error if letter not in "│╭╮╰╯─").split())
    assert code == 2 and re.search(COMMAND_LINE[words].replace("--", "-?-"), plain), error
    # What is refused once all options are read is one line; what can't be read is shown in a box, with the option's
    # own help.
    assert error.startswith("dreamer_lite: ") and error.count("\n") == 1 or "For full helptext" in plain, error
    assert sorted(tmp_path.rglob("*")) == before or not [*tmp_path.glob("runs/*")]


# Settings

SETTINGS = [
    *(dict([pair]) for pair in dict(discount_horizon=1, batch_size=2.5, env=3, groups=True, seq_len=1).items()),
    *(dict(discount_horizon=value) for value in (0.5, float("inf"), -1)),
    *(dict(seed=value) for value in (2**64, -1, 1.5, "0", None)),
    *(dict(entropy=value) for value in (float("inf"), float("nan"), -1.0)),
    *(dict([pair]) for pair in dict(min_std=2.0, return_low=0.99, imag_last=1, deter=10, lam=1.5).items()),
    *(dict([pair]) for pair in dict(scale_rep=-1.0, beta2=1.0, bins=1, episodes=-1, log_every=0, envs=0).items()),
    *(dict(unimix=value) for value in (1.0, 1.5, -0.1, 1e-60, None, "0.5")),
    *(dict([pair]) for pair in dict(horizon=0, classes=1, blocks=0, hidden=0, rssm_hidden=-1, kernel=0).items()),
    *(dict([pair]) for pair in dict(bin_limit=100, max_std=0, clip=0, epsilon=0, average=2, slow_rate=0).items()),
    *(dict([pair]) for pair in dict(epsilon=1e-300, clip=1e-50, clip_floor=1e-60, return_limit=1e-40).items()),
    *(dict([pair]) for pair in dict(train_ratio=0, learn_start=-1, env_seconds=-1, eval_steps=0, workers=-1).items()),
    *(dict(steps=value) for value in (0, 1e5, "many", True, np.array([3, 4]), 2**40)),
    *(dict(lam=value) for value in (torch.tensor([0.5]), np.array([0.5, 1]), 1j, True)),
    *(dict(gray=value) for value in (1, "yes", None)),
    *(dict(env=value) for value in (None, "", b"CartPole-v1", Path("CartPole-v1"))),
    *(dict(env_args=value) for value in ("a=1", {"a": 1}, (1,), ("",), None)),
    *(dict(mults=value) for value in (3, [2, "x"], range(3), [], [-1])),
    *(dict(wrap=value) for value in (lambda env: env, None)),
    *(dict(see=value) for value in (["a"], None)),
    *(dict(pixels=value) for value in (7, 5000, -1, "64")),
    *(dict(eval_in=value) for value in ("nowhere", "", None)),
    dict(workers=1, eval_in="training"),
    dict(workers=3),
    dict(seq_len=5000, replay_size=100),
    dict(kernel=1, strided=True),
]


@pytest.mark.parametrize("changes", SETTINGS)
def test_settings(changes):
    refused(lambda: Config.preset("small", **changes), next(iter(changes)).replace("workers", "workers|eval_in"))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Config.preset("samll"), "preset 'samll' is unknown; choose one of small, cpu, general"),
        (lambda: Config.preset(None), "preset None is unknown"),
        (lambda: Config.preset(["small"]), r"preset \['small'\] is unknown"),
        (lambda: Config.preset("debug", stesp=3), "there is no setting 'stesp'; perhaps you mean steps"),
        (lambda: Config.preset("debug", zzz=3), "there is no setting 'zzz'$"),
        (lambda: Config(3), "env must be non-empty text, got 3"),
    ],
)
def test_presets(make, words):
    refused(make, words)


# Calls from Python

AGENT = Dreamer(Config.preset("debug", **DEBUG), Spaces(4, 2, True))
CONFIG = AGENT.config
SIZES = dict(capacity=40, obs_size=4, action_size=2, deter=8, groups=2, classes=4)


def run(config=CONFIG, out="run", **how):
    return lambda: train(config, out, **{"progress": False, **how})


def step(actions, name="CartPole-v1", count=1):
    return lambda: make_envs(name, count).step(actions)


PYTHON = {
    "train dict": (run({}), "train needs a Config, .* got dict"),
    "train None": (run(None), "train needs a Config, .* got NoneType"),
    "train class": (run(Config), "train needs a Config, .* got Config"),
    "train text": (run("small"), "train needs a Config, .* got str .'small'"),
    "train agent": (run(AGENT), "train needs a Config, .* got Dreamer"),
    "out None": (run(out=None), "a run's folder is named by text or a Path, got NoneType"),
    "out number": (run(out=3), "a run's folder is named by text or a Path, got int .3."),
    "out list": (run(out=["a"]), "a run's folder is named by text or a Path, got list"),
    "out bytes": (run(out=b"run"), "a run's folder is named by text or a Path, got bytes"),
    "out null": (run(out="a\0b"), "can't be named .*holds a null character"),
    "out long": (run(out="x" * 300), "cannot be written .*File name too long"),
    "out file": (run(out="a.pt"), "cannot be written"),
    "out below a file": (run(out="a.pt/x"), "cannot be written"),
    "out full": (run(out="."), "is not empty"),
    "unknown": (run(steps=100), "train has no option 'steps'; it has device, until.* belong to the Config"),
    "threads": (run(threads=4), "train has no option 'threads'"),
    "until": (run(until="sloved"), "until must be one of solved, held, steps, got 'sloved'"),
    "until 3": (run(until=3), "until must be one of solved, held, steps, got 3"),
    "device": (run(device="tpu"), "device 'tpu' is unknown"),
    "device 0": (run(device=0), "device '0' is unknown"),
    "device gone": (run(device="cuda:77"), "device 'cuda:77' is not available"),
    "capture": (run(capture="yes"), "capture must be one of auto, on, off, got 'yes'"),
    "capture True": (run(capture=True), "capture must be one of auto, on, off, got True"),
    "compile": (run(compile="yes"), "compile must be one of auto, on, off, got 'yes'"),
    "tensorboard": (run(tensorboard=1), "tensorboard must be true or false, got 1"),
    "progress": (run(progress="no"), "progress must be true or false, got 'no'"),
    "resume text": (run(resume="yes"), "resume must be true or false, got str .'yes'"),
    "resume None": (run(resume=None), "resume must be true or false, got NoneType"),
    "resume nothing": (run(resume=True), "there is no checkpoint at"),
    "make_env ID": (run(make_env="CartPole-v1"), "make_env takes a function .*Config.env='CartPole-v1'"),
    "make_env beside": (
        run(replace(CONFIG, wrap="os:remove", pixels=64), make_env=Plain),
        "make_env makes the whole environment, so these settings would change nothing: wrap, pixels; leave them out",
    ),
    "make_env number": (run(make_env=3), "a function that returns a new gymnasium.Env at each call.*got int"),
    "make_env itself": (run(make_env=Plain()), "a function that returns a new gymnasium.Env.*got Plain"),
    "make_env None": (run(make_env=lambda: None), "must return a gymnasium.Env, got NoneType"),
    "make_env needs": (run(make_env=lambda size: None), "must work without arguments: missing .*'size'"),
    "on_step": (run(on_step=3), "on_step must be a function of one argument, the Training; got 3"),
    "on_step none": (run(on_step=lambda: None), "on_step must be a function of one argument"),
    "processes": (run(processes=3), "processes must be those of torchrun, got int"),
    "evaluate None": (lambda: evaluate(None), "an evaluation needs a Dreamer, .*got NoneType"),
    "evaluate path": (lambda: evaluate("a.pt"), "an evaluation needs a Dreamer, .*got str .'a.pt'"),
    "evaluate learner": (lambda: evaluate(Learner(AGENT)), "an evaluation needs a Dreamer, .*got Learner"),
    "evaluate weights": (lambda: evaluate(AGENT.state_dict()), "needs a Dreamer, .*got OrderedDict"),
    "evaluate class": (lambda: evaluate(Dreamer), "needs a Dreamer, .*got Dreamer"),
    "evaluate 0": (lambda: evaluate(AGENT, episodes=0), "episodes must be a whole number, at least 1 .*got 0"),
    "evaluate 1.5": (lambda: evaluate(AGENT, episodes=1.5), "episodes must be a whole number.*got 1.5"),
    "evaluate '3'": (lambda: evaluate(AGENT, episodes="3"), "episodes must be a whole number.*got '3'"),
    "evaluate True": (lambda: evaluate(AGENT, episodes=True), "episodes must be a whole number.*got True"),
    "evaluate seed": (lambda: evaluate(AGENT, seed=-1), "seed must be a whole number, at least 0.*got -1"),
    "evaluate big": (lambda: evaluate(AGENT, seed=2**64), "seed must be a whole number.*below 2.40"),
    "evaluate greedy": (lambda: evaluate(AGENT, greedy="no"), "greedy must be true or false, got str .'no'"),
    "evaluate 3": (lambda: evaluate(AGENT, 3), "or a function that returns a new gymnasium.Env.*got int"),
    "evaluate list": (lambda: evaluate(AGENT, ["CartPole-v1"]), "got list"),
    "evaluate ''": (lambda: evaluate(AGENT, ""), "env must be non-empty text, got ''"),
    "evaluate spec": (lambda: evaluate(AGENT, gymnasium.spec("CartPole-v1")), "got EnvSpec"),
    "evaluate vector": (lambda: evaluate(AGENT, vector(None)), "got CartPoleVectorEnv"),
    "evaluate Env": (lambda: evaluate(AGENT, gymnasium.Env), "the environment Env has no"),
    "evaluate other": (
        lambda: evaluate(AGENT, "Pendulum-v1"),
        "an agent in Pendulum-v1 sees 3 numbers.*but this agent",
    ),
    "evaluate given": (lambda: evaluate(AGENT, Plain()), "an agent in the given environment sees 2 numbers"),
    "evaluate bad": (lambda: evaluate(AGENT, lambda: Plain(space=Box(-1, 1, (4,)), reward="a")), "the reward 'a'"),
    "evaluate unknown": (lambda: evaluate(load("a.pt", env="Nope-v0")), "'Nope-v0' cannot be made"),
    "dream None": (lambda: open_loop(None), "a dream needs a Dreamer, .*got NoneType"),
    "dream 0": (lambda: open_loop(AGENT, steps=0), "steps must be a whole number, at least 1"),
    "dream context": (lambda: open_loop(AGENT, context=-1), "context must be a whole number, at least 0"),
    "dream '3'": (lambda: open_loop(AGENT, steps="3"), "steps must be a whole number.*got '3'"),
    "dream seed": (lambda: open_loop(AGENT, seed=None), "seed must be a whole number.*got None"),
    "dream long": (lambda: open_loop(AGENT, context=400), "the episode ended within 400 steps, before the dream"),
    "dream other": (lambda: open_loop(AGENT, "Pendulum-v1"), "an agent in Pendulum-v1 sees 3 numbers"),
    "envs count": (lambda: make_envs("CartPole-v1", 0), "count must be a whole number, at least 1.*got 0"),
    "envs 1.5": (lambda: make_envs("CartPole-v1", 1.5), "count must be a whole number.*got 1.5"),
    "envs seed": (lambda: make_envs("CartPole-v1", 1, "0"), "seed must be a whole number.*got '0'"),
    "envs seconds": (lambda: make_envs("CartPole-v1", seconds=-1), "seconds must be a number, 0 or more, got -1"),
    "envs 'x'": (lambda: make_envs("CartPole-v1", seconds="x"), "seconds must be a number, 0 or more, got 'x'"),
    "envs itself": (lambda: make_envs(Plain()), "a function that returns a new gymnasium.Env.*got Plain"),
    "actions short": (step(np.zeros((1, 1))), r"actions of shape \(1, 1\) were given; 1 environments need \(1, 2\)"),
    "actions flat": (step(np.zeros(2)), r"actions of shape \(2,\)"),
    "actions indices": (step(np.array([1])), r"actions of shape \(1,\)"),
    "actions of one": (step(np.zeros((1, 2)), count=2), r"2 environments need \(2, 2\)"),
    "actions wide": (step(np.zeros((1, 2)), "Pendulum-v1"), r"1 environments need \(1, 1\)"),
    "actions None": (step(None), r"actions of shape \(\)"),
    "load None": (lambda: load(None), "a checkpoint is named by text or a Path, got NoneType"),
    "load list": (lambda: load(["a.pt"]), "a checkpoint is named by text or a Path, got list"),
    "load null": (lambda: load("a\0b"), "holds a null character"),
    "load long": (lambda: load("x" * 300), "cannot be read: .*File name too long"),
    "load folder": (lambda: load("."), "there is no checkpoint at checkpoint.pt"),
    "load nothing": (lambda: load("nope.pt"), "there is no checkpoint at nope.pt"),
    "load device": (lambda: load("a.pt", "tpu"), "device 'tpu' is unknown"),
    "load cuda": (lambda: load("a.pt", "cuda:77"), "device 'cuda:77' is not available"),
    "load env": (lambda: load("a.pt", env=3), "env must be non-empty text, got 3"),
    "load wrap": (lambda: load("a.pt", wrap=3), "wrap must be text, got 3"),
    "load args": (lambda: load("a.pt", env_args="x=1"), "env_args must be a tuple, got 'x=1'"),
    "save None": (lambda: save("b.pt", None), "save needs a Dreamer, the agent, got NoneType"),
    "save swapped": (lambda: save(AGENT, "b.pt"), "save needs a Dreamer, the agent, got str .'b.pt'"),
    "save learner": (lambda: save("b.pt", Learner(AGENT)), "save needs a Dreamer, the agent, got Learner"),
    "save nameless": (lambda: save(".", AGENT), "a checkpoint needs the name of a file, such as agent.pt"),
    "save empty": (lambda: save("", AGENT), "a checkpoint has an empty name"),
    "save number": (lambda: save(3, AGENT), "a checkpoint is named by text or a Path, got int"),
    "save folder": (lambda: save("full", AGENT), "checkpoint full cannot be written"),
    "save nowhere": (lambda: save("no/such/b.pt", AGENT), "checkpoint no/such/b.pt cannot be written"),
    "save array": (lambda: save("b.pt", AGENT, x=[np.zeros(2)]), "but x holds a ndarray; convert it"),
    "save function": (lambda: save("b.pt", AGENT, x={"y": len}), "but x holds a builtin_function_or_method"),
    "diagnose None": (lambda: diagnose(None), "a checkpoint is named by text or a Path, got NoneType"),
    "diagnose nothing": (lambda: diagnose("nope.pt"), "there is no checkpoint at nope.pt"),
    "diagnose check": (lambda: diagnose(AGENT, checks=["nope"]), "there is no check called 'nope'; choose from"),
    "diagnose text": (lambda: diagnose(AGENT, checks="flow"), "checks takes a list of names, got str .'flow'"),
    "diagnose 3": (lambda: diagnose(AGENT, checks=3), "checks takes a list of names, got int"),
    "diagnose env": (lambda: diagnose(AGENT, env="CartPole-v1"), "env: an agent plays the environment in its settings"),
    "diagnose make": (lambda: diagnose(AGENT, make_env=3), "a function that returns a new gymnasium.Env"),
    "diagnose itself": (lambda: diagnose(AGENT, make_env=Plain()), "a function that returns .*got Plain"),
    "diagnose other": (lambda: diagnose(AGENT, make_env=Plain), "an agent in this environment sees 2 numbers"),
    "learner": (lambda: Learner(None), "a Learner needs a Dreamer, got NoneType"),
    "replay 0": (lambda: Replay(**{**SIZES, "capacity": 0}), "capacity must be a whole number, at least 1"),
    "replay envs": (lambda: Replay(**SIZES, envs=0), "envs must be a whole number, at least 1"),
    "replay small": (lambda: Replay(**SIZES, envs=41), "capacity must be a whole number, at least 41"),
    "replay 2.5": (lambda: Replay(**{**SIZES, "capacity": 2.5}), "capacity must be a whole number.*got 2.5"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    file = tmp_path_factory.mktemp("saved") / "a.pt"
    save(file, AGENT)
    return file.read_bytes()


@pytest.mark.parametrize("name", PYTHON)
def test_calls_from_python(name, saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.pt").write_bytes(saved)
    Path("full").mkdir()
    call, words = PYTHON[name]
    refused(call, words)
    assert Path("a.pt").read_bytes() == saved and {path.name for path in Path().iterdir()} == {"a.pt", "full"}


# Files, and a run to continue


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    train(CONFIG, out, progress=False, until="steps")
    return out


def content(**changes):
    """Written over the checkpoint: its content with changes; ... leaves a part out."""

    def write(file):
        state = torch.load(file, weights_only=True)
        for name, value in changes.items():
            state[name] = value(state[name]) if callable(value) else value
        torch.save({name: value for name, value in state.items() if value is not ...}, file)

    return write


def test_what_the_machine_lacks_is_no_damage(tmp_path, monkeypatch):
    run = tmp_path / "checkpoint.pt"
    run.touch()
    for error in (
        FileNotFoundError(2, "No such file"),
        MemoryError(),
        RuntimeError("mmap: Cannot allocate memory (12)"),
    ):

        def fails(*_, **__):
            raise error

        monkeypatch.setattr(torch, "load", fails)
        with pytest.raises(Refused, match="cannot be read: .*(No such file|MemoryError|allocate memory)"):
            load(run)


def cut(share):
    return lambda file: file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])


FILES = {
    "missing": (Path.unlink, "there is no checkpoint at"),
    "empty": (cut(0), "cannot be read: it is empty; give a file that dreamer_lite wrote"),
    "one byte": (lambda file: file.write_bytes(b"P"), "cannot be read|is refused"),
    "half": (cut(0.5), "cannot be read: it is damaged, or cut off, or no checkpoint; give a file"),
    "all but the end": (cut(0.999), "cannot be read"),
    "text": (lambda file: file.write_text("print(1)"), "is refused|cannot be read: it is damaged, or cut off, or no c"),
    "a picture": (lambda file: Image.new("RGB", (8, 8)).save(file, "png"), "is refused|cannot be read"),
    "json": (lambda file: file.write_text(json.dumps({"format": 1})), "is refused|cannot be read"),
    "an archive": (lambda file: np.savez(file.open("wb"), a=np.zeros(3)), "cannot be read|is refused"),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), "there is no checkpoint at"),
    "a lost link": (lambda file: (file.unlink(), file.symlink_to("gone")), "there is no checkpoint at"),
    "a tensor": (lambda file: torch.save(torch.zeros(3), file), "is not a 'dreamer_lite checkpoint 2'"),
    "weights alone": (lambda file: torch.save(AGENT.state_dict(), file), "is not a 'dreamer_lite checkpoint 2'"),
    "older": (content(format="dreamer_lite checkpoint 1"), "is not a 'dreamer_lite checkpoint 2'"),
    "no format": (content(format=...), "is not a 'dreamer_lite checkpoint 2'"),
    "no settings": (content(config=...), "does not fit this version .*config"),
    "no spaces": (content(spaces=...), "does not fit this version .*spaces"),
    "no weights": (content(weights=...), "does not fit this version .*weights"),
    "settings text": (content(config="small"), "does not fit this version"),
    "newer setting": (content(config=lambda c: {**c, "unheard_of": 1}), "does not fit this version .*unheard_of"),
    "bad setting": (content(config=lambda c: {**c, "lam": 7.0}), "does not fit this version .*lam must be"),
    "other size": (content(config=lambda c: {**c, "deter": 16}), "does not fit this version"),
    "other spaces": (content(spaces=lambda s: {**s, "obs_size": 3}), "does not fit this|this environment sees 4"),
    "a weight less": (content(weights=lambda w: dict([*w.items()][1:])), "does not fit this version .*Missing key"),
    "a weight more": (content(weights=lambda w: {**w, "more": torch.zeros(1)}), 'does not fit this version .*"more"'),
    "nan": (content(weights=lambda w: {k: v * float("nan") for k, v in w.items()}), "weights that are not finite"),
    "weights text": (content(weights=lambda w: {k: "x" for k in w}), "does not fit this version"),
    "imports": (content(config=lambda c: {**c, "env": "os:CartPole-v1"}), "would import a module; if you trust it"),
    "wraps": (content(config=lambda c: {**c, "wrap": "os:remove"}), "would import a module; if you trust it"),
    "names a file": (content(config=lambda c: {**c, "env_args": ["a=/etc/x"]}), "which may name a file or a module"),
    "names a file with a space": (
        content(config=lambda c: {**c, "env_args": ["a=/my maps/x", "b=1"]}),
        "if you trust it, add --env_args 'a=/my maps/x' b=1",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_files(name, finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "run")
    damage, words = FILES[name]
    damage(tmp_path / "run" / "checkpoint.pt")
    before = {path.name: path.is_file() and path.read_bytes() for path in (tmp_path / "run").iterdir()}
    refused(lambda: load(tmp_path / "run"), words)
    assert main(["--resume", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert re.search(words, error) and error.count("\n") == 1, error
    assert {path.name: path.is_file() and path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


RESUMED = {
    "--batch_size 3": "--batch_size cannot be changed while resuming: it is 2, not 3",
    "--lr 1e-5": "--lr cannot be changed while resuming: the learning rates are",
    "--seed 7": "--seed cannot be changed while resuming: it is 0, not 7",
    "--envs 2": "--envs cannot be changed while resuming: it is 1, not 2",
    "--env Pendulum-v1": "--env cannot be changed while resuming: it is CartPole-v1, not Pendulum-v1",
    "--env_args max_episode_steps=9": "--env_args cannot be changed while resuming",
    "--pixels 64": "--pixels cannot be changed while resuming: it is 0, not 64",
    "--preset small": "--preset cannot be changed while resuming",
    "--out other": "--out cannot be changed while resuming",
    "--compile": "--compile cannot be changed while resuming",
    "--replay_size 500": "--replay_size cannot be changed while resuming",
    "--steps 0": "steps must be positive, got 0",
    "--capture on": "--capture on needs a GPU",
    "--device foo": "device 'foo' is unknown",
}


@pytest.mark.parametrize("words", RESUMED)
def test_a_run_is_not_continued_with(words, finished, capsys):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    assert main(["--resume", str(finished), "--quiet", *words.split()]) == 2
    error = capsys.readouterr().err
    assert RESUMED[words] in error and error.count("\n") == 1, error
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def test_a_run_is_not_continued_in_another_environment(finished, tmp_path):
    refused(run(out=finished, resume=True, make_env=Plain), "it is CartPole-v1, not Plain")
    other = type("CartPole-v1", (Plain,), {})
    words = "an agent in this environment sees 2 numbers.* but the agent in .* sees 4 numbers"
    refused(run(out=finished, resume=True, make_env=other), words)
    save(tmp_path / "checkpoint.pt", AGENT)
    refused(run(out=tmp_path, resume=True), "holds an agent but no run")
