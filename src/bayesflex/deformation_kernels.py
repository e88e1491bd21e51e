"""Deformation in compiled code: coordinates from the flat vector of unknowns, and gradients back.

What the unknowns are is said in :mod:`bayesflex.deformation`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import KERNEL, PART
from bayesflex.geometry import rotation_matrix
from bayesflex.simd import WIDTH, broadcast, load, load_points, multiply_add, splat, store, store_points, total

Array = NDArray[np.float64]

#: Beads are taken in blocks of so many, a multiple of ``WIDTH``: what is done with them one after the other finds them
#: in the first cache.
_BLOCK = 1024


@njit(**PART)
def haar(angle2):  # type: ignore[no-untyped-def]
    """Return the log of the Haar density of a rotation vector of this square, and its gradient per omega.

    The density is ``(sin(a/2) / (a/2))²`` with a = |omega|; -inf from a = pi on.
    """
    if not angle2 < math.pi**2:
        return -math.inf, 0.0
    if angle2 < 1e-6:
        return -angle2 / 12.0, -1.0 / 6.0
    angle = math.sqrt(angle2)
    half = 0.5 * angle
    return 2.0 * math.log(math.sin(half) / half), (1.0 / math.tan(half) - 2.0 / angle) / angle


@njit(**PART)
def jacobian_factors(angle2):  # type: ignore[no-untyped-def]
    """Return a, b of the left Jacobian ``J = 1 + a K + b K²`` of SO(3), K the cross product with omega."""
    if angle2 < 1e-8:
        return 0.5, 1.0 / 6.0
    angle = math.sqrt(angle2)
    return (1.0 - math.cos(angle)) / angle2, (angle - math.sin(angle)) / (angle2 * angle)


@njit(**KERNEL)
def _rotation_gradient(wx, wy, wz, tx, ty, tz, precision):  # type: ignore[no-untyped-def]
    """Return the log density of a rotation vector, and the gradient by it of that and of what has this torque."""
    angle2 = wx * wx + wy * wy + wz * wz
    log_haar, per_omega = haar(angle2)
    log_density = log_haar - 0.5 * precision * angle2
    # Jᵀ torque, J = 1 + first K + second K², K the cross product with omega
    first, second = jacobian_factors(angle2)
    ax, ay, az = wy * tz - wz * ty, wz * tx - wx * tz, wx * ty - wy * tx
    bx, by, bz = wy * az - wz * ay, wz * ax - wx * az, wx * ay - wy * ax
    gx = tx - first * ax + second * bx + (per_omega - precision) * wx
    gy = ty - first * ay + second * by + (per_omega - precision) * wy
    gz = tz - first * az + second * bz + (per_omega - precision) * wz
    return log_density, gx, gy, gz


class DeformationArrays(NamedTuple):
    """What compiled code needs of a deformation."""

    start: Array  # (n, 3), Å
    modes: NDArray[np.float32]  # (n_amplitudes, 3 n)
    displaced: bool
    rigid: bool
    centre: Array  # (3,), Å
    translation_precision: float  # 1/Å²
    rotation_precision: float  # 0 for no Gaussian
    body_centre: Array  # (n_bodies, 3), Å
    body_first: NDArray[np.int64]  # where the residues of a body begin, (n_bodies + 1,)
    body_residue: NDArray[np.int64]
    body_weight: Array


@njit(**KERNEL)
def deform(theta, deformation, coords):  # type: ignore[no-untyped-def]
    """Set the first n rows of coords to r(theta)."""
    start, modes, centre = deformation.start, deformation.modes, deformation.centre
    flat, flat_start = coords.reshape(-1), start.reshape(-1)
    n_beads, n_modes, n_bodies = start.shape[0], modes.shape[0], deformation.body_centre.shape[0]
    size = start.size
    end = n_modes + (size if deformation.displaced else 0)
    if n_bodies:
        flat[:size] = 0.0
    at = end + (6 if deformation.rigid else 0)
    for body in range(n_bodies):
        xx, xy, xz, yx, yy, yz, zx, zy, zz = rotation_matrix(theta[at], theta[at + 1], theta[at + 2])
        sx, sy, sz = theta[at + 3], theta[at + 4], theta[at + 5]
        at += 6
        cx, cy, cz = (
            deformation.body_centre[body, 0],
            deformation.body_centre[body, 1],
            deformation.body_centre[body, 2],
        )
        for k in range(deformation.body_first[body], deformation.body_first[body + 1]):
            n, weight = deformation.body_residue[k], deformation.body_weight[k]
            x, y, z = start[n, 0] - cx, start[n, 1] - cy, start[n, 2] - cz
            coords[n, 0] += weight * ((xx - 1.0) * x + xy * y + xz * z + sx)
            coords[n, 1] += weight * (yx * x + (yy - 1.0) * y + yz * z + sy)
            coords[n, 2] += weight * (zx * x + zy * y + (zz - 1.0) * z + sz)
    xx, xy, xz, yx, yy, yz, zx, zy, zz = 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0
    cx = cy = cz = sx = sy = sz = 0.0
    if deformation.rigid:
        xx, xy, xz, yx, yy, yz, zx, zy, zz = rotation_matrix(theta[end], theta[end + 1], theta[end + 2])
        cx, cy, cz = centre[0], centre[1], centre[2]
        sx, sy, sz = cx + theta[end + 3], cy + theta[end + 4], cz + theta[end + 5]
    for first in range(0, n_beads, _BLOCK):
        last = min(first + _BLOCK, n_beads)
        # All modes for eight numbers at a time: coordinates are written once, and not read again for each mode.
        whole = 3 * last - (3 * last) % WIDTH
        for k in range(3 * first, whole, WIDTH):
            sums = load(start, k)
            if n_bodies:
                sums = sums + load(flat, k)
            if deformation.displaced:
                sums = sums + load(theta, n_modes + k)
            for m in range(n_modes):
                sums = multiply_add(broadcast(theta, m), load(modes, m * size + k), sums)
            store(flat, k, sums)
        for k in range(whole, 3 * last):
            value = flat_start[k]
            if n_bodies:
                value += flat[k]
            if deformation.displaced:
                value += theta[n_modes + k]
            for m in range(n_modes):
                value += theta[m] * modes[m, k]
            flat[k] = value
        if not deformation.rigid:
            continue
        eights = last - last % WIDTH
        for n in range(first, eights, WIDTH):
            x8, y8, z8 = load_points(coords, n)
            x8, y8, z8 = x8 - splat(cx), y8 - splat(cy), z8 - splat(cz)
            store_points(
                coords,
                n,
                splat(xx) * x8 + splat(xy) * y8 + splat(xz) * z8 + splat(sx),
                splat(yx) * x8 + splat(yy) * y8 + splat(yz) * z8 + splat(sy),
                splat(zx) * x8 + splat(zy) * y8 + splat(zz) * z8 + splat(sz),
            )
        for n in range(eights, last):
            x, y, z = coords[n, 0] - cx, coords[n, 1] - cy, coords[n, 2] - cz
            coords[n, 0] = xx * x + xy * y + xz * z + sx
            coords[n, 1] = yx * x + yy * y + yz * z + sy
            coords[n, 2] = zx * x + zy * y + zz * z + sz


@njit(**PART)
def _pull_back_motion(theta, at, tx, ty, tz, sx, sy, sz, deformation, log_density, out):  # type: ignore[no-untyped-def]
    """Set out from ``at`` on, a rotation and a translation, from their torque and force; return log p(theta) so far."""
    out[at + 3], out[at + 4], out[at + 5] = sx, sy, sz
    for k in range(3):
        shift = theta[at + 3 + k]
        out[at + 3 + k] -= deformation.translation_precision * shift
        log_density -= 0.5 * deformation.translation_precision * shift * shift
    log_turn, out[at], out[at + 1], out[at + 2] = _rotation_gradient(
        theta[at], theta[at + 1], theta[at + 2], tx, ty, tz, deformation.rotation_precision
    )
    return log_density + log_turn


@njit(**KERNEL)
def pull_back(theta, coords, deformation, gradient, out):  # type: ignore[no-untyped-def]
    """Set out (n_dim,) to the gradient by theta of a function of r plus log p(theta), and return log p(theta).

    The first n rows of gradient, that of the function at coords = r(theta), are turned by Rᵀ in place.
    """
    modes, centre = deformation.modes, deformation.centre
    n_beads, n_modes, size = deformation.start.shape[0], modes.shape[0], deformation.start.size
    end = n_modes + (size if deformation.displaced else 0)
    log_density = 0.0
    flat = gradient.reshape(-1)
    out[:n_modes] = 0.0
    xx, xy, xz, yx, yy, yz, zx, zy, zz = 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0
    cx = cy = cz = tx = ty = tz = sx = sy = sz = 0.0
    if deformation.rigid:
        xx, xy, xz, yx, yy, yz, zx, zy, zz = rotation_matrix(theta[end], theta[end + 1], theta[end + 2])
        cx, cy, cz = centre[0] + theta[end + 3], centre[1] + theta[end + 4], centre[2] + theta[end + 5]
    tx8 = ty8 = tz8 = sx8 = sy8 = sz8 = splat(0.0)
    for first in range(0, n_beads, _BLOCK):
        last = min(first + _BLOCK, n_beads)
        if deformation.rigid:
            eights = last - last % WIDTH
            for n in range(first, eights, WIDTH):
                x8, y8, z8 = load_points(coords, n)
                x8, y8, z8 = x8 - splat(cx), y8 - splat(cy), z8 - splat(cz)
                gx8, gy8, gz8 = load_points(gradient, n)
                tx8, ty8, tz8 = tx8 + (y8 * gz8 - z8 * gy8), ty8 + (z8 * gx8 - x8 * gz8), tz8 + (x8 * gy8 - y8 * gx8)
                sx8, sy8, sz8 = sx8 + gx8, sy8 + gy8, sz8 + gz8
                store_points(
                    gradient,
                    n,
                    splat(xx) * gx8 + splat(yx) * gy8 + splat(zx) * gz8,
                    splat(xy) * gx8 + splat(yy) * gy8 + splat(zy) * gz8,
                    splat(xz) * gx8 + splat(yz) * gy8 + splat(zz) * gz8,
                )
            for n in range(eights, last):
                x, y, z = coords[n, 0] - cx, coords[n, 1] - cy, coords[n, 2] - cz
                gx, gy, gz = gradient[n, 0], gradient[n, 1], gradient[n, 2]
                tx, ty, tz = tx + (y * gz - z * gy), ty + (z * gx - x * gz), tz + (x * gy - y * gx)
                sx, sy, sz = sx + gx, sy + gy, sz + gz
                gradient[n, 0] = xx * gx + yx * gy + zx * gz
                gradient[n, 1] = xy * gx + yy * gy + zy * gz
                gradient[n, 2] = xz * gx + yz * gy + zz * gz
        # Four modes at a time, so that the gradient is read a quarter as often. Where fewer are left, the last one
        # stands in for those that are not there.
        whole = 3 * last - (3 * last) % WIDTH
        for a in range(0, n_modes, 4):
            b, c, d = min(a + 1, n_modes - 1), min(a + 2, n_modes - 1), min(a + 3, n_modes - 1)
            sum_a = sum_b = sum_c = sum_d = splat(0.0)
            for k in range(3 * first, whole, WIDTH):
                g = load(flat, k)
                sum_a = multiply_add(g, load(modes, a * size + k), sum_a)
                sum_b = multiply_add(g, load(modes, b * size + k), sum_b)
                sum_c = multiply_add(g, load(modes, c * size + k), sum_c)
                sum_d = multiply_add(g, load(modes, d * size + k), sum_d)
            # The last one last: where it stands in for others, its own sum is what stays.
            of_a, of_b, of_c, of_d = out[a], out[b], out[c], out[d]
            out[a], out[b] = of_a + total(sum_a), of_b + total(sum_b)
            out[c], out[d] = of_c + total(sum_c), of_d + total(sum_d)
            for m in range(a, d + 1):
                for k in range(whole, 3 * last):
                    out[m] += flat[k] * modes[m, k]
        if deformation.displaced:
            for k in range(3 * first, 3 * last):
                out[n_modes + k] = flat[k]
    if deformation.rigid:
        tx, ty, tz = tx + total(tx8), ty + total(ty8), tz + total(tz8)
        sx, sy, sz = sx + total(sx8), sy + total(sy8), sz + total(sz8)
        log_density = _pull_back_motion(theta, end, tx, ty, tz, sx, sy, sz, deformation, log_density, out)
    at = end + (6 if deformation.rigid else 0)
    for body in range(deformation.body_centre.shape[0]):
        wx, wy, wz = theta[at], theta[at + 1], theta[at + 2]
        xx, xy, xz, yx, yy, yz, zx, zy, zz = rotation_matrix(wx, wy, wz)
        cx, cy, cz = (
            deformation.body_centre[body, 0],
            deformation.body_centre[body, 1],
            deformation.body_centre[body, 2],
        )
        tx = ty = tz = sx = sy = sz = 0.0
        for k in range(deformation.body_first[body], deformation.body_first[body + 1]):
            n, weight = deformation.body_residue[k], deformation.body_weight[k]
            x, y, z = deformation.start[n, 0] - cx, deformation.start[n, 1] - cy, deformation.start[n, 2] - cz
            gx, gy, gz = weight * gradient[n, 0], weight * gradient[n, 1], weight * gradient[n, 2]
            x, y, z = xx * x + xy * y + xz * z, yx * x + yy * y + yz * z, zx * x + zy * y + zz * z
            tx, ty, tz = tx + (y * gz - z * gy), ty + (z * gx - x * gz), tz + (x * gy - y * gx)
            sx, sy, sz = sx + gx, sy + gy, sz + gz
        log_density = _pull_back_motion(theta, at, tx, ty, tz, sx, sy, sz, deformation, log_density, out)
        at += 6
    return log_density
