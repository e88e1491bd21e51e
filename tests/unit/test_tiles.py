"""Beads in tiles against the plain enumeration of pairs."""

import numpy as np
import pytest

from bayesflex.overlap.tiles import Tiles, spatial_places
from bayesflex.simd import WIDTH

EVERYWHERE = (np.full(3, -1e6), np.full(3, 1e6))


def listed(tiles, places):
    """The pairs of beads, i and j, that the list covers, each as often as it does."""
    arrays = tiles.arrays
    found = []
    for tile in range(len(arrays.start) - 1):
        for p in range(arrays.start[tile], arrays.start[tile + 1]):
            for row in range(WIDTH):
                if arrays.rows[p] >> row & 1:
                    i = WIDTH * tile + row
                    others = WIDTH * int(arrays.partner[p]) + np.arange(WIDTH)
                    found += [tuple(sorted((places[i], places[j]))) for j in others if j > i and places[j] >= 0]
    return found


def close(positions, distance):
    gap = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    return {(i, j) for i, j in np.argwhere(gap < distance) if i < j}


@pytest.mark.parametrize("n", [1, 5, 8, 9, 64, 65, 200, 700])
def test_each_pair_within_reach_is_listed_once(n):
    positions = np.random.default_rng(n).uniform(-20.0, 20.0, (n, 3))
    places = spatial_places(positions)
    tiles = Tiles(places, 7.0, 2.0, EVERYWHERE)
    assert tiles.update(positions)
    found = listed(tiles, places)
    assert len(set(found)) == len(found)
    assert close(positions, 9.0) <= set(found)


@pytest.mark.parametrize(("n", "n_parts"), [(5, 4), (200, 3), (700, 4), (700, 1)])
def test_the_tiles_that_a_part_reaches_beyond_itself_are_listed(n, n_parts):
    rng = np.random.default_rng(n)
    positions = rng.uniform(-20.0, 20.0, (n, 3))
    tiles = Tiles(spatial_places(positions), 7.0, 2.0, EVERYWHERE, n_parts)
    for scale in (1.0, 0.8, 1.3):  # more partners, then fewer
        assert tiles.update(scale * positions)
        arrays = tiles.arrays
        assert (arrays.first[0], arrays.first[-1], len(arrays.first)) == (0, len(arrays.start) - 1, n_parts + 1)
        for part, (first, end) in enumerate(zip(arrays.first[:-1], arrays.first[1:], strict=True)):
            partners = arrays.partner[arrays.start[first] : arrays.start[end]]
            beyond = arrays.beyond[arrays.beyond_start[part] : arrays.beyond_start[part + 1]]
            np.testing.assert_array_equal(beyond, np.unique(partners[partners >= end]))


def test_places_hold_each_bead_once_and_tiles_are_of_one_kind():
    rng = np.random.default_rng(1)
    positions, kind = rng.normal(size=(103, 3)), rng.integers(0, 3, 103)
    places = spatial_places(positions, kind)
    assert len(places) % WIDTH == 0
    assert sorted(places[places >= 0]) == list(range(103))
    for tile in places.reshape(-1, WIDTH):
        assert len(set(kind[tile[tile >= 0]])) == 1


def test_tiles_are_compact():
    """Of a solid ball a tile is about a cube of eight beads, not a string of them."""
    grid = np.stack(np.meshgrid(*[np.arange(16.0)] * 3), axis=-1).reshape(-1, 3)
    shuffled = np.random.default_rng(3).permutation(grid)
    tiles = shuffled[spatial_places(shuffled)].reshape(-1, WIDTH, 3)
    assert np.ptp(tiles, axis=1).max() == 1.0


def test_the_list_holds_until_a_bead_has_moved_by_half_the_skin():
    positions = np.random.default_rng(4).uniform(-20.0, 20.0, (100, 3))
    places = spatial_places(positions)
    tiles = Tiles(places, 6.0, 2.0, EVERYWHERE)
    tiles.update(positions)
    moved = positions.copy()
    moved[3, 1] += 0.99
    tiles.update(moved)
    assert tiles.n_builds == 1
    assert close(moved, 6.0) <= set(listed(tiles, places))
    moved[3, 1] += 0.02
    tiles.update(moved)
    assert tiles.n_builds == 2


def test_what_is_not_allowed_is_noticed_and_leaves_the_list():
    positions = np.random.default_rng(5).uniform(-5.0, 5.0, (20, 3))
    tiles = Tiles(spatial_places(positions), 6.0, 2.0, (np.full(3, -6.0), np.full(3, 6.0)))
    assert tiles.update(positions)
    for bad in (np.nan, np.inf, -6.1, 1e300):
        wrong = positions.copy()
        wrong[11, 2] = bad
        assert not tiles.update(wrong)
    assert tiles.update(positions)
    assert tiles.n_builds == 1


def test_a_clone_lists_for_itself():
    positions = np.random.default_rng(6).uniform(-10.0, 10.0, (50, 3))
    places = spatial_places(positions)
    one = Tiles(places, 5.0, 1.0, EVERYWHERE)
    one.update(positions)
    two = one.clone()
    two.update(positions + 3.0)
    assert (one.n_builds, two.n_builds) == (1, 1)
    assert set(listed(one, places)) >= close(positions, 5.0)
    np.testing.assert_array_equal(one.arrays.reference[:, 0], positions[places[0]])
