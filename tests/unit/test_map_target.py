"""A map made ready to be fitted: what is cut out, what counts, and how many observations that is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bayesflex.beads import ca_beads
from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.errors import ConfigError, InputError
from bayesflex.likelihood.marginal import marginal_log_likelihood
from bayesflex.map_target import MapTarget, make_target
from bayesflex.overlap.spectrum import Spectrum, counted_share
from bayesflex.rendering import render
from bayesflex.synthetic import two_domain_protein

CA = two_domain_protein(80).ca_trace()
START = CA.coords
SIGMA = 2.0
VOXEL = np.array([2.0, 1.8, 2.2])
SHAPE = (70, 72, 74)  # (nz, ny, nx): some 150 Å, the protein in the middle
ORIGIN = START.mean(axis=0) - VOXEL * (np.array(SHAPE[::-1]) - 1) / 2.0
CONFIG = FitConfig(resolution=8.0)


def density_of(coords, name="target.mrc") -> DensityMap:
    return DensityMap(render(coords, np.ones(len(coords)), SIGMA, SHAPE, VOXEL, ORIGIN), VOXEL, ORIGIN, name)


def positions(target: MapTarget) -> np.ndarray:
    """Position of each voxel of the working grid, shape (nz, ny, nx, 3)."""
    z, y, x = np.indices(target.values.shape)
    return np.stack([x, y, z], axis=-1) * target.voxel_size + target.origin


def test_the_working_grid_is_a_crop_whose_voxels_are_where_they_were():
    density = density_of(START)
    target = make_target(density, START, CONFIG, SIGMA)
    assert target.values.size < 0.5 * density.values.size
    first = np.rint((target.origin - ORIGIN) / VOXEL).astype(int)
    np.testing.assert_allclose(target.origin, ORIGIN + first * VOXEL)
    x, y, z = (slice(a, a + n) for a, n in zip(first, target.values.shape[::-1], strict=True))
    np.testing.assert_array_equal(target.values, density.values[z, y, x])


def test_the_region_reaches_as_far_from_the_start_as_asked_and_beads_have_room():
    config = FitConfig(resolution=8.0, region_margin=7.0, contour=1e9)  # nothing is above the contour
    target = make_target(density_of(START), START, config, SIGMA)
    distance = np.min(
        np.linalg.norm(positions(target)[..., None, :] - START, axis=-1).reshape(-1, len(START)), axis=1
    ).reshape(target.values.shape)
    # the start is rounded to voxels, half a diagonal
    slack = 0.5 * float(np.linalg.norm(VOXEL))
    assert target.region[distance < 7.0 - slack].all()
    assert not target.region[distance > 7.0 + slack].any()
    assert target.region_volume == pytest.approx(np.count_nonzero(target.region) * 2.0 * 1.8 * 2.2)
    low, high = target.domain
    assert np.all(START.min(axis=0) - low >= 10.0)
    assert np.all(high - START.max(axis=0) >= 10.0)


def test_density_away_from_the_start_counts_where_it_is_above_the_contour():
    """A start that lacks a domain's place: the region must hold the density that it is to move into."""
    moved = START.copy()
    moved[40:] += [25.0, 0.0, 0.0]
    density = density_of(moved)
    automatic = make_target(density, START, CONFIG, SIGMA)
    only_near = make_target(density, START, FitConfig(resolution=8.0, contour=1e9), SIGMA)
    index = np.rint((moved - automatic.origin) / VOXEL).astype(int)[:, ::-1]
    assert automatic.region[tuple(index.T)].mean() > 0.95
    index = np.rint((moved - only_near.origin) / VOXEL).astype(int)[:, ::-1]
    inside = np.all((index >= 0) & (index < only_near.region.shape), axis=1)
    assert np.count_nonzero(only_near.region[tuple(index[inside].T)]) < 0.8 * len(moved)


