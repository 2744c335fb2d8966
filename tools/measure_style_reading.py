"""Measure how well a style encoder reads each style factor when it is trained on the true codes.

`python -m tools.measure_style_reading` takes some ten minutes on one core. It tells what an example-guided
translation can pass on at best: a factor that the encoder cannot read from an image within this many steps of
supervised training, it will not read after as many steps of MUNIT's style reconstruction, which is harder.
"""

from __future__ import annotations

import math

import torch
import tyro
from torch import Tensor
from tqdm.auto import tqdm

from munit_lite.config import Config
from munit_lite.evaluation.attribute_predictors import TEST_STREAM, TRAIN_STREAM, labeled_images
from munit_lite.experiments.results import write_results
from munit_lite.networks import StyleEncoder, kaiming_init
from munit_lite.presets import preset
from munit_lite.world import DOMAIN_NAMES, STYLE_FACTORS, World

RESULT = "style_reading"


def train_style_encoder(config: Config, domain: int, steps: int) -> StyleEncoder:
    """Train a style encoder by equation 3 on real images with their true codes, at a rate that falls to zero.

    Args:
        config: gives the world, the size of the images and of the encoder, the batch size, the rate and Adam's betas.
        domain: 1 or 2.
        steps: training steps.

    Returns:
        The encoder, in evaluation mode.
    """
    network, optimization = config.network, config.optimizer
    torch.manual_seed(config.seed)
    encoder = StyleEncoder(network.base_channels, network.num_style_downsamples, network.style_dim)
    kaiming_init(encoder)
    optimizer = torch.optim.Adam(encoder.parameters(), betas=optimization.betas)
    world = World(config.data.world_variant)
    for step in tqdm(range(steps), desc=f"{config.preset}, {DOMAIN_NAMES[domain]}s", mininterval=1):
        for group in optimizer.param_groups:
            group["lr"] = optimization.learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
        index = torch.arange(config.batch_size) + step * config.batch_size
        batch = labeled_images(world, domain, index, config.seed, config.data.image_size, TRAIN_STREAM)
        loss = (encoder(batch.images) - batch.style_code).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder.eval()


@torch.no_grad()
def reading_errors(encoder: StyleEncoder, config: Config, domain: int, count: int = 2000) -> dict[str, float]:
    """Measure the error of the codes that an encoder reads from images it has not seen.

    Args:
        encoder: of this domain.
        config: gives the world and the size of the images.
        domain: 1 or 2.
        count: number of images.

    Returns:
        Factor -> mean absolute error in units of the factor's range, in which an encoder that reads nothing has 1/4.
    """
    world, seed = World(config.data.world_variant), config.seed + 1
    batches = [
        labeled_images(world, domain, index, seed, config.data.image_size, TEST_STREAM)
        for index in torch.arange(count).split(500)
    ]
    errors = torch.cat([_range_error(encoder(batch.images), batch.style_code) for batch in batches]).mean(dim=0)
    return {factor.name: error for factor, error in zip(STYLE_FACTORS[domain], errors.tolist(), strict=True)}


def _range_error(predicted: Tensor, true: Tensor) -> Tensor:
    return (
        torch.special.ndtr(predicted) - torch.special.ndtr(true)
    ).abs()  # a code's quantile is its place in the range


def measure_style_reading(
    presets: tuple[str, ...] = ("laboratory", "world32"), steps: tuple[int, ...] = (2000, 8000)
) -> None:
    """Train encoders of both domains for each preset and number of steps; write their errors.

    Args:
        presets: presets of the known world.
        steps: lengths of the trainings.
    """
    errors = {
        name: {
            f"{length:,} steps": {
                domain_name: reading_errors(train_style_encoder(preset(name), domain, length), preset(name), domain)
                for domain, domain_name in DOMAIN_NAMES.items()
            }
            for length in steps
        }
        for name in presets
    }
    command = "python -m tools.measure_style_reading"
    write_results(RESULT, errors, {"presets": presets, "steps": steps}, command, ("preset", "steps", "domain"))


if __name__ == "__main__":
    tyro.cli(measure_style_reading)
