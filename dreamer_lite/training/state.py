"""Everything that changes during a run, and how it is saved and restored."""

from collections import deque
from collections.abc import Callable
import math
import os
from pathlib import Path
import sys
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..agent import Carry, Dreamer
from ..config import Config, Spaces
from ..envs.making import EnvFactory, env_factory
from ..envs.stepping import Envs, closed_on_error
from ..envs.workers import WorkerEnvs
from ..errors import Refused
from ..evaluation.evaluate import Stopped, copies, cut_off_words, play_episodes
from ..evaluation.rollout import play_step
from ..learner import Learner
from ..replay import Replay
from ..rssm import State
from . import checkpoint
from .acting import fastest_acting
from .capture import Captured, prove
from .device import free_memory, refuse_out_of_memory, require_float32
from .log import Log, Metrics
from .parallel import SINGLE_PROCESS, Processes
from .step import TrainStep


class Diverged(FloatingPointError):
    """A loss, another metric or a weight is not finite."""


PICTURES_TO_COMPARE = 100  # steps of each environment, before images that never change are reported
DARK = 32  # of 255; where nothing is brighter, an image is nearly black


def drawing_words() -> str:
    driver = os.environ.get("SDL_VIDEODRIVER")
    why = f"SDL_VIDEODRIVER is {driver!r}, with which some draw nothing; put" if driver == "dummy" else "If not, put"
    return f"{why} SDL_VIDEODRIVER=offscreen in front of the command"


