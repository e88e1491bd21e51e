"""Masses matched to a posterior: how fast a chain moves along modes, displacements and motions as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bayesflex.chain import BONDED_REACH, CHAIN_BREAK
from bayesflex.deformation import Deformation
from bayesflex.energy import CHAIN_TERMS
from bayesflex.errors import ConfigError
from bayesflex.mcmc.adaptation import largest_eigenvalue
from bayesflex.mcmc.masses import BandedMass, BlockMass, DenseMass, DiagonalMass, Mass
from bayesflex.posterior import Posterior
from bayesflex.protocols import EnergyTerm
from bayesflex.steering import restored

Array = NDArray[np.float64]

#: Along modes the chain is as fast as in a direction this much softer than the stiffest one. A trajectory of twenty
#: steps of 1/√λ then turns the modes' phase by about 5.
_MODE_SPEED = 1.0 / 16.0

#: No mode counts as softer than this fraction of the stiffest direction: far from the answer some are unstable.
_SOFTEST = 1e-5

#: The curvature that the band does not hold, of contacts and density, counts at least this for each bead (nats/Å²).
_LEAST_CURVATURE = 0.2

#: Largest curvature that contacts and density add to the motion of a bead against the next one along the chain,
#: nats/Å². Of 0, 10 and 30 it gave the most effective draws of amplitudes for p97, GroEL and AdK together.
_COUPLING = 10.0

#: Random vectors with which it is measured, and the displacement for the differences of gradients (Å).
_N_PROBES, _PROBE = 24, 0.05

#: Displacements for differences of the gradient: amplitudes and translations in Å, rotations in radians.
_SHIFT, _TURN = 0.1, 1e-3

#: Displacement for the differences of the chain's own terms, Å.
_DIFFERENCE = 1e-4


def matched_mass(posterior: Posterior, theta: Array, rng: Generator) -> BlockMass:
    """Return masses matched to the posterior's curvature at a position.

    The mass of local displacements is the Hessian of the terms along the chain, a band, plus what the rest curves by,
    as a diagonal and a coupling of each bead to the next: bonds, much stiffer than all else, then do not hold up the
    other motions. The other blocks are those of :func:`with_matched_blocks`.

    Parameters
    ----------
    posterior
        Log density of a deformation's unknowns.
    theta
        Position, shape (n_dim,).
    rng
        For the diagonal and the power iteration.

    Raises
    ------
    SamplingError
        If the gradient is not finite around the position.
    """
    if not posterior.deformation.has_displacements:
        return with_matched_blocks(posterior, theta, None, rng)
    free = _over_coordinates(posterior, theta)
    return with_matched_blocks(posterior, theta, _chain_mass(free, rng), rng)


def unit_mass(posterior: Posterior, theta: Array, rng: Generator) -> BlockMass:
    """Return unit masses of local displacements, with the other blocks of :func:`with_matched_blocks`.

    Parameters and errors are those of :func:`matched_mass`.
    """
    part = posterior.deformation.displacements
    displacements = DiagonalMass.uniform(part.stop - part.start) if part.stop > part.start else None
    return with_matched_blocks(posterior, theta, displacements, rng)


def with_matched_blocks(posterior: Posterior, theta: Array, displacements: Mass | None, rng: Generator) -> BlockMass:
    """Return a mass of local displacements completed by masses of amplitudes, rotation and translation.

    In (q, x) the structure moves with the inverse mass ``M_x⁻¹ + Aᵀ M_q⁻¹ A``. M_q⁻¹ is the inverse of the curvature
    along the modes, measured by gradient differences, so that all modes move at one speed, faster than local
    displacements would carry them; likewise for rotation and translation, and for the motions of rigid bodies together.
    Where there are bodies and no local displacements one block holds all unknowns: modes and bodies make much the same
    motions, and only a full matrix tells them apart. With bodies unknowns are scaled, before they are compared, by how
    far each moves the structure: a translation by the root of the mass (number of residues), a rotation by the root of
    the moment of inertia.

    Parameters
    ----------
    posterior, theta, rng
        As for :func:`matched_mass`.
    displacements
        Mass of the local displacements; None where there are none.

    Raises
    ------
    SamplingError
        If the gradient is not finite around the position.
    """
    deformation = posterior.deformation
    # Without local displacements the blocks need only agree with each other.
    stiffest = None
    if displacements is not None and len(deformation.parts) > 1:
        free = _over_coordinates(posterior, theta)
        stiffest = largest_eigenvalue(free, np.zeros(displacements.n_dim), displacements, rng)
    blocks: list[tuple[slice, Mass]] = []
    for part in _blocks(deformation):
        if displacements is not None and part == deformation.displacements:
            blocks.append((part, displacements))
            continue
        curvature = _curvature(posterior, theta, part)
        lengths = np.ones(len(curvature))
        if part.stop > deformation.motions.start:
            lengths = _lengths(deformation, theta, part)
            curvature /= np.outer(lengths, lengths)
        values, vectors = np.linalg.eigh(curvature)
        values = np.abs(values)
        scale = 1.0 if stiffest is None else _MODE_SPEED * stiffest
        softest = 1e-3 * float(values.max()) + 1e-12 if stiffest is None else _SOFTEST * stiffest
        inverse = (vectors * (scale / np.maximum(values, softest))) @ vectors.T / np.outer(lengths, lengths)
        blocks.append((part, DenseMass(0.5 * (inverse + inverse.T))))
    return BlockMass(blocks)


def mass_arrays(mass: Mass) -> list[Array]:
    """Return each block's defining array: the inverse mass of a dense block, the band of a banded one."""
    if not isinstance(mass, BlockMass):
        raise TypeError(f"expected a mass made of blocks, got {type(mass).__name__}")
    arrays = []
    for _, block in mass.blocks:
        if not isinstance(block, DenseMass | BandedMass):
            raise TypeError(f"no array defines a mass of type {type(block).__name__}")
        arrays.append(block.inverse_mass if isinstance(block, DenseMass) else block.band)
    return arrays


