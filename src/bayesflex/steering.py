"""Steering: bringing a structure into the map's basin along its own normal modes, as a part of the warm-up.

A large domain motion is a rotation, and along a straight mode it stretches bonds long before it is done. So it is
cut into short steps: a Newton step in the span of a few directions, no longer than a trust radius; the geometry and
the contacts of the structure restored; the modes taken anew at the structure reached. Few directions do better than
many: they keep domains whole, while many let the model flow into density that is not its own.

Nothing here samples anything, and nothing of it remains in the kernel that samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from bayesflex.posterior import Posterior
from bayesflex.protocols import EnergyTerm

Array = NDArray[np.float64]

#: Shortest step worth trying, RMSD in Å.
_SHORTEST = 0.1

#: Steering ends when a step gains less than this (nats).
_SMALLEST_GAIN = 0.1

#: Displacement for differences of the gradient along a direction, RMSD in Å.
_DIFFERENCE = 0.02

#: Curvatures smaller than this fraction of the largest are not trusted to set a step.
_SOFTEST = 1e-3

_RESTORING_ITERATIONS = 30


def restored(coords: Array, terms: Sequence[EnergyTerm]) -> Array:
    """Return coordinates nearby, shape (n, 3), Å, with less energy: a few iterations of L-BFGS.

    Parameters
    ----------
    coords
        Positions, shape (n, 3), Å.
    terms
        Energy terms; those that saturate pull back only what is still near.
    """

    def energy(flat: Array) -> tuple[float, Array]:
        at = flat.reshape(coords.shape)
        gradient = np.zeros_like(at)
        return float(sum(term.add_to(at, gradient) for term in terms)), gradient.ravel()

    result = minimize(
        energy, coords.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _RESTORING_ITERATIONS, "maxcor": 10}
    )
    return np.ascontiguousarray(result.x.reshape(coords.shape))


def steer(
    posterior: Posterior,
    restoring: Sequence[EnergyTerm],
    coords: Array,
    directions_at: Callable[[Array], Array],
    max_steps: int,
    longest: float,
    on_step: Callable[[Array], None],
) -> Array:
    """Return coordinates moved uphill in a posterior by short steps along a few directions.

    Parameters
    ----------
    posterior
        Log density of the coordinates at a (blurred) stage. Its prior holds what should resist the motion, such
        as contacts; stiff local terms would forbid any straight step and belong in ``restoring``.
    restoring
        Energy terms with which each step is restored; none leaves the step as it is.
    coords
        Start, shape (n, 3), Å.
    directions_at
        Returns the directions, orthonormal (n_directions, n, 3), to use at a structure.
    max_steps
        Largest number of steps.
    longest
        Longest step, RMSD in Å: 1.5 turns a domain of 20 Å by some 5°.
    on_step
        Called with the coordinates after each step.

    Returns
    -------
    ndarray
        Shape (n, 3). The log density there is not below that of the start.
    """
    value, gradient = posterior.of_coordinates(coords)
    root_n = np.sqrt(len(coords))
    radius = longest
    for _ in range(max_steps):
        flat = directions_at(coords).reshape(-1, coords.size)
        step = _newton_step(posterior, coords, gradient, flat)
        gain = 0.0
        while radius >= _SHORTEST and gain <= 0.0:
            length = float(np.linalg.norm(step)) / root_n  # RMSD
            moved = coords + (min(1.0, radius / max(length, 1e-12)) * step @ flat).reshape(coords.shape)
            if restoring:
                moved = restored(moved, restoring)
            new_value, new_gradient = posterior.of_coordinates(moved)
            gain = new_value - value
            if not gain > 0.0:
                radius *= 0.5
        if not gain > 0.0:
            break
        coords, value, gradient = moved, new_value, new_gradient
        radius = min(1.5 * radius, longest)
        on_step(coords)
        if gain < _SMALLEST_GAIN:
            break
    return coords


def _newton_step(posterior: Posterior, coords: Array, gradient: Array, flat: Array) -> Array:
    """Return the Newton step in the span of the rows of ``flat``, uphill also where the density is not concave."""
    difference = _DIFFERENCE * np.sqrt(len(coords))
    curvature = np.empty((len(flat), len(flat)))
    for index, direction in enumerate(flat):
        # One difference each is enough: the step is cut to a trust radius, and tried before it is taken.
        ahead = posterior.of_coordinates(coords + difference * direction.reshape(coords.shape))[1]
        curvature[index] = flat @ (gradient - ahead).ravel() / difference
    eigenvalues, vectors = np.linalg.eigh(0.5 * (curvature + curvature.T))
    softest = max(_SOFTEST * float(np.abs(eigenvalues).max()), 1e-12)
    slope = flat @ gradient.ravel()
    return np.asarray(vectors @ ((vectors.T @ slope) / np.maximum(np.abs(eigenvalues), softest)))
