"""χ² of the residual in shells of spatial frequency: where a fit leaves more of the map than noise."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bayesflex.plots.style import DIVERGENT_COLOUR, FONT_SIZE, OKABE_ITO, SMALL_FONT_SIZE, new_figure
from bayesflex.posterior_predictive import ShellCheck


def plot_shells(shells: ShellCheck) -> Figure:
    """Draw observed over expected χ² of each shell in the range that noise gives."""
    figure, (axis,) = new_figure(3.2)
    middle = 0.5 * (shells.low + shells.high)
    edges = np.append(shells.low, shells.high[-1])
    lower, upper = shells.lower / shells.observations, shells.upper / shells.observations
    axis.stairs(upper, edges, baseline=lower, fill=True, color=OKABE_ITO[4], alpha=0.35, label="95 % of noise")
    axis.axhline(1.0, color="#444444", linewidth=0.8, label="expected")
    axis.plot(middle, shells.ratio, "o-", color=OKABE_ITO[0], linewidth=1.0, markersize=4.0, label="observed")
    excess = shells.excess
    if excess.any():
        axis.plot(
            middle[excess], shells.ratio[excess], "o", color=DIVERGENT_COLOUR, markersize=6.0, label="beyond noise"
        )
    axis.set_xlim(0.0, float(shells.high[-1]))
    axis.set_ylim(0.0, max(2.0, 1.1 * float(shells.ratio.max()), 1.1 * float(upper.max())))
    axis.set_xticks(shells.high[:: max(1, len(shells.high) // 8)])
    axis.set_xticklabels([f"{1.0 / k:.1f}" for k in axis.get_xticks()])
    axis.set_xlabel("scale (Å), evenly in 1/Å", fontsize=FONT_SIZE)
    axis.set_ylabel("χ² of the residual / expected", fontsize=FONT_SIZE)
    figure.legend(loc="outside lower center", ncols=4, fontsize=SMALL_FONT_SIZE, frameon=False)
    return figure
