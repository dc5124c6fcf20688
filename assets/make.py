"""Makes everything in this folder: `python assets/make.py record 0 1 … 9`, `… agent`, then `… draw`.

`record` runs the `small` preset with `--until held` for each seed (six minutes a seed), and keeps metrics and run card;
`record gpu 0 1 2` does this for the `gpu` preset (twenty minutes a seed on a CPU).
`worlds` learns other environments, all of WORLDS or those named, with up to five seeds each, and keeps the same files;
`table` prints a table of them and draws their curves; `choices` learns six of them again, since choices in an
observation are learned as such. `general` learns some of them with the `general` preset, and
`variants` six of these with other settings that might be defaults (two minutes a run).
`pendulum` trains the agent of notebook A3 (two minutes), and keeps it, its metrics, and what it did along the way.
`catch` trains the three small world models of notebook A2 (six minutes), and keeps what they paint.
`seeds` trains five world models and five actors as notebooks 06 and 09 do (three minutes), and keeps their results.
`patients` trains the runs of notebook A1, ten with a bug and a healthy one, with five seeds (a minute each), and keeps
what the notebook needs; with seeds named, it only trains those. `verdicts` then measures what each check finds.
`ledger` trains with one component removed or changed: all missing runs of 260, or those of the tasks named (two to four
minutes each, as many at a time as there are cores). `ledger-table` writes their table and draws it.
`environments` tries the command line on environments that others wrote, all of them or those named: installs each in a
virtual environment of its own, and writes the table of docs/worlds.md (about a minute each).
`gpu --out FOLDER` measures what is said of a GPU, as much as fits into eight minutes, and writes pages of it into the
folder; `--only NAME …` repeats some of it, and `--rehearse` runs the list on a CPU with tiny agents.
`wheels --out FOLDER` downloads and unpacks the packages that a machine for `gpu` may lack.
`conformance` compares other implementations with the official numbers, all of them or those named: installs each in a
virtual environment of its own, and writes the tables of docs/conformance.md (a minute each, the official code ten).
`beside` learns worlds with the official code and with this package, with the same settings, all of them or those named,
and keeps both in official/ (three to ten minutes a run). `queue` learns with and without the online queue.
`speed` times train steps beside the official code and sheeprl, at all shapes or those named (an hour in all).
`together` learns CartPole with one process, then with two that train together, with three seeds each, times their
communication, and draws it (ten minutes).
`agent` keeps the agent of seed 0 from the end of its recorded run, with averaged weights.
`pixel-agent 0` does this for the agent of seed 0 that `worlds CartPole-pixels` has trained.
`player` writes the dream player for the agent of `agent`, one web page.
`gif` records the README's GIF from that page, in chromium.
`draw` draws all recorded curves and the filmstrip; it prints the summary that the README quotes.
`bench` measures train steps on this machine, which should do nothing else: a table and a figure, ten minutes.
`maps` draws the map of the agent for each notebook, and the other drawings in their texts.
`notebooks` runs all notebooks, or those named, and saves them as they are committed: with figures, without timings, and
without controls, which need a kernel.
`site` turns the notebooks, as they are committed, into web pages in the folder site/, or in the folder named.
"""

from contextlib import nullcontext
import csv
from itertools import product
import json
import math
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
from typing import Any
from unittest.mock import patch

from matplotlib.figure import Figure
import numpy as np
import torch
from torch import Tensor

from dreamer_lite.config import PRESETS, Config
from dreamer_lite.course.a1_break_it.bugs import BUGS, planted
from dreamer_lite.course.a1_break_it.clinic import PATIENTS, TWIN, patches_of
from dreamer_lite.course.a2_pixels import picture_lab
from dreamer_lite.course.a3_your_world.torque import pushes
from dreamer_lite.course.episodes import play
from dreamer_lite.course.explore import OWN
from dreamer_lite.course.n06_world_model import model_lab
from dreamer_lite.course.n09_actor import actor_lab
from dreamer_lite.diagnostics.checks import CHECKS
from dreamer_lite.diagnostics.diagnose import diagnose
from dreamer_lite.envs.making import make_envs
from dreamer_lite.evaluation.drawing import DREAM, GREY, REALITY, draw_filmstrip, save_gif
from dreamer_lite.evaluation.dreams import open_loop
from dreamer_lite.rssm import RSSM, State
from dreamer_lite.training.bench import SHAPES, growth
from dreamer_lite.training.checkpoint import agent_of, load, read, save
from dreamer_lite.training.device import keep_memory, use_device
from dreamer_lite.training.loop import train
from dreamer_lite.training.plots import draw_growth, draw_learning_curve
from dreamer_lite.training.state import Training
from dreamer_lite.web_player.export import player_page

