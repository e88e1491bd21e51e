"""The overlap without a grid against the one on it, and against plain sums and filters."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage

from bayesflex.map_target import MapTarget
from bayesflex.overlap import field
from bayesflex.overlap import pairs as pairs_module
from bayesflex.overlap.choice import cheaper_evaluation
from bayesflex.overlap.field import SPACING, overlap_field
from bayesflex.overlap.pair_function import TOLERANCE, PairFunction, pair_function
from bayesflex.overlap.pairs import MapFields, PairOverlap
from bayesflex.overlap.spectrum import Spectrum, counted_share
from bayesflex.rendering import render
from bayesflex.units import sigma_of_resolution

SIGMA = 2.0
SHAPE = (34, 36, 40)  # (nz, ny, nx)
VOXEL = np.array([1.4, 1.5, 1.6])  # (x, y, z)
ORIGIN = np.array([-30.0, -25.0, -20.0])
MIDDLE = ORIGIN + VOXEL * (np.array(SHAPE[::-1]) - 1) / 2.0
WEIGHTS = np.random.default_rng(5).uniform(0.5, 2.0, size=40)


def beads(seed: int = 1) -> np.ndarray:
    return MIDDLE + np.random.default_rng(seed).normal(scale=5.0, size=(40, 3))


def density(coords, sigma=SIGMA, window=6.0) -> np.ndarray:
    return render(coords, WEIGHTS, sigma, SHAPE, VOXEL, ORIGIN, window)


def region() -> np.ndarray:
    """A ball that holds the beads' density but for its far tails, and cuts corners of the box."""
    z, y, x = np.indices(SHAPE)
    position = np.stack([x, y, z], axis=-1) * VOXEL + ORIGIN
    return np.linalg.norm(position - MIDDLE, axis=-1) < 24.0


def target(values, background=None, where=None) -> MapTarget:
    return MapTarget(values, VOXEL, ORIGIN, np.ones(SHAPE, dtype=bool) if where is None else where, SIGMA, background)


def noisy_map(rng) -> np.ndarray:
    true = density(beads(2))
    return 3.0 * true + 0.2 + rng.normal(scale=0.3 * true.std(), size=SHAPE)


def filtered(values, weight_of_frequency) -> np.ndarray:
    """A map multiplied by a weight in Fourier space, in a box padded until nothing wraps around."""
    padded = tuple(2 * n for n in values.shape)
    k = np.meshgrid(*[np.fft.fftfreq(n, v) for n, v in zip(padded, VOXEL[::-1], strict=True)], indexing="ij")
    transform = scipy.fft.fftn(values, s=padded)
    return np.real(scipy.fft.ifftn(transform * weight_of_frequency(np.sqrt(sum(f**2 for f in k)))))


