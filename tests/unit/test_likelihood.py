"""The two noise models against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betaln
from scipy.stats import t as student

from bayesflex.likelihood.gaussian import GaussianLikelihood
from bayesflex.likelihood.marginal import (
    MarginalLikelihood,
    _log_student,
    independent_observations,
    marginal_log_likelihood,
)
from bayesflex.overlap.grid import GridOverlap
from bayesflex.rendering import render

SHAPE, VOXEL, ORIGIN, SIGMA = (12, 13, 14), np.array([1.5, 1.4, 1.3]), np.array([-9.0, -8.0, -7.0]), 1.8
DOMAIN = (ORIGIN, ORIGIN + VOXEL * (np.array(SHAPE[::-1]) - 1))
BEADS = np.array([[0.0, 0.5, 0.0], [2.0, -1.0, 3.0], [-3.0, 1.0, -1.0], [1.0, 3.0, -2.0]])
WEIGHTS = np.array([1.0, 2.0, 0.5, 1.5])


def density(beads) -> np.ndarray:
    return render(beads, WEIGHTS, SIGMA, SHAPE, VOXEL, ORIGIN)


def overlap(values, centred) -> GridOverlap:
    return GridOverlap(values, VOXEL, ORIGIN, SIGMA, WEIGHTS, None, centred, DOMAIN)


def jeffreys_marginal(values, model) -> float:
    """log ∫ dα dβ dσ |XᵀX|^½ σ⁻³ Π N(values; α model + β, σ), α > 0, by quadrature over all three, constant apart.

    In a, b and s: α = a |values| / |model| (both centred), β about its mean, ln σ.
    """
    n = values.size
    v, m = values.ravel() - values.mean(), model.ravel() - model.mean()
    v = v / np.linalg.norm(v)
    size = np.linalg.norm(m)
    jeffreys = size * math.sqrt(n)  # |XᵀX|^½: the columns, once centred, are orthogonal
    m = m / size
    correlation = float(v @ m)
    a = np.linspace(0.0, 4.0, 1601)
    log_s = np.linspace(-3.0, 2.0, 121) - 0.5 * math.log(n)
    b = np.linspace(-8.0, 8.0, 33)  # in units of s / √n, for each s
    residual = 1.0 - 2.0 * a * correlation + a**2  # |v - a m|²
    s = np.exp(log_s)
    # |v - a m - β|² = residual + n β², since v and m are centred
    exponent = -0.5 * (residual[:, None, None] / s[None, :, None] ** 2 + b[None, None, :] ** 2)
    log_f = exponent - (n + 3.0) * log_s[None, :, None] + 2.0 * log_s[None, :, None]  # dσ = s d ln s, dβ = s db / √n
    log_f += math.log(jeffreys / size)  # dα = da / size, in units of |values|
    peak = log_f.max()
    inner = np.trapezoid(np.trapezoid(np.trapezoid(np.exp(log_f - peak), b, axis=2), log_s, axis=1), a)
    return peak + math.log(inner)


def test_marginal_equals_the_integral_over_scale_offset_and_noise(rng):
    """Jeffreys' prior, alpha > 0, floor to 0, on a map of few voxels: nu is then their number."""
    n_side = (2, 3, 4)
    model = rng.normal(size=n_side)
    values = []
    for noise in (3.0, 1.0, 0.5):
        for sign in (1.0, -1.0):
            target = sign * 0.7 * model + 5.0 + noise * rng.normal(size=n_side)
            correlation = float(np.corrcoef(target.ravel(), model.ravel())[0, 1])
            ours = marginal_log_likelihood(correlation, 24.0, 1e-9, 1e-9)[0]
            values.append((ours, jeffreys_marginal(target, model)))
    ours, integral = np.array(values).T
    np.testing.assert_allclose(ours - ours[0], integral - integral[0], atol=2e-3)
    assert np.ptp(ours) > 5.0


