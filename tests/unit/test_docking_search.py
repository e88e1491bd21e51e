"""The search by FFT gives the local correlation, and finds a model wherever it is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bayesflex.docking.search import VARIANCE_FLOOR, CorrelationSearch
from bayesflex.rendering import render
from bayesflex.rotations import covering_rotations
from bayesflex.synthetic import two_domain_protein

VOXEL, SIGMA, MASK_DENSITY = 4.0, 3.5, 3e-4


@pytest.fixture(scope="module")
def beads():
    """A lopsided CA trace about its centroid."""
    coords = two_domain_protein(60).ca_trace().coords
    return coords - coords.mean(axis=0)


def placed(beads, rotation, centre, shape=(24, 20, 22), origin=(-30.0, -20.0, 5.0)):
    """The density of the model at a pose, and where its grid lies."""
    origin = np.array(origin)
    values = render(beads @ rotation.T + centre, np.ones(len(beads)), SIGMA, shape, np.full(3, VOXEL), origin)
    return values, origin


def searching(values, origin, beads):
    return CorrelationSearch(values, VOXEL, origin, beads, np.ones(len(beads)), SIGMA, MASK_DENSITY)


def plain_score(values, origin, beads, rotation, index):
    """The definition, voxel by voxel, with the model rendered in a box that holds all of it."""
    pad = 12
    shape = tuple(n + 2 * pad for n in values.shape)
    wide = np.pad(values, pad)
    centre = np.array(index[::-1]) * VOXEL + origin
    start = origin - pad * VOXEL
    model = render(beads @ rotation.T + centre, np.ones(len(beads)), SIGMA, shape, np.full(3, VOXEL), start, 3.0)
    under = model > MASK_DENSITY
    m, rho = model[under], wide[under]
    m = m - m.mean()
    variance = np.sum((rho - rho.mean()) ** 2) + VARIANCE_FLOOR * values.var() * under.sum()
    return float(m @ rho / np.sqrt(np.sum(m**2) * variance))


def test_scores_are_those_of_the_definition(beads, rng):
    rotation = Rotation.random(random_state=rng).as_matrix()
    values, origin = placed(beads, rotation, np.array([10.0, 15.0, 45.0]))
    values = values + 0.2 * values.std() * rng.normal(size=values.shape)
    turned = Rotation.random(random_state=rng).as_matrix()
    scores = searching(values, origin, beads).scores(turned)
    assert scores.shape == values.shape
    # In the middle, and at the corners, where the model reaches out of the map.
    for index in [(12, 10, 11), (5, 14, 3), (0, 0, 0), (23, 19, 21)]:
        assert scores[index] == pytest.approx(plain_score(values, origin, beads, turned, index), abs=2e-4)


def test_a_model_is_found_at_its_voxel(beads, rng):
    rotation = Rotation.random(random_state=rng).as_matrix()
    index = np.array([9, 11, 12])  # x, y, z
    centre = np.array([-30.0, -20.0, 5.0]) + VOXEL * index
    values, origin = placed(beads, rotation, centre)
    search = searching(7.0 * values, origin, beads)
    _, centres, scores = search.best(rotation[None], 2, 8.0)
    np.testing.assert_allclose(centres[0], centre)
    assert scores[0] > 0.97 > 0.8 > scores[1]
    assert np.abs(centres[1] - centres[0]).max() > 8.0


def test_the_right_rotation_wins(beads, rng):
    rotation = Rotation.random(random_state=rng).as_matrix()
    values, origin = placed(beads, rotation, np.array([8.0, 17.0, 47.0]))
    rotations = np.concatenate([covering_rotations(0.8), rotation[None]])
    number, centres, scores = searching(values, origin, beads).best(rotations, 1, 8.0)
    best = int(np.argmax(scores))
    assert number[best] == len(rotations) - 1
    assert np.linalg.norm(centres[best] - [8.0, 17.0, 47.0]) < VOXEL


def test_a_denser_blob_does_not_attract(beads):
    """Without local normalisation the brightest part of a map would win, whatever its shape."""
    values, origin = placed(beads, np.eye(3), np.array([-5.0, 0.0, 30.0]), shape=(30, 24, 30))
    ball = render(
        np.array([[60.0, 50.0, 95.0]]), np.array([40.0 * len(beads)]), 12.0, values.shape, np.full(3, VOXEL), origin
    )
    _, centres, _ = searching(values + ball, origin, beads).best(np.eye(3)[None], 1, 8.0)
    assert np.linalg.norm(centres[0] - [-5.0, 0.0, 30.0]) < VOXEL


def test_threads_change_nothing(beads, rng):
    values, origin = placed(beads, np.eye(3), np.array([8.0, 17.0, 47.0]))
    search, rotations = searching(values, origin, beads), covering_rotations(1.2)
    one, two = (search.best(rotations, 2, 8.0, n_threads=n) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_places_can_be_forbidden(beads):
    values, origin = placed(beads, np.eye(3), np.array([8.0, 17.0, 47.0]))
    _, centres, scores = searching(values, origin, beads).best(
        np.eye(3)[None], 1, 8.0, allowed=lambda positions: positions[:, 0] < 0.0
    )
    assert centres[0, 0] < 0.0
    assert 0.0 < scores[0] < 0.9
