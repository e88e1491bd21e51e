"""GridOverlap: the overlap with a map evaluated by rendering the beads on the map's grid.

The direct evaluation: exact for white noise and any region of voxels, with a cost that grows with the windows of
the beads. It is the reference for the evaluation without a grid.

Two passes over the windows do all of it. The first adds the beads to a density. The second sums map and density over
each bead's window, which gives the derivatives and also the inner products: the density is a sum of beads, and so is
whatever is linear in it. Nothing passes over the grid, and where no bead is costs nothing.
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import ALLOCATING, KERNEL, PART
from bayesflex.neighbours import COORDINATE_LIMIT
from bayesflex.overlap import OverlapValues
from bayesflex.overlap.tiles import spatial_places
from bayesflex.rendering import (
    WINDOW,
    Windows,
    add_windows,
    fill_slopes,
    fill_windows,
    make_windows,
    profiles,
    shortest_row,
    sum_windows,
)
from bayesflex.simd import WIDTH, load, splat, store, totals

Array = NDArray[np.float64]

#: Successive beads whose windows are cleared together.
_BLOCK = 512


class GridArrays(NamedTuple):
    """What compiled code needs. Fields are zero in their padding; the last seven are workspaces."""

    order: NDArray[np.int64]  # beads in spatial order, (n_beads,); all that follows by bead is in this order
    peaks: Array  # see ``fill_windows``
    reaches: Array
    curvatures: Array
    low: Array  # lowest and highest allowed position, (3,), Å
    high: Array
    origin: Array  # (3,), Å
    voxel: Array
    shape: NDArray[np.int64]  # (nz, ny, nx)
    values: Array  # the map where it counts, (planes, rows, voxels)
    mask: NDArray[np.float32]  # 1 where voxels count, of the same shape; empty where all do
    free: NDArray[np.bool_]  # where all of a bead's window counts, (nz, ny, nx); empty where no mask is needed
    fixed: Array  # density of atoms that stand still, where it counts; empty where there are none
    centred: bool
    density: Array  # zero but during an evaluation, (planes, rows, voxels)
    positions: Array  # (n_beads, 3), in voxels
    windows: Windows
    masked: NDArray[np.bool_]  # whether a bead's window needs the mask, (n_beads,)
    slopes: Array
    sums: Array  # of map and density over the windows: 1, x, y and z of each, (n_beads, 8)
    masses: Array  # of the mask, and of the fixed density, (n_beads, 8)


class GridOverlap:
    """Overlap of beads with a map by rendering (P = 1 inside the region, 0 outside).

    Parameters
    ----------
    values
        The map, shape (nz, ny, nx).
    voxel_size, origin
        Order (x, y, z), Å.
    sigma
        Standard deviation of a bead, the sharpest one, Å.
    weights
        Bead weights, shape (n_beads,).
    region
        True for voxels that count, shape (nz, ny, nx), or None for all.
    centred
        Subtract the means over the region from map and model (an unknown offset).
    domain
        Lowest and highest allowed position, each (3,), Å.
    background
        Density of atoms that are rendered but not moved, shape (nz, ny, nx), or None.
    positions
        Of the beads at the start, shape (n_beads, 3), Å: beads close to each other there are taken one after the other,
        which is faster and changes a sum by rounding only. By default beads follow in their order.
    blur
        Standard deviation by which each bead is wider, Å, shape (n_beads,); None where all are alike.
    """

    def __init__(
        self,
        values: Array,
        voxel_size: Array,
        origin: Array,
        sigma: float,
        weights: Array,
        region: NDArray[np.bool_] | None,
        centred: bool,
        domain: tuple[Array, Array],
        background: Array | None = None,
        positions: Array | None = None,
        blur: Array | None = None,
    ) -> None:
        self.domain = domain
        region = np.ones(values.shape, dtype=bool) if region is None else region
        self.n_voxels = int(np.count_nonzero(region))
        self.map_mean = float(values[region].mean()) if centred else 0.0
        counted = np.where(region, values - self.map_mean, 0.0)
        self.map_power = float(np.vdot(counted, counted))
        #: Sum over the region of the model's density, background included, where last evaluated; 0 if not centred.
        self.total = 0.0

        n = len(weights)
        order = np.arange(n)
        if positions is not None:
            places = spatial_places(positions)
            order = places[places >= 0]
        voxel = np.array(voxel_size, dtype=np.float64)
        sigmas = np.hypot(sigma, np.zeros(n) if blur is None else blur)
        peaks, reaches, curvatures = profiles(np.asarray(weights, dtype=np.float64)[order], sigmas[order], WINDOW)
        widest = reaches.max(initial=WINDOW * sigma) / voxel
        padded = padded_shape(values.shape, widest[0])
        needs_mask = background is not None or self.n_voxels < values.size
        fixed, self._fixed_sums = np.zeros((0, 0, 0)), (0.0, 0.0, 0.0)
        if background is not None:
            fixed = np.where(region, background, 0.0)
            self._fixed_sums = float(np.vdot(counted, fixed)), float(np.vdot(fixed, fixed)), float(fixed.sum())
            fixed = in_padding(fixed, padded)
        limit = np.full(3, COORDINATE_LIMIT)
        self._arrays = GridArrays(
            order=order,
            peaks=peaks,
            reaches=reaches,
            curvatures=curvatures,
            low=np.maximum(domain[0], -limit),
            high=np.minimum(domain[1], limit),
            origin=np.array(origin, dtype=np.float64),
            voxel=voxel,
            shape=np.array(values.shape, dtype=np.int64),
            values=in_padding(counted, padded),
            mask=in_padding(region.astype(np.float32), padded) if needs_mask else np.zeros((0, 0, 0), np.float32),
            free=_free(region, widest, background is None) if needs_mask else np.zeros((0, 0, 0), np.bool_),
            fixed=fixed,
            centred=centred,
            density=np.zeros(padded),
            positions=np.zeros((n, 3)),
            windows=make_windows(n, widest, values.shape),
            masked=np.zeros(n, np.bool_),
            slopes=np.zeros((3, 0)),
            sums=np.zeros((n, WIDTH)),
            masses=np.zeros((n, WIDTH)),
        )
        self._arrays = self._arrays._replace(slopes=np.zeros((3, self._arrays.windows.factors.shape[2])))

    def clone(self) -> GridOverlap:
        """Return one that shares the map and owns its workspaces."""
        other, arrays = copy.copy(self), self._arrays
        other._arrays = arrays._replace(
            density=np.zeros(arrays.density.shape),
            positions=np.zeros_like(arrays.positions),
            windows=arrays.windows.clone(),
            masked=np.zeros_like(arrays.masked),
            slopes=np.zeros_like(arrays.slopes),
            sums=np.zeros_like(arrays.sums),
            masses=np.zeros_like(arrays.masses),
        )
        return other

    def evaluate(self, beads: Array) -> OverlapValues | None:
        """Return cross and power at bead positions (n_beads, 3), or None where a bead is outside the domain."""
        cross, power, self.total = _evaluate(np.ascontiguousarray(beads, dtype=np.float64), self._arrays)
        if math.isnan(cross):
            return None
        fixed_cross, fixed_power, fixed_total = self._fixed_sums
        self.total += fixed_total if self._arrays.centred else 0.0
        return OverlapValues(cross + fixed_cross, power + fixed_power - self.total**2 / self.n_voxels)

    def gradient(self, d_cross: float, d_power: float) -> Array:
        """Return ``d_cross · ∂cross/∂r + d_power · ∂power/∂r``, shape (n_beads, 3), where last evaluated."""
        arrays = self._arrays
        gradient = np.empty((len(arrays.order), 3))
        # The map is centred and masked already, so that only the model's own mean is taken off.
        mean = self.total / self.n_voxels
        _gradient_kernel(
            arrays.order,
            arrays.sums,
            arrays.masses,
            arrays.voxel,
            arrays.curvatures,
            d_cross,
            2.0 * d_power,
            -2.0 * d_power * mean,
            gradient,
        )
        return gradient


def padded_shape(shape: tuple[int, ...], cut: float) -> tuple[int, int, int]:
    """Return the number of planes, rows and voxels in memory.

    A row is an odd number of cache lines, and a plane eight rows more than a multiple of sixteen: in powers of two,
    all rows of a window would compete for the same few places of the cache.
    """
    nz, ny, nx = shape
    lines = -(-shortest_row(cut, nx) // WIDTH)
    return nz, ny + (8 - ny) % 16, WIDTH * (lines + 1 - lines % 2)


def in_padding(values: NDArray[Any], padded: tuple[int, int, int]) -> NDArray[Any]:
    """Return the values followed by zeros along each axis."""
    out = np.zeros(padded, values.dtype)
    nz, ny, nx = values.shape
    out[:nz, :ny, :nx] = values
    return out


def _free(region: NDArray[np.bool_], cut: Array, any_bead: bool) -> NDArray[np.bool_]:
    """Return where all of the grid in the window of a bead counts, by the voxel that the bead is nearest to.

    ``cut`` is the half width of the widest window in voxels, order (x, y, z).
    """
    if not any_bead:
        return np.zeros(region.shape, np.bool_)
    size = [2 * math.floor(c + 0.5) + 1 for c in cut[::-1]]
    return scipy.ndimage.minimum_filter(region.view(np.uint8), size=size, mode="constant", cval=1).astype(np.bool_)


@njit(**KERNEL)
def _evaluate(beads, arrays):  # type: ignore[no-untyped-def]
    """Set sums and masses; return the sums of cross, power and total over beads, cross NaN where one is not allowed."""
    if not _arrange(beads, arrays):
        return math.nan, 0.0, 0.0
    n, windows, density = beads.shape[0], arrays.windows, arrays.density
    shape = (arrays.shape[0], arrays.shape[1], arrays.shape[2])
    fill_windows(
        arrays.positions,
        arrays.peaks,
        arrays.reaches,
        arrays.curvatures,
        arrays.voxel,
        shape,
        density.shape[2],
        windows,
    )
    add_windows(windows, n, density)
    sum_windows(windows, n, arrays.values, density, arrays.masked, arrays.slopes, arrays.sums, arrays.masses)
    if arrays.mask.size > 0:
        _sum_masked(windows, arrays)
    _clear(windows, n, density)
    cross = power = mass = 0.0
    for p in range(n):
        cross += arrays.sums[p, 0]
        power += arrays.sums[p, 4] + arrays.masses[p, 4]
        mass += arrays.masses[p, 0]
    return cross, power, mass if arrays.centred else 0.0


@njit(**PART)
def _arrange(beads, arrays):  # type: ignore[no-untyped-def]
    """Copy beads (n, 3) in order, in voxels; return whether all are allowed."""
    low, high, origin, voxel, free = arrays.low, arrays.high, arrays.origin, arrays.voxel, arrays.free
    positions = arrays.positions
    for p in range(arrays.order.shape[0]):
        i = arrays.order[p]
        for axis in range(3):
            x = beads[i, axis]
            # Written so that NaN fails the comparison.
            if not (low[axis] <= x <= high[axis]):
                return False
            positions[p, axis] = (x - origin[axis]) / voxel[axis]
        if free.size > 0:
            x = min(max(int(positions[p, 0] + 0.5), 0), free.shape[2] - 1)
            y = min(max(int(positions[p, 1] + 0.5), 0), free.shape[1] - 1)
            z = min(max(int(positions[p, 2] + 0.5), 0), free.shape[0] - 1)
            arrays.masked[p] = not free[z, y, x]
    return True


@njit(**KERNEL)
def _sum_masked(windows, arrays):  # type: ignore[no-untyped-def]
    """Set the sums of beads whose windows need the mask: of the map, the density, fixed one included, and the mask."""
    first, extent, factors = windows.first, windows.extent, windows.factors
    values, density, mask, fixed, slopes = arrays.values, arrays.density, arrays.mask, arrays.fixed, arrays.slopes
    row = density.shape[2]
    plane = density.shape[1] * row
    width = factors.shape[2]
    with_fixed = fixed.size > 0
    zero = splat(0.0)
    for n in range(extent.shape[0]):
        if not arrays.masked[n]:
            continue
        fill_slopes(windows, n, slopes)
        mx, my, mz = extent[n, 0], extent[n, 1], extent[n, 2]
        along_y, along_z, slope_y, slope_z = factors[n, 1], factors[n, 2], slopes[1], slopes[2]
        corner = first[n, 2] * plane + first[n, 1] * row + first[n, 0]
        a0 = ax = ay = az = b0 = bx = by = bz = m0 = m_x = m_y = m_z = f0 = zero
        for k in range(0, mx, WIDTH):
            p0 = py = pz = q0 = qy = qz = n0 = ny = nz = g0 = zero
            for c in range(mz):
                at = corner + k + c * plane
                r0 = ry = s0 = sy = t0 = ty = u0 = zero
                for b in range(my):
                    factor, slope = splat(along_y[b]), splat(slope_y[b])
                    r, t = load(values, at), load(mask, at)
                    s = load(density, at) * t
                    if with_fixed:
                        u = load(fixed, at)
                        s, u0 = s + u, u0 + factor * u
                    r0, ry = r0 + factor * r, ry + slope * r
                    s0, sy = s0 + factor * s, sy + slope * s
                    t0, ty = t0 + factor * t, ty + slope * t
                    at += row
                factor, slope = splat(along_z[c]), splat(slope_z[c])
                p0, py, pz = p0 + factor * r0, py + factor * ry, pz + slope * r0
                q0, qy, qz = q0 + factor * s0, qy + factor * sy, qz + slope * s0
                n0, ny, nz = n0 + factor * t0, ny + factor * ty, nz + slope * t0
                g0 = g0 + factor * u0
            factor, slope = load(factors, 3 * n * width + k), load(slopes, k)
            a0, ax, ay, az = a0 + factor * p0, ax + slope * p0, ay + factor * py, az + factor * pz
            b0, bx, by, bz = b0 + factor * q0, bx + slope * q0, by + factor * qy, bz + factor * qz
            m0, m_x, m_y, m_z = m0 + factor * n0, m_x + slope * n0, m_y + factor * ny, m_z + factor * nz
            f0 = f0 + factor * g0
        store(arrays.sums, n * WIDTH, totals((a0, ax, ay, az, b0, bx, by, bz)))
        store(arrays.masses, n * WIDTH, totals((m0, m_x, m_y, m_z, f0, zero, zero, zero)))


@njit(**ALLOCATING)
def _clear(windows, n_beads, density):  # type: ignore[no-untyped-def]
    """Set density to zero where windows are: block by block in the box of a block's windows, where that is less."""
    first, extent = windows.first, windows.extent
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for begin in range(0, n_beads, _BLOCK):
        end = min(begin + _BLOCK, n_beads)
        low[:], high[:] = 1 << 62, 0
        n_vectors = 0
        for n in range(begin, end):
            mx, my, mz = (extent[n, 0] + WIDTH - 1) // WIDTH, extent[n, 1], extent[n, 2]
            if mx == 0:
                continue
            n_vectors += mx * my * mz
            low[0], high[0] = min(low[0], first[n, 0]), max(high[0], first[n, 0] + mx * WIDTH)
            low[1], high[1] = min(low[1], first[n, 1]), max(high[1], first[n, 1] + my)
            low[2], high[2] = min(low[2], first[n, 2]), max(high[2], first[n, 2] + mz)
        if n_vectors == 0:
            continue
        if (high[0] - low[0] + WIDTH - 1) // WIDTH * (high[1] - low[1]) * (high[2] - low[2]) <= n_vectors:
            _clear_box(density, low[0], high[0], low[1], high[1], low[2], high[2])
        else:
            for n in range(begin, end):
                x, y, z = first[n, 0], first[n, 1], first[n, 2]
                mx = (extent[n, 0] + WIDTH - 1) // WIDTH * WIDTH
                _clear_box(density, x, x + mx, y, y + extent[n, 1], z, z + extent[n, 2])


@njit(**KERNEL)
def _clear_box(density, x, x_end, y, y_end, z, z_end):  # type: ignore[no-untyped-def]
    row = density.shape[2]
    zero = splat(0.0)
    for c in range(z, z_end):
        for b in range(y, y_end):
            at = (c * density.shape[1] + b) * row
            for k in range(x, x_end, WIDTH):
                # The last vector ends where the box does.
                store(density, at + min(k, x_end - WIDTH), zero)


@njit(**KERNEL)
def _gradient_kernel(order, sums, masses, voxel, curvatures, of_map, of_density, of_mass, out):  # type: ignore[no-untyped-def]
    """Set out (n_beads, 3) to the gradient: distances over sigma²."""
    for p in range(order.shape[0]):
        for axis in range(3):
            slope = of_map * sums[p, 1 + axis] + of_density * sums[p, 5 + axis] + of_mass * masses[p, 1 + axis]
            out[order[p], axis] = -2.0 * curvatures[p] * voxel[axis] * slope
