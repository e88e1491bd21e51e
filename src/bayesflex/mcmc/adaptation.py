"""Warm-up of a Hamiltonian chain: finding its step size and heating it from a cold start.

Nothing here samples the target: draws of the warm-up are thrown away, and what it
finds is frozen before sampling begins.

A chain that starts at a minimum of the energy is far colder than a typical draw:
every trajectory ends at a higher energy, and an adaptation that starts there takes
heating for integration error and collapses the step size. The cold start
therefore measures the stiffness, heats with steps that are safe by construction,
and adapts last.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from bayesflex.errors import ConfigError, SamplingError
from bayesflex.mcmc.hmc import HMC
from bayesflex.mcmc.integrators import LEAPFROG
from bayesflex.mcmc.masses import Mass
from bayesflex.mcmc.trajectory import acceptance_probability, check_step, run_trajectory
from bayesflex.protocols import Array, KernelInfo, KernelState, Target

OnIteration = Callable[[KernelState, KernelInfo], None]
OnPoint = Callable[["WarmUpPoint"], None]

#: Length of the cold start's heating, in trajectories.
HEATING_TRAJECTORIES = 15

#: The first step to adapt from, in units of 1/√λ: that times n_dim^−¼, and at most. The factors are measured: with
#: leapfrog chains of beads of any length settle within a third of this; with two stages fits of 200 to 4400 CA do, and
#: nearly harmonic chains above. Two stages are stable up to 1.28/√λ, leapfrog up to 2/√λ.
_FIRST_STEP, _FIRST_STEP_OF_TWO = (2.0, 1.0), (3.5, 0.8)

#: Largest change of the logarithm of the step size by dual averaging: keeps exp() in range on a flat target.
_LARGEST_LOG_CHANGE = 12.0


@dataclass(frozen=True)
class DualAveraging:
    """Step size for a given mean acceptance (Hoffman and Gelman 2014, section 3.2). Immutable.

    With t updates so far, the next step size is log ε = μ − (√t / γ) E_t, E_t the running mean of
    (target − acceptance), and the averaged one has log ε̄ ← t^−κ log ε + (1 − t^−κ) log ε̄. Departures: μ is
    the logarithm of the first step size, not of ten times it, since the first one comes from the measured
    stiffness and is not a guess; γ is 0.2, not 0.05. Warm-ups here are tens of iterations, not a thousand,
    and with 0.05 one rejection in them divides the step by up to ten: on chains of 20 to 4000 beads the
    steps then scatter down to a sixth of what they settle on, which is too small (acceptance 0.85 to 0.93
    for a target of 0.8); with 0.2 they stay above half of it, and the acceptance ends about 0.8.

    Parameters
    ----------
    first_step_size
        Step size to start from, and towards which the early ones are drawn.
    target_acceptance
        Mean acceptance probability aimed at, between 0 and 1.
    gamma, t0, kappa
        The constants of the source: how fast the step follows, how much the first iterations count, how
        fast the average forgets.
    mean_error, log_change, log_averaged_change, count
        State: E_t, log ε − μ, log ε̄ − μ, t.

    Raises
    ------
    ConfigError
        If the step size is not positive or the target not between 0 and 1.
    """

    first_step_size: float
    target_acceptance: float = 0.8
    gamma: float = 0.2
    t0: float = 10.0
    kappa: float = 0.75
    mean_error: float = 0.0
    log_change: float = 0.0
    log_averaged_change: float = 0.0
    count: int = 0

    def __post_init__(self) -> None:
        check_step(self.first_step_size, n_steps=1)
        if not 0.0 < self.target_acceptance < 1.0:
            raise ConfigError(f"target_acceptance: expected a number between 0 and 1, got {self.target_acceptance}")

    @property
    def step_size(self) -> float:
        """Step size to try next."""
        return self.first_step_size * math.exp(self.log_change)

    @property
    def averaged_step_size(self) -> float:
        """Step size to freeze."""
        return self.first_step_size * math.exp(self.log_averaged_change)

    def update(self, acceptance: float) -> DualAveraging:
        """Return the state after an iteration that was accepted with this probability."""
        count = self.count + 1
        weight = 1.0 / (count + self.t0)
        mean_error = (1.0 - weight) * self.mean_error + weight * (self.target_acceptance - acceptance)
        log_change = -math.sqrt(count) / self.gamma * mean_error
        log_change = min(max(log_change, -_LARGEST_LOG_CHANGE), _LARGEST_LOG_CHANGE)
        forget = count**-self.kappa
        return replace(
            self,
            mean_error=mean_error,
            log_change=log_change,
            log_averaged_change=forget * log_change + (1.0 - forget) * self.log_averaged_change,
            count=count,
        )


@dataclass(frozen=True, eq=False)
class WarmUpPoint:
    """Where a warm-up is after an iteration: with the state of the random numbers, all that it takes to go on.

    Parameters
    ----------
    state
        Where the chain is.
    n_done
        Iterations made.
    step_size, largest_step_size
        Of the heating: its next step, and the one that it may grow back to.
    averaging
        Adaptation of the step size, or None while the chain is heated.
    """

    state: KernelState
    n_done: int
    step_size: float
    largest_step_size: float
    averaging: DualAveraging | None = None


def largest_eigenvalue(target: Target, position: Array, mass: Mass, rng: Generator, n_iterations: int = 12) -> float:
    """Estimate the largest eigenvalue of M⁻¹ · Hessian(−log π), by magnitude, at a position.

    Power iteration; products with the Hessian are central differences of gradients, so the cost is
    2 ``n_iterations`` evaluations. M⁻¹H is symmetric in the inner product of M, in which the norm of its
    product with a unit vector approaches the eigenvalue from below. Leapfrog is stable for steps up to 2/√λ.

    Parameters
    ----------
    target
        Log density and gradient.
    position
        Where, shape (n_dim,).
    mass
        Momentum distribution, which gives M.
    rng
        Draws the first vector.
    n_iterations
        Number of products.

    Returns
    -------
    float
        λ, in the inverse square of the unit of time; 0 where the gradient does not change.

    Raises
    ------
    SamplingError
        If the gradient is not finite however close to the position.
    """
    dual = mass.draw(rng)  # M times the vector: a momentum
    # The first displacement is small in the units of the position; the later ones follow the stiffness.
    scale = 1e-4 / max(float(np.abs(mass.velocity(dual)).max()), np.finfo(np.float64).tiny)
    displacement = scale * math.sqrt(2.0 * mass.kinetic(dual))
    eigenvalue = 0.0
    for _ in range(n_iterations):
        norm = math.sqrt(2.0 * mass.kinetic(dual))
        if norm == 0.0:
            return 0.0
        dual = _hessian_product(target, position, mass.velocity(dual) / norm, displacement)
        eigenvalue = math.sqrt(2.0 * mass.kinetic(dual))
        # A hundredth of a standard deviation of the target: far above rounding, far below anharmonicity.
        if eigenvalue > 0.0:
            displacement = min(displacement * 100.0, 1e-2 / math.sqrt(eigenvalue))
    return eigenvalue


def _hessian_product(target: Target, position: Array, direction: Array, displacement: float) -> Array:
    """Return Hessian(−log π) · direction by a central difference; the displacement shrinks until it is finite."""
    for _ in range(8):
        ahead = target(position + displacement * direction)
        behind = target(position - displacement * direction)
        with np.errstate(over="ignore", invalid="ignore"):
            product: Array = (behind.gradient - ahead.gradient) / (2.0 * displacement)
        finite = math.isfinite(ahead.log_density) and math.isfinite(behind.log_density)
        if finite and np.isfinite(product).all():
            return product
        displacement *= 0.1
    raise SamplingError(
        "warm-up: expected a finite gradient around the start, got none within "
        f"{displacement:.1e} of it; move the start away from the edge of the map or from overlapping beads"
    )


def heat(
    rng: Generator,
    target: Target,
    state: KernelState,
    mass: Mass,
    step_size: float,
    n_steps: int,
    n_trajectories: int = HEATING_TRAJECTORIES,
    on_iteration: OnIteration | None = None,
) -> tuple[KernelState, float]:
    """Bring a cold chain to temperature: trajectories accepted whatever their energy error. Not sampling.

    A fresh momentum brings in energy; the dynamics spreads it over positions and momenta. A trajectory that
    diverges, or gains more energy than a stable integrator could, is rejected and the step halved; accepted
    ones let it grow back.

    Parameters
    ----------
    rng, target, state, mass
        As for a kernel.
    step_size
        Leapfrog step, well inside the limit of stability: half of 1/√λ.
    n_steps
        Leapfrog steps per trajectory.
    n_trajectories
        Number of trajectories.
    on_iteration
        Called after each trajectory.

    Returns
    -------
    state : KernelState
        Where the chain is.
    step_size : float
        The step that the next trajectory would have.
    """
    check_step(step_size, n_steps)
    largest_step_size = step_size
    for _ in range(n_trajectories):
        state, step_size, info = _heating(rng, target, state, mass, step_size, largest_step_size, n_steps)
        if on_iteration is not None:
            on_iteration(state, info)
    return state, step_size


def _heating(
    rng: Generator,
    target: Target,
    state: KernelState,
    mass: Mass,
    step_size: float,
    largest_step_size: float,
    n_steps: int,
) -> tuple[KernelState, float, KernelInfo]:
    """Make one trajectory of the heating; return the state, the next step size and what happened."""
    # H is conserved but for the integrator's error. One nat per dimension, twice the mean kinetic energy,
    # is instability in many dimensions; the constant leaves room in few.
    largest_gain = 10.0 + mass.n_dim
    run = run_trajectory(rng, target, state, mass, step_size, n_steps)
    accepted = run.energy_error < largest_gain
    info = KernelInfo(
        acceptance_probability(run.energy_error),
        accepted,
        run.divergent,
        run.energy_error,
        step_size,
        run.n_gradients,
    )
    if accepted:
        return run.end, min(largest_step_size, 1.5 * step_size), info
    return state, 0.5 * step_size, info


def warm_up(
    rng: Generator,
    target: Target,
    state: KernelState,
    mass: Mass,
    n_iterations: int,
    n_steps: int,
    target_acceptance: float = 0.8,
    on_iteration: OnIteration | None = None,
    n_heating: int = HEATING_TRAJECTORIES,
    outer_kick: float = LEAPFROG,
    begin: WarmUpPoint | None = None,
    on_point: OnPoint | None = None,
) -> tuple[KernelState, float]:
    """Warm a chain up from wherever it is, also from a minimum of the energy, and find its step size.

    λ, the stiffness, at the start; heating with steps of ½/√λ; λ again, now at temperature; then dual
    averaging with the jittered kernel for the remaining iterations, from min(1, 2 n_dim^−¼)/√λ, or with two
    stages from min(0.8, 3.5 n_dim^−¼)/√λ: at fixed acceptance the step falls as n_dim^−¼ (Beskos et al. 2013).

    Parameters
    ----------
    rng, target, state, mass
        As for a kernel.
    n_iterations
        Iterations in all, heating included; at most half of them heat.
    n_steps
        Mean number of leapfrog steps of an iteration.
    target_acceptance
        Mean acceptance probability aimed at.
    on_iteration
        Called ``n_iterations`` times, with the state and what happened.
    n_heating
        Heating trajectories; 0 for a chain that is warm already. They are plain leapfrog's.
    outer_kick
        Splitting of the kernel's integrator, see :class:`~bayesflex.mcmc.hmc.HMC`.
    begin
        Point of an interrupted warm-up to go on from: with the other arguments and the random numbers as they were
        there, the result is that of an uninterrupted one. ``state`` does not count then.
    on_point
        Called after each iteration, after ``on_iteration``, with the point that the warm-up could go on from.

    Returns
    -------
    state : KernelState
        Where sampling begins.
    step_size : float
        Step size to freeze for :class:`~bayesflex.mcmc.hmc.HMC`.

    Raises
    ------
    ConfigError
        If a number of iterations or steps is not positive.
    SamplingError
        If the target is flat, or not finite around the start.
    """
    if n_iterations < 1:
        raise ConfigError(f"n_iterations: expected at least 1 iteration of warm-up, got {n_iterations}")
    n_heating = min(n_heating, n_iterations // 2)
    if begin is None:
        half = 0.5 * _stable_step(rng, target, state, mass)
        begin = WarmUpPoint(state, 0, half, half)
    point = begin
    while point.n_done < n_heating:
        state, step_size, info = _heating(
            rng, target, point.state, mass, point.step_size, point.largest_step_size, n_steps
        )
        point = replace(point, state=state, n_done=point.n_done + 1, step_size=step_size)
        _tell(point, info, on_iteration, on_point)
    averaging = point.averaging
    if averaging is None:
        step_size = 2.0 * point.step_size
        if n_heating > 0:
            step_size = min(_stable_step(rng, target, point.state, mass), step_size)
        factor, longest = _FIRST_STEP if outer_kick == LEAPFROG else _FIRST_STEP_OF_TWO
        averaging = DualAveraging(step_size * min(longest, factor * mass.n_dim**-0.25), target_acceptance)
    while point.n_done < n_iterations:
        state, info = HMC(target, mass, averaging.step_size, n_steps, outer_kick=outer_kick).step(rng, point.state)
        averaging = averaging.update(info.acceptance)
        point = replace(point, state=state, n_done=point.n_done + 1, averaging=averaging)
        _tell(point, info, on_iteration, on_point)
    return point.state, averaging.averaged_step_size


def _tell(point: WarmUpPoint, info: KernelInfo, on_iteration: OnIteration | None, on_point: OnPoint | None) -> None:
    if on_iteration is not None:
        on_iteration(point.state, info)
    if on_point is not None:
        on_point(point)


def _stable_step(rng: Generator, target: Target, state: KernelState, mass: Mass) -> float:
    """Return 1/√λ, half of the limit of stability of leapfrog."""
    eigenvalue = largest_eigenvalue(target, state.position, mass, rng)
    if eigenvalue <= 0.0:
        raise SamplingError(
            "warm-up: expected a gradient that changes around the start, got a flat log density; "
            "check that the model lies inside the map and that the prior is on"
        )
    return 1.0 / math.sqrt(eigenvalue)
