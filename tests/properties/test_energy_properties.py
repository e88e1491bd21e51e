"""Properties of every energy term: nothing changes when everything moves as one, and nothing pushes the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bayesflex.config import FitConfig
from bayesflex.energy import TERMS
from gradients.test_energy_gradients import folded, trace

CONFIG = FitConfig(resolution=5.0)


def case(name: str, seed: int, spread: float):
    rng = np.random.default_rng(seed)
    start = folded(rng, 40)
    return rng, TERMS[name](trace(start), CONFIG), start + spread * rng.standard_normal(start.shape)


@pytest.mark.parametrize("name", TERMS)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.0, 0.3, 2.0, 20.0]), shift=st.floats(-300.0, 300.0))
def test_invariant_when_everything_moves_as_one(name: str, seed: int, spread: float, shift: float):
    rng, term, coords = case(name, seed, spread)
    rotation = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    energy, gradient = term.energy_and_gradient(coords)
    moved, turned = term.energy_and_gradient(coords @ rotation.T + shift)
    assert moved == pytest.approx(energy, rel=1e-8, abs=1e-8)
    assert turned == pytest.approx(gradient @ rotation.T, rel=1e-6, abs=1e-6 * (1.0 + np.abs(gradient).max()))


@pytest.mark.parametrize("name", TERMS)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.3, 2.0, 20.0]))
def test_no_net_force_and_no_net_torque(name: str, seed: int, spread: float):
    _, term, coords = case(name, seed, spread)
    _, gradient = term.energy_and_gradient(coords)
    size = 1.0 + np.abs(gradient).sum()
    assert np.abs(gradient.sum(axis=0)).max() < 1e-10 * size
    assert np.abs(np.cross(coords, gradient).sum(axis=0)).max() < 1e-10 * size * (1.0 + np.abs(coords).max())


@pytest.mark.parametrize("name", TERMS)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.0, 1.0, 50.0, 1e4]))
def test_never_below_zero(name: str, seed: int, spread: float):
    _, term, coords = case(name, seed, spread)
    energy, gradient = term.energy_and_gradient(coords)
    assert energy >= -1e-9
    assert np.all(np.isfinite(gradient))
