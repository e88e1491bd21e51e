"""The pair function K(r): the overlap of two beads at a distance, tabulated.

``K(r) = (1 / voxel volume) ∫ P(k) ĝ(k)² exp(2 pi i k·r) d³k``, so that the model's power is
``(rho_sim, P rho_sim) = sum_nm w_n w_m K(|r_n - r_m|)``. For white noise it is a Gaussian of width √2 sigma.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.overlap.spectrum import Spectrum

Array = NDArray[np.float64]

#: K is cut where it has fallen, and stays, below this fraction of K(0).
TOLERANCE = 1e-4

_N_INTERVALS = 1024
_N_NODES = 600


@dataclass(frozen=True, eq=False)
class PairFunction:
    """Piecewise cubic table of K over the squared distance.

    Parameters
    ----------
    at_zero
        K(0).
    cutoff
        Distance (Å) from which K is zero; value and slope go to zero there.
    table
        Shape (n_intervals, 4): coefficients of 1, t, t², t³ with t in [0, 1) inside each interval of r².
    """

    at_zero: float
    cutoff: float
    table: Array


@functools.cache
def _quadrature() -> tuple[Array, Array]:
    """Return the nodes and weights of Gauss and Legendre on (-1, 1): an eigenvalue problem, solved once."""
    return np.polynomial.legendre.leggauss(_N_NODES)


def pair_function(sigma: float, spectrum: Spectrum, voxel_volume: float) -> PairFunction:
    """Tabulate K for beads of standard deviation ``sigma`` (Å) under a precision spectrum.

    The radial integral is done by Gauss-Legendre quadrature. At a twentieth of the cut-off before its end, K is
    switched off smoothly.
    """
    width = math.hypot(sigma, spectrum.blur)
    # exp(-4 pi^2 width^2 k^2) is below 1e-16 from here on
    k_max = math.sqrt(37.0) / (2.0 * math.pi * width)
    nodes, node_weights = _quadrature()
    k = 0.5 * k_max * (nodes + 1.0)
    amplitude = 0.5 * k_max * node_weights * 4.0 * math.pi * k**2
    amplitude = amplitude * spectrum(k) * np.exp(-4.0 * math.pi**2 * sigma**2 * k**2) / voxel_volume

    def value(r: Array) -> Array:
        return np.asarray(np.sinc(2.0 * np.outer(r, k)) @ amplitude)

    at_zero = float(amplitude.sum())
    reach = np.linspace(0.0, 16.0 * width + 4.0 * (spectrum.resolution or 0.0), 800)
    above = np.abs(value(reach)) > TOLERANCE * at_zero
    cutoff = float(reach[min(np.flatnonzero(above)[-1] + 1, len(reach) - 1)]) / 0.95

    squared = np.linspace(0.0, cutoff**2, _N_INTERVALS + 1)
    r = np.sqrt(squared)
    # d/ds with s = r²: the derivative of sinc(2kr) is (cos(2 pi k r) - sinc(2kr)) / r per unit of r
    phase = 2.0 * math.pi * np.outer(r, k)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (np.cos(phase) - np.sinc(phase / math.pi)) / (2.0 * squared[:, None])
    small = phase < 1e-2
    slope = np.where(small, -((2.0 * math.pi * k) ** 2) / 6.0 * (1.0 - phase**2 / 10.0), slope)
    values, slopes = value(r), slope @ amplitude
    t = np.clip((r / cutoff - 0.95) / 0.05, 0.0, 1.0)
    switch = 1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t**2)
    switch_slope = -30.0 * t**2 * (1.0 - t) ** 2 / (0.05 * cutoff) / (2.0 * np.maximum(r, 1e-12))
    slopes = slopes * switch + values * switch_slope
    values = values * switch

    step = squared[1]
    left, right = values[:-1], values[1:]
    d_left, d_right = step * slopes[:-1], step * slopes[1:]
    table = np.stack(
        [left, d_left, 3.0 * (right - left) - 2.0 * d_left - d_right, 2.0 * (left - right) + d_left + d_right], axis=1
    )
    return PairFunction(at_zero, cutoff, np.ascontiguousarray(table))


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
def _pair_sum_kernel(  # type: ignore[no-untyped-def]
    coords, weights, start, index, table, cutoff, near, squared, gradient
):
    """Return sum_{n != m} w_n w_m K(|r_n - r_m|) over a half list; set gradient (n, 3) to its derivative.

    near (n,) and squared (n,) are workspaces: the partners within the cut-off are gathered first, without a branch,
    since a third of the listed pairs are beyond it and no processor can guess which.
    """
    cut2 = cutoff * cutoff
    scale = table.shape[0] / cut2
    gradient[:] = 0.0
    total = 0.0
    for i in range(coords.shape[0]):
        xi, yi, zi = coords[i, 0], coords[i, 1], coords[i, 2]
        n_near = 0
        for p in range(start[i], start[i + 1]):
            j = index[p]
            dx = xi - coords[j, 0]
            dy = yi - coords[j, 1]
            dz = zi - coords[j, 2]
            s = dx * dx + dy * dy + dz * dz
            near[n_near] = j
            squared[n_near] = s
            n_near += s < cut2
        # 2 (both orders of the pair) times dK/ds times ds/dr = 2 d
        slope = 4.0 * scale * weights[i]
        gx = gy = gz = row = 0.0
        for q in range(n_near):
            j = near[q]
            u = squared[q] * scale
            cell = min(int(u), table.shape[0] - 1)  # s just below the cut may round up
            t = u - cell
            c1, c2, c3 = table[cell, 1], table[cell, 2], table[cell, 3]
            row += weights[j] * (table[cell, 0] + t * (c1 + t * (c2 + t * c3)))
            f = weights[j] * slope * (c1 + t * (2.0 * c2 + 3.0 * t * c3))
            fx = f * (xi - coords[j, 0])
            fy = f * (yi - coords[j, 1])
            fz = f * (zi - coords[j, 2])
            gx += fx
            gy += fy
            gz += fz
            gradient[j, 0] -= fx
            gradient[j, 1] -= fy
            gradient[j, 2] -= fz
        total += 2.0 * weights[i] * row
        gradient[i, 0] += gx
        gradient[i, 1] += gy
        gradient[i, 2] += gz
    return total
