"""Which beads are close: a half list of pairs, kept up to date as the beads move.

A list holds, for each bead i, all j > i within a cut-off, sorted by j. A kernel that walks it and skips pairs
beyond the cut-off adds the same numbers in the same order whenever the list was built, so that a resumed run
repeats an uninterrupted one bit for bit.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import KERNEL, PART
from bayesflex.errors import InputError

Coords = NDArray[np.float64]
Start = NDArray[np.int64]
Index = NDArray[np.int32]

#: Coordinates beyond it (Å) count as not finite: a cell's index stays far from overflow.
COORDINATE_LIMIT = 1e8

# Odd, so that multiples run through all buckets, and otherwise arbitrary, so that no common shape piles up in a few.
_STRIDE_Y, _STRIDE_Z = 1327217885, 889516853

#: What :func:`inspect` found.
KEEP, REBUILD, NOT_FINITE = 0, 1, 2


@njit(**KERNEL)
def inspect(coords, reference, limit2):  # type: ignore[no-untyped-def]
    """Say whether the list built at ``reference`` still holds, and whether all coordinates are finite."""
    moved = False
    for i in range(reference.shape[0]):
        x, y, z = coords[i, 0], coords[i, 1], coords[i, 2]
        # Written so that NaN fails the comparison.
        if not (abs(x) < COORDINATE_LIMIT and abs(y) < COORDINATE_LIMIT and abs(z) < COORDINATE_LIMIT):
            return NOT_FINITE
        dx, dy, dz = x - reference[i, 0], y - reference[i, 1], z - reference[i, 2]
        # The furthest of all would be known one bead after the other.
        moved |= dx * dx + dy * dy + dz * dz > limit2
    return REBUILD if moved else KEEP


@njit(**PART)
def _bucket_of(cx, cy, cz, mask):  # type: ignore[no-untyped-def]
    """Return the bucket of a cell. Cells in a row along x fall into buckets in a row; any shape spreads evenly."""
    return (cx + cy * _STRIDE_Y + cz * _STRIDE_Z) & mask


@njit(**KERNEL)
def _bin_kernel(coords, edge, mask, cells, bucket, first, order):  # type: ignore[no-untyped-def]
    """Sort beads by the bucket of their cell; the table's size depends on the number of beads, not on their extent.

    Fills cells (n, 3), bucket (n,), first (n_buckets + 1,) and order (n,), ascending within a bucket.
    """
    n = coords.shape[0]
    first[:] = 0
    for i in range(n):
        for k in range(3):
            cells[i, k] = np.int64(math.floor(coords[i, k] / edge))
        bucket[i] = _bucket_of(cells[i, 0], cells[i, 1], cells[i, 2], mask)
        first[bucket[i] + 1] += 1
    for b in range(first.shape[0] - 1):
        first[b + 1] += first[b]
    for i in range(n):
        order[first[bucket[i]]] = i
        first[bucket[i]] += 1
    for b in range(first.shape[0] - 1, 0, -1):
        first[b] = first[b - 1]
    first[0] = 0


@njit(**KERNEL)
def _pair_kernel(  # type: ignore[no-untyped-def]
    coords, range2, mask, cells, first, order, excluded_start, excluded_index, lower_start, lower_index
):
    """List for each j the i < j within range, unsorted. Returns the number of pairs, also where they do not fit."""
    n = coords.shape[0]
    room = lower_index.shape[0]
    count = 0
    lower_start[0] = 0
    for j in range(n):
        x, y, z = coords[j, 0], coords[j, 1], coords[j, 2]
        for cz in range(cells[j, 2] - 1, cells[j, 2] + 2):
            for cy in range(cells[j, 1] - 1, cells[j, 1] + 2):
                for cx in range(cells[j, 0] - 1, cells[j, 0] + 2):
                    b = _bucket_of(cx, cy, cz, mask)
                    for s in range(first[b], first[b + 1]):
                        i = order[s]
                        if i >= j:
                            break
                        dx, dy, dz = coords[i, 0] - x, coords[i, 1] - y, coords[i, 2] - z
                        if dx * dx + dy * dy + dz * dz > range2:
                            continue
                        # A bucket may hold several cells; taking only the cell asked for keeps each pair single.
                        if cells[i, 0] != cx or cells[i, 1] != cy or cells[i, 2] != cz:
                            continue
                        skip = False
                        for e in range(excluded_start[i], excluded_start[i + 1]):
                            skip = skip or excluded_index[e] == j
                        if skip:
                            continue
                        if count < room:
                            lower_index[count] = i
                        count += 1
        lower_start[j + 1] = count
    return count


@njit(**KERNEL)
def _transpose_kernel(lower_start, lower_index, start, index):  # type: ignore[no-untyped-def]
    """Turn the i < j of each j into the j > i of each i. Visiting j in order leaves each row sorted by j."""
    n = start.shape[0] - 1
    start[:] = 0
    for s in range(lower_start[n]):
        start[lower_index[s] + 1] += 1
    for i in range(n):
        start[i + 1] += start[i]
    for j in range(n):
        for s in range(lower_start[j], lower_start[j + 1]):
            i = lower_index[s]
            index[start[i]] = j
            start[i] += 1
    for i in range(n, 0, -1):
        start[i] = start[i - 1]
    start[0] = 0


def pairs_to_rows(pairs: NDArray[np.integer], n: int) -> tuple[Start, Index]:
    """Return pairs as rows: for each i the partners j > i, sorted.

    Parameters
    ----------
    pairs
        Bead indices, shape (n_pairs, 2), in any order and direction.
    n
        Number of beads.

    Returns
    -------
    start, index
        Row i is ``index[start[i]:start[i + 1]]``; shapes (n + 1,) and (n_pairs,).
    """
    ordered = np.unique(np.sort(np.asarray(pairs, dtype=np.int64).reshape(-1, 2), axis=1), axis=0)
    start = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(ordered[:, 0], minlength=n), out=start[1:])
    return start, np.ascontiguousarray(ordered[:, 1], dtype=np.int32)


def pairs_within_reach(
    coords: Coords,
    cutoff: float,
    extra: NDArray[np.float64] | None = None,
    exclusions: NDArray[np.integer] | None = None,
) -> tuple[Start, Index] | None:
    """Return the pairs closer than the cut-off and what both beads add to it, as :meth:`NeighbourList.update` does.

    Parameters
    ----------
    coords
        Positions, shape (n, 3), Å, C order.
    cutoff
        Å.
    extra
        What each bead adds to the cut-off, Å, at least zero, shape (n,); None for nothing.
    exclusions
        Pairs never listed, shape (n_excluded, 2), or None.

    Returns
    -------
    start, index
        Shapes (n + 1,) and (n_pairs,), or None where a coordinate is not finite.
    """
    furthest = cutoff if extra is None else cutoff + 2.0 * float(extra.max(initial=0.0))
    rows = NeighbourList(furthest, skin=0.0, exclusions=exclusions).update(coords)
    if rows is None or extra is None:
        return rows
    start, index = rows
    first = np.repeat(np.arange(len(coords)), np.diff(start))
    distance = np.linalg.norm(coords[index] - coords[first], axis=1)
    near = distance <= cutoff + extra[first] + extra[index]
    kept = np.zeros(len(coords) + 1, dtype=np.int64)
    np.cumsum(np.bincount(first[near], minlength=len(coords)), out=kept[1:])
    return kept, index[near]


class NeighbourList:
    """Half list of the pairs within ``cutoff``, with a skin, so that it is rebuilt only once beads have moved.

    The list holds all pairs within ``cutoff + skin`` at the time it was built and thus all within ``cutoff``
    until a bead has moved by ``skin / 2``. Search by cells is linear in the number of beads, whatever their
    extent; buffers are kept and grow geometrically. Not for use by two threads at once: see :meth:`clone`.

    Parameters
    ----------
    cutoff
        Distance up to which pairs are complete, Å.
    skin
        Extra distance of the list, Å. Zero rebuilds at every movement.
    exclusions
        Pairs never listed, shape (n_excluded, 2), or None.

    Raises
    ------
    InputError
        If the cut-off is not positive and finite or the skin is negative.
    """

    def __init__(self, cutoff: float, skin: float = 2.0, exclusions: NDArray[np.integer] | None = None) -> None:
        if not (0.0 < cutoff < COORDINATE_LIMIT and 0.0 <= skin < COORDINATE_LIMIT):
            raise InputError(
                f"neighbour list: cut-off {cutoff} Å and skin {skin} Å: expected a positive cut-off and a skin of at "
                "least zero, both finite"
            )
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        #: Square of the distance that a bead may move before the list no longer holds, Å².
        self.slack2 = 0.25 * self.skin**2
        self.n_builds = 0
        self._exclusions = np.zeros((0, 2), np.int64) if exclusions is None else np.asarray(exclusions, np.int64)
        self._lower_index = np.empty(0, np.int32)
        self._index_buffer = np.empty(0, np.int32)
        self.allocate(0)

    def clone(self) -> NeighbourList:
        """Return a list with the same settings and workspaces of its own."""
        return NeighbourList(self.cutoff, self.skin, self._exclusions)

    @property
    def rows(self) -> tuple[Start, Index]:
        """The list last built, as :meth:`update` returns it."""
        return self._start, self._index

    def update(self, coords: Coords) -> tuple[Start, Index] | None:
        """Return the list for these positions, rebuilt where it no longer holds.

        Parameters
        ----------
        coords
            Positions, shape (n, 3), Å, C order.

        Returns
        -------
        start, index
            Shapes (n + 1,) and (n_pairs,): the partners of i are ``index[start[i]:start[i + 1]]``, ascending and
            all larger than i. Valid until the next call. None where a coordinate is not finite or beyond
            ``COORDINATE_LIMIT``: no index exists, and the caller's energy is infinite.
        """
        if len(coords) != len(self.reference):
            self.allocate(len(coords))
        state = inspect(coords, self.reference, self.slack2)
        if state == NOT_FINITE:
            return None
        if state == REBUILD:
            self.build(coords)
        return self._start, self._index

    def allocate(self, n: int) -> None:
        """Make room for n beads; the next update builds the list."""
        excluded = self._exclusions
        if excluded.size and n and not (excluded.min() >= 0 and excluded.max() < n):
            raise InputError(f"neighbour list: exclusions name beads up to {excluded.max()} where there are {n}")
        self.reference = np.empty((n, 3))
        self.forget()
        self._excluded_start, self._excluded_index = pairs_to_rows(excluded if n else excluded[:0], n)
        n_buckets = 2 ** max(n - 1, 1).bit_length()
        self._mask = n_buckets - 1
        self._first = np.empty(n_buckets + 1, np.int64)
        self._cells = np.empty((n, 3), np.int64)
        self._bucket = np.empty(n, np.int64)
        self._order = np.empty(n, np.int64)
        self._lower_start = np.zeros(n + 1, np.int64)
        self._start = np.zeros(n + 1, np.int64)
        self._index = self._index_buffer[:0]

    def forget(self) -> None:
        """Let the next update build the list."""
        # Twice the largest coordinate: farther than skin / 2 from anything.
        self.reference[:] = 4.0 * COORDINATE_LIMIT

    def build(self, coords: Coords) -> None:
        """List the pairs anew, for positions (n, 3), Å, known to be finite."""
        reach = self.cutoff + self.skin
        # A cell is a little wider than the reach, so that rounding never puts a pair two cells apart.
        _bin_kernel(coords, 1.000001 * reach, self._mask, self._cells, self._bucket, self._first, self._order)
        while True:
            n_pairs = _pair_kernel(
                coords,
                reach * reach,
                self._mask,
                self._cells,
                self._first,
                self._order,
                self._excluded_start,
                self._excluded_index,
                self._lower_start,
                self._lower_index,
            )
            if n_pairs <= len(self._lower_index):
                break
            self._lower_index = np.empty(n_pairs + n_pairs // 2, np.int32)
            self._index_buffer = np.empty(len(self._lower_index), np.int32)
        _transpose_kernel(self._lower_start, self._lower_index, self._start, self._index_buffer)
        self._index = self._index_buffer[:n_pairs]
        self.reference[:] = coords
        self.n_builds += 1
