"""The contour of every view: halfway from the background to the map at the model."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.contour import contour_level
from bayesflex.density_map import DensityMap

VOXEL, ORIGIN = 2.0, np.array([-10.0, 4.0, 30.0])
PLACES = np.array([[6.0, 20.0, 44.0], [12.0, 26.0, 50.0], [16.0, 22.0, 48.0]])


def blobs(background: float = 0.0, height: float = 1.0) -> DensityMap:
    """Gaussians of 4 Å at three voxels, on a background."""
    axes = [ORIGIN[k] + VOXEL * np.arange(20) for k in range(3)]
    values = np.zeros((20, 20, 20))
    for place in PLACES:
        x, y, z = (np.exp(-((axis - c) ** 2) / 32.0) for axis, c in zip(axes, place, strict=True))
        values += z[:, None, None] * y[None, :, None] * x[None, None, :]
    return DensityMap((background + height * values).astype(np.float32), np.full(3, VOXEL), ORIGIN)


@pytest.mark.parametrize(("background", "height"), [(0.0, 1.0), (-3.0, 0.5), (40.0, 1e-2)])
def test_it_is_halfway_from_the_background_to_the_map_at_the_model(background, height):
    density = blobs(background, height)
    index = np.rint((PLACES - ORIGIN) / VOXEL).astype(int)
    there = float(np.median([density.values[z, y, x] for x, y, z in index]))
    assert contour_level(density, PLACES) == pytest.approx(background + 0.5 * (there - background), rel=1e-4)


def test_what_lies_outside_the_box_does_not_count():
    density = blobs()
    assert contour_level(density, np.concatenate([PLACES, PLACES + 1e4])) == contour_level(density, PLACES)


@pytest.mark.parametrize("coords", [None, PLACES + 1e4, np.zeros((0, 3))])
def test_without_a_model_in_the_map_it_is_two_standard_deviations(coords):
    density = blobs()
    assert contour_level(density, coords) == pytest.approx(2.0 * float(density.values.std(dtype=np.float64)), abs=1e-3)


def test_a_model_that_was_written_and_read_has_the_same_contour(rng):
    exact = PLACES + rng.uniform(-0.4, 0.4, PLACES.shape)
    assert contour_level(blobs(), exact) == contour_level(blobs(), np.round(exact, 3))


def test_a_flat_map_has_a_finite_one():
    flat = DensityMap(np.zeros((5, 5, 5), dtype=np.float32), np.ones(3), np.zeros(3))
    assert np.isfinite(contour_level(flat, None))
