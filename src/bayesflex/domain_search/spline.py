"""Values and gradients of a field that is given by the coefficients of a cubic B-spline."""

from __future__ import annotations

import numpy as np
from numba import njit

from bayesflex.compiling import ALLOCATING, PART


@njit(**PART)
def spline_at(coefficients, x, y, z, w, d):  # type: ignore[no-untyped-def]
    """Return the value and its derivatives by the fractional indices (x, y, z); zeros off the grid.

    ``w`` and ``d`` (3, 4) are workspaces.
    """
    nz, ny, nx = coefficients.shape
    value = along_x = along_y = along_z = 0.0
    # Written so that NaN fails the test and never becomes an index.
    if x >= 1.0 and y >= 1.0 and z >= 1.0 and x < nx - 2 and y < ny - 2 and z < nz - 2:
        ix, iy, iz = int(x), int(y), int(z)
        for axis in range(3):
            t = (x - ix, y - iy, z - iz)[axis]
            s = 1.0 - t
            w[axis, 0], w[axis, 3] = s * s * s / 6.0, t * t * t / 6.0
            w[axis, 1] = 2.0 / 3.0 - 0.5 * t * t * (2.0 - t)
            w[axis, 2] = 2.0 / 3.0 - 0.5 * s * s * (2.0 - s)
            d[axis, 0], d[axis, 3] = -0.5 * s * s, 0.5 * t * t
            d[axis, 1], d[axis, 2] = t * (1.5 * t - 2.0), -s * (1.5 * s - 2.0)
        for c in range(4):
            plane = plane_x = plane_y = 0.0
            for b in range(4):
                row = row_x = 0.0
                for a in range(4):
                    f = coefficients[iz - 1 + c, iy - 1 + b, ix - 1 + a]
                    row += w[0, a] * f
                    row_x += d[0, a] * f
                plane += w[1, b] * row
                plane_x += w[1, b] * row_x
                plane_y += d[1, b] * row
            value += w[2, c] * plane
            along_x += w[2, c] * plane_x
            along_y += w[2, c] * plane_y
            along_z += d[2, c] * plane
    return value, along_x, along_y, along_z


@njit(**ALLOCATING)
def spline_values(coefficients, index, voxel):  # type: ignore[no-untyped-def]
    """Return values and gradients of a cubic B-spline at fractional indices (x, y, z), zero off the grid."""
    n = index.shape[0]
    values, gradients = np.empty(n), np.empty((n, 3))
    w, d = np.empty((3, 4)), np.empty((3, 4))
    for m in range(n):
        values[m], x, y, z = spline_at(coefficients, index[m, 0], index[m, 1], index[m, 2], w, d)
        gradients[m, 0], gradients[m, 1], gradients[m, 2] = x / voxel[0], y / voxel[1], z / voxel[2]
    return values, gradients
