"""What a training step costs, and how much `munit_lite.acceleration` saves.

Each row is measured in processes of their own, so that memory is a row's own: one for time and memory, one for where
the time goes, and for the comparison one in which the accelerated and the straight-line step alternate and one for the
memory of the latter.
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
from munit_lite.experiments.results import markdown_table
from munit_lite.objective import LossTerms
from munit_lite.presets import preset
from munit_lite.storage.run_folder import RunFolder
from munit_lite.training import Trainer, finite_record

Numbers = dict[str, float]


@dataclass(frozen=True)
class Case:
    """A row: a preset, and in what it differs from it."""

    preset: str
    precision: str = ""
    compile: bool = False
    batch_size: int = 0

    def config(self) -> Config:
        """Raises ValueError for an unknown preset or a value out of range."""
        changes = {name: value for name, value in asdict(self).items() if value and name != "preset"}
        return override(preset(self.preset), **changes)

    def __str__(self) -> str:
        batch = f"batch {self.batch_size}" if self.batch_size else ""
        return ", ".join(filter(None, (self.preset, batch, self.precision, "compiled" if self.compile else "")))


def cases(
    presets: tuple[str, ...], precisions: tuple[str, ...], compile: bool, batch_sizes: tuple[int, ...]
) -> list[Case]:
    """Every combination; with `compile` each also compiled."""
    ways = (False, True) if compile else (False,)
    rows = itertools.product(presets, precisions or ("",), ways, batch_sizes or (0,))
    return [Case(*row) for row in rows]


def shown(rows: list[Case]) -> Iterable[Case]:
    """The rows, with a progress bar on stderr."""
    return tqdm(rows, desc="bench", unit="row", disable=len(rows) < 2)


def measure(case: Case, steps: int, straight_line: bool = False) -> Numbers:
    """Every number of a row, each task in a process of its own.

    Args:
        case: what to measure.
        steps: timed steps of each kind, after one (three if compiled) that are not counted.
        straight_line: also time the straight-line step, in alternation.

    Raises:
        ChildProcessError: a process failed; its last line is in the message.
    """
    numbers: Numbers = {}
    for task in ("cost", "split", *(("alternate", "straight-line memory") if straight_line else ())):
        numbers |= _in_a_process(case, steps, task)
    return numbers


def _in_a_process(case: Case, steps: int, task: str) -> Numbers:
    asked = json.dumps({"case": asdict(case), "steps": steps, "task": task})
    command = [sys.executable, "-m", "munit_lite.experiments.benchmark", asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise ChildProcessError(f"one step of {case} could not be measured: {reason}")
    return json.loads(done.stdout.splitlines()[-1])


# ------------------------------------------------------------------------------------------------ one process


class Bench:
    """A trainer, random images on its device, and a clock that waits for it."""

    def __init__(self, config: Config, straight_line: bool = False) -> None:
        self.config, self.fabric = config, open_fabric(config)
        self.device = self.fabric.device
        self.trainer = Trainer.new(config, self.fabric, straight_line)
        shape = (config.batch_size, 3, config.data.size, config.data.size)
        generator = torch.Generator().manual_seed(0)
        self.images = [(torch.rand(shape, generator=generator) * 2 - 1).to(self.device) for _ in range(2)]
        self.taken = 0

    def step(self) -> LossTerms:
        terms = self.trainer.step(self.taken, *self.images)
        self.taken += 1
        return terms

    def warm(self) -> None:
        for _ in range(3 if self.config.compile else 1):
            self.step()

    def seconds(self, action: Callable[[], object]) -> float:
        self._wait()
        begin = time.perf_counter()
        action()
        self._wait()
        return time.perf_counter() - begin

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak_memory(self) -> float:
        """GiB: the GPU's at most allocated, else the process's at most resident."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**30
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30


