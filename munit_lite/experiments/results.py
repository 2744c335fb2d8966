"""Measured numbers and where they come from: every file under `data/results/` is written here.

Reading them needs no torch, so that the doctor can where it is broken.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from munit_lite.evaluation.metric_names import with_current_metric_names
from munit_lite.storage.files import atomic_path

RESULTS = Path(__file__).parents[2] / "data" / "results"


def provenance(settings: dict[str, Any], command: str | None = None) -> dict[str, Any]:
    """Command, commit, settings, device, versions and time of a measurement."""
    from munit_lite.storage.run_folder import versions

    return {
        "command": command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": commit(),
        "settings": settings,
        "device": device_name(),
        "versions": versions(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def papermill_command(notebook: str, settings: dict[str, Any]) -> str:
    """The command that runs a notebook with these parameters."""
    parameters = " ".join(f"-p {name} {value}" for name, value in settings.items())
    return f"papermill notebooks/{notebook} out.ipynb --cwd notebooks {parameters}"


def write_results(
    name: str | Path, numbers: dict[str, Any], settings: dict[str, Any], command: str | None = None
) -> Path:
    """Write numbers with their provenance.

    Args:
        name: a bare name (then the file is data/results/<name>.json) or a path that ends in .json.
        numbers: what was measured.
        settings: configuration and seeds.
        command: what to run to get them again; by default the command line of this process.
    """
    path = _file(name)
    text = json.dumps({"numbers": numbers, "provenance": provenance(settings, command)}, indent=1)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n")
    return path


def read_results(name: str | Path) -> dict[str, Any]:
    """The numbers of a file, named as for `write_results`."""
    return with_current_metric_names(json.loads(_file(name).read_text())["numbers"])


def _file(name: str | Path) -> Path:
    return Path(name) if str(name).endswith(".json") else RESULTS / f"{name}.json"


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; a bar inside a cell stays in it."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def device_name() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads"


def commit() -> str:
    """The commit, with a plus if tracked files differ from it."""
    here = Path(__file__).parent
    try:
        name = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=here, check=False)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + ("+" if changed.returncode else "")
