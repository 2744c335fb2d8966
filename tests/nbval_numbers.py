"""Let nbval compare numbers within a tolerance: `PYTHONPATH=tests pytest -p nbval_numbers --nbval …`.

Another processor or another number of threads changes the last digits of a measured number. nbval compares outputs
character by character, so this plugin compares them first. Text must be equal, and a number may differ from the stored
one by 2 % of the stored number or by one unit of its last printed digit, whichever is larger.

- *Integers are exact*, because they count things: `3 of 3`, `10,000`, shapes, steps. An integer beside `±` or in front
  of `%` is a measurement and has the tolerance.
- *Bounds are exact*: a number behind `<`, `>`, `≤` or `≥`.
- *Digits inside words are text*: `x1`, `seed0`, `2.15.0+cu132`, `run_0.5.json`, `0.5s`, `run-0.5`. So are `nan`, `inf`,
  numbers without a leading zero (`.05`), code between backticks and HTML tags.
- *Runs of spaces are one space*, and spaces around a line or in front of a number do not count: in an aligned table
  they depend on the number of digits.
- The last printed digit is the finer one of both numbers: `10` and `9.98` are compared to 0.01.

Zero is one unit of the last digit away from `0.001`. A number that must not become zero, such as a p-value, therefore
needs two significant digits: `0.0010`, which Python prints with the format `#.2g`.

A cell that varies by more says so in its metadata, with the spread that was measured across instruction sets and
numbers of threads: the largest relative difference among the numbers that moved by more than one unit of their last
digit.

    "metadata": {"munit_lite": {"tolerance": 0.05, "spread": 0.03}}

The tolerance lies between the spread and twice the spread. It is relative, so it does not help numbers near zero; print
these with fewer digits. `--nbval-spread` lists the spread of each cell whose numbers moved, and the environment
`ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41` imitates an older processor.
"""

from __future__ import annotations

import copy
import inspect
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from typing import Any, NamedTuple

import pytest

TOLERANCE = Decimal("0.02")  # of the stored number
METADATA = "munit_lite"  # key of a cell's metadata
MOST_SPREADS = 2  # the largest tolerance, in measured spreads
LISTED = 10  # numbers in a failure report
MOVED = "numbers that moved"  # name of a test report's property

TOKEN = re.compile(
    r"""
    (?P<verbatim> ```.*?``` | `[^`\n]*` | </?[A-Za-z!][^<>\n]*> )
    |
    (?<! [\w.] ) (?<! [^\W\d][-/\\] )                   # neither inside a word nor joined to one
    (?P<number>
        (?: (?<! [)\]] ) [-+−] )?                       # a sign, not the minus of a difference
        (?: [0-9]{1,3} (?: ,[0-9]{3} )+ | [0-9]+ )
        (?: \.[0-9]+ )?
        (?: [eE][-+][0-9]+ )?
    )
    (?! \.?\w )                                         # 0.5s and 2.15.0 are words
    """,
    re.VERBOSE | re.DOTALL,
)
BOUND_BEFORE = re.compile(r"((?<![-=])[<>]|[<>]=|[≤≥])\s*$")  # but not an arrow
MEASURED_BEFORE = re.compile(r"(±|\+/-)\s*$")
MEASURED_BEHIND = re.compile(r"\s*(±|\+/-|\\?%)")


# ------------------------------------------------------------------------------------------------- two texts


class Number(NamedTuple):
    """A number of a text.

    Args:
        text: how it is printed.
        line: its line, counted from 0.
        exact: it is a bound, or an integer that is no measurement.
    """

    text: str
    line: int
    exact: bool

    @property
    def value(self) -> Decimal:
        return Decimal(self.text.replace(",", "").replace("−", "-"))

    @property
    def unit(self) -> Decimal:
        """One unit of the last printed digit."""
        return Decimal(1).scaleb(int(self.value.as_tuple().exponent))


class Text(NamedTuple):
    """What stands between two numbers."""

    text: str


def tokens(text: str) -> list[Text | Number]:
    """Split a text into numbers and the text between them: text, number, text, …, number, text."""
    found: list[Text | Number] = []
    between, start, line = "", 0, 0
    text = text.strip(" \t")
    for match in TOKEN.finditer(text):
        before = text[start : match.start()]
        between += _collapsed(before)
        start = match.end()
        if match["number"] is None:
            between += match[0]
            continue
        measured = MEASURED_BEFORE.search(before) or MEASURED_BEHIND.match(text, start)
        counts = not re.search(r"[.eE]", match[0]) and not measured
        line += between.count("\n")
        exact = counts or bool(BOUND_BEFORE.search(before))
        found += [Text(between.rstrip(" ")), Number(match[0], line, exact)]
        between = ""
    return [*found, Text(between + _collapsed(text[start:]))]


