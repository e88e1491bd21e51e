"""The scene: models, ensemble and map as arrays for the three-dimensional view, small enough for a page.

Names of the file reach the page as labels alone: what the viewer parses has numbers in their place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from bayesflex.contour import contour_level, height_at_model
from bayesflex.density_map import DensityMap
from bayesflex.map_preparation import background, crop_or_pad, gaussian_blur
from bayesflex.report.embedding import encoded
from bayesflex.report.run_data import RunData
from bayesflex.structure import Structure

Array = NDArray[np.float64]

#: What a ribbon is drawn through: protein, then nucleic acid (phosphate, sugar, and where a base ends).
BACKBONE = ("N", "CA", "C", "O", "P", "OP2", "O2P", "O5'", "C5'", "O3'", "O5*", "C5*", "O3*", "N1", "N3")
_PROTEIN = {"N", "CA", "C", "O"}
_NUCLEIC = {"DA", "DG", "A", "G", "DT", "DC", "U", "C", "T"}
_WATER = {"HOH", "WAT", "DOD"}

#: Atoms of ligands that are shown, at most; each costs the viewer as much as a residue's ribbon.
_MOST_LIGAND_ATOMS = 5_000

#: Draws shown, at most, and CA of all of them together: a phone draws as many lines without stuttering.
_MOST_DRAWS, _MOST_TRACE_POINTS = 20, 60_000

#: Voxels shown, at most: 2 MB, and half a second for a contour.
_MOST_VOXELS = 1_500_000

#: The surface has a vertex per voxel, so a voxel should be a sixth of the resolution, and need not be finer than 1 Å.
_VOXELS_PER_RESOLUTION, _FINEST_VOXEL = 6.0, 1.0

#: What residues are coloured by, and what is said of one that is picked.
_SHOWN_VALUES = ("displacement", "sd", "radius_90", "support", "smoc", "q_score")

#: The map is shown this far around the models, Å.
_MARGIN = 12.0

#: The surface can be moved between these shares of what the map is at the CA (median).
_LOWEST_CONTOUR, _HIGHEST_CONTOUR = 0.1, 2.0


def scene(run: RunData) -> dict[str, Any] | None:
    """Return the scene of a run for the page's script, or None where there is neither model nor map."""
    model = run.model
    if model is None and run.density is None:
        return None
    result: dict[str, Any] = {"models": {}}
    if model is not None:
        shown = _shown_atoms(model)
        result |= _atoms(model, shown)
        for name, structure in (("start", run.start), ("fitted", run.fitted)):
            if structure is not None:
                result["models"][name] = encoded(structure.coords[shown].astype(np.float32))
        result["residue_values"] = {
            name: encoded(values.astype(np.float32))
            for name, values in residue_values(run).items()
            if name in _SHOWN_VALUES
        }
        if run.ensemble is not None and run.ensemble.shape[1] == _n_sites(model):
            result["ensemble"] = _ensemble(model, run.ensemble)
    if run.density is not None:
        resolution = float(run.settings.get("resolution", 0.0))
        result["map"] = volume(run.density, _around(run), resolution, run.contour)
    return result


def residue_values(run: RunData) -> dict[str, Array]:
    """Return what residues are coloured by and drawn along the model: arrays of shape (n_residues,), in Å or 1."""
    values = dict(run.residues)
    if run.start is not None and run.fitted is not None:
        values["displacement"] = displacement(run.start, run.fitted)
    return values


def displacement(start: Structure, fitted: Structure) -> Array:
    """Return how far each residue moved in place, shape (n_residues,), Å: its CA or C4', or else its centroid."""
    index = start.residue_index
    count = np.bincount(index)
    moved = fitted.coords - start.coords
    centroid = np.stack([np.bincount(index, weights=axis) / count for axis in moved.T], axis=1)
    if start.is_site.any():
        ca = start.site_indices
        centroid[index[ca]] = moved[ca]
    distance: Array = np.linalg.norm(centroid, axis=1)
    return distance


