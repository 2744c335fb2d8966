"""The configuration of a run: frozen dataclasses whose fields state what they mean and which values they accept.

Every field name is unique across the dataclasses, so an override needs no path:
`override(config, steps=500, style_dim=8, image_weight=0.0)`. Nothing here needs torch: the command line shows its help
from these dataclasses alone. `presets.py` holds the named configurations.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
Precision: TypeAlias = Literal["32-true", "tf32", "bf16-mixed"]
LARGEST_SEED = 10**12  # the counter of a step's random numbers grows a million times as fast

# ------------------------------------------------------------------------------- constraints, stated beside each field


def _checked(default: Any, accepts: Callable[[Any], bool], meaning: str) -> Any:
    """Return a field with a default and the values it accepts; `meaning` completes "but it must be ..."."""
    return field(default=default, metadata={"accepts": accepts, "meaning": meaning})


def _whole(default: int, least: int = 1) -> Any:
    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    return _checked(default, accepts, f"a whole number of {least} or more")


def _is_seed(value: Any) -> bool:
    return isinstance(value, int) and abs(value) <= LARGEST_SEED


def _weight(default: float) -> Any:
    return _checked(default, lambda value: value >= 0, "0 or more")


def _rate(default: float) -> Any:
    return _checked(default, lambda value: 0 < value < math.inf, "above 0 and finite")


# ----------------------------------------------------------------------------------------------------- dataclasses


@dataclass(frozen=True)
class DataConfig:
    """Where the two domains come from."""

    dataset: Literal["world", "fashion", "folder"] = "folder"
    """The known world, edges and photos of Fashion-MNIST, or folders of images."""
    image_size: int = _whole(256)
    """Height and width of the training images in pixels."""
    world_variant: Literal["standard", "two_shapes", "different_frequencies", "cyclic", "correlated", "laboratory"] = (
        "standard"
    )
    """Variant of the known world; `laboratory` has larger shapes and is meant for 16 px."""
    data_root: str = ""
    """Folder that holds the data sets; empty: the environment variable MUNIT_LITE_DATA, else ./data/downloads."""
    folder: str = ""
    """Folder with trainA and trainB (testA and testB), lists of files, or train with pictures of pairs; a path, or a
    name below the data root."""
    folder_1: str = ""
    """Instead of folder: the images of domain 1, a folder or a text file that lists them; every tenth is held out."""
    folder_2: str = ""
    """The same for domain 2."""
    swap: bool = False
    """Exchange the two domains of the folders: B, or the right half, becomes domain 1."""
    cache_gib: float = _weight(1.0)
    """For folders: memory for decoded images in GiB; what does not fit is read again when it is needed."""
    paired: bool = False
    """Train on true pairs, for the paired upper bound BicycleGAN: the known world and Fashion-MNIST have them."""
    fashion_classes: tuple[int, ...] = (9, 8)
    """For `fashion`: classes used (9 ankle boot, 8 bag, 7 sneaker, 5 sandal, …)."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the networks (paper, appendix B); the preset paper256 has the paper's."""

    base_channels: int = _whole(64)
    """Channels after the first convolution of encoders and before the last of decoders."""
    num_downsamples: int = _whole(2)
    """Stride-2 convolutions of the content encoder."""
    num_style_downsamples: int = _whole(4)
    """Stride-2 convolutions of the style encoder."""
    num_residual_blocks: int = _whole(4)
    """Residual blocks in the content encoder, and in the decoder."""
    style_dim: int = _whole(8)
    """Length of the style code."""
    mlp_width: int = _whole(256)
    """Hidden units of the AdaIN MLP."""
    same_initial_weights: bool = False
    """Both autoencoders start from the same weights, so that a content code means the same to both from the start."""
    discriminator_base_channels: int = _whole(64)
    """Channels after the discriminator's first layer."""
    discriminator_layers: int = _whole(4)
    """Stride-2 layers of each discriminator."""
    discriminator_scales: int = _whole(3)
    """Copies of the image, each half the side of the one before, with a discriminator each."""
    discriminator_init: Literal["gaussian", "kaiming"] = "gaussian"
    """Weight initialization of the discriminators: `gaussian` is N(0, 0.02²), as in the original; with `kaiming` small
    discriminators learn faster."""
    minibatch_std_group: int = _checked(
        0, lambda value: isinstance(value, int) and (value == 0 or value >= 2), "0, or a whole number of 2 or more"
    )
    """Group size of the minibatch standard deviation (Karras et al., 2018) that the discriminators see beside their
    features; 0: none, as in the paper. The batch, or each micro-batch, must be a multiple of it."""


