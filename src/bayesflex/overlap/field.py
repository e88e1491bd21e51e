"""The map's field F: the overlap of a single bead with the map, at any position.

``F(r) = sum_v rho(v) (P g)(x_v - r)`` with g the bead's Gaussian profile and P the precision spectrum. It is
computed once, by FFT, on a grid just fine enough for cubic B-spline interpolation, so that
``(rho, P rho_sim) = sum_n w_n F(r_n)`` costs 64 coefficients per bead whatever the size of the map.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy.fft
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import KERNEL, PART
from bayesflex.overlap.spectrum import Spectrum
from bayesflex.simd import WIDTH, broadcast, load, prefetch, select, splat, store, total_even, total_odd

Array = NDArray[np.float64]

#: Spacing of the field's grid in units of its narrowest feature, the bead's sigma, for white noise. The interpolation
#: error falls 16-fold (its gradient's 8-fold) for each halving; at 0.6 it is about 1e-4 of the map overlap.
SPACING = 0.6

#: What this leaves by :func:`interpolation_error`. Another spectrum may leave as much.
TOLERANCE = 1.15e-3

#: Widest spacing, in the same units.
_WIDEST = 2.0

#: Frequencies at which the error is summed, and the highest one in units of 1/sigma: there ĝ² has fallen to 1e-13.
_N_FREQUENCIES, _HIGHEST = 400, 0.9

#: Padding in units of the bead's sigma (blur included) against wrap-around of the FFT.
_PADDING = 4.0


#: Coefficients have 16 bits: each is off by 2⁻¹² of itself at most, and less in the mean, which over 64 of them is a
#: tenth of what interpolation may change, and a large model waits for half as much memory as with 32. No number of
#: 16 bits is larger than the second.
_KEPT_IN, _LARGEST_HALF = np.float16, 65504.0

#: Coefficients are asked for so many beads ahead: a line from the third cache takes longer than a bead.
_AHEAD = 4


@dataclass(frozen=True, eq=False)
class SplineField:
    """A scalar field: ``base + unit`` times the cubic B-spline of coefficients on a grid.

    Parameters
    ----------
    coefficients
        Shape (nz, ny, nx), float16 or float32: rounded once, so that value and gradient stay consistent. What
        :func:`overlap_field` makes is a half of an array that holds two fields side by side.
    origin, spacing
        Position of coefficient (0, 0, 0) and grid spacing, order (x, y, z), Å.
    unit, base
        Of the coefficients, so that they may have few bits.
    """

    coefficients: NDArray[np.floating]
    origin: Array
    spacing: Array
    unit: float = 1.0
    base: float = 0.0


class FieldArrays(NamedTuple):
    """Fields on one grid in the form that compiled code reads: two by two, side by side in memory."""

    coefficients: NDArray[np.float32] | NDArray[np.uint16]  # (n_pairs, nz, ny, nx, 2), the latter float16 as bits
    origin: Array
    spacing: Array
    units: Array  # (2 n_pairs,)
    bases: Array  # (2 n_pairs,)


def field_arrays(fields: Sequence[SplineField]) -> FieldArrays:
    """Return fields of one map's grid (same shape, spacing and origin); an odd one gets zeros beside it.

    Two fields, four coefficients along x each, are the eight numbers that are read at a time.
    """
    shape, dtype = fields[0].coefficients.shape, fields[0].coefficients.dtype
    halves = fields[0].coefficients.base
    n_halves = len(fields) + len(fields) % 2
    if len(fields) == 2 and halves is not None and halves is fields[1].coefficients.base:
        pairs = halves.reshape(1, *shape, 2)
    else:
        pairs = np.zeros((n_halves // 2, *shape, 2), dtype=dtype)
        for number, field in enumerate(fields):
            pairs[number // 2, ..., number % 2] = field.coefficients
    bits = pairs.view(np.uint16) if dtype == np.float16 else pairs
    units, bases = np.ones(n_halves), np.zeros(n_halves)
    for number, field in enumerate(fields):
        units[number], bases[number] = field.unit, field.base
    return FieldArrays(bits, fields[0].origin, fields[0].spacing, units, bases)


def beside(field: SplineField) -> SplineField:
    """Return the field whose coefficients lie beside those of one that :func:`overlap_field` made: zeros at first."""
    halves = field.coefficients.base
    if halves is None or halves.shape != (*field.coefficients.shape, 2):
        return replace(field, coefficients=np.zeros_like(field.coefficients), unit=1.0, base=0.0)
    return replace(field, coefficients=halves[..., 1], unit=1.0, base=0.0)


# The four weights as polynomials of the fraction t, rows 1, t, t², t³.
_WEIGHTS = np.array([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]]) / 6.0

# Eight at a time: those along x each for two fields, those along y followed by those along z.
_ALONG_X, _ALONG_YZ = np.repeat(_WEIGHTS, 2, axis=1), np.tile(_WEIGHTS, 2)
_IS_Y = np.repeat([1.0, 0.0], 4)


@njit(**PART)
def _spline(t, a, b, c, d):  # type: ignore[no-untyped-def]
    """Return a + b t + c t² + d t³ and its derivative."""
    return a + t * (b + t * (c + t * d)), b + t * (c + c + t * (d + d + d))


@njit(**KERNEL)
def interpolate(  # type: ignore[no-untyped-def]
    positions, weights, first, offset, fields, work, totals, gradients, begin, end
):
    """Add sum_n w_n F(r_n) to totals and set gradients to its derivatives, for two fields.

    Parameters
    ----------
    positions, weights
        By axis, (3, n_places), and (n_places,): places without weight are passed over.
    first, offset
        Each place sees the pair of fields ``first + offset``, first (n_places,); none where first is negative.
    fields
        ``FieldArrays``.
    work
        Workspace, (2, 8): weights along y and z, and their slopes.
    totals, gradients
        Shapes (2,) and (2, 3, n_places). Where a bead is off the fields' grid the totals are NaN and the gradients
        are not complete.
    begin, end
        Places from ``begin`` to before ``end`` are summed over.
    """
    coefficients, origin, spacing, units, bases = fields
    nz, ny, nx = coefficients.shape[1], coefficients.shape[2], coefficients.shape[3]
    x0, x1, x2, x3 = load(_ALONG_X, 0), load(_ALONG_X, WIDTH), load(_ALONG_X, 2 * WIDTH), load(_ALONG_X, 3 * WIDTH)
    yz0, yz1 = load(_ALONG_YZ, 0), load(_ALONG_YZ, WIDTH)
    yz2, yz3 = load(_ALONG_YZ, 2 * WIDTH), load(_ALONG_YZ, 3 * WIDTH)
    is_y = load(_IS_Y, 0) > splat(0.0)
    inv_x, inv_y, inv_z = 1.0 / spacing[0], 1.0 / spacing[1], 1.0 / spacing[2]
    for n in range(begin, end):
        ahead = min(n + _AHEAD, end - 1)
        vx = (positions[0, ahead] - origin[0]) * inv_x
        vy = (positions[1, ahead] - origin[1]) * inv_y
        vz = (positions[2, ahead] - origin[2]) * inv_z
        if vx >= 1.0 and vy >= 1.0 and vz >= 1.0 and vx < nx - 2 and vy < ny - 2 and vz < nz - 2:
            corner = 2 * (((((first[ahead] + offset) * nz + int(vz) - 1) * ny) + int(vy) - 1) * nx + int(vx) - 1)
            for c in range(4):
                for b in range(4):
                    row = corner + 2 * nx * (c * ny + b)
                    prefetch(coefficients, row)
                    prefetch(coefficients, row + WIDTH - 1)
        if first[n] < 0:
            for k in range(3):
                gradients[0, k, n] = gradients[1, k, n] = 0.0
            continue
        ux = (positions[0, n] - origin[0]) * inv_x
        uy = (positions[1, n] - origin[1]) * inv_y
        uz = (positions[2, n] - origin[2]) * inv_z
        # Written so that NaN fails the test and never becomes an index.
        if not (ux >= 1.0 and uy >= 1.0 and uz >= 1.0 and ux < nx - 2 and uy < ny - 2 and uz < nz - 2):
            totals[0] = totals[1] = math.nan
            return
        ix, iy, iz = int(ux), int(uy), int(uz)
        weight, slope = _spline(select(is_y, splat(uy - iy), splat(uz - iz)), yz0, yz1, yz2, yz3)
        store(work, 0, weight)
        store(work, WIDTH, slope)
        value = along_y = along_z = splat(0.0)
        for c in range(4):
            row = 2 * (((((first[n] + offset) * nz + iz - 1 + c) * ny) + iy - 1) * nx + ix - 1)
            plane = plane_y = splat(0.0)
            for b in range(4):
                eight = load(coefficients, row)
                plane = plane + eight * broadcast(work, b)
                plane_y = plane_y + eight * broadcast(work, WIDTH + b)
                row += 2 * nx
            weight_z = broadcast(work, 4 + c)
            value = value + plane * weight_z
            along_y = along_y + plane_y * weight_z
            along_z = along_z + plane * broadcast(work, WIDTH + 4 + c)
        weight, slope = _spline(splat(ux - ix), x0, x1, x2, x3)
        value, along_x = value * weight, value * slope
        along_y, along_z = along_y * weight, along_z * weight
        pair = 2 * (first[n] + offset)
        even, odd = weights[n] * units[pair], weights[n] * units[pair + 1]
        totals[0] += weights[n] * bases[pair] + even * total_even(value)
        totals[1] += weights[n] * bases[pair + 1] + odd * total_odd(value)
        gradients[0, 0, n] = even * inv_x * total_even(along_x)
        gradients[0, 1, n] = even * inv_y * total_even(along_y)
        gradients[0, 2, n] = even * inv_z * total_even(along_z)
        gradients[1, 0, n] = odd * inv_x * total_odd(along_x)
        gradients[1, 1, n] = odd * inv_y * total_odd(along_y)
        gradients[1, 2, n] = odd * inv_z * total_odd(along_z)


def overlap_field(
    values: Array,
    voxel_size: Array,
    origin: Array,
    sigma: float,
    spectrum: Spectrum,
    sharing: tuple[float, ...] = (),
    first: SplineField | None = None,
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
    sharing
        Standard deviations of other beads, Å, whose fields are to be on the same grid.
    first
        A field on the same grid beside which this one is to lie in memory: for a large box, a copy later is too much.

    Returns
    -------
    field : SplineField
        F in squared map units times 1/Å³, padded so that beads may sit anywhere in the map's box.
    map_power : float
        ``(rho, P rho)``, a sum over voxels.
    """
    widest = math.hypot(max((sigma, *sharing)), spectrum.blur)
    voxel = np.asarray(voxel_size, dtype=np.float64)[::-1]  # (z, y, x), as the axes of values
    padding, shape = _padded(values.shape, voxel, widest)
    transform = scipy.fft.rfftn(values, s=shape, workers=1)
    map_power = 0.0
    for plane, squared in _planes(shape, voxel):
        weight = spectrum(np.sqrt(squared))
        map_power += _power_sum(transform[plane], transform[plane], weight, shape)
        transform[plane] *= weight * np.exp(-2.0 * math.pi**2 * sigma**2 * squared)
    box = np.array(shape) * voxel
    at_most = field_spacing(min((sigma, *sharing)), spectrum)
    fine = tuple(scipy.fft.next_fast_len(max(math.ceil(length / at_most), 8), real=True) for length in box)
    spacing = box / fine
    # The padding lies at the far end of each periodic axis: a phase brings half of it to the front.
    shift = np.floor(padding * voxel / spacing).astype(int)
    resized = _resized(transform, shape, fine)
    del transform
    for axis, (n, moved) in enumerate(zip(fine, shift, strict=True)):
        frequency = scipy.fft.rfftfreq(n) if axis == 2 else scipy.fft.fftfreq(n)
        # From samples to coefficients of cubic B-splines, which take 1/6, 2/3 and 1/6 of three neighbours.
        factor = np.exp(-2j * math.pi * frequency * moved) / ((2.0 + np.cos(2.0 * math.pi * frequency)) / 3.0)
        resized *= factor.astype(np.complex64).reshape([-1 if k == axis else 1 for k in range(3)])
    # Samples of the resized transform, and the sum over voxels instead of an integral.
    resized *= np.float32(np.prod(fine) / np.prod(shape) / np.prod(voxel))
    # What a constant map makes of the field, so that what is rounded is what differs from place to place.
    base = float(resized[0, 0, 0].real) / np.prod(fine) * np.prod(shape) / values.size
    resized = scipy.fft.ifftn(resized, axes=(0, 1), workers=1, overwrite_x=True)
    # No coefficient of a row is larger than all its waves together. Maps in other units are rounded alike.
    largest = abs(base) + 2.0 * max(float(np.abs(plane).sum(axis=1).max()) for plane in resized) / fine[2]
    unit = largest / _LARGEST_HALF or 1.0
    coefficients = np.zeros((*fine, 2), _KEPT_IN)[..., 0] if first is None else beside(first).coefficients
    for plane, half in zip(coefficients, resized, strict=True):
        plane[:] = (scipy.fft.irfft(half, n=fine[2], axis=1, workers=1) - np.float32(base)) / np.float32(unit)
    start = np.asarray(origin, dtype=np.float64) - (shift * spacing)[::-1]
    return SplineField(coefficients, start, spacing[::-1].copy(), unit, base), map_power


