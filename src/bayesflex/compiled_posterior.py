"""The posterior as one compiled function, and whole trajectories on it.

A step of a small model takes tens of microseconds, as long as the interpreter takes to ask for it. So the usual
posterior, a likelihood over pairs of beads with the built-in prior, is evaluated by one compiled call, and a trajectory
of many steps by one more: without the interpreter, without its lock, and without allocating. Whatever else a posterior
is made of is evaluated part by part, with the same results to rounding.

Neighbour lists are the one thing that compiled code does not make: where one no longer holds it says so, and goes on
when it has been built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.beads import NO_BEADS, BeadArrays, BeadLikelihood, place_beads, pull_back_beads
from bayesflex.compiling import KERNEL, PART
from bayesflex.deformation import Deformation, DeformationArrays, deform, pull_back
from bayesflex.energy.angles import AngleArrays, Angles, angle_energy
from bayesflex.energy.bonds import BondArrays, Bonds, bond_energy
from bayesflex.energy.contacts import ContactArrays, NativeContacts, contact_energy
from bayesflex.energy.dihedrals import DihedralArrays, Dihedrals, dihedral_energy
from bayesflex.energy.excluded_volume import ExcludedVolume, RepulsionArrays, repulsion_energy
from bayesflex.likelihood.gaussian import GaussianLikelihood, gaussian_of_overlap
from bayesflex.likelihood.half_maps import HalfMapLikelihood, half_maps_of_overlap
from bayesflex.likelihood.marginal import MarginalLikelihood, marginal_of_overlap
from bayesflex.mcmc.compiled_mass import MassArrays, compiled_mass, mass_at_rest, velocity
from bayesflex.mcmc.integrators import LEAPFROG, LeapfrogResult, kick_share
from bayesflex.mcmc.masses import Mass
from bayesflex.neighbours import KEEP, REBUILD, inspect
from bayesflex.overlap.pairs import NO_PAIRS, PairArrays, PairOverlap, pair_gradient, pair_part, pair_values
from bayesflex.overlap.tiles import KEEP as TILES_KEEP
from bayesflex.overlap.tiles import NO_TILES, TileArrays, arrange
from bayesflex.overlap.tiles import REBUILD as TILES_REBUILD
from bayesflex.protocols import EnergyTerm, Evaluation, Likelihood, PosteriorDetails
from bayesflex.simd import (
    MARGIN,
    WIDTH,
    aligned_zeros,
    load,
    load_points,
    multiply_add,
    splat,
    store_points,
    total,
)
from bayesflex.team import Team

Array = NDArray[np.float64]

#: How an evaluation ended: with a number, with a density of zero, or waiting for a list of neighbours.
_DONE, _ZERO, _LIST_REPULSION, _LIST_TILES = 0, 1, 2, 3
#: That a coordinate is not finite; and how a trajectory ended besides: with a position, or a density, that is not.
_NOWHERE, _LOST_POSITION, _LOST_DENSITY = 4, 5, 6
#: Or waiting for the sums of an evaluation, which several threads share.
_SUMS = 7

#: Who does the sums of an evaluation: the one who asks for it, or several threads; and those who have done them.
_ALONE, _SHARING, _SHARED = 0, 1, 2

_NO_LIKELIHOOD, _GAUSSIAN, _MARGINAL, _HALF_MAPS = 0, 1, 2, 3

#: A mass for evaluations, in which nothing moves.
_AT_REST = mass_at_rest()
_FORMS = {
    type(None): _NO_LIKELIHOOD,
    GaussianLikelihood: _GAUSSIAN,
    MarginalLikelihood: _MARGINAL,
    HalfMapLikelihood: _HALF_MAPS,
}

#: What stands for a term that is not there.
_NOTHING = np.zeros(0)
_NO_TERMS: dict[type, Any] = {
    Bonds: BondArrays(_NOTHING, _NOTHING),
    Angles: AngleArrays(_NOTHING, _NOTHING, _NOTHING),
    Dihedrals: DihedralArrays(_NOTHING, _NOTHING, _NOTHING),
    NativeContacts: ContactArrays(
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
        np.zeros(0, np.int32),
        _NOTHING.astype(np.float32),
        _NOTHING.astype(np.float32),
        0.0,
        np.zeros((3, 0)),
    ),
}


class PriorArrays(NamedTuple):
    """The energy terms, those that are not there with arrays of no length, and what holds the whole in its place."""

    bonds: BondArrays
    angles: AngleArrays
    dihedrals: DihedralArrays
    contacts: ContactArrays
    repulsion: RepulsionArrays
    repulsion_reference: Array  # where the beads were when its list was built, (n, 3), Å
    repulsion_slack2: float  # Å²
    thermal_energy: float
    centre: Array
    centre_precision: float


class LikelihoodArrays(NamedTuple):
    """The beads and their overlap with the map, and which function of that the likelihood is."""

    form: int
    parameters: Array
    map_power: float
    beads: BeadArrays
    tiles: TileArrays
    overlap: PairArrays


class PosteriorArrays(NamedTuple):
    """All that a posterior is made of."""

    deformation: DeformationArrays
    prior: PriorArrays
    likelihood: LikelihoodArrays


class Workspace(NamedTuple):
    """Where an evaluation keeps what it needs meanwhile."""

    coords: Array  # (n + simd.MARGIN, 3), Å
    gradient: Array  # the same shape
    beads: Array  # (n_beads, 3), Å
    bead_gradient: Array  # (n_beads, 3)
    velocity: Array  # (n_dim,)


@njit(**PART)
def _of_overlap(form, cross, power, map_power, parameters):  # type: ignore[no-untyped-def]
    """Return the log likelihood and its derivatives by cross and power."""
    if form == _GAUSSIAN:
        return gaussian_of_overlap(cross, power, map_power, parameters)
    if form == _HALF_MAPS:
        return half_maps_of_overlap(cross, power, map_power, parameters)
    return marginal_of_overlap(cross, power, map_power, parameters)


@njit(**PART)
def _prepare(theta, deformation, prior, likelihood, work):  # type: ignore[no-untyped-def]
    """Place all beads; return whether they can be where they are, and whether the lists hold."""
    deform(theta, deformation, work.coords)
    state = inspect(work.coords, prior.repulsion_reference, prior.repulsion_slack2)
    if state != KEEP:
        return _LIST_REPULSION if state == REBUILD else _NOWHERE
    if likelihood.form != _NO_LIKELIHOOD:
        if likelihood.beads.on_ca:
            state = arrange(work.coords, likelihood.tiles)
        else:
            place_beads(work.coords, likelihood.beads, work.beads)
            state = arrange(work.beads, likelihood.tiles)
        if state != TILES_KEEP:
            return _LIST_TILES if state == TILES_REBUILD else _ZERO
    return _DONE


@njit(**PART)
def _energy_of(prior, work):  # type: ignore[no-untyped-def]
    """Set work's gradient to that of the energy and return the energy, kcal/mol."""
    coords, gradient = work.coords, work.gradient
    for i in range(gradient.shape[0]):
        gradient[i, 0] = gradient[i, 1] = gradient[i, 2] = 0.0
    energy = bond_energy(coords, gradient, prior.bonds)
    energy += angle_energy(coords, gradient, prior.angles)
    energy += dihedral_energy(coords, gradient, prior.dihedrals)
    energy += repulsion_energy(coords, gradient, prior.repulsion)
    energy += contact_energy(coords, gradient, prior.contacts)
    return energy


