"""Frozen configuration records and named presets.

Every field name is unique across the records, so an override needs no path:
`preset("world32", steps=500, style_dim=8, image_weight=0.0)`. Nothing here needs torch: the command line shows its
help from these records alone.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tyro


@dataclass(frozen=True)
class DataConfig:
    """Where the two domains come from."""

    dataset: Literal["world", "fashion", "folder"] = "folder"
    """The known world, edges and photos of Fashion-MNIST, or folders of images."""
    size: int = 256
    """Height and width of the training images in pixels."""
    variant: Literal["standard", "two_shapes", "different_frequencies", "cyclic", "correlated"] = "standard"
    """Variant of the known world."""
    data_root: str = ""
    """Folder that holds the data sets; empty: the environment variable MUNIT_LITE_DATA, else ./data/downloads."""
    folder: str = ""
    """Folder with trainA and trainB (testA and testB), lists of files, or train with pictures of pairs; a path, or a
    name below the data root."""
    folder_1: str = ""
    """Instead of it: a folder of images of domain 1, or a text file that lists them; every tenth is held out."""
    folder_2: str = ""
    """The same for domain 2."""
    swap: bool = False
    """Exchange the two domains of the folders: B, or the right half, becomes domain 1."""
    cache_gib: float = 1.0
    """For folders: memory for decoded images in GiB; what does not fit is read again when it is needed."""
    paired: bool = False
    """Train on true pairs, for the paired upper bound BicycleGAN: the known world and Fashion-MNIST have them."""
    fashion_classes: tuple[int, ...] = (9, 8)
    """For `fashion`: classes used (9 ankle boot, 8 bag, 7 sneaker, 5 sandal, …)."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the networks (paper, appendix B); the preset paper256 has the paper's."""

    width: int = 64
    """Channels after the first convolution of encoders and before the last of decoders."""
    downsamples: int = 2
    """Stride-2 convolutions of the content encoder."""
    style_downsamples: int = 4
    """Stride-2 convolutions of the style encoder."""
    blocks: int = 4
    """Residual blocks in the content encoder, and in the decoder."""
    style_dim: int = 8
    """Length of the style code."""
    mlp_width: int = 256
    """Hidden units of the AdaIN MLP."""
    equal_start: bool = False
    """Both auto-encoders begin with the same weights, so that a content means the same to both from the start."""
    discriminator_width: int = 64
    """Channels after the discriminator's first layer."""
    discriminator_layers: int = 4
    """Stride-2 layers of each discriminator."""
    discriminator_scales: int = 3
    """Copies of the image, each half the side of the one before, with a discriminator each."""
    discriminator_init: Literal["gaussian", "kaiming"] = "gaussian"
    """First weights of the discriminators: N(0, 0.02) like the original's; with kaiming small ones learn sooner."""


