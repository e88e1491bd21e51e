"""The pair function K(r): the overlap of two beads at a distance, as a polynomial.

``K(r) = (1 / voxel volume) ∫ P(k) ĝ_a(k) ĝ_b(k) exp(2 pi i k·r) d³k``, so that the model's power is
``(rho_sim, P rho_sim) = sum_nm w_n w_m K(|r_n - r_m|)``. For white noise it is a Gaussian of width √2 sigma. K is a
smooth function of r² that fades, so that one polynomial in r² holds all of it up to the distance at which it ends:
no table is read, and eight pairs are evaluated at once.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import KERNEL
from bayesflex.overlap.spectrum import Spectrum
from bayesflex.simd import WIDTH, broadcast, load, lowest_bit, multiply_add, negative, select, splat, store, total

Array = NDArray[np.float64]

#: Largest error of K at any distance, as a fraction of K(0): from there on it counts as zero, and the polynomial
#: is as accurate. The power of a protein is then right to about 1e-4.
TOLERANCE = 5e-5

#: Smallest and largest degree of the polynomial.
_DEGREES = (10, 25)
_SHORT = _DEGREES[0] + 1

_N_NODES = 600

#: Distances at which K is sampled for the fit of the polynomial, and to find its end.
_N_SAMPLES, _N_REACH = 400, 1600


_NUMBERS = np.arange(float(WIDTH))


@dataclass(frozen=True, eq=False)
class PairFunction:
    """Polynomial of K in the squared distance, zero with its slope at the cut-off.

    Parameters
    ----------
    at_zero
        K(0).
    cutoff
        Distance (Å) from which K is zero.
    coefficients
        Of 1, v, v², ... with ``v = 2 r² / cutoff² - 1`` from -1 to 1.
    """

    at_zero: float
    cutoff: float
    coefficients: Array

    def __call__(self, distance: Array) -> Array:
        """Return K at distances in Å."""
        v = 2.0 * np.minimum(distance / self.cutoff, 1.0) ** 2 - 1.0
        return np.where(distance < self.cutoff, np.polynomial.polynomial.polyval(v, self.coefficients), 0.0)

    @property
    def scales(self) -> tuple[float, float, float]:
        """What a sum over pairs needs besides: v + 1 in units of r², slopes of K in units of its change, the inverse.

        A force is taken for both orders of a pair, and d(r²) is 2 d times the change of d.
        """
        slope = 8.0 / self.cutoff**2
        return 2.0 / self.cutoff**2, slope, 1.0 / slope


@functools.cache
def _quadrature() -> tuple[Array, Array]:
    """Return the nodes and weights of Gauss and Legendre on (-1, 1): an eigenvalue problem, solved once."""
    return np.polynomial.legendre.leggauss(_N_NODES)


def pair_function(
    sigma: float, spectrum: Spectrum, voxel_volume: float, other_sigma: float | None = None
) -> PairFunction:
    """Return K for beads of standard deviations ``sigma`` and ``other_sigma`` (Å) under a precision spectrum.

    The radial integral is done by Gauss-Legendre quadrature, and the polynomial is the one of least squares at the
    Chebyshev points, of the lowest degree that is within ``TOLERANCE``.
    """
    mean_square = 0.5 * (sigma**2 + (sigma if other_sigma is None else other_sigma) ** 2)
    width = math.hypot(math.sqrt(mean_square), spectrum.blur)
    # exp(-4 pi^2 width^2 k^2) is below 1e-16 from here on
    k_max = math.sqrt(37.0) / (2.0 * math.pi * width)
    nodes, node_weights = _quadrature()
    k = 0.5 * k_max * (nodes + 1.0)
    amplitude = 0.5 * k_max * node_weights * 4.0 * math.pi * k**2
    amplitude = amplitude * spectrum(k) * np.exp(-4.0 * math.pi**2 * mean_square * k**2) / voxel_volume

    def value(r: Array) -> Array:
        return np.asarray(np.sinc(2.0 * np.outer(r, k)) @ amplitude)

    at_zero = float(amplitude.sum())
    reach = np.linspace(0.0, 16.0 * width + 4.0 * (spectrum.resolution or 0.0), _N_REACH)
    above = np.flatnonzero(np.abs(value(reach)) > TOLERANCE * at_zero)
    cutoff = float(reach[min(above[-1] + 1, len(reach) - 1)])

    v = np.cos(math.pi * (np.arange(_N_SAMPLES) + 0.5) / _N_SAMPLES)
    samples = value(cutoff * np.sqrt(0.5 * (v + 1.0)))
    ending = np.array([0.25, -0.5, 0.25])  # ((1 - v) / 2)²: zero, and flat, at the cut-off
    for degree in range(*_DEGREES):
        basis = np.polynomial.chebyshev.chebvander(v, degree - 2)
        factor, *_ = np.linalg.lstsq(basis * (0.5 * (1.0 - v[:, None])) ** 2, samples, rcond=None)
        coefficients = np.polynomial.polynomial.polymul(np.polynomial.chebyshev.cheb2poly(factor), ending)
        error = np.abs(np.polynomial.polynomial.polyval(v, coefficients) - samples).max()
        # At the cut-off itself K may still be as large as the tolerance.
        if error <= 1.2 * TOLERANCE * at_zero:
            break
    return PairFunction(at_zero, cutoff, np.ascontiguousarray(coefficients))


@njit(**KERNEL)
def pair_sum(  # type: ignore[no-untyped-def]
    positions, weights, start, partner, rows, kind, coefficients, scales, gradient, work, begin, end
):
    """Return sum_{n != m} w_n w_m K(|r_n - r_m|) over the tiles of a half list; add its derivative to gradient.

    Positions and gradient are by axis, (3, n_places), weights (n_places,) with zeros in the empty places; start,
    partner and rows as in ``TileArrays``. Tiles hold beads of one kind each, kind (n_tiles,); coefficients
    (n_kinds, n_kinds, degree + 1) and :attr:`PairFunction.scales`, (n_kinds, n_kinds, 3), belong to pairs of kinds.
    work (WIDTH, 3, WIDTH) is a workspace. Tiles from ``begin`` to before ``end`` are summed over.
    """
    n_coefficients = coefficients.shape[2]
    short = n_coefficients == _SHORT
    zero, one = splat(0.0), splat(1.0)
    numbers = load(_NUMBERS, 0)
    n_places = positions.shape[1]
    energy = zero
    for tile in range(begin, end):
        first = tile * WIDTH
        for row in range(0, 3 * WIDTH * WIDTH, WIDTH):
            store(work, row, zero)
        for p in range(start[tile], start[tile + 1]):
            other = partner[p] * WIDTH
            a, b = kind[tile], kind[partner[p]]
            table = coefficients[a, b]
            scale = splat(scales[a, b, 0])
            xj, yj, zj = (
                load(positions, other),
                load(positions, n_places + other),
                load(positions, 2 * n_places + other),
            )
            # Weights are multiplied by what forces have besides, and the energy is divided by it once.
            wj = load(weights, other) * splat(scales[a, b, 1])
            between = zero
            gx, gy, gz = load(gradient, other), load(gradient, n_places + other), load(gradient, 2 * n_places + other)
            bits = np.int64(rows[p])
            while bits != 0:
                row = lowest_bit(bits)
                bits &= bits - 1
                i = first + row
                dx = broadcast(positions, i) - xj
                dy = broadcast(positions, n_places + i) - yj
                dz = broadcast(positions, 2 * n_places + i) - zj
                s = dx * dx + dy * dy + dz * dz
                # Where K has ended, nothing is added, not even the rounding errors of its value and slope there: a sum
                # does not depend on which pairs beyond the end are listed. Empty places are there too.
                v = s * scale - one
                within = v < one
                v = select(within, v, one)
                change = splat(table[n_coefficients - 1])
                value = multiply_add(change, v, splat(table[n_coefficients - 2]))
                change = multiply_add(change, v, value)
                value = value * v + splat(table[n_coefficients - 3])
                if short:  # the same with a number of turns that the compiler knows
                    for k in range(_SHORT - 4, -1, -1):
                        change = change * v + value
                        value = value * v + splat(table[k])
                else:
                    for k in range(n_coefficients - 4, -1, -1):
                        change = change * v + value
                        value = value * v + splat(table[k])
                weight = select(within, broadcast(weights, i) * wj, zero)
                if other == first:
                    weight = select(splat(float(row)) < numbers, weight, zero)
                between = multiply_add(weight, value, between)
                pull = weight * change
                push = negative(pull)
                gx, gy, gz = multiply_add(push, dx, gx), multiply_add(push, dy, gy), multiply_add(push, dz, gz)
                at = row * 3 * WIDTH
                store(work, at, multiply_add(pull, dx, load(work, at)))
                store(work, at + WIDTH, multiply_add(pull, dy, load(work, at + WIDTH)))
                store(work, at + 2 * WIDTH, multiply_add(pull, dz, load(work, at + 2 * WIDTH)))
            energy = energy + between * splat(scales[a, b, 2])
            store(gradient, other, gx)
            store(gradient, n_places + other, gy)
            store(gradient, 2 * n_places + other, gz)
        for row in range(WIDTH):
            for axis in range(3):
                gradient[axis, first + row] += total(load(work, (3 * row + axis) * WIDTH))
    return 2.0 * total(energy)