def mass_of_arrays(deformation: Deformation, arrays: list[Array]) -> BlockMass:
    """Return the mass that :func:`mass_arrays` took apart."""
    blocks = [
        (part, BandedMass(array) if part == deformation.displacements else DenseMass(array))
        for part, array in zip(_blocks(deformation), arrays, strict=True)
    ]
    return BlockMass(blocks)


def _over_coordinates(posterior: Posterior, theta: Array) -> Posterior:
    """Return the posterior as a function of displacements from the coordinates at a position."""
    coords = posterior.deformation.coordinates(theta)
    return posterior.with_deformation(Deformation.local(coords))


def _chain_mass(free: Posterior, rng: Generator) -> BandedMass:
    """Return the mass of local displacements about the start of ``free``'s deformation."""
    coords = free.deformation.start
    along = [term for term in free.terms if term.name in CHAIN_TERMS]
    # At a hot structure some dihedrals curve downwards; at the nearest one at rest none does.
    band = _chain_hessian(along, restored(coords, along)) / free.thermal_energy
    rest = Posterior(
        free.likelihood,
        [term for term in free.terms if term.name not in CHAIN_TERMS],
        free.deformation,
        free.thermal_energy,
        free.centre,
        free.centre_sd,
        free.count,
        free.team,
    )
    # Diagonal of the Hessian by random signs (Bekas, Kokiopoulou and Saad 2007), one value per bead.
    curvature = np.zeros(coords.size)
    for _ in range(_N_PROBES):
        probe = rng.choice([-1.0, 1.0], coords.size)
        ahead, behind = rest(_PROBE * probe), rest(-_PROBE * probe)
        curvature += probe * (behind.gradient - ahead.gradient) / (2.0 * _PROBE * _N_PROBES)
    per_bead = curvature.reshape(coords.shape).mean(axis=1)
    diagonal = np.repeat(np.maximum(per_bead, _LEAST_CURVATURE), 3)
    _add_coupling(band, coords, per_bead)
    while True:
        shifted = band.copy()
        shifted[0] += diagonal
        try:
            return BandedMass(shifted)
        except ConfigError:
            diagonal *= 4.0


