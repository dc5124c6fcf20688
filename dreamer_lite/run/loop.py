"""The loop: environments → replay → world model → imagination → critic and actor → environments (notebook 10)."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
import math
from pathlib import Path
import signal
import sys
import threading
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..agent import Carry, Dreamer
from ..config import Config, Refused
from ..envs import MADE, Envs, Make, maker
from ..learner import Learner
from ..replay import Replay
from ..rssm import State
from . import checkpoint, folder
from .capture import Captured, proven
from .compiled import TOLD, compile_learner
from .device import fork_rng, free_memory, refuse_what_does_not_fit
from .evaluate import SIDE_BY_SIDE, cut_words, play_episodes
from .log import Log, need_tensorboard
from .parallel import ALONE, Team, part
from .player import quickest_player
from .workers import WorkerEnvs

HOLD_STEPS, HOLD_EPISODES = 6000, 20  # how long, and how carefully, an agent that solved its task is watched
UNTIL = ("solved", "held", "steps")
CAPTURE = ("auto", "on", "off")
FREE = ("steps", "episodes", "env_seconds")  # settings that may be changed while resuming


class Diverged(FloatingPointError):
    """A loss or a weight is not finite."""


class Training:
    """Everything that changes during a run. `state_dict` holds all of it, so a resumed run is the same run."""

    PLAIN = (
        "env_steps",
        "train_steps",
        "due",
        "episodes",
        "seconds",
        "solved",
        "until",
        "notes",
        "names",
        "sums",
        "summed",
        "compiled",
    )
    OWN = ("replay", "rng", "envs", "running", "returns", "carry")  # what each process has of its own

    def __init__(self, config: Config, device: str = "cpu", team: Team = ALONE, make_env: Make | None = None):
        c, self.config, self.device, self.team = config, config, device, team
        seed = team.seed(c.seed)
        torch.manual_seed(c.seed)  # the same weights in all processes
        self.make_env = make_env or maker(c)
        self.envs = (WorkerEnvs if c.workers else Envs)(self.make_env, c.envs, seed, seconds=c.env_seconds)
        spaces = self.envs.spaces
        with refuse_what_does_not_fit("the agent with its replay", device):
            self.agent = Dreamer(c, spaces, device)
            self.learner = Learner(self.agent)
            team.share(self.learner)
            self.replay = self.make_replay("cpu" if c.replay_on_host else device)
        self.replay.generator.manual_seed(seed)
        if not team.leads:
            torch.manual_seed(seed)
        self.player = quickest_player(self.learner, c.envs, learning=True)
        self.evaluator = quickest_player(self.learner, min(c.eval_episodes, SIDE_BY_SIDE), learning=False)
        self.carry = self.player.agent().initial(c.envs)
        self.env_steps = self.train_steps = self.episodes = 0  # environment steps and episodes of all processes
        self.due = 0.0  # train steps that the replay ratio allows and that are not yet taken
        self.running = np.zeros(c.envs)  # returns of the unfinished episodes
        self.returns: deque[float] = deque(maxlen=10)  # of the last finished ones
        self.seconds = 0.0
        self.solved: dict[str, float] | None = None
        self.until = "solved"
        self.notes: list[str] = []  # what the run card has to say besides
        self.log = Log()
        self.names: list[str] = []  # of the metrics
        self.sums: list[float] = []  # of each metric, over the train steps since the last row
        self.summed = 0  # train steps in these sums
        self.recent: deque[list[float]] = deque(maxlen=25)  # metrics of the last train steps
        self.unread: list[Tensor] = []  # metrics still on the device, one vector per train step
        self.compiled, self.compile_seconds = False, None  # decided before the first step
        self.capture = "off"  # whether `step` is to be recorded once there is something to learn from: one of CAPTURE
        self.captured: Captured | None = None  # what replays `step`
        self.capture_seconds: tuple[float, float] | None = None  # of a step as it is, and recorded

    def make_replay(self, device: str) -> Replay:
        c, spaces = self.config, self.envs.spaces
        sizes = dict(obs_size=spaces.obs_size, image=spaces.image, action_size=spaces.action_size)
        latent = dict(deter=c.deter, groups=c.groups, classes=c.classes)
        need, free = Replay.bytes_needed(c.replay_size, **sizes, **latent), free_memory(device)
        if free is not None and need > free:
            raise Refused(
                f"the replay of {c.replay_size:,} steps needs {need / 1e9:.1f} GB, and {device} has {free / 1e9:.1f} GB free; take a smaller "
                "--replay_size, smaller pictures, or --replay_on_host on a GPU"
            )
        return Replay(capacity=c.replay_size, envs=c.envs, device=device, **sizes, **latent)

    @property
    def stride(self) -> int:
        """Environment steps of a `collect`, over all processes."""
        return len(self.envs) * self.team.size

    def collect(self) -> None:
        """One step in every environment, into the replay."""
        step, agent = self.envs.step(self.carry.action.cpu().numpy()), self.player.agent()
        seen = step.to(agent.device)
        self.carry = agent.act(seen.obs, seen.is_first, self.carry)
        self.replay.add(seen, self.carry.state)
        self.env_steps += self.stride
        self.running = np.where(step.is_first, 0, self.running) + step.reward
        self.returns.extend(self.running[step.is_last].tolist())
        self.episodes += self.team.sum(int(step.is_last.sum()))
        if self.env_steps >= self.config.learn_start:
            self.due += len(self.envs) * self.config.train_ratio / (self.config.batch_size * self.config.seq_len)

    def learn(self) -> None:
        """Take the train steps that are due. Raises Diverged if a loss is not finite."""
        while self.due >= 1 and self.replay.added > self.config.seq_len:
            if self.capture != "off":
                self.record_step()
            self.due -= 1
            with refuse_what_does_not_fit("a train step", self.device):
                (self.captured or self.step)()
            self.train_steps += 1
            self.unread.append(self.latest.clone())
            if self.device == "cpu" or len(self.unread) == 50:  # reading waits for a GPU, so do it seldom
                self.read_metrics()

    def step(self) -> None:
        """One train step, from the replay and back to it. It reads and writes the same tensors each time and waits for none of
        their values, so it can be recorded once and replayed (`capture.py`)."""
        batch, start, where = self.replay.sample(self.config.batch_size, self.config.seq_len)
        if self.config.replay_on_host:
            batch, start = batch.to(self.device), (part.to(self.device) for part in start)
        states, means = self.learner.train_step(batch, State(*start))
        if self.config.replay_on_host:
            states = State(*(part.cpu() for part in states))
        self.replay.refresh(where, states)
        self.names, self.latest = list(means), torch.stack(list(means.values()))

    def record_step(self) -> None:
        """Have the train step replayed from a record from now on, if the record does what the step does; tell which way it went."""
        must, self.capture = self.capture == "on", "off"
        try:
            self.captured, self.capture_seconds = proven(self)
        except Refused as error:
            if must:
                raise Refused(f"{error}; with --capture auto a run goes on without a record") from error
            self.notes.append(f"the train step is not captured: {error}")
            tqdm.write(f"dreamer_lite: {self.notes[-1]}; the run goes on as without --capture", file=sys.stderr)
        else:
            tqdm.write("the train step is captured: one launch, {1:.4f} instead of {0:.4f} seconds".format(*self.capture_seconds))

    def read_metrics(self) -> None:
        """Fetch the metrics of the last train steps; stop if one of them is not finite."""
        if not self.unread:
            return
        values = torch.stack(self.unread).tolist()
        first = self.train_steps - len(values) + 1
        self.unread = []
        for number, row in enumerate(values, first):
            bad = [f"{name} = {value}" for name, value in zip(self.names, row) if not math.isfinite(value)]
            if bad:
                raise Diverged(f"train step {number} (about environment step {self.env_steps}): {', '.join(bad)}")
            self.recent.append(row)
            self.sums = [total + value for total, value in zip(self.sums, row)] if self.summed else row
            self.summed += 1

    def write_row(self, scores: np.ndarray | None) -> None:
        """One row of metrics.csv: the evaluation, if there was one, and means since the last row."""
        self.read_metrics()
        row: dict[str, float] = {
            "env_steps": self.env_steps,
            "train_steps": self.train_steps,
            "episodes": self.episodes,
            "seconds": round(self.seconds, 2),
        }
        row["return"] = float(np.mean(self.returns)) if self.returns else float("nan")
        row["eval_mean"], row["eval_std"], row["eval_episodes"] = (
            (float("nan"), float("nan"), 0) if scores is None else (scores.mean(), scores.std(), len(scores))
        )
        row |= {name: total / self.summed for name, total in zip(self.names, self.sums)} if self.summed else {}
        self.sums, self.summed = [], 0
        self.log.add(row)

    def state_dict(self) -> dict[str, Any]:
        rng = {"cpu": torch.get_rng_state()}
        if self.device != "cpu":
            rng["cuda"] = torch.cuda.get_rng_state(self.device)
        plain = {name: getattr(self, name) for name in self.PLAIN}
        return plain | {
            "learner": self.learner.state_dict(),
            "replay": self.replay.state_dict(),
            "rng": rng,
            "envs": self.envs.state_dict(),
            "running": self.running.tolist(),
            "returns": list(self.returns),
            "rows": self.log.rows,
            "carry": [*self.carry.state, self.carry.action],
            "device": self.device,
            "threads": torch.get_num_threads(),
            "processes": self.team.size,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.PLAIN:
            setattr(self, name, state[name])
        self.learner.load_state_dict(state["learner"])
        self.replay.load_state_dict(state["replay"])
        self.running, self.returns, self.log.rows = np.array(state["running"]), deque(state["returns"], maxlen=10), state["rows"]
        h, z, action = (part.to(self.carry.action.device) for part in state["carry"])
        self.carry = Carry(State(h, z), action)
        torch.set_rng_state(state["rng"]["cpu"])
        if "cuda" in state["rng"] and self.device != "cpu":
            torch.cuda.set_rng_state(state["rng"]["cuda"], self.device)

    def restore_envs(self, state: dict[str, Any]) -> list[str]:
        """Play the unfinished episodes again, in the environments' own code; returns what is to be said of those that can't be restored.
        The replay marks where such an episode broke off, so that no return reaches across."""
        lost = self.envs.load_state_dict(state)
        self.replay.break_off(lost)
        self.notes += lost.values()
        return list(lost.values())

    def begin_with_a_copy(self) -> None:
        """A process that was not there before begins with another one's replay, own dice, and new episodes."""
        seed = self.team.seed(self.config.seed + self.train_steps)
        torch.manual_seed(seed)
        self.replay.generator.manual_seed(seed)
        self.replay.break_off(range(len(self.envs)))

    def save(self, out: Path) -> None:
        """Write the checkpoint: the agent as it is to be used, with averaged weights, and all that the run needs to go on.

        Raises Diverged if they are not finite, Refused if the processes of the run have different ones."""
        self.read_metrics()
        if not self.learner.optimizer.weights.isfinite().all():  # never replace a good checkpoint by such a one
            raise Diverged(f"train step {self.train_steps} (environment step {self.env_steps}): weights")
        if not self.team.same(self.learner.optimizer.weights):
            raise Refused(
                f"after train step {self.train_steps} the processes have different weights; the last checkpoint is kept"
            )
        state = self.state_dict()
        with self.team.saving(out, {name: state[name] for name in self.OWN}, self.env_steps), self.learner.averaged() as agent:
            if self.team.leads:
                checkpoint.save(out / "checkpoint.pt", agent, **state)

    def play(self, episodes: int, seed: int, greedy: bool = False) -> np.ndarray:
        """Returns of the agent in fresh episodes, with its averaged weights. What was cut goes into the notes."""
        with self.learner.averaged():
            returns, cut = play_episodes(self.evaluator.agent(), self.make_env, episodes, seed, greedy)
        if cut and not any("cut there" in note for note in self.notes):
            self.notes.append(f"an evaluation at {self.env_steps} steps: {cut_words(cut, episodes)}")
        return returns


