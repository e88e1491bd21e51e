"""Bonds between consecutive CA: springs at the lengths of the start model."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from bayesflex.chain import bonded_to_next, runs
from bayesflex.config import FitConfig
from bayesflex.energy.term import Array, Term
from bayesflex.structure import Structure


@njit(cache=True, nogil=True, error_model="numpy")
def _bond_kernel(coords, first, length, constant, gradient):  # type: ignore[no-untyped-def]
    energy = 0.0
    for m in range(first.shape[0]):
        i = first[m]
        x = coords[i + 1, 0] - coords[i, 0]
        y = coords[i + 1, 1] - coords[i, 1]
        z = coords[i + 1, 2] - coords[i, 2]
        r = math.sqrt(x * x + y * y + z * z)
        stretch = r - length[m]
        energy += stretch * stretch
        # Coincident beads have no direction to be pushed in.
        pull = 2.0 * constant * stretch / r if r > 0.0 else 0.0
        gradient[i, 0] -= pull * x
        gradient[i, 1] -= pull * y
        gradient[i, 2] -= pull * z
        gradient[i + 1, 0] += pull * x
        gradient[i + 1, 1] += pull * y
        gradient[i + 1, 2] += pull * z
    return constant * energy


class Bonds(Term):
    """E = k Σ (b - b₀)² over consecutive bonded CA, b₀ the length at the start.

    Parameters
    ----------
    ca
        CA trace of the start model.
    constant
        k, kcal/mol/Å² (no factor ½, as in CHARMM and AMBER).
    """

    name = "bonds"

    def __init__(self, ca: Structure, constant: float) -> None:
        super().__init__(ca.n_atoms)
        self._constant = constant
        self._first = runs(bonded_to_next(ca), 1)
        self._length = np.linalg.norm(ca.coords[self._first + 1] - ca.coords[self._first], axis=1)

    def _accumulate(self, coords: Array, gradient: Array) -> float:
        return float(_bond_kernel(coords, self._first, self._length, self._constant, gradient))


def build_bonds(ca: Structure, config: FitConfig) -> Bonds | None:
    """Return the bonds of a start model, or None where their constant is zero."""
    return Bonds(ca, config.bond_constant) if config.bond_constant else None
