"""Numbers that say how good a translator is, each measured against the known world's truth."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from munit_lite.datasets import FashionData, edge_drawing, open_data
from munit_lite.model import MUNIT
from munit_lite.study.judges import Judge, Reading, load_judge
from munit_lite.world import DOMAIN_NAMES, STYLE_FACTORS, World

Numbers = dict[str, float]


class Translator(Protocol):
    """What the metrics need of a model: MUNIT, a baseline, or the oracle."""

    def translate(self, images: Tensor, source: int, target: int, style: Tensor | None = None) -> Tensor: ...

    def sample_style(self, count: int, generator: torch.Generator | None = None) -> Tensor: ...


def ks_to_uniform(quantiles: Tensor) -> Tensor:
    """Kolmogorov-Smirnov distance of each row's sample to the uniform distribution on (0, 1).

    Args:
        quantiles: (N, K), K values a row.

    Returns:
        (N,) distances in [0, 1]; about 0.87 / sqrt(K) for truly uniform rows.
    """
    ordered = quantiles.sort(dim=1).values.double()
    count = ordered.shape[1]
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    clamped = ordered.clamp(0, 1)
    return torch.maximum((steps[1:] - clamped).amax(1), (clamped - steps[:-1]).amax(1))


def mean_with_interval(values: Tensor) -> tuple[float, float]:
    """Mean and half the width of its 95 % normal interval, over independent units."""
    values = values.double()
    return values.mean().item(), (1.96 * values.std() / len(values) ** 0.5).item()


@torch.no_grad()
def content_metrics(
    model: Translator, judge: Judge, world: World, source: int, count: int, seed: int, size: int
) -> Numbers:
    """How well translations into the judge's domain keep the content, one drawn style an input.

    Args:
        model: translates from `source` into `judge.domain`.
        judge: reads the target domain.
        world: draws fresh contents (stream "test").
        source: 1 or 2, the domain of the inputs.
        count: number of contents.
        seed: of the contents and of the drawn styles.
        size: of the images in pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    hits, position, sizes, turns, control = [], [], [], [], []
    for index in torch.arange(count).split(250):
        pairs = world.pairs(index, seed, size)
        images = pairs.image_1 if source == 1 else pairs.image_2
        styles = model.sample_style(len(index), generator)
        reading: Reading = judge(model.translate(images, source, judge.domain, style=styles))
        truth = pairs.content
        hits.append(reading.shape_class == truth.shape_class)
        control.append(reading.shape_class == truth.shape_class.roll(1))
        position.append((reading.position - truth.position).norm(dim=1))
        sizes.append((reading.size - truth.size).abs())
        turns.append((reading.turn - truth.turn).abs()[truth.angle != 0])
    accuracy, accuracy_interval = mean_with_interval(torch.cat(hits))
    distance, distance_interval = mean_with_interval(torch.cat(position))
    return {
        "class_accuracy": accuracy,
        "class_accuracy_interval": accuracy_interval,
        "class_accuracy_shuffled_contents": torch.cat(control).double().mean().item(),
        "position_error": distance,
        "position_error_interval": distance_interval,
        "size_error": torch.cat(sizes).mean().item(),
        "turn_error_periods": torch.cat(turns).mean().item(),
        "contents": count,
    }


