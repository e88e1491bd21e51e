"""Tiles: beads in spatial order, eight at a time, and which tiles are close to each other.

A sum over pairs of beads runs over pairs (bead, tile), so that eight partners that lie side by side in memory are
taken at once. Which beads form a tile is settled once, for one structure; as the beads move tiles may spread, which
costs time and never changes a result: a tile is listed by the box that its beads are in.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import KERNEL, PART
from bayesflex.neighbours import COORDINATE_LIMIT
from bayesflex.simd import WIDTH, aligned_zeros, any_of, bits_of, broadcast, load, lowest_bit, select, splat

Array = NDArray[np.float64]
Places = NDArray[np.int64]

#: Boxes of tiles are grouped by so many, a power of two, and these groups again, for the search of neighbours.
_BRANCH_BITS = 3
_BRANCHES = 1 << _BRANCH_BITS

#: Where the empty places of the last tile are, Å: far from any bead, and squares of it stay finite.
_NOWHERE = 1e3 * COORDINATE_LIMIT

#: What :func:`arrange` found.
KEEP, REBUILD, OUTSIDE = 0, 1, 2


def _bisected(positions: Array) -> Places:
    """Return an order in which each run of WIDTH · 2^k beads is a compact group; all groups of a level at once."""
    order = np.arange(len(positions))
    start = np.zeros(min(len(order), 1), np.int64)
    while len(order) and (size := np.diff(start, append=len(order))).max() > WIDTH:
        at = positions[order]
        widest = np.argmax(np.maximum.reduceat(at, start) - np.minimum.reduceat(at, start), axis=1)
        group = np.repeat(np.arange(len(start)), size)
        order = order[np.lexsort((at[np.arange(len(at)), widest[group]], group))]
        half = WIDTH * 2 ** np.ceil(np.log2(np.maximum(size, 2) / (2 * WIDTH))).astype(np.int64).clip(0)
        start = np.unique(np.concatenate([start, (start + half)[size > WIDTH]]))
    return order


def spatial_places(positions: Array, kind: NDArray[np.integer] | None = None) -> Places:
    """Return places for beads in which neighbours in space are close to each other, and tiles are of one kind.

    Recursive bisection along the widest axis.

    Parameters
    ----------
    positions
        Shape (n_beads, 3), Å.
    kind
        Kind of each bead, shape (n_beads,); None where all are alike.

    Returns
    -------
    ndarray
        Index of the bead in each place, -1 where a place is empty; a multiple of ``WIDTH`` places.
    """
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    parts = []
    for value in [0] if kind is None else np.unique(kind):
        members = np.arange(len(positions)) if kind is None else np.flatnonzero(kind == value)
        order = members[_bisected(positions[members])]
        parts.append(np.pad(order, (0, -len(order) % WIDTH), constant_values=-1))
    return np.concatenate(parts)


class TileSearch(NamedTuple):
    """What the search of neighbours needs: where each level of boxes begins, and workspaces."""

    reach2: float  # Å²
    levels: NDArray[np.int64]  # (n_levels + 1,)
    boxes: Array  # (n_boxes, 6)
    stack: NDArray[np.int64]  # (_BRANCHES times the number of levels, 2)
    marked: NDArray[np.bool_]  # (n_tiles,)
    n_builds: NDArray[np.int64]  # how often the list was built, (1,)


class TileArrays(NamedTuple):
    """What compiled code needs of the beads in tiles. All from reference on change when the list is built anew."""

    places: Places  # index of the bead in each place, or -1, shape (n_places,)
    low: Array  # lowest and highest allowed position, (3,), Å
    high: Array
    slack2: float  # square of the distance that a bead may move before the list no longer holds, Å²
    first: NDArray[np.int64]  # first tile of each part, (n_parts + 1,)
    positions: Array  # by axis, (3, n_places), far away for empty places
    search: TileSearch
    reference: Array  # positions when the list was built
    start: NDArray[np.int64]  # partners of tile I are start[I] to start[I + 1], shape (n_tiles + 1,)
    partner: NDArray[np.int32]  # tile J >= I
    rows: NDArray[np.uint8]  # bits of the beads of I that may reach J
    beyond_start: NDArray[np.int64]  # those of part k are beyond_start[k] to beyond_start[k + 1], shape (n_parts + 1,)
    beyond: NDArray[np.int32]  # partners of a part's tiles that lie in later parts, ascending


@njit(**KERNEL)
def arrange(beads, tiles):  # type: ignore[no-untyped-def]
    """Copy beads (n, 3) into their places and say whether all are allowed, and whether the list still holds."""
    places, low, high, positions, reference = tiles.places, tiles.low, tiles.high, tiles.positions, tiles.reference
    moved = False
    for p in range(places.shape[0]):
        if places[p] < 0:
            continue
        i = np.uintp(places[p])  # an index that has a sign would be looked at each time
        x, y, z = beads[i, 0], beads[i, 1], beads[i, 2]
        # Written so that NaN fails the comparisons.
        if not (low[0] <= x <= high[0] and low[1] <= y <= high[1] and low[2] <= z <= high[2]):
            return OUTSIDE
        positions[0, p], positions[1, p], positions[2, p] = x, y, z
        dx, dy, dz = x - reference[0, p], y - reference[1, p], z - reference[2, p]
        # The furthest of all would be known one bead after the other.
        moved |= dx * dx + dy * dy + dz * dz > tiles.slack2
    return REBUILD if moved else KEEP


@njit(**PART)
def _fill_boxes(positions, places, levels, boxes):  # type: ignore[no-untyped-def]
    """Fill the boxes (n_boxes, 6: lowest x, y, z, highest x, y, z) of tiles and, level by level, of their groups."""
    for tile in range(levels[1]):
        for k in range(3):
            low, high = np.inf, -np.inf
            for p in range(WIDTH * tile, WIDTH * (tile + 1)):
                if places[p] >= 0:
                    low, high = min(low, positions[k, p]), max(high, positions[k, p])
            boxes[tile, k], boxes[tile, 3 + k] = low, high
    for level in range(1, levels.shape[0] - 1):
        for box in range(levels[level], levels[level + 1]):
            child = levels[level - 1] + _BRANCHES * (box - levels[level])
            for k in range(3):
                low, high = np.inf, -np.inf
                for other in range(child, min(child + _BRANCHES, levels[level])):
                    low, high = min(low, boxes[other, k]), max(high, boxes[other, 3 + k])
                boxes[box, k], boxes[box, 3 + k] = low, high


@njit(**PART)
def _list_beyond(first, start, partner, marked, beyond_start, beyond):  # type: ignore[no-untyped-def]
    """List the tiles of later parts that are partners of a part's tiles. ``marked`` (n_tiles,) is a workspace."""
    count = 0
    beyond_start[0] = 0
    for part in range(first.shape[0] - 1):
        end = first[part + 1]
        marked[end:] = False
        for p in range(start[first[part]], start[end]):
            marked[partner[p]] = True
        for tile in range(end, marked.shape[0]):
            if marked[tile]:
                beyond[count] = tile
                count += 1
        beyond_start[part + 1] = count


