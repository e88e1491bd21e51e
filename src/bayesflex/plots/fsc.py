"""Fourier shell correlations of a validation: map against model, and half map against half map."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from bayesflex.plots.style import FONT_SIZE, OKABE_ITO, SMALL_FONT_SIZE, new_figure
from bayesflex.validation.result import FSC_LIMITS, Validation


def plot_fsc(validations: Mapping[str, Validation]) -> Figure:
    """Draw the map–model curves of some models in one map, within the mask and in the whole box, and the half maps'.

    Parameters
    ----------
    validations
        By what the models are called; half maps are taken from the last that has them.
    """
    figure, (axis,) = new_figure(3.4)
    last = 0.0
    for (name, validation), colour in zip(validations.items(), OKABE_ITO, strict=False):
        curves = validation.map_model
        axis.plot(curves.frequency, curves.masked, color=colour, linewidth=1.2, label=f"{name}, masked")
        axis.plot(
            curves.frequency,
            curves.unmasked,
            color=colour,
            linewidth=0.9,
            linestyle=(0, (3, 2)),
            label=f"{name}, whole",
        )
        last = max(last, float(curves.frequency[-1]))
    halves = [validation.half_maps for validation in validations.values() if validation.half_maps is not None]
    if halves:
        curves = halves[-1]
        axis.plot(curves.frequency, curves.masked, color="#000000", linewidth=1.2, label="half maps, masked")
        axis.plot(
            curves.frequency,
            curves.unmasked,
            color="#000000",
            linewidth=0.9,
            linestyle=(0, (3, 2)),
            label="half maps, whole",
        )
    for limit in FSC_LIMITS:
        axis.axhline(limit, color="#888888", linewidth=0.7)
    axis.axhline(0.0, color="#444444", linewidth=0.7)
    axis.set_xlim(0.0, last)
    axis.set_ylim(-0.25, 1.05)
    axis.set_yticks([0.0, *FSC_LIMITS[::-1], 1.0])
    ticks = [last * share for share in (0.2, 0.4, 0.6, 0.8, 1.0)]
    axis.set_xticks(ticks, [f"{1.0 / k:.1f}" for k in ticks])
    axis.set_xlabel("scale (Å), evenly in 1/Å", fontsize=FONT_SIZE)
    axis.set_ylabel("Fourier shell correlation", fontsize=FONT_SIZE)
    figure.legend(loc="outside lower center", ncols=3, fontsize=SMALL_FONT_SIZE, frameon=False)
    return figure
