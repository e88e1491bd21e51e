"""The parts of the warm-up, each on a target where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bayesflex.errors import ConfigError, SamplingError
from bayesflex.mcmc import HMC, DenseMass, DiagonalMass, DualAveraging, heat, largest_eigenvalue, warm_up
from bayesflex.protocols import Evaluation

STIFFNESS = np.array([0.01, 1.0, 4.0, 50.0])


def springs(position):
    """Independent springs around 3."""
    gradient = -STIFFNESS * (position - 3.0)
    return Evaluation(0.5 * float((position - 3.0) @ gradient), gradient)


def flat(position):
    return Evaluation(0.0, np.zeros_like(position))


def boxed(position):
    """Standard normal cut off outside |x| < 1."""
    if not (np.abs(position) < 1.0).all():
        return Evaluation(-math.inf, np.zeros_like(position))
    return Evaluation(-0.5 * float(position @ position), -position)


class TestDualAveraging:
    @pytest.mark.parametrize("first_step_size", [0.01, 0.3, 5.0])
    @pytest.mark.parametrize("target_acceptance", [0.6, 0.8, 0.9])
    def test_reaches_the_target(self, first_step_size, target_acceptance, rng):
        averaging = DualAveraging(first_step_size, target_acceptance)
        for _ in range(1500):
            noisy = math.exp(-averaging.step_size) + rng.uniform(-0.1, 0.1)
            averaging = averaging.update(min(1.0, max(0.0, noisy)))
        assert math.exp(-averaging.averaged_step_size) == pytest.approx(target_acceptance, abs=0.03)

    def test_first_updates_by_hand(self):
        start = DualAveraging(2.0, target_acceptance=0.8, gamma=0.05)
        assert start.step_size == start.averaged_step_size == 2.0
        once = start.update(0.3)
        # E = 0.5/11, log eps = log 2 - E/0.05, and the average forgets the start at t = 1.
        assert once.step_size == pytest.approx(2.0 * math.exp(-0.5 / 11 / 0.05))
        assert once.averaged_step_size == pytest.approx(once.step_size)
        twice = once.update(1.0)
        error = (1 - 1 / 12) * 0.5 / 11 + (0.8 - 1.0) / 12
        change = -math.sqrt(2) / 0.05 * error
        assert twice.step_size == pytest.approx(2.0 * math.exp(change))
        weight = 2**-0.75
        averaged = weight * change + (1 - weight) * math.log(once.step_size / 2.0)
        assert twice.averaged_step_size == pytest.approx(2.0 * math.exp(averaged))
        assert start == DualAveraging(2.0, target_acceptance=0.8, gamma=0.05)  # unchanged

    @pytest.mark.parametrize("acceptance", [0.0, 1.0])
    def test_stays_positive_and_finite(self, acceptance):
        averaging = DualAveraging(1.0)
        for _ in range(30_000):
            averaging = averaging.update(acceptance)
        assert 0.0 < averaging.step_size < math.inf
        assert 0.0 < averaging.averaged_step_size < math.inf

    @pytest.mark.parametrize(("step_size", "target"), [(0.0, 0.8), (math.nan, 0.8), (1.0, 0.0), (1.0, 1.0)])
    def test_refuses_impossible_settings(self, step_size, target):
        with pytest.raises(ConfigError, match=r"step_size|target_acceptance"):
            DualAveraging(step_size, target)


class TestLargestEigenvalue:
    def test_of_springs(self, rng):
        mass = DiagonalMass.uniform(4)
        assert largest_eigenvalue(springs, np.zeros(4), mass, rng) == pytest.approx(50.0, rel=1e-6)

    def test_depends_on_the_mass(self, rng):
        mass = DiagonalMass(np.array([1.0, 0.1, 1.0, 25.0]))  # 0.01, 10, 4, 2
        assert largest_eigenvalue(springs, np.zeros(4), mass, rng, 30) == pytest.approx(10.0, rel=1e-3)

    def test_with_a_dense_mass(self, rng):
        root = rng.standard_normal((4, 4))
        inverse_mass = root @ root.T + 0.1 * np.eye(4)
        expected = np.linalg.eigvals(inverse_mass @ np.diag(STIFFNESS)).real.max()
        found = largest_eigenvalue(springs, np.zeros(4), DenseMass(inverse_mass), rng)
        assert found == pytest.approx(expected, rel=0.02)

    def test_in_any_units(self, rng):
        for unit in (1e-6, 1e6):
            scaled = lambda x, u=unit: Evaluation(springs(x / u).log_density, springs(x / u).gradient / u)  # noqa: E731
            found = largest_eigenvalue(scaled, np.zeros(4), DiagonalMass.uniform(4), rng)
            assert found == pytest.approx(50.0 / unit**2, rel=1e-3)

    def test_of_a_flat_target_is_zero(self, rng):
        assert largest_eigenvalue(flat, np.zeros(3), DiagonalMass.uniform(3), rng) == 0.0

    def test_near_an_edge_the_displacement_shrinks(self, rng):
        position = np.array([1.0 - 1e-6, 0.0])
        assert largest_eigenvalue(boxed, position, DiagonalMass.uniform(2), rng) == pytest.approx(1.0, rel=1e-4)

    def test_without_finite_surroundings_is_an_error(self, rng):
        nowhere = lambda x: Evaluation(-math.inf, np.zeros_like(x))  # noqa: E731
        with pytest.raises(SamplingError, match="move the start"):
            largest_eigenvalue(nowhere, np.zeros(2), DiagonalMass.uniform(2), rng)


class TestHeat:
    def test_reaches_the_temperature_from_the_minimum(self, rng):
        n_dim = 500
        stiff = lambda x: Evaluation(-50.0 * float(x @ x), -100.0 * x)  # noqa: E731
        mass = DiagonalMass.uniform(n_dim)
        state = HMC(stiff, mass, 0.1, 1).init(np.zeros(n_dim))
        state, step_size = heat(rng, stiff, state, mass, 0.05, 13)
        assert step_size == 0.05
        # Equipartition: half a nat per dimension, give or take sqrt(n/2).
        assert -state.evaluation.log_density == pytest.approx(n_dim / 2, abs=4 * math.sqrt(n_dim / 2))

    def test_an_unstable_step_is_rejected_and_halved(self, rng):
        mass = DiagonalMass.uniform(4)
        state = HMC(springs, mass, 0.1, 1).init(np.full(4, 3.0))
        seen = []
        heat(rng, springs, state, mass, 10.0, 200, 12, lambda s, i: seen.append((s, i)))
        assert len(seen) == 12
        first_state, first = seen[0]
        assert not first.accepted
        assert first_state is state
        assert seen[1][1].step_size == 5.0
        assert any(info.accepted for _, info in seen)
        assert all(np.isfinite(s.position).all() for s, _ in seen)
        assert min(info.step_size for _, info in seen) > 0.05  # it grows back


class TestWarmUp:
    def test_reports_every_iteration_and_returns_the_last_state(self, rng):
        mass = DiagonalMass(STIFFNESS)
        state = HMC(springs, mass, 0.1, 1).init(np.full(4, 3.0))
        seen = []
        last, step_size = warm_up(rng, springs, state, mass, 40, 8, on_iteration=lambda s, i: seen.append((s, i)))
        assert len(seen) == 40
        assert seen[-1][0] is last
        assert 0.3 < step_size < 2.0

    @pytest.mark.parametrize("n_iterations", [1, 2, 3])
    def test_short_ones_work(self, n_iterations, rng):
        mass = DiagonalMass.uniform(4)
        state = HMC(springs, mass, 0.1, 1).init(np.full(4, 3.0))
        seen = []
        _, step_size = warm_up(rng, springs, state, mass, n_iterations, 3, on_iteration=lambda s, i: seen.append(i))
        assert len(seen) == n_iterations
        assert 0.0 < step_size < 2.0

    def test_is_reproducible(self):
        mass = DiagonalMass(STIFFNESS)
        state = HMC(springs, mass, 0.1, 1).init(np.full(4, 3.0))
        first, second = (warm_up(np.random.default_rng(3), springs, state, mass, 30, 5) for _ in range(2))
        assert first[1] == second[1]
        np.testing.assert_array_equal(first[0].position, second[0].position)

    def test_a_flat_target_is_an_error(self, rng):
        state = HMC(flat, DiagonalMass.uniform(2), 0.1, 1).init(np.zeros(2))
        with pytest.raises(SamplingError, match="flat log density"):
            warm_up(rng, flat, state, DiagonalMass.uniform(2), 10, 5)

    def test_no_iterations_is_an_error(self, rng):
        mass = DiagonalMass.uniform(4)
        state = HMC(springs, mass, 0.1, 1).init(np.zeros(4))
        with pytest.raises(ConfigError, match="n_iterations"):
            warm_up(rng, springs, state, mass, 0, 5)

    def test_divergences_on_the_way_are_no_error(self, rng):
        mass = DiagonalMass.uniform(5)
        state = HMC(boxed, mass, 0.1, 1).init(np.zeros(5))
        seen = []
        state, step_size = warm_up(rng, boxed, state, mass, 60, 10, on_iteration=lambda s, i: seen.append(i))
        assert any(info.divergent for info in seen)
        assert (np.abs(state.position) < 1.0).all()
        assert step_size > 0.0
