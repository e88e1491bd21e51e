"""Native contacts: wells at the distances of the start model that let go once stretched far enough.

A harmonic network would forbid large motion and none at all would let the model melt: here domains stay whole
and their interfaces can open, for a bounded price.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from bayesflex.chain import bonded_to_next, pairs_along_chain
from bayesflex.config import FitConfig
from bayesflex.energy.term import Array, Term
from bayesflex.neighbours import NeighbourList
from bayesflex.structure import Structure

#: Width w of a well, Å: the spread of native Cα-Cα distances at room temperature is about 1 Å, and interfaces
#: that open move by several.
WELL_WIDTH = 1.5


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _contact_kernel(coords, start, index, distance2, scale, depth, gradient):  # type: ignore[no-untyped-def]
    kept = 0.0
    for i in range(start.shape[0] - 1):
        xi, yi, zi = coords[i, 0], coords[i, 1], coords[i, 2]
        gx = gy = gz = 0.0
        for m in range(start[i], start[i + 1]):
            j = index[m]
            x, y, z = coords[j, 0] - xi, coords[j, 1] - yi, coords[j, 2] - zi
            u = (x * x + y * y + z * z - distance2[m]) * scale[m]
            p = 1.0 / (1.0 + 0.125 * u * u)
            p2 = p * p
            p4 = p2 * p2
            kept += 1.0 - p4
            # dE/d(r²) = ε u p⁵ · scale, and ∂(r²)/∂r_j = 2 (r_j - r_i)
            pull = 2.0 * depth * u * scale[m] * p4 * p
            gx -= pull * x
            gy -= pull * y
            gz -= pull * z
            gradient[j, 0] += pull * x
            gradient[j, 1] += pull * y
            gradient[j, 2] += pull * z
        gradient[i, 0] += gx
        gradient[i, 1] += gy
        gradient[i, 2] += gz
    return depth * kept


class NativeContacts(Term):
    """E = ε Σ [1 - (1 + u²/8)⁻⁴], u = (r² - r₀²) / (2 r₀ w), over pairs in contact at the start.

    Near r₀, u is (r - r₀)/w, and the well is a Gaussian of width w, ε (1 - exp(-u²/2)), within 0.07 ε for every u:
    the power replaces exponential and square root by one division. A lost contact costs ε, at any distance.
    Pairs are those within the cut-off that are not joined by three bonds or fewer, within chains and between them.

    Parameters
    ----------
    ca
        CA trace of the start model.
    depth
        ε, kcal/mol per contact.
    cutoff
        Distance up to which two CA of the start are in contact, Å.
    """

    name = "contacts"

    def __init__(self, ca: Structure, depth: float, cutoff: float) -> None:
        super().__init__(ca.n_atoms)
        self._depth = depth
        coords = np.ascontiguousarray(ca.coords, dtype=np.float64)
        exclusions = pairs_along_chain(bonded_to_next(ca))
        rows = NeighbourList(cutoff, skin=0.0, exclusions=exclusions).update(coords)
        start, index = rows if rows is not None else (np.zeros(self.n_beads + 1, np.int64), np.zeros(0, np.int32))
        first = np.repeat(np.arange(self.n_beads), np.diff(start))
        distance2 = np.sum((coords[index] - coords[first]) ** 2, axis=1)
        self._start, self._index, self._distance2 = start.copy(), index.copy(), distance2
        # Two coincident beads would have a well of no width; their radius counts as w.
        self._scale = 1.0 / (2.0 * WELL_WIDTH * np.maximum(np.sqrt(distance2), WELL_WIDTH))

    @property
    def n_contacts(self) -> int:
        """Number of pairs in contact at the start."""
        return len(self._index)

    def _accumulate(self, coords: Array, gradient: Array) -> float:
        return float(
            _contact_kernel(coords, self._start, self._index, self._distance2, self._scale, self._depth, gradient)
        )


def build_contacts(ca: Structure, config: FitConfig) -> NativeContacts | None:
    """Return the contacts of a start model, or None where their energy is zero."""
    return NativeContacts(ca, config.contact_energy, config.contact_cutoff) if config.contact_energy else None
