"""Chains on threads: ``python -m benchmarks.threads``.

Two chains of the same fit, warm-up and draws, are run in three ways that take turns: one after the other, in two
threads of a process, as fits do, and in two processes, which share no interpreter and so cannot wait for each other.
They are the same two chains each time, and one of them is longer: no way can be twice as fast. Then one chain by
itself, and with a second thread that helps it. Times are those on the clock: on a busy machine neither threads nor
processes get two cores, and only the ratio of these two means something.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bayesflex.config import FitConfig
from bayesflex.io.atomic import atomic_path
from bayesflex.protocols import Likelihood
from bayesflex.reporters import NullReporter
from bayesflex.sampling import run_chains, stage_likelihoods
from bayesflex.sampling.problem import Problem, Stage
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate
from benchmarks.cases import AK, P97, Case

#: Iterations of the warm-up and of the draws, so that a chain takes some seconds.
ITERATIONS = {AK.name: (100, 400), P97.name: (20, 60)}

RESOLUTION = 8.0  # Å


@dataclass(frozen=True)
class Fit:
    """A fit made ready, whose chains are run again and again."""

    problem: Problem
    stages: Sequence[Stage]
    likelihoods: Sequence[Likelihood]

    def run(self, chains: int, threads: int, seed: int = 1) -> None:
        """Run so many chains, so many at a time."""
        config = replace(self.problem.config, chains=chains, threads=threads, seed=seed)
        run_chains(replace(self.problem, config=config), self.stages, self.likelihoods, NullReporter())


def make_fit(case: Case, share: float = 1.0) -> Fit:
    """Return the fit of a case's model into a map of itself, with a share of the iterations."""
    _, ca = case.model()
    warmup, iterations = (max(round(share * number), 2) for number in ITERATIONS[case.name])
    density = simulate(ca, resolution=RESOLUTION, voxel=case.voxel, noise=0.1)
    config = FitConfig(
        resolution=RESOLUTION, anneal=False, domains=False, warmup_iterations=warmup, iterations=iterations
    )
    fit = prepare(Inputs(ca, density), config, lambda text: None)
    return Fit(fit.problem, fit.stages, stage_likelihoods(fit.problem, fit.stages))


#: Of the two chains.
SEEDS = (1, 2)


def in_turns(fit: Fit) -> None:
    """Run the two chains one after the other."""
    for seed in SEEDS:
        fit.run(1, 1, seed)


def in_threads(fit: Fit) -> None:
    """Run each of the two chains in a thread."""
    with ThreadPoolExecutor(len(SEEDS)) as pool:
        for chain in [pool.submit(fit.run, 1, 1, seed) for seed in SEEDS]:
            chain.result()


def in_processes(fit: Fit) -> None:
    """Run each of the two chains in a process."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=fit.run, args=(1, 1, seed)) for seed in SEEDS]
    with warnings.catch_warnings():
        # From Python 3.12 on: a lock that another thread holds would stay locked. No other thread runs now.
        warnings.simplefilter("ignore", DeprecationWarning)
        for worker in workers:
            worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a process of the benchmark failed: see what it wrote above")


#: What takes turns, by the name in the table.
WAYS: dict[str, Callable[[Fit], None]] = {
    "two chains, one thread": in_turns,
    "two chains, two threads": in_threads,
    "two chains, two processes": in_processes,
    "one chain, one thread": lambda fit: fit.run(1, 1),
    "one chain, two threads": lambda fit: fit.run(1, 2),
}


def measure(fit: Fit, repeats: int) -> dict[str, float]:
    """Return the median seconds on the clock of each way, after a turn that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    in_threads(fit)
    for _ in range(repeats):
        for name, way in WAYS.items():
            begin = time.perf_counter()
            way(fit)
            taken[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in taken.items()}


def table_of(seconds: dict[str, dict[str, float]]) -> Table:
    """Return the seconds of each case, and how many times faster than on one thread."""
    table = Table("", *(heading for case in seconds for heading in (f"{case}, s", "faster")))
    for name in WAYS:
        table.add_row(name, *(cell for times in seconds.values() for cell in cells(times, name)))
    return table


def cells(seconds: dict[str, float], name: str) -> tuple[str, str]:
    """Return the seconds of a way, and how many times faster it is than the same chains on one thread."""
    alone = "one chain, one thread" if name.startswith("one") else "two chains, one thread"
    return f"{seconds[name]:.2f}", f"{seconds[alone] / seconds[name]:.2f} ×"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads", description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="turns of each way")
    parser.add_argument("--share", type=float, default=1.0, help="share of the iterations of each chain")
    parser.add_argument("-o", "--output", type=Path, help="also write the numbers to this file, as JSON")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    seconds = {case.name: measure(make_fit(case, arguments.share), arguments.repeats) for case in (AK, P97)}
    console = Console()
    console.print(f"load of the machine before: {load:.1f} on {os.cpu_count()} cores", style="dim")
    console.print(table_of(seconds))
    if arguments.output:
        with atomic_path(arguments.output) as path:
            record = {"load": load, "cores": os.cpu_count(), "seconds": seconds}
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
