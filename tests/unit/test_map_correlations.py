"""Correlations of map and model map over the voxels that Phenix takes, the region of the molecule, and the shells."""

from __future__ import annotations

import math
from dataclasses import replace

import numba
import numpy as np
import pytest

from bayesflex.density_map import DensityMap
from bayesflex.diagnostics import fourier_shell_correlation
from bayesflex.map_preparation import trilinear
from bayesflex.synthetic import two_domain_protein
from bayesflex.validation.map_correlation import highest, map_correlations
from bayesflex.validation.model_map import (
    around_model,
    is_bare_trace,
    model_map,
    molecular_region,
    part_of,
    soft_mask,
)
from bayesflex.validation.shells import half_map_resolution, resolution_at, shell_curves
from bayesflex.workflows.simulate import simulate


@pytest.fixture(scope="module")
def protein():
    return two_domain_protein(60)


def carbonyl(protein):
    """A carbon that is no CA, at the origin."""
    return protein.select(np.flatnonzero(protein.atom_name == "C")[:1]).with_coords(np.zeros((1, 3)))


def empty(size: int = 48, voxel: float = 0.25) -> DensityMap:
    half = 0.5 * voxel * (size - 1)
    return DensityMap(np.zeros((size, size, size), np.float32), np.full(3, voxel), np.full(3, -half))


def test_the_sets_of_voxels(rng):
    values, model = rng.normal(size=(2, 6, 7, 8))
    inside = rng.random((6, 7, 8)) < 0.2
    n = int(inside.sum())
    # As Phenix counts: at least as high as the value with n before it.
    of_map, of_model = (v >= np.sort(v, axis=None)[::-1][n] for v in (values, model))
    found = map_correlations(values, model, inside)

    def over(voxels):
        return pytest.approx(np.corrcoef(values[voxels], model[voxels])[0, 1], abs=1e-12)

    assert found.cc_mask == over(inside)
    assert found.cc_box == over(np.ones_like(inside))
    assert found.cc_volume == over(of_model)
    assert found.cc_peaks == over(of_map | of_model)


def test_density_without_a_model_lowers_cc_peaks_alone():
    """A map of two equal blobs of which the model explains one: values in closed form."""
    model, values = np.zeros((2, 4, 4, 8))
    model[1:3, 1:3, 1:3] = values[1:3, 1:3, 1:3] = 2.0
    model[1, 1, 1] = values[1, 1, 1] = 3.0
    values[1:3, 1:3, 5:7] = 2.5
    # No two voxels of the background are alike, as in a map.
    model += 1e-6 * np.arange(model.size).reshape(model.shape)
    values += 1e-6 * np.arange(model.size)[::-1].reshape(model.shape)
    inside = np.zeros(model.shape, dtype=bool)
    inside[1:3, 1:3, 1:3] = True
    found = map_correlations(values, model, inside)
    assert found.cc_mask == pytest.approx(1.0, abs=1e-6)
    assert found.cc_peaks < 0.0
    assert 0.0 < found.cc_box < 1.0


def test_more_voxels_asked_for_than_there_are():
    values = np.arange(8.0).reshape(2, 2, 2)
    assert highest(values, 8).all()
    assert highest(values, 3).sum() == 4


def test_a_map_that_is_the_model_map_correlates_fully(protein):
    density = simulate(protein, resolution=6.0)
    model = model_map(protein, density, 6.0)
    found = map_correlations(density.values, model.values, molecular_region(model, density, 6.0))
    for value in vars(found).values():
        assert value == pytest.approx(1.0, abs=1e-6)


def test_the_region_of_an_atom_is_its_sphere(protein):
    # Radius of carbon 1.775 Å (cctbx), probe 1.1 Å, shrunk by 0.9 Å (gemmi's settings for cctbx' masks).
    density = empty()
    model = model_map(carbonyl(protein), density, 3.0)
    volume = molecular_region(model, density, 3.0).sum() * 0.25**3
    assert volume == pytest.approx(4.0 / 3.0 * math.pi * (1.775 + 1.1 - 0.9) ** 3, rel=0.15)


