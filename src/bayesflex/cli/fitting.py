"""Commands that fit models into maps: ``fit``, ``compare`` and ``demo``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayesflex.cli.options import Debug, MapFile, Model, NewFolder, Quiet, Seed, Verbose, both_or_none
from bayesflex.cli.terminal import Terminal
from bayesflex.cli_settings import with_settings

if TYPE_CHECKING:
    from bayesflex.protocols import Reporter


@with_settings
def fit(
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="Atomic model: PDB or mmCIF, also gzipped.", show_default=False),
    ] = None,
    map_file: Annotated[
        Path | None, typer.Argument(metavar="MAP", help="Density map: MRC or CCP4, also gzipped.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder to write; must be new or empty.", show_default=False),
    ] = None,
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
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with an interrupted fit: bayesflex fit --resume OUT is all it takes."),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
    settings: Mapping[str, object],
) -> None:
    """Fit a model into a map."""
    terminal = Terminal(quiet, verbose)
    from bayesflex.config_files import load_config

    others = {"reference": reference, "mask": mask, "fixed": fixed}
    halves = both_or_none(half1, half2)
    if resume and map_file is None:
        given = [f"--{name}" for name, path in (others | {"config": config, "half1": half1}).items() if path]
        _go_on(model, out, given, settings, terminal.reporter())
        terminal.wrote(model or out or Path())
        return
    if model is None or map_file is None or out is None:
        missing = "MODEL" if model is None else "MAP" if map_file is None else "-o"
        raise typer.BadParameter(
            "missing; expected bayesflex fit MODEL MAP --resolution 5 -o OUT, or bayesflex fit --resume OUT",
            param_hint=missing,
        )
    resolved = load_config(config, settings)
    from bayesflex.workflows.fit import run_fit

    run_fit(model, map_file, out, resolved, **others, half_maps=halves, resume=resume, reporter=terminal.reporter())
    terminal.wrote(out)


def _go_on(
    folder: Path | None, out: Path | None, given: Sequence[str], settings: Mapping[str, object], reporter: Reporter
) -> None:
    """Go on with the interrupted fit in a folder, which is named after --resume or after -o."""
    named = [path for path in (folder, out) if path is not None]
    if len(named) != 1:
        raise typer.BadParameter("expected one folder: bayesflex fit --resume OUT", param_hint="--resume")
    if given:
        raise typer.BadParameter(
            f"{given[0]} is that of the interrupted fit; leave it out, or give MODEL and MAP too",
            param_hint="--resume",
        )
    from bayesflex.workflows.fit import resume_fit

    resume_fit(named[0], settings, reporter)


def compare(
    model: Model,
    map_file: MapFile,
    out: NewFolder,
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
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Compare local, global and combined fitting as the paper does."""
    terminal = Terminal(quiet, verbose)
    from bayesflex.config_files import load_config
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
    run_compare(model, map_file, out, resolved, plan, reference=reference, reporter=terminal.reporter())
    terminal.wrote(out)


def demo(
    out: NewFolder = Path("bayesflex-demo"),
    *,
    seed: Seed = 1,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Fit a made-up protein, whose answer is known, into its map."""
    terminal = Terminal(quiet, verbose)
    from bayesflex.workflows.demo import run_demo

    run_demo(out, seed, terminal.reporter())
    terminal.wrote(out)


def report(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that a fit wrote, also an unfinished one.")],
    *,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Write the page of a run, report.html, from the files in its folder."""
    terminal = Terminal(quiet, verbose)
    from bayesflex.workflows.report import write_report

    terminal.wrote(write_report(out, say=terminal.detail))
