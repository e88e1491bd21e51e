"""The roofline as a picture: what each kernel reaches, under what the machine could do."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bayesflex.plots.style import DPI, FONT_SIZE, GRID_COLOUR, OKABE_ITO, SMALL_FONT_SIZE, WIDTH
from benchmarks.machine import Machine

_HEIGHT = 5.2  # inches

#: Kernels that would stretch the axes: the plain twin, and lists that are comparisons, hardly arithmetic.
LEFT_OUT = ("plain twin", "list of tiles", "list of close pairs")

#: Where a label may go, in points from its marker, tried in turn.
_PLACES = [(7, 0, "left"), (-7, 0, "right"), (0, 9, "center"), (0, -10, "center")]
_PLACES += [(side * 9, up, align) for up in (8, -9, 16, -17, 24) for side, align in ((1, "left"), (-1, "right"))]


def draw_roofline(kernels: list[dict[str, Any]], machine: Machine) -> Figure:
    """Return the figure of a case: operations per second against operations per byte, both logarithmic.

    Parameters
    ----------
    kernels
        Rows of the case's table.
    machine
        Its roofs: a slope for each level of memory, a line for arithmetic eight at a time and one at a time.
    """
    figure = Figure(figsize=(WIDTH, _HEIGHT), dpi=DPI, layout="constrained", facecolor="white")
    axis = figure.subplots()
    shown = [row for row in kernels if row["kernel"] not in LEFT_OUT]
    intensity = np.array([row["operations"] / row["bytes"] for row in shown])
    rate = np.array([row["operations"] / row["seconds"] for row in shown]) * 1e-9
    _draw_roofs(axis, machine, (0.4 * float(intensity.min()), 4.0 * float(intensity.max())), 0.4 * float(rate.min()))
    colours = {level.name: colour for level, colour in zip(machine.levels, OKABE_ITO, strict=False)}
    # Where arithmetic is the bound, the colour is still that of the level that the data is in.
    axis.scatter(intensity, rate, s=34, c=[colours[row["bound"]["level"]] for row in shown], zorder=4, linewidths=0)
    _draw_executed(axis, shown)
    # Below the roofs at the right there is nothing.
    axis.legend(loc="lower right", fontsize=SMALL_FONT_SIZE, frameon=False)
    figure.draw_without_rendering()
    _label(axis, [row["kernel"] for row in shown], intensity, rate)
    return figure


def _draw_roofs(axis: Axes, machine: Machine, across: tuple[float, float], lowest: float) -> None:
    axis.set(xscale="log", yscale="log", xlim=across, ylim=(lowest, 2.0e-9 * machine.vector))
    peak = 1e-9 * machine.vector
    for level, colour in zip(machine.levels, OKABE_ITO, strict=False):
        bandwidth = 1e-9 * level.fastest
        ridge = peak / bandwidth
        axis.plot([across[0], ridge], [bandwidth * across[0], peak], color=colour, linewidth=1.2)
        axis.plot([], [], color=colour, linewidth=1.2, label=f"{level.name}: {bandwidth:,.0f} GB/s")
    axis.axhline(peak, color="black", linewidth=1.2, label=f"eight at a time: {peak:,.0f} Gflop/s")
    scalar = 1e-9 * machine.scalar
    axis.axhline(
        scalar, color="black", linewidth=0.9, linestyle=(0, (4, 3)), label=f"one at a time: {scalar:,.0f} Gflop/s"
    )
    axis.set_xlabel("operations per byte that must move", fontsize=FONT_SIZE)
    axis.set_ylabel("useful operations, Gflop/s", fontsize=FONT_SIZE)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_major_formatter(plain)
    axis.yaxis.set_major_formatter(plain)
    axis.tick_params(labelsize=SMALL_FONT_SIZE)
    axis.grid(color=GRID_COLOUR, linewidth=0.5)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _draw_executed(axis: Axes, rows: list[dict[str, Any]]) -> None:
    """Mark what the pair sum does with the lanes whose result does not count."""
    for row in rows:
        if row["kernel"] != "pair sum":
            continue
        intensity = np.array([row["operations"], row["executed"]]) / row["bytes"]
        rate = np.array([row["operations"], row["executed"]]) / row["seconds"] * 1e-9
        axis.plot(intensity, rate, color="#888888", linewidth=0.7, linestyle=(0, (2, 2)), zorder=2)
        label = "pair sum with all lanes"
        axis.plot(intensity[1:], rate[1:], "o", mfc="white", mec="#888888", markersize=5.5, zorder=4, label=label)


def _label(axis: Axes, names: list[str], x: np.ndarray, y: np.ndarray) -> None:
    """Put each name beside its marker, at the first place where it covers neither a marker nor another name."""
    renderer = FigureCanvasAgg(axis.figure).get_renderer()  # type: ignore[arg-type]
    markers = axis.transData.transform(np.column_stack([x, y]))
    half = 4.0 * DPI / 72.0
    taken = [(mx - half, my - half, mx + half, my + half) for mx, my in markers]
    legend = axis.get_legend()
    if legend is not None:
        taken.append(tuple(legend.get_window_extent(renderer).extents))
    inside = axis.get_window_extent(renderer).extents
    for name, px, py, marker in zip(names, x, y, list(taken), strict=False):
        for dx, dy, align in _PLACES:
            text = axis.annotate(
                name,
                (px, py),
                xytext=(dx, dy),
                textcoords="offset points",
                ha=align,
                va="center",
                fontsize=SMALL_FONT_SIZE,
                zorder=5,
            )
            box = tuple(text.get_window_extent(renderer).extents)
            others = [other for other in taken if other is not marker]
            outside = box[0] < inside[0] or box[1] < inside[1] or box[2] > inside[2] or box[3] > inside[3]
            if (dx, dy, align) == _PLACES[-1] or not (outside or any(_overlap(box, other) for other in others)):
                taken.append(box)
                break
            text.remove()


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