def train(
    config: Config,
    out: Path | str,
    device: str = "cpu",
    until: str = "solved",
    resume: bool | checkpoint.Saved = False,
    progress: bool = True,
    on_step: Callable[[Training], None] | None = None,
    compile: bool = False,
    capture: str = "auto",
    tensorboard: bool = False,
    team: Team = ALONE,
    make_env: Make | None = None,
) -> dict[str, Any]:
    """Train an agent and leave everything in the folder `out`; returns the run card.

    until: "solved" stops at the first evaluation that reaches the environment's own threshold; "held" goes on to twice
    those steps, at least 6,000, and watches whether it stays solved; "steps" uses up the bounds of the config.
    resume: go on from the checkpoint in `out`, or from what was read of it already. Ctrl-C saves and stops after the step at hand.
    on_step: called after each environment step, to look at the run; it must not change it.
    compile: make one program of the losses and their gradients first, see `compiled.py`; where that can't be done, it is told. A resumed
    run is compiled if it was. capture: "auto" records a train step as a CUDA graph and replays it, on a GPU, if the record is seen to do
    what the step does; "on" stops the run where it does not. team: the processes that train together, see `parallel.py`; all of them
    call this function.
    make_env: makes the environments, instead of the one that config.env names; each call a new one.
    Raises Refused for bad input and for a folder that can't be written, Diverged if a loss is not finite.
    """
    out = Path(out)
    if until not in UNTIL:
        raise Refused(f"until must be one of {', '.join(UNTIL)}, got {until!r}")
    if make_env and config.env == Config.env:
        config = replace(config, env=made_by(make_env))
    if capture not in CAPTURE:
        raise Refused(f"capture must be one of {', '.join(CAPTURE)}, got {capture!r}")
    if capture == "on" and device == "cpu":
        raise Refused(
            "--capture on records what a train step launches on a GPU; on a CPU there is nothing to record, leave it out"
        )
    if capture == "on" and config.replay_on_host:
        raise Refused(
            "a train step can't be captured while it waits for a replay in the computer's memory; give --capture on or --replay_on_host"
        )
    if capture == "on" and team.size > 1:
        raise Refused(f"a captured train step is for one process, and torchrun started {team.size}; leave --capture on out")
    if tensorboard:
        need_tensorboard()
    if not resume and not team.again:
        team.from_first(lambda: folder.refuse_existing(out))
    team.begin()
    saved = checkpoint.read(out, config.env, config.wrap, config.env_args) if resume is True else resume
    compile = saved.rest.get("compiled", False) if saved else compile
    if compile and team.size > 1:
        raise Refused(
            f"a compiled train step is for one process, and torchrun started {team.size}; start a run without --compile, or one process"
        )
    training = resume_training(out, device, config, saved, team, make_env) if saved else Training(config, device, team, make_env)
    try:
        training.until = until
        with folder.writing(out):
            out.mkdir(parents=True, exist_ok=True)
        make_fast(training, compile, capture)
        team.from_first(lambda: folder.prepare(out, training))
        if not (out / "config.json").exists():
            raise Refused(
                f"{out} is not the folder that the first process writes to; on several machines give one that they share"
            )
        with folder.writing(out):
            if not resume:
                training.save(out)
            if team.leads:
                training.log.open(out, tensorboard)
        return run(training, out, progress, on_step)
    finally:
        training.log.close()
        training.envs.close()


