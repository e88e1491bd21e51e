"""Clusters: draws in one place make the answer, and those elsewhere are told."""

from __future__ import annotations

import numpy as np
import pytest
from small_trace import make_trace

from bayesflex.clusters import cluster_chains, crossings, describe_clusters, find_clusters, rmsd_between
from bayesflex.errors import InputError


def test_the_cluster_of_the_best_chain_wins_over_a_larger_one(rng: np.random.Generator) -> None:
    base = rng.normal(size=(20, 3))
    shift = np.array([0.0, 5.0, 0.1, 5.2, 5.1])  # RMSD between chains is the difference of shifts
    means = base + shift[:, np.newaxis, np.newaxis] / np.sqrt(3.0)
    scores = np.array([-10.0, -20.0, -12.0, -19.0, -21.0])
    assert cluster_chains(means, scores, 1.0) == [(0, 2), (1, 3, 4)]
    assert cluster_chains(means, -scores, 1.0) == [(1, 3, 4), (0, 2)]
    assert cluster_chains(means, scores, 0.05) == [(0,), (2,), (3,), (1,), (4,)]
    assert cluster_chains(means, scores, 6.0) == [(0, 1, 2, 3, 4)]
    assert cluster_chains(means[:1], scores[:1], 1.0) == [(0,)]
    assert cluster_chains(means, np.where(np.arange(5) == 0, np.nan, scores), 1.0)[0] == (0, 2)


def test_two_chains_of_a_cluster_are_never_further_apart_than_the_cutoff() -> None:
    ladder = np.linspace(0.0, 3.0, 7)[:, np.newaxis, np.newaxis] * np.ones((7, 4, 3)) / np.sqrt(3.0)
    clusters = cluster_chains(ladder, np.arange(7.0), 1.1)
    assert 6 in clusters[0]
    assert sorted(chain for cluster in clusters for chain in cluster) == list(range(7))
    for cluster in clusters:
        assert np.ptp(np.linspace(0.0, 3.0, 7)[list(cluster)]) <= 1.1


def test_clustering_refuses_what_it_cannot_judge() -> None:
    with pytest.raises(InputError, match="shape"):
        cluster_chains(np.zeros((2, 5, 3)), np.zeros(3), 1.0)
    with pytest.raises(InputError, match="not finite"):
        cluster_chains(np.full((2, 5, 3), np.nan), np.zeros(2), 1.0)
    with pytest.raises(InputError, match="not finite"):
        cluster_chains(np.zeros((2, 5, 3)), np.full(2, np.nan), 1.0)


@pytest.fixture
def two_places(rng: np.random.Generator):
    """Four chains of 20 residues, of which 1 and 3 have residues 6 to 9 elsewhere, with a lower log density."""
    coords = rng.normal(0.0, 0.2, size=(4, 50, 20, 3)) + 10.0 * rng.normal(size=(20, 3))
    coords[[1, 3], :, 5:9, 2] += 8.0
    level = np.array([-100.0, -130.0, -104.0, -134.0])[:, None]
    correlation = np.array([0.95, 0.91, 0.93, 0.89])[:, None]
    noise = rng.normal(size=(4, 50))
    return make_trace(coords, lp=level + noise - noise.mean(1, keepdims=True), cc_centred=correlation + 0.0 * noise)


def test_two_places_are_two_clusters_and_never_one_average(two_places) -> None:
    best, other = find_clusters(two_places, 1.0)
    assert (best.chains, other.chains) == ((0, 2), (1, 3))
    np.testing.assert_allclose(best.mean, two_places.coords[[0, 2]].mean(axis=(0, 1)))
    np.testing.assert_allclose(other.mean[5:9, 2] - best.mean[5:9, 2], 8.0, atol=0.2)
    assert best.log_density == pytest.approx(-102.0)
    assert other.cc_centred == pytest.approx(0.90)
    between = rmsd_between((best, other))
    assert between[0, 1] == between[1, 0] == pytest.approx(8.0 * np.sqrt(4 / 20), abs=0.1)
    assert between[0, 0] == between[1, 1] == 0.0


