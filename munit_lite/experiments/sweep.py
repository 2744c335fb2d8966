"""A grid of papermill runs of a notebook on Dask: processes of this machine, or a cluster by its scheduler's address.

Every run has a folder: the executed notebook, what it trained, its numbers, each of its starts in `starts.jsonl`, and
`done.json` once it is finished. A run that was stopped, or whose worker was killed, goes on from its last saved state,
because training does. On a cluster the folder must be one that every worker sees under the same path.
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

from munit_lite.evaluation.metric_names import with_current_metric_names
from munit_lite.experiments.plans import Plan, Planned, SweepError
from munit_lite.experiments.results import commit
from munit_lite.storage.files import atomic_path

_ORPHANS_LEAVE = 120.0  # seconds; a kernel notices within one or two that its worker was killed


@dataclass
class Outcome:
    """How a run ended."""

    name: str
    status: str  # finished, finished before, failed
    seconds: float = 0.0
    cell: str = ""  # of a failed run: the first line of the failing cell, with its number
    error: str = ""


# ----------------------------------------------------------------------------------------------------- the runs


def run_sweep(
    plan: Plan,
    out: Path,
    workers: int | None = None,
    scheduler: str | None = None,
    earlier: dict[str, Any] | None = None,
    finished: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Run what is not finished yet; a run that fails does not stop the others.

    Args:
        plan: from `plans.read_plan`.
        out: folder of the sweep; each run has its own below it.
        workers: processes on this machine; by default one a GPU, or one a core.
        scheduler: address of a cluster's Dask scheduler, in place of processes on this machine.
        earlier: what `gather` found before, perhaps on another machine; these runs are not repeated.
        finished: called after each run that has finished, so that a sweep that is stopped has kept what it found.

    Returns:
        the outcome of every run, in the order of the plan.

    Raises:
        SweepError: the folder, or `earlier`, holds finished runs with other parameters, or workers and scheduler are
            both given.
    """
    if workers is not None and (scheduler or workers < 1):
        raise SweepError(f"workers is {workers}: 1 or more, and not together with a scheduler, which has its own")
    out = out.resolve()
    done = [run for run in plan.runs if any([_gathered(run, earlier or {}), _finished(run, out)])]  # both are checked
    outcomes = {run.name: Outcome(run.name, "finished before") for run in done}
    waiting = [run for run in plan.runs if run.name not in outcomes]
    if not waiting:
        return [outcomes[run.name] for run in plan.runs]
    with _client(min(workers or _default_workers(), len(waiting)), scheduler) as (client, gpus):
        futures = {client.submit(_perform, plan.notebook, run, out, gpus, pure=False): run for run in waiting}
        with tqdm(total=len(plan.runs), initial=len(outcomes), desc="runs", unit="run") as bar:
            for future in as_completed(futures):
                error = future.exception()  # only of a worker that died too often; a run's own is an outcome
                name = futures.pop(future).name
                outcome = future.result() if error is None else Outcome(name, "failed", error=str(error))
                future.release()  # held on to, the result would die with its worker, and the run be begun again
                outcomes[name] = outcome
                if outcome.status == "finished":
                    finished()
                bar.write(f"{name}: {outcome.status} after {outcome.seconds:.0f} s", file=sys.stderr)
                bar.update()
    return [outcomes[run.name] for run in plan.runs]


def _finished(run: Planned, out: Path) -> bool:
    done = out / run.name / "done.json"
    if not done.exists():
        return False
    _check_same(run, json.loads(done.read_text())["parameters"], f"{done.parent} holds")
    return True


def _gathered(run: Planned, earlier: dict[str, Any]) -> dict[str, Any] | None:
    """The record of a run in what was gathered before."""
    record = earlier.get(run.data, {}).get(run.method, {}).get(str(run.seed))
    if record is not None:
        _check_same(run, record["parameters"], f"the earlier results of {run.name} are of")
    return record


