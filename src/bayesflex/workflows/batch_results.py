"""What the jobs of a batch found: a row for each, as a table and as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bayesflex import __version__
from bayesflex.io.tables import write_csv
from bayesflex.workflows.run_files import SUMMARY_FILE, write_text

TABLE_FILE, PAGE_FILE = "batch.csv", "batch.html"

#: States of a job.
DONE, FAILED, WAITING = "done", "failed", "waiting"

#: Columns of numbers, and where they are in ``summary.json``.
NUMBERS: dict[str, tuple[str, ...]] = {
    "cc_centred_start": ("cc_centred", "start"),
    "cc_centred": ("cc_centred", "fitted"),
    "cc_mask_start": ("cc_mask", "start"),
    "cc_mask": ("cc_mask", "fitted"),
    "rmsd_start_to_fitted": ("rmsd_start_to_fitted",),
    "rmsd_to_reference": ("rmsd_to_reference", "fitted"),
    "sd_median": ("sd", "median"),
    "r_hat_max": ("r_hat_max",),
    "ess_min": ("ess_min",),
    "n_divergent": ("n_divergent",),
    "seconds": ("seconds", "total"),
}
COLUMNS = ("name", "state", *NUMBERS, "warnings", "message")

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid #8888; }
th:first-child, td:first-child, td.text { text-align: left; }
.failed { color: #c2410c; } .waiting { opacity: .6; }
div { overflow-x: auto; }
"""


@dataclass(frozen=True)
class BatchRow:
    """What is known of one job.

    Parameters
    ----------
    name, state
        Of the job; state is ``DONE``, ``FAILED`` or ``WAITING``.
    message
        Why it failed.
    numbers
        By the names of ``NUMBERS``; those that there are.
    warnings
        Of the fit.
    """

    name: str
    state: str
    message: str = ""
    numbers: Mapping[str, float] | None = None
    warnings: tuple[str, ...] = ()

    def in_words(self) -> str:
        """Return the row in a line."""
        if self.state != DONE or self.numbers is None:
            return f"{self.name} {self.state}: {self.message}"
        before, after = self.numbers.get("cc_centred_start", math.nan), self.numbers.get("cc_centred", math.nan)
        warned = f", {len(self.warnings)} warnings" if self.warnings else ""
        seconds = self.numbers.get("seconds", math.nan)
        return f"{self.name} done in {seconds:.0f} s, cc_centred {before:.3f} -> {after:.3f}{warned}"

    def cells(self) -> list[str]:
        """Return the row of the table."""
        numbers = self.numbers or {}
        shown = [f"{numbers[name]:.6g}" if name in numbers else "" for name in NUMBERS]
        return [self.name, self.state, *shown, str(len(self.warnings)) if self.state == DONE else "", self.message]


def row_of(name: str, out: Path) -> BatchRow:
    """Return the row of a job whose fit is complete in a folder of its name."""
    try:
        summary = json.loads((out / name / SUMMARY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return BatchRow(name, FAILED, f"its {SUMMARY_FILE} cannot be read ({error})")
    numbers = {column: value for column, path in NUMBERS.items() if (value := _at(summary, path)) is not None}
    return BatchRow(name, DONE, "", numbers, tuple(str(text) for text in summary.get("warnings", ())))


def _at(summary: Any, path: tuple[str, ...]) -> float | None:
    for key in path:
        summary = summary.get(key) if isinstance(summary, dict) else None
    return float(summary) if isinstance(summary, int | float) else None


def write_batch(rows: Iterable[BatchRow], out: Path) -> None:
    """Write the table and the page.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    rows = list(rows)
    write_csv(out / TABLE_FILE, COLUMNS, (row.cells() for row in rows))
    write_text(out / PAGE_FILE, page(rows, out))


def page(rows: Iterable[BatchRow], out: Path) -> str:
    """Return the page over all jobs; every text in it is escaped, since names and messages hold what files hold."""
    rows = list(rows)
    counts = {state: sum(row.state == state for row in rows) for state in (DONE, FAILED, WAITING)}
    counted = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in COLUMNS)
    body = "".join(_html_row(row, out) for row in rows)
    warned = "".join(
        f"<h3>{escape(row.name)}</h3><ul>{''.join(f'<li>{escape(text)}</li>' for text in row.warnings)}</ul>"
        for row in rows
        if row.warnings
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(out.name)}: {escape(counted)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(out.name)}</h1><p>{escape(counted)}. bayesflex {escape(__version__)}.</p>"
        f"<div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        + (f"<h2>Warnings</h2>{warned}" if warned else "")
        + "</body></html>\n"
    )


def _html_row(row: BatchRow, out: Path) -> str:
    cells = row.cells()
    # The page of a run where there is one, else its folder.
    target = next((name for name in ("report.html", "log.txt") if (out / row.name / name).is_file()), None)
    name = escape(row.name)
    if target is not None:
        name = f'<a href="{escape(quote(f"./{row.name}/{target}"))}">{name}</a>'
    middle = "".join(f"<td>{escape(text)}</td>" for text in cells[1:-1])
    return f'<tr class="{escape(row.state)}"><td>{name}</td>{middle}<td class="text">{escape(cells[-1])}</td></tr>'
