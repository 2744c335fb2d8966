"""Run a sweep: a grid of papermill runs of a notebook, planned in a YAML file (`sweep_plan.py`), on Dask.

The runs use processes of this machine, or the workers of a cluster. Each run has a folder with the executed notebook,
the training run, its results, each attempt to run it in `attempts.jsonl`, and `done.json` once it is finished. A run
that was stopped, or whose worker was killed, resumes from its last saved state, because training does. On a cluster the
folder must be one that every worker sees under the same path.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import papermill
import torch
from distributed import Client, LocalCluster, as_completed, get_worker
from filelock import FileLock, Timeout
from papermill.exceptions import PapermillExecutionError
from tqdm.auto import tqdm

from munit_lite.experiments.notebook_times import time_calibration_step
from munit_lite.experiments.provenance import current_commit
from munit_lite.experiments.results import read_results_file
from munit_lite.experiments.sweep_plan import Plan, PlannedRun, SweepError
from munit_lite.storage.files import atomic_path
from munit_lite.storage.run_folder import RunFolder

_ORPHANS_EXIT = 120.0  # seconds; a kernel notices within one or two seconds that its worker was killed


@dataclass
class Outcome:
    """How a run ended."""

    name: str
    status: str  # finished, finished before, failed
    seconds: float = 0.0
    cell: str = ""  # of a failed run: the number and the first line of the failing cell
    error: str = ""


# ----------------------------------------------------------------------------------------------------- the runs


def run_sweep(
    plan: Plan,
    out: Path,
    workers: int | None = None,
    scheduler: str | None = None,
    previous: dict[str, Any] | None = None,
    on_run_finished: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Run what is not finished yet; a run that fails does not stop the others.

    Args:
        plan: from `sweep_plan.read_plan`.
        out: folder of the sweep; each run has a folder of its own inside it.
        workers: number of processes on this machine; by default one per GPU, or one per core. Each has OMP_NUM_THREADS
            threads; if that is not set, they share the cores.
        scheduler: address of a cluster's Dask scheduler, instead of processes on this machine.
        previous: what `gather` returned earlier, perhaps on another machine; these runs are not repeated.
        on_run_finished: called after each finished run, so that the results so far can be saved.

    Returns:
        The outcome of every run, in the order of the plan.

    Raises:
        SweepError: the folder, or `previous`, holds finished runs with other parameters, or both workers and scheduler
            are given.
    """
    if workers is not None and (scheduler or workers < 1):
        raise SweepError(
            f"workers is {workers}, but it must be 1 or more, and be left out where a scheduler brings its own workers"
        )
    out = out.resolve()
    done = [run for run in plan.runs if any([_in_results(run, previous or {}), _is_finished(run, out)])]  # checks both
    outcomes = {run.name: Outcome(run.name, "finished before") for run in done}
    waiting = [run for run in plan.runs if run.name not in outcomes]
    if not waiting:
        return [outcomes[run.name] for run in plan.runs]
    machine = {} if scheduler else {"calibration_seconds": round(time_calibration_step(), 4)}  # before it is busy
    with _client(min(workers or _default_workers(), len(waiting)), scheduler) as (client, gpus):
        futures = {
            client.submit(_run_on_worker, plan.notebook, run, out, gpus, machine, pure=False): run for run in waiting
        }
        with tqdm(total=len(plan.runs), initial=len(outcomes), desc="runs", unit="run") as bar:
            for future in as_completed(futures):
                error = future.exception()  # of a worker that died too often; the error of a run is in its outcome
                name = futures.pop(future).name
                outcome = future.result() if error is None else Outcome(name, "failed", error=str(error))
                future.release()  # otherwise the result dies with its worker, and Dask starts the run again
                outcomes[name] = outcome
                if outcome.status == "finished":
                    on_run_finished()
                bar.write(f"{name}: {outcome.status} after {outcome.seconds:.0f} s", file=sys.stderr)
                bar.update()
    return [outcomes[run.name] for run in plan.runs]


def _is_finished(run: PlannedRun, out: Path) -> bool:
    done = out / run.name / "done.json"
    if not done.exists():
        return False
    _check_parameters(run, json.loads(done.read_text())["parameters"], f"{done.parent} holds")
    return True


def _in_results(run: PlannedRun, sweep: dict[str, Any]) -> bool:
    entry = sweep.get(run.data, {}).get(run.method, {}).get(str(run.seed))
    if entry is not None:
        _check_parameters(run, entry["parameters"], f"the earlier results of {run.name} are of")
    return entry is not None


def _check_parameters(run: PlannedRun, finished_with: dict[str, Any], where: str) -> None:
    if finished_with != run.parameters:
        raise SweepError(
            f"{where} a finished run with the parameters {finished_with}, but the plan has {run.parameters}: "
            "use another folder and results file for this sweep, or remove that run"
        )


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.cuda.is_available():
        return []
    return visible.split(",") if visible else [str(k) for k in range(torch.cuda.device_count())]