ASSETS = Path(__file__).parent
NOTEBOOKS = ASSETS.parent / "notebooks"
WORK = ASSETS.parent / "runs" / "assets"  # not kept in git
EPISODE = 3  # the seed of the episode drawn


def train_alone(config: Config, folder: Path, until: str) -> dict[str, Any]:
    """Train on one thread in this folder, compiled unless from images, which gain nothing; returns the run card."""
    keep_memory()
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted recording
    device, compiled = use_device("cpu", threads=1), config.nearest_preset() != "pixels"
    return train(config, folder, device=device, until=until, progress=sys.stderr.isatty(), compile=compiled)


def record(config: Config, name: str, until: str) -> None:
    """Train on one thread, and keep metrics and run card under this name."""
    folder = WORK / name
    (ASSETS / name).parent.mkdir(parents=True, exist_ok=True)
    card = train_alone(config, folder, until)
    shutil.copy(folder / "metrics.csv", ASSETS / f"{name}.csv")
    shutil.copy(folder / "card.json", ASSETS / f"{name}.json")
    print(
        f"{name}: solved at {card['solved_at_env_steps']}, {card['solved_at_seconds']} s; held: {card['held']}",
        flush=True,
    )


BEFORE = dict(discount_horizon=100)  # what `small` and `general` had when most recordings were made
HERE = "dreamer_lite.course.worlds:"
# A name for each, and its changes to a preset: to `pixels` if it shows images, otherwise to `small`.
WORLDS: dict[str, dict[str, Any]] = {
    "Acrobot": dict(env="Acrobot-v1", steps=6000, seeds=5),
    "Pendulum": dict(env="Pendulum-v1", steps=5000),
    "InvertedPendulum": dict(env="InvertedPendulum-v5", steps=6000, seeds=5),
    "MountainCarContinuous": dict(env="MountainCarContinuous-v0", steps=3000),
    "FrozenLake": dict(env="FrozenLake-v1", env_args=("is_slippery=false",), steps=6000, seeds=5),
    "FrozenLake-slippery": dict(env="FrozenLake-v1", steps=5000),
    "Blackjack": dict(env="Blackjack-v1", steps=2000, seeds=5),
    "CliffWalking": dict(env="CliffWalking-v1", env_args=("max_episode_steps=200",), steps=3000),
    "Taxi": dict(env="Taxi-v4", steps=6000),
    "MinAtar-Breakout": dict(env="minatar_envs:MinAtar/Breakout-v1", steps=4000),
    "Dials": dict(env=f"{HERE}Dials-v0", steps=3000, seeds=5),
    "Recall": dict(env=f"{HERE}Recall-v0", steps=8000),
    "HiddenCatch": dict(env=f"{HERE}HiddenCatch-v0", steps=3000, log_every=100, seeds=5),
    "HiddenCatch-forgetful": dict(env=f"{HERE}HiddenCatch-v0", steps=3000, log_every=100, seeds=5),
    # The next two are made to fail, for notebook A3.
    "HiddenCatch-curious": dict(env=f"{HERE}HiddenCatch-v0", steps=3000, log_every=100, seeds=1, entropy=3),
    "HiddenCatch-sluggish": dict(env=f"{HERE}HiddenCatch-v0", steps=3000, log_every=100, seeds=1, world_lr=3e-6),
    # The official settings.
    "CartPole-size1m": dict(
        preset="size1m", env="CartPole-v1", steps=10_000, eval_every=1000, eval_episodes=20, seeds=1
    ),
    "Catch": dict(preset="pixels", env=f"{HERE}Catch-v0", steps=6000, seeds=5),
    "Catch-patient": dict(preset="pixels", env=f"{HERE}Catch-v0", steps=6000, seeds=5, learn_start=2000),
    "CartPole-pixels": dict(preset="pixels", env="CartPole-v1", pixels=64, gray=True, steps=10_000),
}


