"""A fit small enough to be run many times, and reporters that interrupt it, for the tests of the chains."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cache

import numpy as np

from bayesflex.config import FitConfig
from bayesflex.protocols import Record
from bayesflex.reporters import NullReporter
from bayesflex.sampling import run_chains, stage_likelihoods
from bayesflex.synthetic import two_domain_pair
from bayesflex.workflows.preparation import Inputs, PreparedFit, prepare
from bayesflex.workflows.simulate import simulate

N_RESIDUES = 60
SMALL = FitConfig(
    resolution=8.0,
    sigma=1.8,
    modes=(7, 8, 9),
    chains=2,
    iterations=8,
    stages=(14.0, 11.0),
    stage_iterations=5,
    warmup_iterations=8,
    steps=4,
    threads=1,
)


@cache
def pair_and_map():
    start, end = two_domain_pair(N_RESIDUES, 30.0)
    return start, end, simulate(end, resolution=8.0, voxel=2.5, kernel="gaussian")


@cache
def prepared(**changes) -> PreparedFit:
    start, end, density = pair_and_map()
    return prepare(Inputs(start, density, end), replace(SMALL, **changes), lambda text: None)


@cache
def likelihoods(**changes):
    fit = prepared(**changes)
    return stage_likelihoods(fit.problem, fit.stages)


def run(folder=None, reporter=None, fit=None, **changes):
    """Run all chains; ``fit`` replaces the prepared one with the same likelihoods."""
    made = prepared(**changes) if fit is None else fit
    return run_chains(
        made.problem, made.stages, likelihoods(**changes), NullReporter() if reporter is None else reporter, folder
    )


class Keeper(NullReporter):
    """Keeps what it hears, by chain."""

    def __init__(self) -> None:
        self.rows: dict[int, list[Record]] = {}
        self.texts: list[str] = []
        self._lock = threading.Lock()

    def record(self, row: Record) -> None:
        with self._lock:
            self.rows.setdefault(row.chain, []).append(row)

    def message(self, text: str) -> None:
        self.texts.append(text)


class Interruption(Exception):
    """Raised by :class:`Interrupter`."""


class Interrupter(Keeper):
    """Raises once at an iteration of a chain."""

    def __init__(self, iteration: int, chain: int = 0, error: BaseException | None = None) -> None:
        super().__init__()
        self._at, self._error = (chain, iteration), error or Interruption()

    def record(self, row: Record) -> None:
        super().record(row)
        if (row.chain, row.iteration) == self._at:
            raise self._error


def assert_same_chains(ones, others) -> None:
    """Draws, records and statistics are the same to the last bit."""
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(np.array(one.draws.coords), np.array(other.draws.coords))
        assert one.draws.statistics == other.draws.statistics
        assert list(one.records) == list(other.records)
        assert one.n_gradients == other.n_gradients
