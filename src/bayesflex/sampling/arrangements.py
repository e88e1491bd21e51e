"""Arrangements: structures in which all misplaced domains have a pose, found together and compared by the posterior.

What a search says of one domain is how much density its pose explains, and at low resolution several poses explain
alike. What tells them apart is what the poses of all domains make together: where chains can link them, what they take
from each other, and what is lost at their interfaces. So several poses of each body are kept, one body is placed after
another in each of the arrangements so far, and these are compared by the log posterior of the whole model after a short
relaxation; those far below the best one are given up (a beam search). Bodies are alternatives as well: domains that
move as one in one arrangement may have poses of their own in another.

Nothing of it remains in what is sampled. Not to be confused with clusters, which are made of draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesflex.chain import bonded_to_next
from bayesflex.deformation import Deformation
from bayesflex.domain_search.density import Density, blurred_density, occupancies
from bayesflex.domain_search.poses import BodyPose, tethers
from bayesflex.domain_search.search import BodySearch
from bayesflex.domains import LINKER_RESIDUES, Domains, boundaries
from bayesflex.posterior import Posterior
from bayesflex.protocols import EnergyTerm, Likelihood
from bayesflex.sampling.problem import Problem
from bayesflex.steering import relax, restored

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Orientations are told apart at this resolution (Å), or that of the map where it is coarser.
SEARCH_RESOLUTION = 10.0

#: A domain that finds less of its density than this share of what the best one finds lies outside of it. In right
#: structures it is 0.75 and more, in real maps too; domains that were left behind have -2 to 0.4 (``docs/method.md``).
_MISPLACED = 0.5

#: Smaller bodies are not searched: too little density to tell an orientation by.
_LEAST_BODY = 40

#: A pose must score better than where the body is by so many standard deviations of the score over all poses.
_LEAST_GAIN = 2.0

#: Poses with this share of the best one's score are compared in whole models. Next to right poses of GroEL and p97 the
#: others had 0.80 to 0.86; in the real map of RF2 the right pose of one domain had 0.84 of a wrong one's.
_RIVAL = 0.8

#: Poses of a body that are compared, and arrangements that are kept after each body.
_POSES, _MOST_KEPT = 6, 3

#: Arrangements are given up where their log density is below the best one's by so many of its own standard deviations
#: over draws, √(3 n_ca / 2) if each unknown has half a nat's worth: relaxations do not end within less of each other.
_GIVEN_UP = 2.0

#: Iterations of L-BFGS in a stage before arrangements are compared. With 300 that of RF2 has begun to flow into density
#: that is not its own: fits from there ended 6.2 to 6.9 Å from the answer, and p97 relaxed so 1.8 Å, with 60 1.6 Å.
_COMPARED_AFTER = 60

#: Rounds of restoring after the linkers were bent.
_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Candidate:
    """One pose of one body that was compared.

    Parameters
    ----------
    residues
        The body, shape (n_ca,).
    pose
        Its pose, with its score.
    here
        Score where the body was.
    log_density
        Of the whole model, relaxed with the body there, nats, in a blurred stage; NaN where there was no choice.
    """

    residues: Mask
    pose: BodyPose
    here: float
    log_density: float


@dataclass(frozen=True, eq=False)
class Choice:
    """The candidates for one step of an arrangement, the best first, and the number of the one that was taken."""

    candidates: tuple[Candidate, ...]
    taken: int

    @property
    def best(self) -> Candidate:
        """The one that was taken."""
        return self.candidates[self.taken]


@dataclass(frozen=True, eq=False)
class Arrangement:
    """A structure with misplaced bodies put where they fit.

    Parameters
    ----------
    coords
        CA positions, shape (n_ca, 3), Å.
    unplaced
        Which domains have no place yet, shape (n_domains,).
    left
        Which of these no pose was found for, shape (n_domains,).
    choices
        How it came about.
    log_density
        Of the whole model after a short relaxation, nats; NaN where there was nothing to compare it with. Of the
        arrangements that :meth:`Arranger.arrange` returns, at the last stage's resolution.
    """

    coords: Array
    unplaced: Mask
    left: Mask
    choices: tuple[Choice, ...] = ()
    log_density: float = math.nan


@dataclass(frozen=True, eq=False)
class _Grown:
    """What an arrangement has grown into, with the candidate that made each; none where a domain was left."""

    states: list[Arrangement]
    candidates: list[Candidate]


class Arranger:
    """Finds the arrangements of one problem.

    Parameters
    ----------
    problem
        What is fitted.
    domains
        Of its start.
    likelihoods
        Of the stages of the warm-up; at least two.
    n_threads
        Threads to use; the result does not depend on it.
    """

    def __init__(
        self, problem: Problem, domains: Domains, likelihoods: Sequence[Likelihood], n_threads: int = 1
    ) -> None:
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
        self._terms: Sequence[EnergyTerm] = [term.clone() for term in problem.terms]
        free = Deformation.local(problem.start)
        self._posteriors: list[Posterior] = [
            problem.posterior(likelihood.clone(), self._terms, free) for likelihood in likelihoods
        ]

    @property
    def decisive(self) -> float:
        """Difference in log density (nats) from which on an arrangement is given up."""
        return _GIVEN_UP * math.sqrt(1.5 * len(self._problem.start))

    def outside(self, coords: Array) -> Mask:
        """Tell which domains lie outside of their density, shape (n_domains,)."""
        found = occupancies(self._density, self._beads, coords, self._domains.labels)
        best = float(found[self._sizes >= min(_LEAST_BODY, self._sizes[0])].max())
        return np.asarray(found < _MISPLACED * best)

    def bodies(self, unplaced: Mask) -> list[tuple[int, ...]]:
        """Return the bodies that can be searched, all of whose domains are unplaced, the largest first.

        They are those that the clustering holds together, and the domains that lie next to each other along a chain.
        The largest domain is what the others are held by, and is in no such body.
        """
        found = {body for body in self._domains.bodies if 0 not in body and all(unplaced[k] for k in body)}
        found |= set(self._linked(unplaced))
        sizes = {body: int(self._sizes[list(body)].sum()) for body in found}
        return sorted((body for body in found if sizes[body] >= _LEAST_BODY), key=lambda body: (-sizes[body], body))

    def _linked(self, unplaced: Mask) -> list[tuple[int, ...]]:
        """Return the sets of unplaced domains that chains link without passing through another."""
        labels = self._domains.labels
        group = list(range(len(unplaced)))
        for end in boundaries(labels, self._bonded).tolist():
            a, b = int(labels[end]), int(labels[end + 1])
            if a > 0 and b > 0 and unplaced[a] and unplaced[b]:
                joined, gone = group[a], group[b]
                group = [joined if each == gone else each for each in group]
        sets = [tuple(k for k in range(1, len(group)) if group[k] == each) for each in dict.fromkeys(group[1:])]
        return [each for each in sets if all(unplaced[k] for k in each)]

    def arrange(self, coords: Array) -> list[Arrangement]:
        """Return the arrangements that the posterior does not tell apart, the best first; none if nothing is placed.

        Where there was a choice they are relaxed through all stages, as they were compared; else they are as placed.
        """
        outside = self.outside(coords)
        beam, done = [Arrangement(coords, outside, np.zeros_like(outside))], []
        while beam:
            grown: list[_Grown] = []
            for state in beam:
                bodies = self.bodies(state.unplaced & ~state.left)
                if bodies:
                    grown.append(self._grown(state, bodies))
                else:
                    done.append(state)
            beam = self._best(self._chosen(grown))
        placed = [state for state in done if state.choices]
        if any(len(choice.candidates) > 1 for state in placed for choice in state.choices):
            placed = self._best([self._compared(state, self._posteriors) for state in placed])
        return placed

    def _grown(self, state: Arrangement, bodies: list[tuple[int, ...]]) -> _Grown:
        """Return the arrangements in which one more body has a pose, or in which a domain is left where it is."""
        domain = bodies[0][0]
        candidates: list[Candidate] = []
        states: list[Arrangement] = []
        for body in (body for body in bodies if domain in body):
            found = self._candidates(state, body)
            unplaced = state.unplaced.copy()
            unplaced[list(body)] = False
            candidates += [candidate for candidate, _ in found]
            states += [replace(state, coords=moved, unplaced=unplaced) for _, moved in found]
            if len(found) == 1:
                break  # this body leaves no choice: it moves as one
        if states:
            return _Grown(states, candidates)
        left = state.left.copy()
        left[domain] = True
        return _Grown([replace(state, left=left)], [])

    def _chosen(self, grown: list[_Grown]) -> list[Arrangement]:
        """Return what all arrangements have grown into, compared where there is more than one, with their choices."""
        to_compare = sum(len(each.states) for each in grown) > 1
        found = []
        for each in grown:
            states, candidates = each.states, each.candidates
            if to_compare:
                # The structures stay as they were placed: poses of what is still misplaced are searched from there.
                relaxed = [self._compared(state, self._posteriors[-2:-1]) for state in states]
                states = [
                    replace(state, log_density=each.log_density) for state, each in zip(states, relaxed, strict=True)
                ]
            if not candidates:
                found += states
                continue
            order = sorted(range(len(states)), key=lambda k: -states[k].log_density)
            ranked = tuple(replace(candidates[k], log_density=states[k].log_density) for k in order)
            found += [
                replace(states[k], choices=(*states[k].choices, Choice(ranked, place))) for place, k in enumerate(order)
            ]
        return found

    def _candidates(self, state: Arrangement, body: tuple[int, ...]) -> list[tuple[Candidate, Array]]:
        """Return the poses of a body that may be right, each with the structure that it makes."""
        residues = self._domains.residues(body)
        absent = state.unplaced[self._domains.labels] & ~residues
        held = tethers(residues, self._bonded, state.coords)
        search = BodySearch(self._density, self._beads, state.coords, residues, absent, held, self._n_threads)
        poses, here = search.poses(_POSES), search.here().score
        if not poses or poses[0].score < here + _LEAST_GAIN:
            return []
        rivals = [pose for pose in poses if pose.score >= max(_RIVAL * poses[0].score, here + _LEAST_GAIN)]
        if self._sharp is not None:
            rivals = search.sharper(self._sharp, rivals)
            rivals = [pose for pose in rivals if pose.score >= _RIVAL * rivals[0].score]
        found = []
        for pose in rivals:
            moved = self._closed(state.coords, residues, pose)
            if not np.all(self.outside(moved)[list(body)]):
                found.append((Candidate(residues, pose, here, math.nan), moved))
        return found

    def _compared(self, state: Arrangement, posteriors: Sequence[Posterior]) -> Arrangement:
        """Return an arrangement relaxed, stage by stage, with the log density that it then has.

        The whole prior resists: with less of it the structure flows into density that is not its own.
        """
        coords = state.coords
        for posterior in posteriors:
            coords = relax(posterior, coords, _COMPARED_AFTER)
        return replace(state, coords=coords, log_density=posteriors[-1].of_coordinates(coords)[0])

    def _best(self, states: list[Arrangement]) -> list[Arrangement]:
        """Return the best arrangements, without those that are given up."""
        if len(states) < 2:
            return states
        ranked = sorted(states, key=lambda state: -state.log_density)
        return [state for state in ranked if state.log_density >= ranked[0].log_density - self.decisive][:_MOST_KEPT]

    def _closed(self, coords: Array, residues: Mask, pose: BodyPose) -> Array:
        """Return a structure with a body at a pose and the chain mended where it crosses the body's boundary."""
        share = share_moved(residues, self._bonded)[:, None]
        moved = (1.0 - share) * coords + share * pose.apply(coords)
        for _ in range(_ROUNDS):
            moved = restored(moved, self._terms)
        return moved


def share_moved(body: Mask, bonded: Mask) -> Array:
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
