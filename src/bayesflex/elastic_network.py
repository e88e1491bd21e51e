"""The elastic network: springs at rest between beads that are close (anisotropic network model).

Atilgan et al., Biophys. J. 80 (2001) 505. Not to be confused with the native contacts of the prior
(``energy.contacts``), which let go when stretched: this one is only used where it is at rest.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numba import njit
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import SuperLU, splu

from bayesflex.compiling import KERNEL
from bayesflex.errors import InputError
from bayesflex.neighbours import pairs_within_reach

Array = NDArray[np.float64]

#: Stiffness of the springs along the chain, in units of the others'. Keeps tails and loops in one piece.
CHAIN_STIFFNESS = 10.0

# Names listed in a message.
_LISTED = 8


@njit(**KERNEL)
def _hessian_kernel(coords, first, second, stiffness, place, column, blocks, diagonal):  # type: ignore[no-untyped-def]
    """Fill the blocks of the Hessian, row by row and in order of columns. Pairs are sorted by first, then second.

    ``place`` (n,) is where each row begins at first, and ``diagonal`` (n, 3, 3) zero.
    """
    n = coords.shape[0]
    m = 0
    for i in range(n):
        # All partners below i have put themselves into row i by now.
        on_diagonal = place[i]
        column[on_diagonal] = i
        place[i] += 1
        while m < first.shape[0] and first[m] == i:
            j = second[m]
            r2 = 0.0
            for a in range(3):
                r2 += (coords[j, a] - coords[i, a]) ** 2
            here, there = place[i], place[j]
            column[here], column[there] = j, i
            place[i] += 1
            place[j] += 1
            for a in range(3):
                for b in range(3):
                    value = stiffness[m] * (coords[j, a] - coords[i, a]) * (coords[j, b] - coords[i, b]) / r2
                    diagonal[i, a, b] += value
                    diagonal[j, a, b] += value
                    blocks[here, a, b] = blocks[there, a, b] = -value
            m += 1
        for a in range(3):
            for b in range(3):
                blocks[on_diagonal, a, b] = diagonal[i, a, b]


def _springs(
    coords: Array, cutoff: float, links: NDArray[np.integer] | None, link_stiffness: float, reach: Array | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Return the two beads of each spring, sorted, and its stiffness; shapes (n_springs,)."""
    n = len(coords)
    rows = pairs_within_reach(coords, cutoff, reach)
    if rows is None:
        raise InputError("elastic network: a coordinate is not finite; expected positions in Å")
    first, second = np.repeat(np.arange(n), np.diff(rows[0])), rows[1].astype(np.int64)
    stiffness = np.ones(len(first))
    if links is None or len(links) == 0:
        return first, second, stiffness
    pairs = np.sort(np.asarray(links, np.int64), axis=1)
    if not (pairs.min() >= 0 and pairs.max() < n):
        raise InputError(f"elastic network: links name beads {pairs.min()} to {pairs.max()} where there are {n}")
    # Rows are sorted: the springs that are links have a place there, and the other links one between two springs.
    key, link_key = first * n + second, np.unique(pairs[:, 0] * n + pairs[:, 1])
    place = np.searchsorted(key, link_key)
    near = key[np.minimum(place, len(key) - 1)] == link_key if len(key) else np.zeros(len(link_key), dtype=bool)
    stiffness[place[near]] = link_stiffness
    far, between = link_key[~near], place[~near]
    return (
        np.insert(first, between, far // n),
        np.insert(second, between, far % n),
        np.insert(stiffness, between, link_stiffness),
    )


def network_hessian(
    coords: Array,
    cutoff: float,
    links: NDArray[np.integer] | None = None,
    link_stiffness: float = CHAIN_STIFFNESS,
    reach: Array | None = None,
) -> sparse.bsr_matrix:
    """Return the second derivatives of the elastic network's energy, ½ Σ k (r - r₀)², at rest.

    Parameters
    ----------
    coords
        Positions, shape (n_beads, 3), Å.
    cutoff
        Distance up to which beads are joined by a spring of stiffness 1, Å.
    links
        Pairs joined at any distance, shape (n_links, 2), or None.
    link_stiffness
        Stiffness of these.
    reach
        What each bead adds to the cut-off, Å, shape (n_beads,), see :func:`bayesflex.chain.extra_reach`; None for
        nothing.

    Returns
    -------
    Shape (3 n_beads, 3 n_beads) in blocks of 3 × 3, columns in order.

    Raises
    ------
    InputError
        If a coordinate is not finite, two beads joined by a spring coincide, or a link names a bead that is not there.
    """
    coords = np.ascontiguousarray(coords, dtype=np.float64)
    n = len(coords)
    first, second, stiffness = _springs(coords, cutoff, links, link_stiffness, reach)
    coincident = np.flatnonzero(np.all(coords[first] == coords[second], axis=1))
    if len(coincident):
        m = coincident[0]
        raise InputError(
            f"elastic network: beads {first[m] + 1} and {second[m] + 1} (counted from 1) are at the same place; "
            "remove one of the two"
        )
    row_start = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(first, minlength=n) + np.bincount(second, minlength=n) + 1, out=row_start[1:])
    column = np.empty(row_start[-1], np.int64)
    blocks = np.empty((row_start[-1], 3, 3))
    begin = row_start[:-1].astype(np.int64)
    _hessian_kernel(coords, first, second, stiffness, begin, column, blocks, np.zeros((n, 3, 3)))
    return sparse.bsr_matrix((blocks, column, row_start), shape=(3 * n, 3 * n))


def require_connected(hessian: sparse.bsr_matrix, cutoff: float, names: NDArray[np.str_]) -> None:
    """Raise InputError where the network falls into pieces, naming the beads of the smaller ones."""
    pattern = sparse.csr_matrix((np.ones(len(hessian.indices)), hessian.indices, hessian.indptr))
    n_pieces, piece = connected_components(pattern, directed=False)
    if n_pieces == 1:
        return
    loose = np.flatnonzero(piece != np.argmax(np.bincount(piece)))
    raise InputError(
        f"elastic network: at a cut-off of {cutoff:g} Å the model falls into {n_pieces} pieces; not joined to the "
        f"largest are residues {listing(names, loose)}. Raise the cut-off, or remove them from the model"
    )


def shifted_factor(matrix: sparse.csc_matrix, shift: float) -> SuperLU:
    """Return the factors of a symmetric positive semidefinite matrix with a positive number added to its diagonal."""
    shifted = matrix + shift * sparse.identity(matrix.shape[0], format="csc")
    # Positive definite: no pivoting, and an ordering of the symmetric pattern keeps the factors thin.
    return splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def listing(names: NDArray[np.str_], indices: NDArray[np.integer]) -> str:
    """Return the names of these beads for a message, cut short where there are many."""
    text = ", ".join(str(name) for name in names[indices[:_LISTED]])
    return text + (f" and {len(indices) - _LISTED} more" if len(indices) > _LISTED else "")
