"""The four propositions of the paper (section 4) as checks of a model, which may be the oracle or a trained network.

Each check samples its own units from a world and returns a `PropositionVerdict`. "Fails" refers to the model: a
proposition itself cannot fail, but its hypotheses can. Two-sample tests compare the factors that the world measures
from images. If those are predicted attributes, a test that does not reject says something about them only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from munit_lite.evaluation.translator import EncoderDecoder
from munit_lite.model import MUNIT
from munit_lite.theory.oracle import ObservedWorld, PixelWorld
from munit_lite.theory.two_sample import mmd_test
from munit_lite.theory.verdicts import (
    ADVERSARIAL,
    FAILS,
    JOINT,
    MARGINAL,
    RECONSTRUCTION,
    PropositionVerdict,
    error_finding,
    normalized_finding,
    nrmse,
    summarize_errors,
)
from munit_lite.world import DIRECTIONS

BANDWIDTH = 0.35  # in median distances; a wider kernel hardly sees that one style depends on another among 14 factors
EFFECT_THRESHOLD = 0.04  # a normalized MMD² up to this counts as zero
UNITS = 2000  # so many decide effects of half and of 1.5 times the margin in at least 80 % of all cases
_BATCH_SIZE = 100

_Blocks: TypeAlias = tuple[Tensor, ...]


@dataclass
class CheckRecords:
    """What a check measured of each unit, before any statistic is computed.

    Args:
        claim: what is checked.
        units: independent images of each domain.
        measured: what the two-sample tests compare.
        samples: for each (name, reason) the two samples of an equality, blocks (units, features) in float64.
        errors: for each (name, reason) the NRMSE of each unit, (units,), and its tolerance.
    """

    claim: str
    units: int
    measured: str
    samples: dict[tuple[str, str], tuple[_Blocks, _Blocks]] = field(default_factory=dict)
    errors: dict[tuple[str, str], tuple[Tensor, float]] = field(default_factory=dict)

    def compare(self, name: str, reason: str, a: _Blocks, b: _Blocks) -> None:
        """Add two samples that must have one distribution, blocks (units, ...)."""
        first, second = (tuple(block.flatten(1).double().cpu() for block in sample) for sample in (a, b))
        self.samples[name, reason] = first, second

    def add_error(self, name: str, reason: str, estimate: Tensor, target: Tensor, tolerance: float) -> None:
        """Add two tensors (units, ...) that must be equal."""
        self.errors[name, reason] = nrmse(estimate, target), tolerance

    def decide(self) -> PropositionVerdict:
        """Return the verdict, with one finding for each equality."""
        findings, unused = [], torch.Generator()
        for (name, reason), (a, b) in self.samples.items():
            test = mmd_test(a, b, unused, permutations=0, bandwidth=BANDWIDTH)
            findings.append(normalized_finding(name, reason, test, EFFECT_THRESHOLD))
        for (name, reason), (errors, tolerance) in self.errors.items():
            findings.append(error_finding(name, reason, summarize_errors(errors), tolerance))
        return PropositionVerdict(self.claim, tuple(findings), self.units, self.measured)


class _CheckInputs:
    """The images and sampled styles of one check, and the functions of the model in batches."""

    def __init__(self, model: EncoderDecoder, world: ObservedWorld, units: int, seed: int) -> None:
        if units < 100:
            raise ValueError(f"units is {units}, but a check needs 100 or more")
        self.model, self.world, self.units = model, world, units
        self.generator = torch.Generator().manual_seed(seed)
        like = model.sample_style(1, torch.Generator().manual_seed(0))
        self.x = {
            domain: world.images(torch.arange(units), seed, domain, "propositions").to(like.device, like.dtype)
            for domain in (1, 2)
        }

    def sample_style(self) -> Tensor:
        """Sample as many new styles from the prior: (units, style_dim)."""
        return self.model.sample_style(self.units, self.generator)

    def encode_content(self, images: Tensor, domain: int) -> Tensor:
        """Compute c = E^c(x) in batches."""
        return _in_batches(lambda x: self.model.encode_content(x, domain), images)

    def encode_style(self, images: Tensor, domain: int) -> Tensor:
        """Compute s = E^s(x) in batches."""
        return _in_batches(lambda x: self.model.encode_style(x, domain), images)

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Compute x = G(c, s) in batches."""
        return _in_batches(lambda c, s: self.model.decode(c, s, domain), content, style)

    def translate(self, source: int) -> Tensor:
        """Translate the images of a domain with sampled styles of the other."""
        content = self.encode_content(self.x[source], source)
        return self.decode(content, self.sample_style(), 3 - source)

    def factors(self, images: Tensor, domain: int) -> _Blocks:
        """Measure the factors of images of a domain, as `ObservedWorld.factors` does."""
        return self.world.factors(images, domain)


