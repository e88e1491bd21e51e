"""What commands print: the progress of a fit, tables, rows and notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from bayesflex.protocols import Reporter


def progress(quiet: bool = False, verbose: bool = False) -> Reporter:
    """Return what shows a fit while it runs: usually, its warnings alone, or every iteration."""
    from rich.console import Console

    from bayesflex.reporters import NullReporter, ProgressReporter

    if quiet and verbose:
        raise typer.BadParameter("expected one of the two, got both", param_hint="--quiet, --verbose")

    class Warnings(NullReporter):
        """Shows warnings, beside the output."""

        def message(self, text: str) -> None:
            if text.startswith("Warning"):
                typer.echo(text, err=True)

    if quiet:
        return Warnings()
    return ProgressReporter(Console(force_terminal=False), interval=0.0) if verbose else ProgressReporter(Console())


def echo_wrote(out: Path, quiet: bool = False) -> None:
    """Say where the results are."""
    if not quiet:
        typer.echo(f"Wrote {out}")


def echo_table(rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose first row has the headings."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], box=box.SIMPLE)
    for row in rows[1:]:
        table.add_row(*row)
    Console().print(table)


def echo_notes(notes: Iterable[str]) -> None:
    """Print what was noticed on the way, beside the result and not in it."""
    for note in notes:
        typer.echo(f"Note: {note}", err=True)


def echo_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print labels and values in two columns."""
    rows = list(rows)
    width = max((len(label) for label, _ in rows), default=0)
    for label, value in rows:
        typer.echo(f"{label:<{width}}  {value}")
