"""Exercises of 12_joint_matching: two samples of pairs, their distance, what a check sees, what a network can do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor, nn

from munit_lite.course.exercises.framework import Bug, Exercise, Input

Pairs = tuple[Tensor, Tensor]


class LinearModel(nn.Module):
    """A model of flat images, with the methods of `munit_lite.model.MUNIT`; not an optimum."""

    content: Tensor
    style: Tensor
    from_content: Tensor
    from_style: Tensor

    def __init__(self, image_width: int, content_width: int, style_width: int, generator: Generator) -> None:
        super().__init__()
        shapes = {
            "content": (content_width, image_width),
            "style": (style_width, image_width),
            "from_content": (image_width, content_width),
            "from_style": (image_width, style_width),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.randn(2, *shape, generator=generator))

    def encode_content(self, images: Tensor, domain: int) -> Tensor:
        return images @ self.content[domain - 1].T

    def encode_style(self, images: Tensor, domain: int) -> Tensor:
        return images @ self.style[domain - 1].T

    def decode(self, content: Tensor, style: Tensor, domain: int) -> Tensor:
        return content @ self.from_content[domain - 1].T + style @ self.from_style[domain - 1].T


# ------------------------------------------------------------------------------------------------ the two samples


def _translated(model: LinearModel, image: Tensor, style: Tensor, source: int, target: int) -> Tensor:
    content = image @ model.content[source - 1].T
    return content @ model.from_content[target - 1].T + style @ model.from_style[target - 1].T


def _pairs(model: LinearModel, image_1: Tensor, image_2: Tensor, style_1: Tensor, style_2: Tensor) -> Pairs:
    forth = torch.cat([image_1, _translated(model, image_1, style_2, 1, 2)], 1)
    back = torch.cat([_translated(model, image_2, style_1, 2, 1), image_2], 1)
    return forth, back


def _in_order_of_making(model: LinearModel, image_1: Tensor, image_2: Tensor, style_1: Tensor, style_2: Tensor):
    forth, _ = _pairs(model, image_1, image_2, style_1, style_2)
    return forth, torch.cat([image_2, _translated(model, image_2, style_1, 2, 1)], 1)


def _own_styles(model: LinearModel, image_1: Tensor, image_2: Tensor, style_1: Tensor, style_2: Tensor):
    own_1, own_2 = model.encode_style(image_1, 1), model.encode_style(image_2, 2)
    return _pairs(model, image_1, image_2, own_2, own_1)


def _translated_back(model: LinearModel, image_1: Tensor, image_2: Tensor, style_1: Tensor, style_2: Tensor):
    made = _translated(model, image_1, style_2, 1, 2)
    return torch.cat([image_1, made], 1), torch.cat([_translated(model, made, style_1, 2, 1), made], 1)


def _made_images_alone(model: LinearModel, image_1: Tensor, image_2: Tensor, style_1: Tensor, style_2: Tensor):
    return _translated(model, image_1, style_2, 1, 2), _translated(model, image_2, style_1, 2, 1)


def _against_real_images(model: LinearModel, image_1: Tensor, image_2: Tensor, style_1: Tensor, style_2: Tensor):
    forth, _ = _pairs(model, image_1, image_2, style_1, style_2)
    return forth, torch.cat([image_1, image_2], 1)


def _own_decoders(model: LinearModel, image_1: Tensor, image_2: Tensor, style_1: Tensor, style_2: Tensor):
    made_1, made_2 = _translated(model, image_1, style_2, 1, 1), _translated(model, image_2, style_1, 2, 2)
    return torch.cat([image_1, made_1], 1), torch.cat([made_2, image_2], 1)


def _target_encodes(model: LinearModel, image_1: Tensor, image_2: Tensor, style_1: Tensor, style_2: Tensor):
    made_2 = model.decode(model.encode_content(image_1, 2), style_2, 2)
    made_1 = model.decode(model.encode_content(image_2, 1), style_1, 1)
    return torch.cat([image_1, made_2], 1), torch.cat([made_1, image_2], 1)


def _model_cases(generator: Generator) -> Iterator[Input]:
    def case(label: str, counts: tuple[int, int], widths: tuple[int, int, int], dtype: torch.dtype) -> Input:
        model = LinearModel(*widths, generator).to(dtype)
        images = [torch.randn(count, widths[0], generator=generator).to(dtype) for count in counts]
        styles = [torch.randn(count, widths[2], generator=generator).to(dtype) for count in reversed(counts)]
        return Input(label, (model, *images, *styles))

    yield case("one sketch, one painting", (1, 1), (2, 1, 1), torch.float32)
    yield case("more paintings than sketches", (2, 5), (3, 2, 1), torch.float32)
    yield case("wide images", (4, 4), (6, 3, 2), torch.float32)
    yield case("float64", (3, 2), (4, 2, 2), torch.float64)


two_samples_of_pairs = Exercise(
    "two_samples_of_pairs",
    _pairs,
    _model_cases,
    (
        Bug(
            "pairs-in-order-of-making",
            _in_order_of_making,
            "the second sample has the painting first",
            "A pair is (sketch, painting) in both samples, whichever of the two was made.",
        ),
        Bug(
            "pairs-own-style-decoded",
            _own_styles,
            "the image's own style is decoded, and the drawn one is not used",
            "A translation takes a fresh style of the other domain: `decode(content, style_2, 2)`.",
        ),
        Bug(
            "pairs-translated-back",
            _translated_back,
            "the second sample is made from the translations of the first",
            "Its paintings must be real ones, and independent of the sketches: start from `image_2`.",
        ),
        Bug(
            "pairs-made-images-alone",
            _made_images_alone,
            "only the translations are there, not what they were made from",
            "The claim is about pairs: each row holds an image and its translation side by side.",
        ),
        Bug(
            "pairs-against-real-images",
            _against_real_images,
            "the second sample sets real sketches beside real paintings",
            "These have nothing to do with each other: beside a painting belongs its own translation.",
        ),
        Bug(
            "pairs-own-decoder",
            _own_decoders,
            "each image is decoded in its own domain",
            "A translation of a sketch is a painting: decode it in domain 2.",
        ),
        Bug(
            "pairs-target-encodes",
            _target_encodes,
            "the content is read by the encoder of the other domain",
            "A sketch is read by the sketches' encoder, `encode_content(image_1, 1)`.",
        ),
    ),
)

# ------------------------------------------------------------------------------------------- the distance of pairs


def _kernel(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    """(m, R, D) and (n, R, D) -> (m, n, R, R)."""
    squares = (a[:, None, :, None] - b[None, :, None]).square().sum(4)
    return torch.exp(-squares / (2 * bandwidth**2))


def _distance(between: Callable[[int, int], Tensor]) -> Tensor:
    """From the kernel of units, for groups 0 and 1; no unit is compared with itself."""
    within = []
    for group in (0, 1):
        own = between(group, group)
        first, second = torch.triu_indices(len(own), len(own), offset=1)
        within.append(own[first, second].mean())
    return within[0] + within[1] - 2 * between(0, 1).mean()


def _joint_mmd2(first_a: Tensor, second_a: Tensor, first_b: Tensor, second_b: Tensor, bandwidth: float) -> Tensor:
    pairs = torch.cat([first_a, second_a], 2), torch.cat([first_b, second_b], 2)
    return _distance(lambda i, j: _kernel(pairs[i], pairs[j], bandwidth).mean((2, 3)))


def _marginals_alone(first_a: Tensor, second_a: Tensor, first_b: Tensor, second_b: Tensor, bandwidth: float) -> Tensor:
    nothing = first_a.new_zeros(*first_a.shape[:2], 1), first_b.new_zeros(*first_b.shape[:2], 1)
    first = _joint_mmd2(first_a, nothing[0], first_b, nothing[1], bandwidth)
    return first + _joint_mmd2(nothing[0], second_a, nothing[1], second_b, bandwidth)


def _halves_averaged(first_a: Tensor, second_a: Tensor, first_b: Tensor, second_b: Tensor, bandwidth: float) -> Tensor:
    first, second = (first_a, first_b), (second_a, second_b)

    def part(i: int, j: int) -> Tensor:
        kernels = [_kernel(half[i], half[j], bandwidth).mean((2, 3)) for half in (first, second)]
        other = (
            ~torch.eye(len(kernels[0]), dtype=torch.bool) if i == j else torch.ones_like(kernels[0], dtype=torch.bool)
        )
        return kernels[0][other].mean() * kernels[1][other].mean()

    return part(0, 0) + part(1, 1) - 2 * part(0, 1)


def _rows_as_units(first_a: Tensor, second_a: Tensor, first_b: Tensor, second_b: Tensor, bandwidth: float) -> Tensor:
    a, b, c, d = (block.flatten(0, 1)[:, None] for block in (first_a, second_a, first_b, second_b))
    return _joint_mmd2(a, b, c, d, bandwidth)


def _outputs_averaged(first_a: Tensor, second_a: Tensor, first_b: Tensor, second_b: Tensor, bandwidth: float) -> Tensor:
    a, b, c, d = (block.mean(1, keepdim=True) for block in (first_a, second_a, first_b, second_b))
    return _joint_mmd2(a, b, c, d, bandwidth)


def _first_output(first_a: Tensor, second_a: Tensor, first_b: Tensor, second_b: Tensor, bandwidth: float) -> Tensor:
    return _joint_mmd2(first_a[:, :1], second_a[:, :1], first_b[:, :1], second_b[:, :1], bandwidth)


def _own_unit(first_a: Tensor, second_a: Tensor, first_b: Tensor, second_b: Tensor, bandwidth: float) -> Tensor:
    a, b = torch.cat([first_a, second_a], 2), torch.cat([first_b, second_b], 2)
    return _kernel(a, a, bandwidth).mean() + _kernel(b, b, bandwidth).mean() - 2 * _kernel(a, b, bandwidth).mean()


def _pair_cases(generator: Generator) -> Iterator[Input]:
    def case(label: str, counts: tuple[int, int], each: int, widths: tuple[int, int], dtype=torch.float32) -> Input:
        blocks = []
        for count, own in zip(counts, (0, 1), strict=True):  # the half that is given has one row, repeated
            halves = [torch.randn(count, each, width, generator=generator, dtype=dtype) for width in widths]
            halves[own] = halves[own][:, :1].expand(-1, each, -1)
            halves[1 - own] = halves[1 - own] + halves[own].mean(2, keepdim=True)
            blocks += halves
        return Input(label, (*blocks, 1.3))

    yield case("two pairs a group", (2, 2), 1, (1, 1))
    yield case("two outputs of each image", (3, 3), 2, (1, 2))
    yield case("unequal groups", (5, 3), 3, (2, 1))
    yield case("four outputs", (4, 6), 4, (2, 2))
    yield case("float64", (6, 5), 3, (3, 2), torch.float64)


joint_mmd2 = Exercise(
    "joint_mmd2",
    _joint_mmd2,
    _pair_cases,
    (
        Bug(
            "joint-marginals-alone",
            _marginals_alone,
            "the two halves are compared each for itself, so that only marginals count",
            "How the halves go together is the claim: one kernel for the whole pair, the product of both.",
        ),
        Bug(
            "joint-halves-averaged-first",
            _halves_averaged,
            "the kernels of the halves are averaged before they are multiplied, as if the pairs had been torn apart",
            "Multiply them pair by pair, then average.",
        ),
        Bug(
            "joint-rows-as-units",
            _rows_as_units,
            "outputs of one image count as independent pairs",
            "Average over different *units*: two rows of one image are never compared within their group.",
        ),
        Bug(
            "joint-outputs-averaged",
            _outputs_averaged,
            "the outputs of an image are averaged into one before the comparison",
            "The mean of many outputs is none of them: average the kernel, not the rows.",
        ),
        Bug(
            "joint-first-output-only",
            _first_output,
            "only the first output of each image is looked at",
            "Take all R rows of a unit: the mean of R times R kernel values.",
        ),
        Bug(
            "joint-own-unit-counted",
            _own_unit,
            "every unit is compared with itself too, which makes the estimate too large",
            "Leave the diagonal out: average over pairs of different units.",
        ),
    ),
)

# ------------------------------------------------------------------------------------- seen by the check, and wrong


def _tables(frequencies: Tensor, shown: Tensor, read: Tensor) -> Pairs:
    """(N, K, K) each: the probabilities of (sketch, painting), made from sketches and made from paintings."""
    count, contents = shown.shape
    empty, mass = frequencies.new_zeros(count, contents, contents), frequencies.expand(count, -1)
    forth = empty.scatter(2, shown[..., None], mass[..., None])
    back = empty.scatter(1, read[:, None], mass[:, None])
    return forth, back


def _verdicts(seen: Tensor, shown: Tensor, read: Tensor) -> Tensor:
    right = torch.arange(shown.shape[1])
    return torch.stack([seen, ((shown != right) | (read != right)).any(1)], 1)


def _differ(forth: Tensor, back: Tensor) -> Tensor:
    return ((forth - back).abs() > 1e-6).flatten(1).any(1)


def _seen_and_wrong(frequencies: Tensor, shown: Tensor, read: Tensor) -> Tensor:
    return _verdicts(_differ(*_tables(frequencies, shown, read)), shown, read)


def _seen_in_marginals(frequencies: Tensor, shown: Tensor, read: Tensor) -> Tensor:
    forth, back = _tables(frequencies, shown, read)
    seen = _differ(forth.sum(1), back.sum(1)) | _differ(forth.sum(2), back.sum(2))
    return _verdicts(seen, shown, read)


def _seen_if_no_cycle(frequencies: Tensor, shown: Tensor, read: Tensor) -> Tensor:
    return _verdicts((read.gather(1, shown) != torch.arange(shown.shape[1])).any(1), shown, read)


def _seen_if_wrong(frequencies: Tensor, shown: Tensor, read: Tensor) -> Tensor:
    wrong = _seen_and_wrong(frequencies, shown, read)[:, 1]
    return torch.stack([wrong, wrong], 1)


def _seen_with_the_painting_first(frequencies: Tensor, shown: Tensor, read: Tensor) -> Tensor:
    forth, back = _tables(frequencies, shown, read)
    return _verdicts(_differ(forth, back.mT), shown, read)


def _wrong_forth_only(frequencies: Tensor, shown: Tensor, read: Tensor) -> Tensor:
    seen = _seen_and_wrong(frequencies, shown, read)[:, 0]
    return torch.stack([seen, (shown != torch.arange(shown.shape[1])).any(1)], 1)


def _wrong_for_all_contents(frequencies: Tensor, shown: Tensor, read: Tensor) -> Tensor:
    right = torch.arange(shown.shape[1])
    seen = _seen_and_wrong(frequencies, shown, read)[:, 0]
    return torch.stack([seen, ((shown != right) | (read != right)).all(1)], 1)


def _wrong_if_no_cycle(frequencies: Tensor, shown: Tensor, read: Tensor) -> Tensor:
    seen, broken = (f(frequencies, shown, read)[:, 0] for f in (_seen_and_wrong, _seen_if_no_cycle))
    return torch.stack([seen, broken], 1)


def _world_cases(generator: Generator) -> Iterator[Input]:
    def case(label: str, frequencies: list[float], *models: tuple[list[int], list[int]], dtype=torch.float32) -> Input:
        shown, read = (torch.tensor([model[k] for model in models]) for k in (0, 1))
        return Input(label, (torch.tensor(frequencies, dtype=dtype), shown, read))

    right, swap, fold = [0, 1], [1, 0], [0, 0]
    yield case("two contents, equally frequent", [0.5, 0.5], (right, right), (swap, right), (right, swap), (swap, swap))
    yield case("two contents, one more frequent", [0.75, 0.25], (right, right), (swap, swap), (swap, right))
    yield case("two contents, one painting", [0.5, 0.5], (fold, right), (fold, fold))
    yield case(
        "three contents", [0.5, 0.25, 0.25], ([0, 2, 1], [0, 2, 1]), ([1, 2, 0], [2, 0, 1]), ([0, 2, 1], [0, 1, 2])
    )
    shift, back, mixed = [1, 2, 3, 0], [3, 0, 1, 2], torch.randperm(4, generator=generator).tolist()
    models = ((shift, back), (shift, shift), ([2, 3, 0, 1], [2, 3, 0, 1]), (mixed, mixed))
    yield case("four contents, float64", [0.25] * 4, *models, dtype=torch.float64)


seen_and_wrong = Exercise(
    "seen_and_wrong",
    _seen_and_wrong,
    _world_cases,
    (
        Bug(
            "seen-by-marginals-alone",
            _seen_in_marginals,
            "it compares how often each sketch and each painting comes, and not which come together",
            "Compare the two tables of (sketch, painting) entry by entry.",
        ),
        Bug(
            "seen-if-the-cycle-breaks",
            _seen_if_no_cycle,
            "it counts a model as seen if there and back does not end where it began",
            "That is proposition 4. A closed cycle with other frequencies is seen, too: compare the tables.",
        ),
        Bug(
            "seen-if-wrong",
            _seen_if_wrong,
            "whatever is wrong counts as seen",
            "That is the hope. Two tables may agree and both be wrong.",
        ),
        Bug(
            "seen-with-the-painting-first",
            _seen_with_the_painting_first,
            "the second table has the painting first",
            "A painting j is translated into the sketch `read[j]`: its probability belongs in row `read[j]`, column j.",
        ),
        Bug(
            "wrong-one-way-only",
            _wrong_forth_only,
            "it looks only at the translations of sketches",
            "The translations of paintings can be wrong, too: look at `read` as well.",
        ),
        Bug(
            "wrong-for-all-contents-only",
            _wrong_for_all_contents,
            "a model counts as wrong only if it changes every content",
            "One content that changes is enough.",
        ),
        Bug(
            "wrong-if-the-cycle-breaks",
            _wrong_if_no_cycle,
            "a model counts as wrong only if there and back does not end where it began",
            "A change that is taken back on the way back is still a wrong translation.",
        ),
    ),
)

# ------------------------------------------------------------------------------------------ what a network can do


def _traps(frequencies: Tensor, reach: Tensor) -> int:
    places = torch.arange(len(frequencies))
    orders = torch.tensor(list(itertools.permutations(range(len(frequencies)))))  # (N, K)
    unseen = (frequencies[orders] == frequencies).all(1)
    can = reach[places, orders].all(1)
    return int((unseen & can & (orders != places).any(1)).sum())


def _identity_counted(frequencies: Tensor, reach: Tensor) -> int:
    return _traps(frequencies, reach) + int(reach.diagonal().all())


def _any_network(frequencies: Tensor, reach: Tensor) -> int:
    return _traps(frequencies, torch.ones_like(reach))


def _any_frequencies(frequencies: Tensor, reach: Tensor) -> int:
    return _traps(torch.ones_like(frequencies), reach)


def _exchanges_only(frequencies: Tensor, reach: Tensor) -> int:
    both = (frequencies[:, None] == frequencies) & reach & reach.T
    return int(both.triu(1).sum())


def _every_place_moves(frequencies: Tensor, reach: Tensor) -> int:
    return _traps(frequencies, reach & ~torch.eye(len(reach), dtype=torch.bool))


def _one_step_reached(frequencies: Tensor, reach: Tensor) -> int:
    places = torch.arange(len(frequencies))
    orders = torch.tensor(list(itertools.permutations(range(len(frequencies)))))
    can = (reach[places, orders] & (orders != places)).any(1)
    return int(((frequencies[orders] == frequencies).all(1) & can).sum())


def _reach_cases(generator: Generator) -> Iterator[Input]:
    def case(label: str, frequencies: list[float], reach: Tensor, dtype: torch.dtype = torch.float32) -> Input:
        return Input(label, (torch.tensor(frequencies, dtype=dtype), reach))

    def steps(count: int, most: int) -> Tensor:
        place = torch.arange(count)
        return (place[:, None] - place).abs() <= most

    yield case("one place", [1.0], steps(1, 0))
    yield case("two places", [0.5, 0.5], steps(2, 1))
    yield case("all equally frequent, everything within reach", [0.25] * 4, steps(4, 3))
    yield case("all equally frequent, neighbors within reach", [0.25] * 4, steps(4, 1))
    yield case("a mirror within reach", [0.125, 0.375, 0.375, 0.125], steps(4, 3))
    yield case("a mirror out of reach", [0.125, 0.375, 0.375, 0.125], steps(4, 2))
    to_the_right = torch.arange(3)[:, None] <= torch.arange(3)
    to_the_right[2, 0] = True
    yield case("three places, not every way back", [0.25] * 3, to_the_right)
    cannot_stay = steps(3, 2)
    cannot_stay[0, 0] = False
    yield case("three places, one cannot stay", [0.25] * 3, cannot_stay)
    some = torch.rand(5, 5, generator=generator) < 0.6
    some.fill_diagonal_(True)
    yield case("float64", [0.125, 0.125, 0.25, 0.25, 0.25], some, torch.float64)


traps = Exercise(
    "traps",
    _traps,
    _reach_cases,
    (
        Bug(
            "traps-identity-counted",
            _identity_counted,
            "the order that leaves everything in its place counts as well",
            "That one is right: count the others.",
        ),
        Bug(
            "traps-any-network",
            _any_network,
            "it counts orders that the network cannot make",
            "Every place must be able to go where the order sends it: `reach[k, order[k]]` for all k.",
        ),
        Bug(
            "traps-any-frequencies",
            _any_frequencies,
            "it counts orders that a test would see",
            "An order is unseen only if every place goes to one that is as frequent.",
        ),
        Bug(
            "traps-exchanges-only",
            _exchanges_only,
            "it counts exchanges of two places only",
            "Longer moves, such as a shift of all places, are orders too: go through all permutations.",
        ),
        Bug(
            "traps-every-place-moves",
            _every_place_moves,
            "it counts only orders that move every place",
            "An order that moves some places is wrong already.",
        ),
        Bug(
            "traps-one-step-reached",
            _one_step_reached,
            "an order counts if one of its moves is within reach",
            "All of its moves must be: a single place that cannot go there is enough to rule it out.",
        ),
    ),
)
