"""Posterior-predictive check: whether what a fit leaves of the map is the noise that it assumes.

The residual ``rho - alpha rho_sim - beta`` of draws from the posterior is compared with the noise model, in shells of
spatial frequency (χ² against its expectation) and in space (z-scores). If model and noise model are right, the residual
of a draw is distributed like the noise itself: the map is as likely under a draw as under the truth. So no degrees of
freedom are subtracted for the fit.

Scale and offset are those of least squares, with the weight that each frequency has in the likelihood. Not to be
confused with the correlation, which tells how alike two maps are and not whether the rest is noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from bayesflex.density_map import DensityMap
from bayesflex.fourier_grid import FourierGrid
from bayesflex.map_comparison import Comparison, FittedDensity

Array = NDArray[np.float64]

#: Shells up to the resolution, at most and at least, and independent observations in the first one, at least.
_N_SHELLS, _FEWEST_SHELLS, _FEWEST_OBSERVATIONS = 20, 4, 20.0

#: The range that is shown holds 95 % of the values that noise gives.
_RANGE = (0.025, 0.975)

#: A shell is said to hold more than noise above this probability (corrected for the number of shells) and this ratio:
#: with thousands of observations errors of a few per cent are significant, and every model has them.
_CERTAINTY, _LEAST_EXCESS = 0.999, 1.25

#: The smooth z-scores are blurred by this share of the resolution, and at least by so much, Å: the size of a few
#: residues, over which errors of a model extend.
_SMOOTH_SHARE, _SMOOTH_LEAST = 0.5, 3.0


@dataclass(frozen=True, eq=False)
class ShellCheck:
    """χ² of the residual in shells of spatial frequency.

    Parameters
    ----------
    low, high
        Limits of each shell, shape (n_shells,), 1/Å.
    observations
        Independent observations in each, which is the χ² that noise gives on average.
    observed
        χ² found, mean over the draws.
    lower, upper
        95 % range of the χ² of noise.
    """

    low: Array
    high: Array
    observations: Array
    observed: Array
    lower: Array
    upper: Array

    @property
    def ratio(self) -> Array:
        """Observed over expected χ²."""
        return self.observed / self.observations

    @property
    def total_ratio(self) -> float:
        """The same over all shells together."""
        return float(self.observed.sum() / self.observations.sum())

    @property
    def excess(self) -> NDArray[np.bool_]:
        """Shells that hold more than noise, beyond chance and beyond small errors of any model."""
        probability = _CERTAINTY ** (1.0 / len(self.observed))
        return (self.observed > chi2.ppf(probability, self.observations)) & (self.ratio > _LEAST_EXCESS)


@dataclass(frozen=True, eq=False)
class Residual:
    """What a fit leaves of the map.

    Parameters
    ----------
    shells
        χ² in shells.
    z_score
        Residual of the mean over draws, low-passed to the resolution, in standard deviations of the noise; on the
        working grid, zero where voxels do not count.
    smooth_z
        The same, smoothed to the size of a few residues, so that weak but extended errors stand out.
    blur
        Standard deviation of that smoothing, Å.
    region
        True for voxels that count, shape (nz, ny, nx).
    values
        The residual itself, map units, zero where voxels do not count.
    scale, offset
        alpha and beta, mean over draws.
    level
        Of the noise, mean over draws: the factor of ``Comparison.shape_of_noise``.
    noise_sd
        Standard deviation of the noise at a voxel as far as it lies in the band, in map units.
    """

    shells: ShellCheck
    z_score: DensityMap
    smooth_z: DensityMap
    blur: float
    region: NDArray[np.bool_]
    values: Array
    scale: float
    offset: float
    level: float
    noise_sd: float


def check_residual(comparison: Comparison, draws: Sequence[Array], name: str = "residual") -> Residual:
    """Compare what draws leave of the map with the noise model.

    Parameters
    ----------
    comparison
        The map.
    draws
        CA positions of each draw, shape (n_ca, 3), Å.
    name
        Of the maps returned.
    """
    target, beads = comparison.target, comparison.beads
    bins = _shells(comparison)
    numbers = []
    mean = np.zeros(target.values.shape)
    observed = np.zeros(len(bins.observations))
    for coords in draws:
        density = target.simulated(beads.place(coords), beads.weights, beads.classes)
        found = comparison.fit(density)
        observed += bins.chi_squared(found) / len(draws)
        mean += found.scale / len(draws) * density
        numbers.append((found.scale, found.offset, found.level))
    scale, offset, level = np.mean(numbers, axis=0).tolist()
    values = np.where(target.region, target.values - mean - offset, 0.0)
    blur = max(_SMOOTH_LEAST, _SMOOTH_SHARE * comparison.config.resolution)
    noise = comparison.shape_of_noise * level
    return Residual(
        shells=bins.check(observed),
        z_score=_z_scores(comparison, values, noise, 0.0, name),
        smooth_z=_z_scores(comparison, values, noise, blur, name),
        blur=blur,
        region=target.region,
        values=values,
        scale=scale,
        offset=offset,
        level=level,
        noise_sd=math.sqrt(comparison.grid.total(noise * comparison.in_band)),
    )


@dataclass(frozen=True, eq=False)
class _Shells:
    """Shells of spatial frequency, and what noise has in them."""

    grid: FourierGrid
    limits: Array  # (n_shells + 1,), 1/Å
    index: NDArray[np.int64]  # of each term of the half transform, -1 outside
    expected: Array  # (n_shells,), power of noise of level 1
    observations: Array  # (n_shells,)

    def sums(self, values: NDArray[np.floating[Any]]) -> Array:
        """Return the sum over each shell of the whole transform of values on the half transform."""
        inside = self.index >= 0
        weighted = np.broadcast_to(values * self.grid.multiplicity, inside.shape)[inside].astype(np.float64)
        return np.asarray(np.bincount(self.index[inside], weighted, minlength=len(self.limits) - 1))

    def chi_squared(self, found: FittedDensity) -> Array:
        power = self.sums(np.abs(found.residual) ** 2) / self.grid.n_points
        return power / (found.level * self.expected) * self.observations

    def check(self, observed: Array) -> ShellCheck:
        lower, upper = (np.asarray(chi2.ppf(share, self.observations)) for share in _RANGE)
        return ShellCheck(self.limits[:-1], self.limits[1:], self.observations, observed, lower, upper)


def _shells(comparison: Comparison) -> _Shells:
    """Return shells up to the resolution, equally wide but for the first, which holds enough observations."""
    grid, config = comparison.grid, comparison.config
    extent = comparison.judged_volume ** (1.0 / 3.0)
    width = max(1.0 / extent, 1.0 / config.resolution / _N_SHELLS)
    n_shells = max(_FEWEST_SHELLS, int(1.0 / config.resolution / width + 1e-6))
    limits = np.linspace(0.0, 1.0 / config.resolution, n_shells + 1)
    observations = _observations(comparison, limits)
    while observations[0] < _FEWEST_OBSERVATIONS and len(limits) > 2:
        limits = np.delete(limits, 1)
        observations = _observations(comparison, limits)
    # Frequency zero is the offset's.
    frequency = np.where(grid.frequency > 0.0, grid.frequency, np.inf)
    index = np.searchsorted(limits * (1.0 + 1e-6), frequency, side="left") - 1
    index[frequency > limits[-1] * (1.0 + 1e-6)] = -1
    empty = _Shells(grid, limits, index, np.zeros(0), observations)
    return replace(empty, expected=empty.sums(comparison.expected_power))


def _observations(comparison: Comparison, limits: Array) -> Array:
    """Return nu of each shell: the power of noise there has the relative variance 2 / nu.

    The region ties neighbouring frequencies together. With m its indicator, A(x) = ∫ m(y) m(x + y) dy and f(x) the
    transform of the shell, nu = (|m| |shell|)² / ∫ A f², which is |m| |shell| where the shell is thick. Both are taken
    as functions of distance.
    """
    volume = comparison.judged_volume
    distance, overlap = comparison.region_overlap
    r = np.linspace(0.0, float(distance[-1]), 2000)
    shared = np.interp(r, distance, overlap)
    balls = np.array([_ball_transform(k, r) for k in limits])
    shells = np.diff(balls, axis=0)
    tied = 4.0 * math.pi * np.trapezoid(r**2 * shared * shells**2, r, axis=1)
    return (volume * 4.0 / 3.0 * math.pi * np.diff(limits**3)) ** 2 / tied / comparison.config.copies


def _ball_transform(radius: float, r: Array) -> Array:
    """Return the Fourier transform, at distances r, of the indicator of a ball."""
    x = 2.0 * math.pi * radius * r
    small = x < 1e-2
    safe = np.where(small, 1.0, x)
    shape = np.where(small, 1.0 - x**2 / 10.0, 3.0 * (np.sin(safe) - safe * np.cos(safe)) / safe**3)
    return np.asarray(4.0 / 3.0 * math.pi * radius**3 * shape)


def _z_scores(comparison: Comparison, residual: Array, noise: Array, blur: float, name: str) -> DensityMap:
    """Return the low-passed and blurred residual in standard deviations of the noise, zero outside the region."""
    grid, target = comparison.grid, comparison.target
    gain = np.sqrt(comparison.low_pass) * np.exp(-2.0 * (math.pi * blur * grid.frequency) ** 2)
    nz, ny, nx = target.values.shape
    values = grid.backward(grid.forward(residual) * gain)[:nz, :ny, :nx]
    # White noise through one kernel: near the region's border part of it is missing.
    kernel = grid.backward(np.sqrt(noise) * gain)
    share = grid.forward(kernel**2) * grid.forward(target.region)
    variance = grid.backward(share)[:nz, :ny, :nx]
    z_score = np.zeros((nz, ny, nx), dtype=np.float32)
    np.divide(values, np.sqrt(np.maximum(variance, 1e-30)), out=z_score, where=target.region)
    return DensityMap(z_score, target.voxel_size, target.origin, name)
