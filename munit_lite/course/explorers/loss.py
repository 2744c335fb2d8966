"""Loss explorer: translations and metrics of models that were trained without one of the losses."""

from __future__ import annotations

from functools import cache, partial

import torch
from IPython.display import Image

from munit_lite.course.explorers.model_explorer import (
    NUM_IMAGES,
    ModelSamples,
    direction_control,
    image_control,
    load_model_samples,
    raise_error,
)
from munit_lite.course.explorers.pictures import Picture, stack_pictures, tile_images, to_png
from munit_lite.course.explorers.widget import USER_ERRORS, Choice, Control, Explorer, Slider, State
from munit_lite.experiments.results import read_results

REFERENCE = "all losses"
RUNS = {
    "no image reconstruction": "world32_no_image",
    "no content reconstruction": "world32_no_content",
    "no style reconstruction": "world32_no_style",
    "all losses and the cycle loss": "world32_with_cycle",
    REFERENCE: "world32_munit",
}
METRICS = {
    "class accuracy": "class_accuracy",
    "position error, image widths": "position_error",
    "diversity ratio": "diversity_ratio",
    "style from the sampled code, R²": "sampled_style_r2",
    "error of the example's style": "example_error",
}
NUM_ROWS, NUM_STYLES = 3, 7


@cache
def load_run(run: str) -> ModelSamples:
    """Load a shipped run with held-out images.

    Args:
        run: a key of `RUNS`.

    Raises:
        CheckpointError: its file is missing or corrupt.
    """
    return load_model_samples(RUNS[run])


def make_controls(samples: ModelSamples) -> dict[str, Control]:
    """Return the controls: the run, the direction, the images and the styles."""
    return {
        "run": Choice(tuple(RUNS), "run"),
        "direction": direction_control(samples),
        "image": image_control("first image", f"of {NUM_IMAGES} held-out images"),
        "first_style_seed": Slider(1, 99, 1, "first style", "seed of a sample from the prior"),
    }


@torch.no_grad()
def render(run: str, direction: str, image: int, first_style_seed: int) -> Picture:
    """Render three images in seven sampled styles: above by the run with all losses, below by the selected run.

    Args:
        run: one of `RUNS`.
        direction: one of the models' directions.
        image: 1 … NUM_IMAGES, the first of the three images.
        first_style_seed: seed of the first of seven samples from the prior, the same for both runs.
    """
    return stack_pictures(*(tile_images(_rows(name, direction, image, first_style_seed)) for name in (REFERENCE, run)))


def _rows(run: str, direction: str, image: int, first_style_seed: int) -> list[torch.Tensor]:
    samples = load_run(run)
    source = samples.source_domain(direction)
    styles = torch.cat([samples.sample_style(first_style_seed + k) for k in range(NUM_STYLES)])
    selected = [(image - 1 + k) % NUM_IMAGES for k in range(NUM_ROWS)]
    images, contents = samples.images[source - 1], samples.contents[source - 1]
    return [torch.cat([images[[k]], samples.decode(contents[[k]], styles, 3 - source)]) for k in selected]


def describe(run: str, direction: str, image: int, first_style_seed: int) -> tuple[str, list[list[str]]]:
    """Describe the picture, and return the metrics of both runs on 1,000 test contents, with 95 % intervals."""
    samples = load_run(run)
    source = samples.source_domain(direction)
    sentence = (
        f"First column: three images of domain {source} ({samples.domain_name(source)}), then each in "
        f"{NUM_STYLES} sampled styles. Above: the run with {REFERENCE}. Below: {run}. "
        "Each run has one seed, so small differences mean little."
    )
    metrics = [read_results(RUNS[name])[direction] for name in (REFERENCE, run)]
    rows = [["on 1,000 test contents", REFERENCE, run]]
    for label, key in METRICS.items():
        rows.append([label, *(f"{numbers[key]:.2f} ± {numbers[f'{key}_interval']:.2f}" for numbers in metrics)])
    return sentence, rows


class LossExplorer(Explorer):
    """Compare the shipped runs in which a loss is missing; see `render`."""

    def __init__(self, state: State | None = None) -> None:
        """
        Args:
            state: initial values.
        """
        title = "Loss explorer"
        try:
            samples = [load_run(run) for run in RUNS]  # all of them, so that a missing one is reported at once
        except USER_ERRORS as error:
            super().__init__(partial(raise_error, error), {}, None, title)
            return
        controls = make_controls(samples[0])
        rows = [_rows(run, samples[0].directions[0], 1, 1)[0] for run in RUNS]
        alt = f"{title}. One sketch in {NUM_STYLES} sampled styles, a row for each run: {'; '.join(RUNS)}."
        stored_image = Image(to_png(tile_images(rows)), format="png", alt=alt)
        super().__init__(render, controls, stored_image, title, describe, state)
