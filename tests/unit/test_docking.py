"""Docking from nothing: a model is found wherever it is, and what is one solution is told from what is two."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bayesflex.density_map import DensityMap
from bayesflex.docking.levels import LevelMap, make_level
from bayesflex.docking.pose import Pose, moved, pose_rmsd
from bayesflex.docking.refinement import MASK_DENSITY, LocalCorrelation, make_template
from bayesflex.docking.search import CorrelationSearch
from bayesflex.docking.solutions import dock
from bayesflex.docking.symmetry import equivalents, model_symmetry, symmetric_rmsd
from bayesflex.errors import InputError
from bayesflex.geometry import rmsd
from bayesflex.map_preparation import trilinear
from bayesflex.rendering import render
from bayesflex.structure import Structure
from bayesflex.synthetic import two_domain_protein
from bayesflex.workflows.docking_report import docking_warnings, solution_table
from bayesflex.workflows.simulate import simulate

RESOLUTION = 9.0


@pytest.fixture(scope="module")
def structure():
    return two_domain_protein(80)


@pytest.fixture(scope="module")
def density(structure):
    return simulate(structure, resolution=RESOLUTION, voxel=3.0)


def displaced(structure, rng, distance=400.0):
    """The model turned at random and put far outside."""
    turn = Rotation.random(random_state=rng).as_rotvec()
    shift = distance * np.array([1.0, -0.8, 0.6])
    return structure.with_coords(moved(structure.coords, [*turn, *shift]))


def together(*structures):
    """One structure with the chains of several, called A, B, ..."""
    columns = {}
    for name in ("coords", "element", "atom_name", "residue_name", "residue_number", "insertion_code"):
        columns[name] = np.concatenate([getattr(each, name) for each in structures])
    for name in ("occupancy", "b_factor", "is_hetero"):
        columns[name] = np.concatenate([getattr(each, name) for each in structures])
    sizes = [each.n_atoms for each in structures]
    return Structure(chain=np.repeat(np.array(list("ABCDEF"))[: len(sizes)], sizes), **columns)


def turned_about_z(structure, degrees, axis_at):
    """A copy turned about an axis along z through a point."""
    rotation = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    return structure.with_coords((structure.coords - axis_at) @ rotation.T + axis_at)


@pytest.fixture(scope="module")
def dimer(structure):
    """Two copies about a two-fold axis, side by side."""
    axis_at = structure.coords.max(axis=0) + [4.0, 0.0, 0.0]
    axis_at[1] = structure.coords[:, 1].mean()
    return together(structure, turned_about_z(structure, 180.0, axis_at))


def test_a_model_is_found_from_outside(structure, density, rng):
    start = displaced(structure, rng)
    assert not density.contains(start.coords).any()
    found = dock(start, density, RESOLUTION)
    assert rmsd(found.best.apply(start.coords), structure.coords) < 1.0
    assert found.best.score > 0.9
    assert found.solutions[0].gap == pytest.approx(found.best.score - found.solutions[1].pose.score)
    assert not found.is_ambiguous
    assert len(found.symmetry) == 1
    # The six numbers say the same motion of all atoms.
    np.testing.assert_allclose(moved(start.coords, found.best.motion), found.best.apply(start.coords), atol=1e-6)


def test_threads_change_no_bit(structure, density, rng):
    start = displaced(structure, rng)
    one, two = (dock(start, density, RESOLUTION, n_threads=n) for n in (1, 2))
    assert [each.pose.motion for each in one.solutions] == [each.pose.motion for each in two.solutions]
    assert [each.pose.score for each in one.solutions] == [each.pose.score for each in two.solutions]


def test_a_symmetric_dimer_is_one_solution(dimer, rng):
    density = simulate(dimer, resolution=RESOLUTION, voxel=3.0)
    start = displaced(dimer, rng)
    found = dock(start, density, RESOLUTION)
    assert len(found.symmetry) == 2
    truth = dimer.ca_trace().coords
    half = len(truth) // 2
    placed = found.best.apply(start.ca_trace().coords)
    assert min(rmsd(placed, truth), rmsd(placed, np.concatenate([truth[half:], truth[:half]]))) < 1.0
    # The pose with the chains exchanged is no rival.
    assert not found.is_ambiguous
    assert found.solutions[0].gap > 0.1
    assert "2 orientations" in solution_table(found, start, density)


@pytest.mark.slow
def test_of_equivalent_poses_the_nearest_to_the_given_one_is_taken(dimer):
    density = simulate(dimer, resolution=RESOLUTION, voxel=3.0)
    found = dock(dimer, density, RESOLUTION)
    assert rmsd(found.best.apply(dimer.coords), dimer.coords) < 1.0


def test_a_part_of_a_symmetric_whole_has_several_places(structure, dimer, rng):
    density = simulate(dimer, resolution=RESOLUTION, voxel=3.0)
    start = displaced(structure, rng)
    found = dock(start, density, RESOLUTION)
    best = found.solutions[0]
    assert len(best.places) == 1
    truth = dimer.ca_trace().coords
    half = len(truth) // 2
    ca = start.ca_trace().coords
    placed = [best.pose.apply(ca), best.places[0].apply(ca)]
    for target in (truth[:half], truth[half:]):
        assert min(rmsd(each, target) for each in placed) < 1.5
    assert any("the same density in 2 places" in text for text in docking_warnings(found, "map"))


@pytest.mark.slow
def test_a_model_that_fits_twice_is_ambiguous(structure, rng):
    """Two copies with no symmetry between them and unlike surroundings: the map holds two answers."""
    rotation = Rotation.random(random_state=rng).as_matrix()
    copy = structure.with_coords(structure.coords @ rotation.T + [70.0, 25.0, -10.0])
    density = simulate(together(structure, copy), resolution=RESOLUTION, voxel=3.0)
    noisy = density.with_values(density.values + 0.6 * density.values.std() * rng.normal(size=density.values.shape))
    start = displaced(structure, rng)
    found = dock(start, noisy, RESOLUTION)
    ca = start.ca_trace().coords
    first = found.solutions[0]
    answers = [structure.ca_trace().coords, copy.ca_trace().coords]
    if first.places:  # seen as the same density in two places
        poses = [first.pose, *first.places]
    else:
        poses = [each.pose for each in found.solutions[:2]]
        assert found.is_ambiguous
        second = f"solution 2 ({found.solutions[1].pose.score:.4f})"
        assert any("does not decide" in text and second in text for text in docking_warnings(found, "map"))
    for answer in answers:
        assert min(rmsd(each.apply(ca), answer) for each in poses) < 2.0


@pytest.mark.slow
def test_a_mask_and_a_fixed_model_say_where_not_to_look(structure, rng):
    other = structure.with_coords(structure.coords + [80.0, 0.0, 0.0])
    density = simulate(together(structure, other), resolution=RESOLUTION, voxel=3.0)
    start = displaced(structure, rng)
    found = dock(start, density, RESOLUTION, fixed=other)
    assert rmsd(found.best.apply(start.coords), structure.coords) < 1.0
    middle = structure.coords.mean(axis=0)[0] + 40.0
    x = density.origin[0] + density.voxel_size[0] * np.arange(density.values.shape[2])
    mask = density.with_values(np.broadcast_to(x > middle, density.values.shape).astype(np.float32))
    found = dock(start, density, RESOLUTION, mask=mask)
    assert rmsd(found.best.apply(start.coords), other.coords) < 1.0


def test_search_and_climb_have_one_definition(structure):
    """At a voxel of the search, on the climb's own grid, the two give nearly the same score."""
    ca = structure.ca_trace().coords
    pivot = ca.mean(axis=0)
    origin, shape, voxel = pivot - 40.0, (30, 30, 30), 3.0
    values = render(ca, np.ones(len(ca)), 3.0, shape, np.full(3, voxel), origin)
    search = CorrelationSearch(values, voxel, origin, ca - pivot, np.ones(len(ca)), 3.0, MASK_DENSITY)
    template = make_template(ca - pivot, np.ones(len(ca)), 3.0, 9.0, 0.5)
    correlation = LocalCorrelation(LevelMap(values, voxel, origin, 9.0), template)
    index = (14, 13, 12)
    centre = origin + voxel * np.array(index[::-1])
    assert search.scores(np.eye(3))[index] == pytest.approx(correlation.evaluate(np.eye(3), centre)[0], abs=0.03)


