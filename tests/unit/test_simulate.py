"""Simulated maps lie where the model is, on the grid asked for, with the density of their kernel."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bayesflex.density_map import DensityMap
from bayesflex.errors import ConfigError, InputError
from bayesflex.io.maps import read_map
from bayesflex.io.structures import read_structure
from bayesflex.structure import Structure
from bayesflex.synthetic import two_domain_protein
from bayesflex.units import resolution_of_sigma, sigma_of_resolution
from bayesflex.workflows.simulate import simulate


@pytest.fixture(scope="module")
def protein() -> Structure:
    closed = two_domain_protein(60)
    return closed.with_coords(closed.coords + [40.0, -7.0, 120.0])


@pytest.mark.parametrize("kernel", ["scattering", "gaussian"])
def test_density_lies_on_the_model(protein, kernel):
    made = simulate(protein, resolution=5.0, kernel=kernel)
    z, y, x = np.meshgrid(*[np.arange(n) for n in made.values.shape], indexing="ij")
    place = made.to_position(np.stack([x, y, z], axis=-1).reshape(-1, 3))
    centre = np.average(place, axis=0, weights=made.values.ravel())
    np.testing.assert_allclose(centre, protein.coords.mean(axis=0), atol=0.5)
    index = np.rint(made.to_index(protein.ca_trace().coords)).astype(int)
    assert made.values[index[:, 2], index[:, 1], index[:, 0]].mean() > 5.0 * made.values.mean()


def test_the_default_box_leaves_room_and_its_origin_is_a_multiple_of_the_voxel(protein):
    made = simulate(protein, resolution=6.0)
    np.testing.assert_allclose(made.voxel_size, 2.0)
    assert len(set(made.values.shape)) == 1
    np.testing.assert_allclose(made.origin / made.voxel_size, np.rint(made.origin / made.voxel_size))
    low = protein.coords.min(axis=0) - made.origin
    high = made.to_position(np.array(made.shape_xyz) - 1.0) - protein.coords.max(axis=0)
    np.testing.assert_allclose(low, high, atol=2.01)
    room = 3.0 * sigma_of_resolution(6.0) + 10.0
    # The longest axis has no more room than it takes, but for rounding to a size quick to transform.
    assert room - 2.0 < min(low.min(), high.min()) < room + 10.0


@pytest.mark.parametrize(("resolution", "voxel"), [(5.0, 1.67), (1.0, 0.5), (30.0, 4.0)])
def test_the_default_voxel_is_a_third_of_the_resolution_within_bounds(resolution, voxel):
    made = simulate(two_domain_protein(52).ca_trace(), resolution=resolution, kernel="gaussian")
    np.testing.assert_allclose(made.voxel_size, voxel)


def test_the_gaussian_kernel_is_equation_3(protein):
    made = simulate(protein, resolution=resolution_of_sigma(2.0), voxel=1.5, kernel="gaussian")
    ca = protein.ca_trace().coords
    iz, iy, ix = np.unravel_index(made.values.argmax(), made.values.shape)
    square = np.sum((made.to_position(np.array([ix, iy, iz])) - ca) ** 2, axis=1)
    assert made.values.max() == pytest.approx(np.sum(np.exp(-square / 8.0)) * (8.0 * math.pi) ** -1.5, rel=2e-3)
    assert made.values.sum() * 1.5**3 == pytest.approx(60.0, rel=2e-3)


def test_all_atoms_weigh_their_atomic_number_times_occupancy(protein):
    half = replace(protein, occupancy=np.full(protein.n_atoms, 0.5))
    made = simulate(half, resolution=8.0, kernel="gaussian", atoms="all")
    numbers = {"C": 6, "N": 7, "O": 8}
    expected = 0.5 * sum(numbers[str(element)] for element in protein.element)
    assert made.values.sum() * np.prod(made.voxel_size) == pytest.approx(expected, rel=2e-3)


def test_a_box_is_used_as_given_and_one_too_small_says_what_it_takes(protein):
    assert simulate(protein, resolution=8.0, voxel=2.0, box=41).values.shape == (41, 41, 41)
    with pytest.raises(ConfigError, match=r"a box of 10 voxels.*needs") as caught:
        simulate(protein, resolution=8.0, voxel=2.0, box=10)
    needed = int(str(caught.value).split("needs ")[1].split()[0])
    assert simulate(protein, resolution=8.0, voxel=2.0, box=needed).values.shape == (needed,) * 3
    with pytest.raises(ConfigError):
        simulate(protein, resolution=8.0, voxel=2.0, box=needed - 1)


def test_the_grid_of_another_map_is_used(protein):
    low = protein.coords.min(axis=0) - 5.0
    grid = DensityMap(np.full((30, 25, 20), math.nan), np.array([2.0, 2.1, 2.2]), low, name="other.mrc")
    made = simulate(protein, resolution=8.0, grid_of=grid)
    assert made.values.shape == grid.values.shape
    assert np.all(np.isfinite(made.values))
    np.testing.assert_array_equal(made.origin, grid.origin)
    np.testing.assert_array_equal(made.voxel_size, grid.voxel_size)
    assert any("other.mrc" in note for note in made.notes)


def test_atoms_outside_another_map_s_grid_are_counted_and_none_inside_is_an_error(protein):
    grid = DensityMap(np.zeros((20, 20, 20)), np.full(3, 2.0), protein.coords.mean(axis=0), name="other.mrc")
    made = simulate(protein, resolution=8.0, grid_of=grid)
    assert any("atoms lie outside" in note for note in made.notes)
    with pytest.raises(InputError, match=r"none of its .* atoms lies in the grid of other\.mrc"):
        simulate(protein, resolution=8.0, grid_of=replace(grid, origin=np.full(3, 900.0)))


def test_noise_is_repeated_by_its_seed_and_has_the_level_asked_for(protein):
    settings = {"resolution": 6.0, "kernel": "gaussian"}
    clean = simulate(protein, **settings)
    first, second, other = (simulate(protein, **settings, noise=0.5, seed=seed).values for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.0
    assert (first - clean.values).std() == pytest.approx(0.5 * clean.values.std(), rel=0.1)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"resolution": 0.0}, "resolution"),
        ({"resolution": -4.0}, "resolution"),
        ({"resolution": math.nan}, "resolution"),
        ({"resolution": 2.0, "voxel": 2.5}, "finer than one voxel"),
        ({"resolution": 8.0, "voxel": 0.0}, "voxel"),
        ({"resolution": 8.0, "voxel": -1.0}, "voxel"),
        ({"resolution": 8.0, "voxel": math.inf}, "voxel"),
        ({"resolution": 8.0, "box": 0}, "box"),
        ({"resolution": 8.0, "noise": -0.5}, "noise"),
        ({"resolution": 8.0, "noise": math.nan}, "noise"),
        ({"resolution": 8.0, "noise_spectrum": "pink"}, "pink"),
        ({"resolution": 8.0, "noise": 1.0, "noise_spectrum": "correlated"}, "correlation"),
        ({"resolution": 8.0, "kernel": "square"}, "square"),
        ({"resolution": 8.0, "kernel": "gaussian", "atoms": "some"}, "some"),
    ],
)
def test_settings_that_make_no_sense(protein, settings, named):
    with pytest.raises(ConfigError, match=named):
        simulate(protein, **settings)


def test_a_grid_and_a_voxel_or_box_exclude_each_other(protein):
    grid = simulate(protein, resolution=8.0, kernel="gaussian")
    for setting in ({"voxel": 2.0}, {"box": 50}):
        with pytest.raises(ConfigError, match="leave them out"):
            simulate(protein, resolution=8.0, grid_of=grid, **setting)


def test_models_that_cannot_be_simulated(protein):
    nothing = protein.select(np.zeros(protein.n_atoms, dtype=bool))
    with pytest.raises(InputError, match="no atoms"):
        simulate(nothing, resolution=8.0)
    with pytest.raises(InputError, match="no CA atom"):
        simulate(protein.select(protein.atom_name == "N"), resolution=8.0, kernel="gaussian")
    with pytest.raises(InputError, match="not finite"):
        simulate(protein.with_coords(np.where(protein.coords > 50.0, math.nan, protein.coords)), resolution=8.0)
    unknown = replace(protein, element=np.where(protein.element == "O", "X", protein.element))
    with pytest.raises(InputError, match="element 'X'"):
        simulate(unknown, resolution=8.0)


def test_a_map_of_the_reference_data_is_reproduced(data_dir):
    """The file holds Σ exp(-r²/(2·2²)) over CA atoms, each cut at a cube of 4 voxels (6 Å)."""
    target = read_map(data_dir / "adk_modes" / "target.mrc")
    model = read_structure(data_dir / "adk_modes" / "target_ca.pdb")
    made = simulate(model, resolution=resolution_of_sigma(2.0), kernel="gaussian", grid_of=target)
    scaled = made.values * (8.0 * math.pi) ** 1.5
    # What lies between the cut at 3 sigma of the file and that at 4 sigma of the program.
    assert np.abs(scaled - target.values).max() < 0.05
    assert np.corrcoef(scaled.ravel(), target.values.ravel())[0, 1] > 0.9999


def test_scattering_and_atomic_numbers_agree_on_a_real_protein(data_dir):
    model = read_structure(data_dir / "adk" / "4ake_A.pdb")
    scattering = simulate(model, resolution=8.0)
    gaussian = simulate(model, resolution=8.0, kernel="gaussian", atoms="all", grid_of=scattering)
    assert np.corrcoef(scattering.values.ravel(), gaussian.values.ravel())[0, 1] > 0.99
