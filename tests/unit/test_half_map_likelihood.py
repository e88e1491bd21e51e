"""The likelihood of a map of known noise against its definition, by quadrature and by plain Fourier sums."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.fft
from scipy.integrate import quad
from scipy.special import log_ndtr

from bayesflex.beads import ca_beads
from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.errors import ConfigError
from bayesflex.half_maps import KnownNoise, half_map_noise
from bayesflex.likelihood.half_maps import half_map_log_likelihood
from bayesflex.map_target import check_evaluation, make_target
from bayesflex.noise import make_half_maps
from bayesflex.overlap.spectrum import NoisePower, Spectrum, low_pass_efficiency
from bayesflex.rendering import render
from bayesflex.synthetic import two_domain_protein

CA = two_domain_protein(80).ca_trace()
SIGMA, VOXEL, SHAPE = 1.8, np.full(3, 2.2), (44, 44, 44)
ORIGIN = CA.coords.mean(axis=0) - VOXEL * (np.array(SHAPE[::-1]) - 1) / 2.0
CLEAN = DensityMap(render(CA.coords, np.ones(80), SIGMA, SHAPE, VOXEL, ORIGIN, 6.0), VOXEL, ORIGIN)
CONFIG = FitConfig(resolution=8.0, likelihood="half-maps")


def known(signal: float, total: float) -> float:
    """log [exp(-(R - s²)/2) Φ(s)]."""
    return -0.5 * (total - signal**2) + float(log_ndtr(signal))


def by_quadrature(signal: float, total: float, nu: float) -> float:
    """The definition, ∫₀¹ u^(nu/2-1) exp(-u (R - s²)/2) Φ(√u s) du taken in pieces of log u."""

    def log_f(w):
        return 0.5 * nu * w - 0.5 * math.exp(w) * (total - signal**2) + float(log_ndtr(math.exp(0.5 * w) * signal))

    at = max(np.linspace(-20.0, 0.0, 20001), key=log_f)
    peak = log_f(at)
    edges = sorted({min(float(at) + step, 0.0) for step in (-20.0, -2.0, -0.2, -0.02, 0.0, 0.02, 0.2, 2.0, 20.0)})
    integral = sum(quad(lambda w: math.exp(log_f(w) - peak), a, b, limit=500)[0] for a, b in pairwise(edges))
    with_errors = peak + math.log(integral) - math.log(math.log(1e4))
    return float(np.logaddexp(known(signal, total), with_errors)) - math.log(2.0)


@pytest.mark.parametrize(("nu", "total"), [(5.0, 20.0), (100.0, 60.0), (100.0, 5000.0), (1000.0, 1e5), (1e4, 9e3)])
@pytest.mark.parametrize("correlation", [-0.999, -0.3, 0.0, 0.05, 0.7, 0.99, 1.0, 1.001])
def test_it_is_the_average_over_models_without_errors_and_with(nu, total, correlation):
    signal = correlation * math.sqrt(total)
    value, slope = half_map_log_likelihood(signal, total, nu)
    assert value == pytest.approx(by_quadrature(signal, total, nu), rel=1e-7, abs=1e-6)
    step = 1e-5 * math.sqrt(total)
    ahead, behind = (half_map_log_likelihood(signal + d, total, nu)[0] for d in (step, -step))
    assert slope == pytest.approx((ahead - behind) / (2.0 * step), rel=1e-4, abs=1e-6)
    assert slope > 0.0


@pytest.mark.parametrize("signal", [-40.0, -30.1, -29.9, -1.0, 0.0, 2.0, 8.4, 8.6, 300.0])
def test_for_a_model_without_errors_the_scale_alone_is_integrated_out(signal):
    """log ∫ exp(-(R - 2 a s + a²)/2) da over a > 0, and that integral over all a is √(2π) exp(-(R - s²)/2)."""
    total = 1e4
    value, slope = half_map_log_likelihood(signal, total, None)
    assert value == pytest.approx(known(signal, total), rel=1e-11)
    ahead, behind = (half_map_log_likelihood(signal + d, total, None)[0] for d in (1e-5, -1e-5))
    assert slope == pytest.approx((ahead - behind) / 2e-5, rel=1e-4, abs=1e-6)


def test_where_the_fit_leaves_what_the_noise_explains_the_noise_is_that_of_the_half_maps():
    nu, total = 2000.0, 8000.0
    for chi2, low, high in ((0.5 * nu, 0.9999, 1.0), (nu, 0.995, 1.0), (2.0 * nu, 0.49, 0.51), (3.0 * nu, 0.32, 0.34)):
        signal = math.sqrt(total - chi2)
        _, slope = half_map_log_likelihood(signal, total, nu)
        assert low < slope / half_map_log_likelihood(signal, total, None)[1] < high


def test_where_the_fit_is_poor_it_is_the_marginal_likelihood():
    """-(nu/2) log(1 - CC²), CC that of the whitened map."""
    nu, total = 500.0, 1e6
    one, two = 0.3, 0.8
    ours = [half_map_log_likelihood(c * math.sqrt(total), total, nu)[0] for c in (one, two)]
    expected = -0.5 * nu * (math.log1p(-(two**2)) - math.log1p(-(one**2)))
    assert ours[1] - ours[0] == pytest.approx(expected, rel=1e-6)


def fourier_signal(values, model, region, power) -> tuple[float, float]:
    """s and R from whole transforms: the model and the map, zero outside the region, centred there under P."""
    size = tuple(2 * n for n in values.shape)
    k = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(n, 2.2) for n in size], indexing="ij")))
    weight = np.exp(-((8.0 * k) ** 4)) / power(k)

    def product(a, b):
        a, b = (scipy.fft.fftn(x, s=size) for x in (a, b))
        return float(np.sum(weight * (a.conj() * b).real) / np.prod(size))

    one = region.astype(float)
    values = np.where(region, values, 0.0)
    values = values - product(one, values) / product(one, one) * one
    model = model - product(one, model) / product(one, one) * one
    return product(values, model) / math.sqrt(product(model, model)), product(values, values)


def test_it_is_that_of_the_whitened_residual(rng):
    """Differences of log L between places: half the difference of the χ² that rendered densities leave."""

    def power(k):
        return CLEAN.values.var() * (0.3 + 6.0 * np.exp(-20.0 * k))

    one, two = make_half_maps(rng, CLEAN, power)
    full = CLEAN.with_values(0.5 * (one.values + two.values))
    target = make_target(full, CA.coords, CONFIG, SIGMA)
    smooth = NoisePower(0.125, np.log(power(np.linspace(-0.03, 0.155, 7))))
    likelihood = replace(target, noise=KnownNoise(smooth)).likelihood(CONFIG, ca_beads(CA), 8.0, CA.coords)
    # What the smooth low-pass weighs down without there being more noise is given back.
    share = low_pass_efficiency(Spectrum(8.0, noise=smooth), SIGMA)
    assert 0.3 < share < 0.8
    values = []
    for shift in (0.0, 0.7, 2.0):
        coords = CA.coords + shift
        model = render(coords, np.ones(80), SIGMA, target.values.shape, VOXEL, target.origin, 6.0)
        signal, total = fourier_signal(target.values, model, target.region, smooth)
        values.append((likelihood.log_likelihood_and_gradient(coords)[0], -0.5 * (total - signal**2) / share))
    for ours, expected in values:
        assert ours == pytest.approx(expected, abs=2e-3 * total)
    drop, expected = values[0][0] - values[1][0], values[0][1] - values[1][1]
    assert drop == pytest.approx(expected, rel=5e-3)
    assert drop > 10.0


def test_the_low_pass_takes_a_share_and_its_square_is_what_is_left():
    """For white noise and σ = 0.225 d: ∫ u⁴ exp(-2u²) T² du / ∫ u⁴ exp(-2u²) T du with T = exp(-u⁴)."""
    share = low_pass_efficiency(Spectrum(8.0), 8.0 / (math.pi * math.sqrt(2.0)))
    moments = [quad(lambda u, n=n: u**4 * math.exp(-2.0 * u**2 - n * u**4), 0.0, 5.0)[0] for n in (1, 2)]
    assert share == pytest.approx(moments[1] / moments[0], rel=1e-4)
    assert low_pass_efficiency(Spectrum(), 1.8) == 1.0


def likelihood_of(full, one, two, config=CONFIG):
    target = make_target(full, CA.coords, config, SIGMA)
    found = half_map_noise(full, one, two, CA.coords, config.resolution)
    target = target.with_half_maps(found, full, config)
    return target, target.likelihood(config, ca_beads(CA), config.resolution, CA.coords)


def test_scale_and_offset_of_the_maps_change_nothing(rng):
    one, two = make_half_maps(rng, CLEAN, lambda k: CLEAN.values.var() * np.exp(-5.0 * k))
    full = CLEAN.with_values(0.5 * (one.values + two.values))
    _, plain = likelihood_of(full, one, two)
    scaled = [m.with_values(100.0 * m.values + 30.0) for m in (full, one, two)]
    _, other = likelihood_of(*scaled)
    for shift in (0.0, 1.5):
        first, gradient = plain.log_likelihood_and_gradient(CA.coords + shift)
        second, other_gradient = other.log_likelihood_and_gradient(CA.coords + shift)
        # The coefficients of the field are rounded to 16 bits, and log L is a difference of large numbers.
        assert second == pytest.approx(first, abs=0.02)
        np.testing.assert_allclose(other_gradient, gradient, atol=5e-4 * np.abs(gradient).max())


def test_symmetric_copies_share_their_noise(rng):
    one, two = make_half_maps(rng, CLEAN, lambda k: CLEAN.values.var() * np.exp(-5.0 * k))
    full = CLEAN.with_values(0.5 * (one.values + two.values))
    target, single = likelihood_of(full, one, two)
    shared_target, shared = likelihood_of(full, one, two, replace(CONFIG, copies=4))
    assert shared_target.counted_observations(CONFIG) == pytest.approx(target.counted_observations(CONFIG) / 4.0)
    away = CA.coords + 0.3
    drops = [
        likelihood.log_likelihood_and_gradient(CA.coords)[0] - likelihood.log_likelihood_and_gradient(away)[0]
        for likelihood in (single, shared)
    ]
    assert drops[1] == pytest.approx(drops[0] / 4.0, rel=0.1)


def test_the_grid_and_a_target_without_noise_are_refused():
    target = make_target(CLEAN, CA.coords, CONFIG, SIGMA)
    with pytest.raises(ConfigError, match="half-maps needs two half maps"):
        target.likelihood(CONFIG, ca_beads(CA), 8.0, CA.coords)
    with pytest.raises(ConfigError, match="Leave out --evaluation grid"):
        check_evaluation(replace(CONFIG, evaluation="grid"))
    check_evaluation(CONFIG)


def test_blurred_stages_are_those_of_the_marginal_likelihood(rng):
    one, two = make_half_maps(rng, CLEAN, lambda k: CLEAN.values.var() * np.exp(-5.0 * k))
    full = CLEAN.with_values(0.5 * (one.values + two.values))
    target, _ = likelihood_of(full, one, two)
    blurred = [
        target.likelihood(replace(CONFIG, likelihood=name), ca_beads(CA), 16.0, CA.coords)
        for name in ("half-maps", "marginal")
    ]
    first, second = (likelihood.log_likelihood_and_gradient(CA.coords + 1.0)[0] for likelihood in blurred)
    assert first == second


def test_the_region_is_widened_by_the_resolution_within_the_map_unless_a_mask_says_it(rng):
    one, two = make_half_maps(rng, CLEAN, lambda k: CLEAN.values.var() * np.exp(-5.0 * k))
    full = CLEAN.with_values(0.5 * (one.values + two.values))
    target, _ = likelihood_of(full, one, two)
    assert np.all(target.noise.region[target.region])
    at = np.argwhere(target.noise.region & ~target.region)
    near = np.argwhere(target.region)
    distance = np.sqrt(((at[:200, None] - near[None]) ** 2).sum(axis=2).min(axis=1)) * 2.2
    assert distance.max() <= 8.0 + 1e-9
    position = at[:, ::-1] * VOXEL + target.origin
    assert full.contains(position).all()
    mask = np.zeros(SHAPE, dtype=bool)
    mask[15:30, 15:30, 15:30] = True
    masked = make_target(full, CA.coords, CONFIG, SIGMA, mask)
    found = half_map_noise(full, one, two, CA.coords, 8.0)
    np.testing.assert_array_equal(masked.with_half_maps(found, full, CONFIG, True).noise.region, masked.region)
    # Fewer voxels, fewer observations.
    assert masked.with_half_maps(found, full, CONFIG, True).noise.observations < 0.5 * target.noise.observations
