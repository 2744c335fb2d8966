"""Sweeps: workers that are killed, runs that fail, a cluster, GPUs shared out."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from distributed import LocalCluster
from filelock import FileLock
from tiny import tiny

import munit_lite as ml
from munit_lite.commands import sweep
from munit_lite.experiments import sweep as sweeps
from munit_lite.experiments.results import read_results
from munit_lite.experiments.sweep import Outcome, gather, run_sweep, summarize
from munit_lite.experiments.sweep_plan import PlannedRun, SweepError, read_plan

STEPS, INTERVAL = tiny().steps, tiny().save_every


def wait_for(what, seconds=500):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found


def starts(folder):
    """Each start of a run's training: its worker, the step it began at, torch's threads."""
    file = folder / "starts"
    return [tuple(map(int, line.split())) for line in file.read_text().splitlines()] if file.exists() else []


def steps(folder):
    file = folder / "metrics.jsonl"
    return [json.loads(line)["step"] for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def mixed(sweep_file):
    """A quick run, one that fails later, and two slow ones."""
    return sweep_file(
        methods={"quick": {}, "failing": {"bad": 7, "pause": 0.5}, "slow": {"pause": 1.0}},
        grids=[
            {"data": "world32", "seeds": [5], "methods": ["quick"]},
            {"data": "world32", "seeds": [7], "methods": ["failing"]},
            {"data": "world32", "seeds": [0, 1], "methods": ["slow"]},
        ],
    )


@pytest.mark.slow
def test_a_killed_worker_costs_no_finished_run_and_one_interval_of_its_own_and_a_failing_run_stops_no_other(
    mixed, tmp_path
):
    out = tmp_path / "runs"
    options = ["sweep", str(mixed), "--out", str(out), "--workers", "2", "--results", str(tmp_path / "all.json")]
    process = subprocess.Popen(
        [sys.executable, "-c", "from munit_lite.cli import main; main()", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    quick, bad = out / "world32" / "quick" / "seed5", out / "world32" / "failing" / "seed7"
    slow = [out / "world32" / "slow" / f"seed{seed}" for seed in (0, 1)]

    def in_the_middle():
        """The slow run on the worker of the one that failed last, past its first saved state; the other has begun."""
        if (quick / "done.json").exists() and all(map(starts, slow)):
            beside = (run for run in slow if starts(run)[0][0] == starts(bad)[0][0])
            return next((run for run in beside if INTERVAL < len(steps(run)) < STEPS - 2), None)
        return None

    try:
        victim = wait_for(in_the_middle)
        seen = steps(victim)[-1]
        os.kill(starts(victim)[0][0], signal.SIGKILL)
        words, complaints = process.communicate(timeout=500)
    finally:
        process.kill()

    assert process.returncode == 1, complaints
    assert "4 runs: 3 finished, 1 failed" in words
    assert "failed: world32/failing/seed7 in cell In [4]: assert seed != bad" in words
    assert words.count("AssertionError: seed 7 is bad") == 1
    (worker, at_first, threads), (other, again, _) = starts(victim)
    assert worker != other and at_first == 0
    assert seen - INTERVAL <= again < STEPS and again % INTERVAL == 0 and again > 0
    assert threads == int(os.environ.get("OMP_NUM_THREADS", max(1, (os.cpu_count() or 1) // 2)))
    (spared,) = set(slow) - {victim}
    for run in (quick, bad, spared):
        assert [first for _, first, _ in starts(run)] == [0], complaints
    for run in (quick, bad, *slow):
        assert steps(run) == list(range(1, STEPS + 1))

    # All that is finished is gathered; the run that was cut in two ends where an uncut one does.
    numbers = read_results(tmp_path / "all.json")["world32"]
    assert {(m, s) for m in numbers for s in numbers[m]} == {("quick", "5"), ("slow", "0"), ("slow", "1")}
    # With as many threads as the worker had: with others the loss would differ by 2e-4 of itself after these steps.
    number, own_threads = victim.name.removeprefix("seed"), torch.get_num_threads()
    try:
        run = ml.train(tiny(seed=int(number), num_threads=threads), tmp_path / "uncut", callbacks=[])
    finally:
        torch.set_num_threads(own_threads)
    assert numbers["slow"][number]["numbers"]["there"]["loss"] == pytest.approx(run.history[-1]["total"], rel=1e-6)
    assert numbers["slow"][number]["provenance"]["settings"] == {"seed": int(number)}


@pytest.mark.slow
def test_on_a_cluster_what_is_finished_is_not_repeated_and_what_failed_is_tried_again(sweep_file, tmp_path):
    plan = read_plan(sweep_file(parameters={"bad": 1}))
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        first, second = (run_sweep(plan, tmp_path / "runs", scheduler=cluster.scheduler_address) for _ in range(2))
    assert [outcome.status for outcome in first] == ["finished", "failed"]
    assert [outcome.status for outcome in second] == ["finished before", "failed"]
    good, bad = (tmp_path / "runs" / run.name for run in plan.runs)
    assert [first for _, first, _ in starts(good)] == [0]
    assert [first for _, first, _ in starts(bad)] == [0, STEPS]  # its training was over
    found = gather(plan, tmp_path / "runs")
    assert found.keys() == {"world32"}
    (record,) = found["world32"]["munit"].values()
    assert not record["numbers"]["there"]["memory_returned_at_once"]  # as Dask has it on its workers

    with pytest.raises(SweepError, match=r"seed0 holds a finished run with the parameters .*'bad': 1.*'bad': 2"):
        run_sweep(read_plan(sweep_file(parameters={"bad": 2})), tmp_path / "runs", workers=1)


def test_nothing_is_started_where_everything_is_finished(sweep_file, tmp_path, monkeypatch):
    plan = read_plan(sweep_file())
    for run in plan.runs:
        (tmp_path / run.name).mkdir(parents=True)
        (tmp_path / run.name / "done.json").write_text(json.dumps({"parameters": run.parameters}))
    monkeypatch.setattr(sweeps, "_client", None)  # calling it would fail
    assert {outcome.status for outcome in run_sweep(plan, tmp_path)} == {"finished before"}
    assert gather(plan, tmp_path) == {}  # finished, but without results


@pytest.mark.slow
def test_a_sweep_in_pieces_repeats_no_run_of_its_results_file(sweep_file, tmp_path):
    """One piece in one folder, the next in another, as on two machines; the file holds both in the end."""
    results = tmp_path / "all.json"
    for piece, seeds in enumerate(([5], [5, 6], [6])):
        file = sweep_file(grids=[{"data": "world32", "seeds": seeds}])
        result = sweep(file=file, out=tmp_path / str(piece), workers=1, results=results)
        assert result.success
        if piece == 1:
            assert [run["status"] for run in result.values["runs"]] == ["finished before", "finished"]
    gathered = read_results(results)["world32"]["munit"]
    assert gathered.keys() == {"5", "6"} and not list((tmp_path / "1").rglob("seed5"))
    assert all(record["parameters"] == {"preset": "world32"} for record in gathered.values())
    assert all(
        set(attempt) == {"commit", "time", "calibration_seconds"}
        for entry in gathered.values()
        for attempt in entry["attempts"]
    )

    file = sweep_file(parameters={"bad": 2}, grids=[{"data": "world32", "seeds": [5]}])
    with pytest.raises(
        SweepError, match=r"the earlier results of world32/munit/seed5 are of a finished run .*'bad': 2"
    ):
        sweep(file=file, out=tmp_path / "2", workers=1, results=results)


def test_a_results_file_of_something_else_is_an_error_before_anything_is_run(sweep_file, tmp_path):
    results = tmp_path / "all.json"
    for text in ("{", "[1]", "{}", '{"numbers": {"there": {"quality": 1}}}', '{"numbers": {"a": {"b": {"0": {}}}}}'):
        results.write_text(text)
        with pytest.raises(ValueError, match=r"--results is .*all.json, which no sweep has written"):
            sweep(file=sweep_file(), out=tmp_path / "runs", results=results)
    assert not (tmp_path / "runs").exists()


def left_behind(folder, parameters, value):
    folder.mkdir(parents=True)
    (folder / "done.json").write_text(json.dumps({"parameters": parameters}))
    (folder / "starts.jsonl").write_text('{"commit": "a", "time": "1"}\n')  # as earlier versions called it
    (folder / "attempts.jsonl").write_text('{"commit": "b", "time": "2"}\n')
    (folder / "results.json").write_text(json.dumps({"numbers": {"there": {"v": value}}, "provenance": {}}))
    (folder / "quality.jsonl").write_text('{"step": 250, "cpu_minutes": 0.5}\n{"step": 500, "cpu_minutes": 1.0}\n{"st')


def test_what_the_folder_holds_is_gathered_with_every_attempt_beside_what_was_gathered_before(sweep_file, tmp_path):
    plan = read_plan(sweep_file(grids=[{"data": "world32", "seeds": [5]}]))
    (run,) = plan.runs
    left_behind(tmp_path / run.name, run.parameters, 7)
    before = {"parameters": run.parameters, "numbers": {"there": {"v": 1}}, "provenance": {}}
    earlier = {"world32": {"munit": {"5": before, "6": before}}, "fashion32": {"unit": {"0": before}}}
    found = gather(plan, tmp_path, earlier)
    assert found["fashion32"] == earlier["fashion32"] and found["world32"]["munit"]["6"] == before
    assert found["world32"]["munit"]["5"]["numbers"] == {"there": {"v": 7}}
    assert [attempt["commit"] for attempt in found["world32"]["munit"]["5"]["attempts"]] == ["a", "b"]
    assert [record["step"] for record in found["world32"]["munit"]["5"]["quality"]] == [250, 500]
    assert "quality" not in found["world32"]["munit"]["6"]
    assert earlier["world32"]["munit"]["5"] is before  # untouched


def test_a_folder_of_other_parameters_is_refused_even_if_earlier_results_fit(sweep_file, tmp_path):
    plan = read_plan(sweep_file(grids=[{"data": "world32", "seeds": [5]}]))
    (run,) = plan.runs
    left_behind(tmp_path / run.name, run.parameters | {"bad": 2}, 7)
    record = {"parameters": run.parameters, "numbers": {}, "provenance": {}}
    for refuse in (run_sweep, gather):
        with pytest.raises(SweepError, match=r"seed5 holds a finished run with the parameters .*'bad': 2"):
            refuse(plan, tmp_path, previous={"world32": {"munit": {"5": record}}})


def test_a_sweep_that_is_stopped_has_kept_what_had_finished(sweep_file, tmp_path, monkeypatch):
    def stopped(plan, out, *_, on_run_finished):
        left_behind(out / plan.runs[0].name, plan.runs[0].parameters, 3)
        on_run_finished()
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeps, "run_sweep", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep(file=sweep_file(), out=tmp_path / "runs", results=tmp_path / "all.json")
    numbers = read_results(tmp_path / "all.json")
    assert [record["numbers"] for record in numbers["world32"]["munit"].values()] == [{"there": {"v": 3}}]


def test_a_run_that_another_sweeps_worker_is_still_running_is_not_run_twice(monkeypatch, tmp_path):
    monkeypatch.setattr(sweeps, "_papermill", None)  # calling it would fail
    run = PlannedRun("w", "m", 0, {"a": 1})
    (tmp_path / run.name).mkdir(parents=True)
    with FileLock(tmp_path / run.name / ".sweep.lock", is_singleton=False):
        outcome = sweeps._run_on_worker(Path("n.ipynb"), run, tmp_path, [], {})
    assert outcome.status == "failed" and "another worker is running it" in outcome.error


def test_a_finished_run_that_is_asked_for_again_is_not_repeated(monkeypatch, tmp_path):
    """Dask asks again for what a killed worker has done, if nobody had fetched its answer."""
    ran = []
    monkeypatch.setattr(sweeps, "_papermill", lambda *_: ran.append(1))
    for _ in range(2):
        assert (
            sweeps._run_on_worker(Path("n.ipynb"), PlannedRun("w", "m", 0, {"a": 1}), tmp_path, [], {}).status
            == "finished"
        )
    assert len(ran) == 1


def test_each_worker_gets_a_gpu_of_its_own(monkeypatch, tmp_path):
    seen = []

    class Worker:
        name = 3

    monkeypatch.setattr(sweeps, "get_worker", Worker)
    monkeypatch.setattr(sweeps, "_papermill", lambda *_: seen.append(os.environ["CUDA_VISIBLE_DEVICES"]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "before")
    run = PlannedRun("world32", "munit", 0, {})
    assert sweeps._run_on_worker(Path("n.ipynb"), run, tmp_path, ["4", "5"], {}).status == "finished"
    assert seen == ["5"]
    assert sweeps._run_on_worker(Path("n.ipynb"), run, tmp_path / "cluster", [], {}).status == "finished"
    assert seen == ["5", "5"]  # on a cluster the worker's own stays


def test_a_kernel_that_dies_gets_a_second_chance_and_no_third(monkeypatch, tmp_path):
    tries = []

    def dies(*_):
        tries.append(1)
        raise RuntimeError("Kernel died")

    monkeypatch.setattr(sweeps, "_papermill", dies)
    outcome = sweeps._run_on_worker(Path("n.ipynb"), PlannedRun("world32", "munit", 0, {}), tmp_path, [], {})
    assert len(tries) == 2 and outcome.status == "failed" and outcome.error == "RuntimeError: Kernel died"
    assert not list(tmp_path.rglob("done.json"))


@pytest.mark.parametrize(("workers", "scheduler"), [(0, None), (2, "tcp://host:8786")])
def test_workers_are_one_or_more_and_not_with_a_scheduler(workers, scheduler, sweep_file, tmp_path):
    with pytest.raises(SweepError, match=f"workers is {workers}, but it must be 1 or more, and be left out where"):
        run_sweep(read_plan(sweep_file()), tmp_path, workers, scheduler)


def test_the_report_counts_and_names_the_failing_cell_last():
    outcomes = [
        Outcome("a", "failed", 3, "In [5]: boom()", "ValueError: no"),
        Outcome("b", "finished", 4),
        Outcome("c", "failed", error="KilledWorker: died"),
    ]
    assert summarize(outcomes).splitlines() == [
        "3 runs: 1 finished, 2 failed",
        "failed: a in cell In [5]: boom(): ValueError: no",
        "failed: c: KilledWorker: died",
    ]
