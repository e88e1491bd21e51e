"""Leapfrog: Hamilton's equations in small steps, reversible and volume preserving.

The dynamics is that of H(x, p) = −log π(x) + ½ pᵀ M⁻¹ p: a device to move far at
nearly constant H, in arbitrary units of time. It is not the physical dynamics of
a molecule.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bayesflex.mcmc.masses import Mass
from bayesflex.protocols import Array, Evaluation, Target


class LeapfrogResult(NamedTuple):
    """Where a trajectory ended; after a divergence, the point at which it was noticed."""

    position: Array  # (n_dim,)
    momentum: Array  # (n_dim,)
    evaluation: Evaluation  # at the position; the last finite one if a coordinate was not finite
    n_gradients: int
    divergent: bool


def leapfrog(
    target: Target,
    position: Array,
    momentum: Array,
    evaluation: Evaluation,
    step_size: float,
    n_steps: int,
    mass: Mass,
) -> LeapfrogResult:
    """Integrate ``n_steps`` kick–drift–kick steps of length ``step_size``.

    One step is p ← p + (ε/2) ∇log π(x), x ← x + ε M⁻¹ p, p ← p + (ε/2) ∇log π(x); the half kicks between
    two drifts are merged. Run again from the end with the momentum negated, it returns to the start.

    Parameters
    ----------
    target
        Log density and gradient. Called once per step with a workspace of this function, which it must not
        keep or change; the gradient it returns must be a new array. A target that has a method ``integrate`` with
        this function's other parameters makes the steps by itself, unless it returns None.
    position, momentum
        Start, each of shape (n_dim,). Not changed.
    evaluation
        The target's evaluation at ``position``.
    step_size
        ε.
    n_steps
        Number of steps.
    mass
        Momentum distribution, which gives M⁻¹.

    Returns
    -------
    LeapfrogResult
        End of the trajectory. ``divergent`` is True where a coordinate, log density or gradient was not
        finite; the integration stops there.
    """
    integrate = getattr(target, "integrate", None)
    if integrate is not None:
        result: LeapfrogResult | None = integrate(position, momentum, evaluation, step_size, n_steps, mass)
        if result is not None:
            return result
    position = position.copy()
    momentum = momentum.copy()
    work = np.empty_like(position)
    kick = 0.5 * step_size
    # Numeric trouble is data: it is found by the checks below, not by a warning.
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(n_steps):
            np.multiply(evaluation.gradient, kick, out=work)
            momentum += work
            kick = step_size
            mass.velocity(momentum, out=work)
            work *= step_size
            position += work
            # Before the target: a NaN must never become the index of a grid or a cell list.
            if not np.isfinite(position).all():
                return LeapfrogResult(position, momentum, evaluation, step, True)
            evaluation = target(position)
            if not math.isfinite(evaluation.log_density) or not np.isfinite(evaluation.gradient).all():
                return LeapfrogResult(position, momentum, evaluation, step + 1, True)
        np.multiply(evaluation.gradient, 0.5 * step_size, out=work)
        momentum += work
    return LeapfrogResult(position, momentum, evaluation, n_steps, False)