def run(training: Training, out: Path, progress: bool, on_step: Callable[[Training], None] | None) -> dict[str, Any]:
    """Step and learn until it is finished or interrupted; save; returns the run card."""
    c = training.config
    bar = tqdm(total=c.steps, initial=training.env_steps, unit=" env steps", disable=not progress, dynamic_ncols=True)
    started = time.perf_counter() - training.seconds
    with watch_interrupts(training.team.leads) as interrupted, bar:
        while not finished(training):
            training.collect()
            training.learn()
            training.seconds = time.perf_counter() - started
            bar.update(training.stride)
            if is_time(training, c.eval_every) or is_time(training, c.log_every):
                scores = measure(training) if is_time(training, c.eval_every) else None
                with folder.writing(out):
                    training.write_row(scores)
            if training.env_steps % 20 < training.stride:
                describe(bar, training)
            if on_step:
                on_step(training)
            if training.team.sum(interrupted()):
                break
            if is_time(training, c.save_every):
                training.save(out)
        training.save(out)
        return training.team.from_first(lambda: folder.finish(out, training, finished(training)))


def make_fast(training: Training, compile: bool, capture: str) -> None:
    if compile:
        print(TOLD, flush=True)
        try:
            training.compile_seconds = compile_learner(training.learner)
            print(f"compiled in {training.compile_seconds:.0f} seconds", flush=True)
        except Refused as error:
            training.notes.append(f"nothing was compiled: {error}")
            print(f"dreamer_lite: {training.notes[-1]}; the run goes on without", file=sys.stderr)
    training.compiled = training.compile_seconds is not None
    if (
        training.device != "cpu" and training.team.size == 1 and not training.config.replay_on_host
    ):  # a record of several processes' talk has never been made
        training.capture = capture


