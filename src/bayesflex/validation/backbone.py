"""Backbone of a model of all atoms: Ramachandran regions, and atoms that overlap.

The regions are those of MolProbity, from the tables of ``cctbx-base``, which is optional: without it there are none.
"""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bayesflex.geometry import dihedral
from bayesflex.structure import Structure
from bayesflex.validation.ramachandran_tables import ramachandran_scores

Array = NDArray[np.float64]

#: A peptide bond is shorter than this, Å: 1.33 Å in fact, and fitted models may be strained.
_PEPTIDE = 2.0

#: Scores from which on a residue is favoured, and below which an outlier, by table (``mmtbx.validation.ramalyze``).
_FAVOURED, _OUTLIER = 0.02, {"general": 0.0005, "cis-proline": 0.002}
_OUTLIER_ELSEWHERE = 0.001

#: Overlap of two van der Waals spheres, Å, that is a clash (Word et al. 1999, J. Mol. Biol. 285, 1711; MolProbity).
OVERLAP = 0.4

#: With more close atoms than this an atom is in a heap, and they are counted up to there alone.
_MOST_NEIGHBOURS = 64

_POLAR = ("N", "O")


@dataclass(frozen=True, eq=False)
class Ramachandran:
    """Where the backbone is on the Ramachandran plot.

    Parameters
    ----------
    region
        "favoured", "allowed" or "outlier" of each residue, "" where it has no φ and ψ, shape (n_residues,).
    """

    region: NDArray[np.str_]

    def count(self, region: str) -> int:
        """Return the number of residues in a region."""
        return int(np.count_nonzero(self.region == region))

    @property
    def n_residues(self) -> int:
        """Number of residues that have a place on the plot."""
        return int(np.count_nonzero(self.region != ""))


@dataclass(frozen=True, eq=False)
class BackboneAngles:
    """Torsions of the backbone, degrees, shape (n_residues,); NaN where an atom is missing.

    Parameters
    ----------
    phi, psi
        C–N–CA–C and N–CA–C–N.
    omega
        CA–C–N–CA of the peptide before the residue.
    before_proline
        Whether the next residue of the chain is a proline.
    """

    phi: Array
    psi: Array
    omega: Array
    before_proline: NDArray[np.bool_]


def backbone_angles(structure: Structure) -> BackboneAngles:
    """Return the torsions of the backbone of each residue; residues are joined where C and N are near enough."""
    n = structure.n_residues
    place = {name: np.full((n, 3), np.nan) for name in ("N", "CA", "C")}
    for name, coords in place.items():
        atoms = np.flatnonzero((structure.atom_name == name) & (structure.element == name[0]))
        coords[structure.residue_index[atoms]] = structure.coords[atoms]
    N, CA, C = (place[name] for name in ("N", "CA", "C"))
    joined = np.zeros(n, dtype=bool)  # to the residue before
    names = structure.residue_name[np.flatnonzero(np.diff(structure.residue_index, prepend=-1))]
    phi, psi, omega = (np.full(n, np.nan) for _ in range(3))
    before_proline = np.zeros(n, dtype=bool)
    if n > 1:
        with np.errstate(invalid="ignore"):
            joined[1:] = np.linalg.norm(N[1:] - C[:-1], axis=1) < _PEPTIDE
        phi[1:] = np.where(joined[1:], np.degrees(dihedral(C[:-1], N[1:], CA[1:], C[1:])), np.nan)
        psi[:-1] = np.where(joined[1:], np.degrees(dihedral(N[:-1], CA[:-1], C[:-1], N[1:])), np.nan)
        omega[1:] = np.where(joined[1:], np.degrees(dihedral(CA[:-1], C[:-1], N[1:], CA[1:])), np.nan)
        before_proline[:-1] = joined[1:] & (names[1:] == "PRO")
    return BackboneAngles(phi, psi, omega, before_proline)


def ramachandran(structure: Structure) -> Ramachandran | None:
    """Return the Ramachandran region of each residue, or None where ``cctbx-base`` is not installed or does not run.

    Scores are those of the Top8000 tables for six kinds of residue (Williams et al. 2018, Protein Sci. 27, 293), and
    the limits those of ``mmtbx.validation.ramalyze``: favoured from 2 % on, outliers below 0.05 % (general), 0.2 % (cis
    proline) or 0.1 % (others).
    """
    angles = backbone_angles(structure)
    names = structure.residue_name[np.flatnonzero(np.diff(structure.residue_index, prepend=-1))]
    placed = np.flatnonzero(np.isfinite(angles.phi) & np.isfinite(angles.psi)).tolist()
    tables = [_table(str(names[k]), float(angles.omega[k]), bool(angles.before_proline[k])) for k in placed]
    scores = ramachandran_scores(tables, angles.phi[placed], angles.psi[placed])
    if scores is None:
        return None
    region = np.full(structure.n_residues, "", dtype="<U9")
    for index, table, value in zip(placed, tables, scores.tolist(), strict=True):
        if value >= _FAVOURED:
            region[index] = "favoured"
        else:
            region[index] = "allowed" if value >= _OUTLIER.get(table, _OUTLIER_ELSEWHERE) else "outlier"
    return Ramachandran(region)


def count_clashes(structure: Structure) -> int:
    """Return the number of pairs of atoms of the polymers that overlap by 0.4 Å or more, hydrogen left out.

    d < r_i + r_j - ``OVERLAP`` with gemmi's van der Waals radii (Bondi's). Pairs within a residue and of residues that
    follow one another do not count, nor do N and O with one another, which may form a hydrogen bond, nor two sulphurs.
    It is no clashscore: that one adds hydrogen atoms, and most clashes are theirs.
    """
    kept = structure.element != "H"
    kept &= structure.element != "D"
    kept &= ~structure.is_hetero if structure.is_ligand is None else ~structure.is_ligand
    atoms = np.flatnonzero(kept)
    if len(atoms) < 2:
        return 0
    coords, element = structure.coords[atoms], structure.element[atoms]
    symbols, kind = np.unique(element, return_inverse=True)
    radius = np.array([gemmi.Element(str(symbol)).vdw_r for symbol in symbols])[kind]
    reach = 2.0 * float(radius.max()) - OVERLAP
    k = min(_MOST_NEIGHBOURS, len(atoms))
    found = cKDTree(coords).query(coords, k, distance_upper_bound=reach)
    distance, other = np.asarray(found[0]), np.asarray(found[1])
    own = np.broadcast_to(np.arange(len(atoms))[:, None], other.shape)
    near = np.isfinite(distance) & (other != own)
    a, b, d = own[near], other[near], distance[near]
    residue, chain, number = (
        column[atoms] for column in (structure.residue_index, structure.chain, structure.residue_number)
    )
    polar, sulphur = np.isin(element, _POLAR), element == "S"
    counts = (d < radius[a] + radius[b] - OVERLAP) & (residue[a] != residue[b])
    counts &= (chain[a] != chain[b]) | (np.abs(number[a] - number[b]) > 1)
    counts &= ~(polar[a] & polar[b]) & ~(sulphur[a] & sulphur[b])
    pairs = np.sort(np.stack([a[counts], b[counts]], axis=1), axis=1)
    return len(np.unique(pairs, axis=0))


def _table(name: str, omega: float, before_proline: bool) -> str:
    """Return the name of the table for a residue, in the order of precedence of ``ramalyze``."""
    if name == "GLY":
        return "glycine"
    if name == "PRO":
        return "cis-proline" if abs(omega) < 90.0 else "trans-proline"
    if before_proline:
        return "pre-proline"
    return "isoleucine or valine" if name in ("ILE", "VAL") else "general"
