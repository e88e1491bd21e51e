"""Hamiltonian Monte Carlo: exact, whatever the step size, the mass and the number of steps.

A bad choice of these makes a chain slow, never wrong, as long as they stay fixed
while sampling: adaptation (``mcmc.adaptation``) belongs to the warm-up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.random import Generator

from bayesflex.errors import ConfigError
from bayesflex.mcmc.integrators import LEAPFROG
from bayesflex.mcmc.masses import Mass
from bayesflex.mcmc.trajectory import acceptance_probability, check_step, initial_state, run_trajectory
from bayesflex.protocols import Array, KernelInfo, KernelState, Target


@dataclass(frozen=True, eq=False)
class HMC:
    """Hamiltonian Monte Carlo with a jittered leapfrog (Duane et al. 1987; Neal 2011).

    One iteration: p ~ N(0, M), a leapfrog trajectory, acceptance with min(1, exp(H − H')). Step size and
    length are drawn anew for each iteration, independently of the state, which keeps the kernel exact and
    avoids trajectories that close on themselves (Neal 2011, section 3.2); the paper has both fixed.

    Parameters
    ----------
    target
        Log density (nats) and gradient.
    mass
        Momentum distribution.
    step_size
        Mean leapfrog step ε.
    n_steps
        Mean number of leapfrog steps n of an iteration.
    step_jitter
        The step is ε times a uniform number in 1 ± step_jitter.
    length_jitter
        The number of steps is a uniform integer in n (1 ± length_jitter), at least 1; with two stages the number of
        pairs of steps is.
    outer_kick
        Splitting of the integrator: :data:`~bayesflex.mcmc.integrators.LEAPFROG`, or
        :data:`~bayesflex.mcmc.integrators.MINIMAL_ERROR`, which makes two steps at a time.

    Raises
    ------
    ConfigError
        If the step size or number of steps is not positive, a jitter is outside [0, 1), or outer_kick is not between
        0 and ½.
    """

    target: Target
    mass: Mass
    step_size: float
    n_steps: int
    step_jitter: float = 0.2
    length_jitter: float = 0.5
    outer_kick: float = LEAPFROG

    def __post_init__(self) -> None:
        check_step(self.step_size, self.n_steps)
        for name, value in (("step_jitter", self.step_jitter), ("length_jitter", self.length_jitter)):
            if not 0.0 <= value < 1.0:
                raise ConfigError(f"{name}: expected a number in [0, 1), got {value}")
        if not 0.0 < self.outer_kick < 0.5:
            raise ConfigError(f"outer_kick: expected a number between 0 and 0.5, got {self.outer_kick}")

    def init(self, position: Array) -> KernelState:
        """Return the state at a position, shape (n_dim,); SamplingError where it is not finite."""
        return initial_state(self.target, position, self.mass.n_dim)

    def step(self, rng: Generator, state: KernelState) -> tuple[KernelState, KernelInfo]:
        """Make one iteration; a non-finite proposal is a rejected divergence.

        ``KernelInfo.step_size`` is the step drawn for this iteration.
        """
        step_size = self.step_size * rng.uniform(1.0 - self.step_jitter, 1.0 + self.step_jitter)
        stages = 1 if self.outer_kick == LEAPFROG else 2
        mean = self.n_steps / stages
        shortest = max(1, math.ceil(mean * (1.0 - self.length_jitter)))
        longest = max(shortest, math.floor(mean * (1.0 + self.length_jitter)))
        n_steps = stages * int(rng.integers(shortest, longest, endpoint=True))
        proposal = run_trajectory(rng, self.target, state, self.mass, step_size, n_steps, self.outer_kick)
        probability = acceptance_probability(proposal.energy_error)
        accepted = bool(rng.random() < probability)
        info = KernelInfo(
            probability,
            accepted,
            proposal.divergent,
            proposal.energy_error,
            step_size,
            proposal.n_gradients,
            proposal.energy,
        )
        return (proposal.end if accepted else state), info
