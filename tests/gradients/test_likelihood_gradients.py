"""Every noise model, on the grid and without one, against directional differences."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.likelihood.gaussian import GaussianLikelihood
from bayesflex.likelihood.half_maps import HalfMapLikelihood
from bayesflex.likelihood.marginal import MarginalLikelihood
from bayesflex.map_target import MapTarget
from bayesflex.overlap.spectrum import NoisePower, Spectrum
from bayesflex.rendering import render
from gradients.directional import check_gradient

SIGMA, SHAPE = 2.0, (26, 28, 30)  # (nz, ny, nx)
VOXEL = np.array([1.4, 1.5, 1.6])
ORIGIN = np.array([3.0, -40.0, 8.0])
MIDDLE = ORIGIN + VOXEL * (np.array(SHAPE[::-1]) - 1) / 2.0
N = 25
MODELS = {
    "gaussian": lambda overlap: GaussianLikelihood(overlap, 2.0, 0.01),
    "marginal": lambda overlap: MarginalLikelihood(overlap, 400.0, 0.1, 10.0),
    "half-maps": lambda overlap: HalfMapLikelihood(overlap, 400.0),
    "known": lambda overlap: HalfMapLikelihood(overlap, None),
}

NOISE = NoisePower(0.15, np.array([-2.0, -3.0, -4.0, -4.5, -4.0, -4.5, -4.0]))
SPECTRA = {
    "white": Spectrum(),
    "taper": Spectrum(8.9),
    "blur": Spectrum(8.9, 3.0),
    "coloured": Spectrum(8.9, noise=NOISE),
}


def problem(rng, with_background=False):
    weights = rng.uniform(0.5, 2.0, size=N)
    answer = MIDDLE + rng.normal(scale=5.0, size=(N, 3))
    true = render(answer, weights, SIGMA, SHAPE, VOXEL, ORIGIN)
    values = 2.0 * true + 0.1 + rng.normal(scale=true.std(), size=SHAPE)
    z, y, x = np.indices(SHAPE)
    region = (x - 15) ** 2 + (y - 14) ** 2 + (z - 13) ** 2 < 13**2
    background = render(MIDDLE + rng.normal(scale=5.0, size=(5, 3)), np.ones(5), SIGMA, SHAPE, VOXEL, ORIGIN)
    target = MapTarget(values, VOXEL, ORIGIN, region, SIGMA, background if with_background else None)
    return target, weights, answer + rng.normal(scale=1.0, size=answer.shape)


@pytest.mark.parametrize("with_background", [False, True])
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("model", MODELS)
def test_without_a_grid_value_and_gradient_are_one_function(model, spectrum, with_background, rng):
    target, weights, coords = problem(rng, with_background)
    likelihood = MODELS[model](target.overlap(weights, SPECTRA[spectrum], model != "gaussian", "pairs"))
    value, gradient = likelihood.log_likelihood_and_gradient(coords)
    assert np.isfinite(value)
    check_gradient(lambda r: likelihood.log_likelihood_and_gradient(r)[0], coords, gradient, rng, rtol=3e-6, atol=1e-5)


@pytest.mark.parametrize("with_background", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_on_the_grid(model, with_background, rng, monkeypatch):
    """With windows so wide that voxels entering and leaving them (e^-32 of a peak) do not show in differences."""
    monkeypatch.setattr("bayesflex.overlap.grid.WINDOW", 8.0)
    target, weights, coords = problem(rng, with_background)
    likelihood = MODELS[model](target.overlap(weights, Spectrum(), model != "gaussian", "grid"))
    _, gradient = likelihood.log_likelihood_and_gradient(coords)
    check_gradient(lambda r: likelihood.log_likelihood_and_gradient(r)[0], coords, gradient, rng, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_far_off_and_for_inverted_contrast(model, rng):
    target, weights, coords = problem(rng)
    inverted = MapTarget(-target.values, VOXEL, ORIGIN, target.region, SIGMA)
    likelihood = MODELS[model](inverted.overlap(weights, Spectrum(8.9), model != "gaussian", "pairs"))
    for shift in (0.0, 6.0):
        at = coords + shift
        _, gradient = likelihood.log_likelihood_and_gradient(at)
        check_gradient(lambda r: likelihood.log_likelihood_and_gradient(r)[0], at, gradient, rng, rtol=1e-5, atol=1e-5)