def test_a_level_is_the_map_at_its_places(density):
    level = make_level(density, RESOLUTION, RESOLUTION, 2.0)
    position = density.origin + density.voxel_size * 10
    index = np.rint((position - level.origin) / level.voxel_size).astype(int)
    nearest = level.origin + level.voxel_size * index
    assert level.values[tuple(index[::-1])] == pytest.approx(trilinear(density, nearest[None])[0], rel=0.2)
    trimmed = level.trimmed()
    assert trimmed.values.size < level.values.size
    np.testing.assert_array_equal(trimmed.values.max(), level.values.max())


def test_pose_rmsd_is_that_of_the_coordinates(structure, rng):
    ca = structure.ca_trace().coords
    pivot = ca.mean(axis=0)
    a, b = (Pose(Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3), pivot) for _ in range(2))
    moments = (ca - pivot).T @ (ca - pivot) / len(ca)
    assert pose_rmsd(a, b, moments) == pytest.approx(rmsd(a.apply(ca), b.apply(ca)))


@pytest.mark.parametrize("n_fold", [2, 3, 6])
def test_the_symmetry_of_a_ring_is_found(structure, n_fold, rng):
    axis_at = structure.coords.mean(axis=0) + [60.0, 0.0, 0.0]
    ring = together(*(turned_about_z(structure, 360.0 * k / n_fold, axis_at) for k in range(n_fold)))
    # Copies that were refined apart differ a little.
    ring = ring.with_coords(ring.coords + 0.3 * rng.normal(size=ring.coords.shape))
    ca = ring.ca_trace()
    pivot = ca.coords.mean(axis=0)
    symmetry = model_symmetry(ca, pivot)
    assert len(symmetry) == n_fold
    given = Pose(np.eye(3), pivot, pivot)
    moments = (ca.coords - pivot).T @ (ca.coords - pivot) / ca.n_atoms
    for other in equivalents(given, symmetry):
        assert symmetric_rmsd(other, given, moments, symmetry) < 1.0
        moved_ca = other.apply(ca.coords)
        # Each CA lies on one, of another chain perhaps.
        nearest = np.linalg.norm(moved_ca[:, None] - ca.coords[None], axis=2).min(axis=1)
        assert math.sqrt(np.mean(nearest**2)) < 1.0