# Those of them in which choices are observed, run again since they are learned as choices.
CHOICES = ("FrozenLake", "FrozenLake-slippery", "CliffWalking", "Taxi", "Blackjack", "MinAtar-Breakout")


# The `general` preset, for longer where `small` wasn't done.
GENERAL: dict[str, dict[str, Any]] = {
    "CartPole": dict(preset="general", env="CartPole-v1", steps=6000),
    "Dials": WORLDS["Dials"] | dict(preset="general", steps=6000),
    "HiddenCatch": WORLDS["HiddenCatch"] | dict(preset="general", steps=6000),
    **{
        name: WORLDS[name] | dict(preset="general", seeds=3)
        for name in ("Acrobot", "FrozenLake", "InvertedPendulum", "Pendulum", "Blackjack", "CliffWalking")
    },
}


# Settings that might be defaults of `general`, tried with three seeds in those of its worlds that have a threshold.
VARIANTS: dict[str, dict[str, Any]] = {
    "entropy bonus 0.01": dict(entropy=0.01),
    "discount horizon 333": dict(discount_horizon=333),
    "255 bins to ±485 million": dict(bins=255, bin_limit=20),
    "four environments": dict(envs=4),
}
THRESHOLDS = ("CartPole", "Dials", "HiddenCatch", "Acrobot", "FrozenLake", "InvertedPendulum")
VARIANTS_SOLVED = ASSETS / "runs" / "variants.json"  # by variant and world: after how many steps each seed was solved


def record_variants() -> None:
    """Train what is missing, each run until it is solved, and keep after how many steps that was."""
    found = json.loads(VARIANTS_SOLVED.read_text(encoding="utf-8")) if VARIANTS_SOLVED.exists() else {}
    for (variant, changes), name, seed in product(VARIANTS.items(), THRESHOLDS, range(3)):
        solved = found.setdefault(variant, {}).setdefault(name, [])
        if len(solved) > seed:
            continue
        settings = {key: value for key, value in GENERAL[name].items() if key not in ("preset", "seeds")}
        folder = WORK / "variants" / f"{name}-{variant}-seed{seed}".replace(" ", "-")
        card = train_alone(Config.preset("general", seed=seed, **BEFORE | settings | changes), folder, "solved")
        solved.append(card["solved_at_env_steps"])
        VARIANTS_SOLVED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{variant}, {name}, seed {seed}: {solved[-1]}", flush=True)


def record_worlds(worlds: dict[str, dict[str, Any]], folder: str) -> None:
    """Train the missing seeds, three by default: each until it is solved, or for all its steps without a threshold."""
    for name, changes in worlds.items():
        changes = dict(changes)
        preset, seeds = changes.pop("preset", "small"), changes.pop("seeds", 3)
        changes = (BEFORE if preset in ("small", "general") else {}) | changes
        for seed in range(seeds):
            target = f"runs/{folder}/{name}-seed{seed}"
            if (ASSETS / f"{target}.json").exists():
                continue
            with patch.object(RSSM, "observe", forgetful) if name.endswith("forgetful") else nullcontext():
                record(Config.preset(preset, seed=seed, **changes), target, "solved")


# As in notebook A3.
PENDULUM = Config.preset("small", **BEFORE, env="Pendulum-v1", seed=2, steps=1000, eval_every=250, eval_episodes=20)


def record_pendulum() -> None:
    """Train as the live cell of notebook A3 does.

    Keep the agent in half precision, metrics and run card, and the torques at each evaluation, in ten episodes.
    """
    folder, kept, maps = WORK / "pendulum", ASSETS / "runs" / "pendulum", {}
    shutil.rmtree(folder, ignore_errors=True)

    def look(training: Training) -> None:
        if training.env_steps % PENDULUM.eval_every == 0:
            with training.learner.averaged():
                agent = training.evaluating.agent()
                maps[str(training.env_steps)] = pushes([play(agent, "Pendulum-v1", seed) for seed in range(10)])

    train(PENDULUM, folder, device=use_device("cpu", threads=1), progress=False, on_step=look)
    np.savez_compressed(
        kept.with_suffix(".npz"), **{steps: points.astype(np.float16) for steps, points in maps.items()}
    )
    save(kept.with_suffix(".pt"), load(folder).half())
    shutil.copy(folder / "metrics.csv", kept.with_suffix(".csv"))
    shutil.copy(folder / "card.json", kept.with_suffix(".json"))


