"""Write the freehand drawings with which the page "Draw" is tested: strokes that imitate a hand.

`python -m tools.freehand_drawings tests/browser/freehand_drawings.json` writes 20 drawings. No person drew them, and
the world's renderer is not used: each edge is traced with a slow tremor, corners are missed, circles are oval, and a
stroke ends short of its beginning or beyond it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import tyro

# Corners as (radius, degrees clockwise from the right), in upright position, in the order in which a hand meets them.
CORNERS = {
    "square": [(1.0, angle) for angle in (-135, -45, 45, 135)],
    "triangle": [(1.0, angle) for angle in (-90, 30, 150)],
    "star": [((1.0, 0.47)[k % 2], -90 + 36 * k) for k in range(10)],
    "pentagram": [(1.0, -90 + 144 * k) for k in range(5)],
    "cross": [
        (radius, 90 * arm - 90 + angle) for arm in range(4) for radius, angle in ((1.0, -19), (1.0, 19), (0.46, 45))
    ],
}
DRAWINGS = {"disc": 4, "square": 4, "triangle": 3, "ring": 3, "cross": 3, "star": 2, "pentagram": 1}
SPACING = 0.015  # of the points of a stroke, in image widths
TREMOR = 0.008  # standard deviation of the slow deviation from the intended line, in image widths
MISSED_CORNER = 0.016  # standard deviation of a corner's position, in image widths


def _tremor(count: int, rng: np.random.Generator) -> np.ndarray:
    """Sample a smooth deviation, (count, 2): sines of random phase, the slow ones larger."""
    cycles = np.arange(1, 6)
    phases = rng.uniform(0, 2 * math.pi, (2, 5))
    waves = np.sin(2 * math.pi * np.linspace(0, 1, count)[:, None, None] * cycles + phases) / cycles
    return TREMOR * waves.sum(axis=2) / math.sqrt((1 / cycles**2).sum() / 2)


def _trace(corners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Trace a line through its corners, (N, 2), as a hand does: (M, 2)."""
    corners = corners + rng.normal(0, MISSED_CORNER, corners.shape)
    steps = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    length = np.concatenate([[0], steps.cumsum()])
    at = np.linspace(0, length[-1], max(2, round(length[-1] / SPACING)))
    line = np.stack([np.interp(at, length, corners[:, k]) for k in (0, 1)], axis=1)
    return line + _tremor(len(line), rng)


def _circle(radius: float, rng: np.random.Generator) -> np.ndarray:
    """Trace an oval that starts anywhere and ends up to 15 degrees before or after its beginning."""
    turn = 2 * math.pi + math.radians(rng.uniform(-15, 15))
    angle = rng.uniform(0, 2 * math.pi) + np.linspace(0, turn, max(8, round(radius * turn / SPACING)))
    stretch = radius * np.exp(rng.normal(0, 0.06, 2))
    drift = np.linspace(0, 1, len(angle))[:, None] * rng.normal(0, MISSED_CORNER, 2)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * stretch + drift + _tremor(len(angle), rng)


def draw(shape: str, rng: np.random.Generator) -> list[list[list[float]]]:
    """Draw a shape by hand.

    Args:
        shape: its class, or "pentagram", a star of five crossing lines.
        rng: decides position, size, tilt and all errors.

    Returns:
        The strokes, each a list of points (x, y) in image widths, y downwards.
    """
    size, center, tilt = rng.uniform(0.19, 0.32), rng.uniform(0.36, 0.64, 2), math.radians(rng.normal(0, 6))
    if shape in CORNERS:
        corners = np.array(
            [(r * math.cos(math.radians(a) + tilt), r * math.sin(math.radians(a) + tilt)) for r, a in CORNERS[shape]]
        )
        closed = size * np.concatenate([corners, corners[:1]])
        # A hand lifts the pen at a corner in some of the drawings.
        lift = rng.integers(1, len(closed) - 1) if rng.random() < 0.4 else 0
        strokes = [closed[: lift + 1], closed[lift:]] if lift else [closed]
        lines = [_trace(stroke, rng) for stroke in strokes]
    else:
        lines = [_circle(size * radius, rng) for radius in ((0.85,) if shape == "disc" else (0.92, 0.44))]
    return [(line + center).round(3).tolist() for line in lines]


def write_drawings(file: tyro.conf.Positional[Path], /, seed: int = 0) -> None:
    """Write the drawings as JSON: a list of intended shapes with their strokes.

    Args:
        file: path of the JSON file.
        seed: of all random numbers.
    """
    rng = np.random.default_rng(seed)
    shapes = [shape for shape, count in DRAWINGS.items() for _ in range(count)]
    intended = {"pentagram": "star"}
    drawings = [json.dumps({"shape": intended.get(shape, shape), "strokes": draw(shape, rng)}) for shape in shapes]
    file.write_text("[\n" + ",\n".join(drawings) + "\n]\n")


if __name__ == "__main__":
    tyro.cli(write_drawings)
