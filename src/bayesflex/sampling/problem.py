"""Problem: all that the chains of a fit share; Stage: the parts that a chain passes through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from bayesflex.beads import BeadModel
from bayesflex.chain import bonded_to_next, extra_reach, pairs_along_chain
from bayesflex.config import FIRST_MODE, FitConfig
from bayesflex.copies import find_copies
from bayesflex.deformation import Deformation
from bayesflex.domains import Domains, blend_weights, find_domains
from bayesflex.elastic_network import network_hessian
from bayesflex.map_target import MapTarget
from bayesflex.normal_modes import NormalModes, normal_modes
from bayesflex.posterior import GradientCount, Posterior
from bayesflex.protocols import EnergyTerm, Likelihood
from bayesflex.sampling.correlation import MapCorrelation
from bayesflex.structure import Structure
from bayesflex.team import Team
from bayesflex.units import thermal_energy

Array = NDArray[np.float64]

#: Each blurred stage is finer than the one before by about this factor.
_STAGE_RATIO = 1.4

#: Models of more CA are large: what takes them minutes and wins little is left out. p97 with its 4368 residues got free
#: beads for 150 s of processor time and 0.02 Å, and domains that are found anew while chains are steered take it
#: seconds each time. Their chains set out from where the pilot settled.
LARGE = 2000


@dataclass(frozen=True)
class Stage:
    """One part of the warm-up: its name in the metrics, the resolution (Å) and the largest number of iterations."""

    name: str
    resolution: float
    n_iterations: int


@dataclass(frozen=True, eq=False)
class Problem:
    """All that chains share.

    Parameters
    ----------
    ca
        CA trace of the start.
    config
        Settings.
    target
        The prepared map.
    beads
        What the residues scatter.
    terms
        The structural prior.
    modes
        Normal modes of the start, at least those with the numbers in ``config.modes``; None in "local".
    reference
        Known answer, positions (n_matched, 3) in Å and the indices of its CA in the start, or None.
    domains
        Domains of the start, where each moves as a rigid body; None where none does.
    """

    ca: Structure
    config: FitConfig
    target: MapTarget
    beads: BeadModel
    terms: tuple[EnergyTerm, ...]
    modes: NormalModes | None
    reference: tuple[Array, NDArray[np.int64]] | None = None
    domains: Domains | None = None

    @property
    def start(self) -> Array:
        """CA positions of the start, shape (n_ca, 3), Å."""
        return self.ca.coords

    @property
    def is_large(self) -> bool:
        """Whether the model has more than ``LARGE`` CA."""
        return self.ca.n_atoms > LARGE

    @cached_property
    def mode_vectors(self) -> Array:
        """The configured modes of the start, shape (n_modes, n_ca, 3); no rows in "local"."""
        return np.zeros((0, *self.start.shape)) if self.modes is None else self._selected(self.modes)

    @cached_property
    def correlation(self) -> MapCorrelation:
        """The correlation with the map; each chain uses a clone of it."""
        return MapCorrelation(self.target, self.beads, self.start)

    @cached_property
    def copies(self) -> tuple[NDArray[np.int64], ...]:
        """Chains of one sequence: for each group indices (n_copies, n_residues); none where they are not looked for."""
        return find_copies(self.ca) if self.config.average_copies else ()

    @cached_property
    def _links(self) -> NDArray[np.int64]:
        return pairs_along_chain(bonded_to_next(self.ca))

    def modes_at(self, coords: Array) -> Array:
        """Return the configured modes of the network at other positions (n_ca, 3), shape (n_modes, n_ca, 3)."""
        count = max(self.config.modes) - FIRST_MODE + 1
        cutoff, reach = self.config.network_cutoff, extra_reach(self.ca)
        return self._selected(normal_modes(coords, count, cutoff, links=self._links, reach=reach))

    def network_at(self, coords: Array) -> sparse.bsr_matrix:
        """Return the Hessian of the elastic network at rest at positions (n_ca, 3), Å.

        Raises
        ------
        InputError
            If two sites are at the same place.
        """
        return network_hessian(coords, self.config.network_cutoff, self._links, reach=extra_reach(self.ca))

    @cached_property
    def bodies(self) -> Array | None:
        """How far each residue goes along with each domain, shape (n_domains, n_ca); None where none moves."""
        return None if self.domains is None else blend_weights(self.domains.labels, bonded_to_next(self.ca))

    def bodies_at(self, coords: Array) -> Array | None:
        """Return :attr:`bodies` for the domains of the network at other positions (n_ca, 3).

        Where that network has one domain alone, those of the start.

        Raises
        ------
        InputError
            If the network leaves residues loose.
        """
        if self.domains is None:
            return None
        found = self.domains_at(coords)
        return self.bodies if found is None else found

    def domains_at(self, coords: Array) -> Array | None:
        """Return how far each residue goes along with each domain at other positions (n_ca, 3), None for one domain.

        Raises
        ------
        InputError
            If the network leaves residues loose.
        """
        found = find_domains(self.ca.with_coords(coords), self.config.network_cutoff)
        return blend_weights(found.labels, bonded_to_next(self.ca)) if found.n_domains > 1 else None

    def deformation(self, coords: Array, modes: Array, bodies: Array | None) -> Deformation:
        """Return the deformation that is sampled about a structure (n_ca, 3), Å.

        Where the whole moves as one besides, that is the motion of the largest domain, and the others move against it.
        """
        config = self.config
        if bodies is not None and config.rigid:
            bodies = bodies[1:]
        return Deformation.tethered(config.deformation, coords, modes, config.rigid, bodies)

    def _selected(self, modes: NormalModes) -> Array:
        row = {int(number): index for index, number in enumerate(modes.numbers)}
        return np.asarray(modes.vectors[[row[number] for number in self.config.modes]])

    def beads_of(self, stage: Stage) -> BeadModel:
        """Return what the residues scatter in a stage: in a blurred one a residue is one bead."""
        return self.beads.merged() if stage.resolution > self.config.resolution else self.beads

    def posterior(
        self,
        likelihood: Likelihood,
        terms: Sequence[EnergyTerm],
        deformation: Deformation,
        prior_weight: float = 1.0,
        count: GradientCount | None = None,
        team: Team | None = None,
    ) -> Posterior:
        """Return the posterior of a stage, with its prior's energy counted ``prior_weight`` times.

        ``count`` counts the evaluations of the likelihood, and ``team`` shares their work.
        """
        return Posterior(
            likelihood,
            terms,
            deformation,
            thermal_energy(self.config.temperature) / prior_weight,
            self.start.mean(axis=0),
            self.config.centre_sd,
            count,
            team,
        )


def plan_stages(config: FitConfig, start: Array) -> tuple[Stage, ...]:
    """Return the stages of the warm-up, blurred ones first; the last has the resolution asked for.

    By default the coarsest resolution is about the radius of gyration of the model, at which domains are blobs, and
    from two to four times the resolution asked for.

    Parameters
    ----------
    config
        ``anneal``, ``stages``, ``resolution`` and the numbers of iterations.
    start
        CA positions, shape (n_ca, 3), Å.
    """
    resolutions: Sequence[float] = ()
    if config.anneal:
        resolutions = config.stages or _default_resolutions(config.resolution, start)
    blurred = [Stage(f"warmup-{k + 1}", d, config.stage_iterations) for k, d in enumerate(resolutions)]
    last = Stage(f"warmup-{len(blurred) + 1}", config.resolution, config.warmup_iterations)
    return (*blurred, last)


def _default_resolutions(resolution: float, start: Array) -> list[float]:
    radius = math.sqrt(float(np.sum(np.var(start, axis=0))))
    factor = min(max(radius / resolution, 2.0), 4.0)
    n_stages = max(1, round(math.log(factor) / math.log(_STAGE_RATIO)))
    return [round(resolution * factor ** (k / n_stages), 2) for k in range(n_stages, 0, -1)]
