r"""The losses of the paper (section 3.2), one function for each equation, and the adversarial families.

Each function takes tensors and returns a scalar tensor, computed in fp32 where the arguments are bf16. The paper's
equation stands between $$ in the docstring; exchange 1 and 2 for the mirrored one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from munit_lite.networks import instance_norm, upcast_to_fp32

# ------------------------------------------------------------------------------ bidirectional reconstruction


def image_reconstruction_loss(x_recon: Tensor, x: Tensor) -> Tensor:
    r"""Compute the image reconstruction loss (equation 1): the mean absolute error of an image decoded from its codes.

    $$
    \mathcal L_{recon}^{x_1} = \mathbb E_{x_1 \sim p(x_1)}
    \left[\lVert G_1(E_1^c(x_1), E_1^s(x_1)) - x_1 \rVert_1\right]
    $$

    Args:
        x_recon: the image decoded from its own content and style, (B, 3, H, W).
        x: the image, (B, 3, H, W).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> x = torch.zeros(2, 3, 4, 4)
        >>> image_reconstruction_loss(x + 0.5, x)
        tensor(0.5000)
    """
    return _mean_absolute_error(x_recon, x, "image")


def content_reconstruction_loss(c_recon: Tensor, c: Tensor) -> Tensor:
    r"""Compute the content reconstruction loss (equation 2): the content code must come back from the translation.

    The target is not detached: as in the original, the gradient flows into both arguments.

    $$
    \mathcal L_{recon}^{c_1} = \mathbb E_{c_1 \sim p(c_1),\, s_2 \sim q(s_2)}
    \left[\lVert E_2^c(G_2(c_1, s_2)) - c_1 \rVert_1\right]
    $$

    Args:
        c_recon: the content encoded from the translation, (B, C, h, w).
        c: the content that the translation was decoded from, (B, C, h, w).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> c = torch.zeros(2, 8, 4, 4)
        >>> content_reconstruction_loss(c - 2, c)
        tensor(2.)
    """
    return _mean_absolute_error(c_recon, c, "content")


def style_reconstruction_loss(s_recon: Tensor, s: Tensor) -> Tensor:
    r"""Compute the style reconstruction loss (equation 3): the sampled style must come back from the translation.

    $$
    \mathcal L_{recon}^{s_2} = \mathbb E_{c_1 \sim p(c_1),\, s_2 \sim q(s_2)}
    \left[\lVert E_2^s(G_2(c_1, s_2)) - s_2 \rVert_1\right]
    $$

    Args:
        s_recon: the style encoded from the translation, (B, style_dim).
        s: the style that the decoder was given, (B, style_dim): s_2 for x_1→2, never s_1.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> style_reconstruction_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.5]]))
        tensor(0.7500)
    """
    return _mean_absolute_error(s_recon, s, "style")


def cycle_consistency_loss(x_cycle: Tensor, x: Tensor) -> Tensor:
    r"""Compute the style-augmented cycle consistency loss (section 5.1): the error of translating an image and back.

    $$
    \mathcal L_{cc}^{x_1} = \mathbb E_{x_1 \sim p(x_1),\, s_2 \sim q(s_2)}
    \left[\lVert G_1(E_2^c(G_2(E_1^c(x_1), s_2)), E_1^s(x_1)) - x_1 \rVert_1\right]
    $$

    Args:
        x_cycle: x_1 translated with a sampled style and back with its own style, (B, 3, H, W).
        x: x_1, (B, 3, H, W).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> x = torch.zeros(2, 3, 4, 4)
        >>> cycle_consistency_loss(x + 0.25, x)
        tensor(0.2500)
    """
    return _mean_absolute_error(x_cycle, x, "image")


def _mean_absolute_error(reconstruction: Tensor, target: Tensor, what: str) -> Tensor:
    if reconstruction.shape != target.shape:
        raise ValueError(
            f"the {what} reconstruction has shape {tuple(reconstruction.shape)}, its target {tuple(target.shape)}: "
            "they must be equal"
        )
    return (upcast_to_fp32(reconstruction) - upcast_to_fp32(target)).abs().mean()


# ------------------------------------------------------------------------------------------- adversarial losses
# Each takes one tensor of logits for each scale of the discriminator and sums over the scales, without a factor 1/2.


def lsgan_discriminator_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    r"""Compute the least-squares discriminator loss, which the original trains: targets 1 for real and 0 for fake.

    $$ \min_D \; \mathbb E[D(\hat x)^2] + \mathbb E[(D(x) - 1)^2] $$

    Args:
        real: logits of real images x, one (B, 1, h, w) for each scale.
        fake: logits of translations x̂, as many.

    Raises:
        TypeError: the logits are a bare tensor, whose batch would be taken for scales.
        ValueError: real and fake have different numbers of scales, or none.

    Example:
        >>> lsgan_discriminator_loss([torch.ones(2, 1, 2, 2)], [torch.full((2, 1, 2, 2), 0.5)])
        tensor(0.2500)
    """
    return _sum((f**2).mean() + ((r - 1) ** 2).mean() for r, f in _scales(real, fake))


def lsgan_generator_loss(fake: Sequence[Tensor]) -> Tensor:
    r"""Compute the least-squares generator loss: the generator is trained towards an output of 1.

    $$ \min_G \; \mathbb E[(D(\hat x) - 1)^2] $$

    Args:
        fake: logits of translations, one (B, 1, h, w) for each scale.

    Raises:
        TypeError: the logits are a bare tensor, whose batch would be taken for scales.
        ValueError: there is no scale.

    Example:
        >>> lsgan_generator_loss([torch.full((2, 1, 2, 2), 0.5)])
        tensor(0.2500)
    """
    return _sum(((f - 1) ** 2).mean() for (f,) in _scales(fake))


def minimax_discriminator_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    r"""Compute the negative of equation 4, which the discriminator descends; D is the sigmoid of a logit.

    $$
    \mathcal L_{GAN}^{x_2} = \mathbb E_{c_1 \sim p(c_1),\, s_2 \sim q(s_2)}
    \left[\log(1 - D_2(G_2(c_1, s_2)))\right]
    + \mathbb E_{x_2 \sim p(x_2)} \left[\log D_2(x_2)\right]
    $$

    Args:
        real: logits of real images x_2, one (B, 1, h, w) for each scale.
        fake: logits of translations x_1→2, as many.

    Raises:
        TypeError: the logits are a bare tensor, whose batch would be taken for scales.
        ValueError: real and fake have different numbers of scales, or none.

    Example:
        >>> minimax_discriminator_loss([torch.zeros(2, 1, 2, 2)], [torch.zeros(2, 1, 2, 2)])  # 2 log 2
        tensor(1.3863)
    """
    return _sum(F.softplus(-r).mean() + F.softplus(f).mean() for r, f in _scales(real, fake))


def minimax_generator_loss(fake: Sequence[Tensor]) -> Tensor:
    r"""Compute the generator's half of equation 4 as written; it saturates where the discriminator wins.

    $$ \min_G \; \mathbb E[\log(1 - D(\hat x))] $$

    Args:
        fake: logits of translations, one (B, 1, h, w) for each scale.

    Raises:
        TypeError: the logits are a bare tensor, whose batch would be taken for scales.
        ValueError: there is no scale.

    Example:
        >>> minimax_generator_loss([torch.zeros(2, 1, 2, 2)])
        tensor(-0.6931)
    """
    return _sum(-F.softplus(f).mean() for (f,) in _scales(fake))


def nonsaturating_generator_loss(fake: Sequence[Tensor]) -> Tensor:
    r"""Compute the loss trained in place of `minimax_generator_loss`: the same optimum, and a gradient where D wins.

    $$ \min_G \; -\mathbb E[\log D(\hat x)] $$

    Args:
        fake: logits of translations, one (B, 1, h, w) for each scale.

    Raises:
        TypeError: the logits are a bare tensor, whose batch would be taken for scales.
        ValueError: there is no scale.

    Example:
        >>> nonsaturating_generator_loss([torch.zeros(2, 1, 2, 2)])
        tensor(0.6931)
    """
    return _sum(F.softplus(-f).mean() for (f,) in _scales(fake))


def hinge_discriminator_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    r"""Compute the hinge discriminator loss: a margin of 1 on either side is enough (not in the paper).

    $$ \min_D \; \mathbb E[\max(0, 1 - D(x))] + \mathbb E[\max(0, 1 + D(\hat x))] $$

    Args:
        real: logits of real images x, one (B, 1, h, w) for each scale.
        fake: logits of translations x̂, as many.

    Raises:
        TypeError: the logits are a bare tensor, whose batch would be taken for scales.
        ValueError: real and fake have different numbers of scales, or none.

    Example:
        >>> hinge_discriminator_loss([torch.full((2, 1, 2, 2), 3.0)], [torch.zeros(2, 1, 2, 2)])
        tensor(1.)
    """
    return _sum(F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in _scales(real, fake))


def hinge_generator_loss(fake: Sequence[Tensor]) -> Tensor:
    r"""Compute the hinge generator loss (not in the paper).

    $$ \min_G \; -\mathbb E[D(\hat x)] $$

    Args:
        fake: logits of translations, one (B, 1, h, w) for each scale.

    Raises:
        TypeError: the logits are a bare tensor, whose batch would be taken for scales.
        ValueError: there is no scale.

    Example:
        >>> hinge_generator_loss([torch.full((2, 1, 2, 2), 3.0)])
        tensor(-3.)
    """
    return _sum(-f.mean() for (f,) in _scales(fake))


def r1_penalty(real: Sequence[Tensor], x: Tensor) -> Tensor:
    r"""Compute the R1 gradient penalty (Mescheder et al., 2018; not in the paper) on real images.

    It keeps a winning discriminator smooth, so that the generator still gets a useful gradient.

    $$ R_1 = \tfrac{1}{2} \, \mathbb E_{x \sim p(x)} \left[\lVert \nabla_x D(x) \rVert_2^2\right] $$

    Args:
        real: logits computed from x, one (B, 1, h, w) for each scale; D(x) is an image's mean logit, summed over the
            scales.
        x: real images that require a gradient, (B, 3, H, W).

    Returns:
        a scalar with a graph, so that the discriminator can learn from it: the mean over the B images.

    Raises:
        TypeError: the logits are a bare tensor, whose batch would be taken for scales.
        ValueError: there is no scale.

    Example:
        >>> x = torch.ones(1, 3, 2, 2, requires_grad=True)
        >>> r1_penalty([(2 * x).sum(dim=1, keepdim=True)], x)  # each of 12 slopes is 2 / 4
        tensor(1.5000)
    """
    logits = _sum(r.flatten(1).mean(1).sum() for (r,) in _scales(real))
    (gradient,) = torch.autograd.grad(logits, x, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2


DISCRIMINATOR_LOSSES = {
    "lsgan": lsgan_discriminator_loss,
    "nonsaturating": minimax_discriminator_loss,
    "hinge": hinge_discriminator_loss,
}
GENERATOR_LOSSES = {
    "lsgan": lsgan_generator_loss,
    "nonsaturating": nonsaturating_generator_loss,
    "hinge": hinge_generator_loss,
}


def _scales(*logits: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Group the logits of several batches of images by scale.

    Raises:
        TypeError: the logits are a bare tensor, whose batch would be taken for scales.
        ValueError: the numbers of scales differ, or there is none.
    """
    for scales in logits:
        if isinstance(scales, Tensor):
            raise TypeError(
                "logits are one tensor, but a list of one tensor for each scale is needed: put it in a list"
            )
        if len(scales) != len(logits[0]) or not scales:
            raise ValueError(f"logits have {' and '.join(str(len(s)) for s in logits)} scales: equally many, 1 or more")
    upcast = [[upcast_to_fp32(scale) for scale in scales] for scales in logits]
    return list(zip(*upcast, strict=True))


