"""All settings in one place, each with its unit, meaning and source; presets by name."""

from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
import math
import re
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from .errors import TOO_LARGE, Refused


class Spaces(NamedTuple):
    """The sizes an agent is built for. `envs.spaces.spaces_of` reads them from an environment.

    An action is one-hot choices side by side, whose sizes are in `choices` (() for a single one), then numbers. -1 to 1
    is the environment's range; what the agent samples may lie beyond, and `envs.spaces.native_action` clips it.
    discrete: there are only choices. image: height, width and channels of the image in an observation, () if there is
    none. obs_choices: which of the observed numbers are choices: (the position of the first, how many options) of each
    that is one-hot, and (position, 1) of each yes or no. Agents of version 0.3.0 have none: they saw all as numbers.
    """

    obs_size: int  # O, numbers in an observation
    action_size: int  # A
    discrete: bool
    image: tuple[int, ...] = ()
    choices: tuple[int, ...] = ()
    obs_choices: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        return f"sees {self.observation_words} and chooses {self.action_words}"

    @property
    def plain(self) -> "Spaces":
        """The same with Python's own numbers, and with () for a single choice, also if it stands in a list of one."""
        own = Spaces(*map(as_python, self))
        return own._replace(choices=()) if own.discrete and own.choices == (own.action_size,) else own

    def fit(self, env: "Spaces") -> bool:
        """Whether an agent made for these spaces can act where an environment has those."""
        return self in (env, env._replace(obs_choices=()))

    @property
    def obs_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of an observation's parts: "vector" (O,), "image" (H, W, C), or both."""
        shapes = {"vector": (self.obs_size,) if self.obs_size else (), "image": self.image}
        return {kind: shape for kind, shape in shapes.items() if shape}

    @property
    def observation_words(self) -> str:
        """What the agent sees: "4 numbers", "a 64 × 64 × 3 image, 1 of 4 and 5 numbers", "400 bits"."""
        size = " × ".join(map(str, self.image))
        article = "an" if re.match(r"8|1[18]\b", size) else "a"
        image = [f"{article} {size} image"] * bool(self.image)
        one_hots = [options for _, options in self.obs_choices if options > 1]
        bits = len(self.obs_choices) - len(one_hots)
        counts = {"number": self.obs_size - sum(one_hots) - bits, "bit": bits}
        if len(one_hots) > 4:
            counts, one_hots = {"choice": len(one_hots), **counts}, []
        counted = [f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items() if count]
        *first, last = image + [f"1 of {options}" for options in one_hots] + counted
        return f"{', '.join(first)} and {last}" if first else last

    @property
    def action_words(self) -> str:
        """What the agent chooses: "1 of 2", "1 of 2 and 1 of 3", "2 numbers", "1 of 3 and 2 numbers"."""
        choices, numbers = self.action_parts
        words = [f"1 of {n}" for n in choices] + [f"{numbers} number{'s' * (numbers != 1)}"] * bool(numbers)
        return " and ".join(words)

    @property
    def action_parts(self) -> tuple[tuple[int, ...], int]:
        """The number of options of each choice, and how many numbers follow them."""
        choices = self.choices or (self.action_size,) * self.discrete
        return choices, self.action_size - sum(choices)


