"""Which evaluation of the overlap costs less: counted at the start of a stage, not timed, so that it never varies."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bayesflex.overlap.pair_function import PairFunction
from bayesflex.overlap.pairs import SKIN
from bayesflex.overlap.tiles import Tiles, spatial_places
from bayesflex.rendering import WINDOW
from bayesflex.simd import WIDTH

Array = NDArray[np.float64]

#: Time of one bead's interpolation and of one pair evaluated, where the pairs of eight that are looked at count whole;
#: and on the grid that of one bead besides its window, and of eight voxels of it, rendered and read again. Nanoseconds,
#: from ``make bench``: only their ratios matter.
_BEAD, _PAIR = 32.0, 0.9
_WINDOW, _EIGHT = 60.0, 2.5


def cheaper_evaluation(
    positions: Array, pair: PairFunction, sigma: float, voxel_size: Array, domain: tuple[Array, Array]
) -> str:
    """Return "pairs" or "grid", whichever does a gradient of white noise with fewer operations.

    Parameters
    ----------
    positions
        Of the beads, shape (n_beads, 3), Å.
    pair
        Their pair function.
    sigma
        Standard deviation of a bead, blur included, Å.
    voxel_size
        Order (x, y, z), Å.
    domain
        Lowest and highest allowed position, each (3,), Å.
    """
    tiles = Tiles(spatial_places(positions), pair.cutoff, SKIN, domain)
    if not tiles.update(positions):
        return "pairs"
    pairs_cost = _PAIR * tiles.n_pairs + _BEAD * len(positions)
    x, y, z = 2.0 * WINDOW * sigma / np.asarray(voxel_size)
    grid_cost = (_WINDOW + _EIGHT * math.ceil(x / WIDTH) * float(y * z)) * len(positions)
    return "pairs" if pairs_cost <= grid_cost else "grid"
