"""Values and gradients of a field that is given by the coefficients of a cubic B-spline."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def spline_values(coefficients, index, voxel):  # type: ignore[no-untyped-def]
    """Return values and gradients of a cubic B-spline at fractional indices (x, y, z), zero off the grid."""
    nz, ny, nx = coefficients.shape
    n = index.shape[0]
    values, gradients = np.zeros(n), np.zeros((n, 3))
    w, d = np.empty((3, 4)), np.empty((3, 4))
    for m in range(n):
        x, y, z = index[m, 0], index[m, 1], index[m, 2]
        if not (x >= 1.0 and y >= 1.0 and z >= 1.0 and x < nx - 2 and y < ny - 2 and z < nz - 2):
            continue
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
            for b in range(4):
                for a in range(4):
                    f = coefficients[iz - 1 + c, iy - 1 + b, ix - 1 + a]
                    values[m] += w[0, a] * w[1, b] * w[2, c] * f
                    gradients[m, 0] += d[0, a] * w[1, b] * w[2, c] * f / voxel[0]
                    gradients[m, 1] += w[0, a] * d[1, b] * w[2, c] * f / voxel[1]
                    gradients[m, 2] += w[0, a] * w[1, b] * d[2, c] * f / voxel[2]
    return values, gradients
