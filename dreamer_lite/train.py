"""The loop: environments → replay → world model → imagination → critic and actor → environments (notebook 10)."""

from contextlib import contextmanager
import csv
import ctypes
import json
import math
from pathlib import Path
import platform
import signal
import shutil
import threading
import sys
import time
from typing import Any, Callable, Iterator

import gymnasium
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from . import __version__, checkpoint
from .agent import Dreamer
from .capture import Captured
from .config import Config
from .draw import draw_learning_curve
from .envs import make_envs
from .evaluate import evaluate
from .replay import Replay

HOLD_STEPS, HOLD_EPISODES = 6000, 20  # how long, and how carefully, an agent that solved its task is watched


def use_device(name: str = "auto", threads: int = 0) -> str:
    """The device called `name`: "auto" is CUDA where there is one. Also sets the CPU threads (0: as they are) and calls
    `keep_memory`. Raises ValueError for a device that is unknown or not there."""
    if threads < 0:
        raise ValueError(f"threads must be 0 or more, got {threads}")
    if threads:
        torch.set_num_threads(threads)
    keep_memory()
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    index = name.removeprefix("cuda:") if name.startswith("cuda:") else "0"
    if name != "cpu" and not (name.startswith("cuda") and index.isdigit() and name in ("cuda", f"cuda:{index}")):
        raise ValueError(f"device {name!r} is unknown; give auto, cpu, cuda or cuda:N")
    if name != "cpu" and int(index) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r} was asked for, but PyTorch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
                         "devices here; give --device cpu or auto")
    if name != "cpu":
        torch.cuda.set_device(int(index))  # what names no device, like a stream, shall mean this one
    return name