def _chain_hessian(terms: Sequence[EnergyTerm], coords: Array) -> Array:
    """Return the lower band of the Hessian of terms that couple beads at most ``BONDED_REACH`` bonds apart.

    Beads further apart than twice the reach are displaced at once (Curtis, Powell and Reid 1974), so that the cost
    does not grow with the chain. Shape (3 (reach + 1), 3 n): row k holds H[j + k, j] at column j.
    """
    n, period, width = len(coords), 2 * BONDED_REACH + 1, 3 * (BONDED_REACH + 1)
    band = np.zeros((width, 3 * n))
    for first in range(min(period, n)):
        for axis in range(3):
            shift = np.zeros_like(coords)
            shift[first::period, axis] = _DIFFERENCE
            change = _gradient(terms, coords + shift) - _gradient(terms, coords - shift)
            change = (change / (2.0 * _DIFFERENCE)).ravel()
            columns = 3 * np.arange(first, n, period) + axis
            for row in range(width - axis):
                inside = columns[columns + row < 3 * n]
                band[row, inside] = change[inside + row]
    return band


def _add_coupling(band: Array, coords: Array, curvature: Array) -> None:
    """Add to the lower band of a Hessian that of ½ Σ κ_j |x_j - x_{j+1}|² over beads that follow one another.

    κ_j is ``_COUPLING``, or the ``curvature`` (n,) by all that is not along the chain where that is less: loops that
    touch nothing stay free.
    """
    bonded = np.linalg.norm(np.diff(coords, axis=0), axis=1) < CHAIN_BREAK
    shared = np.clip(np.minimum(curvature[:-1], curvature[1:]), 0.0, _COUPLING)
    link = np.repeat(np.where(bonded, shared, 0.0), 3)
    band[0, : link.size] += link
    band[0, 3:] += link
    band[3, : link.size] -= link


def _gradient(terms: Sequence[EnergyTerm], coords: Array) -> Array:
    gradient = np.zeros_like(coords)
    for term in terms:
        term.add_to(coords, gradient)
    return gradient


def _blocks(deformation: Deformation) -> tuple[slice, ...]:
    """Return the places of the unknowns that have a mass of their own."""
    if deformation.n_bodies and not deformation.has_displacements:
        return (slice(0, deformation.n_dim),)
    return deformation.parts


def _steps(deformation: Deformation) -> Array:
    """Return the displacement of each unknown for differences, shape (n_dim,)."""
    steps = np.full(deformation.n_dim, _SHIFT)
    steps[deformation.rotation] = _TURN
    for first in range(deformation.motions.start, deformation.motions.stop, 6):
        steps[first : first + 3] = _TURN
    return steps


def _lengths(deformation: Deformation, theta: Array, part: slice) -> Array:
    """Return how far the structure moves with each unknown of a block, |∂r/∂theta|, in Å per unit."""
    steps = _steps(deformation)
    lengths = np.empty(part.stop - part.start)
    for index in range(part.start, part.stop):
        step = np.zeros_like(theta)
        step[index] = steps[index]
        change = deformation.coordinates(theta + step) - deformation.coordinates(theta - step)
        lengths[index - part.start] = np.linalg.norm(change) / (2.0 * steps[index])
    return np.maximum(lengths, 1e-6)


def _curvature(posterior: Posterior, theta: Array, part: slice) -> Array:
    """Return minus the Hessian of the log density within one block, by central differences of the gradient."""
    size = part.stop - part.start
    steps = _steps(posterior.deformation)[part]
    curvature = np.zeros((size, size))
    for index, displacement in enumerate(steps.tolist()):
        step = np.zeros_like(theta)
        step[part.start + index] = displacement
        ahead, behind = posterior(theta + step), posterior(theta - step)
        curvature[index] = (behind.gradient[part] - ahead.gradient[part]) / (2.0 * displacement)
    return 0.5 * (curvature + curvature.T)
