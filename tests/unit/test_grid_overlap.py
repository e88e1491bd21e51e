"""The overlap on the grid against plain sums over all voxels, whatever was evaluated before."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from bayesflex.overlap.grid import GridOverlap
from reference import plain_rendering

SIGMA = 2.0
SHAPE = (30, 33, 64)  # (nz, ny, nx)
VOXEL = np.array([1.0, 2.0, 2.5])  # (x, y, z): windows of 17, 9 and 7 voxels at most, 16, 8 and 6 almost everywhere
ORIGIN = np.array([-30.0, 10.0, 4.0])
END = ORIGIN + VOXEL * (np.array(SHAPE[::-1]) - 1)
MIDDLE = 0.5 * (ORIGIN + END)
WEIGHTS = np.random.default_rng(5).uniform(0.5, 2.0, size=50)
EVERYWHERE = (np.full(3, -np.inf), np.full(3, np.inf))

values = np.random.default_rng(6).normal(size=SHAPE) + 0.3


def compact(seed=1):
    return MIDDLE + np.random.default_rng(seed).normal(scale=5.0, size=(50, 3))


def spread(seed=2):
    """Over all of the box, its corners included."""
    coords = np.random.default_rng(seed).uniform(ORIGIN, END, size=(50, 3))
    coords[:2] = ORIGIN, END
    return coords


def on_voxels(seed=3):
    """Where windows are widest: one voxel more along each axis."""
    return ORIGIN + VOXEL * np.random.default_rng(seed).integers(12, 20, size=(50, 3))


def leaving(seed=4):
    """In part off the grid, so that some beads reach it with a part of their windows or not at all."""
    return MIDDLE + np.random.default_rng(seed).normal(scale=30.0, size=(50, 3))


PLACES = {place.__name__: place for place in (compact, spread, on_voxels, leaving)}


def ball():
    z, y, x = np.indices(SHAPE)
    return np.linalg.norm((np.stack([x, y, z], axis=-1) * VOXEL + ORIGIN - MIDDLE) / [30.0, 30.0, 36.0], axis=-1) < 0.8


REGIONS = {"all": None, "ball": ball()}
FIXED = {"alone": None, "fixed": plain_rendering.render(compact(9), WEIGHTS, 2.0 * SIGMA, SHAPE, VOXEL, ORIGIN)}


def overlap(region=None, centred=True, fixed=None, positions=None):
    return GridOverlap(values, VOXEL, ORIGIN, SIGMA, WEIGHTS, region, centred, EVERYWHERE, fixed, positions=positions)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fixed", FIXED)
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("region", REGIONS)
def test_values_and_gradient_are_those_of_plain_sums(region, centred, fixed, place):
    coords, counts = PLACES[place](), REGIONS[region]
    got = overlap(counts, centred, FIXED[fixed])
    result = got.evaluate(coords)

    counts = np.ones(SHAPE, dtype=bool) if counts is None else counts
    model = plain_rendering.render(coords, WEIGHTS, SIGMA, SHAPE, VOXEL, ORIGIN)
    model += 0.0 if FIXED[fixed] is None else FIXED[fixed]
    target = np.where(counts, values - (values[counts].mean() if centred else 0.0), 0.0)
    rest = np.where(counts, model - (model[counts].mean() if centred else 0.0), 0.0)
    assert got.map_power == pytest.approx(np.sum(target**2), rel=1e-13)
    assert result.cross == pytest.approx(np.sum(target * model), rel=1e-11, abs=1e-12)
    assert result.power == pytest.approx(np.sum(rest**2), rel=1e-11)
    if centred:
        assert got.total == pytest.approx(model[counts].sum(), rel=1e-12)
    for d_cross, d_power in ((1.0, 0.0), (0.0, 1.0), (-0.3, 2.0)):
        expected = plain_rendering.render_gradient(
            d_cross * target + 2.0 * d_power * rest, coords, WEIGHTS, SIGMA, VOXEL, ORIGIN
        )
        np.testing.assert_allclose(
            got.gradient(d_cross, d_power), expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max()
        )


@pytest.mark.parametrize("region", REGIONS)
def test_beads_of_several_widths(region):
    """A bead's window and slope are those of its own width."""
    coords, counts = spread(), REGIONS[region]
    blur = np.where(np.arange(50) % 3 == 0, 2.5, 0.0)
    got = GridOverlap(values, VOXEL, ORIGIN, SIGMA, WEIGHTS, counts, True, EVERYWHERE, blur=blur, positions=coords)
    counts = np.ones(SHAPE, dtype=bool) if counts is None else counts
    classes = [(blur == width, np.hypot(SIGMA, width)) for width in (0.0, 2.5)]
    model = sum(plain_rendering.render(coords[of], WEIGHTS[of], width, SHAPE, VOXEL, ORIGIN) for of, width in classes)
    target, rest = (np.where(counts, field - field[counts].mean(), 0.0) for field in (values, model))
    result = got.evaluate(coords)
    assert result.cross == pytest.approx(np.sum(target * model), rel=1e-11, abs=1e-12)
    assert result.power == pytest.approx(np.sum(rest**2), rel=1e-11)
    gradient = got.gradient(-0.3, 2.0)
    for of, width in classes:
        field = -0.3 * target + 4.0 * rest
        expected = plain_rendering.render_gradient(field, coords[of], WEIGHTS[of], width, VOXEL, ORIGIN)
        np.testing.assert_allclose(gradient[of], expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


def test_windows_are_of_both_kinds_where_a_part_of_the_grid_counts():
    """Whole in the region and not: the two are summed in two ways."""
    found = overlap(REGIONS["ball"])
    found.evaluate(spread())
    masked = found._arrays.masked.copy()
    assert masked.any()
    found.evaluate(compact())
    assert not found._arrays.masked.all()
    # where no mask is needed all voxels of the window count
    for index, bead in enumerate(compact()[found._arrays.order]):
        low, high = (bead - 4.0 * SIGMA - ORIGIN) / VOXEL, (bead + 4.0 * SIGMA - ORIGIN) / VOXEL
        a, b = np.maximum(np.ceil(low), 0).astype(int), np.floor(high).astype(int) + 1
        inside = REGIONS["ball"][a[2] : b[2], a[1] : b[1], a[0] : b[0]].all()
        assert inside or found._arrays.masked[index]


@pytest.mark.parametrize("fixed", FIXED)
@pytest.mark.parametrize("region", REGIONS)
def test_what_was_evaluated_before_leaves_no_trace(region, fixed):
    one = overlap(REGIONS[region], True, FIXED[fixed])
    for place in (*PLACES.values(), *PLACES.values()):
        fresh = one.clone()
        assert one.evaluate(place()) == fresh.evaluate(place())
        np.testing.assert_array_equal(one.gradient(0.7, -2.0), fresh.gradient(0.7, -2.0))
        assert not one._arrays.density.any()
        assert one.evaluate(place() * [1.0, 1.0, np.nan]) is None


def test_the_order_of_beads_changes_rounding_only():
    coords = spread()
    plain, ordered = overlap(), overlap(positions=coords)
    assert ordered.evaluate(coords) == pytest.approx(plain.evaluate(coords), rel=1e-12)
    difference = ordered.gradient(1.0, 1.0) - plain.gradient(1.0, 1.0)
    assert np.abs(difference).max() < 1e-13 * np.abs(plain.gradient(1.0, 1.0)).max()
    assert not np.array_equal(ordered._arrays.order, np.arange(50))


def test_a_box_narrower_than_a_window():
    for shape in ((1, 1, 1), (2, 9, 3), (5, 4, 17)):
        small = np.random.default_rng(1).normal(size=shape)
        coords = ORIGIN + np.random.default_rng(2).uniform(-3.0, 6.0, size=(50, 3))
        got = GridOverlap(small, VOXEL, ORIGIN, SIGMA, WEIGHTS, None, False, EVERYWHERE).evaluate(coords)
        model = plain_rendering.render(coords, WEIGHTS, SIGMA, shape, VOXEL, ORIGIN)
        assert got == pytest.approx((np.sum(small * model), np.sum(model**2)), rel=1e-12)


@pytest.mark.parametrize("region", REGIONS)
def test_a_step_allocates_nothing_but_its_gradient(region):
    found = overlap(REGIONS[region])
    found.evaluate(compact())
    found.gradient(1.0, 1.0)
    tracemalloc.start()
    try:
        found.evaluate(compact())
        found.gradient(1.0, 1.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The positions and the gradient are 1.2 kB each, the grid 500 kB.
    assert peak < 10_000
