"""Commands that check what a fit claims: ``calibrate``."""

from __future__ import annotations

from typing import Annotated

import typer

from bayesflex.cli.options import Debug, NewFolder, Seed
from bayesflex.cli.terminal import echo_table, progress


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
    debug: Debug = False,
) -> None:
    """Check on simulated maps that error bars hold what they promise."""
    from bayesflex.workflows.calibrate import CalibrationPlan, run_calibrate

    plan = CalibrationPlan(replicates, likelihood, observations, resolution, seed, threads)
    result = run_calibrate(out, plan, resume=resume, reporter=progress())
    echo_table(result.rows())
    typer.echo(result.verdict)
    typer.echo(f"Wrote {out}")
