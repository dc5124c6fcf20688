"""A restored environment is the same environment, and rows follow the official convention."""

import math
import signal
import time

from custom_envs import Counting, Drifting, Plain, seven
import gymnasium
import numpy as np
import pytest
from test_laws import settings  # noqa: F401  the same quick, repeatable profile

from dreamer_lite.envs import stepping as envs_module
from dreamer_lite.envs.making import make_envs
from dreamer_lite.envs.spaces import native_action, number_names, spaces_of, to_agent_obs
from dreamer_lite.envs.stepping import Envs, episode_seed, within
from dreamer_lite.errors import Refused


def play(envs, steps, seed=0):
    rng = np.random.default_rng(seed)
    size = envs.spaces.action_size
    actions = (
        np.eye(size)[rng.integers(size, size=(steps, len(envs)))]
        if envs.spaces.discrete
        else rng.uniform(-1.5, 1.5, (steps, len(envs), size))
    ).astype(np.float32)
    return [envs.step(action) for action in actions]


def test_rows_follow_the_official_convention():
    rows = play(make_envs("CartPole-v1", 3, 0), 200)
    first, last, terminal = (
        np.stack([getattr(row, name) for row in rows]) for name in ("is_first", "is_last", "is_terminal")
    )
    assert first[0].all() and last.any() and np.array_equal(last, terminal)
    assert np.array_equal(first[1:], last[:-1])  # after a last row comes a first one
    rewards = np.stack([row.reward for row in rows])
    assert (rewards[first] == 0).all() and (rewards[~first] == 1).all()


def test_a_time_limit_is_last_but_not_terminal():
    rows = play(make_envs("Pendulum-v1", 1, 0), 202)
    ends = [row for row in rows if row.is_last[0]]
    assert len(ends) == 1 and not ends[0].is_terminal[0]


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0"])
def test_restored_environments_go_on_as_if_nothing_had_happened(name):
    envs, again = make_envs(name, 2, 5), make_envs(name, 2, 5)
    play(envs, 73)
    assert again.load_state_dict(envs.state_dict()) == {}
    for one, other in zip(play(envs, 60, 1), play(again, 60, 1)):
        assert all(np.array_equal(a, b) for a, b in zip(one, other))


def test_seeds_make_different_and_repeatable_episodes():
    starts = [make_envs("CartPole-v1", 2, seed).step(np.zeros((2, 2), np.float32)).obs for seed in (0, 0, 1)]
    assert np.array_equal(starts[0], starts[1]) and not np.array_equal(starts[0], starts[2])
    assert not np.array_equal(starts[0][0], starts[0][1])


def test_continuous_actions_reach_the_bounds_of_the_space():
    space = gymnasium.make("Pendulum-v1").action_space
    assert [native_action(space, np.array([x])).item() for x in (-1.0, 7.0, 0.0)] == [-2, 2, 0]
    assert native_action(gymnasium.spaces.Discrete(3, start=-1), np.array([0.0, 0.0, 1.0])) == 1


def test_an_environment_whose_reset_failed_is_reset_again():
    """Its ended episode never goes on."""

    class Failing(gymnasium.Wrapper):
        resets = 0

        def reset(self, **given):
            self.resets += 1
            if self.resets == 2:
                raise RuntimeError("the simulator is busy")
            return super().reset(**given)

    envs = Envs(lambda: Failing(gymnasium.make("CartPole-v1", max_episode_steps=1)), 1, seed=0)
    envs.step(np.zeros((1, 2)))
    assert envs.step(np.array([[1.0, 0]])).is_last[0]
    with pytest.raises(RuntimeError, match="the simulator is busy"):
        envs.step(np.zeros((1, 2)))
    assert envs.step(np.zeros((1, 2))).is_first[0]


class Odd(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, observation=None, action=None):
        self.observation_space = observation or self.observation_space
        self.action_space = action or self.action_space


SPACES = gymnasium.spaces
gymnasium.register("Odd-v0", Odd)


