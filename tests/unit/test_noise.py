"""Noise has the level and the spectrum that it is said to have."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bayesflex.density_map import DensityMap
from bayesflex.errors import ConfigError, InputError
from bayesflex.noise import add_noise

VOXEL = np.array([1.0, 1.25, 1.5])


@pytest.fixture
def clean(rng) -> DensityMap:
    return DensityMap(3.0 + 2.0 * rng.standard_normal((24, 27, 30)), VOXEL, np.array([1.0, -2.0, 3.0]))


def frequencies(density: DensityMap) -> np.ndarray:
    """Length of the spatial frequency of each term of the discrete Fourier transform, 1/Å."""
    axes = [np.fft.fftfreq(n, v) for n, v in zip(density.values.shape, density.voxel_size[::-1], strict=True)]
    kz, ky, kx = np.meshgrid(*axes, indexing="ij")
    return np.sqrt(kz**2 + ky**2 + kx**2)


@pytest.mark.parametrize(("spectrum", "resolution"), [("white", None), ("band", 3.0), ("band", 6.0), ("band", 20.0)])
def test_the_level_is_the_one_asked_for_in_expectation(clean, rng, spectrum, resolution):
    n_maps = 60
    scale = 0.5 * clean.values.std()
    powers = [
        np.mean((add_noise(rng, clean, 0.5, spectrum=spectrum, resolution=resolution).values - clean.values) ** 2)
        for _ in range(n_maps)
    ]
    error = np.std(powers, ddof=1) / math.sqrt(n_maps)
    assert abs(np.mean(powers) - scale**2) < 4.0 * error


def test_band_limited_noise_is_white_below_the_limit_and_zero_above(clean, rng):
    resolution = 5.0
    k = frequencies(clean)
    power = np.zeros(clean.values.shape)
    for _ in range(40):
        noise = add_noise(rng, clean, 1.0, resolution=resolution).values - clean.values
        power += np.abs(np.fft.fftn(noise)) ** 2 / 40
    assert power[k > 1.0 / resolution].max() < 1e-18 * power.max()
    inside = k <= 1.0 / resolution
    low, high = power[inside & (k < 0.6 / resolution)], power[inside & (k > 0.8 / resolution)]
    # Each term's power has an exponential distribution: its mean over n terms and 40 maps is good to 1/sqrt(20 n).
    spread = math.sqrt(1.0 / (20 * len(low)) + 1.0 / (20 * len(high)))
    assert abs(low.mean() / high.mean() - 1.0) < 4.0 * spread


def test_white_noise_is_independent_at_each_voxel(clean, rng):
    noise = add_noise(rng, clean, 1.0, spectrum="white").values - clean.values
    noise = noise / noise.std()
    for axis in range(3):
        neighbours = np.mean(noise * np.roll(noise, 1, axis=axis))
        assert abs(neighbours) < 4.0 / math.sqrt(noise.size)


def test_the_map_given_stays_and_the_type_and_place_are_kept(clean, rng):
    before = clean.values.copy()
    single = DensityMap(clean.values.astype(np.float32), VOXEL, clean.origin)
    noisy = add_noise(rng, single, 0.2, resolution=4.0)
    np.testing.assert_array_equal(clean.values, before)
    assert noisy.values.dtype == np.float32
    np.testing.assert_array_equal(noisy.origin, clean.origin)


def test_the_same_seed_gives_the_same_noise(clean):
    first, second, other = (add_noise(np.random.default_rng(s), clean, 1.0, resolution=4.0).values for s in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.1


def test_no_noise_leaves_the_values(clean, rng):
    np.testing.assert_array_equal(add_noise(rng, clean, 0.0, resolution=4.0).values, clean.values)


@pytest.mark.parametrize(
    ("sd", "spectrum", "resolution", "named"),
    [
        (-0.1, "band", 4.0, "-0.1"),
        (math.nan, "band", 4.0, "nan"),
        (1.0, "pink", 4.0, "pink"),
        (1.0, "band", None, "resolution"),
        (1.0, "band", 0.0, "resolution"),
    ],
)
def test_settings_that_make_no_sense(clean, rng, sd, spectrum, resolution, named):
    with pytest.raises(ConfigError, match=named):
        add_noise(rng, clean, sd, spectrum=spectrum, resolution=resolution)


@pytest.mark.parametrize("value", [2.0, math.nan])
def test_a_map_without_a_scale(rng, value):
    flat = DensityMap(np.full((4, 4, 4), value), VOXEL, np.zeros(3))
    with pytest.raises(InputError, match="standard deviation"):
        add_noise(rng, flat, 1.0, resolution=4.0)
