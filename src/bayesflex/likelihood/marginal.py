"""The marginal likelihood: scale, offset and noise level of the map integrated out.

With ``rho = alpha rho_sim + beta + noise`` and the joint Jeffreys prior on (alpha, beta, sigma_rho), the three
integrate out to ``-(nu/2) log(1 - CC²)``, CC the centred correlation over a fixed region and nu the number of
independent observations there. Two repairs make it usable, and together they are an approximation:

- it is even in CC and would reward inverted contrast; alpha > 0 multiplies it by the cumulative distribution
  function of Student's t with nu degrees of freedom at ``√nu CC / √(1 - CC²)``;
- it is not integrable at a perfect fit; a floor ``nu_0 f² / nu``, as of nu_0 observations with a relative residual
  f, stands for model error and quantisation.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, stdtr

from bayesflex.overlap import Overlap

Array = NDArray[np.float64]

#: Below this value of t the tail of Student's distribution is expanded; its relative error there is 1e-3.
_TAIL = -30.0


class MarginalLikelihood:
    """``log L = -((nu + nu_0)/2) log(1 - CC² + nu_0 f²/nu) + log T_nu(√nu CC/√(1 - CC²))``.

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

    def clone(self) -> MarginalLikelihood:
        """Return one that shares the map and owns its workspaces."""
        return MarginalLikelihood(self._overlap.clone(), self._observations, self._floor, self._floor_observations)

    def log_likelihood_and_gradient(self, coords: Array) -> tuple[float, Array]:
        """Return log L (nats) and its gradient, (n_beads, 3) in nats/Å; (-inf, zeros) outside the box."""
        values = self._overlap.evaluate(coords)
        # The power is positive but for rounding; without any the correlation is not defined.
        if values is None or not values.power > 0.0:
            return -math.inf, np.zeros_like(coords)
        norm = math.sqrt(values.power * self._overlap.map_power)
        correlation = values.cross / norm
        value, slope = marginal_log_likelihood(
            correlation, self._observations, self._floor, self._floor_observations
        )
        gradient = self._overlap.gradient(slope / norm, -0.5 * slope * correlation / values.power)
        return value, gradient


def independent_observations(volume: float, resolution: float, copies: int = 1) -> float:
    """Return nu: real degrees of freedom of a map of this volume (Å³) and resolution (Å).

    ``(4 pi / 3) V / d³``: half of the independent complex Fourier coefficients within a sphere of radius 1/d, two
    real numbers each. Maps are oversampled, so that voxels are not independent; nor are symmetry-equivalent copies.
    """
    return 4.0 * math.pi / 3.0 * volume / resolution**3 / copies


def marginal_log_likelihood(
    correlation: float, observations: float, floor: float, floor_observations: float
) -> tuple[float, float]:
    """Return the log likelihood as a function of the centred correlation, and its derivative.

    Parameters
    ----------
    correlation
        CC; may exceed 1 by the error of an interpolation, much less than the floor.
    observations, floor, floor_observations
        nu, f and nu_0.
    """
    nu, nu_0 = observations, floor_observations
    floor_term = nu_0 * floor**2 / nu
    argument = max(1.0 - correlation**2, 0.0) + floor_term
    value = -0.5 * (nu + nu_0) * math.log(argument)
    slope = (nu + nu_0) * correlation / argument

    # The sign of the scale. With x = 1 - CC² = nu / (nu + t²): d log T / dCC = pdf(t) / T · dt/dCC.
    x = max(1.0 - correlation**2, 1e-12)
    t = math.sqrt(nu / x) * correlation
    log_density = -0.5 * (nu + 1.0) * -math.log(x) - 0.5 * math.log(nu) - betaln(0.5 * nu, 0.5)
    log_cdf = math.log(stdtr(nu, t)) if t > _TAIL else log_density + math.log(nu / ((nu - 1.0) * x * -t))
    value += log_cdf
    slope += math.exp(log_density - log_cdf) * math.sqrt(nu) * x**-1.5
    return value, slope
