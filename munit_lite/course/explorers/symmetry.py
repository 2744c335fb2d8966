"""Symmetry explorer: rotate content and style into each other, and see which pairs change and which checks fail."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from IPython.display import Image
from torch import Tensor

from munit_lite import world
from munit_lite.course.explorers.pictures import TILE_SIZE, stack_pictures, tile_images
from munit_lite.course.explorers.proposition import CHECK_NAMES
from munit_lite.course.explorers.widget import Choice, Control, Explorer, Slider, State, default_values
from munit_lite.course.figures import COLORS, figure_to_image, subplots
from munit_lite.theory.oracle import CodeWorld, Oracle, content_from_code
from munit_lite.theory.propositions import CheckRecords, check_all
from munit_lite.theory.variants import ORACLE, X_COLUMN, OracleVariant, mix_content_and_style
from munit_lite.theory.verdicts import FAILS, PropositionVerdict
from munit_lite.world import style_from_code

BOTH_NETWORKS, DECODER_ONLY = "decoder and encoder of domain 2", "decoder of domain 2 alone"
NUM_ROW_IMAGES, NUM_UNITS = 6, 400
CHECK_LABELS = CHECK_NAMES | {"positions": "3 · for the positions alone"}
MAX_SCORE = 2.0  # of the positions in the rows of images, as normal scores


def rotated_oracle(angle: float, networks: str) -> OracleVariant:
    """Rotate the position (x) and the first style coordinate of domain 2 into each other in the oracle.

    Args:
        angle: of the rotation in code space, in degrees; at 90, position and style coordinate are exchanged. The factor
            `rotation` of the content is another thing.
        networks: BOTH_NETWORKS: the encoder inverts the rotation; DECODER_ONLY: the encoder is the true one.

    Returns:
        The variant, for `munit_lite.theory.oracle.Oracle`.

    Example:
        >>> rotated_oracle(90, DECODER_ONLY).name
        'rotated'
    """
    radians = math.radians(angle)
    encode = {2: mix_content_and_style(-radians)} if networks == BOTH_NETWORKS else {}
    return OracleVariant("rotated", "", ORACLE.expected, encode=encode, decode={2: mix_content_and_style(radians)})


def make_controls() -> dict[str, Control]:
    """Return the controls: the angle, the rotated networks and the seed."""
    return {
        "angle": Slider(0, 90, 45, "angle", "between position and foreground hue, from 0 (the oracle) to 90 degrees"),
        "networks": Choice((BOTH_NETWORKS, DECODER_ONLY), "rotated networks"),
        "seed": Slider(0, 9, 0, "seed", "of the images"),
    }


def position_scores(angle: float, networks: str, seed: int) -> tuple[Tensor, Tensor]:
    """Compute the normal scores of x in the sketch and in the painting of each pair.

    Args:
        angle: of the rotation in code space, in degrees.
        networks: BOTH_NETWORKS or DECODER_ONLY.
        seed: of the images and sampled styles.

    Returns:
        (NUM_UNITS, 2) for the pairs x1, x1→2, and (NUM_UNITS, 2) for the pairs x2→1, x2.

    Example:
        >>> scores, _ = position_scores(0, DECODER_ONLY, seed=0)  # the true decoder preserves the position
        >>> torch.allclose(scores[:, 0], scores[:, 1])
        True
    """
    code_world, generator = CodeWorld(), torch.Generator().manual_seed(seed)
    oracle = Oracle(code_world, rotated_oracle(angle, networks))
    scores = []
    for source, target in ((1, 2), (2, 1)):
        images = code_world.images(torch.arange(NUM_UNITS), seed, source)
        translations = oracle.translate(images, source, target, generator=generator)
        pair = [
            code_world.invert(x, domain)[0][:, X_COLUMN] for x, domain in ((images, source), (translations, target))
        ]
        scores.append(torch.stack(pair if source == 1 else pair[::-1], 1))
    return scores[0], scores[1]


@lru_cache(maxsize=1)  # the picture and its description show the same verdicts
def run_checks(angle: float, networks: str, seed: int) -> dict[str, PropositionVerdict]:
    """Run all checks on the rotated oracle, in code space, and the joint one for the positions alone.

    Args:
        angle: of the rotation in code space, in degrees.
        networks: BOTH_NETWORKS or DECODER_ONLY.
        seed: of the images and sampled styles.

    Returns:
        A verdict for each key of `CHECK_LABELS`.
    """
    code_world = CodeWorld()
    results = check_all(Oracle(code_world, rotated_oracle(angle, networks)), code_world, NUM_UNITS, seed)
    forth, back = position_scores(angle, networks, seed)
    records = CheckRecords("Positions match", NUM_UNITS, "two positions")
    records.compare("position in the sketch, position in the painting", FAILS, (forth,), (back,))
    results["positions"] = records.decide()
    return results


def _render_pairs(angle: float, networks: str, seed: int) -> np.ndarray:
    """Render four rows: sketches with increasing x and their paintings in sampled styles; the same from paintings."""
    code_world, oracle, rows = CodeWorld(), Oracle(CodeWorld(), rotated_oracle(angle, networks)), []
    for source, target in ((1, 2), (2, 1)):
        content, style = code_world.codes(torch.arange(NUM_ROW_IMAGES), seed, source)
        content[:, X_COLUMN] = torch.linspace(-MAX_SCORE, MAX_SCORE, NUM_ROW_IMAGES)
        images = code_world.render(content, style, source)
        translations = oracle.translate(images, source, target, generator=torch.Generator().manual_seed(seed))
        for code_image, domain in ((images, source), (translations, target)):
            codes = code_world.invert(code_image, domain)
            factors = content_from_code(codes[0]), style_from_code(codes[1], domain)
            rows.append(world.render(*factors, domain, TILE_SIZE).float())
    return stack_pictures(tile_images(rows[:2]), tile_images(rows[2:]))


def render(angle: float, networks: str, seed: int) -> Image:
    """Plot images with their translations (left), and position in the painting against position in the sketch (right).

    Args:
        angle: 0 … 90 degrees.
        networks: BOTH_NETWORKS or DECODER_ONLY.
        seed: seed of the images and sampled styles.
    """
    figure, (left, right) = subplots(2, (10, 3.9))
    left.imshow(_render_pairs(angle, networks, seed))
    left.set_axis_off()
    left.set_title("sketches and their paintings; paintings and their sketches", fontsize=9)
    samples = {"sketch, generated painting": "o", "generated sketch, painting": "x"}
    for color, (name, mark), pairs in zip(
        COLORS, samples.items(), position_scores(angle, networks, seed), strict=False
    ):
        right.plot(*pairs.T.numpy(), linestyle="", marker=mark, markersize=4, alpha=0.7, color=color, label=name)
    status = {name: result.status for name, result in run_checks(angle, networks, seed).items()}
    title = f"joint check: {status['joint_matching']}; for the positions alone: {status['positions']}\n"
    title += f"content is preserved: {status['content_preservation']}"
    right.set_title(title, fontsize=9)
    right.set(
        xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal", xlabel="position in the sketch", ylabel="in the painting"
    )
    right.legend(fontsize=8, loc="lower left", bbox_to_anchor=(1, 0))
    return figure_to_image(figure, _sentence(angle, networks, seed))


def _sentence(angle: float, networks: str, seed: int) -> str:
    results = run_checks(angle, networks, seed)
    statuses = "; ".join(f"{CHECK_LABELS[name]}: {result.status}" for name, result in results.items())
    correlation_1, correlation_2 = (
        torch.corrcoef(pairs.T)[0, 1].item() for pairs in position_scores(angle, networks, seed)
    )
    return (
        f"Position and foreground hue are rotated by {angle:g} degrees in the {networks}. The positions in the "
        f"sketch and in the painting have correlation {correlation_1:.2f} if the painting is generated and "
        f"{correlation_2:.2f} if the sketch is. {statuses}."
    )


def describe(angle: float, networks: str, seed: int) -> tuple[str, list[list[str]]]:
    """Describe the picture, and return every verdict with the part that decides it."""
    rows = [["check", "verdict", "decided by", "effect", "threshold"]]
    for name, result in run_checks(angle, networks, seed).items():
        part = result.decisive_finding
        rows.append([CHECK_LABELS[name], result.status, part.name, f"{part.effect:.2g}", f"{part.threshold:.2g}"])
    return _sentence(angle, networks, seed), rows


class SymmetryExplorer(Explorer):
    """A symmetry that no check of the propositions detects; see `render`."""

    def __init__(self, state: State | None = None) -> None:
        """
        Args:
            state: initial values.
        """
        controls = make_controls()
        stored_image = render(**default_values(controls) | {"angle": 90})
        super().__init__(render, controls, stored_image, "Symmetry explorer", describe, state)
