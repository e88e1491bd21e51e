"""The lowest eigenvectors of a large symmetric matrix, improved together from a start, with a preconditioner.

LOBPCG: A. V. Knyazev, SIAM J. Sci. Comput. 23 (2001) 517, with an orthonormal basis as U. Hetmaniuk and R. Lehoucq,
J. Comput. Phys. 218 (2006) 324, propose. It knows a matrix by what it does to vectors: no protein, no network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Apply = Callable[[Array], Array]

# Directions shorter than this, in units of the longest, are rounding once the others are taken out (squared lengths).
_DEPENDENT = 1e-14


class Eigenpairs(NamedTuple):
    """What was found, and how well."""

    values: Array  # (n,), ascending
    vectors: Array  # (size, n), orthonormal columns
    residuals: Array  # (n,), |A v - value v|
    converged: bool
    iterations: int


def lowest_eigenvectors(
    multiply: Apply,
    precondition: Apply,
    start: Array,
    constraints: Array,
    n_wanted: int,
    tolerance: float,
    floor: float,
    max_iterations: int,
) -> Eigenpairs:
    """Return eigenvectors of the smallest eigenvalues of a symmetric positive semidefinite matrix A.

    Parameters
    ----------
    multiply
        A times columns.
    precondition
        An approximate inverse of A times columns.
    start
        Columns to start from, shape (size, n), n at least ``n_wanted``: the others speed up the last ones.
    constraints
        Orthonormal columns to which all vectors stay orthogonal, shape (size, n_constraints).
    n_wanted
        How many must converge.
    tolerance
        A vector has converged once |A v - value v| is below this fraction of its value,
    floor
        or of this, where the value is smaller.
    max_iterations
        When to give up.

    Returns
    -------
    Eigenpairs
        As many as the start has independent columns.
    """
    vectors = _orthonormal(start, [constraints])
    n = vectors.shape[1]
    image = multiply(vectors)
    values, rotation = np.linalg.eigh(_symmetric(vectors.T @ image))
    vectors, image = vectors @ rotation, image @ rotation
    previous, previous_image, among_previous = vectors[:, :0], image[:, :0], np.zeros((0, 0))
    iteration = 0
    while True:
        residual = image - vectors * values
        length = np.linalg.norm(residual, axis=0)
        unfinished = length > tolerance * np.maximum(values, floor)
        if not unfinished[:n_wanted].any() or iteration == max_iterations:
            return Eigenpairs(values, vectors, length, not unfinished[:n_wanted].any(), iteration)
        iteration += 1
        fresh = _orthonormal(precondition(residual[:, unfinished]), [constraints, vectors, previous])
        fresh_image = multiply(fresh)
        # A in the basis of vectors, fresh and previous, of which only the middle part is new.
        new = fresh.T @ fresh_image
        of_vectors, of_previous = vectors.T @ fresh_image, previous.T @ fresh_image
        apart = np.zeros((n, previous.shape[1]))
        small = _symmetric(
            np.block(
                [
                    [np.diag(values), of_vectors, apart],
                    [of_vectors.T, new, of_previous.T],
                    [apart.T, of_previous, among_previous],
                ]
            )
        )
        values, rotation = np.linalg.eigh(small)
        values, best = values[:n], rotation[:, :n]
        # The way from the old vectors to the new ones, orthogonal to these.
        way = best[:, unfinished]
        way[:n] = 0.0
        way = _orthonormal(way, [best])
        basis, images = (vectors, fresh, previous), (image, fresh_image, previous_image)
        vectors, previous = _combined(basis, best), _combined(basis, way)
        image, previous_image = _combined(images, best), _combined(images, way)
        among_previous = way.T @ small @ way


def _symmetric(matrix: Array) -> Array:
    return 0.5 * (matrix + matrix.T)


def _combined(parts: tuple[Array, ...], coefficients: Array) -> Array:
    """Return the columns side by side times coefficients, without putting them side by side."""
    ends = np.cumsum([part.shape[1] for part in parts])
    first, *rest = (part @ rows for part, rows in zip(parts, np.split(coefficients, ends[:-1]), strict=True))
    for other in rest:
        first += other
    return first


def _orthonormal(columns: Array, others: list[Array]) -> Array:
    """Return columns made orthonormal, and orthogonal to other orthonormal ones; dependent directions are dropped.

    By eigenvectors of the scaled Gram matrix (Stathopoulos and Wu, SIAM J. Sci. Comput. 23 (2002) 2165), twice.
    """
    for _ in range(2):
        for other in others:
            columns = columns - other @ (other.T @ columns)
        length = np.linalg.norm(columns, axis=0)
        columns = columns[:, length > 0.0] / length[length > 0.0]
        square, rotation = np.linalg.eigh(columns.T @ columns)
        kept = square > _DEPENDENT * square[-1:].max(initial=0.0)
        columns = columns @ (rotation[:, kept] / np.sqrt(square[kept]))
    return columns
