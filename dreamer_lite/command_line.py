"""The command line: it trains by default; the other commands use a trained agent, time a train step, or compile it.

tyro builds it from the dataclasses below and from `Config`: an option for each field, with the line below the field as
its help. PyTorch is imported only when a command runs, so that `--help` is quick.
"""

import ast
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, make_dataclass, replace
import inspect
import json
from pathlib import Path
import shlex
import sys
import tempfile
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import tyro
from tyro.conf import OmitArgPrefixes, Positional, Suppress, arg, subcommand

from . import __version__
from .config import PRESETS, Config, one_lr
from .errors import Refused
from .files import write_text

if TYPE_CHECKING:
    from .agent import Dreamer

DESCRIPTION = (
    "DreamerV3: learn a Gymnasium environment, and look at what was learned.\n\n"
    "Without a command it trains, so `python -m dreamer_lite --env Acrobot-v1` is enough. Underscores and hyphens mean "
    "the same in option names. `--version` prints the version."
)


def setting_help() -> dict[str, str]:
    """The line below each field of Config."""
    body = ast.parse(inspect.getsource(Config)).body[0].body
    pairs = [
        (one, two) for one, two in zip(body, body[1:]) if isinstance(one, ast.AnnAssign) and isinstance(two, ast.Expr)
    ]
    return {one.target.id: two.value.value for one, two in pairs}


HELP = setting_help()
ALIASES = {
    "groups": ["--latent_dim"],
    "hidden": ["--hidden_dim"],
    "rssm_hidden": ["--rssm_dim"],
    "scale_reconstruction": ["--reconstruction"],
}
GROUPS = {  # the other settings in --help, by heading; FIRST are Train's own
    "environment": "env_args wrap see ignore gray envs workers env_seconds episodes",
    "model": """groups classes deter blocks hidden rssm_hidden encoder_layers decoder_layers head_layers
        reward_layers core_layers prior_layers posterior_layers depth mults kernel bspace strided bins bin_limit unimix
        min_std max_std""",
    "losses": """free_nats scale_reconstruction scale_reward scale_continue scale_dyn scale_rep scale_actor scale_critic
        scale_replay_critic horizon imag_last discount_horizon lam entropy return_rate return_limit return_low
        return_high""",
    "optimizer": "world_lr actor_lr critic_lr warmup clip clip_floor beta1 beta2 epsilon slow_rate precision average",
    "replay": "batch_size seq_len train_ratio replay_size online_queue learn_start replay_on_host",
    "logging": "log_every eval_every eval_episodes eval_envs eval_steps eval_in save_every",
}
FIRST = ("env", "pixels", "steps", "seed")  # the settings people change most


def setting(name: str) -> Any:
    """A setting as an option: its type, help and aliases."""
    return Annotated[Config.__annotations__[name], arg(help=HELP[name], aliases=ALIASES.get(name))]


def settings_group(name: str, words: str) -> type:
    options = [(word, setting(word), field(default=getattr(Config, word))) for word in words.split()]
    return make_dataclass(name.title(), options, frozen=True, namespace={"__doc__": ""})


Environment, Model, Losses, Optimizer, Replay, Logging = (settings_group(name, words) for name, words in GROUPS.items())


def grouped(config: Config) -> dict[str, Any]:
    """The settings as fields of `Train`: the first few, and the groups."""
    values = config.to_dict()
    groups = (Environment, Model, Losses, Optimizer, Replay, Logging)
    made = {name: kind(**{f.name: values[f.name] for f in fields(kind)}) for name, kind in zip(GROUPS, groups)}
    return {name: values[name] for name in FIRST} | made


Run = Positional[Annotated[str, arg(metavar="RUN", help="a run's folder, or a checkpoint file")]]
Runs = Positional[
    Annotated[
        tuple[Path, ...],
        arg(
            metavar="RUN [RUN ...]", help="the runs' folders, or folders of runs, such as runs/*", help_behavior_hint=""
        ),
    ]
]
Preset = Annotated[
    Literal[tuple(PRESETS)],
    arg(help="settings to start from, changed by the options below; pixels by default with --pixels"),
]
Device = Annotated[str, arg(help="auto, cpu, cuda or cuda:N; auto uses a GPU if there is one")]


