"""One program instead of thousands of launches: a train step's losses and gradients, compiled (notebook 10)."""

from collections.abc import Callable
from contextlib import contextmanager
import hashlib
import logging
import os
from pathlib import Path
import tempfile
import time
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from .. import scan
from ..agent import Dreamer
from ..config import Config
from ..envs.making import make_envs
from ..errors import Refused
from ..files import replacing
from ..learner import Learner
from ..replay import Experience, obs_by_kind
from ..rng import fork_rng
from ..rssm import State
from .operations import fingerprint, operations

NO_GUARDS = getattr(torch.compiler, "skip_all_guards_unsafe", None)
OPTIONS = {
    "cpp_wrapper": True,  # no Python between the kernels
    "cpp_wrapper_build_separate": True,  # optimise the calls of the kernels less: a third less to prepare, same speed
    "inplace_buffers": False,  # otherwise this wrapper declares an output of the loop twice
    "fallback_random": True,  # the same random numbers as the eager step
    "guard_filter_fn": NO_GUARDS,  # shapes never change, so nothing has to be checked before each step
    "cpp.max_horizontal_fusion_size": 0,  # joining independent loops takes longer to prepare, and gains nothing
    "cpp_cache_precompile_headers": False,  # pays from the third program on, and leaves 300 MB in the temporary folder
    "cpp.use_decompose_tanh": True,  # 2 σ(2x) - 1, 1e-7 apart: 4 % of a step at the common shape
    "cpp.vec_isa_ok": True,  # any compiler knows AVX2 and AVX-512; PyTorch would try each in a test program first
}

PACKAGE = Path(__file__).parents[1]
PREPARATION = 90  # seconds that compiling takes the first time
SAVED = 5e-6  # seconds saved for each operation that the eager step launches
MOST_OPERATIONS = 20_000  # more than a step of any shape in assets/bench.txt

COMPILING = "compiling the train step: a minute or two the first time, a few seconds after that …"


def compile_learner(learner: Learner) -> float:
    """Compile the learner's objective and its gradient now; returns the seconds it took.

    Only training is compiled; acting and evaluation stay as they are. Shapes, settings, the weights of the losses and
    which parameters are frozen are built in: after changing one, compile again. Raises Refused where it can't be done.
    """
    if isinstance(learner.objective, Compiled):
        learner.objective = learner.objective.eager
    began, agent = time.perf_counter(), learner.agent
    check_possible(agent)
    name = what_it_does(learner, OPTIONS)

    try:
        learner.objective = compiled_objective(learner, OPTIONS, name)
    except (OSError, RuntimeError) as error:  # OSError: no file could be written, or the source of a function has gone
        compilers = ("torch._dynamo", "torch._inductor")
        if isinstance(error, RuntimeError) and not type(error).__module__.startswith(compilers):
            raise
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise Refused(f"PyTorch's compiler failed: {first_line[:200]}{in_its_way()}") from error
    return time.perf_counter() - began


def compiled_objective(learner: Learner, options: dict[str, Any], name: str) -> "Compiled":
    """The learner's objective as one program for these shapes, which reads the parameters anew at each call.

    It is kept in a file of this name, for other processes.
    """
    from torch._inductor import config  # here, since it takes a second to import

    keep_in(folder := chosen_folder())
    file, outside = folder / f"{name}.step", {"eager": Eager(learner.objective)}
    with config.patch({key: value for key, value in options.items() if key != "guard_filter_fn"}):
        program = kept_program(file, learner, outside)
        if program is None:
            program = new_program(learner, options, **outside)
            keep(program, file, outside)
    program.disable_guard_check()  # there are none, and looking takes time
    return Compiled(program, learner.objective, blank(learner.agent))


class Compiled:
    """An objective as a program, which would read any other memory as if it had the shapes that it was made for."""

    def __init__(self, program: Callable, eager: Callable, given: tuple[Experience, State]):
        self.program, self.eager, self.layout = program, eager, layout(*given)

    def __call__(self, batch: Experience, start: State) -> tuple[Tensor, State, dict[str, Tensor]]:
        if (found := layout(batch, start)) != self.layout:
            pairs = zip(found, self.layout)
            wrong = [f"{in_words(*one)} instead of {in_words(*other)}" for one, other in pairs if one != other]
            raise ValueError(f"the train step was compiled for other tensors than these: {'; '.join(wrong)}")
        return self.program(batch, start)

    def __reduce__(self) -> tuple:
        raise TypeError("a compiled learner can't be copied or pickled; do that first, and compile afterwards")


