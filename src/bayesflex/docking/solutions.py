"""Docking from nothing: search at a coarse resolution, climb at finer ones, and say which solutions are distinct."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayesflex.density_map import DensityMap
from bayesflex.docking.levels import make_level
from bayesflex.docking.pose import Pose, pose_rmsd
from bayesflex.docking.refinement import MASK_DENSITY, LocalCorrelation, make_template
from bayesflex.docking.search import CorrelationSearch, run_in_threads
from bayesflex.docking.symmetry import Operation, equivalents, model_symmetry, symmetric_rmsd
from bayesflex.errors import InputError
from bayesflex.likelihood.marginal import independent_observations
from bayesflex.map_preparation import background, low_pass, mask_around
from bayesflex.residue_beads import make_beads
from bayesflex.rotations import covering_rotations
from bayesflex.structure import Structure
from bayesflex.units import sigma_of_resolution

Array = NDArray[np.float64]

#: Poses are told apart at no finer resolution than this, Å: there a pose is known to a tenth of an Å.
FINEST = 5.0

#: Resolution of the search: this share of the model's radius of gyration, between these limits, Å.
_SEARCH_SHARE, _SEARCH_LIMITS = 0.6, (12.0, 25.0)

#: Covering angle of the rotations, as a share of the search resolution over the radius of gyration: an atom there is at
#: most so many resolutions from where the nearest rotation puts it. A climb reaches further.
_ANGLE_SHARE = 0.7

#: Limits of that angle, radians: 4° are 125,000 rotations, 35° are 350.
_ANGLE_LIMITS = (math.radians(4.0), math.radians(35.0))

#: Places kept of each rotation, and poses kept after the search and after each level of the climb.
_PEAKS, _KEPT = 3, (120, 40, 12)

#: So many times as many are looked at: most lie near a better one.
_LOOKED_AT = 40

#: Voxels of the search per resolution, and of the maps that are climbed in.
_SEARCH_SPACING, _SPACING = 1.0 / 3.0, 0.25

#: Levels follow each other by no more than this factor.
_LEVEL_FACTOR = 1.8

#: Poses nearer than this share of the resolution have climbed to one maximum. Solutions that are nearer than so many Å,
#: or than the resolution where that is more, are not distinct.
_SAME_SHARE, _DISTINCT = 0.25, 3.0

#: Two places hold the same density where the map correlates so much between them.
_SAME_DENSITY = 0.95

#: A gap of less than so many standard errors does not decide between two solutions.
CLEAR_GAP = 3.0

#: Correlations are cut off here before Fisher's transformation, which is infinite at 1.
_HIGHEST = 0.9999

#: Share of the model that the map's box must be able to hold along each axis.
_LEAST_ROOM = 0.75

#: Radius around the atoms of a fixed model in which the map is no one else's, Å.
_TAKEN = 4.0


@dataclass(frozen=True, eq=False)
class Solution:
    """A pose, distinct from those before it.

    Parameters
    ----------
    pose
        Of those that place the same density, the one nearest to the model as it was given.
    places
        Poses at other places of the map that hold the same density.
    gap, gap_z
        How much lower the score is than the best one, and the same in standard errors: differences of Fisher's
        ``z = artanh cc``, each known to 1/√(ν - 3) [1]_. Of the best one: how much the next one is lower; NaN where
        there is none.

    References
    ----------
    .. [1] Volkmann (2009), Acta Cryst. D65, 679.
    """

    pose: Pose
    places: tuple[Pose, ...]
    gap: float
    gap_z: float


@dataclass(frozen=True, eq=False)
class Docking:
    """What a docking found.

    Parameters
    ----------
    solutions
        By falling score.
    symmetry
        Motions that make the model coincide with itself; the identity alone where it has no symmetry.
    levels
        Resolutions of the search and of the climbs, Å.
    angle
        No orientation was farther than this from one that was tried, radians.
    n_rotations
        How many were tried.
    observations
        ν, the number of independent observations under the model's mask.
    """

    solutions: tuple[Solution, ...]
    symmetry: tuple[Operation, ...]
    levels: tuple[float, ...]
    angle: float
    n_rotations: int
    observations: float

    @property
    def best(self) -> Pose:
        """The pose with the highest score."""
        return self.solutions[0].pose

    @property
    def is_ambiguous(self) -> bool:
        """Whether the gap between the first and the second solution decides nothing."""
        return self.solutions[0].gap_z < CLEAR_GAP  # never where there is no second one


def dock(
    structure: Structure,
    density: DensityMap,
    resolution: float,
    *,
    n_solutions: int = 5,
    fixed: Structure | None = None,
    mask: DensityMap | None = None,
    n_threads: int = 1,
    on_progress: Callable[[str], None] | None = None,
) -> Docking:
    """Find the pose of a model in a map, wherever the model is.

    Parameters
    ----------
    structure
        The model; where it is does not matter.
    density
        The map.
    resolution
        Of the map, Å.
    n_solutions
        Distinct solutions to return, at most.
    fixed
        Another model, whose part of the map is taken.
    mask
        On the map's grid: where it is not above zero, there is nothing to find.
    n_threads
        Threads to use. They change nothing in the result.
    on_progress
        Told what is being done.

    Raises
    ------
    InputError
        If the model has no CA, is larger than the map, or the map has no contrast.
    """
    with threadpool_limits(1):  # the threads are ours, and sums are the same however many there are
        return _docked(structure, density, resolution, n_solutions, fixed, mask, n_threads, on_progress or _silent)


def _silent(text: str) -> None:
    """Tell nobody."""


def _docked(
    structure: Structure,
    density: DensityMap,
    resolution: float,
    n_solutions: int,
    fixed: Structure | None,
    mask: DensityMap | None,
    n_threads: int,
    tell: Callable[[str], None],
) -> Docking:
    ca = structure.trace()
    pivot = ca.coords.mean(axis=0)
    about = ca.coords - pivot
    moments = about.T @ about / len(about)
    _require_room(structure, density, about)
    solvent_free = _prepared(density, resolution, fixed, mask)
    symmetry = model_symmetry(ca, pivot)

    radius = math.sqrt(float(np.trace(moments)))
    finest = max(resolution, FINEST, 2.0 * float(density.voxel_size.max()))
    levels = _levels(finest, radius)
    angle = float(np.clip(_ANGLE_SHARE * levels[0] / max(radius, 1.0), *_ANGLE_LIMITS))
    rotations = covering_rotations(angle)
    tell(f"docking: {len(rotations)} rotations at {levels[0]:.1f} Å")
    search = _prepared_search(structure, ca, solvent_free, resolution, levels[0])
    poses = _searched(search, pivot, density, rotations, angle, moments, symmetry, n_threads)
    if not poses:
        raise InputError(
            f"{density.name}: no pose of {structure.name} correlates with the map at all; check that density is "
            "positive in the map, and that the two belong together."
        )

    beads = make_beads("parts", structure, ca)
    placed = beads.place(ca.coords) - pivot
    for number, level_resolution in enumerate(levels):
        tell(f"docking: {len(poses)} poses at {level_resolution:.1f} Å")
        level = make_level(solvent_free, resolution, level_resolution, _SPACING * level_resolution)
        sigma = math.hypot(sigma_of_resolution(level_resolution), beads.spread)
        correlation = LocalCorrelation(level, make_template(placed, beads.weights, sigma, level_resolution, resolution))
        poses = _climbed(correlation, poses, n_threads)
        poses = [pose for pose in poses if _in_map(density, pose)] or poses[:1]
        poses = _distinct(poses, moments, symmetry, _SAME_SHARE * level_resolution)[: _KEPT[min(number + 1, 2)]]
    observations = independent_observations(correlation.template.volume, finest)
    groups = _grouped(correlation, _distinct(poses, moments, symmetry, max(_DISTINCT, finest)))
    given = Pose(np.eye(3), pivot, pivot)
    named = [
        [min(equivalents(pose, symmetry), key=lambda other: pose_rmsd(other, given, moments)) for pose in group]
        for group in groups
    ]
    solutions = _with_gaps(named, observations)[:n_solutions]
    return Docking(solutions, symmetry, levels, angle, len(rotations), observations)


def _prepared(density: DensityMap, resolution: float, fixed: Structure | None, mask: DensityMap | None) -> DensityMap:
    """Return the map with its solvent at zero, without what belongs to others or lies beyond its resolution."""
    values = density.values.astype(np.float64)
    if not np.all(np.isfinite(values)):
        raise InputError(f"{density.name}: some values are not finite; docking needs a value at every voxel.")
    values -= background(density)
    if fixed is not None:
        values *= 1.0 - mask_around(density, fixed.coords, _TAKEN, _TAKEN)
    if mask is not None:
        values = np.where(mask.values > 0.0, values, 0.0)
    if not np.ptp(values) > 0.0:
        raise InputError(f"{density.name}: the map has no density to dock into: all its values are equal.")
    return low_pass(density.with_values(values), resolution)


def _require_room(structure: Structure, density: DensityMap, about: Array) -> None:
    """Check that the model could lie in the map, turned as it may be."""
    _, _, axes = np.linalg.svd(about, full_matrices=False)
    extent = np.sort(np.ptp(about @ axes.T, axis=0)) if len(about) > 1 else np.zeros(3)
    box = np.sort(density.box_size)
    if np.any(_LEAST_ROOM * extent > box):
        raise InputError(
            f"{structure.name}: the model is larger than the map: it measures {_triple(extent)} Å along its axes, and "
            f"{density.name} {_triple(box)} Å. Give the map of the whole, a smaller part of the model, or the true "
            "voxel size with --voxel."
        )


def _levels(finest: float, radius: float) -> tuple[float, ...]:
    """Return the resolutions of the search and of the climbs, from coarse to fine."""
    low, high = _SEARCH_LIMITS
    coarsest = max(finest, min(max(_SEARCH_SHARE * radius, low), high))
    n_steps = math.ceil(math.log(coarsest / finest) / math.log(_LEVEL_FACTOR) - 1e-9)
    return tuple(np.geomspace(coarsest, finest, n_steps + 1).tolist())


def _prepared_search(
    structure: Structure, ca: Structure, density: DensityMap, full: float, resolution: float
) -> CorrelationSearch:
    """Return the search of a model in a map (solvent at zero) of resolution ``full``, at a coarser one."""
    level = make_level(density, full, resolution, _SEARCH_SPACING * resolution).trimmed()
    beads = make_beads("centroid", structure, ca)
    return CorrelationSearch(
        level.values,
        level.voxel_size,
        level.origin,
        beads.place(ca.coords) - ca.coords.mean(axis=0),
        beads.weights,
        math.hypot(sigma_of_resolution(resolution), beads.spread),
        MASK_DENSITY,
    )


def _searched(
    search: CorrelationSearch,
    pivot: Array,
    density: DensityMap,
    rotations: Array,
    angle: float,
    moments: Array,
    symmetry: tuple[Operation, ...],
    n_threads: int,
) -> list[Pose]:
    """Return the best poses of the search on the grid, none near a better one."""
    separation = search.voxel_size / _SEARCH_SPACING
    number, centres, scores = search.best(rotations, _PEAKS, separation, density.contains, n_threads)
    # What lies between two tried poses in rotation and translation climbs to the same maximum.
    near = 0.5 * (math.sqrt(float(np.trace(moments))) * angle + search.voxel_size)
    poses: list[Pose] = []
    for index in np.argsort(-scores, kind="stable")[: _LOOKED_AT * _KEPT[0]].tolist():
        if len(poses) == _KEPT[0] or scores[index] <= 0.0:
            break
        pose = Pose(rotations[number[index]], centres[index], pivot, float(scores[index]))
        if all(symmetric_rmsd(other, pose, moments, symmetry) > near for other in poses):
            poses.append(pose)
    return poses


def _climbed(correlation: LocalCorrelation, poses: Sequence[Pose], n_threads: int) -> list[Pose]:
    """Return the poses at the maxima above them, by falling score."""
    found: list[Pose] = list(poses)

    def climb(index: int) -> None:
        found[index] = correlation.refined(found[index])

    run_in_threads([partial(climb, index) for index in range(len(found))], n_threads)
    return sorted(found, key=lambda pose: -pose.score)


def _in_map(density: DensityMap, pose: Pose) -> bool:
    return bool(density.contains(pose.centre[None])[0])


def _distinct(poses: Sequence[Pose], moments: Array, symmetry: tuple[Operation, ...], distance: float) -> list[Pose]:
    """Return the poses that are farther than a distance (RMSD, Å) from all better ones."""
    kept: list[Pose] = []
    for pose in poses:
        if all(symmetric_rmsd(other, pose, moments, symmetry) > distance for other in kept):
            kept.append(pose)
    return kept


def _grouped(correlation: LocalCorrelation, poses: Sequence[Pose]) -> list[list[Pose]]:
    """Return the poses with those together that see the same density, each group and its poses by falling score."""
    groups: list[list[Pose]] = []
    seen: list[Array] = []
    for pose in poses:
        values = correlation.map_values(pose)
        values = values - values.mean()
        norm = math.sqrt(float(values @ values))
        values = values / norm if norm > 0.0 else values
        for group, other in zip(groups, seen, strict=True):
            if float(values @ other) >= _SAME_DENSITY:
                group.append(pose)
                break
        else:
            groups.append([pose])
            seen.append(values)
    return groups


def _with_gaps(groups: Sequence[Sequence[Pose]], observations: float) -> tuple[Solution, ...]:
    """Return the solutions with their distance from the best one, and that of the best one from the next."""
    scores = np.array([group[0].score for group in groups])
    fisher = np.arctanh(np.clip(scores, -_HIGHEST, _HIGHEST))
    # The variance of a difference of two.
    per_error = math.sqrt(max(observations - 3.0, 1.0) / 2.0)
    solutions = []
    for rank, group in enumerate(groups):
        other = rank if rank else 1
        gap = gap_z = math.nan
        if other < len(groups):
            gap, gap_z = float(scores[0] - scores[other]), float(per_error * (fisher[0] - fisher[other]))
        solutions.append(Solution(group[0], tuple(group[1:]), gap, gap_z))
    return tuple(solutions)


def _triple(values: Array) -> str:
    return " × ".join(f"{value:.0f}" for value in values.tolist())
