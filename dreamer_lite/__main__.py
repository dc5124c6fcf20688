"""The command line: `python -m dreamer_lite` trains; `… evaluate RUN`, `… dream RUN` and `… export RUN` look at what was learned."""

import argparse
from dataclasses import fields
import difflib
from pathlib import Path
import sys
from typing import Any, NoReturn

import torch

from . import __version__, checkpoint
from .config import PRESETS, Config
from .draw import draw_filmstrip, draw_gif
from .evaluate import evaluate, open_loop
from .export import player_page
from .train import train, use_device

TYPES = {int: "whole number", float: "number", str: "text"}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the closest option when a name is mistyped."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"dreamer_lite: {message}; see python -m {self.prog} --help\n")

    def parse(self, words: list[str]) -> argparse.Namespace:
        options, unknown = self.parse_known_args([hyphens_to_underscores(word) for word in words])
        if unknown:
            known = [name for action in self._actions for name in action.option_strings]
            close = difflib.get_close_matches(unknown[0].split("=")[0], known, 1)
            self.error(f"unknown option or argument {unknown[0]!r}" + (f", did you mean {close[0]}?" if close else ""))
        return options


def hyphens_to_underscores(word: str) -> str:
    """--batch-size and --batch_size are the same option."""
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if name.startswith("--") else word


