"""The neighbour list finds all pairs, keeps them sorted, and survives what it may be given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator

from bayesflex.errors import InputError
from bayesflex.neighbours import NeighbourList, pairs_to_rows


def all_pairs(coords, cutoff):
    """Pairs i < j within the cut-off, in order, by the full distance matrix."""
    distance = np.linalg.norm(coords[:, None] - coords[None], axis=2)
    i, j = np.nonzero(np.triu(distance <= cutoff, k=1))
    return np.stack([i, j], axis=1)


def listed(rows):
    start, index = rows
    return np.stack([np.repeat(np.arange(len(start) - 1), np.diff(start)), index], axis=1)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 120),
    size=st.sampled_from([3.0, 30.0, 300.0]),
    shape=st.sampled_from([(1, 1, 1), (1, 1, 0), (1, 0, 0)]),
    shift=st.floats(-1e5, 1e5),
)
def test_same_pairs_as_the_distance_matrix(seed, n, size, shape, shift):
    coords = np.random.default_rng(seed).random((n, 3)) * size * np.array(shape, dtype=float) + shift
    got = NeighbourList(6.0, skin=1.5).update(coords)
    assert np.array_equal(listed(got), all_pairs(coords, 7.5))


def test_diagonal_line_and_far_outlier(rng: Generator):
    line = np.arange(2000)[:, None] * np.array([2.3, 2.3, 2.3])
    assert np.array_equal(listed(NeighbourList(4.0, skin=0.0).update(line)), [(i, i + 1) for i in range(1999)])
    coords = rng.random((500, 3)) * 30.0
    coords[17] = [1e6, -1e6, 1e6]
    neighbours = NeighbourList(5.0, skin=0.0)
    assert np.array_equal(listed(neighbours.update(coords)), all_pairs(coords, 5.0))


def test_two_coincident_beads_are_a_pair():
    assert np.array_equal(listed(NeighbourList(1.0).update(np.zeros((2, 3)))), [(0, 1)])


def test_rebuilt_only_once_a_bead_moved_half_the_skin(rng: Generator):
    coords = rng.random((300, 3)) * 40.0
    neighbours = NeighbourList(6.0, skin=2.0)
    neighbours.update(coords)
    coords[5] += [0.99, 0.0, 0.0]
    neighbours.update(coords)
    assert neighbours.n_builds == 1
    coords[5] += [0.02, 0.0, 0.0]
    neighbours.update(coords)
    assert neighbours.n_builds == 2


def test_complete_within_the_cutoff_all_along_a_walk(rng: Generator):
    coords = rng.random((200, 3)) * 30.0
    neighbours = NeighbourList(6.0, skin=2.0)
    for _ in range(30):
        coords = coords + rng.normal(scale=0.2, size=coords.shape)
        got = listed(neighbours.update(coords))
        within = got[np.linalg.norm(coords[got[:, 0]] - coords[got[:, 1]], axis=1) <= 6.0]
        assert np.array_equal(within, all_pairs(coords, 6.0))
    assert 1 < neighbours.n_builds < 30


def test_exclusions_are_left_out_in_either_direction(rng: Generator):
    coords = rng.random((40, 3)) * 10.0
    excluded = np.array([[3, 4], [9, 2], [3, 30]])
    got = {tuple(pair) for pair in listed(NeighbourList(20.0, exclusions=excluded).update(coords)).tolist()}
    assert got == {(i, j) for i in range(40) for j in range(i + 1, 40)} - {(3, 4), (2, 9), (3, 30)}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, -1e9])
def test_unusable_coordinates_give_no_list_and_leave_it_usable(bad: float, rng: Generator):
    coords = rng.random((50, 3)) * 20.0
    neighbours = NeighbourList(6.0)
    before = listed(neighbours.update(coords)).copy()
    broken = coords.copy()
    broken[31, 1] = bad
    assert neighbours.update(broken) is None
    assert NeighbourList(6.0).update(broken) is None
    assert np.array_equal(listed(neighbours.update(coords)), before)


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_pair(n: int):
    start, index = NeighbourList(5.0).update(np.zeros((n, 3)))
    assert start.tolist() == [0] * (n + 1)
    assert len(index) == 0


def test_number_of_beads_may_change(rng: Generator):
    neighbours = NeighbourList(6.0)
    for n in (30, 80, 10):
        coords = rng.random((n, 3)) * 20.0
        assert np.array_equal(listed(neighbours.update(coords)), all_pairs(coords, 8.0))


def test_clone_shares_no_workspace(rng: Generator):
    coords = rng.random((60, 3)) * 20.0
    neighbours = NeighbourList(6.0, exclusions=np.array([[0, 1]]))
    before = listed(neighbours.update(coords))
    other = neighbours.clone()
    other.update(coords[::-1] * 2.0)
    assert np.array_equal(listed(neighbours.update(coords)), before)
    assert np.array_equal(listed(other.update(coords)), before)


@pytest.mark.parametrize(("cutoff", "skin"), [(0.0, 1.0), (-1.0, 1.0), (np.nan, 1.0), (5.0, -1.0), (np.inf, 1.0)])
def test_cutoff_and_skin_are_checked(cutoff: float, skin: float):
    with pytest.raises(InputError, match="positive cut-off"):
        NeighbourList(cutoff, skin)


def test_exclusion_of_a_bead_that_is_not_there():
    with pytest.raises(InputError, match="exclusions name beads up to 9"):
        NeighbourList(5.0, exclusions=np.array([[0, 9]])).update(np.zeros((3, 3)))


def test_pairs_to_rows_sorts_and_drops_repeats():
    start, index = pairs_to_rows(np.array([[2, 0], [0, 1], [0, 2], [1, 3]]), 4)
    assert start.tolist() == [0, 2, 3, 3, 3]
    assert index.tolist() == [1, 2, 3]
