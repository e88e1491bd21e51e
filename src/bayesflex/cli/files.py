"""Commands that read, compute and fetch models and maps: ``simulate``, ``modes``, ``info`` and ``get``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesflex.cli.options import Debug, Model, NewFolder, Quiet, Seed, Verbose
from bayesflex.cli.terminal import Terminal


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
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Simulate the density map of a model."""
    terminal = Terminal(quiet, verbose)
    from bayesflex.io.maps import read_map, write_map
    from bayesflex.io.structures import read_structure
    from bayesflex.workflows.simulate import simulate as simulate_map

    structure = read_structure(model)
    terminal.detail(f"read {structure.name}: {structure.size_in_words()}")
    density = simulate_map(
        structure,
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
    terminal.detail("simulated")
    write_map(density, out)
    terminal.notes(density.notes)
    terminal.wrote(out)


def modes(
    model: Model,
    out: NewFolder,
    *,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="Modes to compute, from mode 7 on.")] = 20,
    cutoff: Annotated[float, typer.Option("--cutoff", help="Cut-off of the elastic network, Å.")] = 10.0,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Compute the normal modes and the dynamical domains of a model."""
    terminal = Terminal(quiet, verbose)
    from bayesflex.io.structures import read_structure
    from bayesflex.workflows.modes import compute_modes

    structure = read_structure(model)
    terminal.detail(f"read {structure.name}: {structure.size_in_words()}")
    result = compute_modes(structure, number, cutoff, out)
    terminal.detail("computed")
    computed = result.modes
    terminal.say(f"{'mode':>5}  {'eigenvalue':>12}  {'collectivity':>12}")
    for mode, value, share in zip(computed.numbers, computed.eigenvalues, computed.collectivity, strict=True):
        terminal.say(f"{mode:>5}  {value:>12.5g}  {share:>12.3f}")
    sizes = ", ".join(str(size) for size in result.domains.sizes.tolist())
    terminal.say(f"dynamical domains: {result.domains.n_domains}, of {sizes} residues")
    terminal.notes(computed.notes)
    terminal.wrote(out)


def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model or a map.")],
    *,
    debug: Debug = False,
) -> None:
    """Describe a model or a map as it is read."""
    from bayesflex.workflows.info import describe

    Terminal().rows(describe(file))


def get(
    entries: Annotated[list[str], typer.Argument(metavar="ENTRY...", help="PDB or EMDB entries: 5ftm emd-3299.")],
    *,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the files.")] = Path("."),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the names of the files alone.")] = False,
    debug: Debug = False,
) -> None:
    """Download models from the PDB and maps from the EMDB."""
    from bayesflex.workflows.get import get_entries

    for path in get_entries(entries, out, lambda text: None if quiet else typer.echo(text, err=True)):
        typer.echo(path)
