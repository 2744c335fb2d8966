"""The paper's four propositions (section 4) as functions that can fail, for the oracle and for trained models.

Each check draws its own units from a world and returns a `Verdict`. "Fails" is said of a model: a proposition itself
cannot fail, its hypotheses can. Two-sample tests look at what the world reads from images: exact factors, or judged
ones, and then not to reject speaks of those only. Codes are compared after normalization.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from munit_lite.model import MUNIT
from munit_lite.theory.oracle import ObservedWorld, PixelWorld
from munit_lite.theory.two_sample import mmd_test
from munit_lite.theory.verdicts import ErrorSummary, Verdict, relative_error, verdict

ALPHA = 0.001
BANDWIDTH = 0.35  # in median distances; a wider kernel hardly sees how one style depends on another among 14 factors
EFFECT = 0.04  # share of the MMD² of samples that never meet that counts as none; to be below takes 500 units
_AT_ONCE = 100

_Blocks: TypeAlias = tuple[Tensor, ...]


class CodedModel(Protocol):
    """What the checks need of a model: MUNIT, or the oracle."""

    def encode_content(self, images: Tensor, domain: int) -> Tensor: ...

    def encode_style(self, images: Tensor, domain: int) -> Tensor: ...

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor: ...

    def sample_style(self, count: int, generator: torch.Generator | None = None) -> Tensor: ...


class _Draws:
    """The units of one check: images of both domains, fresh styles, and the model's functions in batches."""

    def __init__(self, model: CodedModel, world: ObservedWorld, n: int, seed: int) -> None:
        if n < 100:
            raise ValueError(f"n is {n}, but a check needs 100 units or more")
        self.model, self.world, self.n = model, world, n
        self.generator = torch.Generator().manual_seed(seed)
        like = model.sample_style(1, torch.Generator().manual_seed(0))
        self.x = {
            domain: world.images(torch.arange(n), seed, domain, "propositions").to(like.device, like.dtype)
            for domain in (1, 2)
        }

    def style(self) -> Tensor:
        """Fresh draws of the prior."""
        return self.model.sample_style(self.n, self.generator)

    def content_of(self, images: Tensor, domain: int) -> Tensor:
        return _batched(lambda x: self.model.encode_content(x, domain), images)

    def style_of(self, images: Tensor, domain: int) -> Tensor:
        return _batched(lambda x: self.model.encode_style(x, domain), images)

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        return _batched(lambda c, s: self.model.decode(c, s, domain), content, style)

    def factors(self, images: Tensor, domain: int) -> _Blocks:
        return self.world.factors(images, domain)

    def verdict(
        self,
        claim: str,
        samples: dict[tuple[str, str], tuple[_Blocks, _Blocks]] | None = None,
        errors: dict[tuple[str, str], ErrorSummary] | None = None,
        reads: str = "",
    ) -> Verdict:
        """Test each two samples for equality, and judge these tests together with the errors."""
        permutations = round(len(samples or {}) / ALPHA) - 1  # so that Holm's p can be as small as ALPHA
        tests = {}
        for part, blocks in (samples or {}).items():
            a, b = ([block.flatten(1).double().cpu() for block in sample] for sample in blocks)
            tests[part] = mmd_test(a, b, self.generator, permutations, bandwidth=BANDWIDTH)
        return verdict(
            claim, tests, errors or {}, EFFECT, self.world.tolerance, self.n, ALPHA, reads or self.world.reads
        )


