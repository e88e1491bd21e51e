"""Q-score: how well the density about an atom looks like that of an atom in a well resolved map.

After Pintilie, Zhang, Su, Li, Schmid and Chiu (2020), Nature Methods 17, 328. It is a property of atoms: a CA trace has
none.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bayesflex.compiling import KERNEL
from bayesflex.density_map import DensityMap

Array = NDArray[np.float64]

#: Width of the reference Gaussian, Å: that of an atom in a map at about 1.5 Å (Pintilie et al. 2020).
REFERENCE_SIGMA = 0.6

#: Distances from the atom at which the map is read: 0 to 2 Å in steps of 0.1 Å (Pintilie et al. 2020).
SHELLS = np.arange(21) * 0.1

#: Points on each shell (Pintilie et al. 2020). The atom's own place counts as often.
POINTS = 8

#: A point counts unless it is nearer to another atom than this share of its distance from its own: MapQ's.
_NEARER = 0.9

#: Finer and finer spirals of points are tried until enough of them count, so many times: MapQ's.
_ROUNDS = 96

#: Others that can be that near lie within (1 + 0.9) times the largest shell; in a model that is no heap of atoms there
#: are not more of them.
_REACH, _MOST_NEIGHBOURS = 3.8, 64


def q_scores(coords: Array, density: DensityMap) -> Array:
    """Return the Q-score of each atom, from -1 to 1.

    Q = Σ (u - ū)(v - v̄) / √(Σ (u - ū)² Σ (v - v̄)²)

    over points on spheres about the atom: u are the map's values, trilinear, and v those of a Gaussian of
    ``REFERENCE_SIGMA`` about the atom. Its height and offset, which Pintilie et al. take from the map, cancel. Points
    on a sphere follow the spiral of Saff and Kuijlaars (1997), Math. Intelligencer 19, 5; those that are nearer to
    another atom than 0.9 times the sphere's radius are left out, and finer spirals are tried until 8 or more are left,
    as MapQ does.

    Parameters
    ----------
    coords
        Positions of all atoms but hydrogen, shape (n_atoms, 3), Å.
    density
        The map.

    Returns
    -------
    ndarray
        Shape (n_atoms,); NaN for an atom within 2 Å of the end of the box or outside it, and where the map is constant.
    """
    scores = np.full(len(coords), np.nan)
    if len(coords) == 0:
        return scores
    points, start = _spirals()
    others = _others(coords)
    values = np.ascontiguousarray(density.values)
    near, kept = np.empty((others.shape[1], 3)), np.empty(start[-1] - start[-2], np.int64)
    coords, origin, voxel = np.ascontiguousarray(coords), density.origin, density.voxel_size
    _q_score_kernel(coords, others, points, start, SHELLS, values, origin, voxel, near, kept, scores)
    return scores


def reference_profile(distance: Array) -> Array:
    """Return the reference Gaussian at a distance (Å), 1 at the atom."""
    return np.asarray(np.exp(-0.5 * (distance / REFERENCE_SIGMA) ** 2))


def _spirals() -> tuple[Array, NDArray[np.int64]]:
    """Return the points of all spirals on the unit sphere, one after the other, and where each begins."""
    spirals, start = [], [0]
    for number in range(POINTS, POINTS + 2 * _ROUNDS, 2):
        height = np.linspace(-1.0, 1.0, number)
        turn = np.zeros(number)
        turn[1:-1] = np.cumsum(3.6 / np.sqrt(number * (1.0 - height[1:-1] ** 2)))
        radius = np.sqrt(1.0 - height**2)
        spirals.append(np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1))
        start.append(start[-1] + number)
    return np.concatenate(spirals), np.array(start)


def _others(coords: Array) -> NDArray[np.int64]:
    """Return the atoms within reach of each atom, nearest first, shape (n_atoms, k); -1 where there are no more."""
    n = len(coords)
    _, index = cKDTree(coords).query(coords, min(_MOST_NEIGHBOURS, n), distance_upper_bound=_REACH)
    index = index.reshape(n, -1)
    # Where atoms share a place, the first one found need not be the atom itself.
    return np.where((index == n) | (index == np.arange(n)[:, None]), -1, index)


@njit(**KERNEL)
def _trilinear(values: NDArray[Any], x: float, y: float, z: float) -> float:
    """Return the value at fractional indices, NaN outside the outer voxels' centres."""
    nz, ny, nx = values.shape
    if not (0.0 <= x <= nx - 1 and 0.0 <= y <= ny - 1 and 0.0 <= z <= nz - 1):
        return np.nan
    i, j, k = min(int(x), max(nx - 2, 0)), min(int(y), max(ny - 2, 0)), min(int(z), max(nz - 2, 0))
    i1, j1, k1 = min(i + 1, nx - 1), min(j + 1, ny - 1), min(k + 1, nz - 1)
    a, b, c = x - i, y - j, z - k
    low = (values[k, j, i] * (1 - a) + values[k, j, i1] * a) * (1 - b)
    low += (values[k, j1, i] * (1 - a) + values[k, j1, i1] * a) * b
    high = (values[k1, j, i] * (1 - a) + values[k1, j, i1] * a) * (1 - b)
    high += (values[k1, j1, i] * (1 - a) + values[k1, j1, i1] * a) * b
    return low * (1 - c) + high * c


