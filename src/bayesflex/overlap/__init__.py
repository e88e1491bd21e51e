"""Overlap of a model's density with a map: the numbers from which every likelihood is made.

With rho the (prepared) map, rho_sim the density of the beads and P a precision spectrum, a likelihood needs
``cross = (rho, P rho_sim)``, ``power = (rho_sim, P rho_sim)`` and ``map_power = (rho, P rho)``, the inner
products being sums over voxels. Two evaluations give them: :class:`~bayesflex.overlap.pairs.PairOverlap`
touches no voxel, :class:`~bayesflex.overlap.grid.GridOverlap` renders the density and is its reference.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class OverlapValues(NamedTuple):
    """Inner products of the map and the model's density, in squared map units summed over voxels."""

    cross: float
    power: float


class Overlap(Protocol):
    """Evaluates the inner products and pulls their derivatives back to the beads."""

    map_power: float
    domain: tuple[Array, Array]  # lowest and highest position of a bead, Å, each (3,)

    def evaluate(self, beads: Array) -> OverlapValues | None:
        """Return the inner products at bead positions (n_beads, 3), or None where a bead is outside the domain."""
        ...

    def gradient(self, d_cross: float, d_power: float) -> Array:
        """Return the gradient, (n_beads, 3), of a function with these partial derivatives, where last evaluated."""
        ...

    def clone(self) -> Overlap:
        """Return one that shares the map and owns its workspaces, for use in another thread."""
        ...


def inside(beads: Array, domain: tuple[Array, Array]) -> bool:
    """Tell whether all positions (n_beads, 3) are finite and within the domain."""
    low, high = domain
    # Written so that NaN fails the comparison.
    return bool(np.all(beads >= low) and np.all(beads <= high))
