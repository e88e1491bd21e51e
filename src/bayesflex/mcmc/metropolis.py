"""Random-walk Metropolis: exact, needs no gradient, and is slow in many dimensions.

The baseline that the paper sets Hamiltonian Monte Carlo against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from bayesflex.mcmc.masses import Mass
from bayesflex.mcmc.trajectory import acceptance_probability, check_step, initial_state
from bayesflex.protocols import Array, KernelInfo, KernelState, Target


@dataclass(frozen=True, eq=False)
class Metropolis:
    """Random-walk Metropolis (eq. 10 of Vuillemot and Jonic) with a symmetric Gaussian proposal.

    A proposal is x' = x + ε v with v ~ N(0, M⁻¹), the velocity of a fresh momentum, so that one mass serves
    all kernels. The proposal is symmetric, T(x'|x) = T(x|x'), and eq. 10 becomes min(1, π(x')/π(x)).

    Parameters
    ----------
    target
        Log density (nats); its gradient is not used.
    mass
        Shape of the proposal.
    step_size
        Length ε of the proposal.
    n_steps
        Proposals in one iteration, each accepted or rejected by itself.

    Raises
    ------
    ConfigError
        If the step size or number of steps is not positive.
    """

    target: Target
    mass: Mass
    step_size: float
    n_steps: int = 1

    def __post_init__(self) -> None:
        check_step(self.step_size, self.n_steps)

    def init(self, position: Array) -> KernelState:
        """Return the state at a position, shape (n_dim,); SamplingError where it is not finite."""
        return initial_state(self.target, position, self.mass.n_dim)

    def step(self, rng: Generator, state: KernelState) -> tuple[KernelState, KernelInfo]:
        """Make one iteration of ``n_steps`` proposals.

        ``KernelInfo``: mean acceptance of the proposals; accepted where any was; divergent where any met a
        non-finite number; the largest energy error, −log π(x') + log π(x); n_gradients counts evaluations.
        """
        total = 0.0
        accepted = False
        largest_error = -math.inf
        n_evaluations = 0
        for _ in range(self.n_steps):
            proposal, energy_error, evaluated = self._propose(rng, state)
            n_evaluations += evaluated
            largest_error = max(largest_error, energy_error)
            probability = acceptance_probability(energy_error)
            total += probability
            if rng.random() < probability:
                state = proposal
                accepted = True
        info = KernelInfo(
            total / self.n_steps, accepted, largest_error == math.inf, largest_error, self.step_size, n_evaluations
        )
        return state, info

    def _propose(self, rng: Generator, state: KernelState) -> tuple[KernelState, float, int]:
        """Return a proposal, its energy error (+inf where not finite) and the number of evaluations."""
        with np.errstate(over="ignore", invalid="ignore"):
            position = state.position + self.step_size * self.mass.velocity(self.mass.draw(rng))
            if not np.isfinite(position).all():
                return state, math.inf, 0
            evaluation = self.target(position)
        energy_error = state.evaluation.log_density - evaluation.log_density
        if not math.isfinite(energy_error) or not np.isfinite(evaluation.gradient).all():
            return state, math.inf, 1
        return KernelState(position, evaluation), energy_error, 1
