"""`munit-lite`: what is typed becomes a job of `jobs.py`; its answer, or its error, becomes words and an exit code."""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import tyro

import munit_lite
from munit_lite.jobs import COMMANDS, Job
from munit_lite.presets import PRESETS

DESCRIPTION = """Train MUNIT, translate images with it, and measure it.
- `munit-lite COMMAND --help` tells a command's options
- `munit-lite --version` tells the version
- `munit-lite --tyro-print-completion bash` (or zsh) prints a script that completes them in the shell
- exit codes: 0 good; 1 an error, told in a sentence on stderr (for doctor: something essential is missing);
2 a command, option or value that cannot be; 130 stopped by Ctrl-C; 143 stopped by SIGTERM"""


def main() -> None:
    """The command `munit-lite`."""
    try:
        try:
            _answer(sys.argv[1:] or ["--help"])
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # who read it, say `head`, has gone; Python would complain once more when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _answer(arguments: Sequence[str]) -> None:
    if arguments == ["--version"]:
        print(f"munit-lite {munit_lite.__version__}")
        return
    job = _parse(arguments)
    try:
        with _sigterm_exits(), contextlib.redirect_stdout(sys.stderr) if job.json else contextlib.nullcontext():
            answer = job.run()
    except KeyboardInterrupt as stop:
        print(f"munit-lite: {str(stop) or 'stopped by Ctrl-C'}", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            print("munit-lite: this is unexpected; `munit-lite doctor` examines the installation", file=sys.stderr)
            raise
        sys.exit(f"munit-lite: {sentence}")
    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun started, one alone answers
        print(json.dumps(_finite(answer.values), indent=1) if job.json else answer.text)
    if not answer.good:
        sys.exit(1)


def _parse(arguments: Sequence[str]) -> Job:
    try:
        return tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="munit-lite",
            description=DESCRIPTION,
            args=arguments,
            config=(
                tyro.conf.OmitArgPrefixes,
                tyro.conf.OmitSubcommandPrefixes,
                tyro.conf.FlagCreatePairsOff,
                tyro.conf.PositionalMetavarFromFieldName,
                tyro.conf.DisallowNone,
            ),
        )
    except SystemExit as stop:
        near = _near(arguments) if stop.code == 2 else None
        if near:
            print(f"munit-lite: did you mean {near}?", file=sys.stderr)
        raise


def _near(arguments: Sequence[str]) -> str | None:
    """The command or preset that was probably meant, if the first name that is none looks like one."""
    for given, known in zip(arguments, (COMMANDS, PRESETS), strict=False):
        if given not in known:
            return next(iter(difflib.get_close_matches(given, known, n=1)), None)
        if given != "train":
            return None
    return None


def _sentence(error: Exception) -> str | None:
    """What to tell of a foreseen error: one of the package's own, a wrong value, a file, memory, an import."""
    if type(error).__name__ == "OutOfMemoryError":
        return "the GPU's memory is full; use a smaller --batch-size, a smaller --size, or --device cpu"
    if isinstance(error, ImportError):
        return f"{error}; `munit-lite doctor` says what is missing"
    if isinstance(error, ValueError | OSError) or type(error).__module__.startswith("munit_lite."):
        return str(error)
    return None


def _finite(values: Any) -> Any:
    """The same values with null for numbers that are not finite, which JSON cannot hold."""
    if isinstance(values, dict):
        return {name: _finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


@contextlib.contextmanager
def _sigterm_exits() -> Iterator[None]:
    """While inside, SIGTERM leaves by way of an exception, so that what is open is closed; training has its own way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
