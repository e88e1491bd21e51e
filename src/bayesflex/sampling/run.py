"""Running all chains of a fit, several at the same time."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from bayesflex.config import FitConfig
from bayesflex.protocols import Likelihood, Reporter
from bayesflex.sampling.chain import Chain
from bayesflex.sampling.parallel import run_all
from bayesflex.sampling.problem import Problem, Stage
from bayesflex.team import Team

#: Below so many CA a gradient takes less time than the interpreter around it (4 chains on two cores, seconds on one
#: and on two threads: 4.3 and 6.5 for 214 CA, 15.1 and 10.8 for 524).
_SMALL = 350


def thread_count(config: FitConfig, n_ca: int) -> int:
    """Return the number of threads to use: the configured one or, for 0, the cores this process may use.

    The chains of a small model spend their time in the interpreter, which runs one thread at a time: side by side they
    take longer than one after the other. For such a model 0 means one thread.
    """
    if config.threads:
        return config.threads
    if n_ca < _SMALL:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stage_likelihoods(problem: Problem, stages: Sequence[Stage]) -> list[Likelihood]:
    """Return the likelihood of each stage; in blurred ones a residue is one bead.

    Raises
    ------
    InputError
        If a likelihood cannot be made of the map.
    """
    config, target = problem.config, problem.target
    with threadpool_limits(1):
        return [
            target.likelihood(
                config,
                problem.beads.merged() if stage.resolution > config.resolution else problem.beads,
                stage.resolution,
                problem.start,
            )
            for stage in stages
        ]


def run_chains(
    problem: Problem,
    stages: Sequence[Stage],
    likelihoods: Sequence[Likelihood],
    reporter: Reporter,
    checkpoint_folder: Path | None = None,
) -> list[Chain]:
    """Run all chains to their ends and return them.

    Each chain has its own stream of random numbers, spawned from the seed, so that its draws do not depend on the
    number of threads or on which chain ends first. Linear algebra libraries are held to one thread meanwhile: the
    chains use the cores.

    Parameters
    ----------
    problem
        What is fitted.
    stages, likelihoods
        Of the warm-up, see :func:`~bayesflex.sampling.problem.plan_stages` and :func:`stage_likelihoods`.
    reporter
        Hears of each iteration of each chain, from several threads.
    checkpoint_folder
        Folder of the chains' checkpoints, from which they go on where there are some, or None.

    Raises
    ------
    SamplingError
        If a chain finds no finite start.
    InputError
        If a checkpoint cannot be read or written.
    KeyboardInterrupt
        Passed on once all chains have stopped; the checkpoints hold what was done.
    """
    config = problem.config
    stop = threading.Event()
    n_threads = thread_count(config, len(problem.start))
    at_once = min(n_threads, config.chains)
    with contextlib.ExitStack() as stack:
        chains = []
        for index, stream in enumerate(np.random.SeedSequence(config.seed).spawn(config.chains)):
            # Cores that no chain would use help the chains.
            n_helpers = n_threads // at_once - 1 + (index < n_threads % at_once)
            chains.append(
                Chain(
                    problem,
                    stages,
                    likelihoods,
                    index,
                    np.random.default_rng(stream),
                    reporter,
                    stop,
                    None if checkpoint_folder is None else checkpoint_folder / f"chain-{index + 1}.npz",
                    stack.enter_context(Team(n_helpers)) if n_helpers else None,
                )
            )
        reporter.start(config.chains, 1 + sum(stage.n_iterations for stage in stages) + config.iterations)
        run_all([chain.run for chain in chains], n_threads, stop)
    return chains
