"""The known world: two domains whose content and style are known for every image.

Domain 1 is a *sketch*, an outline on paper. Domain 2 is a *painting*, a lit shape in a foreground color on a background
color. Both are rendered from the same content by signed distance functions, so `render` is the paper's G*, and every
claim about content and style can be measured against the truth (paper, section 3.1).

The shapes, class frequencies and ranges below were fixed before any model was tuned on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from munit_lite.config import check_domain
from munit_lite.counter_rng import uniform

SKETCH, PAINTING = 1, 2
DOMAIN_NAMES = {SKETCH: "sketch", PAINTING: "painting"}
DIRECTIONS = {(1, 2): "sketch to painting", (2, 1): "painting to sketch"}  # (source, target) -> name


class Factor(NamedTuple):
    """A continuous factor of content or style: an open interval (low, high) with its unit."""

    name: str
    low: float
    high: float
    unit: str

    @property
    def span(self) -> float:
        return self.high - self.low


class Shape(NamedTuple):
    """A shape of circumradius about 1.

    Args:
        name: its class.
        symmetry: order of the rotational symmetry; 0 for a round shape.
        corners: of a shape with corners, the part of its outline in the half wedge of azimuth [0, pi / symmetry].
        radius: of a round shape, the middle radius of the band | r - radius | < half_width that it fills.
        half_width: half of the width of that band.
    """

    name: str
    symmetry: int
    corners: tuple[tuple[float, float], ...] = ()
    radius: float = 0.0
    half_width: float = 0.0

    @property
    def period(self) -> float:
        """Smallest rotation in radians that gives the same shape (0 for a round shape)."""
        return 2 * math.pi / self.symmetry if self.symmetry else 0.0


_STAR_NOTCH = 0.48  # radius of the star's inner corners
SHAPES = (
    Shape("disc", 0, radius=0.0, half_width=0.85),
    Shape("ring", 0, radius=0.68, half_width=0.24),
    Shape("square", 4, ((0.7, 0.0), (0.7, 0.7))),
    Shape("triangle", 3, ((0.5, 0.0), (0.5, math.sqrt(3) / 2))),
    Shape("cross", 4, ((0.95, 0.0), (0.95, 0.3), (0.3, 0.3))),
    Shape("star", 5, ((1.0, 0.0), (_STAR_NOTCH * math.cos(math.pi / 5), _STAR_NOTCH * math.sin(math.pi / 5)))),
)
SHAPE_NAMES = tuple(shape.name for shape in SHAPES)

# The rotation stays inside one symmetry period, so that no two rotations of a shape give the same image.
ROTATION = Factor("rotation", -0.4, 0.4, "symmetry periods")
CONTENT_FACTORS = (
    Factor("x", 0.35, 0.65, "image widths"),
    Factor("y", 0.35, 0.65, "image heights"),
    Factor("size", 0.20, 0.30, "image widths"),
    ROTATION,
)
STYLE_FACTORS = {
    SKETCH: (
        Factor("line_width", 0.04, 0.07, "image widths"),
        Factor("ink", 0.0, 0.35, "gray level"),
        Factor("paper", 0.65, 1.0, "gray level"),
    ),
    PAINTING: (
        Factor("foreground_hue", 0.02, 0.42, "turns of the color wheel"),
        Factor("background_hue", 0.52, 0.92, "turns of the color wheel"),
        Factor("light", math.radians(10), math.radians(170), "radians from the right"),
    ),
}
STYLE_DIM = 3


class _Record:
    """Indexing, length and `to(device)` for the frozen dataclasses of tensors below."""

    def _map(self, function) -> Self:
        return replace(self, **{f.name: function(getattr(self, f.name)) for f in fields(self)})  # type: ignore[arg-type, type-var]

    def __getitem__(self, index) -> Self:
        return self._map(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> Self:
        return self._map(lambda tensor: tensor.to(device))

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Content(_Record):
    """The content of a batch of images, which both domains share: c in the paper.

    Args:
        shape_class: (B,) int64, index into `SHAPES`.
        position: (B, 2), center as (x, y) in image widths, y downwards.
        size: (B,), circumradius in image widths.
        angle: (B,), rotation in radians; 0 for round shapes.
    """

    shape_class: Tensor
    position: Tensor
    size: Tensor
    angle: Tensor

    @property
    def rotation(self) -> Tensor:
        """(B,), the angle in symmetry periods of its shape; 0 for round shapes."""
        period = _periods(self.shape_class, self.angle)
        return torch.where(period > 0, self.angle / period.clamp_min(1e-9), torch.zeros_like(self.angle))

    @property
    def factors(self) -> Tensor:
        """(B, 4), the values of `CONTENT_FACTORS`."""
        return torch.cat([self.position, self.size[:, None], self.rotation[:, None]], dim=1)


class _Style(_Record):
    @property
    def factors(self) -> Tensor:
        """(B, 3), the values of `STYLE_FACTORS`."""
        return torch.stack([getattr(self, f.name) for f in fields(self)], dim=1)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SketchStyle(_Style):
    """The style s_1 of sketches: line width in image widths, ink and paper as gray levels in [0, 1]; each (B,)."""

    line_width: Tensor
    ink: Tensor
    paper: Tensor


@dataclass(frozen=True)
class PaintingStyle(_Style):
    """The style s_2 of paintings: hues in turns of the color wheel, direction of the light in radians; each (B,)."""

    foreground_hue: Tensor
    background_hue: Tensor
    light: Tensor


Style = SketchStyle | PaintingStyle
_STYLE_CLASSES: dict[int, type[SketchStyle] | type[PaintingStyle]] = {SKETCH: SketchStyle, PAINTING: PaintingStyle}


def style_from_code(code: Tensor, domain: int) -> Style:
    """Convert style codes from the prior q(s) = N(0, I) to style factors: factor = low + span * Phi(code).

    Args:
        code: style codes, (B, 3).
        domain: 1 or 2.

    Raises:
        ValueError: the code has another shape, or there is no such domain.

    Example:
        >>> style_from_code(torch.zeros(1, 3), domain=2).foreground_hue
        tensor([0.2200])
    """
    factors = STYLE_FACTORS[check_domain(domain)]
    if code.ndim != 2 or code.shape[1] != STYLE_DIM:
        raise ValueError(f"a style code of the known world has shape (B, {STYLE_DIM}), not {tuple(code.shape)}")
    quantile = torch.special.ndtr(code)
    values = (factor.low + factor.span * quantile[:, k] for k, factor in enumerate(factors))
    return _STYLE_CLASSES[domain](*values)


def code_from_style(style: Style) -> Tensor:
    """Convert style factors to the style codes, (B, 3), that they come from; the inverse of `style_from_code`.

    A code is infinite where a factor lies at an end of its open range.
    """
    low, span = factor_ranges(STYLE_FACTORS[SKETCH if isinstance(style, SketchStyle) else PAINTING], style.factors)
    return torch.special.ndtri((style.factors - low) / span)


def factor_ranges(factors: tuple[Factor, ...], like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lower end and the span of K factors, both (K,), with the type and on the device of `like`."""
    return _table([factor.low for factor in factors], like), _table([factor.span for factor in factors], like)


