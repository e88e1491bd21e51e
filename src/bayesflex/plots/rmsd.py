"""RMSD to a known answer against the iteration: for tests of the method, where there is one."""

from __future__ import annotations

from matplotlib.figure import Figure

from bayesflex.metrics import REFERENCE_COLUMN, MetricsTable
from bayesflex.plots.style import (
    FONT_SIZE,
    add_legend,
    draw_chains,
    draw_mean,
    label_iterations,
    mark_stages,
    new_figure,
    require,
)


def plot_rmsd(table: MetricsTable) -> Figure:
    """Draw the CA RMSD to the reference, in place, each chain thin and their mean thick, from zero up.

    Raises
    ------
    InputError
        If it was not recorded, since the fit knew no reference.
    """
    require(table, REFERENCE_COLUMN)
    figure, (axis,) = new_figure(3.2)
    mark_stages(axis, table, labelled=True)
    draw_chains(axis, table, REFERENCE_COLUMN)
    draw_mean(axis, table, REFERENCE_COLUMN)
    axis.set_ylim(bottom=0.0)
    axis.set_ylabel("CA RMSD to reference (Å)", fontsize=FONT_SIZE)
    label_iterations(axis)
    add_legend(figure, table, with_mean=True)
    return figure
