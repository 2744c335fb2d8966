"""E* on pictures: the content and style that a picture shows, fitted to its pixels through the renderer.

A judge's reading is where the fit starts; Levenberg's and Marquardt's steps go on from there in float64, with the
renderer's exact derivatives, until what is drawn is what is seen. Nothing but the pixels is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from munit_lite.evaluation.attribute_predictors import AttributePredictor
from munit_lite.world import CONTENT_FACTORS, SHAPES, STYLE_FACTORS, Content, check_domain, render, style_from_code

_CLEAR = 0.01  # root mean square of what is left (8 bits leave 0.003), above which other classes are tried
_EXACT = 1e-13  # what is left of a picture that is fitted
_STEPS, _STUCK = 40, 1e6  # steps at most; damping above which no step helps
_AT_ONCE = 100  # pictures whose derivatives are held in memory together
_EDGE = 1e-9  # quantiles stay this far inside (0, 1): their normal scores stay below 6


class Fit(NamedTuple):
    """What B pictures show."""

    content: Content
    style_code: Tensor  # (B, 3), normal scores of the style factors
    residual: Tensor  # (B,) root mean square difference of the picture and its fit, of a range of 2


def fit_codes(images: Tensor, domain: int, judge: AttributePredictor) -> Fit:
    """Fit content and style to pictures.

    Args:
        images: (B, 3, H, W) float64 in [-1, 1], H a multiple of 32.
        domain: theirs, 1 or 2.
        judge: of that domain; gives the class to try first and where to start.

    Returns:
        the best of the judge's class and, where something is left of the picture, of every other class.
    """
    parts = [_fit(part, domain, judge) for part in images.split(_AT_ONCE)]
    shape_class, quantiles, residual = (torch.cat(values) for values in zip(*parts, strict=True))
    return Fit(_content(quantiles, shape_class), torch.special.ndtri(quantiles[:, 4:]), residual)


def _fit(images: Tensor, domain: int, judge: AttributePredictor) -> tuple[Tensor, Tensor, Tensor]:
    reading = judge(images.float())
    ranges = CONTENT_FACTORS + STYLE_FACTORS[check_domain(domain)]
    read = torch.cat([reading.position, reading.size[:, None], reading.turn[:, None], reading.style], dim=1).double()
    low, span = (torch.tensor([getattr(f, name) for f in ranges], dtype=torch.float64) for name in ("low", "span"))
    start = ((read - low) / span).clamp(0.01, 0.99)
    shape_class = reading.shape_class
    quantiles, residual = _descend(images, shape_class, start, domain)
    for other in range(len(SHAPES)):
        unclear = torch.nonzero((residual > _CLEAR) & (reading.shape_class != other)).flatten()
        if not len(unclear):
            continue
        tried = torch.full_like(shape_class[unclear], other)
        found, left = _descend(images[unclear], tried, start[unclear], domain)
        better = left < residual[unclear]
        chosen = unclear[better]
        shape_class[chosen], quantiles[chosen], residual[chosen] = tried[better], found[better], left[better]
    return shape_class, quantiles, residual


def _content(quantiles: Tensor, shape_class: Tensor) -> Content:
    x, y, size, turn = (f.low + f.span * quantiles[:, k] for k, f in enumerate(CONTENT_FACTORS))
    period = torch.tensor([shape.period for shape in SHAPES], dtype=quantiles.dtype)[shape_class]
    return Content(shape_class, torch.stack([x, y], dim=1), size, turn * period)


def _descend(images: Tensor, shape_class: Tensor, start: Tensor, domain: int) -> tuple[Tensor, Tensor]:
    """Levenberg-Marquardt on the quantiles of the seven factors, each picture with its own damping."""

    quantiles = start.clone()
    left = _drawn(quantiles, shape_class, domain, images.shape[-1]) - images.flatten(1)
    damping = torch.full((len(images),), 1e-3, dtype=torch.float64)
    for _ in range(_STEPS):
        open_ = torch.nonzero((left.square().mean(1).sqrt() > _EXACT) & (damping < _STUCK)).flatten()
        if not len(open_):
            break
        now, classes, weight = quantiles[open_], shape_class[open_], damping[open_]

        def drawn(values: Tensor, classes: Tensor = classes) -> Tensor:
            return _drawn(values, classes, domain, images.shape[-1])

        slopes = _slopes(drawn, now)
        normal = slopes.transpose(1, 2) @ slopes
        slope = (slopes * left[open_][:, :, None]).sum(1)
        diagonal = normal.diagonal(dim1=1, dim2=2).clamp_min(1e-12)  # a disc's turn moves no pixel
        step = torch.linalg.solve(normal + torch.diag_embed(weight[:, None] * diagonal), slope)
        tried = (now - step).clamp(_EDGE, 1 - _EDGE)
        remains = drawn(tried) - images[open_].flatten(1)
        better = remains.square().mean(1) < left[open_].square().mean(1)
        quantiles[open_[better]], left[open_[better]] = tried[better], remains[better]
        damping[open_] = torch.where(better, weight / 10, weight * 10)
    return quantiles, left.square().mean(1).sqrt()


def _drawn(quantiles: Tensor, shape_class: Tensor, domain: int, size: int) -> Tensor:
    style = style_from_code(torch.special.ndtri(quantiles[:, 4:]), domain)
    return render(_content(quantiles, shape_class), style, domain, size).flatten(1)


def _slopes(drawn: Callable[[Tensor], Tensor], now: Tensor) -> Tensor:
    """Derivatives by every factor, each of one picture alone: (B, pixels, 7)."""
    axes = torch.eye(now.shape[1], dtype=now.dtype)[:, None].expand(-1, len(now), -1)
    return torch.func.vmap(lambda axis: torch.func.jvp(drawn, (now,), (axis,))[1], out_dims=2)(axes)
