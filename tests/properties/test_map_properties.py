"""A feature stays where it is in space through every operation on a map and through files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesflex import map_preparation as prep
from bayesflex.density_map import DensityMap
from bayesflex.io.maps import read_map, write_map
from bayesflex.io.mrc_header import HEADER_SIZE, MapHeader, new_header

SIGMA = 2.5  # Å: at least 1.6 voxels, so that the blob is band-limited to 1e-5

voxels = st.tuples(*[st.floats(0.8, 1.5)] * 3).map(np.array)
origins = st.tuples(*[st.floats(-300.0, 300.0)] * 3).map(np.array)
sizes = st.tuples(*[st.integers(26, 34)] * 3)
fractions = st.tuples(*[st.floats(0.4, 0.6)] * 3).map(np.array)


@st.composite
def blobs(draw: st.DrawFn) -> tuple[DensityMap, np.ndarray]:
    """A Gaussian near the middle of a map with any voxels and origin, and the position of its centre."""
    shape, voxel, origin = draw(sizes), draw(voxels), draw(origins)
    centre = origin + draw(fractions) * np.array(shape[::-1]) * voxel
    density = DensityMap(np.zeros(shape), voxel, origin)
    offsets = grid_positions(density) - centre
    return density.with_values(np.exp(-0.5 * np.sum(offsets**2, axis=-1) / SIGMA**2)), centre


def grid_positions(density: DensityMap) -> np.ndarray:
    """Positions of all voxels, shape (nz, ny, nx, 3), Å."""
    k, j, i = np.indices(density.values.shape)
    return density.to_position(np.stack([i, j, k], axis=-1).astype(float))


def mass(density: DensityMap) -> float:
    return float(density.values.sum(dtype=np.float64) * np.prod(density.voxel_size))


def centre_of_mass(density: DensityMap) -> np.ndarray:
    return np.einsum("kji,kjix->x", density.values.astype(float), grid_positions(density)) / density.values.sum()


def assert_blob_at(density: DensityMap, centre: np.ndarray, atol: float = 0.02) -> None:
    np.testing.assert_allclose(centre_of_mass(density), centre, atol=atol)


@given(blobs(), st.floats(0.0, 8.0))
@settings(max_examples=25, deadline=None)
def test_crop_and_pad(case: tuple[DensityMap, np.ndarray], margin: float) -> None:
    density, centre = case
    corners = centre + np.array([[-3.5], [3.5]]) * SIGMA
    cropped = prep.crop_or_pad(density, corners, margin)
    assert np.all(cropped.contains(np.vstack([corners - margin, corners + margin])))
    assert np.all(cropped.box_size <= 7 * SIGMA + 2 * margin + 3 * density.voxel_size)
    assert_blob_at(cropped, centre, atol=0.1)
    padded = prep.crop_or_pad(density, density.to_position(np.array([[-5.0, -3, -2], [40, 41, 42]])), 0.0)
    assert_blob_at(padded, centre)
    np.testing.assert_allclose(mass(padded), mass(density), rtol=1e-2)


@given(blobs(), st.floats(0.3, 2.0), st.floats(3.0, 6.0))
@settings(max_examples=25, deadline=None)
def test_filters_keep_mass_and_place(case: tuple[DensityMap, np.ndarray], sigma: float, resolution: float) -> None:
    density, centre = case
    for filtered in (prep.gaussian_blur(density, sigma), prep.low_pass(density, resolution)):
        np.testing.assert_allclose(mass(filtered), mass(density), rtol=1e-9)
        assert_blob_at(filtered, centre, atol=0.05)


@given(blobs(), st.floats(0.3, 1.5), st.floats(0.3, 1.5))
@settings(max_examples=15, deadline=None)
def test_two_blurs_are_one(case: tuple[DensityMap, np.ndarray], first: float, second: float) -> None:
    density, _ = case
    twice = prep.gaussian_blur(prep.gaussian_blur(density, first), second)
    np.testing.assert_allclose(twice.values, prep.gaussian_blur(density, np.hypot(first, second)).values, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.floats(3.0, 6.0))
@settings(max_examples=15, deadline=None)
def test_low_pass_twice_changes_only_its_edge(seed: int, resolution: float) -> None:
    """A coarser filter (beyond the edge) after a finer one is the coarser one alone, and so the other way round."""
    values = np.random.default_rng(seed).normal(size=(20, 24, 18))
    density = DensityMap(values, np.array([1.0, 1.2, 0.9]), np.zeros(3))
    coarse = prep.low_pass(density, resolution)
    finer = resolution / 1.3  # 1.1 / 0.9 = 1.22
    np.testing.assert_allclose(prep.low_pass(coarse, finer).values, coarse.values, atol=1e-12)
    np.testing.assert_allclose(
        prep.low_pass(prep.low_pass(density, finer), resolution).values, coarse.values, atol=1e-12
    )
    assert np.linalg.norm(prep.low_pass(coarse, resolution).values) <= np.linalg.norm(coarse.values)


@given(blobs(), st.floats(0.7, 1.6), st.integers(26, 64))
@settings(max_examples=25, deadline=None)
def test_resampling(case: tuple[DensityMap, np.ndarray], voxel: float, n_voxels: int) -> None:
    density, centre = case
    for result in (prep.resample(density, voxel), prep.resample_to_box(density, n_voxels)):
        np.testing.assert_array_equal(result.origin, density.origin)
        np.testing.assert_allclose(result.box_size, density.box_size)
        np.testing.assert_allclose(mass(result), mass(density), rtol=1e-9)
        expected = np.exp(-0.5 * np.sum((grid_positions(result) - centre) ** 2, axis=-1) / SIGMA**2)
        # The blob is cut at the faces of the smallest boxes, 26 · 0.4 · 0.8 Å = 3.3 sigma away: exp(-3.3²/2) = 4e-3.
        np.testing.assert_allclose(result.values, expected, atol=1e-2)


def trigonometric(values: np.ndarray, axis: int, n: int) -> np.ndarray:
    """Evaluate the trigonometric polynomial through values at n points of the same period, by its plain sum."""
    size = values.shape[axis]
    frequencies = np.arange(size) - (size - 1) // 2 - (size % 2 == 0)
    analysis = np.exp(-2j * np.pi * np.outer(frequencies, np.arange(size)) / size) / size
    synthesis = np.exp(2j * np.pi * np.outer(np.arange(n), frequencies) / n)
    return np.moveaxis(np.tensordot((synthesis @ analysis).real, values, axes=(1, axis)), 0, axis)


@given(st.integers(0, 2**32 - 1), st.integers(7, 16), st.integers(7, 33))
@settings(max_examples=25, deadline=None)
def test_a_band_limited_map_is_resampled_exactly_and_back(seed: int, size: int, n: int) -> None:
    """Random values on a coarse grid, carried to a finer one by plain sums, then resampled anyhow above their band."""
    coarse = np.random.default_rng(seed).normal(size=(size, size, size))
    fine = coarse
    for axis in range(3):
        fine = trigonometric(fine, axis, size + 3)
    density = DensityMap(fine, np.array([1.0, 1.5, 2.0]), np.array([3.0, -4.0, 5.0]))
    n = max(n, size + 1)
    result = prep.resample_to_box(density, n)
    expected = coarse
    for axis in range(3):
        expected = trigonometric(expected, axis, n)
    np.testing.assert_allclose(result.values, expected, atol=1e-10)
    np.testing.assert_allclose(prep.resample_to_box(result, size + 3).values, fine, atol=1e-10)


@given(blobs(), st.permutations([1, 2, 3]), st.sampled_from(["<", ">"]), st.sampled_from([".mrc", ".mrc.gz"]))
@settings(max_examples=25, deadline=None)
def test_files_with_every_order_of_axes(
    case: tuple[DensityMap, np.ndarray], axes: list[int], order: str, suffix: str
) -> None:
    density, centre = case
    sizes_crs = [density.shape_xyz[axis - 1] for axis in axes]
    fields = new_header(density.shape_xyz).fields
    for name, axis, size in zip(("mapc", "mapr", "maps"), axes, sizes_crs, strict=True):
        fields[name] = axis
        fields["n" + "xyz"[("mapc", "mapr", "maps").index(name)]] = size
    raw = fields.astype(fields.dtype.newbyteorder(order)).tobytes()
    assert len(raw) == HEADER_SIZE
    header = MapHeader(raw, order)
    permuted = DensityMap(density.values, density.voxel_size, density.origin, header=header)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"blob{suffix}"
        write_map(permuted, path)
        result = read_map(path)
    assert result.header.axes == tuple(axis - 1 for axis in axes)
    np.testing.assert_allclose(result.values, density.values, rtol=1e-6, atol=1e-30)
    assert_blob_at(result, centre)


@given(blobs(), st.integers(-1000, 1000))
@settings(max_examples=10, deadline=None)
def test_interpolation_finds_the_blob(case: tuple[DensityMap, np.ndarray], seed: int) -> None:
    density, centre = case
    direction = np.random.default_rng(abs(seed)).normal(size=3)
    away = centre + 2.0 * SIGMA * direction / np.linalg.norm(direction)
    at_centre, at_two_sigma = prep.trilinear(density, np.array([centre, away]))
    np.testing.assert_allclose([at_centre, at_two_sigma], [1.0, np.exp(-2.0)], atol=0.15)
