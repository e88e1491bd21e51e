"""Contour: the value of a map at which its surface is drawn, the same in every view of a fit.

Not to be confused with the contour of the configuration, above which voxels are scored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesflex.density_map import DensityMap
from bayesflex.map_preparation import background, trilinear

Array = NDArray[np.float64]

#: The surface is where the map falls to this share of what it is at the model: halfway from the background.
SHARE = 0.5

#: A model whose density is lower than this many standard deviations of the map lies outside of it; what stands for its
#: height then makes a surface at 2 standard deviations, as other viewers begin with.
_LEAST_SPREADS, _SPREADS = 0.5, 4.0


def height_at_model(density: DensityMap, coords: Array | None) -> float:
    """Return by how much the map at a model exceeds its background: the median over positions inside the box.

    Parameters
    ----------
    density
        The map.
    coords
        CA and C4' of the model, shape (n, 3), Å, or None where there is no model. They count as model files have
        them, with three decimals, so that a model at hand and the same one read back have one contour.
    """
    spread = float(density.values.std(dtype=np.float64)) or 1.0  # a flat map has no surface, whatever the level
    height = -1.0
    if coords is not None:
        near = np.round(coords, 3)
        near = near[density.contains(near)]
        if len(near):
            height = float(np.median(trilinear(density, near))) - background(density)
    # A model that lies outside its density says nothing; then the map's own spread does.
    return height if height >= _LEAST_SPREADS * spread else _SPREADS * spread


def contour_level(density: DensityMap, coords: Array | None) -> float:
    """Return the value of the surface of a map, see :func:`height_at_model`."""
    return background(density) + SHARE * height_at_model(density, coords)
