"""The posterior as one compiled function, and whole trajectories on it.

A step of a small model takes tens of microseconds, as long as the interpreter takes to ask for it. So the usual
posterior, a likelihood over pairs of beads with the built-in prior, is evaluated by one compiled call, and a trajectory
of many steps by one more: without the interpreter, without its lock, and without allocating. Whatever else a posterior
is made of is evaluated part by part, with the same results to rounding.

The compiled code itself is in :mod:`bayesflex.posterior_kernels`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.beads import NO_BEADS, BeadArrays, BeadLikelihood
from bayesflex.deformation import Deformation
from bayesflex.desk import Desk
from bayesflex.energy.angles import Angles
from bayesflex.energy.bonds import Bonds
from bayesflex.energy.contacts import NativeContacts
from bayesflex.energy.dihedrals import Dihedrals
from bayesflex.energy.excluded_volume import ExcludedVolume, RepulsionArrays
from bayesflex.likelihood.gaussian import GaussianLikelihood
from bayesflex.likelihood.half_maps import HalfMapLikelihood
from bayesflex.likelihood.marginal import MarginalLikelihood
from bayesflex.mcmc.compiled_mass import MassArrays, compiled_mass
from bayesflex.mcmc.integrators import LEAPFROG, LeapfrogResult
from bayesflex.mcmc.masses import Mass
from bayesflex.overlap.pairs import NO_PAIRS, PairOverlap
from bayesflex.overlap.tiles import NO_TILES
from bayesflex.posterior_kernels import (
    AT_REST,
    DONE,
    FORMS,
    LIST_REPULSION,
    LIST_TILES,
    LOST_DENSITY,
    LOST_POSITION,
    NO_TERMS,
    LikelihoodArrays,
    PosteriorArrays,
    PriorArrays,
    Workspace,
    help_at,
    integrate,
)
from bayesflex.protocols import EnergyTerm, Evaluation, Likelihood, PosteriorDetails
from bayesflex.simd import (
    MARGIN,
    aligned_zeros,
)
from bayesflex.team import Team

Array = NDArray[np.float64]


class CompiledPosterior:
    """A posterior whose parts are all known to the compiled code.

    Made by :func:`compiled_posterior`. It shares the parts' workspaces and neighbour lists, and is as little for use by
    two threads at once as they are.
    """

    def __init__(
        self,
        likelihood: GaussianLikelihood | MarginalLikelihood | HalfMapLikelihood | None,
        overlap: PairOverlap | None,
        beads: BeadArrays,
        terms: dict[type, Any],
        deformation: Deformation,
        thermal_energy: float,
        centre: Array,
        centre_sd: float,
        team: Team | None = None,
    ) -> None:
        shape = deformation.start.shape
        repulsion = terms.get(ExcludedVolume) or NoRepulsion(len(deformation.start))
        self._overlap, self._repulsion = overlap, repulsion

        def arrays(kind: type) -> Any:
            return terms[kind].arrays if kind in terms else NO_TERMS[kind]

        self._arrays = PosteriorArrays(
            deformation.arrays,
            PriorArrays(
                bonds=arrays(Bonds),
                angles=arrays(Angles),
                dihedrals=arrays(Dihedrals),
                contacts=arrays(NativeContacts),
                repulsion=repulsion.arrays,
                repulsion_reference=repulsion.neighbours.reference,
                repulsion_slack2=repulsion.neighbours.slack2,
                thermal_energy=float(thermal_energy),
                centre=np.array(centre, dtype=np.float64),
                centre_precision=1.0 / centre_sd**2,
            ),
            LikelihoodArrays(
                form=FORMS[type(likelihood)],
                parameters=np.zeros(3) if likelihood is None else likelihood.parameters,
                map_power=float(overlap.map_power) if overlap is not None else 0.0,
                beads=beads,
                tiles=NO_TILES if overlap is None else overlap.tiles.arrays,
                overlap=NO_PAIRS if overlap is None else overlap.arrays,
            ),
        )
        n_beads = 0 if beads.on_ca else len(beads.residue)
        n_dim = deformation.n_dim
        rows = (shape[0] + MARGIN, 3)
        self._n = shape[0]
        self._work = Workspace(
            aligned_zeros(*rows),
            aligned_zeros(*rows),
            np.zeros((n_beads, 3)),
            np.zeros((n_beads, 3)),
            np.zeros(n_dim),
            np.zeros(1),
        )
        self._n_parts = 0 if overlap is None else overlap.n_parts
        self._team = team if self._n_parts > 1 else None
        self._desk = self._new_desk()
        self._mass: Mass | None = None
        self._mass_arrays: MassArrays | None = None

    def __call__(self, position: Array) -> Evaluation:
        """Evaluate the log density and its gradient at a flat vector, shape (n_dim,)."""
        position = np.ascontiguousarray(position, dtype=np.float64)
        gradient = np.empty_like(position)
        state, _, log_density, log_likelihood, energy = self._advance(
            position, self._work.velocity, gradient, 0.0, 1, LEAPFROG, 0, AT_REST
        )
        if state != DONE:
            gradient[:] = 0.0
        return Evaluation(log_density, gradient, self._details(log_likelihood, energy))

    def _advance(
        self,
        position: Array,
        momentum: Array,
        gradient: Array,
        step_size: float,
        n_steps: int,
        outer_kick: float,
        step: int,
        mass: MassArrays,
    ) -> tuple[int, int, float, float, float]:
        """Make the steps, as many calls as it takes for lists of neighbours.

        The numbers are the same to the bit, whoever does the sums.
        """
        while True:
            current, desk = self._current(), self._desk
            with desk.at_work(partial(help_at, current.prior, current.likelihood, self._work, desk.array)):
                state, step, *values = integrate(
                    position,
                    momentum,
                    gradient,
                    step_size,
                    n_steps,
                    outer_kick,
                    step,
                    current,
                    mass,
                    self._work,
                    desk.array,
                )
            if state not in (LIST_REPULSION, LIST_TILES):
                return state, step, *values
            self._build(state)

    def integrate(
        self,
        position: Array,
        momentum: Array,
        evaluation: Evaluation,
        step_size: float,
        n_steps: int,
        mass: Mass,
        outer_kick: float = LEAPFROG,
    ) -> LeapfrogResult | None:
        """Make the steps of :func:`bayesflex.mcmc.integrators.leapfrog`; None where the mass is not known."""
        if mass is not self._mass:
            self._mass, self._mass_arrays = mass, compiled_mass(mass)
        if self._mass_arrays is None:
            return None
        position, momentum, gradient = position.copy(), momentum.copy(), evaluation.gradient.copy()
        state, step, log_density, log_likelihood, energy = self._advance(
            position, momentum, gradient, step_size, n_steps, outer_kick, -1, self._mass_arrays
        )
        if state == LOST_POSITION:
            return LeapfrogResult(position, momentum, evaluation, step, True)
        details = self._details(log_likelihood, energy)
        if state == LOST_DENSITY:
            lost = Evaluation(-math.inf, np.zeros_like(gradient), details)
            return LeapfrogResult(position, momentum, lost, step + 1, True)
        return LeapfrogResult(position, momentum, Evaluation(log_density, gradient, details), n_steps, False)

    def _details(self, log_likelihood: float, energy: float) -> PosteriorDetails:
        return PosteriorDetails(self._work.coords[: self._n].copy(), log_likelihood, energy)

    def _build(self, state: int) -> None:
        if state == LIST_TILES:
            if self._overlap is not None:
                self._overlap.tiles.build()
        else:
            self._repulsion.update(self._work.coords[: self._n])

    def _new_desk(self) -> Desk:
        # The energy is a task like each part of the sums.
        return Desk(1 + self._n_parts, self._team)

    def _current(self) -> PosteriorArrays:
        """Return the arrays with the lists as they are now: others who share them may have had them built anew."""
        deformation, prior, likelihood = self._arrays
        if self._repulsion.arrays is not prior.repulsion:
            prior = prior._replace(
                repulsion=self._repulsion.arrays, repulsion_reference=self._repulsion.neighbours.reference
            )
        if self._overlap is not None and self._overlap.tiles.arrays is not likelihood.tiles:
            likelihood = likelihood._replace(tiles=self._overlap.tiles.arrays)
        if prior is not self._arrays.prior or likelihood is not self._arrays.likelihood:
            self._arrays = PosteriorArrays(deformation, prior, likelihood)
            # Helpers know the lists as they were.
            self._desk.close()
            self._desk = self._new_desk()
        return self._arrays


class NoRepulsion:
    """Excluded volume that is not there: its list holds for ever."""

    def __init__(self, n_beads: int) -> None:
        self.arrays = RepulsionArrays(
            np.zeros(0, np.int32),
            np.zeros(0, np.int32),
            np.zeros(n_beads + 1, np.int64),
            np.zeros(0, np.int32),
            np.zeros(0),
            0.0,
        )
        self.neighbours = self
        self.reference, self.slack2 = np.zeros((n_beads, 3)), math.inf

    def update(self, coords: Array) -> bool:
        """Return that the list could be built: there is nothing to list."""
        return True


def compiled_posterior(
    likelihood: Likelihood | None,
    terms: Sequence[EnergyTerm],
    deformation: Deformation,
    thermal_energy: float,
    centre: Array,
    centre_sd: float,
    team: Team | None = None,
) -> CompiledPosterior | None:
    """Return a posterior in compiled form, or None where a part of it is not one that the compiled code knows.

    Parameters are those of :class:`bayesflex.posterior.Posterior`.
    """
    by_kind = {type(term): term for term in terms}
    n_beads = len(deformation.start)
    known = {*NO_TERMS, ExcludedVolume}
    if (
        len(by_kind) < len(terms)
        or not by_kind.keys() <= known
        or any(getattr(term, "n_beads", 0) != n_beads for term in terms)
    ):
        return None
    beads = NO_BEADS
    if isinstance(likelihood, BeadLikelihood):
        beads, likelihood = likelihood.beads.arrays, likelihood.likelihood
    overlap = None
    if likelihood is not None:
        if not isinstance(likelihood, GaussianLikelihood | MarginalLikelihood | HalfMapLikelihood):
            return None
        if not isinstance(likelihood.overlap, PairOverlap):
            return None
        overlap = likelihood.overlap
        if overlap.n_beads != (n_beads if beads.on_ca else len(beads.residue)):
            return None
    return CompiledPosterior(likelihood, overlap, beads, by_kind, deformation, thermal_energy, centre, centre_sd, team)
