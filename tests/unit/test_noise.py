"""Noise has the level and the spectrum that it is said to have."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from bayesflex.density_map import DensityMap
from bayesflex.errors import ConfigError, InputError
from bayesflex.noise import add_noise, coloured_noise, make_half_maps

VOXEL = np.array([1.0, 1.25, 1.5])


@pytest.fixture
def clean(rng) -> DensityMap:
    return DensityMap(3.0 + 2.0 * rng.standard_normal((24, 27, 30)), VOXEL, np.array([1.0, -2.0, 3.0]))


def frequencies(density: DensityMap) -> np.ndarray:
    """Length of the spatial frequency of each term of the discrete Fourier transform, 1/Å."""
    axes = [np.fft.fftfreq(n, v) for n, v in zip(density.values.shape, density.voxel_size[::-1], strict=True)]
    kz, ky, kx = np.meshgrid(*axes, indexing="ij")
    return np.sqrt(kz**2 + ky**2 + kx**2)


@pytest.mark.parametrize(
    "kind",
    [
        {"spectrum": "white"},
        {"spectrum": "band", "resolution": 3.0},
        {"spectrum": "band", "resolution": 6.0},
        {"spectrum": "band", "resolution": 20.0},
        {"spectrum": "correlated", "correlation": 0.5},
        {"spectrum": "correlated", "correlation": 4.0},
    ],
)
def test_the_level_is_the_one_asked_for_in_expectation(clean, rng, kind):
    n_maps = 60
    scale = 0.5 * clean.values.std()
    powers = [np.mean((add_noise(rng, clean, 0.5, **kind).values - clean.values) ** 2) for _ in range(n_maps)]
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


def test_correlated_noise_has_the_correlation_asked_for(clean, rng):
    """By distance, along each axis of a grid whose voxels are not cubes."""
    length, n_maps = 2.5, 80
    products = np.zeros((3, 4, n_maps))
    for n in range(n_maps):
        noise = add_noise(rng, clean, 1.0, spectrum="correlated", correlation=length).values - clean.values
        noise /= clean.values.std()
        for axis in range(3):
            for step in range(4):
                products[axis, step, n] = np.mean(noise * np.roll(noise, step, axis=2 - axis))
    distance = VOXEL[:, None] * np.arange(4)
    expected = np.exp(-(distance**2) / (2.0 * length**2))
    error = products.std(axis=2, ddof=1) / math.sqrt(n_maps)
    assert np.all(np.abs(products.mean(axis=2) - expected) < 4.0 * error)
    assert error.max() < 0.02


def test_coloured_noise_has_the_power_asked_for_at_each_frequency(rng):
    shape, n_maps = (20, 21, 22), 200
    k = frequencies(DensityMap(np.zeros(shape), VOXEL, np.zeros(3)))

    def power(frequency):
        return 0.1 + 5.0 * np.exp(-30.0 * frequency)

    found = np.zeros(shape)
    for _ in range(n_maps):
        found += np.abs(np.fft.fftn(coloured_noise(rng, shape, VOXEL, power))) ** 2 / np.prod(shape) / n_maps
    ratio = found / power(k)
    edges = np.quantile(k, np.linspace(0.0, 1.0, 9))
    for low, high in pairwise(edges):
        inside = (k >= low) & (k <= high)
        # each term and its conjugate are one number with two degrees of freedom
        assert abs(ratio[inside].mean() - 1.0) < 4.0 * math.sqrt(2.0 / (np.count_nonzero(inside) * n_maps))


def test_half_maps_share_the_density_and_not_the_noise(clean, rng):
    one, two = make_half_maps(rng, clean, lambda k: 4.0 * np.exp(-2.0 * k))
    n_voxels = clean.values.size
    first, second = one.values - clean.values, two.values - clean.values
    expected = np.mean(4.0 * np.exp(-2.0 * frequencies(clean)))
    tolerance = 5.0 * math.sqrt(2.0 / n_voxels)
    for noise, share in ((first, 2.0), (second, 2.0), (0.5 * (first + second), 1.0), (0.5 * (first - second), 1.0)):
        assert np.mean(noise**2) == pytest.approx(share * expected, rel=tolerance)
    assert abs(np.mean(first * second)) < tolerance * 2.0 * expected
    assert one.name != two.name


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
        (1.0, "correlated", 4.0, "correlation"),
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
