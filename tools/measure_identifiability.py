"""Measure which pairing of contents MUNIT finds, and what decides it.

`python -m tools.measure_identifiability` writes data/results/identifiability.json after every condition, within half an
hour of one core. `--only` takes names of experiments or conditions. The runs on pixels take about five minutes each and
are measured only if they are named: `--only pixels`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import tyro
from scipy.stats import binomtest
from torch import Tensor

from munit_lite import losses
from munit_lite.acceleration import open_fabric
from munit_lite.acceleration.objective import AcceleratedObjective
from munit_lite.config import Config
from munit_lite.data import open_data
from munit_lite.evaluation.attribute_predictors import load_attribute_predictor
from munit_lite.evaluation.statistics import mean_with_interval
from munit_lite.evaluation.world_metrics import Direction
from munit_lite.experiments.results import read_results, write_results
from munit_lite.model import MUNIT
from munit_lite.objective import LossTerms, Outputs
from munit_lite.paths import RESULTS_DIR
from munit_lite.presets import preset
from munit_lite.storage.checkpoints import load, shipped_checkpoints
from munit_lite.theory.identifiability import (
    CLASS_PAIRINGS,
    CONTENT_QUANTILES,
    FACTOR_PAIRINGS,
    LABELS,
    NUM_CLASSES,
    ClassPairing,
    VectorMUNIT,
    VectorTraining,
    VectorWorld,
    class_pairing,
    code_world,
    factor_pairing,
    image_directions,
    plane_world,
    principal_angles,
    train_vectors,
    translate_codes,
)
from munit_lite.theory.oracle import code_from_content, content_from_code
from munit_lite.training_step import Trainer
from munit_lite.world import DIRECTIONS, DOMAIN_NAMES, World, is_round, render, style_from_code

RESULT = "identifiability"
PIXELS = "pixels"
COLUMNS = ("experiment", "condition", "case", "direction")
ANGLE_MODELS = ("world32", "world32_munit", "world32_with_cycle")


@dataclass(frozen=True)
class Condition:
    """An experiment on vectors: a world, and how its runs are trained."""

    world: Callable[[], VectorWorld]
    training: VectorTraining


NEAR = VectorTraining(start_noise=1.0)
WORLDS = {variant: cache(partial(code_world, variant)) for variant in ("cyclic", "standard")}


def vector_conditions() -> dict[str, dict[str, Condition]]:
    """Return the conditions on vectors, by experiment and name."""
    cyclic, standard = WORLDS["cyclic"], WORLDS["standard"]
    return {
        "unsupervised": {
            "cyclic world": Condition(cyclic, VectorTraining()),
            "standard world": Condition(standard, VectorTraining()),
            "cyclic world, start near the truth": Condition(cyclic, NEAR),
            "standard world, start near the truth": Condition(standard, NEAR),
            "cyclic world, coupling layers": Condition(cyclic, VectorTraining(hidden_width=32)),
        },
        "anchors": {
            f"{anchors} pairs": Condition(cyclic, VectorTraining(anchors=anchors)) for anchors in (1, 4, 16, 64)
        },
        "labels": {
            f"{name}, {wrong:.0%} wrong": Condition(cyclic, VectorTraining(labels=name, wrong_labels=wrong))
            for name in LABELS
            for wrong in (0.0, 0.1, 0.3)
            if wrong == 0 or name != "two groups of classes"
        },
        "plane": {
            distribution: Condition(partial(plane_world, distribution), VectorTraining(discriminator_width=24))
            for distribution in CONTENT_QUANTILES
        },
    }


def rate(name: str, count: int, total: int) -> dict[str, float]:
    """Return a fraction of runs with its exact 95 % interval."""
    interval = binomtest(count, total).proportion_ci()
    return {name: count / total, f"{name}_low": interval.low, f"{name}_high": interval.high}


def measure_condition(condition: Condition) -> dict[str, float]:
    """Train the runs of a condition and count which pairings they have ended with.

    Returns:
        the rate of runs that have converged; for each name of a pairing of classes or factors the rate of runs, with
        the less favorable of their two directions, and how many of these runs have converged; and means over the runs.
    """
    start = time.process_time()
    world, training = condition.world(), condition.training
    trained = train_vectors(world, training)
    seconds = (time.process_time() - start) / training.runs
    converged, total = trained.converged.tolist(), training.runs
    numbers: dict[str, float] = {"runs": total, **rate("converged", sum(converged), total)}
    translated = [translate_codes(trained.model, world, source) for source in (1, 2)]
    has_classes = world.content_dim > 1
    columns = (
        slice(NUM_CLASSES, NUM_CLASSES + 3) if has_classes else slice(0, 1)
    )  # x, y and size, or all of the content
    factor_names = [[factor_pairing(codes[:, columns], run[:, columns]) for run in runs] for codes, runs in translated]
    numbers |= count_pairings("factors", FACTOR_PAIRINGS, factor_names, converged)
    if has_classes:
        pairings = class_pairings(translated)
        class_names = [[pairing.name for pairing in direction] for direction in pairings]
        numbers |= count_pairings("classes", CLASS_PAIRINGS, class_names, converged)
        gaps = torch.tensor([[pairing.frequency_gap for pairing in direction] for direction in pairings]).amax(0)
        numbers["frequency_gap"], numbers["frequency_gap_interval"] = mean_with_interval(gaps)
        if any(converged):
            numbers["frequency_gap_of_converged"] = gaps[trained.converged].mean().item()
        untrained = VectorMUNIT(world, training, torch.Generator().manual_seed(training.seed))
        (at_the_start,) = class_pairings([translate_codes(untrained, world, source=1)])
        numbers["class_accuracy_at_the_start"] = sum(pairing.accuracy for pairing in at_the_start) / total
    loss, interval = mean_with_interval(trained.discriminator_loss)
    return numbers | {
        "discriminator_loss": loss,
        "discriminator_loss_interval": interval,
        "cpu_seconds_per_run": seconds,
    }


def class_pairings(translated: list[tuple[Tensor, Tensor]]) -> list[list[ClassPairing]]:
    """Return the pairing of classes for each direction and run, from codes (N, 13) and those of translations."""
    return [
        [class_pairing(codes[:, :NUM_CLASSES].argmax(1), run[:, :NUM_CLASSES].argmax(1)) for run in runs]
        for codes, runs in translated
    ]


def count_pairings(
    kind: str, order: tuple[str, ...], names: list[list[str]], converged: list[bool]
) -> dict[str, float]:
    """Return the rate of each name over the runs, with the later name in `order` of the two directions of a run."""
    worse = [max(pair, key=order.index) for pair in zip(*names, strict=True)]
    numbers: dict[str, float] = {}
    for name in order:
        numbers |= rate(f"{kind}_{name}", worse.count(name), len(worse))
        numbers[f"{kind}_{name}_and_converged"] = sum(
            ok for ok, run in zip(converged, worse, strict=True) if run == name
        )
    return numbers


# ------------------------------------------------------------------------------------------------ principal angles


def measure_angles(count: int = 50, size: int = 32) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Measure the angles between the directions of content and of style in images of shapes that have a rotation.

    Args:
        count: images of each domain.
        size: their height and width.

    Yields:
        "true renderer" or a checkpoint, the domain, and the mean over images of the smallest and of the mean principal
        angle in degrees.
    """
    models: dict[str, MUNIT | None] = {"true renderer": None}
    models |= {name: load(shipped_checkpoints()[name]) for name in ANGLE_MODELS}
    for name, model in models.items():
        for domain, domain_name in DOMAIN_NAMES.items():
            world, index = World(), torch.arange(4 * count)
            content = world.content(index, 0, domain, "test")
            kept = (~is_round(content.shape_class)).nonzero()[:count, 0]
            one_hot, scores = code_from_content(content[kept]).split([NUM_CLASSES, 4], dim=1)
            factors = torch.cat([scores, world.style_code(index, 0, domain, "test")[kept]], dim=1)
            decode = partial(decode_factors, one_hot=one_hot, model=model, domain=domain, size=size)
            angles = [principal_angles(j[:, :4], j[:, 4:]) for j in image_directions(decode, factors)]
            numbers: dict[str, float] = {}
            for key, values in (("smallest", [a[0] for a in angles]), ("mean", [a.mean() for a in angles])):
                numbers[key], numbers[f"{key}_interval"] = mean_with_interval(torch.tensor(values))
            yield name, domain_name, numbers | {"images": len(kept)}


