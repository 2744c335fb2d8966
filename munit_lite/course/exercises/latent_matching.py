"""Exercises of 11_latent_matching: the unbiased MMD², the p-value of a permutation test, and what its units are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor

from munit_lite.course.exercises.framework import Bug, Exercise, Input

Report = dict[str, Any]

# --------------------------------------------------------------------------------------------------- the estimator


def _kernel(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    """(m, D) and (n, D) -> (m, n)."""
    squares = (a[:, None] - b[None]).square().sum(2)
    return torch.exp(-squares / (2 * bandwidth**2))


def _within(a: Tensor, bandwidth: float) -> Tensor:
    """Mean over pairs of different rows."""
    first, second = torch.triu_indices(len(a), len(a), offset=1)
    return _kernel(a, a, bandwidth)[first, second].mean()


def _unbiased_mmd2(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    return _within(a, bandwidth) + _within(b, bandwidth) - 2 * _kernel(a, b, bandwidth).mean()


def _with_diagonal(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    return _kernel(a, a, bandwidth).mean() + _kernel(b, b, bandwidth).mean() - 2 * _kernel(a, b, bandwidth).mean()


def _diagonal_summed(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    within = [_kernel(x, x, bandwidth).sum() / (len(x) * (len(x) - 1)) for x in (a, b)]
    return within[0] + within[1] - 2 * _kernel(a, b, bandwidth).mean()


def _diagonal_still_counted(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    within = [(_kernel(x, x, bandwidth) - torch.eye(len(x), dtype=x.dtype)).mean() for x in (a, b)]
    return within[0] + within[1] - 2 * _kernel(a, b, bandwidth).mean()


def _between_once(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    return _within(a, bandwidth) + _within(b, bandwidth) - _kernel(a, b, bandwidth).mean()


def _no_half(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    return _unbiased_mmd2(a, b, bandwidth / 2**0.5)


def _cut_off(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    return _unbiased_mmd2(a, b, bandwidth).clamp_min(0)


def _sample_cases(generator: Generator) -> Iterator[Input]:
    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    same = draw(3, 2)
    yield Input("two against two", (draw(2, 1), draw(2, 1) + 1, 1.0))
    yield Input("the same rows in both groups", (same, same.clone(), 1.0))
    yield Input("unequal groups", (draw(6, 3), draw(3, 3), 0.7))
    yield Input("far apart", (draw(4, 2), draw(3, 2) + 100, 2.0))
    yield Input("not contiguous", (draw(2, 5).T, draw(2, 4).T, 1.5))
    yield Input("float64", (draw(9, 4, dtype=torch.float64), 2 * draw(7, 4, dtype=torch.float64), 1.3))


unbiased_mmd2 = Exercise(
    "unbiased_mmd2",
    _unbiased_mmd2,
    _sample_cases,
    (
        Bug(
            "mmd-with-diagonal",
            _with_diagonal,
            "every row is compared with itself too, which makes the estimate too large",
            "k(x, x) = 1 says nothing about a distribution: average over pairs of different rows.",
        ),
        Bug(
            "mmd-diagonal-summed",
            _diagonal_summed,
            "the diagonal is in the sum, but not in the number of pairs",
            "Take the diagonal out of the sum as well: m (m - 1) pairs of different rows.",
        ),
        Bug(
            "mmd-diagonal-still-counted",
            _diagonal_still_counted,
            "the diagonal is taken out of the sum, but the sum is still divided by m²",
            "Divide by the number of pairs that are left, m (m - 1).",
        ),
        Bug(
            "mmd-between-once",
            _between_once,
            "the part between the groups is subtracted once",
            "Subtract it twice: one part within each group belongs to each of them.",
        ),
        Bug(
            "mmd-no-half",
            _no_half,
            "the kernel is exp(−|x − y|² / bandwidth²)",
            "The factor ½ belongs to it: exp(−|x − y|² / (2 bandwidth²)), a normal density's shape.",
        ),
        Bug(
            "mmd-cut-off",
            _cut_off,
            "negative estimates are set to 0",
            "Leave them: an unbiased estimate of 0 is often negative, and cutting these off makes a bias.",
        ),
    ),
)

# ------------------------------------------------------------------------------------------------------ the p-value


def _permutation_p_value(effect: Tensor, drawn: Tensor) -> float:
    every = torch.cat([drawn, effect[None]])  # the sample's own order is one of the orders
    return int((every >= effect).sum()) / len(every)


def _own_order_missing(effect: Tensor, drawn: Tensor) -> float:
    return int((drawn >= effect).sum()) / len(drawn)


def _own_order_on_top(effect: Tensor, drawn: Tensor) -> float:
    return (1 + int((drawn >= effect).sum())) / len(drawn)


def _own_order_below(effect: Tensor, drawn: Tensor) -> float:
    return int((drawn >= effect).sum()) / (1 + len(drawn))


def _ties_dropped(effect: Tensor, drawn: Tensor) -> float:
    return (1 + int((drawn > effect).sum())) / (1 + len(drawn))


def _two_sided(effect: Tensor, drawn: Tensor) -> float:
    return (1 + int((drawn.abs() >= effect.abs()).sum())) / (1 + len(drawn))


def _share_below(effect: Tensor, drawn: Tensor) -> float:
    return (1 + int((drawn <= effect).sum())) / (1 + len(drawn))


def _permuted_cases(generator: Generator) -> Iterator[Input]:
    def draw(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(count, generator=generator, dtype=dtype) / 10

    yield Input("none reaches it", (torch.tensor(0.9), draw(9)))
    yield Input("all reach it", (torch.tensor(-0.9), draw(4)))
    yield Input("ties", (torch.tensor(0.25), torch.tensor([0.25, 0.25, 0.5, 0.0, -0.25])))
    yield Input("large negative ones", (torch.tensor(0.25), torch.tensor([-0.5, -0.75, 0.5, 0.0])))
    yield Input("one permutation", (torch.tensor(0.1), torch.tensor([0.2])))
    yield Input("float64", (torch.tensor(0.1, dtype=torch.float64), draw(199, torch.float64)))


permutation_p_value = Exercise(
    "permutation_p_value",
    _permutation_p_value,
    _permuted_cases,
    (
        Bug(
            "p-without-own-order",
            _own_order_missing,
            "the sample's own order does not count, so that p can be 0",
            "If nothing differs, its own order is as good as the drawn ones: (1 + #) / (1 + N).",
        ),
        Bug(
            "p-own-order-above-only",
            _own_order_on_top,
            "the sample's own order counts above the line only, so that p can be larger than 1",
            "It is one of 1 + N orders: count it below the line as well.",
        ),
        Bug(
            "p-own-order-below-only",
            _own_order_below,
            "the sample's own order counts below the line only, so that p can be 0",
            "It reaches its own effect: count it above the line as well.",
        ),
        Bug(
            "p-without-ties",
            _ties_dropped,
            "permutations with exactly the sample's effect do not count",
            "As large counts: ≥, not >.",
        ),
        Bug(
            "p-two-sided",
            _two_sided,
            "permutations far below zero count as well",
            "Only a large MMD² speaks against equality; a very negative one is chance.",
        ),
        Bug(
            "p-share-below",
            _share_below,
            "it is the share of permutations with an effect as small",
            "p is the share with an effect as *large*: small p speaks against equality.",
        ),
    ),
)

# ------------------------------------------------------------------------------------------------- the wrong p-value


def _torn(report: Report) -> bool:
    """Does any permutation put two rows of one input into different groups?"""
    labels, source = report["labels"], report["input"]
    return any(bool(labels[:, source == one].std(1, correction=0).gt(0).any()) for one in source.unique())


def _wrong_p_value(reports: list[Report]) -> list[bool]:
    return [_torn(report) for report in reports]


def _small_p(reports: list[Report]) -> list[bool]:
    return [report["p"] <= 0.05 for report in reports]


def _repeated_inputs(reports: list[Report]) -> list[bool]:
    return [len(report["input"].unique()) < len(report["input"]) for report in reports]


def _first_permutation(reports: list[Report]) -> list[bool]:
    return [_torn(report | {"labels": report["labels"][:1]}) for report in reports]


def _neighbors(reports: list[Report]) -> list[bool]:
    found = []
    for report in reports:
        labels, source = report["labels"], report["input"]
        kin = source[1:] == source[:-1]
        found.append(bool((labels[:, 1:] != labels[:, :-1])[:, kin].any()))
    return found


def _every_permutation(reports: list[Report]) -> list[bool]:
    return [all(_torn(report | {"labels": one[None]}) for one in report["labels"]) for report in reports]


_TORN = {"": (), "first": (0,), "last": (2,), "always": (0, 1, 2)}  # which of the three permutations tear an input


def _report(
    generator: Generator,
    inputs: int,
    each: int,
    p: float,
    torn: str = "",
    apart: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Report:
    """A report on an even number of inputs with `each` rows, side by side or apart."""
    source = torch.arange(inputs).repeat(each) if apart else torch.arange(inputs).repeat_interleave(each)
    rows = []
    for _ in range(3):
        label = torch.zeros(inputs)
        label[torch.randperm(inputs, generator=generator)[: inputs // 2]] = 1.0
        rows.append(label[source])
    labels = torch.stack(rows).to(dtype)
    own = torch.nonzero(source == 0).flatten()
    for k in _TORN[torn]:
        labels[k, own[-1]] = 1 - labels[k, own[0]]
    return {"labels": labels, "input": source, "p": p}


def _report_cases(generator: Generator) -> Iterator[Input]:
    def reports(*several: tuple[int, int, float, str], **options: Any) -> tuple[list[Report]]:
        return ([_report(generator, *each, **options) for each in several],)

    yield Input("small p, and right", reports((4, 2, 0.01, "")))
    yield Input("large p, and wrong", reports((4, 2, 0.6, "always")))
    yield Input("one row an input", reports((6, 1, 0.03, ""), (6, 1, 0.4, "")))
    yield Input("torn by one permutation", reports((4, 4, 0.2, "first"), (4, 4, 0.2, "last"), (4, 4, 0.2, "")))
    yield Input("rows of one input apart", reports((4, 4, 0.002, "always"), apart=True))
    mixed = ((6, 4, 0.04, ""), (6, 4, 0.001, "always"), (6, 1, 0.5, ""))
    yield Input("float64", reports(*mixed, dtype=torch.float64))


wrong_p_value = Exercise(
    "wrong_p_value",
    _wrong_p_value,
    _report_cases,
    (
        Bug(
            "unit-by-small-p",
            _small_p,
            "it suspects small p-values",
            "A right test gives small ones too. Look at what was permuted.",
        ),
        Bug(
            "unit-by-repeated-input",
            _repeated_inputs,
            "it rejects every report with several rows of one input",
            "Several rows of one input are fine, if they change groups together.",
        ),
        Bug(
            "unit-first-permutation-only",
            _first_permutation,
            "it looks at the first permutation only",
            "A single permutation that tears an input apart is one too many: look at all.",
        ),
        Bug(
            "unit-every-permutation-must-tear",
            _every_permutation,
            "it finds fault only if every permutation tears an input apart",
            "By chance some permutations keep it together: any that tears it is enough.",
        ),
        Bug(
            "unit-neighbors-only",
            _neighbors,
            "it compares neighboring rows only",
            "The rows of an input may stand anywhere: group them by `input`.",
        ),
    ),
)
