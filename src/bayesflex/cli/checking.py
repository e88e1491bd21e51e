"""Commands that check: what a fit claims (``calibrate``, ``validate``), and the installation (``doctor``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesflex.cli.options import Debug, MapFile, Model, NewFolder, Quiet, Seed, Verbose, both_or_none
from bayesflex.cli.terminal import Terminal


def calibrate(
    out: NewFolder,
    *,
    replicates: Annotated[int, typer.Option("--replicates", min=1, help="Truths to draw and to fit.")] = 200,
    likelihood: Annotated[
        str, typer.Option("--likelihood", help="marginal, or gaussian with white noise of known level and scale.")
    ] = "marginal",
    observations: Annotated[
        str, typer.Option("--observations", help="How fits count observations: resolution, voxels, or a number.")
    ] = "resolution",
    resolution: Annotated[float, typer.Option("--resolution", help="Resolution of the simulated maps, Å.")] = 6.0,
    seed: Seed = 1,
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="Replicates at the same time; 0 for as many as cores.")
    ] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the calibration in the folder.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Check on simulated maps that error bars hold what they promise."""
    terminal = Terminal(quiet, verbose)
    from bayesflex.workflows.calibrate import CalibrationPlan, run_calibrate

    plan = CalibrationPlan(replicates, likelihood, observations, resolution, seed, threads)
    result = run_calibrate(out, plan, resume=resume, reporter=terminal.reporter())
    terminal.table(result.rows())
    terminal.say(result.verdict)
    terminal.wrote(out)


def validate(
    model: Model,
    map_file: MapFile,
    out: NewFolder,
    *,
    resolution: Annotated[
        float | None, typer.Option("--resolution", help="Resolution of the map, Å; by default that of the half maps.")
    ] = None,
    half1: Annotated[Path | None, typer.Option("--half1", help="First half map of MAP.")] = None,
    half2: Annotated[Path | None, typer.Option("--half2", help="Second half map of MAP.")] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", help="Mask to use instead of what is near the model: 0 to 1.")
    ] = None,
    voxel: Annotated[
        float | None, typer.Option("--voxel", help="Voxel size of the maps, Å, if not the files'.")
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option("--origin", help="Placement of the maps: nstart, origin (header fields), or x,y,z in Å."),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Judge a model in a map: correlations, FSC, Q-score, SMOC and geometry."""
    terminal = Terminal(quiet, verbose)
    from bayesflex.workflows.validate import run_validate

    halves = both_or_none(half1, half2)
    found = run_validate(
        model,
        map_file,
        out,
        resolution,
        half_maps=halves,
        mask=mask,
        voxel=voxel,
        origin=origin,
        say=terminal.detail,
    )
    terminal.rows(found.rows())
    terminal.notes(found.notes)
    terminal.wrote(out)


def doctor(*, debug: Debug = False) -> None:
    """Check that the installation works, and how fast; exit code 1 if something is wrong."""
    from bayesflex.workflows.doctor import examine

    wrong = 0
    for check in examine():
        wrong += not check.ok
        typer.echo(f"{'ok   ' if check.ok else 'WRONG'}  {check.name}: {check.found}")
    if wrong:
        typer.echo(f"{wrong} checks found something wrong.", err=True)
        raise typer.Exit(1)
    typer.echo("All is well.")
