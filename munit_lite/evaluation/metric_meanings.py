"""What each main metric means, in one line, and which values are healthy. Importing this module needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

# Of `style_variance_fraction`: about 2 of 255 gray levels where outputs have a standard deviation of 64.
ONE_OUTPUT_BOUND = 0.001


class Meaning(NamedTuple):
    """The meaning of a metric, and its healthy values in words; "" for numbers that others are compared with."""

    meaning: str
    healthy: str = ""


METRIC_MEANINGS = {
    # every dataset
    "style_variance_fraction": Meaning(
        "fraction of the outputs' variance that lies between the outputs of one input; 0: one output for each input",
        f"above {ONE_OUTPUT_BOUND}",
    ),
    # the known world
    "class_accuracy": Meaning("fraction of translations with the input's class", "above 0.95"),
    "position_error": Meaning("distance of the shape from its true position, in image widths", "below 0.01"),
    "diversity_ratio": Meaning("spread of the style for one input, divided by the true spread", "0.9 to 1.1"),
    "sampled_style_r2": Meaning("R² of the translation's style, given the sampled style code", "above 0.8"),
    "example_error": Meaning("difference from the example's style; 0.33 if unrelated", "below 0.1"),
    "encoded_style_r2": Meaning("R² of the image's style, given its style code", "above 0.8"),
    "style_in_content_r2": Meaning("R² of the image's style, given its content code", "near 0"),
    "content_in_style_r2": Meaning("R² of position and size, given the style code", "near 0"),
    # Fashion-MNIST
    "edge_agreement": Meaning(
        "F1 score between the edges of the output and the drawing",
        "near that of true photos, far above that of shuffled drawings",
    ),
    "improvement_over_random_photos": Meaning(
        "how much closer the best of k outputs is to the true photo than the best of k photos, relative", "above 0"
    ),
    "diversity": Meaning("mean absolute difference between outputs of one drawing, of pixels in [0, 1]", "above 0"),
    # folders of images
    "reconstruction_error": Meaning(
        "mean absolute error of the image reconstructed from its own codes, of pixels in [-1, 1]",
        "far below the error of another image",
    ),
    "cycle_error": Meaning(
        "the same after translation into the other domain and back with the image's own style",
        "far below the error of another image",
    ),
    "other_image_error": Meaning("the same between an image and another one of its domain"),
    "pixel_diversity": Meaning(
        "mean absolute difference between two translations of one input, of pixels in [-1, 1]; not LPIPS",
        "above 0, below that of real images",
    ),
    "pixel_diversity_real_images": Meaning("the same between two real images of the target domain"),
    "lpips_diversity": Meaning(
        "LPIPS distance (version 0.1, AlexNet) between two translations of one input, over 19 pairs for each input",
        "above 0, below that of real images",
    ),
    "lpips_diversity_real_images": Meaning("the same between two real images of the target domain"),
    "common_style_variance_fraction": Meaning("the part of the style's fraction that changes all inputs alike"),
    "specific_style_variance_fraction": Meaning("the part of the style's fraction that depends on the input"),
    "input_variance_fraction": Meaning("fraction of their variance that lies between inputs: all but the style's"),
    "kid": Meaning(
        "distance between the distributions of translations and real images, on features of Inception v3; unbiased",
        "near 0, below that of untranslated inputs",
    ),
    "kid_std": Meaning("standard deviation of KID over 100 random subsets of 50 images of each set"),
    "kid_untranslated": Meaning("KID of the inputs themselves: a model that changes nothing"),
    "fid": Meaning(
        "Fréchet distance on the same features; it falls with the number of images, so compare equal numbers only",
        "below that of untranslated inputs",
    ),
    "fid_untranslated": Meaning("FID of the inputs themselves"),
    "modes_covered": Meaning(
        "varieties of the target domain that at least a tenth of one input's translations show",
        "near the number of modes",
    ),
    "cis": Meaning(
        "conditional inception score without exp: variety among one input's translations; log(modes) at most",
        "near the IS",
    ),
    "is": Meaning("inception score without exp: variety among all translations; log(modes) at most", "near log(modes)"),
    "classifier_accuracy": Meaning(
        "accuracy on test photos of the classifier that recognizes the varieties", "far above the shuffled labels'"
    ),
}


def meaning_of(metric: str) -> Meaning | None:
    """Return the meaning of a metric; None for a detail that only its function's docstring explains.

    Example:
        >>> meaning_of("position_error").healthy, meaning_of("modes")
        ('below 0.01', None)
    """
    return METRIC_MEANINGS.get(metric.removesuffix("_torchvision"))


def format_meanings(numbers: Mapping[str, Iterable[str]]) -> str:
    """Format the meanings of metrics as plain text, one per line.

    Args:
        numbers: direction -> metrics, as `evaluate` returns them.

    Example:
        >>> print(format_meanings({"1 to 2": {"position_error": 0.02, "contents": 50}}))
          position_error: distance of the shape from its true position, in image widths (healthy: below 0.01)
    """
    lines = []
    for name in dict.fromkeys(name for metrics in numbers.values() for name in metrics):
        if found := meaning_of(name):
            healthy = f" (healthy: {found.healthy})" if found.healthy else ""
            lines.append(f"  {name}: {found.meaning}{healthy}")
    return "\n".join(lines)