def _default_workers() -> int:
    return len(_gpus()) or os.cpu_count() or 1


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[tuple[Client, list[str]]]:
    """Open a client, and list the GPUs that its workers share; none on a cluster, which assigns its own."""
    if scheduler:
        with Client(scheduler, timeout=30) as client:
            yield client, []
        return
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // workers))
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,  # papermill hangs in threads of one process
            processes=True,
            memory_limit=0,
            dashboard_address=None,
            env=dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads),
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client, _gpus()


def _run_on_worker(notebook: Path, run: PlannedRun, out: Path, gpus: list[str], machine: dict[str, float]) -> Outcome:
    """Run the notebook in a kernel of its own, unless another worker runs it."""
    folder = out / run.name
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)  # set by Dask: returns each freed tensor's memory at once, slowly
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[int(get_worker().name) % len(gpus)]
    try:
        with FileLock(folder / ".sweep.lock", timeout=0):
            if _is_finished(run, out):  # by a worker that was killed before it could report so
                return Outcome(run.name, "finished")
            return _run_notebook(notebook, run, folder, machine)
    except Timeout:  # the worker of a sweep that was stopped is still running
        return Outcome(run.name, "failed", error="another worker is running it; wait, and start the sweep again")


def _run_notebook(notebook: Path, run: PlannedRun, folder: Path, machine: dict[str, float]) -> Outcome:
    start = time.monotonic()
    with open(folder / "attempts.jsonl", "a") as attempts:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        attempts.write(json.dumps({"commit": current_commit(), "time": now} | machine) + "\n")
    parameters = run.parameters | {"seed": run.seed, "out": str(folder), "results": str(folder / "results.json")}
    try:
        with FileLock(folder / ".lock", timeout=_ORPHANS_EXIT):
            pass  # the kernel of a worker that was killed has exited
        try:
            _papermill(notebook, folder, parameters)
        except RuntimeError as error:  # a kernel that died, or found its port taken, gets a second chance
            print(f"{run.name}: started again after {error}", file=sys.stderr)
            _papermill(notebook, folder, parameters)
    except PapermillExecutionError as error:
        cell = f"In [{error.exec_count}]: {error.source.strip().splitlines()[0]}"
        return Outcome(run.name, "failed", time.monotonic() - start, cell, f"{error.ename}: {error.evalue}")
    except Exception as error:
        return Outcome(run.name, "failed", time.monotonic() - start, error=f"{type(error).__name__}: {error}")
    seconds = time.monotonic() - start
    with atomic_path(folder / "done.json") as temporary:
        temporary.write_text(json.dumps({"parameters": run.parameters, "seconds": round(seconds, 1)}) + "\n")
    return Outcome(run.name, "finished", seconds)


def _papermill(notebook: Path, folder: Path, parameters: dict[str, Any]) -> None:
    target, cwd = folder / notebook.name, str(notebook.parent)
    papermill.execute_notebook(
        str(notebook), str(target), parameters, cwd=cwd, kernel_name="python3", progress_bar=False
    )


# --------------------------------------------------------------------------------------------------- the results


def gather(plan: Plan, out: Path, previous: dict[str, Any] | None = None) -> dict[str, Any]:
    """Collect the results of finished runs.

    Args:
        plan: from `sweep_plan.read_plan`.
        out: folder of the sweep.
        previous: what this function returned before, for this plan or others; kept where the folder has no such run.

    Returns:
        data -> method -> seed -> the run's parameters, attempts, numbers and provenance. Each attempt has its commit
        and time, because a run that was stopped and resumed may have been trained by the code of two commits, and the
        seconds of a calibration step on its machine. A run on the known world also has its `quality` during training,
        the records that `callbacks.QualityLog` wrote.

    Raises:
        SweepError: the folder holds a finished run with other parameters.
    """
    sweep: dict[str, Any] = deepcopy(previous or {})
    for run in plan.runs:
        folder = out / run.name
        if _is_finished(run, out) and (folder / "results.json").exists():
            entry = {"parameters": run.parameters, "attempts": _read_attempts(folder)} | read_results_file(
                folder / "results.json"
            )
            if quality := RunFolder(folder).read_quality():
                entry["quality"] = quality
            sweep.setdefault(run.data, {}).setdefault(run.method, {})[str(run.seed)] = entry
    return sweep


def _read_attempts(folder: Path) -> list[dict[str, Any]]:
    """Return the commit and time of each attempt; earlier versions wrote them into a file of another name."""
    files = [folder / name for name in ("starts.jsonl", "attempts.jsonl")]
    return [json.loads(line) for file in files if file.exists() for line in file.read_text().splitlines()]


def summarize(outcomes: list[Outcome]) -> str:
    """Return as text how many runs ended in each way, and each failure with its failing cell."""
    counts = {status: sum(o.status == status for o in outcomes) for status in ("finished", "finished before", "failed")}
    lines = [f"{len(outcomes)} runs: " + ", ".join(f"{count} {status}" for status, count in counts.items() if count)]
    for outcome in outcomes:
        if outcome.status == "failed":
            where = f" in cell {outcome.cell}" if outcome.cell else ""
            lines.append(f"failed: {outcome.name}{where}: {outcome.error}")
    return "\n".join(lines)
