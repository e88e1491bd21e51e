"""PairOverlap: the overlap with a map evaluated without touching a voxel.

The map enters through a spline field interpolated at the beads, the model's power through a pair function summed
over pairs that are close. The cost depends neither on the box nor on the voxel size.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import KERNEL
from bayesflex.overlap import OverlapValues
from bayesflex.overlap.field import FieldArrays, SplineField, beside, field_arrays, interpolate
from bayesflex.overlap.pair_function import PairFunction, pair_sum
from bayesflex.overlap.tiles import Tiles, spatial_places
from bayesflex.simd import WIDTH, aligned, aligned_zeros, load, multiply_add, splat, store

Array = NDArray[np.float64]

#: From so many places on the beads are summed over in parts, always in the same ones, so that the number of threads
#: changes no bit of a result.
_LARGE, _N_PARTS = 4096, 8

#: Extra distance of the list of neighbours, Å. A list costs about as much as a sum over it, and holds for some twenty
#: steps. With 2 Å a sum takes 5 % longer, with 1 Å a list holds for eight steps.
SKIN = 1.5


class MapFields(NamedTuple):
    """Fields of a map for beads of one kind."""

    map: SplineField
    offset: SplineField | None = None  # of the region's indicator, where an unknown offset is projected out
    fixed: SplineField | None = None  # of the density of atoms that are rendered but not moved


class PairArrays(NamedTuple):
    """What compiled code needs of an overlap besides the tiles. The last six are workspaces."""

    weights: Array  # by place, (n_places,)
    first_fields: NDArray[np.int64]  # first pair of fields of each place, -1 for empty ones, (n_places,)
    kind: NDArray[np.int64]  # of each tile, (n_tiles,)
    fields: FieldArrays
    coefficients: Array  # of the pair functions, (n_kinds, n_kinds, degree + 1)
    scales: Array  # :attr:`PairFunction.scales` of each, (n_kinds, n_kinds, 3)
    self_power: float
    offset_row: int  # which field is the offset's, or -1
    offset_norm: float
    fixed_row: int  # which field is that of the atoms that stand still, or -1
    fixed_cross: float
    fixed_power: float
    fixed_offset: float
    sums: Array  # of the fields, (n_parts, n_fields)
    powers: Array  # (n_parts,)
    field_gradients: Array  # (n_fields, 3, n_places)
    power_gradients: Array  # (n_parts, 3, n_places): of a part's own places, and of those beyond that it reaches
    field_work: Array
    pair_work: Array


#: Of no beads.
NO_PAIRS = PairArrays(
    weights=np.zeros(0),
    first_fields=np.zeros(0, np.int64),
    kind=np.zeros(0, np.int64),
    fields=FieldArrays(np.zeros((0, 0, 0, 0, 2), np.uint16), np.zeros(3), np.ones(3), np.ones(0), np.zeros(0)),
    coefficients=np.zeros((0, 0, 0)),
    scales=np.zeros((0, 0, 3)),
    self_power=0.0,
    offset_row=-1,
    offset_norm=0.0,
    fixed_row=-1,
    fixed_cross=0.0,
    fixed_power=0.0,
    fixed_offset=0.0,
    sums=np.zeros((1, 0)),
    powers=np.zeros(1),
    field_gradients=np.zeros((0, 3, 0)),
    power_gradients=np.zeros((1, 3, 0)),
    field_work=np.zeros((1, 2, WIDTH)),
    pair_work=np.zeros((1, WIDTH, 3, WIDTH)),
)


@njit(**KERNEL)
def pair_parts(tiles, arrays, first_part, end_part):  # type: ignore[no-untyped-def]
    """Sum over parts of the beads last arranged, from one to before another. Parts may be summed at the same time.

    Where a bead is off the fields' grid the sum of its part is NaN, and no further one counts.
    """
    for part in range(first_part, end_part):
        begin, end = tiles.first[part], tiles.first[part + 1]
        sums = arrays.sums[part]
        for k in range(sums.shape[0]):
            sums[k] = 0.0
        for k in range(0, sums.shape[0], 2):
            interpolate(
                tiles.positions,
                arrays.weights,
                arrays.first_fields,
                k // 2,
                arrays.fields,
                arrays.field_work[part],
                sums[k : k + 2],
                arrays.field_gradients[k : k + 2],
                WIDTH * begin,
                WIDTH * end,
            )
            if math.isnan(sums[k]):
                return
        gradient = arrays.power_gradients[part]
        n_places, zero = gradient.shape[1], splat(0.0)
        for axis in range(3):
            for p in range(WIDTH * begin, WIDTH * end):
                gradient[axis, p] = 0.0
            for k in range(tiles.beyond_start[part], tiles.beyond_start[part + 1]):
                store(gradient, axis * n_places + WIDTH * tiles.beyond[k], zero)
        arrays.powers[part] = pair_sum(
            tiles.positions,
            arrays.weights,
            tiles.start,
            tiles.partner,
            tiles.rows,
            arrays.kind,
            arrays.coefficients,
            arrays.scales,
            gradient,
            arrays.pair_work[part],
            begin,
            end,
        )


@njit(**KERNEL)
def pair_values(tiles, arrays):  # type: ignore[no-untyped-def]
    """Return cross, power and offset from the sums of all parts; cross is NaN where a bead is off the field's grid."""
    n_parts = arrays.sums.shape[0]
    cross, offset, power = arrays.fixed_cross, 0.0, arrays.self_power
    fixed = arrays.fixed_power
    for part in range(n_parts):
        cross += arrays.sums[part, 0]
        power += arrays.powers[part]
        if arrays.fixed_row >= 0:
            fixed += 2.0 * arrays.sums[part, arrays.fixed_row]
        if arrays.offset_row >= 0:
            offset += arrays.sums[part, arrays.offset_row]
    if math.isnan(cross):
        return math.nan, 0.0, 0.0
    if arrays.fixed_row >= 0:
        power += fixed
    if arrays.offset_row >= 0:
        offset += arrays.fixed_offset
        power -= offset * offset / arrays.offset_norm
    # What a part has summed up for tiles beyond it goes to those whose own they are.
    gradients = arrays.power_gradients
    n_places = gradients.shape[2]
    for part in range(n_parts - 1):
        owner = part + 1
        for k in range(tiles.beyond_start[part], tiles.beyond_start[part + 1]):
            tile = tiles.beyond[k]
            while tile >= tiles.first[owner + 1]:
                owner += 1
            for axis in range(3):
                own = (3 * owner + axis) * n_places + WIDTH * tile
                store(
                    gradients, own, load(gradients, own) + load(gradients, (3 * part + axis) * n_places + WIDTH * tile)
                )
    return cross, power, offset


