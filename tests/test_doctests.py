"""The examples in the docstrings of the core files and of the experiments run and print what they say."""

import doctest
import importlib

import pytest
import torch

MODULES = (
    *("networks", "losses", "model", "objective", "training", "methods", "methods.unit", "acceleration.devices"),
    *("experiments.results", "experiments.claims", "experiments.notebook_times"),
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(f"munit_lite.{name}")
    failed, attempted = doctest.testmod(module, extraglobs={"torch": torch})
    assert attempted > 0 and failed == 0
