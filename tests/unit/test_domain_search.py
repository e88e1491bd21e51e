"""The search for a domain's pose: scores and gradients, what linkers allow, and a domain that is found again."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from bayesflex.beads import ca_beads
from bayesflex.chain import bonded_to_next
from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.domain_search.density import blurred_density, occupancies
from bayesflex.domain_search.kernels import best_places, fill_templates, score_of_pose
from bayesflex.domain_search.poses import tethers
from bayesflex.domain_search.search import BodySearch
from bayesflex.domain_search.spline import spline_values
from bayesflex.domains import LINKER_RESIDUES
from bayesflex.geometry import rmsd, rotation_of_vector
from bayesflex.map_target import make_target
from bayesflex.rendering import render
from bayesflex.synthetic import two_domain_layout, two_domain_protein

N = 160
RESOLUTION = 8.0


@cache
def case():
    """CA trace, its second domain, and the map of it with that domain turned by 110° about the end of the linker."""
    ca = two_domain_protein(N).ca_trace()
    layout = two_domain_layout(N)
    body = np.zeros(N, dtype=bool)
    body[layout.second_domain] = True
    hinge = ca.coords[layout.linker.stop - 1]
    turn = rotation_of_vector(np.array([0.9, -0.6, 1.58]))
    truth = ca.coords.copy()
    truth[body] = (truth[body] - hinge) @ turn.T + hinge
    voxel = np.full(3, 2.0)
    low, high = (np.round(f(np.concatenate([truth, ca.coords]), axis=0)) for f in (np.min, np.max))
    origin = low - 20.0
    shape = tuple(int(n) for n in np.ceil((high - low + 40.0) / 2.0))[::-1]
    values = render(truth, np.ones(N), 1.8, shape, voxel, origin)
    density = DensityMap(values, voxel, origin)
    target = make_target(density, ca.coords, FitConfig(resolution=RESOLUTION), 1.8)
    return ca, body, truth, blurred_density(target, 10.0, RESOLUTION)


def search(n_threads=1):
    ca, body, _, density = case()
    bonds = tethers(body, bonded_to_next(ca), ca.coords)
    return BodySearch(density, ca_beads(ca), ca.coords, body, np.zeros(N, dtype=bool), bonds, n_threads)


@cache
def found_poses():
    found = search()
    return found, found.poses(5)


def test_a_domain_that_was_turned_is_found_again():
    ca, body, truth, _ = case()
    assert rmsd(ca.coords[body], truth[body]) > 15.0
    found, poses = found_poses()
    assert rmsd(poses[0].apply(ca.coords[body]), truth[body]) < 1.5
    assert poses[0].score > found.here().score + 2.0
    # The others are other poses, and worse.
    for pose in poses[1:]:
        assert pose.score < poses[0].score
        assert found.apart(pose, poses[0]) > 5.0
        assert found.apart(pose, poses[0]) == pytest.approx(
            rmsd(pose.apply(ca.coords[body]), poses[0].apply(ca.coords[body])), rel=1e-6
        )


@pytest.mark.slow
def test_threads_change_no_bit():
    for a, b in zip(found_poses()[1], search(2).poses(5), strict=True):
        assert a.score == b.score
        np.testing.assert_array_equal(a.rotation, b.rotation)


def test_the_gradient_of_the_cost_is_that_of_finite_differences(rng):
    found = search()
    found.mean, found.sd = 0.0, 0.01
    rotation = rotation_of_vector(rng.normal(size=3))
    for far in (0.0, 40.0):  # with slack linkers, and with one that is overstretched
        centre = found.pivot + rng.normal(size=3) + far
        q = rng.normal(scale=2.0, size=6)
        gradient = found.cost(q, rotation, centre)[1]
        step = 1e-4
        numeric = [
            (found.cost(q + step * e, rotation, centre)[0] - found.cost(q - step * e, rotation, centre)[0]) / (2 * step)
            for e in np.eye(6)
        ]
        np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5 * np.abs(gradient).max())


def test_a_template_holds_the_weights_where_the_turned_beads_are(rng):
    arms, weights = rng.uniform(-6.0, 6.0, size=(40, 3)), rng.uniform(0.5, 2.0, size=40)
    turns = np.array([rotation_of_vector(rng.normal(size=3)) for _ in range(2)])
    shape, middle, voxel = (9, 10, 12), np.array([6, 5, 4]), np.array([2.0, 3.0, 2.5])
    templates = np.empty((2, *shape), dtype=np.float32)
    fill_templates(arms, weights, turns, middle, voxel, np.empty(shape), templates)
    for turn, template in zip(turns, templates, strict=True):
        expected = np.zeros(shape)
        at = arms @ turn.T / voxel + middle
        low = np.floor(at).astype(int)
        for corner in np.ndindex(2, 2, 2):
            share = np.prod(np.where(np.array(corner) == 1, at - low, 1.0 - (at - low)), axis=1)
            x, y, z = ((low + corner) % np.array(shape[::-1])).T
            np.add.at(expected, (z, y, x), share * weights)
        np.testing.assert_allclose(template, expected, rtol=1e-6, atol=1e-6)


def test_the_best_place_is_the_best_of_those_that_the_box_and_the_tethers_allow(rng):
    shape, middle = (6, 7, 8), np.array([4, 3, 3])
    corner, voxel = np.array([-8.0, -7.0, -6.0]), np.array([2.0, 2.1, 1.9])
    low, high = np.array([-6.5, -5.5, -5.0]), np.array([5.0, 6.0, 4.0])
    turns = np.array([rotation_of_vector(rng.normal(size=3)) for _ in range(5)])
    scores = rng.normal(size=(5, *shape)).astype(np.float32)
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    pivots = np.stack([x, y, z], axis=-1) * voxel + corner
    shifted = np.roll(scores, tuple(middle[::-1]), axis=(1, 2, 3)).astype(np.float64)
    inner = rng.uniform(-3.0, 3.0, size=(2, 3))
    for outer in (rng.uniform(-4.0, 4.0, size=(2, 3)), np.full((2, 3), 90.0)):  # the second one is out of reach
        length = np.array([7.0, 8.0])
        allowed = np.repeat(np.all((pivots >= low) & (pivots <= high), axis=-1)[None], 5, axis=0)
        for end, tied, far in zip(inner, outer, length, strict=True):
            ends = pivots[None] + (turns @ end)[:, None, None, None]
            allowed &= np.linalg.norm(ends - tied, axis=-1) <= far
        best, places = np.empty(5), np.zeros((5, 3))
        sums = best_places(scores, middle, corner, voxel, low, high, turns, inner, outer, length, best, places)
        counted = shifted[allowed]
        np.testing.assert_allclose(sums, (len(counted), counted.sum(), np.sum(counted**2)), rtol=1e-12)
        for r in range(5):
            if allowed[r].any():
                where = np.unravel_index(np.argmax(np.where(allowed[r], shifted[r], -np.inf)), shape)
                assert best[r] == shifted[r][where]
                np.testing.assert_allclose(places[r], pivots[where], rtol=1e-12)
            else:
                assert best[r] == -np.inf


def test_the_score_of_a_pose_is_the_field_at_its_beads(rng):
    coefficients = rng.normal(size=(12, 11, 13))
    origin, voxel = np.array([-10.0, -11.0, -9.0]), np.array([2.0, 2.2, 1.9])
    arms, weights = rng.uniform(-9.0, 9.0, size=(30, 3)), rng.uniform(0.5, 2.0, size=30)  # some lie off the grid
    turn, centre = rotation_of_vector(rng.normal(size=3)), np.array([0.5, -0.3, 0.2])
    force, moment = np.empty(3), np.empty(3)
    total = score_of_pose(coefficients, origin, voxel, arms, weights, turn, centre, np.empty((2, 3, 4)), force, moment)
    turned = arms @ turn.T
    values, slopes = spline_values(coefficients, (turned + centre - origin) / voxel, voxel)
    assert total == pytest.approx(weights @ values, rel=1e-12)
    np.testing.assert_allclose(force, weights @ slopes, rtol=1e-10)
    np.testing.assert_allclose(moment, np.cross(turned, weights[:, None] * slopes).sum(axis=0), rtol=1e-10)


def test_splines_have_the_gradient_of_finite_differences(rng):
    coefficients, voxel = rng.normal(size=(8, 9, 10)), np.array([1.0, 2.0, 3.0])
    index = rng.uniform(2.0, 5.0, size=(4, 3))
    gradients = spline_values(coefficients, index, voxel)[1]
    for axis in range(3):
        step = 1e-5 * np.eye(3)[axis]
        ahead, behind = (spline_values(coefficients, index + sign * step, voxel)[0] for sign in (1, -1))
        np.testing.assert_allclose((ahead - behind) / (2e-5 * voxel[axis]), gradients[:, axis], rtol=1e-6, atol=1e-8)
    assert not spline_values(coefficients, np.array([[-1.0, 3.0, 3.0], [3.0, 3.0, 6.5]]), voxel)[0].any()


def test_a_pose_stays_where_the_linker_reaches():
    ca, body, _, _ = case()
    bonds = tethers(body, bonded_to_next(ca), ca.coords)
    assert len(bonds.length) == 1
    for pose in found_poses()[1]:
        apart = pose.apply(ca.coords[bonds.inner]) - ca.coords[bonds.outer]
        assert np.linalg.norm(apart) < bonds.length[0] + 1.0


def test_linkers_end_at_the_end_of_a_chain_and_at_the_next_boundary():
    coords = np.cumsum(np.full((30, 3), 3.8 / np.sqrt(3.0)), axis=0) * 0.5
    body = np.zeros(30, dtype=bool)
    body[1:20] = True
    found = tethers(body, np.ones(29, dtype=bool), coords)
    assert found.outer.tolist() == [0, 19 + 1 + LINKER_RESIDUES]
    assert found.inner.tolist() == [1 + LINKER_RESIDUES, 19 - LINKER_RESIDUES]
    assert found.length[0] < found.length[1]
    assert len(tethers(np.ones(30, dtype=bool), np.ones(29, dtype=bool), coords).length) == 0


def test_a_domain_in_its_density_is_told_from_one_that_is_not():
    ca, body, truth, density = case()
    beads, labels = ca_beads(ca), body.astype(np.int64)
    right, wrong = (occupancies(density, beads, coords, labels) for coords in (truth, ca.coords))
    assert right[1] / right[0] == pytest.approx(1.0, abs=0.1)
    assert wrong[1] / wrong[0] < 0.4
