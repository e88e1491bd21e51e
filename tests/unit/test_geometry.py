"""Geometry: values known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bayesflex.errors import InputError
from bayesflex.geometry import (
    angle,
    dihedral,
    nearest_rotation,
    rmsd,
    rotation_between,
    rotation_of_vector,
    superimpose,
    superposed_rmsd,
)

X, Y, Z = np.eye(3)


def test_rmsd_of_a_shift_is_its_length() -> None:
    points = np.arange(12.0).reshape(4, 3)
    assert rmsd(points, points + np.array([3.0, 0.0, 4.0])) == pytest.approx(5.0)


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    np.testing.assert_allclose(rotation_of_vector([0, 0, math.pi / 2]) @ X, Y, atol=1e-15)


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-12, 1e-8, 1e-4])
def test_small_rotations_keep_their_second_order(size: float) -> None:
    rotation = rotation_of_vector([0.0, 0.0, size])
    assert rotation[1, 0] == pytest.approx(math.sin(size), rel=1e-15)
    assert 1.0 - rotation[0, 0] == pytest.approx(2.0 * math.sin(size / 2) ** 2, abs=1e-16)


def test_angle_of_a_corner_and_of_a_line() -> None:
    zero = np.zeros(3)
    assert angle(X, zero, Y) == pytest.approx(math.pi / 2)
    assert angle(X, zero, -X) == pytest.approx(math.pi)
    # arccos would give 0 here
    assert angle(X, zero, X + 1e-9 * Y) == pytest.approx(1e-9, rel=1e-6)


@pytest.mark.parametrize("degrees", [0.0, 60.0, 180.0, -60.0, -170.0])
def test_dihedral_has_iupac_sign(degrees: float) -> None:
    # Seen from the front along +z, the far bond turns clockwise by a positive angle: from x towards y.
    phi = math.radians(degrees)
    value = dihedral(X, np.zeros(3), Z, Z + np.array([math.cos(phi), math.sin(phi), 0.0]))
    assert abs(math.remainder(float(value) - phi, 2 * math.pi)) < 1e-12


def test_dihedrals_of_many_at_once(rng: np.random.Generator) -> None:
    points = rng.normal(size=(4, 5, 3))
    single = [float(dihedral(*points[:, i])) for i in range(5)]
    np.testing.assert_allclose(dihedral(*points), single)


def test_a_mirror_image_is_not_reached_by_reflection(rng: np.random.Generator) -> None:
    points = rng.normal(size=(20, 3))
    fit = superimpose(points, points * [1.0, 1.0, -1.0])
    assert np.linalg.det(fit.rotation) == pytest.approx(1.0)
    assert fit.rmsd > 0.1


def test_weights_choose_what_is_superimposed(rng: np.random.Generator) -> None:
    points = rng.normal(size=(10, 3))
    target = points + 5.0
    target[5:] += rng.normal(size=(5, 3))
    weights = np.r_[np.ones(5), np.zeros(5)]
    fit = superimpose(points, target, weights)
    np.testing.assert_allclose(fit.rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(fit.translation, [5.0, 5.0, 5.0])
    assert fit.rmsd < 1e-12


def test_superimposed_points_are_no_further_than_those_in_place(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 30, 3))
    fit = superimpose(a, b)
    assert fit.rmsd == pytest.approx(rmsd(a @ fit.rotation.T + fit.translation, b))
    assert superposed_rmsd(a, b) <= rmsd(a, b)


def test_opposite_and_zero_directions_still_give_a_proper_rotation() -> None:
    rotations = rotation_between(np.array([X, np.zeros(3)]), np.array([-X, Y]))
    np.testing.assert_allclose(rotations, np.array([np.eye(3)] * 2))


def test_the_mean_of_two_rotations_is_half_way() -> None:
    mean = nearest_rotation(np.eye(3) + rotation_of_vector([0.0, 0.0, 0.8]))
    np.testing.assert_allclose(mean, rotation_of_vector([0.0, 0.0, 0.4]), atol=1e-14)


@pytest.mark.parametrize(
    ("a", "b"),
    [(np.zeros((2, 3)), np.zeros((3, 3))), (np.zeros((0, 3)), np.zeros((0, 3))), (np.zeros((2, 2)), np.zeros((2, 2)))],
)
def test_points_that_do_not_pair_are_refused(a: np.ndarray, b: np.ndarray) -> None:
    with pytest.raises(InputError, match="must pair up"):
        rmsd(a, b)
    with pytest.raises(InputError, match="must pair up"):
        superimpose(a, b)


@pytest.mark.parametrize("weights", [np.zeros(3), np.array([1.0, -1.0, 1.0]), np.ones(2), np.array([1, np.nan, 1])])
def test_weights_that_weigh_nothing_are_refused(weights: np.ndarray) -> None:
    with pytest.raises(InputError, match="non-negative weights"):
        superimpose(np.eye(3), np.eye(3), weights)
