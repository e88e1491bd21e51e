"""Checks of what a kernel samples, against densities known in closed form.

Masses and step size are found as fits find them and frozen. Trajectories are kept short: their two ends, where kernels
go wrong, then count for more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from known_densities import UNIT, Bimodal, Funnel, posterior_of
from mcmc_statistics import Gaussian, Tabulated, batch_z, ess_z, marginal_scores
from scipy import stats
from small_posteriors import (
    THERMAL_ENERGY,
    LinearDensity,
    Springs,
    bonded_chain,
    harmonic_precision,
    helix,
    local,
)
from verdicts import judged, warmed_up

from bayesflex.mcmc import Mass
from bayesflex.posterior import Posterior
from bayesflex.protocols import KernelState


@dataclass(frozen=True, eq=False)
class Bed:
    """A posterior whose marginals are known, warmed up."""

    posterior: Posterior
    state: KernelState
    mass: Mass
    step_size: float
    n_steps: int = 2

    @classmethod
    def warm(cls, posterior, seed, n_steps=2):
        return cls(posterior, *warmed_up(posterior, np.random.default_rng(seed), n_steps), n_steps)

    def kernel(self, scheme):
        return scheme.make(self.posterior, self.mass, self.step_size, self.n_steps)

    def draws(self, scheme, seed, n_draws):
        """Coordinates of each draw, (n_draws, n_beads, 3)."""
        kernel, state, rng = self.kernel(scheme), self.state, np.random.default_rng(seed)
        coords = np.empty((n_draws, *self.posterior.deformation.start.shape))
        for index in range(n_draws):
            state, _ = kernel.step(rng, state)
            coords[index] = state.evaluation.details.coords
        return coords


class Correlated:
    """A correlated normal density in 12 dimensions."""

    n_dim = 12

    def __init__(self):
        self.normal = Gaussian.random(np.random.default_rng(51), self.n_dim)
        self._whitening = np.linalg.cholesky(self.normal.precision)
        self._direction = np.ones(self.n_dim)

    def __call__(self, position):
        return self.normal(position)

    def draw(self, rng, n_draws):
        return rng.multivariate_normal(self.normal.mean, self.normal.covariance, n_draws)

    def standardised(self, draws):
        """Each coordinate, their sum, which sees the covariances, and the distance from the mean in its own metric."""
        distance = np.sum(((draws - self.normal.mean) @ self._whitening) ** 2, axis=1)
        spread = math.sqrt(self._direction @ self.normal.covariance @ self._direction)
        return [
            *((draws[:, dim], self.normal.marginal(dim)) for dim in range(self.n_dim)),
            (draws @ self._direction, stats.norm(self.normal.mean @ self._direction, spread)),
            (distance, stats.chi2(self.n_dim)),
        ]


DENSITIES = {"correlated": Correlated(), "bimodal": Bimodal(), "funnel": Funnel()}


@cache
def bed_of(name):
    return Bed.warm(posterior_of(DENSITIES[name]), seed=53)


def _samples(name, scheme, n_draws, seed=59):
    coords = bed_of(name).draws(scheme, seed, n_draws)
    return judged(marginal_scores(DENSITIES[name].standardised(coords.reshape(n_draws, -1) / UNIT)))


def samples_correlated_normal(scheme):
    """Moments and quantiles of a correlated normal density."""
    return _samples("correlated", scheme, 6000)


def samples_bimodal(scheme):
    """Moments and quantiles of a density with two modes, of unequal weight and width."""
    return _samples("bimodal", scheme, 10_000)


def samples_funnel(scheme):
    """Moments and quantiles of a density whose width varies."""
    return _samples("funnel", scheme, 7000)


def keeps_exact_draws(scheme):
    """Independent draws of a density, moved six times, are independent draws of it (Kolmogorov–Smirnov)."""
    rng = np.random.default_rng(61)
    scores = []
    for name, density in DENSITIES.items():
        kernel = bed_of(name).kernel(scheme)
        moved = np.empty((600, density.n_dim))
        for index, start in enumerate(density.draw(rng, len(moved))):
            state = kernel.init(UNIT * start)
            for _ in range(6):
                state, _ = kernel.step(rng, state)
            moved[index] = state.position / UNIT
        scores += [
            stats.norm.isf(0.5 * max(stats.kstest(values, known.cdf).pvalue, 1e-300))
            for values, known in density.standardised(moved)
        ]
    return judged(np.array(scores))


# A chain with bonded terms alone, and soft bonds: the r² shows.
N_BEADS, BOND_CONSTANT = 6, 3.0


def bond_distribution(length, constant):
    """Density ∝ r² exp(−k (r − b)² / k_B T) of a bond's length, Å."""
    r = np.linspace(max(0.05, length - 10.0 * math.sqrt(0.5 * THERMAL_ENERGY / constant)), length + 4.0, 20_001)
    return Tabulated(r, 2.0 * np.log(r) - constant * (r - length) ** 2 / THERMAL_ENERGY)


