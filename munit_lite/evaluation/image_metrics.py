"""Metrics for any images: diversity by the paper's LPIPS protocol, FID, KID, precision and recall, CIS and IS.

The network that extracts features is an argument: LPIPS where its weights are available, an attribute predictor
elsewhere. Images are passed to it as the model generated them, in [-1, 1]. Stretching each image to its own minimum and
maximum, as `save_image(normalize=True)` does, would change every metric here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from importlib.metadata import version

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

from munit_lite.evaluation.attribute_predictors import AttributePredictor
from munit_lite.evaluation.pretrained_networks import Features
from munit_lite.evaluation.statistics import Metrics, mean_with_interval
from munit_lite.evaluation.translator import Images, Translator, row_batches, translate_on_device, with_progress_bar

Distance = Callable[[Tensor, Tensor], Tensor]  # two batches (B, 3, H, W) in [-1, 1] -> (B,)
Classifier = Callable[[Tensor], Tensor]  # (B, 3, H, W) in [-1, 1] -> (B, M) probabilities

LPIPS_NAME = f"LPIPS 0.1, AlexNet, torchmetrics {version('torchmetrics')}"


# ---------------------------------------------------------------------------------------------------- diversity


def lpips(images_a: Tensor, images_b: Tensor) -> Tensor:
    """Compute the LPIPS distance of pairs of images on AlexNet features. Report `LPIPS_NAME` beside it.

    The paper used version 0.0 of LPIPS; later versions give other values on the same images.

    Args:
        images_a: (B, 3, H, W) in [-1, 1], with H and W of at least 32.
        images_b: (B, 3, H, W) in [-1, 1].

    Returns:
        Distances (B,).

    Raises:
        OSError: the weights of AlexNet are not in torch's cache and cannot be downloaded.
    """
    try:
        network = _lpips_network()
    except OSError as error:
        raise OSError(
            f"LPIPS needs the weights of AlexNet, which are not in torch's cache and cannot be downloaded ({error}). "
            "Use `perceptual_distance` instead, or run LPIPS once with network access."
        ) from error
    with torch.no_grad():
        return network(images_a, images_b, normalize=False).flatten()  # normalize=True expects images in [0, 1]


@cache
def _lpips_network() -> nn.Module:
    """Load the network of LPIPS once, because its weights are a file of 233 MB."""
    return LearnedPerceptualImagePatchSimilarity(net_type="alex").net


def pixel_distance(images_a: Tensor, images_b: Tensor) -> Tensor:
    """Compute the mean absolute difference of pairs of images, in units of their range [-1, 1], which has length 2.

    Args:
        images_a: (B, 3, H, W) in [-1, 1].
        images_b: (B, 3, H, W) in [-1, 1].

    Returns:
        Distances (B,) in [0, 2].

    Example:
        >>> pixel_distance(torch.full((1, 3, 8, 8), 0.5), torch.full((1, 3, 8, 8), -0.5)).item()
        1.0
    """
    return (images_a - images_b).abs().mean((1, 2, 3))


def perceptual_distance(predictor: AttributePredictor) -> Distance:
    """Build a distance by the LPIPS formula on the features of an attribute predictor. It needs no download.

    After each activation, the features of every pixel are scaled to length 1. The squared differences are averaged over
    pixels and summed over layers (Zhang et al., 2018, equation 1 with equal weights). Its values cannot be compared
    with those of LPIPS.

    Args:
        predictor: of the domain of the images.

    Returns:
        A function of two batches (B, 3, H, W) that computes distances (B,).
    """

    @torch.no_grad()
    def distance(images_a: Tensor, images_b: Tensor) -> Tensor:
        features, total = predictor.downsample(torch.cat([images_a, images_b])), torch.zeros(len(images_a))
        for layer in predictor.layers:
            if isinstance(layer, nn.Flatten):
                break
            features = layer(features)
            if isinstance(layer, nn.ReLU):
                a, b = torch.nn.functional.normalize(features, dim=1, eps=1e-10).chunk(2)
                total = total + (a - b).square().sum(1).mean((1, 2))
        return total

    return distance


@torch.no_grad()
def output_diversity(
    model: Translator, images: Tensor, source: int, distance: Distance, pairs: int = 19, seed: int = 0
) -> Metrics:
    """Compute the paper's diversity: the mean distance of random pairs of translations of one input, over inputs.

    Section 5.2 of the paper samples 19 pairs of outputs for each of 100 inputs.

    Args:
        model: translates from `source` into the other domain.
        images: inputs (N, 3, H, W) in [-1, 1].
        source: 1 or 2.
        distance: `lpips`, `pixel_distance` or `perceptual_distance(predictor)`.
        pairs: pairs of translations per input. All 2 × `pairs` styles are sampled independently.
        seed: seed of the sampled styles.

    Returns:
        `diversity` with its 95 % interval over inputs, and the numbers of inputs and pairs.
    """
    generator = torch.Generator().manual_seed(seed)
    distances = []
    for image in with_progress_bar(images, f"translating domain {source} in pairs"):
        styles = model.sample_style(2 * pairs, generator)
        inputs = image.expand(2 * pairs, -1, -1, -1)
        outputs = translate_on_device(model, inputs, source, 3 - source, styles)
        distances.append(distance(*outputs.chunk(2)).mean())
    mean, interval = mean_with_interval(torch.stack(distances))
    return {"diversity": mean, "diversity_interval": interval, "inputs": len(images), "pairs_per_input": pairs}


def real_diversity(images: Tensor, distance: Distance, seed: int = 0) -> Metrics:
    """Compute the mean distance of random disjoint pairs of real images: the paper's row "real data".

    Args:
        images: (N, 3, H, W) in [-1, 1].
        distance: `lpips`, `pixel_distance` or `perceptual_distance(predictor)`.
        seed: seed of the pairing.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    half = len(images) // 2
    mean, interval = mean_with_interval(distance(images[order[:half]], images[order[half : 2 * half]]))
    return {"diversity": mean, "diversity_interval": interval, "pairs": half}


