"""Which parts of a trace are α-helical, told from CA alone.

The criteria are those of P-SEA (Labesse, Colloc'h, Pothier and Mornon, Comput. Appl. Biosci. 13 (1997) 291) for angles
and dihedrals of consecutive CA.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bayesflex.chain import bonded_to_next, runs
from bayesflex.geometry import angle, dihedral
from bayesflex.structure import Structure

#: Of three and of four consecutive CA in a helix: the middle of the range and half its width, degrees.
_ANGLE, _DIHEDRAL = (89.0, 12.0), (50.0, 20.0)


def helical_dihedrals(trace: Structure) -> NDArray[np.bool_]:
    """Return whether the four sites from each one on are a part of an α-helix, shape (n_sites,).

    Their dihedral is within 20° of 50° and both of their angles are within 12° of 89°; one after it or before it must
    be so too, since a helix has five residues or more. Nucleotides have none.
    """
    helical = np.zeros(trace.n_atoms, dtype=bool)
    first = runs(bonded_to_next(trace), 3)
    a, b, c, d = (trace.coords[first + k] for k in range(4))
    found = _within(dihedral(a, b, c, d), _DIHEDRAL) & _within(angle(a, b, c), _ANGLE) & _within(angle(b, c, d), _ANGLE)
    helical[first] = found & ~trace.is_nucleotide_site[first]
    beside = np.zeros_like(helical)
    beside[1:] |= helical[:-1]
    beside[:-1] |= helical[1:]
    return np.asarray(helical & beside)


def helical_angles(trace: Structure) -> NDArray[np.bool_]:
    """Return whether the three sites from each one on belong to a helical dihedral, shape (n_sites,)."""
    helical = helical_dihedrals(trace)
    of_angle = helical.copy()
    of_angle[1:] |= helical[:-1]
    return of_angle


def _within(angles: NDArray[np.float64], allowed: tuple[float, float]) -> NDArray[np.bool_]:
    middle, half = (math.radians(value) for value in allowed)
    return np.abs(angles - middle) <= half
