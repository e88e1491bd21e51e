"""Fits whose posterior is normal: harmonic prior, density linear in the displacements; run as fits are run.

Once with the density linear by construction, and once with the density, the overlap and the paper's likelihood in
use, and so little noise that displacements are small against the width of a bead: then the density is linear too.
"""

from __future__ import annotations

import numpy as np
import pytest
from distribution_checks import covariance_scores
from mcmc_statistics import z_limit
from small_posteriors import LinearDensity, Springs, ca_trace, harmonic_precision, helix

from bayesflex.beads import ca_beads
from bayesflex.config import FitConfig
from bayesflex.likelihood import GaussianLikelihood
from bayesflex.map_target import MapTarget
from bayesflex.normal_modes import NormalModes, rigid_motions
from bayesflex.overlap.spectrum import Spectrum
from bayesflex.rendering import render
from bayesflex.reporters import NullReporter
from bayesflex.sampling import Problem, plan_stages, run_chains

N, N_MODES, SIGMA, CENTRE_SD = 4, 3, 2.0, 1.0
START = helix(N)
PEAK = (2.0 * np.pi * SIGMA**2) ** -1.5
VOXEL, N_VOXELS = 2.0, 16


def settings(approach, **changes):
    return FitConfig(
        resolution=SIGMA / 0.225,
        sigma=SIGMA,
        deformation=approach,
        modes=tuple(range(7, 7 + N_MODES)),
        chains=40,
        iterations=45,
        warmup_iterations=40,
        steps=6,
        threads=1,
        seed=13,
        anneal=False,
        recompute_modes=False,
        centre_sd=CENTRE_SD,
        **changes,
    )


def empty_target():
    """A map that is there to be correlated with in the records."""
    values = np.random.default_rng(0).normal(size=(N_VOXELS,) * 3)
    origin = np.full(3, -0.5 * VOXEL * (N_VOXELS - 1))
    return MapTarget(values, np.full(3, VOXEL), origin, np.ones(values.shape, dtype=bool), SIGMA)


def run(config, target, likelihood, bond_sd):
    """Draws of all chains, flattened, (n_draws, 3 n): a chain is one batch of the z-scores."""
    ca = ca_trace(START)
    vectors = np.linalg.svd(np.concatenate([rigid_motions(START).reshape(6, -1), np.zeros((1, 3 * N))]))[2][6:9]
    vectors = vectors[:N_MODES].reshape(N_MODES, N, 3)
    modes = NormalModes(vectors, np.ones(N_MODES), np.arange(7, 7 + N_MODES), np.ones(N_MODES), 10.0)
    terms = (Springs(np.diff(START, axis=0), bond_sd),)
    problem = Problem(ca, config, target, ca_beads(ca), terms, None if config.deformation == "local" else modes)
    chains = run_chains(problem, plan_stages(config, START), [likelihood], NullReporter())
    return np.concatenate([chain.draws.coords for chain in chains]).astype(np.float64).reshape(-1, 3 * N)


def posterior_moments(prior, jacobian, residual, noise_sd):
    """Mean and covariance of the coordinates, given the residual of the map from that of the start."""
    covariance = np.linalg.inv(prior + jacobian.T @ jacobian / noise_sd**2)
    return START.ravel() + covariance @ jacobian.T @ residual / noise_sd**2, covariance


def assert_moments(draws, mean, covariance):
    scores = covariance_scores(draws, mean, covariance)
    assert np.abs(scores).max() < z_limit(scores.size), scores.round(1)


@pytest.mark.parametrize("approach", ["local", pytest.param("combined", marks=pytest.mark.slow)])
def test_a_linear_density(approach):
    bond_sd, noise_sd = 0.7, 0.5 * PEAK
    prior = harmonic_precision(N, bond_sd, CENTRE_SD)
    rng = np.random.default_rng(17)
    truth = START.ravel() + np.linalg.cholesky(np.linalg.inv(prior)) @ rng.standard_normal(3 * N)
    likelihood = LinearDensity(START, SIGMA, noise_sd).observe(rng, truth.reshape(N, 3))
    mean, covariance = posterior_moments(prior, likelihood.jacobian, likelihood.map - likelihood.density, noise_sd)
    assert 0.1 < np.sqrt(np.diag(covariance)).mean() < 0.6 * np.sqrt(np.diag(np.linalg.inv(prior))).mean()
    draws = run(settings(approach), empty_target(), likelihood, bond_sd)
    assert_moments(draws, mean, covariance)


@pytest.mark.slow
@pytest.mark.parametrize(("approach", "evaluation"), [("local", "pairs"), ("combined", "grid")])
def test_the_density_in_use_where_it_is_linear(approach, evaluation):
    """Displacements of some 0.07 Å: the next order, x/σ, is a few hundredths of them, below the Monte-Carlo error."""
    bond_sd, noise_sd = 0.1, 0.1 * PEAK
    target = empty_target()
    shape, voxel, origin = target.values.shape, target.voxel_size, target.origin

    def density(coords):
        return render(coords, np.ones(N), SIGMA, shape, voxel, origin, window=6.0)

    steps = 1e-3 * np.eye(3 * N).reshape(3 * N, N, 3)
    jacobian = np.array([(density(START + h) - density(START - h)).ravel() / 2e-3 for h in steps]).T
    truth = START + 0.05 * np.random.default_rng(19).standard_normal((N, 3))
    # Without noise in the map: with it the curvature of the density counts.
    residual = (density(truth) - density(START)).ravel()
    prior = harmonic_precision(N, bond_sd, CENTRE_SD)
    mean, covariance = posterior_moments(prior, jacobian, residual, noise_sd)
    assert np.sqrt(np.diag(covariance)).max() < 0.1
    target = MapTarget(density(truth), voxel, origin, target.region, SIGMA)
    overlap = target.overlap(np.ones(N), Spectrum(), False, evaluation)
    draws = run(settings(approach), target, GaussianLikelihood(overlap, 1.0, noise_sd), bond_sd)
    assert_moments(draws, mean, covariance)
