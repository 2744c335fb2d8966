"""What proposition 3 does not promise: which pairing of contents training finds, and what decides it.

A bijection of the codes that preserves their distribution, such as an exchange of equally frequent classes, leaves all
losses at their minimum, and networks do learn such maps (Moriakov et al. 2020, arXiv 2001.09061). This module trains a
small MUNIT of vectors, many independent runs at a time, and finds out which pairing each run has ended with.

The images are x_i = A_i z_i, linear functions of the codes z_i = (c, s_i), as in `munit_lite.theory.linear_gaussian`,
but the codes need not be normal. `code_world` uses those of `munit_lite.theory.oracle.CodeWorld`, whose images are
sinh(A_i z_i); undoing the sinh changes no distribution of the codes, and so neither the symmetries nor the pairings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import torch
from scipy.linalg import subspace_angles
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, one_hot, softplus
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import orthogonal

from munit_lite.theory.oracle import CONTENT_DIM, CodeWorld
from munit_lite.training_step import OptimizerConfig, learning_rate, set_learning_rate
from munit_lite.world import SHAPE_NAMES

NUM_CLASSES = len(SHAPE_NAMES)
KEPT = "kept"
CLASS_PAIRINGS = (KEPT, "permuted", "split")
FACTOR_PAIRINGS = (KEPT, "reflected", "exchanged", "mixed")
RIGHT_CORRELATION = 0.9  # a factor counts as kept if its correlation with that of the translation is above this


# ------------------------------------------------------------------------------------------------------- the worlds


class VectorWorld(NamedTuple):
    """Codes and images of two domains, and pairs of images with the same content.

    Args:
        codes: of unpaired images in domains 1 and 2, (N, D) each, content before style.
        mixing: A_1 and A_2, (2, D, D).
        content_dim: columns of a code that are content.
        pair_codes: codes of pairs, (M, D) each, whose contents agree.
    """

    codes: tuple[Tensor, Tensor]
    mixing: Tensor
    content_dim: int
    pair_codes: tuple[Tensor, Tensor]

    def images(self, codes: Tensor, domain: int) -> Tensor:
        """Compute x_i = A_i z_i, (..., D)."""
        return codes @ self.mixing[domain - 1].mT


def code_world(variant: str, count: int = 65536) -> VectorWorld:
    """Return the codes and rotations of a `CodeWorld`.

    Args:
        variant: a name in `munit_lite.world.WORLD_VARIANTS`.
        count: codes of each domain, and of pairs.

    Example:
        >>> code_world("cyclic", count=4).codes[0].shape
        torch.Size([4, 13])
    """
    world, index = CodeWorld(variant), torch.arange(count)
    codes = [torch.cat(world.codes(index, 0, domain, "train"), dim=1).float() for domain in (1, 2)]
    content, style_1 = world.codes(index, 0, 1, "pairs")
    _, style_2 = world.codes(index, 0, 2, "pairs")
    pairs = [torch.cat([content, style], dim=1).float() for style in (style_1, style_2)]
    unit = torch.eye(codes[0].shape[1], dtype=torch.float64)
    content_columns, style_columns = unit.split([CONTENT_DIM, len(unit) - CONTENT_DIM], dim=1)
    mixing = [torch.asinh(world.render(content_columns, style_columns, domain)).mT for domain in (1, 2)]
    return VectorWorld((codes[0], codes[1]), torch.stack(mixing).float(), CONTENT_DIM, (pairs[0], pairs[1]))


CONTENT_QUANTILES: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": torch.special.ndtri,
    "two values": lambda u: 2 * (u > 0.5).float() - 1,
    "exponential": lambda u: -torch.log1p(-u) - 1,
}
"""Quantile functions of distributions with mean 0 and variance 1, (N,) in (0, 1) -> (N,)."""


def plane_world(distribution: str, count: int = 65536) -> VectorWorld:
    """Return the world of `linear_gaussian`, one content and one normal style in the plane, with any p(c).

    Args:
        distribution: of the content, a name in `CONTENT_QUANTILES`.
        count: codes of each domain, and of pairs.
    """
    generator = torch.Generator().manual_seed(0)
    contents = CONTENT_QUANTILES[distribution](torch.rand(3, count, generator=generator).clamp(1e-6, 1 - 1e-6))
    styles = torch.randn(4, count, generator=generator)
    codes = [torch.stack([contents[min(k, 2)], styles[k]], dim=1) for k in range(4)]
    mixing = torch.linalg.qr(torch.randn(2, 2, 2, generator=generator)).Q
    return VectorWorld((codes[0], codes[1]), mixing, 1, (codes[2], codes[3]))


_GROUP, _DIVERSE = torch.tensor([[0.0, 0, 1, 1, 0, 0], [0, 0, 0.05, 0.35, 0.65, 0.95]])
LABELS: dict[str, Tensor] = {
    "two groups of classes": torch.stack([_GROUP, 1 - _GROUP], dim=1),
    "two labels, diverse": torch.stack([_DIVERSE, 1 - _DIVERSE], dim=1),
    "every class": torch.eye(NUM_CLASSES),
}
"""Auxiliary labels by name: the probability of each label given the class, (6, labels).

