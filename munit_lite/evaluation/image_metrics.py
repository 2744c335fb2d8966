"""Metrics for any images: diversity by the paper's LPIPS protocol, FID, KID, precision and recall, CIS and IS.

Each takes the network that looks at the images as an argument: LPIPS where its weights are at hand, a judge where they
are not. Images stay in [-1, 1] as the model made them; stretching each to its own minimum and maximum, as
`save_image(normalize=True)` does, would change every number here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import learned_perceptual_image_patch_similarity
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from munit_lite.evaluation.attribute_predictors import Judge
from munit_lite.evaluation.statistics import Numbers, Translator, mean_with_interval, translated

Distance = Callable[[Tensor, Tensor], Tensor]  # two of (B, 3, H, W) in [-1, 1] -> (B,)
Features = Callable[[Tensor], Tensor]  # (B, 3, H, W) in [-1, 1] -> (B, D)

LPIPS_NAME = f"LPIPS 0.1, AlexNet, torchmetrics {version('torchmetrics')}"


# ---------------------------------------------------------------------------------------------------- diversity


def lpips(images: Tensor, others: Tensor) -> Tensor:
    """LPIPS of pairs of images, on AlexNet features; `LPIPS_NAME` is to be reported beside every number.

    The paper's numbers were measured with version 0.0; a later version gives others on the same images.

    Args:
        images: (B, 3, H, W) in [-1, 1], H and W of 32 or more.
        others: the same.

    Raises:
        OSError: AlexNet's weights are neither in torch's cache nor to be downloaded.
    """
    try:
        return learned_perceptual_image_patch_similarity(images, others, net_type="alex", reduction="none").flatten()
    except OSError as error:
        raise OSError(
            f"LPIPS needs AlexNet's weights, which are not in torch's cache and cannot be downloaded ({error}); "
            "use `judge_distance`, or run it once where there is a network"
        ) from error


def judge_distance(judge: Judge) -> Distance:
    """LPIPS' formula on a judge's features, for when its weights are not at hand; a number of its own kind.

    After each of the judge's activations, every pixel's features are scaled to length 1; the squared differences are
    averaged over pixels and summed over layers (Zhang et al., 2018, equation 1 with equal weights).

    Args:
        judge: of the domain the images are from.
    """

    @torch.no_grad()
    def distance(images: Tensor, others: Tensor) -> Tensor:
        features, total = judge.shrunk(torch.cat([images, others])), torch.zeros(len(images))
        for layer in judge.layers:
            if isinstance(layer, nn.Flatten):
                break
            features = layer(features)
            if isinstance(layer, nn.ReLU):
                unit = torch.nn.functional.normalize(features, dim=1, eps=1e-10)
                one, other = unit.chunk(2)
                total = total + (one - other).square().sum(1).mean((1, 2))
        return total

    return distance


@torch.no_grad()
def diversity(
    model: Translator, images: Tensor, source: int, distance: Distance, pairs: int = 19, seed: int = 0
) -> Numbers:
    """The paper's protocol: the mean distance of random pairs of translations of one input, over inputs.

    Args:
        model: translates from `source` into the other domain.
        images: (N, 3, H, W) in [-1, 1]; 100 in the paper.
        source: 1 or 2.
        distance: `lpips` or `judge_distance(judge)`.
        pairs: of each input; both outputs of a pair have a style of their own. 19 in the paper.
        seed: of the drawn styles.
    """
    generator = torch.Generator().manual_seed(seed)
    means = []
    for image in images:
        styles = model.sample_style(2 * pairs, generator)
        one, other = translated(model, image.expand(2 * pairs, -1, -1, -1), source, 3 - source, styles).chunk(2)
        means.append(distance(one, other).mean())
    mean, interval = mean_with_interval(torch.stack(means))
    return {"diversity": mean, "diversity_interval": interval, "inputs": len(images), "pairs_each": pairs}


def real_diversity(images: Tensor, distance: Distance, seed: int = 0) -> Numbers:
    """The mean distance of random disjoint pairs of images: the paper's row "real data"."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    half = len(images) // 2
    mean, interval = mean_with_interval(distance(images[order[:half]], images[order[half : 2 * half]]))
    return {"diversity": mean, "diversity_interval": interval, "pairs": half}


# ------------------------------------------------------------------------------------------------ distributions


class _Extractor(nn.Module):
    """A feature function in the form torchmetrics wants."""

    def __init__(self, features: Features, num_features: int) -> None:
        super().__init__()
        self.features, self.num_features = features, num_features

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)


