"""What a map of the model would look like, and where in the map the molecule is.

The density is that of all atoms by their electron scattering factors; a CA trace is drawn as one bead for each residue,
and so are its region and its scores, which are then not to be compared with those of all atoms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import gemmi
import numpy as np
from numpy.typing import NDArray

from bayesflex.density_map import DensityMap
from bayesflex.map_preparation import mask_around
from bayesflex.rendering import render
from bayesflex.scattering import atomic_numbers, scattering_map
from bayesflex.structure import Structure
from bayesflex.units import sigma_of_resolution

Array = NDArray[np.float64]

#: A residue of a CA trace reaches this far, Å, or as far as the resolution: a side chain's length.
LEAST_REACH = 4.0

#: Room (Å) about the box in which atoms still count for the region: the largest radius and the probe's.
_REGION_REACH = 6.0


@dataclass(frozen=True, eq=False)
class ModelMap:
    """Density of a model on the grid of a map.

    Parameters
    ----------
    values
        Shape (nz, ny, nx); its scale means nothing.
    drawn
        The atoms that it is made of.
    atoms
        Their indices in the model, ascending, shape (n_drawn,).
    all_atoms
        Whether these are all atoms, not the CA alone.
    notes
        Sentences on what was left out.
    """

    values: Array
    drawn: Structure
    atoms: NDArray[np.int64]
    all_atoms: bool
    notes: tuple[str, ...]


def is_bare_trace(structure: Structure) -> bool:
    """Tell whether the residues that have a CA or C4' have nothing else."""
    is_site = structure.is_site
    if not is_site.any():
        return False
    residue = structure.residue_index
    has_site = np.zeros(structure.n_residues, dtype=bool)
    has_site[residue[is_site]] = True
    return int(np.count_nonzero(has_site[residue])) == int(np.count_nonzero(is_site))


def model_map(structure: Structure, density: DensityMap, resolution: float) -> ModelMap:
    """Return the density of a model, at a resolution, on the grid of a map.

    All atoms by :func:`bayesflex.scattering.scattering_map`, B-factors not used; those of elements without scattering
    factors are left out. Of a CA trace, a Gaussian of the resolution at each CA.

    Phenix cuts the Fourier transform of its model map off at the resolution and uses the B-factors; here it falls off
    as the Gaussian of :func:`bayesflex.units.sigma_of_resolution`.

    Parameters
    ----------
    structure
        The model; it may reach out of the box.
    density
        The map.
    resolution
        Å.

    Raises
    ------
    ConfigError
        If the resolution is not positive.
    InputError
        If a coordinate or occupancy is not finite.
    """
    if is_bare_trace(structure):
        ca = structure.trace()
        nz, ny, nx = density.values.shape
        sigma = sigma_of_resolution(resolution)
        values = render(ca.coords, np.ones(ca.n_atoms), sigma, (nz, ny, nx), density.voxel_size, density.origin)
        note = "The model is a CA trace: its map has one bead per residue, and scores of atoms are left out."
        return ModelMap(values, ca, structure.site_indices, False, (note,))
    known = _has_scattering_factors(structure)
    notes: tuple[str, ...] = ()
    atoms = np.flatnonzero(known)
    if not known.all():
        notes = (f"{int(np.count_nonzero(~known))} atoms of elements without scattering factors were left out.",)
        structure = structure.select(atoms)
    values = np.asarray(scattering_map(structure, density, resolution).values, dtype=np.float64)
    return ModelMap(values, structure, atoms, True, notes)


