"""How fast is a train step on this machine? `python -m dreamer_lite.bench` prints a table."""

import argparse
from dataclasses import replace
import resource
import statistics
import sys
import time
from typing import Callable

import torch
import torch.nn.functional as F

from .agent import LOSS_SCALES, Dreamer
from .config import PRESETS, Config
from .envs import make_envs
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


def seconds(action: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    action()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def time_train_step(config: Config, device: str, repeats: int) -> dict[str, list[float]]:
    """Seconds of each part of a train step, `repeats` times after a warm-up."""
    torch.manual_seed(0)
    agent, batch = Dreamer(config, 4, 2, True, device), make_batch(config, device)
    start, found = agent.initial(config.batch_size).state, {}

    def forward() -> None:
        agent.optimizer.zero_grad()
        losses, _, _ = agent.loss(batch, start)
        found["total"] = sum(LOSS_SCALES[name] * loss.mean() for name, loss in losses.items())

    parts = {"forward": forward, "backward": lambda: found["total"].backward(),
             "optimizer": lambda: (agent.optimizer.step(), agent.critic.update_slow())}
    times: dict[str, list[float]] = {name: [] for name in (*parts, "train step")}
    for i in range(-2, repeats):
        for name, part in parts.items():
            times[name].append(seconds(part, device))
        times["train step"].append(sum(times[name][-1] for name in parts))
    return {name: values[2:] for name, values in times.items()}


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


def matmul_rate(device: str) -> float:
    """Billions of floating-point operations per second in a (1024, 512) × (512, 512) product, to compare machines by."""
    a, b = torch.randn(1024, 512, device=device), torch.randn(512, 512, device=device)
    return 2 * 1024 * 512 * 512 / min(seconds(lambda: a @ b, device) for _ in range(30)) / 1e9


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dreamer_lite.bench", description=__doc__)
    parser.add_argument("--shape", default="common", choices=[*SHAPES, *PRESETS], help="what to measure (default: common)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--threads", default=1, type=int, help="CPU threads (default: 1, one core)")
    parser.add_argument("--repeats", default=7, type=int, help="train steps to time (default: 7)")
    options = parser.parse_args(words)
    try:
        device = use_device(options.device, options.threads)
    except ValueError as error:
        parser.exit(2, f"dreamer_lite.bench: {error}\n")
    config = replace(SHAPES.get(options.shape) or Config.preset(options.shape), env="CartPole-v1")
    starts = config.batch_size * (config.imag_last or config.seq_len)
    print(f"{options.shape}: {config.batch_size} sequences × {config.seq_len} steps, {starts} dreams of {config.horizon} steps; "
          f"{device}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    for name, values in time_train_step(config, device, max(options.repeats, 1)).items():
        print(f"{name:>12}: {statistics.median(values):7.4f} s   (fastest {min(values):.4f}, slowest {max(values):.4f})")
    print(f"      acting: {env_steps_per_second(config, device):7.0f} environment steps/s without training, {config.envs} environments")
    peak = torch.cuda.max_memory_allocated(device) if device != "cpu" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f" peak memory: {peak / 1e6:7.0f} MB {'on the GPU' if device != 'cpu' else 'of the process'}")
    print(f"      matmul: {matmul_rate(device):7.0f} GFLOP/s, to compare machines by")
    return 0


if __name__ == "__main__":
    sys.exit(main())
