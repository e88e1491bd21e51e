"""Normal modes at a glance: how stiff each is, how many residues it moves, and which residues move most."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bayesflex.plots.style import DIVERGENT_COLOUR, DPI, FONT_SIZE, GRID_COLOUR, OKABE_ITO, SMALL_FONT_SIZE, WIDTH

# More chains than this are not told apart in the figure.
_MANY_CHAINS = 30


def plot_modes(
    numbers: NDArray[np.int64],
    eigenvalues: NDArray[np.float64],
    collectivity: NDArray[np.float64],
    fluctuations: NDArray[np.float64],
    chain: NDArray[np.str_],
    low_collectivity: float,
) -> Figure:
    """Draw eigenvalues beside collectivity, above the fluctuations along the model.

    Parameters
    ----------
    numbers, eigenvalues, collectivity
        Of the modes, shape (n_modes,).
    fluctuations
        Square displacement of each residue in these modes, in any unit, shape (n_residues,).
    chain
        Chain name of each residue, shape (n_residues,).
    low_collectivity
        Drawn as a line: modes below it move a few residues only.
    """
    figure = Figure(figsize=(WIDTH, 5.0), dpi=DPI, layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, 2)
    stiffness, share, residues = (figure.add_subplot(part) for part in (grid[0, 0], grid[0, 1], grid[1, :]))
    for axis in (stiffness, share, residues):
        axis.tick_params(labelsize=SMALL_FONT_SIZE)
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 5, 10], integer=True))
    for axis in (stiffness, share):
        axis.grid(color=GRID_COLOUR, linewidth=0.5)
        axis.set_axisbelow(True)
        axis.set_xlabel("mode", fontsize=FONT_SIZE)
    stiffness.plot(numbers, eigenvalues, "o", color=OKABE_ITO[0], markersize=4.0)
    stiffness.set_ylim(bottom=0.0)
    stiffness.set_ylabel("eigenvalue (spring constants)", fontsize=FONT_SIZE)
    share.bar(numbers, collectivity, color=OKABE_ITO[0])
    share.axhline(low_collectivity, color=DIVERGENT_COLOUR, linewidth=1.0, label="below: a few residues only")
    share.legend(loc="upper left", frameon=False, fontsize=SMALL_FONT_SIZE)
    share.set_ylim(0.0, 1.0)
    share.set_ylabel("fraction of residues that move", fontsize=FONT_SIZE)
    residues.plot(
        np.arange(1, len(fluctuations) + 1), fluctuations / fluctuations.mean(), color=OKABE_ITO[0], linewidth=0.8
    )
    residues.set_xlim(1, len(fluctuations))
    residues.set_ylim(0.0, 1.15 * residues.get_ylim()[1])  # room for the names of the chains
    residues.set_xlabel("residue, in the order of the file", fontsize=FONT_SIZE)
    residues.set_ylabel(f"square displacement in\nmodes {numbers[0]} to {numbers[-1]}, mean 1", fontsize=FONT_SIZE)
    _mark_chains(residues, chain)
    return figure


def _mark_chains(axis: Axes, chain: NDArray[np.str_]) -> None:
    """Draw a line and a name where each chain begins, unless there is one alone or too many to read."""
    first = np.flatnonzero(np.append(True, chain[1:] != chain[:-1])).tolist()
    if not 1 < len(first) <= _MANY_CHAINS:
        return
    for index in first:
        axis.axvline(index + 1, color=GRID_COLOUR, linewidth=0.8, zorder=0)
        axis.annotate(
            str(chain[index]),
            (index + 1, 1.0),
            xycoords=axis.get_xaxis_transform(),
            xytext=(3, -10),
            textcoords="offset points",
            fontsize=SMALL_FONT_SIZE,
            color="#444444",
        )
