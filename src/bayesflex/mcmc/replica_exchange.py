"""Replica exchange: chains of a ladder of densities swap places, so that modes far apart are all visited.

Also called parallel tempering (Swendsen and Wang 1986; Geyer 1991). The first level of the ladder is the density that
is sampled; each next one is flatter, as a likelihood to a lower power makes it, up to one whose modes a chain can
leave. The kernel sees densities alone: what makes a ladder of them is the caller's business.

The state is that of the whole ensemble, one replica per level, on the product of the levels' densities. Its first
replica is a draw of the density that is sampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from bayesflex.errors import ConfigError, InputError
from bayesflex.mcmc.hmc import HMC
from bayesflex.mcmc.trajectory import acceptance_probability
from bayesflex.protocols import Array, Evaluation, KernelInfo, KernelState


def join(replicas: Sequence[KernelState]) -> KernelState:
    """Return the state of an ensemble: positions one after the other, log densities summed.

    ``evaluation.details`` holds the evaluations of the replicas, from which :func:`split` takes it apart.
    """
    evaluations = tuple(replica.evaluation for replica in replicas)
    evaluation = Evaluation(
        sum(evaluation.log_density for evaluation in evaluations),
        np.concatenate([evaluation.gradient for evaluation in evaluations]),
        evaluations,
    )
    return KernelState(np.concatenate([replica.position for replica in replicas]), evaluation)


def split(state: KernelState) -> tuple[KernelState, ...]:
    """Return the replicas of an ensemble, that of the density that is sampled first."""
    evaluations: tuple[Evaluation, ...] = state.evaluation.details
    positions = state.position.reshape(len(evaluations), -1)  # (n_levels, n_dim)
    return tuple(KernelState(*replica) for replica in zip(positions, evaluations, strict=True))


@dataclass(frozen=True, eq=False)
class ReplicaExchange:
    """Hamiltonian Monte Carlo at each level of a ladder, then exchanges between neighbours.

    One iteration moves each replica by the kernel of its level, then tries to exchange the positions of levels 1 and
    2, 3 and 4, and so on, then of 2 and 3, 4 and 5. An exchange of x_i and x_j is accepted with the probability
    ``min(1, π_i(x_j) π_j(x_i) / (π_i(x_i) π_j(x_j)))``, which leaves the product of the densities invariant, in
    detailed balance.

    Parameters
    ----------
    levels
        A kernel for each density, all over vectors of one length. The first one's density is the one sampled.

    Raises
    ------
    ConfigError
        If there is no level, or one has another number of dimensions.
    """

    levels: tuple[HMC, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        sizes = {level.mass.n_dim for level in self.levels}
        if len(sizes) != 1:
            raise ConfigError(
                f"levels: expected at least one kernel, all with the same number of dimensions, got {sorted(sizes)}"
            )

    def target(self, position: Array) -> Evaluation:
        """Evaluate the product of the levels' densities at an ensemble's position, shape (n_levels n_dim,)."""
        positions = position.reshape(len(self.levels), -1)
        return join(
            [KernelState(at, level.target(at)) for level, at in zip(self.levels, positions, strict=True)]
        ).evaluation

    def init(self, position: Array) -> KernelState:
        """Return the state of an ensemble at a position, shape (n_levels n_dim,), the replicas one after the other.

        Raises
        ------
        InputError
            If the position has another shape.
        SamplingError
            If a replica is where its density is not finite.
        """
        position = np.array(position, dtype=np.float64)
        n_dim = self.levels[0].mass.n_dim
        if position.shape != (len(self.levels) * n_dim,):
            raise InputError(
                f"start: expected a position of shape ({len(self.levels) * n_dim},), {n_dim} numbers for each of "
                f"{len(self.levels)} levels, got {position.shape}"
            )
        positions = position.reshape(len(self.levels), n_dim)
        return join([level.init(at) for level, at in zip(self.levels, positions, strict=True)])

    def step(self, rng: Generator, state: KernelState) -> tuple[KernelState, KernelInfo]:
        """Move every replica, then exchange neighbours.

        ``KernelInfo`` is that of the first level's trajectory, but for ``n_gradients``, which counts all levels and
        the evaluations for exchanges, and ``exchanges``, the probability with which each pair of neighbouring levels
        exchanged.
        """
        moved = [level.step(rng, replica) for level, replica in zip(self.levels, split(state), strict=True)]
        replicas = [replica for replica, _ in moved]
        infos = [info for _, info in moved]
        probabilities = self._exchange(rng, replicas)
        n_gradients = sum(info.n_gradients for info in infos) + 2 * len(probabilities)
        return join(replicas), infos[0]._replace(n_gradients=n_gradients, exchanges=probabilities)

    def exchange(self, rng: Generator, state: KernelState) -> tuple[KernelState, tuple[float, ...]]:
        """Try the exchanges alone; return the state and the probability of each, in the order of the ladder."""
        replicas = list(split(state))
        probabilities = self._exchange(rng, replicas)
        return join(replicas), probabilities

    def _exchange(self, rng: Generator, replicas: list[KernelState]) -> tuple[float, ...]:
        """Exchange neighbours in place."""
        n_pairs = len(replicas) - 1
        probabilities = [0.0] * n_pairs
        for lower in (*range(0, n_pairs, 2), *range(1, n_pairs, 2)):
            one, other = replicas[lower], replicas[lower + 1]
            one_there = self.levels[lower + 1].target(one.position)
            other_here = self.levels[lower].target(other.position)
            loss = (one.evaluation.log_density + other.evaluation.log_density) - (
                one_there.log_density + other_here.log_density
            )
            if _usable(one_there) and _usable(other_here) and math.isfinite(loss):
                probabilities[lower] = acceptance_probability(loss)
            if rng.random() < probabilities[lower]:
                replicas[lower] = KernelState(other.position, other_here)
                replicas[lower + 1] = KernelState(one.position, one_there)
        return tuple(probabilities)


def _usable(evaluation: Evaluation) -> bool:
    return math.isfinite(evaluation.log_density) and bool(np.isfinite(evaluation.gradient).all())
