"""Starts of chains whose domains lie where the density is: proposals for the warm-up, where steering alone may fail.

Where all domains of the start find density of their own, nothing is changed: steering does the rest. Where one does
not, poses are searched for, of all such domains together (``arrangements``), and chains start from the arrangement that
the posterior prefers; where it does not tell several apart, from each of these. Nothing of this is kept among the
draws, so that the distribution that is sampled is the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesflex.domains import MOST_RESIDUES, find_domains
from bayesflex.errors import InputError
from bayesflex.geometry import rmsd, rotation_angle
from bayesflex.io.atomic import atomic_path
from bayesflex.protocols import Likelihood
from bayesflex.residue_runs import in_words
from bayesflex.sampling.arrangements import Arrangement, Arranger, Candidate
from bayesflex.sampling.problem import Problem

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class DomainPose:
    """One pose of one body of domains that was compared on the way to the first start.

    Parameters
    ----------
    step
        Number of the body, in the order in which they were placed, from 1; poses of one step are alternatives.
    residues
        The body, in words.
    n_residues
        Its size.
    taken
        Whether the first start has it.
    score, score_here
        Overlap with the density that the rest of the model leaves, and the overlap where the body was, in standard
        deviations above the mean over all poses.
    log_density
        Of the whole model after a short relaxation with the body there, nats, in a blurred stage of the warm-up; NaN
        where no other pose came near.
    angle, shift
        How it turns the body (degrees) and moves its centroid (Å).
    apart
        RMSD of the body's residues from where the pose that was taken puts them, Å.
    """

    step: int
    residues: str
    n_residues: int
    taken: bool
    score: float
    score_here: float
    log_density: float
    angle: float
    shift: float
    apart: float


@dataclass(frozen=True, eq=False)
class Starts:
    """Where chains start.

    Parameters
    ----------
    structures
        CA positions, each (n_ca, 3), Å; chain k takes number k modulo their count. The best first.
    log_densities
        Of each, after a short relaxation, nats; NaN where there was nothing to compare.
    poses
        What was compared on the way to the first.
    messages
        Sentences on what was found.
    """

    structures: tuple[Array, ...]
    log_densities: tuple[float, ...] = (math.nan,)
    poses: tuple[DomainPose, ...] = ()
    messages: tuple[str, ...] = ()


def find_starts(problem: Problem, likelihoods: Sequence[Likelihood], n_threads: int) -> Starts:
    """Return where chains start: the model's start, or that with the domains placed that lie outside of their density.

    Parameters
    ----------
    problem
        What is fitted.
    likelihoods
        Of the stages of the warm-up, at least two; a structure with placed domains must raise that of the last blurred
        one.
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
    found = Arranger(problem, domains, likelihoods, n_threads).arrange(problem.start)
    blurred = likelihoods[-2].clone()
    before = blurred.log_likelihood_and_gradient(problem.start)[0]
    found = [each for each in found if blurred.log_likelihood_and_gradient(each.coords)[0] > before]
    if not found:
        return unchanged
    poses = _poses_of(found[0], problem)
    return Starts(
        tuple(each.coords for each in found),
        tuple(each.log_density for each in found),
        poses,
        (*(_told(poses, step) for step in range(1, len(found[0].choices) + 1)), *_told_of_starts(found)),
    )


def _poses_of(arrangement: Arrangement, problem: Problem) -> tuple[DomainPose, ...]:
    """Return what was compared on the way to an arrangement."""
    labels = problem.ca.residue_labels
    found = []
    for step, choice in enumerate(arrangement.choices, start=1):
        taken = choice.best
        for candidate in choice.candidates:
            found.append(_pose(step, candidate, taken, labels, problem.start))
    return tuple(found)


def _pose(step: int, candidate: Candidate, taken: Candidate, labels: NDArray[np.str_], start: Array) -> DomainPose:
    pose, both = candidate.pose, candidate.residues & taken.residues
    angle = math.degrees(rotation_angle(pose.rotation))
    return DomainPose(
        step=step,
        residues=in_words(candidate.residues, labels),
        n_residues=int(np.count_nonzero(candidate.residues)),
        taken=candidate is taken,
        score=pose.score,
        score_here=candidate.here,
        log_density=candidate.log_density,
        angle=angle,
        shift=float(np.linalg.norm(pose.shift)),
        apart=rmsd(pose.apply(start[both]), taken.pose.apply(start[both])),
    )


def _told(poses: Sequence[DomainPose], step: int) -> str:
    """Say where a body was placed, and what came next to it."""
    candidates = [pose for pose in poses if pose.step == step]
    (best,) = (pose for pose in candidates if pose.taken)
    text = (
        f"domain {best.residues} lay outside of its density and was placed by a search: turned by {best.angle:.0f} "
        f"degrees, shifted by {best.shift:.0f} Å, score {best.score:.1f} (where it was {best.score_here:.1f}"
    )
    others = [pose for pose in candidates if not pose.taken]
    if others:
        other = max(others, key=lambda pose: pose.log_density)
        text += (
            f"; the next of {len(candidates)} poses compared, {other.apart:.0f} Å away, scores {other.score:.1f} and "
            f"has a log density {best.log_density - other.log_density:.0f} nats lower after relaxation"
        )
        if other.residues != best.residues:
            text += f", placed as {other.residues}"
    return text + ")"


def _told_of_starts(found: Sequence[Arrangement]) -> tuple[str, ...]:
    """Say that chains start from several arrangements, where they do."""
    if len(found) == 1:
        return ()
    first = found[0]
    others = ", ".join(
        f"{rmsd(each.coords, first.coords):.0f} Å RMSD away with {first.log_density - each.log_density:.0f} nats less"
        for each in found[1:]
    )
    return (
        f"{len(found)} arrangements of these domains fit alike, and chains start from each: the best and those "
        f"{others}, after a short relaxation",
    )


def save_starts(path: Path, starts: Starts) -> None:
    """Write what was found, for a fit that is resumed: the search is not repeated then.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    facts = {
        "log_densities": starts.log_densities,
        "poses": [asdict(pose) for pose in starts.poses],
        "messages": starts.messages,
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, structures=np.array(starts.structures), facts=np.array(json.dumps(facts)))


def load_starts(path: Path) -> Starts:
    """Return what :func:`save_starts` wrote.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            facts = json.loads(str(saved["facts"]))
            return Starts(
                tuple(saved["structures"]),
                tuple(facts["log_densities"]),
                tuple(DomainPose(**pose) for pose in facts["poses"]),
                tuple(facts["messages"]),
            )
    except Exception as error:  # a damaged archive fails in more ways than can be listed
        raise InputError(
            f"{path}: expected starts of chains as a fit keeps them, got something else ({error}). "
            "Remove the output folder and start the fit anew."
        ) from error
