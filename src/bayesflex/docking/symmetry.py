"""The symmetry of a model: the motions that put each of its chains onto one of the same kind.

Poses that differ by such a motion place the same density. They are one solution, not rivals.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from bayesflex.docking.pose import Pose, pose_rmsd
from bayesflex.geometry import superimpose
from bayesflex.matching import shared_residues
from bayesflex.structure import Structure

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

#: RMSD (Å) within which a model coincides with itself after its chains change places: copies of a chain that were
#: refined apart differ by about 1 Å.
COINCIDES = 2.0

#: Chains are of one kind where they share this part of the residues of the shorter one, by number and name.
_SAME_KIND = 0.8


class Operation(NamedTuple):
    """The motion ``x → rotation @ x + shift`` of positions about the pivot."""

    rotation: Array  # (3, 3)
    shift: Array  # (3,), Å


IDENTITY = Operation(np.eye(3), np.zeros(3))


def model_symmetry(ca: Structure, pivot: Array) -> tuple[Operation, ...]:
    """Return all motions that make a CA trace coincide with itself, its chains permuted; the identity first.

    A motion is known from where it puts one chain: so one chain is superimposed on each of its kind, and the motion
    counts if then every chain lies on one of its own kind (assigned so that the squares of the distances are least).

    Parameters
    ----------
    ca
        CA trace.
    pivot
        About which the motions are given, shape (3,), Å.
    """
    chains = [np.flatnonzero(ca.chain == name) for name in dict.fromkeys(ca.chain.tolist())]
    coords = ca.coords - pivot
    pairs = {(i, j): _shared(ca, a, b) for i, a in enumerate(chains) for j, b in enumerate(chains)}
    kinds = [[j for j in range(len(chains)) if pairs[i, j] is not None] for i in range(len(chains))]
    first = min(range(len(chains)), key=lambda i: len(kinds[i]))
    operations = [IDENTITY]
    for other in kinds[first]:
        shared = pairs[first, other]
        if other == first or shared is None or len(shared) < 3:
            continue
        motion = superimpose(coords[shared[:, 0]], coords[shared[:, 1]])
        moved = coords @ motion.rotation.T + motion.translation
        if _permuted_rmsd(moved, coords, len(chains), pairs) <= COINCIDES:
            operations.append(Operation(motion.rotation, motion.translation))
    return tuple(operations)


def equivalents(pose: Pose, symmetry: tuple[Operation, ...]) -> list[Pose]:
    """Return the poses that place the same density as a pose, itself first."""
    return [
        Pose(pose.rotation @ rotation, pose.centre + pose.rotation @ shift, pose.pivot, pose.score)
        for rotation, shift in symmetry
    ]


def symmetric_rmsd(a: Pose, b: Pose, second_moments: Array, symmetry: tuple[Operation, ...]) -> float:
    """Return the RMSD (Å) between two poses, the least over the model's symmetry; see :func:`pose_rmsd`."""
    return min(pose_rmsd(other, b, second_moments) for other in equivalents(a, symmetry))


def _shared(ca: Structure, a: Indices, b: Indices) -> Indices | None:
    """Return the paired indices of residues that two chains share, shape (n, 2); None where they are of two kinds."""
    found = shared_residues(ca, a, b)
    return None if len(found) < _SAME_KIND * min(len(a), len(b)) else found


def _permuted_rmsd(moved: Array, coords: Array, n_chains: int, pairs: dict[tuple[int, int], Indices | None]) -> float:
    """Return the RMSD of moved chains from the chains that they are best assigned to; inf where there are none."""
    # Large enough that no chain is put onto one of another kind while any assignment without that exists.
    never = 1e12
    cost = np.full((n_chains, n_chains), never)
    for (i, j), shared in pairs.items():
        if shared is not None:
            cost[i, j] = float(np.mean(np.sum((moved[shared[:, 0]] - coords[shared[:, 1]]) ** 2, axis=1)))
    rows, columns = linear_sum_assignment(cost)
    found = cost[rows, columns]
    if found.max() >= never:
        return math.inf
    sizes = np.zeros(len(found))
    for k, pair in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        shared = pairs[pair]
        sizes[k] = 0 if shared is None else len(shared)
    return math.sqrt(float(sizes @ found / sizes.sum()))
