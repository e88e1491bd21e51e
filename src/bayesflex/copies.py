"""Copies: chains of one sequence, which take what they have in common from their mean.

In a symmetric complex each copy of a chain goes its own way into the map, and slips along its density at places of its
own. Where the copies are one structure in truth, their mean is nearer to it than any of them, and the posterior, which
sees all copies at once, says so. That is the averaging over non-crystallographic symmetry of crystallographers
(Bricogne, Acta Cryst. A30 (1974) 395), here of coordinates and only where it raises the log density. Copies are
superposed chain by chain: no symmetry of the whole is looked for, and none is imposed on what is sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from bayesflex.geometry import superimpose
from bayesflex.matching import shared_residues
from bayesflex.posterior import Posterior
from bayesflex.steering import relax
from bayesflex.structure import Structure

Array = NDArray[np.float64]
Places = NDArray[np.int64]

#: Chains are copies of each other where they share this much of both, and at least so many residues.
_LEAST_SHARED, _LEAST_RESIDUES = 0.9, 10

#: Copies further than this from their mean (RMSD, Å) are in conformations of their own.
_FURTHEST = 3.0

#: The mean settles within so many superpositions.
_SUPERPOSITIONS = 3

#: Iterations of L-BFGS before two structures are compared. A mean of chains has bad geometry, and a relaxed one is no
#: longer the same in all copies: taken in turns so often, each time with few iterations.
_RELAXATION, _ROUNDS, _BETWEEN = 100, 5, 30


def find_copies(ca: Structure) -> tuple[Places, ...]:
    """Return for each group of copies the indices of their common residues, (n_copies, n_residues).

    Parameters
    ----------
    ca
        Trace of the model. Residues of two chains are the same where number, insertion code and name agree.
    """
    chains = [np.flatnonzero(ca.chain == name) for name in dict.fromkeys(ca.chain.tolist())]
    groups: list[list[Places]] = []  # of each copy the residues that it shares with the first one, as pairs
    for chain in chains:
        for group in groups:
            first = group[0][:, 0]
            pairs = shared_residues(ca, first, chain)
            if len(pairs) >= _LEAST_SHARED * max(len(first), len(chain)):
                group.append(pairs)
                break
        else:
            groups.append([np.stack([chain, chain], axis=1)])
    found = []
    for group in groups:
        common = reduce(np.intersect1d, [pairs[:, 0] for pairs in group])
        if len(group) > 1 and len(common) >= _LEAST_RESIDUES:
            found.append(np.stack([pairs[np.isin(pairs[:, 0], common), 1] for pairs in group]))
    return tuple(found)


def averaged(coords: Array, copies: Places) -> tuple[Array, float]:
    """Return coordinates (n, 3), Å, in which copies are their mean, each where it is, and how far from it they were.

    Parameters
    ----------
    coords
        Shape (n, 3), Å.
    copies
        Indices, (n_copies, n_residues).

    Returns
    -------
    coords : ndarray
        Shape (n, 3), Å; residues that not all copies have stay where they are.
    rmsd : float
        Root mean square distance of the copies from their mean, Å.
    """
    mean = coords[copies[0]]
    for _ in range(_SUPERPOSITIONS):
        fits = [superimpose(coords[copy], mean) for copy in copies]
        mean = np.mean(
            [coords[copy] @ fit.rotation.T + fit.translation for copy, fit in zip(copies, fits, strict=True)], axis=0
        )
    alike = coords.copy()
    for copy, fit in zip(copies, fits, strict=True):
        alike[copy] = (mean - fit.translation) @ fit.rotation
    return alike, float(np.sqrt(np.sum((alike - coords)[copies] ** 2) / copies.size))


def agreed(
    posterior: Posterior, coords: Array, copies: Sequence[Places], on_relaxing: Callable[[], None] = lambda: None
) -> Array:
    """Return coordinates with copies alike where that has the higher log density once relaxed; else those given.

    Nothing is drawn: with one posterior and one structure the result is the same.

    Parameters
    ----------
    posterior
        Log density of the coordinates.
    coords
        Shape (n, 3), Å.
    copies
        Of each group, indices (n_copies, n_residues). Groups are tried one after the other.
    on_relaxing
        Called before each relaxation, of which large models need seconds; may raise to stop.
    """

    def relaxed(coords: Array, n_iterations: int) -> Array:
        on_relaxing()
        return relax(posterior, coords, n_iterations)

    here, highest = coords, -np.inf
    for group in copies:
        if averaged(here, group)[1] > _FURTHEST:
            continue
        if not np.isfinite(highest):
            here = relaxed(coords, _RELAXATION)
            highest = posterior.of_coordinates(here)[0]
        alike, _ = averaged(here, group)
        for _ in range(_ROUNDS):
            alike, _ = averaged(relaxed(alike, _BETWEEN), group)
        there = relaxed(alike, _RELAXATION)
        reached = posterior.of_coordinates(there)[0]
        if reached > highest:
            here, highest, coords = there, reached, alike
    return coords