@pytest.mark.parametrize("with_background", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("centred", [False, True])
def test_pairs_and_grid_agree_for_white_noise(centred, masked, with_background, rng):
    values = noisy_map(rng)
    background = 0.5 * density(beads(3)) if with_background else None
    where = region() if masked and centred else None  # uncentred, the whole grid counts
    prepared = target(values, background, where)
    pairs, grid = (prepared.overlap(WEIGHTS, Spectrum(), centred, kind) for kind in ("pairs", "grid"))
    assert pairs.map_power == pytest.approx(grid.map_power, rel=1e-10)
    for seed in (1, 2):
        ours, expected = pairs.evaluate(beads(seed)), grid.evaluate(beads(seed))
        # 1e-3: the grid's window cuts 2e-4 of a bead's mass, the spline's error is below
        assert ours.cross == pytest.approx(expected.cross, rel=1e-3)
        assert ours.power == pytest.approx(expected.power, rel=1e-3)
        for factors in ((1.0, 0.0), (0.0, 1.0)):
            ours_g, expected_g = pairs.gradient(*factors), grid.gradient(*factors)
            assert np.linalg.norm(ours_g - expected_g) < 1e-2 * np.linalg.norm(
                expected_g
            )  # noise of every frequency is the worst case


def test_grid_equals_plain_sums(rng):
    values, where, background = noisy_map(rng), region(), density(beads(3))
    overlap = target(values, background, where).overlap(WEIGHTS, Spectrum(), True, "grid")
    model = (density(beads(), window=4.0) + background)[where]
    got = overlap.evaluate(beads())
    centred = values[where] - values[where].mean()
    assert got.cross == pytest.approx(np.sum(centred * model), rel=1e-10)
    assert got.power == pytest.approx(np.sum((model - model.mean()) ** 2), rel=1e-10)
    assert overlap.map_power == pytest.approx(np.sum(centred**2), rel=1e-12)
    # what was rendered before leaves no trace
    assert overlap.evaluate(beads(2)) != got
    assert overlap.evaluate(beads()) == got


def test_interpolation_error_at_the_field_s_spacing():
    """Measured for sigma 2 Å and voxels of 0.6 sigma: 1e-4 of the overlap; 16-fold less for half the spacing."""
    assert SPACING == 0.6
    values = density(beads(2))
    prepared = target(values)
    pairs = prepared.overlap(WEIGHTS, Spectrum(), False, "pairs")
    errors, gradient_errors = [], []
    for seed in range(5):
        coords = beads(seed)
        exact = np.sum(values * density(coords))
        errors.append(pairs.evaluate(coords).cross / exact - 1.0)
        grid = prepared.overlap(WEIGHTS, Spectrum(), False, "grid")
        grid.evaluate(coords)
        difference = pairs.gradient(1.0, 0.0) - grid.gradient(1.0, 0.0)
        gradient_errors.append(np.linalg.norm(difference) / np.linalg.norm(grid.gradient(1.0, 0.0)))
    assert np.abs(errors).max() < 3e-4
    assert max(gradient_errors) < 5e-3


@pytest.mark.parametrize(
    "spectrum", [Spectrum(), Spectrum(5.0), Spectrum(8.9), Spectrum(8.9, 3.0), Spectrum(15.0)], ids=str
)
def test_a_field_s_spacing_follows_from_its_spectrum(spectrum, rng, monkeypatch):
    """Interpolated fields of noise and of single beads against those of a much finer grid."""
    shape, voxel, origin = (40, 40, 40), np.full(3, 1.5), np.zeros(3)
    noise, places = rng.normal(size=shape), rng.uniform(12.0, 45.0, (3000, 3))
    alone = rng.uniform(25.0, 33.0, (20, 1, 3))

    def at(of, where):
        of_map, _ = overlap_field(of, voxel, origin, SIGMA, spectrum)
        cell = ((where - of_map.origin) / of_map.spacing)[:, ::-1].T
        coefficients = of_map.base + of_map.unit * of_map.coefficients.astype(np.float64)
        return scipy.ndimage.map_coordinates(coefficients, cell, order=3, prefilter=False), of_map.spacing

    def values():
        own = [at(render(bead, np.ones(1), SIGMA, shape, voxel, origin, 6.0), bead)[0][0] for bead in alone]
        return *at(noise, places), np.array(own)

    of_noise, spacing, of_own = values()
    monkeypatch.setattr(field, "SPACING", 0.25)
    monkeypatch.setattr(field, "TOLERANCE", 1e-9)
    exact_of_noise, finer, exact_of_own = values()
    assert np.all(finer < 0.5 * spacing)
    assert np.abs(of_own / exact_of_own - 1.0).max() < 1.15e-3
    assert np.sqrt(np.mean((of_noise - exact_of_noise) ** 2) / np.mean(exact_of_noise**2)) < 2e-3


@pytest.mark.parametrize("resolution", [None, 6.0, 8.9, 15.0])
@pytest.mark.parametrize("blur", [0.0, 3.0])
def test_correlation_is_one_at_the_answer_and_never_more(resolution, blur):
    values = density(beads()) + 0.1
    overlap = target(values).overlap(WEIGHTS, Spectrum(resolution, blur), True, "pairs")

    def correlation(coords):
        got = overlap.evaluate(coords)
        return got.cross / math.sqrt(got.power * overlap.map_power)

    assert correlation(beads()) == pytest.approx(1.0, abs=3e-4)
    rng = np.random.default_rng(7)
    for scale in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(10):
            assert correlation(beads() + rng.normal(scale=scale, size=(40, 3))) < 1.0 + 3e-4


@pytest.mark.parametrize(("resolution", "blur"), [(8.9, 0.0), (15.0, 0.0), (None, 2.5), (9.0, 4.0)])
def test_tapered_spectrum_equals_a_filter_in_fourier_space(resolution, blur, rng):
    """(a, P b) with P = exp(-(k d)^4) exp(-4 π² b² k²), by a plain filter of map and model in a large box."""
    values = noisy_map(rng)

    def root(k):
        return np.exp(-0.5 * ((k * (resolution or 0.0)) ** 4 + 4.0 * np.pi**2 * blur**2 * k**2))

    overlap = target(values).overlap(WEIGHTS, Spectrum(resolution, blur), False, "pairs")
    got = overlap.evaluate(beads())
    map_filtered, model_filtered = filtered(values, root), filtered(density(beads()), root)
    assert overlap.map_power == pytest.approx(np.sum(map_filtered**2), rel=5e-3)
    assert got.cross == pytest.approx(np.sum(map_filtered * model_filtered), rel=5e-3)
    assert got.power == pytest.approx(np.sum(model_filtered**2), rel=5e-4)


def test_pair_function_of_white_noise_is_a_gaussian():
    function = pair_function(SIGMA, Spectrum(), 1.5)
    r = np.linspace(0.0, 2.0 * function.cutoff, 500)
    expected = (4.0 * math.pi * SIGMA**2) ** -1.5 * np.exp(-(r**2) / (4.0 * SIGMA**2)) / 1.5
    np.testing.assert_allclose(function(r), expected, atol=1.2 * TOLERANCE * expected[0])
    assert function.at_zero == pytest.approx(expected[0], rel=1e-12)


def test_pair_function_of_two_widths_is_a_gaussian_of_their_mean_square():
    function = pair_function(1.5, Spectrum(), 1.0, 2.5)
    assert function.cutoff == pytest.approx(pair_function(math.sqrt(0.5 * (1.5**2 + 2.5**2)), Spectrum(), 1.0).cutoff)
    r = np.linspace(0.0, function.cutoff, 50)
    expected = (2.0 * math.pi * (1.5**2 + 2.5**2)) ** -1.5 * np.exp(-0.5 * r**2 / (1.5**2 + 2.5**2))
    np.testing.assert_allclose(function(r), expected, atol=1.2 * TOLERANCE * expected[0])


@pytest.mark.parametrize("spectrum", [Spectrum(), Spectrum(8.9), Spectrum(3.2), Spectrum(9.0, 12.0)])
def test_pair_function_ends_with_value_and_slope_zero(spectrum):
    function = pair_function(SIGMA, spectrum, 1.0)
    slope = np.polynomial.polynomial.polyder(function.coefficients)
    assert abs(np.polynomial.polynomial.polyval(1.0, function.coefficients)) < 1e-12 * function.at_zero
    assert abs(np.polynomial.polynomial.polyval(1.0, slope)) < 1e-11 * function.at_zero


def test_a_fixed_background_counts_as_beads_that_stand_still(rng):
    """Half of the beads as background equals all of them moving, up to the spline's error."""
    values = noisy_map(rng)
    coords, still = beads(), np.arange(40) >= 20
    background = render(coords[still], WEIGHTS[still], SIGMA, SHAPE, VOXEL, ORIGIN, 6.0)
    for spectrum in (Spectrum(), Spectrum(9.0)):
        whole = target(values).overlap(WEIGHTS, spectrum, True, "pairs")
        part = target(values, background).overlap(WEIGHTS[~still], spectrum, True, "pairs")
        expected, got = whole.evaluate(coords), part.evaluate(coords[~still])
        assert got.cross == pytest.approx(expected.cross, rel=1e-3)
        assert got.power == pytest.approx(expected.power, rel=1e-3)
        difference = part.gradient(1.0, -0.5) - whole.gradient(1.0, -0.5)[~still]
        assert np.linalg.norm(difference) < 5e-3 * np.linalg.norm(whole.gradient(1.0, -0.5))


@pytest.mark.parametrize("kind", ["pairs", "grid"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, "outside"])
def test_outside_the_domain_or_not_finite_there_is_no_overlap(kind, bad, rng):
    overlap = target(noisy_map(rng)).overlap(WEIGHTS, Spectrum(), True, kind)
    low, high = overlap.domain
    coords = beads()
    for axis in range(3):
        wrong = coords.copy()
        wrong[7, axis] = high[axis] + 1e-6 if bad == "outside" else bad
        assert overlap.evaluate(wrong) is None
    # at the very corners there is one
    coords[0], coords[1] = low, high
    assert overlap.evaluate(coords) is not None


@pytest.mark.parametrize("kind", ["pairs", "grid"])
def test_clones_work_in_threads_without_disturbing_each_other(kind, rng):
    first = target(noisy_map(rng)).overlap(WEIGHTS, Spectrum(), True, kind)
    places = [beads(seed) for seed in range(4)]
    expected = []
    for coords in places:
        values = first.evaluate(coords)
        expected.append((values, first.gradient(1.0, 2.0)))

    def run(index):
        own = first.clone()
        for _ in range(20):
            values = own.evaluate(places[index])
        return values, own.gradient(1.0, 2.0)

    with ThreadPoolExecutor(4) as pool:
        for (values, gradient), (got, got_gradient) in zip(expected, pool.map(run, range(4)), strict=True):
            assert got == values
            np.testing.assert_array_equal(got_gradient, gradient)


def test_the_overlap_does_not_depend_on_when_the_neighbours_were_listed(rng):
    one, two = (target(noisy_map(rng)).overlap(WEIGHTS, Spectrum(), True, "pairs") for _ in range(2))
    two = one.clone()
    path = [beads() + 0.2 * k for k in range(12)]
    for coords in path:
        last = one.evaluate(coords)
    assert two.evaluate(path[-1]) == last


def test_beads_of_two_widths_are_as_on_the_grid(rng):
    values, coords = noisy_map(rng), beads()
    widths, kind = (SIGMA, 1.4 * SIGMA), (np.arange(40) % 3 == 0).astype(np.int64)
    fields = [overlap_field(values, VOXEL, ORIGIN, width, Spectrum(), widths) for width in widths]
    voxel = float(np.prod(VOXEL))
    pairs = [[pair_function(a, Spectrum(), voxel, b) for b in widths] for a in widths]
    domain = target(values).domain
    overlap = PairOverlap(
        [MapFields(field) for field, _ in fields], pairs, WEIGHTS, fields[0][1], domain, kind=kind, positions=coords
    )

    def exact(at):
        density = sum(
            render(at[kind == k], WEIGHTS[kind == k], width, SHAPE, VOXEL, ORIGIN, 6.0)
            for k, width in enumerate(widths)
        )
        return np.vdot(values, density), np.vdot(density, density)

    got, expected = overlap.evaluate(coords), exact(coords)
    assert got.cross == pytest.approx(expected[0], rel=2e-3)
    assert got.power == pytest.approx(expected[1], rel=5e-4)
    for number in (0, 1, 17):
        step = np.zeros_like(coords)
        step[number] = [0.02, -0.01, 0.015]
        for index, of in enumerate([(1.0, 0.0), (0.0, 1.0)]):
            overlap.evaluate(coords)
            slope = np.vdot(overlap.gradient(*of), step)
            change = 0.5 * (overlap.evaluate(coords + step)[index] - overlap.evaluate(coords - step)[index])
            assert slope == pytest.approx(change, rel=1e-3, abs=1e-6 * abs(expected[index]))


@pytest.mark.parametrize(("degree", "large"), [(10, 4096), (17, 4096), (10, 0)])
def test_where_a_list_was_built_changes_no_bit(degree, large, rng, monkeypatch):
    """Pairs beyond the end of K add nothing at all, listed or not; nor where beads are summed over in parts."""
    monkeypatch.setattr(pairs_module, "_LARGE", large)
    widths, kind = (0.6 * SIGMA, SIGMA), (np.arange(400) % 3 == 0).astype(np.int64)
    fields = [overlap_field(noisy_map(rng), VOXEL, ORIGIN, width, Spectrum(), widths) for width in widths]
    pairs = [[pair_function(a, Spectrum(), 1.0, b) for b in widths] for a in widths]
    longer = [
        [PairFunction(p.at_zero, p.cutoff, np.pad(p.coefficients, (0, degree + 1 - len(p.coefficients)))) for p in row]
        for row in pairs
    ]
    coords, listed = MIDDLE + rng.uniform(-20.0, 20.0, (400, 3)), set()
    walked = PairOverlap(
        [MapFields(field) for field, _ in fields],
        longer,
        rng.uniform(0.5, 2.0, 400),
        fields[0][1],
        target(noisy_map(rng)).domain,
        kind=kind,
        positions=coords,
    )
    for _ in range(60):
        coords = coords + rng.normal(scale=0.1, size=coords.shape)
        fresh = walked.clone()
        assert walked.evaluate(coords) == fresh.evaluate(coords)
        np.testing.assert_array_equal(walked.gradient(0.3, 0.7), fresh.gradient(0.3, 0.7))
        listed.add(walked.tiles.n_pairs - fresh.tiles.n_pairs)
    assert len(listed) > 3


def test_parts_are_the_whole(rng, monkeypatch):
    coords = MIDDLE + rng.uniform(-20.0, 20.0, (400, 3))
    field, power = overlap_field(noisy_map(rng), VOXEL, ORIGIN, SIGMA, Spectrum())
    settings = ([MapFields(field)], [[pair_function(SIGMA, Spectrum(), 1.0)]], rng.uniform(0.5, 2.0, 400), power)
    whole = PairOverlap(*settings, target(noisy_map(rng)).domain, positions=coords)
    monkeypatch.setattr(pairs_module, "_LARGE", 0)
    parts = PairOverlap(*settings, target(noisy_map(rng)).domain, positions=coords)
    assert (whole.n_parts, parts.n_parts) == (1, 8)
    for _ in range(3):
        coords = coords + rng.normal(scale=0.5, size=coords.shape)
        ours, expected = parts.evaluate(coords), whole.evaluate(coords)
        assert (ours.cross, ours.power) == pytest.approx((expected.cross, expected.power), rel=1e-12)
        gradient = whole.gradient(0.3, 0.7)
        np.testing.assert_allclose(parts.gradient(0.3, 0.7), gradient, atol=1e-12 * np.abs(gradient).max())


@pytest.mark.parametrize("degree", [10, 11, 17])
def test_a_polynomial_of_any_degree_is_summed(degree, rng):
    """Also one longer than those that the compiler knows: zeros added to a polynomial change nothing."""
    pair = pair_function(SIGMA, Spectrum(), 1.0)
    longer = PairFunction(
        pair.at_zero, pair.cutoff, np.pad(pair.coefficients, (0, degree + 1 - len(pair.coefficients)))
    )
    field, power = overlap_field(noisy_map(rng), VOXEL, ORIGIN, SIGMA, Spectrum())
    domain = (ORIGIN, ORIGIN + VOXEL * 33)
    values = [
        PairOverlap([MapFields(field)], [[one]], WEIGHTS, power, domain).evaluate(beads()) for one in (pair, longer)
    ]
    assert values[0].power == pytest.approx(values[1].power, rel=1e-13)


@pytest.mark.parametrize("baseline", [0.0, 100.0])
@pytest.mark.parametrize("spectrum", [Spectrum(), Spectrum(8.9)], ids=str)
def test_rounding_of_a_field_is_below_its_interpolation(spectrum, baseline, rng, monkeypatch):
    """Coefficients of 16 bits against those of 32: ten times nearer than what interpolation may change."""
    values = noisy_map(rng)
    values += baseline * values.std()
    prepared = target(values)
    rounded = prepared.overlap(WEIGHTS, spectrum, False, "pairs")
    monkeypatch.setattr(field, "_KEPT_IN", np.float32)
    exact = prepared.overlap(WEIGHTS, spectrum, False, "pairs")
    for seed in range(3):
        of_rounded, of_exact = rounded.evaluate(beads(seed)), exact.evaluate(beads(seed))
        assert of_rounded.cross != of_exact.cross
        assert of_rounded.cross == pytest.approx(of_exact.cross, rel=0.1 * field.TOLERANCE)
        difference = rounded.gradient(1.0, 0.0) - exact.gradient(1.0, 0.0)
        assert np.linalg.norm(difference) < 1e-3 * np.linalg.norm(exact.gradient(1.0, 0.0))


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_a_field_knows_no_scale(factor, rng):
    values = noisy_map(rng)
    of_map, of_scaled = (
        one.base + one.unit * one.coefficients.astype(np.float64)
        for one, _ in (overlap_field(scale * values, VOXEL, ORIGIN, SIGMA, Spectrum()) for scale in (1.0, factor))
    )
    np.testing.assert_allclose(of_scaled / factor, of_map, rtol=0.0, atol=1e-3 * np.abs(of_map).max())


def test_field_of_a_single_voxel_is_the_bead_itself():
    values = np.zeros(SHAPE)
    values[15, 16, 17] = 2.0
    field, power = overlap_field(values, VOXEL, ORIGIN, SIGMA, Spectrum())
    assert power == pytest.approx(4.0)
    at = ORIGIN + VOXEL * np.array([17, 16, 15]) + np.array([1.0, -0.5, 2.0])
    pairs = [[pair_function(SIGMA, Spectrum(), 1.0)]]
    overlap = PairOverlap([MapFields(field)], pairs, np.ones(1), power, (ORIGIN, ORIGIN + VOXEL * 33))
    peak = (2.0 * math.pi * SIGMA**2) ** -1.5
    expected = 2.0 * peak * math.exp(-(1.0 + 0.25 + 4.0) / (2.0 * SIGMA**2))
    # a single voxel is as sharp as a map can be: what the grid cannot carry is lost
    assert overlap.evaluate(at[None]).cross == pytest.approx(expected, abs=5e-3 * 2.0 * peak)


def test_the_share_that_counts_makes_the_claimed_precision_that_of_the_gradient():
    """White noise in a band, drawn: the gradient's variance at the truth is the curvature claimed."""
    resolution, sigma, voxel, size, noise = 6.0, 1.5, 2.0, 36, 0.3
    frequency = np.sqrt(sum(np.square(k) for k in np.meshgrid(*[np.fft.fftfreq(size, voxel)] * 3, indexing="ij")))
    band = frequency <= 1.0 / resolution
    low_pass = Spectrum(resolution)(frequency)
    # along x: the density of a bead that is moved, in the band
    # along x: the density of a bead that is moved
    moved = 2.0 * np.pi * np.fft.fftfreq(size, voxel)[:, None, None] * np.exp(-2.0 * (np.pi * sigma * frequency) ** 2)
    rng = np.random.default_rng(3)
    white = (np.fft.fftn(noise * rng.standard_normal((size,) * 3)) * band for _ in range(60))
    residual = [np.sum(low_pass * np.abs(values) ** 2) for values in white]
    # log L = -(n/2) log(residual): curvature and gradient by a displacement, n the numbers that are counted
    n = counted_share(resolution, sigma) * np.count_nonzero(band)
    per_power = n / np.mean(residual)
    curvature = per_power * np.sum(low_pass * moved**2)
    variance = per_power**2 * np.sum((low_pass * moved)[band] ** 2) * noise**2 * size**3
    assert curvature == pytest.approx(variance, rel=0.03)


def test_about_as_many_observations_count_as_the_band_holds():
    """What the low-pass takes from the noise, and what it gives up of the signal, nearly cancel."""
    assert counted_share(8.0, sigma_of_resolution(8.0)) == pytest.approx(1.137, abs=1e-3)
    assert counted_share(6.0, 1.54) == pytest.approx(1.033, abs=1e-3)


def test_the_cheaper_evaluation_is_counted():
    """Many beads in a coarse map are few voxels; a fine map of few beads is many."""
    rng = np.random.default_rng(1)
    crowd, few = rng.uniform(-30.0, 30.0, (4000, 3)), rng.uniform(-30.0, 30.0, (60, 3))
    domain = (np.full(3, -50.0), np.full(3, 50.0))
    pair = pair_function(4.0, Spectrum(), 1.0)
    assert cheaper_evaluation(crowd, pair, 4.0, np.full(3, 8.0), domain) == "grid"
    assert cheaper_evaluation(few, pair, 4.0, np.full(3, 1.0), domain) == "pairs"
