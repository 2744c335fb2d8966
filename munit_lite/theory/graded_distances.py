"""How far from the optimum is a model that fails? Named margins, dose equivalents and the remaining distance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

# NRMSE of images at the 95 % quantile. They are a PSNR of at least 41, 29 and 21 dB for sketches, 44, 32 and 24 dB for
# paintings: no difference can be seen, one that is seen beside the original, and one that is seen at once.
IMAGE_MARGINS = {"indistinguishable": 0.05, "faint": 0.2, "visible": 0.5}
# Normalized MMD²: exactly that of style codes which are 21, 43 and 104 % too wide. Among other factors the same widths
# have smaller effects; data/results/dose_curves.json has the curve of each break and equality.
EFFECT_MARGINS = {"indistinguishable": 0.04, "faint": 0.13, "visible": 0.39}


def grade(high: float, margins: Mapping[str, float]) -> str:
    """Return the name of the smallest margin below which an effect certainly lies, or "gross" if there is none.

    Args:
        high: upper end of the interval of the effect.
        margins: `IMAGE_MARGINS` or `EFFECT_MARGINS`.

    Example:
        >>> grade(0.17, IMAGE_MARGINS), grade(0.9, IMAGE_MARGINS)
        ('faint', 'gross')
    """
    return next((name for name, margin in sorted(margins.items(), key=lambda item: item[1]) if high <= margin), "gross")


def dose_equivalent(effect: float, strengths: Sequence[float], effects: Sequence[float]) -> float:
    """Return the strength at which a break of the oracle has the same effect, by linear interpolation.

    Args:
        effect: of a model.
        strengths: of the break, increasing.
        effects: of the break at these strengths, measured as the model's effect is. Where they do not increase, which
            noise may cause, the largest effect up to there counts.

    Returns:
        The strength, infinite if no strength has so large an effect.

    Example:
        >>> dose_equivalent(0.06, [0.0, 0.2, 0.4], [0.0, 0.04, 0.12])
        0.25
    """
    increasing = np.maximum.accumulate(effects)
    return float(np.interp(effect, increasing, strengths, right=math.inf))


def remaining_distance(effect: float, oracle: float, untrained: float) -> float:
    """Return which part of the way from the untrained model to the oracle is left: 1 at the start, 0 at the oracle.

    Args:
        effect: of a model.
        oracle: effect of the oracle, measured in the same way.
        untrained: effect of the untrained model, measured in the same way.

    Example:
        >>> round(remaining_distance(0.25, oracle=0.05, untrained=0.85), 2)
        0.25
    """
    return (effect - oracle) / (untrained - oracle)