def content_from_quantiles(quantiles: Tensor, shape_class: Tensor, dtype: torch.dtype | None = None) -> Content:
    """Convert quantiles of the content factors to a content: factor = low + span * quantile.

    Args:
        quantiles: of x, y, size and rotation, (B, 4) in (0, 1).
        shape_class: (B,) int64, index into `SHAPES`.
        dtype: of the factors; by default that of the quantiles.
    """
    values = (factor.low + factor.span * quantiles[:, k] for k, factor in enumerate(CONTENT_FACTORS))
    x, y, size, rotation = (value.to(dtype or quantiles.dtype) for value in values)
    return Content(shape_class, torch.stack([x, y], dim=1), size, rotation * _periods(shape_class, rotation))


# --------------------------------------------------------------------------------------------------- rendering


def _table(rows: list, like: Tensor) -> Tensor:
    return torch.tensor(rows, dtype=like.dtype, device=like.device)


def _periods(shape_class: Tensor, like: Tensor) -> Tensor:
    return _table([shape.period for shape in SHAPES], like)[shape_class]


def is_round(shape_class: Tensor) -> Tensor:
    """Return a mask, (B,), of the classes, (B,), whose shapes are round and so have no rotation."""
    return torch.tensor([shape.symmetry == 0 for shape in SHAPES], device=shape_class.device)[shape_class]