def record_catch() -> None:
    """Train the three small world models of notebook A2: what they lose of ball and paddle, and an episode of each."""
    kept = {}
    for name in picture_lab.VARIANTS:
        lost, *images = picture_lab.record(name, 3200)
        images = ((image.clip(0, 1) * 255).round().astype(np.uint8) for image in images)
        parts = zip(picture_lab.Recorded._fields, (lost.astype(np.float16), *images))
        kept |= {f"{name}: {part}": values for part, values in parts}
    np.savez_compressed(picture_lab.RECORDED, **kept)


def record_seeds() -> None:
    """Train five world models as notebook 06 does, and five actors as notebook 09 does, with the finished functions."""
    found = [model_lab.errors(model_lab.train(seed)) for seed in range(5)]
    curves = {name: torch.stack([run[name] for run in found]).numpy() for name in found[0]}
    np.savez_compressed(model_lab.RECORDED, **curves)
    actors = []
    for seed in range(5):
        lives = actor_lab.lives(actor_lab.school(seed))
        control = actor_lab.test(actor_lab.school(seed, shuffle=True).agent, seed)
        actors.append({"lives": lives, "shuffled": control})
    actor_lab.RECORDED.write_text(json.dumps(actors, indent=1) + "\n")


whole_observe = RSSM.observe


def forgetful(rssm: RSSM, tokens: Tensor, actions: Tensor, is_first: Tensor, start: State, noise: Tensor | None = None):
    """Observe as if each step were the first of an episode: nothing is remembered."""
    return whole_observe(rssm, tokens, actions, torch.ones_like(is_first), start, noise)


def random_returns(config: Config, episodes: int = 100) -> np.ndarray:
    """Returns of random actions."""
    envs, rng = make_envs(config, 1, 0), np.random.default_rng(0)
    returns = [0.0]
    while len(returns) <= episodes:
        choices, numbers = envs.spaces.action_parts
        action = np.concatenate([*(np.eye(n)[rng.integers(n)] for n in choices), rng.uniform(-1, 1, numbers)])
        row = envs.step(np.float32(action)[None])
        returns[-1] += float(row.reward[0])
        returns += [0.0] * int(row.is_last[0])
    envs.close()
    return np.array(returns[:episodes])