def decode_factors(factors: Tensor, one_hot: Tensor, model: MUNIT | None, domain: int, size: int) -> Tensor:
    """Decode images from the scores of x, y, size and rotation and a style code, (B, 7).

    The true renderer does so directly. A model's decoder takes the content code of a rendered image with the mean
    style, and the style code.
    """
    scores, style = factors.split([4, 3], dim=1)
    content = content_from_code(torch.cat([one_hot, scores], dim=1))
    if model is None:
        return render(content, style_from_code(style, domain), domain, size)
    images = render(content, style_from_code(torch.zeros_like(style), domain), domain, size)
    return model.decode(model.encode_content(images.float(), domain), style.float(), domain)


# --------------------------------------------------------------------------------------------------------- pixels


class AnchoredObjective(AcceleratedObjective):
    """MUNIT's objective with a paired loss, which is added to the image reconstruction and so has its weight.

    Args:
        model: the four networks.
        config: its `loss` record.
        x_1: anchors in domain 1, (K, 3, H, W).
        x_2: images of domain 2 with the same contents.
    """

    def __init__(self, model: MUNIT, config: Config, x_1: Tensor, x_2: Tensor) -> None:
        super().__init__(model, config, pool=None)
        self.anchors = x_1, x_2

    def generator_losses(self, x_1: Tensor, x_2: Tensor, s_1: Tensor, s_2: Tensor, outputs: Outputs) -> LossTerms:
        loss_terms = super().generator_losses(x_1, x_2, s_1, s_2, outputs)
        anchor_1, anchor_2 = self.anchors
        (content_1, style_1), (content_2, style_2) = self.model.encode(anchor_1, 1), self.model.encode(anchor_2, 2)
        pairs = ((1, content_2, style_1, anchor_1), (2, content_1, style_2, anchor_2))
        for domain, content, style, anchor in pairs:
            error = losses.image_reconstruction_loss(self.model.decode(content, style, domain), anchor)
            loss_terms[f"image_{domain}"] = loss_terms[f"image_{domain}"] + error
        return loss_terms


