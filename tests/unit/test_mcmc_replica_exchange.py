"""What the kernel of replica exchange promises, as every kernel does, and what is particular to it."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bayesflex.errors import ConfigError, InputError, SamplingError
from bayesflex.mcmc import HMC, DiagonalMass, ReplicaExchange
from bayesflex.mcmc.replica_exchange import join, split
from bayesflex.protocols import Evaluation, KernelInfo, KernelState

N_DIM = 3


class Power:
    """log π = −β Σ x⁴ / 4, −inf where |x| exceeds an edge; counts its evaluations and refuses non-finite input."""

    def __init__(self, beta, edge=math.inf):
        self.beta, self.edge = beta, edge
        self.n_evaluations = 0

    def __call__(self, position):
        self.n_evaluations += 1
        assert np.isfinite(position).all()
        if (np.abs(position) > self.edge).any():
            return Evaluation(-math.inf, np.zeros_like(position))
        return Evaluation(-0.25 * self.beta * float(np.sum(position**4)), -self.beta * position**3)


def ladder(betas=(1.0, 0.5, 0.2, 0.1), edge=math.inf, step_size=0.4):
    mass = DiagonalMass.uniform(N_DIM)
    return ReplicaExchange(tuple(HMC(Power(beta, edge), mass, step_size * beta**-0.25, n_steps=4) for beta in betas))


def start(kernel):
    return np.linspace(-0.5, 0.5, N_DIM * len(kernel.levels))


def trace(kernel, seed, n_iterations=40):
    rng, state = np.random.default_rng(seed), kernel.init(start(kernel))
    states, infos = [], []
    for _ in range(n_iterations):
        state, info = kernel.step(rng, state)
        states.append(state)
        infos.append(info)
    return states, infos


def test_state_and_info_are_what_they_say():
    kernel = ladder()
    states, infos = trace(kernel, seed=1)
    n_evaluations = sum(level.target.n_evaluations for level in kernel.levels)
    assert n_evaluations == len(kernel.levels) + sum(info.n_gradients for info in infos)
    for state, info in zip(states, infos, strict=True):
        assert isinstance(state, KernelState)
        assert isinstance(info, KernelInfo)
        assert state.position.shape == (N_DIM * len(kernel.levels),)
        fresh = kernel.target(state.position)
        assert state.evaluation.log_density == fresh.log_density
        np.testing.assert_array_equal(state.evaluation.gradient, fresh.gradient)
        assert len(info.exchanges) == len(kernel.levels) - 1
        assert all(0.0 <= probability <= 1.0 for probability in info.exchanges)
        assert not info.divergent
        assert math.isfinite(info.energy_error)


def test_each_replica_is_evaluated_by_its_own_level():
    kernel = ladder()
    states, _ = trace(kernel, seed=2)
    for state in states:
        for level, replica in zip(kernel.levels, split(state), strict=True):
            fresh = level.target(replica.position)
            assert replica.evaluation.log_density == fresh.log_density
            np.testing.assert_array_equal(replica.evaluation.gradient, fresh.gradient)


def test_positions_do_change_places():
    kernel = ladder()
    rng, state = np.random.default_rng(3), kernel.init(start(kernel))
    before = [replica.position.copy() for replica in split(state)]
    swapped, probabilities = kernel.exchange(rng, state)
    after = [replica.position for replica in split(swapped)]
    assert sorted(map(tuple, before)) == sorted(map(tuple, after))
    assert not np.array_equal(before, after)
    assert max(probabilities) > 0.0


def test_join_undoes_split():
    states, _ = trace(ladder(), seed=4, n_iterations=2)
    again = join(split(states[-1]))
    np.testing.assert_array_equal(again.position, states[-1].position)
    np.testing.assert_array_equal(again.evaluation.gradient, states[-1].evaluation.gradient)
    assert again.evaluation.log_density == states[-1].evaluation.log_density


def test_one_level_is_hamiltonian_monte_carlo():
    kernel = ladder(betas=(1.0,))
    states, infos = trace(kernel, seed=5)
    (alone,) = kernel.levels
    rng, state = np.random.default_rng(5), alone.init(start(kernel))
    for ensemble, info in zip(states, infos, strict=True):
        state, expected = alone.step(rng, state)
        np.testing.assert_array_equal(ensemble.position, state.position)
        assert info == expected
        assert info.exchanges == ()


def test_same_seed_same_trace_bitwise_and_in_threads():
    kernel = ladder()
    alone = [trace(kernel, seed)[0][-1].position.tobytes() for seed in range(4)]
    assert len(set(alone)) == 4
    with ThreadPoolExecutor(4) as pool:
        together = [states[-1].position.tobytes() for states, _ in pool.map(lambda seed: trace(kernel, seed), range(4))]
    assert alone == together


def test_a_step_changes_nothing_it_was_given(rng):
    kernel = ladder()
    given = start(kernel)
    state = kernel.init(given)
    assert not np.shares_memory(state.position, given)
    kept = state.position.tobytes(), state.evaluation.gradient.tobytes()
    for _ in range(10):
        kernel.step(rng, state)
    assert (state.position.tobytes(), state.evaluation.gradient.tobytes()) == kept


def test_divergences_and_exchanges_to_impossible_places_are_rejected(rng):
    """Every trajectory leaves the support, and the second replica is where the first level's density is zero."""
    mass = DiagonalMass.uniform(N_DIM)
    kernel = ReplicaExchange(
        (HMC(Power(1.0, edge=0.6), mass, 1e6, 1), HMC(Power(0.5, edge=2.0), mass, 1e6, 1)),
    )
    state = kernel.init(np.concatenate([np.full(N_DIM, 0.5), np.full(N_DIM, 1.5)]))
    for _ in range(20):
        after, info = kernel.step(rng, state)
        np.testing.assert_array_equal(after.position, state.position)
        np.testing.assert_array_equal(after.evaluation.gradient, state.evaluation.gradient)
        assert info.divergent
        assert not info.accepted
        assert info.exchanges == (0.0,)


@pytest.mark.parametrize("bad", [Evaluation(math.nan, np.zeros(N_DIM)), Evaluation(0.0, np.full(N_DIM, math.nan))])
def test_an_exchange_to_numbers_that_are_not_finite_is_rejected(bad, rng):
    mass, here = DiagonalMass.uniform(N_DIM), Power(1.0)
    strange = lambda x: here(x) if x[0] > 0.0 else bad  # noqa: E731
    kernel = ReplicaExchange((HMC(strange, mass, 0.1, 1), HMC(Power(0.5), mass, 0.1, 1)))
    state = kernel.init(np.concatenate([np.ones(N_DIM), -np.ones(N_DIM)]))
    after, probabilities = kernel.exchange(rng, state)
    np.testing.assert_array_equal(after.position, state.position)
    assert probabilities == (0.0,)


def test_impossible_ladders_and_starts_are_refused():
    mass = DiagonalMass.uniform(N_DIM)
    with pytest.raises(ConfigError, match="at least one kernel"):
        ReplicaExchange(())
    with pytest.raises(ConfigError, match=r"same number of dimensions, got \[2, 3\]"):
        ReplicaExchange((HMC(Power(1.0), mass, 0.1, 1), HMC(Power(1.0), DiagonalMass.uniform(2), 0.1, 1)))
    with pytest.raises(InputError, match=r"shape \(12,\), 3 numbers for each of 4 levels, got \(3,\)"):
        ladder().init(np.zeros(N_DIM))
    with pytest.raises(SamplingError, match="log density -inf"):
        ladder(edge=1.0).init(np.full(4 * N_DIM, 2.0))
