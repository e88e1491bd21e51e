"""What every energy term has in common: input is checked, trouble becomes an infinite energy."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import KERNEL
from bayesflex.errors import InputError
from bayesflex.neighbours import COORDINATE_LIMIT
from bayesflex.simd import MARGIN, padded, with_margin

Array = NDArray[np.float64]


@njit(**KERNEL)
def _within_limit_kernel(coords):  # type: ignore[no-untyped-def]
    """Return whether every coordinate is finite and below the limit: NaN fails the comparison."""
    for i in range(coords.shape[0]):
        for k in range(3):
            if not abs(coords[i, k]) < COORDINATE_LIMIT:
                return False
    return True


def along_chain(n_beads: int, first: NDArray[np.integer], *values: Array) -> tuple[Array, ...]:
    """Return values of stretches of the chain by their first bead, zero where none begins.

    Parameters
    ----------
    n_beads
        Number of beads.
    first
        First bead of each stretch, shape (n_stretches,).
    values
        Each of shape (n_stretches,).

    Returns
    -------
    One array for each of ``values``: a multiple of ``simd.WIDTH`` places for the beads.
    """
    arrays = []
    for given in values:
        by_bead = np.zeros(n_beads)
        by_bead[first] = given
        arrays.append(padded(by_bead))
    return tuple(arrays)


class Term(ABC):
    """Base of the energy terms over CA beads; see :class:`bayesflex.protocols.EnergyTerm`.

    A term's constants never change once it is made, and clones share them.

    Parameters
    ----------
    n_beads
        Number of beads of the model that the term was made for.
    """

    name: str

    def __init__(self, n_beads: int) -> None:
        self.n_beads = n_beads

    def energy_and_gradient(self, coords: Array) -> tuple[float, Array]:
        """Return the energy (kcal/mol) and its gradient (kcal/mol/Å).

        Parameters
        ----------
        coords
            Positions, shape (n_beads, 3), Å.

        Returns
        -------
        energy, gradient
            The gradient has shape (n_beads, 3). Coordinates that are not finite give (+inf, zeros).

        Raises
        ------
        InputError
            If the number of beads is not the model's.
        """
        gradient = np.zeros((self.n_beads, 3))
        energy = self.add_to(np.ascontiguousarray(coords, dtype=np.float64), gradient)
        return (energy, gradient) if math.isfinite(energy) else (math.inf, np.zeros_like(gradient))

    def add_to(self, coords: Array, gradient: Array) -> float:
        """Add the gradient (kcal/mol/Å) in place and return the energy (kcal/mol).

        Parameters
        ----------
        coords
            Positions, shape (n_beads, 3), Å, C order.
        gradient
            Added to, shape (n_beads, 3). Its content means nothing where the energy is infinite.

        Raises
        ------
        InputError
            If the number of beads is not the model's.
        """
        if coords.shape != (self.n_beads, 3) or gradient.shape != (self.n_beads, 3):
            raise InputError(
                f"{self.name}: coordinates of shape {coords.shape} and a gradient of shape {gradient.shape}, expected "
                f"({self.n_beads}, 3) for both: the term was made for a model of {self.n_beads} beads"
            )
        if not _within_limit_kernel(coords):
            return math.inf
        energy = self._accumulate(coords, gradient)
        return energy if math.isfinite(energy) else math.inf

    def clone(self) -> Self:
        """Return a term that shares the constants, for use in another thread."""
        return copy.copy(self)

    @abstractmethod
    def _accumulate(self, coords: Array, gradient: Array) -> float:
        """Add the gradient and return the energy, at coordinates known to be finite."""


class ChainTerm(Term):
    """Base of the terms along the chain, whose kernels take eight beads at a time and need a margin."""

    def _accumulate(self, coords: Array, gradient: Array) -> float:
        own = np.zeros((self.n_beads + MARGIN, 3))
        energy = self._of_margined(with_margin(coords), own)
        gradient += own[: self.n_beads]
        return energy

    @abstractmethod
    def _of_margined(self, coords: Array, gradient: Array) -> float:
        """Add the gradient and return the energy; both arrays have ``simd.MARGIN`` rows more than there are beads."""
