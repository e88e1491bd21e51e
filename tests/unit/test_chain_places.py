"""Places of a chain: a leap between two groups of draws is seen, and a broad or slow chain is one place."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.chain_places import n_crossings, places_of_chain

N_CA = 30


def scattered(rng, n_draws, soft=(1.0, 0.5, 0.3)):
    """Draws that spread along a few collective directions, and each CA a little."""
    directions = rng.normal(size=(len(soft), N_CA, 3))
    along = rng.normal(size=(n_draws, len(soft))) * np.array(soft)
    return np.einsum("dk,kij->dij", along, directions) + rng.normal(0.0, 0.3, size=(n_draws, N_CA, 3))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("n_draws", [60, 1500])
def test_a_leap_is_seen(rng, share, n_draws):
    away = rng.random(n_draws) < share
    away[0], away[1:4] = False, True
    draws = scattered(rng, n_draws)
    draws[away, :15] += 12.0
    places = places_of_chain(draws.astype(np.float32), 1.0)
    np.testing.assert_array_equal(places, away.astype(int))
    assert n_crossings(places) == np.count_nonzero(np.diff(away))


def test_three_places_are_numbered_as_they_were_visited(rng):
    expected = np.repeat([0, 1, 2, 1, 0], 12)
    draws = scattered(rng, 60)
    draws += np.array([[0.0, 0.0, 0.0], [20.0, 0.0, 0.0], [0.0, 0.0, -15.0]])[expected][:, None]
    np.testing.assert_array_equal(places_of_chain(draws, 1.0), expected)


def test_places_that_are_close_together_are_one(rng):
    draws = rng.normal(0.0, 0.01, size=(60, N_CA, 3))
    draws[::3] += 0.5  # 0.87 Å RMSD
    assert places_of_chain(draws, 0.8).max() == 1
    assert places_of_chain(draws, 0.9).max() == 0


def independent(rng, n):
    return rng.normal(0.0, 1.5, size=(n, N_CA, 3))


def drifting(rng, n):
    return 0.5 * np.cumsum(rng.normal(size=(n, N_CA, 3)), axis=0)


def swinging(rng, n):
    phase = np.cos(np.linspace(0.0, 6.0 * np.pi, n))
    return 6.0 * phase[:, None, None] * np.ones((N_CA, 3)) + rng.normal(0.0, 0.2, size=(n, N_CA, 3))


def evenly_spread(rng, n):
    return rng.uniform(-8.0, 8.0, size=n)[:, None, None] * np.ones((N_CA, 3)) + rng.normal(0.0, 0.2, size=(n, N_CA, 3))


def slow(rng, n):
    draws, at = np.empty((n, N_CA, 3)), rng.normal(size=(N_CA, 3))
    for index in range(n):
        at = 0.95 * at + np.sqrt(1.0 - 0.95**2) * rng.normal(size=at.shape)
        draws[index] = 2.0 * at
    return draws


@pytest.mark.parametrize("n_draws", [12, 40, 100, 300])
@pytest.mark.parametrize("kind", [independent, drifting, swinging, evenly_spread, slow, scattered])
def test_a_broad_or_slow_chain_is_one_place(kind, n_draws):
    rng = np.random.default_rng(11)
    assert [int(places_of_chain(kind(rng, n_draws), 1.0).max()) for _ in range(5)] == [0] * 5


@pytest.mark.parametrize("n_draws", [1, 2, 5])
def test_few_draws_are_one_place(rng, n_draws):
    assert places_of_chain(scattered(rng, n_draws), 0.1).tolist() == [0] * n_draws


def test_a_chain_that_never_moved_is_one_place():
    assert places_of_chain(np.ones((20, N_CA, 3)), 0.1).max() == 0