def summarise_worlds() -> None:
    """Print the README's table and draw its figure.

    A panel for each environment, a line for each seed; dashed: random actions; violet: without memory.
    """
    runs = {name: sorted((ASSETS / "runs" / "worlds").glob(f"{name}-seed[0-9].json")) for name in WORLDS}
    forgetful = runs.pop("HiddenCatch-forgetful")  # drawn with HiddenCatch
    runs = {
        name: paths
        for name, paths in runs.items()
        if paths and name not in ("HiddenCatch-curious", "HiddenCatch-sluggish", "Catch-patient")
    }
    figure = Figure(figsize=(9, 1.9 * math.ceil(len(runs) / 4)), layout="constrained")
    for panel, (name, paths) in enumerate(runs.items()):
        cards = [json.loads(path.read_text()) for path in paths]
        config, means = Config(**cards[0]["config"]), [card["final_evaluation"]["sampled"]["mean"] for card in cards]
        chance = random_returns(config).mean()
        solved = [card["solved_at_env_steps"] for card in cards]
        print(
            f"| {name} | {spaces_of_config(config)} | "
            f"{', '.join(map(str, solved)) if any(solved) else 'no threshold, or not reached'} | "
            f"{', '.join(str(card['env_steps']) for card in cards)} | {np.median(means):.4g}, worst {min(means):.4g} | "
            f"{chance:.4g} | {', '.join(str(round(card['seconds'])) for card in cards)} |"
        )
        axes = figure.add_subplot(math.ceil(len(runs) / 4), 4, panel + 1)
        for path in paths + forgetful * (name == "HiddenCatch"):
            seen = [row for row in rows(path.with_suffix(".csv")) if row["eval_episodes"] > 0]
            axes.plot(
                [row["env_steps"] / 1000 for row in seen],
                [row["eval_mean"] for row in seen],
                color=OWN if path in forgetful else REALITY,
                marker=".",
                markersize=4,
                linewidth=1.2,
            )
        axes.axhline(chance, color=GREY, linestyle="--", linewidth=1)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.set_xlim(left=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("thousands of environment steps", fontsize=9)
    figure.supylabel("mean return of an evaluation", fontsize=9)
    figure.savefig(ASSETS / "worlds.png", dpi=120)


def spaces_of_config(config: Config) -> str:
    envs = make_envs(config)
    envs.close()
    return str(envs.spaces)


def record_together(seeds: range = range(3)) -> None:
    """Train until solved, not compiled, one thread per process; and time one all-reduce for several sizes of agents."""
    for count in (1, 2):
        for seed in seeds:
            folder = WORK / "together" / f"{count}x-seed{seed}"
            shutil.rmtree(folder, ignore_errors=True)  # of an interrupted recording
            words = f"-m dreamer_lite --seed {seed} --threads 1 --device cpu --compile off --quiet --out".split()
            subprocess.run([sys.executable, *(TORCHRUN if count > 1 else []), *words, folder], check=True)
            shutil.copy(folder / "card.json", ASSETS / "together" / f"{folder.name}.json")
    subprocess.run([sys.executable, *TORCHRUN, __file__, "talk"], check=True)


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def talk() -> None:
    """Milliseconds to average an agent's gradients over two processes, by its number of weights; the fastest of ten."""
    import torch
    import torch.distributed as dist

    from dreamer_lite.agent import Dreamer
    from dreamer_lite.training.bench import CARTPOLE, seconds
    from dreamer_lite.training.parallel import processes_of_torchrun

    found = {}
    with processes_of_torchrun("cpu") as us:
        for name in ("small", "size1m", "size12m", "size25m", "size50m", "size100m", "size200m"):
            with torch.device("meta"):
                agent = Dreamer(Config.preset(name), CARTPOLE, "meta")
            count = sum(
                p.numel() for part in (agent.world_model, agent.actor, agent.critic.net) for p in part.parameters()
            )
            gradients = torch.ones(count)
            found[name] = {
                "weights": count,
                "megabytes": count * 4 / 1e6,
                "milliseconds": 1000 * min(seconds(lambda: dist.all_reduce(gradients), "cpu") for _ in range(10)),
            }
    if us.leads:
        (ASSETS / "together" / "all_reduce.json").write_text(json.dumps(found, indent=2) + "\n")


def draw_together() -> None:
    """Steps to solve and steps per second, one process beside two."""
    figure = Figure(figsize=(7, 2.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for row, count in enumerate((1, 2)):
        cards = [json.loads(path.read_text()) for path in sorted((ASSETS / "together").glob(f"{count}x-*.json"))]
        steps = [card["solved_at_env_steps"] for card in cards]
        pace = [card["env_steps"] / card["seconds"] for card in cards]
        trained = [card["train_steps"] / card["seconds"] for card in cards]
        print(
            f"{count} process{'es' * (count > 1)}: solved after {steps} steps, "
            f"{[card['solved_at_seconds'] for card in cards]} s; {np.median(pace):.1f} environment steps and "
            f"{np.median(trained):.1f} train steps a second; at the end "
            f"{[card['final_evaluation']['sampled']['mean'] for card in cards]}"
        )
        for ax, values in zip(axes, (steps, pace)):
            ax.plot(values, [row] * len(values), "o", color=(REALITY, DREAM)[row], alpha=0.7)
    for ax, words in zip(axes, ("environment steps until solved", "environment steps per second")):
        ax.set(xlabel=words, yticks=(0, 1), yticklabels=("one process", "two"), ylim=(-0.6, 1.6))
        ax.set_xlim(left=0)
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(ASSETS / "together.png", dpi=120)
    for name, row in json.loads((ASSETS / "together" / "all_reduce.json").read_text()).items():
        print(f"{name}: {row['weights']:,} weights, {row['megabytes']:.1f} MB, {row['milliseconds']:.2f} ms")


# Short episodes, so that time limits occur.
PATIENT = BEFORE | dict(env_args=("max_episode_steps=100",), steps=700, log_every=50, eval_every=700, eval_episodes=20)


def train_patient(number: int, seed: int) -> None:
    """Train with the bug of this number, 0 for none. Runs that have ended already are not repeated."""
    folder = WORK / "patients" / f"{number}-seed{seed}"
    card = folder / "card.json"
    if card.exists() and json.loads(card.read_text())["finished"]:
        return
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted recording
    with planted(*patches_of(number)):
        train(
            Config.preset("small", seed=seed, **PATIENT),
            folder,
            device=use_device("cpu", threads=1),
            until="steps",
            progress=False,
        )
    print(f"patient {number}, seed {seed}: {json.loads(card.read_text())['seconds']:.0f} s", flush=True)


def keep_patients() -> None:
    """Keep what the notebook needs of the runs with seed 0, and of a healthy twin with seed 1.

    That is: weights in half precision, the rows of the replay buffer, and the metrics.
    """
    (ASSETS / "patients").mkdir(exist_ok=True)
    for letter, number, seed in [*((letter, number, 0) for letter, number in PATIENTS.items()), (TWIN, 0, 1)]:
        folder = WORK / "patients" / f"{number}-seed{seed}"
        saved = read(folder)
        rings = {name: ring for name, ring in saved.rest["replay"]["data"].items() if name not in ("h", "z")}
        replay = {"data": rings, "added": saved.rest["replay"]["added"]}
        save(
            ASSETS / "patients" / f"{letter}.pt", agent_of(saved, folder).half(), rows=saved.rest["rows"], replay=replay
        )


def judge_patients() -> None:
    """Keep in patients/verdicts.json what each check measures in each run, with its bug inside, and each score."""
    use_device("cpu", threads=1)
    ranges: dict[str, list] = {}
    values: dict[str, dict] = {str(number): {} for number in range(len(BUGS) + 1)}
    scores: dict[str, dict] = {number: {} for number in values}
    for number, seed in product(values, "01234"):
        folder = WORK / "patients" / f"{number}-seed{seed}"
        with planted(*patches_of(int(number))):
            findings = dict(zip(CHECKS, diagnose(folder)))
        ranges = {check: [(m.low, m.high) for m in finding.measures] for check, finding in findings.items()}
        values[number][seed] = {
            check: [round(float(m.value), 4) for m in finding.measures] for check, finding in findings.items()
        }
        scores[number][seed] = rows(folder / "metrics.csv")[-1]["eval_mean"]
        print(number, seed, [check for check, finding in findings.items() if finding.healthy is False], flush=True)
    (ASSETS / "patients" / "verdicts.json").write_text(
        json.dumps({"ranges": ranges, "values": values, "scores": scores}) + "\n"
    )


def make_agent() -> None:
    save(ASSETS / "cartpole.pt", load(WORK / "runs" / "seed0"))


def make_pixel_agent(seed: str) -> None:
    save(ASSETS / "cartpole_pixels.pt", load(WORK / "runs" / "worlds" / f"CartPole-pixels-seed{seed}"))


def make_player() -> None:
    agent = load(ASSETS / "cartpole.pt")
    (ASSETS / "player.html").write_text(player_page(agent), encoding="utf-8")


def record_player() -> None:
    """The README's GIF: 25 steps with open eyes, then 95 with closed ones, and three more dreams behind the first."""
    import io

    from PIL import Image
    from playwright.sync_api import sync_playwright

    frames = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 580, "height": 900})
        page.goto((ASSETS / "player.html").as_uri())
        page.evaluate("player.setPaused(true); player.setMode('agent'); player.restart(); player.game.setDreams(4)")
        for _ in range(60):
            page.evaluate("player.step(); player.step()")
            page.wait_for_timeout(40)  # until it is drawn
            frames.append(np.array(Image.open(io.BytesIO(page.locator("#stage").screenshot())).convert("RGB")))
        browser.close()
    save_gif(frames, ASSETS / "dream.gif", 80)


def summary(cards: list[dict]) -> str:
    solved = [card["solved_at_env_steps"] or np.inf for card in cards]
    seconds = [card["solved_at_seconds"] or np.inf for card in cards]
    held = [card["held"] for card in cards if card["held"]]
    evaluations = sum(h["evaluations"] for h in held)
    share = sum(h["share_at_threshold"] * h["evaluations"] for h in held) / max(evaluations, 1)
    return (
        f"{len(cards)} seeds; solved after {np.median(solved):g} environment steps (median), {max(solved):g} (worst); "
        f"{np.median(seconds):g} s (median), {max(seconds):g} s (worst); then {evaluations} evaluations of 20 "
        f"episodes: {share:.0%} at the threshold, worst {min((h['worst'] for h in held), default=np.nan):.0f}"
    )


def rows(file: Path) -> list[dict[str, float]]:
    return [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file.open())]


