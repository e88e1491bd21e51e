"""Uncertainty along the model: how far each residue spreads, and whether the map places it."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bayesflex.plots.style import FONT_SIZE, OKABE_ITO, SMALL_FONT_SIZE, WARMUP_COLOUR, mark_chains, new_figure
from bayesflex.residue_runs import stretches
from bayesflex.uncertainty import LEAST_CONTRACTION, ResidueUncertainty


def plot_uncertainty(chain: NDArray[np.str_], uncertainty: ResidueUncertainty) -> Figure:
    """Draw standard deviation and 90 % radius above contraction and support, residue by residue.

    Stretches that are prior only are shaded.

    Parameters
    ----------
    chain
        Chain name of each residue, shape (n_ca,).
    uncertainty
        Of the same residues.
    """
    figure, (spread, share) = new_figure(5.2, n_rows=2)
    residue = np.arange(1, len(chain) + 1)
    width = 1.0 if len(residue) <= 1000 else 0.5
    only = stretches(uncertainty.prior_only, uncertainty.labels)
    for axis in (spread, share):
        for part in only:
            axis.axvspan(part.start + 0.5, part.stop + 0.5, color=WARMUP_COLOUR, linewidth=0, zorder=0)
        mark_chains(axis, chain, named=axis is spread)
    spread.plot(residue, uncertainty.radius, color=OKABE_ITO[4], linewidth=width, label="radius of 90 % of draws")
    spread.plot(residue, uncertainty.sd, color=OKABE_ITO[0], linewidth=width, label="standard deviation")
    spread.set_ylim(0.0, 1.15 * float(uncertainty.radius.max()) or 1.0)
    spread.set_ylabel("spread of the CA (Å)", fontsize=FONT_SIZE)
    share.plot(residue, uncertainty.contraction, color=OKABE_ITO[2], linewidth=width, label="contraction")
    share.plot(residue, uncertainty.support, color=OKABE_ITO[1], linewidth=width, label="support")
    share.axhline(LEAST_CONTRACTION, color=OKABE_ITO[2], linewidth=0.7, linestyle=(0, (4, 3)))
    share.axhline(1.0, color="#888888", linewidth=0.7)
    share.set_ylim(-0.1, max(1.4, 1.05 * float(np.max(uncertainty.support))))
    share.set_ylabel("what the map adds to the prior", fontsize=FONT_SIZE)
    share.set_xlabel("residue, in the order of the file", fontsize=FONT_SIZE)
    share.set_xlim(0.5, len(residue) + 0.5)
    handles = [handle for axis in (spread, share) for handle in axis.get_legend_handles_labels()[0]]
    if only:
        handles.append(Patch(color=WARMUP_COLOUR, label="prior only"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=SMALL_FONT_SIZE, frameon=False)
    return figure
