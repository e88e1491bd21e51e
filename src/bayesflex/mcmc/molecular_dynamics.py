"""Molecular dynamics on the log density: no acceptance test, hence NOT exact.

What most flexible-fitting programs do, here for comparison with exact kernels.
The distribution that it samples is off by the square of the step size.
"""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import Generator

from bayesflex.mcmc.masses import Mass
from bayesflex.mcmc.trajectory import acceptance_probability, check_step, initial_state, run_trajectory
from bayesflex.protocols import Array, KernelInfo, KernelState, Target


@dataclass(frozen=True, eq=False)
class MolecularDynamics:
    """Velocity Verlet with the force ∇log π (eq. 12 of Vuillemot and Jonic) and an Andersen thermostat.

    Departures from the paper: eq. 11 lacks the minus sign of a force; and all momenta are drawn anew from
    N(0, M) after every ``n_steps`` steps (Andersen 1980, collisions of all particles at once), which holds
    the temperature. The bias is that of the integrator: for a Gaussian of angular frequency ω the variance
    comes out as 1 / (1 − (εω/2)²) times the true one.

    Parameters
    ----------
    target
        Log density (nats) and gradient.
    mass
        Momentum distribution.
    step_size
        Time step ε.
    n_steps
        Time steps of one iteration, between two collisions.

    Raises
    ------
    ConfigError
        If the step size or number of steps is not positive.
    """

    target: Target
    mass: Mass
    step_size: float
    n_steps: int

    def __post_init__(self) -> None:
        check_step(self.step_size, self.n_steps)

    def init(self, position: Array) -> KernelState:
        """Return the state at a position, shape (n_dim,); SamplingError where it is not finite."""
        return initial_state(self.target, position, self.mass.n_dim)

    def step(self, rng: Generator, state: KernelState) -> tuple[KernelState, KernelInfo]:
        """Make one iteration; only a divergence is rejected.

        ``KernelInfo.acceptance`` is what an exact kernel would have accepted with: a measure of the bias.
        """
        run = run_trajectory(rng, self.target, state, self.mass, self.step_size, self.n_steps)
        info = KernelInfo(
            acceptance_probability(run.energy_error),
            not run.divergent,
            run.divergent,
            run.energy_error,
            self.step_size,
            run.n_gradients,
        )
        return run.end, info