def _in_batches(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    with torch.no_grad():
        batches = zip(*(tensor.split(_BATCH_SIZE) for tensor in tensors), strict=True)
        return torch.cat([function(*batch) for batch in batches])


# ---------------------------------------------------------------------------------------------------------- checks


def check_optimality(model: EncoderDecoder, world: ObservedWorld, units: int, seed: int) -> PropositionVerdict:
    """Check proposition 1: does the model reach the minimum of the objective?

    The minimum means that translations are distributed like real images, and that every reconstruction loss of
    equations 1 to 3 is zero. If it is reached, the three other checks must hold. The distributions are compared by the
    factors that the world measures from images, the reconstructions by the NRMSE of the images and codes themselves.

    Args:
        model: the oracle, a variant of it, or a trained model.
        world: the source of the images.
        units: independent images of each domain, 100 or more; see `UNITS`.
        seed: of the images and sampled styles.

    Raises:
        ValueError: `units` is below 100.

    Example:
        >>> from munit_lite.theory.oracle import CodeWorld, Oracle
        >>> world = CodeWorld()
        >>> check_optimality(Oracle(world), world, units=500, seed=0).status
        'holds'
    """
    return record_optimality(model, world, units, seed).decide()


def record_optimality(model: EncoderDecoder, world: ObservedWorld, units: int, seed: int) -> CheckRecords:
    """Measure what `check_optimality` decides on; the arguments are the same."""
    inputs, tolerances = _CheckInputs(model, world, units, seed), world.tolerances
    measured = f"{world.measured} for translations, images and codes for reconstructions"
    records = CheckRecords("Proposition 1, the minimum is reached", units, measured)
    for i, j in DIRECTIONS:
        content, style_j = inputs.encode_content(inputs.x[i], i), inputs.sample_style()
        translation = inputs.decode(content, style_j, j)
        real = inputs.factors(inputs.x[j], j)
        records.compare(f"p(x{i}→{j}) = p(x{j})", ADVERSARIAL, inputs.factors(translation, j), real)
        image = inputs.decode(content, inputs.encode_style(inputs.x[i], i), i)
        content_again, style_again = inputs.encode_content(translation, j), inputs.encode_style(translation, j)
        records.add_error(f"image {i} recon", RECONSTRUCTION, image, inputs.x[i], tolerances.images)
        records.add_error(f"content {i} recon", RECONSTRUCTION, content_again, content, tolerances.codes)
        records.add_error(f"style {j} recon", RECONSTRUCTION, style_again, style_j, tolerances.codes)
    return records


def check_latent_matching(model: EncoderDecoder, world: ObservedWorld, units: int, seed: int) -> PropositionVerdict:
    """Check proposition 2: p(c1) = p(c2), p(s1) = q, p(s2) = q, and content is independent of style.

    Proposition 3 needs the independence, which the three marginals do not imply: (c_i, s_i) is tested against
    p(c_j) ⊗ q. Contents and styles are divided by their median distances, so no scale is preferred. Of content maps the
    channel means are compared: among the thousands of features of a whole map all distances are nearly equal, so that
    a kernel has no power. A verdict on maps therefore says nothing about the arrangement within a channel. The
    arguments are those of `check_optimality`.
    """
    return record_latent_matching(model, world, units, seed).decide()


def record_latent_matching(model: EncoderDecoder, world: ObservedWorld, units: int, seed: int) -> CheckRecords:
    """Measure what `check_latent_matching` decides on; the arguments are those of `check_optimality`."""
    inputs = _CheckInputs(model, world, units, seed)
    content = {i: inputs.encode_content(inputs.x[i], i) for i in (1, 2)}
    style = {i: inputs.encode_style(inputs.x[i], i) for i in (1, 2)}
    maps = content[1].ndim == 4
    if maps:
        content = {i: code.mean((2, 3)) for i, code in content.items()}
    measured = "the codes, of content maps the channel means" if maps else "the codes"
    records = CheckRecords("Proposition 2, latents match", units, measured)
    records.compare("p(c1) = p(c2)", MARGINAL, (content[1],), (content[2],))
    for i in (1, 2):
        records.compare(f"p(s{i}) = q", MARGINAL, (style[i],), (inputs.sample_style(),))
    for i, j in DIRECTIONS:
        independent = content[j], inputs.sample_style()
        records.compare(f"p(c{i}, s{i}) = p(c{j}) ⊗ q", JOINT, (content[i], style[i]), independent)
    return records


def check_joint_matching(model: EncoderDecoder, world: ObservedWorld, units: int, seed: int) -> PropositionVerdict:
    """Check proposition 3: p(x1, x1→2) = p(x2→1, x2).

    The unit is a whole pair, and the two groups of pairs come from independent x1 and x2. Among all factors a
    difference between the styles alone would be too small to detect, so the styles are also tested without the
    others. The arguments are those of `check_optimality`.
    """
    return record_joint_matching(model, world, units, seed).decide()


def record_joint_matching(model: EncoderDecoder, world: ObservedWorld, units: int, seed: int) -> CheckRecords:
    """Measure what `check_joint_matching` decides on; the arguments are those of `check_optimality`."""
    inputs = _CheckInputs(model, world, units, seed)
    image_1_to_2, image_2_to_1 = inputs.translate(1), inputs.translate(2)
    from_1 = (*inputs.factors(inputs.x[1], 1), *inputs.factors(image_1_to_2, 2))
    from_2 = (*inputs.factors(image_2_to_1, 1), *inputs.factors(inputs.x[2], 2))
    records = CheckRecords("Proposition 3, joint distributions match", units, world.measured)
    records.compare("p(x1, x1→2) = p(x2→1, x2)", FAILS, from_1, from_2)
    records.compare("their styles alone", FAILS, from_1[2::3], from_2[2::3])
    return records


def check_cycle_consistency(model: EncoderDecoder, world: ObservedWorld, units: int, seed: int) -> PropositionVerdict:
    """Check proposition 4: F2→1 and F1→2 are inverse to each other, where F1→2(x1, s2) = (G2(E1c(x1), s2), E1s(x1)).

    The arguments are those of `check_optimality`.
    """
    return record_cycle_consistency(model, world, units, seed).decide()


def record_cycle_consistency(model: EncoderDecoder, world: ObservedWorld, units: int, seed: int) -> CheckRecords:
    """Measure what `check_cycle_consistency` decides on; the arguments are those of `check_optimality`."""
    inputs = _CheckInputs(model, world, units, seed)
    records = CheckRecords("Proposition 4, cycles close", units, "images and codes")
    for i, j in DIRECTIONS:
        image, style = inputs.x[i], inputs.sample_style()
        translation, source_style = _augmented_translation(inputs, image, style, i, j)
        cycle_image, cycle_style = _augmented_translation(inputs, translation, source_style, j, i)
        records.add_error(f"image {i}→{j}→{i}", FAILS, cycle_image, image, world.tolerances.images)
        records.add_error(f"style {j} recon", FAILS, cycle_style, style, world.tolerances.codes)
    return records


def _augmented_translation(inputs: _CheckInputs, image: Tensor, style: Tensor, i: int, j: int) -> tuple[Tensor, Tensor]:
    """Compute F i→j."""
    return inputs.decode(inputs.encode_content(image, i), style, j), inputs.encode_style(image, i)


def check_content_preservation(
    model: EncoderDecoder, world: ObservedWorld, units: int, seed: int
) -> PropositionVerdict:
    """Check that translations preserve the content, which no proposition says and only a known world can show.

    The arguments are those of `check_optimality`.
    """
    return record_content_preservation(model, world, units, seed).decide()


def record_content_preservation(model: EncoderDecoder, world: ObservedWorld, units: int, seed: int) -> CheckRecords:
    """Measure what `check_content_preservation` decides on; the arguments are those of `check_optimality`."""
    inputs = _CheckInputs(model, world, units, seed)
    records = CheckRecords("Beyond the propositions, content is preserved", units, world.measured)
    for i, j in DIRECTIONS:
        translation = inputs.translate(i)
        content, target = (torch.cat(inputs.factors(x, k)[:2], dim=1) for x, k in ((translation, j), (inputs.x[i], i)))
        records.add_error(f"content of x{i}→{j}", FAILS, content, target, world.tolerances.content)
    return records


CHECKS = {
    "optimality": check_optimality,
    "latent_matching": check_latent_matching,
    "joint_matching": check_joint_matching,
    "cycle_consistency": check_cycle_consistency,
}


def check_all(model: EncoderDecoder, world: ObservedWorld, units: int, seed: int) -> dict[str, PropositionVerdict]:
    """Run the four checks and the check of the content.

    The arguments are those of `check_optimality`.

    Returns:
        The verdicts by name, those of `CHECKS` and content_preservation.
    """
    checks = CHECKS | {"content_preservation": check_content_preservation}
    return {name: check(model, world, units, seed) for name, check in checks.items()}


def check_trained_model(model: MUNIT, units: int, seed: int) -> dict[str, PropositionVerdict]:
    """Run `check_all` for a trained model on its own world, with predicted attributes.

    Args:
        model: trained on the known world.
        units: as in `check_optimality`.
        seed: of the images and sampled styles.

    Raises:
        ValueError: the model was trained on other data, for which there are no attribute predictors.
    """
    data = model.config.data
    if data.dataset != "world":
        raise ValueError(f"the propositions are checked on the known world, but this is a model of {data.dataset} data")
    return check_all(model, PixelWorld(data.world_variant, data.image_size), units, seed)