@njit(**PART)
def _hold(prior, n, work):  # type: ignore[no-untyped-def]
    """Turn work's gradient into that of the prior's log density; return the part that holds the centroid in its place.

    Eight rows at a time: what lies in the margin counts for nothing, and is kept finite.
    """
    coords, gradient, centre, precision = work.coords, work.gradient, prior.centre, prior.centre_precision
    x8 = y8 = z8 = splat(0.0)
    for i in range(0, n, WIDTH):
        bx, by, bz = load_points(coords, i)
        x8, y8, z8 = x8 + bx, y8 + by, z8 + bz
    x, y, z = total(x8) / n - centre[0], total(y8) / n - centre[1], total(z8) / n - centre[2]
    pull = precision / n
    scale8, x8, y8, z8 = splat(-1.0 / prior.thermal_energy), splat(pull * x), splat(pull * y), splat(pull * z)
    for i in range(0, n, WIDTH):
        gx, gy, gz = load_points(gradient, i)
        store_points(gradient, i, scale8 * gx - x8, scale8 * gy - y8, scale8 * gz - z8)
    return -0.5 * precision * (x * x + y * y + z * z)


@njit(**PART)
def _finish(theta, energy, deformation, prior, likelihood, work, out):  # type: ignore[no-untyped-def]
    """Set out (n_dim,) to the gradient of all; return how it ended, log density, log likelihood and energy."""
    coords, gradient = work.coords, work.gradient
    log_density = -energy / prior.thermal_energy
    if not math.isfinite(log_density):
        return _ZERO, -math.inf, 0.0, math.inf
    log_density += _hold(prior, deformation.start.shape[0], work)
    log_likelihood = 0.0
    if likelihood.form != _NO_LIKELIHOOD:
        cross, power, offset = pair_values(likelihood.tiles, likelihood.overlap)
        if math.isnan(cross) or not power > 0.0:
            return _ZERO, -math.inf, -math.inf, energy
        log_likelihood, d_cross, d_power = _of_overlap(
            likelihood.form, cross, power, likelihood.map_power, likelihood.parameters
        )
        log_density += log_likelihood
        if likelihood.beads.on_ca:
            pair_gradient(likelihood.tiles, likelihood.overlap, offset, d_cross, d_power, gradient)
        else:
            for i in range(work.bead_gradient.shape[0]):
                work.bead_gradient[i, 0] = work.bead_gradient[i, 1] = work.bead_gradient[i, 2] = 0.0
            pair_gradient(likelihood.tiles, likelihood.overlap, offset, d_cross, d_power, work.bead_gradient)
            pull_back_beads(coords, likelihood.beads, work.bead_gradient, gradient)
    log_density += pull_back(theta, coords, deformation, gradient, out)
    if not math.isfinite(log_density):
        return _ZERO, -math.inf, log_likelihood, energy
    return _DONE, log_density, log_likelihood, energy


