"""Why a CycleGAN may use the noise that it is given: does a translation hide what its way back needs?

Its cycle closes only if the way back ignores the drawn noise, or reads the image's own style out of the translation.
Two things tell: faint noise on the translation destroys hidden writing, so the cycle opens; and a decoder that obeys
the writing is diverse on true images and not on translations.
`python -m munit_lite.experiments.steganography --run RUN`.
"""

from __future__ import annotations

from pathlib import Path

import torch
import tyro
from torch import Tensor

from munit_lite.evaluation.attribute_predictors import load_attribute_predictor
from munit_lite.evaluation.metrics import diversity_ratio, labeled_batches, predict_output_styles
from munit_lite.evaluation.statistics import Metrics, Translator, mean_with_interval, translate_on_device
from munit_lite.experiments.results import write_results
from munit_lite.experiments.shipping import train_command
from munit_lite.model import MUNIT
from munit_lite.storage.checkpoints import load
from munit_lite.theory.verdicts import summarize_nrmse
from munit_lite.world import DOMAIN_NAMES, World

NOISES = (0.0, 0.02, 0.05, 0.1)  # standard deviations; pixels go from -1 to 1


@torch.no_grad()
def there_and_back(model: Translator, images: Tensor, source: int, noise: float, seed: int) -> Tensor:
    """Images translated with drawn styles, disturbed, and translated back with drawn styles.

    Args:
        model: translates in both directions.
        images: (B, 3, H, W) in [-1, 1] of the source.
        source: 1 or 2.
        noise: standard deviation of what is added to the translations.
        seed: of styles and noise; for every `noise` the same.
    """
    generator = torch.Generator().manual_seed(seed)
    out, home = (model.sample_style(len(images), generator) for _ in range(2))
    there = translate_on_device(model, images, source, 3 - source, out)
    there = there + noise * torch.randn(there.shape, generator=generator)
    return translate_on_device(model, there, 3 - source, source, home)


def diversity(model: Translator, images: Tensor, source: int, seed: int, styles_each: int) -> Metrics:
    """`diversity_ratio` as in `metrics.style_metrics`, of any images: (B, 3, H, W) in [-1, 1] of the source."""
    predictor, generator = load_attribute_predictor(3 - source), torch.Generator().manual_seed(seed)
    few = [predict_output_styles(model, predictor, part, source, styles_each, generator) for part in images.split(10)]
    mean, interval = mean_with_interval(diversity_ratio(torch.cat(few)).mean(1))
    return {"diversity_ratio": mean, "diversity_ratio_interval": interval}


def hidden_writing(model: MUNIT, count: int = 200, seed: int = 1, styles_each: int = 32) -> dict[str, Metrics]:
    """By direction: the cycle's error for each amount of noise, and the spread on true images and on translations.

    Args:
        model: of the known world.
        count: images of each domain; the spread is measured on a quarter of them.
        seed: of images, styles and noise.
        styles_each: outputs of each input whose spread is measured.

    Returns:
        `cycle_error_noise_<deviation>`, the median relative error of there and back (1: guessing the mean image);
        `diversity_ratio` on true images of the source, `diversity_ratio_on_translations` on images that the model
        itself translated into the source.
    """
    world, size, found = World(model.config.data.variant), model.config.data.size, {}
    for source, target in ((1, 2), (2, 1)):
        own, other = (
            torch.cat([b.images for b in labeled_batches(world, d, count, seed, size)]) for d in (source, target)
        )
        numbers: Metrics = {
            f"cycle_error_noise_{noise:g}": summarize_nrmse(there_and_back(model, own, source, noise, seed), own).median
            for noise in NOISES
        }
        few = max(2, count // 4)
        with torch.no_grad():
            styles = model.sample_style(few, torch.Generator().manual_seed(seed + 1))
            made = translate_on_device(model, other[:few], target, source, styles)
        numbers |= diversity(model, own[:few], source, seed, styles_each)
        again = diversity(model, made, source, seed, styles_each)
        numbers |= {
            name.replace("diversity_ratio", "diversity_ratio_on_translations"): value for name, value in again.items()
        }
        found[f"{DOMAIN_NAMES[source]} to {DOMAIN_NAMES[target]}"] = numbers
    return found


def main(run: Path, count: int = 200, seed: int = 1) -> Path:
    """Write data/results/hidden_writing.json.

    Args:
        run: Folder of a run of the known world.
        count: Images of each domain.
        seed: Of images, styles and noise.
    """
    model = load(run)
    settings = {"run": train_command(model.config), "count": count, "seed": seed}
    command = f"python -m munit_lite.experiments.steganography --run RUN --count {count} --seed {seed}"
    return write_results("hidden_writing", hidden_writing(model, count, seed), settings, command)


if __name__ == "__main__":
    tyro.cli(main)
