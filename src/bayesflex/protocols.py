"""Every extension point of bayesflex on one page.

A new energy term, likelihood, sampling kernel or reporter is one new file with a
class of one of these shapes, and one row in the table beside it
(``energy.TERMS``, ``likelihood.LIKELIHOODS``, ``mcmc.SAMPLERS``).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.float64]


@runtime_checkable
class EnergyTerm(Protocol):
    """One family of potentials: energy in kcal/mol (low is good) and its gradient."""

    name: str

    def energy_and_gradient(self, coords: Array) -> tuple[float, Array]:
        """Return the energy (kcal/mol) and its gradient (kcal/mol/Å), both at coords, shape (n_beads, 3), Å."""
        ...

    def add_to(self, coords: Array, gradient: Array) -> float:
        """Add the gradient to ``gradient`` (n_beads, 3) in place and return the energy: the form of the hot loop."""
        ...

    def clone(self) -> EnergyTerm:
        """Return a term that shares the constants and owns its workspaces, for use in another thread."""
        ...


@runtime_checkable
class Likelihood(Protocol):
    """log L(map | coordinates) in nats (high is good) and its gradient."""

    name: str

    def log_likelihood_and_gradient(self, coords: Array) -> tuple[float, Array]:
        """Return log L and its gradient (nats/Å), shape (n_beads, 3). Non-finite input gives (-inf, zeros)."""
        ...

    def clone(self) -> Likelihood:
        """Return one that shares the map and owns its workspaces, for use in another thread."""
        ...


class Evaluation(NamedTuple):
    """A log density at one position: what a sampling kernel needs, and what reporters show.

    ``log_density`` (nats) is -inf outside the support; ``gradient`` has the position's shape.
    ``details`` is for reporters alone (a mapping of numbers) and opaque to kernels.
    """

    log_density: float
    gradient: Array
    details: Any = None


class PosteriorDetails(NamedTuple):
    """What the log density of a model in a map is made of, at one position."""

    coords: Array  # (n, 3), Å
    log_likelihood: float  # nats
    energy: float  # kcal/mol


class Target(Protocol):
    """An unnormalised log density over a flat vector."""

    def __call__(self, position: Array) -> Evaluation:
        """Evaluate log density and gradient at a position, shape (n_dim,). Never raises on non-finite input."""
        ...

    # A target may also have ``integrate(position, momentum, evaluation, step_size, n_steps, mass)``, which makes the
    # steps of ``mcmc.integrators.leapfrog`` by itself and returns its result, or None where it cannot.


class KernelState(NamedTuple):
    """State of a Markov chain: the position (n_dim,) and the target's evaluation there (cached)."""

    position: Array
    evaluation: Evaluation


class KernelInfo(NamedTuple):
    """What happened in one iteration of a sampling kernel."""

    acceptance: float  # probability with which the proposal was accepted, 0 to 1
    accepted: bool
    divergent: bool  # a non-finite energy or coordinate was met
    energy_error: float  # H' - H in nats; +inf when divergent
    step_size: float
    n_gradients: int
    energy: float = math.nan  # H at the start of the trajectory, nats; NaN for a kernel without momenta
    exchanges: tuple[float, ...] = ()  # probability with which each pair of neighbours in a ladder exchanged


class Kernel(Protocol):
    """A Markov transition that leaves the target invariant: pure, with its randomness passed in."""

    def step(self, rng: Generator, state: KernelState) -> tuple[KernelState, KernelInfo]:
        """Make one iteration."""
        ...


class Record(NamedTuple):
    """One row of ``metrics.csv``: one iteration of one chain."""

    chain: int
    iteration: int  # counted from 0 over warm-up and sampling
    stage: str  # "start", "warmup-1", ..., "sampling"
    values: dict[str, float]  # cc_uncentred, cc_centred, log_density, log_likelihood, energy, acceptance, ...


class Reporter(Protocol):
    """Listener of a running fit. Called from several threads; implementations lock for themselves."""

    def start(self, n_chains: int, n_iterations: int) -> None:
        """A fit begins: iterations per chain over all stages."""
        ...

    def record(self, row: Record) -> None:
        """One iteration of one chain is done."""
        ...

    def message(self, text: str) -> None:
        """Something worth a line of the log."""
        ...

    def finish(self) -> None:
        """The fit ended, normally or not."""
        ...
