"""Which sites are bonded: the chain as its geometry shows it, whatever the file calls its chains.

Sites are CA of amino acids and C4' of nucleotides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesflex.structure import Structure

#: Two consecutive CA farther apart (Å) are a break. A trans peptide has 3.8, a cis one 2.9.
CHAIN_BREAK = 4.5

#: The same for two consecutive C4', Å: in 1D66 they are 5.3 to 6.5 Å apart, in stretched RNA up to 7.5.
NUCLEOTIDE_BREAK = 8.0

#: How much further a nucleotide reaches from its C4' than an amino acid from its CA, Å: what is added to a cut-off for
#: each nucleotide of a pair. With a cut-off of 10 Å nucleotides are neighbours up to 18 Å, which holds base pairs
#: (C4'-C4' 15 Å) and the strands' offset neighbours, and a nucleotide and an amino acid up to 14 Å.
NUCLEOTIDE_REACH = 4.0

#: Beads joined by so many bonds or fewer are the business of bonds, angles and dihedrals alone.
BONDED_REACH = 3


def bonded_to_next(trace: Structure) -> NDArray[np.bool_]:
    """Return whether each site is bonded to the one after it: same chain name, same kind, no gap, shape (n_sites - 1,).

    Distance decides too, since residues may be missing inside a chain and since some files name no chains.
    """
    distance = np.linalg.norm(np.diff(trace.coords, axis=0), axis=1)
    nucleotide = trace.is_nucleotide_site
    longest = np.where(nucleotide[1:], NUCLEOTIDE_BREAK, CHAIN_BREAK)
    alike = (trace.chain[1:] == trace.chain[:-1]) & (nucleotide[1:] == nucleotide[:-1])
    bonded: NDArray[np.bool_] = alike & (distance < longest)
    return bonded


def extra_reach(trace: Structure) -> NDArray[np.float64] | None:
    """Return what each site adds to a cut-off between sites, Å, shape (n_sites,); None where no site adds anything."""
    nucleotide = trace.is_nucleotide_site
    return np.where(nucleotide, NUCLEOTIDE_REACH, 0.0) if nucleotide.any() else None


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
