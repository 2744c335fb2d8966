"""The oracle: the encoders E* and decoders G* that the propositions speak of, with the interface of a trained model.

A *code* is what theory writes z = (c, s): content c is (B, 10), the class as one-hot followed by the normal scores of
x, y, size and turn; style s is (B, 3), as drawn from the prior. All in float64. Two worlds turn codes into images:

- `CodeWorld`: an image is an injective vector of the code, so E* is exact. Bijections change neither the hypotheses of
  the propositions nor their conclusions, so nothing is lost.
- `PixelWorld`: an image is a picture, and E* sees its pixels only (`munit_lite.theory.inversion`).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from munit_lite.evaluation.attribute_predictors import AttributePredictor, load_attribute_predictor
from munit_lite.theory.inversion import Fit, fit_codes
from munit_lite.theory.variants import ORACLE, Variant
from munit_lite.world import (
    CONTENT_FACTORS,
    DOMAIN_NAMES,
    SHAPES,
    STYLE_DIM,
    STYLE_FACTORS,
    Content,
    World,
    check_domain,
    render,
    style_from_code,
)

CONTENT_WIDTH = len(SHAPES) + len(CONTENT_FACTORS)


def code_from_content(content: Content) -> Tensor:
    """(B, 10) content codes: class as one-hot, then normal scores of x, y, size and turn (0 for round shapes)."""
    classes = torch.nn.functional.one_hot(content.shape_class, len(SHAPES)).double()
    values = (content.position[:, 0], content.position[:, 1], content.size, content.turn)
    quantiles = [(v.double() - f.low) / f.span for v, f in zip(values, CONTENT_FACTORS, strict=True)]
    inside = torch.stack(quantiles, dim=1).clamp(1e-9, 1 - 1e-9)  # float32 may round onto an open end
    scores = torch.special.ndtri(inside)
    is_round = torch.tensor([shape.fold == 0 for shape in SHAPES])[content.shape_class]
    scores[:, 3] = scores[:, 3].masked_fill(is_round, 0.0)
    return torch.cat([classes, scores], dim=1)


def content_from_code(code: Tensor) -> Content:
    """The inverse of `code_from_content` for any scores: (B, 10) -> B contents."""
    shape_class = code[:, : len(SHAPES)].argmax(dim=1)
    quantiles = torch.special.ndtr(code[:, len(SHAPES) :])
    x, y, size, turn = (f.low + f.span * quantiles[:, k] for k, f in enumerate(CONTENT_FACTORS))
    periods = torch.tensor([shape.period for shape in SHAPES], dtype=code.dtype)[shape_class]
    return Content(shape_class, torch.stack([x, y], dim=1), size, turn * periods)


class ObservedWorld(Protocol):
    """What the checks need of a world: images of both domains, and what can be read back from them."""

    variant: str
    reads: str  # what `factors` are, in words
    tolerance: float  # relative errors up to this count as none

    def images(self, index: Tensor, seed: int, domain: int, stream: str) -> Tensor: ...

    def factors(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor, Tensor]: ...


class InvertibleWorld(ObservedWorld, Protocol):
    """A world that knows G* and E*."""

    def draw(self, content: Tensor, style: Tensor, domain: int) -> Tensor: ...

    def invert(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]: ...


class CodeWorld:
    """Level 1: an image is the vector sinh(R_i z), R_i a fixed rotation of domain i; E* is its exact inverse.

    Args:
        variant: a name in `munit_lite.world.VARIANTS`.
    """

    reads = "the exact factors"
    tolerance = 1e-6

    def __init__(self, variant: str = "standard") -> None:
        self.variant, self._world = variant, World(variant)
        generator = torch.Generator().manual_seed(0)
        square = torch.randn(2, CONTENT_WIDTH + STYLE_DIM, CONTENT_WIDTH + STYLE_DIM, generator=generator).double()
        self._rotations = torch.linalg.qr(square).Q

    def codes(self, index: Tensor, seed: int, domain: int, stream: str = "test") -> tuple[Tensor, Tensor]:
        """Content and style codes of independent items: (B, 10) and (B, 3)."""
        return _codes(self._world, index, seed, domain, stream)

    def images(self, index: Tensor, seed: int, domain: int, stream: str = "test") -> Tensor:
        """Independent items of one domain: (B, 13)."""
        return self.draw(*self.codes(index, seed, domain, stream), domain)

    def draw(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """G*: (B, 10) and (B, 3) -> (B, 13), for every real code."""
        return torch.sinh(torch.cat([content, style], dim=1) @ self._rotations[check_domain(domain) - 1].T)

    def invert(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """E*: (B, 13) -> (B, 10) and (B, 3)."""
        code = torch.asinh(images) @ self._rotations[check_domain(domain) - 1]
        return code[:, :CONTENT_WIDTH], code[:, CONTENT_WIDTH:]

    def factors(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor, Tensor]:
        """Class (B, 6), scores of x, y, size, turn (B, 4), style (B, 3)."""
        content, style = self.invert(images, domain)
        return content[:, : len(SHAPES)], content[:, len(SHAPES) :], style


class PixelWorld:
    """Level 2: images are pictures. E* is fitted to the pixels; the checks look at what judges read.

    Args:
        variant: a name in `munit_lite.world.VARIANTS`.
        size: of the pictures in pixels, a multiple of 32.
        tolerance: relative error that counts as none. The oracle's own is far below; trained networks need more.
    """

    reads = "judged factors (what judges do not read, the tests do not see)"

    def __init__(self, variant: str = "standard", size: int = 32, tolerance: float = 0.05) -> None:
        if size % 32:
            raise ValueError(f"size {size} is not a multiple of 32, but judges read pictures of 32 pixels or multiples")
        self.variant, self.size, self.tolerance = variant, size, tolerance
        self._world = World(variant)
        self._judges: dict[int, AttributePredictor] = {
            domain: load_attribute_predictor(domain) for domain in DOMAIN_NAMES
        }

    def codes(self, index: Tensor, seed: int, domain: int, stream: str = "test") -> tuple[Tensor, Tensor]:
        """Content and style codes of independent items: (B, 10) and (B, 3)."""
        return _codes(self._world, index, seed, domain, stream)

    def images(self, index: Tensor, seed: int, domain: int, stream: str = "test") -> Tensor:
        """Independent pictures of one domain: (B, 3, size, size) in float64."""
        return self.draw(*self.codes(index, seed, domain, stream), domain)

    def draw(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """G*: (B, 10) and (B, 3) -> (B, 3, size, size), for every real code."""
        return render(content_from_code(content), style_from_code(style, domain), domain, self.size)

    def invert(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """E*: (B, 3, size, size) -> (B, 10) and (B, 3), from the pixels alone."""
        fit = self.fit(images, domain)
        return code_from_content(fit.content), fit.style_code

    @torch.no_grad()
    def fit(self, images: Tensor, domain: int) -> Fit:
        """The fit behind `invert`, with what is left of each picture."""
        return fit_codes(images.double(), domain, self._judges[check_domain(domain)])

    @torch.no_grad()
    def factors(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor, Tensor]:
        """What the judge reads: class (B, 6), x, y, size, turn (B, 4) and style (B, 3), of deviation about 1."""
        reading = self._judges[check_domain(domain)](images.float().cpu())
        classes = torch.nn.functional.one_hot(reading.shape_class, len(SHAPES)).double()
        is_round = torch.tensor([shape.fold == 0 for shape in SHAPES])[reading.shape_class]
        turn = reading.turn.masked_fill(is_round, 0.0)  # a round shape shows none
        values = torch.cat([reading.position, reading.size[:, None], turn[:, None], reading.style], dim=1).double()
        ranges = CONTENT_FACTORS + STYLE_FACTORS[domain]
        middle = torch.tensor([(f.low + f.high) / 2 for f in ranges], dtype=torch.float64)
        deviation = torch.tensor([f.span / math.sqrt(12) for f in ranges], dtype=torch.float64)
        standard = (values - middle) / deviation
        return classes, standard[:, :4], standard[:, 4:]


def _codes(world: World, index: Tensor, seed: int, domain: int, stream: str) -> tuple[Tensor, Tensor]:
    content = world.content(index, seed, domain, stream)
    return code_from_content(content), world.style_code(index, seed, domain, stream).double()


class Oracle:
    """E* and G* of a world, or a variant of them whose encoders and decoders are edited separately.

    Its methods are those of `munit_lite.model.MUNIT`; content codes are (B, 10), or wider if the variant makes them so.

    Args:
        world: gives G* and E*.
        variant: what is changed: G_i(z) = G_i*(variant.decode[i](z)), E_i(x) = variant.encode[i](E_i*(x)).
    """

    def __init__(self, world: InvertibleWorld, variant: Variant = ORACLE) -> None:
        self.world, self.variant = world, variant

    def encode_content(self, images: Tensor, domain: int) -> Tensor:
        """c = E^c(x)."""
        return self._encode(images, domain)[0]

    def encode_style(self, images: Tensor, domain: int) -> Tensor:
        """s = E^s(x): (B, 3)."""
        return self._encode(images, domain)[1]

    def _encode(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        content, style = self.world.invert(images, check_domain(domain))
        return self.variant.encode[domain](content, style)

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """x = G(c, s)."""
        return self.world.draw(*self.variant.decode[check_domain(domain)](content, style), domain)

    def sample_style(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw styles from the prior q(s) = N(0, I): (count, 3)."""
        return torch.randn(count, STYLE_DIM, generator=generator, dtype=torch.float64)

    def reconstruct(self, images: Tensor, domain: int) -> Tensor:
        """G_i(E_i^c(x), E_i^s(x))."""
        return self.decode(*self._encode(images, domain), domain)

    def translate(
        self,
        images: Tensor,
        source: int = 1,
        target: int = 2,
        style: Tensor | None = None,
        style_from: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """G_target(E_source^c(x), s), the style given, taken from images of the target domain, or drawn."""
        if check_domain(source) == check_domain(target):
            raise ValueError(f"source and target are both domain {source}; to stay in a domain use `reconstruct`")
        if style is not None and style_from is not None:
            raise ValueError("give `style` or `style_from`, not both")
        if style_from is not None:
            style = self.encode_style(style_from, target)
        style = self.sample_style(len(images), generator) if style is None else style
        return self.decode(self.encode_content(images, source), style, target)
