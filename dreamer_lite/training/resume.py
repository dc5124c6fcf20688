"""Continue a run from its checkpoint."""

import json
from pathlib import Path
import sys

from ..config import Config
from ..envs.making import EnvFactory
from ..envs.stepping import closed_on_error
from ..errors import Refused, first_line
from ..rng import fork_rng
from . import checkpoint
from .parallel import Processes, process_file
from .state import Training

# Settings that may differ in a resumed run.
CHANGEABLE = ("steps", "episodes", "env_seconds", "env_from_function", "eval_envs", "eval_steps", "eval_in")


def resume_training(
    out: Path,
    device: str,
    config: Config,
    saved: checkpoint.Saved,
    processes: Processes,
    make_env: EnvFactory | None = None,
) -> Training:
    """The run in `out`, as it was saved.

    Raises Refused if there is none, or if settings differ that can't change during a run.
    """
    check_resumable(out, config, saved)
    training = Training(config, device, processes, make_env, saved.spaces)
    with closed_on_error(training.envs):
        restore(training, out, saved)
    return training


def restore(training: Training, out: Path, saved: checkpoint.Saved) -> None:
    """Give a new `Training` the saved weights and state; prints what could not be restored."""
    processes, rest = training.processes, saved.rest
    if not saved.spaces.fit(training.envs.spaces):
        raise Refused(
            f"an agent in this environment {training.envs.spaces}, but the agent in {out} {saved.spaces}; resume the "
            "run in the environment it began in"
        )
    before = rest.get("processes", 1)
    if own := processes.rank % before:  # the first process's own state is in the checkpoint itself
        rest |= checkpoint.read_data(process_file(out, own, rest["env_steps"]))
    with checkpoint.refuse_other_versions(checkpoint.find(out)):
        training.agent.load_state_dict(saved.weights)
        training.load_state_dict(rest)
        envs = rest["envs"]
    saved.weights.clear()  # the replay buffer is large, so don't hold it twice
    rest.clear()
    if processes.rank >= before:
        training.begin_with_a_copy()
        lost = []
    else:
        with fork_rng(training.device):  # replaying an environment may draw random numbers
            lost = training.restore_envs(envs)
    if processes.size != before and processes.leads:
        lost.append(other_count_words(before, processes.size))
        training.notes.append(lost[-1])
    for note in [*lost, *(edited(out, saved.config, training.config) if processes.leads else ())]:
        print(f"dreamer_lite: {note}", file=sys.stderr)


def check_resumable(out: Path, config: Config, saved: checkpoint.Saved) -> None:
    """Raises Refused if the checkpoint holds no run, or if settings differ that can't change during one."""
    if saved.config.env_from_function and not config.env_from_function:
        raise Refused(
            f"the run in {out} got its environment {saved.config.env!r} from a Python function, so its name can't make "
            "it; continue it from Python, with that function as make_env"
        )
    for name, (old, new) in config.changes(saved.config).items():
        if name not in CHANGEABLE:
            raise Refused(
                f"--{name} cannot be changed while resuming: it is {old}, not {new}. Start a new run for other settings"
            )
    if "replay" not in saved.rest:
        raise Refused(f"{checkpoint.find(out)} holds an agent but no run; only a run's own folder can be resumed")


def edited(out: Path, before: Config, now: Config) -> list[str]:
    """What to tell someone who changed settings in config.json, which a run writes and doesn't read.

    before, now: the settings in the checkpoint, and those that the run continues with.
    """
    file = out / "config.json"
    try:
        written = checkpoint.read_config(json.loads(file.read_text(encoding="utf-8")))
    except OSError:  # not there, where another folder's checkpoint is resumed
        return []
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return [f"{file} is damaged, and written again ({first_line(error)})"]
    wanted = {name: value for name, (value, _) in before.changes(written).items() if value != getattr(now, name)}
    words = ", ".join(f"{name} stays {getattr(now, name)!r}, not {value!r}" for name, value in wanted.items())
    return [f"changing config.json has no effect on a run: {words}"] if wanted else []


def other_count_words(before: int, now: int) -> str:
    """What happens to the replay buffers where more or fewer processes continue a run."""
    more, fewer = (
        "the new ones start with a copy of another's replay buffer",
        "the replay buffers of the others are lost",
    )
    return f"{now} processes continue a run of {before}: {more if now > before else fewer}"
