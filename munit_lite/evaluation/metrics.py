"""Metrics of a translator, each evaluated against the ground truth of the known world.

Images pass from a model to an attribute predictor as they are: never rescaled, clipped or rounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from munit_lite.data import open_data
from munit_lite.data.fashion import FashionData
from munit_lite.data.folders import FolderData
from munit_lite.evaluation.attribute_predictors import AttributePredictor, Attributes, load_attribute_predictor
from munit_lite.evaluation.mode_coverage import mode_coverage_metrics
from munit_lite.evaluation.photo_metrics import photo_metrics
from munit_lite.evaluation.statistics import (
    Metrics,
    Translator,
    held_out_predictions,
    held_out_r2,
    ks_to_uniform,
    mean_with_interval,
    translate_on_device,
    wasserstein_to_uniform,
)
from munit_lite.model import MUNIT
from munit_lite.world import DOMAIN_NAMES, SHAPE_NAMES, STYLE_FACTORS, Content, World

MAX_CODES = 2000  # The time of the regression on codes grows with the cube of their number.


class EncodingTranslator(Translator, Protocol):
    """A translator that encodes images into style codes (B, style_dim) and content codes (B, C, h, w)."""

    def encode_style(self, images: Tensor, domain: int) -> Tensor:
        """Encode the styles of images (B, 3, H, W) of a domain."""
        ...

    def encode_content(self, images: Tensor, domain: int) -> Tensor:
        """Encode the contents of images (B, 3, H, W) of a domain."""
        ...


class LabeledImages(NamedTuple):
    """Images of one domain with their ground truth."""

    images: Tensor  # (B, 3, size, size)
    content: Content
    style: Tensor  # (B, 3), quantiles of the style factors in (0, 1)


def labeled_batches(
    world: World, domain: int, count: int, seed: int, size: int, stream: str = "test", batch_size: int = 250
) -> Iterator[LabeledImages]:
    """Iterate over held-out images of a domain. Their contents follow p(c) of domain 1 in both domains.

    Args:
        world: The world that renders the images.
        domain: 1 or 2.
        count: Number of images in all batches.
        seed: Seed of contents and styles.
        size: Height and width in pixels.
        stream: Name of an independent stream of random numbers.
        batch_size: Images per batch; the last batch may be smaller.
    """
    for index in torch.arange(count).split(batch_size):
        pairs = world.pairs(index, seed, size, stream)
        images, code = (pairs.image_1, pairs.code_1) if domain == 1 else (pairs.image_2, pairs.code_2)
        yield LabeledImages(images, pairs.content, torch.special.ndtr(code))


def style_quantiles(attributes: Attributes, domain: int) -> Tensor:
    """Convert predicted style factors to quantiles of their true distributions, which are uniform: (B, 3)."""
    factors = STYLE_FACTORS[domain]
    low, span = torch.tensor([f.low for f in factors]), torch.tensor([f.span for f in factors])
    return (attributes.style - low) / span


@torch.no_grad()
def content_metrics(
    model: Translator, predictor: AttributePredictor, world: World, source: int, count: int, seed: int, size: int
) -> Metrics:
    """Measure how well translations preserve the content, with one sampled style per input.

    Args:
        model: Translates from `source` into `predictor.domain`.
        predictor: Predicts the attributes of translations.
        world: Renders the inputs (stream "test").
        source: 1 or 2, the domain of the inputs.
        count: Number of inputs.
        seed: Seed of the contents and of the sampled styles.
        size: Height and width of the images in pixels.

    Returns:
        Accuracy of the shape class, and as a control the accuracy against another input's class; mean absolute errors
        of position and size in image widths, and of rotation in symmetry periods.
    """
    generator = torch.Generator().manual_seed(seed)
    hits, control, position_errors, size_errors, rotation_errors = [], [], [], [], []
    for images, truth, _ in labeled_batches(world, source, count, seed, size):
        styles = model.sample_style(len(images), generator)
        outputs = translate_on_device(model, images, source, predictor.domain, styles)
        attributes: Attributes = predictor(outputs)
        hits.append(attributes.shape_class == truth.shape_class)
        control.append(attributes.shape_class == truth.shape_class.roll(1))
        position_errors.append((attributes.position - truth.position).norm(dim=1))
        size_errors.append((attributes.size - truth.size).abs())
        rotation_errors.append((attributes.rotation - truth.rotation).abs()[truth.angle != 0])
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
        model: Translates from `source` into `predictor.domain`.
        predictor: Predicts the style factors of the translations.
        images: Inputs (B, 3, H, W) in [-1, 1].
        source: 1 or 2.
        styles_per_input: Styles sampled from the prior for each image.
        generator: Random generator of the styles.

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
        quantiles: Style factors as quantiles, (inputs, styles, factors). Their true distribution is uniform on (0, 1)
            and has a standard deviation of 1 / sqrt(12).

    Returns:
        (inputs, factors): 0 for a deterministic translator, about 1 for true styles.
    """
    return quantiles.std(dim=1) * 12**0.5


