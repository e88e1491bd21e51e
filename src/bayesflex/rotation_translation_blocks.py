"""Rotation-translation blocks: beads that move as rigid bodies, and the elastic network that is left of it then.

Tama et al., Proteins 41 (2000) 1. Blocks are short stretches of consecutive beads. Their rigid motions span a small
space that nearly holds the lowest modes: there the search for the modes of the whole network begins, and it is the
coarse half of the preconditioner that it uses (``block_preconditioner``).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]

# Rigid motions of a block: three shifts, three turns.
_MOTIONS = 6
# A block of fewer beads has fewer than six rigid motions.
_LEAST_BEADS = 3
# Squared length of a turn about a block's axis, in units of the longest turn's, below which its beads lie on a line.
_LINE = 1e-6


@dataclass(frozen=True, eq=False)
class Blocks:
    """Beads in groups.

    Parameters
    ----------
    order
        Indices of the beads, block after block, shape (n_beads,).
    start
        Place in ``order`` where each block begins, and the number of beads, shape (n_blocks + 1,).
    """

    order: NDArray[np.int64]
    start: NDArray[np.int64]

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.start) - 1

    @property
    def labels(self) -> NDArray[np.int64]:
        """The block of each place in ``order``, shape (n_beads,)."""
        return np.repeat(np.arange(self.n_blocks), np.diff(self.start))

    def split(self, largest: int) -> Blocks:
        """Return blocks of at most so many beads, each a part of one of these."""
        parts = [
            np.linspace(first, last, -(-(last - first) // largest), endpoint=False).astype(np.int64)
            for first, last in itertools.pairwise(self.start)
        ]
        return Blocks(self.order, np.append(np.concatenate(parts), self.start[-1]))


def make_blocks(coords: Array, size: int, reach: float) -> Blocks:
    """Group beads into blocks of about so many consecutive ones.

    A stretch ends where the next bead is farther away than ``reach``. Beads of stretches too short for a block go to
    the block of the nearest bead; where most beads are such, their order means nothing, and blocks are compact in
    space instead.

    Parameters
    ----------
    coords
        Positions, shape (n_beads, 3), Å.
    size
        Beads per block, at least 3.
    reach
        Longest distance between consecutive beads, Å.
    """
    n = len(coords)
    ends = np.flatnonzero(np.linalg.norm(np.diff(coords, axis=0), axis=1) > reach) + 1
    first = np.concatenate([[0], ends])
    length = np.diff(np.append(first, n))
    whole = length >= _LEAST_BEADS
    if 2 * length[whole].sum() <= n:
        return _compact_blocks(coords, size)
    pieces = np.where(whole, np.maximum(np.rint(length / size).astype(np.int64), 1), 0)
    place = np.arange(n) - np.repeat(first, length)
    per_bead = np.repeat(pieces, length)
    before = np.repeat(np.cumsum(pieces) - pieces, length)
    label = before + place * per_bead // np.repeat(length, length)
    alone = np.flatnonzero(per_bead == 0)
    if len(alone):
        others = np.flatnonzero(per_bead)
        label[alone] = label[others[cKDTree(coords[others]).query(coords[alone])[1]]]
    order = np.argsort(label, kind="stable")
    return Blocks(order, np.searchsorted(label[order], np.arange(pieces.sum() + 1)))


def _compact_blocks(coords: Array, size: int) -> Blocks:
    """Halve the beads along their longest extent until the parts have about so many."""
    todo = [(np.arange(len(coords)), max(round(len(coords) / size), 1))]
    parts = []
    while todo:
        beads, n_parts = todo.pop()
        if n_parts == 1:
            parts.append(beads)
            continue
        axis = np.argmax(np.ptp(coords[beads], axis=0))
        beads = beads[np.argsort(coords[beads, axis], kind="stable")]
        cut = round(len(beads) * (n_parts // 2) / n_parts)
        todo.append((beads[cut:], n_parts - n_parts // 2))
        todo.append((beads[:cut], n_parts // 2))
    return Blocks(np.concatenate(parts), np.cumsum([0, *map(len, parts)]))


def block_motions(coords: Array, blocks: Blocks) -> sparse.csr_matrix:
    """Return the rigid motions of the blocks as orthonormal columns, P: shifts along x, y, z, then turns.

    Parameters
    ----------
    coords
        Positions in the order of the blocks, shape (n_beads, 3), Å.
    blocks
        The blocks.

    Returns
    -------
    Shape (3 n_beads, 6 n_blocks). Where the beads of a block lie on a line, the turn about it is a column of zeros.
    """
    n, labels, first, sizes = len(coords), blocks.labels, blocks.start[:-1], np.diff(blocks.start)
    centre = np.add.reduceat(coords, first) / sizes[:, None]
    turns = np.cross(np.eye(3)[None], (coords - centre[labels])[:, None]).transpose(0, 2, 1)  # (n, 3, turn)
    square, axes = np.linalg.eigh(np.add.reduceat(turns.transpose(0, 2, 1) @ turns, first))
    real = square > _LINE * square[:, -1:]
    axes = axes * (real / np.sqrt(np.where(real, square, 1.0)))[:, None, :]
    motions = np.empty((n, 3, _MOTIONS))
    motions[:, :, :3] = np.eye(3) / np.sqrt(sizes)[labels, None, None]
    motions[:, :, 3:] = turns @ axes[labels]
    columns = np.repeat(_MOTIONS * labels, 3)[:, None] + np.arange(_MOTIONS)
    rows = np.arange(0, 3 * n * _MOTIONS + 1, _MOTIONS)
    shape = (3 * n, _MOTIONS * blocks.n_blocks)
    return sparse.csr_matrix((motions.ravel(), columns.ravel(), rows), shape=shape)


def project_hessian(hessian: sparse.bsr_matrix, motions: sparse.csr_matrix) -> sparse.csc_matrix:
    """Return the Hessian between the rigid motions of blocks, Pᵀ H P (eq. 3 of Tama et al.).

    Parameters
    ----------
    hessian
        Of the beads in the order of the blocks, shape (3 n_beads, 3 n_beads).
    motions
        P, from :func:`block_motions`, shape (3 n_beads, 6 n_blocks).

    Returns
    -------
    Shape (6 n_blocks, 6 n_blocks). A column of zeros in P gets the stiffness of the stiffest motion.
    """
    coarse = (motions.T @ (hessian.tocsr() @ motions)).tocsc()
    diagonal = coarse.diagonal()
    return (coarse + sparse.diags(np.where(diagonal == 0.0, diagonal.max(), 0.0))).tocsc()
