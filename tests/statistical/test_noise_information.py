"""What a likelihood claims to know of a structure is what it knows: its gradient at the truth, over many noisy maps.

At the true structure the gradient of log L is on average zero, and its variance along any direction is the likelihood's
mean curvature there (the information), if the noise is what the likelihood takes it for. A ratio of 2 means intervals
too narrow by √2. Nothing is sampled, so that each likelihood is judged by itself.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from bayesflex.beads import ca_beads
from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.half_maps import half_map_noise
from bayesflex.map_target import make_target
from bayesflex.noise import add_noise, frequencies, make_half_maps
from bayesflex.rendering import render
from bayesflex.structure import Structure
from bayesflex.synthetic import two_domain_protein
from bayesflex.units import sigma_of_resolution

RESOLUTION, VOXEL, SHAPE = 8.0, np.full(3, 2.0), (34, 34, 34)
SIGMA = sigma_of_resolution(RESOLUTION)
N = 20
N_MAPS, N_CURVATURES, N_DIRECTIONS = 40, 8, 8

#: Power spectra of noise; frequencies in 1/Å.
WHITE = np.ones_like
SPECTRA = {
    "white": WHITE,
    "band": lambda k: (k * RESOLUTION <= 1.0 + 1e-9).astype(float),
    "correlated": lambda k: 0.0125 + np.exp(-((k / 0.04) ** 2)),  # eighty times as strong at low frequencies
}


def trace() -> Structure:
    protein = two_domain_protein(60).ca_trace()
    first = np.zeros(60, dtype=bool)
    first[:N] = True
    part = protein.select(first)
    return part.with_coords(part.coords - part.coords.mean(axis=0))


CA = trace()
ORIGIN = -VOXEL * (np.array(SHAPE) - 1) / 2.0
CLEAN = DensityMap(render(CA.coords, np.ones(N), SIGMA, SHAPE, VOXEL, ORIGIN, 6.0), VOXEL, ORIGIN, "map")
#: The fit does not start at the truth, and chooses its region from where it starts.
START = CA.coords + np.random.default_rng(4).normal(scale=1.0, size=(N, 3))


def marginal(observations, **kind):
    def make(rng):
        noisy = add_noise(rng, CLEAN, 1.0, **kind)
        config = FitConfig(resolution=RESOLUTION, observations=observations)
        target = make_target(noisy, START, config, SIGMA)
        return target.likelihood(config, ca_beads(CA), RESOLUTION, START)

    return make


def half_maps(spectrum):
    def make(rng):
        share = float(np.mean(spectrum(frequencies(SHAPE, VOXEL))))
        power = float(CLEAN.values.var()) / share  # noise as strong as the density, at a voxel
        one, two = make_half_maps(rng, CLEAN, lambda k: power * spectrum(k))
        full = CLEAN.with_values(0.5 * (one.values + two.values))
        config = FitConfig(resolution=RESOLUTION, likelihood="half-maps")
        target = make_target(full, START, config, SIGMA)
        target = target.with_half_maps(half_map_noise(full, one, two, START, RESOLUTION), full, config)
        return target.likelihood(config, ca_beads(CA), RESOLUTION, START)

    return make


def variance_over_information(make) -> tuple[float, float]:
    """The ratio, mean over directions, and the root mean square of the mean gradient in standard deviations."""
    directions = np.random.default_rng(9).normal(size=(N_DIRECTIONS, N, 3))
    directions /= np.linalg.norm(directions, axis=(1, 2))[:, None, None]
    gradients, curvatures, step = [], [], 0.02
    for seed in range(N_MAPS):
        likelihood = make(np.random.default_rng([7, seed]))

        def along(shift, likelihood=likelihood):
            gradient = likelihood.log_likelihood_and_gradient(CA.coords + shift)[1]
            return np.tensordot(directions, gradient, axes=2)

        gradients.append(along(0.0))
        if seed < N_CURVATURES:
            moved = [along(step * d)[k] - along(-step * d)[k] for k, d in enumerate(directions)]
            curvatures.append(-np.array(moved) / (2.0 * step))
    gradients, information = np.array(gradients), np.mean(curvatures, axis=0)
    bias = np.sqrt(np.mean(gradients.mean(axis=0) ** 2 / information))
    return float(np.mean((gradients**2).mean(axis=0) / information)), float(bias)


#: Standard error of the ratio, were the directions independent, and four of them with some room for those that are not.
ALLOWED = 5.0 * math.sqrt(2.0 / (N_MAPS * N_DIRECTIONS))


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECTRA)
def test_half_maps_make_a_likelihood_that_knows_what_it_claims(name):
    ratio, bias = variance_over_information(half_maps(SPECTRA[name]))
    assert abs(ratio - 1.0) < ALLOWED
    assert bias < 3.0 / math.sqrt(N_MAPS)


@pytest.mark.slow
def test_observations_counted_by_the_resolution_are_right_for_noise_in_the_band():
    ratio, _ = variance_over_information(marginal("resolution", spectrum="band", resolution=RESOLUTION))
    assert abs(ratio - 0.9) < ALLOWED  # the smooth low-pass costs a tenth


@pytest.mark.slow
def test_voxels_are_observations_where_their_noise_is_independent_and_nowhere_else():
    ratio, _ = variance_over_information(marginal("voxels", spectrum="white"))
    assert abs(ratio - 1.0) < ALLOWED
    # In the band, with voxels of a quarter of the resolution, and for noise that is correlated over 4 Å.
    for kind in ({"spectrum": "band", "resolution": RESOLUTION}, {"spectrum": "correlated", "correlation": 4.0}):
        ratio, _ = variance_over_information(marginal("voxels", **kind))
        assert ratio > 5.0  # intervals less than half as wide as they should be
