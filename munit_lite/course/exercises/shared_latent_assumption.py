"""Exercises of 01_shared_latent_assumption: unpaired batches, p(x2|x1), CIS, and the best relabeling of classes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from munit_lite.course.exercises.framework import Bug, Exercise, Input

# --------------------------------------------------------------------------------------------------- unpaired batches

Batch = tuple[Tensor, Tensor]


def _drawn(pile: Tensor, numbers: Tensor) -> Tensor:
    return pile[[int(number * len(pile)) for number in numbers.tolist()]]


def _unpaired_batch(sketches: Tensor, paintings: Tensor, numbers_1: Tensor, numbers_2: Tensor) -> Batch:
    return _drawn(sketches, numbers_1), _drawn(paintings, numbers_2)


def _aligned(sketches: Tensor, paintings: Tensor, numbers_1: Tensor, numbers_2: Tensor) -> Batch:
    index = (numbers_1 * len(sketches)).long()
    return sketches[index], paintings[index % len(paintings)]


def _shorter_pile(sketches: Tensor, paintings: Tensor, numbers_1: Tensor, numbers_2: Tensor) -> Batch:
    count = min(len(sketches), len(paintings))
    return sketches[(numbers_1 * count).long()], paintings[(numbers_2 * count).long()]


def _rounded(sketches: Tensor, paintings: Tensor, numbers_1: Tensor, numbers_2: Tensor) -> Batch:
    index_1, index_2 = ((u * (len(p) - 1)).round().long() for u, p in ((numbers_1, sketches), (numbers_2, paintings)))
    return sketches[index_1], paintings[index_2]


def _never_the_last(sketches: Tensor, paintings: Tensor, numbers_1: Tensor, numbers_2: Tensor) -> Batch:
    index_1, index_2 = ((u * (len(p) - 1)).long() for u, p in ((numbers_1, sketches), (numbers_2, paintings)))
    return sketches[index_1], paintings[index_2]


def _from_the_top(sketches: Tensor, paintings: Tensor, numbers_1: Tensor, numbers_2: Tensor) -> Batch:
    return sketches[: len(numbers_1)], paintings[: len(numbers_2)]


def _pile_cases(generator: Generator) -> Iterator[Input]:
    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=dtype)

    ends = torch.tensor([0.001, 0.999, 0.5])
    yield Input("three of each", (draw(3, 1, 1, 1), draw(3, 1, 1, 1), ends, ends.flip(0)))
    yield Input("more paintings", (draw(4, 1, 2, 2), draw(11, 1, 2, 2), draw(16), draw(16)))
    yield Input("more sketches", (draw(9, 3, 2, 1), draw(5, 3, 2, 1), draw(16), draw(16)))
    yield Input("not contiguous", (draw(7, 2, 4, 3).transpose(2, 3), draw(6, 2, 3, 4), draw(12), draw(12)))
    piles = draw(6, 1, 2, 3, dtype=torch.float64), draw(8, 1, 2, 3, dtype=torch.float64)
    yield Input("float64", (*piles, draw(16, dtype=torch.float64), draw(16, dtype=torch.float64)))


unpaired_batch = Exercise(
    "unpaired_batch",
    _unpaired_batch,
    _pile_cases,
    (
        Bug(
            "batch-of-aligned-pairs",
            _aligned,
            "one number picks from both piles, so that sketch k always comes with painting k",
            "Draw from each pile with its own number. If the files lie in the same order, aligned batches are true "
            "pairs, and a method that claims to need none has had them.",
            "eriklindernoren/PyTorch-GAN: the loader yields aligned pairs",
        ),
        Bug(
            "batch-from-the-shorter-pile",
            _shorter_pile,
            "the longer pile is cut to the length of the shorter one",
            "The piles have lengths of their own: the rest of the longer one would never be seen.",
        ),
        Bug(
            "batch-rounded",
            _rounded,
            "the place in the pile is rounded to the nearest, so that the first and the last image come half as often",
            "Cut off, do not round: `(number * length).long()`.",
        ),
        Bug(
            "batch-never-the-last",
            _never_the_last,
            "the last image of each pile is never drawn",
            "Multiply by the length, not by the length less one: the number is below 1.",
        ),
        Bug(
            "batch-from-the-top",
            _from_the_top,
            "nothing is drawn: it is always the top of each pile",
            "Use the numbers: `(number * length).long()` is a place in the pile.",
        ),
    ),
)

# ------------------------------------------------------------------------------------------------------------ p(x2|x1)


def _joint(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    """p(x1, x2), (sketches, paintings), by counting."""
    joint = p_content.new_zeros(int(sketch_of.max()) + 1, int(painting_of.max()) + 1)
    for c, a, b in itertools.product(range(len(p_content)), range(len(q_1)), range(len(q_2))):
        joint[sketch_of[c, a], painting_of[c, b]] += p_content[c] * q_1[a] * q_2[b]
    return joint


def _conditional(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    joint = _joint(p_content, q_1, q_2, sketch_of, painting_of)
    return torch.stack([row / row.sum() for row in joint])


def _other_way(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    joint = _joint(p_content, q_1, q_2, sketch_of, painting_of)
    return joint / joint.sum(0)


def _whole_joint(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    return _joint(p_content, q_1, q_2, sketch_of, painting_of)


def _all_paintings(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    joint = _joint(p_content, q_1, q_2, sketch_of, painting_of)
    return joint.sum(0).expand(joint.shape).contiguous()


def _contents_alike(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    return _conditional(torch.full_like(p_content, 1 / len(p_content)), q_1, q_2, sketch_of, painting_of)


def _likeliest_content(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    shows = p_content.new_zeros(int(sketch_of.max()) + 1, len(p_content))  # p(x1, c)
    for c, a in itertools.product(range(len(p_content)), range(len(q_1))):
        shows[sketch_of[c, a], c] += p_content[c] * q_1[a]
    rows = p_content.new_zeros(len(shows), int(painting_of.max()) + 1)
    for sketch, c in enumerate(shows.argmax(1).tolist()):
        rows[sketch].index_add_(0, painting_of[c], q_2)
    return rows


def _style_of_the_sketch(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    joint = p_content.new_zeros(int(sketch_of.max()) + 1, int(painting_of.max()) + 1)
    for c, a in itertools.product(range(len(p_content)), range(len(q_1))):
        joint[sketch_of[c, a], painting_of[c, a % len(q_2)]] += p_content[c] * q_1[a]
    return joint / joint.sum(1, keepdim=True)


def _overwritten(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    joint = p_content.new_zeros(int(sketch_of.max()) + 1, int(painting_of.max()) + 1)
    for c, a, b in itertools.product(range(len(p_content)), range(len(q_1)), range(len(q_2))):
        joint[sketch_of[c, a], painting_of[c, b]] = p_content[c] * q_1[a] * q_2[b]
    return joint / joint.sum(1, keepdim=True)


def _world_cases(generator: Generator) -> Iterator[Input]:
    def shares(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        weights = 0.1 + torch.rand(count, generator=generator, dtype=dtype)
        return weights / weights.sum()

    def numbered(contents: int, styles: int) -> Tensor:
        return torch.arange(contents * styles).view(contents, styles)

    one_sketch = torch.tensor([[0, 1], [1, 2]])  # content 0 in style 1 looks like content 1 in style 0
    one_painting = torch.tensor([[0, 1, 1], [2, 2, 3]])  # some styles make no difference
    yield Input("one content", (shares(1), shares(1), shares(3), numbered(1, 1), numbered(1, 3)))
    yield Input("two contents", (shares(2), shares(3), shares(2), numbered(2, 3), numbered(2, 2)))
    yield Input("two contents, one sketch", (shares(2), shares(2), shares(3), one_sketch, numbered(2, 3)))
    yield Input("two styles, one painting", (shares(2), shares(2), shares(3), numbered(2, 2), one_painting))
    yield Input("not contiguous", (shares(3), shares(2), shares(2), numbered(2, 3).T, numbered(3, 2).flip(1)))
    priors = (shares(4, torch.float64), shares(3, torch.float64), shares(3, torch.float64))
    yield Input("float64", (*priors, numbered(4, 3) % 7, numbered(4, 3)))


conditional_paintings = Exercise(
    "conditional_paintings",
    _conditional,
    _world_cases,
    (
        Bug(
            "conditional-the-other-way",
            _other_way,
            "it is p(x₁|x₂): each column adds up to 1",
            "Given a sketch, its paintings add up to 1: divide each *row* of p(x₁, x₂) by its sum.",
        ),
        Bug(
            "conditional-joint",
            _whole_joint,
            "it is p(x₁, x₂), which adds up to 1 as a whole",
            "Divide by p(x₁), the sum of each row.",
        ),
        Bug(
            "conditional-ignores-the-sketch",
            _all_paintings,
            "every sketch has the paintings of the whole domain: it is p(x₂)",
            "That is what an unpaired discriminator looks at. Given the sketch, only paintings of its content remain.",
        ),
        Bug(
            "conditional-contents-alike",
            _contents_alike,
            "all contents count as equally frequent",
            "Weigh with p(c): where one sketch shows two contents, the frequent one has more of the paintings.",
        ),
        Bug(
            "conditional-likeliest-content",
            _likeliest_content,
            "a sketch that shows two contents is given to the likelier one alone",
            "The paintings of both are possible: add up over the contents.",
        ),
        Bug(
            "conditional-style-from-the-sketch",
            _style_of_the_sketch,
            "the painting's style is taken from the sketch, which leaves one painting for each",
            "s₂ is drawn from its prior, whatever s₁ was: every style of the painting is possible.",
            "the summary of the paper that this course grew from: c, s₁, s₂ come from x₁ or x₂",
        ),
        Bug(
            "conditional-overwritten",
            _overwritten,
            "where two ways lead to the same pair only the last one counts",
            "Add the probabilities up: `+=`.",
        ),
    ),
)

# ------------------------------------------------------------------------------------------------------------------ CIS


def _cis(probabilities: Tensor) -> Tensor:
    """Entropy of the mean prediction less the mean entropy, input by input: the same as the mean divergence."""
    expected = probabilities.mean(1)  # (N, M)
    return (_entropy(expected) - _entropy(probabilities).mean(1)).mean()


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(-1)


def _exponential(probabilities: Tensor) -> Tensor:
    return _cis(probabilities).exp()


def _of_all_inputs(probabilities: Tensor) -> Tensor:
    return _cis(probabilities.flatten(0, 1)[None])


def _doubt_ignored(probabilities: Tensor) -> Tensor:
    return _entropy(probabilities.mean(1)).mean()


def _reversed(probabilities: Tensor) -> Tensor:
    expected = probabilities.mean(1, keepdim=True).expand_as(probabilities)
    return (torch.xlogy(expected, expected) - torch.xlogy(expected, probabilities)).sum(2).mean()


def _nan_at_zero(probabilities: Tensor) -> Tensor:
    expected = probabilities.mean(1, keepdim=True)
    return (probabilities * (probabilities / expected).log()).sum(2).mean()


def _bits(probabilities: Tensor) -> Tensor:
    return _cis(probabilities) / math.log(2)


def _mean_over_modes(probabilities: Tensor) -> Tensor:
    return _cis(probabilities) / probabilities.shape[2]


def _probability_cases(generator: Generator) -> Iterator[Input]:
    def soft(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.softmax(2 * torch.randn(shape, generator=generator, dtype=dtype), dim=-1)

    sure = torch.nn.functional.one_hot(torch.randint(4, (3, 6), generator=generator), 4).float()
    yield Input("one input", (soft(1, 2, 2),))
    yield Input("one output each", (soft(3, 1, 2),))
    yield Input("all outputs of an input alike", (soft(3, 1, 4).repeat(1, 5, 1),))
    yield Input("a classifier without doubt", (sure,))
    yield Input("not contiguous", (soft(5, 3, 4).transpose(0, 1),))
    yield Input("float64", (soft(4, 7, 3, dtype=torch.float64),))


conditional_inception_score = Exercise(
    "conditional_inception_score",
    _cis,
    _probability_cases,
    (
        Bug(
            "cis-exponential",
            _exponential,
            "it is exp(CIS): a translator with one output for each input gets 1",
            "The paper's formula has no exponential: one output for each input gives 0, K equal modes give log K.",
            "NVlabs/MUNIT, test_batch: CIS printed as exp(mean KL)",
        ),
        Bug(
            "cis-of-all-inputs",
            _of_all_inputs,
            "the outputs are compared with the mean over all inputs: it is IS",
            "Compare with the mean over the outputs of the *same* input; else modes that differ between inputs count.",
        ),
        Bug(
            "cis-without-the-classifiers-doubt",
            _doubt_ignored,
            "it is the entropy of the mean prediction alone",
            "A classifier in doubt about every output would look like a diverse translator: take the mean entropy off.",
        ),
        Bug(
            "cis-reversed",
            _reversed,
            "the divergence is taken the other way round",
            "KL(p‖m) = Σ p log(p/m): weigh with the single output's prediction p, divide by the mean m.",
        ),
        Bug(
            "cis-nan-at-zero",
            _nan_at_zero,
            "a class of probability 0 gives 0 · log 0, which is not a number",
            "0 log 0 counts as 0: `torch.xlogy(p, p) - torch.xlogy(p, m)`.",
        ),
        Bug(
            "cis-in-bits",
            _bits,
            "the logarithm of the score has base two",
            "Natural logarithms: four equal modes give log 4 = 1.386.",
        ),
        Bug(
            "cis-mean-over-modes",
            _mean_over_modes,
            "the divergence is averaged over the modes",
            "A divergence is a *sum* over modes; the means are over outputs and inputs.",
        ),
    ),
)

# ------------------------------------------------------------------------------------------------ the best relabeling


def _least_mismatch(p_1: Tensor, p_2: Tensor) -> Tensor:
    """By trying every relabeling."""
    every = torch.tensor(list(itertools.permutations(range(len(p_1)))))
    return torch.where(p_1[every] > p_2, p_1[every] - p_2, 0.0).sum(1).min()


def _content_kept(p_1: Tensor, p_2: Tensor) -> Tensor:
    return (p_1 - p_2).abs().sum() / 2


def _not_halved(p_1: Tensor, p_2: Tensor) -> Tensor:
    return 2 * _least_mismatch(p_1, p_2)


def _one_sorted(p_1: Tensor, p_2: Tensor) -> Tensor:
    return (p_1.sort().values - p_2).abs().sum() / 2


def _opposite(p_1: Tensor, p_2: Tensor) -> Tensor:
    return (p_1.sort().values - p_2.sort(descending=True).values).abs().sum() / 2


def _largest_difference(p_1: Tensor, p_2: Tensor) -> Tensor:
    return (p_1.sort().values - p_2.sort().values).abs().max()


def _frequency_cases(generator: Generator) -> Iterator[Input]:
    def shares(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        weights = 0.1 + torch.rand(count, generator=generator, dtype=dtype)
        return weights / weights.sum()

    mixed = shares(5)
    yield Input("one class", (torch.ones(1), torch.ones(1)))
    yield Input("two classes", (torch.tensor([0.6, 0.4]), torch.tensor([0.1, 0.9])))
    yield Input("the same frequencies, other classes", (mixed, mixed.roll(2)))
    yield Input("equal frequencies", (torch.full((4,), 0.25), shares(4)))
    yield Input("not contiguous", torch.stack([shares(4), shares(4)], dim=1).unbind(1))
    yield Input("float64", (shares(6, torch.float64), shares(6, torch.float64)))


least_mismatch = Exercise(
    "least_mismatch",
    _least_mismatch,
    _frequency_cases,
    (
        Bug(
            "mismatch-with-the-content-kept",
            _content_kept,
            "classes keep their names: no other labeling is tried",
            "Nothing in unpaired data says which class is which: pair the most frequent with the most frequent.",
        ),
        Bug(
            "mismatch-not-halved",
            _not_halved,
            "the differences are summed without the half",
            "What one class has too much another has too little: the total variation counts it once.",
        ),
        Bug(
            "mismatch-one-side-sorted",
            _one_sorted,
            "only the first domain's frequencies are sorted",
            "Sort both: the best relabeling pairs equal ranks.",
        ),
        Bug(
            "mismatch-opposite-ranks",
            _opposite,
            "the most frequent class is paired with the rarest",
            "That is the worst relabeling: sort both in the same direction.",
        ),
        Bug(
            "mismatch-largest-difference",
            _largest_difference,
            "it is the largest difference of a single class",
            "Total variation adds up over all classes: half the sum of the absolute differences.",
        ),
    ),
)