@njit(**PART)
def _all_finite(values):  # type: ignore[no-untyped-def]
    # A sum is finite where all terms are, short of overflow, and takes no branch.
    zero = sums = splat(0.0)
    whole = values.shape[0] - values.shape[0] % WIDTH
    for k in range(0, whole, WIDTH):
        sums = multiply_add(load(values, k), zero, sums)
    rest = total(sums)
    for k in range(whole, values.shape[0]):
        rest += values[k] * 0.0
    return rest == 0.0


@njit(**KERNEL)
def _integrate(  # type: ignore[no-untyped-def]
    position, momentum, gradient, step_size, n_steps, outer_kick, step, sums, energy, posterior, mass, work
):
    """Make leapfrog steps in place, from a step whose drift is done where it is not negative.

    ``sums`` says who does the sums over beads and pairs; where they are done, ``energy`` is the prior's.

    Returns how it ended, the number of the step, and the log density, log likelihood and energy reached. One step of no
    length whose drift is done is an evaluation: there is one compiled function, since each costs seconds once.
    """
    # Taken apart once: the whole is hundreds of numbers, which the compiler would sort out at each use.
    deformation, prior, likelihood = posterior
    log_density = log_likelihood = 0.0
    drifted = step >= 0
    step = max(step, 0)
    moved = work.velocity
    while step < n_steps:
        if sums == _SHARED:
            sums = _SHARING
        else:
            if not drifted:
                kick = step_size * kick_share(step, outer_kick)
                for k in range(position.shape[0]):
                    momentum[k] += kick * gradient[k]
                velocity(mass, momentum, moved)
                for k in range(position.shape[0]):
                    position[k] += step_size * moved[k]
                # Before the density: a NaN must never become the index of a grid or a cell list.
                if not _all_finite(position):
                    return _LOST_POSITION, step, log_density, log_likelihood, energy
            state = _prepare(position, deformation, prior, likelihood, work)
            if state in (_LIST_REPULSION, _LIST_TILES):
                return state, step, 0.0, 0.0, 0.0
            if state == _NOWHERE:
                return _LOST_DENSITY, step, -math.inf, 0.0, math.inf
            if state == _DONE and sums == _SHARING:
                return _SUMS, step, 0.0, 0.0, 0.0
            energy = _energy_of(prior, work)
            if state != _DONE:
                return _LOST_DENSITY, step, -math.inf, -math.inf, energy
            if likelihood.form != _NO_LIKELIHOOD and math.isfinite(energy):
                for part in range(likelihood.overlap.powers.shape[0]):
                    pair_part(likelihood.tiles, likelihood.overlap, part)
        drifted = False
        state, log_density, log_likelihood, energy = _finish(
            position, energy, deformation, prior, likelihood, work, gradient
        )
        if state != _DONE or not _all_finite(gradient):
            return _LOST_DENSITY, step, -math.inf, log_likelihood, energy
        step += 1
    for k in range(position.shape[0]):
        momentum[k] += step_size * kick_share(0, outer_kick) * gradient[k]
    return _DONE, step, log_density, log_likelihood, energy


