"""DensityMap: values on a grid with a place in space, and what is done to prepare them.

A map is not a model: densities simulated from coordinates come from ``rendering``.
Reading and writing live in ``io.maps``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
    other_origins
        Places (x, y, z), Å, where the file's header could also be read to put voxel (0, 0, 0), by the name that
        ``--origin`` gives them. Empty where the header names one place only.
    """

    values: NDArray[np.floating[Any]]
    voxel_size: NDArray[np.float64]
    origin: NDArray[np.float64]
    name: str = "map"
    notes: tuple[str, ...] = ()
    header: Any = field(default=None, repr=False)
    other_origins: tuple[tuple[str, tuple[float, float, float]], ...] = ()

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

    @property
    def box_size(self) -> NDArray[np.float64]:
        """Edge lengths of the box along (x, y, z), Å, shape (3,): voxels times voxel size."""
        return np.array(self.shape_xyz) * self.voxel_size

    def with_values(self, values: NDArray[np.floating[Any]]) -> DensityMap:
        """Return other values on the same grid, shape (nz, ny, nx), to be written with the same header.

        Raises
        ------
        InputError
            If the shape differs.
        """
        if values.shape != self.values.shape:
            raise InputError(f"{self.name}: values of shape {values.shape} do not fit a grid of {self.values.shape}")
        return replace(self, values=values)

    def on_grid(
        self,
        values: NDArray[np.floating[Any]],
        voxel_size: NDArray[np.float64],
        origin: NDArray[np.float64],
    ) -> DensityMap:
        """Return a map on another grid, which the header of the file no longer describes.

        Parameters are those of the class. Name and notes stay.
        """
        return replace(self, values=values, voxel_size=voxel_size, origin=origin, header=None, other_origins=())

    def contains(self, coords: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which positions (n, 3), Å, lie in the box: at most half a voxel outside the outer voxels' centres."""
        index = self.to_index(coords)
        inside: NDArray[np.bool_] = np.all((index >= -0.5) & (index <= np.array(self.shape_xyz) - 0.5), axis=1)
        return inside

    def to_index(self, coords: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return fractional voxel indices (x, y, z) of positions in Å, shape (n, 3)."""
        return (coords - self.origin) / self.voxel_size

    def to_position(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return positions in Å of fractional voxel indices (x, y, z), shape (n, 3)."""
        return index * self.voxel_size + self.origin