# ------------------------------------------------------------------------------------------------ distributions


class _FeatureExtractor(nn.Module):
    """Adapt a feature function to the interface of torchmetrics."""

    def __init__(self, features: Features, num_features: int) -> None:
        super().__init__()
        self.features, self.num_features = features, num_features

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)


def image_features(images: Images, features: Features) -> Tensor:
    """Compute the features of N images, a batch at a time: (N, D) on the CPU."""
    return torch.cat([features(images[rows]) for rows in row_batches(images)]).cpu()


def kid_and_fid(real: Tensor, generated: Tensor, subset_size: int = 100, seed: int = 0) -> Metrics:
    """Compute KID and FID from features.

    Args:
        real: (N, D), of real images.
        generated: (M, D), of generated images.
        subset_size: images of each set in one of KID's 100 subsets; at most N and M.
        seed: seed of KID's subsets.

    Returns:
        `kid`, `kid_std` over subsets, and `fid`.
    """
    extractor = _FeatureExtractor(lambda rows: rows, real.shape[1])
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save all")
        torch.default_generator.manual_seed(seed)
        fid = FrechetInceptionDistance(extractor).set_dtype(torch.float64)
        kid = KernelInceptionDistance(extractor, subset_size=subset_size)
        for metric in (fid, kid):
            metric.update(real.double(), real=True)
            metric.update(generated.double(), real=False)
        kid_mean, kid_std = (value.item() for value in kid.compute())
        return {"kid": kid_mean, "kid_std": kid_std, "fid": fid.compute().item()}