@dataclass(frozen=True)
class LossConfig:
    """The adversarial family and the weight of each term (paper, equation 5)."""

    gan: Literal["lsgan", "log", "hinge"] = "lsgan"
    """Form of the adversarial loss."""
    gan_weight: float = 1.0
    """Weight of the adversarial loss."""
    image_weight: float = 10.0
    """lambda_x: weight of the image reconstruction."""
    content_weight: float = 1.0
    """lambda_c: weight of the content reconstruction."""
    style_weight: float = 1.0
    """lambda_s: weight of the style reconstruction."""
    cycle_weight: float = 0.0
    """Weight of the explicit style-augmented cycle consistency (0: not computed)."""
    perceptual_weight: float = 0.0
    """Weight of the domain-invariant perceptual loss (0: not computed; needs VGG16 weights)."""
    kl_weight: float = 0.0
    """For UNIT and BicycleGAN: weight of the divergence of encoded codes from the prior N(0, I)."""
    penalty: float = 0.0
    """Weight of the discriminators' gradient penalty on real images, R1 (0: not computed)."""
    penalty_every: int = 4
    """Steps between two penalties; each counts that many times as much."""

    def weights(self) -> dict[str, float]:
        """Weight for each kind of term: gan, image, content, style, cycle, perceptual, kl."""
        return {
            f.name.removesuffix("_weight"): getattr(self, f.name) for f in fields(self) if f.name.endswith("_weight")
        }


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam and its schedule; the preset paper256 has the original's."""

    learning_rate: float = 1e-4
    """Learning rate of the auto-encoders."""
    discriminator_rate: float = 1.0
    """Learning rate of the discriminators as a multiple of it."""
    discriminator_updates: int = 1
    """Updates of the discriminators in a step, on the same images; more let small ones keep up in a short run."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's decay rates."""
    weight_decay: float = 1e-4
    """L2 penalty inside Adam."""
    schedule: Literal["step", "cosine"] = "step"
    """`step`: multiply by a half every `decay_every` steps. `cosine`: warm up, then fall to zero at the last step."""
    decay_every: int = 100_000
    """Steps between two halvings of the rate, for `step`."""
    ema_decay: float = 0.999
    """Decay of the averaged weights that sampling and evaluation use."""


@dataclass(frozen=True)
class Config:
    """Everything a run depends on."""

    name: tyro.conf.Suppress[str]
    """Name of the preset it began from."""
    method: Literal["munit", "unit", "cyclegan", "cyclegan_noise", "bicyclegan"] = "munit"
    """MUNIT, or a baseline on the same networks; the presets named after it give it its weights."""
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    seed: int = 0
    """Seed of weights, batches and styles."""
    steps: int = 1_000_000
    """Training steps."""
    batch_size: int = 1
    """Images of each domain in a step, of all processes together."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto: a GPU if there is one."""
    precision: Literal["32-true", "tf32", "bf16-mixed"] = "32-true"
    """Arithmetic: fp32; fp32 with products in tf32 on a GPU; products in bf16 with statistics and losses in fp32."""
    compiled: bool = False
    """Let torch compile the networks: minutes at the start, then a GPU is faster. On a CPU it is slower."""
    recompute: bool = False
    """Keep no activations inside blocks, compute them again for the gradient: less memory, more time."""
    accumulate: int = 1
    """Parts that each process computes a step's batch in, one after the other: less memory, more time."""
    threads: int = 0
    """Torch's CPU threads (0: leave as they are)."""
    log_every: int = 20
    """Steps between two records of the losses."""
    sample_every: int = 500
    """Steps between two sample sheets."""
    save_every: int = 500
    """Steps between two saves of the state a run resumes from."""
    keep: int = 5
    """Sampling weights kept along the run, evenly spaced (for curves of quality against training)."""

    def __post_init__(self) -> None:
        _check(self)


LARGEST_SEED = 10**12  # what is drawn at a step takes a million times as much
PRESETS: dict[str, Config] = {}


def _preset(name: str, /, **overrides: Any) -> None:
    PRESETS[name] = override(Config(name=name), **overrides)


def override(config: Config, /, **values: Any) -> Config:
    """A copy of a configuration with fields replaced, wherever they live.

    Raises:
        ValueError: an unknown field (the known ones are listed) or a value out of range.
    """
    home = _homes()
    unknown = sorted(set(values) - set(home))
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}; known: {', '.join(sorted(home))}")
    by_record: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        by_record.setdefault(home[name], {})[name] = value
    changes: dict[str, Any] = by_record.pop("", {})
    for record, inner in by_record.items():
        changes[record] = replace(getattr(config, record), **inner)
    return replace(config, **changes)


