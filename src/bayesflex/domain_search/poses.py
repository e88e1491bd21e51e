"""Poses of a body, a set of domains that moves as one, and what its linkers let it reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesflex.domains import LINKER_RESIDUES, boundaries

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: A linker of n residues spans so much, Å: 3.8 between consecutive CA, less what it winds.
_PER_RESIDUE = 3.4


@dataclass(frozen=True, eq=False)
class Tethers:
    """What holds a body: residues of it that must stay near residues outside it.

    Parameters
    ----------
    inner, outer
        Indices of the residues, shape (n,).
    length
        Longest distance between the two, Å, shape (n,).
    """

    inner: NDArray[np.int64]
    outer: NDArray[np.int64]
    length: Array


def tethers(body: Mask, bonded: Mask, coords: Array) -> Tethers:
    """Return what a body's chains let it reach.

    At each boundary along a chain ``LINKER_RESIDUES`` residues on each side are free to unfold, fewer where the chain
    ends or crosses another boundary before.

    Parameters
    ----------
    body
        Whether a residue belongs to the body, shape (n_ca,).
    bonded
        Whether each residue is bonded to the next, shape (n_ca - 1,).
    coords
        CA positions, (n_ca, 3), Å: what is as far apart now may stay so.
    """
    inner, outer, length = [], [], []
    for end in boundaries(body.astype(np.int64), bonded).tolist():
        first, last = end, end + 1
        for _ in range(LINKER_RESIDUES):
            if first > 0 and bonded[first - 1] and body[first - 1] == body[end]:
                first -= 1
            if last + 1 < len(body) and bonded[last] and body[last + 1] == body[end + 1]:
                last += 1
        apart = float(np.linalg.norm(coords[first] - coords[last]))
        length.append(max(_PER_RESIDUE * (last - first), apart))
        inner.append(first if body[first] else last)
        outer.append(last if body[first] else first)
    return Tethers(np.array(inner, dtype=np.int64), np.array(outer, dtype=np.int64), np.array(length))


@dataclass(frozen=True, eq=False)
class BodyPose:
    """A rigid motion of a body, x -> rotation (x - pivot) + pivot + shift.

    Parameters
    ----------
    rotation
        Shape (3, 3).
    shift
        Shape (3,), Å.
    pivot
        The body's centroid, shape (3,), Å.
    score
        Overlap with the residual density, in standard deviations above the mean over all poses that were tried.
    """

    rotation: Array
    shift: Array
    pivot: Array
    score: float

    def apply(self, coords: Array) -> Array:
        """Return positions (n, 3), Å, moved."""
        return np.asarray((coords - self.pivot) @ self.rotation.T + self.pivot + self.shift)