def _collapsed(text: str) -> str:
    """Make runs of spaces one space, and none at the beginning and the end of a line."""
    return re.sub(r" ?\n ?", "\n", re.sub(r"[ \t]+", " ", text))


@dataclass(frozen=True)
class Difference:
    """Two numbers that are not equal.

    Args:
        stored: the number in the notebook, as printed.
        computed: the number of this run, as printed.
        line: its line in the output, counted from 1.
        difference: absolute.
        allowed: the largest allowed difference.
        reason: how the allowed difference came about.
        spread: the difference as a fraction of the stored number (infinite if that is 0); 0 within one unit of the last
            digit.
    """

    stored: str
    computed: str
    line: int
    difference: Decimal
    allowed: Decimal
    reason: str
    spread: float

    @property
    def too_large(self) -> bool:
        return self.difference > self.allowed

    def __str__(self) -> str:
        return (
            f"line {self.line}: stored {self.stored}, computed {self.computed}; "
            f"they differ by {self.difference:f}, allowed is {self.allowed:f} ({self.reason})"
        )


def compare_numbers(stored: Number, computed: Number, tolerance: Decimal = TOLERANCE) -> Difference | None:
    """Compare two numbers; None if their values are equal."""
    size, difference = abs(stored.value), abs(stored.value - computed.value)
    if difference == 0:
        return None
    unit, share = min(stored.unit, computed.unit), tolerance * size
    if stored.exact and computed.exact:
        allowed, reason = Decimal(0), "integers and bounds are exact"
    elif share > unit:
        allowed, reason = share, f"{(100 * tolerance).normalize():f} % of the stored number"
    else:
        allowed, reason = unit, "one unit of the last digit"
    spread = 0.0 if difference <= unit else float(difference / size) if size else math.inf
    return Difference(stored.text, computed.text, stored.line + 1, difference, allowed, reason, spread)


class Comparison(NamedTuple):
    """The outcome of comparing two texts.

    Args:
        problems: why they count as different, for a person to read; empty if they do not.
        moved: the numbers that are not equal, within the tolerance or not.
    """

    problems: list[str]
    moved: list[Difference]


def compare_texts(stored: str, computed: str, tolerance: Decimal = TOLERANCE) -> Comparison:
    """Compare the text of two outputs exactly and their numbers within a tolerance, relative to the stored ones."""
    moved: list[Difference] = []
    for ours, theirs in zip_longest(tokens(stored), tokens(computed)):
        if isinstance(ours, Number) and isinstance(theirs, Number):
            if difference := compare_numbers(ours, theirs, tolerance):
                moved.append(difference)
        elif ours is None or theirs is None or ours.text != theirs.text:
            return Comparison([_first_other_line(stored, computed)], moved)
    problems = []
    for difference in filter(lambda difference: difference.too_large, moved):
        lines = (text.split("\n")[difference.line - 1] for text in (stored, computed))
        problems.append("{}\n    stored:   {}\n    computed: {}".format(difference, *lines))
    if len(problems) > LISTED:
        problems[LISTED:] = [f"and {len(problems) - LISTED} more numbers"]
    return Comparison(problems, moved)


def _first_other_line(stored: str, computed: str) -> str:
    """Report the first line whose text differs, or, if blocks of code differ, the first that is not the same."""
    pairs = list(zip_longest(stored.split("\n"), computed.split("\n")))
    unlike = [k for k, (ours, theirs) in enumerate(pairs) if not _same_words(ours, theirs)]
    line = unlike[0] if unlike else next(k for k, (ours, theirs) in enumerate(pairs) if ours != theirs)
    lines = ("(no line)" if text is None else text for text in pairs[line])
    return "line {}: the text differs\n    stored:   {}\n    computed: {}".format(line + 1, *lines)


def _same_words(stored: str | None, computed: str | None) -> bool:
    if stored is None or computed is None:
        return False
    ours, theirs = ([t.text if isinstance(t, Text) else None for t in tokens(line)] for line in (stored, computed))
    return ours == theirs


# ------------------------------------------------------------------------------------------------- a cell's tolerance


