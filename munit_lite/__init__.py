"""munit_lite: a small MUNIT whose every claim can be measured on a world whose truth is known."""

from munit_lite.checkpoints import CheckpointError, load
from munit_lite.config import Config, preset
from munit_lite.datasets import DataError
from munit_lite.model import MUNIT, build
from munit_lite.training import Run, TrainingError, train
from munit_lite.world import World, render

__version__ = "0.1.0"
__all__ = [
    "MUNIT",
    "CheckpointError",
    "Config",
    "DataError",
    "Run",
    "TrainingError",
    "World",
    "build",
    "load",
    "preset",
    "render",
    "train",
]