@torch.no_grad()
def distribution_metrics(
    real: Tensor, generated: Tensor, features: Features, neighbors: int = 3, subset_size: int = 100, seed: int = 0
) -> Metrics:
    """Compute FID, KID, precision and recall of generated images on the features of a network.

    FID is biased: it decreases with the number of images, so compare values of equally many images only. KID is
    unbiased. Precision is the fraction of generated images within the manifold of the real ones, and recall the
    fraction of real images within the manifold of the generated ones (Kynkäänniemi et al., 2019). A manifold is the
    union of balls around its points that reach to each point's k-th nearest neighbor.

    Args:
        real: (N, 3, H, W) in [-1, 1].
        generated: (M, 3, H, W) in [-1, 1].
        features: function from images (B, 3, H, W) to features (B, D). FID needs many more images than D.
        neighbors: k.
        subset_size: images of each set in one of KID's 100 subsets.
        seed: seed of KID's subsets.

    Returns:
        `fid`, `kid`, `kid_std` over subsets, `precision`, `recall`, and the numbers of images and features.

    Raises:
        ValueError: there are too few images for k or for a subset.
    """
    fewest, needed = min(len(real), len(generated)), max(neighbors + 1, subset_size)
    if fewest < needed:
        raise ValueError(f"got {len(real)} real and {len(generated)} generated images, but need {needed} of each")
    real_features, generated_features = (image_features(images, features) for images in (real, generated))
    metrics = kid_and_fid(real_features, generated_features, subset_size, seed)
    metrics["precision"] = _fraction_in_manifold(generated_features, real_features, neighbors)
    metrics["recall"] = _fraction_in_manifold(real_features, generated_features, neighbors)
    return metrics | {
        "real_images": len(real),
        "generated_images": len(generated),
        "feature_dim": real_features.shape[1],
    }


def _fraction_in_manifold(points: Tensor, manifold: Tensor, neighbors: int) -> float:
    """Compute the fraction of points within the distance from a manifold point to its k-th nearest neighbor."""

    def distances_to_manifold(rows: Tensor) -> Tensor:
        return torch.cdist(rows.double(), manifold.double(), compute_mode="donot_use_mm_for_euclid_dist")

    radii = distances_to_manifold(manifold).kthvalue(neighbors + 1, dim=1).values  # the nearest is the point itself
    return (distances_to_manifold(points) <= radii).any(1).double().mean().item()


# ------------------------------------------------------------------------------------------------- modes by class


def conditional_inception_score(probabilities: Tensor) -> Metrics:
    """Compute CIS and IS of the paper (section 5.2), both *without* exp: at most the log of the number of modes.

    CIS = E_x1 E_x1→2 KL(p(y2|x1→2) ‖ p(y2|x1)), where p(y2|x1) is the mean over the translations of x1. IS has p(y2),
    the mean over all translations, in its place, so IS ≥ CIS. A deterministic translator has a CIS of 0, whatever its
    IS.

    Args:
        probabilities: (N, K, M), class probabilities over M modes for K translations of each of N inputs.

    Returns:
        `cis` and `is` with the half-widths of their 95 % intervals over inputs, and N, K and M.

    Example:
        >>> every_mode_from_each_input = torch.eye(4).expand(10, 4, 4)
        >>> round(conditional_inception_score(every_mode_from_each_input)["cis"], 4)  # log 4
        1.3863
    """
    p = probabilities.double()

    def mean_divergence(reference: Tensor) -> Tensor:
        return (torch.xlogy(p, p) - torch.xlogy(p, reference)).sum(2).mean(1)  # (N,)

    metrics: Metrics = {"modes": p.shape[2], "inputs": p.shape[0], "samples_per_input": p.shape[1]}
    for name, reference in (("cis", p.mean(1, keepdim=True)), ("is", p.mean((0, 1)))):
        metrics[name], metrics[f"{name}_interval"] = mean_with_interval(mean_divergence(reference))
    return metrics


@torch.no_grad()
def mode_probabilities(
    model: Translator, images: Tensor, source: int, classifier: Classifier, samples: int = 100, seed: int = 0
) -> Tensor:
    """Classify a translator's outputs by the modes of the target domain. The paper uses 100 inputs and 100 samples.

    Args:
        model: translates from `source` into the other domain.
        images: inputs (N, 3, H, W) in [-1, 1].
        source: 1 or 2.
        classifier: function from images (B, 3, H, W) to probabilities (B, M).
        samples: translations of each input.
        seed: seed of the sampled styles.

    Returns:
        Probabilities (N, samples, M).
    """
    generator = torch.Generator().manual_seed(seed)
    probabilities = []
    for image in with_progress_bar(images, f"translating domain {source} for mode coverage"):
        styles = model.sample_style(samples, generator)
        inputs = image.expand(samples, -1, -1, -1)
        probabilities.append(classifier(translate_on_device(model, inputs, source, 3 - source, styles)))
    return torch.stack(probabilities)
