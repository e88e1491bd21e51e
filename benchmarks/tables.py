"""Numbers and tables as the page shows them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

_PREFIXES = ("", "k", "M", "G", "T")


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = [heading, ["---"] * len(heading), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def three_digits(value: float) -> str:
    """Return a number of at least three digits, without more decimals than that takes."""
    if value == 0.0:
        return "0"
    decimals = max(2 - math.floor(math.log10(abs(value)) + 1e-9), 0)
    return f"{value:,.{min(decimals, 4)}f}"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(seconds) >= 0.9995 * size:
            return f"{three_digits(seconds / size)} {unit}"
    return f"{three_digits(seconds * 1e6)} µs"


def quantity(value: float, unit: str) -> str:
    """Return an amount with the prefix that suits it."""
    power = 0
    while abs(value) >= 1000.0 and power < len(_PREFIXES) - 1:
        value, power = value / 1000.0, power + 1
    return f"{three_digits(value)} {_PREFIXES[power]}{unit}".rstrip()


def effective_draws(row: dict[str, Any]) -> list[str]:
    """Return what ``benchmarks.ess`` measured of a sampler as cells, up to its R-hat."""
    cells = [row["sampler"], f"{row['step_size']:.3g}", f"{row['acceptance']:.2f}"]
    cells.append(f"{row['gradients_per_second']:,.0f}")
    for kind in ("amplitudes", "coordinates"):
        numbers = row[kind]
        cells.append(f"{numbers['worst']:.3g}, {numbers['median']:.3g}")
        cells.append(f"{numbers['worst_at_most']:.3g}, {numbers['median_at_most']:.3g}")
    return cells
