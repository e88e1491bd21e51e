"""Posterior-predictive check: noise is found to be noise, and what is not is found where it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

from bayesflex.beads import ca_beads
from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.density_support import density_support
from bayesflex.fourier_grid import FourierGrid
from bayesflex.half_maps import KnownNoise
from bayesflex.map_comparison import Comparison
from bayesflex.map_target import make_target
from bayesflex.noise import add_noise, frequencies
from bayesflex.overlap.spectrum import NoisePower
from bayesflex.posterior_predictive import Residual, check_residual
from bayesflex.residual_regions import residual_regions
from bayesflex.synthetic import two_domain_layout, two_domain_protein
from bayesflex.units import sigma_of_resolution
from bayesflex.workflows.simulate import simulate

N = 120
RESOLUTION, NOISE = 6.0, 1.0
LAYOUT = two_domain_layout(N)


@pytest.fixture(scope="module")
def ca():
    return two_domain_protein(N, 20.0).ca_trace()


@pytest.fixture(scope="module")
def clean(ca):
    return simulate(ca, resolution=RESOLUTION, kernel="gaussian", voxel=2.0)


def without(ca, residues: np.ndarray):
    return ca.select(~np.isin(np.arange(ca.n_atoms), residues))


def comparison_of(density: DensityMap, model, **settings) -> Comparison:
    config = FitConfig(resolution=RESOLUTION, **settings)
    target = make_target(density, model.coords, config, sigma_of_resolution(RESOLUTION))
    return Comparison(target, config, ca_beads(model), model.coords, model.coords)


def residual_of(density: DensityMap, model, **settings) -> Residual:
    return check_residual(comparison_of(density, model, **settings), [model.coords])


def noisy(clean: DensityMap, seed: int, noise: float = NOISE, spectrum: str = "band") -> DensityMap:
    return add_noise(np.random.default_rng(seed), clean, noise, spectrum=spectrum, resolution=RESOLUTION)


@pytest.fixture(scope="module")
def right(clean, ca):
    """The residuals of the right model in maps with new noise."""
    return [residual_of(noisy(clean, seed), ca) for seed in range(10)]


def test_the_right_model_leaves_the_chi_squared_of_noise_in_every_shell(right):
    shells = right[0].shells
    assert len(shells.observed) >= 4
    # Each is drawn from χ² of its own number of observations, the level of the noise being taken from all of them.
    scores = np.concatenate([chi2.cdf(found.shells.observed, found.shells.observations) for found in right])
    outside = np.mean((scores < 0.025) | (scores > 0.975))
    assert outside < 0.10
    mean = np.mean([found.shells.ratio for found in right], axis=0)
    error = np.sqrt(2.0 / shells.observations / len(right))
    assert (np.abs(mean - 1.0) < 4.0 * error + 0.01).all()
    assert not any(found.shells.excess.any() for found in right)


def test_the_level_of_the_noise_is_found(right, clean):
    truth = NOISE * clean.values.std()
    levels = np.array([found.noise_sd for found in right]) / truth
    assert levels.mean() == pytest.approx(1.0, abs=0.03)
    assert levels.std() < 0.05


def test_scores_of_noise_have_unit_variance_and_name_no_place(clean, ca):
    for seed in range(3):
        comparison = comparison_of(noisy(clean, seed), ca)
        found = check_residual(comparison, [ca.coords])
        for scores in (found.z_score, found.smooth_z):
            assert scores.values[comparison.judged].std() == pytest.approx(1.0, abs=0.15)
            assert (scores.values[~found.region] == 0.0).all()
        assert residual_regions(found, ca.coords, ca.residue_labels) == []


def test_range_and_expectation_are_those_of_simulated_noise(clean, ca):
    comparison = comparison_of(noisy(clean, 0), ca)
    shells = check_residual(comparison, [ca.coords]).shells
    grid, target = comparison.grid, comparison.target
    index = np.searchsorted(shells.high * (1 + 1e-6), grid.frequency)
    inside = (index < len(shells.high)) & (grid.frequency > 0.0)
    times = np.broadcast_to(grid.multiplicity, index.shape)[inside]

    def sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(index[inside], values[inside] * times)

    expected = sums(comparison.expected_power)
    first = np.rint((target.origin - clean.origin) / clean.voxel_size).astype(int)
    powers = []
    for seed in range(60):
        noise = noisy(clean, 100 + seed).values - clean.values
        padded = np.pad(noise, 40, mode="wrap")  # the noise is periodic, and the working grid reaches out of the box
        z, y, x = (40 + start for start in first[::-1])
        nz, ny, nx = target.values.shape
        cut = padded[z : z + nz, y : y + ny, x : x + nx]
        powers.append(sums(np.abs(grid.forward(np.where(comparison.judged, cut, 0.0))) ** 2 / grid.n_points))
    kept = frequencies(clean.values.shape, clean.voxel_size) <= (1 + 1e-6) / RESOLUTION
    level = (NOISE * clean.values.std()) ** 2 / kept.mean()
    ratios = np.array(powers) / expected / level
    np.testing.assert_allclose(ratios.mean(axis=0), 1.0, atol=0.06)
    # Sixty samples give a variance to within 18 %.
    observations = 2.0 / ratios.var(axis=0)
    assert (np.abs(np.log(observations / shells.observations)) < 0.6).all()


def test_a_missing_domain_is_found_where_it_is(clean, ca):
    part = ca.select(np.arange(N) < LAYOUT.first_domain.stop)
    found = residual_of(noisy(clean, 3, 0.3), part)
    assert found.shells.excess[0]
    assert found.shells.ratio[0] > 1.5 > found.shells.ratio[-1]
    places = residual_regions(found, part.coords, part.residue_labels)
    centre = ca.coords[LAYOUT.second_domain].mean(axis=0)
    assert places[0].kind == "unexplained"
    assert places[0].peak > 10.0
    assert np.linalg.norm(np.array(places[0].position) - centre) < 6.0
    assert places[0].volume > 5000.0
    assert places[0].distance > 5.0


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_a_loop_without_density_is_found_where_it_is(clean, ca, noise):
    loop = np.arange(LAYOUT.linker.start, LAYOUT.linker.stop)
    map_without = simulate(without(ca, loop), resolution=RESOLUTION, kernel="gaussian", grid_of=clean)
    found = residual_of(noisy(map_without, 4, noise), ca)
    (place,) = residual_regions(found, ca.coords, ca.residue_labels)
    assert place.kind == "unsupported"
    assert place.peak < -6.0
    assert np.linalg.norm(np.array(place.position) - ca.coords[loop].mean(axis=0)) < 5.0
    assert int(place.residue.split()[1]) - 1 in loop


@pytest.mark.parametrize("noise", [0.1, 1.0])
@pytest.mark.parametrize("part", ["linker", "changed"])
def test_support_is_missing_for_just_the_loop_without_density(clean, ca, noise, part):
    loop = getattr(LAYOUT, part)
    residues = np.arange(loop.start, loop.stop)
    map_without = simulate(without(ca, residues), resolution=RESOLUTION, kernel="gaussian", grid_of=clean)
    comparison = comparison_of(noisy(map_without, 5, noise), ca)
    found = density_support(comparison, check_residual(comparison, [ca.coords]), ca)
    marked = np.flatnonzero(found.absent)
    assert set(residues[1:-1]) <= set(marked) <= set(residues)
    assert found.support[residues].mean() < 0.4
    rest = np.delete(found.support, residues)
    assert rest.mean() == pytest.approx(1.0, abs=0.1)


def test_every_residue_of_the_right_model_has_support(clean, ca):
    for seed in range(3):
        comparison = comparison_of(noisy(clean, seed), ca)
        found = density_support(comparison, check_residual(comparison, [ca.coords]), ca)
        assert not found.absent.any()
        assert np.median(found.support) == pytest.approx(1.0)
        assert found.support.std() < 0.35


def test_support_knows_neither_scale_nor_offset(clean, ca):
    density = noisy(clean, 2)
    other = density.with_values((1e3 * density.values - 40.0).astype(np.float64))
    found = []
    for values in (density, other):
        comparison = comparison_of(values, ca)
        found.append(density_support(comparison, check_residual(comparison, [ca.coords]), ca).support)
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)


def test_scale_and_offset_are_those_of_the_map(clean, ca):
    density = noisy(clean, 2, 0.2)
    found = residual_of(density.with_values(7.0 * density.values + 3.0), ca)
    assert found.scale == pytest.approx(7.0, rel=0.02)
    assert found.offset == pytest.approx(3.0, abs=7.0 * 0.05 * clean.values.std())


def test_a_known_level_is_taken_as_it_is(clean, ca):
    density = noisy(clean, 1, 0.5, "white")
    peak = (2.0 * np.pi * sigma_of_resolution(RESOLUTION) ** 2) ** -1.5
    sd = 0.5 * clean.values.std() / peak
    settings = {"likelihood": "gaussian"}
    found = residual_of(density, ca, noise_sd=sd, **settings)
    assert found.shells.total_ratio == pytest.approx(1.0, abs=0.1)
    assert residual_of(density, ca, noise_sd=2.0 * sd, **settings).shells.total_ratio == pytest.approx(0.25, abs=0.03)
    assert residual_of(density, ca, noise_sd=0.5 * sd, **settings).shells.excess.all()


def test_the_noise_of_half_maps_is_taken_as_it_is(clean, ca):
    density = noisy(clean, 1, 0.5, "white")
    comparison = comparison_of(density, ca)
    power = NoisePower.white((0.5 * float(clean.values.std())) ** 2)
    target = replace(comparison.target, noise=KnownNoise(power, 500.0))
    config = replace(comparison.config, likelihood="half-maps")
    found = check_residual(Comparison(target, config, comparison.beads, ca.coords, ca.coords), [ca.coords])
    assert found.shells.total_ratio == pytest.approx(1.0, abs=0.1)
    assert not found.shells.excess.any()


def test_draws_are_averaged(clean, ca, rng):
    draws = [ca.coords + rng.normal(0.0, 0.1, ca.coords.shape) for _ in range(3)]
    comparison = comparison_of(noisy(clean, 1), ca)
    each = [check_residual(comparison, [coords]) for coords in draws]
    together = check_residual(comparison, draws)
    np.testing.assert_allclose(together.shells.observed, np.mean([one.shells.observed for one in each], axis=0))
    assert together.scale == pytest.approx(np.mean([one.scale for one in each]))


def test_sums_over_frequencies_are_sums_over_voxels(rng):
    values = rng.normal(size=(7, 11, 9))
    grid = FourierGrid(values.shape, np.array([1.0, 2.0, 3.0]))
    transform = grid.forward(values, np.float64)
    assert grid.total(np.abs(transform) ** 2) == pytest.approx(np.sum(values**2))
    np.testing.assert_allclose(grid.backward(transform)[:7, :11, :9], values, atol=1e-12)
    assert grid.distance[0, 0, 1] == pytest.approx(1.0)
    assert grid.distance[-1, 0, 0] == pytest.approx(3.0)
