"""Train one setting of the recipe after another on tuning seeds, and log how good the translations are at each time.

`python -m tools.tune_recipe baseline style_weight_0.1 --seeds 100 101 --steps 2500` adds the runs to
`data/results/recipe_tuning.json`. A run that is in the log already is not repeated. Several processes may add to the
log, one for each core. The tuning seeds never enter a table.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import tyro
import yaml
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


class Setting(NamedTuple):
    """A change of the recipe that is tried.

    Args:
        reason: the change, and what it might do, in words.
        fields: of the configuration, which differ from the preset `world32`.
        code_changes: names in `CODE_CHANGES`, for what is not a field of the configuration.
    """

    reason: str
    fields: dict[str, Any]
    code_changes: tuple[str, ...] = ()


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


_FILE = yaml.safe_load(Path(__file__).with_name("recipe_settings.yaml").read_text())
BASES, ROWS = _FILE["bases"], _FILE["rows"]
SETTINGS = {
    name: Setting(
        setting["reason"],
        BASES[setting.get("base", "baseline")] | setting.get("changes", {}),
        tuple(setting.get("code_changes", ())),
    )
    for name, setting in _FILE["settings"].items()
}
# The recipe with the paper's values in place of each of its deviations, as far as they run in minutes at 16 px.
SETTINGS |= {
    setting_without(name): Setting(f"the recipe with the paper's {name}", BASES["recipe"] | paper_values(name))
    for name in DEVIATIONS
    if name not in ("small networks", "discriminator scale")
}
SETTINGS[setting_without("batch size")].fields["minibatch_std_group"] = 0  # for one image at a time


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
    return str(seed) in read_log()[1].get(run_name(setting, steps), {"commits": {}})["commits"]


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


def read_log() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the log, and what it says about each setting and length.

    Returns:
        Setting and length -> seed -> step -> direction -> metrics; and setting and length -> the fields that differ
        from the preset `world32`, the code changes, the commit by seed, and the last step measured by failed seed.
    """
    try:
        file = results.read_results_file(LOG)
    except FileNotFoundError:
        return {}, {}
    return file["numbers"], file["provenance"]["settings"]["runs"]


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
    (log, runs), name, change = read_log(), run_name(setting, steps), SETTINGS[setting]
    run = runs.setdefault(
        name, {"fields": change.fields, "code_changes": change.code_changes, "commits": {}, "failed": {}}
    )
    run["commits"][str(seed)] = current_commit()
    last_step = records[-1]["step"] if records else 0
    if last_step < steps:
        run["failed"][str(seed)] = last_step
    else:
        log.setdefault(name, {})[str(seed)] = {
            str(record["step"]): {
                direction: record[direction] | {"cpu_minutes": record["cpu_minutes"]}
                for direction in DIRECTIONS.values()
            }
            for record in records
        }
    results.write_results(
        LOG, log, {"runs": runs}, "python -m tools.tune_recipe", ("setting", "seed", "step", "direction")
    )


def describe(records: Sequence[dict[str, Any]], steps: int) -> str:
    """Return one line about the end of a run of a length."""
    if not records or records[-1]["step"] < steps:
        return f"failed after step {records[-1]['step'] if records else 0}"
    found, last = convergence(records), records[-1]
    ends = [
        f"{way}: class accuracy {last[way]['class_accuracy']:.2f}, diversity ratio {last[way]['diversity_ratio']:.2f}"
        for way in DIRECTIONS.values()
    ]
    when = f"converged at step {found.step}" if found.has_converged else "not converged"
    return f"{when}, {last['cpu_minutes']:.1f} CPU minutes; {'; '.join(ends)}"


if __name__ == "__main__":
    try:
        tyro.cli(tune)
    except ValueError as error:
        sys.exit(str(error))