def test_what_is_said_of_clusters_names_chains_residues_numbers_and_files(two_places) -> None:
    text = describe_clusters(find_clusters(two_places, 1.0), two_places, 1.0, ["cluster-2.cif"])
    for expected in (
        "2 conformations",
        "chains 0, 2 (cc_centred 0.9400, log density -102)",
        "chains 1, 3 (cc_centred 0.9000, log density -132), 3.6 Å RMSD away, most in A 6-9",
        "cluster-2.cif",
        "--warmup-iterations",
    ):
        assert expected in text
    assert "nan" in describe_clusters(
        find_clusters(make_trace(two_places.coords, lp=two_places.log_density), 1.0), two_places, 1.0, []
    )


def test_chains_in_one_place_are_one_cluster(rng: np.random.Generator) -> None:
    (cluster,) = find_clusters(make_trace(rng.normal(0.0, 0.2, size=(3, 50, 20, 3))), 1.0)
    assert cluster.chains == (0, 1, 2)


def went_to_and_fro(rng, changes, lp=(-100.0, -101.0)):
    """Three chains of 60 draws: 0 crosses at some draws, 1 stays in the first place, 2 in a third, far off."""
    coords = rng.normal(0.0, 0.2, size=(3, 60, 20, 3)) + 10.0 * rng.normal(size=(20, 3))
    away = np.zeros(60, dtype=bool)
    for change in changes:
        away[change:] = ~away[change:]
    coords[0, away, 5:9, 2] += 8.0
    coords[2, :, :, 0] += 9.0
    level = np.array([np.where(away, lp[1], lp[0]), np.full(60, lp[0]), np.full(60, -150.0)])
    noise = rng.normal(size=(3, 60))
    return make_trace(coords, lp=level + 0.1 * noise, cc_centred=np.full((3, 60), 0.9)), away


def test_a_chain_that_goes_to_and_fro_is_in_two_clusters_with_their_shares(rng):
    # Most draws of the chain are in the second place, which has the lower density: it is wider.
    trace, away = went_to_and_fro(rng, range(2, 60, 2))
    away_more = ~away if away.sum() < 30 else away
    first, *others = find_clusters(trace, 1.0)
    assert {cluster.chains for cluster in (first, *others)} == {(0, 1), (0,), (2,)}
    assert sum(cluster.share for cluster in (first, *others)) == pytest.approx(1.0)
    assert sum(cluster.members.astype(int) for cluster in (first, *others)).tolist() == np.ones((3, 60)).tolist()
    assert first.chains == (0, 1)
    assert first.share == pytest.approx((60 + (~away).sum()) / 180)
    np.testing.assert_allclose(first.mean, trace.coords[first.members].mean(axis=0))
    assert away_more.any()
    assert crossings((first, *others)) == [29, 0, 0]
    text = describe_clusters((first, *others), trace, 1.0, ["cluster-2.cif", "cluster-3.cif"])
    for expected in ("hold 3", "of the draws", "crossed 29 times", "how probable each is", "most in A 6-9", "all over"):
        assert expected in text


def test_between_places_that_chains_cross_the_share_decides_and_not_the_density(rng):
    trace, away = went_to_and_fro(rng, sorted({k + j for k in range(0, 60, 6) for j in (0, 5)}))
    assert away.sum() == 50
    alone = make_trace(trace.coords[:1], lp=trace.log_density[:1])
    first, second = find_clusters(alone, 1.0)
    assert first.share == pytest.approx(50 / 60)
    assert first.log_density < second.log_density


def test_after_a_single_crossing_the_density_decides_and_the_shares_are_called_rough(rng):
    trace, _ = went_to_and_fro(rng, [50], lp=(-130.0, -100.0))
    alone = make_trace(trace.coords[:1], lp=trace.log_density[:1], cc_centred=trace.sample_stats["cc_centred"][:1])
    first, second = find_clusters(alone, 1.0)
    assert first.log_density > second.log_density
    assert first.share == pytest.approx(10 / 60)
    text = describe_clusters((first, second), alone, 1.0, [])
    for expected in ("chain 0 (17% of the draws", "crossed 1 time in all", "say little", "--iterations"):
        assert expected in text
