"""Replica exchange samples what it is given, finds the weights of modes that a chain cannot cross between, and the
tests would notice if its exchanges were wrong.
"""

from __future__ import annotations

import numpy as np
import pytest
from known_densities import Mixture
from mcmc_statistics import assert_distributed, batch_z, effective_size, marginal_scores, z_limit
from scipy import stats

from bayesflex.mcmc import HMC, DiagonalMass, ReplicaExchange
from bayesflex.mcmc.replica_exchange import join, split
from bayesflex.protocols import Evaluation, KernelState


class TwoModes:
    """Prior N(0, s²) in each of some directions, and a likelihood of two narrow peaks, of which β log L counts.

    The product of the two at β = 1 is a mixture of two normal densities with weights in closed form.
    """

    prior_sd = 2.0
    weights, deviations = np.array([0.35, 0.65]), np.array([0.25, 0.35])

    def __init__(self, n_dim, beta=1.0):
        self.n_dim, self.beta = n_dim, beta
        self.means = np.zeros((2, n_dim))
        self.means[:, 0] = -2.5, 2.0
        self.means[1, 1] = 0.6

    def at(self, beta):
        return TwoModes(self.n_dim, beta)

    def __call__(self, position):
        away = position - self.means
        exponents = np.log(self.weights) - self.n_dim * np.log(self.deviations)
        exponents -= 0.5 * np.sum(away**2, axis=1) / self.deviations**2
        highest = exponents.max()
        parts = np.exp(exponents - highest)
        log_likelihood = highest + np.log(parts.sum())
        slope = -(parts / parts.sum() / self.deviations**2) @ away
        log_density = self.beta * log_likelihood - 0.5 * float(position @ position) / self.prior_sd**2
        return Evaluation(float(log_density), self.beta * slope - position / self.prior_sd**2)

    def posterior(self):
        """Weights, means (2, n_dim) and standard deviations of the two normal densities of the posterior."""
        total = self.deviations**2 + self.prior_sd**2
        evidence = self.weights * np.exp(-0.5 * np.sum(self.means**2, axis=1) / total) * total ** (-0.5 * self.n_dim)
        shrink = self.prior_sd**2 / total
        return evidence / evidence.sum(), self.means * shrink[:, None], self.deviations * np.sqrt(shrink)

    def marginal(self, dim):
        weights, means, deviations = self.posterior()
        return Mixture(weights, means[:, dim], deviations)


TEMPERATURES = np.geomspace(1.0, 30.0, 5)


def tempered(target):
    mass = DiagonalMass.uniform(target.n_dim)
    return ReplicaExchange(
        tuple(HMC(target.at(1.0 / t), mass, min(0.2 * np.sqrt(t), 1.0), n_steps=5) for t in TEMPERATURES)
    )


def run(kernel, state, n_draws, seed):
    """Draws of the first level, and the mean probability of each exchange."""
    rng = np.random.default_rng(seed)
    n_dim = kernel.levels[0].mass.n_dim
    draws, exchanges = np.empty((n_draws, n_dim)), np.zeros(len(kernel.levels) - 1)
    for index in range(n_draws):
        state, info = kernel.step(rng, state)
        draws[index] = state.position[:n_dim]
        exchanges += np.array(info.exchanges) / n_draws
    return draws, exchanges


@pytest.mark.slow
def test_two_separated_modes():
    """All replicas start in the lesser mode."""
    target = TwoModes(4)
    weights, means, _ = target.posterior()
    assert 0.1 < weights[0] < 0.4
    kernel = tempered(target)
    state = kernel.init(np.tile(means[0], len(TEMPERATURES)))
    draws, exchanges = run(kernel, state, 6000, seed=5)
    draws = draws[300:]
    in_first = (draws[:, 0] < -0.3).astype(float)
    assert effective_size(in_first) > 100
    assert abs(batch_z(in_first, weights[0])) < z_limit(1)
    assert_distributed([(draws[:, dim], target.marginal(dim)) for dim in range(target.n_dim)])
    assert exchanges.min() > 0.2
    assert exchanges.max() < 0.95


@pytest.mark.parametrize("first", [0, 1])
def test_a_chain_alone_stays_in_one_of_them(first):
    target = TwoModes(4)
    kernel = ReplicaExchange(tempered(target).levels[:1])
    draws, _ = run(kernel, kernel.init(target.posterior()[1][first]), 4000, seed=6)
    assert ((draws[:, 0] < -0.3) == (first == 0)).all()


def normal_levels():
    """N(0, 1/β) in two dimensions at each level."""

    def density(beta):
        return lambda x: Evaluation(-0.5 * beta * float(x @ x), -beta * x)

    mass = DiagonalMass.uniform(2)
    return [HMC(density(beta), mass, 0.9 * beta**-0.5, n_steps=2) for beta in BETAS]


BETAS = (1.0, 0.4, 0.1)


