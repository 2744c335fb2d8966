"""Simple statistics of images, by which `translate` notices an image unlike those that a model was trained on.

Each image becomes a few numbers: its background, contrast, edges and colors. Those of a domain's training images are
summarized by a normal distribution. An image is unlike the domain if it is far from the mean, or if the distribution
of the other domain explains it much better.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torchvision.transforms.v2.functional as TF
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from munit_lite.data.base import ImageData
from munit_lite.data.folders import FolderData
from munit_lite.data.image_files import float_to_uint8

STATISTICS = (
    "background brightness", "mean brightness", "contrast", "brightness of the dark parts", "median brightness",
    "brightness of the light parts", "share of mid-tones", "relative brightness", "edge strength", "edge density",
    "share of fine detail", "saturation", "variation of saturation", "variation of red-green",
    "variation of blue-yellow", "red-green of the background", "blue-yellow of the background",
    "red-green of the center", "blue-yellow of the center",
)  # fmt: skip
_SKEWED = [STATISTICS.index(name) for name in ("contrast", "edge strength")]  # their logarithm is closer to normal
_SIDE = 64  # larger images are reduced to this shorter side, which is fast and keeps what the statistics describe
_BATCHES, _BATCH_SIZE = 8, 32  # training images of each domain: 256
_MIN_IMAGES = 100  # different ones; fewer say nothing about 1 of 100 new images
_FOLDS = 8
_JPEG_QUALITY = 75  # a quarter of the training images are compressed first: users' images often are
_RESOLUTION = 0.01  # differences below this do not count
_SHRINKAGE = 0.15  # of correlations toward zero, because the images are few
# Limits lie so many standard deviations above the mean of held-out training images that at most 1 of 100 new images of
# the domain exceeds one; `tools/measure_unlike_inputs.py` measures how many do.
_DEVIATIONS = 3.5
_ONE_DEVIATION = 0.84  # of a normal distribution is below the mean plus one standard deviation
# From so many images on, this share of them that looks more like the other domain is reported. With the shipped models,
# less than 1 of 100 folders of so many valid images has it; `tools/measure_unlike_inputs.py` measures that, too.
_MAJORITY_OF, _MAJORITY = 5, 0.8


def image_statistics(images: Tensor, size: int) -> Tensor:
    """Compute the statistics of images.

    Args:
        images: (N, 3, H, W) uint8.
        size: side in pixels of the model's training images, to which the shorter side is resized.

    Returns:
        (N, 19) float64, in the order of `STATISTICS`. Brightness is the mean of the three channels from 0 to 1,
        red-green is R - G, and blue-yellow is (R + G) / 2 - B.

    Example:
        >>> white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
        >>> image_statistics(white, 32)[0, STATISTICS.index("background brightness")].item()
        1.0
    """
    side = min(size, _SIDE)
    if min(images.shape[2:]) != side:
        images = TF.resize(images, [side], antialias=True)
    colors = images.double() / 255
    gray, saturation = colors.mean(1), colors.amax(1) - colors.amin(1)
    red_green, blue_yellow = colors[:, 0] - colors[:, 1], (colors[:, 0] + colors[:, 1]) / 2 - colors[:, 2]
    height, width = gray.shape[1:]
    border, margin_y, margin_x = max(1, side // 16), height // 4, width // 4
    background = torch.ones(height, width, dtype=torch.bool)
    background[border:-border, border:-border] = False
    center = torch.zeros_like(background)
    center[margin_y : height - margin_y, margin_x : width - margin_x] = True
    pixels = gray.flatten(1)
    darkest, lightest = pixels.aminmax(dim=1, keepdim=True)
    relative = (pixels - darkest) / (lightest - darkest + 0.02)
    gradient, curvature = (
        torch.cat([gray.diff(n=n, dim=dim).abs().flatten(1) for dim in (1, 2)], dim=1) for n in (1, 2)
    )
    edges = gradient.mean(1)
    dark, median, light = torch.quantile(pixels, pixels.new_tensor([0.05, 0.5, 0.95]), dim=1)
    columns = [
        *(gray[:, background].median(1).values, pixels.mean(1), pixels.std(1), dark, median, light),
        *(((relative > 0.25) & (relative < 0.75)).double().mean(1), relative.mean(1)),
        *(edges, (gradient > 0.1).double().mean(1), curvature.mean(1) / (edges + 0.005) / 2),
        *(saturation.flatten(1).mean(1), saturation.flatten(1).std(1)),
        *(red_green.flatten(1).std(1), blue_yellow.flatten(1).std(1)),
        *(color[:, part].mean(1) for part in (background, center) for color in (red_green, blue_yellow)),
    ]
    return torch.stack(columns, dim=1)


@dataclass(frozen=True)
class DomainStatistics:
    """The statistics of a domain's training images.

    Args:
        mean: of each statistic, those of `_SKEWED` as logarithms.
        covariance: of the same numbers, with correlations reduced.
        lowest: smallest value of each statistic.
        highest: largest value of each statistic.
        max_distance: squared Mahalanobis distance above which an image is unlike the domain.
        max_ratio: twice the log likelihood ratio of the other domain and this one above which it is unlike the domain.
    """

    mean: list[float]
    covariance: list[list[float]]
    lowest: list[float]
    highest: list[float]
    max_distance: float = 0.0
    max_ratio: float = 0.0

    def distance(self, values: Tensor) -> Tensor:
        """Return the squared Mahalanobis distance of images with these statistics, (N,)."""
        difference = _transform(values) - torch.tensor(self.mean, dtype=torch.float64)
        return (difference @ torch.linalg.inv(self._covariance()) * difference).sum(1)

    def surprise(self, values: Tensor) -> Tensor:
        """Return -2 log likelihood of images with these statistics up to a constant, (N,)."""
        return self.distance(values) + torch.logdet(self._covariance())

    def _covariance(self) -> Tensor:
        return torch.tensor(self.covariance, dtype=torch.float64)


class Mismatch(NamedTuple):
    """What `find_mismatches` found: for each image that is unlike the domain what differs, and whether most are."""

    reasons: dict[int, str]  # by the image's position; "" if no single statistic stands out
    like_other: set[int]  # positions of those that look like images of the other domain
    majority_is_other: bool


def compress_as_jpeg(images: Tensor) -> Tensor:
    """Return images, (N, 3, H, W) uint8, as they are after they were saved as JPEG files."""
    compressed = []
    for image in images:
        buffer = io.BytesIO()
        to_pil_image(image).save(buffer, format="jpeg", quality=_JPEG_QUALITY)
        compressed.append(pil_to_tensor(Image.open(buffer)))
    return torch.stack(compressed)


def measure_domains(data: ImageData) -> dict[str, Any] | None:
    """Summarize the training images of both domains.

    Args:
        data: the images; up to 256 training images of each domain are read, each of them once, and every fourth one is
            compressed as JPEG.

    Returns:
        plain values for the header of a checkpoint, which `find_mismatches` accepts; None if a domain has fewer than
        100 different images.

    Raises:
        DataError: an image cannot be read.
    """
    values = [_measure_training_images(data, domain) for domain in (0, 1)]
    if min(len(own) for own in values) < _MIN_IMAGES:
        return None
    whole = [_summarize(own) for own in values]
    domains = []
    for own, summary, other in zip(values, whole, whole[::-1], strict=True):
        distance, ratio = torch.empty(len(own), dtype=torch.float64), torch.empty(len(own), dtype=torch.float64)
        for fold in range(_FOLDS):  # each image is compared with a summary of other images, as a new one will be
            held_out = torch.arange(len(own)) % _FOLDS == fold
            rest = _summarize(own[~held_out])
            distance[held_out] = rest.distance(own[held_out])
            ratio[held_out] = rest.surprise(own[held_out]) - other.surprise(own[held_out])
        log_distance = distance.clamp_min(1e-3).log()
        # One odd photo can dominate the standard deviation of the ratios, so quantiles take its place.
        median, upper = torch.quantile(ratio, ratio.new_tensor([0.5, _ONE_DEVIATION])).tolist()
        limits = {
            "max_distance": (log_distance.mean() + _DEVIATIONS * log_distance.std()).exp().item(),
            "max_ratio": max(0.0, median + _DEVIATIONS * (upper - median)),
        }
        domains.append(_rounded(asdict(summary) | limits))
    return {"names": list(STATISTICS), "domains": domains}


def find_mismatches(statistics: dict[str, Any], values: Tensor, domain: int) -> Mismatch:
    """Find the images that are unlike a domain.

    Args:
        statistics: as `measure_domains` returns them.
        values: statistics of the images, (N, 19).
        domain: to which the images should belong, 1 or 2.

    Returns:
        the images that are unlike the domain, and why.
    """
    if statistics["names"] != list(STATISTICS):  # of a version that computes others
        return Mismatch({}, set(), False)
    own, other = (DomainStatistics(**statistics["domains"][k - 1]) for k in (domain, 3 - domain))
    distance, ratio = own.distance(values), own.surprise(values) - other.surprise(values)
    unlike = (distance > own.max_distance) | (ratio > own.max_ratio)
    like_other = unlike & (ratio > 0) & (other.distance(values) <= other.max_distance)
    share = (ratio > 0).double().mean().item()
    return Mismatch(
        {k: _reason(own, values[k]) for k in unlike.nonzero()[:, 0].tolist()},
        set(like_other.nonzero()[:, 0].tolist()),
        share >= _MAJORITY if len(values) >= _MAJORITY_OF else bool(like_other.all()),
    )


def _measure_training_images(data: ImageData, domain: int) -> Tensor:
    """Return the statistics of different training images of domain 0 or 1, (N, 19)."""
    seen: set[int] = set()
    rows = []
    for batch in _training_images(data, domain):
        images = float_to_uint8(batch.cpu())
        new = []
        for k, image in enumerate(images):  # a batch may be sampled with replacement
            if (key := hash(image.numpy().tobytes())) not in seen:
                seen.add(key)
                new.append(k)
        if new:
            images = images[new]
            images[::4] = compress_as_jpeg(images[::4])
            rows.append(image_statistics(images, images.shape[-1]))
    return torch.cat(rows)


def _training_images(data: ImageData, domain: int) -> Iterator[Tensor]:
    """Read training images of domain 0 or 1 in batches, in [-1, 1]; of folders each file once, as its center crop."""
    if not isinstance(data, FolderData):
        for number in range(_BATCHES):
            yield data.batch(number, _BATCH_SIZE)[domain]
        return
    # These crops are needed once, and training needs others: they should not fill its cache.
    uncached, files = FolderData(data.files, data.size, data.seed, cache_gib=0), data.files.train[domain]
    count = min(len(files.files), _BATCHES * _BATCH_SIZE)
    for part in (torch.arange(count) * len(files.files) // count).split(_BATCH_SIZE):
        yield uncached.center_crops(files, part.tolist())


def _reason(domain: DomainStatistics, values: Tensor) -> str:
    """Name the statistic that is farthest outside the range of the training images."""
    deviations = torch.tensor(domain.covariance).diagonal().sqrt()
    scores = (_transform(values[None])[0] - torch.tensor(domain.mean)).abs() / deviations
    lowest, highest = torch.tensor(domain.lowest), torch.tensor(domain.highest)
    scores[(values >= lowest - _RESOLUTION) & (values <= highest + _RESOLUTION)] = 0
    k = int(scores.argmax())
    if not scores[k]:
        return ""
    return f"{STATISTICS[k]} {values[k]:.2f}, in training {lowest[k]:.2f} to {highest[k]:.2f}"


def _summarize(values: Tensor) -> DomainStatistics:
    transformed = _transform(values)
    covariance = transformed.T.cov()
    variances = covariance.diagonal()
    covariance = (1 - _SHRINKAGE) * covariance + torch.diag(_SHRINKAGE * variances + _RESOLUTION**2)
    return DomainStatistics(
        transformed.mean(0).tolist(), covariance.tolist(), values.amin(0).tolist(), values.amax(0).tolist()
    )


def _transform(values: Tensor) -> Tensor:
    values = values.clone()
    values[:, _SKEWED] = (values[:, _SKEWED] + 0.005).log() / 4  # with about the scale of the others
    return values


def _rounded(value: Any) -> Any:
    """Round numbers to 6 significant digits, which keeps a header short."""
    if isinstance(value, dict):
        return {name: _rounded(entry) for name, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list) else float(f"{value:.6g}")
