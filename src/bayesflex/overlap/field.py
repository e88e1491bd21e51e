"""The map's field F: the overlap of a single bead with the map, at any position.

``F(r) = sum_v rho(v) (P g)(x_v - r)`` with g the bead's Gaussian profile and P the precision spectrum. It is
computed once, by FFT, on a grid just fine enough for cubic B-spline interpolation, so that
``(rho, P rho_sim) = sum_n w_n F(r_n)`` costs 64 coefficients per bead whatever the size of the map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage
from numba import njit
from numpy.typing import NDArray

from bayesflex.overlap.spectrum import Spectrum

Array = NDArray[np.float64]

#: Spacing of the field's grid in units of its narrowest feature, the bead's sigma. The interpolation error falls
#: 16-fold (its gradient's 8-fold) for each halving; at 0.6 it is about 1e-4 of the map overlap.
SPACING = 0.6

#: Padding in units of the bead's sigma (blur included) against wrap-around of the FFT.
_PADDING = 4.0


@dataclass(frozen=True, eq=False)
class SplineField:
    """Cubic B-spline coefficients of one or more scalar fields on one grid.

    Parameters
    ----------
    coefficients
        Shape (nz, ny, nx, n_fields), float32: rounded once, so that value and gradient stay consistent. Fields that
        are read at the same places lie side by side in memory.
    origin, spacing
        Position of coefficient (0, 0, 0) and grid spacing, order (x, y, z), Å.
    """

    coefficients: NDArray[np.float32]
    origin: Array
    spacing: Array


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _weights(t, w, d):  # type: ignore[no-untyped-def]
    """Fill the four cubic B-spline weights and their derivatives at the fraction t in [0, 1)."""
    s = 1.0 - t
    w[0] = s * s * s / 6.0
    w[1] = 2.0 / 3.0 - 0.5 * t * t * (2.0 - t)
    w[2] = 2.0 / 3.0 - 0.5 * s * s * (2.0 - s)
    w[3] = t * t * t / 6.0
    d[0] = -0.5 * s * s
    d[1] = t * (1.5 * t - 2.0)
    d[2] = -s * (1.5 * s - 2.0)
    d[3] = 0.5 * t * t


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
def _interpolate_kernel(coords, weights, coefficients, origin, spacing, totals, gradients):  # type: ignore[no-untyped-def]
    """Set totals (n_fields,) to sum_n w_n F(r_n) and gradients (n_fields, n, 3) to its derivatives.

    Where a bead is off the fields' grid the totals are NaN and the gradients are not complete.
    """
    nz, ny, nx, n_fields = coefficients.shape
    flat = coefficients.reshape(-1)
    wx, wy, wz = np.empty(4), np.empty(4), np.empty(4)
    dx, dy, dz = np.empty(4), np.empty(4), np.empty(4)
    inv_x, inv_y, inv_z = 1.0 / spacing[0], 1.0 / spacing[1], 1.0 / spacing[2]
    totals[:] = 0.0
    for n in range(coords.shape[0]):
        ux = (coords[n, 0] - origin[0]) * inv_x
        uy = (coords[n, 1] - origin[1]) * inv_y
        uz = (coords[n, 2] - origin[2]) * inv_z
        # Written so that NaN fails the test and never becomes an index.
        if not (ux >= 1.0 and uy >= 1.0 and uz >= 1.0 and ux < nx - 2 and uy < ny - 2 and uz < nz - 2):
            totals[:] = math.nan
            return
        ix, iy, iz = int(ux), int(uy), int(uz)
        _weights(ux - ix, wx, dx)
        _weights(uy - iy, wy, dy)
        _weights(uz - iz, wz, dz)
        for f in range(n_fields):
            value = gx = gy = gz = 0.0
            for c in range(4):
                first = (((iz - 1 + c) * ny + iy - 1) * nx + ix - 1) * n_fields + f
                plane = plane_x = plane_y = 0.0
                for b in range(4):
                    row = flat[first : first + 3 * n_fields + 1]
                    c0, c1, c2, c3 = row[0], row[n_fields], row[2 * n_fields], row[3 * n_fields]
                    s0 = c0 * wx[0] + c1 * wx[1] + c2 * wx[2] + c3 * wx[3]
                    s1 = c0 * dx[0] + c1 * dx[1] + c2 * dx[2] + c3 * dx[3]
                    plane += wy[b] * s0
                    plane_x += wy[b] * s1
                    plane_y += dy[b] * s0
                    first += nx * n_fields
                value += wz[c] * plane
                gx += wz[c] * plane_x
                gy += wz[c] * plane_y
                gz += dz[c] * plane
            totals[f] += weights[n] * value
            gradients[f, n, 0] = weights[n] * gx * inv_x
            gradients[f, n, 1] = weights[n] * gy * inv_y
            gradients[f, n, 2] = weights[n] * gz * inv_z


def stack_fields(fields: Sequence[SplineField]) -> SplineField:
    """Return fields of one map's grid (same shape, spacing and origin) side by side, in this order."""
    return SplineField(
        np.concatenate([field.coefficients for field in fields], axis=3), fields[0].origin, fields[0].spacing
    )


