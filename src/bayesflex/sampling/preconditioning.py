"""Masses matched to a posterior: how fast a chain moves along modes, displacements and motions as one."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bayesflex.deformation import Deformation
from bayesflex.mcmc.adaptation import largest_eigenvalue
from bayesflex.mcmc.masses import BlockMass, DenseMass, DiagonalMass, Mass
from bayesflex.posterior import Posterior

Array = NDArray[np.float64]

#: Along modes the chain is as fast as in a direction this much softer than the stiffest one. A trajectory of twenty
#: steps of 1/√λ then turns the modes' phase by about 5.
_MODE_SPEED = 1.0 / 16.0

#: No mode counts as softer than this fraction of the stiffest direction: far from the answer some are unstable.
_SOFTEST = 1e-5

#: Displacements for differences of the gradient: amplitudes and translations in Å, rotations in radians.
_SHIFT, _TURN = 0.1, 1e-3


def matched_mass(posterior: Posterior, theta: Array, rng: Generator) -> BlockMass:
    """Return masses matched to the posterior's curvature at a position.

    Local displacements have unit mass. The amplitudes' inverse mass is the inverse of the curvature along the modes,
    measured by gradient differences, so that all modes move at one speed, faster than local displacements would
    carry them; likewise for rotation and translation.

    Parameters
    ----------
    posterior
        Log density of a deformation's unknowns.
    theta
        Position, shape (n_dim,).
    rng
        For the power iteration.

    Raises
    ------
    SamplingError
        If the gradient is not finite around the position.
    """
    deformation = posterior.deformation
    stiffest = _stiffest_displacement(posterior, theta, rng) if deformation.has_displacements else None
    blocks: list[tuple[slice, Mass]] = []
    for part in deformation.parts:
        if part == deformation.displacements:
            blocks.append((part, DiagonalMass.uniform(part.stop - part.start)))
            continue
        curvature = _curvature(posterior, theta, part, _TURN if part == deformation.rotation else _SHIFT)
        values, vectors = np.linalg.eigh(curvature)
        values = np.abs(values)
        # Without local displacements the blocks need only agree with each other.
        scale = 1.0 if stiffest is None else _MODE_SPEED * stiffest
        softest = 1e-3 * float(values.max()) + 1e-12 if stiffest is None else _SOFTEST * stiffest
        inverse = (vectors * (scale / np.maximum(values, softest))) @ vectors.T
        blocks.append((part, DenseMass(0.5 * (inverse + inverse.T))))
    return BlockMass(blocks)


def mass_arrays(mass: Mass) -> list[Array]:
    """Return each block's defining array: the inverse mass of a dense block, the diagonal of a diagonal one."""
    if not isinstance(mass, BlockMass):
        raise TypeError(f"expected a mass made of blocks, got {type(mass).__name__}")
    arrays = []
    for _, block in mass.blocks:
        if not isinstance(block, DenseMass | DiagonalMass):
            raise TypeError(f"no array defines a mass of type {type(block).__name__}")
        arrays.append(block.inverse_mass if isinstance(block, DenseMass) else block.mass)
    return arrays


def mass_of_arrays(deformation: Deformation, arrays: list[Array]) -> BlockMass:
    """Return the mass that :func:`mass_arrays` took apart."""
    blocks = [DenseMass(array) if array.ndim == 2 else DiagonalMass(array) for array in arrays]
    return BlockMass(list(zip(deformation.parts, blocks, strict=True)))


def _stiffest_displacement(posterior: Posterior, theta: Array, rng: Generator) -> float:
    """Return the largest eigenvalue of minus the Hessian of the log density over the coordinates."""
    coords = posterior.deformation.coordinates(theta)
    free = posterior.with_deformation(Deformation("local", coords, np.zeros((0, *coords.shape))))
    return largest_eigenvalue(free, np.zeros(coords.size), DiagonalMass.uniform(coords.size), rng)


def _curvature(posterior: Posterior, theta: Array, part: slice, displacement: float) -> Array:
    """Return minus the Hessian of the log density within one block, by central differences of the gradient."""
    size = part.stop - part.start
    curvature = np.zeros((size, size))
    for index in range(size):
        step = np.zeros_like(theta)
        step[part.start + index] = displacement
        ahead, behind = posterior(theta + step), posterior(theta - step)
        curvature[index] = (behind.gradient[part] - ahead.gradient[part]) / (2.0 * displacement)
    return 0.5 * (curvature + curvature.T)
