"""What the figures share: colours, sizes, chains as lines, stages as bands, and how a figure is saved.

Everything is set on the objects of a figure; pyplot and the global rcParams are left alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bayesflex.errors import InputError
from bayesflex.io.atomic import atomic_path
from bayesflex.metrics import MetricsTable

#: Figures are this wide, inches: a column and a half of a journal.
WIDTH = 7.0
FONT_SIZE = 9.0
SMALL_FONT_SIZE = 7.5
DPI = 150

#: The colours of Okabe and Ito (2008), told apart by colour-blind readers; without black (the mean's) and yellow.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MEAN_COLOUR = "#000000"
DIVERGENT_COLOUR = "#B00000"
WARMUP_COLOUR = "#EEEEEE"
GRID_COLOUR = "#DDDDDD"

#: Names of stages that mean something here; all others are parts of the warm-up.
START = "start"
SAMPLING = "sampling"

#: More chains than this are not told apart in a figure.
_MANY_CHAINS = 30

#: Values further from the central 96 % than this many times its width are left outside the axes.
_OUTLIER_REACH = 0.5


class Stage(NamedTuple):
    """A stretch of iterations: first and one past the last."""

    name: str
    begin: int
    end: int


def new_figure(height: float, n_rows: int = 1, n_columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of the common width and a height in inches, and its axes row by row, sharing their x axis."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    axes = [axis for row in figure.subplots(n_rows, n_columns, squeeze=False, sharex=True) for axis in row]
    for axis in axes:
        axis.tick_params(labelsize=SMALL_FONT_SIZE)
        axis.grid(color=GRID_COLOUR, linewidth=0.5)
        axis.set_axisbelow(True)
        axis.xaxis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 5, 10], integer=True))
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure, axes


def chain_colours(n_chains: int) -> list[str]:
    """Return a colour per chain: distinct ones as far as they go, then a scale from dark to light."""
    if n_chains <= len(OKABE_ITO):
        return list(OKABE_ITO[:n_chains])
    # The last fifth of viridis is too light for thin lines on white.
    return [mpl.colors.to_hex(mpl.colormaps["viridis"](0.8 * k / (n_chains - 1))) for k in range(n_chains)]


def colour_scale(name: str, n: int) -> list[str]:
    """Return n colours of one of matplotlib's scales, from its low to its high end."""
    return [mpl.colors.to_hex(mpl.colormaps[name](k / (n - 1))) for k in range(n)]


def require(table: MetricsTable, name: str) -> None:
    """Refuse a table without numbers in a column.

    Raises
    ------
    InputError
        If nothing was recorded under the name.
    """
    if not table.has(name):
        raise InputError(f"figure: the metrics have no values of {name!r}; there are {', '.join(table.values)}")


def draw_chains(axis: Axes, table: MetricsTable, name: str) -> None:
    """Draw a column against the iteration: a thin line per chain, a cross at each divergent iteration."""
    chains = table.chains
    for chain, colour in zip(chains, chain_colours(len(chains)), strict=True):
        rows = table.of_chain(chain)
        values = _finite(rows.column(name))
        # A chain of one point would be invisible as a line.
        marker = "." if len(values) == 1 else ""
        axis.plot(rows.iteration, values, color=colour, linewidth=0.8, alpha=0.85, marker=marker)
        divergent = rows.values["divergent"] > 0 if "divergent" in rows.values else np.zeros(len(values), dtype=bool)
        axis.add_line(_divergent_marks(rows.iteration[divergent], values[divergent]))


def draw_mean(axis: Axes, table: MetricsTable, name: str) -> None:
    """Draw the mean over several chains as a thick line, where every chain has got to."""
    if len(table.chains) == 1:
        return
    iterations = np.unique(table.iteration)
    values = _finite(table.column(name))
    index = np.searchsorted(iterations, table.iteration)
    counts = np.bincount(index, weights=np.isfinite(values), minlength=len(iterations))
    sums = np.bincount(index, weights=np.nan_to_num(values), minlength=len(iterations))
    everywhere = counts == len(table.chains)  # a mean over fewer chains would jump where one ends
    axis.plot(iterations[everywhere], sums[everywhere] / counts[everywhere], color=MEAN_COLOUR, linewidth=1.8, zorder=3)


