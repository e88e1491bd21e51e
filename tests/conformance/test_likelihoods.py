"""What every row of ``likelihood.LIKELIHOODS`` promises, however the overlap is evaluated and the beads are placed."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.half_maps import half_map_noise
from bayesflex.likelihood import LIKELIHOODS
from bayesflex.map_target import make_target
from bayesflex.protocols import Likelihood
from bayesflex.rendering import render
from bayesflex.residue_beads import make_beads
from bayesflex.synthetic import two_domain_protein

MODEL = two_domain_protein(80)
CA = MODEL.ca_trace()
SIGMA = 2.0
VOXEL = np.array([2.0, 1.8, 2.2])


CASES = [
    (name, kind, bead)
    for name in LIKELIHOODS
    for kind in ("pairs", "grid")
    for bead in ("ca", "parts")
    if (name, kind) != ("half-maps", "grid")  # refused: the grid knows no spectrum
]


@pytest.fixture(params=CASES, ids="-".join)
def likelihood(request) -> Likelihood:
    name, kind, bead = request.param
    rng = np.random.default_rng(8)
    origin = CA.coords.min(axis=0) - 16.0
    shape = tuple(np.ceil((np.ptp(CA.coords, axis=0) + 32.0) / VOXEL).astype(int)[::-1])
    values = 5.0 * render(CA.coords, np.ones(CA.n_atoms), SIGMA, shape, VOXEL, origin) + 1.0 * (name != "gaussian")
    noise = rng.normal(scale=0.2 * values.std(), size=(2, *shape))
    config = FitConfig(resolution=8.9, likelihood=name, evaluation=kind, bead=bead)
    density, half1, half2 = (
        DensityMap(values + added, VOXEL, origin) for added in (0.5 * (noise[0] + noise[1]), noise[0], noise[1])
    )
    target = make_target(density, CA.coords, config, SIGMA)
    if name == "half-maps":
        target = target.with_half_maps(half_map_noise(density, half1, half2, CA.coords, 8.9), density, config)
    return target.likelihood(config, make_beads(bead, MODEL, CA), config.resolution, CA.coords)


def test_it_has_the_shape_of_the_protocol(likelihood):
    assert isinstance(likelihood, Likelihood)
    assert likelihood.name in LIKELIHOODS
    value, gradient = likelihood.log_likelihood_and_gradient(CA.coords)
    assert type(value) is float
    assert math.isfinite(value)
    assert gradient.shape == CA.coords.shape
    assert gradient.dtype == np.float64
    assert np.isfinite(gradient).all()


def test_the_answer_is_better_than_places_around_it(likelihood, rng):
    best, _ = likelihood.log_likelihood_and_gradient(CA.coords)
    for shift in ([3.0, 0.0, 0.0], [0.0, -3.0, 0.0], [0.0, 0.0, 3.0]):
        value, gradient = likelihood.log_likelihood_and_gradient(CA.coords + shift)
        assert value < best - 5.0
        assert gradient.sum(axis=0) @ shift < 0.0  # log density: the gradient leads back
    assert likelihood.log_likelihood_and_gradient(CA.coords + rng.normal(scale=2.0, size=CA.coords.shape))[0] < best


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e5, 1e300])
def test_non_finite_or_outside_is_minus_infinity_and_zeros(likelihood, bad):
    for place in ((0, 0), (40, 1), (-1, 2)):
        coords = CA.coords.copy()
        coords[place] = bad
        value, gradient = likelihood.log_likelihood_and_gradient(coords)
        assert value == -math.inf
        np.testing.assert_array_equal(gradient, np.zeros_like(coords))
    # and nothing is left behind
    assert math.isfinite(likelihood.log_likelihood_and_gradient(CA.coords)[0])


def test_it_repeats_itself_and_leaves_its_input_alone(likelihood, rng):
    coords = CA.coords + rng.normal(scale=0.5, size=CA.coords.shape)
    kept = coords.copy()
    value, gradient = likelihood.log_likelihood_and_gradient(coords)
    first = gradient.copy()
    likelihood.log_likelihood_and_gradient(CA.coords)
    # what was returned is the caller's own
    np.testing.assert_array_equal(gradient, first)
    again, gradient = likelihood.log_likelihood_and_gradient(coords)
    assert again == value
    np.testing.assert_array_equal(gradient, first)
    np.testing.assert_array_equal(coords, kept)


def test_clones_run_in_threads(likelihood):
    places = [CA.coords + 0.3 * k for k in range(4)]
    expected = [likelihood.log_likelihood_and_gradient(coords) for coords in places]

    def run(index):
        own = likelihood.clone()
        return [own.log_likelihood_and_gradient(places[index]) for _ in range(10)][-1]

    with ThreadPoolExecutor(4) as pool:
        for (value, gradient), (got, got_gradient) in zip(expected, pool.map(run, range(4)), strict=True):
            assert got == value
            np.testing.assert_array_equal(got_gradient, gradient)
