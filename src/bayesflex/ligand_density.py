"""Which ligands the map shows: one that it does not hold would pull the model to density that is not its own.

A model may hold a ligand that another conformation has lost. Adenylate kinase closed around its inhibitor, fitted into
the map of the open form, ends 0.9 Å from the answer where the inhibitor scatters and 0.6 Å where it does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bayesflex.density_map import DensityMap
from bayesflex.map_preparation import trilinear
from bayesflex.rendering import render
from bayesflex.residue_beads import WATER
from bayesflex.scattering import scattering_lengths
from bayesflex.structure import Structure
from bayesflex.units import sigma_of_resolution

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Residues with an atom this near to one of a ligand's are its surroundings, Å.
_NEAR = 8.0


def ligands_not_in_map(structure: Structure, density: DensityMap, resolution: float) -> tuple[Mask, tuple[str, ...]]:
    """Return the atoms of ligands and ions that the map does not show, shape (n_atoms,), and the names of these.

    What counts is the density at a ligand's atoms over that at the atoms around it, above the map's mean: a ligand that
    moves is then no worse off than what it is bound to. Maps of the model with and without its ligands tell what to
    expect; one that is nearer to the second has no ligand there.

    Parameters
    ----------
    structure
        The model, in its place in the map.
    density
        The map.
    resolution
        Of the map, Å.
    """
    residue = structure.residue_index
    in_trace = np.zeros(structure.n_residues, dtype=bool)
    in_trace[residue[structure.is_site]] = True
    heavy = ~np.isin(structure.element, ("H", "D")) & ~np.isin(structure.residue_name, WATER)
    around, others = (np.flatnonzero(heavy & of) for of in (in_trace[residue], ~in_trace[residue]))
    absent = np.zeros(structure.n_atoms, dtype=bool)
    if len(others) == 0 or len(around) == 0:
        return absent, ()
    found = _above_mean(density, structure.coords)
    bare, bound = (
        _above_mean(_model_map(structure.select(atoms), density, resolution), structure.coords)
        for atoms in (around, np.concatenate([around, others]))
    )
    tree = cKDTree(structure.coords[around])
    names = []
    for index in np.unique(residue[others]).tolist():
        atoms = others[residue[others] == index]
        near = around[np.unique(np.concatenate(tree.query_ball_point(structure.coords[atoms], _NEAR)).astype(np.int64))]
        if len(near) == 0 or min(values[near].mean() for values in (found, bare, bound)) <= 0.0:
            continue
        share, without, with_it = (values[atoms].mean() / values[near].mean() for values in (found, bare, bound))
        if share < 0.5 * (without + with_it):
            absent[residue == index] = True
            first = atoms[0]
            names.append(f"{structure.residue_name[first]} {structure.chain[first]} {structure.residue_number[first]}")
    return absent, tuple(names)


def _model_map(atoms: Structure, density: DensityMap, resolution: float) -> DensityMap:
    """Return a Gaussian of the resolution for each atom, of its electron scattering length, on the grid of a map."""
    nz, ny, nx = density.values.shape
    sigma = sigma_of_resolution(resolution)
    lengths = scattering_lengths(atoms.element)
    values = render(atoms.coords, lengths, sigma, (nz, ny, nx), density.voxel_size, density.origin)
    return density.with_values(values.astype(np.float32))


def _above_mean(density: DensityMap, coords: Array) -> Array:
    """Return the map's values above its mean at positions (n, 3), zero outside of its box, shape (n,)."""
    return np.nan_to_num(trilinear(density, coords) - density.values.mean(dtype=np.float64))
