"""Density of a set of Gaussian beads on a grid, and the gradient of any function of it.

This is the direct evaluation of eq. 3 of Vuillemot and Jonic, voxel by voxel. It
serves output maps, metrics and as the reference for the evaluation without a grid
(``overlap``); it knows nothing of likelihoods.

A bead is the product of three Gaussians, one along each axis, cut at its window. They are computed once, and a window
is passed through eight voxels of a row at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import ALLOCATING, KERNEL, PART
from bayesflex.errors import InputError
from bayesflex.simd import WIDTH, exponential, lane, load, select, splat, store, totals

Array = NDArray[np.float64]

#: Half width of a bead's window in units of sigma. At 4 the neglected mass is 2e-4.
WINDOW = 4.0

#: Beads that are taken together where their windows are not kept.
BLOCK = 64

_LANES = np.arange(float(WIDTH))


class Windows(NamedTuple):
    """Windows of beads: voxels and, there, Gaussians. Axes in the order (x, y, z), lengths in voxels."""

    first: NDArray[np.int64]  # first voxel that is read, (n, 3)
    extent: NDArray[np.int64]  # voxels within the cut, (n, 3); all 0 where a bead does not reach the grid
    start: Array  # from the bead to the first voxel, (n, 3)
    inside: Array  # before and after the numbers of the voxels that are within the cut, (n, 3, 2)
    factors: Array  # Gaussian along each axis, zero beyond the cut, (n, 3, width); that along z has the weight

    def clone(self) -> Windows:
        """Return room for as many windows."""
        return Windows(
            np.zeros_like(self.first),
            np.zeros_like(self.extent),
            np.zeros_like(self.start),
            np.zeros_like(self.inside),
            np.zeros_like(self.factors),
        )


def make_windows(n: int, cut: Array, shape: Sequence[int]) -> Windows:
    """Return room for n windows.

    Parameters
    ----------
    n
        Number of beads.
    cut
        Half width of the widest window in voxels, order (x, y, z).
    shape
        Number of voxels (nz, ny, nx).
    """
    width = max(_vectors(c, size) for c, size in zip(cut, shape[::-1], strict=True)) * WIDTH
    return Windows(
        np.zeros((n, 3), np.int64),
        np.zeros((n, 3), np.int64),
        np.zeros((n, 3)),
        np.zeros((n, 3, 2)),
        np.zeros((n, 3, max(width, WIDTH))),
    )


def shortest_row(cut: float, nx: int) -> int:
    """Return the least number of voxels that a row of nx must have in memory, for a half width in voxels."""
    return max(nx, _vectors(cut, nx) * WIDTH)


def _vectors(cut: float, size: int) -> int:
    """Return the number of vectors along one axis of the widest window."""
    return -(-min(math.floor(2.0 * cut) + 1, size) // WIDTH)


@njit(**PART)
def _floor(x):  # type: ignore[no-untyped-def]
    """Return the largest integer that is not above x; ``math.floor`` would be a call of a function."""
    whole = int(x)
    return whole - (whole > x)


@njit(**KERNEL)
def fill_windows(positions, peaks, reaches, curvatures, voxel, shape, room, windows):  # type: ignore[no-untyped-def]
    """Set the windows of beads.

    Parameters
    ----------
    positions
        In voxels from voxel (0, 0, 0), order (x, y, z), (n_beads, 3).
    peaks, reaches, curvatures
        Of each bead the height, the half width of its window (Å) and -1 / (2 sigma²) (1/Å²), (n_beads,).
    voxel
        Edges of a voxel, (3,), Å.
    shape, room
        Number of voxels (nz, ny, nx), and of those of a row in memory.
    windows
        At least as many.
    """
    first, extent, start = windows.first, windows.extent, windows.start
    inside, factors, width = windows.inside, windows.factors, windows.factors.shape[2]
    for axis in range(3):
        per_length, last = 1.0 / voxel[axis], shape[2 - axis] - 1
        for n in range(positions.shape[0]):
            at, reach = positions[n, axis], reaches[n] * per_length
            low = max(-_floor(reach - at), 0)
            size = max(min(_floor(at + reach), last) - low + 1, 0)
            corner = low
            if axis == 0:
                # So early that the last vector ends within the row.
                corner = min(low, room - (size + WIDTH - 1) // WIDTH * WIDTH)
            first[n, axis], extent[n, axis], start[n, axis] = corner, size, corner - at
            inside[n, axis, 0], inside[n, axis, 1] = low - corner - 0.5, low - corner + size - 0.5
    # The exponentials apart from the rest: none of them waits for another.
    lanes = load(_LANES, 0)
    for axis in range(3):
        square = voxel[axis] * voxel[axis]
        for n in range(positions.shape[0]):
            if min(extent[n, 0], extent[n, 1], extent[n, 2]) == 0:
                extent[n, :] = 0
            curvature, height = splat(square * curvatures[n]), splat(peaks[n] if axis == 2 else 1.0)
            for k in range(0, extent[n, axis], WIDTH):
                number = lanes + splat(float(k))
                distance = splat(start[n, axis]) + number
                value = height * exponential(curvature * distance * distance)
                within = (splat(inside[n, axis, 0]) < number) & (number < splat(inside[n, axis, 1]))
                store(factors, (3 * n + axis) * width + k, select(within, value, splat(0.0)))


@njit(**KERNEL)
def add_windows(windows, n_beads, density):  # type: ignore[no-untyped-def]
    """Add the first beads to density (planes, rows, voxels)."""
    first, extent, factors = windows.first, windows.extent, windows.factors
    row = density.shape[2]
    plane = density.shape[1] * row
    width = factors.shape[2]
    for n in range(n_beads):
        mx, my, mz = extent[n, 0], extent[n, 1], extent[n, 2]
        along_y, along_z = factors[n, 1], factors[n, 2]
        corner = first[n, 2] * plane + first[n, 1] * row + first[n, 0]
        for k in range(0, mx, WIDTH):
            along_x = load(factors, 3 * n * width + k)
            for c in range(mz):
                at = corner + k + c * plane
                values = along_x * splat(along_z[c])
                for b in range(my):
                    store(density, at, load(density, at) + values * splat(along_y[b]))
                    at += row


@njit(**PART)
def fill_slopes(windows, n, slopes):  # type: ignore[no-untyped-def]
    """Set slopes (3, width) to the Gaussians of a window times the distances, in voxels, from the bead."""
    extent, start, factors, width = windows.extent, windows.start, windows.factors, windows.factors.shape[2]
    lanes = load(_LANES, 0)
    for axis in range(3):
        for k in range(0, extent[n, axis], WIDTH):
            distance = splat(start[n, axis] + k) + lanes
            store(slopes, axis * width + k, distance * load(factors, (3 * n + axis) * width + k))


@njit(**PART)
def _window_masses(windows, n, slopes):  # type: ignore[no-untyped-def]
    """Return the sums over a window of the bead, and of it times the distance along x, y and z."""
    extent, factors, width = windows.extent, windows.factors, windows.factors.shape[2]
    zero = splat(0.0)
    fx = fy = fz = sx = sy = sz = zero
    at = 3 * n * width
    for k in range(0, extent[n, 0], WIDTH):
        fx, sx = fx + load(factors, at + k), sx + load(slopes, k)
    for k in range(0, extent[n, 1], WIDTH):
        fy, sy = fy + load(factors, at + width + k), sy + load(slopes, width + k)
    for k in range(0, extent[n, 2], WIDTH):
        fz, sz = fz + load(factors, at + 2 * width + k), sz + load(slopes, 2 * width + k)
    sums = totals((fx, fy, fz, sx, sy, sz, zero, zero))
    x, y, z = lane(sums, 0), lane(sums, 1), lane(sums, 2)
    return x * y * z, lane(sums, 3) * y * z, x * lane(sums, 4) * z, x * y * lane(sums, 5)


@njit(**KERNEL)
def sum_windows(windows, n_beads, one, other, left_out, slopes, sums, masses):  # type: ignore[no-untyped-def]
    """Sum two fields over each window, weighted by the bead and by the bead times the distance along x, y and z.

    Parameters
    ----------
    windows
        Of the beads, the first ``n_beads`` of them.
    one, other
        Fields, both (planes, rows, voxels).
    left_out
        True for beads whose sums are not wanted, (n_beads,).
    slopes
        Workspace, (3, width).
    sums
        The four sums of one field, then those of the other, (n, 8); distances are in voxels.
    masses
        The four sums of a field that is 1 on the grid, (n, 8); the rest is left alone.
    """
    first, extent, factors = windows.first, windows.extent, windows.factors
    row = one.shape[2]
    plane = one.shape[1] * row
    width = factors.shape[2]
    zero = splat(0.0)
    for n in range(n_beads):
        if left_out[n]:
            continue
        fill_slopes(windows, n, slopes)
        masses[n, 0], masses[n, 1], masses[n, 2], masses[n, 3] = _window_masses(windows, n, slopes)
        mx, my, mz = extent[n, 0], extent[n, 1], extent[n, 2]
        along_y, along_z, slope_y, slope_z = factors[n, 1], factors[n, 2], slopes[1], slopes[2]
        corner = first[n, 2] * plane + first[n, 1] * row + first[n, 0]
        a0 = ax = ay = az = b0 = bx = by = bz = zero
        for k in range(0, mx, WIDTH):
            p0 = py = pz = q0 = qy = qz = zero
            for c in range(0, mz, 2):
                # Two planes at a time; where there is no second one, the first again, without weight.
                paired = c + 1 < mz
                at = corner + k + c * plane
                next_plane = plane if paired else 0
                r0 = ry = s0 = sy = t0 = ty = u0 = uy = zero
                for b in range(my):
                    factor, slope = splat(along_y[b]), splat(slope_y[b])
                    r, s = load(one, at), load(other, at)
                    r0, ry = r0 + factor * r, ry + slope * r
                    s0, sy = s0 + factor * s, sy + slope * s
                    r, s = load(one, at + next_plane), load(other, at + next_plane)
                    t0, ty = t0 + factor * r, ty + slope * r
                    u0, uy = u0 + factor * s, uy + slope * s
                    at += row
                factor, slope = splat(along_z[c]), splat(slope_z[c])
                p0, py, pz = p0 + factor * r0, py + factor * ry, pz + slope * r0
                q0, qy, qz = q0 + factor * s0, qy + factor * sy, qz + slope * s0
                if paired:
                    factor, slope = splat(along_z[c + 1]), splat(slope_z[c + 1])
                    p0, py, pz = p0 + factor * t0, py + factor * ty, pz + slope * t0
                    q0, qy, qz = q0 + factor * u0, qy + factor * uy, qz + slope * u0
            factor, slope = load(factors, 3 * n * width + k), load(slopes, k)
            a0, ax, ay, az = a0 + factor * p0, ax + slope * p0, ay + factor * py, az + factor * pz
            b0, bx, by, bz = b0 + factor * q0, bx + slope * q0, by + factor * qy, bz + factor * qz
        store(sums, n * WIDTH, totals((a0, ax, ay, az, b0, bx, by, bz)))


@njit(**KERNEL)
def add_beads(positions, peaks, reaches, curvatures, voxel, shape, windows, density):  # type: ignore[no-untyped-def]
    """Add beads at positions (n, 3), in voxels, to density (nz, ny, at least nx)."""
    n_beads, block, row = positions.shape[0], windows.first.shape[0], density.shape[2]
    for a in range(0, n_beads, block):
        b = min(a + block, n_beads)
        fill_windows(positions[a:b], peaks[a:b], reaches[a:b], curvatures[a:b], voxel, shape, row, windows)
        add_windows(windows, b - a, density)


@njit(**ALLOCATING)
def _render_gradient_kernel(  # type: ignore[no-untyped-def]
    positions, peaks, reaches, curvatures, voxel, shape, windows, field, gradient
):
    """Set gradient (n, 3) to sum_v field(v) g(v - r_n) (v - r_n), distances in voxels."""
    n_beads, block, row = positions.shape[0], windows.first.shape[0], field.shape[2]
    slopes, sums = np.zeros((3, windows.factors.shape[2])), np.zeros((2, block, WIDTH))
    left_out = np.zeros(block, np.bool_)
    for a in range(0, n_beads, block):
        b = min(a + block, n_beads)
        fill_windows(positions[a:b], peaks[a:b], reaches[a:b], curvatures[a:b], voxel, shape, row, windows)
        sum_windows(windows, b - a, field, field, left_out, slopes, sums[0], sums[1])
        gradient[a:b] = sums[0, : b - a, 1:4]


class _Arguments(NamedTuple):
    """What both kernels take, see :func:`fill_windows`."""

    positions: Array
    peaks: Array
    reaches: Array
    curvatures: Array
    voxel: Array
    shape: tuple[int, int, int]
    windows: Windows


def profiles(weights: Array, sigmas: Array, window: float) -> tuple[Array, Array, Array]:
    """Return the peaks, reaches and curvatures, each (n,), of beads of weights (n,) and widths (n,), Å."""
    return weights * (2.0 * math.pi * sigmas**2) ** -1.5, window * sigmas, -0.5 / sigmas**2


def _arguments(
    coords: Array,
    weights: Array,
    sigma: float,
    shape: tuple[int, ...],
    voxel_size: Array,
    origin: Array,
    window: float,
) -> _Arguments:
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
    voxel = np.array(voxel_size, dtype=np.float64)
    nz, ny, nx = shape
    beads = profiles(weights, np.full(len(weights), sigma), window)
    windows = make_windows(BLOCK, window * sigma / voxel, shape)
    return _Arguments(relative / voxel, *beads, voxel, (nz, ny, nx), windows)


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
    nz, ny, nx = shape
    arguments = _arguments(coords, weights, sigma, shape, voxel_size, origin, window)
    row = shortest_row(window * sigma / voxel_size[0], nx)
    density = np.zeros((nz, ny, row))
    add_beads(*arguments, density)
    return density if row == nx else np.ascontiguousarray(density[:, :, :nx])


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
    arguments = _arguments(coords, weights, sigma, field.shape, voxel_size, origin, window)
    field = np.ascontiguousarray(field, dtype=np.float64)
    short = shortest_row(window * sigma / voxel_size[0], field.shape[2]) - field.shape[2]
    if short:
        field = np.pad(field, ((0, 0), (0, 0), (0, short)))
    gradient = np.empty(arguments.positions.shape)
    _render_gradient_kernel(*arguments, field, gradient)
    return gradient * (arguments.voxel / sigma**2)
