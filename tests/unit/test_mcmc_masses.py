"""Momentum distributions: draws, velocity and kinetic energy belong to one mass matrix."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.errors import ConfigError
from bayesflex.mcmc import BlockMass, DenseMass, DiagonalMass

COVARIANCE = np.array([[2.0, 0.6], [0.6, 0.5]])


def cases():
    """Pairs of a mass and its matrix M written out."""
    dense = np.linalg.inv(COVARIANCE)
    block_mass = BlockMass([(slice(0, 2), DenseMass(COVARIANCE)), (slice(2, 5), DiagonalMass.uniform(3, 3.0))])
    block = np.zeros((5, 5))
    block[:2, :2] = dense
    block[2:, 2:] = np.diag([3.0, 3.0, 3.0])
    return {
        "uniform": (DiagonalMass.uniform(3, 2.5), 2.5 * np.eye(3)),
        "diagonal": (DiagonalMass(np.array([0.1, 1.0, 30.0])), np.diag([0.1, 1.0, 30.0])),
        "dense": (DenseMass(COVARIANCE), dense),
        "block": (block_mass, block),
    }


@pytest.fixture(params=["uniform", "diagonal", "dense", "block"])
def mass_and_matrix(request):
    return cases()[request.param]


def test_draws_have_the_mass_as_covariance(mass_and_matrix, rng):
    mass, matrix = mass_and_matrix
    n_draws = 20_000
    draws = np.array([mass.draw(rng) for _ in range(n_draws)])
    assert draws.shape == (n_draws, mass.n_dim)
    # Var of an element of a sample covariance: (M_ij² + M_ii M_jj) / n.
    error = np.sqrt((matrix**2 + np.outer(np.diag(matrix), np.diag(matrix))) / n_draws)
    assert (np.abs(draws.T @ draws / n_draws - matrix) < 4.0 * error).all()
    assert (np.abs(draws.mean(axis=0)) < 4.0 * np.sqrt(np.diag(matrix) / n_draws)).all()


def test_velocity_and_kinetic_energy(mass_and_matrix, rng):
    mass, matrix = mass_and_matrix
    momentum = rng.standard_normal(mass.n_dim)
    kept = momentum.copy()
    expected = np.linalg.solve(matrix, momentum)
    np.testing.assert_allclose(mass.velocity(momentum), expected, rtol=1e-12)
    out = np.full(mass.n_dim, np.nan)
    assert mass.velocity(momentum, out=out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    assert mass.kinetic(momentum) == pytest.approx(0.5 * momentum @ expected, rel=1e-12)
    np.testing.assert_array_equal(momentum, kept)


def test_the_mass_owns_its_numbers():
    diagonal = np.array([1.0, 2.0])
    mass = DiagonalMass(diagonal)
    diagonal[0] = 100.0
    assert mass.kinetic(np.array([1.0, 0.0])) == 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiagonalMass(np.array([1.0, 0.0])), "positive finite"),
        (lambda: DiagonalMass(np.array([1.0, np.nan])), "positive finite"),
        (lambda: DiagonalMass(np.ones((2, 2))), "DiagonalMass.uniform"),
        (lambda: DenseMass(np.ones(3)), r"shape \(n_dim, n_dim\), got \(3,\)"),
        (lambda: DenseMass(np.array([[1.0, 0.5], [0.0, 1.0]])), "symmetric"),
        (lambda: DenseMass(np.array([[1.0, 2.0], [2.0, 1.0]])), "positive definite"),
        (lambda: DenseMass(np.full((2, 2), np.nan)), "finite"),
        (lambda: BlockMass([]), "at least one"),
        (lambda: BlockMass([(slice(1, 3), DiagonalMass.uniform(2))]), r"expected slice\(0, 2\)"),
        (lambda: BlockMass([(slice(0, 3), DiagonalMass.uniform(2))]), r"expected slice\(0, 2\)"),
        (
            lambda: BlockMass([(slice(0, 2), DiagonalMass.uniform(2)), (slice(1, 3), DiagonalMass.uniform(2))]),
            r"expected slice\(2, 4\)",
        ),
    ],
)
def test_what_is_not_a_mass_matrix_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