@dataclass(frozen=True)
class LossConfig:
    """The adversarial family and the weight of each term (paper, equation 5)."""

    gan_mode: Literal["lsgan", "nonsaturating", "hinge"] = "lsgan"
    """Form of the adversarial loss."""
    gan_weight: float = _weight(1.0)
    """Weight of the adversarial loss."""
    image_weight: float = _weight(10.0)
    """lambda_x: weight of the image reconstruction."""
    content_weight: float = _weight(1.0)
    """lambda_c: weight of the content reconstruction."""
    style_weight: float = _weight(1.0)
    """lambda_s: weight of the style reconstruction."""
    cycle_weight: float = _weight(0.0)
    """Weight of the explicit style-augmented cycle consistency (0: not computed)."""
    detach_style: bool = False
    """For MUNIT: keep the gradients of the image reconstruction and of the cycle loss from the style encoders, so that
    equation 3 alone teaches them."""
    kl_weight: float = _weight(0.0)
    """For UNIT and BicycleGAN: weight of the divergence of encoded codes from the prior N(0, I)."""
    r1_weight: float = _weight(0.0)
    """Weight of R1, the gradient penalty of the discriminators on real images (0: not computed)."""
    r1_interval: int = _whole(4)
    """Steps between two computations of R1, whose weight is multiplied by this number."""

    def weights(self) -> dict[str, float]:
        """Return the weight of each loss: gan, image, content, style, cycle, kl."""
        return {
            f.name.removesuffix("_weight"): getattr(self, f.name)
            for f in fields(self)
            if f.name.endswith("_weight") and f.name != "r1_weight"
        }


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam and its schedule; the preset paper256 has the original's."""

    learning_rate: float = _rate(1e-4)
    """Learning rate of the autoencoders."""
    discriminator_lr_ratio: float = _rate(1.0)
    """Learning rate of the discriminators divided by that of the autoencoders."""
    discriminator_updates: int = _whole(1)
    """Updates of the discriminators in a step, on the same images; in a short run small discriminators need several."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's decay rates."""
    weight_decay: float = 1e-4
    """L2 penalty inside Adam."""
    schedule: Literal["step", "cosine"] = "step"
    """`step`: multiply by a half every `decay_every` steps. `cosine`: warm up, then fall to zero at the last step."""
    decay_every: int = _whole(100_000)
    """Steps between two halvings of the rate, for `step`."""
    ema_decay: float = _checked(0.999, lambda value: 0 <= value < 1, "in [0, 1)")
    """Decay of the averaged weights that sampling and evaluation use."""


@dataclass(frozen=True)
class Config:
    """Everything a run depends on."""

    preset: str
    """Name of the preset it began from."""
    method: Literal["munit", "unit", "cyclegan", "cyclegan_noise", "cyclegan_input_noise", "bicyclegan"] = "munit"
    """MUNIT, or a baseline on the same networks; the presets named after it give it its weights."""
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    seed: int = _checked(0, _is_seed, f"a whole number between ± {LARGEST_SEED:,}")
    """Seed of weights, batches and styles."""
    steps: int = _whole(1_000_000)
    """Training steps."""
    batch_size: int = _whole(1)
    """Images of each domain in a step, of all processes together."""
    device: Device = "auto"
    """Where to compute; auto: a GPU if there is one."""
    precision: Precision = "32-true"
    """Arithmetic: fp32; fp32 with products in tf32 on a GPU; products in bf16 with statistics and losses in fp32."""
    compile: bool = False
    """Let torch compile the networks: minutes at the start, then a GPU is faster. On a CPU it is slower."""
    activation_checkpointing: bool = False
    """Recompute the activations inside blocks in the backward pass: less memory, more time."""
    grad_accumulation: int = _whole(1)
    """Micro-batches into which each process splits a batch, computed one after the other: less memory, more time."""
    num_threads: int = _whole(0, least=0)
    """Torch's CPU threads (0: leave as they are)."""
    log_every: int = _whole(20)
    """Steps between two records of the losses."""
    sample_every: int = _whole(500)
    """Steps between two sample sheets."""
    save_every: int = _whole(500)
    """Steps between two saves of the state a run resumes from."""
    num_checkpoints: int = _whole(5, least=0)
    """Checkpoints of the averaged weights that stay in the run folder, evenly spaced over the run."""

    def __post_init__(self) -> None:
        _check_fields(self)
        _check_pairing(self)
        check_group(self.batch_size, self.network.minibatch_std_group)
        check_size(self.data.image_size, self.network)
        _check_discriminator_size(self.data.image_size, self.network)


