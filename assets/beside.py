"""This package beside the official code, with the same settings: `python assets/make.py beside [NAME …] [SEED …]`.

Each world is learned three times by both, CartPole more often. The official code is cloned at its commit and installed
in a virtual environment of a temporary folder, with the world's packages, as implementations.py does; none of it is
kept. What is recorded isn't run again. Evaluations lie in official/NAME, and `python assets/make.py draw` draws them.
"""

from collections.abc import Sequence
import csv
from dataclasses import replace
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
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
    # 16 × 16 images: two convolutions, where the official decoder refuses more
    "Catch": World("", dict(env="dreamer_lite.course.worlds:Catch-v0", mults=(2, 3), steps=6000)),
    "RepeatPrevious": World("popgym==1.0.7", dict(env="popgym:popgym-RepeatPreviousEasy-v0")),
    "DoorKey": World(
        "minigrid==3.2.0", dict(env="minigrid:MiniGrid-DoorKey-5x5-v0", ignore=("mission",), steps=16_000)
    ),
    "Breakout": World("minatar==1.0.15", dict(env="minatar_envs:MinAtar/Breakout-v1")),
    "FrozenLake-slippery": World("", dict(env="FrozenLake-v1")),
    "Taxi": World("", dict(env="Taxi-v4")),
    "MountainCarContinuous": World("", dict(env="MountainCarContinuous-v0")),
}
# CPU only, one thread, and the older runtime, which is the faster one.
XLA = "--xla_cpu_use_thunk_runtime=false --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def config_of(name: str, seed: int) -> Config:
    return replace(AS_OFFICIAL, seed=seed, **WORLDS[name].settings)


