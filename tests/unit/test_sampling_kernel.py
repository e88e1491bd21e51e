"""The kernel of a fit: how its warm-up sets the step and the number of steps."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.mcmc import DiagonalMass
from bayesflex.protocols import Evaluation, KernelState
from bayesflex.sampling.kernel import kernel_of, steps_of_length, warm_kernel

N = 60


def normal(position):
    return Evaluation(-0.5 * float(position @ position), -position)


def warmed(config, **more):
    """The kernel that a warm-up of a standard normal ends with, and the last point of the warm-up."""
    points = []
    start = KernelState(np.zeros(N), normal(np.zeros(N)))
    rng = np.random.default_rng(4)
    kernel, _ = warm_kernel(rng, config, normal, start, DiagonalMass.uniform(N), 80, on_point=points.append, **more)
    return kernel, points


@pytest.mark.parametrize("target_acceptance", [0.6, 0.8, 0.98])
def test_a_trajectory_keeps_its_length_when_the_step_adapts(target_acceptance):
    config = FitConfig(resolution=8.0, steps=20, target_acceptance=target_acceptance)
    kernel, points = warmed(config)
    expected = points[-1].averaging.first_step_size
    assert kernel.n_steps == steps_of_length(20, expected, kernel.step_size)
    if 10 < kernel.n_steps < 40:
        assert kernel.n_steps * kernel.step_size == pytest.approx(20 * expected, rel=0.5 / kernel.n_steps)


def test_a_shorter_step_makes_more_of_them():
    relaxed, strict = (
        warmed(FitConfig(resolution=8.0, steps=20, target_acceptance=acceptance))[0] for acceptance in (0.6, 0.98)
    )
    assert strict.step_size < relaxed.step_size
    assert strict.n_steps > relaxed.n_steps


def test_the_number_of_steps_is_within_a_factor_of_two():
    assert steps_of_length(20, 1.0, 1e-3) == 40
    assert steps_of_length(20, 1.0, 1e3) == 10
    assert steps_of_length(1, 1.0, 1e3) == 1
    assert kernel_of(normal, DiagonalMass.uniform(N), 0.3, 26).n_steps == 26


@pytest.mark.parametrize("n_done", [5, 15, 16, 60])
def test_a_warm_up_that_goes_on_from_a_point_ends_with_the_same_kernel(n_done):
    config = FitConfig(resolution=8.0, steps=20, target_acceptance=0.95)
    rng = np.random.default_rng(4)
    states = []
    start = KernelState(np.zeros(N), normal(np.zeros(N)))
    mass = DiagonalMass.uniform(N)
    whole, _ = warm_kernel(
        rng, config, normal, start, mass, 80, on_point=lambda point: states.append((point, rng.bit_generator.state))
    )
    point, rng.bit_generator.state = states[n_done - 1]
    again, _ = warm_kernel(rng, config, normal, start, mass, 80, begin=point)
    assert (again.n_steps, again.step_size) == (whole.n_steps, whole.step_size)
