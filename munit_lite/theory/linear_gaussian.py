"""A MUNIT of 2×2 matrices whose every loss and distance is a formula: what the checks and notebooks measure, exact.

z_i = (c, s_i) ~ N(0, I), images x_i = A_i z_i, encoders M_i, decoders B_i. Nothing is trained: a model is written down,
as an optimum (`optimum`) or away from one. All in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MEAN_ABS = math.sqrt(2 / math.pi)  # E|z| of z ~ N(0, 1)
_NODES = 200  # of Gauss-Hermite quadrature


@dataclass(frozen=True)
class LinearMUNIT:
    """Two linear auto-encoders of images in the plane.

    Args:
        mixing: A_1 and A_2, (2, 2, 2), invertible: how the world draws (content, style) in each domain.
        encoders: M_1 and M_2, (2, 2, 2): image -> (content, style).
        decoders: B_1 and B_2, (2, 2, 2): (content, style) -> image.
    """

    mixing: Tensor
    encoders: Tensor
    decoders: Tensor

    def image_covariance(self, i: int) -> Tensor:
        """(2, 2), of x_i."""
        return self.mixing[i - 1] @ self.mixing[i - 1].mT

    def code_covariance(self, i: int) -> Tensor:
        """(2, 2), of (c_i, s_i) = M_i x_i. Proposition 2: diag(k², 1), with the same k in both domains."""
        codes = self.encoders[i - 1] @ self.mixing[i - 1]
        return codes @ codes.mT

    def made_from(self, i: int) -> Tensor:
        """(2, 3): x_i→j as a matrix on (c, s_i, drawn style), j the other domain."""
        content = (self.encoders[i - 1] @ self.mixing[i - 1])[:1]  # (1, 2)
        codes = torch.block_diag(content, torch.ones(1, 1, dtype=content.dtype))
        return self.decoders[2 - i] @ codes

    def losses(self) -> dict[str, float]:
        """Expected reconstruction terms, equations 1 to 3 (sums over coordinates): image_i, content_i, style_i."""
        found = {}
        for i, j in ((1, 2), (2, 1)):
            wrong = self.decoders[i - 1] @ self.encoders[i - 1] - torch.eye(2, dtype=self.mixing.dtype)
            spread = (wrong @ self.image_covariance(i) @ wrong.mT).diagonal().clamp_min(0).sqrt()
            found[f"image_{i}"] = MEAN_ABS * spread.sum().item()
            content = self.code_covariance(i)[0, 0].sqrt().item()
            (cc, cs), (sc, ss) = (self.encoders[j - 1] @ self.decoders[j - 1]).tolist()
            found[f"content_{i}"] = MEAN_ABS * math.hypot((cc - 1) * content, cs)
            found[f"style_{j}"] = MEAN_ABS * math.hypot(sc * content, ss - 1)
        return found

    def adversarial(self) -> dict[str, float]:
        """gan_j, of translations into j: ½ ‖Σ_j - S_j‖², the best value of a quadratic critic, x ↦ xᵀQx - ½ ‖Q‖²."""
        found = {}
        for i, j in ((1, 2), (2, 1)):
            made = self.made_from(i)
            found[f"gan_{j}"] = (self.image_covariance(j) - made @ made.mT).square().sum().item() / 2
        return found

    def pair_covariances(self) -> tuple[Tensor, Tensor]:
        """(4, 4) each, of (x1, x1→2) and of (x2→1, x2). Proposition 3: they are equal."""
        pairs = []
        for i in (1, 2):
            own = torch.cat([self.mixing[i - 1], torch.zeros(2, 1, dtype=self.mixing.dtype)], 1)
            both = [own, self.made_from(i)]
            pair = torch.cat(both if i == 1 else both[::-1])
            pairs.append(pair @ pair.mT)
        return pairs[0], pairs[1]

    def cycle(self, i: int) -> Tensor:
        """(3, 3): (x_i, s_j) -> there and back, K_ji K_ij. Proposition 4: the identity."""
        return self._augmented(3 - i) @ self._augmented(i)

    def _augmented(self, i: int) -> Tensor:
        """(3, 3): F_i→j, (x_i, s_j) -> (G_j(E_i^c(x_i), s_j), E_i^s(x_i))."""
        encoder, decoder = self.encoders[i - 1], self.decoders[2 - i]
        there = torch.cat([decoder[:, :1] @ encoder[:1], decoder[:, 1:]], 1)
        kept = torch.cat([encoder[1:], torch.zeros(1, 1, dtype=encoder.dtype)], 1)
        return torch.cat([there, kept])

    def content_correlation(self, i: int) -> float:
        """Of the true content of x_i and of its translation; no proposition speaks of it."""
        read = (torch.linalg.inv(self.mixing[2 - i]) @ self.made_from(i))[0]
        return (read[0] / read.norm()).item()


def optimum(mixing: Tensor, angles: tuple[float, float] = (0.0, 0.0), scale: float = 1.0) -> LinearMUNIT:
    """A model at which every term is at its minimum: one of many.

    M_i = diag(scale, 1) R(angle_i) A_i⁻¹ and B_i = M_i⁻¹: to turn (c, s), both standard normal, leaves their
    distribution as it is, so no term sees the turn. The translation keeps cos(angle_1) cos(angle_2) of the content.

    Args:
        mixing: (2, 2, 2), A_1 and A_2.
        angles: of the turn in each domain, radians.
        scale: of the content code, not 0.
    """
    turns = torch.tensor(
        [[[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]] for t in angles], dtype=mixing.dtype
    )
    encoders = torch.diag(torch.tensor([scale, 1.0], dtype=mixing.dtype)) @ turns @ torch.linalg.inv(mixing)
    return LinearMUNIT(mixing, encoders, torch.linalg.inv(encoders))


# ------------------------------------------------------------------------------------- constants by quadrature


class BestDiscriminator(NamedTuple):
    """What the best discriminator reaches on real p = N(0, 1) and made q = N(0, σ²)."""

    log: float  # max of E_p log D + E_q log(1 - D): -log 4 where q = p
    least_squares: float  # min of E_p (D - 1)² + E_q D²: ½ where q = p
    generator: float  # E_q (D - 1)² with that D: ¼ where q = p, more elsewhere


def best_discriminator(sigma: float) -> BestDiscriminator:
    """Gauss-Hermite quadrature of the values at D = p / (p + q).

    Args:
        sigma: standard deviation of the made images, above 0.

    Raises:
        ValueError: sigma is not above 0.
    """
    if not sigma > 0:
        raise ValueError(f"sigma is {sigma}, but a standard deviation is above 0")
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()

    def log_ratio(x: np.ndarray) -> np.ndarray:
        """log q(x) / p(x)."""
        return x**2 / 2 - (x / sigma) ** 2 / 2 - math.log(sigma)

    real, made = log_ratio(nodes), log_ratio(sigma * nodes)
    d_real, d_made = (1 / (1 + np.exp(np.clip(ratio, -700, 700))) for ratio in (real, made))
    log = -(weights * np.logaddexp(0, real)).sum() - (weights * np.logaddexp(0, -made)).sum()
    squares = (weights * (d_real - 1) ** 2).sum() + (weights * d_made**2).sum()
    return BestDiscriminator(float(log), float(squares), float((weights * (d_made - 1) ** 2).sum()))
