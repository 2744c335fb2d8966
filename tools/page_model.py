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
from munit_lite.course.explorers import style
from munit_lite.course.explorers.model_explorer import ModelSamples, load_model_samples
from munit_lite.world import CONTENT_FACTORS, SHAPES, STYLE_FACTORS

MODEL = "world32"
EXPORT = "export default { render };"


def pack_tensors(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return the shapes of tensors by name, and their values in this order as little-endian float32 in base64."""
    values = np.concatenate([tensor.numpy().ravel() for tensor in tensors.values()]).astype("<f4")
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    return {"shapes": shapes, "base64": base64.b64encode(values.tobytes()).decode()}


def describe_world(samples: ModelSamples) -> dict[str, Any]:
    """Return the shapes and factors of the known world, and the sliders of a style code."""
    controls = style.make_controls(samples)
    return {
        "shapes": [shape._asdict() for shape in SHAPES],
        "contentFactors": [factor._asdict() for factor in CONTENT_FACTORS],
        "styleFactors": {domain: [f._asdict() for f in factors] for domain, factors in STYLE_FACTORS.items()},
        "styleSliders": [controls[key].to_dict(key) for key in controls if key.startswith("style_")],
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
    """Write weights.js, which defines WEIGHTS, world_data.js, which defines WORLD, and view.js.

    Args:
        folder: an existing folder.
    """
    samples = load_model_samples(MODEL)
    weights = pack_tensors(samples.model.auto_encoders.state_dict(prefix="auto_encoders."))
    (folder / "weights.js").write_text(f"const WEIGHTS = {json.dumps(weights)};\n")
    (folder / "world_data.js").write_text(f"const WORLD = {json.dumps(describe_world(samples))};\n")
    (folder / "view.js").write_text(view_script())


if __name__ == "__main__":
    tyro.cli(write_scripts)
