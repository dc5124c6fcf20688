"""Is each part needed? The same training with one component removed or changed: `python assets/make.py ledger`.

Each run is a task, a change and a seed. Evaluations are kept in ledger/runs.csv, and recorded runs are not repeated, so
the work can be stopped at any time and continues later.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
import csv
from dataclasses import dataclass, field
from functools import partial
import math
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import threading
from typing import Any

import gymnasium
from matplotlib.figure import Figure
import numpy as np

from dreamer_lite import codecs, latents, optim, rssm, symlog, two_hot
from dreamer_lite.config import Config
from dreamer_lite.course.a1_break_it.bugs import Patch, planted
from dreamer_lite.evaluation.drawing import DREAM, GREY, REALITY
from dreamer_lite.training import step as training_step
from dreamer_lite.training.device import keep_memory, use_device
from dreamer_lite.training.loop import train
from dreamer_lite.training.state import Diverged

FOLDER = Path(__file__).parent / "ledger"
SEEDS, UNCHANGED_SEEDS = range(3), range(5)  # every change is compared with the unchanged runs
LATE = 1000  # evaluations from this environment step on are averaged


def rescaled(env: gymnasium.Env, factor: float) -> gymnasium.Env:
    return gymnasium.wrappers.TransformReward(env, lambda reward: factor * reward)


small_rewards, large_rewards = partial(rescaled, factor=0.01), partial(rescaled, factor=100)

EVERY = dict(steps=2000, discount_horizon=100, eval_every=250, eval_episodes=20, log_every=250)
TASKS: dict[str, tuple[dict[str, Any], float]] = {  # settings, and the mean return that counts as solved
    "CartPole": (dict(env="CartPole-v1"), 475),
    "CartPole, rewards × 0.01": (dict(env="CartPole-v1", wrap="ledger:small_rewards"), 4.75),
    "CartPole, rewards × 100": (dict(env="CartPole-v1", wrap="ledger:large_rewards"), 47_500),
    "Pendulum": (dict(env="Pendulum-v1"), -250),
}


@dataclass(frozen=True)
class Change:
    """Settings that differ from the `small` preset, and patches of the package's code."""

    settings: dict[str, Any] = field(default_factory=dict)
    patches: tuple[Patch, ...] = ()


CHANGES = {
    "nothing": Change(),
    "no symlog of what is seen": Change(
        patches=(
            Patch(symlog, "symlog", "return torch.sign(x) * torch.log1p(x.abs())", "return x"),
            Patch(codecs, "VectorDecoder.read", "return symexp(prediction)", "return prediction"),
        )
    ),
    "squared error of symlog, no two-hot": Change(
        patches=(
            Patch(
                two_hot,
                "two_hot_loss",
                "below, share_above = neighbours(x, bins)",
                "return (logits[..., 0] - x.sign() * x.abs().log1p()).square()",
            ),
            Patch(two_hot, "two_hot_mean", "probs = logits.softmax(-1)", "return symexp(logits[..., 0])"),
        )
    ),
    "no unimix": Change(dict(unimix=0.0)),
    "no straight-through gradient": Change(
        patches=(
            Patch(
                latents,
                "sample",
                "return one_hot + (probs - probs.detach()) if probs.requires_grad else one_hot",
                "return one_hot",
            ),
        )
    ),
    "no free bits": Change(dict(free_nats=0.0)),
    "dyn and rep alike, 0.55 each": Change(dict(scale_dyn=0.55, scale_rep=0.55)),
    "no slow critic": Change(dict(slow_rate=1.0)),
    "no replay value loss": Change(dict(scale_replay_critic=0.0)),
    "no return scale": Change(dict(return_rate=1e-9)),  # it stays below its limit, which is 1
    "no entropy bonus": Change(dict(entropy=0.0)),
    "horizon 5": Change(dict(horizon=5)),
    "horizon 30": Change(dict(horizon=30)),
    "replay ratio 256": Change(dict(train_ratio=256)),
    "replay ratio 512": Change(dict(train_ratio=512)),
    "zeros for stored latents": Change(
        patches=(
            Patch(
                training_step,
                "TrainStep.__call__",
                "states, means = self.learner.train_step(batch, State(*start))",
                "states, means = self.learner.train_step(batch, State(*(0 * part for part in start)))",
            ),
        )
    ),
    "Adam for LaProp": Change(
        patches=(
            Patch(
                optim,
                "LaProp.step",
                "self.mean.lerp_(self.gradients / rms, 1 - beta1)\n"
                "self.weights.sub_(self.mean * self.rates * (warmth / self.gathered(beta1)))",
                "self.mean.lerp_(self.gradients, 1 - beta1)\n"
                "self.weights.sub_(self.mean / rms * self.rates * (warmth / self.gathered(beta1)))",
            ),
        )
    ),
    "no gradient clipping": Change(dict(clip=1e9)),
    "no -1 in the GRU": Change(patches=(Patch(rssm, "gru", "torch.sigmoid(update - 1)", "torch.sigmoid(update)"),)),
    "heads see h only": Change(
        patches=(
            Patch(
                rssm,
                "State.feature",
                "torch.cat([self.h, self.z.flatten(-2)], -1)",
                "torch.cat([self.h, 0 * self.z.flatten(-2)], -1)",
            ),
        )
    ),
    "heads see z only": Change(
        patches=(
            Patch(
                rssm,
                "State.feature",
                "torch.cat([self.h, self.z.flatten(-2)], -1)",
                "torch.cat([0 * self.h, self.z.flatten(-2)], -1)",
            ),
        )
    ),
}
COLUMNS = ("task", "change", "seed", "env_steps", "eval_mean", "note")


