"""The posterior as compiled code: what it is made of, its evaluation, and whole trajectories on it.

Arrays are the one thing that compiled code does not make. Where the list of close CA no longer holds, or that of beads
no longer fits into its own, it says so, and goes on when the list has been built.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.beads import BeadArrays, place_beads, pull_back_beads
from bayesflex.compiling import KERNEL, PART
from bayesflex.deformation_kernels import DeformationArrays, deform, pull_back
from bayesflex.desk import lay_out, put_back, take, wait_for_all, wait_for_task
from bayesflex.energy.angles import AngleArrays, Angles, angle_energy
from bayesflex.energy.bonds import BondArrays, Bonds, bond_energy
from bayesflex.energy.contacts import ContactArrays, NativeContacts, contact_energy
from bayesflex.energy.dihedrals import DihedralArrays, Dihedrals, dihedral_energy
from bayesflex.energy.excluded_volume import RepulsionArrays, repulsion_energy
from bayesflex.likelihood.gaussian import GaussianLikelihood, gaussian_of_overlap
from bayesflex.likelihood.half_maps import HalfMapLikelihood, half_maps_of_overlap
from bayesflex.likelihood.marginal import MarginalLikelihood, marginal_of_overlap
from bayesflex.mcmc.compiled_mass import mass_at_rest, velocity
from bayesflex.mcmc.integrators import kick_share
from bayesflex.neighbours import KEEP, REBUILD, inspect
from bayesflex.overlap.pairs import PairArrays, pair_gradient, pair_parts, pair_values
from bayesflex.overlap.tiles import OUTSIDE, TileArrays, arrange, rebuild
from bayesflex.overlap.tiles import REBUILD as TILES_REBUILD
from bayesflex.simd import WIDTH, load, load_points, multiply_add, splat, store_points, total

Array = NDArray[np.float64]

#: How an evaluation ended: with a number, with a density of zero, or waiting for a list of neighbours.
DONE, ZERO, LIST_REPULSION, LIST_TILES = 0, 1, 2, 3
#: That a coordinate is not finite; and how a trajectory ended besides: with a position, or a density, that is not.
NOWHERE, LOST_POSITION, LOST_DENSITY = 4, 5, 6

NO_LIKELIHOOD, GAUSSIAN, MARGINAL, HALF_MAPS = 0, 1, 2, 3

#: A mass for evaluations, in which nothing moves.
AT_REST = mass_at_rest()
FORMS = {
    type(None): NO_LIKELIHOOD,
    GaussianLikelihood: GAUSSIAN,
    MarginalLikelihood: MARGINAL,
    HalfMapLikelihood: HALF_MAPS,
}

#: What stands for a term that is not there.
_NOTHING = np.zeros(0)
NO_TERMS: dict[type, Any] = {
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
    energy: Array  # of the prior, kcal/mol, (1,)


@njit(**PART)
def _of_overlap(form, cross, power, map_power, parameters):  # type: ignore[no-untyped-def]
    """Return the log likelihood and its derivatives by cross and power."""
    if form == GAUSSIAN:
        return gaussian_of_overlap(cross, power, map_power, parameters)
    if form == HALF_MAPS:
        return half_maps_of_overlap(cross, power, map_power, parameters)
    return marginal_of_overlap(cross, power, map_power, parameters)


@njit(**PART)
def _prepare(theta, deformation, prior, likelihood, work):  # type: ignore[no-untyped-def]
    """Place all beads; return whether they can be where they are, and whether the lists hold."""
    deform(theta, deformation, work.coords)
    state = inspect(work.coords, prior.repulsion_reference, prior.repulsion_slack2)
    if state != KEEP:
        return LIST_REPULSION if state == REBUILD else NOWHERE
    if likelihood.form != NO_LIKELIHOOD:
        if likelihood.beads.on_ca:
            state = arrange(work.coords, likelihood.tiles)
        else:
            place_beads(work.coords, likelihood.beads, work.beads)
            state = arrange(work.beads, likelihood.tiles)
        if state == OUTSIDE:
            return ZERO
        if state == TILES_REBUILD and rebuild(likelihood.tiles) > likelihood.tiles.partner.shape[0]:
            return LIST_TILES
    return DONE


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
        return ZERO, -math.inf, 0.0, math.inf
    log_density += _hold(prior, deformation.start.shape[0], work)
    log_likelihood = 0.0
    if likelihood.form != NO_LIKELIHOOD:
        cross, power, offset = pair_values(likelihood.tiles, likelihood.overlap)
        if math.isnan(cross) or not power > 0.0:
            return ZERO, -math.inf, -math.inf, energy
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
        return ZERO, -math.inf, log_likelihood, energy
    return DONE, log_density, log_likelihood, energy


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


@njit(**PART)
def _do_tasks(prior, likelihood, work, desk, energy_alone):  # type: ignore[no-untyped-def]
    """Do tasks of an evaluation until none is left: the energy, and each part of the sums over beads and pairs.

    Or the energy alone, which nobody else does then.
    """
    while True:
        task = 0 if energy_alone else take(desk)
        if task < 0:
            return
        if task == 0:
            work.energy[0] = _energy_of(prior, work)
        else:
            pair_parts(likelihood.tiles, likelihood.overlap, task - 1, task)
        if energy_alone:
            return
        put_back(desk)


@njit(**KERNEL)
def help_at(prior, likelihood, work, desk):  # type: ignore[no-untyped-def]
    """Help another thread with its evaluations, as long as it is at work."""
    while wait_for_task(desk):
        _do_tasks(prior, likelihood, work, desk, False)


@njit(**KERNEL)
def integrate(  # type: ignore[no-untyped-def]
    position, momentum, gradient, step_size, n_steps, outer_kick, step, posterior, mass, work, desk
):
    """Make leapfrog steps in place, from a step whose drift is done where it is not negative.

    Returns how it ended, the number of the step, and the log density, log likelihood and energy reached. One step of no
    length whose drift is done is an evaluation: there is one compiled function, since each costs seconds once.
    """
    # Taken apart once: the whole is hundreds of numbers, which the compiler would sort out at each use.
    deformation, prior, likelihood = posterior
    log_density = log_likelihood = energy = 0.0
    drifted = step >= 0
    step = max(step, 0)
    moved = work.velocity
    while step < n_steps:
        if not drifted:
            kick = step_size * kick_share(step, outer_kick)
            for k in range(position.shape[0]):
                momentum[k] += kick * gradient[k]
            velocity(mass, momentum, moved)
            for k in range(position.shape[0]):
                position[k] += step_size * moved[k]
            # Before the density: a NaN must never become the index of a grid or a cell list.
            if not _all_finite(position):
                return LOST_POSITION, step, log_density, log_likelihood, energy
        state = _prepare(position, deformation, prior, likelihood, work)
        if state in (LIST_REPULSION, LIST_TILES):
            return state, step, 0.0, 0.0, 0.0
        if state == NOWHERE:
            return LOST_DENSITY, step, -math.inf, 0.0, math.inf
        outside = state != DONE
        if not outside:
            lay_out(desk)
        _do_tasks(prior, likelihood, work, desk, outside)
        if outside:
            return LOST_DENSITY, step, -math.inf, -math.inf, work.energy[0]
        wait_for_all(desk)
        drifted = False
        state, log_density, log_likelihood, energy = _finish(
            position, work.energy[0], deformation, prior, likelihood, work, gradient
        )
        if state != DONE or not _all_finite(gradient):
            return LOST_DENSITY, step, -math.inf, log_likelihood, energy
        step += 1
    for k in range(position.shape[0]):
        momentum[k] += step_size * kick_share(0, outer_kick) * gradient[k]
    return DONE, step, log_density, log_likelihood, energy
