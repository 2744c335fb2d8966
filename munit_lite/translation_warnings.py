"""What a user should know about translations of files: images unlike the training data, other sizes, lost styles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from munit_lite.data.image_statistics import find_mismatches
from munit_lite.methods import WITHOUT_STYLE, WITHOUT_STYLE_ENCODER
from munit_lite.model import MUNIT

SIZE_FACTOR = 1.3  # a shorter side that differs from the trained size by more than this factor gets a warning: see
# data/results/own_images.md for what other sizes cost
# Outputs in several styles count as equal below this standard deviation in gray levels (0 to 255). Four values of a
# normal distribution with this standard deviation lie 2 gray levels apart, the largest minus the smallest.
SAME_OUTPUT_DEVIATION = 1.0
_NAMED = 3  # at most this many files in one warning


def warn_of_size(sides: Sequence[int], trained: int) -> list[str]:
    """Warn of images at another size than the trained one.

    Args:
        sides: shorter side in pixels at which each image is translated.
        trained: side of the training images.

    Returns:
        no warning or one.

    Example:
        >>> warn_of_size([64, 72], 64)
        []
    """
    others = [side for side in sides if not trained / SIZE_FACTOR <= side <= trained * SIZE_FACTOR]
    if not others:
        return []
    length = f"{min(others)}" if len(set(others)) == 1 else f"{min(others)} to {max(others)}"
    return [
        f"the model was trained at {trained} px, but the shorter side of {_count(len(others), len(sides))} is {length} "
        "px: at another size objects appear larger or smaller than in training, and translations get worse; "
        f"use --size {trained}, or leave it out"
    ]


def warn_of_images(model: MUNIT, files: Sequence[Path], values: Tensor, domain: int, examples: bool) -> list[str]:
    """Warn of images that are unlike the training images of a domain.

    Args:
        model: with the statistics of its training images; without them there is no warning.
        files: the images.
        values: their statistics, (N, 19), as `image_statistics` returns them.
        domain: to which they should belong, 1 or 2.
        examples: whether the images are examples of style, not inputs.

    Returns:
        no warning, one or two.
    """
    if model.image_statistics is None:
        return []
    mismatch, other = find_mismatches(model.image_statistics, values, domain), 3 - domain
    noun, warnings, one = "example" if examples else "image", [], len(files) == 1
    if mismatch.reasons and not (one and mismatch.majority_is_other):
        named = []
        for k, reason in list(mismatch.reasons.items())[:_NAMED]:
            details = [f"looks like domain {other}"] if k in mismatch.like_other else []
            details += [reason] if reason else []
            named.append(f"{files[k]} ({'; '.join(details) or 'an unusual combination of brightness and color'})")
        more = len(mismatch.reasons) - len(named)
        listed = ", ".join(named) + (f" and {more} more" if more else "")
        verb = "differs" if len(mismatch.reasons) == 1 else "differ"
        warnings.append(
            f"{_count(len(mismatch.reasons), len(files), noun)} {verb} from the images of domain {domain} that the "
            f"model was trained on, so the {'styles' if examples else 'translations'} may be meaningless: {listed}"
        )
    if mismatch.majority_is_other:
        advice = (
            f"--style-from needs images of domain {domain}, the target"
            if examples
            else f"to translate from domain {other}, use --source {other}"
        )
        subject = f"the {noun} looks" if one else f"most {noun}s look"
        warnings.append(f"{subject} more like domain {other} than like domain {domain}: {advice}")
    return warnings


def warn_of_equal_outputs(model: MUNIT, num_styles: int, examples: bool, spreads: Sequence[float]) -> list[str]:
    """Warn of styles that do not change the output.

    Args:
        model: the method of its configuration may have no style.
        num_styles: styles in which each image was translated.
        examples: whether the styles were taken from examples.
        spreads: for each image the standard deviation of its outputs over the styles, as the root mean square over
            pixels and channels, in gray levels from 0 to 255.

    Returns:
        no warning or one.
    """
    method = model.config.method
    if method in (WITHOUT_STYLE_ENCODER if examples else WITHOUT_STYLE) and (examples or num_styles > 1):
        if method in WITHOUT_STYLE:
            return [f"the method {method} has no style: each image has one translation, the same in every style"]
        return [f"the method {method} has no style encoder: --style-from changes nothing; leave it out"]
    if num_styles > 1 and max(spreads) < SAME_OUTPUT_DEVIATION:
        cause = "the examples have almost the same style, or the model ignores it" if examples else "it ignores styles"
        return [
            f"the model writes almost the same image in every style ({cause}): the standard deviation of the "
            f"{num_styles} translations of each image is below {SAME_OUTPUT_DEVIATION:g} of 255 gray levels"
        ]
    return []


def _count(part: int, whole: int, noun: str = "image") -> str:
    if part == whole:
        return f"the {noun}" if whole == 1 else f"all {whole} {noun}s"
    return f"{part} of {whole} {noun}s"
