"""Numbers that say how good a translator is, each measured against the known world's truth.

Images go from a model to a judge as they are: never stretched, clipped or rounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from munit_lite.data import open_data
from munit_lite.data.fashion import FashionData
from munit_lite.data.folders import FolderData
from munit_lite.evaluation.attribute_predictors import Judge, Reading, load_judge
from munit_lite.evaluation.mode_coverage import variety_metrics
from munit_lite.evaluation.photo_metrics import photo_metrics
from munit_lite.evaluation.statistics import (
    Numbers,
    Translator,
    held_out_predictions,
    held_out_r2,
    ks_to_uniform,
    mean_with_interval,
    translated,
    wasserstein_to_uniform,
)
from munit_lite.model import MUNIT
from munit_lite.world import DOMAIN_NAMES, SHAPE_NAMES, STYLE_FACTORS, Content, World

MOST_CODES = 2000  # the regression on codes takes time with the cube of their number


class Coder(Translator, Protocol):
    """A translator with codes of its own: style codes (B, style_dim) and content codes (B, C, h, w)."""

    def encode_style(self, images: Tensor, domain: int) -> Tensor: ...

    def encode_content(self, images: Tensor, domain: int) -> Tensor: ...


class Batch(NamedTuple):
    """Inputs of one domain with what they show."""

    images: Tensor  # (B, 3, size, size)
    content: Content
    style: Tensor  # (B, 3), quantiles of the style factors in (0, 1)


def batches(
    world: World, domain: int, count: int, seed: int, size: int, stream: str = "test", at_once: int = 250
) -> Iterator[Batch]:
    """Held-out images of a domain, with domain 1's p(c) so that both directions see the same contents."""
    for index in torch.arange(count).split(at_once):
        pairs = world.pairs(index, seed, size, stream)
        images, code = (pairs.image_1, pairs.code_1) if domain == 1 else (pairs.image_2, pairs.code_2)
        yield Batch(images, pairs.content, torch.special.ndtr(code))


def style_quantiles(reading: Reading, domain: int) -> Tensor:
    """Judged style factors (B, 3) as quantiles of their true distribution, which is uniform."""
    factors = STYLE_FACTORS[domain]
    low, span = torch.tensor([f.low for f in factors]), torch.tensor([f.span for f in factors])
    return (reading.style - low) / span