def made_by(make_env: Make) -> str:
    """A name for what a function makes. It says so, since the name alone makes another environment, or none."""
    env = make_env()
    name = env.spec.id if env.spec else type(env.unwrapped).__name__
    env.close()
    return name + MADE


def resume_training(
    out: Path, device: str, config: Config, saved: checkpoint.Saved, team: Team, make_env: Make | None = None
) -> Training:
    """The run in `out`, as it was saved. Raises Refused if there is none, or if settings differ that can't be changed on the way."""
    for name, (old, new) in config.changes(saved.config).items():
        if name not in FREE:
            raise Refused(
                f"--{name} cannot be changed while resuming: it is {old}, not {new}. For other settings start a new run"
            )
    if "replay" not in saved.rest:
        raise Refused(f"{checkpoint.find(out)} holds an agent but no run; only a run's own folder can be resumed")
    training, rest = Training(config, device, team, make_env), saved.rest
    before = rest.get("processes", 1)
    if own := team.rank % before:  # the first one's is in the checkpoint itself
        rest |= checkpoint.read_data(part(out, own, rest["env_steps"]))
    with checkpoint.refuse_what_does_not_fit_this_version(checkpoint.find(out)):
        training.agent.load_state_dict(saved.weights)
        training.load_state_dict(rest)
        envs = rest["envs"]
    saved.weights.clear()  # the replay is large, and need not be held twice
    rest.clear()
    if team.rank >= before:
        training.begin_with_a_copy()
        lost = []
    else:
        with fork_rng(device):  # whatever an environment does while it plays again
            lost = training.restore_envs(envs)
    if team.size != before and team.leads:
        lost.append(
            f"{team.size} processes go on with a run of {before}: "
            + ("new ones begin with a copy of another's replay" if team.size > before else "the replays of the others are lost")
        )
        training.notes.append(lost[-1])
    for note in lost:
        print(f"dreamer_lite: {note}", file=sys.stderr)
    return training


