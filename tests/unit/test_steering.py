"""Steering brings a structure into the map's basin and leaves its chain whole."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from steered_pair import pair_in_map

from bayesflex.deformation import Deformation
from bayesflex.geometry import rmsd
from bayesflex.normal_modes import normal_modes, rigid_motions
from bayesflex.posterior import Posterior
from bayesflex.steering import restored, steer

BLURRED = 16.0


@pytest.fixture(scope="module")
def scene():
    """Closed start, open answer, the problem and the posterior of a blurred stage without stiff local terms."""
    return pair_in_map(40.0, 8.0, 1.8, BLURRED, lambda term: term.name == "contacts", 0.2)


def directions(coords):
    return np.concatenate([rigid_motions(coords), normal_modes(coords, 6, 10.0).vectors])


def bond_lengths(coords):
    return np.linalg.norm(np.diff(coords, axis=0), axis=1)


@pytest.fixture(scope="module")
def steered(scene):
    problem, _, posterior = scene
    steps = [problem.start]
    end = steer(posterior, problem.terms, problem.start, directions, 60, 1.2, steps.append)
    return end, steps


def test_it_moves_a_domain_into_the_map(scene, steered):
    problem, answer, _ = scene
    end, _ = steered
    assert rmsd(problem.start, answer) > 5.0
    assert rmsd(end, answer) < 0.4 * rmsd(problem.start, answer)


def test_the_log_density_rises_with_every_step(scene, steered):
    _, _, posterior = scene
    _, steps = steered
    values = [posterior.of_coordinates(coords)[0] for coords in steps]
    assert len(values) > 3
    assert (np.diff(values) > 0.0).all()


def test_it_returns_its_last_step(steered):
    end, steps = steered
    np.testing.assert_array_equal(end, steps[-1])


def test_the_chain_stays_whole(scene, steered):
    problem, _, _ = scene
    for coords in steered[1]:
        assert np.abs(bond_lengths(coords) - bond_lengths(problem.start)).max() < 0.1


def test_it_ends_where_nothing_is_left_to_gain(scene, steered):
    """Beginning again at the end, with the same steps and longest step, gains next to nothing."""
    problem, _, posterior = scene
    end, steps = steered
    assert len(steps) < 61
    again = steer(posterior, problem.terms, end, directions, 60, 1.2, lambda coords: None)
    climbed = posterior.of_coordinates(end)[0] - posterior.of_coordinates(problem.start)[0]
    assert posterior.of_coordinates(again)[0] - posterior.of_coordinates(end)[0] < 0.05 * climbed
    assert rmsd(again, end) < 0.25 * rmsd(end, problem.start)


def test_steps_are_no_longer_than_asked_for(scene):
    """Unrestored, a step is that long at most; restoring moves little beside it."""
    problem, _, posterior = scene
    steps = [problem.start]
    steer(posterior, (), problem.start, directions, 4, 0.5, steps.append)
    lengths = [rmsd(one, other) for one, other in pairwise(steps)]
    assert max(lengths) <= 0.5 + 1e-9
    assert lengths[0] > 0.4


@pytest.mark.parametrize("max_steps", [0, 1, 3])
def test_no_more_steps_than_asked_for(max_steps, scene):
    problem, _, posterior = scene
    steps = []
    end = steer(posterior, problem.terms, problem.start, directions, max_steps, 1.0, steps.append)
    assert len(steps) == max_steps
    if max_steps == 0:
        np.testing.assert_array_equal(end, problem.start)


def test_arguments_are_left_alone(scene):
    problem, _, posterior = scene
    kept = problem.start.copy()
    steer(posterior, problem.terms, problem.start, directions, 1, 1.0, lambda coords: None)
    np.testing.assert_array_equal(problem.start, kept)


def test_it_takes_the_same_way_every_time(scene):
    problem, _, posterior = scene
    ends = [steer(posterior, problem.terms, problem.start, directions, 3, 1.0, lambda coords: None) for _ in range(2)]
    np.testing.assert_array_equal(*ends)


class Hill:
    """log L = -k |r - m|² / 2 where all x are below a wall, and what is asked for beyond it."""

    name = "hill"

    def __init__(self, top, wall=np.inf, beyond=-np.inf, sign=1.0):
        self.top, self.wall, self.beyond, self.sign = top, wall, beyond, sign

    def clone(self):
        return self

    def log_likelihood_and_gradient(self, coords):
        if not coords[:, 0].max() < self.wall:
            return self.beyond, np.full_like(coords, np.nan)
        shift = coords - self.top
        return -0.5 * self.sign * float(np.sum(shift**2)), -self.sign * shift


def hill(coords, **about):
    free = Deformation("local", coords, np.zeros((0, *coords.shape)))
    return Posterior(Hill(**about), (), free, 0.6, coords.mean(axis=0), 1e6)


@pytest.fixture
def points(rng):
    return rng.normal(scale=5.0, size=(12, 3))


def test_a_quadratic_hill_is_climbed_to_its_top(points, rng):
    """Within reach of the directions, the top is met exactly."""
    flat = np.linalg.qr(rng.normal(size=(36, 4)))[0].T.reshape(4, 12, 3)
    offset = 6.0 * flat[0] - 3.0 * flat[2]
    posterior = hill(points, top=points + offset)
    end = steer(posterior, (), points, lambda coords: flat, 50, 0.5, lambda coords: None)
    np.testing.assert_allclose(end, points + offset, atol=1e-4)


@pytest.mark.parametrize("beyond", [-np.inf, np.nan, np.inf])
def test_moves_to_where_there_is_no_density_are_rejected(beyond, points):
    """A wall short of the top, as the box has: the steps end before it, shortened."""
    flat = np.zeros((1, 12, 3))
    flat[0, :, 0] = 1.0 / np.sqrt(12.0)
    wall = points[:, 0].max() + 3.3
    posterior = hill(points, top=points + np.array([10.0, 0.0, 0.0]), wall=wall, beyond=beyond)
    steps = []
    end = steer(posterior, (), points, lambda coords: flat, 50, 1.0, steps.append)
    assert np.isfinite(end).all()
    assert wall - 0.5 < end[:, 0].max() < wall
    assert len(steps) >= 3


@pytest.mark.parametrize("beyond", [-np.inf, np.nan])
def test_a_start_without_density_stays_where_it_is(beyond, points):
    posterior = hill(points, top=points, wall=-1e3, beyond=beyond)
    flat = rigid_motions(points)
    end = steer(posterior, (), points, lambda coords: flat, 10, 1.0, lambda coords: None)
    np.testing.assert_array_equal(end, points)


def test_a_start_that_is_no_number_is_no_exception(points):
    flat = rigid_motions(points)
    broken = points.copy()
    broken[2, 1] = np.nan
    end = steer(hill(points, top=points), (), broken, lambda coords: flat, 10, 1.0, lambda coords: None)
    np.testing.assert_array_equal(end, broken)


def test_a_flat_density_moves_nothing(points):
    posterior = hill(points, top=points, sign=0.0)
    end = steer(posterior, (), points, rigid_motions, 10, 1.0, lambda coords: None)
    assert rmsd(end, points) < 1e-6


def test_it_climbs_where_the_density_is_not_concave(points):
    """A valley instead of a hill: the Newton step would lead down into it."""
    flat = rigid_motions(points)[:3]
    valley = points - np.array([2.0, 0.0, 0.0])
    posterior = hill(points, top=valley, sign=-1.0)
    values = []
    end = steer(
        posterior, (), points, lambda coords: flat, 4, 1.0, lambda c: values.append(posterior.of_coordinates(c)[0])
    )
    assert len(values) == 4
    assert (np.diff(values) > 0.0).all()
    assert rmsd(end, valley) > 3.0


def test_restoring_mends_a_straight_step(scene):
    problem, _, _ = scene
    bent = problem.start + 15.0 * problem.mode_vectors[0]
    mended = restored(bent, problem.terms)

    def energy(coords):
        return sum(term.energy_and_gradient(coords)[0] for term in problem.terms)

    assert energy(mended) < 0.2 * energy(bent)
    assert rmsd(mended, bent) < 0.5 * rmsd(bent, problem.start)
    spread = np.abs(bond_lengths(bent) - bond_lengths(problem.start)).max()
    assert np.abs(bond_lengths(mended) - bond_lengths(problem.start)).max() < 0.3 * spread


def test_restoring_leaves_what_has_no_energy(scene):
    problem, _, _ = scene
    np.testing.assert_allclose(restored(problem.start, problem.terms), problem.start, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_restoring_what_is_no_number_is_no_exception(bad, scene):
    problem, _, _ = scene
    coords = problem.start.copy()
    coords[4, 2] = bad
    assert restored(coords, problem.terms).shape == coords.shape
