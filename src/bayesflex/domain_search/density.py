"""The map as a search for domains sees it: blurred, on a coarse grid; and how much of its density each domain finds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from bayesflex.beads import BeadModel
from bayesflex.map_target import MapTarget
from bayesflex.rendering import render
from bayesflex.units import sigma_of_resolution

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Voxels per resolution of the grid that holds the map: what a bead sees there is smooth.
_VOXELS = 2.5


@dataclass(frozen=True, eq=False)
class Density:
    """A map on a grid of its own, blurred to a resolution, with what a bead looks like there.

    Parameters
    ----------
    values
        Shape (nz, ny, nx).
    voxel_size, origin
        Order (x, y, z), Å.
    sigma
        Standard deviation of a bead, Å.
    region
        True for voxels that count.
    """

    values: Array
    voxel_size: Array
    origin: Array
    sigma: float
    region: Mask

    def render(self, positions: Array, weights: Array) -> Array:
        """Return the density of beads at positions (n, 3), Å, on this grid."""
        return render(positions, weights, self.sigma, self.values.shape, self.voxel_size, self.origin)


def blurred_density(target: MapTarget, resolution: float, full: float) -> Density:
    """Return a map blurred from a resolution of ``full`` to one of ``resolution`` (Å), on a grid coarse enough for it.

    Background, rendered and not moved, is taken off at the scale at which it fits the map best.
    """
    blur = math.sqrt(max(sigma_of_resolution(resolution) ** 2 - sigma_of_resolution(full) ** 2, 0.0))
    steps = target.voxel_size[::-1]
    values = target.values
    if target.background is not None:
        values = values - scale_and_offset(values, target.background, target.region)[0] * target.background
    smooth = scipy.ndimage.gaussian_filter(values, blur / steps, mode="nearest")
    stride = np.maximum(np.floor(resolution / _VOXELS / steps), 1).astype(int)
    part = tuple(slice(None, None, int(k)) for k in stride)
    return Density(
        np.ascontiguousarray(smooth[part]),
        target.voxel_size * stride[::-1],
        target.origin,
        math.hypot(target.sigma, blur),
        np.ascontiguousarray(target.region[part]),
    )


def scale_and_offset(values: Array, model: Array, region: Mask) -> tuple[float, float]:
    """Return scale and offset with which a model's density is nearest to a map's over a region."""
    of_map, of_model = values[region], model[region]
    centred = of_model - of_model.mean()
    power = float(centred @ centred)
    scale = float(centred @ of_map) / power if power > 0.0 else 0.0
    return scale, float(of_map.mean() - scale * of_model.mean())


def occupancies(density: Density, beads: BeadModel, coords: Array, labels: NDArray[np.integer]) -> Array:
    """Return how much of its own density each domain finds in a map where it is, shape (n_domains,).

    These are the coefficients of the domains' densities that fit the map best together, an offset beside them: on the
    scale of the map, alike where all lie in their density, and near zero or below where one does not.

    Parameters
    ----------
    density
        The map.
    beads, coords
        What scatters, and the CA positions, shape (n_ca, 3), Å.
    labels
        Domain of each residue, from 0 on, shape (n_ca,).
    """
    positions, of_bead = beads.place(coords), labels[beads.residue]
    n = int(labels.max()) + 1
    columns = [density.render(positions[of_bead == k], beads.weights[of_bead == k])[density.region] for k in range(n)]
    columns.append(np.ones(int(np.count_nonzero(density.region))))
    found = np.linalg.lstsq(np.stack(columns, axis=1), density.values[density.region], rcond=None)[0]
    return np.asarray(found[:n])