def layout(batch: Experience, start: State) -> list[tuple]:
    """Of each tensor the name, shape and kind, and whether it is contiguous."""
    parts = obs_by_kind(batch.obs) | dict(zip(Experience._fields[1:], batch[1:])) | dict(zip(State._fields, start))
    return [(name, part.shape, part.dtype, part.is_contiguous()) for name, part in parts.items()]


def in_words(name: str, shape: torch.Size, dtype: torch.dtype, contiguous: bool) -> str:
    return f"{name} {tuple(shape)} {dtype}{'' if contiguous else ', not contiguous'}"


def kept_program(file: Path, learner: Learner, outside: dict[str, Any]) -> Any:
    """The program in this file; None if there is none, or none that can be used."""
    try:
        with open(file, "rb") as stream:
            program = torch.compiler.load_compiled_function(stream, f_globals=globals(), external_data=outside)
        with unchanged_afterwards(learner):
            one_step(learner, program, blank(learner.agent))
    except Exception:  # cut off, or its compiled code was deleted and can't be built: PyTorch's errors are of any kind
        return None
    return program


def keep(program: Any, file: Path, outside: dict[str, Any]) -> None:
    """Write the program to this file. Where that fails, the next process compiles again."""
    try:
        with replacing(file) as beside:
            beside.write_bytes(program.serialize(program, outside).serialized_data)
    except Exception:  # the disk is full, or PyTorch can't pickle something; the program itself can be used
        pass


class Eager:
    """What a program is compiled from, and reads the parameters from. An empty one is kept with it."""

    def __init__(self, objective: Callable | None = None):
        self.objective = objective

    def __reduce__(self) -> tuple:  # PyTorch keeps what a guard could look at, though there are none
        return Eager, ()


def new_program(learner: Learner, options: dict[str, Any], eager: Eager) -> Any:
    """Compile `eager.objective`, the objective of this learner."""

    def run(batch: Experience, start: State) -> tuple[Tensor, State, dict[str, Tensor]]:
        return eager.objective(batch, start)

    # A copy, since torch.compile takes the guards' filter out (findings/compile_changes_its_options.sh).
    compiled = torch.compile(run, fullgraph=True, dynamic=False, options=dict(options))
    with parameters_apart(learner), scan.compiling(), torch.enable_grad(), learner.autocast():
        return compiled.aot_compile((blank(learner.agent), {}))


def what_it_does(learner: Learner, options: dict[str, Any]) -> str:
    """A name for the program: equal if an eager step does the same, with the same PyTorch on the same processor.

    The names of the weights count too, since the program reads them by name; and the files that ask whether they are
    being compiled, since there an eager step does something else.
    """
    from torch._inductor import config

    agent, optimizer = learner.agent, learner.optimizer
    optimizer.adopt()
    given = blank(agent)
    parameters, buffers = dict(agent.named_parameters()), dict(agent.named_buffers())
    known = (optimizer.weights, optimizer.gradients, parameters, buffers, given)
    with unchanged_afterwards(learner):
        step = fingerprint(lambda: one_step(learner, learner.objective, given), tree_leaves(known))
    circumstances = (
        [*parameters, *buffers],
        torch.__version__,
        torch.get_num_threads(),
        getattr(torch.cpu, "get_capabilities", dict)(),
        sorted(config.save_config_portable().items()),
        [(name, value) for name, value in options.items() if not callable(value)],
        [text for file in sorted(PACKAGE.rglob("*.py")) if b"is_compiling" in (text := file.read_bytes())],
    )
    return hashlib.sha256(f"{step} {circumstances}".encode()).hexdigest()[:32]


def check_possible(agent: Dreamer) -> None:
    """Raises Refused where a train step of this agent can't be compiled, as far as that is known beforehand."""
    if agent.device.type != "cpu":
        raise Refused("compiling is made for the CPU; on a GPU --capture removes the launches")
    if scan.operator is None or NO_GUARDS is None:
        raise Refused(f"PyTorch {torch.__version__} lacks what compiling needs, such as the scan operator; 2.13 has it")
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler  # here, since it takes a second to import
    except OSError as error:  # PyTorch makes the folder then
        raise cannot_be_kept(os.environ.get("TORCHINDUCTOR_CACHE_DIR"), error) from error
    try:
        get_cpp_compiler()
    except Exception as error:  # PyTorch has an error of its own for each platform
        raise Refused("it needs a C++ compiler such as g++") from error


