"""Exercises of 12_joint_matching: a permutation test of the wrong unit, and symmetries that no test can detect."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from munit_lite.course.exercises.framework import Input, exercise

# ---------------------------------------------------------------------------------------------- the permuted unit


def assignment_cases(generator: Generator) -> Iterator[Input]:
    def assign(content: Tensor, rows: int) -> Tensor:
        """Assignments that keep the rows of a content together, with half of the contents in each group."""
        count = int(content.max()) + 1
        groups = [(torch.randperm(count, generator=generator) % 2)[content] for _ in range(rows)]
        return torch.stack(groups)

    def case(label: str, content: Tensor, split: tuple[int, ...] = (), dtype: torch.dtype = torch.float32) -> Input:
        """A test whose assignments in the given rows separate the first and the last row of content 0."""
        assignments, own = assign(content, 4).to(dtype), torch.nonzero(content == 0).flatten()
        for row in split:
            assignments[row, own[-1]] = 1 - assignments[row, own[0]]
        return Input(label, (assignments, content))

    neighbors, apart = torch.arange(4).repeat_interleave(2), torch.arange(4).repeat(2)
    yield case("one pair per content", torch.arange(6))
    yield case("two pairs per content, kept together", neighbors)
    yield case("two pairs per content, always separated", neighbors, (1, 2, 3))
    yield case("separated by one permutation only", neighbors, (3,))
    yield case("one content in both groups from the start", neighbors, (0,))
    yield case("pairs of one content far apart, kept together", apart)
    yield case("pairs of one content far apart, separated", apart, (1, 2, 3))
    yield case("float64", torch.arange(5).repeat(4), (2,), torch.float64)


def _separated(assignments: Tensor, content: Tensor) -> Tensor:
    """Whether each assignment puts two rows of one content into different groups, (1 + P,)."""
    same = content[:, None] == content
    return ((assignments[:, :, None] != assignments[:, None]) & same).flatten(1).any(1)


@exercise(assignment_cases)
def wrong_unit(assignments: Tensor, content: Tensor) -> bool:
    return bool(_separated(assignments, content).any())


@wrong_unit.bug(
    "suspects every test with several pairs of one content",
    fix="Several pairs of one content are allowed if they always change groups together.",
)
def repeated_content(assignments: Tensor, content: Tensor) -> bool:
    return len(content.unique()) < len(content)


@wrong_unit.bug(
    "ignores the observed assignment",
    fix="Look at row 0 as well: if both groups contain the same content, they are not independent.",
)
def observed_row_ignored(assignments: Tensor, content: Tensor) -> bool:
    return bool(_separated(assignments[1:], content).any())


@wrong_unit.bug(
    "looks at the observed assignment only",
    fix="Go through all permutations: the unit is what they keep together.",
)
def observed_row_only(assignments: Tensor, content: Tensor) -> bool:
    return bool(_separated(assignments[:1], content).any())


@wrong_unit.bug(
    "compares neighboring pairs only",
    fix="The pairs of a content may be in any order: compare all pairs with equal `content`.",
)
def neighbors_only(assignments: Tensor, content: Tensor) -> bool:
    changed = assignments[:, 1:] != assignments[:, :-1]
    return bool((changed & (content[1:] == content[:-1])).any())


# ------------------------------------------------------------------------------------------ undetectable symmetries


def frequency_cases(generator: Generator) -> Iterator[Input]:
    yield Input("two equal frequencies", (torch.tensor([0.5, 0.5]),))
    yield Input("all frequencies differ", (torch.tensor([0.5, 0.3, 0.2]),))
    yield Input("three of four are equal", (torch.tensor([0.2, 0.2, 0.4, 0.2]),))
    yield Input("two pairs of equal ones", (torch.tensor([0.1, 0.3, 0.15, 0.1, 0.3]),))
    shuffled = torch.tensor([1, 1, 1, 1, 2, 2], dtype=torch.float64)[torch.randperm(6, generator=generator)]
    yield Input("float64", (shuffled / 8,))


@exercise(frequency_cases)
def undetected_permutations(frequencies: Tensor) -> int:
    _, counts = frequencies.unique(return_counts=True)
    return math.prod(math.factorial(count) for count in counts.tolist())


@undetected_permutations.bug(
    "leaves out the identity",
    fix="The identity is a permutation as well, and nothing detects it.",
)
def identity_left_out(frequencies: Tensor) -> int:
    return undetected_permutations.reference(frequencies) - 1


@undetected_permutations.bug(
    "counts all permutations, also those that the test detects",
    fix="A permutation that gives a class another frequency changes the distribution of the pairs.",
)
def frequencies_ignored(frequencies: Tensor) -> int:
    return math.factorial(len(frequencies))


@undetected_permutations.bug(
    "counts the identity and exchanges of two classes only",
    fix="Three or more equally frequent classes can be permuted in cycles as well: m classes have m! orders.",
)
def exchanges_only(frequencies: Tensor) -> int:
    _, counts = frequencies.unique(return_counts=True)
    return 1 + sum(math.comb(count, 2) for count in counts.tolist())


@undetected_permutations.bug(
    "adds the orders of groups of equally frequent classes instead of multiplying them",
    fix="Each order of one group can be combined with each order of another: multiply.",
)
def groups_added(frequencies: Tensor) -> int:
    _, counts = frequencies.unique(return_counts=True)
    return sum(math.factorial(count) for count in counts.tolist())
