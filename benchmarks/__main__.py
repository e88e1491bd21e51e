"""Time the numerical core and its plain twin in one run, on one thread, and print a table.

The functions take turns, so that a busy machine slows all of them alike: trust the ratios more than the times.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import bayesflex
from bayesflex.io.atomic import atomic_path
from benchmarks.cases import CASES, PLAIN, SIGMA, TIMED, Case, functions_of

#: The twin takes seconds where the rest takes milliseconds: it is timed so often at most.
_PLAIN_REPEATS = 3


def milliseconds(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median time of each function in ms; the first call of each compiles and is not counted."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for name, function in functions.items():
        if name != PLAIN:
            function()
    for turn in range(repeats):
        for name, function in functions.items():
            if name == PLAIN and turn >= _PLAIN_REPEATS:
                continue
            begin = time.perf_counter()
            function()
            times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(taken) for name, taken in times.items()}


def timed(case: Case, repeats: int) -> dict[str, object]:
    """Return the timings of one case, with what it is."""
    name, ca = case.model()
    times = milliseconds(functions_of(case, ca), repeats)
    return {
        "model": name,
        "n_points": ca.n_atoms,
        "grid": case.n_voxels,
        "voxel_size": case.voxel,
        "milliseconds": times,
        "times_faster_than_plain": {
            key: times[PLAIN] / taken for key, taken in times.items() if key != PLAIN and "likelihood" in key
        },
    }


def table_of(results: list[dict]) -> Table:
    table = Table()
    table.add_column("")
    for result in results:
        box = f"{result['grid']}³ × {result['voxel_size']:g} Å"
        table.add_column(f"{result['n_points']} points\n{box}\n{result['model']}", justify="right")
    for name in TIMED:
        cells = []
        for result in results:
            ratio = result["times_faster_than_plain"].get(name)
            shown = f"{result['milliseconds'][name]:,.2f}"
            cells.append(shown if ratio is None else f"{shown} ({ratio:,.0f} ×)")
        table.add_row(name, *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three repeats, without the largest model")
    parser.add_argument("-o", "--output", type=Path, help="also write the numbers to this file, as JSON")
    arguments = parser.parse_args()
    console = Console()
    cases, repeats = (CASES[:2], 3) if arguments.quick else (CASES, 15)
    results = []
    with threadpool_limits(1):
        for case in cases:
            console.print(f"{case.n_points} points ...", style="dim")
            results.append(timed(case, repeats))
    console.print(f"Milliseconds (medians, one thread), σ {SIGMA:g} Å; in brackets: times faster than the plain twin")
    console.print(table_of(results))
    if arguments.output:
        record = {"version": bayesflex.__version__, "machine": platform.processor(), "cases": results}
        with atomic_path(arguments.output) as path:
            path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
