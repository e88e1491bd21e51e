"""Arguments and options that several commands have, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

#: Where the frame finds whether ``--debug`` was given.
DEBUG = "bayesflex.debug"


def _remember_debug(ctx: typer.Context, value: bool) -> None:
    ctx.meta[DEBUG] = value  # shared with the group, which shows the error


Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", callback=_remember_debug, is_eager=True),
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Atomic model: PDB or mmCIF, also gzipped.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random number.")]
MapFile = Annotated[Path, typer.Argument(metavar="MAP", help="Density map: MRC or CCP4, also gzipped.")]
NewFolder = Annotated[Path, typer.Option("-o", "--out", help="Folder to write; must be new or empty.")]