def number(kind: type) -> Any:
    def parse(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {TYPES[kind]}") from None
    return parse


def train_parser() -> Parser:
    parser = Parser(
        prog="dreamer_lite", usage="python -m dreamer_lite [options]", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train DreamerV3 on a gymnasium environment. It stops when the task is solved: when the mean return of\n"
                    "an evaluation reaches the environment's own threshold (475 for CartPole-v1).\n\n"
                    "  python -m dreamer_lite                               learn CartPole\n"
                    "  python -m dreamer_lite --env Acrobot-v1 --seed 3     learn something else\n"
                    "  python -m dreamer_lite --resume runs/NAME            go on with a run\n"
                    "  python -m dreamer_lite evaluate runs/NAME            100 fresh episodes, sampled and greedy\n"
                    "  python -m dreamer_lite dream runs/NAME               draw reality beside the dream\n"
                    "  python -m dreamer_lite export runs/NAME              a web page to play inside the dream\n"
                    "  python -m dreamer_lite.bench                         how fast is a train step here?",
        epilog="Underscores and hyphens are the same in option names.")
    run = parser.add_argument_group("the run")
    run.add_argument("--preset", default=None, choices=list(PRESETS),
                     help="settings to start from, changed by the options below (default: cpu)")
    run.add_argument("--device", default=None, help="auto, cpu, cuda or cuda:N; auto takes a GPU if there is one (default: auto)")
    run.add_argument("--out", default=None, type=Path, help="folder for the run (default: runs/ENV-PRESET-seedN, numbered on)")
    run.add_argument("--resume", default=None, type=Path, metavar="RUN", help="go on with the run in this folder, as it was "
                     "started; --steps, --episodes, --until, --device and --threads may be changed; --compile and --capture are given anew")
    run.add_argument("--until", default=None, choices=["solved", "held", "steps"],
                     help="when to stop: solved; held: twice as many steps as that took, at least 6000, to see whether it stays "
                          "solved; steps: when --steps or --episodes are used up (default: solved)")
    run.add_argument("--threads", default=None, type=number(int), help="CPU threads; 0 leaves the choice to PyTorch (default: 0)")
    run.add_argument("--compile", action="store_true", help="fuse the recurrent cells with torch.compile: a minute or so of waiting first, "
                     "which a short run does not win back")
    run.add_argument("--capture", action="store_true", help="on a GPU: record a train step as one CUDA graph and replay it")
    run.add_argument("--quiet", action="store_true", help="no progress bar")
    run.add_argument("--version", action="version", version=f"dreamer_lite {__version__}")
    settings = parser.add_argument_group("settings (the defaults shown are those of the cpu preset)")
    for f in fields(Config):
        settings.add_argument(f"--{f.name}", default=None, type=number(f.type),
                              metavar=f.name.upper() if f.type is str else "N",
                              help=f"{f.metadata['help']} (default: {f.default})".replace("%", "%%"))
    return parser


def run_train(words: list[str]) -> int:
    parser = train_parser()
    options = parser.parse(words)
    given = {f.name: value for f in fields(Config) if (value := getattr(options, f.name)) is not None}
    how = {name: value for name in ("until", "device", "threads") if (value := getattr(options, name)) is not None}
    if options.resume:
        if options.resume.is_file() and options.resume.name != "checkpoint.pt":
            raise ValueError(f"--resume takes a run's folder, got the file {options.resume}")
        agent, saved = checkpoint.load(options.resume)
        how = {name: saved[name] for name in ("until", "device", "threads") if name in saved} | how
        fixed = sorted(set(given) - {"steps", "episodes"}) + ["preset"] * (options.preset is not None)
        if fixed or options.out:
            raise ValueError(f"--{(fixed or ['out'])[0]} cannot be changed while resuming; only --steps, --episodes, --until, "
                             "--device, --threads, --compile, --capture and --quiet can. For other settings start a new run")
        config, out = Config(**{**agent.config.to_dict(), **given}), options.resume
        out = out if out.is_dir() else out.parent
    else:
        preset = options.preset or "cpu"
        config = Config.preset(preset, **given)
        out = options.out or free_folder(Path("runs") / f"{config.env.replace('/', '-')}-{preset}-seed{config.seed}")
    device = use_device(how.get("device", "auto"), how.get("threads", 0))
    print(f"{config.env} on {device}, in {out} (Ctrl-C saves and stops)", flush=True)
    card = train(config, out, device, how.get("until", "solved"), bool(options.resume), progress=not options.quiet,
                 compile=options.compile, capture=options.capture)
    return report(card, out)


def free_folder(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, … that does not exist."""
    tries = [folder, *(folder.with_name(f"{folder.name}-{i}") for i in range(2, 10_000))]
    return next(path for path in tries if not path.exists())


def report(card: dict[str, Any], out: Path) -> int:
    if not card["finished"]:
        print(f"stopped after {card['env_steps']} environment steps and saved; go on with: python -m dreamer_lite --resume {out}")
        return 130
    if card["solved_at_env_steps"]:
        print(f"solved after {card['solved_at_env_steps']} environment steps, {card['solved_at_seconds']} seconds")
    elif card["threshold"] is not None:
        print(f"not solved within {card['env_steps']} environment steps and {card['episodes']} episodes")
    if card["held"]:
        print("since then {evaluations} evaluations: {share_at_threshold:.0%} at the threshold, worst {worst:.0f}".format(**card["held"]))
    for name, result in card["final_evaluation"].items():
        print(f"{name} actions: {result['mean']:.1f} ± {result['std']:.1f} over {result['episodes']} fresh episodes")
    print(f"look at {out / 'learning_curve.png'}, or at a dream: python -m dreamer_lite dream {out}")
    return 0


def run_evaluate(words: list[str]) -> int:
    parser = Parser(prog="dreamer_lite evaluate", description="Mean ± std of fresh episodes, with sampled and with greedy actions.")
    parser.add_argument("run", help="a run's folder, or a checkpoint file")
    parser.add_argument("--episodes", default=100, type=number(int), help="episodes of each kind (default: 100)")
    parser.add_argument("--seed", default=0, type=number(int), help="seed of the fresh episodes (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    add_env(parser)
    options = parser.parse(words)
    if options.episodes < 1 or options.seed < 0:
        raise ValueError(f"--episodes must be positive and --seed 0 or more, got {options.episodes} and {options.seed}")
    agent, _ = checkpoint.load(options.run, use_device(options.device))
    env = trusted_env(agent.config.env, options.env)
    for name, greedy in (("sampled", False), ("greedy", True)):
        scores = evaluate(agent, env, options.episodes, options.seed, greedy)
        print(f"{env}, {name} actions: {scores.mean():.1f} ± {scores.std():.1f} over {options.episodes} fresh "
              f"episodes (worst {scores.min():.0f}, best {scores.max():.0f})")
    return 0


def add_env(parser: Parser) -> None:
    parser.add_argument("--env", default=None, help="environment to play in (default: the one it was trained on)")


def trusted_env(saved: str, given: str | None) -> str:
    """gymnasium imports the module in a name such as module:Name-v0, so such a name has to come from the user."""
    if ":" in saved and given is None:
        raise ValueError(f"the checkpoint names {saved!r}, which would import a module; if you trust it, add --env {saved}")
    return given or saved


def run_dream(words: list[str]) -> int:
    parser = Parser(prog="dreamer_lite dream", description="Draw an episode beside its dream: reality above, the dream below. The "
                    "agent looks for some steps, then the world model goes on alone with the same actions.")
    parser.add_argument("run", help="a run's folder, or a checkpoint file")
    parser.add_argument("--out", default=None, type=Path, help="folder for dream.png and dream.gif (default: the run's folder)")
    parser.add_argument("--steps", default=60, type=number(int), help="steps to dream (default: 60)")
    parser.add_argument("--context", default=10, type=number(int), help="steps to look before the dream begins (default: 10)")
    parser.add_argument("--seed", default=0, type=number(int), help="seed of the episode (default: 0)")
    add_env(parser)
    options = parser.parse(words)
    if options.steps < 1 or options.context < 0 or options.seed < 0:
        raise ValueError("--steps must be positive, --context and --seed 0 or more, got "
                         f"{options.steps}, {options.context} and {options.seed}")
    agent, _ = checkpoint.load(options.run)
    out = options.out or checkpoint.find(options.run).parent
    out.mkdir(parents=True, exist_ok=True)
    pair = open_loop(agent, trusted_env(agent.config.env, options.env), options.steps, options.context, options.seed)
    draw_filmstrip(pair, out / "dream.png")
    draw_gif(pair, out / "dream.gif")
    print(f"dreamed {len(pair.real) - 1} steps; look at {out / 'dream.png'} and {out / 'dream.gif'}")
    return 0


def run_export(words: list[str]) -> int:
    parser = Parser(prog="dreamer_lite export", description="Write the dream player: one web page in which the agent's world model dreams "
                    "beside a real CartPole. It opens from a file, in any browser, without a network.")
    parser.add_argument("run", help="a run's folder, or a checkpoint file")
    parser.add_argument("--out", default=None, type=Path, help="the page to write (default: player.html in the run's folder)")
    options = parser.parse(words)
    agent, _ = checkpoint.load(options.run)
    out = options.out or checkpoint.find(options.run).parent / "player.html"
    page = player_page(agent)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    print(f"wrote {out}, {len(page) / 1e6:.1f} MB; open it in a browser")
    return 0


COMMANDS = {"train": run_train, "evaluate": run_evaluate, "dream": run_dream, "export": run_export}


def main(words: list[str]) -> int:
    command = words[0] if words and words[0] in COMMANDS else None
    if words and command is None and not words[0].startswith("-"):
        print(f"dreamer_lite: unknown command {words[0]!r}; choose one of {', '.join(COMMANDS)}, or give options to train", file=sys.stderr)
        return 2
    try:
        return COMMANDS[command or "train"](words[1:] if command else words)
    except (ValueError, OSError) as error:
        print(f"dreamer_lite: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"dreamer_lite: training stopped, a loss is not finite: {error}. Lower the learning rates, or look at the "
              "environment's numbers; the last good checkpoint is kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dreamer_lite: stopped", file=sys.stderr)
        return 130
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "alloc" not in str(error):
            raise
        print(f"dreamer_lite: out of memory ({(str(error).splitlines() or ['-'])[0][-90:]}); take a smaller preset, --batch_size or "
              "--replay_size", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
