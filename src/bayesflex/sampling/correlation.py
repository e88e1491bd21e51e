"""MapCorrelation: the correlation of a model's density with the map, again and again along a chain."""

from __future__ import annotations

import copy
import math

import numpy as np
from numpy.typing import NDArray

from bayesflex.beads import BeadModel
from bayesflex.errors import InputError
from bayesflex.map_target import MapTarget
from bayesflex.overlap.grid import GridOverlap

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
    """

    def __init__(self, target: MapTarget, beads: BeadModel) -> None:
        self._beads, self._moments = beads, target.region_moments
        everywhere = np.full(3, math.inf)
        kinds = beads.classes
        self._overlap = GridOverlap(
            target.values,
            target.voxel_size,
            target.origin,
            target.sigma,
            beads.weights,
            target.region,
            True,
            (-everywhere, everywhere),
            target.background,
            blur=None if kinds is None else kinds[1][kinds[0]],
        )

    def clone(self) -> MapCorrelation:
        """Return one that shares the map and owns its workspaces."""
        other = copy.copy(self)
        other._overlap = self._overlap.clone()
        return other

    def __call__(self, coords: Array) -> dict[str, float]:
        """Return the two correlations, 0 where the model has no density, for CA positions (n_ca, 3), Å.

        Raises
        ------
        InputError
            If a coordinate is not finite.
        """
        values = self._overlap.evaluate(self._beads.place(coords))
        if values is None:
            raise InputError("correlation: coordinates are not finite; check the model for NaN or infinite positions")
        n, map_total, map_square = self._moments
        total = self._overlap.total
        cross, square = values.cross + map_total / n * total, values.power + total**2 / n
        centred = values.power * self._overlap.map_power
        return {
            "cc_uncentred": cross / math.sqrt(square * map_square) if square > 0.0 else 0.0,
            "cc_centred": values.cross / math.sqrt(centred) if centred > 0.0 else 0.0,
        }
