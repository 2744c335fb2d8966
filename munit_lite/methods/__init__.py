"""The methods that can be trained: MUNIT, and the baselines of the paper's tables on the same networks.

Each is a model class and an `Objective` class. The same loop trains all of them with the same discriminators, schedule
and averaging, so they differ only in their losses and in where the style enters.
"""

from __future__ import annotations

import torch

from munit_lite.config import Config
from munit_lite.methods.bicyclegan import BicycleGAN, BicycleGANObjective
from munit_lite.methods.cyclegan import CycleGAN, CycleGANObjective, InputNoiseCycleGAN, NoisyCycleGAN
from munit_lite.methods.unit import UNIT, UNITObjective
from munit_lite.model import MUNIT
from munit_lite.objective import Objective

__all__ = ["METHODS", "build", "build_objective", "check_loss_weights"]

METHODS: dict[str, tuple[type[MUNIT], type[Objective]]] = {
    "munit": (MUNIT, Objective),
    "unit": (UNIT, UNITObjective),
    "cyclegan": (CycleGAN, CycleGANObjective),
    "cyclegan_noise": (NoisyCycleGAN, CycleGANObjective),
    "cyclegan_input_noise": (InputNoiseCycleGAN, CycleGANObjective),
    "bicyclegan": (BicycleGAN, BicycleGANObjective),
}

# Methods whose decoder ignores the style, and those that have no style encoder.
WITHOUT_STYLE = ("unit", "cyclegan")
WITHOUT_STYLE_ENCODER = (*WITHOUT_STYLE, "cyclegan_noise", "cyclegan_input_noise")


def build(config: Config) -> MUNIT:
    """Build an untrained model of the configuration's method.

    Args:
        config: its `seed` alone decides the weights, whatever the global random state, which stays as it is.

    Returns:
        the model on the CPU.

    Example:
        >>> from munit_lite.presets import preset
        >>> type(build(preset("world32_unit"))).__name__
        'UNIT'
    """
    model_class, _ = METHODS[config.method]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # torch.manual_seed would reseed every device
        return model_class(config)


def build_objective(model: MUNIT) -> Objective:
    """Build the straight-line objective that trains a model.

    Raises:
        ValueError: a loss has a weight, but the model's method never computes it.

    Example:
        >>> from munit_lite.presets import preset
        >>> type(build_objective(build(preset("world32_unit")))).__name__
        'UNITObjective'
    """
    check_loss_weights(model.config)
    _, objective_class = METHODS[model.config.method]
    return objective_class(model, model.config)


def check_loss_weights(config: Config) -> None:
    """Check that the method computes every loss that has a weight, and uses `detach_style` if it is set.

    Raises:
        ValueError: it does not; the message names the methods that do.
    """
    if config.loss.detach_style and config.method != "munit":
        raise ValueError(f"detach_style is set, but only the method munit uses it, not {config.method}: leave it out")
    for loss, weight in config.loss.weights().items():
        computed_by = [name for name, (_, objective_class) in METHODS.items() if loss in objective_class.LOSSES]
        if weight and config.method not in computed_by:
            others = f"the methods that do are {', '.join(computed_by)}" if computed_by else "no method does"
            raise ValueError(
                f"{loss}_weight is {weight:g}, but the method {config.method} never computes this loss ({others}): "
                "set the weight to 0, or begin from a preset of the method"
            )
