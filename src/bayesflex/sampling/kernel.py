"""The kernel of a fit: Hamiltonian Monte Carlo in the form that its settings ask for, and how it is warmed up."""

from __future__ import annotations

from numpy.random import Generator

from bayesflex.config import FitConfig
from bayesflex.mcmc.adaptation import HEATING_TRAJECTORIES, OnIteration, OnPoint, WarmUpPoint, warm_up
from bayesflex.mcmc.hmc import HMC
from bayesflex.mcmc.integrators import MINIMAL_ERROR
from bayesflex.mcmc.masses import Mass
from bayesflex.protocols import KernelState, Target

#: The number of steps becomes at most so many times that asked for, and at least one over it.
_MOST_STEPS = 2.0


def kernel_of(target: Target, mass: Mass, step_size: float, n_steps: int) -> HMC:
    """Return the kernel of a fit: with matched masses steps are limited by accuracy, so two stages pay."""
    return HMC(target, mass, step_size, n_steps, outer_kick=MINIMAL_ERROR)


def steps_of_length(n_steps: int, expected_step: float, step_size: float) -> int:
    """Return how many steps make a trajectory as long as so many expected ones, within a factor of two.

    What a trajectory decorrelates is set by its length in time, not by its number of steps: where the step that gives
    the acceptance asked for is shorter than the stiffness lets expect, there are more of them. The expected step is
    that of the stiffness and the number of unknowns, see :func:`~bayesflex.mcmc.adaptation.warm_up`.

    >>> steps_of_length(20, 0.5, 0.4), steps_of_length(20, 0.5, 0.1)
    (25, 40)
    """
    change = min(max(expected_step / step_size, 1.0 / _MOST_STEPS), _MOST_STEPS)
    return max(1, round(n_steps * change))


def warm_kernel(
    rng: Generator,
    config: FitConfig,
    target: Target,
    state: KernelState,
    mass: Mass,
    n_iterations: int,
    on_iteration: OnIteration | None = None,
    n_heating: int = HEATING_TRAJECTORIES,
    begin: WarmUpPoint | None = None,
    on_point: OnPoint | None = None,
) -> tuple[HMC, KernelState]:
    """Warm a chain up with the kernel of a fit; return the kernel to freeze and where the chain is.

    Trajectories of the warm-up have ``config.steps`` steps, those of the kernel :func:`steps_of_length`.

    Parameters
    ----------
    rng, target, state, mass, n_iterations, on_iteration, n_heating, begin, on_point
        See :func:`~bayesflex.mcmc.adaptation.warm_up`.
    config
        Settings of the sampler.

    Raises
    ------
    SamplingError
        If the target is flat, or not finite around the start.
    """
    expected = 0.0

    def follow(point: WarmUpPoint) -> None:
        nonlocal expected
        if point.averaging is not None:
            expected = point.averaging.first_step_size
        if on_point is not None:
            on_point(point)

    if begin is not None and begin.averaging is not None:
        expected = begin.averaging.first_step_size
    state, step_size = warm_up(
        rng,
        target,
        state,
        mass,
        n_iterations,
        config.steps,
        config.target_acceptance,
        on_iteration,
        n_heating,
        MINIMAL_ERROR,
        begin,
        follow,
    )
    return kernel_of(target, mass, step_size, steps_of_length(config.steps, expected, step_size)), state
