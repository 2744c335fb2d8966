from .config import Config
from .data.image_files import DataError
from .methods import build
from .model import MUNIT
from .presets import preset
from .storage.checkpoints import load
from .storage.files import CheckpointError, StorageError
from .storage.nvlabs import load_original, save_original
from .training import Run, TrainingError, train
from .world import World, render

__version__: str
__all__ = [
    "MUNIT",
    "CheckpointError",
    "Config",
    "DataError",
    "Run",
    "StorageError",
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
