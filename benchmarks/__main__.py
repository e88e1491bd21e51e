"""Measure the numerical core against what the machine can do, and write the page on it.

One thread, processor time, functions in turns: trust the ratios more than the times.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks.page import NUMBERS, write_page
from benchmarks.record import measure
from benchmarks.tables import duration


def table_of(case: dict) -> Table:
    table = Table(title=f"{case['name']}: {case['n_ca']:,} CA ({case['model']})")
    for heading in ("kernel", "time", "Gflop/s", "of the roof", "nearest limit", "of it"):
        table.add_column(heading, justify="left" if heading in ("kernel", "nearest limit") else "right")
    for row in case["kernels"]:
        table.add_row(
            row["kernel"],
            duration(row["seconds"]),
            f"{1e-9 * row['operations'] / row['seconds']:.1f}",
            f"{100 * row['of_roof']:.1f} %",
            row["limited_by"],
            f"{100 * row['of_limit']:.1f} %",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few samples of the smallest model")
    parser.add_argument("--compilation", action="store_true", help="also a whole demo without compiled kernels")
    parser.add_argument(
        "-o", "--output", type=Path, help="write the page, its figure and the numbers below this folder"
    )
    parser.add_argument(
        "--again", action="store_true", help=f"write the page from the numbers in {NUMBERS} of that folder, unmeasured"
    )
    arguments = parser.parse_args()
    console = Console()
    if arguments.again:
        if arguments.output is None:
            parser.error("--again needs --output")
        record = json.loads((arguments.output / NUMBERS).read_text(encoding="utf-8"))
    else:
        with threadpool_limits(1):
            record = measure(arguments.quick, arguments.compilation, lambda text: console.print(text, style="dim"))
    for case in record["cases"]:
        console.print(table_of(case))
    if arguments.output:
        console.print(f"Wrote {write_page(record, arguments.output)}")


if __name__ == "__main__":
    main()
