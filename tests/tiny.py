"""A configuration so small that training takes milliseconds a step."""

import munit_lite as ml
from munit_lite.config import Config


def tiny(**overrides) -> Config:
    settings = {
        "base_channels": 4,
        "mlp_width": 8,
        "num_residual_blocks": 1,
        "discriminator_base_channels": 4,
        "same_initial_weights": False,
        "discriminator_updates": 1,
        "r1_weight": 0.0,
        "cycle_weight": 0.0,
        "batch_size": 2,
        "steps": 12,
        "log_every": 1,
        "save_every": 4,
        "sample_every": 1000,
        "num_checkpoints": 2,
        "num_threads": 1,
        "device": "cpu",
    }
    return ml.preset("world32", **settings | overrides)