@njit(**KERNEL)
def pair_gradient(tiles, arrays, offset, d_cross, d_power, out):  # type: ignore[no-untyped-def]
    """Add to out (n_beads, 3) ``d_cross · ∂cross/∂r + d_power · ∂power/∂r`` where values were last taken."""
    gradients = arrays.field_gradients
    d_offset = -2.0 * offset / arrays.offset_norm * d_power if arrays.offset_row >= 0 else 0.0
    cross8, power8, offset8, twice8 = splat(d_cross), splat(d_power), splat(d_offset), splat(2.0 * d_power)
    n_places, work = gradients.shape[2], arrays.pair_work[0, 0]
    for part in range(arrays.power_gradients.shape[0]):
        for p in range(WIDTH * tiles.first[part], WIDTH * tiles.first[part + 1], WIDTH):
            for k in range(3):
                g = cross8 * load(gradients, k * n_places + p)
                g = multiply_add(power8, load(arrays.power_gradients, (3 * part + k) * n_places + p), g)
                if arrays.offset_row >= 0:
                    g = multiply_add(offset8, load(gradients, (3 * arrays.offset_row + k) * n_places + p), g)
                if arrays.fixed_row >= 0:
                    g = multiply_add(twice8, load(gradients, (3 * arrays.fixed_row + k) * n_places + p), g)
                store(work, k * WIDTH, g)
            for a in range(WIDTH):
                if tiles.places[p + a] >= 0:
                    i = np.uintp(tiles.places[p + a])
                    out[i, 0] += work[0, a]
                    out[i, 1] += work[1, a]
                    out[i, 2] += work[2, a]


