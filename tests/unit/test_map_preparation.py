"""Map preparation against plain formulas, and the measurement of whether a model lies in its map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bayesflex import map_preparation as prep
from bayesflex.density_map import DensityMap
from bayesflex.errors import InputError
from bayesflex.placement import check_placement

VOXEL = np.array([1.0, 1.5, 2.0])
ORIGIN = np.array([-7.0, 3.0, 11.0])


@pytest.fixture
def noise(rng: np.random.Generator) -> DensityMap:
    return DensityMap(rng.normal(5.0, 2.0, (12, 16, 25)), VOXEL, ORIGIN, name="noise.mrc")


def grid_positions(density: DensityMap) -> np.ndarray:
    """Positions of all voxels, shape (nz, ny, nx, 3), Å."""
    k, j, i = np.indices(density.values.shape)
    return np.stack([i, j, k], axis=-1) * density.voxel_size + density.origin


def test_crop_copies_values_and_pads_with_the_median_of_the_faces(noise: DensityMap) -> None:
    # The model reaches out of the box on the low x side only; a margin of 2 Å is 2, 4/3 and 1 voxels.
    coords = noise.to_position(np.array([[-3.0, 5.0, 5.0], [10.2, 8.0, 6.0]]))
    cropped = prep.crop_or_pad(noise, coords, 2.0)
    assert cropped.shape_xyz == (13 - (-5) + 1, 10 - 3 + 1, 7 - 4 + 1)
    np.testing.assert_allclose(cropped.origin, noise.to_position(np.array([-5.0, 3.0, 4.0])))
    np.testing.assert_array_equal(cropped.values[:, :, 5:], noise.values[4:8, 3:11, :14])
    faces = noise.values.copy()
    faces[1:-1, 1:-1, 1:-1] = np.nan
    np.testing.assert_array_equal(cropped.values[:, :, :5], np.nanmedian(faces))


def test_crop_away_from_the_map_is_all_background(noise: DensityMap) -> None:
    cropped = prep.crop_or_pad(noise, np.array([[500.0, 0.0, 0.0]]), 3.0)
    assert np.all(cropped.values == prep.background(noise))


@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.0])
def test_blur_convolves_with_a_gaussian(sigma: float) -> None:
    """A delta blurred is the Gaussian of eq. 3, in Å for voxels of any shape, where sigma resolves it."""
    voxel = np.array([0.4, 0.5, 0.6]) * max(sigma, 1.0)
    values = np.zeros((40, 40, 40))
    values[19, 20, 22] = 1.0
    density = DensityMap(values, voxel, np.zeros(3))
    blurred = prep.gaussian_blur(density, sigma)
    offsets = grid_positions(density) - np.array([22, 20, 19]) * voxel
    if sigma >= 1.0:
        expected = np.exp(-0.5 * np.sum(offsets**2, -1) / sigma**2) * np.prod(voxel) / (2 * np.pi * sigma**2) ** 1.5
        # A voxel of 0.6 sigma carries frequencies up to exp(-(π/0.6)²/2) = 1e-6 of the Gaussian's.
        np.testing.assert_allclose(blurred.values, expected, atol=3e-6)
    variance = np.sum(blurred.values[..., None] * offsets**2, axis=(0, 1, 2)) / blurred.values.sum()
    np.testing.assert_allclose(variance, sigma**2, rtol=1e-2)


def test_low_pass_gain_is_that_of_its_formula() -> None:
    """A cosine that the mirrored box holds exactly comes back times the gain at its frequency."""
    density = DensityMap(np.zeros((6, 7, 64)), np.array([1.5, 2.0, 2.0]), np.zeros(3))
    x = np.arange(64) + 0.5
    for m in range(64):
        frequency = m / (2 * 64 * 1.5)
        wave = density.with_values(np.broadcast_to(np.cos(np.pi * m * x / 64), density.values.shape))
        reduced = frequency * 8.0
        gain = 1.0 if reduced <= 0.9 else 0.0 if reduced >= 1.1 else 0.5 * (1 + np.cos(np.pi * (reduced - 0.9) / 0.2))
        np.testing.assert_allclose(prep.low_pass(wave, 8.0).values, gain * wave.values, atol=1e-12)


def test_mask_is_a_function_of_the_distance_to_the_nearest_position(noise: DensityMap) -> None:
    coords = np.array([[-2.0, 8.0, 20.0], [3.3, 14.1, 28.7], [1.0e9, 0.0, 0.0], [-9.5, 2.0, 11.0]])
    distance = np.linalg.norm(grid_positions(noise)[..., None, :] - coords, axis=-1).min(axis=-1)
    np.testing.assert_array_equal(prep.mask_around(noise, coords, 4.0), distance <= 4.0)
    edge = np.clip((distance - 4.0) / 3.0, 0.0, 1.0)
    np.testing.assert_allclose(prep.mask_around(noise, coords, 4.0, 3.0), 0.5 + 0.5 * np.cos(np.pi * edge), atol=1e-12)


def test_normalise(noise: DensityMap) -> None:
    values = prep.normalise(noise).values
    np.testing.assert_allclose([values.mean(), values.std()], [0.0, 1.0], atol=1e-12)
    mask = np.zeros(noise.values.shape)
    mask[3:6, 4:9, 5:10] = 1.0
    region = prep.normalise(noise, mask).values[mask > 0]
    np.testing.assert_allclose([region.mean(), region.std()], [0.0, 1.0], atol=1e-12)


def test_trilinear_reproduces_a_linear_function(noise: DensityMap, rng: np.random.Generator) -> None:
    slope = np.array([0.3, -1.2, 2.0])
    linear = noise.with_values(grid_positions(noise) @ slope)
    end = noise.origin + noise.box_size - noise.voxel_size
    inside = rng.uniform(noise.origin, end, (50, 3))
    np.testing.assert_allclose(prep.trilinear(linear, inside), inside @ slope)
    # Half a voxel beyond the outer centres is inside still, a little more is not; non-finite is nowhere.
    beyond = np.array([end + 0.499 * VOXEL, end + 0.501 * VOXEL, [np.nan, 5.0, 15.0], [np.inf, 5.0, 15.0]])
    np.testing.assert_allclose(prep.trilinear(linear, beyond), [end @ slope, np.nan, np.nan, np.nan])
    assert prep.trilinear(linear, np.empty((0, 3))).shape == (0,)


def test_resample_says_what_it_can(noise: DensityMap) -> None:
    result = prep.resample(noise, 1.1)
    assert result.shape_xyz == (23, 22, 22)  # boxes of 25, 24 and 24 Å
    np.testing.assert_allclose(result.box_size, noise.box_size)
    assert prep.resample_to_box(noise, 128).values.shape == (128, 128, 128)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_are_kept_and_arguments_unchanged(noise: DensityMap, dtype: type) -> None:
    density = noise.with_values(noise.values.astype(dtype))
    before = density.values.copy()
    coords = noise.to_position(np.array([[5.0, 5.0, 5.0]]))
    results = [
        prep.crop_or_pad(density, coords, 30.0),
        prep.gaussian_blur(density, 2.0),
        prep.low_pass(density, 5.0),
        prep.resample(density, 2.0),
        prep.normalise(density),
    ]
    assert {result.values.dtype for result in results} == {np.dtype(dtype)}
    np.testing.assert_array_equal(density.values, before)


def test_bad_arguments_are_refused(noise: DensityMap) -> None:
    here = noise.to_position(np.array([[5.0, 5.0, 5.0]]))
    flat = noise.with_values(np.ones_like(noise.values))
    nan = float("nan")
    for refused in (
        lambda: prep.crop_or_pad(noise, here, -1.0),
        lambda: prep.crop_or_pad(noise, here * nan, 1.0),
        lambda: prep.crop_or_pad(noise, here[:0], 1.0),
        lambda: prep.gaussian_blur(noise, -1.0),
        lambda: prep.gaussian_blur(noise, nan),
        lambda: prep.low_pass(noise, 0.0),
        lambda: prep.resample(noise, -2.0),
        lambda: prep.resample(noise, 1000.0),
        lambda: prep.resample_to_box(noise, 0),
        lambda: prep.mask_around(noise, here, 0.0),
        lambda: prep.mask_around(noise, here * nan, 3.0),
        lambda: prep.normalise(flat),
        lambda: prep.normalise(noise, np.zeros_like(noise.values)),
        lambda: prep.normalise(noise, np.ones((2, 2, 2))),
    ):
        with pytest.raises(InputError, match=r"noise\.mrc"):
            refused()


def blob_map(centres: np.ndarray) -> DensityMap:
    """Gaussians of 3 Å at positions, in a box of 60 Å from zero."""
    density = DensityMap(np.zeros((30, 30, 30)), np.full(3, 2.0), np.zeros(3), name="blob.mrc")
    squares = np.sum((grid_positions(density)[..., None, :] - centres) ** 2, axis=-1)
    return density.with_values(np.exp(-squares / 18.0).sum(axis=-1))


def test_placement_recommends_the_better_reading_of_the_header(rng: np.random.Generator) -> None:
    ca = rng.normal(24.0, 5.0, (40, 3))
    right = blob_map(ca)
    shift = np.array([14.0, 14.0, 14.0])
    good = check_placement(replace(right, other_origins=(("nstart", (4.0, 4.0, 4.0)),)), ca)
    assert good.alternative is not None
    assert 1.0 < good.alternative[1] < good.mean_sd  # worse, if not hopeless: not worth a word
    assert good.warnings == ()
    assert (good.n_inside, good.n_ca) == (40, 40)
    values = right.values
    expected = (prep.trilinear(right, ca).mean() - values.mean()) / values.std()
    assert good.mean_sd == pytest.approx(expected)
    bad = check_placement(replace(right, origin=shift, other_origins=(("origin", (0.0, 0.0, 0.0)),)), ca)
    assert bad.alternative == ("origin", pytest.approx(expected))
    assert "--origin origin" in bad.warnings[0]
    assert any("does not overlay" in text for text in bad.warnings)


def test_placement_outside_the_map(rng: np.random.Generator) -> None:
    ca = rng.normal(24.0, 5.0, (40, 3))
    density = replace(blob_map(ca), origin=np.full(3, 900.0))
    with pytest.raises(InputError, match=r"entirely outside .*900\.0.*--origin .*dock"):
        check_placement(density, ca)
    with pytest.raises(InputError, match=r"Try --origin nstart"):
        check_placement(replace(density, other_origins=(("nstart", (0.0, 0.0, 0.0)),)), ca)
    with pytest.raises(InputError, match="entirely outside"):
        check_placement(density, np.full((2, 3), np.nan))


def test_placement_names_a_lost_voxel_size(rng: np.random.Generator) -> None:
    ca = rng.uniform(0.0, 55.0, (40, 3))
    density = blob_map(ca)
    assert check_placement(density, ca).n_inside == 40
    with pytest.raises(InputError, match=r"exactly 1\.0 .*--voxel"):
        check_placement(replace(density, voxel_size=np.ones(3)), ca)