@njit(**KERNEL)
def _energy_kernel(prior, work):  # type: ignore[no-untyped-def]
    # As a function of its own, for several threads.
    return _energy_of(prior, work)


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
        repulsion = terms.get(ExcludedVolume) or _NoRepulsion(len(deformation.start))
        self._overlap, self._repulsion = overlap, repulsion

        def arrays(kind: type) -> Any:
            return terms[kind].arrays if kind in terms else _NO_TERMS[kind]

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
                form=_FORMS[type(likelihood)],
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
            aligned_zeros(*rows), aligned_zeros(*rows), np.zeros((n_beads, 3)), np.zeros((n_beads, 3)), np.zeros(n_dim)
        )
        self._n_parts = 0 if overlap is None else overlap.n_parts
        self._team = team if self._n_parts > 1 else None
        self._mass: Mass | None = None
        self._mass_arrays: MassArrays | None = None

    def __call__(self, position: Array) -> Evaluation:
        """Evaluate the log density and its gradient at a flat vector, shape (n_dim,)."""
        position = np.ascontiguousarray(position, dtype=np.float64)
        gradient = np.empty_like(position)
        state, _, log_density, log_likelihood, energy = self._advance(
            position, self._work.velocity, gradient, 0.0, 1, LEAPFROG, 0, _AT_REST
        )
        if state != _DONE:
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
        """Make the steps, as many calls as it takes: for lists of neighbours, and for sums shared among threads.

        The numbers are the same to the bit, whoever does the sums.
        """
        usual = _ALONE if self._team is None else _SHARING
        sums, energy = usual, 0.0
        while True:
            state, step, *values = _integrate(
                position,
                momentum,
                gradient,
                step_size,
                n_steps,
                outer_kick,
                step,
                sums,
                energy,
                self._current(),
                mass,
                self._work,
            )
            sums = usual
            if state == _SUMS and self._team is not None:
                sums, energy = _SHARED, self._sum(self._team)
            elif state in (_LIST_REPULSION, _LIST_TILES):
                self._build(state)
            else:
                return state, step, *values

    def _sum(self, team: Team) -> float:
        """Do the sums where the beads have been placed, shared among several threads; return the prior's energy."""
        (_, prior, likelihood), work = self._current(), self._work
        energy: list[float] = []
        tasks: list[Callable[[], object]] = [lambda: energy.append(_energy_kernel(prior, work))]
        tasks += [partial(pair_part, likelihood.tiles, likelihood.overlap, part) for part in range(self._n_parts)]
        team.run(tasks)
        return energy[0]

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
        if state == _LOST_POSITION:
            return LeapfrogResult(position, momentum, evaluation, step, True)
        details = self._details(log_likelihood, energy)
        if state == _LOST_DENSITY:
            lost = Evaluation(-math.inf, np.zeros_like(gradient), details)
            return LeapfrogResult(position, momentum, lost, step + 1, True)
        return LeapfrogResult(position, momentum, Evaluation(log_density, gradient, details), n_steps, False)

    def _details(self, log_likelihood: float, energy: float) -> PosteriorDetails:
        return PosteriorDetails(self._work.coords[: self._n].copy(), log_likelihood, energy)

    def _build(self, state: int) -> None:
        if state == _LIST_TILES:
            if self._overlap is not None:
                self._overlap.tiles.build()
        else:
            self._repulsion.update(self._work.coords[: self._n])

    def _current(self) -> PosteriorArrays:
        """Return the arrays with the lists as they are now: others who share them may have had them built anew."""
        deformation, prior, likelihood = self._arrays
        if self._repulsion.arrays is not prior.repulsion:
            prior = prior._replace(
                repulsion=self._repulsion.arrays, repulsion_reference=self._repulsion.neighbours.reference
            )
            self._arrays = PosteriorArrays(deformation, prior, likelihood)
        if self._overlap is not None and self._overlap.tiles.arrays is not likelihood.tiles:
            likelihood = likelihood._replace(tiles=self._overlap.tiles.arrays)
            self._arrays = PosteriorArrays(deformation, prior, likelihood)
        return self._arrays


class _NoRepulsion:
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
    known = {*_NO_TERMS, ExcludedVolume}
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
