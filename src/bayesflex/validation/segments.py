"""Local fit along the chain: SMOC, and the correlation of map and model map at each residue and chain.

Both are sums over the voxels near the atoms of some residues, each voxel counted once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import KERNEL, PART
from bayesflex.density_map import DensityMap

Array = NDArray[np.float64]

#: Residues of a window, the default of TEMPy's ``smoc``; it is shorter at the ends of a stretch.
WINDOW = 11

#: Voxels within 2.5 max(0.225 d, 1 Å) of an atom belong to it: the defaults of TEMPy's ``FastSMOC``.
_RADIUS_IN_SIGMA, _SIGMA_PER_RESOLUTION, _LEAST_SIGMA = 2.5, 0.225, 1.0

#: Share of the largest sum of squares below which one is rounding.
_ROUNDING = 1e-12


def atom_radius(resolution: float) -> float:
    """Return the distance (Å) up to which voxels belong to an atom, at a resolution (Å)."""
    return _RADIUS_IN_SIGMA * max(_SIGMA_PER_RESOLUTION * resolution, _LEAST_SIGMA)


def smoc(
    density: DensityMap,
    model_map: NDArray[np.floating[Any]],
    coords: Array,
    residue: NDArray[np.int64],
    stretch: NDArray[np.int64],
    resolution: float,
    window: int = WINDOW,
) -> Array:
    """Return the segment-based Manders' overlap coefficient of each residue, from -1 to 1.

    SMOC = Σ ρ_map ρ_model / √(Σ ρ_map² Σ ρ_model²)

    over the voxels near the atoms of the residues in a window about the residue, with the means kept. After Joseph,
    Malhotra, Burnley, Wood, Clare, Winn and Topf (2016), Methods 100, 42, as TEMPy's ``FastSMOC`` computes it along
    contiguous stretches. The model map is another: see :mod:`bayesflex.validation.model_map`.

    Parameters
    ----------
    density
        The map.
    model_map
        Density of the model on its grid, shape (nz, ny, nx).
    coords
        Positions of the atoms, shape (n_atoms, 3), Å.
    residue
        Index of the residue of each atom, ascending from 0, shape (n_atoms,).
    stretch
        Number of the contiguous stretch of each residue, ascending, shape (n_residues,).
    resolution
        Of the map, Å.
    window
        Residues of a full window, an odd number.

    Returns
    -------
    ndarray
        Shape (n_residues,); NaN where the box holds none of the voxels, or a map is zero on them.
    """
    sums = _segment_sums(density, model_map, coords, residue, stretch, resolution, window // 2, (0.0, 0.0))
    # Windows slide, so that what they let go leaves roundings behind: of an empty one, or of one in empty density.
    of_map, of_model = sums[:, 3], sums[:, 4]
    usable = (sums[:, 0] > 0.5) & (of_map > _ROUNDING * of_map.max()) & (of_model > _ROUNDING * of_model.max())
    norm = np.sqrt(np.where(usable, of_map * of_model, 1.0))
    return np.asarray(np.where(usable, sums[:, 5] / norm, np.nan))


def segment_correlations(
    density: DensityMap,
    model_map: NDArray[np.floating[Any]],
    coords: Array,
    segment: NDArray[np.int64],
    n_segments: int,
    resolution: float,
) -> Array:
    """Return the correlation of map and model map, about their means, over the voxels near the atoms of each segment.

    As ``cc_per_residue`` and ``cc_per_chain`` of Phenix (``mmtbx.maps.map_model_cc``), with the atoms' radius of
    :func:`atom_radius` in place of Phenix' own.

    Parameters
    ----------
    density, model_map, coords, resolution
        As for :func:`smoc`.
    segment
        Index of the segment (residue or chain) of each atom, from 0, ascending, shape (n_atoms,).
    n_segments
        Number of segments.

    Returns
    -------
    ndarray
        Shape (n_segments,); NaN where the box holds fewer than two of the voxels or a map is constant.
    """
    shift = (float(density.values.mean(dtype=np.float64)), float(model_map.mean(dtype=np.float64)))
    sums = _segment_sums(density, model_map, coords, segment, np.arange(n_segments), resolution, 0, shift)
    count = np.maximum(sums[:, 0], 1.0)
    of_map, of_model = sums[:, 3] - sums[:, 1] ** 2 / count, sums[:, 4] - sums[:, 2] ** 2 / count
    covariance = sums[:, 5] - sums[:, 1] * sums[:, 2] / count
    usable = (of_map > _ROUNDING * sums[:, 3]) & (of_model > _ROUNDING * sums[:, 4])
    norm = np.sqrt(np.where(usable, of_map * of_model, 1.0))
    return np.asarray(np.where(usable, covariance / norm, np.nan))


def _segment_sums(
    density: DensityMap,
    model_map: NDArray[np.floating[Any]],
    coords: Array,
    segment: NDArray[np.int64],
    stretch: NDArray[np.int64],
    resolution: float,
    half_window: int,
    shift: tuple[float, float],
) -> Array:
    """Return Σ 1, Σ a, Σ b, Σ a², Σ b², Σ ab of map a and model map b, counted from ``shift``, of each segment."""
    n_segments = len(stretch)
    first = np.searchsorted(segment, np.arange(n_segments + 1))
    sums = np.zeros((n_segments, 6))
    _segment_kernel(
        np.ascontiguousarray(density.to_index(coords)),
        first,
        np.ascontiguousarray(stretch),
        half_window,
        density.voxel_size,
        atom_radius(resolution),
        np.ascontiguousarray(density.values),
        np.ascontiguousarray(model_map),
        shift[0],
        shift[1],
        np.zeros(density.values.shape, np.int32),
        np.zeros(6),
        sums,
    )
    return sums


@njit(**PART)
def _count_atom(x, y, z, voxel, radius, a, b, shift_a, shift_b, counts, sums, way):  # type: ignore[no-untyped-def]
    """Count an atom's voxels in (way 1) or out (-1): a voxel enters with its first atom and leaves with its last."""
    nz, ny, nx = a.shape
    reach_x, reach_y, reach_z = radius / voxel[0], radius / voxel[1], radius / voxel[2]
    # An atom that is far off may be at any number, which need not be one that an integer can hold.
    on_grid = (
        -reach_x <= x <= nx - 1 + reach_x and -reach_y <= y <= ny - 1 + reach_y and -reach_z <= z <= nz - 1 + reach_z
    )
    for k in range(max(0, math.ceil(z - reach_z)), min(nz, math.floor(z + reach_z) + 1) if on_grid else 0):
        square_z = ((k - z) * voxel[2]) ** 2
        for j in range(max(0, math.ceil(y - reach_y)), min(ny, math.floor(y + reach_y) + 1)):
            square_yz = square_z + ((j - y) * voxel[1]) ** 2
            for i in range(max(0, math.ceil(x - reach_x)), min(nx, math.floor(x + reach_x) + 1)):
                if square_yz + ((i - x) * voxel[0]) ** 2 > radius * radius:
                    continue
                counts[k, j, i] += way
                if counts[k, j, i] != (1 + way) // 2:
                    continue
                u, v = a[k, j, i] - shift_a, b[k, j, i] - shift_b
                sums[0] += way
                sums[1] += way * u
                sums[2] += way * v
                sums[3] += way * u * u
                sums[4] += way * v * v
                sums[5] += way * u * v


