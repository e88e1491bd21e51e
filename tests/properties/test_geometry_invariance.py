"""Geometry: what holds for all points and rotations."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from bayesflex.geometry import dihedral, rotation_between, rotation_of_vector, superimpose

vectors = arrays(np.float64, 3, elements=st.floats(-10, 10, allow_subnormal=False))
seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(vectors)
def test_rotation_of_vector_agrees_with_scipy(omega: np.ndarray) -> None:
    np.testing.assert_allclose(rotation_of_vector(omega), Rotation.from_rotvec(omega).as_matrix(), atol=1e-13)


@settings(deadline=None)
@given(seeds, vectors, vectors, st.integers(3, 40))
def test_superposition_finds_the_motion_that_was_made(
    seed: int, omega: np.ndarray, shift: np.ndarray, n_points: int
) -> None:
    points = 10.0 * np.random.default_rng(seed).normal(size=(n_points, 3))
    rotation = rotation_of_vector(omega)
    fit = superimpose(points, points @ rotation.T + shift)
    assert fit.rmsd < 1e-10
    np.testing.assert_allclose(points @ fit.rotation.T + fit.translation, points @ rotation.T + shift, atol=1e-9)


@settings(deadline=None)
@given(seeds, vectors)
def test_no_rotation_nearby_is_better(seed: int, omega: np.ndarray) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, 12, 3))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    best = superimpose(a, b)
    other = rotation_of_vector(0.01 * omega) @ best.rotation
    assert np.sum((a @ other.T - b) ** 2) >= np.sum((a @ best.rotation.T - b) ** 2) - 1e-10


@settings(deadline=None)
@given(seeds)
def test_rotation_between_is_smallest_and_proper(seed: int) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, 7, 3))
    rotation = rotation_between(a, b)
    turned = np.einsum("nij,nj->ni", rotation, a)
    np.testing.assert_allclose(
        turned / np.linalg.norm(turned, axis=1)[:, None], b / np.linalg.norm(b, axis=1)[:, None], atol=1e-9
    )
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (7, 3, 3)), atol=1e-9)
    cosine = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose((np.trace(rotation, axis1=1, axis2=2) - 1.0) / 2.0, cosine, atol=1e-9)


@settings(deadline=None)
@given(seeds, vectors, vectors)
def test_dihedrals_do_not_change_with_the_frame_and_change_sign_in_a_mirror(
    seed: int, omega: np.ndarray, shift: np.ndarray
) -> None:
    points = np.random.default_rng(seed).normal(size=(4, 3))
    value = dihedral(*points)
    moved = dihedral(*(points @ rotation_of_vector(omega).T + shift))
    mirrored = dihedral(*(points * [-1.0, 1.0, 1.0]))
    # Compared on the circle: -π and π are the same angle.
    np.testing.assert_allclose(np.exp(1j * moved), np.exp(1j * value), atol=1e-7)
    np.testing.assert_allclose(np.exp(1j * mirrored), np.exp(-1j * value), atol=1e-12)