def cost(case: Case, steps: int) -> Numbers:
    """Seconds of a step (median) and peak memory."""
    bench = Bench(case.config())
    bench.warm()
    median = statistics.median(bench.seconds(bench.step) for _ in range(steps))
    return {
        "size": bench.config.data.size,
        "batch_size": bench.config.batch_size,
        "seconds_per_step": median,
        "images_per_second": 2 * bench.config.batch_size / median,
        "peak_memory_gib": bench.peak_memory(),
    }


def alternate(case: Case, steps: int) -> Numbers:
    """Alternate the accelerated and the straight-line step: their medians, and the median of their ratios.

    Fast steps are taken more often than asked for, so that each counts six seconds: a shared machine's speed varies.
    """
    accelerated, plain = Bench(case.config()), Bench(case.config(), straight_line=True)
    for bench in (accelerated, plain):
        bench.warm()
    pairs: list[tuple[float, float]] = []
    while len(pairs) < steps or sum(map(sum, pairs)) < 6 * steps:
        pairs.append((accelerated.seconds(accelerated.step), plain.seconds(plain.step)))
    ratios, median = sorted(slow / fast for fast, slow in pairs), statistics.median(fast for fast, _ in pairs)
    return {
        "seconds_per_step": median,  # in place of `cost`'s, which another process measured at another time
        "images_per_second": 2 * accelerated.config.batch_size / median,
        "straight_line_seconds_per_step": statistics.median(slow for _, slow in pairs),
        "speedup": statistics.median(ratios),
        "speedup_min": ratios[0],
        "speedup_max": ratios[-1],
    }


def straight_line_memory(case: Case, steps: int) -> Numbers:
    bench = Bench(case.config(), straight_line=True)
    bench.warm()
    bench.step()
    return {"straight_line_peak_memory_gib": bench.peak_memory()}


def split(case: Case, steps: int) -> Numbers:
    """Where a training loop's time goes, and a step's arithmetic against the device's matrix products.

    The shares of generator (with the forward pass), discriminator, optimizer, data, telling (records, progress bar,
    TensorBoard, sample sheets) and saving add up to 1; those of data that are not there are left out.
    """
    bench = Bench(case.config())
    config = bench.config
    bench.warm()
    peak = matrix_product_peak(bench)
    step = statistics.median(bench.seconds(bench.step) for _ in range(steps))
    flops = _flops_per_step(config)
    with torch.autograd.set_multithreading_enabled(False), profile() as profiled:  # else backward is nobody's
        bench.step()
    clock = "device_time_total" if bench.device.type == "cuda" else "cpu_time_total"
    rows = [row for row in profiled.key_averages() if row.key in PARTS and row.device_type == DeviceType.CPU]
    found = {row.key: getattr(row, clock) for row in rows}
    seconds = {part: step * found[part] / sum(found.values()) for part in PARTS}
    with tempfile.TemporaryDirectory() as scratch:
        seconds |= _around_the_step(bench, Path(scratch))
    peak = max(peak, matrix_product_peak(bench))  # before and after: what a shared machine gives varies
    return {f"share_of_{part}": value / sum(seconds.values()) for part, value in seconds.items()} | {
        "flop_per_step": flops,
        "flop_per_second": flops / step,
        "matrix_product_flop_per_second": peak,
        "share_of_peak": flops / step / peak,
    }


def _flops_per_step(config: Config) -> int:
    """Floating-point operations of an accelerated step, without the gradient penalty, whose second derivatives the
    counter does not know."""
    threads = torch.get_num_threads()
    counted = Bench(override(config, r1_weight=0.0, threads=1))  # nor does it look into other threads
    with FlopCounterMode(display=False) as counter:
        counted.step()
    torch.set_num_threads(threads)
    return counter.get_total_flops()


