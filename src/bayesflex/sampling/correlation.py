"""MapCorrelation: the correlation of a model's density with the map, again and again along a chain."""

from __future__ import annotations

import copy
import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.beads import BeadModel
from bayesflex.compiling import KERNEL, PART
from bayesflex.errors import InputError
from bayesflex.map_target import MapTarget
from bayesflex.neighbours import COORDINATE_LIMIT
from bayesflex.overlap.grid import in_padding, padded_shape
from bayesflex.overlap.tiles import spatial_places
from bayesflex.rendering import BLOCK, WINDOW, add_beads, make_windows, profiles
from bayesflex.simd import WIDTH, load, splat, store, total

Array = NDArray[np.float64]


class MapCorrelation:
    """cc_uncentred (eq. 8) and cc_centred of the model's density with the map, over the region that counts.

    It owns the grid on which it renders: no other thread may use it meanwhile.

    Parameters
    ----------
    target
        The prepared map.
    beads
        What the residues scatter.
    start
        CA positions, shape (n_ca, 3), Å: beads close to each other there are rendered together, which is faster and
        changes a sum by rounding only.
    """

    def __init__(self, target: MapTarget, beads: BeadModel, start: Array) -> None:
        self._beads, self._moments = beads, target.region_moments
        places = spatial_places(beads.place(start))
        self._order = places[places >= 0]
        kinds = beads.classes
        blur = np.zeros(len(self._order)) if kinds is None else kinds[1][kinds[0]]
        weights = np.asarray(beads.weights, dtype=np.float64)[self._order]
        self._profiles = profiles(weights, np.hypot(target.sigma, blur)[self._order], WINDOW)
        self._origin = np.array(target.origin, dtype=np.float64)
        self._voxel = np.array(target.voxel_size, dtype=np.float64)
        self._shape = target.values.shape
        widest = self._profiles[1].max(initial=WINDOW * target.sigma) / self._voxel
        self._reach = self._profiles[1][:, None] * (1.0 / self._voxel)
        self._positions = np.zeros((len(self._order), 3))
        self._windows = make_windows(BLOCK, widest, self._shape)

        n, map_total, _ = self._moments
        counted = np.where(target.region, target.values - map_total / n, 0.0)
        padded = padded_shape(self._shape, widest[0])
        self._map = in_padding(counted, padded)
        self._mask, self._fixed = np.zeros((0, 0, 0), np.float32), np.zeros((0, 0, 0))
        if n < counted.size:
            self._mask = in_padding(target.region.astype(np.float32), padded)
        self._fixed_sums = np.zeros(3)
        if target.background is not None:
            fixed = np.where(target.region, target.background, 0.0)
            self._fixed_sums[:] = np.vdot(counted, fixed), np.vdot(fixed, fixed), fixed.sum()
            self._fixed = in_padding(fixed, padded)
        self._map_power = float(np.vdot(counted, counted))
        self._density = np.zeros(padded)

    def clone(self) -> MapCorrelation:
        """Return one that shares the map and owns its workspaces."""
        other = copy.copy(self)
        other._windows, other._density = self._windows.clone(), np.zeros(self._density.shape)
        other._positions = np.zeros(self._positions.shape)
        return other

    def __call__(self, coords: Array) -> dict[str, float]:
        """Return the two correlations, 0 where the model has no density, for CA positions (n_ca, 3), Å.

        Raises
        ------
        InputError
            If a coordinate is not finite.
        """
        beads = self._beads.place(coords)
        if not _take_places(beads, self._order, self._origin, self._voxel, self._positions):
            raise InputError("correlation: coordinates are not finite; check the model for NaN or infinite positions")
        sums = self._fixed_sums.copy()
        add_beads(self._positions, *self._profiles, self._voxel, self._shape, self._windows, self._density)
        _take_kernel(self._density, self._map, self._mask, self._fixed, self._positions, self._reach, self._shape, sums)
        cross, square, mass = (float(value) for value in sums)
        n, map_total, map_square = self._moments
        # What the centred map leaves out of the product of map and model is the map's mean times the model's mass.
        power, whole = square - mass**2 / n, cross + map_total / n * mass
        centred = power * self._map_power
        return {
            "cc_uncentred": whole / math.sqrt(square * map_square) if square > 0.0 else 0.0,
            "cc_centred": cross / math.sqrt(centred) if centred > 0.0 else 0.0,
        }


@njit(**KERNEL)
def _take_places(beads, order, origin, voxel, positions):  # type: ignore[no-untyped-def]
    """Set positions (n, 3), in voxels, to those of beads in an order; return whether all are finite."""
    for n in range(order.shape[0]):
        for k in range(3):
            # Written so that NaN fails the comparison.
            if not abs(beads[order[n], k]) <= COORDINATE_LIMIT:
                return False
            positions[n, k] = (beads[order[n], k] - origin[k]) / voxel[k]
    return True


@njit(**PART)
def _extent(positions, reach, first, last, axis, size):  # type: ignore[no-untyped-def]
    """Return the first voxel, and the one after the last, that some beads reach along an axis with this many."""
    low, high = float(size), 0.0
    for n in range(first, last):
        below, above = positions[n, axis] - reach[n, axis], positions[n, axis] + reach[n, axis] + 1.0
        low = below if below < low else low
        high = above if above > high else high
    low = low if low > 0.0 else 0.0
    # Whole numbers: the first that is not below, and the last that is not above.
    return size - np.int64(size - low), np.int64(high if high < size else size)


@njit(**KERNEL)
def _take_kernel(density, values, mask, fixed, positions, reach, shape, sums):  # type: ignore[no-untyped-def]
    """Add to sums what a density is with the map, with itself, twice the fixed one included, and whole; clear it.

    The first four are (planes, rows, voxels); mask is empty where all voxels count, and fixed where there is none. The
    density is zero but for what beads at positions (n, 3) reach, (n, 3), in voxels of a grid of this shape. It is gone
    through block by block of beads; what has been counted is zero.
    """
    rows, row = density.shape[1], density.shape[2]
    masked, with_fixed = mask.size > 0, fixed.size > 0
    zero = splat(0.0)
    cross = square = mass = zero
    for first in range(0, positions.shape[0], BLOCK):
        last = min(first + BLOCK, positions.shape[0])
        first_x, end_x = _extent(positions, reach, first, last, 0, shape[2])
        first_y, end_y = _extent(positions, reach, first, last, 1, shape[1])
        first_z, end_z = _extent(positions, reach, first, last, 2, shape[0])
        # Whole vectors; rows are as long in memory.
        first_x, end_x = first_x - first_x % WIDTH, end_x + -end_x % WIDTH
        for c in range(first_z, end_z):
            for b in range(first_y, end_y):
                begin = (c * rows + b) * row
                for at in range(begin + first_x, begin + end_x, WIDTH):
                    d = load(density, at)
                    store(density, at, zero)
                    cross = cross + d * load(values, at)
                    counted = d * load(mask, at) if masked else d
                    mass = mass + counted
                    if with_fixed:
                        f = load(fixed, at)
                        counted = counted + f + f
                    square = square + d * counted
    sums[0] += total(cross)
    sums[1] += total(square)
    sums[2] += total(mass)
