"""The command line: each command parses, calls one workflow and reports.

This is the only module that prints or ends the process. Whatever is slow to import is imported by the command that
needs it, so that ``bayesflex --help`` answers at once.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from bayesflex import __version__
from bayesflex.cli_settings import with_settings
from bayesflex.errors import BayesflexError, InputError

if TYPE_CHECKING:
    from bayesflex.reporters import ProgressReporter

EXIT_ERROR = 2  # as for a flag that cannot be parsed
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count
_DEBUG = "bayesflex.debug"

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
    if ctx.meta.get(_DEBUG):
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


def _remember_debug(ctx: typer.Context, value: bool) -> None:
    ctx.meta[_DEBUG] = value  # shared with the group, which shows the error


Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", callback=_remember_debug, is_eager=True),
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Atomic model: PDB or mmCIF, also gzipped.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random number.")]


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Flexible fitting of atomic structures into cryo-EM density maps."""


@app.command()
@with_settings
def fit(
    model: Model,
    map_file: Annotated[Path, typer.Argument(metavar="MAP", help="Density map: MRC or CCP4, also gzipped.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write; must be new or empty.")],
    *,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="A known answer: its RMSD is reported, nothing is fitted to it.")
    ] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="Map whose voxels above zero are scored.")] = None,
    fixed: Annotated[
        Path | None, typer.Option("--fixed", help="Another model, whose density is accounted for and not moved.")
    ] = None,
    half1: Annotated[
        Path | None, typer.Option("--half1", help="First half map of MAP: the two tell its noise.")
    ] = None,
    half2: Annotated[Path | None, typer.Option("--half2", help="Second half map of MAP.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file with settings; flags win over it.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted fit in the folder.")] = False,
    debug: Debug = False,
    settings: Mapping[str, object],
) -> None:
    """Fit a model into a map."""
    from bayesflex.config import load_config

    resolved = load_config(config, settings)
    from bayesflex.workflows.fit import run_fit

    files = {"reference": reference, "mask": mask, "fixed": fixed}
    halves = _both_or_none(half1, half2)
    run_fit(model, map_file, out, resolved, **files, half_maps=halves, resume=resume, reporter=_progress())
    typer.echo(f"Wrote {out}")


@app.command()
def simulate(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="Map to write (.mrc, .map or .ccp4).")],
    resolution: Annotated[float, typer.Option("--resolution", help="Resolution, Å.")],
    *,
    voxel: Annotated[
        float | None, typer.Option("--voxel", help="Voxel size, Å; by default from the resolution.")
    ] = None,
    box: Annotated[int | None, typer.Option("--box", help="Voxels along each edge; by default what it takes.")] = None,
    noise: Annotated[float, typer.Option("--noise", help="Noise, relative to the map's own standard deviation.")] = 0.0,
    noise_spectrum: Annotated[
        str,
        typer.Option(
            "--noise-spectrum",
            help="band: white up to the resolution; white: of every voxel; correlated: over a length.",
        ),
    ] = "band",
    noise_correlation: Annotated[
        float | None, typer.Option("--noise-correlation", help="Correlation length of correlated noise, Å.")
    ] = None,
    seed: Seed = 1,
    kernel: Annotated[
        str, typer.Option("--kernel", help="scattering: electron scattering factors; gaussian: one width for all.")
    ] = "scattering",
    atoms: Annotated[str, typer.Option("--atoms", help="What the gaussian kernel stands on: ca or all.")] = "ca",
    grid_of: Annotated[Path | None, typer.Option("--grid-of", help="Map whose grid is used.")] = None,
    debug: Debug = False,
) -> None:
    """Simulate the density map of a model."""
    from bayesflex.io.maps import read_map, write_map
    from bayesflex.io.structures import read_structure
    from bayesflex.workflows.simulate import simulate as simulate_map

    density = simulate_map(
        read_structure(model),
        resolution=resolution,
        voxel=voxel,
        box=box,
        noise=noise,
        noise_spectrum=noise_spectrum,
        noise_correlation=noise_correlation,
        seed=seed,
        kernel=kernel,
        atoms=atoms,
        grid_of=None if grid_of is None else read_map(grid_of),
    )
    write_map(density, out)
    _echo_notes(density.notes)
    typer.echo(f"Wrote {out}")


@app.command()
def modes(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write; must be new or empty.")],
    *,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="Modes to compute, from mode 7 on.")] = 20,
    cutoff: Annotated[float, typer.Option("--cutoff", help="Cut-off of the elastic network, Å.")] = 10.0,
    debug: Debug = False,
) -> None:
    """Compute the normal modes of a model."""
    from bayesflex.io.structures import read_structure
    from bayesflex.workflows.modes import compute_modes

    computed = compute_modes(read_structure(model), number, cutoff, out).modes
    typer.echo(f"{'mode':>5}  {'eigenvalue':>12}  {'collectivity':>12}")
    for mode, value, share in zip(computed.numbers, computed.eigenvalues, computed.collectivity, strict=True):
        typer.echo(f"{mode:>5}  {value:>12.5g}  {share:>12.3f}")
    _echo_notes(computed.notes)
    typer.echo(f"Wrote {out}")


