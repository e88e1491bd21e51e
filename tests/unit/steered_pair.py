"""A closed start, the map of its open answer, and the posterior that a steering goes uphill in."""

from __future__ import annotations

from collections.abc import Callable

from bayesflex.config import FitConfig
from bayesflex.deformation import Deformation
from bayesflex.posterior import Posterior
from bayesflex.protocols import EnergyTerm
from bayesflex.sampling import Problem
from bayesflex.synthetic import two_domain_pair
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate


def pair_in_map(
    opening: float,
    resolution: float,
    sigma: float,
    stage_resolution: float,
    counts: Callable[[EnergyTerm], bool] = lambda term: True,
    prior_weight: float = 1.0,
):
    """Return the problem, the answer's CA and a stage's posterior of the coordinates with the terms that count."""
    start, end = two_domain_pair(100, opening)
    density = simulate(end, resolution=resolution, kernel="gaussian")
    config = FitConfig(resolution=resolution, sigma=sigma, modes=tuple(range(7, 13)), threads=1)
    problem: Problem = prepare(Inputs(start, density, end), config, lambda text: None).problem
    likelihood = problem.target.likelihood(config, problem.beads, stage_resolution, problem.start)
    free = Deformation("local", problem.start, problem.mode_vectors[:0])
    terms = [term for term in problem.terms if counts(term)]
    posterior: Posterior = problem.posterior(likelihood, terms, free, prior_weight)
    return problem, end.ca_trace().coords, posterior
