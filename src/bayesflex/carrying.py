"""Carrying: every atom of a model follows the trace to its new place.

The fit moves sites alone, CA of amino acids and C4' of nucleotides; here the rest of the model
goes along by smooth local rigid motions. Not a refinement: no energy is minimised. Written for models whose
CA-CA distances stay near those of the start.

Every residue gets a rotation from the motion of the sites around it: an amino acid from the CA of its chain, a
nucleotide from the C4' of all strands, so that paired bases turn alike. Then

- the peptide unit between two bonded residues (C, O; N, H) moves as one rigid body with
  its two CA atoms, so that the peptide bond keeps its length exactly; likewise the phosphate between two nucleotides
  (O3'; P, OP1, OP2, O5') with its two C4';
- a side chain turns about its CA with the N and C beside it; a nucleotide's sugar and base turn with it;
- a residue without site (ligand, ion, water) moves as one rigid body with the sites
  nearest to it, of any chain; residues bonded to each other share these sites.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from scipy.spatial import cKDTree

from bayesflex.errors import InputError
from bayesflex.geometry import nearest_rotation, rotation_between
from bayesflex.structure import Structure

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

#: Standard deviation (Å) of the weights about a CA: first neighbours in sequence and space weigh most.
_CA_WIDTH = 5.0
#: The same about a nucleotide and about a residue without site, whose nearest sites are further apart.
_OTHER_WIDTH = 8.0
#: Longest covalent bond (Å) between residues without site, and how often their weights are averaged over such bonds:
#: twice halves the strain of the O3'-P bonds of bent DNA, and more gains nothing.
_COVALENT_BOND = 1.9
_N_AVERAGES = 2
#: Neighbours that count, at most.
_N_NEIGHBOURS = 32
#: Longest C-N and O3'-P distance (Å) that is a bond (1.33 and 1.6 Å) in a poor model.
_UNIT_BOND = 2.0
#: Pull (Å²) of a local rotation to the rotation of the whole. It decides what too few neighbours or neighbours on
#: a line leave open, and is nothing beside the spread (some 30 Å²) of ordinary neighbours.
_PULL = 1e-3

# Atoms of the unit between two residues, those of the one before the bond and of the one after, the bonded ones first.
_PEPTIDE_BEFORE = ("C", "O")
_PEPTIDE_AFTER = ("N", "H", "HN", "D")  # "HN" is CHARMM's name
_PHOSPHATE_BEFORE = ("O3'", "O3*")
_PHOSPHATE_AFTER = ("P", "OP1", "OP2", "O1P", "O2P", "O5'", "O5*")


@dataclass(frozen=True, eq=False)
class Carrier:
    """What carrying needs of a start model, made once by :func:`make_carrier` for any number of new traces.

    Parameters
    ----------
    coords
        Positions of all atoms at the start, shape (n_atoms, 3), Å.
    ca
        Atom index of each site of the trace, shape (n_ca,).
    body
        Rigid body of each atom, shape (n_atoms,): first one per residue of the trace, then one per residue
        without site, then one per peptide unit or phosphate.
    ca_weights, other_weights
        Weights of the sites that move each residue of the trace and each residue without site, rows of sum 1,
        shapes (n_ca, n_ca) and (n_other, n_ca).
    peptides
        Trace indices (before, after) of each peptide unit and phosphate, shape (n_peptides, 2).
    arms
        Atom indices of N and C of each amino acid, its CA where one is missing, and of a nucleotide twice its C4',
        shape (n_ca, 2).
    """

    coords: Array
    ca: Indices
    body: Indices
    ca_weights: csr_array
    other_weights: csr_array
    peptides: Indices
    arms: Indices

    def carry(self, ca_new: Array) -> Array:
        """Return the positions of all atoms, shape (n_atoms, 3) in Å, for a new trace, shape (n_ca, 3).

        Each site is exactly at its new position.

        Raises
        ------
        InputError
            If the shape is not that of the trace or a coordinate is not finite.
        """
        if ca_new.shape != (len(self.ca), 3) or not np.isfinite(ca_new).all():
            raise InputError(
                f"new trace: expected {len(self.ca)} finite positions, shape ({len(self.ca)}, 3), "
                f"got shape {ca_new.shape} with {int(np.count_nonzero(~np.isfinite(ca_new)))} values not finite"
            )
        ca_old = self.coords[self.ca]
        # Small numbers keep the second moments below accurate for models far from the origin.
        centre_old, centre_new = ca_old.mean(axis=0), ca_new.mean(axis=0)
        old, new = ca_old - centre_old, ca_new - centre_new
        covariance = new.T @ old / len(old)
        whole = nearest_rotation(covariance + 1e-12 * (np.trace(covariance) + 1.0) * np.eye(3))

        ca_rotation, _, _ = _local_motions(self.ca_weights, old, new, whole)
        other_rotation, other_old, other_new = _local_motions(self.other_weights, old, new, whole)
        before, after = self.peptides.T
        mean_rotation = nearest_rotation(ca_rotation[before] + ca_rotation[after])
        carried_axis = np.einsum("nij,nj->ni", mean_rotation, old[after] - old[before])
        peptide_rotation = rotation_between(carried_axis, new[after] - new[before]) @ mean_rotation
        peptide_old, peptide_new = (old[before] + old[after]) / 2, (new[before] + new[after]) / 2

        rotation = np.concatenate([ca_rotation, other_rotation, peptide_rotation])
        pivot_old = np.concatenate([old, other_old, peptide_old])
        pivot_new = np.concatenate([new, other_new, peptide_new])
        offsets = self.coords - centre_old
        moved = _move(offsets, self.body, rotation, pivot_old, pivot_new)

        # Side chains: the body of a residue turns again, so that it follows the N and C placed with the peptides.
        arms_old = offsets[self.arms] - old[:, None]  # (n_ca, 2, 3)
        arms_new = moved[self.arms] - new[:, None]
        pull = _PULL * ca_rotation
        rotation[: len(old)] = nearest_rotation(np.einsum("nki,nkj->nij", arms_new, arms_old) + pull)
        result = _move(offsets, self.body, rotation, pivot_old, pivot_new) + centre_new
        result[self.ca] = ca_new
        return np.asarray(result)


def carry(structure: Structure, ca_new: Array) -> Array:
    """Return the positions of all atoms of a model whose trace moves to ``ca_new``.

    Parameters
    ----------
    structure
        The model at the start.
    ca_new
        New positions of ``structure.trace()``, shape (n_ca, 3), Å.

    Returns
    -------
    Array
        Positions, shape (n_atoms, 3), Å. A rigid motion of the trace moves every atom by that motion.

    Raises
    ------
    InputError
        If the model has neither CA nor C4', or the new trace does not fit it.
    """
    return make_carrier(structure).carry(ca_new)


def make_carrier(structure: Structure) -> Carrier:
    """Find the rigid bodies of a model and the sites that move each.

    Raises
    ------
    InputError
        If the model has neither CA nor C4'.
    """
    ca = structure.site_indices
    residue = structure.residue_index
    n_residues = structure.n_residues
    trace_of_residue = np.full(n_residues, -1)
    trace_of_residue[residue[ca]] = np.arange(len(ca))

    others = np.flatnonzero(trace_of_residue < 0)
    body_of_residue = trace_of_residue.copy()
    body_of_residue[others] = len(ca) + np.arange(len(others))
    body = body_of_residue[residue]

    nucleotide = structure.is_nucleotide_site[ca]
    in_trace = trace_of_residue[residue] >= 0
    in_nucleotide = in_trace & nucleotide[trace_of_residue[residue]]
    in_amino = in_trace & ~in_nucleotide
    nitrogen = _atom_of_trace(structure, in_amino & (structure.atom_name == "N"), trace_of_residue, len(ca))
    carbon = _atom_of_trace(structure, in_amino & (structure.atom_name == "C"), trace_of_residue, len(ca))
    phosphorus = _atom_of_trace(structure, in_nucleotide & (structure.atom_name == "P"), trace_of_residue, len(ca))
    last_oxygen = in_nucleotide & np.isin(structure.atom_name, _PHOSPHATE_BEFORE)
    oxygen = _atom_of_trace(structure, last_oxygen, trace_of_residue, len(ca))
    peptides = _find_units(
        structure.coords, np.where(nucleotide, phosphorus, nitrogen), np.where(nucleotide, oxygen, carbon)
    )
    unit_after, unit_before = np.full(len(ca), -1), np.full(len(ca), -1)
    unit_before[peptides[:, 0]] = np.arange(len(peptides))
    unit_after[peptides[:, 1]] = np.arange(len(peptides))
    for members, names, unit in (
        (in_amino, _PEPTIDE_BEFORE, unit_before),
        (in_amino, _PEPTIDE_AFTER, unit_after),
        (in_nucleotide, _PHOSPHATE_BEFORE, unit_before),
        (in_nucleotide, _PHOSPHATE_AFTER, unit_after),
    ):
        atoms = np.flatnonzero(members & np.isin(structure.atom_name, names))
        units = unit[trace_of_residue[residue[atoms]]]
        body[atoms[units >= 0]] = len(ca) + len(others) + units[units >= 0]

    ca_coords = structure.coords[ca]
    counts = np.bincount(residue, minlength=n_residues)[:, None]
    centroids = np.stack([np.bincount(residue, axis, n_residues) for axis in structure.coords.T], axis=1) / counts
    other_weights = _weights(centroids[others], ca_coords, np.arange(len(ca)), _OTHER_WIDTH, len(ca))
    row_of_residue = body_of_residue - len(ca)  # negative in the trace
    averaging = _average_over_bonds(structure, row_of_residue[residue], len(others))
    for _ in range(_N_AVERAGES):
        other_weights = csr_array(averaging @ other_weights)
    return Carrier(
        coords=structure.coords,
        ca=ca,
        body=body,
        ca_weights=_weights_of_trace(ca_coords, structure.chain[ca], nucleotide),
        other_weights=other_weights,
        peptides=peptides,
        arms=np.stack([np.where(nitrogen < 0, ca, nitrogen), np.where(carbon < 0, ca, carbon)], axis=1),
    )


def _atom_of_trace(structure: Structure, mask: NDArray[np.bool_], trace_of_residue: Indices, n_ca: int) -> Indices:
    """Return the first atom of the mask in each residue of the trace, -1 where there is none, shape (n_ca,)."""
    atoms = np.flatnonzero(mask)[::-1]  # the first is written last
    result = np.full(n_ca, -1)
    result[trace_of_residue[structure.residue_index[atoms]]] = atoms
    return result


def _find_units(coords: Array, first: Indices, last: Indices) -> Indices:
    """Return trace indices (before, after) of consecutive residues, the last atom of one bonded to the next's first.

    ``first`` (N, P) and ``last`` (C, O3') are atom indices, -1 where there is none, shape (n_ca,); the result (n, 2).
    """
    before = np.arange(max(len(last) - 1, 0))
    after = before + 1
    both = (last[before] >= 0) & (first[after] >= 0)
    before, after = before[both], after[both]
    bonded = np.linalg.norm(coords[last[before]] - coords[first[after]], axis=1) < _UNIT_BOND
    return np.stack([before[bonded], after[bonded]], axis=1)


def _weights_of_trace(ca_coords: Array, chain: NDArray[np.str_], nucleotide: NDArray[np.bool_]) -> csr_array:
    """Return the weights of the sites that move each site, shape (n_ca, n_ca).

    About a CA those of its own chain, about a C4' those of all strands.
    """
    n_ca = len(ca_coords)
    groups = [(np.flatnonzero((chain == name) & ~nucleotide), _CA_WIDTH) for name in np.unique(chain[~nucleotide])]
    groups.append((np.flatnonzero(nucleotide), _OTHER_WIDTH))
    rows: list[Indices] = []
    blocks: list[csr_array] = []
    for members, width in groups:
        if len(members) == 0:
            continue
        rows.append(members)
        blocks.append(_weights(ca_coords[members], ca_coords[members], members, width, n_ca))
    stacked = csr_array(vstack(blocks))
    order = np.argsort(np.concatenate(rows))
    return csr_array(stacked[order])


def _weights(points: Array, ca_coords: Array, columns: Indices, width: float, n_columns: int) -> csr_array:
    """Return Gaussian weights of the nearest sites about each point, rows of sum 1.

    The distance beyond the nearest site counts, so that a point far from all follows those on its side.
    """
    k = min(_N_NEIGHBOURS, len(ca_coords))
    # A list of ranks keeps the second axis where k is 1.
    distance, neighbour = map(np.asarray, cKDTree(ca_coords).query(points, k=np.arange(1, k + 1)))
    weight = np.exp(-0.5 * ((distance - distance[:, :1]) / width) ** 2)
    weight /= weight.sum(axis=1, keepdims=True)
    pointers = np.arange(len(points) + 1) * k
    return csr_array((weight.ravel(), columns[neighbour].ravel(), pointers), shape=(len(points), n_columns))


def _average_over_bonds(structure: Structure, row: Indices, n_rows: int) -> csr_array:
    """Return the matrix that averages each residue without site with those bonded to it, shape (n_rows, n_rows).

    ``row`` is the residue's row for each atom, negative for atoms to leave out, shape (n_atoms,).
    """
    atoms = np.flatnonzero((row >= 0) & ~np.isin(structure.element, ("H", "D")))
    rows = np.arange(n_rows)
    links = np.stack([rows, rows], axis=1)
    if len(atoms):
        near = cKDTree(structure.coords[atoms]).query_pairs(_COVALENT_BOND, output_type="ndarray")
        bonded = row[atoms][near]
        bonded = bonded[bonded[:, 0] != bonded[:, 1]]
        links = np.unique(np.concatenate([links, bonded, bonded[:, ::-1]]), axis=0)
    share = 1.0 / np.bincount(links[:, 0], minlength=n_rows)[links[:, 0]]
    return csr_array((share, (links[:, 0], links[:, 1])), shape=(n_rows, n_rows))


def _local_motions(weights: csr_array, old: Array, new: Array, whole: Array) -> tuple[Array, Array, Array]:
    """Return the weighted Kabsch rotations (n, 3, 3) and the weighted centres before and after, (n, 3)."""
    centre_old, centre_new = weights @ old, weights @ new
    products = (new[:, :, None] * old[:, None, :]).reshape(-1, 9)  # (n_ca, 3 new, 3 old) in rows of 9
    second_moment = (weights @ products).reshape(-1, 3, 3)
    covariance = second_moment - centre_new[:, :, None] * centre_old[:, None, :]
    return nearest_rotation(covariance + _PULL * whole), centre_old, centre_new


def _move(points: Array, body: Indices, rotation: Array, pivot_old: Array, pivot_new: Array) -> Array:
    """Move each point with its body: R (x - pivot_old) + pivot_new."""
    return np.asarray(np.einsum("nij,nj->ni", rotation[body], points - pivot_old[body]) + pivot_new[body])