@dataclass(frozen=True)
class Config:
    """Settings of a run. The defaults are the `small` preset; `Config.preset` gives the others.

    "official" is the value in `dreamerv3/configs.yaml`, with its name there in square brackets where it differs. The
    line below a setting is its help on the command line. Raises Refused, on creation, for values that cannot work.
    """

    env: str = "CartPole-v1"
    """Gymnasium environment ID; module:Name-v0 imports the module first"""
    env_args: tuple[str, ...] = ()
    """arguments the environment is made with, as key=value"""
    wrap: str = ""
    """module:function that takes the environment and returns a wrapped one, like a Gymnasium wrapper"""
    see: str = ""
    """which parts of a Dict observation to see: a regular expression that matches whole names, as 'image|direction'"""
    ignore: str = ""
    """which parts of a Dict observation to leave out: a regular expression that matches whole names, such as mission"""
    env_from_function: bool = False
    """the environments come from a Python function, so their name alone can't make them"""
    pixels: int = 0
    """render observations as N×N images; 0 keeps the environment's own observations"""
    gray: bool = False
    """convert images to grayscale"""
    seed: int = 0
    """seed of weights, sampling and environments"""
    steps: int = 20_000
    """stop after this many environment steps, counted over all environments"""
    episodes: int = 0
    """stop after this many finished episodes; 0: no limit"""

    # Sizes
    groups: int = 8
    """S, groups of discrete latents (official 32 [stoch]; 8 are enough for 4 numbers)"""
    classes: int = 8
    """K, classes per group (official size1m: 4)"""
    deter: int = 64
    """D, size of the recurrent state (official size1m: 512)"""
    blocks: int = 4
    """blocks of the block-diagonal recurrent layer; must divide --deter (official 8)"""
    hidden: int = 64
    """width of the hidden layers (official size1m: 64 [units])"""
    rssm_hidden: int = 32
    """width of the hidden layers inside the RSSM; 0: same as --hidden (official: as wide [dyn.rssm.hidden])"""
    encoder_layers: int = 3
    """layers of the encoder for numbers (official 3)"""
    decoder_layers: int = 3
    """layers of the decoder for numbers (official 3)"""
    head_layers: int = 3
    """layers of actor and critic (official 3)"""
    reward_layers: int = 1
    """layers of the reward head and of the continue head (official 1)"""
    core_layers: int = 1
    """layers between the inputs and the gates of the recurrent step (official 1 [dynlayers])"""
    prior_layers: int = 2
    """layers of the prior (official 2 [imglayers])"""
    posterior_layers: int = 1
    """layers of the posterior (official 1 [obslayers])"""
    depth: int = 4
    """base number of channels in the image encoder and decoder, multiplied by --mults (official size1m: 4)"""
    mults: tuple[int, ...] = (2, 3, 4, 4)
    """channel multipliers of the image layers, from the image inwards; small images use fewer (official 2 3 4 4)"""
    kernel: int = 5
    """kernel size of the convolutions, in pixels (official 5)"""
    bspace: int = 8
    """blocks of the decoder's first layer; fewer where they don't divide its sizes; 0: one dense layer (official 8)"""
    strided: bool = False
    """downsample with strided convolutions instead of max pooling (official False)"""
    bins: int = 63
    """bins of the two-hot reward and value heads (official 255; fewer are faster, and enough for values below 1,000)"""
    bin_limit: float = 10
    """symlog of the outermost bin: with 10 the bins reach ±22,025 (official 20: ±485 million)"""

    # World model
    unimix: float = 0.01
    """share of the uniform distribution mixed into each latent's probabilities (official 0.01)"""
    free_nats: float = 1
    """KL, in nats, below which a KL loss has no gradient (official 1)"""
    scale_reconstruction: float = 100
    """weight of the reconstruction loss (official 1 [rec]; small: 100, for a few numbers; pixels: 10)"""
    scale_reward: float = 1
    """weight of the reward loss (official 1 [rew])"""
    scale_continue: float = 1
    """weight of the continue loss (official 1 [con])"""
    scale_dyn: float = 1
    """weight of the dynamics KL, which trains the prior (official 1)"""
    scale_rep: float = 0.1
    """weight of the representation KL, which trains the posterior (official 0.1)"""

    # Actor and critic
    horizon: int = 15
    """H, imagined steps (official 15 [imag_length])"""
    imag_last: int = 2
    """start dreams from the last N steps of each sequence; 0: from every step (official 0)"""
    discount_horizon: float = 333
    """N, which sets the discount to 1 - 1/N; 333: 0.997 (official 333 [horizon])"""
    lam: float = 0.95
    """λ of the λ-returns, 0 to 1 (official 0.95)"""
    entropy: float = 3e-4
    """weight of the actor's entropy bonus (official 3e-4 [actent])"""
    min_std: float = 0.1
    """smallest standard deviation of a continuous action (official 0.1 [minstd])"""
    max_std: float = 1
    """largest standard deviation of a continuous action (official 1 [maxstd])"""
    slow_rate: float = 0.1
    """how far the slow critic moves towards the critic per train step, above 0, at most 1 (official 0.02)"""
    return_rate: float = 0.01
    """how far the return scale moves towards each batch's, above 0, at most 1 (official 0.01 [retnorm.rate])"""
    return_limit: float = 1
    """lower limit of the return scale (official 1 [retnorm.limit])"""
    return_low: float = 0.05
    """lower quantile of the return range (official 0.05 [retnorm.perclo])"""
    return_high: float = 0.95
    """upper quantile of the return range (official 0.95 [retnorm.perchi])"""
    scale_actor: float = 1
    """weight of the actor loss (official 1 [policy])"""
    scale_critic: float = 1
    """weight of the critic loss on dreams (official 1 [value])"""
    scale_replay_critic: float = 0.3
    """weight of the critic loss on replayed steps (official 0.3 [repval])"""

    # Optimizer
    world_lr: float = 1e-3
    """learning rate of the world model (official 4e-5 [lr], chosen for millions of steps)"""
    actor_lr: float = 6e-4
    """learning rate of the actor (official 4e-5 [lr])"""
    critic_lr: float = 3e-3
    """learning rate of the critic (official 4e-5 [lr])"""
    warmup: int = 100
    """train steps over which the learning rates rise from 0 (official 1000)"""
    clip: float = 0.3
    """gradient clipping: largest norm of a tensor's gradient, as a share of its weights' norm (official 0.3 [agc])"""
    clip_floor: float = 1e-3
    """gradient clipping: smaller weight norms count as this (official 1e-3 [pmin])"""
    beta1: float = 0.9
    """momentum, at least 0, below 1 (official 0.9)"""
    beta2: float = 0.999
    """decay of the average of squared gradients, at least 0, below 1 (official 0.999)"""
    epsilon: float = 1e-4
    """added to the RMS of the gradients (official 1e-20 [eps]; with 1e-4 an actor rests once it has learned)"""
    precision: str = "float32"
    """precision of matrix products and convolutions in train steps: float32, or bfloat16, the official default"""
    average: float = 0.25
    """evaluate with weights averaged over the latest train steps: this share of all so far; 0: off (official: off)"""

    # Experience
    batch_size: int = 64
    """B, sequences per train step (official 16; many short ones keep the slow loop over T short)"""
    seq_len: int = 8
    """T, steps per sequence (official 64 [batch_length]; the stored latents carry what came before)"""
    train_ratio: float = 1024
    """replayed steps per environment step (official 32 to 1024, depending on the task)"""
    replay_size: int = 100_000
    """capacity of the replay buffer in environment steps (official 5e6)"""
    online_queue: bool = False
    """put each new sequence into the next batch, once, before others are drawn (official true [replay.online])"""
    learn_start: int = 250
    """environment steps before the first train step"""
    replay_on_host: bool = False
    """on a GPU: keep the replay buffer in host memory; train steps can't be captured then"""
    envs: int = 1
    """environments stepped side by side (official 16; with 1, each failure is learned from before the next)"""
    workers: int = 0
    """worker processes for the environments: 0 or as many as --envs"""
    env_seconds: float = 0
    """longest time in seconds an environment may take for one step; 0: no limit"""

    # Evaluation, logging, saving
    log_every: int = 500
    """environment steps between rows of metrics.csv"""
    eval_every: int = 500
    """environment steps between evaluations; 0: only at the end"""
    eval_episodes: int = 100
    """episodes per evaluation; 20 once the task is solved, but for the last ones"""
    eval_envs: int = 16
    """most copies of the environment that an evaluation steps side by side"""
    eval_steps: int = 10_000
    """longest episode of an evaluation, in environment steps; a longer one is cut off there"""
    eval_in: str = "copies"
    """copies: evaluate in copies of the environment; training: in the training environment, between its episodes"""
    save_every: int = 500
    """environment steps between checkpoints"""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(Config).items():
            object.__setattr__(self, name, as_python(getattr(self, name)))
            check_kind(name, getattr(self, name), kind)
            check_range(name, getattr(self, name))
        if self.deter % self.blocks:
            raise Refused(f"deter must be divisible by blocks, got deter={self.deter} and blocks={self.blocks}")
        if self.min_std > self.max_std:
            raise Refused(f"min_std must not exceed max_std, got min_std={self.min_std}, max_std={self.max_std}")
        if self.return_low >= self.return_high:
            raise Refused(
                "return_low must be below return_high, got "
                f"return_low={self.return_low}, return_high={self.return_high}"
            )
        if self.imag_last == 1 or self.imag_last > self.seq_len:
            raise Refused(
                f"imag_last must be 0 or from 2 to seq_len, got imag_last={self.imag_last}, seq_len={self.seq_len}"
            )
        if self.seq_len + 1 > self.replay_size // self.envs:
            raise Refused(
                f"seq_len must fit the replay: seq_len={self.seq_len} needs replay_size of at least "
                f"{(self.seq_len + 1) * self.envs} for {self.envs} environments, got {self.replay_size}"
            )
        if 0 < self.pixels < 8:
            raise Refused(f"pixels must be 0, or at least 8 to be treated as an image, got {self.pixels}")
        if self.precision not in ("float32", "bfloat16"):
            raise Refused(f"precision must be float32 or bfloat16, got {self.precision!r}")
        if self.eval_in not in ("copies", "training"):
            raise Refused(f"eval_in must be copies or training, got {self.eval_in!r}")
        if self.eval_in == "training" and self.workers:
            raise Refused(
                f"--eval_in training needs the environment in this process; set --workers to 0, got {self.workers}"
            )
        if not self.mults:
            raise Refused("mults needs at least one number, got none; the official value is 2 3 4 4")
        if self.strided and self.kernel < 2:
            raise Refused(f"kernel must be at least 2 where convolutions are strided, got {self.kernel}")
        if self.workers not in (0, self.envs):
            raise Refused(
                f"workers must be 0 or equal to envs, one process each; got workers={self.workers} and envs={self.envs}"
            )

    @staticmethod
    def preset(name: str, *, lr: float | None = None, **changes: Any) -> "Config":
        """The preset `name`, with changes on top.

        lr: one learning rate for world model, actor and critic, as in the official code; `changes` may still name one
        of the three. Raises Refused for a name that is not in PRESETS, and for settings that don't exist.
        """
        if not isinstance(name, str) or name not in PRESETS:
            raise Refused(f"preset {name!r} is unknown; choose one of {', '.join(PRESETS)}")
        known = ["lr", *(setting.name for setting in fields(Config))]
        for word in changes.keys() - known:
            near = get_close_matches(word, known, 1)
            raise Refused(f"there is no setting {word!r}{f'; perhaps you mean {near[0]}' if near else ''}")
        return replace(Config(**PRESETS[name]), **(one_lr(lr) | changes))

    @property
    def loss_scales(self) -> dict[str, float]:
        """The weight of each loss, by its name."""
        return {name.removeprefix("scale_"): value for name, value in asdict(self).items() if name.startswith("scale_")}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def nearest_preset(self) -> str:
        """The name of the preset with the fewest settings that differ from these."""
        return min(PRESETS, key=lambda name: len(self.changes(Config(**PRESETS[name]))))

    def changes(self, before: "Config") -> dict[str, tuple[Any, Any]]:
        """The settings that differ, by name: their old and new values."""
        old, new = before.to_dict(), self.to_dict()
        return {name: (old[name], new[name]) for name in new if old[name] != new[name]}


