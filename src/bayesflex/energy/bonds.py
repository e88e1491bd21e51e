"""Bonds between consecutive sites, CA or C4': springs at the lengths of the start model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from bayesflex.chain import bonded_to_next, runs
from bayesflex.compiling import KERNEL
from bayesflex.config import FitConfig
from bayesflex.energy.term import Array, ChainTerm, along_chain
from bayesflex.simd import WIDTH, add_to_points, load, load_points, select, shifted_1, splat, square_root, total
from bayesflex.structure import Structure

#: Stiffness of a bond between nucleotides in units of one between amino acids. Six bonds lie between two C4', and three
#: of them turn: in 1D66 the distances have a standard deviation of 0.28 Å, of which k_B T / (2 σ²) makes 3.7
#: kcal/mol/Å², a tenth of the default.
NUCLEOTIDE_STIFFNESS = 0.1


class BondArrays(NamedTuple):
    """Bonds by their first bead, in a multiple of ``simd.WIDTH`` places, those beyond the last bead included."""

    length: Array  # b₀, Å
    constant: Array  # k, kcal/mol/Å²; zero where a bead is not bonded to the next


@njit(**KERNEL)
def bond_energy(coords, gradient, bonds):  # type: ignore[no-untyped-def]
    """Add the gradient in place and return the energy; coords and gradient (n + ``simd.MARGIN``, 3)."""
    length, constant = bonds.length, bonds.constant
    zero = splat(0.0)
    energy = bx = by = bz = zero
    for i in range(0, length.shape[0], WIDTH):
        x0, y0, z0 = load_points(coords, i)
        x1, y1, z1 = load_points(coords, i + 1)
        x, y, z = x1 - x0, y1 - y0, z1 - z0
        k = load(constant, i)
        r = square_root(x * x + y * y + z * z)
        stretch = select(zero < k, r - load(length, i), zero)
        energy = energy + k * stretch * stretch
        # Coincident beads have no direction to be pushed in.
        pull = select(zero < r, (k + k) * stretch / r, zero)
        fx, fy, fz = pull * x, pull * y, pull * z
        # Bead i is pulled by the bond that begins there and by the one before it.
        add_to_points(gradient, i, shifted_1(bx, fx) - fx, shifted_1(by, fy) - fy, shifted_1(bz, fz) - fz)
        bx, by, bz = fx, fy, fz
    return total(energy)


class Bonds(ChainTerm):
    """E = k Σ (b - b₀)² over consecutive bonded sites, b₀ the length at the start.

    Parameters
    ----------
    ca
        Trace of the start model.
    constant
        k of CA, kcal/mol/Å² (no factor ½, as in CHARMM and AMBER); that of C4' is ``NUCLEOTIDE_STIFFNESS`` times it.
    """

    name = "bonds"

    def __init__(self, ca: Structure, constant: float) -> None:
        super().__init__(ca.n_atoms)
        first = runs(bonded_to_next(ca), 1)
        length = np.linalg.norm(ca.coords[first + 1] - ca.coords[first], axis=1)
        stiffness = np.where(ca.is_nucleotide_site[first], NUCLEOTIDE_STIFFNESS * constant, constant)
        self.arrays = BondArrays(*along_chain(self.n_beads, first, length, stiffness))

    def _of_margined(self, coords: Array, gradient: Array) -> float:
        return float(bond_energy(coords, gradient, self.arrays))


def build_bonds(ca: Structure, config: FitConfig) -> Bonds | None:
    """Return the bonds of a start model, or None where their constant is zero."""
    return Bonds(ca, config.bond_constant) if config.bond_constant else None
