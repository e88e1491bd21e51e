"""Several approaches in one figure: the mean over the runs of each, and the spread as a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bayesflex.errors import InputError
from bayesflex.metrics import AMPLITUDE_PREFIX, REFERENCE_COLUMN, MetricsTable
from bayesflex.plots.style import (
    FONT_SIZE,
    OKABE_ITO,
    SMALL_FONT_SIZE,
    WARMUP_COLOUR,
    label_iterations,
    mark_stages,
    new_figure,
    require,
)

#: Colours by approach, the same in every figure; what is not named here is dashed grey.
COLOURS = {"local": OKABE_ITO[0], "global": OKABE_ITO[2], "combined": OKABE_ITO[5]}
_OTHER = "#666666"

_LABELS = {
    "cc_uncentred": "correlation, uncentred",
    "cc_centred": "correlation, centred",
    REFERENCE_COLUMN: "CA RMSD to the answer (Å)",
}


def plot_compared(tables: Mapping[str, MetricsTable], names: Sequence[str]) -> Figure:
    """Draw quantities against the iteration, a panel each: Fig. 1c and 2c of Vuillemot and Jonic, with the spread.

    Parameters
    ----------
    tables
        What was recorded, by approach.
    names
        Columns, a panel each from the top.

    Raises
    ------
    InputError
        If there is no table, or one lacks a column.
    """
    _require_tables(tables)
    figure, axes = new_figure(1.0 + 2.4 * len(names), n_rows=len(names))
    for axis, name in zip(axes, names, strict=True):
        _draw_all(axis, tables, name, labelled=axis is axes[0])
        axis.set_ylabel(_LABELS.get(name, name), fontsize=FONT_SIZE)
        if name == REFERENCE_COLUMN:
            axis.set_ylim(bottom=0.0)
    label_iterations(axes[-1])
    _add_legend(figure, tables)
    return figure


def plot_compared_amplitudes(tables: Mapping[str, MetricsTable]) -> Figure:
    """Draw the amplitude of each mode against the iteration, a panel per mode.

    Raises
    ------
    InputError
        If there is no table, or no amplitude was recorded.
    """
    _require_tables(tables)
    numbers = next(iter(tables.values())).mode_numbers
    if not numbers:
        raise InputError("figure: the metrics have no mode amplitudes; compare with modes to draw them")
    n_columns = min(len(numbers), 2)
    n_rows = -(-len(numbers) // n_columns)
    figure, axes = new_figure(1.0 + 1.9 * n_rows, n_rows, n_columns)
    for axis, number in zip(axes, numbers, strict=False):
        _draw_all(axis, tables, f"{AMPLITUDE_PREFIX}{number}", labelled=False)
        axis.set_title(f"mode {number}", fontsize=FONT_SIZE)
    for axis in axes[len(numbers) :]:
        axis.set_visible(False)
    for axis in axes[len(numbers) - n_columns : len(numbers)]:
        axis.tick_params(labelbottom=True)
        label_iterations(axis)
    figure.supylabel("amplitude $A_m$·(r − r$_{init}$) (Å)", fontsize=FONT_SIZE)
    _add_legend(figure, tables)
    return figure


def _draw_all(axis: Axes, tables: Mapping[str, MetricsTable], name: str, labelled: bool) -> None:
    mark_stages(axis, next(iter(tables.values())), labelled)
    for approach, table in tables.items():
        require(table, name)
        values: NDArray[np.float64] = table.column(name).reshape(len(table.chains), -1)  # (n_runs, n_iterations)
        iterations = table.iteration[: values.shape[1]]
        mean, spread = values.mean(axis=0), values.std(axis=0)
        colour = COLOURS.get(approach, _OTHER)
        axis.fill_between(iterations, mean - spread, mean + spread, color=colour, alpha=0.25, linewidth=0)
        axis.plot(iterations, mean, color=colour, linewidth=1.6, linestyle=_style(approach))


def _style(approach: str) -> Literal["-", "--"]:
    return "-" if approach in COLOURS else "--"


def _add_legend(figure: Figure, tables: Mapping[str, MetricsTable]) -> None:
    n_runs = len(next(iter(tables.values())).chains)
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=COLOURS.get(name, _OTHER), linewidth=1.6, linestyle=_style(name), label=name)
        for name in tables
    ]
    if n_runs > 1:
        handles.append(Patch(color=_OTHER, alpha=0.25, label=f"± SD of {n_runs} runs"))
    handles.append(Patch(color=WARMUP_COLOUR, label="step size adapting"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), fontsize=SMALL_FONT_SIZE, frameon=False
    )


def _require_tables(tables: Mapping[str, MetricsTable]) -> None:
    if not tables:
        raise InputError("figure: expected the metrics of at least one approach, got none")