@torch.no_grad()
def distribution_metrics(
    real: Tensor, made: Tensor, features: Features, neighbors: int = 3, subset_size: int = 100, seed: int = 0
) -> Numbers:
    """FID, KID, precision and recall of made images against real ones, on the features of a given network.

    FID falls with the number of images, so compare only numbers of equally many; KID does not. Precision is the share
    of made images that lie in the real ones' manifold, recall the share of real ones in the made ones' (Kynkäänniemi
    et al., 2019): within the distance from any of its points to that point's k-th nearest neighbor.

    Args:
        real: (N, 3, H, W) in [-1, 1].
        made: (M, 3, H, W) in [-1, 1].
        features: (B, 3, H, W) -> (B, D). FID needs many more images than D.
        neighbors: k.
        subset_size: images of each side in one of KID's 100 subsets.
        seed: of KID's subsets.

    Raises:
        ValueError: too few images for k, or for a subset.
    """
    fewest = min(len(real), len(made))
    if fewest <= neighbors or fewest < subset_size:
        raise ValueError(
            f"{len(real)} real and {len(made)} made images, but {max(neighbors + 1, subset_size)} of each are needed"
        )
    real_features, made_features = (
        torch.cat([features(images) for images in side.split(250)]).cpu() for side in (real, made)
    )
    extractor = _Extractor(lambda rows: rows, real_features.shape[1])
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save all")
        torch.default_generator.manual_seed(seed)
        fid = FrechetInceptionDistance(extractor).set_dtype(torch.float64)
        kid = KernelInceptionDistance(extractor, subset_size=subset_size)
        for metric in (fid, kid):
            metric.update(real_features.double(), real=True)
            metric.update(made_features.double(), real=False)
        kid_mean, kid_deviation = (value.item() for value in kid.compute())
        numbers = {"fid": fid.compute().item(), "kid": kid_mean, "kid_deviation_of_subsets": kid_deviation}
    numbers["precision"] = _covered(made_features, real_features, neighbors)
    numbers["recall"] = _covered(real_features, made_features, neighbors)
    return numbers | {"real_images": len(real), "made_images": len(made), "features": real_features.shape[1]}


def _covered(points: Tensor, manifold: Tensor, neighbors: int) -> float:
    """The share of points within a manifold point's distance to its k-th nearest neighbor."""

    def distances(one: Tensor) -> Tensor:
        return torch.cdist(one.double(), manifold.double(), compute_mode="donot_use_mm_for_euclid_dist")

    radii = distances(manifold).kthvalue(neighbors + 1, dim=1).values  # the nearest is the point itself
    return (distances(points) <= radii).any(1).double().mean().item()


# ------------------------------------------------------------------------------------------------- modes by class


def conditional_inception_score(probabilities: Tensor) -> Numbers:
    """CIS and IS of the paper, section 5.2, both *without* exp: at most log of the number of modes.

    CIS = E_x1 E_x1->2 KL(p(y2|x1->2) || p(y2|x1)), where p(y2|x1) is the mean over the translations of x1;
    IS has p(y2), the mean over all translations, in its place, so that IS >= CIS. A translator with one output for an
    input has a CIS of 0, whatever its IS.

    Args:
        probabilities: (N, K, M), a classifier's over M modes for K translations of each of N inputs.

    Returns:
        cis, is, and half of their 95 % intervals over inputs.
    """
    p = probabilities.double()

    def divergence(reference: Tensor) -> Tensor:
        return (torch.xlogy(p, p) - torch.xlogy(p, reference)).sum(2).mean(1)  # (N,)

    numbers: Numbers = {"modes": p.shape[2], "inputs": p.shape[0], "samples_each": p.shape[1]}
    for name, reference in (("cis", p.mean(1, keepdim=True)), ("is", p.mean((0, 1)))):
        numbers[name], numbers[f"{name}_interval"] = mean_with_interval(divergence(reference))
    return numbers


@torch.no_grad()
def mode_probabilities(
    model: Translator,
    images: Tensor,
    source: int,
    classify: Callable[[Tensor], Tensor],
    samples: int = 100,
    seed: int = 0,
) -> Tensor:
    """What a classifier of the target domain's modes makes of a translator's outputs: (N, samples, M).

    Args:
        model: translates from `source` into the other domain.
        images: (N, 3, H, W) in [-1, 1]; 100 in the paper.
        source: 1 or 2.
        classify: (B, 3, H, W) -> (B, M) probabilities.
        samples: translations of each input; 100 in the paper.
        seed: of the drawn styles.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for image in images:
        styles = model.sample_style(samples, generator)
        rows.append(classify(translated(model, image.expand(samples, -1, -1, -1), source, 3 - source, styles)))
    return torch.stack(rows)


def mode_scores(
    model: Translator,
    images: Tensor,
    source: int,
    classify: Callable[[Tensor], Tensor],
    samples: int = 100,
    seed: int = 0,
) -> Numbers:
    """CIS and IS of a translator, with a given classifier of the target domain's modes.

    Args:
        (as in `mode_probabilities`)
    """
    return conditional_inception_score(mode_probabilities(model, images, source, classify, samples, seed))
