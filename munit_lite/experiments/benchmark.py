"""What a training step costs, and how much `munit_lite.acceleration` saves.

Each measurement of a row runs in a process of its own, so that peak memory is not that of another measurement: one for
time and memory, one for where the time goes, and for the comparison one in which the accelerated and the straight-line
step alternate and one for the memory of the latter.
"""

from __future__ import annotations

import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode
from torchvision.utils import save_image
from tqdm.auto import tqdm

from munit_lite.acceleration import open_fabric
from munit_lite.callbacks import default_callbacks
from munit_lite.config import Config, override
from munit_lite.data import open_data
from munit_lite.data.base import ImageData
from munit_lite.data.image_files import DataError
from munit_lite.experiments.benchmark_tables import SHARES, Numbers
from munit_lite.objective import LossTerms
from munit_lite.presets import preset
from munit_lite.storage.run_folder import RunFolder
from munit_lite.training_errors import check_finite_losses
from munit_lite.training_step import Trainer

STEP_PARTS = SHARES[:3]  # the parts of the step itself, as it names them in the profiler


@dataclass(frozen=True)
class Case:
    """A row of the benchmark: a preset, and the fields in which the row differs from it."""

    preset: str
    precision: str = ""
    compile: bool = False
    batch_size: int = 0

    def config(self) -> Config:
        """Return the configuration of the row.

        Raises:
            ValueError: the preset is unknown, or a value is out of range.
        """
        changes = {name: value for name, value in asdict(self).items() if value and name != "preset"}
        return override(preset(self.preset), **changes)

    def __str__(self) -> str:
        batch = f"batch {self.batch_size}" if self.batch_size else ""
        return ", ".join(filter(None, (self.preset, batch, self.precision, "compiled" if self.compile else "")))


def cases(
    presets: tuple[str, ...], precisions: tuple[str, ...], compile: bool, batch_sizes: tuple[int, ...]
) -> list[Case]:
    """Return a row for every combination of the arguments.

    Args:
        presets: names of presets.
        precisions: precisions to measure each preset with; if empty, the preset's own.
        compile: also measure each combination compiled.
        batch_sizes: batch sizes to measure each preset with; if empty, the preset's own.
    """
    compiled = (False, True) if compile else (False,)
    rows = itertools.product(presets, precisions or ("",), compiled, batch_sizes or (0,))
    return [Case(*row) for row in rows]


def with_progress_bar(rows: list[Case]) -> Iterable[Case]:
    """Iterate over rows with a progress bar on stderr."""
    return tqdm(rows, desc="bench", unit="row", disable=len(rows) < 2)


def measure(case: Case, steps: int, straight_line: bool = False) -> Numbers:
    """Measure all numbers of a row, each task in a process of its own.

    Args:
        case: what to measure.
        steps: number of timed steps for each task, after one warm-up step (three if compiled).
        straight_line: also time the straight-line step, in alternation with the accelerated one.

    Returns:
        The numbers by name; times are in seconds, memory is in GiB. Numbers that follow from others agree with them:
        see `benchmark_tables.find_inconsistencies`.

    Raises:
        ChildProcessError: a process failed; the last line of its stderr is in the message.
    """
    numbers: Numbers = {}
    for task in ("cost", "profile", *(("comparison", "straight-line memory") if straight_line else ())):
        numbers |= _run_in_subprocess(case, steps, task)
    return numbers


def _run_in_subprocess(case: Case, steps: int, task: str) -> Numbers:
    request = json.dumps({"case": asdict(case), "steps": steps, "task": task})
    command = [sys.executable, "-m", "munit_lite.experiments.benchmark", request]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        reason = (process.stderr.strip() or "no message").splitlines()[-1]
        raise ChildProcessError(f"one step of {case} could not be measured: {reason}")
    return json.loads(process.stdout.splitlines()[-1])


# ------------------------------------------------------------------------------------------------ one process


