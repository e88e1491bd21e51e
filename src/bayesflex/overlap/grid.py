"""GridOverlap: the overlap with a map evaluated by rendering the beads on the map's grid.

The direct evaluation: exact for white noise and any region of voxels, with a cost that grows with the windows of
the beads and the size of the box. It is the reference for the evaluation without a grid.
"""

from __future__ import annotations

import copy

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.overlap import OverlapValues, inside
from bayesflex.rendering import WINDOW, _render_gradient_kernel, _render_kernel

Array = NDArray[np.float64]


class GridOverlap:
    """Overlap of beads with a map by rendering (P = 1 inside the region, 0 outside).

    Parameters
    ----------
    values
        The map, shape (nz, ny, nx).
    voxel_size, origin
        Order (x, y, z), Å.
    sigma
        Standard deviation of a bead, Å.
    weights
        Bead weights, shape (n_beads,).
    region
        True for voxels that count, shape (nz, ny, nx), or None for all.
    centred
        Subtract the means over the region from map and model (an unknown offset).
    domain
        Lowest and highest allowed position, each (3,), Å.
    background
        Density of atoms that are rendered but not moved, shape (nz, ny, nx), or None.
    """

    def __init__(
        self,
        values: Array,
        voxel_size: Array,
        origin: Array,
        sigma: float,
        weights: Array,
        region: NDArray[np.bool_] | None,
        centred: bool,
        domain: tuple[Array, Array],
        background: Array | None = None,
    ) -> None:
        self.domain = domain
        self._voxel = np.asarray(voxel_size, dtype=np.float64)
        self._origin = np.asarray(origin, dtype=np.float64)
        self._sigma, self._weights = sigma, np.ascontiguousarray(weights, dtype=np.float64)
        self._centred, self._background = centred, background
        self._region = np.ones(values.shape, dtype=bool) if region is None else region
        self._n_voxels = float(np.count_nonzero(self._region))
        mean = float(values[self._region].mean()) if centred else 0.0
        self._map = np.where(self._region, values - mean, 0.0)
        self.map_power = float(np.vdot(self._map, self._map))
        self._make_workspaces()

    def _make_workspaces(self) -> None:
        self._rendered = np.zeros_like(self._map)
        self._field = np.zeros_like(self._map)
        self._relative = np.zeros((len(self._weights), 3))
        self._box = (slice(0, 0),) * 3  # the part of the grid that the beads reach
        self._mean = 0.0

    def clone(self) -> GridOverlap:
        """Return one that shares the map and owns its workspaces."""
        other = copy.copy(self)
        other._make_workspaces()
        return other

    def evaluate(self, beads: Array) -> OverlapValues | None:
        """Return cross and power at bead positions (n_beads, 3), or None where a bead is outside the domain."""
        if not inside(beads, self.domain):
            return None
        np.subtract(beads, self._origin, out=self._relative)
        self._box = box = self._reach()
        rho = self._rendered
        rho[box] = 0.0 if self._background is None else self._background
        _render_kernel(self._relative, self._weights, self._sigma, WINDOW * self._sigma, self._voxel, rho)
        cross, power, total = region_sums(self._map[box], rho[box], self._region[box])
        self._mean = total / self._n_voxels if self._centred else 0.0
        return OverlapValues(cross, power - self._mean * total)

    def _reach(self) -> tuple[slice, slice, slice]:
        """Return the voxels (z, y, x) where the rendered density may differ from zero."""
        if self._background is not None:
            return (slice(None),) * 3
        cut = WINDOW * self._sigma
        low = np.ceil((self._relative.min(axis=0) - cut) / self._voxel).astype(int)
        high = np.floor((self._relative.max(axis=0) + cut) / self._voxel).astype(int) + 1
        x, y, z = (slice(max(a, 0), max(b, 0)) for a, b in zip(low, high, strict=True))
        return z, y, x

    def gradient(self, d_cross: float, d_power: float) -> Array:
        """Return ``d_cross · ∂cross/∂r + d_power · ∂power/∂r``, shape (n_beads, 3), where last evaluated."""
        box = self._box
        # The map is centred and masked already, so that the projections are their own backward pass.
        _field_kernel(
            self._map[box],
            self._rendered[box],
            self._region[box],
            d_cross,
            2.0 * d_power,
            self._mean,
            self._field[box],
        )
        gradient = np.empty_like(self._relative)
        _render_gradient_kernel(
            self._relative, self._weights, self._sigma, WINDOW * self._sigma, self._voxel, self._field, gradient
        )
        return gradient


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
def region_sums(values, rho, region):  # type: ignore[no-untyped-def]
    """Return the sums over the region of values · rho, rho² and rho; all of shape (nz, ny, nx)."""
    cross = power = total = 0.0
    for z in range(rho.shape[0]):
        for y in range(rho.shape[1]):
            for x in range(rho.shape[2]):
                inside_rho = rho[z, y, x] * region[z, y, x]
                cross += values[z, y, x] * inside_rho
                power += inside_rho * inside_rho
                total += inside_rho
    return cross, power, total


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
def _field_kernel(values, rho, region, of_values, of_rho, mean, out):  # type: ignore[no-untyped-def]
    """Set out to of_values · values + of_rho · (rho - mean) inside the region; each shape (nz, ny, nx)."""
    for z in range(rho.shape[0]):
        for y in range(rho.shape[1]):
            for x in range(rho.shape[2]):
                out[z, y, x] = of_values * values[z, y, x] + of_rho * (rho[z, y, x] - mean) * region[z, y, x]
