"""The table of the page, from the rows of the CSV."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from bayesflex.io.atomic import atomic_path
from benchmarks.accuracy.cases import CASES, Case
from benchmarks.accuracy.rows import Texts
from benchmarks.tables import table

BEGIN, END = "<!-- accuracy: begin -->", "<!-- accuracy: end -->"

_HEADING = (
    "case",
    "map, Å",
    "seeds",
    "start",
    "fitted",
    "aim",
    "reached",
    "floor",
    "part",
    "cc_centred",
    "of the truth",
    "overfit",
    "s",
    "processor s",
)


def table_lines(rows: list[Texts]) -> list[str]:
    """Return the table: a line for each case that has rows, medians over its seeds."""
    lines = []
    for case in CASES:
        of_case = [row for row in rows if row["case"] == case.name]
        if of_case:
            lines.append(_line(case, of_case))
    return table(_HEADING, lines)


def write_table(path: Path, rows: list[Texts]) -> None:
    """Put the table of cases into a page."""
    write_between(path, (BEGIN, END), table_lines(rows))


def write_between(path: Path, marks: tuple[str, str], lines: list[str]) -> None:
    """Put lines between two marks of a page."""
    begin, end = marks
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join([before + begin, *lines, end + after]), encoding="utf-8")


def _line(case: Case, rows: list[Texts]) -> tuple[str, ...]:
    def middle(name: str) -> float:
        values = [float(row[name]) for row in rows if row[name] != "nan"]
        return median(values) if values else float("nan")

    def shown(value: float, digits: int = 2) -> str:
        return "–" if value != value else f"{value:.{digits}f}"

    fitted = middle("rmsd_fitted")
    reached = "–" if case.aim is None else "yes" if fitted <= case.aim else "**no**"
    part = "–"
    if case.part is not None:
        part = f"{case.part[2]} {shown(middle('part_start'), 1)} → {shown(middle('part_fitted'))}"
    return (
        case.title,
        f"{case.resolution:g}",
        str(len(rows)),
        shown(middle("rmsd_start"), 1),
        shown(fitted),
        "–" if case.aim is None else f"{case.aim:g}",
        reached,
        shown(middle("rmsd_floor")),
        part,
        shown(middle("cc_centred_fitted"), 4),
        shown(middle("cc_centred_truth"), 4),
        f"{sum(row['overfit'] == 'True' for row in rows)} of {len(rows)}",
        shown(middle("seconds"), 0),
        shown(middle("processor_seconds"), 0),
    )
