"""Density of a set of Gaussian beads on a grid, and the gradient of any function of it.

This is the direct evaluation of eq. 3 of Vuillemot and Jonic, voxel by voxel. It
serves output maps, metrics and as the reference for the evaluation without a grid
(``overlap``); it knows nothing of likelihoods.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.errors import InputError

Array = NDArray[np.float64]

#: Half width of a bead's window in units of sigma. At 4 the neglected mass is 2e-4.
WINDOW = 4.0

# Reassociation lets the short row sums be vectorised; NaN and infinity keep their meaning.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _fill_window(position, voxel, sigma, cut, n_voxels, first_factor, factors, offsets):  # type: ignore[no-untyped-def]
    """Fill the Gaussian factors and offsets (Å) of one axis; return the first index and the number of voxels."""
    low = max(int(math.ceil((position - cut) / voxel)), 0)
    high = min(int(math.floor((position + cut) / voxel)), n_voxels - 1)
    scale = -0.5 / (sigma * sigma)
    for index in range(low, high + 1):
        offset = index * voxel - position
        offsets[index - low] = offset
        factors[index - low] = first_factor * math.exp(scale * offset * offset)
    return low, high - low + 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FASTMATH)
def _render_kernel(coords, weights, sigma, cut, voxel, out):  # type: ignore[no-untyped-def]
    """Add the beads to out (nz, ny, nx); coords (n, 3) are relative to voxel (0, 0, 0), in Å."""
    nz, ny, nx = out.shape
    size = int(2.0 * cut / min(voxel[0], min(voxel[1], voxel[2]))) + 3
    fx, fy, fz = np.empty(size), np.empty(size), np.empty(size)
    unused = np.empty(size)
    norm = (2.0 * math.pi * sigma * sigma) ** -1.5
    for n in range(coords.shape[0]):
        ix, mx = _fill_window(coords[n, 0], voxel[0], sigma, cut, nx, 1.0, fx, unused)
        iy, my = _fill_window(coords[n, 1], voxel[1], sigma, cut, ny, 1.0, fy, unused)
        iz, mz = _fill_window(coords[n, 2], voxel[2], sigma, cut, nz, norm * weights[n], fz, unused)
        for c in range(mz):
            for b in range(my):
                factor = fz[c] * fy[b]
                row = out[iz + c, iy + b]
                for a in range(mx):
                    row[ix + a] += factor * fx[a]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FASTMATH)
def _render_gradient_kernel(coords, weights, sigma, cut, voxel, field, gradient):  # type: ignore[no-untyped-def]
    """Set gradient (n, 3) to d/dr_n of sum_v field(v) rho_sim(v)."""
    nz, ny, nx = field.shape
    size = int(2.0 * cut / min(voxel[0], min(voxel[1], voxel[2]))) + 3
    fx, fy, fz = np.empty(size), np.empty(size), np.empty(size)
    dx, dy, dz = np.empty(size), np.empty(size), np.empty(size)
    fdx = np.empty(size)
    norm = (2.0 * math.pi * sigma * sigma) ** -1.5 / (sigma * sigma)
    for n in range(coords.shape[0]):
        ix, mx = _fill_window(coords[n, 0], voxel[0], sigma, cut, nx, 1.0, fx, dx)
        iy, my = _fill_window(coords[n, 1], voxel[1], sigma, cut, ny, 1.0, fy, dy)
        iz, mz = _fill_window(coords[n, 2], voxel[2], sigma, cut, nz, norm * weights[n], fz, dz)
        for a in range(mx):
            fdx[a] = fx[a] * dx[a]
        gx = gy = gz = 0.0
        for c in range(mz):
            plane = plane_x = plane_y = 0.0
            for b in range(my):
                row = field[iz + c, iy + b]
                s0 = s1 = 0.0
                for a in range(mx):
                    s0 += row[ix + a] * fx[a]
                    s1 += row[ix + a] * fdx[a]
                plane += fy[b] * s0
                plane_x += fy[b] * s1
                plane_y += fy[b] * dy[b] * s0
            gx += fz[c] * plane_x
            gy += fz[c] * plane_y
            gz += fz[c] * dz[c] * plane
        gradient[n, 0] = gx
        gradient[n, 1] = gy
        gradient[n, 2] = gz


def _checked(coords: Array, weights: Array, sigma: float, origin: Array) -> tuple[Array, Array]:
    """Return the positions relative to the origin and the weights, fit for the kernels."""
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    if np.shape(coords) != (*weights.shape, 3) or weights.ndim != 1:
        raise InputError(
            f"rendering: expected positions of shape (n, 3) and n weights, got {np.shape(coords)} and {weights.shape}"
        )
    relative = np.ascontiguousarray(coords, dtype=np.float64) - origin
    # A NaN or a huge number must never become an array index.
    if not np.all(np.abs(relative) < 1e9):
        raise InputError("rendering: coordinates are not finite; check the model for NaN or infinite positions")
    if not 0.0 < sigma < math.inf:
        raise InputError(f"rendering: sigma is {sigma} Å; expected a positive length")
    return relative, weights


def render(
    coords: Array,
    weights: Array,
    sigma: float,
    shape: tuple[int, int, int],
    voxel_size: Array,
    origin: Array,
    window: float = WINDOW,
) -> Array:
    """Return the density of Gaussian beads on a grid: eq. 3 of Vuillemot and Jonic, with weights.

    ``rho(v) = sum_n w_n (2 pi sigma^2)^(-3/2) exp(-|x_v - r_n|^2 / (2 sigma^2))``, taken at the voxel
    centres and cut at a cube of ``window`` sigma. Beads outside the grid contribute their tails.

    Parameters
    ----------
    coords
        Bead positions, shape (n_beads, 3), Å.
    weights
        Bead weights, shape (n_beads,).
    sigma
        Standard deviation of a bead, Å.
    shape
        Number of voxels (nz, ny, nx).
    voxel_size, origin
        Voxel edges and the position of voxel (0, 0, 0), order (x, y, z), Å.
    window
        Half width of a bead's cube in units of sigma.

    Returns
    -------
    ndarray
        Density in weight per Å³, shape (nz, ny, nx).

    Raises
    ------
    InputError
        If a coordinate is not finite, there are not as many weights as positions, or sigma is not positive.
    """
    out = np.zeros(shape)
    voxel = np.asarray(voxel_size, dtype=np.float64)
    _render_kernel(*_checked(coords, weights, sigma, origin), sigma, window * sigma, voxel, out)
    return out


def render_gradient(
    field: Array,
    coords: Array,
    weights: Array,
    sigma: float,
    voxel_size: Array,
    origin: Array,
    window: float = WINDOW,
) -> Array:
    """Return the gradient of ``sum_v field(v) rho(v)`` with respect to the bead positions.

    ``field`` is the derivative of any function of the rendered density with respect to it, so that this is
    the backward pass of :func:`render`: ``w_n sum_v field(v) g(x_v - r_n) (x_v - r_n) / sigma^2``.

    Parameters
    ----------
    field
        Shape (nz, ny, nx).
    coords, weights, sigma, voxel_size, origin, window
        As for :func:`render`.

    Returns
    -------
    ndarray
        Shape (n_beads, 3), units of the field over Å⁴.

    Raises
    ------
    InputError
        If a coordinate is not finite, there are not as many weights as positions, or sigma is not positive.
    """
    gradient = np.empty((len(coords), 3))
    voxel = np.asarray(voxel_size, dtype=np.float64)
    _render_gradient_kernel(
        *_checked(coords, weights, sigma, origin),
        sigma,
        window * sigma,
        voxel,
        np.asarray(field, dtype=np.float64),
        gradient,
    )
    return gradient