def test_unlike_chains_are_no_symmetry(structure):
    other = two_domain_protein(80, 40.0)
    pair = together(structure, other.with_coords(other.coords + [70.0, 0.0, 0.0]))
    ca = pair.ca_trace()
    assert len(model_symmetry(ca, ca.coords.mean(axis=0))) == 1


def test_copies_that_are_shifted_are_no_symmetry(structure):
    """Three in a row: the middle one has neighbours on either side, the others on one."""
    row = together(*(structure.with_coords(structure.coords + [60.0 * k, 0.0, 0.0]) for k in range(3)))
    ca = row.ca_trace()
    assert len(model_symmetry(ca, ca.coords.mean(axis=0))) == 1


def test_a_model_larger_than_the_map_is_refused(structure):
    small = DensityMap(np.random.default_rng(1).random((8, 8, 8)), np.full(3, 3.0), np.zeros(3), name="small.mrc")
    with pytest.raises(InputError, match=r"the model is larger than the map.*small\.mrc.*--voxel"):
        dock(structure, small, RESOLUTION)


def test_a_map_without_density_is_refused(structure, density):
    flat = density.with_values(np.ones_like(density.values))
    with pytest.raises(InputError, match="no density to dock into"):
        dock(structure, flat, RESOLUTION)


def test_a_map_with_holes_is_refused(structure, density):
    values = density.values.copy()
    values[3, 4, 5] = np.nan
    with pytest.raises(InputError, match="not finite"):
        dock(structure, density.with_values(values), RESOLUTION)


def test_a_model_without_ca_is_refused(structure, density):
    with pytest.raises(InputError, match="no CA atom"):
        dock(structure.select(structure.atom_name == "O"), density, RESOLUTION)


def test_a_map_of_something_else_is_warned_of(structure, density, rng):
    noise = density.with_values(rng.normal(size=density.values.shape))
    found = dock(structure, replace(noise, name="noise.mrc"), RESOLUTION)
    warnings = docking_warnings(found, "noise.mrc")
    assert any("does not decide" in text for text in warnings)
