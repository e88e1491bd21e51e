"""Vectors of eight against NumPy."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from numba import njit

from bayesflex import simd


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    return rng.normal(size=11), rng.normal(size=11)


@njit
def _arithmetic(a, b, index, out):
    x, y = simd.load(a, index), simd.load(b, index)
    z = (x + y) * x - y / x
    z = simd.select((x < y) & (simd.splat(0.0) < y), z, simd.splat(-1.0))
    simd.store(out, index, z)
    return simd.any_of(y > simd.splat(100.0))


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_arithmetic_comparison_and_choice(pair, kind):
    a, b = (values.astype(kind) for values in pair)
    out = np.full(11, 7.0)
    assert not _arithmetic(a, b, 2, out)
    x, y = a.astype(np.float64), b.astype(np.float64)
    expected = np.where((x < y) & (y > 0.0), (x + y) * x - y / x, -1.0)
    np.testing.assert_allclose(out[2:10], expected[2:10], rtol=1e-14)
    assert out[[0, 1, 10]].tolist() == [7.0] * 3


#: Widens all numbers of 16 bits eight by eight, and says whether they are what NumPy makes of them.
_WIDEN = """
import numpy as np
from numba import njit
from bayesflex import simd

@njit
def widen(halves, out):
    for k in range(0, halves.shape[0], 8):
        simd.store(out, k, simd.load(halves, k))

