"""The loop: environments → replay → world model → imagination → critic and actor → environments (notebook 10)."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
import os
from pathlib import Path
import signal
import stat
import sys
import threading
import time
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..config import Config
from ..envs.making import EnvFactory, config_for, env_factory, refuse_idle_settings
from ..envs.probe import choose_eval_in
from ..envs.stepping import cannot_be_called
from ..errors import TOO_LARGE, Refused, require
from . import checkpoint, folder
from .compiled import COMPILING, compile_learner, worth_compiling
from .cost import Pace, sizes
from .options import RunOptions
from .parallel import SINGLE_PROCESS, Processes
from .resume import resume_training
from .state import Training

HOLD_STEPS = 6000  # until="held": least environment steps
FOR_NUMBERS = ("small", "general", "gpu")  # presets chosen in environments without images
HOLD_EPISODES = 20  # per evaluation once the task is solved


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended a run early; everything is saved. `card` is the run card so far."""

    def __init__(self, card: dict[str, Any], out: Path):
        self.card, self.out = card, out
        super().__init__(
            f"stopped after {card['env_steps']} environment steps; everything is saved. To continue: "
            f"train(config, {str(out)!r}, resume=True{', make_env=…' * card['config']['env_from_function']})"
        )

    def __reduce__(self) -> tuple:  # it may have to leave a worker process
        return Interrupted, (self.card, self.out)


def run(training: Training, out: Path, on_step: Callable[[Training], None] | None) -> dict[str, Any]:
    """Collect and learn until the run is finished or interrupted; save; returns the run card. Raises Interrupted."""
    c = training.config
    bar = tqdm(
        total=c.steps,
        initial=training.env_steps,
        unit=" steps",
        disable=not training.progress,
        dynamic_ncols=True,
        mininterval=10 if goes_to_a_file(sys.stderr) else 0.1,
    )
    started, pace = time.perf_counter() - training.seconds, Pace(training)
    with watch_interrupts(training.processes.leads) as interrupted, bar:
        training.stop = interrupted
        evaluate_if_due(training, out, pace)  # one that was interrupted
        while not finished(training):
            before = time.perf_counter()
            training.collect()
            training.learn()
            training.seconds = time.perf_counter() - started
            pace.step(training, time.perf_counter() - before)
            bar.update(training.stride)
            evaluate_and_log(training, out, pace)
            if is_time(training, 20):
                show_progress(bar, training)
            if on_step:
                on_step(training)
            if training.processes.sum(interrupted()):
                break
            if is_time(training, c.save_every):
                training.save(out)
        training.save(out)
        done = finished(training)
        if done and training.processes.leads and not training.train_steps:
            training.warn(nothing_learned(training))
        card = training.processes.from_first(lambda: folder.finish(out, training, done))
    if not done:
        raise Interrupted(card, out)
    return card


def train(
    config: Config,
    out: Path | str,
    *,
    resume: bool | checkpoint.Saved = False,
    make_env: EnvFactory | None = None,
    on_step: Callable[[Training], None] | None = None,
    processes: Processes = SINGLE_PROCESS,
    **options: Any,
) -> dict[str, Any]:
    """Train an agent and write everything into the folder `out`; returns the run card.

    resume: continue the run in `out`, or the given checkpoint that was read from it, which is used up; device, until
    and compilation carry over. Other steps than before, beyond those taken, continue a run that had ended, also a
    solved one.
    make_env: a function that makes the environment, instead of the ID in config.env; each call makes a new one.
    on_step: called with the `Training` after each environment step, to observe the run; it must not change it.
    processes: those that train together (`parallel.py`); all of them call this function. options: the fields of
    `RunOptions`: device, until, compile, capture, tensorboard, progress.

    Ctrl-C finishes the current step, saves, and raises `Interrupted`, a KeyboardInterrupt. Raises Refused for bad input
    and for a folder that can't be written, Diverged if a loss, another metric or a weight is not finite.

    It seeds PyTorch's global random state, and leaves it where the run ends: draw random settings from a generator of
    your own.
    """
    check_arguments(config, resume, on_step, processes)
    # The environment may change the current folder.
    out, given = checkpoint.as_path(out, "a run's folder").absolute(), RunOptions.of(options)
    config = config_for(config, make_env)
    if not resume:
        if make_env is not None:
            refuse_idle_settings(config)
        given.completed(None).check_against(config, processes)
        if not processes.again:
            processes.from_first(lambda: folder.refuse_existing(out))
    processes.begin()
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():  # nothing can learn in it; the environment stays without gradients
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
        processes.from_first(lambda: stack.enter_context(folder.locked(out)))
        saved = resume  # read again where another process has continued the run before this one locked its folder
        if resume is True or resume and resume.file.parent == out and not resume.is_current():
            saved = checkpoint.read(out, config.env, config.wrap, config.env_args)
        how = given.completed(saved.rest if saved else None)
        how.check_against(config, processes)
        if not resume and not processes.again:  # another run may have been there between the two looks
            processes.from_first(lambda: folder.refuse_existing(out))
        config, found = processes.from_first(lambda: choose_eval_in(config, env_factory(make_env or config)))
        if saved:
            training = resume_training(out, how.device, config, saved, processes, make_env)
        else:
            training = Training(config, how.device, processes, make_env)
        try:
            training.until = how.until
            # A program without a console has no streams.
            training.progress = how.progress and None not in (sys.stdout, sys.stderr)
            if found and processes.leads:
                training.warn(found)
            training.say(announcement(training, out))
            if saved:
                take_more_steps(training, saved.config, given.until)
            prepare(training, out, how, begin=not resume)
            if (out / "checkpoint.pt").exists():  # not where a checkpoint of another folder is resumed
                training.say(sizes(training, out / "checkpoint.pt"))
            try:
                return run(training, out, on_step)
            except Exception as error:
                if processes.leads:
                    folder.keep_error(out, training, finished(training), error)
                raise
        finally:
            training.log.close()
            training.envs.close()