def draw() -> None:
    files = sorted((ASSETS / "runs").glob("seed*.csv"))
    runs = [rows(file) for file in files]
    draw_learning_curve(runs, ASSETS / "learning_curves.png", 475)
    agent = load(ASSETS / "cartpole.pt")
    pair = open_loop(agent, "CartPole-v1", steps=120, seed=EPISODE)
    draw_filmstrip(pair, ASSETS / "dream.png")
    print(summary([json.loads(file.with_suffix(".json").read_text()) for file in files]))


def measure_speed() -> None:
    """The bench's table for the shapes that are compared, each in its own process, and the figure of growth."""
    with open(ASSETS / "bench.txt", "w") as table:
        for shape in ("common", "tiny", "small"):
            for threads in ("1", "2"):
                words = ["--shape", shape, "--threads", threads, "--repeats", "15", "--compile", "--device", "cpu"]
                subprocess.run([sys.executable, "-m", "dreamer_lite", "bench", *words], stdout=table, check=True)
    device = use_device("cpu", threads=1)
    draw_growth(
        {shape: growth(SHAPES[shape], device, repeats=7) for shape in ("common", "tiny")}, ASSETS / "growth.png"
    )


def draw_maps() -> None:
    from dreamer_lite.course.agent_map import agent_map
    from dreamer_lite.course.n05_rssm.one_step import one_step

    folder = NOTEBOOKS / "images"
    folder.mkdir(exist_ok=True)
    for number in [path.stem[:2] for path in NOTEBOOKS.glob("[0-9A]*.ipynb")]:
        (folder / f"map_{number}.svg").write_text(agent_map(number), encoding="utf-8")
    (folder / "one_step.svg").write_text(one_step(), encoding="utf-8")


