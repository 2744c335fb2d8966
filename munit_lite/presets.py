"""Named configurations, each deviation from the paper with its reason.

`paper256` is the paper's configuration. The others are small enough for their purpose; the comments say what they
change and why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from munit_lite.config import Config, check_folders, override

PRESETS: dict[str, Config] = {}


def preset(name: str, /, **overrides: Any) -> Config:
    """Return a named configuration with some fields replaced.

    Args:
        name: a name in `PRESETS`.
        **overrides: new values by field name, whichever dataclass the field belongs to.

    Raises:
        ValueError: an unknown name or field (the message lists the known ones), or a value that is not accepted.

    Example:
        >>> preset("world32", steps=500).steps
        500
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    config = override(PRESETS[name], **overrides)
    if {"folder", "folder_1", "folder_2", "swap"}.intersection(overrides):
        check_folders(config.data)
    return config


def _preset(name: str, /, **overrides: Any) -> None:
    PRESETS[name] = override(Config(preset=name), **overrides)


_preset("paper256")


@dataclass(frozen=True)
class Deviation:
    """A difference between the recipe of the preset `laboratory` and the paper.

    Args:
        fields: the recipe's values by field of the configuration; the paper's are those of the preset paper256.
        reason: why the recipe differs.
    """

    fields: dict[str, Any]
    reason: str


# The recipe of `laboratory`, the known world at 16 px, on which it was tuned. `data/results/recipe_tuning.json` holds
# every setting that was tried, among them the recipe with the paper's value in place of each deviation that can be
# trained at 16 px in minutes. The paper's batch of one image has no minibatch statistics either.
DEVIATIONS = {
    "small networks": Deviation(
        {"base_channels": 16, "mlp_width": 64, "num_residual_blocks": 2, "discriminator_base_channels": 32},
        "a step takes a fraction of a second on a CPU",
    ),
    "discriminator scale": Deviation(
        {"discriminator_scales": 1}, "at three scales, 16 px are too few for the reflect padding of the discriminators"
    ),
    "discriminator layers": Deviation({"discriminator_layers": 3}, "after a fourth layer, 16 px are a single position"),
    "style encoder": Deviation(
        {"num_style_downsamples": 2}, "after four downsamplings, 16 px are a single position before the average pooling"
    ),
    "content resolution": Deviation(
        {"num_downsamples": 1}, "in a content code of 4 × 4 positions the classes of shapes of 10 px merge"
    ),
    "style dimension": Deviation({"style_dim": 3}, "each domain of the known world has three style factors"),
    "equal initial weights": Deviation(
        {"same_initial_weights": True}, "a content code means the same to both decoders from the start"
    ),
    "discriminator initialization": Deviation(
        {"discriminator_init": "kaiming"}, "with weights of N(0, 0.02²) a small discriminator starts too slowly"
    ),
    "minibatch statistics": Deviation(
        {"minibatch_std_group": 8},
        "one image does not show that translations cover only a part of the styles; the spread over a group does",
    ),
    "adversarial loss": Deviation(
        {"gan_mode": "nonsaturating"}, "it keeps its gradient where the discriminator wins, and R1 is known to suit it"
    ),
    "gradient penalty": Deviation({"r1_weight": 0.05}, "R1 keeps a discriminator smooth that would otherwise win"),
    "batch size": Deviation(
        {"batch_size": 16}, "several small images use a CPU better than one, and minibatch statistics need a batch"
    ),
    "learning rate": Deviation({"learning_rate": 2e-3}, "minutes instead of days"),
    "schedule": Deviation({"decay_every": 1800}, "a run has 2,500 steps, and the paper's 1,000,000"),
    "Adam": Deviation({"betas": (0.0, 0.99)}, "without momentum, adversarial training oscillates less at a high rate"),
}
_RECIPE = {name: value for deviation in DEVIATIONS.values() for name, value in deviation.fields.items()}
_LABORATORY = {"dataset": "world", "world_variant": "laboratory", "image_size": 16}
_preset("laboratory", **_RECIPE | _LABORATORY, steps=2500, sample_every=250)