def preset(name: str, /, **overrides: Any) -> Config:
    """A named configuration.

    Args:
        name: a name in `PRESETS`.
        **overrides: any field of any record, by its own name.

    Raises:
        ValueError: an unknown name or field; the message lists the known ones.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    return override(PRESETS[name], **overrides)


def to_dict(config: Config) -> dict[str, Any]:
    """Nested plain values, ready for JSON."""
    return dataclasses.asdict(config)


def from_dict(values: dict[str, Any]) -> Config:
    """The inverse of `to_dict`, also from JSON (lists become tuples)."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(value if isinstance(value, dict) else {key: value})
    name = flat.pop("name")
    return override(Config(name=name), **{k: tuple(v) if isinstance(v, list) else v for k, v in flat.items()})


_RECORDS = {"data": DataConfig, "network": NetworkConfig, "loss": LossConfig, "optimiser": OptimiserConfig}


def _homes() -> dict[str, str]:
    """Field name -> the record it lives in ("" for Config itself)."""
    home = {f.name: "" for f in fields(Config) if f.name not in (*_RECORDS, "name")}
    for record, kind in _RECORDS.items():
        home.update({f.name: record for f in fields(kind)})
    return home


def smallest_side(network: NetworkConfig) -> int:
    """In pixels: the first convolution mirrors 3 pixels of an image, those of the content mirror one."""
    return max(4, 2 ** (network.downsamples + 1))


