"""Train one setting of the recipe after another on tuning seeds, and log how good the translations are at each time.

`python -m tools.tune_recipe baseline style_weight_0.1 --seeds 100 101 --steps 2500` adds the runs to
`data/results/recipe_tuning.json`. A run that is in the log already is not repeated. Several processes may add to the
log, one for each core. The tuning seeds never enter a table.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
import tyro
from filelock import FileLock
from torch import Tensor, nn

from munit_lite.callbacks import QualityLog
from munit_lite.evaluation.convergence import convergence
from munit_lite.experiments import results
from munit_lite.experiments.provenance import current_commit
from munit_lite.experiments.recipe_tables import paper_values, setting_without
from munit_lite.model import MUNIT
from munit_lite.networks import ContentEncoder, PatchDiscriminator, instance_norm, minibatch_std
from munit_lite.presets import DEVIATIONS, preset
from munit_lite.storage.run_folder import read_records
from munit_lite.training import train
from munit_lite.training_errors import TrainingError
from munit_lite.world import DIRECTIONS

TUNING_SEEDS = range(100, 110)
LOG = "recipe_tuning"


@dataclass(frozen=True)
class Setting:
    """A change of the recipe that is tried.

    Args:
        reason: the change, and what it might do, in words.
        overrides: fields of the configuration that differ from the base.
        code_changes: names in `CODE_CHANGES`, for what is not a field of the configuration.
        base: name in `BASES` of the fields that the setting starts from.
    """

    reason: str
    overrides: dict[str, Any] = field(default_factory=dict)
    code_changes: tuple[str, ...] = ()
    base: str = "baseline"

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that differ from the preset `world32`."""
        return BASES[self.base] | self.overrides


def _normalized_content(self: ContentEncoder, image: Tensor) -> Tensor:
    return instance_norm(self.layers(image))


_init_discriminator = PatchDiscriminator.__init__


# The first runs with minibatch statistics came before the field `minibatch_std_group`, with other initial weights.
def _init_with_statistics(self: PatchDiscriminator, base_channels: int, layers: int, minibatch_std_group: int) -> None:
    _init_discriminator(self, base_channels, layers)
    self.layers[-1] = nn.Conv2d(2 * base_channels * 2 ** (layers - 1), 1, 1)


def _logits_with_statistics(self: PatchDiscriminator, image: Tensor) -> Tensor:
    features = self.layers[:-1](image)
    return self.layers[-1](torch.cat([features, minibatch_std(features, 4)], dim=1))


_encode = MUNIT.encode


