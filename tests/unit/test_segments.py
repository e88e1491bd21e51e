"""SMOC and the correlation at residues, against sums over sets of voxels made one by one."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.density_map import DensityMap
from bayesflex.validation.segments import WINDOW, atom_radius, segment_correlations, smoc

RESOLUTION = 5.0


@pytest.fixture
def case(rng):
    """Ten residues of one to three atoms in two stretches, and two maps that hold nothing in common."""
    residue = np.repeat(np.arange(10), rng.integers(1, 4, size=10))
    coords = rng.uniform(0.0, 22.0, size=(len(residue), 3))
    stretch = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    a, b = (rng.normal(mean, 1.0, size=(17, 14, 15)).astype(np.float32) for mean in (2.0, 1.0))
    return DensityMap(a, np.array([1.7, 1.9, 1.5]), np.array([-2.0, 0.0, 1.0])), b, coords, residue, stretch


def near(density: DensityMap, coords) -> np.ndarray:
    nz, ny, nx = density.values.shape
    k, j, i = np.meshgrid(np.arange(nz), np.arange(ny), np.arange(nx), indexing="ij")
    position = np.stack([i, j, k], axis=-1) * density.voxel_size + density.origin
    found = np.zeros(density.values.shape, dtype=bool)
    for atom in coords:
        found |= np.sum((position - atom) ** 2, axis=-1) <= atom_radius(RESOLUTION) ** 2
    return found


def test_the_radius_is_that_of_tempy():
    assert atom_radius(10.0) == pytest.approx(2.5 * 0.225 * 10.0)
    assert atom_radius(2.0) == 2.5


@pytest.mark.parametrize("window", [1, 3, 5, WINDOW])
def test_smoc_as_sums_over_windows(case, window):
    density, model, coords, residue, stretch = case
    found = smoc(density, model, coords, residue, stretch, RESOLUTION, window)
    half = window // 2
    for k in range(10):
        members = [m for m in range(max(0, k - half), min(10, k + half + 1)) if stretch[m] == stretch[k]]
        voxels = near(density, coords[np.isin(residue, members)])
        a, b = density.values[voxels].astype(float), model[voxels].astype(float)
        assert found[k] == pytest.approx(np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b)), abs=1e-9)


def test_correlation_as_over_each_residue(case):
    density, model, coords, residue, _ = case
    found = segment_correlations(density, model, coords, residue, 10, RESOLUTION)
    for k in range(10):
        voxels = near(density, coords[residue == k])
        assert found[k] == pytest.approx(
            np.corrcoef(density.values[voxels].astype(float), model[voxels])[0, 1], abs=1e-9
        )


def test_a_model_map_that_is_the_map_scores_one_whatever_its_scale(case):
    density, _, coords, residue, stretch = case
    np.testing.assert_allclose(
        smoc(density, 3.0 * density.values, coords, residue, stretch, RESOLUTION), 1.0, atol=1e-6
    )
    scaled = 3.0 * density.values - 8.0
    np.testing.assert_allclose(segment_correlations(density, scaled, coords, residue, 10, RESOLUTION), 1.0, atol=1e-6)
    # Manders' coefficient keeps the means: an offset is seen.
    assert np.all(smoc(density, density.values - 8.0, coords, residue, stretch, RESOLUTION) < 0.0)


def test_residues_outside_the_box_and_constant_maps_have_no_score(case):
    density, model, coords, residue, stretch = case
    assert np.isnan(smoc(density, model, coords + 500.0, residue, stretch, RESOLUTION)).all()
    assert np.isnan(segment_correlations(density, model, coords + 500.0, residue, 10, RESOLUTION)).all()
    assert np.isnan(segment_correlations(density, np.ones_like(model), coords, residue, 10, RESOLUTION)).all()


def test_a_residue_without_atoms_has_no_correlation(case):
    density, model, coords, residue, _ = case
    kept = residue != 4
    found = segment_correlations(density, model, coords[kept], residue[kept], 10, RESOLUTION)
    assert np.flatnonzero(np.isnan(found)).tolist() == [4]


def test_what_a_sliding_window_leaves_behind_is_no_score(case):
    """Residues that walk out of the box, and into empty density: roundings remain of the sums, and may be negative."""
    density, model, coords, residue, stretch = case
    one = np.zeros_like(stretch)
    outside = coords.copy()
    outside[residue >= 5] += 500.0
    found = smoc(density, model, outside, residue, one, RESOLUTION, window=3)
    assert np.flatnonzero(np.isnan(found)).tolist() == [6, 7, 8, 9]
    voxels = near(density, coords[residue >= 4])
    empty = np.where(voxels, np.float32(0.0), model)
    found = smoc(density, empty, coords, residue, one, RESOLUTION, window=3)
    assert np.flatnonzero(np.isnan(found)).tolist() == [5, 6, 7, 8, 9]
