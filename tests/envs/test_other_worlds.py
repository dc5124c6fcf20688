"""Environments that others write: what would go wrong in silence is refused, reported, or works."""

from functools import partial
import gc
import json
import multiprocessing
import os
from pathlib import Path
import subprocess
import sys
import threading
from types import SimpleNamespace

import gymnasium
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import TimeLimit
import numpy as np
import pytest
import torch

from dreamer_lite import Config, Refused, evaluate, load, open_loop, train
from dreamer_lite.__main__ import main
from dreamer_lite.envs.making import make_env, make_envs
from dreamer_lite.envs.probe import disturbance
from dreamer_lite.envs.workers import WorkerEnvs
from dreamer_lite.training import checkpoint, loop
from dreamer_lite.training.compiled import in_its_way
from dreamer_lite.training.folder import locked
from dreamer_lite.training.parallel import SINGLE_PROCESS
from dreamer_lite.training.resume import resume_training
from dreamer_lite.training.state import Training


class Seven(gymnasium.Env):
    """Seven steps that pay 1."""

    metadata = {"render_modes": ["rgb_array"]}
    observation_space, action_space = Box(-1, 1, (2,)), Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode, self.t = render_mode, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(2, np.float32), 1.0, self.t >= 7, False, {}

    def render(self):
        return np.zeros((64, 64, 3), np.uint8)


class OnlyOne(Seven):
    """A robot: a second one can't be made before the first is closed."""

    busy = False

    def __init__(self):
        super().__init__()
        if OnlyOne.busy:
            raise OSError("Address already in use")
        OnlyOne.busy = True

    def close(self):
        OnlyOne.busy = False


class Quits(Seven):
    def __init__(self, where="close", render_mode=None):
        super().__init__(render_mode)
        self.where = where
        if where == "constructor":
            sys.exit()

    def step(self, action):
        if self.where == "step" and self.t == 5:
            quit()
        if self.where == "dies" and self.t == 5:
            os._exit(3)
        if self.where == "error" and self.t == 5:
            raise KeyError("what a user should see")
        return super().step(action)

    def close(self):
        raise SystemExit


class NoRenderMode(Seven):
    def __init__(self):
        super().__init__("rgb_array")


class Table(Seven):
    def __init__(self, table):
        super().__init__()
        self.rows = table.shape


class ImportsLater(Seven):
    def __init__(self):
        import nothing  # noqa: F401


class BuiltOnce(Seven):
    """Its picture is drawn at the first reset, and stays."""

    picture = None

    def reset(self, *, seed=None, options=None):
        out = super().reset(seed=seed)
        if self.picture is None:
            self.picture = self.np_random.integers(0, 255, (64, 64, 3), np.uint8)
        return out

    def render(self):
        return self.picture


class Lucky(Seven):
    """What it shows is known, what it pays is random beyond its seed; the episode is long."""

    def step(self, action):
        obs, _, _, _, info = super().step(action)
        return obs, float(np.random.default_rng().random()), self.t >= 60, False, info


class ManyClosed(Seven):
    """A close() that takes away what all copies share, as pygame.quit() does."""

    screen = []

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        ManyClosed.screen = [1]

    def render(self):
        if not ManyClosed.screen:
            raise RuntimeError("display Surface quit")
        return super().render()

    def close(self):
        ManyClosed.screen = []


for kind in (Quits, NoRenderMode, Table, ImportsLater, BuiltOnce, ManyClosed):
    gymnasium.register(f"{kind.__name__}-v0", kind, max_episode_steps=50)

SHORT = dict(progress=False, until="steps")


def debug(**changes):
    return Config.preset("debug", **{"envs": 1, "steps": 120, "eval_every": 0, "eval_episodes": 3, **changes})


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    out = tmp_path_factory.mktemp("seven")
    train(debug(), out, make_env=Seven, **SHORT)
    return load(out)


def test_a_function_that_returns_the_same_object_is_refused_before_training(tmp_path):
    env = Seven()
    for make, config in (
        (lambda: env, debug()),
        (lambda: TimeLimit(env, 5), debug()),
        (lambda: env, debug(env="Mine-v0")),
    ):
        with pytest.raises(Refused, match="returned the same object again; it must make a new one"):
            train(config, tmp_path / "run", make_env=make, **SHORT)
        assert not (tmp_path / "run").exists()
    assert (
        train(debug(), tmp_path / "run", make_env=lambda: Seven(), **SHORT)["final_evaluation"]["sampled"]["mean"] == 7
    )


