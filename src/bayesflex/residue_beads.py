"""What residues, ligands and ions scatter: beads made of the atoms of a model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bayesflex.beads import IN_LINE, BeadModel, ca_beads, frame_coefficients, frame_directions
from bayesflex.chain import bonded_to_next
from bayesflex.errors import ConfigError
from bayesflex.scattering import scattering_lengths, scattering_variances
from bayesflex.structure import Structure

Array = NDArray[np.float64]

_BACKBONE = ("N", "CA", "C", "O", "OXT")

#: Scattering length f(0) of the heavy atoms of an average amino acid, C4.94 N1.36 O1.48 S0.04 (Senko et al., J. Am.
#: Soc. Mass Spectrom. 6 (1995) 229), Å: the unit of weights where a model has no amino acid.
_AMINO_ACID = 18.55

#: Phosphate atoms of a nucleotide, by names of today and of before 2008; with the sugar (names with a prime) they are
#: its backbone.
_PHOSPHATE = ("P", "OP1", "OP2", "OP3", "O1P", "O2P", "O3P")

#: A bead of a side chain holds atoms that spread by no more than this about their centroid, root mean square per
#: direction, Å: leucine's is one bead, lysine's and aromatic ones are two. Centred CC of the answer's own beads with
#: p97's map at 5 Å: 0.9505 uncut (8506 beads), 0.9569 with 1.0 (8998), 0.9599 with 0.8 (10124), 0.9608 with 0.6
#: (14737), 0.9648 with each atom by itself (34542).
_SIDE_CHAIN_SPREAD = 0.8

#: The same of nucleotides' backbones and bases, and of ligands. In one bead ADP would spread by 2.4, the inhibitor of
#: adenylate kinase, AP5, by 4.6 Å.
_LARGE_SPREAD = 1.2

#: Names of water, whose molecules are not where the model says once it moves.
WATER = ("HOH", "DOD", "WAT", "H2O", "TIP", "TIP3", "SOL")


def _grouped(structure: Structure, ca: Structure, split: bool) -> BeadModel:
    """Return one bead per residue at its centroid or, split, beads of its backbone and its side chain or base.

    Ligands and ions follow.
    """
    atoms, bead, site = _atoms_of_beads(structure, ca, split)
    coords, element = structure.coords[atoms], structure.element[atoms]
    weight = scattering_lengths(element)
    total = np.bincount(bead, weight)
    centre = np.stack([np.bincount(bead, weight * coords[:, axis]) for axis in range(3)], axis=1) / total[:, None]
    # An atom is as wide as its scattering factor says, beside its distance from the centroid.
    variance = np.sum((coords - centre[bead]) ** 2, axis=1) / 3.0 + scattering_variances(element)
    spread = math.sqrt(float(weight @ variance / weight.sum()))
    n_own = int(np.count_nonzero(site >= 0))
    frames = _frames(ca)
    residue = np.concatenate([site[:n_own], _nearest_sites(ca.coords, frames, centre[n_own:])])
    frame = frames[residue]
    coefficients = frame_coefficients(ca.coords, residue, frame, centre)
    amino = ~ca.is_nucleotide_site
    weights = total / _AMINO_ACID
    if amino.any():
        weights = total * int(np.count_nonzero(amino)) / total[:n_own][amino[residue[:n_own]]].sum()
    return BeadModel(residue, frame, coefficients, weights, spread, None, len(site) - n_own)


def _atoms_of_beads(
    structure: Structure, ca: Structure, split: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the atoms that scatter and the bead of each, shapes (n,), and the site of each bead, shape (n_beads,).

    Backbone first, then side chain or base, each in as many beads as it takes, then ligands and ions, whose site is -1;
    not split, one bead for each site.
    """
    of_residue = _site_of_atoms(structure, ca)
    other = (of_residue < 0) & ~np.isin(structure.residue_name, WATER)
    atoms = np.flatnonzero(((of_residue >= 0) | other) & ~np.isin(structure.element, ["H", "D"]))
    site, name = of_residue[atoms], structure.atom_name[atoms]
    # The group of each atom: of those of sites two numbers each, after them ligands and ions.
    group = 2 * site
    if split:
        sugar = np.char.endswith(name, "'") | np.char.endswith(name, "*")
        of_nucleotide = ca.is_nucleotide_site[site]  # of the last site for others, which are overwritten below
        group += ~np.where(of_nucleotide, sugar | np.isin(name, _PHOSPHATE), np.isin(name, _BACKBONE))
    group[site < 0] = 2 * ca.n_atoms + structure.residue_index[atoms[site < 0]]
    order = np.argsort(group, kind="stable")
    begin = np.flatnonzero(np.diff(group[order], prepend=-1))
    bead = np.empty(len(atoms), dtype=np.int64)
    sites: list[int] = []
    for members in np.split(order, begin[1:]) if len(order) else []:
        first = members[0]
        limit = _LARGE_SPREAD
        if site[first] >= 0 and not split:
            limit = math.inf
        elif site[first] >= 0 and not ca.is_nucleotide_site[site[first]]:
            limit = _SIDE_CHAIN_SPREAD if group[first] % 2 == 1 else math.inf
        for piece in _pieces(structure.coords[atoms[members]], limit):
            bead[members[piece]] = len(sites)
            sites.append(int(site[first]))
    return atoms, bead, np.array(sites, dtype=np.int64)


