"""The noise of a map, shell by shell: against spectra that are known, and plain sums over all coefficients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage

from bayesflex.density_map import DensityMap
from bayesflex.half_maps import half_map_noise
from bayesflex.noise import coloured_noise, frequencies, make_half_maps
from bayesflex.noise_spectrum import ShellPower, Shells, expected_power, shell_power, smooth_power
from bayesflex.overlap.field import inner_product
from bayesflex.overlap.spectrum import NoisePower, Spectrum
from bayesflex.rendering import render
from bayesflex.synthetic import two_domain_protein

VOXEL = np.array([1.4, 1.5, 1.6])
SHAPE = (60, 65, 72)  # (nz, ny, nx), odd and even
RESOLUTION = 6.0

#: Power spectra of noise, by name; frequencies in 1/Å.
SPECTRA = {
    "white": np.ones_like,
    "falling": lambda k: 0.1 + 5.0 * np.exp(-20.0 * k),
    "correlated": lambda k: 1.0 / (1.0 + (k / 0.05) ** 2),
    "rising": lambda k: 0.3 + 10.0 * k**2,
    "band": lambda k: (k <= 1.0 / RESOLUTION).astype(float),
}


def protein_map(shape=SHAPE, voxel=VOXEL) -> tuple[np.ndarray, DensityMap]:
    """CA positions and the map of a small protein in the middle of the box."""
    coords = two_domain_protein(80).ca_trace().coords
    origin = coords.mean(axis=0) - voxel * (np.array(shape[::-1]) - 1) / 2.0
    return coords, DensityMap(render(coords, np.ones(80), 1.35, shape, voxel, origin), voxel, origin, "map.mrc")


def average(one: DensityMap, two: DensityMap) -> DensityMap:
    return DensityMap(0.5 * (one.values + two.values), one.voxel_size, one.origin, "map.mrc")


def test_shells_hold_the_coefficients_of_the_whole_transform():
    shells = Shells(SHAPE, VOXEL)
    k = frequencies(SHAPE, VOXEL).ravel()
    number = np.rint(k / shells.width).astype(int)
    assert shells.width == pytest.approx(1.0 / max(n * v for n, v in zip(SHAPE, VOXEL[::-1], strict=True)))
    assert shells.n_shells * shells.width <= 0.5 / VOXEL.max() + 1e-9
    counts = np.bincount(number)[1 : shells.n_shells + 1]
    np.testing.assert_array_equal(shells.counts, counts)
    np.testing.assert_allclose(shells.centres, np.bincount(number, k)[1 : shells.n_shells + 1] / counts)


def test_power_is_the_mean_square_of_the_coefficients_and_a_density(rng):
    values = rng.normal(size=SHAPE)
    found = shell_power(values, VOXEL)
    squares = np.abs(np.fft.fftn(values)) ** 2 / values.size
    number = np.rint(frequencies(SHAPE, VOXEL) / Shells(SHAPE, VOXEL).width).astype(int)
    for shell in (0, 5, len(found.power) - 1):
        assert found.power[shell] == pytest.approx(squares[number == shell + 1].mean())
        assert found.n[shell] == np.count_nonzero(number == shell + 1)
    # Neither an empty box around a map nor a larger box of the same noise changes it.
    bounds = 6.0 * np.sqrt(2.0 / found.n[5:])
    padded = shell_power(np.pad(values, 20), VOXEL)
    at = found.frequency[5:]
    assert np.all(np.abs(padded(at) / found.power[5:] - 1.0) < bounds)
    assert padded.n.sum() == pytest.approx(found.n.sum(), rel=0.05)


@pytest.mark.parametrize("name", SPECTRA)
def test_half_maps_tell_the_noise_of_each_shell(name, rng):
    """Half maps of a known structure: within 2 % and three standard errors of the truth in every shell.

    n counts the coefficients of the shell in the whole transform. A coefficient and its conjugate hold two independent
    real numbers between them, so that n is the number of degrees of freedom.
    """
    coords, clean = protein_map()

    def power(k):
        return 0.3 * clean.values.var() * SPECTRA[name](k)

    one, two = make_half_maps(rng, clean, power)
    found = half_map_noise(average(one, two), one, two, coords, RESOLUTION).shells
    shells = Shells(SHAPE, VOXEL)
    truth = shells.sums(power(shells.frequency)) / shells.counts
    np.testing.assert_array_equal(found.n, shells.counts)
    assert np.all(np.abs(found.power - truth) <= (0.02 + 3.0 * np.sqrt(2.0 / found.n)) * truth + 1e-12 * truth.max())
    # The clean map has a thousand times the power of the noise at low frequencies, and none of it is counted.
    clean_power = shell_power(clean.values - clean.values.mean(), VOXEL).power
    assert clean_power[:3].min() > 50.0 * truth[:3].max()


@pytest.mark.parametrize("name", SPECTRA)
def test_the_smooth_spectrum_is_as_good_up_to_the_resolution(name, rng):
    clean = np.zeros(SHAPE)
    one, two = make_half_maps(rng, DensityMap(clean, VOXEL, np.zeros(3)), SPECTRA[name])
    found = shell_power(0.5 * (one.values - two.values), VOXEL)
    smooth = smooth_power(found, RESOLUTION)
    inside = found.frequency + 0.5 * found.frequency[0] <= 1.0 / RESOLUTION
    k, weight = found.frequency[inside], found.n[inside]
    error = np.abs(smooth(k) / SPECTRA[name](k) - 1.0)
    assert np.all(error <= 0.02 + 3.0 * np.sqrt(2.0 / weight))
    # Nine numbers are estimated from all coefficients of the band: better than any shell by itself.
    assert math.sqrt(np.average(error**2, weights=weight)) < 3.0 * math.sqrt(2.0 * 9.0 / weight.sum()) + 0.01


def test_a_smooth_spectrum_is_positive_where_the_noise_was_filtered_away(rng):
    """Noise that ends at 12 Å, taken for a map of 6 Å: no shell is free of noise, nor undefined."""
    values = coloured_noise(rng, SHAPE, VOXEL, lambda k: (k <= 1.0 / 12.0).astype(float))
    smooth = smooth_power(shell_power(values, VOXEL), RESOLUTION)
    k = np.linspace(0.0, 1.0, 200)
    assert np.all(smooth(k) > 0.0)
    assert np.all(np.isfinite(1.0 / smooth(k)))
    # The curve cannot follow a cliff: within a factor of a few, on either side.
    assert 0.2 < smooth(np.array([0.04]))[0] < 5.0
    assert 2e-4 < smooth(np.array([0.15]))[0] < 5e-3


def test_far_beyond_the_resolution_the_power_levels_off(rng):
    values = coloured_noise(rng, SHAPE, VOXEL, lambda k: np.exp(-20.0 * k))
    smooth = smooth_power(shell_power(values, VOXEL), RESOLUTION)
    end, slope = smooth.highest, -20.0
    assert end == pytest.approx(1.5 / RESOLUTION, rel=0.05)
    step = 1e-5
    left, at, right = (math.log(smooth(np.array([end + s]))[0]) for s in (-step, 0.0, step))
    assert (right - at) == pytest.approx(at - left, rel=1e-3)  # with its slope
    assert (at - left) / step == pytest.approx(slope, rel=0.35)
    assert smooth(np.array([10.0]))[0] == pytest.approx(smooth(np.array([100.0]))[0])
    assert math.exp(at) > smooth(np.array([10.0]))[0] > math.exp(at + 0.3 * slope * end)


@pytest.mark.parametrize("filtered", [False, True])
def test_noise_beyond_the_resolution_counts_where_there_is_some(filtered, rng):
    """A filter that ends at the resolution leaves none beyond, and the power goes on as if it had not."""

    def power(k):
        return (0.2 + 4.0 * np.exp(-((k / 0.05) ** 2))) * (k <= (1.0 / RESOLUTION if filtered else 1.0))

    smooth = smooth_power(shell_power(coloured_noise(rng, SHAPE, VOXEL, power), VOXEL), RESOLUTION)
    for k in (0.8 / RESOLUTION, 1.1 / RESOLUTION, 1.4 / RESOLUTION):
        assert smooth(np.array([k]))[0] == pytest.approx(0.2, rel=0.2)


def test_few_shells_suffice(rng):
    """A box of two resolutions has two shells inside the band."""
    values = rng.normal(size=(12, 12, 12))
    smooth = smooth_power(shell_power(values, np.full(3, 2.0)), 12.0)
    assert 0.2 < smooth(np.array([0.05]))[0] < 5.0


def test_white_noise_has_one_power():
    np.testing.assert_allclose(NoisePower.white(3.0)(np.array([0.0, 0.1, 1.0, 7.0])), 3.0)
    np.testing.assert_allclose(NoisePower.white(3.0).scaled(2.0)(np.array([0.3])), 6.0)


@pytest.mark.parametrize("name", ["white", "falling", "band"])
def test_expected_power_is_what_noise_in_a_region_has_on_average(name, rng):
    shape = (30, 32, 34)
    z, y, x = np.indices(shape)
    region = ((x - 17) ** 2 + (y - 16) ** 2 + (z - 14) ** 2 < 10**2) & (x < 22)
    region = scipy.ndimage.binary_opening(region)
    spectrum = Spectrum(RESOLUTION, noise=NoisePower(1.0 / RESOLUTION, np.array([1.0, 0.5, 0.3, 0.0, -0.2, 0.1, 0.0])))
    found = []
    for _ in range(60):
        noise = np.where(region, coloured_noise(rng, (48, 48, 48), VOXEL, SPECTRA[name])[:30, :32, :34], 0.0)
        found.append(inner_product(noise, noise, VOXEL, 1.35, spectrum))
    expected = expected_power(region, VOXEL, SPECTRA[name], spectrum, 4.0 * RESOLUTION)
    # 2 %: the covariance beyond the reach is left out
    assert abs(np.mean(found) - expected) < 4.0 * np.std(found) / math.sqrt(len(found)) + 0.02 * expected
    padded = expected_power(np.pad(region, 9), VOXEL, SPECTRA[name], spectrum, 4.0 * RESOLUTION)
    assert padded == pytest.approx(expected, rel=0.01)


def test_interpolated_power_goes_on_beyond_the_last_shell():
    found = ShellPower(np.array([0.1, 0.2]), np.array([1.0, 3.0]), np.array([10.0, 20.0]))
    np.testing.assert_allclose(found(np.array([0.0, 0.1, 0.15, 0.2, 0.9])), [1.0, 1.0, 2.0, 3.0, 3.0])
