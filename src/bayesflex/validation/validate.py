"""validate: a model judged in a map, without a fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.density_map import DensityMap, require_same_grid
from bayesflex.errors import ConfigError, InputError
from bayesflex.structure import Structure
from bayesflex.validation.backbone import count_clashes, ramachandran
from bayesflex.validation.ca_geometry import CaGeometry, ca_geometry
from bayesflex.validation.map_correlation import map_correlations
from bayesflex.validation.model_map import around_model, model_map, molecular_region, part_of, soft_mask
from bayesflex.validation.q_score import q_scores
from bayesflex.validation.result import ChainScores, GeometryCounts, ResidueScores, Validation
from bayesflex.validation.segments import atom_radius, segment_correlations, smoc
from bayesflex.validation.shells import shell_curves

Array = NDArray[np.float64]

#: Room about the atoms in which the map is read for the scores of atoms and residues: the Q-score's 2 Å and a voxel.
_SCORE_MARGIN = 3.0

_NO_TABLES = (
    "Ramachandran regions were left out: their tables come with cctbx-base, which is not installed "
    "(pip install 'bayesflex[validation]')."
)


def validate(
    structure: Structure,
    density: DensityMap,
    resolution: float,
    half_maps: tuple[DensityMap, DensityMap] | None = None,
    mask: DensityMap | None = None,
) -> Validation:
    """Judge a model in a map: correlations, Fourier shells, Q-score, SMOC and geometry.

    Parameters
    ----------
    structure
        The model, in place.
    density
        The map.
    resolution
        Of the map, Å: that of the model's map, and of the voxels that belong to an atom.
    half_maps
        The two half maps of the map, on its grid, for their Fourier shell correlation.
    mask
        On the map's grid, instead of what is near the model: voxels above zero are inside the molecule, and its values,
        cut off at 0 and 1, are the mask of the Fourier shells.

    Raises
    ------
    ConfigError
        If the resolution is not positive.
    InputError
        If the model has no atoms or none in the box, a number of it is not finite, or a mask or half map is on another
        grid.
    """
    if not (math.isfinite(resolution) and resolution > 0.0):
        raise ConfigError(f"resolution is {resolution} Å; expected a positive number")
    for other, what in [(mask, "mask"), *((half, "half map") for half in half_maps or ())]:
        if other is not None:
            require_same_grid(other, density, what)
    notes = _check_place(structure, density)
    model = model_map(structure, density, resolution)
    notes += model.notes
    values = model.values.astype(np.float32)
    inside = molecular_region(model, density, resolution) if mask is None else mask.values > 0
    weights = soft_mask(model, density, resolution) if mask is None else np.clip(mask.values.astype(np.float64), 0, 1)
    correlations = map_correlations(density.values, values, inside)
    curves = shell_curves(density.values, model.values, weights, density.voxel_size)
    half_curves = None
    if half_maps is not None:
        first, second = half_maps
        half_curves = shell_curves(first.values, second.values, weights, density.voxel_size)

    part = around_model(density, model.drawn.coords, max(atom_radius(resolution), _SCORE_MARGIN))
    local, local_model = part_of(density, part), np.ascontiguousarray(values[part])
    scores = _local_scores(structure, model.atoms, local, local_model, resolution)
    q_of_atoms = _q_of_atoms(structure, local) if model.all_atoms else np.full(structure.n_atoms, np.nan)
    geometry, is_ca = _ca_geometry(structure)
    plot = ramachandran(structure) if model.all_atoms else None
    if model.all_atoms and plot is None:
        notes += (_NO_TABLES,)
    region = np.full(structure.n_residues, "") if plot is None else plot.region
    residues = _residue_rows(structure, scores, q_of_atoms, region, geometry, is_ca)
    return Validation(
        model=structure.name,
        density=density.name,
        resolution=float(resolution),
        all_atoms=model.all_atoms,
        correlations=correlations,
        map_model=curves,
        half_maps=half_curves,
        q_score=_mean(q_of_atoms),
        smoc=_mean(scores["smoc"]),
        geometry=GeometryCounts(
            ca_distances=geometry.n_bonds,
            ca_distance_outliers=int(np.count_nonzero(geometry.bond_outlier)),
            ca_angles=geometry.n_angles,
            ca_angle_outliers=int(np.count_nonzero(geometry.angle_outlier)),
            ca_clashes=geometry.n_clashes,
            ramachandran_residues=None if plot is None else plot.n_residues,
            ramachandran_favoured=None if plot is None else plot.count("favoured"),
            ramachandran_allowed=None if plot is None else plot.count("allowed"),
            ramachandran_outliers=None if plot is None else plot.count("outlier"),
            atom_clashes=count_clashes(structure) if model.all_atoms else None,
        ),
        chains=_chain_rows(structure, residues, scores["chain"], q_of_atoms, plot is not None),
        residues=residues,
        notes=notes,
    )


def _check_place(structure: Structure, density: DensityMap) -> tuple[str, ...]:
    """Return a note on atoms outside the box; refuse a model without atoms, or with none in it."""
    if structure.n_atoms == 0:
        raise InputError(f"{structure.name}: expected a model, got one without atoms")
    if not np.all(np.isfinite(structure.coords)):
        raise InputError(f"{structure.name}: a coordinate is not finite; remove or correct that atom")
    outside = int(np.count_nonzero(~density.contains(structure.coords)))
    if outside == structure.n_atoms:
        raise InputError(
            f"{structure.name}: none of its {outside} atoms lies in the box of {density.name}; dock the model into the "
            "map, or check --origin and --voxel"
        )
    return (f"{outside} of {structure.n_atoms} atoms lie outside the box of the map.",) if outside else ()


def _local_scores(
    structure: Structure, atoms: NDArray[np.int64], density: DensityMap, model: NDArray[Any], resolution: float
) -> dict[str, Array]:
    """Return correlation ("residue"), SMOC ("smoc") of each residue and correlation of each chain ("chain")."""
    residue, coords = structure.residue_index[atoms], structure.coords[atoms]
    names, chain = _chains(structure)
    order = np.argsort(chain[atoms], kind="stable")
    return {
        "residue": segment_correlations(density, model, coords, residue, structure.n_residues, resolution),
        "smoc": smoc(density, model, coords, residue, _stretches(structure), resolution),
        "chain": segment_correlations(density, model, coords[order], chain[atoms][order], len(names), resolution),
    }


def _chains(structure: Structure) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of the chains in order, and the index of each atom's, shape (n_atoms,)."""
    names, first, index = np.unique(structure.chain, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return [str(name) for name in names[order]], rank[index]


def _stretches(structure: Structure) -> NDArray[np.int64]:
    """Return the number of the stretch of each residue: numbers that follow one another, in one chain."""
    first = np.flatnonzero(np.diff(structure.residue_index, prepend=-1))
    chain, number = structure.chain[first], structure.residue_number[first]
    step = np.diff(number)
    new = (chain[1:] != chain[:-1]) | (step < 0) | (step > 1)
    return np.concatenate([[0], np.cumsum(new)]).astype(np.int64)


def _q_of_atoms(structure: Structure, density: DensityMap) -> Array:
    """Return the Q-score of each atom, NaN for hydrogen, shape (n_atoms,)."""
    scored = ~np.isin(structure.element, ("H", "D"))
    result = np.full(structure.n_atoms, np.nan)
    result[scored] = q_scores(structure.coords[scored], density)
    return result


def _ca_geometry(structure: Structure) -> tuple[CaGeometry, NDArray[np.int64]]:
    """Return the geometry of the CA trace, and the residue of each CA."""
    if not structure.is_ca.any():
        none = np.zeros(0, dtype=bool)
        return CaGeometry(0, 0, none, none, none, 0), np.zeros(0, dtype=np.int64)
    indices = structure.ca_indices
    return ca_geometry(structure.select(indices)), structure.residue_index[indices]


def _residue_rows(
    structure: Structure,
    scores: dict[str, Array],
    q_of_atoms: Array,
    region: NDArray[np.str_],
    geometry: CaGeometry,
    of_ca: NDArray[np.int64],
) -> tuple[ResidueScores, ...]:
    """Return a row for each residue."""
    n, residue = structure.n_residues, structure.residue_index
    first = np.flatnonzero(np.diff(residue, prepend=-1))
    q = _mean_by(q_of_atoms, residue, n)
    flags = np.full((n, 3), -1)
    flags[of_ca] = np.stack([geometry.bond_outlier, geometry.angle_outlier, geometry.clash], axis=1)
    rows = []
    for index, atom in enumerate(first.tolist()):
        bond, corner, clash = (None if flag < 0 else int(flag) for flag in flags[index].tolist())
        rows.append(
            ResidueScores(
                str(structure.chain[atom]),
                int(structure.residue_number[atom]),
                str(structure.insertion_code[atom]),
                str(structure.residue_name[atom]),
                _number(scores["residue"][index]),
                _number(scores["smoc"][index]),
                _number(q[index]),
                str(region[index]) or None,
                bond,
                corner,
                clash,
            )
        )
    return tuple(rows)


def _chain_rows(
    structure: Structure, residues: tuple[ResidueScores, ...], cc: Array, q_of_atoms: Array, with_regions: bool
) -> tuple[ChainScores, ...]:
    """Return a row for each chain."""
    names, chain = _chains(structure)
    n_atoms = np.bincount(chain, minlength=len(names))
    q = _mean_by(q_of_atoms, chain, len(names))
    of_chain: dict[str, list[ResidueScores]] = {name: [] for name in names}
    for row in residues:
        of_chain[row.chain].append(row)
    rows = []
    for index, name in enumerate(names):
        own = of_chain[name]
        smoc_values = [row.smoc for row in own if row.smoc is not None]
        rows.append(
            ChainScores(
                name,
                len(own),
                int(n_atoms[index]),
                _number(cc[index]),
                sum(smoc_values) / len(smoc_values) if smoc_values else None,
                _number(q[index]),
                sum(row.ramachandran == "favoured" for row in own) if with_regions else None,
                sum(row.ramachandran == "outlier" for row in own) if with_regions else None,
                sum(row.ca_distance_outlier == 1 for row in own),
                sum(row.ca_angle_outlier == 1 for row in own),
                sum(row.ca_clash == 1 for row in own),
            )
        )
    return tuple(rows)


def _mean_by(values: Array, group: NDArray[np.int64], n_groups: int) -> Array:
    """Return the mean of the finite values of each group, NaN where it has none, shape (n_groups,)."""
    finite = np.isfinite(values)
    count = np.bincount(group[finite], minlength=n_groups)
    total = np.bincount(group[finite], values[finite], minlength=n_groups)
    return np.divide(total, count, out=np.full(n_groups, np.nan), where=count > 0)


def _mean(values: Array) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