def residue_names(structure: Structure) -> list[str]:
    """Return a label for each residue, such as "A 152 LEU"."""
    first = np.flatnonzero(np.diff(structure.residue_index, prepend=-1))
    return [
        f"{chain} {number}{code} {name}".strip() for chain, number, code, name in structure.select(first).residue_keys
    ]


def volume(
    density: DensityMap, coords: Array | None, resolution: float, contour: float | None = None
) -> dict[str, Any]:
    """Return the part of a map that is shown, on a byte a voxel, and the levels of its surface.

    Parameters
    ----------
    density
        The map.
    coords
        What it is shown around, shape (n, 3), Å, CA of the fitted model first of all; None for all of the map.
    resolution
        Of the map, Å; 0 where it is not known.
    contour
        Value of the surface at first, or None for that of :func:`bayesflex.contour.contour_level`.
    """
    near = None if coords is None else coords[density.contains(coords)]
    part = density
    # A model that lies outside its map is no reason to hide the map.
    if near is not None and len(near):
        margin = max(_MARGIN, resolution)
        corners = np.stack([near.min(axis=0) - margin, near.max(axis=0) + margin])
        # Not beyond the box: its padding would be shown as its end.
        part = crop_or_pad(density, np.clip(corners, density.origin, _last_voxel(density)), 0.0)
    low_level, level, high_level = _levels(density, coords, contour)
    part = _resampled(part, resolution)
    # A level that no voxel reaches has no surface.
    high_level = max(min(high_level, float(np.quantile(part.values, 0.999))), 1.01 * level - 0.01 * low_level)
    # One byte: the surface is drawn where values pass a level, and its place is known to a voxel.
    scale = (high_level - low_level) / 250.0
    quantised = np.clip(np.rint((part.values - low_level) / scale) + 2.0, 0.0, 255.0).astype(np.uint8)
    nx, ny, nz = part.shape_xyz
    return {
        "size": [nx, ny, nz],
        "unit": part.voxel_size.tolist(),
        "origin": part.origin.tolist(),
        "values": encoded(quantised.transpose(2, 1, 0)),  # the viewer has z fastest
        "scale": scale,
        "offset": low_level - 2.0 * scale,
        "level": level,
        "range": [low_level, high_level],
    }


def _last_voxel(density: DensityMap) -> Array:
    """Return the position of the last voxel along each axis, Å, shape (3,)."""
    return density.to_position(np.array(density.shape_xyz) - 1.0)


def _levels(density: DensityMap, coords: Array | None, contour: float | None) -> tuple[float, float, float]:
    """Return lowest, first and highest level of the surface."""
    base, height = background(density), height_at_model(density, coords)
    low, high = base + _LOWEST_CONTOUR * height, base + _HIGHEST_CONTOUR * height
    first = contour_level(density, coords) if contour is None else contour
    return min(low, first), first, max(high, first)


def _resampled(density: DensityMap, resolution: float) -> DensityMap:
    """Return the map with voxels as fine as its surface needs and the page can hold."""
    wanted = np.minimum(density.voxel_size, max(resolution / _VOXELS_PER_RESOLUTION, _FINEST_VOXEL))
    extent = (np.array(density.shape_xyz) - 1.0) * density.voxel_size
    n_voxels = float(np.prod(extent / wanted + 1.0))
    wanted = wanted * max(1.0, n_voxels / _MOST_VOXELS) ** (1.0 / 3.0)
    shape = np.maximum(np.floor(extent / wanted).astype(int) + 1, 2)
    if tuple(shape) == density.shape_xyz or min(density.shape_xyz) < 2:
        return density
    coarser = float(np.max(wanted / density.voxel_size))
    if coarser > 1.0:
        density = gaussian_blur(density, 0.4 * float(np.max(wanted)))
    values = scipy.ndimage.zoom(density.values, shape[::-1] / density.values.shape, order=2, mode="nearest")
    return density.on_grid(values, extent / (np.array(values.shape[::-1]) - 1.0), density.origin)