def one_lr(lr: float | None) -> dict[str, float]:
    """The settings that give world model, actor and critic this learning rate; none if there is none."""
    if lr is None:
        return {}
    check_kind("lr", lr, float)
    check_range("lr", lr)
    return dict.fromkeys(("world_lr", "actor_lr", "critic_lr"), lr)


ZERO_IS_FINE = {
    "seed",
    "episodes",
    "rssm_hidden",
    "unimix",
    "free_nats",
    "imag_last",
    "lam",
    "entropy",
    "return_low",
    "warmup",
    "beta1",
    "beta2",
    "average",
    "learn_start",
    "eval_every",
    "pixels",
    "bspace",
    "workers",
    "env_seconds",
}  # and the weights of the losses
SMALLEST = 1e-30  # where a product of two settings is still above 0 in float32
BETWEEN = {  # lowest and highest
    "classes": (2, math.inf),
    "seq_len": (2, math.inf),
    "bins": (2, math.inf),
    "unimix": (0, 0.99),
    "lam": (0, 1),
    "slow_rate": (0, 1),
    "return_rate": (0, 1),
    "return_low": (0, 1),
    "return_high": (0, 1),
    "beta1": (0, 0.999999),
    "beta2": (0, 0.999999),
    "average": (0, 1),
    "bin_limit": (0, 80),
    "discount_horizon": (1.001, math.inf),
    "pixels": (0, 4096),
}