@pytest.mark.parametrize("given", [Seven(), "text", 3])
def test_only_functions_make_environments(given, tmp_path):
    with pytest.raises(Refused, match="a function that returns a new gymnasium.Env"):
        train(debug(), tmp_path / "run", make_env=given, **SHORT)
    with pytest.raises(Refused, match="must return a gymnasium.Env, got int"):
        train(debug(), tmp_path / "run", make_env=lambda: 3, **SHORT)


def test_an_environment_itself_can_be_evaluated_and_dreamed_in(seven):
    closed = []
    env = TimeLimit(Seven(), 5)
    env.close = lambda: closed.append(1)
    assert evaluate(seven, env, episodes=3).tolist() == [5, 5, 5] and not closed
    assert len(open_loop(seven, env, steps=20, context=2).real) == 4
    with pytest.raises(Refused, match="the given environment"):
        evaluate(seven, gymnasium.make("CartPole-v1"), episodes=1)
    with pytest.raises(Refused, match="got CartPoleVectorEnv"):
        evaluate(seven, gymnasium.make_vec("CartPole-v1", num_envs=2), episodes=1)


def test_an_environment_that_exists_once_is_trained_and_evaluated_in(tmp_path):
    OnlyOne.busy = False
    lengths = []
    config = debug(steps=200, eval_every=53, eval_in="training")
    watch = lambda training: lengths.append(training.envs.steps[0])
    card = train(config, tmp_path, make_env=OnlyOne, on_step=watch, **SHORT)
    assert card["final_evaluation"]["greedy"] == {"mean": 7, "std": 0, "episodes": 3}
    ends = [length for length, after in zip(lengths, lengths[1:]) if after == 0]
    assert set(ends) == {7}  # no evaluation cut an episode of the training short
    rows = [row["eval_mean"] for row in checkpoint.read(tmp_path).rest["rows"] if row["eval_episodes"]]
    assert rows == [7, 7]  # at the ends of the episodes after steps 106 and 159; before, nothing is learned yet
    OnlyOne.busy = False
    assert train(debug(steps=230, eval_every=53, eval_in="training"), tmp_path, make_env=OnlyOne, resume=True, **SHORT)


def test_a_run_is_resumed_wherever_it_is_evaluated(tmp_path):
    class Wrapped(gymnasium.Wrapper):  # its runs are named after what is inside
        def __init__(self):
            super().__init__(gymnasium.make("CartPole-v1"))

    train(debug(), tmp_path, make_env=Wrapped, **SHORT)
    card = train(debug(steps=150, eval_in="training"), tmp_path, make_env=Wrapped, resume=True, **SHORT)
    assert (card["env"], card["env_steps"]) == ("CartPole-v1", 150)


@pytest.mark.parametrize("given", ["class", "function"])
def test_an_environment_that_can_be_made_once_only_is_made_by_the_run_alone(given, tmp_path):
    robot = []

    class Robot(Seven):
        def __init__(self):
            robot.append(self)
            if len(robot) > 1:
                raise RuntimeError("there is one robot only")

    config = debug(steps=200, eval_every=53, eval_in="training", env="CartPole-v1" if given == "class" else "Robot-1")
    card = train(config, tmp_path, make_env=Robot if given == "class" else lambda: Robot(), **SHORT)
    assert card["env"] == ("Robot" if given == "class" else "Robot-1") and len(robot) == 1
    assert card["final_evaluation"]["greedy"]["mean"] == 7


def test_where_a_world_is_evaluated_is_checked():
    with pytest.raises(Refused, match="eval_in must be copies or training, got 'nowhere'"):
        Config(eval_in="nowhere")
    with pytest.raises(Refused, match="set --workers to 0, got 1"):
        Config(eval_in="training", workers=1)


def test_evaluations_make_no_more_copies_than_asked(tmp_path):
    made = []
    make = lambda: made.append(Seven()) or made[-1]
    agent_in = debug(eval_envs=2, eval_episodes=5)
    card = train(agent_in, tmp_path, make_env=make, **SHORT)
    assert card["final_evaluation"]["sampled"]["episodes"] == 5 and len(made) == 3 + 2 * 2


