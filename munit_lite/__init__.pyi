from .checkpoints import CheckpointError, load
from .config import Config, preset
from .datasets import DataError
from .model import MUNIT, build
from .original import load_original, save_original
from .training import Run, TrainingError, train
from .world import World, render

__version__: str
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
    "load_original",
    "preset",
    "render",
    "save_original",
    "train",
]
