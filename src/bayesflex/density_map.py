"""DensityMap: values on a grid with a place in space, and what is done to prepare them.

A map is not a model: densities simulated from coordinates come from ``rendering``.
Reading and writing live in ``io.maps``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.errors import InputError


@dataclass(frozen=True, eq=False)
class DensityMap:
    """Density values on an orthogonal grid.

    Parameters
    ----------
    values
        Shape (nz, ny, nx); C order, x fastest.
    voxel_size
        Edge lengths of a voxel along (x, y, z), Å, shape (3,).
    origin
        Position of voxel (0, 0, 0) along (x, y, z), Å, shape (3,).
    name
        What the map is called in messages, usually the file's name.
    notes
        Sentences about choices made while reading (placement, machine stamp).
    header
        Opaque object of ``io.maps``, with which the map is written back the way it was read, or None.
    """

    values: NDArray[np.floating[Any]]
    voxel_size: NDArray[np.float64]
    origin: NDArray[np.float64]
    name: str = "map"
    notes: tuple[str, ...] = ()
    header: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or min(self.values.shape) < 1:
            raise InputError(f"{self.name}: expected values on a three-dimensional grid, got shape {self.values.shape}")
        if not (np.all(np.isfinite(self.voxel_size)) and np.all(self.voxel_size > 0)):
            raise InputError(f"{self.name}: voxel size {self.voxel_size} must be positive and finite (see --voxel)")

    @property
    def shape_xyz(self) -> tuple[int, int, int]:
        """Number of voxels along (x, y, z)."""
        nz, ny, nx = self.values.shape
        return nx, ny, nz

    def to_index(self, coords: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return fractional voxel indices (x, y, z) of positions in Å, shape (n, 3)."""
        return (coords - self.origin) / self.voxel_size

    def to_position(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return positions in Å of fractional voxel indices (x, y, z), shape (n, 3)."""
        return index * self.voxel_size + self.origin