def option(kind: Any, help: str, metavar: str) -> Any:
    """An option whose help states its own default."""
    return Annotated[kind | None, arg(help=help, metavar=metavar, help_behavior_hint="")]


Threads = option(int, "CPU threads; 0 leaves the choice to PyTorch (default: 0)", "INT")
Env = option(str, "environment to play in (default: the one it was trained on)", "NAME")
Wrap = option(str, "wrapper of the environment (default: the one it was trained with)", "MODULE:FUNCTION")
EnvArgs = Annotated[
    tuple[str, ...] | None,
    arg(
        metavar="KEY=VALUE [KEY=VALUE ...]",
        help="arguments the environment is made with (default: those it was trained with)",
        help_behavior_hint="",
    ),
]


@dataclass(frozen=True)
class Settings:
    """Options that become a `Config`."""

    env: setting("env") = Config.env
    preset: Preset = "small"
    steps: setting("steps") = Config.steps
    seed: setting("seed") = Config.seed
    pixels: setting("pixels") = Config.pixels
    lr: option(
        float, "one learning rate in place of --world_lr, --actor_lr and --critic_lr, as in the official code", "FLOAT"
    ) = None
    environment: OmitArgPrefixes[Environment] = field(default_factory=Environment)
    model: OmitArgPrefixes[Model] = field(default_factory=Model)
    losses: OmitArgPrefixes[Losses] = field(default_factory=Losses)
    optimizer: OmitArgPrefixes[Optimizer] = field(default_factory=Optimizer)
    replay: OmitArgPrefixes[Replay] = field(default_factory=Replay)
    logging: OmitArgPrefixes[Logging] = field(default_factory=Logging)

    def config(self) -> Config:
        """All settings. Raises Refused for values that cannot work."""
        values = {name: getattr(self, name) for name in FIRST}
        for group in GROUPS:
            values |= asdict(getattr(self, group))
        return Config(**values)


