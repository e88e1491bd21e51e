"""Geometry of the CA trace: what can be judged without any other atom.

CA–CA distances and virtual angles are the quantities of Kleywegt (1997), J. Mol. Biol. 273, 371. The limits below are
choices of this package, wide enough that models refined at high resolution have next to no outliers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bayesflex.chain import bonded_to_next, pairs_along_chain, runs
from bayesflex.geometry import angle
from bayesflex.structure import Structure

#: CA–CA across a trans and across a cis peptide, Å (Kleywegt 1997), and how far off a distance may be, Å.
TRANS, CIS, TOLERANCE = 3.8, 2.9, 0.2

#: Virtual angles CA–CA–CA outside of this range are outliers, degrees.
LEAST_ANGLE, LARGEST_ANGLE = 75.0, 160.0

#: CA that are not within three residues along the chain and are closer than this clash, Å: closer than neighbours are.
CLASH = 3.6

#: With more close pairs than this for each CA the trace is a heap, and they are counted up to there alone.
_MOST_PAIRS = 64


@dataclass(frozen=True, eq=False)
class CaGeometry:
    """Geometry of a CA trace.

    Parameters
    ----------
    n_bonds, n_angles
        CA–CA distances and virtual angles judged.
    bond_outlier, angle_outlier, clash
        Which CA have a distance (to the next one) or an angle (at them) that is an outlier, or clash with another,
        shape (n_ca,).
    n_clashes
        Pairs of CA that clash.
    """

    n_bonds: int
    n_angles: int
    bond_outlier: NDArray[np.bool_]
    angle_outlier: NDArray[np.bool_]
    clash: NDArray[np.bool_]
    n_clashes: int


def ca_geometry(ca: Structure) -> CaGeometry:
    """Return the geometry of a CA trace.

    Two CA are bonded where :func:`bayesflex.chain.bonded_to_next` says so: a gap in the chain is no outlier.
    """
    coords, n = ca.coords, ca.n_atoms
    bonded = bonded_to_next(ca) if n > 1 else np.zeros(0, dtype=bool)
    bond_outlier, angle_outlier, clash = (np.zeros(n, dtype=bool) for _ in range(3))
    first = runs(bonded, 1)
    distance = np.linalg.norm(coords[first + 1] - coords[first], axis=1)
    off = np.minimum(np.abs(distance - TRANS), np.abs(distance - CIS)) > TOLERANCE
    bond_outlier[first[off]] = True

    corner = runs(bonded, 2)
    degrees = np.degrees(angle(coords[corner], coords[corner + 1], coords[corner + 2]))
    angle_outlier[corner[(degrees < LEAST_ANGLE) | (degrees > LARGEST_ANGLE)] + 1] = True

    pairs = _close_pairs(coords)
    along = pairs_along_chain(bonded)
    free = ~np.isin(pairs @ np.array([n, 1]), along @ np.array([n, 1]))
    clash[pairs[free].ravel()] = True
    return CaGeometry(len(first), len(corner), bond_outlier, angle_outlier, clash, int(np.count_nonzero(free)))


def _close_pairs(coords: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the pairs i < j closer than ``CLASH``, shape (n_pairs, 2); memory is bounded whatever the model."""
    n = len(coords)
    if n < 2:
        return np.zeros((0, 2), dtype=np.int64)
    found = cKDTree(coords).query(coords, min(_MOST_PAIRS, n), distance_upper_bound=CLASH)
    distance, other = np.asarray(found[0]), np.asarray(found[1])
    own = np.broadcast_to(np.arange(n)[:, None], other.shape)
    kept = np.isfinite(distance) & (other != own)
    pairs = np.sort(np.stack([own[kept], other[kept]], axis=1), axis=1)
    return np.unique(pairs, axis=0).astype(np.int64)
