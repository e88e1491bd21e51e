"""What scatters, settled once before the chains of a fit run: side chains, and density that the model does not explain.

A pilot goes from the start to the map. There the beads of side chains settle, and density that no part of the model
explains gets beads of its own. Both are then frozen: the posterior that the chains sample is one and the same for all
of them, from the first iteration to the last.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayesflex.beads import BeadLikelihood, BeadModel
from bayesflex.deformation import APPROACHES
from bayesflex.errors import InputError
from bayesflex.expected_side_chains import ExpectedSideChains, expected_side_chains
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

#: Side chains are expected elsewhere than the start has them in maps of this resolution, Å, or a better one: blurred
#: ones do not tell.
_SIDE_CHAINS_SEEN = 7.0

#: By so many nats for each residue the start's places must be better than the expected ones in large models: side
#: chains that settle about wrong CA explain what is not theirs. At 5 Å p97 going back is 0.1 better about the start's,
#: 0.16 Å further from the answer; started at the answer, whose side chains are right, 1.0 better.
_LEAST_BETTER = 0.25

#: Rounds of sites with expected side chains, and side chains that settle about them.
_EXPECTED_ROUNDS = 2

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
    sites
        Where chains set out, shape (n_ca, 3), Å, or None where they begin at their own starts.
    """

    coefficients: Array
    unmodelled: Array | None = None
    places: tuple[UnmodelledPlace, ...] = ()
    moved: float = 0.0
    sites: Array | None = None

    def applied_to(self, problem: Problem) -> Problem:
        """Return a problem with these scatterers."""
        beads = replace(problem.beads, coefficients=self.coefficients)
        return replace(problem, beads=beads, target=replace(problem.target, unmodelled=self.unmodelled))

    @property
    def messages(self) -> tuple[str, ...]:
        """Sentences on what was found; those on unmodelled density are warnings."""
        if self.moved == 0.0:
            return ()
        settled = f"side chains: settled in the map, {self.moved:.2f} Å from where the start has them (RMS)"
        return (settled,) if self.sites is None else (settled, "chains set out from where side chains settled")

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
    return problem.config.unmodelled and not problem.is_large


class _Found(NamedTuple):
    """Sites, (n_ca, 3) in Å, the beads that ride on them, and their log density, nats."""

    sites: Array
    beads: BeadModel
    log_density: float


class _Settling:
    """Settles the scatterers of one problem."""

    def __init__(self, problem: Problem, stages: Sequence[Stage], team: Team) -> None:
        self._problem, self._stages, self._team = problem, stages, team
        self._terms = [term.clone() for term in problem.terms]
        self._spreads = bead_spreads(problem.beads, problem.ca)
        if not problem.config.side_chains:
            self._spreads = np.zeros_like(self._spreads)
        self._rides = problem.beads  # from where the beads settle

    def run(self, pilot: Array, likelihood: Likelihood) -> Scatterers:
        """Return what scatters where the pilot arrived; as the start has it where it did not arrive."""
        likelihood = likelihood.clone()
        pilot, (sites, beads, _) = self._more_probable(pilot, likelihood)
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
            sites, beads, _ = self._settled(pilot, self._with(free.rendered(weights)))
            comparison = self._comparison(sites, beads)
        kept = free.heavier_than(_LEAST_WEIGHT, weights)
        if np.any(kept != weights):
            there = self._with(free.rendered(kept)) if kept.any() else likelihood
            sites, beads, _ = self._settled(pilot, there)
        if not kept.any():
            return self._scatterers(sites, beads)
        places = free.places(kept, sites, self._problem.ca.residue_labels)
        return replace(self._scatterers(sites, beads), unmodelled=free.rendered(kept), places=tuple(places))

    def _more_probable(self, pilot: Array, likelihood: Likelihood) -> tuple[Array, _Found]:
        """Return from where to settle, and what settles: from the start's side chains, or from expected ones.

        In some pairs of conformations side chains stay, in others they do not: which the log density tells once they
        have settled, about the one place or the other, with the same freedom.
        """
        problem = self._problem
        expected = expected_side_chains(problem.beads, problem.ca) if self._spreads.any() else None
        if expected is None or problem.config.resolution > _SIDE_CHAINS_SEEN:
            return pilot, self._settled(pilot, likelihood)
        begin, rides, found = self._expecting(expected, pilot, likelihood)
        own = self._settled(pilot, likelihood)
        margin = _LEAST_BETTER * len(pilot) if problem.is_large else 0.0
        if own.log_density > found.log_density + margin:
            return pilot, own
        self._rides = rides
        return begin, found

    def _expecting(
        self, expected: ExpectedSideChains, sites: Array, likelihood: Likelihood
    ) -> tuple[Array, BeadModel, _Found]:
        """Return where sites go with expected side chains, the beads that ride then, and what settles from there."""
        problem = self._problem
        for _ in range(_EXPECTED_ROUNDS):
            rides = expected.at(problem.beads, sites)
            wide = problem.target.likelihood(
                problem.config, expected.widened(rides), problem.config.resolution, sites, "pairs"
            )
            begin = self._relaxed(sites, wide)
            found = self._freed(begin, rides, likelihood)
            sites = found.sites
        return begin, rides, found

    def _settled(self, pilot: Array, likelihood: Likelihood) -> _Found:
        """Return what settles from where the pilot arrived.

        The sites go first, with the beads as they ride: what is still on its way must not be taken for another side
        chain. Nor must what copies of a chain do not have in common.
        """
        riding = BeadLikelihood(self._rides, _of_beads(likelihood).likelihood)
        return self._freed(self._relaxed(pilot, riding), self._rides, riding)

    def _relaxed(self, sites: Array, likelihood: Likelihood) -> Array:
        """Return where the sites go while all beads ride, copies alike where that is more probable, (n_ca, 3), Å."""
        riding = self._density_of(_of_beads(likelihood), np.zeros_like(self._spreads))
        sites = settled(riding, sites).sites
        return SteeredStage(self._problem, self._stages[-1], likelihood, self._terms, team=self._team).agreed(sites)

    def _freed(self, sites: Array, rides: BeadModel, likelihood: Likelihood) -> _Found:
        """Return what settles from sites on, with the beads free about the places where they ride."""
        if not self._spreads.any():
            return _Found(sites, rides, -math.inf)
        free = BeadLikelihood(rides, _of_beads(likelihood).likelihood)
        found = settled(self._density_of(free, self._spreads), sites)
        return _Found(found.sites, displaced(rides, found.sites, found.positions), found.log_density)

    def _density_of(self, likelihood: BeadLikelihood, spreads: Array) -> SettlingDensity:
        return SettlingDensity(likelihood, self._terms, thermal_energy(self._problem.config.temperature), spreads)

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
        arrived = sites if self._problem.is_large else None
        away = beads.place(sites)[free] - self._problem.beads.place(sites)[free]
        return Scatterers(beads.coefficients, moved=float(np.sqrt(np.mean(np.sum(away**2, axis=1)))), sites=arrived)


def _of_beads(likelihood: Likelihood) -> BeadLikelihood:
    if not isinstance(likelihood, BeadLikelihood):
        raise TypeError(f"expected a likelihood of beads, got {type(likelihood).__name__}")
    return likelihood


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
            sites=np.zeros((0, 3)) if found.sites is None else found.sites,
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
            sites = saved["sites"]
            return Scatterers(
                saved["coefficients"],
                unmodelled if unmodelled.size else None,
                places,
                float(saved["moved"]),
                sites if sites.size else None,
            )
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a file of settled scatterers ({error}); begin the fit anew") from None