@dataclass(frozen=True)
class Train(Settings):
    """Train DreamerV3 on a Gymnasium environment. The word `train` may be left out.

    It stops when the task is solved: when the mean return of an evaluation reaches the environment's own threshold (475
    for CartPole-v1). To train one agent with several processes, use PyTorch's torchrun:
    torchrun --standalone --nproc-per-node 2 -m dreamer_lite ...
    """

    out: option(
        Path, "folder for the run (default: runs/ENV-PRESET-seedN, with a number added if it is taken)", "PATH"
    ) = None
    resume: option(
        Path,
        "continue the run in this folder. --steps (counted from its beginning), --episodes, --env_seconds, "
        "--eval_envs, --eval_steps, --eval_in, --until, --device and --threads may change; compilation carries over; "
        "--capture and --tensorboard must be given again",
        "PATH",
    ) = None
    until: option(
        Literal["solved", "held", "steps"],
        "when to stop. solved: when the task is solved; held: after twice as many steps as that took, at least 6000, "
        "to see whether it stays solved; steps: when --steps or --episodes are used up (default: solved)",
        "{solved,held,steps}",
    ) = None
    device: option(str, "auto, cpu, cuda or cuda:N; auto uses a GPU if there is one (default: auto)", "DEVICE") = None
    compile: Annotated[
        Literal["auto", "on", "off"],
        arg(
            help="on a CPU: compile the losses and their gradients, which takes a minute or two the first time, and "
            "a few seconds after that; auto does so if the run is long enough to pay for it"
        ),
    ] = "auto"
    threads: Threads = None
    capture: Annotated[
        Literal["auto", "on", "off"],
        arg(
            help="on a GPU: record a train step as one CUDA graph and replay it, if it provably does the same. If not, "
            "auto continues without it, and on stops the run"
        ),
    ] = "auto"
    tensorboard: Annotated[bool, arg(help="write the metrics for TensorBoard too; needs the extra `tensorboard`")] = (
        False
    )
    quiet: Annotated[bool, arg(help="print nothing but the result")] = False
    saved: Annotated[Any, Suppress] = None  # the checkpoint of the run to resume

    def run(self) -> int:
        config = self.config()
        from .training import loop, parallel
        from .training.checkpoint import find
        from .training.device import keep_memory, use_device

        if self.resume and self.out:
            raise Refused("--out cannot be changed while resuming: the run continues in its own folder")
        if parallel.may_restart() and not self.resume and not self.out:
            raise Refused("--max-restarts needs the run's folder as --out, so that it can be found again")
        rest = self.saved.rest if self.saved else {}
        threads = rest.get("threads", 0) if self.threads is None else self.threads
        keep_memory()
        device = use_device(rest.get("device", "auto") if self.device is None else self.device, threads)
        with parallel.processes_of_torchrun(device) as processes:
            out = find(self.resume).parent if self.resume else self.out
            if out is None:
                name = f"{config.env}-{self.preset}-seed{config.seed}"
                out = processes.from_first(lambda: free_folder(Path("runs"), name))
            started_before = processes.again and processes.from_first(lambda: (out / "checkpoint.pt").exists())
            try:
                card = loop.train(
                    config,
                    out,
                    resume=self.saved or started_before,
                    processes=processes,
                    device=device,
                    until=self.until,
                    compile=self.compile,
                    capture=self.capture,
                    tensorboard=self.tensorboard,
                    progress=not self.quiet and processes.leads,
                )
            except loop.Interrupted as stop:
                return report(stop.card, out, " --tensorboard" * self.tensorboard) if processes.leads else 0
            finally:
                if processes.leads and not (self.out or self.resume):
                    with suppress(OSError):  # a run that was refused leaves no empty folder
                        out.rmdir()
            return report(card, out) if processes.leads else 0


@dataclass(frozen=True)
class Trained:
    """A trained agent, and the environment it is to play in."""

    run_: Run
    env: Env = None
    wrap: Wrap = None
    env_args: EnvArgs = None

    def agent(self, device: str = "cpu") -> "Dreamer":
        from .training.checkpoint import load

        return load(self.run_, device, self.env, self.wrap, self.env_args)


@dataclass(frozen=True)
class Evaluate(Trained):
    """Play fresh episodes and print mean ± std of their returns, with sampled and with greedy (likeliest) actions."""

    episodes: Annotated[int, arg(help="episodes of each kind")] = 100
    seed: Annotated[int, arg(help="seed of the fresh episodes")] = 0
    device: Annotated[str, arg(help="auto, cpu, cuda or cuda:N; auto plays where the agent acts faster")] = "auto"

    def run(self) -> int:
        from .evaluation.evaluate import copies, cut_off_words, play_episodes
        from .training.acting import on_faster_device
        from .training.device import use_device

        at_least(episodes=(self.episodes, 1), seed=(self.seed, 0))
        agent = self.agent(use_device(self.device))
        if self.device == "auto":
            agent = on_faster_device(agent, min(self.episodes, copies(agent.config)))
        for name, greedy in (("sampled", False), ("greedy", True)):
            scores, cut = play_episodes(agent, None, self.episodes, self.seed, greedy, progress=True)
            if cut:
                print(f"dreamer_lite: {cut_off_words(cut, self.episodes, agent.config.eval_steps)}", file=sys.stderr)
            found = f"{number(scores.mean())} in one fresh episode"
            if len(scores) > 1:
                found = (
                    f"{number(scores.mean())} ± {number(scores.std())} over {self.episodes} fresh episodes (worst "
                    f"{number(scores.min())}, best {number(scores.max())})"
                )
            print(f"{agent.config.env}, {name} actions: {found}")
        return 0


