"""PairOverlap: the overlap with a map evaluated without touching a voxel.

The map enters through a spline field interpolated at the beads, the model's power through a pair function summed
over a neighbour list. The cost depends neither on the box nor on the voxel size.
"""

from __future__ import annotations

import copy
import math

import numpy as np
from numpy.typing import NDArray

from bayesflex.neighbours import NeighbourList
from bayesflex.overlap import OverlapValues, inside
from bayesflex.overlap.field import SplineField, _interpolate_kernel, stack_fields
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
        others = [field for field in (offset_field, fixed_field) if field is not None]
        self._fields = stack_fields([field, *others])
        self._offset_row = 1 if offset_field is not None else None
        self._fixed_row = len(others) if fixed_field is not None else None
        self._offset_norm = offset_norm
        self._fixed_values = fixed_values
        self._pair = pair
        self._weights = np.ascontiguousarray(weights, dtype=np.float64)
        self._self_power = pair.at_zero * float(self._weights @ self._weights)
        self._make_workspaces()

    def _make_workspaces(self) -> None:
        n, n_fields = len(self._weights), self._fields.coefficients.shape[3]
        self._neighbours = NeighbourList(self._pair.cutoff, _SKIN)
        self._sums = np.zeros(n_fields)
        self._field_gradients = np.zeros((n_fields, n, 3))
        self._power_gradient = np.zeros((n, 3))
        self._near, self._squared = np.empty(n, dtype=np.int32), np.empty(n)

    def clone(self) -> PairOverlap:
        """Return one that shares the map and owns its workspaces."""
        other = copy.copy(self)
        other._make_workspaces()
        return other

    def evaluate(self, beads: Array) -> OverlapValues | None:
        """Return cross and power at bead positions (n_beads, 3), or None where a bead is outside the domain."""
        if not inside(beads, self.domain):
            return None
        pairs = self._neighbours.update(beads)
        if pairs is None:
            return None
        fields, sums, gradients = self._fields, self._sums, self._field_gradients
        _interpolate_kernel(beads, self._weights, fields.coefficients, fields.origin, fields.spacing, sums, gradients)
        if math.isnan(sums[0]):
            return None
        power = self._self_power + _pair_sum_kernel(
            beads,
            self._weights,
            *pairs,
            self._pair.table,
            self._pair.cutoff,
            self._near,
            self._squared,
            self._power_gradient,
        )
        fixed_cross, fixed_power, fixed_offset = self._fixed_values
        if self._fixed_row is not None:
            power += fixed_power + 2.0 * sums[self._fixed_row]
            self._power_gradient += 2.0 * gradients[self._fixed_row]
        if self._offset_row is not None:
            offset = sums[self._offset_row] + fixed_offset
            power -= offset**2 / self._offset_norm
            self._power_gradient -= (2.0 * offset / self._offset_norm) * gradients[self._offset_row]
        return OverlapValues(float(sums[0] + fixed_cross), float(power))

    def gradient(self, d_cross: float, d_power: float) -> Array:
        """Return ``d_cross · ∂cross/∂r + d_power · ∂power/∂r``, shape (n_beads, 3), where last evaluated."""
        return d_cross * self._field_gradients[0] + d_power * self._power_gradient
