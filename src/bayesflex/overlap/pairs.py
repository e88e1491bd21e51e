"""PairOverlap: the overlap with a map evaluated without touching a voxel.

The map enters through a spline field interpolated at the beads, the model's power through a pair function summed
over a neighbour list. The cost depends neither on the box nor on the voxel size.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bayesflex.neighbours import NeighbourList
from bayesflex.overlap import OverlapValues
from bayesflex.overlap.field import SplineField, _interpolate_kernel
from bayesflex.overlap.pair_function import PairFunction, _pair_sum_kernel

Array = NDArray[np.float64]

_SKIN = 3.0  # Å: at this the list is rebuilt every few trajectories and holds a third more pairs


class PairOverlap:
    """Overlap of beads with a map from the field of the map and the pair function of the beads.

    Parameters
    ----------
    field
        F of the map.
    pair
        K of two beads.
    weights
        Bead weights, shape (n_beads,).
    map_power
        ``(rho, P rho)``.
    domain
        Lowest and highest allowed position, each (3,), Å.
    offset_field, offset_norm
        Field of the region's indicator 1_M and ``(1_M, P 1_M)``, with which an unknown offset of the map is projected
        out of the model; None and 0 where the offset is known. The map has been centred alike.
    fixed_field, fixed_values
        Field of the density of atoms that are rendered but not moved, and their own ``(cross, power, offset)``.
    """

    def __init__(
        self,
        field: SplineField,
        pair: PairFunction,
        weights: Array,
        map_power: float,
        domain: tuple[Array, Array],
        offset_field: SplineField | None = None,
        offset_norm: float = 0.0,
        fixed_field: SplineField | None = None,
        fixed_values: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        self.map_power = map_power
        self.domain = domain
        self._field = field
        self._pair = pair
        self._weights = np.ascontiguousarray(weights, dtype=np.float64)
        self._offset_field = offset_field
        self._offset_norm = offset_norm
        self._fixed_field = fixed_field
        self._fixed_values = fixed_values
        self._self_power = pair.at_zero * float(self._weights @ self._weights)
        self._neighbours = NeighbourList(pair.cutoff, _SKIN)
        self._cross_gradient = np.zeros((len(weights), 3))
        self._power_gradient = np.zeros((len(weights), 3))
        self._field_gradient = np.zeros((len(weights), 3))

    def clone(self) -> PairOverlap:
        """Return one that shares the map and owns its workspaces."""
        return PairOverlap(
            self._field,
            self._pair,
            self._weights,
            self.map_power,
            self.domain,
            self._offset_field,
            self._offset_norm,
            self._fixed_field,
            self._fixed_values,
        )

    def evaluate(self, beads: Array) -> OverlapValues | None:
        """Return cross and power at bead positions (n_beads, 3), or None where a bead is outside the domain."""
        low, high = self.domain
        if not (np.all(beads >= low) and np.all(beads <= high)):
            return None
        pairs = self._neighbours.update(beads)
        if pairs is None:
            return None
        cross = self._interpolate(self._field, beads, self._cross_gradient)
        power = self._self_power + _pair_sum_kernel(
            beads, self._weights, pairs[0], pairs[1], self._pair.table, self._pair.cutoff, self._power_gradient
        )
        fixed_cross, fixed_power, fixed_offset = self._fixed_values
        if self._fixed_field is not None:
            power += fixed_power + 2.0 * self._interpolate(self._fixed_field, beads, self._field_gradient)
            self._power_gradient += 2.0 * self._field_gradient
        if self._offset_field is not None:
            offset = self._interpolate(self._offset_field, beads, self._field_gradient) + fixed_offset
            power -= offset**2 / self._offset_norm
            self._power_gradient -= (2.0 * offset / self._offset_norm) * self._field_gradient
        if math.isnan(cross):
            return None
        return OverlapValues(float(cross + fixed_cross), float(power))

    def _interpolate(self, field: SplineField, beads: Array, gradient: Array) -> float:
        return _interpolate_kernel(beads, self._weights, field.coefficients, field.origin, field.spacing, gradient)

    def gradient(self, d_cross: float, d_power: float) -> Array:
        """Return ``d_cross · ∂cross/∂r + d_power · ∂power/∂r``, shape (n_beads, 3), where last evaluated."""
        return d_cross * self._cross_gradient + d_power * self._power_gradient