def cell_tolerance(metadata: Mapping[str, Any]) -> Decimal:
    """Return the relative tolerance of a cell.

    Raises:
        ValueError: the metadata states a tolerance without the measured spread, a tolerance that is not larger than the
            general one, or one that does not lie between the spread and twice the spread.
    """
    if METADATA not in metadata:
        return TOLERANCE
    asked = metadata[METADATA]
    if not isinstance(asked, Mapping) or set(asked) != {"tolerance", "spread"}:
        raise ValueError(f'metadata "{METADATA}" must hold a "tolerance" and the measured "spread", not {asked!r}')
    for name, value in asked.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise ValueError(f'metadata "{METADATA}": "{name}" must be a fraction between 0 and 1, not {value!r}')
    tolerance, spread = (Decimal(str(asked[name])) for name in ("tolerance", "spread"))
    if tolerance <= TOLERANCE:
        raise ValueError(f"the tolerance {tolerance} is not larger than {TOLERANCE}, which every cell has")
    if not spread <= tolerance <= MOST_SPREADS * spread:
        raise ValueError(
            f"the tolerance {tolerance} must lie between the measured spread {spread} and twice the spread"
        )
    return tolerance


# ------------------------------------------------------------------------------------------------- nbval


def _texts(outputs: Iterable[Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield (nbval's name for it, the mapping that holds it, its key there) for each text of a cell's outputs."""
    for output in outputs:
        if output["output_type"] == "stream":
            yield output["name"], output, "text"
        for mime in filter(lambda mime: mime.startswith("text/"), output.get("data", {})):
            yield mime, output["data"], mime


def accept_numbers(
    test: list[Any], ref: list[Any], tolerance: Decimal
) -> tuple[list[Any], list[str], list[Difference]]:
    """Put the computed text in place of each stored one that it equals up to its tolerance.

    Args:
        test: the outputs of this run.
        ref: the stored outputs; they are not changed.
        tolerance: relative to the stored numbers.

    Returns:
        the stored outputs after that, the problems of the other texts, and the numbers that are not equal.
    """
    ref = copy.deepcopy(ref)
    computed: dict[str, list[str]] = defaultdict(list)
    for name, holder, key in _texts(test):
        computed[name].append(holder[key])
    stored: dict[str, list[tuple[Any, str]]] = defaultdict(list)
    for name, holder, key in _texts(ref):
        stored[name].append((holder, key))
    problems: list[str] = []
    moved: list[Difference] = []
    for name, places in stored.items():
        if len(places) != len(computed[name]):
            continue  # nbval's own comparison reports it
        for (holder, key), text in zip(places, computed[name], strict=True):
            found = compare_texts(holder[key], text, tolerance)
            problems += [f"{name}, {problem}" for problem in found.problems]
            moved += found.moved
            if not found.problems:
                holder[key] = text
    return ref, problems, moved


def pytest_addoption(parser):
    parser.getgroup("nbval").addoption(
        "--nbval-spread", action="store_true", help="list the cells whose numbers moved, and by how much at most"
    )


def pytest_itemcollected(item):
    """Let a cell accept numbers within its tolerance before nbval compares."""
    from nbval import plugin

    if not isinstance(item, plugin.IPyNbCell):
        return
    exact = getattr(item, "compare_outputs", None)
    if exact is None or list(inspect.signature(exact).parameters)[:2] != ["test", "ref"]:
        raise pytest.UsageError(
            "nbval_numbers.py replaces nbval's IPyNbCell.compare_outputs(test, ref), which this version of nbval does "
            "not have; adapt the plugin or install the nbval of requirements.lock"
        )

    def compare_outputs(test, ref, *args, **kwargs) -> bool:
        try:
            tolerance = cell_tolerance(item.cell.metadata)
        except ValueError as error:
            item.raise_cell_error(str(error))
        ref, problems, moved = accept_numbers(test, ref, tolerance)
        item.user_properties.append((MOVED, [(d.spread, d.too_large, d.stored, d.computed) for d in moved]))
        same = exact(test, ref, *args, **kwargs)
        if not same:
            item.comparison_traceback[:0] = [*problems, ""]
        return same

    item.compare_outputs = compare_outputs


def pytest_terminal_summary(terminalreporter, config):
    if not config.getoption("--nbval-spread"):
        return
    terminalreporter.section("numbers that moved")
    for reports in terminalreporter.stats.values():
        for report in reports:
            if moved := dict(getattr(report, "user_properties", ())).get(MOVED):
                spread, _, stored, computed = max(moved)
                beyond = sum(too_large for _, too_large, *_ in moved)
                most = f"spread {spread:.2g}, from {stored} to {computed}" if spread else "within one unit each"
                terminalreporter.write_line(f"{report.nodeid}: {len(moved)} moved, {beyond} too far; {most}")
