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
from bayesflex.html_tables import html_list, html_table

#: Two grids are the same where origins and voxel edges differ by less than this share of a voxel.
SAME_GRID = 1e-3


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

    def _repr_html_(self) -> str:
        values = self.values
        rows = [
            ("grid", grid_in_words(self)),
            ("box", f"{_triple(self.box_size)} Å"),
            ("values", f"{values.min():.4g} to {values.max():.4g}"),
            ("mean, SD", f"{values.mean(dtype=np.float64):.4g}, {values.std(dtype=np.float64):.4g}"),
        ]
        return html_table(rows, caption=self.name) + html_list(self.notes)


def require_same_grid(other: DensityMap, density: DensityMap, what: str) -> None:
    """Check that another map has the grid of a map.

    Raises
    ------
    InputError
        If it has not; ``what`` says what the other one is.
    """
    tolerance = SAME_GRID * density.voxel_size
    same_shape = other.values.shape == density.values.shape
    # Along an edge of n voxels a difference of voxel size adds up n times.
    same_voxel = np.all(np.abs(other.voxel_size - density.voxel_size) * density.shape_xyz < tolerance)
    if not (same_shape and same_voxel and np.all(np.abs(other.origin - density.origin) < tolerance)):
        raise InputError(
            f"{other.name}: expected a {what} on the grid of {density.name} ({grid_in_words(density)}), "
            f"got {grid_in_words(other)}. Resample the {what} onto the map's grid."
        )


def grid_in_words(density: DensityMap) -> str:
    """Return the grid of a map in words."""
    nx, ny, nz = density.shape_xyz
    return f"{nx} × {ny} × {nz} voxels of {_triple(density.voxel_size)} Å, origin {_triple(density.origin)} Å"


def _triple(values: NDArray[np.float64]) -> str:
    shown = [f"{value:.4g}" for value in values.tolist()]
    return shown[0] if len(set(shown)) == 1 else f"({', '.join(shown)})"
