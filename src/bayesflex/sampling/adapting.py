"""Runs as the paper makes them: every iteration counts, those in which the step size adapts too.

For the comparison of approaches alone. A fit's chains (``sampling.chain``) warm up first, through blurred maps and
along recomputed modes; here iteration 0 is r_init, the density is sharp and the modes are those of r_init throughout.
"""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayesflex.deformation import Deformation
from bayesflex.mcmc.adaptation import largest_eigenvalue, warm_up
from bayesflex.mcmc.hmc import HMC
from bayesflex.mcmc.masses import BlockMass, DenseMass, DiagonalMass, Mass
from bayesflex.posterior import Posterior
from bayesflex.protocols import Evaluation, KernelInfo, KernelState, Likelihood, Record, Reporter
from bayesflex.sampling.observation import observe
from bayesflex.sampling.problem import Problem
from bayesflex.sampling.run import thread_count

Array = NDArray[np.float64]

#: Names of the parts of a run, in the rows that it reports.
START, ADAPTING, SAMPLING = "start", "adapting", "sampling"

#: Along the modes a run is as fast as in a direction this much softer than the stiffest one: a trajectory of twenty
#: steps of 1/√λ turns the phase of a mode by about 5, more than once around.
_MODE_SPEED = 1.0 / 16.0

#: No mode counts as softer than this fraction of the stiffest direction: far from the answer some are unstable.
_SOFTEST = 1e-5

#: Displacement along a mode for differences of the gradient, Å.
_SHIFT = 0.1

#: How often an interrupt by the user is looked for, in seconds.
_POLL = 0.2


@dataclass(frozen=True, eq=False)
class Run:
    """One run.

    Parameters
    ----------
    records
        What was reported: iteration 0, then a row per iteration.
    draws
        CA positions after each iteration labelled "sampling", shape (n_draws, n_ca, 3), Å.
    n_gradients
        Gradients evaluated in the iterations.
    """

    records: tuple[Record, ...]
    draws: NDArray[np.float32]
    n_gradients: int


def run_adapting(problem: Problem, likelihood: Likelihood, n_adapting: int, reporter: Reporter) -> list[Run]:
    """Make ``config.chains`` runs of ``n_adapting`` + ``config.iterations`` iterations from the start of a problem.

    Every run has its own stream of random numbers, spawned from the seed, so that its numbers do not depend on the
    number of threads.

    Parameters
    ----------
    problem
        What is fitted.
    likelihood
        Of the sharp map.
    n_adapting
        Iterations in which the chain heats up and its step size adapts, see
        :func:`~bayesflex.mcmc.adaptation.warm_up`; they are labelled "adapting".
    reporter
        Hears of each iteration, from several threads.

    Raises
    ------
    SamplingError
        If the density is not finite at the start.
    KeyboardInterrupt
        Passed on once all runs have stopped.
    """
    config = problem.config
    stop = threading.Event()
    with threadpool_limits(1), ThreadPoolExecutor(min(thread_count(config), config.chains)) as pool:
        reporter.start(config.chains, 1 + n_adapting + config.iterations)
        try:
            futures = [
                pool.submit(_run, problem, likelihood, n_adapting, index, np.random.default_rng(stream), reporter, stop)
                for index, stream in enumerate(np.random.SeedSequence(config.seed).spawn(config.chains))
            ]
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=_POLL, return_when=FIRST_EXCEPTION)
                causes = [error for future in done if (error := future.exception()) is not None]
                if causes:
                    raise causes[0]
        finally:
            stop.set()
            reporter.finish()
    return [future.result() for future in futures]


def unit_mass(posterior: Posterior, theta: Array, rng: Generator) -> BlockMass:
    """Return unit masses of the local displacements, and masses of the amplitudes matched to the curvature.

    In (q, x) the structure moves with the inverse mass 1 + Aᵀ M_q⁻¹ A: M_q decides how much faster than local
    displacements the modes are. All modes move at one speed, by the inverse of the curvature along them at ``theta``.

    Parameters
    ----------
    posterior
        Log density of a deformation's unknowns.
    theta
        Position, shape (n_dim,).
    rng
        For the power iteration.

    Raises
    ------
    SamplingError
        If the gradient is not finite around the position.
    """
    deformation = posterior.deformation
    blocks: list[tuple[slice, Mass]] = []
    if deformation.n_modes:
        curvature = _curvature(posterior, theta, deformation.amplitudes)
        values, vectors = np.linalg.eigh(curvature)
        values = np.abs(values)
        scale, softest = 1.0, 1e-3 * float(values.max()) + 1e-12
        if deformation.has_displacements:
            coords = deformation.coordinates(theta)
            free = posterior.with_deformation(Deformation("local", coords, deformation.modes[:0]))
            stiffest = largest_eigenvalue(free, np.zeros(coords.size), DiagonalMass.uniform(coords.size), rng)
            scale, softest = _MODE_SPEED * stiffest, _SOFTEST * stiffest
        inverse = (vectors * (scale / np.maximum(values, softest))) @ vectors.T
        blocks.append((deformation.amplitudes, DenseMass(0.5 * (inverse + inverse.T))))
    if deformation.has_displacements:
        part = deformation.displacements
        blocks.append((part, DiagonalMass.uniform(part.stop - part.start)))
    return BlockMass(blocks)


class _Stopped(Exception):
    """Another run failed or the user asked to stop."""


def _run(
    problem: Problem,
    likelihood: Likelihood,
    n_adapting: int,
    index: int,
    rng: Generator,
    reporter: Reporter,
    stop: threading.Event,
) -> Run:
    config = problem.config
    deformation = Deformation(config.deformation, problem.start, problem.mode_vectors)
    posterior = problem.posterior(likelihood.clone(), [term.clone() for term in problem.terms], deformation)
    records: list[Record] = []
    draws = np.empty((config.iterations, *problem.start.shape), dtype=np.float32)
    n_gradients = 0

    def report(stage: str, evaluation: Evaluation, info: KernelInfo | None) -> None:
        nonlocal n_gradients
        if stop.is_set():
            raise _Stopped
        n_gradients += 0 if info is None else info.n_gradients
        record = Record(index, len(records), stage, observe(problem, evaluation, info))
        records.append(record)
        reporter.record(record)

    def adapting(state: KernelState, info: KernelInfo) -> None:
        report(ADAPTING, state.evaluation, info)

    theta = np.zeros(deformation.n_dim)
    state = KernelState(theta, posterior(theta))
    report(START, state.evaluation, None)
    mass = unit_mass(posterior, theta, rng)
    state, step_size = warm_up(
        rng, posterior, state, mass, n_adapting, config.steps, config.target_acceptance, adapting
    )
    kernel = HMC(posterior, mass, step_size, config.steps)
    for draw in draws:
        # The coordinates stay, and their gradient does not depend on the gauge.
        state = state._replace(position=deformation.reset_gauge(state.position))
        state, info = kernel.step(rng, state)
        report(SAMPLING, state.evaluation, info)
        draw[:] = state.evaluation.details.coords
    return Run(tuple(records), draws, n_gradients)


def _curvature(posterior: Posterior, theta: Array, part: slice) -> Array:
    """Return minus the Hessian of the log density within one block, by central differences of the gradient."""
    size = part.stop - part.start
    curvature = np.zeros((size, size))
    for index in range(size):
        step = np.zeros_like(theta)
        step[part.start + index] = _SHIFT
        ahead, behind = posterior(theta + step), posterior(theta - step)
        curvature[index] = (behind.gradient[part] - ahead.gradient[part]) / (2.0 * _SHIFT)
    return 0.5 * (curvature + curvature.T)
