"""Residues to look at: those that a check of the fitted model points to, and why.

They are where to look first, by eye and in the map; none of them is wrong for certain, and others may be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesflex.report.run_data import RunData
from bayesflex.report.scene import residue_names

Array = NDArray[np.float64]

#: Residues listed, at most: more than anyone looks at one by one.
MOST_LISTED = 30

#: Density of less than this share of the model's median is weak. The limit is ours.
_WEAK_SUPPORT = 0.5

#: A local fit is low by this many robust standard deviations (1.4826 times the median absolute deviation) below the
#: median, and by the margin below at least, so that a model that fits evenly has none. The limits are ours.
_LOW_FIT, _DEVIATION, _LEAST_LOWER = 4.0, 1.4826, 0.05

#: Columns in which 1 marks a residue, and what is said of it; the graver first.
_MARKS = (
    ("prior_only", "placed by the prior alone"),
    ("ramachandran_outlier", "Ramachandran outlier"),
    ("ca_distance_outlier", "distance to the next CA"),
    ("ca_angle_outlier", "angle of the CA trace"),
    ("ca_clash", "CA too close to another"),
)


@dataclass(frozen=True)
class Marked:
    """A residue to look at.

    Parameters
    ----------
    index
        Among the residues of the model, from 0.
    name
        Chain, number and name.
    reasons
        Why.
    """

    index: int
    name: str
    reasons: tuple[str, ...]


def residues_to_look_at(run: RunData) -> list[Marked]:
    """Return all residues of the fitted model with a reason to look at them, those with the most reasons first."""
    if run.model is None or not run.residues:
        return []
    reasons: dict[int, list[str]] = {}
    for name, text in _MARKS:
        for index in np.flatnonzero(run.residues.get(name, np.zeros(0)) > 0).tolist():
            reasons.setdefault(index, []).append(text)
    support = run.residues.get("support", np.zeros(0))
    for index in np.flatnonzero(support < _WEAK_SUPPORT).tolist():
        reasons.setdefault(index, []).append(f"little density: {support[index]:.2f} of the median")
    for name, text in (("smoc", "SMOC"), ("q_score", "Q-score")):
        values = run.residues.get(name, np.zeros(0))
        for index in _low(values):
            reasons.setdefault(index, []).append(f"low {text}: {values[index]:.2f}")
    names = residue_names(run.model)
    ordered = sorted(reasons, key=lambda index: (-len(reasons[index]), index))
    return [Marked(index, names[index], tuple(reasons[index])) for index in ordered]


def _low(values: Array) -> list[int]:
    """Return the indices of values that lie far below the others."""
    known = values[np.isfinite(values)]
    if not known.size:
        return []
    middle = float(np.median(known))
    spread = _DEVIATION * float(np.median(np.abs(known - middle)))
    return [int(index) for index in np.flatnonzero(values < middle - max(_LOW_FIT * spread, _LEAST_LOWER))]