def check_arguments(config: Any, resume: Any, on_step: Any, processes: Any) -> None:
    """Raises Refused where `train` was called with something of another kind."""
    require(config, Config, 'train needs a Config, such as Config.preset("small")')
    require(resume, (bool, checkpoint.Saved), "resume must be true or false")
    require(processes, Processes, "processes must be those of torchrun")
    if on_step is not None and (not callable(on_step) or cannot_be_called(on_step, None)):
        raise Refused(f"on_step must be a function of one argument, the Training; got {on_step!r}")


def nothing_learned(training: Training) -> str:
    c = training.config
    every = c.batch_size * c.seq_len * training.processes.size / c.train_ratio
    pace = f"one train step for every {every:g}" if every >= 1 else f"{1 / every:g} train steps for each"
    return (
        f"no train step was taken, so the agent has learned nothing: the run ended after {training.env_steps:,} "
        f"environment steps; learning begins at {c.learn_start:,} (--learn_start), once each environment has given "
        f"more than {c.seq_len} (--seq_len), with {pace} (--train_ratio)"
    )


def announcement(training: Training, out: Path) -> str:
    """Two lines: what the agent sees and does; its size, its device, and where its files go.

    A third where settings made for numbers meet images.
    """
    c, spaces, count = training.config, training.envs.spaces, training.processes.size
    weights = sum(p.numel() for p in training.learner.optimizer.params())
    together = f", {count} processes" if count > 1 else ""
    preset = c.nearest_preset()
    hint = f"\nit sees an image, and the preset {preset} was made for numbers; there is --preset pixels"
    return (
        f"{c.env}, seed {c.seed}: sees {spaces.observation_words}; chooses {spaces.action_words}\n"
        f"{weights:,} weights on {training.device}{together}; files in {out}; Ctrl-C saves and stops"
        f"{hint if spaces.image and preset in FOR_NUMBERS else ''}"
    )


def save_first(training: Training, out: Path) -> None:
    """Save before the first step. Where that fails, the folder is left as it was, so that it can be used again."""
    try:
        training.save(out)
    except Exception:
        training.processes.from_first(lambda: (out / "config.json").unlink(missing_ok=True))
        raise


def prepare(training: Training, out: Path, how: RunOptions, begin: bool) -> None:
    """Everything between creating the network and the first step: folder, compiled train step, first checkpoint."""
    with folder.writing(out):
        out.mkdir(parents=True, exist_ok=True)
    if how.compile == "on" or how.compile == "auto" and compiling_pays(training):
        compile_train_step(training)
    if training.device != "cpu" and training.processes.size == 1 and not training.config.replay_on_host:
        training.capture = how.capture
    training.processes.from_first(lambda: folder.write_config(out, training))
    if not (out / "config.json").exists():
        raise Refused(
            f"{out} is not the folder the first process writes to; on several machines, give one that they share"
        )
    with folder.writing(out):
        if begin:
            save_first(training, out)
        if training.processes.leads:
            training.log.open(out, how.tensorboard)


def compiling_pays(training: Training) -> bool:
    """Whether a new run is long enough to be compiled without being asked."""
    c = training.config
    if training.device != "cpu" or training.processes.size > 1:
        return False
    train_steps = max(c.steps - c.learn_start, 0) * c.train_ratio / (c.batch_size * c.seq_len)
    if training.until == "solved" and training.envs.threshold is not None:
        train_steps /= 4  # most runs that solve their task need no more
    pays, words = worth_compiling(training.learner, train_steps)
    if words:
        training.say(words)
    return pays


def compile_train_step(training: Training) -> None:
    training.say(COMPILING)
    training.compiled = False
    try:
        training.compile_seconds = compile_learner(training.learner)
        training.compiled = True
        training.say(f"compiled in {training.compile_seconds:.0f} seconds")
    except Refused as error:
        training.notes.append(f"the train step is not compiled: {error}")
        print(f"dreamer_lite: {training.notes[-1]}; the run continues uncompiled", file=sys.stderr)