def official_changes(c: Config) -> dict[str, Any]:
    """The same settings in the official code's terms, where they differ from its size1m."""
    return {
        "jax.platform": "cpu",
        "jax.compute_dtype": c.precision,
        "agent.report": False,
        "batch_size": c.batch_size,
        "batch_length": c.seq_len,
        "report_length": c.seq_len,
        "agent.dyn.rssm.deter": c.deter,
        "agent.dyn.rssm.hidden": c.rssm_hidden,
        "agent.dyn.rssm.stoch": c.groups,
        "agent.dyn.rssm.classes": c.classes,
        "agent.dyn.rssm.blocks": c.blocks,
        "agent.enc.simple.mults": list(c.mults),
        "agent.dec.simple.mults": list(c.mults),
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


def record_ours(config: Config, target: Path) -> None:
    """Train on one thread, and keep metrics and run card as target.csv and target.json."""
    keep_memory()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        how = dict(until="steps", progress=False, compile="auto")
        card = train(config, out, device=use_device("cpu", threads=1), **how)
        shutil.copy(out / "metrics.csv", target.with_suffix(".csv"))
        shutil.copy(out / "card.json", target.with_suffix(".json"))
    print(f"{target.parent.name}/{target.name}: {card['seconds']:.0f} s", flush=True)


def record_official(config: Config, target: Path, python: Path, code: Path) -> None:
    """Train the official code with these settings, and keep its evaluations as target.csv."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        settings, out = Path(folder) / "settings.json", Path(folder) / "out.csv"
        settings.write_text(json.dumps({"ours": config.to_dict(), "official": official_changes(config)}))
        inside = os.environ | {"PYTHONPATH": os.pathsep.join([str(ASSETS.parent), str(ASSETS), str(code)])}
        inside |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": XLA, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [python, ASSETS / "official_run.py", settings, out], cwd=folder, env=inside, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"{target}: {done.stderr[-2000:]}")
        shutil.copy(out, target.with_suffix(".csv"))
    print(f"{target.parent.name}/{target.name}", flush=True)


def record(names: Sequence[str], seeds: Sequence[int] = SEEDS) -> None:
    """What is missing of these worlds, of both, one run at a time."""
    for name in names or WORLDS:
        folder = ASSETS / "official" / name
        ours = [seed for seed in seeds if not (folder / f"seed{seed}.csv").exists()]
        official = [seed for seed in seeds if not (folder / f"official_seed{seed}.csv").exists()]
        if not ours + official:
            continue
        with tempfile.TemporaryDirectory(prefix="beside") as place:
            packages = f"{IMPLEMENTATIONS['official'].packages} ruamel.yaml {WORLDS[name].packages}"
            python, refusal = install(Entry(packages, ""), Path(place))
            if refusal:
                sys.exit(f"{name}: {refusal}")
            for seed in ours:
                subprocess.run([python, __file__, name, str(seed)], check=True)
            code = source("official", Path(place)) if official else Path()
            for seed in official:
                record_official(config_of(name, seed), folder / f"official_seed{seed}", python, code)


def record_queue(names: Sequence[str]) -> None:
    """What is missing of our runs with the online queue and without it, with five seeds each."""
    for name in names or WORLDS:
        for seed in QUEUE_SEEDS:
            for prefix, online in (("", True), ("without_queue_", False)):
                target = ASSETS / "official" / name / f"{prefix}seed{seed}"
                if not target.with_suffix(".csv").exists():
                    record_ours(replace(config_of(name, seed), online_queue=online), target)


def evaluations(files: str) -> list[dict[float, float]]:
    """The mean return of each evaluation by environment step, for each of these files, such as Catch/seed*.csv."""
    found = []
    for path in sorted((ASSETS / "official").glob(files)):
        with path.open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["eval_mean"] not in ("", "nan")]
        found.append({float(row["env_steps"]): float(row["eval_mean"]) for row in rows})
    return found


def late_means(curves: list[dict[float, float]], start: float) -> list[float]:
    """For each seed, the mean of its evaluations from this step on."""
    return [float(np.mean([mean for step, mean in curve.items() if step >= start])) for curve in curves]


def seconds(files: str) -> list[float]:
    """Of each run, preparation included: ours on the clock of one thread, the official code's on its processor."""
    spent = []
    for path in sorted((ASSETS / "official").glob(files)):
        if path.with_suffix(".json").exists():
            card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            spent.append(card["seconds"] + (card["compile_seconds"] or 0))
        else:
            with path.open(encoding="utf-8") as file:
                spent.append(float(list(csv.DictReader(file))[-1]["cpu_seconds"]))
    return spent


def draw_band(axes: Axes, curves: list[dict[float, float]], start: float, label: str, colour: str) -> None:
    """The median of the seeds, in a band from the worst to the best, where every seed was evaluated."""
    steps = sorted(step for step in set.intersection(*map(set, curves)) if step >= start)
    means = np.array([[curve[step] for step in steps] for curve in curves])
    axes.fill_between(steps, means.min(0), means.max(0), color=colour, alpha=0.15, linewidth=0)
    axes.plot(steps, np.median(means, 0), color=colour, marker=".", label=f"{label}, {len(curves)} seeds")


def draw() -> None:
    """Draw beside_official.png, a panel for each world that both have learned, and print what docs/official.md says."""
    both = [name for name in WORLDS if evaluations(f"{name}/seed*.csv") and evaluations(f"{name}/official_seed*.csv")]
    figure = Figure(figsize=(7, 3.2 * len(both)), layout="constrained")
    for name, axes in zip(both, np.atleast_1d(figure.subplots(len(both)))):
        start = 1000
        kinds = {
            "official code": (f"{name}/official_seed*.csv", GREY),
            "this package, the same settings": (f"{name}/seed*.csv", REALITY),
        }
        if name == "CartPole":
            kinds["this package, small preset"] = "../runs/seed*.csv", DREAM
        for label, (files, colour) in kinds.items():
            curves = [{step: mean for step, mean in curve.items() if step <= 8000} for curve in evaluations(files)]
            draw_band(axes, curves, start, label, colour)
            late, spent = late_means(curves, start), seconds(files)
            firsts = [min((step for step, mean in curve.items() if mean >= 475), default=np.inf) for curve in curves]
            held = [mean >= 475 for curve in curves for step, mean in curve.items() if step >= start]
            print(
                f"{name}, {label}: mean from step {start} on {np.mean(late):.4g}, of the seeds "
                f"{', '.join(f'{mean:.4g}' for mean in sorted(late))}; {np.median(spent):.0f} s (median)"
                + f"; first at 475 {np.median(firsts):g} (median); {np.mean(held):.0%} at 475"
                * (name == "CartPole")
            )
        axes.set(title=name, xlabel="environment steps", ylabel="mean return of 20 episodes or more")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9, loc="lower right")
    figure.savefig(ASSETS / "beside_official.png", dpi=120)
    for name in WORLDS:
        for kind, words in (("", "with the online queue"), ("without_queue_", "without it")):
            late = late_means(evaluations(f"{name}/{kind}seed*.csv"), 1000)
            if late:
                print(f"{name}, {words}: {np.mean(late):.4g}, {min(late):.4g} to {max(late):.4g} ({len(late)} seeds)")


if __name__ == "__main__":  # one run of ours, where the world's packages are installed
    record_ours(config_of(sys.argv[1], int(sys.argv[2])), ASSETS / "official" / sys.argv[1] / f"seed{sys.argv[2]}")
