"""Scores along the model: Q-score, SMOC and the correlation at each residue."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from bayesflex.plots.style import FONT_SIZE, OKABE_ITO, SMALL_FONT_SIZE, mark_chains, new_figure
from bayesflex.validation.result import Validation

#: Columns of the residues that are drawn, from the top down.
SCORES = {"q_score": "Q-score", "smoc": "SMOC", "cc_residue": "cc_residue"}


def plot_residue_scores(validations: Mapping[str, Validation]) -> Figure:
    """Draw the scores of each residue, a panel per score and a line per model.

    Parameters
    ----------
    validations
        By what the models are called, all of the same residues.
    """
    first = next(iter(validations.values()))
    shown = [name for name in SCORES if any(getattr(row, name) is not None for row in first.residues)]
    figure, axes = new_figure(0.6 + 1.7 * max(len(shown), 1), n_rows=max(len(shown), 1))
    chain = np.array([row.chain for row in first.residues])
    residue = np.arange(1, len(chain) + 1)
    width = 1.0 if len(residue) <= 1000 else 0.5
    for axis, name in zip(axes, shown, strict=False):
        mark_chains(axis, chain, named=axis is axes[0])
        lowest = 0.0
        for (label, validation), colour in zip(validations.items(), OKABE_ITO, strict=False):
            values = np.array([np.nan if v is None else v for v in (getattr(r, name) for r in validation.residues)])
            axis.plot(residue, values, color=colour, linewidth=width, label=label)
            lowest = min(lowest, float(np.nanmin(values))) if np.isfinite(values).any() else lowest
        axis.set_ylim(lowest - 0.02, 1.02)
        axis.set_ylabel(SCORES[name], fontsize=FONT_SIZE)
    axes[-1].set_xlim(0.5, len(residue) + 0.5)
    axes[-1].set_xlabel("residue, in the order of the file", fontsize=FONT_SIZE)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=SMALL_FONT_SIZE, frameon=False)
    return figure
