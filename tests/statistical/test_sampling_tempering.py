"""A fit whose map has two answers: tempering finds the weight of each, chains alone stay in one.

The prior is a harmonic chain and the likelihood has two peaks, at two shapes of the chain, so that the posterior is a
mixture of two normal densities with weights, means and covariances in closed form. Everything else is a fit's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from mcmc_statistics import effective_size, z_limit
from scipy import stats
from small_posteriors import THERMAL_ENERGY, Springs, ca_trace, harmonic_precision, helix, local
from verdicts import warmed_up

from bayesflex.beads import ca_beads
from bayesflex.clusters import crossings, find_clusters
from bayesflex.config import FitConfig
from bayesflex.map_target import MapTarget
from bayesflex.mcmc import HMC
from bayesflex.posterior import Posterior
from bayesflex.reporters import NullReporter
from bayesflex.sampling import Problem, plan_stages, run_chains
from bayesflex.sampling.tempering import Tempered
from bayesflex.trace import Trace

N, BOND_SD, CENTRE_SD, PEAK_SD = 3, 0.9, 2.0, 0.35
START = helix(N)
PEAKS = np.array([START, START + np.array([[0.0, 0.0, 2.1], [0.0, -1.26, 0.0], [0.0, 0.0, -2.1]])])
LOG_HEIGHTS = np.log([1.0, 800.0])


@dataclass(frozen=True, eq=False)
class TwoPeaks:
    """L = Σ h exp(−|r − m|² / 2 s²)."""

    name: str = "peaks"

    def clone(self):
        return self

    def log_likelihood_and_gradient(self, coords):
        away = coords - PEAKS
        exponents = LOG_HEIGHTS - 0.5 * np.sum(away**2, axis=(1, 2)) / PEAK_SD**2
        highest = exponents.max()
        parts = np.exp(exponents - highest)
        gradient = -np.einsum("k,kij->ij", parts / parts.sum(), away) / PEAK_SD**2
        return float(highest + np.log(parts.sum())), gradient


def posterior():
    """Weights, means (2, 3 n) and covariance (3 n, 3 n) of its two normal densities."""
    prior = harmonic_precision(N, BOND_SD, CENTRE_SD)
    covariance = np.linalg.inv(prior + np.eye(3 * N) / PEAK_SD**2)
    evidence = stats.multivariate_normal(START.ravel(), np.linalg.inv(prior) + PEAK_SD**2 * np.eye(3 * N))
    log_weights = LOG_HEIGHTS + [evidence.logpdf(peak.ravel()) for peak in PEAKS]
    weights = np.exp(log_weights - log_weights.max())
    means = [covariance @ (prior @ START.ravel() + peak.ravel() / PEAK_SD**2) for peak in PEAKS]
    return weights / weights.sum(), np.array(means), covariance


def run(**settings):
    """Draws (n_chains, n_draws, 3 n) and how often each pair of levels exchanged."""
    config = FitConfig(
        resolution=9.0,
        sigma=2.0,
        deformation="local",
        anneal=False,
        threads=1,
        seed=23,
        steps=6,
        warmup_iterations=60,
        centre_sd=CENTRE_SD,
        **settings,
    )
    values = np.random.default_rng(0).normal(size=(8, 8, 8))
    target = MapTarget(values, np.full(3, 4.0), np.full(3, -14.0), np.ones(values.shape, dtype=bool), 2.0)
    ca = ca_trace(START)
    problem = Problem(ca, config, target, ca_beads(ca), (Springs(np.diff(START, axis=0), BOND_SD),), None)
    chains = run_chains(problem, plan_stages(config, START), [TwoPeaks()], NullReporter())
    names = [name for name in chains[0].draws.statistics[0] if name.startswith("exchange_")]
    rates = [[row[name] for name in names] for chain in chains for row in chain.draws.statistics]
    draws = np.array([chain.draws.coords for chain in chains], dtype=np.float64)
    return draws.reshape(*draws.shape[:2], -1), np.mean(rates, axis=0)


def trace_of(draws):
    """The draws as a fit keeps them; their log density is not asked for."""
    coords = draws.reshape(*draws.shape[:2], N, 3)
    flat = np.zeros(draws.shape[:2])
    return Trace(coords, np.zeros((*flat.shape, 0)), np.zeros(0, int), np.array(["A"] * N), {"lp": flat}, flat, flat)


def in_first(draws, means):
    """Whether each draw is nearer to the first mean: 1 or 0."""
    distances = np.linalg.norm(draws[..., None, :] - means, axis=-1)
    return (distances[..., 0] < distances[..., 1]).astype(float)


def test_the_two_answers_are_far_apart():
    weights, means, covariance = posterior()
    assert 0.2 < weights[0] < 0.5
    apart = means[1] - means[0]
    assert np.sqrt(apart @ np.linalg.solve(covariance, apart)) > 8.0  # standard deviations


@pytest.mark.slow
def test_tempering_finds_their_weights():
    weights, means, covariance = posterior()
    draws, rates = run(chains=4, iterations=1000, temperatures=(1.0, 2.0, 4.0, 8.0))
    draws = draws[:, 100:]
    first = in_first(draws, means)
    # Each chain has crossed, and the chains together have the right weights within their Monte-Carlo error.
    assert (np.abs(np.diff(first, axis=1)).sum(axis=1) >= 10).all()
    n_effective = sum(effective_size(chain) for chain in first)
    assert n_effective > 50
    z = (first.mean() - weights[0]) / np.sqrt(weights[0] * weights[1] / n_effective)
    assert abs(z) < z_limit(1)
    assert rates.min() > 0.15
    # A fit's report tells the same: two conformations, each with its share of the draws and its mean.
    clusters = find_clusters(trace_of(draws), 0.5)
    assert len(clusters) == 2
    assert min(crossings(clusters)) >= 10
    for cluster in clusters:
        number = int(np.argmin(np.linalg.norm(means - cluster.mean.ravel(), axis=1)))
        np.testing.assert_array_equal(cluster.members, first == 1.0 - number)
        assert abs(cluster.share - weights[number]) < z_limit(1) * np.sqrt(weights.prod() / n_effective)
    assert clusters[0].share > 0.5
    for number, mean in enumerate(means):
        chosen = draws[first == 1.0 - number]
        np.testing.assert_allclose(chosen.mean(axis=0), mean, atol=4.0 * np.sqrt(covariance.max() / 50.0))


def test_a_ladder_that_is_found_exchanges_all_along():
    _, rates = run(chains=2, iterations=150, temperatures=(4.0,))
    assert rates.size == 3
    assert (rates > 0.1).all()
    assert (rates < 0.8).all()


def test_chains_alone_hardly_cross():
    """All start in the first, the lighter. In 210 iterations two chains of thirty were seen to cross, once each."""
    _, means, _ = posterior()
    draws, rates = run(chains=3, iterations=150)
    first = in_first(draws, means)
    assert (np.abs(np.diff(first, axis=1)).sum(axis=1) <= 1).all()
    assert first[:, 0].sum() >= 2
    assert rates.size == 0


def test_the_prior_does_not_melt():
    """However hot the likelihood, bonds are as the prior has them: half of k_B T for each."""
    temperature, rng = 1e4, np.random.default_rng(29)
    term = Springs(np.diff(START, axis=0), BOND_SD)
    inner = Posterior(TwoPeaks(), [term], local(START), THERMAL_ENERGY / temperature, START.mean(axis=0), CENTRE_SD)
    state, mass, step_size = warmed_up(inner, rng, n_steps=6)
    target = Tempered(inner, temperature)
    kernel = HMC(target, mass, step_size * np.sqrt(temperature), 6)
    state, energies = kernel.init(state.position), np.empty(2000)
    for index in range(energies.size):
        state, _ = kernel.step(rng, state)
        energies[index] = state.evaluation.details.energy
    expected = 0.5 * THERMAL_ENERGY * 3 * (N - 1)
    assert abs(energies.mean() - expected) < 4.0 * energies.std() / np.sqrt(effective_size(energies))
