"""What the tests of plans and of sweeps share: a file for a sweep of a tiny notebook."""

from pathlib import Path

import nbformat
import pytest
import yaml

GIVEN = """
preset = "world32"
seed = 0
out = None
results = None
pause = 0.0  # seconds after each step
bad = -1  # a seed that fails
tests = {tests!r}
"""
TRAINS = """
import os, sys, time
from pathlib import Path

sys.path.insert(0, tests)
import torch
from tiny import tiny
import munit_lite as ml
from munit_lite.callbacks import Callback
from munit_lite.experiments.results import write_results

class Slowly(Callback):
    def on_start(self, config, first_step):
        with open(Path(out) / "starts", "a") as file:
            file.write(f"{os.getppid()} {first_step} {torch.get_num_threads()}\\n")

    def on_log(self, record):
        time.sleep(pause)

run = ml.train(tiny(seed=seed, num_threads=0), out, callbacks=[Slowly()])
"""
FAILS = "assert seed != bad, f'seed {seed} is bad'"
WRITES = """
trims = "MALLOC_TRIM_THRESHOLD_" in os.environ
numbers = {"loss": run.history[-1]["total"], "seed": seed, "memory_returned_at_once": trims}
write_results(results, {"there": numbers}, {"seed": seed})
"""


@pytest.fixture
def sweep_file(tmp_path):
    """Writes a sweep's file: two seeds of a tiny notebook that trains; what is given replaces a part of it."""
    given = GIVEN.format(tests=str(Path(__file__).parents[1]))
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in (given, TRAINS, FAILS, WRITES)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "tiny.ipynb")

    def write(**changes):
        content = {
            "notebook": "tiny.ipynb",
            "methods": {"munit": {}},
            "grids": [{"data": "world32", "seeds": [0, 1]}],
        }
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(content | changes))
        return tmp_path / "plan.yaml"

    return write
