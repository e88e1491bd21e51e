"""What every row of ``mcmc.SAMPLERS`` promises."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bayesflex.errors import InputError, SamplingError
from bayesflex.mcmc import SAMPLERS, BlockMass, DenseMass, DiagonalMass
from bayesflex.protocols import Evaluation, KernelInfo, KernelState

N_DIM = 5
MASS = BlockMass([(slice(0, 2), DenseMass(np.array([[1.0, 0.3], [0.3, 0.6]]))), (slice(2, 5), DiagonalMass.uniform(3))])


class Quartic:
    """log π = −Σ x⁴ / 4, -inf where |x| exceeds an edge; counts its evaluations and refuses non-finite input."""

    def __init__(self, edge=math.inf):
        self.edge = edge
        self.n_evaluations = 0

    def __call__(self, position):
        self.n_evaluations += 1
        assert np.isfinite(position).all()
        if (np.abs(position) > self.edge).any():
            return Evaluation(-math.inf, np.zeros_like(position))
        return Evaluation(-0.25 * float(np.sum(position**4)), -(position**3))


@pytest.fixture(params=SAMPLERS)
def sampler(request):
    return SAMPLERS[request.param]


def trace(kernel, seed, n_iterations=40):
    rng = np.random.default_rng(seed)
    state = kernel.init(np.full(N_DIM, 0.5))
    states, infos = [], []
    for _ in range(n_iterations):
        state, info = kernel.step(rng, state)
        states.append(state)
        infos.append(info)
    return states, infos


def test_state_and_info_are_what_they_say(sampler):
    target = Quartic()
    kernel = sampler(target, MASS, 0.3, 6)
    states, infos = trace(kernel, seed=1)
    assert target.n_evaluations == 1 + sum(info.n_gradients for info in infos)
    for state, info in zip(states, infos, strict=True):
        assert isinstance(state, KernelState)
        assert isinstance(info, KernelInfo)
        assert state.position.shape == (N_DIM,)
        fresh = target(state.position)
        assert state.evaluation.log_density == fresh.log_density
        np.testing.assert_array_equal(state.evaluation.gradient, fresh.gradient)
        assert 0.0 <= info.acceptance <= 1.0
        assert type(info.accepted) is bool
        assert type(info.divergent) is bool
        assert info.step_size > 0.0
        assert math.isfinite(info.energy_error)
        assert not info.divergent
    assert sum(info.accepted for info in infos) > 20


def test_rejected_means_the_same_state_and_accepted_another(sampler):
    kernel = sampler(Quartic(edge=1.5), MASS, 0.5, 3)
    states, infos = trace(kernel, seed=2, n_iterations=100)
    for before, after, info in zip(states, states[1:], infos[1:], strict=False):
        assert (after is before) == (not info.accepted)


def test_same_seed_same_trace_bitwise(sampler):
    first, second = (trace(sampler(Quartic(), MASS, 0.3, 6), seed=3) for _ in range(2))
    other = trace(sampler(Quartic(), MASS, 0.3, 6), seed=4)
    for one, two in zip(first[0], second[0], strict=True):
        assert one.position.tobytes() == two.position.tobytes()
    assert first[1] == second[1]
    assert first[0][-1].position.tobytes() != other[0][-1].position.tobytes()


def test_a_kernel_can_be_shared_by_threads(sampler):
    """No state of its own: chains of one kernel in threads equal the same chains one after another."""
    kernel = sampler(lambda x: Evaluation(-0.5 * float(x @ x), -x), MASS, 0.3, 6)
    alone = [trace(kernel, seed)[0][-1].position for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = [states[-1].position for states, _ in pool.map(lambda seed: trace(kernel, seed), range(4))]
    np.testing.assert_array_equal(alone, together)


def test_a_step_changes_nothing_it_was_given(sampler, rng):
    kernel = sampler(Quartic(), MASS, 0.3, 6)
    start = np.full(N_DIM, 0.5)
    state = kernel.init(start)
    assert not np.shares_memory(state.position, start)
    kept = state.position.copy(), state.evaluation.gradient.copy()
    for _ in range(10):
        kernel.step(rng, state)
    np.testing.assert_array_equal(state.position, kept[0])
    np.testing.assert_array_equal(state.evaluation.gradient, kept[1])


def test_a_divergence_is_rejected_and_counted(sampler, rng):
    """Every move leads out of the support: nothing is raised and the chain stays."""
    kernel = sampler(Quartic(edge=0.6), MASS, 30.0, 1)
    state = kernel.init(np.full(N_DIM, 0.5))
    for _ in range(20):
        after, info = kernel.step(rng, state)
        assert after is state
        assert info.divergent
        assert not info.accepted
        assert info.acceptance == 0.0
        assert info.energy_error == math.inf


@pytest.mark.parametrize("step_size", [1e3, 1e80, 1e200, 1e307])
def test_numbers_out_of_range_are_a_divergence(sampler, step_size, rng):
    kernel = sampler(Quartic(), MASS, step_size, 5)
    state = kernel.init(np.full(N_DIM, 0.5))
    for _ in range(5):
        after, info = kernel.step(rng, state)
        assert np.isfinite(after.position).all()
        assert math.isfinite(after.evaluation.log_density)
        assert info.acceptance < 1e-6


def test_an_impossible_start_is_refused(sampler):
    kernel = sampler(Quartic(edge=1.0), MASS, 0.3, 6)
    with pytest.raises(SamplingError, match="log density -inf"):
        kernel.init(np.full(N_DIM, 2.0))
    with pytest.raises(SamplingError, match="finite coordinates"):
        kernel.init(np.full(N_DIM, math.nan))
    with pytest.raises(InputError, match=r"shape \(5,\)"):
        kernel.init(np.zeros(N_DIM + 1))