def run_one(task: str, change: str, seed: int) -> None:
    """Train once, compiled, on one thread, and print the evaluations as lines of the CSV.

    A run that diverges ends with a line that says so.
    """
    keep_memory()
    out, write = (
        csv.writer(sys.stdout),
        lambda step, mean, note="": out.writerow([task, change, seed, step, mean, note]),
    )
    changed = CHANGES[change]
    with tempfile.TemporaryDirectory() as folder, planted(*changed.patches):
        config = Config(**TASKS[task][0] | EVERY | changed.settings, seed=seed)
        try:
            card = train(
                config,
                Path(folder) / "run",
                device=use_device("cpu", threads=1),
                until="steps",
                progress=False,
                compile=True,
            )
            if not card["finished"]:
                sys.exit("stopped early: not recorded, and will be run again")
        except Diverged:
            write(-1, math.nan, "diverged")
        with open(Path(folder) / "run" / "metrics.csv", encoding="utf-8") as rows:
            for row in csv.DictReader(rows):
                if row["eval_mean"] not in ("", "nan"):
                    write(int(float(row["env_steps"])), float(row["eval_mean"]))


def recorded() -> dict[tuple[str, str, int], list[tuple[int, float, str]]]:
    """The recorded runs: the evaluations of each task, change and seed."""
    runs: dict[tuple[str, str, int], list[tuple[int, float, str]]] = {}
    file = FOLDER / "runs.csv"
    if file.exists():
        with file.open(encoding="utf-8") as rows:
            for row in csv.DictReader(rows):
                key = row["task"], row["change"], int(row["seed"])
                runs.setdefault(key, []).append((int(row["env_steps"]), float(row["eval_mean"]), row["note"]))
    return runs


def planned(task: str) -> list[tuple[str, str, int]]:
    unchanged = [(task, "nothing", seed) for seed in UNCHANGED_SEEDS]
    return unchanged + [(task, change, seed) for seed in SEEDS for change in CHANGES if change != "nothing"]


def work(tasks: Sequence[str] = (), cores: int | None = None) -> None:
    """Run what is missing, of all tasks or of those named, as many at a time as there are cores.

    First all seeds without a change, to compare with, then the first seed of each change, and so on, in all tasks side
    by side, so that an early stop leaves all tasks equally far.
    """
    FOLDER.mkdir(exist_ok=True)
    file, lock, done = FOLDER / "runs.csv", threading.Lock(), recorded()
    if not file.exists():
        file.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    missing = [key for keys in zip(*(planned(task) for task in tasks or TASKS)) for key in keys if key not in done]

    def run(key: tuple[str, str, int]) -> None:
        words = [sys.executable, str(Path(__file__).parent / "make.py"), "ledger", *map(str, key)]
        result = subprocess.run(words, capture_output=True, text=True)
        lines = [line for line in result.stdout.splitlines() if line.startswith((key[0], f'"{key[0]}'))]
        if result.returncode or not lines:
            print(f"{key}: failed\n{result.stderr[-2000:]}", file=sys.stderr, flush=True)
            return
        with lock, file.open("a", encoding="utf-8") as rows:
            rows.write("\n".join(lines) + "\n")
        print(key, flush=True)

    with ThreadPoolExecutor(cores or os.cpu_count()) as pool:
        list(pool.map(run, missing))


@dataclass(frozen=True)
class Line:
    """The results of one task and one change, over its seeds."""

    solved: list[float]  # environment steps to the first evaluation at the threshold, by seed; inf: not within the run
    worst: float  # the worst evaluation after that, of all seeds; NaN: there is none
    means: list[float]  # of the evaluations from LATE on, by seed; NaN: the run ended before
    diverged: int


def line(task: str, change: str, runs: dict) -> Line | None:
    """The results of one task and one change; None if there is no run."""
    found = [runs[key] for key in planned(task) if key[1] == change and key in runs]
    if not found:
        return None
    threshold, solved, later = TASKS[task][1], [], []
    evaluated = [sorted((step, mean) for step, mean, note in seen if not note) for seen in found]
    for seen in evaluated:
        at = next((step for step, mean in seen if mean >= threshold), math.inf)
        solved.append(at)
        later += [mean for step, mean in seen if step > at]
    late = [[mean for step, mean in seen if step >= LATE] for seen in evaluated]
    means = [sum(seen) / len(seen) if seen else math.nan for seen in late]
    return Line(solved, min(later, default=math.nan), means, sum(any(note for *_, note in seen) for seen in found))


