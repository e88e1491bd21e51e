"""Arguments and options that several commands have, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesflex.errors import InputError

#: Where the frame finds whether ``--debug`` was given.
DEBUG = "bayesflex.debug"


def _remember_debug(ctx: typer.Context, value: bool) -> None:
    ctx.meta[DEBUG] = value  # shared with the group, which shows the error


Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", callback=_remember_debug, is_eager=True),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors alone.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show a line for every iteration, and what was read.")]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Atomic model: PDB or mmCIF, also gzipped.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random number.")]
MapFile = Annotated[Path, typer.Argument(metavar="MAP", help="Density map: MRC or CCP4, also gzipped.")]
NewFolder = Annotated[Path, typer.Option("-o", "--out", help="Folder to write; must be new or empty.")]


def both_or_none(half1: Path | None, half2: Path | None) -> tuple[Path, Path] | None:
    """Return the two half maps, or None where neither is given."""
    if half1 is None and half2 is None:
        return None
    if half1 is None or half2 is None:
        missing = "--half1" if half1 is None else "--half2"
        raise InputError(f"{missing}: expected two half maps or none, got one; give the other with {missing}")
    return half1, half2