@pytest.mark.parametrize("where", ["step", "constructor"])
def test_an_environment_that_ends_the_program_is_reported(where, tmp_path, capsys):
    words = ["--env", f"{__name__}:Quits-v0", "--env_args", f"where={where}", "--preset", "debug", "--out"]
    assert main([*words, str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "ended the program (SystemExit" in said and "Traceback" not in said
    assert ("environment 0, step 6 of episode 0, ended" in said) == (where == "step")


@pytest.mark.parametrize(
    "how, words", [("step", r"the program \(SystemExit"), ("dies", r"its process \(exit code 3\)")]
)
def test_a_worker_that_ends_the_program_is_reported(how, words, capfd):
    envs = WorkerEnvs(partial(Quits, how), 2)
    try:
        with pytest.raises(Refused, match=f"^environment 0, step 6 of episode 0, ended {words}.*checkpoint is kept$"):
            for _ in range(8):
                envs.step(np.zeros((2, 2), np.float32))
    finally:
        envs.close()
    assert not any(process.is_alive() for process in envs.envs.processes)
    del envs
    gc.collect()
    assert "Traceback" not in capfd.readouterr().err


def test_a_worker_whose_close_ends_the_program_is_reported(capfd):
    envs = WorkerEnvs(Quits, 1)
    envs.step(np.zeros((1, 2), np.float32))
    envs.close()
    said = capfd.readouterr().err
    assert "close() of environment 0 ended the program (SystemExit)" in said and "Traceback" not in said


def test_settings_that_a_function_makes_idle_do_not_keep_an_old_run_from_going_on(tmp_path, monkeypatch):
    """Version 0.3.0 kept them without a word; new runs refuse them."""
    with pytest.raises(Refused, match="these settings would change nothing: gray"):
        train(debug(gray=True), tmp_path / "a", make_env=Seven, **SHORT)
    with monkeypatch.context() as before:
        before.setattr(loop, "refuse_idle_settings", lambda config: None)
        train(debug(gray=True), tmp_path / "a", make_env=Seven, **SHORT)
    assert train(debug(gray=True, steps=150), tmp_path / "a", make_env=Seven, resume=True, **SHORT)["env_steps"] == 150


def test_an_evaluation_promises_no_checkpoint(tmp_path):
    train(debug(), tmp_path, make_env=Seven, **SHORT)
    with pytest.raises(Refused, match=r"ended the program \(SystemExit, as exit\(\) and quit\(\) raise it\)$"):
        evaluate(load(tmp_path), lambda: Quits("step"), episodes=1)


def test_a_close_that_ends_the_program_hides_no_error(tmp_path, capsys):
    with pytest.raises(KeyError, match="what a user should see"):
        train(debug(), tmp_path / "a", make_env=lambda: Quits("error"), **SHORT)
    assert "close() of environment 0 ended the program (SystemExit)" in capsys.readouterr().err
    card = train(debug(), tmp_path / "b", make_env=Quits, **SHORT)
    assert card["finished"] and (tmp_path / "b" / "card.json").exists()


def test_what_takes_no_render_mode_is_made_without():
    env = make_env("NoRenderMode-v0", render=True)
    env.reset(seed=0)
    assert env.render().shape == (64, 64, 3)
    assert make_env("NoRenderMode-v0", pixels=32).reset(seed=0)[0].shape == (32, 32, 3)


def test_an_argument_of_the_wrong_kind_is_one_line():
    with pytest.raises(
        Refused, match="with --env_args table=.1,2.: AttributeError: 'list' object has no attribute 'shape'"
    ):
        make_env("Table-v0", args=["table=[1,2]"])


@pytest.mark.parametrize("package, version, words", [
    ("gymnasium_robotics", "4.0.0", 'AssertionError in .* with mujoco 4.0.0; .*: pip install "mujoco<3.12"'),
    ("dm_control", "4.0.0", 'pip install "mujoco<4"'),
    ("gymnasium_robotics", "3.9.1", None), ("mine", "4.0.0", None), ("dm_control", None, None),
])  # fmt: skip
def test_a_package_that_does_not_load_with_a_new_mujoco_says_which_one_works(package, version, words, monkeypatch):
    """As Gymnasium-Robotics 1.4.2 does for FetchReach-v4, in whose code an assertion fails."""
    if version:
        monkeypatch.setitem(sys.modules, "mujoco", SimpleNamespace(__version__=version))
    code = {"__name__": f"{package}.utils"}
    exec("def constructor(**_): assert False", code)
    monkeypatch.setitem(
        gymnasium.registry, "Fetch-v0", gymnasium.envs.registration.EnvSpec("Fetch-v0", code["constructor"])
    )
    with pytest.raises(Refused if words else AssertionError, match=words):
        make_env("Fetch-v0")


@pytest.mark.parametrize(
    "words, why",
    [
        (
            "--env imports_nothing:CartPole-v1",
            "the module imports_nothing cannot be imported: No module named 'nothing'",
        ),
        (
            "--env CartPole-v1 --wrap imports_nothing:f",
            "the module imports_nothing cannot be imported: No module named",
        ),
        ("--env ImportsLater-v0", "environment 'ImportsLater-v0' cannot be made: No module named 'nothing'"),
    ],
)
def test_a_package_that_an_environment_imports_and_lacks_is_one_line(words, why, tmp_path, monkeypatch, capsys):
    (tmp_path / "imports_nothing.py").write_text("import nothing")
    monkeypatch.syspath_prepend(tmp_path)
    assert main([*words.split(), "--preset", "debug", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert why in said and said.count("\n") == 1


def test_images_are_made_without_a_throwaway_copy_and_with_a_seed():
    envs = [make_env("ManyClosed-v0", pixels=64) for _ in range(2)]
    assert all(env.reset(seed=0)[0].shape == (64, 64, 3) for env in envs)  # no copy was closed
    pictures = [make_envs(Config(env="BuiltOnce-v0", pixels=64)).step(np.zeros((1, 2))).obs for _ in range(2)]
    assert (pictures[0] == pictures[1]).all() and pictures[0].std() > 50


@pytest.mark.parametrize("libraries, way", [({"EGL", "OSMesa"}, "egl"), ({"OSMesa"}, "osmesa"), (set(), "egl")])
def test_mujoco_draws_without_a_screen(libraries, way, tmp_path, monkeypatch):
    module = f"imports_mujoco_{len(libraries)}"  # it reads the variable when it is imported
    (tmp_path / f"{module}.py").write_text("import os\n\nway = os.environ.get('MUJOCO_GL')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "mujoco", raising=False)
    monkeypatch.setattr("dreamer_lite.envs.making.find_library", lambda name: name if name in libraries else None)
    make_env(f"{module}:NoRenderMode-v0", pixels=32)
    assert os.environ["MUJOCO_GL"] == sys.modules[module].way == way
    for name in ("MUJOCO_GL", "SDL_VIDEODRIVER"):  # monkeypatch didn't set them
        del os.environ[name]


def test_images_that_never_change_are_reported(tmp_path, capsys):
    config = debug(env="NoRenderMode-v0", pixels=16, steps=110)
    card = train(config, tmp_path, **SHORT)
    assert card["notes"][0].startswith("the images of the first 100 steps have one colour, 0")
    assert "SDL_VIDEODRIVER=offscreen" in capsys.readouterr().err
    assert not train(debug(pixels=16, steps=110), tmp_path / "moves", **SHORT)["notes"]


def test_codes_that_are_declared_as_an_image_are_reported(tmp_path, capsys):
    """As MiniGrid 3.2.0's FullyObsWrapper does: bytes from 0 to 255, of which it uses eleven."""

    class Board(Seven):
        observation_space = Box(0, 255, (8, 8, 3), np.uint8)

        def reset(self, *, seed=None, options=None):
            return self.board(), super().reset(seed=seed)[1]

        def step(self, action):
            return self.board(), *super().step(action)[1:]

        def board(self):
            return self.np_random.integers(0, 11, (8, 8, 3), np.uint8)

    card = train(debug(steps=110), tmp_path / "a", make_env=Board, **SHORT)
    assert "are nearly black: nothing is brighter than 10 of 255" in card["notes"][0]

    def declared():
        space = Box(0, 10, (8, 8, 3), np.uint8)
        return gymnasium.wrappers.TransformObservation(Board(), lambda board: board, space)

    card = train(debug(steps=110), tmp_path / "b", make_env=declared, **SHORT)  # what the note advises
    assert not card["notes"] and load(tmp_path / "b").spaces.obs_size == 192


def test_rewards_beyond_the_bins_are_reported_once(tmp_path, capsys):
    class Pays(Seven):
        pay = 30_000.0

        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, self.pay * (-1) ** self.t, *rest

    card = train(debug(), tmp_path / "a", make_env=Pays, **SHORT)
    assert (
        len(card["notes"]) == 1 and "rewards have reached -30,000" in card["notes"][0] and "±22,025" in card["notes"][0]
    )
    assert capsys.readouterr().err.count("--bin_limit 20") == 1
    assert not train(debug(bin_limit=20), tmp_path / "b", make_env=Pays, **SHORT)["notes"]

    class PaysMore(Pays):
        pay = 1e9

    (note,) = train(debug(bin_limit=20), tmp_path / "c", make_env=PaysMore, **SHORT)["notes"]
    assert "±485,165,194" in note and note.endswith("Scale the rewards")  # a higher limit is no advice any more


def test_returns_beyond_the_bins_are_reported_once(tmp_path, capsys):
    """Each reward lies within the bins, and five of them, discounted, do not."""

    class Pays(Seven):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, 5_000.0, *rest

    card = train(debug(discount_horizon=100), tmp_path / "a", make_env=Pays, **SHORT)
    reached = sum(5_000 * 0.99**k for k in range(5))
    assert len(card["notes"]) == 1 and card["notes"][0].startswith(f"returns have reached {reached:,.6g}, and the bins")
    assert capsys.readouterr().err.count("--bin_limit 20") == 1
    assert not train(debug(discount_horizon=1.1), tmp_path / "b", make_env=Pays, **SHORT)["notes"]


def test_a_resumed_run_notices_that_rewards_went_differently(tmp_path, capsys):
    train(debug(), tmp_path / "a", make_env=Lucky, **SHORT)
    card = train(debug(steps=150), tmp_path / "a", make_env=Lucky, resume=True, **SHORT)
    assert "environment 0 could not be restored: replayed with the same seed" in card["notes"][0]

    class Sixty(Seven):
        def step(self, action):
            return *super().step(action)[:2], self.t >= 60, False, {}

    train(debug(), tmp_path / "b", make_env=Sixty, **SHORT)
    assert not train(debug(steps=150), tmp_path / "b", make_env=Sixty, resume=True, **SHORT)["notes"]


def test_one_run_at_a_time_writes_into_a_folder(tmp_path):
    out, said = tmp_path / "run", []

    def meanwhile(training):
        if training.env_steps == 60:
            for resume in (True, False):
                with pytest.raises(Refused) as refused:
                    train(debug(steps=150), out, make_env=Seven, resume=resume, **SHORT)
                said.append(str(refused.value))

    assert train(debug(save_every=20), out, make_env=Seven, on_step=meanwhile, **SHORT)["finished"]
    assert f"is being written by another run (process {os.getpid()})" in said[0] and "already holds a run" in said[1]
    assert not {".lock", ".process"} & {file.name for file in out.iterdir()}
    with locked(tmp_path / "new"), pytest.raises(Refused, match="another run"):
        train(debug(), tmp_path / "new", make_env=Seven, **SHORT)
    assert not (tmp_path / "new").exists()


def test_runs_started_at_the_same_moment_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from dreamer_lite.command_line import free_folder

    found = []
    starts = [threading.Thread(target=lambda: found.append(free_folder(Path("runs"), "x"))) for _ in range(8)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert {path.name for path in found} == {"x", *(f"x-{i}" for i in range(2, 9))}


@pytest.mark.parametrize("envs, steps", [(1, 40), (1, 200), (2, 40)])
def test_saving_a_replay_buffer_copies_nothing(envs, steps, tmp_path):
    training = Training(debug(replay_size=100, envs=envs), make_env=Seven)
    for _ in range(steps):
        training.collect()
    state, rings = training.replay.state_dict()["data"], training.replay.data
    for name, ring in rings.items():
        for i, kept in enumerate(state[name]):
            assert kept.data_ptr() == ring[i].data_ptr()
            assert kept.untyped_storage().nbytes() == kept.nbytes  # so no more than that is written
    training.save(tmp_path)
    again = resume_training(tmp_path, "cpu", training.config, checkpoint.read(tmp_path), SINGLE_PROCESS, Seven).replay
    assert all(torch.equal(again.data[name], ring) for name, ring in rings.items() if name not in ("is_last",))
    old = {name: ring[:, : min(steps, ring.shape[1])].clone() for name, ring in rings.items()}  # as version 0.3.0 saved
    again.load_state_dict({**training.replay.state_dict(), "data": old})
    assert all(torch.equal(again.data[name], ring) for name, ring in rings.items())


def test_the_console_command_finds_modules_in_the_current_folder(tmp_path):
    (tmp_path / "own_world.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('A-v0', 'gymnasium.envs.classic_control:CartPoleEnv', max_episode_steps=50)\n"
    )
    # as a console script starts it: the first place to look is the script's own folder
    script = (
        f"import sys; sys.path[0] = {str(tmp_path / 'bin')!r}; from dreamer_lite.__main__ import main; sys.exit(main())"
    )
    words = "--env own_world:A-v0 --preset debug --steps 60 --until steps --out run --quiet".split()
    path = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "card.json").read_text())["env"] == "own_world:A-v0"


class Shared(Seven):
    """All copies share one clock."""

    clock = {"t": 0}

    def reset(self, *, seed=None, options=None):
        Shared.clock["t"] = 0
        return super().reset(seed=seed)

    def step(self, action):
        Shared.clock["t"] += 1
        return np.zeros(2, np.float32), 1.0, Shared.clock["t"] >= 7, False, {}


class Screen(Seven):
    """Closing one takes the picture from all."""

    screens = []

    def __init__(self):
        super().__init__("rgb_array")
        Screen.screens[:] = Screen.screens or [1]

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0] + len(Screen.screens), {}

    def step(self, action):
        obs, *rest = super().step(action)
        return obs + np.float32(len(Screen.screens)), *rest

    def close(self):
        Screen.screens.clear()


@pytest.mark.skipif(sys.platform != "linux", reason="the probe forks")
@pytest.mark.parametrize("kind, words", [(Shared, "disturb"), (Screen, "disturb"), (OnlyOne, "can't be made (OSError")])
def test_copies_that_disturb_each_other_are_found_and_not_evaluated_in(kind, words, tmp_path, capsys):
    OnlyOne.busy = False
    lengths = []
    watch = lambda training: lengths.append(training.envs.steps[0])
    config = debug(steps=160, eval_every=53)
    card = train(config, tmp_path, make_env=kind, on_step=watch, **SHORT)
    assert words in card["notes"][0] and "between two episodes" in card["notes"][0]
    assert {length for length, after in zip(lengths, lengths[1:]) if after == 0} == {7}
    assert card["final_evaluation"]["sampled"]["mean"] == 7 and words in capsys.readouterr().err
    OnlyOne.busy = False
    assert evaluate(load(tmp_path), kind, episodes=4).tolist() == [7] * 4  # the checkpoint remembers it
    OnlyOne.busy = False
    with pytest.raises(Refused, match="--envs 1.*--workers 2"):
        train(debug(envs=2), tmp_path / "two", make_env=kind, **SHORT)
    OnlyOne.busy = False
    if kind is not OnlyOne:  # whoever says where to evaluate is told as well
        with pytest.raises(Refused, match="--envs 1.*--workers 2"):
            train(debug(envs=2, eval_in="training"), tmp_path / "two", make_env=kind, **SHORT)


def test_an_environment_is_closed_where_a_run_cannot_begin_or_go_on(tmp_path, monkeypatch):
    """Else the next attempt in the same program, as the message advises, would find the robot in use."""
    OnlyOne.busy = False
    with pytest.raises(Refused, match="use a smaller --replay_size"):
        train(debug(replay_size=10**11), tmp_path / "run", make_env=OnlyOne, **SHORT)
    assert not OnlyOne.busy
    train(debug(steps=20, eval_every=0, eval_in="training"), tmp_path / "run", make_env=OnlyOne, **SHORT)

    def fail(self, *, seed=None, options=None):
        raise RuntimeError("the motors are hot")

    monkeypatch.setattr(OnlyOne, "reset", fail)
    with pytest.raises(RuntimeError, match="the motors are hot"):
        train(debug(steps=40, eval_in="training"), tmp_path / "run", make_env=OnlyOne, resume=True, **SHORT)
    assert not OnlyOne.busy


class Grows(Seven):
    """At its third reset it shows one number more, or offers one choice more."""

    def __init__(self, what="observation_space"):
        super().__init__()
        self.what, self.resets = what, 0

    def reset(self, *, seed=None, options=None):
        self.resets += 1
        if self.resets == 3:
            other = Discrete(3, start=5) if self.what == "action_space" else Box(-1, 1, (3,))
            setattr(self, self.what, other)
        _, info = super().reset(seed=seed)
        return np.zeros(self.observation_space.shape, np.float32), info


class Uneven(Seven):
    """Each process has another size."""

    def __init__(self):
        super().__init__()
        self.observation_space = Box(-1, 1, (2 + (multiprocessing.parent_process() is not None),))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("what", ["observation_space", "action_space"])
def test_spaces_that_change_on_the_way_are_refused_in_workers_too(what, workers, tmp_path):
    """The words are those of a run in one process."""
    make = partial(Grows, what)
    with pytest.raises(Refused, match=f"changed its {what} from .* it must stay the same"):
        train(debug(workers=workers, eval_every=0, steps=100), tmp_path, make_env=make, **SHORT)


def test_workers_whose_spaces_differ_are_refused_in_one_line():
    with pytest.raises(Refused, match="in a worker process has other spaces than the first.* need the same spaces"):
        WorkerEnvs(Uneven, 1)


class Follows(Seven):
    """Shows the action; all copies share their spaces, whose random state is no disturbance."""

    def step(self, action):
        obs, *rest = super().step(action)
        return obs + np.float32(action), *rest


def test_copies_that_do_not_disturb_each_other_stay():
    assert disturbance(Follows) == ""
    assert [disturbance(kind) for kind in (Seven, BuiltOnce, Lucky, lambda: gymnasium.make("CartPole-v1"))] == [""] * 4
    assert disturbance(lambda: Quits("step")) == ""  # it fails alone, as the run will show


def test_a_worker_that_may_have_no_children_asks_none(monkeypatch):
    """As those of a multiprocessing.Pool, in which several trainings may run."""
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    assert disturbance(lambda: gymnasium.make("CartPole-v1")) == ""
    with pytest.raises(Refused, match="use workers=0 there"):
        WorkerEnvs(lambda: gymnasium.make("CartPole-v1"), 2)


def test_the_card_is_there_though_the_final_evaluation_fails(tmp_path, monkeypatch):
    def fails(training, greedy):
        raise OSError("no second port")

    monkeypatch.setattr("dreamer_lite.training.folder.final_evaluation", fails)
    with pytest.raises(OSError, match="no second port"):
        train(debug(), tmp_path, make_env=Seven, **SHORT)
    card = json.loads((tmp_path / "card.json").read_text())
    assert (
        card["finished"] and card["env_steps"] == 120 and card["final_evaluation"] == {"sampled": None, "greedy": None}
    )


SPAWNED = """
import multiprocessing, sys
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
from dreamer_lite import Config, train

class Here(CartPoleEnv):
    pass

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    gymnasium.register("Here-v0", Here, max_episode_steps=50)
    config = Config.preset("debug", env="Here-v0", envs=2, workers=2, steps=60, eval_every=0, eval_episodes=1)
    print(train(config, sys.argv[1], progress=False, until="steps")["env_steps"])
"""


def test_spawned_workers_know_what_the_script_registered(tmp_path):
    (tmp_path / "script.py").write_text(SPAWNED)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "run")]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "60", done.stderr


def test_a_space_in_a_path_that_stops_the_compiler_is_named(monkeypatch):
    monkeypatch.setattr(torch, "__file__", "/home/me/torch/__init__.py")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/home/me/my cache")
    assert (
        in_its_way() == "; perhaps it can't take the space in /home/me/my cache: set TORCHINDUCTOR_CACHE_DIR to another"
    )
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/home/me/cache")
    assert in_its_way() == ""
    monkeypatch.setattr(torch, "__file__", "/home/me/my torch/__init__.py")
    assert in_its_way().endswith("/home/me/my torch/__init__.py: install PyTorch elsewhere")
