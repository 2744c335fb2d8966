"""Metrics of a translator against the ground truth of the known world.

Images pass from a model to an attribute predictor as they are: never rescaled, clipped or rounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from munit_lite.evaluation.attribute_predictors import AttributePredictor, Attributes, LabeledImages, labeled_images
from munit_lite.evaluation.statistics import (
    Metrics,
    held_out_predictions,
    held_out_r2,
    ks_to_uniform,
    mean_with_interval,
    wasserstein_to_uniform,
)
from munit_lite.evaluation.translator import EncodingTranslator, Translator, translate_on_device
from munit_lite.world import SHAPE_NAMES, STYLE_FACTORS, World, factor_ranges, is_round


@dataclass(frozen=True)
class Direction:
    """A direction of translation in the known world, which the metrics below are about.

    Args:
        model: translates from `source` into `predictor.domain`.
        predictor: predicts the attributes of translations.
        world: renders the inputs (stream "test").
        source: 1 or 2, the domain of the inputs.
        seed: seed of the inputs and of the sampled styles.
        size: height and width of the images in pixels.
    """

    model: EncodingTranslator
    predictor: AttributePredictor
    world: World
    source: int
    seed: int
    size: int

    @property
    def target(self) -> int:
        """The domain of the translations."""
        return self.predictor.domain

    def inputs(self, count: int, batch_size: int = 250) -> Iterator[LabeledImages]:
        """Iterate over held-out images of the source domain in batches."""
        return labeled_batches(self.world, self.source, count, self.seed, self.size, batch_size=batch_size)

    def inputs_with_examples(self, count: int, stream: str) -> Iterator[tuple[LabeledImages, LabeledImages]]:
        """Iterate over held-out images of the source domain, and over as many independent ones of the target domain."""
        targets = labeled_batches(self.world, self.target, count, self.seed, self.size, stream)
        return zip(self.inputs(count), targets, strict=True)

    def predict_translations(self, images: Tensor, style: Tensor) -> Attributes:
        """Predict the attributes of the translations of images (B, 3, H, W) with styles (B, style_dim)."""
        return self.predictor(translate_on_device(self.model, images, self.source, self.target, style))


def labeled_batches(
    world: World, domain: int, count: int, seed: int, size: int, stream: str = "test", batch_size: int = 250
) -> Iterator[LabeledImages]:
    """Iterate over held-out images of a domain. Their contents follow p(c) of domain 1 in both domains.

    Args:
        world: renders the images.
        domain: 1 or 2.
        count: number of images in all batches.
        seed: seed of contents and styles.
        size: height and width in pixels.
        stream: name of an independent stream of random numbers.
        batch_size: images per batch; the last batch may be smaller.
    """
    for index in torch.arange(count).split(batch_size):
        yield labeled_images(world, domain, index, seed, size, stream, content_domain=1)


def style_quantiles(attributes: Attributes, domain: int) -> Tensor:
    """Convert predicted style factors to quantiles of their true distributions, which are uniform: (B, 3)."""
    low, span = factor_ranges(STYLE_FACTORS[domain], attributes.style)
    return (attributes.style - low) / span


@torch.no_grad()
def content_metrics(direction: Direction, count: int) -> Metrics:
    """Measure how well translations preserve the content, with one sampled style per input.

    Args:
        direction: what is evaluated.
        count: number of inputs.

    Returns:
        Accuracy of the shape class, and as a control the accuracy against another input's class; mean absolute errors
        of position and size in image widths, and of rotation in symmetry periods.
    """
    generator = torch.Generator().manual_seed(direction.seed)
    hits, control, position_errors, size_errors, rotation_errors = [], [], [], [], []
    for batch in direction.inputs(count):
        styles, truth = direction.model.sample_style(len(batch.images), generator), batch.content
        attributes = direction.predict_translations(batch.images, styles)
        hits.append(attributes.shape_class == truth.shape_class)
        control.append(attributes.shape_class == truth.shape_class.roll(1))
        position_errors.append((attributes.position - truth.position).norm(dim=1))
        size_errors.append((attributes.size - truth.size).abs())
        rotation_errors.append((attributes.rotation - truth.rotation).abs()[~is_round(truth.shape_class)])
    accuracy, accuracy_interval = mean_with_interval(torch.cat(hits))
    position_error, position_error_interval = mean_with_interval(torch.cat(position_errors))
    return {
        "class_accuracy": accuracy,
        "class_accuracy_interval": accuracy_interval,
        "class_accuracy_shuffled_contents": torch.cat(control).double().mean().item(),
        "position_error": position_error,
        "position_error_interval": position_error_interval,
        "size_error": torch.cat(size_errors).mean().item(),
        "rotation_error_periods": torch.cat(rotation_errors).mean().item(),
        "contents": count,
    }


@torch.no_grad()
def predict_output_styles(
    model: Translator,
    predictor: AttributePredictor,
    images: Tensor,
    source: int,
    styles_per_input: int,
    generator: torch.Generator,
) -> Tensor:
    """Translate each image with several sampled styles and predict the style factors of the outputs.

    Args:
        model: translates from `source` into `predictor.domain`.
        predictor: predicts the style factors of the translations.
        images: inputs (B, 3, H, W) in [-1, 1].
        source: 1 or 2.
        styles_per_input: styles sampled from the prior for each image.
        generator: random generator of the styles.

    Returns:
        Quantiles of the style factors, (B, styles_per_input, 3).
    """
    styles = model.sample_style(len(images) * styles_per_input, generator)
    inputs = images.repeat_interleave(styles_per_input, 0)
    outputs = translate_on_device(model, inputs, source, predictor.domain, styles)
    return style_quantiles(predictor(outputs), predictor.domain).view(len(images), styles_per_input, -1)


def diversity_ratio(quantiles: Tensor) -> Tensor:
    """Compute the standard deviation over the outputs of each input, divided by that of the true distribution.

    Args:
        quantiles: style factors as quantiles, (inputs, styles, factors). Their true distribution is uniform on (0, 1)
            and has a standard deviation of 1 / sqrt(12).

    Returns:
        (inputs, factors): 0 for a deterministic translator, about 1 for true styles.
    """
    return quantiles.std(dim=1) * 12**0.5


def factor_correlation(quantiles: Tensor, first: int, second: int) -> Tensor:
    """Compute the correlation of two style factors over the outputs of each input.

    The true factors are independent. A correlation shows combinations of two factors that translations never have,
    although each factor alone may cover its whole range.

    Args:
        quantiles: style factors as quantiles, (inputs, styles, factors).
        first: index of a factor.
        second: index of another.

    Returns:
        (inputs,) in [-1, 1]; 0 where a factor does not vary.

    Example:
        >>> quantiles = torch.tensor([[[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]]])
        >>> factor_correlation(quantiles, 0, 1)
        tensor([-1.])
    """
    centered = quantiles - quantiles.mean(dim=1, keepdim=True)
    covariance = (centered[:, :, first] * centered[:, :, second]).mean(dim=1)
    variances = centered.square().mean(dim=1)
    return covariance / (variances[:, first] * variances[:, second]).sqrt().clamp(min=1e-12)


@torch.no_grad()
def style_metrics(direction: Direction, count: int, styles_per_input: int = 64) -> Metrics:
    """Measure how well the translations of *one* input cover the styles of the target domain.

    Args:
        direction: what is evaluated.
        count: number of inputs.
        styles_per_input: styles sampled from the prior for each input.

    Returns:
        `diversity_ratio`, the mean over factors, and averages over inputs for each factor: `<factor>_ks` and
        `<factor>_wasserstein`, the distances of the predicted quantiles to the uniform distribution, and
        `<factor>_diversity_ratio`. The control `<factor>_ks_deterministic` is the KS distance of a translator that
        returns the first of those outputs every time. For each two factors, `<first>_<second>_correlation`.
    """
    generator = torch.Generator().manual_seed(direction.seed + 1)
    model, predictor, source = direction.model, direction.predictor, direction.source
    batches = direction.inputs(count, batch_size=max(1, 256 // styles_per_input))
    quantiles = torch.cat(
        [predict_output_styles(model, predictor, b.images, source, styles_per_input, generator) for b in batches]
    )  # (inputs, styles, factors)
    ratios = diversity_ratio(quantiles)
    metrics: Metrics = {}
    metrics["diversity_ratio"], metrics["diversity_ratio_interval"] = mean_with_interval(ratios.mean(1))
    for k, factor in enumerate(STYLE_FACTORS[direction.target]):
        for name, values in {
            "ks": ks_to_uniform(quantiles[:, :, k]),
            "ks_deterministic": ks_to_uniform(quantiles[:, :1, k].expand(-1, styles_per_input)),
            "wasserstein": wasserstein_to_uniform(quantiles[:, :, k]),
            "diversity_ratio": ratios[:, k],
        }.items():
            metrics[f"{factor.name}_{name}"], metrics[f"{factor.name}_{name}_interval"] = mean_with_interval(values)
    for (j, first), (k, second) in combinations(enumerate(STYLE_FACTORS[direction.target]), 2):
        name = f"{first.name}_{second.name}_correlation"
        correlations = factor_correlation(quantiles, j, k)
        metrics[name], metrics[f"{name}_interval"] = mean_with_interval(correlations)
    return metrics | {"inputs": count, "styles_per_input": styles_per_input}


@torch.no_grad()
def code_metrics(direction: Direction, count: int) -> Metrics:
    """Measure what the codes of one direction contain: the target's style codes and the source's content codes.

    Args:
        direction: what is evaluated.
        count: number of inputs, 8 or more.

    Returns:
        Held-out R² of probes with their 95 % intervals:

        - `sampled_style`: from the sampled style code to the style factors predicted from the translation;
        - `encoded_style`: from the style code of a real image of the target domain to its true style factors;
        - `style_in_content`, a leak: from the content code of an image of the source domain to its style factors;
        - `content_in_style`, a leak: from the encoded style code to the image's position and size. For the class it is
          `class_from_style_accuracy`, to be compared with `most_frequent_class`.
    """
    generator = torch.Generator().manual_seed(direction.seed + 2)
    model, source, target = direction.model, direction.source, direction.target
    sampled_styles, output_styles, encoded_styles, true_styles, content_codes, source_styles = [], [], [], [], [], []
    positions_and_sizes, shape_classes = [], []
    for inputs, examples in direction.inputs_with_examples(count, stream="codes"):
        styles = model.sample_style(len(inputs.images), generator)
        sampled_styles.append(styles.cpu())
        output_styles.append(style_quantiles(direction.predict_translations(inputs.images, styles), target))
        content_codes.append(content_features(model.encode_content(inputs.images.to(styles.device), source)).cpu())
        source_styles.append(inputs.style_quantiles)
        encoded_styles.append(model.encode_style(examples.images.to(styles.device), target).cpu())
        true_styles.append(examples.style_quantiles)
        positions_and_sizes.append(examples.content.factors[:, :3])
        shape_classes.append(examples.content.shape_class)
    codes = torch.cat(encoded_styles)
    source_names, target_names = ([factor.name for factor in STYLE_FACTORS[domain]] for domain in (source, target))
    classes = torch.nn.functional.one_hot(torch.cat(shape_classes), len(SHAPE_NAMES))
    class_scores, one_hot = held_out_predictions(codes, classes)
    accuracy, accuracy_interval = mean_with_interval(class_scores.argmax(1) == one_hot.argmax(1))
    return {
        **held_out_r2(torch.cat(sampled_styles), torch.cat(output_styles), target_names, "sampled_style"),
        **held_out_r2(codes, torch.cat(true_styles), target_names, "encoded_style"),
        **held_out_r2(torch.cat(content_codes), torch.cat(source_styles), source_names, "style_in_content"),
        **held_out_r2(codes, torch.cat(positions_and_sizes), ["x", "y", "size"], "content_in_style"),
        "class_from_style_accuracy": accuracy,
        "class_from_style_accuracy_interval": accuracy_interval,
        "most_frequent_class": one_hot.mean(0).max().item(),
    }


def content_features(content: Tensor) -> Tensor:
    """Summarize content codes for a probe: 4 × 4 averages, standard deviation and maximum of each channel.

    Args:
        content: (B, C, h, w).

    Returns:
        Features (B, 18 C).
    """
    averages = torch.nn.functional.adaptive_avg_pool2d(content, 4).flatten(1)
    return torch.cat([averages, content.std((2, 3)), content.amax((2, 3))], dim=1)


@torch.no_grad()
def example_metrics(direction: Direction, count: int) -> Metrics:
    """Measure how well example-guided translation transfers the style of the example.

    Args:
        direction: what is evaluated.
        count: number of inputs, each with its own example.

    Returns:
        For each factor the mean absolute error between translation and example in units of the factor's range. The
        control is the error against another example, which is 1/3 for independent styles.
    """
    errors, control = [], []
    device = direction.model.sample_style(1).device
    for inputs, examples in direction.inputs_with_examples(count, stream="examples"):
        styles = direction.model.encode_style(examples.images.to(device), direction.target)
        quantiles = style_quantiles(direction.predict_translations(inputs.images, styles), direction.target)
        errors.append((quantiles - examples.style_quantiles).abs())
        control.append((quantiles - examples.style_quantiles.roll(1, 0)).abs())
    metrics: Metrics = {}
    for name, values in (("error", torch.cat(errors)), ("error_other_example", torch.cat(control))):
        metrics[f"example_{name}"], metrics[f"example_{name}_interval"] = mean_with_interval(values.mean(1))
        for k, factor in enumerate(STYLE_FACTORS[direction.target]):
            metrics[f"example_{factor.name}_{name}"] = values[:, k].double().mean().item()
    return metrics