def _sum(scalars: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(scalars)).sum()


# ------------------------------------------------------------------------------------------------- perceptual


def domain_invariant_perceptual_loss(features_1: Tensor, features_2: Tensor, eps: float = 1e-5) -> Tensor:
    r"""Compute the squared distance of instance-normalized features (appendix A.3).

    The paper trains it on street scenes only. The normalization removes the statistics that distinguish the domains.

    $$
    \mathcal L_{vgg} = \mathbb E
    \left[ \left(\mathrm{IN}(\phi(x_1)) - \mathrm{IN}(\phi(x_{1 \to 2}))\right)^2 \right]
    $$

    Args:
        features_1: VGG16 features of an image, (B, C, h, w).
        features_2: VGG16 features of its translation, (B, C, h, w).
        eps: added to the variance.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> features = torch.arange(8.0).view(1, 2, 2, 2)
        >>> domain_invariant_perceptual_loss(features, 3 * features + 1) < 1e-9
        tensor(True)
    """
    if features_1.shape != features_2.shape:
        raise ValueError(
            f"features have shapes {tuple(features_1.shape)} and {tuple(features_2.shape)}: they must be equal"
        )
    features_1, features_2 = upcast_to_fp32(features_1), upcast_to_fp32(features_2)
    return (instance_norm(features_1, eps) - instance_norm(features_2, eps)).square().mean()


