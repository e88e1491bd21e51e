"""The kernel of a fit: Hamiltonian Monte Carlo in the form that its settings ask for, and how it is warmed up."""

from __future__ import annotations

from numpy.random import Generator

from bayesflex.config import FitConfig
from bayesflex.mcmc.adaptation import HEATING_TRAJECTORIES, OnIteration, OnPoint, WarmUpPoint, warm_up
from bayesflex.mcmc.hmc import HMC
from bayesflex.mcmc.integrators import MINIMAL_ERROR
from bayesflex.mcmc.masses import Mass
from bayesflex.protocols import KernelState, Target


def kernel_of(config: FitConfig, target: Target, mass: Mass, step_size: float) -> HMC:
    """Return the kernel of a fit: with matched masses steps are limited by accuracy, so two stages pay."""
    return HMC(target, mass, step_size, config.steps, outer_kick=MINIMAL_ERROR)


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
        on_point,
    )
    return kernel_of(config, target, mass, step_size), state
