"""Attribute predictors: small networks that predict content and style factors from an image of the known world.

They are trained on labeled renders by `tools/train_predictors.py`. Their weights lie in `data/checkpoints`, and their
own errors on fresh renders in `data/results`: `attribute_predictors.json` for the standard world,
`attribute_predictors_laboratory.json` for the laboratory world.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from munit_lite.config import check_domain
from munit_lite.paths import CHECKPOINTS_DIR
from munit_lite.storage.tensors import read_tensors
from munit_lite.world import (
    CONTENT_FACTORS,
    DOMAIN_NAMES,
    ROTATION,
    SHAPE_NAMES,
    STYLE_FACTORS,
    Content,
    Style,
    World,
    factor_ranges,
    is_round,
    style_from_code,
)

# The names of the random streams seed their numbers: the published weights and errors depend on them.
TRAIN_STREAM, TEST_STREAM = "judge-train", "judge-test"

# Height and width of the networks' input by world variant; larger images are averaged down to it. Variants that are not
# listed share the predictors of the standard world.
INPUT_SIZES = {"standard": 32, "laboratory": 16}


def predictor_variant(world_variant: str) -> str:
    """Return the world variant whose predictors serve for a variant: its own ones, or else the standard ones.

    Raises:
        ValueError: there is no such variant.

    Example:
        >>> predictor_variant("laboratory"), predictor_variant("cyclic")
        ('laboratory', 'standard')
    """
    name = World(world_variant).name
    return name if name in INPUT_SIZES else "standard"


class Attributes(NamedTuple):
    """Content and style factors that a predictor estimates from B images."""

    class_logits: Tensor  # (B, 6)
    position: Tensor  # (B, 2) in image widths
    size: Tensor  # (B,) in image widths
    rotation: Tensor  # (B,) in symmetry periods; meaningless for round shapes
    style: Tensor  # (B, 3) in the units of STYLE_FACTORS[domain]

    @property
    def shape_class(self) -> Tensor:
        """The most probable shape class, (B,)."""
        return self.class_logits.argmax(dim=1)

    def continuous(self) -> Tensor:
        """Concatenate the continuous attributes, position, size, rotation and style: (B, 7)."""
        return torch.cat([self.position, self.size[:, None], self.rotation[:, None], self.style], dim=1)


class AttributePredictor(nn.Module):
    """Predict class, position, size, rotation and the three style factors of images of one domain.

    Args:
        domain: 1 (sketch) or 2 (painting).
        world_variant: the world whose images it predicts from, a name in `munit_lite.world.WORLD_VARIANTS`.

    Raises:
        ValueError: the domain is neither 1 nor 2, or there is no such variant.

    Example:
        >>> predictor = load_attribute_predictor(domain=2)
        >>> attributes = predictor(World().images(torch.arange(4), 0, 2, 32, "test"))
        >>> attributes.style.shape
        torch.Size([4, 3])
    """

    low: Tensor
    span: Tensor

    def __init__(self, domain: int, world_variant: str = "standard") -> None:
        super().__init__()
        self.domain, self.world_variant = check_domain(domain), predictor_variant(world_variant)
        self.input_size = INPUT_SIZES[self.world_variant]
        widths = (3, 32, 64, 96, 96)
        layers: list[nn.Module] = []
        for k, (in_channels, out_channels) in enumerate(itertools.pairwise(widths)):
            stride = 2 if k else 1
            layers += [nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)]
            layers += [nn.GroupNorm(8, out_channels), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(96 * (self.input_size // 8) ** 2, 160), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(160, len(SHAPE_NAMES) + 4 + 3))
        low, span = factor_ranges(CONTENT_FACTORS + STYLE_FACTORS[domain], torch.empty(0))
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("span", span, persistent=False)

    def forward(self, images: Tensor) -> Attributes:
        """Predict the attributes of images.

        Args:
            images: (B, 3, H, W) in [-1, 1], H = W a multiple of `input_size`.

        Raises:
            ValueError: H is not a multiple of `input_size`.
        """
        outputs = self.layers(self.downsample(images))  # (B, 13)
        values = self.low + self.span * outputs[:, len(SHAPE_NAMES) :]
        return Attributes(outputs[:, : len(SHAPE_NAMES)], values[:, :2], values[:, 2], values[:, 3], values[:, 4:])

    def downsample(self, images: Tensor) -> Tensor:
        """Average larger images down to the size that the predictor was trained on, 32 × 32 in the standard world.

        Raises:
            ValueError: the height of the images is not a multiple of `input_size`.
        """
        factor, remainder = divmod(images.shape[-1], self.input_size)
        if remainder or not factor:
            raise ValueError(
                f"The attribute predictor cannot process images of {images.shape[-1]} px: the side must be a multiple "
                f"of {self.input_size}."
            )
        return F.avg_pool2d(images, factor) if factor > 1 else images

    def loss(self, images: Tensor, content: Content, style_factors: Tensor) -> Tensor:
        """Compute the training loss: cross-entropy of the class plus L1 errors in units of each factor's range.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            content: the true contents of the B images.
            style_factors: the true style factors, (B, 3).
        """
        attributes = self(images)
        targets = torch.cat([content.factors, style_factors], dim=1)
        errors = (attributes.continuous() - targets).abs() / self.span  # (B, 7)
        rotation_error = errors[:, 3].masked_fill(is_round(content.shape_class), 0.0).mean()
        return F.cross_entropy(attributes.class_logits, content.shape_class) + 4 * (
            errors[:, :3].mean() + rotation_error + errors[:, 4:].mean()
        )


class LabeledImages(NamedTuple):
    """Images of one domain with their ground truth."""

    images: Tensor  # (B, 3, size, size) in [-1, 1]
    content: Content
    style: Style
    style_code: Tensor  # (B, 3)

    @property
    def style_quantiles(self) -> Tensor:
        """(B, 3), quantiles of the style factors in (0, 1)."""
        return torch.special.ndtr(self.style_code)


def labeled_images(
    world: World, domain: int, index: Tensor, seed: int, size: int, stream: str, content_domain: int | None = None
) -> LabeledImages:
    """Render images of one domain together with their labels.

    Args:
        world: renders the images.
        domain: 1 or 2.
        index: indices of the images in the stream, (B,).
        seed: seed of contents and styles.
        size: height and width in pixels.
        stream: name of an independent stream of random numbers.
        content_domain: domain whose p(c) the contents follow; by default that of the images.
    """
    content = world.content(index, seed, content_domain or domain, stream)
    style_code = world.style_code(index, seed, domain, stream)
    style = style_from_code(style_code, domain)
    return LabeledImages(world.render(content, style, domain, size), content, style, style_code)


@torch.no_grad()
def prediction_errors(predictor: AttributePredictor, count: int = 10_000, seed: int = 1) -> dict[str, float]:
    """Measure a predictor's own errors on fresh renders.

    Args:
        predictor: of either domain.
        count: number of renders.
        seed: seed of the renders.

    Returns:
        Class accuracy; mean absolute errors of position and size in image widths, of rotation in symmetry periods, and
        of each style factor as a fraction of its range; and the R² of each factor, of the rotation over shapes that
        have one.
    """
    world, size = World(predictor.world_variant), predictor.input_size
    hits, predicted, true, has_rotation = [], [], [], []
    for index in torch.arange(count).split(500):
        images, content, style, _ = labeled_images(world, predictor.domain, index, seed, size, TEST_STREAM)
        attributes = predictor(images)
        hits.append(attributes.shape_class == content.shape_class)
        predicted.append(attributes.continuous())
        true.append(torch.cat([content.factors, style.factors], dim=1))
        has_rotation.append(~is_round(content.shape_class))
    errors, truth, rotated = torch.cat(predicted) - torch.cat(true), torch.cat(true), torch.cat(has_rotation)
    style_factors = STYLE_FACTORS[predictor.domain]
    style_errors = (errors[:, 4:].abs() / predictor.span[4:]).mean(dim=0).tolist()
    metrics = {
        "class_accuracy": torch.cat(hits).float().mean().item(),
        "position_error": errors[:, :2].norm(dim=1).mean().item(),
        "size_error": errors[:, 2].abs().mean().item(),
        **{f"{f.name}_error_of_range": error for f, error in zip(style_factors, style_errors, strict=True)},
        "rotation_error_periods": errors[rotated, 3].abs().mean().item(),
    }
    for k, factor in enumerate(CONTENT_FACTORS + style_factors):
        rows = rotated if factor is ROTATION else slice(None)
        metrics[f"{factor.name}_r2"] = 1 - (errors[rows, k].square().mean() / truth[rows, k].var()).item()
    return metrics | {"count": count}


def predictor_file(domain: int, world_variant: str = "standard") -> Path:
    """Return the path of the published weights for a domain (1 or 2) of a world variant, a key of `INPUT_SIZES`."""
    prefix = "" if world_variant == "standard" else f"{world_variant}_"
    return CHECKPOINTS_DIR / f"attribute_predictor_{prefix}{DOMAIN_NAMES[check_domain(domain)]}.safetensors"


def results_name(world_variant: str = "standard") -> str:
    """Return the name of the file in `data/results` with the predictors' errors."""
    return "attribute_predictors" if world_variant == "standard" else f"attribute_predictors_{world_variant}"


def predictor_files() -> dict[Path, tuple[int, str]]:
    """Return the files of all published predictors, with the domain and the world variant of each."""
    return {predictor_file(domain, variant): (domain, variant) for variant in INPUT_SIZES for domain in DOMAIN_NAMES}


def load_attribute_predictor(domain: int, world_variant: str = "standard") -> AttributePredictor:
    """Load the published attribute predictor of a domain, in evaluation mode.

    Args:
        domain: 1 (sketch) or 2 (painting).
        world_variant: a name in `munit_lite.world.WORLD_VARIANTS`.

    Raises:
        CheckpointError: its file is missing or damaged.
        ValueError: there is no such domain or variant.

    Example:
        >>> load_attribute_predictor(1).domain
        1
    """
    predictor = AttributePredictor(domain, world_variant)
    tensors, _ = read_tensors(predictor_file(domain, predictor.world_variant))
    predictor.load_state_dict(tensors)
    return predictor.eval()