def _around(run: RunData) -> Array | None:
    """Return positions around which the map is shown, and at which its level is judged."""
    model = run.model
    if model is None:
        return None
    return model.coords[model.is_site] if model.is_site.any() else model.coords


def _n_sites(model: Structure) -> int:
    return len(model.site_indices) if model.is_site.any() else 0


def _shown_atoms(model: Structure) -> NDArray[np.int64]:
    """Return the indices of the atoms that are shown: backbones, and ligands but for water."""
    water = np.isin(model.residue_name, list(_WATER))
    ligand = np.zeros(model.n_atoms, dtype=bool) if model.is_ligand is None else model.is_ligand
    backbone = np.isin(model.atom_name, BACKBONE) & ~ligand
    # N1 and N3 are where a base ends, and in other residues are side chains.
    backbone &= np.isin(model.atom_name, list(_PROTEIN)) | np.isin(model.residue_name, list(_NUCLEIC))
    others = ligand & ~water & (model.element != "H")
    if np.count_nonzero(others) > _MOST_LIGAND_ATOMS:
        others[:] = False
    return np.flatnonzero(backbone | others)


def _atoms(model: Structure, shown: NDArray[np.int64]) -> dict[str, Any]:
    """Return what the page knows of atoms and residues."""
    ligand = np.zeros(model.n_atoms, dtype=bool) if model.is_ligand is None else model.is_ligand
    first = np.flatnonzero(np.diff(model.residue_index, prepend=-1))
    chain = model.chain[first]
    names = list(dict.fromkeys(chain.tolist()))
    # A chain whose parts lie apart in the file (protein, then ligands) is several strands of one colour.
    strand = np.cumsum(np.append(False, chain[1:] != chain[:-1]))
    elements = list(dict.fromkeys(model.element[shown].tolist()))
    backbone = [*BACKBONE, ""]
    number_of = {name: number for number, name in enumerate(backbone)}
    kinds = [
        number_of[""] if hetero else number_of.get(name, number_of[""])
        for name, hetero in zip(model.atom_name[shown].tolist(), ligand[shown].tolist(), strict=True)
    ]
    residue_kind = np.where(np.isin(model.residue_name[first], list(_NUCLEIC)), model.residue_name[first], "UNK")
    kind_names = list(dict.fromkeys(residue_kind.tolist()))
    complete = np.isin(model.atom_name, ["N", "O"]).sum() >= model.is_ca.sum() > 0
    return {
        "chains": names,
        "elements": elements,
        "atom_names": backbone,
        "residue_kinds": kind_names,
        "residue_names": residue_names(model),
        "has_backbone": bool(complete),
        "residue_chain": encoded(np.array([names.index(name) for name in chain.tolist()], dtype=np.int32)),
        "residue_strand": encoded(strand.astype(np.int32)),
        "residue_number": encoded(model.residue_number[first].astype(np.int32)),
        "residue_kind": encoded(np.array([kind_names.index(k) for k in residue_kind.tolist()], dtype=np.int32)),
        "atom_residue": encoded(model.residue_index[shown].astype(np.int32)),
        "atom_name": encoded(np.array(kinds, dtype=np.uint8)),
        "atom_element": encoded(np.array([elements.index(e) for e in model.element[shown].tolist()], dtype=np.uint8)),
        "atom_is_ligand": encoded(ligand[shown].astype(np.uint8)),
    }


def _ensemble(model: Structure, draws: Array) -> dict[str, Any]:
    """Return CA traces of some of the draws, evenly chosen."""
    n_ca = draws.shape[1]
    number = min(len(draws), _MOST_DRAWS, max(5, _MOST_TRACE_POINTS // n_ca))
    chosen = np.linspace(0, len(draws) - 1, number).round().astype(int)
    return {
        "number": number,
        "residue": encoded(model.residue_index[model.site_indices].astype(np.int32)),
        "coords": encoded(draws[chosen].astype(np.float32)),
    }
