"""The noise of a map from its half maps: however the map was made of them, and what cannot be a pair of half maps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.fft

from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.errors import InputError
from bayesflex.half_maps import half_map_noise, noise_in_region
from bayesflex.map_preparation import gaussian_blur, mask_around
from bayesflex.map_target import make_target
from bayesflex.noise import make_half_maps
from bayesflex.noise_spectrum import Shells
from bayesflex.rendering import render
from bayesflex.synthetic import two_domain_protein

COORDS = two_domain_protein(80).ca_trace().coords
SIGMA, RESOLUTION = 1.8, 8.0
VOXEL, SHAPE = np.array([2.0, 2.1, 2.2]), (44, 46, 48)
ORIGIN = COORDS.mean(axis=0) - VOXEL * (np.array(SHAPE[::-1]) - 1) / 2.0
CLEAN = DensityMap(render(COORDS, np.ones(80), SIGMA, SHAPE, VOXEL, ORIGIN), VOXEL, ORIGIN, "clean")
VARIANCE = float(CLEAN.values.var())
CONFIG = FitConfig(resolution=RESOLUTION)
SHELLS = Shells(SHAPE, VOXEL)
IN_BAND = SHELLS.centres <= 1.0 / RESOLUTION


def power(k):
    return VARIANCE * (0.3 + 4.0 * np.exp(-20.0 * k))


def halves(rng, scale=1.0) -> tuple[DensityMap, DensityMap]:
    one, two = make_half_maps(rng, CLEAN, lambda k: scale * power(k))
    return replace(one, name="half1.mrc"), replace(two, name="half2.mrc")


def average(one, two, name="full.mrc") -> DensityMap:
    return replace(one, values=0.5 * (one.values + two.values), name=name)


def noise_of(full, one, two):
    return half_map_noise(full, one, two, COORDS, RESOLUTION)


def assert_power(found, truth, allowed=0.02):
    error = np.abs(found.shells.power / truth - 1.0)[IN_BAND]
    assert np.all(error <= allowed + 3.5 * np.sqrt(2.0 / found.shells.n[IN_BAND]))


TRUTH = SHELLS.sums(power(SHELLS.frequency)) / SHELLS.counts


def test_a_map_may_be_the_average_times_anything_plus_anything(rng):
    one, two = halves(rng)
    full = average(one, two)
    plain = noise_of(full, one, two)
    assert_power(plain, TRUTH)
    scaled = noise_of(full.with_values(100.0 * full.values - 7.0), one, two)
    np.testing.assert_allclose(scaled.shells.power, 1e4 * plain.shells.power, rtol=1e-9)
    np.testing.assert_allclose(scaled.difference, 100.0 * plain.difference, rtol=1e-9)


def test_a_map_may_be_stored_in_few_bits(rng):
    one, two = halves(rng)
    full = average(one, two)
    coarse = full.with_values(full.values.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(
        noise_of(coarse, one, two).shells.power, noise_of(full, one, two).shells.power, rtol=1e-3
    )


@pytest.mark.parametrize("b_factor", [-150.0, 300.0])
@pytest.mark.parametrize("masked", [False, True])
def test_a_map_may_be_sharpened_and_masked(b_factor, masked, rng):
    """Filtered with the Fourier transform of a B-factor, and set to zero away from the molecule."""
    one, two = halves(rng)
    full = average(one, two)
    gain = np.exp(-b_factor / 4.0 * SHELLS.frequency**2)
    made = scipy.fft.irfftn(gain * scipy.fft.rfftn(full.values), s=SHAPE)
    if masked:
        made = made * mask_around(full, COORDS, 16.0, 6.0)
    found = noise_of(full.with_values(made), one, two)
    truth = SHELLS.sums(np.exp(-b_factor / 2.0 * SHELLS.frequency**2) * power(SHELLS.frequency)) / SHELLS.counts
    # The gain is measured where the molecule is, through a window that smears it over neighbouring shells.
    assert_power(found, truth, allowed=0.12)


def test_half_maps_may_be_masked(rng):
    """Noise in a ball alone: the power is that inside."""
    one, two = halves(rng)
    z, y, x = np.indices(SHAPE)
    position = np.stack([x, y, z], axis=-1) * VOXEL + ORIGIN
    ball = np.linalg.norm(position - COORDS.mean(axis=0), axis=-1) < 40.0
    assert 0.2 < ball.mean() < 0.6
    one, two = (half.with_values(half.values * ball) for half in (one, two))
    found = noise_of(average(one, two), one, two)
    assert found.shells.n.sum() == pytest.approx(ball.mean() * SHELLS.counts.sum())
    assert_power(found, TRUTH, allowed=0.05)


def test_the_level_is_that_of_the_region(rng):
    """Noise twice as strong (in amplitude) near the molecule as in the solvent."""
    near = 1.0 + mask_around(CLEAN, COORDS, 14.0, 6.0)
    one, two = (half.with_values(CLEAN.values + near * (half.values - CLEAN.values)) for half in halves(rng))
    found = noise_of(average(one, two), one, two)
    z, y, x = np.indices(SHAPE)
    position = np.stack([x, y, z], axis=-1) * VOXEL + ORIGIN
    region = np.linalg.norm(position - COORDS.mean(axis=0), axis=-1) < 22.0
    known = noise_in_region(found.difference, region, VOXEL, found.shells, SIGMA, RESOLUTION, 1)
    k = np.array([0.03, 0.06, 0.1])
    in_box = np.interp(k, SHELLS.centres, found.shells.power) / np.interp(k, SHELLS.centres, TRUTH)
    assert np.all(in_box < 2.5)
    # nu numbers tell the level
    tolerance = 4.0 * math.sqrt(2.0 / known.observations) + 0.1
    assert np.mean(known.power(k) / (4.0 * np.interp(k, SHELLS.centres, TRUTH))) == pytest.approx(1.0, abs=tolerance)


def test_the_noise_counts_as_many_observations_as_it_leaves(rng):
    """The whitened difference has the square nu, by construction; symmetric copies share it."""
    one, two = halves(rng)
    full = average(one, two)
    found = noise_of(full, one, two)
    region = np.zeros(SHAPE, dtype=bool)
    region[10:34, 10:36, 10:38] = True
    known = noise_in_region(found.difference, region, VOXEL, found.shells, SIGMA, RESOLUTION, 1)
    shared = noise_in_region(found.difference, region, VOXEL, found.shells, SIGMA, RESOLUTION, 4)
    volume = np.count_nonzero(region) * np.prod(VOXEL)
    # ∫ exp(-(kd)⁴) over all frequencies is 0.919 of the sphere's volume; the border takes some away.
    most = 0.919 * 4.0 * math.pi / 3.0 * volume / RESOLUTION**3
    assert 0.8 * most < known.observations < 1.03 * most
    assert shared.observations == pytest.approx(known.observations / 4.0)
    k = np.linspace(0.0, 0.2, 5)
    np.testing.assert_allclose(shared.power(k), 4.0 * known.power(k))


def test_the_resolution_is_where_the_halves_cease_to_correlate(rng):
    strong, weak = (noise_of(average(*pair), *pair) for pair in (halves(rng, 1e-3), halves(rng, 30.0)))
    assert strong.resolution < weak.resolution
    one, two = halves(rng, 30.0)
    found = noise_of(average(one, two), one, two)
    at = np.interp(1.0 / found.resolution, found.shells.frequency, found.correlation)
    assert at == pytest.approx(0.143, abs=1e-6)
    assert np.all(found.correlation[found.shells.frequency < 1.0 / found.resolution] >= 0.143)


def test_filtered_half_maps_are_noticed(rng):
    pair = tuple(gaussian_blur(half, 5.0) for half in halves(rng))
    found = noise_of(average(*pair), *pair)
    quiet = found.quiet_beyond(RESOLUTION)
    assert quiet is not None
    # exp(-4 pi² 25 k²) is a thousandth of the noise's power, some of it gone already, at 0.08/Å
    assert 10.0 < quiet < 15.0
    pair = halves(rng)
    assert noise_of(average(*pair), *pair).quiet_beyond(RESOLUTION) is None


def test_a_map_and_its_halves_by_the_wrong_names(rng):
    one, two = halves(rng)
    full = average(one, two)
    with pytest.raises(InputError, match=r"half1\.mrc, half2\.mrc: the two half maps hold the same map"):
        noise_of(full, one, replace(one, name="half2.mrc"))
    with pytest.raises(InputError, match=r"hold the same map"):
        noise_of(full, one, replace(one, values=3.0 * one.values + 1.0, name="half2.mrc"))
    with pytest.raises(InputError, match=r"full\.mrc, half1\.mrc: the map and a half map hold the same map.*--half1"):
        noise_of(replace(one, name="full.mrc"), one, two)
    with pytest.raises(InputError, match=r"half2\.mrc: the map and a half map hold the same map"):
        noise_of(full, one, replace(full, name="half2.mrc"))
    with pytest.raises(InputError, match=r"half2\.mrc: this half map is the average of the two other maps"):
        noise_of(one, two, replace(full, name="half2.mrc"))
    with pytest.raises(InputError, match=r"half1\.mrc: expected a half map, got a map of one value"):
        noise_of(full, replace(one, values=np.zeros(SHAPE)), two)


def test_half_maps_of_another_map(rng):
    one, two = halves(rng, 0.1)
    shifted = average(one, two).with_values(np.roll(average(one, two).values, 11, axis=1))
    with pytest.raises(InputError, match=r"full\.mrc: expected a map made of its two half maps.*--half1 and --half2"):
        noise_of(shifted, one, two)
    with pytest.raises(InputError, match=r"full\.mrc: expected a map made of its two half maps"):
        noise_of(average(one, two).with_values(-CLEAN.values), one, two)


def test_half_maps_that_are_equal_where_the_model_is(rng):
    one, two = halves(rng)
    z = np.arange(SHAPE[0])[:, None, None]
    edge = np.broadcast_to(z < 4, SHAPE)
    two = two.with_values(np.where(edge, two.values, one.values))
    found = noise_of(average(one, two), one, two)
    target = make_target(average(one, two), COORDS, CONFIG, SIGMA)
    with pytest.raises(InputError, match="equal throughout the region"):
        target.with_half_maps(found, average(one, two), CONFIG)
