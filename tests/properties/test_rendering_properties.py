"""What a rendered density must be, whatever the grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesflex.errors import InputError
from bayesflex.rendering import render, render_gradient
from reference import plain_rendering

SHAPE = (34, 30, 26)  # (nz, ny, nx)
VOXEL = np.array([1.3, 1.1, 0.9])  # (x, y, z): boxes of 33.8, 33 and 30.6 Å
ORIGIN = np.array([-3.0, 20.0, -11.0])
MIDDLE = ORIGIN + VOXEL * (np.array(SHAPE[::-1]) - 1) / 2.0

near_middle = st.tuples(*[st.floats(-5.0, 5.0)] * 3).map(lambda shift: MIDDLE + np.array(shift))
sigmas = st.floats(1.2, 2.2)


@given(position=near_middle, sigma=sigmas, weight=st.floats(0.1, 30.0))
def test_a_bead_has_its_mass_but_for_what_the_window_cuts(position, sigma, weight):
    density = render(position[None], np.array([weight]), sigma, SHAPE, VOXEL, ORIGIN)
    mass = density.sum() * VOXEL.prod()
    assert mass == pytest.approx(weight, rel=1e-3)
    assert mass < weight * (1.0 + 1e-5)
    # the wider the window, the less is cut
    wide = render(position[None], np.array([weight]), sigma, SHAPE, VOXEL, ORIGIN, window=5.0)
    assert wide.sum() * VOXEL.prod() == pytest.approx(weight, rel=1e-5)


@given(position=near_middle, sigma=sigmas)
def test_a_bead_renders_where_it_is(position, sigma):
    """The centre of mass in Å, from voxel indices (z, y, x), is the bead's position (x, y, z)."""
    density = render(position[None], np.ones(1), sigma, SHAPE, VOXEL, ORIGIN)
    index = [np.tensordot(density.sum(axis=tuple({0, 1, 2} - {axis})), np.arange(SHAPE[axis]), 1) for axis in (2, 1, 0)]
    centre = np.array(index) / density.sum() * VOXEL + ORIGIN
    np.testing.assert_allclose(centre, position, atol=2e-3)
    peak = np.unravel_index(density.argmax(), SHAPE)
    assert np.all(np.abs(np.array(peak[::-1]) * VOXEL + ORIGIN - position) <= 0.5 * VOXEL + 1e-9)


@given(index=st.tuples(st.integers(0, 25), st.integers(0, 29), st.integers(0, 33)))
def test_a_bead_on_a_voxel_peaks_there_with_the_height_of_eq_3(index):
    position = ORIGIN + VOXEL * np.array(index)
    density = render(position[None], np.ones(1), 1.5, SHAPE, VOXEL, ORIGIN)
    assert np.unravel_index(density.argmax(), SHAPE) == index[::-1]
    assert density.max() == pytest.approx((2.0 * np.pi * 1.5**2) ** -1.5, rel=1e-9)


@given(shift=st.tuples(*[st.floats(-1e3, 1e3)] * 3), seed=st.integers(0, 99))
def test_moving_grid_and_beads_alike_changes_nothing(shift, seed):
    coords = MIDDLE + np.random.default_rng(seed).normal(scale=6.0, size=(7, 3))
    density = render(coords, np.ones(7), 1.5, SHAPE, VOXEL, ORIGIN)
    moved = render(coords + shift, np.ones(7), 1.5, SHAPE, VOXEL, ORIGIN + shift)
    # A voxel at the very edge of a window may fall on either side of it by rounding: e^-8 of a peak.
    np.testing.assert_allclose(moved, density, atol=2.0 * np.exp(-8.0) * (2.0 * np.pi * 1.5**2) ** -1.5)
    assert np.mean(np.abs(moved - density) > 1e-12) < 1e-3


@given(steps=st.tuples(*[st.integers(-3, 3)] * 3))
def test_moving_a_bead_by_whole_voxels_moves_its_density(steps):
    middle = render(MIDDLE[None], np.ones(1), 1.2, SHAPE, VOXEL, ORIGIN)
    moved = render((MIDDLE + VOXEL * steps)[None], np.ones(1), 1.2, SHAPE, VOXEL, ORIGIN)
    np.testing.assert_allclose(moved, np.roll(middle, steps[::-1], axis=(0, 1, 2)), atol=1e-4 * middle.max())


