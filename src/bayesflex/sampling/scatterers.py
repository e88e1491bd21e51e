"""What scatters, settled once before the chains of a fit run: side chains, and density that the model does not explain.

A pilot goes from the start to the map. There the beads of side chains settle, and density that no part of the model
explains gets beads of its own. Both are then frozen: the posterior that the chains sample is one and the same for all
of them, from the first iteration to the last.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayesflex.beads import BeadLikelihood, BeadModel
from bayesflex.deformation import APPROACHES
from bayesflex.errors import InputError
from bayesflex.io.atomic import atomic_path
from bayesflex.likelihood.gaussian import GaussianLikelihood
from bayesflex.map_comparison import Comparison
from bayesflex.posterior_predictive import check_residual
from bayesflex.protocols import Likelihood
from bayesflex.sampling.pilot import steered
from bayesflex.sampling.problem import Problem, Stage
from bayesflex.sampling.run import last_likelihood, thread_count
from bayesflex.sampling.steered_stage import SteeredStage
from bayesflex.side_chains import SettlingDensity, bead_spreads, displaced, settled
from bayesflex.softening import MOST_SITES
from bayesflex.team import Team
from bayesflex.units import thermal_energy
from bayesflex.unmodelled_density import FreeBeads, UnmodelledPlace, seeds, unsupported_share

Array = NDArray[np.float64]

#: Rounds of free beads and model in turn: what a model has flowed into it gives back bit by bit.
_ROUNDS = 6

#: Larger models get no free beads: for p97's 4368 residues their rounds took 150 s of processor time and won 0.02 Å.
_MOST_WITH_FREE = 2000

#: A place with less than this, in residues, keeps no beads of its own: a ligand of seven heavy atoms is one.
_LEAST_WEIGHT = 1.0

#: Where more of the model than this share has no density, the pilot has not arrived, and nothing is given away. In
#: pilots that had arrived it is 0.2 % and less; in RF2's, which ends elsewhere, 8 %, and in the cut-out map of the
#: mitoribosomal chain, which holds its neighbours, 15 %.
_MOST_UNSUPPORTED = 0.02


@dataclass(frozen=True, eq=False)
class Scatterers:
    """What a pilot settled.

    Parameters
    ----------
    coefficients
        Of the beads, shape (n_beads, 3): see :class:`~bayesflex.beads.BeadModel`.
    unmodelled
        Density that stands still, on the working grid, (nz, ny, nx), or None.
    places
        Where that is, the heaviest place first.
    moved
        Root mean square displacement of the beads that could settle, Å; 0 where none could.
    """

    coefficients: Array
    unmodelled: Array | None = None
    places: tuple[UnmodelledPlace, ...] = ()
    moved: float = 0.0

    def applied_to(self, problem: Problem) -> Problem:
        """Return a problem with these scatterers."""
        beads = replace(problem.beads, coefficients=self.coefficients)
        return replace(problem, beads=beads, target=replace(problem.target, unmodelled=self.unmodelled))

    @property
    def messages(self) -> tuple[str, ...]:
        """Sentences on what was found; those on unmodelled density are warnings."""
        if self.moved == 0.0:
            return ()
        return (f"side chains: settled in the map, {self.moved:.2f} Å from where the start has them (RMS)",)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must know: the map holds what the model does not."""
        return tuple(
            "The map holds density that no part of the model explains, about as much as that of "
            f"{place.weight:.1f} residues, at {place.position[0]:.0f}, {place.position[1]:.0f}, "
            f"{place.position[2]:.0f} Å, {place.distance:.0f} Å from {place.residue}: a ligand or residues that the "
            "model lacks? It is accounted for by itself and does not pull at the model; --no-unmodelled lets it."
            for place in self.places
        )


def settle_scatterers(
    problem: Problem,
    stages: Sequence[Stage],
    likelihoods: Sequence[Likelihood],
    start: Array,
) -> Scatterers:
    """Return what scatters, as a pilot from a start finds it; deterministic.

    Parameters
    ----------
    problem
        What is fitted, with the start's scatterers.
    stages, likelihoods
        Of the warm-up.
    start
        Where the pilot begins, shape (n_ca, 3), Å.
    """
    with threadpool_limits(1), Team(thread_count(problem.config)) as team, team.working():
        pilot = steered(problem, stages, likelihoods, start, team)
        return _Settling(problem, stages, team).run(pilot, likelihoods[-1])


def can_settle(problem: Problem) -> bool:
    """Return whether a pilot could change anything: residues must be free to move and scatter off their sites.

    The paper's model, unit beads and a known noise level, is left as it is, and so are models too large for a pilot.
    """
    config = problem.config
    return (
        (config.side_chains or _looks_for_unmodelled(problem))
        and APPROACHES[config.deformation][1]
        and not problem.beads.on_ca
        and len(problem.start) <= MOST_SITES
        and config.likelihood != GaussianLikelihood.name
    )


