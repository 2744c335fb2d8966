"""World explorer: every factor of the known world, beside the predicted attributes and the style codes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from IPython.display import Image

import munit_lite as ml
from munit_lite import world
from munit_lite.course.explorers.model_explorer import raise_error
from munit_lite.course.explorers.pictures import TILE_SIZE, Picture, tile_images, to_png
from munit_lite.course.explorers.widget import USER_ERRORS, Choice, Control, Explorer, Slider, State, default_values
from munit_lite.evaluation.attribute_predictors import AttributePredictor, load_attribute_predictor
from munit_lite.model import MUNIT
from munit_lite.storage.files import CheckpointError
from munit_lite.world import (
    CONTENT_FACTORS,
    DOMAIN_NAMES,
    SHAPE_NAMES,
    SHAPES,
    STYLE_FACTORS,
    Content,
    Factor,
    PaintingStyle,
    SketchStyle,
    Style,
    code_from_style,
)

SIZE = 32
MARGIN = 0.02  # fraction of a style factor's range that is left out at either end, where the code is infinite


class WorldModels(NamedTuple):
    """The networks that are applied to the images.

    Args:
        predictors: the attribute predictors of domain 1 and 2.
        model: the model whose style codes are shown, if there is one.
        reason: why there is no model.
    """

    predictors: tuple[AttributePredictor, AttributePredictor]
    model: MUNIT | None
    reason: str


def load_world_models(checkpoint: str | Path | MUNIT) -> WorldModels:
    """Load the attribute predictors, and the model if it exists and was trained on the known world.

    Args:
        checkpoint: an argument of `munit_lite.load`, or a model.

    Raises:
        CheckpointError: the attribute predictors are missing.
    """
    try:
        predictors = (load_attribute_predictor(1), load_attribute_predictor(2))
    except CheckpointError as error:
        raise CheckpointError(
            f"the attribute predictors are missing ({error}): they come with a clone of the repository"
        ) from error
    try:
        model = checkpoint if isinstance(checkpoint, MUNIT) else ml.load(checkpoint)
    except CheckpointError as error:
        return WorldModels(predictors, None, str(error))
    data = model.config.data
    if data.dataset != "world":
        return WorldModels(predictors, None, f"the model was trained on {data.dataset}, not on the known world")
    return WorldModels(predictors, model.cpu().eval(), "")


def make_controls() -> dict[str, Control]:
    """Return a control for each factor, in its own unit."""
    return {
        "shape": Choice(SHAPE_NAMES, "shape", "content: shared by both domains", "star"),
        **{factor.name: _slider(factor, f"content, {factor.unit}", 0.0) for factor in CONTENT_FACTORS},
        **{
            factor.name: _slider(factor, f"style of the {DOMAIN_NAMES[domain]}, {factor.unit}", MARGIN)
            for domain, factors in STYLE_FACTORS.items()
            for factor in factors
        },
    }


def _slider(factor: Factor, description: str, margin: float) -> Slider:
    low, high = (round(factor.low + fraction * factor.span, 4) for fraction in (margin, 1 - margin))
    return Slider(low, high, round((low + high) / 2, 4), description=f"{description}; from {low:g} to {high:g}")


def make_content(shape: str, x: float, y: float, size: float, rotation: float) -> Content:
    """Return the content with given factors, a batch of one.

    Args:
        shape: one of `SHAPE_NAMES`.
        x, y, size: in image widths.
        rotation: in symmetry periods of the shape.
    """
    shape_class = SHAPE_NAMES.index(shape)
    return Content(
        torch.tensor([shape_class]),
        torch.tensor([[x, y]]),
        torch.tensor([size]),
        torch.tensor([rotation * SHAPES[shape_class].period]),
    )


def make_styles(**factors: float) -> dict[int, Style]:
    """Return the style factors of each domain with given values, a batch of one; `factors` are in their own units."""
    values = {name: torch.tensor([value]) for name, value in factors.items()}
    sketch, painting = ({f.name: values[f.name] for f in STYLE_FACTORS[domain]} for domain in DOMAIN_NAMES)
    return {1: SketchStyle(**sketch), 2: PaintingStyle(**painting)}


def _split_state(state: State) -> tuple[Content, dict[int, Style]]:
    content_names = {"shape", *(f.name for f in CONTENT_FACTORS)}
    content = make_content(**{name: state[name] for name in content_names})
    return content, make_styles(**{name: value for name, value in state.items() if name not in content_names})


def render(**state: Any) -> Picture:
    """Render the sketch and the painting of one content.

    Args:
        **state: `shape` and the factors by name, in their units.
    """
    images = _render_domains(state)
    return tile_images([torch.cat(list(images.values()))], min_size=4 * TILE_SIZE)


def _render_domains(state: State) -> dict[int, torch.Tensor]:
    content, styles = _split_state(state)
    return {domain: world.render(content, styles[domain], domain, SIZE) for domain in DOMAIN_NAMES}


@torch.no_grad()
def describe(models: WorldModels, **state: Any) -> tuple[str, list[list[str]]]:
    """Describe the picture, and return for each factor the truth, the predictions, and the true style code."""
    images, (_, styles) = _render_domains(state), _split_state(state)
    predictions = {domain: models.predictors[domain - 1](images[domain]) for domain in DOMAIN_NAMES}
    rows = [
        ["factor", "truth", "predicted from the sketch", "predicted from the painting", "true code"],
        ["shape", state["shape"], *(SHAPE_NAMES[int(p.shape_class)] for p in predictions.values()), ""],
    ]
    contents = [torch.cat([p.position[0], p.size, p.rotation]).tolist() for p in predictions.values()]
    is_round = SHAPES[SHAPE_NAMES.index(state["shape"])].symmetry == 0
    for factor, *values in zip(CONTENT_FACTORS, *contents, strict=True):
        cells = [f"{value:.2f}" for value in (state[factor.name], *values)]
        rows.append([factor.name, *(["none"] * 3 if factor.name == "rotation" and is_round else cells), ""])
    for domain, prediction in predictions.items():
        codes = code_from_style(styles[domain])[0]
        for k, factor in enumerate(STYLE_FACTORS[domain]):
            cells = ["", ""]
            cells[domain - 1] = f"{float(prediction.style[0, k]):.2f}"
            rows.append([factor.name.replace("_", " "), f"{state[factor.name]:.2f}", *cells, f"{float(codes[k]):.2f}"])
    return f"A {state['shape']} as a sketch and as a painting. {_describe_codes(models, images)}", rows


def _describe_codes(models: WorldModels, images: dict[int, torch.Tensor]) -> str:
    if models.model is None:
        return f"No style codes are shown: {models.reason}."
    codes = (models.model.encode_style(images[domain], domain)[0] for domain in DOMAIN_NAMES)
    code_1, code_2 = (", ".join(f"{float(value):.2f}" for value in code) for code in codes)
    return f"The model encodes the styles as ({code_1}) and ({code_2}); its coordinates need not be the true ones."


class WorldExplorer(Explorer):
    """A control for every factor of the known world; without the attribute predictors it shows what is missing."""

    def __init__(self, checkpoint: str | Path | MUNIT = "world32", state: State | None = None) -> None:
        """
        Args:
            checkpoint: a model whose style codes are shown beside the true ones; it may be missing.
            state: initial values.
        """
        self.checkpoint = checkpoint
        title = "World explorer"
        try:
            models = load_world_models(checkpoint)
        except USER_ERRORS as error:
            super().__init__(partial(raise_error, error), {}, None, title)
            return
        alt = f"{title}. Every shape of the known world as a sketch and, below it, as a painting."
        stored_image = Image(to_png(_render_shapes()), format="png", alt=alt)
        super().__init__(render, make_controls(), stored_image, title, partial(describe, models), state)

    def as_code(self, state: State) -> str:
        name = "model" if isinstance(self.checkpoint, MUNIT) else repr(str(self.checkpoint))
        return f"WorldExplorer({name}, state={state})"


def _render_shapes() -> Picture:
    defaults = default_values(make_controls())
    images = [_render_domains(defaults | {"shape": shape, "rotation": 0.1}) for shape in SHAPE_NAMES]
    return tile_images([torch.cat([pair[domain] for pair in images]) for domain in DOMAIN_NAMES], 2 * TILE_SIZE)
