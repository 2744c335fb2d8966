"""Where a measured number comes from: the command, commit, settings, device, versions and time of its measurement.

Importing this module needs no torch.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from munit_lite.config import Config
from munit_lite.presets import PRESETS


def provenance(settings: dict[str, Any], command: str | None = None) -> dict[str, Any]:
    """Return where numbers that are measured now come from: command, commit, settings, device, versions and time.

    Args:
        settings: the configuration and the seeds of the measurement.
        command: the command that measures the numbers again; by default the command line of this process.
    """
    from munit_lite.storage.checkpoints import versions

    return {
        "command": command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": current_commit(),
        "settings": settings,
        "device": device_name(),
        "versions": versions(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def papermill_command(notebook: str, settings: dict[str, Any]) -> str:
    """Return the command that runs a notebook with these parameters.

    Example:
        >>> papermill_command("09_training.ipynb", {"steps": 5})
        'papermill notebooks/09_training.ipynb out.ipynb --cwd notebooks -p steps 5'
    """
    parameters = " ".join(f"-p {name} {value}" for name, value in settings.items())
    return f"papermill notebooks/{notebook} out.ipynb --cwd notebooks {parameters}"


def train_command(config: Config) -> str:
    """Return the command that trains a configuration: its preset, and an option for each field that differs from it.

    Raises:
        ValueError: the configuration's preset no longer exists.

    Example:
        >>> from munit_lite.presets import preset
        >>> train_command(preset("world32", style_dim=2))
        'munit-lite train world32 --style-dim 2'
    """
    if config.preset not in PRESETS:
        raise ValueError(f"the model was trained from the preset {config.preset!r}, which no longer exists")
    words = ["munit-lite", "train", config.preset]
    for field, value in _changed_fields(PRESETS[config.preset], config):
        option = field.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", *map(str, value if isinstance(value, tuple) else [value])]
    return shlex.join(words)


def _changed_fields(before: Any, after: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(after):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if is_dataclass(new):
            yield from _changed_fields(old, new)
        elif old != new:
            yield field.name, new


def device_name() -> str:
    """Return the name of the GPU, or the processor's architecture with its numbers of cores and threads."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads"


def current_commit() -> str:
    """Return the abbreviated commit, with a plus sign if tracked files differ from it, or "unknown" without git."""
    here = Path(__file__).parent
    try:
        name = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=here, check=False)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + ("+" if changed.returncode else "")