@torch.no_grad()
def style_metrics(
    model: Translator,
    predictor: AttributePredictor,
    world: World,
    source: int,
    count: int,
    seed: int,
    size: int,
    styles_per_input: int = 64,
) -> Metrics:
    """Measure how well the translations of *one* input cover the styles of the target domain.

    Args:
        count: Number of inputs.
        styles_per_input: Styles sampled from the prior for each input.
        (the others as in `content_metrics`)

    Returns:
        `diversity_ratio`, the mean over factors, and averages over inputs for each factor: `<factor>_ks` and
        `<factor>_wasserstein`, the distances of the predicted quantiles to the uniform distribution, and
        `<factor>_diversity_ratio`. The control `<factor>_ks_deterministic` is the KS distance of a translator that
        returns the first of those outputs every time.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    batches = labeled_batches(world, source, count, seed, size, batch_size=max(1, 256 // styles_per_input))
    quantiles = torch.cat(
        [predict_output_styles(model, predictor, b.images, source, styles_per_input, generator) for b in batches]
    )  # (inputs, styles, factors)
    ratios = diversity_ratio(quantiles)
    metrics: Metrics = {}
    metrics["diversity_ratio"], metrics["diversity_ratio_interval"] = mean_with_interval(ratios.mean(1))
    for k, factor in enumerate(STYLE_FACTORS[predictor.domain]):
        for name, values in {
            "ks": ks_to_uniform(quantiles[:, :, k]),
            "ks_deterministic": ks_to_uniform(quantiles[:, :1, k].expand(-1, styles_per_input)),
            "wasserstein": wasserstein_to_uniform(quantiles[:, :, k]),
            "diversity_ratio": ratios[:, k],
        }.items():
            metrics[f"{factor.name}_{name}"], metrics[f"{factor.name}_{name}_interval"] = mean_with_interval(values)
    return metrics | {"inputs": count, "styles_per_input": styles_per_input}


@torch.no_grad()
def code_metrics(
    model: EncodingTranslator,
    predictor: AttributePredictor,
    world: World,
    source: int,
    count: int,
    seed: int,
    size: int,
) -> Metrics:
    """Measure what the codes of one direction contain: the target's style codes and the source's content codes.

    Args:
        (as in `content_metrics`)

    Returns:
        Held-out R² of probes with their 95 % intervals:

        - `sampled_style`: from the sampled style code to the style factors predicted from the translation;
        - `encoded_style`: from the style code of a real image of the target domain to its true style factors;
        - `style_in_content`, a leak: from the content code of an image of the source domain to its style factors;
        - `content_in_style`, a leak: from the encoded style code to the image's position and size. For the class it is
          `class_from_style_accuracy`, to be compared with `most_frequent_class`.
    """
    generator = torch.Generator().manual_seed(seed + 2)
    sampled_styles, output_styles, encoded_styles, true_styles, content_codes, source_styles = [], [], [], [], [], []
    contents: list[Content] = []
    sources = labeled_batches(world, source, count, seed, size)
    targets = labeled_batches(world, predictor.domain, count, seed, size, stream="codes")
    for inputs, examples in zip(sources, targets, strict=True):
        styles = model.sample_style(len(inputs.images), generator)
        outputs = translate_on_device(model, inputs.images, source, predictor.domain, styles)
        sampled_styles.append(styles.cpu())
        output_styles.append(style_quantiles(predictor(outputs), predictor.domain))
        content_codes.append(content_features(model.encode_content(inputs.images.to(styles.device), source)).cpu())
        source_styles.append(inputs.style)
        encoded_styles.append(model.encode_style(examples.images.to(styles.device), predictor.domain).cpu())
        true_styles.append(examples.style)
        contents.append(examples.content)
    codes = torch.cat(encoded_styles)
    source_names, target_names = ([factor.name for factor in STYLE_FACTORS[d]] for d in (source, predictor.domain))
    position_and_size = torch.cat([torch.cat([c.position, c.size[:, None]], dim=1) for c in contents])
    classes = torch.nn.functional.one_hot(torch.cat([c.shape_class for c in contents]), len(SHAPE_NAMES))
    class_scores, one_hot = held_out_predictions(codes, classes)
    accuracy, accuracy_interval = mean_with_interval(class_scores.argmax(1) == one_hot.argmax(1))
    return {
        **held_out_r2(torch.cat(sampled_styles), torch.cat(output_styles), target_names, "sampled_style"),
        **held_out_r2(codes, torch.cat(true_styles), target_names, "encoded_style"),
        **held_out_r2(torch.cat(content_codes), torch.cat(source_styles), source_names, "style_in_content"),
        **held_out_r2(codes, position_and_size, ["x", "y", "size"], "content_in_style"),
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
def example_metrics(
    model: EncodingTranslator,
    predictor: AttributePredictor,
    world: World,
    source: int,
    count: int,
    seed: int,
    size: int,
) -> Metrics:
    """Measure how well example-guided translation transfers the style of the example.

    Args:
        (as in `content_metrics`)

    Returns:
        For each factor the mean absolute error between translation and example in units of the factor's range. The
        control is the error against another example, which is 1/3 for independent styles.
    """
    errors, control = [], []
    sources = labeled_batches(world, source, count, seed, size)
    targets = labeled_batches(world, predictor.domain, count, seed, size, stream="examples")
    device = model.sample_style(1).device
    for inputs, examples in zip(sources, targets, strict=True):
        styles = model.encode_style(examples.images.to(device), predictor.domain)
        outputs = translate_on_device(model, inputs.images, source, predictor.domain, styles)
        quantiles = style_quantiles(predictor(outputs), predictor.domain)
        errors.append((quantiles - examples.style).abs())
        control.append((quantiles - examples.style.roll(1, 0)).abs())
    metrics: Metrics = {}
    for name, values in (("error", torch.cat(errors)), ("error_other_example", torch.cat(control))):
        metrics[f"example_{name}"], metrics[f"example_{name}_interval"] = mean_with_interval(values.mean(1))
        for k, factor in enumerate(STYLE_FACTORS[predictor.domain]):
            metrics[f"example_{factor.name}_{name}"] = values[:, k].double().mean().item()
    return metrics


# -------------------------------------------------------------------------------------------------- all metrics


def evaluate(model: MUNIT, count: int = 1000, seed: int = 1) -> dict[str, Metrics]:
    """Evaluate a trained model with all metrics that apply to its dataset.

    Args:
        model: A trained model. Its configuration names the dataset.
        count: Test contents (or drawings) per direction. The style metrics use count / 20 inputs, the code metrics at
            most `MAX_CODES`, mode coverage at most 100 photos.
        seed: Seed of the test contents and of the sampled styles.

    Returns:
        Direction -> metrics. The half-width of the 95 % interval of a metric `<name>` is `<name>_interval`.

    Raises:
        DataError: The held-out images are missing.
        NoVarietyLabelsError: The photos of a folder dataset do not name their varieties.
        ValueError: The attribute predictors cannot process images of the model's size.
    """
    data = model.config.data
    if data.dataset == "fashion":
        photos = open_data(model.config)
        assert isinstance(photos, FashionData)
        return {"drawing to photo": photo_metrics(model, photos, min(count, 400), seed)}
    if data.dataset == "folder":
        photos = open_data(model.config)
        assert isinstance(photos, FolderData)
        return mode_coverage_metrics(model, photos, count, seed)
    world = World(data.world_variant)
    metrics = {}
    for source, target in ((1, 2), (2, 1)):
        arguments = (model, load_attribute_predictor(target), world, source)
        metrics[f"{DOMAIN_NAMES[source]} to {DOMAIN_NAMES[target]}"] = {
            **content_metrics(*arguments, count, seed, data.image_size),
            **style_metrics(*arguments, max(2, count // 20), seed, data.image_size),
            **code_metrics(*arguments, min(max(8, count), MAX_CODES), seed, data.image_size),
            **example_metrics(*arguments, count, seed, data.image_size),
        }
    return metrics


def format_metrics(metrics: dict[str, Metrics]) -> str:
    """Format metrics as plain text, one per line: the value, and its 95 % interval where there is one.

    Example:
        >>> print(format_metrics({"1 to 2": {"cis": 0.5, "cis_interval": 0.02}}))
        1 to 2
          cis                                0.500 ± 0.020
    """
    lines = []
    for direction, values in metrics.items():
        lines.append(direction)
        for name, value in values.items():
            if name.endswith("_interval"):
                continue
            interval = values.get(f"{name}_interval")
            formatted = f"{value:d}" if isinstance(value, int) else f"{value:.3f}"
            lines.append(f"  {name:34} {formatted}" + (f" ± {interval:.3f}" if interval is not None else ""))
    return "\n".join(lines)
