"""A pilot: one way from the start to the map, by which what scatters is judged before the chains set out.

It goes through the blurred stages as a chain does, then uphill at the resolution asked for, and draws nothing. Its
structure is kept by nobody: chains begin at their own starts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bayesflex.deformation import APPROACHES, Deformation
from bayesflex.errors import InputError
from bayesflex.geometry import rmsd
from bayesflex.normal_modes import rigid_motions
from bayesflex.protocols import Likelihood
from bayesflex.sampling.problem import Problem, Stage
from bayesflex.softening import SOFTENINGS, softened
from bayesflex.steering import restored, steer

Array = NDArray[np.float64]

#: The middle of what chains draw for themselves: the share of lost contacts' energy that counts, and the longest step.
_RELUCTANCE, _LONGEST_STEP = 0.25, 1.25

#: The pilot stays stiffer than chains do, nats/Å²: softer, it flows into density that is not the model's (mGluR1, 6 Å:
#: 0.63 in place of 0.53 Å).
_SOFTEST = 30.0

#: Modes are recomputed once the structure has moved by this much (RMSD, Å).
_MODES_MOVED = 1.0


def steered(problem: Problem, stages: Sequence[Stage], likelihoods: Sequence[Likelihood], start: Array) -> Array:
    """Return where steering through the blurred stages leads, shape (n_ca, 3), Å; the start where nothing is steered.

    Parameters
    ----------
    problem
        What is fitted.
    stages, likelihoods
        Of the warm-up; the last one, at full resolution, is left out.
    start
        Where to begin, shape (n_ca, 3), Å.
    """
    with_modes, local = APPROACHES[problem.config.deformation][:2]
    if not with_modes:
        return start
    terms = [term.clone() for term in problem.terms]
    contacts = [term for term in terms if term.name == "contacts"]
    free = Deformation("local", problem.start, problem.mode_vectors[:0])
    modes, modes_at = problem.mode_vectors, problem.start

    def directions(coords: Array) -> Array:
        nonlocal modes, modes_at
        if problem.config.recompute_modes and rmsd(coords, modes_at) > _MODES_MOVED:
            # A structure on its way may be loose where the start was not: the modes at hand still serve.
            with contextlib.suppress(InputError):
                modes = problem.modes_at(coords)
            modes_at = coords
        return np.concatenate([rigid_motions(coords), modes]) if local or problem.config.rigid else modes

    coords = start
    for stage, likelihood in zip(stages[:-1], likelihoods[:-1], strict=True):
        coords = steer(
            problem.posterior(likelihood.clone(), contacts, free, _RELUCTANCE),
            terms if local else (),
            coords,
            directions,
            stage.n_iterations,
            _LONGEST_STEP,
            lambda coords: None,
        )
        if local:
            posterior = problem.posterior(likelihood.clone(), terms, free, problem.blur(stage))
            coords = softened(posterior, coords, problem.network_at, SOFTENINGS, lambda: None, _SOFTEST)
    return restored(coords, terms) if local else coords
