"""Does the model lie in the map? Measured at the model's CA atoms before anything is fitted.

A fit of a model that does not overlay its map runs to the end and means nothing. Thresholds come from real cases:
models in their own maps, and starts of fits into another conformation's map, score 2.0 (GroEL 1OEL in the 10 Å map of
1SX4) to 7.8 standard deviations, RF2's misfitted start in EMD-1010 3.3; the same models turned at random and shifted
by 15 Å along each axis score 0.4 to 1.0 in the median.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesflex.density_map import DensityMap
from bayesflex.errors import InputError
from bayesflex.map_preparation import trilinear

Array = NDArray[np.float64]

#: Mean map value at the CA atoms, in standard deviations above the map's mean, below which a model is not in its map.
LEAST_MEAN_SD = 1.0

#: Fraction of the CA atoms below which a model is not in its map. The start of a legitimate fit (GroEL 1SX4 in the
#: tight box of 1OEL) has 0.90.
LEAST_FRACTION_INSIDE = 0.75

#: By how many standard deviations another reading of the header must score better to be recommended.
_CLEAR_GAIN = 0.5


@dataclass(frozen=True)
class PlacementReport:
    """How well a model overlays a map.

    Parameters
    ----------
    n_inside, n_ca
        CA atoms inside the map's box, and in all.
    mean_sd
        Mean map value at the CA atoms inside, in the map's standard deviations above its mean.
    alternative
        The other place that the header names, as ``--origin`` calls it, and ``mean_sd`` of the model there (NaN where
        no CA atom lies inside), or None.
    warnings
        Sentences for the user, empty where the model overlays the map.
    """

    n_inside: int
    n_ca: int
    mean_sd: float
    alternative: tuple[str, float] | None
    warnings: tuple[str, ...]


def check_placement(density: DensityMap, ca_coords: Array) -> PlacementReport:
    """Measure whether a model overlays a map, where the map was put and where its header could also put it.

    Parameters
    ----------
    density
        The map.
    ca_coords
        Positions of the CA atoms, shape (n_ca, 3), Å.

    Raises
    ------
    InputError
        If no CA atom is in the box, or the model is larger than a box whose voxel size is exactly 1 Å, which is what
        programs write that lost it.
    """
    name, n_ca = density.name, len(ca_coords)
    extent = np.ptp(ca_coords, axis=0)
    if np.all(density.voxel_size == 1.0) and np.any(extent > density.box_size):
        raise InputError(
            f"{name}: the voxel size is exactly 1.0 Å and the model ({_triple(extent)} Å) is larger than the box "
            f"({_triple(density.box_size)} Å): the map's header has probably lost its voxel size. "
            "Give the true one in Å with --voxel."
        )
    n_inside, mean_sd = _score(density, ca_coords)
    others = [
        (other, *_score(replace(density, origin=np.array(origin)), ca_coords))
        for other, origin in density.other_origins
    ]
    # CA atoms outside count as at the map's mean: few inside by chance must not look like a good fit.
    here = mean_sd * n_inside / n_ca if n_inside else 0.0
    better = [
        (other, n_there, sd_there)
        for other, n_there, sd_there in others
        if n_there and sd_there >= LEAST_MEAN_SD and sd_there * n_there / n_ca > here + _CLEAR_GAIN
    ]
    if n_inside == 0:
        advice = (
            f"Try --origin {better[0][0]}, where the two overlay," if better else "Say with --origin where the map is"
        )
        raise InputError(
            f"{name}: the model lies entirely outside the map: CA atoms from {_triple(ca_coords.min(axis=0))} "
            f"to {_triple(ca_coords.max(axis=0))} Å, map from {_triple(density.origin)} "
            f"to {_triple(density.origin + density.box_size - density.voxel_size)} Å. "
            f"{advice} or dock the model into the map first."
        )
    warnings = [
        f"{name}: the model overlays the map better where --origin {other} puts it: mean map value at the CA atoms "
        f"{sd_there:.1f} SD above the mean with {n_there} of {n_ca} inside, against {mean_sd:.1f} SD with {n_inside}"
        for other, n_there, sd_there in better
    ]
    if n_inside < LEAST_FRACTION_INSIDE * n_ca or mean_sd < LEAST_MEAN_SD:
        warnings.append(
            f"{name}: the model does not overlay the map: {n_inside} of {n_ca} CA atoms lie inside, where the mean "
            f"map value is {mean_sd:.1f} SD above the map's mean (expected at least {LEAST_FRACTION_INSIDE:.0%} inside "
            f"and {LEAST_MEAN_SD:g} SD). Check --origin and --voxel, or dock the model into the map first"
        )
    alternative = (others[0][0], others[0][2]) if others else None
    return PlacementReport(n_inside, n_ca, mean_sd, alternative, tuple(warnings))


def _score(density: DensityMap, ca_coords: Array) -> tuple[int, float]:
    """Return the number of CA atoms inside, and their mean map value in standard deviations above the mean."""
    values = trilinear(density, ca_coords)
    inside = np.isfinite(values)
    n_inside = int(np.count_nonzero(inside))
    if n_inside == 0:
        return 0, float("nan")
    mean, sd = density.values.mean(dtype=np.float64), density.values.std(dtype=np.float64)
    return n_inside, float((values[inside].mean() - mean) / sd)


def _triple(values: Array) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in values.tolist()) + ")"
