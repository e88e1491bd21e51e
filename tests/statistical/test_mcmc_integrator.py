"""Leapfrog is what makes HMC exact: reversible, volume preserving, second order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcmc_statistics import Skewed

from bayesflex.mcmc import BlockMass, DenseMass, DiagonalMass, Mass, leapfrog

TARGET = Skewed()
CORRELATED = np.array([[1.0, 0.3, -0.2], [0.3, 0.5, 0.1], [-0.2, 0.1, 0.8]])
MASSES: dict[str, Mass] = {
    "uniform": DiagonalMass.uniform(3, 2.0),
    "diagonal": DiagonalMass(np.array([0.5, 1.0, 4.0])),
    "dense": DenseMass(CORRELATED),
    "block": BlockMass([(slice(0, 2), DenseMass(CORRELATED[:2, :2])), (slice(2, 3), DiagonalMass.uniform(1, 3.0))]),
}


def hamiltonian(position, momentum, mass):
    return mass.kinetic(momentum) - TARGET(position).log_density


@pytest.mark.parametrize("name", MASSES)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), step_size=st.floats(1e-3, 0.15), n_steps=st.integers(1, 40))
def test_reversible(name, seed, step_size, n_steps):
    mass = MASSES[name]
    rng = np.random.default_rng(seed)
    start, momentum = TARGET.draw(rng, 1)[0], mass.draw(rng)
    there = leapfrog(TARGET, start, momentum, TARGET(start), step_size, n_steps, mass)
    back = leapfrog(TARGET, there.position, -there.momentum, there.evaluation, step_size, n_steps, mass)
    assert not there.divergent
    # Rounding grows with the step; a wrong half kick would be off by the step itself.
    np.testing.assert_allclose(back.position, start, atol=1e-9)
    np.testing.assert_allclose(-back.momentum, momentum, atol=1e-9)


@pytest.mark.parametrize("name", MASSES)
def test_volume_preserving(name, rng):
    mass = MASSES[name]

    def flow(phase):
        end = leapfrog(TARGET, phase[:3], phase[3:], TARGET(phase[:3]), 0.1, 7, mass)
        return np.concatenate([end.position, end.momentum])

    phase = np.concatenate([TARGET.draw(rng, 1)[0], mass.draw(rng)])
    shift = 1e-5
    jacobian = np.array([(flow(phase + shift * e) - flow(phase - shift * e)) / (2 * shift) for e in np.eye(6)]).T
    assert np.linalg.det(jacobian) == pytest.approx(1.0, abs=1e-6)
    assert not np.allclose(jacobian, np.eye(6), atol=0.1)  # the flow did move


@pytest.mark.parametrize("name", MASSES)
def test_energy_error_is_second_order(name):
    mass = MASSES[name]
    start = np.array([0.4, -0.3, 0.2])
    momentum = np.array([0.7, -0.5, 0.9])
    errors = []
    for n_steps in (100, 200, 400):
        end = leapfrog(TARGET, start, momentum, TARGET(start), 1.0 / n_steps, n_steps, mass)
        errors.append(hamiltonian(end.position, end.momentum, mass) - hamiltonian(start, momentum, mass))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.05)


def test_merged_half_kicks_equal_single_steps(rng):
    mass = MASSES["diagonal"]
    position, momentum = TARGET.draw(rng, 1)[0], mass.draw(rng)
    together = leapfrog(TARGET, position, momentum, TARGET(position), 0.1, 6, mass)
    evaluation = TARGET(position)
    for _ in range(6):
        position, momentum, evaluation, n_gradients, _ = leapfrog(TARGET, position, momentum, evaluation, 0.1, 1, mass)
        assert n_gradients == 1
    assert together.n_gradients == 6
    np.testing.assert_allclose(together.position, position, rtol=1e-12)
    np.testing.assert_allclose(together.momentum, momentum, rtol=1e-12)


def test_start_is_not_changed(rng):
    mass = MASSES["dense"]
    position, momentum = TARGET.draw(rng, 1)[0], mass.draw(rng)
    evaluation = TARGET(position)
    kept = position.copy(), momentum.copy(), evaluation.gradient.copy()
    leapfrog(TARGET, position, momentum, evaluation, 0.1, 5, mass)
    np.testing.assert_array_equal(position, kept[0])
    np.testing.assert_array_equal(momentum, kept[1])
    np.testing.assert_array_equal(evaluation.gradient, kept[2])