@torch.no_grad()
def content_metrics(
    model: Translator, judge: Judge, world: World, source: int, count: int, seed: int, size: int
) -> Numbers:
    """How well translations into the judge's domain keep the content, one drawn style an input.

    Args:
        model: translates from `source` into `judge.domain`.
        judge: reads the target domain.
        world: draws fresh contents (stream "test").
        source: 1 or 2, the domain of the inputs.
        count: number of contents.
        seed: of the contents and of the drawn styles.
        size: of the images in pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    hits, position, sizes, turns, control = [], [], [], [], []
    for images, truth, _ in batches(world, source, count, seed, size):
        styles = model.sample_style(len(images), generator)
        reading: Reading = judge(translated(model, images, source, judge.domain, styles))
        hits.append(reading.shape_class == truth.shape_class)
        control.append(reading.shape_class == truth.shape_class.roll(1))
        position.append((reading.position - truth.position).norm(dim=1))
        sizes.append((reading.size - truth.size).abs())
        turns.append((reading.turn - truth.turn).abs()[truth.angle != 0])
    accuracy, accuracy_interval = mean_with_interval(torch.cat(hits))
    distance, distance_interval = mean_with_interval(torch.cat(position))
    return {
        "class_accuracy": accuracy,
        "class_accuracy_interval": accuracy_interval,
        "class_accuracy_shuffled_contents": torch.cat(control).double().mean().item(),
        "position_error": distance,
        "position_error_interval": distance_interval,
        "size_error": torch.cat(sizes).mean().item(),
        "turn_error_periods": torch.cat(turns).mean().item(),
        "contents": count,
    }


@torch.no_grad()
def judged_styles(
    model: Translator, judge: Judge, images: Tensor, source: int, styles_each: int, generator: torch.Generator
) -> Tensor:
    """What the judge reads of each image's translations in drawn styles, as quantiles: (B, styles_each, factor).

    Args:
        images: (B, 3, H, W) in [-1, 1] of the source.
        styles_each: styles drawn from the prior for each image.
        (the others as in `style_metrics`)
    """
    styles = model.sample_style(len(images) * styles_each, generator)
    made = translated(model, images.repeat_interleave(styles_each, 0), source, judge.domain, styles)
    return style_quantiles(judge(made), judge.domain).view(len(images), styles_each, -1)


def spread_of_true(values: Tensor) -> Tensor:
    """The spread of quantiles over the styles of each input, as a share of the true one: (inputs, styles, factor) ->
    (inputs, factor). A uniform deviation is 1 / sqrt(12)."""
    return values.std(dim=1) * 12**0.5


@torch.no_grad()
def style_metrics(
    model: Translator,
    judge: Judge,
    world: World,
    source: int,
    count: int,
    seed: int,
    size: int,
    styles_each: int = 64,
) -> Numbers:
    """How well the translations of *one* input cover the styles of the judge's domain.

    For each factor, averaged over inputs: the KS and the Wasserstein distance of the judged values to the factor's
    true (uniform) distribution, the latter in units of its range, and the judged spread (standard deviation) as a share
    of the true one. `diversity_of_true` is the mean share over factors. `ks_one_output` is the control: the distance
    of a deterministic translator, which makes the first of those translations every time.

    Args:
        count: number of inputs.
        styles_each: styles drawn from the prior for each input.
        (the others as in `content_metrics`)
    """
    generator = torch.Generator().manual_seed(seed + 1)
    quantiles = []
    for images, _, _ in batches(world, source, count, seed, size, at_once=max(1, 256 // styles_each)):
        quantiles.append(judged_styles(model, judge, images, source, styles_each, generator))
    values = torch.cat(quantiles)  # (inputs, styles, factor)
    spread = spread_of_true(values)
    numbers: Numbers = {}
    numbers["diversity_of_true"], numbers["diversity_of_true_interval"] = mean_with_interval(spread.mean(1))
    for k, factor in enumerate(STYLE_FACTORS[judge.domain]):
        for name, each in {
            "ks": ks_to_uniform(values[:, :, k]),
            "ks_one_output": ks_to_uniform(values[:, :1, k].expand(-1, styles_each)),
            "wasserstein": wasserstein_to_uniform(values[:, :, k]),
            "spread_of_true": spread[:, k],
        }.items():
            numbers[f"{factor.name}_{name}"], numbers[f"{factor.name}_{name}_interval"] = mean_with_interval(each)
    return numbers | {"inputs": count, "styles_each": styles_each}


@torch.no_grad()
def code_metrics(model: Coder, judge: Judge, world: World, source: int, count: int, seed: int, size: int) -> Numbers:
    """What the codes of one direction know: the target's style code and the source's content code.

    Shares of variance (R²) that a held-out regression finds, and half of their 95 % intervals:
    - `drawn_code`: from the style that was drawn to the style factors judged in the translation;
    - `encoded_code`: from the style encoded from a true image of the target to that image's style factors;
    - `style_in_content`, a leak: from the content code of an image of the source to its style factors;
    - `content_in_style`, a leak: from the encoded style to the image's position and size, and to its class, whose
      accuracy is to be compared with the most frequent class.

    Args:
        (as in `content_metrics`)
    """
    generator = torch.Generator().manual_seed(seed + 2)
    drawn, judged, encoded, shown, inside, own = [], [], [], [], [], []
    contents: list[Content] = []
    sources = batches(world, source, count, seed, size)
    targets = batches(world, judge.domain, count, seed, size, stream="codes")
    for inputs, examples in zip(sources, targets, strict=True):
        styles = model.sample_style(len(inputs.images), generator)
        made = translated(model, inputs.images, source, judge.domain, styles)
        drawn.append(styles.cpu())
        judged.append(style_quantiles(judge(made), judge.domain))
        inside.append(content_features(model.encode_content(inputs.images.to(styles.device), source)).cpu())
        own.append(inputs.style)
        encoded.append(model.encode_style(examples.images.to(styles.device), judge.domain).cpu())
        shown.append(examples.style)
        contents.append(examples.content)
    codes = torch.cat(encoded)
    names = {domain: [factor.name for factor in STYLE_FACTORS[domain]] for domain in (source, judge.domain)}
    position, sizes = torch.cat([c.position for c in contents]), torch.cat([c.size for c in contents])
    shapes = torch.cat([c.shape_class for c in contents])
    guessed, one_hot = held_out_predictions(codes, torch.nn.functional.one_hot(shapes, len(SHAPE_NAMES)))
    found = guessed.argmax(1) == one_hot.argmax(1)
    accuracy, accuracy_interval = mean_with_interval(found)
    return {
        **held_out_r2(torch.cat(drawn), torch.cat(judged), names[judge.domain], "drawn_code"),
        **held_out_r2(codes, torch.cat(shown), names[judge.domain], "encoded_code"),
        **held_out_r2(torch.cat(inside), torch.cat(own), names[source], "style_in_content"),
        **held_out_r2(codes, torch.cat([position, sizes[:, None]], 1), ["x", "y", "size"], "content_in_style"),
        "class_from_style_accuracy": accuracy,
        "class_from_style_accuracy_interval": accuracy_interval,
        "most_frequent_class": one_hot.mean(0).max().item(),
    }


def content_features(content: Tensor) -> Tensor:
    """A content code (B, C, h, w) as (B, 18 C) numbers: 4 × 4 averages, and each channel's deviation and maximum."""
    averages = torch.nn.functional.adaptive_avg_pool2d(content, 4).flatten(1)
    return torch.cat([averages, content.std((2, 3)), content.amax((2, 3))], dim=1)