@njit(**KERNEL)
def rebuild(tiles):  # type: ignore[no-untyped-def]
    """List the neighbours anew for the positions last arranged; return their number, also where they do not fit.

    Where they do not, there is no list until it has been built with more room.
    """
    search, positions = tiles.search, tiles.positions
    levels, boxes, stack = search.levels, search.boxes, search.stack
    start, partner, rows = tiles.start, tiles.partner, tiles.rows
    _fill_boxes(positions, tiles.places, levels, boxes)
    top = levels.shape[0] - 2
    room, n_places = partner.shape[0], positions.shape[1]
    reach2 = search.reach2
    zero, reach = splat(0.0), splat(reach2)
    count = 0
    start[0] = 0
    for tile in range(levels[1]):
        stack[0, 0], stack[0, 1] = top, 0
        depth = 1
        while depth > 0:
            depth -= 1
            level, place = stack[depth, 0], stack[depth, 1]
            box = levels[level] + place
            gap = 0.0
            for k in range(3):
                d = max(boxes[box, k] - boxes[tile, 3 + k], boxes[tile, k] - boxes[box, 3 + k], 0.0)
                gap += d * d
            if gap > reach2:
                continue
            if level > 0:
                begin = _BRANCHES * place
                n_below = levels[level] - levels[level - 1]
                # The last tile of a group before this tile holds no partner. Reversed, so that the first is next.
                for child in range(min(begin + _BRANCHES, n_below) - 1, begin - 1, -1):
                    if (child + 1) << (_BRANCH_BITS * (level - 1)) > tile:
                        stack[depth, 0], stack[depth, 1] = level - 1, child
                        depth += 1
                continue
            # How far each bead is from the box at least, and at most: only what lies between needs a look at its beads.
            near2 = far2 = zero
            for k in range(3):
                below = splat(boxes[box, k]) - load(positions, k * n_places + WIDTH * tile)
                above = load(positions, k * n_places + WIDTH * tile) - splat(boxes[box, 3 + k])
                outer = select(below > above, below, above)
                d = select(outer > zero, outer, zero)
                near2 = near2 + d * d
                d = select(below < above, below, above)
                far2 = far2 + d * d
            # Empty places are far from all boxes.
            bits = bits_of(far2 < reach)
            doubtful = bits_of(near2 < reach) & ~bits
            if doubtful:
                other = WIDTH * place
                xj = load(positions, other)
                yj = load(positions, n_places + other)
                zj = load(positions, 2 * n_places + other)
                while doubtful != 0:
                    a = lowest_bit(doubtful)
                    doubtful &= doubtful - 1
                    # Corners of boxes are empty: a fifth of the beads within reach of a box reach no bead in it.
                    bead = WIDTH * tile + a
                    dx = broadcast(positions, bead) - xj
                    dy = broadcast(positions, n_places + bead) - yj
                    dz = broadcast(positions, 2 * n_places + bead) - zj
                    if any_of(dx * dx + dy * dy + dz * dz < reach):
                        bits |= 1 << a
            if bits:
                if count < room:
                    partner[count], rows[count] = place, bits
                count += 1
        start[tile + 1] = count
    fits = count <= room
    if fits:
        _list_beyond(tiles.first, start, partner, search.marked, tiles.beyond_start, tiles.beyond)
    for k in range(3):
        for p in range(n_places):
            tiles.reference[k, p] = positions[k, p] if fits else 2.0 * _NOWHERE
    search.n_builds[0] += fits
    return count


