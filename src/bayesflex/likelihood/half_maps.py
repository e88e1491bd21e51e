"""The likelihood of a map whose noise is known from its half maps, in every shell of spatial frequency.

With ``rho = alpha rho_sim + beta + noise``, the noise of precision spectrum P, and the joint Jeffreys prior on
(alpha, beta), alpha > 0, the two integrate out to

    log L = -(R - s²)/2 + log Φ(s),   s = (rho, P rho_sim) / √(rho_sim, P rho_sim),   R = (rho, P rho),

rho centred: s is how many standard deviations the model stands out of the noise, and R - s² is the χ² that it leaves.
But a model has errors of its own, and the half maps do not know them: they leave a χ² far above the number nu of
observations, and pulled on with the noise's full precision the model would bend to make up for them. So the half maps
say what the noise is at least: the precision is u P with u ≤ 1, and two cases are equally likely beforehand. The model
has no errors that matter, u = 1; or it has, of unknown size, with the density 1 / (c u) from u = 1 down to 1/10,000,
c = log 10,000:

    log L = log [ exp(-(R - s²)/2) Φ(s) + 1/c ∫₀¹ u^(nu/2 - 1) exp(-u (R - s²)/2) Φ(√u s) du ] - log 2

(the integral starts at 0, which changes nothing as long as χ² < 10,000 nu). Where the χ² is about nu or less, the first
case holds: the noise is that of the half maps. Where it is far above, this is the ``marginal`` likelihood of the
whitened map, soft as long as the fit is poor.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import KERNEL, PART
from bayesflex.overlap import Overlap

Array = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)

#: The integrand is followed until it has fallen by e^-40.
_FALL = 40.0

#: Logarithm of c = log 10,000: errors of the model may be up to 100 times as large as the noise.
_LOG_RANGE = math.log(math.log(1e4))

#: Below this argument the normal distribution function is taken from its asymptotic series, good to 2e-12 there.
_TAIL = -30.0

#: Above this one it is 1 to rounding.
_CERTAIN = 8.5


class HalfMapLikelihood:
    """A map in noise that is known at least, the scale and offset of the map integrated out: see above.

    Parameters
    ----------
    overlap
        Inner products with the centred map under the precision spectrum of the half maps' noise.
    observations
        nu: what the noise alone leaves of R on average, or None where the model is known to have no errors (u = 1).
    """

    name = "half-maps"

    def __init__(self, overlap: Overlap, observations: float | None) -> None:
        self._overlap = overlap
        self._observations = observations

    @property
    def overlap(self) -> Overlap:
        """Inner products with the map."""
        return self._overlap

    @property
    def parameters(self) -> Array:
        """What :func:`half_maps_of_overlap` takes: nu, or -1 where the model is known to have no errors."""
        return np.array([-1.0 if self._observations is None else self._observations, 0.0, 0.0])

    def clone(self) -> HalfMapLikelihood:
        """Return one that shares the map and owns its workspaces."""
        return HalfMapLikelihood(self._overlap.clone(), self._observations)

    def log_likelihood_and_gradient(self, coords: Array) -> tuple[float, Array]:
        """Return log L (nats) and its gradient, (n_beads, 3) in nats/Å; (-inf, zeros) outside the box."""
        values = self._overlap.evaluate(coords)
        # The power is positive but for rounding; without any there is nothing to stand out.
        if values is None or not values.power > 0.0:
            return -math.inf, np.zeros_like(coords)
        value, d_cross, d_power = half_maps_of_overlap(
            values.cross, values.power, self._overlap.map_power, self.parameters
        )
        return value, self._overlap.gradient(d_cross, d_power)


def half_map_log_likelihood(signal: float, total: float, observations: float | None) -> tuple[float, float]:
    """Return the log likelihood (nats) as a function of the model's signal, and its derivative.

    Parameters
    ----------
    signal
        s.
    total
        R.
    observations
        nu, or None where the model is known to have no errors.
    """
    value, slope = _of_signal(signal, total, -1.0 if observations is None else observations)
    return float(value), float(slope)


@njit(**KERNEL)
def half_maps_of_overlap(cross, power, map_power, parameters):  # type: ignore[no-untyped-def]
    """Return the log likelihood (nats) and its derivatives by cross and power."""
    norm = math.sqrt(power)
    signal = cross / norm
    value, slope = _of_signal(signal, map_power, parameters[0])
    return value, slope / norm, -0.5 * slope * signal / power


@njit(**PART)
def _of_signal(signal, total, observations):  # type: ignore[no-untyped-def]
    log_cdf, hazard = _log_normal_cdf(signal)
    value, slope = -0.5 * (total - signal * signal) + log_cdf, signal + hazard
    if observations < 0.0:
        return value, slope
    other, other_slope = _integral_kernel(signal, total, observations, _NODES, _WEIGHTS)
    other -= _LOG_RANGE
    largest = max(value, other)
    one, two = math.exp(value - largest), math.exp(other - largest)
    return largest + math.log(0.5 * (one + two)), (one * slope + two * other_slope) / (one + two)


@njit(**PART)
def _log_normal_cdf(x):  # type: ignore[no-untyped-def]
    """Return log Φ(x) and its derivative φ(x)/Φ(x)."""
    log_density = -0.5 * x * x - 0.9189385332046727  # ln √(2π)
    if x < _TAIL:
        inverse = 1.0 / (x * x)
        series = 1.0 - inverse * (1.0 - 3.0 * inverse * (1.0 - 5.0 * inverse * (1.0 - 7.0 * inverse)))
        log_cdf = log_density - math.log(-x) + math.log(series)
    elif x > _CERTAIN:
        log_cdf = 0.0
    else:
        log_cdf = math.log(0.5 * math.erfc(-x / math.sqrt(2.0)))
    return log_cdf, math.exp(log_density - log_cdf)


@njit(**PART)
def _integral_kernel(signal, total, observations, nodes, weights):  # type: ignore[no-untyped-def]
    """Return the logarithm of the integral over u and its derivative by the signal, by quadrature in w = log u.

    The integrand is largest near w = min(0, log(nu / chi²)) and falls off from there on a scale of √(2/nu), or, where
    chi² is well below nu, exponentially from w = 0.
    """
    chi2 = total - signal * signal
    half = 0.5 * observations
    # Where contrast is inverted Φ(√u s) falls like exp(-u s²/2).
    effective = chi2 if signal > 0.0 else total
    peak = min(0.0, math.log(observations / effective)) if effective > observations else 0.0
    width = 9.0 / math.sqrt(half)
    low = peak - width - _FALL / half
    if effective < observations:
        low = max(low, -2.0 * _FALL / (observations - effective))
    high = min(0.0, peak + width)
    largest, mass, slope = -math.inf, 0.0, 0.0
    for i in range(nodes.shape[0]):
        w = 0.5 * (high + low) + 0.5 * (high - low) * nodes[i]
        u = math.exp(w)
        root = math.sqrt(u)
        log_cdf, hazard = _log_normal_cdf(root * signal)
        log_value = half * w - 0.5 * u * chi2 + log_cdf
        if log_value > largest:
            # Sums are in units of the largest value so far.
            less = math.exp(largest - log_value)
            largest, mass, slope = log_value, less * mass, less * slope
        part = weights[i] * math.exp(log_value - largest)
        mass += part
        slope += part * (u * signal + root * hazard)
    return largest + math.log(0.5 * (high - low) * mass), slope / mass
