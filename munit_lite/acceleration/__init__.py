"""Whatever makes a training step faster or distributes it: devices, processes, fused layers, both domains in parallel.

`accelerate` gives the trainer a model and an objective that compute the same as those of `munit_lite.methods` in less
time; tests compare them in float64.
"""

from munit_lite.acceleration.accelerate import Accelerated, accelerate, adam
from munit_lite.acceleration.devices import find_device, open_fabric
from munit_lite.acceleration.distributed import all_reduce_max, all_reduce_mean, average_gradients, shard

__all__ = [
    "Accelerated",
    "accelerate",
    "adam",
    "all_reduce_max",
    "all_reduce_mean",
    "average_gradients",
    "find_device",
    "open_fabric",
    "shard",
]
