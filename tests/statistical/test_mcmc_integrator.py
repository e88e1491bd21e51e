"""Leapfrog, plain and in two stages, is what makes HMC exact: reversible, volume preserving, second order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcmc_statistics import Skewed

from bayesflex.errors import ConfigError
from bayesflex.mcmc import LEAPFROG, MINIMAL_ERROR, BlockMass, DenseMass, DiagonalMass, Mass, leapfrog
from bayesflex.protocols import Evaluation

TARGET = Skewed()
CORRELATED = np.array([[1.0, 0.3, -0.2], [0.3, 0.5, 0.1], [-0.2, 0.1, 0.8]])
MASSES: dict[str, Mass] = {
    "uniform": DiagonalMass.uniform(3, 2.0),
    "diagonal": DiagonalMass(np.array([0.5, 1.0, 4.0])),
    "dense": DenseMass(CORRELATED),
    "block": BlockMass([(slice(0, 2), DenseMass(CORRELATED[:2, :2])), (slice(2, 3), DiagonalMass.uniform(1, 3.0))]),
}


SPLITTINGS = pytest.mark.parametrize("outer_kick", [LEAPFROG, MINIMAL_ERROR], ids=["leapfrog", "two stages"])


def hamiltonian(position, momentum, mass):
    return mass.kinetic(momentum) - TARGET(position).log_density


@SPLITTINGS
@pytest.mark.parametrize("name", MASSES)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), step_size=st.floats(1e-3, 0.15), n_steps=st.integers(1, 40))
def test_reversible(name, outer_kick, seed, step_size, n_steps):
    mass = MASSES[name]
    n_steps += n_steps % 2 if outer_kick != LEAPFROG else 0
    rng = np.random.default_rng(seed)
    start, momentum = TARGET.draw(rng, 1)[0], mass.draw(rng)
    there = leapfrog(TARGET, start, momentum, TARGET(start), step_size, n_steps, mass, outer_kick)
    back = leapfrog(TARGET, there.position, -there.momentum, there.evaluation, step_size, n_steps, mass, outer_kick)
    assert not there.divergent
    # Rounding grows with the step; a wrong half kick would be off by the step itself.
    np.testing.assert_allclose(back.position, start, atol=1e-9)
    np.testing.assert_allclose(-back.momentum, momentum, atol=1e-9)


@SPLITTINGS
@pytest.mark.parametrize("name", MASSES)
def test_volume_preserving(name, outer_kick, rng):
    mass = MASSES[name]

    def flow(phase):
        end = leapfrog(TARGET, phase[:3], phase[3:], TARGET(phase[:3]), 0.1, 8, mass, outer_kick)
        return np.concatenate([end.position, end.momentum])

    phase = np.concatenate([TARGET.draw(rng, 1)[0], mass.draw(rng)])
    shift = 1e-5
    jacobian = np.array([(flow(phase + shift * e) - flow(phase - shift * e)) / (2 * shift) for e in np.eye(6)]).T
    assert np.linalg.det(jacobian) == pytest.approx(1.0, abs=1e-6)
    assert not np.allclose(jacobian, np.eye(6), atol=0.1)  # the flow did move


@SPLITTINGS
@pytest.mark.parametrize("name", MASSES)
def test_energy_error_is_second_order(name, outer_kick):
    mass = MASSES[name]
    start = np.array([0.4, -0.3, 0.2])
    momentum = np.array([0.7, -0.5, 0.9])
    errors = []
    for n_steps in (100, 200, 400):
        end = leapfrog(TARGET, start, momentum, TARGET(start), 1.0 / n_steps, n_steps, mass, outer_kick)
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


def test_two_stages_are_those_of_their_formula(rng):
    """Kicks of b, 1 - 2b and b of a step of two drifts, written out; between two steps the outer kicks are merged."""
    mass, step, b = MASSES["block"], 0.2, MINIMAL_ERROR
    start, momentum = TARGET.draw(rng, 1)[0], mass.draw(rng)
    together = leapfrog(TARGET, start, momentum, TARGET(start), 0.5 * step, 6, mass, b)
    position = start
    for _ in range(3):
        momentum = momentum + b * step * TARGET(position).gradient
        position = position + 0.5 * step * mass.velocity(momentum)
        momentum = momentum + (1.0 - 2.0 * b) * step * TARGET(position).gradient
        position = position + 0.5 * step * mass.velocity(momentum)
        momentum = momentum + b * step * TARGET(position).gradient
    np.testing.assert_allclose(together.position, position, rtol=1e-12)
    np.testing.assert_allclose(together.momentum, momentum, rtol=1e-12)
    assert together.n_gradients == 6


def test_two_stages_need_an_even_number_of_steps(rng):
    mass, start = MASSES["uniform"], np.zeros(3)
    with pytest.raises(ConfigError, match="even number"):
        leapfrog(TARGET, start, mass.draw(rng), TARGET(start), 0.1, 5, mass, MINIMAL_ERROR)


def test_two_stages_err_less_for_the_same_gradients(rng):
    """On a normal density with the spread of frequencies of a fit, whose accuracy, not stability, limits the step."""
    stiffness = np.geomspace(1e-3, 1.0, 300)

    def normal(x):
        return Evaluation(-0.5 * float(stiffness @ x**2), -stiffness * x)

    mass = DiagonalMass.uniform(stiffness.size)
    squares = {LEAPFROG: 0.0, MINIMAL_ERROR: 0.0}
    for _ in range(40):
        start, momentum = rng.standard_normal(stiffness.size) / np.sqrt(stiffness), mass.draw(rng)
        for outer_kick in squares:
            end = leapfrog(normal, start, momentum, normal(start), 0.5, 20, mass, outer_kick)
            error = mass.kinetic(end.momentum) - mass.kinetic(momentum)
            error -= end.evaluation.log_density - normal(start).log_density
            squares[outer_kick] += error**2
    # At a fixed error the step grows with its square root: a third allows steps longer by three quarters.
    assert np.sqrt(squares[MINIMAL_ERROR] / squares[LEAPFROG]) < 1.0 / 3.0


def test_start_is_not_changed(rng):
    mass = MASSES["dense"]
    position, momentum = TARGET.draw(rng, 1)[0], mass.draw(rng)
    evaluation = TARGET(position)
    kept = position.copy(), momentum.copy(), evaluation.gradient.copy()
    leapfrog(TARGET, position, momentum, evaluation, 0.1, 5, mass)
    np.testing.assert_array_equal(position, kept[0])
    np.testing.assert_array_equal(momentum, kept[1])
    np.testing.assert_array_equal(evaluation.gradient, kept[2])