def _around_the_step(bench: Bench, scratch: Path) -> Numbers:
    """Seconds that the loop spends, for each step, on data, on telling and on saving."""
    config, trainer = bench.config, bench.trainer
    seconds = {}
    data = _data(config, scratch)
    if data is not None:
        data.batch(0, config.batch_size)
        seconds["data"] = bench.seconds(lambda: [data.batch(k, config.batch_size) for k in range(1, 9)]) / 8
    folder = RunFolder(scratch / "run")
    with folder.lock(config):
        terms, reports = bench.step(), default_callbacks(folder.path)

        def tell() -> None:
            record = finite_record(1, terms, folder, bench.fabric)
            folder.append_history(record)
            for report in reports:
                report.on_log(record)

        for report in reports:
            report.on_start(config, 0)
        tell()
        seconds["telling"] = bench.seconds(tell) / config.log_every
        if data is not None:
            sheets = [report.on_sample for report in reports]
            spent = bench.seconds(lambda: [sheet(1, trainer.ema_model(), data) for sheet in sheets])
            seconds["telling"] += spent / config.sample_every
        for report in reports:
            report.on_end()
        seconds["saving"] = bench.seconds(lambda: folder.save_state(trainer.state(1), config)) / config.save_every
    return seconds


def _data(config: Config, scratch: Path) -> ImageData | None:
    """The configuration's data; of its own folders some noise; None if they are not on this machine."""
    if config.data.dataset == "folder":
        for domain in ("trainA", "trainB", "testA", "testB"):
            (scratch / "noise" / domain).mkdir(parents=True)
            for k in range(max(8, config.batch_size)):
                noise = torch.rand(3, config.data.size * 9 // 8, config.data.size * 9 // 8)
                save_image(noise, scratch / "noise" / domain / f"{k}.png")
        config = override(config, folder=str(scratch / "noise"))
    try:
        return open_data(config)
    except DataError:
        return None


def matrix_product_peak(bench: Bench) -> float:
    """FLOP/s of one large matrix product in the configuration's arithmetic, the best of fifty."""
    side = 8192 if bench.device.type == "cuda" else 1024
    kind = torch.bfloat16 if bench.config.precision == "bf16-mixed" else torch.float32
    one, two = torch.rand(2, side, side, device=bench.device).to(kind)
    return 2 * side**3 / min(bench.seconds(lambda: one @ two) for _ in range(50))


TASKS = {"cost": cost, "split": split, "alternate": alternate, "straight-line memory": straight_line_memory}
PARTS = ("generator", "discriminator", "optimizer")  # as the step names them to the profiler


# --------------------------------------------------------------------------------------------------- tables


def table(numbers: dict[str, Numbers]) -> str:
    """Time and memory as a Markdown table; against the straight-line step where that was timed."""
    compared = any("speedup" in row for row in numbers.values())
    heads = ["preset", "size", "batch", "seconds a step", "images/s", "peak memory"]
    heads += ["times as fast as the straight-line step", "its peak memory"] if compared else []
    rows = []
    for name, row in numbers.items():
        cells = [
            f"`{name}`",
            f"{row['size']} px",
            str(row["batch_size"]),
            f"{row['seconds_per_step']:.2f}",
            f"{row['images_per_second']:.1f}",
            f"{row['peak_memory_gib']:.1f} GiB",
        ]
        if compared:
            least, most = row["speedup_min"], row["speedup_max"]
            cells.append(f"{row['speedup']:.2f} ({least:.2f} to {most:.2f})")
            cells.append(f"{row['straight_line_peak_memory_gib']:.1f} GiB")
        rows.append(cells)
    return markdown_table(heads, rows)


def split_table(numbers: dict[str, Numbers]) -> str:
    """Where the time goes, and the arithmetic, as a Markdown table."""
    shares = (*PARTS, "data", "telling", "saving")
    heads = ["preset", *(f"{part}, %" for part in shares), "GFLOP a step", "GFLOP/s", "of a matrix product's"]
    rows = [
        [
            f"`{name}`",
            *(f"{100 * row[f'share_of_{part}']:.1f}" if f"share_of_{part}" in row else "" for part in shares),
            f"{row['flop_per_step'] / 1e9:.1f}",
            f"{row['flop_per_second'] / 1e9:.1f}",
            f"{100 * row['share_of_peak']:.0f} %",
        ]
        for name, row in numbers.items()
    ]
    return markdown_table(heads, rows)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(TASKS[asked["task"]](Case(**asked["case"]), asked["steps"])))
