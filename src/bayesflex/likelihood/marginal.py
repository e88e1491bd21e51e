"""The marginal likelihood: scale, offset and noise level of the map integrated out.

With ``rho = alpha rho_sim + beta + noise`` and the joint Jeffreys prior on (alpha, beta, sigma_rho), the three
integrate out to ``-(nu/2) log(1 - CC²)``, CC the centred correlation over a fixed region and nu the number of
independent observations there. Two repairs make it usable:

- it is not integrable at a perfect fit. nu_0 further observations of the noise level, each with a residual of f times
  the centred map's own size (a scaled inverse chi-squared prior on sigma_rho²), stand for model error and quantisation;
- it is even in CC and would reward inverted contrast, so alpha > 0 is imposed. This multiplies it by the cumulative
  distribution function of Student's t with nu + nu_0 degrees of freedom at alpha's mean over its standard deviation.

Both are exact: with the floor ``F = nu_0 f² / nu`` and ``n = nu + nu_0``,

    log L = log ∫ (1 + F - 2 a CC + a²)^(-(n+1)/2) da over a > 0,   a the scale in units of |rho| / |rho_sim|,

which rises with CC everywhere.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import betaln

from bayesflex.compiling import KERNEL, PART
from bayesflex.overlap import Overlap

Array = NDArray[np.float64]

#: A continued fraction takes some √n terms at most.
_MOST_TERMS = 10_000


class MarginalLikelihood:
    """``log L = -(n/2) log(1 - CC² + F) + log T_n(√n CC / √(1 - CC² + F))``, ``n = nu + nu_0``, ``F = nu_0 f² / nu``.

    Parameters
    ----------
    overlap
        Inner products with the centred map.
    observations
        nu: independent observations in the region, not voxels: see :func:`independent_observations`.
    floor
        f, relative residual that stands for model error.
    floor_observations
        nu_0.
    """

    name = "marginal"

    def __init__(self, overlap: Overlap, observations: float, floor: float, floor_observations: float) -> None:
        self._overlap = overlap
        self._observations = observations
        self._floor = floor
        self._floor_observations = floor_observations

    @property
    def overlap(self) -> Overlap:
        """Inner products with the map."""
        return self._overlap

    @cached_property
    def parameters(self) -> Array:
        """What :func:`marginal_of_overlap` takes."""
        return marginal_parameters(self._observations, self._floor, self._floor_observations)

    def clone(self) -> MarginalLikelihood:
        """Return one that shares the map and owns its workspaces."""
        return MarginalLikelihood(self._overlap.clone(), self._observations, self._floor, self._floor_observations)

    def log_likelihood_and_gradient(self, coords: Array) -> tuple[float, Array]:
        """Return log L (nats) and its gradient, (n_beads, 3) in nats/Å; (-inf, zeros) outside the box."""
        values = self._overlap.evaluate(coords)
        # The power is positive but for rounding; without any the correlation is not defined.
        if values is None or not values.power > 0.0:
            return -math.inf, np.zeros_like(coords)
        value, d_cross, d_power = marginal_of_overlap(
            values.cross, values.power, self._overlap.map_power, self.parameters
        )
        return value, self._overlap.gradient(d_cross, d_power)


def independent_observations(volume: float, resolution: float, copies: int = 1) -> float:
    """Return nu: real degrees of freedom of a map of this volume (Å³) and resolution (Å).

    ``(4 pi / 3) V / d³``: half of the independent complex Fourier coefficients within a sphere of radius 1/d, two
    real numbers each. Maps are oversampled, so that voxels are not independent; nor are symmetry-equivalent copies.
    """
    return 4.0 * math.pi / 3.0 * volume / resolution**3 / copies


def marginal_log_likelihood(
    correlation: float, observations: float, floor: float, floor_observations: float
) -> tuple[float, float]:
    """Return the log likelihood (nats) as a function of the centred correlation, and its derivative.

    Parameters
    ----------
    correlation
        CC. Beyond ±1, where the error of an interpolation may carry it, the function goes on as its tangent.
    observations, floor, floor_observations
        nu, f and nu_0.
    """
    value, slope = _of_correlation(correlation, marginal_parameters(observations, floor, floor_observations))
    return float(value), float(slope)


def marginal_parameters(observations: float, floor: float, floor_observations: float) -> Array:
    """Return n = nu + nu_0, the floor F and the logarithm of B(n/2, 1/2)."""
    n = observations + floor_observations
    return np.array([n, floor_observations * floor**2 / observations, float(betaln(0.5 * n, 0.5))])


@njit(**KERNEL)
def marginal_of_overlap(cross, power, map_power, parameters):  # type: ignore[no-untyped-def]
    """Return the log likelihood (nats) and its derivatives by cross and power."""
    norm = math.sqrt(power * map_power)
    correlation = cross / norm
    value, slope = _of_correlation(correlation, parameters)
    return value, slope / norm, -0.5 * slope * correlation / power


@njit(**PART)
def _of_correlation(correlation, parameters):  # type: ignore[no-untyped-def]
    n, floor_term, log_beta = parameters[0], parameters[1], parameters[2]
    inside = min(max(correlation, -1.0), 1.0)
    residual = 1.0 - inside * inside + floor_term
    log_density, log_cdf = _log_student(inside * math.sqrt(n / residual), n, log_beta)
    value = -0.5 * n * math.log(residual) + log_cdf
    dt = math.sqrt(n) * (1.0 + floor_term) * residual**-1.5
    slope = n * inside / residual + math.exp(log_density - log_cdf) * dt
    return value + slope * (correlation - inside), slope


@njit(**PART)
def _log_student(t, n, log_beta):  # type: ignore[no-untyped-def]
    """Return the logarithms of the density and of the distribution function of Student's t with n degrees of freedom.

    The tail is half a regularised incomplete beta function, ``I_x(n/2, 1/2) / 2`` with ``x = n / (n + t²)``
    (DLMF 8.17.5), by its continued fraction on the side where that converges.
    """
    a, b = 0.5 * n, 0.5
    x = n / (n + t * t)
    log_density = (a + b) * math.log(x) - 0.5 * math.log(n) - log_beta
    if x * (a + b + 2.0) < a + 1.0:
        log_tail = _log_beta_fraction(a, b, x, log_beta) - math.log(2.0)
        return log_density, log_tail if t < 0.0 else math.log1p(-math.exp(log_tail))
    middle = math.exp(_log_beta_fraction(b, a, t * t / (n + t * t), log_beta)) if t != 0.0 else 0.0
    return log_density, math.log(0.5 * (1.0 - middle if t < 0.0 else 1.0 + middle))


@njit(**KERNEL)
def _log_beta_fraction(a, b, x, log_beta):  # type: ignore[no-untyped-def]
    """Return log I_x(a, b) by the continued fraction DLMF 8.17.22, from its front (Lentz 1976)."""
    value = front = 1.0
    back = 0.0
    for k in range(1, _MOST_TERMS):
        m = k // 2
        if k % 2:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        back = 1.0 / (1.0 + numerator * back)
        front = 1.0 + numerator / front
        value *= front * back
        if abs(front * back - 1.0) < 1e-15:
            break
    return a * math.log(x) + b * math.log1p(-x) - math.log(a) - log_beta - math.log(value)