class PairOverlap:
    """Overlap of beads with a map from fields of the map and pair functions of the beads.

    Parameters
    ----------
    fields
        Those of each kind of beads; the same ones for every kind.
    pairs
        K of two beads, by their kinds: ``pairs[a][b]``, symmetric.
    weights
        Bead weights, shape (n_beads,).
    map_power
        ``(rho, P rho)``.
    domain
        Lowest and highest allowed position, each (3,), Å.
    offset_norm
        ``(1_M, P 1_M)`` of the region's indicator 1_M, with which an unknown offset of the map is projected out of the
        model; 0 where the offset is known. The map has been centred alike.
    fixed_values
        ``(cross, power, offset)`` of the atoms that are rendered but not moved.
    kind
        Kind of each bead, shape (n_beads,); None where all are alike.
    positions
        Of the beads at the start, shape (n_beads, 3), Å: beads close to each other there are evaluated together, which
        is faster and changes a sum by rounding only. By default beads close to each other in their order are.
    """

    def __init__(
        self,
        fields: Sequence[MapFields],
        pairs: Sequence[Sequence[PairFunction]],
        weights: Array,
        map_power: float,
        domain: tuple[Array, Array],
        offset_norm: float = 0.0,
        fixed_values: tuple[float, float, float] = (0.0, 0.0, 0.0),
        kind: NDArray[np.int64] | None = None,
        positions: Array | None = None,
    ) -> None:
        self.map_power = map_power
        self.domain = domain
        self._n_beads = n = len(weights)
        kind = np.zeros(n, np.int64) if kind is None else kind
        if positions is None:
            positions = np.stack([np.arange(float(n)), np.zeros(n), np.zeros(n)], axis=1)
        places = spatial_places(positions, kind)
        taken = places >= 0
        of_place = np.where(taken, kind[places], -1)
        by_place = np.where(taken, np.asarray(weights, dtype=np.float64)[places], 0.0)

        every = [field for one in fields for field in _together(one)]
        n_fields = len(every) // len(fields)
        n_parts = _N_PARTS if len(places) >= _LARGE else 1
        longest = max(len(pair.coefficients) for row in pairs for pair in row)
        self._tiles = Tiles(places, max(pair.cutoff for row in pairs for pair in row), SKIN, domain, n_parts)
        self._arrays = PairArrays(
            weights=aligned(by_place),
            first_fields=np.where(taken, of_place * (n_fields // 2), -1),
            kind=np.ascontiguousarray(of_place[::WIDTH]),
            fields=field_arrays(every),
            coefficients=np.array(
                [[np.pad(pair.coefficients, (0, longest - len(pair.coefficients))) for pair in row] for row in pairs]
            ),
            scales=np.array([[pair.scales for pair in row] for row in pairs]),
            self_power=sum(
                pairs[k][k].at_zero * float(by_place[of_place == k] @ by_place[of_place == k])
                for k in range(len(fields))
            ),
            offset_row=1 if fields[0].offset is not None else -1,
            offset_norm=float(offset_norm),
            fixed_row=-1 if fields[0].fixed is None else 1 if fields[0].offset is None else 2,
            fixed_cross=float(fixed_values[0]),
            fixed_power=float(fixed_values[1]),
            fixed_offset=float(fixed_values[2]),
            sums=np.zeros((n_parts, n_fields)),
            powers=np.zeros(n_parts),
            field_gradients=aligned_zeros(n_fields, 3, len(places)),
            power_gradients=aligned_zeros(n_parts, 3, len(places)),
            field_work=aligned_zeros(n_parts, 2, WIDTH),
            pair_work=aligned_zeros(n_parts, WIDTH, 3, WIDTH),
        )
        self._offset = 0.0

    @property
    def n_beads(self) -> int:
        """Number of beads."""
        return self._n_beads

    @property
    def n_parts(self) -> int:
        """Number of parts that may be summed at the same time."""
        return len(self._arrays.powers)

    @property
    def tiles(self) -> Tiles:
        """The beads in tiles, with the list of neighbours."""
        return self._tiles

    @property
    def arrays(self) -> PairArrays:
        """What compiled code needs besides the tiles."""
        return self._arrays

    def clone(self) -> PairOverlap:
        """Return one that shares the map and owns its workspaces."""
        other = copy.copy(self)
        other._tiles = self._tiles.clone()
        other._arrays = self._arrays._replace(
            sums=np.zeros_like(self._arrays.sums),
            powers=np.zeros_like(self._arrays.powers),
            field_gradients=aligned_zeros(*self._arrays.field_gradients.shape),
            power_gradients=aligned_zeros(*self._arrays.power_gradients.shape),
            field_work=aligned_zeros(*self._arrays.field_work.shape),
            pair_work=aligned_zeros(*self._arrays.pair_work.shape),
        )
        return other

    def evaluate(self, beads: Array) -> OverlapValues | None:
        """Return cross and power at bead positions (n_beads, 3), or None where a bead is outside the domain."""
        if not self._tiles.update(beads):
            return None
        pair_parts(self._tiles.arrays, self._arrays, 0, self.n_parts)
        cross, power, self._offset = pair_values(self._tiles.arrays, self._arrays)
        return None if math.isnan(cross) else OverlapValues(cross, power)

    def gradient(self, d_cross: float, d_power: float) -> Array:
        """Return ``d_cross · ∂cross/∂r + d_power · ∂power/∂r``, shape (n_beads, 3), where last evaluated."""
        out = np.zeros((self._n_beads, 3))
        pair_gradient(self._tiles.arrays, self._arrays, self._offset, d_cross, d_power, out)
        return out


def _together(fields: MapFields) -> list[SplineField]:
    """Return the fields that there are, an even number: one of zeros completes the last pair."""
    present = [field for field in fields if field is not None]
    if len(present) % 2:
        present.append(beside(present[-1]))
    return present