@pytest.mark.parametrize("nu", [24.0, 500.0])
@pytest.mark.parametrize(("floor", "nu_0"), [(0.1, 10.0), (0.5, 3.0)])
def test_the_floor_is_nu_0_more_observations_of_the_noise(nu, floor, nu_0):
    """log L = log ∫ (1 + F - 2 a CC + a²)^(-(n+1)/2) da over a > 0, from which its sign and slope follow."""
    n, floor_term = nu + nu_0, nu_0 * floor**2 / nu

    def integral(correlation):
        best = max(correlation, 0.0)

        def log_f(a):
            return -0.5 * (n + 1.0) * math.log(1.0 + floor_term - 2.0 * a * correlation + a * a)

        width = math.sqrt((1.0 + floor_term - best**2) / n)
        points = sorted({0.0, max(best - 10.0 * width, 0.0), best, best + 10.0 * width, best + 100.0 * width})
        total = sum(
            quad(lambda a: math.exp(log_f(a) - log_f(best)), low, high, epsabs=0.0, epsrel=1e-10)[0]
            for low, high in zip(points, [*points[1:], math.inf], strict=True)
        )
        return log_f(best) + math.log(total)

    correlations = np.array([-0.999, -0.7, -0.1, 0.0, 0.1, 0.7, 0.99, 1.0])
    ours = np.array([marginal_log_likelihood(c, nu, floor, nu_0)[0] for c in correlations])
    expected = np.array([integral(c) for c in correlations])
    np.testing.assert_allclose(ours - ours[3], expected - expected[3], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("nu", [0.5, 5.0, 300.0, 9000.0, 1e6])
def test_more_correlation_is_always_better(nu):
    """Inverted contrast above all is not rewarded, and nothing blows up at a perfect fit or beyond."""
    correlations = np.concatenate([np.linspace(-0.99, 0.99, 400), 1 - np.logspace(-2, -9)])
    correlations = np.unique([*correlations, 1.0, 1.0 + 1e-8, 1.0001, 1.01])
    values, slopes = np.array([marginal_log_likelihood(c, nu, 0.1, 10.0) for c in correlations]).T
    assert np.isfinite(values).all()
    assert np.all(np.diff(values) > 0.0)
    assert np.all(slopes > 0.0)
    assert slopes.max() == slopes[-1]


@pytest.mark.parametrize("nu", [3.0, 500.0, 20_000.0])
def test_slope_is_the_derivative(nu):
    # t passes the switch of the tail somewhere below zero
    for correlation in [-0.95, -0.6, -0.31, -0.2, -0.01, 0.0, 0.3, 0.9, 0.9999]:
        h = 1e-5 * max(1.0 - abs(correlation), 1e-3)
        up, down = (marginal_log_likelihood(correlation + s * h, nu, 0.1, 10.0)[0] for s in (1, -1))
        slope = marginal_log_likelihood(correlation, nu, 0.1, 10.0)[1]
        assert slope == pytest.approx((up - down) / (2.0 * h), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("n", [0.5, 1.0, 5.0, 80.0, 3000.0, 1e6])
def test_student_equals_scipy_and_is_continuous_at_the_switch(n):
    log_beta = betaln(0.5 * n, 0.5)
    for t in (50.0, 5.0, 2.0, 1.0, 0.1, 0.0, -0.1, -1.0, -2.0, -20.0, -34.0):
        log_density, log_cdf = _log_student(t, n, log_beta)
        assert log_density == pytest.approx(student.logpdf(t, n), rel=1e-9, abs=1e-9)
        assert log_cdf == pytest.approx(student.logcdf(t, n), rel=1e-9, abs=1e-15)
    switch = math.sqrt(n * (1.5 / (0.5 * n + 1.0)))
    for t in (switch, -switch):
        above, below = (_log_student(t * (1.0 + s * 1e-12), n, log_beta)[1] for s in (1, -1))
        assert above == pytest.approx(below, rel=1e-10)


@pytest.mark.parametrize("n", [80.0, 3000.0])
def test_tail_where_the_distribution_function_underflows(n):
    for t in (-100.0, -1e4):
        log_density, log_cdf = _log_student(t, n, betaln(0.5 * n, 0.5))
        # the density falls over this length; with x = t - u · length, u = v / (1 - v)
        length = (n + t * t) / ((n + 1.0) * abs(t))
        v = (np.arange(200_000) + 0.5) / 200_000
        relative = np.exp(student.logpdf(t - v / (1.0 - v) * length, n) - log_density) / (1.0 - v) ** 2
        assert log_cdf == pytest.approx(log_density + math.log(relative.mean() * length), abs=1e-6)


def test_observations_count_degrees_of_freedom_not_voxels():
    assert independent_observations(1e6, 10.0) == pytest.approx(4188.79, abs=0.01)
    assert independent_observations(1e6, 5.0) == pytest.approx(8.0 * independent_observations(1e6, 10.0))
    assert independent_observations(1e6, 10.0, copies=6) == pytest.approx(4188.79 / 6.0, abs=0.01)


def test_gaussian_equals_eq_5_by_direct_sum(rng):
    scale, noise_sd = 3.0, 0.004
    values = scale * (density(BEADS) + noise_sd * rng.normal(size=SHAPE))
    likelihood = GaussianLikelihood(overlap(values, centred=False), scale, noise_sd)
    for beads in (BEADS, BEADS + rng.normal(size=BEADS.shape)):
        expected = -np.sum((values / scale - density(beads)) ** 2) / (2.0 * noise_sd**2)
        assert likelihood.log_likelihood_and_gradient(beads)[0] == pytest.approx(expected, rel=1e-10)


def test_marginal_uses_the_centred_correlation(rng):
    values = 2.0 * density(BEADS) + 7.0 + 0.01 * rng.normal(size=SHAPE)
    moved = BEADS + rng.normal(scale=0.5, size=BEADS.shape)
    expected = np.corrcoef(values.ravel(), density(moved).ravel())[0, 1]
    value, _ = MarginalLikelihood(overlap(values, True), 80.0, 0.1, 10.0).log_likelihood_and_gradient(moved)
    assert value == pytest.approx(marginal_log_likelihood(expected, 80.0, 0.1, 10.0)[0], rel=1e-10)
    # neither scale nor offset matter
    other = MarginalLikelihood(overlap(0.1 * values - 3.0, True), 80.0, 0.1, 10.0)
    assert other.log_likelihood_and_gradient(moved)[0] == pytest.approx(value, rel=1e-10)


def test_the_gradient_points_towards_the_answer():
    """Log density: high is good."""
    values = density(BEADS)
    moved = BEADS + np.array([1.0, 0.0, 0.0])
    for likelihood in (
        GaussianLikelihood(overlap(values, False), 1.0, 0.01),
        MarginalLikelihood(overlap(values, True), 80.0, 0.1, 10.0),
    ):
        at_answer, _ = likelihood.log_likelihood_and_gradient(BEADS)
        value, gradient = likelihood.log_likelihood_and_gradient(moved)
        assert value < at_answer
        assert gradient[:, 0].sum() < 0.0
        assert likelihood.log_likelihood_and_gradient(moved - [0.01, 0.0, 0.0])[0] > value


def test_inverted_contrast_is_not_rewarded():
    likelihood = MarginalLikelihood(overlap(-density(BEADS), True), 80.0, 0.1, 10.0)
    on_it = likelihood.log_likelihood_and_gradient(BEADS)[0]
    away = likelihood.log_likelihood_and_gradient(BEADS + np.array([4.0, 4.0, 4.0]))[0]
    assert on_it < away
