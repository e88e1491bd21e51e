"""Scattering maps agree with a plain sum of Gaussians, wherever the grid is."""

from __future__ import annotations

import math
from dataclasses import replace

import gemmi
import numpy as np
import pytest

from bayesflex.density_map import DensityMap
from bayesflex.errors import ConfigError, InputError
from bayesflex.io.structures import read_structure
from bayesflex.scattering import check_elements, scattering_map
from bayesflex.structure import Structure

#: Carbon of Peng et al. (1996), Table 1: a in Å, b in Å².
CARBON_A = (0.0893, 0.2563, 0.7570, 1.0487, 0.3575)
CARBON_B = (0.2465, 1.7100, 6.4094, 18.6113, 50.2523)


def atoms_of(coords, elements, occupancy=1.0, b_factor=0.0) -> Structure:
    n = len(coords)
    return Structure(
        coords=np.asarray(coords, dtype=np.float64),
        element=np.array(elements),
        atom_name=np.array(elements),
        residue_name=np.full(n, "UNK"),
        residue_number=np.arange(1, n + 1),
        insertion_code=np.full(n, ""),
        chain=np.full(n, "A"),
        occupancy=np.broadcast_to(np.asarray(occupancy, dtype=np.float64), (n,)).copy(),
        b_factor=np.broadcast_to(np.asarray(b_factor, dtype=np.float64), (n,)).copy(),
        is_hetero=np.zeros(n, dtype=bool),
        name="atoms",
    )


def empty_grid(shape_zyx, voxel_size, origin) -> DensityMap:
    return DensityMap(np.zeros(shape_zyx), np.array(voxel_size, dtype=np.float64), np.array(origin, dtype=np.float64))


def plain_sum(structure, grid, resolution, b_factors) -> np.ndarray:
    """Every voxel, every atom, every Gaussian."""
    variance = (resolution / (math.pi * math.sqrt(2.0))) ** 2
    nz, ny, nx = grid.values.shape
    z, y, x = np.meshgrid(np.arange(nz), np.arange(ny), np.arange(nx), indexing="ij")
    place = np.stack([x, y, z], axis=-1) * grid.voxel_size + grid.origin
    values = np.zeros(grid.values.shape)
    for position, element, occupancy, b_factor in zip(
        structure.coords, structure.element, structure.occupancy, b_factors, strict=True
    ):
        square = np.sum((place - position) ** 2, axis=-1)
        coefficients = gemmi.Element(str(element)).c4322
        for a, b in zip(coefficients.a, coefficients.b, strict=True):
            s2 = (b + b_factor) / (8.0 * math.pi**2) + variance
            values += occupancy * a * (2.0 * math.pi * s2) ** -1.5 * np.exp(-0.5 * square / s2)
    return values


@pytest.fixture
def cluster(rng) -> Structure:
    elements = ["C", "N", "O", "S", "P", "ZN", "H", "C", "O", "N"]
    return atoms_of(rng.normal(scale=4.0, size=(10, 3)) + [30.0, -20.0, 7.0], elements, rng.uniform(0.3, 1.0, 10), 25.0)


# The last two are blurred by Fourier transform after drawing, the first ones are drawn alone.
@pytest.mark.parametrize(("resolution", "voxel"), [(3.0, 1.0), (5.0, 1.5), (10.0, 1.0), (16.0, 1.5)])
@pytest.mark.parametrize("use_b_factors", [False, True])
def test_a_map_is_the_plain_sum_of_gaussians(cluster, resolution, voxel, use_b_factors):
    grid = empty_grid((22, 26, 30), (voxel, 1.1 * voxel, 0.9 * voxel), (17.0, -33.0, -4.0))
    made = scattering_map(cluster, grid, resolution, use_b_factors=use_b_factors)
    expected = plain_sum(cluster, grid, resolution, cluster.b_factor if use_b_factors else np.zeros(10))
    np.testing.assert_allclose(made.values, expected, atol=5e-4 * expected.max())
    np.testing.assert_array_equal(made.origin, grid.origin)
    np.testing.assert_array_equal(made.voxel_size, grid.voxel_size)