class StepTimer:
    """A trainer with random images on its device, and a clock that waits for the device.

    Args:
        config: what to train.
        straight_line: time `objective.py` on a plain model, without `acceleration`.
    """

    def __init__(self, config: Config, straight_line: bool = False) -> None:
        self.config, self.fabric = config, open_fabric(config)
        self.device = self.fabric.device
        self.trainer = Trainer.new(config, self.fabric, accelerated=not straight_line)
        shape = (config.batch_size, 3, config.data.image_size, config.data.image_size)
        generator = torch.Generator().manual_seed(0)
        self.images = [(torch.rand(shape, generator=generator) * 2 - 1).to(self.device) for _ in range(2)]
        self.step_number = 0

    def step(self) -> LossTerms:
        """Train for one step, always on the same images, and return its losses."""
        terms = self.trainer.step(self.step_number, *self.images)
        self.step_number += 1
        return terms

    def warm_up(self) -> None:
        """Train for the steps that take longer than later ones: three if torch compiles the networks, else one."""
        for _ in range(3 if self.config.compile else 1):
            self.step()

    def time(self, action: Callable[[], object]) -> float:
        """Return the seconds that an action takes, until the device has finished."""
        self._wait()
        start = time.perf_counter()
        action()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak_memory(self) -> float:
        """Return the largest memory allocated on the GPU, else the process's largest resident set, in GiB."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**30
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30


def measure_cost(case: Case, steps: int) -> Numbers:
    """Measure the seconds per step (median) and the peak memory."""
    timer = StepTimer(case.config())
    timer.warm_up()
    median = statistics.median(timer.time(timer.step) for _ in range(steps))
    return {
        "size": timer.config.data.image_size,
        "batch_size": timer.config.batch_size,
        "seconds_per_step": median,
        "images_per_second": 2 * timer.config.batch_size / median,
        "peak_memory_gib": timer.peak_memory(),
    }


def compare_with_straight_line(case: Case, steps: int) -> Numbers:
    """Alternate the accelerated and the straight-line step, and compare their times.

    `speedup` is the ratio of the two medians; `speedup_min` and `speedup_max` are the extreme ratios of a pair of
    neighboring steps, between which the ratio of the medians always lies. Because the speed of a shared machine varies,
    fast steps are repeated until the timed steps take six seconds for each that was asked for.
    """
    accelerated, straight_line = StepTimer(case.config()), StepTimer(case.config(), straight_line=True)
    for timer in (accelerated, straight_line):
        timer.warm_up()
    pairs: list[tuple[float, float]] = []
    while len(pairs) < steps or sum(map(sum, pairs)) < 6 * steps:
        pairs.append((accelerated.time(accelerated.step), straight_line.time(straight_line.step)))
    fast, slow = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    ratios = [slow_step / fast_step for fast_step, slow_step in pairs]
    return {
        "seconds_per_step": fast,  # replaces that of `measure_cost`, which another process measured at another time
        "images_per_second": 2 * accelerated.config.batch_size / fast,
        "straight_line_seconds_per_step": slow,
        "speedup": slow / fast,
        "speedup_min": min(ratios),
        "speedup_max": max(ratios),
    }


def straight_line_memory(case: Case, steps: int) -> Numbers:
    """Measure the peak memory of the straight-line step."""
    timer = StepTimer(case.config(), straight_line=True)
    timer.warm_up()
    timer.step()
    return {"straight_line_peak_memory_gib": timer.peak_memory()}


def profile_step(case: Case, steps: int) -> Numbers:
    """Measure where the time of the training loop goes, and a step's arithmetic relative to a matrix product's.

    The shares of generator (with the forward pass), discriminator, optimizer, data, logging (history, progress bar,
    TensorBoard, sample sheets) and saving add up to 1. There is no share of data that is not on this machine.
    """
    timer = StepTimer(case.config())
    config = timer.config
    timer.warm_up()
    peak = matrix_product_peak(timer)
    step = statistics.median(timer.time(timer.step) for _ in range(steps))
    flops = _flops_per_step(config)
    # In one thread, so that the profiler assigns the backward pass to the part that started it.
    with torch.autograd.set_multithreading_enabled(False), profile() as profiled:
        timer.step()
    clock = "device_time_total" if timer.device.type == "cuda" else "cpu_time_total"
    rows = [row for row in profiled.key_averages() if row.key in STEP_PARTS and row.device_type == DeviceType.CPU]
    profiled_time = {row.key: getattr(row, clock) for row in rows}
    seconds = {part: step * profiled_time[part] / sum(profiled_time.values()) for part in STEP_PARTS}
    with tempfile.TemporaryDirectory() as scratch:
        seconds |= _time_loop_overhead(timer, Path(scratch))
    peak = max(
        peak, matrix_product_peak(timer)
    )  # measured before and after, because the speed of a shared machine varies
    return {f"share_of_{part}": value / sum(seconds.values()) for part, value in seconds.items()} | {
        "profiled_seconds_per_step": step,
        "flop_per_step": flops,
        "flop_per_second": flops / step,
        "matrix_product_flop_per_second": peak,
        "share_of_peak": flops / step / peak,
    }


def _flops_per_step(config: Config) -> int:
    """Count the floating-point operations of an accelerated step without the gradient penalty, because the counter does
    not know second derivatives."""
    threads = torch.get_num_threads()
    timer = StepTimer(override(config, r1_weight=0.0, num_threads=1))  # the counter sees one thread only
    with FlopCounterMode(display=False) as counter:
        timer.step()
    torch.set_num_threads(threads)
    return counter.get_total_flops()


def _time_loop_overhead(timer: StepTimer, scratch: Path) -> Numbers:
    """Measure the seconds per step that the training loop spends on data, on logging and on saving."""
    config, trainer = timer.config, timer.trainer
    seconds = {}
    data = _open_data(config, scratch)
    if data is not None:
        data.batch(0, config.batch_size)
        seconds["data"] = timer.time(lambda: [data.batch(k, config.batch_size) for k in range(1, 9)]) / 8
    folder = RunFolder(scratch / "run")
    with folder.lock(config):
        terms, callbacks = timer.step(), default_callbacks(folder.path)

        def log() -> None:
            losses = check_finite_losses(1, terms, folder, timer.fabric)
            folder.append_history(losses)
            for callback in callbacks:
                callback.on_log(losses)

        def sample(data: ImageData) -> None:
            for callback in callbacks:
                callback.on_sample(1, trainer.ema_model(), data)

        for callback in callbacks:
            callback.on_start(config, 0)
        log()
        seconds["logging"] = timer.time(log) / config.log_every
        if data is not None:
            seconds["logging"] += timer.time(lambda: sample(data)) / config.sample_every
        for callback in callbacks:
            callback.on_end()
        seconds["saving"] = timer.time(lambda: folder.save_state(trainer.state(1), config)) / config.save_every
    return seconds


def _open_data(config: Config, scratch: Path) -> ImageData | None:
    """Open the configuration's dataset, or noise in place of the user's folders; None if it is not on this machine."""
    if config.data.dataset == "folder":
        for domain in ("trainA", "trainB", "testA", "testB"):
            (scratch / "noise" / domain).mkdir(parents=True)
            for k in range(max(8, config.batch_size)):
                noise = torch.rand(3, config.data.image_size * 9 // 8, config.data.image_size * 9 // 8)
                save_image(noise, scratch / "noise" / domain / f"{k}.png")
        config = override(config, folder=str(scratch / "noise"))
    try:
        return open_data(config)
    except DataError:
        return None


def matrix_product_peak(timer: StepTimer) -> float:
    """Return the FLOP/s of one large matrix product in the configuration's precision, the best of fifty."""
    side = 8192 if timer.device.type == "cuda" else 1024
    dtype = torch.bfloat16 if timer.config.precision == "bf16-mixed" else torch.float32
    a, b = torch.rand(2, side, side, device=timer.device).to(dtype)
    return 2 * side**3 / min(timer.time(lambda: a @ b) for _ in range(50))


TASKS = {
    "cost": measure_cost,
    "profile": profile_step,
    "comparison": compare_with_straight_line,
    "straight-line memory": straight_line_memory,
}


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    print(json.dumps(TASKS[request["task"]](Case(**request["case"]), request["steps"])))
