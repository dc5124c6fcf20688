"""This package beside the official code, with the same settings: `python assets/make.py beside [NAME …]`.

Each world is learned three times by both. The official code is cloned at its commit and installed in a virtual
environment of a temporary folder, with the world's packages, as implementations.py does; none of it is kept. What is
recorded isn't run again. Evaluations lie in official/NAME, and `python assets/make.py draw` draws them.
"""

from collections.abc import Sequence
import csv
from dataclasses import replace
from itertools import product
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

from environments import Entry, install
from implementations import IMPLEMENTATIONS, source
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from dreamer_lite.config import Config
from dreamer_lite.evaluation.drawing import DREAM, GREY, REALITY
from dreamer_lite.training.device import keep_memory, use_device
from dreamer_lite.training.loop import train

ASSETS = Path(__file__).parent
SEEDS, QUEUE_SEEDS = range(3), range(5)
QUEUE = ("CartPole", "Pendulum", "Catch")  # where the online queue is tried
START = 1000  # evaluations count from this environment step on
WITHOUT = "without_queue_"  # in the names of the files of our runs without the online queue
OFFICIAL = f"{IMPLEMENTATIONS['official'].packages} ruamel.yaml"
# The settings in `official/CartPole/settings.json`, of the official code's runs there, in our terms.
AS_OFFICIAL = Config.preset(
    "size1m",
    deter=64,
    rssm_hidden=32,
    groups=8,
    classes=8,
    blocks=4,
    seq_len=32,
    imag_last=8,
    lr=1e-3,
    warmup=100,
    envs=4,
    learn_start=640,
    steps=8000,
    log_every=500,
    eval_every=500,
    eval_episodes=20,
    save_every=500,
)


class World(NamedTuple):
    """The packages it needs, and the settings that differ from AS_OFFICIAL."""

    packages: str
    settings: dict[str, Any]


WORLDS = {
    "CartPole": World("", dict(env="CartPole-v1")),
    "Pendulum": World("", dict(env="Pendulum-v1")),
    # 16 × 16 images: two convolutions, since the official decoder refuses more; 16 channels, since it has 8 blocks
    "Catch": World("", dict(env="dreamer_lite.course.worlds:Catch-v0", mults=(2, 4), steps=6000)),
    "Recall": World("", dict(env="dreamer_lite.course.worlds:Recall-v0")),
    "RepeatPrevious": World("popgym==1.0.7", dict(env="popgym:popgym-RepeatPreviousEasy-v0")),
    "DoorKey": World("minigrid==3.2.0", dict(env="minigrid:MiniGrid-DoorKey-5x5-v0", ignore="mission", steps=16_000)),
    "Breakout": World("minatar==1.0.15", dict(env="minatar_envs:MinAtar/Breakout-v1")),
    "FrozenLake-slippery": World("", dict(env="FrozenLake-v1")),
    "Taxi": World("", dict(env="Taxi-v4")),
    "Blackjack": World("", dict(env="Blackjack-v1", eval_episodes=200)),  # a hand is short, and much of it is luck
    "MountainCarContinuous": World("", dict(env="MountainCarContinuous-v0")),
}
# CPU only, one thread, and the older runtime, which is the faster one.
XLA = "--xla_cpu_use_thunk_runtime=false --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def config_of(name: str, seed: int) -> Config:
    return replace(AS_OFFICIAL, seed=seed, **WORLDS[name].settings)


def official_changes(c: Config) -> dict[str, Any]:
    """The same settings in the official code's terms."""
    layers = {
        "enc.simple": c.encoder_layers,
        "dec.simple": c.decoder_layers,
        "rewhead": c.reward_layers,
        "conhead": c.reward_layers,
        "policy": c.head_layers,
        "value": c.head_layers,
    }
    return {
        **{f"agent.{name}.layers": count for name, count in layers.items()},
        **{f"agent.{name}.units": c.hidden for name in layers},
        **{f"agent.{name}.bins": c.bins for name in ("rewhead", "value")},
        "agent.dyn.rssm.imglayers": c.prior_layers,
        "agent.dyn.rssm.obslayers": c.posterior_layers,
        "agent.dyn.rssm.dynlayers": c.core_layers,
        "jax.platform": "cpu",
        "jax.compute_dtype": c.precision,
        "agent.report": False,
        "batch_size": c.batch_size,
        "batch_length": c.seq_len,
        "report_length": c.seq_len,
        "agent.dyn.rssm.deter": c.deter,
        "agent.dyn.rssm.hidden": c.rssm_hidden or c.hidden,
        "agent.dyn.rssm.stoch": c.groups,
        "agent.dyn.rssm.classes": c.classes,
        "agent.dyn.rssm.blocks": c.blocks,
        "agent.enc.simple.mults": list(c.mults),
        "agent.dec.simple.mults": list(c.mults),
        "agent.dec.simple.bspace": c.bspace,
        "agent.imag_last": c.imag_last,
        "agent.imag_length": c.horizon,
        "agent.horizon": c.discount_horizon,
        "agent.opt.lr": c.world_lr,
        "agent.opt.warmup": c.warmup,
        "run.train_ratio": float(c.train_ratio),
        "run.envs": c.envs,
        "replay.size": float(c.replay_size),
        "replay.online": c.online_queue,
    }


