"""Mode amplitudes against the iteration, a panel per mode: which collective motions the fit used."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from bayesflex.errors import InputError
from bayesflex.metrics import AMPLITUDE_PREFIX, MetricsTable
from bayesflex.plots.style import (
    FONT_SIZE,
    add_legend,
    draw_chains,
    label_iterations,
    mark_stages,
    new_figure,
)

#: Panels side by side that stay legible, the best number first.
_COLUMNS = (4, 5, 3)


def plot_amplitudes(table: MetricsTable) -> Figure:
    """Draw the amplitude of each mode, Å, in panels that share the iterations and have ranges of their own.

    Raises
    ------
    InputError
        If no amplitude was recorded.
    """
    modes = [number for number in table.mode_numbers if table.has(f"{AMPLITUDE_PREFIX}{number}")]
    if not modes:
        raise InputError("figure: the metrics have no mode amplitudes; fit with modes to draw them")
    # The fewest empty panels; min() takes the first of equals.
    n_columns = min(_COLUMNS, key=lambda n: -len(modes) % n) if len(modes) > max(_COLUMNS) else len(modes)
    n_rows = math.ceil(len(modes) / n_columns)
    figure, axes = new_figure(1.0 + max(1.5 * n_rows, 2.0), n_rows, n_columns)
    for axis, number in zip(axes, modes, strict=False):
        mark_stages(axis, table)
        draw_chains(axis, table, f"{AMPLITUDE_PREFIX}{number}")
        axis.set_title(f"mode {number}", fontsize=FONT_SIZE)
    for axis in axes[len(modes) :]:
        axis.set_visible(False)
    for axis in axes[len(modes) - n_columns : len(modes)]:
        axis.tick_params(labelbottom=True)  # the last panel of each column, also where the last row is not full
        label_iterations(axis)
    figure.supylabel("amplitude (Å)", fontsize=FONT_SIZE)
    add_legend(figure, table)
    return figure
