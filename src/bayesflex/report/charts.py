"""Curves of a run as data for the page's script: against the iteration, and along the model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.metrics import AMPLITUDE_PREFIX, REFERENCE_COLUMN, MetricsTable
from bayesflex.plots.style import OKABE_ITO, SAMPLING, bulk_range, chain_colours, stages_of
from bayesflex.report.run_data import RunData
from bayesflex.report.scene import residue_values
from bayesflex.validation.result import FSC_LIMITS

Array = NDArray[np.float64]

#: Iterations drawn of each chain, at most: more than there are pixels across.
_MOST_POINTS = 1_000

#: Column, title and unit of the curves against the iteration, and whether outliers of a cold start are left out.
_OF_ITERATION = (
    ("cc_centred", "Correlation of model and map, centred", "", False),
    (REFERENCE_COLUMN, "CA RMSD to the reference", "Å", False),
    ("energy", "Structural energy", "kcal/mol", True),
    ("log_density", "Log density (of the stage, so not comparable between stages)", "nats", True),
)

#: Curves along the model: title, unit, and (column, label, colour).
_ALONG_MODEL = (
    ("displacement", "How far each residue moved", "Å", (("displacement", "moved", OKABE_ITO[5]),)),
    (
        "uncertainty",
        "Uncertainty of each residue",
        "Å",
        (("sd", "standard deviation", OKABE_ITO[0]), ("radius_90", "radius of 90 % of draws", OKABE_ITO[4])),
    ),
    (
        "local-fit",
        "Local fit: overlap of map and model (SMOC), correlation, and Q-score of each residue",
        "",
        (
            ("smoc", "SMOC", OKABE_ITO[0]),
            ("cc_residue", "correlation", OKABE_ITO[2]),
            ("q_score", "Q-score", OKABE_ITO[5]),
        ),
    ),
    (
        "support",
        "Density that the map has for each residue (1 is the model's median)",
        "",
        (("support", "support", OKABE_ITO[1]),),
    ),
    (
        "contraction",
        "What the map adds to the prior (1: the map decides, 0: it says nothing)",
        "",
        (("contraction", "contraction", OKABE_ITO[2]),),
    ),
)


#: Where the axis of a curve along the model ends: a contraction far below 0 says no more than one below 0.
_LOWEST = {"contraction": -1.0}

#: Curves against spatial frequency: column, label, colour, and whether dashed.
_OF_SHELLS = (
    ("start_masked", "initial model", "#8c959f", False),
    ("start_unmasked", "the same, whole box", "#8c959f", True),
    ("fitted_masked", "fitted model", OKABE_ITO[0], False),
    ("fitted_unmasked", "the same, whole box", OKABE_ITO[0], True),
    ("half_maps_masked", "half maps", "#000000", False),
    ("half_maps_unmasked", "the same, whole box", "#000000", True),
)


def charts_of_iterations(table: MetricsTable) -> dict[str, Any]:
    """Return the curves of every chain against the iteration, with the stages of the warm-up.

    Returns
    -------
    dict
        ``iterations`` (of all curves), ``stages``, ``chains`` (names and colours), ``charts`` with a list of values
        for each chain, null where there is none, and ``thinned``: every how many iterations a point is drawn.
    """
    iterations = np.unique(table.iteration)
    step = max(1, -(-len(iterations) // _MOST_POINTS))
    # The last point is where the run got to.
    kept = np.unique(np.append(iterations[::step], iterations[-1:]))
    stages = stages_of(table)
    charts = [
        _chart(table, kept, name, title, unit, without_outliers)
        for name, title, unit, without_outliers in _OF_ITERATION
        if table.has(name)
    ]
    amplitudes = [
        _chart(table, kept, f"{AMPLITUDE_PREFIX}{mode}", f"Mode {mode}", "Å", False)
        for mode in table.mode_numbers
        if table.has(f"{AMPLITUDE_PREFIX}{mode}")
    ]
    colours = chain_colours(len(table.chains))
    return {
        "iterations": kept.tolist(),
        "stages": [
            {"name": stage.name, "begin": stage.begin, "end": stage.end, "warmup": stage.name != SAMPLING}
            for stage in stages
        ],
        "chains": [
            {"name": f"chain {chain}", "colour": colour} for chain, colour in zip(table.chains, colours, strict=True)
        ],
        "charts": charts,
        "amplitudes": amplitudes,
        "thinned": step,
    }


def charts_along_model(run: RunData) -> dict[str, Any] | None:
    """Return the curves along the model, or None where nothing is known of residues.

    Only residues with a number are drawn, in the order of the file; ``residues`` has their indices.
    """
    values = residue_values(run)
    known = [np.isfinite(values[name]) for *_, curves in _ALONG_MODEL for name, _, _ in curves if name in values]
    if not known or run.model is None:
        return None
    # Residues with CA or C4', where there are any: water and ligands have numbers too, but no place along a chain.
    polymer = np.zeros(run.model.n_residues, dtype=bool)
    polymer[run.model.residue_index[run.model.is_site]] = True
    drawn = np.any(known, axis=0) & (polymer if polymer.any() else True)
    index = np.flatnonzero(drawn)
    charts = []
    for identifier, title, unit, curves in _ALONG_MODEL:
        present = [curve for curve in curves if curve[0] in values and np.isfinite(values[curve[0]][index]).any()]
        if present:
            charts.append(
                {
                    "name": identifier,
                    "title": title,
                    "unit": unit,
                    "curves": [
                        {"label": label, "colour": colour, "values": numbers(values[name][index])}
                        for name, label, colour in present
                    ],
                }
                | ({"lowest": _LOWEST[identifier]} if identifier in _LOWEST else {})
            )
    only = values.get("prior_only", np.zeros(len(drawn)))[index] > 0
    return {"residues": index.tolist(), "charts": charts, "prior_only": np.flatnonzero(only).tolist()}


def chart_of_shells(run: RunData) -> dict[str, Any] | None:
    """Return the Fourier shell correlations against spatial frequency, or None where there are none.

    Returns
    -------
    dict
        ``frequency`` (1/Å), ``curves`` (label, colour, whether dashed, values), ``limits`` at which resolutions are
        read off, and ``resolution`` (Å) that the fit was told, or null.
    """
    frequency = run.shells.get("frequency")
    curves = [
        {"label": label, "colour": colour, "dashed": dashed, "values": numbers(run.shells[name])}
        for name, label, colour, dashed in _OF_SHELLS
        if name in run.shells and np.isfinite(run.shells[name]).any()
    ]
    if frequency is None or not curves or not (np.isfinite(frequency).all() and (np.diff(frequency) > 0).all()):
        return None
    return {
        "frequency": numbers(frequency),
        "curves": curves,
        "limits": list(FSC_LIMITS),
        "resolution": run.settings.get("resolution"),
    }


def numbers(values: Array) -> list[float | None]:
    """Return values with five digits, which is more than a screen shows, and null where there is none."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values.tolist()]


def _chart(
    table: MetricsTable, iterations: NDArray[np.int64], name: str, title: str, unit: str, without_outliers: bool
) -> dict[str, Any]:
    curves = []
    for chain in table.chains:
        rows = table.of_chain(chain)
        curve = np.full(len(iterations), np.nan)
        place = np.searchsorted(iterations, rows.iteration)
        place = np.minimum(place, len(iterations) - 1)
        found = iterations[place] == rows.iteration
        curve[place[found]] = rows.column(name)[found]
        curves.append(numbers(curve))
    chart: dict[str, Any] = {"name": name, "title": title, "unit": unit, "curves": curves}
    if without_outliers:
        low, high = bulk_range(table.column(name))
        if high > low:
            chart["range"] = [low, high]
    return chart
