"""Native contacts: wells at the distances of the start model that let go once stretched far enough.

A harmonic network would forbid large motion and none at all would let the model melt: here domains stay whole
and their interfaces can open, for a bounded price.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.chain import bonded_to_next, extra_reach, pairs_along_chain
from bayesflex.compiling import KERNEL
from bayesflex.config import FitConfig
from bayesflex.energy.term import Array, Term
from bayesflex.neighbours import pairs_within_reach
from bayesflex.simd import WIDTH, aligned, aligned_zeros, load, prefetch, splat, store, total
from bayesflex.structure import Structure

#: Width w of a well, Å: the spread of native Cα-Cα distances at room temperature is about 1 Å, and interfaces
#: that open move by several.
WELL_WIDTH = 1.5

#: Coordinates and gradients of beads so far ahead are asked for. Partners come in no order that a processor foresees:
#: with a million beads, each line of memory would be waited for.
_AHEAD = 4096

#: Contacts of a block, so many that what is gathered, 24 bytes of each, takes half of the first cache.
_BLOCK = 1024


class ContactArrays(NamedTuple):
    """Contacts as rows: the partners j > i of each bead i. Some successive beads make a block.

    The last row of a block is filled up to a multiple of ``simd.WIDTH`` places by bead i itself, with a scale of zero.
    """

    block: NDArray[np.int64]  # first bead of each block, shape (n_blocks + 1,)
    start: NDArray[np.int64]  # shape (n + 1,)
    partner: NDArray[np.int32]  # shape (n_places,)
    distance2: NDArray[np.float32]  # r₀², Å²
    scale: NDArray[np.float32]  # 1 / (2 r₀ w), 1/Å²
    depth: float  # ε, kcal/mol
    work: Array  # workspace, (3, places of the largest block)


@njit(**KERNEL)
def contact_energy(coords, gradient, contacts):  # type: ignore[no-untyped-def]
    """Add the gradient (n, 3) in place and return the energy."""
    block, start, work = contacts.block, contacts.start, contacts.work
    room = work.shape[1]
    one, eighth, twice = splat(1.0), splat(0.125), splat(2.0 * contacts.depth)
    lost = splat(0.0)
    # What is scattered is gathered first, so that the arithmetic between takes eight contacts at a time; a block at a
    # time, so that what is gathered stays in the first cache. An index that has a sign would be looked at each time.
    for b in range(block.shape[0] - 1):
        first, end = start[block[b]], start[block[b + 1]]
        index = contacts.partner[first:end]
        for i in range(block[b], block[b + 1]):
            ahead = 3 * min(i + _AHEAD, coords.shape[0] - 1)
            prefetch(coords, ahead)
            prefetch(gradient, ahead)
            x, y, z = coords[i, 0], coords[i, 1], coords[i, 2]
            for m in range(np.uintp(start[i] - first), np.uintp(start[i + 1] - first)):
                j = np.uintp(index[m])
                work[0, m], work[1, m], work[2, m] = coords[j, 0] - x, coords[j, 1] - y, coords[j, 2] - z
        next_block = first + _BLOCK
        for m in range(0, end - first, WIDTH):
            x8, y8, z8 = load(work, m), load(work, room + m), load(work, 2 * room + m)
            scale = load(contacts.scale, first + m)
            # The next block's: three arrays of one page each are too short for the processor to see them coming.
            prefetch(contacts.partner, next_block + m)
            prefetch(contacts.scale, next_block + m)
            prefetch(contacts.distance2, next_block + m)
            u = (x8 * x8 + y8 * y8 + z8 * z8 - load(contacts.distance2, first + m)) * scale
            p = one / (one + eighth * u * u)
            p2 = p * p
            p4 = p2 * p2
            lost = lost + (one - p4)
            # dE/d(r²) = ε u p⁵ · scale, and ∂(r²)/∂r_j = 2 (r_j - r_i)
            pull = twice * u * scale * p4 * p
            store(work, m, pull * x8)
            store(work, room + m, pull * y8)
            store(work, 2 * room + m, pull * z8)
        for i in range(block[b], block[b + 1]):
            gx = gy = gz = 0.0
            for m in range(np.uintp(start[i] - first), np.uintp(start[i + 1] - first)):
                j = np.uintp(index[m])
                x, y, z = work[0, m], work[1, m], work[2, m]
                gx, gy, gz = gx - x, gy - y, gz - z
                gradient[j, 0] += x
                gradient[j, 1] += y
                gradient[j, 2] += z
            gradient[i, 0] += gx
            gradient[i, 1] += gy
            gradient[i, 2] += gz
    return contacts.depth * total(lost)


class NativeContacts(Term):
    """E = ε Σ [1 - (1 + u²/8)⁻⁴], u = (r² - r₀²) / (2 r₀ w), over pairs in contact at the start.

    Near r₀, u is (r - r₀)/w, and the well is a Gaussian of width w, ε (1 - exp(-u²/2)), within 0.07 ε for every u:
    the power replaces exponential and square root by one division. A lost contact costs ε, at any distance.
    Pairs are those within the cut-off that are not joined by three bonds or fewer, within chains and between them.
    Each nucleotide of a pair adds ``chain.NUCLEOTIDE_REACH`` to it, so that base pairs are contacts.

    Parameters
    ----------
    ca
        Trace of the start model: CA, and C4' of nucleotides.
    depth
        ε, kcal/mol per contact.
    cutoff
        Distance up to which two CA of the start are in contact, Å.
    """

    name = "contacts"

    def __init__(self, ca: Structure, depth: float, cutoff: float) -> None:
        super().__init__(ca.n_atoms)
        coords = np.ascontiguousarray(ca.coords, dtype=np.float64)
        exclusions = pairs_along_chain(bonded_to_next(ca))
        rows = pairs_within_reach(coords, cutoff, extra_reach(ca), exclusions)
        start, index = rows if rows is not None else (np.zeros(self.n_beads + 1, np.int64), np.zeros(0, np.int32))
        block, start, index = _in_blocks(start, index)
        first = np.repeat(np.arange(self.n_beads), np.diff(start))
        distance2 = np.sum((coords[index] - coords[first]) ** 2, axis=1)
        # Two coincident beads would have a well of no width; their radius counts as w. Both are rounded to 32 bits: a
        # well's place by a ten-millionth of its distance.
        scale = 1.0 / (2.0 * WELL_WIDTH * np.maximum(np.sqrt(distance2), WELL_WIDTH))
        scale[index == first] = 0.0
        work = aligned_zeros(3, int(np.diff(start[block]).max(initial=0)))
        self.arrays = ContactArrays(
            block, start, index, aligned(distance2, np.float32), aligned(scale, np.float32), float(depth), work
        )

    def clone(self) -> Self:
        """Return a term that shares the constants and owns its workspace."""
        other = super().clone()
        other.arrays = self.arrays._replace(work=aligned_zeros(*self.arrays.work.shape))
        return other

    @property
    def n_contacts(self) -> int:
        """Number of pairs in contact at the start."""
        return int(np.count_nonzero(self.arrays.scale))

    def _accumulate(self, coords: Array, gradient: Array) -> float:
        return float(contact_energy(coords, gradient, self.arrays))


def _in_blocks(
    start: NDArray[np.int64], index: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Return the first bead of each block, and rows that are filled up as ``ContactArrays`` says."""
    n = len(start) - 1
    block = [0]
    while block[-1] < n:
        # As many beads as fit, and at least one.
        fit = int(np.searchsorted(start, start[block[-1]] + _BLOCK, side="right")) - 1
        block.append(max(fit, block[-1] + 1))
    last = np.array(block[1:], np.int64) - 1
    size = np.diff(start)
    missing = np.zeros(n, np.int64)
    missing[last] = -np.diff(start[block]) % WIDTH
    filled = np.insert(index, np.repeat(start[last + 1], missing[last]), np.repeat(last, missing[last]))
    return np.array(block, np.int64), np.concatenate([[0], np.cumsum(size + missing)]), filled.astype(np.int32)


def build_contacts(ca: Structure, config: FitConfig) -> NativeContacts | None:
    """Return the contacts of a start model, or None where their energy is zero."""
    return NativeContacts(ca, config.contact_energy, config.contact_cutoff) if config.contact_energy else None
