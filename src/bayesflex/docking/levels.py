"""LevelMap: the map blurred to a resolution, on a grid no finer than that needs, zero meaning solvent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from bayesflex.density_map import DensityMap
from bayesflex.units import sigma_of_resolution

Array = NDArray[np.float64]

#: What a blur carries out of the map's box is kept up to so many of its standard deviations.
_BLUR_REACH = 3.0

#: Values below this share of the highest are next to nothing: it is less than a mask's level.
_NEGLIGIBLE = 0.01

#: Voxels of nothing around, so that splines end where they begin.
_EDGE = 4


@dataclass(frozen=True, eq=False)
class LevelMap:
    """A map at one resolution of the docking.

    Parameters
    ----------
    values
        Shape (nz, ny, nx), zero meaning solvent.
    voxel_size
        Edge of the cubic voxels, Å.
    origin
        Position of voxel (0, 0, 0), order (x, y, z), Å.
    resolution
        Å.
    """

    values: Array
    voxel_size: float
    origin: Array
    resolution: float

    @cached_property
    def variance(self) -> float:
        """Of the values."""
        return float(np.var(self.values))

    def trimmed(self) -> LevelMap:
        """Return the map without the margins where it is next to nothing; all of it where it is nothing."""
        held = np.argwhere(np.abs(self.values) > _NEGLIGIBLE * np.abs(self.values).max())
        if not len(held):
            return self
        low, high = held.min(axis=0), held.max(axis=0) + 1
        values = self.values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        return LevelMap(values, self.voxel_size, self.origin + self.voxel_size * low[::-1], self.resolution)


def make_level(density: DensityMap, full: float, resolution: float, spacing: float) -> LevelMap:
    """Return a map blurred from its own resolution to a coarser one, on cubic voxels.

    Parameters
    ----------
    density
        The map, zero meaning solvent.
    full
        Resolution of the map, Å.
    resolution
        Of the level, Å, not finer.
    spacing
        Edge of the new voxels, Å.
    """
    blur = math.sqrt(max(sigma_of_resolution(resolution) ** 2 - sigma_of_resolution(full) ** 2, 0.0))
    voxel = density.voxel_size[::-1]  # (z, y, x), as the axes of values
    margin = np.ceil(_BLUR_REACH * blur / voxel).astype(int)
    values = np.pad(density.values.astype(np.float64), [(n, n) for n in margin])
    if blur > 0.0:
        values = scipy.ndimage.gaussian_filter(values, blur / voxel, mode="constant")
    room = _EDGE * spacing
    shape = tuple(np.ceil((np.array(values.shape) * voxel + 2.0 * room) / spacing).astype(int).tolist())
    resampled = scipy.ndimage.affine_transform(
        values, spacing / voxel, -room / voxel, output_shape=shape, order=3, mode="constant"
    )
    origin = density.origin - (margin * voxel)[::-1] - room
    return LevelMap(resampled, float(spacing), np.asarray(origin), resolution)
