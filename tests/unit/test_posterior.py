"""Where energies become log densities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.deformation import APPROACHES, Deformation
from bayesflex.energy import build_prior
from bayesflex.posterior import Posterior
from bayesflex.synthetic import two_domain_protein

CA = two_domain_protein(80).ca_trace()
N = CA.n_atoms
KT = 0.6


class Spring:
    """Energy k |r|² / 2 in kcal/mol, or log likelihood of that sign; counts how often it is asked."""

    name = "spring"

    def __init__(self, constant=2.0):
        self.constant = constant
        self.n_asked = 0

    def clone(self):
        return Spring(self.constant)

    def energy_and_gradient(self, coords):
        gradient = np.zeros_like(coords)
        return self.add_to(coords, gradient), gradient

    def add_to(self, coords, gradient):
        self.n_asked += 1
        gradient += self.constant * coords
        return 0.5 * self.constant * float(np.sum(coords**2))

    def log_likelihood_and_gradient(self, coords):
        energy, gradient = self.energy_and_gradient(coords)
        return -energy, -gradient


class Forbidden(Spring):
    def add_to(self, coords, gradient):
        super().add_to(coords, gradient)
        return math.inf


def make(approach="local", rigid=False, likelihood=None, terms=(), centre_sd=1e9) -> Posterior:
    modes = np.linalg.qr(np.random.default_rng(1).normal(size=(3 * N, 3)))[0].T.reshape(3, N, 3)
    deformation = Deformation(approach, CA.coords, modes[:0] if approach == "local" else modes, rigid)
    return Posterior(likelihood, terms, deformation, KT, CA.coords.mean(axis=0), centre_sd)


def test_log_posterior_is_log_likelihood_minus_energy_over_kt():
    posterior = make(likelihood=Spring(0.5), terms=[Spring(2.0), Spring(1.0)])
    evaluation = posterior(np.zeros(3 * N))
    square = 0.5 * float(np.sum(CA.coords**2))
    assert evaluation.log_density == pytest.approx(-0.5 * square - 3.0 * square / KT)
    np.testing.assert_allclose(evaluation.gradient, -(0.5 + 3.0 / KT) * CA.coords.ravel())
    details = evaluation.details
    assert details.energy == pytest.approx(3.0 * square)  # kcal/mol, low is good
    assert details.log_likelihood == pytest.approx(-0.5 * square)  # nats, high is good
    np.testing.assert_array_equal(details.coords, CA.coords)


def test_the_centroid_is_held_by_a_gaussian():
    posterior = make(centre_sd=2.0)
    for shift in ([3.0, 0.0, 0.0], [1.0, -2.0, 4.0]):
        value, gradient = posterior.of_coordinates(CA.coords + shift)
        assert value == pytest.approx(-0.5 * np.sum(np.square(shift)) / 4.0)
        np.testing.assert_allclose(gradient.sum(axis=0), -np.array(shift) / 4.0, atol=1e-14)
    # and by nothing else: internal motion is free
    inner = CA.coords + np.random.default_rng(0).normal(size=(N, 3))
    inner += CA.coords.mean(axis=0) - inner.mean(axis=0)
    assert posterior.of_coordinates(inner)[0] == pytest.approx(0.0, abs=1e-20)


def test_the_flat_vector_adds_the_density_of_the_deformation():
    posterior = make("combined", rigid=True, terms=[Spring()])
    theta = np.random.default_rng(2).normal(scale=0.3, size=posterior.deformation.n_dim)
    of_coordinates, _ = posterior.of_coordinates(posterior.deformation.coordinates(theta))
    expected = of_coordinates + posterior.deformation.log_density(theta)
    assert posterior(theta).log_density == pytest.approx(expected)
    assert posterior.deformation.log_density(theta) != 0.0


@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("approach", APPROACHES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e160, 1e308, -1e308])
def test_it_never_raises_and_never_warns(approach, rigid, bad):
    """Warnings are errors in this suite: an overflow on the way is an answer, not a message."""
    config = FitConfig(resolution=5.0)
    posterior = make(approach, rigid, likelihood=Spring(), terms=build_prior(CA, config), centre_sd=30.0)
    for place in (0, posterior.deformation.n_dim // 2, posterior.deformation.n_dim - 1):
        theta = np.zeros(posterior.deformation.n_dim)
        theta[place] = bad
        evaluation = posterior(theta)
        assert evaluation.log_density == -math.inf
        np.testing.assert_array_equal(evaluation.gradient, np.zeros_like(theta))
    assert math.isfinite(posterior(np.zeros(posterior.deformation.n_dim)).log_density)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_coordinates_that_are_no_numbers_have_no_density(bad):
    coords = CA.coords.copy()
    coords[3, 1] = bad
    for terms in ((), build_prior(CA, FitConfig(resolution=5.0))):
        value, gradient = make(terms=terms).of_coordinates(coords)
        assert value == -math.inf
        np.testing.assert_array_equal(gradient, np.zeros_like(coords))


def test_an_infinite_energy_settles_it_and_the_likelihood_is_not_asked():
    likelihood = Spring()
    posterior = make(likelihood=likelihood, terms=[Forbidden()])
    evaluation = posterior(np.zeros(3 * N))
    assert evaluation.log_density == -math.inf
    np.testing.assert_array_equal(evaluation.gradient, np.zeros(3 * N))
    assert evaluation.details.energy == math.inf
    assert likelihood.n_asked == 0


def test_a_clone_owns_what_it_works_with_and_agrees():
    posterior = make("combined", True, Spring(), build_prior(CA, FitConfig(resolution=5.0)), 30.0)
    other = posterior.clone()
    assert other.likelihood is not posterior.likelihood
    assert all(a is not b for a, b in zip(other.terms, posterior.terms, strict=True))
    assert other.deformation is posterior.deformation
    theta = np.random.default_rng(3).normal(scale=0.1, size=posterior.deformation.n_dim)
    one, two = posterior(theta), other(theta)
    assert one.log_density == two.log_density
    np.testing.assert_array_equal(one.gradient, two.gradient)


def test_arguments_are_left_alone():
    posterior = make("combined", True, Spring(), build_prior(CA, FitConfig(resolution=5.0)))
    theta = np.random.default_rng(3).normal(scale=0.1, size=posterior.deformation.n_dim)
    kept = theta.copy()
    posterior(theta)
    np.testing.assert_array_equal(theta, kept)
