"""E* on images: fit the content and style of an image to its pixels through the differentiable renderer.

An attribute predictor gives the starting point. Levenberg-Marquardt steps in float64, with the renderer's exact
derivatives, then continue until the rendered image equals the given one. Nothing but the pixels is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from munit_lite.config import check_domain
from munit_lite.evaluation.attribute_predictors import AttributePredictor
from munit_lite.world import (
    CONTENT_FACTORS,
    SHAPES,
    STYLE_FACTORS,
    Content,
    content_from_quantiles,
    factor_ranges,
    render,
    style_from_code,
)

_AMBIGUOUS = 0.01  # above this residual (8-bit rounding leaves 0.003) the other classes are tried, too
_CONVERGED = 1e-13  # residual at which an image counts as fitted
_MAX_STEPS, _MAX_DAMPING = 40, 1e6  # with a larger damping no step improves the fit
_BATCH_SIZE = 100  # images whose derivatives are held in memory together
_MARGIN = 1e-9  # quantiles stay this far inside (0, 1), so their normal scores stay below 6


class CodeFit(NamedTuple):
    """The content and style fitted to B images."""

    content: Content
    style_code: Tensor  # (B, 3), normal scores of the style factors
    residual: Tensor  # (B,), root mean square difference between the image and its fit; pixels are in [-1, 1]


def fit_codes(images: Tensor, domain: int, predictor: AttributePredictor) -> CodeFit:
    """Fit content and style to images by least squares on their pixels.

    Args:
        images: (B, 3, H, W) in float64 and [-1, 1]; H and W are equal multiples of 32.
        domain: the domain of the images, 1 or 2.
        predictor: the attribute predictor of that domain; it gives the first class to try and the starting point.

    Returns:
        the fit with the predicted class or, where that leaves a residual, the best fit over all classes.

    Raises:
        ValueError: there is no such domain, or H is not a multiple of 32.
    """
    fits = [_fit_batch(batch, domain, predictor) for batch in images.split(_BATCH_SIZE)]
    shape_class, quantiles, residual = (torch.cat(values) for values in zip(*fits, strict=True))
    return CodeFit(content_from_quantiles(quantiles, shape_class), torch.special.ndtri(quantiles[:, 4:]), residual)


def _fit_batch(images: Tensor, domain: int, predictor: AttributePredictor) -> tuple[Tensor, Tensor, Tensor]:
    """Return classes (B,), quantiles of the seven factors (B, 7) and residuals (B,)."""
    attributes = predictor(images.float())
    factors = attributes.continuous().double()
    low, span = factor_ranges(CONTENT_FACTORS + STYLE_FACTORS[check_domain(domain)], factors)
    start = ((factors - low) / span).clamp(0.01, 0.99)
    shape_class = attributes.shape_class
    quantiles, residual = _levenberg_marquardt(images, shape_class, start, domain)
    for candidate in range(len(SHAPES)):
        ambiguous = torch.nonzero((residual > _AMBIGUOUS) & (attributes.shape_class != candidate)).flatten()
        if not len(ambiguous):
            continue
        candidates = torch.full_like(shape_class[ambiguous], candidate)
        new_quantiles, new_residual = _levenberg_marquardt(images[ambiguous], candidates, start[ambiguous], domain)
        improved = new_residual < residual[ambiguous]
        rows = ambiguous[improved]
        shape_class[rows], quantiles[rows] = candidates[improved], new_quantiles[improved]
        residual[rows] = new_residual[improved]
    return shape_class, quantiles, residual


def _levenberg_marquardt(images: Tensor, shape_class: Tensor, start: Tensor, domain: int) -> tuple[Tensor, Tensor]:
    """Minimize the pixel error over the quantiles of the seven factors; each image has its own damping."""
    quantiles = start.clone()
    errors = _render_quantiles(quantiles, shape_class, domain, images.shape[-1]) - images.flatten(1)
    damping = torch.full((len(images),), 1e-3, dtype=torch.float64)
    for _ in range(_MAX_STEPS):
        active = torch.nonzero((errors.square().mean(1).sqrt() > _CONVERGED) & (damping < _MAX_DAMPING)).flatten()
        if not len(active):
            break
        current, classes, weight = quantiles[active], shape_class[active], damping[active]

        def render_pixels(values: Tensor, classes: Tensor = classes) -> Tensor:
            return _render_quantiles(values, classes, domain, images.shape[-1])

        jacobian = _jacobian(render_pixels, current)
        normal_matrix = jacobian.transpose(1, 2) @ jacobian
        gradient = (jacobian * errors[active][:, :, None]).sum(1)
        diagonal = normal_matrix.diagonal(dim1=1, dim2=2).clamp_min(1e-12)  # the rotation of a disc changes no pixel
        step = torch.linalg.solve(normal_matrix + torch.diag_embed(weight[:, None] * diagonal), gradient)
        new_quantiles = (current - step).clamp(_MARGIN, 1 - _MARGIN)
        new_errors = render_pixels(new_quantiles) - images[active].flatten(1)
        improved = new_errors.square().mean(1) < errors[active].square().mean(1)
        quantiles[active[improved]], errors[active[improved]] = new_quantiles[improved], new_errors[improved]
        damping[active] = torch.where(improved, weight / 10, weight * 10)
    return quantiles, errors.square().mean(1).sqrt()


def _render_quantiles(quantiles: Tensor, shape_class: Tensor, domain: int, size: int) -> Tensor:
    style = style_from_code(torch.special.ndtri(quantiles[:, 4:]), domain)
    return render(content_from_quantiles(quantiles, shape_class), style, domain, size).flatten(1)


def _jacobian(function: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    """Return the derivatives of each image by its own seven factors: (B, pixels, 7)."""
    axes = torch.eye(point.shape[1], dtype=point.dtype)[:, None].expand(-1, len(point), -1)
    return torch.func.vmap(lambda axis: torch.func.jvp(function, (point,), (axis,))[1], out_dims=2)(axes)