# ------------------------------------------------------------------------------------------------------ overrides

# Names under which older run folders, checkpoints, sweep files and result files hold a field.
OLD_NAMES = {
    "gan": "gan_mode",
    "size": "image_size",
    "variant": "world_variant",
    "width": "base_channels",
    "discriminator_width": "discriminator_base_channels",
    "downsamples": "num_downsamples",
    "style_downsamples": "num_style_downsamples",
    "blocks": "num_residual_blocks",
    "threads": "num_threads",
    "name": "preset",
    "equal_start": "same_initial_weights",
    "penalty": "r1_weight",
    "penalty_every": "r1_interval",
    "discriminator_rate": "discriminator_lr_ratio",
    "compiled": "compile",
    "recompute": "activation_checkpointing",
    "accumulate": "grad_accumulation",
    "keep": "num_checkpoints",
}
# Old name of a field and a value that only older files have -> the value's name of today.
OLD_VALUES = {("gan", "log"): "nonsaturating"}
# Fields of older files that no longer exist, with the only value that still means something.
REMOVED = {"perceptual_weight": 0.0}


def override(config: Config, /, **values: Any) -> Config:
    """Copy a configuration with some fields replaced, whichever dataclass they belong to.

    Args:
        config: the configuration to start from.
        **values: new values by field name; names in `OLD_NAMES` are accepted, too, with the values of their time.

    Raises:
        ValueError: an unknown field (the message lists the known ones) or a value that the field does not accept.

    Example:
        >>> override(Config(preset="mine"), steps=500, style_dim=3).network.style_dim
        3
    """
    home = _homes()
    by_record: dict[str, dict[str, Any]] = {}
    for old_name, value in values.items():
        name = OLD_NAMES.get(old_name, old_name)
        if name in REMOVED and value == REMOVED[name]:
            continue
        if name not in home:
            raise ValueError(f"unknown field {old_name!r}; known: {', '.join(sorted(home))}")
        by_record.setdefault(home[name], {})[name] = OLD_VALUES.get((old_name, str(value)), value)
    changes: dict[str, Any] = by_record.pop("", {})
    for record, inner in by_record.items():
        changes[record] = replace(getattr(config, record), **inner)
    return replace(config, **changes)


def to_dict(config: Config) -> dict[str, Any]:
    """Convert a configuration to nested plain values, ready for JSON."""
    return dataclasses.asdict(config)


def from_dict(values: dict[str, Any]) -> Config:
    """Convert plain values back to a configuration; the inverse of `to_dict`, also for files with old field names.

    Args:
        values: as `to_dict` returns them, or as they come back from JSON, with lists in place of tuples.

    Raises:
        ValueError: a field is unknown, or has a value that it does not accept.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(value if isinstance(value, dict) else {key: value})
    preset = flat.pop(next(key for key in flat if OLD_NAMES.get(key, key) == "preset"))
    return override(Config(preset=preset), **{k: tuple(v) if isinstance(v, list) else v for k, v in flat.items()})


_RECORDS = {"data": DataConfig, "network": NetworkConfig, "loss": LossConfig, "optimizer": OptimizerConfig}


def _homes() -> dict[str, str]:
    """Map each field name to the dataclass it belongs to ("" for Config itself)."""
    home = {f.name: "" for f in fields(Config) if f.name not in (*_RECORDS, "preset")}
    for record, kind in _RECORDS.items():
        home.update({f.name: record for f in fields(kind)})
    return home


# --------------------------------------------------------------------------------------------------------- checks


def _check_fields(config: Config) -> None:
    """Check each field against its type's choices and against the constraint that stands beside it."""
    for name, value, choices in _choices(config):
        if value not in choices:
            raise ValueError(f"{name} {value!r} is not one of {', '.join(choices)}")
    for record in (config, *(getattr(config, name) for name in _RECORDS)):
        for f in fields(record):
            value = getattr(record, f.name)
            if "accepts" in f.metadata and not f.metadata["accepts"](value):
                raise ValueError(f"{f.name} is {value!r}, but it must be {f.metadata['meaning']}")