def overlap_field(
    values: Array, voxel_size: Array, origin: Array, sigma: float, spectrum: Spectrum
) -> tuple[SplineField, float]:
    """Return the field F of a map and the map's power ``(rho, P rho)``.

    Parameters
    ----------
    values
        The map, shape (nz, ny, nx), zero outside the region that counts.
    voxel_size, origin
        Order (x, y, z), Å.
    sigma
        Standard deviation of a bead's Gaussian, Å.
    spectrum
        Precision spectrum P.

    Returns
    -------
    field : SplineField
        F in squared map units times 1/Å³, padded so that beads may sit anywhere in the map's box.
    map_power : float
        ``(rho, P rho)``, a sum over voxels.
    """
    width = math.hypot(sigma, spectrum.blur)
    voxel = np.asarray(voxel_size, dtype=np.float64)[::-1]  # (z, y, x), as the axes of values
    padding, shape = _padded(values.shape, voxel, width)
    transform = scipy.fft.rfftn(values, s=shape, workers=1)
    squared = _squared_frequency(shape, voxel)
    weight = spectrum(np.sqrt(squared))
    map_power = _power_sum(transform, transform, weight, shape)

    transform *= weight * np.exp(-2.0 * math.pi**2 * sigma**2 * squared)
    box = np.array(shape) * voxel
    fine = tuple(scipy.fft.next_fast_len(max(math.ceil(length / (SPACING * width)), 8), real=True) for length in box)
    field = scipy.fft.irfftn(_resized(transform, shape, fine), s=fine, workers=1)
    # Samples of the resized transform, and the sum over voxels instead of an integral.
    field *= np.prod(fine) / np.prod(shape) / np.prod(voxel)
    spacing = box / fine
    # The padding lies at the far end of each periodic axis: bring half of it to the front.
    shift = np.floor(padding * voxel / spacing).astype(int)
    field = np.roll(field, shift, axis=(0, 1, 2))
    coefficients = scipy.ndimage.spline_filter(field, order=3, mode="grid-wrap", output=np.float64)
    start = np.asarray(origin, dtype=np.float64) - (shift * spacing)[::-1]
    return SplineField(coefficients.astype(np.float32)[..., None], start, spacing[::-1].copy()), map_power


def inner_product(a: Array, b: Array, voxel_size: Array, width: float, spectrum: Spectrum) -> float:
    """Return ``(a, P b)``, a sum over voxels, of two maps of shape (nz, ny, nx) that are zero outside their box.

    ``width`` is the standard deviation (Å) of a bead, blur included, by which the box is padded.
    """
    voxel = np.asarray(voxel_size, dtype=np.float64)[::-1]
    _, shape = _padded(a.shape, voxel, width)
    first, second = (scipy.fft.rfftn(values, s=shape, workers=1) for values in (a, b))
    weight = spectrum(np.sqrt(_squared_frequency(shape, voxel)))
    return _power_sum(first, second, weight, shape)


def _padded(size: tuple[int, ...], voxel: Array, width: float) -> tuple[NDArray[np.int_], tuple[int, ...]]:
    """Return the padding and the padded number of samples along (z, y, x)."""
    padding = np.ceil(_PADDING * width / voxel).astype(int)
    shape = tuple(scipy.fft.next_fast_len(int(n + 2 * p), real=True) for n, p in zip(size, padding, strict=True))
    return padding, shape


def _power_sum(a: NDArray[np.complex128], b: NDArray[np.complex128], weight: Array, shape: tuple[int, ...]) -> float:
    """Return ``sum_k weight a* b`` of two real arrays from their half transforms, normalised as a sum over samples."""
    half_plane = np.full(a.shape[2], 2.0)
    half_plane[0] = 1.0
    if shape[2] % 2 == 0:
        half_plane[-1] = 1.0
    return float(np.sum(half_plane * weight * (a.real * b.real + a.imag * b.imag)) / np.prod(shape))


def _squared_frequency(shape: tuple[int, ...], voxel: Array) -> Array:
    """Return |k|² in 1/Å² on the half grid of a real FFT, shape (nz, ny, nx // 2 + 1)."""
    kz = scipy.fft.fftfreq(shape[0], voxel[0])[:, None, None]
    ky = scipy.fft.fftfreq(shape[1], voxel[1])[None, :, None]
    kx = scipy.fft.rfftfreq(shape[2], voxel[2])[None, None, :]
    return np.asarray(kz**2 + ky**2 + kx**2)


def _resized(transform: NDArray[np.complex128], old: tuple[int, ...], new: tuple[int, ...]) -> NDArray[np.complex128]:
    """Crop or zero-pad the transform of a real array to another number of samples in the same box.

    The unpaired highest frequency of an even axis is dropped: it has no partner to keep the result real,
    and a field blurred by a bead has no power there.
    """
    out = np.zeros((new[0], new[1], new[2] // 2 + 1), dtype=np.complex128)
    keep = [(min(a, b) - 1) // 2 for a, b in zip(old, new, strict=True)]
    for source_z, target_z in _bands(keep[0]):
        for source_y, target_y in _bands(keep[1]):
            out[target_z, target_y, : keep[2] + 1] = transform[source_z, source_y, : keep[2] + 1]
    return out


def _bands(keep: int) -> tuple[tuple[slice, slice], ...]:
    """Slices of the frequencies 0..keep and -keep..-1 along one full axis, before and after resizing."""
    positive = slice(0, keep + 1)
    return ((positive, positive),) if keep == 0 else ((positive, positive), (slice(-keep, None), slice(-keep, None)))
