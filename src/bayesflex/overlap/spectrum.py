"""Spectrum: the weight that each spatial frequency gets in the comparison of map and model.

It has the form that the overlaps need: smooth, since a sharp limit would make the pair function ring. What the noise of
a map is, shell by shell, is estimated in ``noise_spectrum``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

Array = NDArray[np.float64]

#: Frequencies at which integrals over the band are evaluated.
_N_BAND = 400

#: Beyond its last knot the logarithm of a noise power levels off within this fraction of the highest frequency.
_LEVELLING = 0.2


@dataclass(frozen=True, eq=False)
class NoisePower:
    """Power of a map's noise, a smooth positive function of spatial frequency: its logarithm is a cubic spline.

    Parameters
    ----------
    highest
        Frequency (1/Å) at which the spline ends. From there on the logarithm levels off with its slope: what a filter
        has removed from a map beyond its resolution must not count as known without noise.
    coefficients
        Of cubic B-splines on evenly spaced knots from 0 to ``highest``, shape (n_intervals + 3,): the natural logarithm
        of the power, which is the mean of |N_k|² / n_voxels of the noise's discrete Fourier transform N in squared map
        units. White noise of variance s² has the power s².
    """

    highest: float
    coefficients: Array

    @classmethod
    def white(cls, variance: float) -> NoisePower:
        """Return the power of noise that is independent from voxel to voxel, of this variance (squared map units)."""
        return cls(1.0, np.full(4, math.log(variance)))

    def __call__(self, frequency: Array) -> Array:
        """Return the power at spatial frequencies in 1/Å."""
        spline = BSpline(spline_knots(self.highest, len(self.coefficients) - 3), self.coefficients, 3)
        logarithm = spline(np.minimum(frequency, self.highest))
        length = _LEVELLING * self.highest
        beyond = np.maximum(frequency - self.highest, 0.0)
        return np.asarray(np.exp(logarithm - spline(self.highest, 1) * length * np.expm1(-beyond / length)))

    def scaled(self, factor: float) -> NoisePower:
        """Return this power times a factor."""
        return NoisePower(self.highest, self.coefficients + math.log(factor))


def spline_knots(highest: float, n_intervals: int) -> Array:
    """Return the knots of cubic B-splines on even intervals from 0 to ``highest``, three more beyond each end."""
    return highest / n_intervals * np.arange(-3.0, n_intervals + 4.0)


@dataclass(frozen=True)
class Spectrum:
    """Precision spectrum ``P(k) = exp(-(k d)^4) exp(-4 pi^2 b^2 k^2) / S(k)``.

    The first factor is a smooth low-pass to the resolution d: signal and noise then share one band, so that the
    number of independent observations can be counted. It is smooth since a sharp limit would make the pair
    function ring. The second is a Gaussian blur by b of the map and of the model alike (resolution annealing).

    Parameters
    ----------
    resolution
        d, Å, or None for white noise (no low-pass).
    blur
        b, Å.
    noise
        S, or None for 1: where the level of the noise is unknown, and its spectrum flat.
    """

    resolution: float | None = None
    blur: float = 0.0
    noise: NoisePower | None = None

    def __call__(self, frequency: Array) -> Array:
        """Return P at spatial frequencies in 1/Å."""
        exponent = 4.0 * math.pi**2 * self.blur**2 * frequency**2
        if self.resolution is not None:
            exponent = exponent + (frequency * self.resolution) ** 4
        weight = np.exp(-exponent)
        return np.asarray(weight if self.noise is None else weight / self.noise(frequency))


def counted_share(resolution: float, sigma: float) -> float:
    """Return how many observations a likelihood of unknown noise may count for each independent number in the band.

    Noise that is flat up to 1/d and its smooth low-pass T = exp(-(kd)⁴) leave a residual power ∝ ∫ T k² dk over the
    band, from which the level of the noise is found. Counting ∫ T k² dk / ∫ k² dk of the numbers would give each
    frequency the precision T, less than the map tells: the expected curvature of the log likelihood by a bead's
    displacement would be ∫ T G² k² dk, over all frequencies, where the variance of its gradient is ∫ T² G² k² dk over
    those that have noise; G ∝ k ĝ is the transform of a bead's density moved by little. The count that makes them equal
    is larger by their ratio, the magnitude adjustment of composite likelihoods (Pauli, Racugno and Ventura, Statistica
    Sinica 21 (2011) 149).

    Parameters
    ----------
    resolution
        d, Å.
    sigma
        Standard deviation of a bead, Å.
    """
    u = (np.arange(3 * _N_BAND) + 0.5) / _N_BAND
    low_pass, band = np.exp(-(u**4)), u < 1.0
    moved = u**4 * np.exp(-((2.0 * math.pi * sigma / resolution * u) ** 2))
    left = np.sum(3.0 * u**2 * low_pass * band) / _N_BAND
    return float(left * np.sum(moved * low_pass) / np.sum(moved * low_pass**2 * band))


def low_pass_efficiency(spectrum: Spectrum, sigma: float) -> float:
    """Return the share of the precision P = T/S that a map has for the place of a bead, T being the low-pass.

    Noise of power S has the variance Σ T² G²/S along the gradient of the likelihood of a bead's displacement, whose
    expected curvature is Σ T G²/S, with G ∝ k² ĝ the transform of a bead's density moved by little. Were T either 0 or
    1 they would be equal. The smooth low-pass weighs down frequencies without there being more noise in them, and the
    likelihood would claim that share less than the map tells.

    Parameters
    ----------
    spectrum
        With ``resolution``.
    sigma
        Standard deviation of a bead, Å.
    """
    if spectrum.resolution is None:
        return 1.0
    k = np.linspace(0.0, 3.0 / spectrum.resolution, 600)
    weight = spectrum(k) * k**4 * np.exp(-((2.0 * math.pi * sigma * k) ** 2))
    return float(np.sum(weight * np.exp(-((k * spectrum.resolution) ** 4))) / np.sum(weight))
