"""What is particular to one kernel: jitter, counting, divergences along the way, settings."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bayesflex.errors import ConfigError
from bayesflex.mcmc import HMC, MINIMAL_ERROR, DiagonalMass, Metropolis, leapfrog
from bayesflex.protocols import Evaluation


def normal(position):
    return Evaluation(-0.5 * float(position @ position), -position)


class TestJitter:
    def lengths_and_steps(self, rng, n_steps, **jitter):
        kernel = HMC(normal, DiagonalMass.uniform(2), 0.1, n_steps, **jitter)
        state = kernel.init(np.zeros(2))
        infos = []
        for _ in range(600):
            state, info = kernel.step(rng, state)
            infos.append(info)
        return {info.n_gradients for info in infos}, np.array([info.step_size for info in infos])

    @pytest.mark.parametrize(("n_steps", "expected"), [(1, {1}), (2, {1, 2, 3}), (10, set(range(5, 16)))])
    def test_length(self, n_steps, expected, rng):
        lengths, _ = self.lengths_and_steps(rng, n_steps)
        assert lengths == expected

    @pytest.mark.parametrize(("n_steps", "expected"), [(1, {2}), (2, {2}), (5, {4, 6}), (20, set(range(10, 31, 2)))])
    def test_length_in_two_stages(self, n_steps, expected, rng):
        lengths, _ = self.lengths_and_steps(rng, n_steps, outer_kick=MINIMAL_ERROR)
        assert lengths == expected

    def test_step(self, rng):
        _, steps = self.lengths_and_steps(rng, 5)
        assert 0.08 <= steps.min() < 0.081
        assert 0.119 < steps.max() <= 0.12

    def test_off(self, rng):
        lengths, steps = self.lengths_and_steps(rng, 7, step_jitter=0.0, length_jitter=0.0)
        assert lengths == {7}
        assert set(steps) == {0.1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step_size": 0.0}, "step_size"),
        ({"step_size": math.nan}, "step_size"),
        ({"n_steps": 0}, "n_steps"),
        ({"step_jitter": 1.0}, "step_jitter"),
        ({"length_jitter": -0.1}, "length_jitter"),
        ({"outer_kick": 0.5}, "outer_kick"),
        ({"outer_kick": math.nan}, "outer_kick"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        HMC(normal, DiagonalMass.uniform(2), **({"step_size": 0.1, "n_steps": 5} | settings))


@pytest.mark.parametrize(
    "bad",
    [
        Evaluation(math.nan, np.zeros(2)),
        Evaluation(-math.inf, np.zeros(2)),
        Evaluation(math.inf, np.zeros(2)),
        Evaluation(0.0, np.array([0.0, math.nan])),
        Evaluation(0.0, np.array([math.inf, 0.0])),
    ],
    ids=["log density NaN", "-inf", "+inf", "gradient NaN", "gradient inf"],
)
def test_leapfrog_stops_at_the_first_bad_evaluation(bad):
    calls = []

    def target(position):
        calls.append(position.copy())
        return bad if len(calls) == 3 else normal(position)

    mass = DiagonalMass.uniform(2)
    result = leapfrog(target, np.ones(2), np.ones(2), normal(np.ones(2)), 0.1, 10, mass)
    assert result.divergent
    assert result.n_gradients == len(calls) == 3


@pytest.mark.parametrize("momentum", [np.array([math.nan, 0.0]), np.array([1e308, 0.0])], ids=["NaN", "overflow"])
def test_leapfrog_never_hands_a_bad_coordinate_to_the_target(momentum):
    def target(position):
        raise AssertionError(f"evaluated at {position}")

    result = leapfrog(target, np.ones(2), momentum, normal(np.ones(2)), 100.0, 10, DiagonalMass.uniform(2))
    assert result.divergent
    assert result.n_gradients == 0


def test_metropolis_counts_its_proposals(rng):
    kernel = Metropolis(normal, DiagonalMass.uniform(2), 1.0, n_steps=6)
    state = kernel.init(np.zeros(2))
    _, info = kernel.step(rng, state)
    assert info.n_gradients == 6
    assert 0.0 < info.acceptance < 1.0


def test_metropolis_needs_no_gradient():
    """The walk is the same whatever the gradient says."""
    blind = lambda x: Evaluation(normal(x).log_density, np.zeros_like(x))  # noqa: E731
    ends = []
    for target in (normal, blind):
        kernel = Metropolis(target, DiagonalMass.uniform(2), 1.0, n_steps=20)
        ends.append(kernel.step(np.random.default_rng(1), kernel.init(np.zeros(2)))[0].position)
    np.testing.assert_array_equal(*ends)
