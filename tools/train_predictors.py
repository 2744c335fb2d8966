"""Train the attribute predictors of the known world, and publish their weights with their measured errors.

`python -m tools.train_predictors` takes about ten minutes for the standard world and about as long for the laboratory
world, whose images are smaller but whose lines are harder to measure:
`python -m tools.train_predictors --world-variant laboratory --steps 10000`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor
from tqdm.auto import tqdm

from munit_lite.evaluation.attribute_predictors import (
    TRAIN_STREAM,
    AttributePredictor,
    labeled_images,
    load_attribute_predictor,
    prediction_errors,
    predictor_file,
    results_name,
)
from munit_lite.experiments.results import write_results
from munit_lite.storage.checkpoints import versions
from munit_lite.storage.files import write_checksum
from munit_lite.storage.tensors import write_tensors
from munit_lite.world import DOMAIN_NAMES, World
from tools.publish_checkpoint import predictor_command, write_card


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of the predictors."""

    world_variant: Literal["standard", "laboratory"] = "standard"
    steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 2e-3
    seed: int = 0


def train_predictor(domain: int, recipe: Recipe, shuffle_labels: bool = False) -> AttributePredictor:
    """Train a predictor on an endless stream of labeled renders, with random blur and noise as augmentation.

    Args:
        domain: 1 or 2.
        recipe: hyperparameters.
        shuffle_labels: permute the labels within each batch. This is the control: such a predictor can learn only the
            averages.

    Returns:
        The predictor, in evaluation mode.
    """
    torch.manual_seed(recipe.seed)
    world, predictor = World(recipe.world_variant), AttributePredictor(domain, recipe.world_variant)
    optimizer = torch.optim.AdamW(predictor.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.steps)
    for step in tqdm(range(recipe.steps), desc=f"predictor of {DOMAIN_NAMES[domain]}s", mininterval=1):
        index = torch.arange(recipe.batch_size) + step * recipe.batch_size
        images, content, style, _ = labeled_images(
            world, domain, index, recipe.seed, predictor.input_size, TRAIN_STREAM
        )
        factors = style.factors
        if shuffle_labels:
            order = torch.randperm(len(images))
            content, factors = content[order], factors[order]
        optimizer.zero_grad()
        predictor.loss(augment(images), content, factors).backward()
        optimizer.step()
        schedule.step()
    return predictor.eval()


def augment(images: Tensor) -> Tensor:
    """Blur half of the images by a random amount and add noise to all, since translations are less clean than renders.

    Args:
        images: (B, 3, H, W) in [-1, 1].
    """
    amount = torch.rand(len(images), 1, 1, 1) * (torch.rand(len(images), 1, 1, 1) < 0.5)
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    noise = 0.08 * torch.rand(len(images), 1, 1, 1) * torch.randn_like(images)
    return images + amount * (blurred - images) + noise


def publish_predictors(recipe: Recipe = Recipe(), measure_only: bool = False) -> None:
    """Train both predictors and their controls with shuffled labels; write weights, cards and measured errors.

    Args:
        recipe: hyperparameters.
        measure_only: keep the published weights, and measure their errors again.
    """
    errors, variant = {}, recipe.world_variant
    for domain, name in DOMAIN_NAMES.items():
        file = predictor_file(domain, variant)
        if not measure_only:
            header = {"recipe": asdict(recipe), "versions": versions()}
            write_tensors(file, train_predictor(domain, recipe).state_dict(), header)
            write_checksum(file)
        predictor = load_attribute_predictor(domain, variant)
        control = train_predictor(domain, replace(recipe, steps=recipe.steps // 8), shuffle_labels=True)
        errors[name] = prediction_errors(predictor) | {
            "class_accuracy_shuffled_labels": prediction_errors(control, count=2000)["class_accuracy"],
            "most_frequent_class": max(World(variant).variant.frequencies_1),
        }
    command = predictor_command(variant, recipe.steps) + " --measure-only" * measure_only
    write_results(results_name(variant), errors, asdict(recipe), command, ("domain",))
    for domain in DOMAIN_NAMES:
        write_card(predictor_file(domain, variant))


if __name__ == "__main__":
    tyro.cli(publish_predictors, config=(tyro.conf.OmitArgPrefixes,))