Shrestha and Fu (2024, arXiv 2401.09671) show that labels exclude every symmetry if the distributions p(c | label) are
diverse enough. In the cyclic world, the two groups still allow an exchange of squares with triangles, and of crosses
with stars. No permutation of classes preserves the other labels. None says anything about position and size.
"""


def sample_labels(name: str, content: Tensor, wrong: float, generator: torch.Generator) -> Tensor:
    """Sample an auxiliary label for each content.

    Args:
        name: a name in `LABELS`.
        content: (R, B, 10 or more), beginning with the one-hot class.
        wrong: fraction of labels that are replaced by one of all labels at random.
        generator: samples the labels.

    Returns:
        (R, B, labels), one-hot.
    """
    table = LABELS[name]
    probabilities = content[..., :NUM_CLASSES] @ ((1 - wrong) * table + wrong / table.shape[1])
    labels = torch.multinomial(probabilities.flatten(0, 1), 1, generator=generator)
    return one_hot(labels.view(content.shape[:2]), table.shape[1]).float()


# -------------------------------------------------------------------------------------------- models and training


class ParallelMLP(nn.Module):
    """Multilayer perceptrons of R independent runs, (R, B, inputs) -> (R, B, outputs).

    Args:
        runs: R.
        widths: of input, hidden layers and output.
        generator: samples the weights.
    """

    def __init__(self, runs: int, widths: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        shapes = list(itertools.pairwise(widths))
        weights = [torch.randn(runs, *shape, generator=generator) * (2 / shape[0]) ** 0.5 for shape in shapes]
        self.weights = nn.ParameterList(weights)
        self.biases = nn.ParameterList([torch.zeros(runs, 1, shape[1]) for shape in shapes])

    def forward(self, x: Tensor) -> Tensor:
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x if k == 0 else leaky_relu(x, 0.2), weight)
        return x


class InvertibleMap(nn.Module):
    """Invertible maps of R independent runs: two coupling layers, if they have a width, and then an orthogonal map.

    A coupling layer adds a perceptron of one half of the coordinates to the other half (NICE, Dinh et al. 2015).

    Args:
        matrix: (R, D, D), orthogonal, multiplies a row vector from the right; training keeps it orthogonal.
        hidden_width: of the perceptrons, which begin near 0; 0 leaves the coupling layers out.
        generator: samples their weights.
    """

    def __init__(self, matrix: Tensor, hidden_width: int, generator: torch.Generator) -> None:
        super().__init__()
        runs, dim, _ = matrix.shape
        self.matrix, self.bias = nn.Parameter(matrix), nn.Parameter(torch.zeros(runs, 1, dim))
        orthogonal(self, "matrix")  # by the exponential map, beginning at the given matrix
        self.halves = dim // 2, dim - dim // 2
        widths = [(self.halves[k], hidden_width, self.halves[1 - k]) for k in (0, 1)] if hidden_width else []
        perceptrons = [ParallelMLP(runs, w, generator) for w in widths]
        for perceptron in perceptrons:
            perceptron.weights[-1].data *= 0.1
        self.perceptrons = nn.ModuleList(perceptrons)

    def forward(self, x: Tensor) -> Tensor:
        for k, perceptron in enumerate(self.perceptrons):
            halves = list(x.split(self.halves, dim=-1))
            halves[1 - k] = halves[1 - k] + perceptron(halves[k])
            x = torch.cat(halves, dim=-1)
        return torch.baddbmm(self.bias, x, self.matrix)

    def inverse(self, y: Tensor) -> Tensor:
        """Compute x from y = forward(x)."""
        x = (y - self.bias) @ self.matrix.mT
        for k in reversed(range(len(self.perceptrons))):
            halves = list(x.split(self.halves, dim=-1))
            halves[1 - k] = halves[1 - k] - self.perceptrons[k](halves[k])
            x = torch.cat(halves, dim=-1)
        return x


@dataclass(frozen=True)
class VectorTraining:
    """How to train a `VectorMUNIT`.

    Args:
        runs: independent runs, each with its own weights, batches, anchors and labels.
        steps: of training.
        batch_size: images of each domain per step.
        hidden_width: of the coupling layers; 0 for orthogonal maps with a shift.
        start_noise: distance of the first encoders from the true ones A_i⁻¹. They are the orthogonal factors of
            (I + start_noise N) A_i⁻¹, where N has entries of N(0, 1 / D). Infinite: uniformly random orthogonal maps.
        anchors: paired images of each run, which `anchor_losses` sees in every step, with weight 10.
        labels: a name in `LABELS`; the discriminators see the label of an image, and a translation keeps its label.
        wrong_labels: fraction of random labels.
        learning_rate: of Adam, at its highest.
        discriminator_width: of two hidden layers.
        r1_weight: of the gradient penalty, every fourth step.
        seed: of everything random.
    """

    runs: int = 30
    steps: int = 1500
    batch_size: int = 64
    hidden_width: int = 0
    start_noise: float = math.inf
    anchors: int = 0
    labels: str = ""
    wrong_labels: float = 0.0
    learning_rate: float = 3e-3
    discriminator_width: int = 48
    r1_weight: float = 0.02
    seed: int = 0


class VectorMUNIT(nn.Module):
    """Encoders of R independent runs for vectors, and decoders that are their exact inverses.

    So E = G⁻¹, as proposition 1 supposes, and the image, content and style reconstruction losses are 0 for whichever
    pairing the encoders have.

    Args:
        world: gives the dimensions, and the true encoders if the first ones lie near them.
        training: gives R, the networks and their first weights.
        generator: samples the weights.
    """

    def __init__(self, world: VectorWorld, training: VectorTraining, generator: torch.Generator) -> None:
        super().__init__()
        self.runs, self.content_dim, dim = training.runs, world.content_dim, world.mixing.shape[-1]
        encoders = []
        for mixing in world.mixing:
            matrix = torch.randn(training.runs, dim, dim, generator=generator) / dim**0.5
            if math.isfinite(training.start_noise):
                matrix = mixing @ (torch.eye(dim) + training.start_noise * matrix)
            left, _, right = torch.linalg.svd(matrix)
            encoders.append(InvertibleMap(left @ right, training.hidden_width, generator))
        self.encoders = nn.ModuleList(encoders)

    def encode(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Compute content and style codes, (R, B, C) and (R, B, D - C), of images (R, B, D)."""
        codes = self.encoders[domain - 1](images)
        return codes[..., : self.content_dim], codes[..., self.content_dim :]

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Compute images, (R, B, D), from content and style codes."""
        encoder = cast(InvertibleMap, self.encoders[domain - 1])
        return encoder.inverse(torch.cat([content, style], dim=-1))


class TrainedRuns(NamedTuple):
    """R trained models.

    Args:
        model: holds all runs.
        discriminator_loss: (R,), the mean of equation 4 over both domains and the last tenth of the training: log 4,
            or 1.386, if the discriminators cannot tell translations from images.
    """

    model: VectorMUNIT
    discriminator_loss: Tensor

    @property
    def converged(self) -> Tensor:
        """(R,), whether the discriminator loss is within 0.04 of log 4, whatever the pairing."""
        return (self.discriminator_loss - math.log(4)).abs() < 0.04


def train_vectors(world: VectorWorld, training: VectorTraining) -> TrainedRuns:
    """Train independent runs of MUNIT at once, with anchors and labels if the training has them.

    Reconstruction is exact, so that equation 5 reduces to its adversarial losses, here the non-saturating ones of the
    preset `laboratory` with R1. Their weight grows from 0 to 1 over the first quarter of the steps: anchors act first.

    Args:
        world: the unpaired images, and the pairs of which each run takes its own anchors.
        training: losses, networks and numbers of runs and steps.

    Example:
        >>> runs = train_vectors(plane_world("two values", count=100), VectorTraining(runs=2, steps=10))
        >>> runs.discriminator_loss.shape
        torch.Size([2])
    """
    generator = torch.Generator().manual_seed(training.seed)
    runs, (dim, content_dim) = training.runs, (world.mixing.shape[-1], world.content_dim)
    model = VectorMUNIT(world, training, generator)
    num_labels = LABELS[training.labels].shape[1] if training.labels else 0
    widths = (dim + num_labels, training.discriminator_width, training.discriminator_width, 1)
    discriminators = nn.ModuleList([ParallelMLP(runs, widths, generator) for _ in (1, 2)])
    first, second = (codes[: runs * training.anchors].view(runs, -1, dim) for codes in world.pair_codes)
    anchors = world.images(first, 1), world.images(second, 2)
    schedule = OptimizerConfig(learning_rate=training.learning_rate, schedule="cosine")
    generator_optimizer, discriminator_optimizer = (
        torch.optim.Adam(network.parameters(), betas=(0.0, 0.99)) for network in (model, discriminators)
    )
    history = []
    for step in range(training.steps):
        for optimizer in (generator_optimizer, discriminator_optimizer):
            set_learning_rate(optimizer, learning_rate(schedule, step, training.steps))
        codes = [c[torch.randint(len(c), (runs, training.batch_size), generator=generator)] for c in world.codes]
        x = [world.images(codes[k], k + 1) for k in (0, 1)]
        labels = [torch.zeros(runs, training.batch_size, 0)] * 2
        if training.labels:
            labels = [sample_labels(training.labels, c, training.wrong_labels, generator) for c in codes]
        s = [torch.randn(runs, training.batch_size, dim - content_dim, generator=generator) for _ in (1, 2)]
        with parametrize.cached():  # each orthogonal matrix is computed once
            encoded = [model.encode(x[k], k + 1) for k in (0, 1)]
            fake = [model.decode(encoded[1 - k][0], s[k], k + 1) for k in (0, 1)]
            real_inputs = [torch.cat([x[k], labels[k]], dim=-1).requires_grad_() for k in (0, 1)]
            fake_inputs = [torch.cat([fake[k], labels[1 - k]], dim=-1) for k in (0, 1)]

            # Discriminators: equation 4, with R1.
            real_logits = [discriminators[k](real_inputs[k]) for k in (0, 1)]
            fake_logits = [discriminators[k](fake_inputs[k].detach()) for k in (0, 1)]
            losses = [(softplus(-real_logits[k]) + softplus(fake_logits[k])).mean((1, 2)) for k in (0, 1)]
            total = (losses[0] + losses[1]).sum()
            if step % 4 == 0:
                realness = real_logits[0].sum() + real_logits[1].sum()
                gradients = torch.cat(torch.autograd.grad(realness, real_inputs, create_graph=True))
                total = total + 2 * training.r1_weight * gradients.square().sum() / training.batch_size
            discriminator_optimizer.zero_grad()
            total.backward()
            discriminator_optimizer.step()

            # Autoencoders: the translations of equation 4, and the anchors.
            discriminators.requires_grad_(False)
            adversarial_weight = min(1.0, 4 * step / training.steps)
            adversarial = [softplus(-discriminators[k](fake_inputs[k])).mean((1, 2)) for k in (0, 1)]
            total = adversarial_weight * (adversarial[0] + adversarial[1]).sum()
            if training.anchors:
                total = total + 10 * anchor_losses(model, *anchors).sum()
            generator_optimizer.zero_grad()
            total.backward()
        generator_optimizer.step()
        discriminators.requires_grad_(True)
        if step >= 0.9 * training.steps:
            history.append((losses[0] + losses[1]).detach() / 2)
    return TrainedRuns(model, torch.stack(history).mean(0))


def anchor_losses(model: VectorMUNIT, x_1: Tensor, x_2: Tensor) -> Tensor:
    """Compute the paired squared error of both directions, |G_2(E_1^c(x_1), E_2^s(x_2)) - x_2|² and its mirror, (R,).

    Args:
        model: R runs.
        x_1: images of domain 1, (R, K, D).
        x_2: images of domain 2 with the same contents.
    """
    (content_1, style_1), (content_2, style_2) = model.encode(x_1, 1), model.encode(x_2, 2)
    errors_1, errors_2 = model.decode(content_2, style_1, 1) - x_1, model.decode(content_1, style_2, 2) - x_2
    return errors_1.square().mean((1, 2)) + errors_2.square().mean((1, 2))


# ------------------------------------------------------------------------------------------------- which pairing


@torch.no_grad()
def translate_codes(model: VectorMUNIT, world: VectorWorld, source: int, count: int = 2000) -> tuple[Tensor, Tensor]:
    """Translate images with sampled styles, and invert the translations exactly.

    Returns:
        the true codes of the images, (count, D), and those of their translations, (R, count, D).
    """
    generator = torch.Generator().manual_seed(0)
    codes, target = world.pair_codes[source - 1][-count:], 3 - source  # anchors are at the other end
    content, style = model.encode(world.images(codes, source).expand(model.runs, -1, -1), source)
    translations = model.decode(content, torch.randn(style.shape, generator=generator), target)
    return codes, translations @ torch.linalg.inv(world.mixing[target - 1]).mT


class ClassPairing(NamedTuple):
    """How a translator pairs the classes of two domains.

    Args:
        accuracy: fraction of contents whose class is kept.
        permutation: class of the translation for each class, the assignment that most contents follow.
        followed: fraction of contents that follow it.
        frequency_gap: total variation distance of the frequencies of the classes before and after.
    """

    accuracy: float
    permutation: tuple[int, ...]
    followed: float
    frequency_gap: float

    @property
    def name(self) -> str:
        """ "kept", "permuted" or, where less than 90 % follow the permutation, "split"."""
        if self.followed < 0.9:
            return "split"
        return KEPT if self.accuracy >= 0.9 else "permuted"


def class_pairing(classes: Tensor, translated: Tensor) -> ClassPairing:
    """Find the permutation of classes that a translator follows.

    Args:
        classes: (N,) int64, of contents in one domain.
        translated: (N,), of their translations.

    Example:
        >>> classes = torch.arange(6).repeat(10)
        >>> class_pairing(classes, (classes + 1) % 6).permutation
        (1, 2, 3, 4, 5, 0)
    """
    counts = one_hot(classes, NUM_CLASSES).double().mT @ one_hot(translated, NUM_CLASSES).double() / len(classes)
    # A class that does not occur stays itself.
    rows, columns = linear_sum_assignment(counts + 1e-9 * torch.eye(NUM_CLASSES), maximize=True)
    gap = (counts.sum(0) - counts.sum(1)).abs().sum() / 2
    return ClassPairing(
        counts.trace().item(), tuple(columns.tolist()), counts.numpy()[rows, columns].sum().item(), gap.item()
    )


def factor_pairing(factors: Tensor, translated: Tensor) -> str:
    """Name the map between independent factors and those of the translations.

    Args:
        factors: (N, K).
        translated: (N, K).

    Returns:
        "kept" if each factor correlates with itself by more than 0.9; "reflected" if it does so up to signs;
        "exchanged" if it correlates like this with another factor; else "mixed".

    Example:
        >>> factor_pairing(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[3.0], [2.0], [1.0]]))
        'reflected'
    """
    count = factors.shape[1]
    correlations = torch.corrcoef(torch.cat([factors, translated], dim=1).mT)[:count, count:].view(count, count)
    if (correlations.diagonal() > RIGHT_CORRELATION).all():
        return KEPT
    if (correlations.diagonal().abs() > RIGHT_CORRELATION).all():
        return "reflected"
    return "exchanged" if (correlations.abs().amax(1) > RIGHT_CORRELATION).all() else "mixed"


# --------------------------------------------------------------------------------- directions of content and style


def principal_angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute the principal angles between two subspaces, in degrees and ascending.

    Args:
        first: (D, m), whose columns span the first.
        second: (D, n).

    Example:
        >>> principal_angles(np.array([[1.0], [0.0]]), np.array([[1.0], [1.0]])).round()
        array([45.])
    """
    return np.degrees(subspace_angles(first, second))[::-1]


def image_directions(decode: Callable[[Tensor], Tensor], factors: Tensor) -> Iterator[np.ndarray]:
    """Compute the derivatives of images by the factors that they are decoded from.

    Args:
        decode: (B, K) -> (B, ...), one image for each row of factors.
        factors: where to differentiate, (B, K).

    Yields:
        for each image its Jacobian, (pixels, K).
    """
    columns = [
        torch.func.jvp(decode, (factors,), (unit.expand_as(factors),))[1].flatten(1)
        for unit in torch.eye(factors.shape[1], dtype=factors.dtype)
    ]
    for jacobian in torch.stack(columns, dim=2).detach():
        yield jacobian.double().numpy()
