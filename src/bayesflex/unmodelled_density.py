"""Density that no part of the model explains: a ligand that it lacks, residues that it leaves out, a partner.

Left alone it pulls at the residues around, which is what a density can do to a model that has nothing else to explain
it by. Here it gets beads of its own, which stand still. Not every residual is such density: where the model has not
arrived, what it will move into is unexplained as well. But then parts of the model have no density where they are, and
nothing is given away (:func:`unsupported_share`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from bayesflex.beads import BeadModel
from bayesflex.map_comparison import Comparison
from bayesflex.map_target import MapTarget
from bayesflex.posterior_predictive import Residual
from bayesflex.rendering import render

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: A seed has a smooth z-score beyond the first number somewhere and the second everywhere: where it is lower, a
#: residual mostly is what side chains leave. Model without density is counted where the score is below minus the third.
_PEAK, _SEED, _UNSUPPORTED = 6.0, 5.0, 3.0

#: Free beads are up to this far from a seed, as far as a ligand extends from its heart, and no nearer to the model's
#: beads than they are to each other, Å.
_REACH, _NEAREST = 6.0, 3.0

#: Spacing of free beads: this share of the resolution, and at least so much, Å. Wider they would not add up to a
#: smooth density: beads have a standard deviation of 0.25 to 0.3 of the resolution.
_SPACING, _LEAST_SPACING = 0.4, 2.0


@dataclass(frozen=True)
class UnmodelledPlace:
    """A place with density that the model does not explain.

    Parameters
    ----------
    position
        Centre, Å.
    weight
        What scatters there, in units of the model's mean residue.
    residue
        Label of the nearest site of the pilot's structure.
    distance
        From the centre to it, Å.
    """

    position: tuple[float, float, float]
    weight: float
    residue: str
    distance: float


def seeds(residual: Residual) -> tuple[NDArray[np.int64], int]:
    """Return which seed of unexplained density a voxel belongs to, from 1 on, 0 for none, and how many there are."""
    z = residual.smooth_z.values
    bodies, n_bodies = ndimage.label(z > _SEED, np.ones((3, 3, 3)))
    if n_bodies == 0:
        return np.zeros(z.shape, dtype=np.int64), 0
    peaks = np.asarray(ndimage.maximum(z, bodies, np.arange(n_bodies + 1)))
    peaks[0] = 0.0
    number = np.cumsum(peaks > _PEAK) * (peaks > _PEAK)
    return np.asarray(number[bodies], dtype=np.int64), int(number.max())


def unsupported_share(residual: Residual, beads: BeadModel) -> float:
    """Return how much of the model has no density where it is, as a share of all that it scatters."""
    missing = -residual.values[residual.smooth_z.values < -_UNSUPPORTED]
    voxel = float(np.prod(residual.smooth_z.voxel_size))
    return float(missing.sum()) * voxel / residual.scale / float(beads.weights.sum())


class FreeBeads:
    """Beads on a grid about seeds of unexplained density, whose weights are fitted.

    Parameters
    ----------
    target
        The map.
    seed
        Seed of each voxel, 0 for none, shape (nz, ny, nx).
    model
        Positions of the model's beads before it could flow into what is not its own, shape (n_beads, 3), Å.
    resolution
        Of the map, Å.
    """

    def __init__(self, target: MapTarget, seed: NDArray[np.int64], model: Array, resolution: float) -> None:
        self._target = target
        voxel = target.voxel_size
        step = np.maximum(np.rint(max(_LEAST_SPACING, _SPACING * resolution) / voxel), 1.0).astype(int)
        distance, nearest = ndimage.distance_transform_edt(seed == 0, sampling=voxel[::-1], return_indices=True)
        index = np.argwhere((distance < _REACH) & target.region)
        index = index[np.all(index % step[::-1] == 0, axis=1)]
        positions = target.origin + index[:, ::-1] * voxel
        far = np.asarray(cKDTree(model).query(positions)[0]) > _NEAREST if len(positions) else np.zeros(0, bool)
        index = index[far]
        #: Where they are, shape (n, 3), Å, and the seed of each.
        self.positions: Array = positions[far]
        self.seed = seed[tuple(nearest[(slice(None), *index.T)])]
        near = np.ones(seed.shape, dtype=bool)
        near[tuple(index.T)] = False
        reached = ndimage.distance_transform_edt(near, sampling=voxel[::-1]) < 2.0 * target.sigma
        self._near: Mask = reached & target.region
        voxels = target.origin + np.argwhere(self._near)[:, ::-1] * voxel
        square = cdist(voxels, self.positions, "sqeuclidean") / target.sigma**2
        #: Density of each bead of weight 1 in the voxels near them, shape (n_near, n).
        self._columns = np.exp(-0.5 * square) * (2.0 * math.pi * target.sigma**2) ** -1.5
        self._gram = self._columns.T @ self._columns

    def rendered(self, weights: Array) -> Array:
        """Return the density of the beads with weights (n,), shape (nz, ny, nx)."""
        target, some = self._target, weights > 0.0
        return render(
            self.positions[some], weights[some], target.sigma, target.values.shape, target.voxel_size, target.origin
        )

    def fitted(self, comparison: Comparison, model: Array, weights: Array) -> Array:
        """Return the weights, none negative, with which the beads best explain what a model leaves of the map.

        Parameters
        ----------
        comparison
            The map under its noise model.
        model
            Density of the model, shape (nz, ny, nx).
        weights
            Those so far, shape (n,): the map's scale and offset are fitted with them.
        """
        found = comparison.fit(model + self.rendered(weights))
        left = (self._target.values - found.offset) / found.scale - model
        moments = self._columns.T @ left[self._near]
        scale = float(np.trace(self._gram)) / len(moments)

        def cost(at: Array) -> tuple[float, Array]:
            slope = self._gram @ at
            return float(0.5 * at @ slope - at @ moments) / scale, (slope - moments) / scale

        # Neighbours are alike and share a weight in many ways, of which any will do: no need to go to the very end.
        found_weights = minimize(
            cost, weights, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(weights), options={"maxiter": 200}
        )
        return np.asarray(found_weights.x, dtype=np.float64)

    def heavier_than(self, least: float, weights: Array) -> Array:
        """Return the weights, zero for beads of seeds with less than so much together, shape (n,)."""
        total = np.bincount(self.seed, weights)
        return np.where(total[self.seed] >= least, weights, 0.0)

    def places(self, weights: Array, sites: Array, labels: NDArray[np.str_]) -> list[UnmodelledPlace]:
        """Return what the beads of each seed with a weight come to, the heaviest first."""
        found = []
        tree = cKDTree(sites)
        for number in np.unique(self.seed[weights > 0.0]):
            of = (self.seed == number) & (weights > 0.0)
            centre = np.average(self.positions[of], axis=0, weights=weights[of])
            distance, nearest = tree.query(centre)
            x, y, z = centre.tolist()
            found.append(
                UnmodelledPlace((x, y, z), float(weights[of].sum()), str(labels[int(nearest)]), float(distance))
            )
        return sorted(found, key=lambda place: -place.weight)