def mean_bond_energy(length, constant):
    """⟨k (r − b)²⟩ = ½ k_B T (b² + 3 s²) / (b² + s²), s² = k_B T / 2k: the tail below r = 0 left out."""
    variance = 0.5 * THERMAL_ENERGY / constant
    return 0.5 * THERMAL_ENERGY * (length**2 + 3.0 * variance) / (length**2 + variance)


@cache
def bond_bed():
    return Bed.warm(bonded_chain(N_BEADS, bond_constant=BOND_CONSTANT, dihedral_constant=0.0), seed=67)


@cache
def _chain_draws(scheme):
    bed = bond_bed()
    coords = bed.draws(scheme, 71, 10_000)
    reference = bed.posterior.deformation.start
    return coords, reference


def bond_lengths(coords):
    return np.linalg.norm(np.diff(coords, axis=-2), axis=-1)


def has_bond_lengths(scheme):
    """Moments and quantiles of each bond's length are those of r² exp(−U / k_B T)."""
    coords, reference = _chain_draws(scheme)
    known = [bond_distribution(length, BOND_CONSTANT) for length in bond_lengths(reference)]
    return judged(marginal_scores(list(zip(bond_lengths(coords).T, known, strict=True))))


def has_bond_energy(scheme):
    """The mean energy of the bonds has its closed form, within the Monte-Carlo error."""
    coords, reference = _chain_draws(scheme)
    lengths = bond_lengths(reference)
    energies = BOND_CONSTANT * np.sum((bond_lengths(coords) - lengths) ** 2, axis=1)
    expected = sum(mean_bond_energy(length, BOND_CONSTANT) for length in lengths)
    return judged(np.array([ess_z(energies, expected)]))


# A linear-Gaussian fit.
FIT_BEADS, BOND_SD, CENTRE_SD = 5, 0.7, 1.0


@cache
def linear_fit():
    """A fit of beads with a harmonic prior to a map that is linear in their displacements; mean and covariance."""
    start, rng = helix(FIT_BEADS), np.random.default_rng(73)
    prior = harmonic_precision(FIT_BEADS, BOND_SD, CENTRE_SD)
    truth = start.ravel() + np.linalg.cholesky(np.linalg.inv(prior)) @ rng.standard_normal(start.size)
    likelihood = LinearDensity(start, sigma=2.0, noise_sd=0.008).observe(rng, truth.reshape(start.shape))
    precision = prior + likelihood.jacobian.T @ likelihood.jacobian / likelihood.noise_sd**2
    pulled = likelihood.jacobian.T @ (likelihood.map - likelihood.density) / likelihood.noise_sd**2
    covariance = np.linalg.inv(precision)
    terms = [Springs(np.diff(start, axis=0), BOND_SD)]
    posterior = Posterior(likelihood, terms, local(start), THERMAL_ENERGY, start.mean(axis=0), CENTRE_SD)
    return Bed.warm(posterior, seed=79), start.ravel() + covariance @ pulled, covariance


def covariance_scores(draws, mean, covariance):
    """z-scores of the mean of each coordinate, and of each element of the covariance about the known mean."""
    whole = draws - mean
    scores = [batch_z(column, 0.0) for column in whole.T]
    for i, j in zip(*np.triu_indices(len(mean)), strict=True):
        scores.append(batch_z(whole[:, i] * whole[:, j], covariance[i, j]))
    # In the metric of the posterior: a narrow direction counts as much as a wide one.
    distance = np.einsum("ki,ij,kj->k", whole, np.linalg.inv(covariance), whole)
    return np.array([*scores, batch_z(distance, float(len(mean)))])


def fits_linear_density(scheme):
    """Mean and covariance of a linear-Gaussian fit are those of its posterior in closed form."""
    bed, mean, covariance = linear_fit()
    coords = bed.draws(scheme, 83, 6000)
    return judged(covariance_scores(coords.reshape(len(coords), -1), mean, covariance))