PICTURE = SPACES.Box(0, 255, (16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    "space, expected",
    [
        (SPACES.Box(-1, 1, (3,)), (3, ())),
        (SPACES.Box(-1, 1, (2, 3), np.float64), (6, ())),
        (SPACES.Box(0, 255, (7,), np.uint8), (7, ())),
        (SPACES.Box(0, 1, (10, 10, 4), bool), (400, ())),
        (SPACES.Discrete(4, start=2), (4, ())),
        (SPACES.MultiDiscrete([2, 3]), (5, ())),
        (SPACES.MultiBinary([2, 2]), (4, ())),
        (SPACES.Tuple([SPACES.Discrete(2), SPACES.Box(-1, 1, ())]), (3, ())),
        (PICTURE, (0, (16, 16, 3))),
        (SPACES.Box(0, 255, (16, 12), np.uint8), (0, (16, 12, 1))),
        (SPACES.Dict(z=SPACES.Dict(b=PICTURE, a=SPACES.Discrete(3)), a=SPACES.Box(-1, 1, (2,))), (5, (16, 16, 3))),
        (SPACES.Dict(left=PICTURE, right=SPACES.Box(0, 255, (16, 16, 1), np.uint8)), (0, (16, 16, 4))),
    ],
)
def test_any_observation_becomes_numbers_and_a_picture(space, expected):
    sizes = spaces_of(space, SPACES.Discrete(2))
    assert (sizes.obs_size, sizes.image) == expected
    space.seed(0)
    obs = space.sample()
    kinds = to_agent_obs(space, obs)
    kinds = kinds if isinstance(kinds, dict) else {"vector" if sizes.obs_size else "image": kinds}
    assert (
        kinds.get("vector", np.zeros(0, np.float32)).shape == (sizes.obs_size,)
        and len(number_names(space)) == sizes.obs_size
    )
    if sizes.image:
        assert kinds["image"].shape == sizes.image and kinds["image"].dtype == np.uint8
    if "vector" in kinds and not sizes.image:  # as gymnasium has it
        assert np.allclose(kinds["vector"], SPACES.utils.flatten(space, obs))


@pytest.mark.parametrize(
    "space, choices, action, native",
    [
        (SPACES.MultiDiscrete([2, 3]), (2, 3), [0, 1, 0, 0, 1], [1, 2]),
        (SPACES.MultiDiscrete([2, 3], start=[5, -1]), (2, 3), [1, 0, 0, 0, 1], [5, 1]),
        (SPACES.MultiDiscrete([[2, 2], [2, 3]]), (2, 2, 2, 3), [1, 0, 0, 1, 1, 0, 0, 0, 1], [[0, 1], [0, 2]]),
        (SPACES.MultiBinary(3), (2, 2, 2), [1, 0, 0, 1, 0, 1], [0, 1, 1]),
        (SPACES.Box(-2, 2, (2, 2)), (), [-1, 0, 0.5, 9], [[-2, 0], [1, 2]]),
    ],
)
def test_actions_in_the_environments_own_terms(space, choices, action, native):
    sizes = spaces_of(SPACES.Box(-1, 1, (3,)), space)
    assert (
        sizes.choices == choices
        and sizes.action_size == len(action)
        and sizes.discrete == (not isinstance(space, SPACES.Box))
    )
    made = native_action(space, np.array(action, np.float32))
    assert np.array_equal(made, native) and made in space


def test_numbers_of_an_observation_have_names():
    space = SPACES.Dict(speed=SPACES.Box(-1, 1, ()), arm=SPACES.Dict(angle=SPACES.Box(-1, 1, (2,))))
    assert number_names(space) == ["arm.angle[0]", "arm.angle[1]", "speed"]


def still(envs, steps):
    return [envs.step(np.eye(2, dtype=np.float32)[[0] * len(envs)]) for _ in range(steps)]


def test_an_episode_that_came_out_otherwise_is_told_and_begins_anew():
    envs, again = Envs(Drifting, 2), Envs(Drifting, 2)
    still(envs, 5)
    lost = again.load_state_dict(envs.state_dict())
    assert len(lost) == 2 and all("its episode went differently" in line for line in lost.values())
    assert still(again, 1)[0].is_first.all() and not still(again, 1)[0].is_first.any()


def test_the_actions_of_a_long_episode_are_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(envs_module, "MAX_REPLAYED_ACTIONS", 20)
    envs, again = Envs(Plain), Envs(Plain)
    still(envs, 21)
    assert len(envs.state_dict()["history"][0]) == 20 and again.load_state_dict(envs.state_dict()) == {}
    still(envs, 500)
    state = envs.state_dict()
    assert state["history"] == [None] and envs.history == [None]
    assert "its episode had more than 20 steps" in again.load_state_dict(state)[0] and still(again, 1)[0].is_first.all()


def test_nothing_is_kept_where_nothing_is_restored():
    envs = Envs(Plain, 2, remember=False)
    still(envs, 50)
    assert envs.history == [[], []]


def test_some_environments_may_be_stepped_and_others_left():
    envs = Envs(Counting, 4)
    still(envs, 1)
    step = envs.step(np.eye(2, dtype=np.float32)[[0, 1]], which=[3, 1])
    assert step.obs.shape == (2, 4) and [env.steps for env in envs.envs] == [0, 1, 0, 1]
    assert np.array_equal(step.action, [[1, 0], [0, 1]])


def test_the_action_beside_a_first_row_is_zero():
    rows = play(make_envs("CartPole-v1", 3, 0), 60)
    first, action = (np.stack([getattr(row, name) for row in rows]) for name in ("is_first", "action"))
    assert (action[first] == 0).all() and (action[~first].sum(-1) == 1).all()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer on this system")
def test_a_timer_of_the_program_goes_on_after_each_limited_step():
    rang = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 100, 7)
        with within(5):
            pass
        left, interval = signal.getitimer(signal.ITIMER_REAL)
        assert 99 < left < 100 and interval == 7
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with within(5):
            time.sleep(0.05)
        time.sleep(0.01)
        assert rang == [True]
        with within(math.inf):
            pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_workers_mark_the_end_of_a_time_limit_and_go_on_with_later_episodes():
    from dreamer_lite.envs.workers import WorkerEnvs

    again = None
    envs, plain = WorkerEnvs(seven, 1, seed=3), Envs(seven, 1, seed=3)
    try:
        action = np.eye(2, dtype=np.float32)[:1]
        for t in range(9):
            one, other = envs.step(action), plain.step(action)
            assert all(np.array_equal(a, b) for a, b in zip(one, other))
            assert one.is_last[0] == (t == 7) and not one.is_terminal[0]
        again = WorkerEnvs(seven, 1, seed=3)
        again.load_state_dict(envs.state_dict())
        third = gymnasium.make("CartPole-v1").reset(seed=episode_seed(3, 0, 2))[0]
        assert np.array_equal(again.step(action).obs[0], third)  # not the first, of which it knows the actions
    finally:
        envs.close()
        if again:
            again.close()


def test_no_two_episodes_of_a_run_have_the_same_seed():
    assert len({episode_seed(0, env, episode) for env in range(8) for episode in range(50)}) == 8 * 50


def test_actions_that_are_written_over_later_are_replayed_as_they_were():
    envs, actions = Envs(Plain), np.eye(2, dtype=np.float32)[:1]
    for _ in range(3):
        envs.step(actions)
    actions[:] = 9
    assert envs.state_dict()["history"][0].tolist() == [[1, 0], [1, 0]]


def test_a_time_limit_reaches_the_environments():
    class Slow(Plain):
        def reset(self, **options):
            time.sleep(0.5)
            return super().reset(**options)

    with pytest.raises(Refused, match="--env_seconds"):
        make_envs(Slow, seconds=0.05).step(np.zeros((1, 2), np.float32))