def _pixel_centers(size: int, zoom: float, like: Tensor) -> Tensor:
    """World coordinates of the pixel centers along one axis, (size,); a zoom magnifies the center of the world."""
    return 0.5 + ((torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size - 0.5) / zoom


def signed_distance(content: Content, size: int, zoom: float = 1.0) -> Tensor:
    """Compute the distance of each pixel center to the outline, negative inside the shape.

    Args:
        content: of B images.
        size: height and width in pixels.
        zoom: magnification about the center of the image.

    Returns:
        (B, size, size), in image widths at zoom 1.
    """
    circumradius = content.size[:, None, None]
    ticks = _pixel_centers(size, zoom, circumradius)
    # The 1e-9 keeps the gradient finite where a pixel center is exactly the center of the shape.
    x = (ticks[None, None, :] - content.position[:, 0, None, None]) / circumradius + 1e-9
    y = (ticks[None, :, None] - content.position[:, 1, None, None]) / circumradius
    radius = torch.sqrt(x * x + y * y)

    # Fold the plane by the shape's symmetry, so that a single half wedge of its outline is left.
    symmetry = _table([max(shape.symmetry, 1) for shape in SHAPES], circumradius)[content.shape_class][:, None, None]
    wedge = math.pi / symmetry
    azimuth = torch.atan2(y, x) - content.angle[:, None, None]
    azimuth = (torch.remainder(azimuth + wedge, 2 * wedge) - wedge).abs()
    u, v = radius * torch.cos(azimuth), radius * torch.sin(azimuth)

    # A polyline of at most two segments; a single one is listed twice.
    polylines = [shape.corners or ((1.0, 0.0), (1.0, 1.0)) for shape in SHAPES]
    segments = [[(p[0], p[1]), (p[-2], p[-1])] for p in polylines]
    ends = _table(segments, circumradius)[content.shape_class]  # (B, segment, end, coordinate)
    squared, outside = [], []
    for (au, av), (bu, bv) in _segments(ends):
        du, dv = bu - au, bv - av
        along = (((u - au) * du + (v - av) * dv) / (du * du + dv * dv)).clamp(0, 1)
        squared.append((u - au - along * du) ** 2 + (v - av - along * dv) ** 2)
        outside.append(du * (v - av) - dv * (u - au) < 0)
    distance = torch.sqrt(torch.minimum(*squared) + 1e-14)
    cornered = torch.where(outside[0] | outside[1], distance, -distance)

    middle = _table([shape.radius for shape in SHAPES], circumradius)[content.shape_class][:, None, None]
    half_width = _table([shape.half_width for shape in SHAPES], circumradius)[content.shape_class][:, None, None]
    round_shapes = is_round(content.shape_class)[:, None, None]
    return torch.where(round_shapes, (radius - middle).abs() - half_width, cornered) * circumradius


def _segments(ends: Tensor) -> Iterator[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    for k in range(ends.shape[1]):
        au, av, bu, bv = (ends[:, k, e, c, None, None] for e in (0, 1) for c in (0, 1))
        yield (au, av), (bu, bv)


def render(content: Content, style: Style, domain: int, size: int, zoom: float = 1.0) -> Tensor:
    """Render images from content and style: the paper's x_i = G_i*(c, s_i) (section 3.1).

    The images are antialiased, differentiable in every continuous factor, and on the device of the arguments.

    Args:
        content: of B images.
        style: of B images of that domain.
        domain: 1 (sketch) or 2 (painting).
        size: height and width in pixels, 16 or more; 32 to 256 are intended, and 16 with a zoom.
        zoom: magnification about the center of the image, above 0. Content and style keep their units, image widths at
            zoom 1.

    Returns:
        (B, 3, size, size) in [-1, 1].

    Raises:
        ValueError: the style belongs to the other domain, or the size is too small.

    Example:
        >>> index, world = torch.arange(4), World()
        >>> content = world.content(index, seed=0)
        >>> style = style_from_code(world.style_code(index, seed=0, domain=2), domain=2)
        >>> render(content, style, domain=2, size=32).shape
        torch.Size([4, 3, 32, 32])
    """
    if not isinstance(style, _STYLE_CLASSES[check_domain(domain)]):
        raise ValueError(f"domain {domain} is {DOMAIN_NAMES[domain]}, but the style is a {type(style).__name__}")
    if size < 16:
        raise ValueError(f"size {size} is too small: below 16 pixels the shapes cannot be told apart")
    distance = signed_distance(content, size, zoom)  # (B, size, size)
    pixels = size * zoom  # per image width at zoom 1
    if isinstance(style, SketchStyle):
        ink = (0.5 - (distance.abs() - style.line_width[:, None, None] / 2) * pixels).clamp(0, 1)
        paper = style.paper[:, None, None]
        gray = paper + (style.ink[:, None, None] - paper) * ink
        return (2 * gray - 1)[:, None].expand(-1, 3, -1, -1).contiguous()
    inside = (0.5 - distance * pixels).clamp(0, 1)[:, None]  # (B, 1, size, size)
    ticks = _pixel_centers(size, zoom, distance)
    across = (ticks[None, None, :] - content.position[:, 0, None, None]) * torch.cos(style.light)[:, None, None]
    down = (ticks[None, :, None] - content.position[:, 1, None, None]) * torch.sin(style.light)[:, None, None]
    brightness = (across - down) / content.size[:, None, None]  # -1 (away from the light) to 1 (towards it)
    hue = _hue_to_rgb(style.foreground_hue, saturation=0.85)[:, :, None, None]
    foreground = hue * (0.75 + 0.25 * brightness)[:, None]
    background = 0.6 * _hue_to_rgb(style.background_hue, saturation=0.45)[:, :, None, None]
    return 2 * (background + (foreground - background) * inside) - 1


def _hue_to_rgb(hue: Tensor, saturation: float) -> Tensor:
    """Convert hues in turns of the color wheel, (B,), to RGB of HSV value 1, (B, 3)."""
    sixths = torch.remainder(hue[:, None] * 6 + _table([5.0, 3.0, 1.0], hue), 6)
    return 1 - saturation * torch.minimum(sixths, 4 - sixths).clamp(0, 1)


# ---------------------------------------------------------------------------------------------------- sampling


@dataclass(frozen=True)
class WorldVariant:
    """A kind of world: its shapes, their frequencies in each domain, and how contents are sampled and shown.

    Args:
        shapes: names in `SHAPE_NAMES`.
        frequencies_1: of the shapes in domain 1, of sum 1.
        frequencies_2: the same in domain 2.
        size_follows_x: correlation of size with x (through a Gaussian copula).
        position_range: the range of x and y around the center, as a fraction of the range in `CONTENT_FACTORS`.
        zoom: magnification of the images, which makes shapes and lines larger by this factor.
    """

    shapes: tuple[str, ...]
    frequencies_1: tuple[float, ...]
    frequencies_2: tuple[float, ...]
    size_follows_x: float = 0.0
    position_range: float = 1.0
    zoom: float = 1.0


_STANDARD = (0.23, 0.20, 0.18, 0.15, 0.13, 0.11)
_LABORATORY = (0.36, 0.26, 0.18, 0.12, 0.08)
WORLD_VARIANTS = {
    # Unequal frequencies, so that no permutation of classes is a symmetry.
    "standard": WorldVariant(SHAPE_NAMES, _STANDARD, _STANDARD),
    "two_shapes": WorldVariant(("disc", "square"), (0.6, 0.4), (0.6, 0.4)),
    # Different multisets of frequencies: no relabeling makes p(c1) = p(c2) (Proposition 2 must fail).
    "different_frequencies": WorldVariant(SHAPE_NAMES, _STANDARD, (0.05, 0.05, 0.10, 0.10, 0.30, 0.40)),
    # Equally frequent classes that all have an angle: shifting the class is a symmetry of p(c).
    "cyclic": WorldVariant(("square", "triangle", "cross", "star"), (0.25,) * 4, (0.25,) * 4),
    "correlated": WorldVariant(SHAPE_NAMES, _STANDARD, _STANDARD, size_follows_x=0.8),
    # For tables of many runs at 16 px. Measured in image widths, sizes and line widths are 1.4 times the standard ones,
    # so that 16 px show them, and x and y vary over 0.56 of their standard range, so that shapes stay inside the image.
    # Rotations, colors, inks and lights are the standard ones. There is no ring: it has the outline of a disc, filling
    # it is the simplest map, and a table of ablations says something only where the full method works. The frequencies
    # are more unequal than the standard ones, because they alone tell the true pairing of classes from a wrong one.
    "laboratory": WorldVariant(
        ("disc", "square", "triangle", "cross", "star"), _LABORATORY, _LABORATORY, position_range=0.4, zoom=1.4
    ),
}


class Pairs(NamedTuple):
    """True pairs for evaluation: one content rendered in both domains."""

    content: Content
    code_1: Tensor  # (B, 3)
    code_2: Tensor  # (B, 3)
    image_1: Tensor  # (B, 3, size, size)
    image_2: Tensor  # (B, 3, size, size)


class World:
    """A sampler of content, styles and images, in which item i is a pure function of (seed, i).

    Args:
        variant: a name in `WORLD_VARIANTS`.

    Raises:
        ValueError: there is no such variant.

    Example:
        >>> World().images(torch.arange(8), seed=0, domain=1, size=32).shape
        torch.Size([8, 3, 32, 32])
    """

    def __init__(self, variant: str = "standard") -> None:
        if variant not in WORLD_VARIANTS:
            raise ValueError(f"unknown world variant {variant!r}; known: {', '.join(WORLD_VARIANTS)}")
        self.name, self.variant = variant, WORLD_VARIANTS[variant]

    def content(self, index: Tensor, seed: int, domain: int = 1, stream: str = "train") -> Content:
        """Sample content from p(c) of a domain.

        Args:
            index: item numbers, (B,) int64.
            seed: of the world.
            domain: which class frequencies, and whose items.
            stream: items of differently named streams are independent ("train", "test", …).

        Returns:
            the content of B images.
        """
        key = f"{seed}/{stream}/{check_domain(domain)}/content"
        frequencies = self.variant.frequencies_1 if domain == 1 else self.variant.frequencies_2
        edges = torch.tensor(frequencies, dtype=torch.float64, device=index.device).cumsum(0)[:-1]
        numbers = torch.tensor([SHAPE_NAMES.index(name) for name in self.variant.shapes], device=index.device)
        shape_class = numbers[torch.bucketize(uniform(index, f"{key}/class"), edges, right=True)]
        # These names select the random numbers, so renaming one would change every image.
        quantile = {name: uniform(index, f"{key}/{name}") for name in ("x", "y", "size", "turn")}
        if rho := self.variant.size_follows_x:
            normal = {name: torch.special.ndtri(quantile[name]) for name in ("x", "size")}
            mixture = rho * normal["x"] + math.sqrt(1 - rho**2) * normal["size"]
            quantile["size"] = torch.special.ndtr(mixture)
        for name in ("x", "y") if self.variant.position_range != 1 else ():
            quantile[name] = 0.5 + self.variant.position_range * (quantile[name] - 0.5)
        return content_from_quantiles(torch.stack(list(quantile.values()), dim=1), shape_class, torch.float32)

    def style_code(self, index: Tensor, seed: int, domain: int, stream: str = "train") -> Tensor:
        """Sample style codes from the prior q(s) = N(0, I), (B, 3); the arguments are those of `content`."""
        key = f"{seed}/{stream}/{check_domain(domain)}/style"
        columns = [uniform(index, f"{key}/{k}") for k in range(STYLE_DIM)]
        return torch.special.ndtri(torch.stack(columns, dim=1)).float()

    def images(self, index: Tensor, seed: int, domain: int, size: int, stream: str = "train") -> Tensor:
        """Sample images of one domain, (B, 3, size, size) in [-1, 1]; those of the other domain differ in content."""
        style = style_from_code(self.style_code(index, seed, domain, stream), domain)
        return self.render(self.content(index, seed, domain, stream), style, domain, size)

    def render(self, content: Content, style: Style, domain: int, size: int) -> Tensor:
        """Render images with the zoom of this world: (B, 3, size, size) in [-1, 1].

        Args:
            content: of B images.
            style: of B images of that domain.
            domain: 1 (sketch) or 2 (painting).
            size: height and width in pixels, 16 or more.

        Raises:
            ValueError: the style belongs to the other domain, or the size is too small.
        """
        return render(content, style, domain, size, self.variant.zoom)

    def pairs(self, index: Tensor, seed: int, size: int, stream: str = "test") -> Pairs:
        """Sample true pairs with the p(c) of domain 1, for evaluation only."""
        content = self.content(index, seed, 1, stream)
        code_1, code_2 = (self.style_code(index, seed, domain, stream) for domain in (1, 2))
        image_1 = self.render(content, style_from_code(code_1, 1), 1, size)
        image_2 = self.render(content, style_from_code(code_2, 2), 2, size)
        return Pairs(content, code_1, code_2, image_1, image_2)
