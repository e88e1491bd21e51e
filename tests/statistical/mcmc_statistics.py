"""Targets known in closed form, and z-scores against them, for the tests of the sampling kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import trapezoid

from bayesflex.protocols import Evaluation, Kernel, KernelState

Array = NDArray[np.float64]


class Gaussian:
    """Correlated Gaussian with a given mean (n_dim,) and covariance (n_dim, n_dim)."""

    def __init__(self, mean: Array, covariance: Array) -> None:
        self.mean = mean
        self.covariance = covariance
        self.precision = np.linalg.inv(covariance)

    def __call__(self, position: Array) -> Evaluation:
        gradient = -self.precision @ (position - self.mean)
        return Evaluation(0.5 * float((position - self.mean) @ gradient), gradient)

    @classmethod
    def random(cls, rng: Generator, n_dim: int) -> Gaussian:
        """Standard deviations spread over a factor of five, strong correlations."""
        axes, _ = np.linalg.qr(rng.standard_normal((n_dim, n_dim)))
        spread = np.geomspace(0.5, 2.5, n_dim)
        return cls(rng.standard_normal(n_dim), (axes * spread**2) @ axes.T)

    def marginal(self, dim: int) -> stats.rv_continuous:
        return stats.norm(self.mean[dim], np.sqrt(self.covariance[dim, dim]))


class Tabulated:
    """A density in one dimension given by its logarithm on a grid, with what the checks ask of a distribution."""

    def __init__(self, grid: Array, log_density: Array) -> None:
        self._grid = grid
        weight = np.exp(log_density - log_density.max())
        self._weight = weight / trapezoid(weight, grid)
        self._below = np.concatenate([[0.0], np.cumsum(0.5 * np.diff(grid) * (self._weight[1:] + self._weight[:-1]))])

    def mean(self) -> float:
        return float(trapezoid(self._grid * self._weight, self._grid))

    def var(self) -> float:
        return float(trapezoid((self._grid - self.mean()) ** 2 * self._weight, self._grid))

    def ppf(self, level: float) -> float:
        return float(np.interp(level, self._below, self._grid))

    def cdf(self, x: Array) -> Array:
        return np.interp(x, self._grid, self._below)


class Skewed:
    """x0 ~ N(0, 1), x1 | x0 ~ N(x0² − 1, ½²), a banana; x2 = log of a Gamma(shape 2) variable."""

    shape = 2.0

    def __call__(self, position: Array) -> Evaluation:
        x0, x1, x2 = position
        across = (x1 - (x0**2 - 1.0)) / 0.25
        gradient = np.array([-x0 + 2.0 * x0 * across, -across, self.shape - np.exp(x2)])
        return Evaluation(-0.5 * (x0**2 + 0.25 * across**2) + self.shape * x2 - np.exp(x2), gradient)

    def draw(self, rng: Generator, n_draws: int) -> Array:
        """Independent draws, shape (n_draws, 3)."""
        x0 = rng.standard_normal(n_draws)
        x1 = x0**2 - 1.0 + 0.5 * rng.standard_normal(n_draws)
        return np.column_stack([x0, x1, np.log(rng.gamma(self.shape, size=n_draws))])

    def standardised(self, draws: Array) -> list[tuple[Array, stats.rv_continuous]]:
        """Functions of the draws whose distributions are known."""
        x0, x1, x2 = draws.T
        return [
            (x0, stats.norm()),
            ((x1 - x0**2 + 1.0) / 0.5, stats.norm()),
            (np.exp(x2), stats.gamma(self.shape)),
        ]


def run_chain(kernel: Kernel, rng: Generator, state: KernelState, n_draws: int) -> Array:
    """Positions after each iteration, shape (n_draws, n_dim)."""
    draws = np.empty((n_draws, state.position.size))
    for index in range(n_draws):
        state, _ = kernel.step(rng, state)
        draws[index] = state.position
    return draws


def batch_z(values: Array, expected: float, n_batches: int = 40) -> float:
    """z-score of a chain's mean, its standard error from batch means.

    The t statistic is mapped to the normal one of the same p-value, so that one limit serves all.
    """
    means = values[: values.size // n_batches * n_batches].reshape(n_batches, -1).mean(axis=1)
    spread = means.std(ddof=1)
    if spread == 0.0:  # no draw on one side of a quantile
        return 0.0 if means[0] == expected else np.inf
    statistic = (means.mean() - expected) / (spread / np.sqrt(n_batches))
    return float(-np.sign(statistic) * stats.norm.ppf(stats.t.sf(abs(statistic), n_batches - 1)))


def effective_size(values: Array) -> float:
    """Effective number of independent draws in a chain of numbers (Geyer 1992, initial monotone sequence)."""
    n = values.size
    centred = values - values.mean()
    spectrum = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
    correlation = np.fft.irfft(spectrum)[:n] / (centred @ centred)
    pairs = correlation[0 : n // 2 * 2 : 2] + correlation[1 : n // 2 * 2 : 2]
    negative = np.flatnonzero(pairs <= 0.0)
    pairs = np.minimum.accumulate(pairs[: negative[0] if negative.size else pairs.size])
    return float(n / max(2.0 * pairs.sum() - 1.0, 1.0 / np.log10(n)))


def ess_z(values: Array, expected: float) -> float:
    """z-score of a chain's mean, its Monte-Carlo standard error from the effective number of draws."""
    return float((values.mean() - expected) / (values.std() / np.sqrt(effective_size(values))))


def z_limit(n_tests: int, false_alarm: float = 1e-3) -> float:
    """|z| that all of ``n_tests`` stay below with probability 1 − ``false_alarm`` (Bonferroni)."""
    return float(stats.norm.isf(false_alarm / (2 * n_tests)))


def marginal_scores(samples: Sequence[tuple[Array, stats.rv_continuous]]) -> Array:
    """z-scores of mean, variance and three quantiles of each chain of numbers against its distribution."""
    scores = []
    for values, known in samples:
        scores.append(batch_z(values, known.mean()))
        scores.append(batch_z((values - known.mean()) ** 2, known.var()))
        scores.extend(batch_z((values < known.ppf(level)).astype(float), level) for level in (0.1, 0.5, 0.9))
    return np.array(scores)


def assert_distributed(samples: Sequence[tuple[Array, stats.rv_continuous]]) -> None:
    """Each chain of numbers has the moments and quantiles of its distribution."""
    scores = marginal_scores(samples)
    assert np.abs(scores).max() < z_limit(scores.size), scores.round(2)