def interpolation_error(spacing: float, sigma: float, spectrum: Spectrum) -> float:
    """Return how much interpolation may change the overlap of a bead with its own density, as a share of it.

    ``∫ P ĝ² e d³k / ∫ P ĝ² d³k``, e(k) the error of a wave, root mean square over its phase. A wave of f periods per
    spacing, through samples that are met exactly, comes out as the waves f + m for all whole m, each times
    ``β(f + m) / Σ_j β(f + j)``, with β = sinc⁴ the transform of the cubic B-spline. Waves are taken to run along an
    axis of the grid, the worst direction, and to err alike, where errors of many beads in noise do not.

    Parameters
    ----------
    spacing
        Of the field's grid, Å.
    sigma
        Standard deviation of a bead's Gaussian, Å.
    spectrum
        Precision spectrum P.
    """
    frequency = _HIGHEST / sigma * (np.arange(_N_FREQUENCIES) + 0.5) / _N_FREQUENCIES
    weight = frequency**2 * spectrum(frequency) * np.exp(-4.0 * math.pi**2 * sigma**2 * frequency**2)
    # What the grid cannot hold folds back: as bad as what it holds worst.
    periods = np.minimum(frequency * spacing, 0.5)
    sampled = (2.0 + np.cos(2.0 * math.pi * periods)) / 3.0
    square = (1.0 - np.sinc(periods) ** 4 / sampled) ** 2
    for order in (-2, -1, 1, 2):
        square += (np.sinc(periods + order) ** 4 / sampled) ** 2
    return float(weight @ np.sqrt(square) / weight.sum())


