"""Calibration: whether true values lie among the draws of their posteriors as they should.

A truth drawn from the prior and draws from the posterior given its data are draws of one distribution, so that the rank
of the truth among L independent draws is uniform over 0 to L [1]_. Intervals too narrow send ranks to both ends,
intervals too wide to the middle, a bias to one side.

References
----------
.. [1] Talts, Betancourt, Simpson, Vehtari and Gelman (2018), arXiv:1804.06788.
.. [2] Säilynoja, Bürkner and Vehtari (2022), Statistics and Computing 32, 32.
.. [3] Holm (1979), Scandinavian Journal of Statistics 6, 65.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import stats

from bayesflex.errors import InputError

Array = NDArray[np.float64]
Ranks = NDArray[np.int64]

#: Central intervals that are reported, percent.
LEVELS = (50, 80, 90, 95)

#: Sets of uniform ranks from which the distribution of the test's statistic is taken.
_N_SIMULATED = 20_000


class Coverage(NamedTuple):
    """Share of the intervals that hold the truth, and the standard error of that share."""

    share: float
    error: float


def ranks_of_truth(draws: Array, truth: Array) -> Ranks:
    """Return how many draws lie below the truth, shape (n_quantities,).

    Parameters
    ----------
    draws
        Independent draws, shape (n_draws, n_quantities).
    truth
        Shape (n_quantities,).
    """
    return np.sum(draws < truth, axis=0)


def held(ranks: Ranks, n_draws: int, level: float) -> Array:
    """Return 1 where the central interval of ``n_draws`` draws holds the truth and 0 where not, shape of ``ranks``.

    Where the ends of the interval fall on a rank, the rank counts in part, so that uniform ranks give the level itself.

    Parameters
    ----------
    ranks
        Ranks from 0 to ``n_draws``.
    n_draws
        L.
    level
        Share of the posterior in the interval, 0 to 1.
    """
    tail = 0.5 * (1.0 - level) * (n_draws + 1)
    inside = np.clip(ranks + 1.0 - tail, 0.0, 1.0) * np.clip(n_draws + 1.0 - ranks - tail, 0.0, 1.0)
    return np.asarray(inside)


def coverage(ranks: Ranks, n_draws: int, level: float) -> Coverage:
    """Return the share of the central intervals of a level that hold the truth, pooled over quantities.

    Quantities of one replicate depend on each other; replicates do not, and the error is that of their mean.

    Parameters
    ----------
    ranks
        Shape (n_replicates, n_quantities).
    n_draws, level
        As for :func:`held`.
    """
    shares = held(ranks, n_draws, level).mean(axis=1)
    error = float(shares.std(ddof=1)) / len(shares) ** 0.5 if len(shares) > 1 else float("nan")
    return Coverage(float(shares.mean()), error)


def rank_histogram(ranks: Ranks, n_draws: int, n_bins: int) -> Ranks:
    """Return the number of ranks in bins of equal width, shape (n_bins, n_quantities).

    Raises
    ------
    InputError
        If the number of possible ranks is no multiple of the number of bins: uniform ranks would then fill them
        unequally.
    """
    if (n_draws + 1) % n_bins:
        raise InputError(f"rank histogram: expected bins that divide {n_draws + 1} ranks evenly, got {n_bins}")
    bins = ranks // ((n_draws + 1) // n_bins)
    return np.stack([np.sum(bins == index, axis=0) for index in range(n_bins)])


def histogram_band(n_replicates: int, n_bins: int, probability: float = 0.99) -> tuple[int, int]:
    """Return the counts between which a bin of uniform ranks lies with this probability."""
    tail = 0.5 * (1.0 - probability)
    uniform = stats.binom(n_replicates, 1.0 / n_bins)
    return int(uniform.ppf(tail)), int(uniform.ppf(1.0 - tail))


def uniformity_p_values(ranks: Ranks, n_draws: int, rng: Generator) -> Array:
    """Return for each quantity the probability that uniform ranks look as uneven as these, shape (n_quantities,).

    For each i from 1 to L the number of ranks below i is binomial if ranks are uniform. The statistic is the least
    tail probability of any of these numbers [2]_, sensitive to bias and to too narrow or too wide intervals alike; its
    own distribution is simulated, the same for all quantities.

    Parameters
    ----------
    ranks
        Shape (n_replicates, n_quantities).
    n_draws
        L.
    rng
        For the simulated ranks.

    Raises
    ------
    InputError
        If there is no replicate, or a rank outside 0 to L.
    """
    n_replicates = len(ranks)
    if n_replicates == 0 or ranks.min() < 0 or ranks.max() > n_draws:
        raise InputError(f"calibration: expected ranks from 0 to {n_draws} of one replicate or more")
    counts = np.stack([np.bincount(column, minlength=n_draws + 1) for column in ranks.T])
    # Tail probability of each number of ranks below i, (n_draws, n_replicates + 1).
    shares = np.arange(1, n_draws + 1)[:, np.newaxis] / (n_draws + 1)
    numbers = np.arange(n_replicates + 1)
    tails = np.minimum(
        stats.binom.cdf(numbers, n_replicates, shares), stats.binom.sf(numbers - 1, n_replicates, shares)
    )
    uniform = np.full(n_draws + 1, 1.0 / (n_draws + 1))
    null = np.sort(_least_tail(rng.multinomial(n_replicates, uniform, size=_N_SIMULATED), tails))
    # Equal values of the discrete statistic must count as equal, whatever the rounding.
    as_uneven = np.searchsorted(null, _least_tail(counts, tails) * (1.0 + 1e-9), side="right")
    return np.asarray((1.0 + as_uneven) / (1.0 + _N_SIMULATED))


def _least_tail(counts: Ranks, tails: Array) -> Array:
    """Return the least tail probability of each row of counts, shape (n, n_draws + 1)."""
    below = np.cumsum(counts[:, :-1], axis=1)
    return np.asarray(tails[np.arange(below.shape[1]), below].min(axis=1))


def corrected(p_values: Array) -> Array:
    """Return p-values corrected for their number by Holm's method [3]_, which holds however they depend on each other.

    >>> corrected(np.array([0.01, 0.04, 0.5])).round(3).tolist()
    [0.03, 0.08, 0.5]
    """
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    result = np.empty(len(p_values))
    result[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return result
