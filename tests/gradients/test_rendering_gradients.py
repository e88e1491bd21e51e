"""The backward pass of rendering against directional differences of functions of the density."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.rendering import render, render_gradient
from gradients.directional import check_gradient

SHAPE = (22, 24, 26)  # (nz, ny, nx)
VOXEL = np.array([1.0, 1.2, 1.4])  # (x, y, z)
ORIGIN = np.array([5.0, -7.0, 1.0])
MIDDLE = ORIGIN + VOXEL * (np.array(SHAPE[::-1]) - 1) / 2.0

#: So wide that voxels entering and leaving it (e^-32 of a peak) do not show in differences.
WINDOW = 8.0


@pytest.mark.parametrize("spread", [3.0, 12.0])  # inside the grid, and partly outside
@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_gradient_of_a_linear_function_of_the_density(spread, sigma, rng):
    coords = MIDDLE + rng.normal(scale=spread, size=(8, 3))
    weights = rng.uniform(0.5, 8.0, size=8)
    field = rng.normal(size=SHAPE)
    gradient = render_gradient(field, coords, weights, sigma, VOXEL, ORIGIN, WINDOW)
    check_gradient(
        lambda r: float(np.sum(field * render(r, weights, sigma, SHAPE, VOXEL, ORIGIN, WINDOW))), coords, gradient, rng
    )


def test_gradient_of_a_curved_function_of_the_density(rng):
    coords, weights = MIDDLE + rng.normal(scale=3.0, size=(8, 3)), np.ones(8)
    target = rng.normal(size=SHAPE)

    def squared_residual(r):
        return float(np.sum((render(r, weights, 1.5, SHAPE, VOXEL, ORIGIN, WINDOW) - target) ** 2))

    residual = render(coords, weights, 1.5, SHAPE, VOXEL, ORIGIN, WINDOW) - target
    gradient = render_gradient(2.0 * residual, coords, weights, 1.5, VOXEL, ORIGIN, WINDOW)
    check_gradient(squared_residual, coords, gradient, rng)


def test_a_bead_far_from_the_grid_has_no_gradient():
    coords = np.array([[1e4, 0.0, 0.0], [0.0, -1e8, 0.0]])
    gradient = render_gradient(np.ones(SHAPE), coords, np.ones(2), 1.5, VOXEL, ORIGIN)
    np.testing.assert_array_equal(gradient, 0.0)
