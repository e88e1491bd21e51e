"""Uncertainty of each residue, from draws: how far it spreads, and how much of the prior's spread the map took away.

Spread is measured in place: what moves as one counts. Contraction is measured in local frames, where it does not: a
prior leaves the place of the whole open, and any map would contract it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.local_frames import LocalFrames
from bayesflex.residue_runs import averaged, stretches

Array = NDArray[np.float64]

#: The credible radius holds this share of the draws.
RADIUS_SHARE = 0.9

#: Below this contraction of the variance, averaged over five residues, for at least so many in a row, nothing but the
#: prior places them.
LEAST_CONTRACTION, FEWEST_RESIDUES = 0.3, 3

#: Draws that are looked at in local frames, at most.
_N_FRAMES = 200


@dataclass(frozen=True, eq=False)
class ResidueUncertainty:
    """Uncertainty of each residue; all arrays have shape (n_ca,).

    Parameters
    ----------
    sd
        Standard deviation of the CA's position, per direction, Å: √(⟨u²⟩ / 3).
    radius
        Radius about the mean of the sphere that holds 90 % of the draws, Å.
    local_sd, prior_local_sd
        Standard deviation, per direction, seen from the surroundings, Å: of the draws, and of the prior alone.
    support
        Share of its own density that each residue has in the map, 1 as expected: see ``density_support``.
    absent
        True in stretches without density of their own.
    r_hat, ess
        Of the CA's position over all chains, the worst of x, y and z.
    labels
        Of the residues: "A 152".
    """

    sd: Array
    radius: Array
    local_sd: Array
    prior_local_sd: Array
    support: Array
    absent: NDArray[np.bool_]
    r_hat: Array
    ess: Array
    labels: NDArray[np.str_]

    @property
    def contraction(self) -> Array:
        """1 - variance of the draws / variance of the prior, in local frames: 1 where the map decides, 0 where not.

        May be negative, by chance or where the map makes two places possible. NaN where the prior does not move.
        """
        prior = self.prior_local_sd**2
        ratio = np.divide(self.local_sd**2, prior, out=np.full_like(prior, np.nan), where=prior > 0.0)
        return np.asarray(1.0 - ratio)

    @property
    def uncontracted(self) -> NDArray[np.bool_]:
        """True in stretches that spread as they do without a map."""
        left, whole = (averaged(values**2, self.labels) for values in (self.local_sd, self.prior_local_sd))
        marked = np.zeros(len(self.sd), dtype=bool)
        for part in stretches(left > (1.0 - LEAST_CONTRACTION) * whole, self.labels):
            marked[part] = part.stop - part.start >= FEWEST_RESIDUES
        return marked

    @property
    def prior_only(self) -> NDArray[np.bool_]:
        """True where the map does not place the residue: it spreads as without a map, or has no density of its own."""
        return self.uncontracted | self.absent


def spread(draws: NDArray[np.floating[Any]]) -> tuple[Array, Array]:
    """Return the standard deviation per direction and the 90 % radius of each residue.

    Parameters
    ----------
    draws
        CA positions in place, shape (n_draws, n_ca, 3), Å.

    Returns
    -------
    sd, radius : ndarray
        Shape (n_ca,), Å. The radius is that of the smallest sphere about the mean that holds at least 90 % of the
        draws.
    """
    square = np.zeros((len(draws), draws.shape[1]))
    for axis in range(3):
        values = draws[..., axis].astype(np.float64)
        square += (values - values.mean(axis=0)) ** 2
    return np.sqrt(square.mean(axis=0) / 3.0), np.sqrt(np.quantile(square, RADIUS_SHARE, axis=0, method="inverted_cdf"))


def local_spreads(draws: NDArray[np.floating[Any]], prior: NDArray[np.floating[Any]]) -> tuple[Array, Array]:
    """Return the standard deviation per direction of each residue seen from its surroundings, of draws and of a prior.

    The surroundings are those in the mean of the draws.

    Parameters
    ----------
    draws, prior
        CA positions, shapes (n_draws, n_ca, 3) and (n_prior, n_ca, 3), Å.
    """
    frames = LocalFrames(draws.mean(axis=0, dtype=np.float64))
    return _local_sd(frames, thinned(draws, _N_FRAMES)), _local_sd(frames, thinned(prior, _N_FRAMES))


def thinned(draws: NDArray[np.floating[Any]], n: int) -> NDArray[np.floating[Any]]:
    """Return at most n of the draws, evenly."""
    return draws[np.unique(np.linspace(0, len(draws) - 1, min(n, len(draws))).round().astype(int))]


def _local_sd(frames: LocalFrames, draws: NDArray[np.floating[Any]]) -> Array:
    seen = frames.positions(draws)
    return np.asarray(np.sqrt(seen.var(axis=0).mean(axis=1)))