def keep_memory() -> None:
    """Have glibc keep freed memory instead of handing it back to the system and faulting it in again, page by page, for
    every large tensor of every step. Measured: a train step takes 15 to 30 % less time. No effect on other platforms."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no allocation by mmap
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: never shrink the heap
    except (OSError, AttributeError):
        pass


class Training:
    """Everything that changes during a run. `state_dict` holds all of it, so a resumed run is the same run."""

    PLAIN = ("env_steps", "train_steps", "due", "returns", "seconds", "rows", "solved", "means", "names", "until")

    def __init__(self, config: Config, device: str = "cpu"):
        c = self.config = config
        torch.manual_seed(c.seed)
        self.envs = make_envs(c.env, c.envs, c.seed)
        try:
            self.agent = Dreamer(c, self.envs.observation, self.envs.actions, self.envs.discrete, device)
            self.replay = Replay(c.replay_size, c.envs, self.envs.observation, self.envs.actions, c.deter, c.latent_dim,
                                 c.classes, device)
        except (RuntimeError, MemoryError, OverflowError, TypeError) as error:
            raise ValueError(f"the agent and its replay do not fit into the memory of {device}; take a smaller preset, "
                             f"--hidden_dim, --deter or --replay_size ({str(error).splitlines()[0][-90:]})") from error
        self.replay.generator.manual_seed(c.seed)
        self.carry = self.agent.initial(c.envs)
        self.device = device
        self.env_steps = self.train_steps = 0
        self.due = 0.0  # train steps that the replay ratio allows and that are not yet taken
        self.running = np.zeros(c.envs)  # returns of the unfinished episodes
        self.returns: list[float] = []  # of finished episodes
        self.seconds = 0.0
        self.compile_seconds: float | None = None
        self.rows: list[dict[str, float]] = []  # what metrics.csv holds
        self.solved: dict[str, float] | None = None
        self.until = "solved"
        self.captured: Captured | None = None  # what replays `step`, if it was asked for
        self.unread: list[Tensor] = []  # metrics still on the device, one vector per train step
        self.means: list[list[float]] = []  # of the train steps since the last row
        self.names: list[str] = []

    def collect(self) -> None:
        """One step in every environment, into the replay."""
        row = self.envs.step(self.carry.action.cpu().numpy())
        tensors = {name: torch.as_tensor(value).to(self.device) for name, value in row._asdict().items()}
        tensors["action"] = self.carry.action * ~tensors["is_first"][:, None]
        self.carry = self.agent.act(tensors["obs"], tensors["is_first"], self.carry)
        self.replay.add(tensors, self.carry.state)
        self.env_steps += len(self.envs)
        self.running = np.where(row.is_first, 0, self.running) + row.reward
        self.returns += self.running[row.is_last].tolist()
        if self.env_steps >= self.config.learn_start:
            self.due += len(self.envs) * self.config.train_ratio / (self.config.batch_size * self.config.seq_len)

    def learn(self) -> None:
        """Take the train steps that are due. Raises FloatingPointError if a loss is not finite."""
        c = self.config
        while self.due >= 1 and self.replay.added > c.seq_len:
            self.due -= 1
            (self.captured or self.step)()
            self.train_steps += 1
            self.unread.append(self.latest.clone())
            if self.device == "cpu" or len(self.unread) == 50:  # reading waits for a GPU, so do it seldom
                self.read_metrics()

    def step(self) -> None:
        """One train step, from the replay and back to it. It reads and writes the same tensors each time and waits for none of
        their values, so it can be recorded once and replayed (`capture.py`)."""
        c = self.config
        batch, start, where = self.replay.sample(c.batch_size, c.seq_len)
        states, means = self.agent.train_step(batch, start)
        self.replay.refresh(where, states)
        self.names, self.latest = list(means), torch.stack(list(means.values()))

    def read_metrics(self) -> None:
        """Fetch the metrics of the last train steps; stop if one of them is not finite."""
        if not self.unread:
            return
        values = torch.stack(self.unread).tolist()
        first = self.train_steps - len(values) + 1
        self.unread = []
        for step, row in enumerate(values, first):
            bad = [f"{name} = {value}" for name, value in zip(self.names, row) if not math.isfinite(value)]
            if bad:
                raise FloatingPointError(f"train step {step} (about environment step {self.env_steps}): {', '.join(bad)}")
        self.means += values

    def log(self, scores: np.ndarray | None) -> None:
        """One row of metrics.csv: the evaluation, if there was one, and means since the last row."""
        row: dict[str, float] = {"env_steps": self.env_steps, "train_steps": self.train_steps,
                                 "episodes": len(self.returns), "seconds": round(self.seconds, 2)}
        row["return"] = float(np.mean(self.returns[-10:])) if self.returns else float("nan")
        row["eval_mean"], row["eval_std"], row["eval_episodes"] = (
            (float("nan"), float("nan"), 0) if scores is None else (scores.mean(), scores.std(), len(scores)))
        if self.means:
            row |= {name: float(value) for name, value in zip(self.names, np.mean(self.means, 0))}
        self.means = []
        self.rows.append({name: round(float(value), 6) for name, value in row.items()})

    def state_dict(self) -> dict[str, Any]:
        rng = {"cpu": torch.get_rng_state()}
        if self.device != "cpu":
            rng["cuda"] = torch.cuda.get_rng_state(self.device)
        plain = {name: getattr(self, name) for name in self.PLAIN}
        return plain | {
            "optimizer": self.agent.optimizer.state_dict(), "replay": self.replay.state_dict(), "rng": rng,
            "envs": self.envs.state_dict(), "running": self.running.tolist(),
            "carry": [*self.carry.state, self.carry.action], "device": self.device, "threads": torch.get_num_threads()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.PLAIN:
            setattr(self, name, state[name])
        self.agent.optimizer.load_state_dict(state["optimizer"])
        self.replay.load_state_dict(state["replay"])
        self.envs.load_state_dict(state["envs"])
        self.running = np.array(state["running"])
        h, z, action = (part.to(self.device) for part in state["carry"])
        self.carry = type(self.carry)(type(self.carry.state)(h, z), action)
        torch.set_rng_state(state["rng"]["cpu"])
        if "cuda" in state["rng"] and self.device != "cpu":
            torch.cuda.set_rng_state(state["rng"]["cuda"], self.device)


def train(config: Config, out: Path | str, device: str = "cpu", until: str = "solved", resume: bool = False,
          progress: bool = True, on_step: Callable[[Training], None] | None = None, compile: bool = False,
          capture: bool = False) -> dict[str, Any]:
    """Train an agent and leave everything in the folder `out`; returns the run card.

    until: "solved" stops at the first evaluation that reaches the environment's own threshold; "held" goes on to twice
    those steps, at least 6,000, and watches whether it stays solved; "steps" uses up the bounds of the config.
    resume: go on from the checkpoint in `out`. Ctrl-C saves and stops after the step at hand.
    on_step: called after each environment step, to look at the run; it must not change it.
    compile: fuse the cells first, see `Dreamer.compile_cells`. capture: record a train step as a CUDA graph and replay it.
    Raises OSError if `out` cannot be written, ValueError for bad input, FloatingPointError if a loss is not finite.
    """
    if until not in ("solved", "held", "steps"):
        raise ValueError(f"until must be solved, held or steps, got {until!r}")
    if capture and device == "cpu":
        raise ValueError("--capture records what a train step launches on a GPU; on a CPU there is nothing to record, leave it off")
    out = Path(out)
    training = resume_training(out, device, config) if resume else Training(config, device)
    training.until = until
    if compile:
        print("compiling two cells, which takes a minute or so …", file=sys.stderr)
        training.compile_seconds = training.agent.compile_cells()
        print(f"compiled in {training.compile_seconds:.0f} seconds", file=sys.stderr)
    if capture:
        training.captured = Captured(training.step)
    prepare_folder(out, training, resume)
    bar = tqdm(total=config.steps, initial=training.env_steps, unit=" env steps", disable=not progress, dynamic_ncols=True)
    started = time.perf_counter() - training.seconds
    with watch_interrupts() as interrupted, bar:
        while not finished(training):
            training.collect()
            training.learn()
            training.seconds = time.perf_counter() - started
            bar.update(len(training.envs))
            if is_time(training, config.eval_every):
                measure(training)
                write_metrics(out, training)
            if training.env_steps % 20 < len(training.envs):
                describe(bar, training)
            if on_step:
                on_step(training)
            if interrupted():
                break
            if is_time(training, config.save_every):
                save_run(out, training)
        save_run(out, training)
        write_metrics(out, training)
        card = run_card(training)
        (out / "card.json").write_text(json.dumps(card, indent=2) + "\n")
        draw_learning_curve([training.rows], out / "learning_curve.png", training.envs.threshold)
    training.envs.close()
    return card


def resume_training(out: Path, device: str, config: Config) -> Training:
    agent, state = checkpoint.load(out)
    if not isinstance(state, dict) or "replay" not in state:
        raise ValueError(f"{checkpoint.find(out)} holds an agent but no run; only a run's own folder can be resumed")
    training = Training(config, device)
    training.agent.load_state_dict(agent.state_dict())
    try:
        training.load_state_dict(state)
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        raise ValueError(f"the run in {out} does not fit this version of dreamer_lite ({error}); train again") from error
    return training


def prepare_folder(out: Path, training: Training, resume: bool) -> None:
    """Find out before training, not after, whether the run can be written."""
    if not resume and (out / "checkpoint.pt").exists():
        raise ValueError(f"{out} already holds a run; go on with it by --resume {out}, or give another folder with --out")
    if not resume and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; give another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    need = 2 * sum(ring.nbytes for ring in training.replay.data.values()) + 10 * training.agent.optimizer.weights.nbytes
    free = shutil.disk_usage(out).free
    if free < need:
        raise OSError(f"{out} has {free / 1e6:,.0f} MB free, the run may need {need / 1e6:,.0f} MB; free some space, give "
                      "another folder with --out, or a smaller --replay_size")
    (out / "config.json").write_text(json.dumps(training.config.to_dict(), indent=2) + "\n")
    if not resume:
        save_run(out, training)


def save_run(out: Path, training: Training) -> None:
    training.read_metrics()
    if not training.agent.optimizer.weights.isfinite().all():  # never replace a good checkpoint by such a one
        raise FloatingPointError(f"train step {training.train_steps} (environment step {training.env_steps}): weights")
    checkpoint.save(out / "checkpoint.pt", training.agent, **training.state_dict())


def is_time(training: Training, every: int) -> bool:
    """Whether the last step crossed a multiple of `every` environment steps."""
    return bool(every) and training.env_steps % every < len(training.envs)


def measure(training: Training) -> None:
    """Evaluate the agent as it is now, and note whether that solves the task."""
    training.read_metrics()
    c, threshold = training.config, training.envs.threshold
    scores = None
    if training.env_steps >= c.learn_start:
        episodes = HOLD_EPISODES if training.solved else c.eval_episodes
        scores = evaluate(training.agent, c.env, episodes, c.seed + training.env_steps)
        if threshold is not None and training.solved is None and scores.mean() >= threshold:
            training.solved = {"env_steps": training.env_steps, "seconds": training.seconds}
    training.log(scores)


def finished(training: Training) -> bool:
    c = training.config
    if training.env_steps >= c.steps or len(training.returns) >= c.episodes:
        return True
    if training.solved is None or training.until == "steps":
        return False
    return training.until == "solved" or training.env_steps >= max(2 * training.solved["env_steps"], HOLD_STEPS)


def held(training: Training) -> dict[str, float] | None:
    """Of the evaluations since it was solved: how many, the share at or above the threshold, the worst."""
    means = [row["eval_mean"] for row in training.rows
             if training.solved and row["env_steps"] > training.solved["env_steps"] and row["eval_episodes"]]
    if not means:
        return None
    share = float(np.mean([mean >= training.envs.threshold for mean in means]))
    return {"evaluations": len(means), "share_at_threshold": share, "worst": min(means)}


def run_card(training: Training) -> dict[str, Any]:
    """The run in a few lines, for people and programs. Seconds to solve end where the evaluation begins that found it."""
    c, done = training.config, finished(training)
    final = {}
    for name, greedy in (("sampled", False), ("greedy", True)):
        scores = evaluate(training.agent, c.env, 100, c.seed, greedy) if done else np.array([])
        final[name] = {"mean": float(scores.mean()), "std": float(scores.std()), "episodes": len(scores)} if done else None
    name = torch.cuda.get_device_name(training.device) if training.device != "cpu" else platform.processor() or platform.machine()
    return {
        "env": c.env, "seed": c.seed, "until": training.until, "finished": done, "env_steps": training.env_steps,
        "train_steps": training.train_steps, "episodes": len(training.returns), "seconds": round(training.seconds, 1),
        "threshold": training.envs.threshold, "solved_at_env_steps": training.solved and training.solved["env_steps"],
        "solved_at_seconds": training.solved and round(training.solved["seconds"], 1), "held": held(training),
        "final_evaluation": final, "device": training.device, "device_name": name, "threads": torch.get_num_threads(),
        "compile_seconds": training.compile_seconds, "captured": training.captured is not None,
        "versions": {"dreamer_lite": __version__, "python": platform.python_version(), "torch": torch.__version__,
                     "numpy": np.__version__, "gymnasium": gymnasium.__version__},
        "config": c.to_dict(),
    }


def write_metrics(out: Path, training: Training) -> None:
    names = list(dict.fromkeys(name for row in training.rows for name in row))
    with open(out / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(training.rows)


def describe(bar: tqdm, training: Training) -> None:
    evaluations = [row["eval_mean"] for row in training.rows if row["eval_episodes"]]
    bar.set_postfix({"return": f"{np.mean(training.returns[-10:] or [0]):.0f}",
                     "evaluation": f"{evaluations[-1]:.0f}" if evaluations else "-",
                     "train steps/s": f"{training.train_steps / max(training.seconds, 1e-9):.1f}"}, refresh=False)


@contextmanager
def watch_interrupts() -> Iterator[Callable[[], bool]]:
    """Ctrl-C or a polite kill is noted and acted on between two steps; a second Ctrl-C stops at once."""
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        print("\nstopping after this step, and saving …", file=sys.stderr)

    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, note) for number in signals}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
