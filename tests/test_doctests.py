"""The examples in the docstrings of the package run and print what they say."""

import doctest
import importlib
from pathlib import Path

import pytest
import torch

PACKAGE = Path(__file__).parents[1] / "munit_lite"
CORE = ("config", "presets", "networks", "losses", "model", "objective", "training_step", "training", "methods")


def _module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = sorted(_module_name(file) for file in PACKAGE.rglob("*.py") if ">>> " in file.read_text())


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(name)
    failed, attempted = doctest.testmod(module, extraglobs={"torch": torch})
    assert attempted > 0 and failed == 0


def test_each_core_file_has_an_example():
    assert {f"munit_lite.{name}" for name in CORE} <= set(MODULES)
