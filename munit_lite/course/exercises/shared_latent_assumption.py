"""Exercises of 01_shared_latent_assumption: unpaired batches, p(x2|x1), a rival joint distribution, and the CIS."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from munit_lite.course.exercises.framework import Input, exercise

Batch = tuple[Tensor, Tensor]


def _probabilities(count: int, generator: Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    weights = 0.1 + torch.rand(count, generator=generator, dtype=dtype)
    return weights / weights.sum()


# --------------------------------------------------------------------------------------------------- unpaired batches


def _dataset_cases(generator: Generator) -> Iterator[Input]:
    def uniform(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=dtype)

    ends = torch.tensor([0.001, 0.999, 0.5])
    yield Input("three of each", (uniform(3, 1, 1, 1), uniform(3, 1, 1, 1), ends, ends.flip(0)))
    yield Input("more paintings", (uniform(4, 1, 2, 2), uniform(11, 1, 2, 2), uniform(16), uniform(16)))
    yield Input("more sketches", (uniform(9, 3, 2, 1), uniform(5, 3, 2, 1), uniform(16), uniform(16)))
    datasets = uniform(6, 1, 2, 3, dtype=torch.float64), uniform(8, 1, 2, 3, dtype=torch.float64)
    yield Input("float64", (*datasets, uniform(16, dtype=torch.float64), uniform(16, dtype=torch.float64)))


@exercise(cases=_dataset_cases)
def unpaired_batch(sketches: Tensor, paintings: Tensor, uniform_1: Tensor, uniform_2: Tensor) -> Batch:
    """Sample a batch from each dataset with random numbers of its own."""
    index_1 = [int(number * len(sketches)) for number in uniform_1.tolist()]
    index_2 = [int(number * len(paintings)) for number in uniform_2.tolist()]
    return sketches[index_1], paintings[index_2]


@unpaired_batch.bug(
    "one random number selects from both datasets, so sketch k always comes with painting k",
    fix="Use separate random numbers. If the files are stored in the same order, aligned batches are true pairs.",
    met="eriklindernoren/PyTorch-GAN: the loader yields aligned pairs",
)
def aligned(sketches: Tensor, paintings: Tensor, uniform_1: Tensor, uniform_2: Tensor) -> Batch:
    index = (uniform_1 * len(sketches)).long()
    return sketches[index], paintings[index % len(paintings)]


@unpaired_batch.bug(
    "the longer dataset is cut to the length of the shorter one",
    fix="Multiply by the length of each dataset; otherwise the rest of the longer one is never seen.",
)
def shorter_length(sketches: Tensor, paintings: Tensor, uniform_1: Tensor, uniform_2: Tensor) -> Batch:
    count = min(len(sketches), len(paintings))
    return sketches[(uniform_1 * count).long()], paintings[(uniform_2 * count).long()]


@unpaired_batch.bug(
    "the last image of each dataset is never sampled",
    fix="Multiply by the length, not by the length minus one: the random number is below 1.",
)
def never_the_last(sketches: Tensor, paintings: Tensor, uniform_1: Tensor, uniform_2: Tensor) -> Batch:
    index_1, index_2 = ((u * (len(d) - 1)).long() for u, d in ((uniform_1, sketches), (uniform_2, paintings)))
    return sketches[index_1], paintings[index_2]


@unpaired_batch.bug(
    "every batch holds the first images of each dataset",
    fix="Use the random numbers: `(uniform * length).long()` is an index.",
)
def first_images(sketches: Tensor, paintings: Tensor, uniform_1: Tensor, uniform_2: Tensor) -> Batch:
    return sketches[: len(uniform_1)], paintings[: len(uniform_2)]


# ------------------------------------------------------------------------------------------------------------ p(x2|x1)


def _world_cases(generator: Generator) -> Iterator[Input]:
    def p(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return _probabilities(count, generator, dtype)

    def numbered(contents: int, styles: int) -> Tensor:
        return torch.arange(contents * styles).view(contents, styles)

    one_sketch = torch.tensor([[0, 1], [1, 2]])  # content 0 in style 1 looks like content 1 in style 0
    one_painting = torch.tensor([[0, 1, 1], [2, 2, 3]])  # some styles make no difference
    yield Input("one content", (p(1), p(1), p(3), numbered(1, 1), numbered(1, 3)))
    yield Input("two contents", (p(2), p(3), p(2), numbered(2, 3), numbered(2, 2)))
    yield Input("two contents, one sketch", (p(2), p(2), p(3), one_sketch, numbered(2, 3)))
    yield Input("two styles, one painting", (p(2), p(2), p(3), numbered(2, 2), one_painting))
    priors = (p(4, torch.float64), p(3, torch.float64), p(3, torch.float64))
    yield Input("float64", (*priors, numbered(4, 3) % 7, numbered(4, 3)))


def _joint(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    """Compute p(x1, x2), (sketches, paintings), by counting."""
    joint = p_content.new_zeros(int(sketch_of.max()) + 1, int(painting_of.max()) + 1)
    for c, a, b in itertools.product(range(len(p_content)), range(len(q_1)), range(len(q_2))):
        joint[sketch_of[c, a], painting_of[c, b]] += p_content[c] * q_1[a] * q_2[b]
    return joint


@exercise(cases=_world_cases)
def conditional_paintings(
    p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor
) -> Tensor:
    """Compute p(x2 | x1), (sketches, paintings)."""
    joint = _joint(p_content, q_1, q_2, sketch_of, painting_of)
    return torch.stack([row / row.sum() for row in joint])


@conditional_paintings.bug(
    "it is p(x₁|x₂): each column sums to 1",
    fix="The paintings of one sketch have total probability 1: divide each *row* of p(x₁, x₂) by its sum.",
)
def given_painting(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    joint = _joint(p_content, q_1, q_2, sketch_of, painting_of)
    return joint / joint.sum(0)


@conditional_paintings.bug(
    "every sketch gets the paintings of the whole domain: it is p(x₂)",
    fix="That is what an unpaired discriminator compares with. Given the sketch, only paintings of its content remain.",
)
def whole_domain(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    joint = _joint(p_content, q_1, q_2, sketch_of, painting_of)
    return joint.sum(0).expand(joint.shape).contiguous()


@conditional_paintings.bug(
    "the style of the painting is taken from the sketch, which leaves one painting per sketch",
    fix="s₂ is sampled from its prior, whatever s₁ was: every style of the painting is possible.",
    met="a summary of the paper, which says that c, s₁ and s₂ come from x₁ or x₂",
)
def style_of_the_sketch(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    joint = p_content.new_zeros(int(sketch_of.max()) + 1, int(painting_of.max()) + 1)
    for c, a in itertools.product(range(len(p_content)), range(len(q_1))):
        joint[sketch_of[c, a], painting_of[c, a % len(q_2)]] += p_content[c] * q_1[a]
    return joint / joint.sum(1, keepdim=True)


@conditional_paintings.bug(
    "a sketch that shows two contents is assigned to the more probable one alone",
    fix="The paintings of both contents are possible: sum over the contents.",
)
def likeliest_content(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    shows = p_content.new_zeros(int(sketch_of.max()) + 1, len(p_content))  # p(x1, c)
    for c, a in itertools.product(range(len(p_content)), range(len(q_1))):
        shows[sketch_of[c, a], c] += p_content[c] * q_1[a]
    rows = p_content.new_zeros(len(shows), int(painting_of.max()) + 1)
    for sketch, c in enumerate(shows.argmax(1).tolist()):
        rows[sketch].index_add_(0, painting_of[c], q_2)
    return rows


@conditional_paintings.bug(
    "where two combinations of codes give the same pair, only the last one counts",
    fix="Add the probabilities: `+=`, not `=`.",
)
def overwritten(p_content: Tensor, q_1: Tensor, q_2: Tensor, sketch_of: Tensor, painting_of: Tensor) -> Tensor:
    joint = p_content.new_zeros(int(sketch_of.max()) + 1, int(painting_of.max()) + 1)
    for c, a, b in itertools.product(range(len(p_content)), range(len(q_1)), range(len(q_2))):
        joint[sketch_of[c, a], painting_of[c, b]] = p_content[c] * q_1[a] * q_2[b]
    return joint / joint.sum(1, keepdim=True)


# ------------------------------------------------------------------------------------------------------- a rival world


def _prior_cases(generator: Generator) -> Iterator[Input]:
    def p(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return _probabilities(count, generator, dtype)

    yield Input("one shape", (p(1), p(2)))
    yield Input("one style", (p(3), p(1)))
    yield Input("two shapes, two styles", (torch.tensor([0.6, 0.4]), torch.tensor([0.5, 0.5])))
    yield Input("two shapes, three styles", (p(2), p(3)))
    yield Input("float64", (p(4, torch.float64), p(3, torch.float64)))


@exercise(cases=_prior_cases)
def rival_joint(p_shape: Tensor, q_style: Tensor) -> Tensor:
    """Share the style and sample each domain's shape: p(x1, x2), both images numbered shape by shape."""
    count = len(q_style)
    joint = p_shape.new_zeros(len(p_shape) * count, len(p_shape) * count)
    for i, j, k in itertools.product(range(len(p_shape)), range(len(p_shape)), range(count)):
        joint[i * count + k, j * count + k] = p_shape[i] * p_shape[j] * q_style[k]
    return joint