def molecular_region(model: ModelMap, density: DensityMap, resolution: float) -> NDArray[np.bool_]:
    """Return the voxels inside the molecule, shape (nz, ny, nx).

    What bulk solvent does not reach: nearer to an atom than its van der Waals radius + 1.1 Å, and not within 0.9 Å of a
    place that is further (Jiang and Brünger 1994, J. Mol. Biol. 243, 100), with the radii and by the masker that gemmi
    has for cctbx' masks. Of a CA trace: within the resolution, and at least ``LEAST_REACH``, of a CA.

    Parameters
    ----------
    model
        From :func:`model_map`.
    density
        The map.
    resolution
        Å.
    """
    if not model.all_atoms:
        return mask_around(density, model.drawn.coords, max(resolution, LEAST_REACH)) > 0.5
    padding = np.ceil(_REGION_REACH / density.voxel_size).astype(int)
    shape = np.array(density.shape_xyz)
    padded = shape + 2 * padding
    corner = density.origin - padding * density.voxel_size
    position = model.drawn.coords - corner
    near = np.all((position >= 0.0) & (position <= padded * density.voxel_size), axis=1)
    grid = gemmi.FloatGrid(*padded.tolist())
    edges = (padded * density.voxel_size).tolist()
    grid.set_unit_cell(gemmi.UnitCell(edges[0], edges[1], edges[2], 90.0, 90.0, 90.0))
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx).put_mask_on_float_grid(
        grid, _gemmi_model(model.drawn.element[near], position[near])
    )
    inner = tuple(slice(int(p), int(p + n)) for p, n in zip(padding[::-1], shape[::-1], strict=True))
    solvent = np.asarray(grid.array).transpose(2, 1, 0)[inner]  # (nx, ny, nz) -> (nz, ny, nx)
    return np.ascontiguousarray(solvent < 0.5)


def soft_mask(model: ModelMap, density: DensityMap, resolution: float) -> Array:
    """Return weights from 1 near the model to 0 away from it, shape (nz, ny, nx): what the masked FSC is taken in.

    1 up to ``LEAST_REACH`` from an atom, then half a cosine wave as wide as the resolution: a sharper edge would
    correlate at the frequencies that are judged.
    """
    return mask_around(density, model.drawn.coords, LEAST_REACH, resolution)


def around_model(density: DensityMap, coords: Array, reach: float) -> tuple[slice, slice, slice]:
    """Return the part (z, y, x) of a map's grid that holds all voxels within reach (Å) of positions (n, 3)."""
    index, margin = density.to_index(coords), reach / density.voxel_size
    size = np.array(density.shape_xyz)
    low = np.clip(np.floor(index.min(axis=0) - margin), 0, size - 1).astype(int)
    high = np.clip(np.ceil(index.max(axis=0) + margin) + 1, low + 1, size).astype(int)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low[::-1], high[::-1], strict=True))
    return z, y, x


def part_of(density: DensityMap, part: tuple[slice, slice, slice]) -> DensityMap:
    """Return a copy of a part (z, y, x) of a map, in its place, in the precision of a file.

    Of one kind for any map: for wider numbers, or those that cannot be written, kernels would be compiled once more.
    """
    first = np.array([piece.start for piece in part[::-1]], dtype=np.float64)
    values = np.array(density.values[part], dtype=np.float32, order="C")
    return replace(density.on_grid(values, density.voxel_size, density.to_position(first)), notes=())


def _has_scattering_factors(structure: Structure) -> NDArray[np.bool_]:
    symbols, index = np.unique(structure.element, return_inverse=True)
    known = np.array([gemmi.Element(str(symbol)).c4322 is not None for symbol in symbols], dtype=bool)
    return known[index] & (atomic_numbers(structure.element) > 0)


def _gemmi_model(elements: NDArray[np.str_], position: Array) -> gemmi.Model:
    """Return atoms as gemmi's masker takes them: which residue they are in does not matter to it."""
    symbols = {str(symbol): gemmi.Element(str(symbol)) for symbol in np.unique(elements)}
    residue, atom = gemmi.Residue(), gemmi.Atom()
    for symbol, place in zip(elements.tolist(), position.tolist(), strict=True):
        atom.element = symbols[symbol]
        atom.pos = gemmi.Position(*place)
        residue.add_atom(atom)
    chain = gemmi.Chain("A")
    chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    return model
