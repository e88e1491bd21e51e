"""Motions of domains: blending along linkers, turning instead of stretching, and what is measured of draws."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bayesflex.domain_motions import DomainMotion, measured_motions, write_domain_motions
from bayesflex.domains import LINKER_RESIDUES, Domains, blend_weights, body_motions, linkers, moved_in_bodies

N = 60
LABELS = np.repeat([0, 1], [36, 24])
BONDED = np.ones(N - 1, dtype=bool)


def domains(labels=LABELS) -> Domains:
    return Domains(labels, ((0,), (1,)), linkers(labels, BONDED))


def test_weights_fall_evenly_over_a_linker_and_nowhere_else():
    weights = blend_weights(LABELS, BONDED)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0)
    np.testing.assert_array_equal(weights.max(axis=0) < 1.0, linkers(LABELS, BONDED))
    step = 1.0 / (2 * LINKER_RESIDUES + 1)
    np.testing.assert_allclose(np.diff(weights[1])[36 - LINKER_RESIDUES - 1 : 36 + LINKER_RESIDUES], step)


def test_where_no_bond_joins_domains_nothing_blends():
    bonded = BONDED.copy()
    bonded[35] = False
    np.testing.assert_array_equal(blend_weights(LABELS, bonded), np.arange(2)[:, None] == LABELS)
    alternating = np.arange(N) // 8 % 2
    np.testing.assert_allclose(blend_weights(alternating, BONDED).sum(axis=0), 1.0)


def test_body_motions_are_the_derivatives_of_moving_in_bodies(rng):
    coords = rng.normal(scale=10.0, size=(N, 3))
    weights = blend_weights(LABELS, BONDED)
    motions = body_motions(coords, weights)
    assert motions.shape == (12, N, 3)
    small = 1e-5 * rng.normal(size=12)
    way = np.tensordot(small, motions, 1)
    np.testing.assert_allclose(moved_in_bodies(coords, way, weights), coords + way, atol=1e-7)
    # All domains alike: the whole moves as one.
    turn = np.concatenate([np.zeros(3), [0.0, 0.0, 1.0]])
    shift = np.cross([0.0, 0.0, 1.0], weights @ coords / weights.sum(axis=1)[:, None])
    all_alike = np.concatenate([turn + np.append(shift[k], np.zeros(3)) for k in range(2)])
    np.testing.assert_allclose(np.tensordot(all_alike, motions, 1), np.cross([0.0, 0.0, 1.0], coords), atol=1e-10)


def test_a_large_straight_step_leaves_domains_in_shape(rng):
    coords = rng.normal(scale=10.0, size=(N, 3))
    weights = blend_weights(LABELS, BONDED)
    omega = np.array([0.2, -0.7, 0.4])
    inside = weights[1] == 1.0
    way = np.zeros_like(coords)
    way[inside] = np.cross(omega, coords[inside] - coords[inside].mean(axis=0)) + [3.0, 0.0, 1.0]
    sharp = (LABELS[None] == np.arange(2)[:, None]) & inside[None] | np.array([[True], [False]]) & ~inside[None]
    moved = moved_in_bodies(coords, way, sharp.astype(np.float64))
    expected = Rotation.from_rotvec(omega).apply(coords[inside] - coords[inside].mean(axis=0))
    np.testing.assert_allclose(moved[inside] - moved[inside].mean(axis=0), expected, atol=1e-9)
    np.testing.assert_allclose(moved[inside].mean(axis=0) - coords[inside].mean(axis=0), [3.0, 0.0, 1.0], atol=1e-9)
    np.testing.assert_allclose(moved[~inside], coords[~inside], atol=1e-12)


@pytest.mark.parametrize("angle", [1.0, 73.0, 180.0])
def test_known_motions_are_measured(angle, rng):
    """Draws turned by a known angle about a known axis with a known spread."""
    start = rng.normal(scale=10.0, size=(N, 3))
    axis = np.array([2.0, -1.0, 2.0]) / 3.0
    draws = np.repeat(start[None], 200, axis=0)
    angles = angle + rng.normal(scale=0.0 if angle == 180.0 else 0.1, size=200)
    second = LABELS == 1
    inside = second & ~linkers(LABELS, BONDED)
    centre = start[inside].mean(axis=0)
    for draw, turn in zip(draws, angles, strict=True):
        draw[second] = Rotation.from_rotvec(np.radians(turn) * axis).apply(start[second] - centre) + centre + [0, 3, 4]
    first, moved = measured_motions(domains(), start, draws, [f"A {number}" for number in range(1, N + 1)])
    assert (first.domain, first.residues, first.n_residues) == (1, "A 1-36", 36)
    assert max(first.angle, first.shift) < 1e-6
    assert (moved.residues, moved.n_residues) == ("A 37-60", 24)
    low, middle, high = np.percentile(angles, [5, 50, 95])
    np.testing.assert_allclose((moved.angle_low, moved.angle, moved.angle_high), (low, middle, high), atol=1e-5)
    np.testing.assert_allclose(moved.relative_angle, middle, atol=1e-5)
    found = np.array([moved.axis_x, moved.axis_y, moved.axis_z])
    np.testing.assert_allclose(abs(found @ axis) if angle == 180.0 else found @ axis, 1.0, atol=1e-6)
    assert moved.axis_within < 0.1
    np.testing.assert_allclose((moved.shift_x, moved.shift_y, moved.shift_z), (0.0, 3.0, 4.0), atol=1e-9)
    assert moved.shift == pytest.approx(5.0)


def test_the_table_holds_every_field(tmp_path, rng):
    start = rng.normal(scale=10.0, size=(N, 3))
    motions = measured_motions(domains(), start, start[None] + [1.0, 0.0, 0.0], [f"A {k}" for k in range(N)])
    write_domain_motions(motions, tmp_path / "domain_motions.csv")
    with (tmp_path / "domain_motions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["domain"] for row in rows] == ["1", "2"]
    assert set(rows[0]) == set(DomainMotion.__dataclass_fields__)
    assert float(rows[1]["shift_x"]) == pytest.approx(1.0)
