"""Structure: the atoms of a model as arrays, and selection from them.

A :class:`Structure` is data. Reading and writing live in ``io.structures``,
measurements in ``geometry``, matching of two models in ``matching``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.errors import InputError
from bayesflex.html_tables import html_list, html_table

#: Names of the sugar carbon that stands for a nucleotide: today's, and that of files before 2008.
NUCLEOTIDE_SITES = ("C4'", "C4*")


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms of one model, one entry per atom in file order.

    Parameters
    ----------
    coords
        Positions, shape (n_atoms, 3), Å.
    element
        Element symbols in upper case ("C", "ZN"), shape (n_atoms,).
    atom_name
        Names as in the file ("CA", "O5'"), shape (n_atoms,).
    residue_name, residue_number, insertion_code
        Residue identity, shape (n_atoms,); insertion code "" where there is none.
    chain
        Author chain name, or the segment name where the file has no chain names.
    occupancy, b_factor
        Shape (n_atoms,); B-factors in Å².
    is_hetero
        True for HETATM records, shape (n_atoms,).
    name
        What the model is called in messages, usually the file's name.
    notes
        Sentences about choices made while reading (alternative locations, chain names).
    template
        Opaque object of ``io.structures`` that keeps what arrays do not
        (entities, cell, header), or None. Dropped by :meth:`select`.
    is_ligand
        True for hetero residues outside every polymer (ligands, ions, waters), shape (n_atoms,);
        None where the source does not tell.
    """

    coords: NDArray[np.float64]
    element: NDArray[np.str_]
    atom_name: NDArray[np.str_]
    residue_name: NDArray[np.str_]
    residue_number: NDArray[np.int64]
    insertion_code: NDArray[np.str_]
    chain: NDArray[np.str_]
    occupancy: NDArray[np.float64]
    b_factor: NDArray[np.float64]
    is_hetero: NDArray[np.bool_]
    name: str = "model"
    notes: tuple[str, ...] = ()
    template: Any = field(default=None, repr=False)
    is_ligand: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        n_atoms = len(self.coords)
        if self.coords.shape != (n_atoms, 3):
            raise InputError(f"{self.name}: coordinates have shape {self.coords.shape}, expected (n_atoms, 3)")
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray) and len(value) != n_atoms:
                raise InputError(f"{self.name}: {item.name} has {len(value)} entries for {n_atoms} atoms")

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.coords)

    @property
    def residue_index(self) -> NDArray[np.int64]:
        """Index of each atom's residue, counted from 0 in file order, shape (n_atoms,)."""
        if self.n_atoms == 0:
            return np.zeros(0, dtype=np.int64)
        new = np.zeros(self.n_atoms, dtype=bool)
        for column in (self.chain, self.residue_number, self.insertion_code, self.residue_name):
            new[1:] |= column[1:] != column[:-1]
        return np.cumsum(new)

    @property
    def residue_keys(self) -> list[tuple[str, int, str, str]]:
        """Chain, number, insertion code and name of each atom's residue."""
        columns = (self.chain, self.residue_number, self.insertion_code, self.residue_name)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    @property
    def residue_labels(self) -> NDArray[np.str_]:
        """A label per atom, shape (n_atoms,): chain, number and insertion code, as in "A 152" or "A 152B"."""
        labels = [f"{chain} {number}{code}".strip() for chain, number, code, _ in self.residue_keys]
        return np.array(labels, dtype=np.str_)

    @property
    def n_residues(self) -> int:
        """Number of residues."""
        return int(self.residue_index[-1]) + 1 if self.n_atoms else 0

    @property
    def is_ca(self) -> NDArray[np.bool_]:
        """True for the CA carbon of a chain's amino acid (never for calcium or in a ligand), shape (n_atoms,)."""
        is_ca: NDArray[np.bool_] = (self.atom_name == "CA") & (self.element == "C")
        return is_ca if self.is_ligand is None else is_ca & ~self.is_ligand

    @property
    def is_nucleotide_site(self) -> NDArray[np.bool_]:
        """True for the C4' carbon of a chain's nucleotide (never in a ligand), shape (n_atoms,)."""
        not_in_chain = self.is_hetero if self.is_ligand is None else self.is_ligand
        found: NDArray[np.bool_] = np.isin(self.atom_name, NUCLEOTIDE_SITES) & (self.element == "C") & ~not_in_chain
        return found

    @property
    def is_site(self) -> NDArray[np.bool_]:
        """True for the atoms that stand for residues: CA of amino acids, C4' of nucleotides, shape (n_atoms,)."""
        return self.is_ca | self.is_nucleotide_site

    def select(self, mask: NDArray[np.bool_] | NDArray[np.int64]) -> Structure:
        """Return the atoms of a boolean mask or an index array, in that order."""
        columns = {
            item.name: getattr(self, item.name)[mask]
            for item in fields(self)
            if isinstance(getattr(self, item.name), np.ndarray)
        }
        return replace(self, **columns, template=None)

    def with_coords(self, coords: NDArray[np.float64]) -> Structure:
        """Return the same atoms at other positions, shape (n_atoms, 3), Å."""
        return replace(self, coords=np.array(coords, dtype=np.float64))

    @property
    def site_indices(self) -> NDArray[np.int64]:
        """Index of the site (CA or C4') of each residue that has one, shape (n_sites,).

        Raises
        ------
        InputError
            If the model has none.
        """
        return self._one_per_residue(
            self.is_site,
            "no CA atom and no C4' found",
            "bayesflex fits CA of amino acids and C4' of nucleotides. Give a model that contains protein, DNA or RNA "
            "chains with these atoms.",
        )

    def trace(self) -> Structure:
        """Return the sites, CA or C4', one per residue; raises InputError if the model has none."""
        return self.select(self.site_indices)

    @property
    def ca_indices(self) -> NDArray[np.int64]:
        """Index of the CA atom of each residue that has one, shape (n_ca,).

        Raises
        ------
        InputError
            If the model has no CA atom.
        """
        return self._one_per_residue(self.is_ca, "no CA atom found", "Give a model that contains protein chains.")

    def ca_trace(self) -> Structure:
        """Return the CA atoms, one per residue, without nucleotides; raises InputError if the model has none."""
        return self.select(self.ca_indices)

    def _one_per_residue(self, mask: NDArray[np.bool_], missing: str, advice: str) -> NDArray[np.int64]:
        """Return the first atom of the mask in each residue that has one, or say what is missing."""
        indices = np.flatnonzero(mask)
        if len(indices) == 0:
            raise InputError(f"{self.name}: {missing} among {self.n_atoms} atoms; {advice}")
        _, first = np.unique(self.residue_index[indices], return_index=True)
        return np.asarray(indices[first])

    def size_in_words(self) -> str:
        """Return how many atoms, residues (those with CA, those with C4') and chains there are."""
        counts = [
            (len(np.unique(self.residue_index[self.is_ca])), "with CA"),
            (len(np.unique(self.residue_index[self.is_nucleotide_site])), "nucleotides with C4'"),
        ]
        kinds = ", ".join(f"{count} {what}" for count, what in counts if count)
        n_chains = len(set(self.chain.tolist()))
        residues = f"{self.n_residues} residues" + (f" ({kinds})" if kinds else "")
        return f"{self.n_atoms} atoms in {residues}, {n_chains} chain{'' if n_chains == 1 else 's'}"

    def _repr_html_(self) -> str:
        rows = [
            ("size", self.size_in_words()),
            ("chains", ", ".join(dict.fromkeys(self.chain.tolist()))),
        ]
        return html_table(rows, caption=self.name) + html_list(self.notes)
