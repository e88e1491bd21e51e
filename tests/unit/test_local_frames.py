"""Local frames: what moves as one stands still, what moves against its surroundings is seen."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.geometry import nearest_rotation, rotation_of_vector, superimpose
from bayesflex.local_frames import LocalFrames
from bayesflex.synthetic import two_domain_layout, two_domain_protein


@pytest.fixture(scope="module")
def closed():
    return two_domain_protein(120).ca_trace().coords


def test_a_motion_of_the_whole_is_not_seen(closed):
    moved = closed @ rotation_of_vector([1.0, -2.0, 0.5]).T + np.array([5.0, -40.0, 3.0])
    np.testing.assert_allclose(LocalFrames(closed).positions(moved[None])[0], closed, atol=1e-10)


def test_a_domain_that_turns_is_seen_at_its_border_alone(closed):
    opened = two_domain_protein(120, 30.0).ca_trace().coords
    shift = np.linalg.norm(LocalFrames(closed).positions(opened[None])[0] - closed, axis=1)
    layout = two_domain_layout(120)
    second = np.linalg.norm(opened - closed, axis=1)[layout.second_domain]
    assert second.mean() > 4.0
    assert np.median(shift) < 0.3 * second.mean()


def test_a_residue_that_moves_alone_is_seen_as_it_moves(closed):
    moved = closed.copy()
    moved[10, 1] += 3.0
    shift = LocalFrames(closed).positions(moved[None])[0] - closed
    np.testing.assert_allclose(shift[10], [0.0, 3.0, 0.0], atol=0.2)
    others = np.delete(shift, 10, axis=0)
    assert np.abs(others).max() < 0.6


def test_positions_are_those_of_a_plain_weighted_superposition(closed, rng):
    turned = (closed + rng.normal(size=closed.shape)) @ rotation_of_vector([0.3, 0.2, -1.0]).T
    frames = LocalFrames(closed)
    whole = superimpose(turned, closed)
    coords = turned @ whole.rotation.T + whole.translation
    expected = []
    for index, here in enumerate(closed):
        distance = np.linalg.norm(closed - here, axis=1)
        near = np.argsort(distance)[1:65]
        weight = np.exp(-0.5 * (distance[near] / 10.0) ** 2)
        weight /= weight.sum()
        old, new = closed[near] - weight @ closed[near], coords[near] - weight @ coords[near]
        covariance = (old * weight[:, None]).T @ new
        covariance += 1e-2 * (weight @ np.sum(old**2, axis=1)) * np.eye(3)
        rotation = nearest_rotation(covariance)
        expected.append(rotation @ (coords[index] - weight @ coords[near]) + weight @ closed[near])
    np.testing.assert_allclose(frames.positions(turned[None])[0], expected, atol=1e-7)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_few_residues_on_a_line_have_a_place(n):
    line = np.arange(n, dtype=np.float64)[:, None] * np.array([[3.8, 0.0, 0.0]])
    seen = LocalFrames(line).positions(line[None])
    np.testing.assert_allclose(seen[0], line, atol=1e-9)
    bent = line + np.array([0.0, 1.0, 0.0]) * (np.arange(n) % 2)[:, None]
    assert np.isfinite(LocalFrames(line).positions(bent[None])).all()