def below(change: str, runs: dict) -> tuple[int, int]:
    """How many runs with this change lie below all unchanged ones on the same task, and how many there are.

    Runs are compared by the mean of their later evaluations. Where a change does nothing, luck alone puts one in six
    there, with five unchanged runs.
    """
    lower = []
    for task in TASKS:
        found, unchanged = line(task, change, runs), line(task, "nothing", runs)
        if found and unchanged:
            # NaN counts as lower: the run ended before LATE.
            lower += [not mean >= np.nanmin(unchanged.means) for mean in found.means]
    return sum(lower), len(lower)


def short(value: float) -> str:
    """Three digits, or whole numbers."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def words(task: str, found: Line | None) -> str:
    """A cell of the table."""
    if found is None:
        return "not run"
    steps = ", ".join("–" if math.isinf(step) else f"{step:,.0f}" for step in found.solved)
    worst = "" if math.isnan(found.worst) else f"; worst later {short(found.worst)}"
    reached = [mean for mean in found.means if not math.isnan(mean)]
    means = f"; mean {short(min(reached))}" + f" to {short(max(reached))}" * (len(reached) > 1) if reached else ""
    return f"{steps}{worst}{means}" + f"; {found.diverged} diverged" * bool(found.diverged)


def table() -> str:
    """The whole ledger in Markdown. –: not solved within the run."""
    runs = recorded()
    head = ["what is changed", "below", *TASKS]
    body = [
        [
            change,
            "–" if change == "nothing" else "{} of {}".format(*below(change, runs)),
            *(words(task, line(task, change, runs)) for task in TASKS),
        ]
        for change in CHANGES
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body]) + "\n"


def draw(path: Path) -> None:
    """A column for each task with runs, a row for each change.

    A dot for each seed at the mean of its later evaluations, or a cross if no evaluation reached the threshold. Grey:
    the range of the seeds without a change.
    """
    runs = recorded()
    tasks = [task for task in TASKS if any(key[0] == task for key in runs)]
    figure = Figure(figsize=(3.2 + 3 * len(tasks), 0.27 * len(CHANGES) + 1.2), layout="constrained")
    for axes, task in zip(np.atleast_1d(figure.subplots(1, len(tasks), sharey=True)), tasks):
        unchanged = line(task, "nothing", runs)
        if unchanged:
            axes.axvspan(np.nanmin(unchanged.means), np.nanmax(unchanged.means), color=GREY, alpha=0.2, linewidth=0)
        for row, change in enumerate(CHANGES):
            found = line(task, change, runs)
            if found is None:
                axes.text(
                    0.5,
                    row,
                    "not run",
                    color=GREY,
                    fontsize=7,
                    ha="center",
                    va="center",
                    transform=axes.get_yaxis_transform(),
                )
                continue
            # Seeds one above the other, so that equal ones don't hide each other.
            for k, (step, mean) in enumerate(zip(found.solved, found.means)):
                mark, colour = ("o", REALITY) if math.isfinite(step) else ("x", DREAM)
                axes.plot(mean, row + 0.13 * (k - (len(found.solved) - 1) / 2), mark, color=colour, markersize=4)
        axes.set_xlabel(f"mean return from step {LATE:,} on")
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylim(len(CHANGES) - 0.5, -0.5)
        axes.set_title(task, fontsize=9)
        axes.set_yticks(range(len(CHANGES)), list(CHANGES), fontsize=8)
        axes.grid(axis="y", linewidth=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def summarise() -> None:
    """Write ledger/README.md, with the table, and ledger/ledger.png."""
    ran, all_of_them = len(recorded()), sum(len(planned(task)) for task in TASKS)
    draw(FOLDER / "ledger.png")
    (FOLDER / "README.md").write_text(
        ABOUT.format(
            ran=ran,
            all_of_them=all_of_them,
            late=LATE,
            seeds=len(SEEDS),
            unchanged=len(UNCHANGED_SEEDS),
            six=len(UNCHANGED_SEEDS) + 1,
            table=table(),
            **EVERY,
        ),
        encoding="utf-8",
    )


ABOUT = """# Is each part needed?

One component is removed or changed, everything else is the `small` preset. {ran} of {all_of_them} runs are done.
`python assets/make.py ledger` runs those that are missing, `python assets/make.py ledger-table` rewrites this page. The
evaluations are in [runs.csv](runs.csv), the changes in [ledger.py](../ledger.py).

![Mean return from step {late:,} on, a row for each change, a column for each task with runs: a dot for each seed, \
a cross if no evaluation reached the threshold; grey: the range of the runs without a change](ledger.png)

Each cell has three entries: for each seed, the environment steps to the first evaluation ({eval_episodes} episodes,
every {eval_every} steps) that reached the threshold, – if none did; the worst evaluation after that; the mean of the
evaluations from step {late:,} on, from the lowest seed to the highest. Runs end after {steps:,} steps. When all is run,
"nothing" has {unchanged} seeds and each change {seeds}; the steps show how many there are now. *Below* counts the runs
whose mean is lower than that of every run without a change on the same task. If a change does nothing, luck alone puts
one in {six} there.

{table}"""
