"""Write what the site's pages need from the package as scripts: the weights of a model, the world, the explorers' view.

`python -m tools.page_model build/site/_static/page` writes them for world32; the site's build calls `write_scripts`. A
page that is opened as a file may not fetch data or load modules, so that all of it comes in classic scripts, the
weights as base64. They stay float32: with float16 weights the paintings differ from torch's by more than 1e-4.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from munit_lite.course import explorers
from munit_lite.course.explorers import style, world
from munit_lite.course.explorers.model_explorer import ModelSamples, load_model_samples
from munit_lite.course.explorers.widget import default_values
from munit_lite.world import CONTENT_FACTORS, SHAPES, STYLE_FACTORS

MODEL = "world32"
MAX_SEED = 99  # of the style explorer's second style
EXPORT = "export default { render };"


def pack_tensors(tensors: dict[str, torch.Tensor], dtype: str = "float32") -> dict[str, Any]:
    """Return the shapes of tensors by name, and their values in this order in base64, little-endian.

    Args:
        tensors: of any shapes.
        dtype: "float32", or "float16" where three digits are enough.
    """
    values = np.concatenate([tensor.numpy().ravel() for tensor in tensors.values()]).astype(dtype)
    encoded = base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode()
    return {"shapes": {name: list(tensor.shape) for name, tensor in tensors.items()}, "type": dtype, "base64": encoded}


def describe_world(samples: ModelSamples) -> dict[str, Any]:
    """Return the shapes and factors of the known world, and the sliders of a style code."""
    controls = style.make_controls(samples)
    return {
        "shapes": [shape._asdict() | {"period": shape.period} for shape in SHAPES],
        "contentFactors": [factor._asdict() for factor in CONTENT_FACTORS],
        "styleFactors": {domain: [f._asdict() for f in factors] for domain, factors in STYLE_FACTORS.items()},
        "styleSliders": [controls[key].to_dict(key) for key in controls if key.startswith("style_")],
    }


def describe_explorers(samples: ModelSamples) -> dict[str, Any]:
    """Return title, controls, initial state, buttons and uploads of each explorer that the pages have."""
    reset = {"reset": "Reset"}  # which every explorer has
    described = {}
    for kind in (explorers.StyleExplorer, explorers.ExampleExplorer):
        controls = kind.spec.make_controls(samples)
        described[kind.__name__] = (kind.spec.title, controls, reset | dict(kind.spec.actions), dict(kind.spec.uploads))
    described["WorldExplorer"] = ("World explorer", world.make_controls(), reset, {})
    return {
        name: {
            "title": title,
            "controls": [control.to_dict(key) for key, control in controls.items()],
            "state": default_values(controls),
            "actions": actions,
            "uploads": uploads,
        }
        for name, (title, controls, actions, uploads) in described.items()
    }


def view_script() -> str:
    """Return the explorers' view, a module in JupyterLab, as a classic script that defines `explorerView`.

    Raises:
        ValueError: the module does not export what the script is to define.
    """
    module = (Path(explorers.__file__).parent / "widget.js").read_text()
    if EXPORT not in module:
        raise ValueError(f"widget.js does not end with {EXPORT!r}")
    return f"const explorerView = (() => {{\n{module.replace(EXPORT, 'return { render, slider, element };')}}})();\n"


def write_scripts(folder: tyro.conf.Positional[Path], /) -> None:
    """Write weights.js and world_data.js for every page, explorer_data.js for explorers, and their view, view.js.

    Args:
        folder: an existing folder.
    """
    samples = load_model_samples(MODEL)
    predictors = torch.nn.ModuleList(samples.predictors).state_dict(prefix="predictors.")
    held_out = {
        "images.0": samples.images[0],
        "images.1": samples.images[1],
        "styles": torch.cat([samples.sample_style(seed) for seed in range(MAX_SEED + 1)]),
        "normal_quantiles": torch.special.ndtri(torch.arange(1, 1000, dtype=torch.float64) / 1000),
    }
    constants = {
        "weights": {"WEIGHTS": pack_tensors(samples.model.auto_encoders.state_dict(prefix="auto_encoders."))},
        "world_data": {"WORLD": describe_world(samples)},
        "explorer_data": {
            "EXPLORERS": describe_explorers(samples),
            "HELD_OUT": pack_tensors(held_out),
            "PREDICTORS": pack_tensors(predictors, "float16"),
        },
    }
    for name, values in constants.items():
        lines = [f"const {constant} = {json.dumps(value)};\n" for constant, value in values.items()]
        (folder / f"{name}.js").write_text("".join(lines))
    (folder / "view.js").write_text(view_script())


if __name__ == "__main__":
    tyro.cli(write_scripts)
