"""The oracle: the encoders E* and decoders G* of the propositions, with the interface of a trained model.

A *code* is what the paper writes z = (c, s): content c is (B, 10), the one-hot class followed by the normal scores of
x, y, size and rotation; style s is (B, 3), distributed like the prior. Everything is in float64. Two worlds map codes
to images:

- `CodeWorld`: an image is a vector that is an injective function of the code, so E* is exact. A bijection changes
  neither the hypotheses of the propositions nor their conclusions, so nothing is lost.
- `PixelWorld`: an image consists of pixels, and E* sees nothing else (`munit_lite.theory.inversion`).
"""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from munit_lite.config import check_domain
from munit_lite.evaluation.attribute_predictors import AttributePredictor, load_attribute_predictor
from munit_lite.model import check_translation
from munit_lite.theory.inversion import CodeFit, fit_codes
from munit_lite.theory.variants import ORACLE, OracleVariant
from munit_lite.world import (
    CONTENT_FACTORS,
    DOMAIN_NAMES,
    SHAPES,
    STYLE_DIM,
    STYLE_FACTORS,
    Content,
    World,
    content_from_quantiles,
    factor_ranges,
    is_round,
    render,
    style_from_code,
)

CONTENT_DIM = len(SHAPES) + len(CONTENT_FACTORS)


def code_from_content(content: Content) -> Tensor:
    """Compute the content codes of B contents.

    Returns:
        (B, 10) in float64: the one-hot class, then the normal scores of x, y, size and rotation (0 for round shapes).

    Example:
        >>> content = World().content(torch.arange(4), seed=0, domain=1, stream="test")
        >>> code_from_content(content).shape
        torch.Size([4, 10])
    """
    classes = torch.nn.functional.one_hot(content.shape_class, len(SHAPES)).double()
    factors = content.factors.double()
    low, span = factor_ranges(CONTENT_FACTORS, factors)
    scores = torch.special.ndtri(((factors - low) / span).clamp(1e-9, 1 - 1e-9))  # float32 may round onto an open end
    scores[:, 3].masked_fill_(is_round(content.shape_class), 0.0)
    return torch.cat([classes, scores], dim=1)


def content_from_code(code: Tensor) -> Content:
    """Invert `code_from_content`; the scores, columns 6 to 9 of (B, 10), may be any real numbers."""
    classes, scores = code.split([len(SHAPES), len(CONTENT_FACTORS)], dim=1)
    return content_from_quantiles(torch.special.ndtr(scores), classes.argmax(dim=1))


class Tolerances(NamedTuple):
    """Errors up to which images, codes and measured content count as equal; each is an NRMSE."""

    images: float
    codes: float
    content: float


class ObservedWorld(Protocol):
    """What the checks need from a world: images of both domains, and factors measured from images."""

    variant: str
    measured: str  # what `factors` returns, for reports
    tolerances: Tolerances

    def images(self, index: Tensor, seed: int, domain: int, stream: str) -> Tensor:
        """Return the images of a domain, (B, ...), with the indices (B,) in a stream of independent ones."""
        ...

    def factors(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor, Tensor]:
        """Measure the one-hot class (B, 6), x, y, size and rotation (B, 4) and style (B, 3) of images of a domain."""
        ...


