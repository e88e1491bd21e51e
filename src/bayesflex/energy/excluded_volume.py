"""Excluded volume: CA beads that are not bonded push each other apart, and nothing else."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.chain import bonded_to_next, pairs_along_chain
from bayesflex.compiling import KERNEL
from bayesflex.config import FitConfig
from bayesflex.energy.term import Array, Term
from bayesflex.errors import InputError
from bayesflex.neighbours import NeighbourList, pairs_to_rows
from bayesflex.structure import Structure

#: Distance at which two beads begin to feel each other, Å. CA that are not bonded seldom come closer in proteins;
#: the closest CA and C4' of 1D66 are 4.9 Å apart.
DIAMETER = 4.0

#: Skin of the neighbour list, Å. Walking the longer list costs less than building a shorter one more often.
SKIN = 4.0

#: A pair that starts closer gets its own diameter; at a distance below this (Å) it is left out altogether.
SMALLEST_DIAMETER = 0.1


class RepulsionArrays(NamedTuple):
    """Pairs to look at, i < j, in order; and, as rows, the j > i of those that start closer than ``DIAMETER``."""

    first: NDArray[np.int32]  # shape (n_pairs,)
    partner: NDArray[np.int32]
    close_start: NDArray[np.int64]
    close_index: NDArray[np.int32]
    close_diameter2: Array  # Å²
    constant: float  # 16 ε, kcal/mol


@njit(**KERNEL)
def repulsion_energy(coords, gradient, repulsion):  # type: ignore[no-untyped-def]
    """Add the gradient (n, 3) in place and return the energy."""
    first, partner = repulsion.first, repulsion.partner
    close_start, close_index = repulsion.close_start, repulsion.close_index
    diameter2, constant = DIAMETER * DIAMETER, repulsion.constant
    energy = 0.0
    # Pair by pair: where a short row ends cannot be foreseen. An index that has a sign would be looked at each time.
    for m in range(first.shape[0]):
        i, j = np.uintp(first[m]), np.uintp(partner[m])
        x, y, z = coords[j, 0] - coords[i, 0], coords[j, 1] - coords[i, 1], coords[j, 2] - coords[i, 2]
        r2 = x * x + y * y + z * z
        if r2 >= diameter2:
            continue
        limit = diameter2
        for e in range(close_start[first[m]], close_start[first[m] + 1]):
            if close_index[e] == partner[m]:
                limit = repulsion.close_diameter2[e]
        overlap = 1.0 - r2 / limit
        if overlap <= 0.0:
            continue
        energy += overlap * overlap
        pull = -4.0 * constant * overlap / limit
        gradient[i, 0] -= pull * x
        gradient[i, 1] -= pull * y
        gradient[i, 2] -= pull * z
        gradient[j, 0] += pull * x
        gradient[j, 1] += pull * y
        gradient[j, 2] += pull * z
    return constant * energy


class ExcludedVolume(Term):
    """E = 16 ε Σ (1 - r²/d²)² over pairs closer than d that are not joined by three bonds or fewer.

    Energy and force are zero at r = d; E is ε at 0.87 d and 16 ε where beads coincide, so that a bad start can be
    repaired. d is 4 Å, or the pair's distance at the start where that is smaller, so that the start has no energy.

    Parameters
    ----------
    ca
        Trace of the start model.
    energy
        ε, kcal/mol.
    """

    name = "excluded_volume"

    def __init__(self, ca: Structure, energy: float) -> None:
        super().__init__(ca.n_atoms)
        coords = np.ascontiguousarray(ca.coords, dtype=np.float64)
        bonded = pairs_along_chain(bonded_to_next(ca))
        distance, pairs = _close_pairs(coords, bonded, ca.name)
        lost = distance < SMALLEST_DIAMETER
        self.neighbours = NeighbourList(DIAMETER, SKIN, np.concatenate([bonded, pairs[lost]]))
        self.neighbours.allocate(self.n_beads)
        close_start, close_index = pairs_to_rows(pairs[~lost], self.n_beads)
        none = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self.arrays = RepulsionArrays(*none, close_start, close_index, distance[~lost] ** 2, 16.0 * energy)

    def clone(self) -> Self:
        """Return a term that shares the constants and owns its neighbour list."""
        other = super().clone()
        other.neighbours = self.neighbours.clone()
        other.neighbours.allocate(self.n_beads)
        return other

    def update(self, coords: Array) -> bool:
        """List the pairs anew where the list no longer holds; return whether all coordinates are finite."""
        rows = self.neighbours.update(coords)
        if rows is None:
            return False
        start, partner = rows
        if partner is not self.arrays.partner:
            first = np.repeat(np.arange(self.n_beads, dtype=np.int32), np.diff(start))
            self.arrays = self.arrays._replace(first=first, partner=partner)
        return True

    def _accumulate(self, coords: Array, gradient: Array) -> float:
        return float(repulsion_energy(coords, gradient, self.arrays)) if self.update(coords) else np.inf


def _close_pairs(coords: Array, bonded: NDArray[np.int64], name: str) -> tuple[Array, NDArray[np.int64]]:
    """Return distance (n_pairs,) and beads (n_pairs, 2) of the pairs closer than ``DIAMETER``, in row order."""
    rows = NeighbourList(DIAMETER, skin=0.0, exclusions=bonded).update(coords)
    if rows is None:
        raise InputError(f"{name}: a coordinate of the model is not finite; expected positions in Å for every atom")
    start, index = rows
    pairs = np.stack([np.repeat(np.arange(len(coords)), np.diff(start)), index.astype(np.int64)], axis=1)
    return np.linalg.norm(coords[pairs[:, 1]] - coords[pairs[:, 0]], axis=1), pairs


def build_excluded_volume(ca: Structure, config: FitConfig) -> ExcludedVolume | None:
    """Return the excluded volume of a start model, or None where its energy is zero."""
    return ExcludedVolume(ca, config.excluded_volume) if config.excluded_volume else None