def run_notebooks(names: list[str]) -> None:
    from nbclient import NotebookClient
    import nbformat

    fresh = tempfile.TemporaryDirectory()  # no kept work and no earlier run: the notebooks as a new reader sees them
    os.environ["DREAMER_HOME"] = fresh.name
    for path in [Path(name) for name in names] or sorted(NOTEBOOKS.glob("[0-9A]*.ipynb")):
        book = nbformat.read(path, 4)
        NotebookClient(
            book,
            kernel_name="python3",
            resources={"metadata": {"path": str(NOTEBOOKS)}},
            record_timing=False,
            store_widget_state=False,
            timeout=1800,
        ).execute()
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.outputs = [
                    out for out in cell.outputs if "application/vnd.jupyter.widget-view+json" not in out.get("data", {})
                ]
        book.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
        nbformat.write(book, path)
        print(path.name, f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    words, preset = sys.argv[2:], ""
    if sys.argv[1:2] == ["record"] and words and words[0] in PRESETS:
        preset = words.pop(0)
    if sys.argv[1:2] == ["record"] and words and all(word.isdigit() for word in words):
        for seed in map(int, words):
            steps = {"gpu": 5_000}.get(preset, Config.steps)
            record(
                Config.preset(preset or "small", seed=seed, steps=steps),
                f"runs/{preset}{'-' * bool(preset)}seed{seed}",
                "held",
            )
    elif sys.argv[1:2] == ["speed"]:
        import speed

        if not set(words) <= set(speed.TASKS):
            sys.exit(f"the shapes are: {', '.join(speed.TASKS)}")
        speed.record(words)
    elif sys.argv[1:2] in (["beside"], ["queue"]):
        import beside

        known, record_all = (
            (beside.WORLDS, beside.record) if sys.argv[1] == "beside" else (beside.QUEUE, beside.record_queue)
        )
        if not set(words) <= set(known):
            sys.exit(f"the worlds are: {', '.join(known)}")
        record_all(words)
    elif sys.argv[1:2] == ["worlds"] and set(words) <= set(WORLDS):
        record_worlds({name: WORLDS[name] for name in words or WORLDS}, "worlds")
    elif sys.argv[1:2] == ["general"] and set(words) <= set(GENERAL):
        record_worlds({name: GENERAL[name] for name in words or GENERAL}, "general")
    elif sys.argv[1:] == ["choices"]:
        record_worlds({name: WORLDS[name] for name in CHOICES}, "choices")
    elif sys.argv[1:] == ["variants"]:
        record_variants()
    elif sys.argv[1:] == ["pendulum"]:
        record_pendulum()
    elif sys.argv[1:] == ["catch"]:
        record_catch()
    elif sys.argv[1:] == ["seeds"]:
        record_seeds()
    elif sys.argv[1:2] == ["patients"] and all(word.isdigit() for word in words):
        for seed in map(int, words or "01234"):
            for number in range(len(BUGS) + 1):
                train_patient(number, seed)
        if not words:
            keep_patients()
    elif sys.argv[1:] == ["verdicts"]:
        judge_patients()
    elif sys.argv[1:2] == ["ledger"]:
        import ledger

        if len(words) == 3 and words[1] in ledger.CHANGES:
            ledger.run_one(words[0], words[1], int(words[2]))
        elif set(words) <= set(ledger.TASKS):
            ledger.work(words)
        else:
            sys.exit(f"the tasks are: {', '.join(ledger.TASKS)}")
    elif sys.argv[1:] == ["ledger-table"]:
        import ledger

        ledger.summarise()
    elif sys.argv[1:2] == ["environments"]:
        import environments

        if not set(words) <= set(environments.ENVIRONMENTS):
            sys.exit(f"the environments are: {', '.join(environments.ENVIRONMENTS)}")
        environments.record(words)
    elif sys.argv[1:2] == ["gpu"]:
        import gpu_day

        sys.exit(gpu_day.main(words))
    elif sys.argv[1:2] == ["wheels"]:
        import gpu_wheels

        sys.exit(gpu_wheels.main(words))
    elif sys.argv[1:2] == ["conformance"]:
        import implementations

        if not set(words) <= set(implementations.IMPLEMENTATIONS):
            sys.exit(f"the implementations are: {', '.join(implementations.IMPLEMENTATIONS)}")
        implementations.record(words)
    elif sys.argv[1:] == ["table"]:
        summarise_worlds()
    elif sys.argv[1:] == ["together"]:
        record_together()
        draw_together()
    elif sys.argv[1:] == ["talk"]:
        talk()
    elif sys.argv[1:] == ["agent"]:
        make_agent()
    elif sys.argv[1:2] == ["pixel-agent"] and len(words) == 1 and words[0].isdigit():
        make_pixel_agent(words[0])
    elif sys.argv[1:] == ["player"]:
        make_player()
    elif sys.argv[1:] == ["gif"]:
        record_player()
    elif sys.argv[1:] == ["draw"]:
        import beside

        draw()
        beside.draw()
    elif sys.argv[1:] == ["bench"]:
        measure_speed()
    elif sys.argv[1:] == ["maps"]:
        draw_maps()
    elif sys.argv[1:2] == ["notebooks"]:
        run_notebooks(sys.argv[2:])
    elif sys.argv[1:2] == ["site"] and len(sys.argv) <= 3 and not "".join(sys.argv[2:]).startswith("-"):
        from site_pages import make_site

        make_site(*map(Path, sys.argv[2:]))
    else:
        sys.exit(__doc__)
