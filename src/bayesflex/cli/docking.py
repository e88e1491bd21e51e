"""The command that finds a model's place in a map: ``dock``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesflex.cli.options import Debug, MapFile, Model, NewFolder, Quiet, Verbose
from bayesflex.cli.terminal import Terminal


def dock(
    model: Model,
    map_file: MapFile,
    out: NewFolder,
    resolution: Annotated[float, typer.Option("--resolution", help="Resolution of the map, Å.")],
    *,
    solutions: Annotated[int, typer.Option("--solutions", min=1, help="Distinct solutions to write, at most.")] = 5,
    fixed: Annotated[
        Path | None, typer.Option("--fixed", help="Another model, whose part of the map is taken.")
    ] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="Map that is above zero where the model may be.")] = None,
    voxel: Annotated[
        float | None, typer.Option("--voxel", help="Voxel size, Å, in place of the one in the map's header.")
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option("--origin", help="Placement of the map: nstart, origin (header fields), or x,y,z in Å."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Threads to use; 0 for all cores.")] = 0,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Find the place of a model in a map, wherever the model is."""
    terminal = Terminal(quiet, verbose)
    from bayesflex.config_files import load_config

    given = {"resolution": resolution, "voxel": voxel, "origin": origin, "threads": threads}
    resolved = load_config(None, {name: value for name, value in given.items() if value is not None})
    from bayesflex.workflows.dock import run_dock

    run_dock(
        model, map_file, out, resolved, n_solutions=solutions, fixed=fixed, mask=mask, reporter=terminal.reporter()
    )
    terminal.wrote(out)
