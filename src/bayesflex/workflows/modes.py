"""The task behind ``bayesflex modes``: normal modes and dynamical domains of a structure, as tables and a figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from bayesflex.domains import Domains, find_domains
from bayesflex.io.atomic import atomic_path
from bayesflex.io.nmd import write_nmd
from bayesflex.io.output_folder import make_folder, require_new_or_empty
from bayesflex.io.tables import write_csv
from bayesflex.normal_modes import LOW_COLLECTIVITY, NormalModes, structure_modes
from bayesflex.plots.modes import plot_modes
from bayesflex.plots.style import save_figure
from bayesflex.structure import Structure


@dataclass(frozen=True, eq=False)
class ModesResult:
    """What was computed and where it was written."""

    modes: NormalModes
    domains: Domains
    ca: Structure
    table: Path
    domain_table: Path
    nmd: Path
    figure: Path


def compute_modes(structure: Structure, n_modes: int, cutoff: float, out: Path) -> ModesResult:
    """Compute the normal modes of a model and its dynamical domains, and write them.

    Files are ``modes.csv``, ``domains.csv``, ``modes.nmd`` and ``modes.png``.

    Parameters
    ----------
    structure
        Any model with CA or C4' atoms.
    n_modes
        How many modes, numbered from 7.
    cutoff
        Of the elastic network, Å.
    out
        Folder, new or empty.

    Raises
    ------
    ConfigError
        If there are not so many modes, or the cut-off is not positive.
    InputError
        If the folder is not empty, the model has neither CA nor C4', the network leaves residues loose, or a file
        cannot be written.
    """
    require_new_or_empty(out)
    ca = structure.trace()
    modes = structure_modes(ca, n_modes, cutoff)
    with threadpool_limits(1):  # the matrices are small, and threads would wait for each other
        domains = find_domains(ca, cutoff)
    make_folder(out)
    result = ModesResult(
        modes, domains, ca, out / "modes.csv", out / "domains.csv", out / "modes.nmd", out / "modes.png"
    )
    rows = zip(modes.numbers, modes.eigenvalues, modes.collectivity, strict=True)
    lines = ["mode,eigenvalue,collectivity", *(f"{m},{value:.9g},{share:.6f}" for m, value, share in rows)]
    with atomic_path(result.table) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_csv(
        result.domain_table,
        ("chain", "residue", "domain", "linker"),
        zip(
            ca.chain,
            [f"{number}{code}" for number, code in zip(ca.residue_number, ca.insertion_code, strict=True)],
            (domains.labels + 1).tolist(),
            domains.linker.astype(int).tolist(),
            strict=True,
        ),
    )
    write_nmd(result.nmd, ca, modes)
    fluctuations = modes.square_fluctuations()
    figure = plot_modes(modes.numbers, modes.eigenvalues, modes.collectivity, fluctuations, ca.chain, LOW_COLLECTIVITY)
    save_figure(figure, result.figure)
    return result
