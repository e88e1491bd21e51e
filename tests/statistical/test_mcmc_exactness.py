"""The exact kernels sample what they are given, and the test would notice if they did not."""

from __future__ import annotations

import numpy as np
import pytest
from mcmc_statistics import Gaussian, Skewed, assert_distributed, marginal_scores, run_chain, z_limit
from scipy import stats
from trajectory_checks import balances_in_detail
from verdicts import Scheme

from bayesflex.mcmc import HMC, BlockMass, DenseMass, DiagonalMass, Metropolis, MolecularDynamics
from bayesflex.protocols import Evaluation

N_DIMS = (2, 7, 20)


def masses(target):
    n_dim = target.mean.size
    half = n_dim // 2
    return {
        "uniform": DiagonalMass.uniform(n_dim),
        "diagonal": DiagonalMass(1.0 / np.diag(target.covariance)),
        "dense": DenseMass(target.covariance),
        "block": BlockMass(
            [
                (slice(0, half), DenseMass(target.covariance[:half, :half])),
                (slice(half, n_dim), DiagonalMass.uniform(n_dim - half, 0.5)),
            ]
        ),
    }


def gaussian_samples(target, draws):
    return [(draws[:, dim], target.marginal(dim)) for dim in range(target.mean.size)]


@pytest.mark.parametrize("mass_name", ["uniform", "diagonal", "dense", "block"])
@pytest.mark.parametrize("n_dim", N_DIMS)
def test_hmc_samples_correlated_gaussians(n_dim, mass_name, rng):
    target = Gaussian.random(rng, n_dim)
    kernel = HMC(target, masses(target)[mass_name], step_size=0.45, n_steps=6)
    draws = run_chain(kernel, rng, kernel.init(target.mean), 4000)
    assert_distributed(gaussian_samples(target, draws))
    # A direction across all coordinates, which sees the covariances.
    across = np.ones(n_dim)
    spread = np.sqrt(across @ target.covariance @ across)
    assert_distributed([(draws @ across, stats.norm(target.mean @ across, spread))])


@pytest.mark.parametrize("n_dim", N_DIMS)
def test_metropolis_samples_correlated_gaussians(n_dim, rng):
    target = Gaussian.random(rng, n_dim)
    # 2.38 / √d of the target's own shape: Roberts, Gelman and Gilks 1997.
    kernel = Metropolis(target, DenseMass(target.covariance), 2.38 / np.sqrt(n_dim), n_steps=2 + n_dim)
    draws = run_chain(kernel, rng, kernel.init(target.mean), 3000)
    assert_distributed(gaussian_samples(target, draws))


@pytest.mark.parametrize(
    "kernel",
    [
        HMC(Skewed(), DiagonalMass(np.array([2.0, 1.0, 1.0])), 0.25, 10),
        Metropolis(Skewed(), DiagonalMass.uniform(3), 0.8, 15),
    ],
    ids=["hmc", "metropolis"],
)
def test_skewed_target(kernel, rng):
    target = Skewed()
    draws = run_chain(kernel, rng, kernel.init(np.zeros(3)), 8000)
    assert_distributed(target.standardised(draws))


def worst_p_value_after_one_step(kernel, rng, n_draws=4000):
    """Independent draws of the target, moved once, are independent draws of the target."""
    target = Skewed()
    moved = np.empty((n_draws, 3))
    for index, start in enumerate(target.draw(rng, n_draws)):
        state, _ = kernel.step(rng, kernel.init(start))
        moved[index] = state.position
    samples = target.standardised(moved)
    return min(stats.kstest(values, known.cdf).pvalue for values, known in samples)


def test_one_step_leaves_the_target_invariant(rng):
    # A long step: half of the proposals are rejected, so that the rejections matter.
    assert worst_p_value_after_one_step(HMC(Skewed(), DiagonalMass.uniform(3), 0.5, 5), rng) > 1e-3 / 3
    assert worst_p_value_after_one_step(Metropolis(Skewed(), DiagonalMass.uniform(3), 0.7, 5), rng) > 1e-3 / 3


def test_the_check_notices_a_kernel_that_is_not_exact(rng):
    assert worst_p_value_after_one_step(MolecularDynamics(Skewed(), DiagonalMass.uniform(3), 0.5, 5), rng) < 1e-6


def standard_normal(position):
    return Evaluation(-0.5 * float(position @ position), -position)


def test_molecular_dynamics_has_the_bias_it_documents(rng):
    n_dim, step_size = 8, 0.9  # two steps are about a quarter of a period: the draws are nearly independent
    kernel = MolecularDynamics(standard_normal, DiagonalMass.uniform(n_dim), step_size, n_steps=2)
    draws = run_chain(kernel, rng, kernel.init(np.zeros(n_dim)), 6000)
    variance = 1.0 / (1.0 - (step_size / 2.0) ** 2)
    assert_distributed([(draws[:, dim], stats.norm(0.0, np.sqrt(variance))) for dim in range(n_dim)])
    unbiased = marginal_scores([(draws[:, dim], stats.norm()) for dim in range(n_dim)])
    assert np.abs(unbiased).max() > z_limit(unbiased.size)


def test_metropolis_balances_in_detail():
    assert balances_in_detail(Scheme(lambda target, mass, step_size, n_steps: Metropolis(target, mass, 2.5))).passed
