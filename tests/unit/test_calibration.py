"""The statistics of calibration, on a case whose posterior is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayesflex.calibration import (
    LEVELS,
    corrected,
    coverage,
    held,
    histogram_band,
    rank_histogram,
    ranks_of_truth,
    uniformity_p_values,
)
from bayesflex.errors import InputError

N_DRAWS, N_REPLICATES = 39, 200
NOISE = 0.7


def ranks_of(rng, width=1.0, shift=0.0, n_quantities=6, n_replicates=N_REPLICATES):
    """Truths from N(0, 1), data of each with noise, and draws from N(mean + shift, (width · SD)²) of the posterior."""
    found = []
    for _ in range(n_replicates):
        truth = rng.standard_normal(n_quantities)
        data = truth + NOISE * rng.standard_normal(n_quantities)
        variance = 1.0 / (1.0 + NOISE**-2)
        mean, sd = variance * data / NOISE**2, np.sqrt(variance)
        draws = mean + shift * sd + width * sd * rng.standard_normal((N_DRAWS, n_quantities))
        found.append(ranks_of_truth(draws, truth))
    return np.array(found)


def least_p(ranks):
    return corrected(uniformity_p_values(ranks, N_DRAWS, np.random.default_rng(0))).min()


def test_a_sampler_of_the_posterior_passes(rng):
    ranks = ranks_of(rng)
    assert least_p(ranks) > 0.01
    for level in LEVELS:
        found = coverage(ranks, N_DRAWS, level / 100)
        assert abs(found.share - level / 100) < 3.5 * found.error


@pytest.mark.parametrize(("width", "shift"), [(0.7, 0.0), (1.5, 0.0), (1.0, 0.5), (1.0, -0.5)])
def test_intervals_too_narrow_or_wide_and_biases_are_found(rng, width, shift):
    assert least_p(ranks_of(rng, width, shift)) < 1e-3


def test_coverage_of_wrong_widths_is_that_of_the_normal_distribution(rng):
    for width in (0.5, 2.0):
        found = coverage(ranks_of(rng, width, n_quantities=30), N_DRAWS, 0.9)
        expected = stats.norm.cdf(1.645 * width) - stats.norm.cdf(-1.645 * width)
        # The ends of an interval of 39 draws are order statistics, not quantiles.
        assert found.share == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n_draws", [39, 40, 7])
def test_all_ranks_once_give_the_level_itself(level, n_draws):
    every = np.arange(n_draws + 1)[:, np.newaxis]
    assert coverage(every, n_draws, level / 100).share == pytest.approx(level / 100)
    inside = held(every, n_draws, level / 100)[:, 0]
    np.testing.assert_allclose(inside, inside[::-1])  # nothing is gained on one side
    assert inside[0] <= inside[len(inside) // 2] == 1.0


def test_p_values_of_uniform_ranks_are_uniform(rng):
    ranks = rng.integers(0, N_DRAWS + 1, size=(60, 2000))
    p = uniformity_p_values(ranks, N_DRAWS, rng)
    for limit in (0.01, 0.05, 0.5):
        expected = limit * len(p)
        assert np.sum(p <= limit) < expected + 4.0 * np.sqrt(expected)
    assert stats.kstest(p, "uniform").statistic < 0.1  # few replicates: the statistic is discrete


def test_errors_are_those_of_replicates_and_not_of_quantities(rng):
    one = rng.integers(0, N_DRAWS + 1, size=(100, 1))
    copies = np.repeat(one, 50, axis=1)
    assert coverage(copies, N_DRAWS, 0.5).error == pytest.approx(coverage(one, N_DRAWS, 0.5).error)
    assert np.isnan(coverage(one[:1], N_DRAWS, 0.5).error)


def test_histograms_count_each_rank_once_in_bins_of_one_width():
    every = np.repeat(np.arange(N_DRAWS + 1)[:, np.newaxis], 2, axis=1)
    np.testing.assert_array_equal(rank_histogram(every, N_DRAWS, 10), np.full((10, 2), 4))
    with pytest.raises(InputError, match="divide 40 ranks"):
        rank_histogram(every, N_DRAWS, 7)


def test_bars_of_uniform_ranks_lie_in_the_band(rng):
    counts = rank_histogram(rng.integers(0, N_DRAWS + 1, size=(200, 1000)), N_DRAWS, 10)
    low, high = histogram_band(200, 10, 0.99)
    outside = np.mean((counts < low) | (counts > high))
    assert 0.001 < outside < 0.013


def test_holm_corrects_for_the_number_and_keeps_the_order():
    p = np.array([0.03, 0.001, 0.2, 0.04])
    np.testing.assert_allclose(corrected(p), [0.09, 0.004, 0.2, 0.09])
    np.testing.assert_allclose(corrected(np.full(3, 0.9)), 1.0)


def test_ranks_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="ranks from 0 to 39"):
        uniformity_p_values(np.array([[40]]), N_DRAWS, np.random.default_rng(0))
