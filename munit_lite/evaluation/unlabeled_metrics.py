"""Metrics of a translator that need images alone: no labels, no pairs, no truth. They apply to folders of photos."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from munit_lite.data.folders import FolderData
from munit_lite.evaluation.image_metrics import (
    Distance,
    image_features,
    kid_and_fid,
    lpips,
    output_diversity,
    pixel_distance,
    real_diversity,
)
from munit_lite.evaluation.pretrained_networks import Features, load_inception
from munit_lite.evaluation.statistics import Metrics, mean_with_interval
from munit_lite.evaluation.translator import (
    EncodingTranslator,
    Images,
    Translator,
    row_batches,
    translate_on_device,
    with_progress_bar,
)
from munit_lite.evaluation.weight_files import ALEXNET_FILE, is_usable
from munit_lite.world import DIRECTIONS

MAX_INPUTS, PAIRS_PER_INPUT = 100, 19  # the paper's, for diversity
NUM_SHARED_STYLES = 16  # styles that all inputs share, for `variance_fractions`
KID_SUBSET_SIZE = 50  # images of each set in one of KID's subsets; two subsets must fit, or their spread means nothing
MIN_LPIPS_SIZE = 32  # side in pixels; AlexNet halves smaller images away


class ReconstructingTranslator(EncodingTranslator, Protocol):
    """A translator that can also reconstruct an image in its own domain."""

    def reconstruct(self, images: Tensor, domain: int) -> Tensor:
        """Reconstruct images (B, 3, H, W) of a domain."""
        ...


class HeldOutImages:
    """Held-out images of a domain in a random order, read when they are indexed, so that few are in memory at once.

    Args:
        data: images of two domains.
        domain: 1 or 2.
        count: how many images; fewer if there are not as many.
        seed: seed of the order.
    """

    def __init__(self, data: FolderData, domain: int, count: int, seed: int) -> None:
        self._data, self._file_set = data, data.files.test[domain - 1]
        generator = torch.Generator().manual_seed(seed)
        self._order = torch.randperm(len(self._file_set.files), generator=generator)[:count]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._order)

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """Read the images of some rows: (B, 3, H, W) in [-1, 1]."""
        return self._data.center_crops(self._file_set, self._order[rows].tolist())


@torch.no_grad()
def reconstruction_metrics(model: ReconstructingTranslator, images: Images, source: int, seed: int = 0) -> Metrics:
    """Measure how well a model returns to its input, directly and through the other domain.

    Errors are mean absolute errors of pixels in [-1, 1], so an error of 0.02 is 1 % of the range.

    Args:
        model: any method.
        images: inputs (N, 3, H, W) in [-1, 1].
        source: their domain, 1 or 2.
        seed: seed of the sampled styles in the other domain.

    Returns:
        - `reconstruction_error` of x → x. A method that has no loss for it (CycleGAN, BicycleGAN) returns through the
          other domain with the mean style.
        - `cycle_error` of x → the other domain, with a sampled style → x, with the style encoded from x.
        - `other_image_error`, the difference between x and another input: an upper limit for a useful reconstruction.
    """
    styles = model.sample_style(len(images), torch.Generator().manual_seed(seed))
    errors = defaultdict(list)
    for rows in with_progress_bar(row_batches(images), f"reconstructing domain {source}", unit="batch"):
        x = images[rows].to(styles.device)
        translation = model.translate(x, source, 3 - source, style=styles[rows])
        cycle = model.translate(translation, 3 - source, source, style=model.encode_style(x, source))
        errors["reconstruction_error"].append(pixel_distance(model.reconstruct(x, source), x).float().cpu())
        errors["cycle_error"].append(pixel_distance(cycle, x).float().cpu())
        if len(images) > 1:
            errors["other_image_error"].append(pixel_distance(images[rows - 1].to(x.device), x).cpu())
    metrics: Metrics = {}
    for name, values in errors.items():
        metrics[name], metrics[f"{name}_interval"] = mean_with_interval(torch.cat(values))
    return metrics


def diversity_metrics(model: Translator, images: Tensor, real: Tensor, source: int, seed: int = 0) -> Metrics:
    """Compute the paper's diversity (section 5.2) of translations and of real images of the target domain.

    Args:
        model: translates from `source` into the other domain.
        images: inputs (N, 3, H, W) in [-1, 1]; the paper has 100. Each gets `PAIRS_PER_INPUT` pairs of translations.
        real: images (M, 3, H, W) of the target domain.
        source: 1 or 2.
        seed: seed of the sampled styles and of the pairs of real images.

    Returns:
        `pixel_diversity`, the `pixel_distance` between two translations of one input, and `pixel_diversity_real_images`
        between two real images, which differ in content as well. Where torch's cache has the weights of AlexNet and the
        images have at least `MIN_LPIPS_SIZE` pixels, also `lpips_diversity` and `lpips_diversity_real_images`.
    """
    distances: dict[str, Distance] = {"pixel": pixel_distance}
    if is_usable(ALEXNET_FILE) and min(images.shape[2:]) >= MIN_LPIPS_SIZE:
        distances["lpips"] = lpips
    metrics: Metrics = {}
    for name, distance in distances.items():
        found = {"": output_diversity(model, images, source, distance, PAIRS_PER_INPUT, seed)}
        if len(real) > 1:
            found["_real_images"] = real_diversity(real, distance, seed)
        for suffix, values in found.items():
            metrics[f"{name}_diversity{suffix}"] = values["diversity"]
            metrics[f"{name}_diversity{suffix}_interval"] = values["diversity_interval"]
    return metrics


@torch.no_grad()
def variance_fractions(
    model: Translator, images: Tensor, source: int, num_styles: int = NUM_SHARED_STYLES, seed: int = 0
) -> Metrics:
    r"""Split the variance of a model's outputs between the input and the style.

    Every input $x_i$ is translated with the same styles $s_k$. Each pixel value of the outputs is written as

    $$ y_{ik} = \mu + a_i + b_k + r_{ik}, \qquad \operatorname{Var}(y) = \sigma_a^2 + \sigma_b^2 + \sigma_r^2, $$

    where a is the effect of the input, b the effect that a style has on all inputs alike, and r what the style changes
    in this input only. The variances are the unbiased estimates of a two-way analysis of variance, added over pixels
    and channels. With mean squares $M_a, M_b, M_r$ of N inputs and K styles, $\sigma_a^2 = (M_a - M_r) / K$,
    $\sigma_b^2 = (M_b - M_r) / N$ and $\sigma_r^2 = M_r$; an estimate below 0 counts as 0.

    Args:
        model: translates from `source` into the other domain.
        images: inputs (N, 3, H, W) in [-1, 1], with N of at least 2.
        source: 1 or 2.
        num_styles: K, at least 2.
        seed: seed of the styles.

    Returns:
        - `style_variance_fraction`, the fraction of the variance that lies between the outputs of one input,
          $(\sigma_b^2 + \sigma_r^2) / \operatorname{Var}(y)$, with its 95 % interval over inputs: 0 for a deterministic
          translator, 1 for one that ignores its input;
        - its two parts, `common_style_variance_fraction` of b and `specific_style_variance_fraction` of r;
        - `input_variance_fraction` of a. This fraction and the two parts add up to 1.

        All are 0 if all outputs are equal.

    Raises:
        ValueError: there are fewer than 2 inputs or styles.

    Example:
        >>> from munit_lite.presets import preset
        >>> from munit_lite.methods import build
        >>> unit = build(preset("world32_unit"))  # ignores the style
        >>> round(variance_fractions(unit, torch.rand(3, 3, 32, 32), source=1)["style_variance_fraction"], 6)
        0.0
    """
    count = len(images)
    if min(count, num_styles) < 2:
        raise ValueError(f"got {count} inputs and {num_styles} styles, but a variance needs 2 or more of each")
    styles = model.sample_style(num_styles, torch.Generator().manual_seed(seed))
    input_means, within_input, style_sums = [], [], torch.zeros((), dtype=torch.float64)
    for image in with_progress_bar(images, f"translating domain {source} with {num_styles} styles"):
        outputs = translate_on_device(model, image.expand(num_styles, -1, -1, -1), source, 3 - source, styles)
        flat = outputs.double().flatten(1)  # (K, 3HW)
        input_means.append(flat.mean(0))
        within_input.append(flat.var(0).sum())
        style_sums = style_sums + flat
    within = torch.stack(within_input)  # (N,) estimates of the variance of b + r
    mean_square_style = count * (style_sums / count).var(0).sum()
    mean_square_rest = (count * within.mean() - mean_square_style) / (count - 1)
    mean = style_sums.mean(0) / count
    deviations = torch.stack([(input_mean - mean).square().sum() for input_mean in input_means])
    between = deviations * count / (count - 1) - mean_square_rest / num_styles  # (N,), of a
    variance_of_input = between.mean().clamp_min(0)
    total = (within.mean() + variance_of_input).item()
    if total <= 1e-12:
        return dict.fromkeys(
            (
                *(f"{part}_variance_fraction" for part in ("style", "common_style", "specific_style", "input")),
                "style_variance_fraction_interval",
            ),
            0.0,
        )
    fraction = within.mean().item() / total
    common = min(max((mean_square_style - mean_square_rest).item() / count / total, 0.0), fraction)
    influence = (within - fraction * (within + between)) / total  # of each input on the ratio, to first order
    return {
        "style_variance_fraction": fraction,
        "style_variance_fraction_interval": mean_with_interval(influence)[1],
        "common_style_variance_fraction": common,
        "specific_style_variance_fraction": fraction - common,
        "input_variance_fraction": 1 - fraction,
    }


def has_enough_images(inputs: int, real: int) -> bool:
    """Return whether KID has two subsets of `KID_SUBSET_SIZE` inputs and of real images."""
    return min(inputs, real) >= 2 * KID_SUBSET_SIZE


@torch.no_grad()
def inception_metrics(
    model: Translator,
    images: Images,
    features_of: Mapping[int, Tensor],
    source: int,
    inception: tuple[str, Features],
    seed: int = 0,
) -> Metrics:
    """Compute KID and FID between translations, one for each input, and real images of the target domain.

    Args:
        model: translates from `source` into the other domain.
        images: N inputs; see `has_enough_images`.
        features_of: domain -> features of its real images, (N, D) of the inputs and (M, D) of the target domain.
        source: 1 or 2.
        inception: what `load_inception` returns.
        seed: seed of the sampled styles and of KID's subsets.

    Returns:
        `kid`, its standard deviation over 100 subsets `kid_std`, and `fid`, as `distribution_metrics` defines them, and
        the same of the untranslated inputs, `…_untranslated`, which any useful translation must fall below. All names
        end in the suffix of the network.
    """
    suffix, features = inception
    styles = model.sample_style(len(images), torch.Generator().manual_seed(seed))
    translations = torch.cat(
        [
            features(translate_on_device(model, images[rows], source, 3 - source, styles[rows]))
            for rows in row_batches(images)
        ]
    )
    metrics: Metrics = {}
    for control, generated in (("", translations), ("_untranslated", features_of[source])):
        found = kid_and_fid(features_of[3 - source], generated, KID_SUBSET_SIZE, seed)
        metrics |= {f"{name}{control}{suffix}": value for name, value in found.items()}
    return metrics


def unlabeled_metrics(model: ReconstructingTranslator, data: FolderData, count: int, seed: int) -> dict[str, Metrics]:
    """Compute all metrics of this module on held-out images, in both directions.

    Args:
        model: translates in both directions.
        data: images of two domains.
        count: held-out images per direction, in a random order; the metrics of several translations of one input use at
            most `MAX_INPUTS` of them.
        seed: seed of the inputs and styles.

    Returns:
        Direction -> the metrics, the number of `images`, and the number of `inputs` that have several translations. A
        metric that needs more images than there are is left out, and so are the interval of a single image, LPIPS
        without the weights of AlexNet, and KID and FID without those of Inception v3.

    Raises:
        DataError: an image cannot be read.
    """
    images = {domain: HeldOutImages(data, domain, count, seed) for domain in (1, 2)}
    inception = load_inception() if has_enough_images(len(images[1]), len(images[2])) else None
    features_of = {domain: image_features(images[domain], inception[1]) for domain in images} if inception else {}
    metrics_of = {}
    for source, target in DIRECTIONS:
        inputs, real = images[source], HeldOutImages(data, target, max(count, 4), seed)
        several = inputs[:MAX_INPUTS]
        metrics = reconstruction_metrics(model, inputs, source, seed)
        metrics |= diversity_metrics(model, several, real[: 2 * MAX_INPUTS], source, seed)
        if len(several) > 1:
            metrics |= variance_fractions(model, several, source, seed=seed)
        if inception:
            metrics |= inception_metrics(model, inputs, features_of, source, inception, seed)
        metrics |= {"images": len(inputs), "real_images": len(real), "inputs": len(several)}
        metrics_of[f"domain {source} to domain {target}"] = {
            name: value for name, value in metrics.items() if not (name.endswith("_interval") and math.isnan(value))
        }
    return metrics_of
