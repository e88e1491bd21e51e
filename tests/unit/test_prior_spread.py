"""The prior alone: a loop on which no data bear is found to be prior only, and nothing else is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_fit import prepared

from bayesflex.deformation import Deformation
from bayesflex.mcmc import HMC, warm_up
from bayesflex.posterior import Posterior
from bayesflex.protocols import KernelState
from bayesflex.sampling.preconditioning import matched_mass
from bayesflex.synthetic import two_domain_layout
from bayesflex.uncertainty import ResidueUncertainty, local_spreads, spread
from bayesflex.units import thermal_energy
from bayesflex.workflows.prior_spread import prior_draws


class Held:
    """Data that hold some CA where they are, and do not know of the others."""

    name = "held"

    def __init__(self, places: np.ndarray, held: np.ndarray, sd: float) -> None:
        self._places, self._precision = places, held[:, None] / sd**2

    def clone(self) -> Held:
        return self

    def log_likelihood_and_gradient(self, coords):
        shift = coords - self._places
        if not np.isfinite(shift).all():
            return -math.inf, np.zeros_like(coords)
        return -0.5 * float(np.sum(self._precision * shift**2)), -self._precision * shift


@pytest.fixture(scope="module")
def problem():
    # So small a fold melts without data; with stiff helices that takes longer than the chains here last.
    return prepared(deformation="local", iterations=100, helix_stiffness=1.0).problem


def drawn(problem, held: np.ndarray, n_draws: int = 300) -> np.ndarray:
    """Draws of the posterior given data that hold some CA, shape (n_draws, n_ca, 3)."""
    rng = np.random.default_rng(5)
    posterior = Posterior(
        Held(problem.start, held, 0.25),
        problem.terms,
        Deformation("local", problem.start, problem.mode_vectors),
        thermal_energy(300.0),
        problem.start.mean(axis=0),
        30.0,
    )
    theta = np.zeros(problem.start.size)
    mass = matched_mass(posterior, theta, rng)
    state, step = warm_up(rng, posterior, KernelState(theta, posterior(theta)), mass, 80, 20)
    kernel = HMC(posterior, mass, step, 20)
    draws = []
    for _ in range(n_draws):
        state, _ = kernel.step(rng, state)
        draws.append(state.evaluation.details.coords)
    return np.array(draws)


def judged(problem, draws: np.ndarray, n_gradients: int = 40_000) -> ResidueUncertainty:
    n = len(problem.start)
    sd, radius = spread(draws)
    local, prior = local_spreads(draws, prior_draws(problem, draws, n_gradients))
    unknown = np.full(n, np.nan)
    absent = np.zeros(n, dtype=bool)
    return ResidueUncertainty(sd, radius, local, prior, np.ones(n), absent, unknown, unknown, problem.ca.residue_labels)


def test_a_loop_without_data_is_prior_only_and_nothing_else(problem):
    loop = two_domain_layout(60).linker
    held = np.ones(60)
    held[loop] = 0.0
    # Many draws: with the usual ones a contraction is known to 0.15, and which residues are marked is chance.
    found = judged(problem, drawn(problem, held, 1500), 200_000)
    marked = np.flatnonzero(found.prior_only)
    # The ends are held by their neighbours. Of the four in the middle each of six seeds marks three or all.
    assert len(set(marked) & set(range(loop.start + 2, loop.stop - 2))) >= 3
    assert set(marked) <= set(range(loop.start - 1, loop.stop + 1))
    body = np.r_[0 : loop.start - 2, loop.stop + 2 : 60]
    assert np.median(found.contraction[body]) > 0.7


def test_without_any_data_everything_is_prior_only(problem):
    found = judged(problem, drawn(problem, np.zeros(60)))
    assert found.prior_only.mean() > 0.8
    assert abs(np.median(found.contraction)) < 0.25


def test_draws_of_the_prior_are_repeatable_and_as_many_as_the_fit_allows(problem, rng):
    starts = problem.start + rng.normal(0.0, 0.1, size=(10, *problem.start.shape))
    few, again = (prior_draws(problem, starts, n_gradients=100) for _ in range(2))
    np.testing.assert_array_equal(few, again)
    assert len(few) == 4 * 30
    assert len(prior_draws(problem, starts, n_gradients=10**7)) == 4 * 100
    assert len(prior_draws(problem, starts[:1], n_gradients=100)) == 30


def test_modes_alone_move_where_modes_alone_are_fitted(rng):
    problem = prepared(deformation="global", domain_motions="off").problem
    draws = prior_draws(problem, problem.start[None], n_gradients=100)
    shifts = (draws - problem.start).reshape(len(draws), -1)
    assert np.linalg.matrix_rank(shifts, tol=1e-6) == len(problem.mode_vectors)
