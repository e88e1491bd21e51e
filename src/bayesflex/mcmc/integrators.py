"""Leapfrog, plain and in two stages: Hamilton's equations in small steps, reversible and volume preserving.

The dynamics is that of H(x, p) = −log π(x) + ½ pᵀ M⁻¹ p: a device to move far at
nearly constant H, in arbitrary units of time. It is not the physical dynamics of
a molecule.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from bayesflex.compiling import PART
from bayesflex.errors import ConfigError
from bayesflex.mcmc.masses import Mass
from bayesflex.protocols import Array, Evaluation, Target

#: Share b of two steps that each of their outer kicks takes: of plain leapfrog, and of the two-stage splitting whose
#: leading error is least (McLachlan 1995, SIAM J. Sci. Comput. 16, 151; in closed form Omelyan, Mryglod and Folk 2002,
#: Phys. Rev. E 65, 056706): 0.1932.
LEAPFROG = 0.25
_ROOT = (2.0 * math.sqrt(326.0) + 36.0) ** (1.0 / 3.0)
MINIMAL_ERROR = 0.5 - _ROOT / 12.0 + 1.0 / (6.0 * _ROOT)


@njit(**PART)
def kick_share(step, outer_kick):  # type: ignore[no-untyped-def]
    """Return how many step sizes the kick after so many drifts is long, where it is not the last of a trajectory.

    The last one is as long as the first.
    """
    if step == 0:
        return 2.0 * outer_kick
    return 2.0 - 4.0 * outer_kick if step % 2 == 1 else 4.0 * outer_kick


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
    outer_kick: float = LEAPFROG,
) -> LeapfrogResult:
    """Integrate ``n_steps`` kick–drift–kick steps of length ``step_size``.

    One step is p ← p + (ε/2) ∇log π(x), x ← x + ε M⁻¹ p, p ← p + (ε/2) ∇log π(x); the half kicks between
    two drifts are merged. Run again from the end with the momentum negated, it returns to the start.

    With another ``outer_kick`` b than ¼ two steps are one of the two-stage splitting: kicks of 2bε, (2 − 4b)ε and 2bε
    with the two drifts between. It is as reversible and volume preserving, of the same order, and with
    :data:`MINIMAL_ERROR` its energy error per gradient is several times smaller.

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
    outer_kick
        b, between 0 and ½.

    Returns
    -------
    LeapfrogResult
        End of the trajectory. ``divergent`` is True where a coordinate, log density or gradient was not
        finite; the integration stops there.

    Raises
    ------
    ConfigError
        If the number of steps is odd and the splitting has two stages: the trajectory would not be reversible.
    """
    if outer_kick != LEAPFROG and n_steps % 2:
        raise ConfigError(f"n_steps: expected an even number for a splitting of two stages, got {n_steps}")
    integrate = getattr(target, "integrate", None)
    if integrate is not None:
        result: LeapfrogResult | None = integrate(position, momentum, evaluation, step_size, n_steps, mass, outer_kick)
        if result is not None:
            return result
    position = position.copy()
    momentum = momentum.copy()
    work = np.empty_like(position)
    # Numeric trouble is data: it is found by the checks below, not by a warning.
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(n_steps):
            np.multiply(evaluation.gradient, step_size * kick_share(step, outer_kick), out=work)
            momentum += work
            mass.velocity(momentum, out=work)
            work *= step_size
            position += work
            # Before the target: a NaN must never become the index of a grid or a cell list.
            if not np.isfinite(position).all():
                return LeapfrogResult(position, momentum, evaluation, step, True)
            evaluation = target(position)
            if not math.isfinite(evaluation.log_density) or not np.isfinite(evaluation.gradient).all():
                return LeapfrogResult(position, momentum, evaluation, step + 1, True)
        np.multiply(evaluation.gradient, step_size * kick_share(0, outer_kick), out=work)
        momentum += work
    return LeapfrogResult(position, momentum, evaluation, n_steps, False)