@dataclass(frozen=True)
class Dream(Trained):
    """Draw an episode beside its dream: reality above, the dream below.

    The agent watches for some steps, then the world model continues alone, given the same actions. With --video, it
    films the agent in reality instead.
    """

    out: option(Path, "folder for dream.png and dream.gif (default: the run's folder)", "PATH") = None
    video: option(
        Path, "instead of the dream: film the agent in one episode of reality, into this .gif or .mp4", "FILE"
    ) = None
    steps: option(
        int,
        "steps to draw: the last observed step, then dreamed ones (default: 60); with --video: the most steps to film "
        "(default: 1000)",
        "INT",
    ) = None
    context: Annotated[int, arg(help="steps to watch before those")] = 10
    seed: Annotated[int, arg(help="seed of the episode")] = 0

    def run(self) -> int:
        steps = self.steps if self.steps is not None else 1000 if self.video else 60
        at_least(steps=(steps, 1), context=(self.context, 0), seed=(self.seed, 0))
        return self.film(self.video, steps) if self.video else self.draw(steps)

    def film(self, video: Path, steps: int) -> int:
        from .evaluation.video import film, recording_for

        if self.out:
            raise Refused("--video names its own file; leave out --out")
        recording_for(video)
        make_room_for(video, "--video")
        taken, total, ended = film(self.agent(), video, steps, self.seed)
        print(f"filmed {taken} steps{'' if ended else ', the episode continues'}; return {number(total)}; open {video}")
        return 0

    def draw(self, steps: int) -> int:
        from .evaluation.drawing import chosen_numbers, draw_filmstrip, draw_gif
        from .evaluation.dreams import one_number_per_choice, open_loop
        from .training.checkpoint import find
        from .training.folder import writing

        agent = self.agent()
        out = self.out or find(self.run_).parent
        place = out.absolute()  # the environment may change the current folder
        pair = one_number_per_choice(open_loop(agent, None, steps, self.context, self.seed, render=True))
        with writing(out):
            place.mkdir(parents=True, exist_ok=True)
            draw_filmstrip(pair, place / "dream.png")
            draw_gif(pair, place / "dream.gif")
        if pair.undrawn:
            print(f"left out the environment's own images, which it cannot render here: {pair.undrawn}")
        if len(shown := chosen_numbers(pair)) < (size := pair.real.shape[1]) and not pair.is_cartpole:
            print(f"drew the {len(shown)} of {size} numbers that vary most")
        steps = len(pair.real) - 1
        print(f"dreamed {steps} step{'s' * (steps != 1)}; open {out / 'dream.png'} and {out / 'dream.gif'}")
        return 0


@dataclass(frozen=True)
class Diagnose(Trained):
    """Run ten checks on an agent and its run, to find bugs by their effects; writes one page of figures and text.

    For this, the agent plays 1,600 steps, in up to 8 copies of the environment. For each check that doesn't look
    healthy, the page says where to look next.
    """

    out: option(Path, "the page to write (default: diagnosis.html in the run's folder)", "PATH") = None

    def run(self) -> int:
        from .diagnostics.checks import CHECKS
        from .diagnostics.diagnose import gather_evidence, run_check
        from .diagnostics.page import page, sentence, summary, verdict
        from .training.checkpoint import find
        from .training.folder import writing

        out = self.out or find(self.run_).parent / "diagnosis.html"
        make_room_for(out)
        place = out.absolute()  # the environment may change the current folder
        evidence, findings = gather_evidence(self.run_, env=self.env, wrap=self.wrap, env_args=self.env_args), []
        for name in CHECKS:
            finding = run_check(evidence, name)
            findings.append(finding)
            print(sentence(finding) if finding.healthy is False else f"{finding.title}: {verdict(finding)}", flush=True)
        with writing(out.parent):
            write_text(place, page(findings, f"Diagnosis of {self.run_}"))
        print(f"{summary(findings)}; open {out} in a browser")
        return 0


