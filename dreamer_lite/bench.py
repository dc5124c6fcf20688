"""How fast is a train step on this machine, and what holds it up? `python -m dreamer_lite.bench` prints a table."""

import argparse
from dataclasses import replace
import resource
import statistics
import sys
import time
from typing import Any, Callable, Iterator

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from .agent import Dreamer
from .capture import WARM_UP, Captured
from .config import PRESETS, Config
from .draw import draw_growth
from .envs import make_envs
from .rssm import State
from .train import use_device

SHAPES = {
    # The two shapes that implementations are compared at: 4 observations, 2 actions, 15 imagined steps.
    "common": Config.preset("size1m", horizon=15),  # 16 × 64, imagination from all 1,024 states
    "tiny": Config(batch_size=16, seq_len=32, imag_last=8, deter=64, blocks=4, hidden_dim=64, rssm_dim=32, latent_dim=8,
                   classes=8, layers=2, head_layers=2, horizon=15),
}


def make_batch(config: Config, device: str) -> dict[str, torch.Tensor]:
    """Random experience in the shape of CartPole's."""
    shape = config.batch_size, config.seq_len
    flags = {name: torch.rand(shape) < 0.02 for name in ("is_first", "is_last", "is_terminal")}
    action = F.one_hot(torch.randint(2, shape), 2).float()
    batch = {"obs": torch.randn(*shape, 4), "action": action, "reward": torch.ones(shape), **flags}
    return {name: value.to(device) for name, value in batch.items()}


def make_agent(config: Config, device: str) -> tuple[Dreamer, dict[str, torch.Tensor], State]:
    """A new agent, and what a train step of it needs: random experience, and the state before it."""
    torch.manual_seed(0)
    agent = Dreamer(config, 4, 2, True, device)
    return agent, make_batch(config, device), agent.initial(config.batch_size).state


def make_step(config: Config, device: str) -> tuple[Dreamer, Callable[[], Any]]:
    """A new agent, and one train step of it."""
    agent, batch, start = make_agent(config, device)
    return agent, lambda: agent.train_step(batch, start)


