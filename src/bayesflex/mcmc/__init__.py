"""Markov chain Monte Carlo over a flat vector and a log density.

Nothing here knows of proteins or maps: a kernel sees a vector of length n_dim and
a function. Kernels are built as ``kernel(target, mass, step_size, n_steps)``; a new
one is one file here and one row in :data:`SAMPLERS`. :class:`ReplicaExchange` is a
kernel made of such kernels, one for each density of a ladder.
"""

from __future__ import annotations

from typing import Final

from bayesflex.mcmc.adaptation import HEATING_TRAJECTORIES, DualAveraging, heat, largest_eigenvalue, warm_up
from bayesflex.mcmc.hmc import HMC
from bayesflex.mcmc.integrators import LEAPFROG, MINIMAL_ERROR, LeapfrogResult, leapfrog
from bayesflex.mcmc.masses import BlockMass, DenseMass, DiagonalMass, Mass
from bayesflex.mcmc.metropolis import Metropolis
from bayesflex.mcmc.molecular_dynamics import MolecularDynamics
from bayesflex.mcmc.replica_exchange import ReplicaExchange

#: Sampling kernels by name. ``md`` is not exact.
SAMPLERS: Final[dict[str, type[HMC] | type[Metropolis] | type[MolecularDynamics]]] = {
    "hmc": HMC,
    "metropolis": Metropolis,
    "md": MolecularDynamics,
}

__all__ = [
    "HEATING_TRAJECTORIES",
    "HMC",
    "LEAPFROG",
    "MINIMAL_ERROR",
    "SAMPLERS",
    "BlockMass",
    "DenseMass",
    "DiagonalMass",
    "DualAveraging",
    "LeapfrogResult",
    "Mass",
    "Metropolis",
    "MolecularDynamics",
    "ReplicaExchange",
    "heat",
    "largest_eigenvalue",
    "leapfrog",
    "warm_up",
]