@dataclass(frozen=True)
class Export(Trained):
    """Write the dream player: one web page in which the agent's world model dreams beside a real CartPole.

    The page opens from a file, in any browser, without a network.
    """

    out: option(Path, "the page to write (default: player.html in the run's folder)", "PATH") = None

    def run(self) -> int:
        from .training.checkpoint import find
        from .training.folder import writing
        from .web_player.export import player_page

        out = self.out or find(self.run_).parent / "player.html"
        make_room_for(out)
        page = player_page(self.agent())
        with writing(out.parent):
            write_text(out, page)
        print(f"wrote {out}, {len(page) / 1e6:.1f} MB; open it in a browser")
        return 0


@dataclass(frozen=True)
class Compare:
    """Draw the learning curves of several runs into one picture, and print a short table.

    Runs that differ only in their seed form one group: a thick line for the median, as far as all of them reach, and a
    band from the worst to the best. Runs in different environments get a panel each, since their returns can't be
    compared.
    """

    runs: Runs
    out: option(Path, "the picture: .png, .svg or .pdf (default: compare.png in the current folder)", "FILE") = None
    x: Annotated[Literal["steps", "seconds"], arg(help="what the curves run over: environment steps, or seconds")] = (
        "steps"
    )

    def run(self) -> int:
        from .evaluation.drawing import save_figure
        from .training import compare, plots
        from .training.folder import writing

        out = self.out or Path("compare.png")
        require_picture(out)
        panels, drawn = compare.in_panels(compare.read_runs(self.runs, self.x)), {}
        for title, groups in panels.items():
            print(compare.table(title, groups, self.x), end="\n\n")
            curves = {
                label: [(run.x[self.x], run.returns) for run in runs]
                for label, runs in groups
                if any(len(run.returns) for run in runs)
            }
            if curves:
                drawn[title] = curves, compare.threshold_of(groups)
        xlabel = "environment steps" if self.x == "steps" else "seconds"
        make_room_for(out)
        with writing(out.parent):
            save_figure(plots.comparison(drawn, xlabel), out)
        print(f"learning curves: {out}")
        return 0


@dataclass(frozen=True)
class Bench:
    """How fast is a train step on this machine, and what limits it? Prints a table."""

    shape: Annotated[
        Literal[("common", "tiny", *PRESETS)],
        arg(
            help="what to measure, with CartPole's four numbers: common or tiny, two shapes to compare implementations "
            "with, or a preset"
        ),
    ] = "common"
    device: Device = "auto"
    threads: Annotated[int, arg(help="CPU threads")] = 1
    repeats: Annotated[int, arg(help="train steps to time")] = 7
    compile: Annotated[bool, arg(help="time a compiled step too")] = False
    precision: Annotated[
        Literal["float32", "bfloat16"], arg(help="precision of matrix products and convolutions, as in a run")
    ] = "float32"
    growth: option(
        Path, "instead of the table: draw into this file how the time grows with B, T, H and the network's size", "FILE"
    ) = None

    def run(self) -> int:
        from .training import bench
        from .training.device import keep_memory, use_device

        at_least(repeats=(self.repeats, 1))
        keep_memory()
        device = use_device(self.device, self.threads)
        config = replace(bench.SHAPES.get(self.shape) or Config.preset(self.shape), precision=self.precision)
        if self.growth:
            require_picture(self.growth, "--growth")
            make_room_for(self.growth, "--growth")
            bench.draw_how_it_grows(self.shape, config, device, self.repeats, self.growth)
        else:
            bench.report(self.shape, config, device, self.repeats, self.compile)
        return 0


@dataclass(frozen=True)
class Warm(Settings):
    """Compile the train step in advance: a later run with --compile on and the same settings then starts in seconds.

    Compiled code is kept in the folder dreamer_lite of your cache (~/.cache, or XDG_CACHE_HOME), or in
    TORCHINDUCTOR_CACHE_DIR. Deleting it costs only time.
    """

    threads: option(int, "CPU threads, as in the later run; 0 leaves the choice to PyTorch (default: 0)", "INT") = None

    def run(self) -> int:
        config = self.config()
        from .training.compiled import COMPILING, warm
        from .training.device import use_device

        use_device("cpu", self.threads or 0)
        print(COMPILING, flush=True)
        print(f"compiled in {warm(config):.0f} seconds; a run with --compile on and these settings starts quickly now")
        return 0


