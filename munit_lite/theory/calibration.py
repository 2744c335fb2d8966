"""How often the checks err: nulls that they reject, broken variants that they miss, and how well E* reads pixels.

`python -m munit_lite.theory.calibration` writes data/results/propositions_calibration.json (about twenty minutes).
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch
import tyro

from munit_lite.experiments.results import write_results
from munit_lite.theory.oracle import CodeWorld, Oracle, PixelWorld
from munit_lite.theory.propositions import CHECKS
from munit_lite.theory.variants import BROKEN, ORACLE, UNSEEN, Variant
from munit_lite.theory.verdicts import FAILS, HOLDS, UNDECIDED, summarized

TESTED = ("minimum", "latents", "joint")  # the checks with two-sample tests


@dataclass(frozen=True)
class Recipe:
    """What is run.

    Args:
        nulls: seeds of the oracle, whose rejections are counted at .05.
        seeds: of each broken variant: 59 of 59 show that 95 % or more are caught, at confidence .95.
        unseen_seeds: of each variant that no check may catch.
        units: images of each domain.
        pictures: of each domain that E* reads.
    """

    nulls: int = 400
    seeds: int = 59
    unseen_seeds: int = 5
    units: int = 500
    pictures: int = 500


def null_rejections(nulls: int, units: int, level: float = 0.05) -> dict[str, dict[str, int]]:
    """For each check of the oracle: how many of its nulls are rejected at `level`, and the statuses at `ALPHA`."""
    world = CodeWorld()
    found = {name: dict.fromkeys(("rejected", HOLDS, FAILS, UNDECIDED), 0) for name in TESTED}
    for seed in range(nulls):
        for name in TESTED:
            verdict = CHECKS[name](Oracle(world), world, units, 1000 + seed)
            found[name]["rejected"] += min(part.p_value for part in verdict.parts if part.p_value is not None) <= level
            found[name][verdict.status] += 1
    return found


def statuses(variant: Variant, seeds: int, units: int) -> dict[str, dict[str, Any]]:
    """For each check of a variant: what is expected, and how many seeds gave that, or each status."""
    world = CodeWorld(variant.world)
    found = {}
    for name, check in CHECKS.items():
        verdicts = [check(Oracle(world, variant), world, units, seed) for seed in range(seeds)]
        counts = {status: sum(v.status == status for v in verdicts) for status in (HOLDS, FAILS, UNDECIDED)}
        expected = getattr(variant.expected, name)
        as_expected = sum(v.reasons == expected for v in verdicts)
        found[name] = {"expected": expected, "as_expected": as_expected, "seeds": seeds} | counts
    return found


def pixel_errors(pictures: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """How far E* is from the truth when it sees pixels only: largest error of any normal score of a picture."""
    world, found = PixelWorld(), {}
    for domain in (1, 2):
        content, style = world.codes(torch.arange(pictures), seed, domain)
        images = world.draw(content, style, domain)
        read_content, read_style = world.invert(images, domain)
        codes = torch.cat([read_content - content, read_style - style], dim=1).abs().amax(1)
        again = (world.draw(read_content, read_style, domain) - images).flatten(1).abs().amax(1)
        for name, errors in (("codes", codes), ("pixels", again)):
            summary = asdict(summarized(errors))
            found[f"{name} {domain}"] = {"q95" if key == "judged" else key: value for key, value in summary.items()}
    return found


def main(recipe: Recipe) -> None:
    numbers: dict[str, Any] = {"pixels": pixel_errors(recipe.pictures)}
    numbers["nulls"] = null_rejections(recipe.nulls, recipe.units)
    numbers["variants"] = {}
    for variant in (*BROKEN, ORACLE, *UNSEEN):
        print(variant.name, file=sys.stderr, flush=True)
        seeds = recipe.seeds if variant in BROKEN else recipe.unseen_seeds
        numbers["variants"][variant.name] = statuses(variant, seeds, recipe.units)
    command, columns = "python -m munit_lite.theory.calibration", ("kind", "variant", "proposition")
    write_results("propositions_calibration", numbers, asdict(recipe), command, columns)


if __name__ == "__main__":
    main(tyro.cli(Recipe))
