"""How fast is a train step on this machine, and what limits it? `python -m dreamer_lite bench` prints a table."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
import statistics
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from ..agent import Dreamer
from ..config import Config, Spaces
from ..envs.making import make_envs
from ..evaluation.rollout import rollout
from ..learner import Learner
from ..products import by_onednn
from ..replay import Experience
from ..rssm import State
from .capture import WARM_UP, Captured
from .compiled import compile_learner
from .device import own_peak, seconds
from .operations import operations
from .plots import draw_growth

SHAPES = {
    # Two shapes to compare implementations with: 4 numbers observed, 2 actions, 15 imagined steps.
    "common": Config.preset("size1m", horizon=15),  # 16 × 64, imagination from all 1,024 states
    "tiny": Config(
        batch_size=16,
        seq_len=32,
        imag_last=8,
        deter=64,
        blocks=4,
        hidden=64,
        rssm_hidden=32,
        groups=8,
        classes=8,
        encoder_layers=2,
        decoder_layers=2,
        head_layers=2,
        bins=255,
        bin_limit=20,
        horizon=15,
    ),
}


CARTPOLE = Spaces(obs_size=4, action_size=2, discrete=True)
IMAGES = Spaces(obs_size=0, action_size=2, discrete=True, image=(64, 64, 1))  # CartPole's, in grey


def make_batch(config: Config, device: str, spaces: Spaces = CARTPOLE) -> Experience:
    """Random experience with CartPole's shapes, or with images in place of the four numbers."""
    shape = config.batch_size, config.seq_len
    first, last, terminal = (torch.rand(shape) < 0.02 for _ in range(3))
    action = F.one_hot(torch.randint(2, shape), 2).float()
    if spaces.image:
        obs = torch.randint(256, (*shape, *spaces.image), dtype=torch.uint8)
    else:
        obs = torch.randn(*shape, 4)
    return Experience(obs, action, torch.ones(shape), first, last, terminal).to(device)


def make_learner(config: Config, device: str, spaces: Spaces = CARTPOLE) -> tuple[Learner, Experience, State]:
    """A new agent with its learner, and the inputs of a train step: random experience, and the state before it."""
    torch.manual_seed(0)
    learner = Learner(Dreamer(config, spaces, device))
    return learner, make_batch(config, device, spaces), learner.agent.initial(config.batch_size).state


def make_step(config: Config, device: str, spaces: Spaces = CARTPOLE) -> tuple[Learner, Callable[[], Any]]:
    """A new learner, and a function that takes one train step with it."""
    learner, batch, start = make_learner(config, device, spaces)
    return learner, lambda: learner.train_step(batch, start)


def time_parts(config: Config, device: str, repeats: int) -> dict[str, list[float]]:
    """Seconds of each part of a train step, `repeats` times after a warm-up."""
    (learner, batch, start), found = make_learner(config, device), {}

    def forward() -> None:
        learner.optimizer.zero_grad()
        with learner.autocast():
            found["total"], *_ = learner.objective(batch, start)

    parts = {
        "forward": forward,
        "backward": lambda: found.pop("total").backward(),
        "optimizer": lambda: (learner.optimizer.step(), learner.agent.critic.update_slow(), learner.update_average()),
    }
    times: dict[str, list[float]] = {name: [] for name in (*parts, "train step")}
    for i in range(-10, repeats):
        with learner.products():
            for name, part in parts.items():
                times[name].append(seconds(part, device))
        times["train step"].append(sum(times[name][-1] for name in parts))
    return {name: values[10:] for name, values in times.items()}


def matrix_work(step: Callable[[], Any]) -> int:
    """Floating-point operations in the matrix products of `step`."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def matmul_rate(device: str) -> float:
    """Floating-point operations per second in a (1024, 512) × (512, 512) product, to compare machines."""
    a, b = torch.randn(1024, 512, device=device), torch.randn(512, 512, device=device)
    return 2 * 1024 * 512 * 512 * 20 / min(seconds(lambda: [a @ b for _ in range(20)], device) for _ in range(5))


def kernels(step: Callable[[], Any]) -> list[float]:
    """Seconds of each kernel that a GPU runs for `step`, by the GPU's own clock."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    return [
        event.device_time_total / 1e6
        for event in profile.events()
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation
    ]


def time_ways(config: Config, device: str, repeats: int, compiled: bool) -> Iterator[tuple[str, list[float], float]]:
    """Ways to take the same train step: name, seconds of each step, seconds of preparation before the first."""
    for way in ["eager"] + ["compiled"] * compiled + ["captured"] * (device != "cpu"):
        learner, step = make_step(config, device)
        step = Captured(step) if way == "captured" else step
        prepared = compile_learner(learner) if way == "compiled" else 0.0
        prepared += seconds(lambda: [step() for _ in range(WARM_UP + 2)], device)
        yield way, [seconds(step, device) for _ in range(repeats)], prepared


