"""Which CA beads are bonded: the chain as its geometry shows it, whatever the file calls its chains."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesflex.structure import Structure

#: Two consecutive CA farther apart (Å) are a break. A trans peptide has 3.8, a cis one 2.9.
CHAIN_BREAK = 4.5

#: Beads joined by so many bonds or fewer are the business of bonds, angles and dihedrals alone.
BONDED_REACH = 3


def bonded_to_next(ca: Structure) -> NDArray[np.bool_]:
    """Return whether each CA is bonded to the one after it: same chain name and no gap, shape (n_ca - 1,).

    Distance decides too, since residues may be missing inside a chain and since some files name no chains.
    """
    distance = np.linalg.norm(np.diff(ca.coords, axis=0), axis=1)
    bonded: NDArray[np.bool_] = (ca.chain[1:] == ca.chain[:-1]) & (distance < CHAIN_BREAK)
    return bonded


def runs(bonded: NDArray[np.bool_], n_bonds: int) -> NDArray[np.int32]:
    """Return the first bead of each stretch of ``n_bonds`` consecutive bonds, shape (n_stretches,)."""
    n = len(bonded) - n_bonds + 1
    if n <= 0:
        return np.zeros(0, dtype=np.int32)
    whole = np.ones(n, dtype=bool)
    for k in range(n_bonds):
        whole &= bonded[k : k + n]
    return np.flatnonzero(whole).astype(np.int32)


def pairs_along_chain(bonded: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the pairs joined by at most ``BONDED_REACH`` bonds, shape (n_pairs, 2)."""
    pairs = []
    for k in range(1, BONDED_REACH + 1):
        first = runs(bonded, k).astype(np.int64)
        pairs.append(np.stack([first, first + k], axis=1))
    return np.concatenate(pairs)
