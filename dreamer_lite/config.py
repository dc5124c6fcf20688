"""All settings in one place, each with its unit, meaning and source; presets by name."""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any


def setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Config:
    """Settings of a run. The defaults are the `cpu` preset; `Config.preset` gives the others. "official" is the value in
    `dreamerv3/configs.yaml`. Raises ValueError, on creation, for values that cannot work.
    """

    env: str = setting("CartPole-v1", "gymnasium environment with vector observations")
    seed: int = setting(0, "seed of weights, sampling and environments")
    steps: int = setting(20_000, "most environment steps to take, over all environments")
    episodes: int = setting(10_000, "most episodes to finish")

    latent_dim: int = setting(8, "S, groups of discrete latents (official 32; 8 are enough for 4 numbers)")
    classes: int = setting(8, "K, classes per group (official size1m: 4)")
    deter: int = setting(64, "D, size of the recurrent state (official size1m: 512)")
    blocks: int = setting(4, "blocks of the recurrent layer; must divide --deter (official 8)")
    hidden_dim: int = setting(64, "width of the hidden layers (official size1m: 64)")
    rssm_dim: int = setting(32, "width of the hidden layers inside the RSSM; 0: as --hidden_dim (official: as hidden_dim)")
    layers: int = setting(3, "layers of encoder and decoder (official 3)")
    head_layers: int = setting(3, "layers of actor and critic (official 3)")

    world_lr: float = setting(1e-3, "learning rate of the world model (official 4e-5, for millions of steps)")
    actor_lr: float = setting(3e-4, "learning rate of the actor (official 4e-5); slower than the others, so that it follows them")
    critic_lr: float = setting(3e-3, "learning rate of the critic (official 4e-5)")
    slow_rate: float = setting(0.1, "how far the slow critic follows the critic in each train step, 0 to 1 (official 0.02)")
    reconstruction: float = setting(100, "weight of the reconstruction loss against the others (official 1; four numbers weigh little)")
    average: float = setting(0.998, "decay of the running average of the weights that is evaluated; 0: the weights as they are (official)")
    warmup: int = setting(100, "train steps over which rates rise from 0 (official 1000)")
    entropy: float = setting(3e-4, "weight of the actor's entropy bonus (official 3e-4)")

    batch_size: int = setting(64, "B, sequences per train step (official 16; many short ones keep the slow loop over T short)")
    seq_len: int = setting(8, "T, steps per sequence (official 64; the stored latents carry what came before)")
    horizon: int = setting(15, "H, imagined steps (official 15)")
    discount_horizon: float = setting(100, "steps over which the future counts: the discount is 1 - 1/this (official 333)")
    imag_last: int = setting(2, "dream from the last so many steps of each sequence; 0: from all (official 0)")
    train_ratio: float = setting(512, "replayed steps per environment step (official 32 to 1024 by task)")
    replay_size: int = setting(100_000, "environment steps the replay holds (official 5e6)")
    learn_start: int = setting(500, "environment steps before the first train step")

    envs: int = setting(1, "environments stepped side by side (official 16; with one, each failure is learned from before the next)")
    eval_every: int = setting(500, "environment steps between evaluations; 0: never")
    eval_episodes: int = setting(100, "episodes of an evaluation")
    save_every: int = setting(500, "environment steps between checkpoints")

    def __post_init__(self) -> None:
        zero_is_fine = {"seed", "rssm_dim", "warmup", "entropy", "imag_last", "eval_every", "learn_start", "average"}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "env":
                if not isinstance(value, str) or not value:
                    raise ValueError(f"env must be the name of an environment, got {value!r}")
                continue
            if f.type is int and type(value) is not int or not isinstance(value, (int, float)):
                raise ValueError(f"{f.name} must be a {'whole ' if f.type is int else ''}number, got {value!r}")
            if not abs(value) < 2**40:
                raise ValueError(f"{f.name} must be a finite number below 2^40, got {value!r}")
            if value < 0 or value == 0 and f.name not in zero_is_fine:
                raise ValueError(f"{f.name} must be {'0 or more' if f.name in zero_is_fine else 'positive'}, got {value}")
        if self.discount_horizon <= 1:
            raise ValueError(f"discount_horizon must be more than 1, got {self.discount_horizon}")
        if self.slow_rate > 1 or self.average >= 1:
            raise ValueError(f"slow_rate must be at most 1 and average below 1, got {self.slow_rate} and {self.average}")
        if self.deter % self.blocks:
            raise ValueError(f"deter must be divisible by blocks, got deter={self.deter} and blocks={self.blocks}")
        if self.seq_len < 2:
            raise ValueError(f"seq_len must be at least 2, got {self.seq_len}")
        if self.imag_last == 1 or self.imag_last > self.seq_len:
            raise ValueError(f"imag_last must be 0 or from 2 to seq_len, got imag_last={self.imag_last}, seq_len={self.seq_len}")
        if self.seq_len + 1 > self.replay_size // self.envs:
            raise ValueError(f"seq_len must fit the replay: seq_len={self.seq_len} needs replay_size of at least "
                             f"{(self.seq_len + 1) * self.envs} for {self.envs} environments, got {self.replay_size}")

    @staticmethod
    def preset(name: str, **changes: Any) -> "Config":
        """The settings called `name`, with changes on top. Raises ValueError for a name that is not in PRESETS."""
        if name not in PRESETS:
            raise ValueError(f"preset {name!r} is unknown; choose one of {', '.join(PRESETS)}")
        return replace(Config(**PRESETS[name]), **changes)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def official(deter: int, width: int, classes: int) -> dict[str, Any]:
    """A model size of `dreamerv3/configs.yaml`, with its rates, warm-up, batch shape and discount. The replay ratio stays at 256, as
    official tasks of few steps have it, and the replay is smaller, so that it fits a laptop."""
    return dict(deter=deter, hidden_dim=width, rssm_dim=0, classes=classes, latent_dim=32, blocks=8, layers=3, head_layers=3,
                world_lr=4e-5, actor_lr=4e-5, critic_lr=4e-5, warmup=1000, batch_size=16, seq_len=64, imag_last=0, discount_horizon=333, slow_rate=0.02,
                reconstruction=1, average=0, train_ratio=256, replay_size=100_000, learn_start=1100, envs=16, steps=1_000_000, eval_every=10_000, save_every=20_000)


PRESETS: dict[str, dict[str, Any]] = {
    "cpu": {},
    # The size of the repository this project grew from: 32 groups, width 512, large batches.
    "gpu": dict(deter=512, hidden_dim=512, rssm_dim=0, latent_dim=32, classes=32, blocks=8, batch_size=64, seq_len=32,
                imag_last=0, train_ratio=1024, warmup=100, world_lr=3e-4, actor_lr=3e-4, critic_lr=3e-4, envs=8),
    "size1m": official(512, 64, 4),
    "size12m": official(2048, 256, 16),
    "size25m": official(3072, 384, 24),
    "size50m": official(4096, 512, 32),
    "size100m": official(6144, 768, 48),
    "size200m": official(8192, 1024, 64),
    # Runs through every line in seconds; learns nothing.
    "debug": dict(deter=8, blocks=2, hidden_dim=8, rssm_dim=4, latent_dim=2, classes=4, layers=1, head_layers=1,
                  batch_size=2, seq_len=8, horizon=3, imag_last=4, train_ratio=1, learn_start=64, steps=400, envs=2,
                  eval_every=200, eval_episodes=2, replay_size=1000, save_every=100),
}
