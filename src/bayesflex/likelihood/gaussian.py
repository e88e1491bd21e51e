"""The paper's likelihood: independent Gaussian noise of a given level at every voxel (eq. 4 and 5)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import PART
from bayesflex.overlap import Overlap

Array = NDArray[np.float64]


class GaussianLikelihood:
    """``log L = -|rho / scale - rho_sim|² / (2 sigma_rho²)``, the constant of eq. 4 left out.

    Parameters
    ----------
    overlap
        Inner products with the uncentred map, P = 1.
    scale
        Scale of the map in units of the model's density; the map is divided by it.
    noise_sd
        sigma_rho in the model's units (weight per Å³).
    """

    name = "gaussian"

    def __init__(self, overlap: Overlap, scale: float, noise_sd: float) -> None:
        self._overlap = overlap
        self._scale = scale
        self._noise_sd = noise_sd

    @property
    def overlap(self) -> Overlap:
        """Inner products with the map."""
        return self._overlap

    @property
    def parameters(self) -> Array:
        """What :func:`gaussian_of_overlap` takes: the scale and the precision of the noise."""
        return np.array([self._scale, 1.0 / self._noise_sd**2, 0.0])

    def clone(self) -> GaussianLikelihood:
        """Return one that shares the map and owns its workspaces."""
        return GaussianLikelihood(self._overlap.clone(), self._scale, self._noise_sd)

    def log_likelihood_and_gradient(self, coords: Array) -> tuple[float, Array]:
        """Return log L (nats) and its gradient, (n_beads, 3) in nats/Å; (-inf, zeros) outside the box."""
        values = self._overlap.evaluate(coords)
        if values is None:
            return -math.inf, np.zeros_like(coords)
        value, d_cross, d_power = gaussian_of_overlap(
            values.cross, values.power, self._overlap.map_power, self.parameters
        )
        return value, self._overlap.gradient(d_cross, d_power)


@njit(**PART)
def gaussian_of_overlap(cross, power, map_power, parameters):  # type: ignore[no-untyped-def]
    """Return the log likelihood (nats) and its derivatives by cross and power."""
    scale, precision = parameters[0], parameters[1]
    residual = map_power / scale**2 - 2.0 * cross / scale + power
    return -0.5 * precision * residual, precision / scale, -0.5 * precision
