"""Modes and displacements describe the same motion twice: r = x + Aᵀq. The sampler must not mind.

A 5-bead toy (15 coordinates, 3 modes), after the identifiability argument of the method:
q with a proper prior is idle; q and x both flat are a preconditioner of r.
"""

from __future__ import annotations

import numpy as np
import pytest
from mcmc_statistics import Gaussian, assert_distributed
from scipy import stats

from bayesflex.mcmc import HMC, BlockMass, DenseMass, DiagonalMass, leapfrog
from bayesflex.protocols import Evaluation, KernelState

N_COORDS, N_MODES = 15, 3
Q, X = slice(0, N_MODES), slice(N_MODES, N_MODES + N_COORDS)
INVERSE_MASS_Q = np.array([[4.0, 0.5, 0.0], [0.5, 3.0, -0.4], [0.0, -0.4, 2.0]])
MASS_X = 1.5
MASS = BlockMass([(Q, DenseMass(INVERSE_MASS_Q)), (X, DiagonalMass.uniform(N_COORDS, MASS_X))])


class Redundant:
    """Log density of (q, x) through r alone, plus an optional N(0, prior_variance) on q."""

    def __init__(self, of_r, modes, prior_variance=np.inf):
        self.of_r = of_r
        self.modes = modes  # (n_modes, n_coords), orthonormal rows
        self.prior_variance = prior_variance

    def r(self, position):
        return position[..., X] + position[..., Q] @ self.modes

    def __call__(self, position):
        log_density, gradient, _ = self.of_r(self.r(position))
        q = position[Q]
        gradient_q = self.modes @ gradient - q / self.prior_variance
        log_density -= 0.5 * float(q @ q) / self.prior_variance
        return Evaluation(log_density, np.concatenate([gradient_q, gradient]))

    def reset_gauge(self, state):
        r = self.r(state.position)
        q = self.modes @ r
        # Same r, same log density, same gradient: the evaluation stays.
        return KernelState(np.concatenate([q, r - q @ self.modes]), state.evaluation)


@pytest.fixture
def of_r(rng):
    return Gaussian.random(rng, N_COORDS)


@pytest.fixture
def modes(rng):
    return np.linalg.qr(rng.standard_normal((N_COORDS, N_MODES)))[0].T


@pytest.mark.parametrize("reset", [True, False], ids=["gauge-reset", "free"])
def test_flat_q_and_x_sample_r(reset, of_r, modes, rng):
    target = Redundant(of_r, modes)
    kernel = HMC(target, MASS, 0.4, 6)
    state = kernel.init(rng.standard_normal(N_MODES + N_COORDS))
    draws = np.empty((5000, N_COORDS))
    for index in range(-50, len(draws)):
        state, _ = kernel.step(rng, state)
        if reset:
            state = target.reset_gauge(state)
        if index >= 0:
            draws[index] = target.r(state.position)
    assert_distributed([(draws[:, dim], of_r.marginal(dim)) for dim in range(N_COORDS)])
    # The mode amplitudes of r, which is what is reported.
    amplitudes = draws @ modes.T
    spread = np.sqrt(np.diag(modes @ of_r.covariance @ modes.T))
    centre = modes @ of_r.mean
    assert_distributed([(amplitudes[:, m], stats.norm(centre[m], spread[m])) for m in range(N_MODES)])


def test_gauge_reset_changes_neither_r_nor_the_evaluation(of_r, modes, rng):
    target = Redundant(of_r, modes)
    position = rng.standard_normal(N_MODES + N_COORDS)
    state = KernelState(position, target(position))
    reset = target.reset_gauge(state)
    fresh = target(reset.position)
    np.testing.assert_allclose(target.r(reset.position), target.r(position), atol=1e-12)
    np.testing.assert_allclose(modes @ reset.position[X], 0.0, atol=1e-12)
    assert fresh.log_density == pytest.approx(reset.evaluation.log_density, rel=1e-10)
    np.testing.assert_allclose(fresh.gradient, reset.evaluation.gradient, atol=1e-10)


def test_flat_q_and_x_are_a_preconditioner_of_r(of_r, modes, rng):
    """r moves as by leapfrog in r alone with inverse mass W = M_x⁻¹ + Aᵀ M_q⁻¹ A; p_q − A p_x is conserved."""
    target = Redundant(of_r, modes)
    position = rng.standard_normal(N_MODES + N_COORDS)
    momentum = MASS.draw(rng)
    both = leapfrog(target, position, momentum, target(position), 0.3, 9, MASS)

    inverse_mass = np.eye(N_COORDS) / MASS_X + modes.T @ INVERSE_MASS_Q @ modes
    velocity = target.r(MASS.velocity(momentum))
    r = target.r(position)
    alone = leapfrog(of_r, r, np.linalg.solve(inverse_mass, velocity), of_r(r), 0.3, 9, DenseMass(inverse_mass))
    np.testing.assert_allclose(target.r(both.position), alone.position, atol=1e-10)
    np.testing.assert_allclose(
        both.momentum[Q] - modes @ both.momentum[X], momentum[Q] - modes @ momentum[X], atol=1e-11
    )


def test_q_with_a_prior_of_its_own_is_idle(of_r, modes, rng):
    """With a proper prior on q and x flat, q follows its prior, independent of r, and r is as without q."""
    prior_variance = 2.0
    target = Redundant(of_r, modes, prior_variance)
    kernel = HMC(target, MASS, 0.4, 6)
    state = kernel.init(np.zeros(N_MODES + N_COORDS))
    draws = np.empty((5000, N_MODES + N_COORDS))
    for index in range(-50, len(draws)):
        state, _ = kernel.step(rng, state)
        if index >= 0:
            draws[index] = state.position
    r, q = target.r(draws), draws[:, Q]
    assert_distributed([(r[:, dim], of_r.marginal(dim)) for dim in range(N_COORDS)])
    assert_distributed([(q[:, m], stats.norm(0.0, np.sqrt(prior_variance))) for m in range(N_MODES)])
    # Independence: the sum of standardised q and amplitude of r has variance 2.
    amplitude = (r - of_r.mean) @ modes.T / np.sqrt(np.diag(modes @ of_r.covariance @ modes.T))
    sums = q / np.sqrt(prior_variance) + amplitude
    assert_distributed([(sums[:, m], stats.norm(0.0, np.sqrt(2.0))) for m in range(N_MODES)])
