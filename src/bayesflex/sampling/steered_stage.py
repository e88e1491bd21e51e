"""One blurred stage of the warm-up, as chains and the pilot pass through it: steered along modes, then softened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesflex.copies import agreed
from bayesflex.deformation import APPROACHES, Deformation
from bayesflex.domains import body_motions
from bayesflex.errors import InputError
from bayesflex.geometry import rmsd
from bayesflex.normal_modes import rigid_motions
from bayesflex.posterior import GradientCount
from bayesflex.protocols import EnergyTerm, Likelihood
from bayesflex.sampling.problem import Problem, Stage
from bayesflex.softening import SOFTENINGS, SOFTEST, softened
from bayesflex.steering import SteerPoint, restored, steer
from bayesflex.team import Team

Array = NDArray[np.float64]

#: Modes are recomputed once the structure has moved by this much (RMSD, Å) since they were last computed.
MODES_MOVED = 1.0


@dataclass(frozen=True)
class Way:
    """What differs between chains that are steered.

    Parameters
    ----------
    reluctance
        Share of the energy of the resisting terms that counts.
    longest
        Longest step, RMSD in Å.
    """

    reluctance: float
    longest: float


@dataclass(frozen=True, eq=False)
class SteeredStage:
    """A stage for one structure on its way.

    Parameters
    ----------
    problem, stage
        What is fitted, and in which stage.
    likelihood, terms
        Of the stage, and the structural prior; both with workspaces of their own.
    count, team
        As of :class:`~bayesflex.posterior.Posterior`.
    """

    problem: Problem
    stage: Stage
    likelihood: Likelihood
    terms: Sequence[EnergyTerm]
    count: GradientCount | None = None
    team: Team | None = None

    @property
    def _free(self) -> Deformation:
        return Deformation.local(self.problem.start)

    @property
    def _local(self) -> bool:
        return APPROACHES[self.problem.config.deformation][1]

    def steered(
        self,
        coords: Array,
        way: Way,
        modes_for: Callable[[Array], Array],
        bodies: Array | None = None,
        on_step: Callable[[Array], None] = lambda coords: None,
        begin: SteerPoint | None = None,
        on_point: Callable[[SteerPoint], None] | None = None,
    ) -> Array:
        """Return where steering leads, shape (n_ca, 3), Å.

        Parameters
        ----------
        coords
            Where it begins, shape (n_ca, 3), Å.
        way
            How.
        modes_for
            Returns the modes to use at a structure, (n_modes, n_ca, 3).
        bodies
            Weights of the domains that turn as bodies, (n_bodies, n_ca), or None.
        on_step, begin, on_point
            See :func:`~bayesflex.steering.steer`.
        """
        # Stiff terms along the chain forbid straight steps. Where domains turn as bodies they tell what a linker can
        # follow, and without them domains would be pulled off their linkers.
        resisting = [term for term in self.terms if bodies is not None or term.name == "contacts"]
        # Between steps linkers are what bends: restored whole, domains would give way to each other.
        bending = None if bodies is None else bodies.max(axis=0) < 1.0

        def directions(coords: Array) -> Array:
            modes = modes_for(coords)
            if bodies is not None:
                return _orthonormal(np.concatenate([body_motions(coords, bodies), modes]))
            # Modes alone leave the centre of mass and the mean orientation where they are: when one domain moves,
            # the others recoil. Local displacements could undo that, and so may the motions as one.
            follows = self._local or self.problem.config.rigid
            return np.concatenate([rigid_motions(coords), modes]) if follows else modes

        there = steer(
            self.problem.posterior(self.likelihood, resisting, self._free, way.reluctance, self.count, self.team),
            self.terms if self._local or bending is not None else (),
            coords,
            directions,
            self.stage.n_iterations,
            way.longest,
            on_step,
            begin=begin,
            on_point=on_point,
            bodies=bodies,
            free=bending,
        )
        return there if bending is None else restored(there, self.terms)

    def softened(
        self, coords: Array, on_softening: Callable[[], None] = lambda: None, softest: float = SOFTEST
    ) -> Array:
        """Return where a structure goes as it softens, (n_ca, 3), Å: see :func:`~bayesflex.softening.softened`.

        In a blurred stage the prior counts as many times as that is coarser than the map. Without local displacements
        nothing softens.
        """
        if not self._local:
            return coords
        blur = self.stage.resolution / self.problem.config.resolution
        posterior = self.problem.posterior(self.likelihood, self.terms, self._free, blur, self.count, self.team)
        return softened(posterior, coords, self.problem.network_at, SOFTENINGS, on_softening, softest)

    def agreed(self, coords: Array, on_relaxing: Callable[[], None] = lambda: None) -> Array:
        """Return a structure with its copies alike where the posterior of the stage prefers that, (n_ca, 3), Å.

        See :func:`~bayesflex.copies.agreed`. Without local displacements nothing changes.
        """
        if not self._local or not self.problem.copies:
            return coords
        posterior = self.problem.posterior(self.likelihood, self.terms, self._free, 1.0, self.count, self.team)
        return agreed(posterior, coords, self.problem.copies, on_relaxing)


def modes_of(problem: Problem, coords: Array, modes: Array, modes_at: Array) -> tuple[Array, Array, InputError | None]:
    """Return the modes to use at a structure, where they were computed, and why they were not computed anew.

    They are computed anew where the structure has moved far enough, ``recompute_modes`` allowing. A structure on its
    way may be loose where the start was not: the modes at hand still serve.

    Parameters
    ----------
    problem
        What is fitted.
    coords
        The structure, shape (n_ca, 3), Å.
    modes, modes_at
        Modes at hand, (n_modes, n_ca, 3), and the structure they were computed at, (n_ca, 3), Å.
    """
    if not problem.config.recompute_modes or rmsd(coords, modes_at) <= MODES_MOVED:
        return modes, modes_at, None
    try:
        return problem.modes_at(coords), coords, None
    except InputError as error:
        return modes, coords, error


def _orthonormal(directions: Array) -> Array:
    """Return orthonormal directions of the same span, shape (n_independent, n_ca, 3)."""
    flat = directions.reshape(len(directions), -1)
    _, sizes, rows = np.linalg.svd(flat / np.linalg.norm(flat, axis=1, keepdims=True), full_matrices=False)
    # Shifts and turns of domains that lie in a line, or modes that are nothing else, add no direction.
    return np.ascontiguousarray(rows[sizes > 1e-6 * sizes[0]].reshape(-1, *directions.shape[1:]))
