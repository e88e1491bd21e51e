"""Uncertainty of each residue: spreads of known distributions, and stretches that the map does not place."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from bayesflex.geometry import rotation_of_vector
from bayesflex.synthetic import two_domain_protein
from bayesflex.uncertainty import LEAST_CONTRACTION, ResidueUncertainty, local_spreads, spread, thinned


def made(local_sd, prior_local_sd, absent=None, labels=None) -> ResidueUncertainty:
    local_sd = np.asarray(local_sd, dtype=np.float64)
    n = len(local_sd)
    return ResidueUncertainty(
        sd=local_sd,
        radius=2.5 * local_sd,
        local_sd=local_sd,
        prior_local_sd=np.broadcast_to(np.asarray(prior_local_sd, dtype=np.float64), n),
        support=np.ones(n),
        absent=np.zeros(n, dtype=bool) if absent is None else absent,
        r_hat=np.ones(n),
        ess=np.full(n, 100.0),
        labels=np.array([f"A {k}" for k in range(1, n + 1)] if labels is None else labels),
    )


def test_spread_of_a_normal_distribution_is_the_known_one(rng):
    scale = np.array([0.1, 0.5, 2.0])
    draws = (100.0 + scale[:, None] * rng.normal(size=(20_000, 3, 3))).astype(np.float32)
    sd, radius = spread(draws)
    np.testing.assert_allclose(sd, scale, rtol=0.02)
    np.testing.assert_allclose(radius, scale * np.sqrt(chi2.ppf(0.9, 3)), rtol=0.03)


def test_the_radius_holds_at_least_nine_tenths_of_the_draws(rng):
    for n_draws in (1, 7, 10, 33):
        draws = rng.normal(size=(n_draws, 4, 3))
        _, radius = spread(draws)
        held = np.linalg.norm(draws - draws.mean(axis=0), axis=2) <= radius * (1 + 1e-12)
        assert (held.mean(axis=0) >= 0.9).all()
        assert (held.mean(axis=0) < 0.9 + 1.0 / n_draws).all()


def test_a_spread_along_one_direction_counts_a_third(rng):
    draws = np.zeros((5000, 1, 3))
    draws[:, 0, 1] = rng.normal(0.0, 3.0, 5000)
    assert spread(draws)[0][0] == pytest.approx(np.sqrt(3.0), rel=0.05)


def test_motions_as_one_count_in_place_and_not_in_local_frames(rng):
    ca = two_domain_protein(60).ca_trace().coords
    jitter = rng.normal(0.0, 0.2, size=(150, 60, 3))
    turns = [rotation_of_vector(rng.normal(0.0, 0.2, 3)) for _ in jitter]
    draws = np.array([(ca + noise) @ turn.T for noise, turn in zip(jitter, turns, strict=True)])
    assert np.median(spread(draws)[0]) > 1.0
    local, prior = local_spreads(draws, ca + 3.0 * jitter)
    np.testing.assert_allclose(np.median(local), 0.2, rtol=0.15)
    np.testing.assert_allclose(np.median(prior), 0.6, rtol=0.15)


def test_contraction_is_the_share_of_the_variance_that_is_gone():
    found = made([0.5, 1.0, 2.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, 0.0])
    np.testing.assert_allclose(found.contraction[:4], [0.75, 0.0, -3.0, 1.0])
    assert np.isnan(found.contraction[4])


def test_stretches_that_spread_as_the_prior_are_prior_only():
    local = np.full(30, 0.3)
    local[10:18] = 1.0
    found = made(local, 1.0)
    marked = np.flatnonzero(found.uncontracted)
    assert set(range(11, 17)) <= set(marked) <= set(range(9, 19))
    np.testing.assert_array_equal(found.prior_only, found.uncontracted)


def test_single_residues_are_not_called_prior_only():
    local = np.full(30, 0.3)
    local[[4, 20]] = 1.0
    assert not made(local, 1.0).prior_only.any()


def test_stretches_end_with_their_chain():
    labels = [f"A {k}" for k in range(10)] + [f"B {k}" for k in range(10)]
    local = np.r_[np.full(10, 0.2), np.full(10, 1.0)]
    np.testing.assert_array_equal(made(local, 1.0, labels=labels).uncontracted, np.r_[np.zeros(10), np.ones(10)])


def test_residues_without_density_are_prior_only_however_narrow_they_are():
    absent = np.arange(12) < 4
    found = made(np.full(12, 0.1), 1.0, absent=absent)
    assert not found.uncontracted.any()
    np.testing.assert_array_equal(found.prior_only, absent)
    assert (found.contraction > LEAST_CONTRACTION).all()


def test_draws_are_thinned_evenly():
    values = np.arange(10.0)[:, None, None] * np.ones((1, 1, 3))
    np.testing.assert_array_equal(thinned(values, 4)[:, 0, 0], [0.0, 3.0, 6.0, 9.0])
    assert len(thinned(values, 20)) == 10
    assert len(thinned(values[:1], 4)) == 1
