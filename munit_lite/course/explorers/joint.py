"""Symmetry explorer: turn content and style into each other, and see which pairs change, and which checks notice."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from IPython.display import Image
from torch import Tensor

from munit_lite.course.explorers.exhibit import CELL, stacked, tiles
from munit_lite.course.explorers.proposition import NAMES
from munit_lite.course.explorers.widget import Choice, Control, Explorer, Slider, State
from munit_lite.course.figures import COLORS, picture, subplots
from munit_lite.theory.oracle import CodeWorld, Oracle, content_from_code
from munit_lite.theory.propositions import ALPHA, BANDWIDTH, EFFECT_THRESHOLD, check_all
from munit_lite.theory.two_sample import mmd_test
from munit_lite.theory.variants import ORACLE, X_COLUMN, OracleVariant, mix_content_and_style
from munit_lite.theory.verdicts import PropositionVerdict, decide
from munit_lite.world import render as draw
from munit_lite.world import style_from_code

BOTH, ALONE = "decoder and encoder of domain 2", "decoder of domain 2 alone"
SHOWN, DOTS, UNITS = 6, 300, 500
WORDS = NAMES | {"places": "3 · of the places alone"}
REACH = 2.0  # places of the images shown, as normal scores


def turned(angle: float, nets: str) -> OracleVariant:
    """The oracle with the place (x) and the first style number of domain 2 turned into each other.

    Args:
        angle: degrees; at 90 they have changed places.
        nets: BOTH: the encoder turns back; ALONE: it is the true one.
    """
    turn = math.radians(angle)
    encode = {2: mix_content_and_style(-turn)} if nets == BOTH else {}
    return OracleVariant("turned", "", ORACLE.expected, encode=encode, decode={2: mix_content_and_style(turn)})


def controls() -> dict[str, Control]:
    return {
        "angle": Slider(0, 90, 45, "angle", "of place and fill hue, in degrees: from 0, the oracle itself, to 90"),
        "nets": Choice((BOTH, ALONE), "what turns"),
        "seed": Slider(0, 9, 0, "seed", "another draw of images"),
    }


def places(angle: float, nets: str, seed: int) -> tuple[Tensor, Tensor]:
    """Normal scores of x in the sketch and in the painting: (UNITS, 2) of pairs x1, x1→2, and of pairs x2→1, x2."""
    world, generator = CodeWorld(), torch.Generator().manual_seed(seed)
    oracle = Oracle(world, turned(angle, nets))
    found = []
    for own, other in ((1, 2), (2, 1)):
        images = world.images(torch.arange(UNITS), seed, own)
        made = oracle.translate(images, own, other, generator=generator)
        read = [world.invert(x, domain)[0][:, X_COLUMN] for x, domain in ((images, own), (made, other))]
        found.append(torch.stack(read if own == 1 else read[::-1], 1))
    return found[0], found[1]


@lru_cache(maxsize=1)  # the picture and its description need the same verdicts
def verdicts(angle: float, nets: str, seed: int) -> dict[str, PropositionVerdict]:
    """All checks of the turned oracle, in code space, and the joint one again with the places alone."""
    world = CodeWorld()
    found = check_all(Oracle(world, turned(angle, nets)), world, UNITS, seed)
    generator = torch.Generator().manual_seed(seed)
    test = mmd_test(*places(angle, nets, seed), generator, round(1 / ALPHA) - 1, bandwidth=BANDWIDTH)
    tests = {("place in the sketch, place in the painting", "F"): test}
    found["places"] = decide("Places match", tests, {}, EFFECT_THRESHOLD, world.tolerance, UNITS, ALPHA, "two places")
    return found


def _images(angle: float, nets: str, seed: int) -> np.ndarray:
    """Four rows: sketches placed from left to right, their paintings in drawn styles; the same from paintings."""
    world, oracle, rows = CodeWorld(), Oracle(CodeWorld(), turned(angle, nets)), []
    for own, other in ((1, 2), (2, 1)):
        content, style = world.codes(torch.arange(SHOWN), seed, own)
        content[:, X_COLUMN] = torch.linspace(-REACH, REACH, SHOWN)
        given = world.render(content, style, own)
        made = oracle.translate(given, own, other, generator=torch.Generator().manual_seed(seed))
        for code_image, domain in ((given, own), (made, other)):
            codes = world.invert(code_image, domain)
            rows.append(draw(content_from_code(codes[0]), style_from_code(codes[1], domain), domain, CELL).float())
    return stacked(tiles(rows[:2]), tiles(rows[2:]))


def render(angle: float, nets: str, seed: int) -> Image:
    """Left: images and their translations. Right: place in the sketch against place in the painting, of both samples.

    Args:
        angle: 0 … 90 degrees.
        nets: BOTH or ALONE.
        seed: of the images, drawn styles and permutations.
    """
    figure, (left, right) = subplots(2, (10, 3.9))
    left.imshow(_images(angle, nets, seed))
    left.set_axis_off()
    left.set_title("sketches and their paintings; paintings and their sketches", fontsize=9)
    samples = {"sketch, made painting": "o", "made sketch, painting": "x"}
    for color, (name, mark), pairs in zip(COLORS, samples.items(), places(angle, nets, seed), strict=False):
        dots = pairs[:DOTS].T.numpy()
        right.plot(*dots, linestyle="", marker=mark, markersize=4, alpha=0.7, color=color, label=name)
    told = {name: result.status for name, result in verdicts(angle, nets, seed).items()}
    title = f"joint check: {told['joint']}; of the places alone: {told['places']}\ncontent is kept: {told['content']}"
    right.set_title(title, fontsize=9)
    right.set(
        xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal", xlabel="place in the sketch", ylabel="in the painting"
    )
    right.legend(fontsize=8, loc="lower left", bbox_to_anchor=(1, 0))
    return picture(figure, _sentence(angle, nets, seed))


def _sentence(angle: float, nets: str, seed: int) -> str:
    told = "; ".join(f"{WORDS[name]}: {result.status}" for name, result in verdicts(angle, nets, seed).items())
    forth, back = (torch.corrcoef(pairs.T)[0, 1].item() for pairs in places(angle, nets, seed))
    return (
        f"Place and fill hue turned by {angle:g} degrees in the {nets}. Place in the sketch and in the painting "
        f"correlate {forth:.2f} where the painting was made, {back:.2f} where the sketch was. {told}."
    )


def describe(angle: float, nets: str, seed: int) -> tuple[str, list[list[str]]]:
    """What `render` shows, and every verdict with the part that settles it."""
    rows = [["check", "verdict", "settled by", "effect", "counts from"]]
    for name, result in verdicts(angle, nets, seed).items():
        part = result.decisive_finding
        rows.append([WORDS[name], result.status, part.name, f"{part.effect:.2g}", f"{part.threshold:.2g}"])
    return _sentence(angle, nets, seed), rows


class SymmetryExplorer(Explorer):
    """What no check of the propositions sees, by the angle; see `render`."""

    def __init__(self, state: State | None = None) -> None:
        """
        Args:
            state: values to begin with.
        """
        made = controls()
        first: State = {name: control.first for name, control in made.items()}
        super().__init__(render, made, render(**first | {"angle": 90}), "Symmetry explorer", describe, state)

    def as_code(self, state: State) -> str:
        return f"SymmetryExplorer(state={state})"
