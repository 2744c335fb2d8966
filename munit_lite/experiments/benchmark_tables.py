"""Tables of the benchmark, and a check that the numbers of a row agree with each other."""

from __future__ import annotations

import math

from munit_lite.experiments.markdown import markdown_table

Numbers = dict[str, float]

SHARES = ("generator", "discriminator", "optimizer", "data", "logging", "saving")  # of the training loop's time


def find_inconsistencies(row: Numbers) -> list[str]:
    """Compare each number of a row with the value that follows from the others, within floating-point rounding.

    Args:
        row: the numbers of one preset, as `benchmark.measure` returns them.

    Returns:
        One sentence for each inconsistency; an empty list if the numbers agree.

    Example:
        >>> find_inconsistencies({"batch_size": 8, "seconds_per_step": 0.25, "images_per_second": 32.0})
        ['images_per_second is 32, but 64 follows from the other numbers']
    """
    derived = {"images_per_second": 2 * row["batch_size"] / row["seconds_per_step"]}
    problems = []
    shares = [row[f"share_of_{part}"] for part in SHARES if f"share_of_{part}" in row]
    if shares:
        derived["flop_per_second"] = row["flop_per_step"] / row.get("profiled_seconds_per_step", math.nan)
        derived["share_of_peak"] = row["flop_per_second"] / row["matrix_product_flop_per_second"]
        if abs(sum(shares) - 1) > 1e-6:
            problems.append(f"the shares of the step's time add up to {sum(shares):.3f}")
    if "speedup" in row or "straight_line_seconds_per_step" in row:
        derived["speedup"] = row["straight_line_seconds_per_step"] / row["seconds_per_step"]
        if not row["speedup_min"] <= row["speedup"] <= row["speedup_max"]:
            extremes = f"{row['speedup_min']:.3f} to {row['speedup_max']:.3f}"
            problems.append(f"speedup {row['speedup']:.3f} is outside its range, {extremes}")
    for name, value in derived.items():
        if not math.isclose(row[name], value, rel_tol=1e-6):
            problems.append(f"{name} is {row[name]:.4g}, but {value:.4g} follows from the other numbers")
    return problems


def cost_table(rows: dict[str, Numbers]) -> str:
    """Return time and memory as a Markdown table, with the speedup where the straight-line step was timed."""
    with_speedup = any("speedup" in row for row in rows.values())
    header = ["preset", "size", "batch", "seconds per step", "images/s", "peak memory"]
    header += ["speedup over the straight-line step", "its peak memory"] if with_speedup else []
    lines = []
    for name, row in rows.items():
        cells = [
            f"`{name}`",
            f"{row['size']} px",
            str(row["batch_size"]),
            f"{row['seconds_per_step']:.2f}",
            f"{row['images_per_second']:.1f}",
            f"{row['peak_memory_gib']:.1f} GiB",
        ]
        if "speedup" in row:
            cells.append(f"{row['speedup']:.2f} ({row['speedup_min']:.2f} to {row['speedup_max']:.2f})")
            cells.append(f"{row['straight_line_peak_memory_gib']:.1f} GiB")
        lines.append(cells)
    return markdown_table(header, lines)


def profile_table(rows: dict[str, Numbers]) -> str:
    """Return where the time goes, and the arithmetic, as a Markdown table."""
    header = ["preset", *(f"{part}, %" for part in SHARES), "GFLOP per step", "GFLOP/s", "of a matrix product's"]
    lines = [
        [
            f"`{name}`",
            *(f"{100 * row[f'share_of_{part}']:.1f}" if f"share_of_{part}" in row else "" for part in SHARES),
            f"{row['flop_per_step'] / 1e9:.1f}",
            f"{row['flop_per_second'] / 1e9:.1f}",
            f"{100 * row['share_of_peak']:.0f} %",
        ]
        for name, row in rows.items()
    ]
    return markdown_table(header, lines)