@njit(**KERNEL)
def _segment_kernel(  # type: ignore[no-untyped-def]
    index, first, stretch, half_window, voxel, radius, a, b, shift_a, shift_b, counts, sums, result
):
    """Write the sums of the window about each segment, shape (n_segments, 6); ``counts`` ends as it began, zero.

    ``sums`` (6,) is a workspace.
    """
    n = stretch.shape[0]
    begin = 0
    while begin < n:
        end = begin + 1
        while end < n and stretch[end] == stretch[begin]:
            end += 1
        for s in range(6):
            sums[s] = 0.0
        # At the last heads nothing is left to be written: they take out what the last windows hold, so that the counts
        # can be used again.
        for head in range(begin, end + 2 * half_window + 1):
            for way in range(1, -2, -2):
                segment = head if way > 0 else head - 2 * half_window - 1
                if begin <= segment < end:
                    for m in range(first[segment], first[segment + 1]):
                        _count_atom(
                            index[m, 0],
                            index[m, 1],
                            index[m, 2],
                            voxel,
                            radius,
                            a,
                            b,
                            shift_a,
                            shift_b,
                            counts,
                            sums,
                            way,
                        )
            middle = head - half_window
            if begin <= middle < end:
                for s in range(6):
                    result[middle, s] = sums[s]
        begin = end
