"""The pull-back of a deformation against directional differences, for every approach, with and without rigid motion."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.deformation import APPROACHES, Deformation
from gradients.directional import check_gradient

N, N_MODES = 12, 5


@pytest.mark.parametrize("turn", [0.0, 1e-3, 1.0, 3.0])
@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("approach", APPROACHES)
def test_pull_back(approach, rigid, turn, rng):
    modes = np.linalg.qr(rng.normal(size=(3 * N, N_MODES)))[0].T.reshape(N_MODES, N, 3)
    start = rng.normal(scale=10.0, size=(N, 3)) + [50.0, -20.0, 5.0]
    deformation = Deformation(approach, start, modes[:0] if approach == "local" else modes, rigid)
    theta = rng.normal(size=deformation.n_dim)
    if rigid:
        axis = rng.normal(size=3)
        theta[deformation.rotation] = turn * axis / np.linalg.norm(axis)
        theta[deformation.translation] = [4.0, -3.0, 7.0]
    answer = start + rng.normal(scale=5.0, size=start.shape)

    def log_density(position):
        """A curved function of r and what the deformation adds of its own."""
        residual = np.sin(deformation.coordinates(position) - answer)
        return float(np.sum(residual)) + deformation.log_density(position)

    coords = deformation.coordinates(theta)
    gradient = deformation.pull_back(theta, coords, np.cos(coords - answer))
    # A rotation of 1 rad moves atoms by tens of Å: short steps.
    check_gradient(log_density, theta, gradient, rng, step=2e-4, rtol=1e-6)


@pytest.mark.parametrize("turn", [0.0, 1e-3, 1.0, 3.0])
@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("approach", APPROACHES)
def test_pull_back_with_bodies(approach, rigid, turn, rng):
    modes = np.linalg.qr(rng.normal(size=(3 * N, N_MODES)))[0].T.reshape(N_MODES, N, 3)
    start = rng.normal(scale=10.0, size=(N, 3)) + [50.0, -20.0, 5.0]
    weights = np.clip(np.arange(N) / 3.0 - 1.0, 0.0, 1.0)
    bodies = np.array([weights, 1.0 - weights])
    deformation = Deformation.tethered(approach, start, modes[:0] if approach == "local" else modes, rigid, bodies)
    theta = rng.normal(size=deformation.n_dim)
    for first in (deformation.rotation.start, *range(deformation.motions.start, deformation.motions.stop, 6)):
        axis = rng.normal(size=3)
        if rigid or first >= deformation.motions.start:
            theta[first : first + 3] = turn * axis / np.linalg.norm(axis)
    answer = start + rng.normal(scale=5.0, size=start.shape)

    def log_density(position):
        residual = np.sin(deformation.coordinates(position) - answer)
        return float(np.sum(residual)) + deformation.log_density(position)

    coords = deformation.coordinates(theta)
    gradient = deformation.pull_back(theta, coords, np.cos(coords - answer))
    check_gradient(log_density, theta, gradient, rng, step=2e-4, rtol=1e-6)


@pytest.mark.parametrize("approach", ["local", "combined"])
def test_a_tether_has_its_gradient(approach, rng):
    start = 8.0 * rng.standard_normal((12, 3))
    modes = np.linalg.qr(rng.standard_normal((36, 2)))[0].T.reshape(2, 12, 3)
    tethered = Deformation.tethered(approach, start, modes[:0] if approach == "local" else modes, True)
    theta = 0.3 * rng.standard_normal(tethered.n_dim)
    gradient = tethered.pull_back(theta, tethered.coordinates(theta), np.zeros_like(start))
    check_gradient(tethered.log_density, theta, gradient, rng)
    assert tethered.log_density(theta) < Deformation(approach, start, tethered.modes, True).log_density(theta)