class AlwaysExchanged(ReplicaExchange):
    """Wrong: every exchange is accepted."""

    def _exchange(self, rng, replicas):
        for lower in range(len(replicas) - 1):
            one, other = replicas[lower], replicas[lower + 1]
            replicas[lower] = KernelState(other.position, self.levels[lower].target(other.position))
            replicas[lower + 1] = KernelState(one.position, self.levels[lower + 1].target(one.position))
        return (1.0,) * (len(replicas) - 1)


class JudgedByOneSide(ReplicaExchange):
    """Wrong: accepted with min(1, π_i(x_j) / π_i(x_i)), as if the other replica did not mind."""

    def _exchange(self, rng, replicas):
        probabilities = []
        for lower in range(len(replicas) - 1):
            one, other = replicas[lower], replicas[lower + 1]
            here = self.levels[lower].target(other.position)
            probabilities.append(min(1.0, float(np.exp(here.log_density - one.evaluation.log_density))))
            if rng.random() < probabilities[-1]:
                replicas[lower] = KernelState(other.position, here)
                replicas[lower + 1] = KernelState(one.position, self.levels[lower + 1].target(one.position))
        return tuple(probabilities)


class StaleEvaluations(ReplicaExchange):
    """Wrong: positions change places and take their log densities with them."""

    def _exchange(self, rng, replicas):
        before = list(replicas)
        probabilities = super()._exchange(rng, replicas)
        for index, replica in enumerate(replicas):
            for old in before:
                if replica.position is old.position:
                    replicas[index] = old
        return probabilities


def draw_levels(rng):
    return [rng.standard_normal(2) / np.sqrt(beta) for beta in BETAS]


def keeps_exact_draws(make, exchanges_alone, n_draws=1500, n_moves=6):
    """Worst p-value: exact draws of the levels, moved, are independent exact draws of the levels."""
    rng = np.random.default_rng(11)
    kernel = make(tuple(normal_levels()))
    moved = np.empty((n_draws, len(BETAS), 2))
    for index in range(n_draws):
        state = kernel.init(np.concatenate(draw_levels(rng)))
        for _ in range(n_moves):
            state, _ = kernel.exchange(rng, state) if exchanges_alone else kernel.step(rng, state)
        moved[index] = state.position.reshape(len(BETAS), 2)
    whitened = moved * np.sqrt(BETAS)[:, None]
    squares = np.sum(whitened**2, axis=2)  # χ² with two degrees of freedom, independent between levels
    p_values = [stats.kstest(values, stats.chi2(2).cdf).pvalue for values in squares.T]
    p_values += [stats.kstest(whitened[:, level, 0], stats.norm.cdf).pvalue for level in range(len(BETAS))]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        p_values.append(stats.spearmanr(squares[:, one], squares[:, other]).pvalue)
    return min(p_values) * len(p_values)


@pytest.mark.parametrize("exchanges_alone", [True, False])
def test_exact_draws_stay_exact(exchanges_alone):
    assert keeps_exact_draws(ReplicaExchange, exchanges_alone) > 1e-3


@pytest.mark.parametrize("wrong", [AlwaysExchanged, JudgedByOneSide, StaleEvaluations])
def test_wrong_exchanges_are_caught(wrong):
    assert keeps_exact_draws(wrong, exchanges_alone=False) < 1e-6


def test_exchanges_balance_in_detail():
    """At equilibrium as many pairs (x₁, x₂) go from region a to region b as from b to a."""
    rng = np.random.default_rng(12)
    kernel = ReplicaExchange(tuple(normal_levels()[:2]))
    edges = np.array([0.5, 1.0, 2.0, 3.0])

    def region(state):
        radii = [np.linalg.norm(replica.position) for replica in split(state)]
        return np.digitize(radii, edges) @ [1, len(edges) + 1]

    n_regions = (len(edges) + 1) ** 2
    flow = np.zeros((n_regions, n_regions))
    n_exchanged = 0
    for _ in range(10_000):
        before = kernel.init(np.concatenate(draw_levels(rng)[:2]))
        after, _ = kernel.exchange(rng, before)
        flow[region(before), region(after)] += 1
        n_exchanged += after.position[0] != before.position[0]
    upper = np.triu_indices(n_regions, k=1)
    total, net = (flow + flow.T)[upper], (flow - flow.T)[upper]
    busy = total > 20
    assert busy.sum() >= 8
    assert 0.3 < n_exchanged / 10_000 < 0.95
    assert stats.chi2.sf((net[busy] ** 2 / total[busy]).sum(), busy.sum()) > 1e-3


def test_every_level_has_its_own_distribution():
    kernel = ReplicaExchange(tuple(normal_levels()))
    rng = np.random.default_rng(13)
    state = join([level.init(np.zeros(2)) for level in kernel.levels])
    draws = np.empty((4000, len(BETAS) * 2))
    for index in range(len(draws)):
        state, _ = kernel.step(rng, state)
        draws[index] = state.position
    spread = np.repeat(np.power(BETAS, -0.5), 2)
    scores = marginal_scores([(column, stats.norm(0.0, s)) for column, s in zip(draws.T, spread, strict=True)])
    assert np.abs(scores).max() < z_limit(scores.size)
