"""The task behind ``bayesflex modes``: normal modes of a structure as a table, a file for viewers and a figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bayesflex.io.atomic import atomic_path
from bayesflex.io.nmd import write_nmd
from bayesflex.normal_modes import LOW_COLLECTIVITY, NormalModes, structure_modes
from bayesflex.structure import Structure

# Longest list of chain boundaries and ticks that stays readable in the figure.
_MANY = 30


@dataclass(frozen=True, eq=False)
class ModesResult:
    """What was computed and where it was written."""

    modes: NormalModes
    ca: Structure
    table: Path
    nmd: Path
    figure: Path


def compute_modes(structure: Structure, n_modes: int, cutoff: float, out: Path) -> ModesResult:
    """Compute the normal modes of a model and write ``modes.csv``, ``modes.nmd`` and ``modes.png``.

    Parameters
    ----------
    structure
        Any model with CA atoms.
    n_modes
        How many modes, numbered from 7.
    cutoff
        Of the elastic network, Å.
    out
        Folder, made where it does not exist.

    Raises
    ------
    ConfigError
        If there are not so many modes, or the cut-off is not positive.
    InputError
        If the model has no CA, the network leaves residues loose, or a file cannot be written.
    """
    ca = structure.ca_trace()
    modes = structure_modes(ca, n_modes, cutoff)
    out.mkdir(parents=True, exist_ok=True)
    result = ModesResult(modes, ca, out / "modes.csv", out / "modes.nmd", out / "modes.png")
    rows = zip(modes.numbers, modes.eigenvalues, modes.collectivity, strict=True)
    lines = ["mode,eigenvalue,collectivity", *(f"{m},{value:.9g},{share:.6f}" for m, value, share in rows)]
    with atomic_path(result.table) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_nmd(result.nmd, ca, modes)
    with atomic_path(result.figure) as temporary:
        FigureCanvasAgg(modes_figure(ca, modes)).print_png(str(temporary))
    return result


def modes_figure(ca: Structure, modes: NormalModes) -> Figure:
    """Return the figure of eigenvalues, collectivity and fluctuations per residue.

    Parameters
    ----------
    ca
        The beads that the modes belong to.
    modes
        What is shown.
    """
    figure = Figure(figsize=(9.0, 6.5), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    stiffness = figure.add_subplot(grid[0, 0])
    stiffness.plot(modes.numbers, modes.eigenvalues, "o", color="C0")
    stiffness.set(xlabel="mode", ylabel="eigenvalue (spring constants)", title="Stiffness")
    stiffness.set_ylim(bottom=0.0)
    share = figure.add_subplot(grid[0, 1], sharex=stiffness)
    share.bar(modes.numbers, modes.collectivity, color="C0", width=0.8)
    share.axhline(LOW_COLLECTIVITY, color="C3", linewidth=1.0, label="below: a few residues only")
    share.legend(loc="upper left", frameon=False)
    share.set(xlabel="mode", ylabel="fraction of residues that move", ylim=(0.0, 1.0), title="Collectivity")
    stiffness.xaxis.set_major_locator(MaxNLocator(integer=True))
    residues = figure.add_subplot(grid[1, :])
    fluctuation = modes.square_fluctuations()
    residues.plot(np.arange(1, ca.n_atoms + 1), fluctuation / fluctuation.mean(), color="C0", linewidth=1.0)
    _mark_chains(residues, ca)
    residues.set(
        xlabel="residue, in file order",
        ylabel="mean square displacement / mean",
        xlim=(1, max(2, ca.n_atoms)),
        title=f"Fluctuation in modes {modes.numbers[0]} to {modes.numbers[-1]} (network cut-off {modes.cutoff:g} Å)",
    )
    residues.set_ylim(0.0, 1.15 * residues.get_ylim()[1])  # room for the names of the chains
    return figure


def _mark_chains(axes: Axes, ca: Structure) -> None:
    """Draw a line and a name where each chain begins, unless there are too many to read."""
    first = np.flatnonzero(np.append(True, ca.chain[1:] != ca.chain[:-1]))
    if not 1 < len(first) <= _MANY:
        return
    for index in first.tolist():
        axes.axvline(index + 1, color="0.7", linewidth=0.8, zorder=0)
        axes.annotate(
            str(ca.chain[index]),
            (index + 1, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(3, -12),
            textcoords="offset points",
            color="0.4",
        )
