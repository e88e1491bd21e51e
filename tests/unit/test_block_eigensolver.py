"""The eigensolver against matrices whose eigenvectors are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import Generator

from bayesflex.block_eigensolver import lowest_eigenvectors

VALUES = np.concatenate([[0.0, 0.0], [1.0, 1.0, 1.0], np.linspace(1.5, 900.0, 295)])


@pytest.fixture
def matrix(rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """A matrix with two null vectors and a threefold eigenvalue, and its eigenvectors as columns."""
    vectors = np.linalg.qr(rng.standard_normal((300, 300)))[0]
    return vectors * VALUES @ vectors.T, vectors


def solve(matrix, constraints, start, n_wanted, tolerance=1e-6, max_iterations=200, precondition=None):
    diagonal = np.diag(matrix)[:, None]
    return lowest_eigenvectors(
        lambda vectors: matrix @ vectors,
        precondition or (lambda vectors: vectors / diagonal),
        start,
        constraints,
        n_wanted,
        tolerance,
        0.0,
        max_iterations,
    )


def test_lowest_eigenvectors_beside_the_constraints(matrix, rng: Generator):
    a, vectors = matrix
    found = solve(a, vectors[:, :2], rng.standard_normal((300, 12)), 8)
    assert found.converged
    assert found.values[:8] == pytest.approx(VALUES[2:10], rel=1e-10)
    assert np.allclose(found.vectors.T @ found.vectors, np.eye(12), atol=1e-12)
    assert np.abs(vectors[:, :2].T @ found.vectors).max() < 1e-12
    assert np.linalg.norm(vectors[:, 2:5].T @ found.vectors[:, :3], axis=0) == pytest.approx(np.ones(3), abs=1e-8)
    residual = np.linalg.norm(a @ found.vectors - found.vectors * found.values, axis=0)
    assert residual[:8].max() < 1.01e-6 * found.values[7]
    assert residual == pytest.approx(found.residuals, abs=1e-9)


def test_a_better_preconditioner_needs_fewer_iterations(matrix, rng: Generator):
    a, vectors = matrix
    start = rng.standard_normal((300, 8))
    inverse = np.linalg.inv(a + 1e-3 * np.eye(300))
    plain = solve(a, vectors[:, :2], start, 5)
    better = solve(a, vectors[:, :2], start, 5, precondition=lambda residuals: inverse @ residuals)
    assert better.converged
    assert 3 * better.iterations < plain.iterations


def test_the_same_start_gives_the_same_vectors(matrix, rng: Generator):
    a, vectors = matrix
    start = rng.standard_normal((300, 6))
    one, two = (solve(a, vectors[:, :2], start, 4) for _ in range(2))
    assert np.array_equal(one.vectors, two.vectors)


def test_a_search_that_is_cut_short_says_so(matrix, rng: Generator):
    a, vectors = matrix
    found = solve(a, vectors[:, :2], rng.standard_normal((300, 6)), 4, max_iterations=2)
    assert not found.converged
    assert found.iterations == 2
    assert np.all(found.values >= VALUES[2:8] - 1e-12)


def test_an_exact_start_is_done(matrix):
    a, vectors = matrix
    found = solve(a, vectors[:, :2], vectors[:, 2:8], 6)
    assert found.converged
    assert found.iterations == 0


def test_a_start_of_dependent_columns_finds_as_many_as_there_are(matrix, rng: Generator):
    a, vectors = matrix
    start = np.repeat(rng.standard_normal((300, 4)), 2, axis=1)
    found = solve(a, vectors[:, :2], start, 3)
    assert found.vectors.shape == (300, 4)
    assert found.values[:3] == pytest.approx(VALUES[2:5], rel=1e-10)
