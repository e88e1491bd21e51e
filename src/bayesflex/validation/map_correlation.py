"""Correlations of a map with the map of a model over four sets of voxels, as Phenix defines them.

After Afonine, Klaholz, Moriarty, Poon, Sobolev, Terwilliger, Adams and Urzhumtsev (2018), Acta Cryst. D74, 814, and
``mmtbx.maps.correlation.five_cc``. Each is taken about the means over its own voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.diagnostics import cc_centred, cc_mask


@dataclass(frozen=True)
class MapCorrelations:
    """Correlations of map and model map, from -1 to 1; NaN where one of them is constant.

    Parameters
    ----------
    cc_mask
        Over the voxels inside the molecule.
    cc_box
        Over the whole box.
    cc_volume
        Over the highest values of the model map, as many voxels as are inside the molecule.
    cc_peaks
        Over these and the highest values of the map, as many again: density that the model does not explain counts.
    """

    cc_mask: float
    cc_box: float
    cc_volume: float
    cc_peaks: float


def map_correlations(
    values: NDArray[np.floating[Any]], model: NDArray[np.floating[Any]], inside: NDArray[np.bool_]
) -> MapCorrelations:
    """Return the four correlations of a map and a model map.

    Parameters
    ----------
    values, model
        Shape (nz, ny, nx).
    inside
        True for voxels inside the molecule, of the same shape.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    number = int(np.count_nonzero(inside))
    of_model = highest(model, number)
    return MapCorrelations(
        cc_mask=cc_mask(values, model, inside),
        cc_box=cc_centred(values, model),
        cc_volume=cc_mask(values, model, of_model),
        cc_peaks=cc_mask(values, model, of_model | highest(values, number)),
    )


def highest(values: NDArray[np.floating[Any]], number: int) -> NDArray[np.bool_]:
    """Return True for the values that are at least the one with so many before it in falling order, as Phenix counts.

    That is one more than ``number``, and all that are equal to the last.
    """
    rank = values.size - 1 - min(number, values.size - 1)
    limit = np.partition(values, rank, axis=None)[rank]
    return np.asarray(values >= limit)