def growth(config: Config, device: str, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """How the time of a train step grows: (factor, seconds) for B, T, H and the network's size.

    Each is doubled three times. Of `repeats` steps the fastest counts, since other programs on the machine can only
    make a step slower.
    """
    c, found = config, {}
    changes = {
        "B, sequences": lambda f: dict(batch_size=max(int(c.batch_size * f), 1)),
        "T, steps of each": lambda f: dict(
            seq_len=max(int(c.seq_len * f), 2), imag_last=min(c.imag_last, max(int(c.seq_len * f), 2))
        ),
        "H, imagined steps": lambda f: dict(horizon=max(int(c.horizon * f), 1)),
        "network, widths": lambda f: dict(
            deter=int(c.deter * f), hidden=int(c.hidden * f), rssm_hidden=int(c.rssm_hidden * f)
        ),
    }
    for name, change in changes.items():
        found[name] = []
        for factor in (0.25, 0.5, 1.0, 2.0):
            _, step = make_step(replace(config, **change(factor)), device)
            step = Captured(step) if device != "cpu" else step
            for _ in range(WARM_UP + 1 if device != "cpu" else 1):
                step()
            found[name].append((factor, min(seconds(step, device) for _ in range(repeats))))
    return found


def env_steps_per_second(config: Config, device: str, steps: int = 300) -> float:
    """Acting alone: the policy and the environments, without training."""
    envs = make_envs(config.env, config.envs, 0)
    agent = Dreamer(config, envs.spaces, device)
    return steps * config.envs / seconds(lambda: [None for _ in rollout(agent, envs, steps)], device)


def line(name: str, words: str) -> None:
    print(f"{name:>12}: {words}", flush=True)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):7.4f} s   (fastest {min(values):.4f}, slowest {max(values):.4f})"


def report(shape: str, config: Config, device: str, repeats: int, compiled: bool) -> None:
    """Print the table for one shape."""
    starts = config.batch_size * (config.imag_last or config.seq_len)
    name = torch.cuda.get_device_name(device) if device != "cpu" else f"cpu, {torch.get_num_threads()} thread(s)"
    print(
        f"{shape}: {config.batch_size} sequences × {config.seq_len} steps, {starts} dreams of {config.horizon} steps; "
        f"{name}, torch {torch.__version__.split('+')[0]}"
    )
    parts = time_parts(config, device, repeats)
    took = statistics.median(parts["train step"])
    for part, values in parts.items():
        line(part, spread(values))
    line(
        "acting",
        f"{env_steps_per_second(config, device):7.0f} environment steps/s without training, {config.envs} environments",
    )
    peak = own_peak() if device == "cpu" else torch.cuda.max_memory_allocated(device)
    line(
        "peak memory",
        f"{peak / 1e6:7.0f} MB {'of the process' if device == 'cpu' else 'on the GPU'}"
        if peak
        else "unknown on this platform",
    )
    learner, step = make_step(config, device)
    sizes = operations(step)
    line(
        "operations",
        f"{len(sizes):7,} not counting views; half of them produce fewer than {int(statistics.median(sizes)):,} values",
    )
    work, by = matrix_work(step), " by oneDNN" if learner.products is by_onednn else ""
    with learner.products():
        rate = matmul_rate(device)
    line(
        "floor",
        f"{work / rate:7.4f} s, {work / 1e9:.1f} GFLOP in matrix products{by} at {rate / 1e9:.0f} GFLOP/s; the step "
        f"takes {took / (work / rate):.1f} times that",
    )
    if device != "cpu" and (times := kernels(step)):
        line(
            "kernels",
            f"{len(times):7,}, which take {sum(times):.4f} s in total; the step takes {took / sum(times):.1f} times "
            "that, the rest are gaps",
        )
    eager = None
    for way, values, prepared in time_ways(config, device, repeats, compiled):
        eager = eager or statistics.median(values)
        words = (
            f"{spread(values)}; {statistics.median(values) / eager:.2f} of eager, after {prepared:.1f} s of preparation"
        )
        line(way, words if way != "eager" else spread(values))


def draw_how_it_grows(shape: str, config: Config, device: str, repeats: int, path: Path | str) -> None:
    """Measure how the time of a train step grows, print it, and draw it."""
    times = growth(config, device, repeats)
    for name, points in times.items():
        line(name.split(",")[0], ", ".join(f"×{factor:g} {took:.4f} s" for factor, took in points))
    draw_growth({shape: times}, path)