def test_the_coefficients_are_those_of_peng():
    carbon = gemmi.Element("C").c4322
    np.testing.assert_allclose(carbon.a, CARBON_A)
    np.testing.assert_allclose(carbon.b, CARBON_B)


def test_an_atom_peaks_where_it_is():
    grid = empty_grid((20, 24, 28), (1.0, 1.0, 1.0), (-5.0, 3.0, 10.0))
    made = scattering_map(atoms_of([[7.0, 11.0, 19.0]], ["C"]), grid, 4.0)
    iz, iy, ix = np.unravel_index(made.values.argmax(), made.values.shape)
    np.testing.assert_array_equal(made.to_position(np.array([[ix, iy, iz]])), [[7.0, 11.0, 19.0]])


@pytest.mark.parametrize("resolution", [4.0, 14.0])
def test_the_integral_is_that_of_the_scattering_factors_at_zero_angle(resolution):
    grid = empty_grid((40, 40, 40), (1.5, 1.5, 1.5), (-30.0, -30.0, -30.0))
    made = scattering_map(atoms_of([[0.3, -0.2, 0.1], [2.0, 1.0, 0.0]], ["C", "C"], [1.0, 0.5]), grid, resolution)
    assert made.values.sum() * 1.5**3 == pytest.approx(1.5 * sum(CARBON_A), rel=1e-3)


@pytest.mark.parametrize("resolution", [4.0, 14.0])
def test_atoms_at_and_beyond_the_edge_are_not_wrapped_around(resolution):
    grid = empty_grid((16, 16, 16), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    model = atoms_of([[0.0, 8.0, 8.0], [-2.5, 3.0, 20.0], [15.0, 15.0, 15.0], [200.0, 0.0, 0.0]], ["C", "N", "O", "S"])
    made = scattering_map(model, grid, resolution)
    expected = plain_sum(model, grid, resolution, np.zeros(4))
    np.testing.assert_allclose(made.values, expected, atol=5e-4 * expected.max())


@pytest.mark.parametrize("element", ["X", "", "QQ", "ES"])
def test_elements_without_scattering_factors_are_named(element):
    model = atoms_of([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], ["C", element])
    with pytest.raises(InputError, match=f"element '{element}' of 1 atom.* UNK 2 in chain 'A'"):
        check_elements(model)
    with pytest.raises(InputError, match="element column"):
        scattering_map(model, empty_grid((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), 5.0)


@pytest.mark.parametrize("resolution", [0.0, -3.0, math.nan, math.inf])
def test_a_resolution_must_be_positive(cluster, resolution):
    with pytest.raises(ConfigError, match="resolution"):
        scattering_map(cluster, empty_grid((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), resolution)


@pytest.mark.parametrize(("column", "value"), [("coords", math.nan), ("occupancy", math.inf), ("b_factor", -1.0)])
def test_values_that_cannot_be_drawn(cluster, column, value):
    broken = getattr(cluster, column).copy()
    broken[3] = value
    grid = empty_grid((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    with pytest.raises(InputError, match=r"finite|negative"):
        scattering_map(replace(cluster, **{column: broken}), grid, 5.0, use_b_factors=True)


def test_a_model_that_is_not_in_the_box_leaves_it_empty():
    made = scattering_map(atoms_of([[500.0, 0.0, 0.0]], ["C"]), empty_grid((6, 6, 6), (1.0,) * 3, (0.0,) * 3), 5.0)
    assert not made.values.any()


def test_a_real_map_correlates_with_all_atoms_of_its_model(data_dir):
    """The 10 Å map of GroEL was made from 1SX4 by another program."""
    from bayesflex.io.maps import read_map

    target = read_map(data_dir / "groel" / "1sx4A.ccp4")
    made = scattering_map(read_structure(data_dir / "groel" / "1sx4A.pdb"), target, 10.0)
    assert np.corrcoef(made.values.ravel(), target.values.ravel())[0, 1] > 0.97
