"""Figures of the pages in data/results, each with a digest of its data, so that a test can find a file that is old."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from munit_lite.course import figures

WIDTH = 7.2  # inches; at 10 pt, text has at least 9 pt on a page that shows the figure 650 px wide
FONT = 10


def digest_of(data: Any) -> str:
    """Return the digest of a figure's data, which must have a stable `repr`: lists, dicts, strings and numbers."""
    return hashlib.sha256(repr(data).encode()).hexdigest()


def png_with_digest(figure: Figure, alt: str, digest: str) -> bytes:
    """Close a figure and return it as PNG whose text field `digest` tells for which data it was plotted."""
    image = figures.figure_to_image(figure, alt)
    info, target = PngInfo(), io.BytesIO()
    info.add_text("digest", digest)
    Image.open(io.BytesIO(image.data)).save(target, "PNG", pnginfo=info, optimize=True)
    return target.getvalue()


def read_digest(path: Path) -> str:
    """Return the digest in a file that `png_with_digest` wrote."""
    with Image.open(path) as image:
        return image.info["digest"]