EMPTY_IS_FINE = {"wrap", "see", "ignore"}


def check_kind(name: str, value: Any, kind: type) -> None:
    if kind is str and not (isinstance(value, str) and (value or name in EMPTY_IS_FINE)):
        raise Refused(f"{name} must be {'' if name in EMPTY_IS_FINE else 'non-empty '}text, got {value!r}")
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple):
            raise Refused(f"{name} must be a tuple, got {value!r}")
        for part in value:
            check_kind(name, part, get_args(kind)[0])
    if kind is bool and type(value) is not bool:
        raise Refused(f"{name} must be true or false, got {value!r}")
    if (
        kind is int
        and type(value) is not int
        or kind is float
        and (isinstance(value, bool) or not isinstance(value, (int, float)))
    ):
        raise Refused(f"{name} must be a {'whole ' if kind is int else ''}number, got {value!r}")


def as_python(value: Any) -> Any:
    """A setting as a checkpoint can hold it: NumPy's numbers and text as Python's, a list, as in JSON, as a tuple."""
    if hasattr(value, "item") and not getattr(value, "shape", None):
        return value.item()
    return tuple(map(as_python, value)) if isinstance(value, (list, tuple)) else value


def check_range(name: str, value: Any) -> None:
    if isinstance(value, tuple):
        for part in value:
            check_range(name, part)
    if isinstance(value, (str, bool, tuple)):
        return
    low, high = BETWEEN.get(name, (-math.inf, math.inf))
    zero_is_fine = name in ZERO_IS_FINE or name.startswith("scale_")
    if not abs(value) < TOO_LARGE:
        raise Refused(f"{name} must be a finite number below 2^40, got {value!r}")
    if value < 0 or value == 0 and not zero_is_fine:
        raise Refused(f"{name} must be {'0 or more' if zero_is_fine else 'positive'}, got {value}")
    if 0 < value < SMALLEST:
        raise Refused(f"{name} must be at least {SMALLEST:g}{' or 0' if zero_is_fine else ''}, got {value}")
    if value < low or value > high:
        words = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise Refused(f"{name} must be {words}, got {value}")


