"""Preparation of density maps: cropping, blurring, filtering, resampling, masks.

Pure functions from map to map that leave every feature where it is in space. Densities simulated from coordinates
come from ``rendering``.

Both filters act on the discrete cosine transform, which is the Fourier transform of the map mirrored at its faces:
density cut by one face does not leak in through the opposite one, and the map's sum is kept. With n voxels of edge v
along an axis, component m (0 to n - 1) has the spatial frequency m / (2 n v).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.signal
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import KERNEL
from bayesflex.density_map import DensityMap
from bayesflex.errors import InputError

Array = NDArray[np.float64]

#: Width of the low-pass filter's edge as a fraction of its frequency: about two shells of a box ten resolutions wide,
#: the width that RELION uses.
LOW_PASS_EDGE = 0.2


def crop_or_pad(density: DensityMap, coords: Array, margin: float) -> DensityMap:
    """Return the map on the smallest box of whole voxels that holds a model with a margin.

    The new grid's voxels coincide with the old ones', so values are copied. Where the new box reaches beyond the old
    one it is filled with the background: the median over the voxels on the old box's faces. Those are what the map
    continues from, and mostly solvent; the median ignores a molecule that touches a face, and unlike zero it is right
    for maps whose solvent is not at zero.

    Parameters
    ----------
    density
        The map.
    coords
        Positions of the model, shape (n, 3), Å.
    margin
        Least distance from the outermost positions to the faces of the box (Å), which runs through the outer voxels'
        centres.

    Raises
    ------
    InputError
        If there are no coordinates, one is not finite, or the margin is negative.
    """
    _check_coords(density, coords)
    if not (np.isfinite(margin) and margin >= 0):
        raise InputError(f"{density.name}: expected a margin of at least 0 Å around the model, got {margin}.")
    index = density.to_index(coords)
    reach = margin / density.voxel_size
    # Rounding must not add a voxel where a position and its margin end exactly on one.
    low = np.floor(index.min(axis=0) - reach + 1e-9).astype(np.int64)
    high = np.ceil(index.max(axis=0) + reach - 1e-9).astype(np.int64) + 1
    size = np.array(density.shape_xyz)
    values = np.full((high - low)[::-1], background(density), dtype=density.values.dtype)
    source_low, source_high = np.clip(low, 0, size), np.clip(high, 0, size)
    source = tuple(slice(a, b) for a, b in zip(source_low[::-1], source_high[::-1], strict=True))
    target = tuple(slice(a, b) for a, b in zip((source_low - low)[::-1], (source_high - low)[::-1], strict=True))
    if np.all(source_high > source_low):
        values[target] = density.values[source]
    return density.on_grid(values, density.voxel_size, density.to_position(low.astype(np.float64)))


def background(density: DensityMap) -> float:
    """Return the median over the voxels on the six faces of the box."""
    on_face = np.ones(density.values.shape, dtype=bool)
    on_face[1:-1, 1:-1, 1:-1] = False
    return float(np.median(density.values[on_face]))


def gaussian_blur(density: DensityMap, sigma: float) -> DensityMap:
    """Return the map convolved with an isotropic Gaussian: gain exp(-2 π² σ² k²).

    Parameters
    ----------
    density
        The map, voxels of any shape.
    sigma
        Standard deviation, Å.

    Raises
    ------
    InputError
        If sigma is negative or not finite.
    """
    if not (np.isfinite(sigma) and sigma >= 0):
        raise InputError(f"{density.name}: expected a blur of at least 0 Å, got {sigma}.")
    return _filtered(density, lambda k_squared: np.exp(-2.0 * (np.pi * sigma) ** 2 * k_squared))


def low_pass(density: DensityMap, resolution: float) -> DensityMap:
    """Return the map without detail finer than a resolution d.

    The gain is 1 for k d <= 1 - w/2, 0 for k d >= 1 + w/2, and (1 + cos(π (k d - 1 + w/2) / w)) / 2 in between, with
    the width w = ``LOW_PASS_EDGE``: one half at k = 1/d.

    Parameters
    ----------
    density
        The map, voxels of any shape.
    resolution
        d, Å.

    Raises
    ------
    InputError
        If the resolution is not positive and finite.
    """
    if not (np.isfinite(resolution) and resolution > 0):
        raise InputError(f"{density.name}: expected a positive, finite resolution in Å to filter to, got {resolution}.")

    def gain(k_squared: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        return _raised_cosine((resolution * np.sqrt(k_squared) - 1.0) / LOW_PASS_EDGE + 0.5)

    return _filtered(density, gain)


def resample(density: DensityMap, voxel_size: float) -> DensityMap:
    """Return the map with cubic voxels of about this edge, by Fourier resampling.

    The box keeps its size, so the edge along each axis is the one nearest to that asked for of which a whole number
    fill the box: read it from the result.

    Parameters
    ----------
    density
        The map.
    voxel_size
        Edge of the new voxels, Å.

    Raises
    ------
    InputError
        If the voxel size is not positive and finite, or exceeds the box.
    """
    if not (np.isfinite(voxel_size) and voxel_size > 0):
        raise InputError(f"{density.name}: expected a positive, finite voxel size in Å, got {voxel_size} (--voxel).")
    if voxel_size > density.box_size.min():
        raise InputError(
            f"{density.name}: expected a voxel size below the box's {density.box_size.min():g} Å, got {voxel_size} "
            "(--voxel)."
        )
    nx, ny, nz = (max(1, round(edge / voxel_size)) for edge in density.box_size.tolist())
    return _resampled(density, (nx, ny, nz))


def resample_to_box(density: DensityMap, n_voxels: int) -> DensityMap:
    """Return the map with a number of voxels along each axis, by Fourier resampling: the paper reduces to 128³.

    The box keeps its size; voxels of a box that is not cubic become anisotropic.

    Parameters
    ----------
    density
        The map.
    n_voxels
        Voxels along each axis of the result.

    Raises
    ------
    InputError
        If the number is below 1.
    """
    if n_voxels < 1:
        raise InputError(f"{density.name}: expected at least 1 voxel along each axis of the new box, got {n_voxels}.")
    return _resampled(density, (n_voxels, n_voxels, n_voxels))


def mask_around(density: DensityMap, coords: Array, radius: float, soft_edge: float = 0.0) -> Array:
    """Return weights from 1 near a model to 0 away from it, shape (nz, ny, nx).

    With s the distance from a voxel to the nearest position: 1 for s <= radius, 0 for s >= radius + soft_edge, and
    (1 + cos(π (s - radius) / soft_edge)) / 2 in between.

    Parameters
    ----------
    density
        The map whose grid is meant.
    coords
        Positions, shape (n, 3), Å.
    radius, soft_edge
        Å.

    Raises
    ------
    InputError
        If there are no coordinates, one is not finite, the radius is not positive or the edge is negative.
    """
    _check_coords(density, coords)
    if not (np.isfinite(radius) and radius > 0 and np.isfinite(soft_edge) and soft_edge >= 0):
        raise InputError(
            f"{density.name}: expected a positive mask radius and an edge of at least 0 Å, got {radius} and "
            f"{soft_edge}."
        )
    reach = radius + soft_edge
    index = density.to_index(coords)
    # Positions beyond reach of the box touch no voxel; without them the kernel's indices cannot overflow.
    near = np.all(
        (index > -1 - reach / density.voxel_size) & (index < density.shape_xyz + reach / density.voxel_size), 1
    )
    squares = np.full(density.values.shape, np.inf)
    _nearest_squares_kernel(np.ascontiguousarray(index[near]), density.voxel_size, reach, squares)
    distance = np.sqrt(squares)
    if soft_edge == 0.0:
        return np.where(distance <= radius, 1.0, 0.0)
    return _raised_cosine((distance - radius) / soft_edge)


def normalise(density: DensityMap, mask: Array | None = None) -> DensityMap:
    """Return the map shifted and scaled to mean 0 and standard deviation 1.

    Parameters
    ----------
    density
        The map.
    mask
        Weights, shape (nz, ny, nx), with which mean and deviation are taken; all voxels alike if None.

    Raises
    ------
    InputError
        If the mask has another shape or no weight, or the map is constant there.
    """
    values = density.values.astype(np.float64)
    if mask is not None and (mask.shape != values.shape or not mask.sum() > 0):
        raise InputError(
            f"{density.name}: expected a mask on the map's grid {values.shape} with some weight, got shape "
            f"{mask.shape} and total weight {mask.sum():g}."
        )
    mean = np.average(values, weights=mask)
    sd = np.sqrt(np.average((values - mean) ** 2, weights=mask))
    if not sd > 0:
        raise InputError(f"{density.name}: expected a map with some contrast, got one that is constant in the region.")
    return density.with_values(((values - mean) / sd).astype(density.values.dtype))


def trilinear(density: DensityMap, coords: Array) -> Array:
    """Return the map's values at positions (n, 3), Å, by trilinear interpolation; NaN outside the box, shape (n,).

    The box is that of :meth:`DensityMap.contains`; in its outer half voxel the outermost values hold.
    """
    inside = density.contains(coords)
    index = density.to_index(coords[inside])
    result = np.full(len(coords), np.nan)
    result[inside] = scipy.ndimage.map_coordinates(
        density.values, index[:, ::-1].T, output=np.float64, order=1, mode="nearest"
    )
    return result


def _raised_cosine(into_edge: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """Return 1 where the argument is at most 0, 0 where it is at least 1, and half a cosine wave in between."""
    falling: NDArray[Any] = 0.5 * (1.0 + np.cos(np.pi * np.clip(into_edge, 0.0, 1.0)))
    return falling


def _filtered(
    density: DensityMap, gain: Callable[[NDArray[np.floating[Any]]], NDArray[np.floating[Any]]]
) -> DensityMap:
    """Multiply the components of the mirrored map by a gain, a function of the squared frequency (1/Å²)."""
    axes = zip(density.values.shape, density.voxel_size[::-1].tolist(), strict=True)
    kz, ky, kx = (np.arange(n, dtype=density.values.dtype) / (2.0 * n * edge) for n, edge in axes)
    k_squared = kz[:, None, None] ** 2 + ky[None, :, None] ** 2 + kx[None, None, :] ** 2
    components = scipy.fft.dctn(density.values, type=2, workers=1)
    components *= gain(k_squared)
    return density.with_values(scipy.fft.idctn(components, type=2, overwrite_x=True, workers=1))


def _resampled(density: DensityMap, shape_xyz: tuple[int, int, int]) -> DensityMap:
    """Evaluate the map's trigonometric interpolant, periodic in the box, on other points of the box.

    Voxel (0, 0, 0) stays, the others are spread evenly over the same period. Fewer points than before drop the
    frequencies that they cannot carry; a map without such frequencies is resampled exactly.
    """
    values = density.values
    for axis, n_voxels in enumerate(shape_xyz[::-1]):
        if n_voxels != values.shape[axis]:
            values = scipy.signal.resample(values, n_voxels, axis=axis)
    return density.on_grid(np.ascontiguousarray(values), density.box_size / np.array(shape_xyz), density.origin)


def _check_coords(density: DensityMap, coords: Array) -> None:
    n_bad = int(np.count_nonzero(~np.isfinite(coords)))
    if len(coords) == 0 or n_bad:
        raise InputError(
            f"{density.name}: expected the positions of a model, got {len(coords)} of them with {n_bad} values that "
            "are not finite. Check the model's coordinates."
        )


@njit(**KERNEL)
def _nearest_squares_kernel(index: Array, voxel_size: Array, reach: float, squares: Array) -> None:
    """Lower each voxel's squared distance (Å²) to the nearest of the fractional indices (n, 3), within reach (Å)."""
    nz, ny, nx = squares.shape
    reach_x, reach_y, reach_z = reach / voxel_size[0], reach / voxel_size[1], reach / voxel_size[2]
    for n in range(len(index)):
        x, y, z = index[n, 0], index[n, 1], index[n, 2]
        for k in range(max(0, math.ceil(z - reach_z)), min(nz, math.floor(z + reach_z) + 1)):
            square_z = ((k - z) * voxel_size[2]) ** 2
            for j in range(max(0, math.ceil(y - reach_y)), min(ny, math.floor(y + reach_y) + 1)):
                square_yz = square_z + ((j - y) * voxel_size[1]) ** 2
                for i in range(max(0, math.ceil(x - reach_x)), min(nx, math.floor(x + reach_x) + 1)):
                    square = square_yz + ((i - x) * voxel_size[0]) ** 2
                    squares[k, j, i] = min(squares[k, j, i], square)
