"""Places: conformations between which one chain went to and fro, told from a single broad one.

A chain's draws always differ; they are in two places only where there is a gap between them. Not to be confused with
clusters, which join the places of all chains.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from bayesflex.geometry import rmsd

Array = NDArray[np.float64]

#: Two groups of draws are apart where their means differ by more than this many standard deviations of the wider one,
#: along the line between them. The two halves of a normal distribution are 2.6 apart, those of a uniform one 3.5, and
#: those of a chain that goes round evenly (arcsine) 4.1: none of these has a gap. Standard deviations of few draws may
#: be small by chance: n draws must be apart by a factor of 1 + 6/n more. Of 600 normal samples each of 8, 12, 20, 40
#: and 100 draws none was then parted.
_LEAST_SEPARATION, _EXTRA_SEPARATION = 5.0, 6.0

#: The steps along that line by which a chain crosses, the median of them, exceed its other steps (RMS) by this factor.
#: A chain that drifts slowly leaves groups of neighbouring draws far from others, without a leap between. Where draws
#: are independent, 4 such steps are 5.7 standard deviations.
_LEAST_LEAP = 4.0

#: A place holds at least so many draws.
_FEWEST_DRAWS = 3

#: Directions of largest variance in which groups are looked for, at most, and draws for each: in as many directions as
#: there are draws any grouping looks separated.
_N_DIRECTIONS, _DRAWS_PER_DIRECTION = 10, 10

#: Draws, evenly over the chain, from which directions and groups are found; the others join the nearest.
_MOST_GROUPED = 600


def places_of_chain(draws: NDArray[np.floating], cutoff: float) -> NDArray[np.int64]:
    """Return the number of the place of each draw, in the order of the first visits, shape (n_draws,); all 0 for one.

    Draws are parted in two again and again, by hierarchical clustering, as long as there is a gap between the parts and
    their means are further apart than the cutoff.

    Parameters
    ----------
    draws
        CA positions, shape (n_draws, n_ca, 3), Å.
    cutoff
        Least RMSD between the means of two places, Å.
    """
    places = np.zeros(len(draws), dtype=np.int64)
    waiting, n_places = [0], 1
    while waiting:
        number = waiting.pop()
        members = np.flatnonzero(places == number)
        away = _other_side(draws[members], cutoff)
        if away is None:
            continue
        places[members[away]] = n_places
        waiting += [number, n_places]
        n_places += 1
    _, first, renumbered = np.unique(places, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[renumbered]


def n_crossings(places: NDArray[np.int64]) -> int:
    """Return how often a chain went from one place to another between successive draws."""
    return int(np.count_nonzero(np.diff(places)))


def _other_side(draws: NDArray[np.floating], cutoff: float) -> NDArray[np.bool_] | None:
    """Return True for draws on one side of a gap, shape (n_draws,), or None where there is no gap."""
    if len(draws) < 2 * _FEWEST_DRAWS:
        return None
    chosen = np.unique(np.linspace(0, len(draws) - 1, min(len(draws), _MOST_GROUPED)).round().astype(int))
    flat = draws.reshape(len(draws), -1)
    centre = flat.mean(axis=0, dtype=np.float64)
    some = flat[chosen] - centre
    # The leading right singular vectors, from the smaller of the two products.
    values, vectors = np.linalg.eigh(some @ some.T)
    n_directions = min(_N_DIRECTIONS, max(1, len(chosen) // _DRAWS_PER_DIRECTION))
    values, vectors = values[::-1][:n_directions], vectors[:, ::-1][:, :n_directions]
    used = values > 1e-9 * values[0]
    if not used.any():
        return None
    basis = some.T @ (vectors[:, used] / np.sqrt(values[used]))  # (3 n_ca, n_directions)
    seen = some @ basis
    # Each method of linkage has groups that it overlooks: small ones, or elongated ones.
    for method in ("ward", "average", "single"):
        far = fcluster(linkage(seen, method=method), 2, criterion="maxclust") == 2
        if _FEWEST_DRAWS <= far.sum() <= len(far) - _FEWEST_DRAWS and _is_apart(seen, far):
            means = seen[~far].mean(axis=0), seen[far].mean(axis=0)
            projected = np.concatenate([(part - centre) @ basis for part in np.array_split(flat, len(flat) // 200 + 1)])
            distances = [np.linalg.norm(projected - mean, axis=1) for mean in means]
            away = np.asarray(distances[1] < distances[0])
            sides = [draws[side].mean(axis=0, dtype=np.float64) for side in (~away, away)]
            if rmsd(*sides) > cutoff:
                return away
    return None


def _is_apart(points: Array, far: NDArray[np.bool_]) -> bool:
    """Tell whether there is a gap and a leap between two groups of points (n, n_directions) of a chain."""
    between = points[far].mean(axis=0) - points[~far].mean(axis=0)
    length = float(np.linalg.norm(between))
    if not length > 0.0:
        return False
    along = points @ (between / length)
    widest = max(float(along[far].std(ddof=1)), float(along[~far].std(ddof=1)))
    steps, crossing = np.abs(np.diff(along)), far[1:] != far[:-1]
    # A chain that crosses at every draw has no other steps: those of independent draws stand for them.
    usual = float(np.sqrt(np.mean(steps[~crossing] ** 2))) if not crossing.all() else math.sqrt(2.0) * widest
    least = _LEAST_SEPARATION * (1.0 + _EXTRA_SEPARATION / len(points))
    return length > least * widest and float(np.median(steps[crossing])) > _LEAST_LEAP * usual
