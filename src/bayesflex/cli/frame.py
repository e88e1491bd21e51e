"""The frame around the commands: how each fails, what holds for all, and the exit codes."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bayesflex import __version__
from bayesflex.cli.options import DEBUG
from bayesflex.errors import BayesflexError

EXIT_ERROR = 2  # as for a flag that cannot be parsed

#: Signals that ask a program to end, as far as the system has them: shells count 128 + their number as the exit code.
_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
EXIT_INTERRUPTED = 128 + signal.SIGINT

#: What the operating system says where a file cannot grow.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Ended(KeyboardInterrupt):
    """A signal other than SIGINT asked the program to end; what an interrupt by the user leaves is left too."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


class _Commands(TyperGroup):
    """The commands, with one place that says how each of them fails."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # Typer's own Context
        """Run a command; show an expected error as one line, and leave a defect its traceback."""
        try:
            with _signals_that_end():
                return super().invoke(ctx)
        except BayesflexError as error:
            raise _failed(ctx, " ".join([str(error), *_notes(error)])) from error
        except OSError as error:
            # Our own files are written by io.atomic; this is for those of others, such as compiled kernels.
            if error.errno not in _NO_SPACE:
                raise
            what_to_do = _notes(error) or ["Free some space and repeat the command."]
            raise _failed(ctx, " ".join([f"{error.filename}: {error.strerror}.", *what_to_do])) from error
        except KeyboardInterrupt as error:
            hints = _notes(error)
            if not hints and ctx.invoked_subcommand in ("fit", "calibrate"):
                hints = ["To go on from where it stopped, repeat the command with --resume."]
            typer.echo(" ".join(["Interrupted.", *hints]), err=True)
            raise typer.Exit(getattr(error, "exit_code", EXIT_INTERRUPTED)) from error


def _notes(error: BaseException) -> list[str]:
    """Return what was added to an error on its way, such as how to go on."""
    return list(getattr(error, "__notes__", []))


@contextlib.contextmanager
def _signals_that_end() -> Iterator[None]:
    """Raise :class:`Ended` in this thread at a signal that would end the program on the spot."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    # One that is ignored, as under nohup, or handled by somebody else stays as it is.
    taken = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _failed(ctx: typer.Context, message: str) -> typer.Exit:
    """Show an expected error as one line, after its traceback with ``--debug``; return the exit to raise."""
    if ctx.meta.get(DEBUG):
        traceback.print_exc()
    typer.echo(f"Error: {message}", err=True)
    return typer.Exit(EXIT_ERROR)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    # The chains use the cores. Libraries of linear algebra read this when they are loaded, with NumPy.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    # All that is left at the end goes with the process. Python would look through it for cyclic garbage first: most of
    # a second after a fit, and longer after one that has compiled kernels.
    atexit.register(gc.freeze)
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
