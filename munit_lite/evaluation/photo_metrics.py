"""Numbers for edges -> photos: held-out drawings have a true photo to be compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from munit_lite.data.fashion import FashionData, edge_drawing
from munit_lite.evaluation.statistics import Numbers, Translator, mean_with_interval, translated


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
        another drawing, the floor); mean absolute distance to the true photo, in [0, 1], of the best of k outputs, of
        a random photo of the same class, and of the best of k such photos, which know nothing of the drawing; how far
        the best output lies below that, as a share of it; mean absolute difference between outputs of one drawing.

    Raises:
        ValueError: a class with one photo alone.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.test_labels), generator=generator)[:count]
    held_out = data.test(len(data.test_labels))
    drawings, photos, labels = held_out.images_1[order], held_out.images_2[order], data.test_labels[order]
    nearest, agreement, shuffled, between = [], [], [], []
    other_drawings = drawings.roll(1, 0)
    for rows in torch.arange(len(order)).split(20):
        styles = model.sample_style(len(rows) * styles_each, generator)
        inputs = drawings[rows].repeat_interleave(styles_each, 0)
        made = translated(model, inputs, 1, 2, styles)
        stack = made.view(len(rows), styles_each, *made.shape[1:])
        nearest.append((stack - photos[rows, None]).abs().mean((2, 3, 4)).amin(1) / 2)
        differences = (stack[:, :, None] - stack[:, None]).abs().mean((3, 4, 5)) / 2  # (rows, k, k)
        between.append(differences.sum((1, 2)) / (styles_each * (styles_each - 1)))
        agreement.append(edge_agreement(made, inputs).view(len(rows), -1).mean(1))
        others = other_drawings[rows].repeat_interleave(styles_each, 0)
        shuffled.append(edge_agreement(made, others).view(len(rows), -1).mean(1))
    random = torch.stack([_to_others(photos, labels, row, styles_each, generator) for row in range(len(photos))])
    numbers: Numbers = {}
    for name, values in {
        "edge_agreement": torch.cat(agreement),
        "edge_agreement_shuffled_drawings": torch.cat(shuffled),
        "edge_agreement_true_photos": edge_agreement(photos, drawings),
        f"best_of_{styles_each}_distance": torch.cat(nearest),
        "random_photo_distance": random.mean(1),
        f"best_of_{styles_each}_photos_distance": random.amin(1),
        "diversity": torch.cat(between),
    }.items():
        numbers[name], numbers[f"{name}_interval"] = mean_with_interval(values)
    best, best_photo = numbers[f"best_of_{styles_each}_distance"], numbers[f"best_of_{styles_each}_photos_distance"]
    numbers["best_below_random"] = 1 - best / best_photo if best_photo else 0.0
    return numbers | {"drawings": len(order), "styles_each": styles_each}


def _to_others(photos: Tensor, labels: Tensor, row: int, count: int, generator: torch.Generator) -> Tensor:
    """Distances of a photo to others of its class, drawn with repetition: (count,)."""
    same = torch.nonzero(labels == labels[row]).flatten()
    same = same[same != row]
    if not len(same):
        raise ValueError(f"only one photo of class {int(labels[row])} among {len(labels)}: raise the count")
    drawn = same[torch.randint(len(same), (count,), generator=generator)]
    return (photos[drawn] - photos[row]).abs().mean((1, 2, 3)) / 2
