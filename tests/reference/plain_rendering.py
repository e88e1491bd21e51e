"""The plain twin of ``bayesflex.rendering``: one bead at a time, NumPy outer products of separable windows.

The same sums with the same cut, written to be read. Tests compare with it, and the benchmark measures against it.
"""

from __future__ import annotations

import numpy as np


def windows(coord, sigma, cut, voxel_size, origin, shape_xyz):
    """For each axis the voxels within the cut: slice, Gaussian factors and offsets x_v - r (Å)."""
    for r, voxel, start, n in zip(coord, voxel_size, origin, shape_xyz, strict=True):
        low = max(int(np.ceil((r - cut - start) / voxel)), 0)
        high = max(min(int(np.floor((r + cut - start) / voxel)), n - 1) + 1, low)
        offsets = np.arange(low, high) * voxel + start - r
        yield slice(low, high), np.exp(-0.5 * (offsets / sigma) ** 2), offsets


def render(coords, weights, sigma, shape, voxel_size, origin, window=4.0):
    """Density of Gaussian beads, shape (nz, ny, nx); coords (n, 3), voxel_size and origin (x, y, z), Å."""
    density = np.zeros(shape)
    norm = (2.0 * np.pi * sigma**2) ** -1.5
    for coord, weight in zip(coords, weights, strict=True):
        (x, fx, _), (y, fy, _), (z, fz, _) = windows(coord, sigma, window * sigma, voxel_size, origin, shape[::-1])
        density[z, y, x] += weight * norm * fz[:, None, None] * fy[None, :, None] * fx[None, None, :]
    return density


def render_gradient(field, coords, weights, sigma, voxel_size, origin, window=4.0):
    """Gradient of sum_v field(v) rho(v) with respect to the positions, shape (n, 3)."""
    gradient = np.zeros_like(coords)
    norm = (2.0 * np.pi * sigma**2) ** -1.5
    shape_xyz = field.shape[::-1]
    for n, (coord, weight) in enumerate(zip(coords, weights, strict=True)):
        (x, fx, dx), (y, fy, dy), (z, fz, dz) = windows(coord, sigma, window * sigma, voxel_size, origin, shape_xyz)
        part = weight * norm / sigma**2 * field[z, y, x] * fz[:, None, None] * fy[None, :, None] * fx[None, None, :]
        gradient[n, 0] = np.sum(part * dx[None, None, :])
        gradient[n, 1] = np.sum(part * dy[None, :, None])
        gradient[n, 2] = np.sum(part * dz[:, None, None])
    return gradient


def correlation_and_gradient(values, coords, weights, sigma, voxel_size, origin):
    """Centred correlation of a map with the rendered density over the whole grid, and its gradient, (n, 3)."""
    target = values - values.mean()
    rho = render(coords, weights, sigma, values.shape, voxel_size, origin)
    rho -= rho.mean()
    norm, target_norm = np.sqrt(np.sum(rho**2)), np.sqrt(np.sum(target**2))
    correlation = np.sum(target * rho) / (norm * target_norm)
    field = target / (norm * target_norm) - correlation * rho / norm**2
    return correlation, render_gradient(field, coords, weights, sigma, voxel_size, origin)
