"""Map-model correlation against the iteration: how the fit got to where it is."""

from __future__ import annotations

from matplotlib.figure import Figure

from bayesflex.metrics import MetricsTable
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

#: Panels from the top: column and axis label.
_PANELS = (("cc_centred", "correlation, centred"), ("cc_uncentred", "correlation, uncentred"))


def plot_correlation(table: MetricsTable) -> Figure:
    """Draw cc_centred above cc_uncentred, each chain thin and their mean thick.

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
        draw_mean(axis, table, name)
        axis.set_ylabel(label, fontsize=FONT_SIZE)
    label_iterations(axes[-1])
    add_legend(figure, table, with_mean=True)
    return figure
