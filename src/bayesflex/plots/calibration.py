"""Rank histograms and coverage of a calibration: where truths lie among the draws of their posteriors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bayesflex.calibration import histogram_band, rank_histogram
from bayesflex.errors import InputError
from bayesflex.plots.style import DPI, FONT_SIZE, GRID_COLOUR, OKABE_ITO, SMALL_FONT_SIZE, WIDTH

#: By group of quantities: level, share of the intervals that hold the truth, and its standard error.
Coverage = Mapping[str, Sequence[tuple[float, float, float]]]

_COLUMNS = 6
_N_BINS = 10
#: Histograms of quantities below this corrected p-value are drawn in another colour.
_P_LIMIT = 0.01
#: Probability that a bar of uniform ranks lies within the band.
_BAND = 0.99


def plot_calibration(
    ranks: NDArray[np.int64],
    n_draws: int,
    names: Sequence[str],
    p_values: NDArray[np.float64],
    coverage: Coverage,
) -> Figure:
    """Draw the coverage of central intervals against their level, and below it the rank histogram of each quantity.

    Parameters
    ----------
    ranks
        Shape (n_replicates, n_quantities).
    n_draws
        Ranks go from 0 to this.
    names, p_values
        Name and corrected p-value of each quantity.
    coverage
        By group of quantities, (level, share of intervals that hold the truth, its standard error) as fractions.

    Raises
    ------
    InputError
        If there is no replicate or quantity.
    """
    if ranks.size == 0:
        raise InputError("figure: expected ranks of one replicate or more, got none")
    n_rows = math.ceil(len(names) / _COLUMNS)
    figure = Figure(figsize=(WIDTH, 2.6 + 0.8 * n_rows), dpi=DPI, layout="constrained", facecolor="white")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[2.4, 0.8 * n_rows])[:, 0]
    left, right = top.subplots(1, 2, width_ratios=[1.0, 1.1])
    _draw_coverage(left, coverage)
    _draw_difference(right, coverage)
    histogram = rank_histogram(ranks, n_draws, _N_BINS)
    axes = bottom.subplots(n_rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    for index, axis in enumerate(axes.flat):
        if index >= len(names):
            axis.set_visible(False)
            continue
        _draw_histogram(axis, histogram[:, index], len(ranks), names[index], p_values[index])
    top_of_axis = 1.15 * max(int(histogram.max()), histogram_band(len(ranks), _N_BINS, _BAND)[1])
    axes[0, 0].set_ylim(0.0, top_of_axis)
    bottom.supxlabel(f"rank of the truth among {n_draws} draws", fontsize=FONT_SIZE)
    bottom.supylabel(f"replicates (band: {_BAND:.0%})", fontsize=FONT_SIZE)
    return figure


def _draw_coverage(axis: Axes, coverage: Coverage) -> None:
    axis.plot([0.0, 1.0], [0.0, 1.0], color="black", linewidth=0.8)
    for (group, rows), colour in zip(coverage.items(), OKABE_ITO, strict=False):
        level, share, error = np.array(rows).T
        axis.errorbar(level, share, 2.0 * error, color=colour, marker="o", markersize=3.5, linewidth=1.0, label=group)
    axis.set_ylim(min(0.4, *(row[1] - 0.05 for rows in coverage.values() for row in rows)), 1.0)
    axis.set_ylabel("truths inside", fontsize=FONT_SIZE)
    axis.legend(frameon=False, fontsize=SMALL_FONT_SIZE)
    _finish(axis, coverage)


def _draw_difference(axis: Axes, coverage: Coverage) -> None:
    """Draw by how much the coverage is off, with the range that counts as honest for 90 % intervals."""
    axis.axhline(0.0, color="black", linewidth=0.8)
    axis.fill_between([0.88, 0.92], -0.04, 0.04, color=GRID_COLOUR, linewidth=0)
    for offset, (group, rows), colour in zip((-0.004, 0.004), coverage.items(), OKABE_ITO, strict=False):
        level, share, error = np.array(rows).T
        axis.errorbar(
            level + offset,
            share - level,
            2.0 * error,
            color=colour,
            marker="o",
            markersize=3.5,
            linewidth=0.0,
            elinewidth=1.0,
            label=group,
        )
    axis.set_ylabel("inside, less nominal", fontsize=FONT_SIZE)
    _finish(axis, coverage)


def _draw_histogram(axis: Axes, counts: NDArray[np.int64], n_replicates: int, name: str, p_value: float) -> None:
    low, high = histogram_band(n_replicates, len(counts), _BAND)
    axis.axhspan(low, high, color=GRID_COLOUR, linewidth=0)
    colour = OKABE_ITO[0] if p_value > _P_LIMIT else OKABE_ITO[5]
    axis.bar((np.arange(len(counts)) + 0.5) / len(counts), counts, 0.9 / len(counts), color=colour)
    axis.set_title(name, fontsize=SMALL_FONT_SIZE, pad=2.0)
    axis.set_xticks([])
    axis.tick_params(labelsize=SMALL_FONT_SIZE)
    axis.spines[["top", "right"]].set_visible(False)


def _finish(axis: Axes, coverage: Coverage) -> None:
    levels = [row[0] for row in next(iter(coverage.values()))]
    axis.set_xlim(0.4, 1.0)
    axis.set_xticks(levels, [f"{level:.0%}" for level in levels])
    axis.set_xlabel("central interval", fontsize=FONT_SIZE)
    axis.tick_params(labelsize=SMALL_FONT_SIZE)
    axis.grid(color=GRID_COLOUR, linewidth=0.5)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
