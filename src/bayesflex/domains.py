"""Dynamical domains: parts of a structure that its slow modes turn as one.

A domain is what moves like a rigid body, and a rigid body is known by its rotation: in every mode all of its residues
turn by the same small angle about the same axis, wherever they are. So each residue is described by the rotation of its
surroundings in each of the lowest modes, and neighbours that turn alike are joined (after Hayward and Berendsen,
Proteins 30 (1998) 144, who cluster rotation vectors of fragments between two conformations; here the modes of one
conformation stand for the second). Not to be confused with domains of a fold or of a database: these depend on the
elastic network alone.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from bayesflex.chain import bonded_to_next, extra_reach
from bayesflex.geometry import rotation_of_vector
from bayesflex.neighbours import pairs_within_reach
from bayesflex.normal_modes import NormalModes, structure_modes
from bayesflex.structure import Structure

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

#: Modes whose rotations describe a residue, and the distance (Å) of the neighbours that tell its rotation.
N_MODES, SURROUNDINGS = 30, 9.0

#: Residues closer than this may be joined directly, Å.
JOINED = 8.0


def local_rotations(coords: Array, modes: NormalModes, reach: Array | None = None) -> Array:
    """Return how the surroundings of each bead turn in each mode, shape (n_beads, n_modes, 3), per unit amplitude.

    The rotation vector w of a bead minimises Σ_j |d_j - d_i - w × (r_j - r_i)|² over its neighbours, d being the mode's
    displacements, and is divided by the root of the mode's stiffness: the size of its thermal motion.

    Parameters
    ----------
    coords
        Positions, shape (n_beads, 3), Å.
    modes
        Normal modes there.
    reach
        What each bead adds to the distance of its neighbours, Å, shape (n_beads,); None for nothing.
    """
    n = len(coords)
    first, second = _pairs(coords, SURROUNDINGS, reach)
    arm = coords[second] - coords[first]
    square = np.sum(arm**2, axis=1)
    inertia = square[:, None, None] * np.eye(3) - arm[:, :, None] * arm[:, None, :]
    to_beads = csr_matrix((np.ones(len(first)), (first, np.arange(len(first)))), shape=(n, len(first)))
    total = np.asarray(to_beads @ inertia.reshape(-1, 9)).reshape(n, 3, 3)
    # Neighbours in line tell nothing of the turn about it: the smallest rotation is taken.
    inverse = np.linalg.pinv(total, rcond=1e-6, hermitian=True)
    rotations = np.empty((n, modes.n_modes, 3))
    for index, (vector, stiffness) in enumerate(zip(modes.vectors, modes.eigenvalues, strict=True)):
        moment = to_beads @ np.cross(arm, vector[second] - vector[first])
        rotations[:, index] = np.einsum("nij,nj->ni", inverse, moment) / np.sqrt(stiffness)
    return rotations


def _pairs(coords: Array, distance: float, reach: Array | None) -> tuple[Indices, Indices]:
    """Return both directions of all pairs within a distance and what both add to it."""
    rows = pairs_within_reach(np.ascontiguousarray(coords), distance, reach)
    start, index = rows if rows is not None else (np.zeros(len(coords) + 1, np.int64), np.zeros(0, np.int32))
    first, second = np.repeat(np.arange(len(coords)), np.diff(start)), index.astype(np.int64)
    return np.concatenate([first, second]), np.concatenate([second, first])


def ward_merges(features: Array, first: Indices, second: Indices) -> tuple[Indices, Array]:
    """Return the merges of Ward's clustering in which only neighbours are joined.

    Each merge raises the sum of squares within clusters by |A||B|/(|A|+|B|) |mean_A - mean_B|² (Ward, J. Am. Stat.
    Assoc. 58 (1963) 236), and the least rise among neighbours is next. A cluster's neighbours are those of its members.

    Parameters
    ----------
    features
        Shape (n, n_features).
    first, second
        Neighbours, shape (n_pairs,).

    Returns
    -------
    merges, rises
        Shapes (n_merges, 2) and (n_merges,). Clusters below n are single beads; merge m makes cluster n + m. As many
        merges as beads less connected pieces.
    """
    n = len(features)
    partners: list[set[int]] = [set() for _ in range(n)]
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        if i != j:
            partners[i].add(j)
            partners[j].add(i)
    means = np.empty((2 * n, features.shape[1]))
    means[:n] = features
    sizes = np.zeros(2 * n)
    sizes[:n] = 1.0
    alive = np.zeros(2 * n, dtype=bool)
    alive[:n] = True
    heap = []
    for i in range(n):
        others = [j for j in partners[i] if j > i]
        if others:
            rises = 0.5 * np.sum((features[others] - features[i]) ** 2, axis=1)
            heap += [(rise, i, j) for rise, j in zip(rises.tolist(), others, strict=True)]
    heapq.heapify(heap)
    merges: list[tuple[int, int]] = []
    costs = []
    while heap:
        rise, i, j = heapq.heappop(heap)
        if not (alive[i] and alive[j]):
            continue
        made = n + len(merges)
        merges.append((i, j))
        costs.append(rise)
        alive[i] = alive[j] = False
        alive[made] = True
        sizes[made] = sizes[i] + sizes[j]
        means[made] = (sizes[i] * means[i] + sizes[j] * means[j]) / sizes[made]
        near = (partners[i] | partners[j]) - {i, j}
        partners.append(near)
        others = list(near)
        for k in others:
            partners[k] -= {i, j}
            partners[k].add(made)
        if others:
            size = sizes[others]
            rises = size * sizes[made] / (size + sizes[made]) * np.sum((means[others] - means[made]) ** 2, axis=1)
            for entry in zip(rises.tolist(), others, strict=True):
                heapq.heappush(heap, (entry[0], entry[1], made))
        partners[i], partners[j] = set(), set()
    return np.array(merges, dtype=np.int64).reshape(-1, 2), np.array(costs)


#: Fewest residues of a domain. Helices and hairpins that swing by themselves are smaller.
LEAST_SIZE = 20

#: A split makes domains where it raises the sum of squares by this share of what all splits into parts of that size
#: raise it by, or by this share of the largest of them: of many alike domains none has a tenth. Splits into domains
#: that are known to move have 0.10 and more (adenylate kinase, GroEL, RF2, p97), those inside of domains 0.07 and less.
SPLIT_SHARE, SPLIT_OF_LARGEST = 0.08, 0.5

#: Larger models are not searched for domains unasked: it would take minutes.
MOST_RESIDUES = 20_000

#: Shorter stretches of a chain belong to what they lie between.
_LEAST_RUN = 8

#: Residues on each side of a boundary along the chain that bend when its domains turn, and may unfold.
LINKER_RESIDUES = 3


@dataclass(frozen=True, eq=False)
class Domains:
    """The dynamical domains of one structure.

    Parameters
    ----------
    labels
        Domain of each residue, shape (n_ca,), from 0 on, the largest first.
    bodies
        Sets of domains that the clustering holds together before it parts them, single domains included, each a
        tuple of labels; those of most residues first. What moves as one body is one of them.
    linker
        Whether a residue is within ``LINKER_RESIDUES`` residues of a boundary along its chain, shape (n_ca,).
    """

    labels: Indices
    bodies: tuple[tuple[int, ...], ...]
    linker: NDArray[np.bool_]

    @property
    def n_domains(self) -> int:
        """Number of domains."""
        return int(self.labels.max()) + 1

    @property
    def sizes(self) -> Indices:
        """Number of residues of each domain, shape (n_domains,)."""
        return np.bincount(self.labels)

    def residues(self, body: tuple[int, ...]) -> NDArray[np.bool_]:
        """Tell which residues belong to a body, shape (n_ca,)."""
        return np.isin(self.labels, body)


def find_domains(ca: Structure, cutoff: float) -> Domains:
    """Return the dynamical domains of a trace of CA and C4'.

    Parameters
    ----------
    ca
        CA trace.
    cutoff
        Of the elastic network, Å.

    Raises
    ------
    InputError
        If the network leaves residues loose.
    """
    n = ca.n_atoms
    bonded = bonded_to_next(ca)
    n_modes = min(N_MODES, 3 * n - 6)
    if n_modes < 1 or n < 2 * LEAST_SIZE:
        return Domains(np.zeros(n, np.int64), ((0,),), np.zeros(n, dtype=bool))
    reach = extra_reach(ca)
    features = local_rotations(ca.coords, structure_modes(ca, n_modes, cutoff), reach).reshape(n, -1)
    first, second = _pairs(ca.coords, JOINED, reach)
    along = np.flatnonzero(bonded)
    merges, rises = ward_merges(features, np.append(first, along), np.append(second, along + 1))
    labels, unions = _parted(n, merges, rises)
    labels = _without_short_runs(_spread(labels, first, second), bonded)
    present, counts = np.unique(labels, return_counts=True)
    rank = {int(label): number for number, label in enumerate(present[np.argsort(-counts, kind="stable")])}
    labels = np.array([rank[int(label)] for label in labels], dtype=np.int64)
    bodies = {tuple(sorted(rank[label] for label in union if label in rank)) for union in unions}
    bodies |= {(label,) for label in rank.values()}
    sizes = np.bincount(labels)
    ordered = sorted((body for body in bodies if body), key=lambda body: (-sizes[list(body)].sum(), body))
    return Domains(labels, tuple(ordered), linkers(labels, bonded))


def linkers(labels: Indices, bonded: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which residues are within ``LINKER_RESIDUES`` of a boundary along their chain, shape (n_ca,)."""
    n = len(labels)
    linker = np.zeros(n, dtype=bool)
    for end in boundaries(labels, bonded).tolist():
        for side, step in ((end, -1), (end + 1, 1)):
            at = side
            for _ in range(LINKER_RESIDUES):
                linker[at] = True
                following = at + step
                if not 0 <= following < n or not bonded[min(at, following)]:
                    break
                at = following
    return linker