class Tiles:
    """Beads in tiles, and the half list of pairs of tiles that may hold beads within ``reach`` of each other.

    Parameters
    ----------
    places
        Index of the bead in each place, shape (n_places,): see :func:`spatial_places`.
    cutoff
        Distance up to which pairs of beads are complete, Å.
    skin
        Extra distance of the list, Å; it holds until a bead has moved by half of it.
    domain
        Lowest and highest allowed position, each (3,), Å.
    n_parts
        Parts of the tiles that are summed over one by one, each with sums of its own.
    """

    def __init__(
        self, places: Places, cutoff: float, skin: float, domain: tuple[Array, Array], n_parts: int = 1
    ) -> None:
        self._settings = (places, cutoff, skin, domain, n_parts)
        n_tiles = len(places) // WIDTH
        sizes = [n_tiles]
        while sizes[-1] > _BRANCHES:
            sizes.append(-(-sizes[-1] // _BRANCHES))
        if sizes[-1] > 1:
            sizes.append(1)
        levels = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        limit = np.full(3, COORDINATE_LIMIT)
        positions, reference = aligned_zeros(3, WIDTH * n_tiles), aligned_zeros(3, WIDTH * n_tiles)
        positions[:], reference[:] = _NOWHERE, 2.0 * _NOWHERE
        self.arrays = TileArrays(
            places=np.ascontiguousarray(places, dtype=np.int64),
            low=np.maximum(domain[0], -limit),
            high=np.minimum(domain[1], limit),
            slack2=0.25 * skin**2,
            first=n_tiles * np.arange(n_parts + 1) // n_parts,
            positions=positions,
            search=TileSearch(
                reach2=(cutoff + skin) ** 2,
                levels=levels,
                boxes=np.empty((levels[-1], 6)),
                stack=np.empty((_BRANCHES * len(levels), 2), np.int64),
                marked=np.empty(n_tiles, np.bool_),
                n_builds=np.zeros(1, np.int64),
            ),
            reference=reference,
            start=np.zeros(n_tiles + 1, np.int64),
            partner=np.empty(0, np.int32),
            rows=np.empty(0, np.uint8),
            beyond_start=np.zeros(n_parts + 1, np.int64),
            beyond=np.empty((n_parts - 1) * n_tiles, np.int32),
        )

    def clone(self) -> Tiles:
        """Return tiles of the same beads with workspaces of their own."""
        return Tiles(*self._settings)

    @property
    def n_pairs(self) -> int:
        """Number of pairs that a sum over the list evaluates, those beyond the cut-off included."""
        rows = self.arrays.rows[: self.arrays.start[-1]]
        return WIDTH * int(np.bitwise_count(rows).sum())

    @property
    def n_builds(self) -> int:
        """How often the list was built."""
        return int(self.arrays.search.n_builds[0])

    def build(self) -> None:
        """List the neighbours anew, for the positions last arranged; ``arrays`` is replaced where they need room."""
        while (count := rebuild(self.arrays)) > len(self.arrays.partner):
            room = count + count // 4 + WIDTH
            self.arrays = self.arrays._replace(partner=np.empty(room, np.int32), rows=np.empty(room, np.uint8))

    def update(self, beads: Array) -> bool:
        """Take new positions (n_beads, 3), Å, and return whether all are finite and allowed."""
        state = arrange(beads, self.arrays)
        if state == REBUILD:
            self.build()
        return bool(state != OUTSIDE)


#: Of no beads.
NO_TILES = Tiles(np.zeros(0, np.int64), 1.0, 1.0, (np.zeros(3), np.zeros(3))).arrays
