"""Places where a fit and its map differ by more than noise: density without a model, and model without density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from bayesflex.posterior_predictive import Residual

Array = NDArray[np.float64]

#: A place has a smooth z-score beyond the first number somewhere; it extends as far as the second. Noise alone seldom
#: exceeds 5 anywhere in a map.
_PEAK, _EDGE = 6.0, 3.0


@dataclass(frozen=True)
class ResidualRegion:
    """A place in the map.

    Parameters
    ----------
    kind
        "unexplained" (density without a model) or "unsupported" (model without density).
    position
        Centre, Å.
    volume
        Å³.
    peak
        Largest smooth z-score; negative where model has no density.
    residue
        Label of the nearest CA of the fitted model.
    distance
        From the centre to it, Å.
    """

    kind: str
    position: tuple[float, float, float]
    volume: float
    peak: float
    residue: str
    distance: float


def residual_regions(residual: Residual, ca: Array, labels: Sequence[str] | NDArray[np.str_]) -> list[ResidualRegion]:
    """Return the places where map and fit differ, the gravest first: by peak times the root of the volume.

    Parameters
    ----------
    residual
        Of a fit.
    ca
        CA positions of the fitted model, shape (n_ca, 3), Å.
    labels
        Of its residues, shape (n_ca,).
    """
    z = residual.smooth_z
    voxel_volume = float(np.prod(z.voxel_size))
    tree = cKDTree(ca)
    found = []
    for kind, signed in (("unexplained", z.values), ("unsupported", -z.values)):
        bodies, n_bodies = ndimage.label(signed > _EDGE, np.ones((3, 3, 3)))
        peaks = ndimage.maximum(signed, bodies, np.arange(1, n_bodies + 1)) if n_bodies else np.zeros(0)
        for number in 1 + np.flatnonzero(np.asarray(peaks) > _PEAK):
            voxels = np.argwhere(bodies == number)
            weights = signed[tuple(voxels.T)]
            centre = z.to_position(np.average(voxels[:, ::-1], axis=0, weights=weights)[None])[0]
            distance, nearest = tree.query(centre)
            found.append(
                ResidualRegion(
                    kind=kind,
                    position=(float(centre[0]), float(centre[1]), float(centre[2])),
                    volume=len(voxels) * voxel_volume,
                    peak=float(weights.max()) * (1.0 if kind == "unexplained" else -1.0),
                    residue=str(labels[int(nearest)]),
                    distance=float(distance),
                )
            )
    return sorted(found, key=lambda place: -abs(place.peak) * place.volume**0.5)