def field_spacing(sigma: float, spectrum: Spectrum) -> float:
    """Return the widest spacing (Å) of a field's grid at which the error is ``TOLERANCE`` at most.

    Never less than ``SPACING`` of the bead's sigma (Å), blur included.
    """
    width = math.hypot(sigma, spectrum.blur)
    low, high = SPACING * width, _WIDEST * width
    for _ in range(20):
        middle = 0.5 * (low + high)
        if interpolation_error(middle, sigma, spectrum) <= TOLERANCE:
            low = middle
        else:
            high = middle
    return low


def inner_product(a: Array, b: Array, voxel_size: Array, width: float, spectrum: Spectrum) -> float:
    """Return ``(a, P b)``, a sum over voxels, of two maps of shape (nz, ny, nx) that are zero outside their box.

    ``width`` is the standard deviation (Å) of a bead, blur included, by which the box is padded.
    """
    voxel = np.asarray(voxel_size, dtype=np.float64)[::-1]
    _, shape = _padded(a.shape, voxel, width)
    first = scipy.fft.rfftn(a, s=shape, workers=1)
    second = first if b is a else scipy.fft.rfftn(b, s=shape, workers=1)
    return sum(
        _power_sum(first[plane], second[plane], spectrum(np.sqrt(squared)), shape)
        for plane, squared in _planes(shape, voxel)
    )