def worth_compiling(learner: Learner, train_steps: float) -> tuple[bool, str]:
    """Whether so many train steps pay for compiling, and why, in words; "" where that goes without saying.

    `loop.py: compiling_pays` asks it. What compiling saves are launches (docs/speed.md). They are counted, in one eager
    step, and not timed, so the same settings give the same answer on every machine.
    """
    if learner.agent.spaces.image:
        return False, "the train step is not compiled, since images gain little from it"
    if train_steps * MOST_OPERATIONS * SAVED < PREPARATION:
        return False, ""
    try:
        check_possible(learner.agent)
    except Refused as error:
        return False, f"the train step is not compiled: {error}"
    with unchanged_afterwards(learner):
        count = len(operations(lambda: one_step(learner, learner.objective, blank(learner.agent))))
    pays = train_steps * count * SAVED > PREPARATION
    what = f"about {train_steps:,.0f} train steps of {count:,} operations"
    if pays:
        return True, f"the train step is compiled, since {what} are expected; --compile off skips it"
    return False, f"the train step is not compiled, since only {what} are expected; --compile on does it all the same"


def one_step(learner: Learner, objective: Callable, given: tuple[Experience, State]) -> tuple:
    """The losses of a batch, and their gradients; returns what the objective does."""
    with torch.enable_grad():  # an environment or the program may have turned gradients off
        with learner.autocast():
            total, *rest = objective(*given)
        total.backward()
    return total, *rest


def in_its_way() -> str:
    """What may have stopped the compiler. PyTorch gives it paths without quotes, so a space breaks them."""
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR", "")
    for path, todo in (
        (torch.__file__, "install PyTorch elsewhere"),
        (cache, "set TORCHINDUCTOR_CACHE_DIR to another"),
    ):
        if " " in path:
            return f"; perhaps it can't take the space in {path}: {todo}"
    return ""


def chosen_folder() -> Path:
    """The folder that the user has chosen for compiled code in TORCHINDUCTOR_CACHE_DIR, or else `cache_folder`.

    PyTorch sets that variable itself, to a temporary folder, as soon as its compiler is imported.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    chosen = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return Path(chosen) if chosen and chosen != default_cache_dir() else cache_folder()


def keep_in(folder: Path) -> None:
    """Make PyTorch keep compiled code in this folder. Raises Refused if it can't be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_be_kept(folder, error) from error
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def cannot_be_kept(folder: Path | str | None, error: OSError) -> Refused:
    return Refused(
        f"compiled code would be kept in {folder}, but {error}; set TORCHINDUCTOR_CACHE_DIR to another folder"
    )


def warm(config: Config) -> float:
    """Compile the train step of a run with these settings, and keep it for later; returns the seconds it took.

    Raises Refused where that isn't possible.
    """
    envs = make_envs(config, 1, config.seed)
    envs.close()
    return compile_learner(Learner(Dreamer(config, envs.spaces)))


def cache_folder() -> Path:
    """Where compiled code is kept for later runs. Deleting it costs only time."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dreamer_lite"


def blank(agent: Dreamer) -> tuple[Experience, State]:
    """Experience of zeros, and the state to begin with, in the shapes of a train step."""
    c, spaces = agent.config, agent.spaces
    flags = torch.zeros(c.batch_size, c.seq_len, dtype=torch.bool)
    obs, action = agent.blank_obs(*flags.shape), torch.zeros(*flags.shape, spaces.action_size)
    batch = Experience(obs, action, torch.zeros(flags.shape), flags, flags.clone(), flags.clone())
    return batch.to(agent.device), agent.initial(c.batch_size).state


@contextmanager
def parameters_apart(learner: Learner):
    """Inside, the learner's objective can be compiled; afterwards everything is as before.

    As views of one flat vector the parameters share their memory, which the scan operator refuses, and the compiler
    would follow each view, those of the gradients too. It sees copies; afterwards they are views again.
    """
    with unchanged_afterwards(learner):
        for p in learner.optimizer.params():
            p.data, p.grad = p.data.clone(), None
        yield


@contextmanager
def unchanged_afterwards(learner: Learner):
    """Inside, the losses may be computed; afterwards random states, running statistics and gradients are restored."""
    buffers = list(learner.agent.buffers())
    before = [buffer.clone() for buffer in buffers]
    logger = logging.getLogger("torch._inductor")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns about each operation without a fast path
    try:
        with fork_rng(learner.agent.device):
            yield
    finally:
        logger.setLevel(level)
        for buffer, value in zip(buffers, before):
            buffer.copy_(value)
        learner.optimizer.zero_grad()
