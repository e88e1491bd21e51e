"""The CSV of results: a row for each case and seed."""

from __future__ import annotations

import csv
from pathlib import Path

from bayesflex.io.atomic import atomic_path
from benchmarks.accuracy.cases import CASES

RESULTS = Path(__file__).parents[1] / "results" / "accuracy.csv"

Texts = dict[str, str]


def read_rows(path: Path) -> list[Texts]:
    """Return the rows of a file; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def with_row(rows: list[Texts], row: Texts) -> list[Texts]:
    """Return rows with one put in, in place of that of the same case and seed, in the order of the cases.

    A floor that is not measured again is kept.
    """
    same = [old for old in rows if (old["case"], old["seed"]) == (row["case"], row["seed"])]
    if same and row["rmsd_floor"] == "nan":
        row = row | {"rmsd_floor": same[0]["rmsd_floor"]}
    kept = [old for old in rows if old not in same]
    order = {case.name: number for number, case in enumerate(CASES)}
    return sorted([*kept, row], key=lambda one: (order.get(one["case"], len(order)), one["case"], int(one["seed"])))


def write_rows(path: Path, rows: list[Texts]) -> None:
    """Write rows to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