def _padded(size: tuple[int, ...], voxel: Array, width: float) -> tuple[NDArray[np.int_], tuple[int, ...]]:
    """Return the padding and the padded number of samples along (z, y, x)."""
    padding = np.ceil(_PADDING * width / voxel).astype(int)
    shape = tuple(scipy.fft.next_fast_len(int(n + 2 * p), real=True) for n, p in zip(size, padding, strict=True))
    return padding, shape


def _power_sum(a: NDArray[np.complex128], b: NDArray[np.complex128], weight: Array, shape: tuple[int, ...]) -> float:
    """Return what a plane adds to ``sum_k weight a* b`` of two real arrays, normalised as a sum over samples.

    a, b and weight are planes of half transforms, (ny, nx // 2 + 1); shape is that of the arrays, (nz, ny, nx).
    """
    half_plane = np.full(a.shape[1], 2.0)
    half_plane[0] = 1.0
    if shape[2] % 2 == 0:
        half_plane[-1] = 1.0
    return float(np.sum(half_plane * weight * (a.real * b.real + a.imag * b.imag)) / math.prod(shape))


def _planes(shape: tuple[int, ...], voxel: Array) -> Iterator[tuple[int, Array]]:
    """Yield the planes of the half grid of a real FFT and |k|² in each, (ny, nx // 2 + 1), 1/Å².

    One plane at a time: for large boxes each array of the whole grid is a good part of all the memory used.
    """
    ky = scipy.fft.fftfreq(shape[1], voxel[1])[:, None]
    kx = scipy.fft.rfftfreq(shape[2], voxel[2])[None, :]
    for plane, kz in enumerate(scipy.fft.fftfreq(shape[0], voxel[0])):
        yield plane, kz**2 + ky**2 + kx**2


def _resized(transform: NDArray[np.complex128], old: tuple[int, ...], new: tuple[int, ...]) -> NDArray[np.complex64]:
    """Crop or zero-pad the transform of a real array to another number of samples in the same box.

    The unpaired highest frequency of an even axis is dropped: it has no partner to keep the result real,
    and a field blurred by a bead has no power there.
    """
    out = np.zeros((new[0], new[1], new[2] // 2 + 1), dtype=np.complex64)
    keep = [(min(a, b) - 1) // 2 for a, b in zip(old, new, strict=True)]
    for source_z, target_z in _bands(keep[0]):
        for source_y, target_y in _bands(keep[1]):
            out[target_z, target_y, : keep[2] + 1] = transform[source_z, source_y, : keep[2] + 1]
    return out


def _bands(keep: int) -> tuple[tuple[slice, slice], ...]:
    """Slices of the frequencies 0..keep and -keep..-1 along one full axis, before and after resizing."""
    positive = slice(0, keep + 1)
    return ((positive, positive),) if keep == 0 else ((positive, positive), (slice(-keep, None), slice(-keep, None)))