def seconds(action: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    action()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def time_parts(config: Config, device: str, repeats: int) -> dict[str, list[float]]:
    """Seconds of each part of a train step, `repeats` times after a warm-up."""
    (agent, batch, start), found = make_agent(config, device), {}

    def forward() -> None:
        agent.optimizer.zero_grad()
        losses, _, _ = agent.loss(batch, start)
        found["total"] = sum(agent.loss_scales[name] * loss.mean() for name, loss in losses.items())

    parts = {"forward": forward, "backward": lambda: found.pop("total").backward(),
             "optimizer": lambda: (agent.optimizer.step(), agent.critic.update_slow())}
    times: dict[str, list[float]] = {name: [] for name in (*parts, "train step")}
    for i in range(-10, repeats):
        for name, part in parts.items():
            times[name].append(seconds(part, device))
        times["train step"].append(sum(times[name][-1] for name in parts))
    return {name: values[10:] for name, values in times.items()}


class Operations(TorchDispatchMode):
    """Notes the operations that run inside: how many numbers each of them makes. Views make none."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = function(*args, **(kwargs or {}))
        made = [part for part in tree_leaves(args[0] if out is None else out) if isinstance(part, torch.Tensor)]
        if made and not function.is_view:
            self.sizes.append(sum(part.numel() for part in made))
        return out


def operations(step: Callable[[], Any]) -> list[int]:
    """The size of every operation that `step` launches, in numbers made."""
    with Operations() as noted:
        step()
    return noted.sizes


def matrix_work(step: Callable[[], Any]) -> int:
    """Floating-point operations in the matrix products of `step`."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def matmul_rate(device: str) -> float:
    """Floating-point operations per second in a (1024, 512) × (512, 512) product, to compare machines by."""
    a, b = torch.randn(1024, 512, device=device), torch.randn(512, 512, device=device)
    return 2 * 1024 * 512 * 512 * 20 / min(seconds(lambda: [a @ b for _ in range(20)], device) for _ in range(5))


def kernels(step: Callable[[], Any]) -> list[float]:
    """Seconds of each kernel that a GPU runs for `step`, as its own clock has them."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    return [event.device_time_total / 1e6 for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]


def time_ways(config: Config, device: str, repeats: int, compiled: bool) -> Iterator[tuple[str, list[float], float]]:
    """Ways to take the same train step: name, seconds of each step, seconds of preparation before the first."""
    for way in ["eager"] + ["compiled"] * compiled + ["captured"] * (device != "cpu"):
        agent, step = make_step(config, device)
        step = Captured(step) if way == "captured" else step
        prepared = agent.compile_cells() if way == "compiled" else 0.0
        prepared += seconds(lambda: [step() for _ in range(WARM_UP + 2)], device)
        yield way, [seconds(step, device) for _ in range(repeats)], prepared


def growth(config: Config, device: str, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """How the time of a train step grows: (factor, seconds) for B, T, H and the size of the network, each doubled three times.
    The fastest of `repeats` steps, since another program on the machine can only make one slower."""
    c, found = config, {}
    changes = {
        "B, sequences": lambda f: dict(batch_size=max(int(c.batch_size * f), 1)),
        "T, steps of each": lambda f: dict(seq_len=max(int(c.seq_len * f), 2), imag_last=min(c.imag_last, max(int(c.seq_len * f), 2))),
        "H, imagined steps": lambda f: dict(horizon=max(int(c.horizon * f), 1)),
        "network, widths": lambda f: dict(deter=int(c.deter * f), hidden_dim=int(c.hidden_dim * f), rssm_dim=int(c.rssm_dim * f)),
    }
    for name, change in changes.items():
        found[name] = []
        for factor in (0.25, 0.5, 1.0, 2.0):
            agent, step = make_step(replace(config, **change(factor)), device)
            step = Captured(step) if device != "cpu" else step
            for _ in range(WARM_UP + 1 if device != "cpu" else 1):
                step()
            found[name].append((factor, min(seconds(step, device) for _ in range(repeats))))
    return found


def env_steps_per_second(config: Config, device: str, steps: int = 300) -> float:
    """Acting alone: the policy and the environments, without training."""
    envs = make_envs(config.env, config.envs, 0)
    agent = Dreamer(config, envs.observation, envs.actions, envs.discrete, device)
    carry = agent.initial(config.envs)

    def play() -> None:
        nonlocal carry
        for _ in range(steps):
            row = envs.step(carry.action.cpu().numpy())
            carry = agent.act(torch.as_tensor(row.obs).to(device), torch.as_tensor(row.is_first).to(device), carry)

    return steps * config.envs / seconds(play, device)


def line(name: str, words: str) -> None:
    print(f"{name:>12}: {words}", flush=True)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):7.4f} s   (fastest {min(values):.4f}, slowest {max(values):.4f})"


def report(shape: str, config: Config, device: str, repeats: int, compiled: bool) -> None:
    """Print the table for one shape."""
    starts = config.batch_size * (config.imag_last or config.seq_len)
    name = torch.cuda.get_device_name(device) if device != "cpu" else f"cpu, {torch.get_num_threads()} thread(s)"
    print(f"{shape}: {config.batch_size} sequences × {config.seq_len} steps, {starts} dreams of {config.horizon} steps; {name}, "
          f"torch {torch.__version__.split('+')[0]}")
    parts = time_parts(config, device, repeats)
    took = statistics.median(parts["train step"])
    for part, values in parts.items():
        line(part, spread(values))
    line("acting", f"{env_steps_per_second(config, device):7.0f} environment steps/s without training, {config.envs} environments")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    peak = own if device == "cpu" else torch.cuda.max_memory_allocated(device)
    line("peak memory", f"{peak / 1e6:7.0f} MB {'of the process' if device == 'cpu' else 'on the GPU'}")
    _, step = make_step(config, device)
    sizes = operations(step)
    line("operations", f"{len(sizes):7,} that are no views, half of them make fewer than {int(statistics.median(sizes)):,} numbers")
    work, rate = matrix_work(step), matmul_rate(device)
    line("floor", f"{work / rate:7.4f} s, {work / 1e9:.1f} GFLOP in matrix products at {rate / 1e9:.0f} GFLOP/s; the step takes {took / (work / rate):.1f} times that")
    if device != "cpu" and (times := kernels(step)):
        line("kernels", f"{len(times):7,} that take {sum(times):.4f} s in sum; the step takes {took / sum(times):.1f} times that, the rest are gaps")
    eager = None
    for way, values, prepared in time_ways(config, device, repeats, compiled):
        eager = eager or statistics.median(values)
        words = f"{spread(values)}; {statistics.median(values) / eager:.2f} of eager, after {prepared:.1f} s of preparation"
        line(way, words if way != "eager" else spread(values))


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dreamer_lite.bench", description=__doc__)
    parser.add_argument("--shape", default="common", choices=[*SHAPES, *PRESETS], help="what to measure (default: common)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--threads", default=1, type=int, help="CPU threads (default: 1, one core)")
    parser.add_argument("--repeats", default=7, type=int, help="train steps to time (default: 7)")
    parser.add_argument("--compile", action="store_true", help="compare with compiled cells too; to compile takes a minute or so")
    parser.add_argument("--growth", metavar="PNG", help="instead of the table: draw how the time grows with B, T, H and the network's size")
    options = parser.parse_args(words)
    try:
        device = use_device(options.device, options.threads)
        config, repeats = replace(SHAPES.get(options.shape) or Config.preset(options.shape), env="CartPole-v1"), max(options.repeats, 1)
        if options.growth:
            open(options.growth, "ab").close()  # if it can't be written, say so before measuring
            times = growth(config, device, repeats)
            for name, points in times.items():
                line(name.split(",")[0], ", ".join(f"×{factor:g} {took:.4f} s" for factor, took in points))
            draw_growth({options.shape: times}, options.growth)
        else:
            report(options.shape, config, device, repeats, options.compile)
    except (ValueError, OSError) as error:
        parser.exit(2, f"dreamer_lite.bench: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
