"""One pure function for each loss of the paper (section 3.2), and the adversarial families.

Every function takes tensors and returns a scalar tensor. Names of arguments follow the paper's letters;
the correspondence is in each docstring. Nothing here knows a network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# ------------------------------------------------------------------------------ bidirectional reconstruction


def image_reconstruction(x_recon: Tensor, x: Tensor) -> Tensor:
    """L_recon^x1 = E || G1(E1c(x1), E1s(x1)) - x1 ||_1 (equation 1), as a mean over elements.

    Args:
        x_recon: (B, 3, H, W), the image decoded from its own content and style.
        x: (B, 3, H, W), the image.
    """
    return _mean_absolute(x_recon, x, "image")


def content_reconstruction(c_recon: Tensor, c: Tensor) -> Tensor:
    """L_recon^c1 = E || E2c(G2(c1, s2)) - c1 ||_1 (equation 2).

    The target is not detached: like the original, the gradient flows into both arguments.

    Args:
        c_recon: (B, C, h, w), the content encoded from the translation.
        c: (B, C, h, w), the content the translation was decoded from.
    """
    return _mean_absolute(c_recon, c, "content")


def style_reconstruction(s_recon: Tensor, s: Tensor) -> Tensor:
    """L_recon^s2 = E || E2s(G2(c1, s2)) - s2 ||_1 (equation 3).

    Args:
        s_recon: (B, style_dim), the style encoded from the translation.
        s: (B, style_dim), the style the decoder was fed: s2 for x1->2, never s1.
    """
    return _mean_absolute(s_recon, s, "style")


def cycle_reconstruction(x_cycle: Tensor, x: Tensor) -> Tensor:
    """L_cc^x1 = E || G1(E2c(G2(E1c(x1), s2)), E1s(x1)) - x1 ||_1 (style-augmented cycle consistency, section 5.1).

    Args:
        x_cycle: (B, 3, H, W), x1 translated with a drawn style and back with its own style.
        x: (B, 3, H, W), x1.
    """
    return _mean_absolute(x_cycle, x, "image")


def _mean_absolute(reconstruction: Tensor, target: Tensor, what: str) -> Tensor:
    if reconstruction.shape != target.shape:
        raise ValueError(
            f"the {what} reconstruction has shape {tuple(reconstruction.shape)}, its target {tuple(target.shape)}: "
            "they must be equal"
        )
    return (reconstruction - target).abs().mean()


# ------------------------------------------------------------------------------------------- adversarial losses
# Each takes one tensor of logits for each scale of the discriminator and sums over scales. No 1/2.


def lsgan_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Least squares, as the original trains: E[D(fake)^2] + E[(D(real) - 1)^2], summed over scales."""
    return _sum(((f**2).mean() + ((r - 1) ** 2).mean() for r, f in _scales(real, fake)))


def lsgan_generator(fake: Sequence[Tensor]) -> Tensor:
    """Least squares: E[(D(fake) - 1)^2], summed over scales. The target is 1: the generator wants to look real."""
    return _sum(((f - 1) ** 2).mean() for (f,) in _scales(fake))


def log_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """The paper's log form (equation 4), negated for descent: -E[log D(real)] - E[log(1 - D(fake))], D = sigmoid."""
    return _sum(F.softplus(-r).mean() + F.softplus(f).mean() for r, f in _scales(real, fake))


def log_generator(fake: Sequence[Tensor]) -> Tensor:
    """The generator's half of equation 4 as written: E[log(1 - D(fake))]. It saturates where D wins."""
    return _sum(-F.softplus(f).mean() for (f,) in _scales(fake))


def nonsaturating_generator(fake: Sequence[Tensor]) -> Tensor:
    """Trained in place of `log_generator`: -E[log D(fake)]: the same optimum, and a gradient where D wins."""
    return _sum(F.softplus(-f).mean() for (f,) in _scales(fake))


def hinge_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Hinge: E[max(0, 1 - D(real))] + E[max(0, 1 + D(fake))], summed over scales."""
    return _sum(F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in _scales(real, fake))


def hinge_generator(fake: Sequence[Tensor]) -> Tensor:
    """Hinge: -E[D(fake)], summed over scales."""
    return _sum(-f.mean() for (f,) in _scales(fake))


def gradient_penalty(real: Sequence[Tensor], x: Tensor) -> Tensor:
    """R1 (Mescheder et al., 2018; not in the paper): half of E || gradient of D(x) in x ||^2, on real images only.

    D(x) is an image's mean logit, summed over scales. It keeps a discriminator that wins smooth, so that the
    generator can still follow it.

    Args:
        real: logits for each scale, (B, 1, h, w), computed from x.
        x: (B, 3, H, W), real images that require a gradient.
    """
    (gradient,) = torch.autograd.grad(_sum(r.flatten(1).mean(1).sum() for r in real), x, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2


DISCRIMINATOR_LOSSES = {"lsgan": lsgan_discriminator, "log": log_discriminator, "hinge": hinge_discriminator}
GENERATOR_LOSSES = {"lsgan": lsgan_generator, "log": nonsaturating_generator, "hinge": hinge_generator}


def _scales(*logits: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Scale by scale what several images' logits are.

    Raises:
        TypeError: a bare tensor, whose batch would pass for scales.
        ValueError: different numbers of scales, or none.
    """
    for scales in logits:
        if isinstance(scales, Tensor):
            raise TypeError(
                "logits are one tensor, but a list of one tensor for each scale is needed: put it in a list"
            )
        if len(scales) != len(logits[0]) or not scales:
            raise ValueError(f"logits have {' and '.join(str(len(s)) for s in logits)} scales: equally many, 1 or more")
    return list(zip(*logits, strict=True))


def _sum(terms) -> Tensor:
    return torch.stack(list(terms)).sum()


# ------------------------------------------------------------------------------------------------- perceptual


def domain_invariant_perceptual(features_1: Tensor, features_2: Tensor, eps: float = 1e-5) -> Tensor:
    """Squared distance of instance-normalised features (appendix A.3): the norm takes the domain's statistics out.

    Args:
        features_1: (B, C, h, w), VGG16 features of an image.
        features_2: (B, C, h, w), features of its translation.
    """

    if features_1.shape != features_2.shape:
        raise ValueError(
            f"features have shapes {tuple(features_1.shape)} and {tuple(features_2.shape)}: they must be equal"
        )

    def normalise(features: Tensor) -> Tensor:
        variance, mean = torch.var_mean(features, dim=(2, 3), keepdim=True, correction=0)
        return (features - mean) * torch.rsqrt(variance + eps)

    return (normalise(features_1) - normalise(features_2)).square().mean()


# ------------------------------------------------------------------------------------------------------- total


def total(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """The generator's objective (equation 5): the weighted sum of named terms of both domains.

    Args:
        terms: scalars named `<kind>_<domain>`, such as `image_1` or `style_2`.
        weights: a weight for each kind (lambda_x = `image`, lambda_c = `content`, lambda_s = `style`, …).

    Raises:
        ValueError: a term whose kind has no weight, or no terms.
    """
    unknown = sorted({name.rsplit("_", 1)[0] for name in terms} - set(weights))
    if unknown:
        raise ValueError(f"no weight for the term {unknown[0]!r}; weights are given for: {', '.join(sorted(weights))}")
    if not terms:
        raise ValueError("there are no terms to weigh: every weight is 0")
    return _sum(weights[name.rsplit("_", 1)[0]] * value for name, value in terms.items())
