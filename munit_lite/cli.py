"""`munit-lite`: parse what was typed, call the function in `commands.py`, print its result or its error."""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple, Union

import tyro

import munit_lite
from munit_lite.commands import COMMANDS, CommandResult, UsageError
from munit_lite.doctor import extra_of, install_command
from munit_lite.presets import PRESETS

DESCRIPTION = """Train MUNIT, translate images with it, and evaluate it.
- `munit-lite COMMAND --help` lists the options of a command
- `munit-lite --version` prints the version
- `munit-lite --tyro-print-completion bash` (or zsh) prints a script that completes commands and options in the shell
- exit codes: 0 success; 1 an error, explained in a sentence on stderr (for doctor: something essential is missing);
2 an invalid command, option or value; 130 stopped by Ctrl-C; 143 stopped by SIGTERM"""


def main() -> None:
    """Run `munit-lite` with the arguments of the process."""
    try:
        try:
            _run(sys.argv[1:] or ["--help"])
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended; Python would complain again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: Sequence[str]) -> None:
    if arguments == ["--version"]:
        print(f"munit-lite {munit_lite.__version__}")
        return
    command, as_json = parse_arguments(arguments)
    try:
        with _exit_on_sigterm(), contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            result = command()
    except KeyboardInterrupt as stop:
        print(f"munit-lite: {str(stop) or 'stopped by Ctrl-C'}", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        message = _error_message(error)
        if message is None:
            print("munit-lite: unexpected error; `munit-lite doctor` examines the installation", file=sys.stderr)
            raise
        print(f"munit-lite: {message}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    if os.environ.get("RANK", "0") == "0":  # torchrun starts several processes; only the first prints
        print(json.dumps(_finite(result.values), indent=1) if as_json else result.text)
    if not result.success:
        sys.exit(1)


# ------------------------------------------------------------------------------------------------------------ parsing


def _deferred(function: Callable[..., CommandResult]) -> Callable[..., functools.partial[CommandResult]]:
    """Return a function that the parser can call, with the same parameters, which only binds the arguments.

    The command runs after parsing, because the parser would report its ValueErrors as mistakes of usage.
    """

    @functools.wraps(function)
    def bind(*args: Any, **kwargs: Any) -> functools.partial[CommandResult]:
        return functools.partial(function, *args, **kwargs)

    bind.__doc__ = re.sub(r"\n {12}", " ", function.__doc__ or "")  # tyro would break lines where the source does
    return bind


_Command: Any = Union[  # noqa: UP007
    tuple(
        Annotated[Any, tyro.conf.subcommand(name, constructor=_deferred(function))]
        for name, function in COMMANDS.items()
    )
]


class CommandLine(NamedTuple):
    """A command with its arguments bound, and the option that all commands share.

    Args:
        command: The command to run.
        json: Print one JSON object on stdout instead of text; progress goes to stderr either way.
    """

    command: _Command
    json: bool = False


def parse_arguments(arguments: Sequence[str]) -> CommandLine:
    """Parse the arguments after `munit-lite`.

    Raises:
        SystemExit: with code 0 after printing help or a completion script, with code 2 after a mistake.
    """
    try:
        return tyro.cli(
            CommandLine,
            prog="munit-lite",
            description=DESCRIPTION,
            args=arguments,
            config=(
                tyro.conf.CascadeSubcommandArgs,
                tyro.conf.OmitArgPrefixes,
                tyro.conf.OmitSubcommandPrefixes,
                tyro.conf.FlagCreatePairsOff,
                tyro.conf.PositionalMetavarFromFieldName,
                tyro.conf.DisallowNone,
            ),
        )
    except SystemExit as stop:
        similar = _similar_name(arguments) if stop.code == 2 else None
        if similar:
            print(f"munit-lite: did you mean {similar}?", file=sys.stderr)
        raise


def _similar_name(arguments: Sequence[str]) -> str | None:
    """Return the command or preset that an unknown name resembles."""
    for name, known_names in zip(arguments, (list(COMMANDS), list(PRESETS)), strict=False):
        if name not in known_names:
            return next(iter(difflib.get_close_matches(name, known_names, n=1)), None)
        if name != "train":
            return None
    return None


# ------------------------------------------------------------------------------------------------- results and errors


def _error_message(error: Exception) -> str | None:
    """Return the message of an expected error: the package's own, a value, a file, memory, an import; else None."""
    if type(error).__name__ == "OutOfMemoryError":
        smaller = "a smaller --batch-size, a smaller size (--size of translate, --image-size of train)"
        return f"the GPU's memory is full; use {smaller}, or --device cpu"
    if isinstance(error, ModuleNotFoundError) and (extra := extra_of(error.name or "")):
        return f"{error}; to install the extra {extra!r}, run {install_command(extra)} in the repository"
    if isinstance(error, ImportError):
        return f"{error}; `munit-lite doctor` reports what is missing"
    if isinstance(error, ValueError | OSError) or type(error).__module__.startswith("munit_lite."):
        return str(error)
    return None


def _finite(values: Any) -> Any:
    """Replace numbers that are not finite by null, because JSON has no others."""
    if isinstance(values, dict):
        return {name: _finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that open files are closed; training installs its own handler."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
