"""Starts of chains whose domains lie where the density is: proposals for the warm-up, where steering alone may fail.

Where all domains of the start find density of their own, nothing is changed: steering does the rest. Where one does
not, it is searched for (``domain_search``), put where it fits best, and its linkers are closed; chains start from
there. Where two poses fit alike, chains start from both. Nothing of this is kept among the draws, so that the
distribution that is sampled is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesflex.chain import bonded_to_next
from bayesflex.domain_search.density import Density, blurred_density, occupancies
from bayesflex.domain_search.poses import BodyPose, tethers
from bayesflex.domain_search.search import BodySearch
from bayesflex.domains import LINKER_RESIDUES, MOST_RESIDUES, Domains, boundaries, find_domains
from bayesflex.errors import InputError
from bayesflex.protocols import EnergyTerm, Likelihood
from bayesflex.residue_runs import in_words
from bayesflex.sampling.problem import Problem
from bayesflex.steering import restored
from bayesflex.trace import residue_labels

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Orientations are told apart at this resolution (Å), or that of the map where it is coarser.
SEARCH_RESOLUTION = 10.0

#: A domain that finds less of its density than this share of what the best one finds lies outside of it. In right
#: structures it is 0.75 and more, in real maps too; domains that were left behind have -2 to 0.4 (``docs/method.md``).
_MISPLACED = 0.5

#: Smaller bodies are not searched: too little density to tell an orientation by.
_LEAST_BODY = 40

#: A pose must score better than where the body is by so many standard deviations of the score over all poses; one with
#: this share of the best one's score fits alike. Next to right poses of GroEL and p97 the others had 0.80 to 0.86; in
#: the real map of RF2 they had 0.90 next to a right one and 0.93 next to a wrong one.
_LEAST_GAIN, _ALIKE = 2.0, 0.88

#: Poses with this share of the best one's score are compared at the map's own resolution.
_RIVAL = 0.8

#: Poses compared, and alternative starts at most.
_POSES, _MOST_STARTS = 8, 4

#: Rounds of restoring after the linkers were bent.
_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Starts:
    """Where chains start.

    Parameters
    ----------
    structures
        CA positions, each (n_ca, 3), Å; chain k takes number k modulo their count.
    messages
        Sentences on what was found.
    """

    structures: tuple[Array, ...]
    messages: tuple[str, ...] = ()


def find_starts(problem: Problem, likelihood: Likelihood, n_threads: int) -> Starts:
    """Return where chains start: the model's start, or that with the domains placed that lie outside of their density.

    Parameters
    ----------
    problem
        What is fitted.
    likelihood
        Of a blurred stage: a structure with placed domains must raise it.
    n_threads
        Threads to use; the result does not depend on it.
    """
    unchanged = Starts((problem.start,))
    if len(problem.start) > MOST_RESIDUES:
        return unchanged
    try:
        domains = find_domains(problem.ca, problem.config.network_cutoff)
    except InputError:  # a network too loose for so many modes has no domains to tell of
        return unchanged
    placed = _Placer(problem, domains, n_threads).place(problem.start)
    before = likelihood.log_likelihood_and_gradient(problem.start)[0]
    after = likelihood.log_likelihood_and_gradient(placed.structures[0])[0]
    return placed if placed.messages and after > before else unchanged


class _Placer:
    """Finds and places the domains of one problem."""

    def __init__(self, problem: Problem, domains: Domains, n_threads: int) -> None:
        self._problem, self._domains, self._n_threads = problem, domains, n_threads
        config = problem.config
        self._density: Density = blurred_density(
            problem.target, max(SEARCH_RESOLUTION, config.resolution), config.resolution
        )
        #: The map at its own resolution, where that is finer: it tells apart what looks alike when blurred.
        self._sharp: Density | None = None
        if config.resolution < SEARCH_RESOLUTION:
            self._sharp = blurred_density(problem.target, config.resolution, config.resolution)
        self._beads = problem.beads.merged()
        self._bonded = bonded_to_next(problem.ca)
        self._sizes = domains.sizes

    def misplaced(self, coords: Array) -> tuple[tuple[int, ...], ...]:
        """Return the bodies that can be searched, whose domains all lie outside of their density.

        The largest domain is what the others are held by, and is no such body.
        """
        outside = self._outside(coords)
        return tuple(
            body
            for body in self._domains.bodies
            if 0 not in body and all(outside[k] for k in body) and self._sizes[list(body)].sum() >= _LEAST_BODY
        )

    def _outside(self, coords: Array) -> Mask:
        found = occupancies(self._density, self._beads, coords, self._domains.labels)
        best = float(found[self._sizes >= min(_LEAST_BODY, self._sizes[0])].max())
        return np.asarray(found < _MISPLACED * best)

    def place(self, coords: Array) -> Starts:
        """Return a structure with its misplaced bodies where they fit best, and others where poses fit alike."""
        unplaced = self._outside(coords)
        placed = [coords]
        messages: list[str] = []
        for body in self.misplaced(coords):
            if not all(unplaced[k] for k in body):
                continue
            residues = self._domains.residues(body)
            absent = unplaced[self._domains.labels] & ~residues
            search = BodySearch(
                self._density,
                self._beads,
                placed[0],
                residues,
                absent,
                tethers(residues, self._bonded, placed[0]),
                self._n_threads,
            )
            poses = search.poses(_POSES)
            here = search.here().score
            if not poses or poses[0].score < here + _LEAST_GAIN:
                continue
            if self._sharp is not None:
                rivals = [pose for pose in poses if pose.score >= _RIVAL * poses[0].score]
                poses = search.sharper(self._sharp, rivals)
            moved = self._closed(placed[0], residues, poses[0])
            of_body = [int(k) for k in body]
            if np.all(self._outside(moved)[of_body]):
                continue
            alike = [pose for pose in poses[1:] if pose.score >= _ALIKE * poses[0].score]
            others = [self._closed(placed[0], residues, pose) for pose in alike]
            others += [self._closed(other, residues, poses[0]) for other in placed[1:]]
            placed = [moved, *others[: _MOST_STARTS - 1]]
            unplaced[of_body] = False
            messages.append(self._told(residues, search, poses, here, len(alike)))
        return Starts(tuple(placed), tuple(messages))

    def _told(self, residues: Mask, search: BodySearch, poses: list[BodyPose], here: float, n_alike: int) -> str:
        best = poses[0]
        name = in_words(residues, residue_labels(self._problem.ca))
        angle = np.degrees(np.arccos(np.clip(0.5 * (np.trace(best.rotation) - 1.0), -1.0, 1.0)))
        text = (
            f"domain {name} lay outside of its density and was placed by a search: turned by {angle:.0f} degrees, "
            f"shifted by {np.linalg.norm(best.shift):.0f} Å, score {best.score:.1f} (where it was {here:.1f}"
        )
        if len(poses) > 1:
            text += f", next pose {poses[1].score:.1f}, {search.apart(best, poses[1]):.0f} Å away"
        text += ")"
        if n_alike:
            text += f"; {n_alike + 1} poses fit alike, and chains start from different ones"
        return text

    def _closed(self, coords: Array, residues: Mask, pose: BodyPose) -> Array:
        """Return a structure with a body at a pose and the chain mended where it crosses the body's boundary."""
        share = _share_moved(residues, self._bonded)[:, None]
        moved = (1.0 - share) * coords + share * pose.apply(coords)
        for _ in range(_ROUNDS):
            moved = restored(moved, self._terms)
        return moved

    @property
    def _terms(self) -> Sequence[EnergyTerm]:
        return [term.clone() for term in self._problem.terms]


def _share_moved(body: Mask, bonded: Mask) -> Array:
    """Return how far each residue goes along with a body, 0 to 1, shape (n_ca,): linkers bend bit by bit."""
    share = body.astype(np.float64)
    n = len(body)
    for end in boundaries(body.astype(np.int64), bonded).tolist():
        first = end
        while first > 0 and bonded[first - 1] and end - first + 1 < LINKER_RESIDUES and body[first - 1] == body[end]:
            first -= 1
        last = end + 1
        while last + 1 < n and bonded[last] and last - end < LINKER_RESIDUES and body[last + 1] == body[end + 1]:
            last += 1
        ramp = np.linspace(share[end], share[end + 1], last - first + 3)[1:-1]
        share[first : last + 1] = ramp
    return share