def is_time(training: Training, every: int) -> bool:
    """Whether the last step crossed a multiple of `every` environment steps."""
    return bool(every) and training.env_steps % every < training.stride


def measure(training: Training) -> np.ndarray | None:
    """Evaluate the agent as it is now, and note whether that solves the task."""
    training.read_metrics()
    c, threshold = training.config, training.envs.threshold
    if training.env_steps < c.learn_start:
        return None
    episodes, seed = HOLD_EPISODES if training.solved else c.eval_episodes, c.seed + training.env_steps
    scores = training.team.from_first(lambda: training.play(episodes, seed))
    if threshold is not None and training.solved is None and scores.mean() >= threshold:
        training.solved = {"env_steps": training.env_steps, "seconds": training.seconds}
    return scores


def finished(training: Training) -> bool:
    c = training.config
    if training.env_steps >= c.steps or c.episodes and training.episodes >= c.episodes:
        return True
    if training.solved is None or training.until == "steps":
        return False
    return training.until == "solved" or training.env_steps >= max(2 * training.solved["env_steps"], HOLD_STEPS)


def describe(bar: tqdm, training: Training) -> None:
    evaluations = training.log.evaluations
    bar.set_postfix(
        {
            "return": f"{np.mean(training.returns or [0]):.0f}",
            "evaluation": f"{evaluations[-1]['eval_mean']:.0f}" if evaluations else "-",
            "train steps/s": f"{training.train_steps / max(training.seconds, 1e-9):.1f}",
        },
        refresh=False,
    )


@contextmanager
def watch_interrupts(tell: bool) -> Iterator[Callable[[], bool]]:
    """Ctrl-C or a polite kill is noted and acted on between two steps; a second Ctrl-C stops at once. A second polite kill changes nothing."""
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        if seen and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not seen and tell:
            print("\nstopping after this step, and saving …", file=sys.stderr)
        seen.append(number)

    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, note) for number in signals}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
