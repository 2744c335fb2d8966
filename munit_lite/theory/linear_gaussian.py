"""A MUNIT of 2×2 matrices in which every loss and every distance has a closed form.

The codes are z_i = (c, s_i) ~ N(0, I), the images x_i = A_i z_i, the encoders M_i and the decoders B_i. Nothing is
trained: a model is written down, at an optimum (`optimal_model`) or away from one. Everything is in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MEAN_ABSOLUTE_NORMAL = math.sqrt(2 / math.pi)  # E|z| for z ~ N(0, 1)
_QUADRATURE_NODES = 200  # of Gauss-Hermite quadrature


@dataclass(frozen=True)
class LinearMUNIT:
    """Two linear autoencoders of images in the plane.

    Args:
        mixing: A_1 and A_2, (2, 2, 2), invertible: (content, style) -> image in each domain of the world.
        encoders: M_1 and M_2, (2, 2, 2): image -> (content, style).
        decoders: B_1 and B_2, (2, 2, 2): (content, style) -> image.

    Example:
        >>> model = optimal_model(torch.eye(2, dtype=torch.float64).repeat(2, 1, 1))
        >>> sum(model.reconstruction_losses().values())
        0.0
    """

    mixing: Tensor
    encoders: Tensor
    decoders: Tensor

    def image_covariance(self, i: int) -> Tensor:
        """Return the covariance of x_i, (2, 2)."""
        return self.mixing[i - 1] @ self.mixing[i - 1].mT

    def code_covariance(self, i: int) -> Tensor:
        """Return the covariance of (c_i, s_i) = M_i x_i, (2, 2).

        Proposition 2 says that it is diag(k², 1), with the same k in both domains.
        """
        codes = self.encoders[i - 1] @ self.mixing[i - 1]
        return codes @ codes.mT

    def translation_matrix(self, i: int) -> Tensor:
        """Return x_i→j as a matrix on (c, s_i, sampled style), (2, 3), where j is the other domain."""
        content = (self.encoders[i - 1] @ self.mixing[i - 1])[:1]  # (1, 2)
        codes = torch.block_diag(content, torch.ones(1, 1, dtype=content.dtype))
        return self.decoders[2 - i] @ codes

    def reconstruction_losses(self) -> dict[str, float]:
        """Return the expected losses of equations 1 to 3, summed over coordinates: image_i, content_i and style_i."""
        losses = {}
        for i, j in ((1, 2), (2, 1)):
            deviation = self.decoders[i - 1] @ self.encoders[i - 1] - torch.eye(2, dtype=self.mixing.dtype)
            spread = (deviation @ self.image_covariance(i) @ deviation.mT).diagonal().clamp_min(0).sqrt()
            losses[f"image_{i}"] = MEAN_ABSOLUTE_NORMAL * spread.sum().item()
            content = self.code_covariance(i)[0, 0].sqrt().item()
            (cc, cs), (sc, ss) = (self.encoders[j - 1] @ self.decoders[j - 1]).tolist()
            losses[f"content_{i}"] = MEAN_ABSOLUTE_NORMAL * math.hypot((cc - 1) * content, cs)
            losses[f"style_{j}"] = MEAN_ABSOLUTE_NORMAL * math.hypot(sc * content, ss - 1)
        return losses

    def adversarial_losses(self) -> dict[str, float]:
        """Return gan_j, the adversarial loss of the translations into domain j.

        It is ½ ‖Σ_j - S_j‖², where Σ_j and S_j are the covariances of real images and of translations: half the squared
        MMD under the kernel (xᵀy)². A discriminator x ↦ xᵀQx with the penalty ½ ‖Q‖² attains it.
        """
        losses = {}
        for i, j in ((1, 2), (2, 1)):
            translation = self.translation_matrix(i)
            gap = self.image_covariance(j) - translation @ translation.mT
            losses[f"gan_{j}"] = gap.square().sum().item() / 2
        return losses

    def pair_covariances(self) -> tuple[Tensor, Tensor]:
        """Return the covariances of (x1, x1→2) and of (x2→1, x2), (4, 4) each; proposition 3 says that they agree."""
        covariances = []
        for i in (1, 2):
            image = torch.cat([self.mixing[i - 1], torch.zeros(2, 1, dtype=self.mixing.dtype)], 1)
            pair = [image, self.translation_matrix(i)]
            matrix = torch.cat(pair if i == 1 else pair[::-1])
            covariances.append(matrix @ matrix.mT)
        return covariances[0], covariances[1]

    def cycle_matrix(self, i: int) -> Tensor:
        """Return the style-augmented cycle K_ji K_ij as a matrix on (x_i, s_j), (3, 3).

        Proposition 4 says that it is the identity.
        """
        return self._augmented_translation(3 - i) @ self._augmented_translation(i)

    def _augmented_translation(self, i: int) -> Tensor:
        """Return F_i→j, (x_i, s_j) -> (G_j(E_i^c(x_i), s_j), E_i^s(x_i)), (3, 3)."""
        encoder, decoder = self.encoders[i - 1], self.decoders[2 - i]
        translation = torch.cat([decoder[:, :1] @ encoder[:1], decoder[:, 1:]], 1)
        style = torch.cat([encoder[1:], torch.zeros(1, 1, dtype=encoder.dtype)], 1)
        return torch.cat([translation, style])

    def content_correlation(self, i: int) -> float:
        """Return the correlation of the true contents of x_i and its translation, which no proposition fixes."""
        content = (torch.linalg.inv(self.mixing[2 - i]) @ self.translation_matrix(i))[0]
        return (content[0] / content.norm()).item()


def optimal_model(mixing: Tensor, angles: tuple[float, float] = (0.0, 0.0), scale: float = 1.0) -> LinearMUNIT:
    """Return a model at which every loss is at its minimum, one of many.

    M_i = diag(scale, 1) R(angle_i) A_i⁻¹ and B_i = M_i⁻¹. Rotating (c, s), which are both standard normal, does not
    change their distribution, so no loss depends on the angles. The correlation of the content with that of the
    translation is cos(angle_1) cos(angle_2).

    Args:
        mixing: A_1 and A_2, (2, 2, 2).
        angles: the rotation in each domain, in radians.
        scale: scale of the content code, not 0.
    """
    rotations = torch.tensor(
        [[[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]] for t in angles], dtype=mixing.dtype
    )
    encoders = torch.diag(torch.tensor([scale, 1.0], dtype=mixing.dtype)) @ rotations @ torch.linalg.inv(mixing)
    return LinearMUNIT(mixing, encoders, torch.linalg.inv(encoders))


# ------------------------------------------------------------------------------------- constants by quadrature


class OptimalDiscriminator(NamedTuple):
    """Losses at the optimal discriminator, for real images p = N(0, 1) and generated images q = N(0, σ²)."""

    log_value: float  # max of E_p log D + E_q log(1 - D): -log 4 where q = p
    lsgan_discriminator_minimum: float  # min of E_p (D - 1)² + E_q D²: ½ where q = p
    lsgan_generator_value: float  # E_q (D - 1)² at that D: ¼ where q = p, larger elsewhere


def optimal_discriminator(sigma: float) -> OptimalDiscriminator:
    """Evaluate equation 4 and its least-squares form at D* = p / (p + q) by Gauss-Hermite quadrature.

    Args:
        sigma: standard deviation of the generated images, above 0.

    Raises:
        ValueError: sigma is not above 0.

    Example:
        >>> [round(value, 4) for value in optimal_discriminator(1.0)]
        [-1.3863, 0.5, 0.25]
    """
    if not sigma > 0:
        raise ValueError(f"sigma is {sigma}, but a standard deviation is above 0")
    nodes, weights = np.polynomial.hermite_e.hermegauss(_QUADRATURE_NODES)
    weights = weights / weights.sum()

    def log_ratio(x: np.ndarray) -> np.ndarray:
        """Return log q(x) / p(x)."""
        return x**2 / 2 - (x / sigma) ** 2 / 2 - math.log(sigma)

    real, fake = log_ratio(nodes), log_ratio(sigma * nodes)
    d_real, d_fake = (1 / (1 + np.exp(np.clip(ratio, -700, 700))) for ratio in (real, fake))
    log_value = -(weights * np.logaddexp(0, real)).sum() - (weights * np.logaddexp(0, -fake)).sum()
    discriminator = (weights * (d_real - 1) ** 2).sum() + (weights * d_fake**2).sum()
    generator = (weights * (d_fake - 1) ** 2).sum()
    return OptimalDiscriminator(float(log_value), float(discriminator), float(generator))