def _choices(config: Config) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Yield name, value and accepted values of each field that names one of several."""
    for record in (config, *(getattr(config, name) for name in _RECORDS)):
        for name, kind in get_type_hints(type(record)).items():
            if get_origin(kind) is Literal:
                yield name, getattr(record, name), get_args(kind)


def _check_pairing(config: Config) -> None:
    if config.data.paired and config.data.dataset == "folder":
        raise ValueError("paired training needs data of true pairs, the known world or fashion, not folders")
    if config.method == "bicyclegan" and not config.data.paired:
        raise ValueError("method is bicyclegan, which learns from true pairs: set paired, or start from its presets")


def check_folders(data: DataConfig) -> None:
    """Refuse images of the user's own beside a dataset that would ignore them.

    Args:
        data: of a new configuration; old run folders may hold such fields.

    Raises:
        ValueError: a folder, or `swap`, is set, but the dataset is not `folder`.
    """
    unused = [name for name in ("folder", "folder_1", "folder_2", "swap") if getattr(data, name)]
    if unused and data.dataset != "folder":
        raise ValueError(
            f"{unused[0]} is {getattr(data, unused[0])!r}, but dataset is {data.dataset!r}, which reads no folder of "
            "yours: start from a preset that does, such as folder64"
        )


def check_group(images: int, group: int) -> None:
    """Check that the images of a batch can be divided into groups for the minibatch standard deviation.

    Args:
        images: in a batch, or in a micro-batch.
        group: `minibatch_std_group`.

    Raises:
        ValueError: the number of images is no multiple of the group.
    """
    if group and images % group:
        raise ValueError(
            f"a discriminator sees {images} images at a time, but it compares groups of {group}: set "
            f"minibatch_std_group to a divisor of {images} (0 switches it off), or choose another batch_size"
        )


def smallest_size(network: NetworkConfig) -> int:
    """Return the smallest image side in pixels that the content encoder accepts, because of its reflect padding.

    The first convolution mirrors 3 pixels of the image, the residual blocks mirror 1 pixel of the content code.
    """
    return 2 ** (network.num_downsamples + 1)


def check_size(size: int, network: NetworkConfig) -> None:
    """Check that encoders of these sizes can encode square images of a side, in pixels.

    Raises:
        ValueError: the side is too small for an encoder, or not divisible by the stride of the content encoder.
    """
    stride, style_stride = 2**network.num_downsamples, 2**network.num_style_downsamples
    if size < (least := max(smallest_size(network), style_stride)):
        reason = (
            f"the style encoder halves the side {network.num_style_downsamples} times; lower num_style_downsamples"
            if least == style_stride
            else "reflect padding has nothing to mirror; lower num_downsamples"
        )
        raise ValueError(f"image_size {size} is below {least}: {reason}, or raise image_size")
    if size % stride:
        lower = size // stride * stride
        raise ValueError(
            f"image_size {size} is not divisible by {stride}: the content encoder halves the side "
            f"{network.num_downsamples} times; use {lower} or {lower + stride}"
        )


def _check_discriminator_size(size: int, network: NetworkConfig) -> None:
    if size < (least := 2 ** (network.discriminator_layers + network.discriminator_scales - 1)):
        raise ValueError(
            f"image_size {size} is below {least}: {network.discriminator_layers} discriminator layers at "
            f"{network.discriminator_scales} scales halve the side until reflect padding has nothing to mirror; "
            "lower discriminator_layers or discriminator_scales"
        )


def check_domain(domain: int) -> int:
    """Return the number of a domain unchanged if it is 1 or 2.

    Args:
        domain: as the caller was given it.

    Raises:
        ValueError: it is neither.
    """
    if domain not in (1, 2):
        raise ValueError(f"domain is {domain!r}, but there are two: 1 and 2")
    return domain
