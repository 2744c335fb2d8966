"""Metrics for edges → photos, where each held-out drawing has a true photo to compare with."""

from __future__ import annotations

import torch
from torch import Tensor

from munit_lite.data.fashion import FashionData, edge_drawing
from munit_lite.data.image_files import float_to_uint8
from munit_lite.evaluation.statistics import Metrics, mean_with_interval
from munit_lite.evaluation.translator import Translator, translate_on_device


def edge_agreement(images: Tensor, drawings: Tensor, tolerance: int = 1) -> Tensor:
    """Compute the F1 score between the edges of images and the edges of drawings.

    An edge pixel counts as correct if the other edge map has an edge within `tolerance` pixels.

    Args:
        images: (B, 3, H, W) in [-1, 1]. Their edges are detected by the filter that produced the dataset's drawings.
        drawings: (B, 3, H, W) in [-1, 1], black edges on white.
        tolerance: distance in pixels.

    Returns:
        (B,) in [0, 1]; 1 if all edges agree.
    """
    detected = (edge_drawing(float_to_uint8(images).cpu())[:, :1] == 0).float()
    expected = (drawings[:, :1].cpu() < 0).float()

    def dilate(edges: Tensor) -> Tensor:
        return torch.nn.functional.max_pool2d(edges, 2 * tolerance + 1, stride=1, padding=tolerance)

    precision = (detected * dilate(expected)).sum((1, 2, 3)) / detected.sum((1, 2, 3)).clamp_min(1)
    recall = (expected * dilate(detected)).sum((1, 2, 3)) / expected.sum((1, 2, 3)).clamp_min(1)
    return 2 * precision * recall / (precision + recall).clamp_min(1e-9)


@torch.no_grad()
def fashion_metrics(model: Translator, data: FashionData, count: int, seed: int, styles_per_input: int = 10) -> Metrics:
    """Evaluate translations of held-out drawings against the true photos.

    Args:
        model: translates drawings (domain 1) into photos (domain 2).
        data: the dataset; held-out items of all classes are used.
        count: number of drawings.
        seed: seed of the sampled styles.
        styles_per_input: k, the outputs per drawing.

    Returns:
        - `edge_agreement` of outputs with their drawing, of the true photos (the ceiling), and of outputs with another
          drawing (the floor);
        - mean absolute distances to the true photo in [0, 1]: of the best of k outputs, of a random photo of the same
          class, and of the best of k such photos, which do not depend on the drawing;
        - `improvement_over_random_photos`, the relative reduction of the distance from the best of k random photos to
          the best of k outputs;
        - `diversity`, the mean absolute difference between outputs of one drawing.

    Raises:
        ValueError: a class has only one photo.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.test_labels), generator=generator)[:count]
    held_out = data.test(len(data.test_labels))
    drawings, photos, labels = held_out.images_1[order], held_out.images_2[order], data.test_labels[order]
    best_distances, agreement, shuffled_agreement, diversity = [], [], [], []
    other_drawings = drawings.roll(1, 0)
    for rows in torch.arange(len(order)).split(20):
        styles = model.sample_style(len(rows) * styles_per_input, generator)
        inputs = drawings[rows].repeat_interleave(styles_per_input, 0)
        outputs = translate_on_device(model, inputs, 1, 2, styles)
        stacked = outputs.view(len(rows), styles_per_input, *outputs.shape[1:])
        best_distances.append((stacked - photos[rows, None]).abs().mean((2, 3, 4)).amin(1) / 2)
        differences = (stacked[:, :, None] - stacked[:, None]).abs().mean((3, 4, 5)) / 2  # (rows, k, k)
        diversity.append(differences.sum((1, 2)) / (styles_per_input * (styles_per_input - 1)))
        agreement.append(edge_agreement(outputs, inputs).view(len(rows), -1).mean(1))
        other_inputs = other_drawings[rows].repeat_interleave(styles_per_input, 0)
        shuffled_agreement.append(edge_agreement(outputs, other_inputs).view(len(rows), -1).mean(1))
    random_distances = torch.stack(
        [_distances_within_class(photos, labels, row, styles_per_input, generator) for row in range(len(photos))]
    )
    metrics: Metrics = {}
    for name, values in {
        "edge_agreement": torch.cat(agreement),
        "edge_agreement_shuffled_drawings": torch.cat(shuffled_agreement),
        "edge_agreement_true_photos": edge_agreement(photos, drawings),
        f"best_of_{styles_per_input}_distance": torch.cat(best_distances),
        "random_photo_distance": random_distances.mean(1),
        f"best_of_{styles_per_input}_photos_distance": random_distances.amin(1),
        "diversity": torch.cat(diversity),
    }.items():
        metrics[name], metrics[f"{name}_interval"] = mean_with_interval(values)
    best_output = metrics[f"best_of_{styles_per_input}_distance"]
    best_photo = metrics[f"best_of_{styles_per_input}_photos_distance"]
    metrics["improvement_over_random_photos"] = 1 - best_output / best_photo if best_photo else 0.0
    return metrics | {"drawings": len(order), "styles_per_input": styles_per_input}


def _distances_within_class(photos: Tensor, labels: Tensor, row: int, count: int, generator: torch.Generator) -> Tensor:
    """Compute the distances of a photo to others of its class, sampled with replacement: (count,)."""
    candidates = torch.nonzero(labels == labels[row]).flatten()
    candidates = candidates[candidates != row]
    if not len(candidates):
        raise ValueError(f"only one of {len(labels)} photos is of class {int(labels[row])}: increase the count")
    sampled = candidates[torch.randint(len(candidates), (count,), generator=generator)]
    return (photos[sampled] - photos[row]).abs().mean((1, 2, 3)) / 2