# The known world has three style factors per domain, so a continuous inverse needs style_dim 3.
_WORLD = {"dataset": "world", "style_dim": 3, "learning_rate": 1e-3, "schedule": "cosine"}
# A run of minutes on two cores. The discriminator learns more slowly than the autoencoders, so it gets two updates per
# step, and R1 keeps it smooth where it wins. The cycle loss keeps rings from becoming discs. Without the same initial
# weights a run may translate discs into rings and rings into discs. One downsampling and two residual blocks preserve
# the outline in the content code.
_MINUTES = {
    "image_size": 32,
    "steps": 1600,
    "batch_size": 8,
    "base_channels": 16,
    "num_downsamples": 1,
    "num_style_downsamples": 3,
    "num_residual_blocks": 2,
    "mlp_width": 64,
    "same_initial_weights": True,
    "discriminator_base_channels": 32,
    "discriminator_layers": 4,
    "discriminator_scales": 1,
    "discriminator_init": "kaiming",
    "discriminator_updates": 2,
    "gan_mode": "nonsaturating",
    "r1_weight": 0.02,
    "cycle_weight": 10.0,
    "learning_rate": 2e-3,
    "betas": (0.0, 0.99),
    "schedule": "cosine",
    "ema_decay": 0.995,
}
_preset("world32", **_WORLD | _MINUTES)
# Sharper pictures of the known world, for figures and explorers. Equation 3 alone teaches the style encoders, because
# an image reconstruction can take the style from the content code and leaves theirs untrained. Here minibatch
# statistics would do harm: with them rings become discs in one direction.
_preset(
    "world64s",
    **_WORLD
    | _MINUTES
    | {
        "image_size": 64,
        "num_downsamples": 2,
        "num_style_downsamples": 4,
        "detach_style": True,
        "ema_decay": 0.999,
        "steps": 4000,
    },
)
_preset(
    "world64",
    **_WORLD,
    base_channels=32,
    mlp_width=128,
    discriminator_base_channels=32,
    image_size=64,
    steps=100_000,
    batch_size=16,
)
_preset("world128", **_WORLD, image_size=128, steps=200_000, batch_size=8)
_preset("fashion32", **_MINUTES, dataset="fashion")
_preset(
    "apples2citrus",
    **_MINUTES
    | {
        "dataset": "folder",
        "folder": "apples2citrus",
        "image_size": 64,
        "num_downsamples": 2,
        "num_style_downsamples": 4,
    }
    | {"batch_size": 4, "steps": 2500},
)
_preset("folder64", base_channels=32, discriminator_base_channels=32, image_size=64, steps=100_000, batch_size=8)
_preset("folder128", image_size=128, steps=200_000, batch_size=4)

# The baselines of the paper's table: the same networks, data and steps, the losses and weights of their own papers.
_BASELINES: dict[str, dict[str, Any]] = {
    "unit": {"image_weight": 10.0, "cycle_weight": 10.0, "kl_weight": 0.01},
    "cyclegan": {"image_weight": 0.0, "cycle_weight": 10.0},
    "cyclegan_noise": {"image_weight": 0.0, "cycle_weight": 10.0},
    "cyclegan_input_noise": {"image_weight": 0.0, "cycle_weight": 10.0},
    "bicyclegan": {"image_weight": 10.0, "cycle_weight": 0.0, "style_weight": 0.5, "kl_weight": 0.01, "paired": True},
}
for _data in ("laboratory", "world32", "world64", "fashion32", "apples2citrus"):
    for _method, _weights in _BASELINES.items():
        if _weights.get("paired") and PRESETS[_data].data.dataset == "folder":
            continue  # no true pairs there
        _own = {"content_weight": 0.0, "style_weight": 0.0} | _weights
        _named = replace(PRESETS[_data], preset=f"{_data}_{_method}")
        PRESETS[_named.preset] = override(_named, method=_method, **_own)
