"""The command for many fits: ``batch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesflex.cli.options import Debug, Quiet, Verbose
from bayesflex.cli.terminal import Terminal


def batch(
    jobs: Annotated[
        Path, typer.Argument(metavar="JOBS.csv", help="Table: name, model, map, and any setting of fit by its name.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write: new, empty, or of the same batch.")],
    *,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a Dask scheduler; by default workers on this machine.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Fits at the same time; by default one for every four cores.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="TOML file with settings of all jobs; the table wins over it."),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Fit many models into many maps; exit code 1 if any failed."""
    from bayesflex.workflows.batch import n_failed, run_batch
    from bayesflex.workflows.batch_jobs import read_jobs

    if scheduler is not None and workers is not None:
        raise typer.BadParameter("a scheduler has its own workers; leave out one of the two", param_hint="--workers")
    terminal = Terminal(quiet, verbose)
    read = read_jobs(jobs, config)
    for job in read:
        terminal.detail(f"{job.name}: {job.files.model} into {job.files.map}")
    rows = run_batch(read, out, scheduler=scheduler, workers=workers, reporter=terminal.reporter())
    for row in rows:
        for warning in row.warnings:
            terminal.detail(f"{row.name}: {warning}")
    terminal.wrote(out)
    if failed := n_failed(rows):
        typer.echo(f"{failed} of {len(rows)} jobs failed: see {out / 'batch.csv'}", err=True)
        raise typer.Exit(1)
