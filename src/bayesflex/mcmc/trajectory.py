"""What every kernel shares: the first state, one trajectory with a fresh momentum, the acceptance rule."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from bayesflex.errors import ConfigError, InputError, SamplingError
from bayesflex.mcmc.integrators import LEAPFROG, leapfrog
from bayesflex.mcmc.masses import Mass
from bayesflex.protocols import Array, KernelState, Target


class Trajectory(NamedTuple):
    """A proposal made by Hamiltonian dynamics; after a divergence, ``end`` is the start."""

    end: KernelState
    energy_error: float  # H' − H in nats, +inf when divergent
    divergent: bool
    n_gradients: int
    energy: float  # H at the start, nats


def initial_state(target: Target, position: Array, n_dim: int) -> KernelState:
    """Evaluate the target where a chain is to start.

    Parameters
    ----------
    target
        Log density and gradient.
    position
        Start, shape (n_dim,); copied.
    n_dim
        Number of dimensions of the kernel's mass.

    Raises
    ------
    InputError
        If the position has another shape.
    SamplingError
        If a coordinate, the log density or its gradient is not finite there.
    """
    position = np.array(position, dtype=np.float64)
    if position.shape != (n_dim,):
        raise InputError(f"start: expected a position of shape ({n_dim},) as the mass has, got {position.shape}")
    if not np.isfinite(position).all():
        raise SamplingError("start: expected finite coordinates, got NaN or infinity; check the input model")
    evaluation = target(position)
    if not math.isfinite(evaluation.log_density) or not np.isfinite(evaluation.gradient).all():
        raise SamplingError(
            f"start: expected a finite log density and gradient, got log density {evaluation.log_density}; "
            "start inside the target's support (a model inside the map, without beads on top of each other)"
        )
    return KernelState(position, evaluation)


def run_trajectory(
    rng: Generator,
    target: Target,
    state: KernelState,
    mass: Mass,
    step_size: float,
    n_steps: int,
    outer_kick: float = LEAPFROG,
) -> Trajectory:
    """Draw a momentum and follow the dynamics for ``n_steps`` leapfrog steps of ``step_size``.

    Whether the end becomes the chain's next state is the caller's decision.
    """
    momentum = mass.draw(rng)
    kinetic = mass.kinetic(momentum)
    energy = kinetic - state.evaluation.log_density
    result = leapfrog(target, state.position, momentum, state.evaluation, step_size, n_steps, mass, outer_kick)
    if result.divergent:
        return Trajectory(state, math.inf, True, result.n_gradients, energy)
    with np.errstate(over="ignore", invalid="ignore"):
        kinetic_change = mass.kinetic(result.momentum) - kinetic
    energy_error = kinetic_change - (result.evaluation.log_density - state.evaluation.log_density)
    if not math.isfinite(energy_error):
        return Trajectory(state, math.inf, True, result.n_gradients, energy)
    return Trajectory(KernelState(result.position, result.evaluation), energy_error, False, result.n_gradients, energy)


def acceptance_probability(energy_error: float) -> float:
    """Return min(1, exp(H − H')), the Metropolis rule, for H' − H in nats.

    >>> acceptance_probability(-3.0), acceptance_probability(float("inf"))
    (1.0, 0.0)
    """
    return math.exp(-max(0.0, energy_error))


def check_step(step_size: float, n_steps: int) -> None:
    """Raise ConfigError unless the step size is positive and finite, and there is at least one step."""
    if not (math.isfinite(step_size) and step_size > 0.0):
        raise ConfigError(f"step_size: expected a positive finite number, got {step_size}")
    if n_steps < 1:
        raise ConfigError(f"n_steps: expected at least 1, got {n_steps}")