def blend_weights(labels: Indices, bonded: NDArray[np.bool_]) -> Array:
    """Return how far each residue goes along with each domain, shape (n_domains, n_ca).

    It is the domain's share of the residues that are at most ``LINKER_RESIDUES`` bonds away along the chain: 1 within a
    domain, and falling evenly over the linker at each boundary, so that each of its bonds takes an equal part of what
    the domains move against each other. The weights of a residue sum to 1. Parts in space of two domains that no bond
    joins do not blend: they slide.

    Parameters
    ----------
    labels
        Domain of each residue, shape (n_ca,).
    bonded
        Whether a residue is bonded to the next one, shape (n_ca - 1,).
    """
    n = len(labels)
    members = (labels == np.arange(int(labels.max()) + 1)[:, None]).astype(np.float64)
    chain = np.concatenate([[0], np.cumsum(~bonded)])
    total, count = members.copy(), np.ones(n)
    for away in range(1, min(LINKER_RESIDUES, n - 1) + 1):
        joined = chain[away:] == chain[:-away]
        total[:, away:] += members[:, :-away] * joined
        total[:, :-away] += members[:, away:] * joined
        count[away:] += joined
        count[:-away] += joined
    return np.asarray(total / count)


def body_motions(coords: Array, weights: Array) -> Array:
    """Return the small motions of blended domains, shape (6 n_domains, n_ca, 3): shifts and turns of each.

    Parameters
    ----------
    coords
        Positions, shape (n_ca, 3), Å.
    weights
        See :func:`blend_weights`.
    """
    motions = np.empty((len(weights), 6, *coords.shape))
    for body, share in enumerate(weights):
        arm = coords - share @ coords / share.sum()
        for axis, direction in enumerate(np.eye(3)):
            motions[body, axis] = share[:, None] * direction
            motions[body, 3 + axis] = share[:, None] * np.cross(direction, arm)
    return motions.reshape(-1, *coords.shape)