def train_with_anchors(config: Config, anchors: int) -> MUNIT:
    """Train MUNIT on the known world with some pairs of images, and return the averaged model."""
    fabric, data = open_fabric(config), open_data(config)
    trainer = Trainer.new(config, fabric)
    if anchors:
        world = World(config.data.world_variant)
        pairs = world.pairs(torch.arange(anchors), config.seed, config.data.image_size, stream="anchors")
        images = (image.to(fabric.device) for image in (pairs.image_1, pairs.image_2))
        trainer.objective = AnchoredObjective(trainer.model, config, *images)
    for step in range(config.steps):
        trainer.step(step, *(x.to(fabric.device) for x in data.batch(step, config.batch_size)))
    return trainer.ema_model()


def measure_pixels(anchors: int, seed: int, steps: int, count: int = 1000) -> dict[str, dict[str, float]]:
    """Train in the laboratory world with the paper's independent first weights, and measure the pairing of classes.

    Args:
        anchors: pairs of images.
        seed: of the training.
        steps: of training.
        count: test images of each direction.

    Returns:
        for each direction the metrics of `pixel_metrics`, and the seconds of the training.
    """
    start = time.perf_counter()
    model = train_with_anchors(preset("laboratory", seed=seed, steps=steps, same_initial_weights=False), anchors)
    seconds = time.perf_counter() - start
    return {name: metrics | {"seconds": seconds} for name, metrics in pixel_metrics(model, seed, count).items()}


