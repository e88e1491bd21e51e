"""Local frames: where each residue is, seen from its surroundings.

A domain that turns carries its residues along; seen from their surroundings they stay. What is left is how the inner
shape of a model varies, whatever moves as one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bayesflex.compiling import KERNEL, PART
from bayesflex.geometry import superimpose

Array = NDArray[np.float64]

#: Surroundings of a CA: so many nearest CA, which lie within some 12 Å in a protein, by Gaussian weights of this
#: standard deviation, Å.
_N_NEIGHBOURS, _WIDTH = 64, 10.0

#: Pull of a frame to the orientation of the whole, as a share of the spread of the surroundings: it decides what
#: neighbours on a line leave open.
_PULL = 1e-2

#: Newton steps to the nearest rotation; it converges quadratically.
_N_NEWTON = 12


class LocalFrames:
    """The surroundings of each CA of a reference.

    Parameters
    ----------
    reference
        CA positions, shape (n_ca, 3), Å.
    """

    def __init__(self, reference: Array) -> None:
        self.reference = np.ascontiguousarray(reference, dtype=np.float64)
        k = min(_N_NEIGHBOURS + 1, len(reference))
        distance, neighbour = map(np.asarray, cKDTree(self.reference).query(self.reference, k=np.arange(1, k + 1)))
        # The nearest of all is the CA itself, which is no part of its surroundings.
        weight = np.exp(-0.5 * (distance / _WIDTH) ** 2)
        weight[neighbour == np.arange(len(reference))[:, None]] = 0.0
        self._neighbour = neighbour.astype(np.int64)
        self._weight = weight / np.maximum(weight.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)

    def positions(self, draws: NDArray[np.floating[Any]]) -> Array:
        """Return each CA's position after its surroundings are superposed on those of the reference.

        Parameters
        ----------
        draws
            CA positions, shape (n_draws, n_ca, 3), Å.

        Returns
        -------
        ndarray
            Shape (n_draws, n_ca, 3), Å, about the reference.
        """
        seen, work = np.empty(draws.shape, dtype=np.float64), np.empty((3, 3, 3))
        for index, coords in enumerate(draws):
            whole = superimpose(coords.astype(np.float64), self.reference)
            moved = np.ascontiguousarray(coords @ whole.rotation.T + whole.translation)
            _positions_kernel(moved, self.reference, self._neighbour, self._weight, work, seen[index])
        return seen


@njit(**PART)
def _invert(m, inverse):  # type: ignore[no-untyped-def]
    """Set inverse to that of a 3 × 3 matrix and return its determinant."""
    for x in range(3):
        a, b = (x + 1) % 3, (x + 2) % 3
        for y in range(3):
            c, d = (y + 1) % 3, (y + 2) % 3
            inverse[y, x] = m[a, c] * m[b, d] - m[a, d] * m[b, c]
    determinant = m[0, 0] * inverse[0, 0] + m[0, 1] * inverse[1, 0] + m[0, 2] * inverse[2, 0]
    for x in range(3):
        for y in range(3):
            inverse[x, y] /= determinant
    return determinant


@njit(**PART)
def _make_rotation(m, inverse, size):  # type: ignore[no-untyped-def]
    """Turn m into its nearest rotation and return True, or return False where there is none to speak of.

    Newton's iteration for the orthogonal factor, scaled (Higham 1986); it keeps the sign of the determinant.
    """
    usable = True
    for turn in range(_N_NEWTON):
        determinant = _invert(m, inverse)
        if turn == 0 and not determinant > 1e-12 * size**3:
            usable = False
            break
        of_inverse = of_m = change = 0.0
        for x in range(3):
            for y in range(3):
                of_inverse += inverse[x, y] * inverse[x, y]
                of_m += m[x, y] * m[x, y]
        scale = (of_inverse / of_m) ** 0.25
        for x in range(3):
            for y in range(3):
                new = 0.5 * (scale * m[x, y] + inverse[y, x] / scale)
                change = max(change, abs(new - m[x, y]))
                m[x, y] = new
        if change < 1e-10:
            break
    return usable


@njit(**KERNEL)
def _positions_kernel(coords, reference, neighbour, weight, work, out):  # type: ignore[no-untyped-def]
    """Set out (n, 3) to the positions seen from the surroundings; all superposed as a whole already. work (3, 3, 3)."""
    n, k = neighbour.shape
    m, inverse, centre, target = work[0], work[1], work[2, 0], work[2, 1]
    for i in range(n):
        for x in range(3):
            centre[x] = target[x] = m[x, 0] = m[x, 1] = m[x, 2] = 0.0
        for a in range(k):
            j, w = neighbour[i, a], weight[i, a]
            for x in range(3):
                centre[x] += w * coords[j, x]
                target[x] += w * reference[j, x]
        trace = 0.0
        for a in range(k):
            j, w = neighbour[i, a], weight[i, a]
            for x in range(3):
                for y in range(3):
                    m[x, y] += w * (reference[j, x] - target[x]) * (coords[j, y] - centre[y])
                trace += w * (reference[j, x] - target[x]) ** 2
        for x in range(3):
            m[x, x] += _PULL * trace
        usable = _make_rotation(m, inverse, trace)
        for x in range(3):
            value = target[x]
            for y in range(3):
                rotation = m[x, y] if usable else (1.0 if x == y else 0.0)
                value += rotation * (coords[i, y] - centre[y])
            out[i, x] = value
