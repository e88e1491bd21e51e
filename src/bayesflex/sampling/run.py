"""Running all chains of a fit, several at the same time."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from bayesflex.config import FitConfig
from bayesflex.deformation import APPROACHES
from bayesflex.errors import ConfigError
from bayesflex.protocols import Likelihood, Reporter
from bayesflex.sampling.chain import Chain
from bayesflex.sampling.domain_starts import Starts, find_starts, load_starts, save_starts
from bayesflex.sampling.parallel import run_all
from bayesflex.sampling.problem import Problem, Stage
from bayesflex.team import Team

#: In the folder of the checkpoints.
_STARTS_FILE = "starts.npz"


def thread_count(config: FitConfig) -> int:
    """Return the number of threads to use: the configured one or, for 0, the cores this process may use."""
    if config.threads:
        return config.threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stage_evaluations(problem: Problem, stages: Sequence[Stage]) -> list[str]:
    """Return how the overlap is evaluated in each stage, "pairs" or "grid".

    Raises
    ------
    ConfigError
        If the configuration lists another number of stages.
    """
    config, target = problem.config, problem.target
    words = config.evaluation.split(",")
    if len(words) == 1:
        words *= len(stages)
    if len(words) != len(stages):
        raise ConfigError(
            f"evaluation: expected one word for all stages or {len(stages)}, one for each, got {config.evaluation!r}. "
            "Change --evaluation, or evaluation in the configuration file."
        )
    return [
        target.chosen_evaluation(config, problem.beads_of(stage), stage.resolution, problem.start)
        if word == "auto"
        else word
        for word, stage in zip(words, stages, strict=True)
    ]


def stage_likelihoods(problem: Problem, stages: Sequence[Stage]) -> list[Likelihood]:
    """Return the likelihood of each stage.

    Raises
    ------
    InputError
        If a likelihood cannot be made of the map.
    """
    with threadpool_limits(1):
        return [
            problem.target.likelihood(
                problem.config, problem.beads_of(stage), stage.resolution, problem.start, evaluation
            )
            for stage, evaluation in zip(stages, stage_evaluations(problem, stages), strict=True)
        ]


def chain_starts(
    problem: Problem,
    stages: Sequence[Stage],
    likelihoods: Sequence[Likelihood],
    reporter: Reporter,
    checkpoint_folder: Path | None = None,
) -> Starts:
    """Return where chains start: at the model's start, or with domains placed that lie outside of their density.

    Parameters
    ----------
    problem, stages, likelihoods, reporter, checkpoint_folder
        As of :func:`run_chains`. The starts are kept in the folder, and taken from there where they are.

    Raises
    ------
    InputError
        If the starts kept in the folder cannot be read or written.
    """
    config = problem.config
    # Poses of domains are proposals of the steering: without it, or with domains that cannot turn, there are none.
    steered, free = APPROACHES[config.deformation]
    if not (config.domains and len(stages) > 1 and steered and (free or problem.domains is not None)):
        return Starts((problem.start,))
    kept = None if checkpoint_folder is None else checkpoint_folder / _STARTS_FILE
    if kept is not None and kept.exists():
        return load_starts(kept)
    with threadpool_limits(1):
        found = find_starts(problem, likelihoods, thread_count(config))
    for text in found.messages:
        reporter.message(text)
    if kept is not None:
        save_starts(kept, found)
    return found


def last_likelihood(problem: Problem, stages: Sequence[Stage]) -> Likelihood:
    """Return the likelihood of the last stage alone, as :func:`stage_likelihoods` makes it."""
    evaluation = stage_evaluations(problem, stages)[-1]
    with threadpool_limits(1):
        return problem.target.likelihood(
            problem.config, problem.beads_of(stages[-1]), stages[-1].resolution, problem.start, evaluation
        )


def run_chains(
    problem: Problem,
    stages: Sequence[Stage],
    likelihoods: Sequence[Likelihood],
    reporter: Reporter,
    checkpoint_folder: Path | None = None,
    starts: Starts | None = None,
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
    starts
        Where chains start; by default what :func:`chain_starts` returns.

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
    n_threads = thread_count(config)
    checkpoints = [
        None if checkpoint_folder is None else checkpoint_folder / f"chain-{index + 1}.npz"
        for index in range(config.chains)
    ]
    if starts is None:
        starts = chain_starts(problem, stages, likelihoods, reporter, checkpoint_folder)
    structures = starts.structures
    # Threads that no chain uses, or uses any more, help the others.
    with Team(n_threads) as team:
        chains = [
            Chain(
                problem,
                stages,
                likelihoods,
                index,
                np.random.default_rng(stream),
                reporter,
                stop,
                checkpoints[index],
                team,
                structures[index % len(structures)],
            )
            for index, stream in enumerate(np.random.SeedSequence(config.seed).spawn(config.chains))
        ]
        # Each steered stage ends with one more iteration, in which the structure softens.
        softens = len(stages) - 1 if all(APPROACHES[config.deformation]) else 0
        reporter.start(config.chains, 1 + sum(stage.n_iterations for stage in stages) + softens + config.iterations)
        run_all([partial(_run, chain, team) for chain in chains], n_threads, stop)
    return chains


def _run(chain: Chain, team: Team) -> None:
    with team.working():
        chain.run()