def moved_in_bodies(coords: Array, displacement: Array, weights: Array) -> Array:
    """Return coordinates after a displacement in which domains turn instead of growing, shape (n_ca, 3), Å.

    In each domain the small rotation that is nearest to the displacement (least squares) is made as a rotation: what
    ``R(omega) - 1 - omega×`` does to the domain is added to the displacement.

    Parameters
    ----------
    coords, displacement
        Shape (n_ca, 3), Å.
    weights
        See :func:`blend_weights`.
    """
    moved = coords + displacement
    for share in weights:
        mass = share.sum()
        arm, way = coords - share @ coords / mass, displacement - share @ displacement / mass
        moments = (share[:, None] * arm).T @ arm
        omega = np.linalg.pinv(np.trace(moments) * np.eye(3) - moments) @ (share @ np.cross(arm, way))
        change = arm @ (rotation_of_vector(omega).T - np.eye(3)) - np.cross(omega, arm)
        moved += share[:, None] * change
    return moved


def boundaries(labels: NDArray[np.integer], bonded: NDArray[np.bool_]) -> Indices:
    """Return the residues that are bonded to a next one of another label."""
    return np.flatnonzero(bonded & (labels[:-1] != labels[1:]))


def _parted(n: int, merges: Indices, rises: Array) -> tuple[Indices, list[set[int]]]:
    """Return a label for each bead, -1 in small pieces that were split off, and the labels in each parted cluster."""
    members: list[list[int]] = [[bead] for bead in range(n)]
    for i, j in merges.tolist():
        members.append(members[i] + members[j])
    sizes = np.array([len(inside) for inside in members])
    large = np.all(sizes[merges] >= LEAST_SIZE, axis=1)
    counted = rises[large]
    least = min(SPLIT_SHARE * counted.sum(), SPLIT_OF_LARGEST * counted.max()) if len(counted) else np.inf

    def next_split(node: int) -> int | None:
        """Return the merge below a cluster that is undone, past small pieces that come off first."""
        while node >= n:
            merge = node - n
            if large[merge]:
                return merge if rises[merge] >= least else None
            node = max(merges[merge].tolist(), key=lambda child: int(sizes[child]))
        return None

    labels = np.full(n, -1, np.int64)
    unions: list[set[int]] = []
    made = set(merges.ravel().tolist())
    stack: list[tuple[int, tuple[int, ...]]] = [(node, ()) for node in range(len(members)) if node not in made]
    n_labels = 0
    while stack:
        node, above = stack.pop()
        split = next_split(node)
        if split is not None:
            unions.append(set())
            stack += [(child, (*above, len(unions) - 1)) for child in merges[split].tolist()]
        elif sizes[node] >= LEAST_SIZE or not above:
            labels[members[node]] = n_labels
            for union in above:
                unions[union].add(n_labels)
            n_labels += 1
    return labels, unions


