"""The directories of the repository that the package reads and writes.

A wheel holds the package alone; there these directories do not exist.
"""

from pathlib import Path

REPOSITORY_DIR = Path(__file__).parents[1]
CHECKPOINTS_DIR = REPOSITORY_DIR / "data" / "checkpoints"  # the published models and attribute predictors
RESULTS_DIR = REPOSITORY_DIR / "data" / "results"  # measured numbers with their provenance
SWEEPS_DIR = REPOSITORY_DIR / "data" / "sweeps"  # plans of sweeps
NOTEBOOKS_DIR = REPOSITORY_DIR / "notebooks"
