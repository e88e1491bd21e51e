"""Masses in the form that compiled trajectories use: arrays instead of objects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from bayesflex.compiling import KERNEL
from bayesflex.mcmc.masses import BandedMass, BandSolver, BlockMass, DenseMass, DiagonalMass, Mass, solve_band
from bayesflex.protocols import Array


class MassArrays(NamedTuple):
    """M⁻¹ by its blocks: a diagonal, any number of full matrices, and at most one band."""

    diagonal: Array  # 1 / M, zero where another block holds, (n_dim,)
    dense_first: np.ndarray  # first dimension of each full block, (n_blocks,)
    dense_size: np.ndarray
    dense: Array  # their inverse masses one after the other, flat
    band_first: int  # first dimension of the band, -1 for none
    band: BandSolver


def mass_at_rest() -> MassArrays:
    """Return a mass of no dimension, for evaluations in which nothing moves."""
    none = np.zeros(0, np.int64)
    return MassArrays(
        np.zeros(0), none, none, np.zeros(0), -1, BandSolver(np.zeros((0, 1)), np.zeros((0, 1)), np.zeros(0))
    )


def compiled_mass(mass: Mass) -> MassArrays | None:
    """Return the arrays of a mass, or None for one of another kind."""
    blocks = tuple(mass.blocks) if isinstance(mass, BlockMass) else ((slice(0, mass.n_dim), mass),)
    diagonal = np.zeros(mass.n_dim)
    first, size, dense = [], [], []
    band_first, band = -1, mass_at_rest().band
    for part, block in blocks:
        if isinstance(block, DiagonalMass):
            diagonal[part] = 1.0 / block.mass
        elif isinstance(block, DenseMass):
            first.append(part.start)
            size.append(block.n_dim)
            dense.append(np.asarray(block.inverse_mass, dtype=np.float64).ravel())
        elif isinstance(block, BandedMass) and band_first < 0:
            band_first, band = part.start, block.solver
        else:
            return None
    return MassArrays(
        diagonal,
        np.array(first, dtype=np.int64),
        np.array(size, dtype=np.int64),
        np.concatenate([*dense, np.zeros(0)]),
        band_first,
        band,
    )


@njit(**KERNEL)
def velocity(mass, momentum, out):  # type: ignore[no-untyped-def]
    """Set out to M⁻¹ p, both (n_dim,)."""
    for k in range(momentum.shape[0]):
        out[k] = mass.diagonal[k] * momentum[k]
    at = 0
    for block in range(mass.dense_first.shape[0]):
        first, size = mass.dense_first[block], mass.dense_size[block]
        for i in range(size):
            value = 0.0
            for j in range(size):
                value += mass.dense[at + i * size + j] * momentum[first + j]
            out[first + i] = value
        at += size * size
    if mass.band_first >= 0:
        end = mass.band_first + mass.band.inverse.shape[0]
        solve_band(mass.band, momentum[mass.band_first : end], out[mass.band_first : end])
