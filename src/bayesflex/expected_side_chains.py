"""Side chains where nothing is known of them yet: at the mean of the places that their kind takes, and as wide.

In another conformation a side chain may have another rotamer, and CA that were fitted with side chains in wrong places
have moved to make up for them, which they do not let go of again. So while it is open where the side chains are, what
scatters in the place of each is best expected where the model itself shows its kind: the start's own place counts with
a share, and the mean over all residues of the kind with the rest. What the places spread about their mean makes the
bead wider.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesflex.beads import BeadModel, frame_directions
from bayesflex.side_chains import displaced, of_side_chains
from bayesflex.structure import Structure

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

#: The share of the start's own place. From the true CA of p97, whose two models differ in one side chain of four, a fit
#: with all side chains expected drifts by 0.76, 0.76, 0.81 and 0.86 Å for 0.25, 0.5, 0.8 and 1.
_STAYS = 0.25

#: Beads are wider by so many times the spread of their places: where the CA are is open as well. With 1, 1.5, 2 and 3
#: pilots of p97 (both ways, three seeds) end at 1.03, 1.00, 1.00 and 0.99 Å in the mean, its N domains at 1.38, 1.34,
#: 1.36 and 1.37.
_WIDER = 2.0


@dataclass(frozen=True, eq=False)
class ExpectedSideChains:
    """The expected places of the beads of side chains.

    Parameters
    ----------
    bead
        Indices of the beads, shape (n,).
    local
        Where each is expected in the orthonormal frame of its residue, shape (n, 3), Å.
    blur
        How far the places of each bead of the model are from the expected one, root mean square per direction, Å, shape
        (n_beads,); 0 for beads that are no side chain's.
    """

    bead: Integers
    local: Array
    blur: Array

    def at(self, beads: BeadModel, sites: Array) -> BeadModel:
        """Return beads whose side chains are where they are expected, for sites (n_ca, 3), Å; as wide as before."""
        positions = np.array(beads.place(sites))
        axes = _axes(sites, beads.frame[self.bead])
        positions[self.bead] = sites[beads.residue[self.bead]] + np.einsum("nij,ni->nj", axes, self.local)
        return displaced(beads, sites, positions)

    def widened(self, beads: BeadModel) -> BeadModel:
        """Return beads that are as wide as the places of their side chains spread."""
        own = np.zeros(len(self.blur)) if beads.blur is None else beads.blur
        return replace(beads, blur=np.hypot(own, _WIDER * self.blur))


def expected_side_chains(beads: BeadModel, ca: Structure) -> ExpectedSideChains | None:
    """Return where the side chains of a model are expected, or None where it has none in beads of their own.

    Parameters
    ----------
    beads
        What scatters, with the start's side chains.
    ca
        The trace of the start.
    """
    side = np.flatnonzero(of_side_chains(beads))
    side = side[~ca.is_nucleotide_site[beads.residue[side]]]
    if len(side) == 0:
        return None
    site, frame = beads.residue[side], beads.frame[side]
    offset = beads.place(ca.coords)[side] - ca.coords[site]
    local = np.einsum("nij,nj->ni", _axes(ca.coords, frame), offset)
    # From the CA outwards: in which order a side chain was cut into beads says nothing.
    order = np.lexsort((np.sum(offset**2, axis=1), site))
    side, site, frame, local = side[order], site[order], frame[order], local[order]
    rank = np.arange(len(side)) - np.searchsorted(site, site)
    several = np.bincount(site, minlength=ca.n_atoms)[site]
    # Of one kind are beads of residues of one name that were cut alike.
    names = zip(ca.residue_name[site].tolist(), rank, several, np.round(beads.weights[side], 2), strict=True)
    kinds: dict[tuple[object, ...], int] = {}
    kind = np.array([kinds.setdefault(name, len(kinds)) for name in names])
    # At the ends of a chain the frame is that of a neighbour.
    counted = (frame[:, 1] == site).astype(np.float64)
    n = np.bincount(kind, counted)
    mean = np.zeros((len(n), 3))
    for axis in range(3):
        mean[:, axis] = np.bincount(kind, counted * local[:, axis]) / np.maximum(n, 1.0)
    square = np.bincount(kind, counted * np.sum((local - mean[kind]) ** 2, axis=1)) / np.maximum(n, 1.0)
    others = np.where(n[kind] > 0.0, 1.0 - _STAYS, 0.0)
    apart = np.sum((mean[kind] - local) ** 2, axis=1)
    blur = np.zeros(len(beads.residue))
    blur[side] = np.sqrt((others * square[kind] + others * (1.0 - others) * apart) / 3.0)
    return ExpectedSideChains(side, local + others[:, None] * (mean[kind] - local), blur)


def _axes(sites: Array, frame: Integers) -> Array:
    """Return orthonormal axes as rows, shape (n, 3, 3), of frames of three sites each, shape (n, 3).

    Where the three are in line, those across are of any length up to 1.
    """
    first, second = frame_directions(sites, frame)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
    second -= np.sum(second * first, axis=1, keepdims=True) * first
    second /= np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 1e-12)
    return np.stack([first, second, np.cross(first, second)], axis=1)
