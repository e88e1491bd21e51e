"""Steering: bringing a structure into the map's basin along its own normal modes, as a part of the warm-up.

A large domain motion is a rotation, and along a straight mode it stretches bonds long before it is done. So it is
cut into short steps: a Newton step in the span of a few directions, no longer than a trust radius; the geometry and
the contacts of the structure restored; the modes taken anew at the structure reached. Few directions do better than
many: they keep domains whole, while many let the model flow into density that is not its own.

Nothing here samples anything, and nothing of it remains in the kernel that samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from bayesflex.domains import moved_in_bodies
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

#: Iterations of a relaxation: the mean of draws is close to the maximum, and its strain goes in the first hundred.
RELAXATION_ITERATIONS = 300


@dataclass(frozen=True, eq=False)
class SteerPoint:
    """Where a steering is after a step: all that it takes to go on.

    Parameters
    ----------
    coords
        Structure reached, shape (n, 3), Å.
    value, gradient
        Log density there (nats) and its gradient, shape (n, 3).
    radius
        Longest step to try next, RMSD in Å.
    n_steps
        Steps made.
    ended
        Whether the last step gained too little to go on.
    """

    coords: Array
    value: float
    gradient: Array
    radius: float
    n_steps: int = 0
    ended: bool = False


def restored(coords: Array, terms: Sequence[EnergyTerm], free: NDArray[np.bool_] | None = None) -> Array:
    """Return coordinates nearby, shape (n, 3), Å, with less energy: a few iterations of L-BFGS.

    Parameters
    ----------
    coords
        Positions, shape (n, 3), Å.
    terms
        Energy terms; those that saturate pull back only what is still near.
    free
        Beads that may move, shape (n,); None for all.
    """

    def energy(flat: Array) -> tuple[float, Array]:
        at = flat.reshape(coords.shape)
        gradient = np.zeros_like(at)
        value = float(sum(term.add_to(at, gradient) for term in terms))
        if free is not None:
            gradient[~free] = 0.0
        return value, gradient.ravel()

    result = minimize(
        energy, coords.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _RESTORING_ITERATIONS, "maxcor": 10}
    )
    return np.ascontiguousarray(result.x.reshape(coords.shape))


def relax(posterior: Posterior, coords: Array, iterations: int = RELAXATION_ITERATIONS) -> Array:
    """Return coordinates of a log density that is at least that of the coordinates given, (n, 3), Å, by L-BFGS-B.

    An average of draws has a geometry that none of them has, with bonds too short where they turn; relaxed, it has one
    that the prior allows.

    Parameters
    ----------
    posterior
        Log density of the coordinates.
    coords
        Positions, shape (n, 3), Å.
    iterations
        At most so many.
    """
    scale = max(abs(posterior.of_coordinates(coords)[0]), 1.0)

    def cost(flat: Array) -> tuple[float, Array]:
        log_density, gradient = posterior.of_coordinates(flat.reshape(-1, 3))
        if not math.isfinite(log_density):
            return math.inf, np.zeros_like(flat)
        return -log_density / scale, -gradient.ravel() / scale

    found = minimize(
        cost,
        coords.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations, "ftol": 1e-12, "gtol": 1e-10},
    )
    relaxed = np.asarray(found.x, dtype=np.float64).reshape(-1, 3)
    better = posterior.of_coordinates(relaxed)[0] >= posterior.of_coordinates(coords)[0]
    return relaxed if better else np.array(coords)


def steer(
    posterior: Posterior,
    restoring: Sequence[EnergyTerm],
    coords: Array,
    directions_at: Callable[[Array], Array],
    max_steps: int,
    longest: float,
    on_step: Callable[[Array], None],
    begin: SteerPoint | None = None,
    on_point: Callable[[SteerPoint], None] | None = None,
    bodies: Array | None = None,
    free: NDArray[np.bool_] | None = None,
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
    begin
        Point of an interrupted steering to go on from, with the other arguments as they were; ``coords`` does not
        count then.
    on_point
        Called after each step, after ``on_step``, with the point that the steering could go on from.
    bodies
        Weights of the beads in rigid bodies, shape (n_bodies, n), which a step turns instead of stretching them; None
        for a straight step.
    free
        Beads that restoring may move, shape (n,); None for all.

    Returns
    -------
    ndarray
        Shape (n, 3). The log density there is not below that of the start.
    """
    if begin is None:
        begin = SteerPoint(coords, *posterior.of_coordinates(coords), radius=longest)
    point = begin
    root_n = np.sqrt(len(coords))
    while point.n_steps < max_steps and not point.ended:
        coords, radius = point.coords, point.radius
        flat = directions_at(coords).reshape(-1, coords.size)
        step = _newton_step(posterior, coords, point.gradient, flat)
        gain = 0.0
        while radius >= _SHORTEST and gain <= 0.0:
            length = float(np.linalg.norm(step)) / root_n  # RMSD
            way = (min(1.0, radius / max(length, 1e-12)) * step @ flat).reshape(coords.shape)
            moved = coords + way if bodies is None else moved_in_bodies(coords, way, bodies)
            if restoring:
                moved = restored(moved, restoring, free)
            value, gradient = posterior.of_coordinates(moved)
            gain = value - point.value
            if not gain > 0.0:
                radius *= 0.5
        if not gain > 0.0:
            break
        radius = min(1.5 * radius, longest)
        point = SteerPoint(moved, value, gradient, radius, point.n_steps + 1, ended=gain < _SMALLEST_GAIN)
        on_step(point.coords)
        if on_point is not None:
            on_point(point)
    return point.coords


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