def is_time(training: Training, every: int) -> bool:
    """Whether the last step crossed a multiple of `every` environment steps."""
    return bool(every) and training.env_steps % every < training.stride


def evaluate_and_log(training: Training, out: Path, pace: Pace) -> None:
    """Add a row to metrics.csv, where one is due: after an evaluation, and every `log_every` environment steps."""
    c = training.config
    training.evaluation_due |= is_time(training, c.eval_every)
    if not evaluate_if_due(training, out, pace) and is_time(training, c.log_every):
        with folder.writing(out):
            training.write_row(None)


def evaluate_if_due(training: Training, out: Path, pace: Pace) -> bool:
    """Evaluate and add a row, if an evaluation is due and can be done now; whether it was.

    An evaluation that Ctrl-C ends stays due, so a resumed run begins with it.
    """
    c = training.config
    if not training.evaluation_due:
        return False
    # It plays in the first process's environment, so all processes do what that one can.
    if c.eval_in == "training" and not training.processes.from_first(lambda: training.envs.done[0]):
        return False
    before = time.perf_counter()
    scores = measure(training)
    if scores is None and training.env_steps >= c.learn_start:
        return True
    training.evaluation_due = False
    if scores is not None:
        pace.evaluated(training, time.perf_counter() - before)
    with folder.writing(out):
        training.write_row(scores)
    return True


def measure(training: Training) -> np.ndarray | None:
    """Evaluate the agent, and note whether that solves the task.

    None before there is anything to evaluate, and where Ctrl-C ended the evaluation.
    """
    training.read_metrics()
    c, threshold = training.config, training.envs.threshold
    if training.env_steps < c.learn_start:
        return None
    episodes = HOLD_EPISODES if training.solved else c.eval_episodes
    seed = (c.seed + training.env_steps) % TOO_LARGE
    scores = training.processes.from_first(lambda: training.play(episodes, seed))
    if scores is not None and threshold is not None and training.solved is None and scores.mean() >= threshold:
        training.solved = {"env_steps": training.env_steps, "seconds": training.seconds}
    return scores


def finished(training: Training) -> bool:
    c = training.config
    if training.env_steps >= c.steps or out_of_episodes(training):
        return True
    if training.solved is None or training.until == "steps":
        return False
    return training.until == "solved" or training.env_steps >= max(2 * training.solved["env_steps"], HOLD_STEPS)


def out_of_episodes(training: Training) -> bool:
    return 0 < training.config.episodes <= training.episodes


def take_more_steps(training: Training, before: Config, until: str | None) -> None:
    """Other --steps than before, more than were taken, continue a resumed run, also one that had solved its task.

    until: what the user asks for now, if anything. Prints what happens where a user might expect something else.
    """
    c, solved = training.config, training.solved
    if solved and until is None and c.steps != before.steps and finished(training) and not out_of_episodes(training):
        training.until = "steps"
        training.say(
            f"solved after {solved['env_steps']:,} environment steps; training continues until {c.steps:,} (--steps)"
        )
    if finished(training):
        reached = {}
        if training.env_steps >= c.steps:
            reached["steps"] = f"it has taken {training.env_steps:,} environment steps"
        if out_of_episodes(training):
            reached["episodes"] = f"it has played {training.episodes:,} episodes"
        for name in reached:
            now, old = getattr(c, name), getattr(before, name)
            if not old or now < old:
                reached[name] += f", and --{name} is now {now:,}, no longer {f'{old:,}' if old else 'unlimited'}"
        if reached:
            why = ", and ".join(reached.values())
            advice = f"a higher --{' and --'.join(reached)}, counted from its beginning"
        else:
            why = f"solved after {solved['env_steps']:,} environment steps"
            advice = f"--until steps, or other --steps above {training.env_steps:,}"
        training.say(f"nothing is left to train: {why}; to continue, give {advice}")


def goes_to_a_file(stream: Any) -> bool:
    """Whether this is the process's own error stream, sent to a file, where each update of a bar is a new line."""
    try:
        return stream is sys.__stderr__ and stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):  # None, closed, or a stream without a file below it
        return False


def show_progress(bar: tqdm, training: Training) -> None:
    evaluations = training.log.evaluations
    bar.set_postfix(
        {
            "return": f"{np.mean(training.returns):.4g}" if training.returns else "-",
            "evaluation": f"{evaluations[-1]['eval_mean']:.4g}" if evaluations else "-",
            "train steps/s": f"{training.train_steps / max(training.seconds, 1e-9):.1f}",
        },
        refresh=False,
    )


@contextmanager
def watch_interrupts(tell: bool) -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C or SIGTERM is noted, so that the run can stop between two steps.

    A second Ctrl-C stops at once; a second SIGTERM changes nothing.
    """
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