def _choices(config: Config) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Field name -> its value and those it may take, for the fields that name one of several."""
    found = {}
    for record in (config, *(getattr(config, name) for name in _RECORDS)):
        for name, kind in get_type_hints(type(record)).items():
            if get_origin(kind) is Literal:
                found[name] = getattr(record, name), get_args(kind)
    return found


def _check(config: Config) -> None:
    data, network, loss, optimiser = config.data, config.network, config.loss, config.optimiser
    for name, (value, choices) in _choices(config).items():
        if value not in choices:
            raise ValueError(f"{name} {value!r} is not one of {', '.join(choices)}")
    counts = {"size": data.size, "steps": config.steps, "batch_size": config.batch_size, "log_every": config.log_every}
    counts |= {"penalty_every": loss.penalty_every, "accumulate": config.accumulate}
    counts |= {"discriminator_updates": optimiser.discriminator_updates, "decay_every": optimiser.decay_every}
    counts |= {"sample_every": config.sample_every, "save_every": config.save_every}
    counts |= {f.name: getattr(network, f.name) for f in fields(network) if f.type == "int"}
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{name} is {count!r}, but it must be a whole number of 1 or more")
    for name, count in {"keep": config.keep, "threads": config.threads}.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError(f"{name} is {count!r}, but it must be a whole number of 0 or more")
    if not isinstance(config.seed, int) or abs(config.seed) > LARGEST_SEED:
        raise ValueError(f"seed is {config.seed!r}, but it must be a whole number between ± {LARGEST_SEED:,}")
    weights = {f"{kind}_weight": weight for kind, weight in loss.weights().items()} | {"penalty": loss.penalty}
    for name, weight in weights.items():
        if not weight >= 0:
            raise ValueError(f"{name} is {weight}, but a weight is 0 or more")
    if data.paired and data.dataset == "folder":
        raise ValueError("paired training needs data of true pairs, the known world or fashion, not folders")
    if config.method == "bicyclegan" and not data.paired:
        raise ValueError("method is bicyclegan, which learns from true pairs: set paired, or begin from its presets")
    if not data.cache_gib >= 0:
        raise ValueError(f"cache_gib is {data.cache_gib}, but memory is 0 or more")
    for name, rate in (
        ("learning_rate", optimiser.learning_rate),
        ("discriminator_rate", optimiser.discriminator_rate),
    ):
        if not 0 < rate < math.inf:
            raise ValueError(f"{name} is {rate}, but it must be above 0")
    if not 0 <= optimiser.ema_decay < 1:
        raise ValueError(f"ema_decay is {optimiser.ema_decay}, but it must be in [0, 1)")
    if data.size % 2**network.downsamples:
        raise ValueError(
            f"size {data.size} is not divisible by {2**network.downsamples}: the content encoder halves the side "
            f"{network.downsamples} times"
        )
    if data.size < (least := smallest_side(network)):
        raise ValueError(f"size {data.size} is below {least}: reflect padding has nothing to mirror; lower downsamples")
    if data.size < 2**network.style_downsamples:
        raise ValueError(
            f"size {data.size} is below {2**network.style_downsamples}: the style encoder halves the side "
            f"{network.style_downsamples} times; lower style_downsamples"
        )
    smallest = 2 ** (network.discriminator_layers + network.discriminator_scales - 1)
    if data.size < smallest:
        raise ValueError(
            f"size {data.size} is below {smallest}: {network.discriminator_layers} discriminator layers at "
            f"{network.discriminator_scales} scales halve the side until reflect padding has nothing to mirror; "
            "lower discriminator_layers or discriminator_scales"
        )


# ------------------------------------------------------------------------------------------------------ presets

_preset("paper256")

# The known world has three style factors a domain: a continuous inverse needs style_dim 3.
_WORLD = {"dataset": "world", "style_dim": 3, "learning_rate": 1e-3, "schedule": "cosine"}
# Minutes on two cores. Measured there: the discriminator is what learns too late, and the cycle is what keeps a ring
# from becoming a disc. Two updates a step at twice the usual rate let the discriminator keep up, the gradient penalty
# keeps it smooth where it wins. Without an equal start a run may settle on painting discs as rings and rings as discs.
# One downsampling and two blocks keep the outline in the content.
_MINUTES = {
    "size": 32,
    "steps": 1600,
    "batch_size": 8,
    "width": 16,
    "downsamples": 1,
    "style_downsamples": 3,
    "blocks": 2,
    "mlp_width": 64,
    "equal_start": True,
    "discriminator_width": 32,
    "discriminator_layers": 4,
    "discriminator_scales": 1,
    "discriminator_init": "kaiming",
    "discriminator_updates": 2,
    "gan": "log",
    "penalty": 0.02,
    "cycle_weight": 10.0,
    "learning_rate": 2e-3,
    "betas": (0.0, 0.99),
    "schedule": "cosine",
    "ema_decay": 0.995,
}
_preset("world32", **_WORLD | _MINUTES)
_preset("world64", **_WORLD, width=32, mlp_width=128, discriminator_width=32, size=64, steps=100_000, batch_size=16)
_preset("world128", **_WORLD, size=128, steps=200_000, batch_size=8)
_preset("fashion32", **_MINUTES, dataset="fashion")
_preset(
    "apples2citrus",
    **_MINUTES
    | {"dataset": "folder", "folder": "apples2citrus", "size": 64, "downsamples": 2, "style_downsamples": 4}
    | {"batch_size": 4, "steps": 2500},
)
_preset("folder64", width=32, discriminator_width=32, size=64, steps=100_000, batch_size=8)
_preset("folder128", size=128, steps=200_000, batch_size=4)

# The baselines of the paper's table: the same networks, data and steps, the terms and weights of their own papers.
_BASELINES: dict[str, dict[str, Any]] = {
    "unit": {"image_weight": 10.0, "cycle_weight": 10.0, "kl_weight": 0.01},
    "cyclegan": {"image_weight": 0.0, "cycle_weight": 10.0},
    "cyclegan_noise": {"image_weight": 0.0, "cycle_weight": 10.0},
    "bicyclegan": {"image_weight": 10.0, "cycle_weight": 0.0, "style_weight": 0.5, "kl_weight": 0.01, "paired": True},
}
for _data in ("world32", "world64", "fashion32", "apples2citrus"):
    for _method, _weights in _BASELINES.items():
        if _weights.get("paired") and PRESETS[_data].data.dataset == "folder":
            continue  # no true pairs there
        _own = {"content_weight": 0.0, "style_weight": 0.0} | _weights
        _named = replace(PRESETS[_data], name=f"{_data}_{_method}")
        PRESETS[_named.name] = override(_named, method=_method, **_own)