def _pieces(coords: Array, limit: float) -> list[NDArray[np.int64]]:
    """Return the atoms of each of the fewest compact pieces of a group, from positions (n, 3), Å.

    What spreads by more than the limit, Å, is cut in two halves of atoms across its longest axis, again and again.
    """
    found, waiting = [], [np.arange(len(coords))]
    while waiting:
        piece = waiting.pop()
        offset = coords[piece] - coords[piece].mean(axis=0)
        if np.sum(offset**2) <= 3.0 * len(piece) * limit**2:
            found.append(piece)
        else:
            along = offset @ np.linalg.svd(offset, full_matrices=False)[2][0]
            order = piece[np.argsort(along, kind="stable")]
            waiting += [order[len(order) // 2 :], order[: len(order) // 2]]
    return found


def _nearest_sites(ca: Array, frames: NDArray[np.int64], points: Array) -> NDArray[np.int64]:
    """Return the site nearest to each point whose frame has three directions, or any where none has, shape (n,)."""
    if len(points) == 0:
        return np.zeros(0, dtype=np.int64)
    u, v = (np.linalg.norm(direction, axis=1) for direction in frame_directions(ca, frames))
    usable = np.flatnonzero(v > 2.0 * IN_LINE * u)
    if len(usable) == 0:
        usable = np.arange(len(ca))
    return np.asarray(usable[np.asarray(cKDTree(ca[usable]).query(points)[1])])


def centroid_beads(structure: Structure, ca: Structure) -> BeadModel:
    """Return one bead per residue at the centroid of its heavy atoms, weighted by scattering length.

    Ligands and ions follow, a large ligand as several beads.
    """
    return _grouped(structure, ca, split=False)


def part_beads(structure: Structure, ca: Structure) -> BeadModel:
    """Return beads weighted by scattering length: backbone and side chain, or phosphate with sugar and base.

    What is large is several beads. Ligands and ions follow.
    """
    return _grouped(structure, ca, split=True)


def make_beads(name: str, structure: Structure, ca: Structure, b_factors: bool = False) -> BeadModel:
    """Return the beads of a model by their name in the configuration: "ca", "centroid", "parts".

    A model that holds nothing but CA and C4' atoms in its residues gives unit beads on them whatever the name.

    Parameters
    ----------
    name
        What a residue scatters.
    structure, ca
        The model and its trace.
    b_factors
        Whether beads are widened by the mean B-factors of their atoms: the resolution says how wide the sharpest bead
        is, and B = 8π² u² (one direction) by how much another is wider.

    Raises
    ------
    ConfigError
        If the name is unknown.
    """
    if name not in ("ca", "centroid", "parts"):
        raise ConfigError(f"bead: expected ca, centroid or parts, got {name!r}")
    if name == "ca" or not np.any(~structure.is_site & (_site_of_atoms(structure, ca) >= 0)):
        beads = ca_beads(ca)
    else:
        beads = centroid_beads(structure, ca) if name == "centroid" else part_beads(structure, ca)
    return replace(beads, blur=_blur(_b_factors(beads, structure, ca, name == "parts"))) if b_factors else beads


def _b_factors(beads: BeadModel, structure: Structure, ca: Structure, split: bool) -> Array:
    """Return the mean B-factor (Å²) of the atoms of each bead, shape (n_beads,)."""
    if beads.on_ca:
        return np.asarray(ca.b_factor, dtype=np.float64)
    atoms, bead, _ = _atoms_of_beads(structure, ca, split)
    return np.bincount(bead, structure.b_factor[atoms]) / np.bincount(bead)


def _blur(b_factor: Array) -> Array:
    """Return by how much beads are wider than the sharpest one, Å, from their B-factors, Å²."""
    return np.asarray(np.sqrt((b_factor - b_factor.min()) / (8.0 * math.pi**2)))


def _site_of_atoms(structure: Structure, ca: Structure) -> NDArray[np.int64]:
    """Return the index of the site of each atom's residue, or -1, shape (n_atoms,)."""
    row = {key: index for index, key in enumerate(ca.residue_keys)}
    return np.array([row.get(key, -1) for key in structure.residue_keys], dtype=np.int64)


def _frames(ca: Structure) -> NDArray[np.int64]:
    """Return k - m, k, k + m for each residue; k itself three times where the chain is shorter than three.

    m is 1 for amino acids. It is 2 for nucleotides in chains of five or more: three consecutive C4' of a double helix
    are nearly in line (150° to 165°), every other one is not, and a base stays in place as C4' jitter.
    """
    segment = np.concatenate([[0], np.cumsum(~bonded_to_next(ca))])
    nucleotide = ca.is_nucleotide_site
    frame = np.empty((ca.n_atoms, 3), dtype=np.int64)
    for label in np.unique(segment):
        members = np.flatnonzero(segment == label)
        if len(members) < 3:
            frame[members] = members[:, None]
        else:
            m = 2 if nucleotide[members[0]] and len(members) >= 5 else 1
            middle = np.clip(members, members[0] + m, members[-1] - m)
            frame[members] = middle[:, None] + np.array([-m, 0, m])
    return frame