def test_the_region_is_where_the_atoms_are(protein):
    density = simulate(protein, resolution=5.0, voxel=1.4)
    model = model_map(protein, density, 5.0)
    region = density.with_values(molecular_region(model, density, 5.0).astype(np.float64))
    assert trilinear(region, protein.coords).min() > 0.2
    # Atoms that leave through one face do not come in by the other.
    shifted = protein.with_coords(protein.coords + [0.0, 0.0, 0.6 * density.box_size[2]])
    moved = molecular_region(model_map(shifted, density, 5.0), density, 5.0)
    assert not moved[: moved.shape[0] // 4].any()


def test_a_ca_trace_is_drawn_as_beads(protein):
    trace = protein.ca_trace()
    assert is_bare_trace(trace)
    assert not is_bare_trace(protein)
    density = simulate(protein, resolution=8.0)
    model = model_map(trace, density, 8.0)
    assert not model.all_atoms
    assert "CA trace" in model.notes[0]
    region = molecular_region(model, density, 8.0)
    assert 0 < region.sum() < region.size


def test_atoms_without_scattering_factors_are_left_out(protein):
    element = protein.element.astype("<U2")
    element[3] = "XX"
    density = simulate(protein, resolution=8.0)
    model = model_map(replace(protein, element=element), density, 8.0)
    assert model.drawn.n_atoms == protein.n_atoms - 1
    assert 3 not in model.atoms
    assert "1 atoms" in model.notes[0]


def test_the_part_around_a_model_is_in_its_place(protein):
    density = simulate(protein, resolution=6.0)
    density = replace(density, values=density.values.astype(np.float32))
    part = part_of(density, around_model(density, protein.coords, 3.0))
    assert part.values.size < density.values.size
    np.testing.assert_allclose(trilinear(part, protein.coords), trilinear(density, protein.coords), atol=1e-9)
    far = around_model(density, protein.coords + 1e4, 3.0)
    assert density.values[far].size > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_part_is_of_one_kind_for_any_map(dtype, order, rng):
    """Kernels are compiled once for each kind of array."""
    values = rng.normal(size=(4, 5, 6)).astype(dtype, order=order)
    values.setflags(write=False)
    density = DensityMap(values, np.ones(3), np.zeros(3))
    for part in ((slice(0, 4), slice(0, 5), slice(0, 6)), (slice(1, 3), slice(0, 5), slice(2, 6))):
        found = part_of(density, part).values
        np.testing.assert_array_equal(found, values[part].astype(np.float32))
        assert numba.typeof(found) == numba.types.Array(numba.float32, 3, "C")


def test_shells_as_a_second_implementation(rng):
    a, b = rng.normal(size=(2, 20, 18, 24))
    voxel = np.array([1.1, 1.3, 1.2])
    curves = shell_curves(a, b, np.ones(a.shape), voxel)
    frequency, expected = fourier_shell_correlation(a, b, voxel)
    np.testing.assert_allclose(curves.frequency, frequency)
    np.testing.assert_allclose(curves.unmasked, expected, atol=1e-12)
    # Within a mask of ones nothing but the mean changes, which is in no shell.
    np.testing.assert_allclose(curves.masked, expected, atol=1e-12)
    assert half_map_resolution(a, a + 0.1 * b, voxel) == pytest.approx(1.0 / frequency[-1])


def test_waves_out_of_phase_correlate_as_their_cosine():
    x = np.arange(32) / 32.0
    a = np.broadcast_to(np.cos(2 * np.pi * 4 * x), (32, 32, 32))
    b = np.broadcast_to(np.cos(2 * np.pi * 4 * x + 1.1), (32, 32, 32))
    curves = shell_curves(a, b, np.ones(a.shape), np.ones(3))
    assert curves.unmasked[3] == pytest.approx(math.cos(1.1))
    assert curves.frequency[3] == pytest.approx(4 / 32)


def test_the_resolution_is_read_off_between_shells():
    frequency = np.array([0.1, 0.2, 0.3, 0.4])
    assert resolution_at(frequency, np.array([1.0, 0.9, 0.1, 0.6]), 0.5) == pytest.approx(1 / 0.25)
    assert resolution_at(frequency, np.array([1.0, 0.9, 0.8, 0.7]), 0.5) == pytest.approx(1 / 0.4)
    assert resolution_at(frequency, np.array([0.4, 0.9, 0.8, 0.7]), 0.5) is None
    assert resolution_at(frequency, np.array([1.0, 0.9, np.nan, 0.7]), 0.5) == pytest.approx(1 / 0.2)


def test_the_soft_mask_is_one_at_the_model_and_zero_far_off(protein):
    density = simulate(protein, resolution=6.0)
    weights = soft_mask(model_map(protein, density, 6.0), density, 6.0)
    assert trilinear(density.with_values(weights), protein.coords).min() == pytest.approx(1.0)
    assert weights[0, 0, 0] == 0.0
    assert np.any((weights > 0.1) & (weights < 0.9))