@torch.no_grad()
def pixel_metrics(model: MUNIT, seed: int, count: int) -> dict[str, dict[str, float]]:
    """Measure for each direction how a model pairs classes, and its errors of position, size and reconstruction."""
    numbers, world, size = {}, World("laboratory"), model.config.data.image_size
    for (source, target), name in DIRECTIONS.items():
        predictor, generator = load_attribute_predictor(target, "laboratory"), torch.Generator().manual_seed(seed)
        direction = Direction(model, predictor, world, source, seed, size)
        truth, predicted, position_errors, size_errors, recon_errors = [], [], [], [], []
        for batch in direction.inputs(count):
            attributes = direction.predict_translations(batch.images, model.sample_style(len(batch.images), generator))
            truth.append(batch.content.shape_class)
            predicted.append(attributes.shape_class)
            position_errors.append((attributes.position - batch.content.position).norm(dim=1))
            size_errors.append((attributes.size - batch.content.size).abs())
            recon = model.reconstruct(batch.images, source)
            recon_errors.append((recon - batch.images).abs().mean((1, 2, 3)))
        pairing = class_pairing(torch.cat(truth), torch.cat(predicted))
        measured = {"position_error": position_errors, "size_error": size_errors, "reconstruction_error": recon_errors}
        numbers[name] = {
            "class_accuracy": pairing.accuracy,
            "classes_kept": int(pairing.name == CLASS_PAIRINGS[0]),
            "classes_permuted": int(pairing.name == CLASS_PAIRINGS[1]),
            "followed_permutation": pairing.followed,
            "frequency_gap": pairing.frequency_gap,
            **{key: torch.cat(values).mean().item() for key, values in measured.items()},
        }
    return numbers


# ------------------------------------------------------------------------------------------------------- everything


def main(
    only: tuple[str, ...] = (), runs: int = 30, seed: int = 1, pixel_steps: int = 2500, pixel_seeds: int = 3
) -> Path:
    """Measure, and write data/results/identifiability.json after every condition.

    Args:
        only: experiments or conditions that are measured, and keep the others; by default all but the pixels.
        runs: of each condition on vectors.
        seed: of these runs; the settings of the training were chosen with seed 0.
        pixel_steps: of each run on pixels.
        pixel_seeds: runs on pixels for each number of pairs.

    Returns:
        The path of the written file.
    """
    path = RESULTS_DIR / f"{RESULT}.json"
    numbers: dict[str, Any] = read_results(RESULT) if path.exists() else {}
    settings = {"runs": runs, "seed": seed, "pixel_steps": pixel_steps, "pixel_seeds": pixel_seeds}

    def store(*keys: str, measured: dict[str, Any]) -> None:
        node = numbers
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = measured
        write_results(RESULT, numbers, settings, "python -m tools.measure_identifiability", COLUMNS)
        print(*keys, file=sys.stderr, flush=True)

    for experiment, conditions in vector_conditions().items():
        for name, condition in conditions.items():
            if not only or experiment in only or name in only:
                training = replace(condition.training, runs=runs, seed=seed)
                store(experiment, name, measured=measure_condition(replace(condition, training=training)))
    if not only or "angles" in only:
        for model, domain, angles in measure_angles():
            store("angles", model, domain, measured=angles)
    for anchors in (0, 4, 16) if PIXELS in only else ():
        for seed in range(pixel_seeds):
            measured = measure_pixels(anchors, seed, pixel_steps)
            store(PIXELS, f"{anchors} pairs", f"seed {seed}", measured=measured)
    return path


if __name__ == "__main__":
    tyro.cli(main)