def _batched(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([function(*parts) for parts in zip(*(t.split(_AT_ONCE) for t in tensors), strict=True)])


def check_optimality(model: CodedModel, world: ObservedWorld, n: int, seed: int) -> Verdict:
    """Proposition 1: does the model reach the minimum of the objective?

    Its hypotheses, which together are the minimum: translations are distributed like real images (A), and every
    reconstruction term of equations 1 to 3 is zero (R). If this holds, the three other checks must hold. A is tested
    on what the world reads from images; R compares the images and the codes themselves.

    Args:
        model: the oracle, a variant of it, or a trained model.
        world: where its images come from.
        n: independent images of each domain, 100 or more; a fifth of them sets the tests' bandwidths.
        seed: of the images, drawn styles and permutations.
    """
    draws = _Draws(model, world, n, seed)
    samples, errors = {}, {}
    for i, j in ((1, 2), (2, 1)):
        content, style_j = draws.content_of(draws.x[i], i), draws.style()
        translated = draws.decode(content, style_j, j)
        real = draws.factors(draws.x[j], j)
        samples[f"p(x{i}→{j}) = p(x{j})", "A"] = (draws.factors(translated, j), real)
        again = draws.decode(content, draws.style_of(draws.x[i], i), i)
        errors[f"image {i} again", "R"] = relative_error(again, draws.x[i])
        errors[f"content {i} again", "R"] = relative_error(draws.content_of(translated, j), content)
        errors[f"style {j} again", "R"] = relative_error(draws.style_of(translated, j), style_j)
    reads = f"{world.reads} for translations, images and codes for reconstructions"
    return draws.verdict("Proposition 1, the minimum is reached", samples, errors, reads)


def check_latent_matching(model: CodedModel, world: ObservedWorld, n: int, seed: int) -> Verdict:
    """Proposition 2: p(c1) = p(c2), p(s1) = q, p(s2) = q (M), and content is independent of style (J).

    Proposition 3 needs the independence, which the three marginals do not give: (c_i, s_i) is tested against
    p(c_j) ⊗ q. Contents and styles are divided by their median distances, so that no scale is preferred. Among the
    thousands of numbers of a content map all distances are nearly equal, and a test of whole maps is nearly blind: of
    maps the means of the channels are compared, too.

    Args:
        (as in `check_optimality`)
    """
    draws = _Draws(model, world, n, seed)
    content = {i: draws.content_of(draws.x[i], i) for i in (1, 2)}
    style = {i: draws.style_of(draws.x[i], i) for i in (1, 2)}
    samples: dict[tuple[str, str], tuple[_Blocks, _Blocks]] = {("p(c1) = p(c2)", "M"): ((content[1],), (content[2],))}
    if content[1].ndim == 4:  # maps
        samples["p(c1) = p(c2), channel means", "M"] = ((content[1].mean((2, 3)),), (content[2].mean((2, 3)),))
    for i in (1, 2):
        samples[f"p(s{i}) = q", "M"] = ((style[i],), (draws.style(),))
    for i, j in ((1, 2), (2, 1)):
        samples[f"p(c{i}, s{i}) = p(c{j}) ⊗ q", "J"] = ((content[i], style[i]), (content[j], draws.style()))
    return draws.verdict("Proposition 2, latents match", samples, reads="the codes")


def check_joint_matching(model: CodedModel, world: ObservedWorld, n: int, seed: int) -> Verdict:
    """Proposition 3: p(x1, x1→2) = p(x2→1, x2).

    The unit is a whole pair; the two groups of pairs come from independent x1 and x2. A difference in their
    styles alone would drown among all factors, so that these are also tested without the others.

    Args:
        (as in `check_optimality`)
    """
    draws = _Draws(model, world, n, seed)
    made = {j: draws.decode(draws.content_of(draws.x[i], i), draws.style(), j) for i, j in ((1, 2), (2, 1))}
    forth = (*draws.factors(draws.x[1], 1), *draws.factors(made[2], 2))
    back = (*draws.factors(made[1], 1), *draws.factors(draws.x[2], 2))
    samples = {
        ("p(x1, x1→2) = p(x2→1, x2)", "F"): (forth, back),
        ("their styles alone", "F"): (forth[2::3], back[2::3]),
    }
    return draws.verdict("Proposition 3, joint distributions match", samples)


def check_cycle_consistency(model: CodedModel, world: ObservedWorld, n: int, seed: int) -> Verdict:
    """Proposition 4: F2→1 undoes F1→2 and the other way round, with F1→2(x1, s2) = (G2(E1c(x1), s2), E1s(x1)).

    Args:
        (as in `check_optimality`)
    """
    draws = _Draws(model, world, n, seed)
    errors = {}
    for i, j in ((1, 2), (2, 1)):
        image, style = draws.x[i], draws.style()
        there, kept = _augmented(draws, image, style, i, j)
        back, given = _augmented(draws, there, kept, j, i)
        errors[f"image {i}→{j}→{i}", "F"] = relative_error(back, image)
        errors[f"style {j} kept", "F"] = relative_error(given, style)
    return draws.verdict("Proposition 4, cycles close", errors=errors, reads="images and codes")


def _augmented(draws: _Draws, image: Tensor, style: Tensor, i: int, j: int) -> tuple[Tensor, Tensor]:
    """F i→j."""
    return draws.decode(draws.content_of(image, i), style, j), draws.style_of(image, i)


def check_content(model: CodedModel, world: ObservedWorld, n: int, seed: int) -> Verdict:
    """What no proposition says: translations keep the content. Only a world that knows it can tell.

    Args:
        (as in `check_optimality`)
    """
    draws = _Draws(model, world, n, seed)
    errors = {}
    for i, j in ((1, 2), (2, 1)):
        made = draws.decode(draws.content_of(draws.x[i], i), draws.style(), j)
        found, wanted = (torch.cat(draws.factors(x, k)[:2], dim=1) for x, k in ((made, j), (draws.x[i], i)))
        errors[f"content of x{i}→{j}", "F"] = relative_error(found, wanted)
    return draws.verdict("Beyond the propositions, content is kept", errors=errors)


CHECKS = {
    "minimum": check_optimality,
    "latents": check_latent_matching,
    "joint": check_joint_matching,
    "cycle": check_cycle_consistency,
}


def check_all(model: CodedModel, world: ObservedWorld, n: int, seed: int) -> dict[str, Verdict]:
    """All four checks and the content, by name: minimum, latents, joint, cycle, content."""
    return {name: check(model, world, n, seed) for name, check in (CHECKS | {"content": check_content}).items()}


def check_trained(model: MUNIT, n: int, seed: int) -> dict[str, Verdict]:
    """`check_all` of a trained model on its own world: judged factors, normalized codes.

    Args:
        model: trained on the known world.
        n, seed: as in `check_optimality`.

    Raises:
        ValueError: a model of other data, whose factors no judge reads.
    """
    data = model.config.data
    if data.dataset != "world":
        raise ValueError(f"the propositions are checked on the known world, but this is a model of {data.dataset} data")
    return check_all(model, PixelWorld(data.variant, data.size), n, seed)