def official_environment(code: Path) -> dict[str, str]:
    """The variables in which the official code runs from this folder: on the CPU, with one thread."""
    places = os.pathsep.join([str(ASSETS.parent), str(ASSETS), str(code)])
    return os.environ | {"PYTHONPATH": places, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": XLA, "OMP_NUM_THREADS": "1"}


def record_ours(config: Config, target: Path) -> None:
    """Train compiled, on one thread, and keep metrics and run card as target.csv and target.json.

    The card gets the processor's seconds of the whole process, as the official runs have them.
    """
    keep_memory()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        how = dict(until="steps", progress=False, compile="on")
        card = train(config, out, device=use_device("cpu", threads=1), **how)
        card["cpu_seconds"] = round(time.process_time(), 1)
        shutil.copy(out / "metrics.csv", target.with_suffix(".csv"))
        target.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def record_official(config: Config, target: Path, python: Path, code: Path) -> None:
    """Train the official code with these settings, and keep its evaluations as target.csv, its settings as .json."""
    target.parent.mkdir(parents=True, exist_ok=True)
    settings = {"ours": config.to_dict(), "official": official_changes(config), "packages": versions(python)}
    target.with_suffix(".json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.csv"
        words = [python, ASSETS / "official_run.py", target.with_suffix(".json"), out]
        done = subprocess.run(words, cwd=folder, env=official_environment(code), capture_output=True, text=True)
        if done.returncode:
            target.with_suffix(".json").unlink()
            sys.exit(f"{target}: {done.stderr[-2000:]}")
        shutil.copy(out, target.with_suffix(".csv"))


def versions(python: Path) -> str:
    """The packages of the official code in that environment, with their versions."""
    words = [python, "-m", "pip", "freeze"]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    return " ".join(line for line in lines if line.split("==")[0] in OFFICIAL.replace("==", " ").split())


def record(names: Sequence[str]) -> None:
    """What is missing of these worlds, of both, one run at a time."""
    for name in names or WORLDS:
        folder = ASSETS / "official" / name
        ours = [seed for seed in SEEDS if not (folder / f"seed{seed}.csv").exists()]
        official = [seed for seed in SEEDS if not (folder / f"official_seed{seed}.csv").exists()]
        if not ours + official:
            continue
        with tempfile.TemporaryDirectory(prefix="beside") as place:
            python, refusal = install(Entry(f"{OFFICIAL} {WORLDS[name].packages}", ""), Path(place))
            if refusal:
                sys.exit(f"{name}: {refusal}")
            for seed in ours:
                subprocess.run([python, __file__, name, str(seed)], check=True)
            code = source("official", Path(place)) if official else Path()
            for seed in official:
                record_official(config_of(name, seed), folder / f"official_seed{seed}", python, code)
                print(f"{name}/official_seed{seed}", flush=True)


def queue_run(name: str, seed: int, prefix: str) -> tuple[Config, Path]:
    """Settings and place of a run with the online queue, or without it where there is a prefix.

    With the settings above; Catch, which isn't learned with them so soon, with those that `pixels` had then.
    """
    config, folder = config_of(name, seed), f"official/{name}"
    if name == "Catch":
        then = dict(scale_reconstruction=1, learn_start=500, discount_horizon=100)
        config = Config.preset("pixels", **then, env="dreamer_lite.course.worlds:Catch-v0", steps=5000, seed=seed)
        folder = "queue/Catch"
    return replace(config, online_queue=not prefix), ASSETS / folder / f"{prefix}seed{seed}"


def record_queue(names: Sequence[str]) -> None:
    """What is missing of our runs with the online queue and without it, with five seeds each."""
    for name, seed, prefix in product(names or QUEUE, QUEUE_SEEDS, ("", WITHOUT)):
        if not queue_run(name, seed, prefix)[1].with_suffix(".csv").exists():
            subprocess.run([sys.executable, __file__, name, str(seed), prefix or "queue"], check=True)


def evaluations(files: str) -> list[dict[float, float]]:
    """The mean return of each evaluation by environment step, for each of these files, as official/Catch/seed*.csv."""
    found = []
    for path in sorted(ASSETS.glob(files)):
        with path.open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["eval_mean"] not in ("", "nan")]
        found.append({float(row["env_steps"]): float(row["eval_mean"]) for row in rows})
    return found


def late_means(curves: list[dict[float, float]]) -> list[float]:
    """For each seed, the mean of its evaluations from START on."""
    return [float(np.mean([mean for step, mean in curve.items() if step >= START])) for curve in curves]


def seconds(files: str) -> list[float]:
    """Seconds of each run, preparation included: of the processor, or by the clock in older run cards."""
    spent = []
    for path in sorted(ASSETS.glob(files)):
        with path.open(encoding="utf-8") as file:
            last = list(csv.DictReader(file))[-1]
        if "cpu_seconds" in last:  # the official code's
            spent.append(float(last["cpu_seconds"]))
        else:
            card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            spent.append(card.get("cpu_seconds", card["seconds"] + (card["compile_seconds"] or 0)))
    return spent


def count(curves: list[dict[float, float]]) -> str:
    return "1 seed" if len(curves) == 1 else f"{len(curves)} seeds"


def summary(curves: list[dict[float, float]], spent: list[float]) -> str:
    """What docs/official.md says of these runs."""
    late = late_means(curves)
    words = (
        f"mean from step {START} on {np.mean(late):.4g}, of the seeds {', '.join(f'{one:.4g}' for one in sorted(late))}"
    )
    return f"{words}; {np.median(spent):.0f} s (median); {count(curves)}"


def reached(curves: list[dict[float, float]], threshold: float) -> str:
    """When the seeds first reach a threshold, and how often they do."""
    firsts = [min((step for step, mean in curve.items() if mean >= threshold), default=np.inf) for curve in curves]
    held = [mean >= threshold for curve in curves for step, mean in curve.items() if step >= START]
    return f"at {threshold:g} first after {np.median(firsts):g} steps (median); {np.mean(held):.0%} of the evaluations"


def draw_band(axes: Axes, curves: list[dict[float, float]], label: str, colour: str) -> None:
    """The median of the seeds, in a band from the worst to the best, where every seed was evaluated."""
    steps = sorted(step for step in set.intersection(*map(set, curves)) if step >= START)
    means = np.array([[curve[step] for step in steps] for curve in curves])
    axes.fill_between(steps, means.min(0), means.max(0), color=colour, alpha=0.15, linewidth=0)
    axes.plot(steps, np.median(means, 0), color=colour, marker=".", label=f"{label}, {count(curves)}")


def draw() -> None:
    """Draw beside_official.png, a panel for each world that both have learned, and print what docs/official.md says."""
    pair = ("seed0.csv", "official_seed0.csv")
    both = [name for name in WORLDS if all((ASSETS / "official" / name / file).exists() for file in pair)]
    rows = -(-len(both) // 2)
    figure = Figure(figsize=(10, 3 * rows), layout="constrained")
    panels = figure.subplots(rows, 2).flat
    for axes in panels[len(both) :]:
        axes.remove()
    for name, axes in zip(both, panels):
        kinds = {
            "official code": (f"official/{name}/official_seed*.csv", GREY),
            "this package, the same settings": (f"official/{name}/seed*.csv", REALITY),
        }
        if name == "CartPole":
            kinds["this package, small preset"] = "runs/seed*.csv", DREAM
        for label, (files, colour) in kinds.items():
            last = config_of(name, 0).steps
            curves = [{step: mean for step, mean in curve.items() if step <= last} for curve in evaluations(files)]
            draw_band(axes, curves, label, colour)
            print(f"{name}, {label}: {summary(curves, seconds(files))}")
            if name == "CartPole":
                print(f"  {reached(curves, 475)}")
        if name == "CartPole":
            axes.axhline(475, color=GREY, linestyle="--", linewidth=1)
        axes.set(title=name, xlabel="environment steps", ylabel="mean return")
        axes.title.set_fontsize(11)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="best")
    figure.savefig(ASSETS / "beside_official.png", dpi=120)
    for name, (prefix, words) in product(QUEUE, {"": "with the online queue", WITHOUT: "without it"}.items()):
        runs = queue_run(name, 0, prefix)[1].parent.relative_to(ASSETS) / f"{prefix}seed*.csv"
        if late := late_means(evaluations(str(runs))):
            print(f"{name}, {words}: {np.mean(late):.4g}, {min(late):.4g} to {max(late):.4g} ({len(late)} seeds)")


if __name__ == "__main__":  # one run of ours, in a process of its own
    sys.argv[0] = "assets/beside.py"  # for the run card, wherever the repository is
    name, seed, *kind = sys.argv[1:]
    if kind:
        record_ours(*queue_run(name, int(seed), WITHOUT * (kind == [WITHOUT])))
    else:
        record_ours(config_of(name, int(seed)), ASSETS / "official" / name / f"seed{seed}")
    print(*sys.argv[1:], flush=True)
