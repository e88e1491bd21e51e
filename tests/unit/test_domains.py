"""Dynamical domains: rotations of rigid parts, Ward's clustering against SciPy's, and what is made of its tree."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage

from bayesflex.domains import (
    LEAST_SIZE,
    _spread,
    _without_short_runs,
    boundaries,
    find_domains,
    linkers,
    local_rotations,
    ward_merges,
)
from bayesflex.normal_modes import NormalModes
from bayesflex.synthetic import two_domain_layout, two_domain_protein


def test_a_part_that_turns_as_one_has_its_rotation_everywhere(rng):
    coords = rng.uniform(0.0, 20.0, size=(60, 3))
    turns = rng.normal(size=(2, 3))
    vectors = np.cross(turns[:, None], coords[None]) + rng.normal(size=(2, 1, 3))  # a shift does not turn
    stiffness = np.array([0.5, 4.0])
    modes = NormalModes(vectors, stiffness, np.array([7, 8]), np.ones(2), 10.0)
    found = local_rotations(coords, modes)
    np.testing.assert_allclose(found, np.broadcast_to(turns / np.sqrt(stiffness)[:, None], (60, 2, 3)), atol=1e-9)


def test_without_constraint_the_merges_are_ward_s(rng):
    features = rng.normal(size=(40, 5))
    first, second = np.triu_indices(40, 1)
    merges, rises = ward_merges(features, first, second)
    reference = linkage(features, "ward")
    np.testing.assert_array_equal(np.sort(merges, axis=1), reference[:, :2].astype(int))
    # SciPy's height of a merge is the root of twice the rise.
    np.testing.assert_allclose(np.sqrt(2.0 * rises), reference[:, 2])


def test_only_neighbours_are_joined(rng):
    # A ring: whatever the features, every cluster is a stretch of it.
    n = 30
    merges, _ = ward_merges(rng.normal(size=(n, 3)), np.arange(n), (np.arange(n) + 1) % n)
    members = [{bead} for bead in range(n)]
    for i, j in merges:
        joined = members[i] | members[j]
        assert any((bead + 1) % n in members[j] for bead in members[i]) or any(
            (bead + 1) % n in members[i] for bead in members[j]
        )
        members.append(joined)
    assert len(merges) == n - 1


def test_pieces_that_do_not_touch_stay_apart():
    merges, _ = ward_merges(np.zeros((4, 1)), np.array([0, 2]), np.array([1, 3]))
    assert sorted(map(sorted, merges.tolist())) == [[0, 1], [2, 3]]


def test_two_domains_are_found():
    ca = two_domain_protein(200).ca_trace()
    layout = two_domain_layout(200)
    found = find_domains(ca, 10.0)
    parts = [found.labels[part] for part in (layout.first_domain, layout.second_domain)]
    most = [np.bincount(part) for part in parts]
    assert [counts.max() / counts.sum() > 0.9 for counts in most] == [True, True]
    assert np.argmax(most[0]) != np.argmax(most[1])


def test_the_largest_domain_is_the_first_and_bodies_hold_the_domains():
    found = find_domains(two_domain_protein(200).ca_trace(), 10.0)
    sizes = np.bincount(found.labels)
    assert np.all(np.diff(sizes) <= 0)
    assert sizes.sum() == 200
    for number in range(found.n_domains):
        assert (number,) in found.bodies
    np.testing.assert_array_equal(found.residues((0,)), found.labels == 0)


def test_a_small_protein_is_one_domain():
    ca = two_domain_protein(60).ca_trace().select(np.arange(2 * LEAST_SIZE - 1))
    found = find_domains(ca, 10.0)
    assert found.n_domains == 1
    assert not found.linker.any()


def test_short_stretches_join_what_they_lie_between():
    bonded = np.ones(39, dtype=bool)
    labels = np.array([0] * 15 + [1] * 3 + [0] * 10 + [1] * 12)
    np.testing.assert_array_equal(_without_short_runs(labels, bonded), [0] * 28 + [1] * 12)


def test_a_short_chain_stays_what_it_is():
    bonded = np.ones(22, dtype=bool)
    bonded[2] = False
    labels = np.array([1] * 3 + [0] * 20)
    np.testing.assert_array_equal(_without_short_runs(labels, bonded), labels)


def test_beads_without_a_label_take_that_of_their_neighbours():
    chain = np.arange(5)
    both = np.concatenate([chain, chain + 1]), np.concatenate([chain + 1, chain])
    np.testing.assert_array_equal(_spread(np.array([0, -1, -1, -1, -1, 1]), *both), [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("broken", [False, True])
def test_linkers_are_on_both_sides_of_a_boundary_along_the_chain(broken):
    labels = np.array([0] * 10 + [1] * 10)
    bonded = np.ones(19, dtype=bool)
    bonded[9] = not broken
    np.testing.assert_array_equal(boundaries(labels, bonded), [] if broken else [9])
    np.testing.assert_array_equal(np.flatnonzero(linkers(labels, bonded)), [] if broken else range(7, 13))