def bulk_range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return limits of an axis for the bulk of the values, so that a few of a cold start do not flatten the rest.

    Where there is no range, both are the same.
    """
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [2.0, 98.0])
    reach = _OUTLIER_REACH * (high - low)
    low, high = max(finite.min(), low - reach), min(finite.max(), high + reach)
    margin = 0.05 * (high - low)
    return float(low - margin), float(high + margin)


def leave_out_outliers(axis: Axes, values: NDArray[np.float64]) -> None:
    """Limit the y axis to the bulk of the values."""
    low, high = bulk_range(values)
    if high > low:
        axis.set_ylim(low, high)


def stages_of(table: MetricsTable) -> list[Stage]:
    """Return the stages in order of time; the start, a single point, belongs to the stage after it.

    Where chains pass from stage to stage at different iterations, their warm-ups are one stage, which ends when the
    last chain begins to sample.
    """
    if len(table.chain) == 0:
        return []
    begins = [_begins(table, chain) for chain in table.chains]
    longest = max(begins, key=len)
    if any(chain != dict(list(longest.items())[: len(chain)]) for chain in begins):
        sampling = [chain[SAMPLING] for chain in begins if SAMPLING in chain]
        longest = {"warm-up": 0} | ({SAMPLING: max(sampling)} if sampling else {})
    bounds = [int(table.iteration.min()), *list(longest.values())[1:], int(table.iteration.max()) + 1]
    return [Stage(*stage) for stage in zip(longest, bounds[:-1], bounds[1:], strict=True)]


def _begins(table: MetricsTable, chain: int) -> dict[str, int]:
    """Return the first iteration of each stage of a chain, in order of time."""
    mine = table.chain == chain
    order = np.argsort(table.iteration[mine], kind="stable")
    stages, iterations = table.stage[mine][order].tolist(), table.iteration[mine][order].tolist()
    begins: dict[str, int] = {}
    for name, iteration in zip(stages, iterations, strict=True):
        begins.setdefault(name, iteration)
    if len(begins) > 1:
        begins.pop(START, None)
    return begins


def mark_stages(axis: Axes, table: MetricsTable, labelled: bool = False) -> None:
    """Shade the warm-up, draw a line where a stage begins, and set the range of the axis.

    Names go above the axes, where their stage is wide enough for them; the numbers of stages alone where not.
    """
    stages = stages_of(table)
    if not stages:
        return
    begin, end = stages[0].begin, max(stages[-1].end - 1, stages[0].begin + 1)
    axis.set_xlim(begin, end)
    for stage in stages:
        if stage.name != SAMPLING:
            axis.axvspan(stage.begin, min(stage.end, end), color=WARMUP_COLOUR, linewidth=0, zorder=0)
        if stage.begin > begin:
            axis.axvline(stage.begin, color="#888888", linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
        if not labelled:
            continue
        room = WIDTH * 72 * 0.85 * (stage.end - stage.begin) / (end - begin)  # points; 0.85 of the width is axes
        label = _label_that_fits(stage.name, room)
        middle = 0.5 * (stage.begin + min(stage.end, end))
        axis.annotate(
            label,
            (middle, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=SMALL_FONT_SIZE,
            color="#444444",
        )


def mark_chains(axis: Axes, chain: NDArray[np.str_], named: bool) -> None:
    """Draw a line and a name where each chain begins, unless there is one alone or too many to read."""
    first = np.flatnonzero(np.append(True, chain[1:] != chain[:-1])).tolist()
    if not 1 < len(first) <= _MANY_CHAINS:
        return
    for index in first:
        axis.axvline(index + 0.5, color="#BBBBBB", linewidth=0.8, zorder=0)
        if named:
            axis.annotate(
                str(chain[index]),
                (index + 0.5, 1.0),
                xycoords=axis.get_xaxis_transform(),
                xytext=(3, -10),
                textcoords="offset points",
                fontsize=SMALL_FONT_SIZE,
                color="#444444",
            )


def label_iterations(axis: Axes) -> None:
    """Name the x axis."""
    axis.set_xlabel("iteration", fontsize=FONT_SIZE)


def add_legend(figure: Figure, table: MetricsTable, with_mean: bool = False) -> None:
    """Put a legend of chains, mean, warm-up and divergent iterations below the axes, as far as they occur."""
    chains = table.chains
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=colour, linewidth=1.5, label=f"chain {chain}")
        for chain, colour in zip(chains, chain_colours(len(chains)), strict=True)
    ]
    if with_mean and len(chains) > 1:
        handles.append(Line2D([], [], color=MEAN_COLOUR, linewidth=1.8, label="mean of chains"))
    if any(stage.name != SAMPLING for stage in stages_of(table)):
        handles.append(Patch(color=WARMUP_COLOUR, label="warm-up"))
    if "divergent" in table.values and np.any(table.values["divergent"] > 0):
        handles.append(_divergent_marks(np.zeros(0, dtype=np.int64), np.zeros(0)))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 7),
        fontsize=SMALL_FONT_SIZE,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.2,
    )


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the same figure gives the same bytes, since no time or version is written into it.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})


def _divergent_marks(iterations: NDArray[np.int64], values: NDArray[np.float64]) -> Line2D:
    """Return crosses at these points; at none, the entry of the legend."""
    return Line2D(
        iterations,
        values,
        linestyle="none",
        marker="x",
        markersize=4.0,
        markeredgewidth=1.1,
        color=DIVERGENT_COLOUR,
        label="divergent",
        zorder=4,
    )


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values with infinities as NaN, which leave a gap in a line."""
    return np.where(np.isfinite(values), values, np.nan)


def _label_that_fits(name: str, room: float) -> str:
    """Return the name of a stage, its number, or nothing, whichever fits into so many points."""
    width = 0.6 * SMALL_FONT_SIZE  # of a character, generous
    for text in (name, name.rpartition("-")[2]):
        if (len(text) + 1) * width <= room:
            return text
    return ""
