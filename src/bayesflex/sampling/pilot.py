"""A pilot: one way from the start to the map, by which what scatters is judged before the chains set out.

It goes through the blurred stages as a chain does, then uphill at the resolution asked for, and draws nothing. Chains
begin at their own starts, and those of large models where it arrived.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bayesflex.deformation import APPROACHES
from bayesflex.protocols import Likelihood
from bayesflex.sampling.problem import Problem, Stage
from bayesflex.sampling.steered_stage import SteeredStage, Way, modes_of
from bayesflex.steering import restored
from bayesflex.team import Team

Array = NDArray[np.float64]

#: The middle of what chains draw for themselves.
_WAY = Way(reluctance=0.25, longest=1.25)

#: The pilot stays stiffer than chains do, nats/Å²: softer, it flows into density that is not the model's (mGluR1, 6 Å:
#: 0.63 in place of 0.53 Å).
_SOFTEST = 30.0


def steered(
    problem: Problem, stages: Sequence[Stage], likelihoods: Sequence[Likelihood], start: Array, team: Team | None = None
) -> Array:
    """Return where steering through the blurred stages leads, shape (n_ca, 3), Å; the start where nothing is steered.

    Parameters
    ----------
    problem
        What is fitted.
    stages, likelihoods
        Of the warm-up; the last one, at full resolution, is left out.
    start
        Where to begin, shape (n_ca, 3), Å.
    team
        Threads that share the work of each evaluation, or None.
    """
    with_modes, local = APPROACHES[problem.config.deformation][:2]
    if not with_modes:
        return start
    terms = [term.clone() for term in problem.terms]
    modes, modes_at = problem.mode_vectors, problem.start

    def modes_for(coords: Array) -> Array:
        nonlocal modes, modes_at
        modes, modes_at, _ = modes_of(problem, coords, modes, modes_at)
        return modes

    coords = start
    for stage, likelihood in zip(stages[:-1], likelihoods[:-1], strict=True):
        passing = SteeredStage(problem, stage, likelihood.clone(), terms, team=team)
        coords = passing.softened(passing.steered(coords, _WAY, modes_for), softest=_SOFTEST)
    return restored(coords, terms) if local else coords