# ------------------------------------------------------------------------------------------------------- total


def total_loss(loss_terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    r"""Compute the autoencoders' objective (equation 5): the weighted sum of the losses of both domains.

    $$
    \begin{aligned}
    \min_{E_1,E_2,G_1,G_2}\;\max_{D_1,D_2}\;&\mathcal{L}_{GAN}^{x_1}+\mathcal{L}_{GAN}^{x_2}
    +\lambda_x(\mathcal{L}_{recon}^{x_1}+\mathcal{L}_{recon}^{x_2})\\
    &+\lambda_c(\mathcal{L}_{recon}^{c_1}+\mathcal{L}_{recon}^{c_2})
    +\lambda_s(\mathcal{L}_{recon}^{s_1}+\mathcal{L}_{recon}^{s_2})
    \end{aligned}
    $$

    Args:
        loss_terms: scalars named `<loss>_<domain>`, such as `image_1` or `style_2`.
        weights: a weight for each loss (λ_x = `image`, λ_c = `content`, λ_s = `style`, …).

    Raises:
        ValueError: a loss was computed but has no weight, or it has a weight but was not computed for each domain; or
            there are no losses.

    Example:
        >>> loss_terms = {"image_1": torch.tensor(0.5), "gan_1": torch.tensor(2.0)}
        >>> total_loss(loss_terms, {"image": 10.0, "gan": 1.0, "kl": 0.0})
        tensor(7.)
    """
    unknown = sorted({name.rsplit("_", 1)[0] for name in loss_terms} - set(weights))
    if unknown:
        raise ValueError(f"no weight for the loss {unknown[0]!r}; weights are given for: {', '.join(sorted(weights))}")
    if not loss_terms:
        raise ValueError("there are no losses to weigh")
    domains = sorted({name.rsplit("_", 1)[1] for name in loss_terms})
    for loss, weight in weights.items():
        for name in (f"{loss}_{domain}" for domain in domains):
            if name not in loss_terms and weight:
                raise ValueError(
                    f"the loss {name} has a weight, but it was not computed; computed: {', '.join(loss_terms)}"
                )
    return _sum(weights[name.rsplit("_", 1)[0]] * value for name, value in loss_terms.items())
