"""Steganography: does a translation hide information about its source in an invisible signal?

CycleGAN's cycle can close in two ways although its translators receive noise: the way back ignores the noise, or it
recovers the image's own style from a hidden signal in the translation. Two measurements separate them. Faint noise
added to the translation destroys a hidden signal, so the cycle opens. And a decoder that follows the hidden signal is
diverse on real images, but not on translations. `tools/measure_steganography.py` records both for a run.
"""

from __future__ import annotations

import torch
from torch import Tensor

from munit_lite.evaluation.attribute_predictors import AttributePredictor, load_attribute_predictor
from munit_lite.evaluation.statistics import Metrics, mean_with_interval
from munit_lite.evaluation.translator import Translator, translate_on_device
from munit_lite.evaluation.world_metrics import diversity_ratio, labeled_batches, predict_output_styles
from munit_lite.model import MUNIT
from munit_lite.theory.verdicts import summarize_nrmse
from munit_lite.world import DIRECTIONS, World

NOISE_LEVELS = (0.0, 0.02, 0.05, 0.1)  # standard deviations, for pixels in [-1, 1]


@torch.no_grad()
def noisy_round_trip(model: Translator, images: Tensor, source: int, noise: float, seed: int) -> Tensor:
    """Translate images with sampled styles, add noise, and translate them back with sampled styles.

    Args:
        model: a model that translates in both directions.
        images: (B, 3, H, W) in [-1, 1], images of the source domain.
        source: 1 or 2.
        noise: standard deviation of the Gaussian noise added to the translations.
        seed: seed of styles and noise; equal seeds give proportional noise, whatever its level.

    Returns:
        (B, 3, H, W), images of the source domain.
    """
    generator = torch.Generator().manual_seed(seed)
    target_style, source_style = (model.sample_style(len(images), generator) for _ in range(2))
    translations = translate_on_device(model, images, source, 3 - source, target_style)
    translations = translations + noise * torch.randn(translations.shape, generator=generator)
    return translate_on_device(model, translations, 3 - source, source, source_style)


def style_diversity(
    model: Translator, predictor: AttributePredictor, images: Tensor, source: int, seed: int, styles_per_input: int
) -> Metrics:
    """Return `diversity_ratio` as in `world_metrics.style_metrics`, for any (B, 3, H, W) images of the source."""
    generator = torch.Generator().manual_seed(seed)
    styles = [
        predict_output_styles(model, predictor, part, source, styles_per_input, generator) for part in images.split(10)
    ]
    mean, half_width = mean_with_interval(diversity_ratio(torch.cat(styles)).mean(1))
    return {"diversity_ratio": mean, "diversity_ratio_interval": half_width}


def measure_hidden_signal(
    model: MUNIT, count: int = 200, seed: int = 1, styles_per_input: int = 32
) -> dict[str, Metrics]:
    """Measure the cycle's error at each noise level, and the diversity on real images and on translations.

    Args:
        model: a model of the known world.
        count: images of each domain; the diversity is measured on a quarter of them.
        seed: seed of images, styles and noise.
        styles_per_input: outputs per input over which the diversity is measured.

    Returns:
        For each direction `cycle_error_noise_<level>`, the median relative error of the round trip (1 is the error of
        guessing the mean image); `diversity_ratio` on real images of the source; and
        `diversity_ratio_on_translations` on images that the model itself translated into the source domain.
    """
    world, size, results = World(model.config.data.world_variant), model.config.data.image_size, {}
    for (source, target), direction in DIRECTIONS.items():
        predictor = load_attribute_predictor(target, world.name)
        real, other = (
            torch.cat([b.images for b in labeled_batches(world, d, count, seed, size)]) for d in (source, target)
        )
        numbers: Metrics = {
            f"cycle_error_noise_{noise:g}": summarize_nrmse(
                noisy_round_trip(model, real, source, noise, seed), real
            ).median
            for noise in NOISE_LEVELS
        }
        quarter = max(2, count // 4)
        with torch.no_grad():
            styles = model.sample_style(quarter, torch.Generator().manual_seed(seed + 1))
            translations = translate_on_device(model, other[:quarter], target, source, styles)
        numbers |= style_diversity(model, predictor, real[:quarter], source, seed, styles_per_input)
        on_translations = style_diversity(model, predictor, translations, source, seed, styles_per_input)
        numbers |= {
            name.replace("diversity_ratio", "diversity_ratio_on_translations"): value
            for name, value in on_translations.items()
        }
        results[direction] = numbers
    return results
