"""The examples in the docstrings of the core files run and print what they say."""

import doctest
import importlib

import pytest
import torch

MODULES = (
    "networks",
    "losses",
    "model",
    "objective",
    "training",
    "methods",
    "methods.unit",
    "acceleration.devices",
    "course.exercises.framework",
    "counter_rng",
    "data",
    "data.image_files",
    "data.synthetic",
    "data.fashion",
    "storage.files",
    "storage.tensors",
    "storage.nvlabs",
    "storage.checkpoints",
    "callbacks",
    "inference",
    *("networks", "losses", "model", "objective", "training", "methods", "methods.unit", "acceleration.devices"),
    *("evaluation.metric_names", "evaluation.statistics", "evaluation.attribute_predictors"),
    *("evaluation.image_metrics", "evaluation.mode_coverage", "evaluation.metrics"),
    "theory.linear_gaussian",
    "theory.variants",
    "theory.oracle",
    "theory.two_sample",
    "theory.verdicts",
    "theory.propositions",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(f"munit_lite.{name}")
    failed, attempted = doctest.testmod(module, extraglobs={"torch": torch})
    assert attempted > 0 and failed == 0
