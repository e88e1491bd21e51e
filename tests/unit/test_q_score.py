"""Q-score: closed forms of single atoms, and a plain second implementation after the published pseudocode."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from bayesflex.density_map import DensityMap
from bayesflex.validation.q_score import SHELLS, q_scores


def gaussian_map(coords, sigma: float, voxel: float = 0.2, margin: float = 4.0) -> DensityMap:
    """Unit Gaussians at the atoms, sampled."""
    origin = coords.min(axis=0) - margin
    size = np.ceil((np.ptp(coords, axis=0) + 2 * margin) / voxel).astype(int) + 1
    x, y, z = (origin[axis] + voxel * np.arange(size[axis]) for axis in range(3))
    values = np.zeros((len(z), len(y), len(x)))
    for centre in coords:
        gx, gy, gz = (np.exp(-((a - c) ** 2) / (2 * sigma**2)) for a, c in zip((x, y, z), centre, strict=True))
        values += gz[:, None, None] * gy[None, :, None] * gx[None, None, :]
    return DensityMap(values.astype(np.float32), np.full(3, voxel), origin)


def sphere(centre, radius: float, number: int) -> np.ndarray:
    """Points of Saff and Kuijlaars, one after the other as they write it."""
    points, turn = [], 0.0
    for k in range(1, number + 1):
        height = -1.0 + 2.0 * (k - 1) / (number - 1)
        turn = 0.0 if k in (1, number) else turn + 3.6 / math.sqrt(number * (1.0 - height**2))
        ring = math.sqrt(max(0.0, 1.0 - height**2))
        points.append(centre + radius * np.array([ring * math.cos(turn), ring * math.sin(turn), height]))
    return np.array(points)


def plain_q(coords, density: DensityMap, atom: int) -> float:
    """The score of one atom, as MapQ's text has it: loops, and a reference with height and offset."""
    values, a, b, sigma = density.values, 3.0, -0.7, 0.6

    def read(points):
        return map_coordinates(
            values.astype(float), ((points - density.origin) / density.voxel_size)[:, ::-1].T, order=1
        )

    centre = coords[atom]
    others = np.delete(coords, atom, axis=0)
    u, v = list(read(np.repeat(centre[None], 8, axis=0))), [a + b] * 8
    for radius in [0.1 * step for step in range(1, 21)]:
        kept = []
        for extra in range(96):
            kept = [
                point
                for point in sphere(centre, radius, 8 + 2 * extra)
                if not np.any(np.linalg.norm(others - point, axis=1) < 0.9 * radius)
            ]
            if len(kept) >= 8:
                break
        if kept:
            u += list(read(np.array(kept)))
            v += [a * math.exp(-0.5 * (radius / sigma) ** 2) + b] * len(kept)
    return float(np.corrcoef(u, v)[0, 1])


def test_an_atom_in_its_reference_gaussian_scores_one():
    coords = np.array([[0.3, -0.1, 0.2]])
    assert q_scores(coords, gaussian_map(coords, 0.6, voxel=0.1))[0] == pytest.approx(1.0, abs=2e-5)


@pytest.mark.parametrize("sigma", [0.4, 0.9, 1.5])
def test_an_atom_in_a_gaussian_of_another_width_scores_as_in_closed_form(sigma):
    # Each of the 21 distances counts alike, so that the score is that of two profiles of 21 numbers.
    profile, reference = np.exp(-0.5 * (SHELLS / sigma) ** 2), np.exp(-0.5 * (SHELLS / 0.6) ** 2)
    expected = np.corrcoef(profile, reference)[0, 1]
    coords = np.zeros((1, 3))
    assert q_scores(coords, gaussian_map(coords, sigma, voxel=0.1))[0] == pytest.approx(expected, abs=3e-4)
    assert expected < 0.99


def test_a_single_atom_far_from_any_density_scores_none_and_one_in_a_hole_scores_minus_one():
    coords = np.zeros((1, 3))
    well = gaussian_map(coords, 0.6, voxel=0.1)
    assert q_scores(coords, well.with_values(-well.values))[0] == pytest.approx(-1.0, abs=2e-5)
    assert np.isnan(q_scores(coords, well.with_values(np.zeros_like(well.values)))[0])


def test_as_a_plain_implementation(rng):
    # A chain of atoms at bonding distance in a rough map: neighbours take many points away.
    steps = rng.normal(size=(24, 3))
    coords = np.cumsum(1.5 * steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0)
    smooth = gaussian_map(coords, 0.9, voxel=0.8)
    rough = smooth.values + 0.2 * rng.normal(size=smooth.values.shape)
    density = smooth.with_values(rough.astype(np.float32))
    found = q_scores(coords, density)
    for atom in (0, 9, 17, 23):
        assert found[atom] == pytest.approx(plain_q(coords, density, atom), abs=1e-9)


def test_a_model_in_its_own_ideal_map_scores_what_the_definition_gives(rng):
    # Atoms of the reference width at bonding distance: the Gaussians of neighbours reach into each other.
    coords = np.array([[1.5 * k, 0.9 * (k % 2), 0.0] for k in range(8)])
    density = gaussian_map(coords, 0.6, voxel=0.25)
    found = q_scores(coords, density)
    expected = [plain_q(coords, density, atom) for atom in range(8)]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.all(found > 0.9)
    assert np.all(found < 1.0)


def test_scale_and_offset_of_the_map_do_not_matter(rng):
    coords = rng.uniform(-3.0, 3.0, size=(6, 3))
    density = gaussian_map(coords, 0.8)
    other = density.with_values(5.0 + 8.0 * density.values)
    np.testing.assert_allclose(q_scores(coords, other), q_scores(coords, density), atol=1e-5)


def test_atoms_at_the_end_of_the_box_have_no_score():
    coords = np.array([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    density = gaussian_map(coords[:1], 0.6, margin=1.5)
    assert np.isnan(q_scores(coords, density)).all()
    assert len(q_scores(np.zeros((0, 3)), density)) == 0


def test_a_heap_of_atoms_ends_in_time(rng):
    density = gaussian_map(np.zeros((1, 3)), 0.6)
    heap = rng.uniform(-0.8, 0.8, size=(300, 3))
    q_scores(heap[:2], density)  # compiled
    began = time.process_time()
    assert len(q_scores(heap, density)) == 300
    assert time.process_time() - began < 10.0
