"""Measure how near fits come to known answers: ``python -m benchmarks.accuracy --case adk --seeds 1``.

Rows are kept in a CSV: a case and seed measured again replaces its row, all others stay, so that an interrupted run
goes on with ``--missing``. The page docs/accuracy.md takes its table from there.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.accuracy.cases import CASES
from benchmarks.accuracy.measure import measure
from benchmarks.accuracy.page import write_table
from benchmarks.accuracy.rows import RESULTS, read_rows, with_row, write_rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--case", action="append", help="cases whose names begin with this; by default all")
    parser.add_argument("--seeds", default="1,2,3", help="seeds, with commas between them")
    parser.add_argument("--no-floor", action="store_true", help="do not fit the answer itself")
    parser.add_argument("--missing", action="store_true", help="measure only what has no row yet")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the CSV to keep")
    parser.add_argument("--page", type=Path, help="write the table into this page")
    parser.add_argument("--again", action="store_true", help="write the page from the CSV, unmeasured")
    arguments = parser.parse_args()
    wanted = [case for case in CASES if not arguments.case or any(case.name.startswith(n) for n in arguments.case)]
    if not wanted:
        parser.error(f"no such case; there are {', '.join(case.name for case in CASES)}")
    seeds = [int(text) for text in arguments.seeds.split(",")]
    if not arguments.again:
        named = os.environ.get("BAYESFLEX_DATA", "")
        folder = Path(named)
        if not named or not folder.is_dir():
            sys.exit(f"BAYESFLEX_DATA: expected the folder of the reference data, got {named!r}")
        for case in wanted:
            for seed in seeds:
                known = {(row["case"], row["seed"]) for row in read_rows(arguments.results)}
                if arguments.missing and (case.name, str(seed)) in known:
                    continue
                row = measure(case, case.make(folder, seed), seed, not arguments.no_floor)
                write_rows(arguments.results, with_row(read_rows(arguments.results), row.as_texts()))
                print(
                    f"{case.name} seed {seed}: {row.rmsd_start:.2f} -> {row.rmsd_fitted:.2f} Å"
                    f" (floor {row.rmsd_floor:.2f}; part {row.part_start:.2f} -> {row.part_fitted:.2f}); cc_centred "
                    f"{row.cc_centred_fitted:.4f}, truth {row.cc_centred_truth:.4f}; {row.clusters} clusters; "
                    f"{row.seconds:.0f} s, processor {row.processor_seconds:.0f} s",
                    flush=True,
                )
    if arguments.page is not None:
        write_table(arguments.page, read_rows(arguments.results))


if __name__ == "__main__":
    main()
