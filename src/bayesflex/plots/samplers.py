"""Sampling kernels side by side: effective draws per gradient, and whether what they draw is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from bayesflex.errors import InputError
from bayesflex.plots.style import DPI, FONT_SIZE, GRID_COLOUR, OKABE_ITO, SMALL_FONT_SIZE, WIDTH

_LABELS = {
    "hmc": "Hamiltonian\nMonte Carlo",
    "metropolis": "random-walk\nMetropolis",
    "md": "molecular dynamics\n(not exact)",
}


@dataclass(frozen=True)
class SamplerRow:
    """What one kernel did with its evaluations.

    Parameters
    ----------
    name
        "hmc", "metropolis" or "md".
    ess_min, ess_median
        Effective draws over all chains: of the worst quantity, and of the one in the middle.
    r_hat_max
        Of the worst quantity.
    n_evaluations
        Gradients, or densities where none is needed, of all chains.
    acceptance
        Mean acceptance.
    log_density
        Mean over the draws, nats; the same for every exact kernel that has converged.
    """

    name: str
    ess_min: float
    ess_median: float
    r_hat_max: float
    n_evaluations: int
    acceptance: float
    log_density: float


def plot_samplers(rows: Sequence[SamplerRow]) -> Figure:
    """Draw effective draws per thousand gradients, of the worst and of the middle quantity, on a logarithmic axis.

    Raises
    ------
    InputError
        If there is no kernel.
    """
    if not rows:
        raise InputError("figure: expected at least one kernel, got none")
    figure = Figure(figsize=(WIDTH, 3.2), dpi=DPI, layout="constrained", facecolor="white")
    axis = figure.subplots()
    for offset, name, colour, label in (
        (-0.18, "ess_min", OKABE_ITO[0], "worst coordinate"),
        (0.18, "ess_median", OKABE_ITO[4], "median coordinate"),
    ):
        heights = [1e3 * getattr(row, name) / row.n_evaluations for row in rows]
        bars = axis.bar([index + offset for index in range(len(rows))], heights, 0.34, color=colour, label=label)
        axis.bar_label(bars, [f"{height:.3g}" for height in heights], fontsize=SMALL_FONT_SIZE, padding=1)
    axis.set_yscale("log")
    axis.margins(y=0.25)
    axis.set_ylabel("effective draws per 1000 gradients", fontsize=FONT_SIZE)
    axis.set_xticks(range(len(rows)))
    axis.set_xticklabels(
        [f"{_LABELS.get(row.name, row.name)}\nR-hat {row.r_hat_max:.2f}" for row in rows], fontsize=SMALL_FONT_SIZE
    )
    axis.tick_params(labelsize=SMALL_FONT_SIZE)
    axis.grid(axis="y", color=GRID_COLOUR, linewidth=0.5)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=SMALL_FONT_SIZE)
    return figure