halves, out = np.arange(2**16, dtype=np.uint16), np.empty(2**16)
widen(halves, out)
expected = halves.view(np.float16).astype(np.float64)
finite = np.isfinite(expected)
assert np.array_equal(out[finite], expected[finite])
assert np.array_equal(np.signbit(out[finite]), np.signbit(expected[finite]))
"""


def test_numbers_of_16_bits():
    exec(_WIDEN, {})


@pytest.mark.skipif(platform.machine() != "x86_64", reason="all other processors know them")
def test_numbers_of_16_bits_on_a_processor_that_does_not_know_them():
    plain = os.environ | {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}
    subprocess.run([sys.executable, "-c", _WIDEN], env=plain, check=True)


@njit
def _products(a, b, points, out):
    x, y = simd.load(a, 0), simd.load(b, 0)
    simd.store(out, 0, simd.multiply_add(x, y, simd.broadcast(points, 7)))


def test_a_product_is_added_to_an_element(pair):
    a, b = pair
    points, out = np.arange(12.0).reshape(3, 4), np.empty(8)
    _products(a, b, points, out)
    np.testing.assert_allclose(out, a[:8] * b[:8] + 7.0, rtol=1e-14)


@njit
def _ahead(points, last):
    for index in range(-5, last):
        simd.prefetch(points, index * 1000)
    return points[3, 4]


def test_asking_for_what_lies_ahead_changes_nothing_even_beyond_the_end(rng):
    points = rng.normal(size=(4, 5))
    before = points.copy()
    assert _ahead(points, 500) == before[3, 4]
    np.testing.assert_array_equal(points, before)


@njit
def _sums(a, b):
    x, y = simd.load(a, 0), simd.load(b, 0)
    simd.store(b, 0, simd.shifted_1(x, y))
    return simd.total(x), simd.total_even(x), simd.total_odd(x), simd.lane(x, 5), simd.total(simd.square_root(x * x))


def test_sums_lanes_and_shift(pair):
    a, b = pair
    before = b.copy()
    got = _sums(a, b)
    x = a[:8]
    np.testing.assert_allclose(got, [x.sum(), x[::2].sum(), x[1::2].sum(), x[5], np.abs(x).sum()], rtol=1e-14)
    np.testing.assert_array_equal(b[:8], np.r_[a[7], before[:7]])


@njit
def _shifts(a, b, out):
    x, y = simd.load(a, 0), simd.load(b, 0)
    simd.store(out, 0, simd.shifted_2(x, y))
    simd.store(out, 8, simd.shifted_3(x, y))


def test_shifts_by_more(pair):
    out = np.empty(16)
    _shifts(*pair, out)
    a, b = pair
    np.testing.assert_array_equal(out, np.r_[a[6:8], b[:6], a[5:8], b[:5]])


@njit
def _arcs(y, x, out):
    for k in range(0, len(y), 8):
        simd.store(out, k, simd.arc(simd.load(y, k), simd.load(x, k)))


def test_arc_is_the_angle_of_a_point():
    angle = np.concatenate(
        [np.linspace(-np.pi, np.pi, 4000), [1e-9, -1e-300, np.pi / 2, -np.pi / 2, 0.0, 3.0, 1.0, 2.0]]
    )
    radius = np.geomspace(1e-3, 1e3, len(angle))
    y, x = radius * np.sin(angle), radius * np.cos(angle)
    out = np.empty_like(y)
    _arcs(y, x, out)
    np.testing.assert_allclose(out, np.arctan2(y, x), rtol=1e-15, atol=1e-15)
    _arcs(np.zeros(8), np.array([0.0, 1.0, -1.0] + [2.0] * 5), out[:8])
    np.testing.assert_array_equal(out[:8], [0.0, 0.0, np.pi] + [0.0] * 5)


@njit
def _move(points, gradient, index):
    x, y, z = simd.load_points(points, index)
    simd.add_to_points(gradient, index, x, y + y, z * z)


@pytest.mark.parametrize("index", [0, 3, 11])
def test_rows_of_points(index):
    points = simd.with_margin(np.random.default_rng(2).normal(size=(12, 3)))
    gradient = np.ones_like(points)
    _move(points, gradient, index)
    expected = np.ones_like(points)
    rows = slice(index, index + 8)
    expected[rows] += np.c_[points[rows, 0], 2.0 * points[rows, 1], points[rows, 2] ** 2]
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)


def test_a_margin_repeats_the_last_point():
    points = simd.with_margin(np.arange(6.0).reshape(2, 3))
    assert len(points) == 2 + simd.MARGIN
    assert (points[2:] == [3.0, 4.0, 5.0]).all()
    assert len(simd.with_margin(np.zeros((0, 3)))) == simd.MARGIN


@njit
def _lowest(value):
    return simd.lowest_bit(value)


def test_lowest_bit():
    assert [_lowest(v) for v in (1, 6, 128)] == [0, 1, 7]


def test_padded():
    assert simd.padded(np.ones(3)).tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert len(simd.padded(np.ones(8))) == 8


@njit
def _exponentials(x, out):
    for k in range(0, len(x), 8):
        simd.store(out, k, simd.exponential(simd.load(x, k)))


def test_exponential():
    x = np.concatenate([np.linspace(-699.0, 699.0, 3000), np.linspace(-1.0, 1.0, 3000), np.linspace(-40.0, 0.0, 2000)])
    out = np.empty_like(x)
    _exponentials(x, out)
    np.testing.assert_allclose(out, np.exp(x), rtol=5e-16)
    x, out = np.array([0.0, 1.0, -700.0, -701.0, -1e9, -np.inf, -1e-320, np.nan]), np.empty(8)
    _exponentials(x, out)
    smallest = [np.exp(-700.0)] * 4
    np.testing.assert_allclose(out, [1.0, np.e, *smallest, 1.0, np.nan], rtol=5e-16)


@njit
def _totals(rows, out):
    a = (simd.load(rows, 0), simd.load(rows, 8), simd.load(rows, 16), simd.load(rows, 24))
    b = (simd.load(rows, 32), simd.load(rows, 40), simd.load(rows, 48), simd.load(rows, 56))
    simd.store(out, 0, simd.totals((a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3])))


def test_totals_of_eight_vectors_at_once():
    rows, out = np.random.default_rng(3).normal(size=(8, 8)), np.empty(8)
    _totals(rows, out)
    np.testing.assert_allclose(out, rows.sum(axis=1), rtol=1e-13, atol=1e-15)


def test_aligned_zeros():
    for shape in ((3,), (2, 5), (4, 8, 3, 8)):
        array = simd.aligned_zeros(*shape)
        assert array.shape == shape
        assert array.ctypes.data % 64 == 0
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert not array.any()
