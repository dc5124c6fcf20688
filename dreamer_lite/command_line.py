"""The command line: without a command it trains; `evaluate`, `dream`, `diagnose` and `export RUN` look at what was learned; `warm`; `bench`.

tyro builds it from the dataclasses below and from `Config`: an option for each field, with its comment as help. PyTorch is imported only
when a command runs, so that `--help` is quick.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
import sys
import tempfile
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import tyro
from tyro.conf import OmitArgPrefixes, Positional, Suppress, arg, subcommand

from . import __version__
from .config import PRESETS, Config, Refused

if TYPE_CHECKING:
    from .agent import Dreamer

DESCRIPTION = """DreamerV3: learn a gymnasium environment, and look at what was learned.

Without a command it trains, so `python -m dreamer_lite --env Acrobot-v1` is enough. Underscores and hyphens are the same in option names."""
Run = Positional[Annotated[str, arg(metavar="RUN", help="a run's folder, or a checkpoint file")]]
Preset = Literal[tuple(PRESETS)]
FilePath = Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="")]  # these say their default themselves
Device = Annotated[str | None, arg(metavar="DEVICE", help_behavior_hint="")]
Threads = Annotated[int | None, arg(metavar="INT", help_behavior_hint="")]
Until = Annotated[Literal["solved", "held", "steps"] | None, arg(metavar="{solved,held,steps}", help_behavior_hint="")]
Env = Annotated[
    str | None, arg(metavar="NAME", help="environment to play in (default: the one it was trained on)", help_behavior_hint="")
]

Wrap = Annotated[
    str | None,
    arg(
        metavar="MODULE:FUNCTION", help="wrapper of the environment (default: the one it was trained with)", help_behavior_hint=""
    ),
]

EnvArgs = Annotated[
    tuple[str, ...] | None,
    arg(metavar="KEY=VALUE", help="what the environment is made with (default: as it was trained)", help_behavior_hint=""),
]


@dataclass(frozen=True)
class Settings(Config):
    """Settings of the method and of the run. The defaults shown are those of the preset; config.py says where each number is from."""

    def __post_init__(self) -> None:
        """Checked as a Config, all together, when they are read."""


@dataclass(frozen=True)
class Train:
    """Train DreamerV3 on a gymnasium environment. The word `train` may be left out.

    It stops when the task is solved: when the mean return of an evaluation reaches the environment's own threshold (475 for CartPole-v1).
    Several processes train one agent if PyTorch's torchrun starts them: torchrun --standalone --nproc-per-node 2 -m dreamer_lite ...
    """

    preset: Preset = (
        "small"  # settings to start from, changed by the options below; with --pixels it is pixels if you don't say otherwise
    )
    device: Device = None  # auto, cpu, cuda or cuda:N; auto takes a GPU if there is one (default: auto)
    out: FilePath = None  # folder for the run (default: runs/ENV-PRESET-seedN, numbered on)
    resume: FilePath = None  # go on with the run in this folder, as it was started; --steps, --episodes, --until, --device and --threads may be changed; it is compiled if it was; --capture and --tensorboard are given anew
    until: Until = None  # when to stop. solved; held: twice as many steps as that took, at least 6000, to see whether it stays solved; steps: when --steps or --episodes are used up (default: solved)
    threads: Threads = None  # CPU threads; 0 leaves the choice to PyTorch (default: 0)
    compile: bool = (
        False  # on a CPU: make one program of the losses and their gradients, in two minutes the first time, then in ten seconds
    )
    capture: Literal["auto", "on", "off"] = (
        "auto"  # on a GPU: record a train step as one CUDA graph and replay it, if some steps show that the record does the same. auto: otherwise go on without; on: otherwise stop
    )
    tensorboard: bool = False  # write the metrics for TensorBoard too (needs the extra tensorboard)
    quiet: bool = False  # no progress bar
    settings: OmitArgPrefixes[Settings] = field(default_factory=Settings)
    saved: Annotated[Any, Suppress] = None  # what was read of the run to resume

    def run(self) -> int:
        config = Config(**self.settings.to_dict())
        from .run import loop, parallel
        from .run.checkpoint import find
        from .run.device import keep_memory, use_device

        if self.resume and self.out:
            raise Refused("--out cannot be changed while resuming: the run goes on in its own folder")
        if self.resume and self.compile and not self.saved.rest.get("compiled"):
            raise Refused(
                "--compile cannot be changed while resuming: the run was begun without. For a compiled one start a new run"
            )
        if parallel.may_restart() and not self.resume and not self.out:
            raise Refused("with --max-restarts give the run's folder by --out, so that it can be found again")
        before = {"until": "solved", "device": "auto", "threads": 0} | (self.saved.rest if self.saved else {})
        how = {
            name: before[name] if getattr(self, name) is None else getattr(self, name) for name in ("until", "device", "threads")
        }
        keep_memory()
        device = use_device(how["device"], how["threads"])
        with parallel.team(device) as team:
            out = find(self.resume).parent if self.resume else self.out
            if out is None:
                name = f"{config.env}-{self.preset}-seed{config.seed}"
                out = team.from_first(lambda: free_folder(Path("runs"), name))
            if team.leads:
                together = f", {team.size} processes" if team.size > 1 else ""
                print(f"{config.env} on {device}{together}, in {out} (Ctrl-C saves and stops)", flush=True)
            card = loop.train(
                config,
                out,
                device,
                how["until"],
                self.saved or team.again and team.from_first(lambda: (out / "checkpoint.pt").exists()),
                progress=not self.quiet and team.leads,
                compile=self.compile,
                capture=self.capture,
                tensorboard=self.tensorboard,
                team=team,
            )
            return report(card, out) if team.leads else 0


@dataclass(frozen=True)
class Trained:
    """A trained agent to be looked at, and where it shall play."""

    run_: Run
    env: Env = None
    wrap: Wrap = None
    env_args: EnvArgs = None

    def agent(self, device: str = "cpu") -> "Dreamer":
        from .run.checkpoint import load

        return load(self.run_, device, self.env, self.wrap, self.env_args)


@dataclass(frozen=True)
class Evaluate(Trained):
    """Mean ± std of fresh episodes, with sampled and with greedy actions."""

    episodes: int = 100  # episodes of each kind
    seed: int = 0  # seed of the fresh episodes
    device: str = "auto"  # auto, cpu, cuda or cuda:N

    def run(self) -> int:
        from .run.device import use_device
        from .run.evaluate import SIDE_BY_SIDE, cut_words, play_episodes
        from .run.player import quicker

        at_least(episodes=(self.episodes, 1), seed=(self.seed, 0))
        agent = self.agent(use_device(self.device))
        if self.device == "auto":
            agent = quicker(agent, min(self.episodes, SIDE_BY_SIDE))
        for name, greedy in (("sampled", False), ("greedy", True)):
            scores, cut = play_episodes(agent, None, self.episodes, self.seed, greedy)
            if cut:
                print(f"dreamer_lite: {cut_words(cut, self.episodes)}", file=sys.stderr)
            print(
                f"{agent.config.env}, {name} actions: {scores.mean():.1f} ± {scores.std():.1f} over {self.episodes} fresh "
                f"episodes (worst {scores.min():.0f}, best {scores.max():.0f})"
            )
        return 0


@dataclass(frozen=True)
class Dream(Trained):
    """Draw an episode beside its dream: reality above, the dream below.

    The agent looks for some steps, then the world model goes on alone with the same actions.
    """

    out: FilePath = None  # folder for dream.png and dream.gif (default: the run's folder)
    steps: int = 60  # steps to draw: the last one that is seen, then dreamed ones
    context: int = 10  # steps to look before that
    seed: int = 0  # seed of the episode

    def run(self) -> int:
        from .run.checkpoint import find
        from .run.draw import draw_filmstrip, draw_gif
        from .run.evaluate import open_loop
        from .run.folder import writing

        at_least(steps=(self.steps, 1), context=(self.context, 0), seed=(self.seed, 0))
        agent = self.agent()
        pair = open_loop(agent, None, self.steps, self.context, self.seed, render=True)
        out = self.out or find(self.run_).parent
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
            draw_filmstrip(pair, out / "dream.png")
            draw_gif(pair, out / "dream.gif")
        if pair.undrawn:
            print(f"without the environment's own pictures, which it cannot draw here: {pair.undrawn}")
        print(f"dreamed {len(pair.real) - 1} steps; look at {out / 'dream.png'} and {out / 'dream.gif'}")
        return 0


@dataclass(frozen=True)
class Diagnose(Trained):
    """Ten looks at an agent and at its run, to find bugs by what they do: a page of pictures and words.

    The agent plays 8 times 200 steps for it. Looks that don't find what is healthy say where to look on.
    """

    out: FilePath = None  # the page to write (default: diagnosis.html in the run's folder)

    def run(self) -> int:
        from .run.checkpoint import find
        from .run.diagnose import case_of, look_at, page, sentence, verdict
        from .run.folder import writing
        from .run.looks import LOOKS

        out = self.out or find(self.run_).parent / "diagnosis.html"
        if out.is_dir():
            raise Refused(f"--out takes a file for the page, got the folder {out}; give for instance {out / 'diagnosis.html'}")
        with writing(out.parent):  # found out before, not after the looks
            out.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=out.parent):
                pass
        case, findings = case_of(self.run_, env=self.env, wrap=self.wrap, env_args=self.env_args), []
        for name in LOOKS:
            finding = look_at(case, name)
            findings.append(finding)
            print(sentence(finding) if finding.healthy is False else f"{finding.title}: {verdict(finding)}", flush=True)
        with writing(out.parent):
            out.write_text(page(findings, f"Diagnosis of {self.run_}"), encoding="utf-8")
        sick = sum(finding.healthy is False for finding in findings)
        print(f"{sick} of {len(findings)} looks find something that is not as in a healthy run; open {out} in a browser")
        return 0


@dataclass(frozen=True)
class Export(Trained):
    """Write the dream player: one web page in which the agent's world model dreams beside a real CartPole.

    It opens from a file, in any browser, without a network.
    """

    out: FilePath = None  # the page to write (default: player.html in the run's folder)

    def run(self) -> int:
        from .run.checkpoint import find
        from .run.export import player_page
        from .run.folder import writing

        page = player_page(self.agent())
        out = self.out or find(self.run_).parent / "player.html"
        with writing(out.parent):
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(page, encoding="utf-8")
        print(f"wrote {out}, {len(page) / 1e6:.1f} MB; open it in a browser")
        return 0


@dataclass(frozen=True)
class Bench:
    """How fast is a train step on this machine, and what holds it up? Prints a table."""

    shape: Literal[("common", "tiny", *PRESETS)] = (
        "common"  # what to measure: one of two shapes that implementations are compared at, or a preset
    )
    device: str = "auto"  # auto, cpu, cuda or cuda:N
    threads: int = 1  # CPU threads
    repeats: int = 7  # train steps to time
    compile: bool = False  # compare with a compiled step too
    growth: FilePath = None  # instead of the table: draw, in this PNG, how the time grows with B, T, H and the network's size

    def run(self) -> int:
        from .run import bench
        from .run.device import keep_memory, use_device

        at_least(repeats=(self.repeats, 1))
        keep_memory()
        device = use_device(self.device, self.threads)
        config = bench.SHAPES.get(self.shape) or Config.preset(self.shape)
        if self.growth:
            bench.draw_how_it_grows(self.shape, config, device, self.repeats, self.growth)
        else:
            bench.report(self.shape, config, device, self.repeats, self.compile)
        return 0


@dataclass(frozen=True)
class Warm:
    """Compile the train step beforehand, so that a later run with --compile and the same settings begins within seconds.

    What was compiled is kept in the folder dreamer_lite of your cache (~/.cache, or XDG_CACHE_HOME). To delete it costs only time.
    """

    preset: Preset = "small"  # settings to start from, changed by the options below
    threads: Threads = None  # CPU threads, as the run will have; 0 leaves the choice to PyTorch (default: 0)
    settings: OmitArgPrefixes[Settings] = field(default_factory=Settings)

    def run(self) -> int:
        config = Config(**self.settings.to_dict())
        from .run.compiled import TOLD, warm
        from .run.device import use_device

        use_device("cpu", self.threads or 0)
        print(TOLD, flush=True)
        print(f"compiled in {warm(config):.0f} seconds; a run with --compile and these settings begins quickly now")
        return 0


OTHERS = {"evaluate": Evaluate, "dream": Dream, "diagnose": Diagnose, "export": Export, "bench": Bench}


@dataclass(frozen=True)
class Start:
    """What has to be known before the other options are read: where the settings start from."""

    preset: Preset | None = None
    resume: Path | None = None
    env: str | None = None
    wrap: str | None = None
    env_args: tuple[str, ...] | None = None
    pixels: int = 0

    @property
    def name(self) -> str:
        """The preset: if none is given, one for pictures where pictures are asked for."""
        return self.preset or ("pixels" if self.pixels else "small")

    @property
    def settings(self) -> Settings:
        return Settings(**PRESETS[self.name])

    def train(self) -> Train:
        """What the other options change."""
        if not self.resume:
            return Train(preset=self.name, settings=self.settings)
        from .run.checkpoint import read

        if self.resume.is_file() and self.resume.name != "checkpoint.pt":
            raise Refused(f"--resume takes a run's folder, got the file {self.resume}")
        saved = read(self.resume, self.env, self.wrap, self.env_args)
        return Train(settings=Settings(**saved.config.to_dict()), saved=saved)


whole_numbers = tyro.constructors.ConstructorRegistry()


@whole_numbers.primitive_rule
def whole_number(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """1e5 is a whole number too, and 1_000."""
    if info.type is not int:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=read_whole,
        is_instance=lambda x: type(x) is int,
        str_from_instance=lambda value: [str(value)],
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
    """The folder of this name, or the first of name-2, name-3, … that does not exist."""
    name = "".join("-" if letter in '/\\:*?"<>|' else letter for letter in name)  # Windows allows none of these
    tries = [parent / name, *(parent / f"{name}-{i}" for i in range(2, 10_000))]
    return next(path for path in tries if not path.exists())


def at_least(**bounds: tuple[int, int]) -> None:
    for name, (value, low) in bounds.items():
        if value < low:
            raise Refused(f"--{name} must be at least {low}, got {value}")


def report(card: dict[str, Any], out: Path) -> int:
    env = "".join(f" --{name} {card['config'][name]}" for name in ("env", "wrap") if ":" in card["config"][name])
    for note in card["notes"]:
        print(f"note: {note}")
    if not card["finished"]:
        start = f"torchrun --standalone --nproc-per-node {card['processes']}" if card["processes"] > 1 else "python"
        print(
            f"stopped after {card['env_steps']} environment steps and saved; go on with: {start} -m dreamer_lite --resume {out}{env}"
        )
        return 130
    if card["solved_at_env_steps"]:
        print(f"solved after {card['solved_at_env_steps']} environment steps, {card['solved_at_seconds']} seconds")
    elif card["threshold"] is not None:
        print(f"not solved within {card['env_steps']} environment steps and {card['episodes']} episodes")
    if card["held"]:
        print(
            "since then {evaluations} evaluations: {share_at_threshold:.0%} at the threshold, worst {worst:.0f}".format(
                **card["held"]
            )
        )
    for name, result in card["final_evaluation"].items():
        print(f"{name} actions: {result['mean']:.1f} ± {result['std']:.1f} over {result['episodes']} fresh episodes")
    print(f"look at {out / 'learning_curve.png'}, or at a dream: python -m dreamer_lite dream {out}{env}")
    return 0


def parse(words: list[str]) -> Any:
    """The command that the words name, with its options. Without a command they are options to train."""
    how = {"prog": "dreamer_lite", "use_underscores": True, "registry": whole_numbers, "description": DESCRIPTION}
    helps = {"-h", "--help"}
    if not words or words[0].startswith("-") and words[0] not in helps:
        words = ["train", *words]
    train, warm = Train(), Warm()
    if words[0] in ("train", "warm"):
        start, _ = tyro.cli(Start, args=[word for word in words[1:] if word not in helps], return_unknown_args=True, **how)
        warm = Warm(start.name, settings=start.settings)
    if words[0] == "train":
        train = start.train()
        if start.resume and any(word.split("=")[0] == "--preset" for word in words):
            raise Refused("--preset cannot be changed while resuming. For other settings start a new run")
    commands = Union[
        (
            Annotated[Train, subcommand("train", default=train)],
            *(Annotated[kind, subcommand(name)] for name, kind in OTHERS.items()),
            Annotated[Warm, subcommand("warm", default=warm)],
        )
    ]
    if words[0] in helps:  # the commands, and below them the options to train
        try:
            tyro.cli(commands, args=["--help"], **how)
        except SystemExit:
            words = ["train", "--help"]
    return tyro.cli(commands, args=words, **how)


def main(words: list[str], ready: Callable[[], None] = lambda: None) -> int:
    """Run a command; returns the exit code: 0, 1 for a run that diverged, 2 for what was refused, 130 for Ctrl-C.

    ready: called when everything is imported.

    Any other error is a bug, ours or the environment's, and keeps its traceback.
    """
    if words == ["--version"]:
        print(f"dreamer_lite {__version__}")
        return 0
    try:
        command = parse(words)
        from .run import bench, export, loop  # noqa: F401  all that takes long to import

        ready()
        return command.run()
    except Refused as error:
        print(f"dreamer_lite: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        if not isinstance(error, loop.Diverged):
            raise
        print(
            f"dreamer_lite: training stopped, a loss is not finite: {error}. Lower the learning rates, or look at the "
            "environment's numbers; the last good checkpoint is kept",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("dreamer_lite: stopped", file=sys.stderr)
        return 130
