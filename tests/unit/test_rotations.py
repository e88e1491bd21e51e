"""Rotations spread over all orientations: none is missed, and none is preferred."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from bayesflex.errors import InputError
from bayesflex.rotations import angles_between, covering_rotations, matrices, n_rotations, super_fibonacci


def distances_to_nearest(quaternions, rng, n=20_000):
    """Angles from random rotations to the nearest of a set, in radians."""
    drawn = Rotation.random(n, random_state=rng).as_quat()[:, [3, 0, 1, 2]]
    chord = cKDTree(np.concatenate([quaternions, -quaternions])).query(drawn)[0]
    return 4.0 * np.arcsin(0.5 * chord)


@pytest.mark.parametrize("degrees", [60.0, 30.0, 20.0, 12.0, 8.0])
def test_no_rotation_is_farther_than_asked_for(degrees, rng):
    quaternions = super_fibonacci(n_rotations(math.radians(degrees)))
    assert distances_to_nearest(quaternions, rng).max() < math.radians(degrees)


@pytest.mark.parametrize("n", [300, 3000])
def test_the_covering_is_not_wasteful(n, rng):
    """Balls of the covering radius overlap 2.5 to 4-fold; a random set of 3000 overlaps 10-fold and more."""
    radius = distances_to_nearest(super_fibonacci(n), rng).max()
    random = Rotation.random(n, random_state=rng).as_quat()[:, [3, 0, 1, 2]]
    of_random = distances_to_nearest(random, rng).max()
    assert n * (radius - math.sin(radius)) / math.pi < 4.0 < n * (of_random - math.sin(of_random)) / math.pi


def test_the_set_is_uniform():
    """Means of the matrix elements and of their products are those of the Haar measure: 0 and 1/3."""
    found = matrices(super_fibonacci(3000))
    assert np.abs(found.mean(axis=0)).max() < 2e-3
    np.testing.assert_allclose((found**2).mean(axis=0), np.full((3, 3), 1.0 / 3.0), atol=2e-3)


def test_matrices_are_scipy_s():
    quaternions = super_fibonacci(40)
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1.0)
    expected = Rotation.from_quat(quaternions[:, [1, 2, 3, 0]]).as_matrix()
    np.testing.assert_allclose(matrices(quaternions), expected, atol=1e-14)


def test_angles_between_rotations(rng):
    a, b = (Rotation.random(20, random_state=rng) for _ in range(2))
    np.testing.assert_allclose(angles_between(a.as_matrix(), b.as_matrix()), (a.inv() * b).magnitude(), atol=1e-12)
    small = Rotation.from_rotvec([1e-9, 0.0, 0.0]).as_matrix()
    assert angles_between(np.eye(3), small) == pytest.approx(1e-9, rel=1e-6)


def test_the_same_rotations_every_time():
    np.testing.assert_array_equal(covering_rotations(0.5), covering_rotations(0.5))


@pytest.mark.parametrize("angle", [0.0, -1.0, 4.0, math.nan])
def test_a_wrong_angle_is_refused(angle):
    with pytest.raises(InputError, match="expected an angle above 0"):
        n_rotations(angle)


def test_no_rotations_are_refused():
    with pytest.raises(InputError, match="expected at least 1"):
        super_fibonacci(0)