@dataclass(frozen=True)
class Conformance:
    """Does an implementation compute the official numbers? Compares it piece by piece, and says why not.

    The adapter is a Python file with a function for each piece, which is run here: --template writes one to fill in.
    The exit code is 0 if all the functions that are there compute the official numbers, 1 if not, 2 for bad input.
    """

    adapter: Positional[Annotated[Path | None, arg(metavar="ADAPTER", help="a Python file", help_behavior_hint="")]] = (
        None
    )
    template: Annotated[bool, arg(help="write an adapter to fill in, to ADAPTER or else to the terminal")] = False
    json: option(Path, "write the result into this file as JSON", "PATH") = None
    markdown: option(Path, "write the result into this file as a table in Markdown", "PATH") = None

    def run(self) -> int:
        from .conformance import conformance, load, template

        if self.template:
            if self.adapter is None:
                print(template(), end="")
            elif self.adapter.exists():
                raise Refused(f"{self.adapter} exists already; --template writes a new file")
            else:
                make_room_for(self.adapter, "ADAPTER")
                write(self.adapter, template())
            return 0
        if self.adapter is None:
            raise Refused("conformance needs an adapter, a Python file; --template writes one to fill in")
        for option, file in (("--json", self.json), ("--markdown", self.markdown)):
            if file:
                make_room_for(file, option)
        report = conformance(load(self.adapter), file=self.adapter)
        if self.json:
            write(self.json, json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n")
        if self.markdown:
            write(self.markdown, report.markdown())
        print(report)
        return 0 if report.equal else 1


OTHERS = {
    "evaluate": Evaluate,
    "dream": Dream,
    "diagnose": Diagnose,
    "export": Export,
    "compare": Compare,
    "bench": Bench,
    "conformance": Conformance,
}


@dataclass(frozen=True)
class Start:
    """What the other options depend on: the settings to start from."""

    preset: str | None = None
    resume: Path | None = None
    env: str | None = None
    wrap: str | None = None
    env_args: tuple[str, ...] | None = None
    pixels: int = 0
    lr: float | None = None

    @property
    def name(self) -> str:
        """The preset; by default `small`, or `pixels` with --pixels."""
        return ("pixels" if self.pixels else "small") if self.preset is None else self.preset

    def train(self) -> Train:
        """`train` with these settings as the defaults of the other options."""
        if not self.resume:
            return Train(preset=self.name, **grouped(Config.preset(self.name, lr=self.lr)))
        from .training.checkpoint import read

        if self.resume.is_file() and self.resume.name != "checkpoint.pt":
            raise Refused(f"--resume takes a run's folder, got the file {self.resume}")
        saved = read(self.resume, self.env, self.wrap, self.env_args)
        c = saved.config
        if replace(c, **one_lr(self.lr)) != c:
            raise Refused(
                f"--lr cannot be changed while resuming: the learning rates are {c.world_lr}, {c.actor_lr}, "
                f"{c.critic_lr}. Start a new run for other settings"
            )
        return Train(saved=saved, **grouped(saved.config))


words_to_values = tyro.constructors.ConstructorRegistry()


@words_to_values.primitive_rule
def whole_number(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """1e5 and 1_000 are whole numbers too."""
    if info.type is not int:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=read_whole,
        is_instance=lambda x: type(x) is int,
        str_from_instance=lambda value: [str(value)],
    )


@words_to_values.primitive_rule
def given(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """An option that may be left out. The word None is like any other word, so it is no number and no choice."""
    kinds = [kind for kind in get_args(info.type) if kind is not NoneType]
    if get_origin(info.type) not in (Union, UnionType) or len(kinds) != 1:
        return None
    spec = tyro.constructors.ConstructorRegistry.get_primitive_spec(
        replace(info, type=kinds[0], type_origin=get_origin(kinds[0]))
    )
    if not isinstance(spec, tyro.constructors.PrimitiveConstructorSpec):
        return None
    return replace(
        spec,
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: ["None"] if value is None else spec.str_from_instance(value),
    )


def read_whole(words: list[str]) -> int:
    try:
        return int(words[0])
    except ValueError:
        try:
            value = float(words[0])
        except ValueError:
            value = float("nan")
    if not value.is_integer():
        raise ValueError(f"{words[0]!r} is not a whole number")
    return int(value)


def free_folder(parent: Path, name: str) -> Path:
    """A new folder of this name, or the first of name-2, name-3, … that does not exist.

    It is made at once, so that runs started at the same moment get different ones.
    """
    name = "".join("-" if letter in '/\\:*?"<>|' else letter for letter in name)  # Windows allows none of these
    tries = [parent / name, *(parent / f"{name}-{i}" for i in range(2, 10_000))]
    for path in tries:
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise Refused(f"the folder {path} cannot be made ({error}); choose another one (--out)") from error
        return path
    raise Refused(f"{parent} holds 10,000 runs called {name}; choose another folder (--out)")


def make_room_for(file: Path, option: str = "--out") -> None:
    """Make the folder of a file, one level, and find out before the work, not after it, whether it can be written."""
    if file == Path():  # what an empty text becomes
        raise Refused(f"{option} needs the name of a file, got an empty name or the current folder")
    if file.is_dir():
        inside = file / f"name{file.suffix}"
        raise Refused(f"{option} needs the name of a file, got the folder {file}; give for example {inside}")
    try:
        file.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise Refused(f"{file} cannot be written ({error}); choose another folder, or free some space") from error


def require_picture(file: Path, option: str = "--out") -> None:
    if file.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise Refused(f"{option} takes a file that ends in .png, .svg or .pdf, got {file}")


def write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise Refused(f"{path} cannot be written ({error}); choose another file") from error


def at_least(**bounds: tuple[int, int]) -> None:
    for name, (value, low) in bounds.items():
        if value < low:
            raise Refused(f"--{name} must be at least {low}, got {value}")


def number(value: float) -> str:
    """A return with its significant digits: 478.2, 0.0412."""
    return f"{value:.1f}" if abs(value) >= 10 or value == 0 else f"{value:.3g}"


def report(card: dict[str, Any], out: Path, again: str = "") -> int:
    """Print how the run ended and what to do next; returns the exit code. again: options to give when it continues."""
    config = card["config"]
    trusted = "".join(f" --{name} {shlex.quote(config[name])}" for name in ("env", "wrap") if ":" in config[name])
    if any(set(word) & set(":/\\") for word in config["env_args"]):
        trusted += f" --env_args {shlex.join(config['env_args'])}"
    run = shlex.quote(f"./{out}" if str(out).startswith("-") else str(out)) + trusted  # no option
    for note in card["notes"]:
        print(f"note: {note}")
    if not card["finished"]:
        start = f"torchrun --standalone --nproc-per-node {card['processes']}" if card["processes"] > 1 else "python"
        print(f"stopped after {card['env_steps']} environment steps; everything is saved. To continue:")
        print(f"  {start} -m dreamer_lite --resume {run}{again}")
        return 130
    if card["solved_at_env_steps"]:
        print(f"solved after {card['solved_at_env_steps']} environment steps, {card['solved_at_seconds']} seconds")
    elif (goal := card["threshold"]) is not None and reached_at_last(card):
        print(f"{goal:g}, which counts as solved, was reached after the last of {card['env_steps']} environment steps")
    elif goal is not None:
        print(
            f"not solved within {card['env_steps']} environment steps and {card['episodes']} episodes "
            f"(solved means a mean return of {goal:g})"
        )
    if held := card["held"]:
        print(
            f"since then {held['evaluations']} evaluations: {held['share_at_threshold']:.0%} reached the threshold, "
            f"the worst was {number(held['worst'])}"
        )
    for name, result in card["final_evaluation"].items():
        if result is None:
            print(f"the final evaluation was interrupted; to do it: python -m dreamer_lite evaluate {run}")
            break
        print(
            f"{name} actions: {number(result['mean'])} ± {number(result['std'])} over {result['episodes']} fresh "
            "episodes"
        )
    print(f"learning curve: {out / 'learning_curve.png'}")
    print(f"watch it dream: python -m dreamer_lite dream {run}")
    return 0


def reached_at_last(card: dict[str, Any]) -> bool:
    """Whether only the evaluation at the end of the run reached the threshold."""
    sampled = card["final_evaluation"].get("sampled")
    return bool(sampled) and sampled["mean"] >= card["threshold"]


def parse(words: list[str]) -> Any:
    """The command in `words`, with its options. Without a command, they are options of `train`."""
    how = {"prog": "python -m dreamer_lite", "use_underscores": True, "registry": words_to_values}
    how["description"] = DESCRIPTION
    helps = {"-h", "--help"}
    if not words or words[0].startswith("-") and words[0] not in helps:
        words = ["train", *words]
    words = with_value(words, "--compile", "on") if words[0] == "train" else words
    train, warm = Train(), Warm()
    if words[0] in ("train", "warm"):
        start, _ = tyro.cli(
            Start, args=[word for word in words[1:] if word not in helps], return_unknown_args=True, **how
        )
        warm = Warm(preset=start.name, **grouped(Config.preset(start.name, lr=start.lr)))
    if words[0] == "train":
        train = start.train()
        if start.resume and any(word.split("=")[0] == "--preset" for word in words):
            raise Refused("--preset cannot be changed while resuming. Start a new run for other settings")
    if words[0] in helps:  # a line for each command, then the options of train
        try:
            tyro.cli(union_of_commands(train, warm, brief=True), args=["--help"], default=train, **how)
        except SystemExit:
            words = ["train", "--help"]
    return tyro.cli(union_of_commands(train, warm), args=words, **how)


def with_value(words: list[str], name: str, value: str) -> list[str]:
    """With this value behind an option that stands alone, as `--compile` did when it had no other values."""
    alone = [word == name and following[:1] in ("", "-") for word, following in zip(words, [*words[1:], ""])]
    return [part for word, lacks in zip(words, alone) for part in ([word, value] if lacks else [word])]


def union_of_commands(train: Train, warm: Warm, brief: bool = False) -> Any:
    """All commands as one type for tyro; train and warm carry defaults.

    brief: only the first line of each description.
    """
    kinds = {"train": Train, **OTHERS, "warm": Warm}
    given = {"train": {"default": train}, "warm": {"default": warm}}
    lines = {name: {"description": kind.__doc__.splitlines()[0]} if brief else {} for name, kind in kinds.items()}
    options = {name: given.get(name, {}) | lines[name] for name in kinds}
    return Union[tuple(Annotated[kind, subcommand(name, **options[name])] for name, kind in kinds.items())]  # noqa: UP007


def main(words: list[str], ready: Callable[[], None] = lambda: None) -> int:
    """Run a command; returns the exit code: 0, 1 for a run that diverged or numbers that differ, 2 for bad
    input, 130 for Ctrl-C.

    ready: called when everything is imported. Any other error is a bug, ours or the environment's, and keeps its
    traceback.
    """
    if words == ["--version"]:
        print(f"dreamer_lite {__version__}")
        return 0
    try:
        command = parse(words)
        from .training import bench, loop, state  # noqa: F401  everything slow to import

        ready()
        return command.run()
    except Refused as error:
        print(f"dreamer_lite: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        if not isinstance(error, state.Diverged):
            raise
        print(
            f"dreamer_lite: training stopped, since a number is not finite: {error}. Lower the learning rates, or "
            "check the environment's numbers; the last good checkpoint is kept",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("dreamer_lite: stopped", file=sys.stderr)
        return 130
