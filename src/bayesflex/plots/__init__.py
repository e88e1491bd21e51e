"""Figures of a fit: one per file, a metrics table in, a matplotlib Figure out.

A new figure is a file with a function, and a row in :data:`PLOTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from bayesflex.metrics import AMPLITUDE_PREFIX, REFERENCE_COLUMN, MetricsTable
from bayesflex.plots.amplitudes import plot_amplitudes
from bayesflex.plots.correlation import plot_correlation
from bayesflex.plots.energy import plot_energy
from bayesflex.plots.rmsd import plot_rmsd
from bayesflex.plots.style import save_figure

__all__ = ["PLOTS", "Plot", "plot_amplitudes", "plot_correlation", "plot_energy", "plot_rmsd", "save_figure"]


@dataclass(frozen=True)
class Plot:
    """A figure and what it is drawn from: call it with a table."""

    draw: Callable[[MetricsTable], Figure]
    needs: tuple[str, ...]  # columns, or the beginning of their names

    def __call__(self, table: MetricsTable) -> Figure:
        """Draw the figure."""
        return self.draw(table)

    def applies_to(self, table: MetricsTable) -> bool:
        """Tell whether the table holds what the figure needs."""
        return all(any(name.startswith(need) and table.has(name) for name in table.values) for need in self.needs)


#: Name of the file, without its suffix, and the figure.
PLOTS = {
    "cc": Plot(plot_correlation, ("cc_centred", "cc_uncentred")),
    "energy": Plot(plot_energy, ("energy", "log_density")),
    "amplitudes": Plot(plot_amplitudes, (AMPLITUDE_PREFIX,)),
    "rmsd": Plot(plot_rmsd, (REFERENCE_COLUMN,)),
}
