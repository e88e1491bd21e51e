"""Which ligands the map shows: one that it does not hold would pull the model to density that is not its own.

A model may hold a ligand that another conformation has lost. Adenylate kinase closed around its inhibitor, fitted into
the map of the open form, ends 0.9 Å from the answer where the inhibitor scatters and 0.6 Å where it does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bayesflex.beads import WATER
from bayesflex.density_map import DensityMap
from bayesflex.map_preparation import trilinear
from bayesflex.structure import Structure

#: Residues with an atom this near to one of a ligand's are its surroundings, Å.
_NEAR = 8.0

#: A ligand is in the map where its atoms have at least this share of the density that those of its surroundings have,
#: above the map's mean. AP5 has 0.57 and 0.63 of it in maps of open adenylate kinase at 5 and 10 Å, the nucleotides of
#: p97 0.93 to 1.19 in maps of either conformation. Single ions, which weigh little, vary more: 0.67 to 2.2.
LEAST_SHARE = 0.75


def ligands_not_in_map(structure: Structure, density: DensityMap) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Return the atoms of ligands and ions that the map does not show, shape (n_atoms,), and the names of these.

    Measured at the start, where a ligand that moves is no worse off than what it is bound to.

    Parameters
    ----------
    structure
        The model, in its place in the map.
    density
        The map.
    """
    residue = structure.residue_index
    in_trace = np.zeros(structure.n_residues, dtype=bool)
    in_trace[residue[structure.is_site]] = True
    heavy = ~np.isin(structure.element, ("H", "D"))
    water = np.isin(structure.residue_name, WATER)
    around = np.flatnonzero(in_trace[residue] & heavy)
    others = np.flatnonzero(~in_trace[residue] & heavy & ~water)
    absent = np.zeros(structure.n_atoms, dtype=bool)
    if len(others) == 0 or len(around) == 0:
        return absent, ()
    values = np.nan_to_num(trilinear(density, structure.coords) - density.values.mean(dtype=np.float64))
    tree = cKDTree(structure.coords[around])
    names = []
    for index in np.unique(residue[others]).tolist():
        atoms = others[residue[others] == index]
        near = np.unique(np.concatenate(tree.query_ball_point(structure.coords[atoms], _NEAR)).astype(np.int64))
        if len(near) and values[atoms].mean() < LEAST_SHARE * values[around[near]].mean():
            absent[residue == index] = True
            first = atoms[0]
            names.append(f"{structure.residue_name[first]} {structure.chain[first]} {structure.residue_number[first]}")
    return absent, tuple(names)