def _encode_with_noise(self: MUNIT, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
    return _encode(self, images + 0.1 * torch.randn_like(images) if images.requires_grad else images, domain)


# Name -> triples of a class, a method, and what replaces it.
CODE_CHANGES: dict[str, list[tuple[type, str, Any]]] = {
    "normalized content": [(ContentEncoder, "forward", _normalized_content)],
    "noise before encoding again": [(MUNIT, "encode", _encode_with_noise)],
    "minibatch statistics": [
        (PatchDiscriminator, "__init__", _init_with_statistics),
        (PatchDiscriminator, "forward", _logits_with_statistics),
    ],
}


# Plain MUNIT (equations 1 to 5, no explicit cycle) in the laboratory world: the base of the first settings.
BASELINE = {
    "world_variant": "laboratory",
    "image_size": 16,
    "num_style_downsamples": 2,
    "discriminator_layers": 3,
    "discriminator_base_channels": 32,
    "discriminator_updates": 2,
    "r1_weight": 0.02,
    "schedule": "cosine",
    "minibatch_std_group": 0,
    "cycle_weight": 0.0,
    "ema_decay": 0.999,
    "decay_every": 100_000,
    "sample_every": 250,
    "num_checkpoints": 0,
    "device": "cpu",
    "num_threads": 1,
}
# Changes that several settings share.
_ONE_UPDATE = {"discriminator_updates": 1}
_CONSTANT = _ONE_UPDATE | {"schedule": "step"}  # the rate is halved every 100,000 steps, so it does not change
_HALVED = _CONSTANT | {"decay_every": 2500}
_STATISTICS = _CONSTANT | {"minibatch_std_group": 4}
_SMALL_BATCHES = BASELINE | _HALVED | _STATISTICS | {"r1_weight": 0.05}
# What was chosen in the end: the preset `laboratory`.
RECIPE = _SMALL_BATCHES | {"batch_size": 16, "minibatch_std_group": 8, "decay_every": 1800}
BASES = {"baseline": BASELINE, "small batches": _SMALL_BATCHES, "recipe": RECIPE}
SETTINGS = {
    "baseline": Setting("the starting point: the recipe of the preset `world32` without the cycle loss, at 16 px"),
    "style_weight_0.1": Setting(
        "a weaker style loss (weight 0.1), so that the other losses decide which classes are paired",
        {"style_weight": 0.1},
    ),
    "style_weight_0.3": Setting("a slightly weaker style loss (weight 0.3)", {"style_weight": 0.3}),
    "content_weight_5": Setting(
        "a stronger content loss (weight 5), so that a translation has the same content code as its input",
        {"content_weight": 5.0},
    ),
    "image_weight_3": Setting(
        "a weaker image loss (weight 3), which gives the adversarial loss more influence", {"image_weight": 3.0}
    ),
    "one_update": Setting("one discriminator update per step in place of two", _ONE_UPDATE),
    "one_update_style_weight_3": Setting(
        "one update; a stronger style loss (weight 3), for more diversity", _ONE_UPDATE | {"style_weight": 3.0}
    ),
    "one_update_r1_0.1": Setting(
        "one update; a larger R1 weight (0.1), which makes the discriminator smoother", _ONE_UPDATE | {"r1_weight": 0.1}
    ),
    "one_update_r1_0.005": Setting(
        "one update; a smaller R1 weight (0.005), so that the discriminator detects finer differences",
        _ONE_UPDATE | {"r1_weight": 0.005},
    ),
    "one_update_wide_discriminator": Setting(
        "one update; a discriminator of twice the width",
        _ONE_UPDATE | {"discriminator_base_channels": 64},
    ),
    "one_update_constant_rate": Setting(
        "one update; a constant learning rate, because the diversity falls as the rate falls",
        _CONSTANT,
    ),
    "constant_rate_wide_discriminator": Setting(
        "one update, a constant rate; a discriminator of twice the width",
        _CONSTANT | {"discriminator_base_channels": 64},
    ),
    "constant_rate_wide_discriminator_r1_0.05": Setting(
        "one update, a constant rate; a discriminator of twice the width and a larger R1 weight (0.05)",
        _CONSTANT | {"discriminator_base_channels": 64, "r1_weight": 0.05},
    ),
    "halved_rate": Setting(
        "one update; a rate halved every 2,500 steps, as the paper halves it: a constant rate keeps the "
        "diversity of sketches, but a falling rate raises that of paintings",
        _HALVED,
    ),
    "halved_rate_wide_discriminator_r1_0.05": Setting(
        "one update, a rate halved every 2,500 steps; a discriminator of twice the width and a larger R1 weight (0.05)",
        _HALVED | {"discriminator_base_channels": 64, "r1_weight": 0.05},
    ),
    "constant_rate_no_weight_decay": Setting(
        "one update, a constant rate; no weight decay, which favors a decoder that responds weakly to the style",
        _CONSTANT | {"weight_decay": 0.0},
    ),
    "constant_rate_minibatch_statistics": Setting(
        "one update, a constant rate; minibatch statistics: the standard deviation of each feature over four "
        "images as "
        "further features of the discriminator, so that it can detect a lack of diversity",
        _CONSTANT,
        ("minibatch statistics",),
    ),
    "halved_rate_minibatch_statistics": Setting(
        "one update, a rate halved every 2,500 steps; minibatch statistics over four images",
        _HALVED,
        ("minibatch statistics",),
    ),
    "halved_rate_minibatch_statistics_r1_0.05": Setting(
        "one update, a rate halved every 2,500 steps; minibatch statistics over four images and a larger R1 "
        "weight (0.05)",
        _HALVED | {"r1_weight": 0.05},
        ("minibatch statistics",),
    ),
    "constant_rate_std_group_4": Setting(
        "one update, a constant rate; minibatch statistics over four images, with other initial weights than before",
        _STATISTICS,
    ),
    "constant_rate_std_group_4_r1_0.05": Setting(
        "one update, a constant rate, minibatch statistics over four images; a larger R1 weight (0.05)",
        _STATISTICS | {"r1_weight": 0.05},
    ),
    "std_group_4_style_weight_3": Setting(
        "one update, a constant rate, minibatch statistics; a stronger style loss (weight 3), because the "
        "content code carries a "
        "part of the line width",
        _STATISTICS | {"style_weight": 3.0},
    ),
    "std_group_4_two_downsamples": Setting(
        "one update, a constant rate, minibatch statistics; a content code of half the resolution",
        _STATISTICS | {"num_downsamples": 2},
    ),
    "std_group_4_wide_discriminator": Setting(
        "one update, a constant rate, minibatch statistics; a discriminator of the paper's width",
        _STATISTICS | {"discriminator_base_channels": 64},
    ),
    "std_group_4_batch_16": Setting(
        "one update, a constant rate, minibatch statistics; batches of 16 images in place of 8",
        _STATISTICS | {"batch_size": 16},
    ),
    "halved_rate_std_group_4_r1_0.05": Setting(
        "the earlier recipe: one update, minibatch statistics over four images, a larger R1 weight (0.05), and a "
        "rate "
        "halved once, because sketches lose diversity "
        "slowly in long runs and paintings gain diversity as the rate falls",
        _HALVED | {"minibatch_std_group": 4, "r1_weight": 0.05},
    ),
    "std_group_4_style_downsamples_4": Setting(
        "one update, a constant rate, minibatch statistics; a style encoder that downsamples the image to one "
        "position, as in the paper: with average pooling over 4 × 4 positions it cannot divide the amount of ink by "
        "the length of the outline",
        _STATISTICS | {"num_style_downsamples": 4},
    ),
    "std_group_4_style_downsamples_3": Setting(
        "one update, a constant rate, minibatch statistics; a style encoder that downsamples the image to 2 × 2 "
        "positions",
        _STATISTICS | {"num_style_downsamples": 3},
    ),
    "std_group_4_content_weight_3": Setting(
        "one update, a constant rate, minibatch statistics; a stronger content loss (weight 3), which penalizes "
        "a content code "
        "that carries the line width, because it cannot be recovered from a painting",
        _STATISTICS | {"content_weight": 3.0},
    ),
    "constant_rate_image_weight_30": Setting(
        "one update, a constant rate; a stronger image loss (weight 30), because a weaker one lowered class "
        "accuracy and diversity",
        _CONSTANT | {"image_weight": 30.0},
    ),
    "constant_rate_r1_0.05": Setting(
        "one update, a constant rate; a larger R1 weight (0.05)",
        _CONSTANT | {"r1_weight": 0.05},
    ),
    "constant_rate_normalized_content": Setting(
        "one update, a constant rate; a content code whose channels have mean 0 and variance 1, which cannot "
        "carry the "
        "line width as a mean",
        _CONSTANT,
        ("normalized content",),
    ),
    "one_update_image_weight_3": Setting(
        "one update; a weaker image loss (weight 3), because the L1 loss favors a middle value of what is hard "
        "to encode",
        _ONE_UPDATE | {"image_weight": 3.0},
    ),
}

# The recipe with the paper's values in place of each of its deviations, as far as they run in minutes at 16 px.
SETTINGS |= {
    setting_without(name): Setting(
        f"the recipe with the paper's {name}",
        # One image at a time has no minibatch statistics.
        paper_values(name) | ({"minibatch_std_group": 0} if name == "batch size" else {}),
        base="recipe",
    )
    for name in DEVIATIONS
    if name not in ("small networks", "discriminator scale")
}
_AT_32 = {"world_variant": "standard", "image_size": 32, "num_style_downsamples": 3, "discriminator_layers": 4}
_AT_32_CONSTANT = _AT_32 | _STATISTICS
SETTINGS |= {
    "small_batches_content_weight_3": Setting(
        "the earlier recipe with a stronger content loss (weight 3), because the content code carries a part of the "
        "line width",
        {"content_weight": 3.0},
        base="small batches",
    ),
    "batch_16": Setting(
        "the earlier recipe with batches of 16 images in place of 8, because with some seeds the classes stay "
        "merged for 1,500 "
        "steps",
        {"batch_size": 16, "decay_every": 1800},
        base="small batches",
    ),
    "batch_16_style_downsamples_3": Setting(
        "the earlier recipe with batches of 16, a constant rate and a style encoder that downsamples the image "
        "once more",
        {"batch_size": 16, "decay_every": 100_000, "num_style_downsamples": 3},
        base="small batches",
    ),
    "batch_16_noise": Setting(
        "the earlier recipe with batches of 16, a constant rate, a style encoder that downsamples the image once "
        "more, and noise of standard deviation 0.1 on translations before they are encoded "
        "again, so that they cannot hold hidden signals",
        {"batch_size": 16, "decay_every": 100_000, "num_style_downsamples": 3},
        ("noise before encoding again",),
        base="small batches",
    ),
    "batch_16_content_weight_3": Setting(
        "the earlier recipe with batches of 16 and a stronger content loss (weight 3), because runs with batches "
        "of 16 start faster",
        {"batch_size": 16, "decay_every": 1800, "content_weight": 3.0},
        base="small batches",
    ),
    "recipe": Setting(
        "the chosen recipe: the earlier recipe with batches of 16 and minibatch statistics over eight images, "
        "which show the diversity more exactly",
        base="recipe",
    ),
    "constant_rate_32": Setting(
        "one update, a constant rate, minibatch statistics; the standard world at 32 px, which also has rings",
        _AT_32_CONSTANT,
    ),
    "constant_rate_32_cycle": Setting(
        "one update, a constant rate, minibatch statistics; the standard world at 32 px with the explicit cycle loss",
        _AT_32_CONSTANT | {"cycle_weight": 10.0},
    ),
    "recipe_32": Setting("the recipe in the standard world at 32 px, which also has rings", _AT_32, base="recipe"),
}


def tune(
    settings: tyro.conf.Positional[tuple[str, ...]],
    /,
    seeds: tuple[int, ...] = (100, 101),
    steps: int = 2500,
) -> None:
    """Train settings on seeds and add the runs to the log.

    Args:
        settings: names in `SETTINGS`.
        seeds: tuning seeds, 100 to 109.
        steps: length of each run.

    Raises:
        ValueError: an unknown setting, or a seed that is none for tuning.
    """
    if unknown := [name for name in settings if name not in SETTINGS]:
        raise ValueError(f"unknown settings {', '.join(unknown)}; known: {', '.join(SETTINGS)}")
    if wrong := [seed for seed in seeds if seed not in TUNING_SEEDS]:
        raise ValueError(f"{wrong} are no tuning seeds; those are 100 to 109")
    for seed in seeds:
        for name in settings:
            if not is_logged(name, seed, steps):
                add_to_log(name, seed, steps, measure(name, seed, steps))


def run_name(setting: str, steps: int) -> str:
    """Return the name of a setting's runs in the log, since a run's schedule depends on its length."""
    return f"{setting}, {steps:,} steps"


def is_logged(setting: str, seed: int, steps: int) -> bool:
    """Return whether the log holds this run, be it as a failed one."""
    name = run_name(setting, steps)
    return str(seed) in read_log().get(name, {}) or str(seed) in _read_runs().get(name, {}).get("failed", {})


def measure(setting: str, seed: int, steps: int) -> list[dict[str, Any]]:
    """Train a setting and return the records of its quality; a run that fails returns those before the failure."""
    config = preset("world32", **SETTINGS[setting].fields | {"steps": steps, "seed": seed})
    with TemporaryDirectory() as folder, ExitStack() as stack:
        for name in SETTINGS[setting].code_changes:
            for change in CODE_CHANGES[name]:
                stack.enter_context(patch.object(*change))
        file = Path(folder) / "quality.jsonl"
        try:
            train(config, folder, callbacks=[QualityLog(file)])
        except TrainingError as error:
            print(f"{setting}, seed {seed}: {error}", file=sys.stderr)
        return read_records(file)


def read_log() -> dict[str, Any]:
    """Return the log: setting and length -> seed -> step -> direction -> metrics."""
    try:
        return results.read_results_file(LOG)["numbers"]
    except FileNotFoundError:
        return {}


def _read_runs() -> dict[str, Any]:
    """Return what the log says about each setting and length.

    These are the fields that differ from the preset `world32`, the code changes, the commit by seed, and the last step
    that was measured by failed seed.
    """
    try:
        return results.read_results_file(LOG)["provenance"]["settings"]["runs"]
    except FileNotFoundError:
        return {}


def add_to_log(setting: str, seed: int, steps: int, records: Sequence[dict[str, Any]]) -> None:
    """Add a run to the log and print its end.

    Args:
        setting: a name in `SETTINGS`.
        seed: of the run.
        steps: its length.
        records: of its quality; a run that ends before its last step has failed and leaves only that step in the log.
    """
    with FileLock(results.RESULTS_DIR / f".{LOG}.lock"):  # another process must not write between reading and writing
        _add_to_log(setting, seed, steps, records)
    print(f"{run_name(setting, steps)}, seed {seed}: {describe(records, steps)}", flush=True)


def _add_to_log(setting: str, seed: int, steps: int, records: Sequence[dict[str, Any]]) -> None:
    log, runs, name, change = read_log(), _read_runs(), run_name(setting, steps), SETTINGS[setting]
    known = runs.get(name, {"failed": {}, "commits": {}})
    failed, last_step = known["failed"], records[-1]["step"] if records else 0
    if last_step < steps:
        failed = failed | {str(seed): last_step}
    else:
        log.setdefault(name, {})[str(seed)] = {
            str(record["step"]): {
                direction: record[direction] | {"cpu_minutes": record["cpu_minutes"]}
                for direction in DIRECTIONS.values()
            }
            for record in records
        }
    runs[name] = {
        "fields": change.fields,
        "code_changes": list(change.code_changes),
        "commits": known["commits"] | {str(seed): current_commit()},
        "failed": failed,
    }
    results.write_results(
        LOG, log, {"runs": runs}, "python -m tools.tune_recipe", ("setting", "seed", "step", "direction")
    )


def describe(records: Sequence[dict[str, Any]], steps: int) -> str:
    """Return one line about the end of a run of a length."""
    if not records or records[-1]["step"] < steps:
        return f"failed after step {records[-1]['step'] if records else 0}"
    found, last = convergence(records), records[-1]
    parts = [
        f"{name}: class {last[name]['class_accuracy']:.2f} (relabeled {last[name]['relabeled_accuracy']:.2f}), "
        f"diversity {last[name]['diversity_ratio']:.2f}, style R² {last[name]['style_r2']:.2f}"
        for name in DIRECTIONS.values()
    ]
    when = f"converged at step {found.step}" if found.has_converged else "not converged"
    return f"{when}, {last['cpu_minutes']:.1f} CPU min; " + "; ".join(parts)


if __name__ == "__main__":
    try:
        tyro.cli(tune)
    except ValueError as error:
        sys.exit(str(error))
