"""A kernel to be checked, the verdict of a check, and the warm-up that finds masses and step size as fits find them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mcmc_statistics import z_limit

from bayesflex.mcmc import LeapfrogResult, Mass, leapfrog, warm_up
from bayesflex.protocols import Kernel, KernelState, Target
from bayesflex.sampling.preconditioning import matched_mass


@dataclass(frozen=True)
class Verdict:
    """The largest deviation that a check saw, and the largest that it allows."""

    worst: float
    limit: float

    @property
    def passed(self):
        return self.worst <= self.limit  # NaN fails


@dataclass(frozen=True)
class Scheme:
    """A kernel, ``make(target, mass, step_size, n_steps)``, and the integrator inside it."""

    make: Callable[[Target, Mass, float, int], Kernel]
    integrate: Callable[..., LeapfrogResult] = leapfrog


def judged(scores):
    return Verdict(float(np.abs(scores).max()), z_limit(scores.size))


def warmed_up(posterior, rng, n_steps, n_iterations=150):
    """State, masses and step size at the end of a fit's warm-up."""
    theta = np.zeros(posterior.deformation.n_dim)
    mass = matched_mass(posterior, theta, rng)
    state, step_size = warm_up(rng, posterior, KernelState(theta, posterior(theta)), mass, n_iterations, n_steps)
    return state, mass, step_size
