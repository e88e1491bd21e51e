"""Held-out data: what is kept from a fit shares nothing with what it sees, and scores mean what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage

from bayesflex.density_map import DensityMap
from bayesflex.held_out import CUT, HeldOut, PredictiveScores, predictive_scores, region_diameter, split_shells
from bayesflex.noise import add_noise
from bayesflex.noise_spectrum import Shells
from bayesflex.rendering import render
from bayesflex.synthetic import two_domain_protein
from bayesflex.workflows.simulate import simulate

RESOLUTION, SIGMA = 8.0, 1.8
CA = two_domain_protein(60).ca_trace()


@pytest.fixture(scope="module")
def clean() -> DensityMap:
    return simulate(CA, resolution=RESOLUTION, voxel=2.5, box=30, kernel="gaussian")


@pytest.fixture(scope="module")
def region(clean):
    return scipy.ndimage.binary_dilation(clean.values > 0.05 * clean.values.max(), iterations=2)


def density_of(clean):
    shape = clean.values.shape

    def rendered(coords):
        return render(coords, np.ones(len(coords)), SIGMA, shape, clean.voxel_size, clean.origin)

    return rendered


def held_out(density, clean, region, shells):
    """The noisy map as it is, or the part of it that a split keeps from the fit."""
    if not shells:
        return HeldOut(density.values.astype(np.float64), region, clean.voxel_size, RESOLUTION, 0.0)
    _, fine, cut = split_shells(density, RESOLUTION, region_diameter(region, clean.voxel_size))
    return HeldOut(fine, region, clean.voxel_size, RESOLUTION, cut)


def test_the_two_halves_of_a_map_share_no_coefficient(rng, clean):
    density = clean.with_values(rng.normal(size=clean.values.shape).astype(np.float32))
    coarse, fine, cut = split_shells(density, RESOLUTION, 50.0)
    assert cut == pytest.approx(CUT / RESOLUTION)
    frequency = Shells(density.values.shape, density.voxel_size).frequency
    power = [np.abs(scipy.fft.rfftn(each.astype(np.float64))) ** 2 for each in (density.values, coarse.values, fine)]
    assert power[1][frequency > cut * 1.001].max() < 1e-6 * power[0].mean()
    assert power[2][frequency < cut * 0.999].max() < 1e-6 * power[0].mean()
    # Away from the smooth ends all of the map is in one of them.
    away = np.abs(frequency - cut) > 0.021
    np.testing.assert_allclose((power[1] + power[2])[away], power[0][away], rtol=1e-3, atol=1e-4 * power[0].mean())


def test_half_of_the_coefficients_are_withheld(clean, region):
    counted = held_out(clean, clean, region, shells=False).observations.sum()
    withheld = held_out(clean, clean, region, shells=True).observations.sum()
    volume = np.count_nonzero(region) * clean.voxel_size.prod()
    assert counted == pytest.approx(4.0 / 3.0 * np.pi * volume / RESOLUTION**3, rel=0.03)
    # A little less than half, for the smooth end.
    assert 0.35 * counted < withheld < 0.5 * counted


def test_a_coefficient_and_its_conjugate_are_in_one_block(clean, region):
    held = held_out(clean, clean, region, shells=False)
    mz, my, mx = held._grid.shape
    number = np.full((mz, my, mx // 2 + 1), -1)
    number.reshape(-1)[held._in_band] = held.blocks
    plane = number[:, :, 0]
    mirrored = plane[-np.arange(mz) % mz][:, -np.arange(my) % my]
    assert (plane >= 0).sum() > 20
    np.testing.assert_array_equal(plane, mirrored)
    assert len(np.unique(held.blocks)) >= 20
    assert np.bincount(held.blocks).min() > 0


@pytest.mark.parametrize("shells", [False, True], ids=["half map", "shells"])
def test_the_right_structure_scores_best_whatever_the_scale_and_offset(rng, clean, region, shells):
    density = add_noise(rng, clean, 0.5, resolution=RESOLUTION)
    wrong = [CA.coords + shift for shift in (0.0, 0.7, 1.4)]
    candidates = [[coords] for coords in wrong]
    plain, changed = (
        predictive_scores(held_out(each, clean, region, shells), candidates, density_of(clean))
        for each in (density, density.with_values(50.0 * density.values + 3.0 * float(density.values.max())))
    )
    assert plain.best == 0
    assert (np.diff(plain.total) < 0.0).all()
    below, error = plain.below(0)
    assert below[0] == error[0] == 0.0
    assert (below[1:] > 2.0 * error[1:]).all()
    np.testing.assert_allclose(changed.below(0)[0], below, rtol=0.01)


def test_draws_that_scatter_without_need_predict_worse(rng, clean, region):
    held = held_out(add_noise(rng, clean, 0.5, resolution=RESOLUTION), clean, region, shells=False)
    tight, wide = ([CA.coords + rng.normal(0.0, sd, CA.coords.shape) for _ in range(8)] for sd in (0.05, 1.5))
    scores = predictive_scores(held, [tight, wide], density_of(clean))
    assert scores.total[0] > scores.total[1]


@pytest.mark.parametrize("shells", [False, True], ids=["half map", "shells"])
def test_the_standard_error_is_the_scatter_over_maps(clean, region, shells):
    rng = np.random.default_rng(5)
    candidates = [[CA.coords], [CA.coords + np.array([0.25, 0.1, 0.0])]]
    found = []
    for _ in range(80):
        noisy = add_noise(rng, clean, 1.0, resolution=RESOLUTION)
        below, error = predictive_scores(held_out(noisy, clean, region, shells), candidates, density_of(clean)).below(0)
        found.append((below[1], error[1]))
    difference, error = np.array(found).T
    # A standard deviation of 80 values is known to 8 %; neighbouring blocks are tied a little.
    assert 0.65 < np.sqrt(np.mean(error**2)) / difference.std(ddof=1) < 1.35
    assert difference.mean() > 0.0


def test_the_fewest_within_one_error_of_the_best_are_chosen():
    base = np.zeros(50)
    jitter = np.tile([1.0, -1.0], 25)  # errors of √50 times about 1
    scores = PredictiveScores(np.array([base - 1.0, base - 0.1 + jitter, base, base - 0.5]), np.zeros(4))
    below, error = scores.below(2)
    np.testing.assert_allclose(below, [50.0, 5.0, 0.0, 25.0])
    assert error[1] == pytest.approx(np.sqrt(50.0) * np.std(jitter, ddof=1))
    assert scores.best == 2
    assert scores.smallest_within_one_error() == 1
    without = PredictiveScores(scores.blocks[[0, 2, 3]], np.zeros(3))
    assert without.smallest_within_one_error() == 1
    # Where draws are too few to tell, fewer will do.
    uncertain = PredictiveScores(without.blocks, np.full(3, 1300.0))
    assert uncertain.below(1)[1].tolist() == pytest.approx([np.sqrt(2600.0), 0.0, np.sqrt(2600.0)])
    assert uncertain.smallest_within_one_error() == 0


def test_what_chains_of_one_candidate_differ_by_is_the_error_of_the_draws():
    rng = np.random.default_rng(7)
    totals = rng.normal(-50.0, 3.0, size=(400, 2))
    totals[0] = (-900.0, -50.0)  # a chain that is stuck
    flat = PredictiveScores(np.repeat(totals.reshape(-1, 1), 10, axis=1) / 10.0, np.zeros(800))
    scores = flat.best_chains([*((2 * k + 1, 2 * k) for k in range(399)), (798,)])
    np.testing.assert_allclose(scores.total, [*totals[:399, 1], totals[399, 0]])
    assert scores.draw_variance[0] == pytest.approx(9.0, rel=0.3)
    assert scores.draw_variance[-1] == 0.0, "one chain, which cannot move"


def test_a_model_that_shows_nothing_of_the_map_has_no_negative_scale(clean, region):
    held = held_out(clean.with_values(-clean.values), clean, region, shells=False)
    scale, _ = held.scale_and_offset(held.transform(density_of(clean)(CA.coords)), np.ones_like(held.observations))
    assert scale == 0.0
    assert replace(held, cut=0.0).diameter == held.diameter
