"""The frame around the commands: how each fails, what holds for all, and the exit codes."""

from __future__ import annotations

import errno
import os
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bayesflex import __version__
from bayesflex.cli.options import DEBUG
from bayesflex.errors import BayesflexError

EXIT_ERROR = 2  # as for a flag that cannot be parsed
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count

#: What the operating system says where a file cannot grow.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Commands(TyperGroup):
    """The commands, with one place that says how each of them fails."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # Typer's own Context
        """Run a command; show an expected error as one line, and leave a defect its traceback."""
        try:
            return super().invoke(ctx)
        except BayesflexError as error:
            raise _failed(ctx, str(error)) from error
        except OSError as error:
            # Our own files are written by io.atomic; this is for those of others, such as compiled kernels.
            if error.errno not in _NO_SPACE:
                raise
            raise _failed(ctx, f"{error.filename}: {error.strerror}; free some space and repeat the command") from error
        except KeyboardInterrupt as error:
            resumable = ctx.invoked_subcommand in ("fit", "calibrate")
            hint = " To go on from where it stopped, repeat the command with --resume." if resumable else ""
            typer.echo(f"Interrupted.{hint}", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from error


def _failed(ctx: typer.Context, message: str) -> typer.Exit:
    """Show an expected error as one line, after its traceback with ``--debug``; return the exit to raise."""
    if ctx.meta.get(DEBUG):
        traceback.print_exc()
    typer.echo(f"Error: {message}", err=True)
    return typer.Exit(EXIT_ERROR)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    # The chains use the cores. Libraries of linear algebra read this when they are loaded, with NumPy.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    app(prog_name="bayesflex")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"bayesflex {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Flexible fitting of atomic structures into cryo-EM density maps."""
