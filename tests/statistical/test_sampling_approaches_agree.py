"""``local`` and ``combined`` are one posterior of the coordinates: modes change how fast a chain moves, nothing else.

On 30 residues of a protein in their own noisy map, with all terms of the prior and the default likelihood, by chains
as fits run them (matched masses) and as comparisons of approaches do (unit masses).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from mcmc_statistics import z_limit
from scipy import stats
from small_posteriors import hairpin_fit

from bayesflex.chain import bonded_to_next
from bayesflex.domains import Domains, linkers
from bayesflex.reporters import NullReporter
from bayesflex.sampling import ModeProjection, run_chains
from bayesflex.sampling.adapting import run_adapting

N_CHAINS, N_DRAWS = 16, 100


def prepared(approach, rigid=False):
    return hairpin_fit(deformation=approach, rigid=rigid, chains=N_CHAINS, iterations=N_DRAWS, warmup_iterations=60)


def matched_draws(approach, rigid=False):
    fit, likelihood = prepared(approach, rigid)
    chains = run_chains(fit.problem, fit.stages, [likelihood], NullReporter())
    return np.array([chain.draws.coords for chain in chains], dtype=np.float64)


def draws_with_domain_motions(approach, rigid):
    """Each helix a domain that turns and shifts by itself."""
    fit, likelihood = prepared(approach, rigid)
    labels = (np.arange(len(fit.problem.start)) >= len(fit.problem.start) // 2).astype(np.int64)
    domains = Domains(labels, ((0,), (1,)), linkers(labels, bonded_to_next(fit.ca)))
    problem = replace(fit.problem, domains=domains)
    assert problem.bodies.shape == (2, len(labels))
    chains = run_chains(problem, fit.stages, [likelihood], NullReporter())
    return np.array([chain.draws.coords for chain in chains], dtype=np.float64)


def unit_draws(approach):
    fit, likelihood = prepared(approach)
    runs = run_adapting(fit.problem, likelihood, 80, NullReporter())
    return np.array([run.draws for run in runs], dtype=np.float64)


def quantities(draws):
    """Coordinates, mode amplitudes, distances along and across the chain, energy and log density of each draw."""
    fit, likelihood = prepared("combined")
    flat = draws.reshape(-1, *draws.shape[2:])
    amplitudes = np.array(list(map(ModeProjection(fit.problem), flat)))
    across = np.linalg.norm(flat[:, ::5, None] - flat[:, None, ::5], axis=-1)[:, *np.triu_indices(6, 1)]
    energy = [sum(term.energy_and_gradient(coords)[0] for term in fit.problem.terms) for coords in flat]
    log_likelihood = [likelihood.log_likelihood_and_gradient(coords)[0] for coords in flat]
    columns = [flat.reshape(len(flat), -1), amplitudes, across, np.array([energy, log_likelihood]).T]
    return np.concatenate(columns, axis=1).reshape(*draws.shape[:2], -1)


@cache
def reference():
    return quantities(matched_draws("local"))


def scores(ones, others):
    """z-scores of means and of mean squares about the mean of all, each chain being one independent number."""
    centre = np.concatenate([ones, others]).mean(axis=(0, 1))
    found = []
    for power in (1, 2):
        means = [((values - centre) ** power).mean(axis=1) for values in (ones, others)]
        statistic = stats.ttest_ind(*means, equal_var=False)
        found.append(np.sign(statistic.statistic) * stats.norm.isf(0.5 * statistic.pvalue))
    return np.concatenate(found)


def assert_same(ones, others):
    z = scores(ones, others)
    assert np.abs(z).max() < z_limit(z.size), z.round(1)


@pytest.mark.slow
@pytest.mark.parametrize("rigid", [False, True])
def test_matched_masses(rigid):
    assert_same(reference(), quantities(matched_draws("combined", rigid)))


@pytest.mark.slow
@pytest.mark.parametrize(("approach", "rigid"), [("local", False), ("combined", True)])
def test_domain_motions(approach, rigid):
    assert_same(reference(), quantities(draws_with_domain_motions(approach, rigid)))


@pytest.mark.slow
@pytest.mark.parametrize("approach", ["local", "combined"])
def test_unit_masses(approach):
    assert_same(reference(), quantities(unit_draws(approach)))


@pytest.mark.slow
def test_the_comparison_notices_another_posterior():
    """A prior that is a tenth weaker."""
    fit, likelihood = prepared("combined")
    hotter, _ = hairpin_fit(
        deformation="local", chains=N_CHAINS, iterations=N_DRAWS, warmup_iterations=60, temperature=330.0
    )
    chains = run_chains(hotter.problem, fit.stages, [likelihood], NullReporter())
    z = scores(reference(), quantities(np.array([chain.draws.coords for chain in chains], dtype=np.float64)))
    assert np.abs(z).max() > z_limit(z.size)