@rival_joint.bug(
    "it is world A: the shape is still shared, and the styles are independent",
    fix="Exchange the roles: style k occurs in both images of a pair, and each image has a shape of its own.",
)
def world_a(p_shape: Tensor, q_style: Tensor) -> Tensor:
    return torch.block_diag(*(p * torch.outer(q_style, q_style) for p in p_shape))


@rival_joint.bug(
    "it is world B: shape and style are both shared, so each sketch has one painting",
    fix="Share the style alone: the shape of the painting is sampled independently of the shape of the sketch.",
)
def world_b(p_shape: Tensor, q_style: Tensor) -> Tensor:
    return torch.outer(p_shape, q_style).flatten().diag()


@rival_joint.bug(
    "sketch and painting are independent, so nothing is shared",
    fix="The joint is zero wherever the two images differ in style.",
)
def independent(p_shape: Tensor, q_style: Tensor) -> Tensor:
    images = torch.outer(p_shape, q_style).flatten()
    return torch.outer(images, images)


@rival_joint.bug(
    "the probability of the shared style is counted twice, so the table does not sum to 1",
    fix="The style is sampled once per pair: multiply by q(k) once.",
)
def style_sampled_twice(p_shape: Tensor, q_style: Tensor) -> Tensor:
    shapes = torch.outer(p_shape, p_shape)
    return torch.kron(shapes, torch.diag(q_style.square()))