@torch.no_grad()
def style_metrics(
    model: Translator,
    judge: Judge,
    world: World,
    source: int,
    count: int,
    seed: int,
    size: int,
    styles_each: int = 64,
) -> Numbers:
    """How well the translations of *one* input cover the styles of the judge's domain.

    For each factor: the KS distance of the judged values to the factor's true (uniform) distribution, and the
    judged spread (standard deviation) as a share of the true one; both averaged over inputs.

    Args:
        count: number of inputs.
        styles_each: styles drawn from the prior for each input.
        (the others as in `content_metrics`)
    """
    generator = torch.Generator().manual_seed(seed + 1)
    factors = STYLE_FACTORS[judge.domain]
    low, span = torch.tensor([f.low for f in factors]), torch.tensor([f.span for f in factors])
    quantiles = []
    for index in torch.arange(count).split(max(1, 256 // styles_each)):
        pairs = world.pairs(index, seed, size)
        images = pairs.image_1 if source == 1 else pairs.image_2
        styles = model.sample_style(len(index) * styles_each, generator)
        made = model.translate(images.repeat_interleave(styles_each, 0), source, judge.domain, style=styles)
        quantiles.append(((judge(made).style - low) / span).view(len(index), styles_each, -1))
    values = torch.cat(quantiles)  # (inputs, styles, factor)
    numbers: Numbers = {}
    for k, factor in enumerate(factors):
        ks, interval = mean_with_interval(ks_to_uniform(values[:, :, k]))
        numbers[f"{factor.name}_ks"] = ks
        numbers[f"{factor.name}_ks_interval"] = interval
        numbers[f"{factor.name}_spread_of_true"] = (values[:, :, k].std(dim=1).mean() * 12**0.5).item()
    return numbers | {"inputs": count, "styles_each": styles_each}


# ---------------------------------------------------------------------------------------------- edges and photos


def edge_agreement(images: Tensor, drawings: Tensor, tolerance: int = 1) -> Tensor:
    """F1 of two edge maps, an edge counting as found if the other map has one within `tolerance` pixels.

    Args:
        images: (B, 3, H, W) in [-1, 1]; their edges are drawn by the same filter as the data's.
        drawings: (B, 3, H, W) in [-1, 1], black edges on white.

    Returns:
        (B,) in [0, 1]; 1 if all edges agree.
    """
    as_bytes = ((images + 1) * 127.5).round().clamp(0, 255).byte().cpu()
    found = (edge_drawing(as_bytes)[:, :1] == 0).float()
    wanted = (drawings[:, :1].cpu() < 0).float()

    def near(edges: Tensor) -> Tensor:
        return torch.nn.functional.max_pool2d(edges, 2 * tolerance + 1, stride=1, padding=tolerance)

    precision = (found * near(wanted)).sum((1, 2, 3)) / found.sum((1, 2, 3)).clamp_min(1)
    recall = (wanted * near(found)).sum((1, 2, 3)) / wanted.sum((1, 2, 3)).clamp_min(1)
    return 2 * precision * recall / (precision + recall).clamp_min(1e-9)


@torch.no_grad()
def photo_metrics(model: Translator, data: FashionData, count: int, seed: int, styles_each: int = 10) -> Numbers:
    """Edges -> photos on held-out true pairs.

    Args:
        model: translates drawings (1) into photos (2).
        data: its held-out items, spread over the classes.
        count: number of drawings.
        seed: of the drawn styles.
        styles_each: k of best-of-k.

    Returns:
        edge agreement of outputs with their drawing (and of the true photos, the ceiling, and of outputs with
        another drawing, the floor); mean absolute distance of the best of k outputs and of a random photo of the
        same class to the true photo, in [0, 1]; mean absolute difference between outputs of one drawing, and
        between true photos of a class.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.test_labels), generator=generator)[:count]
    held_out = data.test(len(data.test_labels))
    drawings, photos, labels = held_out.images_1[order], held_out.images_2[order], data.test_labels[order]
    best, agreement, shuffled, between = [], [], [], []
    for rows in torch.arange(len(order)).split(20):
        styles = model.sample_style(len(rows) * styles_each, generator)
        inputs = drawings[rows].repeat_interleave(styles_each, 0)
        made = model.translate(inputs, 1, 2, style=styles)
        stack = made.view(len(rows), styles_each, *made.shape[1:])
        best.append((stack - photos[rows, None]).abs().mean((2, 3, 4)).amin(1) / 2)
        differences = (stack[:, :, None] - stack[:, None]).abs().mean((3, 4, 5)) / 2  # (rows, k, k)
        between.append(differences.sum((1, 2)) / (styles_each * (styles_each - 1)))
        agreement.append(edge_agreement(made, inputs).view(len(rows), -1).mean(1))
        shuffled.append(edge_agreement(made, inputs.roll(styles_each, 0)).view(len(rows), -1).mean(1))
    others = torch.stack(
        [_other_of_class(photos, labels, row, generator) for row in range(len(photos))]
    )  # a random held-out photo of the same class
    random_distance = (others - photos).abs().mean((1, 2, 3)) / 2
    numbers: Numbers = {}
    for name, values in {
        "edge_agreement": torch.cat(agreement),
        "edge_agreement_shuffled_drawings": torch.cat(shuffled),
        "edge_agreement_true_photos": edge_agreement(photos, drawings),
        f"best_of_{styles_each}_distance": torch.cat(best),
        "random_photo_distance": random_distance,
        "diversity": torch.cat(between),
    }.items():
        numbers[name], numbers[f"{name}_interval"] = mean_with_interval(values)
    numbers["best_below_random"] = 1 - numbers[f"best_of_{styles_each}_distance"] / numbers["random_photo_distance"]
    return numbers | {"drawings": len(order), "styles_each": styles_each}


def _other_of_class(photos: Tensor, labels: Tensor, row: int, generator: torch.Generator) -> Tensor:
    same = torch.nonzero(labels == labels[row]).flatten()
    same = same[same != row]
    if not len(same):
        raise ValueError(f"only one photo of class {int(labels[row])} among {len(labels)}: raise the count")
    return photos[same[torch.randint(len(same), (1,), generator=generator)]][0]


# ---------------------------------------------------------------------------------------------------- everything


def evaluate(model: MUNIT, count: int = 1000, seed: int = 1) -> dict[str, Numbers]:
    """The numbers that fit a model's data, by direction.

    Args:
        model: trained; its configuration names the data.
        count: test contents (or drawings) in each direction; styles are measured on count / 20 inputs.
        seed: of the test contents and the drawn styles.

    Raises:
        DataError: the held-out images are missing.
        ValueError: nothing is measured for folders yet.
    """
    data = model.config.data
    if data.dataset == "fashion":
        photos = open_data(model.config)
        assert isinstance(photos, FashionData)
        return {"drawing to photo": photo_metrics(model, photos, min(count, 400), seed)}
    if data.dataset == "folder":
        raise ValueError("a model of two folders has no truth to be measured against; look at its sample sheets")
    world = World(data.variant)
    numbers = {}
    for source, target in ((1, 2), (2, 1)):
        judge = load_judge(target)
        content = content_metrics(model, judge, world, source, count, seed, data.size)
        style = style_metrics(model, judge, world, source, max(2, count // 20), seed, data.size)
        numbers[f"{DOMAIN_NAMES[source]} to {DOMAIN_NAMES[target]}"] = content | style
    return numbers


def table(numbers: dict[str, Numbers]) -> str:
    """Measured numbers as plain text: a value, and its 95 % interval where there is one."""
    lines = []
    for direction, found in numbers.items():
        lines.append(direction)
        for name, value in found.items():
            if name.endswith("_interval"):
                continue
            interval = found.get(f"{name}_interval")
            shown = f"{value:d}" if isinstance(value, int) else f"{value:.3f}"
            lines.append(f"  {name:34} {shown}" + (f" ± {interval:.3f}" if interval is not None else ""))
    return "\n".join(lines)
