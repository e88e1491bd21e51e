"""One replicate of a calibration: draw a truth, make its map, fit it, and rank the truth among the draws."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.calibration import ranks_of_truth
from bayesflex.deformation import Deformation
from bayesflex.diagnostics import r_hat_and_ess
from bayesflex.protocols import Likelihood, PosteriorDetails
from bayesflex.reporters import NullReporter
from bayesflex.sampling import Chain, ModeProjection, Problem, plan_stages, run_chains
from bayesflex.workflows.calibration_case import Case

Array = NDArray[np.float64]

#: Independent draws among which a truth is ranked: of 40 ranks each interval that is reported holds a whole number.
N_DRAWS = 39

#: A chain whose draws are worth fewer is made twice as long, at most so many times.
_DOUBLINGS = 4


@dataclass(frozen=True)
class Replicate:
    """What came out of one replicate.

    Parameters
    ----------
    index
        Its number, from 0; with the seed it decides on everything.
    ranks
        Rank of the truth of each of :func:`quantities` among ``N_DRAWS`` draws.
    noise, scale
        What was drawn of the map, see :class:`~bayesflex.workflows.calibration_case.Nuisance`.
    observations
        nu as the configuration counts it; the gaussian likelihood has no use for it.
    spread, prior_spread
        Standard deviation of a CA coordinate, averaged over coordinates, in the chains of the fit and of the prior, Å.
    iterations
        Draws of the chain of the fit, before thinning.
    ess
        Effective draws of the worst quantity.
    acceptance, divergent
        Mean acceptance and number of divergent iterations of the chain of the fit.
    seconds
        Time that it took.
    """

    index: int
    ranks: tuple[int, ...]
    noise: float
    scale: float
    observations: float
    spread: float
    prior_spread: float
    iterations: int
    ess: float
    acceptance: float
    divergent: int
    seconds: float

    def record(self) -> dict[str, Any]:
        """Return it as a mapping of plain values."""
        return asdict(self)

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Replicate:
        """Return what :meth:`record` was taken from."""
        return cls(**record | {"ranks": tuple(record["ranks"])})


def quantities(case: Case) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the names of what is ranked, in the order of the ranks: coordinates, amplitudes, and the rest."""
    coordinates = tuple(f"CA {number} {axis}" for number in case.ca.residue_number for axis in "xyz")
    amplitudes = tuple(f"mode {number}" for number in case.config.modes)
    return coordinates, amplitudes, ("log likelihood", "energy")


def run_replicate(case: Case, seed: int, index: int) -> Replicate:
    """Draw, simulate, fit and rank.

    Parameters
    ----------
    case
        The model.
    seed, index
        Of the calibration, and number of the replicate: together they seed every random number of it.

    Raises
    ------
    SamplingError
        If a chain finds no finite start.
    """
    began = time.perf_counter()
    rng = np.random.default_rng([seed, index])
    truth, prior = case.draw_structure(rng)
    nuisance = case.draw_nuisance(rng)
    density = case.draw_map(rng, truth, nuisance)
    problem, likelihoods = case.fit(density, nuisance, case.dock(rng, truth), int(rng.integers(2**31)))
    for doubling in range(_DOUBLINGS + 1):
        config = replace(problem.config, iterations=problem.config.iterations << doubling)
        chain = _sampled(replace(problem, config=config), likelihoods)
        draws = _quantities_of_draws(problem, chain)
        ess = float(np.nanmin(r_hat_and_ess(draws[np.newaxis])[1]))
        if ess >= N_DRAWS:
            break
    last = (len(draws) * np.arange(1, N_DRAWS + 1)) // N_DRAWS - 1
    statistics = chain.draws.statistics
    return Replicate(
        index=index,
        ranks=tuple(ranks_of_truth(draws[last], _quantities_of_truth(problem, likelihoods[-1], truth)).tolist()),
        noise=nuisance.noise,
        scale=nuisance.scale,
        observations=problem.target.counted_observations(problem.config),
        spread=float(draws[:, : truth.size].std(axis=0).mean()),
        prior_spread=float(prior.std(axis=0).mean()),
        iterations=len(draws),
        ess=ess,
        acceptance=float(np.mean([row["acceptance"] for row in statistics])),
        divergent=int(sum(row["divergent"] for row in statistics)),
        seconds=time.perf_counter() - began,
    )


def _sampled(problem: Problem, likelihoods: Sequence[Likelihood]) -> Chain:
    (chain,) = run_chains(problem, plan_stages(problem.config, problem.start), likelihoods, NullReporter())
    return chain


def _quantities_of_draws(problem: Problem, chain: Chain) -> Array:
    """Return all quantities of a chain's draws, shape (n_draws, n_quantities)."""
    coords = np.array(chain.draws.coords, dtype=np.float64)
    amplitudes = np.array(list(map(ModeProjection(problem), coords)))
    rest = np.array([[row["log_likelihood"], row["energy"]] for row in chain.draws.statistics])
    return np.concatenate([coords.reshape(len(coords), -1), amplitudes, rest], axis=1)


def _quantities_of_truth(problem: Problem, likelihood: Likelihood, truth: Array) -> Array:
    """Return all quantities of a structure, shape (n_quantities,)."""
    free = Deformation.local(truth)
    details: PosteriorDetails = problem.posterior(likelihood, problem.terms, free)(np.zeros(truth.size)).details
    rest = [details.log_likelihood, details.energy]
    return np.concatenate([truth.ravel(), ModeProjection(problem)(truth), rest])
