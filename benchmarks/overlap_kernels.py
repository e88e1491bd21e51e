"""Kernels of the likelihood without a grid, each with what it must do."""

from __future__ import annotations

import numpy as np

from bayesflex.overlap.field import interpolate
from bayesflex.overlap.pair_function import pair_sum
from bayesflex.simd import WIDTH
from benchmarks.cases import Setup
from benchmarks.kernel import Kernel
from benchmarks.probes import LINE
from benchmarks.timing import in_compiled_code, in_python
from benchmarks.work import Work

#: Two fields at a bead: 64 places x 2 fields, summed along y with weights and with slopes (4 operations each); along z
#: three sums of 4 x 8 numbers (2 each); weights and slopes (6 + 4) of 8 numbers along x, and of 8 along y and z; the
#: former's products with four sums; adding 8 numbers up to 2, four times; the place in the grid (9); units, bases and
#: weighing (22).
TWO_FIELDS = 64 * 2 * 4 + 3 * 4 * 8 * 2 + 2 * 8 * 10 + 4 * 8 + 4 * 6 + 9 + 22


def field_interpolation(setup: Setup) -> Kernel:
    """Two fields (the map's, and the one that projects an unknown offset out) at each bead."""
    overlap = setup.overlap
    tiles, arrays = overlap.tiles.arrays, overlap.arrays
    # Neighbours share coefficients: lines of the cache that are touched at all count once.
    lines = LINE * len(field_lines(tiles, arrays))
    arguments = (
        tiles.positions,
        arrays.weights,
        arrays.first_fields,
        0,
        arrays.fields,
        arrays.field_work[0],
        arrays.sums[0],
        arrays.field_gradients,
        0,
        len(tiles.places),
    )
    work = Work(
        reads=(tiles.positions, arrays.weights, arrays.first_fields),
        writes=(arrays.field_gradients,),
        operations=setup.n * TWO_FIELDS,
        scattered=lines,
    )
    return Kernel("field interpolation", in_compiled_code(interpolate, arguments), work)


def field_lines(tiles, arrays) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Return which cache lines of the coefficients the beads touch."""
    fields = arrays.fields
    _, nz, ny, nx, _ = fields.coefficients.shape
    taken = tiles.places >= 0
    cell = (tiles.positions[:, taken].T - fields.origin) / fields.spacing
    ix, iy, iz = cell.astype(np.int64).T
    first = fields.coefficients.__array_interface__["data"][0]
    row_bytes = 4 * 2 * fields.coefficients.itemsize
    lines = set()
    for c in range(-1, 3):
        for b in range(-1, 3):
            place = (((arrays.first_fields[taken] * nz + iz + c) * ny) + iy + b) * nx + ix - 1
            begin = first + 2 * fields.coefficients.itemsize * place
            lines.update((begin // LINE).tolist())
            lines.update(((begin + row_bytes - 1) // LINE).tolist())
    return np.array(sorted(lines))


def pairs_within(setup: Setup) -> int:
    """Return the number of pairs of beads closer than the end of the pair function."""
    overlap = setup.overlap
    tiles, cut2 = overlap.tiles.arrays, 2.0 / overlap.arrays.scales[0, 0, 0]
    count = 0
    position = tiles.positions.T
    for tile in range(len(tiles.start) - 1):
        first = position[WIDTH * tile : WIDTH * (tile + 1)]
        partner = tiles.partner[tiles.start[tile] : tiles.start[tile + 1]].astype(np.int64)
        other = (WIDTH * partner[:, None] + np.arange(WIDTH)).ravel()
        near = np.sum((first[:, None] - position[other]) ** 2, axis=2) < cut2
        # Each pair once: within a tile the ones above the diagonal; an empty place is far from all others but itself.
        near &= other > WIDTH * tile + np.arange(WIDTH)[:, None]
        near &= (tiles.places[other] >= 0) & (tiles.places[WIDTH * tile : WIDTH * (tile + 1)] >= 0)[:, None]
        count += int(np.count_nonzero(near))
    return count


def rows_listed(setup: Setup) -> int:
    """Return the number of pairs of a bead and a tile that the list holds: eight lanes each."""
    tiles = setup.overlap.tiles.arrays
    bits = tiles.rows[: tiles.start[-1]].astype(np.uint8)
    return int(np.unpackbits(bits).sum())


def operations_per_pair(n_coefficients: int) -> int:
    """Return the operations of one pair of beads, or of one lane."""
    # d (3), r² (5), v (2), the polynomial and its derivative (a multiply-add for the first two coefficients, 2 for each
    # other one, the first of which has a product in common), the product of weights (1), energy (2), pull (1), force
    # either way (6), its sums (6).
    return 3 + 5 + 2 + 1 + 4 * (n_coefficients - 2) + 1 + 2 + 1 + 6 + 6


#: A tile's own beads: forces on them are kept lane by lane, and added up once. Two tiles: units of weights and energy.
ADDED_UP, SCALED = 3 * WIDTH * WIDTH, 3 * WIDTH


def pair_sum_kernel(setup: Setup) -> Kernel:
    """The model's power: a polynomial in r² over pairs of beads."""
    overlap = setup.overlap
    tiles, arrays = overlap.tiles.arrays, overlap.arrays
    per_pair = operations_per_pair(arrays.coefficients.shape[2])
    n_tiles, n_listed = len(tiles.start) - 1, int(tiles.start[-1])
    once = n_tiles * ADDED_UP + n_listed * SCALED
    lanes = WIDTH * rows_listed(setup)
    gradient = arrays.power_gradients[0]
    work = Work(
        reads=(
            tiles.positions,
            arrays.weights,
            tiles.start,
            tiles.partner[:n_listed],
            tiles.rows[:n_listed],
            arrays.kind,
            arrays.coefficients,
            gradient,
        ),
        writes=(gradient,),
        operations=pairs_within(setup) * per_pair + once,
        executed=lanes * per_pair + once,
    )
    arguments = (
        tiles.positions,
        arrays.weights,
        tiles.start,
        tiles.partner,
        tiles.rows,
        arrays.kind,
        arrays.coefficients,
        arrays.scales,
        gradient,
        arrays.pair_work[0],
        0,
        n_tiles,
    )
    return Kernel("pair sum", in_compiled_code(pair_sum, arguments), work)


def tile_list(setup: Setup) -> Kernel:
    """Which tiles are close: once in many steps."""
    tiles = setup.overlap.tiles
    arrays = tiles.arrays
    n_listed = int(arrays.start[-1])
    # For each pair of tiles listed at least the gap between two boxes, and from a box to eight beads: per axis two
    # subtractions, a square and a sum. The comparisons, which are most of it, do not count.
    work = Work(
        reads=(arrays.positions, arrays.places),
        writes=(arrays.reference, arrays.start, arrays.partner[:n_listed], arrays.rows[:n_listed]),
        operations=n_listed * (1 + WIDTH) * 3 * 4,
    )
    return Kernel("list of tiles", in_python(tiles.build), work)
