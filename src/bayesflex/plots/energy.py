"""Structural energy and log density against the iteration: whether the geometry settled, and the sampler with it."""

from __future__ import annotations

from matplotlib.figure import Figure

from bayesflex.metrics import MetricsTable
from bayesflex.plots.style import (
    FONT_SIZE,
    add_legend,
    draw_chains,
    label_iterations,
    leave_out_outliers,
    mark_stages,
    new_figure,
    require,
)

#: Panels from the top: column and axis label.
_PANELS = (("energy", "energy U (kcal/mol)"), ("log_density", "log density (nats)"))


def plot_energy(table: MetricsTable) -> Figure:
    """Draw the energy above the log density, which changes its meaning from stage to stage as the resolution does.

    Raises
    ------
    InputError
        If either was not recorded.
    """
    figure, axes = new_figure(5.0, n_rows=len(_PANELS))
    for axis, (name, label) in zip(axes, _PANELS, strict=True):
        require(table, name)
        mark_stages(axis, table, labelled=axis is axes[0])
        draw_chains(axis, table, name)
        leave_out_outliers(axis, table.column(name))
        axis.set_ylabel(label, fontsize=FONT_SIZE)
    label_iterations(axes[-1])
    add_legend(figure, table)
    return figure