def _looks_for_unmodelled(problem: Problem) -> bool:
    return problem.config.unmodelled and len(problem.start) <= _MOST_WITH_FREE


class _Settling:
    """Settles the scatterers of one problem."""

    def __init__(self, problem: Problem, stages: Sequence[Stage], team: Team) -> None:
        self._problem, self._stages, self._team = problem, stages, team
        self._terms = [term.clone() for term in problem.terms]
        self._spreads = bead_spreads(problem.beads, problem.ca)
        if not problem.config.side_chains:
            self._spreads = np.zeros_like(self._spreads)

    def run(self, pilot: Array, likelihood: Likelihood) -> Scatterers:
        """Return what scatters where the pilot arrived; as the start has it where it did not arrive."""
        sites, beads = self._settled(pilot, likelihood)
        comparison = self._comparison(sites, beads)
        residual = check_residual(comparison, [sites])
        if unsupported_share(residual, beads) > _MOST_UNSUPPORTED:
            return Scatterers(self._problem.beads.coefficients)
        if not _looks_for_unmodelled(self._problem):
            return self._scatterers(sites, beads)
        seed, n_seeds = seeds(residual)
        if n_seeds == 0:
            return self._scatterers(sites, beads)
        free = FreeBeads(self._problem.target, seed, self._problem.beads.place(pilot), self._problem.config.resolution)
        weights = np.zeros(len(free.positions))
        for _ in range(_ROUNDS if len(weights) else 0):
            weights = free.fitted(comparison, self._density(sites, beads), weights)
            sites, beads = self._settled(pilot, self._with(free.rendered(weights)))
            comparison = self._comparison(sites, beads)
        kept = free.heavier_than(_LEAST_WEIGHT, weights)
        if np.any(kept != weights):
            sites, beads = self._settled(pilot, self._with(free.rendered(kept)) if kept.any() else likelihood)
        if not kept.any():
            return self._scatterers(sites, beads)
        places = free.places(kept, sites, self._problem.ca.residue_labels)
        return replace(self._scatterers(sites, beads), unmodelled=free.rendered(kept), places=tuple(places))

    def _settled(self, pilot: Array, likelihood: Likelihood) -> tuple[Array, BeadModel]:
        """Return sites and beads, from where the pilot arrived.

        The sites go first, with the beads as the start has them: what is still on its way must not be taken for another
        side chain. Nor must what copies of a chain do not have in common.
        """
        if not isinstance(likelihood, BeadLikelihood):
            raise TypeError(f"expected a likelihood of beads, got {type(likelihood).__name__}")
        energy = thermal_energy(self._problem.config.temperature)
        likelihood, beads = likelihood.clone(), self._problem.beads
        riding = SettlingDensity(likelihood, self._terms, energy, np.zeros_like(self._spreads))
        sites = settled(riding, pilot)[0]
        sites = SteeredStage(self._problem, self._stages[-1], likelihood, self._terms, team=self._team).agreed(sites)
        if not self._spreads.any():
            return sites, beads
        sites, positions = settled(SettlingDensity(likelihood, self._terms, energy, self._spreads), sites)
        return sites, displaced(beads, sites, positions)

    def _with(self, unmodelled: Array) -> Likelihood:
        target = replace(self._problem.target, unmodelled=unmodelled)
        return last_likelihood(replace(self._problem, target=target), self._stages)

    def _density(self, sites: Array, beads: BeadModel) -> Array:
        return self._problem.target.simulated(beads.place(sites), beads.weights, beads.classes)

    def _comparison(self, sites: Array, beads: BeadModel) -> Comparison:
        return Comparison(self._problem.target, self._problem.config, beads, self._problem.start, sites)

    def _scatterers(self, sites: Array, beads: BeadModel) -> Scatterers:
        free = self._spreads > 0.0
        if not free.any():
            return Scatterers(self._problem.beads.coefficients)
        away = beads.place(sites)[free] - self._problem.beads.place(sites)[free]
        return Scatterers(beads.coefficients, moved=float(np.sqrt(np.mean(np.sum(away**2, axis=1)))))


def save_scatterers(found: Scatterers, path: Path) -> None:
    """Write scatterers, for a fit that is resumed.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    unmodelled = np.zeros((0, 0, 0)) if found.unmodelled is None else found.unmodelled
    places = np.array(json.dumps([asdict(place) for place in found.places]))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            coefficients=found.coefficients,
            unmodelled=unmodelled,
            places=places,
            moved=found.moved,
        )


def load_scatterers(path: Path) -> Scatterers:
    """Read what :func:`save_scatterers` wrote.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as saved:
            unmodelled = saved["unmodelled"]
            places = tuple(
                UnmodelledPlace(**place | {"position": tuple(place["position"])})
                for place in json.loads(str(saved["places"]))
            )
            return Scatterers(
                saved["coefficients"], unmodelled if unmodelled.size else None, places, float(saved["moved"])
            )
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a file of settled scatterers ({error}); begin the fit anew") from None