def _spread(labels: Indices, first: Indices, second: Indices) -> Indices:
    """Return labels in which beads without one have that of most of their neighbours, from the edge inwards."""
    labels = labels.copy()
    while np.any(labels < 0):
        at = (labels[first] < 0) & (labels[second] >= 0)
        if not np.any(at):
            labels[labels < 0] = 0
            break
        votes = np.zeros((len(labels), int(labels.max()) + 1))
        np.add.at(votes, (first[at], labels[second[at]]), 1.0)
        voted = votes.sum(axis=1) > 0.0
        labels[voted] = np.argmax(votes[voted], axis=1)
    return labels


def _without_short_runs(labels: Indices, bonded: NDArray[np.bool_]) -> Indices:
    """Return labels in which a short stretch of a chain has that of the longer of the two it lies between."""
    labels = labels.copy()
    while True:
        ends = np.flatnonzero(~bonded | (labels[:-1] != labels[1:]))
        starts, stops = np.append(0, ends + 1), np.append(ends + 1, len(labels))
        lengths = stops - starts
        for run in np.argsort(lengths, kind="stable"):
            if lengths[run] >= _LEAST_RUN:
                return labels
            beside = []
            if starts[run] > 0 and bonded[starts[run] - 1]:
                beside.append(run - 1)
            if run + 1 < len(starts) and bonded[stops[run] - 1]:
                beside.append(run + 1)
            if beside:
                longer = max(beside, key=lambda other: lengths[other])
                labels[starts[run] : stops[run]] = labels[starts[longer]]
                break
        else:
            return labels