@app.command()
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model or a map.")],
    *,
    debug: Debug = False,
) -> None:
    """Describe a model or a map as it is read."""
    from bayesflex.workflows.info import describe

    _echo_rows(describe(file))


@app.command()
def get(
    entries: Annotated[list[str], typer.Argument(metavar="ENTRY...", help="PDB or EMDB entries: 5ftm emd-3299.")],
    *,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the files.")] = Path("."),
    debug: Debug = False,
) -> None:
    """Download models from the PDB and maps from the EMDB."""
    from bayesflex.workflows.get import get_entries

    for path in get_entries(entries, out, lambda text: typer.echo(text, err=True)):
        typer.echo(path)


@app.command()
def compare(
    model: Model,
    map_file: Annotated[Path, typer.Argument(metavar="MAP", help="Density map: MRC or CCP4, also gzipped.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write; must be new or empty.")],
    resolution: Annotated[float, typer.Option("--resolution", help="Resolution of the map, Å.")],
    *,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Independent runs of each approach.")] = 10,
    iterations: Annotated[int, typer.Option("--iterations", min=2, help="Iterations of each run.")] = 100,
    adapting: Annotated[
        int | None,
        typer.Option("--adapting", min=1, help="Iterations of these in which the step adapts; by default a quarter."),
    ] = None,
    modes: Annotated[str, typer.Option("--modes", help="Normal modes: a range (7-10) or a list (7,9,12).")] = "7-10",
    reference: Annotated[
        Path | None, typer.Option("--reference", help="A known answer: RMSDs to it are reported.")
    ] = None,
    floor: Annotated[
        bool, typer.Option("--floor", help="Run combined from the reference too: the error of the density's model.")
    ] = False,
    approaches: Annotated[
        str, typer.Option("--approaches", help="Which to run, with commas between them.")
    ] = "local,global,combined",
    domain: Annotated[
        list[str] | None,
        typer.Option("--domain", help="Residues to report by themselves (N=1-189); the first is coloured. Repeatable."),
    ] = None,
    likelihood: Annotated[
        str, typer.Option("--likelihood", help="gaussian (the paper's), or marginal for a second table with it.")
    ] = "gaussian",
    sigma: Annotated[
        float | None, typer.Option("--sigma", help="Standard deviation of a bead, Å; by default from the resolution.")
    ] = None,
    noise_sd: Annotated[
        float, typer.Option("--noise-sd", help="Noise of the gaussian likelihood, in units of a bead's peak.")
    ] = 0.3,
    seed: Seed = 1,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Threads to use; 0 for all cores.")] = 0,
    debug: Debug = False,
) -> None:
    """Compare local, global and combined fitting as the paper does."""
    from bayesflex.config import load_config
    from bayesflex.workflows.compare import ComparePlan, run_compare
    from bayesflex.workflows.comparison_results import parse_domain

    settings = {
        "resolution": resolution,
        "modes": modes,
        "likelihood": likelihood,
        "sigma": sigma,
        "noise_sd": noise_sd,
        "seed": seed,
        "threads": threads,
    }
    plan = ComparePlan(
        approaches=tuple(name.strip() for name in approaches.split(",")),
        runs=runs,
        iterations=iterations,
        adapting=adapting,
        floor=floor,
        domains=tuple(parse_domain(text) for text in domain or ()),
    )
    resolved = load_config(None, {name: value for name, value in settings.items() if value is not None})
    run_compare(model, map_file, out, resolved, plan, reference=reference, reporter=_progress())
    typer.echo(f"Wrote {out}")


@app.command()
def calibrate(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write; must be new or empty.")],
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
    result = run_calibrate(out, plan, resume=resume, reporter=_progress())
    _echo_table(result.rows())
    typer.echo(result.verdict)
    typer.echo(f"Wrote {out}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write; must be new or empty.")] = Path(
        "bayesflex-demo"
    ),
    *,
    seed: Seed = 1,
    debug: Debug = False,
) -> None:
    """Fit a made-up protein, whose answer is known, into its map."""
    from bayesflex.workflows.demo import run_demo

    run_demo(out, seed, _progress())
    typer.echo(f"Wrote {out}")


def _both_or_none(half1: Path | None, half2: Path | None) -> tuple[Path, Path] | None:
    """Return the two half maps, or None where neither is given."""
    if half1 is None and half2 is None:
        return None
    if half1 is None or half2 is None:
        missing = "--half1" if half1 is None else "--half2"
        raise InputError(f"{missing}: expected two half maps or none, got one; give the other with {missing}")
    return half1, half2


def _progress() -> ProgressReporter:
    """Return what shows a fit while it runs."""
    from rich.console import Console

    from bayesflex.reporters import ProgressReporter

    return ProgressReporter(Console())


def _echo_table(rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose first row has the headings."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], box=box.SIMPLE)
    for row in rows[1:]:
        table.add_row(*row)
    Console().print(table)


def _echo_notes(notes: Iterable[str]) -> None:
    """Print what was noticed on the way, beside the result and not in it."""
    for note in notes:
        typer.echo(f"Note: {note}", err=True)


def _echo_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print labels and values in two columns."""
    rows = list(rows)
    width = max((len(label) for label, _ in rows), default=0)
    for label, value in rows:
        typer.echo(f"{label:<{width}}  {value}")