class Training:
    """Everything that changes during a run. `state_dict` holds all of it, so a resumed run is the same run.

    spaces: those of the agent to be continued, or else the environment's.
    Raises Refused for an environment that can't be made or isn't supported, and if memory doesn't suffice.
    """

    PLAIN = (
        "env_steps",
        "train_steps",
        "due",
        "episodes",
        "seconds",
        "solved",
        "until",
        "notes",
        "compiled",
        "evaluation_due",
    )
    OWN = ("replay", "rng", "envs", "running", "discounted", "returns", "carry")  # the state of each process alone

    def __init__(
        self,
        config: Config,
        device: str = "cpu",
        processes: Processes = SINGLE_PROCESS,
        make_env: EnvFactory | None = None,
        spaces: Spaces | None = None,
    ):
        c, self.config, self.device, self.processes = config, config, device, processes
        seed = processes.seed(c.seed)
        torch.manual_seed(c.seed)  # the same weights in all processes
        self.make_env = env_factory(make_env or c)
        self.envs = (WorkerEnvs if c.workers else Envs)(self.make_env, c.envs, seed, seconds=c.env_seconds)
        require_float32()
        with closed_on_error(self.envs), refuse_out_of_memory("the agent with its replay buffer", device):
            self.learner = Learner(Dreamer(c, spaces or self.envs.spaces, device))
            processes.share(self.learner)
            self.replay = self.make_replay("cpu" if c.replay_on_host else device)
        self.train_step = TrainStep(self.learner, self.replay)
        self.replay.generator.manual_seed(seed)
        if not processes.leads:
            torch.manual_seed(seed)
        self.acting = fastest_acting(self.learner, c.envs, learning=True)
        self.evaluating = fastest_acting(self.learner, min(c.eval_episodes, copies(c)), learning=False)
        self.carry = self.acting.agent().initial(c.envs)
        self.env_steps = self.train_steps = self.episodes = 0  # environment steps and episodes of all processes
        self.evaluation_due = False  # one that waits for the end of an episode, with eval_in="training"
        self.due = 0.0  # train steps that the replay ratio allows and that are not taken yet
        self.running = np.zeros(c.envs)  # returns of the unfinished episodes
        self.discounted = np.zeros(c.envs)  # the same, with what lies further back counting less
        self.returns: deque[float] = deque(maxlen=10)  # of the latest finished episodes
        self.seconds = 0.0
        self.solved: dict[str, float] | None = None
        self.until, self.progress = "solved", False  # progress: whether to print what is done
        self.stop: Callable[[], bool] = lambda: False  # whether the run is asked to end
        self.notes: list[str] = []  # for the run card
        self.log, self.metrics = Log(), Metrics()
        self.compiled, self.compile_seconds = False, None  # decided before the first step
        self.capture = "off"  # whether to record a train step once there is something to learn from
        self.captured: Captured | None = None  # what replays it
        self.capture_seconds: tuple[float, float] | None = None  # of a plain train step, and of a replayed one

    @property
    def agent(self) -> Dreamer:
        return self.learner.agent

    def make_replay(self, device: str) -> Replay:
        c, spaces = self.config, self.envs.spaces
        sizes = dict(obs_size=spaces.obs_size, image=spaces.image, action_size=spaces.action_size)
        latent = dict(deter=c.deter, groups=c.groups, classes=c.classes)
        need, free = Replay.bytes_needed(c.replay_size, **sizes, **latent), free_memory(device)
        if free is not None and need > free:
            raise Refused(
                f"the replay buffer of {c.replay_size:,} steps needs {need / 1e9:.1f} GB, and {device} has "
                f"{free / 1e9:.1f} GB free; use a smaller --replay_size, smaller images, or --replay_on_host on a GPU"
            )
        ring = dict(capacity=c.replay_size, envs=c.envs, device=device, online_queue=c.online_queue)
        return Replay(**ring, **sizes, **latent)

    @property
    def stride(self) -> int:
        """Environment steps of one `collect`, over all processes."""
        return len(self.envs) * self.processes.size

    def collect(self) -> None:
        """Take one step in every environment, and add it to the replay buffer."""
        step, self.carry = play_step(self.acting.agent(), self.envs, self.carry)
        self.replay.add(step, self.carry.state)
        self.env_steps += self.stride
        reward, is_first, is_last = (part.cpu().numpy() for part in (step.reward, step.is_first, step.is_last))
        self.running = np.where(is_first, 0, self.running) + reward
        self.discounted = np.where(is_first, 0, self.discounted) * (1 - 1 / self.config.discount_horizon) + reward
        self.look_at_what_comes(reward)
        self.returns.extend(self.running[is_last].tolist())
        self.episodes += self.processes.sum(int(is_last.sum()))
        if self.can_learn:
            self.due += len(self.envs) * self.config.train_ratio / (self.config.batch_size * self.config.seq_len)

    @property
    def can_learn(self) -> bool:
        """Whether there is enough experience. Before that, no train step is due, so they don't pile up."""
        return self.env_steps >= self.config.learn_start and self.replay.added > self.config.seq_len

    def look_at_what_comes(self, reward: np.ndarray) -> None:
        """Report what a run can't learn from: images that never change, rewards or returns beyond the bins."""
        if self.replay.added == PICTURES_TO_COMPARE and "image" in self.replay.data:
            pictures = self.replay.data["image"][:, :PICTURES_TO_COMPARE]
            brightest = int(pictures.max())
            if (pictures == pictures[:, :1]).all():
                one = pictures[0, 0]
                plain = (one == one[:1, :1]).all()
                what = f"have one colour, {one.flatten()[0].item()}" if plain else "are all the same"
                self.warn(
                    f"the images of the first {PICTURES_TO_COMPARE} steps {what}: the agent can learn nothing from "
                    f"them. Does the environment draw? {drawing_words()}"
                )
            elif brightest < DARK:
                self.warn(
                    f"the images of the first {PICTURES_TO_COMPARE} steps are nearly black: nothing is brighter than "
                    f"{brightest} of 255. If they are codes, such as the pieces on a board, declare their upper bound, "
                    f"Box(0, {brightest}, …), with --wrap and Gymnasium's TransformObservation; the agent then sees "
                    "them as numbers"
                )
        limit = math.expm1(self.config.bin_limit)
        for name, seen in (("rewards", reward), ("returns", self.discounted)):
            worst = seen[np.abs(seen).argmax()]
            if abs(worst) > limit:
                more = ", or start again with --bin_limit 20 (±485 million)" if self.config.bin_limit < 20 else ""
                self.warn(
                    f"{name} have reached {worst:,.6g}, and the bins of the reward and value heads end at "
                    f"±{limit:,.0f}: beyond, all look alike. Scale the rewards{more}"
                )
                break

    def warn(self, words: str) -> None:
        """Print a note and keep it for the run card; a second one that starts alike is left out."""
        if not any(note[:13] == words[:13] for note in self.notes):
            self.notes.append(words)
            if sys.stderr:
                tqdm.write(f"dreamer_lite: {words}", file=sys.stderr)

    def learn(self) -> None:
        """Take the train steps that are due. Raises Diverged if a loss or another metric is not finite."""
        while self.due >= 1 and self.can_learn:
            if self.capture != "off":
                self.capture_train_step()
            self.due -= 1
            with refuse_out_of_memory("a train step", self.device):
                (self.captured or self.train_step)()
            self.train_steps += 1
            self.metrics.add(self.train_step.names, self.train_step.metrics)
            if self.device == "cpu" or len(self.metrics.unread) == 50:  # reading waits for a GPU, so do it seldom
                self.read_metrics()

    def capture_train_step(self) -> None:
        """From now on, replay the train step from a record, if that provably does the same; print which way it went."""
        must, self.capture = self.capture == "on", "off"
        try:
            self.captured, self.capture_seconds = prove(self.train_step)
        except Refused as error:
            if must:
                raise Refused(f"{error}; with --capture auto the run continues without a record") from error
            self.notes.append(f"the train step is not captured: {error}")
            tqdm.write(f"dreamer_lite: {self.notes[-1]}; the run continues as with --capture off", file=sys.stderr)
        else:
            self.say(
                "the train step is captured: one launch, {1:.4f} seconds instead of {0:.4f}".format(
                    *self.capture_seconds
                )
            )

    def read_metrics(self) -> None:
        """Fetch the metrics of the latest train steps. Raises Diverged if one of them is not finite."""
        first = self.train_steps - len(self.metrics.unread) + 1
        for number, row in enumerate(self.metrics.read(), first):
            bad = [f"{name} = {value}" for name, value in zip(self.metrics.names, row) if not math.isfinite(value)]
            if bad:
                raise Diverged(f"train step {number} (about environment step {self.env_steps}): {', '.join(bad)}")

    def write_row(self, scores: np.ndarray | None) -> None:
        """Add a row to metrics.csv: the evaluation, if there was one, and means since the last row."""
        self.read_metrics()
        row: dict[str, float] = {
            "env_steps": self.env_steps,
            "train_steps": self.train_steps,
            "episodes": self.episodes,
            "seconds": round(self.seconds, 2),
        }
        nan = float("nan")
        row["return"] = float(np.mean(self.returns)) if self.returns else nan
        evaluation = (nan, nan, 0) if scores is None else (scores.mean(), scores.std(), len(scores))
        row |= dict(zip(("eval_mean", "eval_std", "eval_episodes"), evaluation))
        self.log.add(row | self.metrics.take_means())

    def state_dict(self) -> dict[str, Any]:
        rng = {"cpu": torch.get_rng_state()}
        if self.device != "cpu":
            rng["cuda"] = torch.cuda.get_rng_state(self.device)
        plain = {name: getattr(self, name) for name in self.PLAIN}
        metrics = {"names": self.metrics.names, "sums": self.metrics.sums, "summed": self.metrics.count}
        return (
            plain
            | metrics
            | {
                "learner": self.learner.state_dict(),
                "replay": self.replay.state_dict(),
                "rng": rng,
                "envs": self.envs.state_dict(),
                "running": self.running.tolist(),
                "discounted": self.discounted.tolist(),
                "returns": list(self.returns),
                "rows": self.log.rows,
                "carry": [*self.carry.state, self.carry.action],
                "device": self.device,
                "threads": torch.get_num_threads(),
                "processes": self.processes.size,
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.PLAIN:
            setattr(self, name, state.get(name, getattr(self, name)))
        self.metrics.names, self.metrics.sums, self.metrics.count = state["names"], state["sums"], state["summed"]
        self.learner.load_state_dict(state["learner"])
        self.replay.load_state_dict(state["replay"])
        self.running, self.returns = np.array(state["running"]), deque(state["returns"], maxlen=10)
        self.discounted = np.array(state.get("discounted", state["running"]))  # version 0.3.0 did not keep them
        self.log.rows = state["rows"]
        h, z, action = (part.to(self.carry.action.device) for part in state["carry"])
        self.carry = Carry(State(h, z), action)
        torch.set_rng_state(state["rng"]["cpu"])
        if "cuda" in state["rng"] and self.device != "cpu":
            torch.cuda.set_rng_state(state["rng"]["cuda"], self.device)

    def restore_envs(self, state: dict[str, Any]) -> list[str]:
        """Replay the unfinished episodes in their environments; returns a message for each that can't be restored.

        The replay buffer marks where such an episode broke off, so that no return reaches across.
        """
        lost = self.envs.load_state_dict(state)
        self.replay.break_off(lost)
        self.notes += lost.values()
        return list(lost.values())

    def begin_with_a_copy(self) -> None:
        """Start as a new process of a resumed run.

        It has a copy of another process's replay buffer, its own random states, and new episodes.
        """
        seed = self.processes.seed(self.config.seed + self.train_steps)
        torch.manual_seed(seed)
        self.replay.generator.manual_seed(seed)
        self.replay.break_off(range(len(self.envs)))

    def save(self, out: Path) -> None:
        """Write the checkpoint: the agent with averaged weights, and everything that the run needs to continue.

        Raises Diverged if weights are not finite, Refused if they differ between the processes of the run.
        """
        self.read_metrics()
        weights = self.learner.optimizer.weights
        if not weights.isfinite().all():  # never replace a good checkpoint by a bad one
            raise Diverged(f"train step {self.train_steps} (environment step {self.env_steps}): a weight")
        if not self.processes.same(weights):
            raise Refused(
                f"after train step {self.train_steps} the weights differ between the processes; the last checkpoint is "
                "kept"
            )
        state = self.state_dict()
        own = {name: state[name] for name in self.OWN}
        with self.processes.saving(out, own, self.env_steps), self.learner.averaged() as agent:
            if self.processes.leads:
                checkpoint.save(out / "checkpoint.pt", agent, **state)

    def say(self, words: str) -> None:
        """Print what is done, where that is wanted."""
        if self.progress:
            tqdm.write(words)
            sys.stdout.flush()

    def play(self, episodes: int, seed: int, greedy: bool = False) -> np.ndarray | None:
        """Returns of the agent in fresh episodes, with its averaged weights; None if the run is asked to end meanwhile.

        Episodes that were cut off go into the notes.
        """
        agent, c = self.evaluating.agent, self.config
        env = self.envs.envs[0] if c.eval_in == "training" else self.make_env
        try:
            with self.learner.averaged():
                returns, cut = play_episodes(
                    agent(), env, episodes, seed, greedy, progress=self.progress, stop=self.stop
                )
        except Stopped:
            return None
        if cut and not any("cut off there" in note for note in self.notes):
            self.notes.append(f"an evaluation at {self.env_steps} steps: {cut_off_words(cut, episodes, c.eval_steps)}")
        return returns