def official(deter: int, hidden: int, classes: int, depth: int) -> dict[str, Any]:
    """A model size of `dreamerv3/configs.yaml`, with its learning rates, warm-up, batch shape and discount.

    The replay ratio is 256, as in official tasks with few steps, and the replay buffer is smaller, to fit a laptop.
    """
    sizes = dict(
        deter=deter,
        hidden=hidden,
        rssm_hidden=0,
        classes=classes,
        depth=depth,
        groups=32,
        blocks=8,
        bins=255,
        bin_limit=20,
    )
    rates = dict(**one_lr(4e-5), warmup=1000, epsilon=1e-20, slow_rate=0.02, scale_reconstruction=1, average=0)
    data = dict(
        batch_size=16,
        seq_len=64,
        imag_last=0,
        discount_horizon=333,
        train_ratio=256,
        online_queue=True,
        learn_start=2048,  # B · T + envs · T, as the official replay buffer must hold B · T sequences
        envs=16,
    )
    return sizes | rates | data | dict(steps=1_000_000, log_every=1000, eval_every=10_000, save_every=20_000)


PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    "cpu": {},  # the old name of `small`, from before it ran on GPUs
    # For other environments than CartPole: with less curiosity, some actors settle before they have seen better.
    "general": dict(entropy=3e-3),
    # Where launches cost more than arithmetic, larger networks and batches take hardly any longer.
    "gpu": dict(
        deter=256,
        hidden=256,
        rssm_hidden=128,
        groups=16,
        classes=16,
        blocks=8,
        batch_size=64,
        seq_len=16,
        discount_horizon=100,
        world_lr=5e-4,
        actor_lr=3e-4,
        critic_lr=1e-3,
    ),
    # The settings of the repository this project grew from, with the method as it is here.
    "original": dict(
        deter=512,
        hidden=512,
        rssm_hidden=0,
        groups=32,
        classes=32,
        blocks=8,
        bins=255,
        bin_limit=20,
        batch_size=250,
        seq_len=50,
        imag_last=0,
        discount_horizon=100,
        **one_lr(3e-4),
        epsilon=1e-20,
        learn_start=500,
        envs=8,
    ),
    # Images: half as many steps in a batch, since each takes a hundred times the arithmetic of four numbers.
    "pixels": dict(
        deter=128,
        hidden=128,
        rssm_hidden=64,
        blocks=8,
        groups=16,
        batch_size=32,
        train_ratio=256,
        scale_reconstruction=10,  # with 1, what is small in the image, such as a pole, is learned late
        entropy=0.01,  # images are learned slowly; with less, the actor settles before it can be right
        actor_lr=3e-4,
        learn_start=1000,  # with 500, an actor may never try what succeeded in none of its few random episodes
        replay_size=50_000,
        eval_episodes=20,
        save_every=1000,
    ),
    "size1m": official(512, 64, 4, 4),
    "size12m": official(2048, 256, 16, 16),
    "size25m": official(3072, 384, 24, 24),
    "size50m": official(4096, 512, 32, 32),
    "size100m": official(6144, 768, 48, 48),
    "size200m": official(8192, 1024, 64, 64),
    # Runs through every line in seconds; learns nothing.
    "debug": dict(
        deter=8,
        blocks=2,
        hidden=8,
        rssm_hidden=4,
        groups=2,
        classes=4,
        encoder_layers=1,
        decoder_layers=1,
        head_layers=1,
        batch_size=2,
        seq_len=8,
        horizon=3,
        imag_last=4,
        train_ratio=1,
        learn_start=64,
        steps=400,
        envs=2,
        log_every=200,
        eval_every=200,
        eval_episodes=2,
        replay_size=1000,
        save_every=100,
    ),
}
