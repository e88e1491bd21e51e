"""An approximate inverse of an elastic network's Hessian: sweeps over blocks, and their rigid motions solved exactly.

What is stiff inside a block a Gauss-Seidel sweep over the blocks nearly solves; what moves blocks as rigid bodies, far
across the network, is left to the coarse system of rotation-translation blocks. Together they are one symmetric cycle
of a two-level method (Vaněk et al., Computing 56 (1996) 179; rigid motions as the near-kernel of elasticity).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numba import njit
from numpy.typing import NDArray

from bayesflex.block_eigensolver import lowest_eigenvectors
from bayesflex.compiling import KERNEL, PART
from bayesflex.elastic_network import shifted_factor
from bayesflex.rotation_translation_blocks import Blocks, block_motions, project_hessian

Array = NDArray[np.float64]

# Beads of a block that a sweep solves at once: their inverse fits into the cache.
_LARGEST_SWEPT = 24
# Of the search for the modes of rigid blocks, which only begin the search for the modes proper.
_COARSE_TOLERANCE, _COARSE_ITERATIONS = 1e-2, 10


# Written with plain indices: slices of arrays take Numba three times as long to compile.
@njit(**PART)
def _subtract_row(row_start, column, values, vectors, i, low, high, out, place):  # type: ignore[no-untyped-def]
    """Subtract row i of a matrix of 3 × 3 times vectors (3 n, m) from out (.., m) at place, but for low <= j < high."""
    n_vectors = vectors.shape[1]
    for q in range(row_start[i], row_start[i + 1]):
        j = column[q]
        if low <= j < high:
            continue
        h00, h01, h02 = values[q, 0, 0], values[q, 0, 1], values[q, 0, 2]
        h10, h11, h12 = values[q, 1, 0], values[q, 1, 1], values[q, 1, 2]
        h20, h21, h22 = values[q, 2, 0], values[q, 2, 1], values[q, 2, 2]
        for k in range(n_vectors):
            x, y, z = vectors[3 * j, k], vectors[3 * j + 1, k], vectors[3 * j + 2, k]
            out[place, k] -= h00 * x + h01 * y + h02 * z
            out[place + 1, k] -= h10 * x + h11 * y + h12 * z
            out[place + 2, k] -= h20 * x + h21 * y + h22 * z


@njit(**KERNEL, fastmath={"contract"})
def _sweep_kernel(  # type: ignore[no-untyped-def]
    row_start, column, values, start, inverse_start, inverses, right, forward, solution, work
):
    """Solve each block for its own unknowns, one after the other: forward from zero, or backward from solution.

    right, solution: (3 n, m); inverses of all blocks, one after the other; work: (3 largest block, m).
    """
    n = row_start.shape[0] - 1
    n_blocks = start.shape[0] - 1
    n_vectors = right.shape[1]
    for step in range(n_blocks):
        b = step if forward else n_blocks - 1 - step
        first, last = start[b], start[b + 1]
        size = 3 * (last - first)
        for a in range(size):
            for k in range(n_vectors):
                work[a, k] = right[3 * first + a, k]
        for i in range(first, last):
            _subtract_row(row_start, column, values, solution, i, first, n if forward else last, work, 3 * (i - first))
        for a in range(size):
            for k in range(n_vectors):
                solution[3 * first + a, k] = 0.0
        if n_vectors == 1:
            # Column by column of the inverse, which is symmetric: no sum waits for the one before it.
            for c in range(size):
                value = work[c, 0]
                for a in range(size):
                    solution[3 * first + a, 0] += inverses[inverse_start[b] + c * size + a] * value
            continue
        for a in range(size):
            for c in range(size):
                h = inverses[inverse_start[b] + a * size + c]
                for k in range(n_vectors):
                    solution[3 * first + a, k] += h * work[c, k]


@njit(**KERNEL, fastmath={"contract"})
def _remainder_kernel(row_start, column, values, start, vectors, out):  # type: ignore[no-untyped-def]
    """Subtract from out (3 n, m) the matrix times vectors, counting for each row the columns of later blocks alone.

    This is what a forward sweep leaves of its right-hand side.
    """
    for b in range(start.shape[0] - 1):
        for i in range(start[b], start[b + 1]):
            _subtract_row(row_start, column, values, vectors, i, 0, start[b + 1], out, 3 * i)


@njit(**KERNEL, fastmath={"contract"})
def _product_kernel(row_start, column, values, vectors, out):  # type: ignore[no-untyped-def]
    """Subtract from out (3 n, m) the matrix times vectors."""
    for i in range(row_start.shape[0] - 1):
        _subtract_row(row_start, column, values, vectors, i, 0, 0, out, 3 * i)


class BlockPreconditioner:
    """Approximate inverse of a Hessian, symmetric and positive definite.

    Parameters
    ----------
    hessian
        Of the beads in the order of the blocks, shape (3 n_beads, 3 n_beads), columns in order.
    coords
        Positions in that order, shape (n_beads, 3), Å.
    blocks
        Blocks that move as rigid bodies in the coarse system. The sweep takes parts of the large ones.
    shift
        Added to the diagonal, to make it positive definite.
    """

    def __init__(self, hessian: sparse.bsr_matrix, coords: Array, blocks: Blocks, shift: float) -> None:
        self._hessian = hessian
        self._blocks = blocks.split(_LARGEST_SWEPT)
        self._motions = block_motions(coords, blocks)
        self._motions_transposed = self._motions.T.tocsr()
        self._coarse = project_hessian(hessian, self._motions)
        self._factor = shifted_factor(self._coarse, shift)
        self._inverse_start, self._inverses = _block_inverses(hessian, self._blocks, shift)

    def coarse_modes(self, rigid: Array, n_modes: int) -> Array:
        """Return the lowest modes of rigid blocks, shape (3 n_beads, n_modes), beside rigid motions, (3 n_beads, 6)."""
        start = np.random.default_rng(0).standard_normal((self._coarse.shape[0], n_modes))  # fixed: the same every time
        found = lowest_eigenvectors(
            lambda vectors: self._coarse @ vectors,
            lambda vectors: self._factor.solve(np.asfortranarray(vectors)),
            start,
            self._motions_transposed @ rigid,
            n_modes,
            _COARSE_TOLERANCE,
            0.0,
            _COARSE_ITERATIONS,
        )
        return np.asarray(self._motions @ found.vectors)

    def multiply(self, vectors: Array) -> Array:
        """Return the Hessian times columns, shape (3 n_beads, m)."""
        negative = np.zeros(vectors.shape)
        _product_kernel(self._hessian.indptr, self._hessian.indices, self._hessian.data, vectors, negative)
        return np.negative(negative, out=negative)

    def __call__(self, residuals: Array) -> Array:
        """Return approximate solutions for right-hand sides, shape (3 n_beads, m)."""
        h = self._hessian
        right = np.ascontiguousarray(residuals)
        solution, remainder = np.zeros_like(right), np.zeros_like(right)
        work = np.empty((3 * int(np.diff(self._blocks.start).max()), right.shape[1]))
        matrix = (h.indptr, h.indices, h.data)
        blocks = (self._blocks.start, self._inverse_start, self._inverses)
        _sweep_kernel(*matrix, *blocks, right, True, solution, work)
        _remainder_kernel(*matrix, self._blocks.start, solution, remainder)
        coarse = self._factor.solve(np.asfortranarray(self._motions_transposed @ remainder))
        solution += self._motions @ coarse
        _sweep_kernel(*matrix, *blocks, right, False, solution, work)
        return solution


def reordered(hessian: sparse.bsr_matrix, order: NDArray[np.int64]) -> sparse.bsr_matrix:
    """Return the Hessian of the beads in another order, columns in order."""
    if np.all(order[1:] > order[:-1]):
        return hessian
    entries = np.arange(len(hessian.indices))
    pattern = sparse.csr_matrix((entries, hessian.indices, hessian.indptr))[order][:, order].tocsr()
    pattern.sort_indices()
    return sparse.bsr_matrix((hessian.data[pattern.data], pattern.indices, pattern.indptr), shape=hessian.shape)


def _block_inverses(hessian: sparse.bsr_matrix, blocks: Blocks, shift: float) -> tuple[NDArray[np.int64], Array]:
    """Return the inverse of each block of the shifted Hessian, row by row, and where each begins."""
    labels = blocks.labels
    row, column = np.repeat(np.arange(len(labels)), np.diff(hessian.indptr)), hessian.indices
    own = np.flatnonzero(labels[row] == labels[column])
    block = labels[row[own]]
    size = 3 * np.diff(blocks.start)
    place = np.cumsum(size**2) - size**2
    corner = place[block] + 3 * ((row[own] - blocks.start[block]) * size[block] + column[own] - blocks.start[block])
    inverses = np.zeros(int(np.sum(size**2)))
    for a in range(3):
        for c in range(3):
            inverses[corner + a * size[block] + c] = hessian.data[own, a, c]
    for order in np.unique(size):
        places = place[size == order][:, None] + np.arange(order**2)
        shifted = inverses[places].reshape(-1, order, order) + shift * np.eye(order)
        inverses[places] = np.linalg.inv(shifted).reshape(-1, order**2)
    return place, inverses