@rival_joint.bug(
    "the images are numbered style by style",
    fix="Image i·K + k shows shape i in style k: the shape is the slow index.",
)
def style_major(p_shape: Tensor, q_style: Tensor) -> Tensor:
    return torch.block_diag(*(q * torch.outer(p_shape, p_shape) for q in q_style))


# ------------------------------------------------------------------------------------------------------------------ CIS


def _prediction_cases(generator: Generator) -> Iterator[Input]:
    def soft(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.softmax(2 * torch.randn(shape, generator=generator, dtype=dtype), dim=-1)

    certain = torch.nn.functional.one_hot(torch.randint(4, (3, 6), generator=generator), 4).float()
    yield Input("one input", (soft(1, 2, 2),))
    yield Input("one output per input", (soft(3, 1, 2),))
    yield Input("a classifier that is always certain", (certain,))
    yield Input("float64", (soft(4, 7, 3, dtype=torch.float64),))


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(-1)


@exercise(cases=_prediction_cases)
def conditional_inception_score(probabilities: Tensor) -> Tensor:
    """Subtract the mean entropy from the entropy of the mean, input by input: the same as the mean divergence."""
    return (_entropy(probabilities.mean(1)) - _entropy(probabilities).mean(1)).mean()


@conditional_inception_score.bug(
    "it is exp(CIS): a translator with one output per input scores 1",
    fix="The paper's formula has no exponential: one output per input scores 0, K equally frequent modes score log K.",
    met="NVlabs/MUNIT, test_batch: CIS printed as exp(mean KL)",
)
def exponential(probabilities: Tensor) -> Tensor:
    return (_entropy(probabilities.mean(1)) - _entropy(probabilities).mean(1)).mean().exp()


@conditional_inception_score.bug(
    "the outputs are compared with the mean over all inputs: it is IS",
    fix="Compare with the mean over the outputs of the *same* input; otherwise differences between inputs count.",
)
def mean_over_all_inputs(probabilities: Tensor) -> Tensor:
    return _entropy(probabilities.mean((0, 1))) - _entropy(probabilities).mean()


@conditional_inception_score.bug(
    "the arguments of the divergence are exchanged",
    fix="KL(p‖m) = Σ p log(p/m): p is the prediction for one output, m the mean prediction.",
)
def reversed_divergence(probabilities: Tensor) -> Tensor:
    expected = probabilities.mean(1, keepdim=True).expand_as(probabilities)
    return (torch.xlogy(expected, expected) - torch.xlogy(expected, probabilities)).sum(2).mean()


@conditional_inception_score.bug(
    "a class of probability 0 gives 0 · log 0, which is NaN",
    fix="0 log 0 counts as 0: `torch.xlogy(p, p) - torch.xlogy(p, m)`.",
)
def nan_at_zero(probabilities: Tensor) -> Tensor:
    expected = probabilities.mean(1, keepdim=True)
    return (probabilities * (probabilities / expected).log()).sum(2).mean()