def test_a_lower_contour_gives_a_larger_region():
    density = density_of(START)
    volumes = [
        make_target(density, START, FitConfig(resolution=8.0, region_margin=1.0, contour=c), SIGMA).region_volume
        for c in (0.005, 0.001, 1e-4)
    ]
    assert volumes[0] < volumes[1] < volumes[2]


def test_a_mask_replaces_the_automatic_region():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[30:40, 28:44, 35:38] = True
    target = make_target(density_of(START), START, CONFIG, SIGMA, mask=mask)
    assert np.count_nonzero(target.region) == np.count_nonzero(mask)
    corner = positions(target)[target.region].min(axis=0)
    np.testing.assert_allclose(corner, ORIGIN + VOXEL * [35, 28, 30])


def test_a_padded_box_adds_no_observations():
    density = density_of(START)
    padded = DensityMap(np.pad(density.values, 20), VOXEL, ORIGIN - 20 * VOXEL)
    one, two = (make_target(d, START, CONFIG, SIGMA) for d in (density, padded))
    assert one.region_volume == pytest.approx(two.region_volume, rel=0.02)
    nu = one.observations(8.0, 1)
    assert nu == pytest.approx(counted_share(8.0, SIGMA) * 4.0 * math.pi / 3.0 * one.region_volume / 8.0**3)
    assert one.observations(8.0, 6) == pytest.approx(nu / 6.0)
    coarse = one.observations(16.0, 1)
    assert coarse / counted_share(16.0, SIGMA) == pytest.approx(nu / counted_share(8.0, SIGMA) / 8.0)


@pytest.mark.parametrize("given", ["resolution", "voxels", "250"])
def test_observations_are_counted_as_asked_for(given):
    """The likelihood is that of so many: its curve over CC is known."""
    config = FitConfig(resolution=8.0, observations=given)
    target = make_target(density_of(START), START, config, SIGMA)
    n_voxels = np.count_nonzero(target.region)
    nu = {"resolution": target.observations(8.0, 1), "voxels": n_voxels, "250": 250.0}[given]
    assert target.counted_observations(config) == pytest.approx(nu)
    spectrum = Spectrum() if given == "voxels" else Spectrum(8.0)
    overlap = target.overlap(np.ones(len(START)), spectrum, True, "pairs")
    likelihood = target.likelihood(config, ca_beads(CA), 8.0, START)
    for shift in (1.0, 3.0):
        values = overlap.evaluate(START + shift)
        correlation = values.cross / math.sqrt(values.power * overlap.map_power)
        expected, _ = marginal_log_likelihood(correlation, nu, config.floor, config.floor_observations)
        assert likelihood.log_likelihood_and_gradient(START + shift)[0] == pytest.approx(expected)


def test_blurred_stages_count_alike_whether_voxels_or_the_resolution_count_at_the_end():
    one, two, three = (
        make_target(density_of(START), START, config, SIGMA).likelihood(config, ca_beads(CA), 16.0, START)
        for config in (FitConfig(resolution=8.0, observations=given) for given in ("resolution", "voxels", "100"))
    )
    away = START + 3.0
    first, second, third = (likelihood.log_likelihood_and_gradient(away)[0] for likelihood in (one, two, three))
    assert first == second
    assert 0.0 < third < first


def test_a_model_at_the_edge_of_the_map_gets_room_that_does_not_count():
    density = density_of(START)
    cut = DensityMap(density.values[:, :, :37], VOXEL, ORIGIN)  # the map ends in the middle of the model
    target = make_target(cut, START, CONFIG, SIGMA)
    end = ORIGIN[0] + 36 * VOXEL[0]
    outside = positions(target)[..., 0] > end + 1e-6
    assert outside.any()
    assert not target.region[outside].any()
    assert not target.values[outside].any()
    assert target.overlap(np.ones(len(START)), Spectrum(), True, "pairs").evaluate(START) is not None


