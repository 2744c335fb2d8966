"""Measure which changes help MUNIT's style encoder to encode each style factor.

`python -m tools.study_style_factors --seeds 102 103` trains the preset `laboratory` with each of `SETTINGS`, some four
minutes per run on one core, and evaluates the published models. A run that is in data/results/style_factors.json
already is not repeated. `python -m tools.style_factors_page` then writes the page.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import torch
import tyro

from munit_lite.evaluation.attribute_predictors import load_attribute_predictor
from munit_lite.evaluation.evaluate import evaluate
from munit_lite.evaluation.statistics import Metrics
from munit_lite.evaluation.world_metrics import factor_correlation, labeled_batches, style_quantiles
from munit_lite.experiments.results import read_results, write_results
from munit_lite.model import MUNIT
from munit_lite.presets import preset
from munit_lite.storage.checkpoints import load
from munit_lite.training import train
from munit_lite.world import DIRECTIONS, STYLE_FACTORS, World

RESULT = "style_factors"
SETTINGS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "detached": {"detach_style": True},
    "detached, style weight 5": {"detach_style": True, "style_weight": 5.0},
    "cycle loss": {"cycle_weight": 10.0},
    "detached, cycle loss": {"detach_style": True, "cycle_weight": 10.0},
}
PUBLISHED = ("world32", "world64s")

Results = dict[str, dict[str, dict[str, Metrics]]]  # model -> seed -> direction -> metrics


@torch.no_grad()
def reconstruction_correlation(model: MUNIT, domain: int, count: int = 1000, seed: int = 1) -> Metrics:
    """Compute the correlation of each two style factors over reconstructions of real images, whose factors have none.

    Args:
        model: of the known world.
        domain: 1 or 2.
        count: number of images.
        seed: of the images.

    Returns:
        `reconstructed_<first>_<second>_correlation`.
    """
    data = model.config.data
    predictor = load_attribute_predictor(domain, data.world_variant)
    batches = labeled_batches(World(data.world_variant), domain, count, seed, data.image_size, stream="test")
    quantiles = torch.cat(
        [style_quantiles(predictor(model.reconstruct(batch.images, domain)), domain) for batch in batches]
    )
    names = [factor.name for factor in STYLE_FACTORS[domain]]
    return {
        f"reconstructed_{names[j]}_{names[k]}_correlation": factor_correlation(quantiles[None], j, k).item()
        for j, k in ((0, 1), (0, 2), (1, 2))
    }


def measure(model: MUNIT, count: int = 1000) -> dict[str, Metrics]:
    """Evaluate a model, and the correlations of its reconstructions in each direction's target domain."""
    metrics = evaluate(model, count)
    for (_, target), name in DIRECTIONS.items():
        metrics[name] |= reconstruction_correlation(model, target, count)
    return metrics


def read_study() -> Results:
    """Return what has been measured: model -> seed -> direction -> metrics."""
    try:
        return read_results(RESULT)
    except FileNotFoundError:
        return {}


def study(seeds: tuple[int, ...] = (102, 103), steps: int = preset("laboratory").steps) -> None:
    """Train every setting on every seed, evaluate the published models, and write the results.

    Args:
        seeds: of the runs.
        steps: their length.
    """
    for seed in seeds:
        for name, overrides in SETTINGS.items():
            if str(seed) not in read_study().get(name, {}):
                config = preset("laboratory", **overrides, seed=seed, steps=steps, num_threads=1, num_checkpoints=0)
                with TemporaryDirectory() as folder:
                    _add(name, seed, measure(train(config, folder, callbacks=[]).model), steps)
    for name in PUBLISHED:
        model = load(name)
        _add(name, model.config.seed, measure(model), steps)


def _add(name: str, seed: int, metrics: dict[str, Metrics], steps: int) -> None:
    results = read_study()
    results.setdefault(name, {})[str(seed)] = metrics
    settings = {"settings": SETTINGS, "steps": steps}
    command = "python -m tools.study_style_factors"
    write_results(RESULT, results, settings, command, ("model", "seed", "direction"))


if __name__ == "__main__":
    tyro.cli(study)