@njit(**KERNEL)
def _q_score_kernel(  # type: ignore[no-untyped-def]
    coords, others, points, start, shells, values, origin, voxel, near, kept, scores
):
    """Write the Q-score of each atom, shape (n_atoms,); ``near`` and ``kept`` have room for atoms and points."""
    n_rounds = start.shape[0] - 1
    for n in range(coords.shape[0]):
        x, y, z = coords[n, 0], coords[n, 1], coords[n, 2]
        centre = _trilinear(values, (x - origin[0]) / voxel[0], (y - origin[1]) / voxel[1], (z - origin[2]) / voxel[2])
        if math.isnan(centre):
            continue
        # Values are counted from that of the centre, so that sums of squares keep their digits.
        count = float(POINTS)
        sum_v, sum_vv, sum_u, sum_uu, sum_uv = count, count, 0.0, 0.0, 0.0
        for s in range(1, shells.shape[0]):
            radius = shells[s]
            n_near = 0
            for m in range(others.shape[1]):
                other = others[n, m]
                if other < 0:
                    continue
                dx, dy, dz = coords[other, 0] - x, coords[other, 1] - y, coords[other, 2] - z
                if dx * dx + dy * dy + dz * dz < (radius * (1.0 + _NEARER)) ** 2:
                    near[n_near, 0], near[n_near, 1], near[n_near, 2] = dx, dy, dz
                    n_near += 1
            limit = (_NEARER * radius) ** 2
            n_kept = 0
            for r in range(n_rounds):
                n_kept = 0
                for p in range(start[r], start[r + 1]):
                    px, py, pz = radius * points[p, 0], radius * points[p, 1], radius * points[p, 2]
                    counts = True
                    for m in range(n_near):
                        if (near[m, 0] - px) ** 2 + (near[m, 1] - py) ** 2 + (near[m, 2] - pz) ** 2 < limit:
                            counts = False
                            break
                    if counts:
                        kept[n_kept] = p
                        n_kept += 1
                if n_kept >= POINTS:
                    break
            v = math.exp(-0.5 * (radius / REFERENCE_SIGMA) ** 2)
            for m in range(n_kept):
                p = kept[m]
                u = (
                    _trilinear(
                        values,
                        (x + radius * points[p, 0] - origin[0]) / voxel[0],
                        (y + radius * points[p, 1] - origin[1]) / voxel[1],
                        (z + radius * points[p, 2] - origin[2]) / voxel[2],
                    )
                    - centre
                )
                sum_u += u
                sum_uu += u * u
                sum_uv += u * v
            count += n_kept
            sum_v += n_kept * v
            sum_vv += n_kept * v * v
        covariance = sum_uv - sum_u * sum_v / count
        of_u, of_v = sum_uu - sum_u * sum_u / count, sum_vv - sum_v * sum_v / count
        # A point outside the box makes all of it NaN, which no comparison passes.
        if of_u > 1e-12 * sum_uu and of_v > 0.0:
            scores[n] = covariance / math.sqrt(of_u * of_v)