def test_fixed_beads_are_rendered_into_the_background():
    fixed = (START[:5] + 10.0, np.arange(1.0, 6.0))
    target = make_target(density_of(START), START, CONFIG, SIGMA, fixed=fixed)
    expected = render(*fixed, SIGMA, target.values.shape, VOXEL, target.origin)
    np.testing.assert_allclose(target.background, expected)
    moving = target.simulated(START, np.ones(len(START)))
    alone = make_target(density_of(START), START, CONFIG, SIGMA).simulated(START, np.ones(len(START)))
    np.testing.assert_allclose(moving, alone + expected, atol=1e-12)


def test_simulated_density_overlays_the_map_it_came_from():
    target = make_target(density_of(START), START, CONFIG, SIGMA)
    np.testing.assert_allclose(target.simulated(START, np.ones(len(START))), target.values, atol=1e-12)


@pytest.mark.parametrize("name", ["marginal", "gaussian"])
def test_stages_are_blurred_alike_in_map_and_model(name):
    """At every resolution the answer stays the best place, and a coarse stage pulls from farther away."""
    config = FitConfig(resolution=8.0, likelihood=name)
    target = make_target(density_of(START), START, config, SIGMA)
    pulls = []
    for resolution in (8.0, 16.0):
        likelihood = target.likelihood(config, ca_beads(CA), resolution, START)
        best, gradient = likelihood.log_likelihood_and_gradient(START)
        assert best > likelihood.log_likelihood_and_gradient(START + [1.0, 0.0, 0.0])[0]
        away, _ = likelihood.log_likelihood_and_gradient(START + [6.0, 0.0, 0.0])
        pulls.append((best - away, np.abs(gradient).max()))
    assert pulls[1][0] < pulls[0][0]  # blurred: less sure


def test_errors_name_the_map_and_say_what_to_do():
    density = density_of(START)
    with pytest.raises(InputError, match=r"target\.mrc: no voxel counts.*--origin"):
        make_target(density, START + 1000.0, CONFIG, SIGMA)
    with pytest.raises(InputError, match=r"target\.mrc: no voxel counts"):
        make_target(density, START, CONFIG, SIGMA, mask=np.zeros(SHAPE, dtype=bool))
    with pytest.raises(InputError, match=r"mask: \(3, 4, 5\) voxels .* where target\.mrc has"):
        make_target(density, START, CONFIG, SIGMA, mask=np.ones((3, 4, 5), dtype=bool))
    with pytest.raises(InputError, match=r"target\.mrc: all values in the region of the fit are equal"):
        make_target(density.with_values(np.full(SHAPE, 3.0)), START, CONFIG, SIGMA)
    config = FitConfig(resolution=8.0, likelihood="gaussian")
    inverted = make_target(density.with_values(-density.values), START, config, SIGMA)
    with pytest.raises(InputError, match="does not overlap the density"):
        inverted.likelihood(config, ca_beads(CA), 8.0, START)


def test_beads_widened_by_b_factors_find_themselves():
    """A map rendered with the widths correlates perfectly with beads that have them, and less with beads of one."""
    kind = (np.arange(len(START)) % 2).astype(np.int64)
    classes = (kind, np.array([0.0, 1.5]))
    weights = np.ones(len(START))
    target = make_target(density_of(START), START, CONFIG, SIGMA)
    target = replace(target, values=target.simulated(START, weights, classes), region=np.ones_like(target.region))
    correlation = []
    for widths in (classes, None):
        overlap = target.overlap(weights, Spectrum(), True, "pairs", START, widths)
        values = overlap.evaluate(START)
        correlation.append(values.cross / np.sqrt(values.power * overlap.map_power))
    assert correlation[0] == pytest.approx(1.0, abs=2e-3)
    assert correlation[1] < correlation[0] - 0.005
    with pytest.raises(ConfigError, match="one width"):
        target.overlap(weights, Spectrum(), True, "grid", START, classes)
