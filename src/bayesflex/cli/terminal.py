"""What commands show: results on standard output, and beside it what they noticed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from bayesflex.protocols import Reporter


class Terminal:
    """What one command shows; every command that takes longer than a moment has its two flags.

    Parameters
    ----------
    quiet
        Warnings and errors alone, on standard error.
    verbose
        More: a line for every iteration, and on standard error what was read and when.

    Raises
    ------
    typer.BadParameter
        If both are asked for.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        if quiet and verbose:
            raise typer.BadParameter("expected one of the two, got both", param_hint="--quiet, --verbose")
        self.quiet, self.verbose = quiet, verbose
        self._began = time.monotonic()

    def reporter(self) -> Reporter:
        """Return what shows a fit while it runs."""
        from rich.console import Console

        from bayesflex.progress import ProgressReporter
        from bayesflex.reporters import NullReporter

        class Warnings(NullReporter):
            """Shows warnings, beside the output."""

            def message(self, text: str) -> None:
                if text.startswith("Warning"):
                    typer.echo(text, err=True)

        if self.quiet:
            return Warnings()
        if self.verbose:
            return ProgressReporter(Console(force_terminal=False), interval=0.0)
        return ProgressReporter(Console())

    def say(self, text: str) -> None:
        """Print a result."""
        if not self.quiet:
            typer.echo(text)

    def wrote(self, out: Path) -> None:
        """Say where the results are."""
        self.say(f"Wrote {out}")

    def detail(self, text: str) -> None:
        """Print, with the time since the command began, what only who asks for it wants to know."""
        if self.verbose:
            typer.echo(f"{time.monotonic() - self._began:7.1f} s  {text}", err=True)

    def notes(self, notes: Iterable[str]) -> None:
        """Print what was noticed on the way, beside the result and not in it."""
        for note in notes:
            if not self.quiet:
                typer.echo(f"Note: {note}", err=True)

    def rows(self, rows: Iterable[tuple[str, str]]) -> None:
        """Print labels and values in two columns."""
        rows = list(rows)
        width = max((len(label) for label, _ in rows), default=0)
        for label, value in rows:
            self.say(f"{label:<{width}}  {value}")

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Print a table whose first row has the headings."""
        if self.quiet:
            return
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(*rows[0], box=box.SIMPLE)
        for row in rows[1:]:
            table.add_row(*row)
        Console().print(table)
