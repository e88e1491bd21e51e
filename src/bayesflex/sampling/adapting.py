"""Runs as the paper makes them: every iteration counts, those in which the step size adapts too.

For the comparison of approaches alone. A fit's chains (``sampling.chain``) warm up first, through blurred maps and
along recomputed modes; here iteration 0 is r_init, the density is sharp and the modes are those of r_init throughout.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bayesflex.deformation import Deformation
from bayesflex.mcmc.adaptation import warm_up
from bayesflex.mcmc.hmc import HMC
from bayesflex.protocols import Evaluation, KernelInfo, KernelState, Likelihood, Record, Reporter
from bayesflex.sampling.observation import Observer
from bayesflex.sampling.parallel import Stopped, run_all
from bayesflex.sampling.preconditioning import unit_mass
from bayesflex.sampling.problem import Problem
from bayesflex.sampling.run import thread_count

Array = NDArray[np.float64]

#: Names of the parts of a run, in the rows that it reports.
START, ADAPTING, SAMPLING = "start", "adapting", "sampling"


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
    tasks = [
        partial(_run, problem, likelihood, n_adapting, index, np.random.default_rng(stream), reporter, stop)
        for index, stream in enumerate(np.random.SeedSequence(config.seed).spawn(config.chains))
    ]
    reporter.start(config.chains, 1 + n_adapting + config.iterations)
    try:
        return run_all(tasks, thread_count(config), stop)
    finally:
        reporter.finish()


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
    observe = Observer(problem)
    records: list[Record] = []
    draws = np.empty((config.iterations, *problem.start.shape), dtype=np.float32)
    n_gradients = 0

    def report(stage: str, evaluation: Evaluation, info: KernelInfo | None) -> None:
        nonlocal n_gradients
        if stop.is_set():
            raise Stopped
        n_gradients += 0 if info is None else info.n_gradients
        record = Record(index, len(records), stage, observe(evaluation, info))
        records.append(record)
        reporter.record(record)

    def adapting(state: KernelState, info: KernelInfo) -> None:
        report(ADAPTING, state.evaluation, info)

    theta = np.zeros(deformation.n_dim)
    state = KernelState(theta, posterior(theta))
    report(START, state.evaluation, None)
    # As simple as the paper's: unit masses, and modes that are faster than local displacements.
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