def _check_same(run: Planned, before: dict[str, Any], where: str) -> None:
    if before != run.parameters:
        raise SweepError(
            f"{where} a finished run with the parameters {before}, but {run.parameters} are asked for: "
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
    """A client, and the GPUs that its workers are to share out among themselves (none on a cluster: it did that)."""
    if scheduler:
        with Client(scheduler, timeout=30) as client:
            yield client, []
        return
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,  # papermill in threads of one process hangs
            processes=True,
            memory_limit=0,
            dashboard_address=None,
            env=dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads),
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client, _gpus()


def _perform(notebook: Path, run: Planned, out: Path, gpus: list[str]) -> Outcome:
    """Run the notebook in a kernel of its own; called on a worker."""
    folder = out / run.name
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)  # Dask's: each freed tensor's memory goes back to the system at once
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[int(get_worker().name) % len(gpus)]
    try:
        with FileLock(folder / ".sweep.lock", timeout=0):
            if _finished(run, out):  # by a worker that was killed before it could say so
                return Outcome(run.name, "finished")
            return _perform_alone(notebook, run, folder)
    except Timeout:  # of a sweep that was stopped: its cluster's worker goes on
        return Outcome(run.name, "failed", error="another worker is running it; wait, and start the sweep again")


def _perform_alone(notebook: Path, run: Planned, folder: Path) -> Outcome:
    start = time.monotonic()
    with open(folder / "starts.jsonl", "a") as starts:
        starts.write(json.dumps({"commit": commit(), "time": datetime.now(UTC).isoformat(timespec="seconds")}) + "\n")
    given = run.parameters | {"seed": run.seed, "out": str(folder), "results": str(folder / "results.json")}
    try:
        with FileLock(folder / ".lock", timeout=_ORPHANS_LEAVE):
            pass  # the kernel of a worker that was killed has gone
        try:
            _papermill(notebook, folder, given)
        except RuntimeError as error:  # a kernel that died, or found its port taken, gets a second chance
            print(f"{run.name}: once more after {error}", file=sys.stderr)
            _papermill(notebook, folder, given)
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
    papermill.execute_notebook(
        str(notebook),
        str(folder / notebook.name),
        parameters,
        cwd=str(notebook.parent),
        kernel_name="python3",
        progress_bar=False,
    )


# --------------------------------------------------------------------------------------------------- the results


def gather(plan: Plan, out: Path, earlier: dict[str, Any] | None = None) -> dict[str, Any]:
    """What finished runs measured: data -> method -> seed -> the run's parameters, starts, numbers and provenance.

    Each start has its commit and time: what was stopped and gone on with may have been trained by two of them.

    Args:
        plan: from `plans.read_plan`.
        out: folder of the sweep.
        earlier: what this function found before, of this plan or of others; kept where the folder holds no such run.

    Raises:
        SweepError: the folder holds a finished run with other parameters.
    """
    found: dict[str, Any] = deepcopy(earlier or {})
    for run in plan.runs:
        folder = out / run.name
        if _finished(run, out) and (folder / "results.json").exists():
            begun = (folder / "starts.jsonl").read_text().splitlines()
            record = {"parameters": run.parameters, "starts": [json.loads(line) for line in begun]}
            record |= with_current_metric_names(json.loads((folder / "results.json").read_text()))
            found.setdefault(run.data, {}).setdefault(run.method, {})[str(run.seed)] = record
    return found


def is_gathered(earlier: Any) -> bool:
    """Whether it has the form of what `gather` finds."""
    try:
        records = [record for methods in earlier.values() for seeds in methods.values() for record in seeds.values()]
        return all({"parameters", "numbers", "provenance"} <= set(record) for record in records)
    except (AttributeError, TypeError):
        return False


def report(outcomes: list[Outcome]) -> str:
    """How many runs ended how, and each failure with its failing cell."""
    counts = {status: sum(o.status == status for o in outcomes) for status in ("finished", "finished before", "failed")}
    lines = [f"{len(outcomes)} runs: " + ", ".join(f"{count} {status}" for status, count in counts.items() if count)]
    for outcome in outcomes:
        if outcome.status == "failed":
            where = f" in cell {outcome.cell}" if outcome.cell else ""
            lines.append(f"failed: {outcome.name}{where}: {outcome.error}")
    return "\n".join(lines)