@given(seed=st.integers(0, 999), spread=st.floats(0.0, 25.0), sigma=sigmas)
def test_rendering_and_its_gradient_equal_the_plain_twin(seed, spread, sigma):
    """Also for beads that leave the grid in part or altogether."""
    rng = np.random.default_rng(seed)
    coords = MIDDLE + rng.normal(scale=spread, size=(12, 3))
    weights = rng.uniform(-1.0, 20.0, size=12)
    density = render(coords, weights, sigma, SHAPE, VOXEL, ORIGIN)
    np.testing.assert_allclose(
        density, plain_rendering.render(coords, weights, sigma, SHAPE, VOXEL, ORIGIN), atol=1e-13
    )
    field = rng.normal(size=SHAPE)
    gradient = render_gradient(field, coords, weights, sigma, VOXEL, ORIGIN)
    expected = plain_rendering.render_gradient(field, coords, weights, sigma, VOXEL, ORIGIN)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12)


@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    voxel=st.tuples(*[st.floats(0.4, 9.0)] * 3).map(np.array),
    sigma=st.floats(0.3, 3.0),
    window=st.floats(0.5, 9.0),
    seed=st.integers(0, 999),
)
def test_grids_and_windows_of_any_size(shape, voxel, sigma, window, seed):
    """Boxes narrower than eight voxels, windows of one voxel and of many times eight."""
    rng = np.random.default_rng(seed)
    coords = ORIGIN + rng.uniform(-0.3, 1.3, size=(9, 3)) * voxel * shape[::-1]
    weights = rng.uniform(size=9)
    arguments = (sigma, shape, voxel, ORIGIN, window)
    density = render(coords, weights, *arguments)
    height = (2.0 * np.pi * sigma**2) ** -1.5
    np.testing.assert_allclose(
        density, plain_rendering.render(coords, weights, *arguments), rtol=1e-11, atol=1e-13 * height
    )
    assert density.flags.c_contiguous
    field = rng.normal(size=shape)
    arguments = (sigma, voxel, ORIGIN, window)
    expected = plain_rendering.render_gradient(field, coords, weights, *arguments)
    np.testing.assert_allclose(
        render_gradient(field, coords, weights, *arguments), expected, rtol=1e-9, atol=1e-11 * height / sigma
    )


def test_densities_add_up(rng):
    coords, weights = MIDDLE + rng.normal(scale=5.0, size=(9, 3)), rng.uniform(size=9)
    whole = render(coords, weights, 1.5, SHAPE, VOXEL, ORIGIN)
    parts = [render(c[None], w[None], 1.5, SHAPE, VOXEL, ORIGIN) for c, w in zip(coords, weights, strict=True)]
    np.testing.assert_allclose(whole, sum(parts), atol=1e-14)
    assert not render(np.zeros((0, 3)), np.zeros(0), 1.5, SHAPE, VOXEL, ORIGIN).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_a_position_that_is_no_number_is_refused(bad):
    coords = np.array([[0.0, 0.0, bad]])
    with pytest.raises(InputError, match="not finite"):
        render(coords, np.ones(1), 1.5, SHAPE, VOXEL, ORIGIN)
    with pytest.raises(InputError, match="not finite"):
        render_gradient(np.zeros(SHAPE), coords, np.ones(1), 1.5, VOXEL, ORIGIN)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="n weights"):
        render(np.zeros((3, 3)), np.ones(2), 1.5, SHAPE, VOXEL, ORIGIN)
    with pytest.raises(InputError, match="n weights"):
        render_gradient(np.zeros(SHAPE), np.zeros((3, 2)), np.ones(3), 1.5, VOXEL, ORIGIN)
    with pytest.raises(InputError, match="sigma"):
        render(np.zeros((1, 3)), np.ones(1), 0.0, SHAPE, VOXEL, ORIGIN)


def test_arguments_are_left_alone(rng):
    coords, weights = MIDDLE + rng.normal(size=(4, 3)), np.ones(4)
    kept = coords.copy(), weights.copy()
    render(coords, weights, 1.5, SHAPE, VOXEL, ORIGIN)
    np.testing.assert_array_equal(coords, kept[0])
    np.testing.assert_array_equal(weights, kept[1])
