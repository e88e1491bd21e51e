"""GridOverlap: the overlap with a map evaluated by rendering the beads on the map's grid.

The direct evaluation: exact for white noise and any region of voxels, with a cost that grows with the windows of
the beads and the size of the box. It is the reference for the evaluation without a grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesflex.overlap import OverlapValues
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
        self._values, self._voxel, self._origin = np.asarray(values, dtype=np.float64), voxel_size, origin
        self._sigma, self._weights = sigma, np.ascontiguousarray(weights, dtype=np.float64)
        self._region, self._centred, self._background = region, centred, background
        self._mask = np.ones_like(self._values) if region is None else region.astype(np.float64)
        self._n_voxels = float(self._mask.sum())
        mean = float((self._values * self._mask).sum()) / self._n_voxels if centred else 0.0
        self._map = (self._values - mean) * self._mask
        self.map_power = float(np.vdot(self._map, self._map))
        self._rendered = np.zeros_like(self._map)
        self._relative = np.zeros((len(weights), 3))

    def clone(self) -> GridOverlap:
        """Return one that shares the map and owns its workspaces."""
        return GridOverlap(
            self._values,
            self._voxel,
            self._origin,
            self._sigma,
            self._weights,
            self._region,
            self._centred,
            self.domain,
            self._background,
        )

    def evaluate(self, beads: Array) -> OverlapValues | None:
        """Return cross and power at bead positions (n_beads, 3), or None where a bead is outside the domain."""
        low, high = self.domain
        if not (np.all(beads >= low) and np.all(beads <= high)):
            return None
        rho = self._rendered
        rho[:] = 0.0 if self._background is None else self._background
        np.subtract(beads, self._origin, out=self._relative)
        _render_kernel(self._relative, self._weights, self._sigma, WINDOW * self._sigma, self._voxel, rho)
        rho *= self._mask
        if self._centred:
            rho -= (rho.sum() / self._n_voxels) * self._mask
        return OverlapValues(float(np.vdot(self._map, rho)), float(np.vdot(rho, rho)))

    def gradient(self, d_cross: float, d_power: float) -> Array:
        """Return ``d_cross · ∂cross/∂r + d_power · ∂power/∂r``, shape (n_beads, 3), where last evaluated."""
        # Both factors are centred and masked already, so that the projections are their own backward pass.
        field = d_cross * self._map + (2.0 * d_power) * self._rendered
        gradient = np.empty_like(self._relative)
        _render_gradient_kernel(
            self._relative, self._weights, self._sigma, WINDOW * self._sigma, self._voxel, field, gradient
        )
        return gradient