@torch.no_grad()
def example_metrics(model: Coder, judge: Judge, world: World, source: int, count: int, seed: int, size: int) -> Numbers:
    """How well a translation guided by an example takes on the example's style.

    For each factor the mean absolute difference between translation and example in units of the factor's range, and
    the same against another example, which is 1/3 for styles that have nothing to do with each other.

    Args:
        (as in `content_metrics`)
    """
    errors, control = [], []
    sources = batches(world, source, count, seed, size)
    targets = batches(world, judge.domain, count, seed, size, stream="examples")
    device = model.sample_style(1).device
    for inputs, examples in zip(sources, targets, strict=True):
        styles = model.encode_style(examples.images.to(device), judge.domain)
        judged = style_quantiles(judge(translated(model, inputs.images, source, judge.domain, styles)), judge.domain)
        errors.append((judged - examples.style).abs())
        control.append((judged - examples.style.roll(1, 0)).abs())
    numbers: Numbers = {}
    for name, values in (("error", torch.cat(errors)), ("error_other_example", torch.cat(control))):
        numbers[f"example_{name}"], numbers[f"example_{name}_interval"] = mean_with_interval(values.mean(1))
        for k, factor in enumerate(STYLE_FACTORS[judge.domain]):
            numbers[f"example_{factor.name}_{name}"] = values[:, k].double().mean().item()
    return numbers


# ---------------------------------------------------------------------------------------------------- everything


def evaluate(model: MUNIT, count: int = 1000, seed: int = 1) -> dict[str, Numbers]:
    """The numbers that fit a model's data, by direction.

    Args:
        model: trained; its configuration names the data.
        count: test contents (or drawings) in each direction; styles are measured on count / 20 inputs, codes on
            `MOST_CODES` at most, varieties of folders from 100 photos at most.
        seed: of the test contents and the drawn styles.

    Raises:
        DataError: the held-out images are missing.
        NoVarieties: the photos of the folders name none.
        ValueError: no judge can read the known world at this size.
    """
    data = model.config.data
    if data.dataset == "fashion":
        photos = open_data(model.config)
        assert isinstance(photos, FashionData)
        return {"drawing to photo": photo_metrics(model, photos, min(count, 400), seed)}
    if data.dataset == "folder":
        photos = open_data(model.config)
        assert isinstance(photos, FolderData)
        return variety_metrics(model, photos, count, seed)
    world = World(data.variant)
    numbers = {}
    for source, target in ((1, 2), (2, 1)):
        judge = load_judge(target)
        what = (model, judge, world, source)
        numbers[f"{DOMAIN_NAMES[source]} to {DOMAIN_NAMES[target]}"] = {
            **content_metrics(*what, count, seed, data.size),
            **style_metrics(*what, max(2, count // 20), seed, data.size),
            **code_metrics(*what, min(max(8, count), MOST_CODES), seed, data.size),
            **example_metrics(*what, count, seed, data.size),
        }
    return numbers


def table(numbers: dict[str, Numbers]) -> str:
    """Measured numbers as plain text: a value, and its 95 % interval where there is one."""
    lines = []
    for direction, found in numbers.items():
        lines.append(direction)
        for name, value in found.items():
            if name.endswith("_interval"):
                continue
            interval = found.get(f"{name}_interval")
            shown = f"{value:d}" if isinstance(value, int) else f"{value:.3f}"
            lines.append(f"  {name:34} {shown}" + (f" ± {interval:.3f}" if interval is not None else ""))
    return "\n".join(lines)
