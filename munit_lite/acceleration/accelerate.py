"""The one function that the trainer calls, and what it puts together: layers, memory layout, threads, compilation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.checkpoint import checkpoint

from munit_lite.acceleration.fused_layers import BlockwiseConvolution, FusedUpsampling, MatrixConvolution
from munit_lite.acceleration.objective import AcceleratedObjective
from munit_lite.acceleration.parallel_domains import domain_threads, reserve_cores
from munit_lite.config import Config
from munit_lite.methods import build, build_objective, check_loss_weights
from munit_lite.model import MUNIT
from munit_lite.networks import AdaINResidualBlock, ConvBlock, PatchDiscriminator, ResidualBlock
from munit_lite.objective import Objective


class Accelerated(NamedTuple):
    """Model and objective with which a trainer takes fast steps."""

    model: MUNIT
    objective: Objective
    step_context: Callable[[], AbstractContextManager[None]]
    """Opened around each step."""


def accelerate(config: Config, fabric: Fabric) -> Accelerated:
    """Build the configuration's model on its device, and its objective, as they train.

    The weights have the same values and names as those of `build`, and outputs and losses are the same functions. The
    baselines use their straight-line objective.

    Args:
        config: method, networks and losses; `compile` sends the networks through torch.compile, with CUDA graphs on a
            GPU; `activation_checkpointing` keeps no activations inside blocks.
        fabric: the device.

    Raises:
        ValueError: a loss has a weight, but the method never computes it.
    """
    check_loss_weights(config)
    model = accelerated_model(config, fabric.device)
    if config.method != "munit":
        pool, objective = None, build_objective(model)
    else:
        pool = _pool(config, fabric)
        objective = AcceleratedObjective(model, config, pool)

    @contextmanager
    def step_context() -> Iterator[None]:
        if config.compile:
            torch.compiler.cudagraph_mark_step_begin()  # until the next one, no graph's output may be overwritten
        with reserve_cores(pool):
            yield

    return Accelerated(model, objective, step_context)


def _pool(config: Config, fabric: Fabric) -> ThreadPoolExecutor | None:
    """Open two threads for the two domains where they save time: on a CPU that has cores for both."""
    threads = torch.get_num_threads()
    return domain_threads(threads) if fabric.device.type == "cpu" and threads > 1 and not config.compile else None


def accelerated_model(config: Config, device: torch.device) -> MUNIT:
    """Build the model with fused layers, and with activation checkpointing and compilation if they are asked for.

    Discriminators with a gradient penalty are not compiled, because torch.compile cannot differentiate twice.
    """
    # On a CPU, channels-last saves reorders around convolutions, but instance normalization then copies as much.
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    model = build(config).to(device, memory_format=layout)  # type: ignore[call-overload]
    if device.type != "cpu" or not config.compile:  # compiled for a CPU, the fused upsampling's padding fails
        for auto_encoder in model.auto_encoders:
            decoder = auto_encoder.decoder
            decoder.upsampling = FusedUpsampling(*decoder.upsampling)
            decoder.to_image = BlockwiseConvolution(decoder.to_image)
    if device.type == "cpu":
        for discriminator in [module for module in model.modules() if isinstance(module, PatchDiscriminator)]:
            discriminator.layers[-2] = MatrixConvolution(discriminator.layers[-2])  # type: ignore[arg-type]
    if config.activation_checkpointing:
        for block in model.auto_encoders.modules():
            if isinstance(block, ResidualBlock | AdaINResidualBlock | ConvBlock | FusedUpsampling):
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
    if config.compile:
        networks = [network for auto_encoder in model.auto_encoders for network in auto_encoder.children()]
        networks += [] if config.loss.r1_weight else list(model.discriminators)
        for network in networks:
            network.compile(mode="reduce-overhead" if device.type == "cuda" else None)
    return model


def adam(config: Config, parameters: Iterable[nn.Parameter], device: torch.device) -> torch.optim.Adam:
    """Build the optimizer of one side, the autoencoders or the discriminators (appendix B).

    Args:
        config: its `optimizer` record holds learning rate, betas and weight decay.
        parameters: of that side.
        device: of the parameters; on CPU and GPU one fused operation updates them.
    """
    optimizer = config.optimizer
    return torch.optim.Adam(
        parameters,
        lr=optimizer.learning_rate,
        betas=optimizer.betas,
        weight_decay=optimizer.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