class InvertibleWorld(ObservedWorld, Protocol):
    """A world with known G* and E*."""

    def render(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Compute G*: images, (B, ...), from content codes (B, 10) and style codes (B, 3)."""
        ...

    def invert(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Compute E*: the content codes (B, 10) and style codes (B, 3) of images."""
        ...


class CodeWorld:
    """The world of vectors sinh(R_i z), where R_i is a fixed rotation for domain i; E* is the exact inverse.

    Args:
        variant: a name in `munit_lite.world.WORLD_VARIANTS`.

    Example:
        >>> world = CodeWorld()
        >>> world.images(torch.arange(4), seed=0, domain=1).shape
        torch.Size([4, 13])
    """

    measured = "the exact factors"
    tolerances = Tolerances(1e-6, 1e-6, 1e-6)

    def __init__(self, variant: str = "standard") -> None:
        self.variant, self._world = variant, World(variant)
        generator = torch.Generator().manual_seed(0)
        square = torch.randn(2, CONTENT_DIM + STYLE_DIM, CONTENT_DIM + STYLE_DIM, generator=generator).double()
        self._rotations = torch.linalg.qr(square).Q

    def codes(self, index: Tensor, seed: int, domain: int, stream: str = "test") -> tuple[Tensor, Tensor]:
        """Return the content and style codes of independent items, (B, 10) and (B, 3)."""
        return _codes(self._world, index, seed, domain, stream)

    def images(self, index: Tensor, seed: int, domain: int, stream: str = "test") -> Tensor:
        """Return independent images of one domain, (B, 13)."""
        return self.render(*self.codes(index, seed, domain, stream), domain)

    def render(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Compute G*, (B, 10) and (B, 3) -> (B, 13), for any real codes."""
        return torch.sinh(torch.cat([content, style], dim=1) @ self._rotations[check_domain(domain) - 1].T)

    def invert(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Compute E*, (B, 13) -> (B, 10) and (B, 3)."""
        code = torch.asinh(images) @ self._rotations[check_domain(domain) - 1]
        return code[:, :CONTENT_DIM], code[:, CONTENT_DIM:]

    def factors(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the one-hot class (B, 6), the scores of x, y, size and rotation (B, 4) and the style (B, 3)."""
        content, style = self.invert(images, domain)
        return content[:, : len(SHAPES)], content[:, len(SHAPES) :], style


class PixelWorld:
    """The world of rendered images; E* is fitted to their pixels, and the checks compare predicted attributes.

    Args:
        variant: a name in `munit_lite.world.WORLD_VARIANTS`, but not "laboratory".
        size: height and width in pixels, a multiple of 32.

    Raises:
        ValueError: the size is not a multiple of 32, or the variant magnifies its images, which E* cannot invert.
    """

    measured = "predicted attributes (the tests cannot see what the attribute predictors do not predict)"
    # The attribute predictors err, too: their tolerance is such that the true translation passes (`error_rates`).
    tolerances = Tolerances(images=0.05, codes=0.05, content=0.17)

    def __init__(self, variant: str = "standard", size: int = 32) -> None:
        if size % 32:
            raise ValueError(f"size {size} is not a multiple of 32, as the attribute predictors require")
        self.variant, self.size = variant, size
        self._world = World(variant)
        if self._world.variant.zoom != 1:
            raise ValueError(f"images of the world variant {variant!r} are magnified: the oracle cannot invert them")
        self._predictors: dict[int, AttributePredictor] = {
            domain: load_attribute_predictor(domain) for domain in DOMAIN_NAMES
        }

    def codes(self, index: Tensor, seed: int, domain: int, stream: str = "test") -> tuple[Tensor, Tensor]:
        """Return the content and style codes of independent items, (B, 10) and (B, 3)."""
        return _codes(self._world, index, seed, domain, stream)

    def images(self, index: Tensor, seed: int, domain: int, stream: str = "test") -> Tensor:
        """Return independent images of one domain, (B, 3, size, size) in float64."""
        return self.render(*self.codes(index, seed, domain, stream), domain)

    def render(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Compute G*, (B, 10) and (B, 3) -> (B, 3, size, size), for any real codes."""
        return render(content_from_code(content), style_from_code(style, domain), domain, self.size)

    def invert(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Compute E*, (B, 3, size, size) -> (B, 10) and (B, 3), from the pixels alone."""
        fit = self.fit(images, domain)
        return code_from_content(fit.content), fit.style_code

    @torch.no_grad()
    def fit(self, images: Tensor, domain: int) -> CodeFit:
        """Return the fit behind `invert`, with the residual of each image."""
        return fit_codes(images.double(), domain, self._predictors[check_domain(domain)])

    @torch.no_grad()
    def factors(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor, Tensor]:
        """Predict the one-hot class (B, 6), x, y, size and rotation (B, 4) and style (B, 3), roughly standardized."""
        attributes = self._predictors[check_domain(domain)](images.float().cpu())
        classes = torch.nn.functional.one_hot(attributes.shape_class, len(SHAPES)).double()
        factors = attributes.continuous().double()
        factors[:, 3].masked_fill_(is_round(attributes.shape_class), 0.0)
        low, span = factor_ranges(CONTENT_FACTORS + STYLE_FACTORS[domain], factors)
        standardized = (factors - (low + span / 2)) / (span / math.sqrt(12))
        return classes, standardized[:, :4], standardized[:, 4:]


class LookupWorld(PixelWorld):
    """A `PixelWorld` that looks up the codes of the images it rendered, where `PixelWorld` fits them at great cost.

    Both give the same codes up to 1e-9, so it serves to measure what the oracle and its variants score on pixels.
    """

    def __init__(self, variant: str = "standard", size: int = 32) -> None:
        super().__init__(variant, size)
        self._rendered: dict[bytes, Tensor] = {}

    def render(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Compute G* as `PixelWorld` does, and remember the codes."""
        images = super().render(content, style, domain)
        self._rendered.update(zip(map(_digest, images), torch.cat([content, style], dim=1), strict=True))
        return images

    def invert(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Compute E* of images that `render` returned.

        Raises:
            KeyError: an image is another one.
        """
        codes = torch.stack([self._rendered[_digest(image)] for image in images])
        return codes[:, :CONTENT_DIM], codes[:, CONTENT_DIM:]


def _digest(image: Tensor) -> bytes:
    return hashlib.sha256(image.numpy().tobytes()).digest()


def _codes(world: World, index: Tensor, seed: int, domain: int, stream: str) -> tuple[Tensor, Tensor]:
    content = world.content(index, seed, domain, stream)
    return code_from_content(content), world.style_code(index, seed, domain, stream).double()


class Oracle:
    """E* and G* of a world, or a variant of them whose encoders and decoders are edited separately.

    Its methods are those of `munit_lite.model.MUNIT`. Content codes are (B, 10), or wider if the variant edits them so.

    Args:
        world: provides G* and E*.
        variant: the edits: G_i(z) = G_i*(variant.decode[i](z)) and E_i(x) = variant.encode[i](E_i*(x)).

    Example:
        >>> world = CodeWorld()
        >>> x_1 = world.images(torch.arange(4), seed=0, domain=1)
        >>> Oracle(world).translate(x_1, source=1, target=2).shape
        torch.Size([4, 13])
    """

    def __init__(self, world: InvertibleWorld, variant: OracleVariant = ORACLE) -> None:
        self.world, self.variant = world, variant

    def encode_content(self, images: Tensor, domain: int) -> Tensor:
        """Compute c = E^c(x), (B, 10)."""
        return self._encode(images, domain)[0]

    def encode_style(self, images: Tensor, domain: int) -> Tensor:
        """Compute s = E^s(x), (B, 3)."""
        return self._encode(images, domain)[1]

    def _encode(self, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        content, style = self.world.invert(images, check_domain(domain))
        return self.variant.encode[domain](content, style)

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Compute x = G(c, s), (B, ...), from content codes (B, 10) and style codes (B, 3)."""
        return self.world.render(*self.variant.decode[check_domain(domain)](content, style), domain)

    def sample_style(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Sample styles from the prior q(s) = N(0, I), (count, 3)."""
        return torch.randn(count, STYLE_DIM, generator=generator, dtype=torch.float64)

    def reconstruct(self, images: Tensor, domain: int) -> Tensor:
        """Compute G_i(E_i^c(x), E_i^s(x)) for images x of domain i, (B, ...)."""
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
        """Compute G_target(E_source^c(x), s).

        Args:
            images: (B, ...) of the source domain.
            source: 1 or 2.
            target: the other domain.
            style: styles of the target domain, (B, 3); if `style_from` is None, too, they are sampled from the prior.
            style_from: images of the target domain whose styles are used, (B, ...).
            generator: samples the styles.

        Returns:
            images of the target domain, (B, ...).

        Raises:
            ValueError: source and target are the same domain, or both `style` and `style_from` are given.
        """
        check_translation(source, target, style, style_from)
        if style_from is not None:
            style = self.encode_style(style_from, target)
        style = self.sample_style(len(images), generator) if style is None else style
        return self.decode(self.encode_content(images, source), style, target)
